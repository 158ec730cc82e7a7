//! What can be asked of the roster and what it answers: values only. Doors translate their wire shapes into these and
//! back; nothing here knows about HTTP, WebSocket or JSON.

use super::{
    BroadcastSent, Cursor, EventKind, ExternalEvent, HistoryPage, HistoryQuery, HookEvent, HookReply, MessageFilter,
    Reach, Repeated, SeenTurn, Sending, Sent, SentTo,
};
use crate::error::RequestError;
use crate::ids::{ClientId, MessageId, RoomId, SessionId};
use crate::model::{
    Host, Message, Path, Presence, Priority, Process, Registration, Room, RoomMember, Session, Stored, TokenHash,
};
use crate::time::MonoMs;
use std::sync::Arc;

/// Everything that can be asked of the roster.
#[derive(Clone, Debug)]
pub enum Request {
    /// A hook reports what happened to its session. Answer: [`Reply::Hook`]; of its end [`Reply::Done`], also for a
    /// session that is not there.
    HookEvent(Box<HookEvent>),
    /// An answer with mail has left: the messages in it are handed over if it arrived whole, else they are free again.
    InboxHanded {
        /// Whose inbox it was.
        session: SessionId,
        /// What was in the answer.
        messages: Vec<MessageId>,
        /// By which way it went.
        path: Path,
        /// Which answer it was, as [`HookReply`] numbers them; anything for a push.
        lease: u64,
        /// What is known of its arrival.
        arrival: Arrival,
    },
    /// Somebody waits for mail of a session, who can wake it. Answer: [`Reply::Waits`]. What comes for it is found by
    /// [`super::Roster::rouse`].
    Wait {
        /// By what this is said: the event of a turn's end, or no more than whose it is.
        event: Box<HookEvent>,
        /// How urgent a message must be to wake it.
        at_least: Priority,
    },
    /// Nobody waits for mail of this session any more.
    WaiterGone(SessionId),
    /// The transcript of a silent session shows this.
    TurnSeen {
        /// The session.
        session: SessionId,
        /// The monotonic millisecond of its last sign of life when its transcript was asked for; if there was another one
        /// since, this counts for nothing.
        heard_at: MonoMs,
        /// What it shows.
        seen: SeenTurn,
    },
    /// A shim states its session.
    PublishSession {
        /// The connection that speaks.
        client: ClientId,
        /// The session as stated; the roster keeps its own nickname and birth for one that it knows.
        session: Box<Session>,
    },
    /// A shim takes its session back.
    WithdrawSession {
        /// The connection that speaks.
        client: ClientId,
        /// The session.
        session: SessionId,
    },
    /// A shim changes one field of a session.
    UpdateSession {
        /// The session.
        session: SessionId,
        /// The change.
        change: SessionChange,
    },
    /// A WebSocket client is there.
    ClientConnected(ClientId),
    /// A WebSocket client is gone.
    ClientGone(ClientId),
    /// A process has ended: the sessions that live in it, and in no other by now, are gone.
    ProcessGone(Process),
    /// Send a message. Answer: [`Reply::Sent`], to a room [`Reply::Broadcast`], to several [`Reply::SentToAll`]; if it was
    /// sent before, [`Reply::Repeated`].
    Send(Box<Sending>),
    /// What the caller has sent, and where it is. Answer: [`Reply::History`].
    Outbox {
        /// Who looks.
        caller: Caller,
        /// Only those before this cursor, which an earlier page gave.
        before: Option<Cursor>,
        /// At most so many.
        limit: Option<usize>,
    },
    /// Send once more what did not get there. Answer: [`Reply::Sent`].
    Requeue {
        /// Who sent it.
        caller: Caller,
        /// The message.
        message: MessageId,
    },
    /// Send a message to a room. Answer: [`Reply::Broadcast`].
    Broadcast {
        /// Who speaks.
        caller: Caller,
        /// Room id or name.
        room: String,
        /// The text.
        body: String,
    },
    /// Join an ad-hoc room, which is made if nobody has. Answer: [`Reply::Joined`].
    JoinRoom {
        /// Who joins.
        caller: Caller,
        /// Room name or id.
        name: String,
        /// What the room is for, when it is made.
        description: Option<String>,
    },
    /// Leave an ad-hoc room. Answer: [`Reply::Left`].
    LeaveRoom {
        /// Who leaves.
        caller: Caller,
        /// Room id or name.
        room: String,
    },
    /// Read messages, newest first. Answer: [`Reply::Messages`].
    ReadMessages {
        /// Who reads.
        caller: Caller,
        /// Which messages.
        filter: MessageFilter,
    },
    /// Acknowledge messages. Answer: [`Reply::Acked`].
    AckMessages {
        /// Who has read them.
        caller: Caller,
        /// Which messages.
        messages: Vec<MessageId>,
    },
    /// Take over what a session left unread that is gone. Answer: [`Reply::Claimed`].
    ClaimMail {
        /// Who takes it over.
        caller: Caller,
        /// Whose mail, by id or nickname; without it, that of all who were in the caller's place.
        from: Option<String>,
    },
    /// All sessions. Answer: [`Reply::Sessions`].
    ListSessions,
    /// All rooms. Answer: [`Reply::Rooms`].
    ListRooms,
    /// A page of messages. Answer: [`Reply::History`].
    History(HistoryQuery),
    /// Register a session by token. Answer: [`Reply::Registered`].
    Register(Box<Registering>),
    /// End the session that is registered by this token. Answer: [`Reply::Done`].
    Deregister(TokenHash),
    /// The session whose token the caller has shown. Answer: [`Reply::Me`].
    Me(Caller),
    /// What the caller may hear of as it happens. Answer: [`Reply::Hearing`].
    Hear(Caller),
    /// Time has passed: remove what is over. No answer.
    Sweep {
        /// Nothing of what others wrote is still being read: what hangs on rows that are not there can go.
        settled: bool,
    },
    /// Somebody else wrote these events to the log. They are applied as if emitted here, and not written back.
    External(Vec<ExternalEvent>),
    /// A request that states or changes a session, by somebody of whom something is known. Answer: that of the request.
    Guarded {
        /// Who asks.
        caller: Box<Caller>,
        /// What is asked.
        request: Box<Request>,
    },
}

impl Request {
    /// That a session began, as a hook of marshal 0.9 reports it.
    pub fn session_start(report: HookReport) -> Self {
        let (kind, takes) = (EventKind::Start { same_context: false }, Some(Path::Start));
        Self::HookEvent(Box::new(HookEvent { report, kind, takes, ..HookEvent::default() }))
    }

    /// That a prompt was submitted, as a hook of marshal 0.9 reports it.
    pub fn prompt_submit(report: HookReport) -> Self {
        let (kind, takes) = (EventKind::Prompt { quoted: Vec::new() }, Some(Path::Prompt));
        Self::HookEvent(Box::new(HookEvent { report, kind, takes, ..HookEvent::default() }))
    }

    /// That a session ended, as a hook of marshal 0.9 reports it.
    pub fn session_end(session: SessionId) -> Self {
        let report = HookReport { session_id: session.as_str().to_owned(), ..HookReport::default() };
        Self::HookEvent(Box::new(HookEvent { report, kind: EventKind::End, ..HookEvent::default() }))
    }

    /// To send a message to one, on the usual terms.
    pub fn send(caller: Caller, to: impl Into<String>, body: impl Into<String>) -> Self {
        Self::Send(Box::new(Sending::new(caller, to, body)))
    }

    /// The request, guarded where there is something to guard it by.
    pub fn by(self, caller: Caller) -> Self {
        if caller.known == Known::Unproven && caller.token.is_none() {
            return self;
        }
        Self::Guarded { caller: Box::new(caller), request: Box::new(self) }
    }

    /// The client that states a session by it.
    pub fn publisher(&self) -> Option<&ClientId> {
        self.facts().publisher
    }

    /// The client that wants to be told how far what it sends by this gets.
    pub fn tracker(&self) -> Option<&ClientId> {
        self.facts().tracker
    }

    /// Whether it only looks: it may as well be asked again.
    pub fn only_looks(&self) -> bool {
        self.facts().only_looks
    }

    /// Who asks, where that matters.
    pub fn caller(&self) -> Option<&Caller> {
        self.facts().caller
    }

    /// The session that the caller states or changes by it.
    pub(super) fn spoken_for(&self) -> Option<&str> {
        self.facts().spoken_for
    }

    /// The process in which that session lives, as the caller says.
    pub(super) fn lived_in(&self) -> Option<&Process> {
        self.facts().lived_in
    }

    /// Every request answers every question here. A wildcard would let a new request forget one.
    #[deny(clippy::wildcard_enum_match_arm)]
    fn facts(&self) -> Facts<'_> {
        let none = Facts::default();
        match self {
            Self::HookEvent(event) | Self::Wait { event, .. } => {
                Facts { spoken_for: Some(&event.report.session_id), lived_in: event.report.process.as_ref(), ..none }
            }
            Self::PublishSession { client, session } => {
                Facts { publisher: Some(client), spoken_for: Some(session.id.as_str()), ..none }
            }
            Self::WithdrawSession { session, .. } | Self::UpdateSession { session, .. } => {
                Facts { spoken_for: Some(session.as_str()), ..none }
            }
            Self::Register(registering) => {
                Facts { spoken_for: Some(&registering.session_id), lived_in: registering.process.as_ref(), ..none }
            }
            Self::Send(sending) => {
                Facts { caller: Some(&sending.caller), tracker: sending.wishes.track.as_ref(), ..none }
            }
            Self::Requeue { caller, .. }
            | Self::Broadcast { caller, .. }
            | Self::JoinRoom { caller, .. }
            | Self::LeaveRoom { caller, .. }
            | Self::AckMessages { caller, .. }
            | Self::ClaimMail { caller, .. } => Facts { caller: Some(caller), ..none },
            Self::Outbox { caller, .. } | Self::ReadMessages { caller, .. } | Self::Me(caller) | Self::Hear(caller) => {
                Facts { caller: Some(caller), only_looks: true, ..none }
            }
            Self::History(query) => Facts { caller: Some(&query.caller), only_looks: true, ..none },
            Self::ListSessions | Self::ListRooms => Facts { only_looks: true, ..none },
            Self::Guarded { caller, request } => Facts { caller: Some(caller), publisher: request.publisher(), ..none },
            Self::InboxHanded { .. }
            | Self::WaiterGone(_)
            | Self::TurnSeen { .. }
            | Self::ClientConnected(_)
            | Self::ClientGone(_)
            | Self::ProcessGone(_)
            | Self::Deregister(_)
            | Self::Sweep { .. }
            | Self::External(_) => none,
        }
    }
}

/// Facts about a request that the store and the rules of speaking need, whatever it asks for.
#[derive(Default)]
struct Facts<'a> {
    caller: Option<&'a Caller>,
    only_looks: bool,
    publisher: Option<&'a ClientId>,
    tracker: Option<&'a ClientId>,
    spoken_for: Option<&'a str>,
    lived_in: Option<&'a Process>,
}

/// What is known of the arrival of an answer with mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The caller closed its connection after all of it was written.
    Whole,
    /// It was given, and the caller had closed its side before, or was lost: the mail may have been seen.
    Unsure,
    /// It was not given, or had no room for this mail.
    NotGiven,
}

/// What a hook tells about its session.
#[derive(Clone, Debug, Default)]
pub struct HookReport {
    /// The agent's session id; never empty.
    pub session_id: String,
    /// A caller has typed it: it is the id or nickname of a session that is there, and brings none onto the roster.
    pub is_named: bool,
    /// Working directory.
    pub cwd: Option<String>,
    /// Host name up to the first dot, operating system, architecture.
    pub host: Option<Host>,
    /// The human it works for.
    pub operator: Option<String>,
    /// The process that it lives in, if the hook told and it could be identified.
    pub process: Option<Process>,
}

/// A session to be registered by token.
#[derive(Clone, Debug, Default)]
pub struct Registering {
    /// What is kept of the token.
    pub token: TokenHash,
    /// The session's id.
    pub session_id: String,
    /// The nickname that it asks for.
    pub display_name: String,
    /// The id of the process that it lives in.
    pub pid: u32,
    /// That process, where it could be told from all others.
    pub process: Option<Process>,
    /// Working directory.
    pub cwd: Option<String>,
    /// What it is there for.
    pub role: Option<String>,
    /// The groups that it is in: `name`, `@name`, each optionally followed by `:role`.
    pub groups: Vec<String>,
    /// What proves its presence, if something does.
    pub presence: Option<Presence>,
}

/// What somebody may hear of who hears of things as they happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    /// Whose mail it may hear of; without it, all.
    pub limit: Option<Limit>,
    /// What it had shown when it began. Its process can become a session's later.
    pub known: Known,
}

/// To whose mail somebody is limited who hears of things as they happen, for as long as what proved it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The session.
    pub session: SessionId,
    /// The token by which it is known, if it is by one.
    pub token: Option<TokenHash>,
}

/// Who is asking.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The session that the caller says it is.
    pub as_session: Option<SessionId>,
    /// The WebSocket connection it speaks on.
    pub client: Option<ClientId>,
    /// The human's name, for a caller that is no session.
    pub human: Option<String>,
    /// The human's name, should the caller turn out to be no session.
    pub else_human: Option<String>,
    /// What it has shown, whatever it says.
    pub known: Known,
    /// The session token that it has shown besides.
    pub token: Option<Box<TokenHash>>,
}

/// What a caller has shown of itself at the door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// Nothing, and nothing was asked for: the daemon runs without credentials.
    #[default]
    Unproven,
    /// The machine's token.
    Machine,
    /// That it runs under the owner's user id, on the Unix socket.
    Owner {
        /// Its process and those that it descends from, nearest first, as far as they could be read; empty if it ended
        /// before it could be looked at.
        chain: Arc<[Process]>,
        /// The processes on its terminal, if the terminal's shell is among its ancestors and no agent has started it.
        terminal: Option<Arc<[Process]>>,
    },
}

impl Caller {
    /// A caller that says it is `session`.
    pub fn session(session: &str) -> Self {
        Self { as_session: Some(SessionId::from(session)), ..Self::default() }
    }

    /// A human.
    pub fn human(name: &str) -> Self {
        Self { human: Some(name.to_owned()), ..Self::default() }
    }
}

/// One changed field of a session. `None` clears the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// What it says it is doing.
    CurrentTask(Option<String>),
    /// When it last did something.
    LastActivityAt(i64),
    /// The last tool it used.
    LastTool(Option<String>),
    /// When it last used a tool.
    LastToolAt(Option<i64>),
    /// Current git branch.
    GitBranch(Option<String>),
    /// Where it is by its file system.
    Place(Box<Place>),
    /// Its title.
    SessionName(Option<String>),
    /// `busy`, `idle` or `shell`.
    Activity(Option<String>),
    /// Whether pushed messages reach the model.
    ChannelsEnabled(Option<bool>),
}

/// Where a session is, as its file system shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The directory that was looked at.
    pub cwd: Arc<str>,
    /// The same without links, where it is spelled otherwise.
    pub directory: Option<Arc<str>>,
    /// The branch that is checked out.
    pub branch: Option<Arc<str>>,
    /// The directory that the repository's worktrees share.
    pub repository: Option<Arc<str>>,
    /// The repository's name.
    pub name: Option<Arc<str>>,
}

/// An answer of the roster.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The request is done and there is nothing to say.
    Done,
    /// The answer to a hook.
    Hook(HookReply),
    /// Mail of this session is waited for.
    Waits(SessionId),
    /// A message is stored.
    Sent(Sent),
    /// A message to a room is stored.
    Broadcast(BroadcastSent),
    /// A message to several is stored, for each of them.
    SentToAll(Vec<SentTo>),
    /// A message was sent before.
    Repeated(Box<Repeated>),
    /// The caller is in the room.
    Joined {
        /// The room.
        room: Arc<Stored<Room>>,
        /// Whether it was made by this request.
        created: bool,
    },
    /// The caller is not in the room any more.
    Left {
        /// The room's id.
        room: RoomId,
        /// Whether it was in it before.
        left: bool,
    },
    /// Messages, newest first.
    Messages {
        /// Whose they are: the session, or the human's mailbox.
        reader: SessionId,
        /// The caller is the reader, and does not only act for it.
        is_own: bool,
        /// The caller named the reader by a whole nickname or id, or did not name it.
        is_exact: bool,
        /// The messages, each with whether the caller has read it.
        messages: Vec<MessageView>,
        /// How many fit the filter, as far as was looked.
        total: usize,
    },
    /// Messages are acknowledged.
    Acked {
        /// How many were not before.
        newly: usize,
        /// How many were.
        already: usize,
        /// Ids that fit no message for this reader.
        unknown: usize,
    },
    /// Mail is taken over.
    Claimed(Claimed),
    /// All sessions.
    Sessions(Vec<SessionView>),
    /// All rooms.
    Rooms(Vec<RoomView>),
    /// A page of the history.
    History(HistoryPage),
    /// A session is registered.
    Registered {
        /// Since when, by this token.
        registered_at: i64,
        /// The nickname that it was given.
        nickname: Arc<str>,
    },
    /// The session that the caller is.
    Me(Box<SessionView>),
    /// The session to whose mail the caller is limited, if it is.
    Hearing(Hearing),
}

/// What somebody has taken over.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Who has.
    pub by: SessionId,
    /// From whom: each with its nickname, and how many messages.
    pub from: Vec<(SessionId, Arc<str>, usize)>,
    /// Whether there is more to take over.
    pub more: bool,
}

/// A message as one reader sees it.
#[derive(Clone, Debug)]
pub struct MessageView {
    /// The message.
    pub message: Arc<Stored<Message>>,
    /// The shortest beginning of its id that fits no other message now.
    pub short_id: String,
    /// Whether the reader has read it.
    pub read_by_me: bool,
}

/// A session as a listing shows it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// The row.
    pub session: Arc<Stored<Session>>,
    /// Whether its shim is connected now.
    pub connected: bool,
    /// Messages waiting for it.
    pub unread: usize,
    /// How urgent a message must be to wake it, if it can be woken now.
    pub woken_by: Option<Priority>,
    /// How soon it would hear of an urgent message.
    pub reach: Reach,
    /// The rooms that it is in.
    pub rooms: Vec<RoomId>,
    /// Whether its presence is proven now.
    pub presence_proven: bool,
    /// Its registration by token, if it has one.
    pub registration: Option<Arc<Stored<Registration>>>,
}

/// A room as a listing shows it.
#[derive(Clone, Debug)]
pub struct RoomView {
    /// The row.
    pub room: Arc<Stored<Room>>,
    /// Who is in it, with nicknames.
    pub members: Vec<(Arc<Stored<RoomMember>>, Arc<str>)>,
}

/// Something to be pushed to a WebSocket client once the batch is on disk.
#[derive(Clone, Debug)]
pub struct Push {
    /// The connection.
    pub client: ClientId,
    /// The message.
    pub message: Arc<Stored<Message>>,
    /// The room's name, for a message to a room.
    pub room_name: Option<Arc<str>>,
    /// The session for which it is read once it is written to a client whose host shows pushes; none if the client
    /// acknowledges by itself.
    pub read_when_written: Option<SessionId>,
    /// Whether it was pushed before, as far as is known, without a sign that it was read.
    pub repeat: bool,
}

/// What applying one request came to.
#[derive(Debug)]
pub struct Outcome {
    /// The answer.
    pub reply: Result<Reply, RequestError>,
    /// What to push.
    pub pushes: Vec<Push>,
    /// Whether the answer depends on events that are not on disk yet.
    pub needs_commit: bool,
}

//! On what terms a message is sent, and what becomes of it for each of its recipients. Facts only: which step follows which
//! is the roster's business.

use crate::ids::{MessageId, ReadId, SessionId};
use std::sync::Arc;

/// How soon a message wants to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// With the next prompt.
    Low,
    /// Between two turns, without waking anybody.
    #[default]
    Next,
    /// At the earliest moment: in the middle of a turn, or by waking an idle session.
    Now,
}

impl Priority {
    /// All of them, the most patient first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Next, Self::Now];

    /// The spelling on the wire and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Next => "next",
            Self::Now => "now",
        }
    }

    /// The priority that is spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == text)
    }
}

/// On what terms a message is sent, beyond what marshal 0.9 knew. Its readers ignore them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How soon it wants to be read.
    pub priority: Priority,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// The first message of the thread that it belongs to, if it is not that itself.
    pub thread: Option<MessageId>,
    /// Until when its sender expects an answer, in wall-clock milliseconds.
    pub reply_by: Option<i64>,
    /// Whether that is over, though what shows it is gone: an answer came, or its sender was told that none did.
    pub reply_settled: bool,
    /// The message of the same sender in whose place it comes.
    pub supersedes: Option<MessageId>,
    /// From when on nobody need read it any more, in wall-clock milliseconds.
    pub expires_at: Option<i64>,
    /// The name that its sender gave it, so that sending it again is no second message.
    pub client_message_id: Option<Arc<str>>,
    /// With that name: a hash of what was asked for, in hexadecimal digits.
    pub fingerprint: Option<Arc<str>>,
    /// What a client of claudemesh's kind put beside it: the text of a JSON object.
    pub meta: Option<Arc<str>>,
    /// Whether marshal itself wrote it, to tell its recipient what became of a message.
    pub notice: bool,
}

/// The ways by which a message's text gets to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// In the answer to the hook of its start.
    Start,
    /// In the answer to the hook of a prompt.
    Prompt,
    /// In the answer to a hook between two tools.
    Tools,
    /// In the answer to the hook of a turn's end.
    Stop,
    /// By waking it: in the answer to one who waits for its mail.
    Wait,
    /// Pushed to its client.
    Push,
    /// It, or its human, read the inbox.
    Inbox,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Start, Self::Prompt, Self::Tools, Self::Stop, Self::Wait, Self::Push, Self::Inbox];

    /// The spelling on the wire and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Prompt => "prompt",
            Self::Tools => "tools",
            Self::Stop => "stop",
            Self::Wait => "wait",
            Self::Push => "push",
            Self::Inbox => "inbox",
        }
    }

    /// The path that is spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.as_str() == text)
    }
}

/// A set of paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paths(u8);

impl Paths {
    /// With this path in it.
    #[must_use]
    pub fn with(self, path: Path) -> Self {
        Self(self.0 | 1 << path as u8)
    }

    /// Whether this path is in it.
    pub fn has(self, path: Path) -> bool {
        self.0 & (1 << path as u8) != 0
    }

    /// The paths in it.
    pub fn iter(self) -> impl Iterator<Item = Path> {
        Path::ALL.into_iter().filter(move |path| self.has(*path))
    }
}

impl FromIterator<Path> for Paths {
    fn from_iter<I: IntoIterator<Item = Path>>(paths: I) -> Self {
        paths.into_iter().fold(Self::default(), Self::with)
    }
}

/// By what it is known that a message was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Its reader said so.
    Ack,
    /// The operator, or a program of the operator's, took it out of a session's inbox.
    Operator,
    /// A client that puts pushes before the model took it.
    Client,
    /// The session's next prompt quotes it.
    Quoted,
    /// The session went on after it had taken the whole answer with it.
    WentOn,
}

impl Evidence {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ack, Self::Operator, Self::Client, Self::Quoted, Self::WentOn];

    /// The spelling on the wire and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Operator => "operator",
            Self::Client => "client",
            Self::Quoted => "quoted",
            Self::WentOn => "went_on",
        }
    }

    /// The evidence that is spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|evidence| evidence.as_str() == text)
    }
}

/// Why a message did not get to its recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The session ended, and neither came back nor did another one claim its mail.
    SessionEnded,
    /// It was handed over again and again, and never was there a sign that it was read.
    NeverProved,
    /// It was for a room, which the session left by its own wish before it was known to have read it.
    LeftRoom,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SessionEnded, Self::NeverProved, Self::LeftRoom];

    /// The spelling on the wire and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionEnded => "session_ended",
            Self::NeverProved => "never_proved",
            Self::LeftRoom => "left_room",
        }
    }

    /// The reason that is spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// The last that happened to a message on its way to one recipient; that it was read, only once its reader is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is kept for a session that ended, or is not in the room any more which the message is for.
    Kept,
    /// The recipient has taken it, as far as can be told from outside.
    Handed(Path),
    /// Final: it was read, by one who is gone since; by what that is known, and by which way it came.
    Read(Option<Evidence>, Option<Path>),
    /// Final: nobody need read it any more.
    Expired,
    /// Final: another message came in its place.
    Superseded(MessageId),
    /// Final: it did not get there.
    Undeliverable(Reason),
    /// Final: another session took it over.
    Claimed(SessionId),
}

impl Step {
    /// Whether nothing follows it.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Kept | Self::Handed(_))
    }

    /// Whether it is final, and the recipient has not read the message.
    pub fn is_settled(&self) -> bool {
        self.is_final() && !matches!(self, Self::Read(..))
    }

    /// The spelling on the wire and in the log.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Handed(_) => "handed",
            Self::Read(..) => "read",
            Self::Expired => "expired",
            Self::Superseded(_) => "superseded",
            Self::Undeliverable(_) => "undeliverable",
            Self::Claimed(_) => "claimed",
        }
    }
}

/// How far one message has got on its way to one recipient, where there is more to say than that it waits. Not in marshal
/// 0.9; once the message is read, a [`super::MessageRead`] stands in its place, for as long as its reader is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// `<message id>::<session id>`.
    pub id: ReadId,
    /// The message.
    pub message_id: MessageId,
    /// The recipient.
    pub session_id: SessionId,
    /// What happened last.
    pub step: Step,
    /// When, in wall-clock milliseconds.
    pub at: i64,
    /// How often it was handed over, if it is not read.
    pub times: u32,
}

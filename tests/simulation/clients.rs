//! Those who speak to the daemon: hooks, shims over WebSocket with outboxes that they empty or not, and people. They say
//! to the ledger what they ask for before they do.

use super::facts::{Fate, SessionState};
use super::observer::{Answer, Asked, End, Observer};
use super::random::Random;
use crossbeam_channel::{Receiver, Sender, bounded};
use marshal::ids::MessageId;
use marshal::model::{ItemType, Session};
use marshal::roster::{
    Arrival, Caller, HistoryQuery, HookReport, Known, MessageFilter, Push, Reply, Request, SessionChange,
};
use marshal::store::{Command, Outbox, ReplyTo, View};
use marshal::time::MonoMs;

const HOOKS: [&str; 4] = ["h0", "h1", "h2", "h3"];
const SHIMS: usize = 3;
/// Silence on either clock after which a session may go; the product waits for twice as long.
const SILENCE_MS: i64 = 30 * 60 * 1000;
const WATCHER: &str = "watcher";

/// A shim: its session is `s0`, or, for the last one, that of a hook.
struct Shim {
    client: Option<String>,
    closed: Receiver<()>,
}

pub struct Clients {
    random: Random,
    shims: Vec<Shim>,
    connections: usize,
    requests: u64,
    messages: u64,
    /// Messages that somebody has been shown: the reader, and the id.
    unread: Vec<(String, String)>,
    /// When each hook was last heard of, on both clocks.
    heard: [(i64, MonoMs); HOOKS.len()],
    began_wall: i64,
}

fn shim_session(shim: usize) -> &'static str {
    ["s0", "s1", "h0"][shim]
}

impl Clients {
    pub fn new(seed: u64) -> Self {
        let shims = (0..SHIMS).map(|_| Shim { client: None, closed: bounded(1).1 }).collect();
        Self {
            random: Random::new(seed),
            shims,
            connections: 0,
            requests: 0,
            messages: 0,
            unread: Vec::new(),
            heard: [(0, MonoMs(0)); HOOKS.len()],
            began_wall: 0,
        }
    }

    /// The daemon has begun anew: all connections are gone, and one client watches everything.
    pub fn begin_life(&mut self, observer: &mut Observer, batch: &mut Vec<Command>) {
        for shim in &mut self.shims {
            shim.client = None;
        }
        if self.began_wall == 0 {
            self.began_wall = observer.now.wall_ms;
        }
        let (sender, frames) = bounded(10_000);
        observer.watcher = Some(frames);
        let outbox = Outbox::new(sender, Box::new(|| panic!("the watcher reads everything")));
        batch.push(Command::Connect { client: WATCHER.into(), known: Known::Unproven, outbox });
        for item_type in ItemType::ALL {
            let (tx, view) = (item_type.as_str().to_owned(), View::Items(item_type));
            batch.push(Command::Query { client: WATCHER.into(), tx, view });
        }
    }

    /// A number for a message that nobody has used.
    pub fn next_message(&mut self, observer: &mut Observer) -> u64 {
        self.messages += 1;
        observer.ledger.facts.messages.insert(self.messages, Fate::Asked);
        self.messages
    }

    fn ask(&mut self, observer: &mut Observer, asked: Asked, request: Request, batch: &mut Vec<Command>) -> u64 {
        self.requests += 1;
        let number = self.requests;
        observer.tell(|| format!("request {number}: {asked:?}"));
        observer.asked.insert(number, asked);
        let sender: Sender<Answer> = observer.reply.clone();
        let reply_to: ReplyTo = Box::new(move |result| sender.try_send((number, result)).unwrap());
        batch.push(Command::Request { request, reply_to: Some(reply_to) });
        number
    }

    fn say(observer: &mut Observer, request: Request, batch: &mut Vec<Command>) {
        observer.tell(|| format!("event: {}", format!("{request:?}").chars().take(120).collect::<String>()));
        batch.push(Command::Request { request, reply_to: None });
    }

    /// What all of them do in one step.
    pub fn act(&mut self, observer: &mut Observer, batch: &mut Vec<Command>) {
        self.react(observer, batch);
        for _ in 0..self.random.below(5) {
            match self.random.below(20) {
                0..6 => self.hook(observer, batch),
                6..11 => self.send(observer, batch),
                11..15 => self.shim(observer, batch),
                15..17 => self.room(observer, batch),
                17 => self.read(observer, batch),
                18 => self.acknowledge(observer, batch),
                _ => self.look(observer, batch),
            }
        }
    }

    /// A tick: who has been silent may be gone.
    pub fn tick(&mut self, observer: &mut Observer, batch: &mut Vec<Command>) {
        let now = observer.now;
        for (at, hook) in HOOKS.iter().enumerate() {
            let (wall, mono) = self.heard[at];
            if now.mono_ms - mono > SILENCE_MS || (now.wall_ms - wall).abs() > SILENCE_MS {
                observer.ledger.facts.frail.insert((*hook).to_owned());
            }
        }
        if now.wall_ms - self.began_wall > 13 * 24 * 60 * 60 * 1000 {
            // Messages may go for their age.
            let facts = &mut observer.ledger.facts;
            facts.messages.values_mut().filter(|fate| matches!(fate, Fate::Told(_))).for_each(|fate| *fate = Fate::May);
            facts.receipts.clear();
        }
        self.requests += 1;
        observer.ledger.facts.time_passed(self.requests);
        observer.tell(|| "tick".to_owned());
        batch.push(Command::Tick);
    }

    fn heard_of(&mut self, hook: usize, observer: &mut Observer) {
        self.heard[hook] = (observer.now.wall_ms, observer.now.mono_ms);
        // One whose shim comes and goes may go with it.
        if hook != 0 {
            observer.ledger.facts.frail.remove(HOOKS[hook]);
        }
    }

    fn hook(&mut self, observer: &mut Observer, batch: &mut Vec<Command>) {
        let hook = self.random.below(HOOKS.len());
        let session = HOOKS[hook].to_owned();
        let directory = format!("/w/{}", self.random.below(2));
        let report = HookReport { session_id: session.clone(), cwd: Some(directory), ..HookReport::default() };
        let stays = |state: &SessionState| vec![Some(state.clone().flatten())];
        match self.random.below(8) {
            0 => {
                let request = Request::session_end(session.as_str().into());
                let number = self.ask(observer, Asked::End(session.clone()), request, batch);
                observer.ledger.facts.ask(number, &session, |_| vec![None]);
            }
            1..4 => {
                let number = self.ask(observer, Asked::Start(session.clone()), Request::session_start(report), batch);
                observer.ledger.facts.ask(number, &session, stays);
                self.heard_of(hook, observer);
            }
            4..6 => {
                let number = self.ask(observer, Asked::Start(session.clone()), Request::prompt_submit(report), batch);
                observer.ledger.facts.ask(number, &session, stays);
                self.heard_of(hook, observer);
            }
            _ => self.change_task(&session, observer, batch),
        }
    }

    fn change_task(&mut self, session: &str, observer: &mut Observer, batch: &mut Vec<Command>) {
        // Sometimes the same as before, sometimes long, so that lines differ in length and the log grows.
        let (number, long) = (self.random.below(3), if self.random.one_in(4) { 300 } else { 5 });
        let task = format!("task {number} {}", "x".repeat(self.random.below(long)));
        let change = SessionChange::CurrentTask(Some(task.clone()));
        let request = Request::UpdateSession { session: session.into(), change };
        let number = self.ask(observer, Asked::Task(session.to_owned(), task.clone()), request, batch);
        observer.ledger.facts.ask(number, session, |state| vec![state.as_ref().map(|_| Some(task.clone()))]);
    }

    fn anybody(&mut self) -> &'static str {
        ["h0", "h1", "h2", "h3", "s0", "s1", "human:ann"][self.random.below(7)]
    }

    fn caller(&mut self) -> (Caller, String) {
        match self.anybody() {
            "human:ann" => (Caller::human("ann"), "human:ann".to_owned()),
            session => (Caller::session(session), session.to_owned()),
        }
    }

    fn send(&mut self, observer: &mut Observer, batch: &mut Vec<Command>) {
        let number = self.next_message(observer);
        let length = if self.random.one_in(8) { 400 } else { 20 };
        let body = format!("m{number:06} {}", "y".repeat(self.random.below(length)));
        let (caller, _) = self.caller();
        let request = match self.random.below(5) {
            0 => Request::Broadcast { caller, room: "everyone".to_owned(), body },
            1 => Request::Broadcast { caller, room: format!("room {}", self.random.below(2)), body },
            _ => Request::send(caller, self.anybody(), body),
        };
        self.ask(observer, Asked::Send(number), request, batch);
    }

    fn room(&mut self, observer: &mut Observer, batch: &mut Vec<Command>) {
        let session = *self.random.pick(&["h0", "h1", "h2", "s0"]);
        let (caller, number) = (Caller::session(session), self.random.below(2));
        if self.random.one_in(3) {
            let request = Request::LeaveRoom { caller, room: format!("room {number}") };
            let at = self.ask(observer, Asked::Leave, request, batch);
            observer.ledger.facts.leave(at, &format!("room-{number}::{session}"));
        } else {
            let request = Request::JoinRoom { caller, name: format!("room {number}"), description: None };
            self.ask(observer, Asked::Join(session.to_owned()), request, batch);
        }
    }

    fn read(&mut self, observer: &mut Observer, batch: &mut Vec<Command>) {
        let (caller, name) = self.caller();
        let filter = MessageFilter { inbox: true, unread: self.random.one_in(2), ..MessageFilter::default() };
        self.ask(observer, Asked::Read(name), Request::ReadMessages { caller, filter }, batch);
    }

    fn acknowledge(&mut self, observer: &mut Observer, batch: &mut Vec<Command>) {
        let Some((reader, _)) = self.unread.first().cloned() else { return };
        let mut ids: Vec<String> =
            self.unread.iter().filter(|(other, _)| *other == reader).map(|(_, id)| id.clone()).collect();
        ids.sort();
        ids.dedup();
        self.unread.retain(|(other, _)| *other != reader);
        let caller = match reader.strip_prefix("human:") {
            Some(human) => Caller::human(human),
            None => Caller::session(&reader),
        };
        let messages = ids.iter().map(|id| MessageId::from(id.as_str())).collect();
        self.ask(observer, Asked::Ack(reader, ids), Request::AckMessages { caller, messages }, batch);
    }

    fn look(&mut self, observer: &mut Observer, batch: &mut Vec<Command>) {
        match self.random.below(3) {
            0 => {
                let number = self.ask(observer, Asked::List, Request::ListSessions, batch);
                let sessions = observer.ledger.facts.sessions();
                sessions.iter().for_each(|id| observer.ledger.facts.ask(number, id, |state| vec![state.clone()]));
            }
            1 => drop(self.ask(observer, Asked::Look, Request::ListRooms, batch)),
            _ => drop(self.ask(observer, Asked::Look, Request::History(HistoryQuery::default()), batch)),
        }
    }

    fn shim(&mut self, observer: &mut Observer, batch: &mut Vec<Command>) {
        let at = self.random.below(SHIMS);
        let session = shim_session(at);
        let Some(client) = self.shims[at].client.clone() else { return self.connect(at, observer, batch) };
        match self.random.below(6) {
            0 => {
                observer.ledger.facts.frail.insert(session.to_owned());
                self.hang_up(at, observer, batch);
            }
            1 => {
                observer.ledger.facts.frail.insert(session.to_owned());
                self.requests += 1;
                observer.ledger.facts.ask(self.requests, session, |state| vec![state.clone(), None]);
                let request = Request::WithdrawSession { client: client.as_str().into(), session: session.into() };
                Self::say(observer, request, batch);
            }
            2 => self.publish(at, &client, observer, batch),
            3 => {
                let tx = self.random.below(3).to_string();
                let view = *self.random.pick(&[
                    View::Items(ItemType::Session),
                    View::Items(ItemType::Message),
                    View::Nicknames,
                ]);
                batch.push(Command::Query { client: client.as_str().into(), tx, view });
            }
            4 => batch.push(Command::CancelQuery {
                client: client.as_str().into(),
                tx: self.random.below(3).to_string(),
                applied: Box::new(()),
            }),
            _ => self.change_task(session, observer, batch),
        }
    }

    fn connect(&mut self, at: usize, observer: &mut Observer, batch: &mut Vec<Command>) {
        self.connections += 1;
        let client = format!("c{}", self.connections);
        // Some take what they are sent, some do not for a while, some have hardly any room.
        let (room, reads) = *self.random.pick(&[(64, true), (64, true), (4, false), (1, false)]);
        let (sender, frames) = bounded(room);
        let (close, closed) = bounded(1);
        let outbox = Outbox::new(
            sender,
            Box::new(move || {
                // Once is enough.
                let _ = close.try_send(());
            }),
        );
        observer.tell(|| format!("{client} connects, room for {room}, reads: {reads}"));
        observer.clients.insert(client.clone(), End { frames, reads });
        self.shims[at] = Shim { client: Some(client.clone()), closed };
        batch.push(Command::Connect { client: client.as_str().into(), known: Known::Unproven, outbox });
        self.publish(at, &client, observer, batch);
    }

    fn publish(&mut self, at: usize, client: &str, observer: &mut Observer, batch: &mut Vec<Command>) {
        let session = shim_session(at);
        observer.ledger.facts.frail.insert(session.to_owned());
        self.requests += 1;
        observer.ledger.facts.ask(self.requests, session, |state| vec![state.clone(), Some(state.clone().flatten())]);
        let mut row = Session::new(session.into(), "shim", "/w/0", observer.now.wall_ms);
        row.channels_enabled = (at == SHIMS - 1).then_some(true);
        let request = Request::PublishSession { client: client.into(), session: Box::new(row) };
        Self::say(observer, request, batch);
    }

    fn hang_up(&mut self, at: usize, observer: &mut Observer, batch: &mut Vec<Command>) {
        if let Some(client) = self.shims[at].client.take() {
            observer.tell(|| format!("{client} hangs up"));
            observer.clients.remove(&client);
            batch.push(Command::Disconnect { client: client.as_str().into() });
        }
    }

    /// What follows from what has arrived.
    fn react(&mut self, observer: &mut Observer, batch: &mut Vec<Command>) {
        for at in 0..SHIMS {
            if self.shims[at].client.is_some() && self.shims[at].closed.try_recv().is_ok() {
                self.hang_up(at, observer, batch);
            }
        }
        if self.random.one_in(8) {
            observer.clients.values_mut().for_each(|end| end.reads = !end.reads);
        }
        for push in std::mem::take(&mut observer.pushed) {
            if let Push { read_when_written: Some(session), message, .. } = push {
                let messages = vec![message.row.id.clone()];
                Self::say(
                    observer,
                    Request::InboxHanded {
                        session,
                        messages,
                        path: marshal::model::Path::Push,
                        lease: 0,
                        arrival: Arrival::Whole,
                    },
                    batch,
                );
            }
        }
        for (asked, reply) in std::mem::take(&mut observer.arrived) {
            match (asked, reply) {
                (Asked::Start(session), Reply::Hook(hook)) if !hook.inbox.is_empty() => {
                    let messages = hook.inbox.iter().map(|handing| handing.message.row.id.clone()).collect();
                    let arrival = if self.random.one_in(4) { Arrival::Unsure } else { Arrival::Whole };
                    let session = session.as_str().into();
                    Self::say(
                        observer,
                        Request::InboxHanded { session, messages, path: hook.path, lease: hook.lease, arrival },
                        batch,
                    );
                }
                (Asked::Read(reader), Reply::Messages { messages, .. }) => {
                    let new = messages.iter().filter(|view| !view.read_by_me);
                    self.unread.extend(new.map(|view| (reader.clone(), view.message.row.id.to_string())));
                }
                _ => {}
            }
        }
    }
}

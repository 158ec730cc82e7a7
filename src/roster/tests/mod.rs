//! Tests of the roster as a whole, driven through [`World`]: a roster, seeded ids and two clocks that a test moves as
//! it likes.

mod addresses;
mod churn;
mod delivery;
mod departed;
mod evidence;
mod liveness;
mod mail;
mod meeting;
mod model;
mod names;
mod outside;
mod paging;
mod places;
mod processes;
mod properties;
mod reach;
mod recovery;
mod registration;
mod registry;
mod resolve;
mod rooms;
mod seen;
mod sending;
mod short_ids;
mod speaking;
mod terms;
mod truths;
mod validation;
mod waiters;

use super::*;
use crate::error::ErrorKind;
use crate::ids::{ClientId, MessageId, RoomId, SeededIds};
use crate::model::{Host, Message, Process, Session, TokenHash};
use crate::time::MonoMs;
use std::sync::Arc;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The wall clock when a world begins.
const BIRTH: i64 = 1_795_219_453_182;

/// The arrival of an answer that came whole, or whose caller may have seen it.
fn arrival(complete: bool) -> Arrival {
    if complete { Arrival::Whole } else { Arrival::Unsure }
}

/// A roster with everything around it that a test needs. Each helper commits, as a store without neighbours would;
/// [`World::apply`] does not.
struct World {
    roster: Roster,
    ids: SeededIds,
    now: Now,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            roster: Roster::new(),
            ids: SeededIds::new(1),
            now: Now { wall_ms: BIRTH, wall_extra_ns: 0, mono_ms: MonoMs(5000) },
        };
        world.roster.doors_opened(world.now);
        world
    }

    /// What a daemon knows that starts `later` after this one stopped, with these rows in its log, of which nothing says
    /// when it was last written to.
    fn restarted(&self, later: i64) -> Self {
        self.restarted_after(None, later)
    }

    /// The same with a log whose last line was written now.
    fn restarted_from_log(&self, later: i64) -> Self {
        self.restarted_after(Some(self.now.wall_ms), later)
    }

    fn restarted_after(&self, written_at: Option<i64>, later: i64) -> Self {
        let now = Now { wall_ms: self.now.wall_ms + later, wall_extra_ns: 0, mono_ms: MonoMs(7) };
        let mut roster = Roster::new();
        roster.load(self.roster.rows_in_order(), written_at, now);
        Self { roster, ids: SeededIds::new(2), now }
    }

    /// Time passes on both clocks.
    fn pass(&mut self, ms: i64) {
        self.now.wall_ms += ms;
        self.now.mono_ms += ms;
    }

    /// Somebody sets the wall clock, or the machine sleeps.
    fn jump(&mut self, ms: i64) {
        self.now.wall_ms += ms;
    }

    fn apply(&mut self, request: Request) -> Outcome {
        self.roster.apply(request, self.now, &mut self.ids)
    }

    /// Gives a message another id, as an outsider can: those that are made here have nothing in common.
    fn rename(&mut self, message: &MessageId, id: &str) -> MessageId {
        let Some(Row::Message(stored)) = self.roster.row(ItemType::Message, message.as_str()) else { panic!() };
        let renamed = Message { id: MessageId::from(id), ..stored.row.clone() };
        let gone = ExternalEvent::Delete(ItemType::Message, message.to_string());
        self.ok(Request::External(vec![gone, ExternalEvent::Set(renamed.into(), None)]));
        MessageId::from(id)
    }

    fn ok(&mut self, request: Request) -> Reply {
        let reply = self.apply(request).reply.unwrap();
        self.roster.commit();
        reply
    }

    /// The error of a request that must fail, and leave no trace.
    fn err(&mut self, request: Request) -> RequestError {
        let (rows, length) = (model::contents(&self.roster), self.roster.journal().len());
        let error = self.apply(request).reply.unwrap_err();
        assert_eq!(self.roster.journal().len(), length, "an error leaves no journal entry");
        assert_eq!(model::contents(&self.roster), rows, "an error changes nothing");
        error
    }

    fn hook(&mut self, request: Request) -> HookReply {
        match self.ok(request) {
            Reply::Hook(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn start(&mut self, id: &str, cwd: &str) -> HookReply {
        self.hook(Request::session_start(report(id, cwd)))
    }

    fn prompt(&mut self, id: &str) -> HookReply {
        self.hook(Request::prompt_submit(report(id, "")))
    }

    fn end(&mut self, id: &str) {
        self.ok(Request::session_end(id.into()));
    }

    fn connect(&mut self, client: &str) {
        self.ok(Request::ClientConnected(client.into()));
    }

    fn gone(&mut self, client: &str) {
        self.ok(Request::ClientGone(client.into()));
    }

    /// A shim connects, if it is not, and states its session.
    fn publish(&mut self, client: &str, id: &str, nickname: &str) {
        self.connect(client);
        self.ok(stated(client, Session::new(id.into(), nickname, "/w/shim", self.now.wall_ms)));
    }

    fn send(&mut self, from: &str, to: &str, body: &str) -> Sent {
        match self.ok(send(from, to, body)) {
            Reply::Sent(sent) => sent,
            other => panic!("{other:?}"),
        }
    }

    fn broadcast(&mut self, from: &str, room: &str, body: &str) -> BroadcastSent {
        match self.ok(broadcast(from, room, body)) {
            Reply::Broadcast(sent) => sent,
            other => panic!("{other:?}"),
        }
    }

    /// Joins a room: its id, and whether it was made.
    fn join(&mut self, id: &str, name: &str) -> (String, bool) {
        match self.ok(join(id, name)) {
            Reply::Joined { room, created } => (room.row.id.to_string(), created),
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, id: &str, room: &str) -> bool {
        match self.ok(leave(id, room)) {
            Reply::Left { left, .. } => left,
            other => panic!("{other:?}"),
        }
    }

    /// Newly, already, unknown.
    fn ack(&mut self, id: &str, messages: &[&MessageId]) -> (usize, usize, usize) {
        match self.ok(ack(id, messages)) {
            Reply::Acked { newly, already, unknown } => (newly, already, unknown),
            other => panic!("{other:?}"),
        }
    }

    /// What a prompt shows, all of which arrives and is read.
    fn inbox(&mut self, id: &str) -> Vec<String> {
        let HookReply { inbox, path, lease, .. } = self.prompt(id);
        let messages = inbox.iter().map(|handing| handing.message.row.id.clone()).collect();
        self.ok(Request::InboxHanded { session: id.into(), messages, path, lease, arrival: Arrival::Whole });
        self.goes_on(id);
        bodies(&inbox)
    }

    /// The session shows that it has read what it was handed.
    fn goes_on(&mut self, id: &str) {
        let kind = EventKind::Stop;
        self.ok(Request::HookEvent(Box::new(HookEvent { report: report(id, ""), kind, ..HookEvent::default() })));
    }

    fn sweep(&mut self) {
        self.ok(Request::Sweep { settled: true });
    }

    fn session(&self, id: &str) -> Session {
        self.find(id).unwrap()
    }

    fn find(&self, id: &str) -> Option<Session> {
        match self.roster.row(ItemType::Session, id)? {
            Row::Session(stored) => Some(stored.row.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn nickname(&self, id: &str) -> String {
        self.session(id).nickname.to_string()
    }

    fn view(&mut self, id: &str) -> SessionView {
        match self.ok(Request::ListSessions) {
            Reply::Sessions(views) => views.into_iter().find(|view| view.session.row.id.as_str() == id).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn unread(&self, id: &str) -> usize {
        self.roster.tables.mail.unread_count(&id.into())
    }

    /// The rooms that a session is in.
    fn rooms_of(&self, id: &str) -> Vec<String> {
        let rooms = self.roster.tables.rooms_of.get(id).into_iter().flatten();
        rooms.map(|(room, _)| room.to_string()).collect()
    }

    fn has_room(&self, id: &str) -> bool {
        self.roster.row(ItemType::Room, id).is_some()
    }
}

impl Drop for World {
    /// However a test ends well, its indexes must be those that its rows imply.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            model::check(&self.roster);
        }
    }
}

fn report(id: &str, cwd: &str) -> HookReport {
    let cwd = Some(cwd.to_owned()).filter(|cwd| !cwd.is_empty());
    HookReport { session_id: id.to_owned(), cwd, ..HookReport::default() }
}

/// A report by a hook that runs in a process.
fn report_in(id: &str, process: Process) -> HookReport {
    HookReport { process: Some(process), ..report(id, "/w/x") }
}

fn host(name: &str) -> Host {
    Host { name: name.into(), os: "linux".into(), arch: "x86_64".into() }
}

fn stated(client: &str, session: Session) -> Request {
    Request::PublishSession { client: client.into(), session: Box::new(session) }
}

fn update(id: &str, change: SessionChange) -> Request {
    Request::UpdateSession { session: id.into(), change }
}

fn send(from: &str, to: &str, body: &str) -> Request {
    Request::send(caller(from), to, body)
}

fn broadcast(from: &str, room: &str, body: &str) -> Request {
    Request::Broadcast { caller: caller(from), room: room.to_owned(), body: body.to_owned() }
}

fn join(id: &str, name: &str) -> Request {
    Request::JoinRoom { caller: caller(id), name: name.to_owned(), description: None }
}

fn leave(id: &str, room: &str) -> Request {
    Request::LeaveRoom { caller: caller(id), room: room.to_owned() }
}

fn ack(id: &str, messages: &[&MessageId]) -> Request {
    let messages = messages.iter().map(|message| (*message).clone()).collect();
    Request::AckMessages { caller: caller(id), messages }
}

/// The hash of one of a test's tokens.
fn token(number: u8) -> TokenHash {
    TokenHash([number; 32])
}

/// The process that has this id, of those that began at one moment of one boot.
fn process(pid: u32) -> Process {
    Process { pid, started: 1, boot: "boot".into() }
}

fn registering(id: &str, name: &str, token: TokenHash) -> Registering {
    let (session_id, display_name, cwd) = (id.to_owned(), name.to_owned(), Some("/w/proj".to_owned()));
    Registering { token, session_id, display_name, pid: 7, cwd, ..Registering::default() }
}

/// A session, or a human if the name says so.
fn caller(name: &str) -> Caller {
    match name.strip_prefix("human:") {
        Some(human) => Caller::human(human),
        None => Caller::session(name),
    }
}

fn bodies(handings: &[Handing]) -> Vec<String> {
    handings.iter().map(|handing| handing.message.row.body.to_string()).collect()
}

//! Hears of everything: of each operation of the disk, of each answer and of each frame, in the order in which they
//! come. What was said goes into the ledger before the next operation takes place, so that an answer which precedes the
//! sync that it depends on is held against a disk without it.

use super::crash::{Crash, Crasher};
use super::facts::{Fate, SessionState, task, token};
use super::ledger::Ledger;
use super::rows::{text_of, text_of_json};
use super::sim_disk::{Op, State};
use crossbeam_channel::{Receiver, Sender, bounded};
use marshal::error::{ErrorKind, RequestError};
use marshal::model::{ItemType, Message, Row, Stored};
use marshal::roster::{BroadcastSent, Push, Reply, Sent};
use marshal::row_json::row_text;
use marshal::store::Frame;
use marshal::time::Now;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a request is about.
#[derive(Clone, Debug)]
pub enum Asked {
    Start(String),
    End(String),
    Task(String, String),
    Send(u64),
    List,
    Join(String),
    Leave,
    Ack(String, Vec<String>),
    Read(String),
    Look,
}

pub type Answer = (u64, Result<Reply, RequestError>);

/// The end of a client's outbox, and whether it takes frames out.
pub struct End {
    pub frames: Receiver<Box<Frame>>,
    pub reads: bool,
}

pub struct Observer {
    pub ledger: Ledger,
    pub crasher: Crasher,
    pub now: Now,
    /// Where it is, for a complaint.
    pub seed: u64,
    pub life: usize,
    pub asked: BTreeMap<u64, Asked>,
    answers: Receiver<Answer>,
    pub reply: Sender<Answer>,
    /// What has come and nobody has reacted to yet.
    pub arrived: Vec<(Asked, Reply)>,
    pub pushed: Vec<Push>,
    /// The client that watches everything and always reads.
    pub watcher: Option<Receiver<Box<Frame>>>,
    pub clients: BTreeMap<String, End>,
    pub operations: u64,
    /// The operation with which this life ends.
    crash_at: u64,
    /// What is left of the disk.
    pub dead: Option<State>,
    /// Everything that happened, as one number.
    pub trace: u64,
    /// Whether to tell it all on stderr.
    pub story: bool,
}

impl Observer {
    pub fn new(seed: u64, crasher: Crasher) -> Self {
        let (reply, answers) = bounded(4096);
        Self {
            ledger: Ledger::default(),
            crasher,
            now: Now::at(0),
            seed,
            life: 0,
            asked: BTreeMap::new(),
            answers,
            reply,
            arrived: Vec::new(),
            pushed: Vec::new(),
            watcher: None,
            clients: BTreeMap::new(),
            operations: 0,
            crash_at: u64::MAX,
            dead: None,
            trace: 0,
            story: false,
        }
    }

    pub fn begin_life(&mut self, crash_at: u64) {
        self.life += 1;
        self.operations = 0;
        self.crash_at = crash_at;
        self.dead = None;
        self.asked.clear();
        self.arrived.clear();
        self.pushed.clear();
        self.watcher = None;
        self.clients.clear();
        while self.answers.try_recv().is_ok() {}
    }

    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.story {
            eprintln!("life {} step {}: {}", self.life, self.ledger.step, what());
        }
    }

    fn complain(&self, at: &str, complaint: &str) -> ! {
        panic!(
            "seed {}, life {}, step {}, operation {} ({at}): {complaint}",
            self.seed, self.life, self.ledger.step, self.operations
        );
    }

    pub fn must(&self, at: &str, what: Result<(), String>) {
        if let Err(complaint) = what {
            self.complain(at, &complaint);
        }
    }

    /// Something is about to be done to the disk (no operation), or has been.
    pub fn hear(&mut self, state: &State, op: Option<&Op>) {
        if self.dead.is_some() {
            return;
        }
        let version = self.ledger.version;
        self.listen();
        let Some(op) = op else {
            if self.ledger.version != version {
                self.check(state, "before an operation, after something was said");
            }
            return;
        };
        self.operations += 1;
        self.trace = self.trace.wrapping_mul(0x0100_0000_01b3) ^ self.summary(state);
        self.tell(|| format!("{op:?}"));
        self.ledger.look(state);
        self.check(state, &format!("{op:?}"));
    }

    fn summary(&self, state: &State) -> u64 {
        let bytes: usize = state.inodes.iter().map(|file| file.cache.len() + file.platter.len() * 3).sum();
        bytes as u64 ^ (state.pending_names.len() as u64) << 40 ^ self.ledger.version << 48
    }

    /// Goes through the crash states of this moment; at the last one of this life, a crash happens.
    pub fn check(&mut self, state: &State, at: &str) {
        match self.crasher.check_all(state, &self.ledger, self.now) {
            Err(complaint) => self.complain(at, &complaint),
            Ok(crash) if self.operations >= self.crash_at => self.die(state, &crash),
            Ok(_) => {}
        }
    }

    pub fn die(&mut self, state: &State, crash: &Crash) {
        self.tell(|| format!("crash: {crash}"));
        self.dead = Some(crash.strike(state).0);
    }

    /// The turn is over; unless more is waiting, those who watch have heard of everything.
    pub fn end_turn(&mut self, state: &State, all_is_shown: bool) {
        if self.dead.is_some() {
            return;
        }
        self.listen();
        if all_is_shown {
            self.ledger.all_is_shown(state);
        }
        self.ledger.look(state);
        self.must("end of a turn", self.ledger.check_lines(state));
        self.check(state, "end of a turn");
    }

    /// The daemon has ended itself: nobody may have been told of anything that is not on the disk.
    pub fn end_life(&mut self, state: &State) {
        self.listen();
        self.ledger.look(state);
        self.check(state, "the end");
    }

    /// Takes what has been said since the last time.
    fn listen(&mut self) {
        while let Ok((number, result)) = self.answers.try_recv() {
            let Some(asked) = self.asked.remove(&number) else {
                self.complain("an answer", &format!("request {number} was answered, and nobody had asked, or twice"));
            };
            self.tell(|| format!("answer {number} to {asked:?}: {}", brief(&result)));
            self.answered(number, asked, result);
        }
        let frames: Vec<Box<Frame>> = self.watcher.iter().flat_map(|frames| frames.try_iter()).collect();
        frames.into_iter().for_each(|frame| self.watched(*frame));
        let frames: Vec<Box<Frame>> =
            self.clients.values().filter(|end| end.reads).flat_map(|end| end.frames.try_iter()).collect();
        for frame in frames {
            if let Frame::Notify { push, .. } = *frame {
                self.told_of(&push.message);
                self.pushed.push(*push);
            }
        }
    }

    fn told_of(&mut self, message: &Arc<Stored<Message>>) {
        let row = Row::Message(message.clone());
        if let Some(number) = token(&row_text(&row)) {
            // What was stored before an outsider destroyed it need not be back yet.
            let step = self.ledger.damaged_at.unwrap_or(self.ledger.step);
            match self.ledger.facts.messages.get(&number).copied() {
                Some(Fate::Told(_) | Fate::May) => {}
                Some(Fate::Asked) => {
                    self.ledger.facts.messages.insert(number, Fate::Told(step));
                    self.ledger.version += 1;
                }
                other => self.complain("a message", &format!("m{number:06} is shown, and was {other:?}")),
            }
        }
    }

    fn show(&mut self, row: &Row) {
        self.ledger.show(row.item_type(), row.id(), Some(text_of(row)));
        if let Row::Message(message) = row {
            self.told_of(message);
        }
    }

    fn watched(&mut self, frame: Frame) {
        let item_type = |tx: &str| ItemType::parse(tx).unwrap();
        match frame {
            Frame::Snapshot { tx, rows, .. } => {
                let (item_type, before) = (item_type(&tx), self.ledger.shown_ids(item_type(&tx)));
                before.iter().for_each(|id| self.ledger.show(item_type, id, None));
                for row in rows.iter() {
                    let (id, text) = text_of_json(&serde_json::from_str(row).unwrap());
                    self.ledger.show(item_type, &id, Some(text));
                }
            }
            Frame::Diff { tx, body, .. } => {
                let body: Value = serde_json::from_str(&format!("{{{body}}}")).unwrap();
                for upsert in body["upserts"].as_array().unwrap() {
                    let (id, text) = text_of_json(&upsert["item"]);
                    self.ledger.show(item_type(&tx), &id, Some(text));
                }
                for id in body["deletes"].as_array().unwrap() {
                    self.ledger.show(item_type(&tx), id.as_str().unwrap(), None);
                }
            }
            other => self.complain("the watcher", &format!("{other:?}")),
        }
    }

    fn answered(&mut self, number: u64, asked: Asked, result: Result<Reply, RequestError>) {
        match result {
            Ok(reply) => {
                self.granted(number, &asked, &reply);
                self.arrived.push((asked, reply));
            }
            Err(error) => self.denied(number, &asked, error.kind),
        }
    }

    fn denied(&mut self, number: u64, asked: &Asked, kind: ErrorKind) {
        self.ledger.version += 1;
        match asked {
            Asked::Task(session, _) if kind == ErrorKind::NotFound => {
                self.was_told(number, session, Option::is_none);
            }
            Asked::Start(session) | Asked::End(session) | Asked::Task(session, _) => {
                self.ledger.facts.refused(number, session);
                // A sign of life that was not stored need not count.
                self.ledger.facts.frail.insert(session.clone());
            }
            Asked::List => {
                let sessions = self.ledger.facts.sessions();
                sessions.iter().for_each(|session| self.ledger.facts.refused(number, session));
            }
            Asked::Send(message) => drop(self.ledger.facts.messages.insert(*message, Fate::Never)),
            Asked::Join(_) | Asked::Leave | Asked::Ack(..) | Asked::Read(_) | Asked::Look => {}
        }
    }

    fn granted(&mut self, number: u64, asked: &Asked, reply: &Reply) {
        let step = self.ledger.step;
        match (asked, reply) {
            (Asked::Start(session), Reply::Hook(hook)) => {
                let row = Row::Session(hook.session.clone().unwrap());
                let is = Some(task(&row_text(&row)));
                self.was_told(number, session, |state| *state == is);
                self.show(&row);
                hook.inbox.iter().for_each(|handing| self.show(&Row::Message(handing.message.clone())));
            }
            (Asked::End(session), Reply::Done) => {
                self.was_told(number, session, Option::is_none);
                self.ledger.show(ItemType::Session, session, None);
            }
            (Asked::Task(session, task), Reply::Done) => {
                let is = Some(Some(task.clone()));
                self.was_told(number, session, |state| *state == is);
                self.ledger.version += 1;
            }
            (
                Asked::Send(number),
                Reply::Sent(Sent { message, .. }) | Reply::Broadcast(BroadcastSent { message, .. }),
            ) => {
                self.show(&Row::Message(message.clone()));
                self.ledger.facts.messages.insert(*number, Fate::Told(step));
            }
            (Asked::List, Reply::Sessions(views)) => {
                let rows: Vec<Row> = views.iter().map(|view| Row::Session(view.session.clone())).collect();
                self.listed(number, &rows);
            }
            (Asked::Join(session), Reply::Joined { room, .. }) => {
                // Who was in the room before an outsider destroyed it is answered at once.
                let step = self.ledger.damaged_at.unwrap_or(step);
                self.ledger.facts.joined(number, session, format!("{}::{session}", room.row.id), step);
                self.show(&Row::Room(room.clone()));
            }
            (Asked::Ack(session, ids), Reply::Acked { newly, .. }) if *newly == ids.len() => {
                for id in ids {
                    self.ledger.facts.read(number, session, format!("{id}::{session}"), step);
                }
                self.ledger.version += 1;
            }
            (Asked::Read(_), Reply::Messages { messages, .. }) => {
                messages.iter().for_each(|view| self.show(&Row::Message(view.message.clone())));
            }
            (Asked::Look, Reply::History(page)) => {
                page.messages.iter().for_each(|entry| self.show(&Row::Message(entry.message.clone())));
            }
            (Asked::Look, Reply::Rooms(views)) => {
                views.iter().for_each(|view| self.show(&Row::Room(view.room.clone())));
            }
            (Asked::Leave | Asked::Ack(..), _) => {}
            (asked, reply) => self.complain("an answer", &format!("{asked:?} is answered by {reply:?}")),
        }
    }

    fn was_told(&mut self, number: u64, session: &str, is: impl Fn(&SessionState) -> bool) {
        let fits = self.ledger.facts.told(number, session, is);
        self.must("an answer", fits);
    }

    /// All sessions, and no others.
    fn listed(&mut self, number: u64, rows: &[Row]) {
        for session in self.ledger.facts.sessions() {
            let row = rows.iter().find(|row| row.id() == session);
            let is = row.map(|row| task(&row_text(row)));
            self.was_told(number, &session, |state| *state == is);
        }
        for id in self.ledger.shown_ids(ItemType::Session) {
            if !rows.iter().any(|row| row.id() == id) {
                self.ledger.show(ItemType::Session, &id, None);
            }
        }
        rows.iter().for_each(|row| self.show(row));
    }
}

fn brief(result: &Result<Reply, RequestError>) -> String {
    match result {
        Ok(reply) => format!("{reply:?}").chars().take(160).collect(),
        Err(error) => format!("{}: {}", error.kind.code(), error.message),
    }
}

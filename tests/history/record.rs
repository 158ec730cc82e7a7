//! A history: what every client asked and what came of it, in one global order, one JSON object a line. The checker
//! needs nothing else, so that a history can be judged again long after its run.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

/// One line of a history.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Record {
    /// Its place in the order of all that was asked and answered.
    pub at: u64,
    /// Who says so.
    pub client: String,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What a line says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A client begins to ask for something.
    Invoke { op: u64, call: Call },
    /// It was done.
    Ok {
        op: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        recipients: Vec<String>,
    },
    /// It was not done.
    Refused { op: u64, why: String },
    /// Nobody knows: the daemon died first.
    Unknown { op: u64 },
    /// A message came to a session. What came in one stream came in this order.
    See { session: String, stream: String, message: String, body: String },
    /// A live query of all messages told of these. The first diff of a stream is a snapshot.
    Diff { stream: String, sequence: u64, messages: Vec<String> },
    /// A session came back for good and took all of its mail.
    Drained { session: String },
    /// A client has stopped asking, as it was told to.
    Held,
    /// A client could not do what it was told to.
    Stuck { why: String },
    /// These sessions are on the roster.
    Listed { sessions: Vec<String> },
    /// Something was done to the daemon or its log.
    Nemesis { what: String },
    /// The daemon ended because a sync failed; these messages and receipts were in the batch that was to be synced.
    Unsynced { rows: Vec<String> },
    /// The daemon ended by itself, so many milliseconds after it was given a reason to.
    Ended { code: Option<i32>, wanted: i32, after_ms: u64 },
    /// Somebody else wrote these rows (`Type/id`) into the log, for good.
    Outside { rows: Vec<String> },
    /// Somebody else put these messages elsewhere in the log than where they stood: their order is not promised.
    Disordered { messages: Vec<String> },
}

/// What can be asked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "call", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Call {
    /// A session begins, by hook.
    Start { session: String },
    /// A session ends, by hook.
    End { session: String },
    /// A session submits a prompt, by hook.
    Prompt { session: String },
    /// A shim states its session. Nothing answers that.
    Publish { session: String },
    /// A message to a session or a human.
    Send { from: String, to: String, body: String },
    /// A message to a room.
    Broadcast { from: String, room: String, body: String },
    /// A session has read messages.
    Ack { session: String, messages: Vec<String> },
    /// A session joins a room.
    Join { session: String, room: String },
    /// A session leaves a room.
    Leave { session: String, room: String },
    /// A session says what it does.
    Task { session: String, task: String },
    /// Something that changes nothing.
    Look { what: String },
}

impl Call {
    /// The session or human that asks.
    pub fn speaker(&self) -> &str {
        match self {
            Self::Start { session }
            | Self::End { session }
            | Self::Prompt { session }
            | Self::Publish { session }
            | Self::Ack { session, .. }
            | Self::Join { session, .. }
            | Self::Leave { session, .. }
            | Self::Task { session, .. } => session,
            Self::Send { from, .. } | Self::Broadcast { from, .. } => from,
            Self::Look { .. } => "",
        }
    }
}

/// What came of a call.
#[derive(Debug)]
pub enum Outcome {
    Ok,
    /// A message was stored under this id for these.
    Stored(String, Vec<String>),
    Refused(String),
    Unknown,
}

/// Where one client writes its part of the history.
#[derive(Clone)]
pub struct Scribe {
    pub client: String,
    clock: Arc<AtomicU64>,
    records: Sender<Record>,
}

impl Scribe {
    pub fn new(client: &str, clock: Arc<AtomicU64>, records: Sender<Record>) -> Self {
        Self { client: client.to_owned(), clock, records }
    }

    /// The next number of the global order.
    pub fn next(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub fn note(&self, event: Event) {
        self.note_at(self.next(), event);
    }

    fn note_at(&self, at: u64, event: Event) {
        // The driver is gone only when the test has failed already.
        let _ = self.records.send(Record { at, client: self.client.clone(), event });
    }

    /// Notes that something is about to be asked, and gives it a number.
    pub fn invoke(&self, call: Call) -> u64 {
        let op = self.next();
        self.note_at(op, Event::Invoke { op, call });
        op
    }

    pub fn complete(&self, op: u64, outcome: Outcome) {
        self.note(match outcome {
            Outcome::Ok => Event::Ok { op, message: None, recipients: Vec::new() },
            Outcome::Stored(message, recipients) => Event::Ok { op, message: Some(message), recipients },
            Outcome::Refused(why) => Event::Refused { op, why },
            Outcome::Unknown => Event::Unknown { op },
        });
    }

    pub fn see(&self, session: &str, stream: &str, message: &str, body: &str) {
        let [session, stream, message, body] = [session, stream, message, body].map(str::to_owned);
        self.note(Event::See { session, stream, message, body });
    }
}

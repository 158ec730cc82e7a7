//! Everything that can wake the store, in one enum, and the answers that are not the roster's own.

use super::outbox::Outbox;
use super::stats::Stats;
use super::waiters::Waiter;
use crate::error::RequestError;
use crate::event_log::disk::ReadAt;
use crate::event_log::index::Unfinished;
use crate::event_log::key::LogKey;
use crate::event_log::line::Places;
use crate::event_log::rewrite::Rewritten;
use crate::ids::{ClientId, SessionId};
use crate::model::{ItemType, Process};
use crate::roster::{ExternalEvent, Hearing, Known, Reply, Request, RosterCounts};
use crate::time::Now;
use crossbeam_channel::Receiver;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Where the answer to a request goes. It is called on the store thread, at most once, and must not wait for anything.
pub type ReplyTo = Box<dyn FnOnce(Result<Reply, RequestError>) + Send>;

/// Where a report goes; the same rules.
pub type ReportTo = Box<dyn FnOnce(Result<Report, RequestError>) + Send>;

/// Where the outcome of a compaction goes; the same rules.
pub type CompactTo = Box<dyn FnOnce(Result<Compacted, RequestError>) + Send>;

/// Dropped on the store thread once what it came with is applied, or will never be. Dropping it must not wait.
pub type UntilApplied = Box<dyn Send>;

/// Everything that can wake the store.
pub enum Command {
    /// Something is asked of the roster.
    Request {
        /// What.
        request: Request,
        /// Where the answer goes, if anybody waits for it.
        reply_to: Option<ReplyTo>,
    },
    /// Somebody waits for mail of a session.
    Wait {
        /// The request that says so, and of which.
        request: Request,
        /// The way to it.
        waiter: Box<dyn Waiter>,
    },
    /// One who waited has left.
    WaiterGone {
        /// For whose mail.
        session: SessionId,
        /// Its number.
        number: u64,
    },
    /// Some of the events that a WebSocket client has sent in one frame. Nobody waits for an answer.
    Events {
        /// The events, in order.
        requests: Vec<Request>,
        /// Tells the client's reader that the store has room for more of them.
        applied: UntilApplied,
    },
    /// A WebSocket client is there.
    Connect {
        /// Its name.
        client: ClientId,
        /// What it has shown at the door.
        known: Known,
        /// The way to it.
        outbox: Outbox,
    },
    /// Somebody wants to hear of sessions and messages as it happens.
    Subscribe {
        /// Its name.
        client: ClientId,
        /// The way to it.
        outbox: Outbox,
        /// What it may hear of.
        hearing: Hearing,
        /// The id of the last event that it has heard.
        since: Option<String>,
    },
    /// A WebSocket client or a subscriber is gone.
    Disconnect {
        /// Its name.
        client: ClientId,
    },
    /// A WebSocket client wants to see rows, now and as they change.
    Query {
        /// Its name.
        client: ClientId,
        /// The client's name for the query.
        tx: String,
        /// Which rows.
        view: View,
    },
    /// A WebSocket client has seen enough.
    CancelQuery {
        /// Its name.
        client: ClientId,
        /// The client's name for the query.
        tx: String,
        /// Tells the client's reader that the store has room for more of them.
        applied: UntilApplied,
    },
    /// Something happened to the log's directory.
    LogTouched,
    /// The watcher has read a part of the log.
    LogRead(LogRead),
    /// Of the rows that the watcher was asked about, the log does not tell of these, by their numbers.
    LogLacks {
        /// The store's number for the job.
        number: u64,
        /// Which, from 0.
        rows: Vec<usize>,
    },
    /// A process that sessions live in has ended.
    ProcessEnded(Process),
    /// Three seconds have passed.
    Tick,
    /// The doors are open.
    DoorsOpen,
    /// How are you?
    Report(ReportTo),
    /// Make the log as small as it can be.
    Compact(CompactTo),
    /// The compactor has done a step.
    Compacted(CompactDone),
    /// Finish what is in the queue, and end.
    Stop,
}

impl Command {
    /// Tells the caller, if one waits, that the store does not take the command.
    pub fn refuse(self, error: RequestError) {
        match self {
            Self::Request { reply_to: Some(reply_to), .. } => reply_to(Err(error)),
            Self::Compact(reply_to) => reply_to(Err(error)),
            Self::Report(report_to) => report_to(Err(error)),
            Self::Wait { waiter, .. } => waiter.refuse(error),
            Self::Connect { outbox, .. } | Self::Subscribe { outbox, .. } => outbox.disconnect(),
            _ => {}
        }
    }
}

impl fmt::Debug for Command {
    /// The kind alone: bodies of messages do not belong into anybody's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request { .. } => "Request",
            Self::Wait { .. } => "Wait",
            Self::WaiterGone { .. } => "WaiterGone",
            Self::Events { .. } => "Events",
            Self::Connect { .. } => "Connect",
            Self::Subscribe { .. } => "Subscribe",
            Self::Disconnect { .. } => "Disconnect",
            Self::Query { .. } => "Query",
            Self::CancelQuery { .. } => "CancelQuery",
            Self::LogTouched => "LogTouched",
            Self::LogRead(_) => "LogRead",
            Self::LogLacks { .. } => "LogLacks",
            Self::ProcessEnded(_) => "ProcessEnded",
            Self::Tick => "Tick",
            Self::DoorsOpen => "DoorsOpen",
            Self::Report(_) => "Report",
            Self::Compact(_) => "Compact",
            Self::Compacted(_) => "Compacted",
            Self::Stop => "Stop",
        })
    }
}

/// What a live query shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// All rows of one type.
    Items(ItemType),
    /// The nickname of each session, for clients from marshal 0.21 on.
    Nicknames,
    /// Nothing: an item type that this daemon does not have.
    Nothing,
}

/// A step of a compaction, to be done by the compactor.
pub struct CompactJob {
    /// The store's number for it.
    pub number: u64,
    /// The log.
    pub source: Arc<dyn ReadAt>,
    /// What to do.
    pub step: CompactStep,
    /// Closed once nobody wants it any more.
    pub wanted: Receiver<()>,
}

/// The steps of a compaction that need nothing of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompactStep {
    /// Write what counts of the first so many bytes of the log, whose lines of ours are known by this key, to a new file.
    Rewrite(u64, LogKey),
    /// Append a part of the log to the new file, which has so many bytes, as it stands.
    Extend(u64, Range<u64>),
    /// Remove the new file, and cut the side file back to so many bytes: nothing came of it.
    Discard(Option<u64>),
    /// Nothing but to let go of the file: closing the last handle on a large file that has no name any more frees its
    /// space, which takes long.
    Close,
}

/// What became of a step.
#[derive(Debug)]
pub struct CompactDone {
    /// The store's number for the job.
    pub number: u64,
    /// What was written, or why it could not be.
    pub result: io::Result<Rewritten>,
}

/// What a compaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the log before.
    pub bytes_before: u64,
    /// Bytes of the log after.
    pub bytes_after: u64,
    /// Lines that could not be read and were moved to the side file.
    pub malformed_lines: u64,
}

/// Something that the watcher is to read for the store.
pub struct ReadJob {
    /// The store's number for it.
    pub number: u64,
    /// What is asked.
    pub ask: ReadAsk,
}

/// What the watcher is asked. It gives one answer to each, so that no more is on its way than the store has asked for.
pub enum ReadAsk {
    /// Read this, in the place of what was read before, and give the first events.
    Begin(ReadBegin),
    /// Give the next events.
    More,
    /// Say which of these rows, by their short stand-ins, the log does not tell of.
    Lacks(Vec<u64>),
    /// No more is wanted.
    Forget,
}

/// A part of the log that somebody else wrote, or all of it.
#[derive(Clone)]
pub struct ReadBegin {
    /// The file.
    pub source: Arc<dyn ReadAt>,
    /// The part.
    pub range: Range<u64>,
    /// Whether the part is a whole log.
    pub whole: bool,
    /// How far the places of rows go that stand before it.
    pub places: Places,
    /// By which our lines are known.
    pub key: LogKey,
}

/// What the watcher read.
#[derive(Debug)]
pub struct LogRead {
    /// The store's number for the job.
    pub number: u64,
    /// Some events, in order.
    pub events: Vec<ExternalEvent>,
    /// Set with the last of them.
    pub done: Option<ReadDone>,
}

/// How a job ended.
#[derive(Debug)]
pub struct ReadDone {
    /// The last line, if no newline ends it; it is not read.
    pub unfinished: Option<Unfinished>,
    /// Lines that could not be read.
    pub malformed_lines: u64,
    /// How far the places of rows go by then.
    pub places: Places,
    /// Whether the file could not be read to the end of the part.
    pub failed: bool,
}

/// The state of the store, for health, metrics and status.
#[derive(Clone, Debug)]
pub struct Report {
    /// The moment of the report.
    pub now: Now,
    /// How many rows there are.
    pub counts: RosterCounts,
    /// What the store has done.
    pub stats: Stats,
    /// Why the log cannot be written, if it cannot.
    pub refused: Option<String>,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of what counts in the log.
    pub live_bytes: u64,
    /// Compactions since the start.
    pub compactions: u64,
    /// Lines of the log that could not be read.
    pub malformed_lines: u64,
}

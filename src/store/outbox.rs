//! The way from the store to one WebSocket client. The store puts frames in and never waits: a client whose outbox is
//! full is disconnected, reconnects and gets a snapshot.

use crate::error::RequestError;
use crate::roster::{Push, Reply};
use crossbeam_channel::Sender;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

/// What a WebSocket client is told. Turning it into JSON is the writer thread's work, not the store's.
#[derive(Debug)]
pub enum Frame {
    /// All rows of a live query, as it begins. Its sequence is 0.
    Snapshot {
        /// The client's name for the query.
        tx: Arc<str>,
        /// How the item type is spelled.
        item_type: &'static str,
        /// The rows' texts, shared by all clients that asked since the last change.
        rows: Arc<[Arc<str>]>,
    },
    /// What has changed in a live query.
    Diff {
        /// The client's name for the query.
        tx: Arc<str>,
        /// One more than that of the diff, or snapshot, before.
        sequence: u64,
        /// How many rows there are now.
        total: usize,
        /// The members `deletes` and `upserts` of the JSON object, shared by all clients.
        body: Arc<str>,
    },
    /// A message for a session of the client.
    Notify {
        /// A name for the push; shims drop one without.
        tx: String,
        /// The message.
        push: Box<Push>,
    },
    /// The answer to a command.
    Answer {
        /// The client's name for the command.
        tx: String,
        /// The command's id.
        command_id: String,
        /// The answer.
        result: Box<Result<Reply, RequestError>>,
    },
    /// Text that the client's own reader thread has made.
    Text(String),
    /// Bytes of a frame that the client's own reader thread has made (pong, close).
    Raw(Vec<u8>),
    /// The client's reader thread has ended: nothing more is to be written.
    End,
    /// Good-bye: the close code, and the end.
    Close(u16),
}

/// The way into the queue of frames for one client. The channel's own way of waiting spins and yields before it sleeps;
/// with a writer for each client that was a third of all the daemon's work. So a writer sleeps by itself, and is woken
/// from here.
#[derive(Clone)]
pub struct FrameQueue {
    frames: Sender<Box<Frame>>,
    writer: Arc<OnceLock<Thread>>,
}

impl From<Sender<Box<Frame>>> for FrameQueue {
    fn from(frames: Sender<Box<Frame>>) -> Self {
        Self { frames, writer: Arc::default() }
    }
}

impl FrameQueue {
    /// Names the thread that takes the frames out. Before that nobody is woken.
    pub fn is_written_by(&self, writer: &Thread) {
        // There is one writer; a second call would name the same.
        let _ = self.writer.set(writer.clone());
    }

    /// Puts a frame in, if there is room and somebody takes frames out.
    pub fn send(&self, frame: Frame) -> bool {
        let taken = self.frames.try_send(Box::new(frame)).is_ok();
        if let Some(writer) = self.writer.get() {
            // After the frame is in: the writer looks into the queue again before it sleeps.
            writer.unpark();
        }
        taken
    }
}

/// The store's end of a client's outbox.
pub struct Outbox {
    frames: FrameQueue,
    disconnect: Box<dyn Fn() + Send>,
}

impl Outbox {
    /// An outbox. `disconnect` closes the client's socket without waiting, which ends its two threads.
    pub fn new(frames: impl Into<FrameQueue>, disconnect: Box<dyn Fn() + Send>) -> Self {
        Self { frames: frames.into(), disconnect }
    }

    /// Puts a frame in, if there is room and somebody takes frames out.
    pub fn send(&self, frame: Frame) -> bool {
        self.frames.send(frame)
    }

    /// Closes the client's socket.
    pub fn disconnect(&self) {
        (self.disconnect)();
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({} frames waiting)", self.frames.frames.len())
    }
}

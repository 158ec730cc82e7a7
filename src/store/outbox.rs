//! The way from the store to one WebSocket client. The store puts frames in and never waits: a client whose outbox is
//! full is disconnected, reconnects and gets a snapshot.

use super::events::Event;
use crate::error::RequestError;
use crate::roster::{Push, Reply};
use crossbeam_channel::Sender;
use std::fmt;
use std::sync::Arc;

/// What a WebSocket client is told. Turning it into JSON is the writer's work, not the store's.
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
    /// A text that nobody asked for.
    News(String),
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
    /// Events, for a subscriber.
    Events(Arc<[Arc<Event>]>),
    /// Text that the reader has made.
    Text(String),
    /// Bytes of a frame that the reader has made (pong, close).
    Raw(Vec<u8>),
    /// The reader has heard the client's end: nothing more is to be written.
    End,
    /// Good-bye: the close code, and the end.
    Close(u16),
}

/// The way into the queue of frames for one client.
#[derive(Clone)]
pub struct FrameQueue {
    frames: Sender<Box<Frame>>,
    /// Tells whoever takes the frames out that there are some. It must not wait. Says whether somebody will come.
    ring: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl From<Sender<Box<Frame>>> for FrameQueue {
    /// A queue at which somebody waits.
    fn from(frames: Sender<Box<Frame>>) -> Self {
        Self::new(frames, Arc::new(|| true))
    }
}

impl FrameQueue {
    /// A queue whose other end is looked at when `ring` is called. It must not wait, and says whether somebody will look.
    pub fn new(frames: Sender<Box<Frame>>, ring: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Self { frames, ring }
    }

    /// Puts a frame in, if there is room and somebody takes frames out.
    pub fn send(&self, frame: Frame) -> bool {
        // After the frame is in: whoever comes finds it.
        self.frames.try_send(Box::new(frame)).is_ok() && (self.ring)()
    }
}

/// The store's end of a client's outbox.
pub struct Outbox {
    frames: FrameQueue,
    disconnect: Box<dyn Fn() + Send>,
}

impl Outbox {
    /// An outbox. `disconnect` closes the client's socket without waiting, which ends it.
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

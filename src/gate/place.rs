//! A connection while the gate holds it, whatever it is doing.

use super::connection::{Answering, Reading};
use super::stream::Socket;
use mio::Poll;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

/// A connection without what it is doing.
pub(super) struct Place {
    pub(super) socket: Socket,
    /// Index of its door; of no meaning once it is answering.
    pub(super) door: usize,
    /// The address by which the caller may call us.
    pub(super) bound: Option<SocketAddr>,
    pub(super) deadline: Instant,
    /// The moment of `process::now` at which it was accepted.
    pub(super) accepted: u64,
    /// Whether the poll knows the socket; most requests are there at once and never need it.
    pub(super) registered: bool,
}

impl Place {
    /// Takes the socket from the poll, so that it can go to another thread.
    pub(super) fn leave(&mut self, poll: &Poll) -> io::Result<()> {
        if self.registered {
            self.registered = false;
            return self.socket.deregister(poll.registry());
        }
        Ok(())
    }
}

/// What a connection is doing.
pub(super) enum State {
    Reading(Reading),
    Answering(Answering),
}

impl State {
    pub(super) fn worth(&self) -> Worth {
        match self {
            Self::Answering(answering) if answering.is_refusal() => Worth::Refused,
            Self::Answering(answering) if answering.is_to_woken() => Worth::Woken,
            Self::Reading(_) => Worth::Reading,
            Self::Answering(_) => Worth::Answering,
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Reading(reading) => reading.held_bytes(),
            Self::Answering(answering) => answering.held_bytes(),
        }
    }
}

/// What a connection is worth when not all can be kept; the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// Has been told that it is not let in, and need only close.
    Refused,
    /// Has not said yet what it wants.
    Reading,
    /// Is being answered. Only one that takes its time can be closed.
    Answering,
    /// Has waited, and is being told what came. It keeps its place among those who wait, and takes none of a request's.
    Woken,
}

pub(super) struct Connection {
    pub(super) place: Place,
    pub(super) state: State,
}

//! A connection while the gate holds it, whatever it is doing.

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

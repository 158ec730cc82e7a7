//! Callers who wait until there is something to be said to them, for days if need be. Such a connection costs no thread and
//! no wake-up: the poll tells when it ends. It must not know what they wait for; whoever parked them says what they are told.

use super::stream::Socket;
use super::{Caller, Pending, Returned, Settle};
use crate::limits;
use crossbeam_channel::Sender;
use mio::{Registry, Token, Waker};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// What callers are told to whom nothing else is said: whole responses.
#[derive(Debug)]
pub struct Farewells {
    /// To one whose wait is over.
    pub over: Vec<u8>,
    /// To one who waits when the daemon stops.
    pub stopping: Vec<u8>,
}

/// Is called when a caller who waits has gone, or was sent away by the gate: on the gate's thread, so that it must not
/// block. Not for one to whom somebody else has spoken.
pub type Left = Box<dyn FnOnce() + Send>;

/// How a caller waits.
pub struct Terms {
    /// Until when.
    pub until: Instant,
    /// What it is told at the end.
    pub farewells: Arc<Farewells>,
    /// Is called if it leaves before.
    pub left: Left,
}

/// A caller on its way to the others who wait.
pub(super) struct Arrival {
    number: usize,
    socket: Socket,
    terms: Terms,
}

/// The way to a caller who waits. One that is dropped leaves the caller waiting until its time is over.
pub struct Parked {
    number: usize,
    returns: Sender<Returned>,
    waker: Arc<Waker>,
}

impl Caller {
    /// The gate's number for this connection: no other one ever has it.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Lets the caller wait. None if the gate has no room for it now: it is gone then, and nobody is told.
    pub fn park(self, terms: Terms) -> Option<Parked> {
        let Self { number, socket, returns, waker, .. } = self;
        returns.try_send(Returned::Arrival(Box::new(Arrival { number, socket, terms }))).ok()?;
        let _ = waker.wake();
        Some(Parked { number, returns, waker })
    }
}

impl Parked {
    /// Gives the whole response, as [`Caller::answer`] does. If the caller is gone, `settle` gets `false`. It may wait for the
    /// gate's next turn, which waits for nobody.
    pub fn answer(self, bytes: Vec<u8>, settle: Settle) {
        let settle = Pending::new(settle);
        // A gate that is gone settles it with `false`.
        if self.returns.send(Returned::Speech { number: self.number, bytes, settle }).is_ok() {
            let _ = self.waker.wake();
        }
    }

    /// Tells the caller that its wait is over. Given back if the gate has no room for that now.
    ///
    /// # Errors
    /// The caller, who still waits.
    pub fn dismiss(self) -> Result<(), Self> {
        match self.returns.try_send(Returned::Dismissal(self.number)) {
            Err(error) if error.is_full() => Err(self),
            _ => {
                let _ = self.waker.wake();
                Ok(())
            }
        }
    }
}

struct Waiting {
    socket: Socket,
    terms: Terms,
}

/// All who wait.
pub(super) struct Parking {
    waiting: HashMap<usize, Waiting>,
    deadlines: BTreeSet<(Instant, usize)>,
    waiting_max: usize,
}

impl Parking {
    pub(super) fn new(waiting_max: usize) -> Self {
        Self { waiting: HashMap::new(), deadlines: BTreeSet::new(), waiting_max }
    }

    /// Takes one in. `woken` have waited and still have their places. Says whether there was room; if not, it is sent away.
    pub(super) fn admit(&mut self, arrival: Arrival, woken: usize, registry: &Registry) -> bool {
        let Arrival { number, mut socket, terms } = arrival;
        let has_room = self.waiting.len() + woken < self.waiting_max;
        if !has_room || socket.register(registry, Token(number)).is_err() {
            say(&socket, &terms.farewells.over);
            (terms.left)();
            return has_room;
        }
        self.deadlines.insert((terms.until, number));
        self.waiting.insert(number, Waiting { socket, terms });
        true
    }

    fn remove(&mut self, number: usize) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        self.deadlines.remove(&(waiting.terms.until, number));
        Some(waiting)
    }

    /// The poll has told something of a connection. One that says something more is as good as gone: it had its one request.
    pub(super) fn hear_of(&mut self, number: usize) {
        let Some(waiting) = self.waiting.get(&number) else { return };
        let still_waits =
            matches!(waiting.socket.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        if !still_waits && let Some(waiting) = self.remove(number) {
            (waiting.terms.left)();
        }
    }

    /// Takes one out, to whom something is said now.
    pub(super) fn take(&mut self, number: usize, registry: &Registry) -> Option<Socket> {
        let mut socket = self.remove(number)?.socket;
        socket.deregister(registry).ok().map(|()| socket)
    }

    /// Sends one away to whom there is nothing to say.
    pub(super) fn dismiss(&mut self, number: usize) {
        if let Some(waiting) = self.remove(number) {
            say(&waiting.socket, &waiting.terms.farewells.over);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Sends those away whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((until, number)) = self.deadlines.first().copied().filter(|(until, _)| *until <= now) {
            self.deadlines.remove(&(until, number));
            if let Some(Waiting { socket, terms }) = self.waiting.remove(&number) {
                say(&socket, &terms.farewells.over);
                (terms.left)();
            }
        }
    }

    /// Sends all away, since the daemon stops.
    pub(super) fn close(&mut self) {
        self.deadlines.clear();
        for (_, waiting) in self.waiting.drain() {
            say(&waiting.socket, &waiting.terms.farewells.stopping);
        }
    }
}

/// These few bytes fit the socket of one to whom nothing has been said, or it is gone.
fn say(socket: &Socket, bytes: &[u8]) {
    debug_assert!(bytes.len() < limits::HEAD_BYTES_MAX);
    let _ = socket.write_some(bytes).and_then(|_| socket.half_close());
}

//! How one thread tells another that there is something to do for a client: without waiting, and no more often than it
//! is heard. A thread that is awake costs its callers no system call. What there is to do stands elsewhere, in queues;
//! this must not carry it.

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::{Events, Poll, Token, Waker};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The poll's token for being woken; clients count up from zero.
const WAKE: Token = Token(usize::MAX);

/// Where a thread waits for its clients' sockets and for what others have to tell it.
pub(super) struct Listener {
    poll: Poll,
    rung: Receiver<usize>,
    ropes: Ropes,
}

/// What others need to make bells of a listener, and to wake its thread.
#[derive(Clone)]
pub(super) struct Ropes {
    rope: Sender<usize>,
    /// The thread that listens.
    pub(super) sleeper: Sleeper,
}

impl Ropes {
    /// A bell that rings.
    pub(super) fn bell(&self, client: usize) -> Arc<Bell> {
        self.hang(client, false)
    }

    /// A bell that does not ring until somebody wants to hear it.
    pub(super) fn silent_bell(&self, client: usize) -> Arc<Bell> {
        self.hang(client, true)
    }

    fn hang(&self, client: usize, is_rung: bool) -> Arc<Bell> {
        Arc::new(Bell { client, is_rung: AtomicBool::new(is_rung), ropes: self.clone() })
    }
}

/// A thread that can be woken.
#[derive(Clone)]
pub(super) struct Sleeper(Arc<Shared>);

struct Shared {
    waker: Waker,
    sleeps: AtomicBool,
}

impl Sleeper {
    /// Wakes the thread, if it sleeps. What it is woken for must have been put into its queue before.
    pub(super) fn wake(&self) {
        if self.0.sleeps.swap(false, Ordering::SeqCst) {
            self.wake_surely();
        }
    }

    /// Wakes the thread even if it is only about to sleep: for what cannot be seen in a queue, such as its end.
    pub(super) fn wake_surely(&self) {
        // Fails only if the thread's poll is gone, and then so is the thread.
        let _ = self.0.waker.wake();
    }
}

/// Rings for one client.
pub(super) struct Bell {
    client: usize,
    /// Has been rung and not heard yet, or need not ring.
    is_rung: AtomicBool,
    ropes: Ropes,
}

impl Bell {
    /// Has the listener look at the client, unless it is about to. Says whether it will.
    pub(super) fn ring(&self) -> bool {
        if self.is_rung.swap(true, Ordering::SeqCst) {
            return true;
        }
        let taken = self.ropes.rope.try_send(self.client).is_ok();
        if !taken {
            // The next one tries again.
            self.is_rung.store(false, Ordering::SeqCst);
        }
        self.ropes.sleeper.wake();
        taken
    }

    /// The listener is about to look at the client, or wants to be told from now on: the next ring counts again.
    pub(super) fn heard(&self) {
        self.is_rung.store(false, Ordering::SeqCst);
    }
}

impl Listener {
    /// A listener for `clients_max` clients at once.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn new(clients_max: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        // One for each client that rings before it is heard, and one more for each that is heard before this is emptied;
        // and as many for clients who have left and been replaced meanwhile.
        let (rope, rung) = bounded(4 * clients_max);
        let sleeper = Sleeper(Arc::new(Shared { waker, sleeps: AtomicBool::new(false) }));
        Ok(Self { poll, rung, ropes: Ropes { rope, sleeper } })
    }

    /// What others need to make bells of this listener.
    pub(super) fn ropes(&self) -> &Ropes {
        &self.ropes
    }

    /// Where sockets are registered.
    pub(super) fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// The clients whose bell has rung, each once.
    pub(super) fn rung(&self) -> impl Iterator<Item = usize> + '_ {
        self.rung.try_iter()
    }

    /// Waits for sockets, for a bell, or to be woken, at most so long; not at all if there is something to do.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn wait(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
        is_idle: impl Fn() -> bool,
    ) -> io::Result<()> {
        // First the sign, then the look: who comes between the two sees the sign.
        self.ropes.sleeper.0.sleeps.store(true, Ordering::SeqCst);
        let timeout = if self.rung.is_empty() && is_idle() { timeout } else { Some(Duration::ZERO) };
        let result = self.poll.poll(events, timeout);
        self.ropes.sleeper.0.sleeps.store(false, Ordering::SeqCst);
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }
}

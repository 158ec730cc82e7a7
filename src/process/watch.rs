//! The process watcher: one thread that tells the store, once, when a process ends that sessions live in. It sleeps until
//! one does: the system wakes it through a handle for each. Those of which no handle can be had it looks at every few
//! seconds. It must not decide anything, and must not take for dead what it may not look at.

use super::facts;
use crate::error::exit_code;
use crate::limits::{PROCESS_EVENTS_PER_TURN_MAX, PROCESS_LOOK_EVERY, PROCESS_WISHES_MAX};
use crate::log_pace::Pace;
use crate::model::Process;
use crate::store::{Command, ProcessWatch, ProcessWish};
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The poll's token for being woken; handles count up from zero.
const WAKE: Token = Token(usize::MAX);

/// What the system tells of processes; the one seam through which this looks at them.
trait Look {
    /// Something that becomes readable when the process ends; none if there is no such process.
    fn handle(&self, pid: u32) -> io::Result<Option<OwnedFd>>;
    /// Who has these ids now.
    fn identify_all(&self, pids: &[u32]) -> Vec<io::Result<Option<Process>>>;
}

struct System;

impl Look for System {
    fn handle(&self, pid: u32) -> io::Result<Option<OwnedFd>> {
        facts::handle(pid)
    }

    fn identify_all(&self, pids: &[u32]) -> Vec<io::Result<Option<Process>>> {
        facts::identify_all(pids)
    }
}

/// Starts the watcher, which holds at most so many handles. It ends when the store lets go of its way to it.
///
/// # Errors
/// The operating system's reason for which no thread could be had.
pub fn start(
    handles_max: usize,
    store: Sender<Command>,
    exits: &Sender<Exit>,
) -> io::Result<(ProcessWatch, JoinHandle<()>)> {
    let (wishes, wished) = bounded(PROCESS_WISHES_MAX);
    let mut watcher = Watcher::new(System, handles_max, wished, store)?;
    let bell = Bell(Arc::new(Waker::new(watcher.poll.registry(), WAKE)?));
    let (fatal, waker) = (exits.clone(), bell.0.clone());
    let thread = thread::spawn("process-watcher", exits, move || {
        // What rings for the last time is closed after it; only one that stays open is heard.
        let _waker = waker;
        if let Err(error) = watcher.run() {
            let reason = format!("the process watcher cannot wait for processes: {error}");
            // Full means that the process is stopping already.
            let _ = fatal.try_send(Exit::Fatal(reason, exit_code::OS));
        }
    })?;
    Ok((ProcessWatch::new(wishes, Box::new(move || bell.ring())), thread))
}

/// Wakes the watcher, for the last time when it is dropped.
struct Bell(Arc<Waker>);

impl Bell {
    fn ring(&self) {
        // Fails only if the watcher's poll is gone, and then so is the watcher.
        let _ = self.0.wake();
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.ring();
    }
}

struct Watcher<L> {
    look: L,
    poll: Poll,
    wishes: Receiver<ProcessWish>,
    store: Sender<Command>,
    handles_max: usize,
    handles: BTreeMap<Process, (Token, OwnedFd)>,
    by_token: BTreeMap<Token, Process>,
    next_token: usize,
    /// Those without a handle, and when to look at them next.
    looked_after: BTreeSet<Process>,
    next_look: Option<Instant>,
}

/// What came of wanting a handle.
enum Hold {
    Held(OwnedFd),
    /// The process has ended.
    Ended,
    /// No handle, for whatever reason; that tells nothing of the process.
    Refused,
}

impl<L: Look> Watcher<L> {
    fn new(look: L, handles_max: usize, wishes: Receiver<ProcessWish>, store: Sender<Command>) -> io::Result<Self> {
        let (handles, by_token) = (BTreeMap::new(), BTreeMap::new());
        let (looked_after, next_look, next_token) = (BTreeSet::new(), None, 0);
        let poll = Poll::new()?;
        Ok(Self { look, poll, wishes, store, handles_max, handles, by_token, next_token, looked_after, next_look })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(PROCESS_EVENTS_PER_TURN_MAX);
        while self.turn(&mut events)? {}
        Ok(())
    }

    /// Sleeps until there is something to do, and does it. Says whether there can be more.
    fn turn(&mut self, events: &mut Events) -> io::Result<bool> {
        let timeout = self.next_look.map(|at| at.saturating_duration_since(Instant::now()));
        match self.poll.poll(events, timeout.map(round_up)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            result => result?,
        }
        for event in events.iter().filter(|event| event.token() != WAKE) {
            if let Some(process) = self.by_token.get(&event.token()).cloned() {
                self.forget(&process);
                self.tell_end(process);
            }
        }
        loop {
            match self.wishes.try_recv() {
                Ok(ProcessWish::Watch(process)) => self.watch(process),
                Ok(ProcessWish::Forget(process)) => self.forget(&process),
                Ok(ProcessWish::WatchOnly(wanted)) => self.watch_only(wanted),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
        if self.next_look.is_some_and(|at| at <= Instant::now()) {
            self.look_after();
            self.next_look = (!self.looked_after.is_empty()).then(|| Instant::now() + PROCESS_LOOK_EVERY);
        }
        Ok(true)
    }

    fn watch_only(&mut self, wanted: BTreeSet<Process>) {
        let known = self.handles.keys().chain(&self.looked_after);
        let unwanted: Vec<Process> = known.filter(|process| !wanted.contains(*process)).cloned().collect();
        unwanted.iter().for_each(|process| self.forget(process));
        wanted.into_iter().for_each(|process| self.watch(process));
    }

    fn watch(&mut self, process: Process) {
        if self.handles.contains_key(&process) || self.looked_after.contains(&process) {
            return;
        }
        match self.hold(&process) {
            Hold::Held(handle) => self.keep(process, handle),
            Hold::Ended => self.tell_end(process),
            Hold::Refused => {
                self.looked_after.insert(process);
                // At once, together with what else is wished now: it may have ended before it was wished.
                self.next_look = Some(Instant::now());
            }
        }
    }

    /// A handle belongs to whoever has the id at that moment, and never to a later one: if it is taken first, and the
    /// process with the id is the one that is meant after that, then so is the handle's.
    fn hold(&self, process: &Process) -> Hold {
        if self.handles.len() >= self.handles_max {
            return Hold::Refused;
        }
        let handle = match self.look.handle(process.pid) {
            Ok(Some(handle)) => handle,
            Ok(None) => return Hold::Ended,
            Err(_) => return Hold::Refused,
        };
        match self.look.identify_all(&[process.pid]).pop() {
            Some(Ok(Some(found))) if found == *process => Hold::Held(handle),
            Some(Ok(_)) => Hold::Ended,
            Some(Err(_)) | None => Hold::Refused,
        }
    }

    /// Has the system tell of the end of a process; one that is over is told of at once.
    fn keep(&mut self, process: Process, handle: OwnedFd) {
        let token = Token(self.next_token);
        self.next_token += 1;
        let registered = self.poll.registry().register(&mut SourceFd(&handle.as_raw_fd()), token, Interest::READABLE);
        if let Err(error) = registered {
            static NO_HANDLE: Pace = Pace::new();
            NO_HANDLE.warn(|| format!("process {} is looked after without a handle: {error}", process.pid));
            self.looked_after.insert(process);
            self.next_look = self.next_look.or_else(|| Some(Instant::now() + PROCESS_LOOK_EVERY));
            return;
        }
        self.by_token.insert(token, process.clone());
        self.handles.insert(process, (token, handle));
    }

    fn forget(&mut self, process: &Process) {
        self.looked_after.remove(process);
        if self.looked_after.is_empty() {
            self.next_look = None;
        }
        if let Some((token, handle)) = self.handles.remove(process) {
            self.by_token.remove(&token);
            // Closing it would do, unless a child had been started between that has it too.
            let _ = self.poll.registry().deregister(&mut SourceFd(&handle.as_raw_fd()));
        }
    }

    /// Looks at those without a handle, all in one pass, and takes a handle where one can be had by now.
    fn look_after(&mut self) {
        let processes: Vec<Process> = self.looked_after.iter().cloned().collect();
        let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
        for (process, found) in processes.into_iter().zip(self.look.identify_all(&pids)) {
            match found {
                // Not to be allowed to look, or not to be able to, tells nothing.
                Err(_) => {}
                Ok(Some(found)) if found == process => {
                    if let Hold::Held(handle) = self.hold(&process) {
                        self.looked_after.remove(&process);
                        self.keep(process, handle);
                    }
                }
                Ok(_) => {
                    self.looked_after.remove(&process);
                    self.tell_end(process);
                }
            }
        }
    }

    /// Waiting for room in the store's queue is right here: nothing is more urgent, and the store never waits for us.
    fn tell_end(&self, process: Process) {
        log::debug!("process {} has ended", process.pid);
        // A store that is gone needs no news.
        let _ = self.store.send(Command::ProcessEnded(process));
    }
}

/// A poll that is woken a little too early finds nothing to do, and would be asked again and again until it is time.
fn round_up(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;

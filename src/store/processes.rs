//! The processes that sessions live in, from the store's side: says which to watch, and keeps the ends of those that
//! have ended until they are on disk. It must not wait for the watcher, and must not look at processes itself.

use crate::model::{Process, Row};
use crate::roster::{Change, Roster};
use crossbeam_channel::{Sender, TrySendError};
use std::collections::BTreeSet;

/// Something that the store wants of who watches processes. A process of which the end was told and that is wanted again
/// is one whose end must be told again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessWish {
    /// A session lives in it: tell its end, also if that is over.
    Watch(Process),
    /// No session lives in it any more.
    Forget(Process),
    /// Sessions live in these and no others.
    WatchOnly(BTreeSet<Process>),
}

/// The way to who watches processes.
pub struct ProcessWatch {
    // In this order: who is woken for the last time finds that nobody wishes anything any more.
    wishes: Sender<ProcessWish>,
    wake: Box<dyn Fn() + Send>,
}

impl ProcessWatch {
    /// A way through this queue, to one who has to be woken after something was put in. When `wake` is dropped, nothing
    /// will be put in any more.
    pub fn new(wishes: Sender<ProcessWish>, wake: Box<dyn Fn() + Send>) -> Self {
        Self { wishes, wake }
    }
}

pub(super) struct Processes {
    watch: ProcessWatch,
    /// The watcher does not know what it should: a wish found no room, or nothing was wished yet.
    is_behind: bool,
    /// It is time to tell it all of that.
    is_due: bool,
    /// Something is wished of which the watcher does not know yet.
    is_wished: bool,
    /// Processes whose end was told, while sessions that are on disk live in them.
    ended: BTreeSet<Process>,
}

impl Processes {
    pub(super) fn new(watch: ProcessWatch) -> Self {
        Self { watch, is_behind: true, is_due: false, is_wished: false, ended: BTreeSet::new() }
    }

    /// Takes note of what was committed.
    pub(super) fn note_changes(&mut self, changes: &[Change], roster: &Roster) {
        let moved: BTreeSet<&Process> = changes.iter().flat_map(moved).collect();
        for process in moved {
            let wish = if roster.lives_in(process) { ProcessWish::Watch } else { ProcessWish::Forget };
            self.wish(wish(process.clone()));
        }
        self.ended.retain(|process| roster.lives_in(process));
    }

    fn wish(&mut self, wish: ProcessWish) {
        // What is asked for as a whole later need not be asked for in parts.
        if self.is_behind {
            return;
        }
        match self.watch.wishes.try_send(wish) {
            Ok(()) => self.is_wished = true,
            Err(TrySendError::Full(_)) => self.is_behind = true,
            // The watcher has ended: the daemon is stopping.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// Has the watcher look at what is wished. It costs more than to wish: those who wait for an answer come first.
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.is_wished) {
            (self.watch.wake)();
        }
    }

    /// Some time has passed since the watcher had no room.
    pub(super) fn note_tick(&mut self) {
        self.is_due = true;
    }

    /// Says which processes are to be watched as a whole, if the watcher does not know and it is time. To be called between
    /// batches: what is not committed may be taken back.
    pub(super) fn catch_up(&mut self, roster: &Roster) {
        if std::mem::take(&mut self.is_due) && self.is_behind {
            self.is_behind = false;
            self.wish(ProcessWish::WatchOnly(roster.processes().cloned().collect()));
            self.wake();
        }
    }

    /// A process has ended.
    pub(super) fn note_end(&mut self, process: Process) {
        self.ended.insert(process);
    }

    /// The processes that have ended, and whose sessions are still there.
    pub(super) fn ended(&self) -> Vec<Process> {
        self.ended.iter().cloned().collect()
    }
}

/// The processes of which a change says that a session lives in it now, or does not any more.
fn moved(change: &Change) -> impl Iterator<Item = &Process> {
    let before = process_of(change.before.as_ref());
    let after = process_of(change.after.as_ref());
    let is_new = before != after;
    before.into_iter().chain(after).filter(move |_| is_new)
}

fn process_of(row: Option<&(Row, u64)>) -> Option<&Process> {
    match row {
        Some((Row::Session(stored), _)) => stored.row.process.as_ref(),
        _ => None,
    }
}

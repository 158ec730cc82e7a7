//! Processes that are remembered between two looks, each with a handle that tells when it ends. Every hook comes from a new
//! process, but nearly all of that one's ancestors are the same as last time: one question to the system tells whether they
//! all live still, and what lives has the id and the parent that it had. It must not tell anything of a process that was
//! not asked about after it was used; that is for the caller to do.

use crate::limits::{ANCESTORS_REMEMBERED_MAX, DESCRIPTORS_PER_REMEMBERED, REMEMBERED_AGE_MIN};
use crate::model::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// In how many parts of a second the system tells when a process began, on every machine that this is built for.
const STARTED_PER_SECOND: u64 = 100;

/// One that is remembered.
struct Held {
    process: Process,
    parent: u32,
    handle: OwnedFd,
    /// The look that used it last.
    used: u64,
}

/// What one thread remembers.
pub(super) struct Remembered {
    held: HashMap<u32, Held>,
    max: usize,
    age_min: Duration,
    look: u64,
}

impl Remembered {
    /// Remembers at most so many, of at least this age: most younger ones, such as the shell that runs a hook, are seen once.
    pub(super) fn new(max: usize, age_min: Duration) -> Self {
        Self { held: HashMap::new(), max, age_min, look: 0 }
    }

    /// Remembers nothing.
    pub(super) fn nothing() -> Self {
        Self::new(0, Duration::MAX)
    }

    /// As many as the system has descriptors for.
    pub(super) fn sized() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.and_then(|count| usize::try_from(count).ok());
        let share = descriptors.unwrap_or(usize::MAX) / DESCRIPTORS_PER_REMEMBERED;
        Self::new(share.min(ANCESTORS_REMEMBERED_MAX), REMEMBERED_AGE_MIN)
    }

    /// A new look begins.
    pub(super) fn begin(&mut self) {
        self.look += 1;
    }

    /// Who has this id, and the id of its parent, if [`Remembered::all_live`] says so after that.
    pub(super) fn get(&mut self, pid: u32) -> Option<(Process, u32)> {
        let held = self.held.get_mut(&pid)?;
        held.used = self.look;
        Some((held.process.clone(), held.parent))
    }

    /// Whether all that were used in this look are alive, and so have been all the time: then each has the parent that it had.
    pub(super) fn all_live(&self) -> bool {
        let used = self.held.values().filter(|held| held.used == self.look);
        let mut polled: Vec<PollFd<'_>> = used.map(|held| PollFd::new(&held.handle, PollFlags::IN)).collect();
        // What cannot be told counts as an end: then everything is looked at.
        polled.is_empty() || poll(&mut polled, Some(&Timespec::default())) == Ok(0)
    }

    /// Forgets all that were used in this look: one of them has ended, and the others descend from that one or may.
    pub(super) fn forget_used(&mut self) {
        self.held.retain(|_, held| held.used != self.look);
    }

    /// Whether this one is worth being remembered.
    pub(super) fn wants(&self, process: &Process) -> bool {
        let up = u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or_default();
        let age = up.saturating_sub(process.started / STARTED_PER_SECOND);
        self.max > 0 && !self.held.contains_key(&process.pid) && age >= self.age_min.as_secs()
    }

    /// Remembers a process, and the parent that it had when it was found to be whom the handle tells of. Who was used longest
    /// ago makes room.
    pub(super) fn keep(&mut self, process: Process, parent: u32, handle: OwnedFd) {
        if self.held.len() >= self.max {
            let oldest = self.held.values().min_by_key(|held| held.used).map(|held| held.process.pid);
            oldest.map(|pid| self.held.remove(&pid));
        }
        self.held.insert(process.pid, Held { process, parent, handle, used: self.look });
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}

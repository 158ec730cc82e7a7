//! What the store does about its log beside writing batches: looking at what others do to it, taking what they wrote, and
//! leaving it whole at the end. It must not decide which of their lines count.

use super::{Held, LogRead, Store};
use crate::error::{ErrorKind, Fatal, exit_code};
use crate::event_log::disk::Disk;
use crate::event_log::file::AppendError;
use crate::event_log::line::Stamp;
use crate::limits::BATCH_COMMANDS_MAX;
use crate::log_pace::Pace;
use crate::roster::Request;
use crate::time::Now;

impl<D: Disk> Store<D> {
    /// Looks for what others did to the log, and asks for what they wrote.
    pub(super) fn look(&mut self) {
        if let Err(error) = self.tail.look(&mut self.log) {
            static UNSEEN: Pace = Pace::new();
            UNSEEN.error(|| format!("cannot look at the log: {error}"));
            // Nobody need write for a directory that is gone to be told of.
            if ErrorKind::of_storage(&error) == ErrorKind::StorageGone {
                self.refuse(&error);
            }
        }
    }

    /// Applies what the watcher read from the log.
    pub(super) fn log_read(&mut self, read: LogRead, now: Now, held: &mut Vec<Held>) {
        // A file that has grown since may not be worth believing so far.
        self.look();
        let Some(events) = self.tail.accept(read, &self.roster) else { return };
        self.stats.external_events += events.len() as u64;
        let before = self.roster.journal().len();
        self.request(Request::External(events), None, now, held);
        // Most of a log that is read again is known, and nobody waits for that.
        self.tail.note_applied(self.roster.journal().len() > before);
    }

    /// Leaves a log that the next start can go on from: nothing of what others appended to an old one is left behind, and
    /// a log that somebody put in its place has all the rows that it had.
    pub(super) fn finish(&mut self, now: Now) -> Result<(), Fatal> {
        // The next start shows what sessions are at now, and not a minute ago.
        while self.roster.write_states(now, BATCH_COMMANDS_MAX) && self.commit(now)? {}
        let tx = self.ids.new_id();
        let stamp = self.stamp(now, tx);
        let finished = self.compaction.rescue_all(&mut self.log, &mut self.tail);
        let finished = finished.and_then(|()| self.tail.complete(&mut self.log, &self.roster, &stamp));
        match finished.and_then(|()| self.log.sync().map_err(AppendError::Broken)) {
            Ok(()) => Ok(()),
            // What it lacks was acknowledged.
            Err(AppendError::Refused(error)) => {
                Err(Fatal::new(exit_code::IO, format!("the log could not be completed: {error}")))
            }
            Err(AppendError::Broken(error)) => Err(self.broken(&error)),
        }
    }

    pub(super) fn stamp(&self, now: Now, tx: String) -> Stamp {
        Stamp { created_at: now.rfc3339(), tx, source_id: self.source_id.clone(), key: self.log.key() }
    }

    pub(super) fn batch_id(&mut self) -> String {
        let changed = self.roster.journal().iter().any(|change| change.persist) || self.tail.has_work();
        if changed { self.ids.new_id() } else { String::new() }
    }
}

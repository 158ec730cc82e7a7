//! Ending a batch: its changes stand, or all of them are taken back, of rows and of what is in memory alone. It must not
//! take back facts that no batch makes.

use super::{Change, Tables};
use crate::ids::SessionId;
use crate::limits::PLACES_BETWEEN_BATCHES;
use crate::model::ItemType;

/// How far a batch has got: how many changes it has made of rows, and of what is in memory alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) journal: usize,
    pushes: [usize; 2],
    waiters: [usize; 2],
    leases: usize,
}

impl Tables {
    /// Ends the batch: its changes are on disk, or came from there.
    pub(crate) fn commit(&mut self) -> Vec<Change> {
        self.pushes.commit();
        self.waiters.commit();
        self.mail.commit();
        if self.journal.iter().any(|change| change.persist) {
            // Others may have written between this batch's lines and the next one's, also when that is written already.
            self.next_place += PLACES_BETWEEN_BATCHES;
        }
        self.batch_place = self.next_place;
        std::mem::take(&mut self.journal)
    }

    /// Leaves so many places free behind all that are in use, and all up to this one: what is added from now on is newer
    /// than what gets them. To be called between batches.
    pub(crate) fn leave_places(&mut self, count: u64, last: u64) {
        self.next_place = self.next_place.saturating_add(count).max(last.saturating_add(1));
        self.batch_place = self.next_place;
    }

    /// How far the batch has got.
    pub(crate) fn mark(&self) -> Mark {
        let Self { journal, pushes, waiters, mail, .. } = self;
        Mark { journal: journal.len(), pushes: pushes.mark(), waiters: waiters.mark(), leases: mail.mark() }
    }

    /// Takes back every change since the batch had got so far, the last first. What is in memory alone comes after the
    /// rows, since to take back a row changes it too.
    pub(crate) fn undo_to(&mut self, mark: Mark) {
        self.undo_rows_to(mark.journal);
        self.pushes.undo_to(mark.pushes);
        self.waiters.undo_to(mark.waiters);
        self.mail.undo_to(mark.leases);
        if mark == Mark::default() {
            self.next_place = self.batch_place;
        }
    }

    fn undo_rows_to(&mut self, length: usize) {
        while self.journal.len() > length {
            let Some(change) = self.journal.pop() else {
                break;
            };
            if change.item_type() == ItemType::Session {
                // What the log holds of its activity is older than was thought: the next one is written, and shown.
                self.activity_written.remove(change.id());
                self.touched.insert(SessionId::from(change.id()));
                self.unwritten.insert(SessionId::from(change.id()));
            }
            match change.before {
                Some((row, place)) => drop(self.put(row, place)),
                None => drop(self.take(change.item_type(), change.id())),
            }
        }
    }
}

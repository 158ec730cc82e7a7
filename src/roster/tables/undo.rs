//! Ending a batch: its changes stand, or all of them are taken back, of rows and of what is in memory alone. It must not
//! take back facts that no batch makes.

use super::{Change, Tables};
use crate::ids::SessionId;
use crate::model::ItemType;

/// How far a batch has got: how many changes it has made of rows, and of what is in memory alone.
#[derive(Clone, Copy, Debug, Default)]
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
        std::mem::take(&mut self.journal)
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
            }
            match change.before {
                Some((row, place)) => drop(self.put(row, place)),
                None => drop(self.take(change.item_type(), change.id())),
            }
        }
    }
}

//! How many answers a client is owed, from when it asks until they are written: the reader adds, the writer takes away.
//! It must not say what becomes of a client that is owed too many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The count, shared by a client's two halves.
#[derive(Clone, Default)]
pub(super) struct Owed(Arc<AtomicUsize>);

impl Owed {
    /// Answers that are owed.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// One more is.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// One has been written.
    pub(super) fn pay(&self) {
        // Whatever is written without having been owed leaves nothing to take away.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
    }

    /// None will be written any more.
    pub(super) fn forgive(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

//! How many answers a client is owed, from when it asks until they are made ready to be written: the reader adds, the
//! writer takes away. It must not say what becomes of a client that is owed too many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The count, shared by a client's two halves.
#[derive(Clone, Default)]
pub(super) struct Owed(Arc<Shared>);

#[derive(Default)]
struct Shared {
    count: AtomicUsize,
    is_over: AtomicBool,
}

impl Owed {
    /// Answers that are owed.
    pub(super) fn count(&self) -> usize {
        self.0.count.load(Ordering::SeqCst)
    }

    /// One more is.
    pub(super) fn add(&self) {
        self.0.count.fetch_add(1, Ordering::SeqCst);
    }

    /// One has been made ready.
    pub(super) fn pay(&self) {
        // Whatever is written without having been owed leaves nothing to take away.
        let _ = self.0.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
    }

    /// Nothing will be written any more: there is no use in hearing the client.
    pub(super) fn end(&self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }

    /// Whether nothing will be written any more.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::SeqCst)
    }
}

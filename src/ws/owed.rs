//! How many answers a client is owed, from when it asks until they are made ready to be written: the reader adds, the
//! writer takes away. Commands without an answer are counted until the store has applied them. It must not say what
//! becomes of a client that is owed too many.

use crate::store::UntilApplied;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The count, shared by a client's two halves.
#[derive(Clone, Default)]
pub(super) struct Owed(Arc<Shared>);

#[derive(Default)]
struct Shared {
    count: AtomicUsize,
    unanswered: AtomicUsize,
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

    /// Commands without an answer that the store has not applied yet.
    pub(super) fn unanswered(&self) -> usize {
        self.0.unanswered.load(Ordering::SeqCst)
    }

    /// One more is on its way to the store. When the guard is dropped it counts no more, and `resumes` is called.
    pub(super) fn until_applied(&self, resumes: &Arc<dyn Fn() + Send + Sync>) -> UntilApplied {
        self.0.unanswered.fetch_add(1, Ordering::SeqCst);
        Box::new(Unanswered { owed: self.clone(), resumes: resumes.clone() })
    }
}

/// A command without an answer on its way.
struct Unanswered {
    owed: Owed,
    resumes: Arc<dyn Fn() + Send + Sync>,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.owed.0.unanswered.fetch_sub(1, Ordering::SeqCst);
        (self.resumes)();
    }
}

//! Texts that many rows have in common, kept once while a log is read: of a million messages most are from and to the
//! same few sessions. It must not keep texts that no row holds any longer.

use crate::limits::SHARED_TEXTS_MIN;
use std::collections::HashSet;
use std::sync::Arc;

/// The texts in use.
#[derive(Debug)]
pub(super) struct Pool {
    texts: HashSet<Arc<str>>,
    /// The number of texts at which those that nobody else holds are let go.
    clean_at: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self { texts: HashSet::new(), clean_at: SHARED_TEXTS_MIN }
    }
}

impl Pool {
    /// The text, the same for all who ask for it.
    pub(super) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        if self.texts.len() >= self.clean_at {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            // Only when as many have come again, so that a text pays for one look on average.
            self.clean_at = (self.texts.len() * 2).max(SHARED_TEXTS_MIN);
        }
        let new: Arc<str> = Arc::from(text);
        self.texts.insert(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_there_once_and_goes_when_nobody_holds_it() {
        let mut pool = Pool::default();
        let kept = pool.get("kept");
        for number in 0..SHARED_TEXTS_MIN * 10 {
            pool.get(&number.to_string());
        }
        assert!(pool.texts.len() <= SHARED_TEXTS_MIN);
        assert!(Arc::ptr_eq(&kept, &pool.get("kept")));
    }
}

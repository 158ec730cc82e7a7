//! Values that are in memory alone and that a batch changes: each change keeps the value before it until the batch is on
//! disk, so that a batch that cannot be written leaves none of them behind.

use std::collections::BTreeMap;
use std::ops::Deref;

/// A map whose changes can be taken back.
#[derive(Debug)]
pub(crate) struct Volatile<K, V> {
    values: BTreeMap<K, V>,
    /// The values before each change of the batch, in order.
    before: Vec<(K, Option<V>)>,
}

impl<K, V> Default for Volatile<K, V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), before: Vec::new() }
    }
}

impl<K, V> Deref for Volatile<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.values
    }
}

impl<K: Ord + Clone, V: Clone> Volatile<K, V> {
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let before = self.values.insert(key.clone(), value);
        self.before.push((key, before));
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (key, value) = self.values.remove_entry(key)?;
        self.before.push((key, Some(value.clone())));
        Some(value)
    }

    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        let (key, value) = self.values.pop_first()?;
        self.before.push((key.clone(), Some(value.clone())));
        Some((key, value))
    }

    /// How many changes the batch has made so far.
    pub(crate) fn mark(&self) -> usize {
        self.before.len()
    }

    /// Takes back every change since there were so many, the last first. Says whether there were any.
    pub(crate) fn undo_to(&mut self, mark: usize) -> bool {
        let undone = self.before.split_off(mark.min(self.before.len()));
        let any = !undone.is_empty();
        for (key, before) in undone.into_iter().rev() {
            match before {
                Some(value) => drop(self.values.insert(key, value)),
                None => drop(self.values.remove(&key)),
            }
        }
        any
    }

    /// The batch is on disk.
    pub(crate) fn commit(&mut self) {
        self.before.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_a_batch_does_is_taken_back(steps in proptest::collection::vec((0..3_u8, 0..5_u8, any::<u8>()), 0..40), kept in 0..40_usize) {
            let mut map: Volatile<u8, u8> = Volatile::default();
            let mut states = vec![(map.mark(), BTreeMap::new())];
            for (kind, key, value) in steps {
                match kind {
                    0 => map.insert(key, value),
                    1 => drop(map.remove(&key)),
                    _ => drop(map.pop_first()),
                }
                states.push((map.mark(), map.clone()));
            }
            let (mark, expected) = &states[kept.min(states.len() - 1)];
            map.undo_to(*mark);
            prop_assert_eq!(&*map, expected);
            map.undo_to(0);
            prop_assert!(map.is_empty());
        }
    }
}

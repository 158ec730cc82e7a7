//! Looking things up that came last. It must give what the map itself would.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What [`BTreeMap::get`] gives, found at once for the greatest key and for one behind all others. A new message has such an
/// id, and what is about it too; from the root of a tree they are the farthest, each step of the way by comparisons of texts.
pub(crate) fn newest_first<'a, K: Ord, V>(map: &'a BTreeMap<K, V>, key: &K) -> Option<&'a V> {
    let (last, value) = map.last_key_value()?;
    match key.cmp(last) {
        Ordering::Greater => None,
        Ordering::Equal => Some(value),
        Ordering::Less => map.get(key),
    }
}

#[cfg(test)]
mod tests {
    use super::newest_first;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_gives_what_the_map_gives(map in prop::collection::btree_map(0..20_u8, any::<u8>(), 0..8), key in 0..22_u8) {
            prop_assert_eq!(newest_first(&map, &key), map.get(&key));
        }
    }
}

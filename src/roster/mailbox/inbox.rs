//! What one session has not read, by how soon it wants to be read, and what became of the attempts to deliver it.

use crate::model::{Path, Priority};
use crate::time::MonoMs;
use std::collections::{BTreeMap, BTreeSet};

/// What one session has not read: the places, by how soon they want to be read.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) by_priority: [BTreeMap<u64, Waiting>; 3],
    /// Those that it was handed, as far as is known.
    pub(super) handed: BTreeSet<u64>,
    /// Those that are in an answer on its way.
    pub(super) on_its_way: BTreeSet<u64>,
}

/// One message that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// The monotonic millisecond until which it is in an answer on its way, or until which a sign is awaited that what was
    /// handed was read.
    pub(super) leased_until: MonoMs,
    /// The answer that it is in, if it is on its way; else none's number.
    pub(super) lease: u64,
    /// The way of the answer that it is in, or was in last.
    pub(super) path: Path,
    /// By which way it was handed, if it was.
    pub(super) handed: Option<Path>,
    /// How often it was handed.
    pub(super) times: u32,
    /// Whether this run of the daemon handed it, and so has heard all that followed.
    pub(super) is_of_this_run: bool,
}

pub(super) const FREE: Waiting =
    Waiting { leased_until: MonoMs::MIN, lease: 0, path: Path::Inbox, handed: None, times: 0, is_of_this_run: false };

impl Inbox {
    pub(super) fn get_mut(&mut self, place: u64) -> Option<&mut Waiting> {
        self.by_priority.iter_mut().find_map(|waiting| waiting.get_mut(&place))
    }

    pub(super) fn get(&self, place: u64) -> Option<&Waiting> {
        self.by_priority.iter().find_map(|waiting| waiting.get(&place))
    }

    pub(super) fn len(&self) -> usize {
        self.by_priority.iter().map(BTreeMap::len).sum()
    }

    pub(super) fn remove(&mut self, place: u64) -> Option<Waiting> {
        self.handed.remove(&place);
        self.on_its_way.remove(&place);
        self.by_priority.iter_mut().find_map(|waiting| waiting.remove(&place))
    }

    /// Puts in the place of what is known of a message what was known before, if it still waits.
    pub(super) fn restore(&mut self, place: u64, before: Waiting) {
        let Some(waiting) = self.get_mut(place) else { return };
        *waiting = before;
        if before.handed.is_some() {
            self.handed.insert(place)
        } else {
            self.handed.remove(&place)
        };
        if before.lease > 0 {
            self.on_its_way.insert(place)
        } else {
            self.on_its_way.remove(&place)
        };
    }

    /// Those that are at least this urgent: urgent ones first, then the oldest.
    pub(super) fn urgent_first(&self, at_least: Priority) -> impl Iterator<Item = (u64, &Waiting)> {
        let urgent = self.by_priority[Priority::Now as usize].iter().map(|(place, waiting)| (*place, waiting));
        let mut rest = [None, None];
        for (head, priority) in rest.iter_mut().zip([Priority::Low, Priority::Next]) {
            *head = (priority >= at_least).then(|| self.by_priority[priority as usize].iter().peekable());
        }
        urgent.chain(oldest_first(rest))
    }

    /// Those that are at least this urgent, oldest first.
    pub(super) fn waiting(&self, at_least: Priority) -> impl Iterator<Item = (u64, &Waiting)> {
        let mut heads = self.by_priority.each_ref().map(|waiting| Some(waiting.iter().peekable()));
        heads[..at_least as usize].fill_with(|| None);
        oldest_first(heads)
    }
}

type Head<'a> = Option<std::iter::Peekable<std::collections::btree_map::Iter<'a, u64, Waiting>>>;

/// Merges messages of several priorities by their age.
fn oldest_first<'a, const N: usize>(mut heads: [Head<'a>; N]) -> impl Iterator<Item = (u64, &'a Waiting)> {
    std::iter::from_fn(move || {
        let heads = heads.iter_mut().flatten();
        let oldest = heads.filter_map(|head| head.peek().map(|(place, _)| **place).map(|place| (place, head)));
        let (_, head) = oldest.min_by_key(|(place, _)| *place)?;
        head.next().map(|(place, waiting)| (*place, waiting))
    })
}

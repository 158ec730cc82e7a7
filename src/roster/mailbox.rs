//! The indexes over messages: their order, who has not read what, what concerns whom, and how old they are. It knows
//! ids and places only; whether a message is for somebody is decided by the tables.

use crate::ids::{MessageId, RoomId, SessionId};
use crate::model::{Message, Recipient};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    /// All messages in the order of the log. A message's place is its name here: numbers are cheaper to compare and to
    /// keep than ids.
    order: BTreeMap<u64, Facts>,
    /// Messages that a session or human sent, or got directly.
    concerning: BTreeMap<SessionId, BTreeSet<u64>>,
    /// Messages sent to a room.
    in_room: BTreeMap<RoomId, BTreeSet<u64>>,
    /// What each session has not read, and the monotonic millisecond until which it is in a hook answer on its way.
    unread: BTreeMap<SessionId, BTreeMap<u64, i64>>,
    /// Sending time and place.
    read_by_age: BTreeSet<(i64, u64)>,
    unread_by_age: BTreeSet<(i64, u64)>,
}

#[derive(Debug)]
struct Facts {
    id: MessageId,
    sent_at: i64,
    /// The number of those who have not read it.
    waiting_for: usize,
}

impl Mailboxes {
    pub(crate) fn insert(&mut self, message: &Message, place: u64, readers: Vec<SessionId>) {
        let facts = Facts { id: message.id.clone(), sent_at: message.sent_at, waiting_for: readers.len() };
        self.order.insert(place, facts);
        add_place(&mut self.concerning, &message.from_session_id, place);
        match &message.to {
            Recipient::Session(session) => add_place(&mut self.concerning, session, place),
            Recipient::Room(room) => add_place(&mut self.in_room, room, place),
        };
        let by_age = if readers.is_empty() { &mut self.read_by_age } else { &mut self.unread_by_age };
        by_age.insert((message.sent_at, place));
        for reader in readers {
            self.unread.entry(reader).or_default().insert(place, i64::MIN);
        }
    }

    /// Forgets a message. `members` are those for whom it can be unread, if it was sent to a room.
    pub(crate) fn remove(&mut self, message: &Message, place: u64, members: &[SessionId]) {
        remove_place(&mut self.concerning, &message.from_session_id, place);
        match &message.to {
            Recipient::Session(session) => {
                remove_place(&mut self.concerning, session, place);
                self.mark_read(place, session);
            }
            Recipient::Room(room) => {
                remove_place(&mut self.in_room, room, place);
                for member in members {
                    self.mark_read(place, member);
                }
            }
        }
        self.order.remove(&place);
        self.read_by_age.remove(&(message.sent_at, place));
        self.unread_by_age.remove(&(message.sent_at, place));
    }

    pub(crate) fn mark_unread(&mut self, place: u64, session: &SessionId) {
        let Some(facts) = self.order.get_mut(&place) else {
            return;
        };
        if self.unread.entry(session.clone()).or_default().insert(place, i64::MIN).is_some() {
            return;
        }
        facts.waiting_for += 1;
        if facts.waiting_for == 1 {
            self.read_by_age.remove(&(facts.sent_at, place));
            self.unread_by_age.insert((facts.sent_at, place));
        }
    }

    pub(crate) fn mark_read(&mut self, place: u64, session: &SessionId) {
        let Some(facts) = self.order.get_mut(&place) else {
            return;
        };
        let Some(unread) = self.unread.get_mut(session) else {
            return;
        };
        if unread.remove(&place).is_none() {
            return;
        }
        if unread.is_empty() {
            self.unread.remove(session);
        }
        facts.waiting_for -= 1;
        if facts.waiting_for == 0 {
            self.unread_by_age.remove(&(facts.sent_at, place));
            self.read_by_age.insert((facts.sent_at, place));
        }
    }

    /// For how many a message is waiting.
    pub(crate) fn waiting_for(&self, place: u64) -> usize {
        self.order.get(&place).map_or(0, |facts| facts.waiting_for)
    }

    /// How many messages wait for a session.
    pub(crate) fn unread_count(&self, session: &SessionId) -> usize {
        self.unread.get(session).map_or(0, BTreeMap::len)
    }

    pub(crate) fn is_unread(&self, place: u64, session: &SessionId) -> bool {
        self.unread.get(session).is_some_and(|unread| unread.contains_key(&place))
    }

    /// All that a session has not read, oldest first.
    pub(crate) fn unread_of(&self, session: &SessionId) -> Vec<(u64, MessageId)> {
        self.named(self.unread.get(session).into_iter().flatten().map(|(place, _)| *place))
    }

    fn named(&self, places: impl Iterator<Item = u64>) -> Vec<(u64, MessageId)> {
        places.filter_map(|place| self.order.get(&place).map(|facts| (place, facts.id.clone()))).collect()
    }

    /// The oldest that a session has not read and that are not in an answer on its way, at most `count`. They are
    /// taken to be on their way until `until`. Also says how many older ones are on their way already; as leases go
    /// from the oldest on, those are all, unless an answer was lost while a later one was on its way.
    pub(crate) fn lease(
        &mut self,
        session: &SessionId,
        count: usize,
        now_mono: i64,
        until: i64,
    ) -> (Vec<MessageId>, usize) {
        let (mut leased, mut on_their_way) = (Vec::new(), 0);
        for (place, leased_until) in self.unread.get_mut(session).into_iter().flatten() {
            if leased.len() == count {
                break;
            }
            if *leased_until > now_mono {
                on_their_way += 1;
                continue;
            }
            *leased_until = until;
            leased.extend(self.order.get(place).map(|facts| facts.id.clone()));
        }
        (leased, on_their_way)
    }

    /// The answer that held this message did not arrive: it may go into the next one at once.
    pub(crate) fn release(&mut self, session: &SessionId, place: u64) {
        if let Some(leased_until) = self.unread.get_mut(session).and_then(|unread| unread.get_mut(&place)) {
            *leased_until = i64::MIN;
        }
    }

    pub(crate) fn sent_to_room_after(&self, room: &RoomId, place: u64) -> Vec<(u64, MessageId)> {
        self.named(self.in_room.get(room).into_iter().flat_map(|places| places.range(place + 1..)).copied())
    }

    /// Messages before `place` (all when it is `u64::MAX`), newest first.
    pub(crate) fn newest_first(&self, place: u64) -> impl Iterator<Item = (u64, &MessageId)> {
        self.order.range(..place).rev().map(|(place, facts)| (*place, &facts.id))
    }

    /// Messages that `session` sent or got directly, before `place`, newest first.
    pub(crate) fn concerning(&self, session: &SessionId, place: u64) -> impl Iterator<Item = (u64, &MessageId)> {
        self.places_newest_first(self.concerning.get(session), place)
    }

    /// Messages to a room, before `place`, newest first.
    pub(crate) fn in_room(&self, room: &RoomId, place: u64) -> impl Iterator<Item = (u64, &MessageId)> {
        self.places_newest_first(self.in_room.get(room), place)
    }

    fn places_newest_first<'a>(
        &'a self,
        places: Option<&'a BTreeSet<u64>>,
        before: u64,
    ) -> impl Iterator<Item = (u64, &'a MessageId)> {
        let places = places.into_iter().flat_map(move |places| places.range(..before).rev());
        places.filter_map(|place| self.order.get(place).map(|facts| (*place, &facts.id)))
    }

    /// Messages sent before the given times: everybody has read those before `read_before`, and nobody need wait for
    /// those before `unread_before` any longer.
    pub(crate) fn over(&self, read_before: i64, unread_before: i64, at_most: usize) -> Vec<MessageId> {
        let read = self.read_by_age.iter().take_while(|(sent_at, _)| *sent_at < read_before);
        let unread = self.unread_by_age.iter().take_while(|(sent_at, _)| *sent_at < unread_before);
        let old = read.chain(unread).take(at_most).filter_map(|(_, place)| self.order.get(place));
        old.map(|facts| facts.id.clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

fn add_place<K: Ord + Clone>(map: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, place: u64) {
    match map.get_mut(key) {
        Some(places) => drop(places.insert(place)),
        None => drop(map.insert(key.clone(), BTreeSet::from([place]))),
    }
}

fn remove_place<K: Ord>(map: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, place: u64) {
    if let Some(places) = map.get_mut(key) {
        places.remove(&place);
        if places.is_empty() {
            map.remove(key);
        }
    }
}

/// The indexes without the leases, for tests to hold against the rows.
#[cfg(test)]
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Inspection {
    /// Id, sending time, and number of those who have not read it.
    pub(super) order: BTreeMap<u64, (MessageId, i64, usize)>,
    pub(super) concerning: BTreeMap<SessionId, BTreeSet<u64>>,
    pub(super) in_room: BTreeMap<RoomId, BTreeSet<u64>>,
    pub(super) unread: BTreeMap<SessionId, BTreeSet<u64>>,
    pub(super) read_by_age: BTreeSet<(i64, u64)>,
    pub(super) unread_by_age: BTreeSet<(i64, u64)>,
}

#[cfg(test)]
impl Mailboxes {
    pub(super) fn inspect(&self) -> Inspection {
        let places = |unread: &BTreeMap<u64, i64>| unread.keys().copied().collect();
        Inspection {
            order: self.order.iter().map(|(at, f)| (*at, (f.id.clone(), f.sent_at, f.waiting_for))).collect(),
            concerning: self.concerning.clone(),
            in_room: self.in_room.clone(),
            unread: self.unread.iter().map(|(session, unread)| (session.clone(), places(unread))).collect(),
            read_by_age: self.read_by_age.clone(),
            unread_by_age: self.unread_by_age.clone(),
        }
    }
}

//! The indexes over messages: their order, who has not read what, what concerns whom, and how old they are. It knows
//! ids and places only; whether a message is for somebody is decided by the tables.

use crate::ids::{MessageId, RoomId, SessionId};
use crate::model::{Message, Recipient};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    /// All messages in the order of the log.
    order: BTreeMap<u64, MessageId>,
    /// Messages that a session or human sent, or got directly.
    concerning: BTreeMap<SessionId, BTreeSet<u64>>,
    /// Messages sent to a room.
    in_room: BTreeMap<RoomId, BTreeSet<u64>>,
    /// What each session has not read, and the monotonic millisecond until which it is in a hook answer on its way.
    unread: BTreeMap<SessionId, BTreeMap<u64, i64>>,
    /// Place, sending time and number of those who have not read it.
    facts: BTreeMap<MessageId, Facts>,
    read_by_age: BTreeSet<(i64, MessageId)>,
    unread_by_age: BTreeSet<(i64, MessageId)>,
}

#[derive(Debug)]
struct Facts {
    place: u64,
    sent_at: i64,
    waiting_for: usize,
}

impl Mailboxes {
    pub(crate) fn insert(&mut self, message: &Message, place: u64, readers: Vec<SessionId>) {
        self.order.insert(place, message.id.clone());
        self.concerning.entry(message.from_session_id.clone()).or_default().insert(place);
        match &message.to {
            Recipient::Session(session) => self.concerning.entry(session.clone()).or_default().insert(place),
            Recipient::Room(room) => self.in_room.entry(room.clone()).or_default().insert(place),
        };
        self.facts.insert(message.id.clone(), Facts { place, sent_at: message.sent_at, waiting_for: 0 });
        self.read_by_age.insert((message.sent_at, message.id.clone()));
        for reader in readers {
            self.mark_unread(&message.id, &reader);
        }
    }

    /// Forgets a message. `members` are those for whom it can be unread, if it was sent to a room.
    pub(crate) fn remove(&mut self, message: &Message, place: u64, members: &[SessionId]) {
        remove_place(&mut self.concerning, &message.from_session_id, place);
        match &message.to {
            Recipient::Session(session) => {
                remove_place(&mut self.concerning, session, place);
                self.mark_read(&message.id, session);
            }
            Recipient::Room(room) => {
                remove_place(&mut self.in_room, room, place);
                for member in members {
                    self.mark_read(&message.id, member);
                }
            }
        }
        self.order.remove(&place);
        self.facts.remove(&message.id);
        self.read_by_age.remove(&(message.sent_at, message.id.clone()));
        self.unread_by_age.remove(&(message.sent_at, message.id.clone()));
    }

    pub(crate) fn mark_unread(&mut self, message: &MessageId, session: &SessionId) {
        let Some(facts) = self.facts.get_mut(message) else {
            return;
        };
        if self.unread.entry(session.clone()).or_default().insert(facts.place, i64::MIN).is_some() {
            return;
        }
        facts.waiting_for += 1;
        if facts.waiting_for == 1 {
            let key = (facts.sent_at, message.clone());
            self.read_by_age.remove(&key);
            self.unread_by_age.insert(key);
        }
    }

    pub(crate) fn mark_read(&mut self, message: &MessageId, session: &SessionId) {
        let Some(facts) = self.facts.get_mut(message) else {
            return;
        };
        let Some(unread) = self.unread.get_mut(session) else {
            return;
        };
        if unread.remove(&facts.place).is_none() {
            return;
        }
        if unread.is_empty() {
            self.unread.remove(session);
        }
        facts.waiting_for -= 1;
        if facts.waiting_for == 0 {
            let key = (facts.sent_at, message.clone());
            self.unread_by_age.remove(&key);
            self.read_by_age.insert(key);
        }
    }

    /// For how many a message is waiting.
    pub(crate) fn waiting_for(&self, message: &MessageId) -> usize {
        self.facts.get(message).map_or(0, |facts| facts.waiting_for)
    }

    /// How many messages wait for a session.
    pub(crate) fn unread_count(&self, session: &SessionId) -> usize {
        self.unread.get(session).map_or(0, BTreeMap::len)
    }

    pub(crate) fn is_unread(&self, message: &MessageId, session: &SessionId) -> bool {
        let unread = self.unread.get(session);
        self.facts.get(message).is_some_and(|facts| unread.is_some_and(|unread| unread.contains_key(&facts.place)))
    }

    /// All that a session has not read, oldest first.
    pub(crate) fn unread_ids(&self, session: &SessionId) -> Vec<MessageId> {
        let places = self.unread.get(session).into_iter().flatten().map(|(place, _)| place);
        places.filter_map(|place| self.order.get(place)).cloned().collect()
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
            leased.extend(self.order.get(place).cloned());
        }
        (leased, on_their_way)
    }

    /// The answer that held these messages did not arrive: they may go into the next one at once.
    pub(crate) fn release(&mut self, session: &SessionId, messages: &[MessageId]) {
        let Some(unread) = self.unread.get_mut(session) else {
            return;
        };
        for message in messages {
            if let Some(facts) = self.facts.get(message)
                && let Some(leased_until) = unread.get_mut(&facts.place)
            {
                *leased_until = i64::MIN;
            }
        }
    }

    pub(crate) fn sent_to_room_after(&self, room: &RoomId, place: u64) -> Vec<MessageId> {
        let places = self.in_room.get(room).into_iter().flat_map(|places| places.range(place + 1..));
        places.filter_map(|place| self.order.get(place)).cloned().collect()
    }

    /// Messages before `place` (all when it is `u64::MAX`), newest first.
    pub(crate) fn newest_first(&self, place: u64) -> impl Iterator<Item = (u64, &MessageId)> {
        self.order.range(..place).rev().map(|(place, id)| (*place, id))
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
        places.filter_map(|place| self.order.get(place).map(|id| (*place, id)))
    }

    /// Messages sent before the given times: everybody has read those before `read_before`, and nobody need wait for
    /// those before `unread_before` any longer.
    pub(crate) fn over(&self, read_before: i64, unread_before: i64, at_most: usize) -> Vec<MessageId> {
        let read = self.read_by_age.iter().take_while(|(sent_at, _)| *sent_at < read_before);
        let unread = self.unread_by_age.iter().take_while(|(sent_at, _)| *sent_at < unread_before);
        read.chain(unread).take(at_most).map(|(_, id)| id.clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
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
    pub(super) order: BTreeMap<u64, MessageId>,
    pub(super) concerning: BTreeMap<SessionId, BTreeSet<u64>>,
    pub(super) in_room: BTreeMap<RoomId, BTreeSet<u64>>,
    pub(super) unread: BTreeMap<SessionId, BTreeSet<u64>>,
    pub(super) facts: BTreeMap<MessageId, (u64, i64, usize)>,
    pub(super) read_by_age: BTreeSet<(i64, MessageId)>,
    pub(super) unread_by_age: BTreeSet<(i64, MessageId)>,
}

#[cfg(test)]
impl Mailboxes {
    pub(super) fn inspect(&self) -> Inspection {
        let places = |unread: &BTreeMap<u64, i64>| unread.keys().copied().collect();
        Inspection {
            order: self.order.clone(),
            concerning: self.concerning.clone(),
            in_room: self.in_room.clone(),
            unread: self.unread.iter().map(|(session, unread)| (session.clone(), places(unread))).collect(),
            facts: self.facts.iter().map(|(id, f)| (id.clone(), (f.place, f.sent_at, f.waiting_for))).collect(),
            read_by_age: self.read_by_age.clone(),
            unread_by_age: self.unread_by_age.clone(),
        }
    }
}

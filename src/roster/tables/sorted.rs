//! Loading many rows at once, sorted by type.

use super::{At, Placed, Tables};
use crate::model::{
    Delivery, Departed, ItemType, Message, MessageRead, Registration, Room, RoomMember, Row, Session, Stored,
};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Rows that are about to be loaded.
#[derive(Default)]
struct Sorted {
    sessions: Vec<(u64, Arc<Stored<Session>>)>,
    rooms: Vec<(u64, Arc<Stored<Room>>)>,
    members: Vec<(u64, Arc<Stored<RoomMember>>)>,
    messages: Vec<(u64, Arc<Stored<Message>>)>,
    reads: Vec<(u64, Arc<Stored<MessageRead>>)>,
    registrations: Vec<(u64, Arc<Stored<Registration>>)>,
    deliveries: Vec<(u64, Arc<Stored<Delivery>>)>,
    departed: Vec<(u64, Arc<Stored<Departed>>)>,
}

impl Sorted {
    /// The rows by type, with their places.
    fn new(rows: &[(u64, Row)]) -> Self {
        let mut sorted = Self::default();
        for (place, row) in rows {
            let place = *place;
            match row {
                Row::Session(stored) => sorted.sessions.push((place, stored.clone())),
                Row::Room(stored) => sorted.rooms.push((place, stored.clone())),
                Row::RoomMember(stored) => sorted.members.push((place, stored.clone())),
                Row::Message(stored) => sorted.messages.push((place, stored.clone())),
                Row::MessageRead(stored) => sorted.reads.push((place, stored.clone())),
                Row::Registration(stored) => sorted.registrations.push((place, stored.clone())),
                Row::Delivery(stored) => sorted.deliveries.push((place, stored.clone())),
                Row::Departed(stored) => sorted.departed.push((place, stored.clone())),
            }
        }
        sorted
    }
}

fn by_id<I: Ord, R>(rows: &[(u64, Arc<Stored<R>>)], id: impl Fn(&R) -> I) -> BTreeMap<I, Placed<R>> {
    rows.iter().map(|(place, stored)| (id(&stored.row), Placed { stored: stored.clone(), place: *place })).collect()
}

impl Tables {
    /// Takes over many rows without noting them in the journal. Into empty tables they go type by type: what hangs on
    /// nothing first, so that no index is corrected later, and each map is built in one go, which is faster than row by
    /// row and leaves no gaps in it.
    pub(crate) fn load(&mut self, rows: Vec<(u64, Row)>) {
        let last = rows.iter().map(|(place, _)| *place).max().unwrap_or_default();
        let sorted = Sorted::new(&rows);
        let Sorted { sessions, rooms, members, messages, reads, registrations, deliveries, departed } = sorted;
        let members_by_id = by_id(&members, |row| row.id.clone());
        let messages_by_id = by_id(&messages, |row| row.id.clone());
        let reads_by_id = by_id(&reads, |row| row.id.clone());
        let distinct = by_id(&sessions, |row| row.id.clone()).len()
            + by_id(&rooms, |row| row.id.clone()).len()
            + members_by_id.len()
            + messages_by_id.len()
            + reads_by_id.len()
            + by_id(&registrations, |row| row.id.clone()).len()
            + by_id(&deliveries, |row| row.id.clone()).len()
            + by_id(&departed, |row| row.id.clone()).len();
        if !self.is_empty() || distinct < rows.len() {
            self.persist = false;
            for (seq, row) in rows {
                self.set_at(row, Some(At::behind_all(seq)));
            }
            self.persist = true;
            self.commit();
            return;
        }
        drop(rows);
        for (place, stored) in sessions {
            self.activity_written.insert(stored.row.id.clone(), stored.row.last_seen_at());
            self.put_session(stored, place);
        }
        for (place, stored) in rooms {
            drop(self.put(Row::Room(stored), place));
        }
        self.members = members_by_id;
        members.iter().for_each(|(place, stored)| self.index_member(&stored.row, *place));
        // Without receipts every message is unread to its readers; each receipt then marks it as read.
        messages.iter().for_each(|(place, stored)| self.index_message(&stored.row, *place));
        self.messages = messages_by_id;
        for (_, stored) in &reads {
            self.index_read(&stored.row);
            // Nothing of this is ever taken back.
            self.mail.commit();
        }
        self.reads = reads_by_id;
        for (place, stored) in registrations {
            drop(self.put(Row::Registration(stored), place));
        }
        for (place, stored) in deliveries {
            drop(self.put(Row::Delivery(stored), place));
            self.mail.commit();
        }
        for (place, stored) in departed {
            drop(self.put(Row::Departed(stored), place));
        }
        self.next_place = self.next_place.max(last + 1);
        self.commit();
    }

    fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.rooms.is_empty()
            && self.members.is_empty()
            && self.messages.is_empty()
            && self.reads.is_empty()
            && self.registrations.is_empty()
            && self.deliveries.is_empty()
            && self.departed.is_empty()
    }
}

/// The ids of rows behind one of them.
fn ids_after<K: Ord + Borrow<str>, V>(map: &BTreeMap<K, V>, from: Option<&str>, count: usize) -> Vec<String> {
    let from = from.map_or(Bound::Unbounded, Bound::Excluded);
    map.range::<str, _>((from, Bound::Unbounded)).take(count).map(|(id, _)| id.borrow().to_owned()).collect()
}

impl Tables {
    /// The rows behind this one, type by type and by their ids: at most so many.
    pub(crate) fn keys_after(&self, from: Option<&(ItemType, String)>, count: usize) -> Vec<(ItemType, String)> {
        let mut keys = Vec::new();
        for item_type in ItemType::ALL {
            let (first, left) = (from.map_or(item_type, |(first, _)| *first), count - keys.len());
            if item_type < first || left == 0 {
                continue;
            }
            let from = from.filter(|(of, _)| *of == item_type).map(|(_, id)| id.as_str());
            let ids = match item_type {
                ItemType::Session => ids_after(&self.sessions, from, left),
                ItemType::Room => ids_after(&self.rooms, from, left),
                ItemType::RoomMember => ids_after(&self.members, from, left),
                ItemType::Message => ids_after(&self.messages, from, left),
                ItemType::MessageRead => ids_after(&self.reads, from, left),
                ItemType::Registration => ids_after(&self.registrations, from, left),
                ItemType::Delivery => ids_after(&self.deliveries, from, left),
                ItemType::Departed => ids_after(&self.departed, from, left),
            };
            keys.extend(ids.into_iter().map(|id| (item_type, id)));
        }
        keys
    }
}

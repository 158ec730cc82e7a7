//! The rows and their indexes. Every change goes through two primitives, [`Tables::set`] and [`Tables::delete`], which
//! keep all indexes right and note in a journal what they replaced, so that a batch can be written to the log and, if
//! that fails, undone. Every index follows from the rows alone; nothing here decides what should change.

mod change;
mod deliveries;
mod gone;
mod newest;
mod room_steps;
mod sorted;
mod undo;

pub use change::Change;
pub use gone::Gone;
pub(crate) use newest::newest_first;
pub(crate) use room_steps::RoomSteps;
pub(crate) use undo::Mark;

use super::At;
use super::departed::Departures;
use super::mailbox::Mailboxes;
use super::nickname::Nicknames;
use super::presence::Presence;
use super::pushes::Pushes;
use super::renewals::Renewals;
use super::threads::Threads;
use super::turn::Turns;
use super::waiters::Waiters;
use crate::ids::{MemberId, MessageId, ReadId, RoomId, SessionId};
use crate::limits::ACTIVITY_PERSIST_EVERY_MS;
use crate::model::{
    Delivery, Departed, ItemType, Message, MessageRead, Process, Recipient, Registration, Room, RoomMember, Row,
    Session, Stored, TokenHash,
};
use crate::time::Now;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A row and its place in the order of the log: a row keeps the place at which it first appeared. Whether somebody was
/// in a room when a message was sent is decided by these places and not by clocks, which jump.
#[derive(Clone, Debug)]
pub(crate) struct Placed<R> {
    pub(crate) stored: Arc<Stored<R>>,
    pub(crate) place: u64,
}

#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) sessions: BTreeMap<SessionId, Placed<Session>>,
    pub(crate) rooms: BTreeMap<RoomId, Placed<Room>>,
    pub(crate) members: BTreeMap<MemberId, Placed<RoomMember>>,
    pub(crate) messages: BTreeMap<MessageId, Placed<Message>>,
    pub(crate) reads: BTreeMap<ReadId, Placed<MessageRead>>,
    pub(crate) registrations: BTreeMap<SessionId, Placed<Registration>>,
    pub(crate) deliveries: BTreeMap<ReadId, Placed<Delivery>>,
    pub(crate) departed: BTreeMap<SessionId, Placed<Departed>>,
    pub(crate) departures: Departures,
    pub(crate) by_token: BTreeMap<TokenHash, SessionId>,
    pub(crate) by_process: BTreeMap<Process, BTreeSet<SessionId>>,
    /// The processes in which sessions lived by the word of an earlier batch, each with the last one, until they end: what
    /// descends from them is no operator.
    pub(crate) agents: BTreeMap<Process, SessionId>,
    /// Sessions that say that they are in the middle of a turn.
    pub(crate) turns: Turns,
    /// Sessions for which somebody hears of events as they happen.
    pub(crate) subscribed: BTreeSet<SessionId>,
    pub(crate) nicknames: Nicknames,
    pub(crate) rooms_by_name: BTreeSet<(Arc<str>, RoomId)>,
    pub(crate) members_of: BTreeMap<RoomId, BTreeMap<SessionId, MemberId>>,
    pub(crate) rooms_of: BTreeMap<SessionId, BTreeMap<RoomId, MemberId>>,
    pub(crate) reads_of: BTreeMap<SessionId, BTreeSet<ReadId>>,
    pub(crate) mail: Mailboxes,
    pub(crate) threads: Threads,
    pub(crate) presence: Presence,
    pub(crate) renewals: Renewals,
    pub(crate) waiters: Waiters,
    pub(crate) pushes: Pushes,
    pub(crate) room_steps: RoomSteps,
    /// The moment of the request that is being applied.
    pub(crate) now: Now,
    /// Whether changes belong into the log; off while rows come from there.
    pub(crate) persist: bool,
    /// Whether changes come from what somebody else wrote.
    pub(crate) outside: bool,
    /// The last sign of life of each session that the log holds.
    activity_written: BTreeMap<SessionId, i64>,
    /// Sessions whose activity has changed in memory alone, and of which those who watch have not heard.
    touched: BTreeSet<SessionId>,
    /// Sessions of whose rows the log holds an older state.
    unwritten: BTreeSet<SessionId>,
    journal: Vec<Change>,
    next_place: u64,
    /// Where the batch has begun.
    batch_place: u64,
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self {
            sessions: BTreeMap::new(),
            rooms: BTreeMap::new(),
            members: BTreeMap::new(),
            messages: BTreeMap::new(),
            reads: BTreeMap::new(),
            registrations: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            departed: BTreeMap::new(),
            departures: Departures::default(),
            by_token: BTreeMap::new(),
            by_process: BTreeMap::new(),
            agents: BTreeMap::new(),
            turns: Turns::default(),
            subscribed: BTreeSet::new(),
            nicknames: Nicknames::default(),
            rooms_by_name: BTreeSet::new(),
            members_of: BTreeMap::new(),
            rooms_of: BTreeMap::new(),
            reads_of: BTreeMap::new(),
            mail: Mailboxes::default(),
            threads: Threads::default(),
            presence: Presence::default(),
            renewals: Renewals::default(),
            waiters: Waiters::default(),
            pushes: Pushes::default(),
            room_steps: RoomSteps::default(),
            now: Now::at(0),
            persist: true,
            outside: false,
            activity_written: BTreeMap::new(),
            touched: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            journal: Vec::new(),
            next_place: 1,
            batch_place: 1,
        }
    }

    /// Puts a row in the place of the one with its id, or adds it.
    pub(crate) fn set(&mut self, row: impl Into<Row>) {
        self.set_at(row.into(), None);
    }

    /// The same for a row that the log tells of, which has its place there.
    pub(crate) fn set_at(&mut self, row: Row, at: Option<At>) {
        let old_place = self.place_of(&row);
        let is_given = at.as_ref().is_some_and(At::is_given);
        let place = old_place.filter(|_| !is_given).unwrap_or_else(|| match &at {
            Some(at) => self.free_place(&row, at.seq),
            None => self.next_place,
        });
        if let Row::Session(stored) = &row {
            self.activity_written.insert(stored.row.id.clone(), stored.row.last_seen_at());
            self.touched.remove(&stored.row.id);
            self.unwritten.remove(&stored.row.id);
        }
        let before = match old_place {
            Some(_) => self.put(row.clone(), place),
            None => {
                self.put_new(row.clone(), place);
                None
            }
        };
        let (persist, outside) = (self.persist, self.outside);
        self.journal.push(Change { before, after: Some((row, place)), persist, outside, gone: None });
    }

    /// This place, or the next one that no other message has: they are known by their places.
    fn free_place(&self, row: &Row, mut place: u64) -> u64 {
        while let (Row::Message(_), Some(other)) = (row, self.mail.at(place)) {
            if other.as_str() == row.id() {
                break;
            }
            place += 1;
        }
        place
    }

    /// The row with this id, and its place.
    pub(crate) fn placed(&self, item_type: ItemType, id: &str) -> Option<(Row, u64)> {
        let row = self.row(item_type, id)?;
        let place = self.place_of(&row)?;
        Some((row, place))
    }

    /// The place that the next row gets that is added.
    pub(crate) fn next_place(&self) -> u64 {
        self.next_place
    }

    /// Removes a row if it is there.
    pub(crate) fn delete(&mut self, item_type: ItemType, id: &str) {
        self.delete_since(item_type, id, None);
    }

    /// Removes a session, or a registration, if it is there, and notes why.
    pub(crate) fn delete_since(&mut self, item_type: ItemType, id: &str, gone: Option<Gone>) {
        if let Some(before) = self.take(item_type, id) {
            let (persist, outside) = (self.persist, self.outside);
            self.journal.push(Change { before: Some(before), after: None, persist, outside, gone });
        }
    }

    /// Replaces a session's row without a journal entry: for activity, which is kept in memory until its persisted
    /// value is old. The row keeps its place.
    pub(crate) fn set_in_memory(&mut self, stored: Arc<Stored<Session>>) {
        if let Some(place) = self.sessions.get(&stored.row.id).map(|placed| placed.place) {
            self.touched.insert(stored.row.id.clone());
            self.unwritten.insert(stored.row.id.clone());
            self.put_session(stored, place);
        }
    }

    /// As [`Tables::set_in_memory`], and tells those who watch with this batch.
    pub(crate) fn set_shown(&mut self, stored: Arc<Stored<Session>>) {
        let Some(place) = self.sessions.get(&stored.row.id).map(|placed| placed.place) else { return };
        self.touched.remove(&stored.row.id);
        self.unwritten.insert(stored.row.id.clone());
        let before = self.put_session(stored.clone(), place);
        let (after, outside) = (Some((Row::Session(stored), place)), self.outside);
        self.journal.push(Change { before, after, persist: false, outside, gone: None });
    }

    /// Notes the activity since the last time as changes that do not belong into the log, so that those who watch hear
    /// of it: once for each session, however often it did something.
    pub(crate) fn show_activity(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            if let Some(placed) = self.sessions.get(&id) {
                let row = (Row::Session(placed.stored.clone()), placed.place);
                self.journal.push(Change {
                    before: Some(row.clone()),
                    after: Some(row),
                    persist: false,
                    outside: false,
                    gone: None,
                });
            }
        }
    }

    /// Writes the rows of sessions that were kept in memory alone: at most so many.
    pub(crate) fn write_rows(&mut self, count: usize) {
        let ids: Vec<SessionId> = self.unwritten.iter().take(count).cloned().collect();
        for id in ids {
            match self.sessions.get(&id).map(|placed| placed.stored.clone()) {
                Some(stored) => self.set(Row::Session(stored)),
                None => drop(self.unwritten.remove(&id)),
            }
        }
    }

    /// Whether the session's activity in the log is old enough for the new one to be written.
    pub(crate) fn activity_is_due(&self, row: &Session) -> bool {
        let written = self.activity_written.get(&row.id).copied().unwrap_or(i64::MIN);
        row.last_seen_at().saturating_sub(written) > ACTIVITY_PERSIST_EVERY_MS
    }

    /// Whether the current batch has changed anything.
    pub(crate) fn journal(&self) -> &[Change] {
        &self.journal
    }

    fn place_of(&self, row: &Row) -> Option<u64> {
        match row {
            Row::Session(stored) => self.sessions.get(&stored.row.id).map(|placed| placed.place),
            Row::Room(stored) => self.rooms.get(&stored.row.id).map(|placed| placed.place),
            Row::RoomMember(stored) => self.members.get(&stored.row.id).map(|placed| placed.place),
            Row::Message(stored) => newest_first(&self.messages, &stored.row.id).map(|placed| placed.place),
            Row::MessageRead(stored) => newest_first(&self.reads, &stored.row.id).map(|placed| placed.place),
            Row::Registration(stored) => self.registrations.get(&stored.row.id).map(|placed| placed.place),
            Row::Delivery(stored) => newest_first(&self.deliveries, &stored.row.id).map(|placed| placed.place),
            Row::Departed(stored) => self.departed.get(&stored.row.id).map(|placed| placed.place),
        }
    }

    /// The row with this id.
    pub(crate) fn row(&self, item_type: ItemType, id: &str) -> Option<Row> {
        match item_type {
            ItemType::Session => self.sessions.get(id).map(|placed| Row::Session(placed.stored.clone())),
            ItemType::Room => self.rooms.get(id).map(|placed| Row::Room(placed.stored.clone())),
            ItemType::RoomMember => self.members.get(id).map(|placed| Row::RoomMember(placed.stored.clone())),
            ItemType::Message => self.messages.get(id).map(|placed| Row::Message(placed.stored.clone())),
            ItemType::MessageRead => self.reads.get(id).map(|placed| Row::MessageRead(placed.stored.clone())),
            ItemType::Registration => self.registrations.get(id).map(|placed| Row::Registration(placed.stored.clone())),
            ItemType::Delivery => self.deliveries.get(id).map(|placed| Row::Delivery(placed.stored.clone())),
            ItemType::Departed => self.departed.get(id).map(|placed| Row::Departed(placed.stored.clone())),
        }
    }

    /// The receipts for a message.
    pub(crate) fn receipts<'a>(&'a self, message: &'a MessageId) -> impl Iterator<Item = &'a ReadId> {
        let first = format!("{message}::");
        let reads = self.reads.range(ReadId::from(first.as_str())..);
        let reads = reads.take_while(move |(id, _)| id.as_str().starts_with(&first));
        // An id from outside can begin like another one's receipts.
        reads.filter(|(_, read)| read.stored.row.message_id == *message).map(|(id, _)| id)
    }

    fn put(&mut self, row: Row, place: u64) -> Option<(Row, u64)> {
        if let Row::Session(stored) = row {
            self.next_place = self.next_place.max(place + 1);
            return self.put_session(stored, place);
        }
        let before = self.take(row.item_type(), row.id());
        let message = if let Row::Message(stored) = &row { Some(stored.row.id.clone()) } else { None };
        self.put_new(row, place);
        if let Some(message) = message {
            // Whom it was handed to is not said by the message.
            let handed_to = self.delivered_to(&message);
            handed_to.iter().for_each(|session| self.refresh(&message, session));
            if !handed_to.is_empty() {
                self.resettle(&message);
            }
        }
        before
    }

    /// Puts a row of whose id there is none.
    fn put_new(&mut self, row: Row, place: u64) {
        self.next_place = self.next_place.max(place + 1);
        match row {
            Row::Session(stored) => drop(self.put_session(stored, place)),
            Row::Room(stored) => {
                self.rooms_by_name.insert((stored.row.name.clone(), stored.row.id.clone()));
                self.rooms.insert(stored.row.id.clone(), Placed { stored, place });
            }
            Row::RoomMember(stored) => {
                self.members.insert(stored.row.id.clone(), Placed { stored: stored.clone(), place });
                self.index_member(&stored.row, place);
            }
            Row::Message(stored) => {
                self.index_message(&stored.row, place);
                self.note_claims(&stored.row.id, place, true);
                self.note_steps(&stored.row, place, true);
                self.messages.insert(stored.row.id.clone(), Placed { stored, place });
            }
            Row::MessageRead(stored) => {
                self.index_read(&stored.row);
                self.reads.insert(stored.row.id.clone(), Placed { stored, place });
            }
            Row::Registration(stored) => {
                self.by_token.insert(stored.row.token, stored.row.id.clone());
                self.renewals.put(&stored.row, self.now);
                self.registrations.insert(stored.row.id.clone(), Placed { stored, place });
            }
            Row::Delivery(stored) => {
                let (message, session) = (stored.row.message_id.clone(), stored.row.session_id.clone());
                let is_settled = stored.row.step.is_settled();
                self.deliveries.insert(stored.row.id.clone(), Placed { stored: stored.clone(), place });
                self.note_claim(&stored.row);
                self.note_step(&message, &session, true);
                self.refresh(&message, &session);
                if is_settled {
                    self.resettle(&message);
                }
            }
            Row::Departed(stored) => {
                self.departures.insert(&stored.row);
                self.departed.insert(stored.row.id.clone(), Placed { stored, place });
            }
        }
    }

    /// Sessions change most often, so that this does not take the old row out first: its nickname, which seldom
    /// changes, would lose its place among the numbered ones.
    fn put_session(&mut self, stored: Arc<Stored<Session>>, place: u64) -> Option<(Row, u64)> {
        let (id, nickname) = (stored.row.id.clone(), stored.row.nickname.clone());
        let before = self.sessions.insert(id.clone(), Placed { stored: stored.clone(), place });
        if before.is_none() {
            self.room_steps.come(&id);
        }
        let old_name = before.as_ref().map(|placed| placed.stored.row.nickname.clone());
        if old_name.as_ref() != Some(&nickname) {
            if let Some(old_name) = &old_name {
                self.nicknames.remove(old_name, &id);
            }
            self.nicknames.insert(&nickname, &id);
        }
        let old_process = before.as_ref().and_then(|placed| placed.stored.row.process.as_ref());
        if old_process != stored.row.process.as_ref() {
            old_process.into_iter().for_each(|process| remove_from(&mut self.by_process, process, &id));
            if let Some(process) = &stored.row.process {
                self.by_process.entry(process.clone()).or_default().insert(id);
            }
        }
        if self.turns.put(&stored.row) {
            self.waiters.rouse(&stored.row.id);
            self.pushes.turn_over(&stored.row.id);
        }
        self.presence.put(before.as_ref().map(|placed| &placed.stored.row), &stored.row, self.now);
        before.map(|placed| (Row::Session(placed.stored), placed.place))
    }

    fn index_member(&mut self, member: &RoomMember, place: u64) {
        let RoomMember { id, room_id, session_id, .. } = member;
        self.members_of.entry(room_id.clone()).or_default().insert(session_id.clone(), id.clone());
        self.rooms_of.entry(session_id.clone()).or_default().insert(room_id.clone(), id.clone());
        for (_, message_id) in self.mail.sent_to_room_after(room_id, place) {
            self.refresh(&message_id, session_id);
        }
    }

    fn index_message(&mut self, message: &Message, place: u64) {
        let readers = self.readers_of(message, place);
        readers.iter().for_each(|reader| self.waiters.rouse(reader));
        self.mail.insert(message, place, readers);
        self.threads.insert(message);
    }

    fn index_read(&mut self, read: &MessageRead) {
        if let Some(message) = self.messages.get(&read.message_id) {
            self.mail.mark_read(message.place, &read.session_id);
        }
        match self.reads_of.get_mut(&read.session_id) {
            Some(of_session) => drop(of_session.insert(read.id.clone())),
            None => drop(self.reads_of.insert(read.session_id.clone(), BTreeSet::from([read.id.clone()]))),
        }
    }

    /// Those for whom a message is unread: its recipient, or those who joined its room before it and did not send it.
    fn readers_of(&self, message: &Message, place: u64) -> Vec<SessionId> {
        let is_final = |placed: &Placed<Delivery>| placed.stored.row.step.is_final();
        let settled = |id: &ReadId| newest_first(&self.deliveries, id).is_some_and(is_final);
        let done = |id: &ReadId| newest_first(&self.reads, id).is_some() || settled(id);
        let knows_none = self.reads.is_empty() && self.deliveries.is_empty();
        let unread = |session: &SessionId| knows_none || !done(&ReadId::of(&message.id, session));
        match &message.to {
            Recipient::Session(session) if message.read_at.is_none() && unread(session) => {
                vec![session.clone()]
            }
            Recipient::Session(_) => Vec::new(),
            Recipient::Room(room) => {
                let members = self.members_of.get(room).into_iter().flatten();
                let before = |id: &MemberId| self.members.get(id).is_some_and(|member| member.place < place);
                members
                    .filter(|(session, id)| **session != message.from_session_id && before(id) && unread(session))
                    .map(|(session, _)| session.clone())
                    .collect()
            }
        }
    }

    fn take(&mut self, item_type: ItemType, id: &str) -> Option<(Row, u64)> {
        match item_type {
            ItemType::Session => {
                let placed = self.sessions.remove(id)?;
                self.activity_written.remove(id);
                self.unwritten.remove(id);
                self.turns.remove(id);
                self.room_steps.go(&placed.stored.row.id);
                self.nicknames.remove(&placed.stored.row.nickname, &placed.stored.row.id);
                self.presence.remove(&placed.stored.row);
                if let Some(process) = &placed.stored.row.process {
                    remove_from(&mut self.by_process, process, &placed.stored.row.id);
                }
                Some((Row::Session(placed.stored), placed.place))
            }
            ItemType::Room => {
                let placed = self.rooms.remove(id)?;
                self.rooms_by_name.remove(&(placed.stored.row.name.clone(), placed.stored.row.id.clone()));
                Some((Row::Room(placed.stored), placed.place))
            }
            ItemType::RoomMember => self.take_member(id),
            ItemType::Message => {
                let placed = self.messages.remove(id)?;
                let mut readers = Vec::new();
                if self.mail.waiting_for(placed.place) > 0 {
                    if let Recipient::Room(room) = &placed.stored.row.to {
                        readers.extend(self.members_of.get(room).into_iter().flat_map(BTreeMap::keys).cloned());
                    }
                    readers.extend(self.delivered_to(&placed.stored.row.id));
                }
                self.note_claims(&placed.stored.row.id, placed.place, false);
                self.note_steps(&placed.stored.row, placed.place, false);
                self.mail.remove(&placed.stored.row, placed.place, &readers);
                self.threads.remove(&placed.stored.row);
                Some((Row::Message(placed.stored), placed.place))
            }
            ItemType::MessageRead => self.take_read(id),
            ItemType::Registration => self.take_registration(id),
            ItemType::Delivery => {
                let placed = self.deliveries.remove(id)?;
                self.note_claim(&placed.stored.row);
                let Delivery { message_id, session_id, step, .. } = &placed.stored.row;
                self.note_step(message_id, session_id, false);
                self.refresh(message_id, session_id);
                if step.is_settled() {
                    self.resettle(message_id);
                }
                Some((Row::Delivery(placed.stored), placed.place))
            }
            ItemType::Departed => {
                let placed = self.departed.remove(id)?;
                self.departures.remove(&placed.stored.row);
                self.nicknames.released(&placed.stored.row.nickname);
                Some((Row::Departed(placed.stored), placed.place))
            }
        }
    }

    fn take_registration(&mut self, id: &str) -> Option<(Row, u64)> {
        let placed = self.registrations.remove(id)?;
        let token = placed.stored.row.token;
        self.renewals.remove(&placed.stored.row.id);
        // Somebody else's line may have given one token to two sessions.
        if self.by_token.get(&token).is_some_and(|session| session.as_str() == id) {
            self.by_token.remove(&token);
        }
        Some((Row::Registration(placed.stored), placed.place))
    }

    fn take_member(&mut self, id: &str) -> Option<(Row, u64)> {
        let placed = self.members.remove(id)?;
        let RoomMember { room_id, session_id, .. } = &placed.stored.row;
        remove_nested(&mut self.members_of, room_id, session_id);
        remove_nested(&mut self.rooms_of, session_id, room_id);
        for (place, message_id) in self.mail.unread_of(session_id) {
            let to_room = self
                .messages
                .get(&message_id)
                .is_some_and(|message| matches!(&message.stored.row.to, Recipient::Room(room) if room == room_id));
            // What was handed, or is kept for one who is gone, is its own by now.
            if to_room && self.delivery(&message_id, session_id).is_none() {
                self.mail.mark_read(place, session_id);
            }
        }
        Some((Row::RoomMember(placed.stored), placed.place))
    }

    fn take_read(&mut self, id: &str) -> Option<(Row, u64)> {
        let placed = self.reads.remove(id)?;
        let MessageRead { message_id, session_id, .. } = &placed.stored.row;
        if let Some(of_session) = self.reads_of.get_mut(session_id) {
            of_session.remove(id);
            if of_session.is_empty() {
                self.reads_of.remove(session_id);
            }
        }
        self.refresh(message_id, session_id);
        Some((Row::MessageRead(placed.stored), placed.place))
    }

    fn is_reader(&self, message: &Message, place: u64, session: &SessionId) -> bool {
        match &message.to {
            Recipient::Session(recipient) => recipient == session && message.read_at.is_none(),
            Recipient::Room(room) => {
                let member = self.members_of.get(room).and_then(|members| members.get(session));
                let member = member.and_then(|id| self.members.get(id));
                message.from_session_id != *session && member.is_some_and(|member| member.place < place)
            }
        }
    }
}

/// Removes `inner` from the set under `outer`, and the set itself when it is empty.
fn remove_from<K: Ord, I: Ord>(map: &mut BTreeMap<K, BTreeSet<I>>, outer: &K, inner: &I) {
    if let Some(set) = map.get_mut(outer) {
        set.remove(inner);
        if set.is_empty() {
            map.remove(outer);
        }
    }
}

/// Removes `inner` from the map under `outer`, and the map itself when it is empty.
fn remove_nested<K: Ord, I: Ord, V>(map: &mut BTreeMap<K, BTreeMap<I, V>>, outer: &K, inner: &I) {
    if let Some(nested) = map.get_mut(outer) {
        nested.remove(inner);
        if nested.is_empty() {
            map.remove(outer);
        }
    }
}

//! The indexes over messages: their order, who has not read what, what concerns whom, and how old they are. It knows
//! ids and places only; whether a message is for somebody is decided by the tables.

mod inbox;

use super::hooks::Wanted;
use crate::ids::{MessageId, RoomId, SessionId};
use crate::limits::HANDINGS_MAX;
use crate::model::{Message, Path, Priority, Recipient};
use crate::time::{MonoMs, Now};
use inbox::{FREE, Inbox, Waiting};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    /// All messages in the order of the log. A message's place is its name here: numbers are cheaper to compare and to
    /// keep than ids.
    order: BTreeMap<u64, Facts>,
    /// Messages that a session or human sent, or got directly.
    concerning: BTreeMap<SessionId, BTreeSet<u64>>,
    /// Messages that a session took over from another one.
    claimed: BTreeMap<SessionId, BTreeSet<u64>>,
    /// Messages sent to a room.
    in_room: BTreeMap<RoomId, BTreeSet<u64>>,
    /// What each session has not read.
    unread: BTreeMap<SessionId, Inbox>,
    /// Of those that everybody has read, or need not read any more: the time of sending, or of the last such decision.
    read_by_age: BTreeSet<(i64, u64)>,
    unread_by_age: BTreeSet<(i64, u64)>,
    /// Those that somebody has not read, by the time from which nobody need read them any more.
    expiring: BTreeSet<(i64, u64)>,
    /// How many answers took messages along.
    leases: u64,
    /// What the batch has changed of messages that wait, as it was before: no row says it.
    before: Vec<(SessionId, u64, Waiting)>,
}

#[derive(Debug)]
struct Facts {
    id: MessageId,
    sent_at: i64,
    /// When it was last decided that somebody need not read it; before its sending if never.
    settled_at: i64,
    priority: Priority,
    expires_at: Option<i64>,
    /// The number of those who have not read it.
    waiting_for: usize,
}

impl Facts {
    /// Whether it has expired, which a sweep settles later.
    fn is_over(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    fn over_since(&self) -> i64 {
        self.sent_at.max(self.settled_at)
    }
}

/// Whether there is something that can be put into an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Free {
    /// Nothing that is wanted.
    Nothing,
    /// From this monotonic millisecond on, unless it is read before.
    From(MonoMs),
    /// There is.
    Now,
}

/// A message that is to be put into an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leased {
    pub(crate) id: MessageId,
    /// How often it was handed before.
    pub(crate) times: u32,
}

/// What one answer takes along.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    /// The messages in it.
    pub(crate) leased: Vec<Leased>,
    /// How many were passed over because another answer has them, or had them a moment ago.
    pub(crate) on_their_way: usize,
    /// The answer's number, by which it is told from others with the same message; zero if the session has no mail.
    pub(crate) number: u64,
    /// Messages that were passed over because they were delivered too often without a sign.
    pub(crate) spent: Vec<MessageId>,
}

impl Mailboxes {
    pub(crate) fn insert(&mut self, message: &Message, place: u64, readers: Vec<SessionId>) {
        let (priority, expires_at) = (message.priority(), message.expires_at());
        let (sent_at, settled_at) = (message.sent_at, i64::MIN);
        let waiting_for = readers.len();
        self.order
            .insert(place, Facts { id: message.id.clone(), sent_at, settled_at, priority, expires_at, waiting_for });
        add_place(&mut self.concerning, &message.from_session_id, place);
        match &message.to {
            Recipient::Session(session) => add_place(&mut self.concerning, session, place),
            Recipient::Room(room) => add_place(&mut self.in_room, room, place),
        };
        let by_age = if readers.is_empty() { &mut self.read_by_age } else { &mut self.unread_by_age };
        by_age.insert((message.sent_at, place));
        if let Some(at) = expires_at.filter(|_| waiting_for > 0) {
            self.expiring.insert((at, place));
        }
        for reader in readers {
            self.unread.entry(reader).or_default().by_priority[priority as usize].insert(place, FREE);
        }
    }

    /// Forgets a message. `readers` are those for whom it can be unread besides whom it was sent to directly.
    pub(crate) fn remove(&mut self, message: &Message, place: u64, readers: &[SessionId]) {
        remove_place(&mut self.concerning, &message.from_session_id, place);
        match &message.to {
            Recipient::Session(session) => {
                remove_place(&mut self.concerning, session, place);
                self.mark_read(place, session);
            }
            Recipient::Room(room) => {
                remove_place(&mut self.in_room, room, place);
            }
        }
        for reader in readers {
            self.mark_read(place, reader);
        }
        let Some(facts) = self.order.remove(&place) else { return };
        self.read_by_age.remove(&(facts.over_since(), place));
        self.unread_by_age.remove(&(message.sent_at, place));
        if let Some(at) = facts.expires_at {
            self.expiring.remove(&(at, place));
        }
    }

    pub(crate) fn mark_unread(&mut self, place: u64, session: &SessionId) {
        let Some(facts) = self.order.get_mut(&place) else {
            return;
        };
        let waiting = &mut self.unread.entry(session.clone()).or_default().by_priority[facts.priority as usize];
        if waiting.contains_key(&place) {
            return;
        }
        waiting.insert(place, FREE);
        facts.waiting_for += 1;
        if facts.waiting_for == 1 {
            self.read_by_age.remove(&(facts.over_since(), place));
            self.unread_by_age.insert((facts.sent_at, place));
            self.expiring.extend(facts.expires_at.map(|at| (at, place)));
        }
    }

    pub(crate) fn mark_read(&mut self, place: u64, session: &SessionId) {
        let Some(facts) = self.order.get_mut(&place) else {
            return;
        };
        let Some(inbox) = self.unread.get_mut(session) else {
            return;
        };
        let Some(waiting) = inbox.remove(place) else { return };
        self.before.push((session.clone(), place, waiting));
        if inbox.len() == 0 {
            self.unread.remove(session);
        }
        facts.waiting_for -= 1;
        if facts.waiting_for == 0 {
            self.unread_by_age.remove(&(facts.sent_at, place));
            self.read_by_age.insert((facts.over_since(), place));
            if let Some(at) = facts.expires_at {
                self.expiring.remove(&(at, place));
            }
        }
    }

    /// Notes when it was last decided that somebody need not read a message, or that nothing of the kind was.
    pub(crate) fn settle(&mut self, place: u64, settled_at: Option<i64>) {
        let Some(facts) = self.order.get_mut(&place) else { return };
        let is_over = self.read_by_age.remove(&(facts.over_since(), place));
        facts.settled_at = settled_at.unwrap_or(i64::MIN);
        if is_over {
            self.read_by_age.insert((facts.over_since(), place));
        }
    }

    /// Notes by which way, how often, and until when a sign of it is awaited, a message was handed to one who has not
    /// read it; or that it was not.
    pub(crate) fn note_handed(&mut self, place: u64, session: &SessionId, handed: Option<(Path, MonoMs)>, times: u32) {
        let Some(inbox) = self.unread.get_mut(session) else { return };
        let Some(waiting) = inbox.get_mut(place) else { return };
        self.before.push((session.clone(), place, *waiting));
        waiting.times = times;
        match handed {
            Some((path, until)) => {
                (waiting.handed, waiting.leased_until, waiting.lease) = (Some(path), until, 0);
                inbox.handed.insert(place);
                inbox.on_its_way.remove(&place);
            }
            None => {
                if waiting.handed.take().is_some() {
                    waiting.leased_until = MonoMs::MIN;
                }
                inbox.handed.remove(&place);
            }
        }
    }

    /// Notes that this run of the daemon has handed a message to a session.
    pub(crate) fn note_of_this_run(&mut self, place: u64, session: &SessionId) {
        let Some(waiting) = self.unread.get_mut(session).and_then(|inbox| inbox.get_mut(place)) else { return };
        self.before.push((session.clone(), place, *waiting));
        waiting.is_of_this_run = true;
    }

    /// What a session was handed and has not been seen to read, oldest first; of each also whether this run of the daemon
    /// did it.
    pub(crate) fn handed_to(&self, session: &SessionId) -> Vec<(MessageId, Path, bool)> {
        let Some(inbox) = self.unread.get(session) else { return Vec::new() };
        let handed = inbox.handed.iter().filter_map(|place| {
            let waiting = inbox.get(*place)?;
            Some((self.order.get(place)?.id.clone(), waiting.handed?, waiting.is_of_this_run))
        });
        handed.collect()
    }

    /// Messages in answers on their way to a session, oldest first, each with the way of its answer.
    pub(crate) fn on_their_way(&self, session: &SessionId) -> Vec<(u64, MessageId, Path)> {
        let Some(inbox) = self.unread.get(session) else { return Vec::new() };
        let places = inbox.on_its_way.iter();
        let found = places.filter_map(|place| {
            let id = self.order.get(place)?.id.clone();
            Some((*place, id, inbox.get(*place)?.path))
        });
        found.collect()
    }

    /// By which way a message was handed to one who has not been seen to read it.
    pub(crate) fn handed_by(&self, place: u64, session: &SessionId) -> Option<Path> {
        self.unread.get(session)?.get(place)?.handed
    }

    /// Whether a message is in an answer on its way to a session.
    pub(crate) fn is_on_its_way(&self, place: u64, session: &SessionId, now: MonoMs) -> bool {
        let waiting = self.unread.get(session).and_then(|inbox| inbox.get(place));
        waiting.is_some_and(|waiting| waiting.handed.is_none() && waiting.leased_until > now)
    }

    /// Whether a message is in an answer on its way to a session, or was handed to it a moment ago.
    pub(crate) fn is_leased(&self, place: u64, session: &SessionId, now: MonoMs) -> bool {
        let waiting = self.unread.get(session).and_then(|inbox| inbox.get(place));
        waiting.is_some_and(|waiting| waiting.leased_until > now)
    }

    /// Whether a message is in this very answer on its way to a session.
    pub(crate) fn is_in(&self, place: u64, session: &SessionId, lease: u64) -> bool {
        let waiting = self.unread.get(session).and_then(|inbox| inbox.get(place));
        waiting.is_some_and(|waiting| waiting.lease == lease)
    }

    /// What a session was handed and has not been seen to read, or is on its way to it.
    pub(crate) fn taken_by(&self, session: &SessionId) -> Vec<MessageId> {
        let Some(inbox) = self.unread.get(session) else { return Vec::new() };
        let taken = inbox.handed.union(&inbox.on_its_way);
        taken.filter_map(|place| self.order.get(place)).map(|facts| facts.id.clone()).collect()
    }

    /// What a session was handed, or is on its way to it, may be gone with what was before the model: all of it is free.
    pub(crate) fn begin_anew(&mut self, session: &SessionId) {
        let Some(inbox) = self.unread.get_mut(session) else { return };
        let mut taken = std::mem::take(&mut inbox.handed);
        taken.append(&mut inbox.on_its_way);
        for place in taken {
            if let Some(waiting) = inbox.get_mut(place) {
                self.before.push((session.clone(), place, *waiting));
                *waiting = Waiting { times: waiting.times, ..FREE };
            }
        }
    }

    /// Whether a message is free to be handed to a session, and was handed to it less often.
    pub(crate) fn is_free_below(&self, place: u64, session: &SessionId, now: Now, times_below: u32) -> bool {
        let waiting = self.unread.get(session).and_then(|inbox| inbox.get(place));
        self.is_free(place, session, now) && waiting.is_some_and(|waiting| waiting.times < times_below)
    }

    /// Whether a session has not read a message, which has not expired and is neither in an answer on its way to it nor was
    /// handed to it.
    pub(crate) fn is_free(&self, place: u64, session: &SessionId, now: Now) -> bool {
        let waiting = self.unread.get(session).and_then(|inbox| inbox.get(place));
        waiting.is_some_and(|waiting| waiting.handed.is_none() && waiting.leased_until <= now.mono_ms)
            && !self.has_expired(place, now.wall_ms)
    }

    /// Whether a message need not be read any more; a sweep settles that later.
    pub(crate) fn has_expired(&self, place: u64, now_wall: i64) -> bool {
        self.order.get(&place).is_some_and(|facts| facts.is_over(now_wall))
    }

    /// The message at a place.
    pub(crate) fn at(&self, place: u64) -> Option<&MessageId> {
        self.order.get(&place).map(|facts| &facts.id)
    }

    /// How many messages a session was handed and has not been seen to read.
    pub(crate) fn handed_count(&self, session: &SessionId) -> usize {
        self.unread.get(session).map_or(0, |inbox| inbox.handed.len())
    }

    /// Messages that nobody need read any more from a time before `now` on, at most so many.
    pub(crate) fn expired(&self, now: i64, at_most: usize) -> Vec<MessageId> {
        let over = self.expiring.iter().take_while(|(at, _)| *at <= now).take(at_most);
        over.filter_map(|(_, place)| self.order.get(place)).map(|facts| facts.id.clone()).collect()
    }

    /// For how many a message is waiting.
    pub(crate) fn waiting_for(&self, place: u64) -> usize {
        self.order.get(&place).map_or(0, |facts| facts.waiting_for)
    }

    /// When a message was sent.
    pub(crate) fn sent_at(&self, place: u64) -> i64 {
        self.order.get(&place).map_or(0, |facts| facts.sent_at)
    }

    /// How many messages wait for a session.
    pub(crate) fn unread_count(&self, session: &SessionId) -> usize {
        self.unread.get(session).map_or(0, Inbox::len)
    }

    pub(crate) fn is_unread(&self, place: u64, session: &SessionId) -> bool {
        self.unread.get(session).is_some_and(|inbox| inbox.get(place).is_some())
    }

    /// All that a session has not read, oldest first.
    pub(crate) fn unread_of(&self, session: &SessionId) -> Vec<(u64, MessageId)> {
        let inbox = self.unread.get(session).into_iter();
        self.named(inbox.flat_map(|inbox| inbox.waiting(Priority::Low).map(|(place, _)| place)))
    }

    fn named(&self, places: impl Iterator<Item = u64>) -> Vec<(u64, MessageId)> {
        places.filter_map(|place| self.order.get(&place).map(|facts| (place, facts.id.clone()))).collect()
    }

    /// Takes messages of a session into one answer: at most `count` of those that are wanted, not expired, and neither in
    /// another answer on its way nor delivered a moment ago. Urgent ones go first, then the oldest. They count as on their way
    /// until `until`.
    pub(crate) fn lease(&mut self, session: &SessionId, path: Path, wanted: Wanted, now: Now, until: MonoMs) -> Lease {
        let mut lease = Lease::default();
        let Some(inbox) = self.unread.get_mut(session) else { return lease };
        self.leases += 1;
        lease.number = self.leases;
        let mut free: Vec<u64> = Vec::new();
        let is_over = |place: u64| self.order.get(&place).is_none_or(|facts| facts.is_over(now.wall_ms));
        for (place, waiting) in inbox.urgent_first(wanted.at_least) {
            if free.len() == wanted.count {
                break;
            }
            if waiting.leased_until > now.mono_ms {
                lease.on_their_way += 1;
            } else if is_over(place) {
                // A sweep settles it.
            } else if waiting.times >= HANDINGS_MAX {
                if lease.spent.len() < wanted.count {
                    lease.spent.extend(self.order.get(&place).map(|facts| facts.id.clone()));
                }
            } else if waiting.times < wanted.times_below {
                free.push(place);
            }
        }
        for place in free {
            let Some(waiting) = inbox.get_mut(place) else { continue };
            self.before.push((session.clone(), place, *waiting));
            (waiting.leased_until, waiting.lease, waiting.handed) = (until, self.leases, None);
            waiting.path = path;
            let times = waiting.times;
            inbox.handed.remove(&place);
            inbox.on_its_way.insert(place);
            lease.leased.extend(self.order.get(&place).map(|facts| Leased { id: facts.id.clone(), times }));
        }
        lease
    }

    /// Whether a session has a message that is at least this urgent, was handed less than so often, has not expired and is
    /// free; else from when on.
    pub(crate) fn free(&self, session: &SessionId, at_least: Priority, times_below: u32, now: Now) -> Free {
        let Some(inbox) = self.unread.get(session) else { return Free::Nothing };
        let is_over = |place: u64| self.order.get(&place).is_none_or(|facts| facts.is_over(now.wall_ms));
        let wanted = inbox.waiting(at_least).filter(|(_, waiting)| waiting.times < times_below);
        let mut first = None;
        for (_, waiting) in wanted.filter(|(place, _)| !is_over(*place)) {
            if waiting.leased_until <= now.mono_ms {
                return Free::Now;
            }
            first = Some(first.map_or(waiting.leased_until, |first: MonoMs| first.min(waiting.leased_until)));
        }
        first.map_or(Free::Nothing, Free::From)
    }

    /// The newest that a session has not read and that are neither in an answer on their way nor handed: oldest first, at
    /// most so many.
    pub(crate) fn newest_unread(&self, session: &SessionId, count: usize, now: Now) -> Vec<(u64, MessageId)> {
        let Some(inbox) = self.unread.get(session) else { return Vec::new() };
        let is_free = |waiting: &Waiting| waiting.handed.is_none() && waiting.leased_until <= now.mono_ms;
        let is_wanted =
            |(place, waiting): &(&u64, &Waiting)| is_free(waiting) && !self.has_expired(**place, now.wall_ms);
        let newest = inbox.by_priority.iter().flat_map(|waiting| waiting.iter().rev().filter(is_wanted).take(count));
        let mut places: Vec<u64> = newest.map(|(place, _)| *place).collect();
        places.sort_unstable();
        let from = places.len().saturating_sub(count);
        self.named(places.into_iter().skip(from))
    }

    /// The answer that held this message did not arrive: it may go into the next one at once.
    pub(crate) fn release(&mut self, session: &SessionId, place: u64) {
        let Some(inbox) = self.unread.get_mut(session) else { return };
        if let Some(waiting) = inbox.get_mut(place) {
            self.before.push((session.clone(), place, *waiting));
            *waiting = Waiting { times: waiting.times, ..FREE };
        }
        inbox.handed.remove(&place);
        inbox.on_its_way.remove(&place);
    }

    /// How much the batch has changed that no row says.
    pub(crate) fn mark(&self) -> usize {
        self.before.len()
    }

    /// Takes back what a batch that is not written has handed out, released and forgotten. The rows are as they were.
    pub(crate) fn undo_to(&mut self, mark: usize) {
        for (session, place, before) in self.before.split_off(mark).into_iter().rev() {
            if let Some(inbox) = self.unread.get_mut(&session) {
                inbox.restore(place, before);
            }
        }
    }

    /// The batch is on disk.
    pub(crate) fn commit(&mut self) {
        self.before.clear();
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

    /// Notes that a session took a message over from another one, or that it did not.
    pub(crate) fn note_claimed(&mut self, place: u64, by: &SessionId, is_claimed: bool) {
        if is_claimed {
            add_place(&mut self.claimed, by, place);
        } else {
            remove_place(&mut self.claimed, by, place);
        }
    }

    /// Whether a session took a message over from another one.
    pub(crate) fn was_claimed(&self, place: u64, by: &SessionId) -> bool {
        self.claimed.get(by).is_some_and(|places| places.contains(&place))
    }

    /// Messages that a session took over from others, before `place`, newest first.
    pub(crate) fn claimed_by(&self, session: &SessionId, place: u64) -> impl Iterator<Item = (u64, &MessageId)> {
        self.places_newest_first(self.claimed.get(session), place)
    }

    /// What a session has not read, before `place`: three lists, each newest first.
    pub(crate) fn unread_before(
        &self,
        session: &SessionId,
        place: u64,
    ) -> impl Iterator<Item = impl Iterator<Item = (u64, &MessageId)>> {
        let lists = self.unread.get(session).into_iter().flat_map(|inbox| inbox.by_priority.iter());
        lists.map(move |waiting| {
            let places = waiting.range(..place).rev().map(|(place, _)| *place);
            places.filter_map(|place| self.order.get(&place).map(|facts| (place, &facts.id)))
        })
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
    pub(super) claimed: BTreeMap<SessionId, BTreeSet<u64>>,
    pub(super) in_room: BTreeMap<RoomId, BTreeSet<u64>>,
    pub(super) unread: BTreeMap<SessionId, BTreeSet<u64>>,
    pub(super) read_by_age: BTreeSet<(i64, u64)>,
    pub(super) unread_by_age: BTreeSet<(i64, u64)>,
    pub(super) expiring: BTreeSet<(i64, u64)>,
}

#[cfg(test)]
impl Mailboxes {
    /// The number of the last answer that took messages along.
    pub(super) fn last_lease(&self) -> u64 {
        self.leases
    }

    pub(super) fn inspect(&self) -> Inspection {
        let places = |inbox: &Inbox| inbox.waiting(Priority::Low).map(|(place, _)| place).collect();
        Inspection {
            order: self.order.iter().map(|(at, f)| (*at, (f.id.clone(), f.sent_at, f.waiting_for))).collect(),
            concerning: self.concerning.clone(),
            claimed: self.claimed.clone(),
            in_room: self.in_room.clone(),
            unread: self.unread.iter().map(|(session, inbox)| (session.clone(), places(inbox))).collect(),
            read_by_age: self.read_by_age.clone(),
            unread_by_age: self.unread_by_age.clone(),
            expiring: self.expiring.clone(),
        }
    }
}

//! What the tables know of messages on their way: who has one still to read, by all rows about it. It must not decide what
//! becomes of a message.

use super::{Placed, Tables, newest_first};
use crate::ids::{MessageId, ReadId, SessionId};
use crate::limits::HANDED_LEASE_MS;
use crate::model::{Delivery, Message, Recipient, Step};
use std::ops::Bound;

impl Tables {
    /// Those of whom a delivery of this message tells.
    pub(crate) fn delivered_to(&self, message: &MessageId) -> Vec<SessionId> {
        self.deliveries_of(message).map(|placed| placed.stored.row.session_id.clone()).collect()
    }

    /// The deliveries of a message.
    pub(crate) fn deliveries_of<'a>(&'a self, message: &'a MessageId) -> impl Iterator<Item = &'a Placed<Delivery>> {
        let is_known = self.deliveries.last_key_value().is_some_and(|(last, _)| last.as_str() > message.as_str());
        let first = if is_known { [message.as_str(), "::"].concat() } else { String::new() };
        let found =
            is_known.then(|| self.deliveries.range::<str, _>((Bound::Included(first.as_str()), Bound::Unbounded)));
        let found = found.into_iter().flatten().take_while(move |(id, _)| id.as_str().starts_with(&first));
        found.map(|(_, placed)| placed).filter(|placed| placed.stored.row.message_id == *message)
    }

    /// How far a message has got on its way to a session, if there is more to say than that it waits.
    pub(crate) fn delivery(&self, message: &MessageId, session: &SessionId) -> Option<&Delivery> {
        if self.deliveries.is_empty() {
            return None;
        }
        newest_first(&self.deliveries, &ReadId::of(message, session)).map(|placed| &placed.stored.row)
    }

    /// Whether a session has a message still to read.
    fn awaits(&self, message: &Message, place: u64, session: &SessionId) -> bool {
        let by_row = match self.delivery(&message.id, session).map(|delivery| delivery.step.is_final()) {
            Some(true) => false,
            Some(false) => message.read_at.is_none() || !matches!(&message.to, Recipient::Session(to) if to == session),
            None => self.is_reader(message, place, session),
        };
        by_row && !self.reads.contains_key(&ReadId::of(&message.id, session))
    }

    /// Brings the indexes over what a session has not read up to date with the rows about one message.
    pub(super) fn refresh(&mut self, message: &MessageId, session: &SessionId) {
        let Some(placed) = self.messages.get(message) else { return };
        let (place, awaits) = (placed.place, self.awaits(&placed.stored.row, placed.place, session));
        if !awaits {
            return self.mail.mark_read(place, session);
        }
        self.mail.mark_unread(place, session);
        let (mut handed, mut times) = (None, 0);
        if let Some(delivery) = self.delivery(message, session) {
            times = delivery.times;
            if let Step::Handed(path) = delivery.step {
                handed = Some((path, self.now.mono_ms + HANDED_LEASE_MS));
            }
        }
        self.mail.note_handed(place, session, handed, times);
        self.waiters.rouse(session);
    }

    /// Brings the indexes up to date with what was decided about a message for good.
    pub(super) fn resettle(&mut self, message: &MessageId) {
        let Some(place) = self.messages.get(message).map(|placed| placed.place) else { return };
        let settled = self.deliveries_of(message).filter(|placed| placed.stored.row.step.is_settled());
        let at = settled.map(|placed| placed.stored.row.at).max();
        self.mail.settle(place, at);
    }

    /// Brings the index over what a session took over from others up to date with a delivery that came or went.
    pub(super) fn note_claim(&mut self, delivery: &Delivery) {
        let (Step::Claimed(by), Some(placed)) = (&delivery.step, self.messages.get(&delivery.message_id)) else {
            return;
        };
        let is_it = |other: &Placed<Delivery>| matches!(&other.stored.row.step, Step::Claimed(other) if other == by);
        let is_claimed = self.deliveries_of(&delivery.message_id).any(is_it);
        self.mail.note_claimed(placed.place, by, is_claimed);
    }

    /// The same for a message that came or went, with all deliveries of it.
    pub(super) fn note_claims(&mut self, message: &MessageId, place: u64, is_there: bool) {
        let by = self.deliveries_of(message).filter_map(|placed| match &placed.stored.row.step {
            Step::Claimed(by) => Some(by.clone()),
            _ => None,
        });
        let by: Vec<SessionId> = by.collect();
        by.iter().for_each(|by| self.mail.note_claimed(place, by, is_there));
    }
}

//! The index over what is known of rooms' messages for sessions: all rows that tell how far one has got, those of sessions
//! that are gone by the age of the message. It must not decide which of them are worth keeping.

use super::Tables;
use crate::ids::{MessageId, SessionId};
use crate::model::{Message, Recipient};
use std::collections::{BTreeMap, BTreeSet};

/// The places of rooms' messages of which a delivery tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RoomSteps {
    by_session: BTreeMap<SessionId, BTreeSet<u64>>,
    /// Those of sessions that are not there, the oldest message first.
    of_gone: BTreeSet<(u64, SessionId)>,
}

impl RoomSteps {
    /// How many rows tell of sessions that are gone.
    pub(crate) fn of_gone(&self) -> usize {
        self.of_gone.len()
    }

    /// The oldest of these messages, and for which session.
    pub(crate) fn oldest_of_gone(&self) -> Option<&(u64, SessionId)> {
        self.of_gone.first()
    }

    /// A session has come.
    pub(super) fn come(&mut self, session: &SessionId) {
        for place in self.by_session.get(session).into_iter().flatten() {
            self.of_gone.remove(&(*place, session.clone()));
        }
    }

    /// A session has gone.
    pub(super) fn go(&mut self, session: &SessionId) {
        let places = self.by_session.get(session).into_iter().flatten();
        self.of_gone.extend(places.map(|place| (*place, session.clone())));
    }

    fn note(&mut self, place: u64, session: &SessionId, is_known: bool, is_there: bool) {
        let gone = (place, session.clone());
        if is_known {
            self.by_session.entry(session.clone()).or_default().insert(place);
        } else if let Some(places) = self.by_session.get_mut(session) {
            places.remove(&place);
            if places.is_empty() {
                self.by_session.remove(session);
            }
        }
        if is_known && !is_there {
            self.of_gone.insert(gone);
        } else {
            self.of_gone.remove(&gone);
        }
    }
}

impl Tables {
    /// Notes that a delivery of a message came or went.
    pub(super) fn note_step(&mut self, message: &MessageId, session: &SessionId, is_known: bool) {
        let Some(placed) = self.messages.get(message) else { return };
        if matches!(placed.stored.row.to, Recipient::Room(_)) {
            let is_there = self.sessions.contains_key(session) || session.is_human();
            self.room_steps.note(placed.place, session, is_known, is_there);
        }
    }

    /// Notes that a message came or went, with all deliveries of it.
    pub(super) fn note_steps(&mut self, message: &Message, place: u64, is_known: bool) {
        if matches!(message.to, Recipient::Session(_)) {
            return;
        }
        for session in self.delivered_to(&message.id) {
            let is_there = self.sessions.contains_key(&session) || session.is_human();
            self.room_steps.note(place, &session, is_known, is_there);
        }
    }
}

#[cfg(test)]
impl RoomSteps {
    /// As the rows say.
    pub(in crate::roster) fn of_rows(tables: &Tables) -> Self {
        let mut steps = Self::default();
        for delivery in tables.deliveries.values().map(|placed| &placed.stored.row) {
            let Some(placed) = tables.messages.get(&delivery.message_id) else { continue };
            if matches!(placed.stored.row.to, Recipient::Room(_)) {
                let session = &delivery.session_id;
                let is_there = tables.sessions.contains_key(session) || session.is_human();
                steps.note(placed.place, session, true, is_there);
            }
        }
        steps
    }
}

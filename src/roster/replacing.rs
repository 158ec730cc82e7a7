//! A message in the place of an older one: it replaces that for the recipients that it reaches, and for no other. The rest
//! keep the older one. An heir of a reached recipient gets the newer one too.

use super::address::Addressed;
use super::sending::Replaced;
use super::{DeliveryStanding, DeliveryView, Roster, SentTo};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{MessageId, SessionId};
use crate::limits::{CANDIDATES_MAX, REPLACED_LINKS_MAX, ROOM_DELIVERIES_SHOWN_MAX};
use crate::model::{Message, Step};
use std::collections::{BTreeMap, BTreeSet};

impl Roster {
    /// Accepts an older message that no other one has replaced for these recipients, or two would count for one of them.
    pub(super) fn unreplaced(&self, old: &Message, addressed: &[Addressed]) -> Result<MessageId, RequestError> {
        let newest = self.newest_in_place_of(old);
        if newest.is_empty() || self.is_open_for(old, &newest, addressed) {
            return Ok(old.id.clone());
        }
        let newest = newest.iter().take(CANDIDATES_MAX);
        let by: Vec<String> = newest.clone().map(|row| self.short_id(&row.id)).collect();
        let (by, old) = (by.join(", "), self.short_id(&old.id));
        let message = format!("message {by} has come in the place of {old} already: replace that one");
        let candidates = newest.map(|row| self.told(row)).collect();
        Err(RequestError { candidates, ..RequestError::new(ErrorKind::Refused, message) })
    }

    /// Tells whether recipients have only the older message to read, and none of them has a newer one.
    fn is_open_for(&self, old: &Message, newest: &[&Message], addressed: &[Addressed]) -> bool {
        let reached: BTreeSet<&SessionId> = addressed.iter().flat_map(Addressed::sessions).collect();
        let has_newer = newest.iter().any(|newer| {
            let place = self.tables.messages.get(&newer.id).map_or(0, |placed| placed.place);
            self.deliveries(newer, place).iter().any(|view| reached.contains(&view.session))
        });
        !has_newer && self.awaiting(&old.id).iter().any(|session| reached.contains(session))
    }

    /// Replaces an older message for each recipient that has not read it and gets a newer one.
    pub(super) fn supersede(&mut self, old: &MessageId, sent: &mut [SentTo]) {
        let mut newer = BTreeMap::new();
        for one in sent.iter() {
            let id = &one.message().row.id;
            match one {
                SentTo::One(one) => drop(newer.entry(one.delivery.session.clone()).or_insert_with(|| id.clone())),
                SentTo::Room(room) => {
                    for (session, ..) in &room.recipients {
                        newer.entry(session.clone()).or_insert_with(|| id.clone());
                    }
                }
            }
        }
        let claimed_from = self.claimed_from(old);
        let mut has_heirs = false;
        for session in self.awaiting(old) {
            if !newer.contains_key(&session)
                && let Some(left_by) = first_reached(&session, &claimed_from, &newer)
            {
                let by = newer[&left_by].clone();
                self.pass_on(&by, &left_by, &session);
                newer.insert(session.clone(), by);
                has_heirs = true;
            }
            if let Some(by) = newer.get(&session) {
                self.settle(&session, old, Step::Superseded(by.clone()));
            }
        }
        self.close_question(old, &newer);
        if has_heirs {
            sent.iter_mut().for_each(|one| self.look_again(one));
        }
        let by: Vec<MessageId> = sent.iter().map(|one| one.message().row.id.clone()).collect();
        if let Some(first) = sent.first_mut() {
            first.note_replaced(self.replaced(old, &by));
        }
    }

    /// The sessions from which each heir of a message has claimed it.
    fn claimed_from(&self, message: &MessageId) -> BTreeMap<SessionId, Vec<SessionId>> {
        let mut claimed: BTreeMap<SessionId, Vec<SessionId>> = BTreeMap::new();
        for session in self.tables.delivered_to(message) {
            if let Some(Step::Claimed(by)) = self.tables.delivery(message, &session).map(|delivery| &delivery.step) {
                claimed.entry(by.clone()).or_default().push(session);
            }
        }
        claimed
    }

    /// Gives a message to the heir of its recipient; the recipient keeps it only if it is there.
    fn pass_on(&mut self, message: &MessageId, from: &SessionId, heir: &SessionId) {
        if self.tables.sessions.contains_key(from) || from.is_human() {
            self.set_step(heir, message, Step::Kept, 0);
        } else {
            self.hand_down(message, from, heir);
        }
        self.leave_for(heir, message);
        self.push_later(heir, message);
        self.dirty.insert(heir.clone());
    }

    /// Looks again where a message is that has gone on to heirs since.
    fn look_again(&self, sent: &mut SentTo) {
        if let SentTo::One(one) = sent
            && let Some(placed) = self.tables.messages.get(&one.message.row.id)
        {
            one.delivery = self.delivery_to(&placed.stored.row, placed.place, one.delivery.session.clone());
        }
    }

    /// Closes an older question once everyone that it was for has a newer message. Only the newer one reminds its sender
    /// then. A recipient that was not reached may still answer the older one.
    fn close_question(&mut self, old: &MessageId, newer: &BTreeMap<SessionId, MessageId>) {
        if self.tables.threads.expects_from_others(old).is_none() {
            return;
        }
        let Some(placed) = self.tables.messages.get(old) else { return };
        let is_closed = |view: &DeliveryView| {
            newer.contains_key(&view.session) || matches!(view.standing, DeliveryStanding::Settled(..))
        };
        if self.deliveries(&placed.stored.row, placed.place).iter().all(is_closed) {
            self.settle_reply(old);
        }
    }

    /// Settles the questions that an answered message replaced: the sender has its answer.
    pub(super) fn settle_older_questions(&mut self, answered: &MessageId, replier: &SessionId) {
        let row =
            |roster: &Self, id: &MessageId| roster.tables.messages.get(id).map(|placed| placed.stored.row.clone());
        let Some(mut newer) = row(self, answered).filter(|row| row.from_session_id != *replier) else { return };
        for _ in 0..REPLACED_LINKS_MAX {
            let Some(old) = newer.terms.as_ref().and_then(|terms| terms.supersedes.clone()) else { return };
            let same_sender = |row: &Message| row.from_session_id == newer.from_session_id;
            let Some(older) = row(self, &old).filter(same_sender) else { return };
            if self.tables.threads.expects_from_others(&old).is_some() {
                self.settle_reply(&old);
            }
            newer = older;
        }
    }

    /// How far these newer messages have replaced an older one; none if that is deleted.
    pub(super) fn replaced(&self, old: &MessageId, by: &[MessageId]) -> Option<Replaced> {
        let placed = self.tables.messages.get(old)?;
        let is_replaced = |view: &DeliveryView| matches!(&view.standing, DeliveryStanding::Settled(Step::Superseded(newer), _) if by.contains(newer));
        let all = self.deliveries(&placed.stored.row, placed.place);
        // An heir stands in the place of the session that left the message.
        let all: Vec<DeliveryView> = all
            .into_iter()
            .filter(|view| !matches!(view.standing, DeliveryStanding::Settled(Step::Claimed(_), _)))
            .collect();
        let of = all.len();
        let (replaced, mut deliveries): (Vec<_>, Vec<_>) = all.into_iter().partition(is_replaced);
        let count = replaced.len();
        deliveries.extend(replaced);
        deliveries.truncate(ROOM_DELIVERIES_SHOWN_MAX);
        Some(Replaced { message: old.clone(), count, of, deliveries })
    }
}

/// The nearest session before an heir that a newer message reaches.
fn first_reached(
    heir: &SessionId,
    claimed_from: &BTreeMap<SessionId, Vec<SessionId>>,
    newer: &BTreeMap<SessionId, MessageId>,
) -> Option<SessionId> {
    let (mut open, mut seen) = (vec![heir], BTreeSet::new());
    while let Some(session) = open.pop() {
        for before in claimed_from.get(session).into_iter().flatten() {
            if newer.contains_key(before) {
                return Some(before.clone());
            }
            if seen.insert(before) {
                open.push(before);
            }
        }
    }
    None
}

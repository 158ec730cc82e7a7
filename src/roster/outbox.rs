//! What a sender has sent, and sending it once more where it did not get there. It must not send anything to anybody but
//! those for whom it was.

use super::address::Addressed;
use super::{
    Answer, Caller, Cursor, DeliveryStanding, Handled, HistoryEntry, HistoryPage, Reply, Roster, SentTo, Wait,
};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{IdSource, MessageId, SessionId, new_id_at};
use crate::limits::{HISTORY_SCAN_MAX, PAGE_MESSAGES_DEFAULT, PAGE_MESSAGES_MAX};
use crate::model::{Message, Recipient, Step, Terms};
use crate::text::quoted;
use std::sync::Arc;

impl Roster {
    /// The latest messages that the caller has sent, oldest first, with where each is for each recipient. A room's message
    /// counts by its recipients: an answer does not grow with how many are in the rooms.
    pub(super) fn outbox(&self, caller: &Caller, before: Option<&Cursor>, limit: Option<usize>) -> Handled {
        let me = self.speaker(caller)?.id;
        let limit = limit.unwrap_or(PAGE_MESSAGES_DEFAULT).clamp(1, PAGE_MESSAGES_MAX);
        let (mut messages, mut cursor) = (Vec::new(), None);
        let place = |cursor: &Cursor| self.place_of(cursor);
        let concerning = self.tables.mail.concerning(&me, before.map_or(u64::MAX, place));
        let (mut last, mut looked) = (None, 0);
        for (place, id) in concerning {
            if messages.len() == limit || looked >= HISTORY_SCAN_MAX {
                cursor = last;
                break;
            }
            last = Some((place, id));
            let placed = self.tables.messages.get(id).filter(|placed| placed.stored.row.from_session_id == me);
            let entry = placed.map(|placed| self.history_entry(placed, true));
            looked += 1 + entry.as_ref().map_or(0, |entry: &HistoryEntry| entry.deliveries.len());
            messages.extend(entry);
        }
        messages.reverse();
        Ok(Answer::new(
            Reply::History(HistoryPage {
                messages,
                before: cursor.map(|(place, id)| self.cursor(place, id)),
                newest: None,
            }),
            Wait::Batch,
        ))
    }

    /// Sends a message that did not get there once more, to the one that it was for. The new one comes in the place of the
    /// old, which is so settled for good.
    pub(super) fn requeue(&mut self, caller: &Caller, message: &MessageId, ids: &mut dyn IdSource) -> Handled {
        let sender = self.speaker_in_turn(caller)?;
        let unknown = || RequestError::not_found(format!("you have sent no message with the id '{message}'"));
        let placed = self.message_meant(message.as_str(), Some(&sender.id)).map_err(|error| match error.kind {
            ErrorKind::NotFound => unknown(),
            _ => error,
        })?;
        if placed.stored.row.from_session_id != sender.id {
            return Err(unknown());
        }
        let (row, place) = (placed.stored.row.clone(), placed.place);
        let Recipient::Session(to) = &row.to else {
            let message = "a room's message is not sent again as a whole; write to those who have not read it";
            return Err(RequestError::new(ErrorKind::Refused, message));
        };
        self.may_requeue(&row, place, to)?;
        let terms = again(&row, self.tables.now.wall_ms, ids);
        let addressed = vec![Addressed::one(to.clone(), self.name_of(to))];
        let (mut sent, pushes) = self.dispatch(&sender, addressed, &row.body, Some(terms), ids);
        let Some(SentTo::One(one)) = sent.pop() else {
            return Err(RequestError::not_found(format!("message '{message}' was for nobody")));
        };
        self.replace(&row.id, to, &one.message.row.id);
        // The newer one reminds its sender from now on.
        if self.tables.threads.expects_from_others(&row.id).is_some() {
            self.settle_reply(&row.id);
        }
        self.note_caller(&sender.id);
        Ok(Answer { reply: Reply::Sent(one), wait: Wait::Batch, pushes })
    }

    /// Whether sending a message once more would not give somebody what he has, or what somebody else has taken over.
    fn may_requeue(&self, row: &Message, place: u64, to: &SessionId) -> Result<(), RequestError> {
        let refuse = |why: String| Err(RequestError::new(ErrorKind::Refused, why));
        let (id, name) = (self.short_id(&row.id), &row.to_nick);
        // One that its sender wrote to somebody else does not stand in its place here.
        if let Some(by) = self.newest_in_place_of(row).into_iter().find(|newest| newest.to == row.to) {
            let by = self.short_id(&by.id);
            return refuse(format!("message {by} has come in the place of {id}: ask for that one"));
        }
        match self.delivery_to(row, place, to.clone()).standing {
            DeliveryStanding::Read(..) => {
                refuse(format!("message {id} was read by {}: there is nothing to repeat", quoted(name)))
            }
            DeliveryStanding::Settled(Step::Superseded(by), _) => {
                let by = self.short_id(&by);
                refuse(format!("message {by} has come in the place of {id}: ask for that one"))
            }
            DeliveryStanding::Settled(Step::Claimed(by), _) => {
                refuse(format!("message {id} was taken over by {}: write to that one", quoted(&self.name_of(&by))))
            }
            DeliveryStanding::Queued(_) | DeliveryStanding::Handed(..) | DeliveryStanding::Settled(..) => Ok(()),
        }
    }
}

/// The terms of a message that comes in the place of this one, with as much time as this one had.
fn again(row: &Message, now: i64, ids: &mut dyn IdSource) -> Terms {
    let old = row.terms.as_deref().cloned().unwrap_or_default();
    let later = |at: Option<i64>| at.map(|at| now + at.saturating_sub(row.sent_at).max(1000));
    let is_named = old.client_message_id.is_some();
    Terms {
        supersedes: Some(row.id.clone()),
        reply_by: later(old.reply_by),
        reply_settled: false,
        expires_at: later(old.expires_at),
        client_message_id: is_named.then(|| Arc::from(new_id_at(ids, now))),
        ..old
    }
}

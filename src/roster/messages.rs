//! Messages: stored first, pushed where somebody listens, read when the reader says so. It must not claim more than it
//! knows: that a message is pushed means that it is on its way to a connected client, not that a model has seen it.

use super::speaker::Speaker;
use super::{Answer, BroadcastSent, Caller, Handled, Push, Reply, Roster, Sent, Wait, validate};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{IdSource, MessageId, SessionId, new_id_at};
use crate::limits::{ACK_IDS_MAX, ID_BYTES_MAX};
use crate::model::{Evidence, Message, Recipient, Row, Stored};
use std::sync::Arc;

impl Roster {
    pub(super) fn send(&mut self, caller: &Caller, to: &str, body: &str, ids: &mut dyn IdSource) -> Handled {
        if let Some(room) = to.strip_prefix('@') {
            return self.broadcast(caller, room, body, ids);
        }
        let sender = self.speaker_in_turn(caller)?;
        let recipient = self.resolve_session(to)?;
        validate::body(body)?;
        let row = self.tables.sessions.get(&recipient).map(|placed| placed.stored.row.clone());
        let to_nick = match &row {
            Some(row) => row.nickname.clone(),
            None => Arc::from(recipient.as_str().trim_start_matches(crate::ids::HUMAN_PREFIX)),
        };
        let message = self.store_message(sender, Recipient::Session(recipient.clone()), to_nick, body, ids);
        self.note_caller(&message.row.from_session_id);
        let pushes: Vec<Push> = self.push_new(&recipient, &message).into_iter().collect();
        let live = pushes.first().map(|push| push.client.clone());
        self.dirty.insert(recipient.clone());
        let place = self.tables.messages.get(&message.row.id).map_or(0, |placed| placed.place);
        let delivery = self.delivery_to(&message.row, place, recipient);
        Ok(Answer { reply: Reply::Sent(Sent { message, live, delivery }), wait: Wait::Batch, pushes })
    }

    pub(super) fn broadcast(&mut self, caller: &Caller, room: &str, body: &str, ids: &mut dyn IdSource) -> Handled {
        let sender = self.speaker_in_turn(caller)?;
        let Some(room) = self.addressed_room(room).cloned() else {
            return Err(RequestError::not_found(format!("no room with id '{room}' on the roster")));
        };
        validate::body(body)?;
        let members = self.tables.members_of.get(&room.row.id).into_iter().flatten();
        // A membership whose session is gone is no recipient.
        let others: Vec<(SessionId, Arc<str>)> = members
            .filter(|(session, _)| **session != sender.id)
            .filter_map(|(session, _)| {
                Some((session.clone(), self.tables.sessions.get(session)?.stored.row.nickname.clone()))
            })
            .collect();
        if others.is_empty() {
            let message = format!("room '{}' has no other members — nothing to broadcast to", room.row.id);
            return Err(RequestError::new(ErrorKind::Refused, message));
        }
        let to = Recipient::Room(room.row.id.clone());
        let message = self.store_message(sender, to, room.row.name.clone(), body, ids);
        self.note_caller(&message.row.from_session_id);
        let (mut pushes, mut recipients) = (Vec::new(), Vec::with_capacity(others.len()));
        for (session, nickname) in others {
            let push = self.push_new(&session, &message);
            self.dirty.insert(session.clone());
            recipients.push((session, nickname, push.as_ref().map(|push| push.client.clone())));
            pushes.extend(push);
        }
        let reply = Reply::Broadcast(BroadcastSent { message, room_name: room.row.name.clone(), recipients });
        Ok(Answer { reply, wait: Wait::Batch, pushes })
    }

    fn store_message(
        &mut self,
        sender: Speaker,
        to: Recipient,
        to_nick: Arc<str>,
        body: &str,
        ids: &mut dyn IdSource,
    ) -> Arc<Stored<Message>> {
        let stored = Stored::new(Message {
            id: MessageId::from(new_id_at(ids, self.tables.now.wall_ms)),
            from_session_id: sender.id,
            from_nick: sender.name,
            to,
            to_nick,
            body: Arc::from(body),
            sent_at: self.tables.now.wall_ms,
            read_at: None,
            proof: Some(sender.proof),
            terms: None,
        });
        self.tables.set(Row::Message(stored.clone()));
        stored
    }

    pub(super) fn ack_messages(&mut self, caller: &Caller, messages: &[MessageId]) -> Handled {
        let session = self.speaker(caller)?.id;
        if messages.len() > ACK_IDS_MAX {
            let message = format!("{} message ids; at most {ACK_IDS_MAX} are taken at once", messages.len());
            return Err(RequestError::new(ErrorKind::TooLarge, message));
        }
        let (mut newly, mut already, mut unknown) = (0, 0, 0);
        for message in messages {
            validate::bounded("message id", message.as_str(), ID_BYTES_MAX)?;
            match self.mark_read(&session, message, Evidence::Ack) {
                Some(true) => newly += 1,
                Some(false) => already += 1,
                None => unknown += 1,
            }
        }
        self.note_caller(&session);
        self.dirty.insert(session);
        Ok(Answer::new(Reply::Acked { newly, already, unknown }, Wait::Batch))
    }
}

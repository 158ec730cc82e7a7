//! Messages: stored first, pushed where somebody listens, read when the reader says so. It must not claim more than it
//! knows: that a message is pushed means that it is on its way to a connected client, not that a model has seen it.

use super::address::{Addressed, Target};
use super::loops::Circle;
use super::speaker::Speaker;
use super::tables::{Placed, newest_first};
use super::{
    Answer, BroadcastSent, Caller, Covered, DeliveryView, Handled, Push, Repeated, Reply, Roster, Sending, Sent,
    SentTo, Wait, validate,
};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{HUMAN_PREFIX, IdSource, MessageId, SessionId};
use crate::limits::{ACK_IDS_MAX, PERSON_MESSAGES_LOOKED_AT_MAX, ROOM_DELIVERIES_SHOWN_MAX};
use crate::model::{Evidence, Message, Recipient, RoomKind, Row, Step, Stored, Terms};
use std::sync::Arc;

impl Roster {
    /// Sends a message to all that it is for, or to none of them.
    pub(super) fn send(&mut self, sending: &Sending, ids: &mut dyn IdSource) -> Handled {
        let sender = self.speaker_in_turn(&sending.caller)?;
        if let Some(repeated) = self.repeated(&sender, sending)? {
            return Ok(repeated);
        }
        let answered = self.answered(&sender, sending)?;
        let addressed = self.addressed(&sender, &sending.to, answered.as_ref())?;
        validate::body(&sending.body)?;
        let terms = self.terms(&sender, sending, answered.as_ref(), &addressed, ids)?;
        let now = self.tables.now.mono_ms;
        let circles = circles(&sender, &addressed, terms.as_ref().and_then(|terms| terms.thread.as_ref()));
        self.loops.check(&circles, &sender.id, now)?;
        for _ in 1..addressed.len() {
            self.paces.take(&sender.paced_by, now)?;
        }
        if sender.id.is_human() {
            let written_to: Vec<SessionId> = addressed.iter().flat_map(Addressed::sessions).cloned().collect();
            self.loops.reset(&written_to, terms.as_ref().and_then(|terms| terms.thread.as_ref()));
        }
        self.loops.note(circles, &sender.id, now);
        let supersedes = terms.as_ref().and_then(|terms| terms.supersedes.clone());
        let (mut sent, pushes) = self.dispatch(&sender, addressed, &Arc::from(sending.body.as_str()), terms, ids);
        if let Some(old) = supersedes {
            self.supersede(&old, &mut sent);
        }
        if let Some(answered) = &answered {
            self.settle_older_questions(answered.id(), &sender.id);
        }
        self.note_caller(&sender.id);
        let reply = match (sent.pop(), sent.is_empty()) {
            (Some(SentTo::One(one)), true) => Reply::Sent(one),
            (Some(SentTo::Room(one)), true) => Reply::Broadcast(one),
            (last, _) => {
                sent.extend(last);
                Reply::SentToAll(sent)
            }
        };
        Ok(Answer { reply, wait: Wait::Batch, pushes })
    }

    /// What was sent before under the name that its sender gave it, if something was.
    fn repeated(&self, sender: &Speaker, sending: &Sending) -> Result<Option<Answer>, RequestError> {
        let Some(name) = &sending.wishes.client_message_id else { return Ok(None) };
        validate::key("the message's own id (clientMessageId)", name)?;
        if name.is_empty() {
            return Err(RequestError::invalid("the message's own id (clientMessageId) is empty"));
        }
        let before = self.tables.threads.named(&sender.id, name);
        let mut placed: Vec<_> = before.iter().filter_map(|id| self.tables.messages.get(id)).collect();
        placed.sort_by_key(|placed| placed.place);
        let Some(first) = placed.first() else { return Ok(None) };
        let fingerprint = sending.fingerprint();
        let known = first.stored.row.terms.as_ref().and_then(|terms| terms.fingerprint.as_deref());
        let is_same = known == Some(fingerprint.as_str());
        if !is_same && !sending.wishes.must_have_id {
            let ids: Vec<String> = placed.iter().map(|placed| self.called(&placed.stored.row)).collect();
            let ids = ids.join(", ");
            let message =
                format!("'{name}' is the name of something else that you have sent ({ids}); give this another");
            return Err(RequestError::new(ErrorKind::KeyReused, message));
        }
        let supersedes = first.stored.row.terms.as_ref().and_then(|terms| terms.supersedes.clone());
        let by: Vec<MessageId> = placed.iter().map(|placed| placed.stored.row.id.clone()).collect();
        let replaced = supersedes.and_then(|old| self.replaced(&old, &by));
        let mut sent: Vec<SentTo> = placed.into_iter().map(|placed| self.sent_before(placed)).collect();
        if let Some(first) = sent.first_mut() {
            first.note_replaced(replaced);
        }
        let repeated = Repeated { sent, client_message_id: Arc::from(name.as_str()), fingerprint, is_same };
        Ok(Some(Answer::new(Reply::Repeated(Box::new(repeated)), Wait::Batch)))
    }

    /// A message that was sent, as it stands now.
    fn sent_before(&self, placed: &Placed<Message>) -> SentTo {
        let (message, row) = (placed.stored.clone(), &placed.stored.row);
        match &row.to {
            Recipient::Session(session) => {
                let delivery = self.delivery_to(row, placed.place, session.clone());
                let is_to_stranger = self.is_stranger(session);
                let short_id = self.short_id(&message.row.id);
                SentTo::One(Sent { message, short_id, live: None, delivery, is_to_stranger, replaced: None })
            }
            Recipient::Room(_) => {
                let deliveries = self.deliveries(row, placed.place);
                let recipients =
                    deliveries.iter().map(|view| (view.session.clone(), view.name.clone(), None)).collect();
                SentTo::Room(BroadcastSent {
                    room_name: row.to_nick.clone(),
                    short_id: self.short_id(&message.row.id),
                    message,
                    recipients,
                    deliveries,
                    covered: Vec::new(),
                    replaced: None,
                })
            }
        }
    }

    /// Stores a message for each that it is for, and pushes it where somebody listens.
    pub(super) fn dispatch(
        &mut self,
        sender: &Speaker,
        addressed: Vec<Addressed>,
        body: &Arc<str>,
        terms: Option<Terms>,
        ids: &mut dyn IdSource,
    ) -> (Vec<SentTo>, Vec<Push>) {
        let (mut sent, mut pushes): (Vec<SentTo>, _) = (Vec::with_capacity(addressed.len()), Vec::new());
        let terms = terms.filter(|terms| *terms != Terms::default()).map(Box::new);
        for Addressed { to, others, covered, spares } in addressed {
            let to_nick = match &to {
                Target::One(session) => self.name_of(session),
                Target::Room(room) => room.row.name.clone(),
            };
            let message = self.store_message(sender, to.recipient(), to_nick, body, terms.clone(), ids);
            let place = newest_first(&self.tables.messages, &message.row.id).map_or(0, |placed| placed.place);
            if let Target::One(session) = &to {
                self.leave_for(session, &message.row.id);
            }
            let covered = self.cover(&message.row.id, covered, spares, &sent);
            let mut recipients = Vec::with_capacity(others.len());
            for (session, nickname) in others {
                let push = self.push_new(&session, &message);
                self.dirty.insert(session.clone());
                recipients.push((session, nickname, push.as_ref().map(|push| push.client.clone())));
                pushes.extend(push);
            }
            let shown = recipients.iter().take(ROOM_DELIVERIES_SHOWN_MAX);
            let mut deliveries: Vec<DeliveryView> =
                shown.map(|(session, ..)| self.delivery_to(&message.row, place, session.clone())).collect();
            sent.push(match (&to, deliveries.pop(), recipients.pop()) {
                (Target::One(_), Some(delivery), Some((.., live))) => {
                    let is_to_stranger = self.is_stranger(&delivery.session);
                    let short_id = self.short_id(&message.row.id);
                    SentTo::One(Sent { message, short_id, live, delivery, is_to_stranger, replaced: None })
                }
                (_, last, last_one) => {
                    deliveries.extend(last);
                    recipients.extend(last_one);
                    let room_name = message.row.to_nick.clone();
                    let short_id = self.short_id(&message.row.id);
                    let replaced = None;
                    SentTo::Room(BroadcastSent {
                        message,
                        short_id,
                        room_name,
                        recipients,
                        deliveries,
                        covered,
                        replaced,
                    })
                }
            });
        }
        (sent, pushes)
    }

    /// Settles a room's message for those who get the same by one that went out before, and tells who gets what once that
    /// was addressed more often: they, by that; and by this message what was left out for it.
    fn cover(
        &mut self,
        message: &MessageId,
        covered: Vec<(SessionId, usize)>,
        spares: Vec<(Recipient, Arc<str>)>,
        sent: &[SentTo],
    ) -> Vec<Covered> {
        let mut told = Vec::new();
        for (session, by) in covered {
            let Some(by) = sent.get(by).map(|sent| sent.message().row.id.clone()) else { continue };
            self.settle(&session, message, Step::Superseded(by.clone()));
            if told.len() < ROOM_DELIVERIES_SHOWN_MAX {
                told.push(Covered { name: self.name_of(&session), to: Recipient::Session(session), by });
            }
        }
        told.extend(spares.into_iter().map(|(to, name)| Covered { to, name, by: message.clone() }));
        told
    }

    /// Whether this is a person of whom nothing was ever heard: who has neither written nor acknowledged anything, and for
    /// whom no session works, nor did one that ended and is known.
    fn is_stranger(&self, person: &SessionId) -> bool {
        let Some(name) = person.as_str().strip_prefix(HUMAN_PREFIX) else { return false };
        let tables = &self.tables;
        let wrote =
            |id: &MessageId| tables.messages.get(id).is_some_and(|placed| placed.stored.row.from_session_id == *person);
        let has_room = RoomKind::Operator(Arc::from(name)).auto_id().is_some_and(|id| tables.rooms.contains_key(&id));
        let is_heard_of = has_room
            || tables.departures.has_operator(name)
            || tables.reads_of.contains_key(person)
            || tables.mail.concerning(person, u64::MAX).take(PERSON_MESSAGES_LOOKED_AT_MAX).any(|(_, id)| wrote(id));
        !is_heard_of
    }

    fn store_message(
        &mut self,
        sender: &Speaker,
        to: Recipient,
        to_nick: Arc<str>,
        body: &Arc<str>,
        terms: Option<Box<Terms>>,
        ids: &mut dyn IdSource,
    ) -> Arc<Stored<Message>> {
        let stored = Stored::new(Message {
            id: MessageId::from(ids.new_id()),
            from_session_id: sender.id.clone(),
            from_nick: sender.name.clone(),
            to,
            to_nick,
            body: body.clone(),
            sent_at: self.tables.now.wall_ms,
            read_at: None,
            proof: Some(sender.proof),
            terms,
        });
        self.tables.set(Row::Message(stored.clone()));
        stored
    }

    pub(super) fn ack_messages(&mut self, caller: &Caller, messages: &[MessageId]) -> Handled {
        let reader = self.speaker(caller)?;
        self.must_be_named(caller)?;
        if messages.len() > ACK_IDS_MAX {
            let message = format!("{} message ids; at most {ACK_IDS_MAX} are taken at once", messages.len());
            return Err(RequestError::new(ErrorKind::TooLarge, message));
        }
        let evidence = if self.is_itself(caller, &reader) { Evidence::Ack } else { Evidence::Operator };
        let session = reader.id;
        // All before any: an id that means several messages acknowledges none.
        let meant: Vec<Option<MessageId>> =
            messages.iter().map(|id| self.message_to_ack(&session, id)).collect::<Result<_, _>>()?;
        let (mut newly, mut already, mut unknown) = (0, 0, 0);
        for message in meant {
            match message.and_then(|message| self.mark_read(&session, &message, evidence)) {
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

impl Roster {
    /// The message of its own that a reader acknowledges, by its id or the beginning of it; none if there is none.
    fn message_to_ack(&self, reader: &SessionId, id: &MessageId) -> Result<Option<MessageId>, RequestError> {
        if self.tables.messages.contains_key(id) {
            return Ok(Some(id.clone()));
        }
        match self.message_meant(id.as_str(), Some(reader)) {
            Ok(placed) => Ok(Some(placed.stored.row.id.clone())),
            Err(error) if error.kind == ErrorKind::Ambiguous => Err(error),
            Err(_) => Ok(None),
        }
    }
}

/// Among whom, and in which thread, a message goes to and fro. A human makes no loops.
fn circles(sender: &Speaker, addressed: &[Addressed], thread: Option<&MessageId>) -> Vec<Circle> {
    if sender.id.is_human() {
        return Vec::new();
    }
    let ones = addressed.iter().filter_map(|addressed| match &addressed.to {
        Target::One(session) if !session.is_human() => Some(Circle::pair(&sender.id, session)),
        _ => None,
    });
    ones.chain(thread.cloned().map(Circle::Thread)).collect()
}

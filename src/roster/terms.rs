//! From what a sender wants to the terms of its message: which message it answers or replaces, until when it counts. It must
//! not tell anybody of a message that is not for him.

use super::address::Addressed;
use super::notices::NoticeWeight;
use super::sending::Expiry;
use super::speaker::Speaker;
use super::tables::Placed;
use super::{Roster, Sending, validate};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{IdSource, MessageId, SessionId, new_id_at};
use crate::limits::{
    CANDIDATES_MAX, EXCERPT_CHARS_MAX, EXPIRY_MAX_MS, ID_BEGINNINGS_MAX, ID_BYTES_MAX, META_BYTES_MAX,
    REPLACED_LINKS_MAX, REPLY_EXPECTED_MAX_MS, SWEEP_ROWS_MAX,
};
use crate::model::{Message, Recipient, Terms};
use crate::text::body::excerpt;
use crate::text::{quoted, shown_name};
use crate::time::human_age;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// The message that another one answers.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    id: MessageId,
    thread: MessageId,
    from: SessionId,
    is_notice: bool,
}

impl Answered {
    /// The message's id.
    pub(super) fn id(&self) -> &MessageId {
        &self.id
    }

    /// To whom an answer goes that names nobody.
    pub(super) fn author(&self) -> Result<SessionId, RequestError> {
        if self.is_notice {
            return Err(RequestError::invalid(
                "marshal itself wrote that, and reads no answers; say whom you mean (to)",
            ));
        }
        Ok(self.from.clone())
    }
}

impl Roster {
    /// The message that is to be answered, if one is.
    pub(super) fn answered(&self, sender: &Speaker, sending: &Sending) -> Result<Option<Answered>, RequestError> {
        let Some(text) = &sending.wishes.reply_to else { return Ok(None) };
        let row = &self.message_of(sender, sending, text)?.stored.row;
        let thread = row.terms.as_ref().and_then(|terms| terms.thread.clone()).unwrap_or_else(|| row.id.clone());
        let (id, from, is_notice) = (row.id.clone(), row.from_session_id.clone(), row.is_notice());
        Ok(Some(Answered { id, thread, from, is_notice }))
    }

    /// On what terms a message goes out, by what its sender wants.
    pub(super) fn terms(
        &self,
        sender: &Speaker,
        sending: &Sending,
        answered: Option<&Answered>,
        addressed: &[Addressed],
        ids: &mut dyn IdSource,
    ) -> Result<Option<Terms>, RequestError> {
        let (wishes, now) = (&sending.wishes, self.tables.now.wall_ms);
        if let Some(meta) = &wishes.meta {
            validate::bounded("meta", meta, META_BYTES_MAX)?;
        }
        let replaced = wishes.supersedes.as_ref().map(|text| self.own_message(sender, sending, text)).transpose()?;
        let supersedes = replaced.map(|old| self.unreplaced(old, addressed)).transpose()?;
        let within = |what: &str, ms: i64, most: i64| {
            let message = || format!("{what} is to be between 1 second and {} days from now", most / 86_400_000);
            if (1000..=most).contains(&ms) { Ok(now + ms) } else { Err(RequestError::invalid(message())) }
        };
        let expires_at = match wishes.expires {
            None => None,
            Some(Expiry::In(ms)) => Some(within("the message's expiry", ms, EXPIRY_MAX_MS)?),
            // A moment may have come nearer on its way here.
            Some(Expiry::At(at)) if at > now && at - now < 1000 => Some(at),
            Some(Expiry::At(at)) => Some(within("the message's expiry", at.saturating_sub(now), EXPIRY_MAX_MS)?),
        };
        let expects = |ms| within("the time by which a reply is expected", ms, REPLY_EXPECTED_MAX_MS);
        let made = || wishes.must_have_id.then(|| Arc::from(new_id_at(ids, now)));
        let client_message_id = wishes.client_message_id.as_deref().map(Arc::from).or_else(made);
        let terms = Terms {
            priority: wishes.priority,
            reply_to: answered.map(|answered| answered.id.clone()),
            thread: answered.map(|answered| answered.thread.clone()),
            reply_by: wishes.expects_reply_ms.map(expects).transpose()?,
            reply_settled: false,
            supersedes,
            expires_at,
            fingerprint: client_message_id.as_ref().map(|_| Arc::from(sending.fingerprint())),
            client_message_id,
            meta: wishes.meta.as_deref().map(Arc::from),
            notice: false,
        };
        Ok((terms != Terms::default()).then_some(terms))
    }

    /// What its sender has put in the place of a message, and in the place of that, as far as the newest, in the order of the
    /// log: several if one request came to several, or if they were replaced each for itself. Of a circle, as somebody
    /// else's lines can make one, it is all of it.
    pub(super) fn newest_in_place_of(&self, old: &Message) -> Vec<&Message> {
        let newer = |of: &MessageId| -> Vec<&Placed<Message>> {
            let all = self.tables.threads.replaced_by(of).filter_map(|id| self.tables.messages.get(id));
            all.filter(|placed| placed.stored.row.from_session_id == old.from_session_id).collect()
        };
        let (mut open, mut seen, mut newest) = (vec![&old.id], BTreeMap::new(), Vec::new());
        while let Some(id) = open.pop().filter(|_| seen.len() < REPLACED_LINKS_MAX) {
            let next = newer(id);
            if let Some(last) = seen.get(id).copied().filter(|_| next.is_empty()) {
                newest.push(last);
            }
            for placed in next {
                let id = &placed.stored.row.id;
                if seen.insert(id, placed).is_none() {
                    open.push(id);
                }
            }
        }
        let mut newest = if newest.is_empty() { seen.into_values().collect() } else { newest };
        newest.sort_by_key(|placed| placed.place);
        newest.into_iter().map(|placed| &placed.stored.row).collect()
    }

    /// The message of the sender's own that is meant.
    fn own_message(&self, sender: &Speaker, sending: &Sending, text: &str) -> Result<&Message, RequestError> {
        let row = &self.message_of(sender, sending, text)?.stored.row;
        if row.from_session_id == sender.id {
            return Ok(row);
        }
        let id = self.short_id(&row.id);
        let message = format!("message {id} is not yours: only who sent a message can replace it");
        Err(RequestError::new(ErrorKind::Forbidden, message))
    }

    /// The message that a sender means, of those that it may see.
    fn message_of(&self, sender: &Speaker, sending: &Sending, text: &str) -> Result<&Placed<Message>, RequestError> {
        let only = self.sees_only(&sending.caller)?.map(|_| &sender.id);
        self.message_meant(text, only)
    }

    /// The message with this id, or the one whose id alone begins like this; of those only that concern `only`, if somebody is
    /// given. Ids begin with the time at which they were made, so that a short beginning fits any number of messages: only
    /// so many are looked at, and what is not told apart by then is ambiguous.
    pub(super) fn message_meant(&self, text: &str, only: Option<&SessionId>) -> Result<&Placed<Message>, RequestError> {
        validate::bounded("a message's id", text, ID_BYTES_MAX)?;
        let is_seen = |placed: &&Placed<Message>| only.is_none_or(|me| self.concerns(placed, me));
        if let Some(placed) = self.tables.messages.get(text).filter(is_seen) {
            return Ok(placed);
        }
        let end = format!("{text}{}", char::MAX);
        let alike = self.tables.messages.range::<str, _>((Bound::Included(text), Bound::Excluded(end.as_str())));
        let mut newest_first = alike.rev().map(|(_, placed)| placed).take_while(|_| !text.is_empty());
        let mut found: Vec<_> =
            newest_first.by_ref().take(ID_BEGINNINGS_MAX).filter(is_seen).take(CANDIDATES_MAX + 1).collect();
        let is_all = found.len() <= CANDIDATES_MAX && newest_first.next().is_none();
        match (found.as_slice(), is_all) {
            ([only], true) => Ok(only),
            ([], true) => Err(RequestError::not_found(format!("no message with the id '{text}' is stored"))),
            _ => {
                let is_more = found.len() > CANDIDATES_MAX;
                found.truncate(CANDIDATES_MAX);
                let told = found.iter().map(|placed| self.told(&placed.stored.row));
                let candidates = told.chain(is_more.then(|| "...".to_owned())).collect();
                let message = format!("'{text}' is the beginning of more than one message's id; give more of it");
                Err(RequestError { candidates, ..RequestError::new(ErrorKind::Ambiguous, message) })
            }
        }
    }

    /// A message as a candidate: its id, and by what a person knows it.
    pub(super) fn told(&self, message: &Message) -> String {
        let age = human_age(self.tables.now.wall_ms.saturating_sub(message.sent_at));
        let to = match &message.to {
            Recipient::Room(room) => format!("@{room}"),
            Recipient::Session(_) => shown_name(&message.to_nick),
        };
        let (id, from) = (self.short_id(&message.id), shown_name(&message.from_nick));
        format!("{id} ({age} ago, {from} -> {to}: {})", excerpt(&message.body, EXCERPT_CHARS_MAX))
    }

    /// A message is about to be deleted. If it shows that another one was answered, that one notes it: else its sender would
    /// be told that nobody has answered.
    pub(super) fn note_answered(&mut self, answer: &MessageId) {
        let Some(answer) = self.tables.messages.get(answer) else { return };
        if let Some(question) = self.question_of(&answer.stored.row).cloned() {
            self.settle_reply(&question);
        }
    }

    /// The message to which this one is the answer that its sender expects.
    pub(super) fn question_of<'a>(&self, answer: &'a Message) -> Option<&'a MessageId> {
        let question = answer.terms.as_ref()?.reply_to.as_ref()?;
        let asker = self.tables.threads.expects_from_others(question)?;
        (*asker != answer.from_session_id).then_some(question)
    }

    /// Writes down which questions were answered although their answers are gone. Each is kept until that is on the disk.
    pub(super) fn note_what_was_answered(&mut self) {
        let threads = &self.tables.threads;
        self.answered.retain(|question| threads.expects_from_others(question).is_some());
        let open: Vec<MessageId> = self.answered.iter().take(SWEEP_ROWS_MAX).cloned().collect();
        open.iter().for_each(|question| self.settle_reply(question));
    }

    /// Notes that a message was answered, whatever becomes of the answer.
    pub(super) fn settle_reply(&mut self, question: &MessageId) {
        let Some(row) = self.tables.messages.get(question).map(|placed| placed.stored.row.clone()) else { return };
        let terms = Terms { reply_settled: true, ..row.terms.as_deref().cloned().unwrap_or_default() };
        self.tables.set(Message { terms: Some(Box::new(terms)), ..row });
    }

    /// Tells the senders of messages to which they expected an answer by now that none came. What is told is itself an
    /// answer, so that it is told once.
    pub(super) fn miss_replies(&mut self, ids: &mut dyn IdSource, is_full: impl Fn(&Self) -> bool) {
        for id in self.tables.threads.overdue(self.tables.now.wall_ms, SWEEP_ROWS_MAX) {
            if is_full(self) {
                break;
            }
            if self.answered.contains(&id) {
                continue;
            }
            let Some(row) = self.tables.messages.get(&id).map(|placed| placed.stored.row.clone()) else { continue };
            let name = quoted(&row.to_nick);
            let room = if matches!(row.to, Recipient::Room(_)) { "room " } else { "" };
            let unread = if self.awaiting(&id).is_empty() { "" } else { ", and it is not known to be read" };
            let text = format!("no reply to your message {} to {room}{name} came in time{unread}", self.called(&row));
            // Also to a sender that is not there: it may come back, and must not be looked for by every sweep until then.
            self.write_notice(&row, NoticeWeight::Final, &text, ids);
        }
    }
}

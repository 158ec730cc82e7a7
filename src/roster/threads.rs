//! The indexes over what messages say of other messages, and of the requests that they came from: which answer which, which
//! came in the place of which, whose answer is still expected, and under which name of its own a sender has sent what. Every one follows from the messages
//! alone; what is to be done about it is decided elsewhere.

use crate::ids::{MessageId, SessionId};
use crate::model::{Message, Terms};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Threads {
    /// Messages by sender and by the sender's own name for them.
    named: BTreeMap<(SessionId, Arc<str>), BTreeSet<MessageId>>,
    /// The answers to a message, each with who sent it.
    answers: BTreeMap<MessageId, BTreeMap<MessageId, SessionId>>,
    /// Messages that came in the place of another one, by that one.
    replaced_by: BTreeMap<MessageId, BTreeSet<MessageId>>,
    /// Messages whose sender expects an answer: until when, and who that is.
    expecting: BTreeMap<MessageId, (i64, SessionId)>,
    /// Of those the ones to which nobody else has written anything yet, by that time.
    unanswered: BTreeSet<(i64, MessageId)>,
}

impl Threads {
    /// Takes a message in.
    pub(crate) fn insert(&mut self, message: &Message) {
        let Some(terms) = message.terms.as_deref() else { return };
        let Terms { reply_to, client_message_id, supersedes, .. } = terms;
        let sender = || message.from_session_id.clone();
        if let Some(name) = client_message_id {
            self.named.entry((sender(), name.clone())).or_default().insert(message.id.clone());
        }
        if let Some(old) = supersedes {
            self.replaced_by.entry(old.clone()).or_default().insert(message.id.clone());
        }
        if let Some(by) = terms.reply_by.filter(|_| !terms.reply_settled) {
            self.expecting.insert(message.id.clone(), (by, sender()));
            self.settle(&message.id);
        }
        if let Some(answered) = reply_to {
            self.answers.entry(answered.clone()).or_default().insert(message.id.clone(), sender());
            self.settle(answered);
        }
    }

    /// Forgets a message.
    pub(crate) fn remove(&mut self, message: &Message) {
        let Some(terms) = message.terms.as_deref() else { return };
        let Terms { reply_to, reply_by, client_message_id, supersedes, .. } = terms;
        if let Some(name) = client_message_id {
            let key = (message.from_session_id.clone(), name.clone());
            if let Some(named) = self.named.get_mut(&key) {
                named.remove(&message.id);
                if named.is_empty() {
                    self.named.remove(&key);
                }
            }
        }
        if let Some(old) = supersedes
            && let Some(newer) = self.replaced_by.get_mut(old)
        {
            newer.remove(&message.id);
            if newer.is_empty() {
                self.replaced_by.remove(old);
            }
        }
        if let Some(by) = reply_by {
            self.unanswered.remove(&(*by, message.id.clone()));
            self.expecting.remove(&message.id);
        }
        if let Some(answered) = reply_to {
            if let Some(answers) = self.answers.get_mut(answered) {
                answers.remove(&message.id);
                if answers.is_empty() {
                    self.answers.remove(answered);
                }
            }
            self.settle(answered);
        }
    }

    /// Notes whether a message still waits for an answer: for one by anybody but its sender, or for word from marshal.
    fn settle(&mut self, message: &MessageId) {
        let Some((by, sender)) = self.expecting.get(message) else { return };
        let is_answered = self.answers.get(message).is_some_and(|answers| answers.values().any(|from| from != sender));
        let key = (*by, message.clone());
        if is_answered {
            self.unanswered.remove(&key);
        } else {
            self.unanswered.insert(key);
        }
    }

    /// Who expects an answer to a message, by anybody else, whether one has come or not.
    pub(crate) fn expects_from_others(&self, message: &MessageId) -> Option<&SessionId> {
        self.expecting.get(message).map(|(_, sender)| sender)
    }

    /// The messages that say that they came in the place of this one.
    pub(crate) fn replaced_by(&self, old: &MessageId) -> impl Iterator<Item = &MessageId> {
        self.replaced_by.get(old).into_iter().flatten()
    }

    /// What a sender has sent under a name of its own.
    pub(crate) fn named(&self, sender: &SessionId, name: &str) -> Vec<MessageId> {
        let key = (sender.clone(), Arc::from(name));
        self.named.get(&key).into_iter().flatten().cloned().collect()
    }

    /// Messages to which no answer came in time: at most so many.
    pub(crate) fn overdue(&self, now: i64, at_most: usize) -> Vec<MessageId> {
        let due = self.unanswered.iter().take_while(|(by, _)| *by <= now).take(at_most);
        due.map(|(_, id)| id.clone()).collect()
    }
}

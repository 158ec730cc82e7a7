//! What a sender can ask for, and what it is told: values, and the fingerprint by which the same request is known again.
//! It must not look at the roster.

use super::{Caller, DeliveryView};
use crate::ids::{ClientId, MessageId, SessionId};
use crate::model::{Message, Priority, Recipient, Stored};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A message to be sent.
#[derive(Clone, Debug, Default)]
pub struct Sending {
    /// Who speaks.
    pub caller: Caller,
    /// Whom it is for, each a session id, a nickname, a unique beginning of either, `human:<name>`, or a room: `@<room>`,
    /// `op:<name>`, `project:<name>`, `host:<name>`, `*`. None for an answer, which goes to whom it answers.
    pub to: Vec<String>,
    /// The text.
    pub body: String,
    /// What else its sender wants.
    pub wishes: Wishes,
}

/// What a sender may want beyond that its text gets to somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// How soon it wants to be read.
    pub priority: Priority,
    /// The message that it answers, or a beginning of its id.
    pub reply_to: Option<String>,
    /// How long an answer is expected for.
    pub expects_reply_ms: Option<i64>,
    /// The message of the same sender in whose place it comes, or a beginning of its id.
    pub supersedes: Option<String>,
    /// When nobody need read it any more.
    pub expires: Option<Expiry>,
    /// The sender's own name for it.
    pub client_message_id: Option<String>,
    /// Whether it gets such a name if its sender has none.
    pub must_have_id: bool,
    /// What a client of claudemesh's kind puts beside it: the text of a JSON object.
    pub meta: Option<String>,
    /// The connection that wants to be told how far it gets.
    pub track: Option<ClientId>,
}

/// When nobody need read a message any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// So many milliseconds after it was sent.
    In(i64),
    /// At this wall-clock millisecond.
    At(i64),
}

impl Sending {
    /// A message to one, on the usual terms.
    pub fn new(caller: Caller, to: impl Into<String>, body: impl Into<String>) -> Self {
        Self { caller, to: vec![to.into()], body: body.into(), wishes: Wishes::default() }
    }

    /// A hash of everything that is asked for, as it was asked for: whom a name means may change until it is asked again.
    pub(super) fn fingerprint(&self) -> String {
        let wishes = &self.wishes;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
        let expires = match wishes.expires {
            None => String::new(),
            Some(Expiry::In(ms)) => format!("in {ms}"),
            Some(Expiry::At(ms)) => format!("at {ms}"),
        };
        let terms = [
            wishes.priority.as_str().to_owned(),
            text(&wishes.reply_to),
            number(wishes.expects_reply_ms),
            text(&wishes.supersedes),
            expires,
            text(&wishes.meta),
        ];
        let mut hash = Sha256::new();
        // With its length before each, no two lists of texts look the same.
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        terms.iter().chain([&self.body]).chain(&self.to).for_each(|text| add(text));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// An older message that another one was to come in the place of, and where it is by then.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// The older message.
    pub message: MessageId,
    /// For how many it was replaced: those who had not read it.
    pub count: usize,
    /// For how many it was.
    pub of: usize,
    /// Where it is for each of them, those first for whom it was not replaced; of many only some.
    pub deliveries: Vec<DeliveryView>,
}

/// Where a message is now.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message.
    pub message: Arc<Stored<Message>>,
    /// The shortest beginning of its id that fits no other message now.
    pub short_id: String,
    /// The connection that it is pushed to, if there is one.
    pub live: Option<ClientId>,
    /// Where it is.
    pub delivery: DeliveryView,
    /// It is for a person of whom nothing was ever heard here: the name may be mistyped.
    pub is_to_stranger: bool,
    /// What it replaces, if its sender wished that.
    pub replaced: Option<Box<Replaced>>,
}

/// Where a message to a room is now.
#[derive(Clone, Debug)]
pub struct BroadcastSent {
    /// The message.
    pub message: Arc<Stored<Message>>,
    /// The shortest beginning of its id that fits no other message now.
    pub short_id: String,
    /// The room's name.
    pub room_name: Arc<str>,
    /// Those for whom it is stored: session, nickname, and the connection that it is pushed to.
    pub recipients: Vec<(SessionId, Arc<str>, Option<ClientId>)>,
    /// Where it is for each of them.
    pub deliveries: Vec<DeliveryView>,
    /// Who gets it by another message, and what was addressed too and is left out for this one; not known any more when the
    /// same is asked for once more.
    pub covered: Vec<Covered>,
    /// What it replaces, if its sender wished that.
    pub replaced: Option<Box<Replaced>>,
}

/// Somebody, or a room, that more than one address of a message means: what it is for gets there once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Who, or which room.
    pub to: Recipient,
    /// Its name.
    pub name: Arc<str>,
    /// The message by which it gets there.
    pub by: MessageId,
}

/// One of the messages that a request to send came to.
#[derive(Clone, Debug)]
pub enum SentTo {
    /// To a session or human.
    One(Sent),
    /// To a room.
    Room(BroadcastSent),
}

impl SentTo {
    /// What it replaces, if its sender wished that.
    pub fn replaced(&self) -> Option<&Replaced> {
        match self {
            Self::One(sent) => sent.replaced.as_deref(),
            Self::Room(sent) => sent.replaced.as_deref(),
        }
    }

    /// Notes what it replaces.
    pub(super) fn note_replaced(&mut self, replaced: Option<Replaced>) {
        let place = match self {
            Self::One(sent) => &mut sent.replaced,
            Self::Room(sent) => &mut sent.replaced,
        };
        *place = replaced.map(Box::new);
    }

    /// The message.
    pub fn message(&self) -> &Arc<Stored<Message>> {
        match self {
            Self::One(sent) => &sent.message,
            Self::Room(sent) => &sent.message,
        }
    }

    /// Where it is, for each who is to read it.
    pub fn deliveries(&self) -> &[DeliveryView] {
        match self {
            Self::One(sent) => std::slice::from_ref(&sent.delivery),
            Self::Room(sent) => &sent.deliveries,
        }
    }

    /// The connections that it is pushed to.
    pub fn live_mut(&mut self) -> Vec<&mut Option<ClientId>> {
        match self {
            Self::One(sent) => vec![&mut sent.live],
            Self::Room(sent) => sent.recipients.iter_mut().map(|(_, _, live)| live).collect(),
        }
    }
}

/// What had been sent under the sender's own name for it when it was asked for once more.
#[derive(Clone, Debug)]
pub struct Repeated {
    /// What was sent then, as it stands now.
    pub sent: Vec<SentTo>,
    /// The sender's own name for it.
    pub client_message_id: Arc<str>,
    /// The fingerprint of what was asked for now.
    pub fingerprint: String,
    /// Whether the same was asked for then.
    pub is_same: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_over_everything_that_is_asked_for() {
        let base = || Sending::new(Caller::session("a"), "b", "text");
        let with = |change: &dyn Fn(&mut Wishes)| {
            let mut sending = base();
            change(&mut sending.wishes);
            sending
        };
        let mut all = vec![
            base(),
            Sending::new(Caller::session("a"), "c", "text"),
            Sending::new(Caller::session("a"), "b", "texts"),
            Sending { to: vec!["b".into(), "c".into()], ..base() },
            Sending { to: vec!["b".into(), "".into()], ..base() },
            with(&|wishes| wishes.priority = Priority::Now),
            with(&|wishes| wishes.reply_to = Some("m".into())),
            with(&|wishes| wishes.supersedes = Some("m".into())),
            with(&|wishes| wishes.meta = Some("m".into())),
            with(&|wishes| wishes.expects_reply_ms = Some(5)),
            with(&|wishes| wishes.expires = Some(Expiry::In(5))),
            with(&|wishes| wishes.expires = Some(Expiry::At(5))),
        ];
        // Where one text ends and the next begins matters.
        all.push(Sending { to: vec!["cb".into()], body: "text".into(), ..base() });
        all.push(Sending { to: vec!["b".into()], body: "textc".into(), ..base() });
        let prints: std::collections::BTreeSet<String> = all.iter().map(Sending::fingerprint).collect();
        assert_eq!(prints.len(), all.len());
        assert!(prints.iter().all(|print| print.len() == 64));
        let renamed = with(&|wishes| wishes.client_message_id = Some("k".into()));
        let tracked = with(&|wishes| wishes.track = Some("k".into()));
        assert_eq!([renamed.fingerprint(), tracked.fingerprint()], [base().fingerprint(), base().fingerprint()]);
    }
}

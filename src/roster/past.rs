//! What can be asked about past messages, and the answer, as values. It must not know how they are found.

use super::{Caller, DeliveryView};
use crate::ids::{MessageId, SessionId};
use crate::model::{Message, Stored};
use std::fmt::{self, Write};
use std::sync::Arc;

/// Which messages a reader wants; the filters of marshal 0.9's `ReadMessages`.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// Sent to this room.
    pub room: Option<String>,
    /// Sent by this session.
    pub from: Option<SessionId>,
    /// Sent directly to this session.
    pub to_session: Option<SessionId>,
    /// Only those for the caller.
    pub inbox: bool,
    /// Only those of the caller.
    pub sent: bool,
    /// Only those that the caller has not read.
    pub unread: bool,
    /// Sent at this wall-clock millisecond or later.
    pub since: Option<i64>,
    /// With `unread`: the oldest first, rather than the newest.
    pub oldest_first: bool,
    /// At most so many.
    pub limit: Option<usize>,
}

/// The states in which a message can be for one of its recipients, as history is asked for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// It waits.
    Queued,
    /// It was handed over.
    Handed,
    /// It was read.
    Read,
    /// Nobody need read it any more.
    Expired,
    /// Another message came in its place.
    Superseded,
    /// It did not get there.
    Undeliverable,
    /// Another session took it over.
    Claimed,
}

impl MessageState {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Handed, Self::Read, Self::Expired, Self::Superseded, Self::Undeliverable, Self::Claimed];

    /// The spelling on the wire: that of [`super::DeliveryStanding`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Handed => "handed",
            Self::Read => "read",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Undeliverable => "undeliverable",
            Self::Claimed => "claimed",
        }
    }

    /// The state that is spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Digits in which a cursor counts: those and letters, so that it is short.
const DIGITS: u32 = 36;

/// A place in the order of all messages: that of one message. Places are counted anew when the daemon starts; then the
/// message's id tells where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The message's place when the cursor was given.
    pub place: u64,
    /// The message's id, or as much of it as told it from all others.
    pub id: MessageId,
}

impl Cursor {
    /// The cursor that is spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        let (place, id) = text.split_once('-')?;
        Some(Self { place: u64::from_str_radix(place, DIGITS).ok()?, id: MessageId::from(id) })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut digits, mut rest) = (Vec::new(), self.place);
        while rest > 0 || digits.is_empty() {
            digits.push(rest % u64::from(DIGITS));
            rest /= u64::from(DIGITS);
        }
        for digit in digits.into_iter().rev() {
            // It is less than the number of digits there are.
            let digit = u32::try_from(digit).ok().and_then(|digit| char::from_digit(digit, DIGITS));
            f.write_char(digit.unwrap_or('0'))?;
        }
        write!(f, "-{}", self.id)
    }
}

/// Which page of the history is wanted. What is given must all fit.
#[derive(Clone, Debug, Default)]
pub struct HistoryQuery {
    /// Who looks back: a proven session sees only what concerns it.
    pub caller: Box<Caller>,
    /// Only the message with this id, or with the beginning of one.
    pub message: Option<String>,
    /// Sent or received by this session (id, nickname or prefix) or human.
    pub session: Option<String>,
    /// Sent to this room (id or name).
    pub room: Option<String>,
    /// In the thread of the message with this id, or with the beginning of one.
    pub thread: Option<String>,
    /// In this state for one of its recipients; for the session that is asked about, if it did not send it.
    pub state: Option<MessageState>,
    /// All these words in its text and names, whatever their case.
    pub text: Option<String>,
    /// Only those before this cursor, which an earlier page gave.
    pub before: Option<Cursor>,
    /// Only those after this cursor.
    pub after: Option<Cursor>,
    /// Sent at this wall-clock millisecond or later.
    pub since: Option<i64>,
    /// Sent before this wall-clock millisecond.
    pub until: Option<i64>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// A page of the history: the newest that fit, oldest first.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// The messages; for a direct message, whether its recipient has read it; for one to a room, how many have.
    pub messages: Vec<HistoryEntry>,
    /// Where the next older page begins; none if this is the oldest.
    pub before: Option<Cursor>,
    /// The newest message that was looked at, whether it fits or not: what comes later comes after it.
    pub newest: Option<Cursor>,
}

/// A message in the history.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// The message.
    pub message: Arc<Stored<Message>>,
    /// The shortest beginning of its id that fits no other message now.
    pub short_id: String,
    /// How many of its recipients have read it.
    pub read_by: usize,
    /// For how many it is waiting.
    pub waiting_for: usize,
    /// Where it is for each of its recipients; for a room's message only if that one was asked for, or by its sender's
    /// outbox.
    pub deliveries: Vec<DeliveryView>,
}

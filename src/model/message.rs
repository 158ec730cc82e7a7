//! Messages and read receipts. It must not know how they are delivered.

use super::{Evidence, Path, Priority, Terms};
use crate::ids::{MessageId, ReadId, RoomId, SessionId};
use std::sync::Arc;

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// One session, or one human's mailbox.
    Session(SessionId),
    /// Everybody who was in the room when it was sent, but for its sender.
    Room(RoomId),
}

/// How the sender of a message is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The caller's process descends from the session's process.
    Process,
    /// The caller showed the session's token.
    Token,
    /// The caller is the owner of the daemon at a terminal of its own, belongs to no session, and speaks as a human.
    Human,
    /// The caller showed the machine's token, or is the owner of the daemon, and belongs to no session.
    Operator,
    /// Nobody proved it: the daemon runs without credentials.
    Asserted,
    /// A line of the log says more than that, and marshal did not write that line.
    Outside,
}

impl Proof {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Process, Self::Token, Self::Human, Self::Operator, Self::Asserted, Self::Outside];

    /// The spelling on the wire and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Token => "token",
            Self::Human => "human",
            Self::Operator => "operator",
            Self::Asserted => "asserted",
            Self::Outside => "outside",
        }
    }

    /// The proof that is spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|proof| proof.as_str() == text)
    }
}

/// In words, for those who read a message: how its sender is known.
pub fn proof_words(proof: Option<Proof>, from_human: bool) -> &'static str {
    match (proof, from_human) {
        (Some(Proof::Process), _) => "verified by its process",
        (Some(Proof::Token), _) => "verified by its token",
        (Some(Proof::Human), _) => "the human operator, verified",
        (Some(Proof::Operator), true) => "in the human's name, not from a terminal",
        (Some(Proof::Operator), false) => "sent by the operator under this name",
        (Some(Proof::Asserted) | None, _) => "sender not verified",
        (Some(Proof::Outside), _) => "sender not verified, marshal did not write this line of its log",
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Id.
    pub id: MessageId,
    /// The sender: a session, or a human's mailbox.
    pub from_session_id: SessionId,
    /// The sender's name when it was sent.
    pub from_nick: Arc<str>,
    /// Whom it is for.
    pub to: Recipient,
    /// The recipient's name when it was sent.
    pub to_nick: Arc<str>,
    /// The text.
    pub body: Arc<str>,
    /// When it was sent.
    pub sent_at: i64,
    /// For a direct message: when its recipient read it, kept here once the receipt is gone because the recipient is,
    /// so that a resumed session does not get it again. Not in marshal 0.9, whose readers ignore it.
    pub read_at: Option<i64>,
    /// How its sender is known; none for a message of marshal 0.9, whose readers ignore it.
    pub proof: Option<Proof>,
    /// On what terms it was sent, if not on the usual ones. Not in marshal 0.9, whose readers ignore them.
    pub terms: Option<Box<Terms>>,
}

impl Message {
    /// How soon it wants to be read.
    pub fn priority(&self) -> Priority {
        self.terms.as_ref().map_or_else(Priority::default, |terms| terms.priority)
    }

    /// From when on nobody need read it any more.
    pub fn expires_at(&self) -> Option<i64> {
        self.terms.as_ref().and_then(|terms| terms.expires_at)
    }

    /// Whether marshal itself wrote it.
    pub fn is_notice(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.notice)
    }
}

/// The fact that one session has read one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRead {
    /// `<message id>::<session id>`.
    pub id: ReadId,
    /// The message.
    pub message_id: MessageId,
    /// The reader.
    pub session_id: SessionId,
    /// When.
    pub read_at: i64,
    /// By what that is known. Not in marshal 0.9, whose readers ignore it, as the next.
    pub evidence: Option<Evidence>,
    /// The way by which it got there, where that is known.
    pub path: Option<Path>,
}

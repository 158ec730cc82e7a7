//! Messages and read receipts. It must not know how they are delivered.

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
}

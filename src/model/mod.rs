//! The rows of the roster: sessions, rooms, memberships, messages, deliveries, read receipts, registrations, and what is left of sessions. Plain values without behaviour
//! beyond what their fields mean; they know neither JSON nor how they are stored. Timestamps are wall-clock
//! milliseconds since 1970 (UTC).

mod delivery;
mod departed;
mod message;
mod process;
mod registration;
mod room;
mod session;

pub use delivery::{Delivery, Evidence, Path, Paths, Priority, Reason, Step, Terms};
pub use departed::Departed;
pub use message::{Message, MessageRead, Proof, Recipient, proof_words};
pub use process::Process;
pub use registration::{Registration, TokenHash};
pub use room::{GROUP_PREFIX, ROOM_PREFIXES, Room, RoomKind, RoomMember};
pub use session::{Agent, Doing, Host, KnownBy, Presence, Session, State};

use std::sync::{Arc, OnceLock};

/// A row and the text form that was made of it, so that the log, the live queries and the HTTP answers share one
/// serialization. A changed row is a new `Stored`; the text of one never changes.
#[derive(Debug)]
pub struct Stored<R> {
    /// The row.
    pub row: R,
    text: OnceLock<Arc<str>>,
}

impl<R> Stored<R> {
    /// A row whose text has not been made yet.
    pub fn new(row: R) -> Arc<Self> {
        Arc::new(Self { row, text: OnceLock::new() })
    }

    /// The text of the row, made by `make` the first time.
    pub fn text(&self, make: impl FnOnce(&R) -> String) -> &Arc<str> {
        self.text.get_or_init(|| Arc::from(make(&self.row)))
    }
}

/// The types of rows, as they are spelled in the log and on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemType {
    /// A session.
    Session,
    /// A room.
    Room,
    /// A membership.
    RoomMember,
    /// A message.
    Message,
    /// A read receipt.
    MessageRead,
    /// A session's registration by token. Not in marshal 0.9; no client ever sees one.
    Registration,
    /// How far a message has got. Not in marshal 0.9; no client may state one.
    Delivery,
    /// A session that ended and left mail. Not in marshal 0.9; no client may state one.
    Departed,
}

impl ItemType {
    /// All types, parents before children: the order in which a snapshot can be applied.
    pub const ALL: [Self; 8] = [
        Self::Session,
        Self::Room,
        Self::RoomMember,
        Self::Message,
        Self::MessageRead,
        Self::Registration,
        Self::Delivery,
        Self::Departed,
    ];

    /// The spelling on the wire and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "Session",
            Self::Room => "Room",
            Self::RoomMember => "RoomMember",
            Self::Message => "Message",
            Self::MessageRead => "MessageRead",
            Self::Registration => "Registration",
            Self::Delivery => "Delivery",
            Self::Departed => "Departed",
        }
    }

    /// Whether clients may ask for rows of this type and state them.
    pub fn is_public(self) -> bool {
        !matches!(self, Self::Registration | Self::Delivery | Self::Departed)
    }

    /// The type that is spelled `text`, if it is one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|item_type| item_type.as_str() == text)
    }
}

/// A row of any type.
#[derive(Clone, Debug)]
pub enum Row {
    /// A session.
    Session(Arc<Stored<Session>>),
    /// A room.
    Room(Arc<Stored<Room>>),
    /// A membership.
    RoomMember(Arc<Stored<RoomMember>>),
    /// A message.
    Message(Arc<Stored<Message>>),
    /// A read receipt.
    MessageRead(Arc<Stored<MessageRead>>),
    /// A registration.
    Registration(Arc<Stored<Registration>>),
    /// How far a message has got.
    Delivery(Arc<Stored<Delivery>>),
    /// A session that ended and left mail.
    Departed(Arc<Stored<Departed>>),
}

impl Row {
    /// The row's type.
    pub fn item_type(&self) -> ItemType {
        match self {
            Self::Session(_) => ItemType::Session,
            Self::Room(_) => ItemType::Room,
            Self::RoomMember(_) => ItemType::RoomMember,
            Self::Message(_) => ItemType::Message,
            Self::MessageRead(_) => ItemType::MessageRead,
            Self::Registration(_) => ItemType::Registration,
            Self::Delivery(_) => ItemType::Delivery,
            Self::Departed(_) => ItemType::Departed,
        }
    }

    /// The row's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Session(stored) => stored.row.id.as_str(),
            Self::Room(stored) => stored.row.id.as_str(),
            Self::RoomMember(stored) => stored.row.id.as_str(),
            Self::Message(stored) => stored.row.id.as_str(),
            Self::MessageRead(stored) => stored.row.id.as_str(),
            Self::Registration(stored) => stored.row.id.as_str(),
            Self::Delivery(stored) => stored.row.id.as_str(),
            Self::Departed(stored) => stored.row.id.as_str(),
        }
    }

    /// Whether another row says the same.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Session(one), Self::Session(other)) => one.row == other.row,
            (Self::Room(one), Self::Room(other)) => one.row == other.row,
            (Self::RoomMember(one), Self::RoomMember(other)) => one.row == other.row,
            (Self::Message(one), Self::Message(other)) => one.row == other.row,
            (Self::MessageRead(one), Self::MessageRead(other)) => one.row == other.row,
            (Self::Registration(one), Self::Registration(other)) => one.row == other.row,
            (Self::Delivery(one), Self::Delivery(other)) => one.row == other.row,
            (Self::Departed(one), Self::Departed(other)) => one.row == other.row,
            _ => false,
        }
    }

    /// The row's id, shared and not copied.
    pub fn shared_id(&self) -> Arc<str> {
        match self {
            Self::Session(stored) => stored.row.id.shared(),
            Self::Room(stored) => stored.row.id.shared(),
            Self::RoomMember(stored) => stored.row.id.shared(),
            Self::Message(stored) => stored.row.id.shared(),
            Self::MessageRead(stored) => stored.row.id.shared(),
            Self::Registration(stored) => stored.row.id.shared(),
            Self::Delivery(stored) => stored.row.id.shared(),
            Self::Departed(stored) => stored.row.id.shared(),
        }
    }
}

impl From<Session> for Row {
    fn from(row: Session) -> Self {
        Self::Session(Stored::new(row))
    }
}

impl From<Room> for Row {
    fn from(row: Room) -> Self {
        Self::Room(Stored::new(row))
    }
}

impl From<RoomMember> for Row {
    fn from(row: RoomMember) -> Self {
        Self::RoomMember(Stored::new(row))
    }
}

impl From<Message> for Row {
    fn from(row: Message) -> Self {
        Self::Message(Stored::new(row))
    }
}

impl From<MessageRead> for Row {
    fn from(row: MessageRead) -> Self {
        Self::MessageRead(Stored::new(row))
    }
}

impl From<Registration> for Row {
    fn from(row: Registration) -> Self {
        Self::Registration(Stored::new(row))
    }
}

impl From<Delivery> for Row {
    fn from(row: Delivery) -> Self {
        Self::Delivery(Stored::new(row))
    }
}

impl From<Departed> for Row {
    fn from(row: Departed) -> Self {
        Self::Departed(Stored::new(row))
    }
}

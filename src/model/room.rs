//! Rooms and who is in them. It must not decide who belongs where; that is the roster's business.

use crate::ids::{MemberId, RoomId, SessionId};
use std::sync::Arc;

/// What the id of a group's room begins with.
pub const GROUP_PREFIX: &str = "group:";

/// Begin the ids of automatic rooms: such an address means a room, with `@` before it or not.
pub const ROOM_PREFIXES: [&str; 4] = ["op:", "project:", "host:", GROUP_PREFIX];

/// Why a room exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoomKind {
    /// Somebody made it by joining it.
    AdHoc,
    /// Every session is in it.
    Everyone,
    /// The sessions of one machine.
    Host(Arc<str>),
    /// The sessions of one human.
    Operator(Arc<str>),
    /// The sessions of one project.
    Project(Arc<str>),
    /// The sessions of one group, as they said when they were registered. Not in marshal 0.9, for which it is an ad-hoc room.
    Group(Arc<str>),
}

impl RoomKind {
    /// The id, and name, of an automatic room; none for an ad-hoc one.
    pub fn auto_id(&self) -> Option<RoomId> {
        match self {
            Self::AdHoc => None,
            Self::Everyone => Some(RoomId::from("everyone")),
            Self::Host(name) => Some(RoomId::from(format!("host:{name}"))),
            Self::Operator(name) => Some(RoomId::from(format!("op:{name}"))),
            Self::Project(name) => Some(RoomId::from(format!("project:{name}"))),
            Self::Group(name) => Some(RoomId::from(format!("{GROUP_PREFIX}{name}"))),
        }
    }

    /// Whether membership follows from identity rather than from joining.
    pub fn is_auto(&self) -> bool {
        !matches!(self, Self::AdHoc)
    }
}

/// A room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Id; equal to the name for automatic rooms, the name's slug for ad-hoc ones.
    pub id: RoomId,
    /// Display name.
    pub name: Arc<str>,
    /// What it is for.
    pub description: Option<Arc<str>>,
    /// Why it exists.
    pub kind: RoomKind,
    /// When it was made.
    pub created_at: i64,
}

/// One session's membership of one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomMember {
    /// `<room id>::<session id>`.
    pub id: MemberId,
    /// The room.
    pub room_id: RoomId,
    /// The session.
    pub session_id: SessionId,
    /// When it joined. Messages sent to the room before are not for it.
    pub joined_at: i64,
}

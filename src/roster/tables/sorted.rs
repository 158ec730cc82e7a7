//! Rows sorted by type before they are loaded. It must not know their indexes.

use super::Placed;
use crate::model::{Delivery, Departed, Message, MessageRead, Registration, Room, RoomMember, Row, Session, Stored};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows that are about to be loaded.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) sessions: Vec<(u64, Arc<Stored<Session>>)>,
    pub(super) rooms: Vec<(u64, Arc<Stored<Room>>)>,
    pub(super) members: Vec<(u64, Arc<Stored<RoomMember>>)>,
    pub(super) messages: Vec<(u64, Arc<Stored<Message>>)>,
    pub(super) reads: Vec<(u64, Arc<Stored<MessageRead>>)>,
    pub(super) registrations: Vec<(u64, Arc<Stored<Registration>>)>,
    pub(super) deliveries: Vec<(u64, Arc<Stored<Delivery>>)>,
    pub(super) departed: Vec<(u64, Arc<Stored<Departed>>)>,
}

impl Sorted {
    /// The rows by type, with their places from `next` on, and the place after the last.
    pub(super) fn new(rows: &[Row], next: u64) -> (Self, u64) {
        let mut sorted = Self::default();
        for (place, row) in (next..).zip(rows) {
            match row {
                Row::Session(stored) => sorted.sessions.push((place, stored.clone())),
                Row::Room(stored) => sorted.rooms.push((place, stored.clone())),
                Row::RoomMember(stored) => sorted.members.push((place, stored.clone())),
                Row::Message(stored) => sorted.messages.push((place, stored.clone())),
                Row::MessageRead(stored) => sorted.reads.push((place, stored.clone())),
                Row::Registration(stored) => sorted.registrations.push((place, stored.clone())),
                Row::Delivery(stored) => sorted.deliveries.push((place, stored.clone())),
                Row::Departed(stored) => sorted.departed.push((place, stored.clone())),
            }
        }
        (sorted, next + rows.len() as u64)
    }
}

pub(super) fn by_id<I: Ord, R>(rows: &[(u64, Arc<Stored<R>>)], id: impl Fn(&R) -> I) -> BTreeMap<I, Placed<R>> {
    rows.iter().map(|(place, stored)| (id(&stored.row), Placed { stored: stored.clone(), place: *place })).collect()
}

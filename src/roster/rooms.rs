//! Rooms: automatic ones that follow from a session's identity, and ad-hoc ones that sessions join and leave. It must
//! not leave an empty room behind, but for `everyone`.

use super::{Answer, Caller, Handled, Reply, RoomView, Roster, Wait, validate};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{HUMAN_PREFIX, MemberId, RoomId, SessionId};
use crate::limits::{ROOMS_PER_SESSION_MAX, TEXT_BYTES_MAX};
use crate::model::{ItemType, ROOM_PREFIXES, Room, RoomKind, RoomMember, Session};
use crate::text::nfc;
use std::sync::Arc;

/// The id of an ad-hoc room: ASCII letters and digits in lower case, every other run of characters one dash.
pub(super) fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// The automatic rooms that a session belongs to.
fn rooms_for(session: &Session) -> Vec<RoomKind> {
    let filled = |text: &Option<Arc<str>>| text.clone().filter(|text| !text.is_empty());
    let mut kinds = vec![RoomKind::Everyone];
    let host = session.host.as_ref().map(|host| host.name.clone());
    kinds.extend(filled(&host).map(RoomKind::Host));
    kinds.extend(filled(&session.operator).map(RoomKind::Operator));
    kinds.extend(filled(&session.project).map(RoomKind::Project));
    kinds.extend(super::groups::all_of(&session.groups).into_iter().map(RoomKind::Group));
    kinds
}

impl Roster {
    /// [`Roster::follow_identity`] for a session that may be gone.
    pub(super) fn follow_identity_of(&mut self, session: &SessionId) {
        if let Some(stored) = self.tables.sessions.get(session).map(|placed| placed.stored.clone()) {
            self.follow_identity(&stored.row);
        }
    }

    /// Makes a session's automatic memberships those that its identity asks for. A membership of a room that is not
    /// there goes too.
    pub(super) fn follow_identity(&mut self, session: &Session) {
        let wanted: Vec<(RoomId, RoomKind)> =
            rooms_for(session).into_iter().filter_map(|kind| Some((kind.auto_id()?, kind))).collect();
        let current: Vec<RoomId> =
            self.tables.rooms_of.get(&session.id).into_iter().flatten().map(|(r, _)| r.clone()).collect();
        for room in current {
            let joined = self.tables.rooms.get(&room).is_some_and(|placed| !placed.stored.row.kind.is_auto());
            if !joined && !wanted.iter().any(|(id, _)| *id == room) {
                // It has not left by its own wish: what was sent there while it was in it is for it, unless an outsider is
                // just taking the room itself away.
                if self.tables.rooms.contains_key(&room) || !self.tables.outside {
                    self.keep_room_mail(&session.id, Some(&room));
                }
                self.remove_member(&room, &session.id);
            }
        }
        for (id, kind) in wanted {
            if !self.tables.rooms.contains_key(&id) {
                let (name, created_at) = (Arc::from(id.as_str()), self.tables.now.wall_ms);
                self.tables.set(Room { id: id.clone(), name, description: None, kind, created_at });
            }
            self.add_member(&id, &session.id);
        }
    }

    fn add_member(&mut self, room: &RoomId, session: &SessionId) {
        if self.tables.members_of.get(room).is_some_and(|members| members.contains_key(session)) {
            return;
        }
        let id = MemberId::of(room, session);
        let joined_at = self.tables.now.wall_ms;
        self.tables.set(RoomMember { id, room_id: room.clone(), session_id: session.clone(), joined_at });
    }

    /// Takes a session out of a room, and the room away if that leaves it empty. Says whether it was in it.
    pub(super) fn remove_member(&mut self, room: &RoomId, session: &SessionId) -> bool {
        let id = self.tables.members_of.get(room).and_then(|members| members.get(session)).cloned();
        let Some(id) = id else { return false };
        self.tables.delete(ItemType::RoomMember, id.as_str());
        self.remove_room_if_empty(room);
        true
    }

    pub(super) fn remove_room_if_empty(&mut self, room: &RoomId) {
        let empty = !self.tables.members_of.contains_key(room);
        let everyone = self.tables.rooms.get(room).is_some_and(|placed| placed.stored.row.kind == RoomKind::Everyone);
        if empty && !everyone {
            self.tables.delete(ItemType::Room, room.as_str());
        }
    }

    pub(super) fn join_room(&mut self, caller: &Caller, name: &str, description: Option<&str>) -> Handled {
        let session = self.speaker_in_turn(caller)?.id;
        if session.is_human() {
            return Err(RequestError::new(
                ErrorKind::Refused,
                "only sessions join rooms; a human can send to any room",
            ));
        }
        validate::name("the room's name", name)?;
        if let Some(text) = description {
            validate::bounded("the room's description", text, TEXT_BYTES_MAX)?;
        }
        let name = &*nfc(name);
        let trimmed = name.trim();
        let reserved = ROOM_PREFIXES.iter().chain([&HUMAN_PREFIX]).any(|prefix| trimmed.starts_with(*prefix));
        if reserved || slug(trimmed) == "everyone" {
            let message = format!("'{name}' is reserved for auto-rooms; pick a different name");
            return Err(RequestError::new(ErrorKind::Refused, message));
        }
        let existing = self.find_room(trimmed).map(|room| room.row.id.clone());
        if existing.is_none() && self.tables.rooms.contains_key(super::groups::room_id(trimmed).as_str()) {
            let message = format!("'{name}' is a group, which @{name} means; pick a different name");
            return Err(RequestError::new(ErrorKind::Refused, message));
        }
        self.room_for_one_more(&session, existing.as_ref())?;
        let created = existing.is_none();
        let id = match existing {
            Some(id) => id,
            None => self.create_room(trimmed, description)?,
        };
        self.add_member(&id, &session);
        self.note_caller(&session);
        let Some(placed) = self.tables.rooms.get(&id) else {
            return Err(RequestError::not_found(format!("no room matching '{name}'")));
        };
        Ok(Answer::new(Reply::Joined { room: placed.stored.clone(), created }, Wait::Batch))
    }

    /// Whether `session` may be in one ad-hoc room more, unless it is in that one already.
    fn room_for_one_more(&self, session: &SessionId, room: Option<&RoomId>) -> Result<(), RequestError> {
        let Some(rooms) = self.tables.rooms_of.get(session) else { return Ok(()) };
        let is_ad_hoc = |id: &RoomId| self.tables.rooms.get(id).is_some_and(|p| !p.stored.row.kind.is_auto());
        let member = room.is_some_and(|room| rooms.contains_key(room));
        if !member && rooms.keys().filter(|id| is_ad_hoc(id)).count() >= ROOMS_PER_SESSION_MAX {
            let message = format!("a session can be in at most {ROOMS_PER_SESSION_MAX} rooms; leave one first");
            return Err(RequestError::new(ErrorKind::Refused, message));
        }
        Ok(())
    }

    fn create_room(&mut self, name: &str, description: Option<&str>) -> Result<RoomId, RequestError> {
        let slug = slug(name);
        if slug.is_empty() {
            let message = format!("'{name}' has no ASCII letter or digit to make a room id of; pick a different name");
            return Err(RequestError::invalid(message));
        }
        let id = RoomId::from(slug);
        self.tables.set(Room {
            id: id.clone(),
            name: Arc::from(name),
            description: description.filter(|text| !text.is_empty()).map(Arc::from),
            kind: RoomKind::AdHoc,
            created_at: self.tables.now.wall_ms,
        });
        Ok(id)
    }

    pub(super) fn leave_room(&mut self, caller: &Caller, room: &str) -> Handled {
        let session = self.speaker(caller)?.id;
        let found = self.room_asked_for(room)?.row.clone();
        if found.kind.is_auto() {
            let message = format!(
                "room '{}' is an auto-room ({:?}); membership is derived from your session's identity",
                found.id, found.kind
            );
            return Err(RequestError::new(ErrorKind::Refused, message));
        }
        let is_member = self.tables.members_of.get(&found.id).is_some_and(|members| members.contains_key(&session));
        if is_member {
            self.decline_room_mail(&session, &found.id);
        }
        let left = self.remove_member(&found.id, &session);
        self.note_caller(&session);
        Ok(Answer::new(Reply::Left { room: found.id, left }, Wait::Batch))
    }

    pub(super) fn list_rooms(&self) -> Answer {
        let tables = &self.tables;
        let view = |room: &super::tables::Placed<Room>| {
            let ids = tables.members_of.get(&room.stored.row.id).into_iter().flatten();
            let members = ids.filter_map(|(session, id)| {
                let member = tables.members.get(id)?.stored.clone();
                let nickname = tables.sessions.get(session).map_or(Arc::from("?"), |s| s.stored.row.nickname.clone());
                Some((member, nickname))
            });
            RoomView { room: room.stored.clone(), members: members.collect() }
        };
        Answer::new(Reply::Rooms(tables.rooms.values().map(view).collect()), Wait::Batch)
    }
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn slugs_are_spelled_as_marshal_0_9_did() {
        let slugs = ["Design Chat", "  a--B  c! ", "日本", "x", "C++ & Rust"].map(slug);
        assert_eq!(slugs, ["design-chat", "a-b-c", "", "x", "c-rust"]);
    }
}

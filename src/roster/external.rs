//! Events that somebody else put into the log: applied as if emitted here, and not written back. What follows from them
//! (rooms, a unique nickname, cascades) is ours and is written.

use super::{Answer, ExternalEvent, Reply, Roster, Wait};
use crate::ids::SessionId;
use crate::model::{ItemType, Row, Session};

impl Roster {
    pub(super) fn external(&mut self, events: Vec<ExternalEvent>) -> Answer {
        for event in events {
            match event {
                ExternalEvent::Set(Row::Session(stored)) => self.external_session(stored.row.clone()),
                ExternalEvent::Set(row) => {
                    self.suspect(&row);
                    self.note_dirty(&row);
                    self.set_external(row);
                }
                ExternalEvent::Delete(item_type, id) => self.external_delete(item_type, &id),
            }
        }
        Answer::new(Reply::Done, Wait::Batch)
    }

    fn set_external(&mut self, row: Row) {
        self.tables.persist = false;
        self.tables.set(row);
        self.tables.persist = true;
    }

    /// A session whose client is connected here stays bound to it, whatever an older line says.
    fn external_session(&mut self, mut row: Session) {
        if let Some(prior) = self.tables.sessions.get(&row.id) {
            let prior = &prior.stored.row;
            if prior.client_id.as_ref().is_some_and(|client| self.tables.presence.is_connected(client)) {
                row.client_id = prior.client_id.clone();
            }
            row.last_activity_at = row.last_activity_at.max(prior.last_activity_at);
            row.hooks |= prior.hooks;
            if row.nickname.is_empty() {
                row.nickname = prior.nickname.clone();
            }
        }
        self.set_external(row.clone().into());
        let wanted = if row.nickname.is_empty() {
            super::sessions::default_nickname(&row.cwd, &row.id)
        } else {
            row.nickname.to_string()
        };
        let nickname = self.tables.nicknames.free(&wanted, &row.id);
        if nickname == row.nickname {
            self.follow_identity(&row);
        } else {
            row.nickname = nickname;
            self.set_session(row.clone());
        }
        self.dirty.insert(row.id);
    }

    fn external_delete(&mut self, item_type: ItemType, id: &str) {
        if item_type == ItemType::Session {
            self.remove_session(&SessionId::from(id));
            return;
        }
        if let Some(row) = self.tables.row(item_type, id) {
            self.note_dirty(&row);
            if let Row::RoomMember(stored) = &row {
                self.suspects.insert((ItemType::Room, stored.row.room_id.to_string()));
            }
        }
        self.tables.persist = false;
        self.tables.delete(item_type, id);
        self.tables.persist = true;
    }

    fn note_dirty(&mut self, row: &Row) {
        match row {
            Row::RoomMember(stored) => drop(self.dirty.insert(stored.row.session_id.clone())),
            Row::MessageRead(stored) => drop(self.dirty.insert(stored.row.session_id.clone())),
            _ => {}
        }
    }
}

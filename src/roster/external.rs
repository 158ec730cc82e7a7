//! Events that somebody else put into the log: applied as if emitted here, and not written back. What follows from them
//! (rooms, a unique nickname, cascades) is ours and is written.

use super::nickname::clean_nickname;
use super::{Answer, At, ExternalEvent, Gone, Reply, Roster, Wait, validate};
use crate::ids::{ClientId, MessageId, RoomId, SessionId};
use crate::model::{Doing, ItemType, Row, Session};

impl Roster {
    pub(super) fn external(&mut self, events: Vec<ExternalEvent>) -> Answer {
        self.tables.outside = true;
        for event in events {
            match event {
                ExternalEvent::Set(row, _) if !validate::is_sound(&row) => {}
                ExternalEvent::Set(row, at) if self.is_known(&row, at.as_ref()) => {}
                ExternalEvent::Set(Row::Session(stored), at) => self.external_session(stored.row.clone(), at),
                ExternalEvent::Set(row, at) => {
                    self.suspect(&row);
                    self.note_dirty(&row);
                    self.set_external(row, at);
                }
                ExternalEvent::Delete(item_type, id) => {
                    if item_type == ItemType::Message {
                        let answered = self.answered_by_what_goes(&id);
                        self.answered.extend(answered);
                    }
                    self.external_delete(item_type, &id);
                }
            }
        }
        self.tables.outside = false;
        Answer::new(Reply::Done, Wait::Batch)
    }

    /// Takes a row as the log has it. If that is not where it was shown before, the log learns so: somebody may have taken
    /// a line of ours out of it, behind which the row stood.
    fn set_external(&mut self, row: Row, at: Option<At>) {
        let place = self.tables.placed(row.item_type(), row.id()).map(|(_, place)| place);
        let is_elsewhere = |at: &At| !at.is_given() && place.is_some_and(|place| !at.alike.contains(&place));
        let is_elsewhere = at.as_ref().is_some_and(is_elsewhere);
        self.tables.persist = false;
        self.tables.set_at(row.clone(), at);
        self.tables.persist = true;
        if is_elsewhere {
            self.tables.set(row);
        }
    }

    /// Whether a row says nothing new: a log that is read again holds hundreds of thousands of such rows. What the log
    /// tells of a session's signs of life is older than what is known of them.
    fn is_known(&self, row: &Row, at: Option<&At>) -> bool {
        let Some((known, place)) = self.tables.placed(row.item_type(), row.id()) else { return false };
        let is_in_place = at.is_none_or(|at| at.alike.contains(&place));
        is_in_place
            && match (&known, row) {
                (Row::Session(known), Row::Session(told)) => is_same_session(&known.row, &told.row),
                _ => known.is_same(row),
            }
    }

    /// A session whose client is connected here stays bound to it, whatever an older line says. Where the row is not
    /// what the line says, the log learns so.
    fn external_session(&mut self, mut row: Session, at: Option<At>) {
        let told = row.clone();
        let is_connected = |client: &ClientId| self.tables.presence.is_connected(client);
        // No line makes a client that is here speak for a session: it has to state that itself.
        row.client_id = row.client_id.filter(|client| !is_connected(client));
        if let Some(prior) = self.tables.sessions.get(&row.id) {
            let prior = &prior.stored.row;
            if prior.client_id.as_ref().is_some_and(is_connected) {
                row.client_id = prior.client_id.clone();
            }
            row.last_activity_at = row.last_activity_at.max(prior.last_activity_at);
            row.hooks |= prior.hooks;
            // The process that it is known to live in is not an older line's to change.
            row.process = prior.process.clone().or(row.process);
            if row.nickname.is_empty() {
                row.nickname = prior.nickname.clone();
            }
        }
        self.set_external(row.clone().into(), at);
        self.tables.delete(ItemType::Departed, row.id.as_str());
        row.nickname = self.nickname_for(&clean_nickname(&row.nickname), &row.cwd, &row.id);
        if (Session { last_activity_at: told.last_activity_at, ..row.clone() }) == told {
            self.follow_identity(&row);
        } else {
            self.set_session(row.clone());
        }
        // A name that has become another one's id would mean two.
        let namesakes: Vec<SessionId> = self.tables.nicknames.holders(row.id.as_str()).cloned().collect();
        namesakes.iter().filter(|other| **other != row.id).for_each(|other| self.settle_session(other));
        self.dirty.insert(row.id);
    }

    fn external_delete(&mut self, item_type: ItemType, id: &str) {
        if item_type == ItemType::Session {
            self.remove_session(&SessionId::from(id), Gone::Outside);
            return;
        }
        let Some(row) = self.tables.row(item_type, id) else { return };
        self.note_dirty(&row);
        // That a session ended may have been noted just now, for a line before this one: behind both in the log.
        self.tables.persist = item_type == ItemType::Departed;
        self.tables.delete(item_type, id);
        self.tables.persist = true;
        match row {
            Row::Room(stored) => self.without_room(&stored.row.id),
            Row::RoomMember(stored) => {
                self.suspects.insert((ItemType::Room, stored.row.room_id.shared()));
                self.follow_identity_of(&stored.row.session_id);
            }
            Row::Message(_) => self.remove_receipts(&MessageId::from(id)),
            Row::Session(_) | Row::MessageRead(_) | Row::Registration(_) | Row::Delivery(_) | Row::Departed(_) => {}
        }
    }

    /// An outsider deleted a room: its members leave, unless it is automatic and there again for those whose identity
    /// asks for it.
    fn without_room(&mut self, room: &RoomId) {
        let members: Vec<SessionId> =
            self.tables.members_of.get(room).into_iter().flatten().map(|(session, _)| session.clone()).collect();
        for session in members {
            if self.tables.sessions.contains_key(&session) {
                self.follow_identity_of(&session);
            } else {
                self.remove_member(room, &session);
            }
        }
    }

    /// An outsider is about to delete a message: the one that it shows to be answered. That an answer came stays true, but for
    /// an asker who was to get it and never could: that one still waits, and is to be told that it waits in vain.
    fn answered_by_what_goes(&self, message: &str) -> Option<MessageId> {
        let placed = self.tables.messages.get(message)?;
        let question = self.question_of(&placed.stored.row)?;
        let asker = self.tables.threads.expects_from_others(question)?;
        let is_unseen = self.tables.mail.is_unread(placed.place, asker)
            && self.delivery_to(&placed.stored.row, placed.place, asker.clone()).times == 0;
        (!is_unseen).then(|| question.clone())
    }

    fn note_dirty(&mut self, row: &Row) {
        match row {
            Row::RoomMember(stored) => drop(self.dirty.insert(stored.row.session_id.clone())),
            Row::MessageRead(stored) => drop(self.dirty.insert(stored.row.session_id.clone())),
            Row::Delivery(stored) => drop(self.dirty.insert(stored.row.session_id.clone())),
            _ => {}
        }
    }
}

/// Whether a line tells no more of a session than is known: it may be older in its signs of life.
fn is_same_session(known: &Session, told: &Session) -> bool {
    let quiet = |row: &Session| Session {
        last_activity_at: None,
        last_tool: None,
        last_tool_at: None,
        doing: Doing::default(),
        ..row.clone()
    };
    told.last_activity_at <= known.last_activity_at && quiet(told) == quiet(known)
}

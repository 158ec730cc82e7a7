//! What time takes away: sessions that are gone, messages that are old, rows that hang on nothing. Bounded in each turn;
//! it must not remove anything whose owner still shows signs of life.

use super::{Answer, Gone, Reply, Roster, Wait};
use crate::ids::{IdSource, MessageId, ReadId, SessionId};
use crate::limits::{
    CLOCK_BELIEVED_AFTER_MS, CLOCK_LEAP_AT_START_MAX_MS, CLOCK_LEAP_MAX_MS, CLOCK_SETTLES_AFTER_MS,
    READ_MESSAGE_AGE_MAX_MS, SWEEP_ROWS_MAX, UNREAD_MESSAGE_AGE_MAX_MS,
};
use crate::model::{ItemType, Row};
use crate::time::Now;

/// Whether a row from outside may lack something: a message may outlive its sender.
pub(super) fn can_be_suspect(row: &Row) -> bool {
    !matches!(row, Row::Message(_))
}

impl Roster {
    pub(super) fn sweep(&mut self, settled: bool, ids: &mut dyn IdSource) -> Answer {
        let now = self.tables.now;
        let begun_at = self.tables.journal().len();
        // One session can take many rows with it: what counts is what has changed, not how many are looked at.
        let is_full = |roster: &Self| roster.tables.journal().len() - begun_at >= SWEEP_ROWS_MAX;
        for session in self.tables.renewals.old(now, SWEEP_ROWS_MAX) {
            if is_full(self) {
                break;
            }
            self.check_registration(&session);
        }
        for session in self.tables.presence.lost(now, SWEEP_ROWS_MAX) {
            if is_full(self) {
                break;
            }
            let Some(placed) = self.tables.sessions.get(&session) else {
                continue;
            };
            let row = placed.stored.row.clone();
            self.lose_client(row, Gone::ClientLost);
        }
        for session in self.tables.presence.silent(now, SWEEP_ROWS_MAX) {
            if is_full(self) {
                break;
            }
            self.remove_session(&session, Gone::Silent);
        }
        self.doubt_the_silent(is_full);
        self.tables.pushes.sweep(now.mono_ms);
        self.bound_kept(is_full);
        self.watch_clock(now);
        if settled {
            self.note_what_was_answered();
        }
        if now.mono_ms >= self.settle_from {
            self.expire(ids, is_full);
            self.end_unclaimed(ids, is_full);
            self.miss_replies(ids, is_full);
        }
        let (read_before, unread_before) =
            (now.wall_ms - READ_MESSAGE_AGE_MAX_MS, now.wall_ms - UNREAD_MESSAGE_AGE_MAX_MS);
        let at_most = if now.mono_ms < self.believe_clock_from { 0 } else { SWEEP_ROWS_MAX };
        for message in self.tables.mail.over(read_before, unread_before, at_most) {
            if is_full(self) {
                break;
            }
            if !self.ends_unread(&message, ids) {
                self.remove_message(&message);
            }
        }
        for _ in 0..SWEEP_ROWS_MAX {
            if !settled || is_full(self) {
                break;
            }
            let Some((item_type, id)) = self.suspects.pop_first() else {
                break;
            };
            self.check_suspect(item_type, &id);
            self.checked.push((item_type, id));
        }
        self.tables.show_activity();
        Answer::new(Reply::Done, Wait::Batch)
    }

    /// A wall clock that has leapt ahead of the monotonic one may be wrong: nobody's mail is deleted on its word until it
    /// has stood for a while.
    fn watch_clock(&mut self, now: Now) {
        let leapt = |last: Now| (now.wall_ms - last.wall_ms) - (now.mono_ms - last.mono_ms) > CLOCK_LEAP_MAX_MS;
        if self.last_sweep.is_some_and(leapt) {
            self.believe_clock_from = now.mono_ms + CLOCK_BELIEVED_AFTER_MS;
            // A machine that has slept is not wrong for long; and what is settled is still there to be looked at.
            self.settle_from = now.mono_ms + CLOCK_SETTLES_AFTER_MS;
        }
        self.last_sweep = Some(now);
    }

    /// The moment by which the rows of a log are judged old at a start. A daemon that starts long after its log was last
    /// written to has been away, or has a wrong clock. Rows are then as old as they were at the last line, and nothing
    /// is decided for good before the clock has stood for a while.
    pub(super) fn clock_at_start(&mut self, written_at: Option<i64>, now: Now) -> Now {
        let Some(written_at) = written_at else { return now };
        let away_ms = now.wall_ms.saturating_sub(written_at);
        if away_ms.abs() <= CLOCK_LEAP_MAX_MS {
            return now;
        }
        // A night does not keep a laptop from ever deleting anything; a clock that is wrong by days ends nobody's mail.
        let is_far = away_ms.abs() > CLOCK_LEAP_AT_START_MAX_MS;
        self.settle_from = now.mono_ms + if is_far { CLOCK_BELIEVED_AFTER_MS } else { CLOCK_SETTLES_AFTER_MS };
        if is_far {
            self.believe_clock_from = self.settle_from;
        }
        Now { wall_ms: now.wall_ms.min(written_at), ..now }
    }

    /// Deletes a message with its receipts, but for what it shows of another one.
    fn remove_message(&mut self, message: &MessageId) {
        self.note_answered(message);
        let awaiting = self.awaiting(message);
        self.remove_receipts(message);
        self.tables.delete(ItemType::Message, message.as_str());
        awaiting.iter().for_each(|session| self.forget_departed(session));
    }

    /// Deletes what hangs on a message.
    pub(super) fn remove_receipts(&mut self, message: &MessageId) {
        for session in self.tables.delivered_to(message) {
            self.tables.delete(ItemType::Delivery, ReadId::of(message, &session).as_str());
        }
        let reads: Vec<ReadId> = self.tables.receipts(message).cloned().collect();
        for read in reads {
            self.tables.delete(ItemType::MessageRead, read.as_str());
        }
    }

    /// Notes a row from outside that may lack something.
    pub(super) fn suspect(&mut self, row: &Row) {
        if can_be_suspect(row) {
            self.suspects.insert((row.item_type(), row.shared_id()));
        }
    }

    fn check_suspect(&mut self, item_type: ItemType, id: &str) {
        let tables = &self.tables;
        match item_type {
            ItemType::Room => self.remove_room_if_empty(&crate::ids::RoomId::from(id)),
            ItemType::RoomMember => {
                let Some(member) = tables.members.get(id).map(|placed| placed.stored.row.clone()) else {
                    return;
                };
                if !tables.sessions.contains_key(&member.session_id) {
                    self.tables.delete(ItemType::RoomMember, id);
                    self.remove_room_if_empty(&member.room_id);
                } else if !tables.rooms.contains_key(&member.room_id) {
                    self.follow_identity_of(&member.session_id);
                }
            }
            ItemType::MessageRead => {
                let Some(read) = tables.reads.get(id).map(|placed| placed.stored.row.clone()) else {
                    return;
                };
                let reader = tables.sessions.contains_key(&read.session_id) || read.session_id.is_human();
                if !reader || !tables.messages.contains_key(&read.message_id) {
                    self.remove_read(id, true);
                }
            }
            ItemType::Delivery => {
                let message = tables.deliveries.get(id).map(|placed| placed.stored.row.message_id.clone());
                if message.is_some_and(|message| !tables.messages.contains_key(&message)) {
                    self.tables.delete(ItemType::Delivery, id);
                }
            }
            ItemType::Registration => {
                if !tables.sessions.contains_key(id) {
                    self.tables.delete(ItemType::Registration, id);
                }
            }
            ItemType::Session => self.settle_session(&SessionId::from(id)),
            ItemType::Departed => self.check_departed(&SessionId::from(id)),
            ItemType::Message => {}
        }
    }
}

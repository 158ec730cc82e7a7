//! Pushing messages to connected clients: to whom, what waits until a turn is over, and what comes again for a client that
//! was away. Nothing of it is written down: that a message was pushed says nothing of whether it was read.

use super::turn::InTurn;
use super::volatile::Volatile;
use super::{Answer, Push, Roster};
use crate::ids::{ClientId, MessageId, SessionId};
use crate::limits::{PUSH_AGAIN_AGE_MAX_MS, PUSH_AGAIN_MAX, PUSHES_HELD_MAX};
use crate::model::{Message, Priority, Recipient, Stored};
use crate::time::MonoMs;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What is known of pushes.
#[derive(Debug, Default)]
pub(crate) struct Pushes {
    /// Messages that wait for the end of a session's turn, by their places; of more than there is room for the newest.
    held: Volatile<SessionId, VecDeque<u64>>,
    /// Sessions whose turn is over and for whom something is held.
    ready: Volatile<SessionId, ()>,
    /// Sessions whose client went, with the place that the next row had then: what came before it was pushed.
    away: BTreeMap<SessionId, Away>,
    /// The same by that moment.
    away_since: BTreeSet<(MonoMs, SessionId)>,
    /// The place of the first row that this run of the daemon adds.
    run_from_place: u64,
}

#[derive(Clone, Copy, Debug)]
struct Away {
    since: MonoMs,
    from_place: u64,
}

impl Pushes {
    /// What comes from this place on comes in this run of the daemon.
    pub(crate) fn begin_run(&mut self, from_place: u64) {
        self.run_from_place = from_place;
    }

    fn hold(&mut self, session: &SessionId, place: u64) {
        let mut held = self.held.get(session).cloned().unwrap_or_default();
        if held.len() == PUSHES_HELD_MAX {
            held.pop_front();
        }
        if held.contains(&place) {
            return;
        }
        held.push_back(place);
        self.held.insert(session.clone(), held);
    }

    /// Whether a message waits for the end of a session's turn, and was not pushed yet.
    pub(crate) fn is_held(&self, session: &SessionId, place: u64) -> bool {
        self.held.get(session).is_some_and(|places| places.contains(&place))
    }

    /// A session's turn is over.
    pub(crate) fn turn_over(&mut self, session: &SessionId) {
        if self.held.contains_key(session) {
            self.ready.insert(session.clone(), ());
        }
    }

    /// How many changes the batch has made.
    pub(crate) fn mark(&self) -> [usize; 2] {
        [self.held.mark(), self.ready.mark()]
    }

    /// Takes back what a batch that was not pushed has let out, held and forgotten.
    pub(crate) fn undo_to(&mut self, [held, ready]: [usize; 2]) {
        self.held.undo_to(held);
        self.ready.undo_to(ready);
    }

    /// The batch is on disk: what it lets out is on its way.
    pub(crate) fn commit(&mut self) {
        self.held.commit();
        self.ready.commit();
    }

    /// A session is gone. When its client went stays known: it may come back.
    pub(crate) fn forget(&mut self, session: &SessionId) {
        self.held.remove(session);
        self.ready.remove(session);
    }

    /// A session's client went.
    pub(crate) fn note_away(&mut self, session: &SessionId, from_place: u64, now: MonoMs) {
        self.note_back(session);
        self.away.insert(session.clone(), Away { since: now, from_place });
        self.away_since.insert((now, session.clone()));
    }

    fn note_back(&mut self, session: &SessionId) -> Option<u64> {
        let away = self.away.remove(session)?;
        self.away_since.remove(&(away.since, session.clone()));
        Some(away.from_place)
    }

    /// Forgets those who have been away for too long to be pushed anything again.
    pub(crate) fn sweep(&mut self, now: MonoMs) {
        while self.away_since.first().is_some_and(|(since, _)| now - *since > PUSH_AGAIN_AGE_MAX_MS) {
            let Some((_, session)) = self.away_since.pop_first() else { break };
            self.away.remove(&session);
        }
    }
}

/// How a session hears of a message at once.
struct LivePath {
    client: ClientId,
    /// Whether the client puts pushed messages before the model itself, so that one that is written to it is read.
    shows_pushes: bool,
}

impl Roster {
    /// Whether what is for a session is pushed to a client of its.
    pub(super) fn has_live_path(&self, session: &SessionId) -> bool {
        self.live_path(session).is_some()
    }

    /// The client to push to. A session with hooks gets its mail in their answers; pushing it too would show it twice,
    /// unless its shim has said that pushes reach the model, in which case the push counts as the handover.
    fn live_path(&self, session: &SessionId) -> Option<LivePath> {
        let row = &self.tables.sessions.get(session)?.stored.row;
        let client = row.client_id.clone().filter(|client| self.tables.presence.is_connected(client))?;
        let shows_pushes = row.channels_enabled == Some(true);
        (!row.hooks || shows_pushes).then_some(LivePath { client, shows_pushes: row.hooks && shows_pushes })
    }

    /// The push of a new message to one of its recipients, if there is a client to push to. In the middle of a turn only
    /// what is urgent is pushed; the rest waits for its end.
    pub(super) fn push_new(&mut self, session: &SessionId, message: &Arc<Stored<Message>>) -> Option<Push> {
        let path = self.live_path(session)?;
        let waits = message.row.priority() < Priority::Now && self.in_turn(session) != InTurn::No;
        // Not before those that have waited and go with this batch.
        if waits || self.tables.pushes.ready.contains_key(session) {
            let place = self.tables.messages.get(&message.row.id)?.place;
            self.tables.pushes.hold(session, place);
            return None;
        }
        Some(self.push(path, session, message, false))
    }

    fn push(&self, path: LivePath, session: &SessionId, message: &Arc<Stored<Message>>, repeat: bool) -> Push {
        let room_name = match &message.row.to {
            Recipient::Room(_) => Some(message.row.to_nick.clone()),
            Recipient::Session(_) => None,
        };
        let read_when_written = path.shows_pushes.then(|| session.clone());
        Push { client: path.client, message: message.clone(), room_name, read_when_written, repeat }
    }

    /// Pushes a message with this batch that is stored already: a notice, or one that the session has claimed.
    pub(super) fn push_later(&mut self, session: &SessionId, message: &MessageId) {
        let Some(place) = self.tables.messages.get(message).map(|placed| placed.place) else { return };
        if self.has_live_path(session) {
            self.tables.pushes.hold(session, place);
            self.tables.pushes.ready.insert(session.clone(), ());
        }
    }

    /// What was held back for sessions whose turn is over by now, in the order of the log.
    pub(super) fn push_held(&mut self) -> Vec<Push> {
        let mut pushes = Vec::new();
        while let Some((session, ())) = self.tables.pushes.ready.pop_first() {
            let is_working = self.in_turn(&session) != InTurn::No;
            let held = self.tables.pushes.held.remove(&session).unwrap_or_default();
            for place in held {
                let is_free = self.tables.mail.is_free(place, &session, self.tables.now);
                let Some(message) = self.tables.mail.at(place).filter(|_| is_free) else { continue };
                let Some(placed) = self.tables.messages.get(message) else { continue };
                if is_working && placed.stored.row.priority() < Priority::Now {
                    self.tables.pushes.hold(&session, place);
                    continue;
                }
                let Some(path) = self.live_path(&session) else { break };
                pushes.push(self.push(path, &session, &placed.stored, false));
            }
        }
        pushes
    }

    /// A client has stated a session for the first time: it is pushed what is not read yet of the last minutes, since who
    /// was there before it may have taken that with it.
    pub(super) fn push_again(&mut self, session: &SessionId, before: Option<&ClientId>, answer: &mut Answer) {
        let known = self.tables.pushes.note_back(session);
        let pushed_before = known.unwrap_or_else(|| match before {
            Some(client) if self.tables.presence.is_connected(client) => u64::MAX,
            // Of a client from before this run of the daemon nothing is known but that it was there.
            Some(_) => self.tables.pushes.run_from_place,
            None => 0,
        });
        if self.tables.mail.unread_count(session) == 0 {
            return;
        }
        let now = self.tables.now;
        let held = self.tables.pushes.held.remove(session).unwrap_or_default();
        for (place, id) in self.tables.mail.newest_unread(session, PUSH_AGAIN_MAX, now) {
            let Some(path) = self.live_path(session) else { break };
            let Some(message) = self.tables.messages.get(&id).map(|placed| placed.stored.clone()) else { continue };
            if now.wall_ms.saturating_sub(message.row.sent_at) > PUSH_AGAIN_AGE_MAX_MS {
                continue;
            }
            if message.row.priority() < Priority::Now && self.in_turn(session) != InTurn::No {
                self.tables.pushes.hold(session, place);
                continue;
            }
            let repeat = place < pushed_before && !held.contains(&place);
            answer.pushes.push(self.push(path, session, &message, repeat));
        }
    }
}

//! Waking the idle: for which sessions somebody waits who can wake them, and when there is something to wake them for. It
//! must not wake one that is surely in the middle of a turn: the turn's end hands its mail over.

use super::hooks::Wanted;
use super::mailbox::Free;
use super::turn::InTurn;
use super::{Answer, EventKind, Handled, HookEvent, HookReply, Push, Reply, Roster, Wait};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{IdSource, SessionId};
use crate::limits::{INBOX_MESSAGES_MAX, WAKES_AT_ONCE_MAX, WAKINGS_MAX};
use crate::model::{Doing, Path, Priority, Session, Stored};
use crate::time::{MonoMs, Now};
use std::collections::{BTreeMap, BTreeSet};

/// Those who wait. In memory alone; that one has left is a fact, which no failed batch takes back.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    by_session: BTreeMap<SessionId, Waiting>,
    /// Who waited before each one that the batch has let begin.
    begun: Vec<(SessionId, Option<Waiting>)>,
    /// Sessions for which there may be something by now.
    roused: BTreeSet<SessionId>,
    /// Of these, those that the batch has looked at.
    taken: Vec<SessionId>,
    /// Sessions whose mail is on its way or was handed a moment ago, by the monotonic millisecond of the next look.
    later: BTreeSet<(MonoMs, SessionId)>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// How urgent a message must be.
    at_least: Priority,
    /// Its place in `later`.
    look_at: Option<MonoMs>,
}

impl Waiters {
    fn begin(&mut self, session: &SessionId, at_least: Priority) {
        self.begun.push((session.clone(), self.by_session.get(session).copied()));
        self.end(session);
        self.by_session.insert(session.clone(), Waiting { at_least, look_at: None });
        self.roused.insert(session.clone());
    }

    fn end(&mut self, session: &SessionId) {
        if let Some(Waiting { look_at: Some(at), .. }) = self.by_session.remove(session) {
            self.later.remove(&(at, session.clone()));
        }
        self.roused.remove(session);
    }

    /// There may be something for a session: a message came, or is free again, or its turn is over.
    pub(crate) fn rouse(&mut self, session: &SessionId) {
        if !self.by_session.is_empty() && self.by_session.contains_key(session) {
            self.roused.insert(session.clone());
        }
    }

    /// How urgent a message must be to wake a session, if it can be woken.
    pub(crate) fn at_least(&self, session: &SessionId) -> Option<Priority> {
        self.by_session.get(session).map(|waiting| waiting.at_least)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_session.len()
    }

    fn look_again(&mut self, session: &SessionId, at: MonoMs) {
        let Some(waiting) = self.by_session.get_mut(session) else { return };
        if let Some(before) = waiting.look_at.replace(at) {
            self.later.remove(&(before, session.clone()));
        }
        self.later.insert((at, session.clone()));
    }

    /// Some of those for whom there may be something.
    fn take_roused(&mut self, now: MonoMs, at_most: usize) -> Vec<SessionId> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, session)) = self.later.pop_first() else { break };
            if let Some(waiting) = self.by_session.get_mut(&session) {
                waiting.look_at = None;
                self.roused.insert(session);
            }
        }
        let mut roused = Vec::new();
        while roused.len() < at_most
            && let Some(session) = self.roused.pop_first()
        {
            roused.push(session);
        }
        self.taken.extend(roused.iter().cloned());
        roused
    }

    /// How many changes the batch has made.
    pub(crate) fn mark(&self) -> [usize; 2] {
        [self.begun.len(), self.taken.len()]
    }

    /// Takes back what a batch has begun that was not written, and looks again at those that it has looked at.
    pub(crate) fn undo_to(&mut self, [begun, taken]: [usize; 2]) {
        for (session, before) in self.begun.split_off(begun).into_iter().rev() {
            if !self.by_session.contains_key(&session) {
                continue;
            }
            self.end(&session);
            if let Some(waiting) = before {
                self.by_session.insert(session.clone(), Waiting { look_at: None, ..waiting });
                self.rouse(&session);
            }
        }
        for session in self.taken.split_off(taken) {
            self.rouse(&session);
        }
    }

    /// The batch is on disk.
    pub(crate) fn commit(&mut self) {
        self.begun.clear();
        self.taken.clear();
    }
}

/// What follows from a batch for those who wait.
#[derive(Debug, Default)]
pub struct Roused {
    /// What has come for sessions that somebody can wake, one for each. Once the batch is on disk that one is told, which
    /// [`super::Request::WaiterGone`] notes; if it is not, [`super::Request::InboxHanded`] takes the mail back.
    pub woken: Vec<HookReply>,
    /// What was not to be pushed before a turn was over.
    pub pushes: Vec<Push>,
}

impl Roster {
    /// Somebody waits for a session's mail. It is a sign of life; of a session that has not been seen to tell of its turns'
    /// ends itself, one that waits at a turn's end tells of that.
    pub(super) fn wait(&mut self, event: HookEvent, at_least: Priority, ids: &mut dyn IdSource) -> Handled {
        let id = SessionId::from(event.report.session_id.as_str());
        let row = self.tables.sessions.get(&id).map(|placed| &placed.stored.row);
        // Its own hooks bring a session onto the roster. One who waits may come late, when it has ended.
        if row.is_none() {
            return Err(RequestError::not_found(format!(
                "no session '{id}' on the roster, so that nobody waits for it"
            )));
        }
        let agent = row.and_then(|row| row.doing.agent);
        if let Some(agent) = agent.filter(|agent| !agent.wakes_by_hook() && event.kind == EventKind::Stop) {
            let message = format!("{} starts no turn when a hook ends, so that none need wait", agent.as_str());
            return Err(RequestError::new(ErrorKind::Refused, message));
        }
        let tells_of_ends = row.is_some_and(|row| row.doing.paths.has(Path::Stop));
        let is_end = event.kind == EventKind::Stop && agent.is_some() && !tells_of_ends;
        let kind = if is_end { EventKind::Stop } else { EventKind::Other };
        self.hook_event(HookEvent { kind, agent, takes: None, ..event }, ids)?;
        self.note_path(&id, Path::Wait);
        self.tables.waiters.begin(&id, at_least);
        self.reach_moved.insert(id.clone());
        Ok(Answer::new(Reply::Waits(id.clone()), Wait::Session(id)))
    }

    /// Nobody waits for a session's mail any more.
    pub(super) fn waiter_gone(&mut self, session: &SessionId) -> Answer {
        self.tables.waiters.end(session);
        self.reach_moved.insert(session.clone());
        Answer::new(Reply::Done, Wait::No)
    }

    /// Notes that a session has been seen to take mail by this way.
    fn note_path(&mut self, session: &SessionId, path: Path) {
        let Some(placed) = self.tables.sessions.get(session) else { return };
        let row = &placed.stored.row;
        if !row.doing.paths.has(path) {
            let doing = Doing { paths: row.doing.paths.with(path), ..row.doing.clone() };
            let row = Session { doing, ..row.clone() };
            self.tables.set_shown(Stored::new(row));
        }
    }

    /// Whether a message of this priority, which has this place, would wake a session now.
    pub(super) fn would_wake(&self, session: &SessionId, priority: Priority, place: u64) -> bool {
        self.wakes_at(session).is_some_and(|at_least| priority >= at_least)
            && self.tables.mail.is_free_below(place, session, self.tables.now, WAKINGS_MAX)
    }

    /// How urgent a message must be to wake a session now; none if nothing does. In the middle of a turn nothing need: its
    /// end hands the mail over. Where it is not sure that the turn goes on, only what is urgent wakes.
    pub(super) fn wakes_at(&self, session: &SessionId) -> Option<Priority> {
        let at_least = self.tables.waiters.at_least(session)?;
        match self.in_turn(session) {
            InTurn::Yes => None,
            InTurn::Unsure => Some(Priority::Now),
            InTurn::No => Some(at_least),
        }
    }

    /// What follows from a batch for those who wait: to be called before each commit.
    pub fn rouse(&mut self, now: Now, ids: &mut dyn IdSource) -> Roused {
        self.tables.now = now;
        Roused { pushes: self.push_held(), woken: self.wake(now, ids) }
    }

    /// For at most so many as one batch can bear; the others' turn comes with the next.
    fn wake(&mut self, now: Now, ids: &mut dyn IdSource) -> Vec<HookReply> {
        let mut replies = Vec::new();
        for session in self.tables.waiters.take_roused(now.mono_ms, WAKES_AT_ONCE_MAX) {
            let Some(at_least) = self.wakes_at(&session) else { continue };
            let Some(placed) = self.tables.sessions.get(&session) else { continue };
            let row = placed.stored.clone();
            match self.tables.mail.free(&session, at_least, WAKINGS_MAX, now) {
                Free::Nothing => continue,
                Free::From(at) => {
                    self.tables.waiters.look_again(&session, at);
                    continue;
                }
                Free::Now => {}
            }
            let wanted = Wanted { count: INBOX_MESSAGES_MAX, at_least, times_below: WAKINGS_MAX };
            let mut reply = self.hand_out(&session, Path::Wait, wanted, ids);
            if !reply.inbox.is_empty() {
                reply.session = Some(row);
                replies.push(reply);
            }
        }
        replies
    }
}

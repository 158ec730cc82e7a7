//! Turns that are seen in transcripts: which sessions are silent enough to have theirs looked at, and what follows from
//! what it shows. It must not read one, and must not believe one that is older than what hooks told since.

use super::{Answer, Reply, Roster, Wait};
use crate::ids::SessionId;
use crate::limits::{TRANSCRIPT_AFTER_MS, TRANSCRIPT_LOOKS_MAX};
use crate::model::{Agent, Doing, KnownBy, Session, State, Stored};
use crate::time::{MonoMs, Now};
use std::ops::Bound;
use std::sync::Arc;

/// A session in the middle of a turn whose hooks are silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilentTurn {
    /// The session.
    pub session: SessionId,
    /// The program that writes the transcript.
    pub agent: Agent,
    /// Where it says that its transcript is.
    pub transcript: Arc<str>,
    /// The monotonic millisecond of its last sign of life.
    pub heard_at: MonoMs,
    /// The same on the wall clock.
    pub heard_wall_ms: i64,
    /// How long it has been silent.
    pub silent_ms: i64,
}

/// What a transcript shows of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenTurn {
    /// A tool is at work, or waits for leave to be.
    InTool,
    /// The turn is over, since this wall-clock millisecond.
    Over(i64),
}

impl Roster {
    /// Some of the sessions whose transcripts are worth a look now; the others' turn comes with the next call.
    pub fn silent_turns(&mut self, now: Now) -> Vec<SilentTurn> {
        self.tables.now = now;
        let after = self.looked_at.take().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.tables.turns.open_in((after.clone(), Bound::Unbounded));
        let first = match after {
            Bound::Excluded(last) => self.tables.turns.open_in((Bound::Unbounded, Bound::Included(last))),
            _ => Vec::new(),
        };
        let silent = rest.iter().chain(&first).filter_map(|session| self.silent_turn(session));
        let silent: Vec<SilentTurn> = silent.take(TRANSCRIPT_LOOKS_MAX).collect();
        self.looked_at = silent.last().map(|turn| turn.session.clone());
        silent
    }

    fn silent_turn(&self, session: &SessionId) -> Option<SilentTurn> {
        let row = &self.tables.sessions.get(session)?.stored.row;
        let transcript = self.pulses.get(session)?.transcript.clone()?;
        let heard_at = self.tables.presence.seen_at(session)?;
        let silent_ms = self.tables.now.mono_ms - heard_at;
        let (session, agent, heard_wall_ms) = (session.clone(), row.doing.agent?, row.last_seen_at());
        (silent_ms >= TRANSCRIPT_AFTER_MS).then_some(SilentTurn {
            session,
            agent,
            transcript,
            heard_at,
            heard_wall_ms,
            silent_ms,
        })
    }

    /// What a transcript shows of a session that has been silent since `heard_at`.
    pub(super) fn turn_seen(&mut self, session: &SessionId, heard_at: MonoMs, seen: SeenTurn) -> Answer {
        let done = Answer::new(Reply::Done, Wait::No);
        let row = self.tables.sessions.get(session).map(|placed| &placed.stored.row);
        let is_open = |row: &&Session| matches!(row.doing.state, Some(State::Working | State::Waiting));
        let (Some(row), Some(mut pulse)) = (row.filter(is_open), self.pulses.get(session).cloned()) else {
            return done;
        };
        if self.tables.presence.seen_at(session) != Some(heard_at) {
            return done;
        }
        let now = self.tables.now;
        match seen {
            SeenTurn::InTool => pulse.confirmed_at = Some(now.mono_ms),
            SeenTurn::Over(at) => {
                pulse.clear();
                let doing = Doing {
                    state: Some(State::Idle),
                    known_by: KnownBy::Seen,
                    since: at.clamp(row.doing.since.min(now.wall_ms), now.wall_ms),
                    waiting_for: None,
                    tool: None,
                    ..row.doing.clone()
                };
                let row = Session { doing, ..row.clone() };
                self.tables.set_shown(Stored::new(row));
            }
        }
        self.pulses.insert(session.clone(), pulse);
        done
    }
}

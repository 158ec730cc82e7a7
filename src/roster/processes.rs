//! Sessions and the processes that they live in: a session with a known process lives as long as that, and ends with it.
//! It must not look at processes; it is told of their ends.

use super::{Answer, Gone, Reply, Roster, Wait};
use crate::ids::SessionId;
use crate::limits::SWEEP_ROWS_MAX;
use crate::model::{Process, Row};

impl Roster {
    /// Removes the sessions of a process that has ended; one that was stated in another process meanwhile stays. If they
    /// are very many, those that are left have to be asked for again: see [`Roster::lives_in`].
    pub(super) fn process_gone(&mut self, process: &Process) -> Answer {
        let sessions = self.tables.by_process.get(process).into_iter().flatten();
        let sessions: Vec<SessionId> = sessions.take(SWEEP_ROWS_MAX).cloned().collect();
        let begun_at = self.tables.journal().len();
        for session in sessions {
            if self.tables.journal().len() - begun_at >= SWEEP_ROWS_MAX {
                break;
            }
            self.remove_session(&session, Gone::ProcessDied);
        }
        if !self.tables.by_process.contains_key(process) {
            self.ended.push(process.clone());
        }
        Answer::new(Reply::Done, Wait::Batch)
    }

    /// Notes in which processes sessions live or lived, now that it is on disk.
    pub(super) fn note_agents(&mut self) {
        let of = |row: &Option<(Row, u64)>| match row {
            Some((Row::Session(stored), _)) => Some((stored.row.process.clone()?, stored.row.id.clone())),
            _ => None,
        };
        let moved: Vec<_> =
            self.tables.journal().iter().flat_map(|change| [of(&change.before), of(&change.after)]).flatten().collect();
        self.tables.agents.extend(moved);
        for process in self.ended.drain(..) {
            self.tables.agents.remove(&process);
        }
    }

    /// The last session that lived in a process, if one does or did and the end of the process was not told.
    pub(super) fn agent_in(&self, process: &Process) -> Option<&SessionId> {
        let living = || self.tables.by_process.get(process).and_then(|sessions| sessions.last());
        self.tables.agents.get(process).or_else(living)
    }

    /// Whether a session lives in this process, or lived in it and the end of the process was not told.
    pub fn lives_in(&self, process: &Process) -> bool {
        self.agent_in(process).is_some()
    }

    /// The processes that sessions live in, or lived in.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let gone = self.tables.agents.keys().filter(|process| !self.tables.by_process.contains_key(*process));
        self.tables.by_process.keys().chain(gone)
    }
}

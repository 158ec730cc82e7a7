//! Sessions and the processes that they live in: a session with a known process lives as long as that, and ends with it.
//! It must not look at processes; it is told of their ends.

use super::{Answer, Gone, Reply, Roster, Wait};
use crate::ids::SessionId;
use crate::limits::SWEEP_ROWS_MAX;
use crate::model::Process;

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
        Answer::new(Reply::Done, Wait::Batch)
    }

    /// Whether a session lives in this process.
    pub fn lives_in(&self, process: &Process) -> bool {
        self.tables.by_process.contains_key(process)
    }

    /// The processes that sessions live in.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.tables.by_process.keys()
    }
}

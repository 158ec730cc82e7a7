//! How soon a session would hear of an urgent message that is sent now, by what has been seen of it. It must not promise
//! what was not seen.

use super::Roster;
use super::turn::InTurn;
use crate::ids::SessionId;
use crate::model::{Agent, Path, Session, State, Stored};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How soon a session hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// At once: its client, or somebody who hears of events for it, is there.
    Now,
    /// At once, by being woken.
    Wakeable,
    /// Between two tools, in the middle of its turn.
    BetweenTools,
    /// With its next prompt.
    NextPrompt,
    /// Not by itself: it would have to look into its inbox.
    None,
}

impl Reach {
    /// The spelling on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Wakeable => "wakeable",
            Self::BetweenTools => "between_tools",
            Self::NextPrompt => "next_prompt",
            Self::None => "none",
        }
    }
}

/// A session as it is seen at a moment: with what follows from more than its row.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The session.
    pub session: Arc<Stored<Session>>,
    /// How soon it hears.
    pub reach: Reach,
    /// Messages that wait for it.
    pub unread: usize,
}

impl Roster {
    /// A session as it is seen now.
    pub fn sighting(&self, session: Arc<Stored<Session>>) -> Sighting {
        let mail = &self.tables.mail;
        let unread = mail.unread_count(&session.row.id) - mail.handed_count(&session.row.id);
        Sighting { reach: self.reach(&session.row), unread, session }
    }

    /// The sessions of which somebody came or went, since this was asked last, who makes them hear.
    pub fn take_reach_moved(&mut self) -> BTreeSet<SessionId> {
        std::mem::take(&mut self.reach_moved)
    }

    /// How soon a session hears.
    pub(super) fn reach(&self, row: &Session) -> Reach {
        let tables = &self.tables;
        let is_connected = row.client_id.as_ref().is_some_and(|client| tables.presence.is_connected(client));
        let is_pushed_to = is_connected && (!row.hooks || row.channels_enabled == Some(true));
        let hears = |path| row.doing.paths.has(path);
        // What it waits for may be leave to use a tool.
        let is_asking = row.doing.state == Some(State::Waiting) && row.doing.tool.is_some();
        let is_in_turn = is_asking || self.in_turn(&row.id) != InTurn::No;
        let is_answered = row.hooks && row.doing.agent.is_none_or(Agent::takes_answers);
        if is_pushed_to || tables.subscribed.contains(&row.id) {
            Reach::Now
        } else if self.wakes_at(&row.id).is_some() {
            Reach::Wakeable
        } else if is_in_turn && hears(Path::Tools) {
            Reach::BetweenTools
        } else if is_answered || hears(Path::Prompt) || hears(Path::Start) || hears(Path::Stop) {
            Reach::NextPrompt
        } else {
            Reach::None
        }
    }

    /// Notes whether somebody hears of events for a session.
    pub fn note_subscriber(&mut self, session: &SessionId, is_there: bool) {
        self.reach_moved.insert(session.clone());
        if is_there {
            self.tables.subscribed.insert(session.clone());
        } else {
            self.tables.subscribed.remove(session);
        }
    }
}

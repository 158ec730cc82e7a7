//! Who speaks: what a caller says of itself, held against what it has shown. It must not believe a caller that is proven
//! to be one session when it says that it is another, or a human.

use super::{Answer, Caller, Handled, Known, Request, Roster};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{IdSource, SessionId};
use crate::model::{Process, Proof};
use std::sync::Arc;

/// The sender of a message, the reader of an inbox, the member of a room.
#[derive(Clone, Debug)]
pub(super) struct Speaker {
    /// A session, or a human's mailbox.
    pub(super) id: SessionId,
    /// Its name now.
    pub(super) name: Arc<str>,
    /// How that is known.
    pub(super) proof: Proof,
}

/// What a caller has proved: that it is one of these sessions, of which the first is meant where it does not say.
struct Proven {
    sessions: Vec<SessionId>,
    proof: Proof,
}

fn forbidden(message: String) -> RequestError {
    RequestError::new(ErrorKind::Forbidden, message)
}

impl Roster {
    /// Who a caller is. A caller that is proven to be a session is that session, without saying so; one that is not is
    /// whom it says.
    pub(super) fn speaker(&self, caller: &Caller) -> Result<Speaker, RequestError> {
        let Some(proven) = self.proven(caller)? else {
            let (id, name) = self.resolve_caller(caller)?;
            if is_nobody(caller) {
                self.must_be_unproven(&id)?;
                return Ok(Speaker { id, name, proof: Proof::Asserted });
            }
            let proof = match &caller.known {
                Known::Unproven => Proof::Asserted,
                Known::Owner { at_terminal: true, .. } if id.is_human() => Proof::Human,
                Known::Owner { .. } | Known::Machine => Proof::Operator,
            };
            return Ok(Speaker { id, name, proof });
        };
        if caller.human.is_some() {
            let message = format!("you are the session {}, and a session cannot speak as a human", proven.sessions[0]);
            return Err(forbidden(message));
        }
        let id = match self.said_session(caller)? {
            Some(said) if proven.sessions.contains(&said) => said,
            // Its connection is the session's own, although the session is not tied to its process.
            Some(said) if self.holds(caller, &said) => return Ok(self.named(said, Proof::Operator)),
            Some(said) => {
                let message = format!("you are the session {}, and cannot speak as {said}", proven.sessions[0]);
                return Err(forbidden(message));
            }
            None => proven.sessions[0].clone(),
        };
        Ok(self.named(id, proven.proof))
    }

    fn named(&self, id: SessionId, proof: Proof) -> Speaker {
        let name = self.tables.sessions.get(&id).map_or_else(|| id.shared(), |p| p.stored.row.nickname.clone());
        Speaker { id, name, proof }
    }

    /// The session that a caller says it is, by name or by the connection that it speaks on.
    fn said_session(&self, caller: &Caller) -> Result<Option<SessionId>, RequestError> {
        if caller.as_session.is_some() {
            return self.resolve_caller(caller).map(|(id, _)| Some(id));
        }
        let on_connection = caller.client.as_ref().and_then(|client| self.tables.presence.session_of(client));
        Ok(on_connection.cloned())
    }

    fn holds(&self, caller: &Caller, session: &SessionId) -> bool {
        caller.client.as_ref().is_some_and(|client| self.tables.presence.session_of(client) == Some(session))
    }

    /// Which sessions a caller is proven to be: by its token; else by the nearest process, of its own and those that it
    /// descends from, in which sessions live. None for one who proves nothing, or who is the operator.
    fn proven(&self, caller: &Caller) -> Result<Option<Proven>, RequestError> {
        let by_process = self.sessions_of_chain(&caller.known);
        let Some(token) = &caller.token else {
            return Ok(by_process.map(|sessions| Proven { sessions, proof: Proof::Process }));
        };
        let session = &self.session_of_token(token)?;
        match by_process {
            // Somebody else's token, come by in whatever way.
            Some(sessions) if !sessions.contains(session) => {
                let message = format!("your process belongs to the session {}, the token to another", sessions[0]);
                Err(forbidden(message))
            }
            _ => Ok(Some(Proven { sessions: vec![session.clone()], proof: Proof::Token })),
        }
    }

    fn sessions_of_chain(&self, known: &Known) -> Option<Vec<SessionId>> {
        let Known::Owner { chain, .. } = known else { return None };
        chain.iter().map(|process| self.sessions_in(process)).find(|sessions| !sessions.is_empty())
    }

    /// For a caller that could be anybody: whether it may speak as this one. It may as a session of which nobody knows a
    /// process or a token, as one in a container is.
    fn must_be_unproven(&self, id: &SessionId) -> Result<(), RequestError> {
        let process = self.tables.sessions.get(id).and_then(|placed| placed.stored.row.process.as_ref());
        if !id.is_human() && process.is_none() && !self.tables.registrations.contains_key(id) {
            return Ok(());
        }
        let message = format!(
            "your process cannot be seen from here (it ended, or is in a container), and so you cannot be {id}; show a \
             session token"
        );
        Err(RequestError::new(ErrorKind::Unauthorized, message))
    }

    /// The sessions that live in a process, the youngest first: `/clear` begins another one in the same process.
    fn sessions_in(&self, process: &Process) -> Vec<SessionId> {
        let of = self.tables.by_process.get(process).into_iter().flatten();
        let mut of: Vec<_> = of.filter_map(|id| Some((self.tables.sessions.get(id)?.place, id.clone()))).collect();
        of.sort_by(|a, b| b.cmp(a));
        of.into_iter().map(|(_, id)| id).collect()
    }

    /// The session to whose messages a caller is limited; none for the operator, and where nobody proves anything.
    pub(super) fn sees_only(&self, caller: &Caller) -> Result<Option<SessionId>, RequestError> {
        if self.proven(caller)?.is_none() && !is_nobody(caller) {
            return Ok(None);
        }
        self.speaker(&Caller { human: None, ..caller.clone() }).map(|speaker| Some(speaker.id))
    }

    /// Applies a request that states or changes a session, if its caller may speak for that session.
    pub(super) fn guarded(&mut self, caller: &Caller, request: Request, ids: &mut dyn IdSource) -> Handled {
        if let Some(session) = spoken_for(&request)
            && !self.shows_token_of(&request, &session)
        {
            self.may_speak_for(caller, &session)?;
        }
        if let Some(process) = lived_in(&request) {
            self.may_live_in(caller, process)?;
        }
        let answer: Answer = self.handle(request, ids)?;
        Ok(answer)
    }

    /// Whether a caller may say that a session lives in this process. An agent could otherwise have a session of its own
    /// take over the shells of another one.
    fn may_live_in(&self, caller: &Caller, process: &Process) -> Result<(), RequestError> {
        let Known::Owner { chain, .. } = &caller.known else { return Ok(()) };
        if self.tables.by_process.contains_key(process) && !chain.contains(process) && self.proven(caller)?.is_some() {
            let message = format!("process {} is another session's, and none of those that you run in", process.pid);
            return Err(forbidden(message));
        }
        Ok(())
    }

    /// Whether a session is registered again by the token that it has.
    fn shows_token_of(&self, request: &Request, session: &SessionId) -> bool {
        let Request::Register(registering) = request else { return false };
        self.tables.by_token.get(&registering.token) == Some(session)
    }

    /// Whether a caller may state or change a session. Whoever is proven to be another one may not, if the session has a
    /// process of its own to which the caller does not belong, or a token that it has not shown: an agent that is started
    /// by another one must be able to come onto the roster.
    fn may_speak_for(&self, caller: &Caller, session: &SessionId) -> Result<(), RequestError> {
        let Some(proven) = self.proven(caller)? else {
            return if is_nobody(caller) { self.must_be_unproven(session) } else { Ok(()) };
        };
        if proven.sessions.contains(session) || self.holds(caller, session) {
            return Ok(());
        }
        let row = self.tables.sessions.get(session).map(|placed| &placed.stored.row);
        let lives_elsewhere = row.and_then(|row| row.process.as_ref()).is_some_and(|process| match &caller.known {
            Known::Owner { chain, .. } => !chain.contains(process),
            Known::Machine | Known::Unproven => true,
        });
        if lives_elsewhere || self.tables.registrations.contains_key(session) {
            return Err(forbidden(format!(
                "you are the session {}, and cannot speak for {session}",
                proven.sessions[0]
            )));
        }
        Ok(())
    }
}

/// Whether a caller could be anybody: it shows no token, and its process could not be looked at.
fn is_nobody(caller: &Caller) -> bool {
    matches!(&caller.known, Known::Owner { chain, .. } if chain.is_empty()) && caller.token.is_none()
}

/// The process in which a request says that a session lives.
fn lived_in(request: &Request) -> Option<&Process> {
    match request {
        Request::SessionStart(report) | Request::PromptSubmit(report) => report.process.as_ref(),
        Request::Register(registering) => registering.process.as_ref(),
        _ => None,
    }
}

/// The session that a request states or changes.
fn spoken_for(request: &Request) -> Option<SessionId> {
    match request {
        Request::SessionStart(report) | Request::PromptSubmit(report) => Some(report.session_id.as_str().into()),
        Request::SessionEnd(session)
        | Request::WithdrawSession { session, .. }
        | Request::UpdateSession { session, .. } => Some(session.clone()),
        Request::PublishSession { session, .. } => Some(session.id.clone()),
        Request::Register(registering) => Some(registering.session_id.as_str().into()),
        _ => None,
    }
}

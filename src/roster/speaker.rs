//! Who speaks: what a caller says of itself, held against what it has shown. It must not believe a caller that is proven
//! to be one session when it says that it is another, or a human.

use super::{Answer, Caller, Handled, HookReport, Known, Request, Roster};
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
    /// Whose turns it takes when it sends.
    pub(super) paced_by: SessionId,
}

/// What a caller has proved: that it is one of these sessions, of which the first is meant where it does not say.
struct Proven {
    sessions: Vec<SessionId>,
    proof: Proof,
}

/// What it comes to what a caller has shown, before it says anything.
enum Standing {
    /// It is a session.
    Session(Proven),
    /// It descends from a process in which this session lived, which has ended: it may begin another one, and is nobody
    /// else meanwhile.
    Former(SessionId),
    /// It could be anybody: it shows no token, and its process could not be looked at.
    Nobody,
    /// It is the operator, or a program of the operator's.
    Operator,
    /// It was asked for nothing.
    Unproven,
}

fn forbidden(message: String) -> RequestError {
    RequestError::new(ErrorKind::Forbidden, message)
}

fn has_ended(session: &SessionId) -> RequestError {
    forbidden(format!(
        "a process from which you descend was that of the session {session}, which has ended: only its hooks can begin another \
         one there; use a shell outside of it"
    ))
}

impl Roster {
    /// Who a caller is. A caller that is proven to be a session is that session, without saying so; one that is not is
    /// whom it says.
    pub(super) fn speaker(&self, caller: &Caller) -> Result<Speaker, RequestError> {
        let proven = match self.standing(caller)? {
            Standing::Session(proven) => proven,
            Standing::Former(session) => return Err(has_ended(&session)),
            standing => {
                let (id, name) = self.resolve_caller(caller)?;
                let proof = self.unproven_proof(&standing, caller, &id)?;
                let paced_by = id.clone();
                return Ok(Speaker { id, name, proof, paced_by });
            }
        };
        if caller.human.is_some() {
            let message = format!("you are the session {}, and a session cannot speak as a human", proven.sessions[0]);
            return Err(forbidden(message));
        }
        let (id, proof) = match self.said_session(caller)? {
            Some(said) if proven.sessions.contains(&said) => (said, proven.proof),
            // Its connection is the session's own, although the session is not tied to its process.
            Some(said) if self.holds(caller, &said) => (said, Proof::Operator),
            Some(said) => {
                let message = format!("you are the session {}, and cannot speak as {said}", proven.sessions[0]);
                return Err(forbidden(message));
            }
            None => (proven.sessions[0].clone(), proven.proof),
        };
        // Nobody gets more turns by beginning more sessions in one process.
        let paced_by = proven.sessions.last().unwrap_or(&id).clone();
        let name = self.tables.sessions.get(&id).map_or_else(|| id.shared(), |p| p.stored.row.nickname.clone());
        Ok(Speaker { id, name, proof, paced_by })
    }

    /// How it is known that an unproven caller is whom it says, if it may say so.
    fn unproven_proof(&self, standing: &Standing, caller: &Caller, id: &SessionId) -> Result<Proof, RequestError> {
        match (standing, &caller.known) {
            (Standing::Nobody, _) => self.must_be_unproven(id).map(|()| Proof::Asserted),
            (Standing::Unproven, _) => Ok(Proof::Asserted),
            // An agent's terminal is no person's, whoever has started the caller.
            (_, Known::Owner { terminal: Some(on_it), .. })
                if id.is_human() && !on_it.iter().any(|process| self.lives_in(process)) =>
            {
                Ok(Proof::Human)
            }
            // Every agent of the owner can read the machine's token: it speaks for nobody who can prove who he is.
            (_, Known::Machine) if self.can_prove(id) => {
                Err(forbidden(format!("{id} is known by its process or its token; show its token (Marshal-Session)")))
            }
            _ => Ok(Proof::Operator),
        }
    }

    /// Whether there is something by which a session is known.
    fn can_prove(&self, id: &SessionId) -> bool {
        let process = self.tables.sessions.get(id).and_then(|placed| placed.stored.row.process.as_ref());
        process.is_some() || self.tables.registrations.contains_key(id)
    }

    /// Returns `false` if the caller acts for a session and has not shown to be it. Where nobody proves anything, a caller is
    /// the session that it says.
    pub(super) fn is_itself(&self, caller: &Caller, speaker: &Speaker) -> bool {
        speaker.id.is_human() || speaker.proof != Proof::Operator || self.holds(caller, &speaker.id)
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

    /// What a caller has shown: a token; else the nearest process, of its own and those that it descends from, in which
    /// sessions live or lived.
    fn standing(&self, caller: &Caller) -> Result<Standing, RequestError> {
        let by_process = self.standing_of_chain(&caller.known);
        let Some(token) = &caller.token else { return Ok(by_process) };
        let session = self.session_of_token(token)?;
        match by_process {
            // Somebody else's token, come by in whatever way.
            Standing::Session(Proven { sessions, .. }) if !sessions.contains(&session) => {
                let message = format!("your process belongs to the session {}, the token to another", sessions[0]);
                Err(forbidden(message))
            }
            Standing::Former(former) if former != session => Err(has_ended(&former)),
            _ => Ok(Standing::Session(Proven { sessions: vec![session], proof: Proof::Token })),
        }
    }

    fn standing_of_chain(&self, known: &Known) -> Standing {
        let chain = match known {
            Known::Unproven => return Standing::Unproven,
            Known::Machine => return Standing::Operator,
            Known::Owner { chain, .. } => chain,
        };
        let nearest = chain.iter().find_map(|process| Some((process, self.agent_in(process)?)));
        match nearest {
            _ if chain.is_empty() => Standing::Nobody,
            None => Standing::Operator,
            Some((process, last)) => match self.sessions_in(process) {
                sessions if sessions.is_empty() => Standing::Former(last.clone()),
                sessions => Standing::Session(Proven { sessions, proof: Proof::Process }),
            },
        }
    }

    /// For a caller that could be anybody: whether it may speak as this one. It may as a session of which nobody knows a
    /// process or a token, as one in a container is.
    fn must_be_unproven(&self, id: &SessionId) -> Result<(), RequestError> {
        if !id.is_human() && !self.can_prove(id) {
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
        match self.standing(caller)? {
            Standing::Operator | Standing::Unproven => Ok(None),
            _ => self.speaker(&Caller { human: None, ..caller.clone() }).map(|speaker| Some(speaker.id)),
        }
    }

    /// The session to whose messages a connection is limited now by what it has shown when it began; an error for one that
    /// may see nobody's.
    pub fn limit_of(&self, known: &Known) -> Result<Option<SessionId>, RequestError> {
        self.sees_only(&Caller { known: known.clone(), ..Caller::default() })
    }

    /// Applies a request that states or changes a session, if its caller may speak for that session.
    pub(super) fn guarded(&mut self, caller: &Caller, mut request: Request, ids: &mut dyn IdSource) -> Handled {
        if let Some(session) = request.spoken_for().map(SessionId::from)
            && !self.shows_token_of(&request, &session)
        {
            self.may_speak_for(caller, &session)?;
        }
        if let Some(process) = request.lived_in() {
            self.may_live_in(caller, process)?;
        }
        if let Request::HookEvent(event) | Request::Wait { event, .. } = &mut request {
            self.adopt(caller, &mut event.report);
        }
        let answer: Answer = self.handle(request, ids)?;
        Ok(answer)
    }

    /// Whether a caller may say that a session lives in this process. An agent could otherwise have a session of its own
    /// take over the shells of another one, or its own shells pass for somebody else's.
    fn may_live_in(&self, caller: &Caller, process: &Process) -> Result<(), RequestError> {
        let Known::Owner { chain, .. } = &caller.known else { return Ok(()) };
        let Some(nearest) = chain.iter().position(|each| self.lives_in(each)) else { return Ok(()) };
        let allowed = match chain.iter().position(|each| each == process) {
            Some(place) => place <= nearest,
            None => !self.lives_in(process),
        };
        if allowed {
            return Ok(());
        }
        Err(forbidden(format!("process {} is not yours to name: another session lives or lived between", process.pid)))
    }

    /// Whether a session is registered again by the token that it has.
    fn shows_token_of(&self, request: &Request, session: &SessionId) -> bool {
        let Request::Register(registering) = request else { return false };
        self.tables.by_token.get(&registering.token) == Some(session)
    }

    /// Whether a caller may state or change a session. Whoever is proven to be another one may not, unless the session is a
    /// new one: an agent that is started by another one must be able to come onto the roster.
    fn may_speak_for(&self, caller: &Caller, session: &SessionId) -> Result<(), RequestError> {
        let is_new = !self.tables.sessions.contains_key(session);
        match self.standing(caller)? {
            Standing::Operator | Standing::Unproven => Ok(()),
            Standing::Nobody => self.must_be_unproven(session),
            _ if is_new || self.holds(caller, session) => Ok(()),
            Standing::Former(former) => Err(has_ended(&former)),
            Standing::Session(proven) if proven.sessions.contains(session) => Ok(()),
            Standing::Session(proven) => {
                Err(forbidden(format!("you are the session {}, and cannot speak for {session}", proven.sessions[0])))
            }
        }
    }

    /// A session that begins within another one, and does not say in which process, lives in the other's: as far as
    /// anybody can tell they are one, and its next hooks must not be taken for those of a stranger.
    fn adopt(&self, caller: &Caller, report: &mut HookReport) {
        let Known::Owner { chain, .. } = &caller.known else { return };
        if report.process.is_none() && !self.tables.sessions.contains_key(report.session_id.as_str()) {
            report.process = chain.iter().find(|process| self.lives_in(process)).cloned();
        }
    }
}

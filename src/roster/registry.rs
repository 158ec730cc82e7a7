//! Registered sessions: how a token comes to mean a session, and when it does not any more. It must not see a token, only
//! its hash, and it must never end a session whose process is known to live.

use super::nickname::{clean_nickname, same_root};
use super::place;
use super::renewals::Renewals;
use super::{
    Answer, Caller, Gone, Handled, Hearing, Limit, Registering, Reply, Request, Roster, Wait, groups, validate,
};
use crate::error::{ErrorKind, RequestError};
use crate::ids::SessionId;
use crate::limits::{PATH_BYTES_MAX, RENEWAL_PERSIST_EVERY_MS};
use crate::model::{ItemType, Registration, Session, TokenHash};
use crate::time::MonoMs;
use std::sync::Arc;

impl Roster {
    /// Makes a token mean a session, which is put on the roster or brought up to date. What the session, or the token, was
    /// registered for before ends first, so that whoever watches hears of the end before the beginning.
    pub(super) fn register(&mut self, registering: Registering) -> Handled {
        let groups = validate_registering(&registering)?;
        let id = SessionId::from(registering.session_id.as_str());
        self.may_begin(&id)?;
        self.paces.take(&id, self.tables.now.mono_ms)?;
        let token = registering.token;
        if let Some(other) = self.tables.by_token.get(&token).filter(|other| **other != id).cloned() {
            self.remove_session(&other, Gone::Replaced);
        }
        let prior = self.tables.registrations.get(&id).map(|placed| placed.stored.row.clone());
        let prior = prior.filter(|prior| {
            let stays = prior.token == token;
            if !stays {
                self.tables.delete_since(ItemType::Registration, id.as_str(), Some(Gone::Replaced));
            }
            stays
        });
        self.set_registered(&id, registering, groups);
        let now = self.tables.now;
        let registered_at = prior.map_or(now.wall_ms, |prior| prior.registered_at);
        self.tables.set(Registration { id: id.clone(), token, registered_at, renewed_at: now.wall_ms });
        self.tables.renewals.note(&id, now.mono_ms);
        let nickname = self.name_of(&id);
        self.dirty.insert(id);
        Ok(Answer::new(Reply::Registered { registered_at, nickname }, Wait::Batch))
    }

    /// Stores the row of a session that is being registered. Its token speaks for it, so that what was registered before
    /// is replaced as a whole; what others know of it stays.
    fn set_registered(&mut self, id: &SessionId, registering: Registering, groups: Vec<Arc<str>>) {
        let Registering { display_name, pid, process, cwd, role, presence, .. } = registering;
        let (cwd, now) = (cwd.unwrap_or_default(), self.tables.now.wall_ms);
        let prior = self.tables.sessions.get(id).map(|placed| placed.stored.row.clone());
        let mut row = prior.clone().unwrap_or_else(|| Session::new(id.clone(), "", &cwd, now));
        let moved = !cwd.is_empty() && *row.cwd != *cwd;
        if moved {
            place::move_to(&mut row, &cwd);
        }
        if row.project.is_none() || (moved && row.client_id.is_none()) {
            row.project = place::project_without_repository(&row.cwd);
        }
        let asked = clean_nickname(&display_name);
        if row.nickname.is_empty() || (!asked.is_empty() && !same_root(&asked, &row.nickname)) {
            row.nickname = self.nickname_for(&asked, &row.cwd, id);
        }
        (row.pid, row.process, row.presence) = (pid, process, presence);
        (row.role, row.groups) = (role.filter(|role| !role.is_empty()).map(Arc::from), groups);
        row.last_activity_at = Some(now);
        let only_activity =
            prior.is_some_and(|prior| Session { last_activity_at: prior.last_activity_at, ..row.clone() } == prior);
        if only_activity {
            self.note_activity(row);
        } else {
            self.set_session(row);
        }
    }

    /// Whoever has the token may end its session.
    pub(super) fn deregister(&mut self, token: &TokenHash) -> Handled {
        let Some(session) = self.tables.by_token.get(token).cloned() else {
            return Err(RequestError::not_found("no session is registered by this token"));
        };
        self.remove_session(&session, Gone::Deregistered);
        Ok(Answer::new(Reply::Done, Wait::Batch))
    }

    /// The session that the caller is, by the token that it shows.
    pub(super) fn me(&self, caller: &Caller) -> Handled {
        if caller.token.is_none() {
            let message = "show your session token: the header 'Marshal-Session: <64 hexadecimal digits>'";
            return Err(RequestError::new(ErrorKind::Unauthorized, message));
        }
        let session = self.speaker(caller)?.id;
        let Some(placed) = self.tables.sessions.get(&session) else { return Err(unknown_token()) };
        Ok(Answer::new(Reply::Me(Box::new(self.view_session(&placed.stored))), Wait::Session(session)))
    }

    /// To whose mail the caller is limited. Whoever is proven to be a session hears what that may, and no more.
    pub(super) fn hear(&self, caller: &Caller) -> Handled {
        let token = caller.token.as_deref().copied();
        let limit = self.sees_only(caller)?.map(|session| Limit { session, token });
        let known = caller.known.clone();
        Ok(Answer::new(Reply::Hearing(Hearing { limit, known }), Wait::Batch))
    }

    /// The session that a token means.
    ///
    /// # Errors
    /// It means none, or none any more.
    pub(super) fn session_of_token(&self, token: &TokenHash) -> Result<SessionId, RequestError> {
        let session = self.tables.by_token.get(token);
        let session = session.filter(|id| self.tables.sessions.contains_key(*id) && !self.is_expired(id));
        session.cloned().ok_or_else(unknown_token)
    }

    /// Whether a session's registration was renewed too long ago: by registering again, by a request with its token, or by
    /// whatever else shows that the session lives. While its process or its client is there, nothing need show it.
    fn is_expired(&self, session: &SessionId) -> bool {
        let Some(row) = self.tables.sessions.get(session).map(|placed| &placed.stored.row) else { return true };
        if row.process.is_some() || row.client_id.as_ref().is_some_and(|id| self.tables.presence.is_connected(id)) {
            return false;
        }
        Renewals::is_old(self.last_renewal(session), self.tables.now)
    }

    fn last_renewal(&self, session: &SessionId) -> MonoMs {
        let seen = self.tables.presence.seen_at(session).unwrap_or(MonoMs::MIN);
        self.tables.renewals.renewed_at(session).unwrap_or(MonoMs::MIN).max(seen)
    }

    /// Looks at a registration that was not renewed for long: ends its session, unless that has shown a sign of life in
    /// another way.
    pub(super) fn check_registration(&mut self, session: &SessionId) {
        if self.is_expired(session) {
            if self.tables.sessions.contains_key(session) {
                self.remove_session(session, Gone::Expired);
            } else {
                self.tables.delete_since(ItemType::Registration, session.as_str(), Some(Gone::Expired));
            }
            return;
        }
        let now = self.tables.now;
        let seen = self.last_renewal(session);
        // One whose process lives is looked at again when it would have expired had it been renewed now.
        let renewed_at = if Renewals::is_old(seen, now) { now.mono_ms } else { seen };
        self.tables.renewals.note(session, renewed_at);
    }

    /// Whoever shows a session's token shows that the session lives.
    pub(super) fn renew(&mut self, request: &Request) {
        let token = request.caller().and_then(|caller| caller.token.as_deref().copied());
        let Some(session) = token.and_then(|token| self.session_of_token(&token).ok()) else { return };
        let now = self.tables.now;
        self.note_caller(&session);
        self.tables.renewals.note(&session, now.mono_ms);
        let Some(placed) = self.tables.registrations.get(&session) else { return };
        if now.wall_ms.saturating_sub(placed.stored.row.renewed_at) > RENEWAL_PERSIST_EVERY_MS {
            let row = Registration { renewed_at: now.wall_ms, ..placed.stored.row.clone() };
            self.tables.set(row);
        }
    }
}

fn unknown_token() -> RequestError {
    let message = "this session token is not registered, or not any more; register the session again";
    RequestError::new(ErrorKind::Unauthorized, message)
}

/// Gives the groups as they are kept.
fn validate_registering(registering: &Registering) -> Result<Vec<Arc<str>>, RequestError> {
    validate::name("the display name", &registering.display_name)?;
    validate::bounded("cwd", registering.cwd.as_deref().unwrap_or_default(), PATH_BYTES_MAX)?;
    validate::name("role", registering.role.as_deref().unwrap_or_default())?;
    groups::parse(&registering.groups)
}

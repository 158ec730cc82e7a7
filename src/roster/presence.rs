//! Signs of life: which clients are connected, which sessions lost theirs and until when they are kept, and how long
//! each session without a client and without a known process has been silent. Deadlines are on the monotonic clock, so that neither a wall clock
//! that jumps nor a machine that sleeps ends a session. It must not delete anything itself.

use crate::ids::{ClientId, SessionId};
use crate::limits::{CLAIMS_OF_GONE_SESSIONS_MAX, CLIENT_GRACE_MS, HOOK_SILENCE_MAX_MS};
use crate::model::Session;
use crate::time::{MonoMs, Now};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Presence {
    connected: BTreeSet<ClientId>,
    sessions_of: BTreeMap<ClientId, BTreeSet<SessionId>>,
    /// The connected clients that have stated a session, the last one last. When the one that holds it goes, the one
    /// before gets it back: two shims of one agent must not drop it between them.
    claims: BTreeMap<SessionId, Vec<ClientId>>,
    claimed: BTreeMap<ClientId, Claimed>,
    /// Sessions whose client is gone, and the monotonic millisecond until which they are kept.
    kept_until: BTreeMap<SessionId, MonoMs>,
    /// The monotonic millisecond of each session's last sign of life.
    seen_at: BTreeMap<SessionId, MonoMs>,
    /// Sessions without a client and without a known process, by that millisecond.
    silent_since: BTreeSet<(MonoMs, SessionId)>,
}

/// The sessions that a client has stated.
#[derive(Debug)]
struct Claimed {
    sessions: BTreeSet<SessionId>,
    /// At so many, those that are gone are forgotten.
    full_at: usize,
}

impl Presence {
    /// Takes note of a session, or of what it has become since it was `before`.
    pub(crate) fn put(&mut self, before: Option<&Session>, session: &Session, now: Now) {
        // How long ago it was seen is told by the wall clock, which survives a restart; from here on the monotonic
        // clock counts. A last sign of life in the future counts as now.
        let silence = now.wall_ms.saturating_sub(session.last_seen_at()).max(0);
        let mut seen = now.mono_ms.before(silence);
        let mut until = now.mono_ms + CLIENT_GRACE_MS;
        if let Some(before) = before {
            // A sign of life that was noted stays so, whatever the wall clock does or a failed write takes back.
            seen = seen.max(self.seen_at.get(&session.id).copied().unwrap_or(MonoMs::MIN));
            // Only its client prolongs a grace.
            if before.client_id == session.client_id {
                until = self.kept_until.get(&session.id).copied().unwrap_or(until);
            }
            self.remove(before);
        }
        self.seen_at.insert(session.id.clone(), seen);
        let Some(client) = &session.client_id else {
            // While its process is known to live, so is the session, however silent: an agent left overnight.
            if session.process.is_none() {
                self.silent_since.insert((seen, session.id.clone()));
            }
            return;
        };
        self.sessions_of.entry(client.clone()).or_default().insert(session.id.clone());
        if !self.connected.contains(client) {
            self.kept_until.insert(session.id.clone(), until);
        }
    }

    pub(crate) fn remove(&mut self, session: &Session) {
        self.kept_until.remove(&session.id);
        if let Some(seen) = self.seen_at.remove(&session.id) {
            self.silent_since.remove(&(seen, session.id.clone()));
        }
        if let Some(client) = &session.client_id
            && let Some(sessions) = self.sessions_of.get_mut(client)
        {
            sessions.remove(&session.id);
            if sessions.is_empty() {
                self.sessions_of.remove(client);
            }
        }
    }

    pub(crate) fn connect(&mut self, client: ClientId) {
        for session in self.sessions_of.get(&client).into_iter().flatten() {
            self.kept_until.remove(session);
        }
        self.connected.insert(client);
    }

    /// The client is gone: its sessions are kept for the grace.
    pub(crate) fn disconnect(&mut self, client: &ClientId, now: Now) {
        if !self.connected.remove(client) {
            return;
        }
        for session in self.sessions_of.get(client).into_iter().flatten() {
            self.kept_until.insert(session.clone(), now.mono_ms + CLIENT_GRACE_MS);
        }
    }

    /// A client has stated a session. Says whether it had not before.
    pub(crate) fn claim(&mut self, session: &SessionId, client: &ClientId) -> bool {
        let clients = self.claims.entry(session.clone()).or_default();
        clients.retain(|other| other != client);
        clients.push(client.clone());
        let new = || Claimed { sessions: BTreeSet::new(), full_at: CLAIMS_OF_GONE_SESSIONS_MAX };
        let claimed = self.claimed.entry(client.clone()).or_insert_with(new);
        let is_new = claimed.sessions.insert(session.clone());
        if claimed.sessions.len() > claimed.full_at {
            self.forget_gone(session, client);
        }
        is_new
    }

    /// Forgets that a client has stated sessions that are gone: one that stays connected may have stated any number.
    fn forget_gone(&mut self, newest: &SessionId, client: &ClientId) {
        let Self { claimed, claims, seen_at, .. } = self;
        let Some(claimed) = claimed.get_mut(client) else { return };
        claimed.sessions.retain(|session| {
            // The newest comes onto the roster right after this.
            let is_there = session == newest || seen_at.contains_key(session);
            if !is_there && let Some(clients) = claims.get_mut(session) {
                clients.retain(|other| other != client);
                if clients.is_empty() {
                    claims.remove(session);
                }
            }
            is_there
        });
        // Each look at all of them is paid for by as many that have been stated since the last one.
        claimed.full_at = claimed.sessions.len() * 2 + CLAIMS_OF_GONE_SESSIONS_MAX;
    }

    /// The sessions that a client holds, if it is connected.
    pub(crate) fn held_by(&self, client: &ClientId) -> Vec<SessionId> {
        let held = self.sessions_of.get(client).filter(|_| self.connected.contains(client));
        held.into_iter().flatten().cloned().collect()
    }

    /// The client is gone: its claims are void. Gives the sessions that it held, each with who has stated it too.
    pub(crate) fn void_claims(&mut self, client: &ClientId) -> Vec<(SessionId, ClientId)> {
        let mut heirs = Vec::new();
        for session in self.claimed.remove(client).into_iter().flat_map(|claimed| claimed.sessions) {
            let Some(clients) = self.claims.get_mut(&session) else { continue };
            clients.retain(|other| other != client);
            let held = self.sessions_of.get(client).is_some_and(|sessions| sessions.contains(&session));
            match clients.last() {
                Some(heir) if held => heirs.push((session, heir.clone())),
                Some(_) => {}
                None => drop(self.claims.remove(&session)),
            }
        }
        heirs
    }

    pub(crate) fn is_connected(&self, client: &ClientId) -> bool {
        self.connected.contains(client)
    }

    /// The monotonic millisecond of a session's last sign of life.
    pub(crate) fn seen_at(&self, session: &SessionId) -> Option<MonoMs> {
        self.seen_at.get(session).copied()
    }

    pub(crate) fn connected_clients(&self) -> usize {
        self.connected.len()
    }

    /// The session that speaks on a connection, if it has stated exactly one; else the last in order of id.
    pub(crate) fn session_of(&self, client: &ClientId) -> Option<&SessionId> {
        let stated = || self.claimed.get(client).and_then(|claimed| claimed.sessions.last());
        self.sessions_of.get(client).and_then(BTreeSet::last).or_else(stated)
    }

    /// Gives every session whose client is not there a fresh grace: called when the doors open.
    pub(crate) fn renew_graces(&mut self, now: Now) {
        for until in self.kept_until.values_mut() {
            *until = now.mono_ms + CLIENT_GRACE_MS;
        }
    }

    /// Sessions whose grace is over.
    pub(crate) fn lost(&self, now: Now, at_most: usize) -> Vec<SessionId> {
        let over = self.kept_until.iter().filter(|(_, until)| **until <= now.mono_ms);
        over.take(at_most).map(|(session, _)| session.clone()).collect()
    }

    /// Sessions without a client and a known process that have been silent for too long, the longest first.
    pub(crate) fn silent(&self, now: Now, at_most: usize) -> Vec<SessionId> {
        let over = self.silent_since.iter().take_while(|(seen, _)| now.mono_ms - *seen >= HOOK_SILENCE_MAX_MS);
        over.take(at_most).map(|(_, session)| session.clone()).collect()
    }
}

/// Sessions by client, those in their grace, those that are judged by their silence, and those with a last sign of life.
#[cfg(test)]
type Inspection =
    (BTreeMap<ClientId, BTreeSet<SessionId>>, BTreeSet<SessionId>, BTreeSet<SessionId>, BTreeSet<SessionId>);

#[cfg(test)]
impl Presence {
    /// The indexes without their times, for tests to hold against the rows.
    pub(super) fn inspect(&self) -> Inspection {
        assert!(self.silent_since.iter().all(|(seen, session)| self.seen_at.get(session) == Some(seen)));
        let kept = self.kept_until.keys().cloned().collect();
        let silent: BTreeSet<SessionId> = self.silent_since.iter().map(|(_, session)| session.clone()).collect();
        assert_eq!(silent.len(), self.silent_since.len());
        (self.sessions_of.clone(), kept, silent, self.seen_at.keys().cloned().collect())
    }
}

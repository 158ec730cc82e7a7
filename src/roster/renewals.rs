//! How old registrations are: when each was last renewed, on the monotonic clock, so that neither a wall clock that jumps
//! nor a machine that sleeps makes one expire. It must not delete anything itself.

use crate::ids::SessionId;
use crate::limits::REGISTRATION_AGE_MAX_MS;
use crate::model::Registration;
use crate::time::{MonoMs, Now};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Renewals {
    renewed_at: BTreeMap<SessionId, MonoMs>,
    by_age: BTreeSet<(MonoMs, SessionId)>,
}

impl Renewals {
    /// Takes note of a registration. How old it is is told by the wall clock, which survives a restart; what was noted of
    /// it before stays so.
    pub(crate) fn put(&mut self, registration: &Registration, now: Now) {
        let age = now.wall_ms.saturating_sub(registration.renewed_at).max(0);
        let known = self.renewed_at.get(&registration.id).copied().unwrap_or(MonoMs::MIN);
        self.note(&registration.id, now.mono_ms.before(age).max(known));
    }

    /// A registration was renewed at this moment.
    pub(crate) fn note(&mut self, session: &SessionId, renewed_at: MonoMs) {
        self.remove(session);
        self.renewed_at.insert(session.clone(), renewed_at);
        self.by_age.insert((renewed_at, session.clone()));
    }

    pub(crate) fn remove(&mut self, session: &SessionId) {
        if let Some(renewed_at) = self.renewed_at.remove(session) {
            self.by_age.remove(&(renewed_at, session.clone()));
        }
    }

    /// Whether so much time has passed since that moment that a registration expires.
    pub(crate) fn is_old(renewed_at: MonoMs, now: Now) -> bool {
        now.mono_ms - renewed_at >= REGISTRATION_AGE_MAX_MS
    }

    pub(crate) fn renewed_at(&self, session: &SessionId) -> Option<MonoMs> {
        self.renewed_at.get(session).copied()
    }

    /// Registrations that were not renewed in time, as far as is noted here, the oldest first.
    pub(crate) fn old(&self, now: Now, at_most: usize) -> Vec<SessionId> {
        let old = self.by_age.iter().take_while(|(renewed_at, _)| Self::is_old(*renewed_at, now));
        old.take(at_most).map(|(_, session)| session.clone()).collect()
    }

    /// Those with a moment, for tests to hold against the rows.
    #[cfg(test)]
    pub(super) fn inspect(&self) -> BTreeSet<SessionId> {
        assert!(self.by_age.iter().all(|(at, session)| self.renewed_at.get(session) == Some(at)));
        assert_eq!(self.by_age.len(), self.renewed_at.len());
        self.renewed_at.keys().cloned().collect()
    }
}

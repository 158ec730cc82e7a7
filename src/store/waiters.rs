//! Those who wait for a session's mail, one for each session: who they are, and what they are told. It must not decide when;
//! that is the roster's business.

use super::Store;
use crate::error::RequestError;
use crate::event_log::disk::Disk;
use crate::ids::SessionId;
use crate::model::ItemType;
use crate::roster::{Arrival, Change, HookReply, Reply, Request};
use crate::time::Now;
use std::collections::BTreeMap;

/// Somebody who waits for mail of a session. All calls come from the store's thread and must not wait.
pub trait Waiter: Send {
    /// No other one has this number.
    fn number(&self) -> u64;

    /// From now on it waits for this session's mail. Says whether it is still there; from here on [`super::Command::WaiterGone`] tells when it leaves.
    fn begin(&mut self, session: &SessionId) -> bool;

    /// Gives it what came.
    ///
    /// # Errors
    /// Both, if there is no room for this now: it still waits.
    fn wake(self: Box<Self>, reply: HookReply) -> Result<(), (Box<dyn Waiter>, HookReply)>;

    /// Tells it that it need not wait any more.
    ///
    /// # Errors
    /// Itself, if there is no room for this now.
    fn dismiss(self: Box<Self>) -> Result<(), Box<dyn Waiter>>;

    /// Tells it, which has not begun, that it cannot wait.
    fn refuse(self: Box<Self>, error: RequestError);
}

#[derive(Default)]
pub(super) struct Waiters {
    by_session: BTreeMap<SessionId, Box<dyn Waiter>>,
    /// Those who are to be sent away, and could not be told yet.
    leaving: Vec<Box<dyn Waiter>>,
}

impl Waiters {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_session.len() + self.leaving.len()
    }

    /// Takes one in, in the place of who waited before. Says whether it is still there.
    pub(super) fn admit(&mut self, session: SessionId, mut waiter: Box<dyn Waiter>) -> bool {
        if !waiter.begin(&session) {
            return false;
        }
        let replaced = self.by_session.insert(session, waiter);
        self.leaving.extend(replaced);
        self.send_away();
        true
    }

    /// One has left by itself. Says whether nobody waits for the session any more.
    pub(super) fn forget(&mut self, session: &SessionId, number: u64) -> bool {
        let is_it = self.by_session.get(session).is_some_and(|waiter| waiter.number() == number);
        if is_it {
            self.by_session.remove(session);
        }
        is_it
    }

    /// Tells who waits for a session what came for it; given back if nobody can be told now.
    pub(super) fn wake(&mut self, session: &SessionId, reply: HookReply) -> Result<(), HookReply> {
        let Some(waiter) = self.by_session.remove(session) else { return Err(reply) };
        waiter.wake(reply).map_err(|(waiter, reply)| {
            self.by_session.insert(session.clone(), waiter);
            reply
        })
    }

    /// The sessions of a batch that are gone, and for which somebody waited, who is sent away.
    pub(super) fn note_changes(&mut self, changes: &[Change]) -> Vec<SessionId> {
        let mut gone = Vec::new();
        if self.by_session.is_empty() {
            return gone;
        }
        for change in changes {
            if change.after.is_none()
                && change.item_type() == ItemType::Session
                && let Some((session, waiter)) = self.by_session.remove_entry(change.id())
            {
                self.leaving.push(waiter);
                gone.push(session);
            }
        }
        self.send_away();
        gone
    }

    /// Tells those who are to go that they are, as far as there is room.
    pub(super) fn send_away(&mut self) {
        let leaving = std::mem::take(&mut self.leaving);
        self.leaving = leaving.into_iter().filter_map(|waiter| waiter.dismiss().err()).collect();
    }
}

impl<D: Disk> Store<D> {
    /// Lets one wait whose session is on disk, and is still there.
    pub(super) fn admit_waiter(
        &mut self,
        waiter: Box<dyn Waiter>,
        reply: Result<Reply, RequestError>,
        committed: bool,
        now: Now,
    ) {
        let session = match reply {
            Ok(Reply::Waits(session)) => session,
            Ok(_) => return,
            Err(error) => return waiter.refuse(error),
        };
        if !committed {
            waiter.refuse(self.not_stored());
        } else if self.roster.row(ItemType::Session, session.as_str()).is_none() {
            waiter.refuse(RequestError::not_found(format!("the session {session} has ended")));
        } else if self.waiters.admit(session.clone(), waiter) {
            return;
        }
        if !self.waiters.by_session.contains_key(&session) {
            self.nobody_waits(session, now);
        }
    }

    /// Wakes a session, if somebody is there who can.
    pub(super) fn wake(&mut self, reply: HookReply, committed: bool, now: Now) {
        let Some(session) = reply.session.as_ref().map(|session| session.row.id.clone()) else { return };
        let woken = if committed { self.waiters.wake(&session, reply) } else { Err(reply) };
        match woken {
            Ok(()) => self.nobody_waits(session, now),
            Err(reply) => self.take_back(&reply, now),
        }
    }

    /// An answer that is not given shows no mail: what was in it is free for the next one.
    pub(super) fn take_back(&mut self, reply: &HookReply, now: Now) {
        if let HookReply { session: Some(session), inbox, path, lease, .. } = reply
            && !inbox.is_empty()
        {
            let messages = inbox.iter().map(|handing| handing.message.row.id.clone()).collect();
            let request = Request::InboxHanded {
                session: session.row.id.clone(),
                messages,
                path: *path,
                lease: *lease,
                arrival: Arrival::NotGiven,
            };
            self.roster.apply(request, now, &mut *self.ids);
        }
    }

    /// Those for whom somebody waited and who are gone with a batch.
    pub(super) fn dismiss_waiters(&mut self, changes: &[Change], now: Now) {
        for session in self.waiters.note_changes(changes) {
            self.nobody_waits(session, now);
        }
    }

    fn nobody_waits(&mut self, session: SessionId, now: Now) {
        self.roster.apply(Request::WaiterGone(session), now, &mut *self.ids);
    }
}

//! Sessions: how they come (a hook, a shim, or both), change and go. One agent is one row, whichever way it is heard
//! of. It must not delete a session without its memberships and receipts.

use super::nickname::{clean_nickname, composed, is_clean, same_root};
use super::{Answer, Gone, Handled, Reply, Roster, SessionChange, SessionView, Sighting, Wait, validate};
use crate::error::RequestError;
use crate::ids::{ClientId, ReadId, SessionId};
use crate::limits::{
    ACTIVITY_NOTED_EVERY_MS, KEPT_READS_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, SWEEP_ROWS_MAX, TEXT_BYTES_MAX,
};
use crate::model::{Delivery, Doing, Host, ItemType, Message, MessageRead, Recipient, Row, Session, Step, Stored};
use crate::text::to_faultless;
use std::sync::Arc;

/// The last component of a path, Unix or Windows; none for a root or an empty path.
pub(super) fn basename(path: &str) -> Option<&str> {
    let bytes = path.as_bytes();
    let drive =
        bytes.len() >= 3 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' && matches!(bytes[2], b'\\' | b'/');
    let windows = drive || path.starts_with("\\\\");
    let separator = |c: char| c == '/' || (windows && c == '\\');
    let trimmed = path.trim_end_matches(separator);
    let name = trimmed.rsplit(separator).next().filter(|name| !name.is_empty())?;
    (!(windows && name.ends_with(':'))).then_some(name)
}

impl Roster {
    /// Gives a session from the log what an outsider's line may lack: a nickname of its own, and its rooms. Of two
    /// with the same name the older one keeps it. One that reads as several addresses, or as another session's id, or hides
    /// something, is made one that does not.
    pub(super) fn settle_session(&mut self, session: &SessionId) {
        let Some(placed) = self.tables.sessions.get(session) else { return };
        let (mut row, place) = (placed.stored.row.clone(), placed.place);
        let older = |id: &SessionId| self.tables.sessions.get(id).is_some_and(|other| other.place < place);
        let is_id = *row.nickname != *session.as_str() && self.tables.sessions.contains_key(&*row.nickname);
        let is_taken = is_id || self.tables.nicknames.holders(&row.nickname).any(older);
        if !row.nickname.is_empty() && !is_taken && is_clean(&row.nickname) {
            self.follow_identity(&row);
            return;
        }
        row.nickname = self.nickname_for(&clean_nickname(&row.nickname), &row.cwd, session);
        self.set_session(row);
    }

    /// Stores a changed session and what follows from it.
    pub(super) fn set_session(&mut self, row: Session) -> Arc<Stored<Session>> {
        let id = row.id.clone();
        let stored = Stored::new(row);
        self.tables.delete(ItemType::Departed, id.as_str());
        self.tables.set(Row::Session(stored.clone()));
        self.follow_identity(&stored.row);
        self.dirty.insert(id);
        stored
    }

    /// Stores a session of which nothing but signs of life has changed: in memory at once, in the log only when what
    /// is there is old.
    pub(super) fn note_activity(&mut self, row: Session) -> Arc<Stored<Session>> {
        let stored = Stored::new(row);
        if self.tables.activity_is_due(&stored.row) {
            self.tables.set(Row::Session(stored.clone()));
        } else {
            self.tables.set_in_memory(stored.clone());
        }
        stored
    }

    /// A shim states its session. The nickname that the roster gave it stays, unless the shim asks for one with
    /// another root.
    pub(super) fn publish_session(&mut self, client: ClientId, stated: Session) -> Handled {
        validate_stated(&stated)?;
        self.may_begin(&stated.id)?;
        let now = self.tables.now.wall_ms;
        let prior = self.tables.sessions.get(&stated.id).map(|placed| placed.stored.row.clone());
        let asked = clean_nickname(&stated.nickname);
        let nickname = match &prior {
            Some(Session { nickname, .. })
                if !nickname.is_empty() && (asked.is_empty() || same_root(&asked, nickname)) =>
            {
                nickname.clone()
            }
            _ => self.nickname_for(&asked, &stated.cwd, &stated.id),
        };
        let mut row = Session { client_id: Some(client), nickname, ..stated };
        row.operator = row.operator.map(|name| composed(&name));
        row.host = row.host.map(|host| Host { name: composed(&host.name), ..host });
        row.project = row.project.map(|name| Arc::from(to_faultless(&name)));
        row.last_activity_at = Some(row.last_activity_at.unwrap_or(now).min(now));
        row.last_tool_at = row.last_tool_at.map(|at| at.min(now));
        if row.connected_at <= 0 || row.connected_at > now {
            row.connected_at = now;
        }
        row.hooks = false;
        (row.process, row.role, row.groups, row.presence) = (None, None, Vec::new(), None);
        (row.directory, row.repository) = (None, None);
        row.doing = Doing::default();
        let before = prior.as_ref().and_then(|prior| prior.client_id.clone());
        if let Some(prior) = prior {
            merge_prior(&mut row, prior);
        }
        let is_new = row.client_id.as_ref().is_some_and(|client| self.tables.presence.claim(&row.id, client));
        let stored = self.set_session(row);
        let mut answer = Answer::new(Reply::Done, Wait::Batch);
        if is_new {
            self.push_again(&stored.row.id, before.as_ref(), &mut answer);
        }
        Ok(answer)
    }

    pub(super) fn withdraw_session(&mut self, client: &ClientId, session: &SessionId) -> Handled {
        if let Some(placed) = self.tables.sessions.get(session)
            && placed.stored.row.client_id.as_ref() == Some(client)
        {
            let row = placed.stored.row.clone();
            self.lose_client(row, Gone::Withdrawn);
        }
        Ok(Answer::new(Reply::Done, Wait::Batch))
    }

    pub(super) fn update_session(&mut self, session: &SessionId, change: SessionChange) -> Handled {
        let Some(placed) = self.tables.sessions.get(session) else {
            return Err(RequestError::not_found(format!("Session {session} not found")));
        };
        let now = self.tables.now.wall_ms;
        let prior = placed.stored.row.clone();
        let mut row = prior.clone();
        let shared = |text: Option<String>| text.map(Arc::from);
        let activity = matches!(
            change,
            SessionChange::LastActivityAt(_) | SessionChange::LastTool(_) | SessionChange::LastToolAt(_)
        );
        validate_change(&change)?;
        match change {
            SessionChange::CurrentTask(text) => row.current_task = shared(text.filter(|text| !text.is_empty())),
            SessionChange::LastActivityAt(at) => row.last_activity_at = row.last_activity_at.max(Some(at.min(now))),
            SessionChange::LastTool(text) => row.last_tool = shared(text),
            SessionChange::LastToolAt(at) => row.last_tool_at = at.map(|at| at.min(now)),
            SessionChange::GitBranch(text) => row.git_branch = shared(text),
            SessionChange::Place(place) => self.find_place(&mut row, *place),
            SessionChange::SessionName(text) => row.session_name = shared(text),
            SessionChange::Activity(text) => row.activity = shared(text),
            SessionChange::ChannelsEnabled(on) => row.channels_enabled = on,
        }
        if activity {
            self.note_activity(row);
            return Ok(Answer::new(Reply::Done, Wait::Session(session.clone())));
        }
        if row != prior {
            self.set_session(row);
        }
        Ok(Answer::new(Reply::Done, Wait::Session(session.clone())))
    }

    pub(super) fn client_connected(&mut self, client: ClientId) -> Handled {
        self.tables.presence.connect(client.clone());
        self.reach_moved.extend(self.tables.presence.held_by(&client));
        Ok(Answer::new(Reply::Done, Wait::No))
    }

    pub(super) fn client_gone(&mut self, client: &ClientId) -> Handled {
        let mut answer = Answer::new(Reply::Done, Wait::No);
        let now = self.tables.now;
        for session in self.tables.presence.held_by(client) {
            let next_place = self.tables.next_place();
            self.tables.pushes.note_away(&session, next_place, now.mono_ms);
        }
        for (session, heir) in self.tables.presence.void_claims(client) {
            if let Some(placed) = self.tables.sessions.get(&session) {
                let row = Session { client_id: Some(heir), ..placed.stored.row.clone() };
                self.set_session(row);
                self.push_again(&session, Some(client), &mut answer);
            }
        }
        self.reach_moved.extend(self.tables.presence.held_by(client));
        self.tables.presence.disconnect(client, now);
        Ok(answer)
    }

    /// A session's shim is gone for good. The agent need not be: one with a known process lives as long as that, and one
    /// with hooks lives by them from now on.
    pub(super) fn lose_client(&mut self, mut row: Session, why: Gone) {
        if row.hooks || row.process.is_some() {
            row.client_id = None;
            self.set_session(row);
        } else {
            self.remove_session(&row.id, why);
        }
    }

    /// Whoever speaks is alive. One who says much is noted once in a while.
    pub(super) fn note_caller(&mut self, session: &SessionId) {
        if let Some(placed) = self.tables.sessions.get(session) {
            let now = self.tables.now;
            let noted = placed.stored.row.last_activity_at.is_some_and(|at| is_recent(now.wall_ms.saturating_sub(at)));
            if noted && self.tables.presence.seen_at(session).is_some_and(|at| is_recent(now.mono_ms - at)) {
                return;
            }
            let last_activity_at = Some(now.wall_ms);
            self.note_activity(Session { last_activity_at, ..placed.stored.row.clone() });
        }
    }

    /// Deletes a session with its receipts and memberships. What it had read of its direct mail stays noted on the
    /// messages, so that it does not get them again if it is resumed.
    pub(super) fn remove_session(&mut self, session: &SessionId, why: Gone) {
        let Some(row) = self.tables.sessions.get(session).map(|placed| placed.stored.row.clone()) else { return };
        // Before its receipts go, by which it is known what it has read.
        self.keep_room_mail(session, None);
        let mut kept = 0;
        for read in self.reads_newest_first(session) {
            let is_kept = kept < KEPT_READS_MAX;
            kept += usize::from(self.remove_read(read.as_str(), is_kept));
        }
        let rooms: Vec<_> =
            self.tables.rooms_of.get(session).into_iter().flatten().map(|(room, _)| room.clone()).collect();
        for room in rooms {
            self.remove_member(&room, session);
        }
        self.tables.delete_since(ItemType::Registration, session.as_str(), Some(why));
        self.tables.delete_since(ItemType::Session, session.as_str(), Some(why));
        self.pulses.remove(session);
        self.tables.pushes.forget(session);
        self.note_departed(&row);
        let begun_at = self.tables.journal().len();
        self.bound_kept(|roster| roster.tables.journal().len() - begun_at >= SWEEP_ROWS_MAX);
        self.dirty.insert(session.clone());
    }

    /// A session's receipts, those for the newest messages first.
    fn reads_newest_first(&self, session: &SessionId) -> Vec<ReadId> {
        let place = |id: &ReadId| {
            let message = &self.tables.reads.get(id)?.stored.row.message_id;
            self.tables.messages.get(message).map(|placed| placed.place)
        };
        let reads = self.tables.reads_of.get(session).into_iter().flatten();
        let mut reads: Vec<(Option<u64>, ReadId)> = reads.map(|id| (place(id), id.clone())).collect();
        reads.sort_unstable();
        reads.into_iter().rev().map(|(_, id)| id).collect()
    }

    /// Deletes a receipt, which would be a reader's to marshal 0.9 that is not there. If it is for a direct message, the
    /// message keeps the fact; else, if it is to be kept, a delivery does, which goes with the message. Says whether one does.
    pub(super) fn remove_read(&mut self, read: &str, is_kept: bool) -> bool {
        let Some(receipt) = self.tables.reads.get(read).map(|placed| placed.stored.row.clone()) else { return false };
        let mut has_delivery = false;
        if let Some(message) = self.tables.messages.get(&receipt.message_id).map(|placed| &placed.stored.row) {
            if message.to == Recipient::Session(receipt.session_id.clone()) {
                self.tables.set(Message { read_at: Some(receipt.read_at), ..message.clone() });
            } else if is_kept && self.is_worth_keeping(&receipt.message_id) {
                let MessageRead { id, message_id, session_id, read_at, evidence, path } = receipt;
                let step = Step::Read(evidence, path);
                self.tables.set(Delivery { id, message_id, session_id, step, at: read_at, times: 0 });
                has_delivery = true;
            }
        }
        self.tables.delete(ItemType::MessageRead, read);
        has_delivery
    }

    pub(super) fn list_sessions(&self) -> Answer {
        let views = self.tables.sessions.values().map(|placed| self.view_session(&placed.stored));
        Answer::new(Reply::Sessions(views.collect()), Wait::Batch)
    }

    /// A session as a listing shows it.
    pub(super) fn view_session(&self, session: &Arc<Stored<Session>>) -> SessionView {
        let (tables, row) = (&self.tables, &session.row);
        let Sighting { session, reach, unread } = self.sighting(session.clone());
        SessionView {
            connected: row.client_id.as_ref().is_some_and(|client| tables.presence.is_connected(client)),
            reach,
            unread,
            woken_by: tables.waiters.at_least(&row.id),
            rooms: tables.rooms_of.get(&row.id).into_iter().flatten().map(|(room, _)| room.clone()).collect(),
            presence_proven: row.presence.as_ref().is_some_and(|presence| presence.expires_at > tables.now.wall_ms),
            registration: tables.registrations.get(&row.id).map(|placed| placed.stored.clone()),
            session,
        }
    }
}

/// Whether a sign of life that is so old stands for one now.
fn is_recent(age_ms: i64) -> bool {
    (0..ACTIVITY_NOTED_EVERY_MS).contains(&age_ms)
}

/// What a shim's restated session keeps of the row that the roster has.
fn merge_prior(row: &mut Session, prior: Session) {
    row.connected_at = prior.connected_at;
    row.hooks = prior.hooks;
    row.current_task = row.current_task.take().or(prior.current_task);
    row.last_activity_at = row.last_activity_at.max(prior.last_activity_at);
    row.last_tool = row.last_tool.take().or(prior.last_tool);
    row.last_tool_at = row.last_tool_at.max(prior.last_tool_at);
    row.operator = row.operator.take().or(prior.operator);
    row.host = row.host.take().or(prior.host);
    row.project = row.project.take().or(prior.project);
    row.channels_enabled = row.channels_enabled.or(prior.channels_enabled);
    row.session_name = row.session_name.take().or(prior.session_name);
    row.activity = row.activity.take().or(prior.activity);
    row.kind = row.kind.take().or(prior.kind);
    // These are not a shim's to state: they come with proofs of their own.
    row.process = prior.process;
    row.role = prior.role;
    row.groups = prior.groups;
    row.presence = prior.presence;
    row.doing = prior.doing;
    if row.cwd.is_empty() || row.cwd == prior.cwd {
        (row.cwd, row.directory, row.repository) = (prior.cwd, prior.directory, prior.repository);
    }
}

fn validate_stated(stated: &Session) -> Result<(), RequestError> {
    validate::bounded("nickname", &stated.nickname, NAME_BYTES_MAX)?;
    validate::bounded("cwd", &stated.cwd, PATH_BYTES_MAX)?;
    let host = stated.host.as_ref();
    let names = [
        ("operator", stated.operator.as_ref()),
        ("host", host.map(|host| &host.name)),
        ("os", host.map(|host| &host.os)),
        ("arch", host.map(|host| &host.arch)),
    ];
    // A project is called as its directory, for which its session cannot be refused.
    validate::bounded("project", stated.project.as_deref().unwrap_or_default(), NAME_BYTES_MAX)?;
    for (what, name) in names {
        name.map_or(Ok(()), |name| validate::name(what, name))?;
    }
    let texts = [
        ("gitBranch", &stated.git_branch),
        ("currentTask", &stated.current_task),
        ("lastTool", &stated.last_tool),
        ("sessionName", &stated.session_name),
        ("activity", &stated.activity),
        ("kind", &stated.kind),
    ];
    for (what, text) in texts {
        text.as_ref().map_or(Ok(()), |text| validate::bounded(what, text, TEXT_BYTES_MAX))?;
    }
    Ok(())
}

fn validate_change(change: &SessionChange) -> Result<(), RequestError> {
    let text = match change {
        SessionChange::CurrentTask(text) => ("currentTask", text),
        SessionChange::LastTool(text) => ("lastTool", text),
        SessionChange::GitBranch(text) => ("gitBranch", text),
        SessionChange::SessionName(text) => ("sessionName", text),
        SessionChange::Activity(text) => ("activity", text),
        SessionChange::LastActivityAt(_)
        | SessionChange::LastToolAt(_)
        | SessionChange::ChannelsEnabled(_)
        | SessionChange::Place(_) => return Ok(()),
    };
    text.1.as_ref().map_or(Ok(()), |value| validate::bounded(text.0, value, TEXT_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_named_by_its_last_component_on_any_system() {
        let cases = [
            ("/home/a/proj", Some("proj")),
            ("/a/b/", Some("b")),
            ("/", None),
            ("", None),
            ("C:\\Users\\me\\proj", Some("proj")),
            ("C:\\Users\\me\\proj\\", Some("proj")),
            ("C:\\", None),
            ("\\\\server\\share\\x", Some("x")),
            ("/tmp/odd\\name", Some("odd\\name")),
            ("/a/é", Some("é")),
        ];
        for (path, name) in cases {
            assert_eq!(basename(path), name, "{path}");
        }
    }
}

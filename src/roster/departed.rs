//! Mail outlives its session: what a session leaves unread when it ends is kept for it, can be taken over by one in its
//! place, and ends undeliverable after a time, of which the sender hears. It must not give mail to anybody who was not asked
//! about by the operator or is not in the place of the one that is gone.

use super::mailbox::Mailboxes;
use super::nickname::{composed, default_root, short_of, without_number};
use super::notices::NoticeWeight;
use super::place;
use super::{Answer, Caller, Claimed, Handled, Left, Reply, Roster, Wait};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{IdSource, MessageId, ReadId, SessionId};
use crate::limits::{
    CLAIM_MESSAGES_MAX, DEPARTED_WITHOUT_MAIL_MAX, ENDED_KNOWN_MS, ID_SHORT_CHARS, KEPT_AGE_MAX_MS, KEPT_FOR_GONE_MAX,
    NOTICE_IDS_MAX, SWEEP_ROWS_MAX, UNCLAIMED_MAIL_AGE_MAX_MS,
};
use crate::model::{Delivery, Departed, ItemType, Message, Reason, Recipient, Session, Step};
use crate::text::quoted;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Where a session was: the root of its nickname, its directory, and the human that it worked for.
type Place = (Arc<str>, Arc<str>, Option<Arc<str>>);

/// The indexes over sessions that are gone: by their nicknames, by their place and when they ended, and by when their mail
/// ends; those without mail by until when they are known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Departures {
    by_nickname: BTreeMap<Arc<str>, BTreeSet<SessionId>>,
    by_place: BTreeMap<Place, BTreeSet<(i64, SessionId)>>,
    by_due: BTreeSet<(i64, SessionId)>,
    without_mail: BTreeSet<(i64, SessionId)>,
    /// The people for whom they worked, each with how many did.
    operators: BTreeMap<Arc<str>, usize>,
}

impl Departures {
    pub(crate) fn insert(&mut self, row: &Departed) {
        self.by_nickname.entry(composed(&row.nickname)).or_default().insert(row.id.clone());
        row.operator.iter().for_each(|operator| *self.operators.entry(operator.clone()).or_default() += 1);
        if !row.has_mail {
            self.without_mail.insert((row.due_at, row.id.clone()));
            return;
        }
        if let Some(place) = place_of_departed(row) {
            self.by_place.entry(place).or_default().insert((row.ended_at, row.id.clone()));
        }
        self.by_due.insert((row.due_at, row.id.clone()));
    }

    pub(crate) fn remove(&mut self, row: &Departed) {
        if let Some(operator) = &row.operator
            && let Some(count) = self.operators.get_mut(operator)
        {
            *count -= 1;
            if *count == 0 {
                self.operators.remove(operator);
            }
        }
        let nickname = composed(&row.nickname);
        if let Some(sessions) = self.by_nickname.get_mut(&nickname) {
            sessions.remove(&row.id);
            if sessions.is_empty() {
                self.by_nickname.remove(&nickname);
            }
        }
        if !row.has_mail {
            self.without_mail.remove(&(row.due_at, row.id.clone()));
            return;
        }
        if let Some(place) = place_of_departed(row)
            && let Some(sessions) = self.by_place.get_mut(&place)
        {
            sessions.remove(&(row.ended_at, row.id.clone()));
            if sessions.is_empty() {
                self.by_place.remove(&place);
            }
        }
        self.by_due.remove(&(row.due_at, row.id.clone()));
    }

    /// The sessions that ended under this name, which is composed.
    pub(crate) fn named(&self, nickname: &str) -> impl Iterator<Item = &SessionId> {
        self.by_nickname.get(nickname).into_iter().flatten()
    }

    /// Whether one of them worked for this person.
    pub(crate) fn has_operator(&self, name: &str) -> bool {
        self.operators.contains_key(name)
    }

    /// Whether a name is kept for a session that ended, other than this one: mail waits for it, or there is some that it
    /// sent or got and that can be answered. Then who writes to that name does not mean another one.
    pub(crate) fn is_reserved(&self, nickname: &str, session: &SessionId, mail: &Mailboxes) -> bool {
        let mut others = self.named(nickname).filter(|other| *other != session);
        others.any(|other| self.is_kept(other, mail))
    }

    /// Whether the name of a session that ended is kept for it.
    #[expect(clippy::unused_self, reason = "said of one of these")]
    pub(crate) fn is_kept(&self, ended: &SessionId, mail: &Mailboxes) -> bool {
        mail.unread_count(ended) > 0 || mail.concerning(ended, u64::MAX).next().is_some()
    }

    /// The names of sessions that ended which begin with `text`; none for an empty text.
    pub(crate) fn beginning_with<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        let from = self.by_nickname.range::<str, _>((Bound::Included(text), Bound::Unbounded));
        from.map(|(name, _)| name).take_while(move |name| !text.is_empty() && name.starts_with(text))
    }

    fn due(&self, now: i64) -> Vec<SessionId> {
        let due = self.by_due.iter().take_while(|(at, _)| *at <= now).take(SWEEP_ROWS_MAX);
        due.map(|(_, session)| session.clone()).collect()
    }

    /// The one without mail that is to be forgotten next: because its time is over, or there are too many of them.
    fn forgettable(&self, now: i64) -> Option<SessionId> {
        let (due_at, session) = self.without_mail.first()?;
        (*due_at <= now || self.without_mail.len() > DEPARTED_WITHOUT_MAIL_MAX).then(|| session.clone())
    }
}

/// The place of a session; none for one that is in no directory. A nickname that was made of the session's id is the
/// place's own as far as it is not the id's.
fn place_named(
    nickname: &str,
    id: &SessionId,
    cwd: &Arc<str>,
    directory: Option<&Arc<str>>,
    operator: Option<&Arc<str>>,
) -> Option<Place> {
    if cwd.is_empty() {
        return None;
    }
    // Earlier versions took the first characters of any id.
    let first: String = id.as_str().chars().take(ID_SHORT_CHARS).collect();
    let suffixes = [format!("@{}", short_of(id.as_str())), format!("@{first}")];
    let named = |name: &str| suffixes.iter().find_map(|suffix| name.strip_suffix(suffix.as_str())).map(Arc::from);
    let bare = without_number(nickname);
    let root: Arc<str> = named(nickname).or_else(|| named(bare)).unwrap_or_else(|| Arc::from(bare));
    // A name that is the directory's own says no more than that, which can be called by a link.
    let is_of_directory = default_root(cwd) == *root || default_root("") == *root;
    let root = if is_of_directory { Arc::from("") } else { root };
    Some((root, place::compared(cwd, directory), operator.cloned()))
}

fn place_of(row: &Session) -> Option<Place> {
    place_named(&row.nickname, &row.id, &row.cwd, row.directory.as_ref(), row.operator.as_ref())
}

fn place_of_departed(row: &Departed) -> Option<Place> {
    place_named(&row.nickname, &row.id, &row.cwd, row.directory.as_ref(), row.operator.as_ref())
}

impl Roster {
    /// Notes what a session leaves that has just ended; and where it was, if mail can still come for it.
    pub(super) fn note_departed(&mut self, row: &Session) {
        let ended_at = self.tables.now.wall_ms;
        let unread = self.tables.mail.unread_of(&row.id);
        let ends = unread.iter().filter_map(|(_, message)| self.mail_ends_at(message, ended_at));
        let first_end = ends.min();
        let (id, nickname, operator) = (row.id.clone(), row.nickname.clone(), row.operator.clone());
        let (cwd, directory) = (row.cwd.clone(), row.directory.clone());
        let due_at = first_end.unwrap_or(ended_at);
        let departed =
            Departed { id, nickname, cwd, directory, operator, ended_at, due_at, has_mail: first_end.is_some() };
        if departed.has_mail {
            self.tables.set(departed);
        } else {
            self.remember_place(departed);
        }
    }

    /// Keeps in mind a session that has ended and has no mail: for as long as mail would be kept, if it has sent or got some
    /// that can be answered; else for a while, so that it is known as ended. Of too many those go first.
    fn remember_place(&mut self, row: Departed) {
        let has_written = self.tables.mail.concerning(&row.id, u64::MAX).next().is_some();
        let known_for = if has_written { UNCLAIMED_MAIL_AGE_MAX_MS } else { ENDED_KNOWN_MS };
        let due_at = row.ended_at.saturating_add(known_for);
        if due_at > self.tables.now.wall_ms {
            self.tables.set(Departed { due_at, has_mail: false, ..row });
            if let Some(oldest) = self.tables.departures.forgettable(i64::MIN) {
                self.tables.delete(ItemType::Departed, oldest.as_str());
            }
        } else {
            self.tables.delete(ItemType::Departed, row.id.as_str());
        }
    }

    /// A message has come for a session that is gone: it is kept as what that has left. If nobody knows any more where it
    /// was, nobody can be told of its mail, which ends in time all the same.
    pub(super) fn leave_for(&mut self, session: &SessionId, message: &MessageId) {
        if self.tables.sessions.contains_key(session) || session.is_human() {
            return;
        }
        let now = self.tables.now.wall_ms;
        let known = self.tables.departed.get(session).map(|placed| placed.stored.row.clone());
        let nowhere = || Departed {
            id: session.clone(),
            nickname: self.name_of(session),
            cwd: Arc::from(""),
            directory: None,
            operator: None,
            ended_at: now,
            due_at: now,
            has_mail: false,
        };
        let before = known.unwrap_or_else(nowhere);
        let Some(ends_at) = self.mail_ends_at(message, before.ended_at) else { return };
        let due_at = if before.has_mail { before.due_at.min(ends_at) } else { ends_at };
        if !before.has_mail || due_at < before.due_at {
            self.tables.set(Departed { due_at, has_mail: true, ..before });
        }
    }

    /// Until when a message is kept for a session that ended at a moment, or before it was sent.
    fn mail_ends_at(&self, message: &MessageId, ended_at: i64) -> Option<i64> {
        let row = &self.tables.messages.get(message)?.stored.row;
        Some(match row.to {
            Recipient::Room(_) => ended_at.saturating_add(KEPT_AGE_MAX_MS),
            Recipient::Session(_) => {
                row.expires_at().unwrap_or_else(|| ended_at.max(row.sent_at).saturating_add(UNCLAIMED_MAIL_AGE_MAX_MS))
            }
        })
    }

    /// Forgets a session that is gone once nothing is left of its mail, and none can come that somebody in its place could
    /// be told of.
    pub(super) fn forget_departed(&mut self, session: &SessionId) {
        let Some(placed) = self.tables.departed.get(session) else { return };
        if placed.stored.row.has_mail && self.tables.mail.unread_count(session) == 0 {
            self.remember_place(placed.stored.row.clone());
        }
    }

    /// Looks at a row from outside: of a session that is there, or left nothing, nothing need be known.
    pub(super) fn check_departed(&mut self, session: &SessionId) {
        if self.tables.sessions.contains_key(session) {
            self.tables.delete(ItemType::Departed, session.as_str());
        }
        let Some(row) = self.tables.departed.get(session).map(|placed| placed.stored.row.clone()) else { return };
        if self.tables.mail.unread_count(session) == 0 {
            self.remember_place(row);
        } else if !row.has_mail {
            self.tables.set(Departed { has_mail: true, ..row });
        }
    }

    /// Settles what was kept for sessions that are gone, and that nobody has claimed in time.
    pub(super) fn end_unclaimed(&mut self, ids: &mut dyn IdSource, is_full: impl Fn(&Self) -> bool) {
        let now = self.tables.now.wall_ms;
        while let Some(session) = self.tables.departures.forgettable(now) {
            if is_full(self) {
                return;
            }
            self.forget_place(&session);
        }
        for session in self.tables.departures.due(now) {
            let Some(row) = self.tables.departed.get(&session).map(|placed| placed.stored.row.clone()) else {
                continue;
            };
            let mut due_at = i64::MAX;
            for (_, message) in self.tables.mail.unread_of(&session) {
                if is_full(self) {
                    return;
                }
                let Some(ends_at) = self.mail_ends_at(&message, row.ended_at) else { continue };
                if ends_at > now {
                    due_at = due_at.min(ends_at);
                    continue;
                }
                let step = Step::Undeliverable(Reason::SessionEnded);
                self.settle(&session, &message, step.clone());
                self.tell_sender(&message, &session, &step, ids);
            }
            self.forget_departed(&session);
            if self.tables.mail.unread_count(&session) > 0 {
                self.tables.set(Departed { due_at, ..row });
            }
        }
    }

    /// Whether what is known of a room's message for a session that ends will be kept: among so many for all sessions that
    /// are gone, the newest are.
    pub(super) fn is_worth_keeping(&self, message: &MessageId) -> bool {
        let steps = &self.tables.room_steps;
        let oldest = steps.oldest_of_gone().filter(|_| steps.of_gone() >= KEPT_FOR_GONE_MAX);
        let place = self.tables.messages.get(message).map(|placed| placed.place);
        oldest.is_none_or(|(oldest, _)| place.is_some_and(|place| place >= *oldest))
    }

    /// Forgets the oldest of what is known of rooms' messages for sessions that are gone, if it is too much.
    pub(super) fn bound_kept(&mut self, is_full: impl Fn(&Self) -> bool) {
        while self.tables.room_steps.of_gone() > KEPT_FOR_GONE_MAX && !is_full(self) {
            let Some((place, session)) = self.tables.room_steps.oldest_of_gone().cloned() else { return };
            let Some(message) = self.tables.mail.at(place).cloned() else { return };
            self.tables.delete(ItemType::Delivery, ReadId::of(&message, &session).as_str());
            self.forget_departed(&session);
        }
    }

    /// Forgets where a session was that has left nothing, if that is so: somebody else's line may have said it of one that did.
    fn forget_place(&mut self, session: &SessionId) {
        let Some(row) = self.tables.departed.get(session).map(|placed| placed.stored.row.clone()) else { return };
        match self.tables.mail.unread_count(session) {
            0 => self.tables.delete(ItemType::Departed, session.as_str()),
            _ => self.tables.set(Departed { has_mail: true, ..row }),
        }
    }

    /// Settles an old direct message that somebody has not read, rather than letting it go without a word. Says whether
    /// there was something to settle.
    pub(super) fn ends_unread(&mut self, message: &MessageId, ids: &mut dyn IdSource) -> bool {
        let Some(row) = self.tables.messages.get(message).map(|placed| placed.stored.row.clone()) else { return false };
        let Recipient::Session(recipient) = &row.to else { return false };
        let awaiting = self.awaiting(message);
        for session in &awaiting {
            let is_there = self.tables.sessions.contains_key(session) || session.is_human();
            let step = if is_there { Step::Expired } else { Step::Undeliverable(Reason::SessionEnded) };
            self.settle(session, message, step.clone());
            self.tell_sender(message, recipient, &step, ids);
        }
        !awaiting.is_empty()
    }

    /// Those who were in this place, are gone and have left something, in the order in which they ended.
    fn gone_from(&self, place: &Place) -> Option<&BTreeSet<(i64, SessionId)>> {
        self.tables.departures.by_place.get(place)
    }

    /// What those left unread who were in a session's place.
    pub(super) fn left_for(&self, row: &Session) -> Option<Left> {
        let gone = self.gone_from(&place_of(row)?)?;
        let (_, last) = gone.last()?;
        let nickname = self.tables.departed.get(last)?.stored.row.nickname.clone();
        let messages = self.tables.mail.unread_count(last);
        // A row that somebody else has written may be of one that left nothing, until the next sweep.
        (messages > 0).then_some(Left { nickname, messages, others: gone.len() - 1 })
    }

    pub(super) fn claim_mail(&mut self, caller: &Caller, from: Option<&str>, ids: &mut dyn IdSource) -> Handled {
        let by = self.speaker(caller)?.id;
        self.must_be_named(caller)?;
        let here = self.tables.sessions.get(&by).and_then(|placed| place_of(&placed.stored.row));
        let gone = match from {
            Some(address) => {
                let gone = self.ended_named(address)?;
                let is_same = here.is_some() && here == place_of_departed(gone);
                if !is_same && self.sees_only(caller)?.is_some() {
                    let message = format!(
                        "{} was not in your place (the same name, directory and operator); the operator can claim its mail \
                         for you: marshal inbox --claim --session {by} --from {}",
                        gone.nickname, gone.id
                    );
                    return Err(RequestError::new(ErrorKind::Forbidden, message));
                }
                vec![gone.id.clone()]
            }
            None if by.is_human() => return Err(RequestError::invalid("say whose mail you claim: --from SESSION")),
            None => {
                let gone = here.as_ref().and_then(|here| self.gone_from(here));
                gone.into_iter().flatten().map(|(_, id)| id.clone()).collect()
            }
        };
        let claimed = self.claim_from(&gone, &by, ids);
        self.note_caller(&by);
        self.dirty.insert(by);
        Ok(Answer::new(Reply::Claimed(claimed), Wait::Batch))
    }

    fn claim_from(&mut self, gone: &[SessionId], by: &SessionId, ids: &mut dyn IdSource) -> Claimed {
        let mut claimed = Claimed { by: by.clone(), from: Vec::new(), more: false };
        let mut left = CLAIM_MESSAGES_MAX;
        for session in gone {
            let Some(nickname) = self.tables.departed.get(session).map(|placed| placed.stored.row.nickname.clone())
            else {
                continue;
            };
            let mut unread = self.tables.mail.unread_of(session);
            // What it has written itself it need not read.
            unread.retain(|(_, id)| self.tables.messages.get(id).is_some_and(|m| m.stored.row.from_session_id != *by));
            // What was settled for itself, it cannot get in another's place either.
            let is_open = |step: &Step| !step.is_settled() || matches!(step, Step::Claimed(_));
            unread.retain(|(_, id)| self.tables.delivery(id, by).is_none_or(|own| is_open(&own.step)));
            claimed.more |= unread.len() > left;
            unread.truncate(left);
            left -= unread.len();
            let taken: Vec<MessageId> = unread.into_iter().map(|(_, id)| id).collect();
            for message in &taken {
                self.hand_down(message, session, by);
                self.push_later(by, message);
            }
            self.tell_of_heir(&taken, session, by, ids);
            if !taken.is_empty() {
                claimed.from.push((session.clone(), nickname, taken.len()));
            }
        }
        claimed
    }

    /// Makes a message that one session has not read another one's.
    pub(super) fn hand_down(&mut self, message: &MessageId, from: &SessionId, to: &SessionId) {
        self.settle(from, message, Step::Claimed(to.clone()));
        let Some(placed) = self.tables.messages.get(message) else { return };
        // Another session had claimed it from this one, and has ended: it comes back.
        if matches!(self.tables.delivery(message, to), Some(Delivery { step: Step::Claimed(_), .. })) {
            return self.set_step(to, message, Step::Kept, 0);
        }
        let is_own = placed.stored.row.to == Recipient::Session(to.clone())
            || self.tables.mail.is_unread(placed.place, to)
            || self.tables.delivery(message, to).is_some()
            || self.tables.reads.contains_key(&ReadId::of(message, to));
        if !is_own {
            self.set_step(to, message, Step::Kept, 0);
        }
    }

    /// Tells each sender once to whom its messages went.
    fn tell_of_heir(&mut self, taken: &[MessageId], from: &SessionId, by: &SessionId, ids: &mut dyn IdSource) {
        let mut by_sender: BTreeMap<SessionId, Vec<MessageId>> = BTreeMap::new();
        for message in taken {
            let Some(row) = self.tables.messages.get(message).map(|placed| &placed.stored.row) else { continue };
            if matches!(row.to, Recipient::Session(_)) {
                by_sender.entry(row.from_session_id.clone()).or_default().push(message.clone());
            }
        }
        for messages in by_sender.into_values() {
            let last = messages.last().and_then(|last| self.tables.messages.get(last));
            let Some(last) = last.map(|placed| placed.stored.row.clone()) else { continue };
            if messages.len() == 1 {
                self.tell_sender(&last.id, from, &Step::Claimed(by.clone()), ids);
            } else {
                let text = self.heir_text(&messages, &last, by);
                self.notice(&last, NoticeWeight::Interim, &text, ids);
            }
        }
    }

    fn heir_text(&self, messages: &[MessageId], last: &Message, by: &SessionId) -> String {
        let (by, heir) = (quoted(&self.name_of(by)), by.clone());
        let rows = messages.iter().take(NOTICE_IDS_MAX).filter_map(|id| self.tables.messages.get(id));
        let named: Vec<String> = rows.map(|placed| self.called(&placed.stored.row)).collect();
        let more = messages.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (count, name, named) = (messages.len(), quoted(&last.to_nick), named.join(", "));
        if last.to == Recipient::Session(heir) {
            return format!("{name} is back and has {count} of your messages again: {named}{more}");
        }
        format!(
            "{count} of your messages to {name}, which ended before reading them, were taken over by {by}: {named}{more}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_name_without_what_is_the_session_s_own() {
        let root = |nickname: &str, id: &str| {
            place_named(nickname, &SessionId::from(id), &Arc::from("/w/x"), None, None)
                .map(|(root, _, _)| root.to_string())
        };
        let table = [
            ("x@12345678", "12345678-90ab", ""),
            ("x@12345678-2", "12345678-90ab", ""),
            ("x@ab-12345", "ab-12345-6", ""),
            ("web", "12345678", "web"),
            ("web-3", "12345678", "web"),
            ("x@87654321", "12345678", "x@87654321"),
        ];
        for (nickname, id, expected) in table {
            assert_eq!(root(nickname, id).as_deref(), Some(expected), "{nickname}");
        }
        assert_eq!(place_named("web", &SessionId::from("s"), &Arc::from(""), None, None), None);
    }
}

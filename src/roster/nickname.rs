//! Nicknames: which session has which, which one a newcomer gets, and by which one a session is shown. It must not
//! rename a session by itself.

use super::sessions::basename;
use super::tables::Tables;
use super::{DeliveryStanding as Standing, Roster, validate};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{HUMAN_PREFIX, NOTICE_SENDER, SessionId};
use crate::limits::{ID_SHORT_CHARS, NAME_BYTES_MAX, NAME_SHOWN_CHARS_MAX, NICKNAMES_WALKED_MAX};
use crate::model::{Message, ROOM_PREFIXES, Recipient, Session, Step};
use crate::text::{nfc, to_name};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Bytes of a nickname before a number is added, so that with any number it is still a name.
const NICKNAME_BYTES_MAX: usize = NAME_BYTES_MAX - "-4294967295".len();

/// A text that can serve as a nickname: seen as it is, nothing in it that reads as another kind of address or as
/// several, at most [`NICKNAME_BYTES_MAX`] bytes.
pub(super) fn clean_nickname(text: &str) -> String {
    let mut clean = to_name(text);
    let is_address = |prefix: &&str| clean.starts_with(*prefix);
    if clean.starts_with(['@', '*']) || clean.starts_with(HUMAN_PREFIX) || ROOM_PREFIXES.iter().any(is_address) {
        clean.insert(0, '_');
    }
    while clean.len() > NICKNAME_BYTES_MAX {
        clean.pop();
    }
    clean
}

/// The nickname that a session without one asks for: `<directory>@<eight characters of its id>`.
pub(super) fn default_nickname(cwd: &str, id: &SessionId) -> String {
    let short = short_of(id.as_str());
    let room = NAME_SHOWN_CHARS_MAX.saturating_sub(1 + short.chars().count());
    let directory: String = default_root(cwd).chars().take(room).collect();
    clean_nickname(&format!("{directory}@{short}"))
}

/// The part of such a nickname that is the directory's.
pub(super) fn default_root(cwd: &str) -> String {
    let directory = to_name(basename(cwd).unwrap_or_default());
    if directory.is_empty() { "session".to_owned() } else { directory }
}

/// The characters of an id by which a person tells it from others: the first, or the last where ids begin with the time
/// at which they were made, since the first are then the same for all of one minute.
pub(super) fn short_of(id: &str) -> String {
    let count = id.chars().count();
    let skipped = if begins_with_time(id) { count.saturating_sub(ID_SHORT_CHARS) } else { 0 };
    id.chars().skip(skipped).take(ID_SHORT_CHARS).collect()
}

/// Whether an id looks like a UUID of version 7 or 8, as Codex has them, or like a ULID, a KSUID or an id with a prefix
/// (`ses_...`), all of which begin with a time or with what all have in common.
fn begins_with_time(id: &str) -> bool {
    const WORD_CHARS_MIN: usize = 20;
    let bytes = id.as_bytes();
    let is_uuid = bytes.len() == 36 && [8, 13, 18, 23].iter().all(|dash| bytes[*dash] == b'-');
    let is_word = || bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    if is_uuid { matches!(bytes[14], b'7' | b'8') } else { bytes.len() >= WORD_CHARS_MIN && is_word() }
}

/// The index of nicknames in use.
#[derive(Debug, Default)]
pub(crate) struct Nicknames {
    holders: BTreeMap<Arc<str>, BTreeSet<SessionId>>,
    /// The roots of the numbered names in use.
    roots: BTreeMap<Arc<str>, Root>,
    /// How many names have been looked up, for a test of the claim above.
    #[cfg(test)]
    looks: std::cell::Cell<usize>,
}

/// The names that are one root with different numbers.
#[derive(Debug)]
struct Root {
    /// How many of them are in use; a root without any is forgotten.
    names: usize,
    /// Below this number all are taken. It spares a newcomer among ten thousand namesakes the walk over all of them.
    taken_below: u32,
}

#[cfg(test)]
impl Nicknames {
    /// The holders of each name, for tests to hold against the rows.
    pub(super) fn inspect(&self) -> &BTreeMap<Arc<str>, BTreeSet<SessionId>> {
        &self.holders
    }

    /// For each root, how many names it has, and the number below which all are taken.
    pub(super) fn roots(&self) -> impl Iterator<Item = (&Arc<str>, usize, u32)> {
        self.roots.iter().map(|(root, known)| (root, known.names, known.taken_below))
    }

    pub(super) fn looks(&self) -> usize {
        self.looks.get()
    }
}

impl Nicknames {
    pub(crate) fn insert(&mut self, nickname: &Arc<str>, session: &SessionId) {
        let nickname = composed(nickname);
        let (root, number) = split(&nickname);
        if number.is_some() && !self.holders.contains_key(&nickname) {
            self.roots.entry(Arc::from(root)).or_insert(Root { names: 0, taken_below: 2 }).names += 1;
        }
        self.holders.entry(nickname).or_default().insert(session.clone());
    }

    pub(crate) fn remove(&mut self, nickname: &Arc<str>, session: &SessionId) {
        let nickname = composed(nickname);
        let Some(holders) = self.holders.get_mut(&nickname) else {
            return;
        };
        holders.remove(session);
        if !holders.is_empty() {
            return;
        }
        self.holders.remove(&nickname);
        self.released(&nickname);
        if let (root, Some(_)) = split(&nickname)
            && let Some(known) = self.roots.get_mut(root)
        {
            known.names -= 1;
            if known.names == 0 {
                self.roots.remove(root);
            }
        }
    }

    /// A name is free, which may have been taken or kept before.
    pub(crate) fn released(&mut self, nickname: &str) {
        if let (root, Some(number)) = split(nickname)
            && let Some(known) = self.roots.get_mut(root)
        {
            known.taken_below = number.clamp(2, known.taken_below);
        }
    }

    /// The sessions that are called `nickname`, which is composed.
    pub(crate) fn holders(&self, nickname: &str) -> impl Iterator<Item = &SessionId> {
        self.holders.get(nickname).into_iter().flatten()
    }

    /// Nicknames that begin with `text`; none for an empty text, which all do.
    pub(crate) fn beginning_with<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        let from = (Bound::Included(text), Bound::Unbounded);
        let names = self.holders.range::<str, _>(from).map(|(name, _)| name);
        names.take_while(move |name| !text.is_empty() && name.starts_with(text))
    }

    /// The name that `session` gets when it asks for `wanted`: that name if it is free, else its root (the name without a
    /// trailing `-<number>`), else the root with a free number from 2 on, nearly always the smallest. A name is free that
    /// no other session has, and that is not kept.
    fn free(&mut self, wanted: &str, session: &SessionId, is_kept: impl Fn(&str) -> bool) -> Arc<str> {
        if self.is_free(wanted, session) && !is_kept(wanted) {
            return Arc::from(wanted);
        }
        let (root, _) = split(wanted);
        if self.is_free(root, session) && !is_kept(root) {
            return Arc::from(root);
        }
        let mut taken_below = self.roots.get(root).map_or(2, |known| known.taken_below);
        let (mut number, mut step) = (taken_below, 1);
        for walked in 0_u32.. {
            let name = format!("{root}-{number}");
            if self.is_free(&name, session) && !is_kept(&name) {
                break;
            }
            // Names that are kept for sessions that ended can be thousands, and a newcomer does not walk over all.
            step *= if walked >= NICKNAMES_WALKED_MAX { 2 } else { 1 };
            number = number.saturating_add(step);
            taken_below += u32::from(step == 1);
        }
        if let Some(known) = self.roots.get_mut(root) {
            known.taken_below = taken_below;
        }
        Arc::from(format!("{root}-{number}"))
    }

    fn is_free(&self, nickname: &str, session: &SessionId) -> bool {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        self.holders(nickname).all(|holder| holder == session)
    }
}

/// A name in the one spelling in which names are compared.
pub(super) fn composed(name: &Arc<str>) -> Arc<str> {
    match nfc(name) {
        Cow::Borrowed(_) => name.clone(),
        Cow::Owned(composed) => Arc::from(composed),
    }
}

impl Tables {
    /// The name that `session` gets when it asks for `wanted`. It must be no other session's, and no other's id; nor may it
    /// be that of one that ended and that somebody can still write to by it, or of marshal itself.
    pub(crate) fn free_nickname(&mut self, wanted: &str, session: &SessionId) -> Arc<str> {
        let Self { nicknames, sessions, departed, departures, mail, .. } = self;
        let is_id =
            |name: &str| name != session.as_str() && (sessions.contains_key(name) || departed.contains_key(name));
        let is_kept = |name: &str| name == NOTICE_SENDER || is_id(name) || departures.is_reserved(name, session, mail);
        nicknames.free(wanted, session, is_kept)
    }
}

impl Roster {
    /// The nickname of a session that comes and asks for `asked`, or for none. One that was here before gets its own name
    /// back, if it does not ask for another.
    pub(super) fn nickname_for(&mut self, asked: &str, cwd: &str, id: &SessionId) -> Arc<str> {
        let known = self.tables.departed.get(id).map(|placed| placed.stored.row.nickname.clone());
        let known = known.filter(|known| !known.is_empty() && **known != *id.as_str() && is_clean(known));
        match known {
            Some(known) if asked.is_empty() || same_root(asked, &known) => self.tables.free_nickname(&known, id),
            _ if asked.is_empty() => self.tables.free_nickname(&default_nickname(cwd, id), id),
            _ => self.tables.free_nickname(asked, id),
        }
    }

    /// A session without a nickname (a new one, or one from a log that knows none) gets one.
    pub(super) fn give_name(&mut self, row: &mut Session) {
        if row.nickname.is_empty() {
            row.nickname = self.nickname_for("", &row.cwd, &row.id);
        }
    }

    /// Whether a session may come under this id: it must not be the nickname of another one, which would then mean two.
    pub(super) fn may_begin(&self, id: &SessionId) -> Result<(), RequestError> {
        validate::new_session_id(id.as_str())?;
        if self.tables.sessions.contains_key(id) {
            return Ok(());
        }
        let mut others = self.tables.nicknames.holders(id.as_str()).filter(|holder| *holder != id);
        if others.next().is_none() && !self.tables.departures.is_reserved(id.as_str(), id, &self.tables.mail) {
            return Ok(());
        }
        let message = format!("'{id}' is the nickname of another session, and cannot be the id of this one");
        Err(RequestError::new(ErrorKind::Refused, message))
    }

    /// The name of a session or human, for those who read that something went there. A session that ended keeps the one
    /// under which it was known.
    pub(super) fn name_of(&self, session: &SessionId) -> Arc<str> {
        let tables = &self.tables;
        if let Some(human) = session.as_str().strip_prefix(HUMAN_PREFIX) {
            return Arc::from(human);
        }
        let here = tables.sessions.get(session).map(|placed| &placed.stored.row.nickname);
        let known = here.or_else(|| tables.departed.get(session).map(|placed| &placed.stored.row.nickname));
        known
            .filter(|name| !name.is_empty())
            .cloned()
            .or_else(|| self.name_in_mail(session))
            .unwrap_or(session.shared())
    }

    /// The name of a session on the last message that it sent, or that was sent to it.
    fn name_in_mail(&self, session: &SessionId) -> Option<Arc<str>> {
        let (_, id) = self.tables.mail.concerning(session, u64::MAX).next()?;
        let row = &self.tables.messages.get(id)?.stored.row;
        let name = if row.from_session_id == *session { &row.from_nick } else { &row.to_nick };
        Some(name.clone())
    }

    /// The name of the session that took a message over.
    pub(super) fn heir_of(&self, standing: &Standing) -> Option<Arc<str>> {
        match standing {
            Standing::Settled(Step::Claimed(heir), _) => Some(self.name_of(heir)),
            _ => None,
        }
    }

    /// The name of one of a message's recipients, now or when it was sent.
    pub(super) fn name_for(&self, message: &Message, session: &SessionId) -> Arc<str> {
        let is_named = *message.to_nick != *session.as_str();
        let is_direct = matches!(&message.to, Recipient::Session(to) if to == session);
        match self.tables.sessions.get(session) {
            Some(placed) => placed.stored.row.nickname.clone(),
            None if is_direct && is_named => message.to_nick.clone(),
            None => self.name_of(session),
        }
    }
}

/// Whether a nickname is one that a session could get today.
pub(super) fn is_clean(nickname: &str) -> bool {
    clean_nickname(nickname) == nickname
}

/// Whether two nicknames differ in nothing but a trailing number.
pub(crate) fn same_root(a: &str, b: &str) -> bool {
    split(a).0 == split(b).0
}

/// A nickname without its trailing `-<number>`.
pub(crate) fn without_number(nickname: &str) -> &str {
    split(nickname).0
}

/// A nickname without its trailing `-<number>`, and the number.
fn split(nickname: &str) -> (&str, Option<u32>) {
    match nickname.rsplit_once('-') {
        Some((root, digits))
            if !root.is_empty() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            (root, digits.parse().ok())
        }
        _ => (nickname, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(names: &mut Nicknames, wanted: &str, id: &str) -> String {
        let session = SessionId::from(id);
        let name = names.free(wanted, &session, |_| false);
        names.insert(&name, &session);
        name.to_string()
    }

    #[test]
    fn namesakes_get_the_smallest_free_number() {
        let mut names = Nicknames::default();
        let given: Vec<String> = ["a", "b", "c", "d"].iter().map(|id| take(&mut names, "proj", id)).collect();
        assert_eq!(given, ["proj", "proj-2", "proj-3", "proj-4"]);
        names.remove(&Arc::from("proj-2"), &SessionId::from("b"));
        assert_eq!(take(&mut names, "proj", "e"), "proj-2");
        assert_eq!(take(&mut names, "proj-4", "f"), "proj-5", "the root of a taken numbered name is taken too");
    }

    #[test]
    fn a_freed_root_is_given_again_and_a_holder_keeps_its_name() {
        let mut names = Nicknames::default();
        take(&mut names, "x", "a");
        assert_eq!(take(&mut names, "x", "a"), "x");
        names.remove(&Arc::from("x"), &SessionId::from("a"));
        assert_eq!(take(&mut names, "x", "b"), "x");
    }

    #[test]
    fn only_a_trailing_number_is_cut() {
        assert_eq!(split("a-2"), ("a", Some(2)));
        assert_eq!(split("a-b"), ("a-b", None));
        assert_eq!(split("-2"), ("-2", None));
        assert_eq!(split("a-"), ("a-", None));
        assert_eq!(split("a-99999999999999").0, "a");
    }

    #[test]
    fn ten_thousand_namesakes_are_named_without_walking_over_all_of_them() {
        let mut names = Nicknames::default();
        for index in 0..10_000 {
            take(&mut names, "n", &index.to_string());
        }
        let known = &names.roots["n"];
        assert_eq!((known.names, known.taken_below), (9_999, 10_000));
    }

    #[test]
    fn nothing_is_kept_of_namesakes_that_are_gone() {
        // row 113
        let mut names = Nicknames::default();
        for round in 0..100 {
            let taken: Vec<(Arc<str>, String)> = (0..5)
                .map(|index| {
                    let id = format!("{round}-{index}");
                    (Arc::from(take(&mut names, &format!("root{round}"), &id)), id)
                })
                .collect();
            // Asked for by a session that was refused after all.
            names.free(&format!("root{round}"), &SessionId::from("refused"), |_| false);
            taken.iter().for_each(|(name, id)| names.remove(name, &SessionId::from(id.as_str())));
            assert_eq!((names.holders.len(), names.roots.len()), (0, 0));
        }
    }

    #[test]
    fn default_nicknames_count_characters_not_bytes() {
        assert_eq!(default_nickname("/x/y", &SessionId::from("ééééééééé")), "y@éééééééé");
        assert_eq!(default_nickname("", &SessionId::from("abc")), "session@abc");
        assert_eq!(default_nickname("/x/a\nb", &SessionId::from("i")), "a_b@i");
    }

    // row 7
    #[test]
    fn a_default_nickname_is_made_of_what_tells_ids_apart() {
        let table = [
            ("aaaaaaaa-1111-4111-8111-111111111111", "p@aaaaaaaa"),
            ("019d2222-7000-7abc-8def-0123456789ab", "p@456789ab"),
            ("019d2222-7000-8abc-8def-0123456789ab", "p@456789ab"),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "p@Q69G5FAV"),
            ("ses_4f1a2b3c4dffeXYZabc12345678", "p@12345678"),
            ("7f3a9c52-demo", "p@7f3a9c52"),
        ];
        for (id, nickname) in table {
            assert_eq!(default_nickname("/w/p", &SessionId::from(id)), nickname, "{id}");
        }
    }

    // row 8, row 70, row 100, row 108
    #[test]
    fn a_nickname_made_of_a_directory_is_one_address_and_hides_nothing() {
        let table = [
            ("foo,bar", "foo_bar@i"),
            ("op:ana", "_op:ana@i"),
            ("project:x", "_project:x@i"),
            ("host:x", "_host:x@i"),
            ("group:x", "_group:x@i"),
            ("human:ana", "_human:ana@i"),
            ("@x", "_@x@i"),
            ("*", "_*@i"),
            ("a\u{200b}b\u{2060}", "ab@i"),
            ("\u{200b}", "session@i"),
            ("［human:ana］", "_human:ana_@i"),
            ("x verified by its process", "x_verified_by_its_process@i"),
            ("`rm`", "_rm_@i"),
        ];
        for (directory, nickname) in table {
            let made = default_nickname(&format!("/w/{directory}"), &SessionId::from("i"));
            assert_eq!(made, nickname, "{directory}");
            assert!(is_clean(&made));
        }
        let long = default_nickname(&format!("/w/{}", "é".repeat(255)), &SessionId::from("12345678-x"));
        assert_eq!((long.chars().count(), long.ends_with("é@12345678")), (64, true));
    }
}

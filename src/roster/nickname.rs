//! Nicknames: which session has which, which one a newcomer gets, and by which one a session is shown. It must not
//! rename a session by itself.

use super::Roster;
use crate::ids::{HUMAN_PREFIX, SessionId};
use crate::model::{Message, Recipient};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

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
        let holders = self.holders.entry(nickname.clone()).or_default();
        if holders.is_empty()
            && let (root, Some(_)) = split(nickname)
        {
            self.roots.entry(Arc::from(root)).or_insert(Root { names: 0, taken_below: 2 }).names += 1;
        }
        holders.insert(session.clone());
    }

    pub(crate) fn remove(&mut self, nickname: &Arc<str>, session: &SessionId) {
        let Some(holders) = self.holders.get_mut(nickname) else {
            return;
        };
        holders.remove(session);
        if !holders.is_empty() {
            return;
        }
        self.holders.remove(nickname);
        if let (root, Some(number)) = split(nickname)
            && let Some(known) = self.roots.get_mut(root)
        {
            known.names -= 1;
            known.taken_below = number.clamp(2, known.taken_below);
            if known.names == 0 {
                self.roots.remove(root);
            }
        }
    }

    /// Who is called `nickname`.
    pub(crate) fn holders(&self, nickname: &str) -> impl Iterator<Item = &SessionId> {
        self.holders.get(nickname).into_iter().flatten()
    }

    /// Nicknames that begin with `text`; none for an empty text, which all do.
    pub(crate) fn beginning_with<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        let from = (Bound::Included(text), Bound::Unbounded);
        let names = self.holders.range::<str, _>(from).map(|(name, _)| name);
        names.take_while(move |name| !text.is_empty() && name.starts_with(text))
    }

    /// The name that `session` gets when it asks for `wanted`: that name if nobody else has it, else its root (the
    /// name without a trailing `-<number>`), else the root with the smallest free number from 2 on.
    pub(crate) fn free(&mut self, wanted: &str, session: &SessionId) -> Arc<str> {
        if self.is_free(wanted, session) {
            return Arc::from(wanted);
        }
        let (root, _) = split(wanted);
        if self.is_free(root, session) {
            return Arc::from(root);
        }
        let mut number = self.roots.get(root).map_or(2, |known| known.taken_below);
        loop {
            let name = format!("{root}-{number}");
            if self.is_free(&name, session) {
                if let Some(known) = self.roots.get_mut(root) {
                    known.taken_below = number;
                }
                return Arc::from(name);
            }
            number += 1;
        }
    }

    fn is_free(&self, nickname: &str, session: &SessionId) -> bool {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        self.holders(nickname).all(|holder| holder == session)
    }
}

impl Roster {
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
        let name = names.free(wanted, &session);
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
            names.free(&format!("root{round}"), &SessionId::from("refused"));
            taken.iter().for_each(|(name, id)| names.remove(name, &SessionId::from(id.as_str())));
            assert_eq!((names.holders.len(), names.roots.len()), (0, 0));
        }
    }
}

//! What options and their values are like, and words of other programs for them. It holds data only.

use super::Id;

/// What a shell offers for an operand or an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complete {
    /// Nothing that could be known.
    Nothing,
    /// Nicknames of the sessions on the roster.
    Nicknames,
    /// Directories.
    Directories,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Names of commands.
    Commands,
}

/// An option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// How help calls it.
    pub(crate) name: &'static str,
    /// What a shell offers for it.
    pub(crate) complete: Complete,
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flag {
    /// The name after `--`.
    pub(crate) long: &'static str,
    /// The letter after `-`.
    pub(crate) short: Option<char>,
    /// The value that it takes, none for a switch.
    pub(crate) value: Option<Value>,
    /// One line for people.
    pub(crate) help: &'static str,
}

/// Pairs of options of a command that contradict each other.
pub(crate) const CONFLICTS: &[(Id, &str, &str)] = &[
    (Id::Inbox, "claim", "peek"),
    (Id::Inbox, "ack", "peek"),
    (Id::Ls, "watch", "json"),
    (Id::Ls, "watch", "names"),
    (Id::Ls, "names", "json"),
    (Id::Ls, "names", "wide"),
    (Id::History, "follow", "before"),
    (Id::History, "follow", "until"),
    (Id::History, "follow", "message"),
];

/// Options of a command that mean nothing without another one.
pub(crate) const NEEDS: &[(Id, &str, &str)] = &[(Id::Inbox, "from", "claim"), (Id::Send, "timeout", "wait")];

/// Words of other programs for options, the likelier first where a word can mean several.
pub(crate) const FLAG_MEANINGS: &[(&str, &str)] = &[
    ("f", "follow"),
    ("f", "watch"),
    ("follow", "watch"),
    ("watch", "follow"),
    ("tail", "follow"),
    ("w", "watch"),
    ("n", "limit"),
    ("count", "limit"),
    ("lines", "limit"),
    ("max", "limit"),
    ("l", "wide"),
    ("long", "wide"),
    ("all", "wide"),
    ("a", "wide"),
    ("j", "json"),
    ("grep", "search"),
    ("query", "search"),
    ("q", "search"),
    ("urgent", "now"),
    ("reply", "reply-to"),
    ("in-reply-to", "reply-to"),
    ("replace", "supersedes"),
    ("ttl", "expires-in"),
    ("user", "human"),
    ("operator", "human"),
    ("me", "human"),
    ("dir", "state-dir"),
    ("port", "hook-bind"),
];

//! The fields that operations take, and what their values must be like: one rule for each kind, whoever asks. It must not
//! know what a field is for.

use crate::limits::{PAGE_MESSAGES_MAX, WS_ERROR_CHARACTERS_MAX};
use crate::roster::{Cursor, MessageState};

/// A field of a request: a member of its body, or a parameter of its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: &'static str,
    /// Another name under which claudemesh's clients know it.
    pub(super) other_name: Option<&'static str>,
    /// The rule for its values.
    pub(super) kind: Kind,
    /// Whether it must be there.
    pub(super) is_needed: bool,
}

impl Field {
    /// Whether a request can call it so.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.other_name == Some(name)
    }
}

/// The rule for a field's values. A value of `null` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text that is not empty: a name, an id or its beginning, words.
    Text,
    /// Text, also an empty one.
    AnyText,
    /// Text; another value counts as none.
    TextIfAny,
    /// A list of texts.
    Texts,
    /// One text or a list of them.
    TextOrTexts,
    /// `true` or `false`.
    Flag,
    /// A number of messages for one answer.
    Limit,
    /// A number of any size that is not negative.
    Count,
    /// A cursor that a page gave.
    Cursor,
    /// A state of a message.
    State,
    /// Milliseconds since 1970.
    Millis,
    /// A number of seconds.
    Seconds,
    /// `true`, `false` or a number of seconds.
    FlagOrSeconds,
    /// `now`, `next` or `low`.
    Priority,
    /// The id of a process.
    Pid,
    /// A JSON object, kept as its text.
    Object,
    /// Any JSON, kept as its text.
    Json,
}

impl Kind {
    /// The rule in words, for one who has broken it.
    pub(super) fn rule(self) -> String {
        match self {
            Self::Text => "a text that is not empty".to_owned(),
            Self::AnyText | Self::TextIfAny => "a text".to_owned(),
            Self::Texts => "a list of texts".to_owned(),
            Self::TextOrTexts => "a text or a list of texts".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Limit => format!("a number from 1 to {PAGE_MESSAGES_MAX}"),
            Self::Count => "a whole number from 0 on".to_owned(),
            Self::Cursor => "a cursor that an answer gave".to_owned(),
            Self::State => format!("one of {}", MessageState::ALL.map(MessageState::as_str).join(", ")),
            Self::Millis => "a whole number of milliseconds since 1970".to_owned(),
            Self::Seconds => format!("a whole number of seconds, at most {}", u32::MAX),
            Self::FlagOrSeconds => format!("true, false or a whole number of seconds, at most {}", u32::MAX),
            Self::Priority => "now, next or low".to_owned(),
            Self::Pid => "the id of a process, from 2 on".to_owned(),
            Self::Object => "a JSON object".to_owned(),
            Self::Json => "JSON".to_owned(),
        }
    }

    /// Whether values are texts, which a query can hold as they are.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::AnyText | Self::TextIfAny | Self::Cursor | Self::State | Self::Priority)
    }

    /// Whether a text is a value of this kind.
    pub(super) fn fits_text(self, text: &str) -> bool {
        match self {
            Self::Text => !text.is_empty(),
            Self::Cursor => Cursor::parse(text).is_some(),
            Self::State => MessageState::parse(text).is_some(),
            Self::Priority => matches!(text, "now" | "next" | "low"),
            Self::AnyText | Self::TextIfAny | Self::TextOrTexts => true,
            _ => false,
        }
    }

    /// Whether a number is a value of this kind.
    pub(super) fn fits_number(self, number: i64) -> bool {
        match self {
            Self::Limit => usize::try_from(number).is_ok_and(|limit| (1..=PAGE_MESSAGES_MAX).contains(&limit)),
            Self::Count => number >= 0,
            Self::Millis => true,
            Self::Seconds | Self::FlagOrSeconds => u32::try_from(number).is_ok(),
            // From the first process everything descends.
            Self::Pid => u32::try_from(number).is_ok_and(|pid| pid > 1),
            _ => false,
        }
    }
}

/// A field that may be there.
pub(super) const fn take(name: &'static str, kind: Kind) -> Field {
    Field { name, other_name: None, kind, is_needed: false }
}

/// A field that must be there.
pub(super) const fn need(name: &'static str, kind: Kind) -> Field {
    Field { name, other_name: None, kind, is_needed: true }
}

/// The same with another name.
pub(super) const fn also(field: Field, other_name: &'static str) -> Field {
    Field { other_name: Some(other_name), ..field }
}

/// A value for an error, on one line and not too long.
pub(super) fn shortened(text: &str) -> String {
    let short: String = text.chars().take(WS_ERROR_CHARACTERS_MAX / 4).flat_map(char::escape_debug).collect();
    if text.chars().nth(WS_ERROR_CHARACTERS_MAX / 4).is_some() { format!("{short}…") } else { short }
}

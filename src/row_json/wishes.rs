//! The JSON form of what a sender wants beyond that its text gets to somebody. Unknown members are ignored, as everywhere;
//! a known one that makes no sense is an error, since it would not be done.

use crate::error::RequestError;
use crate::limits::REPLY_EXPECTED_MS;
use crate::model::Priority;
use crate::roster::{Expiry, Wishes};
use serde::Deserialize;

/// What a sender wants, as it says it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WishesJson {
    priority: Option<String>,
    reply_to: Option<String>,
    expects_reply: Option<ExpectsJson>,
    supersedes: Option<String>,
    /// In seconds.
    expires_in: Option<u32>,
    /// In wall-clock milliseconds.
    expires_at: Option<i64>,
    client_message_id: Option<String>,
    /// Whether the sender wants to be told how far the message gets. Who has no connection on which it could be told says
    /// so in vain.
    pub track: Option<bool>,
}

/// Whether a reply is expected, or within how many seconds.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ExpectsJson {
    Whether(bool),
    Within(u32),
}

fn parse_priority(word: &str) -> Result<Priority, RequestError> {
    Priority::parse(word).ok_or_else(|| RequestError::invalid("priority is to be now, next or low"))
}

impl WishesJson {
    /// What is wanted.
    ///
    /// # Errors
    /// Words that are none of ours, or two that contradict each other.
    pub fn wishes(self) -> Result<Wishes, RequestError> {
        let expires = match (self.expires_in, self.expires_at) {
            (Some(_), Some(_)) => return Err(RequestError::invalid("say either expiresIn or expiresAt")),
            (Some(seconds), None) => Some(Expiry::In(i64::from(seconds) * 1000)),
            (None, Some(at)) => Some(Expiry::At(at)),
            (None, None) => None,
        };
        let expects_reply_ms = match self.expects_reply {
            None | Some(ExpectsJson::Whether(false)) => None,
            Some(ExpectsJson::Whether(true)) => Some(REPLY_EXPECTED_MS),
            Some(ExpectsJson::Within(seconds)) => Some(i64::from(seconds) * 1000),
        };
        Ok(Wishes {
            priority: self.priority.as_deref().map(parse_priority).transpose()?.unwrap_or_default(),
            reply_to: self.reply_to,
            expects_reply_ms,
            supersedes: self.supersedes,
            expires,
            client_message_id: self.client_message_id,
            ..Wishes::default()
        })
    }
}

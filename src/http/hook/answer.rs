//! The answers to hooks: text for the agent in the form that its host takes for the event, and errors of which nothing gets
//! into its context. It must not know what the text says.

use super::super::Response;
use crate::error::{ErrorKind, RequestError};
use crate::limits::LOGGED_LINE_CHARACTERS_MAX;
use crate::log_pace::Pace;
use serde_json::json;

/// The form of the answer to a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Form {
    /// How text reaches the agent; none if it cannot.
    pub(super) wrap: Option<Wrap>,
    /// The body that says nothing.
    pub(super) silence: &'static str,
}

/// How text is wrapped for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrap {
    /// Not at all: what curl prints is what the agent reads.
    Plain,
    /// As context that is added at this event.
    Context(&'static str),
    /// As the reason for a decision that makes the turn go on.
    Decision(&'static str),
}

impl Form {
    /// The form of marshal 0.9.
    pub(super) const PLAIN: Self = Self { wrap: Some(Wrap::Plain), silence: "" };

    /// Whether text in the answer reaches the agent.
    pub(in crate::http) fn takes_text(self) -> bool {
        self.wrap.is_some()
    }

    /// The answer that puts `text` before the agent.
    pub(in crate::http) fn response(self, text: &str) -> Response {
        let value = match self.wrap {
            Some(Wrap::Plain) => return plain(text),
            _ if text.is_empty() => return self.silent(),
            None => return self.silent(),
            Some(Wrap::Context(event)) => {
                json!({ "hookSpecificOutput": { "hookEventName": event, "additionalContext": text } })
            }
            Some(Wrap::Decision(decision)) => json!({ "decision": decision, "reason": text }),
        };
        Response {
            status: 200,
            content_type: Some("application/json"),
            body: value.to_string().into_bytes(),
            ..Response::default()
        }
    }

    /// The answer that says nothing.
    pub(in crate::http) fn silent(self) -> Response {
        if self.wrap == Some(Wrap::Plain) {
            return plain("");
        }
        let content_type = (!self.silence.is_empty()).then_some("application/json");
        Response { status: 200, content_type, body: self.silence.into(), ..Response::default() }
    }
}

fn plain(text: &str) -> Response {
    let content_type = Some("text/plain; charset=utf-8");
    Response { status: 200, content_type, body: text.into(), ..Response::default() }
}

/// The answer to what cannot be done.
pub(in crate::http) fn error(error: &RequestError) -> Response {
    // What it quotes comes from outside: no control character of it may reach a terminal.
    let quoted: String =
        error.to_string().chars().take(LOGGED_LINE_CHARACTERS_MAX).flat_map(char::escape_default).collect();
    // The store has said once that the log cannot be written; saying it for each hook would fill the next disk.
    let level = if error.kind.is_of_storage() { log::Level::Debug } else { log::Level::Warn };
    static REFUSED: [Pace; ErrorKind::COUNT] = [const { Pace::new() }; ErrorKind::COUNT];
    REFUSED[error.kind as usize].log(level, || format!("a hook was refused: {}: {quoted}", error.kind.code()));
    let reason = format!("{}; {}", error.kind.code(), error);
    Response { status: error.kind.http_status(), headers: vec![("Marshal-Error", reason)], ..Response::default() }
}

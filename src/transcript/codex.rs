//! The lines of Codex' transcripts, as far as they tell whether a turn goes on. Nothing else may know their words.

use super::{Verdict, millisecond};
use serde::Deserialize;

#[derive(Deserialize)]
struct Line<'a> {
    timestamp: Option<&'a str>,
    r#type: &'a str,
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    r#type: Option<String>,
}

/// What a line shows; none if it is no step of a turn.
pub(super) fn line(text: &str) -> Option<Verdict> {
    let line: Line<'_> = serde_json::from_str(text).ok()?;
    let at = line.timestamp.and_then(millisecond);
    let or_nothing = |verdict: fn(i64) -> Verdict| Some(at.map_or(Verdict::Nothing, verdict));
    match (line.r#type, line.payload.r#type.as_deref()?) {
        ("event_msg", "turn_aborted") => or_nothing(Verdict::Interrupted),
        ("event_msg", "task_complete" | "turn_complete") => or_nothing(Verdict::Ended),
        ("event_msg", "task_started" | "turn_started") => Some(Verdict::Nothing),
        ("response_item", "function_call" | "custom_tool_call" | "local_shell_call") => Some(Verdict::InTool),
        ("response_item", _) => Some(Verdict::Nothing),
        // Counts of tokens, settings and the like.
        _ => None,
    }
}

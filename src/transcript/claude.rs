//! The lines of Claude Code's transcripts, as far as they tell whether a turn goes on. Nothing else may know their words.

use super::{Verdict, millisecond};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What stands in the conversation where the user broke a turn off.
const INTERRUPTED: &str = "[Request interrupted by user";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    r#type: &'a str,
    subtype: Option<String>,
    #[serde(default)]
    is_sidechain: bool,
    #[serde(default)]
    is_meta: bool,
    timestamp: Option<&'a str>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    stop_reason: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block {
    r#type: String,
    text: Option<String>,
}

/// What a line shows; none if it is no part of the conversation.
pub(super) fn line(text: &str) -> Option<Verdict> {
    let line: Line<'_> = serde_json::from_str(text).ok()?;
    if line.is_sidechain || line.is_meta && line.r#type == "user" {
        return None;
    }
    let at = || line.timestamp.and_then(millisecond);
    let message = line.message.as_ref();
    let blocks = message.and_then(|message| message.content).map(|content| blocks(content.get())).unwrap_or_default();
    match line.r#type {
        "user" => user(&blocks, at()),
        "assistant" => {
            let ends = message.and_then(|message| message.stop_reason.as_deref()) == Some("end_turn");
            Some(match at() {
                _ if blocks.iter().any(|block| block.r#type == "tool_use") => Verdict::InTool,
                Some(at) if ends => Verdict::Ended(at),
                _ => Verdict::Nothing,
            })
        }
        "system" if line.subtype.as_deref() == Some("turn_duration") => {
            Some(at().map_or(Verdict::Nothing, Verdict::Ended))
        }
        _ => None,
    }
}

/// The version that wrote a line.
pub(super) fn version(text: &str) -> Option<[u32; 3]> {
    #[derive(Deserialize)]
    struct Line<'a> {
        version: &'a str,
    }
    serde_json::from_str::<Line<'_>>(text).ok().and_then(|line| super::version(line.version))
}

fn user(blocks: &[Block], at: Option<i64>) -> Option<Verdict> {
    let says = |beginning: &str| {
        blocks.iter().any(|block| block.text.as_deref().is_some_and(|text| text.starts_with(beginning)))
    };
    match at {
        Some(at) if says(INTERRUPTED) => Some(Verdict::Interrupted(at)),
        // A command of the program itself, which the model does not see.
        _ if says("<local-command") || says("<command-") => None,
        _ => Some(Verdict::Nothing),
    }
}

/// A text is one block.
fn blocks(content: &str) -> Vec<Block> {
    match serde_json::from_str::<String>(content) {
        Ok(text) => vec![Block { r#type: "text".to_owned(), text: Some(text) }],
        Err(_) => serde_json::from_str(content).unwrap_or_default(),
    }
}

//! What the hooks of Gemini CLI mean, and in which form they are answered. Nothing else may know its words.

use super::answer::Wrap;
use super::host::Host;
use super::told::Told;
use crate::model::{Agent, Path};
use crate::roster::EventKind;

/// Gemini CLI, which takes nothing but JSON from its hooks.
pub(super) const HOST: Host = Host { agent: Agent::Gemini, kind, takes, silence: "{}", tells_process: true };

fn kind(event: &str, told: &Told<'_>) -> EventKind {
    match event {
        "SessionStart" => EventKind::Start { same_context: false },
        "BeforeAgent" => EventKind::Prompt { quoted: Vec::new() },
        "BeforeTool" => EventKind::BeforeTool(told.tool()),
        "AfterTool" => EventKind::AfterTool(told.tool()),
        "Notification" if told.notification_type() == "ToolPermission" => {
            EventKind::NeedsHuman("permission".to_owned())
        }
        "AfterAgent" => EventKind::Stop,
        "SessionEnd" => EventKind::End,
        _ => EventKind::Other,
    }
}

fn takes(event: &str, _: &Told<'_>) -> Option<(Path, Wrap)> {
    Some(match event {
        "SessionStart" => (Path::Start, Wrap::Context("SessionStart")),
        "BeforeAgent" => (Path::Prompt, Wrap::Context("BeforeAgent")),
        "AfterTool" => (Path::Tools, Wrap::Context("AfterTool")),
        // It takes no context there: what follows is a new prompt in the same turn.
        "AfterAgent" => (Path::Stop, Wrap::Decision("deny")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_mean_what_the_host_says_of_them() {
        let table = [
            ("SessionStart", r#","source":"startup""#, EventKind::Start { same_context: false }),
            ("BeforeAgent", r#","prompt":"hi""#, EventKind::Prompt { quoted: Vec::new() }),
            ("BeforeTool", r#","tool_name":"read_file""#, EventKind::BeforeTool("read_file".to_owned())),
            ("AfterTool", r#","tool_name":"read_file""#, EventKind::AfterTool("read_file".to_owned())),
            (
                "Notification",
                r#","notification_type":"ToolPermission""#,
                EventKind::NeedsHuman("permission".to_owned()),
            ),
            ("Notification", r#","notification_type":"Other""#, EventKind::Other),
            ("AfterAgent", "", EventKind::Stop),
            ("PreCompress", "", EventKind::Other),
            ("BeforeModel", "", EventKind::Other),
            ("SessionEnd", r#","reason":"exit""#, EventKind::End),
        ];
        for (event, fields, expected) in table {
            let body = format!(r#"{{"session_id":"s"{fields}}}"#);
            assert_eq!(kind(event, &Told::read(body.as_bytes()).unwrap()), expected, "{event} {fields}");
        }
    }
}

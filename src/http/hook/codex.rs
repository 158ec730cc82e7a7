//! What the hooks of Codex mean, and in which form they are answered. Nothing else may know its words.

use super::answer::Wrap;
use super::host::Host;
use super::told::Told;
use crate::model::{Agent, Path};
use crate::roster::EventKind;

/// Codex.
pub(super) const HOST: Host = Host { agent: Agent::Codex, kind, takes, silence: "", tells_process: true };

fn kind(event: &str, told: &Told<'_>) -> EventKind {
    match event {
        "SessionStart" => EventKind::Start { same_context: told.source() == "compact" },
        "UserPromptSubmit" => EventKind::Prompt { quoted: Vec::new() },
        "PreToolUse" => EventKind::BeforeTool(told.tool()),
        "PostToolUse" => EventKind::AfterTool(told.tool()),
        "PermissionRequest" => {
            EventKind::NeedsHuman(told.asks().unwrap_or_else(|| format!("permission: {}", told.tool())))
        }
        "Stop" => EventKind::Stop,
        "StopFailure" => EventKind::Failed(told.error()),
        // Its user broke the turn off.
        "Interrupt" => EventKind::Idle,
        "SessionEnd" => EventKind::End,
        _ => EventKind::Other,
    }
}

fn takes(event: &str, _: &Told<'_>) -> Option<(Path, Wrap)> {
    Some(match event {
        "SessionStart" => (Path::Start, Wrap::Context("SessionStart")),
        "UserPromptSubmit" => (Path::Prompt, Wrap::Context("UserPromptSubmit")),
        "PostToolUse" => (Path::Tools, Wrap::Context("PostToolUse")),
        // It takes no context there.
        "Stop" => (Path::Stop, Wrap::Decision("block")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_mean_what_the_host_says_of_them() {
        let waits = |what: &str| EventKind::NeedsHuman(what.to_owned());
        let table = [
            ("SessionStart", r#","source":"resume""#, EventKind::Start { same_context: false }),
            ("SessionStart", r#","source":"compact""#, EventKind::Start { same_context: true }),
            ("UserPromptSubmit", r#","prompt":"hi""#, EventKind::Prompt { quoted: Vec::new() }),
            ("PreToolUse", r#","tool_name":"Bash""#, EventKind::BeforeTool("Bash".to_owned())),
            ("PostToolUse", r#","tool_name":"Bash""#, EventKind::AfterTool("Bash".to_owned())),
            ("PermissionRequest", r#","tool_name":"Bash""#, waits("permission: Bash")),
            ("Stop", "", EventKind::Stop),
            ("StopFailure", r#","error":"overloaded""#, EventKind::Failed("overloaded".to_owned())),
            ("Interrupt", "", EventKind::Idle),
            ("SessionEnd", "", EventKind::End),
            ("PostToolBatch", "", EventKind::Other),
            ("PreCompact", "", EventKind::Other),
        ];
        for (event, fields, expected) in table {
            let body = format!(r#"{{"session_id":"s"{fields}}}"#);
            assert_eq!(kind(event, &Told::read(body.as_bytes()).unwrap()), expected, "{event} {fields}");
        }
    }
}

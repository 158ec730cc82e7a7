//! What the hooks of Claude Code mean, and in which form they are answered. Nothing else may know its words.

use super::answer::Wrap;
use super::host::Host;
use super::told::Told;
use super::{Asked, foreign};
use crate::error::RequestError;
use crate::gate;
use crate::model::{Agent, Path};
use crate::roster::EventKind;

/// Claude Code.
pub(super) const HOST: Host = Host { agent: Agent::Claude, kind, takes, silence: "", tells_process: true };

/// What comes before the tool's name in the notice that a permission is waited for.
const PERMISSION_TO_USE: &str = "permission to use ";

/// What a request to its address asks for. Other programs run its hooks, too.
///
/// # Errors
/// The body is no JSON object or names no session; the query or a header cannot be read.
pub(super) fn read(request: &gate::Request) -> Result<Asked, RequestError> {
    let told = Told::of(request)?;
    match foreign::program(&told) {
        Some(other) => foreign::host(other).read_told(request, &told, None),
        None => HOST.read_told(request, &told, None),
    }
}

fn kind(event: &str, told: &Told<'_>) -> EventKind {
    match event {
        "SessionStart" => EventKind::Start { same_context: told.source() == "compact" },
        "UserPromptSubmit" => EventKind::Prompt { quoted: Vec::new() },
        "PreToolUse" => EventKind::BeforeTool(told.tool()),
        "PostToolUse" | "PostToolUseFailure" => EventKind::AfterTool(told.tool()),
        "PostToolBatch" => EventKind::AfterTools,
        "PermissionRequest" => EventKind::NeedsHuman(format!("permission: {}", told.tool())),
        "Elicitation" => EventKind::NeedsHuman(format!("input for {}", told.server())),
        "Notification" => notification(told),
        "Stop" => EventKind::Stop,
        "StopFailure" => EventKind::Failed(told.error()),
        "SessionEnd" => EventKind::End,
        _ => EventKind::Other,
    }
}

fn notification(told: &Told<'_>) -> EventKind {
    match told.notification_type().as_str() {
        "permission_prompt" => EventKind::NeedsHuman(permission(&told.message())),
        "agent_needs_input" => EventKind::NeedsHuman("input".to_owned()),
        "elicitation_dialog" => EventKind::NeedsHuman("input for an MCP server".to_owned()),
        "idle_prompt" => EventKind::Idle,
        // Others tell of a background agent or of logging in.
        _ => EventKind::Other,
    }
}

/// For what permission is waited, in the same words as where the host asks a hook for it.
fn permission(message: &str) -> String {
    let tool = message.split_once(PERMISSION_TO_USE).map(|(_, tool)| tool.trim_end_matches('.'));
    let is_name = |tool: &&str| !tool.is_empty() && tool.len() <= 128 && !tool.contains(char::is_whitespace);
    tool.filter(is_name).map_or_else(|| "permission".to_owned(), |tool| format!("permission: {tool}"))
}

fn takes(event: &str) -> Option<(Path, Wrap)> {
    Some(match event {
        "SessionStart" => (Path::Start, Wrap::Context("SessionStart")),
        "UserPromptSubmit" => (Path::Prompt, Wrap::Context("UserPromptSubmit")),
        "PostToolUse" => (Path::Tools, Wrap::Context("PostToolUse")),
        "PostToolBatch" => (Path::Tools, Wrap::Context("PostToolBatch")),
        // Versions before 2.1.163 refuse context there; every version takes a decision.
        "Stop" => (Path::Stop, Wrap::Decision("block")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(event: &str, fields: &str) -> EventKind {
        let body = format!(r#"{{"session_id":"s"{fields}}}"#);
        kind(event, &Told::read(body.as_bytes()).unwrap())
    }

    #[test]
    fn events_mean_what_the_host_says_of_them() {
        let waits = |what: &str| EventKind::NeedsHuman(what.to_owned());
        let table = [
            ("SessionStart", r#","source":"startup""#, EventKind::Start { same_context: false }),
            ("SessionStart", r#","source":"clear""#, EventKind::Start { same_context: false }),
            ("SessionStart", r#","source":"compact""#, EventKind::Start { same_context: true }),
            ("SessionStart", "", EventKind::Start { same_context: false }),
            ("UserPromptSubmit", r#","prompt":"hi""#, EventKind::Prompt { quoted: Vec::new() }),
            ("PreToolUse", r#","tool_name":"Bash""#, EventKind::BeforeTool("Bash".to_owned())),
            ("PostToolUse", r#","tool_name":"Bash""#, EventKind::AfterTool("Bash".to_owned())),
            ("PostToolUseFailure", r#","tool_name":"Bash","error":"x""#, EventKind::AfterTool("Bash".to_owned())),
            ("PostToolBatch", r#","tool_calls":[]"#, EventKind::AfterTools),
            ("PermissionRequest", r#","tool_name":"Bash""#, waits("permission: Bash")),
            ("Elicitation", r#","mcp_server_name":"jira""#, waits("input for jira")),
            ("Stop", r#","stop_hook_active":false"#, EventKind::Stop),
            ("StopFailure", r#","error":"rate_limit""#, EventKind::Failed("rate_limit".to_owned())),
            ("SessionEnd", r#","reason":"other""#, EventKind::End),
            ("PreCompact", "", EventKind::Other),
            ("Anything", r#","tool_name":1"#, EventKind::Other),
            ("", "", EventKind::Other),
        ];
        for (event, fields, expected) in table {
            assert_eq!(meant(event, fields), expected, "{event} {fields}");
        }
    }

    #[test]
    fn notifications_tell_who_waits_for_whom() {
        let waits = |what: &str| EventKind::NeedsHuman(what.to_owned());
        let table = [
            ("permission_prompt", "Claude needs your permission to use Bash", waits("permission: Bash")),
            ("permission_prompt", "Claude needs your permission", waits("permission")),
            ("permission_prompt", "Claude needs your permission to use mcp__a__b.", waits("permission: mcp__a__b")),
            ("permission_prompt", "Claude needs your permission to use the web for this", waits("permission")),
            ("permission_prompt", "", waits("permission")),
            ("agent_needs_input", "x", waits("input")),
            ("elicitation_dialog", "x", waits("input for an MCP server")),
            ("elicitation_complete", "x", EventKind::Other),
            ("idle_prompt", "Claude is waiting for your input", EventKind::Idle),
            ("agent_completed", "x", EventKind::Other),
            ("auth_success", "x", EventKind::Other),
            ("", "", EventKind::Other),
        ];
        for (name, message, expected) in table {
            let fields = format!(r#","notification_type":"{name}","message":"{message}""#);
            assert_eq!(meant("Notification", &fields), expected, "{name} {message}");
        }
    }
}

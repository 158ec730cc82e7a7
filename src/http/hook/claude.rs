//! What the hooks of Claude Code mean, and in which form they are answered. Nothing else may know its words.

use super::super::Home;
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

/// What an older version says of a session that waits for its next prompt.
const WAITING_FOR_INPUT: &str = "waiting for your input";

/// What comes before the tool's name in the notice that a permission is waited for.
const PERMISSION_TO_USE: &str = "permission to use ";

/// Reads a request to the address of Claude Code, which other programs use, too.
///
/// # Errors
/// The body is no JSON object or names no session; the query or a header cannot be read.
pub(super) fn read(request: &gate::Request, home: &Home) -> Result<Asked, RequestError> {
    let told = Told::of(request)?;
    match foreign::program(&told) {
        Some(other) => foreign::host(other).read_told(request, home, &told, None),
        None => HOST.read_told(request, home, &told, None),
    }
}

fn kind(event: &str, told: &Told<'_>) -> EventKind {
    match event {
        "SessionStart" => EventKind::Start { same_context: told.source() == "compact" },
        "UserPromptSubmit" => EventKind::Prompt { quoted: Vec::new() },
        "PreToolUse" => EventKind::BeforeTool(told.tool()),
        "PostToolUseFailure" if told.is_interrupt() => EventKind::Idle,
        "PostToolUse" | "PostToolUseFailure" | "PermissionDenied" => EventKind::AfterTool(told.tool()),
        "PostToolBatch" => EventKind::AfterTools,
        "PermissionRequest" => {
            EventKind::NeedsHuman(told.asks().unwrap_or_else(|| format!("permission: {}", told.tool())))
        }
        "Elicitation" => EventKind::NeedsHuman(format!("input for {}", told.server())),
        "ElicitationResult" => EventKind::Answered,
        "Notification" => notification(told),
        "Stop" => EventKind::Stop,
        "StopFailure" => EventKind::Failed(told.error()),
        "SessionEnd" => EventKind::End,
        _ => EventKind::Other,
    }
}

fn notification(told: &Told<'_>) -> EventKind {
    let reminds = |what: &str, when_idle| EventKind::Reminds { what: what.to_owned(), when_idle };
    let message = told.message();
    match told.notification_type().as_str() {
        "permission_prompt" => reminds(&permission(&message), true),
        // It comes a minute after the end of each turn too, when nothing was asked.
        "agent_needs_input" => reminds("input", false),
        "elicitation_dialog" => reminds("input for an MCP server", true),
        "elicitation_complete" | "elicitation_response" => EventKind::Answered,
        "idle_prompt" => EventKind::Idle,
        // Older versions tell no type, and have a text for each.
        "" if message.contains(WAITING_FOR_INPUT) => EventKind::Idle,
        "" if message.contains("permission") => reminds(&permission(&message), true),
        "" if !message.is_empty() => reminds(&message, false),
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

fn takes(event: &str, told: &Told<'_>) -> Option<(Path, Wrap)> {
    Some(match event {
        "SessionStart" => (Path::Start, Wrap::Context("SessionStart")),
        "UserPromptSubmit" => (Path::Prompt, Wrap::Context("UserPromptSubmit")),
        "PostToolUse" => (Path::Tools, Wrap::Context("PostToolUse")),
        "PostToolBatch" => (Path::Tools, Wrap::Context("PostToolBatch")),
        // Versions before 2.1.163 refuse context there; all take a decision, which newer ones show twice, as an error. Those
        // that name prompts, from 2.1.196 on, take context.
        "Stop" if told.prompt_id().is_some() => (Path::Stop, Wrap::Context("Stop")),
        "Stop" => (Path::Stop, Wrap::Decision("block")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// row 1: the version shows in whether it names prompts.
    #[test]
    fn mail_at_a_turns_end_takes_the_form_of_the_version() {
        let form = |fields: &str| {
            let body = format!(r#"{{"session_id":"s"{fields}}}"#);
            takes("Stop", &Told::read(body.as_bytes()).unwrap()).unwrap()
        };
        assert_eq!(form(""), (Path::Stop, Wrap::Decision("block")));
        assert_eq!(form(r#","prompt_id":"p""#), (Path::Stop, Wrap::Context("Stop")));
    }

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
            ("PermissionDenied", r#","tool_name":"Bash","reason":"x""#, EventKind::AfterTool("Bash".to_owned())),
            ("PostToolUseFailure", r#","tool_name":"Bash","is_interrupt":true"#, EventKind::Idle),
            (
                "PostToolUseFailure",
                r#","tool_name":"Bash","is_interrupt":false"#,
                EventKind::AfterTool("Bash".to_owned()),
            ),
            (
                "PermissionRequest",
                r#","tool_name":"AskUserQuestion","tool_input":{"questions":[{"question":"Which?","options":[]}]}"#,
                waits("an answer: Which?"),
            ),
            ("PermissionRequest", r#","tool_name":"AskUserQuestion""#, waits("an answer")),
            ("PermissionRequest", r#","tool_name":"ExitPlanMode","tool_input":{}"#, waits("approval of its plan")),
            ("Elicitation", r#","mcp_server_name":"jira""#, waits("input for jira")),
            ("ElicitationResult", r#","mcp_server_name":"jira","action":"accept""#, EventKind::Answered),
            ("PreSkillShellCommand", r#","tool_name":"Bash","command_name":"x""#, EventKind::Other),
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
        let waits = |what: &str| EventKind::Reminds { what: what.to_owned(), when_idle: true };
        let in_turn = |what: &str| EventKind::Reminds { what: what.to_owned(), when_idle: false };
        let table = [
            ("permission_prompt", "Claude needs your permission to use Bash", waits("permission: Bash")),
            ("permission_prompt", "Claude needs your permission", waits("permission")),
            ("permission_prompt", "Claude needs your permission to use mcp__a__b.", waits("permission: mcp__a__b")),
            ("permission_prompt", "Claude needs your permission to use the web for this", waits("permission")),
            ("permission_prompt", "", waits("permission")),
            ("agent_needs_input", "x", in_turn("input")),
            ("elicitation_dialog", "x", waits("input for an MCP server")),
            ("elicitation_complete", "x", EventKind::Answered),
            ("elicitation_response", "x", EventKind::Answered),
            ("idle_prompt", "Claude is waiting for your input", EventKind::Idle),
            ("agent_completed", "x", EventKind::Other),
            ("auth_success", "x", EventKind::Other),
            ("", "Claude is waiting for your input", EventKind::Idle),
            ("", "Claude needs your permission to use Bash", waits("permission: Bash")),
            ("", "Look at this", in_turn("Look at this")),
            ("", "", EventKind::Other),
        ];
        for (name, message, expected) in table {
            let fields = format!(r#","notification_type":"{name}","message":"{message}""#);
            assert_eq!(meant("Notification", &fields), expected, "{name} {message}");
        }
    }
}

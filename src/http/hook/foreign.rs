//! Other programs that run the hooks in Claude Code's settings file: Cursor, GitHub Copilot, Grok Build. The fields that they
//! send tell them apart. Their answers carry no mail, because they do not show it to their models.

use super::claude;
use super::host::Host;
use super::told::Told;
use crate::model::Agent;
use crate::roster::EventKind;

/// Names the program that sent an event to Claude Code's address; `None` for Claude Code itself.
pub(super) fn program(told: &Told<'_>) -> Option<Agent> {
    let is_copilot = || told.says("timestamp") && !names_own_transcript(told);
    let is_spelled_otherwise =
        || !told.event().is_empty() && !told.event().starts_with(|c: char| c.is_ascii_uppercase());
    marked(told)
        .or_else(|| is_copilot().then_some(Agent::Copilot))
        .or_else(|| is_spelled_otherwise().then_some(Agent::Other))
}

/// Does the same at an address for all agents, by fields that Claude Code, Codex and Gemini CLI never send.
pub(super) fn marked(told: &Told<'_>) -> Option<Agent> {
    if told.says("cursor_version") || told.says("conversation_id") {
        return Some(Agent::Cursor);
    }
    if told.says("session_id") || !told.says("sessionId") {
        return None;
    }
    let is_lower = |name: String| name.starts_with(|c: char| c.is_ascii_lowercase());
    Some(match told.text(&["hookEventName"]).map(is_lower) {
        Some(true) => Agent::Grok,
        _ if told.says("workspaceRoot") => Agent::Grok,
        _ if told.says("timestamp") => Agent::Copilot,
        _ => Agent::Other,
    })
}

/// Recognizes Claude Code's transcript path, which ends with the session's id. GitHub Copilot's does not.
fn names_own_transcript(told: &Told<'_>) -> bool {
    let (Some(transcript), Ok(session)) = (told.text(&["transcript_path"]), told.session_id()) else { return false };
    transcript.contains("/projects/") && transcript.ends_with(&format!("/{session}.jsonl"))
}

/// Such a program as a host. `$CLAUDE_PID` in the hook line is not its process.
pub(super) fn host(agent: Agent) -> Host {
    Host { agent, kind, takes: |_, _| None, silence: "", tells_process: false }
}

fn kind(event: &str, told: &Told<'_>) -> EventKind {
    let event = if event.is_empty() { by_fields(told) } else { event };
    // Spellings differ: stopFailure, stop_failure, StopFailure.
    let letters = event.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
    let meant = match letters.collect::<String>().as_str() {
        "sessionstart" => "SessionStart",
        "sessionend" => "SessionEnd",
        "userpromptsubmit" | "userpromptsubmitted" | "beforesubmitprompt" => "UserPromptSubmit",
        "pretooluse" | "beforeshellexecution" | "beforemcpexecution" | "beforereadfile" => "PreToolUse",
        "posttooluse" | "posttoolusefailure" | "aftershellexecution" | "aftermcpexecution" | "afterfileedit" => {
            "PostToolUse"
        }
        "permissionrequest" => "PermissionRequest",
        "notification" => "Notification",
        "stop" | "agentstop" => "Stop",
        "stopfailure" | "erroroccurred" => "StopFailure",
        // The user broke the turn off.
        "stopcancelled" => return EventKind::Idle,
        _ => return EventKind::Other,
    };
    (claude::HOST.kind)(meant, told)
}

/// Finds the event by its fields. GitHub Copilot leaves the name out in its own format.
fn by_fields(told: &Told<'_>) -> &'static str {
    let table = [
        ("toolResult", "PostToolUse"),
        ("toolName", "PreToolUse"),
        ("prompt", "UserPromptSubmit"),
        ("stopReason", "Stop"),
        ("source", "SessionStart"),
        ("reason", "SessionEnd"),
    ];
    table.into_iter().find(|(field, _)| told.says(field)).map_or("", |(_, event)| event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(fields: &str) -> Told<'_> {
        Told::read(fields.as_bytes()).unwrap()
    }

    /// Events as documented or recorded.
    const SENT: [(&str, Option<Agent>); 14] = [
        // Cursor's command line: github.com/herdrdev/herdr issue 2832.
        (
            r#"{"conversation_id":"c","generation_id":"g","model":"m","is_background_agent":false,"session_id":"c",
               "hook_event_name":"sessionStart","cursor_version":"2026.08.11-e8db854","workspace_roots":["/w"],
               "user_email":"a@b","transcript_path":null}"#,
            Some(Agent::Cursor),
        ),
        (r#"{"conversation_id":"c","hook_event_name":"stop","workspace_roots":["/w"]}"#, Some(Agent::Cursor)),
        (r#"{"session_id":"s","hook_event_name":"Stop","cursor_version":"3.13.25"}"#, Some(Agent::Cursor)),
        // Grok Build: its guide to hooks.
        (
            r#"{"hookEventName":"pre_tool_use","sessionId":"s","cwd":"/w","workspaceRoot":"/w","permissionMode":"default",
               "toolName":"run_terminal_command","toolInput":{"command":"npm test"},"timestamp":"2026-04-14T12:00:00Z"}"#,
            Some(Agent::Grok),
        ),
        (r#"{"hookEventName":"stop","sessionId":"s","cwd":"/w"}"#, Some(Agent::Grok)),
        // GitHub Copilot: github.com/github/copilot-cli issue 2108, and its format for Claude Code's event names.
        (r#"{"sessionId":"s","timestamp":1774281852263,"cwd":"/w","source":"new"}"#, Some(Agent::Copilot)),
        (
            r#"{"session_id":"s","timestamp":"2026-07-12T10:00:00Z","cwd":"/w","hook_event_name":"SessionStart","source":"new"}"#,
            Some(Agent::Copilot),
        ),
        (
            r#"{"session_id":"s","timestamp":"2026-07-12T10:00:00Z","cwd":"/w","hook_event_name":"Stop",
               "transcript_path":"/h/.copilot/session-state/s/events.jsonl"}"#,
            Some(Agent::Copilot),
        ),
        (
            r#"{"sessionId":"s","hookEventName":"Stop","timestamp":"2026-07-12T10:00:00Z","cwd":"/w"}"#,
            Some(Agent::Copilot),
        ),
        (r#"{"sessionId":"s","cwd":"/w"}"#, Some(Agent::Other)),
        (r#"{"session_id":"s","hook_event_name":"before_prompt"}"#, Some(Agent::Other)),
        // Claude Code, also with a timestamp, and a program of the operator.
        (r#"{"session_id":"s","hook_event_name":"Stop","cursor_version":null,"sessionId":"s"}"#, None),
        (
            r#"{"session_id":"s","transcript_path":"/h/.claude/projects/-w/s.jsonl","hook_event_name":"Stop","timestamp":1}"#,
            None,
        ),
        (r#"{"session_id":"s","cwd":"/w"}"#, None),
    ];

    // row 25
    #[test]
    fn each_program_is_told_by_what_it_sends() {
        for (sent, expected) in SENT {
            assert_eq!(program(&told(sent)), expected, "{sent}");
        }
    }

    #[test]
    fn at_an_address_for_all_agents_the_time_and_the_spelling_say_nothing() {
        // Gemini CLI.
        let gemini =
            r#"{"session_id":"s","hook_event_name":"BeforeAgent","timestamp":"2026-07-12T10:00:00Z","cwd":"/w"}"#;
        assert_eq!(marked(&told(gemini)), None);
        assert_eq!(marked(&told(r#"{"session_id":"s","hook_event_name":"session_start"}"#)), None);
        assert_eq!(marked(&told(r#"{"sessionId":"s","timestamp":1}"#)), Some(Agent::Copilot));
    }

    #[test]
    fn an_event_means_the_same_however_it_is_spelled() {
        let start = EventKind::Start { same_context: false };
        let prompt = EventKind::Prompt { quoted: Vec::new() };
        let table = [
            ("sessionStart", "{}", start.clone()),
            ("session_start", "{}", start.clone()),
            ("beforeSubmitPrompt", "{}", prompt.clone()),
            ("userPromptSubmitted", "{}", prompt.clone()),
            ("pre_tool_use", r#"{"toolName":"grep"}"#, EventKind::BeforeTool("grep".to_owned())),
            ("afterFileEdit", "{}", EventKind::AfterTool("unknown".to_owned())),
            ("agentStop", "{}", EventKind::Stop),
            ("stop_cancelled", "{}", EventKind::Idle),
            ("sessionEnd", "{}", EventKind::End),
            ("subagentStop", "{}", EventKind::Other),
            ("", r#"{"toolName":"bash","toolArgs":"{}","toolResult":{"resultType":"success"}}"#, {
                EventKind::AfterTool("bash".to_owned())
            }),
            ("", r#"{"toolName":"bash","toolArgs":"{}"}"#, EventKind::BeforeTool("bash".to_owned())),
            ("", r#"{"prompt":"hi"}"#, prompt),
            ("", r#"{"source":"new"}"#, start),
            ("", r#"{"reason":"complete"}"#, EventKind::End),
            ("", "{}", EventKind::Other),
        ];
        for (event, fields, expected) in table {
            assert_eq!(kind(event, &told(fields)), expected, "{event} {fields}");
        }
    }
}

//! The table of states: the events of each agent, in order, and what the roster shows of the session after each.

use super::{Asked, Home, gate, reader};
use crate::gate::{Credential, DoorKind};
use crate::ids::SeededIds;
use crate::model::{ItemType, KnownBy, Row, State};
use crate::roster::{Reply, Request, Roster};
use crate::time::Now;
use tiny_http::Method;

/// The roster with one session, and the moment.
struct World {
    roster: Roster,
    ids: SeededIds,
    ms: i64,
}

impl World {
    fn new() -> Self {
        Self { roster: Roster::new(), ids: SeededIds::new(1), ms: 1_000_000 }
    }

    fn apply(&mut self, request: Request) -> Reply {
        let reply = self.roster.apply(request, Now::at(self.ms), &mut self.ids).reply.unwrap();
        self.roster.commit();
        reply
    }

    /// One hook: its event's name, and its fields.
    fn hook(&mut self, agent: &str, event: &str, fields: &str) {
        let comma = if fields.is_empty() { "" } else { "," };
        let body = format!(r#"{{"session_id":"s","cwd":"/w","hook_event_name":"{event}"{comma}{fields}}}"#);
        let request = gate::Request {
            method: Method::Post,
            path: format!("/hook/{agent}"),
            query: None,
            content_type: None,
            headers: Vec::new(),
            body: body.into_bytes(),
            body_is_cut: false,
            door: DoorKind::Hooks,
            credential: Credential::None,
            maker: crate::process::PeerHandle::Ended,
            counts: gate::Counts::default(),
        };
        let home = Home { operator: None, machine: crate::process::this_machine() };
        let Ok(Asked::Store(request, _)) = reader(&request.path).unwrap()(&request, &home) else {
            panic!("{event} is refused")
        };
        self.apply(*request);
    }

    fn pass(&mut self, ms: i64) {
        self.ms += ms;
        self.apply(Request::Sweep { settled: true });
    }

    /// The state as a person would say it.
    fn shows(&self) -> String {
        let Some(Row::Session(stored)) = self.roster.row(ItemType::Session, "s") else { return "gone".to_owned() };
        let doing = &stored.row.doing;
        let mut text = doing.state.map_or("-", State::as_str).to_owned();
        match doing.known_by {
            KnownBy::Told => {}
            KnownBy::Seen => text.push_str(" (seen)"),
            KnownBy::Guessed => text.push('?'),
        }
        let what = doing.waiting_for.as_ref().or(doing.tool.as_ref());
        what.into_iter().for_each(|what| text.push_str(&format!(": {what}")));
        text
    }
}

/// Events with what is shown after each; the same agent for all.
fn assert_shows(agent: &str, table: &[(&str, &str, &str)]) {
    let mut world = World::new();
    for (event, fields, expected) in table {
        world.ms += 1000;
        world.hook(agent, event, fields);
        assert_eq!(world.shows(), *expected, "{agent}: {event} {fields}");
    }
}

const BASH: &str = r#""tool_name":"Bash","tool_input":{"command":"make"},"tool_use_id":"t1""#;
const ASKS_BASH: &str = r#""tool_name":"Bash","tool_input":{"command":"make"}"#;

// row 20
#[test]
fn a_tool_that_asks_waits_for_its_human_and_says_for_what() {
    let question = r#""tool_name":"AskUserQuestion","tool_input":{"questions":[{"question":"Which?"}]}"#;
    let question_with_id = &format!(r#"{question},"tool_use_id":"t1""#);
    let plan = r#""tool_name":"ExitPlanMode","tool_input":{},"tool_use_id":"t2""#;
    let reminder = r#""notification_type":"permission_prompt","message":"Claude needs your permission""#;
    assert_shows(
        "claude",
        &[
            ("SessionStart", r#""source":"startup""#, "idle"),
            ("UserPromptSubmit", r#""prompt":"x""#, "working"),
            ("PreToolUse", question_with_id, "waiting: an answer: Which?"),
            ("PermissionRequest", question, "waiting: an answer: Which?"),
            ("Notification", reminder, "waiting: an answer: Which?"),
            ("PostToolUse", question_with_id, "working"),
            ("PreToolUse", plan, "waiting: approval of its plan"),
            ("PostToolUse", plan, "working"),
            ("PreToolUse", BASH, "working: Bash"),
            ("PermissionRequest", ASKS_BASH, "waiting: permission: Bash"),
            ("Notification", reminder, "waiting: permission: Bash"),
            ("PermissionDenied", &format!(r#"{BASH},"reason":"x""#), "working"),
            ("Stop", r#""background_tasks":[],"session_crons":[]"#, "idle"),
        ],
    );
}

// row 20
#[test]
fn a_notification_of_an_older_version_says_by_its_text_for_what_it_waits() {
    assert_shows(
        "claude",
        &[
            ("UserPromptSubmit", r#""prompt":"x""#, "working"),
            ("PreToolUse", BASH, "working: Bash"),
            ("Notification", r#""message":"Claude needs your permission to use Bash""#, "waiting: permission: Bash"),
            ("PostToolUse", BASH, "working"),
            ("Notification", r#""message":"Claude needs your permission to use Edit""#, "waiting: permission: Edit"),
            ("PostToolBatch", "", "working"),
            ("Notification", r#""message":"Choose a colour""#, "waiting: Choose a colour"),
            ("Stop", "", "idle"),
            ("Notification", r#""message":"Something was updated""#, "idle"),
            ("Notification", r#""message":"Claude is waiting for your input""#, "idle"),
            ("Notification", r#""message":"Claude needs your permission""#, "waiting: permission"),
        ],
    );
}

// row 20
#[test]
fn an_answered_question_of_an_mcp_server_ends_the_wait() {
    let server = r#""mcp_server_name":"jira""#;
    let tool = r#""tool_name":"mcp__jira__new","tool_input":{},"tool_use_id":"t1""#;
    assert_shows(
        "claude",
        &[
            ("UserPromptSubmit", r#""prompt":"x""#, "working"),
            ("PreToolUse", tool, "working: mcp__jira__new"),
            ("Elicitation", server, "waiting: input for jira"),
            ("Notification", r#""notification_type":"elicitation_dialog","message":"x""#, "waiting: input for jira"),
            ("ElicitationResult", server, "working: mcp__jira__new"),
            ("ElicitationResult", server, "working: mcp__jira__new"),
            ("Elicitation", server, "waiting: input for jira"),
            ("Notification", r#""notification_type":"elicitation_response","message":"x""#, "working: mcp__jira__new"),
            ("PostToolUse", tool, "working"),
            ("Stop", "", "idle"),
            ("ElicitationResult", server, "idle"),
        ],
    );
}

// row 21
#[test]
fn a_session_that_has_stopped_needs_no_input_because_a_minute_has_passed() {
    let needs_input = r#""notification_type":"agent_needs_input","message":"Claude is waiting for your input""#;
    assert_shows(
        "claude",
        &[
            ("UserPromptSubmit", r#""prompt":"x""#, "working"),
            ("Notification", needs_input, "waiting: input"),
            ("UserPromptSubmit", r#""prompt":"x""#, "working"),
            ("Stop", "", "idle"),
            ("Notification", needs_input, "idle"),
            ("Notification", r#""notification_type":"idle_prompt","message":"x""#, "idle"),
        ],
    );
}

// row 22
#[test]
fn a_session_whose_own_task_runs_on_is_neither_idle_nor_in_want_of_a_human() {
    let shell = r#"{"id":"a","type":"shell","status":"running","description":"the build","command":"make"}"#;
    let agent = r#"{"id":"b","type":"subagent","status":"running","description":""}"#;
    let over = r#"{"id":"c","type":"shell","status":"completed","description":"done"}"#;
    let tasks = |tasks: &str| format!(r#""background_tasks":[{tasks}],"session_crons":[]"#);
    let crons =
        r#""background_tasks":[],"session_crons":[{"id":"c","schedule":"0 9 * * 1","recurring":true,"prompt":"x"}]"#;
    assert_shows(
        "claude",
        &[
            ("UserPromptSubmit", r#""prompt":"x""#, "working"),
            ("Stop", &tasks(shell), "paused: its own task: the build"),
            ("Notification", r#""notification_type":"idle_prompt","message":"x""#, "paused: its own task: the build"),
            (
                "Notification",
                r#""notification_type":"agent_needs_input","message":"x""#,
                "paused: its own task: the build",
            ),
            ("UserPromptSubmit", r#""prompt":"<task-notification>""#, "working"),
            ("Stop", &tasks(&format!("{over},{agent},{shell}")), "paused: its own tasks: subagent and 1 more"),
            ("UserPromptSubmit", r#""prompt":"<task-notification>""#, "working"),
            ("Stop", &tasks(over), "idle"),
            ("Stop", crons, "paused: its own schedule: 0 9 * * 1"),
            ("Stop", r#""background_tasks":7,"session_crons":[1]"#, "idle"),
        ],
    );
}

// row 23
#[test]
fn a_wait_ends_with_the_tool_that_asked_and_not_with_another() {
    let tool = |id: &str, path: &str| {
        format!(r#""tool_name":"Read","tool_input":{{"file_path":"{path}"}},"tool_use_id":"{id}""#)
    };
    let (one, two) = (tool("t1", "/etc/hostname"), tool("t2", "/w/f"));
    let other = r#""tool_name":"Grep","tool_input":{},"tool_use_id":"t3""#;
    // A permission's event names the input, and no id.
    let asks = r#""tool_name":"Read","tool_input":{"file_path":"/etc/hostname"}"#;
    assert_shows(
        "claude",
        &[
            ("UserPromptSubmit", r#""prompt":"x""#, "working"),
            ("PreToolUse", &one, "working: Read"),
            ("PreToolUse", &two, "working: Read"),
            ("PermissionRequest", asks, "waiting: permission: Read"),
            ("PostToolUseFailure", &two, "waiting: permission: Read"),
            ("PreToolUse", other, "waiting: permission: Read"),
            ("PostToolUse", other, "waiting: permission: Read"),
            ("PostToolUse", &one, "working"),
            ("PostToolBatch", "", "working"),
            // Where it is not told which one asks, the end of the last one ends the wait.
            ("PreToolUse", &one, "working: Read"),
            ("PreToolUse", other, "working: Grep"),
            ("Notification", r#""notification_type":"permission_prompt","message":"x""#, "waiting: permission"),
            ("PostToolUse", &one, "waiting: permission"),
            ("PostToolUse", other, "working"),
            ("Stop", "", "idle"),
        ],
    );
}

// row 23
#[test]
fn a_dialog_that_nobody_answers_is_not_sure_for_ever() {
    let mut world = World::new();
    world.hook("claude", "UserPromptSubmit", r#""prompt":"x""#);
    world.hook("claude", "PreToolUse", BASH);
    world.hook("claude", "PermissionRequest", ASKS_BASH);
    world.pass(60_000);
    assert_eq!(world.shows(), "waiting: permission: Bash", "people take their time");
    world.pass(15 * 60_000);
    assert_eq!(world.shows(), "waiting?: permission: Bash");
    world.hook("claude", "Notification", r#""notification_type":"permission_prompt","message":"x""#);
    assert_eq!(world.shows(), "waiting: permission: Bash", "it says so again");
    world.hook("claude", "StopFailure", r#""error":"rate_limit""#);
    world.pass(50 * 60_000);
    assert_eq!(world.shows(), "waiting: rate_limit", "that waits for the next prompt");
}

#[test]
fn a_subagent_that_asks_has_its_session_wait_until_its_own_tool_ends() {
    let of_subagent = |fields: &str| format!(r#""agent_id":"a1","agent_type":"general-purpose",{fields}"#);
    let tasks = r#""background_tasks":[{"id":"a1","type":"subagent","status":"running","description":"sub"}]"#;
    assert_shows(
        "claude",
        &[
            ("UserPromptSubmit", r#""prompt":"x""#, "working"),
            ("PreToolUse", &of_subagent(BASH), "working"),
            ("PostToolUse", &of_subagent(BASH), "working"),
            ("SubagentStop", &of_subagent(r#""last_assistant_message":"x""#), "working"),
            ("Stop", tasks, "paused: its own task: sub"),
            ("SubagentStart", &of_subagent(r#""x":1"#), "paused: its own task: sub"),
            ("PermissionRequest", &of_subagent(BASH), "waiting: permission: Bash"),
            ("PostToolUse", &of_subagent(r#""tool_name":"Bash","tool_use_id":"t9""#), "waiting: permission: Bash"),
            ("Stop", &of_subagent(tasks), "waiting: permission: Bash"),
            ("PostToolUse", &of_subagent(BASH), "paused: its own task: sub"),
            ("SessionEnd", &of_subagent(r#""reason":"other""#), "paused: its own task: sub"),
        ],
    );
    let mut world = World::new();
    world.hook("claude", "PreToolUse", &of_subagent(BASH));
    assert_eq!(world.shows(), "gone", "no session comes to be by its subagent");
}

#[test]
fn the_new_events_of_claude_code_are_signs_of_life_and_change_no_state() {
    let mut world = World::new();
    world.hook("claude", "UserPromptSubmit", r#""prompt":"x""#);
    for event in [
        "PreSkillShellCommand",
        "UserPromptExpansion",
        "PreCompact",
        "PostCompact",
        "CwdChanged",
        "FileChanged",
        "MessageDisplay",
        "TaskCreated",
        "TaskCompleted",
        "TeammateIdle",
        "ConfigChange",
        "InstructionsLoaded",
        "PreModelSwitch",
        "PostModelSwitch",
        "WorktreeCreate",
        "WorktreeRemove",
        "Setup",
        "DirectoryAdded",
    ] {
        world.pass(60_000);
        assert_eq!(world.shows(), "working?", "{event}");
        world.hook("claude", event, r#""tool_name":"Bash""#);
        assert_eq!(world.shows(), "working", "{event}");
    }
}

#[test]
fn codex_and_gemini_tell_the_same_in_their_own_words() {
    // Codex adds a description to the input when it asks.
    let asks = r#""tool_name":"Bash","tool_input":{"command":"make","description":"x"}"#;
    let question =
        r#""tool_name":"request_user_input","tool_use_id":"q","tool_input":{"questions":[{"question":"Which?"}]}"#;
    assert_shows(
        "codex",
        &[
            ("SessionStart", r#""source":"startup""#, "idle"),
            ("UserPromptSubmit", r#""prompt":"x","turn_id":"1""#, "working"),
            ("PreToolUse", BASH, "working: Bash"),
            ("PermissionRequest", asks, "waiting: permission: Bash"),
            ("PostToolUse", BASH, "working"),
            ("PreToolUse", question, "waiting: an answer: Which?"),
            ("PostToolUse", question, "working"),
            ("PreToolUse", BASH, "working: Bash"),
            ("PermissionRequest", asks, "waiting: permission: Bash"),
            ("Interrupt", "", "idle"),
            ("SessionEnd", "", "gone"),
        ],
    );
    let file = r#""tool_name":"write_file","tool_input":{"path":"a"}"#;
    assert_shows(
        "gemini",
        &[
            ("BeforeAgent", r#""prompt":"x""#, "working"),
            ("BeforeTool", file, "working: write_file"),
            (
                "Notification",
                r#""notification_type":"ToolPermission","message":"x""#,
                "waiting: permission: write_file",
            ),
            ("AfterTool", file, "working"),
            ("BeforeTool", r#""tool_name":"ask_user""#, "waiting: an answer"),
            ("AfterTool", r#""tool_name":"ask_user""#, "working"),
            ("AfterAgent", "", "idle"),
        ],
    );
}

// row 11
#[test]
fn a_turn_whose_hooks_are_silent_is_not_sure_and_never_called_idle_for_that() {
    for (event, fields, shown) in [("PreToolUse", BASH, ": Bash"), ("UserPromptSubmit", r#""prompt":"x""#, "")] {
        let mut world = World::new();
        world.hook("claude", "UserPromptSubmit", r#""prompt":"x""#);
        world.hook("claude", event, fields);
        world.pass(30_000);
        assert_eq!(world.shows(), format!("working{shown}"));
        world.pass(3_000);
        assert_eq!(world.shows(), format!("working?{shown}"));
        world.pass(50 * 60_000);
        assert_eq!(world.shows(), format!("working?{shown}"), "a tool can take an hour");
        world.hook("claude", "PostToolBatch", "");
        assert_eq!(world.shows(), "working");
    }
}

// row 73
#[test]
fn a_compaction_in_a_directory_below_moves_no_session() {
    for agent in ["claude", "codex", "session-start"] {
        let mut world = World::new();
        world.hook(agent, "SessionStart", r#""source":"startup""#);
        for (source, cwd) in [("compact", "/w"), ("resume", "/w/below")] {
            world.hook(agent, "SessionStart", &format!(r#""source":"{source}","cwd":"/w/below""#));
            let Some(Row::Session(stored)) = world.roster.row(ItemType::Session, "s") else { panic!("gone") };
            assert_eq!(&*stored.row.cwd, cwd, "{agent}: {source}");
        }
    }
}

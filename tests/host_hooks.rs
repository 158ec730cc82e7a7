//! What the hooks of Claude Code, Codex and Gemini CLI bring about at their one address each: the session's state, mail at the
//! events at which it may go out, and no error that gets before an agent. The forms of the answers are in `golden_hooks.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking, in its helpers too

mod support;

use serde_json::{Value, json};
use support::{Answer, Daemon, Place, Watch, post};

const RECORDED: &str = include_str!("fixtures/claude-code-2.1.329-hooks.jsonl");

/// An event of a session, with more fields than its name.
fn event(daemon: &Daemon, host: &str, id: &str, name: &str, fields: Value) -> Answer {
    let mut body = json!({"session_id": id, "cwd": "/w/proj", "hook_event_name": name});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let answer = daemon.hook(&format!("/hook/{host}"), &body.to_string());
    assert_eq!(answer.status, 200, "{body}: {answer:?}");
    answer
}

fn claude(daemon: &Daemon, id: &str, name: &str, fields: Value) -> Answer {
    event(daemon, "claude", id, name, fields)
}

/// The text that an answer puts before the model; empty if it says nothing.
fn text(answer: &Answer) -> String {
    if answer.body.is_empty() {
        return String::new();
    }
    let value = answer.json();
    let text = value.pointer("/hookSpecificOutput/additionalContext").or_else(|| value.get("reason"));
    text.map_or_else(String::new, |text| text.as_str().unwrap().to_owned())
}

/// The bodies of the messages in an answer.
fn mail(answer: &Answer) -> Vec<String> {
    let text = text(answer);
    let lines = text.lines().filter(|line| line.starts_with("- from "));
    lines.map(|line| line.split_once("): ").unwrap().1.to_owned()).collect()
}

/// Awaits that a session's row is as told: each field as given, null where it is not there.
fn until(rows: &mut Watch, id: &str, what: &str, fields: &Value) {
    let fields = fields.as_object().unwrap();
    rows.until(what, |rows| rows.get(id).is_some_and(|row| fields.iter().all(|(key, value)| row[key] == *value)));
}

#[test]
fn a_recorded_session_of_claude_code_is_shown_as_what_it_is_at() {
    let place = Place::new();
    let daemon = place.start();
    let mut rows = Watch::start(&daemon, "Session");
    let id = "9e25605f-ef86-411b-82af-f9f42445a2c6";
    let idle = json!({"state": "idle", "tool": null, "waitingFor": null});
    let working = json!({"state": "working", "tool": null, "waitingFor": null});
    let states = [
        (
            "SessionStart",
            json!({"state": "idle", "model": "claude-opus-5-5", "agent": "claude", "permissionMode": null}),
        ),
        ("UserPromptSubmit", json!({"state": "working", "permissionMode": "auto", "model": "claude-opus-5-5"})),
        ("PreToolUse", json!({"state": "working", "tool": "Bash", "lastTool": "Bash"})),
        ("PostToolUse", working.clone()),
        ("PostToolBatch", working.clone()),
        ("Stop", idle.clone()),
        ("UserPromptSubmit", working),
        ("Stop", idle),
    ];
    let mut lines = RECORDED.lines();
    for (name, fields) in states {
        let line = lines.next().unwrap();
        assert!(line.contains(&format!("\"hook_event_name\":\"{name}\"")), "{line}");
        assert_eq!(daemon.hook("/hook/claude?operator=ana&host=box", line).status, 200);
        until(&mut rows, id, name, &fields);
    }
    assert_eq!((&rows.rows[id]["operator"], &rows.rows[id]["host"]["name"]), (&"ana".into(), &"box".into()));
    let end = daemon.hook("/hook/claude", lines.next().unwrap());
    assert_eq!((end.status, end.body.len()), (200, 0));
    rows.until("no session", |rows| rows.is_empty());
}

#[test]
fn what_needs_a_human_is_shown_until_the_session_goes_on() {
    let place = Place::new();
    let daemon = place.start();
    let mut rows = Watch::start(&daemon, "Session");
    let waits = |what: &str| json!({"state": "waiting", "waitingFor": what});
    let none = json!({});
    let steps = [
        ("UserPromptSubmit", none.clone(), json!({"state": "working"})),
        ("PreToolUse", json!({"tool_name": "Bash"}), json!({"state": "working", "tool": "Bash"})),
        ("PermissionRequest", json!({"tool_name": "Bash"}), waits("permission: Bash")),
        (
            "Notification",
            json!({"notification_type": "permission_prompt", "message": "Claude needs your permission to use Bash"}),
            waits("permission: Bash"),
        ),
        ("PostToolUse", json!({"tool_name": "Bash"}), json!({"state": "working", "waitingFor": null})),
        ("StopFailure", json!({"error": "rate_limit"}), waits("rate_limit")),
        ("Notification", json!({"notification_type": "idle_prompt"}), json!({"state": "idle", "waitingFor": null})),
    ];
    for (name, fields, row) in steps {
        claude(&daemon, "s", name, fields);
        until(&mut rows, "s", name, &row);
    }
    let title = json!({"session_title": "parser", "permission_mode": "plan", "model": "m"});
    claude(&daemon, "s", "UserPromptSubmit", title);
    until(&mut rows, "s", "facts", &json!({"sessionName": "parser", "permissionMode": "plan", "model": "m"}));
}

#[test]
fn a_session_is_told_who_it_is_once_and_by_its_first_prompt_at_the_latest() {
    let place = Place::new();
    let daemon = place.start();
    for (host, [start, prompt, before_tool, after_tool, stop]) in [
        ("claude", ["SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop"]),
        ("codex", ["SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop"]),
        ("gemini", ["SessionStart", "BeforeAgent", "BeforeTool", "AfterTool", "AfterAgent"]),
    ] {
        let is_told = |id: &str, name: &str| {
            text(&event(&daemon, host, &format!("{host}-{id}"), name, json!({}))).contains("<marshal_session>")
        };
        for (id, events) in [
            ("started", vec![(start, true), (prompt, false), (start, true), (prompt, false)]),
            ("prompted", vec![(prompt, true), (prompt, false), (stop, false)]),
            (
                "in a turn",
                vec![(after_tool, false), (before_tool, false), (stop, false), (prompt, true), (prompt, false)],
            ),
        ] {
            for (step, (name, expected)) in events.into_iter().enumerate() {
                assert_eq!(is_told(id, name), expected, "{host} {id}: {step} {name}");
            }
        }
    }
}

#[test]
fn the_end_of_a_turn_brings_mail_only_so_often_in_a_row() {
    let place = Place::new();
    let daemon = place.start();
    let mut rows = Watch::start(&daemon, "Session");
    daemon.start_session("a", "/w/a");
    for host in ["claude", "codex"] {
        event(&daemon, host, host, "SessionStart", json!({}));
        for round in 0..2 {
            let prompt = event(&daemon, host, host, "UserPromptSubmit", json!({}));
            let left: &[&str] = if round == 0 { &[] } else { &["5"] };
            assert_eq!(mail(&prompt), left, "what the end of the turn did not bring");
            for number in 1..=5 {
                daemon.send("a", host, &number.to_string());
                let answer = event(&daemon, host, host, "Stop", json!({"stop_hook_active": number > 1}));
                let expected = if number < 5 { vec![number.to_string()] } else { Vec::new() };
                assert_eq!(mail(&answer), expected, "{host}");
                let state = if number < 5 { "working" } else { "idle" };
                until(&mut rows, host, state, &json!({"state": state}));
            }
        }
    }
}

/// A log with a session of Claude Code that was started, and its mail: priority and body.
fn with_mail(place: &Place, mail: &[(&str, &str)]) {
    let mut log = String::new();
    let mut line = |item_type: &str, item: Value| {
        log +=
            &json!({"item": item, "changeType": "SET", "itemType": item_type, "createdAt": "2026-11-21T00:07:54+00:00",
            "tx": "t", "sourceId": "test"})
            .to_string();
        log.push('\n');
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    line(
        "Session",
        json!({"id": "s", "nickname": "s", "cwd": "/w/proj", "connectedAt": now, "hooks": true, "hears": ["start"]}),
    );
    for (number, (priority, body)) in mail.iter().enumerate() {
        line(
            "Message",
            json!({"id": format!("m{number}"), "fromSessionId": "x", "fromNick": "x", "toSessionId": "s", "toNick": "s",
                "body": body, "sentAt": now, "priority": priority}),
        );
    }
    // The daemon makes the directory, and its rights, itself.
    drop(place.start());
    std::fs::write(place.log_path(), log).unwrap();
}

#[test]
fn between_tools_only_urgent_mail_goes_out_and_once_a_step() {
    let place = Place::new();
    with_mail(&place, &[("next", "patient"), ("now", "first"), ("low", "idle"), ("now", "second")]);
    let daemon = place.start();
    let bash = || json!({"tool_name": "Bash"});
    claude(&daemon, "s", "PreToolUse", bash());
    assert_eq!(mail(&claude(&daemon, "s", "PostToolUse", bash())), ["first", "second"]);
    assert_eq!(mail(&claude(&daemon, "s", "PostToolBatch", json!({}))), [""; 0]);
    assert_eq!(mail(&claude(&daemon, "s", "Stop", json!({}))), ["patient"]);
    // The news that the answer has arrived comes by another way than the next event.
    daemon.until_handed("s", 1);
    assert_eq!(mail(&claude(&daemon, "s", "Stop", json!({}))), [""; 0]);
    assert_eq!(mail(&claude(&daemon, "s", "UserPromptSubmit", json!({}))), ["idle"]);
}

#[test]
fn a_session_that_tells_of_its_steps_gets_urgent_mail_at_their_end() {
    let place = Place::new();
    with_mail(&place, &[("now", "urgent")]);
    let daemon = place.start();
    // Nothing is for this one; but it has steps.
    claude(&daemon, "other", "PostToolBatch", json!({}));
    let first = claude(&daemon, "s", "PostToolBatch", json!({}));
    assert_eq!(mail(&first), ["urgent"]);
    assert!(text(&first).contains(", urgent, "), "{first:?}");
    daemon.start_session("a", "/w/a");
    let answer =
        daemon.post_json("/v1/messages", &json!({"asSession": "a", "to": "s", "body": "b", "priority": "now"}));
    assert_eq!(answer.status, 201);
    assert_eq!(mail(&claude(&daemon, "s", "PostToolUse", json!({"tool_name": "Bash"}))), [""; 0]);
    // The events of hooks may be large: what tools have read rides in them.
    let calls = json!({"tool_calls": [{"tool_name": "Read", "tool_response": "x".repeat(900 * 1024)}]});
    assert_eq!(mail(&claude(&daemon, "s", "PostToolBatch", calls)), ["b"]);
}

#[test]
fn a_prompt_that_quotes_a_message_shows_that_it_was_read() {
    let place = Place::new();
    let daemon = place.start();
    let mut receipts = Watch::start(&daemon, "MessageRead");
    for (host, prompt, name) in
        [("claude", "UserPromptSubmit", "c"), ("codex", "UserPromptSubmit", "x"), ("gemini", "BeforeAgent", "g")]
    {
        daemon.start_session("a", "/w/a");
        event(&daemon, host, name, "SessionStart", json!({}));
        let quoted = daemon.send("a", name, "quoted");
        assert_eq!(mail(&event(&daemon, host, name, "SessionStart", json!({}))), [""; 0], "the first prompt takes it");
        assert_eq!(mail(&event(&daemon, host, name, prompt, json!({"prompt": "hi"}))), ["quoted"]);
        daemon.until_handed(name, 1);
        let other = daemon.send("a", name, "other");
        let woken = format!("Stop hook feedback: - from a [a] (message {quoted}, 0 s ago): quoted");
        let answer = event(&daemon, host, name, prompt, json!({"prompt": woken}));
        assert_eq!(mail(&answer), ["other"], "what was read does not come again");
        let receipt = format!("{quoted}::{name}");
        receipts.until("receipt", |rows| rows.get(&receipt).is_some_and(|row| row["evidence"] == "quoted"));
        assert!(!receipts.rows.contains_key(&format!("{other}::{name}")));
    }
}

#[test]
fn no_hook_fails_for_what_it_says_unless_it_names_no_session() {
    let place = Place::new();
    let daemon = place.start();
    let odd = [
        r#"{"session_id":"s"}"#,
        r#"{"session_id":"s","hook_event_name":null}"#,
        r#"{"session_id":"s","hook_event_name":["Stop"]}"#,
        r#"{"session_id":"s","hook_event_name":"FromTheFuture","tool_name":{},"cwd":[],"prompt_id":1}"#,
        r#"{"session_id":"s","hook_event_name":"PreToolUse","tool_input":{"x":"\ud83d"}}"#,
        r#"{"session_id":"s","hook_event_name":"Notification","notification_type":7,"message":null}"#,
        r#" {"session_id":"s","agent_id":"sub","hook_event_name":"SessionEnd"} "#,
    ];
    let wrong = ["", "{}", "[]", "null", "{\"session_id\":\"s\"", r#"{"session_id":""}"#, r#"{"session_id":5}"#];
    for (host, silence) in [("claude", ""), ("codex", ""), ("gemini", "{}")] {
        let path = format!("/hook/{host}");
        daemon.hook(&path, r#"{"session_id":"s","hook_event_name":"SessionStart"}"#);
        for body in odd {
            let answer = daemon.hook(&path, body);
            assert_eq!((answer.status, answer.text()), (200, silence), "{host} {body}");
        }
        assert!(daemon.sessions().contains_key("s"), "{host}: a subagent ended, not the session");
        for body in wrong {
            let answer = daemon.hook(&path, body);
            assert_eq!((answer.status, answer.text()), (400, ""), "{host} {body}");
            assert!(answer.header("marshal-error").unwrap().starts_with("invalid_request; "), "{host} {body}");
        }
        let answer = daemon.get(&path);
        assert_eq!((answer.status, answer.header("allow"), answer.text()), (405, Some("POST"), ""));
    }
    let unknown = daemon.hook("/hook/emacs", r#"{"session_id":"s"}"#);
    assert_eq!((unknown.status, unknown.text()), (404, ""));
}

// row 31, row 32
#[test]
fn no_event_is_lost_for_a_field_that_says_nothing_or_a_mark_before_it() {
    let place = Place::new();
    let daemon = place.start();
    let mut rows = Watch::start(&daemon, "Session");
    let bodies: [&[u8]; 4] = [
        br#"{"session_id":"ID","cwd":"/w/proj","agent_id":"","hook_event_name":"UserPromptSubmit"}"#,
        br#"{"session_id":"ID","cwd":"/w/proj","agent_id":false,"hook_event_name":"UserPromptSubmit"}"#,
        b"\xef\xbb\xbf{\"session_id\":\"ID\",\"cwd\":\"/w/proj\",\"hook_event_name\":\"UserPromptSubmit\"}",
        b"{\"session_id\":\"ID\",\"cwd\":\"/w/proj\",\"hook_event_name\":\"UserPromptSubmit\",\"session_title\":\"caf\xe9\",\"prompt\":\"\xff\"}",
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        for path in ["claude", "codex", "session-start", "prompt-submit"] {
            let id = format!("{path}-{number}");
            let at = body.windows(2).position(|two| two == b"ID").unwrap();
            let body = [&body[..at], id.as_bytes(), &body[at + 2..]].concat();
            let answer = post(daemon.hooks, &format!("/hook/{path}"), &[], &body);
            assert_eq!(answer.status, 200, "{id}: {answer:?}");
            assert!(String::from_utf8_lossy(&answer.body).contains("<marshal_session>"), "{id}: {answer:?}");
            until(&mut rows, &id, "row", &json!({"cwd": "/w/proj", "sessionName": null}));
        }
    }
    // `/v1` skips the mark, too.
    let body = "\u{feff}{\"asSession\":\"claude-0\",\"to\":\"codex-0\",\"body\":\"hi\"}";
    let json = ("Content-Type", "application/json");
    assert_eq!(post(daemon.hooks, "/v1/messages", &[json], body.as_bytes()).status, 201);
}

/// Makes an event of `bytes` bytes, with a large field behind the small ones.
fn large_event(id: &str, event: &str, field: &str, bytes: usize) -> String {
    let mut body = format!(r#"{{"session_id":"{id}","cwd":"/w/proj","hook_event_name":"{event}","{field}":""#);
    body.push_str(&"x".repeat(bytes - body.len() - 2));
    body + "\"}"
}

// row 34, row 48
#[test]
fn an_event_however_large_tells_what_the_session_is_at_and_brings_its_mail() {
    let place = Place::new();
    let daemon = place.start();
    let mut rows = Watch::start(&daemon, "Session");
    let mib = 1024 * 1024;
    daemon.start_session("a", "/w/a");
    claude(&daemon, "s", "SessionStart", json!({}));
    for (number, bytes) in [mib, mib + 1, 8 * mib, 32 * mib].into_iter().enumerate() {
        daemon.send("a", "s", &format!("m{number}"));
        let prompt = daemon.hook("/hook/claude", &large_event("s", "UserPromptSubmit", "prompt", bytes));
        assert_eq!((prompt.status, mail(&prompt)), (200, vec![format!("m{number}")]), "{bytes}");
        until(&mut rows, "s", "working", &json!({"state": "working"}));
        let stop = large_event("s", "Stop", "last_assistant_message", bytes);
        let chunks: Vec<String> = stop
            .as_bytes()
            .chunks(100_000)
            .map(|c| format!("{:x}\r\n{}\r\n", c.len(), std::str::from_utf8(c).unwrap()))
            .collect();
        let head = "POST /hook/claude HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = support::raw(daemon.hooks, [head, &chunks.concat(), "0\r\n\r\n"].concat().as_bytes());
        assert_eq!((answer.status, answer.text()), (200, ""), "{bytes}");
        until(&mut rows, "s", "idle", &json!({"state": "idle"}));
        // marshal 0.9's paths do the same.
        let id = format!("old{number}");
        let answer = daemon.hook("/hook/session-start", &large_event(&id, "SessionStart", "x", bytes));
        assert!(answer.status == 200 && answer.text().contains("<marshal_session>"), "{bytes}: {answer:?}");
        assert_eq!(daemon.hook("/hook/session-end", &large_event(&id, "SessionEnd", "x", bytes)).status, 200);
        rows.until("its end", |rows| !rows.contains_key(&id));
    }
    for (body, status) in [
        // The session's id lies behind the kept bytes.
        (format!(r#"{{"prompt":"{}","session_id":"s"}}"#, "x".repeat(mib)), 413),
        (format!("[{}]", "1,".repeat(mib)), 400),
    ] {
        let answer = daemon.hook("/hook/claude", &body);
        assert_eq!((answer.status, answer.text()), (status, ""), "{:.40}", body);
    }
}

// row 33, row 32
#[test]
fn the_command_hands_over_all_that_the_daemon_takes() {
    let place = Place::new();
    let daemon = place.start();
    let mut receipts = Watch::start(&daemon, "MessageRead");
    daemon.start_session("a", "/w/a");
    claude(&daemon, "s", "SessionStart", json!({}));
    let id = daemon.send("a", "s", "m");
    assert_eq!(mail(&claude(&daemon, "s", "UserPromptSubmit", json!({}))), ["m"]);
    daemon.until_handed("s", 1);
    let prompt = format!("{}(message {id})", "x".repeat(300 * 1024));
    let body = json!({"session_id": "s", "hook_event_name": "UserPromptSubmit", "prompt": prompt}).to_string();
    let bodies = [
        body.into_bytes(),
        b"\xef\xbb\xbf{\"session_id\":\"t\",\"hook_event_name\":\"UserPromptSubmit\",\"prompt\":\"\xff\"}".to_vec(),
        large_event("u", "UserPromptSubmit", "prompt", 40 * 1024 * 1024).into_bytes(),
    ];
    for (body, told) in bodies.iter().zip([false, true, true]) {
        let mut command = place.command();
        let mut child = command
            .args(["hook", "claude"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), body).unwrap();
        let output = child.wait_with_output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{answer}");
        assert_eq!(answer.contains("<marshal_session>"), told, "{answer}");
    }
    let receipt = format!("{id}::s");
    receipts.until("receipt", |rows| rows.get(&receipt).is_some_and(|row| row["evidence"] == "quoted"));
}

// row 25
#[test]
fn programs_that_run_the_hooks_of_another_one_are_shown_as_what_they_are_and_keep_their_mail() {
    let place = Place::new();
    let daemon = place.start();
    let mut rows = Watch::start(&daemon, "Session");
    daemon.start_session("a", "/w/a");
    let own = std::process::id();
    let cursor = |event: &str| {
        json!({"conversation_id": "cur", "generation_id": "g", "cursor_version": "2026.08.11", "workspace_roots": ["/w/c"],
            "model": "m", "hook_event_name": event})
    };
    let copilot = |event: &str| json!({"session_id": "cop", "timestamp": "2026-07-12T10:00:00Z", "cwd": "/w/c", "hook_event_name": event, "source": "new"});
    let grok = |event: &str| json!({"sessionId": "gro", "hookEventName": event, "cwd": "/w/c", "workspaceRoot": "/w/c", "toolName": "grep"});
    let unnamed =
        |field: &str| json!({"sessionId": "unn", "timestamp": 1_774_281_852_263_u64, "cwd": "/w/c", field: "x"});
    let table = [
        ("cur", "cursor", [cursor("sessionStart"), cursor("beforeSubmitPrompt"), cursor("stop"), cursor("sessionEnd")]),
        (
            "cop",
            "copilot",
            [copilot("SessionStart"), copilot("UserPromptSubmit"), copilot("Stop"), copilot("SessionEnd")],
        ),
        ("gro", "grok", [grok("session_start"), grok("user_prompt_submit"), grok("stop"), grok("session_end")]),
        ("unn", "copilot", [unnamed("source"), unnamed("prompt"), unnamed("stopReason"), unnamed("reason")]),
    ];
    for (id, agent, [start, prompt, stop, end]) in table {
        // `$CLAUDE_PID` names the Claude Code that the program was started from.
        let tell = |path: &str, body: &Value| {
            let answer = daemon.hook(&format!("/hook/{path}?host=box&operator=ana&pid={own}"), &body.to_string());
            assert_eq!((answer.status, answer.text()), (200, ""), "{path} {body}");
        };
        tell("claude", &start);
        until(&mut rows, id, "start", &json!({"agent": agent, "state": "idle", "cwd": "/w/c", "process": null}));
        daemon.send("a", id, "for its inbox");
        tell("claude", &prompt);
        until(&mut rows, id, "prompt", &json!({"state": "working", "hears": null}));
        tell("claude", &stop);
        until(&mut rows, id, "stop", &json!({"state": "idle"}));
        // Its waiter is sent away at once.
        let wait = daemon.hook("/hook/wait", &stop.to_string());
        assert_eq!((wait.status, wait.text()), (204, ""), "{stop}");
        let session = daemon.sessions()[id].clone();
        assert_eq!((&session["reach"], &session["unread"]), (&"none".into(), &1.into()), "{session}");
        tell("claude", &end);
        rows.until("its end", |rows| !rows.contains_key(id));
        if id != "cop" {
            // The paths of marshal 0.9 name the event themselves.
            tell("session-start", &end);
            until(&mut rows, id, "start", &json!({"agent": agent, "cwd": "/w/c"}));
            tell("prompt-submit", &end);
            until(&mut rows, id, "prompt", &json!({"state": "working", "hears": null}));
            tell("session-end", &start);
            rows.until("its end", |rows| !rows.contains_key(id));
        }
    }
}

#[test]
fn the_query_names_the_event_of_a_body_that_does_not_or_another_one() {
    let place = Place::new();
    let daemon = place.start();
    let ask = |query: &str, body: &str| text(&daemon.hook(&format!("/hook/claude{query}"), body));
    assert!(ask("?event=SessionStart", r#"{"session_id":"s"}"#).contains("<marshal_session>"));
    assert_eq!(ask("", r#"{"session_id":"s"}"#), "");
    assert!(ask("?event=SessionStart", r#"{"session_id":"s","hook_event_name":"Stop"}"#).contains("<marshal_session>"));
    assert_eq!(ask("?event=SessionEnd", r#"{"session_id":"s"}"#), "");
    assert!(daemon.sessions().is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn an_http_hook_shows_the_token_and_says_its_process_in_a_header() {
    let place = Place::new();
    let daemon = place.start_locked();
    let bearer = format!("Bearer {}", place.token());
    let own = std::process::id().to_string();
    let body = |id: &str| json!({"session_id": id, "hook_event_name": "UserPromptSubmit"}).to_string();
    let ask = |path: &str, id: &str, headers: &[(&str, &str)]| {
        let json = [("Content-Type", "application/json"), ("Connection", "keep-alive")];
        post(daemon.hooks, path, &[&json, headers].concat(), body(id).as_bytes())
    };
    let refused = ask("/hook/claude", "s", &[("Marshal-Pid", &own)]);
    assert_eq!((refused.status, refused.text()), (401, ""));
    let authorized = ("Authorization", bearer.as_str());
    for (id, path, pid, expected) in [
        ("header", "/hook/claude", own.as_str(), Some(std::process::id())),
        ("unset", "/hook/claude", "", None),
        ("word", "/hook/claude", "$CLAUDE_PID", None),
        ("both", &format!("/hook/claude?pid={own}"), "1", Some(std::process::id())),
        // The paths of 0.9 know no such header.
        ("old", "/hook/prompt-submit", own.as_str(), None),
    ] {
        let answer = ask(path, id, &[authorized, ("Marshal-Pid", pid)]);
        assert_eq!(answer.status, 200, "{id}: {answer:?}");
        let all = support::request(daemon.hooks, "GET", "/v1/sessions", &[authorized], b"").json();
        let session =
            all["sessions"].as_array().unwrap().iter().find(|session| session["sessionId"] == id).unwrap().clone();
        assert_eq!(session["pid"].as_u64(), expected.map(u64::from), "{id}: {session}");
    }
}

#[test]
fn the_repository_of_a_session_that_has_no_shim_is_looked_up() {
    let place = Place::new();
    let daemon = place.start();
    let mut rows = Watch::start(&daemon, "Session");
    let root = place.dir.path().join("repository");
    for directory in [".git/objects", ".git/refs", "src"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::write(root.join(".git/HEAD"), "ref: refs/heads/parser\n").unwrap();
    for (id, query) in [("here", ""), ("elsewhere", "?host=surely-another-machine")] {
        let body = json!({"session_id": id, "cwd": root.join("src"), "hook_event_name": "UserPromptSubmit"});
        assert_eq!(daemon.hook(&format!("/hook/claude{query}"), &body.to_string()).status, 200);
    }
    until(&mut rows, "here", "branch", &json!({"gitBranch": "parser", "project": "repository"}));
    // One that is looked at later, so that the first ones were looked at before.
    let body = json!({"session_id": "last", "cwd": root, "hook_event_name": "SessionStart"});
    daemon.hook("/hook/codex", &body.to_string());
    until(&mut rows, "last", "branch", &json!({"gitBranch": "parser"}));
    assert_eq!(rows.rows["elsewhere"]["gitBranch"], Value::Null, "that directory is another machine's");
}

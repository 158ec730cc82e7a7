//! Waking the idle, end to end: `/hook/wait` and `marshal hook wait` against the real binary, whatever becomes of either; and
//! what is pushed to a client again that was away.

#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Answer, DEADLINE, Daemon, Place, post, request};

/// `marshal hook wait` with this on its stdin.
fn wait_with(place: &Place, arguments: &[&str], stdin: &str, env: &[(&str, &str)]) -> Child {
    let mut command = place.command();
    command.args(["hook", "wait"]).args(arguments).env("AI_AGENT", "claude-code_2-1-332_harness");
    command.envs(env.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that is given a wrong command line ends before it has read this.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child
}

/// The same for a session whose turn has ended.
fn wait_for(place: &Place, session: &str) -> Child {
    wait_with(place, &["--for", "next"], &stop(session), &[])
}

fn stop(session: &str) -> String {
    let transcript = format!("/home/a/.claude/projects/-w-x/{session}.jsonl");
    let stop = json!({"session_id": session, "hook_event_name": "Stop", "cwd": "/w/x", "transcript_path": transcript});
    stop.to_string()
}

/// Awaits that so many wait.
fn waiting(daemon: &Daemon, count: usize) {
    let line = format!("marshal_waiters {count}");
    let end = Instant::now() + DEADLINE;
    while !daemon.get("/metrics").text().lines().any(|found| found == line) {
        assert!(Instant::now() < end, "not {count} are waiting");
    }
}

fn woken(child: Child) -> String {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{said}");
    said
}

fn silent(child: Child) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert_eq!((status.code(), stdout, stderr), (Some(0), Vec::new(), Vec::new()));
}

fn claude(daemon: &Daemon, event: &str, session: &str, more: &[(&str, &str)]) -> Answer {
    let mut body = json!({"session_id": session, "hook_event_name": event, "cwd": "/w/x"});
    for (name, value) in more {
        body[*name] = (*value).into();
    }
    let answer = post(daemon.hooks, "/hook/claude", &[], body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// Where a message is for its one recipient.
fn delivery(daemon: &Daemon, message: &str) -> Value {
    daemon.get(&format!("/v1/messages?message={message}")).json()["messages"][0]["deliveries"][0].clone()
}

fn three(daemon: &Daemon) {
    for id in ["a", "b", "c"] {
        daemon.start_session(id, "/w/x");
    }
}

#[test]
fn mail_wakes_the_session_that_it_is_for_and_its_next_prompt_proves_that_it_was_read() {
    let place = Place::new();
    let daemon = place.start();
    three(&daemon);
    let (b, mut c) = (wait_for(&place, "b"), wait_for(&place, "c"));
    waiting(&daemon, 2);
    let message = daemon.send("a", "b", "wake up <now>");
    let said = woken(b);
    assert!(said.contains("wake up <now>") && said.contains(&message), "{said}");
    waiting(&daemon, 1);
    assert_eq!(c.try_wait().unwrap(), None, "nobody else is woken");
    // Known a moment after the caller closed.
    let end = Instant::now() + DEADLINE;
    while delivery(&daemon, &message)["state"] != "handed" {
        assert!(Instant::now() < end, "{}", delivery(&daemon, &message));
    }
    assert_eq!(delivery(&daemon, &message)["path"], "wait");
    let prompt = format!("Stop hook blocking error from command \"Stop\": {said}");
    claude(&daemon, "UserPromptSubmit", "b", &[("prompt", &prompt)]);
    let at = delivery(&daemon, &message);
    let read = (at["state"].as_str(), at["evidence"].as_str(), at["path"].as_str());
    assert_eq!(read, (Some("read"), Some("quoted"), Some("wait")), "{at}");
    // The end of a session is the end of whoever waits for its mail.
    daemon.end_session("c");
    silent(c);
    waiting(&daemon, 0);
}

#[test]
fn mail_that_is_there_already_wakes_at_once_and_only_urgent_mail_without_a_word() {
    let place = Place::new();
    let daemon = place.start();
    three(&daemon);
    daemon.send("a", "b", "hello");
    let patient = wait_with(&place, &[], &stop("b"), &[]);
    waiting(&daemon, 1);
    assert!(woken(wait_for(&place, "b")).contains("hello"));
    silent(patient);
    // Somebody else writes to the log.
    let urgent = wait_with(&place, &[], &stop("c"), &[]);
    waiting(&daemon, 1);
    let item = json!({"id": "m", "body": "urgent", "fromSessionId": "a", "fromNick": "a", "priority": "now",
        "sentAt": 1_795_219_453_182_i64, "toSessionId": "c", "toNick": "c"});
    let line = json!({"changeType": "SET", "createdAt": "2026-11-21T00:00:00Z", "item": item, "itemType": "Message",
        "tx": "t", "sourceId": "s", "schemaVersion": "1"});
    let log = std::fs::OpenOptions::new().append(true).open(place.log_path());
    log.unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    assert!(woken(urgent).contains("urgent"));
}

#[test]
fn a_newer_waiter_takes_the_place_of_the_older_one() {
    let place = Place::new();
    let daemon = place.start();
    three(&daemon);
    let old = wait_for(&place, "b");
    waiting(&daemon, 1);
    let new = wait_for(&place, "b");
    silent(old);
    waiting(&daemon, 1);
    daemon.send("a", "b", "hello");
    assert!(woken(new).contains("hello"));
}

#[test]
fn a_daemon_that_dies_wakes_nobody_and_leaves_nobody_deaf() {
    let place = Place::new();
    let daemon = place.start();
    three(&daemon);
    let (patient, hasty) = (wait_for(&place, "b"), wait_with(&place, &["--timeout", "2"], &stop("c"), &[]));
    waiting(&daemon, 2);
    daemon.kill();
    silent(hasty);
    let daemon = place.start();
    waiting(&daemon, 1);
    daemon.send("a", "b", "hello again");
    assert!(woken(patient).contains("hello again"));
    // Or the next one would be counted before it is there.
    waiting(&daemon, 0);
    // One that stops in order says to all that they may come again.
    let answer = wait_over_tcp(&daemon, "b", "?for=next");
    waiting(&daemon, 1);
    assert_eq!(daemon.stop(), Some(0));
    let answer = whole(answer);
    assert_eq!((answer.status, answer.header("retry-after"), answer.body.len()), (204, Some("1"), 0));
}

/// row 26: ends of turns, of the session "b", that no hook may wait after; each with what is in the environment.
fn other_hosts(directory: &Path) -> Vec<(Value, Vec<(&'static str, &'static str)>)> {
    let old = directory.join("projects/-w-x/b.jsonl");
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::write(&old, r#"{"type":"user","version":"2.1.68"}"#).unwrap();
    let of = |transcript: &str| json!({"session_id": "b", "hook_event_name": "Stop", "transcript_path": transcript});
    let claude = of("/home/a/.claude/projects/-w-x/b.jsonl");
    let codex = "/home/a/.codex/sessions/2026/12/01/rollout-2026-12-01T10-45-51-b.jsonl";
    vec![
        // An agent that a Claude Code has started, and whose environment says so.
        (of(codex), vec![]),
        (of("/home/a/.copilot/session-state/b/events.jsonl"), vec![]),
        (json!({"session_id": "b", "hook_event_name": "Stop"}), vec![]),
        (json!({"session_id": "b", "hook_event_name": "AfterAgent", "transcript_path": null}), vec![]),
        // A Claude Code that knows no asyncRewake, by its environment and by its transcript, and one of no known version.
        (claude.clone(), vec![("AI_AGENT", "claude-code_2-1-68_agent")]),
        (of(old.to_str().unwrap()), vec![("AI_AGENT", "")]),
        (claude, vec![("AI_AGENT", "")]),
    ]
}

// row 26
#[test]
fn a_claude_code_that_tells_its_version_otherwise_is_waited_for() {
    let place = Place::new();
    let daemon = place.start();
    three(&daemon);
    let transcript = place.dir.path().join("projects/-w-x/b.jsonl");
    std::fs::create_dir_all(transcript.parent().unwrap()).unwrap();
    std::fs::write(&transcript, r#"{"type":"user","version":"2.1.69"}"#).unwrap();
    let stop = json!({"session_id": "b", "hook_event_name": "Stop", "transcript_path": transcript});
    let named = json!({"session_id": "b", "hook_event_name": "Stop", "prompt_id": "p",
        "transcript_path": "/home/a/.claude/projects/-w-x/b.jsonl"});
    for event in [stop, named] {
        daemon.send("a", "b", "hello");
        assert!(
            woken(wait_with(&place, &["--for", "next"], &event.to_string(), &[("AI_AGENT", "")])).contains("hello")
        );
    }
}

#[test]
fn where_nobody_can_be_woken_the_hook_is_silent_at_once() {
    let place = Place::new();
    silent(wait_for(&place, "b"));
    let daemon = place.start();
    three(&daemon);
    daemon.send("a", "b", "hello");
    silent(wait_with(&place, &["--for", "next"], &stop("b"), &[("CLAUDE_CODE_SESSION_ATTENDED", "0")]));
    silent(wait_with(&place, &["--for", "next"], &stop("b"), &[("CLAUDE_CODE_ENTRYPOINT", "sdk-cli")]));
    let subagent = json!({"session_id": "b", "hook_event_name": "SubagentStop", "agent_id": "x"}).to_string();
    silent(wait_with(&place, &["--for", "next"], &subagent, &[]));
    for nobody in ["", "no JSON", "{}"] {
        silent(wait_with(&place, &["--for", "next"], nobody, &[]));
    }
    for (event, env) in other_hosts(place.dir.path()) {
        silent(wait_with(&place, &["--for", "next"], &event.to_string(), &env));
    }
    assert!(woken(wait_with(&place, &["--for", "next", "--session", "b"], "", &[])).contains("hello"));
    let wrong = wait_with(&place, &["--for", "later"], &stop("b"), &[]).wait_with_output().unwrap();
    assert_eq!(wrong.status.code(), Some(64));
}

/// A bare caller who waits.
fn wait_over_tcp(daemon: &Daemon, session: &str, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.hooks).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let body = json!({ "session_id": session }).to_string();
    let head =
        format!("POST /hook/wait{query} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", daemon.hooks, body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    stream
}

fn whole(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    Answer::parse(&bytes)
}

#[test]
fn a_caller_that_hangs_up_counts_as_an_attempt_and_not_as_delivered() {
    let place = Place::new();
    let daemon = place.start();
    three(&daemon);
    // Before anything was said.
    let caller = wait_over_tcp(&daemon, "b", "?for=next");
    waiting(&daemon, 1);
    drop(caller);
    waiting(&daemon, 0);
    // With the answer on its way: it is there, and is not taken.
    let caller = wait_over_tcp(&daemon, "b", "?for=next");
    waiting(&daemon, 1);
    let message = daemon.send("a", "b", "hello");
    assert_eq!(caller.peek(&mut [0]).unwrap(), 1);
    assert_eq!(delivery(&daemon, &message)["reason"], "on_its_way");
    drop(caller);
    // Free at once, for the next caller: marked, since the first one may have shown it (row 91).
    let next = whole(wait_over_tcp(&daemon, "b", "?for=next"));
    assert_eq!((next.status, next.text().contains("hello")), (200, true), "{next:?}");
    assert!(next.text().contains("repeated: you may have seen it"), "{}", next.text());
}

#[test]
fn who_works_is_not_woken() {
    let place = Place::new();
    let daemon = place.start();
    three(&daemon);
    // Seen to tell of its turns' ends.
    claude(&daemon, "Stop", "b", &[]);
    claude(&daemon, "UserPromptSubmit", "b", &[("prompt", "go")]);
    let mut waiter = wait_for(&place, "b");
    waiting(&daemon, 1);
    let first = daemon.send("a", "b", "for the turn's end");
    assert_eq!(delivery(&daemon, &first)["reason"], "working");
    assert!(claude(&daemon, "Stop", "b", &[]).text().contains("for the turn's end"));
    // It is at that now.
    claude(&daemon, "PreToolUse", "b", &[("tool_name", "Bash")]);
    let second = daemon.send("a", "b", "for when it needs a human");
    assert_eq!(delivery(&daemon, &second)["reason"], "working");
    assert_eq!(waiter.try_wait().unwrap(), None);
    claude(&daemon, "Notification", "b", &[("notification_type", "permission_prompt"), ("message", "may I?")]);
    let said = woken(waiter);
    assert!(said.contains("for when it needs a human") && !said.contains("for the turn's end"), "{said}");
}

#[test]
fn requests_to_wait_are_read_with_care_and_end_in_time() {
    let place = Place::new();
    let daemon = place.start();
    let wait = |query: &str, body: &str| post(daemon.hooks, &format!("/hook/wait{query}"), &[], body.as_bytes());
    let b = r#"{"session_id":"b"}"#;
    for (query, body) in [("?for=low", b), ("?timeout=0", b), ("?timeout=99999999", b), ("", "{}"), ("", "[]")] {
        let answer = wait(query, body);
        let reason = answer.header("marshal-error").unwrap_or_default();
        assert!(answer.status == 400 && answer.body.is_empty() && !reason.is_empty(), "{query} {body} {answer:?}");
    }
    assert_eq!(request(daemon.hooks, "GET", "/hook/wait", &[], b"").status, 405);
    let unknown = wait("", b);
    assert_eq!((unknown.status, unknown.body.len()), (404, 0), "who waits brings nobody onto the roster");
    daemon.start_session("b", "/w/x");
    let begun = Instant::now();
    let over = wait("?timeout=1", b);
    assert_eq!((over.status, over.header("retry-after"), over.body.len()), (204, None, 0), "{over:?}");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let named = wait("?timeout=1&session=x@b", "{}");
    assert_eq!(named.status, 204, "{named:?}");
    assert_eq!(daemon.sessions().len(), 1);
    assert_eq!(wait("", r#"{"session_id":"b","agent_id":"x"}"#).status, 204);
    waiting(&daemon, 0);
}

// row 63
#[test]
fn a_name_on_the_command_line_of_a_hook_means_the_session_that_has_it_and_makes_none() {
    let place = Place::new();
    let daemon = place.start();
    three(&daemon);
    let nickname = daemon.sessions()["b"]["nickname"].as_str().unwrap().to_owned();
    let waiter = wait_with(&place, &["--session", &nickname, "--for", "next"], "", &[]);
    waiting(&daemon, 1);
    daemon.send("a", "b", "by name");
    assert!(woken(waiter).contains("by name"));
    for unknown in ["nobody", "x@"] {
        silent(wait_with(&place, &["--session", unknown], "", &[]));
        let ran = place.run(&["hook", "claude", "--session", unknown]);
        assert_eq!((ran.status.code(), ran.stdout.len()), (Some(0), 0), "{ran:?}");
    }
    assert_eq!(daemon.sessions().len(), 3, "and no ghost");
}

#[test]
fn a_hook_without_curl_prints_what_the_daemon_answers_and_never_fails() {
    let place = Place::new();
    let run = |host: &str, stdin: &str| {
        let mut command = place.command();
        command.args(["hook", host]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        assert_eq!((status.code(), stderr), (Some(0), Vec::new()));
        String::from_utf8(stdout).unwrap()
    };
    let start = json!({"session_id": "b", "hook_event_name": "SessionStart", "cwd": "/w/x", "source": "startup"});
    assert_eq!(run("claude", &start.to_string()), "", "no daemon");
    let daemon = place.start();
    let said: Value = serde_json::from_str(&run("claude", &start.to_string())).unwrap();
    assert_eq!(said["hookSpecificOutput"]["hookEventName"], "SessionStart");
    let session = &daemon.sessions()["b"];
    assert_eq!((session["operator"].as_str(), session["cwd"].as_str()), (Some("tester"), Some("/w/x")), "{session}");
    assert_eq!(session["host"]["os"], std::env::consts::OS);
    let large = "x".repeat(300_000);
    let tool =
        json!({"session_id": "b", "hook_event_name": "PostToolUse", "tool_name": "Bash", "tool_response": large});
    assert_eq!(run("claude", &tool.to_string()), "");
    assert_eq!(daemon.sessions()["b"]["lastTool"], "Bash", "what is too large is left out");
    assert_eq!(run("codex", "no JSON"), "");
    assert_eq!(run("gemini", &json!({"session_id": "g", "hook_event_name": "Notification"}).to_string()), "{}");
}

/// M24 of the checklist, as far as hooks and clients go; what is urgent, and a turn that is stuck, are in the roster's own test.
#[test]
fn m24_what_is_not_urgent_is_pushed_in_order_when_the_turn_is_over() {
    let place = Place::new();
    let daemon = place.start();
    three(&daemon);
    let mut shim = daemon.connect();
    shim.publish("b", "b", "/w/x");
    shim.command("SetSessionChannelsEnabled", json!({"id": "b", "channelsEnabled": true}));
    claude(&daemon, "UserPromptSubmit", "b", &[("prompt", "go")]);
    let sent = ["m1", "m2", "m3"].map(|body| daemon.send("a", "b", body));
    shim.command("Barrier", json!({}));
    let is_push = |frame: &Value| frame["data"]["commandId"] == "NotifyChannel";
    assert!(!shim.pending.iter().any(is_push), "{:#?}", shim.pending);
    assert_eq!(delivery(&daemon, &sent[0])["reason"], "working");
    claude(&daemon, "Notification", "b", &[("notification_type", "idle_prompt"), ("message", "waiting for input")]);
    for message in &sent {
        assert_eq!(shim.push()["meta"]["message_id"], json!(message));
    }
    let next = daemon.send("a", "b", "m4");
    assert_eq!(shim.push()["meta"]["message_id"], json!(next));
}

/// M22 of the checklist: at least once, and each once to who looks at the id.
#[test]
fn m22_who_dies_between_a_push_and_its_acknowledgement_is_pushed_it_again() {
    let place = Place::new();
    let daemon = place.start();
    let mut sender = daemon.connect();
    sender.publish("a", "a", "/w/a");
    let mut receiver = daemon.connect();
    receiver.publish("b", "b", "/w/b");
    // Answered after the publishing.
    receiver.command("Barrier", json!({}));
    sender.command("Barrier", json!({}));
    let sent = sender.command("SendMessage", json!({"toSessionId": "b", "body": "hello"}));
    let id = sent["response"]["messageId"].as_str().unwrap().to_owned();
    let push = receiver.push();
    assert_eq!((&push["meta"]["message_id"], &push["meta"]["repeat"]), (&json!(id), &Value::Null));
    let died = Instant::now();
    drop(receiver);
    let mut receiver = daemon.connect();
    receiver.publish("b", "b", "/w/b");
    let push = receiver.push();
    assert!(died.elapsed() < Duration::from_secs(45));
    assert_eq!((&push["meta"]["message_id"], &push["meta"]["repeat"]), (&json!(id), &json!("true")));
    assert_eq!(push["meta"]["body"], "hello");
    let inbox = receiver.command("ReadMessages", json!({"inbox": true}));
    let messages = inbox["response"]["messages"].as_array().unwrap();
    assert_eq!((messages.len(), &messages[0]["messageId"]), (1, &json!(id)), "{inbox}");
    let acked = receiver.command("AckMessages", json!({"messageIds": [id]}));
    assert_eq!(acked["response"]["newlyAcked"], 1, "{acked}");
    // What was acknowledged does not come again: what is pushed next is the next message.
    drop(receiver);
    let mut receiver = daemon.connect();
    receiver.publish("b", "b", "/w/b");
    receiver.command("Barrier", json!({}));
    let next = sender.command("SendMessage", json!({"toSessionId": "b", "body": "next"}));
    assert_eq!(receiver.push()["meta"]["message_id"], next["response"]["messageId"]);
}

//! Looking back, end to end: pages and filters of the history over HTTP, `marshal history` and what it follows.

#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;
use support::events::{Event, Events};
use support::{DEADLINE, Daemon, Place};

/// A command that goes on until it is stopped, and the lines that it prints to stdout and to stderr.
struct Running {
    child: Child,
    lines: Receiver<String>,
    notes: Receiver<String>,
}

/// The lines of a pipe as they come.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    let read = move || BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| drop(send.send(line)));
    std::thread::Builder::new().name("pipe".to_owned()).spawn(read).unwrap();
    lines
}

/// The lines up to the first that holds this text.
fn until(lines: &Receiver<String>, text: &str) -> Vec<String> {
    let (end, mut seen) = (Instant::now() + DEADLINE, Vec::new());
    loop {
        let left = end.saturating_duration_since(Instant::now());
        seen.push(lines.recv_timeout(left).unwrap_or_else(|_| panic!("no line with {text:?} in {seen:#?}")));
        if seen.last().is_some_and(|line| line.contains(text)) {
            return seen;
        }
    }
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Self { child, lines: lines(stdout), notes: lines(stderr) }
    }

    /// The lines up to the first that holds this text.
    fn until(&self, text: &str) -> Vec<String> {
        until(&self.lines, text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pair(daemon: &Daemon) {
    daemon.start_session("a", "/w/one");
    daemon.start_session("b", "/w/two");
}

fn bodies(page: &Value) -> Vec<String> {
    page["messages"].as_array().unwrap().iter().map(|m| m["body"].as_str().unwrap().to_owned()).collect()
}

fn history(daemon: &Daemon, query: &str) -> Value {
    let answer = daemon.get(&format!("/v1/messages?{query}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[test]
fn pages_are_walked_over_new_messages_and_over_a_restart() {
    let place = Place::new();
    let daemon = place.start();
    pair(&daemon);
    let sent: Vec<String> = (0..23).map(|number| format!("message {number}")).collect();
    sent.iter().for_each(|body| drop(daemon.send("a", "b", body)));
    let first = history(&daemon, "limit=5");
    assert_eq!(bodies(&first), sent[18..]);
    daemon.send("b", "a", "later");
    let second = history(&daemon, &format!("limit=5&before={}", first["before"].as_str().unwrap()));
    assert_eq!(bodies(&second), sent[13..18]);
    daemon.kill();
    let daemon = place.start();
    let third = history(&daemon, &format!("limit=200&before={}", second["before"].as_str().unwrap()));
    assert_eq!((bodies(&third), third.get("before")), (sent[..13].to_vec(), None));
    let since = history(&daemon, &format!("after={}", first["newest"].as_str().unwrap()));
    assert_eq!(bodies(&since), ["later"]);
}

#[test]
fn filters_are_given_in_the_query_and_wrong_ones_are_explained() {
    let place = Place::new();
    let daemon = place.start();
    pair(&daemon);
    let id = daemon.send("a", "b", "The Schema is merged");
    daemon.send("b", "a", "thanks");
    daemon.post_json("/v1/messages/ack", &json!({"asSession": "b", "messageIds": [id]}));
    assert_eq!(bodies(&history(&daemon, "q=schema+MERGED")), ["The Schema is merged"]);
    assert_eq!(bodies(&history(&daemon, "state=read")), ["The Schema is merged"]);
    assert_eq!(bodies(&history(&daemon, "state=queued")), ["thanks"]);
    assert_eq!(bodies(&history(&daemon, "until=1")), Vec::<String>::new());
    assert_eq!(bodies(&history(&daemon, &format!("thread={id}"))), ["The Schema is merged"]);
    let delivery = &history(&daemon, "state=read")["messages"][0]["deliveries"][0];
    assert_eq!((&delivery["state"], &delivery["evidence"]), (&json!("read"), &json!("ack")));
    // As much of an id as people are shown is enough.
    let short = history(&daemon, "state=read")["messages"][0]["shortId"].as_str().unwrap().to_owned();
    assert!(id.starts_with(&short) && (5..9).contains(&short.len()), "{short}");
    assert_eq!(bodies(&history(&daemon, &format!("message={short}"))), ["The Schema is merged"]);
    assert_eq!(daemon.get(&format!("/v1/messages/{short}")).json()["messageId"], id);
    let ran = place.run(&["history", "--thread", &short]);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let wrong = [
        ("limit=0", 400, "1 to 200"),
        ("limit=201", 400, "1 to 200"),
        ("state=lost", 400, "queued, handed, read"),
        ("before=7", 400, "cursor"),
        ("after=x", 400, "cursor"),
        ("q=+", 400, "no words"),
        ("thread=none", 404, "none"),
    ];
    for (query, status, says) in wrong {
        let answer = daemon.get(&format!("/v1/messages?{query}"));
        assert_eq!(answer.status, status, "{query}: {answer:?}");
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(says), "{query}: {answer:?}");
    }
}

#[test]
fn the_command_finds_what_is_far_back_and_says_in_which_state_it_is() {
    let place = Place::new();
    let daemon = place.start();
    pair(&daemon);
    daemon.send("a", "b", "a needle");
    let mut client = daemon.connect();
    for _ in 0..marshal::limits::HISTORY_SCAN_MAX {
        client.command("SendMessage", json!({"asSession": "a", "toSessionId": "b", "body": "hay"}));
    }
    let ran = place.run(&["history", "--search", "NEEDLE"]);
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(text.contains("    a needle\n") && text.contains("two@b: waits for its next prompt\n"), "{text}");
    assert!(!text.contains("hay"), "{text}");
    assert_eq!(ran.status.code(), Some(0));
}

#[test]
fn one_in_the_place_of_another_claims_its_mail_and_the_sender_learns_it() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("a", "/w/one");
    daemon.start_session("old-1", "/w/two");
    let id = daemon.send("a", "old-1", "finish the migration");
    daemon.send("a", "@everyone", "noon is release");
    daemon.end_session("old-1");
    daemon.kill();
    let daemon = place.start();
    let told = daemon.start_session("new-1", "/w/two").text().to_owned();
    assert!(told.contains("has left 2 messages unread") && told.contains("--session new-1 --claim"), "{told}");
    let ran = place.run(&["inbox", "--session", "new-1", "--claim", "--ack"]);
    let (text, notes) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
    assert!(text.contains("    finish the migration\n") && text.contains("    noon is release\n"), "{text}");
    assert!(notes.contains("claimed 2 messages of two@old-1."), "{notes}");
    let page = history(&daemon, &format!("message={id}"));
    let deliveries = page["messages"][0]["deliveries"].as_array().unwrap();
    let of = |id: &str| deliveries.iter().find(|delivery| delivery["sessionId"] == id).unwrap();
    assert_eq!((&of("old-1")["state"], &of("old-1")["by"]), (&json!("claimed"), &json!("new-1")));
    // row 52
    assert_eq!((&of("old-1")["nickname"], &of("old-1")["byNickname"]), (&json!("two@old-1"), &json!("two@new-1")));
    assert_eq!(of("new-1")["state"], "read");
    let notice = daemon.prompt("a").text().to_owned();
    assert!(notice.contains("was taken over by 'two@new-1'"), "{notice}");
    assert!(!daemon.start_session("old-1", "/w/two").text().contains("migration"), "it is not its own any more");
    let nothing = daemon.post_json("/v1/inbox/claim", &json!({"asSession": "new-1"}));
    assert_eq!((nothing.status, &nothing.json()["messages"]), (200, &json!(0)));
    let unknown = daemon.post_json("/v1/inbox/claim", &json!({"asSession": "new-1", "from": "nobody"}));
    assert_eq!(unknown.status, 404);
}

/// An event of a Claude Code session.
fn claude(daemon: &Daemon, id: &str, event: &str, more: &[(&str, &str)]) {
    let mut body = json!({"session_id": id, "cwd": "/w/one", "hook_event_name": event});
    more.iter().for_each(|(name, value)| body[*name] = json!(value));
    let answer = daemon.hook("/hook/claude", &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn what_a_session_is_at_is_listed_told_at_once_and_shown_with_those_first_who_wait() {
    let place = Place::new();
    let daemon = place.start();
    let mut events = Events::subscribe(&daemon.socket, &[]);
    for id in ["idle", "works", "asks"] {
        claude(&daemon, id, "SessionStart", &[("source", "startup")]);
        claude(&daemon, id, "UserPromptSubmit", &[("prompt", "go")]);
    }
    claude(&daemon, "works", "PostToolBatch", &[]);
    claude(&daemon, "works", "PreToolUse", &[("tool_name", "Bash")]);
    claude(&daemon, "asks", "PermissionRequest", &[("tool_name", "Edit")]);
    claude(&daemon, "idle", "Stop", &[]);
    let sessions = daemon.sessions();
    let of = |id: &str, field: &str| sessions[id][field].as_str().unwrap_or_default().to_owned();
    assert_eq!([of("works", "state"), of("works", "tool"), of("works", "reach")], ["working", "Bash", "between_tools"]);
    assert_eq!([of("asks", "state"), of("idle", "state"), of("idle", "reach")], ["waiting", "idle", "next_prompt"]);
    assert!(of("asks", "waitingFor").contains("Edit"), "{sessions:#?}");
    assert_eq!([of("idle", "connection"), of("idle", "agent")], ["hooks", "claude"]);
    // The last that came about is that one is idle; each that needs a human or works was told of before.
    let mut states = std::collections::BTreeSet::new();
    while !states.contains(&("idle".to_owned(), "idle".to_owned())) {
        let Event { name, data, .. } = events.next_event();
        if name == "change" {
            let text = |field: &str| data["session"][field].as_str().unwrap_or_default().to_owned();
            states.insert((text("sessionId"), text("state")));
        }
    }
    for told in [("asks", "working"), ("asks", "waiting"), ("works", "working")] {
        assert!(states.contains(&(told.0.to_owned(), told.1.to_owned())), "{told:?} in {states:?}");
    }
    let ran = place.run(&["ls"]);
    let text = String::from_utf8(ran.stdout).unwrap();
    let names: Vec<&str> = text.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["one@asks", "one@works", "one@idle"], "{text}");
    assert!(text.contains("waiting 0 s: ") && !text.contains('\u{1b}'), "{text}");
    let watch = {
        let mut command = place.command();
        command.args(["ls", "--watch"]);
        Running::start(command)
    };
    watch.until("one@idle");
    claude(&daemon, "idle", "UserPromptSubmit", &[("prompt", "on")]);
    claude(&daemon, "idle", "PreToolUse", &[("tool_name", "Grep")]);
    watch.until("Grep");
}

#[test]
fn the_command_follows_what_comes_also_over_a_restart_and_shows_each_once() {
    let place = Place::new();
    let daemon = place.start();
    pair(&daemon);
    daemon.send("a", "b", "word zero");
    let follow = |json: bool| {
        let mut command = place.command();
        command.args(["history", "--follow", "--search", "word"]);
        Running::start(if json {
            command.arg("--json").env("X", "1");
            command
        } else {
            command
        })
    };
    let (text, lines) = (follow(false), follow(true));
    text.until("word zero");
    lines.until("word zero");
    for number in 1..30 {
        daemon.send("a", "b", &format!("word {number}"));
        daemon.send("b", "a", "not this one");
    }
    text.until("word 29");
    let seen = lines.until("word 29");
    let told: Vec<String> = seen
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["body"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(told, (1..30).map(|number| format!("word {number}")).collect::<Vec<_>>());
    daemon.kill();
    let daemon = place.start();
    daemon.send("a", "b", "word again");
    let seen = text.until("word again");
    assert!(!seen.iter().any(|line| line.contains("word 2") || line.contains("not this one")), "{seen:#?}");
    assert_eq!(lines.until("word again").len(), 1);
}

#[test]
fn whoever_looks_on_hears_at_once_that_the_daemon_is_gone_and_goes_on_when_it_is_back() {
    let place = Place::new();
    let daemon = place.start();
    pair(&daemon);
    let run = |line: &[&str]| {
        let mut command = place.command();
        command.args(line);
        Running::start(command)
    };
    let (list, messages) = (run(&["ls", "--watch"]), run(&["history", "--follow"]));
    list.until("two@b");
    daemon.send("a", "b", "before");
    messages.until("before");
    daemon.kill();
    for looking in [&list, &messages] {
        assert_eq!(until(&looking.notes, "is lost").len(), 1, "and nothing else is said");
    }
    let daemon = place.start();
    daemon.start_session("c", "/w/three");
    daemon.send("a", "b", "after");
    list.until("three@c");
    messages.until("after");
    for looking in [&list, &messages] {
        assert_eq!(until(&looking.notes, "is back").len(), 1, "it is said once");
    }
}

//! `marshal inbox` against the real binary: it takes no message that it has not printed, or was not told to take.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking, in its helpers too

mod support;

use serde_json::{Value, json};
use std::process::{Child, Command, Output, Stdio};
use support::{Daemon, Place};

/// `marshal WORDS` under a shell that redirects it.
fn shell(place: &Place, line: &str) -> Output {
    let variables = place.command();
    let variables = variables.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {} {line}", env!("CARGO_BIN_EXE_marshal"))]);
    shell.env_clear().envs(variables).stdin(Stdio::null()).output().unwrap()
}

/// A process in which a session lives. Dropping it ends it.
struct Agent(Child);

impl Agent {
    fn start() -> Self {
        let mut command = Command::new("sleep");
        command.arg("600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn delivery(daemon: &Daemon, message: &str) -> Value {
    daemon.get(&format!("/v1/messages?message={message}")).json()["messages"][0]["deliveries"][0].clone()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

// row 4
#[test]
fn a_stdout_that_shows_nothing_takes_no_mail() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("a", "/w/a");
    daemon.start_session("old", "/w/place");
    let left = daemon.send("a", "old", "left");
    daemon.end_session("old");
    daemon.start_session("new", "/w/place");
    let id = daemon.send("a", "human:tester", "do not lose me");
    for redirection in [">&-", ">/dev/null", ">/dev/full"] {
        for line in ["inbox", "inbox --json", "inbox --session new --claim --from old"] {
            let output = shell(&place, &format!("{line} {redirection}"));
            let what = format!("{line} {redirection}: {output:?}");
            if redirection == ">/dev/full" && line.contains("claim") {
                continue; // It fails only as it prints, and the claim itself prints nothing.
            }
            assert_eq!(output.status.code(), Some(74), "{what}");
            assert!(texts(&output).1.contains("stdout"), "{what}");
            assert_eq!(delivery(&daemon, &id)["state"], "queued", "{what}");
            assert_eq!(delivery(&daemon, &left)["sessionId"], "old", "{what}");
            assert_eq!(delivery(&daemon, &left)["state"], "queued", "{what}");
        }
    }
    for harmless in ["inbox --peek", "ls", "history", "status"] {
        let output = shell(&place, &format!("{harmless} >/dev/null"));
        assert_eq!(output.status.code(), Some(0), "{harmless}: {output:?}");
    }
    assert!(texts(&shell(&place, "inbox")).0.contains("do not lose me"));
    assert_eq!(delivery(&daemon, &id)["state"], "read");
}

// row 4: a waiter's mail goes to stderr.
#[test]
fn a_stderr_that_shows_nothing_takes_no_mail_of_a_waiter() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("a", "/w/a");
    daemon.start_session("s", "/w/s");
    daemon.hook("/hook/claude", &json!({"session_id": "s", "cwd": "/w/s", "hook_event_name": "Stop"}).to_string());
    let urgent = json!({"asSession": "a", "to": "s", "body": "wake up", "priority": "now"});
    let id = daemon.post_json("/v1/messages", &urgent).json()["messageId"].as_str().unwrap().to_owned();
    for redirection in ["2>&-", "2>/dev/null"] {
        let output = shell(&place, &format!("hook wait --session s --timeout 60 {redirection}"));
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b""[..]), "{redirection}");
    }
    let output = shell(&place, "hook wait --session s --timeout 60");
    assert_eq!(output.status.code(), Some(2));
    assert!(texts(&output).1.contains("wake up"), "{output:?}");
    daemon.until_handed("s", 1);
    assert_eq!(delivery(&daemon, &id)["state"], "handed");
}

// row 5
#[test]
fn a_look_changes_nothing_and_options_that_contradict_each_other_are_refused() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("a", "/w/a");
    daemon.start_session("old", "/w/place");
    let id = daemon.send("a", "old", "left");
    daemon.end_session("old");
    daemon.start_session("new", "/w/place");
    let output = shell(&place, "inbox --session new --claim --peek --from old");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(texts(&output).1.contains("--claim and --peek exclude each other"));
    assert_eq!(delivery(&daemon, &id)["state"], "queued");
}

// row 3
#[test]
fn another_sessions_inbox_is_looked_at_and_taken_only_by_a_word() {
    let place = Place::new();
    let _daemon = place.start_locked();
    // A process of its own, which shows who the session is.
    let agent = Agent::start();
    let events = place.state().join("marshal.sock");
    let start = json!({"session_id": "s-long-id", "cwd": "/w/s", "hook_event_name": "SessionStart"}).to_string();
    let head = format!(
        "POST /hook/claude?pid={} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        agent.0.id(),
        start.len()
    );
    assert_eq!(support::raw_unix(&events, format!("{head}{start}").as_bytes()).status, 200);
    let send = |text: &str| {
        let sent = shell(&place, &format!("send --from ana --json s-long-id '{text}'"));
        let sent: Value = serde_json::from_slice(&sent.stdout).unwrap_or_else(|_| panic!("{sent:?}"));
        sent["messageId"].as_str().unwrap().to_owned()
    };
    let state = |id: &str| -> Value {
        let told = shell(&place, &format!("history --json --message {id}"));
        serde_json::from_slice::<Value>(&told.stdout).unwrap()["messages"][0]["deliveries"][0].clone()
    };
    let id = send("for s alone");
    for line in ["inbox --session s-long-id", "inbox --session s-long", "inbox --session s-long-id --json"] {
        let output = shell(&place, line);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        assert!(out.contains("for s alone") && err.contains("stay unread"), "{line}: {output:?}");
        assert_eq!(state(&id)["state"], "queued", "{line}");
    }
    let guess = shell(&place, "inbox --session s-long --ack");
    assert_eq!((guess.status.code(), &*guess.stdout), (Some(1), &b""[..]), "{guess:?}");
    assert_eq!(state(&id)["state"], "queued");
    assert_eq!(shell(&place, "inbox --session s-long-id --ack").status.code(), Some(0));
    assert_eq!((&state(&id)["state"], &state(&id)["evidence"]), (&json!("read"), &json!("operator")));
    let told = texts(&shell(&place, "outbox --human ana")).0;
    assert!(told.contains("(taken by the operator)"), "{told}");
    // The same for who asks the API.
    let id = send("by the api");
    let body = json!({"asSession": "s-long-id", "messageIds": [id]}).to_string();
    let head = format!(
        "POST /v1/messages/ack HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    assert_eq!(support::raw_unix(&events, format!("{head}{body}").as_bytes()).status, 200);
    assert_eq!(state(&id)["evidence"], "operator");
}

// row 68
#[test]
fn the_outbox_says_in_a_word_how_far_a_message_has_got() {
    let place = Place::new();
    let daemon = place.start();
    for (id, cwd) in [("a", "/w/a"), ("old", "/w/place"), ("b", "/w/a")] {
        daemon.start_session(id, cwd);
    }
    let room = json!({"asSession": "a", "to": "@everyone", "body": "to all", "clientMessageId": "k"});
    let room = daemon.post_json("/v1/messages", &room).json()["messageId"].as_str().unwrap().to_owned();
    let claimed = daemon.send("a", "old", "left");
    let status = |id: &str| {
        let page = daemon.get("/v1/outbox?session=a").json();
        let found = page["messages"].as_array().unwrap().iter().find(|message| message["messageId"] == id).cloned();
        found.unwrap()["status"].clone()
    };
    assert_eq!((status(&room), status(&claimed)), (json!("pending"), json!("pending")));
    daemon.end_session("old");
    daemon.start_session("new", "/w/place");
    daemon.post_json("/v1/inbox/claim", &json!({"asSession": "new", "from": "old"}));
    assert_eq!(status(&claimed), "pending", "it waits for the session that took it over");
    for reader in ["new", "b"] {
        daemon.post_json("/v1/messages/ack", &json!({"asSession": reader, "messageIds": [room, claimed]}));
    }
    assert_eq!((status(&room), status(&claimed)), (json!("done"), json!("done")));
    // A message to a room that nobody read is not done when it is replaced.
    let first = daemon.send("a", "@everyone", "first");
    daemon.post_json("/v1/messages", &json!({"asSession": "a", "to": "@everyone", "body": "2", "supersedes": first}));
    assert_eq!(status(&first), "aborted");
}

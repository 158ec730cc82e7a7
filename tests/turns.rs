//! Turns of which no hook tells the end, end to end: what the daemon sees in an agent's transcript, and the mail that wakes
//! a session whose user broke its turn off.

#![allow(clippy::unwrap_used)] // a test that fails must fail loudly
#![allow(unreachable_pub)] // as in the other harness

mod support;

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::{Daemon, Place, Watch};

/// A transcript of Claude Code's, and the hooks of its session.
struct Session<'a> {
    daemon: &'a Daemon,
    transcript: PathBuf,
}

impl Session<'_> {
    fn hook(&self, event: &str, more: &Value) {
        let mut body =
            json!({"session_id": "s", "hook_event_name": event, "cwd": "/w/x", "transcript_path": self.transcript});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(self.daemon.hook("/hook/claude", &body.to_string()).status, 200);
    }

    fn write(&self, line: &Value) {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.transcript).unwrap();
        writeln!(file, "{line}").unwrap();
    }

    /// Its model asks for a tool.
    fn begins_tool(&self) {
        self.hook("UserPromptSubmit", &json!({"prompt": "build it"}));
        self.hook("PreToolUse", &json!({"tool_name": "Bash", "tool_use_id": "t1", "tool_input": {"command": "make"}}));
        let content = json!([{"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "make"}}]);
        let message = json!({"role": "assistant", "stop_reason": "tool_use", "content": content});
        self.write(&json!({"type": "assistant", "isSidechain": false, "message": message, "timestamp": now()}));
    }

    /// Its user presses Esc.
    fn is_broken_off(&self) {
        let content = json!([{"type": "text", "text": "[Request interrupted by user for tool use]"}]);
        let message = json!({"role": "user", "content": content});
        self.write(&json!({"type": "user", "isSidechain": false, "message": message, "timestamp": now()}));
    }
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn session<'a>(daemon: &'a Daemon, directory: &Path) -> Session<'a> {
    Session { daemon, transcript: directory.join("s.jsonl") }
}

fn shows(rows: &mut Watch, what: &str, state: &str, state_by: &str) {
    rows.until(what, |rows| rows.get("s").is_some_and(|row| row["state"] == state && row["stateBy"] == state_by));
}

// row 11
#[test]
fn a_turn_that_its_user_broke_off_is_seen_to_be_over_and_urgent_mail_wakes_the_session() {
    let place = Place::new();
    let daemon = place.start();
    let mut rows = Watch::start(&daemon, "Session");
    let session = session(&daemon, place.dir.path());
    session.begins_tool();
    // Somebody waits since an earlier turn.
    let mut command = place.command();
    command.args(["hook", "wait", "--session", "s"]).stdin(Stdio::null());
    let waiter = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    rows.until("somebody waits", |rows| rows.get("s").is_some_and(|row| row["hears"].to_string().contains("wait")));
    shows(&mut rows, "a tool at work", "working", "told");
    let urgent = json!({"human": "ana", "to": "s", "body": "stop that", "priority": "now"});
    assert_eq!(daemon.post_json("/v1/messages", &urgent).status, 201);
    session.is_broken_off();
    shows(&mut rows, "its end in the transcript", "idle", "seen");
    let woken = waiter.wait_with_output().unwrap();
    let said = String::from_utf8(woken.stderr).unwrap();
    assert_eq!((woken.status.code(), said.matches("stop that").count()), (Some(2), 1), "{said}");
    session.hook("UserPromptSubmit", &json!({"prompt": "go on"}));
    shows(&mut rows, "a new turn", "working", "told");
}

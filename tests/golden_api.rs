//! Every answer and every error of `/v1`, of the WebSocket commands and of what the gate refuses, as one script of requests
//! whose answers are recorded in `tests/fixtures/api/`. `MARSHAL_UPDATE_GOLDEN=1` records them anew: read the difference.

#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::{Answer, Daemon, Place, raw_unix};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/api").join(name)
}

/// A record of requests and answers in which what differs from run to run has names.
#[derive(Default)]
struct Record {
    text: String,
    ids: BTreeMap<String, String>,
}

impl Record {
    fn note(&mut self, asked: &str, answer: &Answer) {
        let retry = answer.header("retry-after").map(|seconds| format!(" Retry-After: {seconds}")).unwrap_or_default();
        let allow = answer.header("allow").map(|methods| format!(" Allow: {methods}")).unwrap_or_default();
        let body = self.named(answer.text().trim_end());
        let asked = self.named(asked);
        writeln!(self.text, "{asked}\n  {}{allow}{retry} {body}", answer.status).unwrap();
    }

    /// The text with a name for each id, moment and process in it.
    fn named(&mut self, text: &str) -> String {
        let mut named = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let word = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(rest.len());
            if word == 0 {
                let end = rest.chars().next().unwrap().len_utf8();
                named.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            let (token, after) = rest.split_at(word);
            named.push_str(&self.name_of(token));
            rest = after;
        }
        named
    }

    fn name_of(&mut self, token: &str) -> String {
        let is_uuid = token.len() == 36 && token.matches('-').count() == 4;
        let is_number = token.bytes().all(|byte| byte.is_ascii_digit());
        if is_uuid {
            let count = self.ids.len() + 1;
            return self.ids.entry(token.to_owned()).or_insert_with(|| format!("ID{count}")).clone();
        }
        let is_known =
            |begin: &str| self.ids.keys().any(|id| id.len() == 36 && begin.len() >= 5 && id.starts_with(begin));
        let cursor = token.split_once('-').filter(|(_, id)| is_known(id));
        let whole = self.ids.iter().find(|(id, _)| id.len() == 36 && token.len() >= 5 && id.starts_with(token));
        if let Some((_, name)) = whole {
            return format!("{name}-SHORT");
        }
        match token.len() {
            _ if cursor.is_some() => "CURSOR".to_owned(),
            13 if is_number => "MOMENT".to_owned(),
            _ => self.ids.get(token).cloned().unwrap_or_else(|| token.to_owned()),
        }
    }

    fn call(&mut self, text: &str, name: &str) {
        self.ids.insert(text.to_owned(), name.to_owned());
    }

    fn compare(&self, name: &str) {
        if std::env::var_os("MARSHAL_UPDATE_GOLDEN").is_some() {
            std::fs::write(file(name), &self.text).unwrap();
        }
        let recorded = std::fs::read_to_string(file(name)).unwrap();
        let mut asked = "";
        for (line, recorded) in self.text.lines().zip(recorded.lines()) {
            assert_eq!(line, recorded, "{name}: {asked}");
            asked = line;
        }
        assert_eq!(self.text.lines().count(), recorded.lines().count(), "{name}");
    }
}

fn ask(daemon: &Daemon, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n");
    raw_unix(&daemon.socket, format!("{head}{body}").as_bytes())
}

const JSON: &str = "Content-Type: application/json\r\n";

struct Script<'d> {
    daemon: &'d Daemon,
    record: Record,
}

impl Script<'_> {
    fn get(&mut self, path: &str) -> Answer {
        let answer = ask(self.daemon, "GET", path, "", "");
        self.record.note(&format!("GET {path}"), &answer);
        answer
    }

    fn post(&mut self, path: &str, body: &Value) -> Answer {
        let answer = ask(self.daemon, "POST", path, JSON, &body.to_string());
        self.record.note(&format!("POST {path} {body}"), &answer);
        answer
    }

    fn raw(&mut self, method: &str, path: &str, headers: &str, body: &str) {
        let answer = ask(self.daemon, method, path, headers, body);
        let shown = headers.trim_end().replace("\r\n", "; ");
        self.record.note(&format!("{method} {path} [{shown}] {body}"), &answer);
    }
}

/// A process that outlives no test.
struct Agent(Child);

impl Agent {
    fn start() -> Self {
        Self(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn id_of(answer: &Answer) -> String {
    answer.json()["messageId"].as_str().unwrap().to_owned()
}

// row 77
#[test]
fn every_answer_is_as_recorded() {
    let place = Place::new();
    let daemon = place.start();
    let agent = Agent::start();
    let mut script = Script { daemon: &daemon, record: Record::default() };
    script.record.call(&agent.0.id().to_string(), "PID");
    for path in ["/v1/sessions", "/v1/rooms", "/v1/messages"] {
        script.get(path);
    }
    daemon.hook("/hook/claude?event=SessionStart&host=box&operator=ana", r#"{"session_id":"a","cwd":"/w/api"}"#);
    daemon.hook("/hook/codex?event=SessionStart", r#"{"session_id":"b","cwd":"/w/web"}"#);
    script.get("/v1/sessions");
    script.get("/v1/rooms");
    let registration = json!({"token": TOKEN, "session_id": "c", "display_name": "lint", "pid": agent.0.id(),
        "role": "reviewer", "groups": ["@team/web:lead"], "unknown": 1});
    let registered = script.post("/v1/sessions/register", &registration);
    assert_eq!(registered.status, 200);
    script.raw("GET", "/v1/sessions/me", &format!("Marshal-Session: {TOKEN}\r\n"), "");
    let first = script.post("/v1/messages", &json!({"asSession": "a", "to": "b", "body": "one\n<b>"}));
    let first = id_of(&first);
    script.post("/v1/messages", &json!({"asSession": "a", "to": "@everyone", "body": "two", "priority": "now"}));
    script.post(
        "/v1/messages",
        &json!({"asSession": "a", "to": ["b", "human:ana"], "body": "three",
        "expectsReply": 60, "expiresIn": 600, "clientMessageId": "k"}),
    );
    script.post(
        "/v1/messages",
        &json!({"asSession": "a", "to": ["b", "human:ana"], "body": "three",
        "expectsReply": 60, "expiresIn": 600, "clientMessageId": "k"}),
    );
    script.post("/v1/messages", &json!({"asSession": "b", "replyTo": first, "body": "an answer"}));
    script.post("/v1/messages", &json!({"asSession": "a", "to": "b", "body": "instead", "supersedes": first}));
    script.post(
        "/v1/send",
        &json!({"asSession": "a", "to": "b", "message": "mesh", "client_message_id": "m", "meta": {"x": 1}}),
    );
    script.post(
        "/v1/send",
        &json!({"asSession": "a", "to": "b", "message": "mesh", "client_message_id": "m", "meta": {"x": 1}}),
    );
    script.post("/v1/send", &json!({"asSession": "a", "to": "b", "message": "other", "client_message_id": "m"}));
    script.get("/v1/messages?session=a&limit=2");
    script.get("/v1/messages?state=superseded");
    script.get("/v1/messages?room=everyone&q=two");
    script.get(&format!("/v1/messages/{first}"));
    script.get("/v1/inbox?session=b&limit=1");
    script.get("/v1/inbox?human=ana");
    script.post("/v1/messages/ack", &json!({"asSession": "b", "messageIds": [first, "nothing"]}));
    script.get("/v1/outbox?session=a&limit=2");
    script.post("/v1/outbox/requeue", &json!({"asSession": "a", "messageId": first}));
    daemon.end_session("b");
    daemon.hook("/hook/codex?event=SessionStart", r#"{"session_id":"b2","cwd":"/w/web"}"#);
    script.post("/v1/inbox/claim", &json!({"asSession": "b2", "from": "b"}));
    script.raw("DELETE", &format!("/v1/sessions/{TOKEN}"), "", "");
    script.post("/v1/token/rotate", &json!({}));
    script.get("/healthz");
    script.record.compare("answers");
}

// row 77
#[test]
fn every_error_is_as_recorded_and_has_one_shape() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("aaaa-1", "/w/api");
    daemon.start_session("aaaa-2", "/w/api");
    let mut script = Script { daemon: &daemon, record: Record::default() };
    for path in [
        "/v1/nothing",
        "/v1/sessions?frobnicate=1",
        "/v1/sessions/none",
        "/v1/sessions/me",
        "/v1/messages?limit=0",
        "/v1/messages?limit=500",
        "/v1/messages?limit=x",
        "/v1/messages?sesion=a",
        "/v1/messages?human=nobody",
        "/v1/messages?session=nobody",
        "/v1/messages?session=",
        "/v1/messages?room=nowhere",
        "/v1/messages?thread=nothing",
        "/v1/messages?state=seen",
        "/v1/messages?since=yesterday",
        "/v1/messages?before=x",
        "/v1/messages?q=a&q=b",
        "/v1/messages?session=%ff",
        "/v1/messages/nothing",
        "/v1/inbox?human=a&session=b",
        "/v1/inbox?session=nobody",
        "/v1/inbox?limit=201&human=a",
        "/v1/outbox?human=a&limit=0",
        "/v1/outbox?human=a&after=1-x",
        "/v1/status?x=1",
        "/v1/events?since=",
        "/v1/status?token=x",
    ] {
        script.get(path);
    }
    let to = |more: Value| {
        let mut body = json!({"human": "ana", "to": "aaaa-1", "body": "x"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for more in [
        json!({"to": "nobody"}),
        json!({"to": "aaaa"}),
        json!({"to": "@nowhere"}),
        json!({"to": 7}),
        json!({"to": []}),
        json!({"to": null}),
        json!({"body": ""}),
        json!({"body": null}),
        json!({"body": 7}),
        json!({"reply_to": "m"}),
        json!({"replyTo": "nothing"}),
        json!({"supersedes": "nothing"}),
        json!({"priority": "soon"}),
        json!({"expectsReply": "yes"}),
        json!({"expectsReply": 700_000}),
        json!({"expiresIn": 1, "expiresAt": 2}),
        json!({"expiresIn": 0}),
        json!({"expiresAt": 5}),
        json!({"asSession": "aaaa-1"}),
        json!({"asSession": "nobody", "human": null}),
    ] {
        script.post("/v1/messages", &to(more));
    }
    script.post("/v1/messages/ack", &json!({"human": "ana"}));
    script.post("/v1/messages/ack", &json!({"human": "ana", "messageIds": "m"}));
    script.post("/v1/messages/ack", &json!({"human": "ana", "ids": ["m"]}));
    script.post("/v1/outbox/requeue", &json!({"human": "ana", "id": "m"}));
    script.post("/v1/outbox/requeue", &json!({"human": "ana", "messageId": "m"}));
    script.post("/v1/inbox/claim", &json!({"human": "ana", "from": "nobody"}));
    script.post("/v1/send", &json!({"human": "ana", "to": "nobody", "message": "x"}));
    script.post("/v1/send", &json!({"human": "ana", "message": "x"}));
    script.post("/v1/sessions/register", &json!({"token": "x"}));
    script.post("/v1/sessions/register", &json!({"token": "x", "session_id": "s", "display_name": "s", "pid": 1}));
    script.post("/v1/sessions/register", &json!({"token": "x", "session_id": "s", "display_name": "s", "pid": 7}));
    script.post("/v1/compact", &json!({"now": true}));
    let long = format!(r#"{{"human":"ana","to":"aaaa-1","body":"{}"}}"#, "x".repeat(70_000));
    let answer = ask(&daemon, "POST", "/v1/messages", JSON, &long);
    script.record.note("POST /v1/messages with 70,000 characters", &answer);
    let bodies = ["", "{", "[]", "{\"to\":\"a\",\"to\":\"b\"}", "{\"body\":\u{1}}"];
    bodies.iter().for_each(|body| script.raw("POST", "/v1/messages", JSON, body));
    script.raw("POST", "/v1/messages", "Content-Type: text/plain\r\n", "{}");
    script.raw("PUT", "/v1/messages", JSON, "{}");
    script.raw("DELETE", &format!("/v1/sessions/{TOKEN}"), "", "");
    script.raw("POST", &format!("/v1/sessions/{TOKEN}"), "", "");
    script.raw("GET", "/v1/sessions/me", &format!("Marshal-Session: {TOKEN}\r\n"), "");
    script.raw("GET", "/v1/sessions/me", "Marshal-Session: short\r\n", "");
    script.raw("GET", "/v1/sessions", "Origin: http://evil.example\r\n", "");
    // Each is an object with a code and a message, but for those of claudemesh's shape.
    for line in script.record.text.lines().filter(|line| line.starts_with("  ")) {
        let body: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
        let error = &body["error"];
        assert!(error["code"].is_string() && error["message"].is_string(), "{line}");
        for word in ["untagged", "missing field", "invalid type", "i64", "u32", "serde"] {
            assert!(!error["message"].as_str().unwrap().contains(word), "{line}");
        }
    }
    script.record.compare("errors");
}

// row 77
#[test]
fn every_answer_to_a_websocket_command_is_as_recorded() {
    let place = Place::new();
    let daemon = place.start();
    let mut shim = daemon.connect();
    shim.publish("s", "sam", "/w/a");
    daemon.start_session("t", "/w/b");
    let mut record = Record::default();
    for (id, command) in [
        ("SendMessage", json!({"toSessionId": "t", "body": "x"})),
        ("SendMessage", json!({"toSessionId": "t", "body": "x", "priority": "low", "unknown": 1, "track": true})),
        ("SendMessage", json!({"body": "x"})),
        ("SendMessage", json!({"toSessionId": "t", "body": "x", "priority": "soon"})),
        ("SendMessage", json!({"toSessionId": "t", "body": "x", "expectsReply": []})),
        ("SendMessage", json!({"toSessionId": "nobody", "body": "x"})),
        ("BroadcastMessage", json!({"toRoomId": "everyone", "body": "x"})),
        ("JoinRoom", json!({"name": "Design Chat", "description": "d"})),
        ("JoinRoom", json!({})),
        ("LeaveRoom", json!({"room": "design-chat"})),
        ("ReadMessages", json!({"sent": true, "limit": 500})),
        ("ReadMessages", json!({"limit": "5"})),
        ("AckMessages", json!({"messageIds": ["nothing"]})),
        ("AckMessages", json!({"messageIds": "nothing"})),
        ("SetSessionCurrentTask", json!({"id": "s", "currentTask": "y"})),
        ("SetSessionLastActivityAt", json!({"id": "s"})),
        ("SetSessionGitBranch", json!({"gitBranch": "main"})),
        ("Fly", json!({})),
    ] {
        let answer = shim.command(id, command.clone());
        let answer = record.named(&answer["response"].to_string().replace("null", &answer["message"].to_string()));
        writeln!(record.text, "{id} {command}\n  {answer}").unwrap();
    }
    record.compare("commands");
}

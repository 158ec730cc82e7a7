//! Input that no well-meant client sends: refused in a form its sender can use, and without a trace in the log.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking, in its helpers too

mod support;

use serde_json::{Value, json};
use std::net::SocketAddr;
use support::rude::{exchange, post_bytes};
use support::seeded::Random;
use support::{Answer, Daemon, Place, hook_body, post, request};

const HOOKS: [&str; 3] = ["/hook/session-start", "/hook/prompt-submit", "/hook/session-end"];
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A daemon with a session and a message, and the log as it was before the bad input came.
struct Calm {
    place: Place,
    daemon: Daemon,
    log: Vec<u8>,
    sessions: Vec<String>,
}

impl Calm {
    fn new() -> Self {
        let place = Place::new();
        let daemon = place.start();
        daemon.start_session("known", "/w/known");
        daemon.send("known", "human:alice", "hello");
        let mut calm = Self { place, daemon, log: Vec::new(), sessions: Vec::new() };
        calm.take_note();
        calm
    }

    /// What is in the log now is meant to be there.
    fn take_note(&mut self) {
        self.log = std::fs::read(self.place.log_path()).unwrap();
        self.sessions = self.daemon.sessions().into_keys().collect();
    }

    fn assert_unchanged(&self, why: &str) {
        assert!(std::fs::read(self.place.log_path()).unwrap() == self.log, "the log has changed: {why}");
        let sessions: Vec<String> = self.daemon.sessions().into_keys().collect();
        assert_eq!(sessions, self.sessions, "{why}");
    }

    /// The log has not changed, the daemon lives, and nothing panicked.
    fn finish(self, why: &str) {
        self.assert_unchanged(why);
        self.daemon.signal("TERM");
        let (status, said) = self.daemon.wait();
        assert_eq!(status.code(), Some(0));
        assert!(!said.iter().any(|line| line.contains("panic")), "{said:#?}");
        // An ordered stop writes what the sessions are at, and no more.
        let log = std::fs::read(self.place.log_path()).unwrap();
        let added = log.strip_prefix(&self.log[..]).unwrap_or_else(|| panic!("the log has changed at the end: {why}"));
        for line in std::str::from_utf8(added).unwrap().lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let is_state = event["itemType"] == "Session" && event["changeType"] == "SET";
            let id = event["item"]["id"].as_str().unwrap();
            assert!(is_state && self.sessions.iter().any(|session| session == id), "{why}: {line}");
        }
    }
}

/// A hook's error says nothing to the agent, and why to whoever looks.
fn assert_hook_refusal(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert!(answer.body.is_empty(), "{what}: {answer:?}");
    let reason = answer.header("marshal-error").unwrap_or_else(|| panic!("{what}: no reason in {answer:?}"));
    let code = reason.split(';').next().unwrap();
    assert!(!code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{what}: {reason}");
}

fn assert_json_error(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    let body = answer.json();
    assert_eq!(body["error"]["code"], code, "{what}: {body}");
    assert!(body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {body}");
}

fn refused_by_every_hook(calm: &Calm, body: &[u8], status: u16, what: &str) {
    for path in HOOKS {
        let answer = Answer::parse(&exchange(calm.daemon.hooks, &post_bytes(path, body)));
        assert_hook_refusal(&answer, status, &format!("{path}: {what}"));
    }
    calm.assert_unchanged(what);
}

#[test]
fn a_body_that_is_no_hook_json_is_refused() {
    let calm = Calm::new();
    let deep = "[".repeat(100_000);
    let deep_object = "{\"session_id\":".repeat(10_000);
    let cases: [(&str, &[u8]); 13] = [
        ("empty", b""),
        ("white space", b" \r\n"),
        ("text", b"hello"),
        ("half an object", b"{\"session_id\":\"a\""),
        ("two objects", b"{\"session_id\":\"a\"}{\"session_id\":\"b\"}"),
        ("null", b"null"),
        ("a list of the fields", b"[\"a\",\"/w\",null,null]"),
        ("no session id", b"{\"cwd\":\"/w\"}"),
        ("two session ids", b"{\"session_id\":\"a\",\"session_id\":\"b\"}"),
        ("not UTF-8", b"{\"session_id\":\"a\xff\"}"),
        ("half a surrogate pair", b"{\"session_id\":\"a\\ud800\"}"),
        ("100,000 deep", deep.as_bytes()),
        ("objects, deep", deep_object.as_bytes()),
    ];
    for (what, body) in cases {
        refused_by_every_hook(&calm, body, 400, what);
    }
    calm.finish("no hook JSON");
}

#[test]
fn broken_text_in_a_field_that_does_not_matter_keeps_nobody_off_the_roster() {
    let mut calm = Calm::new();
    for (id, prompt) in [("bytes", &b"\xff\xfe"[..]), ("surrogate", b"\\ud800")] {
        let body = [b"{\"session_id\":\"", id.as_bytes(), b"\",\"prompt\":\"", prompt, b"\"}"].concat();
        let answer = Answer::parse(&exchange(calm.daemon.hooks, &post_bytes(HOOKS[1], &body)));
        assert_eq!(answer.status, 200, "{id}: {answer:?}");
        assert!(calm.daemon.sessions().contains_key(id));
    }
    calm.take_note();
    calm.finish("broken text");
}

#[test]
fn depth_in_a_field_that_does_not_matter_harms_nobody() {
    let mut calm = Calm::new();
    let deep = format!("{{\"session_id\":\"deep\",\"x\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = calm.daemon.hook("/hook/session-start", &deep);
    assert!(answer.status == 200 || answer.status == 400, "{answer:?}");
    calm.take_note();
    calm.finish("depth");
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let calm = Calm::new();
    let fits = json!({"session_id": "", "x": "x".repeat(1024 * 1024 - 24)}).to_string();
    assert_eq!(fits.len(), 1024 * 1024);
    refused_by_every_hook(&calm, fits.as_bytes(), 400, "1 MiB is read, and holds no id");
    refused_by_every_hook(&calm, format!("{fits} ").as_bytes(), 413, "of more the beginning counts, which holds none");
    for path in HOOKS {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33554433\r\n\r\n");
        assert_hook_refusal(&Answer::parse(&exchange(calm.daemon.hooks, head.as_bytes())), 413, "32 MiB announced");
        let expects = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
        assert_hook_refusal(&Answer::parse(&exchange(calm.daemon.hooks, expects.as_bytes())), 413, "32 MiB asked for");
    }
    let head = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10485760\r\n\r\n";
    assert_json_error(&Answer::parse(&exchange(calm.daemon.hooks, head.as_bytes())), 413, "too_large", "v1");
    calm.finish("large bodies");
}

#[test]
fn an_id_of_the_wrong_type_is_refused_and_anything_else_of_it_is_as_good_as_none() {
    let mut calm = Calm::new();
    let values =
        [json!(1), json!(true), json!(["a"]), json!({"a": 1}), json!(1.5), json!(null), json!(false), json!("")];
    for value in &values {
        let body = json!({"session_id": value}).to_string();
        refused_by_every_hook(&calm, body.as_bytes(), 400, &body);
    }
    for (number, value) in values.iter().enumerate() {
        let id = format!("s{number}");
        let objects = [
            json!({"session_id": id, "cwd": value, "workspace": {"current_dir": "/w/p"}}),
            json!({"session_id": id, "cwd": "/w/p", "workspace": value}),
            json!({"session_id": id, "cwd": "/w/p", "workspace": {"current_dir": value}}),
        ];
        for body in objects {
            let answer = calm.daemon.hook("/hook/session-start", &body.to_string());
            assert_eq!(answer.status, 200, "{body}: {answer:?}");
            assert_eq!(calm.daemon.sessions()[&id]["cwd"], "/w/p", "{body}");
        }
    }
    calm.take_note();
    calm.finish("wrong types");
}

#[test]
fn a_session_id_that_cannot_be_one_is_refused() {
    let calm = Calm::new();
    let long = "x".repeat(10_000);
    let ids = ["", &long, "a\u{0}b", "a\nb", "\u{1b}[2J", "\u{85}", "human:x", "human:", "@everyone"];
    for id in ids {
        for path in HOOKS {
            let answer = calm.daemon.hook(path, &hook_body(id, "/w/p"));
            // marshal 0.9 fault 12, row 50
            if path == "/hook/session-end" && !id.is_empty() && id != long {
                // To end what cannot be there is as good as to end what is not there.
                assert_eq!((answer.status / 100 == 4 || answer.status == 200, answer.text()), (true, ""), "{id:?}");
            } else {
                assert_hook_refusal(&answer, 400, &format!("{path} {id:?}"));
            }
        }
        calm.assert_unchanged(id);
    }
    let path = "/hook/session-start";
    for (query, cwd) in [
        (format!("?host={long}"), "/w"),
        (format!("?operator={long}"), "/w"),
        ("?operator=a%0Ab".to_owned(), "/w"),
        ("?host=a%00b".to_owned(), "/w"),
        (String::new(), long.as_str()),
    ] {
        let answer = calm.daemon.hook(&format!("{path}{query}"), &hook_body("new", cwd));
        assert_hook_refusal(&answer, 400, &query);
    }
    calm.finish("ids");
}

#[test]
fn an_id_cut_inside_a_character_is_refused_and_a_whole_one_of_any_script_is_taken() {
    let mut calm = Calm::new();
    // Characters of one to four bytes, at all places around the eighth byte.
    let id = "aé漢🦀aé漢🦀";
    for end in 1..id.len() {
        let body = [b"{\"session_id\":\"", &id.as_bytes()[..end], b"\",\"cwd\":\"/w/p\"}"].concat();
        for path in HOOKS {
            let answer = Answer::parse(&exchange(calm.daemon.hooks, &post_bytes(path, &body)));
            if id.is_char_boundary(end) {
                assert_eq!(answer.status, 200, "{path} {end}: {answer:?}");
            } else {
                assert_hook_refusal(&answer, 400, &format!("{path} cut at {end}"));
            }
        }
    }
    // marshal 0.9 fault 9
    for id in ["1234567é-tail", "123456漢-tail", "12345🦀-tail", "漢漢漢漢漢漢漢漢漢"] {
        let answer = calm.daemon.start_session(id, "/w/proj");
        let short: String = id.chars().take(8).collect();
        assert!(answer.text().contains(&format!("(nickname \"proj@{short}\")")), "{answer:?}");
    }
    calm.take_note();
    calm.finish("multibyte ids");
}

#[test]
fn windows_paths_and_trailing_slashes_give_the_right_project_and_nickname() {
    let place = Place::new();
    let daemon = place.start();
    let cases = [
        ("C:\\Users\\me\\proj", Some("proj")),
        ("C:\\Users\\me\\proj\\", Some("proj")),
        ("d:/work/proj/", Some("proj")),
        ("\\\\server\\share\\proj", Some("proj")),
        ("/a/b/", Some("b")),
        ("/a/b///", Some("b")),
        ("/a/odd\\name", Some("odd\\name")),
        ("/", None),
        ("C:\\", None),
        ("", None),
    ];
    for (index, (cwd, project)) in cases.into_iter().enumerate() {
        let id = format!("id{index}");
        daemon.start_session(&id, cwd);
        let session = &daemon.sessions()[&id];
        // marshal 0.9 fault 11
        assert_eq!(session.get("project").and_then(Value::as_str), project, "{cwd}");
        assert_eq!(session["nickname"], format!("{}@{id}", project.unwrap_or("session")), "{cwd}");
        assert_eq!(session.get("cwd").and_then(Value::as_str), Some(cwd).filter(|cwd| !cwd.is_empty()));
    }
}

#[test]
fn wrong_methods_and_unknown_paths_are_named() {
    let calm = Calm::new();
    let door = calm.daemon.hooks;
    for path in HOOKS {
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let answer = request(door, method, path, &[], hook_body("x", "/w").as_bytes());
            assert_hook_refusal(&answer, 405, &format!("{method} {path}"));
            assert_eq!(answer.header("allow"), Some("POST"));
        }
    }
    for path in ["/hook/", "/hook/stop", "/hook/session-start/", "/hook/session%2dstart", "/hook//session-start"] {
        assert_hook_refusal(&post(door, path, &[], hook_body("x", "/w").as_bytes()), 404, path);
    }
    for (method, path, allow) in [
        ("POST", "/v1/sessions", "GET, HEAD"),
        ("DELETE", "/v1/messages", "GET, HEAD, POST"),
        ("GET", "/v1/messages/ack", "POST"),
        ("POST", "/v1/status", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("PUT", "/metrics", "GET, HEAD"),
    ] {
        let answer = request(door, method, path, &[JSON], b"{}");
        assert_json_error(&answer, 405, "method_not_allowed", &format!("{method} {path}"));
        assert_eq!(answer.header("allow"), Some(allow));
    }
    for path in
        ["/", "/v1", "/v1/nothing", "/V1/sessions", "/v1/sessions/known", "/v1/sessions/known/more", "/favicon.ico"]
    {
        assert_json_error(&calm.daemon.get(path), 404, "not_found", path);
    }
    calm.finish("methods and paths");
}

#[test]
fn an_answer_to_head_has_no_body() {
    let calm = Calm::new();
    // row 47
    for path in [
        "/healthz",
        "/metrics",
        "/v1/status",
        "/v1/version",
        "/v1/sessions",
        "/v1/rooms",
        "/v1/messages",
        "/v1/messages/m",
        "/v1/inbox?session=known",
        "/v1/outbox?session=known",
        "/v1/sessions/me",
        "/v1/nothing",
        "/v1/compact",
        "/hook/session-start",
    ] {
        let get = calm.daemon.get(path);
        let head = request(calm.daemon.hooks, "HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}: {head:?}");
        let names = |answer: &Answer| answer.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&head), names(&get), "{path}");
        if path != "/metrics" && path != "/v1/status" {
            assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
        }
    }
    // The stream of events ends with its head.
    let head = request(calm.daemon.hooks, "HEAD", "/v1/events", &[], b"");
    assert_eq!((head.status, head.header("content-type"), head.body.len()), (200, Some("text/event-stream"), 0));
    calm.finish("HEAD");
}

#[test]
fn a_query_that_does_not_decode_is_refused() {
    let calm = Calm::new();
    for query in ["host=%", "host=%4", "host=%zz", "operator=%ff", "operator=%c3", "%c3=1", "os=%+1", "x=%ed%a0%80"] {
        for path in HOOKS {
            let answer = calm.daemon.hook(&format!("{path}?{query}"), &hook_body("new", "/w"));
            assert_hook_refusal(&answer, 400, &format!("{path}?{query}"));
        }
        for path in ["/v1/messages", "/v1/inbox"] {
            let answer = calm.daemon.get(&format!("{path}?session={query}"));
            if query.split('=').next_back().is_some_and(|value| value.contains('%')) {
                assert_json_error(&answer, 400, "invalid_request", query);
            }
        }
    }
    for query in ["limit=x", "limit=-1", "before=1e3", "since=9999999999999999999"] {
        assert_json_error(&calm.daemon.get(&format!("/v1/messages?{query}")), 400, "invalid_request", query);
    }
    calm.finish("queries");
}

#[test]
fn the_v1_paths_name_what_is_wrong_with_a_body() {
    let calm = Calm::new();
    let door = calm.daemon.hooks;
    let good = json!({"asSession": "known", "to": "known", "body": "x"}).to_string();
    for path in ["/v1/messages", "/v1/messages/ack"] {
        for media in
            [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx"), Some("")]
        {
            let headers: Vec<(&str, &str)> = media.iter().map(|media| ("Content-Type", *media)).collect();
            let answer = post(door, path, &headers, good.as_bytes());
            assert_json_error(&answer, 415, "unsupported_media_type", &format!("{path} {media:?}"));
        }
        for body in [
            "",
            "{",
            "null",
            "\"x\"",
            "{\"asSession\":1}",
            "[[[",
            "[\"known\",\"x\",\"known\",null]",
            "[[\"m\"],\"known\",null]",
        ] {
            let answer = post(door, path, &[JSON], body.as_bytes());
            assert_json_error(&answer, 400, "invalid_request", &format!("{path} {body}"));
        }
    }
    let long = "x".repeat(64 * 1024 + 1);
    let cases = [
        (json!({"to": "known", "body": "x"}), 400, "unknown_caller"),
        (json!({"asSession": "nobody", "to": "known", "body": "x"}), 400, "unknown_caller"),
        (json!({"asSession": "known", "human": "x", "to": "known", "body": "x"}), 400, "invalid_request"),
        (json!({"asSession": "known", "to": "known", "body": " \n"}), 400, "invalid_request"),
        (json!({"asSession": "known", "to": "known", "body": long}), 413, "too_large"),
        (json!({"asSession": "known", "to": "nobody", "body": "x"}), 404, "not_found"),
        (json!({"asSession": "known", "to": "", "body": "x"}), 404, "not_found"),
        (json!({"asSession": "known", "to": "@nowhere", "body": "x"}), 404, "not_found"),
    ];
    for (body, status, code) in cases {
        let answer = calm.daemon.post_json("/v1/messages", &body);
        assert_json_error(&answer, status, code, &body.to_string().chars().take(100).collect::<String>());
    }
    let ids: Vec<String> = (0..1_001).map(|number| number.to_string()).collect();
    let answer = calm.daemon.post_json("/v1/messages/ack", &json!({"asSession": "known", "messageIds": ids}));
    assert_eq!(answer.status / 100, 4, "{answer:?}");
    calm.finish("v1 bodies");
}

/// A hook's body, or something that was one.
fn random_body(random: &mut Random, number: usize) -> Vec<u8> {
    let valid = json!({"session_id": format!("r{number}"), "cwd": "/w/é", "workspace": {"current_dir": "/x"},
        "agent_id": null, "prompt": "a \"b\" \u{1f980}"});
    let mut body = match random.below(4) {
        0 => (0..random.below(300)).map(|_| random.byte()).collect(),
        1 => (0..random.below(300)).map(|_| *random.pick(b"{}[]\",:\\u0123eE+-. ntf\x00\xc3\xff")).collect(),
        _ => valid.to_string().into_bytes(),
    };
    for _ in 0..random.below(4) {
        if body.is_empty() {
            break;
        }
        let at = random.below(body.len());
        match random.below(5) {
            0 => body.truncate(at),
            1 => body[at] = random.byte(),
            2 => drop(body.remove(at)),
            3 => body.insert(at, *random.pick(b"{}[]\",:\\0\xff")),
            _ => {
                let end = at + random.below(body.len() - at);
                let part = body[at..end].to_vec();
                body.splice(at..at, part);
            }
        }
    }
    body
}

fn hook_or_v1(door: SocketAddr, path: &str, body: &[u8]) -> Answer {
    let headers: &[(&str, &str)] = if path.starts_with("/v1") { &[JSON] } else { &[] };
    post(door, path, headers, body)
}

#[test]
fn a_thousand_random_bodies_leave_no_trace_but_those_that_are_valid() {
    let mut random = Random::from_env();
    let mut calm = Calm::new();
    let mut taken = 0;
    for number in 0..1_000 {
        let body = random_body(&mut random, number);
        let path = *random.pick(&[HOOKS[0], HOOKS[1], HOOKS[2], "/v1/messages", "/v1/messages/ack"]);
        let what = format!("{path} {:?}", String::from_utf8_lossy(&body));
        let answer = hook_or_v1(calm.daemon.hooks, path, &body);
        match answer.status {
            200 => {
                let syntax = serde_json::from_slice::<serde::de::IgnoredAny>(&body);
                assert!(syntax.is_ok() && body.trim_ascii_start()[0] == b'{', "taken: {what}");
                taken += 1;
                calm.take_note();
            }
            400..500 if path.starts_with("/v1") => {
                assert!(answer.json()["error"]["code"].is_string(), "{what}: {answer:?}");
            }
            status => {
                assert_hook_refusal(&answer, status, &what);
                assert!(status == 400, "{what}: {answer:?}");
            }
        }
        if number % 50 == 0 {
            calm.assert_unchanged(&what);
        }
    }
    assert!((1..900).contains(&taken), "of 1,000 bodies {taken} were valid: the mix is no good");
    calm.finish("random bodies");
}

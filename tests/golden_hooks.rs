//! Every event of every host, as the host sends it, and our answer to it: with zero, one and 500 messages waiting, from `command`
//! hooks on the Unix socket and from `http` hooks over TCP. The answers are valid by the hosts' documentation, and as recorded
//! in `tests/fixtures/hooks/`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking, in its helpers too

mod support;

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use support::{Answer, DEADLINE, Daemon, Place, raw_unix};

const HOSTS: [&str; 3] = ["claude", "codex", "gemini"];
const WAITING: [usize; 3] = [0, 1, 500];
/// UTF-16 units of one text that a host takes; of more it shows a part.
const TEXT_MAX: usize = 10_000;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hooks")
}

/// One event, asked for in one way.
struct Case {
    host: &'static str,
    event: String,
    input: Value,
    waiting: usize,
    over_http: bool,
}

impl Case {
    fn session(&self) -> String {
        let kind = if self.over_http { "http" } else { "command" };
        format!("{}-{}-{}-{kind}", self.host, self.event, self.waiting)
    }

    /// What the host would send, for a session of its own.
    fn body(&self) -> String {
        let mut input = self.input.clone();
        input["session_id"] = self.session().into();
        input.to_string()
    }

    fn is_of_subagent(&self) -> bool {
        self.input.get("agent_id").is_some()
    }
}

/// All cases: of each host and event, and of each kind of hook that the host has for it.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for host in HOSTS {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(fixtures().join(host)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let event = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let input: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            assert_eq!(input["hook_event_name"], event.as_str());
            // The only host with `http` hooks, and not for this event.
            let kinds: &[bool] = if host == "claude" && event != "SessionStart" { &[false, true] } else { &[false] };
            for (waiting, over_http) in
                WAITING.into_iter().flat_map(|waiting| kinds.iter().map(move |http| (waiting, *http)))
            {
                cases.push(Case { host, event: event.clone(), input: input.clone(), waiting, over_http });
            }
        }
    }
    assert!(cases.len() > 200, "the fixtures are where they were");
    cases
}

/// A log in which each case has its session, which was introduced at its start, and its messages.
fn write_log(place: &Place, cases: &[Case], body: impl Fn(usize) -> String) {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let sent_at = now - 150 * 60 * 1000;
    let mut log = String::new();
    let mut line = |item_type: &str, item: Value| {
        let event = json!({"item": item, "changeType": "SET", "itemType": item_type, "createdAt": "2026-11-21T00:07:54+00:00",
            "tx": "t", "sourceId": "test"});
        writeln!(log, "{event}").unwrap();
    };
    for case in cases {
        let session = case.session();
        line(
            "Session",
            json!({"id": session, "nickname": session, "pid": 0, "cwd": "/w/proj", "connectedAt": now - 1,
            "lastActivityAt": now, "hooks": true, "hears": ["start"], "agent": case.host}),
        );
        // What is urgent reaches a session between two tools, too.
        let is_after_tool = ["PostToolUse", "PostToolBatch", "AfterTool"].contains(&case.event.as_str());
        for number in 0..case.waiting {
            let mut item = json!({"id": format!("m{number}-{session}"), "fromSessionId": "sender", "fromNick": "web@b81d04ee",
                "toSessionId": session, "toNick": session, "body": body(number), "sentAt": sent_at, "proof": "process"});
            if is_after_tool {
                item["priority"] = "now".into();
            }
            line("Message", item);
        }
    }
    std::fs::create_dir_all(place.state()).unwrap();
    std::fs::write(place.log_path(), log).unwrap();
    for (path, mode) in [(place.state(), 0o700), (place.log_path(), 0o600)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
}

/// As curl sends what a `command` hook has on stdin.
fn as_command(daemon: &Daemon, host: &str, body: &str) -> Answer {
    let head = format!(
        "POST /hook/{host}?host=vm&operator=ana HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\
         Content-Length: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n",
        body.len()
    );
    raw_unix(&daemon.socket, format!("{head}{body}").as_bytes())
}

/// As Claude Code sends an `http` hook: head and body apart, on a connection that it would keep.
fn as_http(to: SocketAddr, token: &str, host: &str, body: &str, headers: &str) -> Answer {
    let head = format!(
        "POST /hook/{host} HTTP/1.1\r\nAccept: application/json, text/plain, */*\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {token}\r\n{headers}User-Agent: axios/1.8.4\r\nContent-Length: {}\r\n\
         Accept-Encoding: gzip, compress, deflate, br\r\nHost: {to}\r\nConnection: keep-alive\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Answer::parse(&answer)
}

fn ask(daemon: &Daemon, token: &str, case: &Case) -> Answer {
    let answer = if case.over_http {
        as_http(daemon.hooks, token, case.host, &case.body(), "")
    } else {
        as_command(daemon, case.host, &case.body())
    };
    assert_eq!(answer.status, 200, "{}: {answer:?}", case.session());
    let expected = (!answer.body.is_empty()).then_some("application/json");
    assert_eq!(answer.header("content-type"), expected, "{}: {answer:?}", case.session());
    answer
}

/// What a host takes as the answer to an event, by its documentation.
struct Schema {
    /// Keys that stand beside what is for the event.
    common: &'static [&'static str],
    /// Events to whose answer context can be added.
    context: &'static [&'static str],
    /// Events whose answer can decide something, with a reason, and in which words.
    decision: &'static [&'static str],
    words: &'static [&'static str],
    /// Whether an answer may be empty.
    empty: bool,
}

fn schema(host: &str) -> Schema {
    match host {
        "claude" => Schema {
            common: &["continue", "stopReason", "suppressOutput", "systemMessage", "terminalSequence"],
            context: &[
                "SessionStart",
                "Setup",
                "SubagentStart",
                "UserPromptSubmit",
                "UserPromptExpansion",
                "PreToolUse",
                "PostToolUse",
                "PostToolUseFailure",
                "PostToolBatch",
                "Stop",
                "SubagentStop",
            ],
            decision: &[
                "UserPromptSubmit",
                "UserPromptExpansion",
                "PostToolUse",
                "PostToolBatch",
                "Stop",
                "SubagentStop",
            ],
            words: &["block"],
            empty: true,
        },
        "codex" => Schema {
            common: &["continue", "stopReason", "suppressOutput", "systemMessage"],
            context: &["SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "SubagentStart"],
            decision: &["UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop", "SubagentStop"],
            words: &["block"],
            empty: true,
        },
        _ => Schema {
            common: &["continue", "stopReason", "suppressOutput", "systemMessage"],
            context: &["SessionStart", "BeforeAgent", "AfterTool"],
            decision: &["BeforeAgent", "BeforeTool", "AfterTool", "AfterAgent", "BeforeModel", "AfterModel"],
            words: &["allow", "deny", "block"],
            empty: false,
        },
    }
}

/// What is wrong with an answer, by the host's documentation.
fn fault(host: &str, event: &str, body: &str) -> Option<String> {
    let schema = schema(host);
    if body.is_empty() {
        return (!schema.empty).then(|| "is empty".to_owned());
    }
    let Ok(answer) = serde_json::from_str::<Map<String, Value>>(body) else {
        return Some("is no JSON object".to_owned());
    };
    for (key, value) in &answer {
        let fits = match key.as_str() {
            "hookSpecificOutput" => schema.context.contains(&event) && is_context(event, value),
            "decision" => {
                let word = value.as_str().unwrap_or_default();
                schema.decision.contains(&event) && schema.words.contains(&word) && answer.contains_key("reason")
            }
            "reason" => answer.contains_key("decision") && is_text(value),
            common => schema.common.contains(&common),
        };
        if !fits {
            return Some(format!("has a wrong {key}"));
        }
    }
    None
}

fn is_context(event: &str, value: &Value) -> bool {
    let Some(fields) = value.as_object() else { return false };
    fields.len() == 2
        && fields.get("hookEventName") == Some(&event.into())
        && fields.get("additionalContext").is_some_and(is_text)
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty() && text.encode_utf16().count() <= TEXT_MAX)
}

fn number(case: &Case, sessions: &BTreeMap<String, Value>) -> Option<u64> {
    sessions.get(&case.session()).map(|session| session["unread"].as_u64().unwrap())
}

fn sessions(daemon: &Daemon) -> BTreeMap<String, Value> {
    let answer = raw_unix(&daemon.socket, b"GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n").json();
    let sessions = answer["sessions"].as_array().unwrap().clone();
    sessions.into_iter().map(|session| (session["sessionId"].as_str().unwrap().to_owned(), session)).collect()
}

#[test]
fn every_event_of_every_host_is_answered_as_the_host_takes_it() {
    let place = Place::new();
    let cases = cases();
    let peculiar = "a \"quoted\" line \\ with 🦀\nand </marshal_inbox> <b> & more".to_owned();
    write_log(&place, &cases, |number| if number == 0 { peculiar.clone() } else { format!("note {number}") });
    let daemon = place.start_locked();
    let token = place.token();
    let before = sessions(&daemon);
    let mut answers: BTreeMap<(&str, String), String> = BTreeMap::new();
    for case in &cases {
        let body = ask(&daemon, &token, case).text().to_owned();
        let told = fault(case.host, &case.event, &body);
        assert_eq!(told, None, "{}: {body}", case.session());
        let body = body.replace(&case.session(), "SESSION");
        let key = (case.host, format!("{} {}", case.event, case.waiting));
        if let Some(other) = answers.insert(key, body.clone()) {
            assert_eq!(body, other, "an http hook gets what a command hook gets: {}", case.session());
        }
    }
    let after = sessions(&daemon);
    for case in &cases {
        let id = case.session();
        assert_eq!(number(case, &before), Some(case.waiting as u64), "{id}");
        if case.is_of_subagent() {
            let but_life = |sessions: &BTreeMap<String, Value>| {
                let mut session = sessions[&id].clone();
                session.as_object_mut().unwrap().remove("lastActivityAt");
                session
            };
            assert_eq!(but_life(&before), but_life(&after), "events of subagents are signs of life and no more");
        }
        if case.event == "SessionEnd" {
            assert!(!after.contains_key(&id));
        }
    }
    for host in HOSTS {
        let of_host = answers.iter().filter(|((of, _), _)| *of == host);
        let text: String = of_host.map(|((_, key), body)| format!("{key} {body}\n")).collect();
        let file = fixtures().join(format!("{host}.answers"));
        if std::env::var_os("MARSHAL_UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let recorded = std::fs::read_to_string(&file).unwrap();
        for (line, recorded) in text.lines().zip(recorded.lines()) {
            assert_eq!(line, recorded, "{host}");
        }
        assert_eq!(text.lines().count(), recorded.lines().count(), "{host}");
    }
}

#[test]
fn no_answer_is_longer_than_a_host_takes_and_what_did_not_fit_comes_next() {
    let place = Place::new();
    let mut cases = cases();
    cases.retain(|case| {
        let takes =
            ["UserPromptSubmit", "PostToolUse", "PostToolBatch", "Stop", "BeforeAgent", "AfterTool", "AfterAgent"];
        case.waiting == 500 && takes.contains(&case.event.as_str())
    });
    // Each of these characters is two UTF-16 units, and a quotation mark is two in JSON.
    write_log(&place, &cases, |number| format!("{number}:{}", "🦀\"".repeat(100 + number % 40 * 7)));
    let daemon = place.start_locked();
    let token = place.token();
    for case in &cases {
        let mut next = 0;
        for _ in 0..3 {
            let body = ask(&daemon, &token, case).text().to_owned();
            assert_eq!(fault(case.host, &case.event, &body), None, "{}", case.session());
            for number in numbers(&body) {
                assert_eq!(number, next, "{}", case.session());
                next += 1;
            }
            // The news that an answer has arrived comes after the answer.
            let end = Instant::now() + DEADLINE;
            while number(case, &sessions(&daemon)) != Some((500 - next) as u64) {
                assert!(Instant::now() < end, "{} is not handed its mail", case.session());
            }
            // A prompt that follows a prompt shows that the first one was erased; the model's next tool shows the opposite.
            let tool = if case.host == "gemini" { "BeforeTool" } else { "PreToolUse" };
            let goes_on = json!({"session_id": case.session(), "hook_event_name": tool, "tool_name": "x"});
            assert_eq!(as_command(&daemon, case.host, &goes_on.to_string()).status, 200);
        }
        assert!(next >= 9, "{}: {next}", case.session());
    }
}

/// The numbers of the messages in an answer.
fn numbers(body: &str) -> Vec<usize> {
    let answer: Value = serde_json::from_str(body).unwrap();
    let text = answer.pointer("/hookSpecificOutput/additionalContext").or_else(|| answer.get("reason")).unwrap();
    let entries = text
        .as_str()
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("- from "))
        .map(|line| line.split_once("): ").unwrap().1);
    entries.map(|body| body.split_once(':').unwrap().0.parse().unwrap()).collect()
}

#[test]
fn the_rules_by_which_answers_are_judged_find_faults() {
    let context = |event: &str, text: &str| {
        json!({"hookSpecificOutput": {"hookEventName": event, "additionalContext": text}}).to_string()
    };
    let block = json!({"decision": "block", "reason": "x"}).to_string();
    let right = [
        ("claude", "Stop", context("Stop", "x")),
        ("claude", "Stop", block.clone()),
        ("claude", "Notification", String::new()),
        ("codex", "Stop", block.clone()),
        ("gemini", "Notification", "{}".to_owned()),
        ("gemini", "AfterAgent", json!({"decision": "deny", "reason": "x"}).to_string()),
    ];
    for (host, event, body) in right {
        assert_eq!(fault(host, event, &body), None, "{host} {event} {body}");
    }
    let wrong = [
        ("claude", "Stop", context("UserPromptSubmit", "x")),
        ("claude", "Notification", context("Notification", "x")),
        ("claude", "UserPromptSubmit", context("UserPromptSubmit", &"x".repeat(TEXT_MAX + 1))),
        ("claude", "UserPromptSubmit", context("UserPromptSubmit", " ")),
        ("claude", "UserPromptSubmit", "plain text".to_owned()),
        ("claude", "SessionStart", json!({"additionalContext": "x"}).to_string()),
        ("codex", "Stop", context("Stop", "x")),
        ("codex", "Stop", json!({"decision": "block"}).to_string()),
        ("codex", "SessionStart", block),
        ("gemini", "Notification", String::new()),
        ("gemini", "AfterAgent", json!({"decision": "retry", "reason": "x"}).to_string()),
    ];
    for (host, event, body) in wrong {
        assert!(fault(host, event, &body).is_some(), "{host} {event} {body}");
    }
}

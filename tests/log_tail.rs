//! What others do to the log while the daemon runs: append, cut, replace, delete.
#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use marshal::event_log::key::LogKey;
use marshal::event_log::real_disk::RealDisk;
use marshal::event_log::replay::Fold;
use marshal::row_json::row_text;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};
use support::{Daemon, Place, Watch};

type Rows = BTreeMap<(String, String), Value>;

const TYPES: [&str; 5] = ["Session", "Room", "RoomMember", "Message", "MessageRead"];

fn append(place: &Place, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).open(place.log_path()).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn replace(place: &Place, text: &str) {
    let other = place.state().join("events.jsonl.edited");
    std::fs::write(&other, text).unwrap();
    std::fs::rename(&other, place.log_path()).unwrap();
}

fn log_text(place: &Place) -> String {
    std::fs::read_to_string(place.log_path()).unwrap_or_default()
}

fn session(id: &str, nickname: &str) -> String {
    let item = json!({"id": id, "nickname": nickname, "pid": 7, "cwd": "/ext", "connectedAt": now_ms()});
    format!("{}\n", json!({"item": item, "changeType": "SET", "itemType": "Session"}))
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn mentions(place: &Place, id: &str) -> usize {
    let events = place.log_events();
    events.iter().filter(|event| event["itemType"] == "Session" && event["item"]["id"] == id).count()
}

/// A row without its sign of life, of which the log is told once a minute.
fn without_activity(mut row: Value) -> Value {
    row.as_object_mut().unwrap().remove("lastActivityAt");
    row
}

fn folded(place: &Place) -> Rows {
    let key = LogKey::load(&RealDisk::new(&place.state())).unwrap().unwrap();
    let rows = Fold::read(&std::fs::read(place.log_path()).unwrap_or_default()[..], &key).unwrap().into_rows();
    let key = |row: &marshal::model::Row| (row.item_type().as_str().to_owned(), row.id().to_owned());
    let shown = rows.iter().filter(|row| TYPES.contains(&row.item_type().as_str()));
    shown.map(|row| (key(row), without_activity(serde_json::from_str(&row_text(row)).unwrap()))).collect()
}

fn shown(daemon: &Daemon) -> Rows {
    let mut shim = daemon.connect();
    let mut rows = Rows::new();
    for item_type in TYPES {
        let (_, snapshot) = shim.query(item_type);
        for upsert in snapshot["upserts"].as_array().unwrap() {
            rows.insert(
                (item_type.to_owned(), upsert["item"]["id"].as_str().unwrap().to_owned()),
                without_activity(upsert["item"].clone()),
            );
        }
    }
    rows
}

/// Waits for what nothing but the file tells of.
fn until(what: &str, wanted: impl Fn() -> bool) {
    let end = Instant::now() + support::DEADLINE;
    while !wanted() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

/// The file comes to the roster; and so it does for the next daemon.
fn assert_file_is_roster(place: &Place, daemon: Daemon) {
    until("the file comes to the roster", || folded(place) == shown(&daemon));
    let before = shown(&daemon);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(shown(&place.start()), before, "a restart changes nothing");
}

#[test]
fn a_line_of_somebody_else_is_applied_within_a_second_and_not_written_back() {
    let place = Place::new();
    let daemon = place.start();
    let mut watch = Watch::start(&daemon, "Session");
    daemon.start_session("ours", "/w/a");
    watch.until("ours", |rows| rows.contains_key("ours"));
    let begun = Instant::now();
    append(&place, &session("theirs", "theirs"));
    watch.until("theirs", |rows| rows.contains_key("theirs"));
    // Without change notices the three-second tick would find it; the bound tells the two apart, and is met in 0.1 s.
    assert!(begun.elapsed() < Duration::from_millis(2_500), "{:?}", begun.elapsed());
    assert_eq!(watch.rows["theirs"]["nickname"], "theirs");
    let mut members = Watch::start(&daemon, "RoomMember");
    members.until("what follows from it", |rows| rows.contains_key("everyone::theirs"));
    assert_eq!((mentions(&place, "theirs"), mentions(&place, "ours")), (1, 1));
    assert_file_is_roster(&place, daemon);
}

#[test]
fn a_session_that_somebody_else_states_and_takes_back_comes_and_goes() {
    let place = Place::new();
    let daemon = place.start();
    let mut watch = Watch::start(&daemon, "Session");
    append(&place, &session("theirs", "theirs"));
    watch.until("theirs", |rows| rows.contains_key("theirs"));
    append(&place, "{\"item\":{\"id\":\"theirs\"},\"changeType\":\"DEL\",\"itemType\":\"Session\"}\n");
    watch.until("its end", |rows| rows.is_empty());
    assert!(Watch::start(&daemon, "RoomMember").rows.is_empty(), "its memberships went with it");
    assert_file_is_roster(&place, daemon);
}

#[test]
fn our_own_lines_are_never_applied_again() {
    let place = Place::new();
    let daemon = place.start();
    for number in 0..50 {
        daemon.start_session(&format!("s{number}"), "/w/a");
        daemon.end_session(&format!("s{number}"));
    }
    append(&place, &session("last", "last"));
    let mut watch = Watch::start(&daemon, "Session");
    watch.until("last", |rows| rows.contains_key("last"));
    assert_eq!(watch.rows.len(), 1);
    let metrics = daemon.get("/metrics");
    assert!(metrics.text().contains("\nmarshal_log_external_events_total 1\n"), "{}", metrics.text());
}

#[test]
fn a_nickname_that_is_taken_is_corrected_in_the_log() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("12345678", "/w/a");
    let mut watch = Watch::start(&daemon, "Session");
    append(&place, &session("theirs", "a@12345678"));
    watch.until("theirs", |rows| rows.get("theirs").is_some_and(|row| row["nickname"] == "a@12345678-2"));
    assert_eq!(watch.rows["12345678"]["nickname"], "a@12345678");
    assert_eq!(mentions(&place, "theirs"), 2);
    assert_file_is_roster(&place, daemon);
}

#[test]
fn a_malformed_line_is_skipped_counted_and_left_alone() {
    let place = Place::new();
    let daemon = place.start();
    let mut watch = Watch::start(&daemon, "Session");
    let text = format!("garbage\n{{\"item\":7}}\n{}\u{0}\n", session("theirs", "theirs"));
    append(&place, &text);
    watch.until("theirs", |rows| rows.contains_key("theirs"));
    until("the count", || daemon.get("/v1/status").json()["malformedLines"] == 3);
    daemon.start_session("ours", "/w/a");
    assert!(log_text(&place).contains(&text), "it is there byte for byte");
    assert_file_is_roster(&place, daemon);
}

#[test]
fn half_a_line_is_read_when_its_rest_has_come() {
    let place = Place::new();
    let daemon = place.start();
    let mut sessions = Watch::start(&daemon, "Session");
    let mut messages = Watch::start(&daemon, "Message");
    let line = session("late", "late");
    // A message, unlike a session, leads to no line of ours, which would have to follow the half one.
    let item = json!({"id": "m", "fromSessionId": "x", "fromNick": "x", "toSessionId": "y", "toNick": "y", "body": "b",
        "sentAt": now_ms()});
    let message = json!({"item": item, "changeType": "SET", "itemType": "Message"});
    append(&place, &format!("{message}\n{}", &line[..40]));
    messages.until("message", |rows| rows.contains_key("m"));
    append(&place, &line[40..]);
    sessions.until("late", |rows| rows.contains_key("late"));
    assert_eq!(log_text(&place).matches(&line).count(), 1);
    assert_eq!(daemon.get("/v1/status").json()["malformedLines"], 0);
    assert_file_is_roster(&place, daemon);
}

#[test]
fn half_a_line_that_our_event_follows_does_not_swallow_it() {
    // marshal 0.9 fault 16: the event was glued to the torn line, and both were lost.
    let place = Place::new();
    let daemon = place.start();
    append(&place, r#"{"item":{"id":"torn"#);
    daemon.start_session("ours", "/w/a");
    assert!(log_text(&place).contains("{\"item\":{\"id\":\"torn\n{\"item\":"), "{}", log_text(&place));
    until("the count", || daemon.get("/v1/status").json()["malformedLines"] == 1);
    daemon.kill();
    assert!(place.start().sessions().contains_key("ours"));
}

#[test]
fn a_log_without_a_final_newline_costs_neither_its_last_event_nor_the_next_one() {
    // marshal 0.9 fault 16
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    for (id, tail) in
        [("whole", session("whole", "whole").trim_end().to_owned()), ("torn", "{\"item\":{\"id\":\"to".to_owned())]
    {
        std::fs::write(place.log_path(), format!("{}{tail}", session("first", "first"))).unwrap();
        let daemon = place.start();
        assert_eq!(daemon.sessions().contains_key(id), id == "whole");
        daemon.start_session("next", "/w/a");
        daemon.kill();
        let daemon = place.start();
        let sessions = daemon.sessions();
        assert!(sessions.contains_key("next") && sessions.contains_key("first"), "{id}: {sessions:?}");
        assert_eq!(sessions.contains_key(id), id == "whole");
    }
}

/// A daemon with three sessions of which the log tells, and a view of them.
fn three(place: &Place) -> (Daemon, Watch) {
    let daemon = place.start();
    for id in ["kept", "changed", "removed"] {
        daemon.start_session(id, "/w/a");
    }
    daemon.send("kept", "changed", "mail");
    let watch = Watch::start(&daemon, "Session");
    (daemon, watch)
}

fn all_there(place: &Place, ids: &[&str]) -> bool {
    let rows = folded(place);
    ids.iter().all(|id| rows.contains_key(&("Session".to_owned(), (*id).to_owned())))
}

#[test]
fn a_log_that_is_cut_to_nothing_is_written_anew() {
    let place = Place::new();
    let (daemon, _watch) = three(&place);
    std::fs::OpenOptions::new().write(true).open(place.log_path()).unwrap().set_len(0).unwrap();
    until("the roster is in the file again", || folded(&place) == shown(&daemon));
    daemon.start_session("after", "/w/b");
    assert!(all_there(&place, &["kept", "changed", "removed", "after"]));
    assert_file_is_roster(&place, daemon);
}

/// What an editor makes of the log: one row changed, one removed, one added.
fn edited(text: &str, added: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains(r#""id":"removed""#) && !line.contains("::removed"));
    let lines =
        lines.map(
            |line| if line.contains(r#""id":"changed""#) { line.replace("/w/a", "/w/edited") } else { line.to_owned() },
        );
    lines.chain([session(added, added).trim_end().to_owned()]).map(|line| line + "\n").collect()
}

#[test]
fn a_log_that_an_editor_replaces_twice_is_followed_and_loses_no_row() {
    let place = Place::new();
    let (daemon, mut watch) = three(&place);
    for added in ["added", "added-again"] {
        replace(&place, &edited(&log_text(&place), added));
        watch.until(added, |rows| rows.contains_key(added) && rows["changed"]["cwd"] == "/w/edited");
        assert!(watch.rows.contains_key("removed"), "a row that is missing from a copy is not deleted");
        until("the missing rows are in the file", || all_there(&place, &["kept", "changed", "removed", added]));
        let after = format!("after-{added}");
        daemon.start_session(&after, "/w/b");
        assert!(all_there(&place, &[&after]), "what is acknowledged is in the new file");
    }
    assert_eq!(daemon.sessions()["changed"]["unread"], 1);
    assert_file_is_roster(&place, daemon);
}

#[test]
fn what_is_acknowledged_right_after_a_replacement_is_in_the_new_log() {
    let place = Place::new();
    let (daemon, _watch) = three(&place);
    for number in 0..20 {
        let (text, id) = (log_text(&place), format!("s{number}"));
        replace(&place, &text);
        daemon.start_session(&id, "/w/a");
        assert!(all_there(&place, &[&id]), "{id}");
    }
    assert_file_is_roster(&place, daemon);
}

#[test]
fn a_log_that_is_deleted_is_written_anew() {
    let place = Place::new();
    let (daemon, _watch) = three(&place);
    std::fs::remove_file(place.log_path()).unwrap();
    until("the roster is in a new file", || folded(&place) == shown(&daemon));
    daemon.start_session("after", "/w/b");
    assert!(all_there(&place, &["kept", "changed", "removed", "after"]));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(place.log_path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_file_is_roster(&place, daemon);
}

#[test]
fn an_editor_that_saves_into_the_same_file_is_followed() {
    for (old, new) in [("/w/before", "/w/a-much-longer-place"), ("/w/before", "/w/afterx")] {
        let place = Place::new();
        let daemon = place.start();
        daemon.start_session("edited", old);
        daemon.start_session("other", "/w/b");
        let mut watch = Watch::start(&daemon, "Session");
        let text = log_text(&place).replace(old, new);
        std::fs::write(place.log_path(), text).unwrap();
        watch.until("the edited row", |rows| rows["edited"]["cwd"] == new);
        assert_eq!(daemon.get("/v1/status").json()["malformedLines"], 0);
        assert_file_is_roster(&place, daemon);
    }
}

#[test]
fn what_another_program_wrote_to_the_log_is_marked_as_that_and_makes_no_credential() {
    // row 105: live, after a restart, and after the log was written anew.
    let place = Place::new();
    let mut daemon = place.start();
    daemon.start_session("reader", "/w/a");
    daemon.start_session("writer", "/w/b");
    daemon.send("writer", "reader", "mine");
    let said = |id: &str, from: &str, more: Value| {
        let mut item = json!({"id": id, "fromSessionId": from, "fromNick": from, "toSessionId": "reader",
            "toNick": "a@reader", "body": format!("by {id}"), "sentAt": now_ms()});
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("{}\n", json!({"item": item, "changeType": "SET", "itemType": "Message"}))
    };
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"; // of "test"
    let registration = json!({"id": "reader", "registeredAt": now_ms(), "renewedAt": now_ms(), "tokenHash": hash});
    let registration = json!({"item": registration, "changeType": "SET", "itemType": "Registration"});
    let human = said("forged-human", "human:ann", json!({"proof": "human"}));
    let notice = said("forged-notice", "marshal", json!({"notice": true}));
    append(&place, &format!("{registration}\n{human}{notice}"));
    let page = |daemon: &Daemon| daemon.get("/v1/messages?session=reader").json()["messages"].clone();
    for round in ["live", "restarted", "compacted"] {
        until("the lines", || page(&daemon).as_array().is_some_and(|messages| messages.len() == 3));
        let messages = page(&daemon);
        let proof = |id: &str| {
            let all = messages.as_array().unwrap();
            let found = all.iter().find(|message| message["messageId"] == id || message["body"] == id);
            found.unwrap_or_else(|| panic!("{round}: {id} in {all:#?}"))["proof"].clone()
        };
        assert_eq!((proof("forged-human"), proof("forged-notice")), (json!("outside"), json!("outside")), "{round}");
        assert_eq!(proof("mine"), "asserted", "{round}: what we wrote is known as ours");
        let me = support::request(daemon.hooks, "GET", "/v1/sessions/me", &[("Marshal-Session", "test")], b"");
        assert_eq!(me.status, 401, "{round}");
        if round == "live" {
            let inbox = daemon.prompt("reader");
            let text = inbox.text();
            assert!(text.contains("marshal did not write this line of its log"), "{text}");
            assert!(!text.contains(", the human operator, verified)"), "{text}");
            assert!(!text.contains("notice from marshal itself"), "{text}");
            daemon.kill();
            daemon = place.start();
        } else if round == "restarted" {
            assert_eq!(daemon.post_json("/v1/compact", &json!({})).status, 200);
        }
    }
}

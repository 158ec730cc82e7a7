//! The log of a real marshal 0.9: what it describes is what we show, and what we write it could read.
#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use marshal::event_log::key::LogKey;
use marshal::event_log::replay::Fold;
use marshal::model::ItemType;
use marshal::roster::Roster;
use marshal::row_json::row_text;
use marshal::time::Now;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use support::{Daemon, Place, Watch};

/// Nobody has written a line of these logs with it.
const KEY: LogKey = LogKey::of([1; 16]);

type Rows = BTreeMap<(String, String), Value>;

const TYPES: [&str; 5] = ["Session", "Room", "RoomMember", "Message", "MessageRead"];

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/marshal-0.9.0").join(name)).unwrap()
}

fn lines(log: &[u8]) -> Vec<&[u8]> {
    log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect()
}

/// What a log comes to, computed without any code of the product: the last event of each type and id wins.
fn expected(log: &[u8]) -> Rows {
    let mut rows = Rows::new();
    for line in lines(log) {
        let Ok(event) = serde_json::from_slice::<Value>(line) else { continue };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let key = (text(&event["itemType"]), text(&event["item"]["id"]));
        if !TYPES.contains(&key.0.as_str()) {
            continue;
        }
        match event["changeType"].as_str().unwrap() {
            "SET" => drop(rows.insert(key, event["item"].clone())),
            "DEL" => drop(rows.remove(&key)),
            other => panic!("{other}"),
        }
    }
    rows
}

/// What the library makes of a log.
fn replayed(log: &[u8]) -> Rows {
    let mut roster = Roster::new();
    roster.load(Fold::read(log, &KEY).unwrap().into_rows(), None, Now::at(1_795_220_000_000));
    let mut rows = Rows::new();
    for row in ItemType::ALL.into_iter().flat_map(|item_type| roster.rows(item_type)) {
        let key = (row.item_type().as_str().to_owned(), row.id().to_owned());
        assert!(rows.insert(key, serde_json::from_str(&row_text(&row)).unwrap()).is_none());
    }
    rows
}

fn prepared(log: &[u8]) -> Place {
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    std::fs::write(place.log_path(), log).unwrap();
    place
}

/// The rows that the daemon shows in live queries.
fn shown(daemon: &Daemon) -> Rows {
    let mut shim = daemon.connect();
    let mut rows = Rows::new();
    for item_type in TYPES {
        let (_, snapshot) = shim.query(item_type);
        assert_eq!(snapshot["totalCount"], snapshot["upserts"].as_array().unwrap().len());
        for upsert in snapshot["upserts"].as_array().unwrap() {
            assert_eq!(upsert["itemType"], item_type);
            let id = upsert["item"]["id"].as_str().unwrap().to_owned();
            assert!(rows.insert((item_type.to_owned(), id), upsert["item"].clone()).is_none());
        }
    }
    rows
}

#[test]
fn the_log_of_marshal_0_9_is_replayed_to_exactly_the_rows_that_it_describes() {
    let log = fixture("events.jsonl");
    let expected = expected(&log);
    let types: std::collections::BTreeSet<&str> = expected.keys().map(|(item_type, _)| item_type.as_str()).collect();
    assert_eq!(types.len(), 5, "the fixture has living rows of every type");
    assert_eq!(replayed(&log), expected);
}

#[test]
fn the_daemon_shows_the_rows_of_a_marshal_0_9_log_as_soon_as_it_is_ready() {
    let log = fixture("events.jsonl");
    let daemon = prepared(&log).start();
    assert_eq!(shown(&daemon), expected(&log));
}

#[test]
fn a_start_long_after_the_logs_last_line_takes_nothing_away() {
    // row 45: the sessions have been silent for weeks, and the messages wait as long.
    let log = fixture("events.jsonl");
    let daemon = prepared(&log).start();
    let before = shown(&daemon);
    let longest_sweep = || {
        let answer = daemon.get("/metrics");
        let metrics = answer.text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("marshal_sweep_seconds{which=\"max\"} "));
        line.unwrap().parse::<f64>().unwrap()
    };
    let deadline = std::time::Instant::now() + support::DEADLINE;
    while longest_sweep() == 0.0 {
        assert!(std::time::Instant::now() < deadline, "nobody sweeps");
    }
    // Clients that were connected to another daemon are gone for good after their grace; all else is there.
    let after = shown(&daemon);
    let lost: Vec<_> = before.keys().filter(|key| !after.contains_key(*key)).collect();
    assert_eq!(lost, Vec::<&(String, String)>::new());
}

#[test]
fn damaged_lines_are_named_counted_and_left_where_they_are_and_cost_no_row() {
    // marshal 0.9 fault 16: it skipped damage without a trace that anybody could see.
    let (whole, damaged) = (fixture("events.jsonl"), fixture("events-with-damage.jsonl"));
    assert_eq!(replayed(&damaged), expected(&whole));
    let bad: Vec<(usize, &[u8])> = lines(&damaged)
        .into_iter()
        .enumerate()
        .filter(|(_, line)| serde_json::from_slice::<Value>(line).is_err())
        .map(|(at, line)| (at + 1, line))
        .collect();
    assert_eq!(bad.len(), 2);

    let place = prepared(&damaged);
    let daemon = place.start();
    assert_eq!(shown(&daemon), expected(&whole));
    for (number, _) in &bad {
        let named = format!("skipped line {number} of the log");
        assert!(daemon.said.iter().any(|line| line.contains(&named)), "{named}: {:#?}", daemon.said);
    }
    assert_eq!(daemon.get("/v1/status").json()["malformedLines"], 2);
    assert!(daemon.get("/metrics").text().lines().any(|line| line == "marshal_log_malformed_lines 2"));

    daemon.start_session("new", "/w/new");
    assert_eq!(daemon.stop(), Some(0));
    let after = std::fs::read(place.log_path()).unwrap();
    assert_eq!(after[..damaged.len()], damaged[..], "what was there is there, byte for byte");
    assert!(after.len() > damaged.len());
}

#[test]
fn what_a_future_version_wrote_stays_in_the_log_untouched_and_is_no_damage() {
    let known = fixture("events.jsonl");
    let foreign = concat!(
        r#"{"item":{"id":"src/x","owner":"eeee2222"},"changeType":"SET","itemType":"Lease","tx":"t","sourceId":null}"#,
        "\n",
        r#"{"item":{"id":"src/x","odd":[1,{"a":null}]},"changeType":"MOVE","itemType":"Lease","future":1.5}"#,
        "\n"
    );
    let session = json!({"item": {"id": "f", "nickname": "f", "pid": 1, "cwd": "/f", "connectedAt": 1_795_219_453_182_i64,
        "mood": {"now": "fine"}}, "changeType": "SET", "itemType": "Session", "signature": "x", "options": {}});
    let log = [&known, foreign.as_bytes(), format!("{session}\n").as_bytes()].concat();
    let fold = Fold::read(&log[..], &KEY).unwrap();
    assert_eq!((fold.foreign, fold.damage.lines), (2, 0));

    let place = prepared(&log);
    let daemon = place.start();
    let counted = daemon.said.iter().any(|line| line.contains("0 malformed lines, 2 events of unknown types"));
    assert!(counted, "{:#?}", daemon.said);
    let mut wanted = expected(&log);
    let unknown = wanted.get_mut(&("Session".to_owned(), "f".to_owned())).unwrap().as_object_mut().unwrap();
    unknown.remove("mood").unwrap();
    assert_eq!(shown(&daemon), wanted, "an unknown field is passed over");
    assert_eq!(daemon.get("/v1/status").json()["malformedLines"], 0);
    daemon.start_session("new", "/w/new");
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(std::fs::read(place.log_path()).unwrap()[..log.len()], log[..]);
}

// row 32
#[test]
fn a_log_that_an_editor_saved_with_a_mark_before_it_keeps_its_first_row() {
    let log = fixture("events.jsonl");
    let first = expected(lines(&log)[0]);
    assert_eq!(first.len(), 1, "its first line is a row");
    let marked = [b"\xef\xbb\xbf", log.as_slice()].concat();
    assert_eq!(replayed(&marked), replayed(&log));
    let place = prepared(&marked);
    let daemon = place.start();
    assert_eq!(daemon.get("/v1/status").json()["malformedLines"], 0);
    assert_eq!(daemon.stop(), Some(0));
    assert!(place.run(&["log", "check"]).status.success());
}

/// What marshal 0.9 required of a SET's item, and what else it knew, by item type.
fn fields(item_type: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match item_type {
        "Session" => (
            &["id", "nickname", "pid", "cwd", "connectedAt"],
            &[
                "clientId",
                "gitBranch",
                "currentTask",
                "lastActivityAt",
                "lastTool",
                "lastToolAt",
                "operator",
                "host",
                "project",
            ],
        ),
        "Room" => (&["id", "name", "kind", "createdAt"], &["description"]),
        "RoomMember" => (&["id", "roomId", "sessionId", "joinedAt"], &[]),
        "Message" => {
            (&["id", "fromSessionId", "fromNick", "toNick", "body", "sentAt"], &["toSessionId", "toRoomId", "readAt"])
        }
        "MessageRead" => (&["id", "messageId", "sessionId", "readAt"], &[]),
        other => panic!("marshal 0.9 knows no {other}"),
    }
}

/// Reads a line as strictly as marshal 0.9 did, and stricter: key order, types, nothing that it did not know but for
/// what its readers pass over.
fn read_strictly(line: &str) {
    let event: Value = serde_json::from_str(line).unwrap();
    let mut envelope: Vec<&str> = vec!["item", "changeType", "itemType", "createdAt", "tx", "sourceId"];
    // Its readers pass over these, which stand behind all that they know.
    if event["changeType"] == "SET" {
        envelope.push("seq");
    }
    envelope.push("sum");
    let item_text = line.strip_prefix(r#"{"item":"#).unwrap();
    let mut items = serde_json::Deserializer::from_str(item_text).into_iter::<Box<serde_json::value::RawValue>>();
    let raw_item = items.next().unwrap().unwrap();
    let keys: Vec<String> = event.as_object().unwrap().keys().cloned().collect();
    let mut sorted = envelope.clone();
    sorted.sort_unstable();
    assert_eq!(keys, sorted, "{line}");
    let rest = &item_text[items.byte_offset()..];
    let places: Vec<usize> = envelope[1..].iter().map(|key| rest.find(&format!("\"{key}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "the order of the envelope: {line}");
    // Values are sorted maps here, so that serializing again gives alphabetical keys at every depth.
    assert_eq!(raw_item.get(), event["item"].to_string(), "{line}");
    chrono::DateTime::parse_from_rfc3339(event["createdAt"].as_str().unwrap()).unwrap();
    assert!(event["createdAt"].as_str().unwrap().ends_with("+00:00"), "{line}");
    uuid::Uuid::parse_str(event["tx"].as_str().unwrap()).unwrap();
    uuid::Uuid::parse_str(event["sourceId"].as_str().unwrap()).unwrap();

    let item = event["item"].as_object().unwrap();
    assert!(item["id"].is_string(), "{line}");
    match event["changeType"].as_str().unwrap() {
        "DEL" => return,
        "SET" => {}
        other => panic!("{other}"),
    }
    let (required, optional) = fields(event["itemType"].as_str().unwrap());
    for key in required {
        assert!(item.contains_key(*key), "{key} is missing: {line}");
    }
    for (key, value) in item {
        assert!(
            required.contains(&key.as_str())
                || optional.contains(&key.as_str())
                || ["hooks", "proof", "hears", "evidence", "path"].contains(&key.as_str()),
            "{key}: {line}"
        );
        match key.as_str() {
            "pid" => assert!(value.as_u64().is_some_and(|pid| u32::try_from(pid).is_ok()), "{line}"),
            key if key.ends_with("At") => assert!(value.is_i64(), "{line}"),
            "host" => assert!(["arch", "name", "os"].iter().all(|part| value[part].is_string()), "{line}"),
            "kind" => assert!(value["kind"] == "adhoc" || value["source"]["anchor"].is_string(), "{line}"),
            "hears" => assert!(value.is_array(), "{line}"),
            "hooks" => assert!(value.is_boolean(), "{line}"),
            _ => assert!(value.is_string(), "{key}: {line}"),
        }
    }
    if event["itemType"] == "Message" {
        assert_ne!(item.contains_key("toSessionId"), item.contains_key("toRoomId"), "{line}");
    }
}

#[test]
fn every_line_that_the_daemon_writes_can_be_read_by_marshal_0_9() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("hook-1", "/w/alpha");
    daemon.start_session("hook-é\\", "/w/odd \"name\"\n");
    let mut shim = daemon.connect();
    shim.publish("shim-1", "beta", "/w/beta");
    for (id, command) in [
        ("SetSessionCurrentTask", json!({"id": "shim-1", "currentTask": "line one\nline two \u{7f}"})),
        ("JoinRoom", json!({"name": "Design Chat", "description": "what it is for"})),
        ("SendMessage", json!({"toSessionId": "hook-1", "body": "two\nlines, \"quotes\" and \u{2028}"})),
        ("BroadcastMessage", json!({"toRoomId": "everyone", "body": "to all"})),
        ("LeaveRoom", json!({"room": "design-chat"})),
    ] {
        assert!(shim.command(id, command).get("response").is_some(), "{id}");
    }
    let mut reads = Watch::start(&daemon, "MessageRead");
    assert!(daemon.prompt("hook-1").text().contains("to all"));
    daemon.until_handed("hook-1", 2);
    daemon.prompt("hook-1");
    reads.until("two receipts", |rows| rows.len() == 2);
    daemon.send("hook-1", "beta", "back");
    daemon.post_json("/v1/messages", &json!({"human": "alice", "to": "beta", "body": "from a human"}));
    let inbox = shim.command("ReadMessages", json!({"inbox": true, "unread": true}));
    let ids: Vec<&Value> = inbox["response"]["messages"].as_array().unwrap().iter().map(|m| &m["messageId"]).collect();
    assert_eq!(shim.command("AckMessages", json!({"messageIds": ids}))["response"]["newlyAcked"], 2);
    daemon.end_session("hook-1");
    assert_eq!(daemon.stop(), Some(0));

    let text = std::fs::read_to_string(place.log_path()).unwrap();
    assert!(text.ends_with('\n') && !text.contains("\n\n"), "one newline for each line");
    // marshal 0.9 passes over lines of types that it does not know.
    let is_new =
        |line: &str| ["Delivery", "Departed"].iter().any(|new| line.contains(&format!(r#""itemType":"{new}""#)));
    let known = text.lines().filter(|line| !is_new(line));
    known.for_each(read_strictly);
    let seen = |item_type: &str, change_type: &str| {
        let (item_type, change_type) =
            (format!(r#""itemType":"{item_type}""#), format!(r#""changeType":"{change_type}""#));
        text.lines().any(|line| line.contains(&item_type) && line.contains(&change_type))
    };
    assert!(TYPES.iter().all(|item_type| seen(item_type, "SET")));
    assert!(["Session", "Room", "RoomMember", "MessageRead"].iter().all(|item_type| seen(item_type, "DEL")));
}

//! The WebSocket protocol over real sockets: frames, queries, and what a client may send without being thrown out.
#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use marshal::limits::WS_MESSAGE_BYTES_MAX;
use serde_json::{Value, json};
use std::io::Write;
use support::{Place, Shim, Watch};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

/// A client frame with a mask of zeros, which leaves the payload as it is.
fn raw_frame(first_byte: u8, length: usize, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first_byte, 0x80 | 127];
    frame.extend_from_slice(&(length as u64).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn close_code(shim: &mut Shim) -> CloseCode {
    loop {
        match shim.socket.read().unwrap() {
            Message::Close(frame) => return frame.unwrap().code,
            Message::Text(text) => panic!("{text}"),
            _ => {}
        }
    }
}

fn query(shim: &mut Shim, tx: &str, id: &str, item_type: &str) -> Value {
    shim.send("ws:m:query", json!({"query": {"tx": tx}, "queryId": id, "queryItemType": item_type}));
    let snapshot = shim.wait_for("snapshot", |frame| frame["data"]["tx"] == tx);
    assert_eq!(snapshot["event"], "ws:m:query-response");
    snapshot["data"].clone()
}

#[test]
fn a_query_begins_with_a_snapshot_of_sequence_0_and_goes_on_without_a_gap() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("before", "/w/a");
    let mut watch = Watch::start(&daemon, "Session");
    assert_eq!(watch.rows.len(), 1);
    for id in ["one", "two", "three"] {
        daemon.start_session(id, "/w/a");
        watch.until(id, |rows| rows.contains_key(id));
    }
    daemon.end_session("before");
    watch.until("its end", |rows| rows.len() == 3);
}

#[test]
fn the_same_query_again_begins_again_and_runs_once() {
    let place = Place::new();
    let daemon = place.start();
    let mut shim = daemon.connect();
    shim.publish("s", "s", "/w/a");
    assert_eq!(query(&mut shim, "q", "GetAllSessions", "Session")["sequence"], 0);
    shim.command("SetSessionCurrentTask", json!({"id": "s", "currentTask": "1"}));
    assert_eq!(shim.wait_for("diff", |frame| frame["data"]["tx"] == "q")["data"]["sequence"], 1);
    let again = query(&mut shim, "q", "GetAllSessions", "Session");
    assert_eq!((&again["sequence"], &again["totalCount"]), (&json!(0), &json!(1)));
    shim.command("SetSessionCurrentTask", json!({"id": "s", "currentTask": "2"}));
    let diffs: Vec<&Value> = shim.pending.iter().filter(|frame| frame["data"]["tx"] == "q").collect();
    assert_eq!(diffs.len(), 1, "{diffs:?}");
    assert_eq!(diffs[0]["data"]["sequence"], 1);
}

#[test]
fn a_cancelled_query_says_nothing_more_even_if_it_is_cancelled_at_once() {
    let place = Place::new();
    let daemon = place.start();
    let mut shim = daemon.connect();
    shim.publish("s", "s", "/w/a");
    query(&mut shim, "q1", "GetAllSessions", "Session");
    shim.send("ws:m:query-cancel", json!({"tx": "q1"}));
    for number in 0..20 {
        let tx = format!("r{number}");
        shim.send("ws:m:query", json!({"query": {"tx": tx}, "queryId": "x", "queryItemType": "Session"}));
        shim.send("ws:m:query-cancel", json!({"tx": tx}));
    }
    // Diffs of a change go out before its answer does.
    shim.command("SetSessionCurrentTask", json!({"id": "s", "currentTask": "x"}));
    let diffs = shim.pending.iter().filter(|frame| frame["data"]["sequence"].as_u64().is_some_and(|n| n > 0));
    assert_eq!(diffs.count(), 0, "{:#?}", shim.pending);
}

#[test]
fn a_query_of_any_name_selects_by_item_type_and_an_unknown_type_has_no_rows() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("s", "/w/a");
    let mut shim = daemon.connect();
    let rooms = query(&mut shim, "1", "GetRoomsByMoonPhase", "Room");
    let ids: Vec<&str> =
        rooms["upserts"].as_array().unwrap().iter().map(|row| row["item"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["everyone", "host:box", "op:alice", "project:a"]);
    let leases = query(&mut shim, "2", "GetAllLeases", "Lease");
    assert_eq!(leases, json!({"deletes": [], "upserts": [], "sequence": 0, "totalCount": 0, "tx": "2"}));
}

#[test]
fn the_nickname_view_of_later_shims_shows_ids_and_nicknames_and_only_their_changes() {
    let place = Place::new();
    let daemon = place.start();
    let mut shim = daemon.connect();
    shim.publish("s", "sam", "/w/a");
    let view = query(&mut shim, "q", "GetAllSessionNicknames", "SessionNickname");
    assert_eq!(view["upserts"], json!([{"item": {"id": "s", "nickname": "sam"}, "itemType": "SessionNickname"}]));
    shim.command("SetSessionCurrentTask", json!({"id": "s", "currentTask": "x"}));
    assert!(shim.pending.is_empty(), "{:?}", shim.pending);
    shim.publish("s", "kim", "/w/a");
    let diff = shim.wait_for("diff", |frame| frame["data"]["tx"] == "q");
    assert_eq!(diff["data"]["upserts"][0]["item"], json!({"id": "s", "nickname": "kim"}));
}

#[test]
fn commands_that_cannot_be_run_get_the_error_texts_of_marshal_0_9() {
    let place = Place::new();
    let daemon = place.start();
    let mut shim = daemon.connect();
    let mut message = |id: &str, command: Value| {
        let answer = shim.command(id, command);
        assert_eq!(answer["commandId"], id);
        answer["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(message("Fly", json!({"to": "the moon"})), "Command handler not found: Fly");
    let early = json!({"id": "s", "lastActivityAt": 1});
    assert_eq!(message("SetSessionLastActivityAt", early), "Session s not found");
    let send = json!({"toSessionId": "s", "body": "x"});
    assert!(message("SendMessage", send).ends_with("has no session on the roster — re-SET your Session and retry"));
    assert_eq!(message("SendMessage", json!({"body": "x"})), "SendMessage: 'toSessionId' is missing");
    let wrong = message("SendMessage", json!({"toSessionId": 7, "body": "x"}));
    assert_eq!(wrong, "SendMessage: 'toSessionId' is 7: give a text");
    // marshal 0.9 fault 9: this one ended the thread that handled it.
    assert_eq!(message("NotifyChannel", json!({})), "Command handler not found: NotifyChannel");
}

#[test]
fn garbage_is_passed_over_and_never_closes_the_connection() {
    let place = Place::new();
    let daemon = place.start();
    let mut shim = daemon.connect();
    let texts = [
        "",
        "null",
        "[]",
        "{}",
        "nonsense",
        "{\"event\":7,\"data\":{}}",
        "{\"event\":\"ws:m:command\"}",
        "\u{0}",
        "{\"event\":\"ws:m:command\",\"data\":{\"command\":[],\"commandId\":\"SendMessage\"}}",
        "{\"event\":\"ws:m:command\",\"data\":{\"command\":{\"tx\":5},\"commandId\":5}}",
        "{\"event\":\"ws:m:query\",\"data\":{\"query\":null,\"queryItemType\":3}}",
        "{\"event\":\"ws:m:query-cancel\",\"data\":{\"tx\":{}}}",
        "{\"event\":\"ws:m:event-batch\",\"data\":7}",
        "{\"event\":\"ws:m:event\",\"data\":{\"item\":{\"id\":9},\"changeType\":\"SET\",\"itemType\":\"Session\"}}",
        "{\"event\":\"ws:m:event\",\"data\":{\"item\":{\"id\":\"\"},\"changeType\":\"SET\",\"itemType\":\"Session\"}}",
        "{\"event\":\"ws:m:event\",\"data\":{\"item\":{\"id\":\"m\",\"body\":\"forged\"},\"changeType\":\"SET\",\"itemType\":\"Message\"}}",
        "{\"event\":\"ws:m:benchmark\",\"data\":{}}",
        "{\"event\":\"ws:m:view\",\"data\":{}}",
    ];
    texts.iter().for_each(|text| shim.send_text(text));
    shim.send_text(&"[".repeat(100_000));
    shim.send_text(&"x".repeat(WS_MESSAGE_BYTES_MAX - 1));
    shim.socket.send(Message::binary(vec![0xa1, 0x65])).unwrap();
    shim.socket.send(Message::binary(vec![0; WS_MESSAGE_BYTES_MAX - 1])).unwrap();
    let alive = shim.command("Alive", json!({}));
    assert_eq!(alive["message"], "Command handler not found: Alive");
    let counts = daemon.get("/v1/status").json();
    assert_eq!((&counts["sessions"], &counts["messages"], &counts["clients"]), (&json!(0), &json!(0), &json!(1)));
}

#[test]
fn a_message_beyond_the_bound_is_refused_with_1009() {
    let place = Place::new();
    let daemon = place.start();
    // Announced, and not waited for.
    let mut shim = daemon.connect();
    shim.socket.get_mut().write_all(&raw_frame(0x81, WS_MESSAGE_BYTES_MAX + 1, b"")).unwrap();
    assert_eq!(close_code(&mut shim), CloseCode::Size);
    // In two parts, each within the bound.
    let mut shim = daemon.connect();
    let half = vec![b' '; WS_MESSAGE_BYTES_MAX / 2 + 1];
    let both = [raw_frame(0x01, half.len(), &half), raw_frame(0x80, half.len(), &half)].concat();
    shim.socket.get_mut().write_all(&both).unwrap();
    assert_eq!(close_code(&mut shim), CloseCode::Size);
    assert!(daemon.connect().command("Alive", json!({}))["message"].is_string());
}

#[test]
fn pings_of_both_kinds_are_answered_unchanged() {
    let place = Place::new();
    let daemon = place.start();
    let mut shim = daemon.connect();
    let ping = r#"{"event":"ws:m:ping",  "data":{"timestamp":1,"id":"x","other":[null]}}"#;
    shim.send_text(ping);
    assert_eq!(shim.socket.read().unwrap(), Message::text(ping));
    // row 32
    shim.send_text(&format!("\u{feff}{ping}"));
    assert_eq!(shim.socket.read().unwrap(), Message::text(ping));
    shim.socket.send(Message::Ping("payload".into())).unwrap();
    assert_eq!(shim.socket.read().unwrap(), Message::Pong("payload".into()));
    shim.socket.close(None).unwrap();
    assert!(matches!(shim.socket.read().unwrap(), Message::Close(_)), "a close is answered");
}

#[test]
fn a_session_without_nickname_is_taken_and_shown_with_one() {
    // marshal 0.9 dropped the statement, so that shims from 0.12 on could do nothing; 0.9's shims need the nickname.
    let place = Place::new();
    let daemon = place.start();
    let mut shim = daemon.connect();
    let mut watch = Watch::start(&daemon, "Session");
    shim.publish_item(json!({"id": "0123456789", "pid": 7, "cwd": "/w/proj", "connectedAt": 1, "clientId": "forged"}));
    watch.until("session", |rows| rows.contains_key("0123456789"));
    let row = &watch.rows["0123456789"];
    assert_eq!(row["nickname"], "proj@01234567");
    let client = row["clientId"].as_str().unwrap();
    assert!(client != "forged" && client.len() == 36, "the daemon names the connection: {client}");
}

#[test]
fn two_shims_of_one_nickname_are_told_apart_and_keep_their_names_over_a_reconnect() {
    let place = Place::new();
    let daemon = place.start();
    let mut watch = Watch::start(&daemon, "Session");
    let mut first = daemon.connect();
    first.publish("1", "same", "/w/a");
    watch.until("first", |rows| rows.contains_key("1"));
    let mut second = daemon.connect();
    second.publish("2", "same", "/w/a");
    watch.until("second", |rows| rows.contains_key("2"));
    assert_eq!((&watch.rows["1"]["nickname"], &watch.rows["2"]["nickname"]), (&json!("same"), &json!("same-2")));
    let old_client = watch.rows["2"]["clientId"].clone();
    drop(second);
    let mut second = daemon.connect();
    second.publish("2", "same", "/w/a");
    watch.until("second again", |rows| rows["2"]["clientId"] != old_client);
    assert_eq!(watch.rows["2"]["nickname"], "same-2");
}

/// A shim is told the same as a program at the door for HTTP.
#[test]
fn a_shim_is_told_whether_an_older_message_was_replaced() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("bbb-1", "/w/beta");
    let mut shim = daemon.connect();
    shim.publish("ccc-1", "gamma", "/w/gamma");
    let mut send = |more: Value| {
        let mut command = json!({"toSessionId": "bbb-1", "body": "text"});
        command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        shim.command("SendMessage", command)["response"].clone()
    };
    let old = send(json!({}));
    assert!(old.get("supersedes").is_none(), "{old}");
    let new = send(json!({"supersedes": old["messageId"], "clientMessageId": "k"}));
    let told = &new["supersedes"];
    assert_eq!((&told["messageId"], &told["replaced"], &told["of"]), (&old["messageId"], &json!(1), &json!(1)));
    assert_eq!(
        (&told["deliveries"][0]["state"], &told["deliveries"][0]["by"]),
        (&json!("superseded"), &new["messageId"])
    );
    let body = json!({"asSession": "ccc-1", "to": "bbb-1", "body": "text", "supersedes": old["messageId"], "clientMessageId": "k"});
    assert_eq!(daemon.post_json("/v1/messages", &body).json()["supersedes"], *told);
}

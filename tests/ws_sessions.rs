//! How sessions come, stay and go by WebSocket, over real sockets.
#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Instant;
use support::{DEADLINE, Daemon, Place, Shim, Watch};
use tungstenite::Message;

/// Asks again until the answer is as wanted: for what no frame tells of.
fn until(what: &str, wanted: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !wanted() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

fn clients(daemon: &Daemon) -> u64 {
    daemon.get("/v1/status").json()["clients"].as_u64().unwrap()
}

fn shim(daemon: &Daemon, id: &str, nickname: &str) -> Shim {
    let mut shim = daemon.connect();
    shim.publish(id, nickname, "/w/proj");
    // An answer to a later command says that the statement has been taken.
    assert!(shim.command("SetSessionCurrentTask", json!({"id": id}))["response"].is_null());
    shim
}

/// The pushes that came before the answer to a command that is given now.
fn pushes(shim: &mut Shim) -> Vec<Value> {
    shim.command("Barrier", json!({}));
    shim.pending.iter().filter(|frame| frame["data"]["commandId"] == "NotifyChannel").cloned().collect()
}

#[test]
fn a_reconnect_within_the_grace_keeps_id_nickname_rooms_and_unread_mail() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("sender", "/w/x");
    let mut first = shim(&daemon, "s", "name");
    assert_eq!(first.command("JoinRoom", json!({"name": "Design"}))["response"]["created"], true);
    daemon.send("sender", "s", "while connected");
    assert_eq!(first.push()["meta"]["body"], "while connected");
    drop(first);
    until("reconnecting", || daemon.sessions()["s"]["connection"] == "reconnecting");
    daemon.send("sender", "s", "while away");
    let _second = shim(&daemon, "s", "name");
    let row = &daemon.sessions()["s"];
    assert_eq!((&row["connection"], &row["nickname"]), (&json!("connected"), &json!("name")));
    assert_eq!((&row["unread"], &row["connectedAt"]), (&json!(2), &json!(1)));
    assert!(row["rooms"].as_array().unwrap().contains(&json!("design")), "{row}");
}

#[test]
fn a_session_whose_client_is_gone_reconnects_or_goes_and_one_that_was_taken_over_stays() {
    let place = Place::new();
    let daemon = place.start();
    let mut watch = Watch::start(&daemon, "Session");
    let gone = shim(&daemon, "gone", "gone");
    let old = shim(&daemon, "moved", "moved");
    let mut new = shim(&daemon, "moved", "moved");
    watch.until("both", |rows| rows.len() == 2);
    drop((gone, old));
    until("their ends", || clients(&daemon) == 2);
    assert_eq!(daemon.sessions()["gone"]["connection"], "reconnecting");
    assert_eq!(daemon.sessions()["moved"]["connection"], "connected");
    let begun = Instant::now();
    watch.until("its end", |rows| !rows.contains_key("gone"));
    assert!(begun.elapsed().as_secs() >= 8, "it was granted time to come back");
    assert_eq!(daemon.sessions()["moved"]["connection"], "connected");
    daemon.start_session("sender", "/w/x");
    daemon.send("sender", "moved", "still there");
    assert_eq!(new.push()["meta"]["body"], "still there");
    // marshal 0.9 fault 6: the memberships of a swept session stayed for ever.
    let members = Watch::start(&daemon, "RoomMember");
    assert!(members.rows.values().all(|row| row["sessionId"] != "gone"));
}

#[test]
fn a_broadcast_is_pushed_to_all_members_but_the_one_who_sent_it() {
    let place = Place::new();
    let daemon = place.start();
    let mut shims: Vec<Shim> =
        (0..3).map(|number| shim(&daemon, &format!("s{number}"), &format!("n{number}"))).collect();
    for shim in &mut shims {
        shim.command("JoinRoom", json!({"name": "Design Chat"}));
    }
    let answer = shims[0].command("BroadcastMessage", json!({"toRoomId": "design-chat", "body": "hello"}));
    assert_eq!(answer["response"]["total"], 2);
    assert!(answer["response"]["delivered"].as_array().unwrap().iter().all(|to| to["deliveredLive"] == true));
    for shim in &mut shims[1..] {
        let push = shim.push();
        assert!(!push["tx"].as_str().unwrap().is_empty(), "shims drop a push without tx");
        assert_eq!(push["content"], "marshal: new message from 'n0' to room 'Design Chat': hello");
        assert_eq!((&push["meta"]["to_room"], &push["meta"]["from_nick"]), (&json!("design-chat"), &json!("n0")));
    }
    // marshal 0.9 fault 2
    assert_eq!(pushes(&mut shims[0]), Vec::<Value>::new());
    let inbox = shims[0].command("ReadMessages", json!({"inbox": true, "unread": true}));
    assert_eq!(inbox["response"]["totalMatched"], 0);
}

#[test]
fn a_client_takes_back_its_own_session_and_nobody_elses() {
    let place = Place::new();
    let daemon = place.start();
    let mut watch = Watch::start(&daemon, "Session");
    let (mut mine, mut other) = (shim(&daemon, "mine", "mine"), shim(&daemon, "other", "other"));
    let del = |id: &str| json!({"item": {"id": id}, "changeType": "DEL", "itemType": "Session"});
    watch.until("both", |rows| rows.len() == 2);
    other.send("ws:m:event", del("mine"));
    // Answered after the event was applied.
    other.command("SetSessionCurrentTask", json!({"id": "other", "currentTask": "x"}));
    assert!(daemon.sessions().contains_key("mine"));
    mine.send("ws:m:event", del("mine"));
    watch.until("its end", |rows| rows.len() == 1 && rows.values().all(|row| row["currentTask"] == "x"));
}

#[test]
fn a_hook_and_a_shim_of_one_id_are_one_row_and_its_mail_is_given_once() {
    // marshal 0.9 fault 19: two rows, every message twice, and the hook wiped what the shim had said.
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("sender", "/w/x");
    let mut shim = shim(&daemon, "both", "both");
    shim.command("SetSessionGitBranch", json!({"id": "both", "gitBranch": "main"}));
    daemon.start_session("both", "/w/proj");
    let sessions = daemon.sessions();
    assert_eq!(sessions.keys().collect::<Vec<_>>(), ["both", "sender"]);
    assert_eq!(
        (&sessions["both"]["gitBranch"], &sessions["both"]["connection"]),
        (&json!("main"), &json!("connected"))
    );

    daemon.send("sender", "both", "first");
    assert_eq!(pushes(&mut shim), Vec::<Value>::new(), "the hook will give it");
    let mut reads = Watch::start(&daemon, "MessageRead");
    assert!(daemon.prompt("both").text().contains("first"));
    daemon.until_handed("both", 1);
    assert_eq!(daemon.prompt("both").text(), "");
    reads.until("receipt", |rows| rows.len() == 1);

    shim.command("SetSessionChannelsEnabled", json!({"id": "both", "channelsEnabled": true}));
    daemon.send("sender", "both", "second");
    assert_eq!(shim.push()["meta"]["body"], "second");
    // The client answers the ping that follows the push when it looks at its socket again, as a shim does all the time.
    shim.command("SetSessionLastTool", json!({"id": "both", "lastTool": "x"}));
    reads.until("receipt of the push", |rows| rows.len() == 2);
    assert_eq!(daemon.prompt("both").text(), "", "what was pushed to the model is not given again");
}

fn speak<S: std::io::Read + std::io::Write>(stream: S, to: SocketAddr) {
    let (mut socket, _) = tungstenite::client(format!("ws://{to}/myko"), stream).unwrap();
    let ping = r#"{"event":"ws:m:ping","data":{}}"#;
    socket.send(Message::text(ping)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text(ping));
}

#[test]
fn every_door_serves_websocket() {
    let place = Place::new();
    let daemon = place.start();
    for door in [daemon.hooks, daemon.websocket] {
        let stream = std::net::TcpStream::connect(door).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        speak(stream, door);
    }
    let stream = UnixStream::connect(&daemon.socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    speak(stream, daemon.hooks);
}

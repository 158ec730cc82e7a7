//! Clients that are too fast, and clients that are too slow.
#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use serde_json::{Value, json};
use support::{Place, Shim};
use tungstenite::Message;

fn shim(daemon: &support::Daemon, id: &str) -> Shim {
    let mut shim = daemon.connect();
    shim.publish(id, id, "/w/proj");
    assert!(shim.command("SetSessionCurrentTask", json!({"id": id}))["response"].is_null());
    shim
}

/// Sends all frames while another thread reads as many answers.
fn pipeline(shim: &mut Shim, frames: Vec<String>) -> Vec<Value> {
    let count = frames.len();
    let writer = shim.socket.get_ref().try_clone().unwrap();
    let sender = std::thread::Builder::new().name("sender".to_owned());
    let sender = sender.spawn(move || {
        let mut socket = tungstenite::WebSocket::from_raw_socket(writer, tungstenite::protocol::Role::Client, None);
        for frame in frames {
            // Gathered: the faster the better.
            socket.write(Message::text(frame)).unwrap();
        }
        socket.flush().unwrap();
    });
    let sender = sender.unwrap();
    let mut answers = Vec::new();
    while answers.len() < count {
        match shim.socket.read() {
            Ok(Message::Text(text)) => {
                let frame: Value = serde_json::from_str(text.as_str()).unwrap();
                if frame["event"] != "ws:m:query-response" {
                    answers.push(frame);
                }
            }
            Ok(_) => {}
            Err(error) => panic!("{error} after {} of {count} answers", answers.len()),
        }
    }
    sender.join().unwrap();
    answers
}

fn command(number: usize, id: &str, mut command: Value) -> String {
    command["tx"] = number.to_string().into();
    json!({"event": "ws:m:command", "data": {"command": command, "commandId": id}}).to_string()
}

#[test]
fn thousands_of_pipelined_commands_are_all_answered_in_order() {
    let place = Place::new();
    let daemon = place.start();
    let mut shim = shim(&daemon, "s");
    let kinds: [fn(usize) -> String; 4] = [
        // Answered after a sync, at once, by the reader thread, and with much to write.
        |number| command(number, "SetSessionCurrentTask", json!({"id": "s", "currentTask": number.to_string()})),
        |number| command(number, "SetSessionLastActivityAt", json!({"id": "s", "lastActivityAt": number})),
        |number| command(number, "Unknown", json!({})),
        |number| command(number, "ReadMessages", json!({"limit": 10})),
    ];
    for number in 0..10 {
        let body = format!("{number} {}", "x".repeat(1_000));
        daemon.post_json("/v1/messages", &json!({"human": "h", "to": "s", "body": body}));
        shim.push();
    }
    // It watches what it does, as shims do.
    shim.query("Session");
    for kind in kinds {
        let answers = pipeline(&mut shim, (0..2_000).map(kind).collect());
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(answer["data"]["tx"], number.to_string());
        }
    }
}

#[test]
fn a_client_that_pings_without_pause_gets_every_echo() {
    let place = Place::new();
    let daemon = place.start();
    let mut shim = shim(&daemon, "s");
    let ping = |number: usize| json!({"event": "ws:m:ping", "data": {"id": number}}).to_string();
    let echoes = pipeline(&mut shim, (0..20_000).map(ping).collect());
    assert!(echoes.iter().enumerate().all(|(number, echo)| echo["data"]["id"] == number));
}

#[test]
fn a_client_that_never_reads_is_disconnected_and_the_others_get_everything() {
    let place = Place::new();
    let daemon = place.start();
    let mut slow = shim(&daemon, "slow");
    let mut sender = shim(&daemon, "sender");
    let mut reader = shim(&daemon, "reader");
    let live = |answer: &Value, id: &str| {
        let delivered = answer["response"]["delivered"].as_array().unwrap();
        delivered.iter().find(|to| to["sessionId"] == id).unwrap()["deliveredLive"] == true
    };
    let filler = "x".repeat(60_000);
    let mut sent = 0;
    loop {
        let body = format!("{sent} {filler}");
        let answer = sender.command("BroadcastMessage", json!({"toRoomId": "everyone", "body": body}));
        assert_eq!(reader.push()["meta"]["body"], body);
        assert!(live(&answer, "reader"));
        sent += 1;
        if !live(&answer, "slow") {
            break;
        }
        assert!(sent < 5_000, "nobody notices");
    }
    assert!(sent > 10, "it was given a chance");
    while slow.socket.read().is_ok() {}
    let row = &daemon.sessions()["slow"];
    assert_eq!((&row["connection"], &row["unread"]), (&json!("reconnecting"), &json!(sent)), "nothing durable is lost");
}

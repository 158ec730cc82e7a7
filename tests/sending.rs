//! Sending well, by the real binary: names for requests, so that none is done twice; several recipients; what a sender can
//! see and is told of what it sent. Numbers such as M19 are rows of the checklist of what claudemesh's daemon can do; M22
//! and M24 are the roster's (`src/roster/tests/delivery.rs`), as is what needs a clock that a test moves.

#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};
use support::events::{Event, Events};
use support::{Answer, Daemon, Place, Watch, post};

fn two(place: &Place) -> Daemon {
    let daemon = place.start();
    daemon.start_session("aaa-1", "/w/alpha");
    daemon.start_session("bbb-1", "/w/beta");
    daemon
}

fn mesh_send(daemon: &Daemon, key: &str, message: &str, more: Value) -> Answer {
    let mut body = json!({"asSession": "aaa-1", "to": "bbb-1", "message": message, "client_message_id": key});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    daemon.post_json("/v1/send", &body)
}

fn messages(daemon: &Daemon) -> Vec<Value> {
    daemon.get("/v1/messages?limit=200").json()["messages"].as_array().unwrap().clone()
}

/// The id of the message with this text, which is the only one.
fn id_of(daemon: &Daemon, text: &str) -> String {
    let all = messages(daemon);
    let mut found = all.iter().filter(|message| message["body"] == text);
    let id = found.next().unwrap()["messageId"].as_str().unwrap().to_owned();
    assert!(found.next().is_none(), "{text} is there once");
    id
}

fn ack(daemon: &Daemon, session: &str, message: &str) {
    let answer = daemon.post_json("/v1/messages/ack", &json!({"asSession": session, "messageIds": [message]}));
    assert_eq!(answer.json()["newlyAcked"], 1, "{answer:?}");
}

/// The next event that tells that a message got into a state.
fn until_state(events: &mut Events, message: &str, state: &str) -> Value {
    let fits = |event: &Event| {
        let data = &event.data;
        event.name == "delivery" && data["messageId"] == message && data["delivery"]["state"] == state
    };
    std::iter::from_fn(|| events.try_next()).find(fits).unwrap().data
}

/// M19, in the shape of claudemesh's daemon: no row, and five states of one, each with the same and with another content.
#[test]
fn the_same_request_is_done_once_and_says_how_far_it_is() {
    let place = Place::new();
    let daemon = two(&place);
    let mut events = Events::subscribe(&daemon.socket, &[]);
    let none = json!({});
    let states = ["pending", "inflight", "done", "dead", "aborted"];
    for state in states {
        let more = if state == "dead" { json!({"expiresIn": 1}) } else { json!({"meta": {"b": [1, {}], "a": state}}) };
        let first = mesh_send(&daemon, state, state, more.clone());
        assert_eq!((first.status, first.json()), (202, json!({"client_message_id": state, "status": "queued"})));
        let id = id_of(&daemon, state);
        match state {
            "inflight" => {
                daemon.prompt("bbb-1");
                until_state(&mut events, &id, "handed");
            }
            "done" => ack(&daemon, "bbb-1", &id),
            "dead" => drop(until_state(&mut events, &id, "expired")),
            "aborted" => {
                let body = json!({"asSession": "aaa-1", "to": "bbb-1", "body": "instead", "supersedes": id});
                assert_eq!(daemon.post_json("/v1/messages", &body).status, 201);
            }
            _ => {}
        }
        let rows = messages(&daemon).len();
        let (same, other) =
            (mesh_send(&daemon, state, state, more), mesh_send(&daemon, state, "another", none.clone()));
        let (status, expected) = match state {
            "pending" => (202, json!({"client_message_id": state, "status": "queued"})),
            "inflight" => (202, json!({"client_message_id": state, "status": "inflight"})),
            "done" => (200, json!({"client_message_id": state, "broker_message_id": id, "duplicate": true})),
            _ => (409, Value::Null),
        };
        assert_eq!(same.status, status, "{state}: {same:?}");
        if status == 409 {
            conflict(&same, &format!("outbox_{state}_fingerprint_match"), &id);
        } else {
            assert_eq!(same.json(), expected);
        }
        conflict(&other, &format!("outbox_{state}_fingerprint_mismatch"), &id);
        assert_eq!(messages(&daemon).len(), rows, "{state}: nothing was stored by that");
        // The outbox says the same.
        let outbox = daemon.get("/v1/outbox?session=aaa-1&limit=200").json();
        let row =
            outbox["messages"].as_array().unwrap().iter().find(|row| row["messageId"] == id.as_str()).unwrap().clone();
        assert_eq!((&row["status"], &row["clientMessageId"]), (&json!(state), &json!(state)));
        assert_eq!(row["attempts"], u32::from(state == "inflight"), "{row}");
    }
    // Another content in one field alone is another request.
    let answer = mesh_send(&daemon, "pending", "pending", json!({"meta": {"a": "pending", "b": [1, {}]}}));
    assert_eq!(answer.status, 202, "the order of a map's members means nothing: {answer:?}");
    assert_eq!(mesh_send(&daemon, "pending", "pending", json!({"priority": "now"})).status, 409);
    assert_eq!(mesh_send(&daemon, "x", "m", json!({"priority": "soon"})).status, 400);
    // Whoever gives no name gets one.
    let answer = daemon.post_json("/v1/send", &json!({"asSession": "aaa-1", "to": "bbb-1", "message": "unnamed"}));
    let name = answer.json()["client_message_id"].as_str().unwrap().to_owned();
    assert_eq!(mesh_send(&daemon, &name, "unnamed", none).json()["status"], "queued");
    id_of(&daemon, "unnamed");
}

fn conflict(answer: &Answer, conflict: &str, id: &str) {
    let body = answer.json();
    assert_eq!((answer.status, &body["error"]), (409, &json!("idempotency_key_reused")), "{answer:?}");
    assert_eq!((&body["conflict"], &body["broker_message_id"]), (&json!(conflict), &json!(id)));
    let prefix = body["daemon_fingerprint_prefix"].as_str().unwrap();
    assert!(prefix.len() == 16 && prefix.bytes().all(|byte| byte.is_ascii_hexdigit()), "{prefix}");
}

/// M19: fifty at once.
#[test]
fn fifty_identical_requests_at_once_store_one_message() {
    let place = Place::new();
    let daemon = two(&place);
    let address = daemon.hooks;
    let body = json!({"asSession": "aaa-1", "to": ["bbb-1", "human:al"], "body": "once"}).to_string();
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "fifty")];
    let threads: Vec<_> = (0..50)
        .map(|number| {
            let body = body.clone();
            let name = format!("sender-{number}");
            let send = move || post(address, "/v1/messages", &headers, body.as_bytes());
            std::thread::Builder::new().name(name).spawn(send).unwrap()
        })
        .collect();
    let answers: Vec<Answer> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let repeats = answers.iter().filter(|answer| answer.status == 200 && answer.json()["duplicate"] == true).count();
    assert_eq!((created, repeats), (1, 49));
    let ids: std::collections::BTreeSet<String> =
        answers.iter().map(|answer| answer.json()["messageId"].to_string()).collect();
    assert_eq!((ids.len(), messages(&daemon).len()), (1, 2));
}

#[test]
fn a_repeat_in_our_own_shape_tells_the_same_message_as_it_stands_now() {
    let place = Place::new();
    let daemon = two(&place);
    let body = |text: &str| json!({"asSession": "aaa-1", "to": "bbb-1", "body": text, "clientMessageId": "k"});
    let first = daemon.post_json("/v1/messages", &body("m"));
    let id = first.json()["messageId"].as_str().unwrap().to_owned();
    assert_eq!((first.status, &first.json()["clientMessageId"]), (201, &json!("k")));
    assert_eq!(first.json()["deliveries"][0]["reason"], "between_turns");
    assert!(first.json().get("duplicate").is_none());
    ack(&daemon, "bbb-1", &id);
    let again = daemon.post_json("/v1/messages", &body("m"));
    assert_eq!((again.status, &again.json()["messageId"]), (200, &json!(id)));
    assert_eq!((&again.json()["duplicate"], &again.json()["deliveries"][0]["state"]), (&json!(true), &json!("read")));
    let other = daemon.post_json("/v1/messages", &body("other"));
    assert_eq!((other.status, &other.json()["error"]["code"]), (409, &json!("idempotency_key_reused")));
    // The body's name wins over the header's.
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "another")];
    assert_eq!(post(daemon.hooks, "/v1/messages", &headers, body("m").to_string().as_bytes()).status, 200);
    // Over WebSocket it is the same name, and without one nothing is as it was not in 0.9.
    let mut shim = daemon.connect();
    shim.publish("shim-1", "gamma", "/w/gamma");
    let command = json!({"toSessionId": "bbb-1", "body": "w", "clientMessageId": "k", "priority": "low"});
    let sent = shim.command("SendMessage", command.clone());
    let again = shim.command("SendMessage", command);
    assert_eq!((&sent["response"]["duplicate"], &again["response"]["duplicate"]), (&Value::Null, &json!(true)));
    assert_eq!(sent["response"]["messageId"], again["response"]["messageId"]);
    let other = shim.command("SendMessage", json!({"toSessionId": "bbb-1", "body": "v", "clientMessageId": "k"}));
    assert_eq!(other["code"], "idempotency_key_reused");
    let wrong = shim.command("BroadcastMessage", json!({"toRoomId": "everyone", "body": "v", "priority": "soon"}));
    assert_eq!(wrong["code"], "invalid_request");
}

/// M20: whatever was accepted arrives once, although the daemon is killed as soon as it has said so, and again when all of
/// it is on its way.
#[test]
fn what_was_accepted_arrives_once_whenever_the_daemon_is_killed() {
    let place = Place::new();
    let daemon = two(&place);
    for number in 0..15 {
        assert_eq!(mesh_send(&daemon, &format!("k{number}"), &format!("text {number}."), json!({})).status, 202);
    }
    daemon.kill();
    let daemon = place.start();
    // A sender that has not heard the answer asks again.
    assert_eq!(mesh_send(&daemon, "k14", "text 14.", json!({})).json()["status"], "queued");
    let mut events = Events::subscribe(&daemon.socket, &[]);
    let shown = daemon.prompt("bbb-1");
    for number in 0..15 {
        assert_eq!(shown.text().matches(&format!("text {number}.")).count(), 1);
    }
    let last = id_of(&daemon, "text 14.");
    until_state(&mut events, &last, "handed");
    assert_eq!(mesh_send(&daemon, "k14", "text 14.", json!({})).json()["status"], "inflight");
    daemon.kill();
    let daemon = place.start();
    let mut reads = Watch::start(&daemon, "MessageRead");
    assert_eq!(daemon.prompt("bbb-1").text(), "", "it has them all before it");
    reads.until("receipts", |rows| rows.len() == 15);
    assert_eq!(mesh_send(&daemon, "k14", "text 14.", json!({})).status, 200);
    assert_eq!(daemon.stop(), Some(0));
}

/// M21: what nobody read in time is dead, its sender hears so, and has it sent once more to the one that it was for.
#[test]
fn what_is_dead_is_sent_again_to_the_one_that_it_was_for() {
    let place = Place::new();
    let daemon = two(&place);
    let mut events = Events::subscribe(&daemon.socket, &[]);
    mesh_send(&daemon, "k", "text", json!({"expiresIn": 1}));
    let id = id_of(&daemon, "text");
    // The receiver is away, and another one has its name by then.
    daemon.end_session("bbb-1");
    until_state(&mut events, &id, "undeliverable");
    let inbox = daemon.get("/v1/inbox?session=aaa-1").json();
    assert!(inbox["messages"][0]["body"].as_str().unwrap().contains("ended and did not come back"), "{inbox}");
    daemon.start_session("bbb-2", "/w/beta");
    let requeue = |id: &str| daemon.post_json("/v1/outbox/requeue", &json!({"asSession": "aaa-1", "messageId": id}));
    let again = requeue(&id);
    let new = again.json()["messageId"].as_str().unwrap().to_owned();
    assert_eq!((again.status, &again.json()["to"]), (201, &json!("bbb-1")), "{again:?}");
    assert_eq!(again.json()["deliveries"][0]["reason"], "ended");
    let old = daemon.get(&format!("/v1/messages/{id}")).json();
    let delivery = &old["deliveries"][0];
    assert_eq!((&delivery["state"], &delivery["by"]), (&json!("superseded"), &json!(new)));
    assert_eq!(requeue(&id).status, 409);
    assert_eq!(requeue("none").status, 404);
    assert!(!daemon.prompt("bbb-2").text().contains("text\n"));
}

#[test]
fn what_is_sent_again_reaches_its_receiver_under_a_new_id() {
    let place = Place::new();
    let daemon = two(&place);
    let id = daemon.send("aaa-1", "bbb-1", "text");
    let again = daemon.post_json("/v1/outbox/requeue", &json!({"asSession": "aaa-1", "messageId": id}));
    let shown = daemon.prompt("bbb-1");
    let new = again.json()["messageId"].as_str().unwrap().to_owned();
    assert!(shown.text().contains(&format!("(message {new}")) && !shown.text().contains(&format!("(message {id}")));
    assert_eq!(shown.text().matches("text\n").count(), 1);
}

/// M23: names, whole ids, beginnings, groups, all.
#[test]
fn each_address_reaches_those_that_it_means_and_a_wrong_one_nobody() {
    let place = Place::new();
    let daemon = place.start();
    let ids = ["aaa-1", "bbb-1", "bbb-2", "ccc-1"];
    for (number, id) in ids.into_iter().enumerate() {
        let groups = if number > 1 { json!(["dev/web"]) } else { json!([]) };
        let body = json!({"token": format!("{number:064x}"), "session_id": id, "display_name": format!("name-{number}"),
            "pid": std::process::id(), "cwd": "/w", "groups": groups});
        assert_eq!(daemon.post_json("/v1/sessions/register", &body).status, 200);
    }
    let all = ["bbb-1", "bbb-2", "ccc-1"];
    let table: [(&str, &[&str]); 9] = [
        ("name-1", &["bbb-1"]),
        ("bbb-2", &["bbb-2"]),
        ("ccc", &["ccc-1"]),
        ("@dev/web", &["bbb-2", "ccc-1"]),
        ("@dev", &["bbb-2", "ccc-1"]),
        ("@all", &all),
        ("*", &all),
        ("@everyone", &all),
        // Itself, if it says so.
        ("aaa-1", &["aaa-1"]),
    ];
    let mut before = daemon.sessions();
    for (to, expected) in table {
        let body = json!({"asSession": "aaa-1", "to": to, "message": "m"});
        assert_eq!(daemon.post_json("/v1/send", &body).status, 202, "{to}");
        let after = daemon.sessions();
        let more = |id: &&&str| after[**id]["unread"].as_u64().unwrap() > before[**id]["unread"].as_u64().unwrap();
        let got: Vec<&str> = ids.iter().filter(more).copied().collect();
        assert_eq!(got, expected, "{to}");
        before = after;
    }
    let twice = json!({"asSession": "aaa-1", "to": ["@everyone", "ccc-1", "@dev/web"], "body": "m"});
    let told = daemon.post_json("/v1/messages", &twice).json();
    let expected = json!([{"roomId": "group:dev/web", "name": "group:dev/web", "messageId": told["messageId"]},
        {"sessionId": "ccc-1", "nickname": "name-3", "messageId": told["messageId"]}]);
    assert_eq!((&told["covered"], told["recipients"].as_array().map(Vec::len)), (&expected, Some(3)));
    let body = json!({"asSession": "aaa-1", "to": ["@dev/web", "*"], "body": "m"});
    let told = daemon.post_json("/v1/messages", &body).json();
    assert_eq!(told["covered"], told["messages"][1]["covered"]);
    assert_eq!(told["covered"][1]["messageId"], told["messages"][0]["messageId"], "{told}");
    let rows = messages(&daemon).len();
    for (to, status, candidate) in [("bbb", 409, "bbb-1 (name-1, /w)"), ("nobody", 404, ""), ("@dev/we", 404, "")] {
        for to in [json!(to), json!(["ccc-1", to])] {
            let answer = daemon.post_json("/v1/messages", &json!({"asSession": "aaa-1", "to": to, "body": "m"}));
            assert_eq!(answer.status, status, "{answer:?}");
            let candidates = answer.json()["error"]["candidates"].clone();
            assert!(candidate.is_empty() || candidates[0] == candidate, "{candidates}");
        }
    }
    assert_eq!(messages(&daemon).len(), rows, "nothing was stored");
}

#[test]
fn a_sender_that_watches_hears_each_step_and_others_do_not() {
    let place = Place::new();
    let daemon = two(&place);
    let mut all = Events::subscribe(&daemon.socket, &[]);
    let (mut tracking, mut plain) = (daemon.connect(), daemon.connect());
    tracking.publish("shim-1", "one", "/w/one");
    plain.publish("shim-2", "two", "/w/two");
    let track = json!({"toSessionId": "bbb-1", "body": "tracked", "track": true});
    let tracked = tracking.command("SendMessage", track)["response"]["messageId"].as_str().unwrap().to_owned();
    plain.command("SendMessage", json!({"toSessionId": "bbb-1", "body": "plain"}));
    daemon.prompt("bbb-1");
    let handed = until_state(&mut all, &tracked, "handed");
    assert_eq!((&handed["delivery"]["path"], &handed["fromSessionId"]), (&json!("prompt"), &json!("shim-1")));
    daemon.prompt("bbb-1");
    let read = until_state(&mut all, &tracked, "read");
    assert_eq!(read["delivery"]["evidence"], "went_on");
    for (state, expected) in [("handed", &handed), ("read", &read)] {
        let frame = tracking.wait_for(state, |frame| frame["event"] == "marshal:delivery");
        assert_eq!(frame["data"], *expected);
    }
    // Nothing but answers came to the other one, by the time that it is answered again.
    plain.command("ReadMessages", json!({}));
    assert!(plain.pending.iter().all(|frame| frame["event"] != "marshal:delivery"), "{:?}", plain.pending);
    let one = daemon.get(&format!("/v1/messages/{tracked}")).json();
    assert_eq!((&one["body"], &one["deliveries"][0]["state"]), (&json!("tracked"), &json!("read")));
    for path in ["/v1/messages/none", "/v1/messages/"] {
        assert_eq!(daemon.get(path).status, 404);
    }
    assert_eq!(daemon.post_json("/v1/messages/none", &json!({})).status, 405);
}

/// A session sees what it sent and what is for it, and of the rest not even that it is there.
#[test]
fn a_message_is_shown_to_those_whom_it_concerns() {
    let place = Place::new();
    let daemon = place.start();
    let tokens: Vec<String> = (1..=3).map(|number| format!("{number:064x}")).collect();
    for (id, token) in ["aaa-1", "bbb-1", "ccc-1"].into_iter().zip(&tokens) {
        let body = json!({"token": token, "session_id": id, "display_name": id, "pid": std::process::id()});
        assert_eq!(daemon.post_json("/v1/sessions/register", &body).status, 200);
    }
    let id = daemon.send("aaa-1", "bbb-1", "for b alone");
    let status = |headers: &[(&str, &str)]| {
        let path = format!("/v1/messages/{id}");
        support::request(daemon.hooks, "GET", &path, headers, b"").status
    };
    let by: Vec<u16> = tokens.iter().map(|token| status(&[("Marshal-Session", token)])).collect();
    assert_eq!((by, status(&[])), (vec![200, 200, 404], 200));
}

/// Runs the command line beside the test.
fn spawn(place: &Place, arguments: &[&str]) -> Child {
    place.command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// How it ended and what it said.
fn ended(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn next_message(events: &mut Events) -> Value {
    std::iter::from_fn(|| events.try_next()).find(|event| event.name == "message").unwrap().data["message"].clone()
}

#[test]
fn the_command_line_waits_until_all_have_read_it() {
    let place = Place::new();
    let daemon = two(&place);
    let mut events = Events::subscribe(&daemon.socket, &[]);
    let child = spawn(&place, &["send", "alpha@aaa-1,beta@bbb-1", "--wait", "read", "well?"]);
    let sent = [next_message(&mut events), next_message(&mut events)];
    for (id, message) in ["aaa-1", "bbb-1"].into_iter().zip(&sent) {
        daemon.prompt(id);
        until_state(&mut events, message["messageId"].as_str().unwrap(), "handed");
        daemon.prompt(id);
    }
    let (code, stdout, stderr) = ended(child);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("(waits for its next prompt)\n"), "{stdout}");
    assert!(stdout.contains("beta@bbb-1: read at ") && stdout.contains(" UTC (it went on with it)\n"), "{stdout}");
    let (code, stdout, _) = ended(spawn(&place, &["history", "--message", sent[1]["messageId"].as_str().unwrap()]));
    assert!(code == Some(0) && stdout.contains("    beta@bbb-1: read at "), "{stdout}");
}

/// The command line beside the test, from when it has said of so many messages that they are stored: with the rest of what it
/// says. It waits itself for no longer than it was told.
fn spawn_until_stored(place: &Place, arguments: &[&str], messages: usize) -> (Child, BufReader<ChildStdout>) {
    let mut child = spawn(place, arguments);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..messages {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with("stored as "), "{line}");
    }
    (child, stdout)
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

#[test]
fn the_command_line_waits_on_over_a_restart_of_the_daemon() {
    let place = Place::new();
    let daemon = two(&place);
    let mut events = Events::subscribe(&daemon.socket, &[]);
    let line = ["send", "alpha@aaa-1,beta@bbb-1", "--wait", "read", "well?"];
    let (child, mut stdout) = spawn_until_stored(&place, &line, 2);
    let sent = [next_message(&mut events), next_message(&mut events)];
    // One has read it before whoever waits looks again, the other one after that.
    signal(&child, "STOP");
    daemon.kill();
    let daemon = place.start();
    ack(&daemon, "aaa-1", sent[0]["messageId"].as_str().unwrap());
    let mut events = Events::subscribe(&daemon.socket, &[]);
    signal(&child, "CONT");
    daemon.prompt("bbb-1");
    until_state(&mut events, sent[1]["messageId"].as_str().unwrap(), "handed");
    daemon.prompt("bbb-1");
    let (mut said, (code, _, stderr)) = (String::new(), ended(child));
    stdout.read_to_string(&mut said).unwrap();
    let told = "marshal: the connection to the daemon is lost: what was sent is stored; trying again.\n\
                marshal: the connection to the daemon is back.\n";
    assert_eq!((code, stderr.as_str()), (Some(0), told), "{said}");
    assert!(said.contains("alpha@aaa-1: read at ") && said.contains("beta@bbb-1: read at "), "{said}");
}

#[test]
fn the_command_line_waits_no_longer_than_it_may_for_a_daemon_that_is_gone() {
    let place = Place::new();
    let daemon = two(&place);
    let begun = std::time::Instant::now();
    let line = ["send", "bbb-1", "--wait", "handed", "--timeout", "2s", "well?"];
    let (child, _stdout) = spawn_until_stored(&place, &line, 1);
    daemon.kill();
    let (code, _, stderr) = ended(child);
    assert_eq!(code, Some(69), "{stderr}");
    assert!(stderr.contains("it was sent, but what has become of it is not known: marshal is not running"), "{stderr}");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(2), "it gave up before its time");
}

#[test]
fn the_outbox_shows_what_has_become_of_it_for_each() {
    let place = Place::new();
    let daemon = two(&place);
    daemon.start_session("ccc-1", "/w/gamma");
    let direct = daemon.send("aaa-1", "bbb-1", "for one");
    let to_room = daemon.send("aaa-1", "@everyone", "for all");
    daemon.send("bbb-1", "aaa-1", "of another");
    ack(&daemon, "bbb-1", &to_room);
    let (code, stdout, stderr) = ended(spawn(&place, &["outbox", "--session", "alpha"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let lines: Vec<Vec<&str>> = stdout.lines().map(|line| line.split("  ").collect()).collect();
    let has = |line: usize, words: &[&str]| {
        let all = words.iter().all(|word| lines[line].iter().any(|cell| cell.trim() == *word));
        assert!(all, "{words:?} in {stdout}");
    };
    // As much of the id is shown as it takes to name the message again.
    let shown = |line: usize| lines[line][1].trim();
    assert!(direct.starts_with(shown(1)) && shown(1).len() < direct.len(), "{stdout}");
    let (_, found, _) = ended(spawn(&place, &["history", "--message", shown(1)]));
    assert!(found.contains("for one") && !found.contains("for all"), "{found}");
    let [direct, to_room] = [shown(1).to_owned(), shown(2).to_owned()];
    has(1, &[&direct, "beta@bbb-1", "for one", "waits for its next prompt"]);
    has(2, &[&to_room, "@everyone: beta@bbb-1", "for all"]);
    assert!(lines[2].last().unwrap().starts_with("read at "), "{stdout}");
    // row 56: two messages have two ids and two texts, though one of them is for two.
    has(3, &["@everyone: gamma@ccc-1", "waits for its next prompt"]);
    assert!(stdout.matches(&to_room).count() == 1 && stdout.matches("for all").count() == 1, "{stdout}");
    assert_eq!(lines.len(), 4, "{stdout}");
    // One a page, and on from there.
    let (_, stdout, stderr) = ended(spawn(&place, &["outbox", "--session", "alpha", "--limit", "1"]));
    assert!(stdout.contains(&to_room) && !stdout.contains(&direct), "{stdout}");
    assert!(stderr.starts_with("marshal: 1 message shown; there may be older ones: add --before "), "{stderr}");
    let cursor = stderr.trim().rsplit(' ').next().unwrap();
    assert!(cursor.len() <= 12, "{cursor}");
    let (_, stdout, stderr) = ended(spawn(&place, &["outbox", "--session", "alpha", "--before", cursor]));
    assert!(stdout.contains(&direct) && !stdout.contains(&to_room) && stderr.is_empty(), "{stdout}{stderr}");
    let (code, stdout, stderr) = ended(spawn(&place, &["outbox"]));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "", "marshal: nothing was sent yet.\n"));
}

#[test]
fn the_command_line_says_what_is_so_when_it_has_waited_long_enough() {
    let place = Place::new();
    let daemon = two(&place);
    let mut events = Events::subscribe(&daemon.socket, &[]);
    let child = spawn(&place, &["send", "bbb-1", "--wait", "read", "--timeout", "3s", "well?"]);
    let message = next_message(&mut events);
    daemon.prompt("bbb-1");
    let (code, _, stderr) = ended(child);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("not read by 1 of 1 after 3 s\n"), "{stderr}");
    assert!(stderr.contains("beta@bbb-1: handed at ") && stderr.contains("by the prompt hook; not known to be read"));
    // For being handed over it need not wait, and of one that will not be read it does not.
    let (code, ..) = ended(spawn(&place, &["send", "human:al", "--wait", "handed", "--timeout", "1", "x"]));
    assert_eq!(code, Some(1));
    let child = spawn(&place, &["send", "human:al", "--wait", "read", "--expires-in", "1s", "late"]);
    let (code, _, stderr) = ended(child);
    assert!(code == Some(1) && stderr.contains("it will not be read: al: not read before it expired at "), "{stderr}");
    // An answer, to the person that asked.
    let beginning = message["messageId"].as_str().unwrap();
    let (code, stdout, stderr) = ended(spawn(&place, &["send", "--as", "bbb-1", "--reply-to", beginning, "it is"]));
    assert!(code == Some(0) && stdout.contains("for tester (waits in that person's inbox"), "{stdout}{stderr}");
    assert_eq!(next_message(&mut events)["toSessionId"], "human:al");
}

#[test]
fn the_command_line_sends_nothing_twice_under_one_name() {
    let place = Place::new();
    let daemon = two(&place);
    let run = |text: &str| ended(spawn(&place, &["send", "--to", "bbb-1", "--key", "k", "--now", text]));
    let (first, again, other) = (run("m"), run("m"), run("other"));
    assert!(first.0 == Some(0) && first.1.starts_with("stored as "), "{first:?}");
    assert!(again.0 == Some(0) && again.1.starts_with("sent before as "), "{again:?}");
    assert!(other.0 == Some(1) && other.2.contains("is the name of something else that you have sent"), "{other:?}");
    assert_eq!(messages(&daemon)[0]["priority"], "now");
    for wrong in [
        &["send", "bbb-1", "--now", "--priority", "low", "m"][..],
        &["send", "bbb-1", "--wait", "told", "m"],
        &["send", "bbb-1", "--timeout", "5", "m"],
        &["send", ",", "m"],
        &["send"],
    ] {
        assert_eq!(ended(spawn(&place, wrong)).0, Some(64), "{wrong:?}");
    }
}

#[test]
fn the_command_line_says_whether_an_older_message_was_replaced() {
    let place = Place::new();
    let daemon = two(&place);
    let (unread, read) = (daemon.send("aaa-1", "bbb-1", "unread"), daemon.send("aaa-1", "bbb-1", "read"));
    let also_read = daemon.send("aaa-1", "bbb-1", "also read");
    [&read, &also_read].iter().for_each(|id| ack(&daemon, "bbb-1", id));
    let send = |old: &str, more: &str| {
        let (code, stdout, stderr) =
            ended(spawn(&place, &["send", "--as", "alpha", "bbb-1", "--supersedes", old, more, "new"]));
        assert_eq!(code, Some(0), "{stderr}");
        stdout
    };
    assert!(send(&unread, "--now").ends_with(&format!("\nreplaced {} for beta@bbb-1\n", &unread[..8])));
    let late = send(&read, "--now");
    assert!(late.contains(&format!("\ndid not replace {}\n  beta@bbb-1 (read at ", &read[..8])), "{late}");
    let sent: Value = serde_json::from_str(&send(&also_read, "--json")).unwrap();
    let told = &sent["supersedes"];
    assert_eq!((&told["messageId"], &told["replaced"], &told["of"]), (&json!(also_read), &json!(0), &json!(1)));
    assert_eq!(told["deliveries"][0]["state"], "read");
    // Another one in the same place would stand beside the first, which is named instead.
    let again = ended(spawn(&place, &["send", "--as", "alpha", "bbb-1", "--supersedes", &also_read, "newer"]));
    let newest = sent["shortId"].as_str().unwrap();
    assert!(again.0 == Some(1) && again.2.contains(&format!("message {newest} has come in the place of")), "{again:?}");
}

/// As users have it: two that answer each other, over the door that asks for credentials.
#[test]
fn a_loop_of_answers_is_stopped_with_a_code_and_a_time() {
    let place = Place::new();
    let daemon = place.start_with(|command| {
        command.env("MARSHAL_SENDS_PER_SECOND", "1000");
    });
    daemon.start_session("aaa-1", "/w/alpha");
    daemon.start_session("bbb-1", "/w/beta");
    let say = |number: usize| {
        let (from, to) = if number.is_multiple_of(2) { ("aaa-1", "bbb-1") } else { ("bbb-1", "aaa-1") };
        daemon.post_json("/v1/messages", &json!({"asSession": from, "to": to, "body": "and you?"}))
    };
    let refused = (0..1000).map(say).find(|answer| answer.status != 201).unwrap();
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!("loop_guard")));
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=600).contains(&wait));
    let human = json!({"human": "al", "to": "aaa-1", "body": "go on"});
    assert_eq!(daemon.post_json("/v1/messages", &human).status, 201);
    assert_eq!(say(0).status, 201);
}

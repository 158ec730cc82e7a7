//! What two real shims of marshal 0.9 said to their daemon, said to ours, and the answers compared by shape.
//!
//! The deliberate differences from what was recorded (the numbers are those of the faults of marshal 0.9):
//! - A second JoinRoom of the same name joins the room that is there, with `created: false` (1).
//! - A sender's own broadcast is not in its own inbox: one message less to read and one less to acknowledge (2).
//! - `changes`, which says everything a second time, is left out of the diffs (21).
//! - How changes are gathered into diffs, and so their number, differs; that they are numbered without a gap and come to
//!   the same rows does not.
//! - Ids made by the daemon, and moments, differ; their types do not.
//! - What stands in the brackets of the refusal to leave an auto-room is not promised.
//! - There may be more members than were recorded (`code`, `toSessionId`, `toRoomName`, `message_id` ...).
#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;
use support::{DEADLINE, Place, Shim};
use tungstenite::Message;

const FIRST_JOINER: &str = "67f9b005-d22a-423d-8f4f-2b17455917d2";
const SECOND_JOINER: &str = "75be1335-01ed-4398-966a-bdc23c7f8bbc";
const READER: &str = "cad2d303-7b93-4f44-af79-056639de04da";
const ACKNOWLEDGER: &str = "4c0c8d92-b14f-410f-afab-114ab4eceedf";
const LEAVER_OF_EVERYONE: &str = "2ccc995d-90ad-46ff-8ee8-86021b6adf6b";

/// Members whose values are the daemon's own or a moment.
const OWN: [&str; 12] = [
    "clientId",
    "messageId",
    "sentAt",
    "sent_at",
    "createdAt",
    "joinedAt",
    "connectedAt",
    "lastActivityAt",
    "lastToolAt",
    "sequence",
    "tx",
    "message_id",
];

#[derive(Debug)]
enum Step {
    Open,
    Said(Value),
    Heard(Value),
}

fn recording() -> Vec<(String, Step)> {
    let log = include_str!("fixtures/marshal-0.9.0/ws-frames.log");
    let steps = log.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let client = words.next().unwrap().to_owned();
        let json = || serde_json::from_str(line.split_once("TEXT fin=1 ").unwrap().1).unwrap();
        match (words.next().unwrap(), words.next()) {
            ("OPEN", _) => Some((client, Step::Open)),
            ("C>S", Some("TEXT")) => Some((client, Step::Said(json()))),
            ("S>C", Some("TEXT")) => Some((client, Step::Heard(json()))),
            _ => None,
        }
    });
    steps.collect()
}

/// What a client has heard.
#[derive(Debug, Default)]
struct Heard {
    answers: BTreeMap<String, Value>,
    pushes: Vec<Value>,
    /// By the query's name: the last sequence and the rows.
    queries: BTreeMap<String, (u64, BTreeMap<String, Value>)>,
}

impl Heard {
    fn hear(&mut self, frame: &Value) {
        let data = &frame["data"];
        let tx = || data["tx"].as_str().unwrap().to_owned();
        match frame["event"].as_str().unwrap() {
            "ws:m:command-response" | "ws:m:command-error" => {
                assert!(self.answers.insert(tx(), frame.clone()).is_none(), "answered twice: {frame}");
            }
            "ws:m:command" => self.pushes.push(data.clone()),
            "ws:m:query-response" => {
                let sequence = data["sequence"].as_u64().unwrap();
                let (last, rows) = self.queries.entry(tx()).or_default();
                assert!(sequence == 0 && rows.is_empty() || sequence == *last + 1, "a gap: {frame}");
                *last = sequence;
                for upsert in data["upserts"].as_array().unwrap() {
                    assert!(upsert["itemType"].is_string());
                    rows.insert(upsert["item"]["id"].as_str().unwrap().to_owned(), upsert["item"].clone());
                }
                data["deletes"].as_array().unwrap().iter().for_each(|id| drop(rows.remove(id.as_str().unwrap())));
                assert_eq!(data["totalCount"], rows.len(), "{frame}");
            }
            other => panic!("{other}"),
        }
    }
}

/// Whether `ours` has everything that `recorded` has: members, types, and values where they are not the daemon's own.
fn fits(place: &str, recorded: &Value, ours: &Value) -> Result<(), String> {
    let differs = || Err(format!("{place}: recorded {recorded}, ours {ours}"));
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) => {
            recorded.iter().filter(|(key, _)| *key != "changes").try_for_each(|(key, value)| match ours.get(key) {
                Some(our) if OWN.contains(&key.as_str()) => {
                    let same = std::mem::discriminant(value) == std::mem::discriminant(our);
                    if same { Ok(()) } else { Err(format!("{place}.{key}: recorded {value}, ours {our}")) }
                }
                Some(our) => fits(&format!("{place}.{key}"), value, our),
                None => Err(format!("{place}.{key} is missing")),
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().try_for_each(|(at, (a, b))| fits(&format!("{place}[{at}]"), a, b))
        }
        _ if recorded == ours => Ok(()),
        _ => differs(),
    }
}

/// The recorded answer as it would be without the faults of marshal 0.9.
fn without_faults(tx: &str, mut answer: Value) -> Value {
    match tx {
        SECOND_JOINER => {
            let response = &mut answer["data"]["response"];
            assert_eq!(
                *response,
                json!({"created": true, "joined": true, "name": "Design Chat", "roomId": "design-chat-2"})
            );
            // marshal 0.9 fault 1
            response["created"] = false.into();
            response["roomId"] = "design-chat".into();
        }
        READER => {
            let response = &mut answer["data"]["response"];
            assert_eq!(response["totalMatched"], 2);
            // marshal 0.9 fault 2
            response["totalMatched"] = 1.into();
            let own = response["messages"].as_array_mut().unwrap().remove(0);
            assert_eq!((&own["fromNick"], &own["toNick"]), (&"beta".into(), &"everyone".into()));
        }
        // marshal 0.9 fault 2
        ACKNOWLEDGER => answer["data"]["response"]["newlyAcked"] = 1.into(),
        LEAVER_OF_EVERYONE => {
            let message = answer["data"]["message"].as_str().unwrap();
            answer["data"]["message"] = message.replace("Auto { source: Everyone }", "Everyone").into();
        }
        _ => {}
    }
    answer
}

/// The recorded rows as they would be without the faults of marshal 0.9.
fn rows_without_faults(rows: &BTreeMap<String, Value>) -> Value {
    let mut fixed = rows.clone();
    // marshal 0.9 fault 1
    fixed.remove("design-chat-2");
    let strays: Vec<String> = fixed.keys().filter(|id| id.starts_with("design-chat-2::")).cloned().collect();
    for stray in strays {
        let mut row = fixed.remove(&stray).unwrap();
        let id = stray.replace("design-chat-2::", "design-chat::");
        row["id"] = id.clone().into();
        row["roomId"] = "design-chat".into();
        fixed.insert(id, row);
    }
    json!(fixed)
}

struct Player {
    shim: Shim,
    heard: Heard,
}

impl Player {
    fn hear_one(&mut self, what: &str) {
        // The server's own pings arrive for ever.
        let end = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < end, "no {what}; heard {:#?}", self.heard);
            match self.shim.socket.read() {
                Ok(Message::Text(text)) => return self.heard.hear(&serde_json::from_str(text.as_str()).unwrap()),
                Ok(_) => {}
                Err(error) => panic!("no {what}: {error}; heard {:#?}", self.heard),
            }
        }
    }

    fn hear_until(&mut self, what: &str, wanted: impl Fn(&Heard) -> bool) {
        while !wanted(&self.heard) {
            self.hear_one(what);
        }
    }

    /// Says a frame, and waits for what it leads to, so that the next one finds what the recorded one found.
    fn say(&mut self, frame: &Value) {
        self.shim.send_text(&frame.to_string());
        let data = &frame["data"];
        match frame["event"].as_str().unwrap() {
            "ws:m:command" => {
                let tx = data["command"]["tx"].as_str().unwrap();
                self.hear_until("answer", |heard| heard.answers.contains_key(tx));
            }
            "ws:m:query" => {
                let tx = data["query"]["tx"].as_str().unwrap();
                self.hear_until("snapshot", |heard| heard.queries.contains_key(tx));
            }
            "ws:m:event" => {
                let id = data["item"]["id"].as_str().unwrap();
                self.hear_until("session", |heard| heard.queries.values().any(|(_, rows)| rows.contains_key(id)));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn the_shims_of_marshal_0_9_get_the_answers_that_they_got_from_their_own_daemon() {
    let recording = recording();
    let place = Place::new();
    let daemon = place.start();
    let mut recorded: BTreeMap<String, Heard> = BTreeMap::new();
    let mut players: BTreeMap<String, Player> = BTreeMap::new();
    for (client, step) in &recording {
        if let Step::Heard(frame) = step {
            recorded.entry(client.clone()).or_default().hear(frame);
        }
    }
    // Names of messages in the recording, and ours.
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (client, step) in &recording {
        match step {
            Step::Open => {
                let player = Player { shim: daemon.connect(), heard: Heard::default() };
                assert!(players.insert(client.clone(), player).is_none());
            }
            Step::Said(frame) => {
                let mut text = frame.to_string();
                names.iter().for_each(|(theirs, ours)| text = text.replace(theirs, ours));
                let player = players.get_mut(client).unwrap();
                player.say(&serde_json::from_str(&text).unwrap());
                let Some(tx) = frame["data"]["command"]["tx"].as_str() else { continue };
                let message =
                    |heard: &Heard| heard.answers[tx]["data"]["response"]["messageId"].as_str().map(str::to_owned);
                if let Some(theirs) = message(&recorded[client]) {
                    names.insert(theirs, message(&player.heard).unwrap());
                }
            }
            Step::Heard(_) => {}
        }
    }
    assert_eq!((names.len(), players.len()), (2, 2));
    for (client, player) in &mut players {
        compare(client, &recorded[client], player);
    }
    assert!(players["c1"].heard.answers.contains_key(FIRST_JOINER));
}

fn compare(client: &str, recorded: &Heard, player: &mut Player) {
    player.hear_until("pushes", |heard| heard.pushes.len() == recorded.pushes.len());
    assert!(!recorded.pushes.is_empty() && recorded.answers.len() >= 8);
    for (theirs, ours) in recorded.pushes.iter().zip(&player.heard.pushes) {
        fits(&format!("{client} push"), theirs, ours).unwrap();
        assert!(!ours["command"]["tx"].as_str().unwrap().is_empty());
    }
    let txs = |heard: &Heard| heard.answers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(txs(recorded), txs(&player.heard));
    for (tx, theirs) in &recorded.answers {
        let ours = &player.heard.answers[tx];
        fits(&format!("{client} answer {tx}"), &without_faults(tx, theirs.clone()), ours).unwrap();
        assert_eq!(ours["data"]["tx"], tx.as_str());
    }
    assert_eq!(recorded.queries.len(), 3);
    for (tx, (_, theirs)) in &recorded.queries {
        let theirs = rows_without_faults(theirs);
        // What the other client did last, and signs of life, may be on their way.
        let same = |heard: &Heard| {
            let ours = json!(heard.queries[tx].1);
            fits("rows", &theirs, &ours).and_then(|()| fits("rows", &json!(keys(&theirs)), &json!(keys(&ours))))
        };
        while let Err(difference) = same(&player.heard) {
            player.hear_one(&format!("frame that mends {client} {difference}"));
        }
    }
}

fn keys(rows: &Value) -> Vec<&String> {
    rows.as_object().unwrap().keys().collect()
}

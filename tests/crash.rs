//! The daemon is killed at any moment, under load, and started again: whatever it answered is there, and no line of its
//! log is broken. `MARSHAL_CRASH_ROUNDS` says how many times; `scripts/crash-loop` does it a thousand times.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking, in its helpers too

mod support;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use support::mortal::{self, Heard, messages_in};
use support::seeded::Random;
use support::{Answer, DEADLINE, Daemon, Place, Shim, hook_body};
use tungstenite::Message;

/// Callers by HTTP; one more comes by WebSocket.
const CALLERS: usize = 3;
/// Rounds on one directory, so that the log stays small enough to be read again after each.
const ROUNDS_PER_PLACE: usize = 10;
/// Who gets all the mail.
const HUB: &str = "hub";

/// Something that a caller knows for certain.
enum Fact {
    Started(String),
    /// The end was asked for; whether it came about is not known.
    Ending(String),
    Ended(String),
    Sent {
        id: String,
        body: String,
    },
    /// Asked for, and perhaps done.
    Acking(String),
    Acked(String),
    Shown(Vec<String>),
}

/// All that the daemon has answered on one directory.
#[derive(Default)]
struct Ledger {
    started: BTreeSet<String>,
    ending: BTreeSet<String>,
    ended: BTreeSet<String>,
    sent: BTreeMap<String, String>,
    acking: BTreeSet<String>,
    acked: BTreeSet<String>,
    shown: BTreeSet<String>,
    /// Last lines without an end, as a kill left them or as the test put them there.
    torn: BTreeSet<Vec<u8>>,
}

impl Ledger {
    fn note(&mut self, fact: Fact) {
        match fact {
            Fact::Started(id) => drop(self.started.insert(id)),
            Fact::Ending(id) => drop(self.ending.insert(id)),
            Fact::Ended(id) => drop(self.ended.insert(id)),
            Fact::Sent { id, body } => drop(self.sent.insert(id, body)),
            Fact::Acking(id) => drop(self.acking.insert(id)),
            Fact::Acked(id) => drop(self.acked.insert(id)),
            Fact::Shown(ids) => self.shown.extend(ids),
        }
    }

    fn living(&self) -> impl Iterator<Item = &String> {
        self.started.difference(&self.ending)
    }

    /// Every answered event is in the log, and no line is broken but those that were torn.
    fn check_log(&mut self, place: &Place) {
        let bytes = std::fs::read(place.log_path()).unwrap();
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let tail = lines.pop().unwrap();
        let mut last: BTreeMap<(String, String), Value> = BTreeMap::new();
        for line in lines.into_iter().filter(|line| !line.is_empty()) {
            let Ok(mut event) = serde_json::from_slice::<Value>(line) else {
                assert!(self.torn.contains(line), "a broken line: {}", String::from_utf8_lossy(line));
                continue;
            };
            let id = event["item"]["id"].as_str().unwrap().to_owned();
            last.insert((event["itemType"].as_str().unwrap().to_owned(), id), event.take());
        }
        if !tail.is_empty() {
            self.torn.insert(tail.to_vec());
        }
        let change = |kind: &str, id: &str| {
            let event = last.get(&(kind.to_owned(), id.to_owned()));
            event.unwrap_or_else(|| panic!("{kind} {id} was answered and is not in the log"))["changeType"].clone()
        };
        self.living().for_each(|id| assert_eq!(change("Session", id), "SET", "{id}"));
        self.ended.iter().for_each(|id| assert_eq!(change("Session", id), "DEL", "{id}"));
        for (id, body) in &self.sent {
            assert_eq!(change("Message", id), "SET", "{id}");
            assert_eq!(&last[&("Message".to_owned(), id.clone())]["item"]["body"], body);
        }
        self.acked.iter().for_each(|id| assert_eq!(change("MessageRead", &format!("{id}::{HUB}")), "SET", "{id}"));
    }

    /// The daemon that was started after the kill shows all of it.
    fn check_roster(&self, daemon: &Daemon) {
        let sessions = daemon.sessions();
        self.living().for_each(|id| assert!(sessions.contains_key(id), "session {id} is lost"));
        self.ended.iter().for_each(|id| assert!(!sessions.contains_key(id), "session {id} is back"));
        let mut shim = daemon.connect();
        let messages = rows(&shim.query("Message").1);
        for (id, body) in &self.sent {
            assert_eq!(&messages.get(id).unwrap_or_else(|| panic!("message {id} is lost"))["body"], body);
        }
        let receipts = rows(&shim.query("MessageRead").1);
        self.acked.iter().for_each(|id| assert!(receipts.contains_key(&format!("{id}::{HUB}")), "receipt {id}"));
    }

    /// Every message has been shown in an answer that arrived, or was acknowledged by its id, or is shown now.
    fn check_mail(&mut self, daemon: &Daemon) {
        loop {
            let shown = message_ids(daemon.prompt(HUB).text());
            if shown.is_empty() {
                break;
            }
            self.shown.extend(shown);
        }
        for id in self.sent.keys() {
            assert!(self.shown.contains(id) || self.acking.contains(id), "message {id} was shown to nobody");
        }
    }
}

fn rows(snapshot: &Value) -> BTreeMap<String, Value> {
    let upserts = snapshot["upserts"].as_array().unwrap().iter();
    upserts.map(|row| (row["item"]["id"].as_str().unwrap().to_owned(), row["item"].clone())).collect()
}

/// The ids of the messages in a hook's answer.
fn message_ids(text: &str) -> Vec<String> {
    messages_in(text).into_iter().map(|(id, _)| id).collect()
}

/// One request; none if the daemon was gone before the whole answer was there.
fn try_post(to: SocketAddr, path: &str, body: &str) -> Option<Answer> {
    let Heard::Answer(answer) = mortal::post(to, path, body) else { return None };
    assert!(answer.status < 300, "{path} {body}: {answer:?}");
    Some(answer)
}

/// Works until the daemon is gone.
fn call(to: SocketAddr, name: &str, facts: &Sender<Fact>) -> Option<()> {
    for number in 0.. {
        let id = format!("{name}-{number}");
        try_post(to, "/hook/session-start?host=h&operator=o", &hook_body(&id, "/w/p"))?;
        facts.send(Fact::Started(id.clone())).ok()?;
        let body = format!("from {id}");
        let answer =
            try_post(to, "/v1/messages", &json!({"asSession": id, "to": HUB, "body": body}).to_string())?.json();
        let message = answer["messageId"].as_str().unwrap().to_owned();
        facts.send(Fact::Sent { id: message.clone(), body }).ok()?;
        if number % 3 == 0 {
            let ack = json!({"asSession": HUB, "messageIds": [message]}).to_string();
            facts.send(Fact::Acking(message.clone())).ok()?;
            try_post(to, "/v1/messages/ack", &ack)?;
            facts.send(Fact::Acked(message)).ok()?;
        }
        if number % 4 == 0 {
            let answer = try_post(to, "/hook/prompt-submit", &hook_body(HUB, ""))?;
            facts.send(Fact::Shown(message_ids(answer.text()))).ok()?;
        }
        if number % 5 == 0 {
            facts.send(Fact::Ending(id.clone())).ok()?;
            try_post(to, "/hook/session-end", &hook_body(&id, ""))?;
            facts.send(Fact::Ended(id)).ok()?;
        }
    }
    None
}

/// Sends by WebSocket until the daemon is gone.
fn speak(mut shim: Shim, name: &str, facts: &Sender<Fact>) -> Option<()> {
    shim.publish(name, name, "/w/shim");
    for number in 0.. {
        let body = format!("from {name} {number}");
        let command = json!({"toSessionId": HUB, "body": body, "asSession": name, "tx": body});
        let frame = json!({"event": "ws:m:command", "data": {"command": command, "commandId": "SendMessage"}});
        shim.socket.send(Message::text(frame.to_string())).ok()?;
        let answer = loop {
            if let Message::Text(text) = shim.socket.read().ok()? {
                let frame: Value = serde_json::from_str(text.as_str()).unwrap();
                if frame["data"]["tx"] == body.as_str() {
                    break frame;
                }
            }
        };
        assert_eq!(answer["event"], "ws:m:command-response", "{answer}");
        let id = answer["data"]["response"]["messageId"].as_str().unwrap().to_owned();
        facts.send(Fact::Sent { id, body }).ok()?;
    }
    None
}

/// Puts a load on the daemon and kills it at some moment.
fn round(daemon: Daemon, name: &str, random: &mut Random, ledger: &mut Ledger) {
    let (facts, noted): (_, Receiver<Fact>) = channel();
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let (to, name, facts) = (daemon.hooks, format!("{name}-{caller}"), facts.clone());
        let work = move || call(to, &name, &facts);
        callers.push(std::thread::Builder::new().spawn(work).unwrap());
    }
    let (shim, shim_name) = (daemon.connect(), format!("{name}-shim"));
    callers.push(std::thread::Builder::new().spawn(move || speak(shim, &shim_name, &facts)).unwrap());
    for _ in 0..1 + random.below(150) {
        let Ok(fact) = noted.recv_timeout(DEADLINE) else {
            panic!("nobody gets an answer: {:#?}", daemon.wait());
        };
        ledger.note(fact);
    }
    // Not right after an answer, but wherever the others are by then.
    for _ in 0..random.below(20_000) {
        std::hint::spin_loop();
    }
    daemon.kill();
    noted.iter().for_each(|fact| ledger.note(fact));
    callers.into_iter().for_each(|caller| assert!(caller.join().unwrap().is_none()));
}

/// Kills a daemon that has just begun to start.
fn kill_while_starting(place: &Place, random: &mut Random) {
    let mut child = place.command().arg("serve").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    if random.below(2) == 0 {
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The beginning of an event without its end, as a power cut leaves it.
fn tear(place: &Place, random: &mut Random, ledger: &mut Ledger) {
    let bytes = std::fs::read(place.log_path()).unwrap();
    if bytes.last().is_none_or(|byte| *byte != b'\n') {
        return;
    }
    let line =
        format!("{{\"item\":{{\"id\":\"torn-é-{}\"}},\"changeType\":\"SET\",\"itemTy", random.next()).into_bytes();
    let part = &line[..1 + random.below(line.len())];
    std::fs::OpenOptions::new().append(true).open(place.log_path()).unwrap().write_all(part).unwrap();
    ledger.torn.insert(part.to_vec());
}

#[test]
fn whatever_was_answered_is_there_after_a_kill_at_any_moment() {
    let rounds = std::env::var("MARSHAL_CRASH_ROUNDS").map_or(50, |rounds| rounds.parse().unwrap());
    let mut random = Random::from_env();
    let mut done = 0;
    while done < rounds {
        let (place, mut ledger) = (Place::new(), Ledger::default());
        let mut daemon = place.start();
        daemon.start_session(HUB, "/w/hub");
        ledger.note(Fact::Started(HUB.to_owned()));
        for _ in 0..ROUNDS_PER_PLACE.min(rounds - done) {
            round(daemon, &format!("r{done}"), &mut random, &mut ledger);
            done += 1;
            ledger.check_log(&place);
            match random.below(4) {
                // marshal 0.9 fault 16
                0 => tear(&place, &mut random, &mut ledger),
                1 => kill_while_starting(&place, &mut random),
                _ => {}
            }
            daemon = place.start();
            ledger.check_roster(&daemon);
        }
        ledger.check_mail(&daemon);
        let (sent, acked) = (ledger.sent.len(), ledger.acked.len());
        eprintln!("{done} kills; here {} sessions, {sent} messages, {acked} receipts", ledger.started.len());
        assert_eq!(daemon.stop(), Some(0));
        ledger.check_log(&place);
    }
}

#[test]
fn a_torn_last_line_costs_itself_and_nothing_else() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("before", "/w/p");
    daemon.kill();
    let whole = std::fs::read(place.log_path()).unwrap();
    let last = whole[..whole.len() - 1].rsplit(|byte| *byte == b'\n').next().unwrap().to_vec();
    // Cut in the last line, at each place: a kill or a power cut may stop a write anywhere.
    for keep in (0..=last.len()).step_by(7) {
        std::fs::write(place.log_path(), [&whole[..], &last[..keep]].concat()).unwrap();
        let daemon = place.start();
        daemon.start_session("after", "/w/p");
        daemon.kill();
        let mut log = String::new();
        std::fs::File::open(place.log_path()).unwrap().read_to_string(&mut log).unwrap();
        let broken: Vec<&str> =
            log.lines().filter(|line| !line.is_empty() && serde_json::from_str::<Value>(line).is_err()).collect();
        // marshal 0.9 fault 16
        assert!(broken.len() <= 1 && broken.iter().all(|line| line.as_bytes() == &last[..keep]), "{keep}: {broken:#?}");
        let daemon = place.start();
        let sessions = daemon.sessions();
        assert!(sessions.contains_key("before") && sessions.contains_key("after"), "{keep}: {sessions:#?}");
        assert_eq!(daemon.get("/v1/status").json()["malformedLines"], broken.len());
    }
}

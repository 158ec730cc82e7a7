//! WebSocket clients of a daemon that may die at any moment: shims, which speak for a session, and watchers, which only
//! listen.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

use crate::clients::{Actor, Crowd, Doors, Gone, ROOMS, acknowledge, take_inbox};
use crate::record::{Call, Event, Outcome, Scribe};
use crate::support::DEADLINE;
use crate::support::seeded::Random;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use tungstenite::{Message, WebSocket};

/// Commands on their way at once.
const BURST_MAX: usize = 8;
/// Messages acknowledged at once.
const ACKS_MAX: usize = 64;

/// One connection.
struct Wire {
    socket: WebSocket<TcpStream>,
    /// What names this connection in the history.
    stream: String,
}

/// The connection is of no use any more.
struct Broken;

impl Wire {
    /// None if nobody listens or the daemon died while it shook hands.
    fn connect(to: SocketAddr, scribe: &Scribe) -> Option<Self> {
        let stream = TcpStream::connect(to).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        let (socket, _) = tungstenite::client(format!("ws://{to}/myko"), stream).ok()?;
        Some(Self { socket, stream: format!("{}#{}", scribe.client, scribe.next()) })
    }

    fn write(&mut self, event: &str, data: &Value) -> Result<(), Broken> {
        let text = json!({"event": event, "data": data}).to_string();
        self.socket.write(Message::text(text)).map_err(|_| Broken)
    }

    fn flush(&mut self) -> Result<(), Broken> {
        self.socket.flush().map_err(|_| Broken)
    }

    fn read(&mut self) -> Result<Value, Broken> {
        loop {
            if let Message::Text(text) = self.socket.read().map_err(|_| Broken)? {
                return Ok(serde_json::from_str(text.as_str()).unwrap());
            }
        }
    }
}

/// A shim with its session.
pub struct ShimClient {
    pub scribe: Scribe,
    pub random: Random,
    pub crowd: Arc<Crowd>,
    session: String,
    wire: Option<Wire>,
    sent: u64,
    unacked: Vec<String>,
}

impl ShimClient {
    pub fn new(scribe: Scribe, random: Random, crowd: Arc<Crowd>) -> Self {
        let session = scribe.client.clone();
        Self { scribe, random, crowd, session, wire: None, sent: 0, unacked: Vec::new() }
    }

    /// Comes back as shims do: states its session, and asks for the mail that it has missed.
    fn come_back(&mut self, doors: Doors) -> Result<(), Gone> {
        self.unacked.clear();
        let Some(mut wire) = Wire::connect(doors.websocket, &self.scribe) else { return Err(Gone) };
        let item = json!({"id": self.session, "nickname": self.session, "pid": 1, "cwd": "/w/shim", "connectedAt": 1,
            "operator": "o", "project": "shims", "host": {"name": "h", "os": "linux", "arch": "x86_64"}});
        self.scribe.invoke(Call::Publish { session: self.session.clone() });
        let event = json!({"item": item, "changeType": "SET", "itemType": "Session", "tx": "t"});
        let told = wire.write("ws:m:event", &event).and_then(|()| wire.flush());
        self.wire = Some(wire).filter(|_| told.is_ok());
        // Its answer, to come after the event on the same connection, shows that the session is known.
        let look = vec![(Call::Look { what: "read".to_owned() }, "ReadMessages", json!({"limit": 1, "inbox": true}))];
        self.burst(look);
        if self.wire.is_some() {
            take_inbox(&self.scribe, doors.hooks, &self.session, 2)?;
        }
        Ok(())
    }

    fn send(&mut self) -> (Call, &'static str, Value) {
        self.sent += 1;
        let (from, body) = (self.session.clone(), format!("{}/{}", self.scribe.client, self.sent));
        let room = match self.random.below(400) {
            0 => Some("everyone"),
            1..12 => Some(*self.random.pick(&ROOMS)),
            _ => None,
        };
        if let Some(room) = room {
            let data = json!({"toRoomId": room, "body": body});
            return (Call::Broadcast { from, room: room.to_owned(), body }, "BroadcastMessage", data);
        }
        let to = self.crowd.pick(&mut self.random);
        let data = json!({"toSessionId": to, "body": body});
        (Call::Send { from, to, body }, "SendMessage", data)
    }

    fn something(&mut self) -> (Call, &'static str, Value) {
        let session = self.session.clone();
        match self.random.below(100) {
            0..3 => {
                let room = (*self.random.pick(&ROOMS)).to_owned();
                let data = json!({"name": room});
                (Call::Join { session, room }, "JoinRoom", data)
            }
            3..5 => {
                let room = (*self.random.pick(&ROOMS)).to_owned();
                let data = json!({"room": room});
                (Call::Leave { session, room }, "LeaveRoom", data)
            }
            5..8 => {
                self.sent += 1;
                let task = format!("task {}", self.sent);
                let data = json!({"id": session, "currentTask": task});
                (Call::Task { session, task }, "SetSessionCurrentTask", data)
            }
            _ => self.send(),
        }
    }

    /// Asks for several things at once and takes the answers, and whatever else comes meanwhile.
    fn burst(&mut self, calls: Vec<(Call, &'static str, Value)>) {
        let mut open = BTreeMap::new();
        let mut broken = self.wire.is_none();
        for (call, command_id, mut command) in calls {
            let op = self.scribe.invoke(call);
            command["tx"] = op.to_string().into();
            open.insert(op, ());
            if let Some(wire) = &mut self.wire {
                let data = json!({"command": command, "commandId": command_id});
                broken |= wire.write("ws:m:command", &data).is_err();
            }
        }
        broken = broken || self.wire.as_mut().is_none_or(|wire| wire.flush().is_err());
        while !broken && !open.is_empty() {
            let Some(Ok(frame)) = self.wire.as_mut().map(Wire::read) else {
                broken = true;
                break;
            };
            let data = &frame["data"];
            let op = data["tx"].as_str().and_then(|tx| tx.parse::<u64>().ok()).filter(|op| open.contains_key(op));
            match (frame["event"].as_str(), op) {
                (Some("ws:m:command-response"), Some(op)) => {
                    open.remove(&op);
                    self.scribe.complete(op, outcome(&data["response"]));
                }
                (Some("ws:m:command-error"), Some(op)) => {
                    open.remove(&op);
                    self.scribe.complete(op, Outcome::Refused(format!("{} {}", data["code"], data["message"])));
                }
                (Some("ws:m:command"), None) if data["commandId"] == "NotifyChannel" => self.pushed(data),
                _ => panic!("{}: an unexpected frame {frame}", self.session),
            }
        }
        if broken {
            self.wire = None;
            open.keys().for_each(|op| self.scribe.complete(*op, Outcome::Unknown));
        }
    }

    fn pushed(&mut self, data: &Value) {
        let meta = &data["command"]["meta"];
        let (id, body) = (meta["message_id"].as_str().unwrap(), meta["body"].as_str().unwrap());
        let stream = self.wire.as_ref().map(|wire| wire.stream.clone()).unwrap_or_default();
        self.scribe.see(&self.session, &stream, id, body);
        self.unacked.push(id.to_owned());
    }
}

fn outcome(response: &Value) -> Outcome {
    let Some(message) = response["messageId"].as_str() else { return Outcome::Ok };
    let delivered = response["delivered"].as_array().into_iter().flatten();
    let mut recipients: Vec<String> =
        delivered.filter_map(|row| row["sessionId"].as_str()).map(str::to_owned).collect();
    recipients.extend(response["toSessionId"].as_str().map(str::to_owned));
    Outcome::Stored(message.to_owned(), recipients)
}

impl Actor for ShimClient {
    fn step(&mut self, doors: Doors) -> Result<(), Gone> {
        if self.wire.is_none() {
            return self.come_back(doors);
        }
        let mut calls = Vec::new();
        for _ in 0..=self.random.below(BURST_MAX) {
            calls.push(self.something());
        }
        if self.unacked.len() >= ACKS_MAX / 2 {
            let messages: Vec<String> = self.unacked.drain(..self.unacked.len().min(ACKS_MAX)).collect();
            let data = json!({"messageIds": messages});
            calls.push((Call::Ack { session: self.session.clone(), messages }, "AckMessages", data));
        }
        self.burst(calls);
        Ok(())
    }

    fn drain(&mut self, doors: Doors) -> Result<(), String> {
        // A connection can have been closed on it unnoticed: the second try is on a new one.
        for _ in 0..3 {
            if self.wire.is_none() && self.come_back(doors).is_err() {
                break;
            }
            let look = json!({"limit": 1, "inbox": true});
            self.burst(vec![(Call::Look { what: "read".to_owned() }, "ReadMessages", look)]);
            if self.wire.is_none() {
                continue;
            }
            let pushed = std::mem::take(&mut self.unacked);
            let read = pushed
                .chunks(1000)
                .all(|ids| matches!(acknowledge(&self.scribe, doors.hooks, &self.session, ids), Ok(true)));
            if read && matches!(take_inbox(&self.scribe, doors.hooks, &self.session, usize::MAX), Ok(true)) {
                self.scribe.note(Event::Drained { session: self.session.clone() });
                return Ok(());
            }
        }
        Err(format!("{} does not get its mail", self.session))
    }

    fn scribe(&self) -> &Scribe {
        &self.scribe
    }
}

/// A client that watches all messages and asks for nothing else.
pub struct Watcher {
    pub scribe: Scribe,
}

impl Actor for Watcher {
    /// Watches until the connection ends.
    fn step(&mut self, doors: Doors) -> Result<(), Gone> {
        let Some(mut wire) = Wire::connect(doors.websocket, &self.scribe) else { return Err(Gone) };
        let query = json!({"query": {"tx": "watch"}, "queryId": "GetAllMessages", "queryItemType": "Message"});
        let asked = wire.write("ws:m:query", &query).and_then(|()| wire.flush());
        while let (Ok(()), Ok(frame)) = (&asked, wire.read()) {
            let data = &frame["data"];
            let upserts = data["upserts"].as_array().unwrap().iter();
            let messages = upserts.map(|row| row["item"]["id"].as_str().unwrap().to_owned()).collect();
            let sequence = data["sequence"].as_u64().unwrap();
            self.scribe.note(Event::Diff { stream: wire.stream.clone(), sequence, messages });
        }
        Ok(())
    }

    fn drain(&mut self, _doors: Doors) -> Result<(), String> {
        Ok(())
    }

    fn scribe(&self) -> &Scribe {
        &self.scribe
    }
}

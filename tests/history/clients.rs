//! Clients of a daemon that may die at any moment: agents by their hooks, and people by the command line. Each works on
//! its own thread, notes what it asks and what comes of it, and does as the driver tells it.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

use crate::record::{Call, Outcome, Scribe};
use crate::support::mortal::{self, Heard, messages_in};
use crate::support::seeded::Random;
use crate::support::{Answer, hook_body};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};

/// Where the daemon of the moment listens.
#[derive(Clone, Copy, Debug)]
pub struct Doors {
    pub hooks: SocketAddr,
    pub websocket: SocketAddr,
}

/// What the driver tells a client.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// There is a daemon.
    Up(Doors),
    /// Stop asking, and say so.
    Hold,
    /// Go on.
    Go,
    /// Take all your mail, and say so.
    Drain,
}

/// The daemon is not there; the driver will say when it is.
pub struct Gone;

/// Who can be written to.
pub struct Crowd {
    pub shims: usize,
    pub humans: usize,
    /// The number of each hook client's session; 0 if it has none.
    pub hook_sessions: Vec<AtomicU64>,
}

/// The rooms that shims join and leave.
pub const ROOMS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

pub fn shim_name(number: usize) -> String {
    format!("s{number:02}")
}

pub fn human_name(number: usize) -> String {
    format!("c{number:02}")
}

/// Ids of one length: none is the beginning of another, which would be a valid address for it.
pub fn hook_session(client: usize, number: u64) -> String {
    format!("h{client:02}-{number:08}")
}

impl Crowd {
    /// Somebody to write to: mostly a shim, sometimes an agent with hooks, seldom a person.
    pub fn pick(&self, random: &mut Random) -> String {
        let hook = random.below(self.hook_sessions.len());
        match (random.below(100), self.hook_sessions[hook].load(Ordering::Relaxed)) {
            (0..5, _) => format!("human:{}", human_name(random.below(self.humans))),
            (5..20, number) if number > 0 => hook_session(hook, number),
            _ => shim_name(random.below(self.shims)),
        }
    }
}

/// Who works as a client.
pub trait Actor {
    /// Does one thing. An error means that the daemon cannot be reached.
    fn step(&mut self, doors: Doors) -> Result<(), Gone>;
    /// Takes all the mail there is.
    fn drain(&mut self, doors: Doors) -> Result<(), String>;
    fn scribe(&self) -> &Scribe;
}

/// Works until the driver is gone.
pub fn work(mut actor: impl Actor, orders: &Receiver<Order>) {
    let (mut doors, mut reachable, mut held) = (None, false, false);
    loop {
        let order = match doors.filter(|_| reachable && !held) {
            Some(doors) => match orders.try_recv() {
                Ok(order) => order,
                Err(TryRecvError::Empty) => {
                    reachable = actor.step(doors).is_ok();
                    continue;
                }
                Err(TryRecvError::Disconnected) => return,
            },
            None => match orders.recv() {
                Ok(order) => order,
                Err(_) => return,
            },
        };
        match (order, doors) {
            (Order::Up(up), _) => (doors, reachable) = (Some(up), true),
            (Order::Hold, _) => {
                held = true;
                actor.scribe().note(crate::record::Event::Held);
            }
            (Order::Go, _) => held = false,
            (Order::Drain, Some(doors)) => {
                if let Err(why) = actor.drain(doors) {
                    actor.scribe().note(crate::record::Event::Stuck { why });
                }
            }
            (Order::Drain, None) => {}
        }
    }
}

/// Notes a request over HTTP and what comes of it. Gives the answer if the daemon did as asked.
pub fn ask(scribe: &Scribe, call: Call, request: impl FnOnce() -> Heard) -> Result<Option<Answer>, Gone> {
    let op = scribe.invoke(call);
    match request() {
        Heard::Answer(answer) if answer.status < 300 => {
            let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let recipients = json["recipients"].as_array().into_iter().flatten();
            let recipients = recipients.filter_map(|row| row["sessionId"].as_str()).map(str::to_owned).collect();
            match json["messageId"].as_str() {
                Some(message) => scribe.complete(op, Outcome::Stored(message.to_owned(), recipients)),
                None => scribe.complete(op, Outcome::Ok),
            }
            Ok(Some(answer))
        }
        Heard::Answer(answer) => {
            let code = answer.header("marshal-error").map(str::to_owned);
            let why = code.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).into_owned());
            scribe.complete(op, Outcome::Refused(format!("{} {why}", answer.status)));
            Ok(None)
        }
        Heard::NotSent => {
            scribe.complete(op, Outcome::Refused("nobody listens".to_owned()));
            Err(Gone)
        }
        Heard::Lost => {
            scribe.complete(op, Outcome::Unknown);
            Ok(None)
        }
    }
}

pub fn acknowledge(scribe: &Scribe, hooks: SocketAddr, who: &str, messages: &[String]) -> Result<bool, Gone> {
    let call = Call::Ack { session: who.to_owned(), messages: messages.to_vec() };
    let body = json!({"asSession": who, "messageIds": messages}).to_string();
    Ok(ask(scribe, call, || mortal::post(hooks, "/v1/messages/ack", &body))?.is_some())
}

/// Takes pages of unread mail until there is none, at most so many.
pub fn take_inbox(scribe: &Scribe, hooks: SocketAddr, session: &str, pages_max: usize) -> Result<bool, Gone> {
    for _ in 0..pages_max {
        let path = format!("/v1/inbox?session={session}&limit=200");
        let call = Call::Look { what: "inbox".to_owned() };
        let Some(answer) = ask(scribe, call, || mortal::get(hooks, &path))? else { return Ok(false) };
        let page = answer.json();
        let mut ids = Vec::new();
        for message in page["messages"].as_array().unwrap() {
            let (id, body) = (message["messageId"].as_str().unwrap(), message["body"].as_str().unwrap());
            scribe.see(session, "inbox", id, body);
            ids.push(id.to_owned());
        }
        if ids.is_empty() {
            return Ok(true);
        }
        if !acknowledge(scribe, hooks, session, &ids)? {
            return Ok(false);
        }
    }
    Ok(false)
}

/// An agent that is known by its hooks alone.
pub struct HookClient {
    pub scribe: Scribe,
    pub number: usize,
    pub random: Random,
    pub crowd: Arc<Crowd>,
    sessions: u64,
    session: Option<String>,
    sent: u64,
}

impl HookClient {
    pub fn new(number: usize, scribe: Scribe, random: Random, crowd: Arc<Crowd>) -> Self {
        Self { scribe, number, random, crowd, sessions: 0, session: None, sent: 0 }
    }

    /// Gives up its session: it ended, or nobody knows whether it did or began.
    fn without_session(&mut self) {
        self.session = None;
        self.crowd.hook_sessions[self.number].store(0, Ordering::Relaxed);
    }

    fn start(&mut self, hooks: SocketAddr) -> Result<(), Gone> {
        self.sessions += 1;
        let session = hook_session(self.number, self.sessions);
        let body = hook_body(&session, &format!("/w/p{}", self.number % 4));
        let path = "/hook/session-start?host=h&operator=o";
        let call = Call::Start { session: session.clone() };
        if let Some(answer) = ask(&self.scribe, call, || mortal::post(hooks, path, &body))? {
            self.note_mail(&session, &answer);
            self.session = Some(session);
            self.crowd.hook_sessions[self.number].store(self.sessions, Ordering::Relaxed);
        }
        Ok(())
    }

    fn note_mail(&self, session: &str, answer: &Answer) -> usize {
        let messages = messages_in(answer.text());
        messages.iter().for_each(|(id, body)| self.scribe.see(session, "hook", id, body));
        messages.len()
    }

    /// Submits a prompt. Says how many messages the answer held, if there was one.
    fn prompt(&self, hooks: SocketAddr, session: &str) -> Result<Option<usize>, Gone> {
        let call = Call::Prompt { session: session.to_owned() };
        let body = hook_body(session, "");
        let answer = ask(&self.scribe, call, || mortal::post(hooks, "/hook/prompt-submit", &body))?;
        Ok(answer.map(|answer| self.note_mail(session, &answer)))
    }

    fn send(&mut self, hooks: SocketAddr, from: &str) -> Result<(), Gone> {
        self.sent += 1;
        let body = format!("{}/{}", self.scribe.client, self.sent);
        let (to, call) = if self.random.below(12) == 0 {
            let room = format!("project:p{}", self.number % 4);
            (format!("@{room}"), Call::Broadcast { from: from.to_owned(), room, body: body.clone() })
        } else {
            let to = self.crowd.pick(&mut self.random);
            (to.clone(), Call::Send { from: from.to_owned(), to, body: body.clone() })
        };
        let request = json!({"asSession": from, "to": to, "body": body}).to_string();
        ask(&self.scribe, call, || mortal::post(hooks, "/v1/messages", &request)).map(drop)
    }
}

impl Actor for HookClient {
    fn step(&mut self, doors: Doors) -> Result<(), Gone> {
        let Some(session) = self.session.clone() else { return self.start(doors.hooks) };
        match self.random.below(20) {
            0..9 => self.prompt(doors.hooks, &session).map(drop),
            9 => take_inbox(&self.scribe, doors.hooks, &session, 1).map(drop),
            10 => {
                self.without_session();
                let call = Call::End { session: session.clone() };
                let body = hook_body(&session, "");
                ask(&self.scribe, call, || mortal::post(doors.hooks, "/hook/session-end", &body)).map(drop)
            }
            _ => self.send(doors.hooks, &session),
        }
    }

    fn drain(&mut self, doors: Doors) -> Result<(), String> {
        if let Some(session) = self.session.clone() {
            loop {
                match self.prompt(doors.hooks, &session) {
                    Ok(Some(0)) => break,
                    Ok(Some(_)) => {}
                    _ => return Err(format!("{session} gets no answer to its prompt")),
                }
            }
            self.scribe.note(crate::record::Event::Drained { session });
        } else {
            self.scribe.note(crate::record::Event::Drained { session: String::new() });
        }
        Ok(())
    }

    fn scribe(&self) -> &Scribe {
        &self.scribe
    }
}

/// A person at a shell.
pub struct CliClient {
    pub scribe: Scribe,
    pub random: Random,
    pub crowd: Arc<Crowd>,
    pub state: PathBuf,
    pub sent: u64,
}

impl CliClient {
    /// Runs the command line. Gives what it printed.
    fn run(&self, call: Call, arguments: &[&str]) -> Result<(bool, Value), Gone> {
        let op = self.scribe.invoke(call);
        let mut command = Command::new(env!("CARGO_BIN_EXE_marshal"));
        command.env_clear().env("MARSHAL_STATE_DIR", &self.state).stdin(Stdio::null());
        let output = command.args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match output.status.code() {
            Some(0) => {
                let recipients = json["recipients"].as_array().into_iter().flatten();
                let recipients = recipients.filter_map(|row| row["sessionId"].as_str()).map(str::to_owned).collect();
                let message = json["messageId"].as_str().map(str::to_owned);
                self.scribe.complete(op, message.map_or(Outcome::Ok, |id| Outcome::Stored(id, recipients)));
                Ok((true, json))
            }
            Some(1) => {
                self.scribe.complete(op, Outcome::Refused(said));
                Ok((false, json))
            }
            Some(69) => {
                self.scribe.complete(op, Outcome::Unknown);
                if said.contains("is not running") { Err(Gone) } else { Ok((false, json)) }
            }
            code => panic!("{arguments:?} ended with {code:?}: {said}"),
        }
    }

    /// Shows the inbox, which acknowledges what it has shown. Says how much that was, if all went well. What was printed
    /// has been seen, whatever came of its acknowledgement.
    fn inbox(&self) -> Result<Option<usize>, Gone> {
        let human = format!("human:{}", self.scribe.client);
        let arguments = ["inbox", "--human", &self.scribe.client, "--json"];
        let (done, page) = self.run(Call::Look { what: "inbox".to_owned() }, &arguments)?;
        let messages = page["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        for message in messages {
            self.scribe.see(&human, "inbox", message["messageId"].as_str().unwrap(), message["body"].as_str().unwrap());
        }
        Ok(done.then_some(messages.len()))
    }
}

impl Actor for CliClient {
    fn step(&mut self, _doors: Doors) -> Result<(), Gone> {
        match self.random.below(8) {
            0 => self.run(Call::Look { what: "ls".to_owned() }, &["ls", "--json"]).map(drop),
            1..4 => self.inbox().map(drop),
            _ => {
                self.sent += 1;
                let body = format!("{}/{}", self.scribe.client, self.sent);
                let to = self.crowd.pick(&mut self.random);
                let from = format!("human:{}", self.scribe.client);
                let call = Call::Send { from, to: to.clone(), body: body.clone() };
                self.run(call, &["send", "--from", &self.scribe.client, "--json", &to, &body]).map(drop)
            }
        }
    }

    fn drain(&mut self, _doors: Doors) -> Result<(), String> {
        loop {
            match self.inbox() {
                Ok(Some(0)) => break,
                Ok(Some(_)) => {}
                _ => return Err("the inbox cannot be shown".to_owned()),
            }
        }
        let session = format!("human:{}", self.scribe.client);
        self.scribe.note(crate::record::Event::Drained { session });
        Ok(())
    }

    fn scribe(&self) -> &Scribe {
        &self.scribe
    }
}

//! The scripted model: an HTTP server on loopback that the agents take for their model. The test decides each answer when
//! the request is there, and so knows what the agent does meanwhile. Every request is kept in a file, which is the proof of
//! what reached the model. It also holds callers (a tool, a hook) until the test lets them go.

use super::PATIENCE;
use super::wire::{self, Step};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use tiny_http::{Header, Method, Request, Response, Server};

/// A call that waits for the test.
enum Arrival {
    Turn(Turn),
    Held(Held),
}

/// The agent asks its model to go on.
pub struct Turn {
    /// What the model is told: the whole conversation.
    pub body: Value,
    answer: Sender<Step>,
}

impl Turn {
    /// The model says something, and its turn is over.
    pub fn say(self, text: &str) {
        self.answer.send(Step::Say(text.to_owned())).unwrap();
    }

    /// The model wants a command run.
    pub fn run(self, command: &str) {
        self.answer.send(Step::Run(command.to_owned())).unwrap();
    }

    /// How often the model reads `text` in the conversation so far.
    pub fn count(&self, text: &str) -> usize {
        count(&self.body, text)
    }
}

/// A caller of `/hold/NAME`, which hangs until this is dropped.
pub struct Held {
    name: String,
    _release: Sender<()>,
}

pub struct Model {
    pub address: SocketAddr,
    arrivals: Receiver<Arrival>,
    record: PathBuf,
    server: Arc<Server>,
    acceptor: Option<JoinHandle<()>>,
}

impl Drop for Model {
    fn drop(&mut self) {
        self.server.unblock();
        self.acceptor.take().map(JoinHandle::join);
    }
}

impl Model {
    /// A model that keeps its record in `directory`.
    pub fn start(directory: &Path) -> Self {
        let record = directory.join("model.jsonl");
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let address = server.server_addr().to_ip().unwrap();
        let (sender, arrivals) = channel();
        let (file, calls) = (record.clone(), Arc::clone(&server));
        let accept = move || {
            for (number, request) in calls.incoming_requests().enumerate() {
                let (sender, file) = (sender.clone(), file.clone());
                Builder::new().name("model".to_owned()).spawn(move || serve(request, number, &sender, &file)).unwrap();
            }
        };
        let acceptor = Builder::new().name("model".to_owned()).spawn(accept).unwrap();
        Self { address, arrivals, record, server, acceptor: Some(acceptor) }
    }

    /// A command that hangs until the test lets it go; see [`Model::held`].
    pub fn hold(&self, name: &str) -> String {
        format!("curl -sS --noproxy 127.0.0.1 http://{}/hold/{name}", self.address)
    }

    /// The next time the agent asks its model.
    pub fn turn(&self) -> Turn {
        match self.arrivals.recv_timeout(PATIENCE) {
            Ok(Arrival::Turn(turn)) => turn,
            Ok(Arrival::Held(held)) => panic!("{} is there, and not the model's turn", held.name),
            Err(error) => panic!("the agent does not ask its model: {error}"),
        }
    }

    /// Waits for the caller of `/hold/NAME`.
    pub fn held(&self, name: &str) -> Held {
        match self.arrivals.recv_timeout(PATIENCE) {
            Ok(Arrival::Held(held)) if held.name == name => held,
            Ok(Arrival::Held(held)) => panic!("{} is there, and not {name}", held.name),
            Ok(Arrival::Turn(turn)) => panic!("the model's turn, and not {name}: {}", last(&turn.body)),
            Err(error) => panic!("{name} is not called: {error}"),
        }
    }

    /// Every conversation that the model was shown, in order.
    pub fn conversations(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.record).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["conversation"] == true).map(|mut line| line["body"].take()).collect()
    }

    /// Asserts on the record that the model has read each text exactly once: the last conversation holds it once, and no
    /// earlier one holds it more often.
    pub fn assert_once(&self, texts: &[&str]) {
        let conversations = self.conversations();
        for text in texts {
            let counts: Vec<usize> = conversations.iter().map(|body| count(body, text)).collect();
            assert_eq!(counts.last(), Some(&1), "{text:?} in each request: {counts:?}");
            assert!(counts.is_sorted(), "{text:?} in each request: {counts:?}");
        }
    }
}

/// How often a text stands in a conversation.
fn count(body: &Value, text: &str) -> usize {
    body.to_string().matches(text).count()
}

/// The end of a conversation, for messages of failures.
fn last(body: &Value) -> String {
    let messages = body["messages"].as_array().or(body["input"].as_array());
    messages.and_then(|all| all.last()).map(ToString::to_string).unwrap_or_default()
}

fn serve(mut request: Request, number: usize, arrivals: &Sender<Arrival>, record: &Path) {
    let path = request.url().split('?').next().unwrap_or_default().to_owned();
    if let Some(name) = path.strip_prefix("/hold/") {
        let (release, released) = channel();
        drop(arrivals.send(Arrival::Held(Held { name: name.to_owned(), _release: release })));
        // It ends when the test drops its half.
        let _ = released.recv();
        drop(request.respond(Response::from_string("go on\n")));
        return;
    }
    let mut text = String::new();
    request.as_reader().read_to_string(&mut text).unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    // Agents also ask their model for titles and the like; those calls have no tools.
    let names = body["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str());
    let conversation = names.into_iter().any(|name| ["Bash", "exec_command"].contains(&name));
    let line = json!({"path": path, "conversation": conversation, "body": body}).to_string() + "\n";
    // One write at the end of the file: lines of calls at the same time do not mix.
    OpenOptions::new().create(true).append(true).open(record).unwrap().write_all(line.as_bytes()).unwrap();
    let mut step = Step::Say("done".to_owned());
    if conversation {
        let (answer, decided) = channel();
        drop(arrivals.send(Arrival::Turn(Turn { body: body.clone(), answer })));
        let Ok(decision) = decided.recv() else { return };
        step = decision;
    }
    let (kind, text) = match (request.method(), path.as_str()) {
        (Method::Post, "/v1/messages") => wire::messages(&body, &step, number),
        (Method::Post, "/v1/responses") => wire::responses(&step, number),
        _ => wire::nothing(),
    };
    let kind = Header::from_bytes("Content-Type", kind).unwrap();
    // An agent that was killed does not take its answer.
    drop(request.respond(Response::from_string(text).with_header(kind)));
}

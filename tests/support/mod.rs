//! The harness of the end-to-end tests: the real binary in a fresh directory, and plain clients for its doors. It waits
//! on what can be observed (a line on stderr, an answer, a frame), each with a deadline, and never by the clock.
#![allow(dead_code, unreachable_pub, missing_docs)] // each test binary uses a part of it
#![allow(clippy::unwrap_used)] // a harness that fails must fail loudly

pub mod events;
pub mod mortal;
pub mod rude;
pub mod seeded;
pub mod skip;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// How long anything may take. It is generous: it is only ever reached when something is broken.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A directory that outlives the daemons started in it.
pub struct Place {
    pub dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("marshal").tempdir().unwrap() }
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn log_path(&self) -> PathBuf {
        self.state().join("events.jsonl")
    }

    /// The log's events, parsed; damaged lines are left out.
    pub fn log_events(&self) -> Vec<Value> {
        let text = std::fs::read(self.log_path()).unwrap_or_default();
        text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// A command that runs the binary with nothing of this process's environment. Its daemon lets bare callers in, who
    /// may send as fast as they can: most tests are about other things. Those that are not use [`Place::start_locked`].
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marshal"));
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("USER", "tester")
            .env("MARSHAL_STATE_DIR", self.state())
            .env("MARSHAL_HOOK_BIND", "127.0.0.1:0")
            .env("MARSHAL_BIND", "127.0.0.1:0")
            .env("MARSHAL_AUTH", "none")
            .env("MARSHAL_SENDS_PER_SECOND", "0")
            .stdin(Stdio::null());
        command
    }

    pub fn start(&self) -> Daemon {
        self.start_with(|_| {})
    }

    pub fn start_with(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        let mut command = self.command();
        command.arg("serve").stdout(Stdio::null()).stderr(Stdio::piped());
        change(&mut command);
        Daemon::from_child(command.spawn().unwrap(), self.state().join("marshal.sock"))
    }

    /// A daemon whose stderr is a pipe that nothing reads after its first lines.
    pub fn start_unread(&self, change: impl FnOnce(&mut Command)) -> (Daemon, BufReader<ChildStderr>) {
        let mut command = self.command();
        command.arg("serve").stdout(Stdio::null()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut pipe = BufReader::new(child.stderr.take().unwrap());
        let mut daemon = Daemon::new(child, channel().1, self.state().join("marshal.sock"));
        let mut line = String::new();
        while !line.contains("ready: ") {
            line.clear();
            assert!(pipe.read_line(&mut line).unwrap() > 0, "it ended before it was ready");
        }
        daemon.is_at(&line);
        (daemon, pipe)
    }

    /// A daemon as users have it: with the token asked for and senders bounded.
    pub fn start_locked(&self) -> Daemon {
        self.start_with(|command| {
            command.env_remove("MARSHAL_AUTH").env_remove("MARSHAL_SENDS_PER_SECOND");
        })
    }

    /// The machine's token, once a daemon has made it.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.state().join("token")).unwrap().trim_end().to_owned()
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }
}

/// A running daemon. Dropping it kills it.
pub struct Daemon {
    child: Child,
    stderr: Receiver<String>,
    /// What it has said so far.
    pub said: Vec<String>,
    pub hooks: SocketAddr,
    pub websocket: SocketAddr,
    pub socket: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn from_child(mut child: Child, socket: PathBuf) -> Self {
        let (lines, stderr) = channel();
        let pipe = BufReader::new(child.stderr.take().unwrap());
        std::thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || pipe.lines().map_while(Result::ok).for_each(|line| drop(lines.send(line))))
            .unwrap();
        let mut daemon = Self::new(child, stderr, socket);
        let ready = daemon.wait_for_line("ready: ");
        daemon.is_at(&ready);
        daemon
    }

    fn new(child: Child, stderr: Receiver<String>, socket: PathBuf) -> Self {
        let unknown = "127.0.0.1:0".parse().unwrap();
        Self { child, stderr, said: Vec::new(), hooks: unknown, websocket: unknown, socket }
    }

    /// Learns its addresses from the line with which it is ready.
    fn is_at(&mut self, ready: &str) {
        let word = |key: &str| ready.split_whitespace().skip_while(|w| *w != key).nth(1).unwrap().to_owned();
        self.hooks = word("hooks").trim_start_matches("http://").parse().unwrap();
        self.websocket = word("websocket").trim_start_matches("ws://").trim_end_matches("/myko").parse().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line on stderr that holds `text`.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?} ({error}); it said: {:#?}", self.said),
            }
        }
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end. Its stderr ends with it, so that this waits on an event.
    pub fn wait(mut self) -> (ExitStatus, Vec<String>) {
        let end = Instant::now() + DEADLINE;
        while let Ok(line) = self.stderr.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.said.push(line);
        }
        assert!(Instant::now() < end, "the daemon does not end; it said: {:#?}", self.said);
        let status = self.child.wait().unwrap();
        (status, std::mem::take(&mut self.said))
    }

    /// Waits for the end of one whose stderr nothing reads.
    #[cfg(target_os = "linux")]
    pub fn wait_unread(mut self) -> ExitStatus {
        use rustix::event::{PollFd, PollFlags, Timespec};
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let pid = Pid::from_child(&self.child);
        let handle = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let deadline = Timespec { tv_sec: DEADLINE.as_secs().try_into().unwrap(), tv_nsec: 0 };
        let ended = rustix::event::poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&deadline)).unwrap();
        assert_eq!(ended, 1, "the daemon does not end");
        self.child.wait().unwrap()
    }

    /// Stops it in order and says its exit code.
    pub fn stop(self) -> Option<i32> {
        self.signal("TERM");
        let (status, _) = self.wait();
        assert_eq!(status.signal(), None);
        status.code()
    }

    pub fn hook(&self, path: &str, body: &str) -> Answer {
        post(self.hooks, path, &[], body.as_bytes())
    }

    /// Starts a session by hook.
    pub fn start_session(&self, id: &str, cwd: &str) -> Answer {
        let answer = self.hook("/hook/session-start?host=box&operator=alice", &hook_body(id, cwd));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    pub fn prompt(&self, id: &str) -> Answer {
        self.hook("/hook/prompt-submit", &hook_body(id, ""))
    }

    pub fn end_session(&self, id: &str) -> Answer {
        self.hook("/hook/session-end", &hook_body(id, ""))
    }

    pub fn get(&self, path: &str) -> Answer {
        request(self.hooks, "GET", path, &[], b"")
    }

    pub fn post_json(&self, path: &str, body: &Value) -> Answer {
        post(self.hooks, path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// Sends a message and gives its id.
    pub fn send(&self, as_session: &str, to: &str, body: &str) -> String {
        let answer = self.post_json("/v1/messages", &json!({"asSession": as_session, "to": to, "body": body}));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["messageId"].as_str().unwrap().to_owned()
    }

    /// Waits until a session has been handed so many messages and has not been seen to read them.
    pub fn until_handed(&self, session: &str, count: usize) {
        let end = std::time::Instant::now() + DEADLINE;
        let is_handed = |message: &Value| {
            let one = self.get(&format!("/v1/messages?message={}", message["messageId"].as_str().unwrap())).json();
            let deliveries = one["messages"][0]["deliveries"].as_array().unwrap().clone();
            deliveries.iter().any(|to| to["sessionId"] == session && to["state"] == "handed")
        };
        loop {
            let page = self.get("/v1/messages?limit=200").json();
            if page["messages"].as_array().unwrap().iter().filter(|message| is_handed(message)).count() == count {
                return;
            }
            assert!(std::time::Instant::now() < end, "{session} is not handed {count} messages: {page}");
        }
    }

    /// The sessions on the roster, by id.
    pub fn sessions(&self) -> std::collections::BTreeMap<String, Value> {
        let answer = self.get("/v1/sessions").json();
        let sessions = answer["sessions"].as_array().unwrap().clone();
        sessions.into_iter().map(|session| (session["sessionId"].as_str().unwrap().to_owned(), session)).collect()
    }

    pub fn connect(&self) -> Shim {
        Shim::connect(self.websocket)
    }
}

pub fn hook_body(id: &str, cwd: &str) -> String {
    json!({"session_id": id, "cwd": cwd, "hook_event_name": "SessionStart"}).to_string()
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| {
            panic!("no whole head in {:?}", String::from_utf8_lossy(bytes));
        });
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(':').unwrap());
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn post(to: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    request(to, "POST", path, headers, body)
}

/// One request on a connection of its own.
pub fn request(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    raw(to, &[head.as_bytes(), body].concat())
}

/// Bytes to a TCP door, and what comes back until the end.
pub fn raw(to: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Answer::parse(&answer)
}

/// Bytes to the Unix socket, and what comes back until the end.
pub fn raw_unix(socket: &Path, bytes: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Answer::parse(&answer)
}

/// A WebSocket client that speaks as a shim does.
pub struct Shim {
    pub socket: WebSocket<TcpStream>,
    next_tx: u32,
    /// Frames that came while another one was waited for.
    pub pending: Vec<Value>,
}

impl Shim {
    pub fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://{to}/myko"), stream).unwrap();
        Self { socket, next_tx: 0, pending: Vec::new() }
    }

    /// The same with the machine's token, or another one; else the status of the refusal.
    pub fn connect_with(to: SocketAddr, headers: &[(&str, &str)]) -> Result<Self, u16> {
        use tungstenite::client::IntoClientRequest;
        use tungstenite::{HandshakeError, http};
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut request = format!("ws://{to}/myko").into_client_request().unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self { socket, next_tx: 0, pending: Vec::new() }),
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    pub fn send(&mut self, event: &str, data: Value) {
        self.send_text(&json!({"event": event, "data": data}).to_string());
    }

    fn tx(&mut self) -> String {
        self.next_tx += 1;
        format!("tx-{}", self.next_tx)
    }

    /// The next frame that fits; the others are kept.
    pub fn wait_for(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.pending.iter().position(&fits) {
            return self.pending.remove(at);
        }
        // The server's own pings arrive for ever, so that the socket's time limit alone would not end this.
        let end = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < end, "no {what}; other frames: {:#?}", self.pending);
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(text.as_str()).unwrap();
                    if fits(&frame) {
                        return frame;
                    }
                    self.pending.push(frame);
                }
                Ok(_) => {}
                Err(error) => panic!("no {what}: {error}; other frames: {:#?}", self.pending),
            }
        }
    }

    /// States a session as a shim does at its start.
    pub fn publish(&mut self, id: &str, nickname: &str, cwd: &str) {
        let item = json!({"id": id, "nickname": nickname, "pid": 1, "cwd": cwd, "connectedAt": 1, "operator": "alice",
            "host": {"name": "box", "os": "linux", "arch": "x86_64"}});
        self.publish_item(item);
    }

    pub fn publish_item(&mut self, item: Value) {
        self.send("ws:m:event", json!({"item": item, "changeType": "SET", "itemType": "Session", "tx": "t"}));
    }

    /// Runs a command and gives the data of its answer: a command-response's or a command-error's.
    pub fn command(&mut self, id: &str, mut command: Value) -> Value {
        let tx = self.tx();
        command["tx"] = tx.clone().into();
        self.send("ws:m:command", json!({"command": command, "commandId": id}));
        let mut answer = self.wait_for(&format!("answer to {id}"), |frame| {
            frame["data"]["tx"] == tx.as_str() && frame["event"].as_str().unwrap().starts_with("ws:m:command-")
        });
        answer["data"].take()
    }

    /// Begins a live query and gives its name and its snapshot.
    pub fn query(&mut self, item_type: &str) -> (String, Value) {
        let tx = self.tx();
        self.send(
            "ws:m:query",
            json!({"query": {"tx": tx}, "queryId": format!("GetAll{item_type}s"), "queryItemType": item_type}),
        );
        let snapshot = self.wait_for("snapshot", |frame| frame["data"]["tx"] == tx.as_str());
        assert_eq!(snapshot["data"]["sequence"], 0);
        (tx, snapshot["data"].clone())
    }

    /// The next push of a message.
    pub fn push(&mut self) -> Value {
        let mut frame = self.wait_for("push", |frame| frame["data"]["commandId"] == "NotifyChannel");
        frame["data"]["command"].take()
    }
}

/// A live view of one item type, for awaiting what the roster becomes.
pub struct Watch {
    shim: Shim,
    tx: String,
    pub rows: std::collections::BTreeMap<String, Value>,
    sequence: u64,
}

impl Watch {
    pub fn start(daemon: &Daemon, item_type: &str) -> Self {
        let mut shim = daemon.connect();
        let (tx, snapshot) = shim.query(item_type);
        let mut watch = Self { shim, tx, rows: Default::default(), sequence: 0 };
        watch.apply(&snapshot);
        watch
    }

    fn apply(&mut self, data: &Value) {
        for upsert in data["upserts"].as_array().unwrap() {
            self.rows.insert(upsert["item"]["id"].as_str().unwrap().to_owned(), upsert["item"].clone());
        }
        for delete in data["deletes"].as_array().unwrap() {
            self.rows.remove(delete.as_str().unwrap());
        }
    }

    /// Waits until the rows are as wanted.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&std::collections::BTreeMap<String, Value>) -> bool) {
        while !wanted(&self.rows) {
            let tx = self.tx.clone();
            let diff = self.shim.wait_for(what, |frame| frame["data"]["tx"] == tx.as_str());
            self.sequence += 1;
            assert_eq!(diff["data"]["sequence"], self.sequence, "diffs are numbered without a gap");
            self.apply(&diff["data"]);
        }
    }
}

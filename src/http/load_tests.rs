//! Workers whose store takes nothing: what their callers are told.

use super::*;
use crate::gate::{self, Auth, Door, DoorKind, Listener};
use crate::limits::{REQUEST_QUEUE_MAX, STORE_QUEUE_MAX};
use crate::log_queue;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

/// A gate and its workers, in front of a store's queue that the test holds.
struct Front {
    directory: tempfile::TempDir,
    gate: gate::Handle,
    threads: Vec<JoinHandle<()>>,
    store: Receiver<Command>,
    commands: Sender<Command>,
    stop: Sender<()>,
}

impl Front {
    fn start(queue_max: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (exits, _) = bounded(1);
        let (commands, store) = bounded(queue_max);
        let (hooks, hooks_to_serve) = bounded(REQUEST_QUEUE_MAX);
        let (others, others_to_serve) = bounded(REQUEST_QUEUE_MAX);
        let requests = gate::Requests { hooks, others };
        let to_serve = ToServe { hooks: hooks_to_serve, others: others_to_serve };
        let (stop, stopped) = bounded(0);
        let about = About {
            pid: 1,
            state_dir: String::new(),
            hooks: String::new(),
            websocket: String::new(),
            socket: String::new(),
            auth: "token",
            program: "marshal".to_owned(),
            home: Home { operator: None, machine: process::this_machine() },
            parents: None,
            own_log: log_queue::start(&exits).unwrap(),
            clock: SystemClock::start(),
        };
        let ways = Ways {
            store: commands.clone(),
            rotate: bounded(0).0,
            subscribe: Arc::new(|subscriber| Err(Box::new(subscriber))),
            look: bounded(0).0,
            late: store.clone(),
        };
        let mut threads = start(2, &to_serve, &ways, about, &stopped, &exits).unwrap();
        let listener = Listener::Unix(UnixListener::bind(directory.path().join("socket")).unwrap());
        let settings = gate::Settings::new(vec![Door { kind: DoorKind::Unix, listener }], Auth::Off);
        let (gate, gate_thread) = gate::start(settings, requests, bounded(0).0, &exits).unwrap();
        threads.push(gate_thread);
        Self { directory, gate, threads, store, commands, stop }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// As the daemon stops once its store has ended.
    fn stop(self) {
        self.gate.stop();
        drop((self.store, self.commands, self.stop));
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// A request under way, whose answer is not read yet.
fn ask(front: &Front, head: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(front.socket()).unwrap();
    let length = body.len();
    let headers = format!("Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}");
    write!(stream, "{head} HTTP/1.1\r\n{headers}\r\n\r\n{body}").unwrap();
    stream
}

fn answer(mut stream: UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

// row 81
#[test]
fn every_page_and_every_call_is_answered_while_the_store_takes_nothing() {
    let front = Front::start(1);
    front.commands.send(Command::Tick).unwrap();
    let calls = [
        ("GET /healthz", ""),
        ("GET /metrics", ""),
        ("GET /v1/status", ""),
        ("GET /v1/sessions", ""),
        ("GET /v1/events", ""),
        ("POST /v1/compact", "{}"),
        ("POST /hook/session-start", r#"{"session_id":"s"}"#),
        ("POST /hook/wait", r#"{"session_id":"s"}"#),
    ];
    for (head, body) in calls {
        let told = answer(ask(&front, head, body));
        assert!(told.starts_with("HTTP/1.1 503 "), "{head}: {told:?}");
    }
    front.stop();
}

// row 80
#[test]
fn a_command_that_comes_too_late_for_the_store_is_answered_when_the_daemon_stops() {
    let front = Front::start(STORE_QUEUE_MAX);
    let waits = ask(&front, "POST /hook/wait", r#"{"session_id":"s"}"#);
    let asks = ask(&front, "GET /v1/sessions", "");
    while front.store.len() < 2 {
        std::thread::yield_now();
    }
    front.stop();
    for (name, stream) in [("a waiter", waits), ("a caller", asks)] {
        let told = answer(stream);
        assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("stopping"), "{name}: {told:?}");
    }
}

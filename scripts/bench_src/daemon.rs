//! The daemon under measurement: the real binary in a fresh directory, on ports of the system's choice. Dropping it
//! kills it and removes the directory.

use crate::{Bench, die, hook_client};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The daemons that run, for a bench that dies: nothing is dropped then.
static RUNNING: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];

/// Kills what this bench has started and not yet ended.
pub(crate) fn kill_all() {
    for slot in &RUNNING {
        let pid = i32::try_from(slot.swap(0, Ordering::SeqCst)).ok().and_then(Pid::from_raw);
        // One that is gone already need not be killed.
        pid.map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// Notes a process that is to be killed if this bench dies; with `to` 0, one that need not be any more.
pub(crate) fn note(from: u32, to: u32) {
    let is_done = |slot: &AtomicU32| slot.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    RUNNING.iter().any(is_done);
}

pub(crate) struct Daemon {
    child: Child,
    /// Takes the daemon's log lines, so that it never waits for us.
    stderr: Option<JoinHandle<()>>,
    pub(crate) hooks: SocketAddr,
    pub(crate) websocket: SocketAddr,
    /// From the start of the process to its line "ready".
    pub(crate) ready_after: Duration,
    /// None once it has been taken over by the next daemon.
    dir: Option<Place>,
}

/// A fresh state directory.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new(bench: &Bench) -> Self {
        let dir = tempfile::Builder::new().prefix("b").rand_bytes(4).tempdir_in(&bench.dir);
        Self(dir.unwrap_or_else(|error| die(&format!("no directory in {}: {error}", bench.dir.display()))))
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path().join("events.jsonl")
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        note(self.child.id(), 0);
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(stderr) = self.stderr.take() {
            let _ = stderr.join();
        }
    }
}

impl Daemon {
    pub(crate) fn start(bench: &Bench) -> Self {
        Self::start_in(bench, Place::new(bench))
    }

    pub(crate) fn start_in(bench: &Bench, dir: Place) -> Self {
        let begun = Instant::now();
        let mut child = Command::new(&bench.binary)
            .env_clear()
            // So that an allocator's settings can be tried out.
            .envs(std::env::vars_os().filter(|(name, _)| {
                let name = name.to_string_lossy();
                name.starts_with("MALLOC_") || name == "GLIBC_TUNABLES"
            }))
            .env("HOME", dir.0.path())
            .env("MARSHAL_STATE_DIR", dir.0.path())
            .env("MARSHAL_HOOK_BIND", "127.0.0.1:0")
            .env("MARSHAL_BIND", "127.0.0.1:0")
            // What is measured is the daemon's work and not the patience that it asks for; and callers are bare ones, as
            // those of what it is compared with.
            .env("MARSHAL_AUTH", "none")
            .env("MARSHAL_SENDS_PER_SECOND", "0")
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| die(&format!("cannot start {}: {error}", bench.binary.display())));
        note(0, child.id());
        let mut lines = BufReader::new(child.stderr.take().expect("stderr was asked for"));
        let ready = ready_line(&mut lines);
        let ready_after = begun.elapsed();
        let address = |key: &str, tail: &str| {
            let word = ready.split_whitespace().skip_while(|word| *word != key).nth(1).unwrap_or_default();
            let text = word.rsplit("//").next().unwrap_or_default().trim_end_matches(tail);
            text.parse().unwrap_or_else(|_| die(&format!("no {key} address in {ready:?}")))
        };
        let (hooks, websocket) = (address("hooks", ""), address("websocket", "/myko"));
        let drain = move || drop(lines.read_to_end(&mut Vec::new()));
        let stderr = Builder::new().name("stderr".to_owned()).spawn(drain).expect("a thread for the daemon's log");
        Self { child, stderr: Some(stderr), hooks, websocket, ready_after, dir: Some(dir) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The path of its Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.as_ref().map(|place| place.path().join("marshal.sock")).unwrap_or_default()
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        let log = self.dir.as_ref().map(Place::log);
        log.and_then(|log| std::fs::metadata(log).ok()).map_or(0, |metadata| metadata.len())
    }

    pub(crate) fn log(&self) -> Vec<u8> {
        let log = self.dir.as_ref().map(Place::log);
        log.and_then(|log| std::fs::read(log).ok()).unwrap_or_default()
    }

    /// Stops it in order and starts another on what it leaves.
    pub(crate) fn restart(mut self, bench: &Bench) -> Self {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.map(|pid| kill_process(pid, Signal::TERM));
        self.child.wait().expect("it is our child");
        let dir = self.dir.take().unwrap_or_else(|| die("a daemon can be restarted once"));
        drop(self);
        Self::start_in(bench, dir)
    }

    /// The value of a metric, with its labels as they are written.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", self.hooks);
        let mut answer = Vec::new();
        let result = hook_client::call(self.hooks, request.as_bytes(), &mut answer);
        let text = String::from_utf8_lossy(&answer);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| die(&format!("no metric {name}: {result:?}: {text}")))
    }
}

fn ready_line(lines: &mut BufReader<ChildStderr>) -> String {
    let mut said = String::new();
    loop {
        let start = said.len();
        match lines.read_line(&mut said) {
            Ok(0) | Err(_) => die(&format!("the daemon ended before it was ready; it said:\n{said}")),
            Ok(_) if said[start..].contains("ready: ") => return said[start..].to_owned(),
            Ok(_) => {}
        }
    }
}

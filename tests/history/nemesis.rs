//! What befalls the daemon and its log: the tools for it. What is not to be had on a machine (strace, mounting) is said
//! and left out.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

use crate::support::seeded::Random;
use crate::support::skip::skipped;
use crate::support::{DEADLINE, Place};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

/// Everything that can befall a daemon.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// SIGKILL under load.
    Kill,
    /// SIGKILL under load, and again while the next one starts.
    KillTwice,
    /// SIGKILL while the log is being compacted.
    KillCompacting,
    /// SIGTERM under load.
    Stop,
    /// SIGSTOP, and SIGCONT or SIGKILL.
    Pause,
    /// A file-size limit: writes are cut short, then refused.
    ShortWrites,
    /// As before, and cutting back fails too.
    CutFails,
    /// The disk is full.
    Full,
    /// A sync fails; the disk may forget what was to be synced.
    SyncFails,
    /// Writes are refused with EIO or ENOSPC.
    WriteFails,
    /// Somebody appends rows.
    Append,
    /// Somebody appends garbage, NULs, half a line.
    Garbage,
    /// Somebody's editor puts a new file in the log's place.
    Replace,
    /// Somebody's editor does so, and rows are missing from it.
    Drop,
    /// Somebody's editor writes the log in place.
    Rewrite,
    /// Somebody asks for a compaction.
    Compact,
}

pub const KILLS: [Kind; 3] = [Kind::Kill, Kind::KillTwice, Kind::KillCompacting];
pub const FAULTS: [Kind; 13] = [
    Kind::SyncFails,
    Kind::ShortWrites,
    Kind::WriteFails,
    Kind::Full,
    Kind::CutFails,
    Kind::Pause,
    Kind::Stop,
    Kind::Append,
    Kind::Garbage,
    Kind::Replace,
    Kind::Drop,
    Kind::Rewrite,
    Kind::Compact,
];

impl Kind {
    pub fn needs_strace(self) -> bool {
        matches!(self, Self::SyncFails | Self::WriteFails | Self::CutFails)
    }

    /// Whether it needs a disk of its own, small enough to be filled.
    pub fn needs_small_disk(self) -> bool {
        self == Self::Full
    }
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Lets no file of the process grow beyond `bytes`, or beyond nothing.
pub fn limit_file_size(pid: u32, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // The daemon has inherited our hard limit, which only the privileged could raise again.
    let maximum = rustix::process::getrlimit(Resource::Fsize).maximum;
    let limit = Rlimit { current: bytes.or(maximum), maximum };
    rustix::process::prlimit(Some(pid), Resource::Fsize, limit).unwrap();
}

/// Makes the command ignore the signal that goes with that limit, so that it meets the error alone.
pub fn ignore_size_signal(command: &mut Command) {
    let mut shell = Command::new("sh");
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    *command = shell;
}

/// A tracer that makes system calls on the log fail.
pub struct Strace {
    child: Child,
    trace: PathBuf,
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Strace {
    /// Whether there is a strace that may trace; else says why not.
    pub fn is_there() -> bool {
        let sleeper = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let Ok(mut sleeper) = sleeper else { return false };
        let directory = tempfile::tempdir().unwrap();
        let found = Self::attach(sleeper.id(), directory.path(), "fdatasync:error=EIO:when=1").is_some();
        drop(sleeper.stdin.take());
        sleeper.wait().unwrap();
        if !found {
            skipped("strace", "the history under injected I/O errors");
        }
        found
    }

    /// From now on, calls on the log fail as `inject` says.
    pub fn attach(pid: u32, state: &Path, inject: &str) -> Option<Self> {
        let trace = state.with_file_name(format!("trace-{pid}"));
        let mut command = Command::new("strace");
        command
            .args(["-f", "-ttt", "-e", "trace=fdatasync,write,pwrite64,ftruncate", "-e"])
            .arg(format!("inject={inject}"));
        command.arg("-P").arg(state.join("events.jsonl")).arg("-o").arg(&trace).arg("-p").arg(pid.to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok()?;
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (attached, told) = channel();
        let mut said = String::new();
        let reader = std::thread::Builder::new().spawn(move || {
            for line in lines {
                let _ = attached.send(line);
            }
        });
        reader.unwrap();
        while let Ok(line) = told.recv_timeout(DEADLINE) {
            if line.contains("attached") {
                return Some(Self { child, trace });
            }
            said.push_str(&line);
        }
        let _ = child.kill();
        let _ = child.wait();
        eprintln!("strace: {said}");
        None
    }

    /// Lets the process go.
    pub fn detach(mut self) {
        signal(self.child.id(), Signal::INT);
        self.child.wait().unwrap();
    }

    /// Waits for the end of the process. Gives the milliseconds from the first injected error to that end, and the bytes
    /// that had been written to the log by then and not synced, as far as that was seen.
    pub fn wait(mut self) -> (u64, usize) {
        self.child.wait().unwrap();
        let trace = std::fs::read_to_string(&self.trace).unwrap();
        let time = |line: &str| line.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok());
        let begun = trace.lines().find(|line| line.contains("(INJECTED)")).and_then(time);
        let ended = trace.lines().rfind(|line| line.contains("+++ ")).and_then(time);
        let milliseconds = (ended.unwrap() - begun.unwrap()) * 1000.0;
        let mut unsynced = 0;
        for line in trace.lines().take_while(|line| !line.contains("(INJECTED)")) {
            match line.rsplit_once("= ").and_then(|(call, result)| Some((call, result.parse::<usize>().ok()?))) {
                Some((call, written)) if call.contains("write") => unsynced += written,
                Some((call, _)) if call.contains("fdatasync") => unsynced = 0,
                _ => {}
            }
        }
        (format!("{milliseconds:.0}").parse().unwrap(), unsynced)
    }
}

/// A small disk of memory in the place of the state directory.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None, with a word, where mounting is not allowed.
    pub fn mount(place: &Place) -> Option<Self> {
        let state = place.state();
        std::fs::create_dir(&state).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=64m,mode=700", "marshal-history"]).arg(&state);
        match command.stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(status) if status.success() => Some(Self(state)),
            _ => {
                skipped("mount", "the history on a full disk");
                std::fs::remove_dir(&state).unwrap();
                None
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Takes all the space that is left.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        let bytes = vec![0; 1 << 20];
        let mut size = bytes.len();
        while size > 0 {
            match file.write(&bytes[..size]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 2,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Where the last batch in the log begins, by the number that its lines share.
pub fn last_batch(log: &[u8]) -> usize {
    let (mut from, mut end, mut batch) = (log.len(), log.len(), None);
    while end > 0 {
        let start = log[..end - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if let Ok(event) = serde_json::from_slice::<Value>(&log[start..end]) {
            let tx = event["tx"].as_str().unwrap_or_default().to_owned();
            if *batch.get_or_insert_with(|| tx.clone()) != tx {
                break;
            }
            from = start;
        }
        end = start;
    }
    from
}

/// The messages and receipts that these lines bring.
pub fn new_rows(lines: &[u8]) -> Vec<String> {
    let events = lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let new = events.filter(|event| {
        // A message that was read by somebody who is gone is written again: it is not new.
        let is_new = matches!(event["itemType"].as_str(), Some("Message" | "MessageRead"));
        is_new && (event["item"].get("messageId").is_some() || event["item"].get("readAt").is_none())
    });
    let new = new.filter(|event| event["changeType"] == "SET");
    new.map(|event| format!("{}/{}", event["itemType"].as_str().unwrap(), event["item"]["id"].as_str().unwrap()))
        .collect()
}

/// A session and a message that somebody else writes: their lines and the names of the rows.
pub fn outside_rows(number: u64, to: &str) -> (String, Vec<String>) {
    let session = json!({"id": format!("ext-{number:06}"), "nickname": format!("ext-{number:06}"), "pid": 7,
        "cwd": "/ext", "connectedAt": now_ms(), "lastActivityAt": now_ms()});
    let message = json!({"id": format!("ext-message-{number}"), "fromSessionId": format!("ext-{number:06}"),
        "fromNick": "ext", "toNick": to, "toSessionId": to, "body": format!("outside/{number}"), "sentAt": now_ms()});
    let line = |item: &Value, item_type: &str| {
        format!("{}\n", json!({"item": item, "changeType": "SET", "itemType": item_type}))
    };
    let rows = vec![format!("Session/ext-{number:06}"), format!("Message/ext-message-{number}")];
    (line(&session, "Session") + &line(&message, "Message"), rows)
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Appends as somebody else does. Says whether the bytes are in the file that is the log, on the disk.
pub fn append(place: &Place, bytes: &[u8]) -> bool {
    let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(place.log_path()) else { return false };
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
    std::fs::metadata(place.log_path()).is_ok_and(|there| there.ino() == file.metadata().unwrap().ino())
}

/// Puts a file with these bytes in the log's place.
pub fn replace(place: &Place, bytes: &[u8]) {
    let other = place.state().join("events.jsonl.edited");
    std::fs::write(&other, bytes).unwrap();
    std::fs::rename(&other, place.log_path()).unwrap();
}

/// Writes these bytes into the log's own file, in pieces, so that the daemon may see it before all of them are there.
pub fn rewrite(place: &Place, bytes: &[u8], random: &mut Random) {
    let mut file = std::fs::File::create(place.log_path()).unwrap();
    let mut left = bytes;
    while !left.is_empty() {
        let (piece, rest) = left.split_at((1 + random.below(bytes.len())).min(left.len()));
        file.write_all(piece).unwrap();
        for _ in 0..random.below(2_000_000) {
            std::hint::spin_loop();
        }
        left = rest;
    }
}

/// Garbage: bytes, NULs, lines that are no events, and perhaps a beginning without its end.
pub fn garbage(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(4) {
        match random.below(4) {
            0 => bytes.extend(std::iter::repeat_n(0, 1 + random.below(5000))),
            1 => bytes.extend((0..random.below(200)).map(|_| random.byte())),
            2 => bytes.extend_from_slice(b"{\"item\":{},\"changeType\":\"SET\",\"itemType\":\"Session\"}\n[]\n\n"),
            _ => bytes.extend_from_slice(b"{\"item\":{\"id\":\"torn-\xc3\xa9\"},\"changeType\":\"SET\",\"itemTy"),
        }
        if random.below(2) == 0 {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// The log without a few rows that it states once. Gives the ids of the messages among them as well.
pub fn without_some_rows(log: &[u8], random: &mut Random) -> (Vec<u8>, Vec<String>) {
    type Key = (String, String);
    let mut lines: Vec<(&[u8], Option<Key>)> = Vec::new();
    let mut times: HashMap<Key, usize> = HashMap::new();
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        let key = serde_json::from_slice::<Value>(line)
            .ok()
            .and_then(|event| Some((event["itemType"].as_str()?.to_owned(), event["item"]["id"].as_str()?.to_owned())));
        if let Some(key) = &key {
            *times.entry(key.clone()).or_default() += 1;
        }
        lines.push((line, key));
    }
    // The place of a membership decides who gets a message: that one is not dropped.
    let droppable =
        |key: &Key| matches!(key.0.as_str(), "Message" | "MessageRead" | "Session") && times.get(key) == Some(&1);
    let candidates: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].1.as_ref().is_some_and(droppable)).collect();
    let mut messages = Vec::new();
    for _ in 0..5.min(candidates.len()) {
        let at = *random.pick(&candidates);
        if let Some((item_type, id)) = lines[at].1.take() {
            lines[at].0 = b"";
            messages.extend((item_type == "Message").then_some(id));
        }
    }
    (lines.into_iter().flat_map(|(line, _)| line.to_vec()).collect(), messages)
}

//! A small real file system (ext4 on a loop device) fills up under traffic and has space again: nothing that was
//! answered is lost, nothing that was refused is stored, no line is torn, and service comes back by itself. Mounting
//! takes root; without it the test says so and does nothing.

#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

mod support;

use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;
use support::{Answer, DEADLINE, Place, hook_body, post};

const CALLERS: usize = 4;
/// Answers of one kind that each caller waits for in each phase.
const EACH: usize = 20;

/// A file system of its own at a place's state directory.
struct SmallDisk {
    state: PathBuf,
    filler: PathBuf,
}

impl SmallDisk {
    fn mount(place: &Place) -> Option<Self> {
        let (image, state) = (place.dir.path().join("image"), place.state());
        std::fs::create_dir(&state).unwrap();
        std::fs::File::create(&image).unwrap().set_len(16 * 1024 * 1024).unwrap();
        let done = |command: &mut Command| {
            let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        let made = done(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))
            && done(Command::new("mount").args(["-o", "loop"]).args([&image, &state]));
        if !made {
            let need = if support::skip::has_program("mkfs.ext4", "a full disk") { "loop" } else { return None };
            support::skip::skipped(need, "a full disk");
            return None;
        }
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::remove_dir(state.join("lost+found")).unwrap();
        Some(Self { filler: state.join("filler"), state })
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(&self.filler).unwrap();
        let (bytes, mut size) = (vec![0; 1 << 20], 1 << 20);
        while size > 0 {
            match file.write(&bytes[..size]) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 2,
                Err(error) => panic!("{error}"),
            }
        }
        file.sync_all().unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.state).status();
    }
}

/// What one caller was told.
#[derive(Default)]
struct Told {
    started: BTreeSet<String>,
    refused: BTreeSet<String>,
    sent: BTreeSet<String>,
    refused_bodies: BTreeSet<String>,
}

/// A caller that starts sessions and sends messages, each when it is told to, and reports whether something was stored.
fn call(to: SocketAddr, caller: usize, outcomes: &Sender<(usize, bool)>, turns: &Receiver<()>) -> Told {
    let mut told = Told::default();
    for (number, ()) in turns.iter().enumerate() {
        let id = format!("s-{caller}-{number}");
        let stored = if number % 2 == 0 {
            let answer = post(to, "/hook/session-start", &[], hook_body(&id, "/w").as_bytes());
            let stored = is_stored(&answer, 200);
            assert!(stored || answer.body.is_empty(), "curl prints bodies into an agent's context: {answer:?}");
            if stored {
                told.started.insert(id)
            } else {
                told.refused.insert(id)
            };
            stored
        } else {
            let body = json!({"human": "ana", "to": "hub", "body": id}).to_string();
            let answer = post(to, "/v1/messages", &[("Content-Type", "application/json")], body.as_bytes());
            let stored = is_stored(&answer, 201);
            assert!(stored || answer.json()["error"]["code"] == "storage_full", "{answer:?}");
            if stored {
                told.sent.insert(id)
            } else {
                told.refused_bodies.insert(id)
            };
            stored
        };
        outcomes.send((caller, stored)).unwrap();
    }
    told
}

fn is_stored(answer: &Answer, success: u16) -> bool {
    assert!([success, 507].contains(&answer.status), "{answer:?}");
    answer.status == success
}

/// The callers, at work only while somebody waits for what they are told: they must not fill the disk by themselves.
struct Callers {
    turns: Vec<Sender<()>>,
    outcomes: Receiver<(usize, bool)>,
    threads: Vec<JoinHandle<Told>>,
}

impl Callers {
    fn start(to: SocketAddr) -> Self {
        let (outcome, outcomes) = channel();
        let start = |caller| {
            let (turn, turns) = channel();
            let outcome = outcome.clone();
            let thread = std::thread::Builder::new().spawn(move || call(to, caller, &outcome, &turns)).unwrap();
            (turn, thread)
        };
        let (turns, threads) = (0..CALLERS).map(start).unzip();
        Self { turns, outcomes, threads }
    }

    /// Lets all of them call until each has been told so often that something was stored, or that nothing was.
    fn call_until(&self, wanted: bool) {
        self.turns.iter().for_each(|turn| turn.send(()).unwrap());
        let mut left = [EACH; CALLERS];
        while left.iter().any(|left| *left > 0) {
            let (caller, stored) = self.outcomes.recv_timeout(DEADLINE).unwrap();
            left[caller] -= usize::from(stored == wanted);
            if left[caller] > 0 {
                self.turns[caller].send(()).unwrap();
            }
        }
    }

    fn stop(self) -> Vec<Told> {
        drop(self.turns);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

#[test]
fn a_full_disk_loses_no_answer_tears_no_line_and_is_served_from_again_by_itself() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place) else { return };
    let mut daemon = place.start();
    daemon.start_session("hub", "/w/hub");
    let callers = Callers::start(daemon.hooks);
    for _ in 0..3 {
        callers.call_until(true);
        disk.fill();
        callers.call_until(false);
        let health = daemon.get("/healthz");
        assert_eq!(health.status, 503, "{health:?}");
        assert!(daemon.sessions().contains_key("hub"), "reading goes on");
        std::fs::remove_file(&disk.filler).unwrap();
        let freed = Instant::now();
        callers.call_until(true);
        eprintln!("served again {} ms after space came back", freed.elapsed().as_millis());
        daemon.wait_for_line("the log can be written again");
        assert_eq!(daemon.get("/healthz").status, 200);
    }
    let told = callers.stop();
    assert_eq!(daemon.stop(), Some(0));
    check(&place, &told);
    let daemon = place.start();
    let sessions = daemon.sessions();
    for told in &told {
        assert!(told.started.iter().all(|id| sessions.contains_key(id)));
        assert!(told.refused.iter().all(|id| !sessions.contains_key(id)));
    }
    assert_eq!(daemon.stop(), Some(0));
}

/// Bounds the size of files that a daemon writes.
fn limit_files(daemon: &support::Daemon, bytes: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Pid::from_raw(daemon.pid().cast_signed()), Resource::Fsize, limit).unwrap();
}

// row 43
#[test]
fn a_limit_of_file_sizes_is_a_full_disk_and_ends_nothing() {
    let place = Place::new();
    let mut daemon = place.start();
    assert_eq!(daemon.start_session("before", "/w").status, 200);
    limit_files(&daemon, Some(std::fs::metadata(place.log_path()).unwrap().len() + 10));
    let refused = daemon.hook("/hook/session-start", &hook_body("refused", "/w"));
    assert_eq!(refused.status, 507, "{refused:?}");
    let reason = refused.header("marshal-error").unwrap();
    assert!(reason.starts_with("storage_full") && reason.contains("LimitFSIZE"), "{reason}");
    let health = daemon.get("/healthz");
    assert!(health.status == 503 && health.text().contains("storage_full"), "{health:?}");
    limit_files(&daemon, None);
    daemon.wait_for_line("the log can be written again");
    assert_eq!(daemon.start_session("after", "/w").status, 200);
    let sessions: BTreeSet<String> = daemon.sessions().into_keys().collect();
    assert_eq!(sessions, ["after", "before"].map(str::to_owned).into());
    assert_eq!(daemon.stop(), Some(0));
}

// row 44
#[test]
fn an_immutable_log_says_so_and_is_written_again_without_the_attribute() {
    let place = Place::new();
    let mut daemon = place.start();
    assert_eq!(daemon.start_session("before", "/w").status, 200);
    let set = |attribute: &str| {
        let mut command = Command::new("chattr");
        command.arg(attribute).arg(place.log_path()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !set("+i") {
        support::skip::skipped("chattr", "an immutable log");
        return;
    }
    let refused = daemon.hook("/hook/session-start", &hook_body("refused", "/w"));
    let health = daemon.get("/healthz");
    assert!(set("-i"));
    assert_eq!(refused.status, 507, "{refused:?}");
    let reason = refused.header("marshal-error").unwrap();
    assert!(reason.starts_with("storage_immutable") && reason.contains("chattr -i"), "{reason}");
    assert!(health.status == 503 && health.text().contains("storage_immutable"), "{health:?}");
    daemon.wait_for_line("the log can be written again");
    assert_eq!(daemon.start_session("after", "/w").status, 200);
}

/// The log holds what was answered and nothing that was refused, each line whole.
fn check(place: &Place, told: &[Told]) {
    let bytes = std::fs::read(place.log_path()).unwrap();
    assert!(bytes.ends_with(b"\n"));
    let (mut sessions, mut bodies) = (BTreeSet::new(), BTreeSet::new());
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        let event: serde_json::Value =
            serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)));
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        match event["itemType"].as_str().unwrap() {
            "Session" => drop(sessions.insert(text(&event["item"]["id"]))),
            "Message" => assert!(bodies.insert(text(&event["item"]["body"])), "stored twice: {event}"),
            _ => {}
        }
    }
    for told in told {
        assert!(told.started.is_subset(&sessions) && told.refused.is_disjoint(&sessions));
        assert!(told.sent.is_subset(&bodies) && told.refused_bodies.is_disjoint(&bodies));
        assert!(told.refused.len() + told.refused_bodies.len() >= 3 * EACH);
    }
}

//! A network full of callers who mean harm, all at once, against a daemon with 256 descriptors; and one who does not.
//! `scripts/hostile` runs it with more rounds on the release build and prints what it measures.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that fails must fail loudly

mod attack;
#[path = "../support/mod.rs"]
mod support;

use attack::Attack;
use marshal::limits::{DESCRIPTORS_PER_REMEMBERED, REMEMBERING_THREADS};
use serde_json::json;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Answer, DEADLINE, Daemon, Place, Shim, raw_unix};

/// Descriptors that the daemon has.
const DESCRIPTORS: usize = 256;
/// Threads that the daemon may have, whoever is connected.
const THREADS_MAX: usize = 20;
/// Memory that the daemon may have used at any time.
const PEAK_MIB_MAX: usize = 64;
/// No session of this test has a process, so that all handles are of remembered ancestors.
const PROCESS_HANDLES_MAX: usize = DESCRIPTORS / DESCRIPTORS_PER_REMEMBERED * REMEMBERING_THREADS;

/// Rounds of the well-meant caller: few where only right and wrong count.
fn rounds() -> usize {
    std::env::var("MARSHAL_HOSTILE_ROUNDS").map_or(60, |rounds| rounds.parse().unwrap())
}

/// The shell's limit is a hard one: the daemon cannot raise it.
fn start_with_few_descriptors(place: &Place) -> Daemon {
    place.start_with(|command| {
        let mut shell = Command::new("sh");
        let limited = format!(r#"ulimit -n {DESCRIPTORS} && exec "$0" serve"#);
        shell.args(["-c", &limited, env!("CARGO_BIN_EXE_marshal")]);
        shell.env_clear();
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        *command = shell;
    })
}

/// The attackers have more descriptors than the daemon.
fn raise_own_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(maximum.unwrap_or(8192).min(8192)), maximum }).unwrap();
}

#[derive(Debug, PartialEq, Clone, Copy)]
struct Footprint {
    /// Without logs whose place a compaction has taken: each is kept open for a minute, and how many has a bound of its own.
    /// Without handles of processes too.
    descriptors: usize,
    /// Each thread that looks up ancestors remembers some, from the first request on that it happens to get.
    process_handles: usize,
    threads: usize,
    peak_mib: usize,
}

/// What the daemon has open.
fn open_files(daemon: &Daemon) -> Vec<String> {
    let listed = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let links = listed.filter_map(|entry| entry.unwrap().path().read_link().ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

fn footprint(daemon: &Daemon) -> Footprint {
    let proc = format!("/proc/{}", daemon.pid());
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap()
    };
    let open = open_files(daemon);
    let (process_handles, others): (Vec<&String>, Vec<&String>) = open.iter().partition(|file| file.contains("pidfd"));
    Footprint {
        descriptors: others.iter().filter(|file| !file.ends_with("events.jsonl (deleted)")).count(),
        process_handles: process_handles.len(),
        threads: field("Threads:"),
        peak_mib: field("VmHWM:") / 1024,
    }
}

/// The caller who means well: a session by hook, a shim that was there before, and the command line's door.
struct Good<'a> {
    daemon: &'a Daemon,
    shim: Shim,
    sent: Vec<String>,
    took: Vec<Duration>,
}

impl Good<'_> {
    fn timed(&mut self, call: impl FnOnce(&Daemon) -> Answer) -> Answer {
        let begun = Instant::now();
        let answer = call(self.daemon);
        self.took.push(begun.elapsed());
        answer
    }

    /// Every call is answered, and rightly.
    fn round(&mut self, number: usize) {
        let id = format!("good-{}", number % 10);
        let start = self.timed(|daemon| daemon.start_session(&id, "/w/good"));
        assert!(start.text().contains("good"), "{start:?}");
        let body = format!("round {number}");
        let sent = self
            .timed(|daemon| daemon.post_json("/v1/messages", &json!({"asSession": "good-0", "to": id, "body": body})));
        assert_eq!(sent.status, 201, "{sent:?}");
        self.sent.push(sent.json()["messageId"].as_str().unwrap().to_owned());
        if !number.is_multiple_of(10) {
            let prompt = self.timed(|daemon| daemon.prompt(&id));
            assert!(prompt.status == 200 && (number % 10 == 9 || prompt.text().contains(&body)), "{prompt:?}");
        }
        let list = b"GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
        let list = self.timed(|daemon| raw_unix(&daemon.socket, list));
        let sessions = list.json()["sessions"].clone();
        assert!(sessions.as_array().unwrap().iter().any(|session| session["sessionId"] == id), "{sessions}");
        let answer = self.shim.command("SendMessage", json!({"toSessionId": "good-9", "body": body}));
        self.sent.push(answer["response"]["messageId"].as_str().unwrap().to_owned());
        let pushed = self
            .timed(|daemon| daemon.post_json("/v1/messages", &json!({"human": "alice", "to": "shim", "body": body})));
        assert_eq!(pushed.status, 201, "{pushed:?}");
        self.sent.push(pushed.json()["messageId"].as_str().unwrap().to_owned());
        assert_eq!(self.shim.push()["meta"]["body"], body);
    }

    /// The median and the 99th percentile of the calls so far, which are forgotten.
    fn percentiles(&mut self) -> [Duration; 2] {
        let mut took = std::mem::take(&mut self.took);
        took.sort();
        [took[took.len() / 2], took[took.len() * 99 / 100]]
    }
}

#[test]
fn a_good_caller_is_served_while_thousands_attack() {
    raise_own_descriptor_limit();
    let place = Place::new();
    let mut daemon = start_with_few_descriptors(&place);
    let said = std::mem::take(&mut daemon.said);
    let mut good = Good { daemon: &daemon, shim: daemon.connect(), sent: Vec::new(), took: Vec::new() };
    good.shim.publish("shim", "shim", "/w/good");
    // Its answer shows that the session is there.
    assert!(good.shim.command("SetSessionCurrentTask", json!({"id": "shim"}))["response"].is_null());
    daemon.start_session("good-9", "/w/good");
    // Something large to ask for and not to read.
    for number in 0..20 {
        let body = format!("{number} {}", "x".repeat(20_000));
        let sent = daemon.post_json("/v1/messages", &json!({"human": "alice", "to": "shim", "body": body}));
        assert_eq!(sent.status, 201, "{sent:?}");
        good.shim.push();
    }
    (0..10).for_each(|number| good.round(number));
    good.percentiles();
    (0..rounds()).for_each(|number| good.round(number));
    let calm = good.percentiles();
    let base = footprint(&daemon);

    let attack = Attack::start([daemon.hooks, daemon.websocket]);
    let mut threads = 0;
    for number in 0..rounds() {
        good.round(number);
        threads = threads.max(footprint(&daemon).threads);
    }
    let listed = place.run(&["ls"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("good-1"), "{listed:?}");
    let attacked = good.percentiles();
    let done = attack.stop();
    let stopped = Instant::now();

    good.round(1);
    let full_service = stopped.elapsed();
    while footprint(&daemon).threads > base.threads || footprint(&daemon).descriptors > base.descriptors {
        let open = open_files(&daemon);
        assert!(stopped.elapsed() < DEADLINE, "not back: {:?}, before: {base:?}: {open:#?}", footprint(&daemon));
        assert_eq!(daemon.get("/healthz").status, 200);
    }
    let (at_base, end) = (stopped.elapsed(), footprint(&daemon));
    good.percentiles();
    (0..rounds()).for_each(|number| good.round(number));
    let after = good.percentiles();

    let ratio = |index: usize| attacked[index].as_secs_f64() / calm[index].as_secs_f64();
    eprintln!("calm        p50 {:?} p99 {:?}", calm[0], calm[1]);
    eprintln!("attacked    p50 {:?} ({:.1}x) p99 {:?} ({:.1}x)", attacked[0], ratio(0), attacked[1], ratio(1));
    eprintln!("afterwards  p50 {:?} p99 {:?}", after[0], after[1]);
    eprintln!("peak {} MiB (before {}), threads {threads} (before {})", end.peak_mib, base.peak_mib, base.threads);
    eprintln!("a round after the attack {full_service:?}; descriptors and threads at their base after {at_base:?}");
    for attack in &done {
        eprintln!("{:>24}: opened {}, closed {}", attack.name, attack.opened, attack.closed);
    }

    let wrong: Vec<_> = done.iter().flat_map(|attack| &attack.wrong).collect();
    assert!(wrong.is_empty(), "{:?}", &wrong[..wrong.len().min(10)]);
    assert!(threads <= THREADS_MAX, "{threads} threads");
    assert!(end.process_handles <= PROCESS_HANDLES_MAX, "{end:?}");
    assert!(end.peak_mib <= PEAK_MIB_MAX, "{end:?}");
    let sent = std::mem::take(&mut good.sent);
    drop(good);
    daemon.signal("TERM");
    let (status, mut lines) = daemon.wait();
    lines.extend(said);
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("panic")), "{lines:#?}");
    check_log(&place, &sent);
}

/// What was acknowledged stands in the log, nothing in it is broken, and a new daemon reads it.
fn check_log(place: &Place, sent: &[String]) {
    let log = std::fs::read_to_string(place.log_path()).unwrap();
    assert!(log.ends_with('\n'));
    let mut missing: std::collections::BTreeSet<&str> = sent.iter().map(String::as_str).collect();
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        if event["itemType"] == "Message" {
            missing.remove(event["item"]["id"].as_str().unwrap());
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    let mut daemon = place.start();
    assert!(daemon.said.iter().any(|line| line.contains(" 0 malformed lines")), "{:#?}", daemon.said);
    daemon.said.clear();
    assert_eq!(daemon.stop(), Some(0));
}

//! What a long life leaves: the log after a million prompts of thirty sessions, how soon a daemon is ready on it, and
//! for how long a compaction holds up a caller.

use crate::daemon::{Daemon, Place};
use crate::hook_client::{call, hook, session};
use crate::report::{Aim, Figure, Report, Times};
use crate::scale::{prompt, write_log};
use crate::{Bench, die};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SESSIONS: usize = 30;
const THREADS: usize = 6;
/// Prompts of a session between two messages of it, and between two session-starts.
const MESSAGE_EVERY: usize = 100;
const START_EVERY: usize = 1_000;
const LOG_BYTES: f64 = 8.0 * 1024.0 * 1024.0;
const READY_MS: f64 = 100.0;
const PAUSE_MS: f64 = 50.0;
/// How long the caller is watched before and after the compaction.
const WATCH: Duration = Duration::from_secs(2);

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    let prompts = bench.count(1_000_000, 20_000);
    let daemon = Daemon::start(bench);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let daemon = &daemon;
            scope.spawn(move || {
                for number in (thread..SESSIONS).step_by(THREADS) {
                    work(daemon, number, prompts / SESSIONS);
                }
            });
        }
    });
    let took = begun.elapsed();
    report.add(Figure::new(
        format!("prompts a second, {prompts} by {SESSIONS} sessions"),
        "/s",
        prompts as f64 / took.as_secs_f64(),
    ));
    let live = daemon.metric("marshal_log_live_bytes ");
    let log = daemon.log();
    report.add(Figure::new("log after them", "bytes", log.len() as f64).beside("what counts", live));
    // What was said is kept for two weeks, however little the rest comes to.
    let said = |line: &&[u8]| memchr::memmem::find(line, br#""itemType":"Message"#).is_some();
    let rest: usize = log.split_inclusive(|byte| *byte == b'\n').filter(|line| !said(line)).map(<[u8]>::len).sum();
    let figure = Figure::new("log after them, without messages and receipts", "bytes", rest as f64);
    report.add(figure.aim(Aim::AtMost(LOG_BYTES)));
    let daemon = daemon.restart(bench);
    let ready = daemon.ready_after.as_secs_f64() * 1e3;
    report.add(Figure::new("restart to ready on it", "ms", ready).aim(Aim::AtMost(READY_MS)));
    drop(daemon);
    pause(bench, report);
}

/// A session's life: prompts, now and then a message to the next session, which gets it with its next prompt and has
/// read it then, and a start.
fn work(daemon: &Daemon, number: usize, prompts: usize) {
    hook(daemon, "session-start", number);
    let to = (number + 1) % SESSIONS;
    hook(daemon, "session-start", to);
    for count in 1..=prompts {
        hook(daemon, "prompt-submit", number);
        if count % START_EVERY == 0 {
            hook(daemon, "session-start", number);
        }
        if count % MESSAGE_EVERY == 0 {
            send(daemon, number, to);
            hook(daemon, "prompt-submit", to);
        }
    }
}

fn send(daemon: &Daemon, from: usize, to: usize) {
    let body = format!(r#"{{"asSession":"{}","to":"{}","body":"How far are you?"}}"#, session(from), session(to));
    post(daemon, "/v1/messages", &body);
}

fn post(daemon: &Daemon, path: &str, body: &str) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        daemon.hooks,
        body.len()
    );
    let mut answer = Vec::new();
    let result = call(daemon.hooks, request.as_bytes(), &mut answer);
    if result.is_err() || !answer.starts_with(b"HTTP/1.1 20") {
        die(&format!("{path} failed: {result:?}: {}", String::from_utf8_lossy(&answer)));
    }
}

/// The longest time between two answers of a steady caller while a log of 100,000 rows is compacted.
fn pause(bench: &Bench, report: &mut Report) {
    let rows = bench.count(100_000, 5_000);
    let place = Place::new(bench);
    write_log(&place.log(), 1_000, rows - 3_041).unwrap_or_else(|error| die(&format!("cannot write a log: {error}")));
    let daemon = Daemon::start_in(bench, place);
    // Its mail is handed over before.
    for _ in 0..6 {
        hook(&daemon, "prompt-submit", 0);
    }
    let before = watch_until(&daemon, |begun| begun.elapsed() > WATCH);
    let done = AtomicBool::new(false);
    let (during, took) = std::thread::scope(|scope| {
        let compaction = scope.spawn(|| {
            let begun = Instant::now();
            post(&daemon, "/v1/compact", "{}");
            done.store(true, Ordering::Relaxed);
            begun.elapsed()
        });
        let during = watch_until(&daemon, |begun| done.load(Ordering::Relaxed) && begun.elapsed() > WATCH / 2);
        (during, compaction.join().expect("the compaction panicked"))
    });
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let longest = |times: &[Duration]| ms(times.iter().copied().max().unwrap_or_default());
    let without = longest(&before);
    let pause = longest(&during);
    let p99 = Times::new(before).p99() / 1e3;
    report.add(Figure::new(format!("compaction of {rows} rows"), "ms", ms(took)));
    report.add(Figure::new("longest wait of a caller without a compaction", "ms", without).beside("its p99", p99));
    let figure = Figure::new("longest wait of a caller during it", "ms", pause).beside("p99 without", p99);
    report.add(figure.aim(Aim::AtMost(PAUSE_MS)));
}

/// The times between the answers to a caller who calls without a pause.
fn watch_until(daemon: &Daemon, is_over: impl Fn(Instant) -> bool) -> Vec<Duration> {
    let bytes = prompt(daemon, 0);
    let (mut times, mut answer) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    let mut last = begun;
    while !is_over(begun) {
        call(daemon.hooks, &bytes, &mut answer).unwrap_or_else(|error| die(&format!("a hook failed: {error}")));
        let now = Instant::now();
        times.push(now - last);
        last = now;
    }
    times
}

//! Messages between WebSocket clients: from the send to the push, and how many a second. Every one of them is on disk
//! before anybody hears of it.

use crate::daemon::Daemon;
use crate::hook_client::{hook, session};
use crate::report::{Aim, Figure, Report, Times};
use crate::ws_client::{Client, Kind};
use crate::{Bench, probe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const IN_FLIGHT: usize = 50;
const BODY: &str =
    "Please look at the failing test in src/store before you go on; I have changed the format of the log.";
/// The aim for durable sends of one client with 50 in flight.
const SENDS_A_SECOND: f64 = 15_000.0;

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    let daemon = Daemon::start(bench);
    let (times, disk) = probe::beside_disk(bench, || latency(bench, &daemon));
    report.add(Figure::times("send to push, one way", &times).beside("fdatasync", disk));

    hook(&daemon, "session-start", 1);
    let (rate, disk) = probe::beside_disk(bench, || in_flight(bench, &daemon, false));
    let figure = Figure::new("sends a second, 50 in flight, to a session without client", "/s", rate);
    report.add(figure.beside("fdatasync/s", 1e6 / disk).aim(Aim::AtLeast(SENDS_A_SECOND)));
    let daemon = Daemon::start(bench);
    let (rate, disk) = probe::beside_disk(bench, || in_flight(bench, &daemon, true));
    let figure = Figure::new("sends a second, 50 in flight, each pushed and read", "/s", rate);
    report.add(figure.beside("fdatasync/s", 1e6 / disk).aim(Aim::AtLeast(SENDS_A_SECOND)));

    for pairs in [1, 16, 64] {
        let daemon = Daemon::start(bench);
        let ((rate, times), disk) = probe::beside_disk(bench, || in_pairs(bench, &daemon, pairs));
        report.add(Figure::times(format!("send to push, {pairs} pairs"), &times).beside("fdatasync", disk));
        let figure = Figure::new(format!("sends a second, {pairs} pairs"), "/s", rate);
        report.add(figure.beside("fdatasync/s", 1e6 / disk));
    }
}

fn pair(daemon: &Daemon, number: usize) -> (Client, Client, String, String) {
    let (from, to) = (format!("from-{number}"), format!("to-{number}"));
    let (mut sender, mut receiver) = (Client::connect(daemon.websocket), Client::connect(daemon.websocket));
    sender.publish(&from);
    receiver.publish(&to);
    (sender, receiver, from, to)
}

/// One message now and then: each finds the daemon asleep, and the mark of the one before it on disk.
fn latency(bench: &Bench, daemon: &Daemon) -> Times {
    let (mut sender, mut receiver, from, to) = pair(daemon, 9999);
    let mut once = |number| {
        std::thread::sleep(Duration::from_millis(3));
        sender.queue_send(&from, &to, BODY, number);
        let begun = Instant::now();
        sender.flush();
        receiver.wait_for(Kind::Push);
        let took = begun.elapsed();
        sender.wait_for(Kind::Answer);
        took
    };
    Times::new((0..bench.count(400, 40)).map(&mut once).collect())
}

/// One client that does not wait for an answer before it sends the next message. Gives answers a second.
fn in_flight(bench: &Bench, daemon: &Daemon, pushed: bool) -> f64 {
    let count = bench.count(60_000, 2000);
    let (mut sender, mut receiver, from, to) = pair(daemon, usize::from(pushed));
    let to = if pushed { to } else { session(1) };
    std::thread::scope(|scope| {
        // Every push arrives, or this waits until its deadline and says so.
        let reader = scope.spawn(move || {
            let mut pushes = 0;
            while pushed && pushes < count {
                pushes += receiver.read_some(Kind::Push);
            }
        });
        let begun = Instant::now();
        let (mut sent, mut answered) = (0, 0);
        while answered < count {
            while sent < count && sent - answered < IN_FLIGHT {
                sender.queue_send(&from, &to, BODY, sent);
                sent += 1;
            }
            sender.flush();
            answered += sender.read_answers();
        }
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        reader.join().expect("the receiver panicked");
        rate
    })
}

/// Pairs, each of which sends its next message when the one before has arrived and is answered.
fn in_pairs(bench: &Bench, daemon: &Daemon, pairs: usize) -> (f64, Times) {
    let length = Duration::from_millis(bench.count(2000, 300) as u64);
    let ready: Vec<_> = (0..pairs).map(|number| pair(daemon, number)).collect();
    let total = AtomicUsize::new(0);
    let begun = Instant::now();
    let run = |(mut sender, mut receiver, from, to): (Client, Client, String, String)| {
        let total = &total;
        move || {
            let mut times = Vec::new();
            while begun.elapsed() < length {
                sender.queue_send(&from, &to, BODY, times.len());
                let sent = Instant::now();
                sender.flush();
                receiver.wait_for(Kind::Push);
                times.push(sent.elapsed());
                sender.wait_for(Kind::Answer);
                total.fetch_add(1, Ordering::Relaxed);
            }
            times
        }
    };
    let times: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = ready.into_iter().map(|pair| scope.spawn(run(pair))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a pair panicked")).collect()
    });
    (total.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64(), Times::new(times))
}

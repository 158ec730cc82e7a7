//! Messages between WebSocket clients: from the send to the push, and how many a second. Every one of them is on disk
//! before anybody hears of it.

use crate::daemon::Daemon;
use crate::hook_client::{hook, session};
use crate::many::{Connection, Kind, Rate, drive, drive_on_time};
use crate::process::{self, Usage};
use crate::relay::Relay;
use crate::report::{Aim, Figure, Report, Times};
use crate::ws_client::{Client, add_send};
use crate::{Bench, probe};
use std::time::{Duration, Instant};

const IN_FLIGHT: usize = 50;
const BODY: &str =
    "Please look at the failing test in src/store before you go on; I have changed the format of the log.";
/// The aim for durable sends of one client with 50 in flight.
const SENDS_A_SECOND: f64 = 15_000.0;
/// The aim for durable messages of 64 pairs.
const PAIRS_A_SECOND: f64 = 40_000.0;
/// How many they are given to send in a second where what comes is not decided by what has arrived.
const OFFERED_A_SECOND: f64 = 42_000.0;
/// Microseconds that a durable message may take from its sender to its receiver beyond the disk's own time.
const ONE_WAY_ABOVE_DISK_US: f64 = 250.0;
/// The pause before each message of those that are sent now and then, and before each take of the disk beside them.
const PAUSE: Duration = Duration::from_millis(3);

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    let daemon = Daemon::start(bench);
    let (times, disk) = probe::beside_paced_disk(bench, PAUSE, || latency(bench, &daemon));
    let figure = Figure::times("send to push, one way", &times).beside("paced fdatasync", disk);
    report.add(figure.aim(Aim::AboveFloorAtMost(ONE_WAY_ABOVE_DISK_US)));

    hook(&daemon, "session-start", 1);
    let (rate, disk) = probe::beside_disk(bench, || in_flight(bench, &daemon, false));
    let figure = Figure::new("sends a second, 50 in flight, to a session without client", "/s", rate);
    report.add(figure.beside("fdatasync/s", 1e6 / disk).aim(Aim::AtLeast(SENDS_A_SECOND)));
    let daemon = Daemon::start(bench);
    let (rate, disk) = probe::beside_disk(bench, || in_flight(bench, &daemon, true));
    let figure = Figure::new("sends a second, 50 in flight, each pushed and read", "/s", rate);
    report.add(figure.beside("fdatasync/s", 1e6 / disk).aim(Aim::AtLeast(SENDS_A_SECOND)));
}

/// Many clients at once.
pub(crate) fn pairs_section(bench: &Bench, report: &mut Report) {
    for pairs in [1, 16, 64] {
        let daemon = Daemon::start(bench);
        // A single pair waits for the disk. Many share its syncs, and sockets and processors are what bounds them.
        let relay = (pairs > 1).then(|| relay_like(&daemon));
        let take = || relay.as_ref().map(|relay| relay.run(pairs, |clients| exchange(clients, length(bench) / 2).0));
        let before = take();
        let ((rate, times, used), disk) = probe::beside_disk(bench, || in_pairs(bench, &daemon, pairs));
        let bare = before.zip(take()).map(|(before, after)| before.and(after).a_second());
        let figure = Figure::times(format!("send to push, {pairs} pairs"), &times).beside("fdatasync", disk);
        // More pairs wait for each other and not only for the disk.
        let aim = if pairs == 1 { Aim::AboveFloorAtMost(ONE_WAY_ABOVE_DISK_US) } else { Aim::None };
        report.add(figure.aim(aim));
        let figure = Figure::new(format!("sends a second, {pairs} pairs"), "/s", rate.a_second());
        report.add(figure.beside("fdatasync/s", 1e6 / disk));
        if let Some(bare) = bare {
            report.add(Figure::new(format!("sends a second of a bare relay, {pairs} pairs"), "/s", bare));
            let what = format!("sends a second, {pairs} pairs, beside a bare relay");
            report.add(Figure::new(what, "/s", rate.a_second()).beside("relay/s", bare));
        }
        if let Some(used) = used {
            report_usage(report, used, rate.count, pairs);
        }
    }
    offered_section(bench, report);
}

/// Senders who do not wait for each other, nor for their own last message: every one is sent when its time has come.
fn offered_section(bench: &Bench, report: &mut Report) {
    let daemon = Daemon::start(bench);
    let mut connections = connected(&daemon, 64);
    let ((rate, times), disk) =
        probe::beside_disk(bench, || offered(&mut connections, OFFERED_A_SECOND, length(bench)));
    let figure = Figure::times("due to be sent to push, 64 pairs, 42000/s due", &times);
    report.add(figure.beside("fdatasync", disk));
    let figure = Figure::new("pushed a second, 64 pairs, 42000/s due", "/s", rate.a_second());
    report.add(figure.beside("fdatasync/s", 1e6 / disk).aim(Aim::AtLeast(PAIRS_A_SECOND)));
}

fn report_usage(report: &mut Report, used: Usage, count: usize, pairs: usize) {
    let each = |used: f64| used / count as f64;
    let cpu = each(used.cpu.as_secs_f64() * 1e6);
    report.add(Figure::new(format!("processor time of the daemon for a send, {pairs} pairs"), "us", cpu));
    let wakeups = each(used.wakeups as f64);
    report.add(Figure::new(format!("wake-ups of the daemon for a send, {pairs} pairs"), "", wakeups));
}

/// A relay of the frames that the daemon makes of a message whose names and number are as long as most.
fn relay_like(daemon: &Daemon) -> Relay {
    let (mut sender, mut receiver, from, to) = pair(daemon, 99);
    sender.queue_send(&from, &to, BODY, 12_345);
    sender.flush();
    Relay { push: receiver.wait_for(Kind::Push).to_owned(), answer: sender.wait_for(Kind::Answer).to_owned() }
}

fn names(number: usize) -> (String, String) {
    (format!("from-{number}"), format!("to-{number}"))
}

fn pair(daemon: &Daemon, number: usize) -> (Client, Client, String, String) {
    let (from, to) = names(number);
    let (mut sender, mut receiver) = (Client::connect(daemon.websocket), Client::connect(daemon.websocket));
    sender.publish(&from);
    receiver.publish(&to);
    (sender, receiver, from, to)
}

/// One message now and then: each finds the daemon asleep, and the mark of the one before it on disk.
fn latency(bench: &Bench, daemon: &Daemon) -> Times {
    let (mut sender, mut receiver, from, to) = pair(daemon, 9999);
    let mut once = |number| {
        std::thread::sleep(PAUSE);
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

/// How long pairs exchange messages.
fn length(bench: &Bench) -> Duration {
    Duration::from_millis(bench.count(2000, 300) as u64)
}

/// Pairs that the daemon serves.
fn in_pairs(bench: &Bench, daemon: &Daemon, pairs: usize) -> (Rate, Times, Option<Usage>) {
    let mut connections = connected(daemon, pairs);
    let before = process::is_known().then(|| process::usage(daemon.pid()));
    let (rate, times) = exchange(&mut connections, length(bench));
    let used = before.map(|before| process::usage(daemon.pid()).since(before));
    (rate, times, used)
}

/// Senders have even numbers, each with its receiver behind it.
fn connected(daemon: &Daemon, pairs: usize) -> Vec<Connection> {
    let both = (0..pairs).map(|number| pair(daemon, number));
    both.flat_map(|(sender, receiver, ..)| [sender, receiver].map(Client::into_one_of_many)).collect()
}

/// Messages that are due at even distances, of all pairs in turn, and are sent then whatever is still under way. A time is
/// from when a message was due to its push, so that whoever sends late does not hide that; the rate is of those that were
/// pushed while messages were due.
fn offered(connections: &mut [Connection], a_second: f64, length: Duration) -> (Rate, Times) {
    let names: Vec<(String, String)> = (0..connections.len() / 2).map(names).collect();
    let count = (a_second * length.as_secs_f64()) as usize;
    let begun = Instant::now();
    let due_at = |number: usize| begun + Duration::from_secs_f64(number as f64 / a_second);
    let (mut sent, mut answered, mut pushed_in_time) = (0, 0, 0);
    let (mut pushes, mut times) = (vec![0; names.len()], Vec::with_capacity(count));
    let queue_due = |connections: &mut [Connection]| {
        while sent < count && due_at(sent) <= Instant::now() {
            let (from, to) = &names[sent % names.len()];
            add_send(&mut connections[2 * (sent % names.len())].out, from, to, BODY, sent);
            sent += 1;
        }
        (sent < count).then(|| due_at(sent).saturating_duration_since(Instant::now()))
    };
    drive_on_time(connections, queue_due, |_, number, kind| {
        match (number % 2, kind) {
            // The pushes of one pair come in the order in which they were sent.
            (1, Kind::Push) => {
                let pair = number / 2;
                let now = Instant::now();
                times.push(now - due_at(pushes[pair] * names.len() + pair));
                pushes[pair] += 1;
                pushed_in_time += usize::from(now - begun < length);
            }
            (0, Kind::Answer) => answered += 1,
            _ => {}
        }
        answered < count || times.len() < count
    });
    (Rate { count: pushed_in_time, length }, Times::new(times))
}

/// Pairs, each of which sends its next message when the one before has arrived and is answered. One thread drives them
/// all. Senders have even numbers, each with its receiver behind it.
fn exchange(connections: &mut [Connection], length: Duration) -> (Rate, Times) {
    let names: Vec<(String, String)> = (0..connections.len() / 2).map(names).collect();
    let begun = Instant::now();
    let mut sent_at = vec![begun; names.len()];
    let mut arrived = vec![0; names.len()];
    for (number, (from, to)) in names.iter().enumerate() {
        add_send(&mut connections[2 * number].out, from, to, BODY, 0);
    }
    let (mut times, mut under_way) = (Vec::new(), names.len());
    drive(connections, |connections, number, kind| {
        let pair = number / 2;
        match (number % 2, kind) {
            (1, Kind::Push) => times.push(sent_at[pair].elapsed()),
            (0, Kind::Answer) => {}
            _ => return true,
        }
        arrived[pair] += 1;
        if arrived[pair] == 2 {
            arrived[pair] = 0;
            let now = Instant::now();
            if now - begun < length {
                let (from, to) = &names[pair];
                add_send(&mut connections[2 * pair].out, from, to, BODY, times.len());
                sent_at[pair] = now;
            } else {
                under_way -= 1;
            }
        }
        under_way > 0
    });
    let rate = Rate { count: times.len(), length: begun.elapsed() };
    (rate, Times::new(times))
}

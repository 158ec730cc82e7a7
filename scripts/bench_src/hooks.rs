//! What one hook costs: session-start, which waits for the disk, and prompt-submit with an empty inbox, which must not;
//! each with few sessions, with many, and with many stored messages. The three daemons and the floor take turns, call
//! by call, so that whatever else the machine does hits all of them alike.

use crate::Bench;
use crate::daemon::Daemon;
use crate::hook_client::{hook, session, start_many};
use crate::probe::{DiskProbe, EchoProbe};
use crate::report::{Aim, Figure, Report, Times};
use crate::ws_client::Client;
use std::cell::Cell;

/// Microseconds that a durable hook may take beyond the disk's own time.
const START_ABOVE_DISK_US: f64 = 300.0;
/// How much more a hook may cost when the roster is full.
const GROWTH: f64 = 1.5;
/// Sessions that are measured have numbers from here on.
const NEW: usize = 1 << 24;

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    let (many, messages) = (bench.count(2000, 100), bench.count(20_000, 500));
    let daemons = [Daemon::start(bench), Daemon::start(bench), Daemon::start(bench)];
    start_many(&daemons[0], 0, 3);
    start_many(&daemons[1], 0, many);
    start_many(&daemons[2], 0, many);
    store_messages(&daemons[2], messages, many);
    let names = ["3 sessions", &format!("{many} sessions"), &format!("{many} sessions, {messages} messages")];

    let disk = DiskProbe::new(bench);
    let mut number = NEW;
    let written = Cell::new(0);
    let once = |daemon: &Daemon| {
        number += 1;
        let before = daemon.log_bytes();
        let took = hook(daemon, "session-start", number);
        written.set(daemon.log_bytes() - before);
        // The end of the session keeps the roster at the size that was asked for.
        hook(daemon, "session-end", number);
        took
    };
    let (floor, starts) = in_turn(bench.count(400, 40), &daemons, || disk.once_of(written.get()), once);
    for (name, times) in names.iter().zip(&starts) {
        let figure = Figure::times(format!("session-start, {name}"), times).beside("same bytes", floor.p50());
        report.add(figure.aim(Aim::AboveFloorAtMost(START_ABOVE_DISK_US)));
    }

    let mut number = 0;
    let once = |daemon: &Daemon| {
        number += 1;
        hook(daemon, "prompt-submit", number % 3)
    };
    let (floor, prompts) = EchoProbe::run(|echo| in_turn(bench.count(2000, 100), &daemons, || echo.once(), once));
    for (name, times) in names.iter().zip(&prompts) {
        report.add(Figure::times(format!("prompt-submit, {name}"), times).beside("echo", floor.p50()));
    }
    for (hook, times) in [("session-start", starts), ("prompt-submit", prompts)] {
        for (name, full) in names.iter().zip(&times).skip(1) {
            let figure = Figure::new(format!("{hook}, {name}, beside {}", names[0]), "us", full.p50());
            report.add(figure.beside("few", times[0].p50()).aim(Aim::RatioAtMost(GROWTH)));
        }
    }
    drop(daemons);
    crate::hook_paths::add(bench, report);
}

/// The floor and a call to each daemon, again and again.
fn in_turn(
    count: usize,
    daemons: &[Daemon; 3],
    floor: impl Fn() -> std::time::Duration,
    mut once: impl FnMut(&Daemon) -> std::time::Duration,
) -> (Times, [Times; 3]) {
    let mut floors = Vec::new();
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..count {
        floors.push(floor());
        for (daemon, times) in daemons.iter().zip(&mut times) {
            times.push(once(daemon));
        }
    }
    (Times::new(floors), times.map(Times::new))
}

/// Messages that nobody has read, for all sessions but the few that are measured.
fn store_messages(daemon: &Daemon, messages: usize, sessions: usize) {
    let mut sender = Client::connect(daemon.websocket);
    sender.publish("sender-of-many");
    let (mut sent, mut answered) = (0, 0);
    while answered < messages {
        while sent < messages && sent - answered < 50 {
            sender.queue_send("sender-of-many", &session(3 + sent % (sessions - 3)), "a message that waits", sent);
            sent += 1;
        }
        sender.flush();
        answered += sender.read_answers();
    }
}

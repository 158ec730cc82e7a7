//! What one hook costs: session-start, which waits for the disk, and prompt-submit with an empty inbox, which must not;
//! each with few sessions, with many, and with many stored messages.

use crate::daemon::Daemon;
use crate::hook_client::{hook, session, start_many};
use crate::report::{Aim, Figure, Report, Times};
use crate::ws_client::Client;
use crate::{Bench, probe};

/// Milliseconds that a durable hook may take beyond the disk's own time.
const START_ABOVE_DISK_US: f64 = 300.0;
/// How much more a hook may cost when the roster is full.
const GROWTH: f64 = 1.5;

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    let many = bench.count(2000, 100);
    let daemon = Daemon::start(bench);
    start_many(&daemon, 0, 3);
    let few = measure(bench, report, &daemon, "3 sessions", 1 << 20);
    drop(daemon);

    let daemon = Daemon::start(bench);
    start_many(&daemon, 0, many);
    let full = measure(bench, report, &daemon, &format!("{many} sessions"), 2 << 20);
    let messages = bench.count(20_000, 500);
    store_messages(&daemon, messages, many);
    let stored = measure(bench, report, &daemon, &format!("{many} sessions, {messages} messages"), 3 << 20);

    for (what, (start, prompt)) in [("many sessions", full), ("many messages", stored)] {
        let start = Figure::new(format!("session-start with {what} beside few"), "us", start);
        report.add(start.beside("few", few.0).aim(Aim::RatioAtMost(GROWTH)));
        let prompt = Figure::new(format!("prompt-submit with {what} beside few"), "us", prompt);
        report.add(prompt.beside("few", few.1).aim(Aim::RatioAtMost(GROWTH)));
    }
}

/// The medians of both hooks, session-start first.
fn measure(bench: &Bench, report: &mut Report, daemon: &Daemon, with: &str, new: usize) -> (f64, f64) {
    let count = bench.count(400, 40);
    let starts = || Times::new((new..new + count).map(|number| hook(daemon, "session-start", number)).collect());
    let (start, disk) = probe::beside_disk(bench, starts);
    let figure = Figure::times(format!("session-start, {with}"), &start).beside("fdatasync", disk);
    report.add(figure.aim(Aim::AboveFloorAtMost(START_ABOVE_DISK_US)));
    // The end of these sessions keeps the roster at the size that was asked for.
    (new..new + count).for_each(|number| drop(hook(daemon, "session-end", number)));

    let count = bench.count(2000, 100);
    let prompts = || Times::new((0..count).map(|n| hook(daemon, "prompt-submit", n % 3)).collect());
    let (prompt, echo) = probe::beside_echo(bench, prompts);
    report.add(Figure::times(format!("prompt-submit, {with}"), &prompt).beside("echo", echo));
    (start.p50(), prompt.p50())
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

//! What the daemon holds in memory: just started, with sessions, with connected clients, and after they left.

use crate::Bench;
use crate::daemon::Daemon;
use crate::hook_client::start_many;
use crate::process::{self, Memory};
use crate::report::{Aim, Figure, Report};
use crate::ws_client::Client;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const IDLE_KIB: f64 = 8.0 * 1024.0;
const CLIENTS_KIB: f64 = 64.0 * 1024.0;
/// The daemon pings every 20 s and gives up after 60 s of silence.
const PONG_EVERY: Duration = Duration::from_secs(15);
/// Between two shims that come one by one.
const PACE: Duration = Duration::from_millis(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A daemon that used less than this since the last look has nothing left to do.
const QUIET_CPU: Duration = Duration::from_millis(2);
const QUIET_LOOK: Duration = Duration::from_millis(400);
const QUIET_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    if !process::is_known() {
        return report.note("memory is measured on Linux only");
    }
    let many = bench.count(1000, 50);
    let daemon = Daemon::start(bench);
    settle(&daemon);
    add(report, "idle, just started", &daemon, Aim::AtMost(IDLE_KIB));
    start_many(&daemon, 0, many);
    settle(&daemon);
    add(report, &format!("{many} sessions by hooks"), &daemon, Aim::None);
    drop(daemon);

    let daemon = Daemon::start(bench);
    let plain = |client: &mut Client, _: usize| client.flush();
    with_clients(&daemon, many, plain, |held| {
        settle(&daemon);
        add(report, &format!("{held} clients that say nothing"), &daemon, Aim::None);
    });
    drop(daemon);

    let daemon = Daemon::start(bench);
    let one_by_one = |client: &mut Client, number: usize| {
        as_shim(client, number);
        client.wait_for_text("q-RoomMember");
        std::thread::sleep(PACE);
    };
    with_clients(&daemon, many, one_by_one, |held| {
        settle(&daemon);
        add(report, &format!("{held} shims with live queries, come one by one"), &daemon, Aim::AtMost(CLIENTS_KIB));
    });
    drop(daemon);

    // As after a restart of the daemon: each that comes is told to all others, who have not been told of the last yet.
    let daemon = Daemon::start(bench);
    with_clients(&daemon, many, as_shim, |held| {
        settle(&daemon);
        add(report, &format!("{held} shims with live queries, come at once"), &daemon, Aim::AtMost(CLIENTS_KIB));
    });
    settle(&daemon);
    add(report, "after all of them left", &daemon, Aim::None);
    if !bench.quick {
        // Their sessions are kept for a grace of 10 s, and looked at every 3 s.
        std::thread::sleep(Duration::from_secs(15));
        settle(&daemon);
        add(report, "after their sessions are gone too", &daemon, Aim::None);
    }
}

/// What a shim says first.
pub(crate) fn as_shim(client: &mut Client, number: usize) {
    client.queue_session(&format!("{number:08x}-shim"), &format!("/work/project-{}", number % 40));
    ["Session", "Room", "RoomMember"].into_iter().for_each(|item_type| client.queue_query(item_type));
    client.flush();
}

fn add(report: &mut Report, what: &str, daemon: &Daemon, aim: Aim) {
    let Memory { rss, peak, pss, private, threads } = process::memory(daemon.pid());
    report.add(Figure::new(format!("RSS, {what}"), "KiB", rss).aim(aim));
    report.note(&format!("private {private} KiB, Pss {pss} KiB, peak RSS {peak} KiB, {threads} threads"));
}

/// Waits until the daemon has nothing more to do.
pub(crate) fn settle(daemon: &Daemon) {
    let end = Instant::now() + QUIET_DEADLINE;
    let mut before = process::usage(daemon.pid()).cpu;
    while Instant::now() < end {
        std::thread::sleep(QUIET_LOOK);
        let now = process::usage(daemon.pid()).cpu;
        if now.saturating_sub(before) < QUIET_CPU {
            return;
        }
        before = now;
    }
}

/// Connects clients one after the other, lets each say something, and holds them while `measure` runs. Meanwhile what
/// they are told is read away, and they give signs of life as real ones do.
pub(crate) fn with_clients(
    daemon: &Daemon,
    count: usize,
    say: impl Fn(&mut Client, usize),
    measure: impl FnOnce(usize),
) {
    let (to_hold, held) = crossbeam_channel::bounded::<Client>(16);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| hold(&held, &stop));
        for number in 0..count {
            let mut client = Client::connect(daemon.websocket);
            say(&mut client, number);
            client.stream.set_nonblocking(true).expect("a socket can be made non-blocking");
            to_hold.send(client).expect("the holder lives");
        }
        measure(count);
        stop.store(true, Ordering::Relaxed);
        let lost = holder.join().expect("the holder panicked");
        if lost > 0 {
            crate::die(&format!("the daemon disconnected {lost} of {count} clients"));
        }
    });
}

/// Holds clients until told to stop. Says how many the daemon disconnected.
fn hold(arriving: &crossbeam_channel::Receiver<Client>, stop: &AtomicBool) -> usize {
    let mut scratch = vec![0; 256 * 1024];
    let mut clients: Vec<(Client, Instant)> = Vec::new();
    let mut lost = 0;
    while !stop.load(Ordering::Relaxed) {
        clients.extend(arriving.try_iter().map(|client| (client, Instant::now() + PONG_EVERY)));
        clients.retain_mut(|(client, pong_at)| {
            if Instant::now() >= *pong_at {
                *pong_at += PONG_EVERY;
                client.pong();
            }
            let lives = client.discard(&mut scratch);
            lost += usize::from(!lives);
            lives
        });
        std::thread::sleep(LOOK_EVERY);
    }
    lost
}

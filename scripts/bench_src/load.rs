//! Many callers at once: the store writes what waits with one write and one sync, so that many callers together must
//! get far more done than one.

use crate::daemon::Daemon;
use crate::hook_client::hook;
use crate::report::{Aim, Figure, Report, Times};
use crate::{Bench, probe};
use std::time::{Duration, Instant};

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    let mut one = 0.0;
    for threads in [1, 16, 64] {
        let daemon = Daemon::start(bench);
        let ((rate, times), disk) = probe::beside_disk(bench, || starts(bench, &daemon, threads));
        let figure = Figure::times(format!("session-start, {threads} at once"), &times);
        report.add(figure.beside("fdatasync", disk));
        let figure = Figure::new(format!("session-starts a second, {threads} at once"), "/s", rate);
        one = if threads == 1 { rate } else { one };
        let aim = if threads == 64 { Aim::RatioAtLeast(10.0) } else { Aim::None };
        report.add(figure.beside("one at a time", one).aim(aim));
    }
    let ((rate, _), echo) = probe::beside_echo(bench, || {
        let daemon = Daemon::start(bench);
        (0..3).for_each(|number| drop(hook(&daemon, "session-start", number)));
        drive(bench, 16, |thread, _| hook(&daemon, "prompt-submit", thread % 3))
    });
    report.add(Figure::new("prompt-submits a second, 16 at once", "/s", rate).beside("echo/s, one", 1e6 / echo));
}

fn starts(bench: &Bench, daemon: &Daemon, threads: usize) -> (f64, Times) {
    drive(bench, threads, |thread, round| hook(daemon, "session-start", (thread << 20) + round))
}

/// Calls `once` from many threads for a while. Gives calls a second, and how long each took.
fn drive(bench: &Bench, threads: usize, once: impl Fn(usize, usize) -> Duration + Sync) -> (f64, Times) {
    let length = Duration::from_millis(bench.count(2000, 200) as u64);
    let begun = Instant::now();
    let worker = |thread| {
        let once = &once;
        move || {
            let mut times = Vec::new();
            while begun.elapsed() < length {
                times.push(once(thread, times.len()));
            }
            times
        }
    };
    let times: Vec<Duration> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(worker(thread))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a caller panicked")).collect()
    });
    (times.len() as f64 / begun.elapsed().as_secs_f64(), Times::new(times))
}

//! Many callers at once: the store writes what waits with one write and one sync, so that many callers together must
//! get far more done than one. The numbers of callers take turns, so that a noisy minute hits all of them alike.

use crate::daemon::Daemon;
use crate::hook_client::hook;
use crate::report::{Aim, Figure, Report, Times};
use crate::{Bench, probe};
use std::time::{Duration, Instant};

const THREADS: [usize; 3] = [1, 16, 64];
/// How many times as much 64 callers get done as one.
const TOGETHER: f64 = 10.0;

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    let daemon = Daemon::start(bench);
    let mut runs = [const { Run { calls: Vec::new(), length: Duration::ZERO } }; 3];
    let rounds = || {
        for round in 0..bench.count(5, 1) {
            for (run, threads) in runs.iter_mut().zip(THREADS) {
                let first = ((round * 100 + threads) << 8) << 12;
                run.drive(bench, threads, |thread, call| hook(&daemon, "session-start", first + (thread << 12) + call));
            }
        }
    };
    let ((), disk) = probe::beside_disk(bench, rounds);
    let one = runs[0].rate();
    let mut bare = Run { calls: Vec::new(), length: Duration::ZERO };
    probe::EchoProbe::run(|echo| bare.drive(bench, 64, |_, _| echo.once()));
    let bare = bare.rate();
    report.add(Figure::new("bare echoes a second, 64 at once: what the processors allow", "/s", bare));
    for (run, threads) in runs.into_iter().zip(THREADS) {
        let rate = run.rate();
        let times = Times::new(run.calls);
        report.add(Figure::times(format!("session-start, {threads} at once"), &times).beside("fdatasync", disk));
        let figure = Figure::new(format!("session-starts a second, {threads} at once"), "/s", rate);
        let aim = if threads == 64 { Aim::RatioAtLeast(TOGETHER) } else { Aim::None };
        report.add(figure.beside("one at a time", one).aim(aim));
        let figure = Figure::new(format!("the same beside bare echoes, {threads} at once"), "/s", rate);
        report.add(figure.beside("echo/s, 64", bare));
    }
    let mut prompts = Run { calls: Vec::new(), length: Duration::ZERO };
    let submit = || prompts.drive(bench, 16, |thread, _| hook(&daemon, "prompt-submit", thread % 3));
    let ((), echo) = probe::beside_echo(bench, submit);
    let figure = Figure::new("prompt-submits a second, 16 at once", "/s", prompts.rate());
    report.add(figure.beside("echo/s, one", 1e6 / echo));
}

struct Run {
    calls: Vec<Duration>,
    length: Duration,
}

impl Run {
    fn rate(&self) -> f64 {
        self.calls.len() as f64 / self.length.as_secs_f64()
    }

    /// Calls `once` from many threads for a while.
    fn drive(&mut self, bench: &Bench, threads: usize, once: impl Fn(usize, usize) -> Duration + Sync) {
        let length = Duration::from_millis(bench.count(500, 200) as u64);
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
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(worker(thread))).collect();
            for worker in workers {
                self.calls.extend(worker.join().expect("a caller panicked"));
            }
        });
        self.length += begun.elapsed();
    }
}

//! What the daemon does when there is nothing to do.

use crate::Bench;
use crate::daemon::Daemon;
use crate::memory::{as_shim, settle, with_clients};
use crate::process;
use crate::report::{Aim, Figure, Report};
use std::time::Duration;

const CLIENTS: usize = 30;

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    if !process::is_known() {
        return report.note("idling is measured on Linux only");
    }
    let daemon = Daemon::start(bench);
    settle(&daemon);
    watch(report, &daemon, "nobody there", bench.count(12, 3), Aim::AtMost(1.0));
    with_clients(&daemon, CLIENTS, as_shim, |_| {
        settle(&daemon);
        // Long enough for a ping and a pong of each client: about 3 wake-ups a second come from those.
        watch(report, &daemon, &format!("{CLIENTS} idle shims"), bench.count(30, 3), Aim::None);
    });
}

fn watch(report: &mut Report, daemon: &Daemon, with: &str, seconds: usize, aim: Aim) {
    let before = process::usage(daemon.pid());
    std::thread::sleep(Duration::from_secs(seconds as u64));
    let after = process::usage(daemon.pid());
    let seconds = seconds as f64;
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 100.0 / seconds;
    report.add(Figure::new(format!("processor time, {with}"), "%", cpu).aim(Aim::AtMost(0.05)));
    let wakeups = after.wakeups.saturating_sub(before.wakeups) as f64 / seconds;
    report.add(Figure::new(format!("wake-ups a second, {with}"), "/s", wakeups).aim(aim));
}

//! Loud callers, and a log of its own that nothing reads: the daemon serves its other callers all the same.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

mod support;

use std::io::BufRead;
use std::time::{Duration, Instant};
use support::{Daemon, Place};

/// Lines that fill the pipe and the queue before it, and more.
const REFUSALS: usize = 3_000;

/// Refused hooks that `scripts/unread-stderr` measures. Otherwise there are few, and only right and wrong count.
fn measured() -> Option<usize> {
    std::env::var("MARSHAL_UNREAD_HOOKS").ok().map(|hooks| hooks.parse().unwrap())
}

/// Has a hook refused. At the level `debug` that is a line.
fn be_refused_once(daemon: &Daemon) -> Duration {
    let begun = Instant::now();
    let refused = daemon.hook("/hook/session-start", "no json");
    let took = begun.elapsed();
    assert_eq!(refused.status, 400, "{refused:?}");
    took
}

fn be_refused(daemon: &Daemon) {
    for _ in 0..measured().unwrap_or(0).max(REFUSALS) {
        be_refused_once(daemon);
    }
}

fn percentiles(mut took: Vec<Duration>) -> [Duration; 2] {
    took.sort();
    [took[took.len() / 2], took[took.len() * 99 / 100]]
}

/// Two daemons take turns, so that other work on the machine slows both: one whose stderr is read, and one whose stderr is not.
#[test]
fn refused_hooks_are_answered_beside_a_stderr_that_nothing_reads() {
    let (place, calm_place) = (Place::new(), Place::new());
    let calm = calm_place.start_with(|command| {
        command.env("MARSHAL_LOG", "debug");
    });
    let (unread, _pipe) = place.start_unread(|command| {
        command.env("MARSHAL_LOG", "debug");
    });
    be_refused(&calm);
    be_refused(&unread);
    let lost_before = lines_lost(&unread);
    assert!(lost_before > 0, "the pipe is not full");
    let hooks = measured().unwrap_or(100);
    let (mut took, mut calm_took) = (Vec::new(), Vec::new());
    for _ in 0..hooks {
        calm_took.push(be_refused_once(&calm));
        took.push(be_refused_once(&unread));
    }
    let lost = lines_lost(&unread);
    assert!(lost >= lost_before + hooks, "{lost_before} lost, then {lost}");
    let begun = Instant::now();
    unread.signal("TERM");
    assert_eq!(unread.wait_unread().code(), Some(0));
    let stopped = begun.elapsed();
    assert_eq!(calm.stop(), Some(0));

    let ([calm_p50, calm_p99], [p50, p99]) = (percentiles(calm_took), percentiles(took));
    let ratio = p99.as_secs_f64() / calm_p99.as_secs_f64();
    eprintln!("read      p50 {calm_p50:?} p99 {calm_p99:?}");
    eprintln!("unread    p50 {p50:?} p99 {p99:?} ({ratio:.2}x), {lost} lines lost, ended in {stopped:?}");
    if measured().is_some() {
        assert!(ratio <= 2.0 && stopped <= Duration::from_secs(2), "{ratio:.2}x, ended in {stopped:?}");
    }
}

fn lines_lost(daemon: &Daemon) -> usize {
    let metrics = daemon.get("/metrics");
    let line = metrics.text().lines().find_map(|line| line.strip_prefix("marshal_stderr_lines_lost_total "));
    line.unwrap().parse().unwrap()
}

// row 40
#[test]
fn a_stderr_that_nothing_reads_stops_neither_service_nor_the_end() {
    let place = Place::new();
    let (daemon, _unread) = place.start_unread(|command| {
        command.env("MARSHAL_LOG", "debug");
    });
    be_refused(&daemon);
    assert!(lines_lost(&daemon) > 0);
    assert_eq!(daemon.start_session("a", "/w/a").status, 200);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_unread().code(), Some(0));
}

// row 40
#[test]
fn lost_lines_are_counted_and_said_once_stderr_is_read_again() {
    let place = Place::new();
    let (daemon, unread) = place.start_unread(|command| {
        command.env("MARSHAL_LOG", "debug");
    });
    be_refused(&daemon);
    let lost = lines_lost(&daemon);
    let mut lines = unread.lines().map(Result::unwrap);
    let told = lines.find(|line| line.contains("lines of this log were lost")).unwrap();
    assert!(told.contains(&format!(" {lost} lines")), "{lost}: {told}");
    daemon.signal("TERM");
    assert_eq!(lines.filter(|line| line.contains("were lost")).count(), 0);
    assert_eq!(daemon.wait_unread().code(), Some(0));
}

// row 41
#[test]
fn refusals_of_one_kind_are_one_line_a_second() {
    let place = Place::new();
    let daemon = place.start();
    let begun = std::time::Instant::now();
    for _ in 0..200 {
        assert_eq!(daemon.hook("/hook/session-start", "no json").status, 400);
        assert_eq!(daemon.hook("/hook/unknown", "{}").status, 404);
    }
    daemon.signal("TERM");
    let (status, lines) = daemon.wait();
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    for kind in ["invalid_request", "not_found"] {
        let count = lines.iter().filter(|line| line.contains("a hook was refused") && line.contains(kind)).count();
        assert!((1..=seconds + 1).contains(&count), "{count} lines in {seconds} s: {lines:#?}");
    }
    assert_eq!(status.code(), Some(0));
}

//! Loud callers, and a log of its own that nothing reads: the daemon serves its other callers all the same.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

mod support;

use std::io::BufRead;
use support::{Daemon, Place};

/// Lines that fill the pipe and the queue before it, and more.
const REFUSALS: usize = 3_000;

/// Has hooks refused. At the level `debug` each is a line.
fn be_refused(daemon: &Daemon) {
    for _ in 0..REFUSALS {
        let refused = daemon.hook("/hook/session-start", "no json");
        assert_eq!(refused.status, 400, "{refused:?}");
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

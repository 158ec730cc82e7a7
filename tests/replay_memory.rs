//! A daemon that reads a long log needs memory for what lives, and not for what the log has seen.
#![cfg(target_os = "linux")] // where the system tells the peak
#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use serde_json::json;
use std::fmt::Write;
use support::Place;

const KIB: usize = 1024;
/// Room for chance: another thread's stack, an allocator's arena.
const SLACK_KIB: usize = 6 * KIB;
const SESSIONS: usize = 20;

fn event(out: &mut String, change_type: &str, item_type: &str, item: &serde_json::Value) {
    let tail = r#""createdAt":"2026-11-21T00:07:54.515357005+00:00","tx":"t","sourceId":"s""#;
    writeln!(out, r#"{{"item":{item},"changeType":"{change_type}","itemType":"{item_type}",{tail}}}"#).unwrap();
}

fn session(out: &mut String, number: usize, task: &str) {
    let id = format!("s{}", number % SESSIONS);
    event(out, "SET", "Session", &json!({"currentTask": task, "cwd": "/w", "id": id, "nickname": id, "pid": number}));
}

/// The most memory that the daemon has had when it is ready, in KiB, and how many sessions it shows.
fn peak_kib(log: &str) -> (usize, usize) {
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    std::fs::write(place.log_path(), log).unwrap();
    let daemon = place.start();
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.split_whitespace().next().unwrap().parse().unwrap();
    (peak, daemon.get("/v1/status").json()["sessions"].as_u64().unwrap() as usize)
}

#[test]
fn the_peak_is_that_of_a_log_of_the_living_rows_alone() {
    let mut short = String::new();
    (0..SESSIONS).for_each(|number| session(&mut short, number, "step"));

    let mut long = String::new();
    let big = "x".repeat(KIB * KIB);
    // Rows that were large once, one at a time; then rows that change for ever, and rows that come and go.
    for number in 0..SESSIONS {
        session(&mut long, number, &big);
        session(&mut long, number, "step");
    }
    for number in 0..50_000 {
        session(&mut long, number, "step");
        let body = "b".repeat(200);
        let message = json!({"body": body, "fromSessionId": "s1", "id": format!("m{number}"), "sentAt": number, "toSessionId": "s2"});
        event(&mut long, "SET", "Message", &message);
        event(&mut long, "DEL", "Message", &message);
    }
    long.push_str(&short);

    let (floor, sessions) = peak_kib(&short);
    assert_eq!(sessions, SESSIONS);
    let (peak, sessions) = peak_kib(&long);
    assert_eq!(sessions, SESSIONS);
    assert!(long.len() > 8 * SLACK_KIB * KIB, "the log is far larger than what may be held of it");
    // A line is read whole, and a buffer that is full grows to twice its size.
    let line_kib = 4 * big.len() / KIB;
    assert!(peak < floor + line_kib + SLACK_KIB, "{peak} KiB where the living rows alone take {floor} KiB");
}

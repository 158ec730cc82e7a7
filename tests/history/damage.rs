//! Logs that a crash or somebody else has damaged: cut at any byte, strewn with garbage. Each is opened by the code that
//! opens it at start, goes on by the store's own, and is opened again; what a log must come to is worked out here.
#![cfg(test)]

use crate::nemesis;
use crate::support::Place;
use crate::support::seeded::Random;
use marshal::event_log::key::LogKey;
use marshal::event_log::real_disk::RealDisk;
use marshal::event_log::{LOG_NAME, SUSPECT_NAME, recover};
use marshal::ids::{IdSource, SeededIds};
use marshal::roster::{Caller, HookReport, Request, Roster};
use marshal::row_json::row_text;
use marshal::store::{Command, ProcessWatch, Start, Store};
use marshal::time::Now;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

type Rows = BTreeMap<(String, String), Value>;

/// What a log comes to: whole lines that are events, the last of each row.
fn rows_of(bytes: &[u8]) -> Rows {
    let mut rows = Rows::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(mut event) = serde_json::from_slice::<Value>(line) else { continue };
        let (Some(item_type), Some(id)) = (event["itemType"].as_str(), event["item"]["id"].as_str()) else { continue };
        let key = (item_type.to_owned(), id.to_owned());
        if event["changeType"] == "SET" {
            rows.insert(key, event["item"].take());
        } else {
            rows.remove(&key);
        }
    }
    rows
}

/// Opens the log as a start does. Gives the store, the rows that it begins with and the number of damaged lines.
fn open(directory: &Path, now: Now) -> (Store<RealDisk>, Rows, u64) {
    let opened = recover::open(RealDisk::new(directory), LogKey::of([255; 16])).unwrap();
    let (ends_with_newline, replayed_bytes) = (opened.fold.ends_with_newline, opened.fold.bytes);
    let malformed_lines = opened.fold.damage.lines;
    let (places, rows) = (opened.fold.places, opened.fold.into_placed());
    let mut roster = Roster::new();
    roster.load_placed(rows, None, now);
    let rows = roster.rows_in_order();
    let key = |row: &marshal::model::Row| (row.item_type().as_str().to_owned(), row.id().to_owned());
    let rows = rows.iter().map(|row| (key(row), serde_json::from_str(&row_text(row)).unwrap())).collect();
    let (watcher, compactor) = (crossbeam_channel::bounded(1).0, crossbeam_channel::bounded(1).0);
    let mut ids = SeededIds::new(replayed_bytes);
    let source_id = ids.new_id();
    let store = Store::new(Start {
        roster,
        log: opened.log,
        replayed_bytes,
        ends_with_newline,
        malformed_lines,
        places,
        watcher,
        live_bytes: replayed_bytes,
        compact_over_bytes: u64::MAX,
        processes: ProcessWatch::new(crossbeam_channel::bounded(1).0, Box::new(|| {})),
        compactor,
        transcripts: crossbeam_channel::bounded(1).0,
        ids: Box::new(ids),
        source_id,
    });
    (store, rows, malformed_lines)
}

fn turn(store: &mut Store<RealDisk>, request: Request, now: Now) {
    store.turn(&mut vec![Command::Request { request, reply_to: None }], now, || false).unwrap();
}

fn start(id: &str) -> Request {
    Request::session_start(HookReport {
        session_id: id.to_owned(),
        cwd: Some("/w/p".to_owned()),
        ..HookReport::default()
    })
}

fn send(number: usize) -> Request {
    Request::send(Caller::session("one"), "two", format!("é {number} \u{1f600}"))
}

fn read(directory: &Path) -> Vec<u8> {
    std::fs::read(directory.join(LOG_NAME)).unwrap()
}

/// A log with a bit of everything.
fn some_log(directory: &Path) -> Vec<u8> {
    let (mut store, _, _) = open(directory, Now::at(1));
    for (number, request) in
        [start("one"), start("two"), start("gone"), Request::session_end("gone".into())].into_iter().enumerate()
    {
        turn(&mut store, request, Now::at(2 + number as i64));
    }
    (0..6).for_each(|number| turn(&mut store, send(number), Now::at(10)));
    read(directory)
}

/// The log in `directory` comes to `expected`, now and after something has been added to it, of which nothing is lost.
fn assert_recovers(directory: &Path, expected: &Rows, what: &str) {
    let (mut store, rows, _) = open(directory, Now::at(20));
    assert_eq!(rows, *expected, "{what}");
    turn(&mut store, send(99), Now::at(21));
    turn(&mut store, start("new"), Now::at(22));
    drop(store);
    let (_, again, _) = open(directory, Now::at(23));
    assert_eq!(again, rows_of(&read(directory)), "{what}");
    let lost: Vec<_> = expected.keys().filter(|key| !again.contains_key(*key)).collect();
    assert!(lost.is_empty(), "{what}: {lost:?}");
    assert!(again.contains_key(&("Session".to_owned(), "new".to_owned())), "{what}");
    assert!(again.values().any(|row| row["body"].as_str().is_some_and(|body| body.contains("99"))), "{what}");
}

#[test]
fn a_log_cut_at_every_byte_of_its_last_three_events_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let whole = some_log(directory.path());
    let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
    let third_last = ends[ends.len() - 4] + 1;
    assert!(whole.len() - third_last > 600, "three events");
    // Writing a suspect log anew takes several syncs.
    for (suspect, step) in [(false, 1), (true, 7)] {
        for cut in (third_last..=whole.len()).step_by(step) {
            std::fs::write(directory.path().join(LOG_NAME), &whole[..cut]).unwrap();
            if suspect {
                std::fs::write(directory.path().join(SUSPECT_NAME), b"a sync failed\n").unwrap();
            }
            // An event that only lacks its newline is whole.
            assert_recovers(directory.path(), &rows_of(&whole[..cut]), &format!("cut at {cut}, suspect: {suspect}"));
            let broken = read(directory.path()).split(|byte| *byte == b'\n').filter(|line| is_broken(line)).count();
            assert!(broken <= 1, "cut at {cut}: {broken} broken lines");
            assert!(!directory.path().join(SUSPECT_NAME).exists());
        }
    }
}

fn is_broken(line: &[u8]) -> bool {
    !line.is_empty() && serde_json::from_slice::<Value>(line).is_err()
}

/// The log with garbage between some of its lines, some of them overwritten by NULs, and half a line at the end.
fn strewn(whole: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        if random.below(4) == 0 {
            bytes.extend(nemesis::garbage(random));
            bytes.push(b'\n');
        }
        let mut line = line.to_vec();
        if random.below(8) == 0 {
            let from = random.below(line.len());
            let length = line.len() - 1;
            line[from.min(length)..length].fill(0);
        }
        bytes.extend(line);
    }
    let end = random.below(300).min(whole.len());
    bytes.extend(&whole[..end]);
    bytes
}

#[test]
fn a_log_with_garbage_nuls_and_half_lines_in_it_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let whole = some_log(directory.path());
    let mut random = Random::from_env();
    for number in 0..300 {
        let bytes = strewn(&whole, &mut random);
        std::fs::write(directory.path().join(LOG_NAME), &bytes).unwrap();
        let expected = rows_of(&bytes);
        // Without both sessions there is nobody to write to.
        let there = |id: &str| expected.contains_key(&("Session".to_owned(), id.to_owned()));
        if there("one") && there("two") {
            assert_recovers(directory.path(), &expected, &format!("number {number}"));
        }
    }
}

#[test]
fn the_daemon_starts_on_a_log_full_of_garbage_and_counts_it() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("one", "/w/p");
    daemon.kill();
    let mut log = std::fs::read(place.log_path()).unwrap();
    log.extend_from_slice(b"\0\0\0\0\nhalf a li\n{\"item\":{\"id\":\"x\"");
    std::fs::write(place.log_path(), &log).unwrap();
    let daemon = place.start();
    assert_eq!(daemon.get("/v1/status").json()["malformedLines"], 3);
    assert!(daemon.sessions().contains_key("one"));
    daemon.start_session("two", "/w/p");
    daemon.kill();
    assert!(std::fs::read(place.log_path()).unwrap().starts_with(&log), "nothing is taken away");
    assert_eq!(place.start().sessions().into_keys().collect::<Vec<_>>(), ["one", "two"]);
}

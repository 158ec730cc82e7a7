//! How fast a log is read back, beside the floors of reading its bytes, finding its lines and looking over their JSON;
//! what that costs in memory beside a log of the living rows alone; and how soon the daemon is ready.

use crate::daemon::{Daemon, Place};
use crate::log_maker::{write_history, write_living};
use crate::report::{Aim, Figure, Report, Times};
use crate::{Bench, die, process};
use marshal::event_log::key::LogKey;
use marshal::event_log::line::{Stamp, encode_set};
use marshal::event_log::replay::{Fold, Lines, RawLine};
use marshal::model::Row;
use marshal::roster::Roster;
use marshal::time::Now;
use serde::de::IgnoredAny;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

/// A check sum of some key is on every line that the daemon writes.
const KEY: LogKey = LogKey::of([1; 16]);
const READY_MS: f64 = 100.0;
const REPLAY_MB_PER_S: f64 = 500.0;
/// The peak for a long log beside that for its living rows alone.
const PEAK_RATIO: f64 = 1.5;
const NOW_MS: i64 = 1_795_220_000_000;

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    let place = Place::new(bench);
    let mib = if bench.large { 1024 } else { bench.count(64, 4) as u64 };
    let written = write_history(&place.log(), mib << 20);
    written.unwrap_or_else(|error| die(&format!("cannot write a log: {error}")));
    let log = place.log();
    let rounds = bench.count(if bench.large { 3 } else { 5 }, 1);
    let mut takes = Takes::default();
    for _ in 0..rounds {
        takes.raw.push(timed(|| count_newlines(&log)));
        takes.json.push(timed(|| look_over(&log)));
        takes.fold.push(timed(|| Fold::read(open(&log), &KEY).expect("the log can be read")));
        takes.replay.push(timed(|| replay(&log)));
    }
    takes.report(&format!("{mib} MiB"), log.metadata().map_or(0, |metadata| metadata.len()), report);

    let compacted = Place::new(bench);
    let (rows, live_bytes) = write_compacted(&log, &compacted.log());
    report.note(&format!("{rows} living rows, {live_bytes} bytes of log without the others"));
    let short = starts(bench, report, &format!("{} KiB of living rows", live_bytes >> 10), compacted, READY_MS);
    let long = starts(bench, report, &format!("{mib} MiB"), place, f64::MAX);
    if process::is_known() {
        let figure = Figure::new(format!("peak RSS when ready, {mib} MiB"), "KiB", long).beside("living rows", short);
        report.add(figure.aim(Aim::RatioAtMost(PEAK_RATIO)));
    }
    living(bench, report);
}

/// Much that is alive: the time and memory of each row.
fn living(bench: &Bench, report: &mut Report) {
    let tenth = if bench.large { 1 } else { 10 };
    let (sessions, messages) = (bench.count(100_000 / tenth, 100), bench.count(1_000_000 / tenth, 1000));
    let place = Place::new(bench);
    let rows = write_living(&place.log(), sessions, messages);
    let rows = rows.unwrap_or_else(|error| die(&format!("cannot write a log: {error}")));
    let name = format!("{sessions} sessions, {messages} messages");
    let json = timed(|| look_over(&place.log()));
    let begun = Instant::now();
    let fold = Fold::read(open(&place.log()), &KEY).expect("the log can be read");
    let read = fold.into_rows();
    let folded = begun.elapsed();
    assert_eq!(read.len(), rows);
    let mut roster = Roster::new();
    roster.load(read, None, Now::at(NOW_MS));
    let loaded = begun.elapsed() - folded;
    let per_row = |time: Duration| time.as_secs_f64() * 1e9 / rows as f64;
    report.add(Figure::new(format!("{name}: fold, a row"), "ns", per_row(folded)).beside("JSON", per_row(json)));
    report.add(Figure::new(format!("{name}: load, a row"), "ns", per_row(loaded)).beside("JSON", per_row(json)));
    drop(roster);
    let bytes = place.log().metadata().map_or(0, |metadata| metadata.len()) as f64;
    let daemon = Daemon::start_in(bench, place);
    report.add(Figure::new(format!("{name}: to ready"), "ms", daemon.ready_after.as_secs_f64() * 1e3));
    if process::is_known() {
        let memory = process::memory(daemon.pid());
        let floor = ("log", bytes / rows as f64);
        let mut add = |what: &str, kib: f64| {
            let figure = Figure::new(format!("{name}: {what}, a row"), "bytes", kib * 1024.0 / rows as f64);
            report.add(figure.beside(floor.0, floor.1));
        };
        add("RSS", memory.rss);
        add("peak RSS", memory.peak);
    }
}

#[derive(Default)]
struct Takes {
    raw: Vec<Duration>,
    json: Vec<Duration>,
    fold: Vec<Duration>,
    replay: Vec<Duration>,
}

impl Takes {
    /// Megabytes a second, of the best take each: what disturbs a take can only make it slower.
    fn report(&self, name: &str, bytes: u64, report: &mut Report) {
        let rate = |times: &[Duration]| {
            let best = times.iter().min().copied().unwrap_or_default().as_secs_f64();
            bytes as f64 / 1e6 / best.max(f64::MIN_POSITIVE)
        };
        let json = ("serde IgnoredAny", rate(&self.json));
        let figure = Figure::new(format!("{name}: reading and finding newlines"), "MB/s", rate(&self.raw));
        report.add(figure);
        report.add(Figure::new(format!("{name}: looking over the JSON"), "MB/s", json.1));
        report.add(Figure::new(format!("{name}: Fold::read"), "MB/s", rate(&self.fold)).beside(json.0, json.1));
        let figure = Figure::new(format!("{name}: Fold::read and Roster::load"), "MB/s", rate(&self.replay));
        report.add(figure.beside(json.0, json.1).aim(Aim::AtLeast(REPLAY_MB_PER_S)));
    }
}

/// Starts the daemon a few times; says the peak of its memory in KiB when it was ready the last time.
fn starts(bench: &Bench, report: &mut Report, name: &str, place: Place, aim_ms: f64) -> f64 {
    let log = std::fs::read(place.log()).unwrap_or_default();
    let mut times = Vec::new();
    let mut peak = 0.0;
    for _ in 0..bench.count(3, 1) {
        let fresh = Place::new(bench);
        std::fs::write(fresh.log(), &log).unwrap_or_else(|error| die(&format!("cannot copy a log: {error}")));
        // What the copy left dirty is not the daemon's to sync.
        File::open(fresh.log()).and_then(|file| file.sync_all()).expect("the copy can be synced");
        let daemon = Daemon::start_in(bench, fresh);
        times.push(daemon.ready_after);
        if process::is_known() {
            peak = process::memory(daemon.pid()).peak;
        }
    }
    let p50 = Times::new(times).p50() / 1e3;
    let aim = if aim_ms == f64::MAX { Aim::None } else { Aim::AtMost(aim_ms) };
    report.add(Figure::new(format!("start to ready, {name}"), "ms", p50).aim(aim));
    peak
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    let result = work();
    let time = begun.elapsed();
    drop(result);
    time
}

fn open(path: &Path) -> File {
    File::open(path).unwrap_or_else(|error| die(&format!("{}: {error}", path.display())))
}

fn count_newlines(path: &Path) -> usize {
    let (mut file, mut buffer, mut lines) = (open(path), vec![0; 256 * 1024], 0);
    loop {
        match file.read(&mut buffer).expect("the log can be read") {
            0 => return lines,
            count => lines += memchr::memchr_iter(b'\n', &buffer[..count]).count(),
        }
    }
}

fn look_over(path: &Path) -> usize {
    let mut lines = Lines::new(open(path));
    let mut count = 0;
    while let Some(RawLine::Whole(line)) = lines.next_line().expect("the log can be read") {
        count += usize::from(serde_json::from_slice::<IgnoredAny>(line).is_ok());
    }
    count
}

fn replay(path: &Path) -> Roster {
    let rows = Fold::read(open(path), &KEY).expect("the log can be read").into_rows();
    let mut roster = Roster::new();
    roster.load(rows, None, Now::at(NOW_MS));
    roster
}

/// Writes a log of nothing but the living rows of another. Says how many rows and bytes.
fn write_compacted(from: &Path, to: &Path) -> (usize, u64) {
    let rows = Fold::read(open(from), &KEY).expect("the log can be read").into_rows();
    let stamp = Stamp {
        created_at: "2026-11-21T00:07:54.515357005+00:00".to_owned(),
        tx: "feb11bde-46e2-46a4-9dc1-9a6106bf9eb2".to_owned(),
        source_id: "7ab05961-1341-4fb8-8c85-6cd58b8f6a0b".to_owned(),
        key: KEY,
    };
    let mut out = Vec::new();
    (1..).zip(&rows).for_each(|(seq, row): (u64, &Row)| encode_set(row, seq, &stamp, &mut out));
    std::fs::write(to, &out).unwrap_or_else(|error| die(&format!("cannot write a log: {error}")));
    (rows.len(), out.len() as u64)
}

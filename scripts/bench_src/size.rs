//! How large the binary is, of how many crates it is made, and how soon it is ready.

use crate::daemon::{Daemon, Place};
use crate::hook_client::session;
use crate::report::{Aim, Figure, Report, Times};
use crate::{Bench, die};
use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const BINARY_BYTES: f64 = 5e6;
const CRATES: f64 = 80.0;

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    let bytes = std::fs::metadata(&bench.binary).map_or(0, |metadata| metadata.len());
    report.add(Figure::new("binary", "bytes", bytes as f64).aim(Aim::AtMost(BINARY_BYTES)));
    report.add(Figure::new("crates, itself included", "", crates() as f64).aim(Aim::AtMost(CRATES)));
    let starts = (0..bench.count(15, 3)).map(|_| Daemon::start(bench).ready_after);
    report.add(Figure::times("start to ready, empty log", &Times::new(starts.collect())).aim(Aim::AtMost(100_000.0)));

    let events = bench.count(100_000, 2000);
    let mut floors = Vec::new();
    let mut start = || {
        let place = Place::new(bench);
        write_log(&place.log(), events).unwrap_or_else(|error| die(&format!("cannot write a log: {error}")));
        let begun = Instant::now();
        let bytes = std::fs::read(place.log()).expect("the log was written just now");
        assert_eq!(memchr::memchr_iter(b'\n', &bytes).count(), events);
        floors.push(begun.elapsed());
        Daemon::start_in(bench, place).ready_after
    };
    let times = Times::new((0..bench.count(5, 1)).map(|_| start()).collect());
    let floor = Times::new(floors).p50();
    report.add(Figure::times(format!("start to ready, {events} events"), &times).beside("reading lines", floor));
}

fn crates() -> usize {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut tree = Command::new(cargo);
    tree.args(["tree", "-e", "normal", "--prefix", "none", "--manifest-path"]).arg(manifest);
    let output = tree_output(&mut tree);
    let lines = output.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty());
    lines.collect::<BTreeSet<_>>().len()
}

fn tree_output(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => die(&format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => die(&format!("cargo tree: {error}")),
    }
}

/// A log as marshal 0.9 wrote it: sessions that came, talked, changed what they do, and read.
fn write_log(path: &Path, events: usize) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as usize;
    let sessions = (events / 50).max(1);
    for number in 0..events {
        let (id, other, at) = (session(number % sessions), session((number + 1) % sessions), now - events + number);
        let (item_type, item) = match number {
            n if n < sessions || n % 5 == 0 => (
                "Session",
                format!(
                    r#"{{"connectedAt":{now},"currentTask":"step {n}","cwd":"/home/alice/project-{p}","host":{{"arch":"x86_64","name":"box","os":"linux"}},"id":"{id}","lastActivityAt":{at},"nickname":"project-{p}@{short}","operator":"alice","pid":0,"project":"project-{p}"}}"#,
                    p = n % 40,
                    short = &id[..8]
                ),
            ),
            n if n % 5 == 1 => (
                "RoomMember",
                format!(r#"{{"id":"everyone::{id}","joinedAt":{at},"roomId":"everyone","sessionId":"{id}"}}"#),
            ),
            n if n % 5 == 2 => (
                "MessageRead",
                format!(
                    r#"{{"id":"m{m}::{other}","messageId":"m{m}","readAt":{at},"sessionId":"{other}"}}"#,
                    m = n.saturating_sub(3)
                ),
            ),
            n => (
                "Message",
                format!(
                    r#"{{"body":"Please look at the failing test before you go on; I have changed the format.","fromNick":"project@{id}","fromSessionId":"{id}","id":"m{n}","sentAt":{at},"toNick":"project@{other}","toSessionId":"{other}"}}"#
                ),
            ),
        };
        writeln!(
            out,
            r#"{{"item":{item},"changeType":"SET","itemType":"{item_type}","createdAt":"2026-11-21T00:07:54.515357005+00:00","tx":"feb11bde-46e2-46a4-9dc1-{number:012x}","sourceId":"7ab05961-1341-4fb8-8c85-6cd58b8f6a0b"}}"#
        )?;
    }
    out.flush()
}

//! The log kept small, explained and repaired: compaction by the daemon and without it, `marshal log`, and what a start
//! makes of a log that the disk failed under.

#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::{Output, Stdio};
use support::skip::{is_root, skipped};
use support::{Daemon, Place};

const FOREIGN: &str = "{\"item\":{\"id\":\"l\"},\"changeType\":\"SET\",\"itemType\":\"Lease\"}\n";

fn text(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn append(place: &Place, bytes: &[u8]) {
    std::fs::OpenOptions::new().append(true).open(place.log_path()).unwrap().write_all(bytes).unwrap();
}

/// The rows that the log comes to, by type and id.
fn rows(place: &Place) -> BTreeMap<(String, String), Value> {
    let mut rows = BTreeMap::new();
    for event in place.log_events() {
        let key = (event["itemType"].as_str().unwrap().to_owned(), event["item"]["id"].as_str().unwrap().to_owned());
        if event["changeType"] == "SET" {
            rows.insert(key, event["item"].clone());
        } else {
            rows.remove(&key);
        }
    }
    rows
}

/// A daemon with two sessions, some mail and a log that says everything several times.
fn busy(place: &Place) -> Daemon {
    let daemon = place.start();
    daemon.start_session("a", "/w/a");
    daemon.start_session("b", "/w/b");
    let mut shim = daemon.connect();
    shim.publish("shim", "shim", "/w/s");
    for number in 0..200 {
        let answer =
            shim.command("SetSessionCurrentTask", json!({"id": "shim", "currentTask": format!("task {number}")}));
        assert!(answer.get("error").is_none(), "{answer}");
    }
    daemon.send("a", "b", "for b");
    daemon
}

#[test]
fn a_running_daemon_compacts_when_asked_and_goes_on_in_the_new_log() {
    let place = Place::new();
    let mut daemon = busy(&place);
    append(&place, format!("garbage\n{FOREIGN}").as_bytes());
    // Its answer shows that the lines above have been read.
    daemon.wait_for_line("skipped a line that somebody wrote");
    let before = (rows(&place), std::fs::metadata(place.log_path()).unwrap());
    let (code, out, err) = text(&place.run(&["compact", "--json"]));
    assert_eq!(code, 0, "{err}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    let after = std::fs::metadata(place.log_path()).unwrap();
    assert_eq!(answer["bytesBefore"], before.1.len());
    assert!(answer["bytesAfter"].as_u64().unwrap() * 4 < before.1.len(), "{out}");
    assert_eq!(answer["malformedLinesMoved"], 1);
    assert!(err.contains("events.jsonl.malformed"), "{err}");
    assert_eq!(std::fs::read(place.state().join("events.jsonl.malformed")).unwrap(), b"garbage\n");
    assert!((before.1.ino() != after.ino()) && after.mode() & 0o777 == 0o600);
    assert_eq!(rows(&place), before.0);
    assert!(std::fs::read_to_string(place.log_path()).unwrap().contains(FOREIGN));

    daemon.start_session("c", "/w/c");
    let sessions = daemon.sessions();
    assert!(!daemon.said.iter().any(|line| line.contains("somebody replaced")), "{:#?}", daemon.said);
    assert_eq!(daemon.get("/v1/status").json()["malformedLines"], 0);
    daemon.kill();
    let daemon = place.start();
    assert_eq!(daemon.sessions().keys().collect::<Vec<_>>(), sessions.keys().collect::<Vec<_>>());
    assert!(daemon.prompt("b").text().contains("for b"));
}

#[test]
fn a_log_of_more_than_four_mebibytes_and_four_times_its_rows_is_compacted_unasked() {
    let place = Place::new();
    let mut daemon = place.start();
    let mut shim = daemon.connect();
    shim.publish("shim", "shim", "/w/s");
    let task = "x".repeat(4_000);
    let mut number = 0;
    while std::fs::metadata(place.log_path()).unwrap().len() <= 4 * 1024 * 1024 {
        number += 1;
        shim.command("SetSessionCurrentTask", json!({"id": "shim", "currentTask": format!("{task}{number}")}));
        assert!(number < 3_000, "the log is not compacted, or never gets that long");
    }
    daemon.wait_for_line("compacted the log from");
    assert!(std::fs::metadata(place.log_path()).unwrap().len() < 64 * 1024);
    let last = &rows(&place)[&("Session".to_owned(), "shim".to_owned())]["currentTask"];
    assert_eq!(*last, format!("{task}{number}"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn check_stats_and_repair_explain_a_log_and_mend_it_where_no_daemon_runs() {
    let place = Place::new();
    let (code, _, err) = text(&place.run(&["log", "check"]));
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("there is no log") && !place.state().exists(), "{err}");

    let daemon = busy(&place);
    let (code, out, _) = text(&place.run(&["log", "check"]));
    assert_eq!((code, out.lines().last()), (0, Some("the log is sound")), "{out}");
    let (code, _, err) = text(&place.run(&["log", "repair"]));
    assert_eq!(code, 75, "{err}");
    assert!(err.contains("marshal compact"), "{err}");
    assert_eq!(daemon.stop(), Some(0));

    append(&place, b"gar\x1bbage\n{\"item\":{\"id\":\"to");
    let before = rows(&place);
    let (code, out, _) = text(&place.run(&["log", "check"]));
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("1 line that cannot be read, which") && out.contains("half an event"), "{out}");
    assert!(out.contains(": expected value\n"), "{out}");
    let (code, out, _) = text(&place.run(&["log", "stats"]));
    let last = "1 line that cannot be read and half an event at the end: see 'marshal log check'";
    assert_eq!((code, out.lines().last()), (0, Some(last)), "{out}");
    let (code, out, _) = text(&place.run(&["log", "check", "--json"]));
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &value["sound"], &value["malformed"]), (1, &json!(false), &json!(1)));
    let (code, out, _) = text(&place.run(&["log", "stats", "--json"]));
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &value["types"]["Session"]["living"]), (0, &json!(3)), "{out}");
    assert_eq!((&value["malformed"], &value["halfAnEventAtTheEnd"]), (&json!(1), &json!(true)), "{out}");
    assert!(value["liveBytes"].as_u64().unwrap() * 4 < value["bytes"].as_u64().unwrap());

    let (code, out, err) = text(&place.run(&["log", "repair"]));
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("moved 2 lines that cannot be read to events.jsonl.malformed"), "{out}");
    let bytes = std::fs::metadata(place.log_path()).unwrap().len();
    assert!(out.ends_with(&format!(" bytes and has {bytes}\n")), "{out}");
    assert_eq!(rows(&place), before);
    assert_eq!(text(&place.run(&["log", "check"])).0, 0);
    let side = std::fs::read(place.state().join("events.jsonl.malformed")).unwrap();
    assert_eq!(side, b"gar\x1bbage\n{\"item\":{\"id\":\"to\n");
    let (code, out, err) = text(&place.run(&["compact"]));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (code, _, err) = text(&place.run(&["log", "mend"]));
    assert_eq!(code, 64, "{err}");
}

/// The last line on stderr and the exit code of `command` with the state directory as it is.
fn refusal(place: &Place, command: &[&str]) -> (Option<i32>, String) {
    let mut bounded = std::process::Command::new("timeout");
    bounded.arg("20").arg(env!("CARGO_BIN_EXE_marshal")).args(command);
    let variables = place.command();
    let variables = variables.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let output = bounded.env_clear().envs(variables).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn every_command_refuses_what_is_no_file_in_the_same_words_and_with_the_same_code() {
    let commands: [&[&str]; 5] = [&["serve"], &["log", "check"], &["log", "stats"], &["log", "repair"], &["compact"]];
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    std::fs::set_permissions(place.state(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let log = place.log_path();
    let fifo = || {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &log, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let link = |to: &str| std::os::unix::fs::symlink(to, &log).unwrap();
    std::fs::write(place.state().join("real"), b"").unwrap();
    let makes: [(&dyn Fn(), &str); 4] = [
        (&fifo, "is not a regular file; move it away"),
        (&|| link("real"), "is a symbolic link"),
        (&|| link("nowhere"), "is a symbolic link"),
        (&|| link("events.jsonl"), "is a symbolic link"),
    ];
    for (make, word) in makes {
        make();
        let (code, said) = refusal(&place, commands[0]);
        assert_eq!(code, Some(73), "{said}");
        assert!(said.contains(word) && said.matches("events.jsonl").count() == 1, "{said}");
        for command in &commands[1..] {
            assert_eq!(refusal(&place, command), (code, said.clone()), "{command:?}");
        }
        std::fs::remove_file(&log).unwrap();
    }
    std::fs::write(&log, b"").unwrap();
    std::fs::create_dir(place.state().join("events.jsonl.new")).unwrap();
    let (code, said) = refusal(&place, &["log", "repair"]);
    assert_eq!(code, Some(74), "{said}");
    assert_eq!(said.matches("anew").count(), 1, "{said}");
    assert!(said.ends_with("It still holds all that counts"), "{said}");
    // Whose lock cannot be made has no log to open either.
    std::fs::create_dir(place.state().join("lock")).unwrap();
    std::fs::remove_file(place.state().join("marshal.lock")).unwrap();
    std::fs::rename(place.state().join("lock"), place.state().join("marshal.lock")).unwrap();
    let (code, said) = refusal(&place, &["log", "repair"]);
    assert_eq!(code, Some(73), "{said}");
    assert_eq!(refusal(&place, &["serve"]), (code, said));
}

#[test]
fn a_log_that_the_disk_failed_under_is_written_into_a_new_file_before_it_is_believed() {
    let place = Place::new();
    let daemon = busy(&place);
    assert_eq!(daemon.stop(), Some(0));
    let (before, inode) = (rows(&place), std::fs::metadata(place.log_path()).unwrap().ino());
    let marker = place.state().join("events.jsonl.suspect");
    std::fs::write(&marker, b"a sync failed\n").unwrap();
    std::fs::write(place.state().join("events.jsonl.new"), b"left over\n").unwrap();
    let (code, out, _) = text(&place.run(&["log", "check"]));
    assert!(code == 1 && out.contains("the disk failed"), "{out}");
    let daemon = place.start();
    assert!(daemon.said.iter().any(|line| line.contains("wrote it anew")), "{:#?}", daemon.said);
    assert!(!marker.exists() && !place.state().join("events.jsonl.new").exists());
    assert_ne!(std::fs::metadata(place.log_path()).unwrap().ino(), inode);
    assert_eq!(rows(&place), before);
    assert!(daemon.prompt("b").text().contains("for b"));
}

/// Runs the daemon in a mount namespace of its own, with `mount` done before.
fn serve_after(place: &Place, mount: &str) -> Option<(i32, String)> {
    let what = "a read-only or full disk at start";
    if !is_root(what) {
        return None;
    }
    let mut command = place.command();
    let line = format!("{mount} || exit 99; exec timeout 20 \"$0\" serve");
    let variables: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", &line, env!("CARGO_BIN_EXE_marshal")]).env_clear().envs(variables);
    let output = command.stdin(Stdio::null()).output().ok()?;
    if output.status.code() == Some(99) || output.status.code() == Some(1) {
        skipped("mount", what);
        return None;
    }
    Some((output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap()))
}

#[test]
fn a_read_only_or_full_disk_is_explained_at_start() {
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    let state = place.state().display().to_string();
    let mount = |options: &str| format!("mount -t tmpfs -o {options} none '{state}'");
    if let Some((code, said)) = serve_after(&place, &mount("ro,mode=700")) {
        assert_eq!(code, 73, "{said}");
        assert!(said.contains("Read-only file system") && said.contains("set MARSHAL_STATE_DIR"), "{said}");
    }
    // A log of two pages that cannot be written anew, since all the others are taken.
    let line = "{\\\"item\\\":{\\\"id\\\":\\\"x\\\"},\\\"changeType\\\":\\\"SET\\\",\\\"itemType\\\":\\\"Future\\\"}";
    let log = format!(
        "for i in $(seq 100); do echo \"{line}\"; done >'{state}/events.jsonl'; : >'{state}/events.jsonl.suspect'"
    );
    let fill = format!("dd if=/dev/zero of='{state}/ballast' bs=4096 count=9 2>/dev/null; true");
    if let Some((code, said)) = serve_after(&place, &format!("{} && {{ {log}; {fill}; }}", mount("size=24k,mode=700")))
    {
        assert_eq!(code, 74, "{said}");
        assert!(
            said.contains("No space left on device") && said.contains(&format!("free some space in {state}")),
            "{said}"
        );
    }
}

//! What outsiders, the disk and a stop may do at the worst moment of a commit or a compaction.

use super::*;
use crate::compactor;
use crate::event_log::disk::DiskFile;
use crate::event_log::{MALFORMED_NAME, NEW_NAME};

fn session_line(id: &str) -> Vec<u8> {
    let item = format!(r#"{{"id":"{id}","nickname":"{id}","cwd":"/x","pid":1,"connectedAt":1}}"#);
    format!("{{\"item\":{item},\"changeType\":\"SET\",\"itemType\":\"Session\"}}\n").into_bytes()
}

/// Whether the roster has a session, and whether the log has.
fn has(bench: &Bench, id: &str) -> (bool, bool) {
    let needle = format!(r#""id":"{id}""#);
    (bench.rows().iter().any(|row| row.contains(&needle)), bench.log_text().contains(&needle))
}

impl Bench {
    fn want_compaction(&mut self) {
        self.batch.push(Command::Compact(Box::new(|_| ())));
        self.turn();
        self.read_for_store();
    }
}

#[test]
fn lines_in_the_log_before_last_are_moved_too() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    let held = bench.disk.open(LOG_NAME).unwrap();
    bench.do_job(&job);
    assert_eq!(bench.store.compaction.done(), 1);
    held.append_all(&session_line("late")).unwrap();
    bench.want_compaction();
    let job = bench.next_job().unwrap();
    bench.do_job(&job);
    assert_eq!(bench.store.compaction.done(), 2);
    for _ in 0..30 {
        bench.ms += 3000;
        bench.batch.push(Command::Tick);
        bench.turn();
        bench.read_for_store();
    }
    assert_eq!(has(&bench, "late"), (true, true));
}

#[test]
fn a_new_log_that_somebody_removed_does_not_become_an_empty_log() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    let done = compactor::run(&bench.disk, &job);
    Disk::remove(&bench.disk, NEW_NAME).unwrap();
    bench.batch.push(Command::Compacted(done));
    bench.turn();
    bench.turn();
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn what_is_appended_to_the_new_log_at_once_is_read() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    bench.disk.during_next_sync_names(Box::new(|disk| disk.append_from_outside(LOG_NAME, &session_line("window"))));
    bench.do_job(&job);
    assert_eq!(bench.store.compaction.done(), 1);
    for _ in 0..5 {
        bench.batch.push(Command::Tick);
        bench.turn();
        bench.read_for_store();
    }
    assert_eq!(has(&bench, "window"), (true, true));
}

#[test]
fn a_stop_moves_what_is_left_in_an_old_log() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    let held = bench.disk.open(LOG_NAME).unwrap();
    bench.do_job(&job);
    held.append_all(&session_line("late")).unwrap();
    let Bench { store, disk, .. } = bench;
    let (tx, rx) = bounded(4);
    tx.send(Command::Stop).unwrap();
    store.run(&rx, SystemClock::start()).unwrap();
    assert!(String::from_utf8(disk.read(LOG_NAME)).unwrap().contains(r#""id":"late""#));
}

#[test]
fn a_stop_completes_a_log_that_was_just_replaced() {
    let (bench, _outbox) = Bench::with_sessions();
    bench.disk.replace_from_outside(LOG_NAME, b"");
    let Bench { store, disk, .. } = bench;
    let (tx, rx) = bounded(4);
    tx.send(Command::LogTouched).unwrap();
    tx.send(Command::Stop).unwrap();
    store.run(&rx, SystemClock::start()).unwrap();
    assert!(String::from_utf8(disk.read(LOG_NAME)).unwrap().contains(r#""id":"hook""#));
}

#[test]
fn the_side_file_does_not_grow_with_each_failed_try() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.disk.append_from_outside(LOG_NAME, b"garbage\n");
    bench.batch.push(Command::LogTouched);
    bench.turn();
    bench.read_for_store();
    for _ in 0..5 {
        bench.want_compaction();
        let job = bench.next_job().unwrap();
        bench.disk.state().faults.fail_rename = true;
        bench.do_job(&job);
        assert!(bench.next_job().is_none());
    }
    assert_eq!(bench.disk.read(MALFORMED_NAME), b"", "they are still in the log");
}

#[test]
fn a_failed_swap_leaves_nothing_behind() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    let done = compactor::run(&bench.disk, &job);
    bench.start("meanwhile");
    bench.turn();
    bench.space(Some(10));
    bench.batch.push(Command::Compacted(done));
    bench.turn();
    assert!(bench.next_job().is_none(), "it is not tried again at once");
    assert!(bench.disk.state().shown(NEW_NAME).is_none());
}

#[test]
fn an_editor_that_saves_over_what_is_being_synced_costs_no_acknowledged_event() {
    let (mut bench, _outbox) = Bench::with_sessions();
    // An editor saves in place: truncates now, writes in a moment, at offset 0.
    bench.disk.rewrite_from_outside(LOG_NAME, b"");
    bench.disk.during_next_sync(Box::new(|disk| {
        let mut bytes = disk.read(LOG_NAME);
        let n = 120.min(bytes.len());
        bytes[..n].fill(b'e');
        bytes[n - 1] = b'\n';
        disk.rewrite_from_outside(LOG_NAME, &bytes);
    }));
    bench.start("acknowledged");
    bench.turn();
    assert!(bench.happened().contains(&Did::Answer("start", "ok")));
    assert!(bench.rows_in_log().iter().any(|row| row.contains(r#""id":"acknowledged""#)), "as if killed now");
}

#[test]
fn an_edit_of_the_same_length_during_a_sync_is_seen() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.disk.during_next_sync(Box::new(|disk| {
        let text = String::from_utf8(disk.read(LOG_NAME)).unwrap().replace("\"/w\"", "\"/e\"");
        disk.rewrite_from_outside(LOG_NAME, text.as_bytes());
    }));
    bench.start("acknowledged");
    bench.turn();
    for _ in 0..3 {
        bench.batch.push(Command::Tick);
        bench.turn();
        bench.read_for_store();
        while bench.store.tail.has_work() {
            bench.turn();
        }
    }
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn a_malformed_line_that_was_copied_stays_counted() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    let done = compactor::run(&bench.disk, &job);
    bench.disk.append_from_outside(LOG_NAME, b"garbage\n");
    bench.batch.push(Command::LogTouched);
    bench.turn();
    bench.read_for_store();
    assert_eq!(bench.report().malformed_lines, 1);
    bench.batch.push(Command::Compacted(done));
    bench.turn();
    bench.turn();
    assert_eq!(bench.store.compaction.done(), 1);
    assert_eq!(Fold::read(&bench.log_bytes()[..], &KEY).unwrap().damage.lines, 1);
    assert_eq!(bench.report().malformed_lines, 1);
}

#[test]
fn a_log_that_somebody_replaced_while_the_rest_was_copied_is_not_overwritten() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    let done = compactor::run(&bench.disk, &job);
    bench.start("meanwhile");
    bench.turn();
    let edited = bench.log_text().replace("\"/w\"", "\"/edited\"");
    bench.disk.during_next_sync(Box::new(move |disk| disk.replace_from_outside(LOG_NAME, edited.as_bytes())));
    bench.batch.push(Command::Compacted(done));
    bench.turn();
    bench.read_for_store();
    assert!(bench.log_text().contains("/edited"));
}

#[test]
fn mail_that_somebody_else_wrote_is_shown_after_its_sync() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let item =
        r#"{"body":"hi","fromNick":"x","fromSessionId":"x","id":"m1","sentAt":1,"toNick":"hook","toSessionId":"hook"}"#;
    bench.disk.append_from_outside(
        LOG_NAME,
        format!("{{\"item\":{item},\"changeType\":\"SET\",\"itemType\":\"Message\"}}\n").as_bytes(),
    );
    bench.batch.push(Command::LogTouched);
    bench.turn();
    bench.happened();
    bench.read_next();
    let did = bench.did.clone();
    let report = HookReport { session_id: "hook".to_owned(), ..HookReport::default() };
    bench.batch.push(Command::Request {
        request: Request::prompt_submit(report),
        reply_to: Some(Box::new(move |r| {
            let Ok(Reply::Hook(h)) = r else { panic!() };
            did.try_send(Did::Answer("mail", if h.inbox.len() == 1 { "one" } else { "none" })).unwrap();
        })),
    });
    bench.turn();
    assert_eq!(bench.happened(), [SYNC, Did::Answer("mail", "one")]);
}

#[test]
fn a_log_rewritten_longer_between_look_and_append_is_completed() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let edited = bench
        .log_text()
        .lines()
        .filter(|l| !l.contains(r#""item":{"connectedAt":1000001"#))
        .map(|l| format!("{l}\n"))
        .collect::<String>();
    let edited = format!("{edited}{}", "\n".repeat(2000));
    bench.disk.before_next_append(Box::new(move |disk| disk.rewrite_from_outside(LOG_NAME, edited.as_bytes())));
    bench.start("acknowledged");
    bench.turn();
    for _ in 0..3 {
        bench.batch.push(Command::Tick);
        bench.turn();
        bench.read_for_store();
        while bench.store.tail.has_work() {
            bench.turn();
        }
    }
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn a_compaction_ends_however_much_is_written_meanwhile() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    let mut job = job;
    for _ in 0..100 {
        let done = compactor::run(&bench.disk, &job);
        // One batch of 300 KiB while the compactor works, as 400 sends of 300 bytes and their lines are.
        for n in 0..5 {
            let request = Request::send(Caller::session("hook"), "shim", "x".repeat(60_000));
            let _ = n;
            bench.ask("send", request);
        }
        bench.batch.push(Command::Compacted(done));
        bench.turn();
        let Some(next) = bench.next_job() else { return };
        job = next;
    }
    panic!("a hundred extends");
}

#[test]
fn a_full_disk_does_not_make_the_log_be_read_again_and_again() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.disk.append_from_outside(LOG_NAME, &(session_line("ext")));
    bench.batch.push(Command::LogTouched);
    bench.turn();
    bench.space(Some(0));
    let mut reads = 0;
    for _ in 0..50 {
        let Ok(job) = bench.jobs.try_recv() else { break };
        reads += 1;
        bench.read(job);
        bench.turn();
    }
    assert!(reads < 50, "{reads} reads without a tick");
}

//! Compaction, seen from the store: what is written anew, when, and what outsiders and the disk may do meanwhile.

use super::*;
use crate::compactor;
use crate::event_log::disk::DiskFile;
use crate::event_log::{MALFORMED_NAME, NEW_NAME};
use crate::limits::{COMPACT_RETRY_MS, COMPACT_SWAP_BYTES_MAX, OLD_LOG_WATCH_MS, OLD_LOGS_MAX};

const FOREIGN: &str = "{\"item\":{\"id\":\"l\"},\"changeType\":\"SET\",\"itemType\":\"Lease\"}\n";

impl Bench {
    /// A log much larger than its rows, and the compactor's first job.
    pub(super) fn wasteful() -> (Self, Receiver<Box<Frame>>, CompactJob) {
        let (mut bench, outbox) = Self::with_sessions();
        while bench.compact_jobs.is_empty() {
            bench.task("hook", &"x".repeat(900));
            bench.turn();
            bench.task("hook", "short");
            bench.turn();
        }
        let job = bench.next_job().unwrap();
        (bench, outbox, job)
    }

    pub(super) fn do_job(&mut self, job: &CompactJob) {
        let done = compactor::run(&self.disk, job);
        self.batch.push(Command::Compacted(done));
        self.turn();
    }

    /// The next piece of work for the compactor beyond clearing up, which is done at once.
    pub(super) fn next_job(&self) -> Option<CompactJob> {
        loop {
            let job = self.compact_jobs.try_recv().ok()?;
            if matches!(job.step, CompactStep::Rewrite(..) | CompactStep::Extend(..)) {
                return Some(job);
            }
            let _ = compactor::run(&self.disk, &job);
        }
    }

    fn length(&self) -> usize {
        self.log_bytes().len()
    }

    pub(super) fn wait_for_compaction(&mut self) -> Receiver<Result<Compacted, RequestError>> {
        let (sender, receiver) = bounded(1);
        self.batch.push(Command::Compact(Box::new(move |result| sender.send(result).unwrap())));
        self.turn();
        receiver
    }

    /// What a restart would find.
    fn assert_log_is_right(&self) {
        assert_eq!(self.rows(), self.rows_in_log());
        assert_eq!(Fold::read(&self.log_bytes()[..], &KEY).unwrap().damage.lines, 0);
    }
}

#[test]
fn a_log_of_more_than_four_times_its_rows_is_written_anew_while_the_store_goes_on() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    let before = bench.length();
    assert!(before > 16 * 1024 && bench.store.compaction.live_bytes() * 4 < before as u64);
    bench.start("meanwhile");
    bench.turn();
    let done = compactor::run(&bench.disk, &job);
    bench.start("later");
    bench.turn();
    bench.happened();
    bench.batch.push(Command::Compacted(done));
    bench.start("last");
    bench.turn();
    assert!(bench.length() * 2 < before, "{} of {before}", bench.length());
    bench.assert_log_is_right();
    let did = bench.happened();
    let answered = did.iter().position(|did| matches!(did, Did::Answer("start", "ok"))).unwrap();
    let renamed = did.iter().position(|did| *did == Did::Disk(Op::Rename)).unwrap();
    assert!(answered < renamed, "nobody who was in the batch waits for the swap");
    let and_then = [Op::Rename, Op::SyncNames, Op::Remove].map(Did::Disk);
    assert_eq!((&did[renamed - 1], &did[renamed..]), (&SYNC, &and_then[..]));
    // The store goes on in the new file, and nothing of all that looks like an outsider's doing.
    bench.start("after");
    bench.turn();
    bench.batch.push(Command::LogTouched);
    bench.turn();
    assert!(bench.jobs.is_empty() && bench.next_job().is_none());
    bench.assert_log_is_right();
    assert_eq!(bench.report().compactions, 1);
}

#[test]
fn a_log_full_of_what_counts_is_left_alone_until_the_rows_are_gone() {
    let mut bench = Bench::new();
    for number in 0..100 {
        bench.start(&format!("s{number}"));
        bench.turn();
    }
    assert!(bench.length() > 48 * 1024 && bench.next_job().is_none());
    let (counted, length) = (bench.store.compaction.live_bytes(), bench.length() as u64);
    assert!(counted.abs_diff(length) * 50 < length, "{counted} of {length}: nothing was said twice");
    for number in 0..100 {
        bench.ask("end", Request::session_end(format!("s{number}").as_str().into()));
        bench.turn();
    }
    let job = bench.next_job().unwrap();
    let before = bench.length();
    bench.do_job(&job);
    bench.assert_log_is_right();
    assert!(bench.length() * 2 < before, "{} of {before}", bench.length());
}

#[test]
fn malformed_lines_move_to_a_side_file_and_unknown_types_stay() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.disk.append_from_outside(LOG_NAME, format!("garbage\n{FOREIGN}half a li").as_bytes());
    bench.batch.push(Command::LogTouched);
    bench.turn();
    bench.read_for_store();
    let waiting = bench.wait_for_compaction();
    // The half line is ended first, as an event of ours behind it would end it.
    bench.read_for_store();
    let job = bench.next_job().unwrap();
    bench.do_job(&job);
    let compacted = waiting.try_recv().unwrap().unwrap();
    assert_eq!((compacted.malformed_lines, compacted.bytes_after), (2, bench.length() as u64));
    assert_eq!(bench.disk.read(MALFORMED_NAME), b"garbage\nhalf a li\n");
    assert!(bench.log_text().contains(FOREIGN));
    assert_eq!(bench.report().malformed_lines, 0);
    bench.assert_log_is_right();
}

#[test]
fn what_an_outsider_appends_before_during_or_after_is_not_lost() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    let line = |id: &str| {
        let item = format!(r#"{{"id":"{id}","nickname":"{id}","cwd":"/x","pid":1,"connectedAt":1}}"#);
        format!("{{\"item\":{item},\"changeType\":\"SET\",\"itemType\":\"Session\"}}\n").into_bytes()
    };
    let held = bench.disk.open(LOG_NAME).unwrap();
    held.append_all(&line("during")).unwrap();
    bench.do_job(&job);
    assert!(bench.disk.state().shown(NEW_NAME).is_none(), "the new log is in place");
    assert!(bench.log_text().contains("during"));
    bench.read_for_store();
    held.append_all(&line("after")).unwrap();
    held.append_all(&line("at-last")[..30]).unwrap();
    bench.batch.push(Command::Tick);
    bench.turn();
    held.append_all(&line("at-last")[30..]).unwrap();
    for _ in 0..2 {
        bench.batch.push(Command::Tick);
        bench.turn();
        bench.read_for_store();
    }
    for id in ["during", "after", "at-last"] {
        assert!(bench.rows().iter().any(|row| row.contains(&format!(r#""id":"{id}""#))), "{id}");
        assert_eq!(bench.log_text().matches(&format!(r#"{{"id":"{id}""#)).count(), 1, "{id}");
    }
    bench.assert_log_is_right();
    bench.ms += OLD_LOG_WATCH_MS;
    bench.batch.push(Command::Tick);
    bench.turn();
    assert_eq!(bench.store.compaction.old_logs(), 0);
}

#[test]
fn a_log_that_somebody_replaced_or_rewrote_meanwhile_is_not_overwritten() {
    for in_place in [false, true] {
        let (mut bench, _outbox, job) = Bench::wasteful();
        let done = compactor::run(&bench.disk, &job);
        let edited = bench.log_text().replace("\"/w\"", "\"/edited\"");
        if in_place {
            bench.disk.rewrite_from_outside(LOG_NAME, edited.as_bytes());
        } else {
            bench.disk.replace_from_outside(LOG_NAME, edited.as_bytes());
        }
        bench.batch.push(Command::Compacted(done));
        bench.turn();
        bench.read_for_store();
        while bench.store.tail.has_work() {
            bench.turn();
        }
        assert!(bench.rows().iter().any(|row| row.contains("/edited")), "in place: {in_place}");
        bench.assert_log_is_right();
        // And it is compacted all the same, once what is left over has been cleared away.
        assert!(bench.next_job().is_none());
        bench.turn();
        let job = bench.next_job().unwrap();
        bench.do_job(&job);
        assert!(bench.length() < edited.len() / 3);
        bench.assert_log_is_right();
    }
}

/// What an editor saves that has opened the log: another file, with another working directory in it.
fn save(disk: &SimDisk, cwd: &str) {
    let edited = String::from_utf8(disk.read(LOG_NAME)).unwrap().replace("\"/w\"", &format!("\"{cwd}\""));
    disk.replace_from_outside(LOG_NAME, edited.as_bytes());
}

// row 87
#[test]
fn what_an_editor_saves_in_the_instant_in_which_a_compacted_log_takes_the_place_is_not_lost() {
    let once: fn(&SimDisk) = |disk| save(disk, "/edited");
    let twice: fn(&SimDisk) = |disk| {
        let before = disk.read(LOG_NAME);
        save(disk, "/early");
        disk.before_next_change(Box::new(move |disk| {
            disk.replace_from_outside(LOG_NAME, &before);
            save(disk, "/edited");
        }));
    };
    let removed: fn(&SimDisk) = |disk| {
        save(disk, "/edited");
        disk.before_next_change(Box::new(|disk| disk.remove(LOG_NAME).unwrap()));
    };
    for (name, meanwhile) in [("once", once), ("twice", twice), ("removed", removed)] {
        let (mut bench, _outbox, job) = Bench::wasteful();
        let waiting = bench.wait_for_compaction();
        let done = compactor::run(&bench.disk, &job);
        bench.batch.push(Command::Compacted(done));
        bench.disk.before_next_change(Box::new(meanwhile));
        bench.turn();
        waiting.try_recv().unwrap().unwrap_err();
        bench.batch.push(Command::LogTouched);
        bench.turn();
        bench.read_for_store();
        while bench.store.tail.has_work() {
            bench.turn();
        }
        assert!(bench.log_text().contains("/edited"), "{name}");
        assert!(bench.rows().iter().any(|row| row.contains("/edited")), "{name}");
        bench.start("after");
        bench.turn();
        bench.assert_log_is_right();
        // What is left over is cleared away before the next one.
        assert!(bench.next_job().is_none());
        bench.ms += COMPACT_RETRY_MS;
        bench.turn();
        let job = bench.next_job().unwrap();
        bench.do_job(&job);
        assert_eq!(bench.store.compaction.done(), 1, "{name}");
        assert!(bench.disk.state().shown(NEW_NAME).is_none(), "{name}: nothing is left");
        bench.assert_log_is_right();
    }
}

#[test]
fn where_names_cannot_change_their_files_the_compacted_log_takes_the_place_all_the_same() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    bench.disk.state().faults.no_exchange = true;
    bench.do_job(&job);
    assert_eq!(bench.store.compaction.done(), 1);
    bench.start("after");
    bench.turn();
    bench.assert_log_is_right();
}

// row 116
#[test]
fn compactions_are_bounded_by_what_they_take_on_the_disk_and_not_by_their_number_in_a_minute() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    bench.do_job(&job);
    let (mut longest, mut most_watched) = (0, 0);
    for _ in 0..20 {
        bench.ms += 1_000;
        let before = bench.store.compaction.done();
        for _ in 0..100 {
            bench.task("hook", &"x".repeat(900));
            bench.turn();
            bench.task("hook", "short");
            bench.turn();
            longest = longest.max(bench.length());
            if let Some(job) = bench.next_job() {
                bench.do_job(&job);
            }
        }
        assert!(bench.store.compaction.done() > before, "{before} and no more");
        most_watched = most_watched.max(bench.store.compaction.old_logs());
    }
    assert!(longest < 64 * 1024, "{longest}");
    assert!((2..=OLD_LOGS_MAX).contains(&most_watched), "{most_watched}");
    bench.assert_log_is_right();
}

#[test]
fn the_new_log_waits_until_what_others_wrote_has_been_read() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    bench.disk.append_from_outside(LOG_NAME, br#"{"item":{"id":"late","cwd":"/x","pid":1,"connectedAt":1},"#);
    bench.batch.push(Command::LogTouched);
    bench.turn();
    let being_read = bench.jobs.try_recv().unwrap();
    let done = compactor::run(&bench.disk, &job);
    bench.batch.push(Command::Compacted(done));
    bench.turn();
    assert_eq!(bench.store.compaction.done(), 0, "where that part stands in the log is about to be said");
    let before = bench.disk.state().names[LOG_NAME];
    bench.read(being_read);
    bench.turn();
    assert_eq!(bench.store.compaction.done(), 1);
    // Its writer goes on in the file that it has open.
    bench.disk.state().inodes[before].cache.extend_from_slice(b"\"changeType\":\"SET\",\"itemType\":\"Session\"}\n");
    bench.batch.push(Command::Tick);
    bench.turn();
    bench.read_for_store();
    assert!(bench.rows().iter().any(|row| row.contains(r#""id":"late""#)));
    bench.assert_log_is_right();
}

#[test]
fn a_compaction_that_fails_changes_nothing_says_why_and_is_tried_again_later() {
    let no_space = |bench: &Bench| bench.space(Some(100));
    let no_rename = |bench: &Bench| bench.disk.state().faults.fail_rename = true;
    let no_sync = |bench: &Bench| bench.disk.state().faults.fail_sync = Some(0);
    for (name, fail) in [("space", no_space as fn(&Bench)), ("rename", no_rename), ("sync", no_sync)] {
        let (mut bench, _outbox, job) = Bench::wasteful();
        let waiting = bench.wait_for_compaction();
        let before = bench.log_bytes();
        fail(&bench);
        bench.do_job(&job);
        let expected = if name == "space" { ErrorKind::StorageFull } else { ErrorKind::Unavailable };
        assert_eq!(waiting.try_recv().unwrap().unwrap_err().kind, expected, "{name}");
        assert_eq!(bench.log_bytes(), before, "{name}");
        bench.disk.state().faults = sim_disk::Faults::default();
        bench.start("after");
        bench.turn();
        bench.assert_log_is_right();
        assert!(bench.next_job().is_none(), "{name}: not again at once");
        assert!(bench.disk.state().shown(NEW_NAME).is_none(), "{name}: nothing is left");
        bench.ms += COMPACT_RETRY_MS;
        bench.turn();
        let job = bench.next_job().unwrap();
        bench.do_job(&job);
        assert!(bench.length() < before.len() / 3, "{name}");
        bench.assert_log_is_right();
    }
}

#[test]
fn the_store_itself_copies_little_and_leaves_the_rest_to_the_compactor() {
    let (mut bench, _outbox, job) = Bench::wasteful();
    let done = compactor::run(&bench.disk, &job);
    for number in 0..COMPACT_SWAP_BYTES_MAX / 900 {
        bench.task("hook", &format!("{number}{}", "y".repeat(900)));
        bench.turn();
    }
    bench.batch.push(Command::Compacted(done));
    bench.turn();
    let job = bench.next_job().unwrap();
    assert!(matches!(job.step, CompactStep::Extend(..)));
    bench.start("meanwhile");
    bench.turn();
    bench.do_job(&job);
    assert_eq!(bench.store.compaction.done(), 1);
    bench.assert_log_is_right();
}

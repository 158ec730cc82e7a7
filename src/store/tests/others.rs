//! What others do to the log, seen from the store.

use super::*;

fn line(id: &str, nickname: &str) -> String {
    let item = format!(r#"{{"id":"{id}","nickname":"{nickname}","cwd":"/x","pid":1,"connectedAt":1}}"#);
    format!("{{\"item\":{item},\"changeType\":\"SET\",\"itemType\":\"Session\"}}\n")
}

impl Bench {
    fn look(&mut self) {
        self.batch.push(Command::LogTouched);
        self.turn();
        self.read_for_store();
    }

    fn append_from_outside(&self, text: &str) {
        self.disk.append_from_outside(LOG_NAME, text.as_bytes());
    }

    /// Until a reloaded file holds all rows.
    fn settle(&mut self) {
        while self.store.tail.has_work() || !self.jobs.is_empty() {
            self.turn();
            self.read_for_store();
        }
    }
}

#[test]
fn a_foreign_line_is_applied_once_and_not_written_back_and_what_follows_from_it_is_ours() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.append_from_outside(&line("ext", "ext"));
    bench.look();
    assert_eq!(bench.rows(), bench.rows_in_log());
    let lines = bench.log_bytes().len();
    for _ in 0..3 {
        bench.look();
    }
    assert_eq!(bench.log_bytes().len(), lines);
    let ours = |line: &&str| line.contains(r#""id":"ext""#);
    assert_eq!(bench.log_text().lines().filter(ours).count(), 1);
}

#[test]
fn what_somebody_else_wrote_is_synced_before_it_is_shown_although_we_have_nothing_to_write() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let item = r#"{"id":"everyone","name":"everyone","description":"edited","createdAt":1,"kind":{"kind":"auto","source":{"anchor":"everyone"}}}"#;
    bench.append_from_outside(&format!("{{\"item\":{item},\"changeType\":\"SET\",\"itemType\":\"Room\"}}\n"));
    bench.batch.push(Command::LogTouched);
    bench.turn();
    bench.happened();
    bench.read_for_store();
    assert!(bench.rows().iter().any(|row| row.contains("edited")));
    assert_eq!(bench.happened(), [SYNC]);
}

#[test]
fn what_is_acknowledged_while_somebody_replaces_cuts_or_rewrites_the_log_is_in_the_log_that_is_there() {
    let replace: fn(&SimDisk, &[u8]) = |disk, before| disk.replace_from_outside(LOG_NAME, before);
    let rewrite: fn(&SimDisk, &[u8]) = |disk, before| disk.rewrite_from_outside(LOG_NAME, before);
    let longer: fn(&SimDisk, &[u8]) = |disk, before| disk.rewrite_from_outside(LOG_NAME, &[before, before].concat());
    for (name, change) in [("replaced", replace), ("rewritten shorter", rewrite), ("rewritten longer", longer)] {
        let (mut bench, _outbox) = Bench::with_sessions();
        let before = bench.log_bytes();
        bench.disk.during_next_sync(Box::new(move |disk| change(disk, &before)));
        bench.start("acknowledged");
        bench.turn();
        assert!(bench.happened().contains(&Did::Answer("start", "ok")), "{name}");
        // As if it were killed now.
        assert!(bench.rows_in_log().iter().any(|row| row.contains(r#""id":"acknowledged""#)), "{name}");
        bench.look();
        bench.settle();
        assert_eq!(bench.rows(), bench.rows_in_log(), "{name}");
    }
}

#[test]
fn a_log_that_somebody_replaces_at_every_sync_is_given_up() {
    let (mut bench, _outbox) = Bench::with_sessions();
    fn again(disk: &SimDisk) {
        disk.replace_from_outside(LOG_NAME, b"");
        disk.during_next_sync(Box::new(again));
    }
    bench.disk.during_next_sync(Box::new(again));
    bench.start("never");
    assert_eq!(bench.try_turn().unwrap_err().code, exit_code::IO);
    assert!(!bench.happened().iter().any(|did| matches!(did, Did::Answer(..))));
}

#[test]
fn half_a_line_that_our_event_follows_costs_neither_the_event_nor_the_count_of_damage() {
    // marshal 0.9 fault 16: the next event was glued to the torn line, and both were lost.
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.append_from_outside(r#"{"item":{"id":"torn"#);
    bench.start("after");
    bench.turn();
    bench.look();
    assert_eq!(bench.rows(), bench.rows_in_log());
    assert!(bench.rows().iter().any(|row| row.contains("after")));
    assert_eq!(bench.report().malformed_lines, 1);
}

#[test]
fn half_a_line_is_read_with_its_rest_and_is_no_damage() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let whole = line("late", "late");
    let (first, rest) = whole.split_at(20);
    bench.append_from_outside(first);
    bench.look();
    assert!(!bench.rows().iter().any(|row| row.contains("late")));
    bench.append_from_outside(rest);
    bench.look();
    assert!(bench.rows().iter().any(|row| row.contains("late")));
    assert_eq!(bench.report().malformed_lines, 0);
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn a_log_that_is_replaced_while_its_rows_are_written_back_is_followed_again() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let before = bench.rows();
    bench.disk.replace_from_outside(LOG_NAME, &Vec::new());
    bench.batch.push(Command::LogTouched);
    bench.turn();
    // The rows that the new file lacks are about to be written, and it is replaced once more.
    bench.disk.replace_from_outside(LOG_NAME, &line("new", "new").into_bytes());
    bench.read_for_store();
    bench.look();
    bench.settle();
    assert!(bench.rows().is_superset(&before));
    assert!(bench.rows().iter().any(|row| row.contains(r#""id":"new""#)));
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn what_is_acknowledged_while_a_replaced_log_is_read_is_in_the_new_one_and_wins() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let copy = bench.log_bytes();
    bench.disk.replace_from_outside(LOG_NAME, &copy);
    bench.batch.push(Command::LogTouched);
    bench.task("hook", "newer than the copy");
    bench.start("newer");
    bench.turn();
    bench.task("hook", "newest");
    bench.turn();
    bench.read_for_store();
    bench.settle();
    assert!(bench.rows().iter().any(|row| row.contains("newest")));
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn a_log_that_is_cut_is_written_anew() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let before = bench.rows();
    bench.disk.rewrite_from_outside(LOG_NAME, b"");
    bench.look();
    bench.settle();
    assert_eq!((bench.rows(), bench.rows_in_log()), (before.clone(), before));
}

#[test]
fn foreign_events_of_a_batch_that_could_not_be_written_are_read_again() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.append_from_outside(&line("ext", "ext"));
    bench.space(Some(0));
    bench.look();
    assert!(!bench.rows().iter().any(|row| row.contains(r#""id":"ext""#)), "its rooms could not be written");
    bench.space(None);
    bench.batch.push(Command::Tick);
    bench.turn();
    bench.read_for_store();
    bench.settle();
    assert!(bench.rows().iter().any(|row| row.contains(r#""id":"ext""#)));
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn rows_that_cannot_be_written_back_wait_for_the_disk_and_do_not_spin() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.disk.replace_from_outside(LOG_NAME, &Vec::new());
    bench.batch.push(Command::LogTouched);
    bench.turn();
    bench.space(Some(0));
    bench.read_for_store();
    bench.turn();
    bench.happened();
    bench.turn();
    bench.turn();
    assert_eq!(bench.happened(), [], "nobody tries again until the tick's probe");
    bench.space(None);
    bench.batch.push(Command::Tick);
    bench.turn();
    bench.turn();
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn rows_that_a_log_lacks_are_written_as_soon_as_a_batch_fits_and_not_only_at_a_tick() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.disk.replace_from_outside(LOG_NAME, b"");
    bench.batch.push(Command::LogTouched);
    bench.turn();
    bench.space(Some(0));
    bench.read_for_store();
    bench.start("refused");
    bench.turn();
    bench.space(None);
    bench.start("stored");
    bench.turn();
    bench.turn();
    bench.read_for_store();
    // As if it were killed now, before any tick has found the log healthy.
    assert!(bench.rows_in_log().iter().any(|row| row.contains(r#""id":"hook""#)));
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn what_the_same_batch_has_changed_is_newer_than_the_file_that_was_read() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.disk.replace_from_outside(LOG_NAME, &bench.log_bytes());
    bench.batch.push(Command::LogTouched);
    bench.turn();
    let job = bench.jobs.try_recv().unwrap();
    let read = bench.reader.answer(job);
    bench.ask("end", Request::session_end("hook".into()));
    bench.batch.extend(read);
    bench.turn();
    bench.read_for_store();
    assert!(!bench.living().iter().any(|row| row.contains(r#""id":"hook""#)), "{:#?}", bench.rows());
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn a_log_that_is_rewritten_in_place_is_read_again_longer_or_not() {
    for place in ["/much-longer", "/v"] {
        let (mut bench, _outbox) = Bench::with_sessions();
        bench.batch.push(Command::LogTouched);
        bench.turn();
        let rewritten = bench.log_text().replace("\"/w\"", &format!("\"{place}\""));
        bench.disk.rewrite_from_outside(LOG_NAME, rewritten.as_bytes());
        bench.batch.push(Command::LogTouched);
        bench.turn();
        bench.read_for_store();
        assert!(bench.rows().iter().any(|row| row.contains(place)));
        assert_eq!((bench.rows(), bench.report().malformed_lines), (bench.rows_in_log(), 0));
    }
}

#[test]
fn what_we_change_behind_an_outsiders_line_that_is_not_read_yet_is_newer_than_the_line() {
    for in_the_batch_with_what_was_read in [false, true] {
        let (mut bench, _outbox) = Bench::with_sessions();
        bench.append_from_outside(&line("hook", "edited"));
        bench.batch.push(Command::LogTouched);
        bench.turn();
        bench.task("hook", "newer");
        if in_the_batch_with_what_was_read {
            bench.read_next();
        }
        bench.turn();
        bench.read_for_store();
        assert!(bench.rows().iter().any(|row| row.contains("newer")), "{:#?}", bench.rows());
        assert_eq!(bench.rows(), bench.rows_in_log());
        // A line behind ours is newer than ours.
        bench.append_from_outside(&line("hook", "edited once more"));
        bench.look();
        assert!(bench.rows().iter().any(|row| row.contains("edited once more")));
        assert_eq!(bench.rows(), bench.rows_in_log());
    }
}

#[test]
fn an_outsiders_event_that_ours_was_glued_to_is_not_shown_since_nobody_will_read_it_again() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.batch.push(Command::LogTouched);
    bench.turn();
    let theirs = line("late", "late").trim_end().as_bytes().to_vec();
    bench.disk.state().faults.race = Some((LOG_NAME.to_owned(), theirs));
    bench.start("ours");
    bench.turn();
    bench.look();
    assert!(bench.rows().iter().any(|row| row.contains("ours")));
    assert_eq!(bench.rows(), bench.rows_in_log());
    assert_eq!(bench.report().malformed_lines, 1, "the two of them are one line now");
}

#[test]
fn what_follows_from_a_file_that_is_read_as_a_whole_is_newer_than_all_of_it() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.batch.push(Command::LogTouched);
    bench.turn();
    // An editor deletes a session and leaves its memberships, and moves the other one to another project.
    let moved = bench.log_text().replace(r#""id":"shim""#, r#""id":"shim","project":"elsewhere""#);
    let deleted = r#"{"item":{"id":"hook"},"changeType":"DEL","itemType":"Session"}"#;
    bench.disk.rewrite_from_outside(LOG_NAME, format!("{moved}{deleted}\n").as_bytes());
    bench.look();
    assert!(bench.rows().iter().any(|row| row.contains("project:elsewhere::shim")), "{:#?}", bench.rows());
    assert!(!bench.living().iter().any(|row| row.contains("hook")), "{:#?}", bench.rows());
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn an_outsiders_event_behind_a_line_that_a_crash_tore_is_what_a_replay_makes_of_the_two() {
    for race in [false, true] {
        let (mut bench, _outbox) = Bench::with_sessions();
        bench.append_from_outside(r#"{"item":{"id":"torn"#);
        // A start after a crash knows the whole of the file, its torn end included.
        let (watcher, jobs) = bounded(64);
        let places = Places { last: bench.store.roster.rows_in_order().len() as u64 };
        bench.store.tail = Tail::new(bench.log_bytes().len() as u64, true, 1, places, watcher);
        bench.jobs = jobs;
        if race {
            bench.disk.state().faults.race = Some((LOG_NAME.to_owned(), line("glued", "glued").into_bytes()));
        } else {
            bench.append_from_outside(&line("glued", "glued"));
        }
        bench.start("ours");
        bench.turn();
        bench.look();
        bench.append_from_outside(&line("whole", "whole"));
        bench.look();
        assert!(bench.rows().iter().any(|row| row.contains("ours")));
        assert!(bench.rows().iter().any(|row| row.contains("whole")));
        assert_eq!(bench.rows(), bench.rows_in_log());
    }
}

#[test]
fn a_log_whose_name_may_not_be_on_the_disk_is_not_written_to() {
    for look_first in [false, true] {
        let (mut bench, _outbox) = Bench::with_sessions();
        bench.disk.replace_from_outside(LOG_NAME, &bench.log_bytes());
        bench.disk.state().faults.fail_sync_names = Some(0);
        if look_first {
            bench.batch.push(Command::LogTouched);
            bench.turn();
        }
        bench.start("another");
        assert_eq!(bench.try_turn().unwrap_err().code, crate::error::exit_code::IO);
        assert_eq!(answers(&bench.happened(), "ok"), 0);
        assert!(bench.disk.state().shown(crate::event_log::SUSPECT_NAME).is_some());
    }
}

#[test]
fn a_start_whose_new_name_could_not_be_synced_is_not_believed_by_the_next_one() {
    use crate::event_log::recover;
    let disk = SimDisk::new();
    disk.state().faults.fail_sync_names = Some(0);
    assert!(recover::open(disk.clone(), KEY).is_err());
    let mut opened = recover::open(disk.clone(), KEY).unwrap();
    opened.log.append(line("a", "a").as_bytes()).unwrap();
    opened.log.sync().unwrap();
    let state = disk.state();
    let on_platter = state.platter_names.get(LOG_NAME).map(|inode| state.inodes[*inode].platter.clone());
    assert_eq!(on_platter.unwrap_or_default(), line("a", "a").into_bytes(), "what was synced is there after a crash");
}

#[test]
fn half_a_line_that_nobody_goes_on_writing_is_read_once() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let whole = line("late", "late");
    bench.append_from_outside(&whole[..20]);
    bench.look();
    bench.happened();
    for _ in 0..3 {
        bench.batch.push(Command::Tick);
        bench.turn();
        assert!(bench.jobs.is_empty());
    }
    assert_eq!(bench.happened(), [], "nothing is read, and nothing is synced");
    bench.append_from_outside(&whole[20..]);
    bench.look();
    assert!(bench.rows().iter().any(|row| row.contains("late")));
    bench.append_from_outside(&whole[..20]);
    bench.look();
    bench.start("ours");
    bench.turn();
    bench.look();
    assert_eq!((bench.rows(), bench.report().malformed_lines), (bench.rows_in_log(), 1));
}

#[test]
fn an_outsiders_event_that_lacks_its_newline_gets_one_before_it_is_shown() {
    let message = |id: &str| {
        let item = format!(r#"{{"id":"{id}","body":"x","fromSessionId":"x","toSessionId":"hook","sentAt":1}}"#);
        format!("{{\"item\":{item},\"changeType\":\"SET\",\"itemType\":\"Message\"}}\n")
    };
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.append_from_outside(message("first").trim_end());
    bench.look();
    assert_eq!(bench.happened(), [append(1), SYNC]);
    // What an outsider appends now is a line of its own.
    bench.append_from_outside(&message("second"));
    bench.look();
    for name in ["first", "second"] {
        assert!(bench.rows().iter().any(|row| row.contains(name)));
    }
    assert_eq!((bench.rows(), bench.report().malformed_lines), (bench.rows_in_log(), 0));
}

#[test]
fn a_row_that_is_written_back_behind_an_outsiders_line_that_is_not_read_yet_is_newer_than_the_line() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let (caller, name) = (Caller::session("hook"), "den".to_owned());
    bench.ask("join", Request::JoinRoom { caller, name, description: None });
    bench.turn();
    bench.disk.replace_from_outside(LOG_NAME, b"");
    bench.batch.push(Command::LogTouched);
    bench.turn();
    let theirs = "{\"item\":{\"id\":\"den::hook\"},\"changeType\":\"DEL\",\"itemType\":\"RoomMember\"}\n";
    bench.disk.state().faults.race = Some((LOG_NAME.to_owned(), theirs.as_bytes().to_vec()));
    // The file is found empty, and what it lacks is written behind that line.
    bench.read_for_store();
    bench.settle();
    assert!(bench.rows().iter().any(|row| row.contains("den::hook")));
    bench.read_for_store();
    bench.look();
    bench.settle();
    assert_eq!(bench.rows(), bench.rows_in_log());
}

impl Bench {
    /// Reads for the store as the watcher does, in as many pieces as it takes, each of them a batch.
    fn read_in_pieces(&mut self) {
        self.read_for_store();
    }

    fn join(&mut self, session: &str) {
        let (caller, name) = (Caller::session(session), "den".to_owned());
        self.ask("join", Request::JoinRoom { caller, name, description: None });
    }

    /// With a session that has taken the name of one that ended, so that the latter, if it came back, would need another;
    /// and with one that ended and began once more.
    fn with_an_ended_session() -> Self {
        let (mut bench, _outbox) = Self::with_sessions();
        for session in ["resumed", "session-ended"] {
            bench.start(session);
            bench.join(session);
            bench.turn();
            bench.ask("end", Request::session_end(session.into()));
            bench.turn();
        }
        bench.start("session-there");
        bench.start("resumed");
        bench.join("resumed");
        bench.turn();
        assert!(!bench.living().iter().any(|row| row.contains("session-ended")));
        bench
    }
}

/// When an editor that saves into the log's own file writes the rest, of which the store has seen the beginning.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// Before anything of the beginning is believed.
    BeforeItIsRead,
    /// While the store writes what follows from the beginning, which comes to stand behind the rest.
    WhileWeWrite,
    /// Over what the store has written behind the beginning.
    OverOurs,
}

fn look_while_an_editor_writes(whole: &[u8], written: usize, rest: Rest) -> Bench {
    let mut bench = Bench::with_an_ended_session();
    bench.disk.rewrite_from_outside(LOG_NAME, &whole[..written]);
    bench.batch.push(Command::LogTouched);
    bench.turn();
    match rest {
        Rest::BeforeItIsRead => bench.disk.append_from_outside(LOG_NAME, &whole[written..]),
        Rest::WhileWeWrite => {
            bench.disk.state().faults.race = Some((LOG_NAME.to_owned(), whole[written..].to_vec()));
            bench.read_in_pieces();
            bench.settle();
            let left = bench.disk.state().faults.race.take();
            left.iter().for_each(|(name, rest)| bench.disk.append_from_outside(name, rest));
        }
        Rest::OverOurs => {
            bench.read_in_pieces();
            bench.settle();
            bench.disk.rewrite_from_outside(LOG_NAME, whole);
        }
    }
    for _ in 0..3 {
        bench.batch.push(Command::LogTouched);
        bench.turn();
        bench.read_in_pieces();
        bench.settle();
    }
    bench
}

#[test]
fn what_was_acknowledged_stands_when_an_editor_is_seen_before_it_has_written_all() {
    let bench = Bench::with_an_ended_session();
    let (whole, before) = (bench.log_bytes(), bench.living());
    // At the end of each line, and a little further.
    let ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    for written in ends.flat_map(|end| [end, end + 9]).chain([0]).filter(|written| *written <= whole.len()) {
        for rest in [Rest::BeforeItIsRead, Rest::WhileWeWrite, Rest::OverOurs] {
            let bench = look_while_an_editor_writes(&whole, written, rest);
            let what = format!("{written} of {} bytes, {rest:?}", whole.len());
            // When it ended, and how it was called then, is known anew of one that came back for a moment.
            assert_eq!(bench.living(), before, "{what}");
            assert_eq!(bench.rows(), bench.rows_in_log(), "{what}");
        }
    }
}

#[test]
fn a_log_that_grows_while_it_is_read_is_read_again_and_not_believed_so_far() {
    let whole = Bench::with_an_ended_session().log_bytes();
    let mut bench = look_while_an_editor_writes(&whole, whole.len() / 2, Rest::BeforeItIsRead);
    assert_eq!(bench.log_bytes(), whole, "nothing that followed from half of it was written");
    // Whoever appends all the time does not keep us from reading.
    bench.disk.replace_from_outside(LOG_NAME, b"");
    bench.batch.push(Command::LogTouched);
    bench.turn();
    for number in 0..=crate::limits::LOG_REREADS_MAX {
        let job = bench.jobs.try_recv().unwrap();
        bench.append_from_outside(&line(&format!("ext-{number}"), "ext"));
        bench.read(job);
        bench.turn();
    }
    bench.settle();
    assert!(bench.rows().iter().any(|row| row.contains("ext-15")));
    assert!(bench.rows_in_log().iter().any(|row| row.contains("session-there")));
}

#[test]
fn a_log_that_somebody_goes_on_writing_in_place_while_it_is_read_is_read_again() {
    let mut bench = Bench::with_an_ended_session();
    let (whole, before) = (bench.log_text(), bench.rows());
    let end = r#"{"item":{"id":"session-ended"},"changeType":"DEL","itemType":"Session""#;
    // Something else stands where the editor has not come to yet.
    let half = whole.replace(end, &" ".repeat(end.len()));
    bench.disk.rewrite_from_outside(LOG_NAME, half.as_bytes());
    bench.batch.push(Command::LogTouched);
    bench.turn();
    let job = bench.jobs.try_recv().unwrap();
    let half_read = bench.reader.answer(job);
    bench.disk.rewrite_from_outside(LOG_NAME, whole.as_bytes());
    bench.batch.extend(half_read);
    bench.turn();
    bench.read_in_pieces();
    bench.settle();
    assert_eq!((bench.log_text(), bench.rows()), (whole, before));
}

#[test]
fn the_end_of_a_session_counts_however_far_it_stands_behind_what_made_us_write_of_it() {
    let mut bench = Bench::with_an_ended_session();
    let before = bench.rows();
    let other =
        |id: usize| format!("{{\"item\":{{\"id\":\"{id}\"}},\"changeType\":\"DEL\",\"itemType\":\"Message\"}}\n");
    let between: String = (0..crate::limits::LOG_CHUNK_EVENTS_MAX).map(other).collect();
    let end = r#"{"item":{"id":"session-ended"},"changeType":"DEL","itemType":"Session"}"#;
    // It takes another name than this, which is ours to write.
    let begins = line("session-ended", "w@session-");
    bench.append_from_outside(&format!("{begins}{between}{end}\n"));
    bench.batch.push(Command::LogTouched);
    bench.turn();
    bench.read_in_pieces();
    bench.settle();
    assert_eq!((bench.rows(), bench.rows_in_log()), (before.clone(), before));
}

// row 92
#[test]
fn a_log_that_cannot_be_read_is_tried_again_with_the_next_tick_and_no_sooner() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.disk.replace_from_outside(LOG_NAME, b"");
    bench.batch.push(Command::LogTouched);
    bench.turn();
    for _ in 0..5 {
        let number = bench.jobs.try_recv().unwrap().number;
        let done = ReadDone { unfinished: None, malformed_lines: 0, places: Places::default(), failed: true };
        bench.batch.push(Command::LogRead(LogRead { number, events: Vec::new(), done: Some(done) }));
        bench.turn();
        for _ in 0..100 {
            bench.batch.push(Command::LogTouched);
            bench.turn();
            assert!(!bench.store.tail.has_work(), "the store does not spin");
        }
        assert!(bench.jobs.is_empty());
        bench.batch.push(Command::Tick);
        bench.turn();
    }
    bench.read_for_store();
    bench.settle();
    assert_eq!(bench.rows(), bench.rows_in_log());
}

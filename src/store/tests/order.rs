//! One order of events, the log's: whoever wrote what in which moment, the roster is what a start would make of the log.

use super::*;
use crate::limits::{BATCH_BYTES_MAX, LOG_CHUNK_EVENTS_MAX};
use crate::model::ItemType;

fn set(item_type: &str, item: &str) -> String {
    format!("{{\"item\":{item},\"changeType\":\"SET\",\"itemType\":\"{item_type}\"}}\n")
}

fn room_mail(id: &str) -> String {
    let to = r#""fromSessionId":"x","sentAt":1,"toNick":"den","toRoomId":"den""#;
    set("Message", &format!(r#"{{"body":"{id}","id":"{id}",{to}}}"#))
}

fn member(session: &str) -> String {
    set("RoomMember", &format!(r#"{{"id":"den::{session}","joinedAt":1,"roomId":"den","sessionId":"{session}"}}"#))
}

/// The rows of a roster in order, and who has how much to read.
fn shown(roster: &Roster) -> (Vec<String>, Vec<(String, usize)>) {
    let rows = roster.rows_in_order();
    let sessions = rows.iter().filter(|row| row.item_type() == ItemType::Session);
    let unread = sessions.map(|row| {
        let Row::Session(session) = row else { panic!() };
        (row.id().to_owned(), roster.sighting(session.clone()).unread)
    });
    let unread = unread.collect();
    (rows.iter().map(without_activity).collect(), unread)
}

impl Bench {
    fn join_den(&mut self, session: &str) {
        let (caller, name) = (Caller::session(session), "den".to_owned());
        self.ask("join", Request::JoinRoom { caller, name, description: None });
    }

    /// All that others wrote is read, and the roster is what a start makes of the log.
    fn assert_is_replayed(&mut self, what: &str) {
        for _ in 0..3 {
            self.batch.push(Command::LogTouched);
            self.turn();
            self.read_for_store();
            while self.store.tail.has_work() || !self.jobs.is_empty() {
                self.turn();
                self.read_for_store();
            }
        }
        let fold = Fold::read(&self.log_bytes()[..], &KEY).unwrap();
        let mut roster = Roster::new();
        roster.load_placed(fold.into_placed(), None, Now::at(self.ms));
        let (live, again) = (shown(&self.store.roster), shown(&roster));
        let other = live.0.iter().zip(&again.0).find(|(live, again)| live != again);
        assert_eq!((other, live.0.len()), (None, again.0.len()), "{what}: live, and after a restart");
        assert_eq!(live.1, again.1, "{what}");
    }

    fn unread(&self, session: &str) -> usize {
        let Some(Row::Session(row)) = self.store.roster.row(ItemType::Session, session) else { panic!() };
        self.store.roster.sighting(row).unread
    }

    fn has(&self, text: &str) -> bool {
        self.rows().iter().any(|row| row.contains(text))
    }

    /// Two sessions, of which one is in the room, and a room that both know.
    fn with_a_room() -> Self {
        let (mut bench, _outbox) = Self::with_sessions();
        bench.join_den("hook");
        bench.turn();
        bench.assert_is_replayed("at the beginning");
        bench.happened();
        bench
    }
}

#[test]
fn who_has_a_rooms_mail_to_read_is_what_the_log_says_whenever_somebody_else_writes_it() {
    // row 84: another program's mail to a room, and then one joins by us, who has not seen the mail yet.
    for raced in [false, true] {
        let mut bench = Bench::with_a_room();
        if raced {
            bench.disk.state().faults.race = Some((LOG_NAME.to_owned(), room_mail("mail").into_bytes()));
        } else {
            bench.disk.append_from_outside(LOG_NAME, room_mail("mail").as_bytes());
            bench.batch.push(Command::LogTouched);
            bench.turn();
        }
        bench.join_den("shim");
        bench.turn();
        bench.assert_is_replayed(if raced { "raced" } else { "found" });
        assert_eq!((bench.unread("hook"), bench.unread("shim")), (1, 0), "{raced}");
    }
    // The other way round: another program has one join, and then we send.
    for raced in [false, true] {
        let mut bench = Bench::with_a_room();
        if raced {
            bench.disk.state().faults.race = Some((LOG_NAME.to_owned(), member("shim").into_bytes()));
        } else {
            bench.disk.append_from_outside(LOG_NAME, member("shim").as_bytes());
            bench.batch.push(Command::LogTouched);
            bench.turn();
        }
        bench.start("sender");
        bench.join_den("sender");
        let (caller, room, body) = (Caller::session("sender"), "den".to_owned(), "ours".to_owned());
        bench.ask("broadcast", Request::Broadcast { caller, room, body });
        bench.turn();
        bench.assert_is_replayed(if raced { "raced" } else { "found" });
        assert_eq!((bench.unread("hook"), bench.unread("shim")), (1, 1), "{raced}");
    }
}

#[test]
fn what_others_wrote_in_several_parts_between_ours_keeps_its_places() {
    // row 84
    let mut bench = Bench::with_a_room();
    for number in 0..4 {
        bench.disk.append_from_outside(LOG_NAME, room_mail(&format!("a{number}")).as_bytes());
        bench.batch.push(Command::LogTouched);
        bench.start(&format!("s{number}"));
        bench.join_den(&format!("s{number}"));
        bench.turn();
        bench.disk.append_from_outside(LOG_NAME, room_mail(&format!("b{number}")).as_bytes());
        bench.batch.push(Command::LogTouched);
        bench.turn();
    }
    bench.assert_is_replayed("in parts");
    let unread = (0..4).map(|number| bench.unread(&format!("s{number}"))).collect::<Vec<_>>();
    assert_eq!((bench.unread("hook"), unread), (8, vec![7, 5, 3, 1]));
    // And what the log lacks afterwards is written back with the places that it had.
    let without: String =
        bench.log_text().lines().filter(|line| !line.contains("den::s1")).map(|l| format!("{l}\n")).collect();
    bench.disk.replace_from_outside(LOG_NAME, without.as_bytes());
    bench.assert_is_replayed("completed");
    assert_eq!(bench.unread("s1"), 5);
}

#[test]
fn a_line_between_a_glued_batch_and_its_repetition_is_read() {
    // row 83: another program's half line at our write, and a third one's line before we write again.
    for between in [room_mail("between"), member("shim"), "garbage\n".to_owned(), room_mail("half")[..30].to_owned()] {
        let mut bench = Bench::with_a_room();
        let whole = between.clone();
        bench.disk.before_next_append(Box::new(move |disk| {
            disk.append_from_outside(LOG_NAME, br#"{"item":{"id":"torn"#);
            disk.before_next_append(Box::new(move |disk| disk.append_from_outside(LOG_NAME, whole.as_bytes())));
        }));
        bench.start("sender");
        bench.join_den("sender");
        let (caller, room, body) = (Caller::session("sender"), "den".to_owned(), "ours".to_owned());
        bench.ask("broadcast", Request::Broadcast { caller, room, body });
        bench.turn();
        assert_eq!(answers(&bench.happened(), "ok"), 3);
        bench.assert_is_replayed(&between);
        if between == room_mail("between") {
            // What is behind the first copy of our lines is behind the join in it.
            assert!(bench.has(r#""id":"between""#));
            assert_eq!((bench.unread("hook"), bench.unread("sender")), (2, 1));
        }
    }
}

#[test]
fn an_event_without_its_newline_is_ended_before_it_is_read() {
    // row 85: whatever another one appends in the moment before ours.
    let first = room_mail("first");
    let event = first.trim_end();
    for (theirs, first_counts) in [("", true), ("\n", true), (event, false), ("garbage", false), (" ", true)] {
        let mut bench = Bench::with_a_room();
        bench.disk.append_from_outside(LOG_NAME, event.as_bytes());
        bench.batch.push(Command::LogTouched);
        bench.turn();
        bench.read_next();
        let rest = theirs.to_owned();
        bench.disk.before_next_append(Box::new(move |disk| disk.append_from_outside(LOG_NAME, rest.as_bytes())));
        bench.turn();
        assert!(!bench.has("first"), "{theirs:?}: it is not shown before it is a line");
        bench.assert_is_replayed(theirs);
        assert_eq!(bench.has("first"), first_counts, "{theirs:?}");
        bench.disk.append_from_outside(LOG_NAME, room_mail("second").as_bytes());
        bench.assert_is_replayed(theirs);
        assert!(bench.has("second"), "{theirs:?}");
    }
}

#[test]
fn half_a_line_that_is_finished_while_we_write_is_what_the_log_makes_of_it() {
    // row 83, row 85
    let whole = room_mail("late");
    for cut in [1, 20, whole.len() - 1] {
        for rest in [&whole[cut..], whole[cut..].trim_end(), "", "\n"] {
            let mut bench = Bench::with_a_room();
            bench.disk.append_from_outside(LOG_NAME, &whole.as_bytes()[..cut]);
            bench.batch.push(Command::LogTouched);
            bench.turn();
            bench.read_for_store();
            let late = rest.to_owned();
            bench.disk.before_next_append(Box::new(move |disk| disk.append_from_outside(LOG_NAME, late.as_bytes())));
            bench.join_den("shim");
            bench.turn();
            bench.assert_is_replayed(&format!("{cut} {rest:?}"));
            bench.disk.append_from_outside(LOG_NAME, room_mail("next").as_bytes());
            bench.assert_is_replayed(&format!("{cut} {rest:?}, and one more"));
            assert!(bench.has(r#""body":"next""#));
        }
    }
}

impl Bench {
    /// With so many messages, so that their log is read in many pieces.
    fn with_messages(count: usize) -> Self {
        let mut bench = Self::with_a_room();
        for number in 0..count {
            bench.send("hook", "shim");
            if number.is_multiple_of(200) {
                bench.turn();
            }
        }
        bench.turn();
        bench.assert_is_replayed("with messages");
        bench.happened();
        bench
    }

    /// Reads a log that was put in the place of ours, and sees that nothing of it comes in more than a piece.
    fn read_again(&mut self) -> usize {
        self.batch.push(Command::LogTouched);
        self.turn();
        let mut pieces = 0;
        while let Ok(job) = self.jobs.try_recv() {
            assert!(self.jobs.is_empty(), "no more is asked for than is taken");
            let asked = if let ReadAsk::Lacks(rows) = &job.ask { rows.len() } else { 0 };
            assert!(asked <= LOG_CHUNK_EVENTS_MAX);
            let answer = self.reader.answer(job);
            match &answer {
                Some(Command::LogRead(read)) => assert!(read.events.len() <= LOG_CHUNK_EVENTS_MAX),
                Some(Command::LogLacks { rows, .. }) => assert!(rows.len() <= asked),
                _ => {}
            }
            pieces += usize::from(answer.is_some());
            self.batch.extend(answer);
            self.turn();
            while self.store.tail.has_work() {
                self.turn();
            }
        }
        pieces
    }
}

#[test]
fn a_log_that_is_touched_copied_or_edited_is_compared_in_pieces_and_only_what_differs_is_applied() {
    // row 82
    let mut bench = Bench::with_messages(5_000);
    let rows = bench.rows().len();
    let same = bench.log_bytes();
    let touch: fn(&SimDisk, &[u8]) = |disk, same| disk.rewrite_from_outside(LOG_NAME, same);
    let copy: fn(&SimDisk, &[u8]) = |disk, same| disk.replace_from_outside(LOG_NAME, same);
    for (what, change) in [("touched", touch), ("copied", copy)] {
        bench.batch.push(Command::LogTouched);
        bench.turn();
        bench.happened();
        change(&bench.disk, &same);
        let pieces = bench.read_again();
        // Each piece of events, and each of rows that are looked for.
        assert!(pieces >= 2 * rows / LOG_CHUNK_EVENTS_MAX, "{what}: {pieces} pieces");
        let did: Vec<Did> = bench.happened().into_iter().filter(|did| *did != Did::Disk(Op::SyncNames)).collect();
        assert_eq!(did, [], "{what}: nothing is written, and nobody waits for the disk");
        assert_eq!(bench.log_bytes(), same, "{what}");
    }
    let (all, events) = (shown(&bench.store.roster), bench.store.events.last());
    let edited = bench.log_text().replacen(r#""body":"x""#, r#""body":"edited""#, 1);
    bench.disk.replace_from_outside(LOG_NAME, edited.as_bytes());
    bench.read_again();
    let changed = shown(&bench.store.roster);
    let other: Vec<_> = all.0.iter().zip(&changed.0).filter(|(before, after)| before != after).collect();
    assert_eq!((other.len(), all.0.len()), (1, changed.0.len()));
    assert!(other[0].1.contains("edited"));
    assert_eq!(bench.store.events.last(), events, "a message is not news twice");
    bench.assert_is_replayed("edited");
}

#[test]
fn a_log_that_lacks_thousands_of_rows_gets_them_in_batches_of_a_bounded_size() {
    // row 82
    let mut bench = Bench::with_messages(3_000);
    let before = shown(&bench.store.roster);
    bench.disk.replace_from_outside(LOG_NAME, b"");
    bench.batch.push(Command::LogTouched);
    bench.turn();
    bench.happened();
    let mut longest = 0;
    loop {
        if let Ok(job) = bench.jobs.try_recv() {
            bench.read(job);
        } else if !bench.store.tail.has_work() {
            break;
        }
        let length = bench.log_bytes().len();
        bench.turn();
        longest = longest.max(bench.log_bytes().len() - length);
    }
    assert!(longest > 0 && longest <= BATCH_BYTES_MAX + 1024, "{longest} bytes at once");
    assert_eq!(shown(&bench.store.roster), before);
    bench.assert_is_replayed("completed");
}

#[test]
fn what_others_wrote_is_marked_live_as_after_a_restart() {
    // row 105
    let mut bench = Bench::with_a_room();
    let direct = r#""fromSessionId":"human:ann","sentAt":1,"toNick":"hook","toSessionId":"hook""#;
    let notice = r#""fromNick":"marshal","fromSessionId":"marshal","notice":true,"sentAt":1,"toNick":"hook","toSessionId":"hook""#;
    let hash = "1".repeat(64);
    let lines = [
        set("Message", &format!(r#"{{"body":"by ann","id":"m1","proof":"human",{direct}}}"#)),
        set("Message", &format!(r#"{{"body":"by the daemon","id":"m2",{notice}}}"#)),
        set("Registration", &format!(r#"{{"id":"hook","registeredAt":1,"renewedAt":1,"tokenHash":"{hash}"}}"#)),
    ];
    bench.disk.append_from_outside(LOG_NAME, lines.concat().as_bytes());
    bench.assert_is_replayed("forged");
    for (id, words) in [("m1", r#""proof":"outside""#), ("m2", r#""proof":"outside""#)] {
        let rows = bench.rows();
        let row = rows.iter().find(|row| row.contains(&format!(r#""id":"{id}""#))).unwrap();
        assert!(row.contains(words) && !row.contains("notice"), "{row}");
    }
    assert_eq!(bench.store.roster.counts().registrations, 0);
    // What we write of such a row later is ours, and says no more of it.
    let ids = vec![MessageId::from("m1")];
    bench.ask("ack", Request::AckMessages { caller: Caller::session("hook"), messages: ids });
    bench.ask("end", Request::session_end("hook".into()));
    bench.turn();
    assert!(bench.has(r#""proof":"outside","readAt""#), "{:#?}", bench.rows());
    bench.assert_is_replayed("written of");
}

#[test]
fn what_others_append_while_we_take_back_or_probe_is_never_cut_off() {
    // row 86: between the look at the file and what we do about its end.
    for (space, theirs) in
        [(40, room_mail("theirs")), (40, room_mail("theirs")[..30].to_owned()), (700, room_mail("theirs"))]
    {
        let mut bench = Bench::with_a_room();
        bench.space(Some(space));
        let line = theirs.clone();
        bench.disk.before_next_change(Box::new(move |disk| disk.append_from_outside(LOG_NAME, line.as_bytes())));
        bench.start("refused");
        bench.start("refused too");
        bench.turn();
        assert_eq!(answers(&bench.happened(), "storage_full"), 2);
        assert!(bench.log_text().contains(&theirs) && !bench.log_text().contains("refused"), "{}", bench.log_text());
        // The probe leaves what is there, too.
        bench.space(None);
        let line = room_mail("probed");
        bench.disk.before_next_append(Box::new(move |disk| disk.append_from_outside(LOG_NAME, line.as_bytes())));
        bench.batch.push(Command::Tick);
        bench.turn();
        assert_eq!(bench.report().refused, None);
        bench.assert_is_replayed("probed");
        // Half a line goes on with what comes behind it.
        let is_whole = theirs.ends_with('\n');
        assert_eq!((bench.has("probed"), bench.has(r#""id":"theirs""#)), (is_whole, is_whole), "{theirs:?}");
        assert!(!bench.happened().contains(&Did::Disk(Op::Cut)));
    }
}

#[test]
fn where_nothing_can_be_overwritten_on_a_full_disk_what_we_wrote_is_cut_off() {
    let mut bench = Bench::with_a_room();
    let log = bench.log_bytes();
    bench.disk.state().faults.copies = true;
    bench.space(Some(40));
    bench.start("refused");
    bench.turn();
    assert_eq!((answers(&bench.happened(), "storage_full"), bench.log_bytes()), (1, log));
    // Not if others have appended meanwhile: then nobody knows what counts.
    bench.space(Some(40));
    let line = room_mail("theirs");
    bench.disk.before_next_change(Box::new(move |disk| disk.append_from_outside(LOG_NAME, line.as_bytes())));
    bench.start("refused");
    assert_eq!(bench.try_turn().unwrap_err().code, exit_code::IO);
}

//! An index is held against a fold of the same log: the same rows in the same order, whoever wrote which line, whether a
//! log is read at once, in two parts, or after it was written anew.

use super::*;
use crate::event_log::line::{Stamp, encode_change, encode_delete, encode_set};
use crate::event_log::replay::Fold;
use crate::event_log::{LOG_NAME, NEW_NAME, real_disk::RealDisk, rewrite};
use crate::ids::SeededIds;
use crate::model::{Message, Recipient};
use crate::roster::{Request, Roster};
use crate::row_json::row_text;
use crate::time::Now;
use proptest::prelude::*;

const KEY: LogKey = LogKey::of([3; 16]);

impl ReadAt for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

fn source(log: &[u8]) -> Arc<dyn ReadAt> {
    Arc::new(log.to_vec())
}

fn stamp() -> Stamp {
    let id = "9ccc2305-57df-40ce-a8b7-2adaa4675271".to_owned();
    Stamp { created_at: Now::at(7).rfc3339(), tx: id.clone(), source_id: id, key: KEY }
}

fn message(id: &str, body: &str) -> Row {
    Message {
        id: id.into(),
        from_session_id: "a".into(),
        from_nick: "a".into(),
        to: Recipient::Session("b".into()),
        to_nick: "b".into(),
        body: body.into(),
        sent_at: 1,
        read_at: None,
        proof: Some(crate::model::Proof::Process),
        terms: None,
    }
    .into()
}

/// One line: who writes it, of which message, and what.
#[derive(Clone, Copy, Debug)]
enum Wrote {
    OurSet(u8, u8),
    OurDelete(u8),
    TheirSet(u8, u8),
    TheirDelete(u8),
    Garbage,
    Unknown,
}

fn wrote() -> impl Strategy<Value = Wrote> {
    prop_oneof![
        4 => (0..6_u8, any::<u8>()).prop_map(|(id, body)| Wrote::OurSet(id, body)),
        2 => (0..6_u8).prop_map(Wrote::OurDelete),
        3 => (0..6_u8, any::<u8>()).prop_map(|(id, body)| Wrote::TheirSet(id, body)),
        2 => (0..6_u8).prop_map(Wrote::TheirDelete),
        1 => Just(Wrote::Garbage),
        1 => Just(Wrote::Unknown),
    ]
}

/// A log of such lines, with the ends of them. We give places as the roster does: a row that is there keeps its own.
fn log(lines: &[Wrote]) -> (Vec<u8>, Vec<usize>) {
    let (mut log, mut ends, mut next) = (Vec::new(), Vec::new(), 0);
    let mut there: std::collections::BTreeMap<u8, u64> = std::collections::BTreeMap::new();
    for wrote in lines {
        next += 100;
        let theirs = |line: &[u8], log: &mut Vec<u8>| {
            // The same text under a check sum that is none.
            let line = std::str::from_utf8(line).unwrap().replace(r#","sum":""#, r#","sum":"x"#);
            log.extend_from_slice(line.as_bytes());
        };
        let mut line = Vec::new();
        match *wrote {
            Wrote::OurSet(id, body) => {
                let seq = *there.entry(id).or_insert(next);
                encode_set(&message(&id.to_string(), &body.to_string()), seq, &stamp(), &mut log);
            }
            Wrote::OurDelete(id) => {
                there.remove(&id);
                encode_delete(ItemType::Message, &id.to_string(), &stamp(), &mut log);
            }
            Wrote::TheirSet(id, body) => {
                there.entry(id).or_insert(next - 99);
                encode_set(&message(&id.to_string(), &body.to_string()), 1, &stamp(), &mut line);
                theirs(&line, &mut log);
            }
            Wrote::TheirDelete(id) => {
                there.remove(&id);
                encode_delete(ItemType::Message, &id.to_string(), &stamp(), &mut line);
                theirs(&line, &mut log);
            }
            Wrote::Garbage => log.extend_from_slice(b"garbage\n"),
            Wrote::Unknown => {
                log.extend_from_slice(b"{\"item\":{\"id\":\"l\"},\"changeType\":\"SET\",\"itemType\":\"Lease\"}\n")
            }
        }
        ends.push(log.len());
    }
    (log, ends)
}

fn folded(log: &[u8]) -> Vec<String> {
    Fold::read(log, &KEY).unwrap().into_rows().iter().map(|row| row_text(row).to_string()).collect()
}

fn index(log: &[u8], range: Range<u64>, last: u64) -> Index {
    Index::read(&source(log), range, Places { last }, &KEY, &mut |_, _| ()).unwrap()
}

/// All events, in pieces of three.
fn events(log: &[u8], index: Index, is_whole: bool) -> Vec<ExternalEvent> {
    let mut events = Events::new(source(log), index, is_whole, KEY);
    let mut all = Vec::new();
    loop {
        let (some, is_last) = events.next(3, 1 << 20).unwrap();
        all.extend(some);
        if is_last {
            return all;
        }
    }
}

/// The rows of a roster in order.
fn shown(roster: &Roster) -> Vec<String> {
    roster.rows_in_order().iter().map(|row| row_text(row).to_string()).collect()
}

/// The rows of a log, in its order; but two of which we have never written can stand either way, and two that have one
/// place since somebody took a third out of the log.
fn assert_same_order(shown: &[String], log: &[u8]) {
    let expected = folded(log);
    let whole = index(log, 0..log.len() as u64, 0);
    let known = |row: &String| {
        let id = (0..6).find(|id| row.contains(&format!(r#""id":"{id}""#))).unwrap();
        whole.rows[&KEY.short(ItemType::Message as u8, &id.to_string())]
    };
    let at = |row: &String| shown.iter().position(|other| other == row).unwrap_or_else(|| panic!("{row} is missing"));
    assert_eq!(shown.len(), expected.len());
    for (number, first) in expected.iter().enumerate() {
        for second in &expected[number + 1..] {
            let (one, other) = (known(first), known(second));
            let either_way = one.seq == other.seq || !(one.is_by_us || other.is_by_us);
            assert!(at(first) < at(second) || either_way, "{shown:#?} {expected:#?}");
        }
    }
}

/// Applies events, and gives the lines that follow from them.
fn apply(roster: &mut Roster, events: Vec<ExternalEvent>) -> Vec<u8> {
    roster.apply(Request::External(events), Now::at(1), &mut SeededIds::new(1)).reply.unwrap();
    let mut lines = Vec::new();
    for change in roster.commit().iter().filter(|change| change.persist) {
        encode_change(change, &stamp(), &mut lines);
    }
    lines
}

fn started_on(log: &[u8]) -> (Roster, Places) {
    let fold = Fold::read(log, &KEY).unwrap();
    let (mut roster, places) = (Roster::new(), fold.places);
    roster.load_placed(fold.into_placed(), None, Now::at(1));
    (roster, places)
}

proptest! {
    #[test]
    fn a_log_that_is_read_in_parts_comes_to_what_a_start_makes_of_it(lines in proptest::collection::vec(wrote(), 0..40), cut in 0..40_usize) {
        let (log, ends) = log(&lines);
        let at = if cut == 0 { 0 } else { ends.get(cut - 1).copied().unwrap_or(log.len()) };
        let (mut roster, places) = started_on(&log[..at]);
        let part = index(&log, at as u64..log.len() as u64, places.last);
        prop_assert_eq!(part.places, Fold::read(&log[..], &KEY).unwrap().places);
        prop_assert_eq!(apply(&mut roster, events(&log, part, false)), Vec::<u8>::new());
        prop_assert_eq!(shown(&roster), folded(&log));
    }

    #[test]
    fn a_log_that_is_read_again_changes_nothing_and_an_edited_one_counts_as_it_stands(lines in proptest::collection::vec(wrote(), 0..40), known in 0..40_usize, kept in proptest::collection::vec(any::<bool>(), 40)) {
        let (log, ends) = log(&lines);
        let known = if known == 0 { 0 } else { ends.get(known - 1).copied().unwrap_or(log.len()) };
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let edited: Vec<u8> = starts.zip(&ends).zip(&kept).filter(|(_, kept)| **kept).flat_map(|((from, to), _)| log[from..*to].to_vec()).collect();
        let log = &log[..known];
        let (mut roster, _) = started_on(log);
        let again = events(log, index(log, 0..log.len() as u64, 0), true);
        roster.apply(Request::External(again), Now::at(1), &mut SeededIds::new(1)).reply.unwrap();
        prop_assert!(roster.journal().is_empty(), "{:?}", roster.journal());
        let whole = index(&edited, 0..edited.len() as u64, 0);
        let tells: Vec<bool> = (0..6).map(|id| whole.tells_of(KEY.short(ItemType::Message as u8, &id.to_string()))).collect();
        // Until nothing follows from it any more.
        let mut edited = edited;
        loop {
            let whole = index(&edited, 0..edited.len() as u64, 0);
            let follows = apply(&mut roster, events(&edited, whole, true));
            if follows.is_empty() {
                break;
            }
            edited.extend(follows);
        }
        // What it does not tell of stays.
        let told = |row: &String| (0..6).any(|id: usize| tells[id] && row.contains(&format!(r#""id":"{id}""#)));
        let shown: Vec<String> = shown(&roster).into_iter().filter(told).collect();
        assert_same_order(&shown, &edited);
    }

    #[test]
    fn a_log_that_is_written_anew_has_its_rows_in_the_same_order(lines in proptest::collection::vec(wrote(), 0..40)) {
        let (log, _) = log(&lines);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(LOG_NAME), &log).unwrap();
        rewrite::write_new(&RealDisk::new(directory.path()), &source(&log), log.len() as u64, &KEY).unwrap();
        let new = std::fs::read(directory.path().join(NEW_NAME)).unwrap();
        prop_assert_eq!(folded(&new), folded(&log));
        let count = |log: &[u8]| log.windows(7).filter(|bytes| bytes == b"\"Lease\"").count();
        prop_assert_eq!(count(&new), count(&log));
    }
}

fn signed(line: &str) -> Vec<u8> {
    format!("{line},\"sum\":\"{:016x}\"}}\n", KEY.sum(line.as_bytes())).into_bytes()
}

#[test]
fn of_our_own_lines_no_more_is_read_than_of_which_row_they_are() {
    // row 95
    let odd =
        r#"{"item":{"id":"s","pid":"what a later version writes"},"changeType":"SET","itemType":"Session","seq":1"#;
    let found = index(&signed(odd), 0..1 << 20, 0);
    assert_eq!((found.malformed_lines, found.survivors().len()), (0, 1));
    // Of another's line it is told whether it could be a row.
    let found = index(format!("{odd}}}\n").as_bytes(), 0..1 << 20, 0);
    assert_eq!((found.malformed_lines, found.survivors().len()), (1, 0));
}

#[test]
fn no_other_program_makes_a_credential_nor_takes_the_place_of_one() {
    // row 105
    let registration = |hash: char| {
        let hash = hash.to_string().repeat(64);
        format!(
            r#"{{"item":{{"id":"s","registeredAt":1,"renewedAt":1,"tokenHash":"{hash}"}},"changeType":"SET","itemType":"Registration","seq":1"#
        )
    };
    let (ours, theirs) = (signed(&registration('1')), format!("{}}}\n", registration('2')));
    let log = [ours.as_slice(), theirs.as_bytes()].concat();
    for text in [folded(&log), folded(&log[..ours.len()])] {
        assert!(text.len() == 1 && text[0].contains("1111"), "{text:?}");
    }
    assert_eq!(folded(theirs.as_bytes()), [""; 0]);
    let whole = |log: &[u8]| events(log, index(log, 0..log.len() as u64, 0), true);
    assert_eq!((whole(&log).len(), whole(theirs.as_bytes()).len()), (1, 0));
    let kept = index(&log, 0..log.len() as u64, 0).survivors();
    assert_eq!((kept.len(), kept[0].clone()), (1, 0..ours.len() as u64));
    // To take one away is not to make one.
    let delete = r#"{"item":{"id":"s"},"changeType":"DEL","itemType":"Registration"}"#;
    assert_eq!(folded(&[log.as_slice(), delete.as_bytes()].concat()), [""; 0]);
}

#[test]
fn a_line_that_no_newline_ends_is_told_of_and_not_read() {
    let set = r#"{"item":{"id":"s"},"changeType":"SET","itemType":"Session"}"#;
    for (rest, expected) in [("", None), (set, Some(true)), (&set[..20], Some(false)), ("  ", Some(false))] {
        let log = format!("{set}\n{rest}");
        let found = index(log.as_bytes(), 0..log.len() as u64, 0);
        let at = set.len() as u64 + 1;
        assert_eq!(found.unfinished, expected.map(|is_event| Unfinished { at, is_event }), "{rest:?}");
        assert_eq!((found.read_to, found.rows.len(), found.malformed_lines), (at, 1, 0));
    }
}

#[test]
fn a_log_that_is_changed_while_it_is_read_is_not_believed() {
    let line = |id: &str| format!("{{\"item\":{{\"id\":\"{id}\"}},\"changeType\":\"SET\",\"itemType\":\"Session\"}}\n");
    let log = [line("a"), line("b")].concat();
    let found = index(log.as_bytes(), 0..log.len() as u64, 0);
    for other in [[line("a"), line("c")].concat(), line("a"), log.replace("SET", "DEL"), "x".repeat(log.len())] {
        let found = index(log.as_bytes(), 0..log.len() as u64, 0);
        let mut events = Events::new(source(other.as_bytes()), found, true, KEY);
        assert!(events.next(10, 1 << 20).is_err(), "{other}");
    }
    assert_eq!(Events::new(source(log.as_bytes()), found, true, KEY).next(10, 1 << 20).unwrap().0.len(), 2);
}

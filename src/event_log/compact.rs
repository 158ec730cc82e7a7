//! Writing a log anew with what still counts of it: the last event of each living row, as it stands, in the order of
//! first appearance, and every event of an unknown type. Lines that cannot be read go to a side file. It works on bytes
//! of the log and not on the roster, so that it needs nothing of the store's time. It must not touch the log itself.

use super::file::{RangeReader, ReadAt};
use super::line::{Line, parse};
use super::replay::{Lines, RawLine};
use crate::model::ItemType;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

/// What a log was rewritten to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Where in the old log the rewritten part ends: behind its last whole line.
    pub read_to: u64,
    /// Bytes written to the new log.
    pub bytes: u64,
    /// Lines written to the new log.
    pub lines: u64,
    /// Lines moved to the side file.
    pub malformed: u64,
}

/// The lines of a log that still count.
#[derive(Default)]
struct Survivors {
    rows: HashMap<(ItemType, Box<str>), (u64, Range<u64>)>,
    foreign: Vec<(u64, Range<u64>)>,
    malformed: Vec<Range<u64>>,
    read_to: u64,
}

/// Writes what counts of `source[..end]` to `new`, and the lines that cannot be read to `side`.
///
/// # Errors
/// Those of the source and of the two outputs; what was written until then is of no use.
pub fn rewrite(
    source: &Arc<dyn ReadAt>,
    end: u64,
    new: &mut impl Write,
    side: &mut impl Write,
) -> io::Result<Rewritten> {
    let survivors = survey(source, end)?;
    let mut rewritten =
        Rewritten { read_to: survivors.read_to, malformed: survivors.malformed.len() as u64, ..Rewritten::default() };
    for range in survivors.malformed {
        copy(source, range, side)?;
    }
    let mut kept = survivors.foreign;
    kept.extend(survivors.rows.into_values());
    kept.sort_unstable_by_key(|(place, _)| *place);
    for (_, range) in kept {
        rewritten.bytes += range.end - range.start;
        rewritten.lines += 1;
        copy(source, range, new)?;
    }
    Ok(rewritten)
}

fn survey(source: &Arc<dyn ReadAt>, end: u64) -> io::Result<Survivors> {
    let mut lines = Lines::new(RangeReader::new(source.clone(), 0..end));
    let mut survivors = Survivors::default();
    let mut place = 0;
    loop {
        let start = lines.offset();
        let parsed = match lines.next_line()? {
            Some(RawLine::Whole(line)) => parse(line),
            Some(RawLine::TooLong(_)) => Err(String::new()),
            Some(RawLine::Unfinished(_)) | None => return Ok(survivors),
        };
        let range = start..lines.offset();
        survivors.read_to = range.end;
        place += 1;
        survivors.add(parsed, place, range);
    }
}

impl Survivors {
    fn add(&mut self, parsed: Result<Line, String>, place: u64, range: Range<u64>) {
        match parsed {
            Ok(Line::Blank) => {}
            Ok(Line::Set(row)) => {
                let entry = self.rows.entry((row.item_type(), row.id().into()));
                entry.and_modify(|(_, kept)| *kept = range.clone()).or_insert((place, range));
            }
            Ok(Line::Delete(item_type, id)) => drop(self.rows.remove(&(item_type, id.into()))),
            Ok(Line::Foreign(_)) => self.foreign.push((place, range)),
            Err(_) => self.malformed.push(range),
        }
    }
}

fn copy(source: &Arc<dyn ReadAt>, range: Range<u64>, to: &mut impl Write) -> io::Result<()> {
    let expected = range.end - range.start;
    let copied = io::copy(&mut RangeReader::new(source.clone(), range).take(expected), to)?;
    if copied == expected { Ok(()) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) }
}

#[cfg(test)]
mod tests {
    use super::super::replay::Fold;
    use super::*;
    use crate::row_json::row_text;
    use proptest::prelude::*;

    impl ReadAt for Vec<u8> {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let from = self.len().min(usize::try_from(offset).unwrap());
            let count = buffer.len().min(self.len() - from);
            buffer[..count].copy_from_slice(&self[from..from + count]);
            Ok(count)
        }
    }

    fn run(log: &str) -> (String, String, Rewritten) {
        let source: Arc<dyn ReadAt> = Arc::new(log.as_bytes().to_vec());
        let (mut new, mut side) = (Vec::new(), Vec::new());
        let rewritten = rewrite(&source, log.len() as u64, &mut new, &mut side).unwrap();
        (String::from_utf8(new).unwrap(), String::from_utf8(side).unwrap(), rewritten)
    }

    fn line(change_type: &str, item_type: &str, id: &str, extra: &str) -> String {
        format!(
            "{{\"item\":{{\"id\":\"{id}\"{extra}}},\"changeType\":\"{change_type}\",\"itemType\":\"{item_type}\"}}\n"
        )
    }

    #[test]
    fn what_counts_is_kept_to_the_letter_and_in_order() {
        let foreign = line("SET", "Lease", "l", ",\"future\":1");
        let last = line("SET", "Session", "a", ",\"pid\":2,\"unknown\":true");
        let log = [
            line("SET", "Session", "a", ",\"pid\":1"),
            foreign.clone(),
            line("SET", "Session", "b", ""),
            "garbage\n\n".to_owned(),
            last.clone(),
            line("DEL", "Session", "b", ""),
            "{\"item\":{\"id\":\"torn".to_owned(),
        ];
        let (new, side, rewritten) = run(&log.concat());
        assert_eq!(new, format!("{last}{foreign}"));
        assert_eq!(side, "garbage\n");
        let torn = log[6].len() as u64;
        assert_eq!((rewritten.lines, rewritten.malformed, rewritten.read_to), (2, 1, log.concat().len() as u64 - torn));
        assert_eq!(rewritten.bytes, new.len() as u64);
    }

    proptest! {
        #[test]
        fn the_new_log_describes_the_same_rows(events in proptest::collection::vec((0..4_u8, 0..6_u8, 0..9_u32), 0..60)) {
            let log: String = events.iter().map(|(kind, id, pid)| match kind {
                0 => line("DEL", "Session", &id.to_string(), ""),
                1 => "damage\n".to_owned(),
                _ => line("SET", "Session", &id.to_string(), &format!(",\"pid\":{pid}")),
            }).collect();
            let rows = |text: &str| {
                let (rows, _) = Fold::read(text.as_bytes()).unwrap().into_rows();
                rows.iter().map(row_text).collect::<Vec<_>>()
            };
            let (new, side, rewritten) = run(&log);
            prop_assert_eq!(rows(&new), rows(&log));
            prop_assert_eq!(side.lines().count(), log.matches("damage").count());
            prop_assert_eq!(rewritten.lines, rows(&log).len() as u64);
        }
    }
}

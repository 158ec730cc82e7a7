//! Reading a log: its lines one by one, however long, and the rows that they come to. It reads in bounded pieces and
//! keeps only what is alive. It must not change the log.

use super::line::{self, Event};
use super::pool::Pool;
use crate::limits::{LOG_CHUNK_BYTES, LOG_LINE_BYTES_MAX, MALFORMED_LINES_NAMED_MAX, ROW_TEXT_SPARE_BYTES};
use crate::model::{ItemType, Row};
use crate::row_json::{Texts, parse_row_with};
use crate::time::parse_rfc3339_ms;
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

/// Splits a stream into lines without ever holding more than one of them and one chunk.
pub struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes handed out so far.
    offset: u64,
    finished: bool,
}

/// A line of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum RawLine<'a> {
    /// The line without its newline.
    Whole(&'a [u8]),
    /// The last bytes of the stream, which no newline ends.
    Unfinished(&'a [u8]),
    /// A line longer than [`LOG_LINE_BYTES_MAX`], skipped; its length.
    TooLong(u64),
}

impl<R: Read> Lines<R> {
    /// The lines of `source`.
    pub fn new(source: R) -> Self {
        Self { source, buffer: vec![0; LOG_CHUNK_BYTES], start: 0, end: 0, offset: 0, finished: false }
    }

    /// Bytes of the lines handed out so far, newlines included.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// The source's.
    pub fn next_line(&mut self) -> io::Result<Option<RawLine<'_>>> {
        let mut searched = self.start;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..self.end]) {
                let (from, to) = (self.start, searched + at);
                self.start = to + 1;
                self.offset += (to + 1 - from) as u64;
                if to - from > LOG_LINE_BYTES_MAX {
                    return Ok(Some(RawLine::TooLong((to + 1 - from) as u64)));
                }
                return Ok(Some(RawLine::Whole(&self.buffer[from..to])));
            }
            searched = self.end;
            if self.finished {
                let (from, to) = (self.start, self.end);
                self.start = self.end;
                self.offset += (to - from) as u64;
                return Ok((from < to).then(|| RawLine::Unfinished(&self.buffer[from..to])));
            }
            if self.end - self.start > LOG_LINE_BYTES_MAX {
                return self.skip_line().map(Some);
            }
            searched -= self.fill()?;
        }
    }

    /// Reads more bytes behind those that are there. Says by how much these were moved to the front.
    fn fill(&mut self) -> io::Result<usize> {
        let moved = self.start;
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let read = self.source.read(&mut self.buffer[self.end..])?;
        self.finished = read == 0;
        self.end += read;
        Ok(moved)
    }

    fn skip_line(&mut self) -> io::Result<RawLine<'_>> {
        let mut length = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.start..self.end]) {
                self.start += at + 1;
                length += at as u64 + 1;
                break;
            }
            length += (self.end - self.start) as u64;
            self.start = self.end;
            if self.finished {
                break;
            }
            self.fill()?;
        }
        self.offset += length;
        Ok(RawLine::TooLong(length))
    }
}

/// Damage found while reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// How many lines could not be read.
    pub lines: u64,
    /// The first of them: line number from 1, and what is wrong.
    pub named: Vec<(u64, String)>,
}

impl Damage {
    fn add(&mut self, line_number: u64, reason: String) {
        self.lines += 1;
        if self.named.len() < MALFORMED_LINES_NAMED_MAX {
            self.named.push((line_number, reason));
        }
    }
}

/// What a log comes to: for each item type and id, the row of its last event, if that is a SET.
#[derive(Debug, Default)]
pub struct Fold {
    /// For each item type, in the order of [`ItemType::ALL`].
    slots: [HashMap<Arc<str>, Slot>; ItemType::ALL.len()],
    keep_deleted: bool,
    /// Lines that could not be read.
    pub damage: Damage,
    /// Events of item types that this version does not know.
    pub foreign: u64,
    /// Lines read, blank ones included.
    pub lines: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of the lines that still count, newlines included: the last event of each living row, and all events of
    /// item types that this version does not know.
    pub live_bytes: u64,
    /// Whether the last line ends with a newline (or there is none).
    pub ends_with_newline: bool,
    /// The latest moment at which a line says that it was written; empty if none does. All have one form and one zone,
    /// so that their texts are in the order of time.
    written_at: String,
}

/// What is known of one id.
#[derive(Debug)]
struct Slot {
    /// The line at which it began, or was deleted.
    place: u64,
    /// Bytes of its last line, if it lives.
    bytes: u64,
    state: State,
}

/// Most events are not the last of their row, so that rows are built at the end, of the last text of each.
#[derive(Debug)]
enum State {
    Deleted,
    Lives(String),
}

impl Fold {
    /// Reads a whole log.
    ///
    /// # Errors
    /// The source's. Damaged lines are no error: they are skipped and reported in [`Fold::damage`].
    pub fn read(source: impl Read) -> io::Result<Self> {
        Self::read_into(Self::default(), source)
    }

    /// Reads a whole log and remembers which rows it deletes, for a roster that may have them.
    ///
    /// # Errors
    /// As for [`Fold::read`].
    pub fn read_with_deleted(source: impl Read) -> io::Result<Self> {
        Self::read_into(Self { keep_deleted: true, ..Self::default() }, source)
    }

    fn read_into(mut fold: Self, source: impl Read) -> io::Result<Self> {
        fold.ends_with_newline = true;
        let mut lines = Lines::new(source);
        while let Some(raw) = lines.next_line()? {
            fold.lines += 1;
            match raw {
                RawLine::Whole(line) => fold.add(line, line.len() as u64 + 1),
                // A whole event that only lacks its newline is an editor's habit, or a crash between the event and its
                // newline: counting an event that nobody was told of is right, dropping one is not.
                RawLine::Unfinished(line) => {
                    fold.ends_with_newline = false;
                    fold.add(line, line.len() as u64);
                }
                RawLine::TooLong(length) => {
                    fold.damage.add(fold.lines, format!("the line is {length} bytes long"));
                }
            }
        }
        fold.bytes = lines.offset();
        Ok(fold)
    }

    /// When the log was last written to, in wall-clock milliseconds, as far as its lines say.
    pub fn written_at(&self) -> Option<i64> {
        parse_rfc3339_ms(&self.written_at)
    }

    /// Takes in a line, which takes up `bytes` bytes of the log.
    fn add(&mut self, line: &[u8], bytes: u64) {
        if let Some(at) = line::created_at(line).filter(|at| *at > self.written_at.as_str()) {
            self.written_at.clear();
            self.written_at.push_str(at);
        }
        match line::read(line) {
            Ok(Event::Blank) => {}
            Ok(Event::Foreign(_)) => {
                self.foreign += 1;
                self.live_bytes += bytes;
            }
            Ok(Event::Set(item_type, id, item)) => self.set(item_type, &id.0, item, bytes),
            Ok(Event::Delete(item_type, id)) => self.delete(item_type, &id.0),
            Err(reason) => self.damage.add(self.lines, reason),
        }
    }

    fn set(&mut self, item_type: ItemType, id: &str, item: &str, bytes: u64) {
        let place = self.lines;
        self.live_bytes += bytes;
        let slots = &mut self.slots[item_type as usize];
        let Some(slot) = slots.get_mut(id) else {
            slots.insert(Arc::from(id), Slot { place, bytes, state: State::Lives(item.to_owned()) });
            return;
        };
        self.live_bytes -= slot.bytes;
        slot.bytes = bytes;
        match &mut slot.state {
            // A row that was long once does not hold on to that much memory.
            State::Lives(text) if text.capacity() / 2 <= item.len().max(ROW_TEXT_SPARE_BYTES) => {
                text.clear();
                text.push_str(item);
            }
            State::Lives(text) => *text = item.to_owned(),
            // A row that was deleted in between begins anew.
            State::Deleted => *slot = Slot { place, bytes, state: State::Lives(item.to_owned()) },
        }
    }

    fn delete(&mut self, item_type: ItemType, id: &str) {
        let slots = &mut self.slots[item_type as usize];
        let deleted = Slot { place: self.lines, bytes: 0, state: State::Deleted };
        let before = if !self.keep_deleted {
            slots.remove(id)
        } else if let Some(slot) = slots.get_mut(id) {
            Some(std::mem::replace(slot, deleted))
        } else {
            slots.insert(Arc::from(id), deleted)
        };
        self.live_bytes -= before.map_or(0, |slot| slot.bytes);
    }

    /// The living rows, in the order in which they first appeared, and the ids of the deleted ones, in the order in
    /// which they went: what follows from either must not depend on chance.
    pub fn into_rows(mut self) -> (Vec<Row>, Vec<(ItemType, String)>) {
        let (mut living, mut deleted) = (Vec::new(), Vec::new());
        for item_type in ItemType::ALL {
            for (id, slot) in &mut self.slots[item_type as usize] {
                match &mut slot.state {
                    State::Lives(text) => living.push((slot.place, item_type, std::mem::take(text))),
                    State::Deleted => deleted.push((slot.place, (item_type, id.as_ref().to_owned()))),
                }
            }
        }
        living.sort_unstable_by_key(|(place, ..)| *place);
        deleted.sort_unstable_by_key(|(place, _)| *place);
        let deleted = deleted.into_iter().map(|(_, key)| key).collect();
        let mut texts = RowTexts { pool: Pool::default(), ids: &self.slots };
        // Each was read once, and can be read again.
        let build = |(_, item_type, text): (u64, _, String)| parse_row_with(item_type, &text, &mut texts).ok();
        (living.into_iter().filter_map(build).collect(), deleted)
    }
}

/// Text of rows that other rows, or the fold itself, have already.
struct RowTexts<'a> {
    pool: Pool,
    ids: &'a [HashMap<Arc<str>, Slot>],
}

impl Texts for RowTexts<'_> {
    fn common(&mut self, text: &str) -> Arc<str> {
        self.pool.get(text)
    }

    fn id(&mut self, item_type: ItemType, id: &str) -> Arc<str> {
        self.ids[item_type as usize].get_key_value(id).map_or_else(|| Arc::from(id), |(id, _)| id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A source that gives a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn split(text: &[u8], step: usize) -> (Vec<Vec<u8>>, bool, u64) {
        let mut lines = Lines::new(Trickle(text, step));
        let (mut all, mut finished) = (Vec::new(), true);
        while let Some(line) = lines.next_line().unwrap() {
            match line {
                RawLine::Whole(line) => all.push(line.to_vec()),
                RawLine::Unfinished(line) => {
                    finished = false;
                    all.push(line.to_vec());
                }
                RawLine::TooLong(length) => all.push(length.to_string().into_bytes()),
            }
        }
        let offset = lines.offset();
        (all, finished, offset)
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_bytes_arrive(text in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200), step in 1_usize..50) {
            let mut expected: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let last = expected.pop().unwrap();
            let finished = last.is_empty();
            if !finished { expected.push(last); }
            prop_assert_eq!(split(&text, step), (expected, finished, text.len() as u64));
        }
    }

    #[test]
    fn an_overlong_line_is_skipped_and_the_next_one_is_read() {
        let mut text = vec![b'x'; LOG_LINE_BYTES_MAX + LOG_CHUNK_BYTES];
        text.extend_from_slice(b"\nnext\n");
        let (lines, finished, offset) = split(&text, usize::MAX);
        let skipped = (LOG_LINE_BYTES_MAX + LOG_CHUNK_BYTES + 1).to_string().into_bytes();
        assert_eq!((lines, finished, offset), (vec![skipped, b"next".to_vec()], true, text.len() as u64));
    }

    fn set(id: &str, nickname: &str) -> String {
        format!(
            "{{\"item\":{{\"id\":\"{id}\",\"nickname\":\"{nickname}\"}},\"changeType\":\"SET\",\"itemType\":\"Session\"}}\n"
        )
    }

    fn del(id: &str) -> String {
        format!("{{\"item\":{{\"id\":\"{id}\"}},\"changeType\":\"DEL\",\"itemType\":\"Session\"}}\n")
    }

    #[test]
    fn the_last_event_wins_and_a_row_keeps_its_first_place_until_it_is_deleted() {
        let log =
            [set("a", "1"), set("b", "1"), set("a", "2"), set("c", "1"), del("b"), set("b", "2"), del("c")].concat();
        assert_eq!(Fold::read(log.as_bytes()).unwrap().into_rows().1, []);
        let (rows, deleted) = Fold::read_with_deleted(log.as_bytes()).unwrap().into_rows();
        let ids: Vec<&str> = rows.iter().map(Row::id).collect();
        assert_eq!(ids, ["a", "b"]);
        let Row::Session(a) = &rows[0] else { panic!() };
        assert_eq!(&*a.row.nickname, "2");
        assert_eq!(deleted, [(ItemType::Session, "c".to_owned())]);
    }

    #[test]
    fn deleted_rows_are_named_in_the_order_in_which_they_went() {
        let ids: Vec<String> = (0..40).map(|number| format!("s{}", number * 7 % 40)).collect();
        let log: String = ids.iter().map(|id| set(id, "x")).chain(ids.iter().map(|id| del(id))).collect();
        let (_, deleted) = Fold::read_with_deleted(log.as_bytes()).unwrap().into_rows();
        assert_eq!(deleted.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), ids);
    }

    #[test]
    fn damage_is_counted_and_named_and_costs_nothing_else() {
        let log = format!("{}garbage\n\n{}{{\"item\":{{\"id\":\"torn\"", set("a", "1"), set("b", "1"));
        let fold = Fold::read(log.as_bytes()).unwrap();
        assert_eq!((fold.damage.lines, fold.damage.named[0].0, fold.damage.named[1].0), (2, 2, 5));
        assert!(!fold.ends_with_newline);
        assert_eq!(fold.into_rows().0.len(), 2);
    }
}

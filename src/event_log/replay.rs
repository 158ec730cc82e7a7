//! Reading a log: its lines one by one, however long, and the rows that they come to. It reads in bounded pieces and
//! keeps only what is alive. It must not change the log.

use super::key::LogKey;
use super::line::{self, Author, Event, Places};
use super::pool::Pool;
use crate::limits::{LOG_CHUNK_BYTES, LOG_LINE_BYTES_MAX, MALFORMED_LINES_NAMED_MAX, ROW_TEXT_SPARE_BYTES};
use crate::model::{ItemType, Row};
use crate::roster::disowned;
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
    /// How far the places of rows go.
    pub places: Places,
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

/// What is known of one row.
#[derive(Debug)]
struct Slot {
    /// Its place in the order of rows.
    seq: u64,
    /// The line that says so.
    line: u64,
    /// Bytes of its last line.
    bytes: u64,
    /// Whether that line is ours.
    is_ours: bool,
    /// Most events are not the last of their row, so that rows are built at the end, of the last text of each.
    text: String,
}

impl Fold {
    /// Reads a whole log, whose lines of ours are known by this key.
    ///
    /// # Errors
    /// The source's. Damaged lines are no error: they are skipped and reported in [`Fold::damage`].
    pub fn read(source: impl Read, key: &LogKey) -> io::Result<Self> {
        let mut fold = Self { ends_with_newline: true, ..Self::default() };
        let mut lines = Lines::new(source);
        while let Some(raw) = lines.next_line()? {
            fold.lines += 1;
            match raw {
                RawLine::Whole(line) => fold.add(line, line.len() as u64 + 1, key),
                // A whole event that only lacks its newline is an editor's habit, or a crash between the event and its
                // newline: counting an event that nobody was told of is right, dropping one is not.
                RawLine::Unfinished(line) => {
                    fold.ends_with_newline = false;
                    fold.add(line, line.len() as u64, key);
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
    fn add(&mut self, line: &[u8], bytes: u64, key: &LogKey) {
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
            Ok(Event::Set(item_type, id, item)) => self.set(item_type, &id.0, item, bytes, Author::of(line, key)),
            Ok(Event::Delete(item_type, id)) => {
                let gone = self.slots[item_type as usize].remove(&*id.0);
                self.live_bytes -= gone.map_or(0, |slot| slot.bytes);
            }
            Err(reason) => self.damage.add(self.lines, reason),
        }
    }

    fn set(&mut self, item_type: ItemType, id: &str, item: &str, bytes: u64, author: Author) {
        let (at, is_ours, line) = (self.places.next(author), author.is_us(), self.lines);
        if item_type == ItemType::Registration && !is_ours {
            // No other program makes a credential, nor takes the place of one.
            return;
        }
        self.live_bytes += bytes;
        let slots = &mut self.slots[item_type as usize];
        let Some(slot) = slots.get_mut(id) else {
            slots.insert(Arc::from(id), Slot { seq: at.seq, line, bytes, is_ours, text: item.to_owned() });
            return;
        };
        self.live_bytes -= slot.bytes;
        (slot.bytes, slot.is_ours) = (bytes, is_ours);
        if at.is_given() {
            (slot.seq, slot.line) = (at.seq, line);
        }
        // A row that was long once does not hold on to that much memory.
        if slot.text.capacity() / 2 <= item.len().max(ROW_TEXT_SPARE_BYTES) {
            slot.text.clear();
            slot.text.push_str(item);
        } else {
            slot.text = item.to_owned();
        }
    }

    /// The living rows with their places, in the order of these. No two have one place.
    pub fn into_placed(mut self) -> Vec<(u64, Row)> {
        let mut living = Vec::new();
        for item_type in ItemType::ALL {
            for slot in self.slots[item_type as usize].values_mut() {
                living.push((slot.seq, slot.line, item_type, slot.is_ours, std::mem::take(&mut slot.text)));
            }
        }
        living.sort_unstable_by_key(|(seq, line, ..)| (*seq, *line));
        let mut texts = RowTexts { pool: Pool::default(), ids: &self.slots };
        let mut next = 0;
        let build = |(seq, _, item_type, is_ours, text): (u64, u64, ItemType, bool, String)| {
            next = seq.max(next) + 1;
            // Each was read once, and can be read again.
            let row = parse_row_with(item_type, &text, &mut texts).ok()?;
            Some((next - 1, if is_ours { row } else { disowned(row)? }))
        };
        living.into_iter().filter_map(build).collect()
    }

    /// The living rows, in the order of their places.
    pub fn into_rows(self) -> Vec<Row> {
        self.into_placed().into_iter().map(|(_, row)| row).collect()
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

    const KEY: LogKey = LogKey::of([1; 16]);

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
        let fold = Fold::read(log.as_bytes(), &KEY).unwrap();
        assert_eq!(fold.places.last, 5, "each SET counts");
        let rows = fold.into_placed();
        let ids: Vec<(u64, &str)> = rows.iter().map(|(seq, row)| (*seq, row.id())).collect();
        assert_eq!(ids, [(1, "a"), (5, "b")]);
        let Row::Session(a) = &rows[0].1 else { panic!() };
        assert_eq!(&*a.row.nickname, "2");
    }

    #[test]
    fn damage_is_counted_and_named_and_costs_nothing_else() {
        let log = format!("{}garbage\n\n{}{{\"item\":{{\"id\":\"torn\"", set("a", "1"), set("b", "1"));
        let fold = Fold::read(log.as_bytes(), &KEY).unwrap();
        assert_eq!((fold.damage.lines, fold.damage.named[0].0, fold.damage.named[1].0), (2, 2, 5));
        assert!(!fold.ends_with_newline);
        assert_eq!(fold.into_rows().len(), 2);
    }
}

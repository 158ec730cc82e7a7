//! A log, or a part of one, as it counts: the last event of each row, found in one pass and kept in a few bytes a row,
//! whatever is in it. The rows themselves stay in the file and are read from there, piece by piece. It must not keep their
//! texts, nor hold all of them at once.

use super::disk::{RangeReader, ReadAt};
use super::key::LogKey;
use super::line::{self, Author, Event, Line, Places};
use super::replay::{Lines, RawLine};
use crate::limits::LOG_CHUNK_BYTES;
use crate::model::{ItemType, Row};
use crate::roster::{At, ExternalEvent, disowned};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// What is known of one row.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// Where its last line stands.
    offset: u64,
    /// The row's place in the order of rows.
    seq: u64,
    /// Bytes of that line, newline included.
    length: u32,
    item_type: ItemType,
    is_deleted: bool,
    /// Whether its place is this one wherever the row was before: a line of ours says so, or the row was deleted here.
    is_given: bool,
    /// Whether a line of ours says so.
    is_by_us: bool,
    /// Whether its last line is ours.
    is_ours: bool,
}

/// Short stand-ins for ids are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// The last line, which no newline ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Where it begins.
    pub at: u64,
    /// Whether it is a whole event that only lacks its newline.
    pub is_event: bool,
}

/// What a log comes to.
#[derive(Debug, Default)]
pub struct Index {
    rows: HashMap<u64, Last, BuildHasherDefault<AsItIs>>,
    /// Events of item types that this version does not know, with the places of the rows before them.
    foreign: Vec<(u64, Range<u64>)>,
    /// Parts that hold nothing but lines that cannot be read.
    malformed: Vec<Range<u64>>,
    /// How many such lines.
    pub malformed_lines: u64,
    /// Where the last whole line ends.
    pub read_to: u64,
    /// The line behind that, which is not read.
    pub unfinished: Option<Unfinished>,
    /// How far the places go.
    pub places: Places,
}

impl Index {
    /// Reads a range of a log, whose rows before it have these places. Each line that cannot be read is told of: where it
    /// begins, and what is wrong with it.
    ///
    /// # Errors
    /// The source's.
    pub fn read(
        source: &Arc<dyn ReadAt>,
        range: Range<u64>,
        places: Places,
        key: &LogKey,
        damaged: &mut dyn FnMut(u64, &str),
    ) -> io::Result<Self> {
        let from = range.start;
        let mut lines = Lines::new(RangeReader::new(source.clone(), range));
        let mut index = Self { places, read_to: from, ..Self::default() };
        loop {
            let offset = from + lines.offset();
            let (author, event) = match lines.next_line()? {
                Some(RawLine::Whole(line)) => {
                    let author = Author::of(line, key);
                    (author, line::read_key(line, author))
                }
                Some(RawLine::TooLong(length)) => (Author::Other, Err(format!("the line is {length} bytes long"))),
                Some(RawLine::Unfinished(line)) => {
                    let is_event = !matches!(line::read(line), Ok(Event::Blank) | Err(_));
                    index.unfinished = Some(Unfinished { at: offset, is_event });
                    return Ok(index);
                }
                None => return Ok(index),
            };
            let added = event.map(|event| index.add(&event, author, offset, key));
            let end = from + lines.offset();
            match added {
                Ok(Some(short)) => index.set_length(short, end - offset),
                Ok(None) => {}
                Err(reason) => {
                    damaged(offset, &reason);
                    index.note_malformed(offset..end);
                }
            }
            if let Some((_, last)) = index.foreign.last_mut().filter(|(_, range)| range.start == offset) {
                last.end = end;
            }
            index.read_to = end;
        }
    }

    /// Takes in an event. Says which row it is of, if it counts.
    fn add(&mut self, event: &Event<'_>, author: Author, offset: u64, key: &LogKey) -> Option<u64> {
        let (item_type, id, is_deleted) = match event {
            Event::Blank => return None,
            Event::Foreign(_) => {
                self.foreign.push((self.places.last, offset..offset));
                return None;
            }
            Event::Set(item_type, id, _) => (*item_type, id, false),
            Event::Delete(item_type, id) => (*item_type, id, true),
        };
        let (at, is_ours) = (if is_deleted { None } else { Some(self.places.next(author)) }, author.is_us());
        if item_type == ItemType::Registration && !is_ours && !is_deleted {
            // No other program makes a credential, nor takes the place of one.
            return None;
        }
        let short = key.short(item_type as u8, &id.0);
        let before = self.rows.get(&short).copied();
        let by_us = |at: &At| at.is_given();
        let (seq, is_given, is_by_us) = match (at, before) {
            (None, _) => (0, true, false),
            (Some(at), Some(before)) if before.is_deleted => (at.seq, true, by_us(&at)),
            (Some(_), Some(before)) if !is_ours => (before.seq, before.is_given, before.is_by_us),
            (Some(at), _) => (at.seq, by_us(&at), by_us(&at)),
        };
        let last = Last { offset, seq, length: 0, item_type, is_deleted, is_given, is_by_us, is_ours };
        self.rows.insert(short, last);
        Some(short)
    }

    fn set_length(&mut self, short: u64, length: u64) {
        if let Some(last) = self.rows.get_mut(&short) {
            // Longer lines are not read.
            last.length = u32::try_from(length).unwrap_or(u32::MAX);
        }
    }

    fn note_malformed(&mut self, range: Range<u64>) {
        self.malformed_lines += 1;
        match self.malformed.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.malformed.push(range),
        }
    }

    /// Whether it tells of a row, also if that is gone.
    pub fn tells_of(&self, short: u64) -> bool {
        self.rows.contains_key(&short)
    }

    /// The lines that still count: the last one of each living row, in the order of rows, and events of unknown types.
    pub(super) fn survivors(&self) -> Vec<Range<u64>> {
        let living = self.rows.values().filter(|last| !last.is_deleted);
        let living = living.map(|last| (last.seq, false, last.offset..last.offset + u64::from(last.length)));
        let foreign = self.foreign.iter().map(|(seq, range)| (*seq, true, range.clone()));
        let mut all: Vec<(u64, bool, Range<u64>)> = living.chain(foreign).collect();
        all.sort_unstable_by_key(|(seq, is_foreign, range)| (*seq, *is_foreign, range.start));
        all.into_iter().map(|(.., range)| range).collect()
    }

    /// The lines that cannot be read.
    pub(super) fn malformed(&self) -> &[Range<u64>] {
        &self.malformed
    }
}

/// In which order the events of a whole log are given. What follows from one of them is written behind all of them, so
/// that it must not be overruled by another: rows from which nothing follows come first, and sessions, which may take the
/// names of those that are gone, last.
fn rank(last: &Last) -> u64 {
    match (last.is_deleted, last.item_type) {
        (true, _) => 1,
        (false, ItemType::Session) => 2,
        (false, _) => 0,
    }
}

/// The events of a log that count, in pieces.
pub struct Events {
    /// What they are events of.
    pub index: Index,
    window: Window,
    key: LogKey,
    /// Rank and offset in one, and the row.
    order: Vec<(u64, u64)>,
    given: usize,
    /// The places that lines of ours give to living rows, if it is a whole log.
    ours: Option<Vec<u64>>,
}

/// Bits of an offset in [`Events::order`].
const OFFSET_BITS: u32 = 60;

impl Events {
    /// The events of a part of a log, in its order; or those of a whole one.
    pub fn new(source: Arc<dyn ReadAt>, index: Index, is_whole: bool, key: LogKey) -> Self {
        let rank_of = |last: &Last| if is_whole { rank(last) } else { 0 };
        let rows = index.rows.iter();
        let mut order: Vec<(u64, u64)> =
            rows.map(|(short, last)| (rank_of(last) << OFFSET_BITS | last.offset, *short)).collect();
        order.sort_unstable();
        let ours = is_whole.then(|| {
            let ours = index.rows.values().filter(|last| last.is_by_us && !last.is_deleted);
            let mut ours: Vec<u64> = ours.map(|last| last.seq).collect();
            ours.sort_unstable();
            ours
        });
        Self { index, window: Window { source, bytes: Vec::new(), start: 0 }, key, order, given: 0, ours }
    }

    /// Whether they are those of a whole log, of which more can be asked.
    pub fn is_whole(&self) -> bool {
        self.ours.is_some()
    }

    /// The next events, so many or a little more than so many bytes of lines, and whether they are the last.
    ///
    /// # Errors
    /// The source's, and that it is not any more what it was.
    pub fn next(&mut self, count: usize, bytes: usize) -> io::Result<(Vec<ExternalEvent>, bool)> {
        let (mut events, mut read) = (Vec::new(), 0);
        while events.len() < count
            && read < bytes
            && let Some((_, short)) = self.order.get(self.given).copied()
        {
            self.given += 1;
            let Some(last) = self.index.rows.get(&short).copied() else { continue };
            read += last.length as usize;
            let changed = || io::Error::new(io::ErrorKind::InvalidData, "the log was changed while it was read");
            let bytes = self.window.get(last.offset, last.length as usize)?;
            let event = line::parse(bytes).map_err(|_| changed())?;
            let (item_type, id) = match &event {
                Line::Set(row) => (row.item_type(), row.id()),
                Line::Delete(item_type, id) => (*item_type, id.as_str()),
                Line::Blank | Line::Foreign(_) => return Err(changed()),
            };
            if self.key.short(item_type as u8, id) != short || last.is_deleted != matches!(event, Line::Delete(..)) {
                return Err(changed());
            }
            events.extend(match event {
                Line::Set(row) => self.set(row, &last),
                Line::Delete(item_type, id) => Some(ExternalEvent::Delete(item_type, id)),
                Line::Blank | Line::Foreign(_) => None,
            });
        }
        Ok((events, self.given == self.order.len()))
    }

    fn set(&self, row: Row, last: &Last) -> Option<ExternalEvent> {
        let row = if last.is_ours { row } else { disowned(row)? };
        let at = match &self.ours {
            // What others wrote gets other numbers when a log is written anew, in the same order: between the same rows of
            // ours. One of these that has the same number stands behind it.
            Some(ours) if !last.is_by_us => {
                let behind = ours.partition_point(|seq| *seq < last.seq);
                let before = behind.checked_sub(1).map_or(0, |at| ours[at].saturating_add(1));
                At { seq: last.seq, alike: before..ours.get(behind).copied().unwrap_or(u64::MAX) }
            }
            Some(_) => At::given(last.seq),
            None if last.is_given => At::given(last.seq),
            None => At::behind_all(last.seq),
        };
        Some(ExternalEvent::Set(row, Some(at)))
    }
}

/// A piece of the file, from which lines that stand near each other are taken.
struct Window {
    source: Arc<dyn ReadAt>,
    bytes: Vec<u8>,
    start: u64,
}

impl Window {
    fn get(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + length as u64 > end {
            self.start = offset;
            self.bytes.resize(length.max(LOG_CHUNK_BYTES), 0);
            let mut read = 0;
            while read < length {
                match self.source.read_at(&mut self.bytes[read..], offset + read as u64)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    more => read += more,
                }
            }
            self.bytes.truncate(read);
        }
        let at = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        self.bytes.get(at..at + length).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;

//! What a log holds, for people: how many lines of what, which of them count, which cannot be read and why. It only
//! reads.

use super::line::{Event, read};
use super::replay::{Lines, RawLine};
use crate::limits::MALFORMED_LINES_NAMED_MAX;
use crate::model::ItemType;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: u64,
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// How a log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// With a newline, or it is empty.
    #[default]
    Whole,
    /// With a whole event that only lacks its newline.
    EventWithoutNewline,
    /// With the beginning of an event, as a crash leaves it: nobody was told of that event.
    HalfAnEvent,
}

/// Counts of one item type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeCounts {
    /// Rows that are there.
    pub living: u64,
    /// Events, each a line.
    pub events: u64,
    /// Bytes of all its events.
    pub bytes: u64,
    /// Bytes of those that count: the last one of each living row.
    pub live_bytes: u64,
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Bytes.
    pub bytes: u64,
    /// Lines, blank ones included.
    pub lines: u64,
    /// By item type; those that this version does not know count whole.
    pub types: BTreeMap<String, TypeCounts>,
    /// How many lines cannot be read, an unfinished last one not included.
    pub malformed: u64,
    /// The first of them.
    pub named: Vec<BadLine>,
    /// How it ends.
    pub ending: Ending,
}

impl Survey {
    /// Reads a log.
    ///
    /// # Errors
    /// The source's.
    pub fn read(source: impl Read) -> io::Result<Self> {
        let mut survey = Self::default();
        let mut living: HashMap<(ItemType, Box<str>), u64> = HashMap::new();
        let mut lines = Lines::new(source);
        loop {
            let offset = lines.offset();
            let raw = lines.next_line()?;
            let (parsed, bytes, whole) = match &raw {
                Some(RawLine::Whole(line)) => (read(line), line.len() as u64 + 1, true),
                Some(RawLine::Unfinished(line)) => (read(line), line.len() as u64, false),
                Some(RawLine::TooLong(length)) => (Err(format!("it is {length} bytes long")), *length, true),
                None => break,
            };
            survey.lines += 1;
            survey.ending = match (whole, &parsed) {
                (true, _) => Ending::Whole,
                (false, Ok(_)) => Ending::EventWithoutNewline,
                (false, Err(_)) => Ending::HalfAnEvent,
            };
            match parsed {
                Ok(event) => survey.count(&event, bytes, &mut living),
                Err(reason) if whole => survey.bad(offset, reason),
                Err(_) => {}
            }
        }
        survey.bytes = lines.offset();
        for ((item_type, _), bytes) in living {
            let counts = survey.types.entry(item_type.as_str().to_owned()).or_default();
            counts.living += 1;
            counts.live_bytes += bytes;
        }
        Ok(survey)
    }

    /// Bytes of what counts.
    pub fn live_bytes(&self) -> u64 {
        self.types.values().map(|counts| counts.live_bytes).sum()
    }

    fn count(&mut self, event: &Event<'_>, bytes: u64, living: &mut HashMap<(ItemType, Box<str>), u64>) {
        let name = match event {
            Event::Blank => return,
            Event::Set(item_type, id, _) => {
                living.insert((*item_type, Box::from(&*id.0)), bytes);
                item_type.as_str().to_owned()
            }
            Event::Delete(item_type, id) => {
                living.remove(&(*item_type, Box::from(&*id.0)));
                item_type.as_str().to_owned()
            }
            Event::Foreign(name) => {
                self.types.entry(name.0.to_string()).or_default().live_bytes += bytes;
                name.0.to_string()
            }
        };
        let counts = self.types.entry(name).or_default();
        counts.events += 1;
        counts.bytes += bytes;
    }

    fn bad(&mut self, offset: u64, reason: String) {
        self.malformed += 1;
        if self.named.len() < MALFORMED_LINES_NAMED_MAX {
            self.named.push(BadLine { number: self.lines, offset, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = "{\"item\":{\"id\":\"a\"},\"changeType\":\"SET\",\"itemType\":\"Session\"}\n";
    const DEL: &str = "{\"item\":{\"id\":\"a\"},\"changeType\":\"DEL\",\"itemType\":\"Session\"}\n";
    const FOREIGN: &str = "{\"item\":{\"id\":\"a\"},\"changeType\":\"SET\",\"itemType\":\"Lease\"}\n";

    #[test]
    fn every_line_is_counted_once_and_the_bad_ones_are_named() {
        let log = [SET, "garbage\n", SET, FOREIGN, "\n", DEL, SET, "{\"item\":{\"id\""].concat();
        let survey = Survey::read(log.as_bytes()).unwrap();
        assert_eq!((survey.bytes, survey.lines, survey.malformed), (log.len() as u64, 8, 1));
        assert_eq!((survey.named[0].number, survey.named[0].offset), (2, SET.len() as u64));
        assert_eq!(survey.ending, Ending::HalfAnEvent);
        let session = survey.types["Session"];
        assert_eq!((session.living, session.events), (1, 4));
        assert_eq!((session.bytes, session.live_bytes), ((SET.len() * 3 + DEL.len()) as u64, SET.len() as u64));
        assert_eq!(survey.types["Lease"].events, 1);
        assert_eq!(survey.live_bytes(), (SET.len() + FOREIGN.len()) as u64);
    }

    #[test]
    fn a_missing_newline_is_told_from_half_an_event() {
        assert_eq!(Survey::read(SET.trim_end().as_bytes()).unwrap().ending, Ending::EventWithoutNewline);
        assert_eq!(Survey::read(SET.as_bytes()).unwrap().ending, Ending::Whole);
        assert_eq!(Survey::read(&b""[..]).unwrap().ending, Ending::Whole);
    }
}

//! Reading what others wrote to the log: asking the watcher for it piece by piece, holding it against what we wrote behind
//! it, and writing back what a file lacks that somebody has put in the log's place. It must not take more at once than a
//! batch can bear.

use super::{Behind, Key, Part, Tail, Written, broken};
use crate::event_log::disk::Disk;
use crate::event_log::file::{AppendError, Log};
use crate::event_log::index::{Index, Unfinished};
use crate::event_log::key::LogKey;
use crate::event_log::line::{Places, Stamp, encode_delete, encode_set};
use crate::limits::{BATCH_BYTES_MAX, LOG_CHUNK_EVENTS_MAX, LOG_REREADS_MAX};
use crate::log_pace::Pace;
use crate::roster::{Change, ExternalEvent, Roster};
use crate::store::command::{LogRead, ReadAsk, ReadBegin, ReadDone, ReadJob};
use std::collections::BTreeSet;
use std::ops::Range;

/// What the watcher is reading for us.
pub(super) struct Job {
    pub(super) number: u64,
    range: Range<u64>,
    pub(super) whole: bool,
    /// Rows that we wrote of behind the part.
    written: Written,
    stage: Stage,
    /// Whether something was written to a whole log because of what it holds or lacks.
    is_completed: bool,
}

impl Job {
    /// Whether something is to be asked that nothing else leads to.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.stage, Stage::Compares(_))
    }
}

/// How far a job is.
enum Stage {
    /// The watcher is doing something for us.
    Asked,
    /// There are more events.
    HasMore,
    /// All events of a whole log have come. Rows up to this one, in their order, have been looked for in it.
    Compares(Option<Key>),
    /// The watcher has been asked about these.
    AskedFor(Vec<Key>),
}

impl Tail {
    /// Gives the watcher something to do, if there is something and it is idle. A full queue is no loss: the next turn
    /// asks again.
    pub(in crate::store) fn ask(&mut self, log: &Log<impl Disk>, roster: &Roster) {
        match self.job.as_mut().map(|job| (job.number, &mut job.stage)) {
            Some((number, stage @ Stage::HasMore)) => {
                if self.watcher.try_send(ReadJob { number, ask: ReadAsk::More }).is_ok() {
                    *stage = Stage::Asked;
                }
            }
            // What was missing so far is written first: the file must not lack more at once than a batch can hold.
            Some((_, Stage::Compares(_))) if self.missing.is_empty() => self.compare(&log.key(), roster),
            Some(_) => {}
            None => self.begin(log),
        }
    }

    /// Gives the watcher something to read, if there is something and it reads nothing for us.
    pub(in crate::store) fn begin(&mut self, log: &Log<impl Disk>) {
        let (range, whole, last) = match self.unread.front() {
            _ if self.has_failed || self.job.is_some() => return,
            _ if self.reload => (0..self.known, true, 0),
            Some(part) => (part.range.clone(), false, part.last.max(self.read_places.last)),
            // Parts come first: what follows from a log gives way to what others wrote behind it. And what follows from the
            // last of them must be in the log by then.
            None if self.recheck && !self.accepting && self.missing.is_empty() => (0..self.known, true, 0),
            None => return,
        };
        let (number, places) = (self.jobs + 1, Places { last });
        let begin = ReadBegin { source: log.reader(), range: range.clone(), whole, places, key: log.key() };
        if self.watcher.try_send(ReadJob { number, ask: ReadAsk::Begin(begin) }).is_ok() {
            self.jobs = number;
            let mut written = Written::new();
            if whole {
                (self.reload, self.recheck) = (false, false);
                // What stands in the file up to here is read as a whole.
                self.unread.clear();
            } else if let Some(part) = self.unread.pop_front() {
                written = part.written;
            }
            self.job = Some(Job { number, range, whole, written, stage: Stage::Asked, is_completed: false });
        }
    }

    /// Asks which of the next rows a whole log does not tell of.
    fn compare(&mut self, key: &LogKey, roster: &Roster) {
        let Some(job) = self.job.as_mut() else { return };
        let Stage::Compares(from) = &job.stage else { return };
        let number = job.number;
        let rows = roster.keys_after(from.as_ref(), LOG_CHUNK_EVENTS_MAX);
        if rows.is_empty() {
            // With the rows that were written to it, others may stand at other places than they seemed to.
            self.recheck |= job.is_completed && self.completions < LOG_REREADS_MAX;
            self.completions = if job.is_completed { self.completions + 1 } else { 0 };
            self.job = None;
            // If it finds no room, the watcher forgets with the next job.
            let _ = self.watcher.try_send(ReadJob { number, ask: ReadAsk::Forget });
            return;
        }
        let shorts = rows.iter().map(|(item_type, id)| key.short(*item_type as u8, id)).collect();
        if self.watcher.try_send(ReadJob { number, ask: ReadAsk::Lacks(shorts) }).is_ok() {
            job.stage = Stage::AskedFor(rows);
        }
    }

    /// Takes what the watcher read. Says which of the events still count.
    pub(in crate::store) fn accept(&mut self, read: LogRead, roster: &Roster) -> Option<Vec<ExternalEvent>> {
        let job = self.job.as_mut().filter(|job| job.number == read.number)?;
        job.stage = Stage::HasMore;
        let mut events = read.events;
        self.accepting = true;
        self.applied = job.number;
        self.rereads = 0;
        // What the current batch has changed will stand behind all that has been read, as what was changed before does.
        let ours: BTreeSet<Key> = ours(roster.journal()).map(|(key, _)| key).collect();
        events.retain(|event| {
            let key = event.key();
            let behind = if ours.contains(&key) { Some(Behind::Newer) } else { job.written.get(&key).copied() };
            if behind == Some(Behind::Follows) {
                self.missing.push_front((key, Behind::Follows));
            }
            behind != Some(Behind::Newer)
        });
        if let Some(done) = read.done {
            self.finish(&done);
        }
        Some(events)
    }

    fn finish(&mut self, done: &ReadDone) {
        let Some(job) = self.job.as_mut() else { return };
        if done.failed {
            // The file shrank under the reader, or was changed: read all of it again.
            self.job = None;
            (self.reload, self.has_failed) = (true, true);
            return;
        }
        self.malformed_lines = done.malformed_lines + if job.whole { 0 } else { self.malformed_lines };
        self.read_places = done.places;
        // Rows that the file has are older than what is added from now on.
        self.reserve.1 = self.reserve.1.max(done.places.last);
        if let Some(unfinished) = done.unfinished {
            self.unfinished(unfinished);
        }
        match self.job.as_mut() {
            Some(job) if job.whole => job.stage = Stage::Compares(None),
            _ => self.job = None,
        }
    }

    /// The last line of a part has no end yet: it is read again with what follows it.
    fn unfinished(&mut self, line: Unfinished) {
        let Some(job) = &self.job else { return };
        let to = job.range.end;
        match self.unread.front_mut() {
            Some(next) if next.range.start <= to => next.range.start = next.range.start.min(line.at),
            _ if self.known == to => {
                self.known = line.at;
                self.end = None;
                self.half_read = Some((to, self.found_ns));
                self.ends_event = line.is_event;
            }
            // It has one by now, which is ours. If not, somebody has moved what stood there, while we could not tell by our end.
            _ if self.ended_at == Some(to) => {
                self.job = None;
                self.reload = true;
            }
            _ => {
                self.ended_at = Some(to + 1);
                let (written, last) = (job.written.clone(), self.read_places.last);
                self.unread.push_front(Part { range: line.at..to + 1, written, last });
            }
        }
    }

    /// Takes what the watcher says of rows that a whole log does not tell of: they are written to it.
    pub(in crate::store) fn accept_lacking(&mut self, number: u64, lacking: &[usize], roster: &Roster) {
        let Some(job) = self.job.as_mut().filter(|job| job.number == number) else { return };
        let Stage::AskedFor(rows) = &job.stage else { return };
        self.accepting = true;
        let ours: BTreeSet<Key> = ours(roster.journal()).map(|(key, _)| key).collect();
        let lacking = lacking.iter().filter_map(|at| rows.get(*at));
        let lacking = lacking.filter(|key| !job.written.contains_key(*key) && !ours.contains(*key));
        let before = self.missing.len();
        self.missing.extend(lacking.map(|key| (key.clone(), Behind::Newer)));
        if self.missing.len() > before {
            job.is_completed = true;
            static LACKS: Pace = Pace::new();
            let count = self.missing.len() - before;
            LACKS.warn(|| format!("the log lacks {count} rows that the roster has; writing them to it"));
        }
        job.stage = Stage::Compares(rows.last().cloned());
    }

    /// Adds lines for rows that a reloaded file lacks, up to `bytes_max` bytes, and the newline that an event lacks.
    pub(in crate::store) fn restate(&mut self, roster: &Roster, stamp: &Stamp, bytes_max: usize, lines: &mut Vec<u8>) {
        self.restating = 0;
        if self.ends_event && self.needs_newline && lines.is_empty() {
            lines.push(b'\n');
        }
        for ((item_type, id), behind) in &self.missing {
            if lines.len() >= bytes_max {
                break;
            }
            self.restating += 1;
            match (roster.placed(*item_type, id), behind) {
                (Some((row, seq)), _) => {
                    encode_set(&row, seq, stamp, lines);
                    self.restated_place = self.restated_place.max(seq);
                }
                (None, Behind::Follows) => encode_delete(*item_type, id, stamp, lines),
                (None, Behind::Newer) => {}
            }
        }
    }

    /// The daemon stops: if somebody has put another log in place of ours, and the rows that it lacks have not been written
    /// to it yet, they are now. It reads all of it at once, since nobody waits any more.
    pub(in crate::store) fn complete(
        &mut self,
        log: &mut Log<impl Disk>,
        roster: &Roster,
        stamp: &Stamp,
    ) -> Result<(), AppendError> {
        self.look(log).map_err(AppendError::Refused)?;
        if !self.reload && self.missing.is_empty() && !self.job.as_ref().is_some_and(|job| job.whole) {
            return Ok(());
        }
        let (length, key) = (log.look().map_err(AppendError::Refused)?.length, log.key());
        let index = Index::read(&log.reader(), 0..length, Places::default(), &key, &mut |_, _| ());
        let index = index.map_err(AppendError::Refused)?;
        let (mut from, mut lines) = (None, Vec::new());
        loop {
            let rows = roster.keys_after(from.as_ref(), LOG_CHUNK_EVENTS_MAX);
            for (item_type, id) in &rows {
                if !index.tells_of(key.short(*item_type as u8, id))
                    && let Some((row, seq)) = roster.placed(*item_type, id)
                {
                    encode_set(&row, seq, stamp, &mut lines);
                }
            }
            if lines.len() >= BATCH_BYTES_MAX || (rows.is_empty() && !lines.is_empty()) {
                self.append(log, &mut lines).map_err(|error| if from.is_some() { broken(error) } else { error })?;
                lines.clear();
            }
            match rows.into_iter().next_back() {
                Some(last) => from = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// The batch with those lines is on disk.
    pub(in crate::store) fn restated(&mut self) {
        let restated: Vec<(Key, Behind)> = self.missing.drain(..self.restating).collect();
        self.note_behind(restated.into_iter());
        self.written = self.written.max(std::mem::take(&mut self.restated_place));
        self.restating = 0;
        (self.accepting, self.applying) = (false, false);
    }

    /// The batch could not be written. What it has taken of the file is read again later.
    pub(in crate::store) fn batch_failed(&mut self) {
        (self.restating, self.restated_place) = (0, 0);
        self.changed_ns = None;
        self.applying = false;
        // What was dropped for the sake of what the batch was to write counts after all.
        if std::mem::take(&mut self.accepting) {
            self.job = None;
            self.reload = true;
        }
    }

    /// What we change stands behind all that others wrote and that has not been applied yet, and is newer.
    pub(in crate::store) fn note_changes(&mut self, changes: &[Change]) {
        self.note_behind(ours(changes));
        let follows = |change: &Change| change.persist && change.outside;
        if let Some(job) = self.job.as_mut().filter(|job| job.whole) {
            job.is_completed |= changes.iter().any(follows);
        }
        let places = changes.iter().filter(|change| change.persist).filter_map(|change| change.after.as_ref());
        self.written = places.map(|(_, seq)| *seq).max().unwrap_or_default().max(self.written);
    }

    fn note_behind(&mut self, rows: impl Iterator<Item = (Key, Behind)> + Clone) {
        // What follows from a part is newer than all of it: only the last event of each of its rows is read.
        if let Some(job) = self.job.as_mut().filter(|job| job.number == self.applied) {
            job.written.extend(rows.clone().map(|(key, _)| (key, Behind::Newer)));
        }
        let reading = self.job.iter_mut().map(|job| &mut job.written);
        for written in reading.chain(self.unread.iter_mut().map(|part| &mut part.written)) {
            for (key, behind) in rows.clone() {
                let known = written.entry(key).or_insert(behind);
                *known = behind.max(*known);
            }
        }
    }
}

/// The rows of which a batch writes.
fn ours(changes: &[Change]) -> impl Iterator<Item = (Key, Behind)> + Clone {
    let written = changes.iter().filter(|change| change.persist);
    written.map(|change| {
        let behind = if change.outside { Behind::Follows } else { Behind::Newer };
        ((change.item_type(), change.id().to_owned()), behind)
    })
}

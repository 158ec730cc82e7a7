//! What others do to the log: append, truncate, replace. The store knows to the byte which parts of the file it wrote
//! itself; the rest is read by the watcher, in bounded pieces, and applied as if emitted here. It must not apply our
//! own lines again, and must not lose a row because somebody's editor has.

use super::command::{LogRead, ReadJob};
use crate::event_log::disk::Disk;
use crate::event_log::disk::RangeReader;
use crate::event_log::file::{AppendError, Log, Look};
use crate::event_log::line::{Stamp, encode_delete, encode_set};
use crate::event_log::replay::Fold;
use crate::limits::{BATCH_BYTES_MAX, LOG_END_BYTES, LOG_REREADS_MAX};
use crate::model::ItemType;
use crate::roster::{Change, ExternalEvent, Roster};
use crossbeam_channel::Sender;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Range;

type Key = (ItemType, String);

/// How what we wrote of a row stands to what others wrote before it and we have not read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Behind {
    /// It follows from older lines of theirs. What they say below those still counts, and must be written again: a
    /// session that they end there stays ended, although we gave it another name before we read so far.
    Follows,
    /// A caller, or time, has changed the row since: what they say of it is older.
    Newer,
}

/// The rows that we wrote of.
type Written = BTreeMap<Key, Behind>;

/// What the store knows about the log's file.
pub(super) struct Tail {
    /// All bytes before this are ours, or have been given to the watcher to read.
    known: u64,
    /// The last of these bytes, if they are ours.
    end: Option<Vec<u8>>,
    /// When the file was last changed, as far as we know by whom.
    changed_ns: Option<i128>,
    /// The last byte is no newline: the next line of ours must begin with one, or it would be glued to what is there.
    needs_newline: bool,
    /// When the file was last changed, when we last found something in it that others wrote.
    found_ns: i128,
    /// Length and change of a file whose unfinished last line has been read: there is nothing new in it.
    half_read: Option<(u64, i128)>,
    /// The last line is an event of somebody else's that lacks its newline, and is about to be shown: it gets one, or what
    /// they append next would spoil it.
    ends_with_event: bool,
    /// Parts that others wrote and that nobody reads yet, each with the rows that we wrote of behind it.
    unread: VecDeque<(Range<u64>, Written)>,
    /// The whole file must be read again.
    reload: bool,
    /// How often that had to be so.
    generation: u64,
    /// How often, without anything applied in between, because it grew.
    rereads: u32,
    job: Option<Job>,
    jobs: u64,
    /// The job of which something was applied last.
    applied: u64,
    watcher: Sender<ReadJob>,
    /// Rows that the reloaded file lacks, or states as they were before: to be written to it.
    missing: VecDeque<(Key, Behind)>,
    /// How many of them are in the batch being written.
    restating: usize,
    /// The batch holds events from the file.
    applying: bool,
    /// What was appended last did not land behind what we know: somebody has cut or rewritten the file meanwhile.
    disturbed: bool,
    malformed_lines: u64,
}

/// What the watcher is reading for us.
struct Job {
    number: u64,
    range: Range<u64>,
    whole: bool,
    /// Rows that we wrote of behind the part.
    written: Written,
    /// Rows that the file being reloaded has.
    seen: BTreeSet<Key>,
}

impl Tail {
    pub(super) fn new(known: u64, needs_newline: bool, malformed_lines: u64, watcher: Sender<ReadJob>) -> Self {
        Self {
            known,
            end: None,
            changed_ns: None,
            needs_newline,
            found_ns: 0,
            half_read: None,
            ends_with_event: false,
            unread: VecDeque::new(),
            reload: false,
            generation: 0,
            rereads: 0,
            job: None,
            jobs: 0,
            applied: 0,
            watcher,
            missing: VecDeque::new(),
            restating: 0,
            applying: false,
            disturbed: false,
            malformed_lines,
        }
    }

    pub(super) fn known(&self) -> u64 {
        self.known
    }

    pub(super) fn malformed_lines(&self) -> u64 {
        self.malformed_lines
    }

    /// Whether rows are waiting to be written to a reloaded file.
    pub(super) fn has_work(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Another number means that somebody has put another file, or another content, in the log's place.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether everything up to what we know of the file has been read and applied, and nothing is to be written back.
    pub(super) fn is_quiet(&self) -> bool {
        !self.reload && self.job.is_none() && self.unread.is_empty() && self.missing.is_empty()
    }

    /// Whether the batch holds events from the file.
    pub(super) fn is_applying(&self) -> bool {
        self.applying
    }

    /// Whether the file is still the one that we know, apart from what may have been appended to it.
    pub(super) fn is_undisturbed(&self, log: &Log<impl Disk>) -> io::Result<bool> {
        let look = log.look()?;
        Ok(!look.replaced && look.length >= self.known && !self.is_rewritten(log, look)?)
    }

    /// The log has moved to a new file of ours: all in it is known.
    /// What is behind its `length` bytes was appended by somebody since its name is there. Of the malformed lines, those
    /// that were there before it was written are in the side file.
    pub(super) fn moved(&mut self, log: &Log<impl Disk>, length: u64, malformed_before: u64) -> io::Result<()> {
        self.known = length;
        self.half_read = None;
        self.end = None;
        self.changed_ns = None;
        self.needs_newline = !log.line_ends_at(length)?;
        self.malformed_lines = self.malformed_lines.saturating_sub(malformed_before);
        Ok(())
    }

    /// Ends somebody's unfinished last line, if there is one, as an event of ours behind it would. Says whether there was.
    pub(super) fn close_line(&mut self, log: &mut Log<impl Disk>) -> Result<bool, AppendError> {
        if !self.needs_newline {
            return Ok(false);
        }
        match self.append(log, &mut Vec::new()) {
            Ok(()) => {
                // Looks after what somebody may have done meanwhile.
                let _ = self.holds(log).map_err(AppendError::Broken)?;
                Ok(true)
            }
            // It stays as it is.
            Err(AppendError::Refused(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Appends lines that somebody else wrote elsewhere; they are found and read like any others.
    pub(super) fn append_for_others(&mut self, log: &mut Log<impl Disk>, lines: &[u8]) -> Result<(), AppendError> {
        self.look(log).map_err(AppendError::Refused)?;
        let newline: &[u8] = if self.needs_newline { b"\n" } else { b"" };
        log.append(&[newline, lines].concat())?;
        // They are there; if this look fails, the next one finds them.
        let _ = self.look(log);
        Ok(())
    }

    /// Compares the file with what we know of it.
    pub(super) fn look(&mut self, log: &mut Log<impl Disk>) -> io::Result<()> {
        let look = log.look()?;
        if look.replaced {
            match log.reopen() {
                // Whoever writes next is told, and ends the daemon.
                Err(error) if log.is_broken() => {
                    log::error!("somebody replaced the log, and it cannot be said which one will be there: {error}");
                    return Ok(());
                }
                reopened => reopened?,
            }
            let look = log.look()?;
            log::warn!("somebody replaced the log; reading the new one ({} bytes)", look.length);
            self.begin_anew(log, look)
        } else if look.length < self.known {
            log::warn!("somebody cut the log from {} to {} bytes; reading it again", self.known, look.length);
            self.begin_anew(log, look)
        } else if self.is_rewritten(log, look)? {
            log::warn!("somebody rewrote the log in place; reading it again");
            self.begin_anew(log, look)
        } else if self.half_read == Some((look.length, look.changed_ns)) {
            Ok(())
        } else if look.length > self.known && self.reads_a_beginning() {
            self.rereads += 1;
            self.begin_anew(log, look)
        } else if look.length > self.known {
            self.found_ns = look.changed_ns;
            self.found(line_start(log, self.known)?..look.length);
            self.known = look.length;
            self.end = None;
            self.changed_ns = None;
            self.needs_newline = !log.line_ends_at(look.length)?;
            Ok(())
        } else {
            self.changed_ns = Some(look.changed_ns);
            Ok(())
        }
    }

    /// Whether a whole file that has grown by now is being read and nothing of it has been applied yet. Its end may say the
    /// contrary of its beginning, and an editor that is still writing is better waited for than corrected.
    fn reads_a_beginning(&self) -> bool {
        let unapplied = |job: &Job| job.whole && job.number != self.applied;
        self.rereads < LOG_REREADS_MAX && self.job.as_ref().is_some_and(unapplied)
    }

    /// Whether what we know of the file is not what stands there: an editor that saves into the same file leaves one
    /// of the same length that was changed by nobody we know, or a longer one that does not go on from our end.
    fn is_rewritten(&self, log: &Log<impl Disk>, look: Look) -> io::Result<bool> {
        if look.length == self.known {
            return Ok(self.changed_ns.is_some_and(|changed_ns| changed_ns != look.changed_ns));
        }
        Ok(!self.goes_on(log)?)
    }

    /// Whether our end still stands where it was, as far as we know one.
    fn goes_on(&self, log: &Log<impl Disk>) -> io::Result<bool> {
        let Some(end) = &self.end else { return Ok(true) };
        let mut there = vec![0; end.len()];
        let read = log.reader().read_at(&mut there, self.known - end.len() as u64)?;
        Ok(read == there.len() && there == *end)
    }

    fn begin_anew(&mut self, log: &mut Log<impl Disk>, look: Look) -> io::Result<()> {
        self.known = look.length;
        self.unread.clear();
        self.missing.clear();
        self.restating = 0;
        self.job = None;
        self.reload = true;
        self.generation += 1;
        self.half_read = None;
        self.end = None;
        // Who goes on writing into it is seen by that before what was read so far is believed.
        self.changed_ns = Some(look.changed_ns);
        self.needs_newline = !log.line_ends_at(look.length)?;
        Ok(())
    }

    fn found(&mut self, range: Range<u64>) {
        match self.unread.back_mut() {
            // Nothing of ours stands between the two.
            Some((last, _)) if last.end >= range.start => last.end = range.end,
            _ => self.unread.push_back((range, Written::new())),
        }
    }

    /// Gives the watcher something to read, if there is something and it is idle. A full queue is no loss: the next
    /// tick asks again.
    pub(super) fn ask(&mut self, log: &Log<impl Disk>) {
        if self.job.is_some() {
            return;
        }
        let (range, whole) = match self.unread.front() {
            _ if self.reload => (0..self.known, true),
            Some((range, _)) => (range.clone(), false),
            None => return,
        };
        let number = self.jobs + 1;
        if self.watcher.try_send(ReadJob { number, source: log.reader(), range: range.clone(), whole }).is_ok() {
            self.jobs = number;
            let mut written = Written::new();
            if whole {
                self.reload = false;
                // What stands in the file up to here is read as a whole.
                self.unread.clear();
            } else if let Some((_, behind)) = self.unread.pop_front() {
                written = behind;
            }
            self.job = Some(Job { number, range, whole, written, seen: BTreeSet::new() });
        }
    }

    /// Takes what the watcher read. Says which of the events still count.
    pub(super) fn accept(&mut self, read: LogRead, roster: &Roster) -> Option<Vec<ExternalEvent>> {
        let job = self.job.as_mut().filter(|job| job.number == read.number)?;
        let mut events = read.events;
        self.applying = true;
        self.applied = job.number;
        self.rereads = 0;
        if job.whole {
            job.seen
                .extend(events.iter().filter(|event| matches!(event, ExternalEvent::Set(_))).map(ExternalEvent::key));
        }
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
            self.malformed_lines = done.malformed_lines + if job.whole { 0 } else { self.malformed_lines };
            let failed = done.failed;
            self.finish(done.unfinished_at, failed, roster, &events);
        }
        Some(events)
    }

    fn finish(&mut self, unfinished_at: Option<u64>, failed: bool, roster: &Roster, last: &[ExternalEvent]) {
        let Some(job) = self.job.take() else { return };
        if failed {
            // The file shrank under the reader: read all of it again.
            self.reload = true;
            return;
        }
        self.ends_with_event = unfinished_at.is_none() && self.needs_newline && job.range.end == self.known;
        if let Some(from) = unfinished_at {
            self.unfinished(from, job.range.end);
        }
        if job.whole {
            let deleted_now = |key: &Key| {
                last.iter().any(|event| matches!(event, ExternalEvent::Delete(item_type, id) if (*item_type, id) == (key.0, &key.1)))
            };
            let rows = roster.rows_in_order().into_iter().map(|row| (row.item_type(), row.id().to_owned()));
            let lacks = |key: &Key| !job.seen.contains(key) && !job.written.contains_key(key) && !deleted_now(key);
            let lacking: Vec<Key> = rows.filter(lacks).collect();
            if !lacking.is_empty() {
                log::warn!("the log lacks {} rows that the roster has; writing them to it", lacking.len());
            }
            // Of those that an earlier reading has found, this one has found all that are still lacking.
            self.missing.retain(|(_, behind)| *behind == Behind::Follows);
            self.missing.extend(lacking.into_iter().map(|key| (key, Behind::Newer)));
        }
    }

    /// Somebody's line has no end yet: it is read again with what follows it, unless a line of ours does.
    fn unfinished(&mut self, from: u64, to: u64) {
        match self.unread.front_mut() {
            Some((next, _)) if next.start <= to => next.start = next.start.min(from),
            _ if self.known == to => {
                self.known = from;
                self.end = None;
                self.half_read = Some((to, self.found_ns));
            }
            _ => self.malformed_lines += 1,
        }
    }

    /// Appends the lines of a batch.
    pub(super) fn append(&mut self, log: &mut Log<impl Disk>, lines: &mut Vec<u8>) -> Result<(), AppendError> {
        if self.needs_newline && lines.first() != Some(&b'\n') {
            lines.insert(0, b'\n');
        }
        let mut range = log.append(lines)?;
        let mut disturbed = range.start < self.known;
        if range.start > self.known {
            disturbed |= !self.goes_on(log).map_err(AppendError::Broken)?;
            // Somebody was faster than our look by a hair.
            let glued = !log.line_ends_at(range.start).map_err(AppendError::Broken)? && lines.first() != Some(&b'\n');
            // Our first line belongs to theirs then: read without it, theirs could be an event that is none.
            let ours = if glued { memchr::memchr(b'\n', lines).map_or(0, |at| at as u64 + 1) } else { 0 };
            let from = line_start(log, self.known).map_err(AppendError::Broken)?;
            self.found(from..range.start + ours);
            if glued {
                lines.insert(0, b'\n');
                // The first copy stands in the file by now: if this one cannot follow it, nobody knows what counts.
                range = log.append(lines).map_err(broken)?;
            }
        }
        self.disturbed = disturbed;
        self.known = range.end;
        self.needs_newline = false;
        self.ends_with_event = false;
        self.end = Some(lines[lines.len().saturating_sub(LOG_END_BYTES)..].to_vec());
        let look = log.look().map_err(AppendError::Broken)?;
        self.changed_ns = (look.length == self.known).then_some(look.changed_ns);
        Ok(())
    }

    /// Whether what was appended stands in the file that the log's path leads to. If somebody has replaced, cut or
    /// rewritten the file since we looked at it, it must be written again before anybody is told of it.
    pub(super) fn holds(&mut self, log: &mut Log<impl Disk>) -> io::Result<bool> {
        let look = log.look()?;
        if std::mem::take(&mut self.disturbed) && !look.replaced {
            log::warn!("somebody cut or rewrote the log while it was written; reading it again");
            self.begin_anew(log, look)?;
            return Ok(false);
        }
        if look.replaced || look.length < self.known || self.is_rewritten(log, look)? {
            return Ok(false);
        }
        self.changed_ns = (look.length == self.known).then_some(look.changed_ns);
        Ok(true)
    }

    /// Tries whether the log can be written.
    pub(super) fn probe(&mut self, log: &mut Log<impl Disk>) -> Result<(), AppendError> {
        self.look(log).map_err(AppendError::Refused)?;
        // What did not fit was written in part and taken back, which is a change too.
        self.changed_ns = None;
        log.probe()?;
        let look = log.look().map_err(AppendError::Broken)?;
        self.changed_ns = (look.length == self.known).then_some(look.changed_ns);
        Ok(())
    }

    /// Adds lines for rows that a reloaded file lacks, up to `bytes_max` bytes, and the newline that an event lacks.
    pub(super) fn restate(&mut self, roster: &Roster, stamp: &Stamp, bytes_max: usize, lines: &mut Vec<u8>) {
        self.restating = 0;
        if std::mem::take(&mut self.ends_with_event) && self.needs_newline && lines.is_empty() {
            lines.push(b'\n');
        }
        for ((item_type, id), behind) in &self.missing {
            if lines.len() >= bytes_max {
                break;
            }
            self.restating += 1;
            match (roster.row(*item_type, id), behind) {
                (Some(row), _) => encode_set(&row, stamp, lines),
                (None, Behind::Follows) => encode_delete(*item_type, id, stamp, lines),
                (None, Behind::Newer) => {}
            }
        }
    }

    /// The daemon stops: if somebody has put another log in place of ours, and the rows that it lacks have not been written
    /// to it yet, they are now. It reads all of it at once, since nobody waits any more.
    pub(super) fn complete(
        &mut self,
        log: &mut Log<impl Disk>,
        roster: &Roster,
        stamp: &Stamp,
    ) -> Result<(), AppendError> {
        self.look(log).map_err(AppendError::Refused)?;
        if !self.reload && self.missing.is_empty() && !self.job.as_ref().is_some_and(|job| job.whole) {
            return Ok(());
        }
        let length = log.look().map_err(AppendError::Refused)?.length;
        let fold = Fold::read_with_deleted(RangeReader::new(log.reader(), 0..length)).map_err(AppendError::Refused)?;
        let (rows, deleted) = fold.into_rows();
        let known: BTreeSet<Key> =
            rows.iter().map(|row| (row.item_type(), row.id().to_owned())).chain(deleted).collect();
        let mut lines = Vec::new();
        for row in roster.rows_in_order() {
            if !known.contains(&(row.item_type(), row.id().to_owned())) {
                encode_set(&row, stamp, &mut lines);
            }
            if lines.len() >= BATCH_BYTES_MAX {
                self.append(log, &mut lines)?;
                lines.clear();
            }
        }
        if lines.is_empty() { Ok(()) } else { self.append(log, &mut lines) }
    }

    /// The batch with those lines is on disk.
    pub(super) fn restated(&mut self) {
        let restated: Vec<(Key, Behind)> = self.missing.drain(..self.restating).collect();
        self.note_behind(restated.into_iter());
        self.restating = 0;
        self.applying = false;
    }

    /// The batch could not be written. If it held events from the file, these are read again later.
    pub(super) fn batch_failed(&mut self) {
        self.restating = 0;
        self.changed_ns = None;
        if std::mem::take(&mut self.applying) {
            self.job = None;
            self.reload = true;
        }
    }

    /// What we change stands behind all that others wrote and that has not been applied yet, and is newer.
    pub(super) fn note_changes(&mut self, changes: &[Change]) {
        self.note_behind(ours(changes));
    }

    fn note_behind(&mut self, rows: impl Iterator<Item = (Key, Behind)> + Clone) {
        // What follows from a part is newer than all of it: only the last event of each of its rows is read.
        if let Some(job) = self.job.as_mut().filter(|job| job.number == self.applied) {
            job.written.extend(rows.clone().map(|(key, _)| (key, Behind::Newer)));
        }
        let reading = self.job.iter_mut().map(|job| &mut job.written);
        for written in reading.chain(self.unread.iter_mut().map(|(_, written)| written)) {
            for (key, behind) in rows.clone() {
                let known = written.entry(key).or_insert(behind);
                *known = behind.max(*known);
            }
        }
    }
}

/// Where the line begins that goes on at `at`: what others append to an unfinished line is part of it, and is read as
/// whoever replays the log will read it.
fn line_start(log: &Log<impl Disk>, mut at: u64) -> io::Result<u64> {
    let reader = log.reader();
    let mut buffer = [0; 4096];
    while at > 0 {
        let count = at.min(buffer.len() as u64);
        let read = reader.read_at(&mut buffer[..count as usize], at - count)?;
        if (read as u64) < count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(newline) = memchr::memrchr(b'\n', &buffer[..read]) {
            return Ok(at - count + newline as u64 + 1);
        }
        at -= count;
    }
    Ok(0)
}

/// The rows of which a batch writes.
fn ours(changes: &[Change]) -> impl Iterator<Item = (Key, Behind)> + Clone {
    let written = changes.iter().filter(|change| change.persist);
    written.map(|change| {
        let behind = if change.outside { Behind::Follows } else { Behind::Newer };
        ((change.item_type(), change.id().to_owned()), behind)
    })
}

fn broken(error: AppendError) -> AppendError {
    match error {
        AppendError::Refused(error) | AppendError::Broken(error) => AppendError::Broken(error),
    }
}

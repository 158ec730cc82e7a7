//! What others do to the log: append, truncate, replace. The store knows to the byte which parts of the file it wrote
//! itself; the rest is read by the watcher, in bounded pieces, and applied as if emitted here. It must not apply our
//! own lines again, and must not lose a row because somebody's editor has.

mod reading;

use super::command::ReadJob;
use crate::event_log::disk::Disk;
use crate::event_log::file::{AppendError, Log, Look};
use crate::event_log::line::{Places, last_place};
use crate::limits::{LOG_END_BYTES, LOG_REREADS_MAX};
use crate::log_pace::Pace;
use crate::model::ItemType;
use crossbeam_channel::Sender;
use reading::Job;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;

/// The paces of the lines about what others did to the file.
static REPLACED: Pace = Pace::new();
static CUT: Pace = Pace::new();
static REWRITTEN: Pace = Pace::new();
static DISTURBED: Pace = Pace::new();
static NAMELESS: Pace = Pace::new();

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
    /// Where the last line that we have ended for somebody ends.
    ended_at: Option<u64>,
    /// The last line is an event of somebody else's that lacks its newline. It gets one before it is read, or it would be
    /// shown, and then spoilt by what they append next.
    ends_event: bool,
    /// Parts that others wrote and that nobody reads yet.
    unread: VecDeque<Part>,
    /// The last place that lines of ours in this file give to rows.
    written: u64,
    /// The last place in the part that was read last.
    read_places: Places,
    /// How many places must be left free for rows in parts that others wrote, and up to where.
    reserve: (u64, u64),
    /// The whole file must be read again.
    reload: bool,
    /// The same, once there is nothing else to read: something was written to it because of what it holds.
    recheck: bool,
    /// The last try to read has failed; the next one is due with a tick, unless the file is another by then.
    has_failed: bool,
    /// How often that had to be so.
    generation: u64,
    /// How often, without anything applied in between, because it grew.
    rereads: u32,
    /// How often in a row because something was written to it.
    completions: u32,
    job: Option<Job>,
    jobs: u64,
    /// The job of which something was applied last.
    applied: u64,
    watcher: Sender<ReadJob>,
    /// Rows that the reloaded file lacks, or states as they were before: to be written to it.
    missing: VecDeque<(Key, Behind)>,
    /// How many of them are in the batch being written.
    restating: usize,
    /// The last of their places.
    restated_place: u64,
    /// The batch has taken what the watcher found.
    accepting: bool,
    /// The batch holds changes by events from the file.
    applying: bool,
    /// What was appended last did not land behind what we know: somebody has cut or rewritten the file meanwhile.
    disturbed: bool,
    malformed_lines: u64,
}

/// A part of the file that others wrote.
struct Part {
    range: Range<u64>,
    /// The rows that we wrote of behind it.
    written: Written,
    /// The last place that lines of ours give to rows before it.
    last: u64,
}

impl Tail {
    pub(super) fn new(
        known: u64,
        needs_newline: bool,
        malformed_lines: u64,
        places: Places,
        watcher: Sender<ReadJob>,
    ) -> Self {
        Self {
            known,
            end: None,
            changed_ns: None,
            needs_newline,
            found_ns: 0,
            half_read: None,
            ended_at: None,
            ends_event: false,
            unread: VecDeque::new(),
            written: places.last,
            read_places: places,
            reserve: (0, 0),
            reload: false,
            recheck: false,
            has_failed: false,
            generation: 0,
            rereads: 0,
            completions: 0,
            job: None,
            jobs: 0,
            applied: 0,
            watcher,
            missing: VecDeque::new(),
            restating: 0,
            restated_place: 0,
            accepting: false,
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

    /// Whether rows are waiting to be written to a reloaded file, or to be looked for in it.
    pub(super) fn has_work(&self) -> bool {
        let is_idle = self.job.is_none() && !self.has_failed;
        !self.missing.is_empty() || (self.recheck && is_idle) || self.job.as_ref().is_some_and(Job::is_due)
    }

    /// Another number means that somebody has put another file, or another content, in the log's place.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether everything up to what we know of the file has been read and applied, and nothing is to be written back.
    pub(super) fn is_quiet(&self) -> bool {
        let is_read = !self.reload && !self.recheck && !self.ends_event;
        is_read && self.job.is_none() && self.unread.is_empty() && self.missing.is_empty()
    }

    /// Some time has passed since the last try to read.
    pub(super) fn note_tick(&mut self) {
        self.has_failed = false;
    }

    /// How many places must be left free by now, besides those that were said before, and up to where.
    pub(super) fn take_reserve(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.reserve)
    }

    /// Events from the file were applied; whether they have changed anything.
    pub(super) fn note_applied(&mut self, changed: bool) {
        self.applying |= changed;
    }

    /// Whether the batch holds changes by events from the file.
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
                    NAMELESS.error(|| {
                        format!("somebody replaced the log, and it cannot be said which one will be there: {error}")
                    });
                    return Ok(());
                }
                reopened => reopened?,
            }
            let look = log.look()?;
            REPLACED.warn(|| format!("somebody replaced the log; reading the new one ({} bytes)", look.length));
            self.begin_anew(log, look)
        } else if look.length < self.known {
            let known = self.known;
            CUT.warn(|| format!("somebody cut the log from {known} to {} bytes; reading it again", look.length));
            self.begin_anew(log, look)
        } else if self.is_rewritten(log, look)? {
            REWRITTEN.warn(|| "somebody rewrote the log in place; reading it again".to_owned());
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
        (self.reload, self.has_failed) = (true, false);
        self.generation += 1;
        (self.half_read, self.ended_at, self.ends_event) = (None, None, false);
        // What others append from here on stands behind what the file holds, and not behind what we know.
        (self.written, self.read_places) = (0, Places::default());
        self.end = None;
        // Who goes on writing into it is seen by that before what was read so far is believed.
        self.changed_ns = Some(look.changed_ns);
        self.needs_newline = !log.line_ends_at(look.length)?;
        Ok(())
    }

    fn found(&mut self, range: Range<u64>) {
        self.found_behind(range, self.written);
    }

    /// Others have written this, behind lines of ours of which the last place is this one.
    fn found_behind(&mut self, range: Range<u64>, last: u64) {
        // A line has more bytes than one.
        self.reserve.0 += range.end - range.start;
        match self.unread.back_mut() {
            // Nothing of ours stands between the two.
            Some(part) if part.range.end >= range.start => part.range.end = part.range.end.max(range.end),
            _ => self.unread.push_back(Part { range, written: Written::new(), last }),
        }
    }

    /// Appends the lines of a batch.
    pub(super) fn append(&mut self, log: &mut Log<impl Disk>, lines: &mut Vec<u8>) -> Result<(), AppendError> {
        if self.needs_newline && lines.first() != Some(&b'\n') {
            lines.insert(0, b'\n');
        }
        let mut range = log.append(lines)?;
        let mut disturbed = self.append_found(log, &range, lines, self.written)?;
        // Somebody was faster than our look by a hair, and did not end the line: our first line is part of theirs by now.
        if !self.begins_a_line(log, &range, lines)? {
            let last = last_place(lines, &log.key());
            lines.insert(0, b'\n');
            // The first copy stands in the file by now: if this one cannot follow it, nobody knows what counts.
            range = log.append(lines).map_err(broken)?;
            disturbed |= self.append_found(log, &range, lines, self.written.max(last))?;
        }
        self.disturbed = disturbed;
        self.end = Some(lines[lines.len().saturating_sub(LOG_END_BYTES)..].to_vec());
        let look = log.look().map_err(AppendError::Broken)?;
        self.changed_ns = (look.length == self.known).then_some(look.changed_ns);
        Ok(())
    }

    /// Whether the first of these lines, which stand there, is a line of its own.
    fn begins_a_line(&self, log: &Log<impl Disk>, range: &Range<u64>, lines: &[u8]) -> Result<bool, AppendError> {
        Ok(lines.first() == Some(&b'\n') || log.line_ends_at(range.start).map_err(AppendError::Broken)?)
    }

    /// Lines of ours were appended there: notes what others have written before them since we knew the end, up to the
    /// newline with which theirs ends, if that is ours. Says whether our end is not there any more.
    fn append_found(
        &mut self,
        log: &Log<impl Disk>,
        range: &Range<u64>,
        lines: &[u8],
        last: u64,
    ) -> Result<bool, AppendError> {
        let mut disturbed = range.start < self.known;
        if !disturbed && (range.start > self.known || self.needs_newline) {
            disturbed = range.start > self.known && !self.goes_on(log).map_err(AppendError::Broken)?;
            let from = line_start(log, self.known).map_err(AppendError::Broken)?;
            let is_whole = log.line_ends_at(range.start).map_err(AppendError::Broken)?;
            let newline = if is_whole { 0 } else { memchr::memchr(b'\n', lines).map_or(0, |at| at as u64 + 1) };
            let from = if range.start > self.known { from } else { self.known };
            self.found_behind(from..range.start + newline, last);
        }
        (self.known, self.needs_newline, self.ends_event, self.half_read) = (range.end, false, false, None);
        // From here on it is our end that must stand there.
        self.end = None;
        Ok(disturbed)
    }

    /// Whether what was appended stands in the file that the log's path leads to. If somebody has replaced, cut or
    /// rewritten the file since we looked at it, it must be written again before anybody is told of it.
    pub(super) fn holds(&mut self, log: &mut Log<impl Disk>) -> io::Result<bool> {
        let look = log.look()?;
        if std::mem::take(&mut self.disturbed) && !look.replaced {
            DISTURBED.warn(|| "somebody cut or rewrote the log while it was written; reading it again".to_owned());
            self.begin_anew(log, look)?;
            return Ok(false);
        }
        if look.replaced || look.length < self.known || self.is_rewritten(log, look)? {
            return Ok(false);
        }
        self.changed_ns = (look.length == self.known).then_some(look.changed_ns);
        Ok(true)
    }

    /// Tries whether the log can be written again: whether there is room, and whether its file takes a blank line.
    pub(super) fn probe(&mut self, log: &mut Log<impl Disk>) -> Result<(), AppendError> {
        log.probe().map_err(AppendError::Refused)?;
        self.look(log).map_err(AppendError::Refused)?;
        self.append(log, &mut vec![b'\n'])?;
        log.sync().map_err(AppendError::Broken)?;
        // If somebody has replaced it meanwhile, the next look finds that.
        self.holds(log).map(drop).map_err(AppendError::Broken)
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

fn broken(error: AppendError) -> AppendError {
    match error {
        AppendError::Refused(error) | AppendError::Broken(error) => AppendError::Broken(error),
    }
}

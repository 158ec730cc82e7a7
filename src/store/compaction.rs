//! Keeping the log small: when it is much larger than its living rows, the compactor writes a new one beside it while
//! the store goes on; the store then adds what has come since and puts the new one in its place. It must not hold up
//! callers for longer than a short copy and two syncs, and must not lose what an outsider appends meanwhile.

use super::command::{CompactDone, CompactJob, CompactStep, CompactTo, Compacted};
use super::tail::Tail;
use crate::error::{ErrorKind, RequestError};
use crate::event_log::MALFORMED_NAME;
use crate::event_log::disk::{Disk, DiskFile, ReadAt};
use crate::event_log::file::{AppendError, Log, ReplaceError};
use crate::event_log::line::set_line_bytes;
use crate::event_log::rewrite::{self, Rewritten};
use crate::limits::{
    COMPACT_EXTENDS_MAX, COMPACT_LAST_BYTES_MAX, COMPACT_RATIO, COMPACT_RETRY_MS, COMPACT_SWAP_BYTES_MAX,
    COMPACT_WAITING_MAX, LOG_CHUNK_BYTES, OLD_LOG_WATCH_MS, OLD_LOGS_BYTES_MAX, OLD_LOGS_MAX,
};
use crate::log_pace::Pace;
use crate::model::Row;
use crate::roster::Change;
use crate::time::{MonoMs, Now};
use crossbeam_channel::{Receiver, Sender, bounded};
use log::Level;
use std::io;
use std::ops::Range;
use std::sync::Arc;

pub(super) struct Compaction<D: Disk> {
    compactor: Sender<CompactJob>,
    /// Bytes of the log below which nobody minds what it holds.
    over_bytes: u64,
    /// Bytes that the log would have if it held only what counts, as far as is known without reading it.
    live_bytes: u64,
    /// Bytes that the last compaction left: if there is more in it than we know of, trying again at once is of no use.
    left_bytes: u64,
    stage: Stage,
    jobs: u64,
    /// Dropped with the store: the compactor stops then.
    _wanting: Sender<()>,
    wanted: Receiver<()>,
    not_before: MonoMs,
    old: Vec<Old<D>>,
    waiting: Vec<CompactTo>,
    done: u64,
}

/// How far a compaction is.
enum Stage {
    Idle,
    /// The compactor is writing the new file.
    Writing {
        number: u64,
        begun: Begun,
        /// What there is of the new file, and the part of the log that is being added; none while what counts is
        /// written.
        extending: Option<(Part, Range<u64>)>,
    },
    Written(Begun, Part),
}

/// How things stood when a compaction began.
#[derive(Clone, Copy)]
struct Begun {
    /// The tail's generation: another one means another file.
    generation: u64,
    malformed_lines: u64,
}

/// What the new file holds.
#[derive(Clone, Copy)]
struct Part {
    rewritten: Rewritten,
    /// Its bytes.
    bytes: u64,
    /// The log is in it up to here.
    copied_to: u64,
    /// How often something was added.
    extends: u32,
}

/// A log whose place has been taken. Somebody who had it open may still append to it.
struct Old<D: Disk> {
    file: Arc<D::File>,
    read_to: u64,
    until: MonoMs,
}

/// What came of putting the new log in place.
enum Swap {
    Done(Compacted),
    Failed(io::Error),
    Broken(io::Error),
}

impl<D: Disk> Compaction<D> {
    pub(super) fn new(compactor: Sender<CompactJob>, over_bytes: u64, live_bytes: u64) -> Self {
        let (wanting, wanted) = bounded(0);
        Self {
            compactor,
            over_bytes,
            live_bytes,
            left_bytes: 0,
            stage: Stage::Idle,
            jobs: 0,
            _wanting: wanting,
            wanted,
            not_before: MonoMs::MIN,
            old: Vec::new(),
            waiting: Vec::new(),
            done: 0,
        }
    }

    /// Bytes of what counts in the log, as far as is known without reading it.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    #[cfg(test)]
    pub(super) fn old_logs(&self) -> usize {
        self.old.len()
    }

    /// How many compactions there have been.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Somebody wants the log compacted, and waits.
    pub(super) fn want(&mut self, reply_to: CompactTo) {
        if self.waiting.len() < COMPACT_WAITING_MAX {
            self.waiting.push(reply_to);
        } else {
            let message = "many are waiting for a compaction already; try again when it is over";
            reply_to(Err(RequestError::new(ErrorKind::Unavailable, message)));
        }
    }

    /// Keeps count of what the log must hold. `line_bytes` tells how long the line was that each change made, which is 0
    /// for one that was not written.
    pub(super) fn note_changes(&mut self, changes: &[Change], line_bytes: &[usize]) {
        for (change, line_bytes) in changes.iter().zip(line_bytes) {
            match (&change.before, &change.after) {
                (Some((before, _)), Some((after, _))) if is_same(before, after) => {}
                (before, after) => {
                    let bytes =
                        |side: &Option<(Row, u64)>| side.as_ref().map_or(0, |(row, seq)| set_line_bytes(row, *seq));
                    let added = if after.is_some() && *line_bytes > 0 { *line_bytes as u64 } else { bytes(after) };
                    self.live_bytes = (self.live_bytes + added).saturating_sub(bytes(before));
                }
            }
        }
    }

    /// Does the next step, if there is one and its time has come. It comes after the batch, so that nobody who has been
    /// served waits for it. `pressed` says that the log has no room: then a small one is worth the trouble too.
    ///
    /// # Errors
    /// Which log will be there after a crash is not known.
    pub(super) fn step(
        &mut self,
        log: &mut Log<D>,
        tail: &mut Tail,
        pressed: bool,
        now: Now,
    ) -> Result<(), AppendError> {
        match &self.stage {
            Stage::Idle if self.is_due(tail, pressed, now) => {
                // Somebody's half line, if there is one, cannot be read: it belongs to those that are moved.
                if tail.close_line(log)? {
                    tail.begin(log);
                } else {
                    let begun = Begun { generation: tail.generation(), malformed_lines: tail.malformed_lines() };
                    self.give(log, CompactStep::Rewrite(tail.known(), log.key()), begun, None);
                }
            }
            Stage::Written(begun, part) if begun.generation != tail.generation() => {
                // Somebody put another file there: what was written describes one that is gone.
                let side = part.rewritten.side_before;
                self.abandon(log, side);
            }
            Stage::Written(begun, part) => {
                let (begun, part) = (*begun, *part);
                return self.try_swap(log, tail, begun, part, now);
            }
            Stage::Idle | Stage::Writing { .. } => {}
        }
        Ok(())
    }

    fn is_due(&self, tail: &Tail, pressed: bool, now: Now) -> bool {
        if !tail.is_quiet() {
            return false;
        }
        let bytes = tail.known();
        let due = (bytes > self.over_bytes || pressed)
            && bytes > self.live_bytes.saturating_mul(COMPACT_RATIO)
            && bytes > self.left_bytes.saturating_mul(2)
            && now.mono_ms >= self.not_before;
        due || !self.waiting.is_empty()
    }

    fn give(&mut self, log: &Log<D>, step: CompactStep, begun: Begun, extending: Option<(Part, Range<u64>)>) {
        let number = self.jobs + 1;
        let job = CompactJob { number, source: log.reader(), step, wanted: self.wanted.clone() };
        // Full: an old log waits to be closed, and the next turn tries again.
        if self.compactor.try_send(job).is_ok() {
            self.jobs = number;
            self.stage = Stage::Writing { number, begun, extending };
        }
    }

    /// Takes what the compactor says.
    pub(super) fn accept(&mut self, done: CompactDone, log: &Log<D>, now: Now) {
        let Stage::Writing { number, begun, extending } = &self.stage else { return };
        if *number != done.number {
            return;
        }
        let begun = *begun;
        match (done.result, extending) {
            (Err(error), extending) => {
                let side = extending.as_ref().and_then(|(part, _)| part.rewritten.side_before);
                self.fail(log, side, &error, now);
            }
            (Ok(_), Some((part, range))) => {
                let bytes = part.bytes + (range.end - range.start);
                let part = Part { bytes, copied_to: range.end, extends: part.extends + 1, ..*part };
                self.stage = Stage::Written(begun, part);
            }
            (Ok(rewritten), None) => {
                let part = Part { rewritten, bytes: rewritten.bytes, copied_to: rewritten.read_to, extends: 0 };
                self.stage = Stage::Written(begun, part);
            }
        }
    }

    /// What was written so far is of no use. That it is removed is the compactor's work; if it is busy, the next
    /// compaction or start removes it.
    fn abandon(&mut self, log: &Log<D>, side_before: Option<u64>) {
        self.stage = Stage::Idle;
        let step = CompactStep::Discard(side_before);
        let job = CompactJob { number: 0, source: log.reader(), step, wanted: self.wanted.clone() };
        let _ = self.compactor.try_send(job);
    }

    fn fail(&mut self, log: &Log<D>, side_before: Option<u64>, error: &io::Error, now: Now) {
        static FAILED: Pace = Pace::new();
        FAILED.warn(|| format!("the log could not be compacted: {error}"));
        self.abandon(log, side_before);
        self.not_before = now.mono_ms + COMPACT_RETRY_MS;
        let (kind, advice) = match ErrorKind::of_storage(error) {
            ErrorKind::StorageFull if error.kind() != io::ErrorKind::FileTooLarge => {
                (ErrorKind::StorageFull, "it takes space for what counts in it: free some, and try again")
            }
            // The compactor's own, such as that somebody else changed the file.
            ErrorKind::StorageFailed => (ErrorKind::Unavailable, ""),
            other => (other, other.storage_advice(error)),
        };
        let advice = if advice.is_empty() { String::new() } else { format!("; {advice}") };
        for reply_to in self.waiting.drain(..) {
            let message = format!("the log could not be compacted: {error}; nothing is lost{advice}");
            reply_to(Err(RequestError::new(kind, message)));
        }
    }

    /// Puts the new file in the log's place, unless there is something to be done before: whatever others wrote must
    /// have been read, and what has to be copied must be little.
    fn try_swap(
        &mut self,
        log: &mut Log<D>,
        tail: &mut Tail,
        begun: Begun,
        part: Part,
        now: Now,
    ) -> Result<(), AppendError> {
        match tail.is_undisturbed(log) {
            Ok(true) if tail.is_quiet() => {}
            Ok(true) => return Ok(()),
            Ok(false) => {
                if let Err(error) = tail.look(log) {
                    static UNSEEN: Pace = Pace::new();
                    UNSEEN.error(|| format!("cannot look at the log: {error}"));
                }
                tail.begin(log);
                return Ok(());
            }
            Err(error) => {
                self.fail(log, part.rewritten.side_before, &error, now);
                return Ok(());
            }
        }
        let left = tail.known() - part.copied_to;
        if left > COMPACT_SWAP_BYTES_MAX && part.extends < COMPACT_EXTENDS_MAX {
            let range = part.copied_to..tail.known();
            self.give(log, CompactStep::Extend(part.bytes, range.clone()), begun, Some((part, range)));
            return Ok(());
        }
        if left > COMPACT_LAST_BYTES_MAX {
            let error = io::Error::other("more is written to it than can be copied");
            self.fail(log, part.rewritten.side_before, &error, now);
            return Ok(());
        }
        match self.swap(log, tail, begun, part, now) {
            Swap::Done(compacted) => {
                self.finish(compacted);
                // What was appended behind all that we knew of is moved at once.
                self.rescue(log, tail, now)?;
                tail.begin(log);
            }
            Swap::Failed(error) => self.fail(log, part.rewritten.side_before, &error, now),
            Swap::Broken(error) => return Err(AppendError::Broken(error)),
        }
        Ok(())
    }

    fn swap(&mut self, log: &mut Log<D>, tail: &mut Tail, begun: Begun, part: Part, now: Now) -> Swap {
        let (end, disk) = (tail.known(), log.disk().clone());
        let rest = part.copied_to..end;
        let bytes = part.bytes + (rest.end - rest.start);
        if !rest.is_empty()
            && let Err(error) = rewrite::extend_new(&disk, part.bytes, &log.reader(), rest)
        {
            return Swap::Failed(error);
        }
        // Copying and syncing took a while: whoever has put another file there meanwhile must not lose it.
        match tail.is_undisturbed(log) {
            Ok(true) => {}
            Ok(false) => return Swap::Failed(io::Error::other("somebody replaced the log at the last moment")),
            Err(error) => return Swap::Failed(error),
        }
        let file = match log.replace_with_new(bytes) {
            Ok(file) => file,
            Err(ReplaceError::Kept(error)) => return Swap::Failed(error),
            Err(ReplaceError::Broken(error)) => return Swap::Broken(error),
        };
        self.old.push(Old { file, read_to: end, until: now.mono_ms + OLD_LOG_WATCH_MS });
        self.bound_old();
        if let Err(error) = tail.moved(log, bytes, begun.malformed_lines) {
            return Swap::Broken(error);
        }
        (self.left_bytes, self.live_bytes) = (bytes, bytes);
        Swap::Done(Compacted { bytes_before: end, bytes_after: bytes, malformed_lines: part.rewritten.malformed })
    }

    /// Lets go of the oldest logs that are watched, if they take too much: the newest of them is in use the likeliest.
    fn bound_old(&mut self) {
        let (mut count, mut bytes) = (0, 0);
        for old in self.old.iter_mut().rev() {
            count += 1;
            bytes += old.read_to;
            if count > 1 && (count > OLD_LOGS_MAX || bytes > OLD_LOGS_BYTES_MAX) {
                old.until = MonoMs::MIN;
            }
        }
    }

    fn finish(&mut self, compacted: Compacted) {
        let Compacted { bytes_before, bytes_after, malformed_lines } = compacted;
        static COMPACTED: Pace = Pace::new();
        static MOVED: Pace = Pace::new();
        COMPACTED.log(Level::Info, || format!("compacted the log from {bytes_before} to {bytes_after} bytes"));
        if malformed_lines > 0 {
            MOVED.warn(|| format!("moved {malformed_lines} lines that cannot be read to {MALFORMED_NAME}"));
        }
        self.stage = Stage::Idle;
        self.done += 1;
        for reply_to in self.waiting.drain(..) {
            reply_to(Ok(compacted));
        }
    }

    /// Moves lines that somebody has appended to an old log, having opened it before the new one took its place, to the
    /// new one, where they are found like any others.
    ///
    /// # Errors
    /// The log cannot be trusted any longer.
    pub(super) fn rescue(&mut self, log: &mut Log<D>, tail: &mut Tail, now: Now) -> Result<(), AppendError> {
        let mut kept = Vec::with_capacity(self.old.len());
        for mut old in std::mem::take(&mut self.old) {
            let last = now.mono_ms >= old.until;
            let nothing_left = rescue_from(&mut old, last, log, tail)?;
            // Closing it is the compactor's work. If it is busy, the next tick tries again.
            let close = |file: &Arc<D::File>| {
                let (source, wanted) = (file.clone(), self.wanted.clone());
                CompactJob { number: 0, source, step: CompactStep::Close, wanted }
            };
            if !last || !nothing_left || self.compactor.try_send(close(&old.file)).is_err() {
                kept.push(old);
            }
        }
        self.old.append(&mut kept);
        Ok(())
    }

    /// The daemon stops: what is left in old logs is moved now, unfinished lines too.
    ///
    /// # Errors
    /// As for [`Compaction::rescue`].
    pub(super) fn rescue_all(&mut self, log: &mut Log<D>, tail: &mut Tail) -> Result<(), AppendError> {
        for mut old in self.old.drain(..) {
            while !rescue_from(&mut old, true, log, tail)? {}
        }
        Ok(())
    }
}

/// Moves the next piece of what was appended to an old log. Says whether nothing is left, or nothing can be moved.
fn rescue_from<D: Disk>(old: &mut Old<D>, last: bool, log: &mut Log<D>, tail: &mut Tail) -> Result<bool, AppendError> {
    let mut lines = late_lines(old, last).unwrap_or_else(|error| {
        static UNSEEN: Pace = Pace::new();
        UNSEEN.error(|| format!("cannot look at the log that was replaced: {error}"));
        Vec::new()
    });
    let read = lines.len() as u64;
    if read == 0 {
        return Ok(true);
    }
    if !lines.ends_with(b"\n") {
        lines.push(b'\n');
    }
    match tail.append_for_others(log, &lines) {
        Ok(()) => {
            static RESCUED: Pace = Pace::new();
            RESCUED.log(Level::Info, || format!("moved {read} bytes that were appended to the old log to the new one"));
            old.read_to += read;
            Ok(false)
        }
        // They wait for space where they are.
        Err(AppendError::Refused(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The next whole lines of the old log, in a bounded piece; at last an unfinished one too.
fn late_lines<D: Disk>(old: &Old<D>, last: bool) -> io::Result<Vec<u8>> {
    let length = old.file.facts()?.length;
    let Some(late) = length.checked_sub(old.read_to).filter(|late| *late > 0) else { return Ok(Vec::new()) };
    let mut bytes = vec![0; usize::try_from(late).unwrap_or(usize::MAX).min(LOG_CHUNK_BYTES)];
    let read = old.file.read_at(&mut bytes, old.read_to)?;
    bytes.truncate(read);
    match memchr::memrchr(b'\n', &bytes) {
        Some(at) => bytes.truncate(at + 1),
        // One line that fills all of the piece, or one that nobody will finish.
        None if last || read == LOG_CHUNK_BYTES => {}
        None => bytes.clear(),
    }
    Ok(bytes)
}

/// Whether a change shows a row again that is as it was.
fn is_same(before: &Row, after: &Row) -> bool {
    match (before, after) {
        (Row::Session(before), Row::Session(after)) => Arc::ptr_eq(before, after),
        _ => false,
    }
}

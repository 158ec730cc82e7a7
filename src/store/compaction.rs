//! Keeping the log small: when it is much larger than its living rows, the compactor writes a new one beside it while
//! the store goes on; the store then adds what has come since and puts the new one in its place. It must not hold up
//! callers for longer than a short copy and two syncs, and must not lose what an outsider appends meanwhile.

use super::command::{CompactDone, CompactJob, CompactStep, CompactTo, Compacted};
use super::tail::Tail;
use crate::error::{ErrorKind, RequestError};
use crate::event_log::disk::{Disk, DiskFile, ReadAt};
use crate::event_log::file::{AppendError, Log, ReplaceError};
use crate::event_log::line::set_line_bytes;
use crate::event_log::rewrite::{self, Rewritten};
use crate::limits::{
    COMPACT_RATIO, COMPACT_RETRY_MS, COMPACT_SWAP_BYTES_MAX, COMPACT_WAITING_MAX, LOG_CHUNK_BYTES, OLD_LOG_WATCH_MS,
};
use crate::model::Row;
use crate::roster::Change;
use crate::time::Now;
use crossbeam_channel::Sender;
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
    not_before_ms: i64,
    old: Option<Old<D>>,
    waiting: Vec<CompactTo>,
    done: u64,
}

/// How far a compaction is.
enum Stage {
    Idle,
    /// The compactor is writing the new file.
    Writing {
        number: u64,
        /// The tail's generation when the first job was given: another one means another file.
        generation: u64,
        rewritten: Option<Rewritten>,
        /// The part of the log that it is copying, if it has written what counts before.
        extending: Option<Range<u64>>,
    },
    /// The new file holds what counts of the log up to here.
    Written {
        generation: u64,
        rewritten: Rewritten,
        copied_to: u64,
    },
}

/// A log whose place has been taken. Somebody who had it open may still append to it.
struct Old<D: Disk> {
    file: Arc<D::File>,
    read_to: u64,
    until_ms: i64,
}

/// What came of putting the new log in place.
enum Swap {
    Done(Compacted),
    Failed(io::Error),
    Broken(io::Error),
}

impl<D: Disk> Compaction<D> {
    pub(super) fn new(compactor: Sender<CompactJob>, over_bytes: u64, live_bytes: u64) -> Self {
        Self {
            compactor,
            over_bytes,
            live_bytes,
            left_bytes: 0,
            stage: Stage::Idle,
            jobs: 0,
            not_before_ms: i64::MIN,
            old: None,
            waiting: Vec::new(),
            done: 0,
        }
    }

    /// Bytes of what counts in the log, as far as is known without reading it.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    #[cfg(test)]
    pub(super) fn old_is_gone(&self) -> bool {
        self.old.is_none()
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

    /// Keeps count of what the log must hold.
    pub(super) fn note_changes(&mut self, changes: &[Change]) {
        for change in changes {
            match (&change.before, &change.after) {
                (Some((before, _)), Some((after, _))) if is_same(before, after) => {}
                (before, after) => {
                    let bytes = |side: &Option<(Row, u64)>| side.as_ref().map_or(0, |(row, _)| set_line_bytes(row));
                    self.live_bytes = (self.live_bytes + bytes(after)).saturating_sub(bytes(before));
                }
            }
        }
    }

    /// Does the next step, if there is one and its time has come. It comes after the batch, so that nobody who has been
    /// served waits for it.
    ///
    /// # Errors
    /// Which log will be there after a crash is not known.
    pub(super) fn step(&mut self, log: &mut Log<D>, tail: &mut Tail, now: Now) -> io::Result<()> {
        match &self.stage {
            Stage::Idle if self.is_due(tail, now) => {
                let (end, generation) = (tail.known(), tail.generation());
                self.give(log, CompactStep::Rewrite(end), generation, None);
            }
            Stage::Written { generation, .. } if *generation != tail.generation() => {
                // Somebody put another file there: what was written describes one that is gone.
                self.stage = Stage::Idle;
            }
            Stage::Written { .. } => return self.try_swap(log, tail, now),
            Stage::Idle | Stage::Writing { .. } => {}
        }
        Ok(())
    }

    fn is_due(&self, tail: &Tail, now: Now) -> bool {
        if !tail.is_quiet() {
            return false;
        }
        let bytes = tail.known();
        let due = bytes > self.over_bytes
            && bytes > self.live_bytes.saturating_mul(COMPACT_RATIO)
            && bytes > self.left_bytes.saturating_mul(2)
            && now.mono_ms >= self.not_before_ms;
        due || !self.waiting.is_empty()
    }

    fn give(&mut self, log: &Log<D>, step: CompactStep, generation: u64, rewritten: Option<Rewritten>) {
        let number = self.jobs + 1;
        let extending = match &step {
            CompactStep::Extend(range) => Some(range.clone()),
            CompactStep::Rewrite(_) | CompactStep::Close => None,
        };
        // Full: an old log waits to be closed, and the next turn tries again.
        if self.compactor.try_send(CompactJob { number, source: log.reader(), step }).is_ok() {
            self.jobs = number;
            self.stage = Stage::Writing { number, generation, rewritten, extending };
        }
    }

    /// Takes what the compactor says.
    pub(super) fn accept(&mut self, done: CompactDone, now: Now) {
        let Stage::Writing { number, generation, rewritten, extending } = &self.stage else { return };
        if *number != done.number {
            return;
        }
        match (done.result, rewritten, extending) {
            (Err(reason), ..) => self.fail(&reason, now),
            (Ok(_), Some(rewritten), Some(range)) => {
                self.stage = Stage::Written { generation: *generation, rewritten: *rewritten, copied_to: range.end };
            }
            (Ok(rewritten), ..) => {
                self.stage = Stage::Written { generation: *generation, rewritten, copied_to: rewritten.read_to };
            }
        }
    }

    fn fail(&mut self, reason: &str, now: Now) {
        log::warn!("the log could not be compacted: {reason}");
        self.stage = Stage::Idle;
        self.not_before_ms = now.mono_ms + COMPACT_RETRY_MS;
        for reply_to in self.waiting.drain(..) {
            let message = format!("the log could not be compacted: {reason}; nothing is lost");
            reply_to(Err(RequestError::new(ErrorKind::StorageFull, message)));
        }
    }

    /// Puts the new file in the log's place, unless there is something to be done before: whatever others wrote must
    /// have been read, and what has to be copied must be little.
    fn try_swap(&mut self, log: &mut Log<D>, tail: &mut Tail, now: Now) -> io::Result<()> {
        let Stage::Written { generation, rewritten, copied_to } = &self.stage else { return Ok(()) };
        let (generation, rewritten, copied_to) = (*generation, *rewritten, *copied_to);
        match tail.is_undisturbed(log) {
            Ok(true) if tail.is_quiet() => {}
            Ok(true) => return Ok(()),
            Ok(false) => {
                if let Err(error) = tail.look(log) {
                    log::error!("cannot look at the log: {error}");
                }
                tail.ask(log);
                return Ok(());
            }
            Err(error) => {
                self.fail(&error.to_string(), now);
                return Ok(());
            }
        }
        if tail.known() - copied_to > COMPACT_SWAP_BYTES_MAX {
            self.give(log, CompactStep::Extend(copied_to..tail.known()), generation, Some(rewritten));
            return Ok(());
        }
        match self.swap(log, tail, rewritten, copied_to, now) {
            Swap::Done(compacted) => {
                self.finish(compacted);
                // What was appended behind all that we knew of is moved at once.
                if let Err(AppendError::Refused(error) | AppendError::Broken(error)) = self.rescue(log, tail, now) {
                    return Err(error);
                }
                tail.ask(log);
            }
            Swap::Failed(error) => self.fail(&error.to_string(), now),
            Swap::Broken(error) => return Err(error),
        }
        Ok(())
    }

    fn swap(&mut self, log: &mut Log<D>, tail: &mut Tail, written: Rewritten, copied_to: u64, now: Now) -> Swap {
        let end = tail.known();
        let disk = log.disk().clone();
        if copied_to < end
            && let Err(error) = rewrite::extend_new(&disk, &log.reader(), copied_to..end)
        {
            return Swap::Failed(error);
        }
        let file = match log.replace_with_new() {
            Ok(file) => file,
            Err(ReplaceError::Kept(error)) => return Swap::Failed(error),
            Err(ReplaceError::Broken(error)) => return Swap::Broken(error),
        };
        if let Err(error) = tail.moved(log) {
            return Swap::Broken(error);
        }
        self.close_old();
        self.old = Some(Old { file, read_to: end, until_ms: now.mono_ms + OLD_LOG_WATCH_MS });
        self.left_bytes = tail.known();
        self.live_bytes = self.live_bytes.min(tail.known());
        Swap::Done(Compacted { bytes_before: end, bytes_after: tail.known(), malformed_lines: written.malformed })
    }

    fn finish(&mut self, compacted: Compacted) {
        let Compacted { bytes_before, bytes_after, malformed_lines } = compacted;
        log::info!("compacted the log from {bytes_before} to {bytes_after} bytes");
        if malformed_lines > 0 {
            log::warn!("moved {malformed_lines} lines that cannot be read to {}", crate::event_log::MALFORMED_NAME);
        }
        self.stage = Stage::Idle;
        self.done += 1;
        for reply_to in self.waiting.drain(..) {
            reply_to(Ok(compacted));
        }
    }

    /// Moves lines that somebody has appended to the old log, having opened it before the new one took its place, to the
    /// new one, where they are found like any others.
    ///
    /// # Errors
    /// The log cannot be trusted any longer.
    pub(super) fn rescue(&mut self, log: &mut Log<D>, tail: &mut Tail, now: Now) -> Result<(), AppendError> {
        let Some(old) = &mut self.old else { return Ok(()) };
        let last = now.mono_ms >= old.until_ms;
        let lines = match late_lines(old, last) {
            Ok(lines) => lines,
            Err(error) => {
                log::error!("cannot look at the log that was replaced: {error}");
                Vec::new()
            }
        };
        if !lines.is_empty() {
            match tail.append_for_others(log, &lines) {
                Ok(()) => {
                    log::info!("moved {} bytes that were appended to the old log to the new one", lines.len());
                    old.read_to += lines.len() as u64;
                }
                // They wait for space where they are.
                Err(AppendError::Refused(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        } else if last {
            self.close_old();
        }
        Ok(())
    }

    /// Lets the compactor close the old log. If it is busy, the next tick tries again.
    fn close_old(&mut self) {
        let Some(Old { file, read_to, until_ms }) = self.old.take() else { return };
        let job = CompactJob { number: 0, source: file.clone(), step: CompactStep::Close };
        if self.compactor.try_send(job).is_err() {
            self.old = Some(Old { file, read_to, until_ms });
        }
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

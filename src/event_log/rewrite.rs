//! Writing a log anew with what still counts of it: the last event of each living row, to the letter, in the order of
//! first appearance, and every event of an unknown type. Lines that cannot be read go to a side file. It works on the
//! bytes of the log and not on the roster, so that it needs nothing of the store's time. It must not touch the log
//! itself: [`super::file::Log::replace_with_new`] does.

use super::disk::{Disk, DiskFile, RangeReader, ReadAt};
use super::file::open_new;
use super::index::Index;
use super::key::LogKey;
use super::line::Places;
use super::{MALFORMED_NAME, NEW_NAME};
use crate::limits::LOG_CHUNK_BYTES;
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
    /// Bytes of the side file before, if lines were moved there.
    pub side_before: Option<u64>,
}

/// Writes what counts of the whole lines of `source[..end]` to a new file beside the log, and the lines that cannot be
/// read to the side file. Both are on the disk afterwards.
///
/// # Errors
/// The disk's; what was written until then is of no use.
pub fn write_new<D: Disk>(disk: &D, source: &Arc<dyn ReadAt>, end: u64, key: &LogKey) -> io::Result<Rewritten> {
    // One that was left over by a crash or a failure is as meaningless as half of ours would be.
    disk.remove(NEW_NAME)?;
    let new = disk.open(NEW_NAME)?;
    let index = Index::read(source, 0..end, Places::default(), key, &mut |_, _| ())?;
    let kept = index.survivors();
    let mut rewritten = Rewritten {
        read_to: index.read_to,
        malformed: index.malformed_lines,
        lines: kept.len() as u64,
        ..Rewritten::default()
    };
    rewritten.bytes = copy_ranges(source, &kept, &new)?;
    new.sync()?;
    if !index.malformed().is_empty() {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{MALFORMED_NAME}: {error}"));
        let side = disk.open(MALFORMED_NAME).map_err(named)?;
        let before = side.facts().map_err(named)?.length;
        let moved = copy_ranges(source, index.malformed(), &side).and_then(|_| side.sync());
        if let Err(error) = moved {
            // Whether this works or not: the lines are still in the log.
            let _ = side.cut(before);
            return Err(named(error));
        }
        rewritten.side_before = Some(before);
    }
    Ok(rewritten)
}

/// Writes the side file anew, if there is one, and waits until it and its name are on the disk: a failed sync may have lost
/// either, although the system goes on showing them.
///
/// # Errors
/// The disk's; the side file is as it was, or the new one.
pub fn renew_side<D: Disk>(disk: &D) -> io::Result<()> {
    let Some(facts) = disk.facts(MALFORMED_NAME)? else { return Ok(()) };
    disk.remove(NEW_NAME)?;
    let (side, new): (Arc<dyn ReadAt>, D::File) = (Arc::new(disk.open(MALFORMED_NAME)?), disk.open(NEW_NAME)?);
    copy_ranges(&side, std::slice::from_ref(&(0..facts.length)), &new)?;
    new.sync()?;
    disk.rename(NEW_NAME, MALFORMED_NAME)?;
    disk.sync_names()
}

/// Takes back what a rewriting that came to nothing has left beside the log.
///
/// # Errors
/// The disk's; what stays does no harm.
pub fn discard<D: Disk>(disk: &D, side_before: Option<u64>) -> io::Result<()> {
    disk.remove(NEW_NAME)?;
    if let Some(before) = side_before
        && disk.facts(MALFORMED_NAME)?.is_some_and(|facts| facts.length > before)
    {
        disk.open(MALFORMED_NAME)?.cut(before)?;
    }
    Ok(())
}

/// Appends a part of `source` to the new file, which must have `length` bytes, as it stands, and waits until it is on
/// the disk.
///
/// # Errors
/// The disk's, and that the new file is another one; it is of no use then.
pub fn extend_new<D: Disk>(disk: &D, length: u64, source: &Arc<dyn ReadAt>, range: Range<u64>) -> io::Result<()> {
    let new = open_new(disk, length)?;
    copy_ranges(source, &[range], &new)?;
    new.sync()
}

/// Copies parts of `source`, one after the other. Says how many bytes.
fn copy_ranges(source: &Arc<dyn ReadAt>, ranges: &[Range<u64>], to: &impl DiskFile) -> io::Result<u64> {
    let mut out = io::BufWriter::with_capacity(LOG_CHUNK_BYTES, Appender(to));
    let mut total = 0;
    let mut ranges = ranges.iter().peekable();
    while let Some(first) = ranges.next() {
        let mut joined = first.clone();
        while let Some(next) = ranges.next_if(|next| next.start == joined.end) {
            joined.end = next.end;
        }
        let expected = joined.end - joined.start;
        let copied = io::copy(&mut RangeReader::new(source.clone(), joined).take(expected), &mut out)?;
        if copied != expected {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        total += copied;
    }
    out.flush()?;
    Ok(total)
}

struct Appender<'a, F>(&'a F);

impl<F: DiskFile> Write for Appender<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes).map(|(count, _)| count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::LOG_NAME;
    use super::super::real_disk::RealDisk;
    use super::super::replay::Fold;
    use super::*;
    use crate::row_json::row_text;
    use proptest::prelude::*;

    fn run(log: &str) -> (String, String, Rewritten) {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        std::fs::write(path(LOG_NAME), log).unwrap();
        std::fs::write(path(NEW_NAME), "left over").unwrap();
        let source: Arc<dyn ReadAt> = Arc::new(std::fs::File::open(path(LOG_NAME)).unwrap());
        let rewritten =
            write_new(&RealDisk::new(directory.path()), &source, log.len() as u64, &LogKey::of([1; 16])).unwrap();
        let read = |name| std::fs::read_to_string(path(name)).unwrap_or_default();
        assert_eq!(read(LOG_NAME), log);
        (read(NEW_NAME), read(MALFORMED_NAME), rewritten)
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
                let rows = Fold::read(text.as_bytes(), &LogKey::of([1; 16])).unwrap().into_rows();
                rows.iter().map(row_text).collect::<Vec<_>>()
            };
            let (new, side, rewritten) = run(&log);
            prop_assert_eq!(rows(&new), rows(&log));
            prop_assert_eq!(side.lines().count(), log.matches("damage").count());
            prop_assert_eq!(rewritten.lines, rows(&log).len() as u64);
        }
    }
}

//! Opening a log at start: what a crash left half done is cleared away, what is not surely on the disk is brought there
//! before anybody is shown it, and only then is the log read. It must not decide what rows mean.

use super::disk::Disk;
use super::file::{AppendError, Log, ReplaceError};
use super::key::LogKey;
use super::replay::Fold;
use super::rewrite::{self, Rewritten};
use super::{LOG_NAME, NEW_NAME, PROBE_NAME, SUSPECT_NAME};
use crate::error::{exit_code, explain_in};
use crate::event_log::disk::RangeReader;
use std::io;
use std::path::Path;

/// A log that can be believed, and what it says.
#[derive(Debug)]
pub struct Opened<D: Disk> {
    /// The log.
    pub log: Log<D>,
    /// What it comes to.
    pub fold: Fold,
    /// Set if the log was suspect and has been written anew.
    pub rewritten: Option<Rewritten>,
}

/// Why a log cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The file cannot be opened, made or read.
    Open(io::Error),
    /// The disk fails while what the log shows is brought to it: the next start must not believe it either.
    Sync(io::Error),
    /// A suspect log cannot be written anew; it is as it was.
    Rewrite(io::Error),
}

impl OpenError {
    /// With which exit code a process ends that needs the log.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Open(error) if error.kind() == io::ErrorKind::PermissionDenied => exit_code::PERMISSION,
            Self::Open(_) => exit_code::CANNOT_CREATE,
            Self::Sync(_) | Self::Rewrite(_) => exit_code::IO,
        }
    }

    /// What happened to the log of `directory`, and what to do about it.
    pub fn explain(&self, directory: &Path) -> String {
        let log = directory.join(LOG_NAME).display().to_string();
        match self {
            Self::Open(error) => match explain_in(directory, error) {
                // Some errors name the file themselves.
                text if text.starts_with(&log) => format!("cannot open the log: {text}"),
                text => format!("cannot open the log {log}: {text}"),
            },
            Self::Sync(error) => {
                format!("cannot sync the log {log} to the disk: {}", explain_in(directory, error))
            }
            Self::Rewrite(error) => {
                let why = explain_in(directory, error);
                format!("cannot write the log {log} anew: {why}. It still holds all that counts")
            }
        }
    }
}

/// Opens the log of a state directory and reads it. If it has no key yet, it gets this one.
///
/// # Errors
/// See [`OpenError`].
pub fn open<D: Disk>(disk: D, new_key: LogKey) -> Result<Opened<D>, OpenError> {
    for left in [NEW_NAME, PROBE_NAME] {
        disk.remove(left).map_err(OpenError::Open)?;
    }
    let suspect = disk.facts(SUSPECT_NAME).map_err(OpenError::Open)?.is_some();
    let mut log = Log::open(disk, new_key).map_err(OpenError::Open)?;
    match end_last_line(&mut log) {
        // On a full disk the next write of ours does it.
        Ok(()) | Err(AppendError::Refused(_)) => {}
        Err(AppendError::Broken(error)) => {
            let _ = log.mark_suspect("a newline could not be taken back at start");
            return Err(OpenError::Sync(error));
        }
    }
    let rewritten = if suspect {
        Some(rewrite_suspect(&mut log)?)
    } else {
        // What a killed daemon had written and not synced is about to be shown: it must be on the disk first.
        if let Err(error) = log.sync() {
            // If the note cannot be left either, the disk is beyond our help and the error below says enough.
            let _ = log.mark_suspect("a sync failed at start");
            return Err(OpenError::Sync(error));
        }
        None
    };
    let length = log.look().map_err(OpenError::Open)?.length;
    let fold = Fold::read(RangeReader::new(log.reader(), 0..length), &log.key()).map_err(OpenError::Open)?;
    Ok(Opened { log, fold, rewritten })
}

/// Ends a line that a crash or an editor has left without its newline. Whatever it is, an event that is about to be shown
/// or half of one, it is a line then, and what others append is another one.
fn end_last_line<D: Disk>(log: &mut Log<D>) -> Result<(), AppendError> {
    let ends = log.look().and_then(|look| log.line_ends_at(look.length)).map_err(AppendError::Refused)?;
    if ends { Ok(()) } else { log.append(b"\n").map(drop) }
}

/// After a failed sync the system shows bytes that it may have given up writing, and another sync would succeed without
/// them. Only a new file brings what is shown to the disk, also for the lines that were moved out of the log.
fn rewrite_suspect<D: Disk>(log: &mut Log<D>) -> Result<Rewritten, OpenError> {
    let disk = log.disk().clone();
    rewrite::renew_side(&disk).map_err(OpenError::Rewrite)?;
    let length = log.look().map_err(OpenError::Open)?.length;
    let rewritten = rewrite_now(log, length).map_err(OpenError::Rewrite)?;
    // Only now is the note no longer needed; if it stays after all, the log is written anew once more.
    disk.remove(SUSPECT_NAME).and_then(|()| disk.sync_names()).map_err(OpenError::Rewrite)?;
    Ok(rewritten)
}

/// What a repair came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Bytes of the log before.
    pub bytes_before: u64,
    /// Bytes of the log after.
    pub bytes_after: u64,
    /// Lines that could not be read and were moved to the side file, an unfinished last one included.
    pub malformed: u64,
}

/// Writes the log of a state directory anew with what counts, for a caller who holds the lock. The directory gets this
/// key if it has none.
///
/// # Errors
/// See [`OpenError`].
pub fn repair<D: Disk>(disk: D, new_key: LogKey) -> Result<Repaired, OpenError> {
    let mut log = Log::open(disk.clone(), new_key).map_err(OpenError::Open)?;
    let bytes_before = log.look().map_err(OpenError::Open)?.length;
    if let Err(AppendError::Refused(error) | AppendError::Broken(error)) = end_last_line(&mut log) {
        return Err(OpenError::Rewrite(error));
    }
    let length = log.look().map_err(OpenError::Open)?.length;
    let rewritten = rewrite_now(&mut log, length).map_err(OpenError::Rewrite)?;
    disk.remove(SUSPECT_NAME).and_then(|()| disk.sync_names()).map_err(OpenError::Rewrite)?;
    Ok(Repaired { bytes_before, bytes_after: rewritten.bytes, malformed: rewritten.malformed })
}

/// Writes a log anew that nobody else writes to, an unfinished last line included, and puts it in its place.
///
/// # Errors
/// The disk's; the log is as it was, or the new one.
pub fn rewrite_now<D: Disk>(log: &mut Log<D>, length: u64) -> io::Result<Rewritten> {
    let disk = log.disk().clone();
    let rewritten = rewrite::write_new(&disk, &log.reader(), length, &log.key()).inspect_err(|_| {
        // It takes space, which may be what is lacking.
        let _ = disk.remove(NEW_NAME);
    })?;
    let kept = rewrite::extend_new(&disk, rewritten.bytes, &log.reader(), rewritten.read_to..length)
        .map_err(ReplaceError::Kept)
        .and_then(|()| log.replace_with_new(rewritten.bytes + (length - rewritten.read_to)));
    match kept {
        Ok(_) => Ok(rewritten),
        Err(ReplaceError::Kept(error)) => {
            let _ = rewrite::discard(&disk, rewritten.side_before);
            Err(error)
        }
        Err(ReplaceError::Broken(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::LOG_NAME;
    use super::super::real_disk::RealDisk;
    use super::*;

    #[test]
    fn what_a_crash_left_without_its_end_cannot_be_glued_to_what_others_append() {
        let event = r#"{"item":{"id":"a"},"changeType":"SET","itemType":"Session"}"#;
        for (left, rows) in [(event, 1), (&event[..30], 0), ("", 0)] {
            for suspect in [false, true] {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join(LOG_NAME);
                std::fs::write(&path, left).unwrap();
                if suspect {
                    std::fs::write(directory.path().join(SUSPECT_NAME), "").unwrap();
                }
                let opened = open(RealDisk::new(directory.path()), LogKey::of([1; 16])).unwrap();
                assert_eq!(opened.rewritten.is_some(), suspect);
                assert!(opened.fold.ends_with_newline);
                assert_eq!(opened.fold.into_rows().len(), rows);
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
            }
        }
    }
}

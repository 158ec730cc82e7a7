//! Opening a log at start: what a crash left half done is cleared away, what is not surely on the disk is brought there
//! before anybody is shown it, and only then is the log read. It must not decide what rows mean.

use super::disk::Disk;
use super::file::{AppendError, Log, ReplaceError};
use super::replay::Fold;
use super::rewrite::{self, Rewritten};
use super::{LOG_NAME, NEW_NAME, SUSPECT_NAME};
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

/// Opens the log of a state directory and reads it.
///
/// # Errors
/// See [`OpenError`].
pub fn open<D: Disk>(disk: D) -> Result<Opened<D>, OpenError> {
    disk.remove(NEW_NAME).map_err(OpenError::Open)?;
    let suspect = disk.facts(SUSPECT_NAME).map_err(OpenError::Open)?.is_some();
    let mut log = Log::open(disk).map_err(OpenError::Open)?;
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
    let fold = Fold::read(RangeReader::new(log.reader(), 0..length)).map_err(OpenError::Open)?;
    Ok(Opened { log, fold, rewritten })
}

/// After a failed sync the system shows bytes that it may have given up writing, and another sync would succeed without
/// them. Only a new file brings what is shown to the disk.
fn rewrite_suspect<D: Disk>(log: &mut Log<D>) -> Result<Rewritten, OpenError> {
    let disk = log.disk().clone();
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

/// Writes the log of a state directory anew with what counts, for a caller who holds the lock.
///
/// # Errors
/// See [`OpenError`].
pub fn repair<D: Disk>(disk: D) -> Result<Repaired, OpenError> {
    let mut log = Log::open(disk.clone()).map_err(OpenError::Open)?;
    let bytes_before = log.look().map_err(OpenError::Open)?.length;
    let mut length = bytes_before;
    if !log.line_ends_at(length).map_err(OpenError::Open)? {
        // Whatever the last line is, an event or half of one, it is a line then.
        match log.append(b"\n") {
            Ok(range) => length = range.end,
            Err(AppendError::Refused(error) | AppendError::Broken(error)) => return Err(OpenError::Rewrite(error)),
        }
    }
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
    let rewritten = rewrite::write_new(&disk, &log.reader(), length)?;
    rewrite::extend_new(&disk, &log.reader(), rewritten.read_to..length)?;
    match log.replace_with_new() {
        Ok(_) => Ok(rewritten),
        Err(ReplaceError::Kept(error) | ReplaceError::Broken(error)) => Err(error),
    }
}

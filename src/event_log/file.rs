//! The log's file: appending, with what a refusal means for the bytes that got through, and noticing that somebody has
//! put another file in its place. It knows bytes, not events.

use super::disk::{Disk, DiskFile, ReadAt, blank_lines};
use super::key::{KEY_NAME, LogKey};
use super::{LOG_NAME, NEW_NAME, PROBE_NAME, SUSPECT_NAME};
use crate::limits::{LOG_PROBE_BYTES, PUT_BACK_TRIES_MAX};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// What stands at the log's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Bytes of the file that we hold.
    pub length: u64,
    /// Whether the path leads to another file, or to none.
    pub replaced: bool,
    /// When the file was last changed, in nanoseconds since 1970.
    pub changed_ns: i128,
}

/// Why an append did not happen.
#[derive(Debug)]
pub enum AppendError {
    /// The disk refused and the file is as it was before.
    Refused(io::Error),
    /// The disk refused and the file could not be brought back: it can no longer be trusted.
    Broken(io::Error),
}

/// Why another file did not take the log's place.
#[derive(Debug)]
pub enum ReplaceError {
    /// The log is as it was.
    Kept(io::Error),
    /// Which of the two will be there after a crash is not known.
    Broken(io::Error),
}

/// The log of a state directory, open.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    file: Arc<D::File>,
    identity: (u64, u64),
    /// The file at the path may not be there after a crash: syncing its name has failed, and another try would tell
    /// nothing.
    is_nameless: bool,
    /// By which our lines are known.
    key: LogKey,
    /// Whether it is in its file.
    is_key_saved: bool,
}

impl<D: Disk> Log<D> {
    /// Opens the log, and makes one if there is none. If the directory has no key yet, it gets this one before anything is
    /// written to the log.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(disk: D, new_key: LogKey) -> io::Result<Self> {
        let key = LogKey::load(&disk)?;
        let file = disk.open(LOG_NAME)?;
        // A new file is only there once its name is on the disk. If that fails, the next try would succeed without it.
        if let Err(error) = disk.sync_names() {
            let _ = mark_suspect(&disk, "the log's name could not be synced at start");
            return Err(error);
        }
        let (identity, file) = (file.facts()?.identity, Arc::new(file));
        let is_key_saved = key.is_some();
        Ok(Self { disk, identity, file, is_nameless: false, key: key.unwrap_or(new_key), is_key_saved })
    }

    /// By which our lines are known.
    pub fn key(&self) -> LogKey {
        self.key
    }

    /// Whether the key is in its file; if not, no line of the log can be by it.
    pub fn is_key_saved(&self) -> bool {
        self.is_key_saved
    }

    /// The directory that it stands in.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// A handle for reading the file from another thread.
    pub fn reader(&self) -> Arc<dyn ReadAt> {
        self.file.clone()
    }

    /// Looks at the path and at the file.
    ///
    /// # Errors
    /// The disk's, other than that the path leads nowhere.
    pub fn look(&self) -> io::Result<Look> {
        if let Some(found) = self.disk.facts(LOG_NAME)?.filter(|found| found.identity == self.identity) {
            return Ok(Look { length: found.length, replaced: false, changed_ns: found.changed_ns });
        }
        let held = self.file.facts()?;
        Ok(Look { length: held.length, replaced: true, changed_ns: held.changed_ns })
    }

    /// Appends `bytes` with as few writes as the system allows. Says where they stand.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<Range<u64>, AppendError> {
        self.named().map_err(AppendError::Broken)?;
        if !self.is_key_saved {
            self.key.save(&self.disk).map_err(AppendError::Refused)?;
            self.is_key_saved = true;
        }
        let (mut written, mut end) = (0, 0);
        while written < bytes.len() {
            match self.file.append(&bytes[written..]) {
                Ok((0, _)) => return Err(self.take_back(written, end, io::ErrorKind::WriteZero.into())),
                Ok((count, now_at)) => (written, end) = (written + count, now_at),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.take_back(written, end, error)),
            }
        }
        Ok(end - bytes.len() as u64..end)
    }

    /// Takes back the first `written` bytes of an append that failed; they end at `end`. They are overwritten rather than cut
    /// off, since others may append behind them at any moment. This is synced: callers are about to hear that nothing was
    /// stored, and it must not come back with a crash.
    fn take_back(&mut self, written: usize, end: u64, error: io::Error) -> AppendError {
        if written == 0 {
            return AppendError::Refused(error);
        }
        let range = end - written as u64..end;
        let taken_back = self.file.blank(range.clone()).or_else(|blank_error| {
            // A file system that puts what is overwritten elsewhere has no room for that on a full disk.
            if self.file.facts()?.length == end { self.file.cut(range.start) } else { Err(blank_error) }
        });
        match taken_back.and_then(|()| self.file.sync()) {
            Ok(()) => AppendError::Refused(error),
            Err(other) => AppendError::Broken(io::Error::other(format!("{error}; and taking it back: {other}"))),
        }
    }

    /// Tries whether there is room for more than a line or two, in a file of its own: what is written to the log cannot be
    /// taken out again without cutting off what others append meanwhile.
    ///
    /// # Errors
    /// The disk's.
    pub fn probe(&self) -> io::Result<()> {
        self.disk.remove(PROBE_NAME)?;
        let probe = self.disk.open(PROBE_NAME)?;
        let written = probe.append_all(&blank_lines(LOG_PROBE_BYTES)).and_then(|()| probe.sync());
        self.disk.remove(PROBE_NAME)?;
        written
    }

    /// Waits until all that was appended is on the disk.
    ///
    /// # Errors
    /// After an error nobody can tell what is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.named()?;
        self.file.sync()
    }

    fn named(&self) -> io::Result<()> {
        if self.is_nameless {
            return Err(io::Error::other("the name of the file that somebody put in its place cannot be synced"));
        }
        Ok(())
    }

    /// Whether nothing can be stored any longer, and every try to will say so.
    pub fn is_broken(&self) -> bool {
        self.is_nameless
    }

    /// Whether the byte before `end` is a newline, or there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn line_ends_at(&self, end: u64) -> io::Result<bool> {
        let Some(at) = end.checked_sub(1) else { return Ok(true) };
        let mut byte = [0];
        match self.file.read_at(&mut byte, at)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(byte[0] == b'\n'),
        }
    }

    /// Turns to the file that stands at the path now, and makes one if there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.named()?;
        let file = self.disk.open(LOG_NAME)?;
        if let Err(error) = self.disk.sync_names() {
            self.is_nameless = true;
            return Err(error);
        }
        (self.identity, self.file) = (file.facts()?.identity, Arc::new(file));
        // Whoever removed the log may have removed the key with it.
        self.is_key_saved = self.disk.facts(KEY_NAME)?.is_some();
        Ok(())
    }

    /// Puts the new file, which must hold all that counts in `length` bytes and be synced, in the log's place, if that is
    /// still the file that we hold. Gives back the old one, which has no name any more.
    ///
    /// # Errors
    /// See [`ReplaceError`].
    pub fn replace_with_new(&mut self, length: u64) -> Result<Arc<D::File>, ReplaceError> {
        let new = open_new(&self.disk, length).map_err(ReplaceError::Kept)?;
        let identity = new.facts().map_err(ReplaceError::Kept)?.identity;
        match self.disk.exchange(NEW_NAME, LOG_NAME) {
            // Whoever puts a file there in this very instant loses it on such a file system.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.disk.rename(NEW_NAME, LOG_NAME).map_err(ReplaceError::Kept)?;
            }
            exchanged => {
                exchanged.map_err(ReplaceError::Kept)?;
                self.put_back_others(identity)?;
            }
        }
        self.identity = identity;
        let old = std::mem::replace(&mut self.file, Arc::new(new));
        // Nothing may be acknowledged from the new file before its name is on the disk.
        self.disk.sync_names().map_err(ReplaceError::Broken)?;
        // If the old one keeps this name, the next compaction or start takes it away.
        let _ = self.disk.remove(NEW_NAME);
        Ok(old)
    }

    /// The new file has taken the place of the file that is at its name now. If that is not the log that we hold, somebody
    /// had just put it there, and gets it back.
    fn put_back_others(&self, new: (u64, u64)) -> Result<(), ReplaceError> {
        let at_new = || {
            let found = self.disk.facts(NEW_NAME).map_err(ReplaceError::Broken)?;
            Ok(found.map(|facts| facts.identity))
        };
        if at_new()? == Some(self.identity) {
            return Ok(());
        }
        for _ in 0..PUT_BACK_TRIES_MAX {
            match self.disk.exchange(NEW_NAME, LOG_NAME) {
                // Somebody has removed what we put there: theirs takes that place.
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.disk.rename(NEW_NAME, LOG_NAME),
                exchanged => exchanged,
            }
            .map_err(ReplaceError::Broken)?;
            // If it is not ours that comes back, they have put a newer one there meanwhile, which is what they want.
            if at_new()?.is_none_or(|identity| identity == new) {
                break;
            }
        }
        Err(ReplaceError::Kept(io::Error::other("somebody replaced the log at the last moment")))
    }

    /// Leaves a note for the next start that what can be read of the log need not be what is on the disk: after a
    /// failed sync the system keeps showing bytes that it has given up writing.
    ///
    /// # Errors
    /// The disk's; it is failing, after all.
    pub fn mark_suspect(&self, reason: &str) -> io::Result<()> {
        mark_suspect(&self.disk, reason)
    }
}

/// Opens the new file if it is the one that was written: to others it looks like rubbish, and an empty one in its place
/// must not become the log.
///
/// # Errors
/// The disk's, and that it is another file.
pub fn open_new<D: Disk>(disk: &D, length: u64) -> io::Result<D::File> {
    let gone = || io::Error::other(format!("somebody removed or changed {NEW_NAME}"));
    disk.facts(NEW_NAME)?.filter(|facts| facts.length == length).ok_or_else(gone)?;
    let new = disk.open(NEW_NAME)?;
    if new.facts()?.length == length { Ok(new) } else { Err(gone()) }
}

fn mark_suspect(disk: &impl Disk, reason: &str) -> io::Result<()> {
    let marker = disk.open(SUSPECT_NAME)?;
    marker.append_all(reason.as_bytes())?;
    marker.append_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::super::real_disk::RealDisk;
    use super::*;
    use std::io::Write;

    fn log() -> (tempfile::TempDir, std::path::PathBuf, Log<RealDisk>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOG_NAME);
        let log = Log::open(RealDisk::new(directory.path()), LogKey::of([1; 16])).unwrap();
        (directory, path, log)
    }

    #[test]
    fn appends_land_behind_what_outsiders_append() {
        let (_directory, path, mut log) = log();
        assert_eq!(log.append(b"one\n").unwrap(), 0..4);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"theirs").unwrap();
        let look = log.look().unwrap();
        assert_eq!((look.length, look.replaced), (10, false));
        assert!(!log.line_ends_at(10).unwrap() && log.line_ends_at(4).unwrap() && log.line_ends_at(0).unwrap());
        assert_eq!(log.append(b"\ntwo\n").unwrap(), 10..15);
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntheirs\ntwo\n");
    }

    #[test]
    fn replacement_and_removal_are_seen_and_followed() {
        let (directory, path, mut log) = log();
        log.append(b"old\n").unwrap();
        std::fs::write(directory.path().join("new"), b"new\n").unwrap();
        std::fs::rename(directory.path().join("new"), &path).unwrap();
        assert!(log.look().unwrap().replaced);
        log.reopen().unwrap();
        assert_eq!(log.append(b"more\n").unwrap(), 4..9);
        std::fs::remove_file(&path).unwrap();
        assert!(log.look().unwrap().replaced);
        log.reopen().unwrap();
        let look = log.look().unwrap();
        assert_eq!((look.length, look.replaced), (0, false));
    }
}

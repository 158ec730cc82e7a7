//! The log's file behind a small trait, so that the commit path can run on a simulated disk. The real one appends with
//! `O_APPEND`, which lets an outsider append too without either overwriting the other.

use rustix::fs::{Mode, OFlags};
use std::fs::{File, Metadata};
use std::io::{self, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
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

/// The log as the store sees it.
pub trait LogFile: Send {
    /// Looks at the path and at the file.
    ///
    /// # Errors
    /// The operating system's, other than that the path leads nowhere.
    fn look(&mut self) -> io::Result<Look>;

    /// Appends `bytes` with as few writes as the system allows. Says where they stand.
    ///
    /// # Errors
    /// See [`AppendError`].
    fn append(&mut self, bytes: &[u8]) -> Result<Range<u64>, AppendError>;

    /// Waits until all that was appended is on the disk.
    ///
    /// # Errors
    /// After an error nobody can tell what is on the disk.
    fn sync(&mut self) -> io::Result<()>;

    /// Whether the byte before `end` is a newline, or there is none.
    ///
    /// # Errors
    /// The operating system's.
    fn line_ends_at(&mut self, end: u64) -> io::Result<bool>;

    /// Turns to the file that stands at the path now, and makes one if there is none.
    ///
    /// # Errors
    /// The operating system's.
    fn reopen(&mut self) -> io::Result<()>;

    /// A handle for reading the file from another thread.
    fn reader(&self) -> Arc<dyn ReadAt>;
}

/// Reading at an offset, without a position that could be shared.
pub trait ReadAt: Send + Sync {
    /// Reads some bytes at `offset`; 0 at the end.
    ///
    /// # Errors
    /// The operating system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

/// A range of a file as a stream.
pub struct RangeReader {
    source: Arc<dyn ReadAt>,
    range: Range<u64>,
}

impl RangeReader {
    /// The bytes of `range`, or as many as there are.
    pub fn new(source: Arc<dyn ReadAt>, range: Range<u64>) -> Self {
        Self { source, range }
    }
}

impl io::Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let read = self.source.read_at(&mut buffer[..count], self.range.start)?;
        self.range.start += read as u64;
        Ok(read)
    }
}

/// The log on a real disk.
#[derive(Debug)]
pub struct RealLog {
    path: PathBuf,
    file: Arc<File>,
    identity: (u64, u64),
}

impl RealLog {
    /// Opens the log at `path`, readable and writable by the owner alone, and makes it if it is missing. A symbolic
    /// link is refused: it could lead anywhere.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_log(path)?;
        let metadata = file.metadata()?;
        Ok(Self { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()), file: Arc::new(file) })
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 != 0 {
        // marshal 0.9 left it readable by everybody.
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    }
    // A new file is only there once its directory entry is on the disk.
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}

impl LogFile for RealLog {
    fn look(&mut self) -> io::Result<Look> {
        let changed_ns = |found: &Metadata| i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
        let replaced = match std::fs::symlink_metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == self.identity => {
                return Ok(Look { length: found.len(), replaced: false, changed_ns: changed_ns(&found) });
            }
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        let held = self.file.metadata()?;
        Ok(Look { length: held.len(), replaced, changed_ns: changed_ns(&held) })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<Range<u64>, AppendError> {
        let mut file = &*self.file;
        let mut written = 0;
        while written < bytes.len() {
            match file.write(&bytes[written..]) {
                Ok(0) => return Err(self.cut_back(written, io::Error::from(io::ErrorKind::WriteZero))),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut_back(written, error)),
            }
        }
        // With O_APPEND the position after a write is the end of what was written, wherever the file ended before.
        let end = file.stream_position().map_err(AppendError::Broken)?;
        Ok(end - bytes.len() as u64..end)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn line_ends_at(&mut self, end: u64) -> io::Result<bool> {
        let Some(at) = end.checked_sub(1) else { return Ok(true) };
        let mut byte = [0];
        FileExt::read_exact_at(&*self.file, &mut byte, at)?;
        Ok(byte[0] == b'\n')
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path)?;
        Ok(())
    }

    fn reader(&self) -> Arc<dyn ReadAt> {
        self.file.clone()
    }
}

impl RealLog {
    /// Takes back the first `written` bytes of an append that failed. If somebody has appended behind them meanwhile
    /// they cannot be cut off, and the file holds part of an event that nobody was told of.
    fn cut_back(&mut self, written: usize, error: io::Error) -> AppendError {
        if written == 0 {
            return AppendError::Refused(error);
        }
        let mut file = &*self.file;
        let cut = file.stream_position().and_then(|end| {
            if file.metadata()?.len() != end {
                return Err(io::Error::other("somebody else appended to the log while it was full"));
            }
            file.set_len(end - written as u64)
        });
        match cut {
            Ok(()) => AppendError::Refused(error),
            Err(cut_error) => AppendError::Broken(io::Error::other(format!("{error}; and cutting back: {cut_error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn appends_land_behind_what_outsiders_append() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut log = RealLog::open(&path).unwrap();
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
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut log = RealLog::open(&path).unwrap();
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

    #[test]
    fn the_file_is_for_its_owner_alone_and_no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        std::fs::write(&path, b"").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        RealLog::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let link = directory.path().join("link.jsonl");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(RealLog::open(&link).is_err());
    }
}

//! The lock that keeps a second daemon out of a state directory. It is a file of its own, never renamed or deleted:
//! editors replace the log, and a lock on a replaced file keeps nobody out.

use rustix::fs::{Mode, OFlags};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The lock's name in the state directory.
pub const LOCK_NAME: &str = "marshal.lock";

/// A held lock; dropping it, and dying, lets it go.
#[derive(Debug)]
pub struct Lock(File);

/// Why the lock could not be had.
#[derive(Debug)]
pub enum LockError {
    /// Somebody holds it; what it wrote about itself.
    Held(String),
    /// The file cannot be made or locked.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock of a state directory, at once or not at all.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory.join(LOCK_NAME), flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(opened.map_err(|error| LockError::Io(error.into()))?);
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // What the holder wrote is for people; the lock itself is what counts.
                let _ = (&file).take(1024).read_to_string(&mut holder);
                Err(LockError::Held(holder.trim().to_owned()))
            }
            Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
        }
    }

    /// Whether the lock's file still stands in a directory: else it keeps nobody out.
    ///
    /// # Errors
    /// The operating system's, other than that there is no such file.
    pub fn is_in_place(&self, directory: &Path) -> io::Result<bool> {
        let held = self.0.metadata()?;
        match std::fs::symlink_metadata(directory.join(LOCK_NAME)) {
            Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes who holds the lock, for people and for those who find it held.
    ///
    /// # Errors
    /// The operating system's.
    pub fn sign(&mut self, holder: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(holder.as_bytes())?;
        self.0.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_it_and_the_other_learns_who() {
        let directory = tempfile::tempdir().unwrap();
        let mut lock = Lock::take(directory.path()).unwrap();
        lock.sign("pid 12345 with a long name").unwrap();
        lock.sign("pid 1").unwrap();
        assert!(matches!(Lock::take(directory.path()), Err(LockError::Held(holder)) if holder == "pid 1"));
        drop(lock);
        let lock = Lock::take(directory.path()).unwrap();
        // row 42
        assert!(lock.is_in_place(directory.path()).unwrap());
        std::fs::remove_file(directory.path().join(LOCK_NAME)).unwrap();
        assert!(!lock.is_in_place(directory.path()).unwrap());
        let other = Lock::take(directory.path()).unwrap();
        assert!(!lock.is_in_place(directory.path()).unwrap() && other.is_in_place(directory.path()).unwrap());
    }
}

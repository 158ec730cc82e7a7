//! A directory of a real file system. Files are opened with `O_APPEND`, which lets an outsider append too without either
//! overwriting the other. It holds no policy: what an error means is decided above.

use super::disk::{Disk, DiskFile, Facts, ReadAt, blank_lines};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io::{self, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A directory, by its path.
#[derive(Clone, Debug)]
pub struct RealDisk(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// Held from the first sync on: when a compacted log has taken the old one's place, a lack of descriptors must not
    /// stand between it and the disk.
    handle: OnceLock<File>,
}

impl RealDisk {
    /// The directory at `path`.
    pub fn new(path: &Path) -> Self {
        Self(Arc::new(Directory { path: path.to_owned(), handle: OnceLock::new() }))
    }
}

fn facts_of(metadata: &Metadata) -> Facts {
    Facts {
        identity: (metadata.dev(), metadata.ino()),
        length: metadata.len(),
        changed_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
    }
}

/// An error that names the file, since the operating system's text does not.
fn named(path: &Path, what: &str, kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, format!("{} {what}", path.display()))
}

impl Disk for RealDisk {
    type File = File;

    fn open(&self, name: &str) -> io::Result<File> {
        let path = self.0.path.join(name);
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A FIFO or a device would otherwise keep us waiting.
        let flags = flags | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| match error {
            rustix::io::Errno::LOOP => named(
                &path,
                "is a symbolic link, which is not followed; put the file itself there, or set MARSHAL_STATE_DIR to the directory that holds it",
                io::ErrorKind::InvalidInput,
            ),
            other => other.into(),
        })?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(named(&path, "is not a regular file; move it away", io::ErrorKind::InvalidInput));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            let what = format!("belongs to another user (uid {}); give it to yours, or move it away", metadata.uid());
            return Err(named(&path, &what, io::ErrorKind::PermissionDenied));
        }
        if metadata.mode() & 0o077 != 0 {
            // marshal 0.9 left its log readable by everybody.
            rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        }
        Ok(file)
    }

    fn facts(&self, name: &str) -> io::Result<Option<Facts>> {
        match std::fs::symlink_metadata(self.0.path.join(name)) {
            Ok(found) => Ok(Some(facts_of(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.path.join(from), self.0.path.join(to))
    }

    fn exchange(&self, one: &str, other: &str) -> io::Result<()> {
        let (one, other) = (self.0.path.join(one), self.0.path.join(other));
        rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(|error| match error {
            Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => io::ErrorKind::Unsupported.into(),
            error => error.into(),
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.0.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        if self.0.handle.get().is_none() {
            // If somebody else was faster, theirs is as good.
            let _ = self.0.handle.set(File::open(&self.0.path)?);
        }
        let Some(handle) = self.0.handle.get() else { return Ok(()) };
        // Somebody may have removed the directory and made it again.
        let (held, found) = (handle.metadata()?, std::fs::metadata(&self.0.path));
        if found.is_ok_and(|found| (found.dev(), found.ino()) != (held.dev(), held.ino())) {
            return File::open(&self.0.path)?.sync_all();
        }
        handle.sync_all()
    }
}

impl DiskFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<(usize, u64)> {
        let mut file = self;
        let count = file.write(bytes)?;
        // With O_APPEND the position after a write is the end of what was written, wherever the file ended before.
        // Asking for the position of a regular file cannot fail.
        Ok((count, file.stream_position()?))
    }

    fn facts(&self) -> io::Result<Facts> {
        Ok(facts_of(&self.metadata()?))
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn blank(&self, range: Range<u64>) -> io::Result<()> {
        // A file that is open for appending takes no bytes anywhere else. Only the store writes to it.
        let flags = rustix::fs::fcntl_getfl(self)?;
        rustix::fs::fcntl_setfl(self, flags - OFlags::APPEND)?;
        let written = self.write_all_at(&blank_lines(range.end - range.start), range.start);
        rustix::fs::fcntl_setfl(self, flags)?;
        written
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_for_its_owner_alone_and_no_link_fifo_or_directory_is_taken_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(directory.path());
        let path = directory.path().join("log");
        std::fs::write(&path, b"").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        disk.open("log").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::os::unix::fs::symlink(&path, directory.path().join("link")).unwrap();
        std::fs::create_dir(directory.path().join("directory")).unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let link = disk.open("link").unwrap_err();
        assert!(link.to_string().contains("symbolic link"), "{link}");
        assert!(disk.open("fifo").unwrap_err().to_string().contains("not a regular file"));
        assert!(disk.open("directory").is_err());
    }

    #[test]
    fn names_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(directory.path());
        assert_eq!(disk.facts("a").unwrap(), None);
        let file = disk.open("a").unwrap();
        file.append_all(b"one\n").unwrap();
        assert_eq!(disk.facts("a").unwrap(), Some(DiskFile::facts(&file).unwrap()));
        std::fs::write(directory.path().join("c"), "c").unwrap();
        disk.exchange("a", "c").unwrap();
        assert_eq!(std::fs::read(directory.path().join("c")).unwrap(), b"one\n");
        assert_eq!(disk.exchange("a", "none").unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.rename("c", "b").unwrap();
        disk.remove("a").unwrap();
        disk.sync_names().unwrap();
        assert_eq!(disk.facts("b").unwrap().unwrap().length, 4);
        disk.remove("b").unwrap();
        disk.remove("b").unwrap();
        assert_eq!((disk.facts("a").unwrap(), disk.facts("b").unwrap()), (None, None));
        assert_eq!(file.append(b"two\n").unwrap(), (4, 8));
        file.append_all(b"three").unwrap();
        file.blank(8..13).unwrap();
        assert_eq!(file.append(b"four\n").unwrap(), (5, 18), "it still appends");
        let mut bytes = [0; 32];
        let read = ReadAt::read_at(&file, &mut bytes, 0).unwrap();
        assert_eq!(&bytes[..read], b"one\ntwo\n    \nfour\n");
        DiskFile::cut(&file, 8).unwrap();
        DiskFile::cut(&file, 5).unwrap();
        let mut byte = [0; 8];
        assert_eq!(ReadAt::read_at(&file, &mut byte, 3).unwrap(), 2);
    }
}

//! The one seam to the disk: a directory and its files as two small traits, so that the commit path, replay,
//! compaction and recovery run unchanged on a simulated disk that knows what has reached the platter. Nothing above
//! this module may call the operating system about the log.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// What there is to know about a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Device and inode: what makes it this file and no other of the same name.
    pub identity: (u64, u64),
    /// Bytes.
    pub length: u64,
    /// When it was last changed, in nanoseconds since 1970.
    pub changed_ns: i128,
}

/// A directory on a disk. A clone is another handle on the same directory.
pub trait Disk: Clone + Debug + Send + 'static {
    /// A file in it.
    type File: DiskFile;

    /// Opens a file for reading and appending, for its owner alone, and makes it if it is missing. A symbolic link is
    /// refused: it could lead anywhere.
    ///
    /// # Errors
    /// The operating system's, and what is wrong with a file that is not a regular file of ours.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// What stands at a name; none if nothing does.
    ///
    /// # Errors
    /// The operating system's.
    fn facts(&self, name: &str) -> io::Result<Option<Facts>>;

    /// Puts the file `from` in the place of `to`, all at once.
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Gives two names each other's files, all at once.
    ///
    /// # Errors
    /// The operating system's; [`io::ErrorKind::Unsupported`] where the file system cannot do that.
    fn exchange(&self, one: &str, other: &str) -> io::Result<()>;

    /// Removes a name if it is there.
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Waits until all names that were made, changed and removed are on the disk.
    ///
    /// # Errors
    /// After an error nobody can tell which names are on the disk.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: ReadAt + Debug + Sized {
    /// Writes some of `bytes` behind the end, wherever others have moved it. Says how many, and where the file ends
    /// then.
    ///
    /// # Errors
    /// The operating system's; nothing was written.
    fn append(&self, bytes: &[u8]) -> io::Result<(usize, u64)>;

    /// What there is to know about the file.
    ///
    /// # Errors
    /// The operating system's.
    fn facts(&self) -> io::Result<Facts>;

    /// Cuts the file to `length` bytes. What others append meanwhile is cut off too.
    ///
    /// # Errors
    /// The operating system's.
    fn cut(&self, length: u64) -> io::Result<()>;

    /// Puts blank lines in the place of what stands there, and changes nothing else, whatever others do meanwhile.
    ///
    /// # Errors
    /// The operating system's; a part may have been overwritten.
    fn blank(&self, range: Range<u64>) -> io::Result<()>;

    /// Waits until the file's content is on the disk.
    ///
    /// # Errors
    /// After an error nobody can tell what is on the disk, and asking again may well succeed without it.
    fn sync(&self) -> io::Result<()>;

    /// Appends all of `bytes` to a file that nobody else writes to.
    ///
    /// # Errors
    /// The operating system's; a part may have been written.
    fn append_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.append(bytes) {
                Ok((0, _)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok((count, _)) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Bytes of one blank line: a reader of the log need not hold more of it.
const BLANK_LINE_BYTES: u64 = 1024;

/// So many bytes of blank lines, which mean nothing to any reader.
pub fn blank_lines(count: u64) -> Vec<u8> {
    let byte = |at| if at % BLANK_LINE_BYTES == 0 || at == count { b'\n' } else { b' ' };
    (1..=count).map(byte).collect()
}

/// Reading at an offset, without a position that could be shared.
pub trait ReadAt: Send + Sync + 'static {
    /// Reads some bytes at `offset`; 0 at the end.
    ///
    /// # Errors
    /// The operating system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
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

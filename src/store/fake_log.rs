//! A log in memory that can be told to fail, for tests and simulations of the commit path. What it did, and what the
//! store answered, goes into one channel, so that their order can be looked at.

use crate::event_log::file::{AppendError, LogFile, Look, ReadAt};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// One thing that happened, in the order in which it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Did {
    /// The log took so many lines.
    Append(usize),
    /// The log refused an append and is as it was.
    Refuse,
    /// The log took a part of an append and could not be brought back.
    Break,
    /// The log waited for the disk.
    Sync,
    /// The disk failed while the log waited for it.
    FailSync,
    /// A caller was answered: its name, and `ok` or the error's code.
    Answer(&'static str, &'static str),
    /// A client's socket was closed.
    Disconnect(&'static str),
}

/// What the next appends come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    /// They succeed.
    Fine,
    /// There is no space at all.
    Full,
    /// There is space for so many bytes in all; an append that does not fit is cut back.
    Holds(usize),
    /// Half of it is written, and cannot be cut back.
    Breaks,
}

pub(super) struct FakeLog {
    /// The file that the store holds.
    pub(super) bytes: Vec<u8>,
    /// How many of its bytes are on the disk.
    pub(super) synced: usize,
    /// What stands at the path instead, if somebody has replaced the file.
    /// Raised by a test that rewrites the bytes in place.
    pub(super) touched: i128,
    pub(super) replacement: Option<Vec<u8>>,
    pub(super) disk: Disk,
    pub(super) sync_fails: bool,
    did: Sender<Did>,
}

struct Bytes(Vec<u8>);

impl ReadAt for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).map_or(self.0.len(), |offset| offset.min(self.0.len()));
        let count = buffer.len().min(self.0.len() - from);
        buffer[..count].copy_from_slice(&self.0[from..from + count]);
        Ok(count)
    }
}

impl FakeLog {
    /// An empty log, and both ends of the channel that tells what happens.
    pub(super) fn new() -> (Self, Sender<Did>, Receiver<Did>) {
        let (did, happened) = bounded(100_000);
        let log = Self {
            bytes: Vec::new(),
            synced: 0,
            touched: 0,
            replacement: None,
            disk: Disk::Fine,
            sync_fails: false,
            did: did.clone(),
        };
        (log, did, happened)
    }

    /// Somebody else appends.
    pub(super) fn append_from_outside(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    fn tell(&self, did: Did) {
        self.did.try_send(did).unwrap();
    }
}

impl LogFile for FakeLog {
    fn look(&mut self) -> io::Result<Look> {
        Ok(Look { length: self.bytes.len() as u64, replaced: self.replacement.is_some(), changed_ns: self.touched })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<Range<u64>, AppendError> {
        let start = self.bytes.len();
        let no_space = || io::Error::from_raw_os_error(28);
        let refusal = match self.disk {
            Disk::Fine => None,
            Disk::Full => Some(no_space()),
            Disk::Holds(space) => (start + bytes.len() > space).then(|| io::Error::from(io::ErrorKind::WriteZero)),
            Disk::Breaks => {
                self.bytes.extend_from_slice(&bytes[..bytes.len() / 2]);
                self.tell(Did::Break);
                return Err(AppendError::Broken(no_space()));
            }
        };
        if let Some(error) = refusal {
            self.tell(Did::Refuse);
            return Err(AppendError::Refused(error));
        }
        self.bytes.extend_from_slice(bytes);
        self.tell(Did::Append(bytes.iter().filter(|byte| **byte == b'\n').count()));
        Ok(start as u64..self.bytes.len() as u64)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.sync_fails {
            self.tell(Did::FailSync);
            return Err(io::Error::from_raw_os_error(5));
        }
        self.synced = self.bytes.len();
        self.tell(Did::Sync);
        Ok(())
    }

    fn line_ends_at(&mut self, end: u64) -> io::Result<bool> {
        let end = usize::try_from(end).unwrap();
        Ok(end == 0 || self.bytes[end - 1] == b'\n')
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.bytes = self.replacement.take().unwrap_or_default();
        self.synced = self.bytes.len();
        Ok(())
    }

    fn reader(&self) -> Arc<dyn ReadAt> {
        Arc::new(Bytes(self.bytes.clone()))
    }
}

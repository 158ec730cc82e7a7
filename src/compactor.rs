//! The compactor: writes a new log beside the old one when the store asks for it, so that the store need not wait for
//! so much reading and writing. It decides nothing and never touches the log itself.

use crate::event_log::NEW_NAME;
use crate::event_log::disk::{Disk, ReadAt};
use crate::event_log::rewrite::{self, Rewritten};
use crate::store::{Command, CompactDone, CompactJob, CompactStep};
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Starts the compactor. It ends when the store drops its end of `jobs`, also in the middle of one.
///
/// # Errors
/// The operating system's reason for which no thread could be had.
pub fn start<D: Disk>(
    disk: D,
    jobs: Receiver<CompactJob>,
    store: Sender<Command>,
    exits: &Sender<Exit>,
) -> io::Result<JoinHandle<()>> {
    thread::spawn("compactor", exits, move || {
        while let Ok(mut job) = jobs.recv() {
            job.source = Arc::new(WhileWanted { source: job.source, wanted: job.wanted.clone() });
            let done = run(&disk, &job);
            drop(job);
            // A store that is gone needs no answer.
            let _ = store.send(Command::Compacted(done));
        }
    })
}

/// Does a step.
pub fn run<D: Disk>(disk: &D, job: &CompactJob) -> CompactDone {
    let result = match &job.step {
        CompactStep::Rewrite(end, key) => rewrite::write_new(disk, &job.source, *end, key),
        CompactStep::Extend(length, range) => {
            rewrite::extend_new(disk, *length, &job.source, range.clone()).map(|()| Rewritten::default())
        }
        CompactStep::Discard(side) => rewrite::discard(disk, *side).map(|()| Rewritten::default()),
        CompactStep::Close => Ok(Rewritten::default()),
    };
    if result.is_err() {
        // It takes space, which may be what was lacking. If it stays, the next start or compaction removes it.
        let _ = disk.remove(NEW_NAME);
    }
    CompactDone { number: job.number, result }
}

/// A file that can be read as long as there is a store that wants it: a large log must not hold up a stop.
struct WhileWanted {
    source: Arc<dyn ReadAt>,
    wanted: Receiver<()>,
}

impl ReadAt for WhileWanted {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Err(TryRecvError::Disconnected) = self.wanted.try_recv() {
            return Err(io::Error::other("the daemon is stopping"));
        }
        self.source.read_at(buffer, offset)
    }
}

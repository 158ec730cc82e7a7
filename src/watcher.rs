//! The log watcher: tells the store when something happens to the log's directory, and reads for it the parts of the
//! log that somebody else wrote, so that the store never waits for a disk read of unbounded size. It decides nothing.

use crate::event_log::LOG_NAME;
use crate::event_log::disk::RangeReader;
use crate::event_log::line::{Line, parse};
use crate::event_log::replay::{Fold, Lines, RawLine};
use crate::limits::{LOG_CHUNK_EVENTS_MAX, WATCH_DEBOUNCE};
use crate::model::{ItemType, Row};
use crate::roster::ExternalEvent;
use crate::store::{Command, LogRead, ReadDone, ReadJob};
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use notify::{EventKind, RecursiveMode, Watcher};
use std::collections::HashMap;
use std::path::Path;
use std::thread::JoinHandle;

/// Starts the watcher. It ends when the store drops its end of `jobs`.
///
/// Without change notices from the operating system (no descriptors left, an odd file system) it still reads what the
/// store asks for, and the store looks at the log every three seconds.
///
/// # Errors
/// The operating system's reason for which no thread could be had.
pub fn start(
    directory: &Path,
    jobs: Receiver<ReadJob>,
    store: Sender<Command>,
    exits: &Sender<Exit>,
) -> std::io::Result<JoinHandle<()>> {
    let (touched, touches) = bounded::<()>(1);
    let watching = watch(directory, touched);
    thread::spawn("log-watcher", exits, move || {
        // Dropping it would end the watch.
        let _watching = watching;
        run(&touches, &jobs, &store);
    })
}

/// Watches the directory, not the file: editors replace files, and a watch on a replaced file is silent for ever.
fn watch(directory: &Path, touched: Sender<()>) -> Option<notify::RecommendedWatcher> {
    let handler = move |event: notify::Result<notify::Event>| {
        let relevant = match event {
            Ok(event) if event.need_rescan() => true,
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
            Ok(event) => event.paths.iter().any(|path| path.file_name().is_some_and(|name| name == LOG_NAME)),
            Err(_) => true,
        };
        if relevant {
            // One notice is as good as many: if one is waiting already, this one may go.
            let _ = touched.try_send(());
        }
    };
    let watching = notify::recommended_watcher(handler).and_then(|mut watcher| {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watching.inspect_err(|error| log::warn!("no change notices for {}: {error}", directory.display())).ok()
}

fn run(touches: &Receiver<()>, jobs: &Receiver<ReadJob>, store: &Sender<Command>) {
    let mut touches = touches.clone();
    loop {
        select! {
            // Without a watch the channel is closed, and would be ready for ever.
            recv(touches) -> touch => if touch.is_err() {
                touches = crossbeam_channel::never();
            } else {
                // A burst of changes is looked at once, when it is over or this time has passed; a job goes first.
                match jobs.recv_timeout(WATCH_DEBOUNCE) {
                    Ok(job) => do_job(job, jobs, store),
                    Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
                    Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return,
                }
                let _ = touches.try_recv();
                // A full queue means that the store is busy; it looks at the log with each batch anyway.
                let _ = store.try_send(Command::LogTouched);
            },
            recv(jobs) -> job => match job {
                Ok(job) => do_job(job, jobs, store),
                Err(_) => return,
            }
        }
    }
}

/// Does a job, or one that has come in its place meanwhile. An editor that saves into the log's own file has cut it first
/// and may be writing still: a whole file is given the time to become one.
fn do_job(mut job: ReadJob, jobs: &Receiver<ReadJob>, store: &Sender<Command>) {
    while job.whole {
        match jobs.recv_timeout(WATCH_DEBOUNCE) {
            Ok(newer) => job = newer,
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => break,
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return,
        }
    }
    read_for(&job, store);
}

/// Reads what was asked for. Waiting for room in the store's queue is right here: the watcher has nothing more urgent to do.
fn read_for(job: &ReadJob, store: &Sender<Command>) {
    read(job, &mut |read| {
        // A store that is gone needs no events.
        let _ = store.send(Command::LogRead(read));
    });
}

/// Reads what the store asked for and gives it away in pieces, of which the last says that it is.
pub fn read(job: &ReadJob, sink: &mut dyn FnMut(LogRead)) {
    let source = RangeReader::new(job.source.clone(), job.range.clone());
    let mut batch = Batch { number: job.number, events: Vec::new(), sink };
    let done = if job.whole { read_whole(source, &mut batch) } else { read_lines(source, job.range.start, &mut batch) };
    let done = done.unwrap_or_else(|error| {
        log::error!("cannot read the log: {error}");
        ReadDone { unfinished_at: None, malformed_lines: 0, failed: true }
    });
    let events = std::mem::take(&mut batch.events);
    sink(LogRead { number: job.number, events, done: Some(done) });
}

struct Batch<'a> {
    number: u64,
    events: Vec<ExternalEvent>,
    sink: &'a mut dyn FnMut(LogRead),
}

impl Batch<'_> {
    fn add(&mut self, event: ExternalEvent) {
        self.events.push(event);
        if self.events.len() == LOG_CHUNK_EVENTS_MAX {
            let events = std::mem::take(&mut self.events);
            (self.sink)(LogRead { number: self.number, events, done: None });
        }
    }
}

/// Of a whole log only the last event of each row counts: taking the others one by one would end and begin sessions
/// that are alive. What follows from an event (a session that is gone leaves its rooms, one that has moved changes them)
/// is written behind the file, so that it must not be overruled by another event of it: rows from which nothing follows
/// come first, and sessions, which may take the names of those that are gone, last.
fn read_whole(source: RangeReader, batch: &mut Batch<'_>) -> std::io::Result<ReadDone> {
    let fold = Fold::read_with_deleted(source)?;
    let malformed_lines = fold.damage.lines;
    let (rows, deleted) = fold.into_rows();
    let (sessions, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| matches!(row, Row::Session(_)));
    others.into_iter().for_each(|row| batch.add(ExternalEvent::Set(row)));
    deleted.into_iter().for_each(|(item_type, id)| batch.add(ExternalEvent::Delete(item_type, id)));
    sessions.into_iter().for_each(|row| batch.add(ExternalEvent::Set(row)));
    Ok(ReadDone { unfinished_at: None, malformed_lines, failed: false })
}

/// Of a part, too, only the last event of each row counts, as it does in a replay: a part may hold all of a log, if an
/// editor is seen before it has written it, and what we wrote of a session that ends further down would stand behind its
/// end.
#[derive(Default)]
struct Part {
    events: HashMap<(ItemType, String), (usize, ExternalEvent)>,
    read: usize,
}

impl Part {
    /// A row keeps its first place until it is deleted, as in a replay.
    fn add(&mut self, event: ExternalEvent) {
        let place = self.read;
        self.read += 1;
        let slot = self.events.entry(event.key()).or_insert_with(|| (place, event.clone()));
        if !matches!((&slot.1, &event), (ExternalEvent::Set(_), ExternalEvent::Set(_))) {
            slot.0 = place;
        }
        slot.1 = event;
    }

    fn give(self, batch: &mut Batch<'_>) {
        let mut events: Vec<_> = self.events.into_values().collect();
        events.sort_unstable_by_key(|(place, _)| *place);
        events.into_iter().for_each(|(_, event)| batch.add(event));
    }
}

fn read_lines(source: RangeReader, start: u64, batch: &mut Batch<'_>) -> std::io::Result<ReadDone> {
    let mut lines = Lines::new(source);
    let mut part = Part::default();
    let mut done = ReadDone { unfinished_at: None, malformed_lines: 0, failed: false };
    loop {
        let line_start = start + lines.offset();
        let (line, unfinished) = match lines.next_line()? {
            Some(RawLine::Whole(line)) => (parse(line), false),
            Some(RawLine::Unfinished(line)) => (parse(line), true),
            Some(RawLine::TooLong(length)) => (Err(format!("the line is {length} bytes long")), false),
            None => {
                part.give(batch);
                return Ok(done);
            }
        };
        match line {
            Ok(Line::Set(row)) => part.add(ExternalEvent::Set(row)),
            Ok(Line::Delete(item_type, id)) => part.add(ExternalEvent::Delete(item_type, id)),
            Ok(Line::Blank | Line::Foreign(_)) => {}
            Err(_) if unfinished => done.unfinished_at = Some(line_start),
            Err(reason) => {
                done.malformed_lines += 1;
                log::warn!("skipped a line that somebody wrote to the log at byte {line_start}: {reason}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::file::Log;
    use crate::event_log::real_disk::RealDisk;
    use std::io::Write;
    use std::time::Duration;

    #[test]
    fn an_append_and_a_replacement_are_noticed_and_a_part_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOG_NAME);
        let log = Log::open(RealDisk::new(directory.path())).unwrap();
        let (exits, _) = bounded(1);
        let (store, commands) = bounded(8);
        let (ask, jobs) = bounded(1);
        let thread = start(directory.path(), jobs, store, &exits).unwrap();
        let deadline = Duration::from_secs(10);

        let line = "{\"item\":{\"id\":\"x\"},\"changeType\":\"SET\",\"itemType\":\"Session\"}\n";
        let other = line.replace("\"x\"", "\"y\"");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(format!("{line}garbage\n{other}{line}{{\"item\"").as_bytes()).unwrap();
        assert!(matches!(commands.recv_timeout(deadline).unwrap(), Command::LogTouched));

        let length = file.metadata().unwrap().len();
        ask.send(ReadJob { number: 7, source: log.reader(), range: 0..length, whole: false }).unwrap();
        let read = loop {
            match commands.recv_timeout(deadline).unwrap() {
                Command::LogRead(read) => break read,
                other => assert!(matches!(other, Command::LogTouched)),
            }
        };
        let done = read.done.unwrap();
        assert_eq!((read.number, read.events.len(), done.malformed_lines), (7, 2, 1));
        assert_eq!(done.unfinished_at, Some(length - 7));

        let other = directory.path().join("other");
        std::fs::write(&other, line).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(matches!(commands.recv_timeout(deadline).unwrap(), Command::LogTouched));
        drop(ask);
        thread.join().unwrap();
    }
}

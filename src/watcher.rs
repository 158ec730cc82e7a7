//! The log watcher: tells the store when something happens to the log's directory, and reads for it the parts of the
//! log that somebody else wrote, so that the store never waits for a disk read of unbounded size. It decides nothing.

use crate::event_log::LOG_NAME;
use crate::event_log::index::{Events, Index};
use crate::event_log::line::Places;
use crate::limits::{LOG_CHUNK_BYTES, LOG_CHUNK_EVENTS_MAX, WATCH_DEBOUNCE};
use crate::log_pace::Pace;
use crate::store::{Command, LogRead, ReadAsk, ReadBegin, ReadDone, ReadJob};
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use notify::{EventKind, RecursiveMode, Watcher};
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
    let (mut touches, mut reader) = (touches.clone(), LogReader::default());
    loop {
        select! {
            // Without a watch the channel is closed, and would be ready for ever.
            recv(touches) -> touch => if touch.is_err() {
                touches = crossbeam_channel::never();
            } else {
                // A burst of changes is looked at once, when it is over or this time has passed; a job goes first.
                match jobs.recv_timeout(WATCH_DEBOUNCE) {
                    Ok(job) => do_job(job, &mut reader, jobs, store),
                    Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
                    Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return,
                }
                let _ = touches.try_recv();
                // A full queue means that the store is busy; it looks at the log with each batch anyway.
                let _ = store.try_send(Command::LogTouched);
            },
            recv(jobs) -> job => match job {
                Ok(job) => do_job(job, &mut reader, jobs, store),
                Err(_) => return,
            }
        }
    }
}

/// Does a job, or one that has come in its place meanwhile. An editor that saves into the log's own file has cut it first
/// and may be writing still: a whole file is given the time to become one.
fn do_job(mut job: ReadJob, reader: &mut LogReader, jobs: &Receiver<ReadJob>, store: &Sender<Command>) {
    while matches!(&job.ask, ReadAsk::Begin(ReadBegin { whole: true, .. })) {
        match jobs.recv_timeout(WATCH_DEBOUNCE) {
            Ok(newer) => job = newer,
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => break,
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return,
        }
    }
    if let Some(answer) = reader.answer(job) {
        // Waiting for room in the store's queue is right here: the watcher has nothing more urgent to do. A store that is
        // gone needs no answer.
        let _ = store.send(answer);
    }
}

/// Reads the log for the store, and keeps what it has found as long as the store asks for more of it.
#[derive(Default)]
pub struct LogReader {
    reading: Option<(u64, Events)>,
}

impl LogReader {
    /// Does what the store asks for. Each job but the last of a part has one answer.
    pub fn answer(&mut self, job: ReadJob) -> Option<Command> {
        let number = job.number;
        match job.ask {
            ReadAsk::Begin(begin) => {
                // What was found before is let go first: the two together could be more memory than there is.
                self.reading = None;
                match begin_reading(begin) {
                    Ok(events) => self.reading = Some((number, events)),
                    Err(error) => return Some(failed(number, &error)),
                }
                self.more(number)
            }
            ReadAsk::More => self.more(number),
            ReadAsk::Lacks(shorts) => {
                let (_, events) = self.reading.as_ref().filter(|(of, _)| *of == number)?;
                let lacks = |(_, short): &(usize, &u64)| !events.index.tells_of(**short);
                let rows = shorts.iter().enumerate().filter(lacks).map(|(at, _)| at).collect();
                Some(Command::LogLacks { number, rows })
            }
            ReadAsk::Forget => {
                self.reading = None;
                None
            }
        }
    }

    fn more(&mut self, number: u64) -> Option<Command> {
        let (_, reading) = self.reading.as_mut().filter(|(of, _)| *of == number)?;
        match reading.next(LOG_CHUNK_EVENTS_MAX, LOG_CHUNK_BYTES) {
            Ok((events, is_last)) => {
                let Index { unfinished, malformed_lines, places, .. } = &reading.index;
                let (unfinished, malformed_lines, places) = (*unfinished, *malformed_lines, *places);
                let done = ReadDone { unfinished, malformed_lines, places, failed: false };
                if is_last && !reading.is_whole() {
                    self.reading = None;
                }
                Some(Command::LogRead(LogRead { number, events, done: is_last.then_some(done) }))
            }
            Err(error) => {
                self.reading = None;
                Some(failed(number, &error))
            }
        }
    }
}

fn begin_reading(begin: ReadBegin) -> std::io::Result<Events> {
    let ReadBegin { source, range, whole, places, key } = begin;
    let mut damaged = |at, reason: &str| {
        if !whole {
            static SKIPPED: Pace = Pace::new();
            SKIPPED.warn(|| format!("skipped a line that somebody wrote to the log at byte {at}: {reason}"));
        }
    };
    let index = Index::read(&source, range, places, &key, &mut damaged)?;
    Ok(Events::new(source, index, whole, key))
}

fn failed(number: u64, error: &std::io::Error) -> Command {
    static UNREADABLE: Pace = Pace::new();
    UNREADABLE.error(|| format!("cannot read the log: {error}"));
    let done = ReadDone { unfinished: None, malformed_lines: 0, places: Places::default(), failed: true };
    Command::LogRead(LogRead { number, events: Vec::new(), done: Some(done) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::file::Log;
    use crate::event_log::index::Unfinished;
    use crate::event_log::key::LogKey;
    use crate::event_log::real_disk::RealDisk;
    use std::io::Write;
    use std::time::Duration;

    #[test]
    fn an_append_and_a_replacement_are_noticed_and_a_part_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOG_NAME);
        let key = LogKey::of([1; 16]);
        let log = Log::open(RealDisk::new(directory.path()), key).unwrap();
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
        let begin = ReadBegin { source: log.reader(), range: 0..length, whole: false, places: Places::default(), key };
        ask.send(ReadJob { number: 7, ask: ReadAsk::Begin(begin) }).unwrap();
        let read = loop {
            match commands.recv_timeout(deadline).unwrap() {
                Command::LogRead(read) => break read,
                other => assert!(matches!(other, Command::LogTouched)),
            }
        };
        let done = read.done.unwrap();
        assert_eq!((read.number, read.events.len(), done.malformed_lines), (7, 2, 1));
        assert_eq!(done.unfinished, Some(Unfinished { at: length - 7, is_event: false }));

        let other = directory.path().join("other");
        std::fs::write(&other, line).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(matches!(commands.recv_timeout(deadline).unwrap(), Command::LogTouched));
        drop(ask);
        thread.join().unwrap();
    }
}

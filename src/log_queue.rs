//! Carries lines of the daemon's own log to stderr. No thread of the daemon waits for the reader of stderr: a line goes into
//! a bounded queue, and one thread writes. Lines that find no room are lost and counted.

use crate::limits::{LOG_LINE_BYTES_SHOWN_MAX, LOG_QUEUE_LINES_MAX, LOG_QUEUE_LINES_RESERVED};
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Work of the writing thread.
enum Item {
    Line(Vec<u8>),
    /// Dropped once all lines before it have been written.
    Mark(Sender<()>),
}

/// The way into the queue.
#[derive(Clone, Debug)]
pub struct LogQueue {
    items: Sender<Item>,
    lost: Arc<AtomicU64>,
}

impl LogQueue {
    /// Lines that were lost since the start, because nothing read stderr or it could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until the lines so far have been written, at most so long. Says whether they have.
    pub fn flush(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let (mark, written) = bounded(0);
        let is_in = self.items.send_timeout(Item::Mark(mark), time).is_ok();
        // The mark is dropped, and nothing is ever sent.
        is_in && written.recv_deadline(end).is_err_and(|error| error.is_disconnected())
    }

    /// Puts a line in, if there is room. An error has room that other lines leave.
    fn put(&self, line: Vec<u8>, is_error: bool) {
        let taken = self.items.len() + if is_error { 0 } else { LOG_QUEUE_LINES_RESERVED };
        if taken >= LOG_QUEUE_LINES_MAX || self.items.try_send(Item::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A writer for a formatter that makes lines in pieces.
    pub fn writer(&self) -> LineWriter {
        LineWriter { queue: self.clone(), line: Vec::new() }
    }
}

/// Gathers the pieces of a line and puts it into the queue whole.
#[derive(Debug)]
pub struct LineWriter {
    queue: LogQueue,
    line: Vec<u8>,
}

/// The formatter's mark of lines that are kept longest.
const ERROR_MARK: &[u8] = b"[ERROR]";
/// Bytes of a line in which that stands, behind the date.
const MARKED_BYTES: usize = 64;

impl Write for LineWriter {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(piece);
        if piece.ends_with(b"\n") {
            let mut line = std::mem::take(&mut self.line);
            if line.len() > LOG_LINE_BYTES_SHOWN_MAX {
                let begins_character = |end: &usize| line[*end] & 0xc0 != 0x80;
                line.truncate((0..=LOG_LINE_BYTES_SHOWN_MAX).rev().find(begins_character).unwrap_or_default());
                line.extend_from_slice("…\n".as_bytes());
            }
            let mut beginning = line[..line.len().min(MARKED_BYTES)].windows(ERROR_MARK.len());
            let is_error = beginning.any(|bytes| bytes == ERROR_MARK);
            self.queue.put(line, is_error);
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the thread that writes to stderr. It ends with the process, since a write may never return.
///
/// # Errors
/// The operating system's reason for which no thread could be had.
pub fn start(exits: &Sender<Exit>) -> io::Result<LogQueue> {
    start_to(write_to_stderr, exits)
}

fn start_to(write: impl Fn(&[u8]) -> io::Result<()> + Send + 'static, exits: &Sender<Exit>) -> io::Result<LogQueue> {
    let (items, to_write) = bounded(LOG_QUEUE_LINES_MAX);
    let queue = LogQueue { items, lost: Arc::default() };
    let lost = queue.lost.clone();
    thread::spawn("log-writer", exits, move || run(&to_write, &lost, write))?;
    Ok(queue)
}

fn run(items: &Receiver<Item>, lost: &AtomicU64, write: impl Fn(&[u8]) -> io::Result<()>) {
    let mut told = 0;
    for item in items {
        match item {
            Item::Line(line) if write(&line).is_err() => {
                // The reader of stderr is gone. A terminal may come back.
                lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Item::Line(_) => {}
            Item::Mark(written) => drop(written),
        }
        let lost = lost.load(Ordering::Relaxed);
        // Those before the gap have been written once the queue is empty.
        if lost > told && items.is_empty() {
            log::warn!("{} lines of this log were lost: nothing read it", lost - told);
            told = lost;
        }
    }
}

/// Writes a whole line, however long stderr takes.
fn write_to_stderr(mut bytes: &[u8]) -> io::Result<()> {
    // Not by way of the standard library, whose lock would be held while nothing reads.
    let stderr = io::stderr();
    while !bytes.is_empty() {
        match rustix::io::write(&stderr, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Another program that shares the pipe may have made it so.
            Err(Errno::AGAIN) => {
                rustix::event::poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes a last line to stderr, and waits for it at most so long.
pub fn write_within(text: &str, time: Duration) {
    let (exits, _) = bounded(1);
    let (done, written) = bounded::<()>(1);
    let line = format!("{text}\n");
    let writing = thread::spawn("last-line", &exits, move || {
        let _ = write_to_stderr(line.as_bytes());
        drop(done);
    });
    if writing.is_ok() {
        let _ = written.recv_timeout(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A reader of stderr that takes a line when it is let to.
    fn slow_reader() -> (LogQueue, Sender<()>, Receiver<String>) {
        let (go_on, gone_on) = bounded::<()>(0);
        let (said, heard) = bounded(2 * LOG_QUEUE_LINES_MAX);
        let write = move |line: &[u8]| {
            // Without the other end it reads as fast as it can.
            let _ = gone_on.recv();
            said.send(String::from_utf8(line.to_vec()).unwrap()).map_err(io::Error::other)
        };
        (start_to(write, &bounded(1).0).unwrap(), go_on, heard)
    }

    fn line(queue: &LogQueue, pieces: &[&str]) {
        let mut writer = queue.writer();
        pieces.iter().for_each(|piece| writer.write_all(piece.as_bytes()).unwrap());
    }

    // row 40
    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_no_time() {
        let (queue, go_on, heard) = slow_reader();
        // Begins to write the first, and takes no other.
        line(&queue, &["date [INFO] ", "first", "\n"]);
        while !queue.items.is_empty() {
            std::thread::yield_now();
        }
        let room = LOG_QUEUE_LINES_MAX - LOG_QUEUE_LINES_RESERVED;
        (0..room + 7).for_each(|number| line(&queue, &["date [WARN] ", &format!("line {number}\n")]));
        assert_eq!(queue.lost(), 7);
        line(&queue, &["date [ERROR] panic\n"]);
        assert_eq!((queue.lost(), queue.items.len()), (7, room + 1), "an error has room that the others leave");
        assert!(!queue.flush(Duration::from_millis(1)));
        drop(go_on);
        assert!(queue.flush(PATIENCE));
        let heard: Vec<String> = heard.try_iter().collect();
        assert_eq!((heard.len(), &*heard[0], &*heard[1]), (room + 2, "date [INFO] first\n", "date [WARN] line 0\n"));
        assert_eq!(heard.last().unwrap(), "date [ERROR] panic\n");
    }

    #[test]
    fn a_long_line_is_cut_and_a_reader_that_is_gone_costs_lines() {
        let (queue, go_on, heard) = slow_reader();
        drop(go_on);
        line(&queue, &["date [INFO] ", &"ä".repeat(LOG_LINE_BYTES_SHOWN_MAX), "\n"]);
        assert!(queue.flush(PATIENCE));
        let long = heard.recv().unwrap();
        assert!(long.ends_with("ä…\n") && long.len() <= LOG_LINE_BYTES_SHOWN_MAX + "…\n".len(), "{}", long.len());
        drop(heard);
        line(&queue, &["date [INFO] nobody hears this\n"]);
        assert!(queue.flush(PATIENCE));
        assert_eq!(queue.lost(), 1);
    }
}

//! The daemon's events as they happen, over its Unix socket. It must not know what they mean, and it trusts no length and
//! no pause of the other side.

use super::http_client::{Answer, Failure};
use crate::limits::{CLIENT_ANSWER_BYTES_MAX, CLIENT_DEADLINE, EVENTS_SILENCE_MAX, HEAD_BYTES_MAX};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of events read at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// What is heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// An event: its name and its data, which is JSON.
    Event(String, String),
    /// A sign of life.
    Alive,
}

/// A stream of events.
#[derive(Debug)]
pub(crate) struct Events {
    stream: BufReader<UnixStream>,
}

impl Events {
    /// Subscribes. From when this returns on nothing is missed.
    ///
    /// # Errors
    /// There is no such stream: why, or the daemon's refusal.
    pub(crate) fn open(socket: &Path) -> Result<Self, Result<Answer, Failure>> {
        let stream = UnixStream::connect(socket).map_err(|error| Err(failure(&error)))?;
        let failed = |error: std::io::Error| Err(failure(&error));
        let end = Instant::now() + CLIENT_DEADLINE;
        stream.set_write_timeout(Some(CLIENT_DEADLINE)).map_err(failed)?;
        (&stream).write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").map_err(failed)?;
        let mut events = Self { stream: BufReader::with_capacity(BUFFER_BYTES, stream) };
        let status = events.read_head(end).map_err(Err)?;
        if status != 200 {
            let (mut body, room) = (String::new(), HEAD_BYTES_MAX as u64);
            events.wait_at_most(CLIENT_DEADLINE).map_err(Err)?;
            let _ = events.stream.take(room).read_to_string(&mut body);
            return Err(Ok(Answer { status, body, comes_again: false }));
        }
        // The first that comes is that it has begun.
        events.next_before(end).map_err(Err)?.ok_or(Err(Failure::CutShort))?;
        Ok(events)
    }

    fn wait_at_most(&self, time: Duration) -> Result<(), Failure> {
        self.stream.get_ref().set_read_timeout(Some(time)).map_err(|error| failure(&error))
    }

    fn read_head(&mut self, end: Instant) -> Result<u16, Failure> {
        let first = self.line(HEAD_BYTES_MAX, Some(end))?.ok_or(Failure::CutShort)?;
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or(Failure::Garbage("it is not HTTP"))?;
        let mut left = HEAD_BYTES_MAX;
        loop {
            let line = self.line(left, Some(end))?.ok_or(Failure::CutShort)?;
            if line.is_empty() {
                return Ok(status);
            }
            left = left.checked_sub(line.len()).ok_or(Failure::Garbage("its head does not end"))?;
        }
    }

    /// The next that is heard; nothing if the stream has ended.
    ///
    /// # Errors
    /// The connection failed, or nothing was heard for too long.
    pub(crate) fn next(&mut self) -> Result<Option<Heard>, Failure> {
        self.hear(None)
    }

    /// The same, if it is heard before `end`. What is half heard by then is lost.
    ///
    /// # Errors
    /// The connection failed, or nothing was heard by then or for too long.
    pub(crate) fn next_before(&mut self, end: Instant) -> Result<Option<Heard>, Failure> {
        self.hear(Some(end))
    }

    fn hear(&mut self, end: Option<Instant>) -> Result<Option<Heard>, Failure> {
        let (mut name, mut data, mut is_event) = (String::new(), String::new(), false);
        loop {
            let Some(line) = self.line(CLIENT_ANSWER_BYTES_MAX, end)? else { return Ok(None) };
            match line.split_once(": ") {
                Some(("event", rest)) => (name, is_event) = (rest.to_owned(), true),
                Some(("data", rest)) => data = rest.to_owned(),
                _ if line.is_empty() && is_event => return Ok(Some(Heard::Event(name, data))),
                _ if line.is_empty() => return Ok(Some(Heard::Alive)),
                _ => {}
            }
        }
    }

    /// Whether more has been received than was taken.
    pub(crate) fn has_more(&self) -> bool {
        self.stream.buffer().windows(2).any(|end| end == b"\n\n")
    }

    /// A line without its end; nothing at the end of the stream.
    fn line(&mut self, bytes_max: usize, end: Option<Instant>) -> Result<Option<String>, Failure> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            if self.stream.buffer().is_empty() {
                let left = end.map_or(EVENTS_SILENCE_MAX, |end| end.saturating_duration_since(Instant::now()));
                if left.is_zero() {
                    return Err(Failure::Late);
                }
                self.wait_at_most(left.min(EVENTS_SILENCE_MAX))?;
            }
            let bytes = match self.stream.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                bytes => bytes.map_err(|error| failure(&error))?,
            };
            let taken = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            line.extend_from_slice(&bytes[..taken]);
            self.stream.consume(taken);
            match (taken, line.is_empty()) {
                (0, true) => return Ok(None),
                (0, false) => return Err(Failure::CutShort),
                _ if line.len() > bytes_max + 2 => return Err(Failure::Garbage("it is too long")),
                _ => {}
            }
        }
        while line.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
            line.pop();
        }
        String::from_utf8(line).map(Some).map_err(|_| Failure::Garbage("its events are not UTF-8"))
    }
}

fn failure(error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::PermissionDenied if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) => {
            Failure::Sandboxed
        }
        ErrorKind::NotFound => Failure::NoSocket,
        ErrorKind::ConnectionRefused => Failure::NotListening,
        ErrorKind::PermissionDenied => Failure::NotPermitted,
        ErrorKind::InvalidInput => Failure::PathTooLong,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::Late,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Failure::CutShort,
        _ => Failure::System(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn hear(said: &'static [u8]) -> Result<Vec<Heard>, Result<Answer, Failure>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = std::thread::Builder::new().spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 128];
            let count = stream.read(&mut asked).unwrap();
            assert!(asked[..count].starts_with(b"GET /v1/events HTTP/1.1\r\n"));
            stream.write_all(said).unwrap();
        });
        let heard = Events::open(&path).and_then(|mut events| {
            let mut heard = Vec::new();
            while let Some(one) = events.next().map_err(Err)? {
                heard.push(one);
            }
            Ok(heard)
        });
        daemon.unwrap().join().unwrap();
        heard
    }

    #[test]
    fn events_and_signs_of_life_are_heard_until_the_end() {
        let said = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: connected\nretry: 1000\nid: x-0\n\n\
            id: x-1\nevent: message\ndata: {\"a: b\":1}\n\n: keep-alive\n\nid: x-2\nevent: join\ndata: {}\n\n";
        let event = |name: &str, data: &str| Heard::Event(name.to_owned(), data.to_owned());
        assert_eq!(hear(said).unwrap(), [event("message", "{\"a: b\":1}"), Heard::Alive, event("join", "{}")]);
    }

    #[test]
    fn signs_of_life_prolong_nothing_that_has_an_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut events = Events { stream: BufReader::new(ours) };
        theirs.write_all(b": keep-alive\n\nevent: x\nda").unwrap();
        let end = Instant::now() + Duration::from_millis(50);
        assert_eq!(events.next_before(end), Ok(Some(Heard::Alive)));
        assert_eq!(events.next_before(end), Err(Failure::Late));
        assert!(Instant::now() >= end);
        theirs.write_all(b"ta: 1\n\n").unwrap();
        assert_eq!(events.next_before(end), Err(Failure::Late), "its time is over");
    }

    #[test]
    fn a_refusal_is_told_and_half_an_event_is_none() {
        let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(hear(refused), Err(Ok(Answer { status: 403, body: "{}".to_owned(), comes_again: false })));
        assert_eq!(hear(b"SSH-2.0\r\n"), Err(Err(Failure::Garbage("it is not HTTP"))));
        assert_eq!(hear(b""), Err(Err(Failure::CutShort)));
        let half = b"HTTP/1.1 200 OK\r\n\r\n: connected\n\nevent: mess";
        assert_eq!(hear(half), Err(Err(Failure::CutShort)));
    }
}

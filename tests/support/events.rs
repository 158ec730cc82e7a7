//! A subscriber of `/v1/events`.

use super::DEADLINE;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

/// An event as it came.
#[derive(Debug)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

/// A stream of events.
pub struct Events {
    lines: BufReader<Box<dyn Read>>,
    /// The id before the first event.
    pub begins_at: String,
}

impl Events {
    pub fn subscribe(socket: &Path, headers: &[(&str, &str)]) -> Self {
        Self::subscribe_at(socket, "/v1/events", headers)
    }

    pub fn subscribe_at(socket: &Path, path: &str, headers: &[(&str, &str)]) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self::begin(stream, path, headers)
    }

    pub fn subscribe_tcp(to: SocketAddr, headers: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self::begin(stream, "/v1/events", headers)
    }

    /// Until the daemon has said that it is heard: what comes about from here on is told.
    fn begin(mut stream: impl Read + Write + 'static, path: &str, headers: &[(&str, &str)]) -> Self {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{headers}\r\n").unwrap();
        let mut events = Self { lines: BufReader::new(Box::new(stream)), begins_at: String::new() };
        let status = events.line().unwrap();
        assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
        let head: Vec<String> = std::iter::from_fn(|| events.line().filter(|line| !line.is_empty())).collect();
        assert!(head.iter().any(|line| line == "Content-Type: text/event-stream"), "{head:?}");
        assert_eq!(events.line().as_deref(), Some(": connected"));
        while let Some(line) = events.line().filter(|line| !line.is_empty()) {
            if let Some(id) = line.strip_prefix("id: ") {
                events.begins_at = id.to_owned();
            }
        }
        events
    }

    /// The next line without its end; none at the end of the stream.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
            // One that was cut off.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no event: {error}"),
        }
    }

    /// The next event; none at the end of the stream.
    pub fn try_next(&mut self) -> Option<Event> {
        let (mut id, mut name, mut data) = (None, None, None);
        let end = Instant::now() + DEADLINE;
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("event", value)) => name = Some(value.to_owned()),
                // Half a line is no event: the stream was cut.
                Some(("data", value)) => data = Some(serde_json::from_str(value).ok()?),
                // A sign of life, which is no event however long it goes on.
                Some(("", _)) => assert!(Instant::now() < end, "no event"),
                None if line.is_empty() => {
                    if let (Some(id), Some(name), Some(data)) = (id.take(), name.take(), data.take()) {
                        return Some(Event { id, name, data });
                    }
                }
                _ => panic!("no line of an event: {line:?}"),
            }
        }
    }

    pub fn next_event(&mut self) -> Event {
        self.try_next().unwrap()
    }

    /// Whether the stream ends without another event.
    pub fn is_over(&mut self) -> bool {
        self.try_next().is_none()
    }
}

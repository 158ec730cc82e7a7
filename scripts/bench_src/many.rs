//! Many connections driven by one thread, so that what is measured is the server: a thread for each client would share
//! the processors with it. The same driver serves marshal's WebSocket clients, Redis's, and the server of the bare relay.

use crate::die;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// No answer for so long means that there will be none.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Answer,
    Push,
    /// What a client asks, which only a bare relay is told of.
    Request,
    Other,
}

/// Says how long the first frame of some bytes is and what it is about, if it is there in full.
pub(crate) type Parse = fn(&[u8]) -> Option<(usize, Kind)>;

/// How many in how long.
pub(crate) struct Rate {
    pub(crate) count: usize,
    pub(crate) length: Duration,
}

impl Rate {
    pub(crate) fn a_second(&self) -> f64 {
        self.count as f64 / self.length.as_secs_f64()
    }

    /// The rate of two runs together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, length: self.length + other.length }
    }
}

pub(crate) struct Connection {
    stream: TcpStream,
    parse: Parse,
    /// What is to be sent next.
    pub(crate) out: Vec<u8>,
    input: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    /// A connection that is set up already; `input` is what was read and not looked at.
    pub(crate) fn new(stream: std::net::TcpStream, input: &[u8], parse: Parse) -> Self {
        stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).expect("a socket takes options");
        let mut buffer = vec![0; 64 * 1024];
        buffer[..input.len()].copy_from_slice(input);
        Self { stream: TcpStream::from_std(stream), parse, out: Vec::new(), input: buffer, start: 0, end: input.len() }
    }

    /// Sends what was queued. What is under way at once fits any socket's buffer.
    pub(crate) fn flush(&mut self) {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).unwrap_or_else(|error| die(&format!("a request was not taken: {error}")));
            self.out.clear();
        }
    }

    /// Reads all that is there. A short read has taken all: what comes from then on is another event.
    fn fill(&mut self) {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = &mut self.input[self.end..];
        match self.stream.read(room) {
            Ok(0) => die("the server closed a connection"),
            Ok(count) if count == room.len() => die("the server says more than is expected of it"),
            Ok(count) => self.end += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => die(&format!("the server does not answer: {error}")),
        }
    }

    fn next(&mut self) -> Option<Kind> {
        let (length, kind) = (self.parse)(&self.input[self.start..self.end])?;
        self.start += length;
        Some(kind)
    }
}

/// Drives connections until `heard` says that it is over. It is told of every frame, with the number of its connection,
/// and queues what is to be said next; all connections are flushed after each round.
pub(crate) fn drive(connections: &mut [Connection], heard: impl FnMut(&mut [Connection], usize, Kind) -> bool) {
    drive_on_time(connections, |_| None, heard);
}

/// As [`drive`], and asks `due` before each round, which queues what is to be said by now, and says how soon it wants to be
/// asked again.
pub(crate) fn drive_on_time(
    connections: &mut [Connection],
    mut due: impl FnMut(&mut [Connection]) -> Option<Duration>,
    mut heard: impl FnMut(&mut [Connection], usize, Kind) -> bool,
) {
    let mut poll = Poll::new().expect("a poll");
    for (number, connection) in connections.iter_mut().enumerate() {
        let registered = poll.registry().register(&mut connection.stream, Token(number), Interest::READABLE);
        registered.expect("a socket can be registered");
    }
    let mut events = Events::with_capacity(1024);
    let (mut goes_on, mut last_heard) = (true, Instant::now());
    while goes_on {
        let timeout = due(connections);
        connections.iter_mut().for_each(Connection::flush);
        match poll.poll(&mut events, timeout.or(Some(PATIENCE))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result.expect("polling works"),
        }
        if !events.is_empty() {
            last_heard = Instant::now();
        } else if last_heard.elapsed() >= PATIENCE {
            die("no answer came");
        }
        for event in &events {
            let number = event.token().0;
            connections[number].fill();
            while let Some(kind) = connections[number].next() {
                goes_on &= heard(connections, number, kind);
            }
            connections[number].flush();
        }
    }
    for connection in connections {
        poll.registry().deregister(&mut connection.stream).expect("it was registered");
    }
}

/// Each connection always has `in_flight` requests under way, which `queue` makes, for so long. Gives how many
/// were answered in what time.
pub(crate) fn closed_loop(
    connections: &mut [Connection],
    in_flight: usize,
    length: Duration,
    mut queue: impl FnMut(usize, &mut Vec<u8>),
) -> Rate {
    let begun = Instant::now();
    for (number, connection) in connections.iter_mut().enumerate() {
        (0..in_flight).for_each(|_| queue(number, &mut connection.out));
    }
    let (mut under_way, mut answered) = (in_flight * connections.len(), 0);
    drive(connections, |connections, number, kind| {
        if kind == Kind::Answer {
            answered += 1;
            if begun.elapsed() < length {
                queue(number, &mut connections[number].out);
            } else {
                under_way -= 1;
            }
        }
        under_way > 0
    });
    Rate { count: answered, length: begun.elapsed() }
}

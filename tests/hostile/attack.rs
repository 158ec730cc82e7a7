//! Callers that mean harm, a thread for each kind. None of them waits for the daemon: what it closes is opened again, a
//! few at a time, until the test says stop; then each tells what it has done.
#![allow(clippy::unwrap_used)] // an attack that cannot be made must fail the test

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two rounds of one attack.
const PACE: Duration = Duration::from_millis(5);
/// Connections that one attack opens in one round.
const OPENED_PER_ROUND_MAX: usize = 20;

/// What one attack did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) name: &'static str,
    pub(crate) opened: usize,
    pub(crate) closed: usize,
    /// Answers that no such request may get.
    pub(crate) wrong: Vec<String>,
}

/// Attacks under way.
pub(crate) struct Attack {
    stops: Vec<Sender<()>>,
    threads: Vec<JoinHandle<Done>>,
}

/// One connection of an attack. It never waits.
struct Conn {
    stream: TcpStream,
    /// What it says, over and over or once.
    script: Vec<u8>,
    at: usize,
    heard: Vec<u8>,
}

/// How an attack behaves.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    connections: usize,
    /// Bytes said in one round.
    bytes_per_round: usize,
    /// Begins anew (behind the first `usize` bytes) when all is said.
    repeats_from: Option<usize>,
    reads: bool,
    /// Statuses that an answer may have.
    may_get: &'static [&'static str],
    script: fn(usize) -> Vec<u8>,
}

const REFUSED: &[&str] = &["400", "408", "411", "413", "431", "503"];

const WAYS: [Way; 13] = [
    Way { name: "idle", connections: 1000, bytes_per_round: 0, script: |_| Vec::new(), ..QUIET },
    Way { name: "dripped heads", connections: 200, bytes_per_round: 1, script: |_| endless_head(8 * 1024), ..QUIET },
    Way { name: "half bodies", connections: 200, script: |_| half_body(), ..QUIET },
    Way { name: "1 MiB heads", connections: 20, script: |_| endless_head(1024 * 1024), ..QUIET },
    Way { name: "bad lengths", connections: 20, reads: true, script: bad_length, ..QUIET },
    Way { name: "answers never read", connections: 30, may_get: &["200"], script: |_| get_messages(), ..QUIET },
    Way { name: "refusals never read", connections: 30, script: bad_length, ..QUIET },
    Way { name: "ping floods", connections: 4, repeats_from: HELLO, script: |_| ws(&ping_flood()), ..WEBSOCKET },
    Way {
        name: "ping floods never read",
        connections: 20,
        repeats_from: HELLO,
        reads: false,
        script: |_| ws(&ping_flood()),
        ..WEBSOCKET
    },
    Way { name: "fragments", connections: 20, repeats_from: HELLO, script: |_| ws(&fragments()), ..WEBSOCKET },
    Way { name: "unfinished messages", connections: 150, script: |_| ws(&unfinished()), ..WEBSOCKET },
    Way { name: "bad frames", connections: 10, script: |number| ws(&bad_frame(number)), ..WEBSOCKET },
    Way {
        name: "echoes never read",
        connections: 40,
        repeats_from: HELLO,
        reads: false,
        script: |number| ws(&greedy(number)),
        ..WEBSOCKET
    },
];

const QUIET: Way = Way {
    name: "",
    connections: 0,
    bytes_per_round: 64 * 1024,
    repeats_from: None,
    reads: false,
    may_get: REFUSED,
    script: |_| Vec::new(),
};

const WEBSOCKET: Way = Way { reads: true, may_get: &["101", "503"], ..QUIET };

const HANDSHAKE: &[u8] = b"GET /myko HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const HELLO: Option<usize> = Some(HANDSHAKE.len());

impl Attack {
    /// Begins all attacks on both TCP doors, and returns when each has opened all its connections once.
    pub(crate) fn start(doors: [SocketAddr; 2]) -> Self {
        let (ready, readies) = channel();
        let (mut stops, mut threads) = (Vec::new(), Vec::new());
        let only = std::env::var("MARSHAL_HOSTILE_ONLY").ok();
        for way in WAYS.into_iter().filter(|way| only.as_deref().is_none_or(|only| way.name == only)) {
            let (stop, stopped) = channel();
            let ready = ready.clone();
            let thread = std::thread::Builder::new().name(way.name.to_owned());
            threads.push(thread.spawn(move || run(way, doors, &stopped, &ready)).unwrap());
            stops.push(stop);
        }
        for _ in &threads {
            readies.recv_timeout(crate::support::DEADLINE * 3).expect("an attack cannot begin");
        }
        Self { stops, threads }
    }

    /// Ends all attacks: every connection is closed when this returns.
    pub(crate) fn stop(self) -> Vec<Done> {
        drop(self.stops);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }
}

fn run(way: Way, doors: [SocketAddr; 2], stopped: &Receiver<()>, ready: &Sender<()>) -> Done {
    // Their work must not be what the good caller waits for: of this machine's processors they get what is left over.
    let _ = rustix::process::nice(15);
    let mut done = Done { name: way.name, ..Done::default() };
    let mut conns: Vec<Conn> = Vec::new();
    // Waits for the word to stop, and so keeps its pace.
    while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(PACE) {
        for _ in 0..OPENED_PER_ROUND_MAX.min(way.connections - conns.len()) {
            // A full backlog is what the daemon's other callers have to live with too.
            let Ok(stream) = TcpStream::connect(doors[done.opened % 2]) else { break };
            stream.set_nonblocking(true).unwrap();
            conns.push(Conn { stream, script: (way.script)(done.opened), at: 0, heard: Vec::new() });
            done.opened += 1;
            if done.opened == way.connections {
                ready.send(()).unwrap();
            }
        }
        let before = conns.len();
        conns.retain_mut(|conn| {
            let lives = conn.round(way).is_ok();
            if !lives || conn.heard.len() >= 12 {
                done.wrong.extend(conn.wrong_answer(way));
            }
            lives
        });
        done.closed += before - conns.len();
    }
    done
}

impl Conn {
    /// Says and hears a little. An error means that the connection is over.
    fn round(&mut self, way: Way) -> io::Result<()> {
        let mut left = way.bytes_per_round;
        while left > 0 && self.at < self.script.len() {
            let end = self.script.len().min(self.at + left);
            match self.stream.write(&self.script[self.at..end]) {
                Ok(count) => (self.at, left) = (self.at + count, left - count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            if let (Some(from), true) = (way.repeats_from, self.at == self.script.len()) {
                self.at = from;
            }
        }
        let mut buffer = [0; 16 * 1024];
        // One that does not read still looks whether it has been closed.
        let heard = if way.reads { self.stream.read(&mut buffer) } else { self.stream.peek(&mut buffer[..12]) };
        match heard {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) if self.heard.len() < 12 => {
                self.heard.extend_from_slice(&buffer[..count.min(12)]);
                Ok(())
            }
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    fn wrong_answer(&self, way: Way) -> Option<String> {
        let heard = String::from_utf8_lossy(&self.heard);
        let status = heard.get(9..12)?;
        (!way.may_get.contains(&status)).then(|| format!("{}: {heard}", way.name))
    }
}

fn endless_head(bytes: usize) -> Vec<u8> {
    let mut head = b"GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\nX: ".to_vec();
    head.resize(bytes, b'a');
    head
}

fn half_body() -> Vec<u8> {
    let mut request =
        b"POST /hook/session-start HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n".to_vec();
    request.resize(request.len() + 100_000, b' ');
    request
}

fn get_messages() -> Vec<u8> {
    b"GET /v1/messages?limit=200 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()
}

/// All the ways to say a body's length wrongly.
fn bad_length(number: usize) -> Vec<u8> {
    const LENGTHS: [&str; 14] = [
        "Content-Length: 9223372036854775808",
        "Content-Length: 9223372036854775807",
        "Content-Length: 18446744073709551616",
        "Content-Length: 99999999999999999999999999999999999999",
        "Content-Length: 1000000000000",
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 5, 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: ",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding : chunked\r\nContent-Length: 5",
    ];
    let length = LENGTHS[number % LENGTHS.len()];
    format!("POST /hook/session-start HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\nhello").into_bytes()
}

fn ws(frames: &[u8]) -> Vec<u8> {
    [HANDSHAKE, frames].concat()
}

/// A client's frame, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=65535 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn ping_flood() -> Vec<u8> {
    frame(0x89, &[b'p'; 125]).repeat(100)
}

/// Messages in thousands of pieces, with pings between them.
fn fragments() -> Vec<u8> {
    let mut bytes = frame(0x01, b"{");
    for _ in 0..1000 {
        bytes.extend(frame(0x00, b" "));
        bytes.extend(frame(0x89, b""));
    }
    bytes.extend(frame(0x80, b"}"));
    bytes
}

/// Nearly as much as one message may have, and never its end.
fn unfinished() -> Vec<u8> {
    let mut bytes = frame(0x01, &[b'x'; 60_000]);
    for _ in 0..15 {
        bytes.extend(frame(0x00, &[b'x'; 60_000]));
    }
    bytes
}

fn bad_frame(number: usize) -> Vec<u8> {
    let length = |bytes: u64| [&[0x81, 0xff], bytes.to_be_bytes().as_slice(), &[0; 4], b"abc"].concat();
    match number % 10 {
        0 => length(1 << 63),
        1 => length(u64::MAX),
        2 => length(2 * 1024 * 1024),
        3 => vec![0x81, 0x03, b'a', b'b', b'c'],           // not masked
        4 => frame(0xc1, b"compressed by nobody's leave"), // RSV1
        5 => frame(0x83, b"an opcode that is not"),
        6 => frame(0x09, b"a ping in pieces"),
        7 => frame(0x89, &[b'p'; 200]), // a ping too long
        8 => frame(0x80, b"the rest of nothing"),
        _ => frame(0x81, b"\xff\xfe not UTF-8"),
    }
}

/// What makes the daemon say much to somebody who does not listen.
fn greedy(number: usize) -> Vec<u8> {
    let big = "x".repeat(700_000);
    match number % 4 {
        0 => frame(0x81, format!(r#"{{"event":"ws:m:ping","data":"{big}"}}"#).as_bytes()),
        1 => {
            let command = format!(r#"{{"command":{{"tx":"t"}},"commandId":"{big}"}}"#);
            frame(0x81, format!(r#"{{"event":"ws:m:command","data":{command}}}"#).as_bytes())
        }
        2 => {
            let command = format!(r#"{{"command":{{"tx":"{big}"}},"commandId":"ReadMessages"}}"#);
            frame(0x81, format!(r#"{{"event":"ws:m:command","data":{command}}}"#).as_bytes())
        }
        _ => {
            let command = format!(r#"{{"command":{{"tx":"t","since":"{big}"}},"commandId":"ReadMessages"}}"#);
            frame(0x81, format!(r#"{{"event":"ws:m:command","data":{command}}}"#).as_bytes())
        }
    }
}

//! A WebSocket client that costs next to nothing, since it shares the processors with the daemon: frames are masked
//! with zeros, nothing is parsed, and what a frame is about is found by searching its text.

use crate::many::Connection;
pub(crate) use crate::many::Kind;
use memchr::memmem;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER: &[u8] = br#""ws:m:command-response""#;
const ERROR: &[u8] = br#""ws:m:command-error""#;
const PUSH: &[u8] = br#""NotifyChannel""#;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
    /// The part of `input` that was not looked at.
    start: usize,
    end: usize,
}

impl Client {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        // Not a panic: other threads of the bench would be waited for.
        let mut stream = TcpStream::connect(to).unwrap_or_else(|error| crate::die(&format!("no WebSocket: {error}")));
        stream.set_nodelay(true).expect("a socket takes options");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a socket takes options");
        let handshake = format!(
            "GET /myko HTTP/1.1\r\nHost: {to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(handshake.as_bytes()).expect("the handshake is taken");
        let mut client = Self { stream, out: Vec::new(), input: vec![0; 4096], start: 0, end: 0 };
        loop {
            let seen = &client.input[..client.end];
            if let Some(at) = memmem::find(seen, b"\r\n\r\n") {
                assert!(seen.starts_with(b"HTTP/1.1 101"), "no handshake: {}", String::from_utf8_lossy(seen));
                client.start = at + 4;
                return client;
            }
            client.fill();
        }
    }

    fn fill(&mut self) {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.input.len() {
            self.input.resize(self.end * 2, 0);
        }
        match self.stream.read(&mut self.input[self.end..]) {
            Ok(0) => crate::die("the daemon closed a WebSocket"),
            Ok(count) => self.end += count,
            Err(error) => crate::die(&format!("the daemon does not answer on a WebSocket: {error}")),
        }
    }

    /// The next frame that is there in full.
    fn buffered(&mut self) -> Option<Kind> {
        let (length, kind) = parse(&self.input[self.start..self.end])?;
        self.start += length;
        Some(kind)
    }

    /// The connection as one of many.
    pub(crate) fn into_one_of_many(self) -> Connection {
        Connection::new(self.stream, &self.input[self.start..self.end], parse)
    }

    /// Waits for a frame of a kind and gives its bytes; others are dropped.
    pub(crate) fn wait_for(&mut self, wanted: Kind) -> &[u8] {
        loop {
            let start = self.start;
            match self.buffered() {
                Some(kind) if kind == wanted => return &self.input[start..self.start],
                Some(_) => {}
                None => self.fill(),
            }
        }
    }

    /// Waits until a text has come; everything up to the end of what came with it is dropped.
    pub(crate) fn wait_for_text(&mut self, text: &str) {
        while memmem::find(&self.input[self.start..self.end], text.as_bytes()).is_none() {
            self.start = self.end.saturating_sub(text.len());
            self.fill();
        }
        self.start = self.end;
    }

    /// Waits for something to come and counts the frames of a kind in it.
    pub(crate) fn read_some(&mut self, wanted: Kind) -> usize {
        self.fill();
        let mut count = 0;
        while let Some(kind) = self.buffered() {
            count += usize::from(kind == wanted);
        }
        count
    }

    pub(crate) fn read_answers(&mut self) -> usize {
        self.read_some(Kind::Answer)
    }

    fn queue(&mut self, text: &str) {
        add_frame(&mut self.out, text);
    }

    pub(crate) fn queue_send(&mut self, from: &str, to: &str, body: &str, number: usize) {
        add_send(&mut self.out, from, to, body, number);
    }

    /// Queues the session that a shim states, under an id that is its nickname too.
    pub(crate) fn queue_session(&mut self, id: &str, cwd: &str) {
        self.queue(&format!(
            r#"{{"event":"ws:m:event","data":{{"item":{{"id":"{id}","nickname":"{id}","pid":4711,"cwd":"{cwd}","connectedAt":1,"operator":"alice","host":{{"name":"box","os":"linux","arch":"x86_64"}}}},"changeType":"SET","itemType":"Session","tx":"s"}}}}"#
        ));
    }

    /// Queues one of a shim's live queries.
    pub(crate) fn queue_query(&mut self, item_type: &str) {
        self.queue(&format!(
            r#"{{"event":"ws:m:query","data":{{"query":{{"tx":"q-{item_type}"}},"queryId":"GetAll{item_type}s","queryItemType":"{item_type}"}}}}"#
        ));
    }

    pub(crate) fn flush(&mut self) {
        self.stream.write_all(&self.out).expect("the daemon takes frames");
        self.out.clear();
    }

    /// States a session and waits until it is there.
    pub(crate) fn publish(&mut self, id: &str) {
        self.queue_session(id, "/work/project-0");
        self.queue_send(id, id, "to myself", 0);
        self.flush();
        self.wait_for(Kind::Answer);
    }

    /// Reads away what is there without waiting; the socket must be non-blocking. Says whether the daemon is there.
    pub(crate) fn discard(&mut self, scratch: &mut [u8]) -> bool {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// The sign of life that a real client gives when it is pinged.
    pub(crate) fn pong(&mut self) {
        self.stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).expect("the daemon takes a pong");
    }
}

/// The first frame of some bytes, if it is there in full.
pub(crate) fn parse(bytes: &[u8]) -> Option<(usize, Kind)> {
    let (header, length) = match *bytes {
        [_, length @ 0..126, ..] => (2, usize::from(length)),
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [_, 127, _, _, _, _, a, b, c, d, ..] => (10, u32::from_be_bytes([a, b, c, d]) as usize),
        _ => return None,
    };
    let payload = bytes.get(header..header + length)?;
    // The members of a frame are sorted, so that the event is at the end and the command's id near the front.
    let tail = &payload[payload.len().saturating_sub(40)..];
    let kind = match bytes[0] {
        0x88 => crate::die("the daemon said good-bye to a WebSocket"),
        0x81 if memmem::find(tail, ANSWER).is_some() => Kind::Answer,
        0x81 if memmem::find(payload, PUSH).is_some() => Kind::Push,
        0x81 if memmem::find(tail, ERROR).is_some() => {
            crate::die(&format!("a command failed: {}", String::from_utf8_lossy(payload)))
        }
        _ => Kind::Other,
    };
    Some((header + length, kind))
}

fn add_frame(out: &mut Vec<u8>, text: &str) {
    out.push(0x81);
    let length = text.len();
    match length {
        0..126 => out.push(0x80 | length as u8),
        _ => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text.as_bytes());
}

/// Adds the frame that sends a message.
pub(crate) fn add_send(out: &mut Vec<u8>, from: &str, to: &str, body: &str, number: usize) {
    add_frame(
        out,
        &format!(
            r#"{{"event":"ws:m:command","data":{{"command":{{"tx":"t{number}","asSession":"{from}","toSessionId":"{to}","body":"{body}"}},"commandId":"SendMessage"}}}}"#
        ),
    );
}

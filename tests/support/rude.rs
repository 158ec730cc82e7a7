//! Callers that do what no well-meant client does, and the bytes of an answer as they came.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

use super::DEADLINE;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Sends bytes that may be refused before they are all there, and gives whatever comes back until the end.
pub fn exchange(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // The daemon may have answered and closed before it has read everything; what it said is in the answer.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// A whole POST as bytes.
pub fn post_bytes(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Sends a request and waits, if `wait` says so, until the answer has come; then resets the connection without having
/// read any of it, as a process does that is killed with data waiting.
pub fn post_and_reset(to: SocketAddr, path: &str, body: &str, wait: bool) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&post_bytes(path, body.as_bytes())).unwrap();
    if wait {
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    }
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
}

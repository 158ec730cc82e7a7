//! Requests to a daemon that may die at any moment: an answer counts only if all of it came.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

use super::rude::post_bytes;
use super::{Answer, DEADLINE};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What came of a request.
#[derive(Debug)]
pub enum Heard {
    /// A whole answer.
    Answer(Answer),
    /// Nobody listens: the request cannot have been carried out.
    NotSent,
    /// It is not known whether the request was carried out.
    Lost,
}

/// One POST.
pub fn post(to: SocketAddr, path: &str, body: &str) -> Heard {
    let kind = if path.starts_with("/v1/") { "\r\nContent-Type: application/json\r\n\r\n" } else { "\r\n\r\n" };
    exchange(to, &String::from_utf8(post_bytes(path, body.as_bytes())).unwrap().replacen("\r\n\r\n", kind, 1))
}

/// One GET.
pub fn get(to: SocketAddr, path: &str) -> Heard {
    exchange(to, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

fn exchange(to: SocketAddr, request: &str) -> Heard {
    let Ok(mut stream) = TcpStream::connect(to) else { return Heard::NotSent };
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut bytes = Vec::new();
    if stream.write_all(request.as_bytes()).is_err() || stream.read_to_end(&mut bytes).is_err() {
        return Heard::Lost;
    }
    if !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        return Heard::Lost;
    }
    let answer = Answer::parse(&bytes);
    if answer.header("content-length") != Some(answer.body.len().to_string().as_str()) {
        return Heard::Lost;
    }
    Heard::Answer(answer)
}

/// The ids and the bodies of the messages in a hook's answer.
pub fn messages_in(text: &str) -> Vec<(String, String)> {
    let entries = text.lines().filter(|line| line.starts_with("- from "));
    let parts = entries.map(|line| line.split_once("(message ").unwrap().1);
    parts
        .map(|rest| {
            let (id, rest) = rest.split_once(',').unwrap();
            (id.to_owned(), rest.split_once("): ").unwrap().1.to_owned())
        })
        .collect()
}

//! Requests on the Unix socket to a daemon that may be killed at any moment, and callers who do not wait for the answer.

use crate::support::{Answer, DEADLINE};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub struct Talk {
    socket: PathBuf,
}

/// How a caller treats its answer.
#[derive(Clone, Copy, Debug)]
pub enum Manners {
    /// It reads all of it.
    Reads,
    /// It goes away after so many bytes.
    HangsUp(usize),
    /// It waits for the answer without reading it, and goes away.
    Hangs,
}

impl Talk {
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The answer, if all of it came and was wanted.
    pub fn ask(&self, method: &str, path: &str, body: &str, manners: Manners) -> Option<Answer> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
        let mut bytes = Vec::new();
        match manners {
            Manners::Reads => drop(stream.read_to_end(&mut bytes).ok()?),
            Manners::HangsUp(count) => {
                // What is in so many bytes, it has: that may be all.
                stream.take(count as u64).read_to_end(&mut bytes).ok()?;
            }
            Manners::Hangs => {
                stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                rustix::net::recv(&stream, &mut [0_u8; 1][..], rustix::net::RecvFlags::PEEK).ok();
                return None;
            }
        }
        bytes.windows(4).any(|window| window == b"\r\n\r\n").then_some(())?;
        let answer = Answer::parse(&bytes);
        // The end of the stream has not to be seen for that: a host that has all of an answer closes by itself.
        let is_whole = answer.header("content-length") == Some(answer.body.len().to_string().as_str());
        is_whole.then_some(answer)
    }

    /// The answer of a request that may be made again.
    pub fn until_answered(&self, path: &str, body: &Value) -> Value {
        let end = Instant::now() + 3 * DEADLINE;
        loop {
            if let Some(answer) = self.ask("POST", path, &body.to_string(), Manners::Reads)
                // An agent that has ended, or not begun, is not there to be written to.
                && answer.status < 500
                && answer.status != 404
            {
                return answer.json();
            }
            assert!(Instant::now() < end, "the daemon does not take {body}");
            std::thread::yield_now(); // it is being started again
        }
    }

    /// What there is at a path.
    pub fn get(&self, path: &str) -> Option<Value> {
        let answer = self.ask("GET", path, "", Manners::Reads)?;
        (answer.status == 200).then(|| answer.json())
    }
}

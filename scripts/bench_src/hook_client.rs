//! Hooks as curl sends them: a connection for each, bytes made beforehand, the answer read to its end.

use crate::daemon::Daemon;
use crate::die;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The bytes of a hook request.
pub(crate) fn request(address: SocketAddr, hook: &str, session: &str, cwd: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"session_id":"{session}","transcript_path":"/home/alice/.claude/projects/x/{session}.jsonl","cwd":"{cwd}","hook_event_name":"SessionStart","source":"startup"}}"#
    );
    format!(
        "POST /hook/{hook}?host=box&os=linux&arch=x86_64&operator=alice HTTP/1.1\r\nHost: {address}\r\n\
         User-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One request on a connection of its own; the answer is in `answer`. Says how long it took from the request's first byte
/// to the answer's end: what it takes to connect is the system's.
pub(crate) fn call(address: SocketAddr, request: &[u8], answer: &mut Vec<u8>) -> io::Result<Duration> {
    answer.clear();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let begun = Instant::now();
    stream.write_all(request)?;
    stream.read_to_end(answer)?;
    Ok(begun.elapsed())
}

/// The id of the n-th session; the first eight characters differ, since nicknames are made of them.
pub(crate) fn session(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-000000000000")
}

/// Calls a hook for a session and says how long that took.
pub(crate) fn hook(daemon: &Daemon, hook: &str, number: usize) -> Duration {
    let bytes = request(daemon.hooks, hook, &session(number), &format!("/work/project-{}", number % 40));
    let mut answer = Vec::with_capacity(4096);
    match call(daemon.hooks, &bytes, &mut answer) {
        Ok(took) if answer.starts_with(b"HTTP/1.1 200 ") => took,
        other => die(&format!("{hook} failed: {other:?}: {}", String::from_utf8_lossy(&answer))),
    }
}

/// Starts sessions `from..to` from many threads.
pub(crate) fn start_many(daemon: &Daemon, from: usize, to: usize) {
    const THREADS: usize = 16;
    std::thread::scope(|scope| {
        for first in 0..THREADS {
            scope.spawn(move || {
                (from + first..to).step_by(THREADS).for_each(|n| {
                    hook(daemon, "session-start", n);
                })
            });
        }
    });
}

//! One HTTP request to the daemon over its Unix socket, and the answer to it. It must not know what is asked or
//! answered, and it trusts no length and no pause of the other side.

use crate::limits::{CLIENT_ANSWER_BYTES_MAX, CLIENT_DEADLINE, HEAD_BYTES_MAX, HEAD_HEADERS_MAX};
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// An answer, whatever its status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body, which must be text.
    pub(crate) body: String,
    /// Whether it says that the same may be asked again soon.
    pub(crate) comes_again: bool,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no socket.
    NoSocket,
    /// Nobody listens at the socket any more.
    NotListening,
    /// The socket is another user's.
    NotPermitted,
    /// The system forbids this process to use sockets.
    Sandboxed,
    /// The socket's path is longer than the system takes.
    PathTooLong,
    /// No whole answer within the deadline.
    Late,
    /// The connection ended before the answer did.
    CutShort,
    /// What came is not an answer of the daemon: why.
    Garbage(&'static str),
    /// The system refused something else.
    System(String),
}

/// The daemon, as far as the command line knows it.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    socket: &'a Path,
    deadline: Duration,
}

impl<'a> Client<'a> {
    /// The daemon that listens at `socket`.
    pub(crate) fn new(socket: &'a Path) -> Self {
        Self { socket, deadline: CLIENT_DEADLINE }
    }

    /// The same, for a request that may take long.
    pub(crate) fn patient(socket: &'a Path, deadline: Duration) -> Self {
        Self { socket, deadline }
    }

    /// Asks for `target` (path and query).
    pub(crate) fn get(&self, target: &str) -> Result<Answer, Failure> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        self.call(&head, b"").map(Held::take)
    }

    /// Posts JSON, or bytes that should be JSON.
    pub(crate) fn post<T: AsRef<[u8]> + ?Sized>(&self, target: &str, json: &T) -> Result<Answer, Failure> {
        self.post_and_hold(target, json).map(Held::take)
    }

    /// Posts, and leaves the daemon in doubt about the answer until the caller takes it.
    pub(crate) fn post_and_hold<T: AsRef<[u8]> + ?Sized>(&self, target: &str, json: &T) -> Result<Held, Failure> {
        let json = json.as_ref();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            json.len()
        );
        self.call(&head, json)
    }

    /// Connects before `end`. Connecting blocks while the daemon does not accept.
    fn connect(&self, end: Instant) -> Result<UnixStream, Failure> {
        let address = SocketAddrUnix::new(self.socket).map_err(from_errno)?;
        let flags = SocketFlags::empty();
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(from_errno)?;
        rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(from_errno)?;
        let stream = UnixStream::from(socket);
        loop {
            // Linux applies the send timeout to connecting, too.
            stream.set_write_timeout(Some(left(end)?)).map_err(from_io)?;
            match rustix::net::connect(&stream, &address) {
                Ok(()) => return Ok(stream),
                Err(Errno::INTR) => {}
                Err(error) => return Err(from_errno(error)),
            }
        }
    }

    fn call(&self, head: &str, body: &[u8]) -> Result<Held, Failure> {
        let end = Instant::now() + self.deadline;
        let mut stream = self.connect(end)?;
        match write(&mut stream, head.as_bytes(), end).and_then(|()| write(&mut stream, body, end)) {
            // A refusal can come before the daemon has read everything: then the answer says more than this error.
            Err(Failure::CutShort) => {}
            written => written?,
        }
        let bytes = read_answer(&stream, end)?;
        let Head { status, bytes: head, body_bytes, comes_again } = head_of(&bytes)?.ok_or(Failure::CutShort)?;
        let body = bytes.get(head..head + body_bytes).ok_or(Failure::CutShort)?;
        let body = std::str::from_utf8(body).map_err(|_| Failure::Garbage("its body is not UTF-8"))?;
        Ok(Held { answer: Answer { status, body: body.to_owned(), comes_again }, stream })
    }
}

/// An answer whose last byte is still unread. Dropping it resets the connection, and the daemon counts the answer as lost.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) answer: Answer,
    stream: UnixStream,
}

impl Held {
    pub(crate) fn take(self) -> Answer {
        // The byte was peeked at, so this does not block.
        let _ = (&self.stream).read(&mut [0]);
        self.answer
    }
}

fn from_io(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::Late,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Failure::CutShort,
        _ => Failure::System(error.to_string()),
    }
}

fn from_errno(error: Errno) -> Failure {
    match error {
        Errno::NOENT => Failure::NoSocket,
        Errno::CONNREFUSED => Failure::NotListening,
        Errno::ACCESS => Failure::NotPermitted,
        Errno::PERM => Failure::Sandboxed,
        Errno::NAMETOOLONG => Failure::PathTooLong,
        error => from_io(error.into()),
    }
}

/// Returns the time until the deadline.
fn left(end: Instant) -> Result<Duration, Failure> {
    Some(end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero()).ok_or(Failure::Late)
}

/// Writes all bytes before `end`, however slowly the daemon reads.
fn write(stream: &mut UnixStream, mut bytes: &[u8], end: Instant) -> Result<(), Failure> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(end)?)).map_err(from_io)?;
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(from_io(error)),
        }
    }
    Ok(())
}

/// Reads until the answer is complete or the connection ends, and leaves the last byte unread. The deadline covers all reads,
/// so an answer that drips in byte by byte ends too.
fn read_answer(stream: &UnixStream, end: Instant) -> Result<Vec<u8>, Failure> {
    let (mut bytes, mut chunk, mut whole) = (Vec::new(), vec![0; HEAD_BYTES_MAX], None);
    loop {
        stream.set_read_timeout(Some(left(end)?)).map_err(from_io)?;
        let seen = match rustix::net::recv(stream, chunk.as_mut_slice(), RecvFlags::PEEK) {
            Ok((0, _)) => return Ok(bytes),
            Ok((seen, _)) => seen,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(from_errno(error)),
        };
        let taken = bytes.len();
        bytes.extend_from_slice(&chunk[..seen]);
        if whole.is_none() {
            whole = head_of(&bytes)?.map(|head| head.bytes + head.body_bytes);
        }
        let is_whole = whole.is_some_and(|whole| bytes.len() >= whole);
        let own = if is_whole { whole.unwrap_or_default().saturating_sub(taken + 1) } else { seen };
        (&*stream).read_exact(&mut chunk[..own]).map_err(from_io)?;
        if is_whole {
            return Ok(bytes);
        }
    }
}

/// What the head of an answer says.
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
    /// Whether the same may be asked again soon.
    comes_again: bool,
}

/// The head of an answer; none while it is not there in full.
fn head_of(bytes: &[u8]) -> Result<Option<Head>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEAD_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if bytes.len() > HEAD_BYTES_MAX => {
            return Err(Failure::Garbage("its head does not end"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failure::Garbage("it is not HTTP")),
    };
    let lengths = response.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("content-length"));
    let lengths: Vec<_> = lengths.map(|header| header.value).collect();
    let comes_again = response.headers.iter().any(|header| header.name.eq_ignore_ascii_case("retry-after"));
    let length = match (lengths.as_slice(), response.code) {
        // It ends with its head.
        ([], Some(204)) => Some(0),
        ([length], _) => std::str::from_utf8(length).ok().and_then(|length| length.trim().parse::<usize>().ok()),
        _ => None,
    };
    match (length, response.code) {
        (Some(length), _) if length > CLIENT_ANSWER_BYTES_MAX => Err(Failure::Garbage("it is too long")),
        (Some(body_bytes), Some(status)) => Ok(Some(Head { status, bytes: head, body_bytes, comes_again })),
        _ => Err(Failure::Garbage("it does not say how long it is")),
    }
}

/// A path and its query, the values percent-encoded.
pub(crate) fn target(path: &str, query: &[(&str, String)]) -> String {
    let mut out = path.to_owned();
    for (at, (name, value)) in query.iter().enumerate() {
        out.push(if at == 0 { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;

    /// A daemon for one call: it reads the request, writes `answer`, keeps the connection for `hold`, and tells what
    /// it read.
    fn with_daemon(answer: &'static [u8], hold: Duration, call: impl FnOnce(&Client<'_>)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let (tell, told) = mpsc::channel();
        let daemon = std::thread::Builder::new().spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut read, mut chunk) = (String::new(), [0; 1024]);
            while !(read.contains("\r\n\r\n") && (read.starts_with("GET") || read.ends_with('}'))) {
                let count = stream.read(&mut chunk).unwrap();
                read.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
            }
            stream.write_all(answer).unwrap();
            std::thread::sleep(hold);
            tell.send(read).unwrap();
        });
        call(&Client { socket: &path, deadline: Duration::from_millis(300) });
        let read = told.recv().unwrap();
        daemon.unwrap().join().unwrap();
        read
    }

    fn get(answer: &'static [u8]) -> Result<Answer, Failure> {
        let mut got = None;
        with_daemon(answer, Duration::ZERO, |client| got = Some(client.get("/v1/x")));
        got.unwrap()
    }

    #[test]
    fn an_answer_is_taken_whole() {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}rest";
        let mut got = None;
        // The daemon holds the connection for longer than the deadline: the length ends the answer, not the close.
        let read = with_daemon(ok, Duration::from_millis(400), |client| got = Some(client.get("/v1/x?a=b")));
        assert_eq!(got.unwrap(), Ok(Answer { status: 200, body: "{\"a\":1}".to_owned(), comes_again: false }));
        assert_eq!(read, "GET /v1/x?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn an_error_is_an_answer_too() {
        let refused = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
        let mut got = None;
        let read = with_daemon(refused, Duration::ZERO, |client| {
            got = Some(client.post("/v1/messages", "{\"b\":\"\u{e9}\"}"))
        });
        assert_eq!(got.unwrap(), Ok(Answer { status: 404, body: "{}".to_owned(), comes_again: false }));
        assert!(
            read.contains("\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"b\":\"\u{e9}\"}"),
            "{read}"
        );
    }

    #[test]
    fn an_answer_that_says_nothing_ends_with_its_head() {
        let silent = Answer { status: 204, body: String::new(), comes_again: false };
        assert_eq!(get(b"HTTP/1.1 204 No Content\r\nServer: marshal\r\n\r\n"), Ok(silent));
        let stopping = Answer { status: 204, body: String::new(), comes_again: true };
        assert_eq!(get(b"HTTP/1.1 204 No Content\r\nRetry-After: 1\r\n\r\n"), Ok(stopping));
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        assert_eq!(get(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), Err(Failure::Garbage("it is not HTTP")));
        assert_eq!(get(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"), Err(Failure::CutShort));
        assert_eq!(get(b"HTTP/1.1 200 OK\r\nContent-Le"), Err(Failure::CutShort));
        assert_eq!(get(b""), Err(Failure::CutShort));
        let unsaid = Err(Failure::Garbage("it does not say how long it is"));
        assert_eq!(get(b"HTTP/1.1 200 OK\r\n\r\n{}"), unsaid);
        assert_eq!(get(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"), unsaid);
        assert_eq!(get(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), unsaid);
        let long = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
        assert_eq!(get(long), Err(Failure::Garbage("it is too long")));
        assert_eq!(
            get(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff"),
            Err(Failure::Garbage("its body is not UTF-8"))
        );
    }

    #[test]
    fn a_silent_daemon_does_not_hold_the_caller() {
        let mut got = None;
        let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{";
        with_daemon(begun, Duration::from_millis(700), |client| got = Some(client.get("/v1/x")));
        assert_eq!(got.unwrap(), Err(Failure::Late));
    }

    // row 117
    #[test]
    fn a_daemon_that_accepts_nobody_or_reads_nothing_does_not_hold_the_caller() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let client = Client { socket: &path, deadline: Duration::from_millis(100) };
        let large = vec![b'x'; 16 * 1024 * 1024];
        let mut failures = Vec::new();
        // The kernel queues the first callers. The second body does not fit into the socket buffer.
        for body in [&b"{}"[..], &large, b"{}", b"{}", b"{}"] {
            failures.push(client.post("/", body).unwrap_err());
        }
        assert!(failures.iter().all(|failure| *failure == Failure::Late), "{failures:?}");
    }

    #[test]
    fn the_daemon_hears_whether_an_answer_was_taken() {
        for taken in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("s");
            let listener = UnixListener::bind(&path).unwrap();
            let daemon = std::thread::Builder::new().spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut read, mut asked) = ([0; 4096], Vec::new());
                // The body can come after the head.
                while !asked.ends_with(b"{}") {
                    let count = stream.read(&mut read).unwrap();
                    asked.extend_from_slice(&read[..count]);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
                // The gate tells the two apart in the same way.
                let end = stream.read(&mut read);
                (end.map_err(|error| error.kind()), stream.take_error().unwrap().map(|error| error.kind()))
            });
            let held = Client::new(&path).post_and_hold("/", "{}").unwrap();
            assert_eq!(held.answer.body, "hello");
            if taken {
                assert_eq!(held.take().body, "hello");
            } else {
                drop(held);
            }
            let (end, error) = daemon.unwrap().join().unwrap();
            assert_eq!((end, error), if taken { (Ok(0), None) } else { (Err(ErrorKind::ConnectionReset), None) });
        }
    }

    #[test]
    fn nobody_there_is_not_an_error_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert_eq!(Client::new(&path).get("/"), Err(Failure::NoSocket));
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(Client::new(&path).get("/"), Err(Failure::NotListening), "a socket that a dead daemon left");
        let long = dir.path().join("x".repeat(200));
        assert_eq!(Client::new(&long).get("/"), Err(Failure::PathTooLong));
    }

    #[test]
    fn values_of_a_query_are_encoded() {
        let query = [("session", "a b&c=d/é@1".to_owned()), ("limit", "5".to_owned())];
        assert_eq!(target("/v1/inbox", &query), "/v1/inbox?session=a%20b%26c%3Dd%2F%C3%A9%401&limit=5");
        assert_eq!(target("/v1/rooms", &[]), "/v1/rooms");
    }
}

//! The gate over real sockets. The test itself is the worker: it takes exchanges from the queue and answers them, so
//! that every step happens when the test says so. Read timeouts are deadlines: running into one fails the test.

mod held;
mod lanes;
mod woken;

use super::*;
use crate::thread::Exit;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(10);
const GOOD: &str =
    "POST /hook/x?a=b HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
const HANDSHAKE: &str = "GET /myko HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

struct Running {
    tcp: SocketAddr,
    directory: tempfile::TempDir,
    requests: Receiver<Box<Exchange>>,
    upgrades: Receiver<Upgrade>,
    handle: Handle,
    joined: JoinHandle<()>,
    exits: Receiver<Exit>,
}

fn running(change: impl FnOnce(&mut Settings)) -> Running {
    running_with(None, change)
}

/// With a queue of their own for requests that are no hooks.
fn running_with(others: Option<Sender<Box<Exchange>>>, change: impl FnOnce(&mut Settings)) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = listener.local_addr().unwrap();
    let unix = UnixListener::bind(directory.path().join("socket")).unwrap();
    let doors = vec![
        Door { kind: DoorKind::Hooks, listener: Listener::Tcp(listener) },
        Door { kind: DoorKind::Unix, listener: Listener::Unix(unix) },
    ];
    let mut settings = Settings::new(doors, Auth::Off);
    change(&mut settings);
    let (hooks, requests) = bounded(2);
    let ((upgrade_sender, upgrades), (exit_sender, exits)) = (bounded(1), bounded(1));
    let lanes = Requests { others: others.unwrap_or_else(|| hooks.clone()), hooks };
    let (handle, joined) = start(settings, lanes, upgrade_sender, &exit_sender).unwrap();
    Running { tcp, directory, requests, upgrades, handle, joined, exits }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn connect_unix(&self) -> UnixStream {
        let stream = UnixStream::connect(self.directory.path().join("socket")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    }

    fn next(&self) -> Exchange {
        *self.requests.recv_timeout(PATIENCE).unwrap()
    }

    /// A well-behaved caller from begin to end.
    fn serve_one(&self) {
        let stream = self.send(GOOD);
        self.next().caller.answer(respond::head_and_body(200, None, &[], b"fine"), None);
        assert!(rest(stream).ends_with("\r\n\r\nfine"));
    }

    fn stop(self) {
        self.handle.stop();
        self.joined.join().unwrap();
        assert!(self.exits.try_recv().is_err(), "the gate must not die");
    }
}

fn rest(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn settle() -> (Settle, Receiver<bool>) {
    let (sender, receiver) = bounded(1);
    (Box::new(move |arrived| sender.try_send(arrived).unwrap()), receiver)
}

#[test]
fn a_request_is_handed_over_whole_and_answered_at_both_doors() {
    let gate = running(|_| {});
    let mut tcp = gate.send(GOOD);
    let Exchange { request, caller } = gate.next();
    assert_eq!(
        (request.method, request.path.as_str(), request.query.as_deref()),
        (tiny_http::Method::Post, "/hook/x", Some("a=b"))
    );
    assert_eq!((request.content_type.as_deref(), request.body.as_slice()), (Some("text/plain"), b"hello".as_slice()));
    assert_eq!((request.door, request.headers.len()), (DoorKind::Hooks, 3));
    caller.answer(respond::head_and_body(200, Some("text/plain"), &[], b"one"), None);
    assert!(rest(&mut tcp).ends_with("\r\n\r\none"));

    let mut unix = gate.connect_unix();
    unix.write_all(GOOD.as_bytes()).unwrap();
    let Exchange { request, caller } = gate.next();
    assert_eq!((request.door, request.counts.accepted, request.counts.admitted), (DoorKind::Unix, 2, 2));
    caller.answer(respond::head_and_body(200, None, &[], b"two"), None);
    assert!(rest(&mut unix).ends_with("\r\n\r\ntwo"));
    gate.stop();
}

#[test]
fn a_request_in_single_bytes_is_the_same() {
    let gate = running(|_| {});
    let mut stream = gate.connect();
    for byte in GOOD.bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    let Exchange { request, caller } = gate.next();
    assert_eq!(request.body, b"hello");
    drop(caller);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "an unanswered caller is closed");
    gate.stop();
}

#[test]
fn the_body_is_asked_for_when_the_caller_waits() {
    let gate = running(|_| {});
    let head = GOOD.strip_suffix("hello").unwrap().replace("Host", "Expect: 100-continue\r\nHost");
    let mut stream = gate.send(&head);
    let mut interim = vec![0; respond::CONTINUE.len()];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(interim, respond::CONTINUE);
    stream.write_all(b"hello").unwrap();
    gate.next().caller.answer(b"bye".to_vec(), None);
    assert_eq!(rest(stream), "bye");
    gate.stop();
}

// row 34, row 48
#[test]
fn of_a_hook_that_is_too_large_the_beginning_is_handed_over_once_all_of_it_has_come() {
    let gate = running(|_| {});
    let mib = "x".repeat(1024 * 1024);
    let chunk = format!("{:x}\r\n{mib}\r\n", mib.len());
    let length = format!("Content-Length: {}", 32 * mib.len());
    for (framing, piece, end) in [(length.as_str(), &mib, ""), ("Transfer-Encoding: chunked", &chunk, "0\r\n\r\n")] {
        let mut stream = gate.send(&format!("POST /hook/x HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n"));
        for _ in 0..31 {
            stream.write_all(piece.as_bytes()).unwrap();
            assert!(gate.requests.is_empty(), "the caller is still sending");
        }
        // Others are served meanwhile.
        gate.serve_one();
        stream.write_all(format!("{piece}{end}").as_bytes()).unwrap();
        let Exchange { request, caller } = gate.next();
        assert_eq!((request.body.len(), request.body_is_cut), (limits::HOOK_BODY_BYTES_MAX, true));
        caller.answer(respond::head_and_body(200, None, &[], b"fine"), None);
        assert!(rest(stream).ends_with("\r\n\r\nfine"));
    }
    gate.stop();
}

// row 48
#[test]
fn a_body_in_slow_chunks_ends_at_the_deadline() {
    let gate = running(|settings| settings.request_deadline = Duration::from_millis(200));
    let mut slow = gate.send("POST /hook/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    gate.stop();
}

#[test]
fn a_slow_drip_ends_at_the_deadline_and_holds_up_nobody() {
    let deadline = Duration::from_millis(400);
    let gate = running(|settings| settings.request_deadline = deadline);
    let (silent, start) = (gate.connect(), Instant::now());
    let mut drip = gate.send("POST /v1/x HTTP/1.1\r\nHost: localhost\r\nX: ");
    drip.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut buffer = [0; 1024];
    let count = loop {
        gate.serve_one();
        let _ = drip.write(b"x");
        match drip.read(&mut buffer) {
            Ok(count) => break count,
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
        }
        assert!(start.elapsed() < PATIENCE);
    };
    assert!(start.elapsed() >= deadline, "{:?}", start.elapsed());
    assert!(buffer[..count].starts_with(b"HTTP/1.1 408 Request Timeout\r\n"));
    assert_eq!(rest(silent), "", "who said nothing is told nothing");
    gate.stop();
}

#[test]
fn a_refusal_is_readable_for_a_caller_who_goes_on_sending() {
    let gate = running(|_| {});
    for (path, empty, length) in
        [("/hook/x", true, limits::HOOK_TAKEN_BYTES_MAX + 1), ("/v1/x", false, limits::DRAIN_BYTES_MAX + 1)]
    {
        let mut stream = gate.connect();
        let body = "x".repeat(limits::DRAIN_BYTES_MAX);
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // The refusal is there long before the body: a gate that closed now would break the caller's writing.
        stream.peek(&mut [0]).unwrap();
        for chunk in body.as_bytes().chunks(64 * 1024) {
            stream.write_all(chunk).unwrap();
        }
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\n"), "{answer}");
        assert!(answer.contains("\r\nMarshal-Error: too_large; "), "{answer}");
        assert_eq!(answer.ends_with("\r\n\r\n"), empty, "{answer}");
    }
    gate.serve_one();
    gate.stop();
}

#[test]
fn a_large_answer_reaches_a_slow_reader_whole_without_holding_up_the_worker() {
    let gate = running(|_| {});
    let mut slow = gate.send(GOOD);
    let (settle, settled) = settle();
    let body: Vec<u8> = (0..4 * 1024 * 1024_u32).map(|index| (index % 251) as u8).collect();
    // Would never return if it waited: nobody reads yet.
    gate.next().caller.answer(body.clone(), Some(settle));
    gate.serve_one();
    let (mut got, mut buffer) = (Vec::new(), vec![0; 100_000]);
    loop {
        match slow.read(&mut buffer).unwrap() {
            0 => break,
            count => got.extend_from_slice(&buffer[..count]),
        }
        assert!(settled.is_empty(), "not settled before the caller closes");
    }
    assert!(got == body);
    drop(slow);
    assert!(settled.recv_timeout(PATIENCE).unwrap());
    gate.stop();
}

#[test]
fn an_answer_that_was_read_is_settled_as_arrived() {
    let gate = running(|_| {});
    let tcp = gate.send(GOOD);
    let (told, settled) = settle();
    gate.next().caller.answer(b"answer".to_vec(), Some(told));
    assert_eq!(rest(tcp), "answer");
    assert!(settled.recv_timeout(PATIENCE).unwrap());

    let mut unix = gate.connect_unix();
    unix.write_all(GOOD.as_bytes()).unwrap();
    let (told, settled) = settle();
    gate.next().caller.answer(b"answer".to_vec(), Some(told));
    assert_eq!(rest(&mut unix), "answer");
    assert!(settled.is_empty());
    drop(unix);
    assert!(settled.recv_timeout(PATIENCE).unwrap());
    gate.stop();
}

#[test]
fn an_answer_that_nobody_read_is_settled_as_lost() {
    let gate = running(|_| {});
    // Closed with the answer unread.
    let tcp = gate.send(GOOD);
    let (told, settled) = settle();
    gate.next().caller.answer(b"answer".to_vec(), Some(told));
    assert_eq!(tcp.peek(&mut [0]).unwrap(), 1);
    drop(tcp);
    assert!(!settled.recv_timeout(PATIENCE).unwrap(), "unread, TCP");

    let mut unix = gate.connect_unix();
    unix.write_all(GOOD.as_bytes()).unwrap();
    let (told, settled) = settle();
    gate.next().caller.answer(b"answer".to_vec(), Some(told));
    drop(unix);
    assert!(!settled.recv_timeout(PATIENCE).unwrap(), "unread, Unix");

    // Closed in order, or reset, before the answer was there.
    for reset in [false, true] {
        let tcp = gate.send(GOOD);
        let caller = gate.next().caller;
        if reset {
            rustix::net::sockopt::set_socket_linger(&tcp, Some(Duration::ZERO)).unwrap();
        }
        drop(tcp);
        let (told, settled) = settle();
        caller.answer(b"answer".to_vec(), Some(told));
        assert!(!settled.recv_timeout(PATIENCE).unwrap(), "gone, reset: {reset}");
    }

    // Said to be at its end before the answer: it gets the answer, but its end does not acknowledge it.
    let tcp = gate.send(GOOD);
    tcp.shutdown(std::net::Shutdown::Write).unwrap();
    let caller = gate.next().caller;
    let start = Instant::now();
    while !caller.socket.caller_has_closed() {
        assert!(start.elapsed() < PATIENCE);
    }
    let (told, settled) = settle();
    caller.answer(b"answer".to_vec(), Some(told));
    assert_eq!(rest(tcp), "answer");
    assert!(!settled.recv_timeout(PATIENCE).unwrap(), "half-closed");

    // Gone in the middle of a large answer.
    let mut tcp = gate.send(GOOD);
    let (told, settled) = settle();
    gate.next().caller.answer(vec![b'x'; 8 * 1024 * 1024], Some(told));
    tcp.read_exact(&mut [0; 1000]).unwrap();
    drop(tcp);
    assert!(!settled.recv_timeout(PATIENCE).unwrap(), "in the middle");
    gate.stop();
}

#[test]
fn at_the_deadline_a_caller_who_has_everything_counts_as_served_and_another_not() {
    let gate = running(|settings| settings.answer_deadline = Duration::from_millis(200));
    let mut stays = gate.send(GOOD);
    let (told, settled) = settle();
    gate.next().caller.answer(b"answer".to_vec(), Some(told));
    assert_eq!(rest(&mut stays), "answer");
    assert!(settled.recv_timeout(PATIENCE).unwrap());

    let _never_reads = gate.send(GOOD);
    let (told, settled) = settle();
    gate.next().caller.answer(vec![b'x'; 16 * 1024 * 1024], Some(told));
    assert!(!settled.recv_timeout(PATIENCE).unwrap());
    gate.stop();
}

#[test]
fn when_full_the_oldest_unfinished_request_makes_room() {
    let gate = running(|settings| settings.connections_max = 2);
    let (mut first, mut second) = (gate.connect(), gate.connect());
    let third = gate.send(GOOD);
    assert_eq!(first.read(&mut [0]).unwrap(), 0, "the oldest is closed");
    let Exchange { request, caller } = gate.next();
    assert_eq!((request.counts.evicted, request.counts.open), (1, 1));
    caller.answer(b"third".to_vec(), None);
    assert_eq!(rest(third), "third");
    second.write_all(GOOD.as_bytes()).unwrap();
    gate.next().caller.answer(b"second".to_vec(), None);
    assert_eq!(rest(second), "second");

    // Two answers under way: there is nobody to evict, so the new one has to go.
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let stream = gate.send(GOOD);
            let (told, settled) = settle();
            gate.next().caller.answer(b"answer".to_vec(), Some(told));
            (stream, settled)
        })
        .collect();
    // The second answer must be back at the gate: whoever asks before may still find room.
    loop {
        let mut probe = gate.connect();
        probe.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        match probe.read(&mut [0]) {
            Ok(0) => break,
            other => assert!(other.is_err()),
        }
    }
    for (stream, settled) in waiting {
        assert_eq!(rest(stream), "answer");
        assert!(settled.recv_timeout(PATIENCE).unwrap());
    }
    gate.serve_one();
    gate.stop();
}

#[test]
fn when_full_a_refused_caller_who_stays_makes_room() {
    let gate = running(|settings| settings.connections_max = 2);
    let evil = GOOD.replace("localhost", "evil.example");
    let mut reading = gate.connect();
    gate.serve_one();
    let mut refused = gate.send(&evil);
    // The answer is there to be read; the caller does not close.
    assert_eq!(refused.peek(&mut [0]).unwrap(), 1);
    let third = gate.send(GOOD);
    let Exchange { request, caller } = gate.next();
    assert_eq!(request.counts.evicted, 1);
    caller.answer(b"third".to_vec(), None);
    assert_eq!(rest(third), "third");
    assert!(rest(&mut refused).starts_with("HTTP/1.1 403 "));
    reading.write_all(GOOD.as_bytes()).unwrap();
    gate.next().caller.answer(b"first".to_vec(), None);
    assert_eq!(rest(reading), "first", "who has not said yet what it wants is worth more");
    gate.stop();
}

#[test]
fn when_full_an_answer_that_nobody_takes_makes_room_after_a_while() {
    let gate = running(|settings| {
        settings.connections_max = 1;
        settings.answer_patience = Duration::from_millis(100);
    });
    let _never_reads = gate.send(GOOD);
    let (told, settled) = settle();
    gate.next().caller.answer(vec![b'x'; 16 * 1024 * 1024], Some(told));
    let start = Instant::now();
    // Until then the others are closed at once.
    let mut next = None;
    let (served, exchange) = loop {
        assert!(start.elapsed() < PATIENCE, "nobody makes room");
        let mut caller = next.take().unwrap_or_else(|| {
            let mut caller = gate.connect();
            caller.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let _ = caller.write_all(GOOD.as_bytes());
            caller
        });
        if let Ok(exchange) = gate.requests.try_recv() {
            caller.set_read_timeout(Some(PATIENCE)).unwrap();
            break (caller, exchange);
        }
        match caller.read(&mut [0]) {
            Ok(1..) => panic!("nobody has answered yet"),
            // Neither closed nor admitted so far.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => next = Some(caller),
            _ => {}
        }
    };
    let Exchange { request, caller } = *exchange;
    assert!(request.counts.evicted > 1 && start.elapsed() >= Duration::from_millis(100));
    assert_eq!(settled.try_recv(), Ok(false), "nobody saw it arrive");
    caller.answer(b"next".to_vec(), None);
    assert_eq!(rest(served), "next");
    gate.stop();
}

#[test]
fn a_websocket_is_handed_over_with_what_followed_its_handshake() {
    let gate = running(|_| {});
    let mut tcp = gate.connect();
    tcp.write_all(&[HANDSHAKE.as_bytes(), b"\x81\x00frame"].concat()).unwrap();
    let Upgrade { stream, leftover, door, peer, .. } = gate.upgrades.recv_timeout(PATIENCE).unwrap();
    assert_eq!((leftover.as_slice(), door), (b"\x81\x00frame".as_slice(), DoorKind::Hooks));
    assert_eq!(peer, tcp.local_addr().unwrap().to_string());
    assert!(matches!(&stream, Stream::Tcp(stream) if stream.nodelay().unwrap()));
    let nothing = (&stream).read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "those who serve many must not wait for one");
    (&stream).write_all(b"!").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = rest(tcp);
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n!"), "{answer}");

    let mut unix = gate.connect_unix();
    unix.write_all(HANDSHAKE.as_bytes()).unwrap();
    let upgrade = gate.upgrades.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(upgrade.stream, Stream::Unix(_)) && upgrade.leftover.is_empty());
    gate.stop();
}

#[test]
fn callers_who_were_there_before_the_gate_are_all_served() {
    let mut waiting = Vec::new();
    let gate = running(|settings| {
        let Listener::Tcp(listener) = &settings.doors[0].listener else { unreachable!() };
        let address = listener.local_addr().unwrap();
        for _ in 0..limits::ACCEPTS_PER_TURN_MAX + 10 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(HANDSHAKE.replace("localhost", "evil.example").as_bytes()).unwrap();
            waiting.push(stream);
        }
    });
    for stream in waiting {
        assert!(rest(stream).starts_with("HTTP/1.1 403 Forbidden\r\n"));
    }
    gate.stop();
}

#[test]
fn stopping_closes_the_doors_finishes_answers_and_ends_the_thread() {
    let gate = running(|_| {});
    let (idle, answered) = (gate.connect(), gate.send(GOOD));
    let caller = gate.next().caller;
    let start = Instant::now();
    gate.handle.stop();
    assert_eq!(rest(idle), "", "an unfinished request is dropped");
    assert!(gate.requests.recv_timeout(PATIENCE).is_err(), "the workers can end");
    assert!(TcpStream::connect(gate.tcp).is_err(), "the door is closed");
    let (told, settled) = settle();
    caller.answer(b"answer".to_vec(), Some(told));
    assert_eq!(rest(answered), "answer");
    assert!(settled.recv_timeout(PATIENCE).unwrap());
    gate.joined.join().unwrap();
    assert!(start.elapsed() < limits::STOP_DEADLINE, "{:?}", start.elapsed());
}

#[test]
fn stopping_does_not_wait_for_ever() {
    let gate = running(|_| {});
    let mut stays = gate.send(GOOD);
    let (told, settled) = settle();
    gate.next().caller.answer(b"answer".to_vec(), Some(told));
    assert_eq!(rest(&mut stays), "answer");
    let start = Instant::now();
    gate.handle.stop();
    gate.joined.join().unwrap();
    assert!(start.elapsed() >= limits::STOP_DEADLINE && start.elapsed() < limits::STOP_DEADLINE + PATIENCE);
    assert_eq!(settled.try_recv(), Ok(false), "nobody saw it arrive");
    // What comes back too late is settled too, without a gate.
    drop(stays);
}

/// Runs in a process of its own, because the limit holds for all threads.
#[test]
fn without_descriptors_the_gate_waits_and_recovers() {
    const NAME: &str = "gate::tests::without_descriptors_the_gate_waits_and_recovers";
    const CHILD: &str = "MARSHAL_TEST_WITHOUT_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let program = std::env::current_exe().unwrap();
        let output = std::process::Command::new(program).args(["--exact", NAME]).env(CHILD, "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let gate = running(|_| {});
    let (mut oldest, _younger) = (gate.connect(), gate.connect());
    gate.serve_one(); // By now both are accepted.
    let new_socket = || {
        use rustix::net::{AddressFamily, SocketType, socket};
        socket(AddressFamily::INET, SocketType::STREAM, None).unwrap()
    };
    let callers: [_; 3] = std::array::from_fn(|_| new_socket());
    // With the lowest free number as the limit there is not one descriptor left.
    let lowest_free = new_socket().as_raw_fd();
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = u64::try_from(lowest_free).ok();
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let [first, second, third] = callers;
    let call = |caller| {
        rustix::net::connect(&caller, &gate.tcp).unwrap();
        let mut caller = TcpStream::from(caller);
        caller.set_read_timeout(Some(PATIENCE)).unwrap();
        caller.write_all(GOOD.as_bytes()).unwrap();
        caller
    };
    // Those who only wait make room at once, the oldest first. Each call is let in before the next one comes, or it
    // would be one of those who wait.
    let first = call(first);
    let Exchange { request, caller: waiting } = gate.next();
    assert_eq!((request.counts.accept_pauses, request.counts.evicted), (0, 1));
    assert_eq!(oldest.read(&mut [0]).unwrap(), 0);
    let second = call(second);
    let Exchange { request, caller: waiting_too } = gate.next();
    assert_eq!((request.counts.accept_pauses, request.counts.evicted, request.counts.open), (0, 2, 0));
    let mut third = call(third);
    third.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(third.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    // Now there is nobody to be closed: the third has to wait until an answer is given.
    waiting.answer(b"answer".to_vec(), None);
    let Exchange { request, caller: waiting } = gate.next();
    assert!(request.counts.accept_pauses >= 1 && request.counts.evicted == 2, "{:?}", request.counts);
    waiting.answer(b"answer".to_vec(), None);
    waiting_too.answer(b"answer".to_vec(), None);
    for caller in [first, second, third] {
        assert_eq!(rest(caller), "answer");
    }
    gate.stop();
}

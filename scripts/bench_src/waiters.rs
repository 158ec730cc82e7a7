//! Sessions that idle and can be woken: what each one who waits costs in memory, that none costs a wake-up, and how long it
//! takes until urgent mail wakes exactly the one that it is for. The disk's floor is taken before each message.

use crate::daemon::Daemon;
use crate::hook_client::{session, start_many};
use crate::memory::settle;
use crate::probe::DiskProbe;
use crate::report::{Aim, Figure, Report, Times};
use crate::{Bench, die, process};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Memory of the daemon for one who waits. What the system keeps for the connection is not its own.
const WAITER_KIB: f64 = 4.0;
/// Microseconds that a wake may take beyond the disk's own time.
const WAKE_ABOVE_DISK_US: f64 = 1000.0;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    if !process::is_known() {
        return report.note("those who wait are measured on Linux only");
    }
    let count = bench.count(10_000, 200);
    let daemon = Daemon::start(bench);
    start_many(&daemon, 0, count);
    settle(&daemon);
    let before = process::memory(daemon.pid()).rss;
    let mut waiters: Vec<TcpStream> = (0..count).map(|number| wait(&daemon, number)).collect();
    await_all(&daemon, count);
    settle(&daemon);
    let kib = (process::memory(daemon.pid()).rss - before) / count as f64;
    report.add(Figure::new(format!("memory for each of {count} waiters"), "KiB", kib).aim(Aim::AtMost(WAITER_KIB)));
    idle(bench, report, &daemon, count);
    wakes(bench, report, &daemon, &mut waiters);
    let woken = waiters.iter().filter(|waiter| has_something(waiter)).count();
    report.add(Figure::new("waiters woken for others' mail", "", woken as f64).aim(Aim::AtMost(0.0)));
}

fn idle(bench: &Bench, report: &mut Report, daemon: &Daemon, count: usize) {
    let seconds = bench.count(12, 3);
    let before = process::usage(daemon.pid());
    std::thread::sleep(Duration::from_secs(seconds as u64));
    let used = process::usage(daemon.pid()).since(before);
    let seconds = seconds as f64;
    let cpu = used.cpu.as_secs_f64() * 100.0 / seconds;
    report.add(Figure::new(format!("processor time, {count} waiters"), "%", cpu).aim(Aim::AtMost(0.05)));
    let wakeups = used.wakeups as f64 / seconds;
    report.add(Figure::new(format!("wake-ups a second, {count} waiters"), "/s", wakeups).aim(Aim::AtMost(1.0)));
}

/// Messages to one after the other, each of whom waits again when it is awake.
fn wakes(bench: &Bench, report: &mut Report, daemon: &Daemon, waiters: &mut [TcpStream]) {
    let disk = DiskProbe::new(bench);
    let (mut floors, mut times) = (Vec::new(), Vec::new());
    let count = waiters.len();
    for round in 0..bench.count(400, 20) {
        // Spread over all, none twice.
        let number = round * 7919 % count;
        let request = message(daemon, number);
        let mut sender = TcpStream::connect(daemon.hooks).expect("the daemon takes a sender");
        floors.push(disk.once());
        let begun = Instant::now();
        sender.write_all(&request).expect("the daemon reads");
        let mut answer = Vec::new();
        let waiter = &mut waiters[number];
        waiter.set_nonblocking(false).and_then(|()| waiter.set_read_timeout(Some(PATIENCE))).expect("options");
        waiter.read_to_end(&mut answer).expect("the one it is for is woken");
        times.push(begun.elapsed());
        if !answer.starts_with(b"HTTP/1.1 200 ") || !contains(&answer, format!("urgent {number}.").as_bytes()) {
            die(&format!("a session was woken with {}", String::from_utf8_lossy(&answer)));
        }
        sender.read_to_end(&mut Vec::new()).expect("the sender is answered");
        waiters[number] = wait(daemon, number);
        await_all(daemon, count);
    }
    let (floors, times) = (Times::new(floors), Times::new(times));
    let figure = Figure::times(format!("message until its session wakes, {count} waiters"), &times);
    report.add(figure.beside("fdatasync", floors.p50()).aim(Aim::AboveFloorAtMost(WAKE_ABOVE_DISK_US)));
}

fn wait(daemon: &Daemon, number: usize) -> TcpStream {
    let body = format!(r#"{{"session_id":"{}"}}"#, session(number));
    let mut stream = TcpStream::connect(daemon.hooks).expect("the daemon takes a waiter");
    let request = format!(
        "POST /hook/wait?for=next HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
        daemon.hooks,
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("the daemon reads");
    stream.set_nonblocking(true).expect("a socket can be made non-blocking");
    stream
}

fn message(daemon: &Daemon, number: usize) -> Vec<u8> {
    let body = format!(r#"{{"to":"{}","body":"urgent {number}.","human":"ana","priority":"now"}}"#, session(number));
    let head = format!("POST /v1/messages HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json", daemon.hooks);
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Waits until so many wait.
fn await_all(daemon: &Daemon, count: usize) {
    let end = Instant::now() + PATIENCE;
    while daemon.metric("marshal_waiters ") < count as f64 {
        if Instant::now() > end {
            die(&format!("not all of {count} wait; are there descriptors enough?"));
        }
    }
}

fn has_something(mut waiter: &TcpStream) -> bool {
    !matches!(waiter.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

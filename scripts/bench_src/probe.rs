//! The floors: what this disk and this loopback allow at this moment, without any daemon. Sections take them right
//! before and right after what they measure.

use crate::daemon::Place;
use crate::report::{Figure, Report, Times};
use crate::{Bench, die, hook_client};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

const LINE_BYTES: usize = 300;

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    report.add(Figure::times("append 300 bytes + fdatasync", &disk(bench)));
    report.add(Figure::times("append 19,200 bytes + fdatasync", &disk_of(bench, LINE_BYTES * 64)));
    report.add(Figure::times("TCP connect + thread + hook request + answer + close", &echo(bench)));
}

/// Runs `measure` between two takes of the disk's floor.
pub(crate) fn beside_disk<T>(bench: &Bench, measure: impl FnOnce() -> T) -> (T, f64) {
    let before = disk(bench);
    let result = measure();
    (result, before.and(disk(bench)).p50())
}

/// Runs `measure` between two takes of the network's floor.
pub(crate) fn beside_echo<T>(bench: &Bench, measure: impl FnOnce() -> T) -> (T, f64) {
    let before = echo(bench);
    let result = measure();
    (result, before.and(echo(bench)).p50())
}

/// One line appended and synced, again and again, on the file system of the daemon's log.
fn disk(bench: &Bench) -> Times {
    disk_of(bench, LINE_BYTES)
}

fn disk_of(bench: &Bench, bytes: usize) -> Times {
    let place = Place::new(bench);
    let file = std::fs::OpenOptions::new().append(true).create(true).open(place.log());
    let mut file = file.unwrap_or_else(|error| die(&format!("the disk probe cannot make its file: {error}")));
    let line = vec![b'x'; bytes];
    let mut once = || {
        let begun = Instant::now();
        file.write_all(&line).and_then(|()| file.sync_data()).expect("the disk probe writes");
        begun.elapsed()
    };
    Times::new((0..bench.count(400, 50)).map(|_| once()).collect())
}

/// A request of a hook's size to a server that does nothing, with a thread for each connection.
fn echo(bench: &Bench) -> Times {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the echo probe");
    let address = listener.local_addr().expect("the echo probe's port");
    let request = hook_client::request(address, "session-start", "00000000-echo", "/work/project-0");
    let count = bench.count(1000, 100);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for stream in listener.incoming().take(count).flatten() {
                let length = request.len();
                scope.spawn(move || serve(stream, length));
            }
        });
        Times::new((0..count).map(|_| call(address, &request)).collect())
    })
}

fn serve(mut stream: TcpStream, length: usize) {
    let mut bytes = vec![0; length];
    if stream.read_exact(&mut bytes).is_ok() {
        // The caller finds out by itself that nothing came.
        let _ = stream.write_all(&bytes);
    }
}

fn call(address: SocketAddr, request: &[u8]) -> std::time::Duration {
    let begun = Instant::now();
    hook_client::call(address, request, &mut Vec::new()).expect("the echo probe answers");
    begun.elapsed()
}

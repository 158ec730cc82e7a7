//! The floors: what this disk and this loopback allow at this moment, without any daemon. Sections take them in turn
//! with what they measure, or right before and right after it.

use crate::daemon::Place;
use crate::report::{Figure, Report, Times};
use crate::{Bench, die, hook_client};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const LINE_BYTES: u64 = 300;

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    report.add(Figure::times("append 300 bytes + fdatasync", &disk(bench, LINE_BYTES, Duration::ZERO)));
    report.add(Figure::times("append 19,200 bytes + fdatasync", &disk(bench, LINE_BYTES * 64, Duration::ZERO)));
    report.add(Figure::times("thread + hook request over TCP + answer + close", &echo(bench)));
}

/// Runs `measure` between two takes of the disk's floor.
pub(crate) fn beside_disk<T>(bench: &Bench, measure: impl FnOnce() -> T) -> (T, f64) {
    beside_paced_disk(bench, Duration::ZERO, measure)
}

/// The same for what asks the disk now and then. Disks and processors fall asleep between two requests and are slower
/// after a pause than in a loop, so that the floor must have the pauses that the figure has.
pub(crate) fn beside_paced_disk<T>(bench: &Bench, pause: Duration, measure: impl FnOnce() -> T) -> (T, f64) {
    let before = disk(bench, LINE_BYTES, pause);
    let result = measure();
    (result, before.and(disk(bench, LINE_BYTES, pause)).p50())
}

/// Runs `measure` between two takes of the network's floor.
pub(crate) fn beside_echo<T>(bench: &Bench, measure: impl FnOnce() -> T) -> (T, f64) {
    let before = echo(bench);
    let result = measure();
    (result, before.and(echo(bench)).p50())
}

fn disk(bench: &Bench, bytes: u64, pause: Duration) -> Times {
    let probe = DiskProbe::of(bench, bytes);
    let once = |_| {
        std::thread::sleep(pause);
        probe.once()
    };
    Times::new((0..bench.count(300, 50)).map(once).collect())
}

fn echo(bench: &Bench) -> Times {
    EchoProbe::run(|echo| Times::new((0..bench.count(1000, 100)).map(|_| echo.once()).collect()))
}

/// Bytes appended and synced, on the file system of the daemon's log.
pub(crate) struct DiskProbe {
    file: File,
    line_bytes: u64,
    _place: Place,
}

impl DiskProbe {
    pub(crate) fn new(bench: &Bench) -> Self {
        Self::of(bench, LINE_BYTES)
    }

    fn of(bench: &Bench, bytes: u64) -> Self {
        let place = Place::new(bench);
        let file = OpenOptions::new().append(true).create(true).open(place.log());
        let file = file.unwrap_or_else(|error| die(&format!("the disk probe cannot make its file: {error}")));
        Self { file, line_bytes: bytes, _place: place }
    }

    pub(crate) fn once(&self) -> Duration {
        self.once_of(self.line_bytes)
    }

    /// The same for so many bytes: more of them take longer, so that the floor must have as many as what is measured.
    pub(crate) fn once_of(&self, bytes: u64) -> Duration {
        let bytes = vec![b'x'; usize::try_from(bytes).expect("few bytes")];
        let begun = Instant::now();
        (&self.file).write_all(&bytes).and_then(|()| self.file.sync_data()).expect("the disk probe writes");
        begun.elapsed()
    }
}

/// A request of a hook's size to a server that does nothing, with a thread for each connection.
pub(crate) struct EchoProbe {
    address: SocketAddr,
    request: Vec<u8>,
}

impl EchoProbe {
    /// Gives `work` a server, which ends with it.
    pub(crate) fn run<T>(work: impl FnOnce(&Self) -> T) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the echo probe");
        let address = listener.local_addr().expect("the echo probe's port");
        let request = hook_client::request(address, "session-start", "00000000-echo", "/work/project-0");
        let length = request.len();
        let probe = Self { address, request };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for stream in listener.incoming().flatten() {
                    if stream.peek(&mut [0]).is_ok_and(|count| count == 0) {
                        return; // a connection that says nothing is the sign to end
                    }
                    scope.spawn(move || serve(stream, length));
                }
            });
            let result = work(&probe);
            drop(TcpStream::connect(address));
            result
        })
    }

    /// One call.
    pub(crate) fn once(&self) -> Duration {
        hook_client::call(self.address, &self.request, &mut Vec::new()).expect("the echo probe answers")
    }
}

fn serve(mut stream: TcpStream, length: usize) {
    let mut bytes = vec![0; length];
    if stream.read_exact(&mut bytes).is_ok() {
        // The caller finds out by itself that nothing came.
        let _ = stream.write_all(&bytes);
    }
}

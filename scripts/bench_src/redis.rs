//! Durable sends beside Redis on the same machine, disk and loopback, in one run: `XADD` of as many bytes as our log
//! takes for a message, with `appendfsync always`, from as many connections with as many requests under way, by the same
//! driver. The two take turns, so that a noisy minute hits both.

use crate::daemon::{Daemon, Place, note};
use crate::hook_client::{hook, session};
use crate::many::{Connection, Kind, Rate, closed_loop};
use crate::process;
use crate::report::{Aim, Figure, Report};
use crate::ws_client::{Client, add_send};
use crate::{Bench, die};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Connections, and requests under way on each.
const SHAPES: [(usize, usize); 5] = [(1, 1), (1, 50), (16, 1), (50, 1), (64, 1)];
const BODY: &str =
    "Please look at the failing test in src/store before you go on; I have changed the format of the log.";
const START_DEADLINE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    let length = Duration::from_millis(bench.count(1500, 200) as u64);
    let mut ours = Ours::start(bench);
    let line = ours.line_bytes();
    let theirs = Redis::start(bench);
    let payload = vec![b'x'; line];
    report.note(&format!("{}; XADD of {line} bytes, as many as a message takes in our log", theirs.version));
    for (clients, in_flight) in SHAPES {
        let (mut redis, mut marshal) = (theirs.connect(clients), ours.connect(clients));
        let (mut us, mut them) = (Runs::default(), Runs::default());
        for _ in 0..bench.count(5, 1) {
            let add = |_, out: &mut Vec<u8>| add_xadd(out, &payload);
            them.add(theirs.child.id(), || closed_loop(&mut redis, in_flight, length, add));
            let pid = ours.daemon.pid();
            us.add(pid, || ours.sends(&mut marshal, in_flight, length));
        }
        let what = format!("{clients} x {in_flight} under way");
        let figure = Figure::new(format!("sends a second, {what}"), "/s", us.rate());
        report.add(figure.beside("redis", them.rate()).aim(Aim::RatioAtLeast(1.0)));
        if process::is_known() {
            let figure = Figure::new(format!("processor time of the server for each, {what}"), "us", us.cost());
            report.add(figure.beside("redis", them.cost()));
        }
    }
}

/// What one of the two did in its turns.
#[derive(Default)]
struct Runs {
    rates: Vec<f64>,
    count: usize,
    cpu: Duration,
}

impl Runs {
    fn add(&mut self, pid: u32, run: impl FnOnce() -> Rate) {
        let usage = || if process::is_known() { process::usage(pid).cpu } else { Duration::ZERO };
        let before = usage();
        let rate = run();
        self.cpu += usage().saturating_sub(before);
        self.count += rate.count;
        self.rates.push(rate.a_second());
    }

    /// The median of the turns.
    fn rate(&mut self) -> f64 {
        self.rates.sort_unstable_by(f64::total_cmp);
        self.rates[self.rates.len() / 2]
    }

    /// Microseconds of processor time.
    fn cost(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count as f64
    }
}

/// Our daemon with connected senders, each of which writes to a session that is not connected.
struct Ours {
    daemon: Daemon,
    sent: usize,
}

impl Ours {
    fn start(bench: &Bench) -> Self {
        Self { daemon: Daemon::start(bench), sent: 0 }
    }

    /// Senders, connected anew: one that is idle for a minute and answers no ping is given up.
    fn connect(&self, count: usize) -> Vec<Connection> {
        let connect = |number| {
            hook(&self.daemon, "session-start", number);
            let mut client = Client::connect(self.daemon.websocket);
            client.publish(&format!("from-{number}"));
            client.into_one_of_many()
        };
        (0..count).map(connect).collect()
    }

    fn sends(&mut self, connections: &mut [Connection], in_flight: usize, length: Duration) -> Rate {
        let sent = &mut self.sent;
        closed_loop(connections, in_flight, length, |number, out| {
            *sent += 1;
            add_send(out, &format!("from-{number}"), &session(number), BODY, *sent);
        })
    }

    /// Bytes that a message takes in the log.
    fn line_bytes(&mut self) -> usize {
        let mut connections = self.connect(1);
        let (bytes, sent) = (self.daemon.log_bytes(), self.sent);
        self.sends(&mut connections, 10, Duration::from_millis(100));
        (self.daemon.log_bytes() - bytes) as usize / (self.sent - sent)
    }
}

/// A Redis of our own in a fresh directory. Dropping it kills it.
struct Redis {
    child: Child,
    address: SocketAddr,
    version: String,
    _dir: Place,
}

impl Redis {
    fn start(bench: &Bench) -> Self {
        let version = Command::new("redis-server").arg("--version").output();
        let Ok(version) = version else {
            die(
                "redis-server is not there; on Debian and Ubuntu: apt-get install redis-server, on macOS: brew install redis",
            )
        };
        let version = String::from_utf8_lossy(&version.stdout).split(" sha").next().unwrap_or_default().to_owned();
        let dir = Place::new(bench);
        // Free a moment ago; nobody else is likely to take it.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "yes"]);
        command.args(["--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--daemonize", "no", "--dir"]);
        let child = command.arg(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| die(&format!("cannot start redis-server: {error}")));
        note(0, child.id());
        let redis = Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), version, _dir: dir };
        let begun = Instant::now();
        while !redis.answers() {
            if begun.elapsed() > START_DEADLINE {
                die("redis-server does not answer");
            }
            std::thread::sleep(LOOK_EVERY);
        }
        redis
    }

    fn answers(&self) -> bool {
        let mut answer = [0; 7];
        let asked = TcpStream::connect(self.address).and_then(|mut stream| {
            stream.set_read_timeout(Some(START_DEADLINE))?;
            stream.write_all(b"PING\r\n")?;
            stream.read_exact(&mut answer)
        });
        asked.is_ok() && answer == *b"+PONG\r\n"
    }

    fn connect(&self, count: usize) -> Vec<Connection> {
        let connect = |_| {
            let stream = TcpStream::connect(self.address);
            Connection::new(stream.unwrap_or_else(|error| die(&format!("no Redis: {error}"))), &[], parse)
        };
        (0..count).map(connect).collect()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        note(self.child.id(), 0);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer to `XADD`: the new entry's id as a bulk string.
fn parse(bytes: &[u8]) -> Option<(usize, Kind)> {
    let line = memchr::memmem::find(bytes, b"\r\n")?;
    let length = match bytes[0] {
        b'$' => std::str::from_utf8(&bytes[1..line]).ok().and_then(|text| text.parse::<usize>().ok()),
        _ => None,
    };
    let length = length.unwrap_or_else(|| die(&format!("Redis says: {}", String::from_utf8_lossy(bytes))));
    let whole = line + 2 + length + 2;
    (bytes.len() >= whole).then_some((whole, Kind::Answer))
}

fn add_xadd(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(b"*5\r\n$4\r\nXADD\r\n$8\r\nmessages\r\n$1\r\n*\r\n$1\r\nm\r\n");
    // Writing into a Vec cannot fail.
    let _ = write!(out, "${}\r\n", payload.len());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

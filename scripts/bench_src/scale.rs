//! What the same things cost with a hundred sessions and a thousand messages, and with a thousand times as many. The
//! two daemons take turns, call by call.

use crate::daemon::{Daemon, Place};
use crate::hook_client::{call, hook, request, session};
use crate::report::{Aim, Figure, Report, Times};
use crate::ws_client::{Client, Kind};
use crate::{Bench, die, process};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How much more anything may cost on the large roster.
const GROWTH: f64 = 1.5;
const SWEEP_MS: f64 = 10.0;
/// Sweeps come every three seconds.
const SWEEPS: Duration = Duration::from_secs(16);
/// Sessions that are not in the log have numbers from here on.
const NEW: usize = 1 << 24;
/// Of the sessions in the log, those from here on get no mail while they are measured.
const MAILED: usize = 20;

pub(crate) fn section(bench: &Bench, report: &mut Report) {
    let sizes = [(100, 1_000), (bench.count(100_000, 1_000), bench.count(1_000_000, 10_000))];
    let daemons = sizes.map(|(sessions, messages)| {
        let place = Place::new(bench);
        write_log(&place.log(), sessions, messages)
            .unwrap_or_else(|error| die(&format!("cannot write a log: {error}")));
        Daemon::start_in(bench, place)
    });
    let name = |(sessions, messages)| format!("{sessions} sessions, {messages} messages");
    for (daemon, size) in daemons.iter().zip(sizes) {
        report.add(Figure::new(
            format!("start to ready, {}", name(size)),
            "ms",
            daemon.ready_after.as_secs_f64() * 1e3,
        ));
        if process::is_known() {
            report.add(Figure::new(format!("RSS, {}", name(size)), "KiB", process::memory(daemon.pid()).rss));
        }
    }
    costs(bench, report, &daemons);
    // The first sweeps after a start look at every row, some at a time.
    std::thread::sleep(SWEEPS);
    for which in ["last", "max"] {
        let [few, many] =
            [0, 1].map(|n| daemons[n].metric(&format!("marshal_sweep_seconds{{which=\"{which}\"}}")) * 1e3);
        let figure = Figure::new(format!("sweep, {which}, {}", name(sizes[1])), "ms", many).beside("few", few);
        report.add(figure.aim(Aim::AtMost(SWEEP_MS)));
    }
}

fn costs(bench: &Bench, report: &mut Report, daemons: &[Daemon; 2]) {
    let count = bench.count(1_000, 50);
    let compare = |report: &mut Report, what: &str, count: usize, once: &mut dyn FnMut(usize, &Daemon) -> Duration| {
        let mut times = [const { Vec::new() }; 2];
        for _ in 0..count {
            (0..2).for_each(|n| times[n].push(once(n, &daemons[n])));
        }
        let [few, many] = times.map(Times::new);
        report.add(Figure::times(what, &many).beside("few", few.p50()).aim(Aim::RatioAtMost(GROWTH)));
    };
    let mut number = [NEW; 2];
    compare(report, "session-start and session-end", count, &mut |n, daemon| {
        number[n] += 1;
        hook(daemon, "session-start", number[n]) + hook(daemon, "session-end", number[n])
    });
    for daemon in daemons {
        hook(daemon, "session-start", NEW);
    }
    compare(report, "prompt-submit without mail", count, &mut |_, daemon| hook(daemon, "prompt-submit", NEW));
    let mut mailed = [MAILED; 2];
    compare(report, "prompt-submit with 10 messages", 50, &mut |n, daemon| {
        mailed[n] += 1;
        hook(daemon, "prompt-submit", mailed[n])
    });
    compare(report, "inbox over HTTP with 10 messages", count, &mut |_, daemon| {
        let inbox = format!("GET /v1/inbox?session={} HTTP/1.1\r\nHost: {}\r\n\r\n", session(3), daemon.hooks);
        timed(daemon, inbox.as_bytes(), "200")
    });
    compare(report, "send over HTTP", count, &mut |_, daemon| {
        let body = format!(r#"{{"asSession":"{}","to":"{}","body":"hello"}}"#, session(1), session(2));
        let send = format!(
            "POST /v1/messages HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            daemon.hooks,
            body.len()
        );
        timed(daemon, send.as_bytes(), "201")
    });
    let mut clients = [0, 1].map(|n: usize| {
        let mut client = Client::connect(daemons[n].websocket);
        client.publish("a-shim");
        client
    });
    compare(report, "send over WebSocket", count, &mut |n, _| {
        clients[n].queue_send("a-shim", &session(4), "hello", 1);
        let begun = Instant::now();
        clients[n].flush();
        clients[n].wait_for(Kind::Answer);
        begun.elapsed()
    });
}

fn timed(daemon: &Daemon, request: &[u8], status: &str) -> Duration {
    let mut answer = Vec::with_capacity(16 * 1024);
    let begun = Instant::now();
    let result = call(daemon.hooks, request, &mut answer);
    let took = begun.elapsed();
    if result.is_err() || !answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()) {
        die(&format!("a request failed: {result:?}: {}", String::from_utf8_lossy(&answer)));
    }
    took
}

/// A log as marshal 0.9 wrote it, of sessions with their rooms, each with as many messages that it has not read.
pub(crate) fn write_log(path: &Path, sessions: usize, messages: usize) -> std::io::Result<()> {
    const PROJECTS: usize = 40;
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis();
    let mut tx = 0;
    let mut line = |item_type: &str, item: &str| {
        tx += 1;
        writeln!(
            out,
            r#"{{"item":{item},"changeType":"SET","itemType":"{item_type}","createdAt":"2026-11-21T00:07:54.515357005+00:00","tx":"feb11bde-46e2-46a4-9dc1-{tx:012x}","sourceId":"7ab05961-1341-4fb8-8c85-6cd58b8f6a0b"}}"#
        )
    };
    let room = |id: &str, source: &str| {
        format!(
            r#"{{"createdAt":{now},"id":"{id}","kind":{{"kind":"auto","source":{{"anchor":{source}}}}},"name":"{id}"}}"#
        )
    };
    line("Room", &room("everyone", r#""everyone""#))?;
    for project in 0..PROJECTS.min(sessions) {
        let source = format!(r#""project","basename":"project-{project}""#);
        line("Room", &room(&format!("project:project-{project}"), &source))?;
    }
    for number in 0..sessions {
        let (id, project) = (session(number), number % PROJECTS);
        line(
            "Session",
            &format!(
                r#"{{"connectedAt":{now},"currentTask":"step {number}","cwd":"/work/project-{project}","id":"{id}","lastActivityAt":{now},"nickname":"project-{project}@{short}","pid":0,"project":"project-{project}"}}"#,
                short = &id[..8]
            ),
        )?;
        for room in ["everyone", &format!("project:project-{project}")] {
            line(
                "RoomMember",
                &format!(r#"{{"id":"{room}::{id}","joinedAt":{now},"roomId":"{room}","sessionId":"{id}"}}"#),
            )?;
        }
    }
    for number in 0..messages {
        let (from, to) = (session(number % sessions), session((number + 1) % sessions));
        line(
            "Message",
            &format!(
                r#"{{"body":"Please look at the failing test before you go on; I have changed the format.","fromNick":"project@{from}","fromSessionId":"{from}","id":"{number:08x}-5b0c-4c5a-9d35-0a0b0c0d0e0f","sentAt":{now},"toNick":"project@{to}","toSessionId":"{to}"}}"#
            ),
        )?;
    }
    out.flush()
}

/// The bytes of a prompt's hook for a session of such a log.
pub(crate) fn prompt(daemon: &Daemon, number: usize) -> Vec<u8> {
    request(daemon.hooks, "prompt-submit", &session(number), "/work/project-0")
}

//! What each event of each host costs at its one address, on the Unix socket: from the request's first byte until the
//! answer is read to its end. Beside it, in turn: a bare answerer on such a socket, and a write and `fdatasync` of as many bytes
//! as the event has put into the log. Then what a whole `curl` takes,
//! beside a `curl` to the bare answerer.

use crate::daemon::{Daemon, Place};
use crate::hook_client::{self, start_many};
use crate::probe::DiskProbe;
use crate::report::{Aim, Figure, Report, Times};
use crate::{Bench, die};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Microseconds that an event may take for which nothing has to be on disk.
const UNSYNCED_US: f64 = 300.0;
/// Microseconds that one for which something has to may take beyond the disk's own time.
const ABOVE_DISK_US: f64 = 300.0;
const TIMEOUT: Duration = Duration::from_secs(20);
/// Sessions that are there besides.
const OTHERS: usize = 100;
/// Bytes of a long tool's output.
const OUTPUT_BYTES: usize = 200 * 1024;

/// One measured event.
struct Step {
    host: &'static str,
    event: &'static str,
    /// What else the body has.
    fields: String,
    /// What is said of it beside its name.
    note: &'static str,
    /// Whether a message is sent to the session before.
    with_mail: bool,
    /// Whether its answer has to wait for the disk.
    synced: bool,
}

impl Step {
    fn new(host: &'static str, event: &'static str, fields: &str) -> Self {
        let synced = matches!(event, "SessionStart" | "SessionEnd");
        Self { host, event, fields: fields.to_owned(), note: "", with_mail: false, synced }
    }

    fn with_mail(self) -> Self {
        Self { with_mail: true, note: ", a message", ..self }
    }

    fn noted(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    fn name(&self) -> String {
        format!("{} {}{}", self.host, self.event, self.note)
    }
}

/// A life of a session of each host, in order.
fn steps() -> Vec<Step> {
    let tool = r#","tool_name":"Bash","tool_input":{"command":"cargo test"},"tool_use_id":"toolu_1""#;
    let result = format!(r#"{tool},"tool_response":{{"stdout":"{}","stderr":""}}"#, "ok ".repeat(600));
    let long = format!(r#"{tool},"tool_response":{{"stdout":"{}","stderr":""}}"#, "x".repeat(OUTPUT_BYTES));
    let notice = r#","notification_type":"permission_prompt","message":"Claude needs your permission to use Bash""#;
    let prompt = r#","prompt":"Fix the flaky test","permission_mode":"default""#;
    let claude = |event, fields: &str| Step::new("claude", event, fields);
    let codex = |event, fields: &str| Step::new("codex", event, fields);
    let gemini = |event, fields: &str| Step::new("gemini", event, fields);
    vec![
        claude("SessionStart", r#","source":"startup""#),
        claude("UserPromptSubmit", prompt),
        claude("UserPromptSubmit", prompt).with_mail(),
        claude("PreToolUse", tool),
        claude("PostToolUse", &result),
        claude("PostToolUse", &long).noted(", 200 KiB"),
        claude("PostToolBatch", r#","tool_calls":[]"#),
        claude("Notification", notice),
        claude("Stop", r#","stop_hook_active":false"#),
        claude("Stop", r#","stop_hook_active":false"#).with_mail(),
        claude("SessionEnd", r#","reason":"other""#),
        codex("SessionStart", r#","source":"startup","model":"m""#),
        codex("UserPromptSubmit", prompt),
        codex("UserPromptSubmit", prompt).with_mail(),
        codex("PreToolUse", tool),
        codex("PostToolUse", &result),
        codex("Stop", ""),
        codex("Stop", "").with_mail(),
        codex("SessionEnd", ""),
        gemini("SessionStart", r#","source":"startup""#),
        gemini("BeforeAgent", prompt),
        gemini("BeforeAgent", prompt).with_mail(),
        gemini("BeforeTool", tool),
        gemini("AfterTool", &result),
        gemini("AfterAgent", ""),
        gemini("SessionEnd", ""),
    ]
}

pub(crate) fn add(bench: &Bench, report: &mut Report) {
    let daemon = Daemon::start(bench);
    start_many(&daemon, 0, OTHERS);
    let disk = DiskProbe::new(bench);
    let steps = steps();
    let bare = Bare::start(bench);
    let quiet = request(&Step::new("claude", "FileChanged", ""), &hook_client::session(0));
    let mut echoes = Vec::new();
    let mut times: Vec<(Vec<Duration>, Vec<Duration>)> = steps.iter().map(|_| Default::default()).collect();
    for life in 0..bench.count(300, 20) {
        for (step, (times, floors)) in steps.iter().zip(&mut times) {
            let session = format!("{}{:06x}-0000-4000-8000-000000000000", &step.host[..2], life);
            if step.with_mail {
                send(&daemon, &session);
            }
            let request = request(step, &session);
            // What the call before has left to do is not this one's. That its answer arrived is known when its connection is seen
            // to be closed, before the first of these is answered; and the second finds it on disk.
            let settle = || {
                call(&daemon.socket(), &quiet);
                call(&daemon.socket(), &quiet);
            };
            settle();
            let before = daemon.log_bytes();
            times.push(call(&daemon.socket(), &request));
            let written = daemon.log_bytes() - before;
            echoes.push(call(&bare.socket, &request));
            if step.synced {
                // A disk that has had nothing to do for a moment is slower, so that the floor must have the same moment.
                settle();
                floors.push(disk.once_of(written));
            }
        }
    }
    let echo = Times::new(echoes);
    report.note(
        "each event from the request's first byte to the answer's end, on the Unix socket, when nothing else is asked",
    );
    report.add(Figure::times("a bare answerer on a Unix socket", &echo));
    for (step, (times, floors)) in steps.iter().zip(times) {
        let figure = Figure::times(step.name(), &Times::new(times));
        report.add(if step.synced {
            figure.beside("same bytes", Times::new(floors).p50()).aim(Aim::AboveFloorAtMost(ABOVE_DISK_US))
        } else {
            figure.beside("bare", echo.p50()).aim(Aim::AtMost(UNSYNCED_US))
        });
    }
    curl(bench, report, &daemon, &bare);
}

fn body(step: &Step, session: &str) -> String {
    format!(
        r#"{{"session_id":"{session}","transcript_path":"/home/ana/.claude/projects/x/{session}.jsonl","cwd":"/work/project","hook_event_name":"{}"{}}}"#,
        step.event, step.fields
    )
}

/// The path with what the recommended hook lines say besides.
fn target(host: &str) -> String {
    format!("/hook/{host}?host=box&operator=ana&pid={}", std::process::id())
}

fn request(step: &Step, session: &str) -> Vec<u8> {
    let body = body(step, session);
    format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
        target(step.host),
        body.len()
    )
    .into_bytes()
}

/// One request on a connection of its own.
fn call(socket: &Path, request: &[u8]) -> Duration {
    let mut answer = Vec::with_capacity(16 * 1024);
    let mut exchange = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let begun = Instant::now();
        stream.write_all(request)?;
        stream.read_to_end(&mut answer)?;
        std::io::Result::Ok(begun.elapsed())
    };
    let took = exchange();
    match took {
        Ok(took) if answer.starts_with(b"HTTP/1.1 200 ") => took,
        other => die(&format!("a hook failed: {other:?}: {}", String::from_utf8_lossy(&answer))),
    }
}

/// A message to the session. Over TCP, where nobody asks for a proof: on the Unix socket this process is the session.
fn send(daemon: &Daemon, session: &str) {
    let body = format!(r#"{{"to":"{session}","body":"the schema is merged, pull before you build","human":"ana"}}"#);
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        daemon.hooks,
        body.len()
    );
    let mut answer = Vec::new();
    let result = hook_client::call(daemon.hooks, request.as_bytes(), &mut answer);
    if result.is_err() || !answer.starts_with(b"HTTP/1.1 201 ") {
        die(&format!("a message was not stored: {result:?}: {}", String::from_utf8_lossy(&answer)));
    }
}

/// Answers every request on a Unix socket at once, and does nothing else.
struct Bare {
    socket: PathBuf,
    _place: Place,
}

impl Bare {
    fn start(bench: &Bench) -> Self {
        let place = Place::new(bench);
        let socket = place.path().join("bare.sock");
        let listener = UnixListener::bind(&socket).unwrap_or_else(|error| die(&format!("no bare answerer: {error}")));
        // It ends with this process.
        std::thread::Builder::new()
            .name("bare".to_owned())
            .spawn(move || listener.incoming().flatten().for_each(|stream| drop(answer(stream))))
            .expect("a thread for the bare answerer");
        Self { socket, _place: place }
    }
}

fn answer(stream: UnixStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    (&stream).write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
}

/// What a hook costs the agent as its settings have it: a `curl`, from its start to its end.
fn curl(bench: &Bench, report: &mut Report, daemon: &Daemon, bare: &Bare) {
    let session = hook_client::session(1);
    let run = |socket: &Path, step: &Step| {
        let begun = Instant::now();
        let mut child = Command::new("curl")
            .args(["-fsS", "--max-time", "5", "-X", "POST", "--data-binary", "@-", "--unix-socket"])
            .arg(socket)
            .arg(format!("http://localhost{}", target(step.host)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(body(step, &session).as_bytes()).ok()?;
        let status = child.wait().ok()?;
        status.success().then(|| begun.elapsed())
    };
    for step in
        [Step::new("claude", "UserPromptSubmit", ""), Step::new("claude", "PreToolUse", r#","tool_name":"Bash""#)]
    {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..bench.count(200, 10) {
            let (Some(own), Some(other)) = (run(&daemon.socket(), &step), run(&bare.socket, &step)) else {
                return report.note("no curl here, or it failed: its time was not measured");
            };
            ours.push(own);
            theirs.push(other);
        }
        let figure = Figure::times(format!("a whole curl, {}", step.name()), &Times::new(ours));
        report.add(figure.beside("curl to bare", Times::new(theirs).p50()));
    }
}

//! `marshal hook` with any stdin, stdout and daemon: it ends, prints nothing that an agent could take for an instruction, and
//! loses no mail.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking, in its helpers too

mod support;

use serde_json::json;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Instant;
use support::{DEADLINE, Place, Watch};

const AGENTS: [&str; 3] = ["claude", "codex", "gemini"];

fn hook(place: &Place, which: &str) -> Command {
    let mut command = place.command();
    command.args(["hook", which]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command and keeps its stdin open until it ends.
fn run_and_hold(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin: ChildStdin = child.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    let (ended, end) = channel();
    let waits = std::thread::Builder::new().spawn(move || ended.send(child.wait_with_output().unwrap())).unwrap();
    let output = end.recv_timeout(DEADLINE).expect("it ends by itself");
    waits.join().unwrap().unwrap();
    drop(stdin);
    output
}

/// Runs a command and closes its stdin behind the input.
fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(input);
    let (ended, end) = channel();
    let waits = std::thread::Builder::new().spawn(move || ended.send(child.wait_with_output().unwrap())).unwrap();
    let output = end.recv_timeout(DEADLINE).expect("it ends by itself");
    waits.join().unwrap().unwrap();
    output
}

fn assert_silent(output: &Output, what: &str) {
    assert_eq!((output.status.code(), &*output.stdout, &*output.stderr), (Some(0), &b""[..], &b""[..]), "{what}");
}

fn event(session: &str, name: &str) -> Vec<u8> {
    json!({"session_id": session, "cwd": "/w/proj", "hook_event_name": name}).to_string().into_bytes()
}

// row 117
#[test]
fn a_stdin_that_nobody_closes_keeps_no_agent_waiting() {
    let place = Place::new();
    let _daemon = place.start();
    for which in AGENTS {
        let start = run_and_hold(&mut hook(&place, which), &event(which, "SessionStart"));
        assert!(String::from_utf8_lossy(&start.stdout).contains("<marshal_session>"), "{which}: {start:?}");
        assert_eq!((start.status.code(), start.stderr.len()), (Some(0), 0), "{which}");
    }
    // In parallel, since each waits for its deadline.
    std::thread::scope(|scope| {
        for which in AGENTS.into_iter().chain(["wait"]) {
            for input in [&b""[..], br#"{"session_id":"#, b"\xff\xfe\0"] {
                let mut command = hook(&place, which);
                scope.spawn(move || assert_silent(&run_and_hold(&mut command, input), &format!("{which} {input:?}")));
            }
        }
    });
}

// row 117
#[test]
fn no_input_and_no_daemon_is_in_an_agent_s_way() {
    let place = Place::new();
    for which in AGENTS.into_iter().chain(["wait"]) {
        assert_silent(&run(&mut hook(&place, which), &event("s", "Stop")), "no daemon");
        let mut homeless = hook(&place, which);
        homeless.env_remove("HOME").env_remove("MARSHAL_STATE_DIR");
        assert_silent(&run(&mut homeless, &event("s", "Stop")), "no home");
    }
    let daemon = place.start();
    for which in AGENTS.into_iter().chain(["wait"]) {
        for input in [&b""[..], b"\n", b"\0\xff\xfe{}", b"[1]", b"{\"session_id\":", b"{\"session_id\":7}"] {
            assert_silent(&run(&mut hook(&place, which), input), &format!("{which} {input:?}"));
        }
        for closed in ["<&-", "<&- >&- 2>&-"] {
            assert_silent(&run(&mut redirected(&place, which, closed), b""), closed);
        }
    }
    assert!(daemon.sessions().is_empty());
}

// row 117
#[test]
fn a_daemon_that_hangs_is_as_good_as_none() {
    let place = Place::new();
    std::fs::create_dir_all(place.state()).unwrap();
    let socket = place.state().join("marshal.sock");
    // The kernel takes the connection and the event; the daemon never accepts.
    let hangs = UnixListener::bind(&socket).unwrap();
    let large = json!({"session_id": "s", "prompt": "x".repeat(900 * 1024)}).to_string();
    std::thread::scope(|scope| {
        for which in AGENTS {
            for input in [event("s", "UserPromptSubmit"), large.clone().into_bytes()] {
                let mut command = hook(&place, which);
                scope.spawn(move || assert_silent(&run(&mut command, &input), which));
            }
        }
    });
    drop(hangs);
    // A daemon with a full queue of connections.
    std::fs::remove_file(&socket).unwrap();
    let full = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&full, &rustix::net::SocketAddrUnix::new(&socket).unwrap()).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let _first = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    assert_silent(&run(&mut hook(&place, "claude"), &event("s", "Stop")), "full");
    drop(full);
    // A plain file in the place of the socket.
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "no socket").unwrap();
    for which in AGENTS.into_iter().chain(["wait"]) {
        assert_silent(&run(&mut hook(&place, which), &event("s", "Stop")), which);
    }
}

/// `marshal hook WHICH` under a shell that redirects it.
fn redirected(place: &Place, which: &str, redirection: &str) -> Command {
    let variables = place.command();
    let variables = variables.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {} hook {which} {redirection}", env!("CARGO_BIN_EXE_marshal"))]);
    shell.env_clear().envs(variables).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

// row 117
#[test]
fn mail_that_could_not_be_printed_comes_again() {
    let place = Place::new();
    let daemon = place.start();
    let mut receipts = Watch::start(&daemon, "MessageRead");
    daemon.start_session("a", "/w/a");
    assert!(!run(&mut hook(&place, "claude"), &event("s", "SessionStart")).stdout.is_empty());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut deaf = hook(&place, "claude");
    deaf.stdout(writer);
    for (what, deaf) in [
        ("a pipe without a reader", &mut deaf),
        ("a closed stdout", &mut redirected(&place, "claude", ">&-")),
        ("a discarded stdout", &mut redirected(&place, "claude", ">/dev/null")),
    ] {
        let id = daemon.send("a", "s", what);
        assert_silent(&run(deaf, &event("s", "UserPromptSubmit")), what);
        // The message is free again and counts as never delivered.
        let end = Instant::now() + DEADLINE;
        let state = || daemon.get(&format!("/v1/messages?message={id}")).json()["messages"][0]["deliveries"][0].clone();
        while state()["state"] != "queued" {
            assert!(Instant::now() < end, "{what}: {}", state());
        }
        let answer = run(&mut hook(&place, "claude"), &event("s", "UserPromptSubmit")).stdout;
        assert!(String::from_utf8_lossy(&answer).contains(what), "{answer:?}");
        daemon.until_handed("s", 1);
        assert!(!receipts.rows.values().any(|row| row["messageId"] == id.as_str()), "{what}");
        assert_silent(&run(&mut hook(&place, "claude"), &event("s", "PreToolUse")), "what shows that it was read");
        receipts.until("the receipt", |rows| rows.values().any(|row| row["messageId"] == id.as_str()));
    }
}

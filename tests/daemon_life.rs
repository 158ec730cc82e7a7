//! How the daemon begins and ends: signals, the lock, ports, files, and what it says about itself.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking, in its helpers too

mod support;

use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::rude::post_bytes;
use support::skip::{is_root, skipped};
use support::{DEADLINE, Place, Watch, hook_body, post};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command that starts the daemon through a shell, after `before`.
fn through_shell(command: &mut Command, before: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{before}; exec \"$0\" serve"), env!("CARGO_BIN_EXE_marshal")]);
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    *command = shell;
}

/// Runs `marshal serve` where it must not come up, and gives its exit code and its last words.
fn serve_and_fail(place: &Place, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = place.command();
    command.arg("serve").envs(variables.iter().copied());
    fail(command)
}

fn fail(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stderr, (done, said)) = (child.stderr.take().unwrap(), std::sync::mpsc::channel());
    let reader = std::thread::Builder::new().spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        done.send(text)
    });
    let said = said.recv_timeout(DEADLINE);
    if said.is_err() {
        child.kill().unwrap();
    }
    reader.unwrap().join().unwrap().unwrap();
    (child.wait().unwrap().code(), said.expect("the daemon must not come up, but runs"))
}

#[test]
fn sigterm_and_sigint_stop_in_order_and_keep_what_was_acknowledged() {
    for signal in ["TERM", "INT"] {
        let place = Place::new();
        let daemon = place.start();
        daemon.start_session("a", "/w/a");
        let message = daemon.send("a", "a", "note to self");
        let mut shim = daemon.connect();
        shim.publish("shim", "shim", "/w/s");
        let answer = shim.command("SendMessage", json!({"toSessionId": "a", "body": "from the shim"}));
        let second = answer["response"]["messageId"].as_str().unwrap().to_owned();
        let idle = TcpStream::connect(daemon.hooks).unwrap();
        daemon.signal(signal);
        let close = loop {
            match shim.socket.read().unwrap() {
                Message::Close(frame) => break frame.unwrap(),
                _ => continue,
            }
        };
        assert_eq!(close.code, CloseCode::Away);
        let socket = daemon.socket.clone();
        let (status, said) = daemon.wait();
        // marshal 0.9 fault 16
        assert_eq!(status.code(), Some(0), "{said:#?}");
        assert!(!said.iter().any(|line| line.contains("not everything ended")), "{said:#?}");
        assert!(!socket.exists(), "an ordered stop removes the socket");
        drop(idle);
        let daemon = place.start();
        let reads = Watch::start(&daemon, "Message");
        assert!(reads.rows.contains_key(&message) && reads.rows.contains_key(&second), "{:#?}", reads.rows);
        assert_eq!(daemon.stop(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let place = Place::new();
    let mut daemon = place.start();
    daemon.start_session("a", "/w/a");
    daemon.send("a", "a", "note to self");
    // A caller that got mail and does not close holds up the ordered stop until its deadline.
    let mut slow = TcpStream::connect(daemon.hooks).unwrap();
    slow.set_read_timeout(Some(DEADLINE)).unwrap();
    slow.write_all(&post_bytes("/hook/prompt-submit", hook_body("a", "").as_bytes())).unwrap();
    assert_eq!(slow.peek(&mut [0]).unwrap(), 1);
    daemon.signal("TERM");
    daemon.wait_for_line("stopping");
    daemon.signal("TERM");
    let (status, said) = daemon.wait();
    assert_eq!(status.code(), Some(130), "{said:#?}");
}

#[test]
fn a_caller_that_dawdles_does_not_keep_the_daemon_from_stopping() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("a", "/w/a");
    daemon.send("a", "a", "note to self");
    let mut slow = TcpStream::connect(daemon.hooks).unwrap();
    slow.set_read_timeout(Some(DEADLINE)).unwrap();
    slow.write_all(&post_bytes("/hook/prompt-submit", hook_body("a", "").as_bytes())).unwrap();
    assert_eq!(slow.peek(&mut [0]).unwrap(), 1);
    let mut unfinished = TcpStream::connect(daemon.hooks).unwrap();
    unfinished.write_all(b"POST /hook/").unwrap();
    let socket = daemon.socket.clone();
    assert_eq!(daemon.stop(), Some(0));
    assert!(!socket.exists(), "an ordered stop removes the socket");
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8(answer).unwrap().contains("note to self"));
    let daemon = place.start();
    assert!(daemon.prompt("a").text().contains("note to self"), "what may not have been read is shown again");
}

#[test]
fn sighup_stops_the_daemon_in_order_unless_it_was_started_with_nohup() {
    let place = Place::new();
    let daemon = place.start();
    daemon.signal("HUP");
    assert_eq!(daemon.wait().0.code(), Some(0));

    let daemon = place.start_with(|command| through_shell(command, "trap '' HUP"));
    daemon.signal("HUP");
    daemon.start_session("after", "/w/after");
    daemon.signal("HUP");
    assert!(daemon.sessions().contains_key("after"));
    assert_eq!(daemon.stop(), Some(0));
}

/// Checklist M03.
#[test]
fn a_second_daemon_on_the_same_directory_is_kept_out_and_harms_nobody() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("a", "/w/a");
    let before = std::fs::read(place.log_path()).unwrap();
    for _ in 0..3 {
        let (code, said) = serve_and_fail(&place, &[]);
        // marshal 0.9 fault 16
        assert_eq!(code, Some(75), "{said}");
        assert!(said.contains(&format!(" pid {} ", daemon.pid())) && said.contains("MARSHAL_STATE_DIR"), "{said}");
    }
    assert_eq!(std::fs::read(place.log_path()).unwrap(), before);
    assert!(daemon.socket.exists());
    assert!(place.run(&["status"]).status.success(), "the command line still reaches the first one");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_killed_daemon_leaves_neither_lock_nor_socket_in_the_way() {
    let place = Place::new();
    for round in 0..20 {
        let daemon = place.start();
        let id = format!("s{round}");
        daemon.start_session(&id, "/w/s");
        assert_eq!(daemon.sessions().len(), round + 1);
        let socket = daemon.socket.clone();
        daemon.kill();
        assert!(std::fs::symlink_metadata(&socket).unwrap().file_type().is_socket(), "nobody removed it");
    }
    let daemon = place.start();
    assert!(place.run(&["status"]).status.success(), "the new socket is served");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_named_with_its_holder() {
    let (place, other) = (Place::new(), Place::new());
    let daemon = place.start();
    for (variable, address) in [("MARSHAL_HOOK_BIND", daemon.hooks), ("MARSHAL_BIND", daemon.websocket)] {
        let (code, said) = serve_and_fail(&other, &[(variable, &address.to_string())]);
        assert_eq!(code, Some(75), "{said}");
        let holder = format!("taken by marshal {} (pid {})", env!("CARGO_PKG_VERSION"), daemon.pid());
        assert!(said.contains(&holder) && said.contains(variable) && said.contains(&address.to_string()), "{said}");
    }
    let ours = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = ours.local_addr().unwrap().to_string();
    let (code, said) = serve_and_fail(&other, &[("MARSHAL_HOOK_BIND", &address)]);
    assert_eq!(code, Some(75), "{said}");
    if cfg!(target_os = "linux") {
        assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
    }
    assert_eq!(other.start().stop(), Some(0), "the failures left nothing behind");
}

#[test]
fn an_address_that_others_can_reach_is_refused_where_no_token_is_asked_for() {
    let place = Place::new();
    for variable in ["MARSHAL_HOOK_BIND", "MARSHAL_BIND"] {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
            let (code, said) = serve_and_fail(&place, &[(variable, address)]);
            assert_eq!(code, Some(78), "{variable}={address}: {said}");
            assert!(said.contains(variable) && said.contains("loopback") && said.contains("MARSHAL_AUTH"), "{said}");
        }
    }
}

#[test]
fn files_are_for_their_owner_alone_also_those_of_0_9() {
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    chmod(&place.state(), 0o755);
    std::fs::write(place.log_path(), b"").unwrap();
    chmod(&place.log_path(), 0o644);
    // The umask must not matter.
    let daemon = place.start_with(|command| through_shell(command, "umask 000"));
    // marshal 0.9 fault 15
    assert_eq!(mode(&place.state()), 0o700);
    for name in ["events.jsonl", "marshal.lock", "marshal.sock"] {
        assert_eq!(mode(&place.state().join(name)), 0o600, "{name}");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_directory_that_is_not_marshal_s_alone_is_left_as_it_is() {
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    std::fs::write(place.state().join("thesis.tex"), b"x").unwrap();
    chmod(&place.state(), 0o755);
    let (code, said) = serve_and_fail(&place, &[]);
    assert_eq!((code, mode(&place.state())), (Some(77), 0o755), "{said}");
    assert!(said.contains("chmod 700"), "{said}");
    assert_eq!(std::fs::read_dir(place.state()).unwrap().count(), 1);
}

#[test]
fn a_directory_that_cannot_be_had_is_named() {
    let place = Place::new();
    let file = place.dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let below = file.join("state");
    let (code, said) = serve_and_fail(&place, &[("MARSHAL_STATE_DIR", below.to_str().unwrap())]);
    assert_eq!(code, Some(73), "{said}");
    assert!(said.contains(below.to_str().unwrap()), "{said}");
    let what = "a state directory of another user";
    if !is_root(what) {
        return;
    }
    // Another user, in a directory that is not its own and in one that it may not write to.
    const NOBODY: u32 = 65_534;
    chmod(place.dir.path(), 0o755);
    let foreign = place.dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    chmod(&foreign, 0o777);
    for (directory, expected, word) in [(&foreign, 77, "another user"), (&place.state(), 73, "Permission denied")] {
        let mut command = place.command();
        command.arg("serve").env("MARSHAL_STATE_DIR", directory).uid(NOBODY).gid(NOBODY);
        if command.output().is_err() {
            return skipped("a place that other users may enter", what);
        }
        let (code, said) = fail(command);
        assert_eq!(code, Some(expected), "{said}");
        assert!(said.contains(word), "{said}");
    }
    // The directory is its own, but it may not write to it.
    let own = place.dir.path().join("own");
    std::fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    chmod(&own, 0o500);
    let mut command = place.command();
    command.arg("serve").env("MARSHAL_STATE_DIR", &own).uid(NOBODY).gid(NOBODY);
    let (code, said) = fail(command);
    assert_eq!(code, Some(73), "{said}");
    let advice = format!("make {} and the files in it writable for you, or set MARSHAL_STATE_DIR", own.display());
    assert!(said.contains(&advice), "{said}");
}

#[test]
fn a_log_that_is_a_link_or_no_file_is_refused() {
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    chmod(&place.state(), 0o700);
    let target = place.dir.path().join("target");
    std::fs::write(&target, b"precious\n").unwrap();
    chmod(&target, 0o644);
    for name in ["events.jsonl", "marshal.lock"] {
        // The lock is taken first; a start that failed has left it there.
        let _ = std::fs::remove_file(place.state().join(name));
        std::os::unix::fs::symlink(&target, place.state().join(name)).unwrap();
        let (code, said) = serve_and_fail(&place, &[]);
        assert_eq!(code, Some(73), "{said}");
        assert!(said.contains(place.state().to_str().unwrap()), "{said}");
        std::fs::remove_file(place.state().join(name)).unwrap();
    }
    assert_eq!((std::fs::read(&target).unwrap().as_slice(), mode(&target)), (&b"precious\n"[..], 0o644));
    std::fs::create_dir(place.log_path()).unwrap();
    assert_eq!(serve_and_fail(&place, &[]).0, Some(73));
}

#[test]
fn a_path_too_long_for_a_socket_is_explained() {
    let place = Place::new();
    let long = place.dir.path().join("x".repeat(120));
    let (code, said) = serve_and_fail(&place, &[("MARSHAL_STATE_DIR", long.to_str().unwrap())]);
    assert_eq!(code, Some(73), "{said}");
    assert!(said.contains("marshal.sock") && said.contains("MARSHAL_STATE_DIR") && !said.contains("panic"), "{said}");
}

#[test]
fn with_too_few_descriptors_the_daemon_says_so_instead_of_hanging() {
    // row 115
    let place = Place::new();
    for limit in [12, 18, 21, 34] {
        let mut command = place.command();
        through_shell(&mut command, &format!("ulimit -n {limit}"));
        let (code, said) = fail(command);
        assert!(said.contains("file descriptors are free") && said.contains("ulimit -n 1024"), "{limit}: {said}");
        assert_eq!(code, Some(71), "{limit}: {said}");
    }
    assert!(!place.state().exists(), "a refused start leaves nothing behind");
    let daemon = place.start_with(|command| through_shell(command, "ulimit -n 48"));
    for arguments in [&["compact"][..], &["token", "rotate"], &["status"], &["ls"], &["log", "check"]] {
        let done = place.run(arguments);
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn the_log_of_claude_coord_is_taken_over_once() {
    let line = |id: &str| {
        let item =
            json!({"id": id, "nickname": id, "pid": 0, "cwd": "/w", "connectedAt": 1, "lastActivityAt": 9e15 as i64});
        format!("{}\n", json!({"item": item, "changeType": "SET", "itemType": "Session"}))
    };
    for named in [false, true] {
        let place = Place::new();
        let coord = place.dir.path().join(if named { "elsewhere" } else { ".local/state/claude-coord" });
        let old = coord.join("events.jsonl");
        let start = || {
            place.start_with(|command| {
                if named {
                    command.env("CLAUDE_COORD_STATE_DIR", &coord);
                }
            })
        };
        std::fs::create_dir_all(&coord).unwrap();
        std::fs::write(&old, line("from-coord")).unwrap();
        let daemon = start();
        assert!(daemon.sessions().contains_key("from-coord") && !old.exists());
        assert_eq!(mode(&place.log_path()), 0o600);
        assert_eq!(daemon.stop(), Some(0));

        std::fs::write(&old, line("too-late")).unwrap();
        let daemon = start();
        assert!(daemon.said.iter().any(|said| said.contains("WARN") && said.contains(old.to_str().unwrap())));
        let sessions = daemon.sessions();
        assert!(sessions.contains_key("from-coord") && !sessions.contains_key("too-late"));
        assert_eq!(std::fs::read_to_string(&old).unwrap(), line("too-late"), "left alone");
    }
}

#[test]
fn every_line_on_stderr_is_written_in_one_piece_and_begins_with_a_date() {
    let place = Place::new();
    let mut command = place.command();
    command.args(["serve", "--log-level", "debug"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let mut child = Killed(child);
    let mut stderr = child.0.stderr.take().unwrap();
    let mut chunk = vec![0; 64 * 1024];
    let mut said = String::new();
    let mut callers = Vec::new();
    loop {
        let count = stderr.read(&mut chunk).unwrap();
        if count == 0 {
            break;
        }
        // Whatever a reader gets at once are whole lines, if each is written at once.
        assert!(count < chunk.len() && chunk[count - 1] == b'\n', "{}", String::from_utf8_lossy(&chunk[..count]));
        said.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
        if let Some(ready) = said.split_once("hooks http://").filter(|_| callers.is_empty()) {
            let door: std::net::SocketAddr = ready.1.split(' ').next().unwrap().parse().unwrap();
            let work = move || {
                for _ in 0..50 {
                    // Each of these is worth a line, for those who want all of them.
                    assert_eq!(post(door, "/hook/session-start", &[], b"no json").status, 400);
                }
            };
            callers.extend((0..4).map(|_| std::thread::Builder::new().spawn(work).unwrap()));
        }
        if said.matches("a hook was refused").count() == 200 && !said.contains("stopping") {
            assert!(Command::new("kill").arg(child.0.id().to_string()).status().unwrap().success());
        }
    }
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    for line in said.lines() {
        let (date, rest) = line.split_once(' ').unwrap();
        assert!(chrono::DateTime::parse_from_rfc3339(date).is_ok(), "{line}");
        assert!(["[DEBUG]", "[INFO]", "[WARN]", "[ERROR]"].iter().any(|level| rest.starts_with(level)), "{line}");
    }
}

#[test]
fn health_version_and_status_say_who_and_how_it_is() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("a", "/w/a");
    daemon.send("a", "a", "x");
    let health = daemon.get("/healthz");
    // marshal 0.9 fault 16
    assert_eq!((health.status, health.json()), (200, json!({"status": "ok", "auth": "none"})));
    let version = env!("CARGO_PKG_VERSION");
    let told = daemon.get("/v1/version").json();
    for (name, value) in [("name", json!("marshal")), ("version", json!(version)), ("pid", json!(daemon.pid()))] {
        assert_eq!(told[name], value, "{told}");
    }
    let printed = String::from_utf8(place.run(&["--version"]).stdout).unwrap();
    assert!(printed.contains(version), "{printed}");
    let status = daemon.get("/v1/status").json();
    for (name, value) in [
        ("version", json!(version)),
        ("pid", json!(daemon.pid())),
        ("stateDir", json!(place.state())),
        ("hooks", json!(daemon.hooks.to_string())),
        ("websocket", json!(daemon.websocket.to_string())),
        ("socket", json!(daemon.socket)),
        ("health", json!("ok")),
        ("sessions", json!(1)),
        ("clients", json!(0)),
        ("messages", json!(1)),
        ("malformedLines", json!(0)),
        ("logBytes", json!(std::fs::metadata(place.log_path()).unwrap().len())),
    ] {
        assert_eq!(status[name], value, "{name} in {status}");
    }
}

#[test]
fn every_metric_is_explained_and_has_a_number() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("a", "/w/a");
    let answer = daemon.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let (mut helped, mut typed, mut seen) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for line in answer.text().lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(helped.insert(name) && text.ends_with('.'), "{line}");
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["gauge", "counter", "histogram"].contains(&kind) && typed.insert(name, kind).is_none(), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite) && seen.insert(series), "{line}");
        let name = series.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let base = if typed.get(base) == Some(&"histogram") { base } else { name };
        assert!(helped.contains(base) && base.starts_with("marshal_"), "{line} has no HELP before it");
        let counter = name.ends_with("_total");
        assert_eq!(counter, typed[base] == "counter", "{line}");
        assert!(!line.contains("/w/a"), "{line}");
    }
    assert_eq!(helped, typed.keys().copied().collect(), "each is explained and of a type");
    for line in ["marshal_up 1", "marshal_sessions 1", "marshal_log_malformed_lines 0"] {
        assert!(answer.text().lines().any(|found| found == line), "{line}");
    }
}

// row 42
#[test]
fn a_socket_a_lock_and_a_token_that_are_removed_are_put_back() {
    let place = Place::new();
    let mut daemon = place.start_locked();
    let before = place.token();
    let remove = |name: &str| std::fs::remove_file(place.state().join(name)).unwrap();
    remove("marshal.sock");
    daemon.wait_for_line("removed the socket");
    assert!(place.run(&["status"]).status.success());
    assert_eq!(mode(&place.state().join("marshal.sock")), 0o600);
    remove("marshal.lock");
    daemon.wait_for_line("removed the lock");
    assert_eq!(serve_and_fail(&place, &[]).0, Some(75), "a second daemon is kept out again");
    remove("token");
    daemon.wait_for_line("removed the machine's token");
    assert_ne!(place.token(), before);
    assert!(place.run(&["status"]).status.success());
    assert_eq!(daemon.stop(), Some(0));
    assert!(!place.state().join("marshal.sock").exists(), "nothing is put back at the end");
}

// row 42, row 44
#[test]
fn a_state_directory_that_is_removed_is_told_of_and_used_again_when_it_is_back() {
    let place = Place::new();
    let mut daemon = place.start();
    daemon.start_session("before", "/w");
    std::fs::remove_dir_all(place.state()).unwrap();
    daemon.wait_for_line("the state directory");
    let refused = daemon.hook("/hook/session-start", &hook_body("refused", "/w"));
    assert_eq!(refused.status, 507, "{refused:?}");
    assert!(refused.header("marshal-error").unwrap().starts_with("storage_gone"), "{refused:?}");
    let health = daemon.get("/healthz");
    assert!(health.status == 503 && health.text().contains("storage_gone"), "{health:?}");
    assert!(!place.state().exists(), "it may have been meant");
    std::fs::create_dir(place.state()).unwrap();
    // Two threads see that it is back, in either order.
    let lines = ["the log can be written again", "made it again"];
    while !lines.iter().all(|line| daemon.said.iter().any(|said| said.contains(line))) {
        daemon.wait_for_line("again");
    }
    assert_eq!(daemon.start_session("after", "/w").status, 200);
    assert_eq!(serve_and_fail(&place, &[]).0, Some(75));
    assert!(place.run(&["status"]).status.success());
    assert_eq!(daemon.stop(), Some(0));
    let ids: BTreeSet<String> = place.start().sessions().into_keys().collect();
    assert_eq!(ids, ["after", "before"].map(str::to_owned).into(), "what was acknowledged is in the new log");
}

// row 88
#[test]
fn a_log_that_cannot_be_completed_at_the_stop_is_no_good_end() {
    let place = Place::new();
    let daemon = place.start();
    assert_eq!(daemon.start_session("a", "/w/a").status, 200);
    std::fs::remove_dir_all(place.state()).unwrap();
    assert_eq!(daemon.stop(), Some(74));
}

//! Who is speaking, with real processes: agents are shells here, and what runs below them speaks for them, whatever it
//! says; what runs elsewhere does not.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use support::skip::{has_program, skipped};
use support::{Daemon, Place, hook_body, raw_unix};

/// A shell that stands for an agent: what it runs descends from it.
struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Shell {
    fn start(place: &Place) -> Self {
        // Only what the harness gives the binary too, and where the binary is.
        let model = place.command();
        let mut command = std::process::Command::new("sh");
        command.env_clear().envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("MARSHAL", env!("CARGO_BIN_EXE_marshal"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    /// What a command line prints, on both outputs, and its exit code.
    fn run(&mut self, line: &str) -> (String, i32) {
        writeln!(self.stdin, "{{ {line}\n}} 2>&1 </dev/null; echo \"\nexit $?\"").unwrap();
        let mut text = String::new();
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the shell is gone: {text}");
            if let Some(code) = line.strip_prefix("exit ") {
                return (text.trim_end().to_owned(), code.trim().parse().unwrap());
            }
            text.push_str(&line);
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A hook at the Unix socket, as the agent with this process would run it.
fn start_session(daemon: &Daemon, id: &str, process: Option<u32>) {
    let query = process.map_or(String::new(), |pid| format!("?pid={pid}"));
    let body = hook_body(id, "/w/x");
    let length = body.len();
    let head =
        format!("POST /hook/session-start{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    let answer = raw_unix(&daemon.socket, format!("{head}{body}").as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Sender and proof of each message with its text, as the history shows them to the operator.
fn senders(place: &Place) -> Vec<(String, String, String)> {
    let output = place.run(&["history", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |message: &Value, name: &str| message[name].as_str().unwrap_or("none").to_owned();
    let messages = answer["messages"].as_array().unwrap();
    messages.iter().map(|m| (text(m, "body"), text(m, "fromSessionId"), text(m, "proof"))).collect()
}

fn is(body: &str, from: &str, proof: &str) -> (String, String, String) {
    (body.to_owned(), from.to_owned(), proof.to_owned())
}

/// Agents a and b as shells, c without a known process.
fn world() -> (Place, Daemon, Shell, Shell) {
    let place = Place::new();
    let daemon = place.start();
    let (a, b) = (Shell::start(&place), Shell::start(&place));
    start_session(&daemon, "a-1", Some(a.child.id()));
    start_session(&daemon, "b-1", Some(b.child.id()));
    start_session(&daemon, "c-1", None);
    (place, daemon, a, b)
}

#[test]
fn what_runs_below_an_agent_is_signed_by_it_without_any_ceremony() {
    let (place, daemon, mut a, _b) = world();
    assert_eq!(a.run("$MARSHAL send c-1 child").1, 0);
    assert_eq!(a.run("sh -c 'sh -c \"$MARSHAL send c-1 grandchild; true\"; true'").1, 0);
    assert_eq!(a.run("$MARSHAL send --as a-1 c-1 named").1, 0);
    let expected = ["child", "grandchild", "named"].map(|body| is(body, "a-1", "process"));
    assert_eq!(senders(&place), expected);
    let inbox = support::Answer::text(&daemon.prompt("c-1")).to_owned();
    assert_eq!(inbox.matches(", verified by its process): ").count(), 3, "{inbox}");
}

#[test]
fn an_agent_cannot_speak_as_another_one_or_as_a_human() {
    let (place, _daemon, mut a, _b) = world();
    for (line, said) in [
        ("send --as b-1 c-1 x", "you are the session a-1, and cannot speak as b-1"),
        ("send --as c-1 b-1 x", "you are the session a-1, and cannot speak as c-1"),
        ("send --from ana c-1 x", "a session cannot speak as a human"),
        ("inbox --session b-1", "you are the session a-1, and cannot speak as b-1"),
        ("inbox --human tester", "a session cannot speak as a human"),
        ("history --session b-1", "see only what it has sent and received"),
    ] {
        let (text, code) = a.run(&format!("$MARSHAL {line}"));
        assert_eq!(code, 1, "{line}: {text}");
        assert!(text.contains(said), "{line}: {text}");
    }
    assert_eq!(senders(&place), []);
}

#[test]
fn from_outside_a_name_is_shown_as_the_operators_word() {
    let (place, daemon, _a, _b) = world();
    assert!(place.run(&["send", "--as", "a-1", "c-1", "borrowed"]).status.success());
    assert!(place.run(&["send", "c-1", "from a script"]).status.success());
    let expected = [is("borrowed", "a-1", "operator"), is("from a script", "human:tester", "operator")];
    assert_eq!(senders(&place), expected);
    let inbox = support::Answer::text(&daemon.prompt("c-1")).to_owned();
    assert!(inbox.contains(", sent by the operator under this name): borrowed"), "{inbox}");
    assert!(inbox.contains(", in the human's name, not from a terminal): from a script"), "{inbox}");
}

#[test]
fn only_at_a_terminal_outside_of_all_agents_a_human_is_verified() {
    if !["script", "setsid"].iter().all(|tool| has_program(tool, "the human at a terminal")) {
        return;
    }
    let (place, daemon, mut a, _b) = world();
    let mut outside = Shell::start(&place);
    assert_eq!(outside.run("script -qec '$MARSHAL send c-1 human' /dev/null").1, 0);
    // An agent that opens a terminal of its own is still the agent.
    assert_eq!(a.run("script -qec '$MARSHAL send c-1 agent' /dev/null").1, 0);
    // What it leaves behind is nobody's child, and at no terminal.
    assert_eq!(outside.run("mkfifo $HOME/go").1, 0);
    assert_eq!(a.run("setsid -f sh -c 'read word <$HOME/go; $MARSHAL send c-1 orphan; :' >/dev/null").1, 0);
    assert_eq!(outside.run("echo go >$HOME/go").1, 0);
    let mut watch = support::Watch::start(&daemon, "Message");
    watch.until("the orphan's message", |rows| rows.len() == 3);
    let mut seen = senders(&place);
    seen.sort();
    assert_eq!(seen[0..2], [is("agent", "a-1", "process"), is("human", "human:tester", "human")]);
    assert_ne!(seen[2].2, "human", "{seen:?}");
    let inbox = support::Answer::text(&daemon.prompt("c-1")).to_owned();
    assert_eq!(inbox.matches(", the human operator, verified): ").count(), 1, "{inbox}");
}

/// row 104: a process between the person's shell and the agent takes what the agent leaves behind.
#[test]
fn what_an_agent_leaves_behind_on_its_terminal_is_not_the_human() {
    let prctl = match std::env::consts::ARCH {
        "x86_64" => 157,
        "aarch64" => 167,
        other => return skipped(&format!("the number of prctl(2) on {other}"), "what an agent leaves behind"),
    };
    if !["script", "perl"].iter().all(|tool| has_program(tool, "what an agent leaves behind")) {
        return;
    }
    let (place, daemon, _a, _b) = world();
    let (mut outside, home) = (Shell::start(&place), place.dir.path().to_owned());
    let write = |name: &str, text: String| std::fs::write(home.join(name), text).unwrap();
    // The agent says its pid, waits until it is on the roster, and leaves a process behind that has lost its parents.
    write("left", "read word <$HOME/next; $MARSHAL send c-1 left; :".to_owned());
    write(
        "agent",
        "echo $$ >$HOME/pid; read word <$HOME/go; sh -c 'sh $HOME/left & :'; read word <$HOME/end".to_owned(),
    );
    write("reaper", format!("perl -e 'syscall({prctl}, 36, 1); system(qw(sh), \"$ENV{{HOME}}/agent\"); wait'"));
    assert_eq!(outside.run("mkfifo $HOME/pid $HOME/go $HOME/next $HOME/end").1, 0);
    assert_eq!(outside.run("script -qec \"sh $HOME/reaper\" /dev/null >/dev/null &").1, 0);
    let (pid, _) = outside.run("cat $HOME/pid");
    start_session(&daemon, "agent-1", Some(pid.trim().parse().unwrap()));
    assert_eq!(outside.run("echo go >$HOME/go; echo go >$HOME/next").1, 0);
    let mut watch = support::Watch::start(&daemon, "Message");
    watch.until("the message", |rows| rows.len() == 1);
    assert_eq!(senders(&place), [is("left", "human:tester", "operator")]);
    assert_eq!(outside.run("echo end >$HOME/end").1, 0);
}

/// row 16: Codex' sandbox forbids its commands to connect.
#[test]
fn a_sandboxed_command_is_told_which_setting_lets_it_out() {
    if !has_program("strace", "a sandboxed command") {
        return;
    }
    let place = Place::new();
    let _daemon = place.start();
    for (sandbox, expected) in [(Some("1"), "network_access = true"), (None, "the system forbids this process")] {
        let model = place.command();
        let mut command = std::process::Command::new("strace");
        command.env_clear().envs(model.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.envs(sandbox.map(|value| ("CODEX_SANDBOX_NETWORK_DISABLED", value)));
        command.args(["-f", "-o", "/dev/null", "-e", "inject=connect:error=EPERM"]).arg(model.get_program());
        let output = command.args(["send", "x", "hi"]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(77), "{said}");
        assert!(said.contains(expected) && !said.contains("another user"), "{said}");
    }
}

#[test]
fn however_deep_an_agent_goes_it_stays_the_agent() {
    let (place, _daemon, mut a, _b) = world();
    let nested = "if [ $1 -gt 0 ]; then sh $0 $(($1 - 1)); else $MARSHAL send c-1 deep; fi; :";
    std::fs::write(place.dir.path().join("nested"), nested).unwrap();
    assert_eq!(a.run("sh $HOME/nested 100").1, 0);
    assert_eq!(senders(&place), [is("deep", "a-1", "process")]);
}

#[test]
fn an_agent_that_has_ended_its_session_is_not_the_human() {
    let (place, _daemon, mut a, _b) = world();
    let end = "printf '{\"session_id\":\"a-1\"}' | curl -sS --unix-socket $MARSHAL_STATE_DIR/marshal.sock -X POST http://localhost/hook/session-end --data-binary @-";
    if a.run("command -v curl").1 != 0 {
        return skipped("curl", "an agent that has ended its session");
    }
    let (text, code) = a.run(end);
    assert_eq!((text.as_str(), code), ("", 0));
    let (text, code) = a.run("$MARSHAL send --from tester c-1 x");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("was that of the session a-1, which has ended"), "{text}");
    assert_eq!(senders(&place), []);
}

/// Whoever is a session sees no mail of others by a live query either, whenever it became one.
#[test]
fn live_queries_show_a_session_no_mail() {
    let (_place, daemon, _a, _b) = world();
    let query = |item_type: &str| {
        let stream = std::os::unix::net::UnixStream::connect(&daemon.socket).unwrap();
        stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
        let (mut socket, _) = tungstenite::client("ws://localhost/myko", stream).unwrap();
        let frame = json!({"event": "ws:m:query", "data": {"query": {"tx": "q"}, "queryItemType": item_type}});
        socket.send(tungstenite::Message::text(frame.to_string())).unwrap();
        let rows = loop {
            let frame: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
            if frame["event"] == "ws:m:query-response" {
                break frame["data"]["upserts"].as_array().unwrap().len();
            }
        };
        (socket, rows)
    };
    daemon.send("c-1", "human:tester", "private");
    // This process is the operator's, and then a session's.
    let (mut earlier, seen) = query("Message");
    assert_eq!(seen, 1);
    start_session(&daemon, "me-1", Some(std::process::id()));
    assert_eq!((query("Message").1, query("Session").1), (0, 4));
    daemon.send("c-1", "human:tester", "private too");
    // The one that was begun before ends rather than tell of it.
    let told = std::iter::from_fn(|| earlier.read().ok().filter(|message| !message.is_close()));
    let told: Vec<String> = told.filter(|m| m.is_text()).map(|m| m.to_text().unwrap().to_owned()).collect();
    assert!(told.iter().all(|text| !text.contains("private too")), "{told:?}");
}

// row 6, row 10
#[test]
fn a_name_means_for_the_command_line_what_it_means_for_the_daemon() {
    let place = Place::new();
    let daemon = place.start();
    let mut shim = daemon.connect();
    daemon.start_session("asker", "/w/asker");
    for (id, nickname) in [("019d2222-1111", "loom@019d2222"), ("019d2222-9999", "loom@019d2222-2")] {
        shim.publish(id, nickname, "/w/loom");
    }
    // Answered once what came before is on the roster.
    shim.command("ReadMessages", json!({}));
    daemon.send("asker", "019d2222-1111", "for the first");
    daemon.send("asker", "019d2222-9999", "for the second");
    daemon.end_session("019d2222-1111");
    let ended = "asSession 'loom@019d2222' is not on the roster: it has ended";
    let commands: [&[&str]; 4] = [
        &["inbox", "--session", "loom@019d2222"],
        &["outbox", "--session", "loom@019d2222"],
        &["send", "--as", "loom@019d2222", "asker", "x"],
        &["inbox", "--session", "loom@019d2222", "--claim"],
    ];
    for command in commands {
        let ran = place.run(command);
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(ran.status.code() == Some(1) && said.contains(ended), "{command:?}: {said}");
        assert!(said.contains("019d2222-1111 (loom@019d2222, ended, /w/loom)"), "{said}");
    }
    assert_eq!(daemon.sessions()["019d2222-9999"]["unread"], 1, "nothing was taken on a guess");
    let body = json!({"asSession": "asker", "to": "019d2222", "body": "x"});
    let refused = daemon.post_json("/v1/messages", &body).json();
    let ran = place.run(&["send", "--as", "asker", "019d2222", "x"]);
    let said = String::from_utf8(ran.stderr).unwrap();
    let message = refused["error"]["message"].as_str().unwrap();
    let candidates = refused["error"]["candidates"].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
    let expected = candidates.fold(format!("marshal: {message}\n"), |text, line| text + "  " + line + "\n");
    assert_eq!((candidates_of(&refused), said.as_str()), (2, expected.as_str()));
    // What it prints, it can take: the whole of a name, and not the beginning of one.
    let ran = place.run(&["inbox", "--session", "loom@019d2222-"]);
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("only the beginning of a name"), "{said}");
    assert_eq!(daemon.sessions()["019d2222-9999"]["unread"], 1);
}

fn candidates_of(refused: &Value) -> usize {
    refused["error"]["candidates"].as_array().unwrap().len()
}

// row 54
#[test]
fn a_message_to_a_person_that_nobody_has_heard_of_is_stored_with_a_warning() {
    let place = Place::new();
    let daemon = place.start();
    daemon.start_session("a", "/w/x");
    daemon.start_session("b", "/w/x");
    let warned = |to: Value| {
        let answer = daemon.post_json("/v1/messages", &json!({"asSession": "a", "to": to, "body": "hi"}));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["warnings"].clone()
    };
    let warning = warned(json!("human:nosuch"))[0].as_str().unwrap().to_owned();
    assert!(warning.contains("nobody called 'nosuch' has written or read"), "{warning}");
    assert_eq!(warned(json!(["b", "human:nosuch"])), json!([warning]));
    for known in ["human:alice", "b", "@everyone"] {
        assert_eq!(warned(json!(known)), Value::Null, "{known}");
    }
    let ran = place.run(&["send", "--as", "a", "human:nosuch", "hi"]);
    let (text, said) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
    assert!(ran.status.success() && text.starts_with("stored as "), "{text}");
    assert_eq!(said, format!("marshal: {warning}\n"));
}

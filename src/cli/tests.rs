//! The command line from its arguments to its output, against a daemon that answers from a script.

use super::*;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

mod readers;

/// What a run left behind.
#[derive(Debug)]
struct Ran {
    step: Step,
    stdout: String,
    stderr: String,
    /// What the daemon was asked, one request after the other.
    asked: Vec<String>,
}

/// A standard output whose reader is gone.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers as many connections as there are answers, and tells what it was asked.
fn daemon(socket: PathBuf, answers: Vec<(u16, &'static str)>) -> std::thread::JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(&socket).unwrap();
    let serve = move || {
        let mut asked = Vec::new();
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut read, mut chunk) = (Vec::new(), [0; 4096]);
            loop {
                let text = String::from_utf8_lossy(&read).into_owned();
                let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
                let whole = text.find("\r\n\r\n").map(|head| head + 4 + length.unwrap_or(0));
                if whole == Some(read.len()) {
                    break;
                }
                let count = stream.read(&mut chunk).unwrap();
                assert!(count > 0, "the request ended early: {text}");
                read.extend_from_slice(&chunk[..count]);
            }
            let text = String::from_utf8(read).unwrap();
            let (head, body_read) = text.split_once("\r\n\r\n").unwrap();
            asked.push(format!("{} {body_read}", head.lines().next().unwrap().trim_end_matches(" HTTP/1.1")));
            // At once: a client that has seen enough is gone before a second piece.
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
        asked
    };
    std::thread::Builder::new().spawn(serve).unwrap()
}

/// Time for a test's command and its daemon to get done.
const DEADLINE: Duration = Duration::from_secs(30);

/// What `work` makes, in time: whatever hangs is left behind on its thread and fails the test.
fn in_time<T: Send + 'static>(time: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::sync_channel(1);
    let worker = std::thread::Builder::new().spawn(move || drop(done.send(work()))).unwrap();
    match result.recv_timeout(time) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("not done after {time:?}: the command or its daemon hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panicked) => std::panic::resume_unwind(panicked),
            Ok(()) => unreachable!("it has sent what it made"),
        },
    }
}

/// What the daemon was asked by a command that has ended: one that still waits to be asked finds out that nobody will.
fn asked_by_then(socket: &Path, served: std::thread::JoinHandle<Vec<String>>) -> Vec<String> {
    drop(UnixStream::connect(socket));
    match served.join() {
        Ok(asked) => asked,
        Err(panicked) => std::panic::resume_unwind(panicked),
    }
}

fn run_with(line: &[&str], env: &[(&str, &str)], stdin: &[u8], answers: Vec<(u16, &'static str)>) -> Ran {
    run_at(false, line, env, stdin, answers)
}

/// The same, where a person reads stdout or not.
fn run_at(terminal: bool, line: &[&str], env: &[(&str, &str)], stdin: &[u8], answers: Vec<(u16, &'static str)>) -> Ran {
    let line: Vec<OsString> = line.iter().map(OsString::from).collect();
    let env: Vec<(String, String)> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let stdin = stdin.to_vec();
    in_time(DEADLINE, move || run_to_its_end(terminal, line, &env, &stdin, answers))
}

fn run_to_its_end(
    terminal: bool,
    line: Vec<OsString>,
    env: &[(String, String)],
    stdin: &[u8],
    answers: Vec<(u16, &'static str)>,
) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let served = (!answers.is_empty()).then(|| daemon(dir.path().join("marshal.sock"), answers));
    let lookup = |name: &str| match name {
        "MARSHAL_STATE_DIR" => Some(dir.path().as_os_str().to_owned()),
        name => env.iter().find(|(key, _)| key == name).map(|(_, value)| OsString::from(value)),
    };
    let (mut stdout, mut stderr, mut stdin_bytes) = (Vec::new(), Vec::new(), stdin);
    let mut world = World {
        env: &lookup,
        stdin: &mut stdin_bytes,
        stdin_is_terminal: stdin.is_empty(),
        stdout: &mut stdout,
        stdout_is_terminal: terminal,
        stdout_is_discarded: false,
        stderr: &mut stderr,
        stderr_is_discarded: false,
        now_ms: 1_795_219_453_000,
        since: std::time::Instant::now(),
        zone: OnceCell::new(),
        program: "marshal".to_owned(),
    };
    let step = run(line, &mut world);
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(&dir.path().display().to_string(), "DIR");
    Ran {
        step,
        stdout: text(stdout),
        stderr: text(stderr),
        asked: served.map(|served| asked_by_then(&dir.path().join("marshal.sock"), served)).unwrap_or_default(),
    }
}

#[test]
#[should_panic(expected = "the request ended early")]
fn a_daemon_that_is_asked_less_than_it_has_answers_for_fails_its_test() {
    run_with(&["ls"], &[], b"", vec![(200, ROSTER), (200, ROSTER)]);
}

#[test]
#[should_panic(expected = "the command or its daemon hangs")]
fn what_hangs_fails_its_test() {
    let (_kept, never) = mpsc::channel::<()>();
    let _ = in_time(Duration::from_millis(50), move || never.recv());
}

const ROSTER: &str = r#"{"sessions":[{"sessionId":"id-1","nickname":"otter","connection":"connected","reach":"now","cwd":"/w","connectedAt":1795219441000},
    {"sessionId":"id-2","nickname":"heron\u001b","connection":"hooks","reach":"between_tools","state":"waiting","stateSince":1795219333000,
     "waitingFor":"Bash","agent":"claude","gitBranch":"main","unread":2,"cwd":"/w","connectedAt":1795219341000}]}"#;
const SENT: &str = r#"{"messageId":"m1","sentAt":1,"to":"id-1","toNick":"otter","recipients":[{"sessionId":"id-1","nickname":"otter","live":true}]}"#;
const INBOX: &str = r#"{"messages":[{"messageId":"m1","fromSessionId":"id-2","fromNick":"heron","toSessionId":"id-1","toNick":"otter","body":"hi","sentAt":1795219393000}],"waiting":3}"#;
const ACKED: &str = r#"{"newlyAcked":1,"alreadyAcked":0,"unknown":0}"#;

#[test]
fn without_a_daemon_the_way_to_one_is_told() {
    for command in ["ls", "rooms", "outbox", "history", "status"] {
        let ran = run_with(&[command], &[], b"", Vec::new());
        assert_eq!(ran.step, Step::Done(exit_code::UNAVAILABLE));
        let expected = "marshal is not running (no socket at DIR/marshal.sock). Start it with 'marshal serve'\n";
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", expected));
    }
}

#[test]
fn ls_lists_and_an_empty_roster_is_explained() {
    let ran = run_with(&["ls"], &[], b"", vec![(200, ROSTER)]);
    let expected = "\
NICKNAME  STATE                AGENT   BRANCH  UNREAD  REACH
heron\u{fffd}    waiting 2 min: Bash  claude  main    2       between tools
otter     -                    -       -       0       now
";
    assert_eq!((ran.step, ran.stdout.as_str(), ran.stderr.as_str()), (Step::Done(0), expected, ""));
    let ran = run_with(&["ls", "--names"], &[], b"", vec![(200, ROSTER)]);
    assert_eq!(ran.stdout, "heron\u{fffd}\notter\n");
    let ran = run_with(&["ls"], &[], b"", vec![(200, r#"{"sessions":[]}"#)]);
    assert_eq!((ran.step, ran.stdout.as_str()), (Step::Done(0), ""));
    assert!(ran.stderr.starts_with("marshal: the roster is empty."), "{}", ran.stderr);
}

#[test]
fn json_is_the_daemons_own() {
    let ran =
        run_with(&["ls", "--json"], &[], b"", vec![(200, "{\"sessions\":[{\"nickname\":\"\u{9b}x\",\"new\":1}]}")]);
    assert_eq!(ran.stdout, "{\"sessions\":[{\"nickname\":\"\\u009bx\",\"new\":1}]}\n");
}

#[test]
fn send_speaks_as_whom_it_should() {
    let ran = run_with(&["send", "otter", "hi", "there"], &[("USER", "ana")], b"", vec![(201, SENT)]);
    assert_eq!(ran.stdout, "stored as m1 for otter (connected: pushed to its client)\n");
    assert_eq!(ran.asked, [r#"POST /v1/messages {"body":"hi there","elseHuman":"ana","to":"otter"}"#]);
    let env = [("CLAUDE_CODE_SESSION_ID", "id-9"), ("USER", "ana")];
    let ran = run_with(&["send", "@all", "-"], &env, b"one\ntwo\n", vec![(201, SENT)]);
    assert_eq!(ran.asked, [r#"POST /v1/messages {"asSession":"id-9","body":"one\ntwo","to":"@all"}"#]);
    // row 10, row 8: what a name means, and whether it is several, the daemon says.
    let ran = run_with(&["send", "--as", "otter", "heron,owl", "x"], &env, b"", vec![(201, SENT)]);
    assert_eq!(ran.asked, [r#"POST /v1/messages {"asSession":"otter","body":"x","to":"heron,owl"}"#]);
}

#[test]
fn send_does_not_send_nothing_or_too_much() {
    let ran = run_with(&["send", "otter"], &[], b"", Vec::new());
    assert_eq!(ran.step, Step::Done(exit_code::USAGE));
    assert!(ran.stderr.contains("no message"), "{}", ran.stderr);
    let ran = run_with(&["send", "otter", "-"], &[], b" \n", Vec::new());
    assert_eq!(ran.step, Step::Done(exit_code::USAGE));
    let long = vec![b'x'; crate::limits::MESSAGE_BODY_BYTES_MAX + 1];
    let ran = run_with(&["send", "otter"], &[], &long, Vec::new());
    assert_eq!(ran.step, Step::Done(exit_code::REFUSED));
    assert!(ran.stderr.contains("longer than 65536 bytes"), "{}", ran.stderr);
    let ran = run_with(&["send", "otter"], &[], b"\xff\n", Vec::new());
    assert_eq!(ran.step, Step::Done(exit_code::REFUSED));
}

#[test]
fn refusals_are_printed_with_their_candidates() {
    let refusal = r#"{"error":{"code":"ambiguous","message":"'o' fits two\u001b","candidates":["otter","o\u0007wl"]}}"#;
    let ran = run_with(&["send", "o", "hi"], &[], b"", vec![(409, refusal)]);
    assert_eq!(ran.step, Step::Done(exit_code::REFUSED));
    assert_eq!(ran.stderr, "marshal: 'o' fits two\u{fffd}\n  otter\n  o\u{fffd}wl\n");
    let full = r#"{"error":{"code":"storage_full","message":"the disk is full"}}"#;
    let ran = run_with(&["send", "o", "hi"], &[], b"", vec![(507, full)]);
    assert_eq!((ran.step, ran.stderr.as_str()), (Step::Done(exit_code::REFUSED), "marshal: the disk is full\n"));
    let ran = run_with(&["ls"], &[], b"", vec![(500, "oops")]);
    assert_eq!(ran.stderr, "marshal: the daemon answered with status 500\n");
    let ran = run_with(&["ls"], &[], b"", vec![(200, "oops")]);
    assert_eq!(ran.step, Step::Done(exit_code::UNAVAILABLE));
    assert!(ran.stderr.starts_with("marshal's answer is not understood"), "{}", ran.stderr);
    for code in ["unknown_caller", "not_found"] {
        let unknown = Box::leak(format!(r#"{{"error":{{"code":"{code}","message":"x"}}}}"#).into_boxed_str());
        let ran = run_with(&["inbox"], &[("CLAUDE_CODE_SESSION_ID", "id-9")], b"", vec![(400, unknown)]);
        assert!(
            ran.stderr.starts_with("marshal: this shell belongs to the Claude Code session id-9"),
            "{}",
            ran.stderr
        );
    }
    let unknown = r#"{"error":{"code":"not_found","message":"no session 'o'"}}"#;
    let ran = run_with(&["send", "o", "x"], &[("CLAUDE_CODE_SESSION_ID", "id-9")], b"", vec![(404, unknown)]);
    assert!(ran.stderr.starts_with("marshal: no session 'o'\n"), "here the recipient is meant: {}", ran.stderr);
}

#[test]
fn inbox_acknowledges_what_it_has_printed() {
    let answers = vec![(200, INBOX), (200, ACKED)];
    let ran = run_with(&["inbox", "--human", "ana", "--limit", "1"], &[], b"", answers);
    let expected = "2026-11-21 00:03:13 UTC (1 min ago)  heron -> otter\n    hi\n  message m1, sender not verified\n";
    assert_eq!(ran.stdout, expected);
    assert_eq!(ran.stderr, "marshal: 1 of 3 unread messages shown: run 'marshal inbox --human ana' again.\n");
    let asked = ["GET /v1/inbox?human=ana&limit=1 ", r#"POST /v1/messages/ack {"human":"ana","messageIds":["m1"]}"#];
    assert_eq!(ran.asked, asked);
    let ran = run_with(&["inbox", "--session", "it's"], &[], b"", vec![(200, INBOX), (200, ACKED)]);
    assert!(
        ran.stderr.contains(r"1 of 3 unread messages shown: run 'marshal inbox --session 'it'\''s'' again"),
        "{}",
        ran.stderr
    );
    let ran = run_with(&["inbox", "--human", "ana", "--peek"], &[], b"", vec![(200, INBOX)]);
    assert_eq!((ran.step, ran.asked.len()), (Step::Done(0), 1), "a look changes nothing");
    let ran = run_with(&["inbox"], &[("USER", "ana")], b"", vec![(200, r#"{"messages":[],"waiting":0}"#)]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "marshal: no unread messages for ana.\n"));
    let refusal = r#"{"error":{"code":"storage_full","message":"the disk is full"}}"#;
    let ran = run_with(&["inbox", "--human", "a"], &[], b"", vec![(200, INBOX), (507, refusal)]);
    assert_eq!(ran.step, Step::Done(exit_code::REFUSED));
    assert!(ran.stderr.contains("the messages could not be marked as read: the disk is full"), "{}", ran.stderr);
}

#[test]
fn an_empty_inbox_under_another_name_says_what_could_be_meant() {
    let nothing = || (200, r#"{"messages":[],"waiting":0}"#);
    let unknown = r#"{"error":{"code":"unknown_caller","message":"no"}}"#;
    let ana = [("USER", "ana")];
    let ran = run_with(&["inbox", "--human", "otter"], &ana, b"", vec![nothing(), (200, r#"{"reader":"id-1"}"#)]);
    let expected = "marshal: no unread messages for otter.\n\
                    marshal: otter is a session: its inbox is 'marshal inbox --session otter'.\n";
    assert_eq!((ran.step, ran.stderr.as_str()), (Step::Done(0), expected));
    let ran = run_with(&["inbox", "--human", "b\x1bo"], &ana, b"", vec![nothing(), (400, unknown)]);
    let expected = "marshal: no unread messages for b\u{fffd}o.\n\
                    marshal: a person's inbox has exactly the name that senders write to (human:'b\u{fffd}o'); \
                    yours is 'marshal inbox --human ana', sessions and their names are in 'marshal ls'.\n";
    assert_eq!((ran.step, ran.stderr.as_str()), (Step::Done(0), expected));
    let ran = run_with(&["inbox", "--human", "ana"], &ana, b"", vec![nothing()]);
    assert_eq!(ran.stderr, "marshal: no unread messages for ana.\n", "it is one's own");
}

#[test]
fn status_ends_with_one_when_the_daemon_is_not_well() {
    for (health, code) in [("ok", exit_code::OK), ("storage_full: no space", exit_code::REFUSED)] {
        let body: &'static str = format!(r#"{{"health":"{health}","malformedLines":1}}"#).leak();
        let ran = run_with(&["status"], &[], b"", vec![(200, body)]);
        assert_eq!((ran.step, ran.stderr.as_str()), (Step::Done(code), ""));
        assert!(ran.stdout.starts_with(&format!("health     {health}\n")), "{}", ran.stdout);
        assert!(ran.stdout.ends_with("malformed  1 line ('marshal log check' names them)\n"), "{}", ran.stdout);
        let ran = run_with(&["status", "--json"], &[], b"", vec![(200, body)]);
        assert_eq!((ran.step, ran.stdout), (Step::Done(code), format!("{body}\n")));
    }
}

#[test]
fn a_reader_that_is_gone_ends_it_quietly_and_reads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let served = daemon(dir.path().join("marshal.sock"), vec![(200, INBOX)]);
    let mut stderr = Vec::new();
    let mut world = World {
        env: &|name| (name == "MARSHAL_STATE_DIR").then(|| dir.path().as_os_str().to_owned()),
        stdin: &mut io::empty(),
        stdin_is_terminal: true,
        stdout: &mut BufWriter::new(Gone),
        stdout_is_terminal: false,
        stdout_is_discarded: false,
        stderr: &mut stderr,
        stderr_is_discarded: false,
        now_ms: 0,
        since: std::time::Instant::now(),
        zone: OnceCell::new(),
        program: "marshal".to_owned(),
    };
    assert_eq!(run(["inbox".into()], &mut world), Step::Done(exit_code::OK));
    assert!(stderr.is_empty());
    assert_eq!(asked_by_then(&dir.path().join("marshal.sock"), served).len(), 1, "what nobody saw is not acknowledged");
}

#[test]
fn who_is_not_found_is_looked_for_with_ls() {
    let unknown = r#"{"error":{"code":"not_found","message":"no session with id 'ot' on the roster","candidates":["otter\u001b"]}}"#;
    let ran = run_with(&["send", "ot", "x"], &[], b"", vec![(404, unknown)]);
    let expected = "marshal: no session with id 'ot' on the roster\n  otter\u{fffd}\n  \
                    'marshal ls' lists the sessions, 'marshal rooms' the rooms\n";
    assert_eq!((ran.step, ran.stderr.as_str()), (Step::Done(exit_code::REFUSED), expected));
    let ran = run_with(&["send", "--reply-to", "m", "x"], &[], b"", vec![(404, unknown)]);
    assert!(ran.stderr.ends_with("  'marshal history' shows messages with their ids\n"), "{}", ran.stderr);
    let ran = run_with(&["send", "--reply-to", "m", "otter", "x"], &[], b"", vec![]);
    assert!(ran.stderr.contains("the text is one operand, in quotes"), "{}", ran.stderr);
    assert_eq!(ran.step, Step::Done(exit_code::USAGE));
    let refused = r#"{"error":{"code":"too_large","message":"no"}}"#;
    assert_eq!(run_with(&["send", "ot", "x"], &[], b"", vec![(413, refused)]).stderr, "marshal: no\n");
}

#[test]
fn history_asks_for_what_was_said() {
    let line = ["history", "--session", "otter", "--room", "@a b", "--since", "2h", "--before", "9-x", "--limit", "2"];
    let one = |id: &str, cursor: &str| -> &'static str {
        format!(r#"{{"messages":[{{"messageId":"{id}","body":"b"}}],"before":"{cursor}","newest":"8-n"}}"#).leak()
    };
    // The daemon looks as far as it may for one answer; the command goes on from there until it has enough.
    let answers = vec![(200, one("m2", "4-x")), (200, r#"{"messages":[],"before":"3-x"}"#), (200, one("m1", "2-x"))];
    let ran = run_with(&line, &[], b"", answers.clone());
    let filter = "GET /v1/messages?session=otter&room=%40a%20b";
    let asked = [
        format!("{filter}&before=9-x&since=1795212253000&limit=2 "),
        format!("{filter}&since=1795212253000&before=4-x&limit=1 "),
        format!("{filter}&since=1795212253000&before=3-x&limit=1 "),
    ];
    assert_eq!(ran.asked, asked);
    assert_eq!(ran.stderr, "marshal: 2 messages shown; there may be older ones: add --before 2-x\n");
    assert!(ran.stdout.find("message m1").unwrap() < ran.stdout.find("message m2").unwrap(), "{}", ran.stdout);
    let json = run_with(&[&line[..], &["--json"]].concat(), &[], b"", answers).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["messages"][0]["messageId"], &json["messages"][1]["messageId"]), (&"m1".into(), &"m2".into()));
    assert_eq!((&json["before"], &json["newest"]), (&"2-x".into(), &"8-n".into()));
    for bad in [["history", "--limit", "0"], ["history", "--since", "soon"], ["inbox", "--limit", "201"]] {
        assert_eq!(run_with(&bad, &[], b"", Vec::new()).step, Step::Done(exit_code::USAGE), "{bad:?}");
    }
}

#[test]
fn values_that_can_be_judged_without_the_daemon_are_and_the_right_ones_are_named() {
    let table: [(&[&str], &str); 9] = [
        (&["history", "--state", "raed"], "give one of queued, handed, read, expired"),
        (&["history", "--before", "yesterday"], "give a cursor, as an earlier page named it"),
        (&["history", "--before", "2h"], "give a cursor"),
        (&["outbox", "--before", "2h"], "give a cursor"),
        (&["history", "--since", "2026-13-01"], "a date (2026-11-21)"),
        (&["history", "--until", "soon"], "an age (30m, 2h, 3d)"),
        (&["send", "otter", "x", "--wait", "foo"], "--wait foo: give handed (each has taken it) or read"),
        (&["send", "otter", "x", "--priority", "hi"], "give now, next or low"),
        (&["send", "otter", "x", "--reply-within", "0s"], "give a time such as 90s"),
    ];
    for (line, told) in table {
        let ran = run_with(line, &[("USER", "ana")], b"", Vec::new());
        assert_eq!(ran.step, Step::Done(exit_code::USAGE), "{line:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(told), "{line:?}: {}", ran.stderr);
    }
    let ran = run_with(&["history", "--since", "2026-11-21"], &[], b"", vec![(200, r#"{"messages":[]}"#)]);
    assert_eq!(ran.asked, ["GET /v1/messages?since=1795219200000 "]);
}

#[test]
fn a_thread_is_asked_for_by_the_whole_id_of_its_message() {
    let found = r#"{"messages":[{"messageId":"m1-whole","body":"b"}]}"#;
    let ran = run_with(&["history", "--thread", "m1"], &[], b"", vec![(200, found), (200, found)]);
    assert_eq!(ran.asked, ["GET /v1/messages?message=m1 ", "GET /v1/messages?thread=m1-whole "]);
}

#[test]
fn whoever_waits_asks_again_what_has_become_of_it_while_the_daemon_was_away() {
    let (listening, stopping) = (": connected\n\n", r#"{"error":{"code":"unavailable","message":"stopping"}}"#);
    let read = r#"{"messageId":"m1","deliveries":[{"sessionId":"id-1","nickname":"otter","state":"read","at":0}]}"#;
    let answers = vec![
        (200, listening),
        (201, SENT),
        (503, stopping),
        (200, listening),
        (503, stopping),
        (200, listening),
        (200, read),
    ];
    let ran = run_with(&["send", "otter", "--wait", "read", "x"], &[("USER", "ana")], b"", answers);
    let told = "marshal: the connection to the daemon is lost: what was sent is stored; trying again.\n\
                marshal: the connection to the daemon is back.\n";
    assert_eq!((ran.step, ran.stderr.as_str()), (Step::Done(0), told), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("otter: read at 00:00:00 UTC\n"), "{}", ran.stdout);
    assert_eq!(ran.asked[4..], ["GET /v1/messages/m1 ", "GET /v1/events ", "GET /v1/messages/m1 "]);
}

/// A daemon that ends its stream, is stopping when it is asked again, comes back, and refuses in the end.
fn that_goes_and_comes(first: &'static str, then: &'static str) -> Vec<(u16, &'static str)> {
    let (listening, stopping) = (": connected\n\n", r#"{"error":{"code":"unavailable","message":"stopping"}}"#);
    let refused = r#"{"error":{"code":"forbidden","message":"no more"}}"#;
    vec![
        (200, listening),
        (200, first),
        (503, stopping),
        (200, listening),
        (503, stopping),
        (200, listening),
        (200, then),
        (403, refused),
    ]
}

const LOST: &str = "marshal: the connection to the daemon is lost (the daemon ended it): what is shown is old; trying again.\n\
    marshal: the connection to the daemon is back.\n\
    marshal: the connection to the daemon is lost (the daemon ended it): what is shown is old; trying again.\n\
    marshal: no more\n";

#[test]
fn whoever_looks_on_is_told_that_the_connection_is_lost_and_that_it_is_back() {
    let fewer = r#"{"sessions":[{"sessionId":"id-1","nickname":"otter"}]}"#;
    let ran = run_with(&["ls", "--watch"], &[], b"", that_goes_and_comes(ROSTER, fewer));
    assert_eq!((ran.step, ran.stderr.as_str()), (Step::Done(exit_code::REFUSED), LOST));
    assert_eq!((ran.stdout.matches("heron").count(), ran.stdout.matches("otter").count()), (1, 2), "{}", ran.stdout);
    let message = r#"{"messages":[{"messageId":"m1","body":"once"}],"newest":"1-x"}"#;
    let ran = run_with(&["history", "--follow"], &[], b"", that_goes_and_comes(message, r#"{"messages":[]}"#));
    assert_eq!((ran.step, ran.stderr.as_str()), (Step::Done(exit_code::REFUSED), LOST));
    assert_eq!(ran.stdout.matches("once").count(), 1, "{}", ran.stdout);
    assert_eq!(ran.asked[6], "GET /v1/messages?after=1-x&limit=200 ", "what it has missed");
}

#[test]
fn nobody_looks_on_for_ever_at_somebody_else_in_the_daemons_place() {
    let (listening, foreign) = (": connected\n\n", (7, "who is there?"));
    let ran = run_with(&["ls", "--watch"], &[], b"", vec![(200, listening), (200, ROSTER), foreign]);
    assert_eq!(ran.step, Step::Done(exit_code::UNAVAILABLE));
    assert!(ran.stderr.contains("is not marshal's"), "{}", ran.stderr);
}

#[test]
fn a_list_on_a_terminal_does_not_pass_for_a_live_one_when_the_daemon_is_gone() {
    let ran = run_at(true, &["ls", "--watch"], &[("TERM", "dumb")], b"", that_goes_and_comes(ROSTER, ROSTER));
    assert_eq!(ran.stderr, LOST);
    let screens: Vec<&str> = ran.stdout.split("\x1b[H\x1b[2J").skip(1).collect();
    let old = "NOT LIVE: the daemon is away. This is how it was at 2026-11-21 00:04:1";
    let first = |screen: &&str| screen.lines().next().unwrap_or_default().to_owned();
    let is_old: Vec<bool> =
        screens.iter().map(first).map(|line| line.starts_with(old) && line.ends_with(" UTC.")).collect();
    assert_eq!(is_old, [false, true, false, true], "{}", ran.stdout);
    assert!(screens.iter().all(|screen| screen.contains("heron") && screen.contains("NICKNAME")), "{}", ran.stdout);
}

#[test]
fn outbox_asks_for_what_one_has_sent() {
    let one = |id: &str, more: &str| -> &'static str {
        let delivery = r#"{"sessionId":"id-2","nickname":"heron","state":"queued"}"#;
        let message = format!(r#"{{"messageId":"{id}","toNick":"heron","body":"b","deliveries":[{delivery}]}}"#);
        format!(r#"{{"messages":[{message}]{more}}}"#).leak()
    };
    let line = ["outbox", "--session", "otter", "--before", "9-x", "--limit", "2"];
    let answers = vec![(200, one("m2", r#","before":"4-x""#)), (200, one("m1", r#","before":"2-x""#))];
    let ran = run_with(&line, &[], b"", answers.clone());
    let asked =
        ["GET /v1/outbox?session=otter&before=9-x&limit=2 ", "GET /v1/outbox?session=otter&before=4-x&limit=1 "];
    assert_eq!((ran.step, ran.asked), (Step::Done(0), asked.map(str::to_owned).to_vec()));
    assert_eq!(ran.stderr, "marshal: 2 messages shown; there may be older ones: add --before 2-x\n");
    assert!(ran.stdout.find(" m1 ").unwrap() < ran.stdout.find(" m2 ").unwrap(), "{}", ran.stdout);
    let ran = run_at(true, &[&line[..], &["--json"]].concat(), &[], b"", answers.clone());
    assert_eq!(ran.stderr, "marshal: 2 messages shown; there may be older ones: add --before 2-x\n");
    let ran = run_with(&[&line[..], &["--json"]].concat(), &[], b"", answers);
    assert_eq!(ran.stderr, "", "a program finds it in the answer");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&json["messages"][0]["messageId"], &json["before"]), (&"m1".into(), &"2-x".into()));
    let ran = run_with(&["outbox"], &[("USER", "ana")], b"", vec![(200, r#"{"messages":[]}"#)]);
    assert_eq!((ran.asked[0].as_str(), ran.stdout.as_str()), ("GET /v1/outbox?elseHuman=ana ", ""));
    assert_eq!(ran.stderr, "marshal: nothing was sent yet.\n");
    let unknown = r#"{"error":{"code":"unknown_caller","message":"asSession 'x' is not on the roster"}}"#;
    let ran = run_with(&["outbox", "--session", "x"], &[], b"", vec![(400, unknown)]);
    assert_eq!(ran.stderr, "marshal: asSession 'x' is not on the roster; 'marshal ls' lists the sessions\n");
    let ran = run_with(&["outbox", "--limit", "0"], &[], b"", Vec::new());
    assert_eq!(ran.step, Step::Done(exit_code::USAGE));
}

#[test]
fn serve_is_handed_on_with_its_settings() {
    let ran = run_with(&["serve", "--bind", "[::1]:1", "--log-level", "debug"], &[("HOME", "/h")], b"", Vec::new());
    let Step::Serve(config) = ran.step else { panic!("{ran:?}") };
    assert_eq!((config.ws_bind.as_str(), config.log_level), ("[::1]:1", log::LevelFilter::Debug));
    let ran = run_with(&["serve", "--bind", "nowhere"], &[], b"", Vec::new());
    assert_eq!(ran.step, Step::Done(exit_code::CONFIG));
}

#[test]
fn help_version_and_mistakes_need_no_daemon() {
    assert_eq!(run_with(&["-V"], &[], b"", Vec::new()).stdout, concat!("marshal ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = run_with(&["send", "--help"], &[], b"", Vec::new());
    assert_eq!((help.step, &help.stdout), (Step::Done(0), &run_with(&["help", "send"], &[], b"", Vec::new()).stdout));
    assert!(run_with(&["help"], &[], b"", Vec::new()).stdout.contains("Commands:\n  serve"));
    assert!(run_with(&["completions", "bash"], &[], b"", Vec::new()).stdout.contains("complete -F _marshal marshal"));
    let ran = run_with(&["completions", "tcsh"], &[], b"", Vec::new());
    assert_eq!(ran.step, Step::Done(exit_code::USAGE));
    let ran = run_with(&["sned\x1b", "x"], &[], b"", Vec::new());
    assert_eq!(ran.step, Step::Done(exit_code::USAGE));
    let expected = "marshal: unknown command 'sned\u{fffd}'; did you mean 'send'?\n  try 'marshal --help'\n";
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", expected));
}

#[test]
fn a_user_without_the_variable_is_found_in_the_list_of_users() {
    let list = "root:x:0:0:root:/root:/bin/sh\nodd\n:x:7:7::/:\nana:x:1000:1000::/home/ana:/bin/sh\n";
    let found = [0, 1000, 7, 5].map(|uid| super::user_name(list, uid));
    assert_eq!(found, [Some("root".into()), Some("ana".into()), None, None]);
}

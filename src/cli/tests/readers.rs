//! What the command line knows of whoever reads its output: the time zone, and how this program was called.

use super::*;

// row 58
#[test]
fn people_are_told_local_times_and_scripts_those_of_the_daemon() {
    let berlin = [("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")];
    let ran = run_with(&["inbox", "--human", "ana", "--peek"], &berlin, b"", vec![(200, INBOX)]);
    assert!(ran.stdout.starts_with("2026-11-21 01:03:13 CET (1 min ago)  heron"), "{}", ran.stdout);
    let ran = run_with(&["inbox", "--human", "ana", "--peek", "--json"], &berlin, b"", vec![(200, INBOX)]);
    assert!(ran.stdout.contains("\"sentAt\":1795219393000"), "{}", ran.stdout);
    let ran = run_with(&["history", "--since", "2026-11-21"], &berlin, b"", vec![(200, INBOX)]);
    assert_eq!(ran.asked, ["GET /v1/messages?since=1795215600000 "]);
    let ran = run_with(&["inbox", "--human", "ana", "--peek"], &[("TZ", "No/Where\x1b")], b"", vec![(200, INBOX)]);
    assert!(ran.stdout.starts_with("2026-11-21 00:03:13 UTC (1 min ago)"), "{}", ran.stdout);
    let told = "marshal: the time zone 'No/Where\u{fffd}' (TZ) cannot be read: times are in UTC.\n";
    assert!(ran.stderr.ends_with(told), "{}", ran.stderr);
}

// row 59
#[test]
fn every_hint_carries_the_state_directory_that_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("a b");
    std::fs::create_dir(&at).unwrap();
    let at = at.to_str().unwrap();
    let says = |line: &[&str], answers: Vec<(u16, &'static str)>, hint: &str| {
        let served = (!answers.is_empty()).then(|| daemon(PathBuf::from(at).join("marshal.sock"), answers));
        let ran = run_with(&[&["--state-dir", at], line].concat(), &[("USER", "ana")], b"", Vec::new());
        if let Some(served) = served {
            asked_by_then(&PathBuf::from(at).join("marshal.sock"), served);
            std::fs::remove_file(PathBuf::from(at).join("marshal.sock")).unwrap();
        }
        let program = format!("marshal --state-dir '{at}'");
        let (told, hint) = (format!("{}{}", ran.stdout, ran.stderr), hint.replace("marshal", &program));
        assert!(told.contains(&hint), "{line:?}: '{hint}' is not in: {told}");
    };
    let empty = r#"{"sessions":[]}"#;
    let none = r#"{"messages":[]}"#;
    let waiting = r#"{"messageId":"m1","to":"human:bo","toNick":"bo","recipients":[{"sessionId":"human:bo","nickname":"bo","live":false}]}"#;
    let unknown = r#"{"error":{"code":"not_found","message":"no"}}"#;
    let nobody = r#"{"error":{"code":"unknown_caller","message":"no"}}"#;
    let status = r#"{"health":"ok","malformedLines":1}"#;
    says(&["ls"], vec![], "Start it with 'marshal serve'");
    says(&["ls"], vec![(200, empty)], "'marshal status'");
    says(&["send", "bo", "x"], vec![(201, waiting)], "marshal inbox --human bo");
    says(&["send", "bo", "x"], vec![(404, unknown)], "'marshal ls'");
    says(&["send", "--as", "s", "bo", "x"], vec![(400, nobody)], "'marshal ls'");
    says(&["inbox", "--human", "bo"], vec![(200, none), (400, nobody)], "'marshal inbox --human ana'");
    says(&["inbox", "--human", "bo"], vec![(200, INBOX), (200, ACKED)], "'marshal inbox --human bo'");
    says(&["status"], vec![(200, status)], "'marshal log check'");
    says(&["log", "check"], vec![], "'marshal serve'");
    says(&["token", "show"], vec![], "'marshal serve'");
}

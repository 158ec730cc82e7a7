//! What the ends of transcripts show, and which files are read.

use super::*;
use crate::time::MonoMs;
use std::fs;
use std::io::Write;
use std::sync::Arc;

/// 2026-12-01 10:42:48 UTC
const AT: i64 = 1_796_121_768_000;

fn claude(lines: &[&str]) -> Verdict {
    verdict(Agent::Claude, lines.join("\n").as_bytes(), true)
}

fn codex(lines: &[&str]) -> Verdict {
    verdict(Agent::Codex, lines.join("\n").as_bytes(), true)
}

const PROMPT: &str = r#"{"type":"user","isSidechain":false,"message":{"role":"user","content":"first prompt"},"timestamp":"2026-12-01T10:42:15.694Z"}"#;
const TOOL: &str = r#"{"type":"assistant","isSidechain":false,"message":{"role":"assistant","stop_reason":"tool_use","content":[{"type":"tool_use","id":"t","name":"Bash","input":{}}]},"timestamp":"2026-12-01T10:42:40.000Z"}"#;
const REJECTED: &str = r#"{"type":"user","isSidechain":false,"message":{"role":"user","content":[{"type":"tool_result","content":"The user doesn't want to proceed","is_error":true,"tool_use_id":"t"}]},"timestamp":"2026-12-01T10:42:48.000Z","toolUseResult":"User rejected tool use"}"#;
const INTERRUPTED: &str = r#"{"type":"user","isSidechain":false,"message":{"role":"user","content":[{"type":"text","text":"[Request interrupted by user for tool use]"}]},"timestamp":"2026-12-01T10:42:48.000Z"}"#;
const DONE: &str = r#"{"type":"assistant","isSidechain":false,"message":{"role":"assistant","stop_reason":"end_turn","content":[{"type":"text","text":"done"}]},"timestamp":"2026-12-01T10:42:48.000Z"}"#;

/// What Claude Code 2.1.332 wrote, shortened.
#[test]
fn the_end_of_claude_code_s_transcript_shows_whether_its_turn_goes_on() {
    let kept = r#"{"type":"last-prompt","lastPrompt":"first prompt","sessionId":"s"}"#;
    let mode = r#"{"type":"mode","mode":"normal","sessionId":"s"}"#;
    let attachment = r#"{"type":"attachment","isSidechain":false,"attachment":{"type":"prompt_snapshot"},"timestamp":"2026-12-01T10:42:48.000Z"}"#;
    let duration = r#"{"type":"system","subtype":"turn_duration","durationMs":330,"isSidechain":false,"isMeta":false,"timestamp":"2026-12-01T10:42:48.000Z"}"#;
    let summary =
        r#"{"type":"system","subtype":"stop_hook_summary","isSidechain":false,"timestamp":"2026-12-01T10:42:47.000Z"}"#;
    let older = r#"{"type":"user","message":{"role":"user","content":"[Request interrupted by user]"},"timestamp":"2026-12-01T10:42:48.000Z"}"#;
    let sub = r#"{"type":"assistant","isSidechain":true,"message":{"role":"assistant","stop_reason":"end_turn","content":[]},"timestamp":"2026-12-01T10:42:49.000Z"}"#;
    let command = r#"{"type":"user","isSidechain":false,"message":{"role":"user","content":"<command-name>/cost</command-name>"},"timestamp":"2026-12-01T10:42:49.000Z"}"#;
    let meta = r#"{"type":"user","isMeta":true,"message":{"role":"user","content":"Caveat"},"timestamp":"2026-12-01T10:42:49.000Z"}"#;
    let untimed = r#"{"type":"user","message":{"role":"user","content":"[Request interrupted by user]"}}"#;
    let table: [(&[&str], Verdict); 13] = [
        (&[PROMPT, TOOL, kept, mode], Verdict::InTool),
        (&[PROMPT, TOOL, REJECTED, attachment, INTERRUPTED, kept, mode, ""], Verdict::Interrupted(AT)),
        (&[PROMPT, older], Verdict::Interrupted(AT)),
        (&[PROMPT, TOOL, INTERRUPTED, command, meta], Verdict::Interrupted(AT)),
        (&[PROMPT, TOOL, sub], Verdict::InTool),
        (&[PROMPT, DONE, summary, duration], Verdict::Ended(AT)),
        (&[PROMPT, DONE], Verdict::Ended(AT)),
        // The model is being asked: that may take long, or have been broken off before it said anything.
        (&[PROMPT, kept, mode], Verdict::Nothing),
        (&[PROMPT, TOOL, REJECTED], Verdict::Nothing),
        (&[DONE, duration, PROMPT], Verdict::Nothing),
        (&[PROMPT, untimed], Verdict::Nothing),
        (&[TOOL, "no JSON", "{}", "[]", r#"{"type":7}"#, r#"{"type":"user","message":{"content":7}"#], Verdict::InTool),
        (&[], Verdict::Nothing),
    ];
    for (lines, expected) in table {
        assert_eq!(claude(lines), expected, "{lines:#?}");
    }
}

/// What Codex 0.171 wrote, shortened.
#[test]
fn the_end_of_codex_transcript_shows_whether_its_turn_goes_on() {
    let event = |kind: &str| {
        format!(
            r#"{{"timestamp":"2026-12-01T10:42:48.000Z","ordinal":1,"type":"event_msg","payload":{{"type":"{kind}","turn_id":"t"}}}}"#
        )
    };
    let item = |kind: &str| {
        format!(
            r#"{{"timestamp":"2026-12-01T10:42:47.000Z","ordinal":1,"type":"response_item","payload":{{"type":"{kind}"}}}}"#
        )
    };
    let usage = r#"{"timestamp":"2026-12-01T10:42:48.000Z","type":"token_usage_record","payload":{"thread_id":"t"}}"#;
    let (started, aborted, complete) = (event("task_started"), event("turn_aborted"), event("task_complete"));
    let (call, output, count) = (item("function_call"), item("function_call_output"), event("token_count"));
    assert_eq!(codex(&[&started, &call, usage]), Verdict::InTool);
    assert_eq!(codex(&[&started, &call, usage, &output, &count, &aborted]), Verdict::Interrupted(AT));
    assert_eq!(codex(&[&started, &call, &output, &item("message"), &complete, &count]), Verdict::Ended(AT));
    assert_eq!(codex(&[&complete, &started]), Verdict::Nothing);
    assert_eq!(codex(&[&started, &call, &output]), Verdict::Nothing, "the model is being asked");
    assert_eq!(verdict(Agent::Gemini, call.as_bytes(), true), Verdict::Nothing, "its transcript is of another form");
}

// row 26
#[test]
fn the_version_that_wrote_a_transcript_is_that_of_its_last_line_with_one() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s.jsonl");
    let line = |version: &str| format!(r#"{{"type":"user","version":"{version}","sessionId":"s"}}"#);
    for (lines, expected) in [
        (vec![line("2.1.60"), line("2.1.332"), PROMPT.to_owned()], Some([2, 1, 332])),
        (vec![line("2.1.332"), line("2.1.60")], Some([2, 1, 60])),
        (vec![line("2.1"), line("next"), PROMPT.to_owned(), "no JSON".to_owned()], None),
        (vec![], None),
    ] {
        fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(claude_version(&path), expected, "{lines:?}");
    }
    assert_eq!(claude_version(Path::new("/none.jsonl")), None);
}

fn silent(transcript: &Path, heard_wall_ms: i64, silent_ms: i64) -> SilentTurn {
    SilentTurn {
        session: SessionId::from("s"),
        agent: Agent::Claude,
        transcript: Arc::from(transcript.to_str().unwrap()),
        heard_at: MonoMs(7),
        heard_wall_ms,
        silent_ms,
    }
}

#[test]
fn what_was_written_before_the_last_hook_is_of_an_earlier_turn() {
    let path = Path::new("/x.jsonl");
    let turn = |heard| silent(path, heard, HOOKS_SILENT_MS + 1);
    assert_eq!(seen(Verdict::Interrupted(AT), &turn(AT - 5_000)), Some(SeenTurn::Over(AT)));
    assert_eq!(seen(Verdict::Interrupted(AT), &turn(AT + 500)), Some(SeenTurn::Over(AT)), "a hook takes its time");
    assert_eq!(seen(Verdict::Interrupted(AT), &turn(AT + 5_000)), None);
    assert_eq!(seen(Verdict::Ended(AT), &turn(AT - 5_000)), Some(SeenTurn::Over(AT)));
    assert_eq!(seen(Verdict::Ended(AT), &turn(AT + 5_000)), None);
    assert_eq!(seen(Verdict::InTool, &turn(AT)), Some(SeenTurn::InTool));
    // Its hooks may still make the turn go on.
    assert_eq!(seen(Verdict::Ended(AT), &silent(path, AT, HOOKS_SILENT_MS)), None);
    assert_eq!(seen(Verdict::Interrupted(AT), &silent(path, AT, 4_000)), Some(SeenTurn::Over(AT)));
}

#[test]
fn a_transcript_is_looked_at_again_when_it_has_changed_or_was_replaced() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s.jsonl");
    let (mut known, turn) = (HashMap::new(), silent(&path, AT - 5_000, 4_000));
    assert_eq!(look(&turn, &mut known), None, "there is none yet");
    fs::write(&path, format!("{PROMPT}\n{TOOL}\n")).unwrap();
    for _ in 0..2 {
        assert_eq!(look(&turn, &mut known), Some(SeenTurn::InTool));
    }
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    writeln!(file, "{REJECTED}").unwrap();
    assert_eq!(look(&turn, &mut known), None);
    // Half a line is no line.
    write!(file, "{}", &INTERRUPTED[..50]).unwrap();
    assert_eq!(look(&turn, &mut known), None);
    writeln!(file, "{}", &INTERRUPTED[50..]).unwrap();
    assert_eq!(look(&turn, &mut known), Some(SeenTurn::Over(AT)));
    let other = place.path().join("t.jsonl");
    fs::write(&other, format!("{TOOL}\n")).unwrap();
    fs::rename(&other, &path).unwrap();
    assert_eq!(look(&turn, &mut known), Some(SeenTurn::InTool));
    fs::remove_file(&path).unwrap();
    assert_eq!(look(&turn, &mut known), None);
}

#[test]
fn of_a_huge_transcript_the_end_is_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s.jsonl");
    let mut file = File::create(&path).unwrap();
    // A hole of many gigabytes.
    file.set_len(1 << 36).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    writeln!(file, "\n{INTERRUPTED}").unwrap();
    let turn = silent(&path, AT, 4_000);
    assert_eq!(look(&turn, &mut HashMap::new()), Some(SeenTurn::Over(AT)));
    // A last line that is longer than what is read shows nothing.
    writeln!(file, "{{\"type\":\"user\",\"x\":\"{}\"}}", "x".repeat(TRANSCRIPT_TAIL_BYTES_MAX)).unwrap();
    assert_eq!(look(&turn, &mut HashMap::new()), None);
}

#[test]
fn only_regular_files_of_this_user_are_read() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let us = geteuid().as_raw();
    fs::write(path("s.jsonl"), TOOL).unwrap();
    assert!(open(&path("s.jsonl"), us).is_some());
    assert!(open(&path("s.jsonl"), us + 1).is_none(), "another user's");
    fs::write(path("s.txt"), TOOL).unwrap();
    std::os::unix::fs::symlink(path("s.jsonl"), path("link.jsonl")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo.jsonl"), 0o600.into()).unwrap();
    fs::create_dir(path("dir.jsonl")).unwrap();
    for name in ["s.txt", "link.jsonl", "fifo.jsonl", "dir.jsonl", "none.jsonl"] {
        assert!(open(&path(name), us).is_none(), "{name}");
    }
    assert!(open(Path::new("s.jsonl"), us).is_none(), "a relative path means something else to the agent");
    assert!(open(Path::new("/dev/zero"), us).is_none());
}

#[test]
fn what_is_known_of_transcripts_is_bounded() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("s.jsonl");
    fs::write(&path, format!("{TOOL}\n")).unwrap();
    let mut known = HashMap::new();
    for number in 0..TRANSCRIPTS_KNOWN_MAX + 10 {
        let session = SessionId::from(number.to_string().as_str());
        look(&SilentTurn { session, ..silent(&path, AT, 4_000) }, &mut known).unwrap();
        assert!(known.len() <= TRANSCRIPTS_KNOWN_MAX);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), at in 0..400_usize) {
        let mut text = format!("{PROMPT}\n{TOOL}\n{INTERRUPTED}\n").into_bytes();
        let at = at % text.len();
        text.splice(at..at, bytes);
        for agent in Agent::ALL {
            let _ = verdict(agent, &text, true);
            let _ = verdict(agent, &text, false);
        }
    }
}

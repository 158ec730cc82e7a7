//! `marshal hook ...`: what an agent's hooks run where there is no curl, and what waits for a session's mail to wake it. An
//! agent takes what this prints, and how it ends, for something that it was told: whatever goes wrong, it says nothing and
//! ends with 0. It must not wake anybody because the daemon is not there.

use super::args::Parsed;
use super::hook_input;
use super::http_client::{Client, Failure, Held, target};
use super::rewake;
use super::{Problem, World};
use crate::bom;
use crate::config;
use crate::error::exit_code;
use crate::limits::{
    HOOK_BODY_BYTES_MAX, HOOK_DEADLINE, WAIT_AGAIN_PAUSES_S, WAIT_PATIENCE, WAIT_SECONDS_MAX, WAIT_UNHEARD_OF_MAX,
};
use crossbeam_channel::after;
use rustix::process::{Pid, getppid, test_kill_process};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// `marshal hook wait|claude|codex|gemini`
pub(crate) fn hook(parsed: &Parsed, world: &mut World<'_>) -> Result<(), Problem> {
    let which = parsed.operands.first().and_then(|word| word.to_str()).unwrap_or_default();
    if !["wait", "claude", "codex", "gemini"].contains(&which) {
        return Err(parsed.usage(format!("'{which}' is none of wait, claude, codex, gemini")).into());
    }
    if let Some(name) = ["for", "timeout"].into_iter().find(|name| which != "wait" && parsed.has(name)) {
        return Err(parsed.usage(format!("--{name} is for 'wait'")).into());
    }
    let timeout = match parsed.text("timeout")?.map(str::parse) {
        None => WAIT_SECONDS_MAX,
        Some(Ok(seconds @ 1..=WAIT_SECONDS_MAX)) => seconds,
        Some(_) => return Err(parsed.usage(format!("--timeout: give 1 to {WAIT_SECONDS_MAX} seconds")).into()),
    };
    let urgency = match parsed.text("for")? {
        None => "now",
        Some(urgency @ ("now" | "next")) => urgency,
        Some(other) => return Err(parsed.usage(format!("--for {other}: now or next")).into()),
    };
    let session = parsed.text("session")?;
    if world.stdin_is_terminal && session.is_none() {
        return Err(parsed.usage("the hook's JSON is read from stdin; or name a session with --session").into());
    }
    // Read in any case: a host takes a hook that does not for a broken one.
    let input = if world.stdin_is_terminal { Vec::new() } else { hook_input::read(world.stdin) };
    let Ok(state_dir) = config::state_dir_or(parsed.value("state-dir"), world.env) else { return Ok(()) };
    let mut call = Call { socket: config::socket_path(&state_dir), query: place(parsed, world) };
    // What a person types can be a nickname: the daemon says whose it is.
    let named = session.filter(|_| !names_session(&input));
    call.query.extend(named.map(|name| ("session", name.to_owned())));
    if which != "wait" {
        return tell(&call, which, input, named.is_some(), world);
    }
    // Who names a session has asked for it; a hook does not.
    if is_unattended(world) || (named.is_none() && !rewake::is_known(&fields(&input), world)) {
        return Ok(());
    }
    let Some(body) = wait_body(&input, named.is_some()) else { return Ok(()) };
    let wish = Wish { urgency, until: Instant::now() + Duration::from_secs(timeout), pid: pid(parsed, world) };
    match call.wait(&body, &wish) {
        Some(held) => wake(held, world),
        None => Ok(()),
    }
}

/// Nobody can wake a session that ends with its answer, and its host would wait for the one who tries.
fn is_unattended(world: &World<'_>) -> bool {
    let is = |name: &str, value: &str| config::set(world.env, name).is_some_and(|found| found == *value);
    is("CLAUDE_CODE_SESSION_ATTENDED", "0") || is("CLAUDE_CODE_ENTRYPOINT", "sdk-cli")
}

/// The process that the session lives in, where that is said.
fn pid(parsed: &Parsed, world: &World<'_>) -> Option<i32> {
    let said = parsed.value("pid").map(Into::into).or_else(|| config::set(world.env, "CLAUDE_PID"))?;
    said.to_str()?.parse().ok().filter(|pid| *pid > 1)
}

/// Where the session lives, as a hook says it.
fn place(parsed: &Parsed, world: &World<'_>) -> Vec<(&'static str, String)> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut query = vec![
        ("host", name.split('.').next().unwrap_or_default().to_owned()),
        ("os", std::env::consts::OS.to_owned()),
        ("arch", std::env::consts::ARCH.to_owned()),
    ];
    query.extend(config::operator(world.env).map(|name| ("operator", name)));
    query.extend(pid(parsed, world).map(|pid| ("pid", pid.to_string())));
    query
}

/// Hands an event over, and prints what is answered.
fn tell(call: &Call, host: &str, input: Vec<u8>, is_named: bool, world: &mut World<'_>) -> Result<(), Problem> {
    let input = if is_named && input.trim_ascii().is_empty() { b"{}".to_vec() } else { shortened(input) };
    let client = Client::patient(&call.socket, HOOK_DEADLINE);
    if let Ok(held) = client.post_and_hold(&target(&format!("/hook/{host}"), &call.query), &input)
        && held.answer.status == 200
        && world.print(&held.answer.body).is_ok()
        && !world.stdout_is_discarded
    {
        // Without this the daemon counts the answer as lost, and delivers its mail again.
        held.take();
    }
    Ok(())
}

/// Drops the largest fields of an event until the daemon keeps all of it: tool results, which the daemon never reads. Bytes
/// that are no JSON stay as they are, because the daemon reads the fields at their beginning.
fn shortened(input: Vec<u8>) -> Vec<u8> {
    if input.len() <= HOOK_BODY_BYTES_MAX {
        return input;
    }
    let Ok(mut event) = serde_json::from_slice::<Map<String, Value>>(bom::without(&input)) else { return input };
    let mut sizes: Vec<(usize, String)> =
        event.iter().map(|(name, value)| (value.to_string().len(), name.clone())).collect();
    sizes.sort_unstable();
    let mut total: usize = sizes.iter().map(|(size, name)| size + name.len() + 4).sum();
    while total > HOOK_BODY_BYTES_MAX
        && let Some((size, name)) = sizes.pop()
    {
        total -= size + name.len() + 4;
        event.remove(&name);
    }
    Value::Object(event).to_string().into_bytes()
}

/// The fields of an event; none of what is no event.
fn fields(input: &[u8]) -> Map<String, Value> {
    serde_json::from_str(&String::from_utf8_lossy(bom::without(input))).unwrap_or_default()
}

/// Whether an event says which session it is of.
fn names_session(input: &[u8]) -> bool {
    let event = fields(input);
    let says = |name: &str| event.get(name).and_then(Value::as_str).is_some_and(|id| !id.is_empty());
    ["session_id", "sessionId", "conversation_id"].into_iter().any(says)
}

/// What the daemon needs to know of the event at which somebody begins to wait; none if it is not known whose it is.
fn wait_body(input: &[u8], is_named: bool) -> Option<String> {
    let event = fields(input);
    // Includes the fields that tell other programs from the agent: the daemon sends those away.
    let names = [
        "session_id",
        "cwd",
        "hook_event_name",
        "agent_id",
        "transcript_path",
        "timestamp",
        "cursor_version",
        "conversation_id",
    ];
    let body: Map<String, Value> =
        names.iter().filter_map(|name| Some(((*name).to_owned(), event.get(*name)?.clone()))).collect();
    (is_named || names_session(input)).then(|| Value::Object(body).to_string())
}

/// The text goes where the host reads it, and the exit code has it begin a turn with it.
fn wake(held: Held, world: &mut World<'_>) -> Result<(), Problem> {
    let written = world.stderr.write_all(held.answer.body.as_bytes()).and_then(|()| world.stderr.flush());
    // A closed or discarded stderr cannot wake the session: the daemon counts the answer as lost.
    if written.is_ok() && !world.stderr_is_discarded {
        held.take();
        return Err(Problem::new(exit_code::WOKEN, String::new()));
    }
    Err(Problem::new(exit_code::OK, String::new()))
}

/// The way to the daemon, and what each call says besides.
struct Call {
    socket: PathBuf,
    query: Vec<(&'static str, String)>,
}

/// For what somebody waits, and for how long.
struct Wish<'a> {
    urgency: &'a str,
    until: Instant,
    /// The process of the session.
    pid: Option<i32>,
}

impl Call {
    /// Waits for mail; none if it is in vain. Where the daemon goes meanwhile it is waited for for a while, so that a restart
    /// leaves nobody deaf.
    fn wait(&self, body: &str, wish: &Wish<'_>) -> Option<Held> {
        let parent = getppid();
        let mut pauses = WAIT_AGAIN_PAUSES_S.iter();
        let (mut has_waited, mut unheard_of) = (false, 0);
        loop {
            let begun = Instant::now();
            let left = wish.until.checked_duration_since(begun).filter(|left| left.as_secs() > 0)?;
            match self.ask(body, wish, left) {
                Ok(held) if held.answer.status == 200 && !held.answer.body.is_empty() => return Some(held),
                // A hook of the same event, which runs beside this one, brings the session onto the roster.
                Ok(held) if held.answer.status == 404 && unheard_of < WAIT_UNHEARD_OF_MAX => unheard_of += 1,
                Ok(held) if held.answer.comes_again => has_waited = true,
                // It died while we waited.
                Err(Failure::CutShort) => has_waited = true,
                // It is on its way back.
                Err(Failure::NoSocket | Failure::NotListening) if has_waited => {}
                _ => return None,
            }
            if begun.elapsed() > WAIT_PATIENCE {
                pauses = WAIT_AGAIN_PAUSES_S.iter();
            }
            // Nothing comes before its time: this is a pause.
            let _ = after(Duration::from_secs(*pauses.next()?)).recv();
            let is_orphan = getppid() != parent;
            let is_alive = |pid: i32| Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok());
            if is_orphan || wish.pid.is_some_and(|pid| !is_alive(pid)) {
                return None;
            }
        }
    }

    fn ask(&self, body: &str, wish: &Wish<'_>, left: Duration) -> Result<Held, Failure> {
        let mut query = self.query.clone();
        query.push(("for", wish.urgency.to_owned()));
        query.push(("timeout", left.as_secs().to_string()));
        // The daemon ends it; this is for one that hangs.
        Client::patient(&self.socket, left + WAIT_PATIENCE).post_and_hold(&target("/hook/wait", &query), body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whose_mail_is_waited_for_is_said_by_the_event_or_by_name() {
        let event = br#"{"session_id":"s","hook_event_name":"Stop","cwd":"/w","last_assistant_message":"long"}"#;
        assert_eq!(
            wait_body(event, false).unwrap(),
            r#"{"cwd":"/w","hook_event_name":"Stop","session_id":"s"}"#,
            "of the event no more than that"
        );
        // row 32
        let marked = b"\xef\xbb\xbf{\"session_id\":\"s\",\"prompt\":\"\xff\"}";
        assert_eq!(wait_body(marked, false).unwrap(), r#"{"session_id":"s"}"#);
        // row 25
        let cursor = r#"{"conversation_id":"c","cursor_version":"3.1","session_id":"c"}"#;
        assert_eq!(wait_body(cursor.as_bytes(), false).unwrap(), cursor, "the daemon shall know whose it is");
        assert_eq!(wait_body(b"", true).unwrap(), "{}");
        assert_eq!(
            wait_body(br#"{"session_id":"","agent_id":"x"}"#, true).unwrap(),
            r#"{"agent_id":"x","session_id":""}"#
        );
        for nobody in ["", "no JSON", "[]", r#"{"session_id":""}"#, r#"{"session_id":7}"#, "{}"] {
            assert_eq!(wait_body(nobody.as_bytes(), false), None, "{nobody}");
        }
    }

    // row 33
    #[test]
    fn an_event_that_is_larger_than_what_the_daemon_keeps_loses_its_largest_parts() {
        let large = "x".repeat(HOOK_BODY_BYTES_MAX);
        let event = json!({"session_id": "s", "tool_response": large, "tool_input": {"a": large}, "tool_name": "Bash"});
        let short: Value = serde_json::from_slice(&shortened(event.to_string().into_bytes())).unwrap();
        assert_eq!(short, json!({"session_id": "s", "tool_name": "Bash"}));
        let marked = format!("\u{feff}{event}");
        let short: Value = serde_json::from_slice(&shortened(marked.into_bytes())).unwrap();
        assert_eq!(short, json!({"session_id": "s", "tool_name": "Bash"}));
        let broken = [event.to_string().as_bytes(), b"\xff"].concat();
        for kept in [br#"{"session_id": "s"}"#.to_vec(), broken, {
            json!({"session_id": "s", "prompt": "x".repeat(HOOK_BODY_BYTES_MAX - 100)}).to_string().into_bytes()
        }] {
            assert_eq!(shortened(kept.clone()), kept);
        }
    }
}

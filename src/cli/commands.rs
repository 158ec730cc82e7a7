//! What each command asks of the daemon and shows of the answer. It must not read the environment or open a file: all
//! that it needs comes in through [`World`] and [`Caller`].

use super::args::Parsed;
use super::http_client::{Answer, Client, Failure, target};
use super::identity::{Source, Speaker, answer_about, answer_for, person, speaker};
use super::wire::{Claimed, Messages, Refusal, Rooms, Status};
use super::{Problem, World, render, text};
use crate::error::exit_code;
use crate::event_log::lock::LOCK_NAME;
use crate::ids::HUMAN_PREFIX;
use crate::limits::{ACK_IDS_MAX, CLIENT_DEADLINE, PAGE_MESSAGES_MAX};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

const UNKNOWN: &str = " It is not known whether the request was carried out.";

/// One command on its way: the line it came from, and the daemon it goes to.
pub(crate) struct Caller<'a> {
    pub(crate) parsed: &'a Parsed,
    pub(crate) state_dir: &'a Path,
    pub(crate) socket: &'a Path,
    /// Whether Codex runs the command in a sandbox without network.
    pub(crate) in_codex_sandbox: bool,
}

impl Caller<'_> {
    pub(crate) fn get(&self, path: &str, query: &[(&str, String)]) -> Result<String, Problem> {
        self.checked(Client::new(self.socket).get(&target(path, query)), false)
    }

    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> Result<String, Problem> {
        self.checked(Client::new(self.socket).post(path, &body.to_string()), true)
    }

    /// The body of an answer that grants the request.
    pub(crate) fn checked(&self, answer: Result<Answer, Failure>, changes: bool) -> Result<String, Problem> {
        let answer = answer.map_err(|failure| self.no_answer(&failure, changes))?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let Ok(Refusal { error }) = serde_json::from_str(&answer.body) else {
            return Err(Problem::new(exit_code::REFUSED, format!("the daemon answered with status {}", answer.status)));
        };
        let message = match error.message.as_str() {
            "" => format!("the daemon answered with status {}", answer.status),
            message => text::line(message),
        };
        let candidates = error.candidates.iter().map(|candidate| text::line(candidate)).collect();
        Err(Problem { more: candidates, daemon_code: error.code, ..Problem::new(exit_code::REFUSED, message) })
    }

    pub(crate) fn no_answer(&self, failure: &Failure, changes: bool) -> Problem {
        let socket = text::line(&self.socket.display().to_string());
        let unknown = if changes { UNKNOWN } else { "" };
        let (code, message) = match failure {
            Failure::NoSocket | Failure::NotListening => {
                let what = if *failure == Failure::NoSocket { "no socket" } else { "nobody listens" };
                let message = format!("marshal is not running ({what} at {socket}). Start it with 'marshal serve'");
                (exit_code::UNAVAILABLE, message)
            }
            Failure::NotPermitted => {
                (exit_code::PERMISSION, format!("no permission to use {socket}: it belongs to another user"))
            }
            Failure::Sandboxed => (exit_code::PERMISSION, self.sandboxed(&socket)),
            Failure::PathTooLong => {
                let message = format!("the path {socket} is too long for a socket: set a shorter MARSHAL_STATE_DIR");
                (exit_code::CONFIG, message)
            }
            Failure::Late => return self.late(CLIENT_DEADLINE, changes),
            Failure::CutShort => {
                (exit_code::UNAVAILABLE, format!("marshal's answer was cut short; is it stopping?{unknown}"))
            }
            Failure::Garbage(why) => {
                (exit_code::UNAVAILABLE, format!("the answer at {socket} is not marshal's: {why}.{unknown}"))
            }
            Failure::System(error) => (exit_code::UNAVAILABLE, format!("cannot talk to {socket}: {error}.{unknown}")),
        };
        Problem { is_foreign: matches!(failure, Failure::Garbage(_)), ..Problem::new(code, message) }
    }

    /// Says which setting lets a sandboxed command out.
    fn sandboxed(&self, socket: &str) -> String {
        if self.in_codex_sandbox {
            return "Codex' sandbox keeps commands from marshal's socket. Ask your user to allow them network access \
                    (network_access = true under [sandbox_workspace_write] in ~/.codex/config.toml), or to approve this \
                    command outside the sandbox"
                .to_owned();
        }
        format!("the system forbids this process to use {socket}, as a sandbox does: run the command outside of it")
    }

    /// No answer came within `deadline`.
    pub(crate) fn late(&self, deadline: Duration, changes: bool) -> Problem {
        let unknown = if changes { UNKNOWN } else { "" };
        let (seconds, lock) = (deadline.as_secs(), self.state_dir.join(LOCK_NAME));
        let message = format!(
            "marshal did not answer within {seconds} s.{unknown} If 'marshal status' gets no answer either, it hangs: \
             its pid stands in {}",
            text::line(&lock.display().to_string())
        );
        Problem::new(exit_code::UNAVAILABLE, message)
    }

    /// This command as it was typed, with whose inbox it is about.
    fn again(&self) -> Result<String, Problem> {
        let mut line = format!("marshal {}", self.parsed.command.name);
        for name in ["session", "human"] {
            if let Some(value) = self.parsed.text(name)? {
                let _ = write!(line, " --{name} {}", text::shell(value));
            }
        }
        if self.parsed.has("ack") {
            line.push_str(" --ack");
        }
        Ok(line)
    }

    /// The number of messages asked for.
    pub(super) fn limit(&self) -> Result<Option<usize>, Problem> {
        let Some(text) = self.parsed.text("limit")? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(limit) if (1..=PAGE_MESSAGES_MAX).contains(&limit) => Ok(Some(limit)),
            _ => Err(self.parsed.usage(format!("--limit {text}: give a number from 1 to {PAGE_MESSAGES_MAX}")).into()),
        }
    }

    /// Who speaks, or whose inbox it is, as it was typed: what a name means the daemon says.
    pub(crate) fn speaker(&self, world: &World<'_>, session_flag: &str, human_flag: &str) -> Result<Speaker, Problem> {
        Ok(speaker(self.parsed, session_flag, human_flag, world.env)?)
    }
}

pub(crate) fn parse<T: DeserializeOwned>(body: &str) -> Result<T, Problem> {
    serde_json::from_str(body)
        .map_err(|error| Problem::new(exit_code::UNAVAILABLE, format!("marshal's answer is not understood: {error}")))
}

/// Prints the answer, as it is or for people.
pub(crate) fn show<T: DeserializeOwned>(
    caller: &Caller<'_>,
    world: &mut World<'_>,
    body: &str,
    render: impl FnOnce(&T, &World<'_>) -> String,
) -> Result<T, Problem> {
    let answer = parse::<T>(body)?;
    let text =
        if caller.parsed.has("json") { format!("{}\n", text::json(body.trim_end())) } else { render(&answer, world) };
    world.print(&text)?;
    Ok(answer)
}

pub(crate) fn rooms(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    let body = caller.get("/v1/rooms", &[])?;
    let answer: Rooms = show(caller, world, &body, |answer: &Rooms, world| match answer.rooms.len() {
        0 => String::new(),
        _ => render::rooms(answer, world.colour()),
    })?;
    if answer.rooms.is_empty() {
        world.note("there are no rooms yet: they appear with the first session.");
    }
    Ok(())
}

pub(crate) fn status(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    let body = caller.get("/v1/status", &[])?;
    let answer = show(caller, world, &body, |answer: &Status, world| render::status(answer, &world.reader()))?;
    if answer.health == "ok" { Ok(()) } else { Err(Problem::new(exit_code::REFUSED, String::new())) }
}

pub(crate) fn inbox(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    let limit = caller.limit()?;
    let speaker = caller.speaker(world, "session", "human")?;
    if !caller.parsed.has("peek") {
        world.must_show()?;
    }
    if caller.parsed.has("claim") {
        claim(caller, world, &speaker)?;
    }
    let mut query = vec![speaker.query()];
    query.extend(limit.map(|limit| ("limit", limit.to_string())));
    let body = answer_about(&speaker, caller.get("/v1/inbox", &query))?;
    let take = take(caller, &speaker, &parse(&body)?)?;
    let answer: Messages =
        show(caller, world, &body, |answer: &Messages, world| render::messages(answer, &world.reader()))?;
    if answer.messages.is_empty() {
        let name = match (&speaker, &answer.reader) {
            // Whose inbox it was, the daemon has found out.
            (Speaker::HumanElse(_), Some(reader)) => reader.strip_prefix(HUMAN_PREFIX).unwrap_or(reader),
            _ => speaker.name(),
        };
        world.note(&format!("no unread messages for {}.", text::line(name)));
        if let Speaker::Human(name) = &speaker {
            note_other_name(caller, world, name);
        }
    }
    let shown = u64::try_from(answer.messages.len()).unwrap_or(u64::MAX);
    if answer.waiting > shown {
        let waiting = answer.waiting;
        let how = match take {
            Take::Nothing(_) => "ask for more with --limit".to_owned(),
            Take::Shown => format!("run '{}' again", caller.again()?),
        };
        world.note(&format!("{shown} of {waiting} unread messages shown: {how}."));
    }
    if let Take::Nothing(why) = take {
        if !answer.messages.is_empty() {
            why.iter().for_each(|why| world.note(why));
        }
        return Ok(());
    }
    // Only now: `show` has flushed, so what is acknowledged has left this process.
    let ids: Vec<&str> = answer.messages.iter().map(|message| message.id.as_str()).collect();
    for ids in ids.chunks(ACK_IDS_MAX) {
        let mut request = json!({ "messageIds": ids });
        speaker.sign(&mut request);
        answer_for(&speaker, caller.post("/v1/messages/ack", &request))
            .map_err(|problem| problem.because("the messages could not be marked as read"))?;
    }
    Ok(())
}

/// The fate of messages that are shown.
enum Take {
    /// They stay unread, for a reason that the reader may not know.
    Nothing(Option<String>),
    /// They are acknowledged.
    Shown,
}

/// Decides whether what is shown is taken. A name that was typed may be another session's, which would never get its mail.
fn take(caller: &Caller<'_>, speaker: &Speaker, answer: &Messages) -> Result<Take, Problem> {
    let is_asked_for = caller.parsed.has("ack");
    let Speaker::Session { id, source } = speaker else {
        return Ok(if caller.parsed.has("peek") { Take::Nothing(None) } else { Take::Shown });
    };
    let (name, reader) = (text::shell(id), text::shell(answer.reader.as_deref().unwrap_or(id)));
    match (answer.exact != Some(false), answer.own != Some(false) || *source != Source::Option) {
        _ if caller.parsed.has("peek") => Ok(Take::Nothing(None)),
        (false, _) if is_asked_for => {
            let message =
                format!("{name} is only the beginning of a name: take these messages with --session {reader}");
            Err(Problem::new(exit_code::REFUSED, message))
        }
        (false, _) => Ok(Take::Nothing(Some(format!(
            "{name} is only the beginning of a name: the messages stay unread. To take them: \
             'marshal inbox --session {reader}'."
        )))),
        (true, false) if !is_asked_for => Ok(Take::Nothing(Some(format!(
            "you are not {name}: its messages stay unread. To take them in its place: \
             'marshal inbox --session {name} --ack'."
        )))),
        (true, _) => Ok(Take::Shown),
    }
}

/// Says what could have been meant by a name that nothing waits for, unless it is that of whoever asks.
fn note_other_name(caller: &Caller<'_>, world: &mut World<'_>, name: &str) {
    let own = person(world.env);
    if name == own.strip_prefix(HUMAN_PREFIX).unwrap_or(&own) {
        return;
    }
    let shown = text::shell(name);
    // Without an answer there is still the other hint.
    let of_session = [("session", name.to_owned()), ("limit", "1".to_owned())];
    let found = caller.get("/v1/inbox", &of_session).and_then(|body| parse::<Messages>(&body));
    if found.is_ok_and(|found| found.reader.is_some()) {
        return world.note(&format!("{shown} is a session: its inbox is 'marshal inbox --session {shown}'."));
    }
    let own = text::shell(&own);
    world.note(&format!(
        "a person's inbox has exactly the name that senders write to (human:{shown}); yours is \
         'marshal inbox --human {own}', sessions and their names are in 'marshal ls'."
    ));
}

/// Takes over what sessions left unread that are gone.
fn claim(caller: &Caller<'_>, world: &mut World<'_>, speaker: &Speaker) -> Result<(), Problem> {
    let mut request = json!({ "from": caller.parsed.text("from")? });
    speaker.sign(&mut request);
    let claimed: Claimed = parse(&answer_for(speaker, caller.post("/v1/inbox/claim", &request))?)?;
    for from in &claimed.from {
        let messages = if from.messages == 1 { "message" } else { "messages" };
        world.note(&format!("claimed {} {messages} of {}.", from.messages, text::line(&from.nickname)));
    }
    if claimed.from.is_empty() {
        world.note("there is nothing to claim: nobody who was in this place is gone and has left mail.");
    }
    if claimed.more {
        world.note("there is more to claim: run it again.");
    }
    Ok(())
}

/// A length of time: `90s`, `30m`, `2h`, `3d`, `1w`.
pub(crate) fn age_ms(text: &str) -> Option<i64> {
    let unit_ms: i64 = match text.chars().next_back()? {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        'w' => 604_800_000,
        _ => return None,
    };
    let count: u32 = text[..text.len() - 1].parse().ok()?;
    Some(i64::from(count).saturating_mul(unit_ms))
}

/// `marshal completions SHELL`
pub(crate) fn completions(parsed: &Parsed, world: &mut World<'_>) -> Result<(), Problem> {
    let shell = parsed.operands.first().map(OsString::as_os_str).unwrap_or_default();
    let script = match shell.to_str() {
        Some("bash") => super::completions::bash(),
        Some("zsh") => super::completions::zsh(),
        Some("fish") => super::completions::fish(),
        _ => return Err(parsed.usage(format!("no completions for '{}': bash, zsh or fish", shell.display())).into()),
    };
    world.print(&script)
}

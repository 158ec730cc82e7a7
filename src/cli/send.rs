//! `marshal send`: from options and operands to a request, and what is said of its answer. It must not say more of a
//! message than the daemon does.

use super::args::Parsed;
use super::commands::{Caller, age_ms, show};
use super::identity::answer_for;
use super::text::line;
use super::wait::{Until, Watch};
use super::wire::Sent;
use super::{Problem, World, render};
use crate::error::exit_code;
use crate::limits::{MESSAGE_BODY_BYTES_MAX, SEND_WAIT_MS};
use serde_json::{Value, json};
use std::io::Read;
use std::time::Duration;

pub(crate) fn send(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    let parsed = caller.parsed;
    let mut operands = Vec::with_capacity(parsed.operands.len());
    for operand in &parsed.operands {
        operands.push(operand.to_str().ok_or_else(|| parsed.usage("TO and TEXT must be UTF-8"))?);
    }
    let (to, words) = addresses(parsed, &operands)?;
    let mut request = json!({});
    match to.as_slice() {
        [] => {}
        [one] => request["to"] = one.as_str().into(),
        _ => request["to"] = to.into(),
    }
    wishes(parsed, &mut request)?;
    let wait = wait(parsed)?;
    let body = match words {
        [] | ["-"] => from_stdin(caller, world, words.is_empty())?,
        words => words.join(" "),
    };
    if body.trim().is_empty() {
        return Err(parsed.usage("the message is empty").into());
    }
    request["body"] = body.into();
    let speaker = caller.speaker(world, "as", "from")?;
    speaker.sign(&mut request);
    // Before the message is sent, so that nothing of what becomes of it is missed.
    let watch = wait.map(|(until, patience)| Watch::begin(caller, until, patience)).transpose()?;
    let answer =
        answer_for(&speaker, caller.post("/v1/messages", &request)).map_err(|problem| hint(parsed, problem))?;
    let sent = show(caller, world, &answer, |answer: &Sent, world| render::sent(answer, &world.reader()))?;
    sent.warnings.iter().for_each(|warning| world.note(&line(warning)));
    watch.map_or(Ok(()), |watch| watch.finish(caller, world, &sent))
}

/// Where to look for what the daemon has not found, after the candidates that it names itself.
fn hint(parsed: &Parsed, problem: Problem) -> Problem {
    if problem.daemon_code != "not_found" {
        return problem;
    }
    let mut more = problem.more;
    more.push("'marshal ls' lists the sessions, 'marshal rooms' the rooms".to_owned());
    if parsed.has("reply-to") || parsed.has("supersedes") {
        more.push("'marshal history' shows messages with their ids".to_owned());
    }
    Problem { more, ..problem }
}

/// Whom the message is for, and the words of its text.
fn addresses<'a>(parsed: &Parsed, operands: &'a [&'a str]) -> Result<(Vec<String>, &'a [&'a str]), Problem> {
    let named: Vec<String> = parsed.texts("to")?.into_iter().map(str::to_owned).collect();
    if named.is_empty() && parsed.has("reply-to") && operands.len() > 1 {
        // Most likely one of them is meant for a name: it must not become part of a text that goes to somebody else.
        let message =
            "with --reply-to the text is one operand, in quotes: it goes to whoever wrote the message, or to --to NAME";
        return Err(parsed.usage(message).into());
    }
    if !named.is_empty() || parsed.has("reply-to") {
        return Ok((named, operands));
    }
    let (to, words) =
        operands.split_first().ok_or_else(|| parsed.usage(format!("missing {}", parsed.command.operands)))?;
    if to.ends_with(',') {
        let message = "TO ends with a comma: several recipients have commas between them and no spaces, as in web,api";
        return Err(parsed.usage(message).into());
    }
    if to.split(',').all(|part| part.trim().is_empty()) {
        return Err(parsed.usage("TO is empty").into());
    }
    // The daemon knows whether this is one address or several.
    Ok((vec![to.trim().to_owned()], words))
}

/// What the options want of the message.
fn wishes(parsed: &Parsed, request: &mut Value) -> Result<(), Problem> {
    let priority = match (parsed.text("priority")?, parsed.has("now")) {
        (Some("now") | None, true) => Some("now"),
        (Some(other), true) => {
            return Err(parsed.usage(format!("--now and --priority {other} exclude each other")).into());
        }
        (Some(word @ ("now" | "next" | "low")), false) => Some(word),
        (Some(other), false) => return Err(parsed.usage(format!("--priority {other}: give now, next or low")).into()),
        (None, false) => None,
    };
    let texts = [
        ("priority", priority),
        ("replyTo", parsed.text("reply-to")?),
        ("supersedes", parsed.text("supersedes")?),
        ("clientMessageId", parsed.text("key")?),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            request[name] = text.into();
        }
    }
    if parsed.has("expects-reply") {
        request["expectsReply"] = true.into();
    }
    for (flag, name) in [("reply-within", "expectsReply"), ("expires-in", "expiresIn")] {
        if let Some(ms) = age(parsed, flag)? {
            request[name] = (ms / 1000).into();
        }
    }
    Ok(())
}

fn age(parsed: &Parsed, flag: &str) -> Result<Option<i64>, Problem> {
    let Some(text) = parsed.text(flag)? else { return Ok(None) };
    // A bare number is of seconds.
    let seconds = text.parse::<u32>().ok().map(|seconds| i64::from(seconds) * 1000);
    let ms = seconds.or_else(|| age_ms(text)).filter(|ms| *ms > 0);
    let wrong = || parsed.usage(format!("--{flag} {text}: give a time such as 90s, 30m or 2h"));
    Ok(Some(ms.ok_or_else(wrong)?))
}

/// For what to wait, and how long.
fn wait(parsed: &Parsed) -> Result<Option<(Until, Duration)>, Problem> {
    let patience = age(parsed, "timeout")?;
    let until = match parsed.text("wait")? {
        Some("handed") => Until::Handed,
        Some("read") => Until::Read,
        Some(other) => {
            return Err(parsed
                .usage(format!("--wait {other}: give handed (each has taken it) or read (each has read it)"))
                .into());
        }
        None => return Ok(None),
    };
    let ms = patience.unwrap_or(SEND_WAIT_MS);
    Ok(Some((until, Duration::from_millis(ms.unsigned_abs()))))
}

/// The message from stdin, without the newline that ends its last line.
fn from_stdin(caller: &Caller<'_>, world: &mut World<'_>, unasked: bool) -> Result<String, Problem> {
    if unasked && world.stdin_is_terminal {
        let message = "no message: give it after TO, pipe it in, or say '-' to type it";
        return Err(caller.parsed.usage(message).into());
    }
    let mut bytes = Vec::new();
    // One byte more than is taken, so that too much is noticed without reading all of it.
    let most = u64::try_from(MESSAGE_BODY_BYTES_MAX).unwrap_or(u64::MAX) + 2;
    let read = (&mut *world.stdin).take(most).read_to_end(&mut bytes);
    read.map_err(|error| Problem::new(exit_code::IO, format!("cannot read stdin: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Problem::new(exit_code::REFUSED, "the message on stdin is not UTF-8 text"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    if text.len() > MESSAGE_BODY_BYTES_MAX {
        let message = format!(
            "the message on stdin is longer than {MESSAGE_BODY_BYTES_MAX} bytes: put it into a file and send its path"
        );
        return Err(Problem::new(exit_code::REFUSED, message));
    }
    Ok(text.to_owned())
}

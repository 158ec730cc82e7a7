//! `marshal compact` and `marshal log ...`: the log explained, made small and repaired. The only commands that open the
//! log themselves; they change it only while no daemon has the lock.

use super::args::Parsed;
use super::commands::{Caller, parse, show};
use super::http_client::{Client, Failure};
use super::wire::Compacted;
use super::{Problem, World, render, text};
use crate::error::{exit_code, explain_in};
use crate::event_log::key::LogKey;
use crate::event_log::lock::{Lock, LockError};
use crate::event_log::real_disk::RealDisk;
use crate::event_log::survey::{Ending, Survey};
use crate::event_log::{LOG_NAME, MALFORMED_NAME, SUSPECT_NAME, recover};
use crate::limits::COMPACT_DEADLINE;
use rustix::fs::{Mode, OFlags};
use serde_json::json;
use std::fs::File;
use std::io;
use std::path::Path;

/// `marshal compact`: by the daemon, or here if none runs.
pub(crate) fn compact(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    let client = Client::patient(caller.socket, COMPACT_DEADLINE);
    let body = match client.post("/v1/compact", "{}") {
        Err(Failure::NoSocket | Failure::NotListening) => {
            let (before, after, moved) = rewrite(caller.state_dir)?;
            json!({ "bytesBefore": before, "bytesAfter": after, "malformedLinesMoved": moved }).to_string()
        }
        Err(Failure::Late) => return Err(caller.late(COMPACT_DEADLINE, true)),
        answer => caller.checked(answer, true)?,
    };
    let answer: Compacted = show(caller, world, &body, |answer: &Compacted, _| render::compacted(answer))?;
    if answer.malformed_lines_moved > 0 {
        let side = caller.state_dir.join(MALFORMED_NAME);
        world.note(&format!("moved {} to {}", render::unreadable(answer.malformed_lines_moved), show_path(&side)));
    }
    Ok(())
}

/// `marshal log check|stats|repair`
pub(crate) fn log(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    match word(caller.parsed) {
        "check" => check(caller, world),
        "stats" => stats(caller, world),
        "repair" => repair(caller, world),
        other => Err(caller.parsed.usage(format!("'{other}' is none of check, stats, repair")).into()),
    }
}

fn word(parsed: &Parsed) -> &str {
    parsed.operands.first().and_then(|word| word.to_str()).unwrap_or_default()
}

pub(crate) fn show_path(path: &Path) -> String {
    text::line(&path.display().to_string())
}

/// Sees that there is a log, and that it is a file: whoever opens a FIFO waits for its other end.
fn see(path: &Path) -> Result<(), Problem> {
    let kind = std::fs::symlink_metadata(path).map_err(|error| cannot_open(path, &error))?.file_type();
    let what = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_symlink() => {
            "is a symbolic link, which is not followed; put the file itself there, or set MARSHAL_STATE_DIR to the directory that holds it"
        }
        _ => "is not a regular file; move it away",
    };
    let message = format!("cannot open the log: {} {what}", show_path(path));
    Err(Problem::new(exit_code::CANNOT_CREATE, message))
}

fn cannot_open(path: &Path, error: &io::Error) -> Problem {
    let show = show_path(path);
    match error.kind() {
        io::ErrorKind::NotFound => {
            Problem::new(exit_code::REFUSED, format!("there is no log at {show}; 'marshal serve' makes one"))
        }
        io::ErrorKind::PermissionDenied => Problem::new(exit_code::PERMISSION, format!("no permission to read {show}")),
        _ => Problem::new(exit_code::IO, format!("cannot open {show}: {error}")),
    }
}

fn survey(state_dir: &Path) -> Result<Survey, Problem> {
    let path = state_dir.join(LOG_NAME);
    see(&path)?;
    // What takes its place between the look and the opening is not waited for either.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| cannot_open(&path, &error.into()))?;
    let survey = Survey::read(File::from(file));
    let mut survey =
        survey.map_err(|error| Problem::new(exit_code::IO, format!("cannot read {}: {error}", show_path(&path))))?;
    for bad in &mut survey.named {
        bad.reason.truncate(without_place(&bad.reason).len());
    }
    Ok(survey)
}

/// A reason without the place that serde puts behind it: that counts from the beginning of the text that it was given,
/// which is a line or a part of one.
fn without_place(reason: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match reason.rsplit_once(" at line ") {
        Some((rest, place)) if place.split_once(" column ").is_some_and(|(a, b)| is_number(a) && is_number(b)) => rest,
        _ => reason,
    }
}

/// Says what is wrong with the log; done if nothing is.
fn check(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    let survey = survey(caller.state_dir)?;
    let suspect = caller.state_dir.join(SUSPECT_NAME).exists();
    let sound = survey.malformed == 0 && survey.ending != Ending::HalfAnEvent && !suspect;
    let text = if caller.parsed.has("json") {
        let bad =
            survey.named.iter().map(|line| json!({ "line": line.number, "byte": line.offset, "reason": line.reason }));
        let value = json!({
            "sound": sound,
            "lines": survey.lines,
            "bytes": survey.bytes,
            "malformed": survey.malformed,
            "first": bad.collect::<Vec<_>>(),
            "halfAnEventAtTheEnd": survey.ending == Ending::HalfAnEvent,
            "suspect": suspect,
        });
        format!("{value}\n")
    } else {
        render::log_check(&survey, suspect, &world.program)
    };
    world.print(&text)?;
    if sound { Ok(()) } else { Err(Problem::new(exit_code::REFUSED, String::new())) }
}

fn stats(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    let survey = survey(caller.state_dir)?;
    let text = if caller.parsed.has("json") {
        let types = survey.types.iter().map(|(name, counts)| {
            let value = json!({ "living": counts.living, "events": counts.events, "bytes": counts.bytes, "liveBytes": counts.live_bytes });
            (name.clone(), value)
        });
        let types: serde_json::Map<_, _> = types.collect();
        let value = json!({ "bytes": survey.bytes, "liveBytes": survey.live_bytes(), "lines": survey.lines, "malformed": survey.malformed, "halfAnEventAtTheEnd": survey.ending == Ending::HalfAnEvent, "types": types });
        format!("{value}\n")
    } else {
        render::log_stats(&survey, &world.reader())
    };
    world.print(&text)
}

/// Writes the log anew without what cannot be read. The daemon does the same when it compacts.
fn repair(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    let (before, after, moved) = rewrite(caller.state_dir)?;
    let body = json!({ "bytesBefore": before, "bytesAfter": after, "malformedLinesMoved": moved }).to_string();
    let text = if caller.parsed.has("json") { format!("{body}\n") } else { render::repaired(&parse(&body)?) };
    world.print(&text)
}

/// The lock of a state directory, while which is held no daemon can run; `advice` is for when one does.
pub(crate) fn take_lock(state_dir: &Path, advice: &str) -> Result<Lock, Problem> {
    Lock::take(state_dir).map_err(|error| match error {
        LockError::Held(holder) => {
            let message = format!("a daemon has {} ({}); {advice}", show_path(state_dir), text::line(&holder));
            Problem::new(exit_code::HELD, message)
        }
        LockError::Io(error) => {
            let message = format!("cannot lock {}: {}", show_path(state_dir), explain_in(state_dir, &error));
            Problem::new(exit_code::CANNOT_CREATE, text::line(&message))
        }
    })
}

/// Writes the log anew while no daemon can run. Says its bytes before and after, and how many lines were moved.
fn rewrite(state_dir: &Path) -> Result<(u64, u64, u64), Problem> {
    // So that a log that is not there is not made.
    see(&state_dir.join(LOG_NAME))?;
    let lock = take_lock(state_dir, "ask it with 'marshal compact'")?;
    let no_key = |error| Problem::new(exit_code::OS, format!("the system gives no random numbers: {error}"));
    let repaired = recover::repair(RealDisk::new(state_dir), LogKey::random().map_err(no_key)?);
    let repaired = repaired.map_err(|error| Problem::new(error.exit_code(), text::line(&error.explain(state_dir))))?;
    drop(lock);
    Ok((repaired.bytes_before, repaired.bytes_after, repaired.malformed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_loses_the_place_behind_it_and_nothing_else() {
        assert_eq!(without_place("expected value at line 1 column 2"), "expected value");
        for whole in
            ["it is 9 bytes long", "it stands at line 1", "odd at line 1 column x", "odd at line  column 1", ""]
        {
            assert_eq!(without_place(whole), whole);
        }
    }
}

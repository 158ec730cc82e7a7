//! `marshal compact` and `marshal log ...`: the log explained, made small and repaired. The only commands that open the
//! log themselves; they change it only while no daemon has the lock.

use super::args::Parsed;
use super::commands::{Caller, parse, show};
use super::http_client::{Client, Failure};
use super::wire::Compacted;
use super::{Problem, World, render, text};
use crate::error::exit_code;
use crate::event_log::lock::{Lock, LockError};
use crate::event_log::real_disk::RealDisk;
use crate::event_log::survey::{Ending, Survey};
use crate::event_log::{LOG_NAME, MALFORMED_NAME, SUSPECT_NAME, recover};
use crate::limits::COMPACT_DEADLINE;
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
        answer => caller.checked(answer, true)?,
    };
    let answer: Compacted = show(caller, world, &body, |answer: &Compacted, _| render::compacted(answer))?;
    if answer.malformed_lines_moved > 0 {
        let side = caller.state_dir.join(MALFORMED_NAME);
        world.note(&format!(
            "moved {} lines that cannot be read to {}",
            answer.malformed_lines_moved,
            show_path(&side)
        ));
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

fn show_path(path: &Path) -> String {
    text::line(&path.display().to_string())
}

fn survey(state_dir: &Path) -> Result<Survey, Problem> {
    let path = state_dir.join(LOG_NAME);
    let file = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let message = format!("there is no log at {}; 'marshal serve' makes one", show_path(&path));
            Problem::new(exit_code::REFUSED, message)
        }
        io::ErrorKind::PermissionDenied => {
            Problem::new(exit_code::PERMISSION, format!("no permission to read {}", show_path(&path)))
        }
        _ => Problem::new(exit_code::IO, format!("cannot open {}: {error}", show_path(&path))),
    })?;
    Survey::read(file)
        .map_err(|error| Problem::new(exit_code::IO, format!("cannot read {}: {error}", show_path(&path))))
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
        render::log_check(&survey, suspect)
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
        let value =
            json!({ "bytes": survey.bytes, "liveBytes": survey.live_bytes(), "lines": survey.lines, "types": types });
        format!("{value}\n")
    } else {
        render::log_stats(&survey, world.colour())
    };
    world.print(&text)
}

/// Writes the log anew without what cannot be read. The daemon does the same when it compacts.
fn repair(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    // So that a log that is not there is not made.
    survey(caller.state_dir)?;
    let (before, after, moved) = rewrite(caller.state_dir)?;
    let body = json!({ "bytesBefore": before, "bytesAfter": after, "malformedLinesMoved": moved }).to_string();
    let text = if caller.parsed.has("json") { format!("{body}\n") } else { render::repaired(&parse(&body)?) };
    world.print(&text)
}

/// Writes the log anew while no daemon can run. Says its bytes before and after, and how many lines were moved.
fn rewrite(state_dir: &Path) -> Result<(u64, u64, u64), Problem> {
    let log = state_dir.join(LOG_NAME);
    if !log.exists() {
        let message = format!("there is no log at {}; 'marshal serve' makes one", show_path(&log));
        return Err(Problem::new(exit_code::REFUSED, message));
    }
    let lock = Lock::take(state_dir).map_err(|error| match error {
        LockError::Held(holder) => {
            let message = format!("a daemon has the log ({}); ask it with 'marshal compact'", text::line(&holder));
            Problem::new(exit_code::HELD, message)
        }
        LockError::Io(error) => Problem::new(exit_code::IO, format!("cannot lock {}: {error}", show_path(state_dir))),
    })?;
    let repaired = recover::repair(RealDisk::new(state_dir));
    let repaired = repaired.map_err(|error| {
        let message =
            format!("cannot write {} anew: {}; it is as it was", show_path(&log), text::line(&error.to_string()));
        Problem::new(exit_code::IO, message)
    })?;
    drop(lock);
    Ok((repaired.bytes_before, repaired.bytes_after, repaired.malformed))
}

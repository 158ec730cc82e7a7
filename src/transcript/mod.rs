//! What agents' transcripts show of a turn whose hooks are silent: no hook tells that a user broke it off. A thread of its
//! own reads the ends of these files, since file systems can hang, and nobody waits for it. It reads regular files of the
//! daemon's own user alone, and tells nothing of them but whether a turn goes on.

mod claude;
mod codex;

use crate::ids::SessionId;
use crate::limits::{
    HOOKS_SILENT_MS, TRANSCRIPT_LOOKS_MAX, TRANSCRIPT_SKEW_MS, TRANSCRIPT_TAIL_BYTES_MAX, TRANSCRIPTS_KNOWN_MAX,
};
use crate::model::Agent;
use crate::roster::{Request, SeenTurn, SilentTurn};
use crate::store::Command;
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What the end of a transcript shows, by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The model has asked for a tool, of which there is no result.
    InTool,
    /// The user broke the turn off, at this wall-clock millisecond.
    Interrupted(i64),
    /// The model has ended the turn. Hooks may still make it go on.
    Ended(i64),
    /// Nothing that could be relied on.
    Nothing,
}

/// Starts the thread, which ends when nobody can ask for a look any more. It is not joined: it may be waiting for a file
/// system that is gone.
///
/// # Errors
/// The operating system's reason for which no thread could be had.
pub fn start(store: Sender<Command>, exits: &Sender<Exit>) -> io::Result<Sender<SilentTurn>> {
    let (ask, asked) = bounded(TRANSCRIPT_LOOKS_MAX);
    thread::spawn("transcripts", exits, move || run(&asked, &store)).map(drop)?;
    Ok(ask)
}

fn run(asked: &Receiver<SilentTurn>, store: &Sender<Command>) {
    let mut known = HashMap::new();
    for turn in asked {
        let Some(seen) = look(&turn, &mut known) else { continue };
        let request = Request::TurnSeen { session: turn.session, heard_at: turn.heard_at, seen };
        // Full: the store is busy, and asks again.
        let _ = store.try_send(Command::Request { request, reply_to: None });
    }
}

/// A file at a moment, and what its end showed then.
struct Known {
    stamp: Stamp,
    verdict: Verdict,
}

/// By this a file is told from what it was before: its place, length and time of change.
type Stamp = (u64, u64, u64, i64, i64);

/// What the transcript shows of a turn, if anything.
fn look(turn: &SilentTurn, known: &mut HashMap<SessionId, Known>) -> Option<SeenTurn> {
    let (mut file, metadata) = open(Path::new(&*turn.transcript), geteuid().as_raw())?;
    let stamp = stamp(&metadata);
    let verdict = match known.get(&turn.session) {
        Some(before) if before.stamp == stamp => before.verdict,
        _ => {
            let (tail, is_whole) = tail(&mut file, metadata.len(), TRANSCRIPT_TAIL_BYTES_MAX).ok()?;
            verdict(turn.agent, &tail, is_whole)
        }
    };
    if known.len() >= TRANSCRIPTS_KNOWN_MAX {
        known.clear();
    }
    known.insert(turn.session.clone(), Known { stamp, verdict });
    seen(verdict, turn)
}

/// What follows from a verdict for a turn that was heard of before. What was written before that is of an earlier turn.
fn seen(verdict: Verdict, turn: &SilentTurn) -> Option<SeenTurn> {
    let is_of_it = |at: &i64| *at >= turn.heard_wall_ms - TRANSCRIPT_SKEW_MS;
    match verdict {
        Verdict::InTool => Some(SeenTurn::InTool),
        Verdict::Interrupted(at) => Some(SeenTurn::Over(at)).filter(|_| is_of_it(&at)),
        // A hook of the turn's end tells it at once, where there is one.
        Verdict::Ended(at) => Some(SeenTurn::Over(at)).filter(|_| is_of_it(&at) && turn.silent_ms > HOOKS_SILENT_MS),
        Verdict::Nothing => None,
    }
}

/// The version of Claude Code that wrote the end of this transcript.
pub fn claude_version(path: &Path) -> Option<[u32; 3]> {
    let (mut file, metadata) = open(path, geteuid().as_raw())?;
    let (tail, _) = tail(&mut file, metadata.len(), TRANSCRIPT_TAIL_BYTES_MAX).ok()?;
    let lines = tail.split(|byte| *byte == b'\n').rev().filter_map(|line| std::str::from_utf8(line).ok());
    lines.filter_map(claude::version).next()
}

/// A version of three numbers.
pub fn version(text: &str) -> Option<[u32; 3]> {
    let numbers: Option<Vec<u32>> = text.split('.').map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// A transcript, if it is a regular file of this user. What is none may have no end, or nothing to give yet; another user's
/// is not ours to tell of.
fn open(path: &Path, owner: u32) -> Option<(File, Metadata)> {
    if !path.is_absolute() || path.extension().is_none_or(|extension| extension != "jsonl") {
        return None;
    }
    // The flags have this type on all systems.
    #[allow(clippy::cast_possible_wrap)]
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && metadata.uid() == owner).then_some((file, metadata))
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// The last bytes of a file that had so many a moment ago; and whether these are all.
fn tail(file: &mut File, length: u64, at_most: usize) -> io::Result<(Vec<u8>, bool)> {
    let from = length.saturating_sub(at_most as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(at_most as u64).read_to_end(&mut bytes)?;
    Ok((bytes, from == 0))
}

/// What the last lines show, whatever else stands in them.
fn verdict(agent: Agent, tail: &[u8], is_whole: bool) -> Verdict {
    let read = match agent {
        Agent::Claude => claude::line,
        Agent::Codex => codex::line,
        _ => return Verdict::Nothing,
    };
    let mut lines = tail.split(|byte| *byte == b'\n');
    if !is_whole {
        // The beginning of the first one is not there.
        lines.next();
    }
    lines.rev().filter_map(|line| std::str::from_utf8(line).ok()).find_map(read).unwrap_or(Verdict::Nothing)
}

/// A moment as both agents write it, in wall-clock milliseconds.
fn millisecond(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_millis())
}

#[cfg(test)]
mod tests;

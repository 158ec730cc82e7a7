//! What `ps` tells of processes, where there is no `/proc`. It costs a child process for each look, so that it must not
//! be called on the threads of the store or the gate.

use super::Lineage;
use crate::limits::ANCESTORS_MAX;
use crate::model::Process;
use chrono::NaiveDateTime;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The process that has this id now; none if there is none, or only what is left of one that is dead.
///
/// # Errors
/// It cannot be told: nothing follows from that.
pub fn identify(pid: u32) -> io::Result<Option<Process>> {
    Ok(list(Some(&[pid]))?.remove(&pid).and_then(Listed::alive))
}

/// As [`identify`], for many with one call of `ps`.
pub fn identify_all(pids: &[u32]) -> Vec<io::Result<Option<Process>>> {
    match list(Some(pids)) {
        Ok(mut listed) => pids.iter().map(|pid| Ok(listed.remove(pid).and_then(Listed::alive))).collect(),
        Err(error) => pids.iter().map(|_| Err(io::Error::new(error.kind(), error.to_string()))).collect(),
    }
}

/// As [`identify`], but none also for a process of another user: nobody may hang a session on it.
///
/// # Errors
/// As for [`identify`].
pub fn identify_own(pid: u32) -> io::Result<Option<Process>> {
    let own = rustix::process::geteuid().as_raw();
    Ok(list(Some(&[pid]))?.remove(&pid).filter(|listed| listed.user == own).and_then(Listed::alive))
}

/// A process, and what it tells of who started it. Whether that was a person at a terminal is not told here.
pub fn lineage(pid: u32) -> Lineage {
    let chain = ancestors(pid);
    // One that is cut off could hide an agent.
    let chain = if chain.len() < ANCESTORS_MAX { chain } else { Vec::new() };
    Lineage { chain, terminal: None }
}

/// Terminals are not told apart here.
#[cfg_attr(test, allow(dead_code))] // it is tested where it is not used
pub fn on_terminal_of(_: u32, _: i32) -> Option<Vec<Process>> {
    None
}

/// A process and those from which it descends, nearest first, without the first process of the system. One picture of
/// all processes tells, so that no parent is another one by then. Empty if the process itself is not there.
pub fn ancestors(pid: u32) -> Vec<Process> {
    let mut listed = list(None).unwrap_or_default();
    let mut line = Vec::new();
    let mut next = pid;
    while next > 1
        && line.len() < ANCESTORS_MAX
        && let Some(found) = listed.remove(&next)
    {
        next = found.parent;
        let Some(process) = found.alive() else { break };
        line.push(process);
    }
    line
}

/// There is nothing here that tells of an end by itself: they are looked after.
#[cfg_attr(test, allow(dead_code))] // it is tested where it is not used
pub(super) fn handle(_: u32) -> io::Result<Option<OwnedFd>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// One line of `ps`.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    parent: u32,
    user: u32,
    is_dead: bool,
    process: Process,
}

impl Listed {
    fn alive(self) -> Option<Process> {
        (!self.is_dead).then_some(self.process)
    }
}

/// Asks `ps` for these processes, or for all.
fn list(pids: Option<&[u32]>) -> io::Result<BTreeMap<u32, Listed>> {
    let mut command = Command::new("/bin/ps");
    // Fixed, since the moments are compared with those of an earlier run of this daemon.
    command.env_clear().env("TZ", "UTC").env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null());
    match pids {
        None => drop(command.arg("-A")),
        Some(pids) => {
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            command.args(["-p", &pids.join(",")]);
        }
    }
    let output = command.args(["-o", "pid=,ppid=,uid=,lstart=,stat="]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // It fails, and says nothing, when none of them is there.
    let found_none = output.status.code() == Some(1) && text.trim().is_empty();
    if !output.status.success() && !found_none {
        return Err(io::Error::other(format!("ps failed: {}", output.status)));
    }
    let read = |line| parse(line).ok_or_else(|| io::Error::other("a line of ps reads odd"));
    text.lines().filter(|line| !line.trim().is_empty()).map(read).map(|one| one.map(|l| (l.process.pid, l))).collect()
}

/// Reads `<pid> <parent> <user> <day of week> <month> <day> <time> <year> <state>`.
fn parse(line: &str) -> Option<Listed> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [pid, parent, user, _, month, day, time, year, state] = words[..] else { return None };
    let began = NaiveDateTime::parse_from_str(&format!("{month} {day} {time} {year}"), "%b %d %H:%M:%S %Y").ok()?;
    let started = u64::try_from(began.and_utc().timestamp_micros()).ok()?;
    // The moment is one of the calendar: it needs no boot to be counted in.
    let process = Process { pid: pid.parse().ok()?, started, boot: Arc::from("utc") };
    Some(Listed {
        parent: parent.parse().ok()?,
        user: user.parse().ok()?,
        is_dead: state.starts_with(['Z', 'X']),
        process,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_its_spaces() {
        let listed = parse("  4711     1   501 Fri Nov  6 05:07:09 2026     S+  ").unwrap();
        assert_eq!((listed.process.pid, listed.parent, listed.user, listed.is_dead), (4711, 1, 501, false));
        assert_eq!(listed.process.started, 1_793_941_629_000_000);
        assert!(parse("4711 1 501 Fri Nov  6 05:07:09 2026 Z").unwrap().is_dead);
        for odd in ["", "4711", "4711 1 501 Fri Nov 6 2026 S", "x 1 501 Fri Nov  6 05:07:09 2026 S"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_child_is_itself_until_it_is_killed_and_a_zombie_is_nobody() {
        if !std::fs::exists("/bin/ps").unwrap() {
            return eprintln!("skipped: there is no ps");
        }
        let mut child = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
        let us = std::process::id();
        let first = identify_own(child.id()).unwrap().unwrap();
        assert_eq!(identify(child.id()).unwrap(), Some(first.clone()));
        assert_eq!(lineage(child.id()).chain[..2], [first, identify(us).unwrap().unwrap()]);
        child.kill().unwrap();
        while identify(child.id()).unwrap().is_some() {}
        let seen = identify_all(&[child.id(), us]);
        assert!(seen[0].as_ref().unwrap().is_none() && seen[1].as_ref().unwrap().is_some());
        child.wait().unwrap();
        assert_eq!(identify(child.id()).unwrap(), None);
    }
}

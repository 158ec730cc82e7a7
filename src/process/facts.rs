//! What Linux tells of processes, in `/proc`. It must not take what it cannot read for a death: only a process that is
//! surely not there, or dead and not yet reaped, counts as gone.

use super::Lineage;
use crate::limits::{ANCESTORS_MAX, LINEAGE_TRIES, STAT_BYTES_MAX};
use crate::model::Process;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open, test_kill_process};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

/// The process that has this id now; none if there is none, or only what is left of one that is dead.
///
/// # Errors
/// It cannot be told: nothing follows from that.
pub fn identify(pid: u32) -> io::Result<Option<Process>> {
    Ok(look(pid)?.map(|seen| seen.process))
}

/// As [`identify`], for many in one pass.
pub fn identify_all(pids: &[u32]) -> Vec<io::Result<Option<Process>>> {
    pids.iter().map(|pid| identify(*pid)).collect()
}

/// As [`identify`], but none also for a process of another user: nobody may hang a session on it.
///
/// # Errors
/// As for [`identify`].
pub fn identify_own(pid: u32) -> io::Result<Option<Process>> {
    let Some(process) = identify(pid)? else { return Ok(None) };
    let status = match std::fs::read(format!("/proc/{pid}/status")) {
        Ok(status) => status,
        // It ended just now.
        Err(error) if is_missing(&error) => return identify(pid),
        Err(error) => return Err(error),
    };
    let is_own = effective_user(&status) == Some(geteuid().as_raw());
    // The two files may have been those of two processes, one after the other.
    Ok(identify(pid)?.filter(|again| is_own && *again == process))
}

/// A process, and what it tells of who started it. If its ancestors cannot be told up to the first process, which happens
/// when one ends just then, nothing is told.
pub fn lineage(pid: u32) -> Lineage {
    let (chain, is_whole) = (0..LINEAGE_TRIES).map(|_| walk(pid)).find(|(_, is_whole)| *is_whole).unwrap_or_default();
    if !is_whole {
        return Lineage::default();
    }
    let own = look(pid).ok().flatten();
    let at_terminal = own.is_some_and(|seen| {
        // A process that was left behind by its parents still names its terminal; the shell of that terminal is not
        // among its ancestors any more.
        chain.first() == Some(&seen.process)
            && seen.has_terminal
            && chain.iter().any(|process| process.pid == seen.session_leader)
    });
    Lineage { chain, at_terminal }
}

/// A process and those from which it descends, nearest first, as far as they can be read: without the first process of
/// the system, from which everything descends. Empty if the process itself is not there.
pub fn ancestors(pid: u32) -> Vec<Process> {
    walk(pid).0
}

/// The same, and whether it reaches the first process.
fn walk(pid: u32) -> (Vec<Process>, bool) {
    let mut line = Vec::new();
    let mut next = look(pid).ok().flatten();
    while let Some(seen) = next {
        let (child, parent) = (seen.process.clone(), seen.parent);
        line.push(seen.process);
        if parent <= 1 {
            return (line, true);
        }
        if line.len() == ANCESTORS_MAX {
            break;
        }
        // A parent that ends leaves its children to another one: if it is still the parent after it was looked at, it
        // was there all the time, and nobody else had its id.
        next = look(parent).ok().flatten().filter(|_| {
            let again = look(child.pid).ok().flatten();
            again.is_some_and(|again| again.process == child && again.parent == parent)
        });
    }
    (line, false)
}

/// Something that becomes readable when the process ends that has this id now; none if there is none. A process that is
/// dead and not yet reaped has one too, which is readable.
pub(super) fn handle(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(id, PidfdFlags::empty()) {
        Ok(handle) => Ok(Some(handle)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A process as it was found.
struct Seen {
    process: Process,
    parent: u32,
    session_leader: u32,
    has_terminal: bool,
}

fn look(pid: u32) -> io::Result<Option<Seen>> {
    // The system gives ids that fit a signed number, from one on; zero is not a process.
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let mut buffer = [0; STAT_BYTES_MAX];
    let text = match read_line(&format!("/proc/{pid}/stat"), &mut buffer) {
        Ok(text) => text,
        Err(error) if is_missing(&error) => return is_gone(id).map(|()| None),
        Err(error) => return Err(error),
    };
    let stat = parse_stat(text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat reads odd")))?;
    if stat.is_dead {
        return Ok(None);
    }
    // Moments are counted in hundredths of a second, in which no system gives all other ids away and this one again.
    let process = Process { pid, started: stat.started, boot: boot()? };
    let Stat { parent, session_leader, has_terminal, .. } = stat;
    Ok(Some(Seen { process, parent, session_leader, has_terminal }))
}

/// Reads a file of one line. Hooks look at a dozen of these: the usual way to read a file, of which the size is not known,
/// would ask the system three times as often.
fn read_line<'a>(path: &str, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut file = File::open(path)?;
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if buffer[..count].ends_with(b"\n") {
            break;
        }
    }
    Ok(&buffer[..count])
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// `/proc` can be mounted so that it hides the processes of others, or not at all: only the system itself knows for sure
/// that there is no such process.
fn is_gone(id: Pid) -> io::Result<()> {
    match test_kill_process(id) {
        Err(Errno::SRCH) => Ok(()),
        Ok(()) => Err(io::Error::other("there is such a process, and /proc does not show it")),
        Err(error) => Err(error.into()),
    }
}

/// The boot, read once: it cannot change while we run.
fn boot() -> io::Result<Arc<str>> {
    static BOOT: OnceLock<Arc<str>> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot.clone());
    }
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BOOT.get_or_init(|| Arc::from(text.trim())).clone())
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    is_dead: bool,
    parent: u32,
    session_leader: u32,
    has_terminal: bool,
    started: u64,
}

/// Reads `<pid> (<command>) <state> <parent> ...`. A command may hold spaces and parentheses: the last one ends it.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end = memchr::memrchr(b')', text)?;
    let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
    // The manual counts from one, and the state is the third.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let threads: u64 = field(20)?.parse().ok()?;
    let is_dead = match field(3)? {
        "X" | "x" => true,
        // One whose first thread has ended, and others not, is alive.
        "Z" => threads <= 1,
        _ => false,
    };
    Some(Stat {
        is_dead,
        parent: field(4)?.parse().ok()?,
        session_leader: field(6)?.parse().ok()?,
        has_terminal: field(7)? != "0",
        started: field(22)?.parse().ok()?,
    })
}

/// The user under whose rights a process acts, of its `status`.
fn effective_user(status: &[u8]) -> Option<u32> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn stat(command: &str, state: &str, threads: u32) -> String {
        format!("77 ({command}) {state} 12 77 77 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 {threads} 0 4242 1000 9 1844\n")
    }

    #[test]
    fn a_command_may_look_like_the_fields_behind_it() {
        let alive = Some(Stat { is_dead: false, parent: 12, session_leader: 77, has_terminal: false, started: 4242 });
        for command in ["sleep", "a b", ") Z 1 (", "x) Z 9 9", "", "\u{e9}"] {
            assert_eq!(parse_stat(stat(command, "S", 1).as_bytes()), alive, "{command}");
        }
        let bytes = [b"77 (\xff\xfe)".as_slice(), stat("", "R", 1).split_once(')').unwrap().1.as_bytes()].concat();
        assert_eq!(parse_stat(&bytes), alive);
    }

    #[test]
    fn the_dead_are_told_by_their_state() {
        for (state, threads, is_dead) in
            [("Z", 1, true), ("X", 1, true), ("Z", 2, false), ("T", 1, false), ("D", 1, false)]
        {
            assert_eq!(parse_stat(stat("x", state, threads).as_bytes()).unwrap().is_dead, is_dead, "{state}");
        }
    }

    #[test]
    fn what_reads_odd_tells_nothing() {
        let whole = stat("x", "S", 1);
        for length in 0..whole.find("4242").unwrap() {
            assert_eq!(parse_stat(&whole.as_bytes()[..length]), None, "{length}");
        }
        assert_eq!(parse_stat(b"77 (x) S -1 77"), None);
    }

    #[test]
    fn a_child_is_itself_until_it_is_killed_and_a_zombie_is_nobody() {
        let mut child = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
        let first = identify_own(child.id()).unwrap().unwrap();
        assert_eq!((first.pid, identify(child.id()).unwrap()), (child.id(), Some(first.clone())));
        child.kill().unwrap();
        // Not reaped: its entry stays, and says so once it is dead.
        while identify(child.id()).unwrap().is_some() {
            std::thread::yield_now();
        }
        assert!(std::fs::exists(format!("/proc/{}", child.id())).unwrap());
        child.wait().unwrap();
        assert_eq!(identify(child.id()).unwrap(), None);
    }

    #[test]
    fn nobody_has_an_id_that_the_system_does_not_give() {
        for pid in [0, u32::MAX, i32::MAX as u32] {
            assert_eq!(identify(pid).unwrap(), None, "{pid}");
            assert!(ancestors(pid).is_empty());
        }
    }

    #[test]
    fn whose_a_process_is_is_told_by_the_rights_that_it_has() {
        assert_eq!(effective_user(b"Name:\tx\nUmask:\t0022\nUid:\t1000\t7\t1000\t1000\nGid:\t1\t2\t3\t4\n"), Some(7));
        assert_eq!(effective_user(b"Name:\tUid: 1\n"), None);
    }

    #[test]
    fn ancestors_are_a_line_from_the_process_up() {
        let us = std::process::id();
        let mut child =
            Command::new("sh").args(["-c", "sleep 600 & echo $!; wait"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let pids: Vec<u32> = ancestors(grandchild).iter().map(|process| process.pid).collect();
        assert_eq!(pids[..3], [grandchild, child.id(), us]);
        assert!(!pids.contains(&1) && pids.len() <= ANCESTORS_MAX);
        rustix::process::kill_process(Pid::from_raw(grandchild as i32).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
        child.wait().unwrap();
        assert!(ancestors(grandchild).is_empty());
    }
}

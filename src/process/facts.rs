//! What Linux tells of processes, in `/proc`. It must not take what it cannot read for a death: only a process that is
//! surely not there, or dead and not yet reaped, counts as gone.

use super::Lineage;
use super::remembered::Remembered;
use crate::limits::{ANCESTORS_MAX, LINEAGE_TRIES, STAT_BYTES_MAX, STATUS_BYTES_MAX};
use crate::model::Process;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open, test_kill_process};
use std::cell::RefCell;
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
    MEMORY.with_borrow_mut(|memory| identify_own_with(pid, memory))
}

fn identify_own_with(pid: u32, memory: &mut Remembered) -> io::Result<Option<Process>> {
    memory.begin();
    if let Some((process, _)) = memory.get(pid) {
        let is_own = is_own(pid);
        if memory.all_live() {
            return is_own.map(|is_own| is_own.then_some(process));
        }
        memory.forget_used();
    }
    let Some(seen) = look(pid)? else { return Ok(None) };
    let is_own = match is_own(pid) {
        Ok(is_own) => is_own,
        // It ended just now.
        Err(error) if is_missing(&error) => return identify(pid),
        Err(error) => return Err(error),
    };
    // The two files may have been those of two processes, one after the other.
    let own = identify(pid)?.filter(|again| is_own && *again == seen.process);
    if own.is_some() {
        remember(seen, memory);
    }
    Ok(own)
}

/// Whether the process with this id acts under our user's rights.
fn is_own(pid: u32) -> io::Result<bool> {
    let mut buffer = [0; STATUS_BYTES_MAX];
    let status = read_once(&format!("/proc/{pid}/status"), &mut buffer)?;
    Ok(effective_user(status) == Some(geteuid().as_raw()))
}

/// A process, and what it tells of who started it. If its ancestors cannot be told up to the first process, which happens
/// when one ends just then, nothing is told.
pub fn lineage(pid: u32) -> Lineage {
    MEMORY.with_borrow_mut(|memory| lineage_with(pid, memory))
}

fn lineage_with(pid: u32, memory: &mut Remembered) -> Lineage {
    let whole = (0..LINEAGE_TRIES).map(|_| walk(pid, memory)).find(|walk| walk.is_whole);
    let Some(Walk { own: Some(own), chain, .. }) = whole else { return Lineage::default() };
    // A process that was left behind by its parents still names its terminal; the shell of that terminal is not among its
    // ancestors any more.
    let has_shell = || chain.iter().any(|process| process.pid == own.session_leader);
    let terminal = (own.terminal != 0 && has_shell()).then_some(own.terminal);
    Lineage { chain, terminal }
}

/// The processes on the terminal of a process, itself among them; none if an agent has started it, or if that cannot be
/// told.
pub fn on_terminal_of(pid: u32, terminal: i32) -> Option<Vec<Process>> {
    super::terminal::shared_with(pid, terminal)
}

/// A process and those from which it descends, nearest first, as far as they can be read: without the first process of
/// the system, from which everything descends. Empty if the process itself is not there.
pub fn ancestors(pid: u32) -> Vec<Process> {
    walk(pid, &mut Remembered::nothing()).chain
}

thread_local! {
    static MEMORY: RefCell<Remembered> = RefCell::new(Remembered::sized());
}

/// What is found on the way up from a process.
#[derive(Default)]
struct Walk {
    /// The process itself.
    own: Option<Seen>,
    /// As [`ancestors`] gives them.
    chain: Vec<Process>,
    /// Whether they reach the first process.
    is_whole: bool,
}

/// Goes up from a process. Those that are remembered are not looked at, but asked at the end whether they live.
fn walk(pid: u32, memory: &mut Remembered) -> Walk {
    memory.begin();
    let Some(own) = look(pid).ok().flatten() else { return Walk::default() };
    let (mut chain, mut looked_at) = (vec![own.process.clone()], Vec::new());
    let (mut child, mut parent) = (own.process.clone(), own.parent);
    while parent > 1 && chain.len() < ANCESTORS_MAX {
        // Nobody has a parent that is younger: one that is has the id of a parent that ended while nobody asked.
        let known = memory.get(parent).filter(|(found, _)| found.started <= child.started);
        let next = known.or_else(|| {
            let seen = look(parent).ok().flatten()?;
            // A parent that ends leaves its children to another one: if it is still the parent after it was looked at, it
            // was there all the time, and nobody else had its id.
            let again = look(child.pid).ok().flatten()?;
            let is_parent = again.process == child && again.parent == parent;
            let found = (seen.process.clone(), seen.parent);
            looked_at.push(seen);
            is_parent.then_some(found)
        });
        let Some(next) = next else { break };
        (child, parent) = next;
        chain.push(child.clone());
    }
    let is_whole = parent <= 1 && memory.all_live();
    if is_whole {
        looked_at.into_iter().for_each(|seen| remember(seen, memory));
    } else {
        memory.forget_used();
    }
    Walk { own: Some(own), chain, is_whole }
}

/// Remembers a process, if it is worth it and was not gone meanwhile.
fn remember(seen: Seen, memory: &mut Remembered) {
    if !memory.wants(&seen.process) {
        return;
    }
    let Ok(Some(handle)) = handle(seen.process.pid) else { return };
    // A handle belongs to whoever has the id at that moment: if that is the same one after it was taken, it is this one's.
    let again = look(seen.process.pid).ok().flatten();
    if let Some(again) = again.filter(|again| again.process == seen.process) {
        memory.keep(again.process, again.parent, handle);
    }
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
pub(super) struct Seen {
    pub(super) process: Process,
    parent: u32,
    session_leader: u32,
    /// The number of its terminal; zero if it has none.
    pub(super) terminal: i32,
}

pub(super) fn look(pid: u32) -> io::Result<Option<Seen>> {
    // The system gives ids that fit a signed number, from one on; zero is not a process.
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let mut buffer = [0; STAT_BYTES_MAX];
    let text = match read_once(&format!("/proc/{pid}/stat"), &mut buffer) {
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
    let Stat { parent, session_leader, terminal, .. } = stat;
    Ok(Some(Seen { process, parent, session_leader, terminal }))
}

/// Reads a file of `/proc` that fits, which gives all of itself at once. Hooks look at some of these: the usual way to read a
/// file, of which the size is not known, would ask the system several times as often.
pub(super) fn read_once<'a>(path: &str, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut file = File::open(path)?;
    loop {
        match file.read(buffer) {
            Ok(count) => return Ok(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
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
    terminal: i32,
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
        terminal: field(7)?.parse().ok()?,
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
        let alive = Some(Stat { is_dead: false, parent: 12, session_leader: 77, terminal: 0, started: 4242 });
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

    /// A shell below a shell below us, and what runs in it.
    struct Family {
        child: std::process::Child,
        grandchild: u32,
        last: u32,
    }

    impl Family {
        fn start() -> Self {
            let script = "sh -c 'echo $$; sleep 600 & echo $!; wait; :'; :";
            let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = io::BufRead::lines(io::BufReader::new(child.stdout.take().unwrap()));
            let mut pid = || lines.next().unwrap().unwrap().trim().parse().unwrap();
            Self { grandchild: pid(), last: pid(), child }
        }

        fn pids(&self) -> [u32; 3] {
            [self.last, self.grandchild, self.child.id()]
        }
    }

    impl Drop for Family {
        fn drop(&mut self) {
            for pid in [self.last, self.grandchild] {
                let _ = kill(pid);
            }
            let _ = (self.child.kill(), self.child.wait());
        }
    }

    fn kill(pid: u32) -> rustix::io::Result<()> {
        rustix::process::kill_process(Pid::from_raw(pid as i32).unwrap(), rustix::process::Signal::KILL)
    }

    fn of_any_age(max: usize) -> Remembered {
        Remembered::new(max, std::time::Duration::ZERO)
    }

    #[test]
    fn what_is_remembered_tells_the_same_and_is_bounded() {
        let family = Family::start();
        let plain = lineage_with(family.last, &mut Remembered::nothing());
        assert_eq!(plain.chain[..3].iter().map(|process| process.pid).collect::<Vec<_>>(), family.pids());
        for max in [0, 1, 2, 64] {
            let mut memory = of_any_age(max);
            for _ in 0..3 {
                assert_eq!(lineage_with(family.last, &mut memory), plain);
            }
            // Not the caller, which is another one each time.
            assert_eq!(memory.len(), max.min(plain.chain.len() - 1));
            assert!(memory.get(family.last).is_none());
        }
        let mut of_old = Remembered::new(64, std::time::Duration::from_secs(3600));
        lineage_with(family.last, &mut of_old);
        assert!(of_old.get(family.grandchild).is_none());
    }

    #[test]
    fn when_a_remembered_ancestor_ends_the_line_is_the_new_one() {
        for ends in [1, 2] {
            let family = Family::start();
            let mut memory = of_any_age(64);
            let before = lineage_with(family.last, &mut memory);
            assert!(memory.get(family.grandchild).is_some() && memory.get(family.child.id()).is_some());
            kill(family.pids()[ends]).unwrap();
            while identify(family.pids()[ends]).unwrap().is_some() {
                std::thread::yield_now();
            }
            let after = lineage_with(family.last, &mut memory);
            assert_eq!(after, lineage_with(family.last, &mut Remembered::nothing()));
            assert_eq!(after.chain[..ends], before.chain[..ends]);
            assert!(!after.chain.contains(&before.chain[ends]));
        }
    }

    #[test]
    fn who_has_the_id_of_a_parent_that_ended_unnoticed_is_no_ancestor() {
        let family = Family::start();
        let other = Family::start();
        let mut memory = of_any_age(64);
        // As if the one in the middle had been remembered with a parent whose id another process has by now.
        let middle = identify(family.grandchild).unwrap().unwrap();
        let younger = Process { started: middle.started + 1, ..identify(other.last).unwrap().unwrap() };
        memory.keep(middle.clone(), younger.pid, handle(middle.pid).unwrap().unwrap());
        memory.keep(younger.clone(), 1, handle(younger.pid).unwrap().unwrap());
        let found = lineage_with(family.last, &mut memory);
        assert_eq!(found, lineage_with(family.last, &mut Remembered::nothing()));
        assert!(!found.chain.contains(&younger));
    }

    #[test]
    fn one_that_was_forgotten_for_want_of_room_may_have_ended_meanwhile() {
        let family = Family::start();
        let mut memory = of_any_age(64);
        lineage_with(family.last, &mut memory);
        memory.begin();
        memory.get(family.child.id());
        memory.forget_used();
        kill(family.child.id()).unwrap();
        while identify(family.child.id()).unwrap().is_some() {
            std::thread::yield_now();
        }
        let after = lineage_with(family.last, &mut memory);
        assert_eq!(after, lineage_with(family.last, &mut Remembered::nothing()));
        assert_eq!(after.chain[1].pid, family.grandchild);
    }

    #[test]
    fn a_remembered_process_is_ours_until_it_is_killed() {
        let mut child = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
        let mut memory = of_any_age(64);
        let first = identify_own_with(child.id(), &mut memory).unwrap().unwrap();
        assert_eq!((memory.len(), identify_own_with(child.id(), &mut memory).unwrap()), (1, Some(first)));
        child.kill().unwrap();
        while identify(child.id()).unwrap().is_some() {
            std::thread::yield_now();
        }
        assert_eq!((identify_own_with(child.id(), &mut memory).unwrap(), memory.len()), (None, 0));
        child.wait().unwrap();
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

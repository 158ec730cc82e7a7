//! What the system tells about a process (Linux only; elsewhere the sections that need it say so), and this process's
//! own limit of descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::PathBuf;
use std::time::Duration;

/// Kibibytes, and the number of threads.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) rss: f64,
    pub(crate) peak: f64,
    pub(crate) pss: f64,
    pub(crate) private: f64,
    pub(crate) threads: f64,
}

/// What a process has used since it began.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Times that a thread of it went to sleep of its own will, and was woken.
    pub(crate) wakeups: u64,
}

impl Usage {
    /// What was used since an earlier look.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(before.cpu), wakeups: self.wakeups.saturating_sub(before.wakeups) }
    }
}

pub(crate) fn is_known() -> bool {
    cfg!(target_os = "linux")
}

pub(crate) fn memory(pid: u32) -> Memory {
    let status = read(pid, "status");
    let rollup = read(pid, "smaps_rollup");
    Memory {
        rss: field(&status, "VmRSS:"),
        peak: field(&status, "VmHWM:"),
        pss: field(&rollup, "Pss:"),
        private: field(&rollup, "Private_Clean:") + field(&rollup, "Private_Dirty:"),
        threads: field(&status, "Threads:"),
    }
}

pub(crate) fn usage(pid: u32) -> Usage {
    drop(read(pid, "status"));
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut usage = Usage { cpu: Duration::ZERO, wakeups: 0 };
    for task in tasks {
        // A thread that ends meanwhile counts as nothing. utime and stime count in ticks of 10 ms; this is exact.
        let text = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let ns = text("schedstat").split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
        usage.cpu += Duration::from_nanos(ns);
        usage.wakeups += field(&text("status"), "voluntary_ctxt_switches:") as u64;
    }
    usage
}

fn read(pid: u32, name: &str) -> String {
    let text = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/{name}"))).unwrap_or_default();
    if text.is_empty() {
        crate::die(&format!("the daemon (pid {pid}) is gone: it died, or somebody killed it"));
    }
    text
}

fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// Ten thousand clients are ten thousand descriptors.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(16_384, |maximum| maximum.min(16_384));
    if limit.current.is_some_and(|current| current < wanted) {
        // With fewer, the section that needs them says what it lacks.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

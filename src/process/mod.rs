//! Processes: which one is meant by a process id, from which others it descends, and when it ends. It must not decide
//! what follows from a death; the roster does.

#[cfg(target_os = "linux")]
mod facts;
#[cfg(not(target_os = "linux"))]
#[path = "listed.rs"]
mod facts;
#[cfg(all(test, target_os = "linux"))]
#[allow(unreachable_pub)] // it is the public one elsewhere, and is here to be tested
mod listed;
mod peer;
#[cfg(target_os = "linux")]
mod remembered;
#[cfg(target_os = "linux")]
mod terminal;
mod watch;

pub use facts::{ancestors, identify, identify_all, identify_own, lineage, on_terminal_of};
pub use peer::{PeerHandle, now};
pub use watch::start;

use crate::model::{Host, Process};

/// From whom a process descends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The process and its ancestors, nearest first, as [`ancestors`] gives them.
    pub chain: Vec<Process>,
    /// Its terminal's number, if the terminal's shell (the leader of its session) is among the ancestors.
    pub terminal: Option<i32>,
}

/// Describes this machine.
pub fn this_machine() -> Host {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = name.split('.').next().unwrap_or_default();
    Host { name: name.into(), os: std::env::consts::OS.into(), arch: std::env::consts::ARCH.into() }
}

/// Whether this is what this machine calls itself, up to the first dot: the process ids of another one mean nothing here.
pub fn is_this_machine(host: &str) -> bool {
    let first = |name: &[u8]| name.split(|byte| *byte == b'.').next().unwrap_or_default().to_ascii_lowercase();
    first(host.as_bytes()) == first(rustix::system::uname().nodename().to_bytes())
}

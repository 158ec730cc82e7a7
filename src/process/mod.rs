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

pub use facts::{ancestors, identify, identify_all, identify_own, lineage};

use crate::model::Process;

/// From whom a process descends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The process and its ancestors, nearest first, as [`ancestors`] gives them.
    pub chain: Vec<Process>,
    /// Whether it runs in a terminal whose shell (the leader of the terminal's session) is among its ancestors.
    pub at_terminal: bool,
}

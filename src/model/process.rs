//! A process as one that cannot be mistaken for another. It must not look at processes; it only says which one is meant.

use std::sync::Arc;

/// One process of one boot of this machine. A process id alone is given to another process later; together with the
/// moment at which the process began, and the boot in which that moment is counted, it never is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// The process id.
    pub pid: u32,
    /// When it began: clock ticks since the boot (field 22 of `/proc/<pid>/stat`), elsewhere microseconds since 1970.
    pub started: u64,
    /// The boot, as the system names it (`/proc/sys/kernel/random/boot_id`).
    pub boot: Arc<str>,
}

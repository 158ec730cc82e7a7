//! The process at the other end of a Unix socket, held fast. Its id alone means little: the process can end while another
//! one keeps the connection, and a third one can get its id.

use super::{Lineage, lineage};
use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

/// What tells the process that made a connection from later bearers of its id.
#[derive(Clone, Debug)]
pub enum PeerHandle {
    /// A handle of that very process (Linux from 6.5 on).
    Held(Arc<OwnedFd>),
    /// The system says that the process has ended.
    Ended,
    /// The system gives no handle: a process that was born after this hundredth of a second since the boot is another one.
    BornBy(u64),
}

impl PartialEq for PeerHandle {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Held(one), Self::Held(other)) => Arc::ptr_eq(one, other),
            (Self::Ended, Self::Ended) => true,
            (Self::BornBy(one), Self::BornBy(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for PeerHandle {}

impl PeerHandle {
    /// Asks for the handle of a connection's maker; `accepted` is the moment of [`now`] at which the connection was accepted.
    /// It may be asked for at any time: the system remembers the maker, and not its id.
    pub fn of(socket: BorrowedFd<'_>, accepted: u64) -> Self {
        match handle_of(socket) {
            Ok(handle) => Self::Held(Arc::new(handle)),
            Err(Errno::ENOPROTOOPT) => Self::BornBy(accepted),
            Err(_) => Self::Ended,
        }
    }

    /// The ancestors of the maker with this id, nearest first; none once it has ended.
    pub fn lineage(&self, pid: u32) -> Lineage {
        let found = match self {
            Self::Ended => return Lineage::default(),
            Self::Held(_) | Self::BornBy(_) => lineage(pid),
        };
        let is_maker = match self {
            // It lives after the look, so that nobody else had its id meanwhile.
            Self::Held(handle) => !has_ended(handle),
            Self::BornBy(accepted) => found.chain.first().is_none_or(|process| process.started <= *accepted),
            Self::Ended => false,
        };
        if is_maker { found } else { Lineage::default() }
    }
}

#[cfg(target_os = "linux")]
fn handle_of(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerPidfd)
}

#[cfg(not(target_os = "linux"))]
fn handle_of(_: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    Err(Errno::ENOPROTOOPT)
}

/// Whether a process has ended; what cannot be told counts as an end.
fn has_ended(handle: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&Timespec::default())) != Ok(0)
}

/// The present moment, in the unit in which the system tells the birth of processes.
#[cfg(target_os = "linux")]
pub fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 100 + nanos.unwrap_or_default() / 10_000_000
}

/// Elsewhere births are told in whole seconds of a clock that can be set, and hold nobody off.
#[cfg(not(target_os = "linux"))]
pub fn now() -> u64 {
    u64::MAX
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// row 106, for systems that give no handle: the age of the process decides.
    #[test]
    fn a_process_that_is_younger_than_the_connection_did_not_make_it() {
        let own = std::process::id();
        let started = lineage(own).chain[0].started;
        assert_eq!(PeerHandle::BornBy(started).lineage(own), lineage(own));
        assert_eq!(PeerHandle::BornBy(started - 1).lineage(own), Lineage::default());
        assert!((started..started + 100 * 60 * 60).contains(&now()), "one clock, one unit");
    }

    #[test]
    fn the_maker_is_itself_while_it_lives() {
        let (one, _other) = UnixStream::pair().unwrap();
        let handle = PeerHandle::of(one.as_fd(), now());
        assert_eq!(handle.lineage(std::process::id()), lineage(std::process::id()));
        assert_eq!(PeerHandle::Ended.lineage(std::process::id()), Lineage::default());
    }
}

//! Signals: the first one asks for an ordered stop, the second one ends the process at once.

use crate::error::{Fatal, exit_code};
use crate::thread::Exit;
use crossbeam_channel::Sender;
use nix::sys::signal::{SigHandler, Signal, signal};

/// Exit code after a second signal, as shells report an interrupt.
const INTERRUPTED: i32 = 130;

/// Listens for SIGINT, SIGTERM and SIGHUP. A SIGHUP that was ignored when the daemon began (nohup) stays ignored.
pub(super) fn listen(exits: Sender<Exit>) -> Result<(), Fatal> {
    let hangup_ignored = hangup_is_ignored();
    let mut signals = 0;
    let handler = move || {
        signals += 1;
        if signals > 1 {
            std::process::exit(INTERRUPTED);
        }
        // Full: the process is stopping already.
        let _ = exits.try_send(Exit::Signal);
    };
    ctrlc::set_handler(handler)
        .map_err(|error| Fatal::new(exit_code::OS, format!("cannot listen for signals: {error}")))?;
    if hangup_ignored {
        ignore(Signal::SIGHUP);
    }
    Ok(())
}

/// Whether SIGHUP is ignored. Where the system does not tell, it counts as not ignored.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Signal 1 is the lowest bit.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Makes a write beyond the limit of a file's size fail, rather than end the process: it is refused as by a full disk.
pub(super) fn survive_file_limits() {
    ignore(Signal::SIGXFSZ);
}

#[allow(unsafe_code)] // The one place: installing a handler can be unsound, ignoring a signal installs none.
fn ignore(which: Signal) {
    // SAFETY: SIG_IGN runs no code of ours in signal context, and no other thread changes this disposition.
    let _ = unsafe { signal(which, SigHandler::SigIgn) };
}

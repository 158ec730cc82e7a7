//! Outputs that show nothing. A write to one succeeds, so that only a look at the descriptor tells.

use rustix::fs::{FileType, Stat};
use std::os::fd::AsFd;

/// Returns `true` for `/dev/null`, which the runtime also opens in the place of a closed stdout or stderr.
pub(crate) fn is_discarded(output: impl AsFd) -> bool {
    let device = |found: Stat| (FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice, found.st_rdev);
    let (null, output) = (rustix::fs::stat("/dev/null").map(device), rustix::fs::fstat(output).map(device));
    output.is_ok() && output == null
}

//! Whose word counts for a session's presence: the file of trusted keys, which its owner may put into the state directory.
//! It must not take a file that is there, and cannot be understood, for one that is not.

use crate::attestation::parse_parents;
use crate::error::{Fatal, exit_code};
use crate::limits::PARENTS_BYTES_MAX;
use crate::machine_token::read_own;
use std::path::Path;
use std::sync::Arc;

/// The file's name.
const PARENTS_NAME: &str = "parents";

/// The keys that may attest; none where there is no file, so that every key may.
///
/// # Errors
/// Fatal: the file is not as it must be.
pub(super) fn load(directory: &Path) -> Result<Option<Arc<[String]>>, Fatal> {
    let Some(text) = read_own(directory, PARENTS_NAME, PARENTS_BYTES_MAX + 1)? else { return Ok(None) };
    let show = directory.join(PARENTS_NAME);
    let show = show.display();
    if text.len() as u64 > PARENTS_BYTES_MAX {
        let message = format!("{show} has more than {PARENTS_BYTES_MAX} bytes: keep only the keys that you trust");
        return Err(Fatal::new(exit_code::CONFIG, message));
    }
    let keys = parse_parents(&text).map_err(|line| {
        let message = format!("{show}, line {line}: a key has 64 hexadecimal digits; a comment begins with '#'");
        Fatal::new(exit_code::CONFIG, message)
    })?;
    Ok(Some(keys.into()))
}

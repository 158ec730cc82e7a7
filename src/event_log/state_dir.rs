//! The state directory: for its owner alone, and the one-time move of the log of marshal's predecessor, claude-coord,
//! into it. It must not open up, chmod or delete what is not ours.

use super::LOG_NAME;
use crate::error::{Fatal, exit_code};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Makes the directory if it is missing, and makes sure that nobody else can look into it.
///
/// # Errors
/// Fatal: what is wrong with it and what to do.
pub fn prepare(directory: &Path) -> Result<(), Fatal> {
    let show = directory.display();
    let create = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    create.map_err(|error| {
        Fatal::new(exit_code::CANNOT_CREATE, format!("cannot make the state directory {show}: {error}"))
    })?;
    let metadata = fs::metadata(directory);
    let metadata = metadata.map_err(|error| {
        Fatal::new(exit_code::CANNOT_CREATE, format!("cannot look at the state directory {show}: {error}"))
    })?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let message =
            format!("the state directory {show} belongs to another user; set MARSHAL_STATE_DIR to one of yours");
        return Err(Fatal::new(exit_code::PERMISSION, message));
    }
    if metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    if !may_close(directory, metadata.mode()) {
        let message = format!(
            "the state directory {show} is open to other users and holds other things than marshal's; run 'chmod 700 {show}' if that is meant, or set MARSHAL_STATE_DIR to another one"
        );
        return Err(Fatal::new(exit_code::PERMISSION, message));
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(|error| {
        Fatal::new(exit_code::PERMISSION, format!("cannot close the state directory {show} to other users: {error}"))
    })
}

/// Whether a directory that is open to others is marshal's (0.9 left it so) or empty, so that closing it harms nobody.
fn may_close(directory: &Path, mode: u32) -> bool {
    let sticky = mode & 0o1000 != 0;
    let empty = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    !sticky && (empty || directory.join(LOG_NAME).exists())
}

/// Moves the log of claude-coord here if there is one and we have none yet: once, by rename.
pub fn migrate(coord_dir: &Path, directory: &Path) {
    let (old, new) = (coord_dir.join(LOG_NAME), directory.join(LOG_NAME));
    if !old.exists() {
        return;
    }
    if new.exists() {
        log::warn!("both {} and {} exist; using the latter and leaving the former alone", old.display(), new.display());
        return;
    }
    match fs::rename(&old, &new).or_else(|error| copy_across(&old, &new, error)) {
        Ok(()) => log::info!("took over the log of claude-coord from {}", old.display()),
        Err(error) => log::error!("cannot take over the log of claude-coord from {}: {error}", old.display()),
    }
}

/// Another file system: copy, and only then remove.
fn copy_across(old: &Path, new: &Path, error: io::Error) -> io::Result<()> {
    if error.kind() != io::ErrorKind::CrossesDevices {
        return Err(error);
    }
    let part = new.with_extension("part");
    fs::copy(old, &part)?;
    fs::File::open(&part)?.sync_all()?;
    fs::rename(&part, new)?;
    fs::remove_file(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_new_directory_is_private_and_one_of_0_9_becomes_so() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        prepare(&directory).unwrap();
        assert_eq!(mode(&directory), 0o700);
        fs::write(directory.join(LOG_NAME), b"").unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        prepare(&directory).unwrap();
        assert_eq!(mode(&directory), 0o700);
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("other"), b"").unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(prepare(root.path()).unwrap_err().code, exit_code::PERMISSION);
        assert_eq!(mode(root.path()), 0o755);
        let file = root.path().join("other");
        assert_eq!(prepare(&file).unwrap_err().code, exit_code::CANNOT_CREATE);
    }

    #[test]
    fn the_old_log_is_moved_once_and_never_over_a_new_one() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        migrate(old.path(), new.path());
        assert!(!new.path().join(LOG_NAME).exists());
        fs::write(old.path().join(LOG_NAME), b"1\n").unwrap();
        migrate(old.path(), new.path());
        assert_eq!(fs::read(new.path().join(LOG_NAME)).unwrap(), b"1\n");
        assert!(!old.path().join(LOG_NAME).exists());
        fs::write(old.path().join(LOG_NAME), b"2\n").unwrap();
        migrate(old.path(), new.path());
        assert_eq!(fs::read(new.path().join(LOG_NAME)).unwrap(), b"1\n");
        assert!(old.path().join(LOG_NAME).exists());
    }
}

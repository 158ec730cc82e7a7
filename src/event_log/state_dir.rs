//! The state directory: for its owner alone, and the one-time move of the log of marshal's predecessor, claude-coord,
//! into it. It must not open up, chmod or delete what is not ours.

use super::LOG_NAME;
use crate::error::{Fatal, exit_code};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Network file systems, by the number with which `statfs(2)` names their kind. Locks on them keep nobody on another
/// machine out, a write can fail long after it was acknowledged, and nobody hears of changes that others make.
const NETWORK_KINDS: [(u32, &str); 10] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
];

fn network_kind(kind: u32) -> Option<&'static str> {
    NETWORK_KINDS.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name)
}

/// Refuses a directory on a network file system.
#[cfg(target_os = "linux")]
fn refuse_network(directory: &Path) -> Result<(), Fatal> {
    // What cannot be asked is not refused: opening the files will say more.
    let Ok(found) = rustix::fs::statfs(directory) else { return Ok(()) };
    // The number has 32 bits, in a type that differs from system to system.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let kind = network_kind(found.f_type as u32);
    kind.map_or(Ok(()), |kind| {
        let message = format!(
            "the state directory {} is on a network file system ({kind}), where the log is not safe; set MARSHAL_STATE_DIR to a directory on a disk of this machine",
            directory.display()
        );
        Err(Fatal::new(exit_code::CONFIG, message))
    })
}

/// Elsewhere the kinds have no numbers that mean the same everywhere.
#[cfg(not(target_os = "linux"))]
fn refuse_network(_: &Path) -> Result<(), Fatal> {
    Ok(())
}

/// Why a file or directory cannot be made, and what to do where that is known.
pub fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("{error}; set MARSHAL_STATE_DIR to a directory that can be written")
        }
        io::ErrorKind::StorageFull => format!("{error}; free some space"),
        io::ErrorKind::PermissionDenied => {
            format!("{error}; set MARSHAL_STATE_DIR to a directory that belongs to you")
        }
        _ => error.to_string(),
    }
}

/// Makes the directory if it is missing, and makes sure that nobody else can look into it.
///
/// # Errors
/// Fatal: what is wrong with it and what to do.
pub fn prepare(directory: &Path) -> Result<(), Fatal> {
    let show = directory.display();
    let create = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    create.map_err(|error| {
        Fatal::new(exit_code::CANNOT_CREATE, format!("cannot make the state directory {show}: {}", explain(&error)))
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
    refuse_network(directory)?;
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
    match fs::rename(&old, &new).or_else(|error| copy_across(&old, &new, error, sync_directory)) {
        Ok(()) => log::info!("took over the log of claude-coord from {}", old.display()),
        Err(error) => log::error!("cannot take over the log of claude-coord from {}: {error}", old.display()),
    }
}

/// Another file system: copies, and removes the old log only once the name of the new one is on the disk.
fn copy_across(
    old: &Path,
    new: &Path,
    error: io::Error,
    sync_directory: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    if error.kind() != io::ErrorKind::CrossesDevices {
        return Err(error);
    }
    let part = new.with_extension("part");
    fs::copy(old, &part)?;
    fs::File::open(&part)?.sync_all()?;
    fs::rename(&part, new)?;
    sync_directory(new)?;
    fs::remove_file(old)
}

/// Syncs the directory in which a file stands.
fn sync_directory(of: &Path) -> io::Result<()> {
    of.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
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
    fn network_file_systems_are_told_from_local_ones() {
        assert_eq!((network_kind(0x6969), network_kind(0xff53_4d42)), (Some("NFS"), Some("CIFS")));
        // ext4, XFS, Btrfs, tmpfs, overlayfs, ZFS, FUSE, and 9P, which some sandboxes show for local disks.
        for local in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1, 0x6573_5546, 0x0102_1997]
        {
            assert_eq!(network_kind(local), None, "{local:x}");
        }
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

    // row 90
    #[test]
    fn a_log_from_another_file_system_is_removed_there_once_its_new_name_is_on_the_disk() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (old.path().join(LOG_NAME), new.path().join(LOG_NAME));
        fs::write(&from, b"1\n").unwrap();
        let copy = |sync: &dyn Fn(&Path) -> io::Result<()>| {
            copy_across(&from, &to, io::Error::from(io::ErrorKind::CrossesDevices), sync)
        };
        let failed = copy(&|_| Err(io::Error::other("a failing disk")));
        assert_eq!(failed.unwrap_err().to_string(), "a failing disk");
        assert_eq!(fs::read(&from).unwrap(), b"1\n");
        copy(&|at| {
            assert!(from.exists() && at == to && to.exists());
            sync_directory(at)
        })
        .unwrap();
        assert!(!from.exists());
        assert_eq!(fs::read(&to).unwrap(), b"1\n");
    }
}

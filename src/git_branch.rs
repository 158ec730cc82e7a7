//! On which git branch a session's directory is, for the roster. Directories can lie on file systems that never answer: a
//! thread of its own looks, and nobody waits for it. It must not run git, nor read anything but `.git` and `HEAD`.

use crate::ids::SessionId;
use crate::limits::{
    GIT_FILE_BYTES_MAX, GIT_LOOK_EVERY, GIT_LOOK_QUEUE_MAX, GIT_PARENTS_MAX, GIT_SESSIONS_MAX, NAME_BYTES_MAX,
};
use crate::roster::{Request, SessionChange};
use crate::store::Command;
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A wish to look.
#[derive(Debug)]
pub struct Look {
    /// The session.
    pub session: SessionId,
    /// Its directory.
    pub directory: Arc<str>,
    /// The branch that the roster has for it.
    pub known: Option<Arc<str>>,
}

/// Starts the thread, which ends when nobody can wish for anything any more. It is not joined: it may be waiting for a file
/// system that is gone.
///
/// # Errors
/// The operating system's reason for which no thread could be had.
pub fn start(store: Sender<Command>, exits: &Sender<Exit>) -> std::io::Result<Sender<Look>> {
    let (wish, wishes) = bounded(GIT_LOOK_QUEUE_MAX);
    thread::spawn("git-branch", exits, move || run(&wishes, &store)).map(drop)?;
    Ok(wish)
}

fn run(wishes: &Receiver<Look>, store: &Sender<Command>) {
    let mut looked: HashMap<SessionId, Instant> = HashMap::new();
    for look in wishes {
        let now = Instant::now();
        if looked.get(&look.session).is_some_and(|at| now.duration_since(*at) < GIT_LOOK_EVERY) {
            continue;
        }
        if looked.len() >= GIT_SESSIONS_MAX {
            looked.retain(|_, at| now.duration_since(*at) < GIT_LOOK_EVERY);
        }
        if looked.len() < GIT_SESSIONS_MAX {
            looked.insert(look.session.clone(), now);
        }
        let branch = branch(Path::new(&*look.directory));
        if branch.as_deref() != look.known.as_deref() {
            let request = Request::UpdateSession { session: look.session, change: SessionChange::GitBranch(branch) };
            // Full: the store is busy, and the next prompt asks again.
            let _ = store.try_send(Command::Request { request, reply_to: None });
        }
    }
}

/// The branch that the directory is on, or the beginning of the commit's id if it is on none; none if it is in no repository.
fn branch(directory: &Path) -> Option<String> {
    if !directory.is_absolute() {
        return None;
    }
    let head = directory.ancestors().take(GIT_PARENTS_MAX).find_map(head_below)?;
    let name = match head.trim_end().strip_prefix("ref: ") {
        Some(name) => name.strip_prefix("refs/heads/").unwrap_or(name),
        None => head.get(..12).filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()))?,
    };
    let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
    is_name.then(|| name.to_owned())
}

/// What stands in the repository's `HEAD`, if there is one right below the directory.
fn head_below(directory: &Path) -> Option<String> {
    let git = directory.join(".git");
    read(&git.join("HEAD")).or_else(|| {
        // A worktree or a submodule: a file that says where its directory is.
        let text = read(&git)?;
        let place = PathBuf::from(text.strip_prefix("gitdir: ")?.trim_end());
        read(&directory.join(place).join("HEAD"))
    })
}

/// The beginning of a regular file. What is none may have no end, or nothing to give yet.
fn read(path: &Path) -> Option<String> {
    // The flags have this type on all systems.
    #[allow(clippy::cast_possible_wrap)]
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(GIT_FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_branch_is_that_of_the_nearest_repository_above() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let below = root.join("src/deep");
        fs::create_dir_all(&below).unwrap();
        assert_eq!(branch(&below), None, "in no repository");
        fs::create_dir(root.join(".git")).unwrap();
        for (head, expected) in [
            ("ref: refs/heads/main\n", Some("main")),
            ("ref: refs/heads/feature/α\n", Some("feature/α")),
            ("ref: refs/remotes/x\n", Some("refs/remotes/x")),
            ("0123456789abcdef0123456789abcdef01234567\n", Some("0123456789ab")),
            ("ref: refs/heads/a\u{1b}[31m\n", None),
            ("ref: \n", None),
            ("nonsense\n", None),
            ("", None),
        ] {
            fs::write(root.join(".git/HEAD"), head).unwrap();
            assert_eq!(branch(&below).as_deref(), expected, "{head:?}");
        }
    }

    #[test]
    fn a_worktree_says_where_its_head_is() {
        let place = tempfile::tempdir().unwrap();
        let (main, tree) = (place.path().join("main/.git/worktrees/x"), place.path().join("tree"));
        fs::create_dir_all(&main).unwrap();
        fs::create_dir(&tree).unwrap();
        fs::write(main.join("HEAD"), "ref: refs/heads/x\n").unwrap();
        for text in [format!("gitdir: {}\n", main.display()), "gitdir: ../main/.git/worktrees/x\n".to_owned()] {
            fs::write(tree.join(".git"), &text).unwrap();
            assert_eq!(branch(&tree).as_deref(), Some("x"), "{text}");
        }
        fs::write(tree.join(".git"), "gitdir: ../nowhere\n").unwrap();
        assert_eq!(branch(&tree), None);
    }

    #[test]
    fn what_is_no_regular_file_is_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let git = place.path().join(".git");
        fs::create_dir_all(&git).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, git.join("HEAD"), 0o600.into()).unwrap();
        assert_eq!(branch(place.path()), None);
        assert_eq!(branch(Path::new("relative")), None);
    }

    #[test]
    fn a_session_is_looked_at_once_in_a_while_and_told_of_if_something_changed() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join(".git")).unwrap();
        fs::write(place.path().join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        let directory: Arc<str> = place.path().to_str().unwrap().into();
        let (store, told) = bounded(8);
        let (wish, wishes) = bounded(8);
        for (id, known) in [("a", None), ("a", None), ("b", Some("main")), ("c", Some("old"))] {
            let look = Look { session: SessionId::from(id), directory: directory.clone(), known: known.map(Arc::from) };
            wish.send(look).unwrap();
        }
        drop(wish);
        run(&wishes, &store);
        let told: Vec<String> = told
            .try_iter()
            .map(|command| match command {
                Command::Request { request: Request::UpdateSession { session, change }, .. } => {
                    assert_eq!(change, SessionChange::GitBranch(Some("main".to_owned())));
                    session.as_str().to_owned()
                }
                _ => panic!("something else"),
            })
            .collect();
        assert_eq!(told, ["a", "c"]);
    }
}

//! What a session's directory is by its file system, for the roster: its true path, its git repository and branch. Directories can lie on file systems that never answer: a
//! thread of its own looks, and nobody waits for it. It must not run git, nor read anything but the small files by which git finds a repository.

use crate::ids::SessionId;
use crate::limits::{
    GIT_FILE_BYTES_MAX, GIT_LOOK_EVERY, GIT_LOOK_QUEUE_MAX, GIT_PARENTS_MAX, GIT_SESSIONS_MAX, NAME_BYTES_MAX,
    PATH_BYTES_MAX,
};
use crate::roster::{Place, Request, SessionChange};
use crate::store::Command;
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A wish to look.
#[derive(Debug)]
pub struct Look {
    /// The session.
    pub session: SessionId,
    /// Its directory, and what the roster knows of that.
    pub known: Place,
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
    let mut looked: HashMap<SessionId, (Instant, Arc<str>)> = HashMap::new();
    for Look { session, known } in wishes {
        let now = Instant::now();
        let is_fresh = |at: &Instant| now.duration_since(*at) < GIT_LOOK_EVERY;
        if looked.get(&session).is_some_and(|(at, cwd)| is_fresh(at) && *cwd == known.cwd) {
            continue;
        }
        if looked.len() >= GIT_SESSIONS_MAX {
            looked.retain(|_, (at, _)| is_fresh(at));
        }
        if looked.len() < GIT_SESSIONS_MAX {
            looked.insert(session.clone(), (now, known.cwd.clone()));
        }
        let place = look_at(&known.cwd);
        if (Place { name: None, ..place.clone() }) != known {
            let request = Request::UpdateSession { session, change: SessionChange::Place(Box::new(place)) };
            // Full: the store is busy, and the next prompt asks again.
            let _ = store.try_send(Command::Request { request, reply_to: None });
        }
    }
}

/// What the file system shows of a session's directory.
fn look_at(cwd: &Arc<str>) -> Place {
    let path = Path::new(&**cwd);
    if !path.is_absolute() {
        return Place { cwd: cwd.clone(), ..Place::default() };
    }
    let shared = |text: &str| (text.len() <= PATH_BYTES_MAX).then(|| Arc::from(text));
    let resolved = path.canonicalize().ok();
    let directory = resolved.as_deref().and_then(Path::to_str).filter(|resolved| *resolved != &**cwd).and_then(shared);
    // A link's parents are not those of the directory that it leads to.
    let repository = repository_of(resolved.as_deref().unwrap_or(path));
    let common = repository.as_ref().and_then(|found| found.common.to_str()).and_then(shared);
    Place {
        cwd: cwd.clone(),
        directory,
        branch: repository.as_ref().and_then(branch).map(Arc::from),
        name: common.as_ref().and(repository.as_ref()).and_then(Repository::name).and_then(shared),
        repository: common,
    }
}

/// A repository, as seen from one of its worktrees.
struct Repository {
    /// The top directory of the worktree; of a bare repository, its own.
    top: PathBuf,
    /// The directory that holds `HEAD`.
    git: PathBuf,
    /// The directory that all worktrees share.
    common: PathBuf,
}

impl Repository {
    /// Opens the one with this directory of git's; none if git would not take it for one.
    fn open(top: &Path, git: &Path) -> Option<Self> {
        fs::symlink_metadata(git.join("HEAD")).ok()?;
        let git = git.canonicalize().ok()?;
        let common = match read(&git.join("commondir")) {
            Some(text) => git.join(path_in(&text)).canonicalize().ok()?,
            None => git.clone(),
        };
        let is_one = common.join("objects").is_dir() && (common.join("refs").is_dir());
        is_one.then(|| Self { top: top.to_owned(), git, common })
    }

    /// The name by which people know it: that of the directory it was cloned into.
    fn name(&self) -> Option<&str> {
        let is_shared = self.common != self.git;
        if !is_shared {
            let top = self.top.file_name()?.to_str()?;
            return Some(if self.top == self.git { without_git(top) } else { top });
        }
        let own = self.common.file_name()?.to_str()?;
        // `.git`, or `.bare` of a directory with nothing but worktrees.
        let above = self.common.parent().and_then(Path::file_name).and_then(OsStr::to_str);
        Some(above.filter(|_| own.starts_with('.')).unwrap_or_else(|| without_git(own)))
    }
}

/// The name of a bare repository without its customary ending.
fn without_git(name: &str) -> &str {
    name.strip_suffix(".git").filter(|name| !name.is_empty()).unwrap_or(name)
}

/// The nearest repository at a directory or above. A `.git` file that leads nowhere ends the search, as it does git's.
fn repository_of(directory: &Path) -> Option<Repository> {
    for top in directory.ancestors().take(GIT_PARENTS_MAX) {
        let git = top.join(".git");
        if let Some(text) = read(&git) {
            let place = path_in(text.strip_prefix(b"gitdir:".as_slice())?);
            return Repository::open(top, &top.join(place));
        }
        if let Some(found) = Repository::open(top, &git).or_else(|| Repository::open(top, top)) {
            return Some(found);
        }
    }
    None
}

/// The path in a file of git's: its first line, without the spaces around it.
fn path_in(text: &[u8]) -> &Path {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Path::new(OsStr::from_bytes(line.trim_ascii()))
}

/// The branch that is checked out, or the beginning of the commit's id if none is.
fn branch(repository: &Repository) -> Option<String> {
    let head = repository.git.join("HEAD");
    // Old versions of git make HEAD a link to the branch.
    if let Ok(target) = fs::read_link(&head) {
        return branch_name(target.to_str()?);
    }
    let head = String::from_utf8(read(&head)?).ok()?;
    match head.strip_prefix("ref:") {
        Some(name) => branch_name(name.lines().next()?.trim()),
        None => {
            let id = head.trim_end();
            let is_id = matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_id.then(|| id[..12].to_owned())
        }
    }
}

/// A branch as people call it. What git takes for no name is none: a repository whose references are in a table (`reftable`)
/// says `.invalid` where older versions look.
fn branch_name(reference: &str) -> Option<String> {
    let name = reference.strip_prefix("refs/heads/").unwrap_or(reference);
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let is_forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let is_name = name.len() <= NAME_BYTES_MAX
        && name.split('/').all(is_part)
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains(is_forbidden);
    is_name.then(|| name.to_owned())
}

/// The beginning of a regular file. What is none may have no end, or nothing to give yet.
fn read(path: &Path) -> Option<Vec<u8>> {
    // The flags have this type on all systems.
    #[allow(clippy::cast_possible_wrap)]
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(GIT_FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
#[path = "git_branch/tests.rs"]
mod tests;

//! Where a session is: its directory as its file system shows it, and the project that follows from its repository. It must
//! not look at a file.

use super::sessions::basename;
use super::{Place, Roster};
use crate::ids::SessionId;
use crate::limits::{NAME_BYTES_MAX, PROJECT_MEMBERS_SEEN_MAX};
use crate::model::{RoomKind, Session};
use crate::text::to_faultless;
use std::sync::Arc;

/// Puts a session into another directory, of which nothing else is known yet.
pub(super) fn move_to(row: &mut Session, cwd: &str) {
    row.cwd = Arc::from(cwd);
    (row.directory, row.repository) = (None, None);
}

/// The project of a session whose repository is not known.
pub(super) fn project_without_repository(cwd: &str) -> Option<Arc<str>> {
    basename(cwd).map(|name| Arc::from(to_faultless(name)))
}

/// The directory by which two sessions are compared.
pub(super) fn compared(cwd: &Arc<str>, directory: Option<&Arc<str>>) -> Arc<str> {
    directory.cloned().unwrap_or_else(|| plain(cwd))
}

/// A path without `.`, doubled and trailing slashes. What `..` means depends on links.
fn plain(path: &Arc<str>) -> Arc<str> {
    let is_plain = !path.contains("//") && !path.contains("/.") && !path.ends_with('/');
    if is_plain || !path.starts_with('/') {
        return path.clone();
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    Arc::from(format!("/{}", parts.join("/")))
}

impl Roster {
    /// Takes over what a file system shows of a session's directory, unless the session has left that, or has a shim, which
    /// tells by itself.
    pub(super) fn find_place(&mut self, row: &mut Session, place: Place) {
        if row.client_id.is_some() || row.cwd != place.cwd {
            return;
        }
        let Place { directory, branch, repository, name, .. } = place;
        if row.directory != directory {
            self.offer_again(&row.id);
        }
        (row.git_branch, row.directory) = (branch, directory);
        if row.repository == repository {
            return;
        }
        row.project = match (&repository, &name) {
            (Some(repository), Some(name)) => self.project_named(repository, name).or(row.project.take()),
            _ => project_without_repository(&row.cwd),
        };
        row.repository = repository;
    }

    /// The session's next prompt is told of the mail that was left in its place: its place was not known before.
    fn offer_again(&mut self, session: &SessionId) {
        let mut pulse = self.pulses.get(session).cloned().unwrap_or_default();
        pulse.offers_left = true;
        self.pulses.insert(session.clone(), pulse);
    }

    /// The name of a repository's project: its own, with as many directories before it as tell it from another one's.
    fn project_named(&self, repository: &str, name: &str) -> Option<Arc<str>> {
        let parents = repository.rsplit('/').filter(|part| !part.is_empty() && *part != name && *part != ".git");
        let mut candidate = to_faultless(name);
        for parent in parents.map(Some).chain([None]) {
            if !self.is_of_another(&candidate, repository) {
                return (!candidate.is_empty()).then(|| Arc::from(candidate));
            }
            let longer = format!("{}/{candidate}", to_faultless(parent?));
            if longer.len() > NAME_BYTES_MAX {
                break;
            }
            candidate = longer;
        }
        None
    }

    /// Whether a project of this name is that of another repository. A session without a known repository says nothing.
    fn is_of_another(&self, project: &str, repository: &str) -> bool {
        let Some(room) = RoomKind::Project(Arc::from(project)).auto_id() else { return false };
        let members = self.tables.members_of.get(&room).into_iter().flat_map(|members| members.keys());
        let mut repositories = members.take(PROJECT_MEMBERS_SEEN_MAX).filter_map(|member| {
            let row = &self.tables.sessions.get(member)?.stored.row;
            row.repository.as_deref().filter(|_| row.project.as_deref() == Some(project))
        });
        repositories.next().is_some_and(|other| other != repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // row 37
    #[test]
    fn a_directory_is_compared_without_what_says_nothing() {
        for path in ["/w/x", "/w/x/", "/w//x", "/w/./x/.", "//w/x//"] {
            assert_eq!(&*plain(&Arc::from(path)), "/w/x", "{path}");
        }
        for path in ["/w/.x", "/w/../x", "", "w/x/", "C:\\w\\", "/w/x.", "/"] {
            assert_eq!(&*plain(&Arc::from(path)), path, "{path}");
        }
    }
}

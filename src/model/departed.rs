//! A session that ended: what is known of it for the mail that it left or that still comes for it. It must not know what
//! becomes of that.

use crate::ids::SessionId;
use std::sync::Arc;

/// What is kept of a session that ended, while there is mail that it has not read, and for a while in which there can come
/// some. Not in marshal 0.9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// The session.
    pub id: SessionId,
    /// Its nickname.
    pub nickname: Arc<str>,
    /// Its working directory.
    pub cwd: Arc<str>,
    /// The same directory without links, where it is spelled otherwise.
    pub directory: Option<Arc<str>>,
    /// The human it worked for.
    pub operator: Option<Arc<str>>,
    /// When it ended, in wall-clock milliseconds.
    pub ended_at: i64,
    /// When the first of its mail ends, in wall-clock milliseconds; without mail, until when this row is kept.
    pub due_at: i64,
    /// Whether there is mail that it has not read.
    pub has_mail: bool,
}

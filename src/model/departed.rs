//! A session that ended and left mail. It must not know what becomes of that.

use crate::ids::SessionId;
use std::sync::Arc;

/// What is kept of a session that ended, while there is mail that it has not read. Not in marshal 0.9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// The session.
    pub id: SessionId,
    /// Its nickname.
    pub nickname: Arc<str>,
    /// Its working directory.
    pub cwd: Arc<str>,
    /// The human it worked for.
    pub operator: Option<Arc<str>>,
    /// When it ended, in wall-clock milliseconds.
    pub ended_at: i64,
    /// When the first of its mail ends, in wall-clock milliseconds.
    pub due_at: i64,
}

//! Why the log refuses what is to be stored, as callers and operators are told. It must not decide when that is over.

use crate::error::{ErrorKind, RequestError};
use std::{fmt, io};

/// A refusal of the disk's.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) kind: ErrorKind,
    /// The system's words.
    reason: String,
    advice: &'static str,
}

impl Refusal {
    pub(super) fn of(error: &io::Error) -> Self {
        let kind = ErrorKind::of_storage(error);
        Self { kind, reason: error.to_string(), advice: kind.storage_advice(error) }
    }

    /// The answer to a request that was not stored.
    pub(super) fn error(&self) -> RequestError {
        RequestError::new(
            self.kind,
            format!("nothing was stored, the log cannot be written ({}); {}", self.reason, self.advice),
        )
    }

    /// The daemon's health.
    pub(super) fn health(&self) -> String {
        format!("{}: {}", self.kind.code(), self.reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    // row 43, row 44
    #[test]
    fn each_way_in_which_a_log_cannot_be_written_has_a_code_and_advice_of_its_own() {
        let table = [
            (Errno::NOSPC, "storage_full", "space"),
            (Errno::DQUOT, "storage_full", "space"),
            (Errno::FBIG, "storage_full", "LimitFSIZE"),
            (Errno::ROFS, "storage_read_only", "remount"),
            (Errno::ACCESS, "storage_forbidden", "chmod"),
            (Errno::PERM, "storage_immutable", "chattr -i"),
            (Errno::NOENT, "storage_gone", "removed"),
            (Errno::NOTDIR, "storage_gone", "removed"),
            (Errno::IO, "storage_failed", "log"),
        ];
        for (errno, code, advice) in table {
            let refusal = Refusal::of(&errno.into());
            let RequestError { kind, message, .. } = refusal.error();
            assert_eq!((kind.code(), kind.http_status(), kind.is_of_storage()), (code, 507, true), "{errno}");
            assert!(message.contains(advice) && message.starts_with("nothing was stored"), "{errno}: {message}");
            assert!(refusal.health().starts_with(code) && refusal.to_string().contains(advice), "{errno}");
            assert_eq!(message.contains("when there is space"), advice == "space", "{errno}: {message}");
        }
    }
}

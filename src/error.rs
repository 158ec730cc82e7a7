//! Errors by consequence. A [`RequestError`] goes to one caller with a stable code; a [`Fatal`] ends the process with
//! a documented exit code. Nothing else in the product decides about either.

use std::path::Path;
use std::{fmt, io};

/// What went wrong with one request. `code` never changes once published; `message` is for people and says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// The kind, from which code and HTTP status follow.
    pub kind: ErrorKind,
    /// One sentence for people.
    pub message: String,
    /// For ambiguous or unknown addresses: what could have been meant.
    pub candidates: Vec<String>,
    /// In how many seconds the same request may succeed, where that is known.
    pub retry_after_s: Option<u32>,
}

/// The kinds of request errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is not well-formed: JSON, types, missing or overlong fields.
    Invalid,
    /// The addressed session, room or message does not exist.
    NotFound,
    /// The address fits more than one.
    Ambiguous,
    /// The caller has not said, or not shown, who it is.
    UnknownCaller,
    /// The caller has shown no credential, or one that is not valid (any more).
    Unauthorized,
    /// The caller is known, and is not who it says it is, or may not do this.
    Forbidden,
    /// The caller asks too often; `retry_after_s` says when it may again.
    RateLimited,
    /// Two sessions have answered each other too often; `retry_after_s` says when they may go on.
    LoopGuard,
    /// The sender's own name for a message is that of another one.
    KeyReused,
    /// The request is understood and refused.
    Refused,
    /// Too large for a stated bound.
    TooLarge,
    /// The method does not fit the path.
    MethodNotAllowed,
    /// The body's content type is not what the path takes.
    MediaType,
    /// The disk has no space for the log; nothing was stored. Try again later.
    StorageFull,
    /// The log's file system is read-only; nothing was stored.
    StorageReadOnly,
    /// The log may not be written, by its permissions; nothing was stored.
    StorageForbidden,
    /// The log is made unchangeable; nothing was stored.
    StorageImmutable,
    /// The state directory is gone; nothing was stored.
    StorageGone,
    /// The log cannot be written for another reason; nothing was stored.
    StorageFailed,
    /// The daemon is stopping or overloaded. Try again.
    Unavailable,
    /// A bug of the daemon.
    Internal,
}

impl ErrorKind {
    /// How many there are.
    pub const COUNT: usize = Self::Internal as usize + 1;

    /// The stable code on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid_request",
            Self::NotFound => "not_found",
            Self::Ambiguous => "ambiguous",
            Self::UnknownCaller => "unknown_caller",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::LoopGuard => "loop_guard",
            Self::KeyReused => "idempotency_key_reused",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::MediaType => "unsupported_media_type",
            Self::StorageFull => "storage_full",
            Self::StorageReadOnly => "storage_read_only",
            Self::StorageForbidden => "storage_forbidden",
            Self::StorageImmutable => "storage_immutable",
            Self::StorageGone => "storage_gone",
            Self::StorageFailed => "storage_failed",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The kind of a request that could not be stored, by the disk's error.
    pub fn of_storage(error: &io::Error) -> Self {
        use rustix::io::Errno;
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::WriteZero => Self::StorageFull,
            io::ErrorKind::ReadOnlyFilesystem => Self::StorageReadOnly,
            // The owner of an immutable file may write to it by its permissions.
            io::ErrorKind::PermissionDenied if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                Self::StorageImmutable
            }
            io::ErrorKind::PermissionDenied => Self::StorageForbidden,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::StorageGone,
            _ => Self::StorageFailed,
        }
    }

    /// Returns `true` if nothing was stored because the log cannot be written.
    pub fn is_of_storage(self) -> bool {
        matches!(
            self,
            Self::StorageFull
                | Self::StorageReadOnly
                | Self::StorageForbidden
                | Self::StorageImmutable
                | Self::StorageGone
                | Self::StorageFailed
        )
    }

    /// The operator's part, where the log cannot be written; empty for any other kind.
    pub fn storage_advice(self, error: &io::Error) -> &'static str {
        match self {
            Self::StorageFull if error.kind() == io::ErrorKind::FileTooLarge => RAISE_FILE_LIMIT,
            Self::StorageFull => "try again when there is space",
            Self::StorageReadOnly => "try again when its file system can be written (mount -o remount,rw)",
            Self::StorageForbidden => {
                "make the state directory and its files writable for the daemon's user (chmod u+rwX)"
            }
            Self::StorageImmutable => "take the attribute away from the file or its directory (chattr -i)",
            Self::StorageGone => "make its state directory again, which was removed or moved away, or restart marshal",
            Self::StorageFailed => "see the daemon's log, and try again",
            _ => "",
        }
    }

    /// The HTTP status that goes with the code.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid | Self::UnknownCaller => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Ambiguous | Self::Refused | Self::KeyReused => 409,
            Self::TooLarge => 413,
            Self::MethodNotAllowed => 405,
            Self::MediaType => 415,
            Self::RateLimited | Self::LoopGuard => 429,
            Self::Internal => 500,
            Self::StorageFull
            | Self::StorageReadOnly
            | Self::StorageForbidden
            | Self::StorageImmutable
            | Self::StorageGone
            | Self::StorageFailed => 507,
            Self::Unavailable => 503,
        }
    }
}

impl RequestError {
    /// An error without candidates.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry_after_s = (kind == ErrorKind::Unavailable).then_some(1);
        Self { kind, message: message.into(), candidates: Vec::new(), retry_after_s }
    }

    /// A malformed request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The daemon stops, and takes nothing more.
    pub fn stopping() -> Self {
        Self::new(ErrorKind::Unavailable, "the daemon is stopping; try again in a second")
    }

    /// Something that is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.candidates.is_empty() {
            write!(f, " (candidates: {})", self.candidates.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for RequestError {}

/// Exit codes of the binary, after `sysexits.h` where one fits.
pub mod exit_code {
    /// Done.
    pub const OK: u8 = 0;
    /// The daemon refused the request, or nothing fits it.
    pub const REFUSED: u8 = 1;
    /// There is mail, on stderr: hosts of agents take this code as a reason to begin a turn with that.
    pub const WOKEN: u8 = 2;
    /// Wrong command line.
    pub const USAGE: u8 = 64;
    /// The daemon does not run, or does not answer.
    pub const UNAVAILABLE: u8 = 69;
    /// A bug: a thread of the daemon died.
    pub const SOFTWARE: u8 = 70;
    /// The operating system refused something that the daemon needs (a thread, a socket).
    pub const OS: u8 = 71;
    /// The state directory, the log or the socket cannot be made.
    pub const CANNOT_CREATE: u8 = 73;
    /// The log can no longer be trusted: a sync or a cut-back failed.
    pub const IO: u8 = 74;
    /// Somebody else holds the state directory or the port.
    pub const HELD: u8 = 75;
    /// A file or directory belongs to somebody else or is open to others.
    pub const PERMISSION: u8 = 77;
    /// A setting is wrong.
    pub const CONFIG: u8 = 78;
}

/// Why the process cannot start or go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// One of [`exit_code`].
    pub code: u8,
    /// What happened and what to do about it.
    pub message: String,
}

impl Fatal {
    /// A fatal error.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fatal {}

/// What to do about a limit of file sizes.
const RAISE_FILE_LIMIT: &str = "raise the limit of file sizes under which marshal runs (ulimit -f, LimitFSIZE)";

/// What the system says about a file in `directory`, and what to do where that is known.
pub fn explain_in(directory: &Path, error: &io::Error) -> String {
    let show = directory.display();
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("{error}; set MARSHAL_STATE_DIR to a directory that can be written")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!("{error}; free some space in {show}"),
        io::ErrorKind::FileTooLarge => format!("{error}; {RAISE_FILE_LIMIT}"),
        // One of our own says by itself what to do.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_some() => format!(
            "{error}; make {show} and the files in it writable for you, or set MARSHAL_STATE_DIR to another directory"
        ),
        _ => error.to_string(),
    }
}

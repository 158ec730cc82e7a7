//! Why a session is gone. It must not decide anything.

/// Why a session leaves the roster, or loses its registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its hook said that it ended.
    Ended,
    /// Its process died.
    ProcessDied,
    /// Nothing was heard of it for too long.
    Silent,
    /// Its client went and did not come back.
    ClientLost,
    /// It was registered under another token, or its token for another session.
    Replaced,
    /// Its registration was taken back.
    Deregistered,
    /// Its registration was not renewed in time.
    Expired,
    /// Its client took it back.
    Withdrawn,
    /// Somebody else deleted it in the log.
    Outside,
}

impl Gone {
    /// The spelling in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::ProcessDied => "process_died",
            Self::Silent => "silent",
            Self::ClientLost => "client_lost",
            Self::Replaced => "replaced",
            Self::Deregistered => "deregistered",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Outside => "outside",
        }
    }
}

//! File descriptors: asks the system for enough, and shares out what there is, so that neither callers nor WebSocket
//! clients nor processes that are watched can take them all. It must not count what is open; those who hold them do.

use crate::error::{Fatal, exit_code};
use crate::limits::{
    ANCESTORS_REMEMBERED_MAX, DESCRIPTORS_FREE_AT_START_MIN, DESCRIPTORS_PER_REMEMBERED, DESCRIPTORS_RESERVED,
    DESCRIPTORS_WANTED, GATE_CONNECTIONS_MAX, PROCESS_HANDLES_MAX, REMEMBERING_THREADS, WAITERS_MAX, WS_CLIENTS_MAX,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Who may hold how many.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Connections at the gate.
    pub(super) gate_connections: usize,
    /// WebSocket clients.
    pub(super) ws_clients: usize,
    /// Handles of processes.
    pub(super) process_handles: usize,
    /// Callers who wait for a session's mail.
    pub(super) waiters: usize,
}

/// Raises the limit where it can be raised: the usual one of 1,024 is meant for programs that use select(2).
///
/// # Errors
/// Fatal: too few descriptors are free. A daemon that cannot accept a connection leaves its callers waiting for ever.
pub(super) fn raise() -> Result<Shares, Fatal> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS_WANTED, |maximum| maximum.min(DESCRIPTORS_WANTED));
    if limit.current.is_some_and(|current| current < wanted) {
        // Going on with fewer is fine: each part keeps to its share.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
    let limit = getrlimit(Resource::Nofile).current;
    check_free().map_err(|error| {
        let limit = limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        let message = format!(
            "fewer than {DESCRIPTORS_FREE_AT_START_MIN} file descriptors are free (limit {limit}): {error}; \
             raise the limit, for example with 'ulimit -n 1024'"
        );
        Fatal::new(exit_code::OS, message)
    })?;
    let shares = share(limit);
    if shares.ws_clients < WS_CLIENTS_MAX || shares.waiters < WAITERS_MAX {
        let Shares { gate_connections, ws_clients, waiters, .. } = shares;
        log::warn!(
            "few file descriptors: room for {gate_connections} requests, {ws_clients} WebSocket clients and {waiters} sessions \
             that can be woken at once"
        );
    }
    Ok(shares)
}

/// Takes as many descriptors as the daemon needs, and gives them back. The limit alone does not tell how many the parent
/// process left open.
fn check_free() -> std::io::Result<()> {
    let pipes: Result<Vec<_>, _> = (0..DESCRIPTORS_FREE_AT_START_MIN.div_ceil(2)).map(|_| std::io::pipe()).collect();
    pipes.map(drop)
}

/// Of what is not reserved a sixth for processes, which can do without, a sixth for those who wait, and half of the rest for
/// each; what these do not need is for those who wait too. `None` is no limit.
fn share(descriptors: Option<u64>) -> Shares {
    let all = descriptors.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    let remembered = (all / DESCRIPTORS_PER_REMEMBERED).min(ANCESTORS_REMEMBERED_MAX) * REMEMBERING_THREADS;
    let free = all.saturating_sub(DESCRIPTORS_RESERVED + remembered);
    let process_handles = (free / 6).min(PROCESS_HANDLES_MAX);
    let half = ((free - process_handles - free / 6) / 2).max(1);
    let (gate_connections, ws_clients) = (half.min(GATE_CONNECTIONS_MAX), half.min(WS_CLIENTS_MAX));
    let waiters = free.saturating_sub(process_handles + gate_connections + ws_clients).min(WAITERS_MAX);
    Shares { gate_connections, ws_clients, process_handles, waiters }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_fit_into_what_there_is() {
        let (gate_connections, ws_clients) = (GATE_CONNECTIONS_MAX, WS_CLIENTS_MAX);
        let all = Shares { gate_connections, ws_clients, process_handles: PROCESS_HANDLES_MAX, waiters: WAITERS_MAX };
        assert_eq!((share(None), share(Some(DESCRIPTORS_WANTED))), (all, share(Some(u64::MAX))));
        assert_eq!(share(Some(256)), Shares { gate_connections: 64, ws_clients: 64, process_handles: 32, waiters: 32 });
        assert!(share(Some(20_000)).waiters >= 10_000);
        for few in [0, 20, DESCRIPTORS_RESERVED as u64] {
            let least = Shares { gate_connections: 1, ws_clients: 1, process_handles: 0, waiters: 0 };
            assert_eq!(share(Some(few)), least);
        }
    }
}

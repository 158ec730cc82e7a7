//! Where a hook's session lives, as the request says beside its body: machine, operator and process. It must not believe of
//! a process what the caller cannot know.

use super::super::Home;
use super::super::caller::{hook_caller, is_related};
use super::Query;
use super::told::Told;
use crate::error::RequestError;
use crate::gate::{self, Credential};
use crate::model::{Host, Process};
use crate::process;
use crate::roster::{Caller, HookReport};
use rustix::process::geteuid;
use std::sync::Arc;

/// Headers with the process, the operator and the machine. The URLs of `http` hooks are fixed, and a shell does not
/// percent-encode a name that it puts into a URL.
const PID_HEADER: &str = "marshal-pid";
const OPERATOR_HEADER: &str = "marshal-operator";
const HOST_HEADER: &str = "marshal-host";

/// What a request says beside its body.
pub(super) struct Place<'a> {
    pub(super) query: &'a Query,
    pub(super) headers: &'a [(String, String)],
}

impl Place<'_> {
    /// Returns a value from the query, else from a header.
    fn said(&self, in_query: &str, in_header: &str) -> Option<&str> {
        let header = || self.headers.iter().find(|(name, _)| name == in_header).map(|(_, value)| value.as_str());
        // An unset variable leaves the header empty.
        self.query.get(in_query).or_else(header).filter(|text| !text.is_empty())
    }

    /// The process id, as it was said.
    fn pid(&self) -> Option<&str> {
        self.said("pid", PID_HEADER)
    }

    /// The machine: as stated, else this one for a caller on the Unix socket.
    fn host(&self, request: &gate::Request, home: &Home) -> Option<Host> {
        let text = |name: &str| Arc::from(self.query.get(name).unwrap_or_default());
        let said = self.said("host", HOST_HEADER).map(|name| Host {
            name: Arc::from(name.split('.').next().unwrap_or_default()),
            os: text("os"),
            arch: text("arch"),
        });
        said.or_else(|| matches!(request.credential, Credential::Peer(_)).then(|| home.machine.clone()))
    }

    /// The operator: as stated, else the daemon's own for a caller on the Unix socket with the same user id.
    fn operator(&self, request: &gate::Request, home: &Home) -> Option<String> {
        let own = geteuid().as_raw();
        let is_own = matches!(request.credential, Credential::Peer(peer) if peer.uid == own);
        let said = self.said("operator", OPERATOR_HEADER).map(str::to_owned);
        said.or_else(|| home.operator.clone().filter(|_| is_own))
    }
}

/// The session that a request is about: the one that the query names, where a person has typed it; else the event's own.
///
/// # Errors
/// None is named, or two are.
pub(super) fn session(told: &Told<'_>, query: &Query) -> Result<String, RequestError> {
    named(query).map_or_else(|| told.session_id(), |name| Ok(name.to_owned()))
}

fn named(query: &Query) -> Option<&str> {
    query.get("session").filter(|name| !name.is_empty())
}

/// What is reported of a session, and who reports it. The process is left out unless it is asked for and the caller can
/// know it.
///
/// # Errors
/// The caller shows a session token that cannot be one.
pub(super) fn of(
    session_id: String,
    cwd: Option<String>,
    place: &Place<'_>,
    with_process: bool,
    request: &gate::Request,
    home: &Home,
) -> Result<(HookReport, Caller), RequestError> {
    let (host, operator) = (place.host(request, home), place.operator(request, home));
    let process = if with_process { process(place) } else { None };
    let caller = hook_caller(request)?;
    let process = process.filter(|process| is_own(&caller, process));
    let is_named = named(place.query).is_some();
    Ok((HookReport { session_id, is_named, cwd, host, operator, process }, caller))
}

/// Whether the session may live in this process, as far as the caller can tell.
fn is_own(caller: &Caller, process: &Process) -> bool {
    let is_related = is_related(&caller.known, process);
    if !is_related {
        log::debug!("the pid {} of a hook is left out: the hook does not run in or above that process", process.pid);
    }
    is_related
}

/// The process that the session lives in, if the hook says so and there is such a one of ours on this machine. Else the
/// session is as good as one whose process is not known: a hook must not fail for that.
fn process(place: &Place<'_>) -> Option<Process> {
    let (text, host) = (place.pid()?, place.said("host", HOST_HEADER));
    let found = match text.parse() {
        // The first process of a system is nobody's agent: from it everything descends.
        Err(_) | Ok(0 | 1) => Err("it is no process id of an agent".to_owned()),
        Ok(_) if host.is_some_and(|host| !process::is_this_machine(host)) => Err("it is of another machine".to_owned()),
        Ok(pid) => match process::identify_own(pid) {
            Ok(Some(process)) => Ok(process),
            Ok(None) => Err("there is no such process of ours".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    };
    found.inspect_err(|reason| log::debug!("the pid of a hook is left out: {reason}")).ok()
}

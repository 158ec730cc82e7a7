//! Who asks: what the gate has found out about a caller, and what its headers show, as the roster wants to know it. It
//! must not decide what a caller may do.

use crate::error::{ErrorKind, RequestError};
use crate::gate;
use crate::model::{Process, TokenHash};
use crate::process;
use crate::roster::{Caller, Known};

/// The header in which a session shows its token. It is not `Authorization`, which over TCP holds the machine's.
const SESSION_HEADER: &str = "marshal-session";

/// The caller, who says nothing yet of who it is.
///
/// # Errors
/// The session token is there more than once or cannot be one.
pub(super) fn caller(request: &gate::Request) -> Result<Caller, RequestError> {
    of(request, true)
}

/// The caller of a hook, which is no person.
///
/// # Errors
/// As for [`caller`].
pub(super) fn hook_caller(request: &gate::Request) -> Result<Caller, RequestError> {
    of(request, false)
}

fn of(request: &gate::Request, may_be_person: bool) -> Result<Caller, RequestError> {
    Ok(Caller {
        known: request.credential.known(&request.maker, may_be_person),
        token: session_token(request)?.map(Box::new),
        ..Caller::default()
    })
}

/// Whether a caller can know of a process what it says of it: it runs in it or below it, or the process runs below it. Who
/// is known by nothing but a token may be on the other side of a container's wall, and is believed.
pub(super) fn is_related(known: &Known, process: &Process) -> bool {
    let Known::Owner { chain, .. } = known else { return true };
    let is_below = || chain.first().is_some_and(|own| process::ancestors(process.pid).contains(own));
    chain.contains(process) || is_below()
}

fn session_token(request: &gate::Request) -> Result<Option<TokenHash>, RequestError> {
    let mut values = request.headers.iter().filter(|(name, _)| name == SESSION_HEADER).map(|(_, value)| value);
    let Some(value) = values.next() else { return Ok(None) };
    let token = parse_token(value).filter(|_| values.next().is_none());
    let bad =
        || RequestError::new(ErrorKind::Unauthorized, "Marshal-Session must hold one token of 64 hexadecimal digits");
    token.map(Some).ok_or_else(bad)
}

/// The hash of a session token: 64 hexadecimal digits in any case.
pub(super) fn parse_token(text: &str) -> Option<TokenHash> {
    let is_token = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_token.then(|| TokenHash::of(&text.to_ascii_lowercase()))
}

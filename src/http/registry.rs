//! The session registry's paths: `/v1/sessions/...` for sessions that are registered by token, and `/v1/events`. Names are
//! those of claudemesh's daemon where it has some, and camelCase besides. It must not let a token out again: not into an
//! answer, not into an error, not into the log.

use super::caller::{caller, is_related, parse_token};
use super::{About, Action, Response, Shape as AnyShape, json_error, json_response, unexpected};
use crate::api::{Args, shapes::TOKEN_PREFIX_DIGITS};
use crate::attestation::{self, Refusal};
use crate::error::{ErrorKind, RequestError};
use crate::gate;
use crate::limits::REGISTRATION_BYTES_MAX;
use crate::log_pace::Pace;
use crate::model::{Presence, Process};
use crate::process;
use crate::roster::{Registering, Reply, Request};
use serde_json::json;

/// How a reply becomes a response.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// With what became of the presence that was shown.
    Registered(Shown),
    /// With the beginning of the token that was named.
    Deregistered([u8; TOKEN_PREFIX_DIGITS]),
}

/// What became of the presence that a registration showed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    Nothing,
    Accepted,
    Refused(Refusal),
}

/// Whether a path names what stands where a session's token would, and cannot be one.
pub(super) fn is_no_token(path: &str) -> bool {
    path.strip_prefix("/v1/sessions/")
        .is_some_and(|rest| parse_token(rest).is_none() && !["register", "me"].contains(&rest))
}

/// Refuses a registration that is too long.
pub(super) fn check_size(request: &gate::Request) -> Result<(), RequestError> {
    if request.body.len() > REGISTRATION_BYTES_MAX {
        let message = format!("a registration has at most {REGISTRATION_BYTES_MAX} bytes");
        return Err(RequestError::new(ErrorKind::TooLarge, message));
    }
    Ok(())
}

fn bad_token() -> RequestError {
    RequestError::invalid("a session token is 64 hexadecimal digits, best made of 32 random bytes")
}

/// `POST /v1/sessions/register`
pub(super) fn register(request: &gate::Request, args: &mut Args, about: &About) -> Result<Action, RequestError> {
    let token = parse_token(&args.text("token").unwrap_or_default()).ok_or_else(bad_token)?;
    let pid: u32 = args.bounded("pid").unwrap_or_default();
    let caller = caller(request)?;
    let process = identify(pid)?;
    if process.as_ref().is_some_and(|process| !is_related(&caller.known, process)) {
        let message =
            format!("process {pid} is neither yours nor one that you have started; register from within the session");
        return Err(RequestError::new(ErrorKind::Forbidden, message));
    }
    let mesh = args.text("mesh").unwrap_or_default();
    let (presence, shown) = presence(args.text("presence").as_deref(), &mesh, about);
    let registering = Registering {
        token,
        session_id: args.text("session_id").unwrap_or_default(),
        display_name: args.text("display_name").unwrap_or_default(),
        pid,
        process,
        cwd: args.text("cwd"),
        role: args.text("role"),
        groups: args.texts("groups").unwrap_or_default(),
        presence,
    };
    let request = Request::Register(Box::new(registering)).by(caller);
    Ok(Action::Ask(request, AnyShape::Registry(Shape::Registered(shown))))
}

/// What proves the session's presence. A session whose presence is not proven is a session all the same.
fn presence(block: Option<&str>, mesh: &str, about: &About) -> (Option<Presence>, Shown) {
    let Some(block) = block else { return (None, Shown::Nothing) };
    match attestation::check(block, mesh, about.clock.now().wall_ms, about.parents.as_deref()) {
        Ok(presence) => (Some(presence), Shown::Accepted),
        Err(refusal) => {
            static UNPROVEN: Pace = Pace::new();
            UNPROVEN.warn(|| format!("a session is registered without its presence, which proves nothing: {refusal}"));
            (None, Shown::Refused(refusal))
        }
    }
}

/// The process that a session lives in. Without one that can be told from all others the session is kept by its signs of
/// life, as one that never named a process.
///
/// # Errors
/// There is surely no such process: a session that is over is not put on the roster.
fn identify(pid: u32) -> Result<Option<Process>, RequestError> {
    match process::identify_own(pid) {
        Ok(Some(process)) => Ok(Some(process)),
        Ok(None) => {
            let message = format!(
                "there is no process {pid} of this user on this machine; give the one that the session lives in"
            );
            Err(RequestError::invalid(message))
        }
        Err(error) => {
            log::debug!("a session is registered for process {pid}, which cannot be looked at: {error}");
            Ok(None)
        }
    }
}

/// `DELETE /v1/sessions/TOKEN`
pub(super) fn deregister(args: &mut Args) -> Result<Action, RequestError> {
    let token = args.text("token").unwrap_or_default();
    let hash = parse_token(&token).ok_or_else(bad_token)?;
    let mut prefix = [0; TOKEN_PREFIX_DIGITS];
    // It has 64 digits, or it would be no token.
    prefix.copy_from_slice(&token.as_bytes()[..TOKEN_PREFIX_DIGITS]);
    Ok(Action::Ask(Request::Deregister(hash), AnyShape::Registry(Shape::Deregistered(prefix))))
}

/// Events from now on, or from the one after that which the caller heard last.
pub(super) fn events(request: &gate::Request, args: &mut Args) -> Result<Action, RequestError> {
    let header = request.headers.iter().find(|(name, _)| name == "last-event-id").map(|(_, value)| value.clone());
    let since = header.filter(|value| !value.is_empty()).or_else(|| args.text("since"));
    Ok(Action::Subscribe(caller(request)?, since))
}

pub(super) fn response(shape: Shape, reply: &Reply) -> Response {
    match (shape, reply) {
        (Shape::Registered(shown), Reply::Registered { registered_at, nickname }) => {
            let accepted = matches!(shown, Shown::Accepted);
            let mut value = json!({
                "ok": true, "registered_at": registered_at, "presence_accepted": accepted, "nickname": &**nickname,
            });
            if let Shown::Refused(refusal) = shown {
                value["presence_refused"] = refusal.code().into();
            }
            json_response(200, &value)
        }
        (Shape::Deregistered(prefix), Reply::Done) => {
            let prefix = String::from_utf8_lossy(&prefix).to_ascii_lowercase();
            json_response(200, &json!({ "ok": true, "token_prefix": prefix }))
        }
        _ => json_error(&unexpected()),
    }
}

//! The session registry's paths: `/v1/sessions/...` for sessions that are registered by token, and `/v1/events`. Names are
//! those of claudemesh's daemon where it has some, and camelCase besides. It must not let a token out again: not into an
//! answer, not into an error, not into the log.

use super::caller::{caller, is_related, parse_token};
use super::query::Query;
use super::v1::{TOKEN_PREFIX_DIGITS, json_body, session_value, wrong_method};
use super::{About, Action, Response, Shape as AnyShape, json_error, json_response, unexpected};
use crate::attestation::{self, Refusal};
use crate::error::{ErrorKind, RequestError};
use crate::gate::{self, respond::without_secrets};
use crate::limits::REGISTRATION_BYTES_MAX;
use crate::model::{Presence, Process};
use crate::process;
use crate::roster::{Registering, Reply, Request, SessionView};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tiny_http::Method;

/// How a reply becomes a response.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// With what became of the presence that was shown.
    Registered(Shown),
    /// With the beginning of the token that was named.
    Deregistered([u8; TOKEN_PREFIX_DIGITS]),
    Me,
}

/// What became of the presence that a registration showed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    Nothing,
    Accepted,
    Refused(Refusal),
}

#[derive(Deserialize)]
struct RegisterBody {
    token: Option<String>,
    #[serde(alias = "sessionId")]
    session_id: Option<String>,
    #[serde(alias = "displayName")]
    display_name: Option<String>,
    pid: Option<u32>,
    cwd: Option<String>,
    role: Option<String>,
    groups: Option<Vec<String>>,
    /// There is one mesh: this machine.
    /// Its name only stands in what is signed.
    mesh: Option<String>,
    presence: Option<Box<RawValue>>,
}

pub(super) fn route(request: &gate::Request, about: &About) -> Action {
    let rest = request.path.strip_prefix("/v1/sessions/").unwrap_or_default();
    let answer = match (rest, &request.method) {
        ("register", Method::Post) => register(request, about),
        ("register", _) => return wrong_method("POST"),
        ("me", Method::Get) => me(request),
        ("me", _) => return wrong_method("GET"),
        (token, Method::Delete) => deregister(token),
        (token, _) if parse_token(token).is_some() => return wrong_method("DELETE"),
        (other, _) => {
            Err(RequestError::not_found(format!("there is nothing at /v1/sessions/{}", without_secrets(other))))
        }
    };
    match answer {
        Ok((request, shape)) => Action::Ask(request, AnyShape::Registry(shape)),
        Err(error) => Action::Respond(json_error(&error)),
    }
}

type Asked = Result<(Request, Shape), RequestError>;

fn bad_token() -> RequestError {
    RequestError::invalid("a session token is 64 hexadecimal digits, best made of 32 random bytes")
}

fn register(request: &gate::Request, about: &About) -> Asked {
    if request.body.len() > REGISTRATION_BYTES_MAX {
        let message = format!("a registration has at most {REGISTRATION_BYTES_MAX} bytes");
        return Err(RequestError::new(ErrorKind::TooLarge, message));
    }
    let body: RegisterBody = json_body(request)?;
    let missing = |name: &str| RequestError::invalid(format!("a registration needs {name}"));
    let filled = |text: Option<String>, name| text.filter(|text| !text.is_empty()).ok_or_else(|| missing(name));
    let token = parse_token(&filled(body.token, "token")?).ok_or_else(bad_token)?;
    // From the first process everything descends.
    let pid = body.pid.filter(|pid| *pid > 1).ok_or_else(|| missing("pid"))?;
    let caller = caller(request)?;
    let process = identify(pid)?;
    if process.as_ref().is_some_and(|process| !is_related(&caller.known, process)) {
        let message =
            format!("process {pid} is neither yours nor one that you have started; register from within the session");
        return Err(RequestError::new(ErrorKind::Forbidden, message));
    }
    let mesh = body.mesh.unwrap_or_default();
    let (presence, shown) = presence(body.presence.as_deref(), &mesh, about);
    let registering = Registering {
        token,
        session_id: filled(body.session_id, "session_id")?,
        display_name: filled(body.display_name, "display_name")?,
        pid,
        process,
        cwd: body.cwd,
        role: body.role,
        groups: body.groups.unwrap_or_default(),
        presence,
    };
    Ok((Request::Register(Box::new(registering)).by(caller), Shape::Registered(shown)))
}

/// What proves the session's presence. A session whose presence is not proven is a session all the same.
fn presence(block: Option<&RawValue>, mesh: &str, about: &About) -> (Option<Presence>, Shown) {
    let Some(block) = block.filter(|block| block.get() != "null") else { return (None, Shown::Nothing) };
    match attestation::check(block.get(), mesh, about.clock.now().wall_ms, about.parents.as_deref()) {
        Ok(presence) => (Some(presence), Shown::Accepted),
        Err(refusal) => {
            log::warn!("a session is registered without its presence, which proves nothing: {refusal}");
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

fn me(request: &gate::Request) -> Asked {
    Ok((Request::Me(caller(request)?), Shape::Me))
}

fn deregister(token: &str) -> Asked {
    let hash = parse_token(token).ok_or_else(bad_token)?;
    let mut prefix = [0; TOKEN_PREFIX_DIGITS];
    // It has 64 digits, or it would be no token.
    prefix.copy_from_slice(&token.as_bytes()[..TOKEN_PREFIX_DIGITS]);
    Ok((Request::Deregister(hash), Shape::Deregistered(prefix)))
}

/// Events from now on, or from the one after that which the caller heard last.
pub(super) fn events(request: &gate::Request) -> Action {
    let subscription = || -> Result<_, RequestError> {
        let query = Query::parse(request.query.as_deref())?;
        let header = request.headers.iter().find(|(name, _)| name == "last-event-id").map(|(_, value)| value.as_str());
        let since = header.filter(|value| !value.is_empty()).or_else(|| query.get("since")).map(str::to_owned);
        Ok((caller(request)?, since))
    };
    match subscription() {
        Ok((caller, since)) => Action::Subscribe(caller, since),
        Err(error) => Action::Respond(json_error(&error)),
    }
}

pub(super) fn response(shape: Shape, reply: &Reply) -> Response {
    match (shape, reply) {
        (Shape::Registered(shown), Reply::Registered { registered_at }) => {
            let accepted = matches!(shown, Shown::Accepted);
            let mut value = json!({ "ok": true, "registered_at": registered_at, "presence_accepted": accepted });
            if let Shown::Refused(refusal) = shown {
                value["presence_refused"] = refusal.code().into();
            }
            json_response(200, &value)
        }
        (Shape::Deregistered(prefix), Reply::Done) => {
            let prefix = String::from_utf8_lossy(&prefix).to_ascii_lowercase();
            json_response(200, &json!({ "ok": true, "token_prefix": prefix }))
        }
        (Shape::Me, Reply::Me(view)) => json_response(200, &json!({ "session": me_value(view) })),
        _ => json_error(&unexpected()),
    }
}

/// The session as the listing has it, with the names under which it was registered.
fn me_value(view: &SessionView) -> Value {
    let mut value = session_value(view);
    value["sessionId"] = view.session.row.id.as_str().into();
    value["displayName"] = (*view.session.row.nickname).into();
    value
}

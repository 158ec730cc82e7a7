//! The `/v1` paths: JSON for scripts and the command line. Every error is a JSON object with a stable code.

use super::caller::caller;
use super::delivery;
use super::query::Query;
use super::{
    About, Action, Page, Response, Shape as AnyShape, json_error, json_response, json_text, registry, unexpected,
};
use crate::api::{self, Args, Op, shapes};
use crate::bom;
use crate::error::{ErrorKind, Fatal, RequestError};
use crate::gate::{self, Credential, respond::without_secrets};
use crate::roster::Reply;
use crate::store::{Compacted, Report};
use serde_json::{Value, json};
use tiny_http::Method;

/// The header in which a request is named, so that it can be made again.
const KEY_HEADER: &str = "idempotency-key";

/// How a reply becomes a response.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Sessions,
    Rooms,
    History,
    Inbox,
    Claimed,
    Sent,
    /// As claudemesh's daemon answers.
    MeshSent,
    Outbox,
    /// One message.
    Message,
    Acked,
    Me,
}

/// What a request to a `/v1` path asks for.
pub(super) fn route(request: &gate::Request, about: &About) -> Action {
    match routed(request, about) {
        Ok(action) => action,
        Err(error) => Action::Respond(json_error(&error)),
    }
}

fn routed(request: &gate::Request, about: &About) -> Result<Action, RequestError> {
    let nothing = || RequestError::not_found(format!("there is nothing at {}", without_secrets(&request.path)));
    let (operation, rest) = match api::at(request.method.as_str(), &request.path).ok_or_else(nothing)? {
        Ok(found) => found,
        Err(_) if registry::is_no_token(&request.path) => return Err(nothing()),
        Err(allowed) => return Ok(wrong_method(&allowed)),
    };
    let mut args = args(request, operation, rest)?;
    let shape = match operation.op {
        Op::Compact => return Ok(Action::Compact),
        Op::RotateToken => return rotate_token(request),
        Op::Status => return Ok(Action::Report(Page::Status)),
        Op::Version => return Ok(Action::Respond(json_response(200, &version(about)))),
        Op::Events => return registry::events(request, &mut args),
        Op::Register => return registry::register(request, &mut args, about),
        Op::Deregister => return registry::deregister(&mut args),
        Op::Sessions => Shape::Sessions,
        Op::Rooms => Shape::Rooms,
        Op::History => Shape::History,
        Op::Message => Shape::Message,
        Op::Send | Op::Requeue => Shape::Sent,
        Op::MeshSend => Shape::MeshSent,
        Op::Inbox => Shape::Inbox,
        Op::Claim => Shape::Claimed,
        Op::Ack => Shape::Acked,
        Op::Outbox => Shape::Outbox,
        Op::Me => Shape::Me,
        // Of WebSockets alone.
        Op::JoinRoom | Op::LeaveRoom | Op::ReadMessages | Op::SetSession(_) => return Err(nothing()),
    };
    let looks = matches!(operation.op, Op::Sessions | Op::Rooms | Op::History | Op::Message | Op::Me);
    let caller = if looks { caller(request)? } else { api::who(&mut args, caller(request)?)? };
    let asked = api::request(operation.op, &mut args, caller).ok_or_else(nothing)??;
    Ok(Action::Ask(asked, AnyShape::V1(shape)))
}

/// The fields of a request: in its query, in its body, or in its path.
fn args(request: &gate::Request, operation: &'static api::Operation, rest: Option<&str>) -> Result<Args, RequestError> {
    let query = Query::parse(request.query.as_deref())?;
    let of_query = api::read_query(operation, query.pairs())?;
    if operation.op == Op::Register {
        registry::check_size(request)?;
    }
    let mut args = match request.method {
        Method::Post => api::read_body(operation, json_body(request)?)?,
        _ => of_query,
    };
    match (operation.op, rest) {
        (Op::Message, Some(id)) => args.put("messageId", id),
        (Op::Deregister, Some(token)) => args.put("token", token),
        _ => {}
    }
    let key = request.headers.iter().find(|(name, value)| name == KEY_HEADER && !value.is_empty());
    if let Some((_, key)) = key.filter(|_| matches!(operation.op, Op::Send | Op::MeshSend)) {
        args.put("clientMessageId", key);
    }
    Ok(args)
}

/// Changes the machine's token: for the owner on the Unix socket, which needs no token, and not for whoever got hold of
/// the old one.
fn rotate_token(request: &gate::Request) -> Result<Action, RequestError> {
    match request.credential {
        Credential::Peer(_) => Ok(Action::RotateToken),
        Credential::None | Credential::Machine | Credential::Nobody => {
            let message = "the token is changed over the Unix socket only, by 'marshal token rotate'";
            Err(RequestError::new(ErrorKind::Forbidden, message))
        }
    }
}

pub(super) fn rotated(result: Result<(), Fatal>) -> Response {
    match result {
        Ok(()) => json_response(200, &json!({ "rotated": true })),
        Err(error) => json_error(&RequestError::new(ErrorKind::Unavailable, error.message)),
    }
}

pub(super) fn compacted(result: Result<Compacted, RequestError>) -> Response {
    match result {
        Ok(Compacted { bytes_before, bytes_after, malformed_lines }) => json_response(
            200,
            &json!({ "bytesBefore": bytes_before, "bytesAfter": bytes_after, "malformedLinesMoved": malformed_lines }),
        ),
        Err(error) => json_error(&error),
    }
}

/// `action`, if the request is a GET.
pub(super) fn get(request: &gate::Request, action: Action) -> Action {
    if request.method == Method::Get { action } else { wrong_method("GET, HEAD") }
}

pub(super) fn wrong_method(allowed: &str) -> Action {
    let error = RequestError::new(ErrorKind::MethodNotAllowed, format!("this path takes {allowed}"));
    let mut response = json_error(&error);
    response.headers.push(("Allow", allowed.to_owned()));
    Action::Respond(response)
}

/// The body, which must say that it is JSON: a web page can send any other type without asking first.
fn json_body(request: &gate::Request) -> Result<&[u8], RequestError> {
    let content_type = request.content_type.as_deref().unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(RequestError::new(ErrorKind::MediaType, "send the body with 'Content-Type: application/json'"));
    }
    Ok(bom::without(&request.body))
}

pub(super) fn response(shape: Shape, reply: &Reply) -> Response {
    match (shape, reply) {
        (Shape::Sessions, Reply::Sessions(sessions)) => json_text(200, shapes::sessions(sessions)),
        (Shape::Rooms, Reply::Rooms(rooms)) => json_text(200, shapes::rooms(rooms)),
        (Shape::History, Reply::History(page)) => {
            json_text(200, shapes::page(page, |entry| shapes::entry(entry).end()))
        }
        (Shape::Inbox, Reply::Messages { reader, is_own, is_exact, messages, total }) => {
            json_text(200, shapes::inbox(reader.as_str(), (*is_own, *is_exact), messages, *total))
        }
        (Shape::Claimed, Reply::Claimed(claimed)) => json_text(200, shapes::claimed(claimed)),
        (Shape::Message, Reply::History(page)) if !page.messages.is_empty() => {
            json_text(200, shapes::entry(&page.messages[0]).end())
        }
        (Shape::Me, Reply::Me(view)) => json_text(200, shapes::me(view)),
        (Shape::Sent, reply) => delivery::sent(reply),
        (Shape::MeshSent, reply) => delivery::mesh_sent(reply),
        (Shape::Outbox, Reply::History(page)) => json_text(200, delivery::outbox(page)),
        (Shape::Acked, Reply::Acked { newly, already, unknown }) => {
            json_response(200, &json!({ "newlyAcked": newly, "alreadyAcked": already, "unknown": unknown }))
        }
        _ => json_error(&unexpected()),
    }
}

/// The daemon's name and version: the probe of whether it lives.
pub(super) fn version(about: &About) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "name": "marshal",
        "version": version,
        "daemon_version": version,
        "api": "v1",
        "features": ["events", "groups", "hooks", "messages", "rooms", "sessions", "websocket"],
        "schema_version": 1,
        "pid": about.pid,
    })
}

/// The state of the log in a word, or in a sentence.
pub(super) fn health(report: &Report) -> String {
    report.refused.clone().unwrap_or_else(|| "ok".to_owned())
}

/// Everything about the daemon that its user may want to know.
pub(super) fn status(report: &Report, about: &About) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": about.pid,
        "uptimeMs": report.now.mono_ms.0,
        "stateDir": about.state_dir,
        "hooks": about.hooks,
        "websocket": about.websocket,
        "socket": about.socket,
        "auth": about.auth,
        "health": health(report),
        "sessions": report.counts.sessions,
        "clients": report.counts.clients,
        "rooms": report.counts.rooms,
        "messages": report.counts.messages,
        "logBytes": report.log_bytes,
        "logLiveBytes": report.live_bytes,
        "malformedLines": report.malformed_lines,
    })
}

//! The `/v1` paths: JSON for scripts and the command line. Every error is a JSON object with a stable code.

use super::caller::caller;
use super::{
    About, Action, Response, Shape as AnyShape, json_error, json_object, json_response, query::Query, unexpected,
};
use super::{delivery, send};
use crate::error::{ErrorKind, Fatal, RequestError};
use crate::gate::{self, Credential, respond::without_secrets};
use crate::ids::MessageId;
use crate::model::Message;
use crate::roster::{
    Caller, Claimed, Cursor, HistoryQuery, Known, MessageFilter, MessageState, MessageView, Reply, Request, RoomView,
    SessionView,
};
use crate::row_json;
use crate::store::{Compacted, Report};
use serde::Deserialize;
use serde_json::{Value, json};
use tiny_http::Method;

/// Hexadecimal digits of a token, or of its hash, that may be shown.
pub(super) const TOKEN_PREFIX_DIGITS: usize = 8;

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
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AckBody {
    message_ids: Vec<String>,
    #[serde(flatten)]
    who: Who,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimBody {
    from: Option<String>,
    #[serde(flatten)]
    who: Who,
}

/// Who a caller says it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Who {
    as_session: Option<String>,
    human: Option<String>,
    /// The human it is, should it not turn out to be a session: what the command line says where nobody has said more.
    else_human: Option<String>,
}

impl Who {
    /// As a query says it.
    pub(super) fn of(query: &Query) -> Self {
        let text = |name| query.get(name).map(str::to_owned);
        Self { as_session: text("session"), human: text("human"), else_human: text("elseHuman") }
    }
}

pub(super) fn route(request: &gate::Request) -> Action {
    if request.path == "/v1/compact" {
        return compact(request);
    }
    if request.path == "/v1/token/rotate" {
        return rotate_token(request);
    }
    let answer = match (request.path.as_str(), &request.method) {
        ("/v1/sessions", Method::Get) => Ok((Request::ListSessions, Shape::Sessions)),
        ("/v1/rooms", Method::Get) => Ok((Request::ListRooms, Shape::Rooms)),
        ("/v1/messages", Method::Get) => history(request),
        ("/v1/messages", Method::Post) => send::send(request),
        ("/v1/send", Method::Post) => send::mesh_send(request),
        ("/v1/outbox", Method::Get) => send::outbox(request),
        ("/v1/outbox/requeue", Method::Post) => send::requeue(request),
        ("/v1/messages/ack", Method::Post) => ack(request),
        ("/v1/inbox", Method::Get) => inbox(request),
        ("/v1/inbox/claim", Method::Post) => claim(request),
        ("/v1/sessions" | "/v1/rooms" | "/v1/inbox" | "/v1/outbox", _) => return wrong_method("GET, HEAD"),
        ("/v1/messages", _) => return wrong_method("GET, HEAD, POST"),
        ("/v1/messages/ack" | "/v1/inbox/claim" | "/v1/send" | "/v1/outbox/requeue", _) => return wrong_method("POST"),
        (path, Method::Get) if path.starts_with("/v1/messages/") => message(request),
        (path, _) if path.starts_with("/v1/messages/") => return wrong_method("GET, HEAD"),
        (other, _) => Err(RequestError::not_found(format!("there is nothing at {}", without_secrets(other)))),
    };
    match answer {
        Ok((request, shape)) => Action::Ask(request, AnyShape::V1(shape)),
        Err(error) => Action::Respond(json_error(&error)),
    }
}

fn compact(request: &gate::Request) -> Action {
    if request.method != Method::Post {
        return wrong_method("POST");
    }
    match json_body::<serde::de::IgnoredAny>(request) {
        Ok(_) => Action::Compact,
        Err(error) => Action::Respond(json_error(&error)),
    }
}

/// Changes the machine's token: for the owner on the Unix socket, which needs no token, and not for whoever got hold of
/// the old one.
fn rotate_token(request: &gate::Request) -> Action {
    if request.method != Method::Post {
        return wrong_method("POST");
    }
    let allowed = match request.credential {
        Credential::Peer(_) => json_body::<serde::de::IgnoredAny>(request).map(|_| ()),
        Credential::None | Credential::Machine | Credential::Nobody => {
            let message = "the token is changed over the Unix socket only, by 'marshal token rotate'";
            Err(RequestError::new(ErrorKind::Forbidden, message))
        }
    };
    match allowed {
        Ok(()) => Action::RotateToken,
        Err(error) => Action::Respond(json_error(&error)),
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

type Asked = Result<(Request, Shape), RequestError>;

/// A cursor of a query.
pub(super) fn cursor(query: &Query, name: &str) -> Result<Option<Cursor>, RequestError> {
    let unknown = || RequestError::invalid(format!("the query's {name} is no cursor: give one that a page gave"));
    query.get(name).map(|text| Cursor::parse(text).ok_or_else(unknown)).transpose()
}

fn history(request: &gate::Request) -> Asked {
    let query = Query::parse(request.query.as_deref())?;
    let text = |name| query.get(name).map(str::to_owned);
    let state = |text: &str| {
        let words = MessageState::ALL.map(MessageState::as_str).join(", ");
        MessageState::parse(text).ok_or_else(|| RequestError::invalid(format!("the query's state is one of {words}")))
    };
    let query = HistoryQuery {
        caller: Box::new(caller(request)?),
        message: text("message"),
        session: text("session"),
        room: text("room"),
        thread: text("thread"),
        state: query.get("state").map(state).transpose()?,
        text: text("q"),
        before: cursor(&query, "before")?,
        after: cursor(&query, "after")?,
        since: query.number("since")?,
        until: query.number("until")?,
        limit: query.number("limit")?,
    };
    Ok((Request::History(query), Shape::History))
}

/// One message, and where it is for each of its recipients.
fn message(request: &gate::Request) -> Asked {
    let id = request.path.strip_prefix("/v1/messages/").unwrap_or_default().to_owned();
    let query = HistoryQuery { caller: Box::new(caller(request)?), message: Some(id), ..HistoryQuery::default() };
    Ok((Request::History(query), Shape::Message))
}

fn inbox(request: &gate::Request) -> Asked {
    let query = Query::parse(request.query.as_deref())?;
    let caller = speaker(request, Who::of(&query))?;
    let limit = query.number("limit")?;
    let filter = MessageFilter { inbox: true, unread: true, oldest_first: true, limit, ..MessageFilter::default() };
    Ok((Request::ReadMessages { caller, filter }, Shape::Inbox))
}

fn ack(request: &gate::Request) -> Asked {
    let body: AckBody = json_body(request)?;
    let caller = speaker(request, body.who)?;
    let messages = body.message_ids.into_iter().map(MessageId::from).collect();
    Ok((Request::AckMessages { caller, messages }, Shape::Acked))
}

fn claim(request: &gate::Request) -> Asked {
    let body: ClaimBody = json_body(request)?;
    let caller = speaker(request, body.who)?;
    Ok((Request::ClaimMail { caller, from: body.from }, Shape::Claimed))
}

/// Who asks, and as whom. A caller that has shown who it is need not say it.
pub(super) fn speaker(request: &gate::Request, who: Who) -> Result<Caller, RequestError> {
    let caller = caller(request)?;
    let Who { as_session, human, else_human } = who;
    match (&as_session, &human, &else_human) {
        (Some(_), Some(_), _) => {
            return Err(RequestError::invalid("say either which session or which human you are, not both"));
        }
        (None, None, None) if caller.token.is_none() && !matches!(caller.known, Known::Owner { .. }) => {
            return Err(RequestError::new(
                ErrorKind::UnknownCaller,
                "say who you are: a session (asSession, or session= in a query) or a human (human)",
            ));
        }
        _ => {}
    }
    Ok(Caller { as_session: as_session.map(Into::into), human, else_human, ..caller })
}

/// The body, which must say that it is JSON: a web page can send any other type without asking first.
pub(super) fn json_body<'a, T: Deserialize<'a>>(request: &'a gate::Request) -> Result<T, RequestError> {
    let content_type = request.content_type.as_deref().unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(RequestError::new(ErrorKind::MediaType, "send the body with 'Content-Type: application/json'"));
    }
    json_object(&request.body).map_err(|error| RequestError::invalid(format!("the body: {error}")))
}

pub(super) fn response(shape: Shape, reply: &Reply) -> Response {
    match (shape, reply) {
        (Shape::Sessions, Reply::Sessions(sessions)) => {
            json_response(200, &json!({ "sessions": sessions.iter().map(session_value).collect::<Vec<_>>() }))
        }
        (Shape::Rooms, Reply::Rooms(rooms)) => {
            json_response(200, &json!({ "rooms": rooms.iter().map(room_value).collect::<Vec<_>>() }))
        }
        (Shape::History, Reply::History(page)) => {
            let mut value = json!({ "messages": page.messages.iter().map(delivery::entry_value).collect::<Vec<_>>() });
            for (name, cursor) in [("before", &page.before), ("newest", &page.newest)] {
                if let Some(cursor) = cursor {
                    value[name] = cursor.to_string().into();
                }
            }
            json_response(200, &value)
        }
        (Shape::Inbox, Reply::Messages { reader, messages, total }) => {
            let messages: Vec<Value> = messages.iter().map(view_value).collect();
            json_response(200, &json!({ "reader": reader.as_str(), "messages": messages, "waiting": total }))
        }
        (Shape::Claimed, Reply::Claimed(claimed)) => json_response(200, &claimed_value(claimed)),
        (Shape::Message, Reply::History(page)) if !page.messages.is_empty() => {
            json_response(200, &delivery::entry_value(&page.messages[0]))
        }
        (Shape::Sent, reply) => delivery::sent(reply),
        (Shape::MeshSent, reply) => delivery::mesh_sent(reply),
        (Shape::Outbox, Reply::History(page)) => delivery::outbox(page),
        (Shape::Acked, Reply::Acked { newly, already, unknown }) => {
            json_response(200, &json!({ "newlyAcked": newly, "alreadyAcked": already, "unknown": unknown }))
        }
        _ => json_error(&unexpected()),
    }
}

fn row_value(text: &str) -> Value {
    // Our own serialization; it parses.
    serde_json::from_str(text).unwrap_or(Value::Null)
}

pub(super) fn session_value(view: &SessionView) -> Value {
    let mut value = row_value(view.session.text(row_json::session_text));
    let connection = match (view.connected, &view.session.row.client_id) {
        (true, _) => "connected",
        (false, Some(_)) => "reconnecting",
        (false, None) if !view.session.row.hooks && view.registration.is_some() => "registered",
        (false, None) => "hooks",
    };
    value["connection"] = connection.into();
    value["reach"] = view.reach.as_str().into();
    if view.session.row.presence.is_some() {
        value["presenceProven"] = view.presence_proven.into();
    }
    value["unread"] = view.unread.into();
    value["rooms"] = view.rooms.iter().map(|room| room.as_str()).collect();
    if let Some(registration) = &view.registration {
        let row = &registration.row;
        let hash = &row.token.to_hex()[..TOKEN_PREFIX_DIGITS];
        value["registered"] = json!({ "at": row.registered_at, "renewedAt": row.renewed_at, "tokenHashPrefix": hash });
    }
    value
}

fn room_value(view: &RoomView) -> Value {
    let mut value = row_value(view.room.text(row_json::room_text));
    let member = |(member, nickname): &(_, std::sync::Arc<str>)| {
        let member: &std::sync::Arc<crate::model::Stored<crate::model::RoomMember>> = member;
        let row = &member.row;
        json!({ "sessionId": row.session_id.as_str(), "nickname": &**nickname, "joinedAt": row.joined_at })
    };
    value["members"] = view.members.iter().map(member).collect();
    value
}

fn message_value(message: &Message) -> Value {
    row_value(&row_json::message_text(message))
}

fn view_value(view: &MessageView) -> Value {
    message_value(&view.message.row)
}

fn claimed_value(claimed: &Claimed) -> Value {
    let from = |(session, nickname, messages): &(crate::ids::SessionId, std::sync::Arc<str>, usize)| json!({ "sessionId": session.as_str(), "nickname": &**nickname, "messages": messages });
    json!({
        "by": claimed.by.as_str(),
        "from": claimed.from.iter().map(from).collect::<Vec<_>>(),
        "messages": claimed.from.iter().map(|(_, _, messages)| messages).sum::<usize>(),
        "more": claimed.more,
    })
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
    report.refused.as_ref().map_or_else(|| "ok".to_owned(), |reason| format!("storage_full: {reason}"))
}

/// Everything about the daemon that its user may want to know.
pub(super) fn status(report: &Report, about: &About) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": about.pid,
        "uptimeMs": report.now.mono_ms,
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

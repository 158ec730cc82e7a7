//! Bounds the length of every id in a request. A longer id can belong to no row. It is refused before any lookup, and before
//! an error could quote it.

use super::{Caller, Request, validate};
use crate::error::RequestError;
use crate::limits::ID_BYTES_MAX;

/// Refuses a request with an overlong id. The match is exhaustive, so a new request must state its ids here.
pub(super) fn check(request: &Request) -> Result<(), RequestError> {
    if let Some(caller) = request.caller() {
        caller_id(caller)?;
    }
    match request {
        Request::HookEvent(event) | Request::Wait { event, .. } => session(&event.report.session_id),
        Request::PublishSession { session: stated, .. } => session(stated.id.as_str()),
        Request::WithdrawSession { session: id, .. } | Request::UpdateSession { session: id, .. } => {
            session(id.as_str())
        }
        Request::Register(registering) => session(&registering.session_id),
        Request::Requeue { message, .. } => id("the message's id", message.as_str()),
        Request::AckMessages { messages, .. } => {
            messages.iter().try_for_each(|message| id("message id", message.as_str()))
        }
        Request::Broadcast { room, .. } | Request::LeaveRoom { room, .. } => id("the room's name or id", room),
        Request::JoinRoom { name, .. } => id("the room's name", name),
        Request::ClaimMail { from, .. } => id("the session's name or id", from.as_deref().unwrap_or_default()),
        Request::History(query) => {
            let asked = [&query.message, &query.session, &query.room, &query.thread];
            asked.into_iter().flatten().try_for_each(|text| id("an id or a name that is asked for", text))
        }
        // The resolver bounds addresses; the terms bound the ids of other messages.
        Request::Send(_) => Ok(()),
        Request::Guarded { .. }
        | Request::Outbox { .. }
        | Request::ReadMessages { .. }
        | Request::ListSessions
        | Request::ListRooms
        | Request::Deregister(_)
        | Request::Me(_)
        | Request::Hear(_)
        | Request::InboxHanded { .. }
        | Request::WaiterGone(_)
        | Request::TurnSeen { .. }
        | Request::ClientConnected(_)
        | Request::ClientGone(_)
        | Request::ProcessGone(_)
        | Request::Sweep { .. }
        | Request::External(_) => Ok(()),
    }
}

fn caller_id(caller: &Caller) -> Result<(), RequestError> {
    session(caller.as_session.as_ref().map_or("", |session| session.as_str()))
}

fn session(text: &str) -> Result<(), RequestError> {
    id("session id", text)
}

fn id(what: &str, text: &str) -> Result<(), RequestError> {
    validate::bounded(what, text, ID_BYTES_MAX)
}

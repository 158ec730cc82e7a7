//! From an operation's fields to what the roster is asked. It must not judge who may ask.

use super::{Args, Op, SessionField};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{MessageId, SessionId};
use crate::limits::REPLY_EXPECTED_MS;
use crate::model::Priority;
use crate::roster::{
    Caller, Cursor, Expiry, HistoryQuery, Known, MessageFilter, MessageState, Request, Sending, SessionChange, Wishes,
};

/// The request of an operation that the roster answers by itself; none for the others.
///
/// # Errors
/// Fields contradict each other.
pub fn request(op: Op, args: &mut Args, caller: Caller) -> Option<Result<Request, RequestError>> {
    Some(Ok(match op {
        Op::Sessions => Request::ListSessions,
        Op::Rooms => Request::ListRooms,
        Op::History => Request::History(history(args, caller)),
        Op::Message => {
            let message = args.text("messageId");
            Request::History(HistoryQuery { caller: Box::new(caller), message, ..HistoryQuery::default() })
        }
        Op::Send => return Some(send(args, caller)),
        Op::MeshSend => return Some(mesh_send(args, caller)),
        Op::Inbox => {
            let limit = args.bounded("limit");
            let filter =
                MessageFilter { inbox: true, unread: true, oldest_first: true, limit, ..MessageFilter::default() };
            Request::ReadMessages { caller, filter }
        }
        Op::Claim => Request::ClaimMail { caller, from: args.text("from") },
        Op::Ack => {
            let ids = args.texts("messageIds").unwrap_or_default();
            Request::AckMessages { caller, messages: ids.into_iter().map(MessageId::from).collect() }
        }
        Op::Outbox => {
            let (before, limit) = (cursor(args, "before"), args.bounded("limit"));
            Request::Outbox { caller, before, limit }
        }
        Op::Requeue => {
            Request::Requeue { caller, message: MessageId::from(args.text("messageId").unwrap_or_default()) }
        }
        Op::Me => Request::Me(caller),
        Op::JoinRoom => {
            let name = args.text("name").unwrap_or_default();
            Request::JoinRoom { caller, name, description: args.text("description") }
        }
        Op::LeaveRoom => Request::LeaveRoom { caller, room: args.text("room").unwrap_or_default() },
        Op::ReadMessages => Request::ReadMessages { caller, filter: filter(args) },
        Op::SetSession(field) => {
            let session = SessionId::from(args.text("id").unwrap_or_default());
            Request::UpdateSession { session, change: change(field, args) }.by(caller)
        }
        Op::Register | Op::Deregister | Op::Events | Op::Status | Op::Version | Op::Compact | Op::RotateToken => {
            return None;
        }
    }))
}

/// The caller with what the request says of it. A caller that has shown who it is need not say it.
///
/// # Errors
/// It says that it is a session and a person at once, or neither says nor shows who it is.
pub fn who(args: &mut Args, caller: Caller) -> Result<Caller, RequestError> {
    let as_session = args.text("asSession").or_else(|| args.text("session"));
    let (human, else_human) = (args.text("human"), args.text("elseHuman"));
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

fn cursor(args: &mut Args, name: &str) -> Option<Cursor> {
    args.text(name).and_then(|text| Cursor::parse(&text))
}

fn history(args: &mut Args, caller: Caller) -> HistoryQuery {
    HistoryQuery {
        caller: Box::new(caller),
        message: args.text("message"),
        session: args.text("session"),
        room: args.text("room"),
        thread: args.text("thread"),
        state: args.text("state").and_then(|word| MessageState::parse(&word)),
        text: args.text("q"),
        before: cursor(args, "before"),
        after: cursor(args, "after"),
        since: args.number("since"),
        until: args.number("until"),
        limit: args.bounded("limit"),
    }
}

/// The filters of marshal 0.9's `ReadMessages`.
fn filter(args: &mut Args) -> MessageFilter {
    let mut flag = |name| args.flag(name).unwrap_or(false);
    let (inbox, sent, unread) = (flag("inbox"), flag("sent"), flag("unread"));
    MessageFilter {
        room: args.text("room"),
        from: args.text("from").map(SessionId::from),
        to_session: args.text("toSession").map(SessionId::from),
        inbox,
        sent,
        unread,
        since: args.number("since"),
        oldest_first: false,
        limit: args.bounded("limit"),
    }
}

fn send(args: &mut Args, caller: Caller) -> Result<Request, RequestError> {
    let wishes = wishes(args)?;
    let room = args.text("toRoomId").map(|room| format!("@{room}"));
    let to = match args.text("toSessionId").or(room) {
        Some(one) => vec![one],
        None => args.texts("to").unwrap_or_default(),
    };
    let body = args.text("body").unwrap_or_default();
    Ok(Request::Send(Box::new(Sending { caller, to, body, wishes })))
}

fn mesh_send(args: &mut Args, caller: Caller) -> Result<Request, RequestError> {
    // What our own clients may want besides is understood here too.
    let more = wishes(args)?;
    let wishes = Wishes {
        reply_to: args.text("reply_to_id").filter(|id| !id.is_empty()).or(more.reply_to),
        client_message_id: args.text("client_message_id").or(more.client_message_id),
        must_have_id: true,
        meta: args.text("meta"),
        ..more
    };
    let (to, body) = (args.text("to").into_iter().collect(), args.text("message").unwrap_or_default());
    Ok(Request::Send(Box::new(Sending { caller, to, body, wishes })))
}

/// What a sender wants beyond that its text gets to somebody.
fn wishes(args: &mut Args) -> Result<Wishes, RequestError> {
    let (within, at) = (args.number("expiresIn"), args.number("expiresAt"));
    let expires = match (within, at) {
        (Some(_), Some(_)) => return Err(RequestError::invalid("say either expiresIn or expiresAt")),
        (Some(seconds), None) => Some(Expiry::In(seconds * 1000)),
        (None, at) => at.map(Expiry::At),
    };
    let expects = args.flag_or_seconds("expectsReply", REPLY_EXPECTED_MS / 1000);
    Ok(Wishes {
        priority: args.text("priority").and_then(|word| Priority::parse(&word)).unwrap_or_default(),
        reply_to: args.text("replyTo"),
        expects_reply_ms: expects.map(|seconds| seconds * 1000),
        supersedes: args.text("supersedes"),
        expires,
        client_message_id: args.text("clientMessageId"),
        ..Wishes::default()
    })
}

/// The setters of the shims: absent or null clears the field.
fn change(field: SessionField, args: &mut Args) -> SessionChange {
    match field {
        SessionField::CurrentTask => SessionChange::CurrentTask(args.text("currentTask")),
        // It must be there, as the table says.
        SessionField::LastActivityAt => {
            SessionChange::LastActivityAt(args.number("lastActivityAt").unwrap_or_default())
        }
        SessionField::LastTool => SessionChange::LastTool(args.text("lastTool")),
        SessionField::LastToolAt => SessionChange::LastToolAt(args.number("lastToolAt")),
        SessionField::GitBranch => SessionChange::GitBranch(args.text("gitBranch")),
        SessionField::SessionName => SessionChange::SessionName(args.text("sessionName")),
        SessionField::Activity => SessionChange::Activity(args.text("activity")),
        SessionField::ChannelsEnabled => SessionChange::ChannelsEnabled(args.flag("channelsEnabled")),
    }
}

//! The table of operations: a line for each, and the fields that several have in common.

use super::Shape::{Ours, Theirs};
use super::fields::Kind::{
    AnyText, Count, Cursor, Flag, FlagOrSeconds, Json, Limit, Millis, Object, Pid, Priority, Seconds, State, Text,
    TextIfAny, TextOrTexts, Texts,
};
use super::fields::{Field, also, need, take};
use super::{Door, Op, Operation, SessionField, Shape};

type Groups = &'static [&'static [Field]];

/// A caller that speaks: which session or which person it is, or would be should it be no session.
const WHO: &[Field] = &[take("asSession", Text), take("human", Text), take("elseHuman", Text)];
/// The one whose mail is asked about.
const WHOSE: &[Field] = &[take("session", Text), take("human", Text), take("elseHuman", Text)];
const LIMIT: &[Field] = &[take("limit", Limit)];
const BEFORE: &[Field] = &[take("before", Cursor)];
const HISTORY: &[Field] = &[
    take("session", Text),
    take("room", Text),
    take("thread", Text),
    take("message", Text),
    take("state", State),
    take("q", Text),
    take("since", Millis),
    take("until", Millis),
    take("after", Cursor),
];
const SEND: &[Field] = &[take("to", TextOrTexts), need("body", AnyText)];
const OPTIONS: &[Field] = &[
    take("priority", Priority),
    take("replyTo", Text),
    take("expectsReply", FlagOrSeconds),
    take("supersedes", Text),
    take("expiresIn", Seconds),
    take("expiresAt", Millis),
    take("clientMessageId", Text),
];
/// As claudemesh's clients say it.
const MESH_SEND: &[Field] = &[
    need("to", Text),
    need("message", AnyText),
    take("meta", Object),
    take("reply_to_id", AnyText),
    take("client_message_id", Text),
];
/// As claudemesh's launchers say it, and camelCase besides.
const REGISTER: &[Field] = &[
    need("token", Text),
    also(need("session_id", Text), "sessionId"),
    also(need("display_name", Text), "displayName"),
    need("pid", Pid),
    take("cwd", AnyText),
    take("role", AnyText),
    take("groups", Texts),
    // There is one mesh: this machine. Its name only stands in what is signed.
    take("mesh", AnyText),
    take("presence", Json),
];
const MESSAGE: &[Field] = &[need("messageId", Text)];
/// Fields of every WebSocket command. A command whose `tx` is no text is obeyed all the same.
const COMMAND: &[Field] = &[take("tx", TextIfAny), take("asSession", AnyText)];
const WS_SEND: &[Field] = &[need("body", AnyText), take("track", Flag)];
const WS_READ: &[Field] = &[
    take("room", AnyText),
    take("from", AnyText),
    take("toSession", AnyText),
    take("inbox", Flag),
    take("sent", Flag),
    take("unread", Flag),
    take("since", Millis),
    take("limit", Count),
];
const ID: &[Field] = &[need("id", AnyText)];

const fn http(op: Op, method: &'static str, path: &'static str, shape: Shape, groups: Groups) -> Operation {
    Operation { op, door: Door::Http(method, path), shape, groups }
}

const fn command(op: Op, id: &'static str, groups: Groups) -> Operation {
    Operation { op, door: Door::Command(id), shape: Theirs, groups }
}

const fn set(field: SessionField, id: &'static str, groups: Groups) -> Operation {
    command(Op::SetSession(field), id, groups)
}

/// All operations.
pub const OPERATIONS: &[Operation] = &[
    http(Op::Sessions, "GET", "/v1/sessions", Ours, &[]),
    http(Op::Rooms, "GET", "/v1/rooms", Ours, &[]),
    http(Op::History, "GET", "/v1/messages", Ours, &[HISTORY, BEFORE, LIMIT]),
    http(Op::Message, "GET", "/v1/messages/", Ours, &[MESSAGE]),
    http(Op::Send, "POST", "/v1/messages", Ours, &[SEND, OPTIONS, WHO]),
    http(Op::Ack, "POST", "/v1/messages/ack", Ours, &[&[need("messageIds", Texts)], WHO]),
    http(Op::MeshSend, "POST", "/v1/send", Theirs, &[MESH_SEND, OPTIONS, WHO]),
    http(Op::Inbox, "GET", "/v1/inbox", Ours, &[WHOSE, LIMIT]),
    http(Op::Claim, "POST", "/v1/inbox/claim", Ours, &[&[take("from", Text)], WHO]),
    http(Op::Outbox, "GET", "/v1/outbox", Ours, &[WHOSE, BEFORE, LIMIT]),
    http(Op::Requeue, "POST", "/v1/outbox/requeue", Ours, &[MESSAGE, WHO]),
    http(Op::Register, "POST", "/v1/sessions/register", Theirs, &[REGISTER]),
    http(Op::Me, "GET", "/v1/sessions/me", Ours, &[]),
    http(Op::Deregister, "DELETE", "/v1/sessions/", Ours, &[&[need("token", Text)]]),
    http(Op::Events, "GET", "/v1/events", Ours, &[&[take("since", Text)]]),
    http(Op::Status, "GET", "/v1/status", Ours, &[]),
    http(Op::Version, "GET", "/v1/version", Ours, &[]),
    http(Op::Compact, "POST", "/v1/compact", Ours, &[]),
    http(Op::RotateToken, "POST", "/v1/token/rotate", Ours, &[]),
    command(Op::Send, "SendMessage", &[&[need("toSessionId", AnyText)], WS_SEND, OPTIONS, COMMAND]),
    command(Op::Send, "BroadcastMessage", &[&[need("toRoomId", AnyText)], WS_SEND, OPTIONS, COMMAND]),
    command(Op::JoinRoom, "JoinRoom", &[&[need("name", AnyText), take("description", AnyText)], COMMAND]),
    command(Op::LeaveRoom, "LeaveRoom", &[&[need("room", AnyText)], COMMAND]),
    command(Op::ReadMessages, "ReadMessages", &[WS_READ, COMMAND]),
    command(Op::Ack, "AckMessages", &[&[take("messageIds", Texts)], COMMAND]),
    set(SessionField::CurrentTask, "SetSessionCurrentTask", &[ID, &[take("currentTask", AnyText)], COMMAND]),
    set(SessionField::LastActivityAt, "SetSessionLastActivityAt", &[ID, &[need("lastActivityAt", Millis)], COMMAND]),
    set(SessionField::LastTool, "SetSessionLastTool", &[ID, &[take("lastTool", AnyText)], COMMAND]),
    set(SessionField::LastToolAt, "SetSessionLastToolAt", &[ID, &[take("lastToolAt", Millis)], COMMAND]),
    set(SessionField::GitBranch, "SetSessionGitBranch", &[ID, &[take("gitBranch", AnyText)], COMMAND]),
    set(SessionField::SessionName, "SetSessionSessionName", &[ID, &[take("sessionName", AnyText)], COMMAND]),
    set(SessionField::Activity, "SetSessionActivity", &[ID, &[take("activity", AnyText)], COMMAND]),
    set(SessionField::ChannelsEnabled, "SetSessionChannelsEnabled", &[ID, &[take("channelsEnabled", Flag)], COMMAND]),
];

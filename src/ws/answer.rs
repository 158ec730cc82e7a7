//! What WebSocket clients are told, as JSON text: the frames of marshal 0.9, with the members that later shims look for
//! added. It must not decide anything.

use crate::error::RequestError;
use crate::model::{Message, Recipient};
use crate::roster::{BroadcastSent, MessageView, Push, Reply, Sent};
use crate::store::Frame;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// The text of a frame that holds one answer or push. The others have a form of their own ([`snapshot`], [`diff`]) or
/// none, and are not asked for.
pub(super) fn text(frame: &Frame) -> String {
    match frame {
        Frame::Text(text) => text.clone(),
        Frame::Notify { tx, push } => notify(tx, push),
        Frame::Answer { tx, command_id, result } => match &**result {
            Ok(reply) => event("ws:m:command-response", json!({ "response": reply_value(reply), "tx": tx })),
            Err(error) => command_error(tx, command_id, error),
        },
        Frame::Snapshot { .. } | Frame::Diff { .. } | Frame::Raw(_) | Frame::End | Frame::Close(_) => String::new(),
    }
}

fn event(name: &str, data: Value) -> String {
    json!({ "event": name, "data": data }).to_string()
}

/// The text of a snapshot, in parts: its rows are as many as the roster's.
pub(super) fn snapshot<'a>(
    tx: &str,
    item_type: &'a str,
    rows: &'a [Arc<str>],
) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
    let tail = format!(r#"],"sequence":0,"totalCount":{},"tx":{}}}}}"#, rows.len(), Value::from(tx));
    let head = Cow::Borrowed(r#"{"event":"ws:m:query-response","data":{"deletes":[],"upserts":["#);
    let rows = rows.iter().enumerate().flat_map(move |(index, row)| {
        let open = if index == 0 { r#"{"item":"# } else { r#",{"item":"# };
        [open, row, r#","itemType":""#, item_type, r#""}"#].map(Cow::Borrowed)
    });
    std::iter::once(head).chain(rows).chain(std::iter::once(Cow::Owned(tail)))
}

/// The text of a diff, in parts, of which only the last is made for this client.
pub(super) fn diff<'a>(tx: &str, sequence: u64, total: usize, body: &'a str) -> [Cow<'a, str>; 3] {
    let tail = format!(r#","sequence":{sequence},"totalCount":{total},"tx":{}}}}}"#, Value::from(tx));
    [Cow::Borrowed(r#"{"event":"ws:m:query-response","data":{"#), Cow::Borrowed(body), Cow::Owned(tail)]
}

/// The push of a message. Shims drop it without a `tx`, and look for these members of `meta`.
fn notify(tx: &str, push: &Push) -> String {
    let message = &push.message.row;
    let mut meta = Map::new();
    let mut add = |key: &str, value: Value| drop(meta.insert(key.to_owned(), value));
    add("body", (&*message.body).into());
    add("from_nick", (&*message.from_nick).into());
    add("from_session", message.from_session_id.as_str().into());
    add("kind", "new_message".into());
    add("message_id", message.id.as_str().into());
    add("sent_at", message.sent_at.into());
    add("source", "marshal".into());
    add("to_nick", (&*message.to_nick).into());
    let (from, body) = (&message.from_nick, &message.body);
    let content = match (&message.to, &push.room_name) {
        (Recipient::Room(room), name) => {
            add("to_room", room.as_str().into());
            let name = name.as_deref().unwrap_or(room.as_str());
            format!("marshal: new message from '{from}' to room '{name}': {body}")
        }
        (Recipient::Session(_), _) => format!("marshal: new message from '{from}': {body}"),
    };
    let command = json!({ "tx": tx, "content": content, "meta": meta });
    event("ws:m:command", json!({ "command": command, "commandId": "NotifyChannel" }))
}

/// An error as answer to a command.
pub(super) fn command_error(tx: &str, command_id: &str, error: &RequestError) -> String {
    let data = json!({ "tx": tx, "commandId": command_id, "message": error.to_string(), "code": error.kind.code() });
    event("ws:m:command-error", data)
}

fn reply_value(reply: &Reply) -> Value {
    match reply {
        Reply::Sent(sent) => sent_value(sent),
        Reply::Broadcast(sent) => broadcast_value(sent),
        Reply::Joined { room, created } => {
            let room = &room.row;
            json!({ "created": created, "joined": true, "name": &*room.name, "roomId": room.id.as_str() })
        }
        Reply::Left { room, left } => json!({ "left": left, "roomId": room.as_str() }),
        Reply::Messages { messages, total } => {
            let messages: Vec<Value> = messages.iter().map(message_value).collect();
            json!({ "messages": messages, "totalMatched": total })
        }
        Reply::Acked { newly, already, .. } => json!({ "newlyAcked": newly, "alreadyAcked": already }),
        // What no command of this protocol asks for.
        Reply::Done | Reply::Hook(_) | Reply::Sessions(_) | Reply::Rooms(_) | Reply::History(_) => Value::Null,
    }
}

fn sent_value(sent: &Sent) -> Value {
    let message = &sent.message.row;
    let mut value = json!({
        "deliveredLive": sent.live.is_some(),
        "messageId": message.id.as_str(),
        "sentAt": message.sent_at,
        "toNick": &*message.to_nick,
    });
    add_recipient(&mut value, message);
    value
}

fn broadcast_value(sent: &BroadcastSent) -> Value {
    let message = &sent.message.row;
    let delivered: Vec<Value> = sent
        .recipients
        .iter()
        .map(|(session, nickname, live)| {
            json!({
                "sessionId": session.as_str(),
                "toSessionId": session.as_str(),
                "toNick": &**nickname,
                "deliveredLive": live.is_some(),
            })
        })
        .collect();
    let mut value = json!({
        "delivered": delivered,
        "failed": [],
        "messageId": message.id.as_str(),
        "sentAt": message.sent_at,
        "toNick": &*message.to_nick,
        "toRoomName": &*sent.room_name,
        "total": sent.recipients.len(),
    });
    add_recipient(&mut value, message);
    value
}

fn message_value(view: &MessageView) -> Value {
    let message = &view.message.row;
    let mut value = json!({
        "messageId": message.id.as_str(),
        "fromSessionId": message.from_session_id.as_str(),
        "fromNick": &*message.from_nick,
        "toNick": &*message.to_nick,
        "body": &*message.body,
        "sentAt": message.sent_at,
        "readByMe": view.read_by_me,
    });
    add_recipient(&mut value, message);
    value
}

fn add_recipient(value: &mut Value, message: &Message) {
    match &message.to {
        Recipient::Session(session) => value["toSessionId"] = session.as_str().into(),
        Recipient::Room(room) => value["toRoomId"] = room.as_str().into(),
    }
}

//! What WebSocket clients are told, as JSON text: the frames of marshal 0.9, with the members that later shims look for
//! added. It must not decide anything.

use crate::error::RequestError;
use crate::model::{Message, Proof, Recipient, proof_words};
use crate::roster::{BroadcastSent, MessageView, Push, Reply, Sent, SentTo};
use crate::row_json::replaced_value;
use crate::store::Frame;
use crate::text::{body::framed, readable, shown_name};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Appends the text of a frame that holds one answer or push. The others have a form of their own ([`snapshot_piece`],
/// [`diff`]) or none, and add nothing.
pub(super) fn write(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Text(text) | Frame::News(text) => out.extend_from_slice(text.as_bytes()),
        Frame::Notify { tx, push } => event(out, "ws:m:command", &notify(tx, push)),
        Frame::Answer { tx, command_id, result } => match &**result {
            Ok(reply) => event(out, "ws:m:command-response", &Response { response: reply_json(reply), tx }),
            Err(error) => event(out, "ws:m:command-error", &error_json(tx, command_id, error)),
        },
        Frame::Snapshot { .. } | Frame::Diff { .. } | Frame::Raw(_) | Frame::End | Frame::Close(_) => {}
        Frame::Events(_) => {}
    }
}

/// The members of all shapes here stand in alphabetical order, as 0.9 had them.
#[derive(Serialize)]
struct Event<'a, D> {
    data: &'a D,
    event: &'a str,
}

fn event<D: Serialize>(out: &mut Vec<u8>, event: &str, data: &D) {
    // Structs with members of text and numbers can be serialized, and a Vec takes everything.
    let _ = serde_json::to_writer(out, &Event { data, event });
}

/// The text of a snapshot, piece by piece: first its head, then a piece for each row, of which there are as many as the
/// roster's, and its tail.
pub(super) fn snapshot_piece<'a>(
    tx: &str,
    item_type: &'a str,
    rows: &'a [Arc<str>],
    number: usize,
) -> Option<[Cow<'a, str>; 5]> {
    let alone = |part: Cow<'a, str>| [part, "".into(), "".into(), "".into(), "".into()];
    if number == 0 {
        return Some(alone(r#"{"event":"ws:m:query-response","data":{"deletes":[],"upserts":["#.into()));
    }
    if let Some(row) = rows.get(number - 1) {
        let open = if number == 1 { r#"{"item":"# } else { r#",{"item":"# };
        return Some([open, row, r#","itemType":""#, item_type, r#""}"#].map(Cow::Borrowed));
    }
    let tail = || format!(r#"],"sequence":0,"totalCount":{},"tx":{}}}}}"#, rows.len(), Value::from(tx));
    (number == rows.len() + 1).then(|| alone(tail().into()))
}

/// The text of a diff, in parts, of which only the last is made for this client.
pub(super) fn diff<'a>(tx: &str, sequence: u64, total: usize, body: &'a str) -> [Cow<'a, str>; 3] {
    let tail = format!(r#","sequence":{sequence},"totalCount":{total},"tx":{}}}}}"#, Value::from(tx));
    [Cow::Borrowed(r#"{"event":"ws:m:query-response","data":{"#), Cow::Borrowed(body), Cow::Owned(tail)]
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Command<'a, C> {
    command: C,
    command_id: &'a str,
}

#[derive(Serialize)]
struct Notify<'a> {
    content: Content<'a>,
    meta: Meta<'a>,
    tx: &'a str,
}

/// What shims look for in a push. Their hosts put it before the model, as they do with the content.
#[derive(Serialize)]
struct Meta<'a> {
    body: Cow<'a, str>,
    from_nick: Cow<'a, str>,
    from_session: &'a str,
    kind: &'a str,
    message_id: &'a str,
    /// Not in marshal 0.9; left out where nobody proved anything, as there.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'a str>,
    /// Not in marshal 0.9: `true` on a message that was pushed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat: Option<&'a str>,
    sent_at: i64,
    source: &'a str,
    to_nick: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_room: Option<&'a str>,
}

/// A push as one text for the model.
struct Content<'a> {
    kind: &'a str,
    from: &'a str,
    known: Option<&'a str>,
    room: Option<&'a str>,
    body: &'a str,
}

impl fmt::Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, from, known, room, body } = self;
        write!(f, "marshal: {kind} message from '{}'", shown_name(from))?;
        if let Some(known) = known {
            write!(f, " ({known})")?;
        }
        if let Some(room) = room {
            write!(f, " to room '{}'", shown_name(room))?;
        }
        write!(f, ": {}", framed(body))
    }
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The push of a message. Shims drop it without a `tx`.
fn notify<'a>(tx: &'a str, push: &'a Push) -> Command<'a, Notify<'a>> {
    let message = &push.message.row;
    let to_room = match &message.to {
        Recipient::Room(room) => Some(room.as_str()),
        Recipient::Session(_) => None,
    };
    let proof = message.proof.filter(|proof| *proof != Proof::Asserted);
    let content = Content {
        kind: if push.repeat { "repeated" } else { "new" },
        known: proof.map(|_| proof_words(proof, message.from_session_id.is_human())),
        from: &message.from_nick,
        room: to_room.map(|room| push.room_name.as_deref().unwrap_or(room)),
        body: &message.body,
    };
    let meta = Meta {
        body: readable(&message.body),
        from_nick: readable(&message.from_nick),
        from_session: message.from_session_id.as_str(),
        kind: "new_message",
        message_id: message.id.as_str(),
        proof: proof.map(Proof::as_str),
        repeat: push.repeat.then_some("true"),
        sent_at: message.sent_at,
        source: "marshal",
        to_nick: readable(&message.to_nick),
        to_room,
    };
    Command { command: Notify { content, meta, tx }, command_id: "NotifyChannel" }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CommandError<'a> {
    code: &'a str,
    command_id: &'a str,
    message: String,
    tx: &'a str,
}

fn error_json<'a>(tx: &'a str, command_id: &'a str, error: &'a RequestError) -> CommandError<'a> {
    CommandError { code: error.kind.code(), command_id, message: error.to_string(), tx }
}

/// An error as answer to a command.
pub(super) fn command_error(tx: &str, command_id: &str, error: &RequestError) -> String {
    let event = Event { data: &error_json(tx, command_id, error), event: "ws:m:command-error" };
    // See `event`.
    serde_json::to_string(&event).unwrap_or_default()
}

#[derive(Serialize)]
struct Response<'a> {
    response: ReplyJson<'a>,
    tx: &'a str,
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum ReplyJson<'a> {
    Sent {
        delivered_live: bool,
        /// Not in marshal 0.9, where nothing was known to be sent twice.
        #[serde(skip_serializing_if = "Option::is_none")]
        duplicate: Option<bool>,
        message_id: &'a str,
        sent_at: i64,
        /// Not in marshal 0.9, where nothing was replaced.
        #[serde(skip_serializing_if = "Option::is_none")]
        supersedes: Option<Value>,
        to_nick: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        to_room_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        to_session_id: Option<&'a str>,
    },
    Broadcast {
        delivered: Vec<Delivered<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        duplicate: Option<bool>,
        failed: [(); 0],
        message_id: &'a str,
        sent_at: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        supersedes: Option<Value>,
        to_nick: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        to_room_id: Option<&'a str>,
        to_room_name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        to_session_id: Option<&'a str>,
        total: usize,
    },
    Joined {
        created: bool,
        joined: bool,
        name: &'a str,
        room_id: &'a str,
    },
    Left {
        left: bool,
        room_id: &'a str,
    },
    Messages {
        messages: Vec<MessageJson<'a>>,
        total_matched: usize,
    },
    Acked {
        already_acked: usize,
        newly_acked: usize,
    },
    /// What no command of this protocol asks for.
    Nothing,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Delivered<'a> {
    delivered_live: bool,
    session_id: &'a str,
    to_nick: &'a str,
    to_session_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageJson<'a> {
    body: &'a str,
    from_nick: &'a str,
    from_session_id: &'a str,
    message_id: &'a str,
    read_by_me: bool,
    sent_at: i64,
    to_nick: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_room_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_session_id: Option<&'a str>,
}

fn reply_json(reply: &Reply) -> ReplyJson<'_> {
    match reply {
        Reply::Sent(sent) => sent_json(sent, None),
        Reply::Broadcast(sent) => broadcast_json(sent, None),
        Reply::SentToAll(all) => all.first().map_or(ReplyJson::Nothing, |sent| sent_to_json(sent, None)),
        Reply::Repeated(repeated) => {
            repeated.sent.first().map_or(ReplyJson::Nothing, |sent| sent_to_json(sent, Some(true)))
        }
        Reply::Joined { room, created } => {
            ReplyJson::Joined { created: *created, joined: true, name: &room.row.name, room_id: room.row.id.as_str() }
        }
        Reply::Left { room, left } => ReplyJson::Left { left: *left, room_id: room.as_str() },
        Reply::Messages { messages, total, .. } => {
            ReplyJson::Messages { messages: messages.iter().map(message_json).collect(), total_matched: *total }
        }
        Reply::Acked { newly, already, .. } => ReplyJson::Acked { already_acked: *already, newly_acked: *newly },
        Reply::Done | Reply::Hook(_) | Reply::Waits(_) => ReplyJson::Nothing,
        Reply::Sessions(_) | Reply::Rooms(_) | Reply::History(_) => ReplyJson::Nothing,
        Reply::Registered { .. } | Reply::Me(_) | Reply::Hearing(_) | Reply::Claimed(_) => ReplyJson::Nothing,
    }
}

fn sent_to_json(sent: &SentTo, duplicate: Option<bool>) -> ReplyJson<'_> {
    match sent {
        SentTo::One(sent) => sent_json(sent, duplicate),
        SentTo::Room(sent) => broadcast_json(sent, duplicate),
    }
}

fn sent_json(sent: &Sent, duplicate: Option<bool>) -> ReplyJson<'_> {
    let message = &sent.message.row;
    let (to_room_id, to_session_id) = recipient(message);
    ReplyJson::Sent {
        delivered_live: sent.live.is_some(),
        duplicate,
        message_id: message.id.as_str(),
        sent_at: message.sent_at,
        supersedes: sent.replaced.as_deref().map(replaced_value),
        to_nick: &message.to_nick,
        to_room_id,
        to_session_id,
    }
}

fn broadcast_json(sent: &BroadcastSent, duplicate: Option<bool>) -> ReplyJson<'_> {
    let message = &sent.message.row;
    let (to_room_id, to_session_id) = recipient(message);
    let delivered = sent.recipients.iter().map(|(session, nickname, live)| Delivered {
        delivered_live: live.is_some(),
        session_id: session.as_str(),
        to_nick: nickname,
        to_session_id: session.as_str(),
    });
    ReplyJson::Broadcast {
        delivered: delivered.collect(),
        duplicate,
        failed: [],
        message_id: message.id.as_str(),
        sent_at: message.sent_at,
        supersedes: sent.replaced.as_deref().map(replaced_value),
        to_nick: &message.to_nick,
        to_room_id,
        to_room_name: &sent.room_name,
        to_session_id,
        total: sent.recipients.len(),
    }
}

fn message_json(view: &MessageView) -> MessageJson<'_> {
    let message = &view.message.row;
    let (to_room_id, to_session_id) = recipient(message);
    MessageJson {
        body: &message.body,
        from_nick: &message.from_nick,
        from_session_id: message.from_session_id.as_str(),
        message_id: message.id.as_str(),
        read_by_me: view.read_by_me,
        sent_at: message.sent_at,
        to_nick: &message.to_nick,
        to_room_id,
        to_session_id,
    }
}

/// The room or the session that a message is for.
fn recipient(message: &Message) -> (Option<&str>, Option<&str>) {
    match &message.to {
        Recipient::Room(room) => (Some(room.as_str()), None),
        Recipient::Session(session) => (None, Some(session.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RoomId;
    use crate::model::{Room, RoomKind, Stored};
    use crate::roster::Sent;
    use serde_json::json;

    fn text(frame: &Frame) -> String {
        let mut out = Vec::new();
        write(frame, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn message(to: Recipient) -> Arc<Stored<Message>> {
        Stored::new(Message {
            id: "m".into(),
            from_session_id: "a".into(),
            from_nick: "ann \"x\"".into(),
            to,
            to_nick: "bob".into(),
            body: "line\n\u{1}end é".into(),
            sent_at: 7,
            read_at: None,
            proof: None,
            terms: None,
        })
    }

    fn answer(reply: Reply) -> String {
        text(&Frame::Answer { tx: "t\"".to_owned(), command_id: "c".to_owned(), result: Box::new(Ok(reply)) })
    }

    /// `json!` sorts members, as everything that 0.9 said was sorted.
    fn check(reply: Reply, response: &Value) {
        let data = json!({ "response": response, "tx": "t\"" });
        assert_eq!(answer(reply), json!({ "event": "ws:m:command-response", "data": data }).to_string());
    }

    #[test]
    fn answers_are_spelled_as_0_9_did_member_by_member() {
        let (room, session) = (Recipient::Room("r".into()), Recipient::Session("b".into()));
        let standing = crate::roster::DeliveryStanding::Queued(crate::roster::Queued::OnItsWay);
        let delivery =
            crate::roster::DeliveryView { session: "b".into(), name: "b".into(), heir: None, standing, times: 0 };
        let one = |message, live| {
            let delivery = delivery.clone();
            let short_id = "m".to_owned();
            Sent { message, short_id, live, delivery, is_to_stranger: false, replaced: None }
        };
        let sent = |to, live| Reply::Sent(one(message(to), live));
        let common = json!({"messageId": "m", "sentAt": 7, "toNick": "bob"});
        let with = |more: Value| {
            let mut all = common.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        check(sent(session.clone(), Some("c".into())), &with(json!({"deliveredLive": true, "toSessionId": "b"})));
        check(sent(room.clone(), None), &with(json!({"deliveredLive": false, "toRoomId": "r"})));
        // As `POST /v1/messages` has it.
        let older =
            crate::roster::Replaced { message: "m0".into(), count: 0, of: 1, deliveries: vec![delivery.clone()] };
        let place = json!({"sessionId": "b", "nickname": "b", "state": "queued", "reason": "on_its_way"});
        let place = json!({"messageId": "m0", "replaced": 0, "of": 1, "deliveries": [place]});
        let newer = Sent { replaced: Some(Box::new(older)), ..one(message(session.clone()), None) };
        let newer = |duplicate: Option<bool>| {
            let mut told = with(json!({"deliveredLive": false, "toSessionId": "b", "supersedes": place}));
            told.as_object_mut().unwrap().extend(duplicate.map(|is| ("duplicate".to_owned(), is.into())));
            (newer.clone(), told)
        };
        let (reply, told) = newer(None);
        check(Reply::Sent(reply), &told);
        let (reply, told) = newer(Some(true));
        let repeated = crate::roster::Repeated {
            sent: vec![SentTo::One(reply)],
            client_message_id: "k".into(),
            fingerprint: String::new(),
            is_same: true,
        };
        check(Reply::Repeated(Box::new(repeated)), &told);
        let recipients = vec![("b".into(), Arc::from("bob"), None)];
        let (message_to_room, room_name) = (message(room), "the room".into());
        let broadcast = BroadcastSent {
            short_id: "m".to_owned(),
            message: message_to_room,
            room_name,
            recipients,
            deliveries: vec![delivery],
            covered: Vec::new(),
            replaced: None,
        };
        let delivered = json!([{"deliveredLive": false, "sessionId": "b", "toNick": "bob", "toSessionId": "b"}]);
        let more = json!({"delivered": delivered, "failed": [], "toRoomId": "r", "toRoomName": "the room", "total": 1});
        check(Reply::Broadcast(broadcast), &with(more));
        let messages = vec![MessageView { message: message(session), short_id: "m".to_owned(), read_by_me: true }];
        let view = with(json!({
            "body": "line\n\u{1}end é", "fromNick": "ann \"x\"", "fromSessionId": "a", "readByMe": true, "toSessionId": "b"
        }));
        check(
            Reply::Messages { reader: "b".into(), is_own: true, is_exact: true, messages, total: 9 },
            &json!({"messages": [view], "totalMatched": 9}),
        );
        check(Reply::Acked { newly: 1, already: 2, unknown: 3 }, &json!({"newlyAcked": 1, "alreadyAcked": 2}));
        check(Reply::Left { room: RoomId::from("r"), left: true }, &json!({"left": true, "roomId": "r"}));
        let room = Room { id: "r".into(), name: "R".into(), kind: RoomKind::AdHoc, created_at: 1, description: None };
        let joined = Reply::Joined { room: Stored::new(room), created: true };
        check(joined, &json!({"created": true, "joined": true, "name": "R", "roomId": "r"}));
        check(Reply::Done, &Value::Null);
    }

    #[test]
    fn pushes_and_errors_are_spelled_as_0_9_did() {
        let push = |to, room_name: Option<&str>| {
            let push = Push {
                client: "c".into(),
                message: message(to),
                room_name: room_name.map(Arc::from),
                read_when_written: None,
                repeat: false,
            };
            text(&Frame::Notify { tx: "t".to_owned(), push: Box::new(push) })
        };
        let expected = |content: &str, room: Option<&str>| {
            let mut meta = json!({
                "body": "line\nend é", "from_nick": "ann \"x\"", "from_session": "a", "kind": "new_message",
                "message_id": "m", "sent_at": 7, "source": "marshal", "to_nick": "bob"
            });
            if let Some(room) = room {
                meta["to_room"] = room.into();
            }
            let command = json!({"tx": "t", "content": content, "meta": meta});
            json!({"event": "ws:m:command", "data": {"command": command, "commandId": "NotifyChannel"}}).to_string()
        };
        let content = "marshal: new message from 'ann _x_': line\n    end é";
        assert_eq!(push(Recipient::Session("b".into()), None), expected(content, None));
        let content = "marshal: new message from 'ann _x_' to room 'The Room': line\n    end é";
        assert_eq!(push(Recipient::Room("r".into()), Some("The Room")), expected(content, Some("r")));
        let content = "marshal: new message from 'ann _x_' to room 'r': line\n    end é";
        assert_eq!(push(Recipient::Room("r".into()), None), expected(content, Some("r")));
        let error = RequestError::not_found("no \"such\" thing");
        let data = json!({"tx": "t", "commandId": "c", "message": error.to_string(), "code": error.kind.code()});
        let expected = json!({"event": "ws:m:command-error", "data": data}).to_string();
        assert_eq!(command_error("t", "c", &error), expected);
        let result = Box::new(Err(error));
        assert_eq!(text(&Frame::Answer { tx: "t".to_owned(), command_id: "c".to_owned(), result }), expected);
    }
}

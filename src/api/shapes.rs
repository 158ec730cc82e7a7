//! The answers to `/v1` requests as JSON. A row is written once, by `row_json`, and its text is copied into an answer
//! with members added: nothing is parsed to be written again. Values that stand for nothing, as marshal 0.9's rows have
//! them, are left out here.

use crate::model::{Host, Message, Session};
use crate::roster::{Claimed, HistoryEntry, HistoryPage, MessageView, RoomView, SessionView, Sighting};
use crate::row_json::{delivery_value, message_text, room_text, session_text};
use serde::Serialize;

/// Hexadecimal digits of a token, or of its hash, that may be shown.
pub const TOKEN_PREFIX_DIGITS: usize = 8;

/// A JSON object that is being written.
pub struct Object {
    text: String,
    is_empty: bool,
}

impl Object {
    /// An object without members.
    pub fn new() -> Self {
        Self { text: "{".to_owned(), is_empty: true }
    }

    /// An object with the members of a row's text, of which the id is called `id_name`, and those pieces replaced.
    fn of_row(row: &str, id_name: &str, pieces: &[(String, String)]) -> Self {
        // Quotes within a text are escaped: what looks like a key is one, and of several the row's own is the first.
        let mut text = row.strip_suffix('}').unwrap_or(row).replacen(r#""id":"#, &format!(r#""{id_name}":"#), 1);
        for (old, new) in pieces {
            text = text.replacen(old, new, 1);
        }
        Self { text, is_empty: false }
    }

    /// Adds a member whose value is written as JSON.
    pub fn add(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> &mut Self {
        // Texts, numbers and lists of them can be written.
        let value = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
        self.add_text(name, &value)
    }

    /// Adds a member whose value is JSON already.
    pub fn add_text(&mut self, name: &str, json: &str) -> &mut Self {
        if !self.is_empty {
            self.text.push(',');
        }
        self.is_empty = false;
        for part in ["\"", name, "\":", json] {
            self.text.push_str(part);
        }
        self
    }

    /// The same if there is a value.
    pub fn add_some(&mut self, name: &str, value: Option<&(impl Serialize + ?Sized)>) -> &mut Self {
        match value {
            Some(value) => self.add(name, value),
            None => self,
        }
    }

    /// The object's text.
    pub fn end(&mut self) -> String {
        self.text.push('}');
        std::mem::take(&mut self.text)
    }
}

impl Default for Object {
    fn default() -> Self {
        Self::new()
    }
}

/// A list of texts that are JSON.
fn list(items: impl Iterator<Item = String>) -> String {
    let mut text = "[".to_owned();
    for item in items {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&item);
    }
    text.push(']');
    text
}

/// A session's row as answers have it: `pid` and `host` are right, or not there.
fn session_row(session: &crate::model::Stored<Session>) -> Object {
    let row = &session.row;
    let mut pieces = Vec::new();
    if row.pid == 0 {
        // The row's own number comes before that of its process. It is never the first member.
        let right = row.process.as_ref().map(|process| format!(r#","pid":{}"#, process.pid)).unwrap_or_default();
        pieces.push((r#","pid":0"#.to_owned(), right));
    }
    if let Some(process) = &row.process {
        // Its fingerprint is for the daemon alone.
        let mut whole = Object::new();
        whole.add("boot", &*process.boot).add("pid", &process.pid).add("started", &process.started);
        pieces.push((format!(r#","process":{}"#, whole.end()), String::new()));
    }
    pieces.extend(row.host.as_ref().and_then(known_host));
    if row.cwd.is_empty() {
        pieces.push((r#","cwd":"""#.to_owned(), String::new()));
    }
    Object::of_row(session.text(session_text), "sessionId", &pieces)
}

/// What stands for a host in a row's text, and what is known of it, if that is less.
fn known_host(host: &Host) -> Option<(String, String)> {
    if [&host.name, &host.os, &host.arch].iter().all(|part| !part.is_empty()) {
        return None;
    }
    let mut whole = Object::new();
    whole.add("arch", &*host.arch).add("name", &*host.name).add("os", &*host.os);
    let mut known = Object::new();
    for (name, part) in [("arch", &host.arch), ("name", &host.name), ("os", &host.os)] {
        known.add_some(name, Some(&**part).filter(|part| !part.is_empty()));
    }
    let known = if known.is_empty { String::new() } else { format!(r#","host":{}"#, known.end()) };
    Some((format!(r#","host":{}"#, whole.end()), known))
}

/// A session as listings show it.
fn session_object(view: &SessionView) -> Object {
    let connection = match (view.connected, &view.session.row.client_id) {
        (true, _) => "connected",
        (false, Some(_)) => "reconnecting",
        (false, None) if !view.session.row.hooks && view.registration.is_some() => "registered",
        (false, None) => "hooks",
    };
    let mut object = session_row(&view.session);
    object.add("connection", connection).add("reach", view.reach.as_str());
    if view.session.row.presence.is_some() {
        object.add("presenceProven", &view.presence_proven);
    }
    object.add("unread", &view.unread);
    object.add("rooms", &view.rooms.iter().map(|room| room.as_str()).collect::<Vec<_>>());
    if let Some(registration) = &view.registration {
        let row = &registration.row;
        let mut registered = Object::new();
        registered.add("at", &row.registered_at).add("renewedAt", &row.renewed_at);
        registered.add("tokenHashPrefix", &row.token.to_hex()[..TOKEN_PREFIX_DIGITS]);
        object.add_text("registered", &registered.end());
    }
    object
}

/// The answer to `GET /v1/sessions`.
pub fn sessions(views: &[SessionView]) -> String {
    Object::new().add_text("sessions", &list(views.iter().map(|view| session_object(view).end()))).end()
}

/// The answer to `GET /v1/sessions/me`: the session, with the name under which it was registered.
pub fn me(view: &SessionView) -> String {
    let session = session_object(view).add("displayName", &*view.session.row.nickname).end();
    Object::new().add_text("session", &session).end()
}

/// A session as events show it.
pub fn seen_session(seen: &Sighting) -> String {
    session_row(&seen.session).add("reach", seen.reach.as_str()).add("unread", &seen.unread).end()
}

/// The answer to `GET /v1/rooms`.
pub fn rooms(views: &[RoomView]) -> String {
    let room = |view: &RoomView| {
        let member = |(member, nickname): &(std::sync::Arc<crate::model::Stored<crate::model::RoomMember>>, _)| {
            let nickname: &std::sync::Arc<str> = nickname;
            let row = &member.row;
            let mut object = Object::new();
            object.add("sessionId", row.session_id.as_str()).add("nickname", &**nickname);
            object.add("joinedAt", &row.joined_at).end()
        };
        let mut object = Object::of_row(view.room.text(room_text), "roomId", &[]);
        object.add_text("members", &list(view.members.iter().map(member))).end()
    };
    Object::new().add_text("rooms", &list(views.iter().map(room))).end()
}

fn message_row(message: &Message) -> Object {
    let fingerprint = message.terms.as_ref().and_then(|terms| terms.fingerprint.as_deref());
    let piece = fingerprint.map(|digits| (format!(r#","fingerprint":"{digits}""#), String::new()));
    Object::of_row(&message_text(message), "messageId", piece.as_slice())
}

/// A message as events show it.
pub fn message(message: &Message) -> String {
    message_row(message).end()
}

/// A message of the history.
pub fn entry(entry: &HistoryEntry) -> Object {
    let mut object = message_row(&entry.message.row);
    object.add("shortId", &entry.short_id).add("readBy", &entry.read_by).add("waitingFor", &entry.waiting_for);
    if !entry.deliveries.is_empty() {
        object.add("deliveries", &entry.deliveries.iter().map(delivery_value).collect::<Vec<_>>());
    }
    object
}

/// A page of messages, each written by `entry`, with the cursors that go on from it.
pub fn page(page: &HistoryPage, entry: impl Fn(&HistoryEntry) -> String) -> String {
    let mut object = Object::new();
    object.add_text("messages", &list(page.messages.iter().map(entry)));
    object.add_some("before", page.before.as_ref().map(ToString::to_string).as_deref());
    object.add_some("newest", page.newest.as_ref().map(ToString::to_string).as_deref()).end()
}

/// The answer to `GET /v1/inbox`. `known` says whether the caller is the reader, and whether it named the reader exactly.
pub fn inbox(reader: &str, known: (bool, bool), messages: &[MessageView], waiting: usize) -> String {
    let message = |view: &MessageView| message_row(&view.message.row).add("shortId", &view.short_id).end();
    let messages = list(messages.iter().map(message));
    Object::new()
        .add("reader", reader)
        .add("own", &known.0)
        .add("exact", &known.1)
        .add_text("messages", &messages)
        .add("waiting", &waiting)
        .end()
}

/// The answer to `POST /v1/inbox/claim`.
pub fn claimed(claimed: &Claimed) -> String {
    let from = claimed.from.iter().map(|(session, nickname, messages)| {
        let mut object = Object::new();
        object.add("sessionId", session.as_str()).add("nickname", &**nickname).add("messages", messages).end()
    });
    let messages = claimed.from.iter().map(|(_, _, messages)| messages).sum::<usize>();
    let mut object = Object::new();
    object.add("by", claimed.by.as_str()).add_text("from", &list(from));
    object.add("messages", &messages).add("more", &claimed.more).end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SessionId;
    use crate::model::{Process, Stored};
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    // row 53
    #[test]
    fn a_session_has_no_value_that_stands_for_nothing() {
        let told = |change: fn(&mut Session)| {
            let mut row = Session::new(SessionId::from("s"), "n", "/w", 5);
            change(&mut row);
            parsed(&session_row(&Stored::new(row)).end())
        };
        assert_eq!(told(|_| {}), json!({"sessionId": "s", "nickname": "n", "cwd": "/w", "connectedAt": 5}));
        assert_eq!(told(|row| row.pid = 9)["pid"], 9);
        let lives = told(|row| row.process = Some(Process { pid: 8, started: 7, boot: Arc::from("b") }));
        assert_eq!((&lives["pid"], lives.get("process")), (&json!(8), None));
        let host = told(|row| row.host = Some(Host { name: "box".into(), os: "".into(), arch: "".into() }));
        assert_eq!(host["host"], json!({"name": "box"}));
        let none = told(|row| row.host = Some(Host { name: "".into(), os: "".into(), arch: "".into() }));
        assert!(none.get("host").is_none());
        assert!(told(|row| row.cwd = "".into()).get("cwd").is_none());
    }

    proptest! {
        // row 96
        #[test]
        fn a_row_that_is_copied_is_the_row_that_was_written(
            texts in proptest::collection::vec("([a-z\"\\\\,:{}]|\"id\":|\"pid\":0|,\"host\":\\{|\n|é){0,12}", 6),
            pid in 0_u32..3,
        ) {
            let mut row = Session::new(SessionId::from(&*texts[0]), &texts[1], &texts[2], 5);
            row.pid = pid;
            row.current_task = Some(Arc::from(&*texts[3]));
            row.host = Some(Host { name: Arc::from(&*texts[4]), os: Arc::from(&*texts[5]), arch: "".into() });
            row.process = Some(Process { pid: 7, started: 7, boot: Arc::from("b") });
            let row = Stored::new(row);
            let mut expected = parsed(row.text(session_text));
            let object = expected.as_object_mut().unwrap();
            let id = object.remove("id").unwrap();
            object.remove("process");
            object.insert("sessionId".to_owned(), id);
            object.insert("pid".to_owned(), if pid == 0 { 7 } else { pid }.into());
            if texts[2].is_empty() {
                object.remove("cwd");
            }
            let host = object["host"].as_object_mut().unwrap();
            host.retain(|_, part| part != "");
            if host.is_empty() {
                object.remove("host");
            }
            prop_assert_eq!(parsed(&session_row(&row).end()), expected);
        }
    }
}

//! The JSON form of messages. As for all rows: keys in alphabetical order, absent fields left out, unknown ones ignored.

use super::{Text, Texts, read, shared, text, to_text};
use crate::ids::{MessageId, RoomId, SessionId};
use crate::model::{ItemType, Message, Priority, Proof, Recipient, Terms};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageJson<'a> {
    #[serde(borrow)]
    body: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    client_message_id: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<Text<'a>>,
    #[serde(borrow, default)]
    from_nick: Option<Text<'a>>,
    #[serde(borrow)]
    from_session_id: Text<'a>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    meta: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notice: Option<bool>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    priority: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    proof: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_by: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_settled: Option<bool>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<Text<'a>>,
    sent_at: i64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    supersedes: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    thread: Option<Text<'a>>,
    #[serde(borrow, default)]
    to_nick: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    to_room_id: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    to_session_id: Option<Text<'a>>,
}

pub(super) fn message_json(row: &Message) -> MessageJson<'_> {
    let (to_session_id, to_room_id) = match &row.to {
        Recipient::Session(id) => (Some(id.as_str().into()), None),
        Recipient::Room(id) => (None, Some(id.as_str().into())),
    };
    let terms = row.terms.as_deref();
    let id = |id: Option<&'_ MessageId>| id.map(|id| Text(Cow::Owned(id.as_str().to_owned())));
    MessageJson {
        body: (&row.body).into(),
        client_message_id: terms.and_then(|terms| text(&terms.client_message_id)),
        expires_at: terms.and_then(|terms| terms.expires_at),
        fingerprint: terms.and_then(|terms| text(&terms.fingerprint)),
        from_nick: Some((&row.from_nick).into()),
        from_session_id: row.from_session_id.as_str().into(),
        id: row.id.as_str().into(),
        // It was made from an object, or read as a part of one.
        meta: terms.and_then(|terms| terms.meta.as_deref()).and_then(|meta| serde_json::from_str(meta).ok()),
        notice: terms.filter(|terms| terms.notice).map(|_| true),
        priority: terms
            .filter(|terms| terms.priority != Priority::default())
            .map(|terms| terms.priority.as_str().into()),
        proof: row.proof.map(|proof| proof.as_str().into()),
        read_at: row.read_at,
        reply_by: terms.and_then(|terms| terms.reply_by),
        reply_settled: terms.filter(|terms| terms.reply_settled).map(|_| true),
        reply_to: id(terms.and_then(|terms| terms.reply_to.as_ref())),
        sent_at: row.sent_at,
        supersedes: id(terms.and_then(|terms| terms.supersedes.as_ref())),
        thread: id(terms.and_then(|terms| terms.thread.as_ref())),
        to_nick: Some((&row.to_nick).into()),
        to_room_id,
        to_session_id,
    }
}

/// The JSON text of a message.
pub fn message_text(row: &Message) -> String {
    to_text(&message_json(row))
}

pub(super) fn read_message(json: &str) -> Result<MessageJson<'_>, String> {
    let item: MessageJson<'_> = read(json)?;
    if item.to_session_id.is_some() == item.to_room_id.is_some() {
        return Err("a message needs exactly one of toSessionId and toRoomId".to_owned());
    }
    Ok(item)
}

pub(super) fn build_message(item: &MessageJson<'_>, texts: &mut impl Texts) -> Message {
    let mut common = |text: &Option<Text<'_>>| text.as_ref().map(|text| texts.common(&text.0)).unwrap_or_default();
    Message {
        from_nick: common(&item.from_nick),
        to: match &item.to_room_id {
            None => Recipient::Session(SessionId::from(common(&item.to_session_id))),
            room => Recipient::Room(RoomId::from(common(room))),
        },
        to_nick: common(&item.to_nick),
        id: MessageId::from(texts.id(ItemType::Message, &item.id.0)),
        from_session_id: SessionId::from(texts.common(&item.from_session_id.0)),
        body: item.body.shared(),
        sent_at: item.sent_at,
        read_at: item.read_at,
        // A word of a later version says nothing that could be relied on.
        proof: item.proof.as_ref().and_then(|proof| Proof::parse(&proof.0)),
        terms: build_terms(item).map(Box::new),
    }
}

/// The terms of a message, if they are not the usual ones.
fn build_terms(item: &MessageJson<'_>) -> Option<Terms> {
    let id = |text: &Option<Text<'_>>| text.as_ref().map(|text| MessageId::from(&*text.0));
    let terms = Terms {
        priority: item.priority.as_ref().and_then(|word| Priority::parse(&word.0)).unwrap_or_default(),
        reply_to: id(&item.reply_to),
        thread: id(&item.thread),
        reply_by: item.reply_by,
        reply_settled: item.reply_settled.unwrap_or(false),
        supersedes: id(&item.supersedes),
        expires_at: item.expires_at,
        client_message_id: shared(&item.client_message_id),
        fingerprint: shared(&item.fingerprint),
        // It stands in lines of ours as it is: what somebody else wrote must not end one.
        meta: item.meta.map(RawValue::get).filter(|meta| !meta.contains(['\r', '\n'])).map(Arc::from),
        notice: item.notice.unwrap_or(false),
    };
    (terms != Terms::default()).then_some(terms)
}

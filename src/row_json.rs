//! The JSON form of rows, shared by the log, the live queries and the HTTP answers: flat objects with camelCase keys
//! in alphabetical order, absent fields left out, as marshal 0.9 wrote them to its log. Readers take keys in any order
//! and ignore what they do not know. It must not touch files or sockets.

mod delivery;
mod departed;
mod message;
mod session;
mod standing;

pub use delivery::delivery_text;
pub use departed::departed_text;
pub use message::message_text;
pub use session::{parse_session, session_text};
pub use standing::{delivery_news, delivery_value, replaced_value};

use crate::ids::{MemberId, MessageId, ReadId, RoomId, SessionId};
use crate::model::{Evidence, ItemType, MessageRead, Path, Registration, Room, RoomKind, RoomMember, Row, TokenHash};
use delivery::{DeliveryJson, build_delivery};
use departed::{DepartedJson, build_departed};
use message::{build_message, message_json, read_message};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// Text that is borrowed from the input unless it holds escapes. (Serde borrows a bare `Cow`, but not one inside an
/// `Option`; the wrapper does.)
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a Arc<str>> for Text<'a> {
    fn from(text: &'a Arc<str>) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl Text<'_> {
    fn shared(&self) -> Arc<str> {
        Arc::from(&*self.0)
    }
}

fn text<'a>(value: &'a Option<Arc<str>>) -> Option<Text<'a>> {
    value.as_ref().map(Text::from)
}

fn shared(value: &Option<Text<'_>>) -> Option<Arc<str>> {
    value.as_ref().map(Text::shared)
}

#[derive(Serialize, Deserialize)]
struct SourceJson<'a> {
    #[serde(borrow)]
    anchor: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    basename: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    name: Option<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
struct KindJson<'a> {
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    source: Option<SourceJson<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoomJson<'a> {
    created_at: i64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    description: Option<Text<'a>>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    kind: KindJson<'a>,
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MemberJson<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    joined_at: i64,
    #[serde(borrow)]
    room_id: Text<'a>,
    #[serde(borrow)]
    session_id: Text<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadJson<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Text<'a>>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    message_id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    path: Option<Text<'a>>,
    read_at: i64,
    #[serde(borrow)]
    session_id: Text<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegistrationJson<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    registered_at: i64,
    renewed_at: i64,
    #[serde(borrow)]
    token_hash: Text<'a>,
}

/// Serializes a value whose shape cannot fail to serialize: structs with string keys only.
fn to_text<T: Serialize>(value: &T) -> String {
    // serde_json fails only on maps with non-string keys and on failing Serialize impls; none of the shapes here has
    // either.
    serde_json::to_string(value).unwrap_or_default()
}

/// The JSON text of a room.
pub fn room_text(row: &Room) -> String {
    let source = |anchor, name, basename| Some(SourceJson { anchor: Text::from(anchor), basename, name });
    let source = match &row.kind {
        RoomKind::AdHoc => None,
        RoomKind::Everyone => source("everyone", None, None),
        RoomKind::Host(name) => source("host", Some(name.into()), None),
        RoomKind::Operator(name) => source("operator", Some(name.into()), None),
        RoomKind::Project(name) => source("project", None, Some(name.into())),
        RoomKind::Group(name) => source("group", Some(name.into()), None),
    };
    // marshal 0.9 cannot read an automatic room of a kind that it does not know.
    let is_auto = source.is_some() && !matches!(row.kind, RoomKind::Group(_));
    to_text(&RoomJson {
        created_at: row.created_at,
        description: text(&row.description),
        id: row.id.as_str().into(),
        kind: KindJson { kind: if is_auto { "auto".into() } else { "adhoc".into() }, source },
        name: (&row.name).into(),
    })
}

/// The JSON text of a membership.
pub fn member_text(row: &RoomMember) -> String {
    to_text(&MemberJson {
        id: row.id.as_str().into(),
        joined_at: row.joined_at,
        room_id: row.room_id.as_str().into(),
        session_id: row.session_id.as_str().into(),
    })
}

fn read_json(row: &MessageRead) -> ReadJson<'_> {
    ReadJson {
        evidence: row.evidence.map(|evidence| evidence.as_str().into()),
        id: row.id.as_str().into(),
        message_id: row.message_id.as_str().into(),
        path: row.path.map(|path| path.as_str().into()),
        read_at: row.read_at,
        session_id: row.session_id.as_str().into(),
    }
}

/// The JSON text of a read receipt.
pub fn read_text(row: &MessageRead) -> String {
    to_text(&read_json(row))
}

/// The JSON text of a registration.
pub fn registration_text(row: &Registration) -> String {
    to_text(&RegistrationJson {
        id: row.id.as_str().into(),
        registered_at: row.registered_at,
        renewed_at: row.renewed_at,
        token_hash: Text(Cow::Owned(row.token.to_hex())),
    })
}

/// The JSON text of a row of any type. For sessions, rooms and memberships, which live queries list again and again, it
/// is made once per row; messages and receipts, of which there may be a million, do not keep theirs.
pub fn row_text(row: &Row) -> Arc<str> {
    match row {
        Row::Session(stored) => stored.text(session_text).clone(),
        Row::Room(stored) => stored.text(room_text).clone(),
        Row::RoomMember(stored) => stored.text(member_text).clone(),
        Row::Message(stored) => Arc::from(message_text(&stored.row)),
        Row::MessageRead(stored) => Arc::from(read_text(&stored.row)),
        Row::Registration(stored) => Arc::from(registration_text(&stored.row)),
        Row::Delivery(stored) => Arc::from(delivery_text(&stored.row)),
        Row::Departed(stored) => Arc::from(departed_text(&stored.row)),
    }
}

/// Adds the text of [`row_text`] to some bytes.
pub fn add_row(row: &Row, out: &mut Vec<u8>) {
    // As for `to_text`; and a Vec takes everything.
    let _ = match row {
        Row::Session(stored) => return out.extend_from_slice(stored.text(session_text).as_bytes()),
        Row::Room(stored) => return out.extend_from_slice(stored.text(room_text).as_bytes()),
        Row::RoomMember(stored) => return out.extend_from_slice(stored.text(member_text).as_bytes()),
        Row::Message(stored) => serde_json::to_writer(out, &message_json(&stored.row)),
        Row::MessageRead(stored) => serde_json::to_writer(out, &read_json(&stored.row)),
        Row::Registration(stored) => return out.extend_from_slice(registration_text(&stored.row).as_bytes()),
        Row::Delivery(stored) => return out.extend_from_slice(delivery_text(&stored.row).as_bytes()),
        Row::Departed(stored) => return out.extend_from_slice(departed_text(&stored.row).as_bytes()),
    };
}

/// Bytes of the text of [`row_text`].
pub fn row_text_bytes(row: &Row) -> usize {
    match row {
        Row::Session(stored) => stored.text(session_text).len(),
        Row::Room(stored) => stored.text(room_text).len(),
        Row::RoomMember(stored) => stored.text(member_text).len(),
        Row::Message(stored) => message_text(&stored.row).len(),
        Row::MessageRead(stored) => read_text(&stored.row).len(),
        Row::Registration(stored) => registration_text(&stored.row).len(),
        Row::Delivery(stored) => delivery_text(&stored.row).len(),
        Row::Departed(stored) => departed_text(&stored.row).len(),
    }
}

/// Reads a row of the given type.
///
/// # Errors
/// What is wrong with the text, for a log line or a person.
pub fn parse_row(item_type: ItemType, json: &str) -> Result<Row, String> {
    parse_row_with(item_type, json, &mut Copies)
}

/// Where the text of new rows comes from.
pub trait Texts {
    /// Text that is likely to be the same in other rows: names, paths, ids of sessions and rooms.
    fn common(&mut self, text: &str) -> Arc<str>;

    /// The id of a row of the given type, in that row or in one that hangs on it.
    fn id(&mut self, item_type: ItemType, id: &str) -> Arc<str>;
}

/// Every text is a new copy.
pub struct Copies;

impl Texts for Copies {
    fn common(&mut self, text: &str) -> Arc<str> {
        Arc::from(text)
    }

    fn id(&mut self, _: ItemType, id: &str) -> Arc<str> {
        Arc::from(id)
    }
}

/// As [`parse_row`], with the row's text from `texts`.
///
/// # Errors
/// As for [`parse_row`].
pub fn parse_row_with(item_type: ItemType, json: &str, texts: &mut impl Texts) -> Result<Row, String> {
    Ok(match item_type {
        ItemType::Session => session::build_session(&read(json)?, texts).into(),
        ItemType::Room => build_room(&read(json)?, texts)?.into(),
        ItemType::RoomMember => build_member(&read(json)?, texts).into(),
        ItemType::Message => {
            let item = read_message(json)?;
            build_message(&item, texts).into()
        }
        ItemType::MessageRead => build_read(&read(json)?, texts).into(),
        ItemType::Registration => build_registration(&read(json)?, texts)?.into(),
        ItemType::Delivery => build_delivery(&read(json)?, texts)?.into(),
        ItemType::Departed => build_departed(&read(json)?, texts).into(),
    })
}

/// Finds what [`parse_row`] would find wrong, without building a row. Says the row's id.
///
/// # Errors
/// As for [`parse_row`].
pub fn check_row(item_type: ItemType, json: &str) -> Result<Text<'_>, String> {
    match item_type {
        ItemType::Session => read(json).map(|item: session::SessionJson<'_>| item.id),
        ItemType::Room => {
            let item: RoomJson<'_> = read(json)?;
            parse_kind(&item.kind)?;
            Ok(item.id)
        }
        ItemType::RoomMember => read(json).map(|item: MemberJson<'_>| item.id),
        ItemType::Message => read_message(json).map(|item| item.id),
        ItemType::MessageRead => read(json).map(|item: ReadJson<'_>| item.id),
        ItemType::Registration => {
            let item: RegistrationJson<'_> = read(json)?;
            token_hash(&item)?;
            Ok(item.id)
        }
        ItemType::Delivery => {
            let item: DeliveryJson<'_> = read(json)?;
            delivery::step(&item)?;
            Ok(item.id)
        }
        ItemType::Departed => read(json).map(|item: DepartedJson<'_>| item.id),
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn build_room(item: &RoomJson<'_>, texts: &mut impl Texts) -> Result<Room, String> {
    Ok(Room {
        id: RoomId::from(texts.common(&item.id.0)),
        name: texts.common(&item.name.0),
        description: shared(&item.description),
        kind: parse_kind(&item.kind)?,
        created_at: item.created_at,
    })
}

fn parse_kind(item: &KindJson<'_>) -> Result<RoomKind, String> {
    let source = match (&*item.kind.0, &item.source) {
        ("adhoc", Some(source)) if &*source.anchor.0 == "group" => source,
        ("adhoc", _) => return Ok(RoomKind::AdHoc),
        ("auto", Some(source)) => source,
        ("auto", None) => return Err("automatic room without a source".to_owned()),
        (other, _) => return Err(format!("unknown kind of room {other:?}")),
    };
    let named = |name: &Option<Text<'_>>| shared(name).ok_or_else(|| "automatic room without a name".to_owned());
    match &*source.anchor.0 {
        "everyone" => Ok(RoomKind::Everyone),
        "host" => named(&source.name).map(RoomKind::Host),
        "operator" => named(&source.name).map(RoomKind::Operator),
        "project" => named(&source.basename).map(RoomKind::Project),
        "group" => named(&source.name).map(RoomKind::Group),
        other => Err(format!("unknown anchor of an automatic room {other:?}")),
    }
}

fn build_member(item: &MemberJson<'_>, texts: &mut impl Texts) -> RoomMember {
    RoomMember {
        id: MemberId::from(texts.id(ItemType::RoomMember, &item.id.0)),
        room_id: RoomId::from(texts.common(&item.room_id.0)),
        session_id: SessionId::from(texts.common(&item.session_id.0)),
        joined_at: item.joined_at,
    }
}

fn token_hash(item: &RegistrationJson<'_>) -> Result<TokenHash, String> {
    TokenHash::from_hex(&item.token_hash.0).ok_or_else(|| "tokenHash is not 64 hexadecimal digits".to_owned())
}

fn build_registration(item: &RegistrationJson<'_>, texts: &mut impl Texts) -> Result<Registration, String> {
    Ok(Registration {
        id: SessionId::from(texts.common(&item.id.0)),
        token: token_hash(item)?,
        registered_at: item.registered_at,
        renewed_at: item.renewed_at,
    })
}

fn build_read(item: &ReadJson<'_>, texts: &mut impl Texts) -> MessageRead {
    MessageRead {
        id: ReadId::from(texts.id(ItemType::MessageRead, &item.id.0)),
        message_id: MessageId::from(texts.id(ItemType::Message, &item.message_id.0)),
        session_id: SessionId::from(texts.common(&item.session_id.0)),
        read_at: item.read_at,
        evidence: item.evidence.as_ref().and_then(|evidence| Evidence::parse(&evidence.0)),
        path: item.path.as_ref().and_then(|path| Path::parse(&path.0)),
    }
}

#[cfg(test)]
mod tests;

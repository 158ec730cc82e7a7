//! The usual line: the exact form in which we, or marshal 0.9, write a line, which nearly all lines of a log have. It is
//! told from any other by one walk over its bytes, three times as fast as by reading it as JSON. It must not accept a
//! line that would be damage otherwise, and says nothing about one that it does not accept: that is read as JSON.

use super::line::Event;
use crate::model::ItemType;
use crate::row_json::check_row;

const ITEM_OPENS: &str = r#"{"item":"#;
const CHANGE_TYPE_OPENS: &str = r#","changeType":""#;
const ITEM_TYPE_OPENS: &str = r#"","itemType":""#;
const ENDING_KEYS: [&str; 3] = [r#","createdAt":""#, r#","tx":""#, r#","sourceId":""#];

/// The event on a line, if it has the usual form.
///
/// That a brace is the item's end need not be proved beforehand: where a JSON object begins, only one end makes it
/// whole, and the item is accepted only if that is its end.
pub(super) fn read(line: &str) -> Option<Event<'_>> {
    let end = memchr::memrchr(b'}', line.as_bytes().strip_suffix(b"}")?)? + 1;
    let item = line.strip_prefix(ITEM_OPENS)?.get(..end.checked_sub(ITEM_OPENS.len())?)?;
    let rest = &line[end..];
    if !item.starts_with('{') || !is_plain(rest) {
        return None;
    }
    let (is_set, rest) = match rest.strip_prefix(CHANGE_TYPE_OPENS)?.split_at_checked(3)? {
        ("SET", rest) => (true, rest),
        ("DEL", rest) => (false, rest),
        _ => return None,
    };
    let (name, rest) = text(rest.strip_prefix(ITEM_TYPE_OPENS)?)?;
    let item_type = ItemType::parse(name)?;
    if !is_usual_end(rest) {
        return None;
    }
    if is_set {
        // An item of another form is one with escapes, most often.
        let id = usual_id(item_type, item).map_or_else(|| check_row(item_type, item).ok(), |id| Some(id.into()))?;
        Some(Event::Set(item_type, id, item))
    } else {
        // marshal 0.9 repeats the row, we do not.
        let id = only_id(item).or_else(|| usual_id(item_type, item))?;
        Some(Event::Delete(item_type, id.into()))
    }
}

/// The id of an item that has no other member.
fn only_id(item: &str) -> Option<&str> {
    let (id, rest) = text(item.strip_prefix(r#"{"id":""#)?)?;
    (rest == "}" && is_plain(id)).then_some(id)
}

/// Whether the members behind the item's type are those that we write, or the first of them.
fn is_usual_end(mut rest: &str) -> bool {
    for key in ENDING_KEYS {
        let Some(value) = rest.strip_prefix(key) else { break };
        let Some((_, behind)) = text(value) else { return false };
        rest = behind;
    }
    // These only we write.
    if let Some(number) = rest.strip_prefix(r#","seq":"#) {
        let Some(behind) = digits(number, u64::MAX.ilog10() as usize + 1) else { return false };
        rest = behind;
    }
    if let Some((_, behind)) = rest.strip_prefix(r#","sum":""#).and_then(text) {
        rest = behind;
    }
    rest == "}"
}

/// Whether there are neither escapes nor control characters, so that a JSON string ends at the next quote. Without an
/// early end, since that lets the compiler look at many bytes at once.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (byte != b'\\') & (byte >= b' '))
}

/// A string whose opening quote has been read, and what is behind its closing one.
fn text(rest: &str) -> Option<(&str, &str)> {
    let end = memchr::memchr(b'"', rest.as_bytes())?;
    Some((&rest[..end], &rest[end + 1..]))
}

/// What stands behind a key.
#[derive(Clone, Copy)]
enum Value {
    Id,
    Text,
    Flag,
    /// A number of at most so many digits, which is one that its type can hold.
    Digits(usize),
    /// Texts under these keys.
    Texts(&'static [&'static str]),
}

/// One member of an item: its key as it stands in the log, up to the value or its opening quote.
struct Member(&'static str, Value, /* required */ bool);

const MILLISECONDS: Value = Value::Digits(18);

/// All that can stand in an item, in the order in which it does. A key that is not here, or not in its place, or there
/// twice, makes the item an unusual one.
const SESSION: &[Member] = &[
    Member(r#""activity":""#, Value::Text, false),
    Member(r#""channelsEnabled":"#, Value::Flag, false),
    Member(r#""clientId":""#, Value::Text, false),
    Member(r#""connectedAt":"#, MILLISECONDS, false),
    Member(r#""currentTask":""#, Value::Text, false),
    Member(r#""cwd":""#, Value::Text, false),
    Member(r#""gitBranch":""#, Value::Text, false),
    Member(r#""hooks":"#, Value::Flag, false),
    Member(r#""host":"#, Value::Texts(&[r#"{"arch":""#, r#","name":""#, r#","os":""#]), false),
    Member(r#""id":""#, Value::Id, true),
    Member(r#""kind":""#, Value::Text, false),
    Member(r#""lastActivityAt":"#, MILLISECONDS, false),
    Member(r#""lastTool":""#, Value::Text, false),
    Member(r#""lastToolAt":"#, MILLISECONDS, false),
    Member(r#""nickname":""#, Value::Text, false),
    Member(r#""operator":""#, Value::Text, false),
    Member(r#""pid":"#, Value::Digits(9), false),
    Member(r#""project":""#, Value::Text, false),
    Member(r#""role":""#, Value::Text, false),
    Member(r#""sessionName":""#, Value::Text, false),
];
const MEMBER: &[Member] = &[
    Member(r#""id":""#, Value::Id, true),
    Member(r#""joinedAt":"#, MILLISECONDS, true),
    Member(r#""roomId":""#, Value::Text, true),
    Member(r#""sessionId":""#, Value::Text, true),
];
/// A message to a session; there are too few to rooms for a form of their own.
const MESSAGE: &[Member] = &[
    Member(r#""body":""#, Value::Text, true),
    Member(r#""fromNick":""#, Value::Text, false),
    Member(r#""fromSessionId":""#, Value::Text, true),
    Member(r#""id":""#, Value::Id, true),
    Member(r#""proof":""#, Value::Text, false),
    Member(r#""readAt":"#, MILLISECONDS, false),
    Member(r#""sentAt":"#, MILLISECONDS, true),
    Member(r#""toNick":""#, Value::Text, false),
    Member(r#""toSessionId":""#, Value::Text, true),
];
const READ: &[Member] = &[
    Member(r#""evidence":""#, Value::Text, false),
    Member(r#""id":""#, Value::Id, true),
    Member(r#""messageId":""#, Value::Text, true),
    Member(r#""path":""#, Value::Text, false),
    Member(r#""readAt":"#, MILLISECONDS, true),
    Member(r#""sessionId":""#, Value::Text, true),
];

/// The id of an item that has the usual form and all that makes it a row.
fn usual_id(item_type: ItemType, item: &str) -> Option<&str> {
    let members = match item_type {
        ItemType::Session => SESSION,
        ItemType::RoomMember => MEMBER,
        ItemType::Message => MESSAGE,
        ItemType::MessageRead => READ,
        ItemType::Room | ItemType::Registration | ItemType::Delivery | ItemType::Departed => return None,
    };
    if !is_plain(item) {
        return None;
    }
    let (mut id, mut rest) = (None, item.strip_prefix('{')?);
    let mut required_left = members.iter().filter(|Member(_, _, required)| *required).count();
    for Member(key, value, required) in members {
        match rest.strip_prefix(key) {
            None if *required => return None,
            None => continue,
            Some(behind) => rest = behind,
        }
        required_left -= usize::from(*required);
        rest = match value {
            Value::Id => {
                let (value, behind) = text(rest)?;
                id = Some(value);
                behind
            }
            Value::Text => text(rest)?.1,
            Value::Flag => rest.strip_prefix("true").or_else(|| rest.strip_prefix("false"))?,
            Value::Digits(most) => digits(rest, *most)?,
            Value::Texts(keys) => texts(rest, keys)?,
        };
        if rest == "}" {
            return id.filter(|_| required_left == 0);
        }
        rest = rest.strip_prefix(',')?;
    }
    None
}

/// What is behind a number without sign, point or leading zero.
fn digits(rest: &str, most: usize) -> Option<&str> {
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    let is_number = (1..=most).contains(&count) && (count == 1 || !rest.starts_with('0'));
    // A point or an exponent behind it is neither a comma nor a brace, and makes the item an unusual one.
    is_number.then(|| &rest[count..])
}

fn texts<'a>(mut rest: &'a str, keys: &[&str]) -> Option<&'a str> {
    for key in keys {
        rest = text(rest.strip_prefix(key)?)?.1;
    }
    rest.strip_prefix('}')
}

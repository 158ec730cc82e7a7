//! One line of the log: written from a change, read into an event. It must not lose what it does not understand: an
//! item type of a future version is told apart from damage.

use super::usual;
use crate::bom;
use crate::model::{ItemType, Row};
use crate::roster::Change;
use crate::row_json::{Text, add_row, check_row, parse_row, row_text_bytes};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::Write;

/// What stands on a line.
#[derive(Debug)]
pub enum Line {
    /// White space only.
    Blank,
    /// A row is there, or changed.
    Set(Row),
    /// A row is gone.
    Delete(ItemType, String),
    /// An event of an item type that this version does not know; it stays in the log untouched.
    Foreign(String),
}

/// What the lines of one batch have in common.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// When, as RFC 3339 text.
    pub created_at: String,
    /// The id of the batch.
    pub tx: String,
    /// The id of this run of the daemon.
    pub source_id: String,
}

/// Appends the line of a change to `out`, newline included.
pub fn encode_change(change: &Change, stamp: &Stamp, out: &mut Vec<u8>) {
    match &change.after {
        Some((row, _)) => encode_set(row, stamp, out),
        None => encode_delete(change.item_type(), change.id(), stamp, out),
    }
}

/// Appends the line that says that `row` is there.
pub fn encode_set(row: &Row, stamp: &Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"item":"#);
    add_row(row, out);
    end_line("SET", row.item_type(), stamp, out);
}

/// Bytes of a line around its item and its type, with ids and times of the usual length.
const ENVELOPE_BYTES: usize = 187;

/// Bytes of the line that says that `row` is there, newline included, to a few.
pub fn set_line_bytes(row: &Row) -> u64 {
    (row_text_bytes(row) + row.item_type().as_str().len() + ENVELOPE_BYTES) as u64
}

/// Appends the line that says that a row is gone. Of the item only the id matters to any reader, so that nothing else
/// is repeated.
pub fn encode_delete(item_type: ItemType, id: &str, stamp: &Stamp, out: &mut Vec<u8>) {
    let item = serde_json::json!({ "id": id });
    // Writing into a Vec cannot fail.
    let _ = write!(out, r#"{{"item":{item}"#);
    end_line("DEL", item_type, stamp, out);
}

/// What follows the item on every line. None of these texts holds what JSON escapes.
fn end_line(change_type: &str, item_type: ItemType, stamp: &Stamp, out: &mut Vec<u8>) {
    let Stamp { created_at, tx, source_id } = stamp;
    let members = [
        (r#","changeType":""#, change_type),
        (r#"","itemType":""#, item_type.as_str()),
        (r#"","createdAt":""#, created_at),
        (r#"","tx":""#, tx),
        (r#"","sourceId":""#, source_id),
    ];
    for (name, value) in members {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\"}\n");
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    item: &'a RawValue,
    #[serde(borrow)]
    change_type: Text<'a>,
    #[serde(borrow)]
    item_type: Text<'a>,
}

#[derive(Deserialize)]
struct IdOnly<'a> {
    #[serde(borrow)]
    id: Text<'a>,
}

/// What stands on a line, before a row is built of it.
#[derive(Debug, PartialEq)]
pub(super) enum Event<'a> {
    /// White space only.
    Blank,
    /// A row is there, or changed: its type, its id, and the text of which it can be built.
    Set(ItemType, Text<'a>, &'a str),
    /// A row is gone.
    Delete(ItemType, Text<'a>),
    /// An event of an item type that this version does not know.
    Foreign(Text<'a>),
}

/// Reads a line, with or without its newline.
///
/// # Errors
/// What is wrong with it, for a person. Such a line counts as malformed: it is skipped and left where it is.
pub fn parse(line: &[u8]) -> Result<Line, String> {
    Ok(match read(line)? {
        Event::Blank => Line::Blank,
        Event::Set(item_type, _, item) => Line::Set(parse_row(item_type, item)?),
        Event::Delete(item_type, id) => Line::Delete(item_type, id.0.into_owned()),
        Event::Foreign(item_type) => Line::Foreign(item_type.0.into_owned()),
    })
}

/// As [`parse`], but builds no row.
pub(super) fn read(line: &[u8]) -> Result<Event<'_>, String> {
    let text = std::str::from_utf8(bom::without(line)).map_err(|error| error.to_string())?.trim();
    match usual::read(text) {
        Some(event) => Ok(event),
        None => read_any(text),
    }
}

/// When a line was written, as its text has it; none for a line of another form than ours and marshal 0.9's. It looks
/// at one place alone, since a start asks it of every line.
pub(super) fn created_at(line: &[u8]) -> Option<&str> {
    const BEHIND: usize = r#"","tx":"","sourceId":""}"#.len() + 2 * UUID_BYTES;
    let end = line.trim_ascii_end().len().checked_sub(BEHIND)?;
    let start = end.checked_sub(CREATED_AT_BYTES)?;
    let text = std::str::from_utf8(line.get(start..end)?).ok()?;
    let key = r#","createdAt":""#;
    let is_it = line[..start].ends_with(key.as_bytes()) && line[end..].starts_with(br#"","tx":""#);
    (is_it && text.ends_with("+00:00")).then_some(text)
}

/// Bytes of an id as we make it, and of a moment to the nanosecond.
const UUID_BYTES: usize = 36;
const CREATED_AT_BYTES: usize = "2026-11-21T00:04:13.182262123+00:00".len();

/// Reads a line of any form that JSON allows.
fn read_any(text: &str) -> Result<Event<'_>, String> {
    if text.is_empty() {
        return Ok(Event::Blank);
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Some(item_type) = ItemType::parse(&envelope.item_type.0) else {
        return Ok(Event::Foreign(envelope.item_type));
    };
    let item = envelope.item.get();
    match &*envelope.change_type.0 {
        "SET" => check_row(item_type, item).map(|id| Event::Set(item_type, id, item)),
        "DEL" => {
            let id_only: IdOnly<'_> = serde_json::from_str(item).map_err(|error| error.to_string())?;
            Ok(Event::Delete(item_type, id_only.id))
        }
        other => Err(format!("unknown changeType {other:?}")),
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod usual_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp {
            created_at: "2026-11-21T00:04:13.182262123+00:00".to_owned(),
            tx: "9ccc2305-57df-40ce-a8b7-2adaa4675271".to_owned(),
            source_id: "a16f50bd-e0ec-473f-9e1a-e1c8eab281fe".to_owned(),
        }
    }

    #[test]
    fn a_set_is_written_to_the_letter_as_marshal_0_9_did() {
        let line = concat!(
            r#"{"item":{"id":"everyone::a","joinedAt":1795219453183,"roomId":"everyone","sessionId":"a"},"#,
            r#""changeType":"SET","itemType":"RoomMember","createdAt":"2026-11-21T00:04:13.182262123+00:00","#,
            r#""tx":"9ccc2305-57df-40ce-a8b7-2adaa4675271","sourceId":"a16f50bd-e0ec-473f-9e1a-e1c8eab281fe"}"#,
            "\n"
        );
        let Line::Set(row) = parse(line.as_bytes()).unwrap() else { panic!("not a SET") };
        let mut out = Vec::new();
        encode_set(&row, &stamp(), &mut out);
        assert_eq!(set_line_bytes(&row), out.len() as u64);
        assert_eq!(String::from_utf8(out).unwrap(), line);
    }

    #[test]
    fn a_delete_needs_nothing_but_the_id_and_any_id_survives() {
        let mut out = Vec::new();
        encode_delete(ItemType::Session, "a\"\n\u{2028}é", &stamp(), &mut out);
        let Line::Delete(ItemType::Session, id) = parse(&out).unwrap() else { panic!("not a DEL") };
        assert_eq!(id, "a\"\n\u{2028}é");
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    #[test]
    fn the_moment_of_writing_is_found_where_it_always_stands() {
        let mut out = Vec::new();
        encode_delete(ItemType::Session, "a", &stamp(), &mut out);
        assert_eq!(created_at(&out), Some("2026-11-21T00:04:13.182262123+00:00"));
        let recorded = include_str!("../../tests/fixtures/marshal-0.9.0/events.jsonl");
        // An outsider's line is among them, which says nothing of it.
        let silent = recorded.lines().filter(|line| created_at(line.as_bytes()).is_none()).count();
        assert_eq!(silent, recorded.lines().filter(|line| !line.contains(r#""createdAt":"20"#)).count());
        for line in ["", "garbage", r#"{"item":{"id":"a"},"changeType":"SET","itemType":"Session"}"#] {
            assert_eq!(created_at(line.as_bytes()), None);
        }
    }

    #[test]
    fn short_lines_of_outsiders_are_read() {
        let line = br#"{"item":{"id":"ext-1","pid":7,"cwd":"/ext"},"changeType":"SET","itemType":"Session"}"#;
        assert!(matches!(parse(line).unwrap(), Line::Set(Row::Session(_))));
        assert!(matches!(parse(b" \r\n").unwrap(), Line::Blank));
    }

    // row 32
    #[test]
    fn a_mark_that_an_editor_put_before_a_line_costs_no_row() {
        let line = "\u{feff}{\"item\":{\"id\":\"s\"},\"changeType\":\"SET\",\"itemType\":\"Session\"}";
        assert!(
            matches!(parse(line.as_bytes()).unwrap(), Line::Set(Row::Session(read)) if read.row.id.as_str() == "s")
        );
        let line = "\u{feff}{\"item\":{\"id\":\"e\"},\"changeType\":\"DEL\",\"itemType\":\"Session\"}";
        assert!(matches!(parse(line.as_bytes()).unwrap(), Line::Delete(ItemType::Session, id) if id == "e"));
        assert!(matches!(parse("\u{feff}\n".as_bytes()).unwrap(), Line::Blank));
    }

    #[test]
    fn an_unknown_type_is_not_damage_and_damage_is_not_an_unknown_type() {
        let future = br#"{"item":{"id":"x"},"changeType":"SET","itemType":"Lease"}"#;
        assert!(matches!(parse(future).unwrap(), Line::Foreign(item_type) if item_type == "Lease"));
        let damaged: [&[u8]; 6] = [
            b"garbage",
            br#"{"item":{"id":"torn"{"item""#,
            br#"{"item":{"id":1},"changeType":"SET","itemType":"Session"}"#,
            br#"{"item":{"nickname":"x"},"changeType":"DEL","itemType":"Session"}"#,
            br#"{"item":{"id":"x"},"changeType":"PUT","itemType":"Session"}"#,
            b"{\"item\":{\"id\":\"\xff\"},\"changeType\":\"SET\",\"itemType\":\"Session\"}",
        ];
        for line in damaged {
            assert!(parse(line).is_err(), "{:?}", String::from_utf8_lossy(line));
        }
    }
}

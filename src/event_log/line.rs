//! One line of the log: written from a change, read into an event. It must not lose what it does not understand: an
//! item type of a future version is told apart from damage.

use super::key::LogKey;
use super::usual;
use crate::bom;
use crate::model::{ItemType, Row};
use crate::roster::{At, Change};
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
    /// By which the lines are known again.
    pub key: LogKey,
}

/// Appends the line of a change to `out`, newline included.
pub fn encode_change(change: &Change, stamp: &Stamp, out: &mut Vec<u8>) {
    match &change.after {
        Some((row, seq)) => encode_set(row, *seq, stamp, out),
        None => encode_delete(change.item_type(), change.id(), stamp, out),
    }
}

/// Appends the line that says that `row` is there, with its place in the order of rows.
pub fn encode_set(row: &Row, seq: u64, stamp: &Stamp, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(br#"{"item":"#);
    add_row(row, out);
    end_event("SET", row.item_type(), stamp, out);
    // Writing into a Vec cannot fail.
    let _ = write!(out, r#","seq":{seq}"#);
    sign(start, &stamp.key, out);
}

/// Bytes of a line around its item, its type and its place, with ids and times of the usual length.
const ENVELOPE_BYTES: usize = 219;

/// Bytes of the line that says that `row` is there, newline included, to a few.
pub fn set_line_bytes(row: &Row, seq: u64) -> u64 {
    let digits = seq.checked_ilog10().map_or(1, |digits| digits as usize + 1);
    (row_text_bytes(row) + row.item_type().as_str().len() + digits + ENVELOPE_BYTES) as u64
}

/// Appends the line that says that a row is gone. Of the item only the id matters to any reader, so that nothing else
/// is repeated.
pub fn encode_delete(item_type: ItemType, id: &str, stamp: &Stamp, out: &mut Vec<u8>) {
    let (start, item) = (out.len(), serde_json::json!({ "id": id }));
    // Writing into a Vec cannot fail.
    let _ = write!(out, r#"{{"item":{item}"#);
    end_event("DEL", item_type, stamp, out);
    sign(start, &stamp.key, out);
}

/// What follows the item on every line, as marshal 0.9 has it. None of these texts holds what JSON escapes.
fn end_event(change_type: &str, item_type: ItemType, stamp: &Stamp, out: &mut Vec<u8>) {
    let Stamp { created_at, tx, source_id, .. } = stamp;
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
    out.push(b'"');
}

/// What stands before the check sum of a line, and how long a line is from there on.
const SUM_OPENS: &str = r#","sum":""#;
const SUM_BYTES: usize = SUM_OPENS.len() + 16 + r#""}"#.len();

/// Ends a line with the check sum of all that stands on it so far. Readers of the format, 0.9 included, pass over it.
fn sign(start: usize, key: &LogKey, out: &mut Vec<u8>) {
    let sum = key.sum(&out[start..]);
    // Writing into a Vec cannot fail.
    let _ = writeln!(out, "{SUM_OPENS}{sum:016x}\"}}");
}

/// Who wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// We did, by its check sum; with the place in the order of rows that it gives its row, if it does.
    Us(Option<u64>),
    /// Another program, or a marshal that had another key, or none.
    Other,
}

impl Author {
    /// Who wrote a line, which may have white space around it.
    pub(super) fn of(line: &[u8], key: &LogKey) -> Self {
        let line = line.trim_ascii();
        let Some((said, sum)) = line.split_at_checked(line.len().wrapping_sub(SUM_BYTES)) else { return Self::Other };
        let digits = sum.strip_prefix(SUM_OPENS.as_bytes()).and_then(|rest| rest.strip_suffix(br#""}"#));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let sum = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        if sum != Some(key.sum(said)) {
            return Self::Other;
        }
        Self::Us(seq(said))
    }

    /// Whether we wrote it.
    pub fn is_us(self) -> bool {
        self != Self::Other
    }
}

/// The places that lines give to their rows. A line of ours says it; any other puts a row that was not there behind all
/// rows so far. A daemon that goes on with a log, and one that starts with it, count in the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The last place in use.
    pub last: u64,
}

impl Places {
    /// The place of the row that a SET tells of. To be asked for each, also where it comes to nothing.
    pub fn next(&mut self, author: Author) -> At {
        match author {
            Author::Us(Some(seq)) => {
                self.last = self.last.max(seq);
                At::given(seq)
            }
            Author::Us(None) | Author::Other => {
                self.last = self.last.saturating_add(1);
                At::behind_all(self.last)
            }
        }
    }
}

/// The last place that some lines of ours give, without the first of them.
pub fn last_place(lines: &[u8], key: &LogKey) -> u64 {
    let seqs = lines.split(|byte| *byte == b'\n').skip(1).filter_map(|line| match Author::of(line, key) {
        Author::Us(seq) => seq,
        Author::Other => None,
    });
    seqs.max().unwrap_or_default()
}

/// The place at the end of a line without its check sum.
fn seq(said: &[u8]) -> Option<u64> {
    let digits = said.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (rest, digits) = said.split_at(said.len() - digits);
    rest.ends_with(br#","seq":"#).then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
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
        None => read_any(text, check_row),
    }
}

/// As [`read`], but of a line that we wrote, which is whole, no more is looked at than of which row it is.
pub(super) fn read_key(line: &[u8], author: Author) -> Result<Event<'_>, String> {
    if !author.is_us() {
        return read(line);
    }
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?.trim();
    match usual::read(text) {
        Some(event) => Ok(event),
        None => read_any(text, |_, item| id_of(item)),
    }
}

fn id_of(item: &str) -> Result<Text<'_>, String> {
    serde_json::from_str(item).map(|item: IdOnly<'_>| item.id).map_err(|error| error.to_string())
}

/// When a line was written, as its text has it; none for a line of another form than ours and marshal 0.9's. It looks
/// at one place alone, since a start asks it of every line.
pub(super) fn created_at(line: &[u8]) -> Option<&str> {
    const BEHIND: usize = r#"","tx":"","sourceId":"""#.len() + 2 * UUID_BYTES;
    let end = end_of_event(line.trim_ascii_end())?.checked_sub(BEHIND)?;
    let start = end.checked_sub(CREATED_AT_BYTES)?;
    let text = std::str::from_utf8(line.get(start..end)?).ok()?;
    let key = r#","createdAt":""#;
    let is_it = line[..start].ends_with(key.as_bytes()) && line[end..].starts_with(br#"","tx":""#);
    (is_it && text.ends_with("+00:00")).then_some(text)
}

/// Where a line ends but for what marshal 0.9 does not know and its last brace.
fn end_of_event(line: &[u8]) -> Option<usize> {
    let Some(said) = line.len().checked_sub(SUM_BYTES).filter(|at| line[*at..].starts_with(SUM_OPENS.as_bytes()))
    else {
        return line.len().checked_sub(1);
    };
    let digits = line[..said].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let seq = br#","seq":"#;
    let rest = &line[..said - digits];
    Some(rest.strip_suffix(seq).map_or(said, <[u8]>::len))
}

/// Bytes of an id as we make it, and of a moment to the nanosecond.
const UUID_BYTES: usize = 36;
const CREATED_AT_BYTES: usize = "2026-11-21T00:04:13.182262123+00:00".len();

/// Reads a line of any form that JSON allows. `check` finds the id of an item of a type, or what is wrong with it.
fn read_any<'a>(
    text: &'a str,
    check: impl FnOnce(ItemType, &'a str) -> Result<Text<'a>, String>,
) -> Result<Event<'a>, String> {
    if text.is_empty() {
        return Ok(Event::Blank);
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Some(item_type) = ItemType::parse(&envelope.item_type.0) else {
        return Ok(Event::Foreign(envelope.item_type));
    };
    let item = envelope.item.get();
    match &*envelope.change_type.0 {
        "SET" => check(item_type, item).map(|id| Event::Set(item_type, id, item)),
        "DEL" => id_of(item).map(|id| Event::Delete(item_type, id)),
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
            key: LogKey::of([1; 16]),
        }
    }

    #[test]
    fn a_set_is_written_to_the_letter_as_marshal_0_9_did() {
        let line = concat!(
            r#"{"item":{"id":"everyone::a","joinedAt":1795219453183,"roomId":"everyone","sessionId":"a"},"#,
            r#""changeType":"SET","itemType":"RoomMember","createdAt":"2026-11-21T00:04:13.182262123+00:00","#,
            r#""tx":"9ccc2305-57df-40ce-a8b7-2adaa4675271","sourceId":"a16f50bd-e0ec-473f-9e1a-e1c8eab281fe"}"#,
        );
        let Line::Set(row) = parse(line.as_bytes()).unwrap() else { panic!("not a SET") };
        for seq in [0, 7, 1 << 20, u64::MAX] {
            let mut out = Vec::new();
            encode_set(&row, seq, &stamp(), &mut out);
            assert_eq!(set_line_bytes(&row, seq), out.len() as u64);
            let text = String::from_utf8(out).unwrap();
            // What marshal 0.9 does not know stands behind all that it does.
            let (said, sum) = text.split_once(r#","sum":""#).unwrap();
            assert_eq!(said, format!(r#"{},"seq":{seq}"#, line.strip_suffix('}').unwrap()));
            assert_eq!(sum.len(), r#"0123456789abcdef"}"#.len() + 1);
        }
    }

    #[test]
    fn a_line_of_ours_is_known_again_wherever_it_stands_and_no_other_is() {
        // row 105
        let key = stamp().key;
        let (mut set, mut delete) = (Vec::new(), Vec::new());
        let Line::Set(row) = parse(br#"{"item":{"id":"s"},"changeType":"SET","itemType":"Session"}"#).unwrap() else {
            panic!()
        };
        encode_set(&row, 12, &stamp(), &mut set);
        encode_delete(ItemType::Session, "s", &stamp(), &mut delete);
        assert_eq!(Author::of(&set, &key), Author::Us(Some(12)));
        assert_eq!(Author::of(&delete, &key), Author::Us(None));
        let text = String::from_utf8(set).unwrap();
        assert_eq!(Author::of(format!(" {}\r\n", text.trim_end()).as_bytes(), &key), Author::Us(Some(12)));
        assert_eq!(Author::of(text.as_bytes(), &LogKey::of([2; 16])), Author::Other);
        for (at, byte) in text.trim_end().bytes().enumerate() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if byte == b'0' { b'1' } else { b'0' };
            assert_eq!(Author::of(&forged, &key), Author::Other, "{at}");
            assert_eq!(Author::of(&text.as_bytes()[..at], &key), Author::Other, "{at}");
        }
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

//! The walk over the usual line, held against reading the same line as JSON: whatever it accepts must be what JSON
//! says, and of what it does not accept it says nothing.

use super::*;
use crate::event_log::replay::Fold;
use crate::row_json::row_text;
use proptest::prelude::*;

/// Lines of every kind that marshal 0.9 and we write.
fn lines() -> Vec<String> {
    let recorded = include_str!("../../tests/fixtures/marshal-0.9.0/events.jsonl");
    let mut lines: Vec<String> = recorded.lines().map(str::to_owned).collect();
    lines.truncate(40);
    let items = [
        r#"{"activity":"busy","channelsEnabled":true,"clientId":"c","connectedAt":1,"currentTask":"t","cwd":"/","gitBranch":"b","hooks":true,"host":{"arch":"a","name":"n","os":"o"},"id":"s","kind":"bg","lastActivityAt":0,"lastTool":"t","lastToolAt":2,"nickname":"n","operator":"o","pid":7,"project":"p","sessionName":"n"}"#,
        r#"{"body":"a\n\"b\" \u00e9","fromNick":"a","fromSessionId":"s","id":"m","readAt":5,"sentAt":4,"toNick":"b","toSessionId":"t"}"#,
        r#"{"body":"x","fromNick":"a","fromSessionId":"s","id":"m","sentAt":4,"toNick":"b","toRoomId":"r"}"#,
        r#"{"body":"}é","fromSessionId":"s","id":"m","sentAt":4,"toSessionId":"b"}"#,
        r#"{"id":"m::s","messageId":"m","readAt":5,"sessionId":"s"}"#,
        r#"{"id":"r::s","joinedAt":5,"roomId":"r","sessionId":"s"}"#,
        r#"{"createdAt":1,"id":"r","kind":{"kind":"auto","source":{"anchor":"moon"}},"name":"r"}"#,
        r#"{"id":"s"}"#,
    ];
    for (item, item_type) in items.iter().flat_map(|item| ItemType::ALL.map(|item_type| (item, item_type))) {
        for change_type in ["SET", "DEL"] {
            let ending = r#""createdAt":"2026-11-21T00:04:13.182262123+00:00","tx":"x","sourceId":"y""#;
            let ours = if change_type == "SET" { r#","seq":12,"sum":"0123456789abcdef""# } else { "" };
            let item_type = item_type.as_str();
            lines.push(format!(
                r#"{{"item":{item},"changeType":"{change_type}","itemType":"{item_type}",{ending}{ours}}}"#
            ));
        }
    }
    lines
}

/// What reading as JSON says.
fn as_json(text: &str) -> Result<Event<'_>, String> {
    read_any(text.trim(), check_row)
}

fn agree(line: &str) {
    let (usual, json) = (usual::read(line.trim()), as_json(line));
    if let Some(event) = &usual {
        assert_eq!(Ok(event), json.as_ref(), "{line}");
    }
    assert_eq!(read(line.as_bytes()), json, "{line}");
    if let Ok(Event::Set(item_type, id, item)) = &json {
        let row = parse_row(*item_type, item).unwrap_or_else(|error| panic!("checked and not a row: {error}: {line}"));
        assert_eq!(row.id(), id.0);
        let mut written = Vec::new();
        add_row(&row, &mut written);
        assert_eq!(String::from_utf8(written).unwrap(), *row_text(&row));
        assert_eq!(row_text_bytes(&row), row_text(&row).len());
    }
}

#[test]
fn nearly_all_lines_that_are_written_have_the_usual_form() {
    let recorded = include_str!("../../tests/fixtures/marshal-0.9.0/events.jsonl");
    let usual = recorded.lines().filter(|line| usual::read(line).is_some()).count();
    assert_eq!(usual, recorded.lines().count());
    // And the lines by which the tests below hold the walk against JSON do take that way.
    let walked = lines().iter().filter(|line| usual::read(line).is_some()).count();
    assert!(walked > 50, "{walked} of {}", lines().len());
}

#[test]
fn the_walk_agrees_with_json_on_every_line_cut_short_at_every_byte() {
    for line in lines() {
        agree(&line);
        for end in (0..line.len()).filter(|end| line.is_char_boundary(*end)) {
            agree(&line[..end]);
            agree(&format!("{}}}", &line[..end]));
        }
    }
}

#[test]
fn the_walk_agrees_with_json_on_every_line_with_one_byte_changed_left_out_or_put_in() {
    let bytes = [b'"', b'\\', b'{', b'}', b',', b':', b'0', b'9', b'-', b'.', b'e', b'[', b' ', b'\t', 0, 0x7f, b'n'];
    for line in lines().into_iter().skip(30) {
        for at in (0..line.len()).filter(|at| line.is_char_boundary(*at) && line.is_char_boundary(at + 1)) {
            for byte in bytes {
                let byte = char::from(byte);
                agree(&format!("{}{byte}{}", &line[..at], &line[at + 1..]));
                agree(&format!("{}{byte}{}", &line[..at], &line[at..]));
            }
            agree(&format!("{}{}", &line[..at], &line[at + 1..]));
        }
    }
}

#[test]
fn the_walk_agrees_with_json_on_what_looks_usual_and_is_not() {
    let line =
        |item: &str, item_type: &str| format!(r#"{{"item":{item},"changeType":"SET","itemType":"{item_type}"}}"#);
    let cases = [
        (r#"{"id":"a","pid":4294967296}"#, "Session"),
        (r#"{"id":"a","pid":999999999}"#, "Session"),
        (r#"{"id":"a","pid":01}"#, "Session"),
        (r#"{"id":"a","pid":-1}"#, "Session"),
        (r#"{"id":"a","pid":1.0}"#, "Session"),
        (r#"{"connectedAt":9223372036854775808,"id":"a"}"#, "Session"),
        (r#"{"connectedAt":9223372036854775807,"id":"a"}"#, "Session"),
        (r#"{"connectedAt":-5,"id":"a"}"#, "Session"),
        (r#"{"id":"a","id":"b"}"#, "Session"),
        (r#"{"id":"a","cwd":"/","pid":1}"#, "Session"),
        (r#"{"id":"a","nickname":null}"#, "Session"),
        (r#"{"id":"a",}"#, "Session"),
        (r#"{}"#, "Session"),
        (r#"{"id":"a","future":{"id":[{}]}}"#, "Session"),
        (r#"{"host":{"arch":"a","name":"n"},"id":"a"}"#, "Session"),
        (r#"{"host":{"os":"o","arch":"a","name":"n"},"id":"a"}"#, "Session"),
        (r#"{"hooks":tru,"id":"a"}"#, "Session"),
        (r#"{"id":"a\u0062","pid":1}"#, "Session"),
        (r#"{"id":"a"},"x":{"y":1}"#, "Session"),
        (r#"{"id":"a"},"changeType":"DEL","x":{"y":1}"#, "Session"),
        (r#"["a"]"#, "Session"),
        (r#"{"id":"a","joinedAt":1,"roomId":"r"}"#, "RoomMember"),
        (r#"{"id":"a","readAt":1,"sessionId":"r"}"#, "MessageRead"),
        (r#"{"body":"b","fromSessionId":"f","id":"m","sentAt":1,"toRoomId":"r","toSessionId":"s"}"#, "Message"),
        (r#"{"body":"b","fromSessionId":"f","id":"m","sentAt":1}"#, "Message"),
        (r#"{"id":"a"}"#, "Lease"),
    ];
    for (item, item_type) in cases {
        agree(&line(item, item_type));
    }
    let set = r#"{"item":{"id":"a"},"changeType":"SET","itemType":"Session""#;
    for ending in [
        r#","createdAt":"x"}"#,
        r#","tx":"x"}"#,
        r#","createdAt":"x","sourceId":"y"}"#,
        r#","createdAt":"x","tx":"y","sourceId":null}"#,
        r#","createdAt":"x","tx":"y","sourceId":"z","more":1}"#,
        r#","tx":"x","tx":"y"}"#,
        r#","item":{"id":"b"}}"#,
        r#","itemType":"Room"}"#,
        r#","createdAt":"x\q"}"#,
        r#","seq":1}"#,
        r#","sum":"x"}"#,
        r#","seq":01,"sum":"x"}"#,
        r#","seq":18446744073709551616,"sum":"x"}"#,
        r#","seq":184467440737095516160,"sum":"x"}"#,
        r#","seq":-1,"sum":"x"}"#,
        r#","seq":1,"sum":"x","sum":"y"}"#,
        r#","seq":"1","sum":1}"#,
        r#","createdAt":"x}"}"#,
        "}}",
        "",
    ] {
        agree(&format!("{set}{ending}"));
    }
}

struct Naive {
    rows: Vec<String>,
    damage: Vec<(u64, String)>,
    foreign: u64,
    live_bytes: u64,
}

/// The old way of folding, kept as the measure: every row built from every line, the last one in its first place.
fn naive(log: &[u8]) -> Naive {
    let mut rows: Vec<(ItemType, String, String, u64)> = Vec::new();
    let mut naive = Naive { rows: Vec::new(), damage: Vec::new(), foreign: 0, live_bytes: 0 };
    for (number, line) in (1..).zip(log.split_inclusive(|byte| *byte == b'\n')) {
        let bytes = line.len() as u64;
        let event = std::str::from_utf8(line).map_err(|error| error.to_string()).and_then(as_json);
        match event {
            Ok(Event::Blank) => {}
            Ok(Event::Foreign(_)) => {
                naive.foreign += 1;
                naive.live_bytes += bytes;
            }
            Ok(Event::Set(item_type, id, item)) => {
                match rows.iter().position(|row| row.0 == item_type && row.1 == id.0) {
                    Some(at) => (rows[at].2, rows[at].3) = (item.to_owned(), bytes),
                    None => rows.push((item_type, id.0.to_string(), item.to_owned(), bytes)),
                }
            }
            Ok(Event::Delete(item_type, id)) => rows.retain(|row| row.0 != item_type || row.1 != id.0),
            Err(reason) => naive.damage.push((number, reason)),
        }
    }
    naive.live_bytes += rows.iter().map(|row| row.3).sum::<u64>();
    naive.rows = rows.iter().map(|row| row_text(&parse_row(row.0, &row.2).unwrap()).to_string()).collect();
    naive
}

fn any_line() -> impl Strategy<Value = String> {
    let id = prop_oneof![Just("a"), Just("b"), Just("c"), Just(r"\u0061")];
    let item = (id, any::<u16>(), 0..8_u8).prop_map(|(id, number, form)| match form {
        0 => format!(r#"{{"pid":{number},"future":[],"id":"{id}"}}"#),
        1 => format!(r#"{{"id":"{id}","joinedAt":{number},"roomId":"r","sessionId":"s"}}"#),
        2 => format!(
            r#"{{"body":"{}","fromSessionId":"s","id":"{id}","sentAt":{number},"toSessionId":"s"}}"#,
            "x".repeat(usize::from(number) / 16)
        ),
        3 => format!(r#"{{"id":"{id}","messageId":"m","readAt":{number},"sessionId":"s"}}"#),
        4 => format!(r#"{{"createdAt":{number},"id":"{id}","kind":{{"kind":"adhoc"}},"name":"r"}}"#),
        5 => format!(r#"{{"id":"{id}""#),
        6 => format!(r#"{{"id":"{id}"}}"#),
        _ => format!(r#"{{"id":"{id}","nickname":"n\n","pid":{number}}}"#),
    });
    let item_type = prop_oneof![4 => Just("Session"), 2 => Just("Message"), 1 => Just("MessageRead"), 1 => Just("RoomMember"), 1 => Just("Room"), 1 => Just("Lease")];
    let change_type = prop_oneof![4 => Just("SET"), 2 => Just("DEL"), 1 => Just("PUT")];
    let line = (item, change_type, item_type, any::<bool>()).prop_map(|(item, change_type, item_type, turned)| {
        if turned {
            format!(r#"{{"itemType":"{item_type}","changeType":"{change_type}", "item":{item}}}"#)
        } else {
            format!(r#"{{"item":{item},"changeType":"{change_type}","itemType":"{item_type}","tx":"t"}}"#)
        }
    });
    prop_oneof![12 => line, 1 => Just(String::new()), 1 => Just("  \r".to_owned()), 1 => Just("garbage".to_owned())]
}

proptest! {
    #[test]
    fn a_fold_is_what_folding_line_by_line_gives(lines in proptest::collection::vec(any_line(), 0..60), finished in any::<bool>()) {
        let mut log = lines.join("\n");
        if finished { log.push('\n'); }
        let naive = naive(log.as_bytes());
        {
            let fold = Fold::read(log.as_bytes(), &LogKey::of([1; 16])).unwrap();
            prop_assert_eq!((fold.foreign, fold.live_bytes, fold.bytes), (naive.foreign, naive.live_bytes, log.len() as u64));
            prop_assert_eq!(fold.damage.lines, naive.damage.len() as u64);
            prop_assert_eq!(&fold.damage.named[..], &naive.damage[..naive.damage.len().min(fold.damage.named.len())]);
            let found: Vec<String> = fold.into_rows().iter().map(|row| row_text(row).to_string()).collect();
            prop_assert_eq!(&found, &naive.rows);
        }
    }
}

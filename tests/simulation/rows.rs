//! Rows as text that can be compared, and the lines of a log as anybody would read them. It uses a plain JSON parser,
//! so that it does not believe what the product's own reader says.

use marshal::model::{Doing, ItemType, Row, Session};
use marshal::row_json::{row_text, session_text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is told of a session without being written to the log at once, and what outsiders add for fun.
const NOT_COMPARED: [&str; 5] = ["lastActivityAt", "lastTool", "lastToolAt", "hears", "future"];

/// What a line says of a row: its text, or that it is gone.
pub type Said = Option<Arc<str>>;

pub fn place(item_type: ItemType) -> usize {
    ItemType::ALL.iter().position(|other| *other == item_type).unwrap()
}

/// The text of a row without its signs of life.
pub fn text_of(row: &Row) -> Arc<str> {
    match row {
        Row::Session(stored) => {
            let doing = Doing::default();
            let row =
                Session { last_activity_at: None, last_tool: None, last_tool_at: None, doing, ..stored.row.clone() };
            Arc::from(session_text(&row))
        }
        _ => row_text(row),
    }
}

/// The same of a row that comes as JSON: its id, and its text.
pub fn text_of_json(item: &Value) -> (String, Arc<str>) {
    let mut item = item.clone();
    let fields = item.as_object_mut().unwrap();
    for name in NOT_COMPARED {
        fields.remove(name);
    }
    (item["id"].as_str().unwrap().to_owned(), Arc::from(item.to_string()))
}

/// A value, or several, for each row.
#[derive(Clone, Debug, Default)]
pub struct ByRow<V>(pub [BTreeMap<String, V>; ItemType::ALL.len()]);

impl<V> ByRow<V> {
    pub fn get(&self, item_type: ItemType, id: &str) -> Option<&V> {
        self.0[place(item_type)].get(id)
    }

    pub fn of(&mut self, item_type: ItemType) -> &mut BTreeMap<String, V> {
        &mut self.0[place(item_type)]
    }
}

/// One line of a log.
pub enum LogLine {
    Blank,
    Event(ItemType, String, Said),
    Foreign,
    Malformed,
}

pub fn read_line(line: &[u8]) -> LogLine {
    if line.iter().all(u8::is_ascii_whitespace) {
        return LogLine::Blank;
    }
    let Ok(event) = serde_json::from_slice::<Value>(line) else { return LogLine::Malformed };
    let (Some(name), Some(change)) = (event["itemType"].as_str(), event["changeType"].as_str()) else {
        return LogLine::Malformed;
    };
    let Some(item_type) = ItemType::parse(name) else { return LogLine::Foreign };
    match (change, event["item"]["id"].as_str()) {
        ("SET", Some(_)) => {
            let (id, text) = text_of_json(&event["item"]);
            LogLine::Event(item_type, id, Some(text))
        }
        ("DEL", Some(id)) => LogLine::Event(item_type, id.to_owned(), None),
        _ => LogLine::Malformed,
    }
}

pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

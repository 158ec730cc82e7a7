//! What a history is judged by, as the checker looks it up: the calls with how each ended, and what the log holds of each
//! row. It judges nothing.

use crate::record::{Call, Event, Record};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// How a call ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End<'a> {
    Ok {
        message: Option<&'a str>,
        recipients: &'a [String],
    },
    Refused,
    /// The daemon died over it, or the history ends before it does.
    Unknown,
}

#[derive(Debug)]
pub struct Op<'a> {
    pub client: &'a str,
    pub call: &'a Call,
    pub begun: u64,
    pub ended: u64,
    pub end: End<'a>,
}

impl Op<'_> {
    pub fn is_ok(&self) -> bool {
        matches!(self.end, End::Ok { .. })
    }

    pub fn may_be_done(&self) -> bool {
        self.end != End::Refused
    }
}

/// The last event of each row, and where the row first appeared.
#[derive(Debug, Default)]
pub struct Log {
    pub rows: BTreeMap<(String, String), (usize, Value)>,
}

impl Log {
    pub fn read(bytes: &[u8]) -> Self {
        let mut log = Self::default();
        for (place, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            // What somebody's garbage has damaged is not there; whether it had to be is judged by the history.
            let Ok(mut event) = serde_json::from_slice::<Value>(line) else { continue };
            let (Some(item_type), Some(id)) = (event["itemType"].as_str(), event["item"]["id"].as_str()) else {
                continue;
            };
            let key = (item_type.to_owned(), id.to_owned());
            match event["changeType"].as_str() {
                Some("SET") => {
                    let place = log.rows.get(&key).map_or(place, |(first, _)| *first);
                    log.rows.insert(key, (place, event["item"].take()));
                }
                Some("DEL") => drop(log.rows.remove(&key)),
                _ => {}
            }
        }
        log
    }

    pub fn row(&self, item_type: &str, id: &str) -> Option<&Value> {
        self.rows.get(&(item_type.to_owned(), id.to_owned())).map(|(_, row)| row)
    }

    pub fn of<'a>(&'a self, item_type: &'a str) -> impl Iterator<Item = (&'a str, usize, &'a Value)> {
        let rows = self.rows.iter().filter(move |((found, _), _)| found == item_type);
        rows.map(|((_, id), (place, row))| (id.as_str(), *place, row))
    }
}

pub fn ops(records: &[Record]) -> Vec<Op<'_>> {
    let (mut ops, mut index) = (Vec::new(), HashMap::new());
    for record in records {
        match &record.event {
            Event::Invoke { op, call } => {
                index.insert(*op, ops.len());
                ops.push(Op { client: &record.client, call, begun: record.at, ended: u64::MAX, end: End::Unknown });
            }
            Event::Ok { op, message, recipients } => {
                let op: &mut Op<'_> = &mut ops[index[op]];
                op.end = End::Ok { message: message.as_deref(), recipients };
                op.ended = record.at;
            }
            Event::Refused { op, .. } => {
                let op = &mut ops[index[op]];
                op.end = End::Refused;
                op.ended = record.at;
            }
            _ => {}
        }
    }
    ops
}

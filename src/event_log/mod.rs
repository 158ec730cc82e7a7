//! The append-only log: one JSON event per line, in marshal 0.9's format (`{item,changeType,itemType,createdAt,tx,
//! sourceId}`), where the last event of each item type and id wins. This module knows lines, files and the state
//! directory; it must not know who asks or what follows from an event.

pub mod file;
pub mod line;
pub mod lock;
mod pool;
pub mod replay;
pub mod state_dir;
mod usual;

/// The log's name in the state directory.
pub const LOG_NAME: &str = "events.jsonl";

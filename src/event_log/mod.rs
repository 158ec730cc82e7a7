//! The append-only log: one JSON event per line, in marshal 0.9's format (`{item,changeType,itemType,createdAt,tx,
//! sourceId}`), where the last event of each item type and id wins. This module knows lines, files and the state
//! directory; it must not know who asks or what follows from an event.

pub mod disk;
pub mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod index;
pub mod key;
pub mod line;
pub mod lock;
mod pool;
pub mod real_disk;
pub mod recover;
pub mod replay;
pub mod rewrite;
pub mod state_dir;
pub mod survey;
mod usual;

/// The log's name in the state directory.
pub const LOG_NAME: &str = "events.jsonl";

/// A file whose presence says that the log must be written anew before it is believed.
pub const SUSPECT_NAME: &str = "events.jsonl.suspect";
/// A log that is being written to take the log's place; without meaning until it does.
pub const NEW_NAME: &str = "events.jsonl.new";
/// A file that is written to see whether there is room for more; without meaning, and removed at once.
pub const PROBE_NAME: &str = "events.jsonl.probe";
/// Where lines of the log go that cannot be read, when it is written anew.
pub const MALFORMED_NAME: &str = "events.jsonl.malformed";

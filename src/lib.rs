//! marshal: one small daemon that keeps the live roster of coding-agent sessions on a machine and routes messages
//! between them. This file is the list of the modules, each of which uses only those above it; ARCHITECTURE.md draws
//! the map, `tests/tidy.rs` enforces it.

// So that the unit tests can include files of `tests/support`, which know this library by its name.
#[cfg(test)]
extern crate self as marshal;

pub mod bom;
pub mod error;
pub mod ids;
pub mod limits;
pub mod log_pace;
pub mod log_queue;
pub mod text;
pub mod thread;
pub mod time;

pub mod attestation;
pub mod config;

pub mod model;
pub mod row_json;

pub mod api;
pub mod roster;

pub mod event_log;
pub mod machine_token;

pub mod store;

pub mod compactor;
pub mod gate;
pub mod git_branch;
pub mod http;
pub mod process;
pub mod sweeper;
pub mod transcript;
pub mod watcher;
pub mod ws;

pub mod daemon;

pub mod cli;

#[cfg(test)]
#[path = "fuzz_corpus_tests.rs"]
mod fuzz_corpus;
#[cfg(test)]
#[path = "held_tests.rs"]
mod held;

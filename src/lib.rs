//! marshal: one small daemon that keeps the live roster of coding-agent sessions on a machine and routes messages
//! between them. This file is the list of the modules, each of which uses only those above it; ARCHITECTURE.md draws
//! the map, `tests/tidy.rs` enforces it.

pub mod error;
pub mod ids;
pub mod limits;
pub mod thread;
pub mod time;

pub mod model;
pub mod row_json;

pub mod roster;

pub mod config;

pub mod cli;

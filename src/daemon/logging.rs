//! The daemon's own log on stderr: one line per event, with a date, written in one piece. Whoever supervises the daemon
//! keeps and rotates it. It must never hold bodies of messages or secrets.

use log::LevelFilter;
use simplelog::{ConfigBuilder, ThreadLogMode, WriteLogger};
use std::io::LineWriter;

/// Starts logging. A second call changes nothing.
pub(super) fn start(level: LevelFilter) {
    let mut config = ConfigBuilder::new();
    config
        .set_time_format_rfc3339()
        .set_thread_level(LevelFilter::Error)
        .set_thread_mode(ThreadLogMode::Names)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .add_filter_allow_str("marshal");
    // simplelog writes a line in many small pieces; the LineWriter puts them together.
    let _ = WriteLogger::init(level, config.build(), LineWriter::with_capacity(64 * 1024, std::io::stderr()));
}

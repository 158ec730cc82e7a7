//! The daemon's own log on stderr: one line per event, with a date, written in one piece. Whoever supervises the daemon
//! keeps and rotates it. It must never hold bodies of messages or secrets.

use crate::error::{Fatal, exit_code};
use crate::limits::LOG_FLUSH_DEADLINE;
use crate::log_queue::{self, LineWriter, LogQueue};
use crate::thread::Exit;
use crossbeam_channel::Sender;
use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, ThreadLogMode, WriteLogger};

/// Formats lines and puts them into the queue.
struct Logger {
    formatter: Box<WriteLogger<LineWriter>>,
    queue: LogQueue,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.formatter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Made before the formatter takes its lock, since a panic in `Display` is logged too. An event is one line.
        let text = record.args().to_string().replace('\n', " ");
        let mut copy = Record::builder();
        copy.metadata(record.metadata().clone()).module_path(record.module_path());
        self.formatter.log(&copy.args(format_args!("{text}")).build());
    }

    /// Gives the lines so far a moment to leave.
    fn flush(&self) {
        self.queue.flush(LOG_FLUSH_DEADLINE);
    }
}

/// Starts logging. A second call changes nothing.
///
/// # Errors
/// Fatal: the system gives no thread.
pub(super) fn start(level: LevelFilter, exits: &Sender<Exit>) -> Result<LogQueue, Fatal> {
    let mut config = ConfigBuilder::new();
    config
        .set_time_format_rfc3339()
        .set_thread_level(LevelFilter::Error)
        .set_thread_mode(ThreadLogMode::Names)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .add_filter_allow_str("marshal");
    let queue = log_queue::start(exits)
        .map_err(|error| Fatal::new(exit_code::OS, format!("the system gives no thread: {error}")))?;
    let formatter = WriteLogger::new(level, config.build(), queue.writer());
    if log::set_boxed_logger(Box::new(Logger { formatter, queue: queue.clone() })).is_ok() {
        log::set_max_level(level);
    }
    Ok(queue)
}

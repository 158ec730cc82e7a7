//! Paces the lines of the daemon's own log that a caller or an outsider can cause: one line in a while for each reason, so
//! that a flood of them fills no disk. It must never be given bodies, queries or header values.

use crate::limits::LOG_LINE_EVERY;
use log::Level;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The pace of the lines for one reason, shared by all threads.
#[derive(Debug, Default)]
pub struct Pace {
    /// Milliseconds at the last line, since the first line of all, and 1 more; 0 before it.
    last: AtomicU64,
    /// Lines left out since then.
    left_out: AtomicU64,
}

impl Pace {
    /// A pace that lets the next line through.
    pub const fn new() -> Self {
        Self { last: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Logs a warning, or counts it for a later one. The text is made only if it is logged.
    pub fn warn(&self, text: impl FnOnce() -> String) {
        self.log(Level::Warn, text);
    }

    /// Logs an error in the same way.
    pub fn error(&self, text: impl FnOnce() -> String) {
        self.log(Level::Error, text);
    }

    /// Logs a line of any level in the same way. A line that is left out still shows at the level `debug`.
    pub fn log(&self, level: Level, text: impl FnOnce() -> String) {
        static START: OnceLock<Instant> = OnceLock::new();
        let now_ms = START.get_or_init(Instant::now).elapsed().as_millis();
        match self.turn(u64::try_from(now_ms).unwrap_or(u64::MAX - 1)) {
            Some(0) => log::log!(level, "{}", text()),
            Some(more) => log::log!(level, "{} ({more} more since the last such line)", text()),
            None => log::debug!("{}", text()),
        }
    }

    /// Decides whether a line may be logged now. If so, says how many were left out since the last one.
    fn turn(&self, now_ms: u64) -> Option<u64> {
        let last = self.last.load(Ordering::Relaxed);
        let is_due = last == 0 || now_ms + 1 >= last + u64::try_from(LOG_LINE_EVERY.as_millis()).unwrap_or(u64::MAX);
        // Of two threads at the same moment one logs.
        let swap = || self.last.compare_exchange(last, now_ms + 1, Ordering::Relaxed, Ordering::Relaxed);
        if is_due && swap().is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // row 41
    #[test]
    fn one_line_in_a_while_counts_the_others() {
        let (pace, every) = (Pace::new(), u64::try_from(LOG_LINE_EVERY.as_millis()).unwrap());
        assert_eq!(pace.turn(0), Some(0));
        assert_eq!(pace.turn(0), None);
        assert_eq!(pace.turn(every / 2), None);
        assert_eq!(pace.turn(every), Some(2));
        assert_eq!(pace.turn(2 * every - 1), None);
        assert_eq!(pace.turn(2 * every), Some(1));
        assert_eq!(pace.turn(4 * every), Some(0));
    }
}

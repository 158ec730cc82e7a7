//! Tells in the daemon's log who was not let in, at most one line in a while, so that a flood of refusals cannot
//! fill a disk. It must never be given bodies, queries or header values.

use crate::limits;
use std::time::Instant;

/// The pace of lines about refusals.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    last: Option<Instant>,
    suppressed: u64,
}

impl RefusalLog {
    /// Logs, or counts for a later line. The text is made only if it is logged.
    pub(super) fn say(&mut self, now: Instant, text: impl FnOnce() -> String) {
        if let Some(suppressed) = self.turn(now) {
            match suppressed {
                0 => log::warn!("{}", text()),
                more => log::warn!("{} ({more} more since the last such line)", text()),
            }
        }
    }

    /// Whether a line may be logged now, and how many were not since the last one.
    fn turn(&mut self, now: Instant) -> Option<u64> {
        let too_soon = |last: Instant| now.saturating_duration_since(last) < limits::REFUSAL_LOG_EVERY;
        if self.last.is_some_and(too_soon) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_while_counts_the_others() {
        let (mut log, start) = (RefusalLog::default(), Instant::now());
        assert_eq!(log.turn(start), Some(0));
        assert_eq!(log.turn(start), None);
        assert_eq!(log.turn(start + limits::REFUSAL_LOG_EVERY / 2), None);
        assert_eq!(log.turn(start + limits::REFUSAL_LOG_EVERY), Some(2));
        assert_eq!(log.turn(start + 2 * limits::REFUSAL_LOG_EVERY), Some(0));
    }
}

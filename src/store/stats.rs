//! What the store has done, counted by itself and copied out with each report.

use std::time::Duration;

/// Upper bounds of the commit-time histogram's buckets, in microseconds.
pub const COMMIT_BUCKETS_US: [u64; 10] = [100, 200, 400, 800, 1_600, 3_200, 6_400, 25_600, 102_400, 1_000_000];

/// Counters since the daemon began.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Commands applied.
    pub commands: u64,
    /// Batches written and synced.
    pub commits: u64,
    /// Batches that could not be written, and were undone.
    pub failed_commits: u64,
    /// Changes in the batches that were written.
    pub committed_changes: u64,
    /// Changes in the largest batch.
    pub largest_batch: usize,
    /// Commits by the time that they took; see [`COMMIT_BUCKETS_US`]. The last counts what took longer.
    pub commit_buckets: [u64; COMMIT_BUCKETS_US.len() + 1],
    /// Time of all commits together, in microseconds.
    pub commit_us_sum: u64,
    /// Events that somebody else wrote to the log.
    pub external_events: u64,
    /// Time of the last sweep, in microseconds, without its commit.
    pub sweep_us_last: u64,
    /// Time of the longest sweep, in microseconds.
    pub sweep_us_max: u64,
    /// Commands that were waiting after the last turn.
    pub depth: usize,
}

impl Stats {
    pub(super) fn note_commit(&mut self, took: Duration, changes: usize) {
        let us = micros(took);
        self.commits += 1;
        self.committed_changes += changes as u64;
        self.largest_batch = self.largest_batch.max(changes);
        self.commit_us_sum = self.commit_us_sum.saturating_add(us);
        let bucket = COMMIT_BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(COMMIT_BUCKETS_US.len());
        self.commit_buckets[bucket] += 1;
    }

    pub(super) fn note_sweep(&mut self, took: Duration) {
        self.sweep_us_last = micros(took);
        self.sweep_us_max = self.sweep_us_max.max(self.sweep_us_last);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

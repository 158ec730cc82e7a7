//! How often a sender may send: a bucket of turns for each, which time fills again. Pure arithmetic on given moments; it
//! must not know what is sent, and what it keeps is bounded whoever comes.

use crate::error::{ErrorKind, RequestError};
use crate::ids::SessionId;
use crate::limits::{SEND_BURST_MAX, SENDERS_PACED_MAX};
use crate::time::MonoMs;
use std::collections::HashMap;

/// Thousandths of a turn: what a rate of one a second gives in a millisecond.
const TURN: i64 = 1000;
/// What a full bucket holds.
const FULL: i64 = SEND_BURST_MAX as i64 * TURN;

/// What is left to a sender.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In thousandths of a turn, at that moment.
    left: i64,
    /// On the monotonic clock, in milliseconds.
    at: MonoMs,
}

impl Bucket {
    /// What is left by now.
    fn left(&self, now: MonoMs, per_second: i64) -> i64 {
        let since = (now - self.at).max(0);
        self.left.saturating_add(since.saturating_mul(per_second)).min(FULL)
    }
}

/// The pace of all senders.
#[derive(Debug, Default)]
pub(super) struct Paces {
    /// Turns that come back in a second; none means that there is no limit.
    per_second: Option<u32>,
    /// Those who have sent lately. Whoever is not here has a full bucket.
    buckets: HashMap<SessionId, Bucket>,
    /// The bucket of all who came when there was no room for another.
    others: Option<Bucket>,
}

impl Paces {
    /// Lets each sender send so often in a second from now on.
    pub(super) fn limit(&mut self, per_second: Option<u32>) {
        self.per_second = per_second;
    }

    /// Takes a turn of a sender.
    ///
    /// # Errors
    /// It has none left; the error says when it has one again.
    pub(super) fn take(&mut self, sender: &SessionId, now: MonoMs) -> Result<(), RequestError> {
        let Some(per_second) = self.per_second.map(i64::from) else { return Ok(()) };
        if self.buckets.len() >= SENDERS_PACED_MAX && !self.buckets.contains_key(sender) {
            self.sweep(now);
        }
        let known = self.buckets.get(sender).copied();
        let own = known.is_some() || self.buckets.len() < SENDERS_PACED_MAX;
        let bucket = if own { known } else { self.others };
        let left = bucket.map_or(FULL, |bucket| bucket.left(now, per_second));
        if left < TURN {
            return Err(too_often(TURN - left, per_second));
        }
        let bucket = Bucket { left: left - TURN, at: now };
        if own {
            self.buckets.insert(sender.clone(), bucket);
        } else {
            self.others = Some(bucket);
        }
        Ok(())
    }

    /// Forgets those whose buckets are full again.
    pub(super) fn sweep(&mut self, now: MonoMs) {
        let Some(per_second) = self.per_second.map(i64::from) else { return };
        self.buckets.retain(|_, bucket| bucket.left(now, per_second) < FULL);
        self.others = self.others.filter(|bucket| bucket.left(now, per_second) < FULL);
    }
}

fn too_often(missing: i64, per_second: i64) -> RequestError {
    // In milliseconds, rounded up, and then in seconds, rounded up.
    let wait_ms = (missing + per_second - 1) / per_second;
    let wait_s = u32::try_from((wait_ms + 999) / 1000).unwrap_or(u32::MAX).max(1);
    let message = format!(
        "you have sent {SEND_BURST_MAX} messages faster than {per_second} a second; try again in {wait_s} s, and say more in fewer messages"
    );
    RequestError { retry_after_s: Some(wait_s), ..RequestError::new(ErrorKind::RateLimited, message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> SessionId {
        SessionId::from(text)
    }

    fn limited(per_second: u32) -> Paces {
        Paces { per_second: Some(per_second), ..Paces::default() }
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let mut paces = limited(20);
        for _ in 0..SEND_BURST_MAX {
            paces.take(&id("a"), MonoMs(5000)).unwrap();
        }
        let refused = paces.take(&id("a"), MonoMs(5000)).unwrap_err();
        assert_eq!((refused.kind, refused.retry_after_s), (ErrorKind::RateLimited, Some(1)));
        paces.take(&id("b"), MonoMs(5000)).unwrap();
        paces.take(&id("a"), MonoMs(5049)).unwrap_err();
        paces.take(&id("a"), MonoMs(5050)).unwrap();
        paces.take(&id("a"), MonoMs(5050)).unwrap_err();
        let turns = (0..10_000).filter(|ms| paces.take(&id("a"), MonoMs(5050 + ms)).is_ok()).count();
        assert_eq!(turns, 199, "twenty a second in ten seconds, the last of which is not over");
        // A clock that stands still or goes back gives nothing and takes nothing.
        paces.take(&id("a"), MonoMs(0)).unwrap_err();
    }

    #[test]
    fn what_is_told_of_waiting_is_so() {
        for per_second in [1, 2, 7, 20, 5000] {
            let mut paces = limited(per_second);
            while paces.take(&id("a"), MonoMs(0)).is_ok() {}
            for passed_ms in 0..1000 / i64::from(per_second) {
                let wait = paces.take(&id("a"), MonoMs(passed_ms)).unwrap_err().retry_after_s.unwrap();
                let mut later = Paces { buckets: paces.buckets.clone(), ..limited(per_second) };
                later.take(&id("a"), MonoMs(passed_ms + i64::from(wait) * 1000)).unwrap();
                assert_eq!(wait, 1, "a whole turn comes back within a second");
            }
        }
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let mut paces = Paces::default();
        for _ in 0..10_000 {
            paces.take(&id("a"), MonoMs(0)).unwrap();
        }
        assert!(paces.buckets.is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded_and_forgotten() {
        let mut paces = limited(1);
        for number in 0..SENDERS_PACED_MAX {
            paces.take(&id(&format!("human:{number}")), MonoMs(0)).unwrap();
        }
        // Who comes under ever new names shares one bucket with all who do.
        let turns =
            (0..1000).filter(|number| paces.take(&id(&format!("human:new-{number}")), MonoMs(0)).is_ok()).count();
        assert_eq!((turns, paces.buckets.len()), (SEND_BURST_MAX as usize, SENDERS_PACED_MAX));
        paces.take(&id("human:0"), MonoMs(0)).unwrap();
        paces.sweep(MonoMs(1000));
        assert_eq!(paces.buckets.len(), 1, "one that took two turns has not got both back");
        assert!(paces.others.is_some());
        paces.sweep(MonoMs(SEND_BURST_MAX as i64 * 1000));
        assert!(paces.buckets.is_empty() && paces.others.is_none());
    }

    proptest! {
        /// Whatever the moments, nobody gets more than a burst and what the time between the first and the last gives.
        #[test]
        fn nobody_gets_more_than_is_due(per_second in 1_u32..100, steps in proptest::collection::vec(0_i64..500, 0..600)) {
            let mut paces = limited(per_second);
            let (mut now, mut taken) = (0, 0_i64);
            for step in steps {
                now += step;
                taken += i64::from(paces.take(&id("a"), MonoMs(now)).is_ok());
                if step % 7 == 0 {
                    paces.sweep(MonoMs(now));
                }
                prop_assert!(taken <= i64::from(SEND_BURST_MAX) + now * i64::from(per_second) / 1000);
            }
        }
    }
}

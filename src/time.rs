//! Time as a value. The roster never reads a clock: it is given a [`Now`]. Graces are measured on the monotonic part,
//! what is persisted is stamped with the wall part. Only [`SystemClock`] asks the operating system.

use std::ops::{Add, AddAssign, Sub};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A moment on the monotonic clock, in milliseconds since some moment before the daemon began. A type of its own, so that
/// no wall-clock time is ever compared with it. It means nothing to another run of the daemon, and is never persisted.
///
/// row 98: exchanged clocks do not compile.
/// ```compile_fail,E0308
/// let now = marshal::time::Now::at(1);
/// let is_later: bool = now.wall_ms > now.mono_ms;
/// ```
/// ```
/// let now = marshal::time::Now::at(1);
/// let is_later: bool = now.mono_ms + 1 > now.mono_ms;
/// # assert!(is_later);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonoMs(pub i64);

impl MonoMs {
    /// Before every other moment.
    pub const MIN: Self = Self(i64::MIN);

    /// The moment so many milliseconds before this one.
    pub fn before(self, ms: i64) -> Self {
        Self(self.0.saturating_sub(ms))
    }
}

impl Add<i64> for MonoMs {
    type Output = Self;

    /// The moment so many milliseconds later.
    fn add(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl AddAssign<i64> for MonoMs {
    fn add_assign(&mut self, ms: i64) {
        *self = *self + ms;
    }
}

impl Sub for MonoMs {
    type Output = i64;

    /// The milliseconds from the right moment to the left one.
    fn sub(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One moment, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock: milliseconds since 1970-01-01 UTC. It may jump either way.
    pub wall_ms: i64,
    /// Nanoseconds past `wall_ms`, for the log's `createdAt`.
    pub wall_extra_ns: u32,
    /// Monotonic clock. It does not count time for which the machine slept.
    pub mono_ms: MonoMs,
}

impl Now {
    /// A moment at which both clocks show `ms`; for tests.
    pub fn at(ms: i64) -> Self {
        Self { wall_ms: ms, wall_extra_ns: 0, mono_ms: MonoMs(ms) }
    }

    /// The wall clock as RFC 3339 text with nanoseconds, as marshal 0.9 wrote it: `2026-11-21T00:04:13.182262123+00:00`.
    pub fn rfc3339(&self) -> String {
        rfc3339_ns(self.wall_ms, self.wall_extra_ns)
    }
}

fn rfc3339_ns(wall_ms: i64, extra_ns: u32) -> String {
    let seconds = wall_ms.div_euclid(1000);
    // rem_euclid of 1000 is 0..=999, and extra_ns is below one million by construction.
    let nanos = u32::try_from(wall_ms.rem_euclid(1000)).unwrap_or(0) * 1_000_000 + extra_ns.min(999_999);
    chrono::DateTime::from_timestamp(seconds, nanos)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Nanos, false)
}

/// The wall-clock milliseconds of a moment in RFC 3339 text; none for a text that is none.
pub fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_millis())
}

/// `wall_ms` as text for people, in UTC: `2026-11-21 00:04:13`.
pub fn human_utc(wall_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(wall_ms).unwrap_or_default().format("%Y-%m-%d %H:%M:%S").to_string()
}

/// An age for people: `12 s`, `4 min`, `3 h`, `2 d`. Negative ages (a clock that went back) show as `0 s`.
pub fn human_age(age_ms: i64) -> String {
    let seconds = age_ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic part counts from now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        let (wall_ms, wall_extra_ns) = wall(SystemTime::now());
        let elapsed_ms = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        Now { wall_ms, wall_extra_ns, mono_ms: MonoMs(elapsed_ms) }
    }
}

/// Splits a moment into milliseconds since 1970 and the nanoseconds past them. `chrono` panics on a clock before 1970,
/// which a machine without a battery has until it finds a time server.
fn wall(at: SystemTime) -> (i64, u32) {
    const NS_PER_MS: i128 = 1_000_000;
    let ns = match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i128::try_from(since.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    };
    let ms = i64::try_from(ns.div_euclid(NS_PER_MS)).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX });
    (ms, u32::try_from(ns.rem_euclid(NS_PER_MS)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    // row 114
    #[test]
    fn a_clock_before_1970_is_read() {
        let step = Duration::new(2, 345_000_678);
        assert_eq!(wall(UNIX_EPOCH + step), (2345, 678));
        assert_eq!(wall(UNIX_EPOCH - step), (-2346, 1_000_000 - 678));
        assert_eq!(wall(UNIX_EPOCH), (0, 0));
        let (wall_ms, wall_extra_ns) = wall(UNIX_EPOCH - step);
        let now = Now { wall_ms, wall_extra_ns, mono_ms: MonoMs(0) };
        assert_eq!(now.rfc3339(), "1969-12-31T23:59:57.654999322+00:00");
        assert_eq!(parse_rfc3339_ms(&now.rfc3339()), Some(wall_ms));
    }

    #[test]
    fn created_at_is_spelled_as_marshal_0_9_did() {
        let now = Now { wall_ms: 1_795_219_453_182, wall_extra_ns: 262_123, mono_ms: MonoMs(0) };
        assert_eq!(now.rfc3339(), "2026-11-21T00:04:13.182262123+00:00");
        assert_eq!(parse_rfc3339_ms(&now.rfc3339()), Some(now.wall_ms));
        assert_eq!(parse_rfc3339_ms(""), None);
        assert_eq!(Now::at(-1).rfc3339(), "1969-12-31T23:59:59.999000000+00:00");
    }

    #[test]
    fn ages_are_short_and_never_negative() {
        let ages = [-5, 59_999, 60_000, 3_600_000, 86_400_000 * 3].map(human_age);
        assert_eq!(ages, ["0 s", "59 s", "1 min", "1 h", "3 d"]);
    }
}

//! The time zone of whoever reads the output: from `TZ` or `/etc/localtime`. Where it cannot be read, times are in UTC
//! and say so.

use crate::config::{Env, set};
use crate::limits::ZONE_FILE_BYTES_MAX;
use std::error::Error;
use std::fs::File;
use std::io::Read;
use tz::timezone::{TimeZone, TimeZoneSettings};

/// Directories of time zone files, as the systems' C libraries have them.
const DIRECTORIES: &[&str] = &["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/var/db/timezone/zoneinfo"];

/// Gives the content of a file.
type ReadFile = fn(&str) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>>;

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone {
    rules: TimeZone,
    /// The value of `TZ` that could not be read.
    unreadable: Option<String>,
}

impl Zone {
    /// UTC.
    pub(crate) fn utc() -> Self {
        Self { rules: TimeZone::utc(), unreadable: None }
    }

    /// The zone that the environment names; else the machine's. `read` gives the content of a file.
    pub(crate) fn of(env: Env<'_>, read: ReadFile) -> Self {
        let settings = TimeZoneSettings::new(DIRECTORIES, read);
        let Some(name) = set(env, "TZ").map(|name| name.to_string_lossy().into_owned()) else {
            // A machine without that file is in UTC.
            return settings.parse_local().map_or_else(|_| Self::utc(), |rules| Self { rules, unreadable: None });
        };
        match settings.parse_posix_tz(&name) {
            Ok(rules) => Self { rules, unreadable: None },
            Err(_) => Self { unreadable: Some(name), ..Self::utc() },
        }
    }

    /// The value of `TZ` that could not be read, if UTC stands in for it.
    pub(crate) fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// A moment for people, with the zone's name: `2026-11-21 01:04:13 CET`.
    pub(crate) fn moment(&self, wall_ms: i64) -> String {
        self.spelled(wall_ms, "%Y-%m-%d %H:%M:%S")
    }

    /// The time of the day, with the zone's name: `01:04:13 CET`.
    pub(crate) fn clock(&self, wall_ms: i64) -> String {
        self.spelled(wall_ms, "%H:%M:%S")
    }

    fn spelled(&self, wall_ms: i64, form: &str) -> String {
        let seconds = wall_ms.div_euclid(1000);
        let (offset, name) = match self.rules.find_local_time_type(seconds) {
            Ok(kind) => (kind.ut_offset(), kind.time_zone_designation()),
            Err(_) => (0, ""),
        };
        let name = if name.is_empty() { "UTC" } else { name };
        let local = chrono::DateTime::from_timestamp(seconds.saturating_add(i64::from(offset)), 0);
        format!("{} {name}", local.unwrap_or_default().format(form))
    }

    /// The moment at which a day begins here.
    pub(crate) fn begin_of(&self, date: chrono::NaiveDate) -> Option<i64> {
        let midnight = date.and_hms_opt(0, 0, 0)?.and_utc().timestamp();
        let offset = |at: i64| self.rules.find_local_time_type(at).map_or(0, |kind| i64::from(kind.ut_offset()));
        // Clocks change within a day of the guess at most: the offset at the moment that it leads to is the right one.
        let guess = midnight - offset(midnight);
        (midnight - offset(guess)).checked_mul(1000)
    }
}

/// The content of a time zone file.
pub(crate) fn read_file(path: &str) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
    let mut content = Vec::new();
    File::open(path)?.take(ZONE_FILE_BYTES_MAX).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    /// 2026-11-21 00:04:13 UTC
    const NOW: i64 = 1_795_219_453_000;

    fn zone(tz: Option<&str>) -> Zone {
        let env = |name: &str| tz.filter(|_| name == "TZ").map(OsString::from);
        Zone::of(&env, |_| Err("no such file".into()))
    }

    // row 58
    #[test]
    fn moments_are_local_and_name_their_zone() {
        let berlin = zone(Some("CET-1CEST,M3.5.0,M10.5.0/3"));
        assert_eq!(berlin.moment(NOW), "2026-11-21 01:04:13 CET");
        assert_eq!(berlin.clock(NOW - 150 * 86_400_000), "02:04:13 CEST");
        assert_eq!(zone(Some("<+0545>-5:45")).moment(NOW), "2026-11-21 05:49:13 +0545");
        assert_eq!(berlin.clock(-1), "00:59:59 CET");
        assert_eq!(berlin.unreadable(), None);
    }

    // row 58
    #[test]
    fn without_a_readable_zone_times_are_in_utc_and_say_so() {
        let none = zone(None);
        assert_eq!((none.moment(NOW).as_str(), none.unreadable()), ("2026-11-21 00:04:13 UTC", None));
        for name in ["Nowhere/Atall", "x", "/etc/passwd"] {
            let zone = zone(Some(name));
            assert_eq!((zone.clock(NOW).as_str(), zone.unreadable()), ("00:04:13 UTC", Some(name)));
        }
    }

    #[test]
    fn a_day_begins_when_it_does_here() {
        let day = |text: &str| chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").unwrap();
        let begin = |tz: &str, text: &str| zone(Some(tz)).begin_of(day(text)).unwrap();
        assert_eq!(begin("UTC0", "2026-11-21"), 1_795_219_200_000);
        assert_eq!(begin("CET-1CEST,M3.5.0,M10.5.0/3", "2026-11-21"), 1_795_219_200_000 - 3_600_000);
        // The day on which clocks go back still begins in summer time, the next one in winter time.
        let (change, next) = ("2026-10-25", "2026-10-26");
        let of = |text| begin("CET-1CEST,M3.5.0,M10.5.0/3", text);
        assert_eq!(of(next) - of(change), 25 * 3_600_000);
        assert_eq!(begin("<-12>12", "1970-01-01"), 12 * 3_600_000);
    }
}

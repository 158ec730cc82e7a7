//! Whoever reads a command's output: when, in which time zone, on what kind of terminal, and how that person would call
//! this program again. Functions that make text of answers take it, so that they read no clock and no environment.

use super::args::Parsed;
use super::zone::Zone;
use crate::text::shell::program_at;

/// The reader of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    /// The wall clock: milliseconds since 1970.
    pub(crate) now_ms: i64,
    /// Whether colours are wanted.
    pub(crate) colour: bool,
    /// The reader's time zone.
    pub(crate) zone: Zone,
    /// This program as the reader called it, with the options that lead to the same daemon.
    pub(crate) program: String,
}

/// This program, as hints call it: with the state directory that was given, or they would lead to another daemon.
pub(crate) fn program(parsed: &Parsed) -> String {
    match parsed.value("state-dir") {
        Some(dir) => program_at(&dir.to_string_lossy()),
        None => "marshal".to_owned(),
    }
}

#[cfg(test)]
impl Reader {
    /// A reader without colours in UTC.
    pub(crate) fn plain(now_ms: i64) -> Self {
        Self { now_ms, colour: false, zone: Zone::utc(), program: "marshal".to_owned() }
    }

    /// The same with colours.
    pub(crate) fn coloured(now_ms: i64) -> Self {
        Self { colour: true, ..Self::plain(now_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::parse;
    use super::*;
    use std::ffi::OsString;

    // row 59
    #[test]
    fn hints_lead_to_the_daemon_that_was_asked() {
        let of = |line: &[&str]| program(&parse(line.iter().map(OsString::from)).unwrap());
        assert_eq!(of(&["ls"]), "marshal");
        assert_eq!(of(&["--state-dir", "/srv/a b", "ls"]), "marshal --state-dir '/srv/a b'");
        assert_eq!(of(&["ls", "--state-dir=/srv/m"]), "marshal --state-dir /srv/m");
    }
}

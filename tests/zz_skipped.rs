//! The last of the test binaries: says how many tests of this run were skipped, and for want of what. It is no test
//! harness's, so that it is heard.
#![allow(clippy::unwrap_used)] // a harness that fails must fail loudly

#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeMap;
use std::io::Write;

/// The summary of what was noted, a line for each need.
fn summary(record: &str) -> String {
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (need, what) in record.lines().filter_map(|line| line.split_once(": ")) {
        let tests = needs.entry(need).or_default();
        if !tests.contains(&what) {
            tests.push(what);
        }
    }
    let count: usize = needs.values().map(Vec::len).sum();
    let mut text = match count {
        0 => "no test was skipped\n".to_owned(),
        1 => "1 test was SKIPPED:\n".to_owned(),
        count => format!("{count} tests were SKIPPED:\n"),
    };
    for (need, tests) in needs {
        text.push_str(&format!("  without {need}: {}\n", tests.join("; ")));
    }
    text
}

fn main() {
    // row 99
    assert_eq!(summary(""), "no test was skipped\n");
    let told = "root: a\nstrace: b\nroot: c\nroot: a\n";
    assert_eq!(summary(told), "3 tests were SKIPPED:\n  without root: a; c\n  without strace: b\n");
    // `cargo test --test zz_skipped -- --list`, as some tools ask, runs nothing.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let record = std::fs::read_to_string(skip::record()).unwrap_or_default();
    let _ = std::fs::remove_file(skip::record());
    std::io::stdout().write_all(format!("\n{}\n", summary(&record)).as_bytes()).unwrap();
}

//! Tests that lack a tool or a right: counted, told at the end of `cargo test` (tests/zz_skipped.rs), and a failure where
//! `MARSHAL_TESTS_MUST` names what they lack. `.ci/run` names what it has got or found.
#![allow(dead_code, unreachable_pub, missing_docs)] // each test binary uses a part of it
#![allow(clippy::unwrap_used)] // a harness that fails must fail loudly

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Names what may not be missing, with spaces between.
pub const MUST: &str = "MARSHAL_TESTS_MUST";

/// Whether a test may not lack this.
pub fn must_have(need: &str) -> bool {
    std::env::var(MUST).unwrap_or_default().split_whitespace().any(|name| name == need)
}

/// Notes that something is not tested for want of `need`: a program's name, or `root`, `mount`, `namespaces`, `agents`.
pub fn skipped(need: &str, what: &str) {
    assert!(!must_have(need), "not tested: {what}. There is no {need} here, although {MUST} names it");
    let line = format!("{need}: {what}\n");
    let mut file = OpenOptions::new().create(true).append(true).open(record()).unwrap();
    // At once, so that lines of tests that run side by side do not mix.
    file.write_all(line.as_bytes()).unwrap();
    // The test runner captures the output of macros.
    std::io::stderr().write_all(format!("SKIPPED: {line}").as_bytes()).unwrap();
}

/// Where it is noted what this run of `cargo test` has skipped. Every test binary is a child of the same cargo.
pub fn record() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skipped-{}", std::os::unix::process::parent_id()))
}

/// Whether a program is there, in a directory of `PATH`. If not, that is noted.
pub fn has_program(name: &str, what: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    if !found {
        skipped(name, what);
    }
    found
}

/// Whether the tests run as root. If not, that is noted.
pub fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("root", what);
    }
    root
}

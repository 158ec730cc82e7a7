//! Deterministic simulation: the real store and roster on a simulated disk, clock, clients and outside editor, in one
//! process and one thread, from one seed. After each operation of the disk, every state in which a crash could leave it
//! is recovered and held against an independent ledger. `scripts/simulate` runs more of it, and says how.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too
#![allow(clippy::disallowed_types)] // one lock: the disk's listener and the world share the observer, in one thread
#![allow(dead_code, unreachable_pub, missing_docs)] // the modules are parts of one test

#[path = "support/skip.rs"]
mod skip;

mod simulation {
    pub mod clients;
    pub mod crash;
    pub mod editors;
    pub mod facts;
    pub mod faults;
    pub mod ledger;
    pub mod observer;
    pub mod random;
    pub mod rows;
    #[path = "../support/sim_disk.rs"]
    pub mod sim_disk;
    pub mod world;
}

use simulation::world::{Summary, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn whatever_crashes_nothing_that_was_said_is_lost() {
    let seeds: Vec<u64> = match (number("MARSHAL_SIM_SEED"), number("MARSHAL_SIM_RUNS")) {
        // Short ones, for every day, and two that have found faults; `scripts/simulate` runs the others.
        (None, None) => vec![1, 4, 5, 7, 10, 121, 254],
        (first, runs) => (first.unwrap_or(1)..).take(usize::try_from(runs.unwrap_or(4)).unwrap()).collect(),
    };
    let states_max = number("MARSHAL_SIM_STATES").unwrap_or(12);
    let story = std::env::var_os("MARSHAL_SIM_STORY").is_some();
    let begun = std::time::Instant::now();
    let mut total = Summary::default();
    for seed in seeds.iter().copied() {
        let summary = run(seed, usize::try_from(states_max).unwrap(), story);
        if std::env::var_os("MARSHAL_SIM_SAY").is_some() {
            eprintln!("seed {seed}: {summary:?}, {:.1} s", begun.elapsed().as_secs_f64());
        }
        total.states += summary.states;
        total.twice += summary.twice;
        total.operations += summary.operations;
        total.lives += summary.lives;
        total.fatal += summary.fatal;
        total.compactions += summary.compactions;
    }
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("seeds {seeds:?}: {total:?} in {seconds:.1} s");
    if number("MARSHAL_SIM_SEED").is_none() {
        assert!(total.states >= 10_000, "too few states to mean anything: {total:?}");
    }
}

/// The deliberate bugs that `scripts/simulate --bugs` builds, so that they do not rot.
#[test]
fn the_deliberate_bugs_still_fit_the_source() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(root.join("tests/simulation/bugs")).unwrap() {
        let patch = std::fs::File::open(entry.unwrap().path()).unwrap();
        let mut command = std::process::Command::new("patch");
        command.args(["--dry-run", "--force", "--silent", "-p1", "-d"]).arg(root).stdin(patch);
        let Ok(output) = command.output() else {
            return skip::skipped("patch", "whether the deliberate bugs still fit the source");
        };
        assert!(output.status.success(), "{output:?}");
        count += 1;
    }
    assert_eq!(count, 3);
}

//! Deterministic simulation: the real store and roster on a simulated disk, clock, clients and outside editor, in one
//! process and one thread, from one seed. After each operation of the disk, every state in which a crash could leave it
//! is recovered and held against an independent ledger. `scripts/simulate` runs more of it, and says how.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too
#![allow(clippy::disallowed_types)] // one lock: the disk's listener and the world share the observer, in one thread
#![allow(dead_code, unreachable_pub, missing_docs)] // the modules are parts of one test

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
    let first = number("MARSHAL_SIM_SEED").unwrap_or(1);
    let runs = number("MARSHAL_SIM_RUNS").unwrap_or(4);
    let states_max = number("MARSHAL_SIM_STATES").unwrap_or(12);
    let story = std::env::var_os("MARSHAL_SIM_STORY").is_some();
    let begun = std::time::Instant::now();
    let mut total = Summary::default();
    for seed in first..first + runs {
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
    eprintln!("seeds {first}..={}: {total:?} in {seconds:.1} s", first + runs - 1);
}

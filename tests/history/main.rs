//! Fifty clients work while everything happens to the daemon and its log that can; then a checker that has nothing but
//! what they noted, the log and what the daemon shows says whether it kept its promises. Few rounds here;
//! `scripts/history` goes through a thousand. `MARSHAL_TEST_SEED` repeats a run's choices (though not its timing).
#![allow(missing_docs, unreachable_pub)] // nobody else uses these modules
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

mod checker;
mod checker_tests;
mod clients;
mod damage;
mod driver;
mod given;
mod nemesis;
mod record;
mod shims;
#[path = "../support/mod.rs"]
mod support;

use driver::{Plan, Report, Run};
use nemesis::{FAULTS, KILLS, Kind, Strace};
use std::collections::BTreeMap;
use support::seeded::Random;

/// Rounds on one directory.
const ROUNDS_PER_RUN: usize = 13;

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|number| number.parse().unwrap())
}

/// So many rounds of these kinds, each kind as often as the others.
fn fairly<'a>(kinds: &'a [Kind], rounds: usize) -> impl Iterator<Item = Kind> + use<'a> {
    kinds.iter().copied().cycle().take(rounds)
}

#[test]
fn every_promise_is_kept_whatever_happens() {
    let mut random = Random::from_env();
    let begun = std::time::Instant::now();
    let kills = number("MARSHAL_HISTORY_KILLS").unwrap_or(9);
    let faults = number("MARSHAL_HISTORY_FAULTS").unwrap_or(17);
    let long = number("MARSHAL_HISTORY_KILLS").is_some();
    let answers = number("MARSHAL_HISTORY_ANSWERS").unwrap_or(if long { 1700 } else { 250 });
    let strace = Strace::is_there();
    let mut rounds: Vec<Kind> = fairly(&KILLS, kills).chain(fairly(&FAULTS, faults)).collect();
    // Kinds come in any order, and any of them may come upon what another one left.
    for at in (1..rounds.len()).rev() {
        rounds.swap(at, random.below(at + 1));
    }
    let (mut done, mut counts) = (BTreeMap::<Kind, usize>::new(), checker::Counts::default());
    let (mut slowest_end_ms, mut slowest_return_ms) = (0, 0);
    for (at, rounds) in rounds.chunks(ROUNDS_PER_RUN).enumerate() {
        let plan = Plan { name: at.to_string(), rounds: rounds.to_vec(), answers, judge_time: long };
        let report: Report = Run::go(&plan, strace, &mut random);
        report.done.iter().for_each(|kind| *done.entry(*kind).or_default() += 1);
        counts.add(&report.counts);
        slowest_end_ms = slowest_end_ms.max(report.slowest_end_ms);
        slowest_return_ms = slowest_return_ms.max(report.slowest_return_ms);
        eprintln!("run {at}: {:?}", report.counts);
        let mut kinds = BTreeMap::<_, Vec<&String>>::new();
        report.violations.iter().for_each(|violation| kinds.entry(violation.kind).or_default().push(&violation.what));
        for (kind, found) in &mut kinds {
            eprintln!("{kind:?}: {} times", found.len());
            found.truncate(5);
        }
        assert!(report.violations.is_empty(), "run {at} has violations, such as {kinds:#?}");
    }
    eprintln!("rounds: {done:?}, in {} s", begun.elapsed().as_secs());
    eprintln!("in all: {counts:?}");
    eprintln!(
        "ended at most {slowest_end_ms} ms after a failed sync, wrote again at most {slowest_return_ms} ms after space"
    );
    assert!(counts.stored > 0 && counts.delivered > 0, "the checker had nothing to check");
}

//! The bench: starts the real release binary in fresh directories, measures it beside floors taken in the same run,
//! and prints what was aimed at and what was missed. Machines are noisy: only the ratios to the floors mean anything.
#![allow(clippy::expect_used, reason = "a bench that cannot go on dies with a clear message")]

mod daemon;
mod hook_client;
mod hook_paths;
mod hooks;
mod idle;
mod load;
mod log_maker;
mod many;
mod memory;
mod probe;
mod process;
mod redis;
mod relay;
mod replay;
mod report;
mod scale;
mod size;
mod upkeep;
mod waiters;
mod ws;
mod ws_client;

use report::Report;
use std::path::{Path, PathBuf};

const HELP: &str = "\
Usage: scripts/bench [--quick] [--large] [--json] [--dir DIRECTORY] [--binary FILE] [--vs-redis] [SECTION...]

Sections: probes hooks load ws pairs memory idle size replay (all of these if none is named)
          waiters scale upkeep redis (only if named: they take minutes, and the last one needs redis-server)

  --vs-redis  the same as the section redis: our durable sends beside Redis's, both in this run

  --quick   small numbers, to see that everything works; the figures mean little
  --large   replay: a log of 1 GiB, and one of 100,000 sessions and 1,000,000 messages (2 GiB of disk, minutes)
  --json    one JSON object per figure instead of the table
  --dir     where the state directories are made, by default target/bench; name a real disk, not a tmpfs
  --binary  the daemon to measure, by default target/release/marshal; for a comparison with another build
";

type Section = (&'static str, fn(&Bench, &mut Report));

/// How many of the sections run if none is named.
const USUAL: usize = 9;

const SECTIONS: [Section; 13] = [
    ("probes", probe::section),
    ("hooks", hooks::section),
    ("load", load::section),
    ("ws", ws::section),
    ("pairs", ws::pairs_section),
    ("memory", memory::section),
    ("idle", idle::section),
    ("size", size::section),
    ("replay", replay::section),
    ("waiters", waiters::section),
    ("scale", scale::section),
    ("upkeep", upkeep::section),
    ("redis", redis::section),
];

/// What every section needs to know.
struct Bench {
    quick: bool,
    /// The sizes that the replay section is judged by.
    large: bool,
    /// Where state directories are made.
    dir: PathBuf,
    /// The binary that is measured.
    binary: PathBuf,
}

impl Bench {
    /// A number for a real run, or the one for a quick run.
    fn count(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

fn main() {
    // A panic in one thread must not leave the bench waiting for the others.
    std::panic::set_hook(Box::new(|info| die(&info.to_string())));
    let mut sections: Vec<String> = Vec::new();
    let (mut quick, mut large, mut json, mut dir, mut binary) = (false, false, false, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--large" => large = true,
            "--json" => json = true,
            "--dir" => dir = Some(PathBuf::from(arguments.next().unwrap_or_else(|| die("--dir needs a directory")))),
            "--binary" => {
                binary = Some(PathBuf::from(arguments.next().unwrap_or_else(|| die("--binary needs a file"))))
            }
            "--help" | "-h" => return report::print(HELP),
            "--vs-redis" => sections.push("redis".to_owned()),
            "concurrency" => sections.push("load".to_owned()),
            name if SECTIONS.iter().any(|(known, _)| *known == name) => sections.push(name.to_owned()),
            other => die(&format!("unknown argument {other}\n\n{HELP}")),
        }
    }
    let target = target_directory();
    let bench = Bench {
        quick,
        large,
        dir: dir.unwrap_or_else(|| target.join("bench")),
        binary: binary.unwrap_or_else(|| target.join("release/marshal")),
    };
    if !bench.binary.exists() {
        die(&format!("{} is missing: run scripts/bench, or cargo build --release first", bench.binary.display()));
    }
    std::fs::create_dir_all(&bench.dir).unwrap_or_else(|error| die(&format!("{}: {error}", bench.dir.display())));
    process::raise_descriptor_limit();
    let mut report = Report::new(json);
    for (number, (name, run)) in SECTIONS.into_iter().enumerate() {
        if (sections.is_empty() && number < USUAL) || sections.iter().any(|wanted| wanted == name) {
            report.begin(name);
            run(&bench, &mut report);
        }
    }
    report.finish();
}

/// Cargo's target directory: this program is in its release/examples.
fn target_directory() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program is known");
    own.ancestors().nth(3).map(Path::to_owned).unwrap_or_else(|| die("this program is not in a target directory"))
}

/// The end of a bench that cannot go on.
fn die(message: &str) -> ! {
    daemon::kill_all();
    report::complain(message);
    std::process::exit(1)
}

//! One run: a daemon's lives, one after the other, from one seed. Everything takes place in one thread, in an order that
//! the seed decides: what clients ask, what outsiders do, when the watcher and the compactor get to work, what time it
//! is, what fails, and when it all ends.

use super::clients::Clients;
use super::crash::{Crash, Crasher, rows_of};
use super::editors::{self, Editor};
use super::faults::{self, Schedule};
use super::observer::Observer;
use super::random::Random;
use super::sim_disk::{SimDisk, State};
use crossbeam_channel::{Receiver, bounded};
use marshal::compactor;
use marshal::error::exit_code;
use marshal::event_log::key::LogKey;
use marshal::event_log::recover::{self, Opened};
use marshal::event_log::{LOG_NAME, SUSPECT_NAME};
use marshal::ids::SeededIds;
use marshal::roster::Roster;
use marshal::store::{Command, CompactJob, CompactStep, ProcessWatch, ReadAsk, ReadJob, Start, Store};
use marshal::time::{MonoMs, Now};
use marshal::watcher::LogReader;
use std::sync::{Arc, Mutex, MutexGuard};

/// Lives in one run.
const LIVES: usize = 4;
/// Steps of one life that is not cut short.
const STEPS: usize = 24;
/// The log is compacted above so few bytes, so that it happens, and the states stay small.
const COMPACT_OVER_BYTES: u64 = 6 * 1024;
/// Steps within which a daemon that is left alone must come to rest.
const REST_WITHIN: usize = 80;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub states: u64,
    pub twice: u64,
    pub operations: u64,
    pub lives: u64,
    pub compactions: u64,
    pub fatal: u64,
    pub trace: u64,
}

struct World {
    seed: u64,
    random: Random,
    observer: Arc<Mutex<Observer>>,
    disk: SimDisk,
    clients: Clients,
    editor: Editor,
    schedule: Schedule,
    summary: Summary,
    /// The key that the next daemon would make.
    new_key: LogKey,
}

/// A daemon that runs.
struct Daemon {
    store: Store<SimDisk>,
    reads: Receiver<ReadJob>,
    reader: LogReader,
    compactions: Receiver<CompactJob>,
    batch: Vec<Command>,
    began_mono: MonoMs,
}

/// How a life goes on after a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Going {
    On,
    Over,
}

/// One run from one seed, with at most so many crash states for each moment.
pub fn run(seed: u64, states_max: usize, story: bool) -> Summary {
    let mut random = Random::new(seed);
    let mut observer = Observer::new(seed, Crasher::new(random.next(), states_max));
    observer.story = story;
    observer.crasher.story = story;
    observer.now = Now { wall_ms: 1_795_219_453_000, wall_extra_ns: 0, mono_ms: MonoMs(1_000) };
    let mut world = World {
        seed,
        observer: Arc::new(Mutex::new(observer)),
        disk: SimDisk::new(),
        clients: Clients::new(random.next()),
        editor: Editor::new(random.next()),
        schedule: Schedule::new(random.next()),
        summary: Summary::default(),
        new_key: LogKey::of([0; 16]),
        random,
    };
    for _ in 0..LIVES {
        world.life();
    }
    let observer = world.observer.lock().unwrap();
    Summary { states: observer.crasher.states, twice: observer.crasher.twice, trace: observer.trace, ..world.summary }
}

impl World {
    fn observer(&self) -> MutexGuard<'_, Observer> {
        self.observer.lock().unwrap()
    }

    fn life(&mut self) {
        self.summary.lives += 1;
        self.new_key = LogKey::of([u8::try_from(self.summary.lives).unwrap(); 16]);
        let crash_at = if self.random.one_in(4) { u64::MAX } else { 1 + self.random.below(60) as u64 };
        self.observer().begin_life(crash_at);
        self.editor.begin_life();
        let ears = self.observer.clone();
        self.disk.listen_to_all(Box::new(move |state, op| ears.lock().unwrap().hear(state, op)));
        if let Some(mut daemon) = self.start() {
            self.live(&mut daemon);
        }
        let operations = self.observer().operations;
        self.summary.operations += operations;
        let dead = self.observer().dead.take();
        let left = dead.unwrap_or_else(|| Crash::Killed.strike(&self.disk.state()).0);
        self.disk = SimDisk::of(left);
        // The next daemon counts its time anew.
        let mut observer = self.observer();
        observer.now.mono_ms = MonoMs(1_000);
        observer.now.wall_ms += 500;
    }

    /// Opens the log, sometimes not at the first try; none if power is lost meanwhile.
    fn start(&mut self) -> Option<Daemon> {
        self.schedule.at_start(&self.disk);
        let mut opened = recover::open(self.disk.clone(), self.new_key);
        let alive = self.observer().dead.is_none();
        if let Err(error) = &opened
            && alive
        {
            self.observer().tell(|| format!("the start fails: {error:?}"));
            let deadly = self.disk.state().faults.clone();
            self.schedule.over(&self.disk);
            // Whoever starts it again finds what the first try has left.
            opened = recover::open(self.disk.clone(), self.new_key);
            let what = opened.as_ref().map(drop).map_err(|error| format!("{error:?} (after {deadly:?})"));
            self.observer().must("the second start", what);
        }
        self.schedule.over(&self.disk);
        if self.observer().dead.is_some() {
            return None;
        }
        Some(self.begin(opened.unwrap()))
    }

    fn begin(&mut self, opened: Opened<SimDisk>) -> Daemon {
        let now = self.observer().now;
        let (replayed_bytes, ends_with_newline) = (opened.fold.bytes, opened.fold.ends_with_newline);
        let malformed_lines = opened.fold.damage.lines;
        let mut roster = Roster::new();
        let written_at = opened.fold.written_at();
        let places = opened.fold.places;
        roster.load_placed(opened.fold.into_placed(), written_at, now);
        let state = self.disk.state().clone();
        {
            let mut observer = self.observer();
            observer.check(&state, "started");
            observer.ledger.begin_life(rows_of(&roster), &state);
        }
        let (ask, reads) = bounded(64);
        let (compactor, compactions) = bounded(1);
        let store = Store::new(Start {
            roster,
            log: opened.log,
            replayed_bytes,
            ends_with_newline,
            malformed_lines,
            places,
            watcher: ask,
            live_bytes: replayed_bytes,
            compact_over_bytes: COMPACT_OVER_BYTES,
            processes: ProcessWatch::new(bounded(1).0, Box::new(|| {})),
            compactor,
            transcripts: crossbeam_channel::bounded(1).0,
            ids: Box::new(SeededIds::new(self.random.next())),
            source_id: "a16f50bd-e0ec-473f-9e1a-e1c8eab281fe".to_owned(),
        });
        let mut batch = vec![Command::DoorsOpen];
        let observer = self.observer.clone();
        self.clients.begin_life(&mut observer.lock().unwrap(), &mut batch);
        Daemon { store, reads, reader: LogReader::default(), compactions, batch, began_mono: now.mono_ms }
    }

    fn live(&mut self, daemon: &mut Daemon) {
        for _ in 0..STEPS {
            if self.step(daemon) == Going::Over {
                return;
            }
            if self.random.one_in(12) && self.rest(daemon) == Going::Over {
                return;
            }
        }
        if self.rest(daemon) == Going::On {
            daemon.batch.push(Command::Stop);
            self.turn(daemon, false);
        }
    }

    fn step(&mut self, daemon: &mut Daemon) -> Going {
        self.pass_time();
        let shared = self.observer.clone();
        let mut observer = shared.lock().unwrap();
        observer.ledger.step += 1;
        self.schedule.act(&self.disk, &mut observer);
        if self.random.one_in(5) {
            self.editor.act(&self.disk, &mut observer, &mut self.clients);
        }
        self.clients.act(&mut observer, &mut daemon.batch);
        if self.random.one_in(4) {
            daemon.batch.push(Command::LogTouched);
        }
        if self.random.one_in(5) {
            self.clients.tick(&mut observer, &mut daemon.batch);
        }
        if self.random.one_in(25) {
            daemon.batch.push(Command::Compact(Box::new(|_| {})));
        }
        drop(observer);
        if self.random.one_in(2) {
            self.work(daemon);
        }
        if self.observer().dead.is_some() {
            return Going::Over;
        }
        let behind = self.random.one_in(6);
        self.turn(daemon, behind)
    }

    /// Both clocks go on, and sometimes leap.
    fn pass_time(&mut self) {
        let small = self.random.below(4_000) as i64;
        let (wall, mono) = match self.random.below(60) {
            0 => (2 * 60 * 60 * 1000, small),
            1 => (-60 * 60 * 1000, small),
            2 => (20 * 60 * 1000, 20 * 60 * 1000),
            3 if self.random.one_in(8) => (40 * 24 * 60 * 60 * 1000, small),
            4 => (90 * 60 * 1000, 90 * 60 * 1000),
            _ => (small, small),
        };
        let mut observer = self.observer();
        observer.now.wall_ms += wall;
        observer.now.mono_ms += mono;
        if wall != small {
            observer.tell(|| format!("the clocks go on by {wall} and {mono} ms"));
        }
    }

    /// The watcher or the compactor does what it was asked to.
    fn work(&mut self, daemon: &mut Daemon) -> bool {
        let mut worked = false;
        if let Ok(job) = daemon.reads.try_recv() {
            let what = match &job.ask {
                ReadAsk::Begin(begin) => format!("{:?}", begin.range),
                ReadAsk::More => "on".to_owned(),
                ReadAsk::Lacks(rows) => format!("whether {} rows are there", rows.len()),
                ReadAsk::Forget => "no more".to_owned(),
            };
            self.observer().tell(|| format!("the watcher reads {what}"));
            daemon.batch.extend(daemon.reader.answer(job));
            worked = true;
        }
        if let Ok(job) = daemon.compactions.try_recv() {
            self.observer().tell(|| format!("the compactor: {:?}", job.step));
            self.summary.compactions += u64::from(matches!(job.step, CompactStep::Rewrite(..)));
            daemon.batch.push(Command::Compacted(compactor::run(&self.disk, &job)));
            worked = true;
        }
        worked
    }

    fn turn(&mut self, daemon: &mut Daemon, behind: bool) -> Going {
        let now = self.observer().now;
        assert!(now.mono_ms >= daemon.began_mono);
        let faults = self.disk.state().faults.clone();
        let turned = daemon.store.turn(&mut daemon.batch, now, || behind);
        let state = self.disk.state().clone();
        // Who did not come to write meanwhile does not write later.
        self.disk.state().faults.race = None;
        let theirs = std::mem::take(&mut self.editor.lines);
        let mut observer = self.observer();
        if observer.dead.is_some() {
            return Going::Over;
        }
        match turned {
            Ok(()) => {
                observer.ledger.note_platter(&state, &theirs);
                observer.end_turn(&state, !behind);
                if observer.dead.is_some() { Going::Over } else { Going::On }
            }
            Err(fatal) => {
                observer.tell(|| format!("fatal: {fatal}"));
                let right = fatal.code == exit_code::IO && state.names.contains_key(SUSPECT_NAME);
                let right = right && (state.names_lost || faults::are_deadly(&faults));
                observer.must("the end", right.then_some(()).ok_or_else(|| format!("{fatal:?} of {faults:?}")));
                observer.end_life(&state);
                drop(observer);
                self.summary.fatal += 1;
                self.perish(&state);
                Going::Over
            }
        }
    }

    /// The process has ended itself; the machine may go down too.
    fn perish(&mut self, state: &State) {
        if self.random.one_in(3) {
            return;
        }
        let mut observer = self.observer();
        if observer.dead.is_none() {
            observer.die(state, &Crash::Killed);
        }
    }

    /// The daemon is left alone until it has nothing to do: all is read, written back and shown then.
    fn rest(&mut self, daemon: &mut Daemon) -> Going {
        self.schedule.over(&self.disk);
        let mut quiet = 0;
        for _ in 0..REST_WITHIN {
            let operations = {
                let shared = self.observer.clone();
                let mut observer = shared.lock().unwrap();
                observer.now.wall_ms += 100;
                observer.now.mono_ms += 100;
                observer.ledger.step += 1;
                daemon.batch.push(Command::LogTouched);
                self.clients.tick(&mut observer, &mut daemon.batch);
                observer.operations
            };
            let worked = self.work(daemon);
            if self.observer().dead.is_some() || self.turn(daemon, false) == Going::Over {
                return Going::Over;
            }
            quiet = if worked || self.observer().operations != operations { 0 } else { quiet + 1 };
            if quiet == 3 {
                return self.rested();
            }
        }
        self.observer().must("rest", Err("the daemon does not come to rest".to_owned()));
        Going::Over
    }

    fn rested(&mut self) -> Going {
        let expected = self.editor.take_expected();
        let log = self.disk.read(LOG_NAME);
        let state = self.disk.state().clone();
        let mut observer = self.observer();
        observer.tell(|| "at rest".to_owned());
        for number in &expected {
            let there = editors::holds_message(&log, *number).then_some(());
            observer.must("rest", there.ok_or_else(|| format!("an outsider's message m{number:06} is lost")));
        }
        editors::expect(&mut observer, &expected);
        observer.ledger.heal(&state);
        observer.end_turn(&state, true);
        if observer.dead.is_some() { Going::Over } else { Going::On }
    }
}

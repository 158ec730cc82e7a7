//! One run: a daemon, fifty clients and a nemesis on one state directory, and the history of it.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

use crate::checker::{self, Shown, Violation};
use crate::clients::{self, CliClient, Crowd, Doors, HookClient, Order, human_name, shim_name};
use crate::nemesis::{self, Kind, SmallDisk, Strace};
use crate::record::{Event, Record, Scribe};
use crate::shims::{ShimClient, Watcher};
use crate::support::seeded::Random;
use crate::support::{DEADLINE, Daemon, Place};
use rustix::process::Signal;
use serde_json::json;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const HOOK_CLIENTS: usize = 21;
const SHIMS: usize = 24;
const PEOPLE: usize = 3;
const WATCHERS: usize = 2;
const _: () = assert!(HOOK_CLIENTS + SHIMS + PEOPLE + WATCHERS == 50);

/// What a run is to go through.
pub struct Plan {
    /// Names the files that are kept if it fails.
    pub name: String,
    /// What befalls the daemon, in order.
    pub rounds: Vec<Kind>,
    /// Operations that must be answered in each round before it does, at most.
    pub answers: usize,
    /// Whether it ends by itself within a second after a failed sync is judged too. A busy debug build may be late.
    pub judge_time: bool,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    pub violations: Vec<Violation>,
    pub counts: checker::Counts,
    pub done: Vec<Kind>,
    pub slowest_end_ms: u64,
    pub slowest_return_ms: u64,
}

/// A run under way.
pub struct Run {
    place: Place,
    disk: Option<SmallDisk>,
    strace: bool,
    daemon: Option<Daemon>,
    /// All clients but the watchers come first.
    orders: Vec<Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
    records: Receiver<Record>,
    scribe: Scribe,
    history: Vec<Record>,
    file: BufWriter<std::fs::File>,
    path: PathBuf,
    random: Random,
    outside: u64,
    report: Report,
}

impl Run {
    /// Goes through the plan and judges the history.
    pub fn go(plan: &Plan, strace: bool, random: &mut Random) -> Report {
        let place = Place::new();
        let small = plan.rounds.iter().any(|kind| kind.needs_small_disk());
        let disk = if small { SmallDisk::mount(&place) } else { None };
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{}.jsonl", plan.name));
        let (sender, records) = channel();
        let clock = Arc::new(AtomicU64::new(1));
        let mut run = Self {
            place,
            disk,
            strace,
            daemon: None,
            orders: Vec::new(),
            threads: Vec::new(),
            records,
            scribe: Scribe::new("driver", clock.clone(), sender.clone()),
            history: Vec::new(),
            file: BufWriter::new(std::fs::File::create(&path).unwrap()),
            path,
            random: Random::seeded(random.next()),
            outside: 0,
            report: Report::default(),
        };
        run.populate(|client| Scribe::new(client, clock.clone(), sender.clone()));
        run.start();
        for kind in &plan.rounds {
            if (kind.needs_strace() && !run.strace) || (kind.needs_small_disk() && run.disk.is_none()) {
                continue;
            }
            let answers = 1 + plan.answers / 4 + run.random.below(plan.answers);
            run.await_answers(answers);
            run.scribe.note(Event::Nemesis { what: format!("{kind:?}") });
            run.befall(*kind);
            run.report.done.push(*kind);
        }
        run.await_answers(plan.answers / 4 + 1);
        run.finish(plan)
    }

    fn populate(&mut self, scribe: impl Fn(&str) -> Scribe) {
        let hook_sessions = (0..HOOK_CLIENTS).map(|_| AtomicU64::new(0)).collect();
        let crowd = Arc::new(Crowd { shims: SHIMS, humans: PEOPLE, hook_sessions });
        let mut seeds: Vec<u64> = (0..50).map(|_| self.random.next()).collect();
        let mut random = || Random::seeded(seeds.pop().unwrap());
        for number in 0..HOOK_CLIENTS {
            let scribe = scribe(&format!("h{number:02}"));
            self.employ(HookClient::new(number, scribe, random(), crowd.clone()));
        }
        for number in 0..SHIMS {
            self.employ(ShimClient::new(scribe(&shim_name(number)), random(), crowd.clone()));
        }
        for number in 0..PEOPLE {
            let (scribe, state) = (scribe(&human_name(number)), self.place.state());
            self.employ(CliClient { scribe, random: random(), crowd: crowd.clone(), state, sent: 0 });
        }
        for number in 0..WATCHERS {
            self.employ(Watcher { scribe: scribe(&format!("w{number:02}")) });
        }
    }

    fn employ(&mut self, actor: impl clients::Actor + Send + 'static) {
        let (order, orders) = channel();
        self.orders.push(order);
        let name = clients::Actor::scribe(&actor).client.clone();
        let work = move || clients::work(actor, &orders);
        self.threads.push(std::thread::Builder::new().name(name).spawn(work).unwrap());
    }

    fn tell(&self, clients: usize, order: Order) {
        for client in &self.orders[..clients] {
            assert!(client.send(order).is_ok(), "a client has died; see above");
        }
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    /// Starts a daemon, notes whom it shows before anybody has come back, and lets the clients at it.
    fn start(&mut self) {
        let daemon = self.place.start_with(nemesis::ignore_size_signal);
        let at = self.scribe.invoke(crate::record::Call::Look { what: "listed".to_owned() });
        let sessions = daemon.sessions().into_keys().collect();
        self.scribe.note(Event::Listed { sessions });
        self.scribe.complete(at, crate::record::Outcome::Ok);
        let doors = Doors { hooks: daemon.hooks, websocket: daemon.websocket };
        self.daemon = Some(daemon);
        self.tell(self.orders.len(), Order::Up(doors));
    }

    fn keep(&mut self, record: Record) {
        serde_json::to_writer(&mut self.file, &record).unwrap();
        self.file.write_all(b"\n").unwrap();
        self.history.push(record);
    }

    /// Takes records until one fits, for as long as there are any.
    fn until(&mut self, what: &str, mut fits: impl FnMut(&Record) -> bool) {
        let end = Instant::now() + DEADLINE * 3;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.records.recv_timeout(left) {
                Ok(record) => {
                    if let Event::Stuck { why } = &record.event {
                        panic!("{}: {why}", record.client);
                    }
                    let fits = fits(&record);
                    self.keep(record);
                    if fits {
                        return;
                    }
                }
                Err(error) => {
                    self.file.flush().unwrap();
                    let daemon = self.daemon.take().map(Daemon::wait);
                    panic!("{what}: {error}; the history is in {}; the daemon: {daemon:#?}", self.path.display());
                }
            }
        }
    }

    fn await_answers(&mut self, mut count: usize) {
        self.until("nobody gets an answer", |record| {
            count -= usize::from(matches!(record.event, Event::Ok { .. }));
            count == 0
        });
    }

    fn await_refusals(&mut self, mut count: usize) {
        self.until("nobody is refused", |record| {
            count -= usize::from(matches!(&record.event, Event::Refused { why, .. } if why.contains("storage_")));
            count == 0
        });
    }

    /// Takes records for so long: while the daemon is stopped there is no event that could be awaited.
    fn pass(&mut self, at_most: Duration) {
        let end = Instant::now() + at_most;
        loop {
            match self.records.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(record) => self.keep(record),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => panic!("the clients have died; see above"),
            }
        }
    }

    /// Not right after an answer, but wherever the others are by then.
    fn wander(&mut self) {
        for _ in 0..self.random.below(20_000) {
            std::hint::spin_loop();
        }
    }

    fn kill(&mut self) {
        self.wander();
        self.daemon.take().unwrap().kill();
    }

    fn befall(&mut self, kind: Kind) {
        match kind {
            Kind::Kill => self.kill_and_start(),
            Kind::KillTwice => {
                self.kill();
                self.kill_one_that_starts();
                self.start();
            }
            Kind::KillCompacting => {
                let hooks = self.daemon().hooks;
                let ask = move || drop(crate::support::mortal::post(hooks, "/v1/compact", "{}"));
                let asking = std::thread::Builder::new().spawn(ask).unwrap();
                let answers = 1 + self.random.below(60);
                self.await_answers(answers);
                self.kill_and_start();
                asking.join().unwrap();
            }
            Kind::Stop => {
                let code = self.daemon.take().unwrap().stop();
                self.scribe.note(Event::Ended { code, wanted: 0, after_ms: 0 });
                self.start();
            }
            Kind::Pause => {
                nemesis::signal(self.daemon().pid(), Signal::STOP);
                let milliseconds = 20 + self.random.below(300);
                self.pass(Duration::from_millis(milliseconds as u64));
                if self.random.below(3) == 0 {
                    self.kill_and_start();
                } else {
                    nemesis::signal(self.daemon().pid(), Signal::CONT);
                }
            }
            Kind::ShortWrites | Kind::WriteFails | Kind::Full => self.refuse_writes(kind),
            Kind::SyncFails | Kind::CutFails => self.break_the_log(kind),
            Kind::Append | Kind::Garbage => self.append_from_outside(kind),
            Kind::Replace | Kind::Drop | Kind::Rewrite => self.edit(kind),
            Kind::Compact => {
                let answer = self.daemon().post_json("/v1/compact", &json!({}));
                assert!([200, 404].contains(&answer.status), "{answer:?}");
            }
        }
    }

    fn kill_and_start(&mut self) {
        self.kill();
        self.start();
    }

    fn kill_one_that_starts(&mut self) {
        let mut command = self.place.command();
        let mut child = command.arg("serve").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..self.random.below(2_000_000) {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn log(&self) -> Vec<u8> {
        std::fs::read(self.place.log_path()).unwrap()
    }

    /// The log refuses what it is given, and after a while does not any more.
    fn refuse_writes(&mut self, kind: Kind) {
        let pid = self.daemon().pid();
        let mut strace = None;
        match kind {
            Kind::ShortWrites => {
                let room = self.random.below(3000) as u64;
                nemesis::limit_file_size(pid, Some(std::fs::metadata(self.place.log_path()).unwrap().len() + room));
            }
            Kind::Full => self.disk.as_ref().unwrap().fill(),
            _ => {
                let error = *self.random.pick(&["EIO", "ENOSPC", "EDQUOT"]);
                let inject = format!("write:error={error}:when={}+", 1 + self.random.below(5));
                strace = Strace::attach(pid, &self.place.state(), &inject);
                assert!(strace.is_some(), "strace went away");
            }
        }
        let refusals = 1 + self.random.below(40);
        self.await_refusals(refusals);
        match kind {
            Kind::ShortWrites => nemesis::limit_file_size(pid, None),
            Kind::Full => self.disk.as_ref().unwrap().empty(),
            _ => strace.take().unwrap().detach(),
        }
        let begun = Instant::now();
        let mut written = 0;
        // A prompt is answered all the time; an answer that depends on the disk is what shows that it is written again.
        self.until("the log is not written again", |record| {
            written += usize::from(matches!(record.event, Event::Ok { message: Some(_), .. }));
            written > 20
        });
        let after = u64::try_from(begun.elapsed().as_millis()).unwrap();
        self.report.slowest_return_ms = self.report.slowest_return_ms.max(after);
    }

    /// A sync or taking back fails: nobody can tell what is on the disk, and the daemon must end.
    fn break_the_log(&mut self, kind: Kind) {
        let pid = self.daemon().pid();
        let inject = match kind {
            Kind::SyncFails => format!("fdatasync:error=EIO:when={}", 1 + self.random.below(20)),
            _ => "pwrite64,ftruncate:error=EIO:when=1+".to_owned(),
        };
        let strace = Strace::attach(pid, &self.place.state(), &inject).unwrap();
        if kind == Kind::CutFails {
            let room = 1 + self.random.below(3000) as u64;
            nemesis::limit_file_size(pid, Some(std::fs::metadata(self.place.log_path()).unwrap().len() + room));
        }
        let (status, said) = self.daemon.take().unwrap().wait();
        let (after_ms, unsynced) = strace.wait();
        self.report.slowest_end_ms = self.report.slowest_end_ms.max(after_ms);
        self.scribe.note(Event::Ended { code: status.code(), wanted: 74, after_ms });
        assert!(said.iter().any(|line| line.contains("cannot be trusted")), "{said:#?}");
        let log = self.log();
        // A tracer that came between the write and the sync did not see the write.
        let from = if unsynced > 0 { log.len() - unsynced } else { nemesis::last_batch(&log) };
        self.scribe.note(Event::Unsynced { rows: nemesis::new_rows(&log[from..]) });
        if self.random.below(2) == 0 {
            // The disk keeps as much of it as it likes.
            let length = from + self.random.below(log.len() - from + 1);
            let file = std::fs::OpenOptions::new().write(true).open(self.place.log_path()).unwrap();
            file.set_len(length as u64).unwrap();
        }
        self.start();
    }

    /// Somebody appends while everybody works.
    fn append_from_outside(&mut self, kind: Kind) {
        for _ in 0..1 + self.random.below(4) {
            if kind == Kind::Garbage {
                nemesis::append(&self.place, &nemesis::garbage(&mut self.random));
            } else {
                let (text, rows) = self.rows_of_somebody_else();
                // There may be half a line at the end.
                if nemesis::append(&self.place, format!("\n{text}").as_bytes()) {
                    self.scribe.note(Event::Outside { rows });
                }
            }
            self.await_answers(20);
        }
    }

    fn rows_of_somebody_else(&mut self) -> (String, Vec<String>) {
        self.outside += 1;
        let to = shim_name(self.random.below(SHIMS));
        nemesis::outside_rows(self.outside, &to)
    }

    /// Waits until nobody asks for anything any more. Says how many there are.
    fn hold(&mut self) -> usize {
        let clients = self.orders.len() - WATCHERS;
        self.tell(clients, Order::Hold);
        let mut held = 0;
        self.until("the clients do not stop", |record| {
            held += usize::from(record.event == Event::Held);
            held == clients
        });
        clients
    }

    /// Somebody edits the log while nobody works: an editor does not see what is written while it is open.
    fn edit(&mut self, kind: Kind) {
        let clients = self.hold();
        let (text, rows) = self.rows_of_somebody_else();
        let log = self.log();
        let (mut edited, disordered) = match kind {
            Kind::Drop => nemesis::without_some_rows(&log, &mut self.random),
            _ => (log, Vec::new()),
        };
        edited.extend_from_slice(format!("\n{text}").as_bytes());
        match kind {
            Kind::Rewrite => nemesis::rewrite(&self.place, &edited, &mut self.random),
            _ => nemesis::replace(&self.place, &edited),
        }
        self.scribe.note(Event::Disordered { messages: disordered });
        let session = rows[0].trim_start_matches("Session/").to_owned();
        self.scribe.note(Event::Outside { rows });
        let end = Instant::now() + DEADLINE;
        while !self.daemon().sessions().contains_key(&session) {
            assert!(Instant::now() < end, "what an editor wrote does not come to the roster");
            std::thread::yield_now();
        }
        self.tell(clients, Order::Go);
    }

    /// Everybody comes back and takes its mail; then the daemon is held against its log, and started once more.
    fn finish(mut self, plan: &Plan) -> Report {
        let clients = self.hold();
        self.tell(clients, Order::Drain);
        let mut drained = 0;
        self.until("the clients do not get their mail", |record| {
            drained += usize::from(matches!(record.event, Event::Drained { .. }));
            drained == clients
        });
        let running = shown("the daemon that ran", self.daemon());
        let code = self.daemon.take().unwrap().stop();
        self.scribe.note(Event::Ended { code, wanted: 0, after_ms: 0 });
        let log = self.log();
        let restarted = self.place.start();
        let again = shown("the daemon that was started again", &restarted);
        restarted.kill();
        self.orders.clear();
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok(), "a client died; see above");
        }
        let rest: Vec<Record> = self.records.try_iter().collect();
        rest.into_iter().for_each(|record| self.keep(record));
        self.file.flush().unwrap();
        self.history.sort_by_key(|record| record.at);
        let (violations, counts) = checker::check(&self.history, &log, &[running, again], plan.judge_time);
        if violations.is_empty() {
            std::fs::remove_file(&self.path).unwrap();
        } else {
            std::fs::write(self.path.with_extension("log"), &log).unwrap();
            eprintln!("the history is in {}, the log beside it", self.path.display());
        }
        Report { violations, counts, ..self.report }
    }
}

/// All that a daemon shows.
fn shown(who: &str, daemon: &Daemon) -> Shown {
    let mut shown = Shown { who: who.to_owned(), rows: Default::default() };
    let mut shim = daemon.connect();
    for item_type in ["Session", "Room", "RoomMember", "Message", "MessageRead"] {
        let (_, snapshot) = shim.query(item_type);
        for upsert in snapshot["upserts"].as_array().unwrap() {
            let id = upsert["item"]["id"].as_str().unwrap().to_owned();
            shown.rows.insert((item_type.to_owned(), id), upsert["item"].clone());
        }
    }
    shown
}

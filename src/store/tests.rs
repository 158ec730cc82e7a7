//! Tests of the store on a simulated log.

use super::*;
use crate::event_log::key::LogKey;
use crate::event_log::replay::Fold;
use crate::event_log::{LOG_NAME, SUSPECT_NAME};
use crate::model::Row;
use crate::model::Session;
use crate::roster::{Caller, HookReport, Known};
use crate::row_json::row_text;
use crate::watcher::LogReader;
use crossbeam_channel::bounded;
use std::collections::BTreeSet;

mod churn;
mod clients;
mod compaction;
mod ends;
mod events;
mod held;
mod order;
mod others;
mod races;
#[path = "../../tests/support/sim_disk.rs"]
mod sim_disk;

use sim_disk::{Op, SimDisk};

/// One thing that happened, in the order in which it did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Did {
    /// Something was done to the disk.
    Disk(Op),
    /// A caller was answered: its name, and `ok` or the error's code.
    Answer(&'static str, &'static str),
    /// A client's socket was closed.
    Disconnect(&'static str),
}

const KEY: LogKey = LogKey::of([7; 16]);
const SYNC: Did = Did::Disk(Op::Sync);

fn append(lines: usize) -> Did {
    Did::Disk(Op::Append(lines))
}

struct Bench {
    store: Store<SimDisk>,
    disk: SimDisk,
    did: Sender<Did>,
    happened: Receiver<Did>,
    jobs: Receiver<ReadJob>,
    reader: LogReader,
    compact_jobs: Receiver<CompactJob>,
    wished: Receiver<ProcessWish>,
    batch: Vec<Command>,
    ms: i64,
}

impl Bench {
    fn new() -> Self {
        let (did, happened) = bounded(100_000);
        let disk = SimDisk::new();
        KEY.save(&disk).unwrap();
        let log = Log::open(disk.clone(), KEY).unwrap();
        let tell = did.clone();
        disk.listen(Box::new(move |_, op| tell.try_send(Did::Disk(op.clone())).unwrap()));
        let (watcher, jobs) = bounded(64);
        let (compactor, compact_jobs) = bounded(1);
        let (wishes, wished) = bounded(2);
        let start = Start {
            roster: Roster::new(),
            log,
            replayed_bytes: 0,
            ends_with_newline: true,
            malformed_lines: 0,
            places: Places::default(),
            watcher,
            live_bytes: 0,
            compact_over_bytes: 16 * 1024,
            processes: ProcessWatch::new(wishes, Box::new(|| {})),
            compactor,
            transcripts: crossbeam_channel::bounded(1).0,
            ids: Box::new(crate::ids::SeededIds::new(1)),
            source_id: "a16f50bd-e0ec-473f-9e1a-e1c8eab281fe".to_owned(),
        };
        let (store, batch) = (Store::new(start), Vec::new());
        Self {
            store,
            disk,
            did,
            happened,
            jobs,
            reader: LogReader::default(),
            compact_jobs,
            wished,
            batch,
            ms: 1_000_000,
        }
    }

    /// With a session by hook, one by shim and one silent shim client, and nothing left to tell.
    fn with_sessions() -> (Self, Receiver<Box<Frame>>) {
        let mut bench = Self::new();
        let frames = bench.client("c1", 64);
        bench.start("hook");
        bench.publish("c1", "shim");
        bench.turn();
        bench.happened();
        (bench, frames)
    }

    fn ask(&mut self, name: &'static str, request: Request) {
        let did = self.did.clone();
        let reply_to: ReplyTo = Box::new(move |result| {
            let code = result.as_ref().map_or_else(|error| error.kind.code(), |_| "ok");
            did.try_send(Did::Answer(name, code)).unwrap();
        });
        self.batch.push(Command::Request { request, reply_to: Some(reply_to) });
    }

    fn start(&mut self, id: &str) {
        let report = HookReport { session_id: id.to_owned(), cwd: Some("/w".to_owned()), ..HookReport::default() };
        self.ask("start", Request::session_start(report));
    }

    fn prompt(&mut self, id: &str) {
        let report = HookReport { session_id: id.to_owned(), ..HookReport::default() };
        self.ask("prompt", Request::prompt_submit(report));
    }

    fn send(&mut self, from: &str, to: &str) {
        let request = Request::send(Caller::session(from), to, "x");
        self.ask("send", request);
    }

    fn client(&mut self, client: &'static str, room: usize) -> Receiver<Box<Frame>> {
        let (sender, frames) = bounded(room);
        let did = self.did.clone();
        let close = Box::new(move || did.try_send(Did::Disconnect(client)).unwrap());
        self.batch.push(Command::Connect {
            client: client.into(),
            known: Known::Unproven,
            outbox: Outbox::new(sender, close),
        });
        frames
    }

    fn publish(&mut self, client: &str, id: &str) {
        let session = Box::new(Session::new(id.into(), id, "/w", 1));
        let request = Request::PublishSession { client: client.into(), session };
        self.batch.push(Command::Request { request, reply_to: None });
    }

    fn task(&mut self, session: &str, text: &str) {
        let change = crate::roster::SessionChange::CurrentTask(Some(text.to_owned()));
        self.ask("task", Request::UpdateSession { session: session.into(), change });
    }

    fn query(&mut self, client: &str, tx: &str, view: View) {
        self.batch.push(Command::Query { client: client.into(), tx: tx.to_owned(), view });
    }

    fn try_turn(&mut self) -> Result<(), Fatal> {
        self.ms += 1;
        self.store.turn(&mut self.batch, Now::at(self.ms), || false)
    }

    fn turn(&mut self) {
        self.try_turn().unwrap();
    }

    fn happened(&self) -> Vec<Did> {
        self.happened.try_iter().collect()
    }

    /// Does what the watcher does.
    fn read_for_store(&mut self) {
        while let Ok(job) = self.jobs.try_recv() {
            self.read(job);
            self.turn();
        }
    }

    /// Does what the watcher does for one job; the answer comes with the next batch.
    fn read(&mut self, job: ReadJob) {
        self.batch.extend(self.reader.answer(job));
    }

    /// The same with the next job, which there must be.
    fn read_next(&mut self) {
        let job = self.jobs.try_recv().unwrap();
        self.read(job);
    }

    /// The roster's rows without their signs of life, of which the log is told once a minute.
    fn rows(&self) -> BTreeSet<String> {
        self.store.roster.rows_in_order().iter().map(without_activity).collect()
    }

    /// The rows that tell of something else than of sessions that ended.
    fn living(&self) -> BTreeSet<String> {
        self.rows().into_iter().filter(|row| !row.contains(r#""endedAt""#)).collect()
    }

    fn rows_in_log(&self) -> BTreeSet<String> {
        let rows = Fold::read(&self.disk.read(LOG_NAME)[..], &KEY).unwrap().into_rows();
        rows.iter().map(without_activity).collect()
    }

    fn log_bytes(&self) -> Vec<u8> {
        self.disk.read(LOG_NAME)
    }

    fn log_text(&self) -> String {
        String::from_utf8(self.log_bytes()).unwrap()
    }

    /// From now on so many bytes still fit onto the disk.
    fn space(&self, bytes: Option<u64>) {
        self.disk.state().faults.space = bytes;
    }

    fn report(&mut self) -> Report {
        let (sender, receiver) = bounded(1);
        self.batch.push(Command::Report(Box::new(move |report| sender.send(report).unwrap())));
        self.turn();
        receiver.try_recv().unwrap().unwrap()
    }
}

fn frames(outbox: &Receiver<Box<Frame>>) -> Vec<Frame> {
    outbox.try_iter().map(|frame| *frame).collect()
}

fn answers(did: &[Did], wanted: &str) -> usize {
    did.iter().filter(|did| matches!(did, Did::Answer(_, code) if *code == wanted)).count()
}

#[test]
fn a_batch_of_many_is_one_append_and_one_sync_and_every_answer_follows_the_sync() {
    // marshal 0.9 fault 8: one sync per event.
    let mut bench = Bench::new();
    for number in 0..100 {
        bench.start(&format!("s{number}"));
    }
    bench.turn();
    let did = bench.happened();
    // Session, project:w membership and everyone membership each, and the two rooms once.
    assert_eq!(did[..2], [append(302), SYNC]);
    assert_eq!((did.len(), answers(&did, "ok")), (102, 100));
    assert_eq!((bench.store.stats.commits, bench.store.stats.largest_batch), (1, 302));
    assert_eq!(bench.rows(), bench.rows_in_log());
}

#[test]
fn a_batch_of_more_changes_than_the_bound_is_committed_in_parts_and_each_answer_follows_its_sync() {
    let mut bench = Bench::new();
    for number in 0..1_000 {
        bench.start(&format!("s{number}"));
    }
    bench.turn();
    let (mut synced_lines, mut answered) = (0, 0);
    for did in bench.happened() {
        match did {
            Did::Disk(Op::Append(lines)) => synced_lines += lines,
            Did::Answer("start", "ok") => answered += 1,
            SYNC => {}
            other => panic!("{other:?}"),
        }
        assert!(answered * 3 <= synced_lines);
    }
    assert_eq!(answered, 1_000);
    assert!(bench.store.stats.largest_batch < BATCH_COMMANDS_MAX + 8);
}

fn without_activity(row: &Row) -> String {
    let mut row: serde_json::Value = serde_json::from_str(&row_text(row)).unwrap();
    row.as_object_mut().unwrap().remove("lastActivityAt");
    row.to_string()
}

#[test]
fn a_refused_append_tells_every_caller_changes_nothing_and_pushes_nothing_and_reading_goes_on() {
    let (mut bench, outbox) = Bench::with_sessions();
    let (before, log) = (bench.rows(), bench.log_bytes());
    let no_space = Did::Disk(Op::NoSpace);
    let cut = [append(0), no_space.clone(), Did::Disk(Op::Blank), SYNC];
    for (space, refusal) in [(0, vec![no_space]), (40, cut.to_vec())] {
        bench.space(Some(space));
        bench.send("hook", "shim");
        bench.start("another");
        bench.task("hook", "new");
        bench.turn();
        let full = |name| Did::Answer(name, "storage_full");
        assert_eq!(bench.happened(), [refusal, vec![full("send"), full("start"), full("task")]].concat());
        assert_eq!(bench.rows(), before, "{space}");
        let left = bench.log_bytes().split_off(log.len());
        assert!(left.len() == space as usize && left.trim_ascii().is_empty(), "{space}: {left:?}");
        assert!(frames(&outbox).is_empty(), "{space}");
    }
    bench.ask("list", Request::ListSessions);
    bench.prompt("hook");
    bench.turn();
    assert_eq!(bench.happened()[0], Did::Answer("list", "ok"));
    assert!(bench.report().refused.is_some());
}

#[test]
fn reading_goes_on_in_the_very_batch_that_cannot_be_written() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.space(Some(0));
    bench.send("hook", "shim");
    bench.start("another");
    let (sender, receiver) = bounded(1);
    let reply_to: ReplyTo = Box::new(move |result| sender.send(result).unwrap());
    bench.batch.push(Command::Request { request: Request::ListSessions, reply_to: Some(reply_to) });
    bench.turn();
    let Ok(Reply::Sessions(sessions)) = receiver.try_recv().unwrap() else { panic!("not the sessions") };
    assert_eq!(sessions.len(), 2, "and what could not be written is not shown");
}

/// row 97
#[test]
fn every_request_that_only_looks_is_answered_in_a_batch_that_cannot_be_written() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let caller = || Caller::session("hook");
    let filter = crate::roster::MessageFilter::default;
    bench.space(Some(0));
    bench.start("another");
    bench.ask("sessions", Request::ListSessions);
    bench.ask("rooms", Request::ListRooms);
    bench.ask("history", Request::History(crate::roster::HistoryQuery::default()));
    bench.ask("outbox", Request::Outbox { caller: caller(), before: None, limit: None });
    bench.ask("inbox", Request::ReadMessages { caller: caller(), filter: filter() });
    bench.ask("me", Request::Me(caller()));
    bench.ask("events", Request::Hear(caller()));
    bench.turn();
    let answers = ["sessions", "rooms", "history", "outbox", "inbox", "events"].map(|name| Did::Answer(name, "ok"));
    let told = bench.happened();
    for answer in answers.iter().chain([&Did::Answer("me", "unauthorized")]) {
        assert!(told.contains(answer), "{answer:?} is not in {told:?}");
    }
}

#[test]
fn a_look_shows_what_came_before_it_in_its_batch_and_nothing_of_what_came_after() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let (sender, receiver) = bounded(1);
    let reply_to: ReplyTo = Box::new(move |result| sender.send(result).unwrap());
    bench.start("before");
    bench.batch.push(Command::Request { request: Request::ListSessions, reply_to: Some(reply_to) });
    bench.start("after");
    bench.turn();
    let Ok(Reply::Sessions(sessions)) = receiver.try_recv().unwrap() else { panic!("not the sessions") };
    let ids: BTreeSet<&str> = sessions.iter().map(|view| view.session.row.id.as_str()).collect();
    assert_eq!(ids, BTreeSet::from(["before", "hook", "shim"]));
}

#[test]
fn health_is_red_until_there_is_room_for_more_than_a_line() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.space(Some(0));
    bench.send("hook", "shim");
    bench.turn();
    let report = bench.report();
    assert!(report.refused.is_some());
    assert_eq!(report.stats.failed_commits, 1);
    bench.space(Some(1_000));
    bench.send("hook", "shim");
    bench.batch.push(Command::Tick);
    bench.turn();
    assert!(bench.happened().contains(&Did::Answer("send", "ok")), "what fits is stored");
    assert!(bench.report().refused.is_some());
    bench.space(None);
    bench.batch.push(Command::Tick);
    bench.turn();
    assert_eq!(bench.report().refused, None);
    assert_eq!(bench.rows(), bench.rows_in_log());
    bench.batch.push(Command::LogTouched);
    bench.turn();
    assert!(bench.jobs.is_empty(), "nobody else has written");
}

#[test]
fn health_is_green_again_after_the_probe_of_a_tick_although_nobody_writes() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.space(Some(0));
    bench.send("hook", "shim");
    bench.batch.push(Command::Tick);
    bench.turn();
    assert!(bench.report().refused.is_some());
    bench.batch.push(Command::Tick);
    bench.turn();
    assert!(bench.report().refused.is_some(), "the probe is refused too");
    bench.space(None);
    bench.batch.push(Command::Tick);
    bench.turn();
    assert_eq!(bench.report().refused, None);
    assert_eq!(bench.rows(), bench.rows_in_log());
    assert_eq!(Fold::read(&bench.log_bytes()[..], &KEY).unwrap().damage.lines, 0, "a probe is no damage");
}

#[test]
fn a_broken_append_or_a_failed_sync_is_fatal_and_nobody_is_answered() {
    let break_log = sim_disk::Faults { space: Some(40), fail_cut: true, ..Default::default() };
    let break_cut = sim_disk::Faults { space: Some(40), fail_sync: Some(0), ..Default::default() };
    let fail_sync = sim_disk::Faults { fail_sync: Some(0), ..Default::default() };
    for faults in [break_log, break_cut, fail_sync] {
        let (mut bench, outbox) = Bench::with_sessions();
        bench.disk.state().faults = faults.clone();
        bench.send("hook", "shim");
        assert_eq!(bench.try_turn().unwrap_err().code, exit_code::IO);
        assert!(bench.happened().iter().all(|did| matches!(did, Did::Disk(_))), "{faults:?}");
        assert!(frames(&outbox).is_empty());
        assert!(bench.disk.state().shown(SUSPECT_NAME).is_some(), "the next start is warned: {faults:?}");
    }
}

#[test]
fn a_failed_sync_of_a_probe_is_fatal_like_any_other() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.space(Some(0));
    bench.send("hook", "shim");
    bench.turn();
    bench.space(None);
    // Not of the file that shows whether there is room, but of the log, which gets a line behind that.
    bench.disk.before_next_append(Box::new(|disk| {
        disk.before_next_append(Box::new(|disk| disk.state().faults.fail_sync = Some(0)));
    }));
    bench.batch.push(Command::Tick);
    assert_eq!(bench.try_turn().unwrap_err().code, exit_code::IO);
}

#[test]
fn a_prompt_is_answered_without_the_disk_until_the_persisted_activity_is_old() {
    // marshal 0.9 fault 7: one row and one sync per prompt.
    let (mut bench, _outbox) = Bench::with_sessions();
    for _ in 0..50 {
        bench.prompt("hook");
        bench.turn();
    }
    let did = bench.happened();
    assert_eq!((did.len(), answers(&did, "ok")), (50, 50));
    bench.ms += crate::limits::ACTIVITY_PERSIST_EVERY_MS;
    bench.prompt("hook");
    bench.turn();
    let did = bench.happened();
    // Nobody waits for that line: the answer comes first.
    assert_eq!(did, [Did::Answer("prompt", "ok"), append(1), SYNC]);
}

#[test]
fn what_is_said_about_a_session_that_the_batch_changed_waits_for_the_disk() {
    let (mut bench, _outbox) = Bench::with_sessions();
    bench.send("shim", "hook");
    bench.prompt("hook");
    bench.turn();
    let ok = |name| Did::Answer(name, "ok");
    assert_eq!(bench.happened(), [append(1), SYNC, ok("send"), ok("prompt")]);
}

//! What the store wants of who watches processes, and what it makes of their ends.

use super::*;
use crate::model::Process;

fn process(pid: u32) -> Process {
    Process { pid, started: 1, boot: "boot".into() }
}

fn only<const N: usize>(pids: [u32; N]) -> ProcessWish {
    ProcessWish::WatchOnly(pids.map(process).into())
}

impl Bench {
    fn start_in(&mut self, id: &str, pid: u32) {
        let report = HookReport { session_id: id.to_owned(), process: Some(process(pid)), ..HookReport::default() };
        self.ask("start", Request::session_start(report));
    }

    fn end_process(&mut self, pid: u32) {
        self.batch.push(Command::ProcessEnded(process(pid)));
    }

    fn end_session(&mut self, id: &str) {
        self.ask("end", Request::session_end(id.into()));
    }

    fn tick(&mut self) {
        self.batch.push(Command::Tick);
        self.turn();
    }

    fn wished(&self) -> Vec<ProcessWish> {
        self.wished.try_iter().collect()
    }

    fn sessions(&self) -> usize {
        self.store.roster.counts().sessions
    }

    /// One that has been told all, and has room again.
    fn caught_up() -> Self {
        let mut bench = Self::new();
        bench.tick();
        assert_eq!(bench.wished(), [only([])]);
        bench
    }
}

#[test]
fn what_was_committed_is_wished_and_what_was_taken_back_is_not() {
    let mut bench = Bench::caught_up();
    bench.start_in("a", 7);
    bench.start_in("b", 7);
    bench.turn();
    assert_eq!(bench.wished(), [ProcessWish::Watch(process(7))]);
    bench.prompt("a");
    bench.end_session("b");
    bench.turn();
    assert_eq!(bench.wished(), [ProcessWish::Watch(process(7))], "one session of it is left");
    bench.start_in("a", 8);
    bench.turn();
    // What is left in the first is no operator's, until it has ended.
    assert_eq!(bench.wished(), [ProcessWish::Watch(process(7)), ProcessWish::Watch(process(8))]);
    bench.space(Some(0));
    bench.start_in("c", 9);
    bench.start_in("a", 9);
    bench.turn();
    assert_eq!(bench.wished(), []);
    bench.start_in("d", 10);
    bench.end_session("d");
    bench.space(None);
    bench.turn();
    assert_eq!(bench.wished(), [ProcessWish::Watch(process(10))], "an agent's, although its session has ended");
}

#[test]
fn a_watcher_without_room_is_told_all_at_a_later_tick() {
    let mut bench = Bench::caught_up();
    for pid in 1..=5 {
        bench.start_in(&pid.to_string(), pid);
        bench.turn();
    }
    bench.end_session("2");
    bench.tick();
    assert_eq!(bench.wished(), [ProcessWish::Watch(process(1)), ProcessWish::Watch(process(2))]);
    bench.start_in("6", 6);
    bench.turn();
    assert_eq!(bench.wished(), [], "what it missed is not told in parts");
    bench.tick();
    assert_eq!(bench.wished(), [only([1, 2, 3, 4, 5, 6])]);
    bench.tick();
    assert_eq!(bench.wished(), []);
}

#[test]
fn all_is_told_when_its_batch_is_done_and_not_while_it_may_be_taken_back() {
    let mut bench = Bench::new();
    bench.start_in("a", 7);
    bench.turn();
    bench.space(Some(0));
    bench.end_session("a");
    bench.start_in("b", 8);
    bench.tick();
    assert_eq!((bench.wished(), bench.sessions()), (vec![only([7])], 1));
}

#[test]
fn a_process_takes_its_sessions_along_and_is_forgotten() {
    let mut bench = Bench::caught_up();
    bench.start_in("a", 7);
    bench.start_in("b", 8);
    bench.turn();
    bench.wished();
    bench.end_process(7);
    bench.turn();
    assert_eq!((bench.sessions(), bench.wished()), (1, vec![ProcessWish::Forget(process(7))]));
    assert_eq!(bench.rows(), bench.rows_in_log());
    assert!(bench.store.processes.ended().is_empty());
}

#[test]
fn an_end_that_comes_while_the_disk_is_full_is_kept_until_there_is_room() {
    let mut bench = Bench::caught_up();
    bench.start_in("a", 7);
    bench.start_in("b", 8);
    bench.turn();
    bench.space(Some(0));
    bench.end_process(7);
    bench.turn();
    bench.happened();
    for _ in 0..3 {
        bench.tick();
        assert_eq!(bench.sessions(), 2);
    }
    assert!(!bench.happened().iter().any(|did| matches!(did, Did::Disk(Op::Append(1..)))));
    bench.space(None);
    bench.tick();
    assert_eq!(bench.sessions(), 1);
    assert_eq!(bench.rows(), bench.rows_in_log());
    assert!(bench.store.processes.ended().is_empty());
}

#[test]
fn a_session_that_is_stated_in_a_process_that_has_ended_is_told_of_that_again() {
    let mut bench = Bench::caught_up();
    bench.start_in("a", 7);
    bench.turn();
    bench.end_process(7);
    bench.turn();
    bench.wished();
    // A hook that saw it alive, and was late.
    bench.start_in("a", 7);
    bench.turn();
    assert_eq!(bench.wished(), [ProcessWish::Watch(process(7))]);
}

#[test]
fn an_end_that_comes_with_what_is_refused_is_not_lost_with_it() {
    let mut bench = Bench::caught_up();
    bench.start_in("a", 7);
    bench.turn();
    bench.start_in("b", 8);
    bench.end_process(7);
    bench.space(Some(40));
    bench.turn();
    assert_eq!((bench.sessions(), bench.store.processes.ended()), (1, vec![process(7)]));
    bench.space(None);
    bench.tick();
    assert_eq!(bench.sessions(), 0);
}

// row 38
#[test]
fn an_ordered_stop_writes_what_sessions_are_at() {
    use crate::roster::{EventKind, HookEvent};
    let mut bench = Bench::new();
    let events = [EventKind::Prompt { quoted: Vec::new() }, EventKind::BeforeTool("Bash".to_owned()), EventKind::Stop];
    for kind in events {
        let report = HookReport { session_id: "s".to_owned(), ..HookReport::default() };
        let agent = Some(crate::model::Agent::Claude);
        let event = HookEvent { report, agent, kind, ..HookEvent::default() };
        bench.ask("event", Request::HookEvent(Box::new(event)));
        bench.turn();
    }
    let state = |disk: &SimDisk| {
        let rows = Fold::read(&disk.read(LOG_NAME)[..], &KEY).unwrap().into_rows();
        let found = rows.iter().find_map(|row| match row {
            Row::Session(stored) => stored.row.doing.state,
            _ => None,
        });
        found.unwrap()
    };
    let Bench { store, disk, .. } = bench;
    assert_eq!(state(&disk), crate::model::State::Working, "what follows within a minute is in memory alone");
    let (tx, rx) = bounded(4);
    tx.send(Command::Stop).unwrap();
    store.run(&rx, SystemClock::start()).unwrap();
    assert_eq!(state(&disk), crate::model::State::Idle);
}

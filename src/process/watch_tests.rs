//! Tests of the process watcher, with a system that answers what a test wants, and with the real one.

use super::*;
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::process::{Child, Command as Program, Stdio};

/// A system in which every id belongs to the process that the test says.
#[derive(Default)]
struct Told {
    /// Who has an id; an error for an id that is not here.
    bearers: RefCell<BTreeMap<u32, Option<Process>>>,
    /// Whether there are handles, which here are this test's own and never tell anything.
    gives_handles: Cell<bool>,
    looks: Cell<usize>,
}

impl Look for Told {
    fn handle(&self, _: u32) -> io::Result<Option<OwnedFd>> {
        if self.gives_handles.get() { facts::handle(std::process::id()) } else { Err(Errno::MFILE.into()) }
    }

    fn identify_all(&self, pids: &[u32]) -> Vec<io::Result<Option<Process>>> {
        self.looks.set(self.looks.get() + 1);
        let bearers = self.bearers.borrow();
        pids.iter().map(|pid| bearers.get(pid).cloned().ok_or_else(|| Errno::ACCESS.into())).collect()
    }
}

struct Bench<L> {
    watcher: Watcher<L>,
    wishes: Sender<ProcessWish>,
    commands: Receiver<Command>,
    events: Events,
}

impl<L: Look> Bench<L> {
    fn new(look: L, handles_max: usize) -> Self {
        let (wishes, wished) = bounded(64);
        let (store, commands) = bounded(64);
        let watcher = Watcher::new(look, handles_max, wished, store).unwrap();
        Self { watcher, wishes, commands, events: Events::with_capacity(8) }
    }

    fn wish(&mut self, wish: ProcessWish) {
        self.wishes.send(wish).unwrap();
        self.watcher.next_look = Some(Instant::now());
        self.turn();
    }

    /// A turn in which it is time to look.
    fn look(&mut self) {
        self.watcher.next_look = Some(Instant::now());
        self.turn();
    }

    fn turn(&mut self) {
        assert!(self.watcher.turn(&mut self.events).unwrap());
    }

    /// The processes whose end was told.
    fn ended(&self) -> Vec<Process> {
        let ended = |command| match command {
            Command::ProcessEnded(process) => process,
            other => panic!("{other:?}"),
        };
        self.commands.try_iter().map(ended).collect()
    }

    /// How many have a handle, and how many are looked after without.
    fn watched(&self) -> (usize, usize) {
        assert_eq!(self.watcher.handles.len(), self.watcher.by_token.len());
        assert_eq!(self.watcher.next_look.is_some(), !self.watcher.looked_after.is_empty(), "no look without a reason");
        (self.watcher.handles.len(), self.watcher.looked_after.len())
    }
}

impl Bench<Told> {
    fn say(&self, pid: u32, bearer: Option<Process>) {
        self.watcher.look.bearers.borrow_mut().insert(pid, bearer);
    }
}

fn process(pid: u32) -> Process {
    Process { pid, started: 1, boot: "boot".into() }
}

fn sleeper() -> (Child, Process) {
    let child = Program::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
    let process = facts::identify(child.id()).unwrap().unwrap();
    (child, process)
}

/// Checklist M13.
#[test]
fn what_may_not_be_looked_at_is_alive_and_what_cannot_be_read_changes_nothing() {
    let mut bench = Bench::new(Told::default(), 8);
    bench.wish(ProcessWish::Watch(process(7)));
    for _ in 0..20 {
        bench.look();
    }
    assert_eq!((bench.ended(), bench.watched()), (vec![], (0, 1)));
    bench.say(7, Some(process(7)));
    bench.look();
    assert_eq!(bench.ended(), []);
    bench.say(7, None);
    bench.look();
    assert_eq!((bench.ended(), bench.watched()), (vec![process(7)], (0, 0)), "once it can be read it counts");
}

#[test]
fn another_moment_of_birth_or_another_boot_is_another_process() {
    for other in [Process { started: 2, ..process(7) }, Process { boot: "later".into(), ..process(7) }] {
        for gives_handles in [false, true] {
            let mut bench = Bench::new(Told::default(), 8);
            bench.watcher.look.gives_handles.set(gives_handles);
            bench.say(7, Some(other.clone()));
            bench.wish(ProcessWish::Watch(process(7)));
            assert_eq!((bench.ended(), bench.watched()), (vec![process(7)], (0, 0)));
        }
    }
}

#[test]
fn beyond_its_share_of_handles_it_looks_at_all_others_in_one_pass_and_takes_a_handle_when_one_is_free() {
    let mut bench = Bench::new(Told::default(), 2);
    bench.watcher.look.gives_handles.set(true);
    (1..=5).for_each(|pid| bench.say(pid, Some(process(pid))));
    bench.wish(ProcessWish::WatchOnly((1..=5).map(process).collect()));
    assert_eq!(bench.watched(), (2, 3));
    let before = bench.watcher.look.looks.get();
    bench.look();
    assert_eq!(bench.watcher.look.looks.get() - before, 1);
    bench.say(4, None);
    bench.look();
    assert_eq!((bench.ended(), bench.watched()), (vec![process(4)], (2, 2)));
    bench.wish(ProcessWish::Forget(process(1)));
    assert_eq!(bench.watched(), (2, 1));
    bench.wish(ProcessWish::WatchOnly([process(2), process(9)].into()));
    assert_eq!((bench.ended(), bench.watched()), (vec![], (1, 1)), "9 cannot be identified yet");
    bench.say(9, Some(process(9)));
    bench.look();
    assert_eq!(bench.watched(), (2, 0));
    bench.wish(ProcessWish::WatchOnly(BTreeSet::new()));
    assert_eq!((bench.ended(), bench.watched()), (vec![], (0, 0)));
}

#[test]
fn a_process_that_is_killed_is_told_of_once_without_being_asked_for() {
    let mut bench = Bench::new(System, 8);
    let ((mut first, one), (mut second, other)) = (sleeper(), sleeper());
    for process in [&one, &other, &one] {
        bench.wish(ProcessWish::Watch(process.clone()));
        bench.watcher.next_look = None;
    }
    assert_eq!(bench.watched(), (2, 0));
    first.kill().unwrap();
    // Not reaped: dead is dead. Sleeps until the system wakes it; there is no time at which it would look.
    bench.turn();
    assert_eq!((bench.ended(), bench.watched()), (vec![one.clone()], (1, 0)));
    first.wait().unwrap();
    for gone in [one, Process { started: other.started + 1, ..other.clone() }] {
        bench.wish(ProcessWish::Watch(gone.clone()));
        assert_eq!((bench.ended(), bench.watcher.handles.len()), (vec![gone], 1));
    }
    second.kill().unwrap();
    second.wait().unwrap();
    bench.watcher.next_look = None;
    bench.turn();
    assert_eq!(bench.ended(), [other]);
}

#[test]
fn the_thread_ends_when_nobody_can_wish_anything_any_more() {
    let (store, commands) = bounded(8);
    let (exits, exited) = bounded(1);
    let (watch, thread) = start(8, store, &exits).unwrap();
    drop(watch);
    thread.join().unwrap();
    assert!(exited.try_recv().is_err() && commands.try_recv().is_err());
}

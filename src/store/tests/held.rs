//! Every effect of a batch that is held until the batch is on disk: none of them happens when it cannot be written, and
//! none is lost that is owed all the same.

use super::*;
use crate::model::{Agent, ItemType, Path, Priority, Process};
use crate::roster::{EventKind, HookEvent, Wishes};
use crossbeam_channel::TryRecvError;

/// What a waiter was told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Begun,
    Woken(Vec<String>),
    Dismissed,
    Refused(&'static str),
}

struct Recorded {
    number: u64,
    /// How often there is no room to tell it what came.
    full: u32,
    told: Sender<(u64, Told)>,
}

impl Recorded {
    fn tell(&self, told: Told) {
        self.told.try_send((self.number, told)).unwrap();
    }
}

impl Waiter for Recorded {
    fn number(&self) -> u64 {
        self.number
    }

    fn begin(&mut self, _: &crate::ids::SessionId) -> bool {
        self.tell(Told::Begun);
        true
    }

    fn wake(mut self: Box<Self>, reply: HookReply) -> Result<(), (Box<dyn Waiter>, HookReply)> {
        if self.full > 0 {
            self.full -= 1;
            return Err((self, reply));
        }
        self.tell(Told::Woken(reply.inbox.iter().map(|handing| handing.message.row.body.to_string()).collect()));
        Ok(())
    }

    fn dismiss(self: Box<Self>) -> Result<(), Box<dyn Waiter>> {
        self.tell(Told::Dismissed);
        Ok(())
    }

    fn refuse(self: Box<Self>, error: RequestError) {
        self.tell(Told::Refused(error.kind.code()));
    }
}

/// A bench whose waiters are numbered in the order in which they come.
struct Waiting {
    bench: Bench,
    tell: Sender<(u64, Told)>,
    told: Receiver<(u64, Told)>,
    waiters: u64,
}

impl Waiting {
    fn new() -> Self {
        let (tell, told) = bounded(64);
        Self { bench: Bench::new(), tell, told, waiters: 0 }
    }

    /// With a session that idles.
    fn with_session() -> Self {
        let mut waiting = Self::new();
        waiting.event("s", EventKind::Start { same_context: false });
        waiting.bench.start("sender");
        waiting.bench.turn();
        waiting.bench.happened();
        waiting
    }

    fn event(&mut self, id: &str, kind: EventKind) {
        let report = HookReport { session_id: id.to_owned(), cwd: Some("/w".to_owned()), ..HookReport::default() };
        let takes = (kind == EventKind::Stop).then_some(Path::Stop);
        let event = HookEvent { report, agent: Some(Agent::Claude), kind, takes, ..HookEvent::default() };
        self.bench.ask("event", Request::HookEvent(Box::new(event)));
    }

    fn waits(&mut self, id: &str, at_least: Priority) {
        self.waits_where(id, at_least, 0);
    }

    fn waits_where(&mut self, id: &str, at_least: Priority, full: u32) {
        let report = HookReport { session_id: id.to_owned(), ..HookReport::default() };
        let event = Box::new(HookEvent { report, ..HookEvent::default() });
        self.waiters += 1;
        let waiter = Box::new(Recorded { number: self.waiters, full, told: self.tell.clone() });
        let request = Request::Wait { event, at_least };
        self.bench.batch.push(Command::Wait { request, waiter });
    }

    fn send(&mut self, body: &str, priority: Priority) {
        let wishes = Wishes { priority, ..Wishes::default() };
        let sending =
            crate::roster::Sending { wishes, ..crate::roster::Sending::new(Caller::session("sender"), "s", body) };
        self.bench.ask("send", Request::Send(Box::new(sending)));
    }

    /// A batch that cannot be written, whatever else is in it.
    fn fails(&mut self) {
        let failed = self.bench.store.stats.failed_commits;
        self.bench.start("not stored");
        self.bench.space(Some(0));
        self.bench.turn();
        assert_eq!(self.bench.store.stats.failed_commits, failed + 1);
        self.bench.space(None);
    }

    fn told(&self) -> Vec<(u64, Told)> {
        self.told.try_iter().collect()
    }

    fn waiters(&self) -> usize {
        self.bench.store.roster.counts().waiters
    }
}

fn woken(texts: &[&str]) -> Told {
    Told::Woken(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn nobody_begins_to_wait_by_a_batch_that_cannot_be_written() {
    for id in ["new", "s"] {
        let mut waiting = Waiting::with_session();
        if id == "new" {
            // Waiting brings nobody onto the roster; here the same batch does.
            waiting.bench.start(id);
        }
        waiting.waits(id, Priority::Now);
        waiting.fails();
        assert_eq!((waiting.told(), waiting.waiters()), (vec![(1, Told::Refused("storage_full"))], 0), "{id}");
        assert_eq!(waiting.bench.store.waiters.len(), 0, "{id}");
        waiting.send("too early", Priority::Now);
        waiting.bench.turn();
        assert_eq!(waiting.told(), [], "{id}");
    }
}

#[test]
fn who_waited_before_waits_on_as_before_when_another_one_could_not_begin() {
    let mut waiting = Waiting::with_session();
    waiting.waits("s", Priority::Now);
    waiting.bench.turn();
    waiting.waits("s", Priority::Next);
    waiting.fails();
    assert_eq!(waiting.told(), [(1, Told::Begun), (2, Told::Refused("storage_full"))]);
    waiting.send("usual", Priority::Next);
    waiting.bench.turn();
    assert_eq!((waiting.told(), waiting.waiters()), (vec![], 1), "the first one waits for what is urgent");
    waiting.send("urgent", Priority::Now);
    waiting.bench.turn();
    assert_eq!((waiting.told(), waiting.waiters()), (vec![(1, woken(&["urgent"]))], 0));
}

#[test]
fn nobody_is_woken_with_what_could_not_be_stored() {
    let mut waiting = Waiting::with_session();
    waiting.waits("s", Priority::Now);
    waiting.bench.turn();
    waiting.send("lost", Priority::Now);
    waiting.fails();
    assert_eq!((waiting.told(), waiting.waiters()), (vec![(1, Told::Begun)], 1));
    waiting.bench.turn();
    assert_eq!(waiting.told(), []);
    waiting.send("stored", Priority::Now);
    waiting.bench.turn();
    assert_eq!((waiting.told(), waiting.waiters()), (vec![(1, woken(&["stored"]))], 0));
}

/// The mail was stored before. What could not be written is that its session may be woken by now, and something else.
#[test]
fn a_wake_that_a_batch_owed_comes_with_the_next_one() {
    let mut waiting = Waiting::with_session();
    waiting.event("s", EventKind::Prompt { quoted: Vec::new() });
    waiting.waits("s", Priority::Now);
    waiting.send("owed", Priority::Now);
    waiting.bench.turn();
    assert_eq!(waiting.told(), [(1, Told::Begun)], "it works, and is not woken");
    // Its turn ends, and the host cannot be answered with the mail.
    waiting.bench.ms += crate::limits::WORKING_SILENCE_MAX_MS + 1;
    waiting.bench.batch.push(Command::Tick);
    waiting.fails();
    assert_eq!((waiting.told(), waiting.waiters()), (vec![], 1));
    waiting.bench.batch.push(Command::Tick);
    waiting.bench.turn();
    assert_eq!((waiting.told(), waiting.waiters()), (vec![(1, woken(&["owed"]))], 0));
}

#[test]
fn mail_that_could_not_wake_for_a_failed_batch_is_free_at_once() {
    let mut waiting = Waiting::with_session();
    waiting.send("urgent", Priority::Now);
    waiting.bench.turn();
    // It would be woken at once, if this could be written.
    waiting.waits("s", Priority::Now);
    waiting.fails();
    waiting.waits("s", Priority::Now);
    waiting.bench.turn();
    let refused = (1, Told::Refused("storage_full"));
    assert_eq!(waiting.told(), [refused, (2, Told::Begun), (2, woken(&["urgent"]))]);
}

#[test]
fn who_cannot_be_told_now_is_told_with_the_next_batch() {
    let mut waiting = Waiting::with_session();
    waiting.waits_where("s", Priority::Now, 2);
    waiting.send("urgent", Priority::Now);
    waiting.bench.turn();
    assert_eq!((waiting.told(), waiting.waiters()), (vec![(1, Told::Begun)], 1));
    for told in [vec![], vec![(1, woken(&["urgent"]))]] {
        waiting.bench.batch.push(Command::Tick);
        waiting.bench.turn();
        assert_eq!(waiting.told(), told);
    }
}

/// Ended sessions: who waits for one is sent away when its end is on disk, and not before.
#[test]
fn nobody_is_sent_away_by_an_end_that_could_not_be_written() {
    let mut waiting = Waiting::with_session();
    waiting.waits("s", Priority::Now);
    waiting.bench.turn();
    waiting.event("s", EventKind::End);
    waiting.fails();
    assert_eq!((waiting.told(), waiting.waiters()), (vec![(1, Told::Begun)], 1));
    waiting.event("s", EventKind::End);
    waiting.bench.turn();
    assert_eq!((waiting.told(), waiting.waiters()), (vec![(1, Told::Dismissed)], 0));
}

#[test]
fn no_client_subscriber_or_watcher_hears_of_a_batch_that_cannot_be_written() {
    let (mut bench, pushed) = Bench::with_sessions();
    // The watcher knows all processes, and is told of each new one.
    bench.batch.push(Command::Tick);
    let watching = bench.client("c2", 64);
    bench.query("c2", "q", View::Items(ItemType::Message));
    let (sender, heard) = bounded(64);
    let outbox = Outbox::new(sender, Box::new(|| {}));
    let hearing = Hearing { limit: None, known: Known::Machine };
    bench.batch.push(Command::Subscribe { client: "k".into(), outbox, hearing, since: None });
    bench.turn();
    let settle = |bench: &Bench| {
        frames(&pushed).clear();
        frames(&watching).clear();
        frames(&heard).clear();
        bench.wished.try_iter().for_each(drop);
        bench.happened().clear();
    };
    settle(&bench);

    bench.space(Some(0));
    let wishes = Wishes { track: Some("c2".into()), ..Wishes::default() };
    let sending =
        crate::roster::Sending { wishes, ..crate::roster::Sending::new(Caller::session("hook"), "shim", "x") };
    bench.ask("send", Request::Send(Box::new(sending)));
    let process = Process { pid: 7, started: 1, boot: "boot".into() };
    let report = HookReport { session_id: "lives".to_owned(), process: Some(process), ..HookReport::default() };
    bench.ask("start", Request::session_start(report));
    bench.turn();
    for (name, frames) in [("a push", &pushed), ("a live query", &watching), ("a subscriber", &heard)] {
        assert!(matches!(frames.try_recv(), Err(TryRecvError::Empty)), "{name}");
    }
    assert_eq!(bench.wished.try_iter().count(), 0, "no process is watched for a session that is not there");
    assert_eq!(bench.store.hub.tracked(), 0, "nobody is told how far a message gets that is not there");
    let told = bench.happened();
    assert_eq!(answers(&told, "storage_full"), 2, "{told:?}");

    // The same again, and all of it happens.
    bench.space(None);
    let wishes = Wishes { track: Some("c2".into()), ..Wishes::default() };
    let sending =
        crate::roster::Sending { wishes, ..crate::roster::Sending::new(Caller::session("hook"), "shim", "x") };
    bench.ask("send", Request::Send(Box::new(sending)));
    let process = Process { pid: 7, started: 1, boot: "boot".into() };
    let report = HookReport { session_id: "lives".to_owned(), process: Some(process), ..HookReport::default() };
    bench.ask("start", Request::session_start(report));
    bench.turn();
    assert!([&pushed, &watching, &heard].iter().all(|outbox| !frames(outbox).is_empty()));
    assert_eq!((bench.wished.try_iter().count(), bench.store.hub.tracked()), (1, 1));
}

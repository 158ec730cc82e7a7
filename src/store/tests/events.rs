//! What subscribers hear of a commit.

use super::*;
use crate::limits::EVENTS_KEPT_MAX;
use crate::model::{Priority, Process, TokenHash};
use crate::roster::{HookEvent, Known, Limit, Registering};

fn token(number: u8) -> TokenHash {
    TokenHash([number; 32])
}

impl Bench {
    fn register(&mut self, id: &str, number: u8) {
        let (session_id, display_name) = (id.to_owned(), id.to_owned());
        let registering = Registering { token: token(number), session_id, display_name, ..Registering::default() };
        self.ask("register", Request::Register(Box::new(registering)));
    }

    fn subscribe(
        &mut self,
        client: &'static str,
        as_session: Option<(&str, u8)>,
        since: Option<&str>,
    ) -> Receiver<Box<Frame>> {
        let (sender, frames) = bounded(8);
        let did = self.did.clone();
        let close = Box::new(move || did.try_send(Did::Disconnect(client)).unwrap());
        let (outbox, since) = (Outbox::new(sender, close), since.map(str::to_owned));
        let limit = as_session.map(|(id, number)| Limit { session: id.into(), token: Some(token(number)) });
        let hearing = Hearing { limit, known: Known::Machine };
        self.batch.push(Command::Subscribe { client: client.into(), outbox, hearing, since });
        self.turn();
        frames
    }
}

/// What a subscriber has been told since it was asked for the last time.
fn told(frames: &Receiver<Box<Frame>>) -> Vec<String> {
    let mut told = Vec::new();
    for frame in frames.try_iter() {
        match *frame {
            Frame::Raw(bytes) => told.push(String::from_utf8(bytes).unwrap().lines().next().unwrap().to_owned()),
            Frame::End => told.push("end".to_owned()),
            Frame::Events(events) => told.extend(events.iter().map(|event| match &event.news {
                News::Join(seen) => format!("join {}", seen.session.row.id),
                News::Change(seen) => format!("change {}", seen.session.row.id),
                News::Leave(session, gone) => format!("leave {} {}", session.row.id, gone.as_str()),
                News::Message(message, _) => format!("message {} {}", message.row.from_session_id, message.row.body),
                News::Delivery(message, view) => {
                    format!("{} {} {}", message.row.body, view.standing.as_str(), view.session)
                }
                News::Reset(sessions) => format!("reset {}", sessions.len()),
            })),
            other => panic!("{other:?}"),
        }
    }
    told
}

fn id_of(bench: &Bench, number: u64) -> String {
    format!("{}-{number}", bench.store.source_id)
}

const CONNECTED: &str = ": connected";

/// The id that a greeting makes its client come back with, and whether anything follows it.
fn greeting(frames: &Receiver<Box<Frame>>) -> Option<String> {
    let Frame::Raw(bytes) = *frames.try_recv().unwrap() else { panic!("not a greeting") };
    let text = String::from_utf8(bytes).unwrap();
    text.lines().find_map(|line| line.strip_prefix("id: ").map(str::to_owned))
}

#[test]
fn a_greeting_names_no_event_that_its_subscriber_has_not_heard() {
    // row 78: a connection that is cut right behind its greeting comes back with the greeting's id.
    let (mut bench, _shim) = Bench::with_sessions();
    let newest = id_of(&bench, bench.store.events.last());
    assert_eq!(greeting(&bench.subscribe("new", None, None)), Some(newest.clone()));
    bench.start("missed");
    bench.turn();
    let resumed = bench.subscribe("resumed", None, Some(&newest));
    assert_eq!(greeting(&resumed), Some(newest.clone()));
    // Cut before the missed event: the next try hears of it.
    let again = bench.subscribe("again", None, Some(&newest));
    assert_eq!(told(&again), [CONNECTED, "join missed"]);
    let reset = bench.subscribe("reset", None, Some("another-run-7"));
    assert_eq!(greeting(&reset), None, "until it has the reset, it has heard nothing that could be gone on from");
    assert_eq!(told(&reset), ["reset 3"]);
}

#[test]
fn a_subscriber_hears_of_sessions_and_messages_once_they_are_on_disk() {
    let (mut bench, _shim) = Bench::with_sessions();
    let all = bench.subscribe("all", None, None);
    assert_eq!(told(&all), [CONNECTED]);
    bench.start("new");
    bench.task("hook", "tests");
    bench.send("hook", "shim");
    bench.turn();
    assert_eq!(told(&all), ["join new", "change hook", "message hook x"]);
    bench.prompt("new");
    bench.batch.push(Command::Tick);
    bench.turn();
    assert_eq!(told(&all), Vec::<String>::new(), "signs of life are no news");
    bench.space(Some(0));
    bench.ask("end", Request::session_end("new".into()));
    bench.start("other");
    bench.turn();
    assert_eq!(told(&all), Vec::<String>::new(), "what was not stored is not told");
    bench.space(None);
    bench.ask("end", Request::session_end("new".into()));
    bench.turn();
    assert_eq!(told(&all), ["leave new ended"]);
}

#[test]
fn m08_watchers_hear_that_a_session_left_before_it_joins_again() {
    let mut bench = Bench::new();
    let all = bench.subscribe("all", None, None);
    bench.register("s", 1);
    bench.turn();
    let own = bench.subscribe("own", Some(("s", 1)), None);
    bench.register("s", 2);
    bench.turn();
    // While its own subscriber is there, it hears at once.
    assert_eq!(told(&all), [CONNECTED, "join s", "change s", "leave s replaced", "join s", "change s"]);
    assert_eq!(told(&own), [CONNECTED, "leave s replaced", "end"], "a void token hears nothing more");
    // The token moves to another session: one leave, not two.
    bench.register("t", 2);
    bench.turn();
    assert_eq!(told(&all), ["leave s replaced", "join t"]);
    // Replaced and gone in one batch.
    bench.register("t", 3);
    bench.ask("end", Request::session_end("t".into()));
    bench.turn();
    assert_eq!(told(&all), ["leave t replaced", "join t", "leave t ended"]);
    // Registered again, as before.
    bench.register("u", 4);
    bench.turn();
    bench.register("u", 4);
    bench.turn();
    assert_eq!(told(&all), ["join u"]);
}

#[test]
fn m25_a_session_hears_of_its_own_mail_only_and_never_its_own_echo() {
    let mut bench = Bench::new();
    bench.register("a", 1);
    bench.register("b", 2);
    bench.register("c", 3);
    bench.turn();
    let (a, b) = (bench.subscribe("ka", Some(("a", 1)), None), bench.subscribe("kb", Some(("b", 2)), None));
    assert_eq!((told(&a), told(&b)), (vec![CONNECTED.to_owned(), "change b".to_owned()], vec![CONNECTED.to_owned()]));
    bench.send("c", "a");
    bench.turn();
    assert_eq!((told(&a), told(&b)), (vec!["message c x".to_owned()], vec![]));
    bench.send("a", "@everyone");
    bench.send("b", "human:al");
    bench.turn();
    assert_eq!((told(&a), told(&b)), (vec![], vec!["message a x".to_owned()]));
    // Of others it hears what becomes of them; of itself that it is gone.
    bench.task("a", "tests");
    bench.turn();
    assert_eq!((told(&a), told(&b)), (vec![], vec!["change a".to_owned()]));
    bench.ask("deregister", Request::Deregister(token(1)));
    bench.turn();
    assert_eq!(told(&a), ["leave a deregistered", "end"]);
    assert_eq!(told(&b), ["leave a deregistered"]);
}

/// Somebody who waits until the test says that it has left.
pub(super) struct Patient;

impl Waiter for Patient {
    fn number(&self) -> u64 {
        7
    }

    fn begin(&mut self, _: &crate::ids::SessionId) -> bool {
        true
    }

    fn wake(self: Box<Self>, reply: HookReply) -> Result<(), (Box<dyn Waiter>, HookReply)> {
        Err((self, reply))
    }

    fn dismiss(self: Box<Self>) -> Result<(), Box<dyn Waiter>> {
        Ok(())
    }

    fn refuse(self: Box<Self>, error: RequestError) {
        panic!("{error}");
    }
}

/// How soon sessions hear, as a subscriber was told.
fn reaches(frames: &Receiver<Box<Frame>>) -> Vec<(String, &'static str, usize)> {
    let events = frames.try_iter().flat_map(|frame| match *frame {
        Frame::Events(events) => events.to_vec(),
        _ => Vec::new(),
    });
    let seen = events.map(|event| match &event.news {
        News::Join(seen) | News::Change(seen) => (seen.session.row.id.to_string(), seen.reach.as_str(), seen.unread),
        other => panic!("{other:?}"),
    });
    seen.collect()
}

#[test]
fn watchers_hear_how_soon_a_session_hears_when_nothing_else_has_changed() {
    let mut bench = Bench::new();
    let all = bench.subscribe("all", None, None);
    bench.start("s");
    bench.turn();
    assert_eq!(reaches(&all), [("s".to_owned(), "next_prompt", 0)]);
    let report = HookReport { session_id: "s".to_owned(), ..HookReport::default() };
    let event = Box::new(HookEvent { report, ..HookEvent::default() });
    let request = Request::Wait { event, at_least: Priority::Now };
    bench.batch.push(Command::Wait { request, waiter: Box::new(Patient) });
    bench.turn();
    // That it has been seen to wait is a change of its own, at which it is not there yet.
    assert_eq!(reaches(&all).last(), Some(&("s".to_owned(), "wakeable", 0)));
    bench.batch.push(Command::WaiterGone { session: "s".into(), number: Patient.number() });
    bench.turn();
    bench.turn();
    assert_eq!(reaches(&all), [("s".to_owned(), "next_prompt", 0)], "once");
    // A shim that is there, goes and comes back.
    let _frames = bench.client("c1", 64);
    bench.publish("c1", "shim");
    bench.turn();
    assert_eq!(reaches(&all), [("shim".to_owned(), "now", 0)]);
    bench.batch.push(Command::Disconnect { client: "c1".into() });
    bench.turn();
    assert_eq!(reaches(&all), [("shim".to_owned(), "none", 0)]);
    let _frames = bench.client("c1", 64);
    bench.turn();
    assert_eq!(reaches(&all), [("shim".to_owned(), "now", 0)]);
}

#[test]
fn a_subscriber_that_comes_back_hears_what_it_missed() {
    let mut bench = Bench::new();
    bench.register("a", 1);
    bench.register("b", 2);
    bench.turn();
    bench.send("b", "a");
    bench.send("a", "b");
    bench.turn();
    let since = |bench: &mut Bench, number: u64, as_session: Option<(&str, u8)>| {
        let id = id_of(bench, number);
        bench.batch.push(Command::Disconnect { client: "k".into() });
        let frames = bench.subscribe("k", as_session, Some(&id));
        told(&frames)[1..].to_vec()
    };
    assert_eq!(since(&mut bench, 0, None), ["join a", "join b", "message b x", "message a x"]);
    assert_eq!(since(&mut bench, 3, None), ["message a x"]);
    assert_eq!(since(&mut bench, 4, None), Vec::<String>::new());
    assert_eq!(since(&mut bench, 5, None), ["reset 2"], "no such event has been");
    assert_eq!(since(&mut bench, 2, Some(("a", 1))), ["message b x"], "and no more than it may");
    for other in ["", "x", "7", "another-run-1", "-1"] {
        let frames = bench.subscribe("k", None, Some(other));
        assert_eq!(told(&frames), [CONNECTED, "reset 2"], "{other:?}");
    }
    for number in 0..EVENTS_KEPT_MAX {
        bench.task("a", &format!("task {number}"));
        bench.turn();
    }
    // One more has told that a subscriber for `a` came.
    assert_eq!(since(&mut bench, 5, None).len(), EVENTS_KEPT_MAX);
    assert_eq!(since(&mut bench, 4, None), ["reset 2"], "what is not kept any more cannot be told");
}

#[test]
fn large_messages_leave_no_room_for_old_events() {
    let mut bench = Bench::new();
    bench.register("a", 1);
    bench.turn();
    for _ in 0..100 {
        let body = "x".repeat(crate::limits::MESSAGE_BODY_BYTES_MAX);
        bench.ask("send", Request::send(Caller::session("a"), "a", body));
        bench.turn();
    }
    let id = id_of(&bench, 85);
    let frames = bench.subscribe("k", None, Some(&id));
    assert_eq!(told(&frames).len(), 1 + 16, "those that are kept take up no more than their bound");
    let id = id_of(&bench, 84);
    let frames = bench.subscribe("k", None, Some(&id));
    assert_eq!(told(&frames)[1], "reset 1");
}

#[test]
fn one_that_does_not_take_its_events_is_cut_off_and_one_without_a_valid_token_sent_away() {
    let mut bench = Bench::new();
    let slow = bench.subscribe("slow", None, None);
    bench.subscribe("nobody", Some(("s1", 9)), None);
    assert!(bench.happened().contains(&Did::Disconnect("nobody")));
    for number in 0..8 {
        bench.start(&format!("s{number}"));
        bench.turn();
    }
    assert!(bench.happened().contains(&Did::Disconnect("slow")));
    assert_eq!(told(&slow).len(), 8);
    bench.start("more");
    bench.turn();
    assert!(!bench.happened().iter().any(|did| matches!(did, Did::Disconnect(_))), "it is cut off once");
}

#[test]
fn a_stream_that_was_begun_before_its_process_was_a_sessions_ends_then() {
    let mut bench = Bench::new();
    let agent = Process { pid: 7, started: 1, boot: "boot".into() };
    let (sender, frames) = bounded(8);
    let outbox = Outbox::new(sender, Box::new(|| panic!("it takes its frames")));
    let known = Known::Owner { chain: [agent.clone()].into(), terminal: None };
    let hearing = Hearing { limit: None, known };
    bench.batch.push(Command::Subscribe { client: "k".into(), outbox, hearing, since: None });
    bench.turn();
    let report = HookReport { session_id: "a".to_owned(), process: Some(agent), ..HookReport::default() };
    bench.ask("start", Request::session_start(report));
    bench.turn();
    assert_eq!(told(&frames), [": connected", "end"], "it hears nothing as somebody else");
}

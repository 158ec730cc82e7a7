//! Who speaks: what callers say of themselves against what they have shown.

use super::*;
use crate::limits::SEND_BURST_MAX;
use crate::model::{Process, Proof, Registration, TokenHash};
use crate::roster::HistoryQuery;

fn process(pid: u32) -> Process {
    Process { pid, started: u64::from(pid) * 10, boot: "boot".into() }
}

/// A caller on the Unix socket: its process, its parent, and so on.
fn owner(pids: &[u32]) -> Caller {
    let chain = pids.iter().copied().map(process).collect();
    Caller { known: Known::Owner { chain, terminal: None }, ..Caller::default() }
}

/// The same in a terminal of its own.
fn at_terminal(pids: &[u32]) -> Caller {
    beside(pids, pids)
}

/// The same in a terminal with these processes.
fn beside(pids: &[u32], on_it: &[u32]) -> Caller {
    let Known::Owner { chain, .. } = owner(pids).known else { panic!() };
    let terminal = Some(on_it.iter().copied().map(process).collect());
    Caller { known: Known::Owner { chain, terminal }, ..Caller::default() }
}

fn machine() -> Caller {
    Caller { known: Known::Machine, ..Caller::default() }
}

fn saying(session: &str, caller: Caller) -> Caller {
    Caller { as_session: Some(session.into()), ..caller }
}

fn token(text: &str) -> Option<Box<TokenHash>> {
    Some(Box::new(TokenHash::of(text)))
}

/// The sessions a (process 10), b (process 20, begun below a's), and c and d without a process; b and c have tokens.
fn world() -> World {
    let mut world = World::new();
    for id in ["a", "b", "c", "d"] {
        world.start(id, "/w/x");
    }
    let mut rows: Vec<ExternalEvent> = Vec::new();
    for (id, pid) in [("a", 10), ("b", 20)] {
        let Some(Row::Session(stored)) = world.roster.row(ItemType::Session, id) else { panic!() };
        let row = Session { process: Some(process(pid)), ..stored.row.clone() };
        rows.push(ExternalEvent::Set(row.into(), None));
    }
    for id in ["b", "c"] {
        let row = Registration {
            id: id.into(),
            token: TokenHash::of(id),
            registered_at: world.now.wall_ms,
            renewed_at: world.now.wall_ms,
        };
        rows.push(ExternalEvent::Set(row.into(), None));
    }
    world.ok(Request::External(rows));
    world
}

fn send(world: &mut World, caller: Caller) -> Result<(String, Proof), ErrorKind> {
    let request = Request::send(caller, "c", "hi");
    match world.apply(request).reply {
        Ok(Reply::Sent(sent)) => Ok((sent.message.row.from_session_id.to_string(), sent.message.row.proof.unwrap())),
        Ok(_) => panic!(),
        Err(error) => Err(error.kind),
    }
}

#[test]
fn a_sender_is_what_it_has_shown_to_be() {
    let mut world = world();
    let human = |caller: Caller| Caller { human: Some("ana".into()), ..caller };
    let or_human = |caller: Caller| Caller { else_human: Some("ana".into()), ..caller };
    let shows = |text: &str, caller: Caller| Caller { token: token(text), ..caller };
    let ok = |id: &str, proof| Ok((id.to_owned(), proof));
    let cases = [
        // A process of a session's tree is the session, whatever else it does not say.
        (owner(&[10]), ok("a", Proof::Process)),
        (owner(&[99, 11, 10, 1]), ok("a", Proof::Process)),
        (or_human(owner(&[99, 10])), ok("a", Proof::Process)),
        (saying("a", owner(&[99, 10])), ok("a", Proof::Process)),
        // The nearest one counts: an agent that was begun by another one.
        (owner(&[99, 20, 11, 10]), ok("b", Proof::Process)),
        (saying("a", owner(&[99, 20, 11, 10])), Err(ErrorKind::Forbidden)),
        // It is nobody else, and no human.
        (saying("b", owner(&[99, 10])), Err(ErrorKind::Forbidden)),
        (saying("c", owner(&[99, 10])), Err(ErrorKind::Forbidden)),
        (human(owner(&[99, 10])), Err(ErrorKind::Forbidden)),
        (saying("nobody", owner(&[99, 10])), Err(ErrorKind::UnknownCaller)),
        // Outside of all sessions there is the operator.
        (human(owner(&[99])), ok("human:ana", Proof::Operator)),
        (or_human(owner(&[99])), ok("human:ana", Proof::Operator)),
        (human(at_terminal(&[99])), ok("human:ana", Proof::Human)),
        // row 104: what an agent leaves behind on its terminal.
        (human(beside(&[99], &[99, 10])), ok("human:ana", Proof::Operator)),
        (human(beside(&[99], &[])), ok("human:ana", Proof::Human)),
        (or_human(at_terminal(&[99])), ok("human:ana", Proof::Human)),
        (saying("a", at_terminal(&[99])), ok("a", Proof::Operator)),
        (or_human(at_terminal(&[99, 10])), ok("a", Proof::Process)),
        (human(at_terminal(&[99, 10])), Err(ErrorKind::Forbidden)),
        // One that was gone before it could be looked at may have been anybody's.
        (or_human(owner(&[])), Err(ErrorKind::Unauthorized)),
        (saying("a", owner(&[])), Err(ErrorKind::Unauthorized)),
        (saying("c", owner(&[])), Err(ErrorKind::Unauthorized)),
        (saying("d", owner(&[])), ok("d", Proof::Asserted)),
        (shows("b", owner(&[])), ok("b", Proof::Token)),
        (saying("a", owner(&[99])), ok("a", Proof::Operator)),
        (human(machine()), ok("human:ana", Proof::Operator)),
        (saying("a", machine()), Err(ErrorKind::Forbidden)),
        (saying("c", machine()), Err(ErrorKind::Forbidden)),
        (saying("d", machine()), ok("d", Proof::Operator)),
        (owner(&[99]), Err(ErrorKind::UnknownCaller)),
        // A token is as good as a process, but for one that belongs to somebody else.
        (shows("b", machine()), ok("b", Proof::Token)),
        (shows("b", owner(&[99])), ok("b", Proof::Token)),
        (shows("b", owner(&[99, 20])), ok("b", Proof::Token)),
        (saying("b", shows("b", machine())), ok("b", Proof::Token)),
        (saying("a", shows("b", machine())), Err(ErrorKind::Forbidden)),
        (human(shows("b", machine())), Err(ErrorKind::Forbidden)),
        (shows("b", owner(&[99, 10])), Err(ErrorKind::Forbidden)),
        (shows("unknown", machine()), Err(ErrorKind::Unauthorized)),
        (saying("a", shows("unknown", machine())), Err(ErrorKind::Unauthorized)),
        // Without credentials everybody is what he says, and everybody can see that.
        (saying("a", Caller::default()), ok("a", Proof::Asserted)),
        (human(Caller::default()), ok("human:ana", Proof::Asserted)),
        (or_human(Caller::default()), ok("human:ana", Proof::Asserted)),
        (shows("b", Caller::default()), ok("b", Proof::Token)),
    ];
    for (caller, expected) in cases {
        assert_eq!(send(&mut world, caller.clone()), expected, "{caller:?}");
    }
}

#[test]
fn another_start_of_the_same_number_is_another_process() {
    let mut world = world();
    let later = Process { started: 101, ..process(10) };
    let other_boot = Process { boot: "later".into(), ..process(10) };
    for imposter in [later, other_boot] {
        let known = Known::Owner { chain: [imposter].into(), terminal: None };
        let caller = Caller { known, ..Caller::default() };
        assert_eq!(send(&mut world, saying("a", caller)).unwrap().1, Proof::Operator);
    }
}

#[test]
fn a_session_may_not_state_end_or_change_another_one() {
    let mut world = world();
    let refused = |world: &mut World, request: Request, caller: Caller| {
        assert_eq!(world.err(request.by(caller)).kind, ErrorKind::Forbidden);
    };
    let task = || update("b", SessionChange::CurrentTask(Some("x".into())));
    let publish = |client: &str, id: &str| stated(client, Session::new(id.into(), "", "/w/x", 1));
    refused(&mut world, Request::session_end("b".into()), owner(&[99, 10]));
    refused(&mut world, Request::prompt_submit(report("b", "")), owner(&[99, 10]));
    refused(&mut world, Request::session_start(report("b", "/w/y")), owner(&[99, 10]));
    refused(&mut world, task(), owner(&[99, 10]));
    refused(&mut world, publish("k", "b"), owner(&[99, 10]));
    // c has a token, and no process.
    refused(&mut world, Request::session_end("c".into()), owner(&[99, 10]));
    refused(&mut world, Request::session_end("c".into()), Caller { token: token("b"), ..machine() });
    // A session of its own in somebody else's shells.
    let in_process = |pid: u32| HookReport { process: Some(process(pid)), ..report("e", "/w/y") };
    refused(&mut world, Request::session_start(in_process(20)), owner(&[99, 10]));
    world.ok(Request::session_start(in_process(10)).by(owner(&[99, 10])));
    world.end("e");
    world.ok(Request::session_start(in_process(98)).by(owner(&[99, 10])));
    // The shell in which the human began it, or the agent that began it.
    refused(
        &mut world,
        Request::session_start(HookReport { process: Some(process(5)), ..report("f", "/w/y") }),
        owner(&[99, 10, 5]),
    );
    let mine = HookReport { process: Some(process(10)), ..report("b", "") };
    refused(&mut world, Request::prompt_submit(mine), owner(&[99, 20, 10]));
    // d has neither, and is another one all the same.
    refused(&mut world, Request::prompt_submit(report("d", "")), owner(&[99, 10]));
    refused(&mut world, Request::prompt_submit(report("a", "")), owner(&[99, 20, 10]));
    // Its own, one that is new, and the operator's hand on any.
    world.ok(Request::session_start(report("new", "/w/y")).by(owner(&[99, 10])));
    assert_eq!(world.session("new").process, Some(process(10)), "it lives where it began");
    world.ok(Request::prompt_submit(report("new", "")).by(owner(&[99, 10])));
    world.ok(task().by(owner(&[99, 20, 10])));
    world.ok(task().by(Caller { token: token("b"), ..machine() }));
    world.ok(Request::session_end("b".into()).by(owner(&[99])));
    world.ok(Request::session_end("c".into()).by(machine()));
    assert!(world.roster.row(ItemType::Session, "b").is_none());
}

#[test]
fn a_session_sees_no_mail_of_others_in_the_history() {
    let mut world = world();
    for (from, to) in [("a", "c"), ("c", "d"), ("d", "a"), ("c", "b")] {
        world.ok(Request::send(caller(from), to, format!("{from} to {to}")));
    }
    world.ok(Request::Broadcast { caller: caller("d"), room: "everyone".into(), body: "to all".into() });
    let bodies = |world: &mut World, query: HistoryQuery| match world.apply(Request::History(query)).reply {
        Ok(Reply::History(page)) => {
            Ok(page.messages.iter().map(|entry| entry.message.row.body.to_string()).collect::<Vec<_>>())
        }
        Ok(_) => panic!(),
        Err(error) => Err(error.kind),
    };
    let by = |caller: Caller| HistoryQuery { caller: Box::new(caller), ..HistoryQuery::default() };
    let mine = ["a to c", "d to a", "to all"].map(str::to_owned).to_vec();
    assert_eq!(bodies(&mut world, by(owner(&[99, 10]))), Ok(mine.clone()));
    let named = HistoryQuery { session: Some("a".into()), ..by(owner(&[99, 10])) };
    assert_eq!(bodies(&mut world, named), Ok(mine));
    let other = HistoryQuery { session: Some("d".into()), ..by(owner(&[99, 10])) };
    assert_eq!(bodies(&mut world, other), Err(ErrorKind::Forbidden));
    assert_eq!(bodies(&mut world, by(machine())).unwrap().len(), 5);
    assert_eq!(bodies(&mut world, by(owner(&[99]))).unwrap().len(), 5);
    assert_eq!(bodies(&mut world, by(owner(&[]))), Err(ErrorKind::UnknownCaller));
    let Ok(Reply::History(all)) = world.apply(Request::History(by(machine()))).reply else { panic!() };
    for entry in all.messages {
        let row = &entry.message.row;
        let one = HistoryQuery { message: Some(row.id.to_string()), ..by(owner(&[99, 10])) };
        let is_mine = ["a to c", "d to a", "to all"].contains(&&*row.body);
        assert_eq!(bodies(&mut world, one).is_ok(), is_mine, "{}", row.body);
    }
}

#[test]
fn a_process_in_which_a_session_lived_is_no_operators_until_it_ends() {
    let mut world = world();
    world.ok(Request::session_end("a".into()).by(owner(&[99, 10])));
    let human = |caller: Caller| Caller { human: Some("ana".into()), ..caller };
    for caller in
        [human(at_terminal(&[99, 10])), human(owner(&[99, 10])), saying("d", owner(&[99, 10])), owner(&[99, 10])]
    {
        assert_eq!(send(&mut world, caller.clone()), Err(ErrorKind::Forbidden), "{caller:?}");
    }
    assert_eq!(
        world
            .err(Request::History(HistoryQuery { caller: Box::new(owner(&[99, 10])), ..HistoryQuery::default() }))
            .kind,
        ErrorKind::Forbidden
    );
    assert_eq!(world.err(Request::prompt_submit(report("d", "")).by(owner(&[99, 10]))).kind, ErrorKind::Forbidden);
    // The next session in the same process, as after /clear.
    world.ok(Request::session_start(report("next", "/w/x")).by(owner(&[99, 10])));
    assert_eq!(send(&mut world, owner(&[99, 10])), Ok(("next".to_owned(), Proof::Process)));
    // A session that says that it lives elsewhere leaves a process behind.
    let moved = HookReport { process: Some(process(99)), ..report("next", "") };
    world.ok(Request::prompt_submit(moved).by(owner(&[99, 10])));
    assert_eq!(send(&mut world, human(at_terminal(&[98, 10]))), Err(ErrorKind::Forbidden));
    // Its number is somebody else's later.
    world.ok(Request::ProcessGone(process(10)));
    assert_eq!(send(&mut world, human(at_terminal(&[98, 10]))).unwrap().1, Proof::Human);
}

#[test]
fn more_sessions_in_one_process_have_no_more_turns() {
    let mut world = world();
    world.roster.limit_sends(Some(1));
    let mut sent = 0;
    for number in 0..3 {
        let in_it = HookReport { process: Some(process(10)), ..report(&format!("spam{number}"), "/w/y") };
        world.ok(Request::session_start(in_it).by(owner(&[99, 10])));
        while send(&mut world, owner(&[99, 10])).is_ok() {
            sent += 1;
        }
    }
    assert_eq!(sent, SEND_BURST_MAX);
}

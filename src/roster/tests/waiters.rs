//! Waking the idle, and pushing: who is woken for what and when, what waits for a turn's end, and what comes again for a
//! client that was away.

use super::*;
use crate::limits::{
    HANDED_LEASE_MS, HOOKS_SILENT_MS, PUSH_AGAIN_AGE_MAX_MS, PUSH_AGAIN_MAX, PUSHES_HELD_MAX, SWEEP_EVERY,
    TOOL_SILENCE_MAX_MS, WAKINGS_MAX, WORKING_SILENCE_MAX_MS,
};
use crate::model::{Agent, Evidence, KnownBy, Path, Priority, Recipient, State, Step, Terms};

/// A message of this priority, as somebody else may write it to the log.
fn mail(world: &mut World, id: &str, to: &str, priority: Priority) {
    let message = Message {
        id: id.into(),
        from_session_id: "a".into(),
        from_nick: "a".into(),
        to: Recipient::Session(to.into()),
        to_nick: to.into(),
        body: id.into(),
        sent_at: world.now.wall_ms,
        read_at: None,
        proof: None,
        terms: Some(Box::new(Terms { priority, ..Terms::default() })),
    };
    world.ok(Request::External(vec![ExternalEvent::Set(message.into(), None)]));
}

fn event(id: &str, kind: EventKind, takes: Option<Path>) -> HookEvent {
    HookEvent { report: report(id, ""), agent: Some(Agent::Claude), kind, takes, ..HookEvent::default() }
}

fn tell(world: &mut World, id: &str, kind: EventKind, takes: Option<Path>) -> HookReply {
    world.hook(Request::HookEvent(Box::new(event(id, kind, takes))))
}

fn prompt(quoted: &[&str]) -> EventKind {
    EventKind::Prompt { quoted: quoted.iter().map(|id| MessageId::from(*id)).collect() }
}

fn waits(id: &str, at_least: Priority) -> Request {
    let event = HookEvent { report: report(id, ""), kind: EventKind::Stop, ..HookEvent::default() };
    Request::Wait { event: Box::new(event), at_least }
}

/// The same in the middle of a turn.
fn waits_on(id: &str, at_least: Priority) -> Request {
    let event = HookEvent { report: report(id, ""), kind: EventKind::Other, ..HookEvent::default() };
    Request::Wait { event: Box::new(event), at_least }
}

fn rouse(world: &mut World) -> Roused {
    let roused = world.roster.rouse(world.now, &mut world.ids);
    world.roster.commit();
    roused
}

/// Who is woken, and with what; each is then told, as the store does.
fn woken(world: &mut World) -> Vec<(String, Vec<String>)> {
    let woken = rouse(world).woken;
    let all = woken.iter().map(|reply| {
        assert_eq!((reply.path, reply.introduce), (Path::Wait, false));
        (reply.session.as_ref().unwrap().row.id.to_string(), bodies(&reply.inbox))
    });
    let all: Vec<_> = all.collect();
    for (id, _) in &all {
        world.ok(Request::WaiterGone(id.as_str().into()));
    }
    all
}

fn only(id: &str, messages: &[&str]) -> Vec<(String, Vec<String>)> {
    vec![(id.to_owned(), messages.iter().map(|message| (*message).to_owned()).collect())]
}

fn handed(world: &mut World, id: &str, messages: &[&str], complete: bool) {
    let messages: Vec<_> = messages.iter().map(|message| MessageId::from(*message)).collect();
    let (tables, session) = (&world.roster.tables, id.into());
    let place = tables.messages[&messages[0]].place;
    // The number of the answer that it is in.
    let lease = (0..).find(|lease| tables.mail.is_in(place, &session, *lease)).unwrap();
    world.ok(Request::InboxHanded { session, messages, path: Path::Wait, lease, arrival: arrival(complete) });
}

/// Three sessions of which each has somebody who waits for urgent mail.
fn three() -> World {
    let mut world = World::new();
    for id in ["a", "b", "c"] {
        world.start(id, "/w/x");
        world.ok(waits(id, Priority::Now));
    }
    assert!(woken(&mut world).is_empty());
    world
}

fn step(world: &World, message: &str, session: &str) -> Option<Step> {
    let delivery = world.roster.tables.delivery(&message.into(), &session.into());
    delivery.map(|delivery| delivery.step.clone())
}

#[test]
fn an_urgent_message_wakes_the_session_that_it_is_for_and_no_other_one_and_once() {
    let mut world = three();
    assert_eq!(world.view("b").woken_by, Some(Priority::Now));
    mail(&mut world, "m1", "b", Priority::Now);
    mail(&mut world, "m2", "b", Priority::Next);
    assert_eq!(woken(&mut world), only("b", &["m1"]));
    assert_eq!((world.view("b").woken_by, world.roster.counts().waiters), (None, 2));
    mail(&mut world, "m3", "b", Priority::Now);
    assert!(woken(&mut world).is_empty(), "nobody waits for it any more");
    handed(&mut world, "b", &["m1"], true);
    assert_eq!(step(&world, "m1", "b"), Some(Step::Handed(Path::Wait)));
    assert!(world.session("b").doing.paths.has(Path::Wait));
}

#[test]
fn what_came_before_somebody_waits_wakes_as_well_and_patience_is_a_matter_of_asking() {
    let mut world = three();
    mail(&mut world, "m1", "b", Priority::Next);
    mail(&mut world, "m2", "b", Priority::Low);
    assert!(woken(&mut world).is_empty());
    world.ok(waits("b", Priority::Next));
    assert_eq!(woken(&mut world), only("b", &["m1"]));
    world.ok(waits("b", Priority::Next));
    assert!(woken(&mut world).is_empty(), "what is on its way wakes nobody");
}

#[test]
fn who_works_is_not_woken_and_the_end_of_the_turn_hands_the_mail_over() {
    let mut world = three();
    tell(&mut world, "b", prompt(&[]), None);
    mail(&mut world, "m1", "b", Priority::Now);
    assert!(woken(&mut world).is_empty());
    let stop = tell(&mut world, "b", EventKind::Stop, Some(Path::Stop));
    assert_eq!(bodies(&stop.inbox), ["m1"]);
    assert!(woken(&mut world).is_empty(), "its turn goes on with it");
    // A turn that ends without taking it.
    mail(&mut world, "m2", "b", Priority::Now);
    tell(&mut world, "b", EventKind::Stop, None);
    assert_eq!(woken(&mut world), only("b", &["m2"]));
}

// row 26
#[test]
fn no_hook_waits_where_the_agent_would_wait_for_it() {
    for agent in Agent::ALL {
        let mut world = World::new();
        let event = HookEvent { report: report("s", "/w/x"), agent: Some(agent), ..HookEvent::default() };
        world.ok(Request::HookEvent(Box::new(HookEvent { kind: EventKind::Start { same_context: false }, ..event })));
        let refused = world.apply(waits("s", Priority::Now)).reply.is_err();
        assert_eq!(
            (refused, world.roster.counts().waiters),
            (agent != Agent::Claude, usize::from(!refused)),
            "{agent:?}"
        );
        // A program that asks for it outside of any hook.
        world.ok(waits_on("s", Priority::Now));
        assert_eq!(world.roster.counts().waiters, 1, "{agent:?}");
    }
}

#[test]
fn who_waits_for_a_human_is_woken() {
    let mut world = three();
    tell(&mut world, "b", prompt(&[]), None);
    mail(&mut world, "m1", "b", Priority::Now);
    tell(&mut world, "b", EventKind::NeedsHuman("permission".to_owned()), None);
    assert_eq!(woken(&mut world), only("b", &["m1"]));
}

// row 11
#[test]
fn a_turn_of_which_nothing_is_heard_keeps_no_urgent_mail_for_long_and_other_mail_not_for_ever() {
    let a_look = i64::try_from(SWEEP_EVERY.as_millis()).unwrap();
    for (kind, bound) in
        [(prompt(&[]), WORKING_SILENCE_MAX_MS), (EventKind::BeforeTool("Bash".to_owned()), TOOL_SILENCE_MAX_MS)]
    {
        let mut world = three();
        world.ok(waits_on("b", Priority::Next));
        tell(&mut world, "b", prompt(&[]), None);
        tell(&mut world, "b", kind, None);
        mail(&mut world, "usual", "b", Priority::Next);
        mail(&mut world, "urgent", "b", Priority::Now);
        world.pass(HOOKS_SILENT_MS);
        world.sweep();
        assert!(woken(&mut world).is_empty());
        assert_ne!(world.view("b").reach, Reach::Wakeable);
        world.pass(a_look);
        world.sweep();
        assert_eq!(world.view("b").reach, Reach::Wakeable);
        assert_eq!(woken(&mut world), only("b", &["urgent"]));
        world.ack("b", &[&"urgent".into()]);

        // Somebody who waits again is no sign that the turn is over.
        world.ok(waits_on("b", Priority::Next));
        world.pass(bound);
        world.sweep();
        assert!(woken(&mut world).is_empty());
        world.pass(a_look);
        world.sweep();
        assert_eq!(woken(&mut world), only("b", &["usual"]));
    }
}

#[test]
fn what_comes_for_a_turn_that_is_not_sure_wakes_at_once_and_what_is_not_urgent_does_not() {
    let mut world = three();
    world.ok(waits_on("b", Priority::Next));
    tell(&mut world, "b", prompt(&[]), None);
    world.pass(HOOKS_SILENT_MS + 1);
    world.sweep();
    mail(&mut world, "usual", "b", Priority::Next);
    assert!(woken(&mut world).is_empty());
    mail(&mut world, "urgent", "b", Priority::Now);
    assert_eq!(woken(&mut world), only("b", &["urgent"]));
}

/// A message wakes three times at most, and then does not claim to be on its way.
#[test]
fn what_wakes_no_more_waits_for_the_next_prompt_and_says_so() {
    let mut world = three();
    mail(&mut world, "m1", "b", Priority::Now);
    let waits_for = |world: &World| {
        let placed = &world.roster.tables.messages["m1"];
        world.roster.delivery_to(&placed.stored.row, placed.place, "b".into()).standing
    };
    for _ in 0..WAKINGS_MAX {
        assert_eq!(woken(&mut world), only("b", &["m1"]));
        handed(&mut world, "b", &["m1"], true);
        world.ok(waits_on("b", Priority::Now));
        world.pass(HANDED_LEASE_MS + 1);
    }
    // Its model has not what it was handed any more, so that the message is free.
    tell(&mut world, "b", EventKind::Start { same_context: false }, None);
    assert_eq!(waits_for(&world), DeliveryStanding::Queued(Queued::BetweenTurns));
    assert!(woken(&mut world).is_empty());
}

#[test]
fn one_who_waits_at_a_turns_end_tells_of_it_if_nobody_else_does() {
    let mut world = World::new();
    world.start("b", "/w/x");
    tell(&mut world, "b", prompt(&[]), Some(Path::Prompt));
    world.ok(waits("b", Priority::Now));
    assert_eq!(world.session("b").doing.state, Some(State::Idle));
    // From now on its own hook tells, and may have prolonged the turn with mail.
    tell(&mut world, "b", EventKind::Stop, Some(Path::Stop));
    tell(&mut world, "b", prompt(&[]), Some(Path::Prompt));
    world.ok(waits("b", Priority::Now));
    assert_eq!(world.session("b").doing.state, Some(State::Working));
}

#[test]
fn an_answer_that_may_not_have_arrived_has_delivered_nothing() {
    let mut world = three();
    mail(&mut world, "m1", "b", Priority::Now);
    assert_eq!(woken(&mut world), only("b", &["m1"]));
    handed(&mut world, "b", &["m1"], false);
    assert_eq!(step(&world, "m1", "b"), Some(Step::Kept), "it waits, and the attempt is counted");
    world.ok(waits("b", Priority::Now));
    assert_eq!(woken(&mut world), only("b", &["m1"]));
}

#[test]
fn the_next_prompt_proves_by_quoting_it_that_what_woke_the_session_was_read() {
    let mut world = three();
    mail(&mut world, "m1", "b", Priority::Now);
    mail(&mut world, "m2", "b", Priority::Now);
    woken(&mut world);
    handed(&mut world, "b", &["m1", "m2"], true);
    tell(&mut world, "b", prompt(&["m1"]), None);
    let Some(Row::MessageRead(read)) = world.roster.row(ItemType::MessageRead, "m1::b") else { panic!() };
    assert_eq!((read.row.evidence, read.row.path), (Some(Evidence::Quoted), Some(Path::Wait)));
    assert_eq!(step(&world, "m2", "b"), Some(Step::Handed(Path::Wait)), "which nothing proves");
    // The next hook repeats it when its time is over.
    world.pass(HANDED_LEASE_MS + 1);
    let reply = tell(&mut world, "b", EventKind::Stop, Some(Path::Stop));
    assert_eq!((bodies(&reply.inbox), reply.inbox[0].repeat), (vec!["m2".to_owned()], true));
}

#[test]
fn nothing_wakes_a_session_for_ever() {
    let mut world = three();
    mail(&mut world, "m1", "b", Priority::Now);
    for _ in 0..WAKINGS_MAX {
        assert_eq!(woken(&mut world), only("b", &["m1"]));
        handed(&mut world, "b", &["m1"], true);
        world.ok(waits("b", Priority::Now));
        world.pass(HANDED_LEASE_MS - 1);
        assert!(woken(&mut world).is_empty(), "it may still be seen to be read");
        world.pass(1);
    }
    assert!(woken(&mut world).is_empty());
    assert_eq!(bodies(&world.prompt("b").inbox), ["m1"], "another hook shows it");
}

#[test]
fn one_who_waits_is_looked_at_again_when_what_is_on_its_way_is_free() {
    let mut world = three();
    mail(&mut world, "m1", "b", Priority::Now);
    woken(&mut world);
    world.ok(waits("b", Priority::Now));
    assert!(woken(&mut world).is_empty());
    // The daemon never heard what became of the answer.
    world.pass(crate::limits::HANDOVER_LEASE_MS);
    assert_eq!(woken(&mut world), only("b", &["m1"]));
}

// row 63
#[test]
fn waiting_brings_nobody_onto_the_roster_and_a_name_means_the_session_that_has_it() {
    let mut world = World::new();
    assert_eq!(world.err(waits("b", Priority::Now)).kind, ErrorKind::NotFound);
    world.publish("k", "b", "web@1");
    let named = |name: &str| {
        let report = HookReport { is_named: true, ..report(name, "") };
        Box::new(HookEvent { report, ..HookEvent::default() })
    };
    let wait = |name: &str| Request::Wait { event: named(name), at_least: Priority::Now };
    for (name, kind) in
        [("web", ErrorKind::Ambiguous), ("nobody", ErrorKind::NotFound), ("human:b", ErrorKind::NotFound)]
    {
        assert_eq!(world.err(wait(name)).kind, kind, "{name}");
        assert_eq!(world.err(Request::HookEvent(named(name))).kind, kind, "{name}");
    }
    for name in ["web@1", "b"] {
        assert!(matches!(world.ok(wait(name)), Reply::Waits(session) if session.as_str() == "b"));
        let guarded = wait(name).by(Caller { known: Known::Machine, ..Caller::default() });
        assert!(matches!(world.ok(guarded), Reply::Waits(session) if session.as_str() == "b"));
        let reply = world.hook(Request::HookEvent(named(name)));
        assert_eq!(reply.session.unwrap().row.id.as_str(), "b");
    }
    world.end("b");
    assert_eq!(world.err(wait("web@1")).kind, ErrorKind::NotFound, "it has ended");
    assert_eq!(world.roster.counts().sessions, 0);
}

// row 10
#[test]
fn a_change_of_a_session_is_asked_for_by_id_or_by_the_whole_of_its_name() {
    let mut world = World::new();
    world.publish("k", "b", "web@1");
    let task = |name: &str| update(name, SessionChange::CurrentTask(Some("merging".to_owned())));
    for name in ["b", "web@1"] {
        world.ok(task(name));
        assert_eq!(world.session("b").current_task.as_deref(), Some("merging"));
        world.ok(update("b", SessionChange::CurrentTask(None)));
    }
    assert_eq!(world.err(task("web")).kind, ErrorKind::Ambiguous);
    assert_eq!(world.err(task("nobody")).message, "Session nobody not found");
}

#[test]
fn a_sender_is_told_that_its_message_is_on_its_way_to_one_who_can_be_woken() {
    let mut world = three();
    world.ok(waits("b", Priority::Next));
    let sent = world.send("a", "b", "hello");
    assert_eq!(sent.delivery.standing, DeliveryStanding::Queued(Queued::OnItsWay));
    tell(&mut world, "b", prompt(&[]), Some(Path::Prompt));
    let sent = world.send("a", "b", "hello");
    assert_eq!(sent.delivery.standing, DeliveryStanding::Queued(Queued::Working));
}

#[test]
fn a_session_is_waited_for_by_whoever_may_speak_for_it() {
    let mut world = World::new();
    world.ok(Request::session_start(report_in("a", process(10))));
    world.ok(Request::session_start(report_in("b", process(20))));
    let known = Known::Owner { chain: Arc::from([process(11), process(10)]), terminal: None };
    let caller = Caller { known, ..Caller::default() };
    assert_eq!(world.err(waits("b", Priority::Now).by(caller.clone())).kind, ErrorKind::Forbidden);
    world.ok(waits("a", Priority::Now).by(caller));
    assert_eq!(world.roster.counts().waiters, 1);
}

// ---- pushes ----

fn pushed(pushes: &[Push]) -> Vec<(&str, bool)> {
    pushes.iter().map(|push| (&*push.message.row.body, push.repeat)).collect()
}

/// A session with hooks whose client shows pushes.
fn with_channel() -> World {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    world.publish("cb", "b", "");
    world.ok(update("b", SessionChange::ChannelsEnabled(Some(true))));
    world
}

fn send_all(world: &mut World, messages: &[&str]) -> Vec<Push> {
    let mut pushes = Vec::new();
    for message in messages {
        pushes.extend(world.apply(send("a", "b", message)).pushes);
        world.roster.commit();
    }
    pushes
}

/// M24 of the checklist.
#[test]
fn m24_what_is_not_urgent_is_pushed_after_the_turn_in_order_and_a_stuck_turn_ends() {
    let mut world = with_channel();
    assert_eq!(pushed(&send_all(&mut world, &["before"])), [("before", false)]);
    tell(&mut world, "b", prompt(&[]), None);
    assert!(send_all(&mut world, &["m1", "m2"]).is_empty());
    assert!(rouse(&mut world).pushes.is_empty());
    // What is urgent does not wait.
    mail(&mut world, "urgent", "b", Priority::Now);
    let urgent = world.roster.tables.messages["urgent"].stored.clone();
    assert_eq!(pushed(world.roster.push_new(&"b".into(), &urgent).as_slice()), [("urgent", false)]);
    world.ack("b", &[&"urgent".into()]);
    // What is sent in the batch in which the turn ends comes after what has waited.
    world.apply(Request::HookEvent(Box::new(event("b", EventKind::Stop, None))));
    assert!(world.apply(send("a", "b", "m3")).pushes.is_empty());
    let roused = rouse(&mut world);
    assert_eq!(pushed(&roused.pushes), [("m1", false), ("m2", false), ("m3", false)]);
    assert_eq!(pushed(&send_all(&mut world, &["after"])), [("after", false)]);
    // A turn of which nothing is heard any more.
    tell(&mut world, "b", prompt(&[]), None);
    assert!(send_all(&mut world, &["m4"]).is_empty());
    world.pass(WORKING_SILENCE_MAX_MS + 1);
    world.sweep();
    assert_eq!(pushed(&rouse(&mut world).pushes), [("m4", false)]);
}

#[test]
fn what_a_hook_took_meanwhile_is_not_pushed_and_of_much_that_waits_the_newest_is() {
    let mut world = with_channel();
    tell(&mut world, "b", prompt(&[]), None);
    let many: Vec<String> = (0..PUSHES_HELD_MAX + 2).map(|number| format!("m{number}")).collect();
    send_all(&mut world, &many.iter().map(String::as_str).collect::<Vec<_>>());
    let read = world.prompt("b").inbox;
    let newest = read.last().unwrap().message.row.body.to_string();
    tell(&mut world, "b", EventKind::Stop, None);
    let roused = rouse(&mut world);
    let first = pushed(&roused.pushes)[0].0.to_owned();
    assert_eq!((newest.as_str(), first.as_str()), ("m19", "m20"));
    assert_eq!(roused.pushes.len(), PUSHES_HELD_MAX + 2 - read.len());
    assert_eq!(pushed(&roused.pushes).last().unwrap().0, many.last().unwrap());
}

#[test]
fn a_turn_that_did_not_end_after_all_keeps_what_waits() {
    let mut world = with_channel();
    tell(&mut world, "b", prompt(&[]), None);
    send_all(&mut world, &["m1"]);
    world.apply(Request::HookEvent(Box::new(event("b", EventKind::Stop, None))));
    world.roster.roll_back();
    assert!(rouse(&mut world).pushes.is_empty());
    tell(&mut world, "b", EventKind::Stop, None);
    assert_eq!(pushed(&rouse(&mut world).pushes), [("m1", false)]);
}

/// Two sessions that are known by their clients alone.
fn two_shims() -> World {
    let mut world = World::new();
    world.publish("ca", "a", "a");
    world.publish("cb", "b", "b");
    world
}

fn publish(world: &mut World, client: &str, id: &str) -> Vec<Push> {
    world.connect(client);
    let outcome = world.apply(stated(client, Session::new(id.into(), id, "/w/shim", world.now.wall_ms)));
    world.roster.commit();
    outcome.pushes
}

/// M22 of the checklist, as far as the roster goes.
#[test]
fn m22_a_client_that_comes_back_is_pushed_again_what_it_did_not_acknowledge() {
    let mut world = two_shims();
    let taken = send_all(&mut world, &["read", "pushed"]);
    world.ack("b", &[&taken[0].message.row.id]);
    world.gone("cb");
    assert!(send_all(&mut world, &["meanwhile"]).is_empty());
    let again = publish(&mut world, "cb2", "b");
    assert_eq!(pushed(&again), [("pushed", true), ("meanwhile", false)]);
    assert_eq!(again[0].message.row.id, taken[1].message.row.id);
    assert!(publish(&mut world, "cb2", "b").is_empty(), "it states its session again");
    // Its session was given up, and begins anew.
    world.gone("cb2");
    world.pass(MINUTE);
    world.sweep();
    assert!(world.find("b").is_none());
    assert_eq!(pushed(&publish(&mut world, "cb3", "b")), [("pushed", true), ("meanwhile", true)]);
}

#[test]
fn what_comes_again_is_bounded_and_not_old() {
    let mut world = two_shims();
    send_all(&mut world, &["old"]);
    world.pass(PUSH_AGAIN_AGE_MAX_MS + 1);
    let many: Vec<String> = (0..PUSH_AGAIN_MAX + 3).map(|number| format!("m{number}")).collect();
    send_all(&mut world, &["a", "b", "c"]);
    world.gone("cb");
    assert_eq!(pushed(&publish(&mut world, "cb2", "b")), [("a", true), ("b", true), ("c", true)]);
    send_all(&mut world, &many.iter().map(String::as_str).collect::<Vec<_>>());
    world.gone("cb2");
    let again = publish(&mut world, "cb3", "b");
    let expected: Vec<_> = many[3..].iter().map(|body| (body.as_str(), true)).collect();
    assert_eq!(pushed(&again), expected);
}

#[test]
fn a_second_client_of_a_session_gets_what_was_pushed_to_the_first_once() {
    let mut world = two_shims();
    send_all(&mut world, &["m1"]);
    assert_eq!(pushed(&publish(&mut world, "cb2", "b")), [("m1", true)], "the first is still there");
    for _ in 0..3 {
        assert!(publish(&mut world, "cb", "b").is_empty());
        assert!(publish(&mut world, "cb2", "b").is_empty());
    }
    // The one that holds the session goes: the other one may not have what was pushed since.
    let outcome = world.apply(Request::ClientGone("cb2".into()));
    assert_eq!(pushed(&outcome.pushes), [("m1", true)]);
}

#[test]
fn after_a_restart_what_was_there_before_counts_as_pushed() {
    let mut world = two_shims();
    send_all(&mut world, &["m1"]);
    let mut world = world.restarted(MINUTE);
    world.publish("ca2", "a", "a");
    send_all(&mut world, &["m2"]);
    assert_eq!(pushed(&publish(&mut world, "cb2", "b")), [("m1", true), ("m2", false)]);
}

#[test]
fn a_session_that_never_had_a_client_is_pushed_its_mail_for_the_first_time() {
    let mut world = World::new();
    world.publish("ca", "a", "a");
    world.start("b", "/w/x");
    send_all(&mut world, &["m1", "m2"]);
    world.inbox("b");
    send_all(&mut world, &["m3"]);
    let session = Session { channels_enabled: Some(true), ..Session::new("b".into(), "", "/w/x", BIRTH) };
    world.connect("cb");
    let outcome = world.apply(stated("cb", session));
    assert_eq!(pushed(&outcome.pushes), [("m3", false)]);
    assert_eq!(outcome.pushes[0].read_when_written, Some("b".into()));
}

#[test]
fn what_was_held_for_a_turn_s_end_is_pushed_when_the_log_can_be_written_again() {
    let mut world = with_channel();
    tell(&mut world, "b", prompt(&[]), None);
    assert!(send_all(&mut world, &["m1", "m2"]).is_empty());
    let stop = || Request::HookEvent(Box::new(event("b", EventKind::Stop, None)));
    for _ in 0..2 {
        world.apply(stop()).reply.unwrap();
        assert_eq!(pushed(&world.roster.rouse(world.now, &mut world.ids).pushes), [("m1", false), ("m2", false)]);
        world.roster.roll_back();
        assert!(rouse(&mut world).pushes.is_empty(), "its turn is not over, as far as the log knows");
    }
    assert!(send_all(&mut world, &["m3"]).is_empty());
    world.ok(stop());
    assert_eq!(pushed(&rouse(&mut world).pushes), [("m1", false), ("m2", false), ("m3", false)]);
    assert!(rouse(&mut world).pushes.is_empty(), "once");
}

// row 38
#[test]
fn a_state_that_the_log_tells_of_is_not_believed_for_long() {
    use super::turn::InTurn;
    let is_in = |world: &World| world.roster.in_turn(&"b".into());
    let mut before = World::new();
    before.start("a", "/w/a");
    tell(&mut before, "b", prompt(&[]), None);
    tell(&mut before, "b", EventKind::BeforeTool("Bash".to_owned()), None);
    assert_eq!(is_in(&before), InTurn::Yes);
    let mut world = before.restarted(SECOND);
    assert_eq!(is_in(&world), InTurn::Unsure, "it may have ended while no daemon ran: what is urgent wakes it");
    world.sweep();
    assert_eq!(world.session("b").doing.known_by, KnownBy::Guessed);
    world.pass(WORKING_SILENCE_MAX_MS);
    world.sweep();
    assert_eq!(is_in(&world), InTurn::No, "its tool need not be at work any more");
    tell(&mut world, "b", EventKind::BeforeTool("Bash".to_owned()), None);
    assert_eq!((is_in(&world), world.session("b").doing.known_by), (InTurn::Yes, KnownBy::Told));
    world.pass(WORKING_SILENCE_MAX_MS);
    world.sweep();
    assert_eq!(is_in(&world), InTurn::Unsure);
}

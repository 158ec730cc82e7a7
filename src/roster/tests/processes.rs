//! Sessions whose process is known: they live as long as that.

use super::*;

#[test]
fn a_session_ends_with_its_process_and_with_nothing_else_of_time() {
    let mut world = World::new();
    world.start("hook", "/w/x");
    world.hook(Request::session_start(report_in("a", process(7))));
    world.join("a", "r");
    world.pass(DAY * 30);
    world.jump(DAY * 400);
    world.sweep();
    assert!(world.find("hook").is_none() && world.find("a").is_some(), "an agent left for a month");
    world.ok(Request::ProcessGone(process(8)));
    assert!(world.find("a").is_some());
    world.ok(Request::ProcessGone(process(7)));
    assert!(world.find("a").is_none() && world.rooms_of("a").is_empty() && !world.has_room("r"));
    assert!(!world.roster.lives_in(&process(7)));
}

#[test]
fn another_bearer_of_the_id_is_another_process() {
    let mut world = World::new();
    world.hook(Request::session_start(report_in("a", process(7))));
    world.ok(Request::ProcessGone(Process { started: 2, ..process(7) }));
    world.ok(Request::ProcessGone(Process { boot: "other".into(), ..process(7) }));
    assert!(world.find("a").is_some());
}

#[test]
fn a_session_resumed_in_another_process_survives_the_end_of_the_first() {
    for resume in [Request::session_start, Request::prompt_submit] {
        let mut world = World::new();
        world.hook(Request::session_start(report_in("a", process(7))));
        world.hook(Request::session_start(report_in("b", process(7))));
        world.hook(resume(report_in("a", process(8))));
        world.hook(Request::prompt_submit(report("a", "")));
        assert_eq!(world.session("a").process, Some(process(8)), "a hook that says nothing changes nothing");
        world.ok(Request::ProcessGone(process(7)));
        assert!(world.find("a").is_some() && world.find("b").is_none());
        world.ok(Request::ProcessGone(process(8)));
        assert!(world.find("a").is_none());
    }
}

#[test]
fn a_session_whose_shim_goes_stays_while_its_process_lives() {
    let mut world = World::new();
    world.publish("k", "a", "a");
    world.hook(Request::session_start(report_in("a", process(7))));
    // As a registration leaves it: with a process and without hooks.
    world.ok(Request::External(vec![ExternalEvent::Set(
        Session { process: Some(process(9)), ..Session::new("r".into(), "r", "/w/x", BIRTH) }.into(),
        None,
    )]));
    world.publish("k", "r", "r");
    world.gone("k");
    world.pass(DAY);
    world.sweep();
    for id in ["a", "r"] {
        assert_eq!(world.session(id).client_id, None);
    }
    world.pass(DAY);
    world.sweep();
    world.publish("k2", "r", "r");
    assert_eq!(world.session("r").process, Some(process(9)), "a shim does not state it, and does not take it away");
    world.ok(Request::ProcessGone(process(9)));
    assert!(world.find("r").is_none() && world.find("a").is_some());
}

#[test]
fn an_older_line_does_not_put_a_session_back_into_an_older_process() {
    let mut world = World::new();
    world.hook(Request::session_start(report_in("a", process(7))));
    let older = world.session("a");
    world.hook(Request::session_start(report_in("a", process(8))));
    for process in [older.process.clone(), None] {
        let line = Session { process, ..older.clone() };
        world.ok(Request::External(vec![ExternalEvent::Set(line.into(), None)]));
        assert_eq!(world.session("a").process, Some(super::process(8)));
    }
}

#[test]
fn the_end_of_a_process_with_very_many_sessions_takes_bounded_turns() {
    let mut world = World::new();
    let bound = crate::limits::SWEEP_ROWS_MAX;
    for number in 0..bound {
        world.apply(Request::session_start(report_in(&format!("{number}"), process(7)))).reply.unwrap();
    }
    world.roster.commit();
    let mut turns = 0;
    while world.roster.lives_in(&process(7)) {
        world.apply(Request::ProcessGone(process(7))).reply.unwrap();
        assert!(world.roster.commit().len() < bound + 4);
        turns += 1;
    }
    assert_eq!((turns, world.roster.counts().sessions), (4, 0));
}

#[test]
fn after_a_restart_a_process_is_as_known_as_before() {
    let mut world = World::new();
    world.hook(Request::session_start(report_in("a", process(7))));
    let mut again = world.restarted(DAY);
    assert_eq!(again.roster.processes().collect::<Vec<_>>(), [&process(7)]);
    again.sweep();
    assert!(again.find("a").is_some());
    again.ok(Request::ProcessGone(process(7)));
    assert!(again.find("a").is_none());
}

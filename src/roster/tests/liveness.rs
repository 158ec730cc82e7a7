//! Who counts as alive, and for how long.

use super::*;
use crate::limits::ACTIVITY_NOTED_EVERY_MS;
use std::collections::BTreeMap;

#[test]
fn a_shim_session_survives_its_client_by_ten_seconds_and_not_longer() {
    let mut world = World::new();
    world.publish("k", "a", "a");
    world.pass(HOUR * 5);
    world.sweep();
    assert!(world.find("a").is_some(), "while its client is there it lives");
    world.gone("k");
    world.pass(10 * SECOND - 1);
    world.sweep();
    assert!(world.find("a").is_some());
    world.pass(1);
    world.sweep();
    assert!(world.find("a").is_none());
}

#[test]
fn nothing_but_its_client_prolongs_the_grace() {
    let mut world = World::new();
    world.start("b", "/w/x");
    world.publish("k", "a", "a");
    world.gone("k");
    for _ in 0..10 {
        world.pass(SECOND);
        world.ok(update("a", SessionChange::CurrentTask(Some(format!("{}", world.now.mono_ms.0)))));
        world.ok(update("a", SessionChange::LastActivityAt(world.now.wall_ms)));
        world.gone("k");
    }
    world.sweep();
    assert!(world.find("a").is_none());
}

#[test]
fn who_reconnects_in_time_loses_nothing() {
    let mut world = World::new();
    world.start("b", "/w/x");
    world.publish("k0", "z", "n");
    world.publish("k", "a", "n");
    world.join("a", "r");
    world.send("b", "a", "unread");
    let (nickname, rooms, born) = (world.nickname("a"), world.rooms_of("a"), world.session("a").connected_at);
    world.gone("k");
    world.pass(9 * SECOND);
    world.sweep();
    world.publish("k2", "a", "n");
    world.pass(HOUR / 2);
    world.sweep();
    let row = world.session("a");
    assert_eq!((&*row.nickname, world.rooms_of("a"), row.connected_at), (&*nickname, rooms, born));
    assert_eq!((nickname.as_str(), world.unread("a"), row.client_id), ("n-2", 1, Some("k2".into())));
    world.gone("k");
    assert!(world.view("a").connected, "the old connection's end means nothing any more");
}

#[test]
fn a_hook_session_lives_for_an_hour_after_its_last_sign_of_life() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.pass(HOUR - 1);
    world.prompt("a");
    world.pass(HOUR - 1);
    world.sweep();
    assert!(world.find("a").is_some());
    world.pass(1);
    world.sweep();
    assert!(world.find("a").is_none());
    assert!(world.prompt("a").introduce, "a swept session that speaks is back");
}

#[test]
fn a_session_with_hooks_falls_back_to_them_when_its_shim_goes() {
    let mut world = World::new();
    world.publish("k", "a", "a");
    world.start("a", "/w/shim");
    world.gone("k");
    world.pass(10 * SECOND);
    world.sweep();
    assert_eq!(world.session("a").client_id, None);
    world.pass(HOUR - 10 * SECOND - 1);
    world.sweep();
    assert!(world.find("a").is_some());
    world.pass(1);
    world.sweep();
    assert!(world.find("a").is_none());
}

#[test]
fn a_wall_clock_that_jumps_sweeps_nobody_who_lives() {
    for jump in [DAY, -DAY] {
        let mut world = World::new();
        world.start("hook", "/w/x");
        world.publish("k", "shim", "s");
        world.publish("k2", "lost", "l");
        world.publish("k3", "both", "b");
        world.start("both", "/w/x");
        world.gone("k2");
        world.gone("k3");
        world.jump(jump);
        world.ok(update("hook", SessionChange::CurrentTask(Some("busy".to_owned()))));
        world.pass(9 * SECOND);
        world.sweep();
        assert_eq!(world.roster.counts().sessions, 4);
        world.pass(SECOND);
        world.sweep();
        assert!(world.find("lost").is_none() && world.session("both").client_id.is_none());
        world.pass(HOUR / 2);
        world.prompt("hook");
        world.pass(HOUR / 2);
        world.sweep();
        assert!(world.find("hook").is_some() && world.find("shim").is_some() && world.find("both").is_none());
        world.pass(HOUR / 2);
        world.sweep();
        assert!(world.find("hook").is_none(), "and the dead go in time");
    }
}

#[test]
fn after_a_restart_a_shim_session_has_a_fresh_grace_once_the_doors_are_open() {
    let mut world = World::new();
    world.publish("k", "a", "a");
    let mut world = world.restarted(DAY);
    world.pass(HOUR);
    world.roster.doors_opened(world.now);
    world.pass(10 * SECOND - 1);
    world.sweep();
    assert!(world.find("a").is_some());
    world.pass(1);
    world.sweep();
    assert!(world.find("a").is_none());
}

#[test]
fn after_a_restart_the_silence_of_hooks_is_measured_by_the_wall_clock() {
    let mut world = World::new();
    world.start("a", "/w/x");
    let mut late = world.restarted(HOUR);
    late.sweep();
    assert!(late.find("a").is_none());
    let mut world = world.restarted(HOUR - 1);
    world.sweep();
    assert!(world.find("a").is_some());
    world.pass(1);
    world.sweep();
    assert!(world.find("a").is_none());
}

#[test]
fn a_start_far_from_the_logs_last_line_ends_nothing_until_its_clock_has_stood_for_a_day() {
    // row 45: forty days ahead, and as far behind.
    for leap in [40 * DAY, -40 * DAY] {
        let mut world = World::new();
        world.ok(Request::Register(Box::new(registering("registered", "registered", token(1)))));
        for id in ["a", "b", "gone"] {
            world.start(id, "/w/x");
        }
        let read = world.send("a", "b", "read").message.row.id.clone();
        world.ack("b", &[&read]);
        let wishes = Wishes { expires: Some(Expiry::In(HOUR)), expects_reply_ms: Some(HOUR), ..Wishes::default() };
        for to in ["b", "gone"] {
            let sending = Sending { wishes: wishes.clone(), ..Sending::new(caller("a"), to, "expiring") };
            world.ok(Request::Send(Box::new(sending)));
        }
        world.send("a", "gone", "unclaimed");
        world.broadcast("a", "everyone", "to all");
        world.ok(Request::session_end("gone".into()));
        let mut world = world.restarted_from_log(leap);
        let before = model::contents(&world.roster);
        // As long as a silent session lives, all of it is there.
        for _ in 0..50 {
            world.pass(MINUTE);
            world.sweep();
            assert_eq!(model::contents(&world.roster), before, "{leap}");
        }
        let mail = |world: &World| {
            let all = model::contents(&world.roster);
            all.into_iter().filter(|((kind, _), _)| matches!(kind, ItemType::Message | ItemType::Delivery)).collect()
        };
        let mail_before: BTreeMap<_, _> = mail(&world);
        for _ in 2..DAY / HOUR {
            world.pass(HOUR - MINUTE);
            for id in ["a", "b"] {
                let event = HookEvent { report: report(id, ""), kind: EventKind::Other, ..HookEvent::default() };
                world.ok(Request::HookEvent(Box::new(event)));
            }
            world.sweep();
            let left: BTreeMap<_, _> = mail(&world);
            assert!(mail_before.iter().all(|(key, row)| left.get(key) == Some(row)), "{leap}: {left:?}");
        }
        // A clock that has stood for so long is right.
        world.pass(2 * HOUR);
        world.sweep();
        let left: BTreeMap<_, _> = mail(&world);
        let is_told = left.values().any(|(_, text)| text.contains("no reply to your message"));
        assert_eq!(is_told, leap > 0, "{leap}: {left:?}");
    }
}

#[test]
fn a_session_from_the_future_counts_as_seen_now() {
    let mut world = World::new();
    world.start("a", "/w/x");
    let mut world = world.restarted(-DAY);
    world.pass(HOUR - 1);
    world.sweep();
    assert!(world.find("a").is_some());
    world.pass(1);
    world.sweep();
    assert!(world.find("a").is_none());
}

#[test]
fn who_speaks_again_at_once_is_noted_once_and_a_moment_later_again() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    let row = |world: &World| match world.roster.row(ItemType::Session, "a") {
        Some(Row::Session(stored)) => stored,
        other => panic!("{other:?}"),
    };
    world.pass(ACTIVITY_NOTED_EVERY_MS);
    world.send("a", "b", "one");
    let first = row(&world);
    assert_eq!(first.row.last_activity_at, Some(BIRTH + ACTIVITY_NOTED_EVERY_MS));
    world.send("a", "b", "two");
    world.pass(ACTIVITY_NOTED_EVERY_MS - 1);
    world.send("a", "b", "two more");
    assert!(Arc::ptr_eq(&first, &row(&world)), "nothing is new");
    world.pass(1);
    world.send("a", "b", "three");
    assert_eq!(world.session("a").last_activity_at, Some(BIRTH + 2 * ACTIVITY_NOTED_EVERY_MS));
    // A wall clock that stands still, or is set back to that moment, does not end somebody who speaks.
    world.pass(HOUR - 1);
    world.jump(1 - HOUR);
    world.send("a", "b", "four");
    world.pass(HOUR - 1);
    world.sweep();
    assert!(world.find("a").is_some());
}

#[test]
fn activity_is_in_memory_at_once_and_in_the_log_once_a_minute() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.pass(MINUTE);
    let outcome = world.apply(Request::prompt_submit(report("a", "")));
    assert!(!outcome.needs_commit && world.roster.journal().is_empty());
    assert_eq!(world.session("a").last_activity_at, Some(BIRTH + MINUTE));
    world.pass(1);
    let outcome = world.apply(Request::prompt_submit(report("a", "")));
    assert!(!outcome.needs_commit, "nobody waits for that write");
    assert_eq!(world.roster.commit().len(), 1);
    world.pass(MINUTE);
    world.apply(Request::session_start(report("a", "/w/x")));
    world.apply(update("a", SessionChange::LastActivityAt(world.now.wall_ms)));
    world.apply(update("a", SessionChange::LastTool(Some("Bash".to_owned()))));
    assert!(world.roster.journal().is_empty());
}

#[test]
fn an_answer_waits_for_the_disk_only_if_it_depends_on_the_batch() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    world.apply(send("a", "b", "m"));
    assert!(!world.apply(Request::prompt_submit(report("a", ""))).needs_commit);
    assert!(world.apply(Request::prompt_submit(report("b", ""))).needs_commit, "its mail is not on disk");
    assert!(world.apply(Request::ListSessions).needs_commit);
    assert!(world.apply(send("a", "nobody", "m")).needs_commit, "even an error may follow from the batch");
    world.roster.commit();
    assert!(!world.apply(Request::prompt_submit(report("b", ""))).needs_commit);
    assert!(!world.apply(Request::ListSessions).needs_commit);
    assert!(!world.apply(Request::session_end("unknown".into())).needs_commit);
    assert!(world.roster.journal().is_empty(), "the end of an unknown session writes nothing");
    assert!(world.apply(Request::session_start(report("c", "/w/x"))).needs_commit);
    world.roster.commit();
}

#[test]
fn only_the_holder_of_a_session_can_withdraw_it() {
    let mut world = World::new();
    world.publish("k", "a", "a");
    world.connect("k2");
    world.ok(Request::WithdrawSession { client: "k2".into(), session: "a".into() });
    assert!(world.find("a").is_some());
    world.ok(Request::WithdrawSession { client: "k".into(), session: "a".into() });
    assert!(world.find("a").is_none());
}

#[test]
fn one_sweep_changes_a_bounded_number_of_rows_and_the_next_goes_on() {
    let mut world = World::new();
    let bound = crate::limits::SWEEP_ROWS_MAX;
    for number in 0..bound {
        world.apply(Request::session_start(report(&format!("{number}"), "/w/x"))).reply.unwrap();
    }
    world.roster.commit();
    world.pass(HOUR);
    // With each session go its memberships of two rooms, and it is noted that it has ended.
    let mut sweeps = 0;
    while world.roster.counts().sessions > 0 {
        world.apply(Request::Sweep { settled: true });
        let changed = world.roster.commit().len();
        assert!(changed < bound + 4, "{changed} rows in one sweep");
        sweeps += 1;
    }
    assert_eq!(sweeps, 4);
    assert_eq!(world.roster.counts().rooms, 1);
}

#[test]
fn a_session_that_was_stated_before_its_client_was_announced_is_as_alive() {
    let mut world = World::new();
    world.ok(stated("k", Session::new("a".into(), "a", "/w/x", BIRTH)));
    world.connect("k");
    world.pass(MINUTE);
    world.sweep();
    assert!(world.view("a").connected);
}

#[test]
fn a_new_client_that_is_not_announced_yet_begins_a_grace_of_its_own() {
    let mut world = World::new();
    world.publish("k", "a", "a");
    world.gone("k");
    world.pass(9 * SECOND);
    world.ok(stated("k2", Session::new("a".into(), "a", "/w/x", BIRTH)));
    world.pass(9 * SECOND);
    world.sweep();
    assert!(world.find("a").is_some());
}

#[test]
fn a_session_with_hooks_outlives_the_farewell_of_its_shim() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.publish("k", "a", "a");
    world.publish("k2", "b", "b");
    for (client, session) in [("k", "a"), ("k2", "b")] {
        world.ok(Request::WithdrawSession { client: client.into(), session: session.into() });
    }
    assert_eq!(world.session("a").client_id, None);
    assert!(world.find("b").is_none(), "one without hooks is gone");
}

#[test]
fn whoever_speaks_is_alive() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    let id = world.send("b", "a", "x").message.row.id.clone();
    for speak in
        [send("a", "b", "hi"), broadcast("a", "everyone", "hi"), join("a", "r"), leave("a", "r"), ack("a", &[&id])]
    {
        world.pass(HOUR - 1);
        world.prompt("b");
        world.ok(speak);
        world.pass(HOUR - 1);
        world.prompt("b");
        world.sweep();
        assert!(world.find("a").is_some());
    }
}

#[test]
fn a_session_that_two_shims_state_lives_while_one_of_them_is_connected() {
    let mut world = World::new();
    world.publish("first", "a", "a");
    world.publish("second", "a", "a");
    world.gone("second");
    assert_eq!(world.session("a").client_id, Some("first".into()));
    world.pass(HOUR);
    world.sweep();
    assert!(world.view("a").connected);
    world.gone("first");
    world.pass(10 * SECOND);
    world.sweep();
    assert!(world.find("a").is_none());
}

#[test]
fn a_clock_that_leaps_deletes_nobodys_mail_until_it_has_stood_for_a_day() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.send("a", "human:ana", "unread");
    world.sweep();
    world.jump(HOUR * 24 * 31);
    world.sweep();
    assert_eq!(world.roster.counts().messages, 1);
    assert_eq!(world.unread("human:ana"), 1);
    world.pass(HOUR * 24);
    world.sweep();
    assert_eq!(world.unread("human:ana"), 0, "it is settled that it was not read");
}

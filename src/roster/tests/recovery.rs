//! A batch that could not be written is as if it had never been.

use super::*;
use std::collections::BTreeMap;

/// A world with something in every table and index.
fn busy() -> World {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.publish("k", "b", "b");
    world.publish("k2", "c", "b");
    for id in ["a", "b", "c"] {
        world.join(id, "r");
    }
    let first = world.send("a", "b", "1").message.row.id.clone();
    let second = world.broadcast("a", "r", "2").message.row.id.clone();
    world.ack("b", &[&first, &second]);
    world.broadcast("c", "everyone", "3");
    world
}

#[test]
fn each_kind_of_change_is_taken_back() {
    let requests = [
        Request::session_start(report("new", "/w/new")),
        Request::session_end("b".into()),
        Request::WithdrawSession { client: "k2".into(), session: "c".into() },
        stated("k", Session::new("b".into(), "renamed", "/w/y", BIRTH)),
        update("a", SessionChange::CurrentTask(Some("t".to_owned()))),
        send("a", "b", "m"),
        broadcast("b", "r", "m"),
        join("a", "second"),
        leave("a", "r"),
        Request::External(vec![
            ExternalEvent::Delete(ItemType::Session, "a".to_owned()),
            ExternalEvent::Delete(ItemType::Room, "r".to_owned()),
        ]),
    ];
    for request in requests {
        let mut world = busy();
        let before = model::contents(&world.roster);
        world.apply(request.clone()).reply.unwrap();
        assert_ne!(model::contents(&world.roster), before, "{request:?}");
        world.roster.roll_back();
        assert_eq!(model::contents(&world.roster), before, "{request:?}");
        assert!(world.roster.journal().is_empty());
        model::check(&world.roster);
    }
}

#[test]
fn a_whole_batch_is_taken_back_in_reverse() {
    let mut world = busy();
    let before = model::contents(&world.roster);
    world.apply(send("a", "b", "m")).reply.unwrap();
    world.apply(Request::session_end("b".into())).reply.unwrap();
    world.apply(Request::session_start(report("b", "/w/z"))).reply.unwrap();
    world.apply(leave("a", "r")).reply.unwrap();
    world.apply(Request::session_end("c".into())).reply.unwrap();
    world.apply(join("b", "r")).reply.unwrap();
    world.roster.roll_back();
    assert_eq!(model::contents(&world.roster), before);
    // What was put into an answer stays in it until it is said, or time has shown, that the answer did not leave.
    world.pass(crate::limits::HANDOVER_LEASE_MS);
    assert_eq!(world.inbox("b"), ["3"]);
    assert!(!world.apply(Request::ListSessions).needs_commit, "nothing waits for a batch that is no more");
}

/// All that a batch may change, rows and what is in memory alone. Facts that no batch makes are left out: moments of
/// signs of life, how often each has sent, numbers that are only counted up; and what tells that more is to be written.
fn all_of(world: &World) -> BTreeMap<String, Vec<String>> {
    const FACTS: [&str; 11] = [
        "paces",
        "loops",
        "last_sweep",
        "reach_moved",
        "tables.now",
        "tables.next_place",
        "tables.presence",
        "tables.renewals",
        "tables.activity_written",
        "tables.touched",
        "tables.unwritten",
    ];
    let mut parts = crate::held::parts(&world.roster);
    parts.retain(|part, _| !FACTS.iter().any(|fact| part.starts_with(fact)));
    for lines in parts.values_mut() {
        // By which ways a session was seen to take mail is in the line behind.
        let ways: Vec<bool> = lines.iter().map(|line| line.trim_start().starts_with("paths: ")).collect();
        let mut at = 0;
        lines.retain(|line| {
            at += 1;
            let counter = ["leases: ", "looks: ", "value: "].iter().any(|name| line.trim_start().starts_with(name));
            let is_way = at > 1 && ways[at - 2];
            !(counter || is_way)
        });
    }
    parts
}

/// A session in the middle of a turn, with mail that is held back, was handed over, and is on its way; a waiter; and one
/// that was handed mail and went on.
fn in_flight() -> World {
    let mut world = busy();
    let event = |id: &str, kind, takes| {
        let prompt_id = Some("p".to_owned());
        let agent = Some(crate::model::Agent::Claude);
        let event = HookEvent { report: report(id, ""), agent, kind, takes, prompt_id, ..HookEvent::default() };
        Request::HookEvent(Box::new(event))
    };
    let prompts = || EventKind::Prompt { quoted: Vec::new() };
    for id in ["a", "d"] {
        world.start(id, "/w/x");
        world.send("b", id, "to be handed");
        let reply = world.hook(event(id, prompts(), Some(crate::model::Path::Prompt)));
        let messages = reply.inbox.iter().map(|handing| handing.message.row.id.clone()).collect();
        let (path, lease) = (reply.path, reply.lease);
        world.ok(Request::InboxHanded { session: id.into(), messages, path, lease, arrival: Arrival::Whole });
    }
    world.publish("k3", "a", "a");
    let mut row = world.session("a");
    row.channels_enabled = Some(true);
    world.ok(stated("k3", row));
    world.ok(event("a", prompts(), None));
    world.send("b", "a", "held");
    world.send("b", "d", "on its way");
    world.hook(event("d", EventKind::Stop, Some(crate::model::Path::Stop)));
    let waits = HookEvent { report: report("c", ""), kind: EventKind::Stop, ..HookEvent::default() };
    let at_least = crate::model::Priority::Now;
    world.ok(Request::Wait { event: Box::new(waits), at_least });
    world
}

#[test]
fn a_batch_that_fails_leaves_nothing_behind_in_memory_either() {
    // row 93
    let event = |id: &str, kind, takes| {
        let agent = Some(crate::model::Agent::Claude);
        let prompt_id = Some("another".to_owned());
        let event = HookEvent { report: report(id, ""), agent, kind, takes, prompt_id, ..HookEvent::default() };
        Request::HookEvent(Box::new(event))
    };
    let takes = Some(crate::model::Path::Prompt);
    let waits = HookEvent { report: report("c", ""), kind: EventKind::Stop, ..HookEvent::default() };
    let at_least = crate::model::Priority::Low;
    let urgent = Wishes { priority: crate::model::Priority::Now, ..Wishes::default() };
    let requests = [
        Request::session_end("a".into()),
        Request::session_end("d".into()),
        Request::session_start(report("a", "/w/x")),
        event("a", EventKind::Prompt { quoted: Vec::new() }, takes),
        event("a", EventKind::Stop, Some(crate::model::Path::Stop)),
        event("d", EventKind::AfterTools, Some(crate::model::Path::Tools)),
        event("d", EventKind::End, None),
        event("new", EventKind::Prompt { quoted: Vec::new() }, takes),
        Request::Wait { event: Box::new(waits), at_least },
        send("b", "a", "more that is held"),
        Request::Send(Box::new(Sending { wishes: urgent, ..Sending::new(caller("b"), "c", "wakes") })),
        Request::Sweep { settled: true },
        Request::ReadMessages {
            caller: caller("d"),
            filter: MessageFilter { inbox: true, ..MessageFilter::default() },
        },
        Request::ClaimMail { caller: caller("b"), from: None },
    ];
    for request in requests {
        let mut world = in_flight();
        let before = all_of(&world);
        world.apply(request.clone()).reply.unwrap();
        let roused = world.roster.rouse(world.now, &mut world.ids);
        let after = all_of(&world);
        world.roster.roll_back();
        let restored = all_of(&world);
        for (part, lines) in &before {
            let other = lines.iter().zip(&restored[part]).find(|(before, restored)| before != restored);
            assert_eq!((other, lines.len()), (None, restored[part].len()), "{part} after {request:?}");
        }
        assert_eq!(before.keys().len(), restored.len());
        let changes_nothing =
            matches!(request, Request::Sweep { .. } | Request::ReadMessages { .. } | Request::ClaimMail { .. });
        assert!(after != before || changes_nothing, "{request:?} {roused:?}");
        model::check(&world.roster);
    }
}

#[test]
fn ghosts_whose_removal_was_taken_back_are_removed_by_the_next_sweep() {
    let mut world = World::new();
    let ghost = crate::model::Room {
        id: "empty".into(),
        name: "empty".into(),
        description: None,
        kind: crate::model::RoomKind::AdHoc,
        created_at: BIRTH,
    };
    world.roster.load([ghost.into()], None, world.now);
    world.apply(Request::Sweep { settled: true }).reply.unwrap();
    world.roster.roll_back();
    assert!(world.has_room("empty"));
    world.sweep();
    assert!(!world.has_room("empty"));
}

#[test]
fn activity_that_could_not_be_written_is_still_a_sign_of_life_and_is_written_next_time() {
    let mut world = World::new();
    world.start("a", "/w/x");
    for _ in 0..3 {
        world.pass(HOUR / 2);
        world.apply(Request::prompt_submit(report("a", ""))).reply.unwrap();
        assert_eq!(world.roster.journal().len(), 1);
        world.roster.roll_back();
    }
    world.pass(SECOND);
    world.apply(Request::prompt_submit(report("a", ""))).reply.unwrap();
    assert_eq!(world.roster.journal().len(), 1, "what is in the log is still old");
    world.roster.roll_back();
    world.pass(HOUR / 2);
    world.sweep();
    assert!(world.find("a").is_some());
    world.apply(Request::prompt_submit(report("a", ""))).reply.unwrap();
    assert_eq!(world.roster.commit().len(), 1);
}

#[test]
fn a_taken_back_batch_does_not_prolong_a_grace() {
    let mut world = World::new();
    world.publish("k", "a", "a");
    world.gone("k");
    for _ in 0..10 {
        world.pass(SECOND);
        world.apply(update("a", SessionChange::GitBranch(Some("b".to_owned())))).reply.unwrap();
        world.roster.roll_back();
    }
    world.sweep();
    assert!(world.find("a").is_none());
}

//! A batch that could not be written is as if it had never been.

use super::*;

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

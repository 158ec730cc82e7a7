//! Rows that come from outside: what somebody wrote into the log, and what an older log holds.

use super::*;
use crate::ids::{MemberId, ReadId};
use crate::model::{MessageRead, Recipient, Room, RoomKind, RoomMember};

fn set(row: impl Into<Row>) -> ExternalEvent {
    ExternalEvent::Set(row.into(), None)
}

fn session(id: &str, nickname: &str) -> Session {
    Session { hooks: true, ..Session::new(id.into(), nickname, "/w/x", BIRTH) }
}

fn room(id: &str) -> Room {
    Room { id: id.into(), name: id.into(), description: None, kind: RoomKind::AdHoc, created_at: BIRTH }
}

fn member(room: &str, session: &str) -> RoomMember {
    let (room_id, session_id) = (RoomId::from(room), SessionId::from(session));
    RoomMember { id: MemberId::of(&room_id, &session_id), room_id, session_id, joined_at: BIRTH }
}

fn message(id: &str, to: Recipient) -> Message {
    Message {
        id: id.into(),
        from_session_id: "a".into(),
        from_nick: "a".into(),
        to,
        to_nick: "t".into(),
        body: id.into(),
        sent_at: BIRTH,
        read_at: None,
        proof: None,
        terms: None,
    }
}

fn read(message: &str, session: &str) -> MessageRead {
    let (message_id, session_id) = (MessageId::from(message), SessionId::from(session));
    MessageRead {
        id: ReadId::of(&message_id, &session_id),
        message_id,
        session_id,
        read_at: BIRTH,
        evidence: None,
        path: None,
    }
}

fn external(world: &mut World, events: Vec<ExternalEvent>) -> Vec<Change> {
    world.apply(Request::External(events)).reply.unwrap();
    world.roster.commit()
}

fn loaded(rows: Vec<Row>) -> World {
    let mut world = World::new();
    world.roster.load(rows, None, world.now);
    world.roster.doors_opened(world.now);
    world
}

#[test]
fn an_outsiders_session_is_not_written_back_but_what_follows_from_it_is() {
    let mut world = World::new();
    let changes = external(&mut world, vec![set(session("a", "a"))]);
    let written: Vec<_> = changes.iter().map(|change| (change.item_type(), change.persist)).collect();
    let (room, member) = ((ItemType::Room, true), (ItemType::RoomMember, true));
    assert_eq!(written, [(ItemType::Session, false), room, member]);
    assert_eq!(world.rooms_of("a"), ["everyone"]);
}

#[test]
fn an_outsiders_nickname_that_is_taken_is_corrected_in_the_log() {
    let mut world = World::new();
    world.publish("k", "a", "n");
    let changes = external(&mut world, vec![set(session("b", "n")), set(session("c", ""))]);
    assert_eq!(
        (world.nickname("a"), world.nickname("b"), world.nickname("c")),
        ("n".into(), "n-2".into(), "x@c".into())
    );
    let written = changes.iter().filter(|change| change.item_type() == ItemType::Session && change.persist);
    assert_eq!(written.map(Change::id).collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn an_outsiders_line_about_a_connected_session_does_not_unbind_it_and_the_log_learns_so() {
    let mut world = World::new();
    world.publish("k", "a", "n");
    world.start("a", "/w/x");
    let stale = Session { hooks: false, current_task: Some("edited".into()), ..session("a", "n") };
    let changes = external(&mut world, vec![set(stale)]);
    let row = world.session("a");
    assert_eq!((row.client_id, row.hooks, row.current_task.as_deref()), (Some("k".into()), true, Some("edited")));
    assert!(changes.iter().any(|change| change.item_type() == ItemType::Session && change.persist));
}

#[test]
fn an_outsiders_message_is_delivered_and_its_deletion_takes_the_receipts_along() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    external(&mut world, vec![set(message("m", Recipient::Session("b".into())))]);
    assert_eq!(world.inbox("b"), ["m"]);
    let changes = external(&mut world, vec![ExternalEvent::Delete(ItemType::Message, "m".to_owned())]);
    assert_eq!(world.roster.counts().reads, 0);
    assert!(changes.iter().any(|change| change.item_type() == ItemType::MessageRead && change.persist));
}

#[test]
fn an_outsiders_deletion_of_a_room_takes_its_members_along() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    world.join("a", "r");
    world.join("b", "r");
    world.broadcast("a", "r", "m");
    external(&mut world, vec![ExternalEvent::Delete(ItemType::Room, "r".to_owned())]);
    assert_eq!((world.rooms_of("b"), world.unread("b")), (vec!["everyone".to_owned(), "project:x".to_owned()], 0));
    external(&mut world, vec![ExternalEvent::Delete(ItemType::Room, "everyone".to_owned())]);
    assert!(world.has_room("everyone"), "an automatic room is there as long as somebody belongs to it");
    assert_eq!(world.broadcast("a", "everyone", "m").recipients.len(), 1);
}

#[test]
fn an_outsider_cannot_take_a_session_out_of_an_automatic_room() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    external(&mut world, vec![ExternalEvent::Delete(ItemType::RoomMember, "everyone::b".to_owned())]);
    assert_eq!(world.rooms_of("b"), ["everyone", "project:x"]);
    world.join("b", "r");
    external(&mut world, vec![ExternalEvent::Delete(ItemType::RoomMember, "r::b".to_owned())]);
    world.sweep();
    assert!(!world.has_room("r"));
}

#[test]
fn ghosts_in_a_log_stay_at_load_and_go_with_the_first_sweep() {
    let rows: Vec<Row> = vec![
        session("a", "a").into(),
        room("full").into(),
        member("full", "a").into(),
        room("empty").into(),
        room("haunted").into(),
        member("haunted", "ghost").into(),
        member("full", "ghost").into(),
        member("nowhere", "a").into(),
        message("m", Recipient::Session("ghost".into())).into(),
        message("r", Recipient::Room("full".into())).into(),
        read("m", "ghost").into(),
        read("r", "ghost").into(),
        read("none", "a").into(),
        read("m", "human:alice").into(),
    ];
    let mut world = loaded(rows);
    let counts = world.roster.counts();
    assert_eq!((counts.rooms, counts.members, counts.reads), (3, 4, 4));
    world.sweep();
    assert!(["empty", "haunted"].iter().all(|id| !world.has_room(id)));
    let members: Vec<_> = world.roster.rows(ItemType::RoomMember).iter().map(|row| row.id().to_owned()).collect();
    assert_eq!(members, ["everyone::a", "full::a"]);
    let reads: Vec<_> = world.roster.rows(ItemType::MessageRead).iter().map(|row| row.id().to_owned()).collect();
    assert_eq!(reads, ["m::human:alice"]);
    assert_eq!(world.start("ghost", "/w/x").waiting, 0, "what it had read stays read");
}

#[test]
fn what_hangs_on_a_row_that_is_still_being_read_is_no_orphan() {
    let mut world = World::new();
    external(
        &mut world,
        vec![ExternalEvent::Set(room("r").into(), None), ExternalEvent::Set(member("r", "late").into(), None)],
    );
    world.apply(Request::Sweep { settled: false }).reply.unwrap();
    assert!(world.has_room("r"));
    external(&mut world, vec![ExternalEvent::Set(session("late", "late").into(), None)]);
    world.sweep();
    assert!(world.has_room("r") && world.rooms_of("late").contains(&"r".to_owned()));
    world.apply(Request::session_end("late".into())).reply.unwrap();
    world.sweep();
    assert!(!world.has_room("r"));
}

#[test]
fn sessions_without_a_name_of_their_own_in_a_log_get_one_with_the_first_sweep() {
    let rows =
        vec![session("a", "n").into(), session("b", "n").into(), session("c", "").into(), session("d", "").into()];
    let mut world = loaded(rows);
    assert!(world.roster.journal().is_empty());
    world.sweep();
    assert_eq!(["a", "b", "c", "d"].map(|id| world.nickname(id)), ["n", "n-2", "x@c", "x@d"]);
    assert_eq!(world.roster.tables.members_of.get("everyone").unwrap().len(), 4);
    world.publish("k", "c", "");
    assert_eq!(world.nickname("c"), "x@c");
}

#[test]
fn a_loaded_session_without_a_name_gets_one_when_it_speaks_first() {
    let mut world = loaded(vec![session("c", "").into(), session("d", "").into()]);
    assert_eq!(&*world.start("c", "/w/x").session.unwrap().row.nickname, "x@c");
    assert_eq!(&*world.prompt("d").session.unwrap().row.nickname, "x@d");
}

#[test]
fn rows_that_would_break_the_indexes_are_not_taken() {
    let odd: Vec<Row> = vec![
        session("a::b", "n").into(),
        session("human:bob", "n").into(),
        RoomMember { id: "other".into(), ..member("everyone", "a") }.into(),
        MessageRead { id: "other".into(), ..read("m", "a") }.into(),
    ];
    let mut world = loaded(odd.clone());
    assert_eq!(world.roster.counts(), RosterCounts::default());
    world.start("a", "/w/x");
    external(&mut world, odd.into_iter().map(|row| ExternalEvent::Set(row, None)).collect());
    let counts = world.roster.counts();
    assert_eq!((counts.sessions, counts.members, counts.reads), (1, 2, 0));
}

#[test]
fn a_membership_that_is_set_again_keeps_its_place_and_its_mail() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    let first = world.broadcast("a", "everyone", "1").message.row.id.clone();
    world.broadcast("a", "everyone", "2");
    world.ack("b", &[&first]);
    external(&mut world, vec![set(RoomMember { joined_at: BIRTH + DAY, ..member("everyone", "b") })]);
    assert_eq!(world.inbox("b"), ["2"]);
}

#[test]
fn a_restart_changes_nothing() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.publish("k", "b", "b");
    world.join("b", "r");
    world.join("a", "r");
    world.broadcast("a", "r", "1");
    let second = world.send("a", "b", "2").message.row.id.clone();
    world.ack("b", &[&second]);
    world.start("c", "/w/x");
    world.join("c", "r");
    let mut again = world.restarted(SECOND);
    assert_eq!(model::contents(&again.roster).len(), model::contents(&world.roster).len());
    again.sweep();
    assert!(again.roster.journal().is_empty());
    assert_eq!((again.inbox("b"), again.inbox("c").len()), (vec!["1".to_owned()], 0));
}

#[test]
fn rows_that_are_loaded_at_once_come_to_what_they_come_to_one_by_one() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.publish("k", "b", "b");
    world.start("c", "/w/x");
    world.join("a", "r");
    world.join("c", "r");
    world.broadcast("a", "r", "too early");
    world.join("b", "r");
    world.broadcast("a", "r", "1");
    world.send("a", "b", "2");
    let read = world.send("a", "b", "3").message.row.id.clone();
    world.ack("b", &[&read]);
    let in_order = world.roster.rows_in_order();
    let reversed: Vec<Row> = in_order.iter().rev().cloned().collect();
    let renamed = Row::from(session("a", "renamed"));
    let twice: Vec<Row> = in_order.iter().cloned().chain([renamed]).collect();
    for rows in [in_order, reversed, twice] {
        let (mut at_once, mut one_by_one) = (Roster::new(), Roster::new());
        at_once.load(rows.clone(), None, world.now);
        (1..).zip(rows).for_each(|placed| one_by_one.load_placed(vec![placed], None, world.now));
        assert_eq!(model::contents(&at_once), model::contents(&one_by_one));
        assert_eq!(at_once.suspects, one_by_one.suspects);
        for roster in [&at_once, &one_by_one] {
            model::check(roster);
            assert!(roster.journal().is_empty());
        }
    }
}

#[test]
fn activity_that_the_log_holds_is_not_written_again_after_a_restart() {
    let mut world = World::new();
    world.start("a", "/w/x");
    let mut again = world.restarted(SECOND);
    again.apply(Request::prompt_submit(report("a", "")));
    assert!(again.roster.journal().iter().all(|change| !change.persist), "{:?}", again.roster.journal());
}

//! Automatic and ad-hoc rooms.

use super::*;

fn identity(host_name: &str, operator: &str, cwd: &str) -> Request {
    Request::session_start(HookReport {
        host: Some(host(host_name)),
        operator: Some(operator.to_owned()),
        ..report("a", cwd)
    })
}

#[test]
fn automatic_rooms_follow_from_identity_and_follow_its_changes() {
    let mut world = World::new();
    world.ok(identity("box1", "alice", "/w/one"));
    assert_eq!(world.rooms_of("a"), ["everyone", "host:box1", "op:alice", "project:one"]);
    let everyone = world.roster.tables.members.get("everyone::a").unwrap().place;
    world.ok(identity("box2", "bob", "/w/two"));
    assert_eq!(world.rooms_of("a"), ["everyone", "host:box2", "op:bob", "project:two"]);
    assert!(["host:box1", "op:alice", "project:one"].iter().all(|room| !world.has_room(room)), "empty rooms go");
    assert_eq!(world.roster.tables.members.get("everyone::a").unwrap().place, everyone, "the others stay as they are");
    world.end("a");
    assert_eq!(world.roster.counts().rooms, 1);
    assert!(world.has_room("everyone"));
}

#[test]
fn an_ad_hoc_membership_survives_a_change_of_identity() {
    let mut world = World::new();
    world.ok(identity("box1", "alice", "/w/one"));
    world.join("a", "Design Chat");
    world.ok(identity("box2", "alice", "/w/one"));
    assert!(world.rooms_of("a").contains(&"design-chat".to_owned()));
}

#[test]
fn the_second_to_join_a_room_joins_the_same_room() {
    let mut world = World::new();
    for id in ["a", "b", "c", "d"] {
        world.start(id, "/w/x");
    }
    assert_eq!(world.join("a", " Design Chat "), ("design-chat".to_owned(), true));
    for (id, name) in [("b", "Design Chat"), ("c", "design chat!"), ("d", "design-chat"), ("a", "Design Chat")] {
        assert_eq!(world.join(id, name), ("design-chat".to_owned(), false), "{name}");
    }
    assert_eq!(world.roster.tables.members_of.get("design-chat").unwrap().len(), 4);
    assert_eq!(world.broadcast("a", "Design Chat", "hi").recipients.len(), 3);
}

#[test]
fn reserved_and_empty_room_names_are_refused() {
    let mut world = World::new();
    world.start("a", "/w/x");
    for name in ["everyone", " Everyone ", "EVERYONE", "everyone!", "host:x", "op:x", " project:x", "human:x"] {
        assert_eq!(world.err(join("a", name)).kind, ErrorKind::Refused, "{name}");
    }
    for name in ["", "  ", "日本", "a\nb", &"x".repeat(257)] {
        assert_eq!(world.err(join("a", name)).kind, ErrorKind::Invalid, "{name}");
    }
    assert_eq!(world.err(join("human:alice", "x")).kind, ErrorKind::Refused);
    assert_eq!(world.err(join("nobody", "x")).kind, ErrorKind::UnknownCaller);
}

#[test]
fn a_room_is_left_by_id_or_name_and_goes_with_its_last_member() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    world.join("a", "Design Chat");
    world.join("b", "Design Chat");
    assert!(world.leave("a", "Design Chat"));
    assert!(!world.leave("a", "design-chat"), "it has left already");
    assert!(world.has_room("design-chat"));
    assert!(world.leave("b", "design-chat"));
    assert!(!world.has_room("design-chat"));
    assert_eq!(world.err(leave("b", "design-chat")).kind, ErrorKind::NotFound);
}

#[test]
fn an_automatic_room_cannot_be_left() {
    let mut world = World::new();
    world.start("a", "/w/x");
    for room in ["everyone", "project:x", "Everyone"] {
        assert_eq!(world.err(leave("a", room)).kind, ErrorKind::Refused);
    }
}

#[test]
fn the_bound_on_rooms_counts_ad_hoc_rooms_and_lets_a_member_join_again() {
    let mut world = World::new();
    world.start("a", "/w/x");
    for number in 0..crate::limits::ROOMS_PER_SESSION_MAX {
        world.join("a", &format!("room {number}"));
    }
    assert_eq!(world.err(join("a", "one more")).kind, ErrorKind::Refused);
    assert_eq!(world.join("a", "room 7"), ("room-7".to_owned(), false));
}

#[test]
fn a_listing_shows_rooms_with_their_members() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    world.join("b", "r");
    let Reply::Rooms(views) = world.ok(Request::ListRooms) else { panic!() };
    let shown: Vec<(String, Vec<String>)> = views
        .iter()
        .map(|view| (view.room.row.id.to_string(), view.members.iter().map(|(_, nick)| nick.to_string()).collect()))
        .collect();
    let both = || vec!["x@a".to_owned(), "x@b".to_owned()];
    let expected = [("everyone", both()), ("project:x", both()), ("r", vec!["x@b".to_owned()])];
    assert_eq!(shown, expected.map(|(room, members)| (room.to_owned(), members)));
    let view = world.view("b");
    assert_eq!(view.rooms.iter().map(RoomId::as_str).collect::<Vec<_>>(), ["everyone", "project:x", "r"]);
}

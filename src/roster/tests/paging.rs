//! The history, page by page, against the obvious way to compute it.

use super::*;
use crate::ids::SessionId;
use crate::limits::{MESSAGE_BODY_BYTES_MAX, PAGE_BODY_BYTES_MAX, PAGE_MESSAGES_MAX};
use crate::model::Recipient;

/// Everything in the log's order that `keep` keeps.
fn expected(world: &World, keep: impl Fn(u64, &Message) -> bool) -> Vec<String> {
    let mut rows: Vec<_> = world.roster.tables.messages.values().collect();
    rows.sort_by_key(|placed| placed.place);
    let kept = rows.into_iter().filter(|placed| keep(placed.place, &placed.stored.row));
    kept.map(|placed| placed.stored.row.body.to_string()).collect()
}

/// All pages from the newest to the oldest, put together in the log's order.
fn walk(world: &mut World, query: &HistoryQuery) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut query = query.clone();
    for _ in 0..1000 {
        let Reply::History(page) = world.ok(Request::History(query.clone())) else { panic!() };
        assert!(page.messages.len() <= query.limit.unwrap_or(usize::MAX));
        let bytes: usize = page.messages.iter().map(|entry| entry.message.row.body.len()).sum();
        assert!(bytes <= PAGE_BODY_BYTES_MAX || page.messages.len() == 1, "{bytes}");
        let bodies: Vec<String> = page.messages.iter().map(|e| e.message.row.body.to_string()).collect();
        all.splice(0..0, bodies);
        match page.before {
            Some(before) => query.before = Some(before),
            None => return all,
        }
    }
    panic!("the walk does not end");
}

/// Three sessions that talk to each other and to rooms that they join and leave.
fn talkative() -> World {
    let mut world = World::new();
    for id in ["a", "b", "c"] {
        world.start(id, "/w/x");
    }
    let mut dice = SeededIds::new(99);
    for number in 0..120 {
        let body = number.to_string();
        let names = ["a", "b", "c"];
        let one = names[(dice.next_number() % 3) as usize];
        let other = names[(dice.next_number() % 3) as usize];
        match dice.next_number() % 6 {
            0 | 1 => drop(world.send(one, other, &body)),
            2 => drop(world.broadcast(one, "everyone", &body)),
            3 => drop(world.join(one, "r")),
            4 if world.rooms_of(one).contains(&"r".to_owned()) => drop(world.leave(one, "r")),
            _ => drop(world.apply(broadcast(one, "r", &body))),
        }
        world.roster.commit();
        world.pass(SECOND);
    }
    for id in ["a", "b", "c"] {
        world.join(id, "r");
    }
    world.broadcast("a", "r", "last");
    world
}

#[test]
fn walking_all_pages_shows_each_message_exactly_once() {
    let mut world = talkative();
    for limit in [1, 2, 7, 200] {
        let base = HistoryQuery { limit: Some(limit), ..HistoryQuery::default() };
        assert_eq!(walk(&mut world, &base), expected(&world, |_, _| true));
        let since = HistoryQuery { since: Some(BIRTH + 60 * SECOND), ..base.clone() };
        assert_eq!(walk(&mut world, &since), expected(&world, |_, row| row.sent_at >= BIRTH + 60 * SECOND));
        let room = HistoryQuery { room: Some("@r".to_owned()), ..base.clone() };
        assert_eq!(walk(&mut world, &room), expected(&world, |_, row| row.to == Recipient::Room("r".into())));
    }
}

#[test]
fn walking_the_pages_of_a_session_shows_what_it_sent_and_what_was_for_it() {
    let mut world = talkative();
    for id in ["a", "b", "c"] {
        let me = SessionId::from(id);
        let joined = |room: &RoomId| {
            let members = world.roster.tables.members.values();
            let mut mine = members.filter(|placed| placed.stored.row.room_id == *room);
            mine.find(|placed| placed.stored.row.session_id == me).map(|placed| placed.place)
        };
        let concerns = |place: u64, row: &Message| {
            let for_me = match &row.to {
                Recipient::Session(session) => *session == me,
                Recipient::Room(room) => joined(room).is_some_and(|joined| joined < place),
            };
            for_me || row.from_session_id == me
        };
        let all = expected(&world, concerns);
        let in_room = expected(&world, |place, row| concerns(place, row) && row.to == Recipient::Room("r".into()));
        assert!(all.len() > 30 && !in_room.is_empty());
        for limit in [1, 3, 50] {
            let base = HistoryQuery { session: Some(id.to_owned()), limit: Some(limit), ..HistoryQuery::default() };
            assert_eq!(walk(&mut world, &base), all);
            let room = HistoryQuery { room: Some("r".to_owned()), ..base };
            assert_eq!(walk(&mut world, &room), in_room);
        }
    }
}

#[test]
fn history_knows_sessions_that_are_gone_and_says_who_has_read() {
    let mut world = talkative();
    let id = world.send("a", "b", "for b").message.row.id.clone();
    world.ack("b", &[&id]);
    world.end("b");
    let query = HistoryQuery { session: Some("b".to_owned()), limit: Some(1), ..HistoryQuery::default() };
    let Reply::History(page) = world.ok(Request::History(query)) else { panic!() };
    assert_eq!(page.messages.len(), 1);
    assert_eq!((page.messages[0].read_by, page.messages[0].waiting_for), (1, 0));
    let nobody = HistoryQuery { session: Some("nobody".to_owned()), ..HistoryQuery::default() };
    assert_eq!(world.err(Request::History(nobody)).kind, ErrorKind::NotFound);
    let nowhere = HistoryQuery { room: Some("nowhere".to_owned()), ..HistoryQuery::default() };
    assert_eq!(world.err(Request::History(nowhere)).kind, ErrorKind::NotFound);
}

#[test]
fn a_page_that_has_looked_far_enough_says_where_to_go_on() {
    let mut world = World::new();
    for id in ["a", "b"] {
        world.start(id, "/w/x");
        world.join(id, "r");
    }
    world.broadcast("a", "r", "deep down");
    for _ in 0..crate::limits::HISTORY_SCAN_MAX {
        world.apply(send("a", "b", "noise")).reply.unwrap();
    }
    world.roster.commit();
    let mut query = HistoryQuery {
        session: Some("a".to_owned()),
        room: Some("r".to_owned()),
        limit: Some(1),
        ..HistoryQuery::default()
    };
    let Reply::History(page) = world.ok(Request::History(query.clone())) else { panic!() };
    assert!(page.messages.is_empty() && page.before.is_some());
    assert_eq!(walk(&mut world, &query), ["deep down"]);
    query.room = None;
    query.limit = Some(200);
    assert_eq!(walk(&mut world, &query).len(), crate::limits::HISTORY_SCAN_MAX + 1);
}

/// Messages to b of all lengths; one, which somebody wrote into the log, is longer than a page.
fn long_winded() -> World {
    let mut world = World::new();
    for id in ["a", "b"] {
        world.start(id, "/w/x");
    }
    for number in 0..60_usize {
        let length = if number % 3 == 0 { 10 } else { MESSAGE_BODY_BYTES_MAX - number };
        let sent = world.send("a", "b", &format!("{number:0length$}"));
        if number == 30 {
            let mut message = sent.message.row.clone();
            message.id = "longest".into();
            message.body = "x".repeat(PAGE_BODY_BYTES_MAX + 1).into();
            world.apply(Request::External(vec![ExternalEvent::Set(message.into())])).reply.unwrap();
        }
        world.roster.commit();
    }
    world
}

#[test]
fn a_page_of_long_messages_ends_early_and_the_next_one_goes_on_from_there() {
    let mut world = long_winded();
    let all = expected(&world, |_, _| true);
    assert_eq!(all.len(), 61);
    for session in [None, Some("b".to_owned())] {
        let query = HistoryQuery { session, limit: Some(PAGE_MESSAGES_MAX), ..HistoryQuery::default() };
        assert!(walk(&mut world, &query) == all);
    }
}

#[test]
fn an_inbox_of_long_messages_is_read_in_order_and_without_holes() {
    let mut world = long_winded();
    let all = expected(&world, |_, _| true);
    let mut seen = Vec::new();
    while seen.len() < all.len() {
        let filter = MessageFilter {
            inbox: true,
            unread: true,
            oldest_first: true,
            limit: Some(PAGE_MESSAGES_MAX),
            ..MessageFilter::default()
        };
        let Reply::Messages { messages, total, .. } = world.ok(Request::ReadMessages { caller: caller("b"), filter })
        else {
            panic!()
        };
        assert_eq!(total, all.len() - seen.len());
        let bytes: usize = messages.iter().map(|view| view.message.row.body.len()).sum();
        assert!(!messages.is_empty() && (bytes <= PAGE_BODY_BYTES_MAX || messages.len() == 1), "{bytes}");
        seen.extend(messages.iter().map(|view| view.message.row.body.to_string()));
        let ids: Vec<_> = messages.iter().map(|view| view.message.row.id.clone()).collect();
        world.ack("b", &ids.iter().collect::<Vec<_>>());
        world.roster.commit();
    }
    assert!(seen == all);
}

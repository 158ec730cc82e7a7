//! The history, page by page, against the obvious way to compute it.

use super::*;
use crate::ids::SessionId;
use crate::limits::{MESSAGE_BODY_BYTES_MAX, PAGE_BODY_BYTES_MAX, PAGE_MESSAGES_MAX};
use crate::model::{Recipient, Terms};

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
        let body = format!("{number} {}", if number % 3 == 0 { "Tree" } else { "stone" });
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
            world.apply(Request::External(vec![ExternalEvent::Set(message.into(), None)])).reply.unwrap();
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

/// The most distant use of a query: all of its pages, while somebody else goes on sending.
fn walk_while_more_come(world: &mut World, query: &HistoryQuery) -> Vec<String> {
    let (mut all, mut query): (Vec<String>, _) = (Vec::new(), query.clone());
    for round in 0..1000 {
        let Reply::History(page) = world.ok(Request::History(query.clone())) else { panic!() };
        all.splice(0..0, page.messages.iter().map(|entry| entry.message.row.body.to_string()));
        world.broadcast("a", "everyone", &format!("later {round}"));
        match page.before {
            Some(before) => query.before = Some(before),
            None => return all,
        }
    }
    panic!("the walk does not end");
}

#[test]
fn a_walk_shows_each_message_once_while_new_ones_arrive_and_when_the_daemon_starts_anew_in_between() {
    for limit in [1, 7, 50] {
        let mut world = talkative();
        let before = expected(&world, |_, _| true);
        let query = HistoryQuery { limit: Some(limit), ..HistoryQuery::default() };
        assert_eq!(walk_while_more_come(&mut world, &query), before);

        // What is gone from the log takes its place with it: the places of all others are other ones afterwards.
        let mut world = talkative();
        world.end("c");
        let all = expected(&world, |_, _| true);
        let Reply::History(first) = world.ok(Request::History(query.clone())) else { panic!() };
        let mut again = world.restarted(0);
        let mut seen = walk(&mut again, &HistoryQuery { before: first.before, ..query });
        seen.extend(first.messages.iter().map(|entry| entry.message.row.body.to_string()));
        assert_eq!(seen, all, "limit {limit}");
    }
}

#[test]
fn what_comes_after_a_cursor_is_what_has_come_since() {
    let mut world = talkative();
    let first = HistoryQuery { limit: Some(3), ..HistoryQuery::default() };
    let Reply::History(page) = world.ok(Request::History(first)) else { panic!() };
    let newest = page.newest.unwrap();
    let since = HistoryQuery { after: Some(newest.clone()), limit: Some(2), ..HistoryQuery::default() };
    assert!(walk(&mut world, &since).is_empty());
    for number in 0..5 {
        world.send("a", "b", &format!("new {number}"));
    }
    let expected: Vec<String> = (0..5).map(|number| format!("new {number}")).collect();
    assert_eq!(walk(&mut world, &since), expected);
    assert_eq!(walk(&mut world, &HistoryQuery { text: Some("2".to_owned()), ..since }), ["new 2"]);
    assert_eq!(Cursor::parse(&newest.to_string()), Some(newest));
    for bad in ["", "7", "!-y", "-1-x"] {
        assert_eq!(Cursor::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_page_has_one_to_two_hundred_messages_and_fifty_by_itself() {
    let mut world = talkative();
    for bad in [0, PAGE_MESSAGES_MAX + 1, usize::MAX] {
        let query = HistoryQuery { limit: Some(bad), ..HistoryQuery::default() };
        assert_eq!(world.err(Request::History(query)).kind, ErrorKind::Invalid, "{bad}");
    }
    let Reply::History(page) = world.ok(Request::History(HistoryQuery::default())) else { panic!() };
    assert_eq!(page.messages.len(), 50);
}

#[test]
fn filters_by_time_words_room_and_thread_are_the_obvious_ones() {
    let mut world = talkative();
    let first = world.send("a", "b", "the Question").message.row.clone();
    let mut answer = world.send("b", "a", "the answer").message.row.clone();
    answer.terms =
        Some(Box::new(Terms { reply_to: Some(first.id.clone()), thread: Some(first.id.clone()), ..Terms::default() }));
    world.apply(Request::External(vec![ExternalEvent::Set(answer.clone().into(), None)])).reply.unwrap();
    world.roster.commit();
    world.send("a", "b", "something else");
    for limit in [1, 4, 200] {
        let base = HistoryQuery { limit: Some(limit), ..HistoryQuery::default() };
        for id in [&first.id, &answer.id] {
            let thread = HistoryQuery { thread: Some(id.to_string()), ..base.clone() };
            assert_eq!(walk(&mut world, &thread), ["the Question", "the answer"]);
        }
        let times = BIRTH + 30 * SECOND..BIRTH + 60 * SECOND;
        let between =
            HistoryQuery { since: Some(times.start), until: Some(times.end), text: Some("tREE".to_owned()), ..base };
        let kept = |_: u64, row: &Message| times.contains(&row.sent_at) && row.body.contains("Tree");
        assert_eq!(walk(&mut world, &between), expected(&world, kept));
        let in_room = HistoryQuery { room: Some("r".to_owned()), ..between.clone() };
        let to_r = |row: &Message| row.to == Recipient::Room("r".into());
        assert_eq!(walk(&mut world, &in_room), expected(&world, |place, row| kept(place, row) && to_r(row)));
        let named = HistoryQuery { text: Some("x@b stone".to_owned()), since: None, until: None, ..between };
        let by_b = |_: u64, row: &Message| {
            row.body.contains("stone") && [&row.from_nick, &row.to_nick].contains(&&"x@b".into())
        };
        let found = walk(&mut world, &named);
        assert!(!found.is_empty());
        assert_eq!(found, expected(&world, by_b), "names count too");
    }
    let none = HistoryQuery { thread: Some("none".to_owned()), ..HistoryQuery::default() };
    assert_eq!(world.err(Request::History(none)).kind, ErrorKind::NotFound);
}

#[test]
fn messages_are_found_by_the_state_that_they_are_in_for_somebody() {
    let mut world = World::new();
    for id in ["a", "b", "c"] {
        world.start(id, "/w/x");
    }
    let row = |sent: Sent| sent.message.row.id.clone();
    world.broadcast("a", "everyone", "for all");
    assert_eq!(world.inbox("b"), ["for all"]);
    let kept = row(world.send("a", "b", "handed"));
    let HookReply { path, lease, .. } = world.prompt("b");
    world.ok(Request::InboxHanded { session: "b".into(), messages: vec![kept], path, lease, arrival: Arrival::Whole });
    world.send("a", "c", "waits");
    let of = |world: &mut World, session: Option<&str>, state: MessageState| {
        let session = session.map(str::to_owned);
        walk(world, &HistoryQuery { session, state: Some(state), limit: Some(1), ..HistoryQuery::default() })
    };
    assert_eq!(of(&mut world, None, MessageState::Read), ["for all"]);
    assert_eq!(of(&mut world, None, MessageState::Queued), ["for all", "waits"]);
    assert_eq!(of(&mut world, None, MessageState::Handed), ["handed"]);
    assert_eq!(of(&mut world, Some("b"), MessageState::Read), ["for all"]);
    assert!(of(&mut world, Some("b"), MessageState::Queued).is_empty(), "it has read the one and was handed the other");
    assert_eq!(of(&mut world, Some("c"), MessageState::Queued), ["for all", "waits"]);
    assert_eq!(
        of(&mut world, Some("a"), MessageState::Queued),
        ["for all", "waits"],
        "what it sent waits for somebody"
    );
    for state in [MessageState::Expired, MessageState::Superseded, MessageState::Undeliverable, MessageState::Claimed] {
        assert!(of(&mut world, None, state).is_empty());
    }
    for state in MessageState::ALL {
        assert_eq!(MessageState::parse(state.as_str()), Some(state));
    }
}

#[test]
fn a_search_looks_through_a_bounded_amount_of_text_and_goes_on_from_there() {
    let mut world = World::new();
    for id in ["a", "b"] {
        world.start(id, "/w/x");
    }
    world.send("a", "b", "the needle");
    let hay = "hay ".repeat(MESSAGE_BODY_BYTES_MAX / 4);
    let count = 3 * crate::limits::HISTORY_SCAN_BYTES_MAX / hay.len();
    for _ in 0..count {
        world.send("a", "b", &hay);
    }
    let query = HistoryQuery { text: Some("needle".to_owned()), ..HistoryQuery::default() };
    let Reply::History(page) = world.ok(Request::History(query.clone())) else { panic!() };
    assert!(page.messages.is_empty() && page.before.is_some(), "it did not look at everything at once");
    assert_eq!(walk(&mut world, &query), ["the needle"]);
}

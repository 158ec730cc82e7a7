//! Who is meant by an address, and who is asking.

use super::*;

fn four() -> World {
    let mut world = World::new();
    for id in ["abc1", "abc2", "xyz"] {
        world.start(id, "/w/p");
    }
    world.publish("k", "shim", "nick");
    world
}

#[test]
fn a_session_is_addressed_by_id_nickname_or_a_prefix_of_one_id() {
    let mut world = four();
    for (address, id) in [("abc1", "abc1"), ("p@abc2", "abc2"), ("x", "xyz"), ("nick", "shim"), ("abc2", "abc2")] {
        let sent = world.send("xyz", address, "hello");
        assert_eq!(sent.message.row.to, crate::model::Recipient::Session(id.into()), "{address}");
        assert_eq!(*sent.message.row.to_nick, *world.nickname(id));
        assert_eq!(&*sent.message.row.from_nick, "p@xyz");
    }
}

#[test]
fn an_id_goes_before_a_nickname_and_a_nickname_before_a_prefix() {
    let mut world = four();
    world.publish("k2", "other", "xyz");
    world.publish("k3", "third", "abc");
    assert_eq!(world.send("shim", "xyz", "m").message.row.to, crate::model::Recipient::Session("xyz".into()));
    assert_eq!(world.send("shim", "abc", "m").message.row.to, crate::model::Recipient::Session("third".into()));
}

#[test]
fn an_ambiguous_prefix_lists_candidates_and_stores_nothing() {
    let mut world = four();
    let error = world.err(send("xyz", "abc", "m"));
    assert_eq!(error.kind, ErrorKind::Ambiguous);
    assert_eq!(error.candidates, ["abc1 (p@abc1, /w/p)", "abc2 (p@abc2, /w/p)"]);
    // All but one are named so.
    let error = world.err(send("xyz", "p@", "m"));
    assert_eq!(error.kind, ErrorKind::Ambiguous);
    assert_eq!(error.candidates, ["abc1 (p@abc1, /w/p)", "abc2 (p@abc2, /w/p)", "xyz (p@xyz, /w/p)"]);
    for number in 0..20 {
        world.start(&format!("many{number:02}"), "/w/p");
    }
    let error = world.err(send("xyz", "many", "m"));
    assert_eq!((error.candidates.len(), error.candidates.last().map(String::as_str)), (11, Some("...")));
}

#[test]
fn an_unknown_address_stores_nothing_and_points_to_the_room_of_that_name() {
    let mut world = four();
    for address in ["nobody", "", "ABC1", " "] {
        assert_eq!(world.err(send("xyz", address, "m")).kind, ErrorKind::NotFound, "{address}");
    }
    assert_eq!(world.err(send("xyz", "everyone", "m")).candidates, ["@everyone"]);
    assert_eq!(world.err(send("xyz", "@nowhere", "m")).kind, ErrorKind::NotFound);
    assert_eq!(world.err(broadcast("xyz", "nowhere", "m")).kind, ErrorKind::NotFound);
}

#[test]
fn an_at_sign_addresses_a_room() {
    let mut world = four();
    let Reply::Broadcast(sent) = world.ok(send("xyz", "@everyone", "m")) else { panic!() };
    assert_eq!(sent.recipients.len(), 3);
}

#[test]
fn a_human_has_a_mailbox_and_can_write() {
    let mut world = four();
    let sent = world.send("xyz", "human:alice", "done");
    assert_eq!((&*sent.message.row.to_nick, sent.live), ("alice", None));
    assert_eq!(world.unread("human:alice"), 1);
    let filter = MessageFilter { inbox: true, unread: true, ..MessageFilter::default() };
    let read = Request::ReadMessages { caller: Caller::human("alice"), filter };
    let Reply::Messages { messages, total, .. } = world.ok(read) else { panic!() };
    assert_eq!((messages.len(), total, messages[0].read_by_me), (1, 1, false));
    assert_eq!(world.ack("human:alice", &[&sent.message.row.id]), (1, 0, 0));
    let back = world.send("human:alice", "xyz", "thanks");
    assert_eq!((back.message.row.from_session_id.as_str(), &*back.message.row.from_nick), ("human:alice", "alice"));
    assert_eq!(world.inbox("xyz"), ["thanks"]);
    assert_eq!(world.broadcast("human:alice", "everyone", "all").recipients.len(), 4);
    assert_eq!(world.err(send("xyz", "human:", "m")).kind, ErrorKind::Invalid);
    assert_eq!(world.err(send("human:", "xyz", "m")).kind, ErrorKind::UnknownCaller);
    assert_eq!(world.err(send("human:a\nb", "xyz", "m")).kind, ErrorKind::Invalid);
}

#[test]
fn a_caller_is_its_stated_session_or_the_session_of_its_connection_or_nobody() {
    let mut world = four();
    let from = |caller: Caller| Request::send(caller, "xyz", "m");
    let client = |client: &str| Caller { client: Some(client.into()), ..Caller::default() };
    let Reply::Sent(sent) = world.ok(from(client("k"))) else { panic!() };
    assert_eq!(sent.message.row.from_session_id.as_str(), "shim");
    let Reply::Sent(sent) = world.ok(from(Caller { as_session: Some("abc1".into()), ..client("k") })) else { panic!() };
    assert_eq!(sent.message.row.from_session_id.as_str(), "abc1");
    for nobody in [Caller::session("gone"), client("k9"), Caller::default()] {
        assert_eq!(world.err(from(nobody)).kind, ErrorKind::UnknownCaller);
    }
}

#[test]
fn an_empty_address_means_nobody_even_where_there_is_only_one() {
    let mut world = World::new();
    world.start("a", "/w/p");
    assert_eq!(world.err(send("a", "", "m")).kind, ErrorKind::NotFound);
}

#[test]
fn a_nickname_that_two_have_in_a_log_is_ambiguous_until_the_first_sweep() {
    let mut world = World::new();
    let named = |id: &str| Session { hooks: true, ..Session::new(id.into(), "n", "/w/p", BIRTH) };
    world.roster.load([named("a").into(), named("b").into()], None, world.now);
    assert_eq!(world.err(send("a", "n", "m")).candidates, ["a (n, /w/p)", "b (n, /w/p)"]);
    world.sweep();
    assert_eq!(world.send("a", "n-2", "m").message.row.to, crate::model::Recipient::Session("b".into()));
}

/// Three that have ended with mail, and one that is there and has sent it.
fn bereaved() -> World {
    let mut world = World::new();
    world.start("there", "/w/p");
    for (id, nickname) in [("gone1-aaaa", "web"), ("gone1-bbbb", "db"), ("gone2-cccc", "api")] {
        world.publish(id, id, nickname);
        world.send("there", id, "kept");
        world.end(id);
    }
    world
}

#[test]
fn one_that_has_ended_is_found_by_its_nickname_or_a_beginning_of_its_id() {
    for restart in [false, true] {
        let mut world = bereaved();
        if restart {
            world = world.restarted(HOUR);
            world.start("there", "/w/p");
        }
        for (address, id) in [("db", "gone1-bbbb"), ("gone2", "gone2-cccc"), ("gone1-b", "gone1-bbbb")] {
            let sent = world.send("there", address, "more");
            assert_eq!(sent.message.row.to, crate::model::Recipient::Session(id.into()), "{address}");
        }
        // Less of an id, and a mere beginning of a name, is nobody's who has ended.
        for address in ["gon", "d", "we", "gone3", ""] {
            assert_eq!(world.err(send("there", address, "m")).kind, ErrorKind::NotFound, "{address}");
        }
        let back = world.start("gone1-bbbb", "/w/p");
        assert_eq!(bodies(&back.inbox), ["kept", "more", "more"]);
    }
}

#[test]
fn several_that_have_ended_are_candidates_that_say_so() {
    let mut world = bereaved();
    let error = world.err(send("there", "gone1", "m"));
    assert_eq!(error.kind, ErrorKind::Ambiguous);
    assert_eq!(error.candidates, ["gone1-aaaa (web, ended, /w/shim)", "gone1-bbbb (db, ended, /w/shim)"]);
    for number in 0..20 {
        let id = format!("lost{number:02}");
        world.publish(&id, &id, "lost");
        world.send("there", &id, "kept");
        world.end(&id);
    }
    let error = world.err(send("there", "lost0", "m"));
    let last = error.candidates.last().map(String::as_str);
    assert_eq!((error.candidates.len(), last), (10, Some("lost09 (lost-10, ended, /w/shim)")));
    let sent = world.send("there", "lost", "m");
    assert_eq!(sent.message.row.to, crate::model::Recipient::Session("lost00".into()), "it is the first one's name");
}

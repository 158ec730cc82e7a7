//! Messages: who gets them, in which order, and what reading them means.

use super::*;
use crate::limits::{ACK_IDS_MAX, HANDOVER_LEASE_MS, MESSAGE_BODY_BYTES_MAX};

fn pair() -> World {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    world
}

fn handed(session: &str, reply: &HookReply, complete: bool) -> Request {
    let messages = reply.inbox.iter().map(|handing| handing.message.row.id.clone()).collect();
    Request::InboxHanded {
        session: session.into(),
        messages,
        path: reply.path,
        lease: reply.lease,
        arrival: arrival(complete),
    }
}

#[test]
fn a_message_to_a_session_that_is_not_connected_is_stored_and_not_live() {
    let mut world = pair();
    let outcome = world.apply(send("a", "b", "hello"));
    assert!(outcome.needs_commit && outcome.pushes.is_empty());
    let Ok(Reply::Sent(sent)) = outcome.reply else { panic!() };
    assert_eq!(sent.live, None);
    let journal = world.roster.commit();
    assert!(matches!(&journal[..], [change] if change.persist && change.item_type() == ItemType::Message));
    assert_eq!((world.unread("b"), world.view("b").unread, world.unread("a")), (1, 1, 0));
}

#[test]
fn a_broadcast_goes_to_the_others_and_never_to_its_sender() {
    let mut world = pair();
    world.start("c", "/w/y");
    let sent = world.broadcast("a", "everyone", "all");
    let recipients: Vec<_> = sent.recipients.iter().map(|(id, nick, _)| (id.as_str(), &**nick)).collect();
    assert_eq!(recipients, [("b", "x@b"), ("c", "y@c")]);
    assert!(world.inbox("a").is_empty());
    let filter = MessageFilter { inbox: true, ..MessageFilter::default() };
    let Reply::Messages { messages, total, .. } = world.ok(Request::ReadMessages { caller: caller("a"), filter })
    else {
        panic!()
    };
    assert!(messages.is_empty() && total == 0, "nor does its sender see it in its inbox");
    assert_eq!((world.inbox("b"), world.inbox("c")), (vec!["all".to_owned()], vec!["all".to_owned()]));
}

#[test]
fn a_broadcast_to_nobody_is_refused_and_nothing_is_stored() {
    let mut world = World::new();
    world.start("a", "/w/x");
    assert_eq!(world.err(broadcast("a", "everyone", "m")).kind, ErrorKind::Refused);
    world.join("a", "r");
    assert_eq!(world.err(broadcast("a", "r", "m")).kind, ErrorKind::Refused);
    assert_eq!(world.roster.counts().messages, 0);
}

#[test]
fn a_message_is_neither_empty_nor_too_large() {
    let mut world = pair();
    for body in ["", " \n\t "] {
        assert_eq!(world.err(send("a", "b", body)).kind, ErrorKind::Invalid);
        assert_eq!(world.err(broadcast("a", "everyone", body)).kind, ErrorKind::Invalid);
    }
    let large = "x".repeat(MESSAGE_BODY_BYTES_MAX + 1);
    assert_eq!(world.err(send("a", "b", &large)).kind, ErrorKind::TooLarge);
    assert_eq!(world.err(broadcast("a", "everyone", &large)).kind, ErrorKind::TooLarge);
    world.send("a", "b", &large[1..]);
}

#[test]
fn an_inbox_comes_oldest_first_and_at_most_twenty_at_a_time() {
    let mut world = pair();
    for number in 0..25 {
        world.send("a", "b", &number.to_string());
        world.jump(-MINUTE); // The order is that of the log, whatever the clock says.
    }
    let first = world.prompt("b");
    assert_eq!((first.inbox.len(), first.waiting), (20, 25));
    assert_eq!(bodies(&first.inbox), (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    let second = world.prompt("b");
    assert_eq!(bodies(&second.inbox), (20..25).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(world.prompt("b").inbox.len(), 0, "what is on its way is not sent twice");
    world.ok(handed("b", &first, true));
    world.ok(handed("b", &second, true));
    assert_eq!((world.unread("b"), world.roster.counts().reads), (25, 0), "nothing shows yet that it was read");
    world.goes_on("b");
    assert_eq!((world.unread("b"), world.roster.counts().reads), (0, 25));
}

#[test]
fn what_did_not_arrive_is_free_again_at_once_or_when_the_lease_is_over() {
    let mut world = pair();
    world.send("a", "b", "1");
    world.send("a", "b", "2");
    let first = world.prompt("b");
    world.ok(handed("b", &first, false));
    assert_eq!(bodies(&world.prompt("b").inbox), ["1", "2"], "released");
    world.pass(HANDOVER_LEASE_MS - 1);
    world.jump(DAY);
    assert!(world.prompt("b").inbox.is_empty(), "a lease is on the monotonic clock");
    world.pass(1);
    let last = world.prompt("b");
    assert_eq!(bodies(&last.inbox), ["1", "2"], "over");
    world.ok(handed("a", &last, true));
    world.ok(handed("b", &first, true));
    world.goes_on("b");
    assert_eq!(world.unread("b"), 2, "somebody else's handover reads nothing, nor does that of an earlier answer");
    world.ok(handed("b", &last, true));
    world.goes_on("b");
    assert_eq!(world.unread("b"), 0);
}

#[test]
fn an_acknowledgement_counts_newly_already_and_unknown() {
    let mut world = pair();
    let direct = world.send("a", "b", "1").message.row.id.clone();
    let room = world.broadcast("a", "everyone", "2").message.row.id.clone();
    let mine = world.send("b", "a", "3").message.row.id.clone();
    let none = MessageId::from("none");
    assert_eq!(world.ack("b", &[&direct, &direct, &room, &mine, &none]), (2, 1, 2));
    assert_eq!(world.ack("b", &[&direct, &room]), (0, 2, 0));
    assert_eq!(world.ack("a", &[&room]), (0, 0, 1), "its sender has nothing to read");
    assert_eq!(world.unread("a"), 1);
}

#[test]
fn an_acknowledgement_that_fails_acknowledges_nothing() {
    let mut world = pair();
    let id = world.send("a", "b", "1").message.row.id.clone();
    let overlong = MessageId::from("x".repeat(257));
    assert_eq!(world.err(ack("b", &[&id, &overlong])).kind, ErrorKind::Invalid);
    assert_eq!(world.unread("b"), 1);
    assert_eq!(world.err(ack("b", &vec![&id; ACK_IDS_MAX + 1])).kind, ErrorKind::TooLarge);
    assert_eq!(world.err(ack("nobody", &[&id])).kind, ErrorKind::UnknownCaller);
}

#[test]
fn who_joins_later_does_not_see_what_was_said_before() {
    let mut world = pair();
    world.join("a", "r");
    world.join("b", "r");
    world.broadcast("a", "r", "early");
    world.broadcast("a", "everyone", "early");
    world.jump(-DAY);
    world.start("c", "/w/x");
    world.join("c", "r");
    world.broadcast("a", "r", "late");
    assert_eq!(world.inbox("c"), ["late"]);
    assert_eq!(world.inbox("b"), ["early", "early", "late"]);
}

#[test]
fn leaving_a_room_drops_its_unread_mail_and_joining_again_does_not_bring_it_back() {
    let mut world = pair();
    world.join("a", "r");
    world.join("b", "r");
    let id = world.broadcast("a", "r", "gone").message.row.id.clone();
    world.send("a", "b", "direct");
    world.leave("b", "r");
    assert_eq!(world.unread("b"), 1);
    world.join("b", "r");
    assert_eq!(world.ack("b", &[&id]), (0, 0, 1));
    assert_eq!(world.inbox("b"), ["direct"]);
}

#[test]
fn a_reader_filters_its_messages_newest_first() {
    let mut world = pair();
    world.join("a", "r");
    world.join("b", "r");
    let first = world.send("a", "b", "1").message.row.id.clone();
    world.send("b", "a", "2");
    world.pass(SECOND);
    world.broadcast("a", "r", "3");
    world.ack("b", &[&first]);
    let mut read = |filter: MessageFilter| {
        let Reply::Messages { messages, total, .. } = world.ok(Request::ReadMessages { caller: caller("b"), filter })
        else {
            panic!()
        };
        let shown: String = messages.iter().map(|view| view.message.row.body.to_string()).collect();
        (shown, total)
    };
    let none = MessageFilter::default;
    let cases = [
        (none(), "321"),
        (MessageFilter { inbox: true, ..none() }, "31"),
        (MessageFilter { inbox: true, unread: true, ..none() }, "3"),
        (MessageFilter { sent: true, ..none() }, "2"),
        (MessageFilter { inbox: true, sent: true, ..none() }, "321"),
        (MessageFilter { room: Some("r".to_owned()), ..none() }, "3"),
        (MessageFilter { from: Some("a".into()), ..none() }, "31"),
        (MessageFilter { to_session: Some("b".into()), ..none() }, "1"),
        (MessageFilter { since: Some(BIRTH + 1), ..none() }, "3"),
    ];
    for (filter, expected) in cases {
        assert_eq!(read(filter.clone()), (expected.to_owned(), expected.len()), "{filter:?}");
    }
    assert_eq!(read(MessageFilter { limit: Some(1), ..none() }), ("3".to_owned(), 3));
    let nowhere = MessageFilter { room: Some("nowhere".to_owned()), ..none() };
    assert_eq!(world.err(Request::ReadMessages { caller: caller("b"), filter: nowhere }).kind, ErrorKind::NotFound);
}

#[test]
fn a_session_that_ends_leaves_no_ghosts_whichever_way_it_ends() {
    let ends: [fn(&mut World); 4] = [
        |world| world.end("b"),
        |world| {
            world.gone("k");
            world.pass(10 * SECOND);
            world.sweep();
        },
        |world| drop(world.ok(Request::WithdrawSession { client: "k".into(), session: "b".into() })),
        |world| drop(world.ok(Request::External(vec![ExternalEvent::Delete(ItemType::Session, "b".to_owned())]))),
    ];
    for end in ends {
        let mut world = World::new();
        world.start("a", "/w/x");
        world.publish("k", "b", "b");
        world.join("b", "r");
        world.join("a", "r");
        let read = world.send("a", "b", "read").message.row.id.clone();
        world.ack("b", &[&read]);
        let room = world.broadcast("a", "r", "read too").message.row.id.clone();
        world.ack("b", &[&room]);
        world.send("a", "b", "unread");
        world.broadcast("a", "r", "kept");
        end(&mut world);
        let counts = world.roster.counts();
        assert_eq!((counts.sessions, counts.reads, counts.members), (1, 0, 3), "everyone, project and r of a");
        assert_eq!(world.err(broadcast("a", "r", "m")).kind, ErrorKind::Refused, "no ghost is counted");
        assert_eq!(world.restarted(0).inbox("b"), ["unread", "kept"], "nor does a restart bring back what it had read");
        let reply = world.start("b", "/w/x");
        assert_eq!(bodies(&reply.inbox), ["unread", "kept"], "a resumed session gets what it had not read");
        assert_eq!(reply.waiting, 2);
    }
}

#[test]
fn an_answer_that_arrives_after_the_session_ended_is_handed_over_and_repeated_should_it_come_back() {
    let mut world = pair();
    world.send("a", "b", "1");
    let reply = world.prompt("b");
    world.end("b");
    world.ok(handed("b", &reply, true));
    assert_eq!((world.roster.counts().reads, world.roster.counts().deliveries, world.unread("b")), (0, 1, 1));
    let again = world.start("b", "/w/x");
    assert_eq!(again.inbox.iter().map(|handing| handing.repeat).collect::<Vec<_>>(), [true]);
}

#[test]
fn read_messages_go_after_fourteen_days_and_unread_ones_after_thirty() {
    let mut world = pair();
    let keep_alive = |world: &mut World| {
        world.prompt("a");
        world.prompt("b");
        world.sweep();
    };
    let read = world.send("a", "b", "read").message.row.id.clone();
    world.ack("b", &[&read]);
    world.broadcast("a", "everyone", "unread");
    world.pass(14 * DAY);
    keep_alive(&mut world);
    assert_eq!(world.roster.counts().messages, 2, "not before the age is over");
    world.pass(1);
    keep_alive(&mut world);
    let counts = world.roster.counts();
    assert_eq!((counts.messages, counts.reads, world.unread("b")), (1, 0, 1));
    world.pass(16 * DAY - 1);
    keep_alive(&mut world);
    assert_eq!(world.roster.counts().messages, 1);
    world.pass(1);
    keep_alive(&mut world);
    assert_eq!((world.roster.counts().messages, world.unread("b")), (0, 0));
}

#[test]
fn a_receipt_goes_with_its_own_message_only() {
    let mut world = pair();
    let message = |id: &str, sent_at: i64| {
        ExternalEvent::Set(
            Message {
                id: id.into(),
                from_session_id: "a".into(),
                from_nick: "a".into(),
                to: crate::model::Recipient::Session("b".into()),
                to_nick: "b".into(),
                body: "m".into(),
                sent_at,
                read_at: None,
                proof: None,
                terms: None,
            }
            .into(),
            None,
        )
    };
    world.ok(Request::External(vec![message("m", BIRTH - 15 * DAY), message("m::x", BIRTH)]));
    world.ack("b", &[&"m".into(), &"m::x".into()]);
    let Reply::History(page) = world.ok(Request::History(HistoryQuery::default())) else { panic!() };
    assert_eq!(page.messages.iter().map(|entry| entry.read_by).collect::<Vec<_>>(), [1, 1]);
    world.sweep();
    assert!(world.roster.row(ItemType::MessageRead, "m::x::b").is_some());
    assert!(world.roster.row(ItemType::MessageRead, "m::b").is_none());
}

#[test]
fn only_a_session_that_would_not_see_it_otherwise_is_pushed_to() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.publish("k", "b", "b");
    let push = |world: &mut World| {
        let outcome = world.apply(send("a", "b", "m"));
        world.roster.commit();
        let Ok(Reply::Sent(sent)) = outcome.reply else { panic!() };
        let pushes: Vec<_> =
            outcome.pushes.iter().map(|p| (p.client.to_string(), p.read_when_written.is_some())).collect();
        assert_eq!(sent.live.is_some(), !pushes.is_empty());
        pushes
    };
    assert_eq!(push(&mut world), [("k".to_owned(), false)], "a shim alone is pushed to and acknowledges by itself");
    world.ok(update("b", SessionChange::ChannelsEnabled(Some(true))));
    assert_eq!(push(&mut world), [("k".to_owned(), false)], "whatever it shows");
    world.ok(update("b", SessionChange::ChannelsEnabled(None)));
    world.start("b", "/w/x");
    assert!(push(&mut world).is_empty(), "with hooks the next answer brings it");
    world.ok(update("b", SessionChange::ChannelsEnabled(Some(true))));
    assert_eq!(push(&mut world), [("k".to_owned(), true)], "unless pushes reach the model");
    world.gone("k");
    assert!(push(&mut world).is_empty(), "nobody listens");
    assert_eq!(world.unread("b"), 5);
}

#[test]
fn a_broadcast_is_pushed_to_the_connected_and_names_the_room() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.publish("k1", "b", "b");
    world.publish("k2", "c", "c");
    world.gone("k2");
    let outcome = world.apply(broadcast("a", "everyone", "m"));
    world.roster.commit();
    let pushes: Vec<_> = outcome.pushes.iter().map(|p| (p.client.as_str(), p.room_name.as_deref())).collect();
    assert_eq!(pushes, [("k1", Some("everyone"))]);
    let Ok(Reply::Broadcast(sent)) = outcome.reply else { panic!() };
    let live: Vec<_> = sent.recipients.iter().map(|(id, _, live)| (id.as_str(), live.is_some())).collect();
    assert_eq!(live, [("b", true), ("c", false)]);
}

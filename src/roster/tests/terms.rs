//! What a message says of another one: which it replaces, which it answers, and whether an answer has come.

use super::sending::{id_of, one, sending, three, to_all};
use super::*;
use crate::model::{Step, Terms};

#[test]
fn a_sender_is_told_for_whom_an_older_message_was_replaced() {
    let mut world = three();
    let old = world.broadcast("aaa1", "everyone", "old").message.row.id.clone();
    assert!(matches!(world.ok(ack("bbb1", &[&old])), Reply::Acked { newly: 1, .. }));
    let wishes = |name: &str, old: &MessageId| Wishes {
        supersedes: Some(old.to_string()),
        client_message_id: Some(name.to_owned()),
        ..Wishes::default()
    };
    let request = |to: &[&str], old: &MessageId| sending("aaa1", to, "new", wishes(&to.join(","), old));
    let told = |reply: &Reply| {
        let replaced = match reply {
            Reply::Sent(sent) => sent.replaced.as_deref().cloned(),
            Reply::Broadcast(sent) => sent.replaced.as_deref().cloned(),
            Reply::SentToAll(all) => all[0].replaced().cloned(),
            Reply::Repeated(repeated) => repeated.sent[0].replaced().cloned(),
            other => panic!("{other:?}"),
        };
        let replaced = replaced.unwrap();
        let states = replaced.deliveries.iter().map(|view| format!("{} {}", view.session, view.standing.as_str()));
        (replaced.message.clone(), replaced.count, replaced.of, states.collect::<Vec<_>>().join(", "))
    };
    let reply = world.ok(request(&["@everyone"], &old));
    let expected = (old.clone(), 1, 2, "bbb1 read, bbb2 superseded".to_owned());
    assert_eq!(told(&reply), expected);
    // Asked again, the same is told.
    assert_eq!(told(&world.ok(request(&["@everyone"], &old))), expected);
    let direct = id_of(&one(&mut world, to_all("aaa1", &["bbb1"], "old")));
    assert_eq!(told(&world.ok(request(&["bbb2"], &direct))), (direct.clone(), 0, 1, "bbb1 queued".to_owned()));
    assert!(one(&mut world, to_all("aaa1", &["bbb1"], "m")).replaced.is_none());
}

/// The ids of the messages that an error names.
fn named(error: &RequestError) -> Vec<String> {
    error.candidates.iter().map(|told| told.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// Else the third would stand beside the second.
#[test]
fn what_was_replaced_already_is_not_replaced_again_and_the_newest_in_its_place_is_named() {
    for restart in [false, true] {
        let mut world = three();
        let replacing = |old: &MessageId| Wishes { supersedes: Some(old.to_string()), ..Wishes::default() };
        let first = world.send("aaa1", "bbb1", "1").message.row.id.clone();
        let mut newest = first.clone();
        for body in ["2", "3"] {
            world.pass(SECOND);
            newest = id_of(&one(&mut world, sending("aaa1", &["bbb1"], body, replacing(&newest))));
        }
        if restart {
            world = world.restarted(SECOND);
            ["aaa1", "bbb1", "bbb2"].iter().for_each(|id| drop(world.start(id, "/w/x")));
        }
        let error = world.err(sending("aaa1", &["bbb1"], "4", replacing(&first)));
        assert_eq!((error.kind, named(&error)), (ErrorKind::Refused, vec![newest.as_str()[..5].to_owned()]));
        assert!(error.message.contains(&newest.as_str()[..5]), "{error}");
        newest = id_of(&one(&mut world, sending("aaa1", &["bbb1"], "4", replacing(&newest))));
        let standing = |id: &MessageId| {
            let placed = &world.roster.tables.messages[id];
            world.roster.delivery_to(&placed.stored.row, placed.place, "bbb1".into()).standing
        };
        assert!(matches!(standing(&first), DeliveryStanding::Settled(Step::Superseded(_), _)));
        assert!(!matches!(standing(&newest), DeliveryStanding::Settled(..)));
    }
}

/// Of several that one request put in its place each is for others, so that all are named; and a log in which messages
/// replace each other in a circle, or another one's, leads nowhere.
#[test]
fn all_that_came_in_the_place_of_one_are_named_and_no_circle_is_followed_for_ever() {
    let mut world = three();
    let replacing = |old: &MessageId| Wishes { supersedes: Some(old.to_string()), ..Wishes::default() };
    let old = world.broadcast("aaa1", "everyone", "1").message.row.id.clone();
    let Reply::SentToAll(all) = world.ok(sending("aaa1", &["bbb1", "bbb2"], "2", replacing(&old))) else { panic!() };
    let ids: Vec<String> = all.iter().map(|sent| sent.message().row.id.to_string()).collect();
    let short = |ids: &[String]| ids.iter().map(|id| id[..5].to_owned()).collect::<Vec<_>>();
    assert_eq!(named(&world.err(sending("aaa1", &["bbb1"], "3", replacing(&old)))), short(&ids));
    // Each is replaced for itself.
    let third = id_of(&one(&mut world, sending("aaa1", &["bbb1"], "3", replacing(&ids[0].as_str().into()))));
    let newest = [ids[1].clone(), third.to_string()];
    assert_eq!(named(&world.err(sending("aaa1", &["bbb1"], "4", replacing(&old)))), short(&newest));
    let row = |id: &str, from: &str, old: &str| {
        let mut row = all[0].message().row.clone();
        (row.id, row.from_session_id) = (id.into(), from.into());
        row.terms = Some(Box::new(Terms { supersedes: Some(old.into()), ..Terms::default() }));
        ExternalEvent::Set(row.into(), None)
    };
    let rows =
        vec![row("o1", "aaa1", "o2"), row("o2", "aaa1", "o1"), row("o4", "bbb2", "o3"), row("o3", "aaa1", "none")];
    world.ok(Request::External(rows));
    assert_eq!(world.err(sending("aaa1", &["bbb1"], "m", replacing(&"o1".into()))).kind, ErrorKind::Refused);
    world.ok(sending("aaa1", &["bbb1"], "m", replacing(&"o3".into())));
}

#[test]
fn who_has_not_read_a_message_gets_the_one_in_its_place_alone() {
    let mut world = three();
    let old = world.broadcast("aaa1", "everyone", "old").message.row.id.clone();
    world.ack("bbb1", &[&old]);
    let wishes = Wishes { supersedes: Some(old.to_string()), ..Wishes::default() };
    let new = world.ok(sending("aaa1", &["@everyone"], "new", wishes));
    assert!(matches!(new, Reply::Broadcast(_)));
    assert_eq!((world.inbox("bbb1"), world.inbox("bbb2")), (vec!["new".to_owned()], vec!["new".to_owned()]));
    let placed = &world.roster.tables.messages[&old];
    let views = world.roster.deliveries(&placed.stored.row, placed.place);
    let states: Vec<_> = views.iter().map(|view| (view.session.as_str(), view.standing.as_str())).collect();
    assert_eq!(states, [("bbb1", "read"), ("bbb2", "superseded")]);
}

fn expecting(world: &mut World, from: &str, to: &str) -> MessageId {
    let wishes = Wishes { expects_reply_ms: Some(MINUTE), ..Wishes::default() };
    id_of(&one(world, sending(from, &[to], "?", wishes)))
}

#[test]
fn a_sender_that_expects_a_reply_is_told_once_that_none_came() {
    let mut world = three();
    let question = expecting(&mut world, "aaa1", "bbb1");
    world.pass(MINUTE - 1);
    world.sweep();
    assert_eq!(world.unread("aaa1"), 0);
    world.pass(1);
    world.sweep();
    world.sweep();
    let mut again = world.restarted(SECOND);
    again.pass(MINUTE);
    again.sweep();
    assert_eq!(again.unread("aaa1"), 1, "what the log says was told is not told again");
    let told = world.inbox("aaa1");
    // row 55: by the beginning of its text, and by a name, a person knows it.
    let short = world.roster.short_id(&question);
    assert!(short.len() == 5 && question.as_str().starts_with(&short));
    let expected =
        format!("no reply to your message {short} (\"?\") to 'x@bbb1' came in time, and it is not known to be read");
    assert_eq!(told, [expected]);
    world.sweep();
    assert_eq!(world.unread("aaa1"), 0);
}

/// That a reply came stays true when somebody takes it out of the log; but if he did so before the one that asked could see
/// it, that one has none, and waits for nothing unless it is told.
#[test]
fn a_reply_that_an_outsider_deletes_has_come_if_the_one_that_asked_could_see_it() {
    for (seen, told) in [("read", 0), ("handed", 0), ("waiting", 1), ("for another", 0)] {
        let mut world = three();
        let question = expecting(&mut world, "aaa1", "bbb1");
        let wishes = Wishes { reply_to: Some(question.to_string()), ..Wishes::default() };
        let to: &[&str] = if seen == "for another" { &["bbb2"] } else { &[] };
        let reply = id_of(&one(&mut world, sending("bbb1", to, "!", wishes)));
        match seen {
            "read" => drop(world.ack("aaa1", &[&reply])),
            "handed" => {
                let HookReply { path, lease, .. } = world.prompt("aaa1");
                let messages = vec![reply.clone()];
                world.ok(Request::InboxHanded {
                    session: "aaa1".into(),
                    messages,
                    path,
                    lease,
                    arrival: Arrival::Whole,
                });
            }
            _ => {}
        }
        let deleted = ExternalEvent::Delete(ItemType::Message, reply.to_string());
        world.ok(Request::External(vec![deleted]));
        world.sweep();
        let mut again = world.restarted(MINUTE);
        world.pass(MINUTE);
        for world in [&mut world, &mut again] {
            world.sweep();
            let filter = MessageFilter { inbox: true, ..MessageFilter::default() };
            let Reply::Messages { total, .. } = world.ok(Request::ReadMessages { caller: caller("aaa1"), filter })
            else {
                panic!()
            };
            assert_eq!(total, told, "{seen}");
        }
    }
}

/// What was written of a question after the line that deletes it would bring it back at the next start. What an outsider
/// wrote is read in pieces: nothing is written before all of it was.
#[test]
fn of_a_question_that_is_deleted_with_its_reply_nothing_more_is_written() {
    for question_goes in [false, true] {
        let mut world = three();
        let question = expecting(&mut world, "aaa1", "bbb1");
        let wishes = Wishes { reply_to: Some(question.to_string()), ..Wishes::default() };
        let reply = id_of(&one(&mut world, sending("bbb1", &[], "!", wishes)));
        world.ack("aaa1", &[&reply]);
        let deleted = |id: &MessageId| ExternalEvent::Delete(ItemType::Message, id.to_string());
        world.apply(Request::External(vec![deleted(&reply)])).reply.unwrap();
        world.pass(MINUTE);
        world.apply(Request::Sweep { settled: false }).reply.unwrap();
        if question_goes {
            world.apply(Request::External(vec![deleted(&question)])).reply.unwrap();
        }
        assert!(world.roster.commit().iter().all(|change| !change.persist || change.after.is_none()));
        world.apply(Request::Sweep { settled: true }).reply.unwrap();
        let changes = world.roster.commit();
        let written = |change: &&Change| change.persist && change.after.is_some();
        let written: Vec<&str> = changes.iter().filter(written).map(Change::id).collect();
        assert_eq!(written, if question_goes { vec![] } else { vec![question.as_str()] });
    }
}

#[test]
fn a_reply_in_time_and_after_a_restart_is_one_and_ones_own_word_is_none() {
    let mut world = three();
    let question = expecting(&mut world, "aaa1", "bbb1");
    let other = expecting(&mut world, "aaa1", "bbb2");
    let reply = |id: &MessageId| Wishes { reply_to: Some(id.to_string()), ..Wishes::default() };
    world.ok(sending("bbb1", &[], "!", reply(&question)));
    world.ok(sending("aaa1", &["bbb2"], "well?", reply(&other)));
    let mut world = world.restarted(MINUTE);
    world.sweep();
    let about = |world: &World, id: &MessageId| world.roster.tables.threads.overdue(i64::MAX, 9).contains(id);
    assert!(!about(&world, &question) && !about(&world, &other), "answered, and told of");
    assert_eq!(world.unread("aaa1"), 2, "the reply, and that to the other none came");
    // One that is gone is told when it comes back, and its question is not looked at again until then.
    let late = expecting(&mut world, "bbb2", "bbb1");
    world.end("bbb2");
    world.pass(MINUTE);
    world.sweep();
    assert!(!about(&world, &late));
    let before = world.roster.counts().messages;
    world.sweep();
    assert_eq!(world.roster.counts().messages, before);
}

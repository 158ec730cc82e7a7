//! Sending to several, on terms, and once more: who gets what, what is refused before anything is stored, and what a sender
//! is told later.

use super::*;
use crate::limits::{
    ADDRESSES_MAX, EXPIRY_MAX_MS, LOOP_TURNS_MAX, LOOP_WINDOW_MS, REPLY_EXPECTED_MAX_MS, UNREAD_MESSAGE_AGE_MAX_MS,
};
use crate::model::Priority;

pub(super) fn three() -> World {
    let mut world = World::new();
    for (id, cwd) in [("aaa1", "/w/x"), ("bbb1", "/w/x"), ("bbb2", "/w/y")] {
        world.start(id, cwd);
    }
    world
}

pub(super) fn sending(from: &str, to: &[&str], body: &str, wishes: Wishes) -> Request {
    let to = to.iter().map(|to| (*to).to_owned()).collect();
    Request::Send(Box::new(Sending { caller: caller(from), to, body: body.to_owned(), wishes }))
}

pub(super) fn to_all(from: &str, to: &[&str], body: &str) -> Request {
    sending(from, to, body, Wishes::default())
}

/// The one message that a request comes to.
pub(super) fn one(world: &mut World, request: Request) -> Sent {
    match world.ok(request) {
        Reply::Sent(sent) => sent,
        other => panic!("{other:?}"),
    }
}

pub(super) fn id_of(sent: &Sent) -> MessageId {
    sent.message.row.id.clone()
}

fn keyed(key: &str) -> Wishes {
    Wishes { client_message_id: Some(key.to_owned()), ..Wishes::default() }
}

fn terms(world: &World, message: &MessageId) -> crate::model::Terms {
    world.roster.tables.messages[message].stored.row.terms.as_deref().cloned().unwrap_or_default()
}

/// Who is meant by more than one address is named, and by which message it gets there: the number of that one.
#[test]
fn whom_more_than_one_address_means_is_told_of_with_the_message_that_gets_there() {
    let table: [(&[&str], &[&str]); 9] = [
        (&["@everyone"], &[""]),
        (&["bbb1", "bbb2", "bbb1"], &["", ""]),
        (&["@everyone", "@all", "*"], &[""]),
        (&["@everyone", "bbb1"], &["bbb1 by 0"]),
        (&["bbb1", "@everyone", "bbb1", "y@bbb2"], &["bbb1 by 0, bbb2 by 0"]),
        (&["@everyone", "project:y"], &["project:y by 0"]),
        (&["project:y", "@everyone"], &["", "bbb2 by 0"]),
        (&["project:y", "@everyone", "bbb1", "bbb2", "human:al"], &["bbb2 by 0", "bbb2 by 0, bbb1 by 1", ""]),
        (&["project:x", "project:y", "@everyone"], &["everyone by 0", "everyone by 1"]),
    ];
    for (to, expected) in table {
        let mut world = three();
        let all = match world.ok(to_all("aaa1", to, "m")) {
            Reply::Broadcast(sent) => vec![SentTo::Room(sent)],
            Reply::SentToAll(all) => all,
            other => panic!("{to:?}: {other:?}"),
        };
        let place = |id: &MessageId| all.iter().position(|sent| sent.message().row.id == *id).unwrap();
        let told = |covered: &Covered| match &covered.to {
            crate::model::Recipient::Session(session) => {
                assert_eq!(*covered.name, *world.nickname(session.as_str()));
                format!("{session} by {}", place(&covered.by))
            }
            crate::model::Recipient::Room(room) => format!("{room} by {}", place(&covered.by)),
        };
        let covered = all.iter().map(|sent| match sent {
            SentTo::One(_) => String::new(),
            SentTo::Room(sent) => sent.covered.iter().map(told).collect::<Vec<_>>().join(", "),
        });
        assert_eq!(covered.collect::<Vec<_>>(), expected, "{to:?}");
    }
}

/// M23: each address, and all who get the message by it.
#[test]
fn each_address_reaches_exactly_those_that_it_means() {
    let table: [(&[&str], &[&str]); 14] = [
        (&["bbb1"], &["bbb1"]),
        (&["y@bbb2"], &["bbb2"]),
        (&["bbb2", "y@bbb2", "bbb2"], &["bbb2"]),
        (&["y"], &["bbb2"]),
        (&["aaa"], &["aaa1"]),
        (&["@everyone"], &["bbb1", "bbb2"]),
        (&["*"], &["bbb1", "bbb2"]),
        (&["@all"], &["bbb1", "bbb2"]),
        (&["project:y"], &["bbb2"]),
        (&["@project:y", "project:y", "bbb2"], &["bbb2"]),
        (&["bbb1", "bbb2", "human:al"], &["bbb1", "bbb2", "human:al"]),
        (&["@everyone", "bbb1"], &["bbb1", "bbb2"]),
        (&["@everyone", "project:y"], &["bbb1", "bbb2"]),
        (&["project:y", "@everyone", "human:al"], &["bbb1", "bbb2", "human:al"]),
    ];
    for (to, expected) in table {
        let mut world = three();
        world.ok(to_all("aaa1", to, "m"));
        let all = ["aaa1", "bbb1", "bbb2", "human:al"];
        let got: Vec<(&str, usize)> = all.iter().map(|id| (*id, world.unread(id))).filter(|got| got.1 > 0).collect();
        assert_eq!(got, expected.iter().map(|id| (*id, 1)).collect::<Vec<_>>(), "{to:?}: each of them once");
    }
}

#[test]
fn one_address_that_means_nobody_or_two_stores_nothing_at_all() {
    let mut world = three();
    let cases: [(&[&str], ErrorKind, &[&str]); 9] = [
        (&["bbb1", "nobody"], ErrorKind::NotFound, &[]),
        (&["human:al", "bbb"], ErrorKind::Ambiguous, &["bbb1 (x@bbb1, /w/x)", "bbb2 (y@bbb2, /w/y)"]),
        (&["bbb1", "@no"], ErrorKind::NotFound, &[]),
        (&["bbb1", "@every"], ErrorKind::NotFound, &["@everyone"]),
        (&["bbb1", "project:"], ErrorKind::NotFound, &["@project:x", "@project:y"]),
        (&["bbb1", "op:nobody"], ErrorKind::NotFound, &[]),
        (&["bbb1", "everyone"], ErrorKind::NotFound, &["@everyone"]),
        (&["bbb1", "human:"], ErrorKind::Invalid, &[]),
        (&[], ErrorKind::Invalid, &[]),
    ];
    for (to, kind, candidates) in cases {
        let error = world.err(to_all("aaa1", to, "m"));
        let found: Vec<&str> = error.candidates.iter().map(String::as_str).collect();
        assert_eq!((error.kind, found.as_slice()), (kind, candidates), "{to:?}");
    }
    let many: Vec<String> = (0..=ADDRESSES_MAX).map(|n| format!("human:{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(world.err(to_all("aaa1", &many, "m")).kind, ErrorKind::TooLarge);
    assert_eq!(world.err(to_all("aaa1", &["bbb1", "project:x"], "")).kind, ErrorKind::Invalid);
    assert_eq!(world.roster.counts().messages, 0);
    world.ok(to_all("aaa1", &many[1..], "m"));
}

#[test]
fn a_session_that_has_ended_is_reached_by_its_whole_id_if_something_is_known_of_it() {
    let mut world = three();
    world.send("bbb1", "aaa1", "hello");
    world.end("bbb1");
    for unknown in ["x@bbb", "bbb", "bbb11", "marshal"] {
        let found = world.apply(to_all("aaa1", &[unknown], "m")).reply;
        // What is left that begins like it is another one.
        assert!(unknown == "bbb" || found.is_err(), "{unknown}");
        world.roster.roll_back();
    }
    let sent = one(&mut world, to_all("aaa1", &["bbb1"], "m"));
    assert_eq!(sent.delivery.standing, DeliveryStanding::Queued(Queued::Ended));
    assert_eq!(bodies(&world.start("bbb1", "/w/x").inbox), ["m"]);
    // Marshal itself has a name, and no inbox.
    let wishes = Wishes { expires: Some(Expiry::In(MINUTE)), ..Wishes::default() };
    world.ok(sending("aaa1", &["bbb1"], "late", wishes));
    world.pass(MINUTE);
    world.sweep();
    assert_eq!(world.unread("aaa1"), 2);
    assert_eq!(world.err(to_all("aaa1", &["marshal"], "m")).kind, ErrorKind::NotFound);
}

/// The table of the idempotent send, as far as the roster goes.
#[test]
fn the_same_again_is_the_same_message_and_another_under_its_name_is_refused() {
    let mut world = three();
    let first = id_of(&one(&mut world, sending("aaa1", &["bbb1"], "m", keyed("k"))));
    let repeated = |world: &mut World, request| match world.ok(request) {
        Reply::Repeated(repeated) => repeated,
        other => panic!("{other:?}"),
    };
    let same = || sending("aaa1", &["bbb1"], "m", keyed("k"));
    assert_eq!(repeated(&mut world, same()).sent[0].message().row.id, first);
    assert_eq!(world.err(sending("aaa1", &["bbb1"], "other", keyed("k"))).kind, ErrorKind::KeyReused);
    assert_eq!(world.err(sending("aaa1", &["bbb2"], "m", keyed("k"))).kind, ErrorKind::KeyReused);
    // Somebody else's names are others.
    assert_ne!(id_of(&one(&mut world, sending("bbb2", &["bbb1"], "m", keyed("k")))), first);
    // Also once the recipient is gone, by whatever name it was called, and after a restart.
    let by_name = id_of(&one(&mut world, sending("aaa1", &["y"], "m", keyed("k2"))));
    world.end("bbb2");
    assert_eq!(repeated(&mut world, sending("aaa1", &["y"], "m", keyed("k2"))).sent[0].message().row.id, by_name);
    let mut again = world.restarted(SECOND);
    let told = repeated(&mut again, same());
    assert_eq!((told.sent.len(), told.is_same, told.sent[0].message().row.id.clone()), (1, true, first.clone()));
    assert_eq!(again.err(sending("aaa1", &["bbb1"], "other", keyed("k"))).kind, ErrorKind::KeyReused);
    // One name for all of several, which are one request.
    let several = || sending("aaa1", &["bbb1", "human:al"], "m", keyed("k3"));
    assert!(matches!(world.ok(several()), Reply::SentToAll(all) if all.len() == 2));
    assert_eq!(repeated(&mut world, several()).sent.len(), 2);
    // What is refused uses no name up, nor does what was taken back.
    world.err(sending("aaa1", &["nobody"], "m", keyed("k4")));
    assert!(world.apply(sending("aaa1", &["bbb1"], "m", keyed("k4"))).reply.is_ok());
    world.roster.roll_back();
    one(&mut world, sending("aaa1", &["bbb1"], "another", keyed("k4")));
    // Until it is deleted for its age.
    world.pass(UNREAD_MESSAGE_AGE_MAX_MS + 1);
    world.start("aaa1", "/w/x");
    world.start("bbb1", "/w/x");
    world.sweep();
    // It is settled that it was not read; it goes, and its key with it, as any that is settled.
    world.pass(crate::limits::READ_MESSAGE_AGE_MAX_MS + 1);
    world.start("aaa1", "/w/x");
    world.start("bbb1", "/w/x");
    world.sweep();
    assert_ne!(id_of(&one(&mut world, same())), first);
    for bad in ["", "a\nb", &"x".repeat(300)] {
        assert_eq!(world.err(sending("aaa1", &["bbb1"], "m", keyed(bad))).kind, ErrorKind::Invalid);
    }
}

#[test]
fn an_answer_goes_to_whom_it_answers_and_stays_in_the_thread() {
    let mut world = three();
    let question = id_of(&one(&mut world, to_all("aaa1", &["bbb1"], "?")));
    let reply = |id: &str| Wishes { reply_to: Some(id.to_owned()), ..Wishes::default() };
    let answer = one(&mut world, sending("bbb1", &[], "!", reply(question.as_str())));
    assert_eq!(answer.delivery.session.as_str(), "aaa1");
    let found = terms(&world, &id_of(&answer));
    assert_eq!((found.reply_to, found.thread), (Some(question.clone()), Some(question.clone())));
    let more = one(&mut world, sending("aaa1", &[], "?!", reply(id_of(&answer).as_str())));
    let found = terms(&world, &id_of(&more));
    assert_eq!((found.reply_to, found.thread), (Some(id_of(&answer)), Some(question.clone())));
    assert_eq!(more.delivery.session.as_str(), "bbb1");
    // To somebody else, if it says so; by the beginning of an id; and to what was sent to a room, to its sender.
    assert_eq!(
        one(&mut world, sending("aaa1", &["bbb2"], "?!", reply(question.as_str()))).delivery.session.as_str(),
        "bbb2"
    );
    let beginning = &question.as_str()[..question.as_str().len() - 1];
    let found = world.apply(sending("bbb1", &[], "!", reply(beginning))).reply;
    assert!(
        found.is_ok() || found.is_err_and(|error| error.kind == ErrorKind::Ambiguous && error.candidates.len() > 1)
    );
    world.roster.roll_back();
    let to_room = world.broadcast("aaa1", "everyone", "all").message.row.id.clone();
    assert_eq!(one(&mut world, sending("bbb2", &[], "I", reply(to_room.as_str()))).delivery.session.as_str(), "aaa1");
    for unknown in ["", "nothing"] {
        assert_eq!(world.err(sending("bbb1", &[], "!", reply(unknown))).kind, ErrorKind::NotFound);
    }
}

#[test]
fn the_beginning_of_an_id_is_enough_where_it_is_that_of_one_message() {
    let mut world = three();
    let first = id_of(&one(&mut world, to_all("aaa1", &["bbb1"], "1")));
    let first = world.rename(&first, "alike-1x");
    world.pass(DAY);
    world.start("aaa1", "/w/x");
    world.start("bbb1", "/w/x");
    let second = id_of(&one(&mut world, to_all("aaa1", &["bbb1"], "2")));
    world.rename(&second, "alike-2x");
    let reply = |id: &str| Wishes { reply_to: Some(id.to_owned()), ..Wishes::default() };
    let answer = one(&mut world, sending("bbb1", &[], "!", reply("alike-1")));
    assert_eq!(terms(&world, &id_of(&answer)).reply_to, Some(first.clone()));
    let error = world.err(sending("bbb1", &[], "!", reply("alike")));
    assert_eq!((error.kind, error.candidates.len()), (ErrorKind::Ambiguous, 2));
}

#[test]
fn a_past_message_and_its_thread_are_found_by_the_beginning_of_an_id() {
    let mut world = three();
    let first = id_of(&one(&mut world, to_all("aaa1", &["bbb1"], "1")));
    let first = world.rename(&first, "alike-1x");
    world.pass(DAY);
    world.start("aaa1", "/w/x");
    world.start("bbb1", "/w/x");
    let reply = Wishes { reply_to: Some(first.to_string()), ..Wishes::default() };
    let second = id_of(&one(&mut world, sending("bbb1", &[], "2", reply)));
    world.rename(&second, "alike-2x");
    let ask = |message: Option<&str>, thread: Option<&str>| {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Request::History(HistoryQuery { message: text(message), thread: text(thread), ..HistoryQuery::default() })
    };
    let found = |world: &mut World, request| match world.ok(request) {
        Reply::History(page) => page.messages.iter().map(|e| e.message.row.body.to_string()).collect::<String>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(found(&mut world, ask(Some("alike-1"), None)), "1");
    assert_eq!(found(&mut world, ask(None, Some("alike-2"))), "12");
    for request in [ask(Some("alike"), None), ask(None, Some("a"))] {
        let error = world.err(request);
        assert_eq!(error.kind, ErrorKind::Ambiguous);
        // row 10: by what a person knows them, the newest first.
        let candidates = ["alike-2 (0 s ago, x@bbb1 -> x@aaa1: 2)", "alike-1 (24 h ago, x@aaa1 -> x@bbb1: 1)"];
        assert_eq!(error.candidates, candidates);
    }
    for request in [ask(Some(""), None), ask(Some("none"), None), ask(None, Some("")), ask(None, Some("none"))] {
        assert_eq!(world.err(request).kind, ErrorKind::NotFound);
    }
}

/// Behind as many as are looked at there may be more: what is found by then is not taken for the only one.
#[test]
fn a_beginning_that_fits_more_than_are_looked_at_is_not_taken_for_that_of_one() {
    let mut world = World::new();
    world.ok(Request::Register(Box::new(registering("aaa1", "a", token(1)))));
    world.ok(Request::Register(Box::new(registering("bbb1", "b", token(2)))));
    let send =
        |text: &str, to: &str| Request::send(Caller { human: Some("ana".to_owned()), ..Caller::default() }, to, text);
    let first = id_of(&one(&mut world, send("mine", "bbb1")));
    let first = world.rename(&first, "alike-00000");
    for number in 0..crate::limits::ID_BEGINNINGS_MAX {
        world.pass(1000);
        let other = id_of(&one(&mut world, send("not mine", "aaa1")));
        world.rename(&other, &format!("alike-1{number:04}"));
    }
    let second = id_of(&one(&mut world, send("mine", "bbb1")));
    world.rename(&second, "alike-20000");
    let caller = || Caller { token: Some(Box::new(token(2))), known: Known::Machine, ..Caller::default() };
    let ask = |text: &str| {
        let message = Some(text.to_owned());
        Request::History(HistoryQuery { caller: Box::new(caller()), message, ..HistoryQuery::default() })
    };
    assert_eq!(world.err(ask("alike-")).kind, ErrorKind::Ambiguous);
    assert!(matches!(world.ok(ask(first.as_str())), Reply::History(page) if page.messages.len() == 1));
}

/// A session that is known as one learns nothing of what is not for it.
#[test]
fn nobody_answers_or_replaces_what_he_may_not_see() {
    let mut world = World::new();
    world.ok(Request::Register(Box::new(registering("aaa1", "a", token(1)))));
    world.ok(Request::Register(Box::new(registering("bbb1", "b", token(2)))));
    world.start("ccc1", "/w/x");
    let to_c = id_of(&one(&mut world, to_all("aaa1", &["ccc1"], "secret")));
    let as_b = |to: &[&str], wishes| {
        let caller = Caller { token: Some(Box::new(token(2))), known: Known::Machine, ..Caller::default() };
        let to = to.iter().map(|to| (*to).to_owned()).collect();
        Request::Send(Box::new(Sending { caller, to, body: "m".to_owned(), wishes }))
    };
    let reply = Wishes { reply_to: Some(to_c.to_string()), ..Wishes::default() };
    let beginning = Wishes { reply_to: Some(to_c.as_str()[..6].to_owned()), ..Wishes::default() };
    let supersede = Wishes { supersedes: Some(to_c.to_string()), ..Wishes::default() };
    for wishes in [reply, beginning, supersede.clone()] {
        assert_eq!(world.err(as_b(&["ccc1"], wishes)).kind, ErrorKind::NotFound);
    }
    // Whoever may see it may still not replace it.
    assert_eq!(world.err(sending("ccc1", &["aaa1"], "m", supersede)).kind, ErrorKind::Forbidden);
}

#[test]
fn times_are_bounded() {
    let mut world = three();
    let expires = |expires| Wishes { expires: Some(expires), ..Wishes::default() };
    let expects = |ms| Wishes { expects_reply_ms: Some(ms), ..Wishes::default() };
    let now = world.now.wall_ms;
    for wishes in [
        expires(Expiry::In(0)),
        expires(Expiry::In(EXPIRY_MAX_MS + 1)),
        expires(Expiry::At(now)),
        expires(Expiry::At(i64::MIN)),
        expires(Expiry::At(now + EXPIRY_MAX_MS + 1)),
        expects(0),
        expects(REPLY_EXPECTED_MAX_MS + 1),
    ] {
        assert_eq!(world.err(sending("aaa1", &["bbb1"], "m", wishes.clone())).kind, ErrorKind::Invalid, "{wishes:?}");
    }
    let sent = one(&mut world, sending("aaa1", &["bbb1"], "m", expires(Expiry::At(now + 1))));
    assert_eq!(sent.message.row.expires_at(), Some(now + 1));
    let both = Wishes { priority: Priority::Now, ..expects(REPLY_EXPECTED_MAX_MS) };
    let sent = one(&mut world, sending("aaa1", &["bbb1"], "m", both));
    let found = terms(&world, &id_of(&sent));
    assert_eq!((found.priority, found.reply_by), (Priority::Now, Some(now + REPLY_EXPECTED_MAX_MS)));
}

#[test]
fn what_was_read_or_replaced_is_not_sent_again_and_nobody_sends_again_what_is_not_his() {
    let mut world = three();
    let requeue = |from: &str, id: &MessageId| Request::Requeue { caller: caller(from), message: id.clone() };
    let wishes = Wishes { expires: Some(Expiry::In(MINUTE)), ..keyed("k") };
    let sent = id_of(&one(&mut world, sending("aaa1", &["bbb1"], "m", wishes)));
    assert_eq!(world.err(requeue("bbb1", &sent)).kind, ErrorKind::NotFound);
    world.end("bbb1");
    world.pass(MINUTE);
    world.sweep();
    let again = one(&mut world, requeue("aaa1", &sent));
    let found = terms(&world, &id_of(&again));
    assert_eq!((found.supersedes, found.expires_at), (Some(sent.clone()), Some(world.now.wall_ms + MINUTE)));
    assert_eq!(again.delivery.standing, DeliveryStanding::Queued(Queued::Ended), "to the one that it was for");
    assert!(found.client_message_id.is_some_and(|id| &*id != "k"), "under a new name");
    assert_eq!(world.err(requeue("aaa1", &sent)).kind, ErrorKind::Refused, "once");
    assert_eq!(bodies(&world.start("bbb1", "/w/x").inbox), ["m"]);
    world.ack("bbb1", &[&id_of(&again)]);
    assert_eq!(world.err(requeue("aaa1", &id_of(&again))).kind, ErrorKind::Refused, "it was read");
    let to_room = world.broadcast("aaa1", "everyone", "m").message.row.id.clone();
    assert_eq!(world.err(requeue("aaa1", &to_room)).kind, ErrorKind::Refused);
    // What came in its place for somebody else does not stand in its place for this one.
    let wishes = Wishes { expires: Some(Expiry::In(MINUTE)), ..Wishes::default() };
    let sent = id_of(&one(&mut world, sending("aaa1", &["bbb1"], "m", wishes)));
    world.pass(MINUTE);
    world.sweep();
    let instead = Wishes { supersedes: Some(sent.to_string()), ..Wishes::default() };
    world.ok(sending("aaa1", &["bbb2"], "n", instead));
    world.ok(requeue("aaa1", &sent));
    let error = world.err(requeue("aaa1", &sent));
    assert!(error.to_string().contains("ask for that one"), "{error}");
}

#[test]
fn two_that_answer_each_other_for_ever_are_stopped_until_a_human_speaks() {
    let mut world = three();
    world.roster.limit_sends(Some(1000));
    let say = |world: &mut World, n: u32| {
        let (from, to) = if n.is_multiple_of(2) { ("aaa1", "bbb1") } else { ("bbb1", "aaa1") };
        let error = world.apply(to_all(from, &[to], "and you?")).reply.err();
        world.roster.commit();
        error
    };
    for n in 0..LOOP_TURNS_MAX {
        assert_eq!(say(&mut world, n), None, "{n}");
    }
    let error = say(&mut world, LOOP_TURNS_MAX).unwrap();
    assert!(error.kind == ErrorKind::LoopGuard && error.retry_after_s.is_some());
    world.ok(to_all("aaa1", &["bbb2"], "to somebody else"));
    world.ok(to_all("human:al", &["bbb1"], "go on"));
    assert_eq!(say(&mut world, LOOP_TURNS_MAX), None);
    world.pass(LOOP_WINDOW_MS);
    // The same in a thread of many, none of whom answers the same one twice in a row.
    let mut last = id_of(&one(&mut world, to_all("aaa1", &["bbb1"], "?")));
    let turns = (0..100).take_while(|n| {
        let from = ["bbb1", "bbb2", "aaa1"][n % 3];
        let wishes = Wishes { reply_to: Some(last.to_string()), ..Wishes::default() };
        let to = ["bbb2", "aaa1", "bbb1"][n % 3];
        let sent = world.apply(sending(from, &[to], "!", wishes)).reply;
        if let Ok(Reply::Sent(sent)) = &sent {
            last = id_of(sent);
        }
        sent.is_ok()
    });
    assert_eq!(turns.count(), LOOP_TURNS_MAX as usize);
}

#[test]
fn each_of_several_takes_a_turn() {
    let mut world = three();
    world.roster.limit_sends(Some(1));
    let to: Vec<String> = (0..50).map(|n| format!("human:{n}")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let sent = (0..10).take_while(|_| world.apply(to_all("aaa1", &to, "m")).reply.is_ok()).count();
    assert_eq!(sent * 50, crate::limits::SEND_BURST_MAX as usize);
}

#[test]
fn the_outbox_holds_what_its_owner_has_sent_page_by_page() {
    let mut world = three();
    for n in 0..5 {
        world.send("aaa1", "bbb1", &n.to_string());
        world.send("bbb1", "aaa1", "not mine");
    }
    let mut page =
        |before, limit| match world.ok(Request::Outbox { caller: caller("aaa1"), before, limit: Some(limit) }) {
            Reply::History(page) => page,
            other => panic!("{other:?}"),
        };
    let bodies = |page: &HistoryPage| page.messages.iter().map(|e| e.message.row.body.to_string()).collect::<Vec<_>>();
    let newest = page(None, 2);
    assert_eq!(bodies(&newest), ["3", "4"]);
    assert_eq!(newest.messages[0].deliveries.len(), 1);
    let older = page(newest.before, 200);
    assert_eq!((bodies(&older), older.before), (vec!["0".to_owned(), "1".into(), "2".into()], None));
}

#[test]
fn the_outbox_tells_of_each_in_a_room_and_its_answers_do_not_grow_with_the_room() {
    let mut world = World::new();
    let members = crate::limits::HISTORY_SCAN_MAX / 3;
    for n in 0..members {
        world.start(&format!("s{n}"), "/w");
    }
    for n in 0..5 {
        world.broadcast("s0", "everyone", &n.to_string());
    }
    let (mut found, mut before, mut pages) = (Vec::new(), None, 0);
    loop {
        let limit = Some(crate::limits::PAGE_MESSAGES_MAX);
        let page = match world.ok(Request::Outbox { caller: caller("s0"), before, limit }) {
            Reply::History(page) => page,
            other => panic!("{other:?}"),
        };
        pages += 1;
        let told: usize = page.messages.iter().map(|entry| entry.deliveries.len()).sum();
        assert!(told <= crate::limits::HISTORY_SCAN_MAX + members, "{told}");
        assert!(page.messages.iter().all(|entry| entry.deliveries.len() == members - 1));
        found.splice(0..0, page.messages.iter().map(|entry| entry.message.row.body.to_string()));
        before = page.before;
        if before.is_none() {
            break;
        }
    }
    assert_eq!((found.join(""), pages), ("01234".to_owned(), 2));
}

#[test]
fn what_there_is_to_tell_of_deliveries_is_told_once_for_each_step() {
    let mut world = three();
    let message = id_of(&one(&mut world, to_all("aaa1", &["bbb1"], "m")));
    let news = |world: &mut World| {
        let changes = world.roster.journal().to_vec();
        let told = changes.iter().enumerate().filter_map(|(at, change)| {
            let (message, view) = world.roster.delivery_news(change, changes.get(at + 1))?;
            Some(format!("{} {} {}", message.row.body, view.session, view.standing.as_str()))
        });
        let told: Vec<String> = told.collect();
        world.roster.commit();
        told
    };
    assert!(world.apply(Request::prompt_submit(report("bbb1", ""))).reply.is_ok());
    assert!(news(&mut world).is_empty());
    let (session, messages, path) = ("bbb1".into(), vec![message.clone()], crate::model::Path::Prompt);
    let lease = world.roster.tables.mail.last_lease();
    drop(world.apply(Request::InboxHanded { session, messages, path, lease, arrival: Arrival::Whole }));
    assert_eq!(news(&mut world), ["m bbb1 handed"]);
    drop(world.apply(ack("bbb1", &[&message])));
    assert_eq!(news(&mut world), ["m bbb1 read"]);
    drop(world.apply(Request::session_end("bbb1".into())));
    assert!(news(&mut world).is_empty(), "that it was read is not read again when its receipt goes");
}

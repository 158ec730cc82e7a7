//! Mail outlives its session: who finds it, who may claim it, and when it ends.

use super::*;
use crate::ids::{ReadId, SessionId};
use crate::limits::{
    CLAIM_MESSAGES_MAX, DEPARTED_WITHOUT_MAIL_MAX, ENDED_KNOWN_MS, KEPT_AGE_MAX_MS, KEPT_FOR_GONE_MAX,
    READ_MESSAGE_AGE_MAX_MS, SWEEP_ROWS_MAX, UNCLAIMED_MAIL_AGE_MAX_MS, UNREAD_MESSAGE_AGE_MAX_MS,
};
use crate::model::{Delivery, Reason, Step, Terms};

fn claim(who: &str, from: Option<&str>) -> Request {
    Request::ClaimMail { caller: caller(who), from: from.map(str::to_owned) }
}

impl World {
    fn claims(&mut self, who: &str, from: Option<&str>) -> Claimed {
        match self.ok(claim(who, from)) {
            Reply::Claimed(claimed) => claimed,
            other => panic!("{other:?}"),
        }
    }

    /// Where a message is for a session.
    fn standing(&mut self, message: &MessageId, session: &str) -> DeliveryStanding {
        let query = HistoryQuery { message: Some(message.to_string()), ..HistoryQuery::default() };
        let Reply::History(page) = self.ok(Request::History(query)) else { panic!() };
        let found = page.messages[0].deliveries.iter().find(|view| view.session.as_str() == session);
        found.unwrap_or_else(|| panic!("{session} in {:?}", page.messages[0].deliveries)).standing.clone()
    }

    fn is_departed(&self, id: &str) -> bool {
        matches!(self.roster.row(ItemType::Departed, id), Some(Row::Departed(row)) if row.row.has_mail)
    }

    fn is_known_as_ended(&self, id: &str) -> bool {
        self.roster.row(ItemType::Departed, id).is_some()
    }

    fn tick(&mut self, ms: i64) {
        // Those who are there show it, and the clocks agree.
        let mut left = ms;
        while left > 0 {
            let step = left.min(50 * MINUTE);
            self.pass(step);
            left -= step;
            let there: Vec<String> = self.roster.tables.sessions.keys().map(ToString::to_string).collect();
            for id in &there {
                let kind = EventKind::Other;
                self.ok(Request::HookEvent(Box::new(HookEvent {
                    report: report(id, ""),
                    kind,
                    ..HookEvent::default()
                })));
            }
            self.sweep();
        }
    }
}

fn total(claimed: &Claimed) -> usize {
    claimed.from.iter().map(|(_, _, count)| count).sum()
}

/// `old` ends with mail from `a`: two direct ones, one to everyone and one that it had read.
fn bereaved() -> (World, Vec<MessageId>) {
    let mut world = World::new();
    world.start("a", "/w/a");
    world.start("old", "/w/x");
    world.send("a", "old", "read");
    assert_eq!(world.inbox("old"), ["read"]);
    let mut ids = vec![world.send("a", "old", "one").message.row.id.clone()];
    ids.push(world.broadcast("a", "everyone", "all").message.row.id.clone());
    ids.push(world.send("a", "old", "two").message.row.id.clone());
    world.end("old");
    (world, ids)
}

#[test]
fn a_session_that_is_resumed_finds_what_it_had_not_read_its_rooms_mail_too() {
    for restart in [false, true] {
        let (mut world, _) = bereaved();
        if restart {
            world = world.restarted(HOUR);
        }
        assert!(world.is_departed("old"));
        let reply = world.start("old", "/w/x");
        assert_eq!(bodies(&reply.inbox), ["one", "all", "two"]);
        assert_eq!(
            (reply.left, world.is_departed("old")),
            (None, false),
            "it is there: nobody else is to have its mail"
        );
        world.start("new", "/w/x");
        assert_eq!(total(&world.claims("new", None)), 0);
    }
}

#[test]
fn one_in_its_place_is_told_what_it_left_and_takes_it_over_and_the_sender_learns_it() {
    for restart in [false, true] {
        let (mut world, ids) = bereaved();
        if restart {
            world = world.restarted(HOUR);
        }
        let left = world.start("new", "/w/x").left.unwrap();
        assert_eq!((&*left.nickname, left.messages, left.others), ("x@old", 3, 0));
        assert!(world.prompt("new").left.is_none(), "once is enough");
        let claimed = world.claims("new", None);
        assert_eq!((claimed.by.as_str(), total(&claimed), claimed.more), ("new", 3, false));
        assert_eq!((claimed.from[0].0.as_str(), &*claimed.from[0].1), ("old", "x@old"));
        assert!(!world.is_departed("old"));
        assert!(
            matches!(world.standing(&ids[0], "old"), DeliveryStanding::Settled(Step::Claimed(by), _) if by.as_str() == "new")
        );
        assert!(matches!(world.standing(&ids[0], "new"), DeliveryStanding::Queued(_)));
        assert_eq!(world.view("new").unread, 3);
        assert_eq!(world.inbox("new"), ["one", "all", "two"]);
        assert!(matches!(world.standing(&ids[0], "new"), DeliveryStanding::Read(..)));
        let notices = world.inbox("a");
        assert_eq!(notices.len(), 1, "one for both: {notices:?}");
        assert!(notices[0].starts_with(
            "2 of your messages to 'x@old', which ended before reading them, were taken over by 'x@new': "
        ));
        assert!([0, 2].iter().all(|id| notices[0].contains(&ids[*id].as_str()[..5])), "{notices:?}");
        assert_eq!(total(&world.claims("new", None)), 0);
        assert!(world.start("old", "/w/x").inbox.is_empty(), "what was taken over is not its own any more");
        let mut again = world.restarted(0);
        assert!(again.inbox("new").is_empty() && again.inbox("old").is_empty());
    }
}

#[test]
fn what_was_taken_over_stands_in_the_history_of_both_and_of_nobody_else() {
    let (mut world, ids) = bereaved();
    for id in ["new", "other"] {
        world.start(id, if id == "new" { "/w/x" } else { "/w/y" });
    }
    world.claims("new", None);
    let bodies_of = |world: &mut World, id: &str, state: Option<MessageState>| {
        let query = HistoryQuery { session: Some(id.to_owned()), state, limit: Some(2), ..HistoryQuery::default() };
        let (mut all, mut query) = (Vec::new(), query);
        loop {
            let Reply::History(page) = world.ok(Request::History(query.clone())) else { panic!() };
            all.splice(0..0, page.messages.iter().map(|entry| entry.message.row.body.to_string()));
            let Some(before) = page.before else { return all };
            query.before = Some(before);
        }
    };
    for read in [false, true] {
        if read {
            assert_eq!(world.inbox("new").len(), 3);
        }
        assert_eq!(bodies_of(&mut world, "new", None), ["one", "all", "two"], "read: {read}");
        assert_eq!(bodies_of(&mut world, "old", Some(MessageState::Claimed)), ["one", "two"]);
        assert!(bodies_of(&mut world, "other", None).is_empty());
    }
    let placed = &world.roster.tables.messages[&ids[0]];
    let sees = |id: &str| world.roster.concerns(placed, &SessionId::from(id));
    assert_eq!(["a", "old", "new", "other"].map(sees), [true, true, true, false]);
}

#[test]
fn mail_goes_to_the_place_it_was_left_in_or_where_the_operator_says() {
    let (mut world, _) = bereaved();
    // Those who are proven to be sessions, by their tokens.
    let registered = |world: &mut World, number: u8, id: &str, cwd: &str, name: &str| {
        let registering = Registering { cwd: Some(cwd.to_owned()), ..registering(id, name, token(number)) };
        world.ok(Request::Register(Box::new(registering)));
        Caller { token: Some(Box::new(token(number))), ..Caller::default() }
    };
    let elsewhere = registered(&mut world, 1, "elsewhere", "/w/y", "x");
    let named = registered(&mut world, 2, "named", "/w/x", "reviewer");
    for stranger in [&elsewhere, &named] {
        let from = Some("old".to_owned());
        let error = world.err(Request::ClaimMail { caller: stranger.clone(), from });
        assert_eq!(error.kind, ErrorKind::Forbidden);
        assert!(error.message.contains("--claim --session") && error.message.contains("--from old"), "{error}");
        let Reply::Claimed(nothing) = world.ok(Request::ClaimMail { caller: stranger.clone(), from: None }) else {
            panic!()
        };
        assert_eq!(total(&nothing), 0);
    }
    let heir = registered(&mut world, 3, "heir", "/w/x", "x-7");
    let Reply::Claimed(all) = world.ok(Request::ClaimMail { caller: heir, from: Some("x@old".to_owned()) }) else {
        panic!()
    };
    assert_eq!((total(&all), all.by.as_str()), (3, "heir"));

    let (mut world, _) = bereaved();
    world.start("elsewhere", "/w/y");
    assert_eq!(total(&world.claims("elsewhere", Some("old"))), 3, "the operator may give it to whom he likes");
    let (mut world, _) = bereaved();
    assert_eq!(total(&world.claims("human:ana", Some("x@old"))), 3, "himself, too");
    assert_eq!(world.inbox_of("human:ana"), ["one", "all", "two"]);
}

impl World {
    fn inbox_of(&mut self, human: &str) -> Vec<String> {
        let filter = MessageFilter { inbox: true, unread: true, oldest_first: true, ..MessageFilter::default() };
        let Reply::Messages { messages, .. } = self.ok(Request::ReadMessages { caller: caller(human), filter }) else {
            panic!()
        };
        messages.iter().map(|view| view.message.row.body.to_string()).collect()
    }
}

#[test]
fn a_claim_that_names_nobody_who_is_gone_says_so() {
    let (mut world, _) = bereaved();
    for id in ["old2-1", "old2-2", "old3-1"] {
        world.start(id, "/w/y");
        world.send("a", id, "x");
        world.end(id);
    }
    assert_eq!(world.err(claim("a", Some("nobody"))).kind, ErrorKind::NotFound);
    assert_eq!(world.err(claim("a", Some("a"))).kind, ErrorKind::Refused);
    assert_eq!(world.err(claim("human:ana", None)).kind, ErrorKind::Invalid);
    assert_eq!(world.err(claim("gone", None)).kind, ErrorKind::UnknownCaller);
    // row 6: nothing is taken on a guess.
    for (beginning, candidates) in [("old2", 2), ("old3", 1)] {
        let ambiguous = world.err(claim("a", Some(beginning)));
        assert_eq!((ambiguous.kind, ambiguous.candidates.len()), (ErrorKind::Ambiguous, candidates), "{ambiguous}");
    }
    assert_eq!(world.err(claim("a", Some("ol"))).kind, ErrorKind::NotFound);
    assert_eq!(total(&world.claims("human:ana", Some("y@old2-1"))), 1);
}

#[test]
fn nobody_claims_its_own_words_or_what_it_has_anyway() {
    let mut world = World::new();
    for id in ["a", "old", "new"] {
        world.start(id, "/w/x");
    }
    world.send("new", "old", "mine");
    world.send("a", "old", "yours");
    world.broadcast("a", "everyone", "read by new");
    assert_eq!(world.inbox("new"), ["read by new"]);
    world.broadcast("a", "everyone", "waits for new");
    world.end("old");
    let claimed = world.claims("new", None);
    assert_eq!((total(&claimed), claimed.more), (3, false));
    assert_eq!(world.inbox("new"), ["yours", "waits for new"]);
    let of_old = world.roster.tables.mail.unread_of(&"old".into());
    assert_eq!(of_old.len(), 1, "its own words end undeliverable if nobody else claims them");
    assert!(world.is_departed("old"));
    world.end("new");
    assert!(!world.is_departed("new"), "it left nothing");
}

#[test]
fn a_great_many_messages_are_claimed_in_turns() {
    let mut world = World::new();
    world.start("a", "/w/a");
    world.start("old", "/w/x");
    for number in 0..CLAIM_MESSAGES_MAX + 5 {
        world.apply(send("a", "old", &number.to_string())).reply.unwrap();
    }
    world.roster.commit();
    world.end("old");
    world.start("new", "/w/x");
    let (first, second) = (world.claims("new", None), world.claims("new", None));
    assert_eq!((total(&first), first.more), (CLAIM_MESSAGES_MAX, true));
    assert_eq!((total(&second), second.more), (5, false));
    assert_eq!(world.unread("new"), CLAIM_MESSAGES_MAX + 5);
    world.end("new");
    world.start("newer", "/w/x");
    assert_eq!(total(&world.claims("newer", None)), CLAIM_MESSAGES_MAX, "and it is left again");
}

#[test]
fn what_nobody_claims_ends_at_its_time_and_the_sender_learns_it() {
    let (mut world, ids) = bereaved();
    // One with a time of its own; the others have the usual ones.
    world.start("old", "/w/x");
    let sent = world.send("a", "old", "soon").message.row.clone();
    let expires_at = Some(world.now.wall_ms + 3 * DAY);
    let soon = sent.id.clone();
    let terms = Some(Box::new(Terms { expires_at, ..Terms::default() }));
    world.apply(Request::External(vec![ExternalEvent::Set(Message { terms, ..sent }.into(), None)])).reply.unwrap();
    world.roster.commit();
    world.end("old");
    let ended = |standing: DeliveryStanding| {
        matches!(standing, DeliveryStanding::Settled(Step::Undeliverable(Reason::SessionEnded), _))
    };
    world.tick(KEPT_AGE_MAX_MS - MINUTE);
    assert!(!ended(world.standing(&ids[1], "old")));
    world.tick(2 * MINUTE);
    assert!(ended(world.standing(&ids[1], "old")), "its rooms' mail after a day");
    assert!(world.inbox("a").is_empty(), "of which nobody is told");
    assert!(!ended(world.standing(&soon, "old")));
    world.tick(2 * DAY);
    assert!(ended(world.standing(&soon, "old")), "at the time that the message says");
    let told = world.inbox("a");
    assert!(told.len() == 1 && told[0].contains(&soon.as_str()[..5]), "{told:?}");
    world.tick(UNCLAIMED_MAIL_AGE_MAX_MS - 3 * DAY - HOUR);
    assert!(!ended(world.standing(&ids[0], "old")) && world.is_departed("old"));
    world.tick(2 * HOUR);
    assert!(ended(world.standing(&ids[0], "old")) && ended(world.standing(&ids[2], "old")));
    let told = world.inbox("a");
    assert!(told.len() == 2 && told.iter().all(|notice| notice.contains("ended and did not come back")), "{told:?}");
    assert!(!world.is_departed("old"));
    assert_eq!(world.start("new", "/w/x").left, None);
    assert!(world.start("old", "/w/x").inbox.is_empty(), "it is settled");
    world.tick(READ_MESSAGE_AGE_MAX_MS - DAY);
    assert!(world.roster.row(ItemType::Message, ids[0].as_str()).is_some(), "its sender can still look it up");
    world.tick(2 * DAY);
    assert!(world.roster.row(ItemType::Message, ids[0].as_str()).is_none());
}

#[test]
fn a_direct_message_that_is_never_read_ends_with_a_word_to_its_sender() {
    let mut world = World::new();
    world.start("a", "/w/a");
    let id = world.send("a", "human:ana", "hello?").message.row.id.clone();
    world.tick(UNREAD_MESSAGE_AGE_MAX_MS + HOUR);
    assert!(matches!(world.standing(&id, "human:ana"), DeliveryStanding::Settled(Step::Expired, _)));
    let told = world.inbox("a");
    assert!(told.len() == 1 && told[0].contains("is not known to have read your message"), "{told:?}");
    world.tick(READ_MESSAGE_AGE_MAX_MS + HOUR);
    assert!(world.roster.row(ItemType::Message, id.as_str()).is_none());
}

#[test]
fn of_several_that_are_gone_the_last_one_is_named_and_the_others_are_counted() {
    let (mut world, _) = bereaved();
    // Their order is that of their ends, not of their names.
    for next in ["zz", "aa"] {
        world.start(next, "/w/x");
        world.send("a", next, "more");
        world.end(next);
        world.tick(1000);
    }
    let left = world.start("new", "/w/x").left.unwrap();
    assert_eq!((&*left.nickname, left.messages, left.others), ("x@aa", 1, 2));
    let claimed = world.claims("new", None);
    let from: Vec<&str> = claimed.from.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!((from, total(&claimed)), (vec!["old", "zz", "aa"], 5));
}

#[test]
fn what_the_heir_has_declined_itself_it_does_not_take_over() {
    let mut world = World::new();
    for (id, cwd) in [("a", "/w/a"), ("old", "/w/x"), ("new", "/w/x")] {
        world.start(id, cwd);
        world.join(id, "r");
    }
    let message = world.broadcast("a", "r", "m").message.row.id.clone();
    assert!(world.leave("new", "r"));
    world.end("old");
    assert_eq!(total(&world.claims("new", None)), 0);
    assert!(matches!(world.standing(&message, "new"), DeliveryStanding::Settled(Step::Undeliverable(_), _)));
    assert!(matches!(
        world.standing(&message, "old"),
        DeliveryStanding::Queued(_) | DeliveryStanding::Settled(Step::Kept, _)
    ));
}

#[test]
fn a_place_is_a_directory_a_name_and_an_operator() {
    let told = |cwd: &str, operator: Option<&str>| {
        let (mut world, _) = bereaved();
        let operator = operator.map(str::to_owned);
        let report = HookReport { operator, ..report("new", cwd) };
        world.hook(Request::session_start(report)).left.is_some()
    };
    assert!(told("/w/x", None));
    assert!(!told("/w/y", None) && !told("/w/x", Some("bo")) && !told("", None));
}

#[test]
fn a_row_of_an_outsider_about_one_who_is_there_or_left_nothing_is_dropped() {
    let (mut world, _) = bereaved();
    world.start("b", "/w/x");
    let Some(Row::Departed(old)) = world.roster.row(ItemType::Departed, "old") else { panic!() };
    for id in ["b", "never"] {
        let row = crate::model::Departed { id: id.into(), ..old.row.clone() };
        world.ok(Request::External(vec![ExternalEvent::Set(row.into(), None)]));
        assert!(world.is_departed(id));
    }
    world.sweep();
    assert!(!world.is_departed("b") && !world.is_departed("never") && world.is_departed("old"));
}

/// It may say too that one left nothing who did, and is not to be remembered for long.
#[test]
fn a_row_of_an_outsider_by_which_one_left_nothing_takes_its_mail_from_nobody() {
    for passed in [0, HOUR] {
        let (mut world, _) = bereaved();
        let Some(Row::Departed(old)) = world.roster.row(ItemType::Departed, "old") else { panic!() };
        let row = crate::model::Departed { has_mail: false, due_at: world.now.wall_ms, ..old.row.clone() };
        world.ok(Request::External(vec![ExternalEvent::Set(row.into(), None)]));
        world.pass(passed);
        world.sweep();
        assert!(world.is_departed("old"));
        world.start("new", "/w/x");
        assert!(total(&world.claims("new", Some("old"))) > 0);
    }
}

/// `old` ends, having read all that came from `a`.
fn content() -> World {
    let mut world = World::new();
    world.start("a", "/w/a");
    world.start("old", "/w/x");
    world.send("a", "old", "read");
    assert_eq!(world.inbox("old"), ["read"]);
    world.end("old");
    world
}

#[test]
fn what_comes_for_one_who_has_ended_without_mail_is_left_to_its_place() {
    for (before, after) in [(false, false), (true, false), (false, true)] {
        let mut world = content();
        if before {
            world = world.restarted(HOUR);
        }
        assert_eq!(world.err(claim("a", Some("old"))).kind, ErrorKind::NotFound, "it has left nothing yet");
        let sent = world.send("a", "old", "late");
        assert_eq!(sent.delivery.standing, DeliveryStanding::Queued(Queued::Ended));
        let id = sent.message.row.id.clone();
        if after {
            world = world.restarted(HOUR);
        }
        let left = world.start("new", "/w/x").left.unwrap();
        assert_eq!((&*left.nickname, left.messages, left.others), ("x@old", 1, 0));
        assert_eq!(total(&world.claims("new", None)), 1);
        assert!(matches!(world.standing(&id, "old"), DeliveryStanding::Settled(Step::Claimed(_), _)));
        assert_eq!(world.inbox("new"), ["late"]);
        assert!(!world.is_departed("old"));
        world.send("a", "old", "later");
        assert_eq!(total(&world.claims("new", None)), 1, "and again");
    }
}

#[test]
fn what_comes_for_one_who_has_ended_ends_a_week_after_it_was_sent_whatever_is_known_of_its_place() {
    // Within the time for which its place is known; when that is not known any more; and after other mail.
    for (later, has_mail) in [(0, false), (6 * DAY, false), (8 * DAY, false), (6 * DAY, true)] {
        let mut world = content();
        if has_mail {
            world.send("a", "old", "before");
        }
        world.tick(later);
        let id = world.send("a", "old", "late").message.row.id.clone();
        world.tick(UNCLAIMED_MAIL_AGE_MAX_MS - HOUR);
        assert!(matches!(world.standing(&id, "old"), DeliveryStanding::Queued(Queued::Ended)), "{later}");
        world.inbox("a");
        world.tick(2 * HOUR);
        let ended = DeliveryStanding::Settled(Step::Undeliverable(Reason::SessionEnded), 0);
        assert_eq!(world.standing(&id, "old").as_str(), ended.as_str(), "{later}");
        let told = world.inbox("a");
        assert!(told.len() == 1 && told[0].contains(&id.as_str()[..5]), "{later}: {told:?}");
        assert!(world.roster.row(ItemType::Departed, "old").is_none(), "{later}: nothing is kept of it");
    }
}

#[test]
fn of_those_who_ended_without_mail_the_last_ones_are_known_and_first_those_who_have_written() {
    let mut world = World::new();
    world.start("a", "/w/a");
    for silent in ["silent", "hushed"] {
        world.start(silent, "/w/x");
        world.end(silent);
        assert!(world.is_known_as_ended(silent), "it is known as ended");
    }
    world.pass(ENDED_KNOWN_MS - 1);
    world.start("hushed", "/w/x");
    world.end("hushed");
    world.pass(1);
    world.sweep();
    assert!(!world.is_known_as_ended("silent") && world.is_known_as_ended("hushed"));
    world.start("a", "/w/a");
    for number in 0..DEPARTED_WITHOUT_MAIL_MAX + 3 {
        let id = format!("s{number}");
        world.start(&id, "/w/x");
        world.send(&id, "human:ana", "done");
        world.pass(1);
        world.end(&id);
    }
    assert_eq!(world.roster.counts().departed, DEPARTED_WITHOUT_MAIL_MAX);
    assert!(!world.is_known_as_ended("hushed") && !world.is_known_as_ended("s2") && world.is_known_as_ended("s3"));
    world.start("s3", "/w/x");
    assert!(world.roster.row(ItemType::Departed, "s3").is_none(), "it is there");
    world.pass(UNCLAIMED_MAIL_AGE_MAX_MS);
    // So many at once.
    (0..=DEPARTED_WITHOUT_MAIL_MAX / SWEEP_ROWS_MAX).for_each(|_| world.sweep());
    let left: Vec<String> = world.roster.rows(ItemType::Departed).iter().map(|row| row.id().to_owned()).collect();
    assert_eq!(left, ["a", "s3"], "of which nothing was heard since");
}

#[test]
fn what_is_kept_for_sessions_that_are_gone_is_bounded_for_all_of_them_together_and_the_newest_is_kept() {
    // row 112: every session ends with the same mail of everybody's room, read by one half of them.
    const SESSIONS: usize = 600;
    const BROADCASTS: usize = 100;
    let mut world = World::new();
    world.start("sender", "/w/x");
    let ids: Vec<String> = (0..SESSIONS).map(|number| format!("s{number}")).collect();
    ids.iter().for_each(|id| drop(world.start(id, "/w/x")));
    let messages: Vec<MessageId> = (0..BROADCASTS)
        .map(|number| world.broadcast("sender", "everyone", &number.to_string()).message.row.id.clone())
        .collect();
    let all: Vec<&MessageId> = messages.iter().collect();
    let of_gone = |world: &World| world.roster.tables.deliveries.len();
    for (number, id) in ids.iter().enumerate() {
        if number.is_multiple_of(2) {
            world.ack(id, &all);
        }
        world.pass(1);
        world.end(id);
        assert!(of_gone(&world) <= KEPT_FOR_GONE_MAX, "after {number}: {}", of_gone(&world));
    }
    assert!(of_gone(&world) > KEPT_FOR_GONE_MAX - SESSIONS, "{} are kept", of_gone(&world));
    let newest = messages.last().unwrap();
    for id in &ids {
        let view = world.roster.deliveries(&world.roster.tables.messages[newest].stored.row, 0);
        let standing = &view.iter().find(|view| view.session.as_str() == id).unwrap().standing;
        assert!(!matches!(standing, DeliveryStanding::Settled(Step::Undeliverable(_), _)), "{id}: {standing:?}");
    }
    assert!(world.roster.deliveries(&world.roster.tables.messages[&messages[0]].stored.row, 0).is_empty());
    // Who comes back finds what is left, and nobody can be told of mail that is forgotten.
    world.start("s1", "/w/x");
    let left = world.unread("s1");
    assert!((1..BROADCASTS).contains(&left), "{left}");
    // To hold so many rows against each other would take minutes.
    world.roster = Roster::new();
}

#[test]
fn a_log_with_more_kept_than_is_allowed_is_cut_down_by_sweeps() {
    // row 112
    let mut world = World::new();
    world.start("sender", "/w/x");
    world.start("other", "/w/x");
    let message = world.broadcast("sender", "everyone", "m").message.row.clone();
    let kept = |number: usize| {
        let session = SessionId::from(format!("gone{number}"));
        let id = ReadId::of(&message.id, &session);
        Row::from(Delivery {
            id,
            message_id: message.id.clone(),
            session_id: session,
            step: Step::Kept,
            at: 1,
            times: 0,
        })
    };
    let mut again = World::new();
    let rows: Vec<Row> = world.roster.rows_in_order();
    again.roster.load(rows.into_iter().chain((0..KEPT_FOR_GONE_MAX + 2_500).map(kept)), None, again.now);
    for left in [1_500, 500, 0] {
        again.sweep();
        assert_eq!(again.roster.tables.deliveries.len(), KEPT_FOR_GONE_MAX + left);
    }
    again.roster = Roster::new();
}

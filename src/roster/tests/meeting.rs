//! Features that meet: superseding, claiming, answering, expecting an answer, and pushing, in pairs.

use super::sending::{id_of, one, sending, three};
use super::*;
use crate::limits::HANDED_LEASE_MS;

fn replacing(old: &MessageId) -> Wishes {
    Wishes { supersedes: Some(old.to_string()), ..Wishes::default() }
}

fn expecting() -> Wishes {
    Wishes { expects_reply_ms: Some(10 * MINUTE), ..Wishes::default() }
}

fn answering(question: &MessageId) -> Wishes {
    Wishes { reply_to: Some(question.to_string()), ..Wishes::default() }
}

impl World {
    fn state_of(&self, message: &MessageId, session: &str) -> String {
        let placed = &self.roster.tables.messages[message];
        self.roster.delivery_to(&placed.stored.row, placed.place, session.into()).standing.as_str().to_owned()
    }

    fn takes_over(&mut self, who: &str) -> usize {
        let Reply::Claimed(claimed) = self.ok(Request::ClaimMail { caller: caller(who), from: None }) else { panic!() };
        claimed.from.iter().map(|(_, _, count)| count).sum()
    }

    fn later(&mut self) {
        self.pass(10 * MINUTE);
        self.sweep();
    }

    fn pushed(&mut self) -> Vec<String> {
        let pushes = self.roster.rouse(self.now, &mut self.ids).pushes;
        self.roster.commit();
        pushes.iter().map(|push| push.message.row.body.to_string()).collect()
    }
}

/// `asker` in a place of its own, `old` and later `heir` in another one.
fn with_heir() -> World {
    let mut world = World::new();
    for (id, cwd) in [("asker", "/w/a"), ("old", "/w/x")] {
        world.start(id, cwd);
    }
    world
}

// row 65
#[test]
fn a_claim_leaves_a_question_open_until_an_answer_or_a_final_notice() {
    for is_answered in [false, true] {
        let mut world = with_heir();
        let question = id_of(&one(&mut world, sending("asker", &["old"], "?", expecting())));
        world.end("old");
        world.start("heir", "/w/x");
        assert_eq!(world.takes_over("heir"), 1);
        let told = world.inbox("asker");
        assert!(told[0].contains("taken over by 'x@heir'"), "{told:?}");
        if is_answered {
            world.ok(sending("heir", &[], "!", answering(&question)));
            assert_eq!(world.inbox("asker"), ["!"]);
        }
        world.later();
        world.later();
        let told = world.inbox("asker");
        let reminded = told.iter().filter(|text| text.starts_with("no reply to your message")).count();
        assert_eq!((told.len(), reminded), if is_answered { (0, 0) } else { (1, 1) }, "{told:?}");
    }
}

// row 65
#[test]
fn a_claim_of_several_questions_leaves_each_open() {
    let mut world = with_heir();
    for _ in 0..2 {
        one(&mut world, sending("asker", &["old"], "?", expecting()));
    }
    world.end("old");
    world.start("heir", "/w/x");
    assert_eq!(world.takes_over("heir"), 2);
    assert_eq!(world.inbox("asker").len(), 1);
    world.later();
    assert_eq!(world.inbox("asker").len(), 2);
}

// row 66
#[test]
fn a_resumed_session_claims_back_mail_that_its_ended_heir_has_not_read() {
    for rounds in [1, 3] {
        let mut world = with_heir();
        let message = world.send("asker", "old", "m").message.row.id.clone();
        world.end("old");
        world.start("heir", "/w/x");
        assert_eq!(world.takes_over("heir"), 1);
        for _ in 0..rounds {
            world.end("heir");
            assert!(world.start("old", "/w/x").left.is_some());
            assert_eq!(world.takes_over("old"), 1);
            assert_eq!((world.state_of(&message, "heir"), world.unread("old")), ("claimed".to_owned(), 1));
            world = world.restarted(SECOND);
            for (id, cwd) in [("asker", "/w/a"), ("old", "/w/x")] {
                world.start(id, cwd);
            }
            world.pass(HANDED_LEASE_MS);
            world.end("old");
            assert!(world.start("heir", "/w/x").left.is_some());
            assert_eq!(world.takes_over("heir"), 1);
            assert_eq!((world.state_of(&message, "old"), world.unread("heir")), ("claimed".to_owned(), 1));
        }
        let told = world.inbox("asker");
        assert!(told.iter().any(|text| text.contains("'x@old' is back and has your message")), "{told:?}");
        assert_eq!(world.inbox("heir"), ["m"]);
    }
}

// row 67
#[test]
fn a_question_that_was_replaced_reminds_its_sender_no_more() {
    for (is_requeued, is_answered) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut world = three();
        let old = id_of(&one(&mut world, sending("aaa1", &["bbb1"], "old", expecting())));
        let newer = if is_requeued {
            match world.ok(Request::Requeue { caller: caller("aaa1"), message: old.clone() }) {
                Reply::Sent(sent) => id_of(&sent),
                other => panic!("{other:?}"),
            }
        } else {
            let wishes = Wishes { expects_reply_ms: Some(10 * MINUTE), ..replacing(&old) };
            id_of(&one(&mut world, sending("aaa1", &["bbb1"], "new", wishes)))
        };
        if is_answered {
            world.ok(sending("bbb1", &[], "!", answering(&newer)));
            assert_eq!(world.inbox("aaa1"), ["!"]);
        }
        world.later();
        let told = world.inbox("aaa1");
        assert_eq!(told.len(), usize::from(!is_answered), "only the newer one reminds: {told:?}");
        assert!(told.iter().all(|text| text.contains(&world.roster.short_id(&newer))), "{told:?}");
    }
}

// row 67
#[test]
fn an_answer_to_the_newer_question_settles_the_older_one_that_others_keep() {
    for is_answered in [false, true] {
        let mut world = three();
        let Reply::Broadcast(sent) = world.ok(sending("aaa1", &["@everyone"], "old", expecting())) else { panic!() };
        let old = sent.message.row.id.clone();
        let newer = id_of(&one(&mut world, sending("aaa1", &["bbb1"], "new", replacing(&old))));
        if is_answered {
            world.ok(sending("bbb1", &[], "!", answering(&newer)));
            world.inbox("aaa1");
        }
        world.later();
        assert_eq!(world.unread("aaa1"), usize::from(!is_answered), "the older one is open for bbb2");
    }
}

// row 60
#[test]
fn a_newer_message_replaces_an_older_one_only_for_those_that_it_reaches() {
    let mut world = three();
    let old = world.broadcast("aaa1", "everyone", "old").message.row.id.clone();
    let reply = world.ok(sending("aaa1", &["bbb1"], "new", replacing(&old)));
    let Reply::Sent(sent) = &reply else { panic!() };
    let replaced = sent.replaced.as_deref().unwrap();
    assert_eq!((replaced.count, replaced.of), (1, 2));
    assert_eq!((world.state_of(&old, "bbb1"), world.state_of(&old, "bbb2")), ("superseded".into(), "queued".into()));
    // The rest is replaced by a message of its own, and no recipient has two.
    let error = world.err(sending("aaa1", &["@everyone"], "third", replacing(&old)));
    assert_eq!(error.kind, ErrorKind::Refused);
    world.ok(sending("aaa1", &["bbb2"], "third", replacing(&old)));
    assert_eq!((world.inbox("bbb1"), world.inbox("bbb2")), (vec!["new".to_owned()], vec!["third".to_owned()]));
    // To somebody else one-to-one.
    let direct = world.send("aaa1", "bbb1", "direct").message.row.id.clone();
    let Reply::Sent(sent) = world.ok(sending("aaa1", &["bbb2"], "other", replacing(&direct))) else { panic!() };
    let replaced = sent.replaced.as_deref().unwrap();
    assert_eq!((replaced.count, replaced.of), (0, 1));
    assert_eq!((world.inbox("bbb1"), world.inbox("bbb2")), (vec!["direct".to_owned()], vec!["other".to_owned()]));
}

// row 60
#[test]
fn each_recipient_learns_of_the_message_that_it_got_in_the_older_one_s_place() {
    let mut world = three();
    let old = world.broadcast("aaa1", "everyone", "old").message.row.id.clone();
    let Reply::SentToAll(all) = world.ok(sending("aaa1", &["bbb1", "bbb2"], "new", replacing(&old))) else { panic!() };
    let replaced = all[0].replaced().unwrap();
    assert_eq!((replaced.count, replaced.of), (2, 2));
    for sent in &all {
        let session = &sent.deliveries()[0].session;
        let view = replaced.deliveries.iter().find(|view| view.session == *session).unwrap();
        let by = sent.message().row.id.clone();
        assert!(
            matches!(&view.standing, DeliveryStanding::Settled(crate::model::Step::Superseded(newer), _) if *newer == by)
        );
    }
}

// row 60
#[test]
fn an_heir_gets_the_newer_message_also_over_two_claims() {
    for heirs in [1, 2] {
        let mut world = with_heir();
        let old = world.send("asker", "old", "old").message.row.id.clone();
        world.end("old");
        let mut last = String::new();
        for number in 0..heirs {
            if number > 0 {
                world.end(&last);
            }
            last = format!("heir{number}");
            world.start(&last, "/w/x");
            assert_eq!(world.takes_over(&last), 1);
        }
        let Reply::Sent(sent) = world.ok(sending("asker", &["old"], "new", replacing(&old))) else { panic!() };
        assert_eq!(sent.delivery.standing.as_str(), "claimed");
        assert_eq!(sent.replaced.as_deref().map(|replaced| (replaced.count, replaced.of)), Some((1, 1)));
        assert_eq!(world.inbox(&last), ["new"]);
        assert!(world.start("old", "/w/x").inbox.is_empty());
    }
}

// row 61
#[test]
fn a_notice_is_pushed_to_a_shim_and_waits_for_the_end_of_a_turn() {
    let mut world = World::new();
    world.publish("k", "shim", "shim");
    world.start("old", "/w/x");
    world.send("shim", "old", "m");
    world.end("old");
    world.start("heir", "/w/x");
    assert_eq!(world.takes_over("heir"), 1);
    let pushed = world.pushed();
    assert!(pushed.len() == 1 && pushed[0].contains("was taken over by"), "{pushed:?}");
    assert!(world.pushed().is_empty(), "once");
}

// row 61
#[test]
fn claimed_mail_is_pushed_to_a_shim() {
    let mut world = with_heir();
    world.send("asker", "old", "one");
    world.send("asker", "old", "two");
    world.end("old");
    world.publish("k", "shim", "shim");
    let from = Request::ClaimMail { caller: caller("shim"), from: Some("old".to_owned()) };
    let Reply::Claimed(claimed) = world.ok(from) else { panic!() };
    assert_eq!(claimed.from.len(), 1);
    assert_eq!(world.pushed(), ["one", "two"]);
}

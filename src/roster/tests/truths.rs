//! Senders are told what is so: cases in which it would be easy to tell them more, or to forget somebody.

use super::*;
use crate::model::Step;

fn expiring(world: &mut World) -> MessageId {
    let wishes = Wishes { expires: Some(Expiry::In(MINUTE)), ..Wishes::default() };
    let sending = Sending { wishes, ..Sending::new(caller("a"), "b", "text") };
    let Reply::Sent(sent) = world.ok(Request::Send(Box::new(sending))) else { panic!() };
    sent.message.row.id.clone()
}

fn standing(world: &World, message: &MessageId, session: &str) -> DeliveryStanding {
    let placed = &world.roster.tables.messages[message];
    world.roster.delivery_to(&placed.stored.row, placed.place, session.into()).standing
}

fn pair() -> World {
    let mut world = World::new();
    world.start("a", "/w/a");
    world.start("b", "/w/b");
    world
}

#[test]
fn what_was_sent_to_a_room_is_for_those_whose_identity_has_taken_them_out_of_it_since() {
    let mut world = pair();
    world.start("a", "/w/b");
    let message = world.broadcast("a", "project:b", "m").message.row.id.clone();
    world.start("b", "/w/elsewhere");
    assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Queued(_)));
    world.pass(crate::limits::HANDOVER_LEASE_MS);
    assert_eq!(world.inbox("b"), ["m"]);
}

#[test]
fn a_message_that_is_being_read_as_it_expires_is_read() {
    let mut world = pair();
    let message = expiring(&mut world);
    world.pass(MINUTE - SECOND);
    let HookReply { path, lease, .. } = world.prompt("b");
    world.pass(2 * SECOND);
    world.sweep();
    world.ok(Request::InboxHanded {
        session: "b".into(),
        messages: vec![message.clone()],
        path,
        lease,
        arrival: Arrival::Whole,
    });
    world.sweep();
    assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Handed(..)));
    world.goes_on("b");
    assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Read(..)));
}

#[test]
fn a_message_that_has_expired_is_handed_to_nobody_even_before_a_sweep_says_so() {
    let mut world = pair();
    let message = expiring(&mut world);
    world.pass(MINUTE);
    assert!(world.prompt("b").inbox.is_empty());
    world.sweep();
    assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Settled(Step::Expired, _)));
}

#[test]
fn after_a_sleep_the_clock_is_believed_soon_when_it_says_that_a_message_has_expired() {
    let mut world = pair();
    world.sweep();
    let message = expiring(&mut world);
    world.jump(8 * HOUR);
    world.sweep();
    assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Queued(_)), "the clock may be wrong");
    world.pass(crate::limits::CLOCK_SETTLES_AFTER_MS);
    world.sweep();
    assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Settled(Step::Expired, _)));
}

#[test]
fn a_message_that_is_pushed_is_on_its_way() {
    let mut world = pair();
    world.publish("k", "c", "c");
    let sent = world.send("a", "c", "m");
    assert_eq!((sent.live.is_some(), sent.delivery.standing), (true, DeliveryStanding::Queued(Queued::OnItsWay)));
}

#[test]
fn a_prompt_that_quotes_a_message_says_nothing_of_one_that_was_not_handed_over() {
    let mut world = pair();
    let message = world.send("a", "b", "m").message.row.id.clone();
    let kind = EventKind::Prompt { quoted: vec![message] };
    let takes = Some(crate::model::Path::Prompt);
    let event = HookEvent { report: report("b", ""), kind, takes, ..HookEvent::default() };
    let Reply::Hook(reply) = world.ok(Request::HookEvent(Box::new(event))) else { panic!() };
    assert_eq!(bodies(&reply.inbox), ["m"]);
}

#[test]
fn no_session_can_be_taken_for_the_daemon() {
    let mut world = World::new();
    assert_eq!(world.err(Request::session_start(report("marshal", "/w"))).kind, ErrorKind::Invalid);
}

#[test]
fn how_far_a_message_got_with_others_is_shown_to_its_sender_alone() {
    let mut world = pair();
    world.ok(Request::session_start(report_in("c", crate::model::Process { pid: 7, started: 1, boot: "x".into() })));
    let message = world.broadcast("a", "everyone", "m").message.row.id.to_string();
    let chain = Arc::from([crate::model::Process { pid: 7, started: 1, boot: "x".into() }]);
    let as_c = Caller { known: Known::Owner { chain, terminal: None }, ..Caller::default() };
    let mut shown = |caller: Caller| {
        let query =
            HistoryQuery { caller: Box::new(caller), message: Some(message.clone()), ..HistoryQuery::default() };
        let Reply::History(page) = world.ok(Request::History(query)) else { panic!() };
        page.messages[0].deliveries.iter().map(|view| view.session.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(shown(as_c), ["c"]);
    assert_eq!(shown(Caller::default()), ["b", "c"]);
}

#[test]
fn a_thread_is_told_from_another_one() {
    let mut world = pair();
    let mut begin = |body: &str| {
        let first = world.send("a", "b", body).message.row.id.clone();
        let wishes = Wishes { reply_to: Some(first.to_string()), ..Wishes::default() };
        let sending = Sending { wishes, ..Sending::new(caller("b"), "a", format!("to {body}")) };
        world.ok(Request::Send(Box::new(sending)));
        first
    };
    let (one, _) = (begin("one"), begin("two"));
    let query = HistoryQuery { thread: Some(one.to_string()), ..HistoryQuery::default() };
    let Reply::History(page) = world.ok(Request::History(query)) else { panic!() };
    let said: Vec<_> = page.messages.iter().map(|entry| entry.message.row.body.to_string()).collect();
    assert_eq!(said, ["one", "to one"]);
}

#[test]
fn what_one_who_leaves_a_room_has_not_read_of_it_is_settled_but_for_what_it_has_taken_with_it() {
    for (restart, handed) in [(false, None), (true, None), (false, Some(true)), (false, Some(false))] {
        let mut world = pair();
        world.join("a", "r");
        world.join("b", "r");
        let all = world.broadcast("a", "everyone", "of another room").message.row.id.clone();
        let read = world.broadcast("a", "r", "read").message.row.id.clone();
        world.inbox("b");
        let message = world.broadcast("a", "r", "not read").message.row.id.clone();
        let taken = handed.map(|_| world.prompt("b"));
        assert!(world.leave("b", "r"));
        if let (Some(HookReply { path, lease, .. }), Some(complete)) = (taken, handed) {
            assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Queued(Queued::OnItsWay)));
            let messages = vec![message.clone()];
            world.ok(Request::InboxHanded { session: "b".into(), messages, path, lease, arrival: arrival(complete) });
            assert_eq!(world.inbox("b").is_empty(), complete);
            world.goes_on("b");
            assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Read(..)), "{complete}");
            continue;
        }
        if restart {
            world = world.restarted(0);
        }
        let left = Step::Undeliverable(crate::model::Reason::LeftRoom);
        assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Settled(step, _) if step == left));
        let placed = &world.roster.tables.messages[&message];
        let views = world.roster.deliveries(&placed.stored.row, placed.place);
        assert!(views.iter().any(|view| view.session.as_str() == "b"), "its sender sees it: {views:?}");
        assert!(matches!(standing(&world, &read, "b"), DeliveryStanding::Read(..)));
        assert!(matches!(standing(&world, &all, "b"), DeliveryStanding::Read(..)));
        assert!(world.inbox("b").is_empty() && world.inbox("a").is_empty());
        world.join("b", "r");
        assert!(world.inbox("b").is_empty(), "it has left, and what was before is over");
    }
}

#[test]
fn what_was_pushed_to_one_who_leaves_the_room_can_still_be_read() {
    let mut world = World::new();
    world.start("a", "/w/a");
    world.connect("c1");
    world.publish("c1", "b", "b");
    world.join("a", "r");
    world.join("b", "r");
    let message = world.broadcast("a", "r", "pushed").message.row.id.clone();
    assert!(world.leave("b", "r"));
    assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Queued(_)));
    world.ack("b", &[&message]);
    assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Read(..)));
}

#[test]
fn only_a_reader_s_own_receipt_makes_what_is_kept_of_it_no_news() {
    let mut world = pair();
    world.broadcast("a", "everyone", "m");
    world.inbox("b");
    world.apply(Request::session_end("b".into())).reply.unwrap();
    let changes = world.roster.commit();
    let is_kept = |change: &&crate::roster::Change| change.item_type() == ItemType::Delivery;
    let kept = changes.iter().find(is_kept).unwrap();
    let is_receipt = |change: &&crate::roster::Change| change.item_type() == ItemType::MessageRead;
    let receipt = changes.iter().find(is_receipt).unwrap();
    assert!(world.roster.delivery_news(kept, Some(receipt)).is_none(), "it was told of when it was read");
    let mut foreign = receipt.clone();
    if let Some((row, _)) = &mut foreign.before
        && let Row::MessageRead(stored) = row
    {
        *row = crate::model::MessageRead { id: "another::reader".into(), ..stored.row.clone() }.into();
    }
    assert!(world.roster.delivery_news(kept, Some(&foreign)).is_some());
}

#[test]
fn direct_mail_takes_no_room_among_what_stays_known_to_be_read_of_rooms() {
    let mut world = pair();
    let message = world.broadcast("a", "everyone", "of the room").message.row.id.clone();
    world.inbox("b");
    for _ in 0..crate::limits::KEPT_READS_MAX / 20 + 1 {
        (0..20).for_each(|_| drop(world.send("a", "b", "x")));
        world.inbox("b");
    }
    world.end("b");
    assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Read(..)));
}

#[test]
fn who_has_read_a_room_s_message_has_read_it_when_it_is_gone_and_when_it_is_back() {
    for restart in [false, true] {
        let mut world = pair();
        let message = world.broadcast("a", "everyone", "m").message.row.id.clone();
        assert_eq!(world.inbox("b"), ["m"]);
        let before = standing(&world, &message, "b");
        assert!(matches!(before, DeliveryStanding::Read(_, Some(_), Some(_))), "{before:?}");
        world.pass(HOUR / 2);
        world.end("b");
        assert_eq!(world.roster.counts().reads, 0, "marshal 0.9 would take it for one who is there");
        if restart {
            world = world.restarted(HOUR);
        }
        let entry = |world: &mut World, state: Option<MessageState>| {
            let query = HistoryQuery { state, ..HistoryQuery::default() };
            let Reply::History(page) = world.ok(Request::History(query)) else { panic!() };
            page.messages.first().map(|entry| (entry.read_by, entry.waiting_for))
        };
        for is_back in [false, true] {
            if is_back {
                assert!(world.start("b", "/w/b").inbox.is_empty());
            }
            assert_eq!(standing(&world, &message, "b"), before, "as it was, restart: {restart}, back: {is_back}");
            assert_eq!(entry(&mut world, Some(MessageState::Read)), Some((1, 0)));
        }
        assert_eq!(world.ack("b", &[&message]), (0, 1, 0));
        world.pass(crate::limits::READ_MESSAGE_AGE_MAX_MS);
        world.sweep();
        assert_eq!((world.roster.counts().messages, world.roster.counts().deliveries), (0, 0), "and goes with it");
    }
}

#[test]
fn an_heir_has_read_what_it_took_over_when_it_is_gone_too() {
    let mut world = pair();
    let message = world.send("a", "b", "m").message.row.id.clone();
    world.end("b");
    world.start("c", "/w/b");
    world.ok(Request::ClaimMail { caller: caller("c"), from: None });
    assert_eq!(world.inbox("c"), ["m"]);
    world.end("c");
    assert!(matches!(standing(&world, &message, "c"), DeliveryStanding::Read(..)));
}

#[test]
fn what_shows_only_after_a_session_s_end_that_it_has_read_a_room_s_message_is_not_lost() {
    let mut world = pair();
    let message = world.broadcast("a", "everyone", "m").message.row.id.clone();
    world.end("b");
    let (messages, path) = (vec![message.clone()], crate::model::Path::Push);
    world.ok(Request::InboxHanded { session: "b".into(), messages, path, lease: 0, arrival: Arrival::Whole });
    assert!(matches!(standing(&world, &message, "b"), DeliveryStanding::Read(..)));
    assert!(world.start("b", "/w/b").inbox.is_empty());
}

#[test]
fn of_what_one_has_read_who_is_gone_the_newest_stays_known() {
    use crate::limits::KEPT_READS_MAX;
    let mut world = pair();
    let ids: Vec<MessageId> =
        (0..KEPT_READS_MAX + 5).map(|_| world.broadcast("a", "everyone", "m").message.row.id.clone()).collect();
    for some in ids.chunks(100) {
        world.ack("b", &some.iter().collect::<Vec<_>>());
    }
    world.end("b");
    assert_eq!(world.roster.counts().deliveries, KEPT_READS_MAX);
    let known: Vec<bool> = ids.iter().map(|id| world.roster.tables.delivery(id, &"b".into()).is_some()).collect();
    assert_eq!(known.iter().position(|known| *known), Some(5));
}

#[test]
fn nobody_is_told_that_no_answer_came_because_that_is_so_old_that_it_was_deleted_or_told_twice_that_none_did() {
    for is_answered in [true, false] {
        for restart in [true, false] {
            let mut world = World::new();
            let wishes = Wishes { expects_reply_ms: Some(HOUR), ..Wishes::default() };
            let asking = Sending { wishes, ..Sending::new(caller("human:al"), "human:bo", "when?") };
            let Reply::Sent(question) = world.ok(Request::Send(Box::new(asking))) else { panic!() };
            let question = question.message.row.id.clone();
            if is_answered {
                let wishes = Wishes { reply_to: Some(question.to_string()), ..Wishes::default() };
                let answering = Sending { wishes, ..Sending::new(caller("human:bo"), "human:al", "now") };
                world.ok(Request::Send(Box::new(answering)));
            }
            world.pass(2 * HOUR);
            world.sweep();
            let got = |world: &World| -> Vec<MessageId> {
                let rows = world.roster.tables.messages.values().map(|placed| &placed.stored.row);
                rows.filter(|row| row.id != question).map(|row| row.id.clone()).collect()
            };
            let first = got(&world);
            assert_eq!(first.len(), 1, "the answer, or word that there is none");
            world.ack("human:al", &[&first[0]]);
            world.pass(crate::limits::READ_MESSAGE_AGE_MAX_MS + SECOND);
            world.sweep();
            assert!(got(&world).is_empty(), "it is old");
            if restart {
                world = world.restarted(HOUR);
            }
            world.sweep();
            assert!(got(&world).is_empty(), "answered: {is_answered}, restart: {restart}");
            assert!(world.roster.row(ItemType::Message, question.as_str()).is_some(), "it is not read yet");
        }
    }
}

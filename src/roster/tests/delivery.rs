//! What becomes of a message for its recipient: every state against everything that can happen, by tables, with a clock
//! that the test moves. A table says what is to be; it is not computed from the rules that it checks.

use super::*;
use crate::limits::{
    HANDED_LEASE_MS, HANDINGS_MAX, HANDOVER_LEASE_MS, INBOX_MESSAGES_MAX, SWEEP_EVERY, TOOL_SILENCE_MAX_MS,
    UNREAD_MESSAGE_AGE_MAX_MS, WORKING_SILENCE_MAX_MS,
};
use crate::model::{Agent, Path, Priority, Reason, Step};

/// A message from `a` to `b` that expires after a while, in which nobody has to be taken for gone.
fn sent(world: &mut World) -> MessageId {
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    let wishes = Wishes { expires: Some(Expiry::In(30 * MINUTE)), ..Wishes::default() };
    sent_with(world, wishes)
}

fn sent_with(world: &mut World, wishes: Wishes) -> MessageId {
    let sending = Sending { wishes, ..Sending::new(caller("a"), "b", "text") };
    match world.ok(Request::Send(Box::new(sending))) {
        Reply::Sent(sent) => sent.message.row.id.clone(),
        other => panic!("{other:?}"),
    }
}

/// Where a message is for `b`, in a word or two.
fn state(world: &World, message: &MessageId) -> String {
    let Some(placed) = world.roster.tables.messages.get(message) else { return "gone".into() };
    let view = world.roster.delivery_to(&placed.stored.row, placed.place, "b".into());
    match view.standing {
        DeliveryStanding::Queued(reason) => format!("queued {}", reason.as_str()),
        DeliveryStanding::Handed(path, _) => format!("handed {}", path.as_str()),
        DeliveryStanding::Read(_, evidence, _) => format!("read {}", evidence.map_or("?", |e| e.as_str())),
        DeliveryStanding::Settled(step, _) => step.as_str().to_owned(),
    }
}

fn event(kind: EventKind, takes: Option<Path>) -> HookEvent {
    let (report, agent) = (report("b", ""), Some(Agent::Claude));
    HookEvent { report, agent, kind, takes, ..HookEvent::default() }
}

fn happens(world: &mut World, event: HookEvent) -> Reply {
    world.ok(Request::HookEvent(Box::new(event)))
}

fn arrive(world: &mut World, message: &MessageId, path: Path, complete: bool) {
    let (session, messages) = ("b".into(), vec![message.clone()]);
    let lease = world.roster.tables.mail.last_lease().max(1);
    world.ok(Request::InboxHanded { session, messages, path, lease, arrival: arrival(complete) });
}

/// Hands a message to `b` by this way, with all else that waits.
fn hand(world: &mut World, message: &MessageId, path: Path) {
    let now = world.now.mono_ms;
    let wanted = crate::roster::hooks::Wanted { count: 20, at_least: Priority::Low, times_below: u32::MAX };
    world.roster.tables.mail.lease(&"b".into(), path, wanted, world.now, now + HANDOVER_LEASE_MS);
    arrive(world, message, path, true);
}

/// What an event takes with it, all of which arrives.
fn take(world: &mut World, kind: EventKind, path: Path) -> Vec<(String, bool)> {
    let Reply::Hook(reply) = happens(world, event(kind, Some(path))) else { panic!() };
    for handing in &reply.inbox {
        arrive(world, &handing.message.row.id.clone(), path, true);
    }
    reply.inbox.iter().map(|handing| (handing.message.row.body.to_string(), handing.repeat)).collect()
}

fn prompt(id: Option<&str>) -> HookEvent {
    let event = event(EventKind::Prompt { quoted: Vec::new() }, None);
    HookEvent { prompt_id: id.map(str::to_owned), ..event }
}

/// What shows that something was read: by which way it was handed, against what happens next.
#[test]
fn what_was_handed_is_read_by_what_only_a_model_that_has_it_does() {
    // In this order: Start of another context, Start in the same, another Prompt, a second hook of the same Prompt,
    // BeforeTool, AfterTool, AfterTools where those are told of, AfterTools for the first time, Stop, NeedsHuman, Failed,
    // Idle, Other, End. r: it is read; h: as before, handed; q: it waits again (row 1, row 2).
    let table = [
        (Path::Start, "qhqqhhhhhhhhhh"),
        (Path::Prompt, "qhqhrhhhrhhhhh"),
        (Path::Tools, "qhqhhhhhrhhhhh"),
        (Path::Stop, "qhqhrrrrrhhhhh"),
        (Path::Wait, "qhhhhhhhhhhhhh"),
        (Path::Inbox, "qhhhhhhhhhhhhh"),
        (Path::Push, "rrrrrrrrrrrrrr"),
    ];
    for (path, expected) in table {
        for (number, expected) in expected.chars().enumerate() {
            let mut world = World::new();
            let message = sent(&mut world);
            happens(&mut world, prompt(Some("p1")));
            if number == 6 {
                happens(&mut world, event(EventKind::AfterTools, None));
            }
            hand(&mut world, &message, path);
            let tool = || "Bash".to_owned();
            let next = match number {
                0 => event(EventKind::Start { same_context: false }, None),
                1 => event(EventKind::Start { same_context: true }, None),
                2 => prompt(Some("p2")),
                3 => prompt(Some("p1")),
                4 => event(EventKind::BeforeTool(tool()), None),
                5 => event(EventKind::AfterTool(tool()), None),
                6 | 7 => event(EventKind::AfterTools, None),
                8 => event(EventKind::Stop, None),
                9 => event(EventKind::NeedsHuman("permission".to_owned()), None),
                10 => event(EventKind::Failed("limit".to_owned()), None),
                11 => event(EventKind::Idle, None),
                12 => event(EventKind::Other, None),
                _ => event(EventKind::End, None),
            };
            let what = format!("{path:?}, then {:?}", next.kind);
            happens(&mut world, next);
            let found = state(&world, &message);
            let expected = match expected {
                // A receipt goes with its session; that it was read stays on the message.
                'r' if number == 13 => "read ?",
                'r' if path == Path::Push => "read client",
                'r' => "read went_on",
                'q' => "queued",
                _ => "handed",
            };
            assert!(found.starts_with(expected), "{what}: {found}, and not {expected}");
        }
    }
}

#[test]
fn an_ack_and_a_prompt_that_quotes_it_show_that_it_was_read_whatever_way_it_went() {
    for path in Path::ALL.into_iter().filter(|path| *path != Path::Push) {
        for quotes in [false, true] {
            let mut world = World::new();
            let message = sent(&mut world);
            hand(&mut world, &message, path);
            if quotes {
                happens(&mut world, event(EventKind::Prompt { quoted: vec![message.clone()] }, None));
            } else {
                world.ack("b", &[&message]);
            }
            assert_eq!(state(&world, &message), if quotes { "read quoted" } else { "read ack" });
        }
    }
}

/// Brings a new message into a state.
fn in_state(world: &mut World, wanted: &str) -> MessageId {
    let message = sent(world);
    let session = "b".into();
    match wanted {
        "queued" => {}
        "leased" => drop(world.prompt("b")),
        "handed" => {
            world.prompt("b");
            arrive(world, &message, Path::Prompt, true);
        }
        "read" => drop(world.ack("b", &[&message])),
        "expired" => {
            world.pass(30 * MINUTE);
            world.sweep();
        }
        "superseded" => {
            sent_with(world, Wishes { supersedes: Some(message.to_string()), ..Wishes::default() });
        }
        "undeliverable" => world.roster.settle(&session, &message, Step::Undeliverable(Reason::NeverProved)),
        _ => world.roster.settle(&session, &message, Step::Claimed("c".into())),
    }
    world.roster.commit();
    message
}

fn happen(world: &mut World, what: &str, message: &MessageId) {
    match what {
        "arrives" => arrive(world, message, Path::Prompt, true),
        "hangs up" => arrive(world, message, Path::Prompt, false),
        "pushed" => arrive(world, message, Path::Push, true),
        "ack" => drop(world.ack("b", &[message])),
        "quoted" => drop(happens(world, event(EventKind::Prompt { quoted: vec![message.clone()] }, None))),
        "expires" => {
            world.pass(30 * MINUTE);
            world.sweep();
        }
        "superseded" => {
            // Refused if another one came in its place before.
            let wishes = Wishes { supersedes: Some(message.to_string()), ..Wishes::default() };
            let sending = Sending { wishes, ..Sending::new(caller("a"), "b", "text") };
            drop(world.apply(Request::Send(Box::new(sending))));
        }
        "claimed" => world.roster.settle(&"b".into(), message, Step::Claimed("c".into())),
        "given up" => world.roster.give_up(&"b".into(), message, &mut world.ids),
        "ends" => world.end("b"),
        "ends, expires" => {
            world.end("b");
            world.pass(30 * MINUTE);
            world.sweep();
        }
        "restart" => {
            let mut again = world.restarted(SECOND);
            std::mem::swap(&mut again.ids, &mut world.ids);
            *world = again;
        }
        other => panic!("{other}"),
    }
    world.roster.commit();
}

/// Each state, and what comes of it by whatever can happen.
#[test]
fn every_state_goes_only_where_it_may_and_final_ones_stay() {
    let happenings = [
        "arrives",
        "hangs up",
        "pushed",
        "ack",
        "quoted",
        "expires",
        "superseded",
        "claimed",
        "given up",
        "ends",
        "ends, expires",
        "restart",
    ];
    let (q, h, read) = ("queued between_turns", "handed prompt", "read ack");
    let (e, s, u, c) = ("expired", "superseded", "undeliverable", "claimed");
    let (push, quote, ended) = ("read client", "read quoted", "queued ended");
    let leased = "queued on_its_way";
    let table = [
        // An answer that it is not in says nothing of it.
        ("queued", [q, q, push, read, q, e, s, c, u, ended, u, q]),
        ("leased", [h, q, push, read, quote, e, s, c, u, leased, u, q]),
        // That it ends proves nothing: it may have ended before its model was called.
        ("handed", [h, h, push, read, quote, e, s, c, u, h, u, h]),
        ("read", [read, read, read, read, read, read, read, read, read, "read ?", "read ?", read]),
        ("expired", [e; 12]),
        ("superseded", [s; 12]),
        ("undeliverable", [u; 12]),
        ("claimed", [c; 12]),
    ];
    for (from, expected) in table {
        for (happening, expected) in happenings.into_iter().zip(expected) {
            let mut world = World::new();
            let message = in_state(&mut world, from);
            happen(&mut world, happening, &message);
            assert_eq!(state(&world, &message), expected, "{from}, then {happening}");
            let is_open = expected.starts_with("queued") || expected.starts_with("handed");
            let place = world.roster.tables.messages[&message].place;
            let waits = world.roster.tables.mail.is_unread(place, &"b".into());
            assert_eq!(waits, is_open, "{from}, then {happening}");
        }
    }
}

/// M21, M22: what was handed without a sign that it was read is handed again when its lease is over, as a repeat, and
/// settled at last; its sender learns it, and can have it sent once more.
#[test]
fn what_is_not_proved_read_is_handed_again_as_a_repeat_and_given_up_at_last() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    let message = sent_with(&mut world, Wishes::default());
    let text = || "text".to_owned();
    for times in 1..=HANDINGS_MAX {
        // A wake that shows nothing of whether it was heard.
        let taken = take(&mut world, EventKind::Other, Path::Prompt);
        assert_eq!(taken, [(text(), times > 1)]);
        assert!(take(&mut world, EventKind::Other, Path::Prompt).is_empty(), "not within the lease");
        let view = world.roster.tables.delivery(&message, &"b".into()).unwrap();
        assert_eq!(view.times, times);
        world.pass(HANDED_LEASE_MS);
    }
    assert!(take(&mut world, EventKind::Other, Path::Prompt).is_empty());
    assert_eq!((state(&world, &message).as_str(), world.unread("b")), ("undeliverable", 0));
    let told = world.inbox("a");
    assert!(told.len() == 1 && told[0].contains("without a sign that it was read"), "{told:?}");
    let Reply::Sent(again) = world.ok(Request::Requeue { caller: caller("a"), message: message.clone() }) else {
        panic!()
    };
    let row = &again.message.row;
    assert_ne!(row.id, message);
    assert_eq!((row.to.clone(), row.body.to_string()), (crate::model::Recipient::Session("b".into()), text()));
    assert_eq!((state(&world, &message), world.unread("b")), ("superseded".into(), 1));
    assert_eq!(take(&mut world, EventKind::Other, Path::Prompt), [(text(), false)]);
}

/// M22, row 91: mail in an answer that may have been lost comes again, counted and marked; while nothing is known of the
/// answer, the mail is in no other one.
#[test]
fn an_answer_that_may_be_lost_counts_as_an_attempt_and_delivers_nothing() {
    let mut world = World::new();
    let message = sent(&mut world);
    assert_eq!(ids(&world.prompt("b")), std::slice::from_ref(&message));
    assert_eq!(state(&world, &message), "queued on_its_way");
    assert!(ids(&world.prompt("b")).is_empty());
    world.pass(HANDOVER_LEASE_MS);
    assert_eq!(ids(&world.prompt("b")), std::slice::from_ref(&message));
    arrive(&mut world, &message, Path::Prompt, false);
    assert_eq!(state(&world, &message), "queued between_turns");
    let again = world.prompt("b").inbox;
    assert!(again.len() == 1 && again[0].repeat, "the caller may have seen it");
    assert_eq!(world.roster.tables.delivery(&message, &"b".into()).unwrap().times, 1);
    for _ in 0..INBOX_MESSAGES_MAX {
        world.send("a", "b", "more");
    }
    assert_eq!(world.prompt("b").inbox.len(), INBOX_MESSAGES_MAX, "the one on its way takes no place");
}

fn ids(reply: &HookReply) -> Vec<MessageId> {
    reply.inbox.iter().map(|handing| handing.message.row.id.clone()).collect()
}

/// Which mail goes into the answer to which event.
#[test]
fn urgency_decides_which_mail_an_event_may_take() {
    let all = ["now", "low", "next"];
    let table: [(Path, &[&str]); 6] = [
        // Some versions drop a start's answer. The first prompt comes before the model is called.
        (Path::Start, &[]),
        (Path::Prompt, &all),
        (Path::Tools, &["now"]),
        (Path::Stop, &["now", "next"]),
        (Path::Wait, &["now"]),
        (Path::Inbox, &all),
    ];
    for (path, expected) in table {
        let mut world = World::new();
        world.start("a", "/w/x");
        world.start("b", "/w/x");
        for priority in Priority::ALL {
            let wishes = Wishes { priority, ..Wishes::default() };
            let sending = Sending { wishes, ..Sending::new(caller("a"), "b", priority.as_str()) };
            world.ok(Request::Send(Box::new(sending)));
        }
        let kind = match path {
            Path::Tools => EventKind::AfterTools,
            Path::Stop => EventKind::Stop,
            Path::Start => EventKind::Start { same_context: true },
            _ => EventKind::Prompt { quoted: Vec::new() },
        };
        let taken: Vec<String> = take(&mut world, kind, path).into_iter().map(|(body, _)| body).collect();
        assert_eq!(taken, expected, "{path:?}");
    }
}

/// M24.
#[test]
fn a_working_receiver_gets_what_is_urgent_and_the_rest_in_order_when_it_is_idle() {
    let mut world = World::new();
    world.start("a", "/w/x");
    take(&mut world, EventKind::Start { same_context: false }, Path::Start);
    take(&mut world, EventKind::Prompt { quoted: Vec::new() }, Path::Prompt);
    let ask = |world: &mut World, body: &str, priority| {
        let wishes = Wishes { priority, ..Wishes::default() };
        let sending = Sending { wishes, ..Sending::new(caller("a"), "b", body) };
        world.ok(Request::Send(Box::new(sending)));
    };
    ask(&mut world, "low", Priority::Low);
    ask(&mut world, "next", Priority::Next);
    ask(&mut world, "now", Priority::Now);
    ask(&mut world, "next 2", Priority::Next);
    let bodies = |taken: Vec<(String, bool)>| taken.into_iter().map(|(body, _)| body).collect::<Vec<_>>();
    assert_eq!(bodies(take(&mut world, EventKind::AfterTools, Path::Tools)), ["now"]);
    assert_eq!(bodies(take(&mut world, EventKind::Stop, Path::Stop)), ["next", "next 2"]);
    assert!(take(&mut world, EventKind::Stop, Path::Stop).is_empty(), "low mail prolongs no turn");
    assert_eq!(bodies(take(&mut world, EventKind::Prompt { quoted: Vec::new() }, Path::Prompt)), ["low"]);

    // One of which nothing is heard for a minute counts as between two turns, and one in a tool later.
    for (kind, bound) in [
        (EventKind::Prompt { quoted: Vec::new() }, WORKING_SILENCE_MAX_MS),
        (EventKind::BeforeTool("Bash".to_owned()), TOOL_SILENCE_MAX_MS),
    ] {
        ask(&mut world, "next 3", Priority::Next);
        let placed = world.roster.tables.messages.values().max_by_key(|placed| placed.place).unwrap();
        let (message, place) = (placed.stored.row.clone(), placed.place);
        let waits_for = |world: &World| match world.roster.delivery_to(&message, place, "b".into()).standing {
            DeliveryStanding::Queued(queued) => queued,
            other => panic!("{other:?}"),
        };
        happens(&mut world, event(kind, None));
        world.pass(bound);
        world.sweep();
        assert_eq!(waits_for(&world), Queued::Working);
        world.pass(i64::try_from(SWEEP_EVERY.as_millis()).unwrap());
        world.sweep();
        assert_eq!(waits_for(&world), Queued::BetweenTurns);
        assert_eq!(world.session("b").doing.state, Some(crate::model::State::Working), "it may work all the same");
        world.ack("b", &[&message.id]);
    }
}

#[test]
fn nobody_is_told_twice_what_became_of_a_message_and_no_notice_has_a_notice() {
    let mut world = World::new();
    let message = sent(&mut world);
    world.pass(30 * MINUTE);
    world.sweep();
    world.sweep();
    let told = world.inbox("a");
    assert_eq!(told.len(), 1);
    assert!(told[0].contains(&message.as_str()[..5]) && told[0].contains("(\"text\") before it expired"), "{told:?}");
    world.pass(UNREAD_MESSAGE_AGE_MAX_MS);
    world.sweep();
    assert_eq!(world.unread("a"), 0);
}

#[test]
fn what_was_handed_to_an_earlier_run_is_read_by_none_of_the_next_not_even_after_a_restart() {
    for begins in [EventKind::Start { same_context: false }, EventKind::BeforeTool("Bash".to_owned())] {
        for answer_is_lost in [false, true] {
            let mut world = World::new();
            world.start("a", "/w/x");
            let in_process = |pid| Some(crate::model::Process { pid, started: 1, boot: "boot".into() });
            let in_run = |pid, kind, takes| {
                let mut told = event(kind, takes);
                told.report.process = in_process(pid);
                told
            };
            happens(&mut world, in_run(1, EventKind::Start { same_context: false }, None));
            world.send("a", "b", "m");
            let Reply::Hook(reply) = happens(&mut world, in_run(1, EventKind::Stop, Some(Path::Stop))) else {
                panic!()
            };
            let messages: Vec<_> = reply.inbox.iter().map(|handing| handing.message.row.id.clone()).collect();
            let (path, lease) = (reply.path, reply.lease);
            let handed = |messages, lease, complete| Request::InboxHanded {
                session: "b".into(),
                messages,
                path,
                lease,
                arrival: arrival(complete),
            };
            world.ok(handed(messages.clone(), lease, true));
            if answer_is_lost {
                // It is handed over again when nothing has shown that it was read, but that answer does not arrive.
                world.pass(crate::limits::HANDED_LEASE_MS + 1);
                let again = happens(&mut world, in_run(1, EventKind::Other, Some(Path::Prompt)));
                let Reply::Hook(again) = again else { panic!() };
                assert_eq!(again.inbox.len(), 1);
                world.ok(handed(messages.clone(), again.lease, false));
            }
            happens(&mut world, in_run(2, begins.clone(), None));
            let mut world = world.restarted(0);
            happens(&mut world, in_run(2, EventKind::Stop, None));
            let deliveries = world.roster.tables.reads.len();
            assert_eq!((deliveries, world.unread("b")), (0, 1), "{begins:?}, lost: {answer_is_lost}");
        }
    }
}

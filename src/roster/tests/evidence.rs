//! Mail is called read only where nothing else is possible, and an answer always takes the mail that can go: with events as
//! real agents send them.

use super::*;
use crate::limits::{HANDINGS_MAX, INBOX_MESSAGES_MAX, PROMPTS_WITHOUT_END_MAX};
use crate::model::{Agent, Path, Priority, Step};

fn prompt(id: &str) -> HookEvent {
    event(EventKind::Prompt { quoted: Vec::new() }, Some(Path::Prompt), id)
}

fn stop(id: &str) -> HookEvent {
    event(EventKind::Stop, Some(Path::Stop), id)
}

fn event(kind: EventKind, takes: Option<Path>, prompt_id: &str) -> HookEvent {
    let prompt_id = (!prompt_id.is_empty()).then(|| prompt_id.to_owned());
    HookEvent {
        report: report("b", "/w/x"),
        agent: Some(Agent::Claude),
        kind,
        takes,
        prompt_id,
        ..HookEvent::default()
    }
}

/// Texts in the answer to an event, which arrives whole, each with whether it is marked as repeated.
fn take(world: &mut World, event: HookEvent) -> Vec<(String, bool)> {
    let Reply::Hook(reply) = world.ok(Request::HookEvent(Box::new(event))) else { return Vec::new() };
    let messages = reply.inbox.iter().map(|item| item.message.row.id.clone()).collect();
    let (path, lease) = (reply.path, reply.lease);
    world.ok(Request::InboxHanded { session: "b".into(), messages, path, lease, arrival: Arrival::Whole });
    reply.inbox.iter().map(|item| (item.message.row.body.to_string(), item.repeat)).collect()
}

/// A sender `a` and a session `b` that has ended a turn.
fn world() -> World {
    let mut world = World::new();
    world.start("a", "/w/x");
    take(&mut world, prompt("p0"));
    take(&mut world, stop("p0"));
    world
}

fn is_read(world: &World, body: &str) -> bool {
    let messages = world.roster.tables.messages.values();
    let mut of_body = messages.filter(|placed| *placed.stored.row.body == *body);
    let placed = of_body.next().unwrap();
    let view = world.roster.delivery_to(&placed.stored.row, placed.place, "b".into());
    matches!(view.standing, DeliveryStanding::Read(..))
}

/// Texts in the listing of what `b` has not read.
fn unread(world: &mut World) -> Vec<String> {
    let filter = MessageFilter { unread: true, oldest_first: true, ..MessageFilter::default() };
    let Reply::Messages { messages, .. } = world.ok(Request::ReadMessages { caller: caller("b"), filter }) else {
        return Vec::new();
    };
    messages.iter().map(|view| view.message.row.body.to_string()).collect()
}

fn first(text: &str) -> Vec<(String, bool)> {
    vec![(text.to_owned(), false)]
}

fn again(text: &str) -> Vec<(String, bool)> {
    vec![(text.to_owned(), true)]
}

/// row 1: an agent that rejected the answer to its turn's end goes on with another prompt.
#[test]
fn a_prompt_proves_nothing_of_the_answer_to_a_turns_end() {
    let mut world = world();
    take(&mut world, prompt("p1"));
    world.send("a", "b", "m");
    assert_eq!(take(&mut world, stop("p1")), first("m"));
    assert_eq!(take(&mut world, prompt("p2")), again("m"));
    assert!(!is_read(&world, "m"));
    take(&mut world, event(EventKind::BeforeTool("Bash".into()), None, "p2"));
    assert!(is_read(&world, "m"));
}

/// row 2: another hook erases the prompt that the mail went with.
#[test]
fn an_erased_prompt_takes_no_mail_along() {
    let mut world = world();
    world.send("a", "b", "m");
    assert_eq!(take(&mut world, prompt("p1")), first("m"));
    assert_eq!(take(&mut world, prompt("p2")), again("m"));
    assert!(!is_read(&world, "m"));
    // The session's end after a prompt proves nothing either: the mail is kept for the session's return.
    let end = HookEvent { kind: EventKind::End, ..prompt("p2") };
    take(&mut world, end);
    assert!(!is_read(&world, "m"));
    assert_eq!(world.unread("b"), 1);
}

/// row 2: the news that an answer has arrived can come after the next prompt.
#[test]
fn late_news_of_an_erased_prompts_answer_proves_nothing() {
    let mut world = world();
    world.send("a", "b", "m");
    let Reply::Hook(first) = world.ok(Request::HookEvent(Box::new(prompt("p1")))) else { panic!() };
    assert_eq!(bodies(&first.inbox), ["m"]);
    let Reply::Hook(second) = world.ok(Request::HookEvent(Box::new(prompt("p2")))) else { panic!() };
    assert!(second.inbox.len() == 1 && second.inbox[0].repeat);
    let arrives = |reply: &HookReply| {
        let messages = reply.inbox.iter().map(|item| item.message.row.id.clone()).collect();
        let (path, lease) = (reply.path, reply.lease);
        Request::InboxHanded { session: "b".into(), messages, path, lease, arrival: Arrival::Whole }
    };
    world.ok(arrives(&first));
    take(&mut world, event(EventKind::BeforeTool("Bash".into()), None, "p2"));
    assert!(!is_read(&world, "m"));
    world.ok(arrives(&second));
    take(&mut world, event(EventKind::BeforeTool("Bash".into()), None, "p2"));
    assert!(is_read(&world, "m"));
}

/// row 2: the same in the first turn of a session, of which no end has been seen yet.
#[test]
fn an_erased_first_prompt_takes_no_mail_along() {
    let mut world = World::new();
    world.start("a", "/w/x");
    take(&mut world, event(EventKind::Start { same_context: false }, None, ""));
    world.send("a", "b", "m");
    assert_eq!(take(&mut world, prompt("p1")), first("m"));
    assert_eq!(take(&mut world, prompt("p2")), again("m"));
    take(&mut world, stop("p2"));
    assert!(is_read(&world, "m"));
}

/// row 2: a prompt that was not heard, for example because the daemon was down, is told by its turn's other events.
#[test]
fn an_event_of_another_turn_proves_nothing_of_an_earlier_one() {
    let mut world = world();
    world.send("a", "b", "m");
    take(&mut world, prompt("p1"));
    take(&mut world, event(EventKind::BeforeTool("Bash".into()), None, "p2"));
    assert!(!is_read(&world, "m"));
    assert_eq!(take(&mut world, prompt("p3")), again("m"));
}

/// row 2: where no hook reports the end of a turn, prompts are all there is.
#[test]
fn a_session_whose_hooks_report_no_ends_is_believed_by_its_prompts_in_time() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    world.send("a", "b", "m");
    for number in 1..=PROMPTS_WITHOUT_END_MAX {
        let taken = take(&mut world, prompt(&format!("p{number}")));
        assert_eq!(taken, vec![("m".to_owned(), number > 1)]);
        assert!(!is_read(&world, "m"));
    }
    assert_eq!(take(&mut world, prompt("last")), []);
    assert!(is_read(&world, "m"));
}

/// row 72: urgent mail goes first, however much older mail waits.
#[test]
fn urgent_mail_is_in_the_next_answer_before_older_mail() {
    let mut world = world();
    let send = |world: &mut World, body: &str, priority| {
        let wishes = Wishes { priority, ..Wishes::default() };
        world.ok(Request::Send(Box::new(Sending { wishes, ..Sending::new(caller("a"), "b", body) })));
    };
    for number in 0..2 * INBOX_MESSAGES_MAX + 5 {
        send(&mut world, &format!("low {number}"), Priority::Low);
    }
    send(&mut world, "next", Priority::Next);
    send(&mut world, "now", Priority::Now);
    send(&mut world, "now too", Priority::Now);
    let bodies: Vec<String> = take(&mut world, prompt("p1")).into_iter().map(|(body, _)| body).collect();
    assert_eq!(bodies.len(), INBOX_MESSAGES_MAX);
    assert_eq!(bodies[..4], ["now", "now too", "low 0", "low 1"]);
}

/// row 76: mail that cannot go any more, since it expired or was tried too often, takes no place in an answer.
#[test]
fn mail_that_is_over_keeps_no_answer_empty() {
    for is_spent in [false, true] {
        let mut world = world();
        for number in 0..INBOX_MESSAGES_MAX + 1 {
            let expires = (!is_spent).then_some(Expiry::In(MINUTE));
            let wishes = Wishes { expires, priority: Priority::Now, ..Wishes::default() };
            world.ok(Request::Send(Box::new(Sending { wishes, ..Sending::new(caller("a"), "b", number.to_string()) })));
        }
        if is_spent {
            let ids: Vec<MessageId> = world.roster.tables.messages.keys().cloned().collect();
            ids.iter().for_each(|id| world.roster.set_step(&"b".into(), id, Step::Kept, HANDINGS_MAX));
        }
        world.send("a", "b", "valid");
        world.ok(Request::Wait {
            event: Box::new(HookEvent { report: report("b", ""), ..HookEvent::default() }),
            at_least: Priority::Next,
        });
        world.pass(2 * MINUTE);
        if !is_spent {
            assert_eq!(unread(&mut world), ["valid"]);
        }
        let now = world.now;
        let woken = world.roster.rouse(now, &mut world.ids).woken;
        let bodies: Vec<_> = woken.iter().flat_map(|reply| bodies(&reply.inbox)).collect();
        assert_eq!(bodies, ["valid"], "a waiter, {is_spent}");
        let HookReply { session, inbox, path, lease, .. } = woken.into_iter().next().unwrap();
        let messages = inbox.iter().map(|item| item.message.row.id.clone()).collect();
        let session = session.unwrap().row.id.clone();
        world.ok(Request::InboxHanded { session, messages, path, lease, arrival: Arrival::NotGiven });
        assert_eq!(take(&mut world, prompt("p1")), first("valid"), "a prompt, {is_spent}");
        if is_spent {
            assert!(world.inbox("a").iter().any(|text| text.contains("without a sign that it was read")));
        }
    }
}

/// row 2: with marshal 0.9's hooks another prompt is the only sign there is, and the session's end is none.
#[test]
fn the_end_of_a_session_proves_nothing_of_its_last_prompt() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    let old_prompt = || HookEvent { agent: None, ..prompt("") };
    world.send("a", "b", "one");
    assert_eq!(take(&mut world, old_prompt()), first("one"));
    world.send("a", "b", "two");
    assert_eq!(take(&mut world, old_prompt()), first("two"));
    assert!(is_read(&world, "one") && !is_read(&world, "two"));
    world.end("b");
    assert!(!is_read(&world, "two"));
    assert_eq!(take(&mut world, old_prompt()), again("two"));
}

/// row 1: an agent bounds how often hooks may prolong a turn. It ends the turn then, and the answer is lost.
#[test]
fn the_end_of_a_turn_that_no_hook_has_prolonged_disproves_the_answer_before_it() {
    let table = [(Some(true), true, vec![]), (Some(false), false, again("m")), (None, true, vec![])];
    for (prolonged, read, taken) in table {
        let mut world = world();
        world.send("a", "b", "m");
        assert_eq!(take(&mut world, stop("p0")), first("m"));
        let next = HookEvent { prolonged, ..stop("p0") };
        assert_eq!((take(&mut world, next), is_read(&world, "m")), (taken, read), "{prolonged:?}");
    }
}

/// row 1: the next tool of a step begins without a call of the model.
#[test]
fn a_tool_proves_nothing_of_the_answer_to_another_one_of_its_step() {
    let mut world = world();
    let wishes = Wishes { priority: Priority::Now, ..Wishes::default() };
    world.ok(Request::Send(Box::new(Sending { wishes, ..Sending::new(caller("a"), "b", "m") })));
    let before = || event(EventKind::BeforeTool("Bash".into()), None, "p0");
    let after = || event(EventKind::AfterTool("Bash".into()), Some(Path::Tools), "p0");
    take(&mut world, before());
    assert_eq!(take(&mut world, after()), first("m"));
    for _ in 0..9 {
        world.pass(crate::limits::HANDED_LEASE_MS);
        take(&mut world, before());
        assert_eq!(take(&mut world, after()), [], "and is not repeated while the turn goes on");
        assert!(!is_read(&world, "m"));
    }
    take(&mut world, event(EventKind::AfterTools, Some(Path::Tools), "p0"));
    assert!(!is_read(&world, "m"));
    take(&mut world, before());
    assert!(is_read(&world, "m"), "another step has begun");
}

/// row 2: prompts that came while the daemon was down were not heard.
#[test]
fn nothing_proves_a_delivery_from_before_a_restart_but_its_id() {
    for quotes in [false, true] {
        let mut world = world();
        let message = world.send("a", "b", "m").message.row.id.clone();
        assert_eq!(take(&mut world, prompt("p1")), first("m"));
        let mut world = world.restarted(0);
        take(&mut world, event(EventKind::BeforeTool("Bash".into()), None, "p2"));
        take(&mut world, stop("p2"));
        assert!(!is_read(&world, "m"));
        world.pass(crate::limits::HANDED_LEASE_MS);
        let quoted = if quotes { vec![message] } else { Vec::new() };
        let next = event(EventKind::Prompt { quoted }, Some(Path::Prompt), "p3");
        assert_eq!(take(&mut world, next), if quotes { vec![] } else { again("m") });
        assert_eq!(is_read(&world, "m"), quotes);
    }
}

/// row 1: of a new conversation, and of a compaction, versions of Claude Code drop the start's answer.
#[test]
fn mail_goes_with_the_first_prompt_and_not_with_the_start_before_it() {
    for same_context in [false, true] {
        let mut world = world();
        world.send("a", "b", "m");
        let start = event(EventKind::Start { same_context }, Some(Path::Start), "");
        assert_eq!(take(&mut world, start), []);
        assert_eq!(take(&mut world, prompt("p1")), first("m"));
    }
}

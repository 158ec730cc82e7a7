//! How soon sessions hear, by what has been seen of them.

use super::*;
use crate::model::{Agent, KnownBy, Path, State};

fn event(world: &mut World, id: &str, kind: EventKind, takes: Option<Path>) {
    let (report, agent) = (report(id, "/w/x"), Some(Agent::Claude));
    let event = HookEvent { report, agent, kind, takes, ..HookEvent::default() };
    world.ok(Request::HookEvent(Box::new(event)));
}

#[test]
fn a_session_hears_as_soon_as_what_was_seen_of_it_allows() {
    let mut world = World::new();
    let reach = |world: &mut World| world.view("s").reach;
    world.start("s", "/w/x");
    assert_eq!(reach(&mut world), Reach::NextPrompt, "by the hooks of marshal 0.9");
    event(&mut world, "s", EventKind::Prompt { quoted: Vec::new() }, Some(Path::Prompt));
    assert_eq!(reach(&mut world), Reach::NextPrompt, "it works, and was not seen to take anything between tools");
    event(&mut world, "s", EventKind::AfterTools, Some(Path::Tools));
    assert_eq!(reach(&mut world), Reach::BetweenTools);
    event(&mut world, "s", EventKind::BeforeTool("Bash".to_owned()), None);
    event(&mut world, "s", EventKind::NeedsHuman("permission: Bash".to_owned()), None);
    assert_eq!((world.session("s").doing.state, reach(&mut world)), (Some(State::Waiting), Reach::BetweenTools));
    event(&mut world, "s", EventKind::Stop, Some(Path::Stop));
    assert_eq!(reach(&mut world), Reach::NextPrompt, "between two turns there are no tools");
    world.roster.note_subscriber(&"s".into(), true);
    assert_eq!(reach(&mut world), Reach::Now);
    world.roster.note_subscriber(&"s".into(), false);
    assert_eq!(reach(&mut world), Reach::NextPrompt);

    world.publish("k", "s", "s");
    assert_eq!(reach(&mut world), Reach::NextPrompt, "its shim does not say that it shows what is pushed");
    world.ok(update("s", SessionChange::ChannelsEnabled(Some(true))));
    assert_eq!(reach(&mut world), Reach::Now);
    world.gone("k");
    assert_eq!(reach(&mut world), Reach::NextPrompt);

    world.publish("k2", "shim", "shim");
    assert_eq!(world.view("shim").reach, Reach::Now, "what has no hooks is pushed to");
    world.gone("k2");
    assert_eq!(world.view("shim").reach, Reach::None);
    world.ok(Request::Register(Box::new(registering("silent", "silent", token(1)))));
    assert_eq!(world.view("silent").reach, Reach::None);
}

// row 25
#[test]
fn a_program_that_ignores_the_answers_to_its_hooks_does_not_hear_by_them() {
    let mut world = World::new();
    for agent in Agent::ALL {
        let (report, kind) = (report(agent.as_str(), "/w/x"), EventKind::Stop);
        let event = HookEvent { report, agent: Some(agent), kind, ..HookEvent::default() };
        world.ok(Request::HookEvent(Box::new(event)));
        let expected = if agent.takes_answers() { Reach::NextPrompt } else { Reach::None };
        assert_eq!(world.view(agent.as_str()).reach, expected, "{agent:?}");
    }
}

#[test]
fn what_a_session_is_at_is_told_and_not_sure_when_nothing_more_is_heard() {
    let mut world = World::new();
    world.start("s", "/w/x");
    event(&mut world, "s", EventKind::Prompt { quoted: Vec::new() }, Some(Path::Prompt));
    let begun = world.session("s").doing.since;
    world.pass(20 * SECOND);
    event(&mut world, "s", EventKind::BeforeTool("Bash".to_owned()), None);
    assert_eq!(world.session("s").doing.since, begun, "it works since its turn began, whatever tools it uses");
    world.pass(30 * SECOND);
    world.sweep();
    assert_eq!(world.session("s").doing.known_by, KnownBy::Told);
    world.pass(3 * SECOND);
    world.sweep();
    let doing = world.session("s").doing;
    assert_eq!((doing.state, doing.known_by, doing.since), (Some(State::Working), KnownBy::Guessed, begun));
    assert_eq!(doing.tool.as_deref(), Some("Bash"), "a tool may take its time");
}

#[test]
fn a_permission_that_is_waited_for_is_one_for_the_tool_that_was_told_of() {
    let mut world = World::new();
    world.start("s", "/w/x");
    let mut waits = |kind: EventKind, asked: &str| {
        event(&mut world, "s", kind, None);
        event(&mut world, "s", EventKind::NeedsHuman(asked.to_owned()), None);
        world.session("s").doing.waiting_for.map(|what| what.to_string())
    };
    assert_eq!(waits(EventKind::BeforeTool("Bash".to_owned()), "permission").as_deref(), Some("permission: Bash"));
    assert_eq!(waits(EventKind::Other, "permission: Edit").as_deref(), Some("permission: Edit"));
    assert_eq!(waits(EventKind::Other, "input").as_deref(), Some("input"));
    assert_eq!(waits(EventKind::AfterTools, "permission").as_deref(), Some("permission"));
}

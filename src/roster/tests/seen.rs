//! Turns whose end no hook tells, and what transcripts show of them.

use super::*;
use crate::limits::{HOOKS_SILENT_MS, SWEEP_EVERY, TRANSCRIPT_AFTER_MS, TRANSCRIPT_BELIEVED_MS, TRANSCRIPT_LOOKS_MAX};
use crate::model::{Agent, KnownBy, Priority, State};

const PATH: &str = "/home/a/.claude/projects/-w/s.jsonl";

fn event(world: &mut World, id: &str, kind: EventKind) {
    let transcript = Some(PATH.to_owned());
    let (report, agent) = (report(id, "/w"), Some(Agent::Claude));
    let event = HookEvent { report, agent, kind, transcript, ..HookEvent::default() };
    world.ok(Request::HookEvent(Box::new(event)));
}

fn in_tool(world: &mut World, id: &str) {
    event(world, id, EventKind::Prompt { quoted: Vec::new() });
    event(world, id, EventKind::BeforeTool("Bash".to_owned()));
}

/// Time passes, with the sweeps in between; each look at a transcript shows this.
fn pass(world: &mut World, ms: i64, shows: Option<SeenTurn>) {
    let step = i64::try_from(SWEEP_EVERY.as_millis()).unwrap();
    let mut left = ms;
    while left > 0 {
        let ms = left.min(step);
        world.pass(ms);
        left -= ms;
        world.sweep();
        for turn in world.roster.silent_turns(world.now) {
            if let Some(seen) = shows {
                world.ok(Request::TurnSeen { session: turn.session, heard_at: turn.heard_at, seen });
            }
        }
    }
}

fn state(world: &World, id: &str) -> (Option<State>, KnownBy) {
    let doing = world.session(id).doing;
    (doing.state, doing.known_by)
}

// row 11
#[test]
fn a_turn_that_its_transcript_shows_to_be_broken_off_is_over_within_seconds() {
    let mut world = World::new();
    in_tool(&mut world, "s");
    pass(&mut world, TRANSCRIPT_AFTER_MS - 1, None);
    assert!(world.roster.silent_turns(world.now).is_empty(), "its hooks were heard a moment ago");
    world.pass(1);
    let broken_off = world.now.wall_ms - 500;
    let turns = world.roster.silent_turns(world.now);
    assert_eq!(turns.iter().map(|turn| (turn.session.as_str(), &*turn.transcript)).collect::<Vec<_>>(), [("s", PATH)]);
    let seen = SeenTurn::Over(broken_off);
    world.ok(Request::TurnSeen { session: "s".into(), heard_at: turns[0].heard_at, seen });
    let doing = world.session("s").doing;
    assert_eq!(
        (doing.state, doing.known_by, doing.since, doing.tool),
        (Some(State::Idle), KnownBy::Seen, broken_off, None)
    );
    assert!(world.roster.silent_turns(world.now).is_empty(), "there is nothing more to be seen");
    event(&mut world, "s", EventKind::Prompt { quoted: Vec::new() });
    assert_eq!(state(&world, "s"), (Some(State::Working), KnownBy::Told));
}

#[test]
fn what_was_seen_before_the_last_hook_counts_for_nothing() {
    let mut world = World::new();
    in_tool(&mut world, "s");
    pass(&mut world, TRANSCRIPT_AFTER_MS, None);
    let heard_at = world.roster.silent_turns(world.now)[0].heard_at;
    event(&mut world, "s", EventKind::AfterTools);
    let over = SeenTurn::Over(world.now.wall_ms);
    world.ok(Request::TurnSeen { session: "s".into(), heard_at, seen: over });
    assert_eq!(state(&world, "s"), (Some(State::Working), KnownBy::Told));
    event(&mut world, "s", EventKind::Failed("overloaded".to_owned()));
    event(&mut world, "s", EventKind::Stop);
    pass(&mut world, TRANSCRIPT_AFTER_MS, Some(over));
    assert_eq!(state(&world, "s"), (Some(State::Idle), KnownBy::Told), "nothing is looked at between two turns");
    world.end("s");
    world.ok(Request::TurnSeen { session: "s".into(), heard_at, seen: over });
    assert!(world.find("s").is_none());
}

// row 11
#[test]
fn a_long_tool_that_its_transcript_shows_is_sure_and_is_not_woken_in() {
    let mut world = World::new();
    in_tool(&mut world, "s");
    let waits = HookEvent { report: report("s", ""), ..HookEvent::default() };
    world.ok(Request::Wait { event: Box::new(waits), at_least: Priority::Now });
    pass(&mut world, 2 * HOOKS_SILENT_MS, Some(SeenTurn::InTool));
    assert_eq!(state(&world, "s"), (Some(State::Working), KnownBy::Seen));
    assert_ne!(world.view("s").reach, Reach::Wakeable, "the tool's end hands its mail over");
    // It cannot be read any more.
    pass(&mut world, TRANSCRIPT_BELIEVED_MS + 3_000, None);
    assert_eq!(state(&world, "s"), (Some(State::Working), KnownBy::Guessed));
    assert_eq!(world.view("s").reach, Reach::Wakeable);
    pass(&mut world, 6_000, Some(SeenTurn::InTool));
    assert_eq!(state(&world, "s"), (Some(State::Working), KnownBy::Seen));
}

// row 23
#[test]
fn a_dialog_left_by_esc_is_seen_in_the_transcript() {
    let mut world = World::new();
    in_tool(&mut world, "s");
    event(&mut world, "s", EventKind::NeedsHuman("permission: Bash".to_owned()));
    pass(&mut world, 60_000, Some(SeenTurn::InTool));
    assert_eq!(state(&world, "s"), (Some(State::Waiting), KnownBy::Told));
    pass(&mut world, 15 * 60_000, Some(SeenTurn::InTool));
    assert_eq!(state(&world, "s"), (Some(State::Waiting), KnownBy::Seen), "its human takes long");
    let over = SeenTurn::Over(world.now.wall_ms);
    pass(&mut world, 3_000, Some(over));
    let doing = world.session("s").doing;
    assert_eq!((doing.state, doing.known_by, doing.waiting_for), (Some(State::Idle), KnownBy::Seen, None));
    // Nothing of the question is left for the next turn.
    in_tool(&mut world, "s");
    assert_eq!(state(&world, "s"), (Some(State::Working), KnownBy::Told));
}

#[test]
fn of_many_silent_turns_each_one_has_its_turn() {
    let mut world = World::new();
    let many = 2 * TRANSCRIPT_LOOKS_MAX + 5;
    for number in 0..many {
        in_tool(&mut world, &format!("s{number:04}"));
    }
    world.pass(TRANSCRIPT_AFTER_MS);
    let mut looked: Vec<SessionId> = Vec::new();
    for _ in 0..3 {
        let turns = world.roster.silent_turns(world.now);
        assert!(turns.len() <= TRANSCRIPT_LOOKS_MAX);
        looked.extend(turns.into_iter().map(|turn| turn.session));
    }
    looked.sort_unstable();
    looked.dedup();
    assert_eq!(looked.len(), many);
}

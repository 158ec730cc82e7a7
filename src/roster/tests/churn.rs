//! Nothing grows with what is gone: sessions, clients, rooms, processes and tokens come and go in every way, and afterwards
//! the roster holds no more than before, in any of its maps.

use super::*;
use crate::held::{grown, held};
use crate::limits::CLAIMS_OF_GONE_SESSIONS_MAX;
use crate::model::{Agent, Path, Priority};

fn tell(world: &mut World, id: &str, number: u32, kind: EventKind, takes: Option<Path>) {
    let event = HookEvent {
        report: report_in(id, process(number)),
        agent: Some(Agent::Claude),
        kind,
        takes,
        prompt_id: Some(format!("prompt of {id}")),
        ..HookEvent::default()
    };
    world.ok(Request::HookEvent(Box::new(event)));
}

/// A session by hooks lives, talks and ends.
fn hook_session(world: &mut World, id: &str, number: u32) {
    world.hook(Request::session_start(report_in(id, process(number))));
    tell(world, id, number, EventKind::Prompt { quoted: Vec::new() }, Some(Path::Prompt));
    world.ok(update(id, SessionChange::CurrentTask(Some("t".to_owned()))));
    world.join(id, &format!("room of {id}"));
    world.join(id, "shared");
    world.send(id, "steady", "to one");
    world.send("steady", id, "unread");
    world.broadcast(id, "shared", "to all");
    world.ok(send(id, "human:ann", "to a human"));
    let event = HookEvent { report: report(id, ""), kind: EventKind::Stop, ..HookEvent::default() };
    world.ok(Request::Wait { event: Box::new(event), at_least: Priority::Now });
    world.roster.note_subscriber(&id.into(), true);
    world.roster.note_subscriber(&id.into(), false);
    world.ok(Request::WaiterGone(id.into()));
    match number % 3 {
        0 => world.end(id),
        1 => drop(world.ok(Request::ProcessGone(process(number)))),
        _ => {
            world.end(id);
            // A hook that comes late begins nothing that would stay.
            tell(world, id, number, EventKind::End, None);
        }
    }
    world.ok(Request::ProcessGone(process(number)));
}

/// A session by a shim comes and goes with its client, and another one by a client that stays.
fn shim_sessions(world: &mut World, id: &str) {
    let (client, name) = (format!("client of {id}"), format!("named {id}"));
    world.publish(&client, id, &name);
    world.ok(update(id, SessionChange::LastActivityAt(world.now.wall_ms)));
    world.broadcast("steady", "everyone", "pushed");
    let other = format!("{id} by the proxy");
    world.publish("proxy", &other, &name);
    world.gone(&client);
    world.ok(Request::WithdrawSession { client: "proxy".into(), session: other.as_str().into() });
}

fn registered_session(world: &mut World, id: &str, number: u8) {
    world.ok(Request::Register(Box::new(registering(id, "registered", token(number)))));
    world.ok(Request::Deregister(token(number)));
}

/// What is refused, and a batch that cannot be written.
fn refused(world: &mut World, id: &str) {
    world.err(send(id, "steady", "by nobody"));
    world.err(Request::session_start(report(id, &"/x".repeat(5000))));
    for request in [Request::session_start(report(id, "/w/x")), Request::Sweep { settled: true }] {
        world.apply(request).reply.unwrap();
    }
    let event = HookEvent {
        report: report(id, ""),
        agent: Some(Agent::Claude),
        kind: EventKind::Prompt { quoted: Vec::new() },
        takes: Some(Path::Prompt),
        prompt_id: Some("p".to_owned()),
        ..HookEvent::default()
    };
    world.apply(Request::HookEvent(Box::new(event))).reply.unwrap();
    world.apply(join(id, "room of the refused")).reply.unwrap();
    world.apply(send(id, "steady", "refused")).reply.unwrap();
    world.roster.roll_back();
}

fn round(world: &mut World, round: u32) {
    for number in 0..12 {
        let id = format!("{round}-{number}");
        hook_session(world, &format!("hook-{id}"), 100 + round * 100 + number);
        shim_sessions(world, &format!("shim-{id}"));
        registered_session(world, &format!("registered-{id}"), u8::try_from(number).unwrap());
        refused(world, &format!("refused-{id}"));
        world.pass(SECOND);
    }
}

/// Until all is over that time ends.
fn let_time_pass(world: &mut World) {
    for _ in 0..80 {
        world.pass(DAY);
        // Whoever stays shows it, reads what has come, and is woken from its long sleep.
        world.inbox("steady");
        world.sweep();
    }
    // What a client that stays has stated is known as long as it does, within a bound.
    world.gone("proxy");
    world.connect("proxy");
    world.roster.take_reach_moved();
}

#[test]
fn nothing_grows_with_what_is_gone() {
    // row 113
    let mut world = World::new();
    world.roster.limit_sends(Some(1_000));
    world.hook(Request::session_start(report_in("steady", process(1))));
    world.connect("proxy");
    world.join("steady", "shared");
    round(&mut world, 0);
    let_time_pass(&mut world);
    let before = held(&world.roster);
    for number in 1..4 {
        round(&mut world, number);
    }
    assert_ne!(held(&world.roster), before, "there was something to forget");
    let_time_pass(&mut world);
    assert_eq!(grown(&before, &held(&world.roster)), [""; 0]);
}

#[test]
fn a_client_that_stays_is_not_known_by_all_that_it_has_ever_stated() {
    // row 113
    let mut world = World::new();
    let (mut most, mut last) = (0, 0);
    for number in 0..20 * CLAIMS_OF_GONE_SESSIONS_MAX {
        let id = format!("s{number}");
        world.publish("proxy", &id, "shim");
        world.ok(Request::WithdrawSession { client: "proxy".into(), session: id.as_str().into() });
        last = held(&world.roster)["tables.presence"];
        most = most.max(last);
    }
    let of_one = 8;
    assert!(most < of_one * (CLAIMS_OF_GONE_SESSIONS_MAX + 10), "{most} lines at most, {last} at the end");
}

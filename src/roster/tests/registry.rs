//! Registered sessions: tokens, groups, and how long a registration lasts. Numbers such as M08 are rows of the checklist of
//! what claudemesh's registry can do.

use super::*;
use crate::limits::{REGISTRATION_AGE_MAX_MS, RENEWAL_PERSIST_EVERY_MS};
use crate::model::Registration;

impl World {
    fn register(&mut self, id: &str, number: u8) {
        self.ok(Request::Register(Box::new(registering(id, id, token(number)))));
    }

    fn register_in(&mut self, id: &str, number: u8, groups: &[&str]) {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        self.ok(Request::Register(Box::new(Registering { groups, ..registering(id, id, token(number)) })));
    }

    /// The session that a token means, by asking.
    fn me(&mut self, number: u8) -> Option<String> {
        let caller = Caller { token: Some(Box::new(token(number))), ..Caller::default() };
        let outcome = self.apply(Request::Me(caller));
        self.roster.commit();
        match outcome.reply {
            Ok(Reply::Me(view)) => Some(view.session.row.id.to_string()),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Unauthorized);
                None
            }
            other => panic!("{other:?}"),
        }
    }

    fn registration(&self, id: &str) -> Option<Registration> {
        match self.roster.row(ItemType::Registration, id)? {
            Row::Registration(stored) => Some(stored.row.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// What the changes of a request did to sessions and registrations, in order.
    fn deeds(&mut self, request: Request) -> Vec<String> {
        self.apply(request).reply.unwrap();
        let deeds = self.roster.commit().into_iter().filter_map(|change| {
            let what = match change.item_type() {
                ItemType::Session => "session",
                ItemType::Registration => "registration",
                _ => return None,
            };
            let gone = change.gone.map_or("", Gone::as_str);
            Some(format!("{}{what} {} {gone}", if change.after.is_some() { '+' } else { '-' }, change.id()))
        });
        deeds.map(|deed| deed.trim().to_owned()).collect()
    }
}

fn register(id: &str, number: u8) -> Request {
    Request::Register(Box::new(registering(id, id, token(number))))
}

#[test]
fn m07_a_registered_session_is_who_its_token_says() {
    let mut world = World::new();
    let given = Registering {
        role: Some("reviewer".to_owned()),
        process: Some(process(9)),
        pid: 9,
        groups: vec!["@dev:lead".to_owned(), "ops".to_owned()],
        ..registering("s", "proj", token(1))
    };
    let Reply::Registered { registered_at, .. } = world.ok(Request::Register(Box::new(given.clone()))) else {
        panic!()
    };
    assert_eq!(registered_at, BIRTH);
    let row = world.session("s");
    assert_eq!((&*row.nickname, &*row.cwd, row.pid, row.role.as_deref()), ("proj", "/w/proj", 9, Some("reviewer")));
    assert_eq!((row.process, row.groups.len()), (given.process, 2));
    assert_eq!(world.me(1).as_deref(), Some("s"));
    assert_eq!(world.me(2), None);
    assert_eq!(world.err(Request::Me(Caller::session("s"))).kind, ErrorKind::Unauthorized, "a claim is no token");
    let view = world.view("s");
    assert_eq!(view.registration.unwrap().row.token, token(1));
}

#[test]
fn names_are_given_as_to_any_session() {
    let mut world = World::new();
    world.start("h", "/w/proj");
    world.ok(Request::Register(Box::new(registering("a", "proj", token(1)))));
    world.ok(Request::Register(Box::new(registering("b", "proj", token(2)))));
    assert_eq!((world.nickname("a"), world.nickname("b")), ("proj".to_owned(), "proj-2".to_owned()));
    world.ok(Request::Register(Box::new(registering("b", "proj", token(2)))));
    assert_eq!(world.nickname("b"), "proj-2", "who registers again keeps its name");
    world.ok(Request::Register(Box::new(registering("b", "other", token(2)))));
    assert_eq!(world.nickname("b"), "other");
    // A session that hooks have made known keeps what they said.
    world.ok(Request::Register(Box::new(registering("h", "named", token(3)))));
    assert!(world.session("h").hooks && world.nickname("h") == "named");
}

#[test]
fn m08_a_new_token_of_a_session_retires_the_old_one_first() {
    let mut world = World::new();
    world.register("s", 1);
    world.start("other", "/w/x");
    let message = world.send("other", "s", "for you").message.row.id.clone();
    let deeds = world.deeds(register("s", 2));
    assert_eq!(deeds, ["-registration s replaced", "+registration s"]);
    assert_eq!((world.me(1), world.me(2).as_deref()), (None, Some("s")));
    assert_eq!(world.roster.counts().registrations, 1);
    assert_eq!(world.ack("s", &[&message]), (1, 0, 0), "its mail is still its own");
}

#[test]
fn m08_a_token_that_moves_leaves_nothing_behind() {
    let mut world = World::new();
    world.register("s", 1);
    let deeds = world.deeds(register("s2", 1));
    assert_eq!(deeds, ["-registration s replaced", "-session s replaced", "+session s2", "+registration s2"]);
    assert_eq!(world.me(1).as_deref(), Some("s2"));
    world.register("s", 2);
    assert!(world.find("s2").is_some(), "the session that the token moved to is not touched");
    assert_eq!((world.me(1).as_deref(), world.me(2).as_deref()), (Some("s2"), Some("s")));
}

#[test]
fn m09_a_session_is_deregistered_once() {
    let mut world = World::new();
    world.register("s", 1);
    assert_eq!(world.deeds(Request::Deregister(token(1))), ["-registration s deregistered", "-session s deregistered"]);
    assert_eq!(world.err(Request::Deregister(token(1))).kind, ErrorKind::NotFound);
    assert_eq!(world.me(1), None);
}

#[test]
fn what_a_session_says_of_itself_must_be_sound() {
    let mut world = World::new();
    let good = || registering("s", "n", token(1));
    let long = "x".repeat(5000);
    let bad = [
        Registering { session_id: String::new(), ..good() },
        Registering { session_id: "human:al".to_owned(), ..good() },
        Registering { session_id: "a::b".to_owned(), ..good() },
        Registering { display_name: long.clone(), ..good() },
        Registering { display_name: "a\u{1b}[2J".to_owned(), ..good() },
        Registering { display_name: "a\u{200b}".to_owned(), ..good() },
        Registering { cwd: Some(long.clone()), ..good() },
        Registering { role: Some("a\nb".to_owned()), ..good() },
        Registering { role: Some(long), ..good() },
        Registering { groups: vec!["a b".to_owned()], ..good() },
    ];
    for registering in bad {
        assert_eq!(world.err(Request::Register(Box::new(registering))).kind, ErrorKind::Invalid);
    }
    world.ok(Request::Register(Box::new(Registering { display_name: "@a [x]".to_owned(), ..good() })));
    assert_eq!(world.nickname("s"), "_@a _x_");
}

#[test]
fn m14_a_registration_expires_a_day_after_its_last_renewal() {
    let mut world = World::new();
    // A client that is connected: else its silence would end the session sooner.
    world.publish("k", "s", "s");
    world.register("s", 1);
    world.gone("k");
    world.pass(REGISTRATION_AGE_MAX_MS - SECOND);
    assert_eq!(world.me(1).as_deref(), Some("s"));
    world.pass(REGISTRATION_AGE_MAX_MS - SECOND);
    assert_eq!(world.me(1).as_deref(), Some("s"), "what was asked with the token renewed it");
    world.pass(REGISTRATION_AGE_MAX_MS);
    assert_eq!(world.me(1), None, "before a sweep as well");
    assert_eq!(world.deeds(Request::Sweep { settled: true }), ["-registration s expired", "-session s expired"]);
    assert_eq!(world.roster.counts().registrations, 0);
}

#[test]
fn m14_registering_again_and_signs_of_life_renew() {
    let mut world = World::new();
    world.register("again", 1);
    world.register("lives", 2);
    world.register("silent", 3);
    for _ in 0..30 {
        world.pass(50 * MINUTE);
        world.register("again", 1);
        world.prompt("lives");
        world.sweep();
    }
    assert_eq!((world.me(1).as_deref(), world.me(2).as_deref()), (Some("again"), Some("lives")));
    assert!(world.find("silent").is_none(), "a session without a process that says nothing goes, as any");
    assert_eq!(world.registration("again").unwrap().registered_at, BIRTH);
}

#[test]
fn m14_no_session_ends_while_its_process_or_its_client_is_there() {
    let mut world = World::new();
    let living = Registering { process: Some(process(9)), ..registering("p", "p", token(1)) };
    world.ok(Request::Register(Box::new(living)));
    world.publish("k", "c", "c");
    world.register("c", 2);
    // What ends a session for its silence is not looked at here: only what the age of its registration does.
    for _ in 0..3 {
        world.pass(2 * REGISTRATION_AGE_MAX_MS);
        for id in world.roster.tables.renewals.old(world.now, 10) {
            world.roster.check_registration(&id);
        }
        world.roster.commit();
    }
    assert!(world.find("p").is_some() && world.find("c").is_some());
    assert_eq!((world.me(1).as_deref(), world.me(2).as_deref()), (Some("p"), Some("c")));
}

#[test]
fn a_renewal_is_written_once_an_hour() {
    let mut world = World::new();
    world.register("s", 1);
    let renewed = |world: &mut World| {
        let caller = Caller { token: Some(Box::new(token(1))), ..Caller::default() };
        let deeds = world.deeds(Request::Me(caller));
        deeds.iter().any(|deed| deed == "+registration s")
    };
    assert!(!renewed(&mut world));
    world.pass(RENEWAL_PERSIST_EVERY_MS);
    assert!(!renewed(&mut world));
    world.pass(SECOND);
    assert!(renewed(&mut world) && !renewed(&mut world));
    assert_eq!(world.registration("s").unwrap().renewed_at, world.now.wall_ms);
    // A wall clock that somebody sets changes nothing about it.
    world.jump(-3 * DAY);
    assert!(!renewed(&mut world));
    world.jump(6 * DAY);
    assert_eq!(world.me(1).as_deref(), Some("s"));
}

#[test]
fn m16_registrations_outlive_the_daemon() {
    let mut world = World::new();
    let living = Registering { process: Some(process(9)), ..registering("s", "s", token(1)) };
    world.ok(Request::Register(Box::new(living)));
    let mut again = world.restarted(HOUR);
    assert_eq!(again.me(1).as_deref(), Some("s"));
    let mut later = world.restarted(40 * DAY);
    assert_eq!(later.me(1).as_deref(), Some("s"), "its process is looked at by others");
    world.register("t", 2);
    let mut later = world.restarted(REGISTRATION_AGE_MAX_MS);
    assert_eq!(later.me(2), None, "the time in which the daemon was down counts");
}

#[test]
fn a_batch_that_fails_takes_a_registration_back() {
    let mut world = World::new();
    world.register("s", 1);
    world.apply(register("s", 2)).reply.unwrap();
    world.apply(register("t", 1)).reply.unwrap();
    world.roster.roll_back();
    assert_eq!((world.me(1).as_deref(), world.me(2)), (Some("s"), None));
}

#[test]
fn a_group_is_a_room_of_those_who_say_that_they_are_in_it() {
    let mut world = World::new();
    world.register_in("a", 1, &["@team/web/ui:lead"]);
    world.register_in("b", 2, &["team/web"]);
    world.register_in("c", 3, &["team", "ops"]);
    world.start("x", "/w/x");
    let recipients = |sent: &BroadcastSent| sent.recipients.iter().map(|r| r.0.to_string()).collect::<Vec<_>>();
    let to = |world: &mut World, from: &str, group: &str| match world.ok(send(from, group, "hello")) {
        Reply::Broadcast(sent) => recipients(&sent),
        other => panic!("{other:?}"),
    };
    assert_eq!(to(&mut world, "x", "@team"), ["a", "b", "c"]);
    assert_eq!(to(&mut world, "x", "@team/web"), ["a", "b"]);
    assert_eq!(to(&mut world, "a", "@team/web"), ["b"], "not to the sender");
    assert_eq!(to(&mut world, "x", "@team/web/ui"), ["a"]);
    assert_eq!(recipients(&world.broadcast("x", "@ops", "m")), ["c"]);
    assert_eq!(recipients(&world.broadcast("x", "ops", "m")), ["c"]);
    assert_eq!(world.err(send("x", "@nobody", "m")).kind, ErrorKind::NotFound);
    assert_eq!(world.unread("a"), 3, "each message is one, and unread for each who is in the group");
    assert_eq!(world.err(join("x", "group:team")).kind, ErrorKind::Refused);
    assert_eq!(world.err(join("x", "ops")).kind, ErrorKind::Refused, "it would get the group's mail");
    // A room that was there before comes first.
    world.join("x", "later");
    world.join("b", "later");
    world.register_in("d", 4, &["later"]);
    assert_eq!(to(&mut world, "x", "@later"), ["b"]);
}

#[test]
fn groups_follow_the_registration() {
    let mut world = World::new();
    world.register_in("a", 1, &["team/web"]);
    assert_eq!(world.rooms_of("a"), ["everyone", "group:team", "group:team/web", "project:proj"]);
    world.register_in("a", 1, &["ops"]);
    assert_eq!(world.rooms_of("a"), ["everyone", "group:ops", "project:proj"]);
    assert!(!world.has_room("group:team"));
    world.prompt("a");
    world.publish("k", "a", "a");
    assert!(world.rooms_of("a").contains(&"group:ops".to_owned()), "neither a hook nor a shim can say otherwise");
    world.ok(Request::Deregister(token(1)));
    assert!(!world.has_room("group:ops"));
}

#[test]
fn why_a_session_goes_is_noted() {
    let mut world = World::new();
    world.start("ended", "/w");
    assert_eq!(world.deeds(Request::session_end("ended".into())), ["-session ended ended"]);
    world.start("silent", "/w");
    world.pass(2 * HOUR);
    assert_eq!(world.deeds(Request::Sweep { settled: true }), ["-session silent silent"]);
    world.publish("k", "back", "n");
    let withdraw = Request::WithdrawSession { client: "k".into(), session: "back".into() };
    assert_eq!(world.deeds(withdraw), ["-session back withdrawn"]);
    world.publish("k", "lost", "n");
    world.gone("k");
    world.pass(MINUTE);
    assert_eq!(world.deeds(Request::Sweep { settled: true }), ["-session lost client_lost"]);
    world.start("outside", "/w");
    let events = vec![ExternalEvent::Delete(ItemType::Session, "outside".to_owned())];
    assert_eq!(world.deeds(Request::External(events)), ["-session outside outside"]);
}

/// A caller on the Unix socket that descends from these processes.
fn owner(pids: &[u32]) -> Caller {
    let chain = pids.iter().copied().map(process).collect();
    Caller { known: Known::Owner { chain, terminal: None }, ..Caller::default() }
}

#[test]
fn whoever_is_proven_to_be_a_session_hears_what_that_may_and_the_operator_hears_all() {
    let mut world = World::new();
    let living = Registering { process: Some(process(9)), ..registering("s", "s", token(1)) };
    world.ok(Request::Register(Box::new(living)));
    let shows = |number| Caller { token: Some(Box::new(token(number))), ..Caller::default() };
    let hearing = |world: &mut World, caller| match world.ok(Request::Hear(caller)) {
        Reply::Hearing(hearing) => hearing.limit,
        other => panic!("{other:?}"),
    };
    assert_eq!(hearing(&mut world, Caller::default()), None);
    assert_eq!(hearing(&mut world, Caller { known: Known::Machine, ..Caller::default() }), None);
    assert_eq!(hearing(&mut world, owner(&[5])), None);
    let by_process = Limit { session: "s".into(), token: None };
    assert_eq!(hearing(&mut world, owner(&[5, 9])), Some(by_process.clone()));
    let by_token = Limit { token: Some(token(1)), ..by_process.clone() };
    assert_eq!(hearing(&mut world, shows(1)), Some(by_token.clone()));
    assert_eq!(world.err(Request::Hear(shows(2))).kind, ErrorKind::Unauthorized);
    assert!(world.roster.holds_limit(&by_process) && world.roster.holds_limit(&by_token));
    world.register("s", 2);
    assert!(world.roster.holds_limit(&by_process) && !world.roster.holds_limit(&by_token));
    world.end("s");
    assert!(!world.roster.holds_limit(&by_process));
}

#[test]
fn a_session_cannot_register_another_one_anew_unless_it_has_its_token() {
    let mut world = World::new();
    for (id, pid, number) in [("a", 9, 1), ("b", 8, 2)] {
        let living = Registering { process: Some(process(pid)), ..registering(id, id, token(number)) };
        world.ok(Request::Register(Box::new(living)));
    }
    assert_eq!(world.err(register("b", 3).by(owner(&[7, 9]))).kind, ErrorKind::Forbidden);
    assert_eq!(world.me(2).as_deref(), Some("b"));
    for allowed in
        [register("b", 2).by(owner(&[7, 9])), register("b", 3).by(owner(&[7])), register("c", 4).by(owner(&[9]))]
    {
        world.ok(allowed);
    }
    assert_eq!((world.me(3).as_deref(), world.me(4).as_deref()), (Some("b"), Some("c")));
}

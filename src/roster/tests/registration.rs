//! How sessions come onto the roster and what they are called.

use super::*;
use crate::model::{Agent, Doing, Path, Paths};

#[test]
fn a_session_start_registers_a_session_and_tells_it_its_name() {
    let mut world = World::new();
    let reply = world.start("aaaaaaaa-1111", "/home/alice/proj");
    let row = world.session("aaaaaaaa-1111");
    assert_eq!(
        (&*row.nickname, &*row.cwd, row.project.as_deref()),
        ("proj@aaaaaaaa", "/home/alice/proj", Some("proj"))
    );
    assert_eq!((row.pid, row.client_id, row.hooks), (0, None, true));
    assert_eq!((row.connected_at, row.last_activity_at), (BIRTH, Some(BIRTH)));
    assert!(reply.introduce && reply.inbox.is_empty() && reply.waiting == 0);
    assert_eq!(reply.session.unwrap().row.nickname, row.nickname);
}

#[test]
fn a_prompt_of_an_unknown_session_registers_it_and_introduces_it() {
    let mut world = World::new();
    assert!(world.prompt("a").introduce);
    assert!(!world.prompt("a").introduce);
    assert_eq!(world.nickname("a"), "session@a");
}

fn full(id: &str) -> Session {
    Session {
        pid: 7,
        git_branch: Some("main".into()),
        current_task: Some("tests".into()),
        last_tool: Some("Bash".into()),
        last_tool_at: Some(BIRTH),
        operator: Some("alice".into()),
        host: Some(host("box1")),
        project: Some("shim".into()),
        session_name: Some("title".into()),
        activity: Some("busy".into()),
        kind: Some("bg".into()),
        channels_enabled: Some(true),
        ..Session::new(id.into(), "shim", "/w/shim", BIRTH)
    }
}

#[test]
fn one_agent_with_hooks_and_a_shim_is_one_row_and_the_hook_wipes_nothing() {
    let mut world = World::new();
    world.connect("k");
    world.ok(stated("k", full("a")));
    world.pass(MINUTE);
    world.start("a", "/w/shim");
    let doing = Doing { paths: Paths::default().with(Path::Start), ..Doing::default() };
    let expected = Session {
        client_id: Some("k".into()),
        hooks: true,
        last_activity_at: Some(BIRTH + MINUTE),
        doing,
        ..full("a")
    };
    assert_eq!(world.session("a"), expected);
    assert_eq!(world.roster.counts().sessions, 1);
}

#[test]
fn a_shim_that_restates_little_keeps_what_the_roster_knows() {
    let mut world = World::new();
    world.connect("k");
    world.ok(stated("k", full("a")));
    world.start("a", "/w/shim");
    world.connect("k2");
    world.pass(SECOND);
    world.ok(stated("k2", Session { git_branch: Some("fix".into()), ..Session::new("a".into(), "", "", 0) }));
    let row = world.session("a");
    let expected = Session {
        client_id: Some("k2".into()),
        hooks: true,
        pid: 0,
        git_branch: Some("fix".into()),
        last_activity_at: Some(BIRTH + SECOND),
        doing: Doing { paths: Paths::default().with(Path::Start), ..Doing::default() },
        ..full("a")
    };
    assert_eq!(row, expected);
}

#[test]
fn a_hook_that_moves_changes_the_project_unless_a_shim_knows_better() {
    let mut world = World::new();
    world.start("a", "/w/one");
    world.start("a", "/w/two");
    let row = world.session("a");
    assert_eq!((row.project.as_deref(), &*row.nickname), (Some("two"), "one@a"));
    world.connect("k");
    world.ok(stated("k", full("b")));
    world.start("b", "/w/shim/sub");
    let row = world.session("b");
    assert_eq!((row.project.as_deref(), &*row.cwd), (Some("shim"), "/w/shim/sub"));
}

fn event(id: &str, cwd: &str, kind: EventKind) -> Request {
    let report = report(id, cwd);
    Request::HookEvent(Box::new(HookEvent { report, kind, agent: Some(Agent::Claude), ..HookEvent::default() }))
}

// row 73
#[test]
fn a_context_that_is_shortened_in_a_directory_below_moves_no_session() {
    let mut world = World::new();
    let compacted = || EventKind::Start { same_context: true };
    world.start("a", "/w/proj");
    world.ok(event("a", "/w/proj/sub", compacted()));
    let row = world.session("a");
    assert_eq!((&*row.cwd, row.project.as_deref()), ("/w/proj", Some("proj")));
    assert_eq!(world.rooms_of("a"), ["everyone", "project:proj"]);
    world.ok(event("a", "/w/other", EventKind::Start { same_context: false }));
    assert_eq!(&*world.session("a").cwd, "/w/other", "a resumed session moves");
    world.ok(event("b", "/w/proj/sub", compacted()));
    assert_eq!(&*world.session("b").cwd, "/w/proj/sub", "nothing better is known of a session that is new");
}

// row 62
#[test]
fn what_the_first_events_did_not_say_is_filled_in_when_it_comes() {
    let mut world = World::new();
    world.ok(event("a", "", EventKind::BeforeTool("Bash".to_owned())));
    assert_eq!(world.rooms_of("a"), ["everyone"]);
    let later = |operator: &str, name: &str, cwd: &str, kind| HookEvent {
        report: HookReport { operator: Some(operator.to_owned()), host: Some(host(name)), ..report("a", cwd) },
        kind,
        agent: Some(Agent::Claude),
        ..HookEvent::default()
    };
    let mut tell = |event: HookEvent| world.ok(Request::HookEvent(Box::new(event)));
    tell(HookEvent { of_subagent: true, ..later("", "", "/w/elsewhere", EventKind::AfterTools) });
    tell(later("ana", "box1", "/w/proj", EventKind::Prompt { quoted: Vec::new() }));
    // A known place is not changed by what a shell says later.
    tell(later("bob", "box2", "/w/proj/sub", EventKind::Prompt { quoted: Vec::new() }));
    let row = world.session("a");
    assert_eq!((&*row.cwd, row.operator.as_deref(), row.host), ("/w/proj", Some("ana"), Some(host("box1"))));
    assert_eq!(world.rooms_of("a"), ["everyone", "host:box1", "op:ana", "project:proj"]);
    world.ok(event("b", "/w/proj", EventKind::Stop));
    let hidden = HookReport { operator: Some("a\u{200b}".to_owned()), ..report("b", "") };
    world.err(Request::prompt_submit(hidden));
}

// row 62
#[test]
fn a_successor_claims_the_mail_of_a_session_whose_place_was_filled_in() {
    let mut world = World::new();
    world.ok(event("a", "/w/proj", EventKind::BeforeTool("Bash".to_owned())));
    let in_place = |id: &str| HookReport { operator: Some("ana".to_owned()), ..report(id, "/w/proj") };
    let prompt = |id: &str| Request::prompt_submit(in_place(id));
    world.ok(prompt("a"));
    world.start("sender", "/w/sender");
    world.send("sender", "a", "hello");
    world.end("a");
    let left = world.hook(prompt("b")).left.unwrap();
    assert_eq!(left.messages, 1);
}

#[test]
fn namesakes_are_numbered_and_a_deleted_one_frees_its_number() {
    let mut world = World::new();
    for (client, id) in [("k1", "a"), ("k2", "b"), ("k3", "c")] {
        world.publish(client, id, "proj");
    }
    assert_eq!(["a", "b", "c"].map(|id| world.nickname(id)), ["proj", "proj-2", "proj-3"]);
    world.end("b");
    world.publish("k4", "d", "proj");
    assert_eq!(world.nickname("d"), "proj-2");
    world.end("a");
    world.publish("k5", "e", "proj");
    assert_eq!((world.nickname("e"), world.nickname("c")), ("proj".to_owned(), "proj-3".to_owned()));
}

#[test]
fn numbers_begin_with_two_even_after_a_lower_one_was_in_use() {
    let mut world = World::new();
    for (client, id, name) in [("k1", "a", "n-1"), ("k2", "b", "n"), ("k3", "c", "n")] {
        world.publish(client, id, name);
    }
    assert_eq!(["a", "b", "c"].map(|id| world.nickname(id)), ["n-1", "n", "n-2"]);
    world.end("a");
    world.publish("k4", "d", "n");
    assert_eq!(world.nickname("d"), "n-3");
}

#[test]
fn a_nickname_is_for_life_unless_another_one_is_asked_for() {
    let mut world = World::new();
    world.publish("k1", "a", "proj");
    world.publish("k2", "b", "proj");
    world.publish("k2", "b", "proj");
    assert_eq!(world.nickname("b"), "proj-2", "asking with the raw name again changes nothing");
    world.end("a");
    world.publish("k2", "b", "proj");
    world.start("b", "/elsewhere");
    assert_eq!(world.nickname("b"), "proj-2", "nor does a better name that became free");
    world.publish("k2", "b", "fresh");
    assert_eq!(world.nickname("b"), "fresh", "a rename to a free name is accepted");
    world.publish("k3", "c", "proj-2");
    world.publish("k2", "b", "proj-2");
    assert_eq!((world.nickname("c"), world.nickname("b")), ("proj-2".to_owned(), "proj".to_owned()));
}

#[test]
fn the_name_in_the_hook_answer_is_the_name_on_the_roster() {
    let mut world = World::new();
    let ids = ["12345678-a", "12345678-b", "12345678-c"];
    let told = ids.map(|id| world.start(id, "/w/proj").session.unwrap().row.nickname.to_string());
    assert_eq!(told, ["proj@12345678", "proj@12345678-2", "proj@12345678-3"]);
    assert_eq!(ids.map(|id| world.nickname(id)), told);
    assert_eq!(world.prompt(ids[1]).session.unwrap().row.nickname.to_string(), told[1]);
}

#[test]
fn a_nickname_cannot_pass_for_another_kind_of_address() {
    let mut world = World::new();
    world.publish("k1", "a", "@everyone");
    world.publish("k2", "b", "human:alice");
    world.publish("k3", "c", "x\ny");
    assert_eq!(["a", "b", "c"].map(|id| world.nickname(id)), ["_@everyone", "_human:alice", "x_y"]);
}

#[test]
fn a_shim_without_a_nickname_is_given_one() {
    let mut world = World::new();
    world.publish("k", "abc", "");
    world.publish("k", "abc", "");
    assert_eq!(world.nickname("abc"), "shim@abc");
}

#[test]
fn a_numbered_nickname_of_the_greatest_length_can_be_stated_again() {
    let mut world = World::new();
    let long = "x".repeat(256);
    world.publish("k1", "a", &long);
    world.publish("k2", "b", &long);
    let given = world.nickname("b");
    world.publish("k2", "b", &given);
    assert_eq!(world.nickname("b"), given);
    assert_ne!(world.nickname("a"), given);
}

#[test]
fn times_from_a_shim_are_never_in_the_future_and_never_crash() {
    let mut world = World::new();
    world.connect("k");
    let session = Session {
        connected_at: i64::MAX,
        last_activity_at: Some(i64::MAX),
        last_tool_at: Some(i64::MAX),
        ..Session::new("a".into(), "a", "/", 0)
    };
    world.ok(stated("k", session));
    let row = world.session("a");
    assert_eq!((row.connected_at, row.last_activity_at, row.last_tool_at), (BIRTH, Some(BIRTH), Some(BIRTH)));
    let ancient =
        Session { last_activity_at: Some(i64::MIN), connected_at: i64::MIN, ..Session::new("b".into(), "b", "/", 0) };
    world.ok(stated("k", ancient.clone()));
    world.ok(Request::External(vec![ExternalEvent::Set(Session { id: "c".into(), ..ancient }.into(), None)]));
    world.ok(update("c", SessionChange::LastActivityAt(i64::MIN)));
    world.ok(update("c", SessionChange::LastToolAt(Some(i64::MIN))));
    world.sweep();
    assert!(world.find("a").is_some() && world.find("c").is_none());
}

#[test]
fn a_change_by_a_shim_lands_in_its_field() {
    let mut world = World::new();
    world.publish("k", "a", "a");
    let text = |text: &str| Some(text.to_owned());
    world.ok(update("a", SessionChange::CurrentTask(text("t"))));
    world.ok(update("a", SessionChange::GitBranch(text("g"))));
    world.ok(update("a", SessionChange::SessionName(text("s"))));
    world.ok(update("a", SessionChange::Activity(text("idle"))));
    world.ok(update("a", SessionChange::ChannelsEnabled(Some(true))));
    world.ok(update("a", SessionChange::LastTool(text("Bash"))));
    world.ok(update("a", SessionChange::LastToolAt(Some(BIRTH))));
    let row = world.session("a");
    assert_eq!((row.current_task.as_deref(), row.git_branch.as_deref()), (Some("t"), Some("g")));
    assert_eq!((row.session_name.as_deref(), row.activity.as_deref()), (Some("s"), Some("idle")));
    assert_eq!((row.channels_enabled, row.last_tool.as_deref()), (Some(true), Some("Bash")));
    assert_eq!(row.last_tool_at, Some(BIRTH));
    world.ok(update("a", SessionChange::CurrentTask(text(""))));
    assert_eq!(world.session("a").current_task, None);
    assert_eq!(world.err(update("z", SessionChange::CurrentTask(None))).kind, ErrorKind::NotFound);
}

#[test]
fn ten_thousand_namesakes_are_found_free_names_by_one_look_each() {
    let mut world = World::new();
    for number in 0..10_000 {
        let session = Session::new(format!("{number:05}").as_str().into(), "n", "/w/n", BIRTH);
        world.apply(stated("k", session)).reply.unwrap();
    }
    assert_eq!(world.nickname("09999"), "n-10000");
    assert!(world.roster.tables.nicknames.looks() < 4 * 10_000);
}

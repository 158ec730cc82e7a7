//! What is refused before it becomes part of a row, and what odd but honest text is taken.

use super::*;
use crate::model::Priority;

#[test]
fn ids_that_nobody_could_address_are_refused() {
    let mut world = World::new();
    let overlong = "x".repeat(257);
    let endless = "é".repeat(5000);
    for id in ["", &overlong, &endless, "a\nb", "a\0", "human:alice", "@room", "a::b", ":a"] {
        for request in [
            Request::session_start(report(id, "/w")),
            Request::prompt_submit(report(id, "/w")),
            stated("k", Session::new(id.into(), "n", "/w", 0)),
        ] {
            assert_eq!(world.err(request).kind, ErrorKind::Invalid, "{id:.20}");
        }
        // A session that cannot exist has ended already; an overlong id is refused everywhere.
        let end = world.apply(Request::session_end(id.into())).reply;
        assert_eq!(end.is_ok(), id.len() <= 256, "{id:.20}");
        assert!(world.roster.commit().is_empty());
    }
}

// row 50
#[test]
fn an_id_that_is_too_long_is_refused_wherever_it_stands() {
    let mut world = World::new();
    world.start("a", "/w/x");
    let (long, caller) = ("x".repeat(257), || Caller::session("a"));
    let text = || Some(long.clone());
    let wait = HookEvent { report: report(&long, ""), ..HookEvent::default() };
    let requests = [
        Request::session_end(long.as_str().into()),
        Request::session_end(long.as_str().into()).by(Caller { known: Known::Machine, ..Caller::default() }),
        Request::Wait { event: Box::new(wait), at_least: Priority::Now },
        Request::WithdrawSession { client: "k".into(), session: long.as_str().into() },
        Request::UpdateSession { session: long.as_str().into(), change: SessionChange::CurrentTask(None) },
        Request::Requeue { caller: caller(), message: long.as_str().into() },
        Request::AckMessages { caller: caller(), messages: vec!["m".into(), long.as_str().into()] },
        Request::Broadcast { caller: caller(), room: long.clone(), body: "b".to_owned() },
        Request::JoinRoom { caller: caller(), name: long.clone(), description: None },
        Request::LeaveRoom { caller: caller(), room: long.clone() },
        Request::ClaimMail { caller: caller(), from: text() },
        Request::History(HistoryQuery { message: text(), ..HistoryQuery::default() }),
        Request::History(HistoryQuery { session: text(), ..HistoryQuery::default() }),
        Request::History(HistoryQuery { room: text(), ..HistoryQuery::default() }),
        Request::History(HistoryQuery { thread: text(), ..HistoryQuery::default() }),
        Request::send(caller(), long.clone(), "b"),
        Request::send(Caller::session(&long), "a", "b"),
        Request::ReadMessages { caller: Caller::session(&long), filter: MessageFilter::default() },
        Request::Outbox { caller: Caller::session(&long), before: None, limit: None },
        Request::Me(Caller::session(&long)),
    ];
    for request in requests {
        let asked = format!("{request:?}");
        let error = world.err(request);
        assert_eq!(error.kind, ErrorKind::Invalid, "{asked}");
        assert!(error.message.contains("257 bytes long") && !error.message.contains("xxx"), "{error:?}");
        assert!(world.roster.commit().is_empty(), "{asked}");
    }
}

#[test]
fn ids_of_other_alphabets_and_of_the_greatest_length_are_taken() {
    let mut world = World::new();
    let longest = "é".repeat(128);
    for id in ["ééééééééé", "日本語のセッション", "🦀", "a b", &longest] {
        world.start(id, "/w/日本");
        assert_eq!(&*world.session(id).cwd, "/w/日本");
    }
    assert_eq!(world.nickname("ééééééééé"), "日本@éééééééé");
    assert!(world.has_room("project:日本"));
}

#[test]
fn paths_of_windows_name_the_project_by_their_last_component() {
    let mut world = World::new();
    world.start("a", "C:\\Users\\me\\proj");
    let row = world.session("a");
    assert_eq!((row.project.as_deref(), &*row.nickname), (Some("proj"), "proj@a"));
    world.start("b", "C:\\");
    assert_eq!((world.session("b").project, world.nickname("b")), (None, "session@b".to_owned()));
}

#[test]
fn overlong_or_unprintable_names_are_refused() {
    let mut world = World::new();
    world.start("a", "/w/x");
    let long = "x".repeat(5000);
    let base = || report("new", "/w");
    let reports = [
        HookReport { cwd: Some(long.clone()), ..base() },
        HookReport { operator: Some(long.clone()), ..base() },
        HookReport { operator: Some("a\u{1b}[2J".to_owned()), ..base() },
        HookReport { host: Some(host("a\nb")), ..base() },
        HookReport { host: Some(Host { os: long.as_str().into(), ..host("a") }), ..base() },
    ];
    for report in reports {
        assert_eq!(world.err(Request::session_start(report)).kind, ErrorKind::Invalid);
    }
    let text = || Some(std::sync::Arc::<str>::from(long.as_str()));
    let base = || Session::new("new".into(), "n", "/w", 0);
    let sessions = [
        Session { nickname: long.as_str().into(), ..base() },
        Session { cwd: long.as_str().into(), ..base() },
        Session { operator: text(), ..base() },
        Session { project: text(), ..base() },
        Session { host: Some(host(&long)), ..base() },
        Session { git_branch: text(), ..base() },
        Session { current_task: text(), ..base() },
        Session { last_tool: text(), ..base() },
        Session { session_name: text(), ..base() },
        Session { activity: text(), ..base() },
        Session { kind: text(), ..base() },
    ];
    for session in sessions {
        assert_eq!(world.err(stated("k", session)).kind, ErrorKind::Invalid);
    }
    for change in [SessionChange::CurrentTask, SessionChange::LastTool, SessionChange::GitBranch] {
        assert_eq!(world.err(update("a", change(Some(long.clone())))).kind, ErrorKind::Invalid);
    }
    let described = Request::JoinRoom { caller: caller("a"), name: "r".to_owned(), description: Some(long) };
    assert_eq!(world.err(described).kind, ErrorKind::Invalid);
}

//! `marshal ls`: who is there, those first whom a human should look at first; once, or again whenever something changes.

use super::commands::{Caller, parse, show};
use super::follow::Following;
use super::reader::Reader;
use super::text::{Ink, cut, cut_front, cut_to, ink, line, table, width};
use super::wire::{Session, Sessions};
use super::{Problem, World};
use crate::limits::{LIST_CELL_COLUMNS_MIN, LIST_COLUMNS_MAX};
use crate::time::human_age;

/// What clears a terminal and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// `marshal ls`
pub(crate) fn ls(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    if caller.parsed.has("watch") {
        return watch(caller, world);
    }
    let body = caller.get("/v1/sessions", &[])?;
    if caller.parsed.has("names") {
        return world.print(&names(&parse(&body)?));
    }
    let wide = caller.parsed.has("wide");
    let answer: Sessions = show(caller, world, &body, |answer: &Sessions, world| {
        if answer.sessions.is_empty() { String::new() } else { sessions(answer, wide, &world.reader()) }
    })?;
    if answer.sessions.is_empty() {
        world.note(
            "the roster is empty. A session is listed once its hooks reach the daemon (POST /hook/session-start) or \
             its shim connects; 'marshal status' shows where the daemon listens.",
        );
    }
    Ok(())
}

/// Shows the list again whenever something happens, and now and then for the ages in it.
fn watch(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    let (wide, terminal) = (caller.parsed.has("wide"), world.stdout_is_terminal);
    let ask = || parse::<Sessions>(&caller.get("/v1/sessions", &[])?);
    let mut following = Following::begin(caller)?;
    let mut answer = ask()?;
    loop {
        let reader = world.reader();
        let list = sessions(&answer, wide, &reader);
        world.print(&if terminal { format!("{CLEAR}{list}") } else { format!("{list}\n") })?;
        // On a terminal they stay before somebody's eyes: there they say themselves that they are old.
        let at_loss = |world: &mut World<'_>| match terminal {
            true => world.print(&format!("{CLEAR}{}{list}", not_live(&reader))),
            false => Ok(()),
        };
        answer = following.next(world, |_| true, at_loss, ask)?;
    }
}

/// A line above a list that nobody keeps up to date any more.
fn not_live(reader: &Reader) -> String {
    let told = format!("NOT LIVE: the daemon is away. This is how it was at {}.", reader.zone.moment(reader.now_ms));
    format!("{}\n", ink(&told, Ink::Red, reader.colour))
}

/// The sessions as a table.
pub(crate) fn sessions(answer: &Sessions, wide: bool, reader: &Reader) -> String {
    let now_ms = reader.now_ms;
    let mut sessions: Vec<&Session> = answer.sessions.iter().collect();
    sessions.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.nickname.cmp(&b.nickname)));
    let mut rows: Vec<_> = sessions.iter().map(|session| row(session, now_ms)).collect();
    let mut head = vec!["NICKNAME", "STATE", "AGENT", "BRANCH", "UNREAD", "REACH"];
    if wide {
        head.extend(["MODEL", "WHERE", "OPERATOR@HOST", "CONNECTION", "MODE", "SEEN", "TASK", "ID"]);
        rows.iter_mut().zip(&sessions).for_each(|(row, session)| row.extend(more(session, now_ms)));
    } else {
        fit(&head, &mut rows);
    }
    table(&head, &rows, reader.colour)
}

/// Those first that wait for a human, the longest first; then those that work, those that go on by themselves, and those that
/// do not; of these the ones that were seen last.
fn order(session: &Session) -> (u8, i64) {
    match session.state.as_deref() {
        Some("waiting") => (0, session.state_since.unwrap_or(0)),
        Some("working") => (1, -seen(session)),
        Some("paused") => (2, -seen(session)),
        Some("idle") => (3, -seen(session)),
        _ => (4, -seen(session)),
    }
}

fn seen(session: &Session) -> i64 {
    session.last_activity_at.unwrap_or(session.connected_at)
}

fn row(session: &Session, now_ms: i64) -> Vec<(String, Ink)> {
    let ink = match session.state.as_deref() {
        Some("waiting") => Ink::Yellow,
        Some("working") => Ink::Green,
        _ => Ink::Plain,
    };
    let unread = if session.unread > 0 { Ink::Bold } else { Ink::Plain };
    let reach = if session.reach == "none" { Ink::Red } else { Ink::Plain };
    let text = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(|text| cut(&line(text)));
    let agent = text(&session.agent).unwrap_or_else(|| "-".to_owned());
    vec![
        (cut(&line(&session.nickname)), Ink::Plain),
        (state(session, now_ms), ink),
        (agent, Ink::Plain),
        (text(&session.git_branch).unwrap_or_else(|| "-".to_owned()), Ink::Plain),
        (session.unread.to_string(), unread),
        (reach_words(session), reach),
    ]
}

/// The state and its age, and what the session waits for or which tool it uses. A state that is a guess has a question mark
/// and the age of the last sign of life.
fn state(session: &Session, now_ms: i64) -> String {
    let Some(state) = session.state.as_deref() else { return "-".to_owned() };
    let age = |since: i64| human_age(now_ms.saturating_sub(since));
    let mut text = line(state);
    match (session.state_by.as_deref(), session.state_since) {
        (Some("guessed"), _) => text.push_str(&format!("? silent {}", age(seen(session)))),
        (Some("seen"), Some(since)) => text.push_str(&format!(" (seen) {}", age(since))),
        (_, Some(since)) => text.push_str(&format!(" {}", age(since))),
        (_, None) => {}
    }
    let what = if ["waiting", "paused"].contains(&state) { &session.waiting_for } else { &session.tool };
    if let Some(what) = what.as_deref().filter(|what| !what.is_empty()) {
        text.push_str(&format!(": {}", line(what)));
    }
    cut(&text)
}

fn reach_words(session: &Session) -> String {
    // Its hooks may hand mail over between tools: none has shown that yet.
    let is_sure = session.state.as_deref() != Some("working") || session.hears.iter().any(|path| path == "tools");
    match session.reach.as_str() {
        "now" => "now",
        "wakeable" => "can be woken",
        "between_tools" => "between tools",
        "next_prompt" if is_sure => "next prompt",
        "next_prompt" => "next prompt?",
        "none" => "cannot hear",
        "" => "-",
        other => return cut(&line(other)),
    }
    .to_owned()
}

/// What only the wide list shows.
fn more(session: &Session, now_ms: i64) -> Vec<(String, Ink)> {
    let text = |text: &Option<String>| cut(&line(text.as_deref().filter(|text| !text.is_empty()).unwrap_or("-")));
    let task = if session.current_task.is_some() { &session.current_task } else { &session.session_name };
    let cells = [
        text(&session.model),
        place(session),
        owner(session),
        cut(&line(&session.connection)),
        text(&session.permission_mode),
        human_age(now_ms.saturating_sub(seen(session))),
        text(task),
        line(&session.id),
    ];
    cells.into_iter().map(|cell| (cell, Ink::Plain)).collect()
}

fn place(session: &Session) -> String {
    match session.project.as_deref() {
        Some(project) if !project.is_empty() => cut(&line(project)),
        _ => cut_front(&line(&session.cwd)),
    }
}

fn owner(session: &Session) -> String {
    let cell = |text: &str| cut(&line(text));
    match (session.operator.as_deref(), session.host.as_ref()) {
        (None, None) => "-".to_owned(),
        (Some(operator), None) => cell(operator),
        (operator, Some(host)) => format!("{}@{}", cell(operator.unwrap_or("-")), cell(&host.name)),
    }
}

/// Cuts cells, of the widest column first, until the table fits.
fn fit(head: &[&str], rows: &mut [Vec<(String, Ink)>]) {
    let mut widths: Vec<usize> = head.iter().map(|name| width(name)).collect();
    for row in rows.iter() {
        widths.iter_mut().zip(row).for_each(|(column, (cell, _))| *column = (*column).max(width(cell)));
    }
    while widths.iter().sum::<usize>() + 2 * (widths.len() - 1) > LIST_COLUMNS_MAX {
        let widest = widths.iter_mut().max();
        match widest.filter(|widest| **widest > LIST_CELL_COLUMNS_MIN) {
            Some(widest) => *widest -= 1,
            None => break,
        }
    }
    for row in rows {
        row.iter_mut().zip(&widths).for_each(|((cell, _), columns)| *cell = cut_to(cell, *columns));
    }
}

/// `marshal ls --names`: the nicknames, sorted, each on a line of its own.
pub(crate) fn names(answer: &Sessions) -> String {
    let mut names: Vec<_> = answer.sessions.iter().map(|session| line(&session.nickname)).collect();
    names.sort();
    names.iter().fold(String::new(), |text, name| text + name + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 00:04:13 UTC
    const NOW: i64 = 1_795_219_453_000;

    fn from(text: &str) -> Sessions {
        serde_json::from_str(text).unwrap()
    }

    fn roster() -> Sessions {
        from(&format!(
            r#"{{"sessions":[
                {{"sessionId":"a1","nickname":"quiet","connection":"hooks","reach":"next_prompt","cwd":"/very/long/path/that/goes/on/and/on/until/it/ends","connectedAt":{old}}},
                {{"sessionId":"b2","nickname":"Ω-web","connection":"connected","reach":"now","state":"working","stateSince":{recent},"tool":"Bash","cwd":"/w",
                  "project":"web","gitBranch":"main","operator":"ana","host":{{"name":"box","os":"linux","arch":"x"}},"agent":"claude",
                  "currentTask":"merge\nit\u001b[2J","connectedAt":{old},"lastActivityAt":{recent},"unread":3,"rooms":["everyone"],"later":{{}}}},
                {{"sessionId":"c3","nickname":"bad\u202ename","connection":"reconnecting","reach":"none","state":"idle","stateSince":{middle},"cwd":"/","connectedAt":{old},"lastActivityAt":{middle}}},
                {{"sessionId":"d4","nickname":"asks","reach":"wakeable","state":"waiting","stateSince":{middle},"waitingFor":"permission: Bash","model":"gpt-5","agent":"codex","connectedAt":{old}}},
                {{"sessionId":"e5","nickname":"asks-longer","reach":"between_tools","state":"waiting","stateSince":{old},"connectedAt":{old}}}
            ]}}"#,
            old = NOW - 7_200_000,
            middle = NOW - 300_000,
            recent = NOW - 12_000,
        ))
    }

    // row 53: AGENT is the agent, MODEL the model.
    #[test]
    fn ls_shows_those_first_who_need_a_human() {
        let expected = "\
NICKNAME     STATE                            AGENT   BRANCH  UNREAD  REACH
asks-longer  waiting 2 h                      -       -       0       between tools
asks         waiting 5 min: permission: Bash  codex   -       0       can be woken
Ω-web        working 12 s: Bash               claude  main    3       now
bad\u{fffd}name     idle 5 min                       -       -       0       cannot hear
quiet        -                                -       -       0       next prompt
";
        assert_eq!(sessions(&roster(), false, &Reader::plain(NOW)), expected);
        let coloured = sessions(&roster(), false, &Reader::coloured(NOW));
        assert!(coloured.contains("\x1b[33mwaiting 2 h\x1b[0m") && coloured.contains("\x1b[31mcannot hear\x1b[0m"));
        assert_eq!(super::names(&roster()), "asks\nasks-longer\nbad\u{fffd}name\nquiet\nΩ-web\n");
        let wide = sessions(&roster(), true, &Reader::plain(NOW));
        assert!(
            wide.contains("ana@box")
                && wide.contains("gpt-5")
                && wide.contains("merge it\u{fffd}[2J")
                && wide.contains("until/it/ends"),
            "{wide}"
        );
    }

    // row 39
    #[test]
    fn the_list_marks_a_reach_that_no_tool_has_shown_yet() {
        let shown = |state: &str, hears: &str| {
            let session = format!(r#"{{"nickname":"s","reach":"next_prompt","state":"{state}","hears":[{hears}]}}"#);
            reach_words(&from(&format!(r#"{{"sessions":[{session}]}}"#)).sessions[0])
        };
        assert_eq!(shown("working", r#""start""#), "next prompt?", "its tools may hand mail over sooner");
        assert_eq!(shown("working", r#""start","tools""#), "next prompt");
        assert_eq!(shown("idle", r#""start""#), "next prompt", "between two turns there are no tools");
    }

    // row 11, row 23
    #[test]
    fn the_list_says_how_a_state_is_known_and_since_when_there_was_no_sign() {
        let shown = |fields: &str| {
            let since = NOW - 600_000;
            let seen = NOW - 240_000;
            let one = format!(r#"{{"sessionId":"i","stateSince":{since},"lastActivityAt":{seen},{fields}}}"#);
            state(&serde_json::from_str(&one).unwrap(), NOW)
        };
        for (fields, expected) in [
            (r#""state":"working","tool":"Bash""#, "working 10 min: Bash"),
            (r#""state":"working","stateBy":"told","tool":"Bash""#, "working 10 min: Bash"),
            (r#""state":"working","stateBy":"seen","tool":"Bash""#, "working (seen) 10 min: Bash"),
            (r#""state":"working","stateBy":"guessed","tool":"Bash""#, "working? silent 4 min: Bash"),
            (
                r#""state":"waiting","stateBy":"guessed","waitingFor":"input","tool":"Bash""#,
                "waiting? silent 4 min: input",
            ),
            (r#""state":"idle","stateBy":"seen""#, "idle (seen) 10 min"),
            (
                r#""state":"paused","stateBy":"told","waitingFor":"its own task: make""#,
                "paused 10 min: its own task: make",
            ),
        ] {
            assert_eq!(shown(fields), expected);
        }
    }

    #[test]
    fn the_list_fits_a_hundred_columns_whatever_the_names() {
        let long = "x".repeat(60);
        let one = |state: &str| {
            format!(
                r#"{{"sessionId":"i","nickname":"{long}","state":"{state}","stateSince":0,"waitingFor":"{long}","model":"{long}",
                "gitBranch":"{long}","reach":"between_tools","unread":12345}}"#
            )
        };
        let list = sessions(
            &from(&format!(r#"{{"sessions":[{},{}]}}"#, one("waiting"), one("idle"))),
            false,
            &Reader::plain(NOW),
        );
        assert!(list.lines().all(|line| width(line) <= LIST_COLUMNS_MAX), "{list}");
        assert!(list.lines().any(|line| width(line) > LIST_COLUMNS_MAX - 8), "and uses them: {list}");
    }
}

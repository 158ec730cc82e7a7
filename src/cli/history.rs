//! `marshal history`: past messages, page by page, and those that come from now on. It must not judge what fits: the
//! daemon does.

use super::args::Parsed;
use super::commands::{Caller, age_ms, parse};
use super::events::Heard;
use super::follow::Following;
use super::reader::Reader;
use super::render::counted;
use super::wire::Messages;
use super::{Problem, World, render, text};
use crate::limits::{PAGE_MESSAGES_DEFAULT, PAGE_MESSAGES_MAX};
use crate::roster::{Cursor, MessageState};
use serde_json::Value;

/// Where the daemon tells of past messages.
const PATH: &str = "/v1/messages";

pub(super) type Query = Vec<(&'static str, String)>;

/// Messages of one or more pages, in order: as the daemon told them, and as they are shown.
#[derive(Default)]
pub(super) struct Found {
    told: Vec<Value>,
    shown: Messages,
    /// The only answer, if it took but one.
    answer: Option<String>,
    /// Whether something fits of which it is not known whether it is older than the rest.
    before: Option<String>,
    newest: Option<String>,
}

/// `marshal history`
pub(crate) fn history(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    let mut query = query(caller, world)?;
    for (_, thread) in query.iter_mut().filter(|(name, _)| *name == "thread") {
        *thread = whole_id(caller, thread)?;
    }
    let limit = caller.limit()?;
    if !caller.parsed.has("follow") {
        let found = look_back(caller, PATH, &query, limit, PAGE_MESSAGES_DEFAULT)?;
        show(caller, world, &found, render::messages)?;
        note_rest(caller, world, &found, "no such messages.");
        return Ok(());
    }
    let mut following = Following::begin(caller)?;
    let found = look_back(caller, PATH, &query, limit, PAGE_MESSAGES_DEFAULT)?;
    show(caller, world, &found, render::messages)?;
    let mut newest = found.newest;
    loop {
        let mut query = query.clone();
        query.extend(newest.iter().map(|newest| ("after", newest.clone())));
        let ask = || look_back(caller, PATH, &query, None, usize::MAX);
        let found = following.next(world, is_of_a_message, |_| Ok(()), ask)?;
        show(caller, world, &found, render::messages)?;
        newest = found.newest.or(newest);
    }
}

fn is_of_a_message(heard: &Heard) -> bool {
    matches!(heard, Heard::Event(name, _) if name == "message" || name == "delivery")
}

/// What the options ask for.
fn query(caller: &Caller<'_>, world: &World<'_>) -> Result<Query, Problem> {
    let parsed = caller.parsed;
    let mut query = Vec::new();
    let texts = [
        ("message", "message"),
        ("session", "session"),
        ("room", "room"),
        ("thread", "thread"),
        ("state", "state"),
        ("q", "search"),
        ("before", "before"),
    ];
    // What can be judged here is no matter for the daemon.
    if let Some(word) = parsed.text("state")?.filter(|word| MessageState::parse(word).is_none()) {
        let words = MessageState::ALL.map(MessageState::as_str).join(", ");
        return Err(parsed.usage(format!("--state {word}: give one of {words}")).into());
    }
    before(parsed)?;
    for (name, option) in texts {
        query.extend(parsed.text(option)?.map(|value| (name, value.to_owned())));
    }
    for name in ["since", "until"] {
        let Some(text) = parsed.text(name)? else { continue };
        let at = moment(text, &world.reader()).ok_or_else(|| {
            parsed.usage(format!(
                "--{name} {text}: give an age (30m, 2h, 3d), a date (2026-11-21), an RFC 3339 time or milliseconds"
            ))
        })?;
        query.push((name, at.to_string()));
    }
    Ok(query)
}

/// Where the page that is asked for ends.
pub(super) fn before(parsed: &Parsed) -> Result<Option<&str>, Problem> {
    let Some(text) = parsed.text("before")? else { return Ok(None) };
    if Cursor::parse(text).is_none() {
        let message =
            format!("--before {text}: give a cursor, as an earlier page named it ('there may be older ones')");
        return Err(parsed.usage(message).into());
    }
    Ok(Some(text))
}

/// The whole id of the message that is meant by the beginning of one: of what comes later, more may begin like it.
fn whole_id(caller: &Caller<'_>, beginning: &str) -> Result<String, Problem> {
    let found: Messages = parse(&caller.get(PATH, &[("message", beginning.to_owned())])?)?;
    Ok(found.messages.into_iter().next().map_or_else(|| beginning.to_owned(), |message| message.id))
}

/// As many as are asked for of the newest messages that fit: the daemon looks at a bounded number of messages for one
/// answer, and says where to go on.
pub(super) fn look_back(
    caller: &Caller<'_>,
    path: &str,
    query: &Query,
    limit: Option<usize>,
    otherwise: usize,
) -> Result<Found, Problem> {
    let wanted = limit.unwrap_or(otherwise);
    let mut found = Found::default();
    let mut cursor: Option<String> = None;
    loop {
        let mut asked = query.clone();
        if let Some(cursor) = cursor.take() {
            asked.retain(|(name, _)| *name != "before");
            asked.push(("before", cursor));
        }
        let missing = (wanted - found.told.len()).min(PAGE_MESSAGES_MAX);
        if limit.is_some() || missing != PAGE_MESSAGES_DEFAULT {
            asked.push(("limit", missing.to_string()));
        }
        let body = caller.get(path, &asked)?;
        let page: Messages = parse(&body)?;
        let told: Value = parse(&body)?;
        let told = told["messages"].as_array().cloned().unwrap_or_default();
        found.answer = if found.newest.is_none() && found.told.is_empty() { Some(body) } else { None };
        found.told.splice(0..0, told);
        found.shown.messages.splice(0..0, page.messages);
        found.newest = found.newest.or(page.newest);
        match page.before {
            Some(before) if found.told.len() < wanted => cursor = Some(before),
            before => {
                found.before = before;
                return Ok(found);
            }
        }
    }
}

/// Says where to go on, or that there is nothing.
pub(super) fn note_rest(caller: &Caller<'_>, world: &mut World<'_>, found: &Found, nothing: &str) {
    if caller.parsed.has("json") && !world.stdout_is_terminal {
        // The answer says so itself, to a program that may take stderr for a fault.
        return;
    }
    match (&found.before, found.told.is_empty()) {
        (Some(cursor), _) => {
            let shown = counted(found.told.len() as u64, "message");
            let cursor = text::shell(cursor);
            world.note(&format!("{shown} shown; there may be older ones: add --before {cursor}"));
        }
        (None, true) => world.note(nothing),
        (None, false) => {}
    }
}

/// Prints what was found, as JSON or as `render` makes text of it.
pub(super) fn show(
    caller: &Caller<'_>,
    world: &mut World<'_>,
    found: &Found,
    render: fn(&Messages, &Reader) -> String,
) -> Result<(), Problem> {
    let follows = caller.parsed.has("follow");
    let text = match caller.parsed.has("json") {
        true if follows => found.told.iter().map(|message| format!("{}\n", text::json(&message.to_string()))).collect(),
        true => match &found.answer {
            Some(answer) => format!("{}\n", text::json(answer.trim_end())),
            None => {
                let mut value = serde_json::json!({ "messages": found.told });
                for (name, cursor) in [("before", &found.before), ("newest", &found.newest)] {
                    if let Some(cursor) = cursor {
                        value[name] = cursor.as_str().into();
                    }
                }
                format!("{}\n", text::json(&value.to_string()))
            }
        },
        false => {
            let mut text = render(&found.shown, &world.reader());
            if follows && !text.is_empty() {
                text.push('\n');
            }
            text
        }
    };
    if text.is_empty() { Ok(()) } else { world.print(&text) }
}

/// A moment in the past: an age, a date (its beginning where the reader is), a time or milliseconds since 1970.
fn moment(text: &str, reader: &Reader) -> Option<i64> {
    if let Ok(ms) = text.parse::<i64>() {
        return (ms >= 0).then_some(ms);
    }
    if let Ok(date) = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return reader.zone.begin_of(date);
    }
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    Some(reader.now_ms.saturating_sub(age_ms(text)?).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_ages_times_and_milliseconds() {
        let now = 1_000_000_000;
        let table = [
            ("90s", Some(now - 90_000)),
            ("30m", Some(now - 1_800_000)),
            ("2h", Some(now - 7_200_000)),
            ("3d", Some(now - 259_200_000)),
            ("1w", Some(now - 604_800_000)),
            ("9999w", Some(0)),
            ("1970-01-02", Some(86_400_000)),
            ("2026-11-21", Some(1_795_219_200_000)),
            ("2026-13-21", None),
            ("2026-11", None),
            ("2026-11-21x", None),
            ("1970-01-02T00:00:00Z", Some(86_400_000)),
            ("1970-01-02T01:00:00+01:00", Some(86_400_000)),
            ("1234", Some(1234)),
            ("-5", None),
            ("-5h", None),
            ("h", None),
            ("2 h", None),
            ("yesterday", None),
            ("2é", None),
        ];
        for (text, expected) in table {
            assert_eq!(moment(text, &Reader::plain(now)), expected, "{text}");
        }
    }
}

//! Which messages the beginning of an id can mean, for people who have given too little of one. It must not choose among
//! them.

use super::commands::{Caller, parse};
use super::text::{cut, line};
use super::wire::{Message, Messages};
use super::{Problem, World};
use crate::limits::{CANDIDATES_MAX, PAGE_MESSAGES_MAX};
use crate::time::human_age;

/// Where the daemon tells of past messages.
const PATH: &str = "/v1/messages";

/// A refusal for an id that can mean several messages, with what these are: the newest first, since the daemon names the
/// oldest, and nobody knows a message by its id alone. Any other problem as it is.
pub(super) fn explained(caller: &Caller<'_>, world: &World<'_>, options: &[&str], problem: Problem) -> Problem {
    if problem.daemon_code != "ambiguous" {
        return problem;
    }
    let mut given = options.iter().filter_map(|name| caller.parsed.text(name).ok()?);
    // A name can be ambiguous as well: then the candidates are names.
    let Some(beginning) = given.find(|text| problem.more.iter().all(|id| id.starts_with(text))) else {
        return problem;
    };
    let found = alike(caller, beginning, &problem.more);
    if found.is_empty() {
        return problem;
    }
    let mut more: Vec<String> = found.iter().take(CANDIDATES_MAX).map(|message| told(message, world.now())).collect();
    if found.len() >= CANDIDATES_MAX {
        more.push("... and there may be others".to_owned());
    }
    Problem { more, ..problem }
}

/// The messages whose ids begin like this, as far as they are among the latest or are named already; the newest first.
fn alike(caller: &Caller<'_>, beginning: &str, named: &[String]) -> Vec<Message> {
    let page = |name, value| {
        let page = caller.get(PATH, &[(name, value)]).and_then(|body| parse::<Messages>(&body));
        // Without an answer there are still the ids that the daemon has named.
        page.map(|page| page.messages).unwrap_or_default()
    };
    let mut found = page("limit", PAGE_MESSAGES_MAX.to_string());
    found.retain(|message| message.id.starts_with(beginning));
    for id in named {
        if found.len() < CANDIDATES_MAX && found.iter().all(|message| message.id != *id) {
            found.extend(page("message", id.clone()));
        }
    }
    found.sort_by(|a, b| (b.sent_at, &b.id).cmp(&(a.sent_at, &a.id)));
    found
}

/// A message on one line: its id, its age, from whom and for whom, and how it begins.
fn told(message: &Message, now_ms: i64) -> String {
    let to = match &message.to_room_id {
        Some(room) => format!("@{}", line(room)),
        None => line(&message.to_nick),
    };
    let (from, text) = (cut(&line(&message.from_nick)), cut(&line(message.body.trim())));
    let age = human_age(now_ms.saturating_sub(message.sent_at));
    format!("{}  {age} ago  {from} -> {}: {text}", line(&message.id), cut(&to))
}

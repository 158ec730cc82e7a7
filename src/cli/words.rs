//! Where a message is, in words for people: pure functions of the daemon's answer. They must not say more than it does, and
//! no text of the daemon may pass through them without `text::line`.

use super::reader::Reader;
use super::text::{line, shell};
use super::wire::{Delivery, mentioned};
use crate::ids::HUMAN_PREFIX;

/// Where a message is for one of its recipients.
pub(crate) fn delivery(delivery: &Delivery, reader: &Reader) -> String {
    delivery_among(delivery, &[], reader)
}

/// The same, where `all` its recipients are known: whoever took it over is told by name if it is among them.
pub(crate) fn delivery_among(delivery: &Delivery, all: &[Delivery], reader: &Reader) -> String {
    let at = reader.zone.clock(delivery.at);
    let by = || line(delivery.by.as_deref().unwrap_or("?"));
    let heir = || all.iter().find(|other| delivery.by.as_ref() == Some(&other.session_id));
    match delivery.state.as_str() {
        "queued" if delivery.session_id.starts_with(HUMAN_PREFIX) => waits_for_person(&delivery.session_id, reader),
        "queued" => queued(delivery).to_owned(),
        "handed" => {
            let again = if delivery.times_handed > 1 {
                format!(", {} times so far", delivery.times_handed)
            } else {
                String::new()
            };
            format!("handed at {at} by {}{again}; not known to be read", path(delivery.path.as_deref()))
        }
        "read" => format!("read at {at}{}", evidence(delivery.evidence.as_deref())),
        "expired" => format!("not read before it expired at {at}"),
        "superseded" => {
            let by = mentioned(delivery.by.as_deref().unwrap_or("?"));
            format!("not read before message {by} came in its place at {at}")
        }
        "undeliverable" => format!("undeliverable since {at}: {}", reason(delivery.reason.as_deref())),
        "claimed" => {
            let name = delivery.by_nickname.as_ref().or_else(|| heir().map(|heir| &heir.nickname));
            let name = name.filter(|name| !name.is_empty()).map(|name| line(name));
            format!("taken over by {} at {at}", name.unwrap_or_else(by))
        }
        other => line(other),
    }
}

/// For a person, who can be somebody else than the one who reads this.
pub(crate) fn waits_for_person(id: &str, reader: &Reader) -> String {
    let name = id.strip_prefix(HUMAN_PREFIX).unwrap_or(id);
    format!("waits in that person's inbox: {} inbox --human {}", reader.program, shell(name))
}

fn queued(delivery: &Delivery) -> &'static str {
    match delivery.reason.as_deref() {
        Some("on_its_way") => "is on its way",
        Some("working") => "is working: waits for the end of its turn",
        Some("between_tools") => "is working: waits for the end of the tool that it uses",
        Some("no_live_path") => "waits until it looks into its inbox: nothing shows how it would hear of it",
        Some("ended") => "has ended: kept until it comes back",
        Some("needs_human") => "waits for its human, and the message with it",
        Some("held") => "waits for its next prompt: mail has prolonged its turn often enough",
        _ => "waits for its next prompt",
    }
}

fn path(path: Option<&str>) -> String {
    match path {
        Some("start") => "the hook of its start".to_owned(),
        Some("prompt") => "the prompt hook".to_owned(),
        Some("tools") => "a hook between tools".to_owned(),
        Some("stop") => "the hook at its turn's end".to_owned(),
        Some("wait") => "waking it".to_owned(),
        Some("push") => "a push to its client".to_owned(),
        Some("inbox") => "its inbox".to_owned(),
        other => line(other.unwrap_or("an unknown way")),
    }
}

fn evidence(evidence: Option<&str>) -> String {
    match evidence {
        Some("ack") => " (it said so)".to_owned(),
        Some("operator") => " (taken by the operator)".to_owned(),
        Some("client") => " (its client put it before the model)".to_owned(),
        Some("quoted") => " (its next prompt quoted it)".to_owned(),
        Some("went_on") => " (it went on with it)".to_owned(),
        Some(other) => format!(" ({})", line(other)),
        None => String::new(),
    }
}

fn reason(reason: Option<&str>) -> String {
    match reason {
        Some("session_ended") => "the session ended and did not come back".to_owned(),
        Some("left_room") => "it left the room before it was known to have read it".to_owned(),
        Some("never_proved") => "handed again and again without a sign that it was read".to_owned(),
        other => line(other.unwrap_or("nobody said why")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_words_of_its_own() {
        let of = |json: &str| delivery(&serde_json::from_str(json).unwrap(), &Reader::plain(0));
        assert_eq!(of(r#"{"state":"queued","reason":"between_turns"}"#), "waits for its next prompt");
        assert_eq!(of(r#"{"state":"queued","reason":"ended"}"#), "has ended: kept until it comes back");
        assert_eq!(
            of(r#"{"state":"queued","sessionId":"human:a","reason":"no_live_path"}"#),
            "waits in that person's inbox: marshal inbox --human a"
        );
        assert_eq!(
            of(r#"{"state":"queued","sessionId":"human:it's\u001b"}"#),
            "waits in that person's inbox: marshal inbox --human 'it'\\''s\u{fffd}'"
        );
        assert_eq!(
            of(r#"{"state":"handed","path":"prompt","at":1795219453000,"timesHanded":2}"#),
            "handed at 00:04:13 UTC by the prompt hook, 2 times so far; not known to be read"
        );
        assert_eq!(of(r#"{"state":"read","at":0,"evidence":"ack"}"#), "read at 00:00:00 UTC (it said so)");
        assert_eq!(
            of(r#"{"state":"read","at":0,"evidence":"operator"}"#),
            "read at 00:00:00 UTC (taken by the operator)"
        );
        assert_eq!(
            of(r#"{"state":"undeliverable","at":0,"reason":"never_proved"}"#),
            "undeliverable since 00:00:00 UTC: handed again and again without a sign that it was read"
        );
        assert_eq!(
            of(r#"{"state":"undeliverable","at":0,"reason":"left_room"}"#),
            "undeliverable since 00:00:00 UTC: it left the room before it was known to have read it"
        );
        assert_eq!(
            of(r#"{"state":"superseded","at":0,"by":"m\u001b2"}"#),
            "not read before message m\u{fffd}2 came in its place at 00:00:00 UTC"
        );
        assert_eq!(of(r#"{"state":"later\u0007"}"#), "later\u{fffd}");
        let reasons = ["on_its_way", "between_turns", "working", "between_tools", "no_live_path", "ended", "held"];
        let all: std::collections::BTreeSet<String> =
            reasons.iter().map(|reason| of(&format!(r#"{{"state":"queued","reason":"{reason}"}}"#))).collect();
        assert_eq!(all.len(), reasons.len());
    }
}

//! Where a message is, in words. It must not say more than the daemon does.

use super::text::line;
use super::wire::Delivery;
use crate::time::human_age;

/// Where a message is for one recipient.
pub(crate) fn standing(delivery: &Delivery, now_ms: i64) -> String {
    let ago = delivery.at.map(|at| format!(" {} ago", human_age(now_ms.saturating_sub(at)))).unwrap_or_default();
    let reason = delivery.reason.as_deref().unwrap_or_default();
    let by = || line(delivery.by.as_deref().unwrap_or("another one"));
    match delivery.state.as_str() {
        "queued" => format!("queued: {}", queued(reason)),
        "handed" => {
            let times = match delivery.times_handed {
                0 | 1 => String::new(),
                times => format!(" for the {}", ordinal(times)),
            };
            format!("handed over{ago}{times} {}, not known to be read", path(delivery.path.as_deref()))
        }
        "read" => format!("read{ago}{}", evidence(delivery.evidence.as_deref())),
        "expired" => format!("expired{ago}, unread"),
        "superseded" => format!("superseded{ago} by {}", by()),
        "undeliverable" => format!("undeliverable since{}: {}", ago.trim_end_matches(" ago"), undeliverable(reason)),
        "claimed" => format!("taken over{ago} by {}", by()),
        other => line(other),
    }
}

fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (1, rest) if rest != 11 => "st",
        (2, rest) if rest != 12 => "nd",
        (3, rest) if rest != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending} time")
}

fn queued(reason: &str) -> String {
    match reason {
        "on_its_way" => "it is on its way",
        "between_turns" => "waits for its next prompt",
        "working" => "waits for the end of its turn",
        "between_tools" => "waits for the end of its tool",
        "no_live_path" => "waits in its inbox",
        "ended" => "its session has ended; waits for it to come back",
        "held" => "held for a while",
        other => return line(other),
    }
    .to_owned()
}

fn path(path: Option<&str>) -> String {
    match path {
        Some("start") => "when it started",
        Some("prompt") => "with a prompt",
        Some("tools") => "between two tools",
        Some("stop") => "at the end of a turn",
        Some("wait") => "by waking it",
        Some("push") => "by a push",
        Some("inbox") => "in its inbox",
        Some(other) => return line(other),
        None => "",
    }
    .to_owned()
}

fn evidence(evidence: Option<&str>) -> String {
    match evidence {
        Some("ack") => ", as it said itself",
        Some("client") => ", as its client showed it",
        Some("quoted") => ", as its prompt quotes it",
        Some("went_on") => ", as it went on from there",
        Some(other) => return format!(" ({})", line(other)),
        None => "",
    }
    .to_owned()
}

fn undeliverable(reason: &str) -> String {
    match reason {
        "session_ended" => "its session ended and did not come back",
        "never_proved" => "there was never a sign that it was read",
        other => return line(other),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_words() {
        let table = [
            (r#"{"state":"queued","reason":"between_turns"}"#, "queued: waits for its next prompt"),
            (r#"{"state":"queued","reason":"later\u001b"}"#, "queued: later\u{fffd}"),
            (
                r#"{"state":"handed","path":"stop","at":1000,"timesHanded":1}"#,
                "handed over 9 s ago at the end of a turn, not known to be read",
            ),
            (
                r#"{"state":"handed","path":"wait","at":1000,"timesHanded":2}"#,
                "handed over 9 s ago for the 2nd time by waking it, not known to be read",
            ),
            (
                r#"{"state":"read","at":1000,"evidence":"went_on","path":"prompt"}"#,
                "read 9 s ago, as it went on from there",
            ),
            (r#"{"state":"read","at":1000}"#, "read 9 s ago"),
            (r#"{"state":"expired","at":1000}"#, "expired 9 s ago, unread"),
            (r#"{"state":"superseded","at":1000,"by":"m2"}"#, "superseded 9 s ago by m2"),
            (
                r#"{"state":"undeliverable","at":1000,"reason":"session_ended"}"#,
                "undeliverable since 9 s: its session ended and did not come back",
            ),
            (r#"{"state":"claimed","at":1000,"by":"s2"}"#, "taken over 9 s ago by s2"),
            (r#"{"state":"later"}"#, "later"),
        ];
        for (json, words) in table {
            assert_eq!(standing(&serde_json::from_str(json).unwrap(), 10_000), words, "{json}");
        }
        assert_eq!(
            [1, 2, 3, 4, 11, 12, 13, 22].map(ordinal).map(|o| o.replace(" time", "")),
            ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "22nd"]
        );
    }
}

//! The daemon's answers as text for people: pure functions of the answer and the time. They must not print, and no
//! text of the daemon may pass through them without `text::line` or `text::block`.

use super::reader::Reader;
use super::text::{Ink, block, cut, ink, line, table};
use super::wire::{
    Compacted, Delivery, Message, Messages, Recipient, Room, Rooms, Sent, Status, Supersedes, mentioned,
};
use super::words;
use crate::event_log::MALFORMED_NAME;
use crate::event_log::survey::{Ending, Survey};
use crate::ids::{HUMAN_PREFIX, NOTICE_SENDER};
use crate::limits::{COMPACT_OVER_BYTES, COMPACT_RATIO, RECIPIENTS_SHOWN_MAX, ROOM_MEMBERS_SHOWN_MAX};
use crate::model::{ItemType, Proof, proof_words};
use crate::time::human_age;
use std::fmt::Write;

/// `marshal rooms`
pub(crate) fn rooms(answer: &Rooms, colour: bool) -> String {
    let mut rooms: Vec<&Room> = answer.rooms.iter().collect();
    rooms.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    let rows = rooms.into_iter().map(|room| [room_name(room), line(&room.kind.kind), members(room)]);
    let rows: Vec<_> = rows.map(|row| row.map(|cell| (cell, Ink::Plain)).to_vec()).collect();
    table(&["ROOM", "KIND", "MEMBERS"], &rows, colour)
}

/// The name under which the room can be written to, and the id where it is another.
fn room_name(room: &Room) -> String {
    if room.name == room.id || room.name.is_empty() {
        return format!("@{}", line(&room.id));
    }
    format!("@{} ({})", line(&room.id), cut(&line(&room.name)))
}

fn members(room: &Room) -> String {
    let mut names: Vec<_> = room.members.iter().map(|member| cut(&line(&member.nickname))).collect();
    names.sort();
    let count = names.len();
    let mut text = count.to_string();
    if count > 0 {
        let shown = names.len().min(ROOM_MEMBERS_SHOWN_MAX);
        let _ = write!(text, ": {}", names[..shown].join(", "));
    }
    if count > ROOM_MEMBERS_SHOWN_MAX {
        let _ = write!(text, ", +{}", count - ROOM_MEMBERS_SHOWN_MAX);
    }
    text
}

/// `marshal inbox` and `marshal history`: one block for each message, an empty line between them.
pub(crate) fn messages(answer: &Messages, reader: &Reader) -> String {
    let blocks: Vec<_> = answer.messages.iter().map(|message| message_block(message, reader)).collect();
    blocks.join("\n")
}

fn message_block(message: &Message, reader: &Reader) -> String {
    let from = ink(&sender(message), Ink::Bold, reader.colour);
    let age = human_age(reader.now_ms.saturating_sub(message.sent_at));
    let mut text = format!(
        "{} ({age} ago)  {from} -> {}\n{}  message {}",
        reader.zone.moment(message.sent_at),
        recipient(message),
        block(&message.body),
        message.shown_id(),
    );
    let from_human = message.from_session_id.starts_with(HUMAN_PREFIX);
    let proof = message.proof.as_deref().and_then(Proof::parse);
    // No session can have this id.
    let is_notice = message.from_session_id == NOTICE_SENDER && proof.is_none();
    let known = if is_notice { "from the daemon itself" } else { proof_words(proof, from_human) };
    let _ = write!(text, ", {known}");
    if let Some(readers) = message.read_by {
        let _ = write!(text, ", read by {readers}");
    }
    if let Some(waiting) = message.waiting_for.filter(|waiting| *waiting > 0) {
        let _ = write!(text, ", waiting for {waiting}");
    }
    text.push('\n');
    text.push_str(&terms(message, reader));
    for delivery in &message.deliveries {
        let _ = writeln!(
            text,
            "    {}: {}",
            line(&delivery.nickname),
            words::delivery_among(delivery, &message.deliveries, reader)
        );
    }
    text
}

/// On what terms it was sent, if not on the usual ones.
fn terms(message: &Message, reader: &Reader) -> String {
    let id = |id: &Option<String>| id.as_deref().map(mentioned);
    let at = |at: Option<i64>| at.map(|at| reader.zone.moment(at));
    let parts = [
        message.priority.as_deref().map(|priority| format!("priority {}", line(priority))),
        id(&message.reply_to).map(|id| format!("in reply to {id}")),
        id(&message.supersedes).map(|id| format!("in place of {id}")),
        at(message.reply_by).map(|at| format!("reply expected by {at}")),
        at(message.expires_at).map(|at| format!("expires at {at}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("    {}\n", parts.join(", ")) }
}

/// The sender's name. A person's is told from a session's that is called the same.
fn sender(message: &Message) -> String {
    let id = &message.from_session_id;
    if id.starts_with(HUMAN_PREFIX) || message.from_nick.is_empty() { line(id) } else { line(&message.from_nick) }
}

fn recipient(message: &Message) -> String {
    match (&message.to_room_id, &message.to_session_id) {
        (Some(room), _) => format!("@{}", line(room)),
        (None, _) if !message.to_nick.is_empty() => line(&message.to_nick),
        (None, Some(session)) => line(session),
        (None, None) => "?".to_owned(),
    }
}

/// `marshal send`: where the message is now, and nothing that is not known.
pub(crate) fn sent(answer: &Sent, reader: &Reader) -> String {
    let mut text = match answer.messages.is_empty() {
        true => sent_one(answer, answer.duplicate, reader),
        false => answer.messages.iter().map(|one| sent_one(one, answer.duplicate, reader)).collect(),
    };
    if let Some(supersedes) = &answer.supersedes {
        text.push_str(&replaced(supersedes, &answer.message_id, reader));
    }
    text
}

/// What became of the older message that was to be replaced by `newer`.
fn replaced(older: &Supersedes, newer: &str, reader: &Reader) -> String {
    let is_replaced = |delivery: &&Delivery| delivery.state == "superseded" && delivery.by.as_deref() == Some(newer);
    let (id, count, of) = (mentioned(&older.message_id), older.replaced, older.of);
    let mut text = match older.deliveries.as_slice() {
        _ if count == 0 => format!("did not replace {id}"),
        [one] if of == 1 => format!("replaced {id} for {}", line(&one.nickname)),
        _ => format!("replaced {id} for {count} of {of}"),
    };
    // Being handed over is no proof of being read, and none of not being read.
    let seen = older.deliveries.iter().filter(is_replaced).filter(|delivery| delivery.times_handed > 0).count();
    match (seen, count) {
        (0, _) => {}
        (1, 1) => text.push_str(" (it had been handed over, and may have been read)"),
        (seen, _) => {
            let _ = write!(text, " (to {seen} of them it had been handed over, and may have been read)");
        }
    }
    if count == 0 && of == 0 {
        text.push_str(": it is for nobody any more");
    }
    text.push('\n');
    for delivery in older.deliveries.iter().filter(|delivery| !is_replaced(delivery)).take(RECIPIENTS_SHOWN_MAX) {
        let _ = writeln!(text, "  {} ({})", line(&delivery.nickname), words::delivery(delivery, reader));
    }
    let others = of.saturating_sub(count);
    if others > RECIPIENTS_SHOWN_MAX {
        let _ = writeln!(text, "  +{} more", others - RECIPIENTS_SHOWN_MAX);
    }
    text
}

fn sent_one(answer: &Sent, duplicate: bool, reader: &Reader) -> String {
    let id = answer.shown_id();
    let stored = if duplicate { "sent before as" } else { "stored as" };
    let to_room = answer.to.starts_with('@');
    if let ([one], false) = (answer.recipients.as_slice(), to_room) {
        return format!(
            "{stored} {id} for {} ({})\n",
            line(&answer.to_nick),
            whereabouts(one, &answer.deliveries, reader)
        );
    }
    let name = if to_room || answer.to_nick.is_empty() { &answer.to } else { &answer.to_nick };
    let mut text = format!("{stored} {id} for {}", line(name));
    if answer.recipients.is_empty() {
        text.push_str(if to_room { " (nobody else is in it)\n" } else { "\n" });
        return text;
    }
    text.push('\n');
    for recipient in answer.recipients.iter().take(RECIPIENTS_SHOWN_MAX) {
        let where_it_is = whereabouts(recipient, &answer.deliveries, reader);
        let _ = writeln!(text, "  {} ({where_it_is})", line(&recipient.nickname));
    }
    if answer.recipients.len() > RECIPIENTS_SHOWN_MAX {
        let _ = writeln!(text, "  +{} more", answer.recipients.len() - RECIPIENTS_SHOWN_MAX);
    }
    for covered in answer.covered.iter().take(RECIPIENTS_SHOWN_MAX) {
        let name = covered.room_id.as_ref().map_or_else(|| line(&covered.nickname), |room| format!("@{}", line(room)));
        let _ = writeln!(text, "  {name} (also addressed; gets it once, as {})", mentioned(&covered.message_id));
    }
    if answer.covered.len() > RECIPIENTS_SHOWN_MAX {
        let _ = writeln!(text, "  +{} more that get it once", answer.covered.len() - RECIPIENTS_SHOWN_MAX);
    }
    text
}

fn whereabouts(recipient: &Recipient, deliveries: &[Delivery], reader: &Reader) -> String {
    let known = deliveries.iter().find(|delivery| delivery.session_id == recipient.session_id);
    match (recipient, known) {
        (Recipient { live: true, .. }, _) => "connected: pushed to its client".to_owned(),
        (_, Some(delivery)) => words::delivery(delivery, reader),
        // What an earlier daemon says nothing of.
        (Recipient { session_id, .. }, None) if session_id.starts_with(HUMAN_PREFIX) => {
            words::waits_for_person(session_id, reader)
        }
        _ => "waits for its next prompt".to_owned(),
    }
}

/// `marshal status`
pub(crate) fn status(answer: &Status, reader: &Reader) -> String {
    let colour = reader.colour;
    let health = if answer.health == "ok" { Ink::Green } else { Ink::Red };
    let open = answer.auth == "none";
    let auth = if open { "none (anybody on this machine can speak as any session)" } else { &line(&answer.auth) };
    let rows = [
        ("health", ink(&line(&answer.health), health, colour)),
        ("version", line(&answer.version)),
        ("pid", answer.pid.to_string()),
        ("uptime", human_age(answer.uptime_ms)),
        ("state dir", line(&answer.state_dir)),
        ("hooks", line(&answer.hooks)),
        ("websocket", line(&answer.websocket)),
        ("socket", line(&answer.socket)),
        ("auth", ink(auth, if open { Ink::Yellow } else { Ink::Plain }, colour)),
        ("sessions", answer.sessions.to_string()),
        ("clients", answer.clients.to_string()),
        ("rooms", answer.rooms.to_string()),
        ("messages", answer.messages.to_string()),
        ("log", format!("{} (of which {} count)", bytes(answer.log_bytes), bytes(answer.log_live_bytes))),
        ("malformed", malformed(answer.malformed_lines, &reader.program)),
    ];
    rows.iter().fold(String::new(), |text, (key, value)| text + &format!("{key:<11}{value}\n"))
}

fn malformed(lines: u64, program: &str) -> String {
    let hint = if lines > 0 { format!(" ('{program} log check' names them)") } else { String::new() };
    counted(lines, "line") + &hint
}

/// A number of things.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Lines that cannot be read.
pub(crate) fn unreadable(lines: u64) -> String {
    counted(lines, "line") + " that cannot be read"
}

/// `marshal compact`
pub(crate) fn compacted(answer: &Compacted) -> String {
    format!("the log had {} and has {}\n", counted(answer.bytes_before, "byte"), answer.bytes_after)
}

/// `marshal log repair`
pub(crate) fn repaired(answer: &Compacted) -> String {
    format!("moved {} to {MALFORMED_NAME}; {}", unreadable(answer.malformed_lines_moved), compacted(answer))
}

/// `marshal log check`
pub(crate) fn log_check(survey: &Survey, suspect: bool, program: &str) -> String {
    let mut text = format!("{}, {}\n", counted(survey.lines, "line"), bytes(survey.bytes));
    if survey.malformed > 0 {
        let _ = writeln!(text, "{}, which the daemon skips:", unreadable(survey.malformed));
    }
    for bad in &survey.named {
        let _ = writeln!(text, "  line {}, byte {}: {}", bad.number, bad.offset, line(&bad.reason));
    }
    let rest = survey.malformed - survey.named.len() as u64;
    if rest > 0 {
        let _ = writeln!(text, "  and {rest} more");
    }
    text.push_str(match survey.ending {
        Ending::Whole => "",
        Ending::EventWithoutNewline => "the last line lacks its newline; its event counts\n",
        Ending::HalfAnEvent => {
            "the last line is half an event, which is skipped: after a crash, one that nobody was told of; if somebody cut the file, one that is lost\n"
        }
    });
    if suspect {
        text.push_str("the disk failed under this log: the next start of the daemon writes it anew\n");
    }
    match (survey.malformed, survey.ending, suspect) {
        (0, Ending::Whole | Ending::EventWithoutNewline, false) => text.push_str("the log is sound\n"),
        (0, Ending::Whole | Ending::EventWithoutNewline, true) => {}
        _ => {
            let (with, without) = (format!("'{program} compact'"), format!("'{program} log repair'"));
            let _ =
                writeln!(text, "{with} (or {without} where no daemon runs) moves what cannot be read to a side file");
        }
    }
    text
}

/// `marshal log stats`
pub(crate) fn log_stats(survey: &Survey, reader: &Reader) -> String {
    let row = |cells: [String; 5]| cells.map(|cell| (cell, Ink::Plain)).to_vec();
    let mut rows: Vec<_> = Vec::new();
    for (name, counts) in &survey.types {
        let known = ItemType::parse(name).is_some();
        let living = if known { counts.living.to_string() } else { "-".to_owned() };
        rows.push(row([
            cut(&line(name)),
            living,
            counts.events.to_string(),
            bytes(counts.bytes),
            bytes(counts.live_bytes),
        ]));
    }
    let mut text = table(&["TYPE", "LIVING", "EVENTS", "BYTES", "LIVE BYTES"], &rows, reader.colour);
    let _ = writeln!(
        text,
        "{}, {}, of which {} count; compacted by the daemon when over {} and {COMPACT_RATIO} times that",
        counted(survey.lines, "line"),
        bytes(survey.bytes),
        bytes(survey.live_bytes()),
        bytes(COMPACT_OVER_BYTES),
    );
    if survey.malformed > 0 || survey.ending == Ending::HalfAnEvent {
        let half = if survey.ending == Ending::HalfAnEvent { " and half an event at the end" } else { "" };
        let _ = writeln!(text, "{}{half}: see '{} log check'", unreadable(survey.malformed), reader.program);
    }
    text
}

fn bytes(count: u64) -> String {
    const KIB: u64 = 1024;
    match count {
        0..KIB => format!("{count} B"),
        KIB..1_048_576 => format!("{} KiB", count / KIB),
        _ => format!("{} MiB", count / (KIB * KIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 00:04:13 UTC
    const NOW: i64 = 1_795_219_453_000;

    fn from<T: serde::de::DeserializeOwned>(text: &str) -> T {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn rooms_are_named_as_they_are_written_to() {
        let members: Vec<_> = (1..=10).map(|n| format!(r#"{{"sessionId":"s{n}","nickname":"n{n:02}"}}"#)).collect();
        let answer: Rooms = from(&format!(
            r#"{{"rooms":[
                {{"roomId":"release-talk","name":"Release talk","kind":{{"kind":"adhoc"}},"members":[]}},
                {{"roomId":"everyone","name":"everyone","kind":{{"kind":"auto","source":{{"anchor":"everyone"}}}},"members":[{}]}}
            ]}}"#,
            members.join(",")
        ));
        let expected = "\
ROOM                          KIND   MEMBERS
@release-talk (Release talk)  adhoc  0
@everyone                     auto   10: n01, n02, n03, n04, n05, n06, n07, n08, +2
";
        assert_eq!(rooms(&answer, false), expected);
    }

    #[test]
    fn a_message_is_a_block_that_its_body_cannot_leave() {
        let answer: Messages = from(&format!(
            r#"{{"messages":[
                {{"messageId":"m1","fromSessionId":"s1","fromNick":"otter","toSessionId":"s2","toNick":"heron",
                  "body":"first\n  message m0, read by 9\u001b[A\n","sentAt":{first},"proof":"process","readBy":0,"waitingFor":1}},
                {{"messageId":"m2","fromSessionId":"human:ana","fromNick":"ana","toRoomId":"everyone","toNick":"everyone",
                  "body":"hi","sentAt":{second}}}
            ],"before":"7-m"}}"#,
            first = NOW - 240_000,
            second = NOW,
        ));
        let expected = "\
2026-11-21 00:00:13 UTC (4 min ago)  otter -> heron
    first
      message m0, read by 9\u{fffd}[A
  message m1, verified by its process, read by 0, waiting for 1

2026-11-21 00:04:13 UTC (0 s ago)  human:ana -> @everyone
    hi
  message m2, sender not verified
";
        assert_eq!(messages(&answer, &Reader::plain(NOW)), expected);
        assert_eq!(answer.before.as_deref(), Some("7-m"));
    }

    #[test]
    fn send_says_where_the_message_is_and_no_more() {
        let one = |id: &str, live: bool| {
            let text = r#"{"messageId":"m1","to":"s1","toNick":"proj@1234","recipients":[{"sessionId":"ID","nickname":"n","live":LIVE}]}"#;
            sent(&from(&text.replace("ID", id).replace("LIVE", &live.to_string())), &Reader::plain(NOW))
        };
        assert_eq!(one("s1", true), "stored as m1 for proj@1234 (connected: pushed to its client)\n");
        assert_eq!(one("s1", false), "stored as m1 for proj@1234 (waits for its next prompt)\n");
        assert_eq!(
            one("human:ana", false),
            "stored as m1 for proj@1234 (waits in that person's inbox: marshal inbox --human ana)\n"
        );
        let recipients: Vec<_> =
            (0..12).map(|n| format!(r#"{{"sessionId":"s{n}","nickname":"n{n}","live":{}}}"#, n == 0)).collect();
        let text = format!(r#"{{"messageId":"m","to":"@all","toNick":"all","recipients":[{}]}}"#, recipients.join(","));
        let lines = sent(&from(&text), &Reader::plain(NOW));
        assert!(lines.starts_with(
            "stored as m for @all\n  n0 (connected: pushed to its client)\n  n1 (waits for its next prompt)\n"
        ));
        assert!(lines.ends_with("  n9 (waits for its next prompt)\n  +2 more\n"), "{lines}");
        assert_eq!(
            sent(&from(r#"{"messageId":"m","to":"@e"}"#), &Reader::plain(NOW)),
            "stored as m for @e (nobody else is in it)\n"
        );
        assert_eq!(
            sent(&from(r#"{"messageId":"m","to":"s","toNick":"n"}"#), &Reader::plain(NOW)),
            "stored as m for n\n"
        );
    }

    #[test]
    fn send_names_those_that_were_addressed_twice() {
        let text = |covered: &str| {
            let to = r#"{"messageId":"m2","to":"@b","toNick":"b","recipients":[{"sessionId":"s1","nickname":"n","live":false}]"#;
            sent(&from(&format!(r#"{to},"covered":[{covered}]}}"#)), &Reader::plain(NOW))
        };
        let one = r#"{"sessionId":"s2","nickname":"o\u001b","messageId":"m1"}"#;
        let room = r#"{"roomId":"c","name":"C","messageId":"m2"}"#;
        let head = "stored as m2 for @b\n  n (waits for its next prompt)\n";
        let expected =
            "  o\u{fffd} (also addressed; gets it once, as m1)\n  @c (also addressed; gets it once, as m2)\n";
        assert_eq!(text(&format!("{one},{room}")), format!("{head}{expected}"));
        let many = [one; RECIPIENTS_SHOWN_MAX + 2].join(",");
        assert!(text(&many).ends_with(", as m1)\n  +2 more that get it once\n"));
    }

    #[test]
    fn send_says_for_whom_an_older_message_is_replaced() {
        let text = |count: usize, of: usize, deliveries: &str| {
            let older = format!(r#"{{"messageId":"m1","replaced":{count},"of":{of},"deliveries":[{deliveries}]}}"#);
            let text = format!(r#"{{"messageId":"m2","to":"s","toNick":"n","supersedes":{older}}}"#);
            sent(&from(&text), &Reader::plain(NOW)).replace("stored as m2 for n\n", "")
        };
        let fresh = r#"{"nickname":"a","state":"superseded","by":"m2"}"#;
        let handed = r#"{"nickname":"b","state":"superseded","by":"m2","timesHanded":1}"#;
        let read = r#"{"nickname":"c\u001b","state":"read","at":0,"evidence":"ack"}"#;
        let other = r#"{"nickname":"d","state":"superseded","by":"m0","at":0}"#;
        assert_eq!(text(1, 1, fresh), "replaced m1 for a\n");
        let expected = "replaced m1 for b (it had been handed over, and may have been read)\n";
        assert_eq!(text(1, 1, handed), expected);
        assert_eq!(text(0, 1, read), "did not replace m1\n  c\u{fffd} (read at 00:00:00 UTC (it said so))\n");
        assert_eq!(text(0, 0, ""), "did not replace m1: it is for nobody any more\n");
        let all = format!("{read},{other},{fresh},{handed}");
        let expected = "replaced m1 for 2 of 4 (to 1 of them it had been handed over, and may have been read)\n  \
                        c\u{fffd} (read at 00:00:00 UTC (it said so))\n  \
                        d (not read before message m0 came in its place at 00:00:00 UTC)\n";
        assert_eq!(text(2, 4, &all), expected);
        let many = [read; RECIPIENTS_SHOWN_MAX + 2].join(",");
        assert!(text(1, RECIPIENTS_SHOWN_MAX + 3, &many).ends_with("\n  +2 more\n"));
    }

    #[test]
    fn status_is_a_list_of_keys_and_values() {
        let answer: Status = from(
            r#"{"version":"1.0.0","pid":12,"uptimeMs":7200000,"stateDir":"/s","hooks":"127.0.0.1:6156","websocket":"127.0.0.1:6155",
            "socket":"/s/marshal.sock","auth":"token","health":"ok","sessions":1,"clients":2,"rooms":3,"messages":4,"logBytes":2048,"logLiveBytes":1024,"malformedLines":0}"#,
        );
        let expected = "\
health     ok
version    1.0.0
pid        12
uptime     2 h
state dir  /s
hooks      127.0.0.1:6156
websocket  127.0.0.1:6155
socket     /s/marshal.sock
auth       token
sessions   1
clients    2
rooms      3
messages   4
log        2 KiB (of which 1 KiB count)
malformed  0 lines
";
        assert_eq!(status(&answer, &Reader::plain(NOW)), expected);
    }
}

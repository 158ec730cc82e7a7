//! `marshal outbox`: what somebody has sent, and what has become of it for each recipient. It must not say more of a message
//! than the daemon does.

use super::commands::Caller;
use super::history::{Query, before, look_back, note_rest, show};
use super::identity::answer_about;
use super::reader::Reader;
use super::text::{Ink, cut, line, table};
use super::wire::{Delivery, Message, Messages};
use super::{Problem, World, words};
use crate::limits::PAGE_MESSAGES_DEFAULT;
use crate::time::human_age;

/// `marshal outbox`
pub(crate) fn outbox(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    let limit = caller.limit()?;
    let speaker = caller.speaker(world, "session", "human")?;
    let mut query: Query = vec![speaker.query()];
    query.extend(before(caller.parsed)?.map(|cursor| ("before", cursor.to_owned())));
    let found = look_back(caller, "/v1/outbox", &query, limit, PAGE_MESSAGES_DEFAULT);
    let found = answer_about(&speaker, found)?;
    show(caller, world, &found, sent)?;
    note_rest(caller, world, &found, "nothing was sent yet.");
    Ok(())
}

/// A line for each message, and for each of its recipients but the first; the newest message last.
fn sent(answer: &Messages, reader: &Reader) -> String {
    let rows: Vec<_> = answer.messages.iter().flat_map(|message| lines(message, reader)).collect();
    if rows.is_empty() {
        String::new()
    } else {
        table(&["SENT", "MESSAGE", "TO", "TEXT", "STATE"], &rows, reader.colour)
    }
}

fn lines(message: &Message, reader: &Reader) -> Vec<Vec<(String, Ink)>> {
    let room = message.to_room_id.as_deref().map(|room| cut(&format!("@{}", line(room))));
    let row = |to: String, (state, ink): (String, Ink)| {
        let sent = human_age(reader.now_ms.saturating_sub(message.sent_at));
        let cells = [sent, message.shown_id(), to, cut(&line(message.body.trim()))];
        cells.into_iter().map(|cell| (cell, Ink::Plain)).chain([(state, ink)]).collect()
    };
    if message.deliveries.is_empty() {
        let to = room.unwrap_or_else(|| cut(&line(&message.to_nick)));
        return vec![row(to, ("nobody is known by whom it is to be read".to_owned(), Ink::Plain))];
    }
    let each = message.deliveries.iter().enumerate().map(|(at, delivery)| {
        let name = cut(&line(&delivery.nickname));
        let to = room.as_ref().map_or_else(|| name.clone(), |room| format!("{room}: {name}"));
        let mut row = row(to, state(delivery, &message.deliveries, reader));
        // The same message for the next one: what is said of it once is not said again.
        let again = [0, 1, 3].into_iter().filter(|_| at > 0);
        again.for_each(|column| row[column].0.clear());
        row
    });
    each.collect()
}

/// What has become of it, and whether that is good. Whoever took it over is among those whom it is for by then.
fn state(delivery: &Delivery, all: &[Delivery], reader: &Reader) -> (String, Ink) {
    let ink = match delivery.state.as_str() {
        "read" => Ink::Green,
        "expired" | "undeliverable" => Ink::Red,
        _ => Ink::Plain,
    };
    (words::delivery_among(delivery, all, reader), ink)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 00:04:13 UTC
    const NOW: i64 = 1_795_219_453_000;

    // row 56: two messages are two, though one is for two.
    #[test]
    fn each_recipient_has_a_line_and_the_newest_stand_last() {
        let answer = format!(
            r#"{{"messages":[
                {{"messageId":"m1","toNick":"web","toSessionId":"s1","body":"one\ntwo","sentAt":{old},"deliveries":
                    [{{"sessionId":"s1","nickname":"web\u001b","state":"read","at":{NOW},"evidence":"ack"}}]}},
                {{"messageId":"m2","toNick":"everyone","toRoomId":"everyone","body":"all","sentAt":{NOW},"deliveries":
                    [{{"sessionId":"s1","nickname":"web","state":"queued","reason":"working"}},
                     {{"sessionId":"s2","nickname":"api","state":"expired","at":0}}]}},
                {{"messageId":"m3","toNick":"x","toRoomId":"x","body":"","sentAt":{NOW}}}]}}"#,
            old = NOW - 7_200_000
        );
        let answer: Messages = serde_json::from_str(&answer).unwrap();
        let expected = "\
SENT  MESSAGE  TO              TEXT     STATE
2 h   m1       web\u{fffd}            one two  read at 00:04:13 UTC (it said so)
0 s   m2       @everyone: web  all      is working: waits for the end of its turn
               @everyone: api           not read before it expired at 00:00:00 UTC
0 s   m3       @x                       nobody is known by whom it is to be read
";
        assert_eq!(sent(&answer, &Reader::plain(NOW)), expected);
        let numbered = sent(&answer, &Reader::plain(NOW)).lines().filter(|line| line.contains(" m")).count();
        assert_eq!(numbered, answer.messages.len());
        assert!(sent(&answer, &Reader::coloured(NOW)).contains("\x1b[31mnot read before"));
        assert_eq!(sent(&Messages::default(), &Reader::coloured(NOW)), "");
    }

    #[test]
    fn who_took_it_over_is_told_by_name_where_the_answer_has_it() {
        let claimed = |more: &str| {
            let first = r#"{"sessionId":"s1","nickname":"old","state":"claimed","by":"s2","at":0}"#;
            let answer = format!(r#"{{"messages":[{{"messageId":"m","deliveries":[{first}{more}]}}]}}"#);
            sent(&serde_json::from_str(&answer).unwrap(), &Reader::plain(NOW))
        };
        let named = claimed(r#",{"sessionId":"s2","nickname":"he\u001bir","state":"queued"}"#);
        assert!(named.contains("taken over by he\u{fffd}ir at 00:00:00 UTC"), "{named}");
        assert!(claimed("").contains("taken over by s2 at 00:00:00 UTC"));
    }
}

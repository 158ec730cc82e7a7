//! The checker held against small histories made by hand: a good one passes, and each promise that is broken in it is
//! named, and no other.
#![cfg(test)]

use crate::checker::{Broken, Shown, check};
use crate::record::{Call, Event, Record};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A history, the events of the log and what the daemon shows.
struct Story {
    records: Vec<Record>,
    log: Vec<(&'static str, &'static str, Value)>,
    shown: Option<Shown>,
}

fn send(from: &str, to: &str, body: &str) -> Call {
    Call::Send { from: from.to_owned(), to: to.to_owned(), body: body.to_owned() }
}

fn see(session: &str, stream: &str, message: &str, body: &str) -> Event {
    let [session, stream, message, body] = [session, stream, message, body].map(str::to_owned);
    Event::See { session, stream, message, body }
}

fn diff(stream: &str, sequence: u64, messages: &[&str]) -> Event {
    let messages = messages.iter().map(|id| (*id).to_owned()).collect();
    Event::Diff { stream: stream.to_owned(), sequence, messages }
}

fn message(id: &str, from: &str, to: &str, body: &str) -> Value {
    json!({"id": id, "fromSessionId": from, "toSessionId": to, "body": body})
}

impl Story {
    fn note(&mut self, client: &str, event: Event) {
        let at = self.records.len() as u64;
        self.records.push(Record { at, client: client.to_owned(), event });
    }

    fn begin(&mut self, client: &str, call: Call) -> u64 {
        let op = self.records.len() as u64;
        self.note(client, Event::Invoke { op, call });
        op
    }

    fn ok(&mut self, client: &str, call: Call) {
        let op = self.begin(client, call);
        self.note(client, Event::Ok { op, message: None, recipients: Vec::new() });
    }

    /// A message that was acknowledged.
    fn sent(&mut self, client: &str, to: &str, body: &str, id: &str) {
        let op = self.begin(client, send(client, to, body));
        self.note(client, Event::Ok { op, message: Some(id.to_owned()), recipients: vec![to.to_owned()] });
    }

    fn set(&mut self, item_type: &'static str, item: Value) {
        self.log.push(("SET", item_type, item));
    }

    /// Three senders, two shims and an agent, of whom one comes back to its mail; all is as it should be.
    fn good() -> Self {
        let mut story = Self { records: Vec::new(), log: Vec::new(), shown: None };
        let name = str::to_owned;
        for (client, call) in [
            ("h00", Call::Start { session: name("agent") }),
            ("s00", Call::Join { session: name("s00"), room: name("alpha") }),
            ("s00", Call::Task { session: name("s00"), task: name("t1") }),
        ] {
            story.ok(client, call);
        }
        story.begin("s00", Call::Publish { session: name("s00") });
        story.begin("s01", Call::Publish { session: name("s01") });
        story.sent("s00", "s01", "s00/1", "m1");
        story.note("s01", see("s01", "s01#1", "m1", "s00/1"));
        let op = story.begin("s00", send("s00", "s01", "s00/2"));
        story.note("s00", Event::Unknown { op });
        story.note("driver", Event::Ended { code: Some(74), wanted: 74, after_ms: 3 });
        story.note("driver", Event::Unsynced { rows: vec![name("Message/m2")] });
        story.note("driver", Event::Listed { sessions: vec![name("agent"), name("s00"), name("s01")] });
        story.sent("agent", "s01", "h00/1", "m3");
        let op = story.begin("s00", send("s00", "s01", "s00/3"));
        story.note("s00", Event::Refused { op, why: name("507 storage_full") });
        story.note("s01", see("s01", "inbox", "m2", "s00/2"));
        story.note("s01", see("s01", "inbox", "m3", "h00/1"));
        story.ok("s01", Call::Ack { session: name("s01"), messages: vec![name("m1")] });
        for event in [diff("w00#1", 0, &[]), diff("w00#1", 1, &["m1"]), diff("w00#1", 2, &["m2", "m3"])] {
            story.note("w00", event);
        }
        for event in [diff("w01#1", 0, &["m1"]), diff("w01#1", 1, &["m2"]), diff("w01#1", 2, &["m3"])] {
            story.note("w01", event);
        }
        story.note("driver", Event::Outside { rows: vec![name("Session/ext-1")] });
        for session in ["s00", "s01", "agent"] {
            story.note(session, Event::Drained { session: session.to_owned() });
        }
        for session in ["agent", "s01", "ext-1"] {
            story.set("Session", json!({"id": session, "lastActivityAt": 1}));
        }
        story.set("Session", json!({"id": "s00", "currentTask": "t0"}));
        story.set("Session", json!({"id": "s00", "currentTask": "t1"}));
        story.set("RoomMember", json!({"id": "alpha::s00"}));
        story.set("Message", message("m1", "s00", "s01", "s00/1"));
        story.set("Message", message("m2", "s00", "s01", "s00/2"));
        story.set("MessageRead", json!({"id": "m1::s01"}));
        story.set("Message", message("m3", "agent", "s01", "h00/1"));
        story
    }

    fn log_bytes(&self) -> Vec<u8> {
        let mut bytes = b"garbage\n\0\0\0\n{\"item\":\n".to_vec();
        for (change, item_type, item) in &self.log {
            let line = json!({"item": item, "changeType": change, "itemType": item_type});
            bytes.extend(format!("{line}\n").into_bytes());
        }
        bytes
    }

    /// What a truthful daemon shows.
    fn fold(&self) -> Shown {
        let mut rows = BTreeMap::new();
        for (change, item_type, item) in &self.log {
            let key = ((*item_type).to_owned(), item["id"].as_str().unwrap().to_owned());
            match *change {
                "SET" => drop(rows.insert(key, item.clone())),
                _ => drop(rows.remove(&key)),
            }
        }
        Shown { who: "the daemon".to_owned(), rows }
    }

    fn broken(&self) -> BTreeSet<Broken> {
        let shown = self.shown.clone().unwrap_or_else(|| self.fold());
        let (violations, _) = check(&self.records, &self.log_bytes(), &[shown], true);
        violations.into_iter().map(|violation| violation.kind).collect()
    }

    fn drop_row(&mut self, id: &str) {
        self.log.retain(|(_, _, item)| item["id"] != id);
    }

    /// Takes what somebody noted out of the history.
    fn forget(&mut self, fits: impl Fn(&Event) -> bool) {
        let before = self.records.len();
        self.records.retain(|record| !fits(&record.event));
        assert!(self.records.len() < before, "there was something to forget");
    }
}

fn broken(change: impl FnOnce(&mut Story)) -> Vec<Broken> {
    let mut story = Story::good();
    change(&mut story);
    story.broken().into_iter().collect()
}

#[test]
fn a_good_history_passes_and_is_counted() {
    let story = Story::good();
    let (violations, counts) = check(&story.records, &story.log_bytes(), &[story.fold()], true);
    assert_eq!(violations, []);
    assert_eq!((counts.stored, counts.unknown_stored, counts.delivered), (2, 1, 2));
    assert_eq!((counts.asked, counts.acknowledged, counts.refused, counts.unknown), (10, 6, 1, 3));
    // What nobody knows of may just as well not be there; nobody has seen it then.
    let without = broken(|story| {
        story.drop_row("m2");
        story.forget(|event| matches!(event, Event::See { message, .. } if message == "m2"));
    });
    assert_eq!(without, []);
}

#[test]
fn acknowledged_things_that_are_lost_are_found() {
    for row in ["m1", "m3", "agent", "m1::s01", "alpha::s00", "ext-1"] {
        let found = broken(|story| {
            story.drop_row(row);
            // Else it would also be a phantom that somebody has seen.
            story.records.retain(|record| !matches!(&record.event, Event::See { message, .. } if message == row));
        });
        assert!(found.contains(&Broken::Lost), "{row}: {found:?}");
    }
    assert_eq!(broken(|story| story.drop_row("alpha::s00")), [Broken::Lost]);
    assert_eq!(broken(|story| story.log[4].2["currentTask"] = "t0".into()), [Broken::Lost]);
    assert_eq!(broken(|story| story.log.push(("DEL", "Session", json!({"id": "agent"})))), [Broken::Lost]);
    // A message that is there under its id and says something else.
    let altered = broken(|story| {
        let at = story.log.iter().position(|(_, _, item)| item["id"] == "m1").unwrap();
        story.log[at].2["body"] = "s00/9".into();
    });
    assert_eq!(altered, [Broken::Lost, Broken::Phantom]);
}

#[test]
fn a_loss_that_was_made_good_later_is_found_by_the_listing() {
    let found = broken(|story| {
        for record in &mut story.records {
            if let Event::Listed { sessions } = &mut record.event {
                sessions.retain(|session| session != "agent");
            }
        }
    });
    assert_eq!(found, [Broken::Lost]);
}

#[test]
fn duplicates_are_found() {
    let stored_twice = broken(|story| story.set("Message", message("m9", "s00", "s01", "s00/2")));
    assert_eq!(stored_twice, [Broken::Duplicate]);
    let seen_twice = broken(|story| {
        story.set("Message", message("m9", "s00", "s01", "s00/2"));
        story.note("s01", see("s01", "s01#2", "m9", "s00/2"));
    });
    assert_eq!(seen_twice, [Broken::Duplicate]);
    // The same message again is no duplicate: whoever comes back may get it again.
    assert_eq!(broken(|story| story.note("s01", see("s01", "inbox", "m1", "s00/1"))), [Broken::Reordered]);
    assert_eq!(broken(|story| story.note("s01", see("s01", "s01#2", "m1", "s00/1"))), []);
}

#[test]
fn phantoms_are_found() {
    let by_nobody = broken(|story| story.set("Message", message("m9", "s00", "s01", "hello")));
    assert_eq!(by_nobody, [Broken::Phantom]);
    let refused = broken(|story| story.set("Message", message("m9", "s00", "s01", "s00/3")));
    assert_eq!(refused, [Broken::Phantom]);
    let misdelivered = broken(|story| story.note("s00", see("s00", "inbox", "m1", "s00/1")));
    assert_eq!(misdelivered, [Broken::Phantom]);
    let never_stored = broken(|story| story.note("s01", see("s01", "inbox", "m9", "s00/9")));
    assert_eq!(never_stored, [Broken::Phantom]);
    let ended = broken(|story| story.ok("h00", Call::End { session: "agent".to_owned() }));
    assert_eq!(ended, [Broken::Phantom]);
    let unknown_session = broken(|story| story.set("Session", json!({"id": "nobody"})));
    assert_eq!(unknown_session, [Broken::Phantom]);
    let left = broken(|story| {
        story.ok("s00", Call::Leave { session: "s00".to_owned(), room: "alpha".to_owned() });
    });
    assert_eq!(left, [Broken::Phantom]);
}

#[test]
fn a_senders_messages_out_of_order_are_found() {
    let at = |story: &Story, id: &str| story.log.iter().position(|(_, _, item)| item["id"] == id).unwrap();
    // In the log: one sender's, whoever gets them.
    let in_log = broken(|story| {
        let (one, two) = (at(story, "m1"), at(story, "m2"));
        story.log.swap(one, two);
    });
    assert_eq!(in_log, [Broken::Reordered]);
    // On the way to one recipient.
    let in_stream = broken(|story| {
        let of = |id: &str| {
            story.records.iter().position(|r| matches!(&r.event, Event::See { message, .. } if message == id)).unwrap()
        };
        let (two, three) = (of("m2"), of("m3"));
        let other = story.records[two].event.clone();
        story.records[two].event = std::mem::replace(&mut story.records[three].event, other);
    });
    assert_eq!(in_stream, [Broken::Reordered]);
    // Unless somebody else has put one of them elsewhere.
    let by_somebody = broken(|story| {
        let (one, two) = (at(story, "m1"), at(story, "m2"));
        story.log.swap(one, two);
        story.note("driver", Event::Disordered { messages: vec!["m1".to_owned()] });
    });
    assert_eq!(by_somebody, []);
    // A message that is stated again stands where it first stood.
    let again = broken(|story| {
        let mut row = message("m1", "s00", "s01", "s00/1");
        row["readAt"] = 5.into();
        story.set("Message", row);
    });
    assert_eq!(again, []);
}

#[test]
fn watchers_with_different_orders_or_gaps_are_found() {
    let replace = |story: &mut Story, stream: &str, number: u64, messages: &[&str]| {
        let fits = |event: &Event| matches!(event, Event::Diff { stream: found, sequence, .. } if found == stream && *sequence == number);
        let record = story.records.iter_mut().find(|record| fits(&record.event)).unwrap();
        record.event = diff(stream, number, messages);
    };
    let orders = broken(|story| {
        replace(story, "w00#1", 1, &["m3"]);
        replace(story, "w00#1", 2, &["m1", "m2"]);
    });
    assert_eq!(orders, [Broken::Disagreement]);
    // That one hears of two things at once and another of one after the other is no difference.
    assert_eq!(broken(|story| replace(story, "w00#1", 1, &["m1", "m2"])), []);
    let gap = broken(|story| {
        story.forget(|event| matches!(event, Event::Diff { stream, sequence: 1, .. } if stream == "w01#1"));
    });
    assert_eq!(gap, [Broken::Disagreement]);
}

#[test]
fn mail_that_never_arrives_is_found() {
    let of = |event: &Event, id: &str| matches!(event, Event::See { message, .. } if message == id);
    assert_eq!(broken(|story| story.forget(|event| of(event, "m1"))), [Broken::Undelivered]);
    // Who does not come back does not count, and neither does a room that was left.
    let away = broken(|story| {
        story.forget(|event| of(event, "m1"));
        story.forget(|event| matches!(event, Event::Drained { session } if session == "s01"));
    });
    assert_eq!(away, []);
    let outside = broken(|story| {
        story.set("Message", message("ext-message-1", "ext-1", "s00", "outside/1"));
        story.note("driver", Event::Outside { rows: vec!["Message/ext-message-1".to_owned()] });
    });
    assert_eq!(outside, [Broken::Undelivered]);
}

#[test]
fn a_roster_that_is_not_its_log_is_found() {
    let with = |change: &dyn Fn(&mut Shown)| {
        broken(|story| {
            let mut shown = story.fold();
            change(&mut shown);
            story.shown = Some(shown);
        })
    };
    let key = |item_type: &str, id: &str| (item_type.to_owned(), id.to_owned());
    assert_eq!(with(&|shown| drop(shown.rows.remove(&key("Session", "agent")))), [Broken::Roster]);
    assert_eq!(with(&|shown| drop(shown.rows.insert(key("Room", "x"), json!({"id": "x"})))), [Broken::Roster]);
    let row = key("Session", "s00");
    assert_eq!(with(&|shown| shown.rows.get_mut(&row).unwrap()["currentTask"] = "t0".into()), [Broken::Roster]);
    // Signs of life are not written each time.
    let row = key("Session", "agent");
    assert_eq!(with(&|shown| shown.rows.get_mut(&row).unwrap()["lastActivityAt"] = 9.into()), []);
}

#[test]
fn answers_without_a_sync_and_wrong_endings_are_found() {
    let answered = broken(|story| {
        let at = story.records.iter().position(|r| matches!(r.event, Event::Unsynced { .. })).unwrap();
        story.records[at].event = Event::Unsynced { rows: vec!["Message/m1".to_owned()] };
    });
    assert_eq!(answered, [Broken::AnsweredUnsynced]);
    for (code, after_ms) in [(Some(0), 3), (None, 3), (Some(74), 1001)] {
        let found = broken(|story| story.note("driver", Event::Ended { code, wanted: 74, after_ms }));
        assert_eq!(found, [Broken::Ending]);
    }
}

#[test]
fn a_history_survives_being_written_down() {
    for record in Story::good().records {
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record, "{text}");
    }
}

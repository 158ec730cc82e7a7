//! The judge of a history. It is pure: the history, the log's bytes and what daemons showed come in, violations go out.
//! It takes the log for what counts of it, the last event of each row, and reads it by itself, without the product's
//! code. What a daemon died over may have been done or not.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

use crate::given::{End, Log, Op, ops};
use crate::record::{Call, Event, Record};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A promise that was not kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    pub kind: Broken,
    pub what: String,
}

/// Which promise.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Broken {
    /// Something that was acknowledged is not there, or not as it was acknowledged.
    Lost,
    /// Something is there twice.
    Duplicate,
    /// Something is there that nobody did, that was refused, or that was undone.
    Phantom,
    /// One sender's messages are not in the order in which they were sent, or reach somebody in another order.
    Reordered,
    /// Two that watch the same were told in different orders, or of changes with a gap.
    Disagreement,
    /// Mail did not reach a client that came back.
    Undelivered,
    /// What a daemon shows is not what its log says.
    Roster,
    /// Something was acknowledged although its sync failed.
    AnsweredUnsynced,
    /// The daemon did not end as it must.
    Ending,
}

/// What a daemon shows.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    pub who: String,
    pub rows: BTreeMap<(String, String), Value>,
}

/// How much there was to check.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub asked: usize,
    pub acknowledged: usize,
    pub refused: usize,
    pub unknown: usize,
    /// Messages whose sending was acknowledged.
    pub stored: usize,
    /// Messages of which nobody knew and that were there.
    pub unknown_stored: usize,
    /// Deliveries that had to be, and were.
    pub delivered: usize,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.stored += other.stored;
        self.unknown_stored += other.unknown_stored;
        self.delivered += other.delivered;
    }
}

struct Check<'a> {
    ops: Vec<Op<'a>>,
    log: Log,
    records: &'a [Record],
    /// Where each message stands in the log, unless somebody else put it there.
    places: HashMap<String, usize>,
    outside: HashSet<&'a str>,
    violations: Vec<Violation>,
    counts: Counts,
}

/// Judges a history, which must be in its order. `judge_time`: whether a daemon must end within a second.
pub fn check(records: &[Record], log: &[u8], shown: &[Shown], judge_time: bool) -> (Vec<Violation>, Counts) {
    let mut check = Check::new(records, log);
    check.count();
    check.messages();
    check.sessions();
    check.listings();
    check.last_states();
    check.receipts();
    check.orders();
    check.streams();
    check.watchers();
    check.deliveries();
    check.endings(judge_time);
    check.rosters(shown);
    (check.violations, check.counts)
}

impl<'a> Check<'a> {
    fn new(records: &'a [Record], log: &[u8]) -> Self {
        let log = Log::read(log);
        let mut places: HashMap<String, usize> =
            log.of("Message").map(|(id, place, _)| (id.to_owned(), place)).collect();
        let mut outside = HashSet::new();
        for record in records {
            match &record.event {
                Event::Outside { rows } => outside.extend(rows.iter().map(String::as_str)),
                Event::Disordered { messages } => messages.iter().for_each(|id| {
                    places.remove(id);
                }),
                _ => {}
            }
        }
        places.retain(|id, _| !id.starts_with("ext-"));
        let (violations, counts) = (Vec::new(), Counts::default());
        Self { ops: ops(records), log, records, places, outside, violations, counts }
    }

    fn broken(&mut self, kind: Broken, what: String) {
        self.violations.push(Violation { kind, what });
    }

    fn count(&mut self) {
        self.counts.asked = self.ops.len();
        self.counts.acknowledged = self.ops.iter().filter(|op| op.is_ok()).count();
        self.counts.refused = self.ops.iter().filter(|op| op.end == End::Refused).count();
        self.counts.unknown = self.counts.asked - self.counts.acknowledged - self.counts.refused;
    }

    /// Every acknowledged message is there, once and as it was sent; every other was asked for and not refused.
    fn messages(&mut self) {
        let mut found = Vec::new();
        let mut by_body: HashMap<&str, &Op<'_>> = HashMap::new();
        for op in &self.ops {
            if let Call::Send { body, .. } | Call::Broadcast { body, .. } = op.call {
                by_body.insert(body, op);
            }
        }
        let mut bodies: HashMap<&str, &str> = HashMap::new();
        for (id, _, row) in self.log.of("Message") {
            let body = row["body"].as_str().unwrap_or_default();
            if let Some(other) = bodies.insert(body, id) {
                found.push((Broken::Duplicate, format!("message {body:?} is there as {other} and as {id}")));
            }
            let Some(op) = by_body.get(body) else {
                if !id.starts_with("ext-") {
                    found.push((Broken::Phantom, format!("message {id} {body:?} was sent by nobody")));
                }
                continue;
            };
            let (from, to) = match op.call {
                Call::Send { from, to, .. } => (from, ("toSessionId", to)),
                Call::Broadcast { from, room, .. } => (from, ("toRoomId", room)),
                _ => continue,
            };
            if row["fromSessionId"] != from.as_str() || row[to.0] != to.1.as_str() {
                found.push((Broken::Phantom, format!("message {id} is not what was sent: {row}, {:?}", op.call)));
            }
            match op.end {
                End::Refused => {
                    found.push((Broken::Phantom, format!("message {id} {body:?} was refused and is there")))
                }
                End::Unknown => self.counts.unknown_stored += 1,
                End::Ok { message, .. } if message != Some(id) => {
                    found.push((Broken::Duplicate, format!("{body:?} was acknowledged as {message:?} and is {id}")));
                }
                End::Ok { .. } => {}
            }
        }
        for op in &self.ops {
            if let (Call::Send { body, .. } | Call::Broadcast { body, .. }, End::Ok { message, .. }) =
                (op.call, &op.end)
            {
                self.counts.stored += 1;
                let there = message.and_then(|id| self.log.row("Message", id));
                if there.is_none_or(|row| row["body"] != body.as_str()) {
                    found.push((
                        Broken::Lost,
                        format!("message {message:?} {body:?} was acknowledged to {}", op.client),
                    ));
                }
            }
        }
        let lost =
            |row: &&&str| row.split_once('/').is_none_or(|(item_type, id)| self.log.row(item_type, id).is_none());
        found.extend(
            self.outside.iter().filter(lost).map(|row| (Broken::Lost, format!("{row}, which somebody else wrote"))),
        );
        self.violations.extend(found.into_iter().map(|(kind, what)| Violation { kind, what }));
    }

    /// When each session began, and when its end was asked for and was acknowledged.
    fn lives(&self) -> BTreeMap<&'a str, Life> {
        let mut lives: BTreeMap<&str, Life> = BTreeMap::new();
        for op in &self.ops {
            match op.call {
                Call::Start { session } => {
                    let life = lives.entry(session).or_default();
                    life.started = op.is_ok().then_some(op.ended);
                    life.impossible = op.end == End::Refused;
                }
                Call::End { session } if op.may_be_done() => {
                    let life = lives.entry(session).or_default();
                    life.ending = Some(op.begun);
                    life.ended = op.is_ok().then_some(op.ended);
                }
                // A shim states its session for as long as it lives, and the driver sees to it that it does.
                Call::Publish { session } => drop(lives.entry(session).or_default()),
                _ => {}
            }
        }
        for record in self.records {
            if let Event::Drained { session } = &record.event
                && let Some(life) = lives.get_mut(session.as_str())
            {
                life.back = true;
            }
        }
        lives
    }

    /// Sessions that began are there until they end, and not afterwards.
    fn sessions(&mut self) {
        let lives = self.lives();
        let mut found = Vec::new();
        for (session, life) in &lives {
            let there = self.log.row("Session", session).is_some();
            if !there && life.ending.is_none() && (life.started.is_some() || life.back) {
                found.push((Broken::Lost, format!("session {session}")));
            }
            if there && life.ended.is_some() {
                found.push((Broken::Phantom, format!("session {session} ended and is there")));
            }
            if there && life.impossible {
                found.push((Broken::Phantom, format!("session {session} was refused and is there")));
            }
        }
        for (id, _, _) in self.log.of("Session") {
            if !lives.contains_key(id) && !id.starts_with("ext-") {
                found.push((Broken::Phantom, format!("session {id} was begun by nobody")));
            }
        }
        self.violations.extend(found.into_iter().map(|(kind, what)| Violation { kind, what }));
    }

    /// What a daemon lists right after its start is what had been acknowledged by then.
    fn listings(&mut self) {
        let lives = self.lives();
        for record in self.records {
            let Event::Listed { sessions } = &record.event else { continue };
            let listed: HashSet<&str> = sessions.iter().map(String::as_str).collect();
            for (session, life) in &lives {
                let there = listed.contains(session);
                let begun = life.started.is_some_and(|started| started < record.at);
                if !there && begun && life.ending.is_none_or(|ending| ending > record.at) {
                    self.broken(Broken::Lost, format!("session {session} is not listed at {}", record.at));
                }
                if there && life.ended.is_some_and(|ended| ended < record.at) {
                    self.broken(Broken::Phantom, format!("session {session} ended and is listed at {}", record.at));
                }
            }
        }
    }

    /// Memberships and tasks are as they were last acknowledged to be.
    fn last_states(&mut self) {
        // What may be, of each room and session, and of each session's task.
        let mut members: BTreeMap<(&str, &str), BTreeSet<bool>> = BTreeMap::new();
        let mut tasks: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for op in &self.ops {
            let (member, task) = match op.call {
                Call::Join { session, room } => (Some((room, session, true)), None),
                Call::Leave { session, room } => (Some((room, session, false)), None),
                Call::Task { session, task } => (None, Some((session, task))),
                _ => continue,
            };
            if let Some((room, session, joined)) = member.filter(|_| op.may_be_done()) {
                let may_be = members.entry((room, session)).or_insert_with(|| BTreeSet::from([false]));
                if op.is_ok() {
                    may_be.clear();
                }
                may_be.insert(joined);
            }
            if let Some((session, task)) = task.filter(|_| op.may_be_done()) {
                let may_be = tasks.entry(session).or_insert_with(|| BTreeSet::from([""]));
                if op.is_ok() {
                    may_be.clear();
                }
                may_be.insert(task);
            }
        }
        let mut found = Vec::new();
        for ((room, session), may_be) in members {
            let there = self.log.row("RoomMember", &format!("{room}::{session}")).is_some();
            if !may_be.contains(&there) {
                let kind = if there { Broken::Phantom } else { Broken::Lost };
                found.push((kind, format!("{session} is in {room}: {there}, acknowledged: {may_be:?}")));
            }
        }
        for (session, may_be) in tasks {
            let Some(row) = self.log.row("Session", session) else { continue };
            let task = row["currentTask"].as_str().unwrap_or_default();
            if !may_be.contains(task) {
                found.push((Broken::Lost, format!("the task of {session} is {task:?}, acknowledged: {may_be:?}")));
            }
        }
        self.violations.extend(found.into_iter().map(|(kind, what)| Violation { kind, what }));
    }

    /// Acknowledged receipts are there for as long as their reader is.
    fn receipts(&mut self) {
        let lives = self.lives();
        let mut found = Vec::new();
        for op in self.ops.iter().filter(|op| op.is_ok()) {
            let Call::Ack { session, messages } = op.call else { continue };
            if lives.get(session.as_str()).is_some_and(|life| life.ending.is_some()) {
                continue;
            }
            // Who has left a room cannot read its mail any more.
            let stays = |message: &&String| {
                let row = self.log.row("Message", message);
                row.is_none_or(|row| row["toRoomId"].as_str().is_none_or(|room| !crate::clients::ROOMS.contains(&room)))
            };
            for message in messages.iter().filter(stays) {
                let receipt = self.log.row("MessageRead", &format!("{message}::{session}")).is_some();
                let noted = || self.log.row("Message", message).is_some_and(|row| row.get("readAt").is_some());
                if !receipt && !noted() {
                    found.push(format!("the receipt of {session} for {message}"));
                }
            }
        }
        found.into_iter().for_each(|what| self.broken(Broken::Lost, what));
    }

    /// What one client sent stands in the log in the order in which it was sent.
    fn orders(&mut self) {
        let mut last: HashMap<&str, (usize, &str)> = HashMap::new();
        let mut stored: HashMap<&str, usize> = HashMap::new();
        for (id, _, row) in self.log.of("Message") {
            if let (Some(place), Some(body)) = (self.places.get(id), row["body"].as_str()) {
                stored.insert(body, *place);
            }
        }
        let mut found = Vec::new();
        for op in &self.ops {
            let (Call::Send { body, .. } | Call::Broadcast { body, .. }) = op.call else { continue };
            let Some(place) = stored.get(body.as_str()) else { continue };
            if let Some((before, other)) = last.insert(op.client, (*place, body))
                && before > *place
            {
                found.push(format!("{} sent {other:?} before {body:?}, which stands before it", op.client));
            }
        }
        found.into_iter().for_each(|what| self.broken(Broken::Reordered, what));
    }

    /// What came to somebody in one stream came in the order of the log. What comes again was seen before.
    fn streams(&mut self) {
        let mut last: HashMap<(&str, &str), (usize, &str)> = HashMap::new();
        let mut seen: HashSet<(&str, &str, &str)> = HashSet::new();
        let mut bodies: HashMap<(&str, &str), &str> = HashMap::new();
        let mut found = Vec::new();
        for record in self.records {
            let Event::See { session, stream, message, body } = &record.event else { continue };
            if let Some(other) = bodies.insert((session, body), message)
                && other != message
            {
                found.push((Broken::Duplicate, format!("{session} got {body:?} as {other} and as {message}")));
            }
            match self.log.row("Message", message) {
                None => found.push((Broken::Phantom, format!("{session} got {message} {body:?}, which is not there"))),
                Some(row) if row.get("toSessionId").is_some_and(|to| to != session.as_str()) => {
                    found.push((Broken::Phantom, format!("{session} got {message}, which is not for it: {row}")));
                }
                Some(_) => {}
            }
            let Some(place) = self.places.get(message) else { continue };
            if !seen.insert((session, stream, message)) {
                continue;
            }
            if let Some((before, other)) = last.insert((session, stream), (*place, message))
                && before > *place
            {
                let what = format!("{session} got {other} before {message} in {stream}; in the log it stands after it");
                found.push((Broken::Reordered, what));
            }
        }
        self.violations.extend(found.into_iter().map(|(kind, what)| Violation { kind, what }));
    }

    /// All that watch are told of messages in one order, without gaps.
    fn watchers(&mut self) {
        let mut streams: BTreeMap<&str, Vec<(u64, &Vec<String>)>> = BTreeMap::new();
        for record in self.records {
            if let Event::Diff { stream, sequence, messages } = &record.event {
                streams.entry(stream).or_default().push((*sequence, messages));
            }
        }
        let mut orders = Vec::new();
        let mut found = Vec::new();
        for (stream, diffs) in &streams {
            if let Some(at) = (0..diffs.len()).find(|at| diffs[*at].0 != *at as u64) {
                found.push(format!("diff {at} of {stream} has the number {}", diffs[at].0));
            }
            // Only the first news of a message is of its arrival.
            let mut first: HashMap<&str, u64> = HashMap::new();
            for (sequence, messages) in diffs {
                for id in *messages {
                    first.entry(id.as_str()).or_insert(*sequence);
                }
            }
            orders.push((stream, first, diffs));
        }
        for (one, theirs, _) in &orders {
            for (other, first, diffs) in &orders {
                if one == other {
                    continue;
                }
                let mut latest = 0;
                for (sequence, messages) in diffs.iter().filter(|(sequence, _)| *sequence > 0) {
                    let arrivals = messages.iter().filter(|id| first.get(id.as_str()) == Some(sequence));
                    // What was in the other's snapshot came in no order.
                    let theirs: Vec<u64> =
                        arrivals.filter_map(|id| theirs.get(id.as_str())).copied().filter(|at| *at > 0).collect();
                    if theirs.iter().any(|at| *at < latest) {
                        found.push(format!("{one} and {other} were told of messages in different orders ({sequence})"));
                        break;
                    }
                    latest = theirs.into_iter().max().unwrap_or(latest);
                }
            }
        }
        found.into_iter().for_each(|what| self.broken(Broken::Disagreement, what));
    }

    /// Who came back has got all of its mail.
    fn deliveries(&mut self) {
        let mut seen: HashSet<(&str, &str)> = HashSet::new();
        let mut back: HashSet<&str> = HashSet::new();
        for record in self.records {
            match &record.event {
                Event::See { session, message, .. } => drop(seen.insert((session, message))),
                Event::Drained { session } => drop(back.insert(session)),
                _ => {}
            }
        }
        let mut left: HashMap<(&str, &str), u64> = HashMap::new();
        for op in &self.ops {
            if let Call::Leave { session, room } = op.call {
                left.insert((session, room), op.ended.max(op.begun));
            }
        }
        let (mut found, mut delivered) = (Vec::new(), 0);
        for op in &self.ops {
            let End::Ok { message: Some(message), recipients } = &op.end else { continue };
            let room = match op.call {
                Call::Broadcast { room, .. } => Some(room.as_str()),
                _ => None,
            };
            for recipient in recipients.iter().map(String::as_str) {
                // Who leaves a room leaves its mail there.
                let gone = room.is_some_and(|room| left.get(&(recipient, room)).is_some_and(|at| *at > op.begun));
                if !back.contains(recipient) || gone {
                    continue;
                }
                if seen.contains(&(recipient, *message)) {
                    delivered += 1;
                } else {
                    found.push(format!("{message} from {} to {recipient} (room: {room:?})", op.call.speaker()));
                }
            }
        }
        for row in &self.outside {
            let Some(id) = row.strip_prefix("Message/") else { continue };
            let to = self.log.row("Message", id).and_then(|row| row["toSessionId"].as_str()).unwrap_or_default();
            if back.contains(to) && !seen.contains(&(to, id)) {
                found.push(format!("{id} from somebody else to {to}"));
            }
        }
        self.counts.delivered = delivered;
        found.into_iter().for_each(|what| self.broken(Broken::Undelivered, what));
    }

    /// A daemon whose sync fails answers nothing of that batch, and ends as documented.
    fn endings(&mut self, judge_time: bool) {
        for record in self.records {
            match &record.event {
                Event::Ended { code, wanted, after_ms }
                    if *code != Some(*wanted) || (judge_time && *after_ms > 1000) =>
                {
                    let what = format!("ended with {code:?} after {after_ms} ms, not with {wanted} in time");
                    self.broken(Broken::Ending, what);
                }
                Event::Unsynced { rows } => {
                    // The next daemon may well acknowledge what is there after all.
                    let acknowledged = self.acknowledged_rows(record.at);
                    for row in rows.iter().filter(|row| acknowledged.contains(*row)) {
                        self.violations.push(Violation { kind: Broken::AnsweredUnsynced, what: row.clone() });
                    }
                }
                _ => {}
            }
        }
    }

    /// The messages and receipts that were acknowledged to those who asked before then.
    fn acknowledged_rows(&self, before: u64) -> HashSet<String> {
        let mut rows = HashSet::new();
        for op in self.ops.iter().take_while(|op| op.begun < before) {
            match (op.call, &op.end) {
                (_, End::Ok { message: Some(message), .. }) => drop(rows.insert(format!("Message/{message}"))),
                (Call::Ack { session, messages }, End::Ok { .. }) => {
                    rows.extend(messages.iter().map(|id| format!("MessageRead/{id}::{session}")));
                }
                _ => {}
            }
        }
        rows
    }

    /// Every daemon shows what the log says.
    fn rosters(&mut self, shown: &[Shown]) {
        let types = ["Session", "Room", "RoomMember", "Message", "MessageRead"];
        let said: BTreeMap<_, _> = self.log.rows.iter().filter(|(key, _)| types.contains(&key.0.as_str())).collect();
        let mut found = Vec::new();
        for Shown { who, rows } in shown {
            for (key, (_, row)) in &said {
                match rows.get(*key) {
                    None => found.push(format!("{who} does not show {key:?}")),
                    Some(other) if plain(other) != plain(row) => {
                        found.push(format!("{who} shows {other}, the log says {row}"));
                    }
                    Some(_) => {}
                }
            }
            let unsaid = rows.keys().filter(|key| !said.contains_key(key));
            found.extend(unsaid.map(|key| format!("{who} shows {key:?}, which is not in the log")));
        }
        found.into_iter().for_each(|what| self.broken(Broken::Roster, what));
    }
}

/// When a session began and ended, in the order of the history.
#[derive(Debug, Default)]
struct Life {
    started: Option<u64>,
    /// Its beginning was refused.
    impossible: bool,
    ending: Option<u64>,
    ended: Option<u64>,
    /// It was there at the end.
    back: bool,
}

/// A row without its signs of life, of which the log is told once a minute.
fn plain(row: &Value) -> Value {
    let mut row = row.clone();
    if let Some(row) = row.as_object_mut() {
        ["lastActivityAt", "hears"].iter().for_each(|key| drop(row.remove(*key)));
    }
    row
}

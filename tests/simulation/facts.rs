//! What follows from the answers alone: which message, session, task, receipt and membership must be there, may be
//! there, and must not be. It knows what was asked and what was answered, and nothing of how the product keeps it.

use super::rows::{ByRow, Said};
use marshal::model::ItemType;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What may be true of a session: it is not there, or it is there with this task.
pub type SessionState = Option<Option<String>>;

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nobody knows yet.
    Asked,
    /// Somebody was told that it is stored, at this step.
    Told(u64),
    /// It may have been deleted for its age, or been damaged by an outsider.
    May,
    /// Somebody was told that it is not stored, or it was lost before anybody was told.
    Never,
}

/// What a session may be after one request.
#[derive(Clone, Debug)]
struct Version {
    number: u64,
    may_be: BTreeSet<SessionState>,
}

#[derive(Debug, Default)]
pub struct Facts {
    pub messages: BTreeMap<u64, Fate>,
    /// The first is what is known, the others are what has been asked since.
    sessions: BTreeMap<String, Vec<Version>>,
    /// What outsiders' lines may make of a session at any time, until the daemon has read them all.
    outsiders: BTreeMap<String, BTreeSet<SessionState>>,
    /// Sessions of which an outsider has spoilt its own line.
    spoilt: BTreeSet<String>,
    /// Sessions that may go without anybody asking.
    pub frail: BTreeSet<String>,
    /// Receipts and memberships that must be there, and the step at which that was said.
    pub receipts: BTreeMap<String, u64>,
    pub members: BTreeMap<String, u64>,
    /// Receipts and memberships that somebody wants gone, and the request with which; outsiders may be heard late.
    unwanted: BTreeMap<String, u64>,
}

/// What a log was recovered to.
pub struct Recovered<'a> {
    pub rows: &'a ByRow<Arc<str>>,
    /// Only what was said after this step must be there: an outsider has destroyed the rest.
    pub since: Option<u64>,
}

/// The number that a message's text holds: `m000123 ...`.
pub fn token(text: &str) -> Option<u64> {
    let at = text.find("\"body\":\"m")? + "\"body\":\"m".len();
    text.get(at..at + 6)?.parse().ok()
}

/// The task in a session's text; the tasks here hold nothing that JSON escapes.
pub fn task(text: &str) -> Option<String> {
    let rest = &text[text.find("\"currentTask\":\"")? + "\"currentTask\":\"".len()..];
    Some(rest[..rest.find('"')?].to_owned())
}

impl Facts {
    /// A request that makes something else of a session.
    pub fn ask(&mut self, number: u64, session: &str, becomes: impl Fn(&SessionState) -> Vec<SessionState>) {
        let versions = self
            .sessions
            .entry(session.to_owned())
            .or_insert_with(|| vec![Version { number: 0, may_be: BTreeSet::from([None]) }]);
        // It may find the session as an outsider has left it.
        let outsiders = self.outsiders.get(session).into_iter().flatten();
        let may_be: BTreeSet<SessionState> =
            versions.last().unwrap().may_be.iter().chain(outsiders).flat_map(becomes).collect();
        if may_be.contains(&None) {
            self.without(session);
        }
        if let Some(versions) = self.sessions.get_mut(session) {
            versions.push(Version { number, may_be });
        }
    }

    /// A session leaves a room.
    pub fn leave(&mut self, number: u64, member: &str) {
        self.members.remove(member);
        self.unwanted.insert(member.to_owned(), number);
    }

    /// The answer to a request says that a session is in a room.
    pub fn joined(&mut self, number: u64, session: &str, member: String, step: u64) {
        if self.is_sure(number, session, &member) {
            self.members.entry(member).or_insert(step);
        }
    }

    /// The answer to a request says that a session has read a message.
    pub fn read(&mut self, number: u64, session: &str, receipt: String, step: u64) {
        if self.is_sure(number, session, &receipt) {
            self.receipts.entry(receipt).or_insert(step);
        }
    }

    /// Whether nothing that was asked since can have undone it.
    fn is_sure(&self, number: u64, session: &str, id: &str) -> bool {
        let versions = self.sessions.get(session).into_iter().flatten();
        let mut later = versions.filter(|version| version.number > number).map(|version| &version.may_be);
        let outsiders = self.outsiders.get(session);
        let may_be_gone =
            later.any(|may_be| may_be.contains(&None)) || outsiders.is_some_and(|may| may.contains(&None));
        !may_be_gone && !self.spoilt.contains(session) && self.unwanted.get(id).is_none_or(|at| *at < number)
    }

    /// Outsiders have been heard, and these are the rows.
    pub fn heal(&mut self, rows: &ByRow<Arc<str>>) {
        self.unwanted.retain(|_, number| *number != u64::MAX);
        for session in std::mem::take(&mut self.outsiders).into_keys() {
            let state = rows.0[0].get(&session).map(|text| task(text));
            self.sessions.insert(session, vec![Version { number: 0, may_be: BTreeSet::from([state]) }]);
        }
    }

    /// Receipts and memberships of a session that may be gone.
    fn without(&mut self, session: &str) {
        let end = format!("::{session}");
        self.receipts.retain(|id, _| !id.ends_with(&end));
        self.members.retain(|id, _| !id.ends_with(&end));
    }

    /// The answer to a request says what the session was after it.
    pub fn told(&mut self, number: u64, session: &str, is: impl Fn(&SessionState) -> bool) -> Result<(), String> {
        let Some(versions) = self.sessions.get_mut(session) else { return Ok(()) };
        let Some(at) = versions.iter().position(|version| version.number == number) else { return Ok(()) };
        versions.drain(..at);
        if self.spoilt.contains(session) {
            return Ok(());
        }
        let before = versions[0].may_be.clone();
        versions[0].may_be.extend(self.outsiders.get(session).into_iter().flatten().cloned());
        versions[0].may_be.retain(is);
        if versions[0].may_be.is_empty() {
            return Err(format!("the answer to request {number} does not fit {session}: it could be {before:?}"));
        }
        Ok(())
    }

    /// The request was refused: nothing of it was stored.
    pub fn refused(&mut self, number: u64, session: &str) {
        let Some(versions) = self.sessions.get_mut(session) else { return };
        let Some(at) = versions.iter().position(|version| version.number == number).filter(|at| *at > 0) else {
            return;
        };
        versions.remove(at);
        // What came after it in its batch, and is not answered, builds on what was before.
        let before = versions[at - 1].may_be.clone();
        versions[at..].iter_mut().for_each(|later| later.may_be.extend(before.iter().cloned()));
    }

    pub fn sessions(&self) -> Vec<String> {
        self.sessions.keys().cloned().collect()
    }

    /// Time has passed: some may be gone.
    pub fn time_passed(&mut self, number: u64) {
        for session in self.frail.clone() {
            self.ask(number, &session, |state| vec![state.clone(), None]);
        }
    }

    /// An outsider's line may make this of a row, at any time from now on.
    pub fn outsider(&mut self, item_type: ItemType, id: &str, said: &Said) {
        match (item_type, said) {
            (ItemType::Session, Some(text)) => {
                self.frail.insert(id.to_owned());
                self.ask(0, id, |state| vec![state.clone()]);
                self.outsiders.entry(id.to_owned()).or_default().insert(Some(task(text)));
            }
            (ItemType::Session, None) => {
                self.frail.insert(id.to_owned());
                self.ask(0, id, |state| vec![state.clone()]);
                self.outsiders.entry(id.to_owned()).or_default().extend([None, Some(None)]);
                self.without(id);
            }
            (ItemType::Message, Some(text)) => {
                if let Some(number) = token(text) {
                    let fate = self.messages.entry(number).or_insert(Fate::Asked);
                    if *fate == Fate::Never {
                        *fate = Fate::May;
                    }
                }
            }
            (ItemType::Message, None) => {}
            (ItemType::MessageRead, _) => {
                self.receipts.remove(id);
                self.unwanted.insert(id.to_owned(), u64::MAX);
            }
            (ItemType::RoomMember, _) => self.leave(u64::MAX, id),
            (ItemType::Room, None) => {
                let start = format!("{id}::");
                self.members.retain(|member, _| !member.starts_with(&start));
                for session in self.sessions() {
                    self.unwanted.insert(format!("{start}{session}"), u64::MAX);
                }
            }
            (ItemType::Room, Some(_)) | (ItemType::Registration | ItemType::Delivery | ItemType::Departed, _) => {}
        }
    }

    /// An outsider has spoilt its own line of a row.
    pub fn spoil(&mut self, item_type: ItemType, id: &str) {
        match item_type {
            ItemType::Message => {
                if let Some(fate) = id.strip_prefix('x').and_then(|id| self.messages.get_mut(&id.parse().ok()?)) {
                    *fate = Fate::May;
                }
            }
            ItemType::Session => {
                self.spoilt.insert(id.to_owned());
                self.without(id);
            }
            ItemType::Room
            | ItemType::RoomMember
            | ItemType::MessageRead
            | ItemType::Registration
            | ItemType::Delivery
            | ItemType::Departed => {
                self.outsider(item_type, id, &None);
            }
        }
    }

    /// The daemon has begun anew with these rows: what was under way is decided, and so is what an outsider has damaged.
    pub fn begin_life(&mut self, rows: &ByRow<Arc<str>>, step: u64, damaged: bool) {
        let there: BTreeSet<u64> = rows.0[3].values().filter_map(|text| token(text)).collect();
        for (number, fate) in &mut self.messages {
            match (*fate, there.contains(number)) {
                (Fate::Asked, true) => *fate = Fate::Told(step),
                (Fate::Asked, false) => *fate = Fate::Never,
                (Fate::Told(_), false) if damaged => *fate = Fate::May,
                _ => {}
            }
        }
        self.heal(rows);
        self.spoilt.clear();
        if damaged {
            self.receipts.retain(|id, _| rows.0[4].contains_key(id));
            self.members.retain(|id, _| rows.0[2].contains_key(id));
        }
        for (id, versions) in &mut self.sessions {
            let state = rows.0[0].get(id).map(|text| task(text));
            *versions = vec![Version { number: 0, may_be: BTreeSet::from([state]) }];
        }
        // Silence is told by the wall clock over a restart, and clients have to come back.
        self.frail.extend(self.sessions.keys().cloned());
    }

    pub fn check(&self, recovered: &Recovered<'_>) -> Result<(), String> {
        let rows = recovered.rows;
        let required = |step: u64| recovered.since.is_none_or(|since| step > since);
        let mut there = BTreeSet::new();
        for number in rows.0[3].values().filter_map(|text| token(text)) {
            if !there.insert(number) {
                return Err(format!("message m{number:06} is there twice"));
            }
            match self.messages.get(&number) {
                None => return Err(format!("message m{number:06} is there, and nobody ever asked for it")),
                Some(Fate::Never) => {
                    return Err(format!("message m{number:06} is there, although it was refused or lost"));
                }
                Some(_) => {}
            }
        }
        for (number, fate) in &self.messages {
            if let Fate::Told(step) = fate
                && required(*step)
                && !there.contains(number)
            {
                return Err(format!("message m{number:06} is lost, although somebody was told of it"));
            }
        }
        self.check_sessions(rows, recovered.since.is_some())?;
        for (what, ids, place) in [("receipt", &self.receipts, 4), ("membership", &self.members, 2)] {
            for (id, step) in ids {
                if required(*step) && !rows.0[place].contains_key(id) {
                    return Err(format!("{what} {id} is lost, although somebody was told of it"));
                }
            }
        }
        Ok(())
    }

    fn check_sessions(&self, rows: &ByRow<Arc<str>>, damaged: bool) -> Result<(), String> {
        for id in rows.0[0].keys() {
            if !self.sessions.contains_key(id) {
                return Err(format!("session {id} is there, and nobody ever asked for it"));
            }
        }
        if damaged {
            return Ok(());
        }
        for (id, versions) in &self.sessions {
            let state = rows.0[0].get(id).map(|text| task(text));
            let by_outsiders = self.outsiders.get(id).is_some_and(|may_be| may_be.contains(&state));
            if !self.spoilt.contains(id)
                && !by_outsiders
                && !versions.iter().any(|version| version.may_be.contains(&state))
            {
                return Err(format!("session {id} is {state:?}, and not one of {versions:?}"));
            }
        }
        Ok(())
    }
}

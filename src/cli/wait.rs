//! Waiting until what was sent has got where it should: it listens to the daemon's events, over a restart of it too, and asks
//! nothing again and again. It must not say that something was read that is only handed over.

use super::commands::{Caller, parse};
use super::events::{Events, Heard};
use super::follow::{note_back, pause, pauses, subscribe};
use super::reader::Reader;
use super::text::line;
use super::wire::{Delivery, DeliveryNews, Message, Sent};
use super::{Problem, World, words};
use crate::error::exit_code;
use crate::limits::FOLLOW_AGAIN_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Each recipient has taken it.
    Handed,
    /// Each recipient has read it.
    Read,
}

/// Somebody who listens to what becomes of messages.
pub(crate) struct Watch {
    events: Events,
    until: Until,
    patience: Duration,
}

/// What is known of each message and recipient that is waited for.
type Goals = BTreeMap<(String, String), Delivery>;

impl Until {
    fn is_reached(self, delivery: &Delivery) -> bool {
        match self {
            Self::Handed => matches!(delivery.state.as_str(), "handed" | "read"),
            Self::Read => delivery.state == "read",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Handed => "handed over",
            Self::Read => "read",
        }
    }
}

/// Whether it will never be read by this one any more.
fn is_settled(delivery: &Delivery) -> bool {
    !matches!(delivery.state.as_str(), "queued" | "handed" | "read")
}

impl Watch {
    /// Listens from now on.
    pub(crate) fn begin(caller: &Caller<'_>, until: Until, patience: Duration) -> Result<Self, Problem> {
        Ok(Self { events: subscribe(caller)?, until, patience })
    }

    /// Waits, and says what came of it.
    pub(crate) fn finish(mut self, caller: &Caller<'_>, world: &mut World<'_>, sent: &Sent) -> Result<(), Problem> {
        let mut goals = goals(sent);
        let end = Instant::now() + self.patience;
        while !self.is_reached(&goals) {
            if let Some(hopeless) = goals.values().find(|delivery| is_settled(delivery)) {
                let (name, reader) = (line(&hopeless.nickname), world.reader());
                let message =
                    format!("it will not be {}: {name}: {}", self.until.word(), words::delivery(hopeless, &reader));
                return Err(Problem::new(exit_code::REFUSED, message));
            }
            match self.events.next_before(end) {
                Ok(Some(Heard::Event(name, data))) if name == "delivery" => {
                    let news: DeliveryNews = parse(&data)?;
                    let key = (news.message_id, news.delivery.session_id.clone());
                    if let Some(known) = goals.get_mut(&key) {
                        *known = news.delivery;
                    }
                }
                Ok(Some(_)) => {}
                _ if Instant::now() >= end => {
                    // Without an answer there is still what was heard.
                    let _ = look(caller, &mut goals);
                    if !self.is_reached(&goals) {
                        return Err(self.late(&goals, &world.reader()));
                    }
                }
                // It may only have been started anew: what was sent is on its disk.
                Ok(None) | Err(_) => self.listen_again(caller, world, &mut goals, end)?,
            }
        }
        if !caller.parsed.has("json") {
            let reader = world.reader();
            for delivery in goals.values() {
                world.print(&format!("{}: {}\n", line(&delivery.nickname), words::delivery(delivery, &reader)))?;
            }
        }
        Ok(())
    }

    /// Listens to the daemon that has gone once it is back, and learns what it has missed. This takes until `end` at most.
    fn listen_again(
        &mut self,
        caller: &Caller<'_>,
        world: &mut World<'_>,
        goals: &mut Goals,
        end: Instant,
    ) -> Result<(), Problem> {
        world.note("the connection to the daemon is lost: what was sent is stored; trying again.");
        let mut pauses = pauses();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // Also before the first try: a stream that is granted and ends at once must not be asked for without end.
            pause(left.min(pauses.next().unwrap_or(FOLLOW_AGAIN_MAX)));
            let problem = match self.try_again(caller, goals) {
                Err(problem) if problem.is_passing() => Problem { code: exit_code::UNAVAILABLE, ..problem },
                Err(problem) => return Err(problem),
                Ok(()) => {
                    note_back(world);
                    return Ok(());
                }
            };
            if end <= Instant::now() {
                return Err(problem.because("it was sent, but what has become of it is not known"));
            }
        }
    }

    fn try_again(&mut self, caller: &Caller<'_>, goals: &mut Goals) -> Result<(), Problem> {
        self.events = subscribe(caller)?;
        // Only now, so that nothing happens between the two.
        look(caller, goals)
    }

    fn is_reached(&self, goals: &Goals) -> bool {
        goals.values().all(|delivery| self.until.is_reached(delivery))
    }

    /// What there is to say when the time is over: how things stand by then.
    fn late(&self, goals: &Goals, reader: &Reader) -> Problem {
        let open: Vec<&Delivery> = goals.values().filter(|delivery| !self.until.is_reached(delivery)).collect();
        let seconds = self.patience.as_secs();
        let told =
            |delivery: &&Delivery| format!("{}: {}", line(&delivery.nickname), words::delivery(delivery, reader));
        let lines = open.iter().map(told);
        let (word, count, of) = (self.until.word(), open.len(), goals.len());
        let message = format!("not {word} by {count} of {of} after {seconds} s");
        Problem { more: lines.collect(), ..Problem::new(exit_code::REFUSED, message) }
    }
}

/// Asks where the messages are by now.
fn look(caller: &Caller<'_>, goals: &mut Goals) -> Result<(), Problem> {
    let ids: BTreeSet<String> = goals.keys().map(|(message, _)| message.clone()).collect();
    for id in ids {
        let message: Message = parse(&caller.get(&format!("/v1/messages/{id}"), &[])?)?;
        for delivery in message.deliveries {
            if let Some(known) = goals.get_mut(&(id.clone(), delivery.session_id.clone())) {
                *known = delivery;
            }
        }
    }
    Ok(())
}

/// Each message and recipient, with what the answer to sending told of it.
fn goals(sent: &Sent) -> Goals {
    let alone = std::slice::from_ref(sent);
    let all = if sent.messages.is_empty() { alone } else { &sent.messages };
    let mut goals = Goals::new();
    for message in all {
        for recipient in &message.recipients {
            let key = (message.message_id.clone(), recipient.session_id.clone());
            let known = message.deliveries.iter().find(|delivery| delivery.session_id == recipient.session_id);
            let (session_id, nickname) = (recipient.session_id.clone(), recipient.nickname.clone());
            let unknown = || Delivery { session_id, nickname, state: "queued".to_owned(), ..Delivery::default() };
            goals.insert(key, known.cloned().unwrap_or_else(unknown));
        }
    }
    goals
}

//! Waiting until what was sent has got where it should: it listens to the daemon's events, and asks nothing again and
//! again. It must not say that something was read that is only handed over.

use super::commands::{Caller, parse};
use super::http_client::{Client, Events, Failure};
use super::text::line;
use super::wire::{Delivery, DeliveryNews, Message, Sent};
use super::{Problem, World, words};
use crate::error::exit_code;
use std::collections::BTreeMap;
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
        let events =
            Client::new(caller.socket).events("/v1/events").map_err(|failure| caller.no_answer(&failure, false))?;
        Ok(Self { events, until, patience })
    }

    /// Waits, and says what came of it.
    pub(crate) fn finish(mut self, caller: &Caller<'_>, world: &mut World<'_>, sent: &Sent) -> Result<(), Problem> {
        let mut goals = goals(sent);
        let end = Instant::now() + self.patience;
        while !goals.values().all(|delivery| self.until.is_reached(delivery)) {
            if let Some(hopeless) = goals.values().find(|delivery| is_settled(delivery)) {
                let name = line(&hopeless.nickname);
                let message = format!("it will not be {}: {name}: {}", self.until.word(), words::delivery(hopeless));
                return Err(Problem::new(exit_code::REFUSED, message));
            }
            match self.events.next(end) {
                Ok((name, data)) if name == "delivery" => {
                    let news: DeliveryNews = parse(&data)?;
                    let key = (news.message_id, news.delivery.session_id.clone());
                    if let Some(known) = goals.get_mut(&key) {
                        *known = news.delivery;
                    }
                }
                Ok(_) => {}
                Err(Failure::Late) => return Err(self.late(caller, &goals)),
                Err(failure) => {
                    let problem = caller.no_answer(&failure, false);
                    return Err(problem.because("it was sent, but what becomes of it cannot be watched any more"));
                }
            }
        }
        if !caller.parsed.has("json") {
            for delivery in goals.values() {
                world.print(&format!("{}: {}\n", line(&delivery.nickname), words::delivery(delivery)))?;
            }
        }
        Ok(())
    }

    /// What there is to say when the time is over: how things stand now.
    fn late(&self, caller: &Caller<'_>, goals: &Goals) -> Problem {
        let mut now = goals.clone();
        let ids: std::collections::BTreeSet<&String> = goals.keys().map(|(message, _)| message).collect();
        for id in ids {
            let body = caller.get(&format!("/v1/messages/{id}"), &[]).and_then(|body| parse::<Message>(&body));
            for delivery in body.map(|message| message.deliveries).unwrap_or_default() {
                if let Some(known) = now.get_mut(&(id.clone(), delivery.session_id.clone())) {
                    *known = delivery;
                }
            }
        }
        let open: Vec<&Delivery> = now.values().filter(|delivery| !self.until.is_reached(delivery)).collect();
        let seconds = self.patience.as_secs();
        let lines = open.iter().map(|delivery| format!("{}: {}", line(&delivery.nickname), words::delivery(delivery)));
        let (word, count, of) = (self.until.word(), open.len(), now.len());
        let message = format!("not {word} by {count} of {of} after {seconds} s");
        Problem { more: lines.collect(), ..Problem::new(exit_code::REFUSED, message) }
    }
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

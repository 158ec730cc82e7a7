//! Whether what senders are told is so. It knows what the models were given and nothing of how the daemon decides.

use crate::Shared;
use crate::support::seeded::Random;
use crate::support::{Daemon, Place};
use crate::talk::Talk;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;

/// How often each message was given to each agent's model, and what each agent did last.
#[derive(Debug, Default)]
pub struct Models(BTreeMap<(String, String), usize>, BTreeMap<String, VecDeque<String>>);

impl Models {
    pub fn give(&mut self, agent: &str, message: String) {
        *self.0.entry((message, agent.to_owned())).or_default() += 1;
    }

    /// Notes what an agent did.
    pub fn tell(&mut self, agent: &str, what: String) {
        let story = self.1.entry(agent.to_owned()).or_default();
        story.push_back(what);
        if story.len() > 2000 {
            story.pop_front();
        }
    }

    /// What an agent did about this time.
    fn story(&self, agent: &str, at: i64) -> Vec<String> {
        let told = self.1.get(agent).into_iter().flatten();
        let when = |line: &str| line.split(' ').next().unwrap().parse::<i64>().unwrap();
        told.filter(|line| (when(line) - at).abs() < 400).cloned().collect()
    }

    fn has(&self, message: &str, agent: &str) -> bool {
        self.0.contains_key(&(message.to_owned(), agent.to_owned()))
    }
}

/// What a message can come to, and nothing after it.
const FINAL: [&str; 4] = ["read", "expired", "superseded", "undeliverable"];

pub struct Judge {
    shared: Shared,
    talk: Talk,
    /// Final states that were seen.
    settled: BTreeMap<String, String>,
    looks: usize,
}

impl Judge {
    pub fn new(shared: Shared) -> Self {
        let talk = Talk::new(shared.socket.clone());
        Self { shared, talk, settled: BTreeMap::new(), looks: 0 }
    }

    /// Looks at messages here and there, as senders do, until all agents have read what there was.
    pub fn watch(mut self, mut random: Random) -> Self {
        while self.shared.done.load(Ordering::Relaxed) < crate::AGENTS {
            let sent = self.shared.sent.lock().unwrap();
            let one = (!sent.is_empty()).then(|| sent[random.below(sent.len())].clone());
            drop(sent);
            match one {
                Some((message, agent)) => drop(self.look(&message, &agent)),
                None => std::thread::yield_now(),
            }
        }
        self
    }

    /// What the sender is told of a message, if the daemon is there.
    fn look(&mut self, message: &str, agent: &str) -> Option<String> {
        let page = self.talk.get(&format!("/v1/messages?message={message}"))?;
        let told = &page["messages"][0]["deliveries"][0];
        let state = told["state"].as_str().unwrap_or_else(|| panic!("{page}")).to_owned();
        assert_eq!(told["sessionId"], agent);
        self.looks += 1;
        if state == "read" {
            let models = self.shared.models.lock().unwrap();
            let (is_given, story) = (models.has(message, agent), models.story(agent, told["at"].as_i64().unwrap()));
            drop(models);
            let lines = || self.lines(message);
            assert!(is_given, "{message} is said to be read, never given to {agent}: {story:#?}\n{}", lines());
        }
        if let Some(before) = self.settled.get(message) {
            assert_eq!(*before, state, "{message} was {before} before");
        } else if FINAL.contains(&state.as_str()) {
            self.settled.insert(message.to_owned(), state.clone());
        }
        Some(state)
    }

    /// What the log says of a message.
    fn lines(&self, message: &str) -> String {
        let text = std::fs::read_to_string(&self.shared.log).unwrap();
        text.lines().filter(|line| line.contains(message)).collect::<Vec<_>>().join("\n")
    }

    /// All is quiet: every message has come to something, and the sender is told to what.
    pub fn verdict(mut self, daemon: &Daemon, place: &Place) {
        let sent = self.shared.sent.lock().unwrap().clone();
        let distinct: BTreeSet<&str> = sent.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(distinct.len(), self.shared.wanted, "each message has an id of its own");
        let looks = self.looks;
        let mut came_to: BTreeMap<String, usize> = BTreeMap::new();
        for (message, agent) in &sent {
            let state = self.look(message, agent).unwrap();
            let is_given = self.shared.models.lock().unwrap().has(message, agent);
            assert!(state == "read" || state == "expired", "{message} to {agent} is {state}");
            assert!(state != "read" || is_given, "{message} is lost");
            *came_to.entry(state).or_default() += 1;
        }
        let models = self.shared.models.lock().unwrap();
        let given: usize = models.0.values().sum();
        let strangers = models.0.keys().filter(|(message, _)| !distinct.contains(message.as_str())).count();
        assert_eq!(strangers, 0, "models were given messages that nobody sent");
        eprintln!(
            "{came_to:?}; {given} handings of {} messages reached a model; {looks} looks meanwhile",
            models.0.len()
        );
        drop(models);
        self.no_two_ends(&place.log_events());
        assert!(looks > 100 && came_to["read"] > self.shared.wanted / 2, "there was nothing to judge: {looks}");
        assert_eq!(daemon.get("/healthz").status, 200);
    }

    /// In the log, too, nothing is both read and settled otherwise.
    fn no_two_ends(&self, events: &[Value]) {
        let mut rows: BTreeMap<(&str, &str), &Value> = BTreeMap::new();
        for event in events {
            let (item_type, id) = (event["itemType"].as_str().unwrap(), event["item"]["id"].as_str().unwrap());
            match event["changeType"].as_str() {
                Some("SET") => drop(rows.insert((item_type, id), &event["item"])),
                _ => drop(rows.remove(&(item_type, id))),
            }
        }
        for ((item_type, id), row) in &rows {
            if *item_type == "Delivery" {
                assert!(!rows.contains_key(&("MessageRead", *id)), "{id} is read, and {row}");
            }
        }
    }
}

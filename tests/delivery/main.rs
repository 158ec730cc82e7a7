//! Senders write to agents that crash, hang, hang up in the middle of an answer, end and come back, while the daemon is
//! killed. What each agent's model was given is noted where it is given, and held against what senders are told: a message
//! that is said to be read was given to the model before, none is lost, and what is final stays so. A few thousand messages
//! here; `scripts/delivery` sends a hundred thousand. `MARSHAL_TEST_SEED` repeats a run's choices (though not its timing).
#![allow(missing_docs, unreachable_pub)] // nobody else uses these modules
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too
#![allow(clippy::disallowed_types)] // what the models were given is one ledger that is written and looked at at once

mod agents;
mod judge;
#[path = "../support/mod.rs"]
mod support;
mod talk;

use agents::Agent;
use judge::{Judge, Models};
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use support::seeded::Random;
use support::{DEADLINE, Place};
use talk::Talk;

const AGENTS: usize = 24;
const SENDERS: usize = 6;

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |number| number.parse().unwrap())
}

/// What all threads of a run share.
#[derive(Clone)]
pub struct Shared {
    pub socket: PathBuf,
    pub log: PathBuf,
    /// What the models were given.
    pub models: Arc<Mutex<Models>>,
    /// Messages whose sending was acknowledged: id, recipient.
    pub sent: Arc<Mutex<Vec<(String, String)>>>,
    /// Agents make no more trouble, and read what there is.
    pub calm: Arc<AtomicBool>,
    pub wanted: usize,
    pub under_way: Arc<AtomicUsize>,
    /// Agents that have found nothing more to read.
    pub done: Arc<AtomicUsize>,
}

pub fn name(agent: usize) -> String {
    format!("agent-{agent:02}")
}

/// One sender: what it does not know the fate of it sends again under the same name.
fn send(shared: &Shared, number: usize, mut random: Random, progress: &Sender<usize>) {
    let talk = Talk::new(shared.socket.clone());
    loop {
        let at = shared.under_way.fetch_add(1, Ordering::Relaxed);
        if at >= shared.wanted {
            return;
        }
        let to = name(random.below(AGENTS));
        let priority = *random.pick(&["low", "next", "next", "now"]);
        let mut body = json!({"human": format!("sender-{number}"), "to": to, "body": format!("message {at}"),
            "priority": priority, "clientMessageId": format!("key-{at}")});
        if random.below(50) == 0 {
            body["expiresIn"] = 1.into();
        }
        let answer = talk.until_answered("/v1/messages", &body);
        let id = answer["messageId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        shared.sent.lock().unwrap().push((id, to));
        // After the last kill nobody listens any more.
        let _ = progress.send(at);
    }
}

#[test]
fn what_is_said_to_be_read_was_read_and_nothing_is_lost() {
    let mut random = Random::from_env();
    let wanted = number("MARSHAL_DELIVERY_MESSAGES", 3000);
    let kills = number("MARSHAL_DELIVERY_KILLS", 3);
    let place = Place::new();
    let mut daemon = place.start();
    let shared = Shared {
        socket: daemon.socket.clone(),
        log: place.log_path(),
        models: Arc::default(),
        sent: Arc::default(),
        calm: Arc::default(),
        wanted,
        under_way: Arc::default(),
        done: Arc::default(),
    };
    let spawn =
        |name: String, work: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name).spawn(work).unwrap();
    let mut threads = Vec::new();
    for number in 0..AGENTS {
        let mut agent = Agent::new(shared.clone(), number, Random::seeded(random.next()));
        threads.push(spawn(name(number), Box::new(move || agent.live())));
    }
    let (tell, progress) = channel();
    let sending: Vec<_> = (0..SENDERS)
        .map(|number| {
            let (shared, random) = (shared.clone(), Random::seeded(random.next()));
            let tell = tell.clone();
            spawn(format!("sender-{number}"), Box::new(move || send(&shared, number, random, &tell)))
        })
        .collect();
    let watching = {
        let (shared, random) = (shared.clone(), Random::seeded(random.next()));
        std::thread::Builder::new().name("judge".to_owned()).spawn(move || Judge::new(shared).watch(random)).unwrap()
    };
    // The daemon is killed each time another part of the messages is under way.
    for kill in 1..=kills {
        while progress.recv_timeout(3 * DEADLINE).expect("messages are sent") < wanted * kill / (kills + 1) {}
        daemon.kill();
        daemon = place.start();
    }
    sending.into_iter().for_each(|thread| thread.join().unwrap());
    shared.calm.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let watched = watching.join().unwrap();
    watched.verdict(&daemon, &place);
}

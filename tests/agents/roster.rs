//! A daemon as its users see it: through the command line, and the stream of events.

use super::PATIENCE;
use super::support::events::{Event, Events};
use super::support::{Daemon, Place};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

pub type Sessions = BTreeMap<String, Value>;

pub struct Roster {
    pub place: Place,
    events: Receiver<Event>,
    /// Killed when this is dropped.
    daemon: Daemon,
}

impl Roster {
    /// A daemon in a fresh directory.
    pub fn start() -> Self {
        Self::start_in(Place::new())
    }

    fn start_in(place: Place) -> Self {
        let daemon = place.start_locked();
        let ((sender, events), (subscribed, is_subscribed), socket) = (channel(), channel(), daemon.socket.clone());
        // It ends with the daemon, at the latest.
        let hear = move || {
            let mut stream = Events::subscribe(&socket, &[]);
            subscribed.send(()).unwrap();
            while stream.try_next().is_some_and(|event| sender.send(event).is_ok()) {}
        };
        Builder::new().name("events".to_owned()).spawn(hear).unwrap();
        is_subscribed.recv().unwrap();
        Self { place, events, daemon }
    }

    /// The same with another daemon, after this one's sudden death.
    pub fn killed_and_started_again(self) -> Self {
        self.daemon.kill();
        Self::start_in(self.place)
    }

    pub fn directory(&self) -> &Path {
        self.place.dir.path()
    }

    /// Where requests go by TCP.
    pub fn address(&self) -> SocketAddr {
        self.daemon.hooks
    }

    /// What `marshal` prints.
    pub fn marshal(&self, arguments: &[&str]) -> Value {
        let output = self.place.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Sends a message and gives its id.
    pub fn send(&self, options: &[&str], to: &str, text: &str) -> String {
        let arguments = [&["send", "--json", "--from", "ana"], options, &[to, text]].concat();
        self.marshal(&arguments)["messageId"].as_str().unwrap().to_owned()
    }

    /// Where a message to one session is.
    pub fn delivery(&self, message: &str) -> Value {
        let mut found = self.marshal(&["history", "--json", "--message", message]);
        found["messages"][0]["deliveries"][0].take()
    }

    /// Asserts that the sender is told that these were read.
    pub fn assert_read(&self, messages: &[&str]) {
        for message in messages {
            let delivery = self.delivery(message);
            assert_eq!(delivery["state"], "read", "{delivery}");
        }
    }

    /// The sessions that `marshal ls` shows, by id.
    pub fn sessions(&self) -> Sessions {
        let all = self.marshal(&["ls", "--json"]);
        let all = all["sessions"].as_array().unwrap().clone();
        all.into_iter().map(|session| (session["sessionId"].as_str().unwrap().to_owned(), session)).collect()
    }

    /// Waits until the roster is as wanted. It is looked at again after each event; and without one now and then, since
    /// that somebody waits for a session's mail is told to nobody.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Sessions) -> bool) -> Sessions {
        let end = Instant::now() + PATIENCE;
        loop {
            let sessions = self.sessions();
            if wanted(&sessions) {
                return sessions;
            }
            assert!(Instant::now() < end, "never so: {what}; the roster: {}", serde_json::json!(sessions));
            let _ = self.events.recv_timeout(Duration::from_millis(250));
        }
    }

    /// Waits for the only session, and gives its id.
    pub fn comes(&mut self) -> String {
        self.until("a session comes", |sessions| !sessions.is_empty()).pop_first().unwrap().0
    }

    /// Waits until a session idles, and somebody waits for its mail to wake it.
    pub fn can_be_woken(&mut self, id: &str) {
        let is_so = |session: &Value| session["state"] == "idle" && session["reach"] == "wakeable";
        self.until("it can be woken", |sessions| sessions.get(id).is_some_and(is_so));
    }

    /// Waits until a session has gone, and says why it went.
    pub fn goes(&mut self, id: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let event = self.events.recv_timeout(end.saturating_duration_since(Instant::now()));
            let event = event.unwrap_or_else(|_| panic!("{id} does not leave"));
            if event.name == "leave" && event.data["sessionId"] == id {
                assert!(!self.sessions().contains_key(id));
                return event.data["reason"].as_str().unwrap().to_owned();
            }
        }
    }
}

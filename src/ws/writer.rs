//! The writing half of all WebSocket clients: the only thread that writes to their sockets. It gathers what waits for a
//! client into one write that never blocks; what the socket does not take is kept until it does, or until the client is
//! given up. It must not wait for anybody.

use super::bell::{Bell, Listener};
use super::gather::Gatherer;
use super::{Seat, Settings, disconnect};
use crate::error::exit_code;
use crate::gate::Stream;
use crate::limits::{WS_EVENTS_PER_TURN_MAX, WS_WRITES_PER_TURN_MAX};
use crate::log_pace::Pace;
use crate::thread::Exit;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One client.
pub(super) struct Writing {
    number: usize,
    stream: Arc<Stream>,
    _seat: Arc<Seat>,
    gatherer: Gatherer,
    /// Rings when there is something to be written.
    bell: Arc<Bell>,
    /// Tells the reader that the client has taken answers.
    resumes: Arc<Bell>,
    /// What the socket has not taken yet, from `sent` on.
    rest: Vec<u8>,
    sent: usize,
    ping_every: Duration,
    next_ping: Instant,
    /// When it is given up for taking nothing; the poll tells when it does.
    blocked_until: Option<Instant>,
    /// Its place among the deadlines.
    due: Instant,
    /// It stands in the list of those for whom there may be more.
    is_listed: bool,
}

/// What has become of a client in its turn.
enum Turn {
    /// All is written.
    Over,
    /// There may be more.
    Again,
    /// The socket takes no more for now.
    Blocked,
    /// It is gone, or has been told all.
    Gone,
}

impl Writing {
    pub(super) fn new(
        number: usize,
        stream: Arc<Stream>,
        seat: Arc<Seat>,
        gatherer: Gatherer,
        bell: Arc<Bell>,
        resumes: Arc<Bell>,
        ping_every: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            number,
            stream,
            _seat: seat,
            gatherer,
            bell,
            resumes,
            rest: Vec::new(),
            sent: 0,
            ping_every,
            next_ping: now,
            blocked_until: None,
            due: now,
            is_listed: false,
        }
    }

    /// Writes what there is, up to a bound.
    fn turn(&mut self, buffer: &mut Vec<u8>, ping: bool) -> io::Result<Turn> {
        if !self.write_rest()? {
            return Ok(Turn::Blocked);
        }
        // From here on somebody who puts a frame in is heard.
        self.bell.heard();
        buffer.clear();
        if ping {
            self.gatherer.ping(buffer);
        }
        for _ in 0..WS_WRITES_PER_TURN_MAX {
            if self.gatherer.is_over() {
                return Ok(Turn::Gone);
            }
            let is_all = self.gatherer.gather(buffer);
            // The reader may wait for the room that this has made.
            self.resumes.ring();
            let sent = self.write(buffer)?;
            if sent < buffer.len() {
                self.rest = buffer[sent..].to_vec();
                return Ok(Turn::Blocked);
            }
            buffer.clear();
            if is_all && !self.gatherer.is_over() {
                return Ok(Turn::Over);
            }
        }
        Ok(Turn::Again)
    }

    /// Writes what was left. Says whether nothing is.
    fn write_rest(&mut self) -> io::Result<bool> {
        if self.rest.is_empty() {
            return Ok(true);
        }
        let sent = self.write(&self.rest[self.sent..])?;
        if sent > 0 {
            // It takes its time, but it takes it.
            self.blocked_until = None;
        }
        self.sent += sent;
        if self.sent < self.rest.len() {
            return Ok(false);
        }
        (self.rest, self.sent) = (Vec::new(), 0);
        Ok(true)
    }

    /// Writes what the socket takes now.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            match (&*self.stream).write(&bytes[sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}

/// Serves all clients.
pub(super) struct Writer {
    listener: Listener,
    joins: Receiver<Writing>,
    exits: Sender<Exit>,
    write_timeout: Duration,
    held_bytes_max: usize,
    clients: HashMap<usize, Writing>,
    /// When to look after a client, at the latest; one for each.
    deadlines: BTreeSet<(Instant, usize)>,
    /// Bytes that sockets have not taken yet, of all clients.
    held_bytes: usize,
    /// Clients for whom there may be more to write.
    again: VecDeque<usize>,
    /// What is being written.
    buffer: Vec<u8>,
    now: Instant,
    /// The reader is there.
    is_open: bool,
}

impl Writer {
    pub(super) fn new(listener: Listener, joins: Receiver<Writing>, settings: &Settings, exits: Sender<Exit>) -> Self {
        Self {
            listener,
            joins,
            exits,
            write_timeout: settings.write_timeout,
            held_bytes_max: settings.held_bytes_max,
            clients: HashMap::new(),
            deadlines: BTreeSet::new(),
            held_bytes: 0,
            again: VecDeque::new(),
            buffer: Vec::new(),
            now: Instant::now(),
            is_open: true,
        }
    }

    /// Until the reader is gone and all clients have been told what there was to tell.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(WS_EVENTS_PER_TURN_MAX);
        while self.is_open || !self.clients.is_empty() {
            let timeout = match self.again.is_empty() {
                true => self.deadlines.first().map(|(at, _)| at.saturating_duration_since(Instant::now())),
                false => Some(Duration::ZERO),
            };
            let joins = &self.joins;
            if let Err(error) = self.listener.wait(&mut events, timeout, || joins.is_empty()) {
                let reason = format!("the WebSocket writer cannot wait for its sockets: {error}");
                // Full means that the process is stopping already.
                let _ = self.exits.try_send(Exit::Fatal(reason, exit_code::OS));
                return;
            }
            self.turn(&events);
        }
    }

    fn turn(&mut self, events: &Events) {
        self.now = Instant::now();
        // Before the clients are let in: whoever rings for one has let it in before.
        let rung: Vec<usize> = self.listener.rung().collect();
        self.admit();
        rung.into_iter().for_each(|number| self.list(number));
        for event in events {
            let Token(number) = event.token();
            if self.clients.get(&number).is_some_and(|client| client.blocked_until.is_some()) {
                self.serve(number, false);
            }
        }
        for _ in 0..self.again.len() {
            let next = self.again.pop_front();
            let client = next.and_then(|number| self.clients.get_mut(&number));
            let Some(client) = client else { continue };
            client.is_listed = false;
            // The poll tells of one that is blocked.
            if client.blocked_until.is_none() {
                let number = client.number;
                self.serve(number, false);
            }
        }
        while let Some(number) = self.overdue() {
            self.look_after(number);
        }
    }

    /// Notes that there may be more to write for a client; once, however often it is said.
    fn list(&mut self, number: usize) {
        if let Some(client) = self.clients.get_mut(&number)
            && !std::mem::replace(&mut client.is_listed, true)
        {
            self.again.push_back(number);
        }
    }

    fn admit(&mut self) {
        loop {
            match self.joins.try_recv() {
                Ok(mut client) => {
                    client.next_ping = self.now + client.ping_every;
                    client.due = client.next_ping;
                    self.deadlines.insert((client.due, client.number));
                    self.clients.insert(client.number, client);
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.is_open = false;
                    return;
                }
            }
        }
    }

    fn serve(&mut self, number: usize, ping: bool) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let was_blocked = client.blocked_until.is_some();
        let held_before = client.rest.len();
        let turn = client.turn(&mut self.buffer, ping).unwrap_or_else(|error| {
            log::debug!("a client does not take its frames: {error}");
            Turn::Gone
        });
        self.held_bytes = self.held_bytes - held_before + client.rest.len();
        let source = client.stream.as_raw_fd();
        let registry = self.listener.registry();
        let watched = match turn {
            Turn::Blocked if !was_blocked => {
                registry.register(&mut SourceFd(&source), Token(number), Interest::WRITABLE)
            }
            Turn::Over | Turn::Again if was_blocked => registry.deregister(&mut SourceFd(&source)),
            _ => Ok(()),
        };
        match turn {
            Turn::Gone => return self.remove(number, was_blocked),
            Turn::Over => client.blocked_until = None,
            Turn::Again => {
                client.blocked_until = None;
                self.list(number);
            }
            Turn::Blocked => {
                let until = *client.blocked_until.get_or_insert(self.now + self.write_timeout);
                if until < client.due {
                    self.deadlines.remove(&(client.due, number));
                    client.due = until;
                    self.deadlines.insert((until, number));
                }
            }
        }
        if let Err(error) = watched {
            static UNWATCHED: Pace = Pace::new();
            UNWATCHED.error(|| format!("cannot wait for a WebSocket client: {error}"));
            self.remove(number, false);
        }
        while self.held_bytes > self.held_bytes_max && self.give_up_longest_blocked() {}
    }

    /// Too much is kept for those who do not read. Says whether there was one.
    fn give_up_longest_blocked(&mut self) -> bool {
        let blocked = self.clients.values().filter_map(|client| Some((client.blocked_until?, client.number)));
        let Some((_, number)) = blocked.min() else { return false };
        log::debug!("a client does not take its frames, and too much is kept for such");
        self.remove(number, true);
        true
    }

    /// A client to be looked after now; it is not named again until it has a new deadline.
    fn overdue(&mut self) -> Option<usize> {
        self.deadlines.first().filter(|(at, _)| *at <= self.now)?;
        self.deadlines.pop_first().map(|(_, number)| number)
    }

    /// Gives up a client that does not read, and pings one that may have died without a word.
    fn look_after(&mut self, number: usize) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if client.blocked_until.is_some_and(|until| until <= self.now) {
            log::debug!("a client does not take its frames in time");
            return self.remove(number, true);
        }
        let ping = client.next_ping <= self.now;
        if ping {
            client.next_ping = self.now + client.ping_every;
        }
        client.due = client.blocked_until.map_or(client.next_ping, |until| until.min(client.next_ping));
        self.deadlines.insert((client.due, number));
        // One that is blocked has other things to read.
        if ping && client.blocked_until.is_none() {
            self.serve(number, true);
        }
    }

    fn remove(&mut self, number: usize, is_registered: bool) {
        let Some(client) = self.clients.remove(&number) else { return };
        self.deadlines.remove(&(client.due, number));
        self.held_bytes -= client.rest.len();
        if is_registered {
            // Its descriptor is closed with it, if that fails.
            let _ = self.listener.registry().deregister(&mut SourceFd(&client.stream.as_raw_fd()));
        }
        let Writing { stream, gatherer, resumes, .. } = client;
        // In this order: a reader that is told of the end finds that nothing is owed any more.
        drop(gatherer);
        disconnect(&stream);
        resumes.ring();
    }
}

//! The reading half of all WebSocket clients: one thread that waits for their sockets, and gives each a turn that has
//! something to say. It waits for nobody but the store. It must not write to a socket.

use super::bell::{Listener, Ropes};
use super::frames::StoreGone;
use super::gather::{Gatherer, Wire};
use super::owed::Owed;
use super::reading::{Common, FromWriter, Heard, Reading, Turn};
use super::subscribers::Subscribed;
use super::writer::Writing;
use super::{Client, Seat, Settings, disconnect};
use crate::error::exit_code;
use crate::gate::respond::event_stream_head;
use crate::gate::{Stream, Subscriber, Upgrade};
use crate::ids::{ClientId, IdSource, SystemIds};
use crate::limits::{WS_EVENTS_PER_TURN_MAX, WS_PUSH_PROOFS_MAX};
use crate::log_pace::Pace;
use crate::roster::Known;
use crate::store::{Command, Frame, FrameQueue};
use crate::thread::Exit;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use std::collections::{HashMap, VecDeque};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The ways to the other threads.
pub(super) struct Ports {
    pub(super) upgrades: Receiver<(Upgrade, Known)>,
    pub(super) subscribers: Receiver<Subscriber>,
    pub(super) store: Sender<Command>,
    /// New clients for the writer.
    pub(super) joins: Sender<Writing>,
    /// The writer's.
    pub(super) ropes: Ropes,
    pub(super) exits: Sender<Exit>,
}

/// Serves all clients.
pub(super) struct Reader<H, M> {
    listener: Listener,
    ports: Ports,
    clients_max: usize,
    /// Makes who takes a client's messages.
    make: M,
    clients: HashMap<usize, Reading<H>>,
    subscribers: HashMap<usize, Subscribed>,
    common: Common,
    /// Clients of whom there may be more to read.
    again: VecDeque<usize>,
    next_client: usize,
    ids: SystemIds,
    /// Clients who have a place.
    seats: Arc<AtomicUsize>,
    /// The gate is there.
    is_open: bool,
}

impl<H: Heard, M: Fn(&Client) -> H> Reader<H, M> {
    pub(super) fn new(listener: Listener, ports: Ports, settings: Settings, make: M) -> Self {
        Self {
            listener,
            clients_max: settings.clients_max,
            common: Common::new(settings, ports.store.clone()),
            ports,
            make,
            clients: HashMap::new(),
            subscribers: HashMap::new(),
            again: VecDeque::new(),
            next_client: 0,
            ids: SystemIds::new(),
            seats: Arc::default(),
            is_open: true,
        }
    }

    /// Until the gate is gone and so are all clients, or until the store is.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(WS_EVENTS_PER_TURN_MAX);
        while self.is_open || !self.clients.is_empty() || !self.subscribers.is_empty() {
            let timeout = match self.again.is_empty() {
                true => self.common.next_deadline().map(|at| at.saturating_duration_since(Instant::now())),
                false => Some(Duration::ZERO),
            };
            let ports = &self.ports;
            let is_idle = || ports.upgrades.is_empty() && ports.subscribers.is_empty();
            if let Err(error) = self.listener.wait(&mut events, timeout, is_idle) {
                let reason = format!("the WebSocket reader cannot wait for its sockets: {error}");
                // Full means that the process is stopping already.
                let _ = self.ports.exits.try_send(Exit::Fatal(reason, exit_code::OS));
                return self.dismiss();
            }
            if let Err(StoreGone) = self.turn(&events) {
                return self.dismiss();
            }
        }
    }

    fn turn(&mut self, events: &Events) -> Result<(), StoreGone> {
        self.common.now = Instant::now();
        self.admit()?;
        for event in events {
            let Token(number) = event.token();
            if let Some(client) = self.clients.get_mut(&number) {
                client.hear_of(event);
                self.list(number);
            } else if self.subscribers.get(&number).is_some_and(Subscribed::has_ended) {
                self.remove_subscriber(number)?;
            }
        }
        let rung: Vec<usize> = self.listener.rung().collect();
        rung.into_iter().for_each(|number| self.list(number));
        for _ in 0..self.again.len() {
            if let Some(number) = self.again.pop_front() {
                self.serve(number)?;
            }
        }
        // One that the poll has not told of yet need not be silent.
        let is_seen = events.iter().count() < WS_EVENTS_PER_TURN_MAX;
        self.common.now = Instant::now();
        while is_seen && let Some(number) = self.common.overdue() {
            let is_over = self.clients.get_mut(&number).is_some_and(|client| client.is_overdue(&mut self.common));
            if is_over {
                self.remove(number)?;
            }
        }
        Ok(())
    }

    /// Notes that there may be more to read of a client; once, however often it is said.
    fn list(&mut self, number: usize) {
        if self.clients.get_mut(&number).is_some_and(Reading::enlist) {
            self.again.push_back(number);
        }
    }

    fn serve(&mut self, number: usize) -> Result<(), StoreGone> {
        // Gone meanwhile.
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        match client.turn(&mut self.common)? {
            Turn::Over => {}
            Turn::Again => self.list(number),
            Turn::Gone => return self.remove(number),
        }
        self.hand_on_leave();
        Ok(())
    }

    /// Gives leave to those who wait for it, as far as there is some.
    fn hand_on_leave(&mut self) {
        while let Some(next) = self.common.next_with_leave() {
            if self.clients.get_mut(&next).is_some_and(|client| client.get_leave(&mut self.common)) {
                self.list(next);
            }
        }
    }

    /// Takes in whom the gate has let in.
    fn admit(&mut self) -> Result<(), StoreGone> {
        while let Ok(subscriber) = self.ports.subscribers.try_recv() {
            match self.has_seat() {
                true => self.add_subscriber(subscriber)?,
                false => self.refuse(&subscriber.stream),
            }
        }
        loop {
            match self.ports.upgrades.try_recv() {
                Ok((upgrade, known)) if self.has_seat() => self.add(upgrade, known)?,
                Ok((upgrade, _)) => self.refuse(&upgrade.stream),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => {
                    self.is_open = false;
                    return Ok(());
                }
            }
        }
    }

    fn has_seat(&self) -> bool {
        self.seats.load(Ordering::SeqCst) < self.clients_max
    }

    fn refuse(&self, stream: &Stream) {
        static REFUSED: Pace = Pace::new();
        let connected = self.clients_max;
        REFUSED.warn(|| format!("refused a WebSocket client, or a subscriber of events: {connected} are connected"));
        disconnect(stream);
    }

    fn add(&mut self, upgrade: Upgrade, known: Known) -> Result<(), StoreGone> {
        log::debug!("a client connects from {}", upgrade.peer);
        let Some((number, client, writer)) = self.welcome(upgrade.stream, known.clone(), Wire::WebSocket) else {
            return Ok(());
        };
        let (id, way) = (client.id.clone(), client.way());
        let heard = (self.make)(&client);
        let reading = Reading::new(number, client, upgrade.leftover, heard, writer, &mut self.common);
        self.clients.insert(number, reading);
        self.list(number);
        self.ports.store.send(Command::Connect { client: id, known, outbox: way }).map_err(|_| StoreGone)
    }

    fn add_subscriber(&mut self, subscriber: Subscriber) -> Result<(), StoreGone> {
        let Subscriber { stream, peer, hearing, since } = subscriber;
        log::debug!("a subscriber connects from {peer}");
        let Some((number, client, writer)) = self.welcome(stream, Known::Unproven, Wire::Events) else { return Ok(()) };
        let (id, way) = (client.id.clone(), client.way());
        client.send(Frame::Raw(event_stream_head()));
        self.subscribers.insert(number, Subscribed::new(client, writer.seat));
        self.ports.store.send(Command::Subscribe { client: id, outbox: way, hearing, since }).map_err(|_| StoreGone)
    }

    /// Makes both halves of a client, of which the writer gets its own. None if the system cannot watch its socket.
    fn welcome(&mut self, stream: Stream, known: Known, wire: Wire) -> Option<(usize, Client, FromWriter)> {
        let number = self.next_client;
        self.next_client += 1;
        let id = ClientId::from(self.ids.new_id());
        log::debug!("client {id} is connected");
        let stream = Arc::new(stream);
        let registered =
            self.listener.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(number), Interest::READABLE);
        if let Err(error) = registered {
            static UNSERVED: Pace = Pace::new();
            UNSERVED.error(|| format!("cannot serve a client: {error}"));
            disconnect(&stream);
            return None;
        }
        let settings = &self.common.settings;
        let (frames, to_write) = bounded(settings.outbox_frames_max);
        let owed = Owed::default();
        let (proofs, proven) = bounded(WS_PUSH_PROOFS_MAX);
        let bell = self.ports.ropes.bell(number);
        let resumes = self.listener.ropes().silent_bell(number);
        let rings = bell.clone();
        let outbox = FrameQueue::new(frames, Arc::new(move || rings.ring()));
        let resumed = resumes.clone();
        let client = Client {
            id,
            stream: stream.clone(),
            known,
            outbox,
            owed: owed.clone(),
            resumes: Arc::new(move || {
                resumed.ring();
            }),
        };
        let seat = Seat::take(&self.seats);
        let gatherer = Gatherer::new(wire, to_write, owed, proofs);
        let ping_every = match wire {
            Wire::WebSocket => settings.ping_every,
            Wire::Events => settings.keep_alive_every,
        };
        let writing = Writing::new(number, stream, seat.clone(), gatherer, bell, resumes.clone(), ping_every);
        // Its thread takes them out whatever else it does; if it is gone the process is stopping.
        let _ = self.ports.joins.send(writing);
        self.ports.ropes.sleeper.wake();
        Some((number, client, FromWriter { seat, proven, resumes }))
    }

    fn remove(&mut self, number: usize) -> Result<(), StoreGone> {
        let Some(client) = self.clients.remove(&number) else { return Ok(()) };
        let client = client.end(&mut self.common);
        log::debug!("client {} is gone", client.id);
        // One that is not registered any more need not be taken out.
        let _ = self.listener.registry().deregister(&mut SourceFd(&client.stream.as_raw_fd()));
        let told = self.ports.store.send(Command::Disconnect { client: client.id.clone() });
        client.end();
        self.hand_on_leave();
        told.map_err(|_| StoreGone)
    }

    fn remove_subscriber(&mut self, number: usize) -> Result<(), StoreGone> {
        let Some(Subscribed { client, .. }) = self.subscribers.remove(&number) else { return Ok(()) };
        log::debug!("subscriber {} is gone", client.id);
        // As above.
        let _ = self.listener.registry().deregister(&mut SourceFd(&client.stream.as_raw_fd()));
        // What it has not taken is not waited for.
        disconnect(&client.stream);
        let told = self.ports.store.send(Command::Disconnect { client: client.id.clone() });
        client.end();
        told.map_err(|_| StoreGone)
    }

    /// The store is gone: what it has said to clients, its good-bye too, is still written.
    fn dismiss(&mut self) {
        for (_, client) in self.clients.drain() {
            client.end(&mut self.common).end();
        }
        for (_, subscribed) in self.subscribers.drain() {
            subscribed.client.end();
        }
    }
}

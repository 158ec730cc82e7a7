//! The gate's thread: waits for sockets, deadlines, returned answers and the wish to stop, and does what follows. It
//! must never wait for anything but its poll, and never send on a queue that could block it.

use super::connection::{After, Answering, Handshake, Progress, Reading, Step};
use super::doors::{Accepted, OpenDoor, replace_unix};
use super::head::{Access, DoorFacts, Head};
use super::parking::Parking;
use super::place::{Connection, Place, State, Worth};
use super::respond::{self, Line, Reason, Refusal};
use super::stream::Socket;
use super::{Auth, Caller, Counts, Credential, DoorKind, Exchange, Request, Requests, Returned, Settings, Upgrade};
use crate::error::exit_code;
use crate::limits;
use crate::log_pace::Pace;
use crate::model::TokenHash;
use crate::process::{self, PeerHandle};
use crate::thread::Exit;
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use mio::{Events, Poll, Token, Waker};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tiny_http::Method;

/// Who may do everything.
const ROOT_UID: u32 = 0;

/// The waker's token; doors and connections count up from zero.
pub(super) const WAKE: Token = Token(usize::MAX);

const OVERLOADED: Refusal = Refusal {
    header: Some(("Retry-After", "1")),
    ..Refusal::new(Reason::Overload, 503, "unavailable", "The daemon is overloaded or stopping; try again.")
};
const TOO_SLOW: Refusal = Refusal::new(Reason::Timeout, 408, "request_timeout", "The request did not arrive in time.");

/// The channels that the gate did not make itself.
pub(super) struct Ports {
    pub(super) requests: Requests,
    pub(super) upgrades: Sender<Upgrade>,
    pub(super) stop_asked: Receiver<()>,
    pub(super) new_tokens: Receiver<TokenHash>,
    pub(super) new_sockets: Receiver<UnixListener>,
    pub(super) exits: Sender<Exit>,
}

/// The queues that the gate feeds. Gone while it stops, so that those at their other ends can end too.
struct Onward {
    requests: Requests,
    upgrades: Sender<Upgrade>,
    /// Each caller's way back.
    returns: Sender<Returned>,
}

/// Everything that the gate owns.
pub(super) struct EventLoop {
    poll: Poll,
    waker: Arc<Waker>,
    doors: Vec<OpenDoor>,
    auth: Auth,
    owner_uid: u32,
    allowed_hosts: Vec<String>,
    connections_max: usize,
    request_deadline: Duration,
    answer_deadline: Duration,
    answer_patience: Duration,
    held_bytes_max: usize,
    connections: HashMap<usize, Connection>,
    /// All connections by their worth; as tokens count up, the first of each worth is the oldest.
    by_worth: BTreeSet<(Worth, usize)>,
    /// Connections of those who are being told what they waited for.
    woken: usize,
    /// Bytes held for all connections together.
    held_bytes: usize,
    deadlines: BTreeSet<(Instant, usize)>,
    /// Callers who wait until there is something to be said to them.
    parking: Parking,
    next_token: usize,
    onward: Option<Onward>,
    returned: Receiver<Returned>,
    stop_asked: Receiver<()>,
    new_tokens: Receiver<TokenHash>,
    new_sockets: Receiver<UnixListener>,
    exits: Sender<Exit>,
    /// While there are no descriptors: when to try again.
    accept_again: Option<Instant>,
    /// While stopping: when to end in any case.
    stop_at: Option<Instant>,
    /// No worker holds a caller any more; seen only while stopping.
    callers_gone: bool,
    counts: Counts,
    scratch: Vec<u8>,
}

impl EventLoop {
    /// Makes the doors ready.
    pub(super) fn new(settings: Settings, poll: Poll, waker: Arc<Waker>, ports: Ports) -> io::Result<Self> {
        let mut doors = Vec::with_capacity(settings.doors.len());
        for (index, door) in settings.doors.into_iter().enumerate() {
            doors.push(OpenDoor::new(door, poll.registry(), Token(index))?);
        }
        let (returns, returned) = bounded(limits::RETURN_QUEUE_MAX);
        Ok(Self {
            poll,
            waker,
            next_token: doors.len(),
            doors,
            auth: settings.auth,
            owner_uid: settings.owner_uid,
            allowed_hosts: settings.allowed_hosts,
            connections_max: settings.connections_max.max(1),
            request_deadline: settings.request_deadline,
            answer_deadline: settings.answer_deadline,
            answer_patience: settings.answer_patience,
            held_bytes_max: settings.held_bytes_max,
            connections: HashMap::new(),
            by_worth: BTreeSet::new(),
            woken: 0,
            held_bytes: 0,
            deadlines: BTreeSet::new(),
            parking: Parking::new(settings.waiters_max),
            onward: Some(Onward { requests: ports.requests, upgrades: ports.upgrades, returns }),
            returned,
            stop_asked: ports.stop_asked,
            new_tokens: ports.new_tokens,
            new_sockets: ports.new_sockets,
            exits: ports.exits,
            accept_again: None,
            stop_at: None,
            callers_gone: false,
            counts: Counts::default(),
            scratch: vec![0; limits::GATE_READ_BYTES],
        })
    }

    /// Until somebody asks to stop and everything is finished or out of time.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(limits::GATE_EVENTS_PER_TURN_MAX);
        while !self.is_finished(Instant::now()) {
            let timeout = self.timeout(Instant::now());
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // Full means that the process is stopping already.
                    let reason = format!("the gate cannot wait for its sockets: {error}");
                    let _ = self.exits.try_send(Exit::Fatal(reason, exit_code::OS));
                    return;
                }
            }
            self.turn(&events);
        }
    }

    fn turn(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                WAKE => {}
                Token(index) if index < self.doors.len() => self.doors[index].is_ready = true,
                // Of a door that was closed, or a connection that is gone: not found, nothing to do.
                Token(token) if self.connections.contains_key(&token) => self.drive(token),
                Token(token) => self.parking.hear_of(token),
            }
        }
        self.take_back();
        self.take_new_token();
        replace_unix(&mut self.doors, &self.new_sockets, self.poll.registry());
        if self.stop_at.is_none() && self.stop_asked.try_recv().is_ok() {
            self.begin_to_stop();
        }
        self.accept();
        self.expire(Instant::now());
    }

    /// How long there is nothing to do: for ever when the daemon is idle.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        let can_accept = self.accept_again.is_none() && self.doors.iter().any(|door| door.is_ready);
        if can_accept || !self.returned.is_empty() {
            return Some(Duration::ZERO);
        }
        // A caller that a worker drops or answers by itself wakes nobody.
        let look = (self.stop_at.is_some() && !self.callers_gone).then(|| now + limits::STOP_LOOK_EVERY);
        let first = self.deadlines.first().map(|(deadline, _)| *deadline);
        let next =
            [self.accept_again, self.stop_at, look, first, self.parking.next_deadline()].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(now))
    }

    // ---- connections come and go ----

    /// Holds a connection until its socket is ready or its time is over. One that the poll cannot take is dropped.
    fn keep(&mut self, token: usize, state: State, mut place: Place) {
        if !place.registered {
            if place.socket.register(self.poll.registry(), Token(token)).is_err() {
                return;
            }
            place.registered = true;
        }
        self.deadlines.insert((place.deadline, token));
        self.by_worth.insert((state.worth(), token));
        self.woken += usize::from(state.worth() == Worth::Woken);
        self.held_bytes += state.held_bytes();
        self.connections.insert(token, Connection { place, state });
        while self.held_bytes > self.held_bytes_max && self.evict_holder(token) {}
    }

    fn take(&mut self, token: usize) -> Option<Connection> {
        let connection = self.connections.remove(&token)?;
        self.deadlines.remove(&(connection.place.deadline, token));
        self.by_worth.remove(&(connection.state.worth(), token));
        self.woken -= usize::from(connection.state.worth() == Worth::Woken);
        self.held_bytes -= connection.state.held_bytes();
        Some(connection)
    }

    /// Makes room by closing the connection that is worth the least, but at least `from`, and of those the oldest.
    fn evict(&mut self, from: Worth) -> bool {
        let Some((worth, oldest)) = self.by_worth.range((from, 0)..).next().copied() else {
            return false;
        };
        let now = Instant::now();
        // Answers begin in the order of their tokens: if this one has not had its time, none has.
        let may_end = |place: &Place| now + self.answer_deadline >= place.deadline + self.answer_patience;
        if worth >= Worth::Answering && !self.connections.get(&oldest).is_some_and(|found| may_end(&found.place)) {
            return false;
        }
        self.close_for_others(oldest);
        true
    }

    /// Frees memory by closing the connection that is worth the least of those for which bytes are held, but neither
    /// `newest` nor the only one: an answer that is longer than the bound can still be given. Here no answer may take its
    /// time, or as many callers as there is room for could each leave a large one untaken.
    fn evict_holder(&mut self, newest: usize) -> bool {
        let holds = |token: &usize| self.connections.get(token).is_some_and(|found| found.state.held_bytes() > 0);
        let mut holders = self.by_worth.range((Worth::Reading, 0)..).map(|(_, token)| *token).filter(holds);
        let (Some(first), Some(second)) = (holders.next(), holders.next()) else {
            return false;
        };
        drop(holders);
        self.close_for_others(if first == newest { second } else { first });
        true
    }

    /// Whether as many requests are under way as there is room for.
    fn is_full(&self) -> bool {
        self.connections.len() - self.woken >= self.connections_max
    }

    fn close_for_others(&mut self, token: usize) {
        drop(self.take(token));
        self.counts.evicted += 1;
        static CLOSED: Pace = Pace::new();
        CLOSED.warn(|| "closed an unfinished connection to make room".to_owned());
    }

    fn accept(&mut self) {
        let now = Instant::now();
        if self.accept_again.is_some_and(|again| now < again) {
            return;
        }
        self.accept_again = None;
        for door in 0..self.doors.len() {
            for _ in 0..limits::ACCEPTS_PER_TURN_MAX {
                match self.doors[door].accept() {
                    Accepted::Connection(socket) => self.welcome(socket, door),
                    Accepted::TryAgain => {}
                    Accepted::Nobody => break,
                    Accepted::OutOfDescriptors if self.evict(Worth::Refused) => {}
                    Accepted::OutOfDescriptors => return self.pause_accepting("no descriptor is left"),
                    Accepted::Failed(error) => return self.pause_accepting(&error.to_string()),
                }
            }
        }
    }

    /// There is nobody to be closed for it, or it would not help: what is waiting goes on waiting.
    fn pause_accepting(&mut self, error: &str) {
        static PAUSED: Pace = Pace::new();
        self.accept_again = Some(Instant::now() + limits::ACCEPT_PAUSE);
        self.counts.accept_pauses += 1;
        PAUSED.warn(|| format!("cannot accept a connection: {error}"));
    }

    fn welcome(&mut self, socket: Socket, door: usize) {
        self.counts.accepted += 1;
        if self.is_full() && !self.evict(Worth::Refused) {
            self.counts.evicted += 1;
            static NO_ROOM: Pace = Pace::new();
            NO_ROOM.warn(|| "closed a new connection: there is no room".to_owned());
            return;
        }
        let token = self.next_token;
        self.next_token += 1;
        let deadline = Instant::now() + self.request_deadline;
        // Through a wildcard's door the caller may name the one address that it took, if it is a number.
        let wildcard = |bound: &SocketAddr| bound.ip().is_unspecified();
        let bound = match self.doors[door].bound {
            Some(bound) if wildcard(&bound) => socket.reached_at().map(canonical).or(Some(bound)),
            bound => bound,
        };
        self.read(
            token,
            Reading::default(),
            Place { socket, door, bound, deadline, accepted: process::now(), registered: false },
        );
    }

    fn drive(&mut self, token: usize) {
        match self.take(token) {
            Some(Connection { place, state: State::Reading(reading) }) => self.read(token, reading, place),
            Some(Connection { place, state: State::Answering(answering) }) => self.answer(token, answering, place),
            None => {}
        }
    }

    fn expire(&mut self, now: Instant) {
        self.parking.expire(now);
        while let Some((deadline, token)) = self.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            let Some(Connection { place, state }) = self.take(token) else {
                return; // Never: a deadline is there exactly as long as its connection.
            };
            match state {
                State::Reading(reading) if reading.has_begun() => {
                    self.refuse(token, &TOO_SLOW, &reading.line(), place);
                }
                State::Reading(_) => self.counts.refused_timeout += 1,
                State::Answering(answering) => {
                    let arrived = answering.is_all_written();
                    answering.settle(arrived);
                }
            }
        }
    }

    // ---- a request comes in ----

    fn take_new_token(&mut self) {
        for token in self.new_tokens.try_iter() {
            if let Auth::Required(old) = &mut self.auth {
                *old = token;
            }
        }
    }

    /// The credential that a caller needs now.
    fn access(&mut self, place: &Place) -> Access {
        self.take_new_token();
        let kind = self.doors[place.door].kind;
        match (kind, self.auth) {
            (DoorKind::Unix, _) => match place.socket.peer_process() {
                // Root can read everything that is here anyhow.
                Some(peer) if [self.owner_uid, ROOT_UID].contains(&peer.uid) => Access::Granted(Credential::Peer(peer)),
                _ => Access::ForeignUser,
            },
            (_, Auth::Off) => Access::Granted(Credential::None),
            (_, Auth::Required(token)) => Access::Token(token),
        }
    }

    fn read(&mut self, token: usize, mut reading: Reading, mut place: Place) {
        for _ in 0..limits::GATE_READS_PER_TURN_MAX {
            let step = match place.socket.read(&mut self.scratch) {
                Ok(0) => return self.counts.abandoned += 1,
                Ok(count) => {
                    let access = self.access(&place);
                    let facts = DoorFacts { bound: place.bound, access, allowed_hosts: &self.allowed_hosts };
                    reading.feed(&self.scratch[..count], facts)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.keep(token, State::Reading(reading), place);
                }
                Err(_) => return self.counts.abandoned += 1,
            };
            match step {
                Step::More => {}
                // The socket is empty, so it takes these few bytes whole; if it does not, the caller is gone.
                Step::Continue => match place.socket.write_some(respond::CONTINUE) {
                    Ok(written) if written == respond::CONTINUE.len() => {}
                    _ => return self.counts.abandoned += 1,
                },
                Step::Request(head, body, is_cut) => return self.hand_over(token, head, (body, is_cut), place),
                Step::Upgrade(handshake, leftover) => {
                    return self.upgrade(token, &handshake, leftover, &reading, place);
                }
                Step::Refuse(refusal) => return self.refuse(token, &refusal, &reading.line(), place),
            }
        }
        // The caller sends as fast as the gate reads. Registering it anew puts it behind the other connections.
        if place.leave(&self.poll).is_ok() {
            self.keep(token, State::Reading(reading), place);
        }
    }

    fn hand_over(&mut self, token: usize, head: Head, body: (Vec<u8>, bool), mut place: Place) {
        let line = Line { method: head.method.as_str().to_owned(), path: head.path.clone(), ..Line::default() };
        let Some(onward) = &self.onward else {
            return;
        };
        if place.leave(&self.poll).is_err() {
            return;
        }
        self.counts.admitted += 1;
        self.counts.open = self.connections.len();
        let (door, bound, deadline, accepted) = (place.door, place.bound, place.deadline, place.accepted);
        let maker = place.socket.maker(accepted);
        let request = request(head, body, self.doors[door].kind, maker, self.counts);
        let (returns, waker) = (onward.returns.clone(), Arc::clone(&self.waker));
        let wants_head = request.method == Method::Head;
        let caller = Caller { number: token, socket: place.socket, wants_head, returns, waker };
        let lane = if request.is_hook() { &onward.requests.hooks } else { &onward.requests.others };
        let exchange = Box::new(Exchange { request, caller });
        // The gate must not wait for the workers: if they cannot keep up, callers are told to come back.
        if let Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) = lane.try_send(exchange) {
            self.counts.admitted -= 1;
            let socket = back.caller.socket;
            self.refuse(
                token,
                &OVERLOADED,
                &line,
                Place { socket, door, bound, deadline, accepted, registered: false },
            );
        }
    }

    fn upgrade(&mut self, token: usize, handshake: &Handshake, leftover: Vec<u8>, reading: &Reading, mut place: Place) {
        let Some(onward) = &self.onward else {
            return;
        };
        // Nobody else sends on this queue, so what has room now still has it below.
        if onward.upgrades.is_full() {
            return self.refuse(token, &OVERLOADED, &reading.line(), place);
        }
        let response = respond::switching_protocols(&handshake.accept_key);
        let is_written = place.socket.write_some(&response).is_ok_and(|written| written == response.len());
        if !is_written || place.leave(&self.poll).is_err() {
            return self.counts.abandoned += 1;
        }
        let (peer, door) = (place.socket.peer(), self.doors[place.door].kind);
        let (credential, maker) = (handshake.credential, place.socket.maker(place.accepted));
        let stream = place.socket.into_stream();
        // Disconnected means that the daemon is stopping: the client sees the end of the connection.
        if onward.upgrades.try_send(Upgrade { stream, leftover, door, credential, maker, peer }).is_ok() {
            self.counts.upgraded += 1;
        }
    }

    fn refuse(&mut self, token: usize, refusal: &Refusal, line: &Line, place: Place) {
        let counter = match refusal.reason {
            Reason::Head => &mut self.counts.refused_head,
            Reason::Body => &mut self.counts.refused_body,
            Reason::Host => &mut self.counts.refused_host,
            Reason::Origin => &mut self.counts.refused_origin,
            Reason::Credential => &mut self.counts.refused_credential,
            Reason::WebSocket => &mut self.counts.refused_websocket,
            Reason::Timeout => &mut self.counts.refused_timeout,
            Reason::Overload => &mut self.counts.refused_overload,
        };
        *counter += 1;
        static REFUSED: [Pace; Reason::COUNT] = [const { Pace::new() }; Reason::COUNT];
        let prefix = if refusal.reason.is_security() { "security: " } else { "" };
        REFUSED[refusal.reason as usize].warn(|| {
            format!("{prefix}refused {} with {} {}", line.for_log(refusal.reason), refusal.status, refusal.code)
        });
        let answering = Answering::new(respond::refusal(refusal, line), 0, After::Drain);
        self.answer(token, answering, Place { deadline: Instant::now() + self.answer_deadline, ..place });
    }

    // ---- an answer goes out ----

    fn answer(&mut self, token: usize, mut answering: Answering, place: Place) {
        match answering.go_on(&place.socket, &mut self.scratch) {
            Progress::Wait => self.keep(token, State::Answering(answering), place),
            Progress::Done => answering.settle(true),
            Progress::Broken => answering.settle(false),
        }
    }

    /// Takes answers back from the workers: a few, so that callers who come in are accepted between them.
    fn take_back(&mut self) {
        for _ in 0..limits::RETURNS_PER_TURN_MAX {
            match self.returned.try_recv() {
                Ok(Returned::Answer { socket, bytes, written, settle }) => {
                    let after = settle.map_or(After::Close, After::Settle);
                    self.finish(socket, Answering::new(bytes, written, after));
                }
                Ok(Returned::Arrival(arrival)) => {
                    if !self.parking.admit(*arrival, self.woken, self.poll.registry()) {
                        static SENT_AWAY: Pace = Pace::new();
                        SENT_AWAY.warn(|| "sent a waiting caller away: there is no room".to_owned());
                    }
                }
                Ok(Returned::Speech { number, bytes, settle }) => {
                    // For one that is gone it settles itself.
                    if let Some(socket) = self.parking.take(number, self.poll.registry()) {
                        self.finish(socket, Answering::new(bytes, 0, After::Woken(settle)));
                    }
                }
                Ok(Returned::Dismissal(number)) => self.parking.dismiss(number),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => return self.callers_gone = true,
            }
        }
    }

    fn finish(&mut self, socket: Socket, answering: Answering) {
        if !answering.is_to_woken() && self.is_full() {
            // An answer is worth more than an unfinished request; without one it is held all the same.
            self.evict(Worth::Refused);
        }
        let token = self.next_token;
        self.next_token += 1;
        let deadline = Instant::now() + self.answer_deadline;
        self.answer(token, answering, Place { socket, door: 0, bound: None, deadline, accepted: 0, registered: false });
    }

    // ---- the end ----

    fn begin_to_stop(&mut self) {
        self.stop_at = Some(Instant::now() + limits::STOP_DEADLINE);
        self.doors.clear();
        self.accept_again = None;
        self.onward = None;
        let reading: Vec<_> = self.by_worth.iter().filter(|(worth, _)| *worth == Worth::Reading).copied().collect();
        for (_, token) in reading {
            drop(self.take(token));
        }
        // Without workers there is nothing to wait for.
        self.take_back();
        self.parking.close();
    }

    /// Answers not finished by then are dropped, which settles them with `false`: better told twice than never.
    fn is_finished(&self, now: Instant) -> bool {
        self.stop_at.is_some_and(|end| now >= end || (self.callers_gone && self.connections.is_empty()))
    }
}

/// An IPv4 address that came in through an IPv6 door, as callers write it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn request(
    head: Head,
    (body, body_is_cut): (Vec<u8>, bool),
    door: super::DoorKind,
    maker: PeerHandle,
    counts: Counts,
) -> Request {
    let Head { method, path, query, headers, credential, .. } = head;
    let content_type = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.clone());
    Request { method, path, query, content_type, headers, body, body_is_cut, door, credential, maker, counts }
}

#[cfg(test)]
#[path = "event_loop_tests.rs"]
mod tests;

//! The gate: the one thread that owns every listening socket, admits connections, reads each request whole without
//! ever waiting for a caller, and hands it on; and that finishes the answers which their callers do not take at once.
//! It must not know routes, the store or WebSocket frames: a request goes to `requests`, a WebSocket to `upgrades`.

mod body;
mod connection;
mod doors;
mod event_loop;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod head;
mod host;
mod parking;
mod place;
pub mod respond;
mod stream;

pub use parking::{Farewells, Left, Parked, Terms};
pub use stream::Stream;

use crate::model::TokenHash;
use crate::process::{self, Lineage, PeerHandle};
use crate::roster::{Hearing, Known};
use crate::{limits, thread};
use connection::Pending;
use crossbeam_channel::{Receiver, Sender, bounded};
use event_loop::{EventLoop, Ports};
use mio::{Poll, Waker};
use parking::Arrival;
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use stream::Socket;

/// Which door a connection came through. Every door serves both protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DoorKind {
    /// TCP, by default 127.0.0.1:6156.
    Hooks,
    /// TCP, by default 127.0.0.1:6155.
    WebSocket,
    /// The Unix socket in the state directory.
    Unix,
}

/// What a caller has shown at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing, since this daemon asks for nothing.
    None,
    /// The machine's token.
    Machine,
    /// Itself: the other end of a Unix socket, of which the kernel says who it is.
    Peer(Peer),
    /// No credential where one is needed: the caller may learn that the daemon is up, and nothing else.
    Nobody,
}

impl Credential {
    /// The caller's identity as proven by its credential. It reads the ancestors of the caller's process, which is not for
    /// the gate's thread. Only where a person may speak does it look at the caller's terminal, which costs milliseconds.
    pub fn known(self, maker: &PeerHandle, may_be_person: bool) -> Known {
        match self {
            Self::None => Known::Unproven,
            Self::Machine => Known::Machine,
            Self::Nobody => Known::Owner { chain: [].into(), terminal: None },
            Self::Peer(peer) => {
                let Lineage { chain, terminal } = maker.lineage(peer.pid);
                let terminal = terminal.filter(|_| may_be_person);
                let terminal = terminal.and_then(|terminal| process::on_terminal_of(peer.pid, terminal));
                Known::Owner { chain: chain.into(), terminal: terminal.map(Arc::from) }
            }
        }
    }
}

/// The process at the other end of a Unix socket when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id; it may have ended, and the number may be another's by now.
    pub pid: u32,
    /// Its user id.
    pub uid: u32,
}

/// What callers over TCP have to show. Those on the Unix socket are known by their user id in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    Off,
    /// The token with this hash. Hashes are compared, and not tokens, so that the time it takes tells nobody how much of
    /// a guess was right.
    Required(TokenHash),
}

/// A listening socket, bound by the daemon. The gate makes it non-blocking.
#[derive(Debug)]
pub enum Listener {
    /// Over TCP.
    Tcp(std::net::TcpListener),
    /// Over a Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// One door.
#[derive(Debug)]
pub struct Door {
    /// What it is for.
    pub kind: DoorKind,
    /// Where callers come in.
    pub listener: Listener,
}

/// What the gate is started with.
#[derive(Debug)]
pub struct Settings {
    /// The doors.
    pub doors: Vec<Door>,
    /// What callers have to show.
    pub auth: Auth,
    /// The user id that callers on the Unix socket must have, unless they are root.
    pub owner_uid: u32,
    /// Connections held at once: reading, finishing an answer, waiting for the caller's close. Those whose request a
    /// worker has do not count; the queues bound them.
    pub connections_max: usize,
    /// Time from accept until head and body are there.
    pub request_deadline: Duration,
    /// Time for a caller to take its answer and to close.
    pub answer_deadline: Duration,
    /// Time after which an answer that its caller does not take may be given up to make room.
    pub answer_patience: Duration,
    /// Bytes of unfinished requests and untaken answers held at once.
    pub held_bytes_max: usize,
    /// Callers who wait at once until there is something to be said to them.
    pub waiters_max: usize,
    /// Host names that the operator allows besides this machine's own.
    pub allowed_hosts: Vec<String>,
}

impl Settings {
    /// The product's bounds for these doors.
    pub fn new(doors: Vec<Door>, auth: Auth) -> Self {
        Self {
            doors,
            auth,
            owner_uid: rustix::process::geteuid().as_raw(),
            connections_max: limits::GATE_CONNECTIONS_MAX,
            request_deadline: limits::REQUEST_DEADLINE,
            answer_deadline: limits::ANSWER_DEADLINE,
            answer_patience: limits::ANSWER_PATIENCE,
            held_bytes_max: limits::GATE_HELD_BYTES_MAX,
            waiters_max: limits::WAITERS_MAX,
            allowed_hosts: Vec::new(),
        }
    }
}

/// What the gate has counted since its start. The gate alone owns the counters; a copy rides on every admitted
/// request, so that they can be shown without shared state.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub accepted: u64,
    /// Requests handed to the workers.
    pub admitted: u64,
    /// WebSockets handed on.
    pub upgraded: u64,
    /// Refused for the request line, a header, or the size of the head.
    pub refused_head: u64,
    /// Refused for the body: its length, its encoding, what follows it, an expectation.
    pub refused_body: u64,
    /// Refused for the `Host` header.
    pub refused_host: u64,
    /// Refused for the `Origin` header.
    pub refused_origin: u64,
    /// Refused for a credential that is missing, wrong or at a wrong place, or for another user's on the Unix socket.
    pub refused_credential: u64,
    /// Refused for a WebSocket handshake at a wrong place or of a wrong form.
    pub refused_websocket: u64,
    /// Closed because the request was not there in time.
    pub refused_timeout: u64,
    /// Refused because the workers' or the WebSockets' queue was full.
    pub refused_overload: u64,
    /// Closed to make room for others before all was said, or closed at once for want of room.
    pub evicted: u64,
    /// Closed by the caller before its request was whole.
    pub abandoned: u64,
    /// Times that the system had no descriptor left for a connection.
    pub accept_pauses: u64,
    /// Connections that the gate holds now.
    pub open: usize,
}

/// A whole request that was let in.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: tiny_http::Method,
    /// The path as it came (not decoded); it begins with `/`.
    pub path: String,
    /// What follows the `?`, not decoded.
    pub query: Option<String>,
    /// The `Content-Type`.
    pub content_type: Option<String>,
    /// All headers but `Authorization`, names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// `true` if a hook sent a larger body, of which this is the beginning.
    pub body_is_cut: bool,
    /// The door it came through.
    pub door: DoorKind,
    /// What the caller has shown.
    pub credential: Credential,
    /// The process that made the connection.
    pub maker: PeerHandle,
    /// The gate's counters at that moment.
    pub counts: Counts,
}

/// A request and the connection that waits for its answer.
pub struct Exchange {
    /// What is asked.
    pub request: Request,
    /// Who is to be answered.
    pub caller: Caller,
}

/// The ways of requests to those who serve them.
pub struct Requests {
    /// Of hooks, which an agent waits for at every step.
    pub hooks: Sender<Box<Exchange>>,
    /// Of all others.
    pub others: Sender<Box<Exchange>>,
}

/// A WebSocket whose handshake is answered.
#[derive(Debug)]
pub struct Upgrade {
    /// The connection. It never blocks.
    pub stream: Stream,
    /// What came right after the handshake: the first bytes of the first frames.
    pub leftover: Vec<u8>,
    /// The door it came through.
    pub door: DoorKind,
    /// What the caller has shown.
    pub credential: Credential,
    /// The process that made the connection.
    pub maker: PeerHandle,
    /// The other end, for logs.
    pub peer: String,
}

/// A connection on which events are to be told for as long as it lasts. Its request was served; nothing is answered yet.
#[derive(Debug)]
pub struct Subscriber {
    /// The connection. It never blocks.
    pub stream: Stream,
    /// The other end, for logs.
    pub peer: String,
    /// What it may hear of.
    pub hearing: Hearing,
    /// The id of the last event that it has heard, as it says.
    pub since: Option<String>,
}

/// Takes subscribers in, without waiting. Gives back one for whom there is no room.
pub type Subscribe = Arc<dyn Fn(Subscriber) -> Result<(), Box<Subscriber>> + Send + Sync>;

/// Is told exactly once whether an answer arrived: `true` if every byte was written and the caller then closed in
/// order or stayed until the deadline; `false` otherwise. It runs on the gate's thread (or, for a caller that is
/// already gone, on the answering one), so it must not block: it may at most `try_send`.
pub type Settle = Box<dyn FnOnce(bool) + Send>;

/// The connection to be answered. Dropped without an answer, it is closed.
pub struct Caller {
    number: usize,
    socket: Socket,
    /// The request was a HEAD.
    wants_head: bool,
    returns: Sender<Returned>,
    waker: Arc<Waker>,
}

impl Request {
    /// Whether an agent waits for it at a step of its own.
    pub fn is_hook(&self) -> bool {
        self.path.starts_with("/hook/")
    }
}

impl Caller {
    /// Returns `true` if only the head of the answer will be sent.
    pub fn wants_head(&self) -> bool {
        self.wants_head
    }

    /// The connection, for one to whom events are told from now on.
    pub fn subscribe(self, hearing: Hearing, since: Option<String>) -> Subscriber {
        let peer = self.socket.peer();
        Subscriber { stream: self.socket.into_stream(), peer, hearing, since }
    }

    /// Gives the whole response, head and body, and never waits: what the caller does not take at once, and every
    /// answer with a `settle`, is finished by the gate. Should the gate's queue be full, the connection is dropped and
    /// `settle` gets `false`.
    pub fn answer(self, mut bytes: Vec<u8>, settle: Option<Settle>) {
        if self.wants_head {
            bytes.truncate(respond::head_bytes(&bytes));
        }
        // From here on, every early return settles with `false`; and so does a close that came before the answer.
        let settle = settle.map(Pending::new).filter(|_| !self.socket.caller_has_closed());
        let Ok(written) = self.socket.write_some(&bytes) else {
            return;
        };
        if written == bytes.len() && (self.socket.half_close().is_err() || settle.is_none()) {
            return;
        }
        let Self { socket, returns, waker, .. } = self;
        // A full queue means that the gate is far behind; a worker must not wait for it.
        if returns.try_send(Returned::Answer { socket, bytes, written, settle }).is_ok() {
            let _ = waker.wake();
        }
    }
}

/// What comes back to the gate.
enum Returned {
    /// A connection with its answer.
    Answer { socket: Socket, bytes: Vec<u8>, written: usize, settle: Option<Pending> },
    /// A caller who is to wait.
    Arrival(Box<Arrival>),
    /// An answer for one who waits.
    Speech { number: usize, bytes: Vec<u8>, settle: Pending },
    /// One who waits need not any more.
    Dismissal(usize),
}

/// Stops the gate, and tells it of a new token.
#[derive(Clone, Debug)]
pub struct Handle {
    stop: Sender<()>,
    tokens: Sender<TokenHash>,
    sockets: Sender<UnixListener>,
    waker: Arc<Waker>,
}

impl Handle {
    /// Asks the gate to close the doors, to finish the answers under way (until [`limits::STOP_DEADLINE`]) and to end.
    /// It lets go of both queues at once, so workers that read them come to their end.
    pub fn stop(&self) {
        // Full means that somebody asked already.
        let _ = self.stop.try_send(());
        let _ = self.waker.wake();
    }

    /// From the return of this call on, the gate takes the token with this hash and no other, if it asks for one at all.
    pub fn renew_token(&self, token: TokenHash) {
        // The gate takes what is here before it looks at any request, and in each turn, so a full queue is empty a moment
        // later. Without a gate nobody is let in at all.
        let _ = self.tokens.send(token);
        let _ = self.waker.wake();
    }

    /// Has the gate accept callers on another Unix socket than before.
    pub fn replace_socket(&self, socket: UnixListener) {
        // As for tokens.
        let _ = self.sockets.send(socket);
        let _ = self.waker.wake();
    }
}

/// Starts the gate's thread.
///
/// # Errors
/// The operating system's reason for which there is no poll, a listener cannot be used, or no thread could be had.
pub fn start(
    settings: Settings,
    requests: Requests,
    upgrades: Sender<Upgrade>,
    exits: &Sender<thread::Exit>,
) -> io::Result<(Handle, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), event_loop::WAKE)?);
    let (stop, stop_asked): (_, Receiver<()>) = bounded(1);
    let (tokens, new_tokens) = bounded(1);
    let (sockets, new_sockets) = bounded(1);
    let ports = Ports { requests, upgrades, stop_asked, new_tokens, new_sockets, exits: exits.clone() };
    let event_loop = EventLoop::new(settings, poll, Arc::clone(&waker), ports)?;
    let joined = thread::spawn("gate", exits, move || event_loop.run())?;
    Ok((Handle { stop, tokens, sockets, waker }, joined))
}

#[cfg(test)]
mod tests;

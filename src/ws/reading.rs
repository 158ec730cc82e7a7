//! The reading half of one WebSocket client: receives a bounded piece, lets the protocol library make messages of it, and
//! hands them on. A client that asks faster than it takes the answers, or whose turn for a large message has not come,
//! is not read meanwhile. It must never wait itself, but for the store.

use super::bell::Bell;
use super::frames::StoreGone;
use super::input::{self, Socket};
use super::{Client, Seat, Settings};
use crate::limits::{WS_FRAMES_PER_TURN_MAX, WS_READ_BYTES, WS_SMALL_MESSAGE_BYTES, WS_UNFINISHED_BYTES_MAX};
use crate::roster::Request;
use crate::store::Command;
use crossbeam_channel::{Receiver, Sender};
use mio::event::Event;
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

/// Who takes the messages that a client sends.
pub(super) trait Heard {
    /// A text message.
    fn text(&mut self, text: &str) -> Result<(), StoreGone>;
    /// A binary message.
    fn binary(&mut self, bytes: &[u8]) -> Result<(), StoreGone>;
    /// Hands on messages without an answer that it has kept back, as far as the client's share of the store's queue
    /// goes. Returns `true` if it can take the next message.
    fn has_room(&mut self) -> Result<bool, StoreGone> {
        Ok(true)
    }
}

/// What all clients share.
pub(super) struct Common {
    pub(super) settings: Settings,
    pub(super) store: Sender<Command>,
    /// When this turn of all began.
    pub(super) now: Instant,
    /// When to look after a client, at the latest; one for each.
    deadlines: BTreeSet<(Instant, usize)>,
    /// Clients who wait for leave to send a large message.
    waiting: VecDeque<usize>,
    /// Large messages that may come in beside those that do.
    leaves: usize,
    /// Bytes of all clients' messages on their way in.
    unfinished_bytes: usize,
    /// What is received comes here first. Empty while it is lent to a client.
    buffer: Vec<u8>,
}

impl Common {
    pub(super) fn new(settings: Settings, store: Sender<Command>) -> Self {
        Self {
            leaves: settings.large_messages_max,
            settings,
            store,
            now: Instant::now(),
            deadlines: BTreeSet::new(),
            waiting: VecDeque::new(),
            unfinished_bytes: 0,
            buffer: vec![0; WS_READ_BYTES],
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// A client to be looked after now; it is not named again until it has a new deadline.
    pub(super) fn overdue(&mut self) -> Option<usize> {
        self.next_deadline().filter(|at| *at <= self.now)?;
        self.deadlines.pop_first().map(|(_, number)| number)
    }

    /// How large a message may get without leave.
    fn small_message_bytes(&self) -> usize {
        if self.unfinished_bytes > WS_UNFINISHED_BYTES_MAX { WS_READ_BYTES } else { WS_SMALL_MESSAGE_BYTES }
    }

    /// The next who may send a large message.
    pub(super) fn next_with_leave(&mut self) -> Option<usize> {
        (self.leaves > 0).then(|| self.waiting.pop_front()).flatten()
    }
}

/// Leave to send one large message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// Not needed.
    None,
    /// Waited for, until then.
    Wanted(Instant),
    /// Given, until then.
    Given(Instant),
}

/// What has become of a client in its turn.
pub(super) enum Turn {
    /// It has said all, or has to wait.
    Over,
    /// There may be more.
    Again,
    /// It is gone.
    Gone,
}

/// Bytes of a client's control frame before its payload.
const CONTROL_HEAD_BYTES: usize = 6;

/// The pushed messages whose ping has not been answered yet.
struct Proofs {
    waiting: Receiver<(u64, Box<Request>)>,
    next: Option<(u64, Box<Request>)>,
}

impl Proofs {
    /// The client has answered this ping: it has taken all that was written before.
    fn answered(&mut self, pong: &[u8], store: &Sender<Command>) {
        let Ok(number) = pong.try_into().map(u64::from_be_bytes) else { return };
        while let Some((needed, request)) = self.next.take().or_else(|| self.waiting.try_recv().ok()) {
            if needed > number {
                self.next = Some((needed, request));
                return;
            }
            // A store that is gone reads it back as unread.
            let _ = store.send(Command::Request { request: *request, reply_to: None });
        }
    }
}

/// What a client's reading half gets from its writing half.
pub(super) struct FromWriter {
    pub(super) seat: Arc<Seat>,
    /// What is read once the pong of this number has come, in order.
    pub(super) proven: Receiver<(u64, Box<Request>)>,
    /// Rings when the client has taken answers, once somebody wants to hear it.
    pub(super) resumes: Arc<Bell>,
}

/// One client.
pub(super) struct Reading<H> {
    number: usize,
    client: Client,
    _seat: Arc<Seat>,
    socket: Socket,
    heard: H,
    proofs: Proofs,
    /// Rings when the client has taken answers, once somebody wants to hear it.
    resumes: Arc<Bell>,
    /// It is owed too much: it is not its silence that is heard.
    is_held_up: bool,
    heard_at: Instant,
    /// Its place among the deadlines.
    due: Instant,
    /// The socket has something, as far as is known.
    is_readable: bool,
    /// The other side has ended its direction.
    is_ending: bool,
    /// Both directions have ended.
    is_hung_up: bool,
    /// It stands in the list of those of whom there may be more.
    is_listed: bool,
    /// Bytes received since the last whole message.
    unfinished_bytes: usize,
    leave: Leave,
}

impl<H: Heard> Reading<H> {
    pub(super) fn new(
        number: usize,
        client: Client,
        leftover: Vec<u8>,
        heard: H,
        writer: FromWriter,
        common: &mut Common,
    ) -> Self {
        let FromWriter { seat, proven, resumes } = writer;
        let due = common.now + common.settings.silence_max;
        common.deadlines.insert((due, number));
        common.unfinished_bytes += leftover.len();
        Self {
            number,
            unfinished_bytes: leftover.len(),
            socket: input::socket(client.clone(), leftover),
            client,
            _seat: seat,
            heard,
            proofs: Proofs { waiting: proven, next: None },
            resumes,
            is_held_up: false,
            heard_at: common.now,
            due,
            is_readable: true,
            is_ending: false,
            is_hung_up: false,
            is_listed: false,
            leave: Leave::None,
        }
    }

    /// The poll has told something of the socket.
    pub(super) fn hear_of(&mut self, event: &Event) {
        self.is_readable = true;
        self.is_ending |= event.is_read_closed() || event.is_error();
        self.is_hung_up |= event.is_write_closed() || event.is_error();
    }

    /// Puts it on the list of those of whom there may be more. Says whether it was not there.
    pub(super) fn enlist(&mut self) -> bool {
        !std::mem::replace(&mut self.is_listed, true)
    }

    /// Hears what it has to say, up to a bound.
    pub(super) fn turn(&mut self, common: &mut Common) -> Result<Turn, StoreGone> {
        self.is_listed = false;
        let turn = self.hear(common);
        if common.buffer.is_empty() {
            common.buffer = self.socket.get_mut().give_back();
        }
        turn
    }

    fn hear(&mut self, common: &mut Common) -> Result<Turn, StoreGone> {
        for _ in 0..WS_FRAMES_PER_TURN_MAX {
            if self.client.owed.is_over() {
                return Ok(self.give_up(&"nothing can be written to it"));
            }
            if self.is_owed_too_much(common) {
                // Nobody is there who could take what it is owed.
                return Ok(if self.is_hung_up { self.give_up(&"it has hung up") } else { Turn::Over });
            }
            if !self.has_room(common)? {
                return Ok(Turn::Over);
            }
            match self.socket.read() {
                Ok(message) => self.take(message, common)?,
                Err(error) if input::wants_more(&error) => match self.receive(common) {
                    Ok(true) => {}
                    Ok(false) => return Ok(Turn::Over),
                    Err(error) => return Ok(self.give_up(&error)),
                },
                Err(error) => {
                    self.say_why(&error);
                    return Ok(self.give_up(&error));
                }
            }
        }
        Ok(Turn::Again)
    }

    /// Whether it must take answers before it is heard: one that asks faster than it reads is slowed down, and not
    /// disconnected. If so, the bell rings when it has.
    fn is_owed_too_much(&mut self, common: &Common) -> bool {
        // What one more frame of its may bring: its own answer, and a pong.
        let is_too_much = |client: &Client| client.owed.count() + 2 > common.settings.answers_owed_max;
        if self.is_held_up {
            // What was not heard was not its silence.
            self.heard_at = common.now;
        }
        self.is_held_up = is_too_much(&self.client);
        if self.is_held_up {
            self.resumes.heard();
            // It may have taken them before the bell was to ring.
            self.is_held_up = is_too_much(&self.client);
        }
        self.is_held_up
    }

    /// Returns `false` while the store has not applied what the client has sent: a client that floods events, which are
    /// owed no answer, must not fill the store's queue. If so, the bell rings when the store has.
    fn has_room(&mut self, common: &Common) -> Result<bool, StoreGone> {
        let mut has_room = self.heard.has_room()?;
        if !has_room {
            self.resumes.heard();
            // The store may have applied it before the bell was to ring.
            has_room = self.heard.has_room()?;
        }
        if !has_room {
            self.is_held_up = true;
            self.heard_at = common.now;
        }
        Ok(has_room)
    }

    /// Reads a piece. Says whether there was one.
    fn receive(&mut self, common: &mut Common) -> io::Result<bool> {
        let is_large = self.unfinished_bytes > common.small_message_bytes();
        if !self.is_readable || (is_large && !self.get_leave(common)) {
            return Ok(false);
        }
        let half = self.socket.get_mut();
        if common.buffer.is_empty() {
            common.buffer = half.give_back();
        }
        let count = match (&*self.client.stream).read(&mut common.buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        // After a short read there is no more for now, and the poll tells of what comes. It does not tell again of the
        // end behind it, if that has come already.
        self.is_readable = count == common.buffer.len() || self.is_ending;
        self.unfinished_bytes += count;
        common.unfinished_bytes += count;
        self.heard_at = common.now;
        half.lend(std::mem::take(&mut common.buffer), count);
        Ok(true)
    }

    fn take(&mut self, message: Message, common: &mut Common) -> Result<(), StoreGone> {
        match message {
            Message::Text(text) => {
                self.heard.text(text.as_str())?;
                self.is_whole(common);
            }
            Message::Binary(bytes) => {
                self.heard.binary(&bytes)?;
                self.is_whole(common);
            }
            Message::Pong(payload) => {
                self.heard_bytes(CONTROL_HEAD_BYTES + payload.len(), common);
                self.proofs.answered(&payload, &common.store);
            }
            Message::Ping(payload) => self.heard_bytes(CONTROL_HEAD_BYTES + payload.len(), common),
            Message::Close(_) | Message::Frame(_) => {}
        }
        Ok(())
    }

    /// A whole message has come.
    fn is_whole(&mut self, common: &mut Common) {
        self.heard_bytes(self.unfinished_bytes, common);
        self.return_leave(common);
    }

    /// So many bytes are no part of an unfinished message: a ping or a pong may stand in the middle of one.
    fn heard_bytes(&mut self, bytes: usize, common: &mut Common) {
        let bytes = bytes.min(self.unfinished_bytes);
        self.unfinished_bytes -= bytes;
        common.unfinished_bytes -= bytes;
    }

    /// Takes leave to send a large message, if there is one to be had, or gets in line for it. Says whether it has it.
    pub(super) fn get_leave(&mut self, common: &mut Common) -> bool {
        if let Leave::Given(_) = self.leave {
            return true;
        }
        // The store may have been waited for since the turn began.
        let until = Instant::now() + common.settings.large_message_deadline;
        if common.leaves > 0 {
            // It need not stand in line any more.
            self.return_leave(common);
            common.leaves -= 1;
            self.leave = Leave::Given(until);
        } else if self.leave == Leave::None {
            self.leave = Leave::Wanted(until);
            common.waiting.push_back(self.number);
        }
        self.be_due(common);
        matches!(self.leave, Leave::Given(_))
    }

    fn return_leave(&mut self, common: &mut Common) {
        match std::mem::replace(&mut self.leave, Leave::None) {
            Leave::None => {}
            Leave::Wanted(_) => common.waiting.retain(|number| *number != self.number),
            Leave::Given(_) => common.leaves += 1,
        }
    }

    /// When it is given up unless something comes.
    fn deadline(&self, common: &Common) -> Instant {
        let silence = self.heard_at + common.settings.silence_max;
        match self.leave {
            Leave::None => silence,
            Leave::Wanted(until) | Leave::Given(until) => until.min(silence),
        }
    }

    /// Takes its place among the deadlines, unless it has an earlier one.
    fn be_due(&mut self, common: &mut Common) {
        let deadline = self.deadline(common);
        if deadline < self.due {
            common.deadlines.remove(&(self.due, self.number));
            self.due = deadline;
            common.deadlines.insert((deadline, self.number));
        }
    }

    /// Its deadline has come, and been taken from the list. Says whether it is given up; if not, it has a new one.
    pub(super) fn is_overdue(&mut self, common: &mut Common) -> bool {
        if self.is_held_up {
            self.heard_at = common.now;
        }
        let deadline = self.deadline(common);
        if deadline <= common.now {
            let what = if self.leave == Leave::None { "is silent" } else { "does not end a large message" };
            log::debug!("client {} {what}", self.client.id);
            return true;
        }
        self.due = deadline;
        common.deadlines.insert((deadline, self.number));
        false
    }

    fn give_up(&self, why: &dyn std::fmt::Display) -> Turn {
        log::debug!("client {}: {why}", self.client.id);
        Turn::Gone
    }

    /// Tells the client why it is disconnected, where the protocol has a code for it.
    fn say_why(&mut self, error: &Error) {
        let code = match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseCode::Size,
            Error::Utf8(_) => CloseCode::Invalid,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return,
            Error::Protocol(_) => CloseCode::Protocol,
            _ => return,
        };
        // The connection ends either way.
        let _ = self.socket.close(Some(CloseFrame { code, reason: "".into() }));
        let _ = self.socket.flush();
    }

    /// Leaves the lists of all.
    pub(super) fn end(mut self, common: &mut Common) -> Client {
        common.deadlines.remove(&(self.due, self.number));
        self.heard_bytes(self.unfinished_bytes, common);
        self.return_leave(common);
        self.client
    }
}

//! The reading half of a WebSocket client. It owns the protocol state; what the protocol makes it answer (pong, close)
//! goes through the outbox like everything else, so that only one thread writes to the socket.

use super::Client;
use super::frames::StoreGone;
use crate::gate::Stream;
use crate::limits::{WS_MESSAGE_BYTES_MAX, WS_READ_BUFFER_BYTES, WS_SMALL_MESSAGE_BYTES};
use crate::roster::Request;
use crate::store::{Command, Frame};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::error::CapacityError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// The socket as the protocol library sees it: it reads from the socket and writes to the outbox.
struct Half {
    stream: Arc<Stream>,
    client: Client,
    silence_max: Duration,
    large_messages: LargeMessages,
    /// Bytes read since the last whole message.
    unfinished_bytes: usize,
    /// What has been given for the message under way, if it is large.
    leave: Option<Leave>,
}

impl Half {
    /// Waits for leave where a message gets large, and sees to it that it is not used for ever.
    fn await_leave(&mut self) -> io::Result<()> {
        if self.unfinished_bytes <= WS_SMALL_MESSAGE_BYTES {
            return Ok(());
        }
        let late = || io::Error::new(io::ErrorKind::TimedOut, "a large message did not arrive in time");
        if self.leave.is_none() {
            self.leave = Some(self.large_messages.take().ok_or_else(late)?);
        }
        let left = self.leave.as_ref().map_or(Duration::ZERO, Leave::time_left);
        if left.is_zero() {
            return Err(late());
        }
        self.stream.set_read_timeout(Some(left))
    }

    /// A whole message has come.
    fn is_whole(&mut self) {
        self.unfinished_bytes = 0;
        if self.leave.take().is_some() {
            // If it fails the client is given up sooner than it need be.
            let _ = self.stream.set_read_timeout(Some(self.silence_max));
        }
    }

    /// A ping or a pong has come; they may stand in the middle of a message.
    fn heard_control(&mut self, payload_bytes: usize) {
        self.unfinished_bytes = self.unfinished_bytes.saturating_sub(CONTROL_HEAD_BYTES + payload_bytes);
    }
}

/// Bytes of a client's control frame before its payload.
const CONTROL_HEAD_BYTES: usize = 6;

/// How many clients may be in the middle of a large message: a token in the channel for each that is.
#[derive(Clone)]
pub(super) struct LargeMessages {
    taken: Sender<()>,
    back: Receiver<()>,
    deadline: Duration,
}

impl LargeMessages {
    pub(super) fn new(count: usize, deadline: Duration) -> Self {
        let (taken, back) = bounded(count);
        Self { taken, back, deadline }
    }

    /// Waits until somebody else is through, but not for ever.
    fn take(&self) -> Option<Leave> {
        self.taken.send_timeout((), self.deadline).ok()?;
        Some(Leave { back: self.back.clone(), end: Instant::now() + self.deadline })
    }
}

/// Leave to send one large message; dropping it gives it back.
struct Leave {
    back: Receiver<()>,
    end: Instant,
}

impl Leave {
    fn time_left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        // Never empty: it holds the token of this one.
        let _ = self.back.try_recv();
    }
}

impl Read for Half {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.await_leave()?;
        let count = (&*self.stream).read(buffer)?;
        self.unfinished_bytes += count;
        Ok(count)
    }
}

impl Write for Half {
    /// The library hands over whole frames.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.client.owe().is_ok();
        match self.client.outbox.send(Frame::Raw(bytes.to_vec())) {
            true if room => Ok(bytes.len()),
            _ => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client does not take its frames")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Who takes the messages that a client sends.
pub(super) trait Heard {
    /// A text message.
    fn text(&mut self, text: &str) -> Result<(), StoreGone>;
    /// A binary message.
    fn binary(&mut self, bytes: &[u8]) -> Result<(), StoreGone>;
}

/// What the reader begins with.
pub(super) struct Said {
    /// Bytes that came with the handshake.
    pub(super) leftover: Vec<u8>,
    /// Silence after which the client is given up; the stream's read timeout.
    pub(super) silence_max: Duration,
    /// Shared by all clients.
    pub(super) large_messages: LargeMessages,
    /// What is read once the pong of this number has come, in order.
    pub(super) proven: Receiver<(u64, Box<Request>)>,
}

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

/// Reads until the client is gone, silent for too long, or breaks the protocol.
pub(super) fn run(client: &Client, said: Said, store: &Sender<Command>, mut heard: impl Heard) {
    let Said { leftover, silence_max, large_messages, proven } = said;
    let mut proofs = Proofs { waiting: proven, next: None };
    let (stream, client) = (client.stream.clone(), client.clone());
    let half = Half { stream, client, silence_max, large_messages, unfinished_bytes: leftover.len(), leave: None };
    let client = half.client.clone();
    let config = WebSocketConfig::default()
        .read_buffer_size(WS_READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WS_MESSAGE_BYTES_MAX)
        .max_message_size(Some(WS_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(WS_MESSAGE_BYTES_MAX));
    let mut socket = WebSocket::from_partially_read(half, leftover, Role::Server, Some(config));
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                if heard.text(text.as_str()).is_err() {
                    return; // the store is gone, and so is the daemon
                }
                drop(text);
                socket.get_mut().is_whole();
            }
            Ok(Message::Binary(bytes)) => {
                if heard.binary(&bytes).is_err() {
                    return;
                }
                drop(bytes);
                socket.get_mut().is_whole();
            }
            Ok(Message::Pong(payload)) => {
                socket.get_mut().heard_control(payload.len());
                proofs.answered(&payload, store);
            }
            Ok(Message::Ping(payload)) => socket.get_mut().heard_control(payload.len()),
            Ok(Message::Close(_) | Message::Frame(_)) => {}
            Err(error) => {
                say_why(&mut socket, &error);
                log::debug!("client {}: {error}", client.id);
                return;
            }
        }
    }
}

/// Tells the client why it is disconnected, where the protocol has a code for it.
fn say_why(socket: &mut WebSocket<Half>, error: &Error) {
    let code = match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => return,
        Error::Protocol(_) => CloseCode::Protocol,
        _ => return,
    };
    // The connection ends either way.
    let _ = socket.close(Some(CloseFrame { code, reason: "".into() }));
    let _ = socket.flush();
}

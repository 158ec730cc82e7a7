//! The reading half of a WebSocket client. It owns the protocol state; what the protocol makes it answer (pong, close)
//! goes through the outbox like everything else, so that only one thread writes to the socket.

use super::{Client, frames};
use crate::gate::Stream;
use crate::limits::{WS_MESSAGE_BYTES_MAX, WS_READ_BUFFER_BYTES};
use crate::roster::Request;
use crate::store::{Command, Frame};
use crossbeam_channel::{Receiver, Sender};
use std::io::{self, Read, Write};
use std::sync::Arc;
use tungstenite::error::CapacityError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// The socket as the protocol library sees it: it reads from the socket and writes to the outbox.
struct Half {
    stream: Arc<Stream>,
    client: Client,
}

impl Read for Half {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.stream).read(buffer)
    }
}

impl Write for Half {
    /// The library hands over whole frames.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.client.owe().is_ok();
        match self.client.outbox.try_send(Box::new(Frame::Raw(bytes.to_vec()))) {
            Ok(()) if room => Ok(bytes.len()),
            _ => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client does not take its frames")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the reader begins with.
pub(super) struct Said {
    /// Bytes that came with the handshake.
    pub(super) leftover: Vec<u8>,
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
pub(super) fn run(client: &Client, said: Said, store: &Sender<Command>) {
    let Said { leftover, proven } = said;
    let mut proofs = Proofs { waiting: proven, next: None };
    let half = Half { stream: client.stream.clone(), client: client.clone() };
    let config = WebSocketConfig::default()
        .read_buffer_size(WS_READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WS_MESSAGE_BYTES_MAX)
        .max_message_size(Some(WS_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(WS_MESSAGE_BYTES_MAX));
    let mut socket = WebSocket::from_partially_read(half, leftover, Role::Server, Some(config));
    let mut frames = frames::Frames::new(client.clone(), store.clone());
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                if frames.handle(text.as_str()).is_err() {
                    return; // the store is gone, and so is the daemon
                }
            }
            Ok(Message::Binary(_)) => log::debug!("client {}: ignored a binary frame", client.id),
            Ok(Message::Pong(payload)) => proofs.answered(&payload, store),
            Ok(Message::Ping(_) | Message::Close(_) | Message::Frame(_)) => {}
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

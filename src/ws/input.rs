//! A client's socket as the protocol library sees it: it reads what the reader has received, and what it writes (pongs,
//! the closing handshake) goes to the outbox, so that only one thread writes to the socket. It must not touch the socket.

use super::Client;
use crate::limits::{WS_MESSAGE_BYTES_MAX, WS_READ_BUFFER_BYTES};
use crate::store::Frame;
use std::io::{self, Read, Write};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, WebSocket};

/// Received bytes on their way to the protocol library.
#[derive(Default)]
pub(super) struct Input {
    /// Received, up to `end`, and taken up to `start`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// What lies behind a [`Socket`].
pub(super) struct Half {
    pub(super) client: Client,
    input: Input,
}

/// A client's protocol state.
pub(super) type Socket = WebSocket<Half>;

/// A socket for a client, whose first bytes came with the handshake.
pub(super) fn socket(client: Client, leftover: Vec<u8>) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(WS_READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WS_MESSAGE_BYTES_MAX)
        .max_message_size(Some(WS_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(WS_MESSAGE_BYTES_MAX));
    WebSocket::from_partially_read(Half { client, input: Input::default() }, leftover, Role::Server, Some(config))
}

/// Whether the library has taken all that was received, and wants more.
pub(super) fn wants_more(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl Half {
    /// Lends the reader's buffer, of which `count` bytes have been received. All that came before has been taken.
    pub(super) fn lend(&mut self, bytes: Vec<u8>, count: usize) {
        self.input = Input { bytes, start: 0, end: count };
    }

    /// Gives the reader's buffer back; what has not been taken yet stays, in a buffer of its own size.
    pub(super) fn give_back(&mut self) -> Vec<u8> {
        let rest = self.input.bytes[self.input.start..self.input.end].to_vec();
        let end = rest.len();
        std::mem::replace(&mut self.input, Input { bytes: rest, start: 0, end }).bytes
    }
}

impl Read for Half {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Input { bytes, start, end } = &mut self.input;
        let count = buffer.len().min(*end - *start);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&bytes[*start..*start + count]);
        *start += count;
        Ok(count)
    }
}

impl Write for Half {
    /// The library hands over whole frames.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.client.answer(Frame::Raw(bytes.to_vec())) {
            return Ok(bytes.len());
        }
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client does not take its frames"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

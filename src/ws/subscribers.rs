//! Subscribers of events, who share the threads of the WebSocket clients: they are written to in the same way, and read
//! only to notice their end. It must not take anything that they say.

use super::{Client, Seat};
use std::io::{self, Read};
use std::sync::Arc;

/// The reading half of one subscriber.
pub(super) struct Subscribed {
    pub(super) client: Client,
    _seat: Arc<Seat>,
}

impl Subscribed {
    pub(super) fn new(client: Client, seat: Arc<Seat>) -> Self {
        Self { client, _seat: seat }
    }

    /// Whether it is gone. One that says something is as good as gone: its connection served its one request.
    pub(super) fn has_ended(&self) -> bool {
        let read = (&*self.client.stream).read(&mut [0]).map(|_count| ());
        read.err().is_none_or(|error| error.kind() != io::ErrorKind::WouldBlock)
    }
}

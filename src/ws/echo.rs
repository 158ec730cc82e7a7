//! A WebSocket client whose messages are sent back as they came, over the same two threads and with the same bounds as
//! any other: for the protocol's conformance suite, which wants an echo. The daemon never uses it.

use super::frames::StoreGone;
use super::reader::{Heard, LargeMessages};
use super::writer::write_frame;
use super::{Client, prepare, serve};
use crate::gate::Upgrade;
use crate::ids::ClientId;
use crate::limits::{WS_LARGE_MESSAGE_DEADLINE, WS_LARGE_MESSAGES_MAX};
use crate::store::{Command, Frame};
use crate::thread::Exit;
use crossbeam_channel::Sender;
use std::io;
use tungstenite::protocol::frame::coding::{Data, OpCode};

struct Echo(Client);

impl Heard for Echo {
    fn text(&mut self, text: &str) -> Result<(), StoreGone> {
        self.0.send(Frame::Text(text.to_owned()));
        Ok(())
    }

    fn binary(&mut self, bytes: &[u8]) -> Result<(), StoreGone> {
        let mut raw = Vec::new();
        write_frame(&mut raw, OpCode::Data(Data::Binary), bytes);
        self.0.send(Frame::Raw(raw));
        Ok(())
    }
}

/// Serves one client until it is gone. `store` gets what the store would.
///
/// # Errors
/// The operating system's reason for which the client cannot be served.
#[doc(hidden)]
pub fn echo(upgrade: Upgrade, store: &Sender<Command>, exits: &Sender<Exit>) -> io::Result<()> {
    let large_messages = LargeMessages::new(WS_LARGE_MESSAGES_MAX, WS_LARGE_MESSAGE_DEADLINE);
    let (client, said, queue) = prepare(upgrade, &ClientId::from("echo"), large_messages)?;
    serve(client.clone(), said, queue, store, exits, Echo(client))
}

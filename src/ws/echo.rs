//! WebSocket clients whose messages are sent back as they came, over the same threads and with the same bounds as
//! any others: for the protocol's conformance suite, which wants an echo. The daemon never uses it.

use super::frames::StoreGone;
use super::gather::write_frame;
use super::reading::Heard;
use super::{Client, Settings, start_with};
use crate::gate::Upgrade;
use crate::limits::WS_CLIENTS_MAX;
use crate::store::{Command, Frame};
use crate::thread::Exit;
use crossbeam_channel::{Receiver, Sender};
use std::io;
use std::thread::JoinHandle;
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

/// Starts the threads. `store` gets what the store would.
///
/// # Errors
/// As [`super::start`].
#[doc(hidden)]
pub fn echo(upgrades: Receiver<Upgrade>, store: Sender<Command>, exits: &Sender<Exit>) -> io::Result<JoinHandle<()>> {
    // Nobody subscribes to anything.
    start_with(upgrades, store, Settings::new(WS_CLIENTS_MAX), exits, |client: &Client| Echo(client.clone()))
        .map(|(thread, _)| thread)
}

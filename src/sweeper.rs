//! The sweeper: a tick for the store every three seconds. A tick that the store has no room for is missed and not made
//! up for. It must not look at anything itself.

use crate::limits::SWEEP_EVERY;
use crate::store::Command;
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;

/// Starts the sweeper. It ends when the other end of `stop` is dropped.
///
/// # Errors
/// The operating system's reason for which no thread could be had.
pub fn start(store: Sender<Command>, stop: Receiver<()>, exits: &Sender<Exit>) -> std::io::Result<JoinHandle<()>> {
    thread::spawn("sweeper", exits, move || {
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(SWEEP_EVERY) {
            // Full: the store is busy, and the next tick is three seconds away.
            let _ = store.try_send(Command::Tick);
        }
    })
}

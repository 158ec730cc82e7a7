//! WebSocket clients: a thread that reads and a thread that writes for each, and one that starts and joins them. They
//! turn frames into commands for the store and the store's frames into JSON; they must not know the roster's rules.

mod answer;
mod echo;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod reader;
mod writer;

use crate::gate::{Stream, Upgrade};

use crate::ids::{ClientId, IdSource, SystemIds};
use crate::limits::{
    REFUSAL_LOG_EVERY, WS_ANSWERS_OWED_MAX, WS_CLIENTS_MAX, WS_LARGE_MESSAGE_DEADLINE, WS_LARGE_MESSAGES_MAX,
    WS_OUTBOX_FRAMES_MAX, WS_PING_EVERY, WS_PUSH_PROOFS_MAX, WS_SILENCE_MAX, WS_STACK_BYTES, WS_WRITE_TIMEOUT,
};
use crate::store::{Command, Frame, FrameQueue, Outbox};
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use reader::LargeMessages;
use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// What the two threads of a client, and the store's answers to it, have in common.
#[derive(Clone)]
struct Client {
    id: ClientId,
    stream: Arc<Stream>,
    outbox: FrameQueue,
    /// One token for each answer that the client is owed, from when it asks until the answer is written.
    owed: Sender<()>,
}

/// The writer thread is gone.
struct WriterGone;

impl Client {
    /// Waits until the client is owed so little that one more answer has room in its outbox. Only the reader calls
    /// this: a client that asks faster than it takes the answers is slowed down, not disconnected. It ends, since the
    /// store answers everything and the writer gives up a client that does not read.
    fn owe(&self) -> Result<(), WriterGone> {
        self.owed.send(()).map_err(|_| WriterGone)
    }

    /// Puts the reader's own answer into the outbox. A client that does not drain it is disconnected.
    fn send(&self, frame: Frame) {
        if self.owe().is_err() || !self.outbox.send(frame) {
            disconnect(&self.stream);
        }
    }
}

/// Closes a client's socket without waiting, which ends both of its threads.
fn disconnect(stream: &Stream) {
    // A socket that is closed already cannot be closed again, which is what was wanted.
    let _ = stream.shutdown(Shutdown::Both);
}

/// Starts the thread that starts the others, for at most `clients_max` clients at once. It ends when the gate is gone
/// and all clients are.
///
/// # Errors
/// The operating system's reason for which no thread could be had.
pub fn start(
    upgrades: Receiver<Upgrade>,
    store: Sender<Command>,
    clients_max: usize,
    exits: &Sender<Exit>,
) -> io::Result<JoinHandle<()>> {
    let exits_of_clients = exits.clone();
    thread::spawn("ws-door", None, exits, move || {
        run(&upgrades, &store, clients_max.min(WS_CLIENTS_MAX), &exits_of_clients)
    })
}

fn run(upgrades: &Receiver<Upgrade>, store: &Sender<Command>, clients_max: usize, exits: &Sender<Exit>) {
    let mut ids = SystemIds::new();
    // Each client reports its end once, and there is room for all of them.
    let (ended, ends) = bounded::<ClientId>(WS_CLIENTS_MAX);
    let mut clients: BTreeMap<ClientId, JoinHandle<()>> = BTreeMap::new();
    let mut upgrades = upgrades.clone();
    let large_messages = LargeMessages::new(WS_LARGE_MESSAGES_MAX, WS_LARGE_MESSAGE_DEADLINE);
    let mut open = true;
    let mut refused_at: Option<Instant> = None;
    while open || !clients.is_empty() {
        select! {
            recv(upgrades) -> upgrade => match upgrade {
                Ok(upgrade) if clients.len() < clients_max => {
                    let id = ClientId::from(ids.new_id());
                    match admit(upgrade, &id, store, &ended, large_messages.clone(), exits) {
                        Ok(thread) => drop(clients.insert(id, thread)),
                        Err(error) => log::error!("cannot serve a WebSocket client: {error}"),
                    }
                }
                Ok(upgrade) => {
                    if refused_at.is_none_or(|at| at.elapsed() >= REFUSAL_LOG_EVERY) {
                        refused_at = Some(Instant::now());
                        log::warn!("refused a WebSocket client: {clients_max} are connected");
                    }
                    disconnect(&upgrade.stream);
                }
                Err(_) => {
                    open = false;
                    upgrades = never();
                }
            },
            recv(ends) -> id => if let Ok(thread) = id.map_err(drop).and_then(|id| clients.remove(&id).ok_or(())) {
                // The notice is the last thing that it does; a panic has been reported already.
                let _ = thread.join();
            },
        }
    }
}

fn admit(
    upgrade: Upgrade,
    id: &ClientId,
    store: &Sender<Command>,
    ended: &Sender<ClientId>,
    large_messages: LargeMessages,
    exits: &Sender<Exit>,
) -> io::Result<JoinHandle<()>> {
    log::debug!("client {id} connected from {}", upgrade.peer);
    let (client, said, queue) = prepare(upgrade, id, large_messages)?;
    let (store, ended, client_exits) = (store.clone(), ended.clone(), exits.clone());
    thread::spawn("ws-reader", Some(WS_STACK_BYTES), exits, move || {
        let id = client.id.clone();
        let frames = frames::Frames::new(client.clone(), store.clone());
        if let Err(error) = serve(client, said, queue, &store, &client_exits, frames) {
            log::error!("cannot serve client {id}: {error}");
        }
        log::debug!("client {id} is gone");
        // The door takes these notices out as long as it lives.
        let _ = ended.send(id);
    })
}

/// What the two threads of a client begin with.
fn prepare(
    upgrade: Upgrade,
    id: &ClientId,
    large_messages: LargeMessages,
) -> io::Result<(Client, reader::Said, writer::Queue)> {
    let Upgrade { stream, leftover, .. } = upgrade;
    stream.set_read_timeout(Some(WS_SILENCE_MAX))?;
    stream.set_write_timeout(Some(WS_WRITE_TIMEOUT))?;
    let (outbox, frames) = bounded(WS_OUTBOX_FRAMES_MAX);
    let (owed, written) = bounded(WS_ANSWERS_OWED_MAX);
    let client = Client { id: id.clone(), stream: Arc::new(stream), outbox: FrameQueue::from(outbox), owed };
    let (proofs, proven) = bounded(WS_PUSH_PROOFS_MAX);
    let queue = writer::Queue { frames, written, ping_every: WS_PING_EVERY, proofs };
    Ok((client, reader::Said { leftover, silence_max: WS_SILENCE_MAX, large_messages, proven }, queue))
}

/// A client's life, on its reader thread, which starts and joins the writer.
fn serve(
    client: Client,
    said: reader::Said,
    queue: writer::Queue,
    store: &Sender<Command>,
    exits: &Sender<Exit>,
    heard: impl reader::Heard,
) -> io::Result<()> {
    let Client { id, stream, outbox, .. } = client.clone();
    let writer = {
        let stream = stream.clone();
        thread::spawn("ws-writer", Some(WS_STACK_BYTES), exits, move || writer::run(&stream, queue))?
    };
    outbox.is_written_by(writer.thread());
    let kick = stream.clone();
    let way = Outbox::new(outbox.clone(), Box::new(move || disconnect(&kick)));
    // Waiting for room in the store's queue holds up nobody but this client; a store that is gone needs no client.
    let connected = store.send(Command::Connect { client: id.clone(), outbox: way });
    if connected.is_ok() {
        reader::run(&client, said, store, heard);
        let _ = store.send(Command::Disconnect { client: id });
    }
    if !outbox.send(Frame::End) {
        // The writer is stuck behind a peer that does not read: nothing in its queue will be read either.
        disconnect(&stream);
    }
    drop((client, outbox));
    let _ = writer.join();
    disconnect(&stream);
    Ok(())
}

pub use echo::echo;

#[cfg(test)]
mod tests;

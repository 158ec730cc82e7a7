//! WebSocket clients: a thread that reads from all of them, one that writes to all of them, and one that brings them from
//! the gate. They turn frames into commands for the store and the store's frames into JSON; they must not know the
//! roster's rules.

mod answer;
mod bell;
mod echo;
mod events;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gather;
mod input;
mod owed;
mod reader;
mod reading;
mod subscribers;
mod writer;

pub use echo::echo;

use crate::gate::{Stream, Subscribe, Subscriber, Upgrade};
use crate::ids::ClientId;
use crate::limits::{
    EVENTS_KEEP_ALIVE_EVERY, SUBSCRIBER_QUEUE_MAX, WS_ANSWERS_OWED_MAX, WS_CLIENTS_MAX, WS_HELD_BYTES_MAX,
    WS_LARGE_MESSAGE_DEADLINE, WS_LARGE_MESSAGES_MAX, WS_OUTBOX_FRAMES_MAX, WS_PING_EVERY, WS_SILENCE_MAX,
    WS_UPGRADE_QUEUE_MAX, WS_WRITE_TIMEOUT,
};
use crate::roster::Known;
use crate::store::{Command, Frame, FrameQueue, Outbox};
use crate::thread::{self, Exit};
use bell::Listener;
use crossbeam_channel::{Receiver, Sender, bounded};
use owed::Owed;
use reader::{Ports, Reader};
use reading::Heard;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use writer::Writer;

/// What the reader, the writer and the store's answers have of a client in common.
#[derive(Clone)]
struct Client {
    id: ClientId,
    stream: Arc<Stream>,
    /// What it has shown at the door.
    known: Known,
    outbox: FrameQueue,
    owed: Owed,
    /// Has the reader look at the client again, once it wants to.
    resumes: Arc<dyn Fn() + Send + Sync>,
}

impl Client {
    /// The store's way to it.
    fn way(&self) -> Outbox {
        let stream = self.stream.clone();
        Outbox::new(self.outbox.clone(), Box::new(move || disconnect(&stream)))
    }

    /// Puts the reader's own answer into the outbox. Says whether it is on its way.
    fn answer(&self, frame: Frame) -> bool {
        self.owed.add();
        self.outbox.send(frame)
    }

    /// Puts the reader's own answer into the outbox. A client that does not drain it is disconnected.
    fn send(&self, frame: Frame) {
        if !self.answer(frame) {
            disconnect(&self.stream);
        }
    }

    /// Nothing more will be said to it; what has been is still written.
    fn end(self) {
        if !self.outbox.send(Frame::End) {
            disconnect(&self.stream);
        }
    }
}

/// A client's place among those who may be connected at once, held by its two halves: one that has left takes its place
/// until what it is still owed has been written.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(taken: &Arc<AtomicUsize>) -> Arc<Self> {
        taken.fetch_add(1, Ordering::SeqCst);
        Arc::new(Self(taken.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Closes a client's socket without waiting, of which both threads hear.
fn disconnect(stream: &Stream) {
    // A socket that is closed already cannot be closed again, which is what was wanted.
    let _ = stream.shutdown(Shutdown::Both);
}

/// The bounds of the clients; a test's are smaller.
#[derive(Clone)]
struct Settings {
    clients_max: usize,
    outbox_frames_max: usize,
    answers_owed_max: usize,
    silence_max: Duration,
    ping_every: Duration,
    keep_alive_every: Duration,
    write_timeout: Duration,
    held_bytes_max: usize,
    large_messages_max: usize,
    large_message_deadline: Duration,
}

impl Settings {
    fn new(clients_max: usize) -> Self {
        Self {
            clients_max: clients_max.min(WS_CLIENTS_MAX),
            outbox_frames_max: WS_OUTBOX_FRAMES_MAX,
            answers_owed_max: WS_ANSWERS_OWED_MAX,
            silence_max: WS_SILENCE_MAX,
            ping_every: WS_PING_EVERY,
            keep_alive_every: EVENTS_KEEP_ALIVE_EVERY,
            write_timeout: WS_WRITE_TIMEOUT,
            held_bytes_max: WS_HELD_BYTES_MAX,
            large_messages_max: WS_LARGE_MESSAGES_MAX,
            large_message_deadline: WS_LARGE_MESSAGE_DEADLINE,
        }
    }
}

/// Starts the threads, for at most `clients_max` clients and subscribers at once. The one to be joined ends when the gate is
/// gone and all clients are. The other thing given back takes subscribers in.
///
/// # Errors
/// The operating system's reason for which no thread, or no poll, could be had.
pub fn start(
    upgrades: Receiver<Upgrade>,
    store: Sender<Command>,
    clients_max: usize,
    exits: &Sender<Exit>,
) -> io::Result<(JoinHandle<()>, Subscribe)> {
    let to_store = store.clone();
    let make = move |client: &Client| frames::Frames::new(client.clone(), to_store.clone());
    start_with(upgrades, store, Settings::new(clients_max), exits, make)
}

fn start_with<H: Heard + 'static>(
    upgrades: Receiver<Upgrade>,
    store: Sender<Command>,
    settings: Settings,
    exits: &Sender<Exit>,
    make: impl Fn(&Client) -> H + Send + 'static,
) -> io::Result<(JoinHandle<()>, Subscribe)> {
    let (reads, writes) = (Listener::new(settings.clients_max)?, Listener::new(settings.clients_max)?);
    let (reader_sleeps, writer_sleeps) = (reads.ropes().sleeper.clone(), writes.ropes().sleeper.clone());
    let (joins, joined) = bounded(settings.clients_max);
    let ropes = writes.ropes().clone();
    let writer = Writer::new(writes, joined, &settings, exits.clone());
    let writer = thread::spawn("ws-writer", exits, move || writer.run())?;
    let (arrivals, arrived) = bounded(WS_UPGRADE_QUEUE_MAX);
    let (subscribing, subscribers) = bounded(SUBSCRIBER_QUEUE_MAX);
    let ports = Ports { upgrades: arrived, subscribers, store, joins, ropes, exits: exits.clone() };
    let reader = thread::spawn("ws-reader", exits, move || {
        Reader::new(reads, ports, settings, make).run();
        writer_sleeps.wake_surely();
    })?;
    let wakes = reader_sleeps.clone();
    let subscribe: Subscribe = Arc::new(move |subscriber: Subscriber| {
        subscribing.try_send(subscriber).map_err(|refused| Box::new(refused.into_inner()))?;
        wakes.wake();
        Ok(())
    });
    let door = thread::spawn("ws-door", exits, move || {
        for upgrade in upgrades {
            // Here, since it takes a look at processes, for which those who are connected must not wait.
            let known = upgrade.credential.known(&upgrade.maker, true);
            // An error means that the reader is gone, and the daemon is stopping.
            if arrivals.send((upgrade, known)).is_err() {
                break;
            }
            reader_sleeps.wake();
        }
        drop(arrivals);
        reader_sleeps.wake_surely();
        // A panic in them has been reported.
        let _ = reader.join();
        let _ = writer.join();
    })?;
    Ok((door, subscribe))
}

#[cfg(test)]
mod tests;

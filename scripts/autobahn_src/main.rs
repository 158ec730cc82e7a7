//! An echo server for the WebSocket conformance suite, made of the product's parts: its gate admits and answers the
//! handshake, its reader thread (with its bounds and its protocol library's settings) takes the messages, its outbox and
//! its writer thread send them back. Not under test: the JSON protocol and the store. Prints its address and serves
//! until its standard input ends.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a tool for developers: it says what it does and fails loudly

use crossbeam_channel::bounded;
use marshal::gate::{self, Auth, Door, DoorKind, Listener, Settings};
use marshal::{thread, ws};
use std::io::Read;

fn main() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    println!("ws://{}/myko", listener.local_addr().unwrap());
    let (exits, exited) = bounded(16);
    let (requests, _no_worker) = bounded(1);
    let (upgrades, upgraded) = bounded(64);
    let (store, commands) = bounded(64);
    let settings =
        Settings::new(vec![Door { kind: DoorKind::WebSocket, listener: Listener::Tcp(listener) }], Auth::Off);
    let (gate, gate_thread) =
        gate::start(settings, gate::Requests { hooks: requests.clone(), others: requests }, upgrades, &exits).unwrap();
    thread::spawn("store", &exits, move || commands.iter().for_each(drop)).unwrap();
    let clients = ws::echo(upgraded, store, &exits).unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    gate.stop();
    gate_thread.join().unwrap();
    clients.join().unwrap();
    assert!(exited.is_empty(), "a thread died: {:?}", exited.try_recv());
}

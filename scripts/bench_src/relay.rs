//! The floor under many pairs: a server that passes messages on and does nothing else. It has as many connections as
//! the daemon, reads the same requests and writes the daemon's own frames, but knows no disk, no JSON and no sessions.
//! What it does in a second is what sockets and the bench's own clients allow at this moment.

use crate::many::{Connection, Kind, drive};
use crate::ws_client;
use std::net::{TcpListener, TcpStream};
use std::thread::Builder;

/// A close frame, masked with zeros like all that clients say.
const END: &[u8] = &[0x88, 0x80, 0, 0, 0, 0];

/// What one message makes the daemon write: real frames, so that theirs is the size.
pub(crate) struct Relay {
    pub(crate) push: Vec<u8>,
    pub(crate) answer: Vec<u8>,
}

impl Relay {
    /// Gives `work` the clients of a relay, which ends with it: senders have even numbers, each with its receiver behind
    /// it.
    pub(crate) fn run<T>(&self, pairs: usize, work: impl FnOnce(&mut [Connection]) -> T) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the relay");
        let (mut clients, mut served): (Vec<_>, Vec<_>) = (0..2 * pairs).map(|_| connect(&listener)).unzip();
        std::thread::scope(|scope| {
            let serve = || self.serve(&mut served);
            Builder::new().name("relay".to_owned()).spawn_scoped(scope, serve).expect("a thread for the relay");
            let result = work(&mut clients);
            clients[0].out.extend_from_slice(END);
            clients[0].flush();
            result
        })
    }

    /// Passes on what senders send until one of them says that it is over. The push goes out at once, not at the end of
    /// the round: that is a little faster, and a floor is to be the best that can be had.
    fn serve(&self, served: &mut [Connection]) {
        drive(served, |served, number, kind| {
            if kind == Kind::Request {
                served[number + 1].out.extend_from_slice(&self.push);
                served[number + 1].flush();
                served[number].out.extend_from_slice(&self.answer);
            }
            kind == Kind::Request
        });
    }
}

/// Both ends of a new connection.
fn connect(listener: &TcpListener) -> (Connection, Connection) {
    let client = listener.local_addr().and_then(TcpStream::connect).expect("the relay listens");
    let (server, _) = listener.accept().expect("a client has just connected");
    (Connection::new(client, &[], ws_client::parse), Connection::new(server, &[], request))
}

/// The first frame of what a client has said: a request is masked and longer than 125 bytes.
fn request(bytes: &[u8]) -> Option<(usize, Kind)> {
    match *bytes {
        [0x81, 0xfe, high, low, ..] => {
            let length = 8 + usize::from(u16::from_be_bytes([high, low]));
            (bytes.len() >= length).then_some((length, Kind::Request))
        }
        [0x88, ..] => Some((bytes.len(), Kind::Other)),
        _ => None,
    }
}

//! A listening socket while the gate owns it, and how its accept can fail. It must not decide what to do about a
//! failure, only which kind it is.

use super::stream::Socket;
use super::{Door, DoorKind, Listener};
use crossbeam_channel::Receiver;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;

enum Listening {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener),
}

/// A door that callers come through.
pub(super) struct OpenDoor {
    listening: Listening,
    pub(super) kind: DoorKind,
    /// The address of a TCP door.
    pub(super) bound: Option<SocketAddr>,
    /// Somebody may be waiting. The poll tells this once; it holds until an accept finds nobody.
    pub(super) is_ready: bool,
}

/// What one accept brought.
pub(super) enum Accepted {
    Connection(Socket),
    /// This caller is gone again; others may be waiting.
    TryAgain,
    /// Nobody is waiting.
    Nobody,
    /// The process, or the system, has no descriptor left.
    OutOfDescriptors,
    /// It will not work for a while: no memory, for example.
    Failed(io::Error),
}

impl OpenDoor {
    /// Makes a bound listener ready for the poll.
    pub(super) fn new(door: Door, registry: &Registry, token: Token) -> io::Result<Self> {
        let (mut listening, bound) = match door.listener {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let bound = listener.local_addr()?;
                (Listening::Tcp(mio::net::TcpListener::from_std(listener)), Some(bound))
            }
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                (Listening::Unix(mio::net::UnixListener::from_std(listener)), None)
            }
        };
        match &mut listening {
            Listening::Tcp(listener) => listener.register(registry, token, Interest::READABLE)?,
            Listening::Unix(listener) => listener.register(registry, token, Interest::READABLE)?,
        }
        Ok(Self { listening, kind: door.kind, bound, is_ready: true })
    }

    /// Whether there is a caller to be accepted; so too if that cannot be found out.
    fn somebody_waits(&self) -> bool {
        let mut fds = [match &self.listening {
            Listening::Tcp(listener) => PollFd::new(listener, PollFlags::IN),
            Listening::Unix(listener) => PollFd::new(listener, PollFlags::IN),
        }];
        rustix::event::poll(&mut fds, Some(&Timespec::default())).is_err() || !fds[0].revents().is_empty()
    }

    /// Takes one caller, if there is one.
    pub(super) fn accept(&mut self) -> Accepted {
        if !self.is_ready {
            return Accepted::Nobody;
        }
        let result = match &self.listening {
            Listening::Tcp(listener) => listener.accept().map(|(stream, _)| {
                // Answers are written whole; there is nothing to wait for. If it fails, the answer is only later.
                let _ = stream.set_nodelay(true);
                Socket::Tcp(stream)
            }),
            Listening::Unix(listener) => listener.accept().map(|(stream, _)| Socket::Unix(stream)),
        };
        match result {
            Ok(socket) => Accepted::Connection(socket),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.is_ready = false;
                    Accepted::Nobody
                }
                io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::PermissionDenied => Accepted::TryAgain,
                _ if [Some(Errno::MFILE.raw_os_error()), Some(Errno::NFILE.raw_os_error())]
                    .contains(&error.raw_os_error()) =>
                {
                    // Accepting takes a descriptor first and looks for a caller then: without one it says so even when
                    // nobody is there, and nobody should have to go for nobody.
                    if self.somebody_waits() {
                        return Accepted::OutOfDescriptors;
                    }
                    self.is_ready = false;
                    Accepted::Nobody
                }
                _ => Accepted::Failed(error),
            },
        }
    }
}

/// Opens a new Unix door in the place of the one that callers cannot find any more.
pub(super) fn replace_unix(doors: &mut [OpenDoor], sockets: &Receiver<UnixListener>, registry: &Registry) {
    for socket in sockets.try_iter() {
        let Some(index) = doors.iter().position(|door| door.kind == DoorKind::Unix) else { continue };
        let door = Door { kind: DoorKind::Unix, listener: Listener::Unix(socket) };
        match OpenDoor::new(door, registry, Token(index)) {
            Ok(door) => doors[index] = door,
            Err(error) => log::error!("the new socket cannot be used: {error}"),
        }
    }
}

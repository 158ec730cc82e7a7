//! The two kinds of connected socket behind one face: [`Socket`] while the gate holds it, [`Stream`] once it is handed to
//! the WebSocket threads, which share it. Neither ever blocks. It knows nothing about what goes over them.

use super::Peer;
use crate::process::PeerHandle;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use rustix::net::RecvFlags;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A connection that never blocks, as the reader and the writer of WebSocket clients share it.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Over the Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl Stream {
    /// Ends one or both directions; whoever waits for the socket hears of it.
    ///
    /// # Errors
    /// The operating system's, for example that the other side is gone already.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        again_if_interrupted(|| match self {
            Stream::Tcp(stream) => (&*stream).read(buffer),
            Stream::Unix(stream) => (&*stream).read(buffer),
        })
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        again_if_interrupted(|| match self {
            Stream::Tcp(stream) => (&*stream).write(bytes),
            Stream::Unix(stream) => (&*stream).write(bytes),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection at the gate.
pub(super) enum Socket {
    Tcp(mio::net::TcpStream),
    Unix(mio::net::UnixStream),
}

impl Socket {
    /// One read that does not wait; an interruption is not an end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        again_if_interrupted(|| match self {
            Self::Tcp(stream) => (&*stream).read(buffer),
            Self::Unix(stream) => (&*stream).read(buffer),
        })
    }

    /// Writes what the kernel takes now; fewer bytes than given means that it takes no more for the moment.
    pub(super) fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let result = again_if_interrupted(|| match self {
                Self::Tcp(stream) => (&*stream).write(rest),
                Self::Unix(stream) => (&*stream).write(rest),
            });
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }

    /// Says "that was all" to the other side.
    pub(super) fn half_close(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.fd(), rustix::net::Shutdown::Write)?)
    }

    /// Whether the other side has ended its direction and nothing of what it sent is left to read.
    pub(super) fn caller_has_closed(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(self.fd(), &mut [0_u8; 1], flags), Ok((_, 0)))
    }

    /// Whether the kernel keeps an error for this connection. After the other side's orderly end, reads go on to say
    /// "end" even if a reset followed because nobody was there to take the answer; this is where the reset shows.
    pub(super) fn has_failed(&self) -> bool {
        let error = match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
        };
        !matches!(error, Ok(None))
    }

    /// Who is at the other end, for logs.
    pub(super) fn peer(&self) -> String {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map_or_else(|_| "tcp".to_owned(), |address| address.to_string()),
            Self::Unix(_) => "unix".to_owned(),
        }
    }

    /// The address at which a caller over TCP reached us.
    pub(super) fn reached_at(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The process at the other end of a Unix socket, as the kernel noted it when it connected; none over TCP, and where
    /// it cannot be told.
    pub(super) fn peer_process(&self) -> Option<Peer> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(stream) => peer_of(stream.as_fd()),
        }
    }

    /// What tells the process that made this connection from others; none is told apart over TCP.
    pub(super) fn maker(&self, accepted: u64) -> PeerHandle {
        match self {
            Self::Tcp(_) => PeerHandle::Ended,
            Self::Unix(stream) => PeerHandle::of(stream.as_fd(), accepted),
        }
    }

    /// For the WebSocket threads.
    pub(super) fn into_stream(self) -> Stream {
        match self {
            Self::Tcp(stream) => Stream::Tcp(std::net::TcpStream::from(OwnedFd::from(stream))),
            Self::Unix(stream) => Stream::Unix(std::os::unix::net::UnixStream::from(OwnedFd::from(stream))),
        }
    }

    /// Asks to be told when it can be read or written. mio tells about changes only, and about the present state once.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => stream.register(registry, token, both),
            Self::Unix(stream) => stream.register(registry, token, both),
        }
    }

    /// The opposite of [`Socket::register`]: the socket can go to another thread.
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(registry),
            Self::Unix(stream) => stream.deregister(registry),
        }
    }
}

#[cfg(target_os = "linux")]
fn peer_of(socket: BorrowedFd<'_>) -> Option<Peer> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    let found = getsockopt(&socket, PeerCredentials).ok()?;
    // A process of another pid namespace has none here, which the system shows as zero.
    Some(Peer { pid: u32::try_from(found.pid()).unwrap_or_default(), uid: found.uid() })
}

#[cfg(target_vendor = "apple")]
fn peer_of(socket: BorrowedFd<'_>) -> Option<Peer> {
    use nix::sys::socket::{getsockopt, sockopt};
    let uid = getsockopt(&socket, sockopt::LocalPeerCred).ok()?.uid();
    let pid = getsockopt(&socket, sockopt::LocalPeerPid).unwrap_or_default();
    Some(Peer { pid: u32::try_from(pid).unwrap_or_default(), uid })
}

/// Elsewhere nobody is known, and so nobody is let in.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn peer_of(_: BorrowedFd<'_>) -> Option<Peer> {
    None
}

fn again_if_interrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

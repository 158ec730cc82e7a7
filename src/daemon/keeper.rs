//! What callers find the daemon by, and what keeps a second one out: the socket, the lock and the token, each put back when
//! somebody has removed it. A thread of its own looks, since file systems can hang. It must not make the state directory
//! again: who removed that may have meant it.

use super::doors::bind_unix;
use crate::config::socket_path;
use crate::error::{Fatal, exit_code};
use crate::event_log::lock::{Lock, LockError};
use crate::event_log::state_dir;
use crate::gate;
use crate::limits::{KEEPER_LOOK_EVERY, KEEPER_STOP_DEADLINE};
use crate::machine_token;
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The thread, from outside.
pub(super) struct Keeper {
    stop: Sender<()>,
    lock: Receiver<Lock>,
}

impl Keeper {
    /// Ends the thread, so that it puts nothing back any more, and takes the lock from it; none if it hangs in a file system.
    pub(super) fn stop(self) -> Option<Lock> {
        drop(self.stop);
        self.lock.recv_timeout(KEEPER_STOP_DEADLINE).ok()
    }
}

/// Starts the thread. It is not joined: it may be waiting for a file system that is gone.
pub(super) fn start(
    directory: PathBuf,
    lock: Lock,
    sign: String,
    has_token: bool,
    gate: gate::Handle,
    exits: &Sender<Exit>,
) -> io::Result<Keeper> {
    let (stop, stopped) = bounded::<()>(0);
    let (give_back, given_back) = bounded(1);
    let socket = identity(&socket_path(&directory))?;
    let fatal = exits.clone();
    thread::spawn("keeper", exits, move || {
        let mut kept = Kept { directory, lock, sign, has_token, gate, socket, said: String::new() };
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(KEEPER_LOOK_EVERY) {
            match kept.look() {
                Ok(()) => kept.said.clear(),
                Err(error) if error.code == exit_code::HELD => {
                    let _ = fatal.try_send(Exit::Fatal(error.message, error.code));
                }
                Err(error) => kept.say(error.message),
            }
        }
        let _ = give_back.try_send(kept.lock);
    })?;
    Ok(Keeper { stop, lock: given_back })
}

/// Device and inode of a socket; none if there is no socket.
fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(found.file_type().is_socket().then(|| (found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

struct Kept {
    directory: PathBuf,
    lock: Lock,
    sign: String,
    has_token: bool,
    gate: gate::Handle,
    socket: Option<(u64, u64)>,
    /// What is wrong, as it was said last.
    said: String,
}

impl Kept {
    /// Says what is wrong, once.
    fn say(&mut self, what: String) {
        if self.said != what {
            log::error!("{what}");
            self.said = what;
        }
    }

    /// Puts back what is not there any more; the lock first, since it allows the rest.
    fn look(&mut self) -> Result<(), Fatal> {
        let show = self.directory.display().to_string();
        let cannot = |error: io::Error| {
            Fatal::new(exit_code::CANNOT_CREATE, format!("cannot look into the state directory {show}: {error}"))
        };
        if !self.directory.try_exists().map_err(cannot)? {
            let message = format!(
                "the state directory {show} was removed: nothing is stored, and callers find neither socket nor token; make it again (mkdir -m 700), or restart marshal"
            );
            return Err(Fatal::new(exit_code::CANNOT_CREATE, message));
        }
        if !self.lock.is_in_place(&self.directory).map_err(cannot)? {
            state_dir::prepare(&self.directory)?;
            self.lock_again()?;
        }
        let path = socket_path(&self.directory);
        let found = identity(&path).map_err(cannot)?;
        if found.is_none() || found != self.socket {
            let socket = bind_unix(&path)?;
            self.socket = identity(&path).map_err(cannot)?;
            self.gate.replace_socket(socket);
            log::warn!("somebody removed the socket {}; made it again", path.display());
        }
        let token = self.directory.join(machine_token::TOKEN_NAME);
        if self.has_token && !token.try_exists().map_err(cannot)? {
            machine_token::load_or_make(&self.directory, |token| self.gate.renew_token(token))?;
            log::warn!("somebody removed the machine's token; made a new one, and the old one is not taken any more");
        }
        Ok(())
    }

    fn lock_again(&mut self) -> Result<(), Fatal> {
        let show = self.directory.display();
        self.lock = Lock::take(&self.directory).map_err(|error| match error {
            LockError::Held(holder) => Fatal::new(
                exit_code::HELD,
                format!("somebody removed the lock of {show}, and another marshal serves it now: {holder}"),
            ),
            LockError::Io(error) => Fatal::new(exit_code::CANNOT_CREATE, format!("cannot lock {show} again: {error}")),
        })?;
        if let Err(error) = self.lock.sign(&self.sign) {
            log::warn!("cannot write who holds the lock: {error}");
        }
        log::warn!("somebody removed the lock of {show}; took it again");
        Ok(())
    }
}

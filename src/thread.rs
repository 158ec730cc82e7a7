//! The one way to start a thread: it has a name, somebody joins it, and its panic is reported to whoever decides
//! about the process. Nothing else may call `std::thread::spawn`.

use crossbeam_channel::Sender;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

/// Why the process should stop.
#[derive(Debug)]
pub enum Exit {
    /// A signal asked for it.
    Signal,
    /// The named thread panicked or ended while it was still needed.
    ThreadDied(String),
    /// A component cannot go on; the text says why, the number is the exit code.
    Fatal(String, u8),
}

/// Starts a named thread. A panic in it is sent to `exits` (never waiting: if that queue is full the process is
/// already stopping).
///
/// # Errors
/// The operating system's reason for which no thread could be had.
pub fn spawn(
    name: &str,
    exits: &Sender<Exit>,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    let (name, exits) = (name.to_owned(), exits.clone());
    builder.spawn(move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            log::error!("thread {name} panicked");
            let _ = exits.try_send(Exit::ThreadDied(name));
        }
    })
}

/// Sends every panic's text and place to the log as one line; without it the default hook writes several to stderr.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let text = info.payload().downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| info.payload().downcast_ref::<String>().cloned());
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        log::error!("panic in thread {} at {place}: {}", thread.name().unwrap_or("?"), text.unwrap_or_default());
        // A panic of the main thread ends the process before anything else is written.
        log::logger().flush();
    }));
}

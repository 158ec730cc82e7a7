//! The daemon: puts the parts together in the right order, waits for a reason to stop, and takes them apart in the
//! right order. It must not hold any state of its own while they run.

mod descriptors;
mod doors;
mod holder;
mod keeper;
mod logging;
mod parents;
mod signals;

use crate::config::{AuthMode, ServeConfig};
use crate::error::{Fatal, exit_code, explain_in};
use crate::event_log::key::{KEY_NAME, LogKey};
use crate::event_log::lock::{Lock, LockError};
use crate::event_log::real_disk::RealDisk;
use crate::event_log::{recover, state_dir};
use crate::gate::{self, Auth};
use crate::http::{self, About, Home};
use crate::ids::{IdSource, SystemIds};
use crate::limits::{
    BATCH_COMMANDS_MAX, COMPACT_OVER_BYTES, FAULT_STOP_DEADLINE, HTTP_WORKERS, LOG_FLUSH_DEADLINE, REQUEST_QUEUE_MAX,
    ROTATE_QUEUE_MAX, STOP_DEADLINE, STORE_QUEUE_MAX, WATCH_QUEUE_MAX, WS_UPGRADE_QUEUE_MAX,
};
use crate::machine_token;
use crate::roster::{Roster, SilentTurn, is_operator};
use crate::store::{Command, CompactJob, ProcessWatch, ReadJob, Start, Store};
use crate::thread::{self, Exit};
use crate::time::SystemClock;
use crate::{compactor, git_branch, process, sweeper, transcript, watcher, ws};
use crossbeam_channel::{Receiver, Sender, bounded};
use descriptors::Shares;
use doors::Doors;
use std::path::Path;
use std::thread::JoinHandle;

/// Runs the daemon until a signal or a fault ends it.
///
/// # Errors
/// Fatal: why it could not start, or had to stop.
pub fn run(config: &ServeConfig) -> Result<(), Fatal> {
    // Before anything is written, its own log included.
    signals::survive_file_limits();
    let (exits, exited) = bounded(16);
    let own_log = logging::start(config.log_level, &exits)?;
    thread::log_panics();
    let shares = descriptors::raise()?;
    let clock = SystemClock::start();
    state_dir::prepare(&config.state_dir)?;
    let mut lock = take_lock(&config.state_dir)?;
    let auth = auth(config)?;
    let doors = Doors::open(config)?;
    let about = About {
        pid: std::process::id(),
        state_dir: config.state_dir.display().to_string(),
        hooks: doors.hooks.to_string(),
        websocket: doors.websocket.to_string(),
        socket: doors.socket.display().to_string(),
        auth: config.auth.name(),
        program: config.program.clone(),
        home: Home {
            operator: config.operator.clone().filter(|name| is_operator(name)),
            machine: process::this_machine(),
        },
        parents: parents::load(&config.state_dir)?,
        own_log: own_log.clone(),
        clock,
    };
    let (sign, socket) = (signature(&about), doors.socket.clone());
    if let Some(coord_dir) = &config.coord_dir {
        state_dir::migrate(coord_dir, &config.state_dir);
    }
    signals::listen(exits.clone())?;
    let parts = start(config, doors, auth, shares, about, clock, &exits)?;
    if let Err(error) = lock.sign(&sign) {
        log::warn!("cannot write who holds the lock: {error}");
    }
    let no_thread = |error| Fatal::new(exit_code::OS, format!("the system gives no thread: {error}"));
    let (directory, has_token) = (config.state_dir.clone(), auth != Auth::Off);
    let keeper = keeper::start(directory, lock, sign.clone(), has_token, parts.gate.clone(), &exits);
    let keeper = keeper.map_err(no_thread)?;
    log::info!("ready: {sign}");
    if auth == Auth::Off {
        log::warn!(
            "callers are asked for no token (auth none): every user and every program of this machine can speak as any session"
        );
    }
    let exit = exited.recv().unwrap_or(Exit::Signal);
    // First of all, so that it puts nothing back that the stop removes.
    let lock = keeper.stop();
    stop(parts, &exit, &socket);
    let exit = worst(exit, &exited);
    own_log.flush(LOG_FLUSH_DEADLINE);
    drop(lock);
    match exit {
        Exit::Signal => Ok(()),
        Exit::ThreadDied(name) => Err(Fatal::new(
            exit_code::SOFTWARE,
            format!("thread {name} died; everything that was acknowledged is in the log, restart marshal"),
        )),
        Exit::Fatal(message, code) => Err(Fatal::new(code, message)),
    }
}

/// The running parts, in the order in which they end.
struct Parts {
    gate: gate::Handle,
    gate_thread: JoinHandle<()>,
    store: Sender<Command>,
    store_thread: JoinHandle<()>,
    stop_workers: Sender<()>,
    stop_sweeper: Sender<()>,
    others: Vec<JoinHandle<()>>,
}

fn start(
    config: &ServeConfig,
    doors: Doors,
    auth: Auth,
    shares: Shares,
    about: About,
    clock: SystemClock,
    exits: &Sender<Exit>,
) -> Result<Parts, Fatal> {
    let no_thread = |error| Fatal::new(exit_code::OS, format!("the system gives no thread: {error}"));
    let (commands, queue) = bounded(STORE_QUEUE_MAX);
    let (ask, jobs) = bounded(WATCH_QUEUE_MAX);
    let (hooks, hooks_to_serve) = bounded(REQUEST_QUEUE_MAX);
    let (others, others_to_serve) = bounded(REQUEST_QUEUE_MAX);
    let (requests, to_serve) =
        (gate::Requests { hooks, others }, http::ToServe { hooks: hooks_to_serve, others: others_to_serve });
    let (upgrades, to_upgrade) = bounded(WS_UPGRADE_QUEUE_MAX);
    let (rotate, to_rotate) = bounded(ROTATE_QUEUE_MAX);
    let (stop_workers, workers_stop) = bounded::<()>(0);
    let (stop_sweeper, sweeper_stop) = bounded::<()>(0);

    let (compact, to_compact) = bounded(1);
    let (processes, process_watcher) =
        process::start(shares.process_handles, commands.clone(), exits).map_err(no_thread)?;
    let transcripts = transcript::start(commands.clone(), exits).map_err(no_thread)?;
    let store = open_store(config, Helpers { ask, compact, processes, transcripts }, clock)?;
    let late = queue.clone();
    let store_thread = start_store(store, queue, clock, exits).map_err(no_thread)?;
    let (ws_door, subscribe) = ws::start(to_upgrade, commands.clone(), shares.ws_clients, exits).map_err(no_thread)?;
    let look = git_branch::start(commands.clone(), exits).map_err(no_thread)?;
    let ways = http::Ways { store: commands.clone(), rotate, subscribe, look, late };
    let mut others = http::start(HTTP_WORKERS, &to_serve, &ways, about, &workers_stop, exits).map_err(no_thread)?;
    drop(ways);
    others.push(process_watcher);
    others.push(ws_door);
    let disk = RealDisk::new(&config.state_dir);
    others.push(compactor::start(disk, to_compact, commands.clone(), exits).map_err(no_thread)?);
    others.push(watcher::start(&config.state_dir, jobs, commands.clone(), exits).map_err(no_thread)?);
    let mut settings = gate::Settings::new(doors.listeners, auth);
    (settings.connections_max, settings.waiters_max) = (shares.gate_connections, shares.waiters);
    settings.allowed_hosts.clone_from(&config.allowed_hosts);
    let (gate, gate_thread) = gate::start(settings, requests, upgrades, exits)
        .map_err(|error| Fatal::new(exit_code::OS, format!("the doors cannot be opened: {error}")))?;
    let teller = gate.clone();
    let tell = move |token| teller.renew_token(token);
    let directory = config.state_dir.clone();
    others.push(machine_token::start_keeper(directory, to_rotate, tell, exits).map_err(no_thread)?);
    // Only now may time take anything away: those who were there before the restart can come back.
    let _ = commands.send(Command::DoorsOpen);
    others.push(sweeper::start(commands.clone(), sweeper_stop, exits).map_err(no_thread)?);
    Ok(Parts { gate, gate_thread, store: commands, store_thread, stop_workers, stop_sweeper, others })
}

fn start_store(
    store: Store<RealDisk>,
    queue: Receiver<Command>,
    clock: SystemClock,
    exits: &Sender<Exit>,
) -> std::io::Result<JoinHandle<()>> {
    let fatal = exits.clone();
    thread::spawn("store", exits, move || {
        if let Err(error) = store.run(&queue, clock) {
            log::error!("{error}");
            let _ = fatal.try_send(Exit::Fatal(error.message, error.code));
        }
    })
}

/// The ways to those who help the store.
struct Helpers {
    ask: Sender<ReadJob>,
    compact: Sender<CompactJob>,
    processes: ProcessWatch,
    transcripts: Sender<SilentTurn>,
}

/// Opens the log and reads it back.
fn open_store(config: &ServeConfig, helpers: Helpers, clock: SystemClock) -> Result<Store<RealDisk>, Fatal> {
    let directory = config.state_dir.as_path();
    let begun = std::time::Instant::now();
    let new_key = LogKey::random();
    let new_key =
        new_key.map_err(|error| Fatal::new(exit_code::OS, format!("the system gives no random numbers: {error}")))?;
    let opened = recover::open(RealDisk::new(directory), new_key);
    let opened = opened.map_err(|error| Fatal::new(error.exit_code(), error.explain(directory)))?;
    if let Some(rewritten) = opened.rewritten {
        log::warn!("the disk had failed under the log; wrote it anew ({} lines)", rewritten.lines);
    }
    let (log, fold) = (opened.log, opened.fold);
    for (line, reason) in &fold.damage.named {
        log::warn!("skipped line {line} of the log, which cannot be read: {reason}");
    }
    let (damaged, foreign, bytes) = (fold.damage.lines, fold.foreign, fold.bytes);
    let (ends_with_newline, lines, live_bytes) = (fold.ends_with_newline, fold.lines, fold.live_bytes);
    let written_at = fold.written_at();
    let (places, rows) = (fold.places, fold.into_placed());
    if !log.is_key_saved() && !rows.is_empty() {
        log::warn!(
            "the log was written without the key that {} will hold: who sent its messages counts as not verified, and sessions that were registered by token have to register again",
            directory.join(KEY_NAME).display()
        );
    }
    log::info!(
        "read {lines} lines ({bytes} bytes) of the log in {} ms: {} rows, {damaged} malformed lines, {foreign} events of unknown types",
        begun.elapsed().as_millis(),
        rows.len()
    );
    let mut roster = Roster::new();
    roster.load_placed(rows, written_at, clock.now());
    roster.limit_sends(config.sends_per_second);
    let mut ids = SystemIds::new();
    let source_id = ids.new_id();
    Ok(Store::new(Start {
        roster,
        log,
        replayed_bytes: bytes,
        ends_with_newline,
        malformed_lines: damaged,
        places,
        watcher: helpers.ask,
        processes: helpers.processes,
        transcripts: helpers.transcripts,
        live_bytes,
        compact_over_bytes: COMPACT_OVER_BYTES,
        compactor: helpers.compact,
        ids: Box::new(ids),
        source_id,
    }))
}

/// What callers over TCP have to show. We hold the lock, so that nobody else makes or changes the token meanwhile.
fn auth(config: &ServeConfig) -> Result<Auth, Fatal> {
    match config.auth {
        AuthMode::None => Ok(Auth::Off),
        AuthMode::Token => Ok(Auth::Required(machine_token::load_or_make(&config.state_dir, |_| {})?.hash())),
    }
}

fn take_lock(directory: &Path) -> Result<Lock, Fatal> {
    Lock::take(directory).map_err(|error| match error {
        LockError::Held(holder) => Fatal::new(
            exit_code::HELD,
            format!("another marshal serves {}: {holder}; stop it, or set MARSHAL_STATE_DIR", directory.display()),
        ),
        LockError::Io(error) => Fatal::new(
            exit_code::CANNOT_CREATE,
            format!("cannot lock {}: {}", directory.display(), explain_in(directory, &error)),
        ),
    })
}

/// Who we are, for those who find the lock or a port held.
fn signature(about: &About) -> String {
    format!(
        "marshal {} pid {} hooks http://{} websocket ws://{}/myko socket {}",
        env!("CARGO_PKG_VERSION"),
        about.pid,
        about.hooks,
        about.websocket,
        about.socket
    )
}

/// Takes the parts apart: no new callers, then what is queued, then the answers, then good-bye to the clients. What has
/// not ended by the deadline ends with the process; all that was acknowledged is on disk by then.
fn stop(parts: Parts, exit: &Exit, socket: &Path) {
    log::info!("stopping: {exit:?}");
    let (done, finished) = bounded::<()>(1);
    // First of all, so that a caller who dawdles until the deadline cannot keep it there. Nobody else can have made it:
    // we hold the lock.
    let _ = std::fs::remove_file(socket);
    let (exits, _) = bounded(1);
    let stopper = thread::spawn("stopper", &exits, move || {
        parts.gate.stop();
        drop(parts.stop_sweeper);
        // Blocks while the queue is full, which the store is working off.
        let _ = parts.store.send(Command::Stop);
        let _ = parts.store_thread.join();
        drop(parts.store);
        // All answers are on their way to the workers now.
        drop(parts.stop_workers);
        let _ = parts.gate_thread.join();
        for thread in parts.others {
            let _ = thread.join();
        }
        let _ = done.send(());
    });
    // After a fault nobody who still waits can be served.
    let deadline = if matches!(exit, Exit::Signal) { STOP_DEADLINE } else { FAULT_STOP_DEADLINE } - LOG_FLUSH_DEADLINE;
    if stopper.is_err() || finished.recv_timeout(deadline).is_err() {
        log::warn!("not everything ended within {} ms", deadline.as_millis());
    }
    log::info!("stopped");
}

/// The reason to end with, of the first and those that came about while the daemon stopped: a log that breaks then may lack
/// nothing that was acknowledged, but the operator must hear of the disk.
fn worst(first: Exit, more: &Receiver<Exit>) -> Exit {
    let is_fault = |exit: &Exit| !matches!(exit, Exit::Signal);
    if is_fault(&first) {
        return first;
    }
    more.try_iter().find(is_fault).unwrap_or(first)
}

const _: () = assert!(STORE_QUEUE_MAX >= BATCH_COMMANDS_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    // row 88
    #[test]
    fn a_fault_during_an_ordered_stop_is_what_the_daemon_ends_with() {
        let (exits, exited) = bounded(4);
        assert!(matches!(worst(Exit::Signal, &exited), Exit::Signal));
        exits.send(Exit::Signal).unwrap();
        exits.send(Exit::Fatal("the log broke".to_owned(), exit_code::IO)).unwrap();
        exits.send(Exit::ThreadDied("other".to_owned())).unwrap();
        assert!(matches!(worst(Exit::Signal, &exited), Exit::Fatal(_, exit_code::IO)));
        exits.send(Exit::Fatal("later".to_owned(), exit_code::IO)).unwrap();
        assert!(
            matches!(worst(Exit::ThreadDied("first".to_owned()), &exited), Exit::ThreadDied(name) if name == "first")
        );
    }
}

//! The command line: everything but the daemon itself, which `main` hands in as a function. It talks to a running
//! daemon over its Unix socket only; no command but those in `logs.rs` and `token.rs` may touch the state directory.

mod args;
mod commands;
mod completions;
mod events;
mod follow;
mod help;
mod history;
mod hook;
mod hook_input;
mod http_client;
mod identity;
mod list;
mod logs;
mod outbox;
mod output;
mod reader;
mod render;
mod rewake;
mod send;
mod table;
mod text;
mod token;
mod wait;
mod wire;
mod words;
mod zone;

use crate::config::{self, Env, ServeConfig, ServeFlags};
use crate::error::{ErrorKind, Fatal, exit_code};
use crate::limits::LOG_FLUSH_DEADLINE;
use crate::log_queue;
use crate::time::SystemClock;
use args::{Parsed, UsageError};
use commands::Caller;
pub use hook_input::Input;
use reader::Reader;
use std::cell::OnceCell;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Instant;
use table::Id;
pub use zone::Zone;

/// What the command line sees of the world, so that a test can show it another one.
pub struct World<'a> {
    /// The environment.
    pub env: Env<'a>,
    /// Standard input.
    pub stdin: &'a mut dyn Input,
    /// Whether a person types there.
    pub stdin_is_terminal: bool,
    /// Standard output.
    pub stdout: &'a mut dyn Write,
    /// Whether a person reads there.
    pub stdout_is_terminal: bool,
    /// Stdout was closed, or is `/dev/null`.
    pub stdout_is_discarded: bool,
    /// Standard error.
    pub stderr: &'a mut dyn Write,
    /// Stderr was closed, or is `/dev/null`.
    pub stderr_is_discarded: bool,
    /// The wall clock when it began: milliseconds since 1970.
    pub now_ms: i64,
    /// When that was.
    pub since: Instant,
    /// The reader's time zone, once it was needed.
    pub zone: OnceCell<Zone>,
    /// This program as hints call it, once the command line is understood.
    pub program: String,
}

impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

impl World<'_> {
    /// Writes to stdout and sees that it has left this process.
    fn print(&mut self, text: &str) -> Result<(), Problem> {
        self.stdout.write_all(text.as_bytes()).and_then(|()| self.stdout.flush()).map_err(|error| match error.kind() {
            // The reader has seen enough, as `head` does: no reason to complain.
            io::ErrorKind::BrokenPipe => Problem::new(exit_code::OK, String::new()),
            _ => Problem::new(exit_code::IO, format!("cannot write to stdout: {error}")),
        })
    }

    /// Refuses to take mail that nobody would see. Taking it is the same as telling its senders that it was read.
    fn must_show(&self) -> Result<(), Problem> {
        let message = "stdout is closed or /dev/null: nothing is printed, and no message is marked as read";
        if self.stdout_is_discarded { Err(Problem::new(exit_code::IO, message)) } else { Ok(()) }
    }

    /// The wall clock now.
    fn now(&self) -> i64 {
        let passed = self.since.elapsed().as_millis();
        self.now_ms.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// Whoever reads the output of this command line.
    fn reader(&self) -> Reader {
        let zone = self.zone.get_or_init(|| Zone::of(self.env, zone::read_file));
        Reader { now_ms: self.now(), colour: self.colour(), zone: zone.clone(), program: self.program.clone() }
    }

    /// Says so if times are in UTC although another zone was asked for.
    fn note_zone(&mut self) {
        let unreadable = self.zone.get().and_then(|zone| zone.unreadable().map(text::line));
        if let Some(name) = unreadable {
            self.note(&format!("the time zone '{name}' (TZ) cannot be read: times are in UTC."));
        }
    }

    /// Says something beside the output. Where stderr is gone, nobody is there to be told.
    fn note(&mut self, text: &str) {
        let name = if text.starts_with("marshal") { "" } else { "marshal: " };
        let text = self.with_hints(text);
        let _ = writeln!(self.stderr, "{name}{text}").and_then(|()| self.stderr.flush());
    }

    /// The text with the commands that it names in quotes as they lead to the same daemon.
    fn with_hints(&self, text: &str) -> String {
        text.replace("'marshal ", &format!("'{} ", self.program))
    }

    /// Whether the output is for a terminal that wants colours.
    fn colour(&self) -> bool {
        let dumb = config::set(self.env, "TERM").is_some_and(|term| term == "dumb");
        self.stdout_is_terminal && !dumb && config::set(self.env, "NO_COLOR").is_none()
    }
}

/// Why a command ends without having done what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    code: u8,
    message: String,
    /// Lines to print after the message.
    more: Vec<String>,
    /// The daemon's code for it, empty if it is not the daemon's.
    daemon_code: String,
    /// Somebody answers, and it is not the daemon: that does not pass.
    is_foreign: bool,
}

impl Problem {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), more: Vec::new(), daemon_code: String::new(), is_foreign: false }
    }

    /// Whether the daemon does not run, or is stopping just now: it may come back.
    fn is_passing(&self) -> bool {
        let is_away = self.code == exit_code::UNAVAILABLE || self.daemon_code == ErrorKind::Unavailable.code();
        is_away && !self.is_foreign
    }

    fn because(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }
}

impl From<UsageError> for Problem {
    fn from(error: UsageError) -> Self {
        // What was typed is repeated, and what was typed may have come from anywhere.
        let message = text::line(&error.message);
        Self { more: vec![format!("try '{}'", error.see)], ..Self::new(exit_code::USAGE, message) }
    }
}

impl From<Fatal> for Problem {
    fn from(fatal: Fatal) -> Self {
        Self::new(fatal.code, text::line(&fatal.message))
    }
}

/// How a command line goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is done, with this exit code.
    Done(u8),
    /// The daemon is to be run with these settings.
    Serve(ServeConfig),
}

/// The whole program: does what the process's arguments say, and runs the daemon with `serve` if they say so. Returns
/// the exit code.
pub fn main_with(serve: fn(ServeConfig) -> Result<(), Fatal>) -> u8 {
    let config = match run_in_process() {
        Step::Done(code) => return code,
        Step::Serve(config) => config,
    };
    // Nothing is locked here any more: a thread of the daemon writes to stderr as well.
    match serve(config) {
        Ok(()) => exit_code::OK,
        Err(fatal) => {
            // The exit code says it too, so that a stderr that nothing reads may lose it.
            log_queue::write_within(&format!("marshal: {}", text::line(&fatal.message)), LOG_FLUSH_DEADLINE);
            fatal.code
        }
    }
}

fn run_in_process() -> Step {
    let stdout = io::stdout();
    let (stdout_is_terminal, stdout_is_discarded) = (stdout.is_terminal(), output::is_discarded(&stdout));
    let mut stdin = io::stdin();
    let mut world = World {
        env: &environment,
        stdin_is_terminal: stdin.is_terminal(),
        stdin: &mut stdin,
        stdout: &mut BufWriter::new(stdout.lock()),
        stdout_is_terminal,
        stdout_is_discarded,
        stderr: &mut io::stderr(),
        stderr_is_discarded: output::is_discarded(io::stderr()),
        now_ms: SystemClock::start().now().wall_ms,
        since: Instant::now(),
        zone: OnceCell::new(),
        program: "marshal".to_owned(),
    };
    run(std::env::args_os().skip(1), &mut world)
}

/// The environment; `USER`, which containers and cron leave out, from the list of users.
fn environment(name: &str) -> Option<OsString> {
    let named = || user_name(&std::fs::read_to_string("/etc/passwd").ok()?, rustix::process::geteuid().as_raw());
    std::env::var_os(name).filter(|value| !value.is_empty()).or_else(|| (name == "USER").then(named)?)
}

/// The name of a user in a list of lines `name:password:uid:...`.
fn user_name(list: &str, uid: u32) -> Option<OsString> {
    let mut fields = list.lines().map(|line| line.split(':'));
    fields.find_map(|mut line| {
        let (name, number) = (line.next()?, line.nth(1)?);
        (number.parse() == Ok(uid) && !name.is_empty()).then(|| name.into())
    })
}

/// Does what `args` (without the program's name) say, short of running the daemon.
pub fn run(args: impl IntoIterator<Item = OsString>, world: &mut World<'_>) -> Step {
    let result = step(args, world);
    world.note_zone();
    match result {
        Ok(step) => step,
        Err(problem) => {
            if !problem.message.is_empty() {
                world.note(&problem.message);
                for line in &problem.more {
                    let line = world.with_hints(line);
                    let _ = writeln!(world.stderr, "  {line}");
                }
            }
            Step::Done(problem.code)
        }
    }
}

fn step(args: impl IntoIterator<Item = OsString>, world: &mut World<'_>) -> Result<Step, Problem> {
    let parsed = args::parse(args)?;
    world.program = reader::program(&parsed);
    if parsed.help {
        world.print(&help::of(parsed.command))?;
        return Ok(Step::Done(exit_code::OK));
    }
    match parsed.command.id {
        Id::Serve => return Ok(Step::Serve(serve_config(&parsed, world.env)?)),
        Id::Help => {
            let text = match parsed.operands.first() {
                Some(name) => help::of(args::find(name)?),
                None => help::overview(),
            };
            world.print(&text)?;
        }
        Id::Version => world.print(concat!("marshal ", env!("CARGO_PKG_VERSION"), "\n"))?,
        Id::Completions => commands::completions(&parsed, world)?,
        Id::Ls => with_daemon(&parsed, world, list::ls)?,
        Id::Rooms => with_daemon(&parsed, world, commands::rooms)?,
        Id::Send => with_daemon(&parsed, world, send::send)?,
        Id::Outbox => with_daemon(&parsed, world, outbox::outbox)?,
        Id::Inbox => with_daemon(&parsed, world, commands::inbox)?,
        Id::History => with_daemon(&parsed, world, history::history)?,
        Id::Status => with_daemon(&parsed, world, commands::status)?,
        Id::Compact => with_daemon(&parsed, world, logs::compact)?,
        Id::Log => with_daemon(&parsed, world, logs::log)?,
        Id::Hook => hook::hook(&parsed, world)?,
        Id::Token => with_daemon(&parsed, world, token::token)?,
    }
    Ok(Step::Done(exit_code::OK))
}

fn with_daemon(
    parsed: &Parsed,
    world: &mut World<'_>,
    command: fn(&Caller<'_>, &mut World<'_>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let state_dir = config::state_dir_or(parsed.value("state-dir"), world.env)?;
    let in_codex_sandbox = config::set(world.env, "CODEX_SANDBOX_NETWORK_DISABLED").is_some_and(|value| value == "1");
    let socket = config::socket_path(&state_dir);
    command(&Caller { parsed, state_dir: &state_dir, socket: &socket, in_codex_sandbox }, world)
}

fn serve_config(parsed: &Parsed, env: Env<'_>) -> Result<ServeConfig, Problem> {
    let given = |long: &str| parsed.value(long).map(ToOwned::to_owned);
    let flags = ServeFlags {
        state_dir: given("state-dir"),
        hook_bind: given("hook-bind"),
        bind: given("bind"),
        log_level: given("log-level"),
        auth: given("auth"),
        sends_per_second: given("sends-per-second"),
        allowed_hosts: given("allowed-hosts"),
    };
    Ok(ServeConfig::from_flags(&flags, env)?)
}

#[cfg(test)]
mod tests;

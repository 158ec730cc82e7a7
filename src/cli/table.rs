//! The one table of commands and options, from which parsing, help and shell completions follow. It holds data only
//! and must not act on any of it.

mod kinds;

pub(crate) use kinds::{CONFLICTS, Complete, FLAG_MEANINGS, Flag, NEEDS, Value};

use crate::error::exit_code;

/// Which command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    Serve,
    Ls,
    Rooms,
    Send,
    Inbox,
    Outbox,
    History,
    Status,
    Compact,
    Log,
    Token,
    Hook,
    Completions,
    Help,
    Version,
}

/// A command.
#[derive(Debug)]
pub(crate) struct Command {
    /// Which one.
    pub(crate) id: Id,
    /// How it is typed.
    pub(crate) name: &'static str,
    /// Words of other programs for the same, by which it is suggested and not run.
    pub(crate) meanings: &'static [&'static str],
    /// Its operands, as the usage line shows them.
    pub(crate) operands: &'static str,
    /// How many operands it needs, and how many it takes.
    pub(crate) operand_count: (usize, usize),
    /// What a shell offers for the first operand.
    pub(crate) complete: Complete,
    /// One line for the list of commands.
    pub(crate) summary: &'static str,
    /// More, for the command's own help.
    pub(crate) about: &'static str,
    /// Its options beyond [`COMMON`].
    pub(crate) own_flags: &'static [Flag],
    /// Command lines, each with what it does.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// The exit codes that it can end with, beyond done and wrong command line.
    pub(crate) exits: &'static [u8],
}

impl Command {
    /// All its options.
    pub(crate) fn flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        self.own_flags.iter().chain(COMMON)
    }
}

const fn switch(long: &'static str, help: &'static str) -> Flag {
    Flag { long, short: None, value: None, help }
}

const fn option(long: &'static str, name: &'static str, complete: Complete, help: &'static str) -> Flag {
    Flag { long, short: None, value: Some(Value { name, complete }), help }
}

/// The options of every command.
pub(crate) const COMMON: &[Flag] = &[
    option("state-dir", "DIR", Complete::Directories, "State directory of the daemon [env: MARSHAL_STATE_DIR]"),
    Flag { long: "help", short: Some('h'), value: None, help: "Show this help" },
];

/// The option that is understood only before a command.
pub(crate) const VERSION: Flag = Flag { long: "version", short: Some('V'), value: None, help: "Show the version" };

const JSON: Flag = switch("json", "Print the daemon's answer as JSON");
const LIMIT: Flag = option("limit", "N", Complete::Nothing, "At most N messages (1 to 200)");
const BEFORE: Flag = option("before", "CURSOR", Complete::Nothing, "Go on from where the last page ended");
const LEVELS: Complete = Complete::Words(&["off", "error", "warn", "info", "debug", "trace"]);

const MESSAGE_STATES: Complete =
    Complete::Words(&["queued", "handed", "read", "expired", "superseded", "undeliverable", "claimed"]);

const CALL_EXITS: &[u8] =
    &[exit_code::REFUSED, exit_code::UNAVAILABLE, exit_code::IO, exit_code::PERMISSION, exit_code::CONFIG];

const LOG_EXITS: &[u8] = &[
    exit_code::REFUSED,
    exit_code::UNAVAILABLE,
    exit_code::CANNOT_CREATE,
    exit_code::IO,
    exit_code::HELD,
    exit_code::PERMISSION,
    exit_code::CONFIG,
];

/// What an exit code means to the person who reads the help.
pub(crate) fn exit_meaning(code: u8) -> &'static str {
    match code {
        exit_code::OK => "done",
        exit_code::REFUSED => "the daemon refused, nothing fits, or something is wrong with what was looked at",
        exit_code::WOKEN => "mail came, and is on stderr ('wait' only)",
        exit_code::USAGE => "wrong command line",
        exit_code::UNAVAILABLE => "the daemon does not run, or does not answer",
        exit_code::SOFTWARE => "a bug: a thread of the daemon died",
        exit_code::OS => "the operating system refused a thread, a socket or file descriptors",
        exit_code::CANNOT_CREATE => "the state directory, the log or the socket cannot be made",
        exit_code::IO => "reading or writing failed",
        exit_code::HELD => "another daemon holds the state directory or the port",
        exit_code::PERMISSION => "a file belongs to somebody else or is open to others",
        exit_code::CONFIG => "a setting is wrong",
        _ => "see the message",
    }
}

/// The commands, in the order in which help lists them.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        id: Id::Serve,
        name: "serve",
        meanings: &["start", "run", "daemon", "server", "up"],
        operands: "",
        operand_count: (0, 0),
        complete: Complete::Nothing,
        summary: "Run the daemon, in the foreground",
        about: "Runs until SIGINT or SIGTERM. Its own log goes to stderr.",
        own_flags: &[
            option(
                "hook-bind",
                "HOST:PORT",
                Complete::Nothing,
                "Door for hooks and HTTP [env: MARSHAL_HOOK_BIND] [default: 127.0.0.1:6156]",
            ),
            option(
                "bind",
                "HOST:PORT",
                Complete::Nothing,
                "Door for shims (WebSocket) [env: MARSHAL_BIND] [default: 127.0.0.1:6155]",
            ),
            option(
                "log-level",
                "LEVEL",
                LEVELS,
                "off, error, warn, info, debug or trace [env: MARSHAL_LOG] [default: info]",
            ),
            option(
                "auth",
                "MODE",
                Complete::Words(&["token", "none"]),
                "What TCP callers show: token or none [env: MARSHAL_AUTH] [default: token]",
            ),
            option(
                "sends-per-second",
                "N",
                Complete::Nothing,
                "Pace of one sender, 0 is no limit [env: MARSHAL_SENDS_PER_SECOND] [default: 20]",
            ),
            option(
                "allowed-hosts",
                "HOST,...",
                Complete::Nothing,
                "Names of this machine that callers use [env: MARSHAL_ALLOWED_HOSTS]",
            ),
        ],
        examples: &[
            ("marshal serve", "with the usual doors and state directory"),
            ("marshal serve --state-dir /tmp/try --bind 127.0.0.1:0 --hook-bind 127.0.0.1:0", "beside another one"),
        ],
        exits: &[
            exit_code::SOFTWARE,
            exit_code::OS,
            exit_code::CANNOT_CREATE,
            exit_code::IO,
            exit_code::HELD,
            exit_code::PERMISSION,
            exit_code::CONFIG,
        ],
    },
    Command {
        id: Id::Ls,
        name: "ls",
        meanings: &["list", "ps", "who", "w", "sessions", "agents", "roster", "peers", "top"],
        operands: "",
        operand_count: (0, 0),
        complete: Complete::Nothing,
        summary: "List the sessions on the roster",
        about: "Those that wait for a human come first, then those that work, then the idle.\n\
                REACH says how soon a session would hear of an urgent message.",
        own_flags: &[
            JSON,
            switch("wide", "Show more of each, however wide that gets"),
            switch("watch", "Show it again whenever something changes, until interrupted"),
            switch("names", "Print the nicknames only, one on each line"),
        ],
        examples: &[
            ("marshal ls", "who is there, and who needs me"),
            ("marshal ls --watch", "a board for a spare terminal"),
            ("marshal ls --json", "the same for a script"),
        ],
        exits: CALL_EXITS,
    },
    Command {
        id: Id::Rooms,
        name: "rooms",
        meanings: &["groups", "channels", "topics"],
        operands: "",
        operand_count: (0, 0),
        complete: Complete::Nothing,
        summary: "List the rooms and who is in them",
        about: "A message to @ROOM goes to everybody in the room but the sender.",
        own_flags: &[JSON],
        examples: &[("marshal rooms", "all rooms")],
        exits: CALL_EXITS,
    },
    Command {
        id: Id::Send,
        name: "send",
        meanings: &["tell", "msg", "message", "say", "write", "post", "dm", "mail", "broadcast", "reply", "notify"],
        operands: "TO[,TO...] [TEXT...]",
        operand_count: (0, usize::MAX),
        complete: Complete::Nicknames,
        summary: "Send a message to sessions, rooms or people",
        about: "TO is a session (nickname, id or the unique beginning of either; one that has ended by its\n\
                whole nickname or four characters of its id), @ROOM, @GROUP, op:NAME, project:NAME or\n\
                human:NAME; of several, all get it or none.\n\
                With --to there is no TO: all operands are TEXT. With --reply-to alone the TEXT is one\n\
                operand, in quotes, and goes to whoever sent what it answers.\n\
                TEXT is the message; without it, or with '-', the message is read from stdin.\n\
                Put '--' before a TEXT that begins with a dash.\n\
                \n\
                The sender is --as or --from; else the session in MARSHAL_SESSION or\n\
                CLAUDE_CODE_SESSION_ID (an agent's own shell); else the person in\n\
                MARSHAL_OPERATOR, USER or USERNAME.\n\
                \n\
                What is printed is where the message is by then. With --wait, exit code 0 says that all\n\
                have it or have read it, and 1 that they have not by the time that --timeout gives, or cannot\n\
                any more.",
        own_flags: &[
            option("to", "TO", Complete::Nicknames, "To this one; may be given several times"),
            option("as", "SESSION", Complete::Nicknames, "Speak as this session [env: MARSHAL_SESSION]"),
            option("from", "NAME", Complete::Nothing, "Speak as this person [env: MARSHAL_OPERATOR]"),
            option(
                "priority",
                "PRIORITY",
                Complete::Words(&["now", "next", "low"]),
                "now (also in mid-turn), next (between turns; the default) or low (with a prompt)",
            ),
            switch("now", "The same as --priority now"),
            option("reply-to", "ID", Complete::Nothing, "Answer the message with this id (or beginning of one)"),
            switch("expects-reply", "Be told if no reply came within 15 minutes"),
            option("reply-within", "AGE", Complete::Nothing, "Be told if no reply came within this time (30m, 2h)"),
            option(
                "supersedes",
                "ID",
                Complete::Nothing,
                "Replace this message of yours (id or beginning of one) where it is unread",
            ),
            option("expires-in", "AGE", Complete::Nothing, "Nobody need read it after this time (90s, 30m, 2h, 3d)"),
            option("key", "NAME", Complete::Nothing, "A name of your own: the same again sends nothing twice"),
            option(
                "wait",
                "STATE",
                Complete::Words(&["handed", "read"]),
                "Wait until all recipients have taken it, or have read it",
            ),
            option("timeout", "AGE", Complete::Nothing, "How long to wait at most [default: 60s]"),
            JSON,
        ],
        examples: &[
            ("marshal send web-2 the schema is merged", "to one session"),
            ("marshal send web-2,@reviewers --now stop, main is broken", "to several, at once"),
            ("marshal send --reply-to 0199a2b4 --wait read done", "an answer; waits until it is read"),
            ("git diff --stat | marshal send @everyone", "to a room, from stdin"),
            ("marshal send human:ana -- --force was needed", "to a person"),
        ],
        exits: CALL_EXITS,
    },
    Command {
        id: Id::Inbox,
        name: "inbox",
        meanings: &["read", "check", "mailbox", "unread", "receive", "recv", "get", "ack", "claim"],
        operands: "",
        operand_count: (0, 0),
        complete: Complete::Nothing,
        summary: "Show unread messages and mark them as read",
        about: "Oldest first. Your own messages are marked as read once they have been printed,\n\
                those of a session that is not yours only with --ack.\n\
                Whose inbox: --session or --human; else as for 'marshal send'.",
        own_flags: &[
            option("session", "SESSION", Complete::Nicknames, "The inbox of this session [env: MARSHAL_SESSION]"),
            option("human", "NAME", Complete::Nothing, "The inbox of this person [env: MARSHAL_OPERATOR]"),
            switch("peek", "Leave the messages unread"),
            switch("ack", "Take them for a session that is not yours; their senders are told that you did"),
            switch("claim", "First take over what sessions in this place left unread that are gone"),
            option("from", "SESSION", Complete::Nothing, "With --claim: what this one left (the operator: any)"),
            LIMIT,
            JSON,
        ],
        examples: &[
            ("marshal inbox", "what is new for me"),
            ("marshal inbox --session web-2 --peek", "look, do not touch"),
            ("marshal inbox --claim", "and what my predecessor here did not get to"),
        ],
        exits: CALL_EXITS,
    },
    Command {
        id: Id::Outbox,
        name: "outbox",
        meanings: &["sent"],
        operands: "",
        operand_count: (0, 0),
        complete: Complete::Nothing,
        summary: "Show what was sent, and what has become of it",
        about: "A line for each message and recipient, the newest last.\n\
                Whose: --session or --human; else as for 'marshal send'.",
        own_flags: &[
            option("session", "SESSION", Complete::Nicknames, "What this session has sent [env: MARSHAL_SESSION]"),
            option("human", "NAME", Complete::Nothing, "What this person has sent [env: MARSHAL_OPERATOR]"),
            BEFORE,
            LIMIT,
            JSON,
        ],
        examples: &[
            ("marshal outbox", "has what I sent been read?"),
            ("marshal outbox --session web-2 --limit 5", "the last five of a session"),
        ],
        exits: CALL_EXITS,
    },
    Command {
        id: Id::History,
        name: "history",
        meanings: &["show", "messages", "search", "grep", "find", "tail", "chat", "thread"],
        operands: "",
        operand_count: (0, 0),
        complete: Complete::Nothing,
        summary: "Show past messages",
        about: "Oldest first, and the latest of them. TIME is an age (90s, 30m, 2h, 3d, 1w), a date (2026-11-21,\n\
                its beginning), an RFC 3339 time or milliseconds since 1970. All that is given must fit.",
        own_flags: &[
            option("session", "SESSION", Complete::Nicknames, "Only what this session sent or got"),
            option("room", "ROOM", Complete::Nothing, "Only what went to this room"),
            option("thread", "ID", Complete::Nothing, "Only the thread of this message (or beginning of its id)"),
            option("state", "STATE", MESSAGE_STATES, "Only what is in this state for somebody"),
            option("search", "WORDS", Complete::Nothing, "Only what holds all these words, in text or names"),
            option("since", "TIME", Complete::Nothing, "Only what was sent since then"),
            option("until", "TIME", Complete::Nothing, "Only what was sent before then"),
            option("message", "ID", Complete::Nothing, "Only the message with this id (or beginning of one)"),
            BEFORE,
            switch("follow", "Go on with what comes from now on, until interrupted"),
            LIMIT,
            JSON,
        ],
        examples: &[
            ("marshal history --since 2h", "the last two hours"),
            ("marshal history --room everyone --limit 10", "the last ten to a room"),
            ("marshal history --state undeliverable", "what did not get there"),
            ("marshal history --follow --search deploy", "who speaks of it, now and from now on"),
        ],
        exits: CALL_EXITS,
    },
    Command {
        id: Id::Status,
        name: "status",
        meanings: &["health", "info", "doctor", "ping", "stat", "stats"],
        operands: "",
        operand_count: (0, 0),
        complete: Complete::Nothing,
        summary: "Show how the daemon is",
        about: "Its health, doors and counts. Exit code 1 if its health is not ok.",
        own_flags: &[JSON],
        examples: &[("marshal status", "is it up, where does it listen")],
        exits: CALL_EXITS,
    },
    Command {
        id: Id::Compact,
        name: "compact",
        meanings: &["vacuum", "gc", "clean", "prune"],
        operands: "",
        operand_count: (0, 0),
        complete: Complete::Nothing,
        summary: "Make the log as small as it can be",
        about: "The daemon does so by itself when the log is over 4 MiB and four times what counts in it.\n\
                Where no daemon runs, this command does it.",
        own_flags: &[JSON],
        examples: &[("marshal compact", "now")],
        exits: LOG_EXITS,
    },
    Command {
        id: Id::Log,
        name: "log",
        meanings: &["logs", "events", "journal", "repair", "fsck"],
        operands: "check|stats|repair",
        operand_count: (1, 1),
        complete: Complete::Words(&["check", "stats", "repair"]),
        summary: "Explain the event log: is it sound, what is in it; repair it",
        about: "check   which lines cannot be read, and why; exit code 1 if there are any\n\
                stats   how many rows, events and bytes of each type, and how much of it counts\n\
                repair  move lines that cannot be read to events.jsonl.malformed (no daemon may run;\n        \
                a running one does the same with 'marshal compact')",
        own_flags: &[JSON],
        examples: &[("marshal log check", "is it sound?"), ("marshal log stats --json", "for a script")],
        exits: LOG_EXITS,
    },
    Command {
        id: Id::Token,
        name: "token",
        meanings: &["auth", "login", "key"],
        operands: "show|rotate",
        operand_count: (1, 1),
        complete: Complete::Words(&["show", "rotate"]),
        summary: "Show the token that callers over TCP need, or make a new one",
        about: "show    print the token; for curl, 'token.header' in the state directory holds it as a header\n\
                rotate  put a new one in its place, at once, also under a running daemon; WebSocket clients\n        \
                that are connected stay until they leave",
        own_flags: &[],
        examples: &[
            ("marshal token rotate", "somebody may have seen it"),
            ("export MARSHAL_TOKEN=\"$(marshal token show)\"", "for a client that reads it from there"),
        ],
        exits: LOG_EXITS,
    },
    Command {
        id: Id::Hook,
        name: "hook",
        meanings: &["hooks", "wait", "wake"],
        operands: "wait|claude|codex|gemini",
        operand_count: (1, 1),
        complete: Complete::Words(&["wait", "claude", "codex", "gemini"]),
        summary: "Run as a hook of an agent: tell of an event, or wait to wake it",
        about: "claude|codex|gemini  hand the event on stdin to the daemon and print its answer\n\
                wait                 wait until urgent mail comes for the session, print it to stderr and\n                     \
                exit with 2, by which Claude Code begins a turn with it (\"asyncRewake\")\n\
                \n\
                Silent, with exit code 0, in all other cases: also where the daemon does not run or goes.",
        own_flags: &[
            option(
                "session",
                "SESSION",
                Complete::Nicknames,
                "The session, by id or nickname, where stdin does not say",
            ),
            option("pid", "PID", Complete::Nothing, "The process that the session lives in [env: CLAUDE_PID]"),
            option(
                "for",
                "PRIORITY",
                Complete::Words(&["now", "next"]),
                "wait: how urgent mail must be [default: now]",
            ),
            option("timeout", "SECONDS", Complete::Nothing, "wait: at most so long [default: 604800]"),
        ],
        examples: &[
            ("marshal hook wait", "as a Stop hook with \"asyncRewake\": true"),
            ("marshal hook claude", "as any other hook of Claude Code"),
            ("marshal hook codex", "as a hook of Codex, whatever your login shell is"),
        ],
        exits: &[exit_code::WOKEN],
    },
    Command {
        id: Id::Completions,
        name: "completions",
        meanings: &["completion", "complete"],
        operands: "SHELL",
        operand_count: (1, 1),
        complete: Complete::Words(&["bash", "zsh", "fish"]),
        summary: "Print a completion script for bash, zsh or fish",
        about: "Nicknames are completed by asking the daemon.",
        own_flags: &[],
        examples: &[
            ("source <(marshal completions bash)", "bash: add it to ~/.bashrc"),
            ("marshal completions zsh >~/.zfunc/_marshal", "zsh: a directory of $fpath"),
            ("marshal completions fish >~/.config/fish/completions/marshal.fish", "fish"),
        ],
        exits: &[],
    },
    Command {
        id: Id::Help,
        name: "help",
        meanings: &["man", "usage"],
        operands: "[COMMAND]",
        operand_count: (0, 1),
        complete: Complete::Commands,
        summary: "Show help, of a command if one is named",
        about: "The same as 'marshal COMMAND --help'.",
        own_flags: &[],
        examples: &[("marshal help send", "help of 'send'")],
        exits: &[],
    },
    Command {
        id: Id::Version,
        name: "version",
        meanings: &["ver"],
        operands: "",
        operand_count: (0, 0),
        complete: Complete::Nothing,
        summary: "Show the version",
        about: "The version of this binary; 'marshal status' shows the running daemon's.",
        own_flags: &[],
        examples: &[("marshal version", "")],
        exits: &[],
    },
];

/// The command called `name`.
pub(crate) fn command(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// The command with this id. The table has every id; a test sees to that.
pub(crate) fn command_of(id: Id) -> &'static Command {
    COMMANDS.iter().find(|command| command.id == id).unwrap_or(&COMMANDS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_meanings_are_unique_and_ids_lead_back() {
        for (at, command) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[..at].iter().all(|other| other.name != command.name && other.id != command.id));
            assert_eq!(command_of(command.id).name, command.name);
            let longs: Vec<_> = command.flags().map(|flag| flag.long).collect();
            assert!(longs.iter().enumerate().all(|(at, long)| !longs[..at].contains(long)), "{}", command.name);
            assert!(command.operand_count.0 <= command.operand_count.1);
            for word in command.meanings {
                assert!(COMMANDS.iter().all(|other| other.name != *word), "{word} is a command");
                let others = COMMANDS[..at].iter().flat_map(|other| other.meanings);
                assert!(others.into_iter().all(|other| other != word), "{word} means two commands");
            }
        }
    }
}

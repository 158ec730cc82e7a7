//! A session: one running agent. It must not know how sessions come and go; that is the roster's business.

use super::{Paths, Process};
use crate::ids::{ClientId, SessionId};
use std::sync::Arc;

/// The machine that a session runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Host name up to the first dot.
    pub name: Arc<str>,
    /// Operating system, or empty.
    pub os: Arc<str>,
    /// Processor architecture, or empty.
    pub arch: Arc<str>,
}

/// That somebody's key attests a session's key, and that the session has shown its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The session's public key: 64 hexadecimal digits.
    pub key: Arc<str>,
    /// The public key that attests it.
    pub parent: Arc<str>,
    /// Until when, in wall-clock milliseconds.
    pub expires_at: i64,
}

/// The programs whose sessions tell of themselves by hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Agent {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
    /// GitHub Copilot.
    Copilot,
    /// Cursor.
    Cursor,
    /// Grok Build.
    Grok,
    /// An unknown program that runs the hooks of another.
    Other,
}

impl Agent {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Claude, Self::Codex, Self::Gemini, Self::Copilot, Self::Cursor, Self::Grok, Self::Other];

    /// The spelling on the wire and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Copilot => "copilot",
            Self::Cursor => "cursor",
            Self::Grok => "grok",
            Self::Other => "other",
        }
    }

    /// Returns `true` if the agent shows its model the answers to its hooks.
    pub fn takes_answers(self) -> bool {
        matches!(self, Self::Claude | Self::Codex | Self::Gemini)
    }

    /// Returns `true` if the agent starts a turn when a hook of its turn's end exits with 2 later.
    pub fn wakes_by_hook(self) -> bool {
        self == Self::Claude
    }

    /// The agent that is spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|agent| agent.as_str() == text)
    }
}

/// What a session is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It cannot go on before a human does something.
    Waiting,
    /// In the middle of a turn.
    Working,
    /// Between two turns, the next of which begins by itself when a task of its own ends or its time comes.
    Paused,
    /// Between two turns.
    Idle,
}

impl State {
    /// All of them, those first that a human should look at first.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Working, Self::Paused, Self::Idle];

    /// The spelling on the wire and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Working => "working",
            Self::Paused => "paused",
            Self::Idle => "idle",
        }
    }

    /// The state that is spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// How the state of a session is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KnownBy {
    /// Its hooks told it.
    #[default]
    Told,
    /// Its transcript shows it, of which its hooks told nothing.
    Seen,
    /// Its hooks told it, and have been silent since: it may have ended without a word.
    Guessed,
}

impl KnownBy {
    /// All of them, the surest first.
    pub const ALL: [Self; 3] = [Self::Told, Self::Seen, Self::Guessed];

    /// The spelling on the wire and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Seen => "seen",
            Self::Guessed => "guessed",
        }
    }

    /// The one that is spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known_by| known_by.as_str() == text)
    }
}

/// What the hooks of a session have told of it. Not in marshal 0.9. Like signs of life it changes in memory at once, and
/// gets to the log only when what is there is old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doing {
    /// What it is at, as far as that is known.
    pub state: Option<State>,
    /// How that is known.
    pub known_by: KnownBy,
    /// Since when.
    pub since: i64,
    /// For what it waits, or on what it stopped.
    pub waiting_for: Option<Arc<str>>,
    /// The tool that it is using now.
    pub tool: Option<Arc<str>>,
    /// The model that it runs.
    pub model: Option<Arc<str>>,
    /// What it may do without asking.
    pub permission_mode: Option<Arc<str>>,
    /// Which program it is.
    pub agent: Option<Agent>,
    /// The ways by which it has been seen to take mail.
    pub paths: Paths,
}

/// One agent session. Text is shared, so that copying a row to change one field is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Stable id: the agent's own session id where it has hooks, else the shim's.
    pub id: SessionId,
    /// The WebSocket connection that holds the session; none for a session known by hooks alone. It is kept over a
    /// disconnect and over a restart, so that the session is granted time to reconnect.
    pub client_id: Option<ClientId>,
    /// Display name, unique on the roster and stable for the life of the session.
    pub nickname: Arc<str>,
    /// The shim's process, or 0.
    pub pid: u32,
    /// Working directory.
    pub cwd: Arc<str>,
    /// The same directory without links, where it is spelled otherwise. Not in marshal 0.9.
    pub directory: Option<Arc<str>>,
    /// The git repository that it is in: the directory that all its worktrees share. Not in marshal 0.9.
    pub repository: Option<Arc<str>>,
    /// Current git branch.
    pub git_branch: Option<Arc<str>>,
    /// What the session says it is doing.
    pub current_task: Option<Arc<str>>,
    /// When it was first seen.
    pub connected_at: i64,
    /// When it last did something.
    pub last_activity_at: Option<i64>,
    /// The last tool it used.
    pub last_tool: Option<Arc<str>>,
    /// When it last used a tool.
    pub last_tool_at: Option<i64>,
    /// The human it works for.
    pub operator: Option<Arc<str>>,
    /// The machine it runs on.
    pub host: Option<Host>,
    /// The project it works in.
    pub project: Option<Arc<str>>,
    /// Whether hooks have been seen for it. Such a session outlives its shim. Not in marshal 0.9, whose readers
    /// ignore it.
    pub hooks: bool,
    /// Whether its shim can put pushed messages before the model (shims from 0.16 on say so).
    pub channels_enabled: Option<bool>,
    /// The title that the user gave it (shims from 0.40 on).
    pub session_name: Option<Arc<str>>,
    /// `busy`, `idle` or `shell` (shims from 0.40 on).
    pub activity: Option<Arc<str>>,
    /// `interactive` or `bg` (shims from 0.40 on).
    pub kind: Option<Arc<str>>,
    /// The process that it lives in, where that is known: while it lives, so does the session. Not in marshal 0.9.
    pub process: Option<Process>,
    /// What it is there for, as it says. Not in marshal 0.9.
    pub role: Option<Arc<str>>,
    /// The groups that it is in, each without its `@`, as they are addressed. Not in marshal 0.9.
    pub groups: Vec<Arc<str>>,
    /// What proves its presence, if something does. Not in marshal 0.9.
    pub presence: Option<Presence>,
    /// What its hooks have told of it. Not in marshal 0.9.
    pub doing: Doing,
}

impl Session {
    /// A session about which nothing but its id, place and birth is known.
    pub fn new(id: SessionId, nickname: &str, cwd: &str, connected_at: i64) -> Self {
        Self {
            id,
            client_id: None,
            nickname: Arc::from(nickname),
            pid: 0,
            cwd: Arc::from(cwd),
            directory: None,
            repository: None,
            git_branch: None,
            current_task: None,
            connected_at,
            last_activity_at: None,
            last_tool: None,
            last_tool_at: None,
            operator: None,
            host: None,
            project: None,
            hooks: false,
            channels_enabled: None,
            session_name: None,
            activity: None,
            kind: None,
            process: None,
            role: None,
            groups: Vec::new(),
            presence: None,
            doing: Doing::default(),
        }
    }

    /// When the session last showed a sign of life.
    pub fn last_seen_at(&self) -> i64 {
        self.last_activity_at.unwrap_or(self.connected_at).max(self.last_tool_at.unwrap_or(i64::MIN))
    }
}

//! What a hook tells of its session, and what it may be answered, as values: one shape for the events of all hosts. It must
//! not know in which words a host says it.

use super::HookReport;
use crate::ids::MessageId;
use crate::model::{Agent, Message, Path, Session, Stored};
use std::sync::Arc;

/// An event of a session, as its hook reports it.
#[derive(Clone, Debug, Default)]
pub struct HookEvent {
    /// Whose it is, and where it runs.
    pub report: HookReport,
    /// Which program it is; none on the paths of marshal 0.9, which do not say.
    pub agent: Option<Agent>,
    /// What happened.
    pub kind: EventKind,
    /// The model that it runs, if the event says.
    pub model: Option<String>,
    /// What it may do without asking, if the event says.
    pub permission_mode: Option<String>,
    /// The title that the user gave it, if the event says.
    pub title: Option<String>,
    /// Which prompt the event belongs to, if the event says.
    pub prompt_id: Option<String>,
    /// Of a turn's end: whether a hook had prolonged the turn, if the event says.
    pub prolonged: Option<bool>,
    /// The use of a tool that the event is about.
    pub tool: Option<ToolUse>,
    /// What the tool asks the human, where it does nothing else.
    pub question: Option<String>,
    /// The task of its own whose end the session awaits, if the event says so of the end of a turn.
    pub own_task: Option<String>,
    /// Whether a subagent of the session tells it: then it says little of the session's own turn.
    pub of_subagent: bool,
    /// The file in which the agent writes down the session, if the event says.
    pub transcript: Option<String>,
    /// Whether mail in the answer would reach the model, and by which way.
    pub takes: Option<Path>,
}

/// The use of a tool, as an event tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolUse {
    /// The tool's name.
    pub name: String,
    /// The agent's id for this use, if the event says.
    pub id: Option<String>,
    /// A digest of the tool's input: some events name the input and no id.
    pub input: u64,
}

impl ToolUse {
    /// A use of which no more than the tool's name is known.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EventKind {
    /// The session began, or went on in another process or with another context.
    Start {
        /// Whether what was handed to it before is still before the model: its context was only shortened.
        same_context: bool,
    },
    /// A turn begins.
    Prompt {
        /// The messages whose ids stand in its text.
        quoted: Vec<MessageId>,
    },
    /// A tool is about to be used: the model has spoken.
    BeforeTool(String),
    /// A tool was used; others of the same step may still be at work.
    AfterTool(String),
    /// All tools of one step were used.
    AfterTools,
    /// A turn ends.
    Stop,
    /// A turn ended by a fault.
    Failed(String),
    /// It cannot go on without a human, and for what.
    NeedsHuman(String),
    /// The host reminds its human that the session needs something: no news where that was told already.
    Reminds {
        /// What it needs.
        what: String,
        /// Whether a session between two turns can need it.
        when_idle: bool,
    },
    /// The human has answered what it asked.
    Answered,
    /// It waits for the next prompt.
    Idle,
    /// It ended.
    End,
    /// Something else: a sign of life.
    #[default]
    Other,
}

/// The answer to a hook.
#[derive(Clone, Debug)]
pub struct HookReply {
    /// The session as it now is on the roster; none if the hook must not say anything.
    pub session: Option<Arc<Stored<Session>>>,
    /// Whether to tell the agent who it is.
    pub introduce: bool,
    /// Waiting messages, oldest first, bounded; those that are put into the answer must come back in
    /// [`super::Request::InboxHanded`].
    pub inbox: Vec<Handing>,
    /// How many are waiting in all, without those that are on their way in another answer.
    pub waiting: usize,
    /// By which way the messages go.
    pub path: Path,
    /// Which answer they are in.
    pub lease: u64,
    /// What a session that was here before left unread, which this one may claim.
    pub left: Option<Left>,
}

/// A message that is about to be handed over.
#[derive(Clone, Debug)]
pub struct Handing {
    /// The message.
    pub message: Arc<Stored<Message>>,
    /// Whether it was handed over before, without a sign that it was read.
    pub repeat: bool,
}

/// What a session left unread that is gone, for one in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The nickname of the one that was there last.
    pub nickname: Arc<str>,
    /// How many messages it left.
    pub messages: usize,
    /// How many that were there before it have left some too.
    pub others: usize,
}

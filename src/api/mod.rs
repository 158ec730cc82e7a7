//! Every operation that a caller can ask the daemon for, once: where it is asked for and what it takes. `/v1` and the
//! WebSocket commands are read by this table, so that a name, a limit or a mistake means the same everywhere. It must
//! not know sockets, and it decides nothing: requests go to the roster.

mod fields;
mod frame;
mod read;
mod requests;
pub mod shapes;
mod table;

pub use frame::{COMMAND_EVENT, CommandFrame, Envelope, FrameData, read_frame};
pub use read::{Args, Members, read_body, read_query};
pub use requests::{request, who};
pub use table::OPERATIONS;

use crate::error::RequestError;
use crate::text::near::nearest;
use fields::Field;

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// All sessions.
    Sessions,
    /// All rooms.
    Rooms,
    /// A page of messages.
    History,
    /// One message.
    Message,
    /// Send a message.
    Send,
    /// Send a message, as a client of claudemesh's daemon does.
    MeshSend,
    /// Unread messages.
    Inbox,
    /// Take over what a session that is gone left unread.
    Claim,
    /// Acknowledge messages.
    Ack,
    /// What was sent.
    Outbox,
    /// Send once more what did not get there.
    Requeue,
    /// Register a session by token.
    Register,
    /// The session whose token the caller shows.
    Me,
    /// End the session that a token means.
    Deregister,
    /// Events as they happen.
    Events,
    /// How the daemon is.
    Status,
    /// What the daemon is.
    Version,
    /// Compact the log.
    Compact,
    /// Change the machine's token.
    RotateToken,
    /// Join a room.
    JoinRoom,
    /// Leave a room.
    LeaveRoom,
    /// Read messages, as marshal 0.9's shims do.
    ReadMessages,
    /// Change one field of a session.
    SetSession(SessionField),
}

/// A field of a session that a shim changes by a command of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionField {
    /// What it says it is doing.
    CurrentTask,
    /// When it last did something.
    LastActivityAt,
    /// The last tool it used.
    LastTool,
    /// When it last used a tool.
    LastToolAt,
    /// Its git branch.
    GitBranch,
    /// Its title.
    SessionName,
    /// `busy`, `idle` or `shell`.
    Activity,
    /// Whether pushed messages reach the model.
    ChannelsEnabled,
}

/// Whose shape an operation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Ours: what it does not know is refused.
    Ours,
    /// That of marshal 0.9's shims or of claudemesh's clients: what it does not know is ignored, as they expect.
    Theirs,
}

/// Where an operation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// By this method at this path. A path that ends with `/` takes what follows as the first field.
    Http(&'static str, &'static str),
    /// By the WebSocket command with this id.
    Command(&'static str),
}

/// A row of the table.
#[derive(Debug)]
pub struct Operation {
    /// Which operation.
    pub op: Op,
    /// Where it is asked for.
    pub door: Door,
    /// Whose shape it has.
    pub shape: Shape,
    /// The fields that it takes: of a `GET` in the query, else in the body.
    groups: &'static [&'static [Field]],
}

impl Operation {
    fn fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.groups.iter().copied().flatten()
    }

    /// How an error calls it.
    pub fn name(&self) -> String {
        match self.door {
            Door::Http(method, path) => format!("{method} {path}"),
            Door::Command(id) => id.to_owned(),
        }
    }
}

/// The operation of `method` at `path`, and what the path itself says.
///
/// # Errors
/// The path takes other methods: these.
pub fn at<'a>(method: &str, path: &'a str) -> Option<Result<(&'static Operation, Option<&'a str>), String>> {
    let fits = |operation: &&'static Operation| match operation.door {
        Door::Http(_, own) if own.ends_with('/') => path.strip_prefix(own).is_some_and(|rest| !rest.is_empty()),
        Door::Http(_, own) => path == own,
        Door::Command(_) => false,
    };
    let all: Vec<&Operation> = OPERATIONS.iter().filter(fits).collect();
    // A path that is spelled out comes before one of which a part is free.
    let is_exact = |operation: &&&Operation| matches!(operation.door, Door::Http(_, own) if own == path);
    let exact: Vec<&Operation> = all.iter().filter(is_exact).copied().collect();
    let all = if exact.is_empty() { all } else { exact };
    let rest = |own: &str| path.strip_prefix(own).filter(|rest| !rest.is_empty());
    let mut methods: Vec<&str> = Vec::new();
    for operation in &all {
        let Door::Http(taken, own) = operation.door else { continue };
        if taken == method {
            return Some(Ok((operation, rest(own))));
        }
        methods.extend(if taken == "GET" { &["GET", "HEAD"][..] } else { std::slice::from_ref(&taken) });
    }
    (!all.is_empty()).then(|| Err(methods.join(", ")))
}

/// The WebSocket command with this id.
pub fn command(id: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| matches!(operation.door, Door::Command(own) if own == id))
}

/// The refusal of a name that an operation does not know.
fn unknown(operation: &Operation, name: &str) -> RequestError {
    let what = if matches!(operation.door, Door::Http("GET", _)) { "parameter" } else { "field" };
    let known: Vec<&str> = operation.fields().map(|field| field.name).collect();
    let near = nearest(name, known.iter().copied());
    let hint = match (near, known.as_slice()) {
        (Some(near), _) => format!("did you mean '{near}'?"),
        (None, []) => format!("{} takes none", operation.name()),
        (None, known) => format!("{} takes {}", operation.name(), known.join(", ")),
    };
    let candidates = near.map(str::to_owned).into_iter().collect();
    let error = RequestError::invalid(format!("unknown {what} '{}'; {hint}", fields::shortened(name)));
    RequestError { candidates, ..error }
}

#[cfg(test)]
mod tests;

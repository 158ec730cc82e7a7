//! What WebSocket clients say, as commands for the store: marshal 0.9's frames, taken tolerantly. Garbage is noted and
//! never closes the connection; a command that makes no sense gets a command-error.

use super::reading::Heard;
use super::{Client, answer, disconnect};
use crate::bom;
use crate::error::RequestError;
use crate::ids::{MessageId, SessionId};
use crate::limits::{EVENTS_AT_ONCE_MAX, ID_BYTES_MAX, WS_ECHO_BYTES_MAX, WS_ERROR_CHARACTERS_MAX};
use crate::model::ItemType;
use crate::roster::{Caller, MessageFilter, Request, Sending, SessionChange, Wishes};
use crate::row_json::{Text, WishesJson, parse_session};
use crate::store::{Command, Frame, View};
use crossbeam_channel::Sender;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryFrame {
    query: Tx,
    query_item_type: String,
}

#[derive(Deserialize)]
struct Tx {
    tx: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventFrame<'a> {
    #[serde(borrow)]
    item: &'a RawValue,
    change_type: String,
    item_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommandFrame<'a> {
    #[serde(borrow)]
    command: &'a RawValue,
    command_id: String,
}

/// The members of all commands together. Which of them a command needs is checked when it is made.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommandBody<'a> {
    /// As it stands: a command whose `tx` is no text is obeyed all the same.
    #[serde(borrow)]
    tx: Option<&'a RawValue>,
    #[serde(borrow)]
    as_session: Option<Text<'a>>,
    to_session_id: Option<String>,
    to_room_id: Option<String>,
    body: Option<String>,
    name: Option<String>,
    description: Option<String>,
    room: Option<String>,
    from: Option<String>,
    to_session: Option<String>,
    #[serde(default)]
    inbox: Option<bool>,
    #[serde(default)]
    sent: Option<bool>,
    #[serde(default)]
    unread: Option<bool>,
    since: Option<i64>,
    limit: Option<u64>,
    message_ids: Option<Vec<String>>,
    id: Option<String>,
    current_task: Option<String>,
    last_activity_at: Option<i64>,
    last_tool: Option<String>,
    last_tool_at: Option<i64>,
    git_branch: Option<String>,
    session_name: Option<String>,
    activity: Option<String>,
    channels_enabled: Option<bool>,
}

#[derive(Deserialize)]
struct MaybeTx {
    tx: Option<String>,
}

/// The store is gone, and so is the daemon.
pub(super) struct StoreGone;

/// Turns one client's frames into commands.
pub(super) struct Frames {
    client: Client,
    store: Sender<Command>,
}

impl Frames {
    pub(super) fn new(client: Client, store: Sender<Command>) -> Self {
        Self { client, store }
    }
}

impl Heard for Frames {
    fn text(&mut self, text: &str) -> Result<(), StoreGone> {
        let text = bom::without_in(text);
        let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
            return self.ignore("a frame that is no event");
        };
        let data = envelope.data.get();
        match &*envelope.event.0 {
            "ws:m:ping" if text.len() > WS_ECHO_BYTES_MAX => self.ignore("a ping that is too long to be sent back"),
            "ws:m:ping" => {
                self.client.send(Frame::Text(text.to_owned()));
                Ok(())
            }
            "ws:m:command" => self.command(data),
            "ws:m:event" => self.event(data),
            "ws:m:event-batch" => self.event_batch(data),
            "ws:m:query" => self.query(data),
            "ws:m:query-cancel" => match serde_json::from_str::<Tx>(data) {
                Ok(Tx { tx }) => self.tell(Command::CancelQuery { client: self.client.id.clone(), tx }),
                Err(_) => self.ignore("a query-cancel without tx"),
            },
            _ => self.ignore("an event of an unknown kind"),
        }
    }

    fn binary(&mut self, _: &[u8]) -> Result<(), StoreGone> {
        self.ignore("a binary frame")
    }
}

impl Frames {
    /// Gives the store something to do; while its queue is full all clients wait.
    fn tell(&self, command: Command) -> Result<(), StoreGone> {
        self.store.send(command).map_err(|_| StoreGone)
    }

    fn ignore(&self, what: &str) -> Result<(), StoreGone> {
        log::debug!("client {}: ignored {what}", self.client.id);
        Ok(())
    }

    fn query(&self, data: &str) -> Result<(), StoreGone> {
        let Ok(frame) = serde_json::from_str::<QueryFrame>(data) else {
            return self.ignore("a query without tx or item type");
        };
        // As in 0.9, a query of any name selects by item type.
        let public = ItemType::parse(&frame.query_item_type).filter(|item_type| item_type.is_public());
        let view = match (public, &*frame.query_item_type) {
            (Some(item_type), _) => View::Items(item_type),
            (None, "SessionNickname") => View::Nicknames,
            (None, _) => View::Nothing,
        };
        if frame.query.tx.len() > ID_BYTES_MAX {
            return self.ignore("a query with an overlong tx");
        }
        self.client.owed.add();
        self.tell(Command::Query { client: self.client.id.clone(), tx: frame.query.tx, view })
    }

    /// What it is without saying so.
    fn caller(&self) -> Caller {
        let (client, known) = (Some(self.client.id.clone()), self.client.known.clone());
        Caller { client, known, ..Caller::default() }
    }

    fn event(&self, data: &str) -> Result<(), StoreGone> {
        self.event_request(data).map_or(Ok(()), |request| self.tell(Command::Request { request, reply_to: None }))
    }

    /// What an event asks for, if it makes sense.
    fn event_request(&self, data: &str) -> Option<Request> {
        let ignore = |what: &str| {
            let _ = self.ignore(what);
            None
        };
        let Ok(frame) = serde_json::from_str::<EventFrame<'_>>(data) else {
            return ignore("an event without item, changeType or itemType");
        };
        let client = self.client.id.clone();
        match (&*frame.item_type, &*frame.change_type, parse_session(frame.item.get())) {
            ("Session", "SET", Ok(session)) => {
                Some(Request::PublishSession { client, session: Box::new(session) }.by(self.caller()))
            }
            ("Session", "DEL", Ok(session)) => {
                Some(Request::WithdrawSession { client, session: session.id }.by(self.caller()))
            }
            ("Session", _, Err(error)) => {
                log::warn!("client {client}: ignored a Session that cannot be read: {error}");
                None
            }
            // Rooms, memberships and messages come about by commands, which check who may do what.
            _ => ignore("an event that is no Session"),
        }
    }

    fn event_batch(&self, data: &str) -> Result<(), StoreGone> {
        #[derive(Deserialize)]
        struct Batch<'a> {
            #[serde(borrow)]
            events: Vec<&'a RawValue>,
        }
        let events: Vec<&RawValue> = serde_json::from_str::<Vec<&RawValue>>(data)
            .or_else(|_| serde_json::from_str::<Batch<'_>>(data).map(|batch| batch.events))
            .unwrap_or_default();
        if events.is_empty() {
            return self.ignore("an empty batch of events");
        }
        // A frame has room for more events than the store's queue has for commands.
        let requests: Vec<Request> = events.iter().filter_map(|event| self.event_request(event.get())).collect();
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            self.tell(Command::Events(requests.by_ref().take(EVENTS_AT_ONCE_MAX).collect()))?;
        }
        Ok(())
    }

    fn command(&mut self, data: &str) -> Result<(), StoreGone> {
        let Ok(frame) = serde_json::from_str::<CommandFrame<'_>>(data) else {
            return self.ignore("a command without command or commandId");
        };
        let body = serde_json::from_str::<CommandBody<'_>>(frame.command.get());
        let tx = match &body {
            Ok(body) => body.tx.and_then(|tx| serde_json::from_str(tx.get()).ok()),
            Err(_) => serde_json::from_str::<MaybeTx>(frame.command.get()).ok().and_then(|body| body.tx),
        };
        let tx: String = tx.unwrap_or_default();
        // They come back in the answer, which waits until the client takes it: they must be short.
        if tx.len() > ID_BYTES_MAX || frame.command_id.len() > ID_BYTES_MAX {
            let error = RequestError::invalid(format!("tx and commandId have at most {ID_BYTES_MAX} bytes"));
            self.client.send(Frame::Text(answer::command_error("", "", &error)));
            return Ok(());
        }
        match self.request(&frame.command_id, body, frame.command.get()).map_err(shorten) {
            Ok(request) => self.submit(request, tx, frame.command_id),
            Err(error) => {
                self.client.send(Frame::Text(answer::command_error(&tx, &frame.command_id, &error)));
                Ok(())
            }
        }
    }

    fn submit(&self, request: Request, tx: String, command_id: String) -> Result<(), StoreGone> {
        self.client.owed.add();
        let client = self.client.clone();
        let reply_to = Box::new(move |result: Result<_, _>| {
            let result = result.map_err(shorten);
            if !client.outbox.send(Frame::Answer { tx, command_id, result: Box::new(result) }) {
                disconnect(&client.stream);
            }
        });
        self.tell(Command::Request { request, reply_to: Some(reply_to) })
    }

    /// What a sender wants beyond what marshal 0.9 knew. A shim of that time wants nothing of it.
    fn wishes(&self, command_id: &str, json: &str) -> Result<Wishes, RequestError> {
        let invalid = |error| RequestError::invalid(format!("{command_id}: {error}"));
        let wishes: WishesJson = serde_json::from_str(json).map_err(invalid)?;
        let track = wishes.track.unwrap_or(false).then(|| self.client.id.clone());
        Ok(Wishes { track, ..wishes.wishes()? })
    }

    fn request(
        &self,
        command_id: &str,
        body: Result<CommandBody<'_>, serde_json::Error>,
        json: &str,
    ) -> Result<Request, RequestError> {
        let known = is_known(command_id);
        if !known {
            return Err(RequestError::not_found(format!("Command handler not found: {command_id}")));
        }
        let body = body.map_err(|error| RequestError::invalid(format!("{command_id}: {error}")))?;
        let caller = Caller { as_session: body.as_session.as_ref().map(|id| SessionId::from(&*id.0)), ..self.caller() };
        let need = |value: Option<String>, name: &str| {
            value.ok_or_else(|| RequestError::invalid(format!("{command_id}: missing field `{name}`")))
        };
        Ok(match command_id {
            "SendMessage" | "BroadcastMessage" => {
                let to = match command_id {
                    "SendMessage" => need(body.to_session_id, "toSessionId")?,
                    _ => format!("@{}", need(body.to_room_id, "toRoomId")?),
                };
                let mut sending = Sending::new(caller, to, need(body.body, "body")?);
                sending.wishes = self.wishes(command_id, json)?;
                Request::Send(Box::new(sending))
            }
            "JoinRoom" => Request::JoinRoom { caller, name: need(body.name, "name")?, description: body.description },
            "LeaveRoom" => Request::LeaveRoom { caller, room: need(body.room, "room")? },
            "AckMessages" => {
                let ids = body.message_ids.unwrap_or_default();
                Request::AckMessages { caller, messages: ids.into_iter().map(MessageId::from).collect() }
            }
            "ReadMessages" => Request::ReadMessages { caller, filter: filter(body) },
            _ => {
                let session = SessionId::from(need(body.id.clone(), "id")?);
                Request::UpdateSession { session, change: session_change(command_id, body)? }.by(caller)
            }
        })
    }
}

/// An error may quote what the client said, and waits until the client takes it.
fn shorten(mut error: RequestError) -> RequestError {
    if let Some((end, _)) = error.message.char_indices().nth(WS_ERROR_CHARACTERS_MAX) {
        error.message.truncate(end);
        error.message.push('…');
        error.message.shrink_to_fit();
    }
    error
}

fn is_known(command_id: &str) -> bool {
    const COMMANDS: [&str; 14] = [
        "SendMessage",
        "BroadcastMessage",
        "JoinRoom",
        "LeaveRoom",
        "ReadMessages",
        "AckMessages",
        "SetSessionCurrentTask",
        "SetSessionLastActivityAt",
        "SetSessionLastTool",
        "SetSessionLastToolAt",
        "SetSessionGitBranch",
        "SetSessionSessionName",
        "SetSessionActivity",
        "SetSessionChannelsEnabled",
    ];
    COMMANDS.contains(&command_id)
}

fn filter(body: CommandBody<'_>) -> MessageFilter {
    MessageFilter {
        room: body.room,
        from: body.from.map(SessionId::from),
        to_session: body.to_session.map(SessionId::from),
        inbox: body.inbox.unwrap_or(false),
        sent: body.sent.unwrap_or(false),
        unread: body.unread.unwrap_or(false),
        since: body.since,
        oldest_first: false,
        limit: body.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
    }
}

/// The setters of the shims: absent or null clears the field.
fn session_change(command_id: &str, body: CommandBody<'_>) -> Result<SessionChange, RequestError> {
    Ok(match command_id {
        "SetSessionCurrentTask" => SessionChange::CurrentTask(body.current_task),
        "SetSessionLastActivityAt" => {
            let at = body.last_activity_at;
            let missing = || RequestError::invalid(format!("{command_id}: missing field `lastActivityAt`"));
            SessionChange::LastActivityAt(at.ok_or_else(missing)?)
        }
        "SetSessionLastTool" => SessionChange::LastTool(body.last_tool),
        "SetSessionLastToolAt" => SessionChange::LastToolAt(body.last_tool_at),
        "SetSessionGitBranch" => SessionChange::GitBranch(body.git_branch),
        "SetSessionSessionName" => SessionChange::SessionName(body.session_name),
        "SetSessionActivity" => SessionChange::Activity(body.activity),
        "SetSessionChannelsEnabled" => SessionChange::ChannelsEnabled(body.channels_enabled),
        other => return Err(RequestError::not_found(format!("Command handler not found: {other}"))),
    })
}

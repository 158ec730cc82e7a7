//! What WebSocket clients say, as commands for the store: marshal 0.9's frames, taken tolerantly. Garbage is noted and
//! never closes the connection; a command that makes no sense gets a command-error.

use super::reading::Heard;
use super::{Client, answer, disconnect};
use crate::api::{self, COMMAND_EVENT, CommandFrame, Envelope, FrameData, Members};
use crate::bom;
use crate::error::RequestError;
use crate::ids::SessionId;
use crate::limits::{EVENTS_AT_ONCE_MAX, ID_BYTES_MAX, WS_ECHO_BYTES_MAX, WS_ERROR_CHARACTERS_MAX, WS_UNANSWERED_MAX};
use crate::log_pace::Pace;
use crate::model::ItemType;
use crate::roster::{Caller, Request};
use crate::row_json::parse_session;
use crate::store::{Command, Frame, UntilApplied, View};
use crossbeam_channel::Sender;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::VecDeque;

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

/// The store is gone, and so is the daemon.
pub(super) struct StoreGone;

/// Turns one client's frames into commands.
pub(super) struct Frames {
    client: Client,
    store: Sender<Command>,
    /// Events that the client has sent, until the store has room for them.
    events: VecDeque<Request>,
}

impl Frames {
    pub(super) fn new(client: Client, store: Sender<Command>) -> Self {
        Self { client, store, events: VecDeque::new() }
    }
}

impl Heard for Frames {
    fn text(&mut self, text: &str) -> Result<(), StoreGone> {
        let text = bom::without_in(text);
        let Some(Envelope { event, data }) = api::read_frame(text) else {
            return self.ignore("a frame that is no event");
        };
        let data = match data {
            FrameData::Command(frame) => return self.command(frame),
            FrameData::Text(data) => data,
        };
        match &*event {
            "ws:m:ping" if text.len() > WS_ECHO_BYTES_MAX => self.ignore("a ping that is too long to be sent back"),
            "ws:m:ping" => {
                self.client.send(Frame::Text(text.to_owned()));
                Ok(())
            }
            COMMAND_EVENT => self.ignore("a command without command or commandId"),
            "ws:m:event" => self.event(data),
            "ws:m:event-batch" => self.event_batch(data),
            "ws:m:query" => self.query(data),
            "ws:m:query-cancel" => match serde_json::from_str::<Tx>(data) {
                Ok(Tx { tx }) => {
                    let (client, applied) = (self.client.id.clone(), self.until_applied());
                    self.tell(Command::CancelQuery { client, tx, applied })
                }
                Err(_) => self.ignore("a query-cancel without tx"),
            },
            _ => self.ignore("an event of an unknown kind"),
        }
    }

    fn binary(&mut self, _: &[u8]) -> Result<(), StoreGone> {
        self.ignore("a binary frame")
    }

    fn has_room(&mut self) -> Result<bool, StoreGone> {
        while !self.events.is_empty() && self.client.owed.unanswered() < WS_UNANSWERED_MAX {
            let count = self.events.len().min(EVENTS_AT_ONCE_MAX);
            let requests = self.events.drain(..count).collect();
            self.tell(Command::Events { requests, applied: self.until_applied() })?;
        }
        Ok(self.events.is_empty() && self.client.owed.unanswered() < WS_UNANSWERED_MAX)
    }
}

impl Frames {
    /// Gives the store something to do; while its queue is full all clients wait.
    fn tell(&self, command: Command) -> Result<(), StoreGone> {
        self.store.send(command).map_err(|_| StoreGone)
    }

    /// A guard that goes with a command without an answer.
    fn until_applied(&self) -> UntilApplied {
        self.client.owed.until_applied(&self.client.resumes)
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

    fn event(&mut self, data: &str) -> Result<(), StoreGone> {
        self.events.extend(self.event_request(data));
        self.has_room().map(|_| ())
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
                static UNREADABLE: Pace = Pace::new();
                UNREADABLE.warn(|| format!("client {client}: ignored a Session that cannot be read: {error}"));
                None
            }
            // Rooms, memberships and messages come about by commands, which check who may do what.
            _ => ignore("an event that is no Session"),
        }
    }

    fn event_batch(&mut self, data: &str) -> Result<(), StoreGone> {
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
        // A frame has room for thousands of events: those beyond the client's share of the store's queue wait here.
        let requests: Vec<Request> = events.iter().filter_map(|event| self.event_request(event.get())).collect();
        self.events.extend(requests);
        self.has_room().map(|_| ())
    }

    fn command(&mut self, frame: CommandFrame<'_>) -> Result<(), StoreGone> {
        let CommandFrame { command, command_id } = frame;
        let (tx, command_id) = (command.text("tx").unwrap_or_default().to_owned(), command_id.into_owned());
        // They come back in the answer, which waits until the client takes it: they must be short.
        if tx.len() > ID_BYTES_MAX || command_id.len() > ID_BYTES_MAX {
            let error = RequestError::invalid(format!("tx and commandId have at most {ID_BYTES_MAX} bytes"));
            self.client.send(Frame::Text(answer::command_error("", "", &error)));
            return Ok(());
        }
        match self.request(&command_id, command).map_err(shorten) {
            Ok(request) => self.submit(request, tx, command_id),
            Err(error) => {
                self.client.send(Frame::Text(answer::command_error(&tx, &command_id, &error)));
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

    fn request(&self, command_id: &str, command: Members<'_>) -> Result<Request, RequestError> {
        let unknown = || RequestError::not_found(format!("Command handler not found: {command_id}"));
        let operation = api::command(command_id).ok_or_else(unknown)?;
        let mut args = command.args(operation)?;
        let caller = Caller { as_session: args.text("asSession").map(SessionId::from), ..self.caller() };
        let track = args.flag("track").unwrap_or(false);
        let mut request = api::request(operation.op, &mut args, caller).ok_or_else(unknown)??;
        if let Request::Send(sending) = &mut request {
            sending.wishes.track = track.then(|| self.client.id.clone());
        }
        Ok(request)
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

//! Who is meant: an address becomes a session, a human's mailbox or a room, a caller becomes a sender. It must not
//! guess: what fits nothing or more than one thing is an error that lists candidates.

use super::{Caller, Known, Roster, validate};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{HUMAN_PREFIX, RoomId, SessionId};
use crate::limits::{CANDIDATES_MAX, ID_BYTES_MAX};
use crate::model::{Room, Stored};
use std::ops::Bound;
use std::sync::Arc;

impl Roster {
    /// The session or human that `address` means: an id, `human:<name>`, a nickname, or the beginning of exactly one id
    /// or, failing that, of exactly one nickname.
    pub(super) fn resolve_session(&self, address: &str) -> Result<SessionId, RequestError> {
        validate::bounded("the address", address, ID_BYTES_MAX)?;
        if let Some((id, _)) = self.tables.sessions.get_key_value(address) {
            return Ok(id.clone());
        }
        if let Some(human) = address.strip_prefix(HUMAN_PREFIX) {
            validate::name("the human's name", human)?;
            if human.is_empty() {
                return Err(RequestError::invalid("'human:' needs a name, as in human:alice"));
            }
            return Ok(SessionId::from(address));
        }
        let mut named = self.tables.nicknames.holders(address);
        if let Some(only) = named.next() {
            return if named.next().is_none() {
                Ok(only.clone())
            } else {
                Err(self.ambiguous(address, self.tables.nicknames.holders(address)))
            };
        }
        self.resolve_prefix(address)
    }

    fn resolve_prefix(&self, address: &str) -> Result<SessionId, RequestError> {
        let mut matches = self.ids_with_prefix(address);
        match (address.is_empty(), matches.next(), matches.next()) {
            (false, Some(only), None) => Ok(only.clone()),
            (false, Some(_), Some(_)) => Err(self.ambiguous(address, self.ids_with_prefix(address))),
            _ => self.resolve_nickname_beginning(address),
        }
    }

    /// The session that alone has a nickname with this beginning: `web` for `web@b81d04ee`.
    fn resolve_nickname_beginning(&self, address: &str) -> Result<SessionId, RequestError> {
        let nicknames = &self.tables.nicknames;
        let holders = || nicknames.beginning_with(address).flat_map(|name| nicknames.holders(name));
        let (first, second) = (holders().next(), holders().nth(1));
        match (first, second) {
            (None, _) => Err(self.unknown_session(address)),
            (Some(only), None) => Ok(only.clone()),
            (Some(_), Some(_)) => Err(self.ambiguous(address, holders())),
        }
    }

    fn ids_with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a SessionId> {
        let from = self.tables.sessions.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.map(|(id, _)| id).take_while(move |id| id.as_str().starts_with(prefix))
    }

    fn ambiguous<'a>(&self, address: &str, ids: impl Iterator<Item = &'a SessionId>) -> RequestError {
        let nickname = |id: &SessionId| {
            let row = self.tables.sessions.get(id);
            format!("{id} ({})", row.map_or("?", |placed| &placed.stored.row.nickname))
        };
        let mut candidates: Vec<String> = ids.take(CANDIDATES_MAX + 1).map(nickname).collect();
        if candidates.len() > CANDIDATES_MAX {
            candidates.truncate(CANDIDATES_MAX);
            candidates.push("...".to_owned());
        }
        let message = format!("'{address}' fits more than one session; give a whole id");
        RequestError { candidates, ..RequestError::new(ErrorKind::Ambiguous, message) }
    }

    fn unknown_session(&self, address: &str) -> RequestError {
        let mut error = RequestError::not_found(format!("no session with id '{address}' on the roster"));
        if self.find_room(address).is_some() {
            error.candidates.push(format!("@{address}"));
        }
        let similar = self.tables.nicknames.beginning_with(address).take(CANDIDATES_MAX);
        error.candidates.extend(similar.map(ToString::to_string));
        error
    }

    /// The room with this id, or else with this name, or else with this name's slug.
    pub(super) fn find_room(&self, name: &str) -> Option<&Arc<Stored<Room>>> {
        self.room_called(name).or_else(|| self.room_with_id(&super::rooms::slug(name)))
    }

    /// The room that is meant by an address, with its `@` or without: as [`Roster::find_room`], but a group's before one
    /// that only has this name's slug.
    pub(super) fn addressed_room(&self, address: &str) -> Option<&Arc<Stored<Room>>> {
        let name = address.strip_prefix('@').unwrap_or(address);
        let group = || self.room_with_id(&super::groups::room_id(name));
        self.room_called(name).or_else(group).or_else(|| self.find_room(address))
    }

    fn room_with_id(&self, id: &str) -> Option<&Arc<Stored<Room>>> {
        self.tables.rooms.get(id).map(|placed| &placed.stored)
    }

    fn room_called(&self, name: &str) -> Option<&Arc<Stored<Room>>> {
        self.room_with_id(name).or_else(|| {
            let start = (Arc::from(name), RoomId::from(""));
            let (found, id) = self.tables.rooms_by_name.range(start..).next()?;
            (&**found == name).then(|| self.room_with_id(id.as_str()))?
        })
    }

    /// The sender that a caller is: its session and nickname, or the human's mailbox and name.
    pub(super) fn resolve_caller(&self, caller: &Caller) -> Result<(SessionId, Arc<str>), RequestError> {
        let unknown = |message: String| Err(RequestError::new(ErrorKind::UnknownCaller, message));
        let nickname = |id: &SessionId| Some(self.tables.sessions.get(id)?.stored.row.nickname.clone());
        match caller {
            // People type nicknames and prefixes; what fits several is told apart from what fits none.
            Caller { as_session: Some(session), .. } => {
                let found = match self.resolve_session(session.as_str()) {
                    Err(error) if error.kind == ErrorKind::Ambiguous => return Err(error),
                    found => found.ok().and_then(|id| Some((id.clone(), nickname(&id)?))),
                };
                found.map_or_else(|| unknown(format!("asSession '{session}' is not on the roster")), Ok)
            }
            Caller { client: Some(client), .. } => {
                match self.tables.presence.session_of(client).and_then(|id| Some((id.clone(), nickname(id)?))) {
                    Some(sender) => Ok(sender),
                    None => unknown(format!(
                        "caller (client {client}) has no session on the roster — re-SET your Session and retry"
                    )),
                }
            }
            Caller { human: Some(human), .. } => {
                validate::name("the human's name", human)?;
                if human.is_empty() {
                    return unknown("the human's name is empty".to_owned());
                }
                Ok((SessionId::human(human), Arc::from(human.as_str())))
            }
            Caller { else_human: Some(human), .. } => {
                self.resolve_caller(&Caller { human: Some(human.clone()), ..Caller::default() })
            }
            Caller { known: Known::Owner { .. }, client: None, .. } => {
                unknown("say who you are: a session (asSession, or session= in a query) or a human (human)".to_owned())
            }
            Caller { as_session: None, client: None, human: None, .. } => unknown(
                "command needs either an `asSession` id (HTTP/self-identify) or a connected client (WS shim)"
                    .to_owned(),
            ),
        }
    }
}

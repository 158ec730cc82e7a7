//! The meaning of an address: one rule for every place that takes a session, a person, a room or a session that ended.
//! An exact name goes before any beginning, and where two things could be meant, neither is.

use super::{Caller, Request, Roster};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{HUMAN_PREFIX, NOTICE_SENDER, RoomId, SessionId};
use crate::limits::{CANDIDATE_PATH_CHARS_MAX, CANDIDATES_MAX, DEPARTED_BEGINNING_CHARS_MIN, ID_BYTES_MAX};
use crate::model::{Departed, ROOM_PREFIXES, Room, Stored};
use crate::roster::validate;
use crate::text::{fault_of_name, nfc, shown_name};
use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

/// The one thing that an address means.
#[derive(Clone, Debug)]
pub(super) enum Meant {
    /// A session on the roster.
    Here(SessionId),
    /// A session that has ended and is still known.
    Ended(SessionId),
    /// A person's mailbox.
    Human(SessionId),
    /// A room.
    Room(Arc<Stored<Room>>),
}

/// The kinds of address, by their first characters.
enum Kind<'a> {
    Room(&'a str),
    Human(&'a str),
    Session,
}

fn kind(address: &str) -> Kind<'_> {
    if let Some(room) = address.strip_prefix('@') {
        return Kind::Room(room);
    }
    if address == "*" {
        return Kind::Room("everyone");
    }
    if ROOM_PREFIXES.iter().any(|prefix| address.starts_with(prefix)) {
        return Kind::Room(address);
    }
    address.strip_prefix(HUMAN_PREFIX).map_or(Kind::Session, Kind::Human)
}

impl Roster {
    /// The one thing that an address means: exactly, else by the beginning of an id or of a nickname.
    pub(super) fn meant(&self, address: &str) -> Result<Meant, RequestError> {
        validate::bounded("the address", address, ID_BYTES_MAX)?;
        let address = &*nfc(address);
        match kind(address) {
            Kind::Room(name) => self.room_meant(name).map(Meant::Room),
            Kind::Human(name) => human(name).map(Meant::Human),
            Kind::Session => match self.session_meant_exactly(address)? {
                Some(meant) => Ok(meant),
                None => self.beginning_meant(address),
            },
        }
    }

    /// The session or person that an address means, on the roster or not.
    pub(super) fn participant_meant(&self, address: &str) -> Result<SessionId, RequestError> {
        match self.meant(address)? {
            Meant::Here(id) | Meant::Ended(id) | Meant::Human(id) => Ok(id),
            Meant::Room(room) => {
                let message = format!("'{address}' is a room (@{}), where a session is wanted", room.row.id);
                Err(RequestError::invalid(message))
            }
        }
    }

    /// The session on the roster as which a caller says that it speaks.
    pub(super) fn sender_meant(&self, address: &str) -> Result<SessionId, RequestError> {
        let unknown = |reason: &str, candidates| {
            let message = format!("asSession '{address}' is not on the roster{reason}");
            Err(RequestError { candidates, ..RequestError::new(ErrorKind::UnknownCaller, message) })
        };
        match self.meant(address) {
            Ok(Meant::Here(id)) => Ok(id),
            Ok(Meant::Ended(id)) => unknown(": it has ended", vec![self.described(&id)]),
            Ok(Meant::Human(_) | Meant::Room(_)) => unknown("", Vec::new()),
            Err(error) if error.kind == ErrorKind::NotFound => unknown("", error.candidates),
            Err(error) => Err(error),
        }
    }

    /// The session on the roster that has exactly this id or nickname. For what cannot be taken back: a beginning can come
    /// to mean another session between two requests.
    pub(super) fn session_named(&self, address: &str) -> Result<SessionId, RequestError> {
        validate::bounded("the address", address, ID_BYTES_MAX)?;
        let composed = &*nfc(address);
        let exactly =
            if matches!(kind(composed), Kind::Session) { self.session_meant_exactly(composed)? } else { None };
        if let Some(meant) = exactly {
            return self.must_be_here(address, meant);
        }
        match self.meant(address)? {
            Meant::Here(id) | Meant::Ended(id) => Err(self.only_a_beginning(address, &id)),
            meant => self.must_be_here(address, meant),
        }
    }

    /// Refuses a caller that has said only the beginning of its session's name, for what cannot be taken back.
    pub(super) fn must_be_named(&self, caller: &Caller) -> Result<(), RequestError> {
        caller.as_session.as_ref().map_or(Ok(()), |said| self.session_named(said.as_str()).map(drop))
    }

    /// Puts the session's id into a request that changes one and that names it in another way.
    pub(super) fn put_ids_for_names(&self, request: &mut Request) -> Result<(), RequestError> {
        match request {
            Request::HookEvent(event) | Request::Wait { event, .. } if event.report.is_named => {
                event.report.session_id = self.session_named(&event.report.session_id)?.as_str().to_owned();
                event.report.is_named = false;
            }
            Request::UpdateSession { session, .. } if !self.tables.sessions.contains_key(session) => {
                match self.session_named(session.as_str()) {
                    Ok(id) => *session = id,
                    Err(error) if error.kind == ErrorKind::Ambiguous => return Err(error),
                    // It is refused as marshal 0.9 does.
                    Err(_) => {}
                }
            }
            Request::Guarded { request, .. } => self.put_ids_for_names(request)?,
            _ => {}
        }
        Ok(())
    }

    /// The session that has ended, and has left mail, which has exactly this id or nickname.
    pub(super) fn ended_named(&self, address: &str) -> Result<&Departed, RequestError> {
        validate::bounded("the address", address, ID_BYTES_MAX)?;
        let meant = self.session_meant_exactly(&nfc(address))?;
        match meant {
            Some(Meant::Ended(id)) => {
                let known = self.tables.departed.get(&id).map(|placed| &placed.stored.row);
                let nothing = || RequestError::not_found(format!("'{address}' has ended and left no mail to claim"));
                known.filter(|row| row.has_mail).ok_or_else(nothing)
            }
            Some(_) => {
                let message = format!("'{address}' is on the roster: its mail is its own");
                Err(RequestError::new(ErrorKind::Refused, message))
            }
            None => Err(match self.beginning_meant(&nfc(address)) {
                Ok(Meant::Here(id) | Meant::Ended(id)) => self.only_a_beginning(address, &id),
                Err(error) if error.kind == ErrorKind::Ambiguous => error,
                _ => {
                    let message = format!("no session '{address}' has ended and left mail");
                    RequestError { candidates: self.alike(address), ..RequestError::not_found(message) }
                }
            }),
        }
    }

    /// The room with this id, this name, this group's name, or this name's slug.
    pub(super) fn room_meant(&self, name: &str) -> Result<Arc<Stored<Room>>, RequestError> {
        let name = &*nfc(name);
        // What claudemesh calls everybody, unless somebody has made a room of this name.
        let everybody = || if name == "all" { self.addressed_room("everyone") } else { None };
        if let Some(room) = self.addressed_room(name).or_else(everybody) {
            return Ok(room.clone());
        }
        let mut error = RequestError::not_found(format!("no room with id '{name}' on the roster"));
        let alike = self.tables.rooms.range::<str, _>((Bound::Included(name), Bound::Unbounded));
        let alike = alike.take_while(|(id, _)| !name.is_empty() && id.as_str().starts_with(name));
        error.candidates = alike.take(CANDIDATES_MAX).map(|(id, _): (&RoomId, _)| format!("@{id}")).collect();
        Err(error)
    }

    /// The room that is meant where nothing but a room can be, with `@` before its name or not.
    pub(super) fn room_asked_for(&self, name: &str) -> Result<Arc<Stored<Room>>, RequestError> {
        let room = self.room_meant(name.strip_prefix('@').unwrap_or(name));
        room.map_err(|error| RequestError { message: format!("no room matching '{name}'"), ..error })
    }

    fn must_be_here(&self, address: &str, meant: Meant) -> Result<SessionId, RequestError> {
        match meant {
            Meant::Here(id) => Ok(id),
            Meant::Ended(id) => {
                let message = format!("'{address}' is not on the roster: it has ended");
                let candidates = vec![self.described(&id)];
                Err(RequestError { candidates, ..RequestError::not_found(message) })
            }
            Meant::Human(_) | Meant::Room(_) => {
                Err(RequestError::not_found(format!("'{address}' is no session on the roster")))
            }
        }
    }

    /// The session that has exactly this id or nickname. Several can only come from a log that others wrote.
    fn session_meant_exactly(&self, address: &str) -> Result<Option<Meant>, RequestError> {
        if address.is_empty() {
            return Ok(None);
        }
        let tables = &self.tables;
        let here = tables.sessions.get_key_value(address).map(|(id, _)| id.clone());
        let mut found: Vec<SessionId> = here.or_else(|| self.ended_with_id(address)).into_iter().collect();
        let mut add = |id: &SessionId| {
            if found.len() <= CANDIDATES_MAX && !found.contains(id) {
                found.push(id.clone());
            }
        };
        tables.nicknames.holders(address).take(CANDIDATES_MAX + 1).for_each(&mut add);
        let ended = || tables.departures.named(address).filter(|id| id.as_str() != NOTICE_SENDER);
        let is_kept = |id: &&SessionId| tables.departures.is_kept(id, &tables.mail);
        ended().filter(is_kept).take(CANDIDATES_MAX + 1).for_each(&mut add);
        if found.is_empty() {
            // Its name is free for others, and none has taken it.
            found.extend(ended().take(CANDIDATES_MAX + 1).cloned());
        }
        match found.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(self.here_or_ended(only.clone()))),
            several => Err(self.ambiguous(address, several)),
        }
    }

    /// The session with this whole id that has ended: one that is noted, or one that has sent or got something.
    fn ended_with_id(&self, address: &str) -> Option<SessionId> {
        let ended = SessionId::from(address);
        let is_known = self.tables.departed.contains_key(address)
            || self.tables.mail.unread_count(&ended) > 0
            || self.tables.mail.concerning(&ended, u64::MAX).next().is_some();
        (is_known && address != NOTICE_SENDER).then_some(ended)
    }

    fn here_or_ended(&self, id: SessionId) -> Meant {
        if self.tables.sessions.contains_key(&id) { Meant::Here(id) } else { Meant::Ended(id) }
    }

    /// The one session whose id, here or ended, or whose nickname, here, begins like this. Nicknames of sessions that ended
    /// count only as a whole: there are many of them, and most begin with the name of a directory that is still used.
    fn beginning_meant(&self, address: &str) -> Result<Meant, RequestError> {
        let mut found: Vec<SessionId> = Vec::new();
        // Several addresses with commas between them begin no name.
        if !address.is_empty() && !address.contains(',') {
            let is_enough = address.chars().nth(DEPARTED_BEGINNING_CHARS_MIN - 1).is_some();
            let nicknames = &self.tables.nicknames;
            let named = nicknames.beginning_with(address).flat_map(|name| nicknames.holders(name));
            let ended = self.ended_beginning(address).take_while(|_| is_enough).map(|row| &row.id);
            let all = self.ids_beginning(address).take(CANDIDATES_MAX + 1).chain(named.take(CANDIDATES_MAX + 1));
            for id in all.chain(ended.take(CANDIDATES_MAX + 1)) {
                if !found.contains(id) {
                    found.push(id.clone());
                }
            }
        }
        match found.as_slice() {
            [] => Err(self.unknown(address)),
            [only] => Ok(self.here_or_ended(only.clone())),
            several => Err(self.ambiguous(address, several)),
        }
    }

    fn ids_beginning<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a SessionId> {
        let from = self.tables.sessions.range::<str, _>((Bound::Included(text), Bound::Unbounded));
        from.map(|(id, _)| id).take_while(move |id| id.as_str().starts_with(text))
    }

    /// The sessions that have ended and whose ids begin like this; none for an empty text.
    fn ended_beginning<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a Departed> {
        let from = self.tables.departed.range::<str, _>((Bound::Included(text), Bound::Unbounded));
        let alike = from.take_while(move |(id, _)| !text.is_empty() && id.as_str().starts_with(text));
        alike.map(|(_, placed)| &placed.stored.row).filter(|row| row.id.as_str() != NOTICE_SENDER)
    }

    fn ambiguous(&self, address: &str, found: &[SessionId]) -> RequestError {
        let mut candidates: Vec<String> = found.iter().take(CANDIDATES_MAX).map(|id| self.described(id)).collect();
        if found.len() > CANDIDATES_MAX {
            candidates.push("...".to_owned());
        }
        let message = format!("'{address}' fits more than one session; give a whole id");
        RequestError { candidates, ..RequestError::new(ErrorKind::Ambiguous, message) }
    }

    fn only_a_beginning(&self, address: &str, id: &SessionId) -> RequestError {
        let message = format!("'{address}' is only the beginning of a name; give the whole of it");
        let candidates = vec![self.described(id)];
        RequestError { candidates, ..RequestError::new(ErrorKind::Ambiguous, message) }
    }

    fn unknown(&self, address: &str) -> RequestError {
        let message = format!("no session with id '{address}' on the roster");
        RequestError { candidates: self.alike(address), ..RequestError::not_found(message) }
    }

    /// The names that could be meant by one that means nothing.
    fn alike(&self, address: &str) -> Vec<String> {
        let room = self.find_room(address).map(|_| format!("@{address}"));
        let here = self.tables.nicknames.beginning_with(address).map(ToString::to_string);
        let ended = self.tables.departures.beginning_with(address).map(|name| format!("{name} (ended)"));
        room.into_iter().chain(here).chain(ended).take(CANDIDATES_MAX).collect()
    }

    /// A session as a candidate: its id, and by what a person knows it.
    fn described(&self, id: &SessionId) -> String {
        let here = self.tables.sessions.get(id).map(|placed| &placed.stored.row);
        let ended = self.tables.departed.get(id).map(|placed| &placed.stored.row);
        let state = match here {
            Some(row) => row.doing.state.map(|state| state.as_str()),
            None => Some("ended"),
        };
        let cwd = here.map(|row| &row.cwd).or(ended.map(|row| &row.cwd)).filter(|cwd| !cwd.is_empty());
        let name = Cow::Owned(shown_name(&self.name_of(id)));
        let parts = [Some(name), state.map(Cow::Borrowed), cwd.map(|cwd| Cow::Owned(path_end(cwd)))];
        format!("{id} ({})", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// The mailbox of a person.
pub(super) fn human(name: &str) -> Result<SessionId, RequestError> {
    if name.is_empty() {
        return Err(RequestError::invalid("'human:' needs a name, as in human:alice"));
    }
    if name.contains(',') {
        return Err(RequestError::not_found(format!("no person is called '{name}': names have no commas")));
    }
    validate::human(name)?;
    Ok(SessionId::human(&nfc(name)))
}

/// The end of a path, which tells paths apart.
fn path_end(path: &str) -> String {
    let plain = |c: char| if fault_of_name(c.encode_utf8(&mut [0; 4])).is_some() { '_' } else { c };
    let count = path.chars().count();
    let cut = count.saturating_sub(CANDIDATE_PATH_CHARS_MAX);
    let end: String = path.chars().skip(cut).map(plain).collect();
    if cut > 0 { format!("…{end}") } else { end }
}

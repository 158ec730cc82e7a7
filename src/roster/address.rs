//! Who is meant: an address becomes a session, a human's mailbox or a room, a caller becomes a sender. It must not
//! guess: what fits nothing or more than one thing is an error that lists candidates.

use super::speaker::Speaker;
use super::terms::Answered;
use super::{Caller, Known, Roster, validate};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{HUMAN_PREFIX, NOTICE_SENDER, RoomId, SessionId};
use crate::limits::{ADDRESSES_MAX, CANDIDATES_MAX, DEPARTED_BEGINNING_CHARS_MIN, ID_BYTES_MAX};
use crate::model::{Departed, GROUP_PREFIX, Recipient, Room, Stored};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Whom one address of a message means.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A session, which may have ended, or a human.
    One(SessionId),
    /// Those who are in a room.
    Room(Arc<Stored<Room>>),
}

impl Target {
    pub(super) fn recipient(&self) -> Recipient {
        match self {
            Self::One(session) => Recipient::Session(session.clone()),
            Self::Room(room) => Recipient::Room(room.row.id.clone()),
        }
    }
}

/// One message to be stored, and who gets it by that.
#[derive(Debug)]
pub(super) struct Addressed {
    pub(super) to: Target,
    /// Those who get it, with their names.
    pub(super) others: Vec<(SessionId, Arc<str>)>,
    /// Those in the room who get the same by another one, and by the how manieth.
    pub(super) covered: Vec<(SessionId, usize)>,
    /// What was addressed too and is left out, since those who get this are all whom that means, or among them, with its name.
    pub(super) spares: Vec<(Recipient, Arc<str>)>,
}

impl Addressed {
    fn new(to: Target, others: Vec<(SessionId, Arc<str>)>, covered: Vec<(SessionId, usize)>) -> Self {
        Self { to, others, covered, spares: Vec::new() }
    }

    /// A message to one, who has this name.
    pub(super) fn one(to: SessionId, name: Arc<str>) -> Self {
        Self::new(Target::One(to.clone()), vec![(to, name)], Vec::new())
    }

    /// Those who get it.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &SessionId> {
        self.others.iter().map(|(session, _)| session)
    }
}

/// What the ids of automatic rooms begin with: such an address needs no `@`.
const ROOM_PREFIXES: [&str; 4] = ["op:", "project:", "host:", GROUP_PREFIX];

impl Roster {
    /// Whom a message is for, each once however often it is addressed: all of its addresses mean somebody, or none gets it.
    pub(super) fn addressed(
        &self,
        sender: &Speaker,
        to: &[String],
        answered: Option<&Answered>,
    ) -> Result<Vec<Addressed>, RequestError> {
        if to.len() > ADDRESSES_MAX {
            let message = format!("{} addresses; at most {ADDRESSES_MAX} are taken at once: make a room", to.len());
            return Err(RequestError::new(ErrorKind::TooLarge, message));
        }
        let mut targets: Vec<Target> =
            to.iter().map(|address| self.resolve_target(address)).collect::<Result<_, _>>()?;
        match (answered, targets.is_empty()) {
            (Some(answered), true) => targets.push(Target::One(answered.author()?)),
            (None, true) => return Err(RequestError::invalid("say whom the message is for (to)")),
            _ => {}
        }
        if let [Target::One(session)] = targets.as_slice() {
            return Ok(vec![Addressed::one(session.clone(), self.name_of(session))]);
        }
        self.each_once(&sender.id, targets)
    }

    /// The messages by which each gets one that any of the addresses means: rooms first, so that who is in one needs none of
    /// his own.
    fn each_once(&self, sender: &SessionId, targets: Vec<Target>) -> Result<Vec<Addressed>, RequestError> {
        let (mut addressed, mut covers): (Vec<Addressed>, BTreeMap<SessionId, usize>) = (Vec::new(), BTreeMap::new());
        let is_alone = targets.len() == 1;
        let mut seen: BTreeSet<RoomId> = BTreeSet::new();
        for target in &targets {
            let Target::Room(room) = target else { continue };
            if !seen.insert(room.row.id.clone()) {
                continue;
            }
            let members = self.others_in(room, sender)?;
            let (covered, others): (Vec<_>, Vec<_>) =
                members.into_iter().partition(|(session, _)| covers.contains_key(session));
            let by = |(session, _): (SessionId, _)| covers.get(&session).copied().map(|by| (session, by));
            let covered: Vec<(SessionId, usize)> = covered.into_iter().filter_map(by).collect();
            if others.is_empty() {
                for by in covered.into_iter().map(|(_, by)| by).collect::<BTreeSet<usize>>() {
                    let spared = (target.recipient(), room.row.name.clone());
                    addressed.get_mut(by).into_iter().for_each(|by: &mut Addressed| by.spares.push(spared.clone()));
                }
                continue;
            }
            if !is_alone {
                covers.extend(others.iter().map(|(session, _)| (session.clone(), addressed.len())));
            }
            addressed.push(Addressed::new(target.clone(), others, covered));
        }
        for target in targets {
            let Target::One(session) = &target else { continue };
            if let Some(by) = covers.get(session) {
                let spared = (target.recipient(), self.name_of(session));
                // Addressed twice by itself, it is named as the one who gets it.
                if let Some(Addressed { to: Target::Room(_), spares, .. }) = addressed.get_mut(*by)
                    && !spares.contains(&spared)
                {
                    spares.push(spared);
                }
                continue;
            }
            covers.insert(session.clone(), addressed.len());
            addressed.push(Addressed::one(session.clone(), self.name_of(session)));
        }
        Ok(addressed)
    }

    /// The others in a room, of whom there must be some. A membership whose session is gone is no recipient.
    fn others_in(
        &self,
        room: &Arc<Stored<Room>>,
        sender: &SessionId,
    ) -> Result<Vec<(SessionId, Arc<str>)>, RequestError> {
        let members = self.tables.members_of.get(&room.row.id).into_iter().flatten();
        let others: Vec<(SessionId, Arc<str>)> = members
            .filter(|(session, _)| *session != sender)
            .filter_map(|(session, _)| {
                Some((session.clone(), self.tables.sessions.get(session)?.stored.row.nickname.clone()))
            })
            .collect();
        if others.is_empty() {
            let message = format!("room '{}' has no other members — nothing to broadcast to", room.row.id);
            return Err(RequestError::new(ErrorKind::Refused, message));
        }
        Ok(others)
    }

    /// Whom an address of a message means: as [`Roster::resolve_session`], or a room, or a session that is not there any
    /// more, whose mail is kept. Those that are there go before those that have ended.
    fn resolve_target(&self, address: &str) -> Result<Target, RequestError> {
        if let Some(room) = address.strip_prefix('@') {
            return self.resolve_room(room);
        }
        if address == "*" {
            return self.resolve_room("everyone");
        }
        match self.resolve_session(address) {
            Ok(session) => Ok(Target::One(session)),
            Err(error) if error.kind == ErrorKind::NotFound => {
                if let Some(former) = self.former_session(address) {
                    return Ok(Target::One(former));
                }
                if ROOM_PREFIXES.iter().any(|prefix| address.starts_with(prefix)) {
                    return self.resolve_room(address);
                }
                self.resolve_departed_recipient(address)?.map(Target::One).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    fn resolve_room(&self, name: &str) -> Result<Target, RequestError> {
        // What claudemesh calls everybody, unless somebody has made a room of this name.
        let everybody = || if name == "all" { self.addressed_room("everyone") } else { None };
        if let Some(room) = self.addressed_room(name).or_else(everybody) {
            return Ok(Target::Room(room.clone()));
        }
        let mut error = RequestError::not_found(format!("no room with id '{name}' on the roster"));
        let alike = self.tables.rooms.range::<str, _>((Bound::Included(name), Bound::Unbounded));
        let alike = alike.take_while(|(id, _)| !name.is_empty() && id.as_str().starts_with(name));
        error.candidates = alike.take(CANDIDATES_MAX).map(|(id, _)| format!("@{id}")).collect();
        Err(error)
    }

    /// A session that is not there any more, by its whole id: one that has sent or got something that is stored.
    fn former_session(&self, address: &str) -> Option<SessionId> {
        let former = SessionId::from(address);
        let mail = &self.tables.mail;
        let has_mail = mail.unread_count(&former) > 0 || mail.concerning(&former, u64::MAX).next().is_some();
        let is_known = has_mail || self.tables.departed.contains_key(address);
        (is_known && address != NOTICE_SENDER).then_some(former)
    }

    /// A session that has ended and that an address means which means nobody that is there: the only one of exactly this
    /// nickname or, failing that, whose id begins like this.
    fn resolve_departed_recipient(&self, address: &str) -> Result<Option<SessionId>, RequestError> {
        let can_get_mail = |row: &&Departed| row.id.as_str() != NOTICE_SENDER;
        let is_enough = address.chars().nth(DEPARTED_BEGINNING_CHARS_MIN - 1).is_some();
        let beginning = || self.departed_beginning(address).take_while(|_| is_enough);
        let mut found: Vec<&Departed> =
            self.departed_named(address).filter(can_get_mail).take(CANDIDATES_MAX + 1).collect();
        if found.is_empty() {
            found = beginning().filter(can_get_mail).take(CANDIDATES_MAX + 1).collect();
        }
        if let [] | [_] = found.as_slice() {
            return Ok(found.first().map(|only| only.id.clone()));
        }
        let is_all = found.len() <= CANDIDATES_MAX;
        let shown = found.iter().take(CANDIDATES_MAX).map(|row| format!("{} ({}, ended)", row.id, row.nickname));
        let candidates = shown.chain((!is_all).then(|| "...".to_owned())).collect();
        let message = format!("'{address}' fits nobody that is there and several that have ended; give a whole id");
        Err(RequestError { candidates, ..RequestError::new(ErrorKind::Ambiguous, message) })
    }

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

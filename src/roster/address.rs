//! Whom a message is for, by its addresses, and which sender a caller is. It must not guess: what an address means is
//! decided in `resolve.rs`.

use super::resolve::{self, Meant};
use super::speaker::Speaker;
use super::terms::Answered;
use super::{Caller, Known, Roster};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{RoomId, SessionId};
use crate::limits::ADDRESSES_MAX;
use crate::model::{Recipient, Room, Stored};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whom one address of a message means.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A session, which may have ended, or a human.
    One(SessionId),
    /// Those who are in a room.
    Room(Arc<Stored<Room>>),
}

impl From<Meant> for Target {
    fn from(meant: Meant) -> Self {
        match meant {
            Meant::Here(id) | Meant::Ended(id) | Meant::Human(id) => Self::One(id),
            Meant::Room(room) => Self::Room(room),
        }
    }
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

fn too_many(addresses: usize) -> RequestError {
    let message = format!("{addresses} addresses; at most {ADDRESSES_MAX} are taken at once: make a room");
    RequestError::new(ErrorKind::TooLarge, message)
}

impl Roster {
    /// Whom a message is for, each once however often it is addressed: all of its addresses mean somebody, or none gets it.
    pub(super) fn addressed(
        &self,
        sender: &Speaker,
        to: &[String],
        answered: Option<&Answered>,
    ) -> Result<Vec<Addressed>, RequestError> {
        if to.len() > ADDRESSES_MAX {
            return Err(too_many(to.len()));
        }
        let mut targets: Vec<Target> = Vec::with_capacity(to.len());
        for address in to {
            targets.append(&mut self.targets(address)?);
        }
        if targets.len() > ADDRESSES_MAX {
            return Err(too_many(targets.len()));
        }
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

    /// All that one text means as the address of a message: one thing, or, with commas between them, several.
    fn targets(&self, address: &str) -> Result<Vec<Target>, RequestError> {
        match self.meant(address) {
            Err(error) if error.kind == ErrorKind::NotFound && address.contains(',') => {
                let parts = address.split(',').map(str::trim).filter(|part| !part.is_empty()).take(ADDRESSES_MAX + 1);
                parts.map(|part| self.meant(part).map(Target::from)).collect()
            }
            meant => meant.map(|meant| vec![Target::from(meant)]),
        }
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
            Caller { as_session: Some(session), .. } => {
                let found = self.sender_meant(session.as_str())?;
                let name = self.name_of(&found);
                Ok((found, name))
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
                if human.is_empty() {
                    return unknown("the human's name is empty".to_owned());
                }
                let mailbox = resolve::human(human)?;
                let name = self.name_of(&mailbox);
                Ok((mailbox, name))
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

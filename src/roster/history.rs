//! Looking back: what a reader may read, newest first, and pages of the history. It looks at a bounded number of
//! messages for one request, found through the indexes.

use super::{
    Answer, Caller, Handled, HistoryEntry, HistoryPage, HistoryQuery, MessageFilter, MessageView, Reply, Roster, Wait,
};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{MessageId, ReadId, RoomId, SessionId};
use crate::limits::{HISTORY_SCAN_MAX, PAGE_BODY_BYTES_MAX, PAGE_MESSAGES_DEFAULT, PAGE_MESSAGES_MAX};
use crate::model::{Message, Recipient};

/// How much still goes into one answer, by messages and by the bytes of their bodies.
struct Space {
    messages: usize,
    body_bytes: usize,
    is_empty: bool,
}

impl Space {
    fn new(messages: usize) -> Self {
        Self { messages, body_bytes: PAGE_BODY_BYTES_MAX, is_empty: true }
    }

    /// Whether this message still goes in. Once one does not, none behind it does: an answer has no holes.
    fn takes(&mut self, message: &Message) -> bool {
        let fits = self.messages > 0 && (self.is_empty || message.body.len() <= self.body_bytes);
        if fits {
            self.messages -= 1;
            self.body_bytes = self.body_bytes.saturating_sub(message.body.len());
        } else {
            self.messages = 0;
        }
        self.is_empty = false;
        fits
    }
}

type Newest<'a> = Box<dyn Iterator<Item = (u64, &'a MessageId)> + 'a>;

/// Merges lists that are each newest first into one, without duplicates.
fn merge<'a>(lists: Vec<Newest<'a>>) -> impl Iterator<Item = (u64, &'a MessageId)> {
    let mut lists: Vec<_> = lists.into_iter().map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let newest = lists.iter_mut().filter_map(|list| list.peek().map(|(place, _)| *place)).max()?;
        let mut found = None;
        for list in &mut lists {
            if list.peek().is_some_and(|(place, _)| *place == newest) {
                found = list.next();
            }
        }
        found
    })
}

impl Roster {
    /// All that `session` sent, or that was for it, before `place`, newest first.
    fn of_session<'a>(&'a self, session: &'a SessionId, place: u64) -> impl Iterator<Item = (u64, &'a MessageId)> {
        let mail = &self.tables.mail;
        let rooms = self.tables.rooms_of.get(session).into_iter().flatten();
        let mut lists: Vec<Newest<'a>> = vec![Box::new(mail.concerning(session, place))];
        for (room, member) in rooms {
            let joined = self.tables.members.get(member).map_or(u64::MAX, |member| member.place);
            lists.push(Box::new(mail.in_room(room, place).take_while(move |(at, _)| *at > joined)));
        }
        merge(lists)
    }

    pub(super) fn read_messages(&self, caller: &Caller, filter: &MessageFilter) -> Handled {
        let me = self.speaker(caller)?.id;
        let room = match &filter.room {
            Some(name) => match self.addressed_room(name) {
                Some(room) => Some(room.row.id.clone()),
                None => {
                    return Err(RequestError::not_found(format!("no room matching '{name}'")));
                }
            },
            None => None,
        };
        let limit = filter.limit.unwrap_or(PAGE_MESSAGES_DEFAULT).min(PAGE_MESSAGES_MAX);
        let unread_only: Vec<(u64, MessageId)>;
        let candidates: Newest<'_> = if filter.unread && !filter.sent {
            unread_only = self.tables.mail.unread_of(&me);
            let ids = unread_only.iter().map(|(place, id)| (*place, id));
            if filter.oldest_first { Box::new(ids) } else { Box::new(ids.rev()) }
        } else {
            Box::new(self.of_session(&me, u64::MAX))
        };
        let (mut messages, mut total, mut space) = (Vec::new(), 0, Space::new(limit));
        for (_, id) in candidates.take(HISTORY_SCAN_MAX) {
            let Some(placed) = self.tables.messages.get(id) else {
                continue;
            };
            let unread = self.tables.mail.is_unread(placed.place, &me);
            if !fits(&placed.stored.row, &me, filter, room.as_ref(), unread) {
                continue;
            }
            total += 1;
            if space.takes(&placed.stored.row) {
                messages.push(MessageView { message: placed.stored.clone(), read_by_me: !unread });
            }
        }
        Ok(Answer::new(Reply::Messages { reader: me, messages, total }, Wait::Batch))
    }

    pub(super) fn history(&self, query: &HistoryQuery) -> Handled {
        let only = self.sees_only(&query.caller)?;
        if let Some(id) = &query.message {
            let placed = self.tables.messages.get(id.as_str());
            // To somebody else's message there is no more to say than to one that is not there.
            let placed = placed.filter(|placed| only.as_ref().is_none_or(|me| self.concerns(placed, me)));
            let Some(placed) = placed else {
                return Err(RequestError::not_found("no message with this id is stored"));
            };
            let messages = vec![self.history_entry(placed, true)];
            return Ok(Answer::new(Reply::History(HistoryPage { messages, before: None }), Wait::Batch));
        }
        let limit = query.limit.unwrap_or(PAGE_MESSAGES_DEFAULT).clamp(1, PAGE_MESSAGES_MAX);
        let before = query.before.unwrap_or(u64::MAX);
        let asked = query.session.as_deref().map(|address| self.resolve_participant(address)).transpose()?;
        let session = match (only, asked) {
            (Some(me), Some(other)) if me != other => {
                let message = format!("you are the session {me}, and see only what it has sent and received");
                return Err(RequestError::new(ErrorKind::Forbidden, message));
            }
            (Some(me), _) => Some(me),
            (None, asked) => asked,
        };
        let room = match &query.room {
            Some(name) => match self.addressed_room(name) {
                Some(room) => Some(room.row.id.clone()),
                None => {
                    return Err(RequestError::not_found(format!("no room matching '{name}'")));
                }
            },
            None => None,
        };
        let newest: Newest<'_> = match (&session, &room) {
            (Some(session), _) => Box::new(self.of_session(session, before)),
            (None, Some(room)) => Box::new(self.tables.mail.in_room(room, before)),
            (None, None) => Box::new(self.tables.mail.newest_first(before)),
        };
        let (mut messages, mut cursor, mut space) = (Vec::new(), None, Space::new(limit));
        for (looked, (place, id)) in newest.enumerate() {
            if messages.len() == limit || looked == HISTORY_SCAN_MAX {
                cursor = Some(place + 1);
                break;
            }
            let Some(placed) = self.tables.messages.get(id) else {
                continue;
            };
            let row = &placed.stored.row;
            let in_room = room.as_ref().is_none_or(|room| row.to == Recipient::Room(room.clone()));
            if in_room && query.since.is_none_or(|since| row.sent_at >= since) {
                if !space.takes(row) {
                    cursor = Some(place + 1);
                    break;
                }
                messages.push(self.history_entry(placed, false));
            }
        }
        messages.reverse();
        Ok(Answer::new(Reply::History(HistoryPage { messages, before: cursor }), Wait::Batch))
    }

    /// Whether a message was sent by a session or human, or was for it.
    pub(super) fn concerns(&self, placed: &super::tables::Placed<Message>, me: &SessionId) -> bool {
        let row = &placed.stored.row;
        row.from_session_id == *me
            || match &row.to {
                Recipient::Session(session) => session == me,
                Recipient::Room(room) => {
                    let member = self.tables.members_of.get(room).and_then(|members| members.get(me));
                    let member = member.and_then(|member| self.tables.members.get(member));
                    member.is_some_and(|member| member.place < placed.place)
                }
            }
            // It has left the room since, or the message was another one's.
            || self.tables.delivery(&row.id, me).is_some()
            || self.tables.reads.contains_key(&ReadId::of(&row.id, me))
    }

    pub(super) fn history_entry(&self, placed: &super::tables::Placed<Message>, whole: bool) -> HistoryEntry {
        let row = &placed.stored.row;
        let is_direct = matches!(row.to, Recipient::Session(_));
        let deliveries = if whole || is_direct { self.deliveries(row, placed.place) } else { Vec::new() };
        let receipts = self.tables.receipts(&row.id).count();
        HistoryEntry {
            message: placed.stored.clone(),
            read_by: receipts + usize::from(row.read_at.is_some()),
            waiting_for: self.tables.mail.waiting_for(placed.place),
            deliveries,
        }
    }

    /// A session or human that may be gone: a whole id is taken as it is if messages concern it.
    fn resolve_participant(&self, address: &str) -> Result<SessionId, RequestError> {
        self.resolve_session(address).or_else(|error| {
            let gone = SessionId::from(address);
            let known = self.tables.mail.concerning(&gone, u64::MAX).next().is_some();
            if known { Ok(gone) } else { Err(error) }
        })
    }
}

fn fits(row: &Message, me: &SessionId, filter: &MessageFilter, room: Option<&RoomId>, unread: bool) -> bool {
    let mine = row.from_session_id == *me;
    let to_me = !mine || row.to == Recipient::Session(me.clone());
    (!filter.unread || unread)
        && (!filter.inbox || to_me || (filter.sent && mine))
        && (!filter.sent || mine || (filter.inbox && to_me))
        && filter.from.as_ref().is_none_or(|from| row.from_session_id == *from)
        && filter.to_session.as_ref().is_none_or(|to| row.to == Recipient::Session(to.clone()))
        && room.is_none_or(|room| row.to == Recipient::Room(room.clone()))
        && filter.since.is_none_or(|since| row.sent_at >= since)
}

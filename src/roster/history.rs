//! Looking back: what a reader may read, newest first, and pages of the history. It looks at a bounded number of
//! messages for one request, found through the indexes.

use super::search::Words;
use super::tables::Placed;
use super::{
    Answer, Caller, Cursor, Handled, HistoryEntry, HistoryPage, HistoryQuery, MessageFilter, MessageState, MessageView,
    Reply, Roster, Wait,
};
use crate::error::{ErrorKind, RequestError};
use crate::ids::{MessageId, ReadId, RoomId, SessionId};
use crate::limits::{
    HISTORY_SCAN_BYTES_MAX, HISTORY_SCAN_MAX, HISTORY_SKIP_MAX, PAGE_BODY_BYTES_MAX, PAGE_MESSAGES_DEFAULT,
    PAGE_MESSAGES_MAX, READ_SCAN_MAX,
};
use crate::model::{Message, Recipient, Step};
use std::ops::Range;

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

/// How much may still be looked at for one request.
struct Budget {
    skips: usize,
    messages: usize,
    text_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { skips: HISTORY_SKIP_MAX, messages: HISTORY_SCAN_MAX, text_bytes: HISTORY_SCAN_BYTES_MAX }
    }
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.skips == 0 || self.messages == 0 || self.text_bytes == 0
    }
}

/// What a message must be like to be in a page.
struct Sieve {
    session: Option<SessionId>,
    room: Option<RoomId>,
    /// The first message of the thread.
    thread: Option<MessageId>,
    state: Option<MessageState>,
    words: Words,
    before: u64,
    after: u64,
    times: Range<i64>,
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
        // What it took over, and what is kept for it although it is in the room no more, is its own too.
        let mut lists: Vec<Newest<'a>> =
            vec![Box::new(mail.concerning(session, place)), Box::new(mail.claimed_by(session, place))];
        lists.extend(mail.unread_before(session, place).map(|list| -> Newest<'a> { Box::new(list) }));
        for (room, member) in rooms {
            let joined = self.tables.members.get(member).map_or(u64::MAX, |member| member.place);
            lists.push(Box::new(mail.in_room(room, place).take_while(move |(at, _)| *at > joined)));
        }
        merge(lists)
    }

    pub(super) fn read_messages(&self, caller: &Caller, filter: &MessageFilter) -> Handled {
        let reader = self.speaker(caller)?;
        let is_own = self.is_itself(caller, &reader);
        let (me, is_exact) = (reader.id, self.must_be_named(caller).is_ok());
        let room =
            filter.room.as_ref().map(|name| self.room_asked_for(name).map(|room| room.row.id.clone())).transpose()?;
        let filter = &self.with_ids(filter)?;
        let limit = filter.limit.unwrap_or(PAGE_MESSAGES_DEFAULT).min(PAGE_MESSAGES_MAX);
        let unread_only: Vec<(u64, MessageId)>;
        let candidates: Newest<'_> = if filter.unread && !filter.sent {
            let now = self.tables.now.wall_ms;
            unread_only = self.tables.mail.unread_of(&me);
            let valid = unread_only.iter().filter(move |(place, _)| !self.tables.mail.has_expired(*place, now));
            let ids = valid.map(|(place, id)| (*place, id));
            if filter.oldest_first { Box::new(ids) } else { Box::new(ids.rev()) }
        } else {
            Box::new(self.of_session(&me, u64::MAX))
        };
        let (mut messages, mut total, mut space) = (Vec::new(), 0, Space::new(limit));
        for (_, id) in candidates.take(READ_SCAN_MAX) {
            let Some(placed) = self.tables.messages.get(id) else {
                continue;
            };
            let unread = self.tables.mail.is_unread(placed.place, &me);
            if !fits(&placed.stored.row, &me, filter, room.as_ref(), unread) {
                continue;
            }
            total += 1;
            if space.takes(&placed.stored.row) {
                let short_id = self.short_id(&placed.stored.row.id);
                messages.push(MessageView { message: placed.stored.clone(), short_id, read_by_me: !unread });
            }
        }
        Ok(Answer::new(Reply::Messages { reader: me, is_own, is_exact, messages, total }, Wait::Batch))
    }

    /// The filter with the ids of the sessions that it names. One that means nobody fits nothing, as in marshal 0.9.
    fn with_ids(&self, filter: &MessageFilter) -> Result<MessageFilter, RequestError> {
        let id = |named: &Option<SessionId>| match named.as_ref().map(|named| self.participant_meant(named.as_str())) {
            Some(Err(error)) if error.kind == ErrorKind::NotFound => Ok(named.clone()),
            other => other.transpose(),
        };
        Ok(MessageFilter { from: id(&filter.from)?, to_session: id(&filter.to_session)?, ..filter.clone() })
    }

    pub(super) fn history(&self, query: &HistoryQuery) -> Handled {
        let only = self.sees_only(&query.caller)?;
        if let Some(id) = &query.message {
            // To somebody else's message there is no more to say than to one that is not there. What stands in a path may be
            // anything, a secret too, and is not repeated.
            let placed = self.message_meant(id, only.as_ref()).map_err(|error| match error.kind {
                ErrorKind::NotFound => RequestError::not_found("no message with this id is stored"),
                _ => error,
            })?;
            let mut entry = self.history_entry(placed, true);
            // How far it got with others is its sender's business.
            if let Some(me) = only.filter(|me| *me != placed.stored.row.from_session_id) {
                entry.deliveries.retain(|view| view.session == me);
            }
            let messages = vec![entry];
            return Ok(Answer::new(Reply::History(HistoryPage { messages, before: None, newest: None }), Wait::Batch));
        }
        let limit = query.limit.unwrap_or(PAGE_MESSAGES_DEFAULT);
        if !(1..=PAGE_MESSAGES_MAX).contains(&limit) {
            let message = format!("limit is {limit}: give a number from 1 to {PAGE_MESSAGES_MAX}");
            return Err(RequestError::invalid(message));
        }
        let sieve = self.sieve(query, only)?;
        Ok(Answer::new(Reply::History(self.page(&sieve, limit)), Wait::Batch))
    }

    /// What fits a query, with everything looked up that it names.
    fn sieve(&self, query: &HistoryQuery, only: Option<SessionId>) -> Result<Sieve, RequestError> {
        let asked = query.session.as_deref().map(|address| self.participant_meant(address)).transpose()?;
        let session = match (only, asked) {
            (Some(me), Some(other)) if me != other => {
                let message = format!("you are the session {me}, and see only what it has sent and received");
                return Err(RequestError::new(ErrorKind::Forbidden, message));
            }
            (Some(me), _) => Some(me),
            (None, asked) => asked,
        };
        let place = |cursor: &Cursor| self.place_of(cursor);
        let mut sieve = Sieve {
            session,
            room: query
                .room
                .as_ref()
                .map(|name| self.room_asked_for(name).map(|room| room.row.id.clone()))
                .transpose()?,
            thread: None,
            state: query.state,
            words: query.text.as_deref().map(Words::of).transpose()?.unwrap_or_default(),
            before: query.before.as_ref().map_or(u64::MAX, place),
            after: query.after.as_ref().map_or(0, place),
            times: query.since.unwrap_or(i64::MIN)..query.until.unwrap_or(i64::MAX),
        };
        if let Some(id) = &query.thread {
            let placed = self.message_meant(id, sieve.session.as_ref()).map_err(|error| match error.kind {
                ErrorKind::NotFound => {
                    let message = format!("no message with the id '{id}', which is to be in the thread");
                    RequestError { message, ..error }
                }
                _ => error,
            })?;
            let row = &placed.stored.row;
            let first = row.terms.as_ref().and_then(|terms| terms.thread.clone());
            // What belongs to a thread comes after its first message.
            let first_place = first.as_ref().map_or(Some(placed), |first| self.tables.messages.get(first));
            sieve.after = sieve.after.max(first_place.map_or(0, |first| first.place.saturating_sub(1)));
            sieve.thread = Some(first.unwrap_or_else(|| row.id.clone()));
        }
        Ok(sieve)
    }

    /// The newest messages that go through a sieve, as far as may be looked in one go.
    fn page(&self, sieve: &Sieve, limit: usize) -> HistoryPage {
        let newest_first: Newest<'_> = match (&sieve.session, &sieve.room) {
            (Some(session), _) => Box::new(self.of_session(session, sieve.before)),
            (None, Some(room)) => Box::new(self.tables.mail.in_room(room, sieve.before)),
            (None, None) => Box::new(self.tables.mail.newest_first(sieve.before)),
        };
        let (mut messages, mut space, mut budget) = (Vec::new(), Space::new(limit), Budget::default());
        let (mut before, mut newest, mut last) = (None, None, None);
        for (place, id) in newest_first.take_while(|(place, _)| *place > sieve.after) {
            if messages.len() == limit || budget.is_spent() {
                before = last;
                break;
            }
            let here = (place, id);
            newest.get_or_insert(here);
            let behind = last.replace(here);
            if !sieve.times.contains(&self.tables.mail.sent_at(place)) {
                budget.skips = budget.skips.saturating_sub(1);
                continue;
            }
            let Some(placed) = self.tables.messages.get(id) else { continue };
            if self.fits_sieve(sieve, placed, &mut budget) {
                if !space.takes(&placed.stored.row) {
                    before = behind;
                    break;
                }
                messages.push(self.history_entry(placed, false));
            }
        }
        messages.reverse();
        let cursor = |(place, id): (u64, &MessageId)| self.cursor(place, id);
        HistoryPage { messages, before: before.map(cursor), newest: newest.map(cursor) }
    }

    fn fits_sieve(&self, sieve: &Sieve, placed: &Placed<Message>, budget: &mut Budget) -> bool {
        budget.messages = budget.messages.saturating_sub(1);
        let row = &placed.stored.row;
        let in_thread = |first: &MessageId| {
            row.id == *first || row.terms.as_ref().is_some_and(|terms| terms.thread.as_ref() == Some(first))
        };
        sieve.room.as_ref().is_none_or(|room| row.to == Recipient::Room(room.clone()))
            && sieve.thread.as_ref().is_none_or(in_thread)
            && sieve.state.is_none_or(|state| self.is_in_state(placed, state, sieve.session.as_ref(), budget))
            && (sieve.words.len() == 0 || {
                budget.text_bytes = budget.text_bytes.saturating_sub(row.body.len() * sieve.words.len());
                sieve.words.are_in(&[&row.body, &row.from_nick, &row.to_nick])
            })
    }

    /// Whether a message is in this state for one of its recipients; for `me`, if that is one of them.
    fn is_in_state(
        &self,
        placed: &Placed<Message>,
        state: MessageState,
        me: Option<&SessionId>,
        budget: &mut Budget,
    ) -> bool {
        let row = &placed.stored.row;
        if let Some(me) = me.filter(|me| row.from_session_id != **me) {
            return self.delivery_to(row, placed.place, me.clone()).standing.state() == state;
        }
        // Rooms have many members: most messages are told by less.
        let possible = match state {
            MessageState::Queued | MessageState::Handed => self.tables.mail.waiting_for(placed.place) > 0,
            MessageState::Read => {
                row.read_at.is_some()
                    || self.tables.receipts(&row.id).next().is_some()
                    || self.tables.deliveries_of(&row.id).next().is_some()
            }
            _ => self.tables.deliveries_of(&row.id).next().is_some(),
        };
        if !possible {
            return false;
        }
        let views = self.deliveries(row, placed.place);
        budget.messages = budget.messages.saturating_sub(views.len());
        views.iter().any(|view| view.standing.state() == state)
    }

    /// Whether a message was sent by a session or human, or was for it, or is by now.
    pub(super) fn concerns(&self, placed: &Placed<Message>, me: &SessionId) -> bool {
        let row = &placed.stored.row;
        let is_own = || {
            let id = ReadId::of(&row.id, me);
            let has_read = self.tables.reads.contains_key(&id) || self.tables.deliveries.contains_key(&id);
            has_read || self.tables.mail.was_claimed(placed.place, me)
        };
        let is_for = || match &row.to {
            Recipient::Session(session) => session == me,
            Recipient::Room(room) => {
                let member = self.tables.members_of.get(room).and_then(|members| members.get(me));
                let member = member.and_then(|member| self.tables.members.get(member));
                member.is_some_and(|member| member.place < placed.place)
            }
        };
        row.from_session_id == *me || is_for() || is_own()
    }

    pub(super) fn history_entry(&self, placed: &Placed<Message>, whole: bool) -> HistoryEntry {
        let row = &placed.stored.row;
        let is_direct = matches!(row.to, Recipient::Session(_));
        let deliveries = if whole || is_direct { self.deliveries(row, placed.place) } else { Vec::new() };
        let gone = self.tables.deliveries_of(&row.id).filter(|placed| matches!(placed.stored.row.step, Step::Read(..)));
        let receipts = self.tables.receipts(&row.id).count() + gone.count();
        HistoryEntry {
            message: placed.stored.clone(),
            short_id: self.short_id(&row.id),
            read_by: receipts + usize::from(row.read_at.is_some()),
            waiting_for: self.tables.mail.waiting_for(placed.place),
            deliveries,
        }
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

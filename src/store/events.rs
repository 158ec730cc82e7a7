//! The events of `/v1/events`: what becomes of sessions, and messages, numbered in the order of the log. It keeps the last
//! ones for subscribers that come back. It never waits: a subscriber that does not take its events is cut off, comes back
//! and says which it heard last. It must not be given changes that are not on disk.

use super::outbox::{Frame, Outbox};
use crate::ids::{ClientId, SessionId};
use crate::limits::{EVENTS_KEPT_BYTES_MAX, EVENTS_KEPT_MAX, EVENTS_RETRY_MS};
use crate::log_pace::Pace;
use crate::model::{ItemType, Message, Recipient, Row, Session, Stored};
use crate::roster::{Change, DeliveryView, Gone, Hearing, Known, Limit, Reach, Roster, Sighting};
use crate::time::Now;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};

/// One event. Its text is made by whoever writes it first, and shared by all to whom it is written.
#[derive(Debug)]
pub struct Event {
    /// Which run of the daemon, and the event's number in it.
    pub id: (Arc<str>, u64),
    /// When it came about, on the wall clock.
    pub at: i64,
    /// What it tells.
    pub news: News,
    text: OnceLock<Arc<str>>,
}

/// What an event tells.
#[derive(Debug)]
pub enum News {
    /// A session is on the roster, or registered under another token.
    Join(Sighting),
    /// A session is not on the roster any more, or its token is void.
    Leave(Arc<Stored<Session>>, Gone),
    /// A session's row changed, in more than signs of life, or how soon it hears.
    Change(Sighting),
    /// A message was sent; with its place in the log's order.
    Message(Arc<Stored<Message>>, u64),
    /// A message has got further, for one recipient.
    Delivery(Arc<Stored<Message>>, Box<DeliveryView>),
    /// What came meanwhile is not known any more: these are the sessions now.
    Reset(Vec<Sighting>),
}

impl Event {
    /// The text of the event, made by `make` the first time.
    pub fn text(&self, make: impl FnOnce(&Self) -> String) -> &Arc<str> {
        self.text.get_or_init(|| Arc::from(make(self)))
    }

    fn body_bytes(&self) -> usize {
        match &self.news {
            News::Message(message, _) => message.row.body.len(),
            _ => 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Events {
    /// This run of the daemon: numbers of another one mean nothing here.
    run: Arc<str>,
    last: u64,
    kept: VecDeque<Arc<Event>>,
    kept_bytes: usize,
    subscribers: BTreeMap<ClientId, Subscriber>,
    /// Subscribers that hear what a session may, by session.
    by_session: BTreeMap<SessionId, BTreeSet<ClientId>>,
    /// Subscribers that hear all.
    unlimited: BTreeSet<ClientId>,
    /// Sessions for which a first subscriber came or the last one went, of which the roster has not heard.
    turned: BTreeMap<SessionId, bool>,
    /// How soon each session hears, as it was told last.
    reaches: BTreeMap<SessionId, Reach>,
}

#[derive(Debug)]
struct Subscriber {
    outbox: Outbox,
    limit: Option<Limit>,
    /// What it had shown when it began.
    known: Known,
}

impl Events {
    /// Nothing has come about yet in this run of the daemon.
    pub(super) fn new(run: &str) -> Self {
        Self {
            run: Arc::from(run),
            last: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            subscribers: BTreeMap::new(),
            by_session: BTreeMap::new(),
            unlimited: BTreeSet::new(),
            turned: BTreeMap::new(),
            reaches: BTreeMap::new(),
        }
    }

    /// Takes a subscriber in, and tells it what it has missed. One whose limit does not hold any more is sent away.
    pub(super) fn subscribe(
        &mut self,
        client: ClientId,
        outbox: Outbox,
        hearing: Hearing,
        since: Option<&str>,
        roster: &Roster,
        now: Now,
    ) {
        let Hearing { limit, known } = hearing;
        if limit.as_ref().is_some_and(|limit| !roster.holds_limit(limit)) {
            return outbox.disconnect();
        }
        let (from, missed): (Option<u64>, Arc<[Arc<Event>]>) = match since.map(|since| self.after(since)) {
            None => (Some(self.last), Arc::new([])),
            Some(Some((heard, after))) => {
                let hears =
                    |event: &&Arc<Event>| limit.as_ref().is_none_or(|limit| is_heard(event, &limit.session, roster));
                (Some(heard), self.kept.range(after..).filter(hears).cloned().collect())
            }
            Some(None) => (None, Arc::new([self.reset(roster, now)])),
        };
        let taken = outbox.send(Frame::Raw(self.greeting(from).into_bytes()));
        if !(taken && (missed.is_empty() || outbox.send(Frame::Events(missed)))) {
            return outbox.disconnect();
        }
        match &limit {
            Some(limit) => {
                self.turned.insert(limit.session.clone(), true);
                self.by_session.entry(limit.session.clone()).or_default().insert(client.clone());
            }
            None => {
                self.unlimited.insert(client.clone());
            }
        }
        self.subscribers.insert(client, Subscriber { outbox, limit, known });
    }

    /// The number of the event with this id, and where among the kept events its successors begin; none if that
    /// cannot be told.
    fn after(&self, id: &str) -> Option<(u64, usize)> {
        let (run, number) = id.rsplit_once('-')?;
        let number: u64 = number.parse().ok().filter(|number| *run == *self.run && *number <= self.last)?;
        let missed = usize::try_from(self.last - number).ok()?;
        Some((number, self.kept.len().checked_sub(missed)?))
    }

    /// The first bytes of a stream. A client that loses its connection comes back with the id in them, so they name
    /// the last event that it has heard, and none while it has yet to hear a reset.
    fn greeting(&self, heard: Option<u64>) -> String {
        let id = heard.map_or_else(String::new, |number| format!("id: {}-{number}\n", self.run));
        format!(": connected\nretry: {EVENTS_RETRY_MS}\n{id}\n")
    }

    /// The number of the last event.
    #[cfg(test)]
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    fn reset(&self, roster: &Roster, now: Now) -> Arc<Event> {
        let sessions = roster.rows(ItemType::Session).into_iter().filter_map(as_session);
        let sessions = sessions.map(|session| roster.sighting(session)).collect();
        self.event(self.last, now, News::Reset(sessions))
    }

    fn event(&self, number: u64, now: Now, news: News) -> Arc<Event> {
        Arc::new(Event { id: (self.run.clone(), number), at: now.wall_ms, news, text: OnceLock::new() })
    }

    pub(super) fn unsubscribe(&mut self, client: &ClientId) {
        let Some(gone) = self.subscribers.remove(client) else { return };
        self.unlimited.remove(client);
        if let Some(limit) = gone.limit
            && let Some(clients) = self.by_session.get_mut(&limit.session)
        {
            clients.remove(client);
            if clients.is_empty() {
                self.by_session.remove(&limit.session);
                self.turned.insert(limit.session, false);
            }
        }
    }

    /// The sessions for which a first subscriber came or the last one went since this was asked last.
    pub(super) fn take_turned(&mut self) -> BTreeMap<SessionId, bool> {
        std::mem::take(&mut self.turned)
    }

    /// Says good-bye to everybody.
    pub(super) fn close_all(&mut self) {
        for subscriber in self.subscribers.values() {
            if !subscriber.outbox.send(Frame::End) {
                subscriber.outbox.disconnect();
            }
        }
        self.subscribers.clear();
    }

    /// Tells of the changes of a batch that is on disk, each subscriber in one piece. Says what there was to tell.
    pub(super) fn publish(&mut self, changes: &[Change], roster: &Roster, now: Now) -> Vec<Arc<Event>> {
        let events = self.publish_news(all_news(changes, roster), roster, now);
        self.dismiss(changes);
        events
    }

    /// Tells of those among these sessions that hear sooner or later than was told: of somebody who came or went for them
    /// there is no row. To be called between batches, when all that the roster shows is on disk.
    pub(super) fn publish_reach(&mut self, sessions: BTreeSet<SessionId>, roster: &Roster, now: Now) {
        let rows = sessions.iter().filter_map(|id| roster.row(ItemType::Session, id.as_str()).and_then(as_session));
        let seen = rows.map(|session| roster.sighting(session));
        let moved = seen.filter(|seen| self.reaches.get(&seen.session.row.id) != Some(&seen.reach));
        let news = moved.map(News::Change).collect();
        self.publish_news(news, roster, now);
    }

    fn publish_news(&mut self, news: Vec<News>, roster: &Roster, now: Now) -> Vec<Arc<Event>> {
        let mut events: Vec<Arc<Event>> = Vec::new();
        for news in news {
            self.note_reach(&news);
            self.last += 1;
            let event = self.event(self.last, now, news);
            self.keep(event.clone());
            events.push(event);
        }
        if !events.is_empty() && !self.subscribers.is_empty() {
            self.tell(&events, roster);
        }
        events
    }

    fn note_reach(&mut self, news: &News) {
        match news {
            News::Join(seen) | News::Change(seen) => {
                self.reaches.insert(seen.session.row.id.clone(), seen.reach);
            }
            News::Leave(session, _) => {
                self.reaches.remove(&session.row.id);
            }
            _ => {}
        }
    }

    fn keep(&mut self, event: Arc<Event>) {
        self.kept_bytes += event.body_bytes();
        self.kept.push_back(event);
        while self.kept.len() > EVENTS_KEPT_MAX || self.kept_bytes > EVENTS_KEPT_BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.kept_bytes -= oldest.body_bytes();
        }
    }

    /// Ends the streams of those who are somebody else by now: their process has become a session's, or another one's.
    fn dismiss_changed(&mut self, roster: &Roster) {
        let is_changed = |subscriber: &Subscriber| match &subscriber.limit {
            Some(Limit { token: Some(_), .. }) => false,
            limit => roster.limit_of(&subscriber.known).ok() != Some(limit.as_ref().map(|limit| limit.session.clone())),
        };
        let changed = self.subscribers.iter().filter(|(_, subscriber)| is_changed(subscriber));
        let changed: Vec<ClientId> = changed.map(|(client, _)| client.clone()).collect();
        for client in changed {
            self.end(&client);
        }
    }

    /// Says good-bye to a subscriber, who may come again.
    fn end(&mut self, client: &ClientId) {
        if let Some(subscriber) = self.subscribers.get(client)
            && !subscriber.outbox.send(Frame::End)
        {
            subscriber.outbox.disconnect();
        }
        self.unsubscribe(client);
    }

    fn tell(&mut self, events: &[Arc<Event>], roster: &Roster) {
        self.dismiss_changed(roster);
        let all: Arc<[Arc<Event>]> = Arc::from(events);
        let mut unheard = Vec::new();
        let mut send = |client: &ClientId, subscribers: &BTreeMap<ClientId, Subscriber>, events| {
            if subscribers.get(client).is_some_and(|subscriber| !subscriber.outbox.send(Frame::Events(events))) {
                unheard.push(client.clone());
            }
        };
        for client in &self.unlimited {
            send(client, &self.subscribers, all.clone());
        }
        for session in self.concerned(events) {
            let heard: Arc<[Arc<Event>]> =
                events.iter().filter(|event| is_heard(event, session, roster)).cloned().collect();
            for client in self.by_session.get(session).into_iter().flatten().filter(|_| !heard.is_empty()) {
                send(client, &self.subscribers, heard.clone());
            }
        }
        for client in unheard {
            static CUT_OFF: Pace = Pace::new();
            CUT_OFF.warn(|| format!("cutting off subscriber {client}, which does not take its events"));
            self.cut(&client);
        }
    }

    /// The subscribing sessions that may hear one of these events: if they are all about direct messages, a few.
    fn concerned(&self, events: &[Arc<Event>]) -> Vec<&SessionId> {
        let mut concerned = BTreeSet::new();
        for event in events {
            let sessions = match &event.news {
                News::Message(message, _) => match &message.row.to {
                    Recipient::Session(recipient) => [Some(recipient), None],
                    Recipient::Room(_) => return self.by_session.keys().collect(),
                },
                News::Delivery(message, view) => [Some(&message.row.from_session_id), Some(&view.session)],
                _ => return self.by_session.keys().collect(),
            };
            let known = sessions.into_iter().flatten().filter_map(|session| self.by_session.get_key_value(session));
            concerned.extend(known.map(|(session, _)| session));
        }
        concerned.into_iter().collect()
    }

    fn cut(&mut self, client: &ClientId) {
        if let Some(subscriber) = self.subscribers.get(client) {
            subscriber.outbox.disconnect();
        }
        self.unsubscribe(client);
    }

    /// Whoever came by a token that is void now, or as a session that is gone, has heard all that it may.
    fn dismiss(&mut self, changes: &[Change]) {
        for change in changes {
            let ended = match (&change.before, &change.after) {
                (Some((Row::Registration(old), _)), None) => (&old.row.id, Some(old.row.token)),
                (Some((Row::Session(old), _)), None) => (&old.row.id, None),
                _ => continue,
            };
            let clients = self.by_session.get(ended.0).cloned().unwrap_or_default();
            for client in clients {
                let Some(subscriber) = self.subscribers.get(&client) else { continue };
                if subscriber.limit.as_ref().is_some_and(|limit| limit.token == ended.1) {
                    self.end(&client);
                }
            }
        }
    }
}

/// Whether a session may hear of an event. Of itself it hears only that it is not there any more.
fn is_heard(event: &Event, own: &SessionId, roster: &Roster) -> bool {
    match &event.news {
        News::Join(seen) | News::Change(seen) => seen.session.row.id != *own,
        News::Leave(..) | News::Reset(_) => true,
        News::Message(message, place) => roster.is_for(&message.row, *place, own),
        News::Delivery(message, view) => message.row.from_session_id == *own || view.session == *own,
    }
}

fn as_session(row: Row) -> Option<Arc<Stored<Session>>> {
    match row {
        Row::Session(stored) => Some(stored),
        _ => None,
    }
}

/// What a batch of changes has to tell.
fn all_news(changes: &[Change], roster: &Roster) -> Vec<News> {
    let mut news = Vec::new();
    // Sessions whose token was replaced, until they are registered under the new one: nothing is told in between.
    let mut away: BTreeSet<SessionId> = BTreeSet::new();
    for (at, change) in changes.iter().enumerate() {
        if let Some((message, view)) = roster.delivery_news(change, changes.get(at + 1)) {
            news.push(News::Delivery(message, Box::new(view)));
        }
        match (&change.before, &change.after) {
            (None, Some((Row::Message(message), place))) => news.push(News::Message(message.clone(), *place)),
            (None, Some((Row::Session(session), _))) => news.push(News::Join(roster.sighting(session.clone()))),
            (Some((Row::Session(before), _)), Some((Row::Session(after), _)))
                if !away.contains(&after.row.id) && is_visible(&before.row, &after.row) =>
            {
                news.push(News::Change(roster.sighting(after.clone())));
            }
            // One that is away was told of.
            (Some((Row::Session(before), _)), None) if !away.remove(&before.row.id) => {
                news.push(News::Leave(before.clone(), change.gone.unwrap_or(Gone::Outside)));
            }
            (Some((Row::Registration(old), _)), None) if change.gone == Some(Gone::Replaced) => {
                let ends = changes.get(at + 1).is_some_and(|next| is_end_of(next, &old.row.id));
                if let Some(session) = row_at(&changes[at..], &old.row.id, roster).filter(|_| !ends) {
                    away.insert(old.row.id.clone());
                    news.push(News::Leave(session, Gone::Replaced));
                }
            }
            (_, Some((Row::Registration(new), _))) if away.remove(&new.row.id) => {
                let session = row_at(&changes[at..], &new.row.id, roster);
                news.extend(session.map(|session| News::Join(roster.sighting(session))));
            }
            _ => {}
        }
    }
    news
}

fn is_end_of(change: &Change, session: &SessionId) -> bool {
    change.after.is_none() && change.item_type() == ItemType::Session && change.id() == session.as_str()
}

/// A session's row before these changes, the last of the batch.
fn row_at(changes: &[Change], session: &SessionId, roster: &Roster) -> Option<Arc<Stored<Session>>> {
    let is_it = |change: &&Change| change.item_type() == ItemType::Session && change.id() == session.as_str();
    match changes.iter().find(is_it) {
        Some(change) => change.before.clone().and_then(|(row, _)| as_session(row)),
        None => roster.row(ItemType::Session, session.as_str()).and_then(as_session),
    }
}

/// Whether there is more to a change than signs of life.
fn is_visible(before: &Session, after: &Session) -> bool {
    let Session { last_activity_at, last_tool, last_tool_at, .. } = before;
    let alive = Session {
        last_activity_at: *last_activity_at,
        last_tool: last_tool.clone(),
        last_tool_at: *last_tool_at,
        ..after.clone()
    };
    alive != *before
}

//! The connected WebSocket clients and their live queries. It turns the changes of a committed batch into one diff per
//! view, shared by all that watch it. It never waits: a client that does not take its frames is disconnected.

use super::command::View;
use super::events::{Event, News};
use super::outbox::{Frame, Outbox};
use crate::ids::{ClientId, MessageId};
use crate::limits::{WS_QUERIES_MAX, WS_TRACKED_MAX};
use crate::log_pace::Pace;
use crate::model::{ItemType, Row, Session};
use crate::roster::{Change, Known, Roster};
use crate::row_json::{delivery_news, row_text};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Hub {
    clients: BTreeMap<ClientId, Client>,
    /// Who watches what.
    watching: BTreeMap<View, BTreeSet<ClientId>>,
    /// Rows that have changed and of which those who watch have not heard; for sessions, whether the nickname has.
    changed: BTreeMap<(ItemType, String), bool>,
    /// Snapshots since the last change: a thousand shims that connect at once would otherwise each hold a list of all
    /// rows until it is written.
    snapshots: BTreeMap<View, Arc<[Arc<str>]>>,
    /// Messages of which a client is told how far they get.
    tracked: BTreeMap<MessageId, ClientId>,
    /// Clients that were disconnected for not taking their frames, and of whom the roster has not heard yet.
    dead: Vec<ClientId>,
}

#[derive(Debug)]
struct Client {
    outbox: Outbox,
    /// What it has shown at the door.
    known: Known,
    queries: Vec<Query>,
    /// The messages of its own of which it is told how far they get, the oldest first.
    tracks: VecDeque<MessageId>,
}

#[derive(Debug)]
struct Query {
    tx: Arc<str>,
    view: View,
    sequence: u64,
}

impl Hub {
    pub(super) fn connect(&mut self, client: ClientId, known: Known, outbox: Outbox) {
        self.clients.insert(client, Client { outbox, known, queries: Vec::new(), tracks: VecDeque::new() });
    }

    pub(super) fn disconnect(&mut self, client: &ClientId) {
        if let Some(gone) = self.clients.remove(client) {
            for message in gone.tracks {
                self.tracked.remove(&message);
            }
            for query in gone.queries {
                self.stop_watching(query.view, client);
            }
        }
    }

    fn stop_watching(&mut self, view: View, client: &ClientId) {
        if let Some(watchers) = self.watching.get_mut(&view) {
            watchers.remove(client);
            if watchers.is_empty() {
                self.watching.remove(&view);
            }
        }
    }

    /// Closes a client's socket; it will come back and say again what it has to say.
    pub(super) fn kick(&mut self, client: &ClientId) {
        if let Some(kicked) = self.clients.get(client) {
            kicked.outbox.disconnect();
            self.disconnect(client);
            self.dead.push(client.clone());
        }
    }

    pub(super) fn take_dead(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.dead)
    }

    /// Says good-bye to everybody.
    pub(super) fn close_all(&mut self) {
        for client in self.clients.values() {
            if !client.outbox.send(Frame::Close(1001)) {
                client.outbox.disconnect();
            }
        }
        self.clients.clear();
    }

    /// Sends a frame to a client. Says whether it is on its way.
    pub(super) fn send(&mut self, client: &ClientId, frame: Frame) -> bool {
        let Some(slot) = self.clients.get(client) else { return false };
        if slot.outbox.send(frame) {
            return true;
        }
        self.disconnect_slow(client);
        false
    }

    /// How many messages somebody is told of as they get further.
    #[cfg(test)]
    pub(super) fn tracked(&self) -> usize {
        self.tracked.len()
    }

    /// Tells a client from now on how far these messages get.
    pub(super) fn track(&mut self, client: &ClientId, messages: Vec<MessageId>) {
        let Some(slot) = self.clients.get_mut(client) else { return };
        for message in messages {
            self.tracked.insert(message.clone(), client.clone());
            slot.tracks.push_back(message);
            if slot.tracks.len() > WS_TRACKED_MAX {
                slot.tracks.pop_front().into_iter().for_each(|oldest| drop(self.tracked.remove(&oldest)));
            }
        }
    }

    /// Tells those who want to know how far their messages have got.
    pub(super) fn tell_senders(&mut self, events: &[Arc<Event>]) {
        if self.tracked.is_empty() {
            return;
        }
        for event in events {
            let News::Delivery(message, view) = &event.news else { continue };
            let Some(client) = self.tracked.get(&message.row.id).cloned() else { continue };
            let data = delivery_news(&message.row, view, event.at);
            let frame = serde_json::json!({ "event": "marshal:delivery", "data": data });
            self.send(&client, Frame::News(frame.to_string()));
        }
    }

    /// Begins a live query with a snapshot. The same name again begins it anew.
    pub(super) fn query(&mut self, client: &ClientId, tx: &str, view: View, roster: &Roster) {
        self.cancel(client, tx);
        let Some(slot) = self.clients.get_mut(client) else { return };
        if slot.queries.len() >= WS_QUERIES_MAX {
            let message = format!("more than {WS_QUERIES_MAX} queries on one connection");
            let error = serde_json::json!({"event": "ws:m:query-error", "data": {"tx": tx, "message": message}});
            self.send(client, Frame::Text(error.to_string()));
            return;
        }
        // A session that is known as one reads its own mail by commands, and nobody else's.
        let view = if is_mail(view) && is_limited(&slot.known, roster) { View::Nothing } else { view };
        let tx: Arc<str> = Arc::from(tx);
        slot.queries.push(Query { tx: tx.clone(), view, sequence: 0 });
        self.watching.entry(view).or_default().insert(client.clone());
        let item_type = source(view).map_or("", |(_, name)| name);
        let rows = self.snapshots.entry(view).or_insert_with(|| snapshot(view, roster)).clone();
        self.send(client, Frame::Snapshot { tx, item_type, rows });
    }

    pub(super) fn cancel(&mut self, client: &ClientId, tx: &str) {
        let Some(slot) = self.clients.get_mut(client) else { return };
        let Some(at) = slot.queries.iter().position(|query| &*query.tx == tx) else { return };
        let view = slot.queries.swap_remove(at).view;
        if !slot.queries.iter().any(|query| query.view == view) {
            self.stop_watching(view, client);
        }
    }

    /// Notes what a batch has changed, for those who watch.
    pub(super) fn note(&mut self, changes: &[Change]) {
        if !changes.is_empty() {
            self.snapshots.clear();
        }
        if !self.watching.is_empty() {
            for change in changes {
                let renamed = self.changed.entry((change.item_type(), change.id().to_owned())).or_default();
                *renamed |= is_renamed(change);
            }
        }
    }

    /// Whether there is something to tell.
    pub(super) fn has_news(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Tells all that watch what has become of the changed rows: one diff per view, whatever the number of changes.
    pub(super) fn publish(&mut self, roster: &Roster) {
        let changed = std::mem::take(&mut self.changed);
        let views: Vec<View> = self.watching.keys().copied().collect();
        for view in views {
            let Some((body, total)) = diff(view, &changed, roster) else { continue };
            let watchers: Vec<ClientId> = self.watching.get(&view).into_iter().flatten().cloned().collect();
            for client in watchers {
                let became_session = |slot: &Client| is_mail(view) && is_limited(&slot.known, roster);
                if self.clients.get(&client).is_some_and(became_session) {
                    self.kick(&client);
                    continue;
                }
                self.send_diff(&client, view, &body, total);
            }
        }
    }

    fn send_diff(&mut self, client: &ClientId, view: View, body: &Arc<str>, total: usize) {
        let Some(slot) = self.clients.get_mut(client) else { return };
        let mut taken = true;
        for query in slot.queries.iter_mut().filter(|query| query.view == view) {
            query.sequence += 1;
            let (tx, sequence) = (query.tx.clone(), query.sequence);
            taken &= slot.outbox.send(Frame::Diff { tx, sequence, total, body: body.clone() });
        }
        if !taken {
            self.disconnect_slow(client);
        }
    }

    fn disconnect_slow(&mut self, client: &ClientId) {
        static SLOW: Pace = Pace::new();
        SLOW.warn(|| format!("disconnecting client {client}, which does not take its frames"));
        self.kick(client);
    }
}

fn nickname_text(session: &Session) -> Arc<str> {
    let item = serde_json::json!({ "id": session.id.as_str(), "nickname": &*session.nickname });
    Arc::from(item.to_string())
}

fn view_text(view: View, row: &Row) -> Arc<str> {
    match (view, row) {
        (View::Nicknames, Row::Session(stored)) => nickname_text(&stored.row),
        _ => row_text(row),
    }
}

/// The row type behind a view, and how the view's items are spelled.
fn source(view: View) -> Option<(ItemType, &'static str)> {
    match view {
        View::Items(item_type) => Some((item_type, item_type.as_str())),
        View::Nicknames => Some((ItemType::Session, "SessionNickname")),
        View::Nothing => None,
    }
}

fn snapshot(view: View, roster: &Roster) -> Arc<[Arc<str>]> {
    let rows = source(view).map(|(item_type, _)| roster.rows(item_type)).unwrap_or_default();
    rows.iter().map(|row| view_text(view, row)).collect()
}

/// What has become of the changed rows that a view shows.
/// Whether rows of this kind tell of messages.
fn is_mail(view: View) -> bool {
    matches!(view, View::Items(ItemType::Message | ItemType::MessageRead))
}

/// Whether a client is limited to the mail of one session, or to none, by what it had shown when it connected.
fn is_limited(known: &Known, roster: &Roster) -> bool {
    !matches!(known, Known::Unproven | Known::Machine) && !matches!(roster.limit_of(known), Ok(None))
}

fn diff(view: View, changed: &BTreeMap<(ItemType, String), bool>, roster: &Roster) -> Option<(Arc<str>, usize)> {
    let (item_type, name) = source(view)?;
    // A nickname view does not care for the rest of the session.
    let shown = |renamed: bool| view != View::Nicknames || renamed;
    let rows: Vec<(&str, Option<Row>)> = changed
        .iter()
        .filter(|((changed, _), renamed)| *changed == item_type && shown(**renamed))
        .map(|((_, id), _)| (id.as_str(), roster.row(item_type, id)))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let (mut deletes, mut upserts) = (String::new(), String::new());
    for (id, row) in rows {
        match &row {
            Some(row) => {
                let comma = if upserts.is_empty() { "" } else { "," };
                let text = view_text(view, row);
                // Writing into a String cannot fail.
                let _ = write!(upserts, r#"{comma}{{"item":{text},"itemType":"{name}"}}"#);
            }
            None => {
                let comma = if deletes.is_empty() { "" } else { "," };
                let _ = write!(deletes, "{comma}{}", serde_json::Value::from(id));
            }
        }
    }
    let counts = roster.counts();
    let total = match item_type {
        ItemType::Session => counts.sessions,
        ItemType::Room => counts.rooms,
        ItemType::RoomMember => counts.members,
        ItemType::Message => counts.messages,
        ItemType::MessageRead => counts.reads,
        ItemType::Registration => counts.registrations,
        ItemType::Delivery => counts.deliveries,
        ItemType::Departed => counts.departed,
    };
    Some((Arc::from(format!(r#""deletes":[{deletes}],"upserts":[{upserts}]"#)), total))
}

fn is_renamed(change: &Change) -> bool {
    let nickname = |row: &Option<(Row, u64)>| match row {
        Some((Row::Session(stored), _)) => Some(stored.row.nickname.clone()),
        _ => None,
    };
    nickname(&change.before) != nickname(&change.after)
}

//! The roster: a pure state machine over sessions, rooms, messages and receipts. Given a request, a moment and a source
//! of ids it changes its rows and says what to answer and what to push. It opens no file or socket, reads no clock,
//! draws no random number and starts no thread, so that a test or a simulation can drive it with a seed.

mod address;
mod delivery;
mod departed;
mod evidence;
mod external;
mod groups;
mod history;
mod hook_event;
mod hooks;
mod id_bounds;
mod loops;
mod mailbox;
mod messages;
mod nickname;
mod notices;
mod outbox;
mod outside;
mod past;
mod place;
mod presence;
mod processes;
mod pushes;
mod rate;
mod reach;
mod registry;
mod renewals;
mod replacing;
mod request;
mod resolve;
mod rooms;
mod search;
mod seen;
mod sending;
mod sessions;
mod short_ids;
mod speaker;
mod sweep;
mod tables;
mod terms;
mod threads;
mod turn;
mod validate;
mod volatile;
mod waiters;

pub use delivery::{DeliveryView, Queued, Standing as DeliveryStanding};
pub use hook_event::*;
pub use outside::{At, ExternalEvent, disowned};
pub use past::*;
pub use reach::{Reach, Sighting};
pub use request::*;
pub use seen::{SeenTurn, SilentTurn};
pub use sending::{BroadcastSent, Covered, Expiry, Repeated, Replaced, Sending, Sent, SentTo, Wishes};
pub use tables::{Change, Gone};
pub use validate::is_operator;
pub use waiters::Roused;

use crate::error::RequestError;
use crate::ids::{IdSource, MessageId, RoomId, SessionId};
use crate::limits::PLACES_BETWEEN_BATCHES;
use crate::model::{ItemType, Message, Process, Recipient, Row};
use crate::time::{MonoMs, Now};
use loops::Loops;
use rate::Paces;
use speaker::Speaker;
use std::collections::BTreeSet;
use std::sync::Arc;
use tables::{Mark, Tables};
use turn::Pulse;
use volatile::Volatile;

/// The live roster.
#[derive(Debug)]
pub struct Roster {
    tables: Tables,
    /// How often each sender may send. What is taken here stays taken: it is about who asks, not about what becomes of it.
    paces: Paces,
    /// Who answers whom, lately. As the paces: what is noted stays noted.
    loops: Loops,
    /// Sessions whose row or mail the current batch has changed: what is said about them must wait for the disk.
    dirty: BTreeSet<SessionId>,
    /// Rows that came from outside and may lack what they hang on (their session, their message, their last member) or
    /// what hangs on them (a session's name and rooms): looked at, and put right, by the next sweeps.
    suspects: BTreeSet<(ItemType, Arc<str>)>,
    /// Questions whose answer came and was taken out of the log by somebody else: the next sweep writes that down, when
    /// nothing of what he wrote is still to be read. A line about a question that his next line deletes would bring it back.
    answered: BTreeSet<MessageId>,
    /// The moment of the last sweep, and the monotonic millisecond from which on the wall clock is believed when it says
    /// that a message is old.
    last_sweep: Option<Now>,
    believe_clock_from: MonoMs,
    /// The same for settling what becomes of messages.
    settle_from: MonoMs,
    /// Suspects that the current batch has dealt with: if it cannot be written, they are suspects again.
    checked: Vec<(ItemType, Arc<str>)>,
    /// Processes of which the current batch tells the end.
    ended: Vec<Process>,
    /// What is known of the turns that sessions are in.
    pulses: Volatile<SessionId, Pulse>,
    /// The last session whose transcript was worth a look.
    looked_at: Option<SessionId>,
    /// Sessions of which somebody came or went who makes them hear, so that their reach may be another one.
    reach_moved: BTreeSet<SessionId>,
}

/// On what an answer depends.
enum Wait {
    /// On nothing that is not on disk.
    No,
    /// On whatever the batch has changed.
    Batch,
    /// On what the batch has changed about one session.
    Session(SessionId),
}

/// What a handler comes to.
struct Answer {
    reply: Reply,
    wait: Wait,
    pushes: Vec<Push>,
}

impl Answer {
    fn new(reply: Reply, wait: Wait) -> Self {
        Self { reply, wait, pushes: Vec::new() }
    }
}

type Handled = Result<Answer, RequestError>;

/// Counts for health, metrics and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RosterCounts {
    /// Sessions on the roster.
    pub sessions: usize,
    /// Connected WebSocket clients.
    pub clients: usize,
    /// Rooms.
    pub rooms: usize,
    /// Memberships.
    pub members: usize,
    /// Stored messages.
    pub messages: usize,
    /// Read receipts.
    pub reads: usize,
    /// Sessions that are registered by token.
    pub registrations: usize,
    /// Deliveries that are neither read nor merely waiting.
    pub deliveries: usize,
    /// Sessions that somebody waits for who can wake them.
    pub waiters: usize,
    /// Sessions that ended and left mail, or for which some can still come.
    pub departed: usize,
}

impl Default for Roster {
    fn default() -> Self {
        Self::new()
    }
}

impl Roster {
    /// An empty roster.
    pub fn new() -> Self {
        Self {
            tables: Tables::new(),
            paces: Paces::default(),
            loops: Loops::default(),
            dirty: BTreeSet::new(),
            suspects: BTreeSet::new(),
            answered: BTreeSet::new(),
            checked: Vec::new(),
            ended: Vec::new(),
            pulses: Volatile::default(),
            looked_at: None,
            reach_moved: BTreeSet::new(),
            last_sweep: None,
            believe_clock_from: MonoMs::MIN,
            settle_from: MonoMs::MIN,
        }
    }

    /// As [`Roster::load_placed`], with the rows one behind the other.
    pub fn load(&mut self, rows: impl IntoIterator<Item = Row>, written_at: Option<i64>, now: Now) {
        let rows: Vec<(u64, Row)> = (self.tables.next_place()..).zip(rows).collect();
        self.load_placed(rows, written_at, now);
    }

    /// Takes over the rows that the log describes, with their places in the order of rows. Nothing follows from them: what
    /// did follow is in the log too. `written_at` is the moment of the log's last line, where that is known.
    pub fn load_placed(&mut self, mut rows: Vec<(u64, Row)>, written_at: Option<i64>, now: Now) {
        self.tables.now = self.clock_at_start(written_at, now);
        rows.retain(|(_, row)| validate::is_sound(row));
        // Gathered at once, and not one by one, since that builds the set in one go.
        let suspects = rows.iter().map(|(_, row)| row).filter(|row| sweep::can_be_suspect(row));
        let mut suspects: BTreeSet<_> = suspects.map(|row| (row.item_type(), row.shared_id())).collect();
        self.suspects.append(&mut suspects);
        self.tables.load(rows);
        self.tables.leave_places(PLACES_BETWEEN_BATCHES, 0);
        self.tables.pushes.begin_run(self.tables.next_place());
    }

    /// Bounds how many messages each sender may send in a second in the long run, and has loops of answers stopped; none is
    /// no bound, as in a new roster.
    pub fn limit_sends(&mut self, per_second: Option<u32>) {
        self.paces.limit(per_second);
        self.loops.guard(per_second.is_some());
    }

    /// Who a caller is, and one turn less for it to send or to join. Who it is, is found out first, so that nobody gets
    /// more turns by being called by more names.
    fn speaker_in_turn(&mut self, caller: &Caller) -> Result<Speaker, RequestError> {
        let speaker = self.speaker(caller)?;
        self.paces.take(&speaker.paced_by, self.tables.now.mono_ms)?;
        Ok(speaker)
    }

    /// The doors are open: from now on, sessions that lost their client are granted time to reconnect.
    pub fn doors_opened(&mut self, now: Now) {
        self.tables.presence.renew_graces(now);
    }

    /// Applies one request. An error leaves no trace. The changes wait in the journal until [`Roster::commit`] or
    /// [`Roster::roll_back`].
    pub fn apply(&mut self, request: Request, now: Now, ids: &mut dyn IdSource) -> Outcome {
        self.tables.now = now;
        let (mark, pulses) = (self.tables.mark(), self.pulses.mark());
        match self.handle(request, ids) {
            Ok(Answer { reply, wait, pushes }) => {
                let needs_commit = match wait {
                    Wait::No => false,
                    Wait::Batch => !self.tables.journal().is_empty(),
                    Wait::Session(session) => self.dirty.contains(&session),
                };
                Outcome { reply: Ok(reply), pushes, needs_commit }
            }
            Err(error) => {
                self.tables.persist = true;
                self.tables.undo_to(mark);
                self.pulses.undo_to(pulses);
                // What is not found may have been there until a request of the same batch removed it.
                Outcome { reply: Err(error), pushes: Vec::new(), needs_commit: mark.journal > 0 }
            }
        }
    }

    fn handle(&mut self, mut request: Request, ids: &mut dyn IdSource) -> Handled {
        id_bounds::check(&request)?;
        self.put_ids_for_names(&mut request)?;
        self.renew(&request);
        match request {
            Request::HookEvent(event) => self.hook_event(*event, ids),
            Request::InboxHanded { session, messages, path, lease, arrival } => {
                self.handed(&session, &messages, path, lease, arrival);
                Ok(Answer::new(Reply::Done, Wait::No))
            }
            Request::Wait { event, at_least } => self.wait(*event, at_least, ids),
            Request::WaiterGone(session) => Ok(self.waiter_gone(&session)),
            Request::TurnSeen { session, heard_at, seen } => Ok(self.turn_seen(&session, heard_at, seen)),
            Request::PublishSession { client, session } => self.publish_session(client, *session),
            Request::WithdrawSession { client, session } => self.withdraw_session(&client, &session),
            Request::UpdateSession { session, change } => self.update_session(&session, change),
            Request::ClientConnected(client) => self.client_connected(client),
            Request::ClientGone(client) => self.client_gone(&client),
            Request::ProcessGone(process) => Ok(self.process_gone(&process)),
            Request::Send(sending) => self.send(&sending, ids),
            Request::Outbox { caller, before, limit } => self.outbox(&caller, before.as_ref(), limit),
            Request::Requeue { caller, message } => self.requeue(&caller, &message, ids),
            Request::Broadcast { caller, room, body } => {
                self.send(&Sending::new(caller, format!("@{room}"), body), ids)
            }
            Request::JoinRoom { caller, name, description } => self.join_room(&caller, &name, description.as_deref()),
            Request::LeaveRoom { caller, room } => self.leave_room(&caller, &room),
            Request::ReadMessages { caller, filter } => self.read_messages(&caller, &filter),
            Request::AckMessages { caller, messages } => self.ack_messages(&caller, &messages),
            Request::ClaimMail { caller, from } => self.claim_mail(&caller, from.as_deref(), ids),
            Request::ListSessions => Ok(self.list_sessions()),
            Request::ListRooms => Ok(self.list_rooms()),
            Request::History(query) => self.history(&query),
            Request::Register(registering) => self.register(*registering),
            Request::Deregister(token) => self.deregister(&token),
            Request::Me(caller) => self.me(&caller),
            Request::Hear(caller) => self.hear(&caller),
            Request::Sweep { settled } => {
                self.paces.sweep(self.tables.now.mono_ms);
                self.loops.sweep(self.tables.now.mono_ms);
                Ok(self.sweep(settled, ids))
            }
            Request::External(events) => Ok(self.external(events)),
            Request::Guarded { caller, request } => self.guarded(&caller, *request, ids),
        }
    }

    /// The changes of the current batch, in order.
    pub fn journal(&self) -> &[Change] {
        self.tables.journal()
    }

    /// The batch is on disk: its changes stand.
    pub fn commit(&mut self) -> Vec<Change> {
        self.dirty.clear();
        self.checked.clear();
        self.pulses.commit();
        self.note_agents();
        self.tables.commit()
    }

    /// The batch could not be written: everything is as it was before it, also what is in memory alone. Facts stay, which
    /// no batch makes: who is connected, how often each has sent, and the moments of signs of life.
    pub fn roll_back(&mut self) {
        self.dirty.clear();
        self.ended.clear();
        self.suspects.extend(self.checked.drain(..));
        self.tables.undo_to(Mark::default());
        self.pulses.undo_to(0);
    }

    /// Writes down what sessions are at, as far as the log holds something older: at most so many rows. Says whether there
    /// were any.
    pub fn write_states(&mut self, now: Now, count: usize) -> bool {
        self.tables.now = now;
        let before = self.tables.journal().len();
        self.tables.write_rows(count);
        self.tables.journal().len() > before
    }

    /// All rows of one type, parents in order of id, messages and receipts in no promised order.
    pub fn rows(&self, item_type: ItemType) -> Vec<Row> {
        let tables = &self.tables;
        match item_type {
            ItemType::Session => tables.sessions.values().map(|p| Row::Session(p.stored.clone())).collect(),
            ItemType::Room => tables.rooms.values().map(|p| Row::Room(p.stored.clone())).collect(),
            ItemType::RoomMember => tables.members.values().map(|p| Row::RoomMember(p.stored.clone())).collect(),
            ItemType::Message => tables.messages.values().map(|p| Row::Message(p.stored.clone())).collect(),
            ItemType::MessageRead => tables.reads.values().map(|p| Row::MessageRead(p.stored.clone())).collect(),
            ItemType::Registration => {
                tables.registrations.values().map(|p| Row::Registration(p.stored.clone())).collect()
            }
            ItemType::Delivery => tables.deliveries.values().map(|p| Row::Delivery(p.stored.clone())).collect(),
            ItemType::Departed => tables.departed.values().map(|p| Row::Departed(p.stored.clone())).collect(),
        }
    }

    /// All rows with their places, in the order of their first appearance: what a log must hold to describe this
    /// roster.
    pub fn rows_in_order(&self) -> Vec<Row> {
        let tables = &self.tables;
        let mut rows: Vec<(u64, Row)> = Vec::new();
        rows.extend(tables.sessions.values().map(|p| (p.place, Row::Session(p.stored.clone()))));
        rows.extend(tables.rooms.values().map(|p| (p.place, Row::Room(p.stored.clone()))));
        rows.extend(tables.members.values().map(|p| (p.place, Row::RoomMember(p.stored.clone()))));
        rows.extend(tables.messages.values().map(|p| (p.place, Row::Message(p.stored.clone()))));
        rows.extend(tables.reads.values().map(|p| (p.place, Row::MessageRead(p.stored.clone()))));
        rows.extend(tables.registrations.values().map(|p| (p.place, Row::Registration(p.stored.clone()))));
        rows.extend(tables.deliveries.values().map(|p| (p.place, Row::Delivery(p.stored.clone()))));
        rows.extend(tables.departed.values().map(|p| (p.place, Row::Departed(p.stored.clone()))));
        rows.sort_by_key(|(place, _)| *place);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// The row with this id, and its place in the order of rows.
    pub fn placed(&self, item_type: ItemType, id: &str) -> Option<(Row, u64)> {
        self.tables.placed(item_type, id)
    }

    /// The rows behind this one, type by type and by their ids: at most so many.
    pub fn keys_after(&self, from: Option<&(ItemType, String)>, count: usize) -> Vec<(ItemType, String)> {
        self.tables.keys_after(from, count)
    }

    /// Leaves so many places free behind all that are in use, and all up to this one, for rows that others have written:
    /// what is added from now on is newer than they are. To be called between batches.
    pub fn leave_places(&mut self, count: u64, last: u64) {
        self.tables.leave_places(count, last);
    }

    /// The row with this id.
    pub fn row(&self, item_type: ItemType, id: &str) -> Option<Row> {
        self.tables.row(item_type, id)
    }

    /// Whether what limits a hearer still holds: its session is there, and its token means it.
    pub fn holds_limit(&self, limit: &Limit) -> bool {
        match &limit.token {
            Some(token) => self.session_of_token(token).is_ok_and(|session| session == limit.session),
            None => self.tables.sessions.contains_key(&limit.session),
        }
    }

    /// Whether a message, which has this place in the log's order, is for a session; one that it sent itself is not.
    pub fn is_for(&self, message: &Message, place: u64, session: &SessionId) -> bool {
        let is_member = |room: &RoomId| {
            let member = self.tables.members_of.get(room).and_then(|members| members.get(session));
            member.and_then(|id| self.tables.members.get(id)).is_some_and(|member| member.place < place)
        };
        message.from_session_id != *session
            && match &message.to {
                Recipient::Session(recipient) => recipient == session,
                Recipient::Room(room) => is_member(room),
            }
    }

    /// How many rows of each type there are.
    pub fn counts(&self) -> RosterCounts {
        RosterCounts {
            sessions: self.tables.sessions.len(),
            clients: self.tables.presence.connected_clients(),
            rooms: self.tables.rooms.len(),
            members: self.tables.members.len(),
            messages: self.tables.mail.len(),
            reads: self.tables.reads.len(),
            registrations: self.tables.registrations.len(),
            deliveries: self.tables.deliveries.len(),
            waiters: self.tables.waiters.len(),
            departed: self.tables.departed.len(),
        }
    }
}

#[cfg(test)]
mod tests;

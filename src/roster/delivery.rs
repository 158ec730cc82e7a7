//! What becomes of a message for each of its recipients: it waits, it is handed over, it is read, or it is settled that it
//! will not be. It must not claim more than was seen: that an answer arrived whole means that it was handed over, and only
//! what the session does after that can show that it was read.

use super::evidence::{TurnFacts, Verdict, verdict};
use super::notices::NoticeWeight;
use super::tables::newest_first;
use super::turn::InTurn;
use super::{Arrival, Change, EventKind, MessageState, Roster};
use crate::ids::{IdSource, MessageId, ReadId, RoomId, SessionId};
use crate::limits::{HANDED_LEASE_MS, HANDINGS_MAX, KEPT_MESSAGES_MAX, SWEEP_ROWS_MAX};
use crate::model::{
    Delivery, Evidence, ItemType, Message, MessageRead, Path, Priority, Reason, Recipient, Row, State, Step, Stored,
};
use crate::text::quoted;
use crate::time::MonoMs;
use std::sync::Arc;

/// Where a message is, for one of its recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryView {
    /// The recipient.
    pub session: SessionId,
    /// Its name, now or when the message was sent.
    pub name: Arc<str>,
    /// The name of the session that took the message over, if one did.
    pub heir: Option<Arc<str>>,
    /// How far the message has got.
    pub standing: Standing,
    /// How often it was handed over.
    pub times: u32,
}

/// How far a message has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits.
    Queued(Queued),
    /// The recipient has taken it, as far as can be told from outside.
    Handed(Path, i64),
    /// It was read; when, and by what that is known.
    Read(i64, Option<Evidence>, Option<Path>),
    /// It is settled that it will not be read, or not by this one; since when.
    Settled(Step, i64),
}

impl Standing {
    /// In one word.
    pub fn state(&self) -> MessageState {
        match self {
            Self::Queued(_) | Self::Settled(Step::Kept, _) => MessageState::Queued,
            Self::Handed(..) | Self::Settled(Step::Handed(_), _) => MessageState::Handed,
            Self::Read(..) | Self::Settled(Step::Read(..), _) => MessageState::Read,
            Self::Settled(Step::Expired, _) => MessageState::Expired,
            Self::Settled(Step::Superseded(_), _) => MessageState::Superseded,
            Self::Settled(Step::Undeliverable(_), _) => MessageState::Undeliverable,
            Self::Settled(Step::Claimed(_), _) => MessageState::Claimed,
        }
    }

    /// The spelling on the wire.
    pub fn as_str(&self) -> &'static str {
        self.state().as_str()
    }
}

/// For what a message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It is in an answer on its way, or being pushed.
    OnItsWay,
    /// For the recipient's next prompt: it is between two turns.
    BetweenTurns,
    /// For the end of the recipient's turn: it is working, and the message is not urgent.
    Working,
    /// For the end of the tool that the recipient is using.
    BetweenTools,
    /// Nothing is known by which the recipient would hear of it, but that it looks into its inbox.
    NoLivePath,
    /// For the recipient to come back: its session ended.
    Ended,
    /// For the recipient's human, without whom it does not go on.
    NeedsHuman,
    /// For the recipient's next prompt, though its turn goes on: that has been prolonged by mail often enough.
    Held,
}

impl Queued {
    /// The spelling on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnItsWay => "on_its_way",
            Self::BetweenTurns => "between_turns",
            Self::Working => "working",
            Self::BetweenTools => "between_tools",
            Self::NoLivePath => "no_live_path",
            Self::Ended => "ended",
            Self::NeedsHuman => "needs_human",
            Self::Held => "held",
        }
    }
}

/// Whether a message was there, and nothing was noted on it of its being read.
fn was_unread(change: &Change) -> bool {
    matches!(&change.before, Some((Row::Message(before), _)) if before.row.read_at.is_none())
}

/// Whether a receipt goes, what it said being noted on the message.
fn is_lost_receipt(change: &Change, receipt: &str) -> bool {
    change.after.is_none() && change.item_type() == ItemType::MessageRead && change.id() == receipt
}

/// How urgent a message must be to be handed over by this way.
pub(super) fn urgency(path: Path) -> Priority {
    match path {
        Path::Start | Path::Prompt | Path::Inbox | Path::Push => Priority::Low,
        Path::Stop => Priority::Next,
        Path::Tools | Path::Wait => Priority::Now,
    }
}

impl Roster {
    /// Notes which deliveries an event of a session proves, and delivers those again that it shows to be lost.
    pub(super) fn note_evidence(&mut self, session: &SessionId, kind: &EventKind, turn: TurnFacts) {
        if let EventKind::Prompt { quoted } = kind {
            for message in quoted {
                // Any caller can quote an id. It proves the arrival of a text only if that text was on its way there.
                if self.was_taken(session, message) {
                    self.mark_read(session, message, Evidence::Quoted);
                }
            }
        }
        if matches!(kind, EventKind::Start { same_context: false }) {
            return self.begin_anew(session);
        }
        // The news of their arrival can come after this event; it must not make them deliveries of the new turn.
        for (place, message, path) in self.tables.mail.on_their_way(session) {
            if verdict(kind, path, turn) == Verdict::Lost {
                self.count_attempt(session, &message, place);
                self.dirty.insert(session.clone());
            }
        }
        if self.tables.mail.handed_count(session) == 0 {
            return;
        }
        for (message, path, is_of_this_run) in self.tables.mail.handed_to(session) {
            // A prompt may have come, and been erased, while the daemon was down.
            if !is_of_this_run && !turn.is_legacy {
                continue;
            }
            match verdict(kind, path, turn) {
                Verdict::Read => drop(self.mark_read(session, &message, Evidence::WentOn)),
                Verdict::Lost => self.deliver_again(session, &message),
                Verdict::Open if matches!(kind, EventKind::Prompt { .. }) && path == Path::Start => {
                    self.await_proof(session, &message, Path::Prompt);
                }
                Verdict::Holds => self.await_proof(session, &message, path),
                Verdict::Open => {}
            }
        }
    }

    /// Makes a delivered message wait again. Its row says so too, or the next event after a restart would prove it.
    fn deliver_again(&mut self, session: &SessionId, message: &MessageId) {
        let attempts = self.tables.delivery(message, session).map_or(0, |delivery| delivery.times);
        self.set_step(session, message, Step::Kept, attempts);
        self.dirty.insert(session.clone());
        self.tables.waiters.rouse(session);
    }

    /// Awaits anew a proof of a delivery, as one by this way. The answer to a start of marshal 0.9's hooks goes to the model
    /// with the first prompt, however long that takes.
    fn await_proof(&mut self, session: &SessionId, message: &MessageId, path: Path) {
        let Some(place) = self.tables.messages.get(message).map(|placed| placed.place) else { return };
        let times = self.tables.delivery(message, session).map_or(0, |delivery| delivery.times);
        let until = self.tables.now.mono_ms + HANDED_LEASE_MS;
        self.tables.mail.note_handed(place, session, Some((path, until)), times);
    }

    /// Whether a session was handed a message, or is being handed it now.
    fn was_taken(&self, session: &SessionId, message: &MessageId) -> bool {
        let Some(place) = self.tables.messages.get(message).map(|placed| placed.place) else { return false };
        let mail = &self.tables.mail;
        mail.handed_by(place, session).is_some()
            || mail.is_on_its_way(place, session, self.tables.now.mono_ms)
            || self.tables.delivery(message, session).is_some_and(|delivery| delivery.times > 0)
    }

    /// A session goes on without what was before its model: what it was handed, or is on its way to it, is free again. The
    /// rows say so too, or after a restart its next step would count as a sign that it has read that.
    pub(super) fn begin_anew(&mut self, session: &SessionId) {
        for message in self.tables.mail.taken_by(session) {
            if let Some(Delivery { step: Step::Handed(_), times, .. }) = self.tables.delivery(&message, session) {
                let times = *times;
                self.set_step(session, &message, Step::Kept, times);
                self.dirty.insert(session.clone());
            }
        }
        self.tables.mail.begin_anew(session);
    }

    /// What was to be handed to a session has left: it is handed over if it arrived whole, else it is free again.
    /// That of an answer from before the session began anew counts for nothing.
    pub(super) fn handed(
        &mut self,
        session: &SessionId,
        messages: &[MessageId],
        path: Path,
        lease: u64,
        arrival: Arrival,
    ) {
        for message in messages {
            let Some(place) = self.tables.messages.get(message).map(|placed| placed.place) else { continue };
            if path == Path::Push {
                // A client that says that it puts pushes before the model is believed.
                if arrival == Arrival::Whole {
                    self.mark_read(session, message, Evidence::Client);
                }
            } else if self.tables.mail.is_in(place, session, lease) {
                match arrival {
                    Arrival::Whole => self.hand(session, message, path),
                    Arrival::Unsure => self.count_attempt(session, message, place),
                    Arrival::NotGiven => self.release(session, message, place),
                }
            }
        }
    }

    /// A message that was to be handed to a session is free again; if it was handed to it before, that stands.
    fn release(&mut self, session: &SessionId, message: &MessageId, place: u64) {
        self.tables.mail.release(session, place);
        if let Some(Delivery { step: Step::Handed(path), times, .. }) = self.tables.delivery(message, session) {
            let (path, times) = (*path, *times);
            self.tables.mail.note_handed(place, session, Some((path, MonoMs::MIN)), times);
        }
        self.tables.waiters.rouse(session);
    }

    /// An answer with a message may have been seen, or not: the message goes into the next one, marked as repeated. If it was
    /// delivered before, that stands.
    fn count_attempt(&mut self, session: &SessionId, message: &MessageId, place: u64) {
        let (step, attempts) = match self.tables.delivery(message, session) {
            Some(Delivery { step: step @ Step::Handed(_), times, .. }) => (step.clone(), *times),
            delivery => (Step::Kept, delivery.map_or(0, |delivery| delivery.times)),
        };
        self.set_step(session, message, step, attempts + 1);
        self.release(session, message, place);
    }

    fn hand(&mut self, session: &SessionId, message: &MessageId, path: Path) {
        let times = self.tables.delivery(message, session).map_or(0, |delivery| delivery.times) + 1;
        self.set_step(session, message, Step::Handed(path), times);
        let place = self.tables.messages.get(message).map(|placed| placed.place);
        place.into_iter().for_each(|place| self.tables.mail.note_of_this_run(place, session));
    }

    pub(super) fn set_step(&mut self, session: &SessionId, message: &MessageId, step: Step, times: u32) {
        let (id, at) = (ReadId::of(message, session), self.tables.now.wall_ms);
        let (message_id, session_id) = (message.clone(), session.clone());
        self.tables.set(Row::from(Delivery { id, message_id, session_id, step, at, times }));
    }

    /// Notes that `session` has read `message`. Says whether it had not before; none if the message is not for it.
    pub(super) fn mark_read(&mut self, session: &SessionId, message: &MessageId, evidence: Evidence) -> Option<bool> {
        let placed = self.tables.messages.get(message)?;
        let is_direct = placed.stored.row.to == Recipient::Session(session.clone());
        if !self.tables.mail.is_unread(placed.place, session) {
            let is_read = |delivery: &Delivery| matches!(delivery.step, Step::Read(..));
            let read = self.tables.reads.contains_key(&ReadId::of(message, session))
                || self.tables.delivery(message, session).is_some_and(is_read);
            return (read || (is_direct && placed.stored.row.read_at.is_some())).then_some(false);
        }
        let read_at = self.tables.now.wall_ms;
        let id = ReadId::of(message, session);
        let path = match self.tables.delivery(message, session).map(|delivery| &delivery.step) {
            Some(Step::Handed(path)) => Some(*path),
            _ => (evidence == Evidence::Client).then_some(Path::Push),
        };
        // The reader may have ended after its answer was on its way: no receipt may outlive it, the fact must.
        if self.tables.sessions.contains_key(session) || session.is_human() {
            let (message_id, session_id, evidence) = (message.clone(), session.clone(), Some(evidence));
            self.tables.set(MessageRead { id: id.clone(), message_id, session_id, read_at, evidence, path });
            self.tables.delete(ItemType::Delivery, id.as_str());
        } else if is_direct {
            let mut row = placed.stored.row.clone();
            row.read_at = Some(read_at);
            self.tables.set(row);
            self.tables.delete(ItemType::Delivery, id.as_str());
        } else {
            self.set_step(session, message, Step::Read(Some(evidence), path), 0);
        }
        self.forget_departed(session);
        Some(true)
    }

    /// Settles that a recipient will not read a message, if it has not.
    pub(super) fn settle(&mut self, session: &SessionId, message: &MessageId, step: Step) {
        let Some(placed) = self.tables.messages.get(message) else { return };
        if self.tables.mail.is_unread(placed.place, session) {
            let times = self.tables.delivery(message, session).map_or(0, |delivery| delivery.times);
            self.set_step(session, message, step, times);
            self.forget_departed(session);
            self.dirty.insert(session.clone());
        }
    }

    /// Settles that another message comes in the place of one that its recipient has not read, also of one of which it was
    /// settled that it will not be.
    pub(super) fn replace(&mut self, message: &MessageId, recipient: &SessionId, by: &MessageId) {
        let times = self.tables.delivery(message, recipient).map_or(0, |delivery| delivery.times);
        self.set_step(recipient, message, Step::Superseded(by.clone()), times);
        self.dirty.insert(recipient.clone());
    }

    /// Those who have not read a message.
    pub(super) fn awaiting(&self, message: &MessageId) -> Vec<SessionId> {
        let Some(placed) = self.tables.messages.get(message) else { return Vec::new() };
        if self.tables.mail.waiting_for(placed.place) == 0 {
            return Vec::new();
        }
        let mut readers = self.tables.delivered_to(message);
        match &placed.stored.row.to {
            Recipient::Session(session) => readers.push(session.clone()),
            Recipient::Room(room) => {
                readers
                    .extend(self.tables.members_of.get(room).into_iter().flat_map(|members| members.keys()).cloned());
            }
        }
        readers.retain(|session| self.tables.mail.is_unread(placed.place, session));
        readers.sort_unstable();
        readers.dedup();
        readers
    }

    /// Settles a message that a session was handed too often without a sign that it was read, and tells its sender.
    pub(super) fn give_up(&mut self, session: &SessionId, message: &MessageId, ids: &mut dyn IdSource) {
        let step = Step::Undeliverable(Reason::NeverProved);
        self.settle(session, message, step.clone());
        self.tell_sender(message, session, &step, ids);
    }

    /// Keeps the newest of what a session has not read of its rooms' messages: they are its own when it has left the rooms.
    /// Without a room, of all.
    pub(super) fn keep_room_mail(&mut self, session: &SessionId, room: Option<&RoomId>) {
        for message in self.newest_of_rooms(session, room) {
            if self.tables.delivery(&message, session).is_none() && self.is_worth_keeping(&message) {
                self.set_step(session, &message, Step::Kept, 0);
            }
        }
    }

    /// Settles what a session has not read of a room that it leaves by its own wish, since it does not want that; as much as
    /// would be kept for it otherwise. What it was handed, or pushed, or is on its way to it, it may still read.
    pub(super) fn decline_room_mail(&mut self, session: &SessionId, room: &RoomId) {
        for message in self.newest_of_rooms(session, Some(room)) {
            let Some(place) = self.tables.messages.get(&message).map(|placed| placed.place) else { continue };
            let is_known = self.tables.delivery(&message, session).is_some();
            let is_taken = self.tables.mail.is_leased(place, session, self.tables.now.mono_ms)
                || self.tables.mail.handed_by(place, session).is_some()
                || (self.has_live_path(session) && !self.tables.pushes.is_held(session, place));
            match (is_taken, is_known) {
                (true, true) => {}
                (true, false) => self.set_step(session, &message, Step::Kept, 0),
                (false, _) => self.settle(session, &message, Step::Undeliverable(Reason::LeftRoom)),
            }
        }
    }

    /// The newest that a session has not read of a room's messages, or of all rooms'.
    fn newest_of_rooms(&self, session: &SessionId, room: Option<&RoomId>) -> Vec<MessageId> {
        let to_room =
            |(_, id): &(u64, MessageId)| match self.tables.messages.get(id).map(|placed| &placed.stored.row.to) {
                Some(Recipient::Room(to)) => room.is_none_or(|room| room == to),
                _ => false,
            };
        let unread = self.tables.mail.unread_of(session).into_iter().rev().filter(to_room);
        unread.take(KEPT_MESSAGES_MAX).map(|(_, id)| id).collect()
    }

    /// Settles messages whose time is over. Who is gone did not get them; who is there need not read them any more.
    pub(super) fn expire(&mut self, ids: &mut dyn IdSource, is_full: impl Fn(&Self) -> bool) {
        for message in self.tables.mail.expired(self.tables.now.wall_ms, SWEEP_ROWS_MAX) {
            if is_full(self) {
                break;
            }
            let Some(place) = self.tables.messages.get(&message).map(|placed| placed.place) else { continue };
            for session in self.awaiting(&message) {
                // It may be reading it just now, which a later sweep will know.
                if self.tables.mail.is_leased(place, &session, self.tables.now.mono_ms) {
                    continue;
                }
                let is_there = self.tables.sessions.contains_key(&session) || session.is_human();
                let step = if is_there { Step::Expired } else { Step::Undeliverable(Reason::SessionEnded) };
                self.settle(&session, &message, step.clone());
                self.tell_sender(&message, &session, &step, ids);
            }
        }
    }

    /// Writes to the sender of a direct message that it did not get there. Nobody is written to about what marshal wrote,
    /// and nobody who is not there, or about a room's message.
    pub(super) fn tell_sender(
        &mut self,
        message: &MessageId,
        recipient: &SessionId,
        step: &Step,
        ids: &mut dyn IdSource,
    ) {
        let Some(row) = self.tables.messages.get(message).map(|placed| placed.stored.row.clone()) else { return };
        if matches!(row.to, Recipient::Room(_)) {
            return;
        }
        let (name, message) = (quoted(&row.to_nick), self.called(&row));
        let text = match step {
            Step::Expired => format!("{name} is not known to have read your message {message} before it expired"),
            Step::Undeliverable(Reason::SessionEnded) => {
                let heir = match &row.to {
                    Recipient::Session(to) if to != recipient => {
                        format!(" {}, to whom it went on,", quoted(&self.name_of(recipient)))
                    }
                    _ => String::new(),
                };
                format!("your message {message} did not get to {name}: the session{heir} ended and did not come back")
            }
            Step::Undeliverable(Reason::NeverProved) => {
                format!(
                    "your message {message} was handed to {name} {HANDINGS_MAX} times without a sign that it was read"
                )
            }
            Step::Claimed(by) if row.to == Recipient::Session(by.clone()) => {
                format!("{name} is back and has your message {message} again")
            }
            Step::Claimed(by) => {
                let by = quoted(&self.name_of(by));
                format!("your message {message} to {name}, which ended before reading it, was taken over by {by}")
            }
            // A room's message is told of to nobody.
            Step::Undeliverable(Reason::LeftRoom) => return,
            Step::Kept | Step::Handed(_) | Step::Read(..) | Step::Superseded(_) => return,
        };
        let is_open = matches!(step, Step::Claimed(_));
        self.notice(&row, if is_open { NoticeWeight::Interim } else { NoticeWeight::Final }, &text, ids);
    }

    /// Where a message is, for each of its recipients: those of whom rows tell, and for a room's message those who were in
    /// the room.
    pub(super) fn deliveries(&self, message: &Message, place: u64) -> Vec<DeliveryView> {
        let tables = &self.tables;
        let mut recipients = tables.delivered_to(&message.id);
        recipients.extend(
            tables
                .receipts(&message.id)
                .filter_map(|id| tables.reads.get(id).map(|placed| placed.stored.row.session_id.clone())),
        );
        match &message.to {
            Recipient::Session(session) => recipients.push(session.clone()),
            Recipient::Room(room) => {
                let members = tables.members_of.get(room).into_iter().flatten();
                let before =
                    members.filter(|(_, id)| tables.members.get(*id).is_some_and(|member| member.place < place));
                recipients
                    .extend(before.map(|(session, _)| session.clone()).filter(|id| *id != message.from_session_id));
            }
        }
        recipients.sort_unstable();
        recipients.dedup();
        recipients.into_iter().map(|session| self.delivery_to(message, place, session)).collect()
    }

    /// Where a message is for one recipient.
    pub(super) fn delivery_to(&self, message: &Message, place: u64, session: SessionId) -> DeliveryView {
        let tables = &self.tables;
        let is_direct = matches!(&message.to, Recipient::Session(to) if *to == session);
        let name = self.name_for(message, &session);
        let id = ReadId::of(&message.id, &session);
        let delivery = newest_first(&tables.deliveries, &id).map(|placed| &placed.stored.row);
        let times = delivery.map_or(0, |delivery| delivery.times);
        let read = newest_first(&tables.reads, &id).map(|placed| &placed.stored.row);
        let standing = match (read, delivery) {
            (Some(read), _) => Standing::Read(read.read_at, read.evidence, read.path),
            (None, Some(Delivery { step: Step::Read(evidence, path), at, .. })) => {
                Standing::Read(*at, *evidence, *path)
            }
            (None, Some(Delivery { step, at, .. })) if step.is_final() => Standing::Settled(step.clone(), *at),
            (None, _) if is_direct && message.read_at.is_some() => {
                Standing::Read(message.read_at.unwrap_or_default(), None, None)
            }
            (None, Some(Delivery { step: Step::Handed(path), at, .. }))
                if tables.mail.handed_by(place, &session).is_some() =>
            {
                Standing::Handed(*path, *at)
            }
            _ => Standing::Queued(self.queued(message.priority(), place, &session)),
        };
        let heir = self.heir_of(&standing);
        DeliveryView { session, name, heir, standing, times }
    }

    /// What a change, before this `next` one, tells of a message's way to one recipient: the message, and where it was after
    /// the change. That a message waits is no news, nor is what becomes of a receipt once its reader has gone.
    pub fn delivery_news(
        &self,
        change: &Change,
        next: Option<&Change>,
    ) -> Option<(Arc<Stored<Message>>, DeliveryView)> {
        let (message, session, standing, times) = match &change.after.as_ref()?.0 {
            Row::Delivery(stored) => {
                let Delivery { message_id, session_id, step, at, times, .. } = &stored.row;
                let standing = match step {
                    Step::Read(evidence, path) if !next.is_some_and(|next| is_lost_receipt(next, change.id())) => {
                        Standing::Read(*at, *evidence, *path)
                    }
                    Step::Kept | Step::Read(..) => return None,
                    Step::Handed(path) => Standing::Handed(*path, *at),
                    settled => Standing::Settled(settled.clone(), *at),
                };
                (message_id, session_id, standing, *times)
            }
            Row::MessageRead(stored) => {
                let MessageRead { message_id, session_id, read_at, evidence, path, .. } = &stored.row;
                (message_id, session_id, Standing::Read(*read_at, *evidence, *path), 0)
            }
            Row::Message(stored) => {
                let read_at = stored.row.read_at.filter(|_| was_unread(change))?;
                let Recipient::Session(session) = &stored.row.to else { return None };
                let receipt = ReadId::of(&stored.row.id, session);
                if next.is_some_and(|next| is_lost_receipt(next, receipt.as_str())) {
                    return None;
                }
                (&stored.row.id, session, Standing::Read(read_at, None, None), 0)
            }
            _ => return None,
        };
        let stored = self.tables.messages.get(message)?.stored.clone();
        let name = self.name_for(&stored.row, session);
        let heir = self.heir_of(&standing);
        Some((stored, DeliveryView { session: session.clone(), name, heir, standing, times }))
    }

    /// For what a message waits that waits for this recipient.
    fn queued(&self, priority: Priority, place: u64, session: &SessionId) -> Queued {
        if self.tables.mail.is_on_its_way(place, session, self.tables.now.mono_ms) {
            return Queued::OnItsWay;
        }
        if self.would_wake(session, priority, place) {
            return Queued::OnItsWay;
        }
        if self.has_live_path(session) {
            let waits = priority < Priority::Now && self.in_turn(session) != InTurn::No;
            return if waits { Queued::Working } else { Queued::OnItsWay };
        }
        let Some(placed) = self.tables.sessions.get(session) else {
            return if session.is_human() { Queued::NoLivePath } else { Queued::Ended };
        };
        let doing = &placed.stored.row.doing;
        let hears = |path| doing.paths.has(path);
        let is_working = self.in_turn(session) != InTurn::No;
        match doing.state {
            _ if is_working && priority == Priority::Now && hears(Path::Tools) => Queued::BetweenTools,
            _ if is_working && hears(Path::Stop) && priority >= Priority::Next => {
                let is_held = self.pulses.get(session).is_some_and(|pulse| pulse.may_not_stop());
                if is_held { Queued::Held } else { Queued::Working }
            }
            _ if is_working && hears(Path::Prompt) && priority >= Priority::Next => Queued::Working,
            Some(State::Waiting) => Queued::NeedsHuman,
            _ if hears(Path::Prompt) || placed.stored.row.hooks => Queued::BetweenTurns,
            _ => Queued::NoLivePath,
        }
    }
}

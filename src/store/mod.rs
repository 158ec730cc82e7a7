//! The store: the one thread that owns the roster and the log. It takes what waits in its queue as one batch, applies
//! it in order, writes all lines with one write, syncs once, and only then lets answers and pushes out. It must never
//! wait for a client, an unbounded read, a name lookup or a child process.

mod command;
mod compaction;
mod events;
mod hub;
mod log_upkeep;
mod outbox;
mod processes;
mod refusal;
mod replies;
mod stats;
mod tail;
mod waiters;

pub use command::{
    Command, CompactDone, CompactJob, CompactStep, CompactTo, Compacted, LogRead, ReadAsk, ReadBegin, ReadDone,
    ReadJob, ReplyTo, Report, ReportTo, UntilApplied, View,
};
pub use events::{Event, News};
pub use outbox::{Frame, FrameQueue, Outbox};
pub use processes::{ProcessWatch, ProcessWish};
pub use stats::{COMMIT_BUCKETS_US, Stats};
pub use waiters::Waiter;

use crate::error::{ErrorKind, Fatal, RequestError, exit_code};
use crate::event_log::disk::Disk;
use crate::event_log::file::{AppendError, Log};
use crate::event_log::line::{Places, encode_change};
use crate::ids::{ClientId, IdSource, MessageId};
use crate::limits::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, COMMIT_TRIES_MAX, PUBLISH_EVERY_MS, SLOW_TURN};
use crate::log_pace::Pace;
use crate::roster::{Hearing, HookReply, Push, Reply, Request, Roster, Roused, SilentTurn};
use crate::time::MonoMs;
use crate::time::{Now, SystemClock};
use compaction::Compaction;
use crossbeam_channel::{Receiver, Sender};
use events::Events;
use hub::Hub;
use processes::Processes;
use refusal::Refusal;
use replies::{mark_unreachable, sent_ids};
use std::time::Instant;
use tail::Tail;
use waiters::Waiters;

/// What the store begins with.
pub struct Start<D: Disk> {
    /// The rows that the log describes.
    pub roster: Roster,
    /// The log, positioned behind everything that was replayed.
    pub log: Log<D>,
    /// Bytes of the log that were replayed.
    pub replayed_bytes: u64,
    /// Whether the last of them is a newline.
    pub ends_with_newline: bool,
    /// Lines that could not be read.
    pub malformed_lines: u64,
    /// How far the places of rows go in it.
    pub places: Places,
    /// Where to ask for parts of the log that somebody else wrote.
    pub watcher: Sender<ReadJob>,
    /// Bytes of the log that count: the last event of each living row, and events of unknown types.
    pub live_bytes: u64,
    /// Bytes of the log below which it is not compacted unless somebody asks.
    pub compact_over_bytes: u64,
    /// Who tells when processes end.
    pub processes: ProcessWatch,
    /// Who writes the log anew.
    pub compactor: Sender<CompactJob>,
    /// Who looks at the transcripts of sessions whose hooks are silent.
    pub transcripts: Sender<SilentTurn>,
    /// Where ids come from.
    pub ids: Box<dyn IdSource + Send>,
    /// The id of this run of the daemon, for the log.
    pub source_id: String,
}

/// The owner of roster and log.
pub struct Store<D: Disk> {
    roster: Roster,
    log: Log<D>,
    ids: Box<dyn IdSource + Send>,
    hub: Hub,
    events: Events,
    waiters: Waiters,
    tail: Tail,
    compaction: Compaction<D>,
    processes: Processes,
    transcripts: Sender<SilentTurn>,
    stats: Stats,
    /// Why the log is not healthy.
    refused: Option<Refusal>,
    /// The last write was refused: what need not be tried at once waits until one succeeds.
    blocked: bool,
    source_id: String,
    /// When those who watch were last told of changes, on the monotonic clock.
    published_at: MonoMs,
    lines: Vec<u8>,
    stopping: bool,
}

/// What waits for the disk.
enum Held {
    Answer {
        reply_to: ReplyTo,
        reply: Result<Reply, RequestError>,
    },
    /// What somebody only looked at. It shows what came before it in the batch, so it waits for the disk; if the batch
    /// fails it is looked at again, since reading must not fail because a write that came with it did.
    Look {
        request: Box<Request>,
        reply_to: ReplyTo,
        reply: Result<Reply, RequestError>,
    },
    Push(Push),
    Query {
        client: ClientId,
        tx: String,
        view: View,
    },
    /// One who waits from then on, if it may.
    Wait {
        waiter: Box<dyn Waiter>,
        reply: Result<Reply, RequestError>,
    },
    /// What has come for one who waits.
    Wake(HookReply),
    /// After the query that it may follow in the same batch.
    CancelQuery {
        client: ClientId,
        tx: String,
    },
    /// After what the batch brings, of which it is not told.
    Subscribe {
        client: ClientId,
        outbox: Outbox,
        hearing: Hearing,
        since: Option<String>,
    },
    /// A client that wants to be told how far messages get that it has sent.
    Track {
        client: ClientId,
        messages: Vec<MessageId>,
    },
    /// A client that must state its session again if this batch fails, since it gets no answer to its events.
    Publisher(ClientId),
}

impl<D: Disk> Store<D> {
    /// A store that has not begun to run.
    pub fn new(start: Start<D>) -> Self {
        Self {
            tail: Tail::new(
                start.replayed_bytes,
                !start.ends_with_newline,
                start.malformed_lines,
                start.places,
                start.watcher,
            ),
            compaction: Compaction::new(start.compactor, start.compact_over_bytes, start.live_bytes),
            processes: Processes::new(start.processes),
            transcripts: start.transcripts,
            roster: start.roster,
            log: start.log,
            ids: start.ids,
            hub: Hub::default(),
            events: Events::new(&start.source_id),
            waiters: Waiters::default(),
            stats: Stats::default(),
            refused: None,
            blocked: false,
            source_id: start.source_id,
            published_at: MonoMs::MIN,
            lines: Vec::new(),
            stopping: false,
        }
    }

    /// Serves commands until [`Command::Stop`], or until nobody is left who could send one.
    ///
    /// # Errors
    /// Fatal: the log cannot be trusted any longer.
    pub fn run(mut self, commands: &Receiver<Command>, clock: SystemClock) -> Result<(), Fatal> {
        let mut batch = Vec::new();
        // Those that ended while nobody watched need not wait for a tick.
        self.processes.note_tick();
        self.processes.catch_up(&self.roster);
        while !self.stopping {
            // Rows to be written back do not wait for a command; while the log refuses them the next tick's probe does.
            let busy = self.tail.has_work() && !self.blocked;
            let first = if busy { commands.try_recv().ok() } else { commands.recv().ok() };
            match first {
                Some(command) => batch.push(command),
                None if busy => {}
                None => break,
            }
            batch.extend(commands.try_iter().take(BATCH_COMMANDS_MAX - 1));
            let begun = Instant::now();
            let size = batch.len();
            self.turn(&mut batch, clock.now(), || !commands.is_empty())?;
            self.stats.depth = commands.len();
            if begun.elapsed() > SLOW_TURN {
                static SLOW: Pace = Pace::new();
                SLOW.warn(|| {
                    format!("a turn of the store with {size} commands took {} ms", begun.elapsed().as_millis())
                });
            }
        }
        let finished = self.finish(clock.now());
        self.hub.close_all();
        self.events.close_all();
        // Callers that came after the stop are told at once. Later commands are left to their senders.
        for command in commands.try_iter() {
            command.refuse(RequestError::stopping());
        }
        finished
    }

    /// Applies a batch, commits it, and releases what depends on it. `batch` is empty afterwards. `behind` tells whether
    /// more is waiting by then.
    ///
    /// # Errors
    /// Fatal: the log cannot be trusted any longer. Nothing of the batch was answered.
    pub fn turn(&mut self, batch: &mut Vec<Command>, now: Now, behind: impl Fn() -> bool) -> Result<(), Fatal> {
        let mut held = Vec::new();
        let mut commands = std::mem::take(batch).into_iter();
        loop {
            for command in commands.by_ref() {
                self.stats.commands += 1;
                self.apply(command, now, &mut held)?;
                if self.roster.journal().len() >= BATCH_COMMANDS_MAX {
                    break;
                }
            }
            let Roused { woken, pushes } = self.roster.rouse(now, &mut *self.ids);
            held.extend(pushes.into_iter().map(Held::Push).chain(woken.into_iter().map(Held::Wake)));
            // While the log is full nothing that was read could be kept.
            if !self.blocked {
                self.tail.ask(&self.log, &self.roster);
            }
            let committed = self.commit(now)?;
            let (count, last) = self.tail.take_reserve();
            self.roster.leave_places(count, last);
            self.publish(now, commands.len() > 0 || behind());
            self.release(held, committed, now);
            self.processes.wake();
            for (session, is_heard) in self.events.take_turned() {
                self.roster.note_subscriber(&session, is_heard);
            }
            let moved = self.roster.take_reach_moved();
            if !moved.is_empty() {
                self.events.publish_reach(moved, &self.roster, now);
            }
            held = Vec::new();
            if commands.len() == 0 {
                self.processes.catch_up(&self.roster);
                return self.compact(now);
            }
        }
    }

    /// Moves a compaction on, after everybody in the batch has been served.
    fn compact(&mut self, now: Now) -> Result<(), Fatal> {
        let pressed = self.refused.is_some();
        let step = self.compaction.step(&mut self.log, &mut self.tail, pressed, now);
        step.map_err(|(AppendError::Refused(error) | AppendError::Broken(error))| self.broken(&error))
    }

    fn apply(&mut self, command: Command, now: Now, held: &mut Vec<Held>) -> Result<(), Fatal> {
        match command {
            Command::Request { request, reply_to } => self.request(request, reply_to, now, held),
            Command::Wait { request, waiter } => {
                let reply = self.roster.apply(request, now, &mut *self.ids).reply;
                held.push(Held::Wait { waiter, reply });
            }
            Command::WaiterGone { session, number } => {
                if self.waiters.forget(&session, number) {
                    self.request(Request::WaiterGone(session), None, now, held);
                }
            }
            Command::Events { requests, applied: _applied } => {
                requests.into_iter().for_each(|request| self.request(request, None, now, held));
            }
            Command::Connect { client, known, outbox } => {
                self.hub.connect(client.clone(), known, outbox);
                self.request(Request::ClientConnected(client), None, now, held);
            }
            Command::Subscribe { client, outbox, hearing, since } => {
                held.push(Held::Subscribe { client, outbox, hearing, since });
            }
            Command::Disconnect { client } => {
                self.hub.disconnect(&client);
                self.events.unsubscribe(&client);
                self.request(Request::ClientGone(client), None, now, held);
            }
            Command::Query { client, tx, view } => held.push(Held::Query { client, tx, view }),
            Command::CancelQuery { client, tx, applied: _applied } => {
                // Now, so that it sees nothing of this batch; and after the query that may have come with this batch.
                self.hub.cancel(&client, &tx);
                held.push(Held::CancelQuery { client, tx });
            }
            Command::LogTouched => self.look(),
            Command::LogRead(read) => self.log_read(read, now, held),
            Command::LogLacks { number, rows } => self.tail.accept_lacking(number, &rows, &self.roster),
            Command::ProcessEnded(process) => {
                self.processes.note_end(process.clone());
                self.request(Request::ProcessGone(process), None, now, held);
            }
            Command::Tick => self.tick(now, held)?,
            Command::DoorsOpen => {
                self.roster.doors_opened(now);
                // A disk that was full before a restart is full after it.
                self.probe()?;
            }
            Command::Report(report_to) => report_to(Ok(self.report(now))),
            Command::Compact(reply_to) => self.compaction.want(reply_to),
            Command::Compacted(done) => self.compaction.accept(done, &self.log, now),
            Command::Stop => self.stopping = true,
        }
        Ok(())
    }

    fn request(&mut self, request: Request, reply_to: Option<ReplyTo>, now: Now, held: &mut Vec<Held>) {
        if let Some(client) = request.publisher() {
            held.push(Held::Publisher(client.clone()));
        }
        // What others wrote is shown only once it is on the disk, as much as what we wrote.
        let waits = !self.roster.journal().is_empty() || self.tail.is_applying();
        let again = (waits && request.only_looks()).then(|| request.clone());
        let tracker = request.tracker().cloned();
        let outcome = self.roster.apply(request, now, &mut *self.ids);
        held.extend(tracker.map(|client| Held::Track { client, messages: sent_ids(&outcome.reply) }));
        held.extend(outcome.pushes.into_iter().map(Held::Push));
        match (reply_to, outcome.reply) {
            (Some(reply_to), reply) if again.is_some() => {
                held.extend(again.map(|request| Held::Look { request: Box::new(request), reply_to, reply }));
            }
            (Some(reply_to), reply) if outcome.needs_commit || self.tail.is_applying() => {
                held.push(Held::Answer { reply_to, reply });
            }
            // What does not depend on the disk does not wait for it.
            (Some(reply_to), reply) => reply_to(reply),
            (None, Err(error)) => log::debug!("an event was refused: {error}"),
            (None, Ok(_)) => {}
        }
    }

    fn tick(&mut self, now: Now, held: &mut Vec<Held>) -> Result<(), Fatal> {
        match self.compaction.rescue(&mut self.log, &mut self.tail, now) {
            Ok(()) => {}
            Err(AppendError::Refused(error) | AppendError::Broken(error)) => return Err(self.broken(&error)),
        }
        self.look();
        if self.refused.is_some() {
            self.probe()?;
        }
        self.waiters.send_away();
        self.tail.note_tick();
        self.processes.note_tick();
        // Those whose sessions could not be removed when they ended.
        let ended = if self.blocked { Vec::new() } else { self.processes.ended() };
        for process in ended {
            self.request(Request::ProcessGone(process), None, now, held);
        }
        let begun = Instant::now();
        // What hangs on rows that are still being read is no orphan.
        self.request(Request::Sweep { settled: self.tail.is_quiet() }, None, now, held);
        self.stats.note_sweep(begun.elapsed());
        for turn in self.roster.silent_turns(now) {
            // Full: they are asked for again.
            if self.transcripts.try_send(turn).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Writes and syncs what the batch has changed. Says whether it is on disk; if not, it is undone.
    fn commit(&mut self, now: Now) -> Result<bool, Fatal> {
        self.lines.clear();
        let tx = self.batch_id();
        let stamp = self.stamp(now, tx);
        let mut line_bytes = Vec::with_capacity(self.roster.journal().len());
        for change in self.roster.journal() {
            let before = self.lines.len();
            if change.persist {
                encode_change(change, &stamp, &mut self.lines);
            }
            line_bytes.push(self.lines.len() - before);
        }
        // With the first batch that there is room for, what a log lacks is written too: it may be the last one.
        if !self.blocked || !self.lines.is_empty() {
            self.tail.restate(&self.roster, &stamp, BATCH_BYTES_MAX, &mut self.lines);
        }
        let begun = Instant::now();
        let written = match self.lines.is_empty() {
            false => self.write(),
            // What somebody else wrote is about to be shown: it must be on the disk as much as what we wrote.
            true if self.tail.is_applying() => self.log.sync().map_err(AppendError::Broken),
            true => Ok(()),
        };
        match written {
            Ok(()) => {
                if !self.lines.is_empty() {
                    self.stats.note_commit(begun.elapsed(), self.roster.journal().len());
                    self.blocked = false;
                }
                self.tail.restated();
                let changes = self.roster.commit();
                self.tail.note_changes(&changes);
                self.compaction.note_changes(&changes, &line_bytes);
                self.processes.note_changes(&changes, &self.roster);
                self.hub.note(&changes);
                let events = self.events.publish(&changes, &self.roster, now);
                self.hub.tell_senders(&events);
                self.dismiss_waiters(&changes, now);
                Ok(true)
            }
            Err(AppendError::Refused(error)) => {
                self.stats.failed_commits += 1;
                self.refuse(&error);
                self.roster.roll_back();
                self.tail.batch_failed();
                Ok(false)
            }
            Err(AppendError::Broken(error)) => Err(self.broken(&error)),
        }
    }

    /// Writes and syncs the lines of a batch. If an outsider has put another file or content in the log's place
    /// meanwhile, they are written to that too: what is acknowledged must be in the file that the next start reads.
    fn write(&mut self) -> Result<(), AppendError> {
        for turn in 0..COMMIT_TRIES_MAX {
            let appended = self.tail.look(&mut self.log).map_err(AppendError::Refused);
            let appended = appended.and_then(|()| self.tail.append(&mut self.log, &mut self.lines));
            match appended {
                // The lines of the try before may be in the log, and nobody is to be told that nothing was stored.
                Err(AppendError::Refused(error)) if turn > 0 => return Err(AppendError::Broken(error)),
                other => other?,
            }
            self.log.sync().map_err(AppendError::Broken)?;
            if self.tail.holds(&mut self.log).map_err(AppendError::Broken)? {
                return Ok(());
            }
        }
        Err(AppendError::Broken(std::io::Error::other("somebody else keeps changing it while it is written")))
    }

    fn refuse(&mut self, error: &std::io::Error) {
        let refusal = Refusal::of(error);
        // Another reason is news: who removed the cause of the first looks for the next.
        if self.refused.as_ref().is_none_or(|before| before.kind != refusal.kind) {
            log::error!("the log cannot be written, nothing new is accepted until it can: {refusal}");
        }
        self.refused = Some(refusal);
        self.blocked = true;
    }

    /// Tries whether the log has room again. That a small batch finds some does not show it: a full disk has the rest of
    /// its last block to give.
    fn probe(&mut self) -> Result<(), Fatal> {
        let probed = match &self.refused {
            Some(_) => self.tail.probe(&mut self.log),
            // Nothing was refused yet: there is no need to leave anything in the log.
            None => self.log.probe().map_err(AppendError::Refused),
        };
        match probed {
            Ok(()) => {
                self.blocked = false;
                if self.refused.take().is_some() {
                    log::info!("the log can be written again");
                }
            }
            Err(AppendError::Refused(error)) => self.refuse(&error),
            Err(AppendError::Broken(error)) => return Err(self.broken(&error)),
        }
        Ok(())
    }

    /// Tells those who watch of what has changed, unless more is waiting to be done and they have heard a moment ago: a
    /// thousand shims that register at once are not told of each other one by one.
    fn publish(&mut self, now: Now, behind: bool) {
        let recent = now.mono_ms - self.published_at < PUBLISH_EVERY_MS;
        if self.hub.has_news() && !(behind && recent) {
            self.published_at = now.mono_ms;
            self.hub.publish(&self.roster);
        }
    }

    /// Lets out what was held back, in order: all of it if the batch is on disk, else only what does not depend on it.
    fn release(&mut self, held: Vec<Held>, committed: bool, now: Now) {
        let mut unreachable: Vec<ClientId> = Vec::new();
        for item in held {
            match item {
                Held::Push(push) if committed => {
                    let (client, tx) = (push.client.clone(), self.ids.new_id());
                    if !self.hub.send(&client, Frame::Notify { tx, push: Box::new(push) }) {
                        unreachable.push(client);
                    }
                }
                Held::Push(_) => {}
                Held::Look { reply_to, reply, .. } if committed => reply_to(reply),
                Held::Look { request, reply_to, .. } => {
                    reply_to(self.roster.apply(*request, now, &mut *self.ids).reply)
                }
                Held::Answer { reply_to, mut reply } => {
                    if !committed {
                        if let Ok(Reply::Hook(reply)) = &reply {
                            self.take_back(reply, now);
                        }
                        reply = Err(self.not_stored());
                    } else if let Ok(reply) = &mut reply {
                        mark_unreachable(reply, &unreachable);
                    }
                    reply_to(reply);
                }
                Held::Wait { waiter, reply } => self.admit_waiter(waiter, reply, committed, now),
                Held::Wake(reply) => self.wake(reply, committed, now),
                Held::Query { client, tx, view } => self.hub.query(&client, &tx, view, &self.roster),
                Held::CancelQuery { client, tx } => self.hub.cancel(&client, &tx),
                Held::Subscribe { client, outbox, hearing, since } => {
                    self.events.subscribe(client, outbox, hearing, since.as_deref(), &self.roster, now);
                }
                Held::Track { client, messages } if committed => self.hub.track(&client, messages),
                Held::Track { .. } => {}
                Held::Publisher(client) if !committed => self.hub.kick(&client),
                Held::Publisher(_) => {}
            }
        }
        for client in self.hub.take_dead() {
            // The reader of such a client finds its socket closed and reports it gone as well; saying so at once keeps
            // the roster from showing it as connected until then.
            self.roster.apply(Request::ClientGone(client), now, &mut *self.ids);
        }
    }

    fn not_stored(&self) -> RequestError {
        match &self.refused {
            Some(refusal) => refusal.error(),
            None => RequestError::new(ErrorKind::StorageFailed, "nothing was stored, the log cannot be written"),
        }
    }

    /// The system goes on showing bytes that it may have given up writing: nothing more is answered, and the next start
    /// must not believe what it reads.
    fn broken(&self, error: &std::io::Error) -> Fatal {
        let mut message =
            format!("the log cannot be trusted any longer: {error}; restart marshal, which writes it anew");
        if let Err(error) = self.log.mark_suspect(&message) {
            message = format!("{message} (a note for that start could not be left: {error})");
        }
        Fatal::new(exit_code::IO, message)
    }

    fn report(&self, now: Now) -> Report {
        Report {
            now,
            counts: self.roster.counts(),
            stats: self.stats.clone(),
            refused: self.refused.as_ref().map(Refusal::health),
            log_bytes: self.tail.known(),
            live_bytes: self.compaction.live_bytes(),
            compactions: self.compaction.done(),
            malformed_lines: self.tail.malformed_lines(),
        }
    }
}

#[cfg(test)]
mod tests;

//! The turn of a session: the state that follows from each event of its hooks, as a pure table; and how much a silent
//! session's state is still worth. It must not know the words of any host, nor look at a transcript.

use super::{EventKind, HookEvent, Roster, ToolUse};
use crate::ids::SessionId;
use crate::limits::{
    HOOKS_SILENT_MS, OPEN_TOOLS_MAX, STOP_HANDINGS_MAX, TOOL_SILENCE_MAX_MS, TRANSCRIPT_BELIEVED_MS,
    WORKING_SILENCE_MAX_MS,
};
use crate::model::{Doing, KnownBy, Session, State, Stored};
use crate::time::MonoMs;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// What is asked of a human, where the host does not say more.
const PERMISSION: &str = "permission";

/// What is known of the turn that a session is in. In memory alone: after a restart the next turn tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse {
    /// The last prompt that events named.
    pub(super) prompt_id: Option<Arc<str>>,
    /// How often in a row the end of its turn was answered with mail.
    stops: u32,
    /// Whether its next prompt is told of the mail that was left in its place.
    pub(super) offers_left: bool,
    /// Whether it tells of the end of each step, and not only of each tool's.
    pub(super) by_step: bool,
    /// Prompts since the session was first heard of, while no turn of it was seen to end.
    pub(super) prompts_without_end: u32,
    /// The tools that have begun and not ended, the last ones.
    open: Vec<ToolUse>,
    /// What a human was asked for, and has not answered.
    ask: Option<Ask>,
    /// The file in which the agent writes the session down.
    pub(super) transcript: Option<Arc<str>>,
    /// The monotonic millisecond at which the transcript showed last that a tool is at work.
    pub(super) confirmed_at: Option<MonoMs>,
}

/// A question to a human.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ask {
    /// The tool that asks, if that is known.
    tool: Option<ToolUse>,
    /// What the session was at before a subagent asked.
    before: Option<(Option<State>, Option<Arc<str>>)>,
}

impl Ask {
    /// Whether the end of this tool ends the question. Where it is not known who asks, the end of the last one does.
    fn ends_with(&self, ended: &ToolUse, is_last: bool) -> bool {
        self.tool.as_ref().map_or(is_last, |tool| is_same(tool, ended))
    }
}

/// Whether two events tell of one use of a tool.
fn is_same(one: &ToolUse, other: &ToolUse) -> bool {
    match (&one.id, &other.id) {
        (Some(one), Some(other)) => one == other,
        _ => one.name == other.name,
    }
}

/// What an event makes of a state.
enum Step {
    /// Nothing.
    Stays,
    /// Another one, and what it waits for.
    To(State, Option<Arc<str>>),
}

impl Pulse {
    /// Whether its turn has been prolonged often enough.
    pub(super) fn may_not_stop(&self) -> bool {
        self.stops >= STOP_HANDINGS_MAX
    }

    /// Whether a human was asked for something.
    fn asks(&self) -> bool {
        self.ask.is_some()
    }

    /// Takes note of an event; `continues` if its answer makes the turn go on.
    pub(super) fn note(&mut self, event: &HookEvent, continues: bool) {
        match event.kind {
            EventKind::Prompt { .. } => {
                self.stops = 0;
                self.prompts_without_end = self.prompts_without_end.saturating_add(1);
            }
            EventKind::Start { .. } => self.stops = 0,
            EventKind::Stop if continues => self.stops += 1,
            EventKind::AfterTools => self.by_step = true,
            _ => {}
        }
        let shared = |text: &Option<String>| text.as_deref().map(Arc::from);
        self.prompt_id = shared(&event.prompt_id).or_else(|| self.prompt_id.take());
        self.transcript = shared(&event.transcript).or_else(|| self.transcript.take());
        self.confirmed_at = None;
    }

    /// A turn begins, or is over: nothing of it is open any more.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.ask = None;
    }

    fn begin_tool(&mut self, tool: ToolUse) {
        self.open.retain(|open| open.id.is_none() || open.id != tool.id);
        if self.open.len() == OPEN_TOOLS_MAX {
            self.open.remove(0);
        }
        self.open.push(tool);
    }

    fn end_tool(&mut self, tool: &ToolUse) {
        let exact = self.open.iter().position(|open| is_same(open, tool) && open.input == tool.input);
        let found = exact.or_else(|| self.open.iter().position(|open| is_same(open, tool)));
        found.map(|place| self.open.remove(place));
    }

    /// The tool that asks: the one with this input, else the last one of this name. Where the event names none it is the
    /// only one at work.
    fn asking_tool(&self, tool: Option<&ToolUse>) -> Option<ToolUse> {
        let Some(tool) = tool else {
            return if let [only] = self.open.as_slice() { Some(only.clone()) } else { None };
        };
        let of_name = || self.open.iter().rev().filter(|open| is_same(open, tool));
        let found = of_name().find(|open| open.input == tool.input).or_else(|| of_name().next());
        Some(found.unwrap_or(tool).clone())
    }

    /// The tool that a session shows to be using: the one that asks, else the one that began last.
    fn tool(&self) -> Option<Arc<str>> {
        let asking = self.ask.as_ref().and_then(|ask| ask.tool.as_ref());
        asking.or(self.open.last()).map(|tool| Arc::from(tool.name.as_str()))
    }

    /// The table: the state after an event.
    fn step(&mut self, doing: &Doing, event: &HookEvent, continues: bool) -> Step {
        if event.of_subagent {
            return self.step_of_subagent(doing, event);
        }
        let to = |state| Step::To(state, None);
        match &event.kind {
            EventKind::End | EventKind::Other | EventKind::Start { same_context: true } => Step::Stays,
            EventKind::Start { same_context: false } => self.over(State::Idle, None),
            EventKind::Prompt { .. } | EventKind::AfterTools => self.over(State::Working, None),
            EventKind::Stop if continues => self.over(State::Working, None),
            EventKind::Stop => match event.own_task.as_deref() {
                Some(task) => self.over(State::Paused, Some(Arc::from(task))),
                None => self.over(State::Idle, None),
            },
            EventKind::Failed(why) => self.over(State::Waiting, Some(Arc::from(why.as_str()))),
            EventKind::Idle if doing.state == Some(State::Paused) => Step::Stays,
            EventKind::Idle => self.over(State::Idle, None),
            EventKind::BeforeTool(name) => {
                let tool = event.tool.clone().unwrap_or_else(|| ToolUse::named(name));
                self.begin_tool(tool.clone());
                if let Some(question) = &event.question {
                    return self.asked(question, Some(&tool));
                }
                // Another one at the same time does not answer for the one that asks.
                let waits = self.ask.as_ref().is_some_and(|ask| ask.tool.is_some());
                if waits && doing.state == Some(State::Waiting) {
                    return Step::Stays;
                }
                self.ask = None;
                to(State::Working)
            }
            EventKind::AfterTool(name) => {
                let ended = event.tool.clone().unwrap_or_else(|| ToolUse::named(name));
                self.end_tool(&ended);
                match &self.ask {
                    Some(ask) if !ask.ends_with(&ended, self.open.is_empty()) => Step::Stays,
                    _ => {
                        self.ask = None;
                        to(State::Working)
                    }
                }
            }
            EventKind::Answered if self.asks() => {
                self.ask = None;
                to(State::Working)
            }
            EventKind::Answered => Step::Stays,
            EventKind::NeedsHuman(what) => self.asked(what, event.tool.as_ref()),
            EventKind::Reminds { what, when_idle } => {
                let is_told = self.asks() && doing.state == Some(State::Waiting);
                let is_between = matches!(doing.state, None | Some(State::Idle | State::Paused));
                if is_told || (is_between && !when_idle) { Step::Stays } else { self.asked(what, None) }
            }
        }
    }

    fn over(&mut self, state: State, waiting_for: Option<Arc<str>>) -> Step {
        self.clear();
        Step::To(state, waiting_for)
    }

    fn asked(&mut self, what: &str, tool: Option<&ToolUse>) -> Step {
        let tool = self.asking_tool(tool);
        let what = match &tool {
            // A host that does not say which permission it asks for has told of the tool before.
            Some(tool) if what == PERMISSION => format!("{PERMISSION}: {}", tool.name),
            _ => what.to_owned(),
        };
        self.ask = Some(Ask { tool, before: None });
        Step::To(State::Waiting, Some(Arc::from(what)))
    }

    /// A subagent can ask as well; otherwise the session's own turn is as it was.
    fn step_of_subagent(&mut self, doing: &Doing, event: &HookEvent) -> Step {
        match (&event.kind, &self.ask) {
            (EventKind::NeedsHuman(what), None) => {
                let before = Some((doing.state, doing.waiting_for.clone()));
                self.ask = Some(Ask { tool: event.tool.clone(), before });
                Step::To(State::Waiting, Some(Arc::from(what.as_str())))
            }
            (EventKind::AfterTool(_), Some(Ask { tool: Some(tool), before: Some((Some(state), waiting_for)) }))
                if event.tool.as_ref().is_some_and(|ended| is_same(tool, ended)) =>
            {
                let back = Step::To(*state, waiting_for.clone());
                self.ask = None;
                back
            }
            _ => Step::Stays,
        }
    }
}

/// What a session is at after an event.
pub(super) fn next(doing: &Doing, pulse: &mut Pulse, event: &HookEvent, continues: bool, now: i64) -> Doing {
    let shared = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(Arc::from);
    let mut next = doing.clone();
    next.agent = event.agent.or(next.agent);
    next.model = shared(&event.model).or(next.model);
    next.permission_mode = shared(&event.permission_mode).or(next.permission_mode);
    next.paths = event.takes.map_or(next.paths, |path| next.paths.with(path));
    // The hooks of marshal 0.9 tell of no turn's end: what they tell of its beginning would stay true for ever.
    if event.agent.is_none() {
        return next;
    }
    let is_open = |state| matches!(state, State::Working | State::Waiting);
    match pulse.step(doing, event, continues) {
        // A sign of life: it is as it was told.
        Step::Stays if next.state.is_some_and(is_open) => next.known_by = KnownBy::Told,
        Step::Stays => {}
        Step::To(state, waiting_for) => {
            if (next.state, &next.waiting_for) != (Some(state), &waiting_for) {
                next.since = now;
            }
            (next.state, next.waiting_for, next.known_by) = (Some(state), waiting_for, KnownBy::Told);
            next.tool = if is_open(state) { pulse.tool() } else { None };
        }
    }
    next
}

/// Whether a session is in the middle of a turn, as far as its mail is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InTurn {
    /// It is: the turn's end, or its next step, hands its mail over.
    Yes,
    /// It was, and its hooks are silent: what is urgent wakes it, which harms nobody who works.
    Unsure,
    /// It is not.
    No,
}

/// The same for a row, of a session that has been silent for so long. `is_restored` is a state that the log tells of.
fn in_turn(doing: &Doing, silent_ms: i64, is_restored: bool) -> InTurn {
    match doing.state {
        Some(State::Working) if doing.known_by == KnownBy::Seen => InTurn::Yes,
        Some(State::Working) if silent_ms <= HOOKS_SILENT_MS && !is_restored => InTurn::Yes,
        Some(State::Working) if silent_ms <= given_up_after(doing, is_restored) => InTurn::Unsure,
        _ => InTurn::No,
    }
}

/// The silence after which a session that was working gets all its mail as one that is between two turns. The tool of a
/// restored state may have ended while no daemon ran.
fn given_up_after(doing: &Doing, is_restored: bool) -> i64 {
    if doing.tool.is_some() && !is_restored { TOOL_SILENCE_MAX_MS } else { WORKING_SILENCE_MAX_MS }
}

/// The sessions in the middle of a turn, as their rows have it.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    working: BTreeSet<SessionId>,
    waiting: BTreeSet<SessionId>,
}

impl Turns {
    /// Takes note of what a session has become. Says whether it was working, and is not any more.
    pub(crate) fn put(&mut self, session: &Session) -> bool {
        let was_working = match session.doing.state {
            Some(State::Working) => {
                self.working.insert(session.id.clone());
                false
            }
            _ => self.working.remove(&session.id),
        };
        if session.doing.state == Some(State::Waiting) {
            self.waiting.insert(session.id.clone());
        } else {
            self.waiting.remove(&session.id);
        }
        was_working
    }

    pub(crate) fn remove(&mut self, session: &str) {
        self.working.remove(session);
        self.waiting.remove(session);
    }

    /// All of them.
    fn open(&self) -> impl Iterator<Item = &SessionId> {
        self.working.iter().chain(&self.waiting)
    }

    /// Those with ids in this range, in order.
    pub(super) fn open_in(&self, range: (Bound<SessionId>, Bound<SessionId>)) -> Vec<SessionId> {
        let mut open: Vec<SessionId> =
            self.working.range(range.clone()).chain(self.waiting.range(range)).cloned().collect();
        open.sort_unstable();
        open
    }
}

impl Roster {
    /// Whether a session is in the middle of a turn.
    pub(super) fn in_turn(&self, session: &SessionId) -> InTurn {
        let Some(placed) = self.tables.sessions.get(session) else { return InTurn::No };
        in_turn(&placed.stored.row.doing, self.silent_ms(session), self.is_restored(session))
    }

    /// Whether a session's state comes from the log: no hook of it was heard in this run of the daemon.
    fn is_restored(&self, session: &SessionId) -> bool {
        !self.pulses.contains_key(session)
    }

    /// How long a session has been silent.
    fn silent_ms(&self, session: &SessionId) -> i64 {
        let seen_at = self.tables.presence.seen_at(session);
        seen_at.map_or(i64::MAX, |at| self.tables.now.mono_ms - at)
    }

    /// Marks the states of silent sessions as what they are worth by now, and has a look at the mail of those that count as
    /// between two turns from now on: hosts tell nothing of a turn that their user broke off.
    pub(super) fn doubt_the_silent(&mut self, is_full: impl Fn(&Self) -> bool) {
        let passed_ms = self.last_sweep.map_or(i64::MAX, |last| self.tables.now.mono_ms - last.mono_ms);
        let in_doubt: Vec<SessionId> = self.tables.turns.open().cloned().collect();
        for id in in_doubt {
            if is_full(self) {
                break;
            }
            let Some(row) = self.tables.sessions.get(&id).map(|placed| &placed.stored.row) else { continue };
            let silent_ms = self.silent_ms(&id);
            let known_by = self.known_by(row, silent_ms);
            let gives_up = given_up_after(&row.doing, self.is_restored(&id));
            let crosses = silent_ms > gives_up && silent_ms.saturating_sub(passed_ms) <= gives_up;
            if known_by != row.doing.known_by {
                let doing = Doing { known_by, ..row.doing.clone() };
                let row = Session { doing, ..row.clone() };
                self.tables.set_shown(Stored::new(row));
                self.tables.waiters.rouse(&id);
            }
            if crosses {
                self.tables.waiters.rouse(&id);
                self.tables.pushes.turn_over(&id);
                self.reach_moved.insert(id);
            }
        }
    }

    /// How the state of a session is known that is working or waiting.
    fn known_by(&self, row: &Session, silent_ms: i64) -> KnownBy {
        let pulse = self.pulses.get(&row.id);
        let now = self.tables.now.mono_ms;
        let is_confirmed =
            pulse.and_then(|pulse| pulse.confirmed_at).is_some_and(|at| now - at <= TRANSCRIPT_BELIEVED_MS);
        let is_doubtful = match row.doing.state {
            // What ended while no daemon ran was told to none.
            Some(State::Working | State::Waiting) if pulse.is_none() => true,
            Some(State::Working) => silent_ms > HOOKS_SILENT_MS,
            // A human may take time to answer. What failed waits for the next prompt, however long that takes.
            Some(State::Waiting) => pulse.is_some_and(Pulse::asks) && silent_ms > TOOL_SILENCE_MAX_MS,
            _ => false,
        };
        match is_doubtful {
            false => row.doing.known_by,
            true if is_confirmed => KnownBy::Seen,
            true => KnownBy::Guessed,
        }
    }
}

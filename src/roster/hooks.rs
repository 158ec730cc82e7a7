//! What hooks tell, and what they are answered: a session comes, goes on and ends by them, and gets its mail in their
//! answers. It must not know the words of any host.

use super::delivery::urgency;
use super::evidence::{PromptRelation, TurnFacts};
use super::mailbox::Leased;
use super::nickname::composed;
use super::place;
use super::turn::{self, Pulse};
use super::{
    Answer, EventKind, Gone, Handing, Handled, HookEvent, HookReply, HookReport, Reply, Roster, Wait, validate,
};
use crate::error::RequestError;
use crate::ids::{IdSource, SessionId};
use crate::limits::{
    HANDOVER_LEASE_MS, INBOX_MESSAGES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, PROMPTS_WITHOUT_END_MAX, TEXT_BYTES_MAX,
};
use crate::model::{Doing, Host, Path, Priority, Session, Stored};
use crate::text::nfc;
use std::sync::Arc;

/// Which messages a way of handing them over takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// At most so many.
    pub(super) count: usize,
    /// How urgent they must be.
    pub(super) at_least: Priority,
    /// Only those that were handed over less often.
    pub(super) times_below: u32,
}

impl Roster {
    pub(super) fn hook_event(&mut self, event: HookEvent, ids: &mut dyn IdSource) -> Handled {
        if event.kind != EventKind::End {
            self.may_begin(&SessionId::from(event.report.session_id.as_str()))?;
        }
        validate_event(&event)?;
        let id = SessionId::from(event.report.session_id.as_str());
        let pulse = self.pulses.get(&id).cloned().unwrap_or_default();
        if event.of_subagent && !self.tables.sessions.contains_key(&id) {
            return Ok(Answer::new(Reply::Done, Wait::No));
        }
        let turn = self.turn_facts(&id, &event, &pulse);
        if self.is_another_run(&id, &event) {
            self.begin_anew(&id);
        }
        // What a subagent does shows nothing of what the session has read.
        if !event.of_subagent {
            self.note_evidence(&id, &event.kind, turn);
        }
        if event.kind == EventKind::End {
            self.pulses.remove(&id);
            self.remove_session(&id, Gone::Ended);
            return Ok(Answer::new(Reply::Done, Wait::Batch));
        }
        let is_known = self.tables.sessions.contains_key(&id);
        let is_start = matches!(event.kind, EventKind::Start { .. });
        // A daemon that was down at the session's start, or that swept it, learns of it now.
        let row = if is_known && !is_start { self.moved_on(&id, &event)? } else { self.registered(&event)? };
        let takes = event.takes.filter(|path| self.may_take(*path, &event, &pulse));
        let introduce = introduces(&event, &row.doing, is_start || !is_known);
        let mut answer = self.hook_answer(&id, introduce, takes, ids);
        let continues = matches!(&answer.reply, Reply::Hook(reply) if !reply.inbox.is_empty());
        let mut pulse = pulse;
        pulse.note(&event, continues);
        let doing = turn::next(&row.doing, &mut pulse, &event, continues, self.tables.now.wall_ms);
        let offers_left = pulse.offers_left && matches!(event.kind, EventKind::Prompt { .. });
        pulse.offers_left &= !offers_left;
        if event.agent.is_some() || offers_left {
            self.pulses.insert(id.clone(), pulse);
        }
        let session = self.note_event(Session { doing, ..row });
        let left = if is_start || !is_known || offers_left { self.left_for(&session.row) } else { None };
        if let Reply::Hook(reply) = &mut answer.reply {
            reply.left = left;
            reply.session = Some(session);
        }
        Ok(answer)
    }

    /// Whether the session goes on in another process than before, although nothing was heard of its beginning there: what
    /// was handed to it may be gone with the first one.
    fn is_another_run(&self, id: &SessionId, event: &HookEvent) -> bool {
        let Some(placed) = self.tables.sessions.get(id) else { return true };
        let known = &placed.stored.row.process;
        known.is_some() && event.report.process.is_some() && *known != event.report.process
    }

    /// The turn in which an event comes, as far as it is known.
    fn turn_facts(&self, id: &SessionId, event: &HookEvent, pulse: &Pulse) -> TurnFacts {
        let prompt = match (&event.prompt_id, &pulse.prompt_id) {
            (Some(now), Some(before)) if **now == **before => PromptRelation::Same,
            (Some(_), Some(_)) => PromptRelation::Other,
            _ => PromptRelation::Unknown,
        };
        let row = self.tables.sessions.get(id).map(|placed| &placed.stored.row);
        let is_legacy = event.agent.is_none() && row.is_none_or(|row| row.doing.agent.is_none());
        let has_ended_turns = row.is_some_and(|row| row.doing.paths.has(Path::Stop));
        let tells_ends = has_ended_turns || (!is_legacy && pulse.prompts_without_end < PROMPTS_WITHOUT_END_MAX);
        TurnFacts { prompt, tells_steps: pulse.by_step, tells_ends, is_legacy, prolonged: event.prolonged }
    }

    /// Whether mail may go into the answer to this event.
    fn may_take(&self, path: Path, event: &HookEvent, pulse: &Pulse) -> bool {
        match path {
            // No version of an agent calls its model before the first prompt, and some drop what the hook of a start says.
            Path::Start => event.agent.is_none(),
            Path::Stop => !pulse.may_not_stop(),
            // The end of the step follows, and is heard of.
            Path::Tools => !(pulse.by_step && matches!(event.kind, EventKind::AfterTool(_))),
            _ => true,
        }
    }

    /// The row of a session that goes on.
    fn moved_on(&mut self, id: &SessionId, event: &HookEvent) -> Result<Session, RequestError> {
        let Some(placed) = self.tables.sessions.get(id) else { return self.registered(event) };
        let mut row = placed.stored.row.clone();
        fill_in(&mut row, event)?;
        row.process = event.report.process.clone().or(row.process);
        self.give_name(&mut row);
        row.hooks = true;
        row.last_activity_at = Some(self.tables.now.wall_ms);
        let now = self.tables.now.wall_ms;
        if let Some(title) = event.title.as_deref().filter(|title| !title.is_empty()) {
            row.session_name = Some(Arc::from(title));
        }
        if let EventKind::BeforeTool(tool) | EventKind::AfterTool(tool) = &event.kind
            && !event.of_subagent
        {
            (row.last_tool, row.last_tool_at) = (Some(Arc::from(tool.as_str())), Some(now));
        }
        Ok(row)
    }

    /// The row of a session that a hook reports for the first time, or anew.
    fn registered(&mut self, event: &HookEvent) -> Result<Session, RequestError> {
        validate_place(&event.report)?;
        let report = event.report.clone();
        let cwd = report.cwd.unwrap_or_default();
        let id = SessionId::from(report.session_id);
        let now = self.tables.now.wall_ms;
        let mut row = match self.tables.sessions.get(&id) {
            Some(prior) => prior.stored.row.clone(),
            None => Session::new(id, "", &cwd, now),
        };
        self.give_name(&mut row);
        // A context that is shortened moves nothing: the shell may just be in a directory below.
        let is_moved_by = !matches!(event.kind, EventKind::Start { same_context: true }) || row.cwd.is_empty();
        let moved = is_moved_by && !cwd.is_empty() && *row.cwd != *cwd;
        if moved {
            place::move_to(&mut row, &cwd);
        }
        // A shim knows the git top level, which names the project better than the directory does.
        if row.project.is_none() || (moved && row.client_id.is_none()) {
            row.project = place::project_without_repository(&row.cwd);
        }
        row.operator = operator(&event.report).or(row.operator);
        row.host = host(&event.report).or(row.host);
        // The one that speaks now, if it says so: a session can be resumed in another process.
        row.process = report.process.or(row.process);
        row.hooks = true;
        row.last_activity_at = Some(now);
        Ok(row)
    }

    /// Stores what an event has made of a session: signs of life, and what it is at, in memory at once and in the log
    /// when what is there is old; anything else at once.
    fn note_event(&mut self, row: Session) -> Arc<Stored<Session>> {
        let Some(prior) = self.tables.sessions.get(&row.id).map(|placed| placed.stored.clone()) else {
            return self.set_session(row);
        };
        let prior = &prior.row;
        let quiet = Session {
            last_activity_at: prior.last_activity_at,
            last_tool: prior.last_tool.clone(),
            last_tool_at: prior.last_tool_at,
            doing: prior.doing.clone(),
            ..row.clone()
        };
        if quiet != *prior {
            return self.set_session(row);
        }
        let shows = Doing { paths: prior.doing.paths, ..row.doing.clone() } != prior.doing;
        if shows && !self.tables.activity_is_due(&row) {
            let stored = Stored::new(row);
            self.tables.set_shown(stored.clone());
            return stored;
        }
        self.note_activity(row)
    }

    /// The answer to a hook: who the session is, and the oldest of its unread messages, if the way takes any.
    fn hook_answer(&mut self, id: &SessionId, introduce: bool, takes: Option<Path>, ids: &mut dyn IdSource) -> Answer {
        let path = takes.unwrap_or(Path::Prompt);
        let count = if takes.is_some() { INBOX_MESSAGES_MAX } else { 0 };
        let wanted = Wanted { count, at_least: urgency(path), times_below: u32::MAX };
        let reply = HookReply { introduce, ..self.hand_out(id, path, wanted, ids) };
        Answer::new(Reply::Hook(reply), Wait::Session(id.clone()))
    }

    /// Takes the most urgent and then the oldest of what a session wants by this way, to be put into an answer.
    pub(super) fn hand_out(&mut self, id: &SessionId, path: Path, wanted: Wanted, ids: &mut dyn IdSource) -> HookReply {
        let unread = self.tables.mail.unread_count(id);
        let until = self.tables.now.mono_ms + HANDOVER_LEASE_MS;
        let lease = self.tables.mail.lease(id, path, wanted, self.tables.now, until);
        for message in &lease.spent {
            self.give_up(id, message, ids);
        }
        // What the agent has been given a moment ago, and not acknowledged yet, does not wait for it any more.
        let waiting = unread.saturating_sub(lease.on_their_way + lease.spent.len());
        let handing = |leased: &Leased| {
            let message = self.tables.messages.get(&leased.id)?.stored.clone();
            Some(Handing { message, repeat: leased.times > 0 })
        };
        let inbox = lease.leased.iter().filter_map(handing).collect();
        HookReply { session: None, introduce: false, inbox, waiting, path, lease: lease.number, left: None }
    }
}

/// The operator that a hook reports.
fn operator(report: &HookReport) -> Option<Arc<str>> {
    report.operator.as_deref().filter(|name| !name.is_empty()).map(|name| Arc::from(&*nfc(name)))
}

/// The machine that a hook reports.
fn host(report: &HookReport) -> Option<Host> {
    let host = report.host.clone().filter(|host| !host.name.is_empty())?;
    Some(Host { name: composed(&host.name), ..host })
}

/// Fills in the directory, operator and machine that the session's earlier hooks did not report.
fn fill_in(row: &mut Session, event: &HookEvent) -> Result<(), RequestError> {
    let report = &event.report;
    let cwd = report.cwd.as_deref().filter(|cwd| row.cwd.is_empty() && !cwd.is_empty());
    let is_complete = row.operator.is_some() && row.host.is_some() && cwd.is_none();
    // Events of subagents are signs of life and no more: one may work in a directory of its own.
    if is_complete || event.of_subagent {
        return Ok(());
    }
    validate_place(report)?;
    if let Some(cwd) = cwd {
        row.cwd = Arc::from(cwd);
        row.project = row.project.take().or_else(|| place::project_without_repository(cwd));
    }
    row.operator = row.operator.take().or_else(|| operator(report));
    row.host = row.host.take().or_else(|| host(report));
    Ok(())
}

fn validate_place(report: &HookReport) -> Result<(), RequestError> {
    validate::bounded("cwd", report.cwd.as_deref().unwrap_or_default(), PATH_BYTES_MAX)?;
    if let Some(operator) = &report.operator {
        validate::name("operator", operator)?;
    }
    if let Some(host) = &report.host {
        validate::name("host", &host.name)?;
        validate::name("os", &host.os)?;
        validate::name("arch", &host.arch)?;
    }
    Ok(())
}

/// Whether the answer to an event tells the session who it is. Where it came in without the hook of its start, or that was not
/// answered, its first prompt does; in the middle of a turn or at its end there is no need to.
fn introduces(event: &HookEvent, doing: &Doing, is_new: bool) -> bool {
    match event.takes {
        _ if event.agent.is_none() => is_new,
        Some(Path::Start) => true,
        Some(Path::Prompt) => !doing.paths.has(Path::Start) && !doing.paths.has(Path::Prompt),
        _ => false,
    }
}

fn validate_event(event: &HookEvent) -> Result<(), RequestError> {
    let tool = match &event.kind {
        EventKind::BeforeTool(tool) | EventKind::AfterTool(tool) => tool,
        _ => "",
    };
    let what = match &event.kind {
        EventKind::NeedsHuman(what) | EventKind::Failed(what) | EventKind::Reminds { what, .. } => what,
        _ => "",
    };
    let tool_use = event.tool.clone().unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    validate::bounded("the tool's name", tool, NAME_BYTES_MAX)?;
    validate::bounded("what it waits for", what, TEXT_BYTES_MAX)?;
    validate::bounded("the tool's name", &tool_use.name, NAME_BYTES_MAX)?;
    validate::bounded("the tool's id", &text(&tool_use.id), NAME_BYTES_MAX)?;
    validate::bounded("the question", &text(&event.question), TEXT_BYTES_MAX)?;
    validate::bounded("the task that it waits for", &text(&event.own_task), TEXT_BYTES_MAX)?;
    validate::bounded("the transcript's path", &text(&event.transcript), PATH_BYTES_MAX)?;
    validate::bounded("the model's name", &text(&event.model), NAME_BYTES_MAX)?;
    validate::bounded("the permission mode", &text(&event.permission_mode), NAME_BYTES_MAX)?;
    validate::bounded("the prompt's id", &text(&event.prompt_id), NAME_BYTES_MAX)?;
    validate::bounded("the title", &text(&event.title), TEXT_BYTES_MAX)
}

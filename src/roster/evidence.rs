//! The evidence of reading: which event of a session shows that its model got an earlier delivery. An event proves a
//! delivery only if the agent cannot send it otherwise, in any version and with any other hook installed beside ours.
//! Everything else is no evidence: a message is delivered again rather than called read.

use super::EventKind;
use crate::model::Path;

/// What an event says about one earlier delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The model got it.
    Read,
    /// Nothing yet: a later event may tell, or the acknowledgement times out.
    Open,
    /// Nothing yet, but its turn goes on: the time for an acknowledgement begins anew.
    Holds,
    /// A later turn began without a sign of it: it is delivered again, marked as repeated.
    Lost,
}

/// How an event's prompt relates to the one that the session was last known to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PromptRelation {
    /// Both are known, and the same.
    Same,
    /// Both are known, and differ.
    Other,
    /// Claude Code before 2.1.196, Gemini CLI and marshal 0.9's hooks name no prompts.
    Unknown,
}

/// The turn in which an event comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TurnFacts {
    /// Whether the event belongs to the known prompt.
    pub(super) prompt: PromptRelation,
    /// Whether the session reports the end of each step (`PostToolBatch`), and not only of each tool.
    pub(super) tells_steps: bool,
    /// Whether the session reports the end of its turns.
    pub(super) tells_ends: bool,
    /// Whether it is known by marshal 0.9's hooks only: they report starts, prompts and the end of the session.
    pub(super) is_legacy: bool,
    /// Of a turn's end: whether the agent says that a hook had prolonged the turn (`stop_hook_active`).
    pub(super) prolonged: Option<bool>,
}

/// What an event shows of a delivery that went out by `path` before it.
pub(super) fn verdict(kind: &EventKind, path: Path, turn: TurnFacts) -> Verdict {
    if !is_hook_answer(path) {
        // A waiter, a push and a command are proved by an acknowledgement or by the message's id in a prompt.
        return Verdict::Open;
    }
    let is_missed_prompt = turn.prompt == PromptRelation::Other;
    match kind {
        EventKind::Prompt { .. } => after_prompt(path, turn),
        // Versions of Claude Code drop a start's answer, of a new conversation or of a compaction.
        _ if path == Path::Start => Verdict::Open,
        EventKind::Stop if path == Path::Stop && turn.prolonged.is_some() => after_stop(turn.prolonged == Some(true)),
        // The event of a turn whose prompt was not heard: the turn of the delivery is over, and its end was not seen.
        EventKind::BeforeTool(_) | EventKind::AfterTool(_) | EventKind::AfterTools | EventKind::Stop
            if is_missed_prompt =>
        {
            Verdict::Lost
        }
        // The tools of one step can begin and end one after another. Their results go to the model together.
        EventKind::BeforeTool(_) if path == Path::Tools && !turn.tells_steps => Verdict::Holds,
        EventKind::AfterTool(_) | EventKind::AfterTools if path == Path::Tools => Verdict::Holds,
        // Older versions let a prompt in while a tool runs. Ids tell whose tool has ended.
        EventKind::AfterTool(_) | EventKind::AfterTools
            if path == Path::Prompt && turn.prompt == PromptRelation::Unknown =>
        {
            Verdict::Holds
        }
        // Only the model begins a tool or ends a turn.
        EventKind::BeforeTool(_) | EventKind::AfterTool(_) | EventKind::AfterTools | EventKind::Stop => Verdict::Read,
        EventKind::End
        | EventKind::Start { .. }
        | EventKind::Failed(_)
        | EventKind::NeedsHuman(_)
        | EventKind::Reminds { .. }
        | EventKind::Answered
        | EventKind::Idle
        | EventKind::Other => Verdict::Open,
    }
}

/// A prompt by itself proves nothing: the agent sends it before the model is called, and another hook can still erase it.
/// Where the turn before it would have reported a tool or its end, their absence tells that there was none.
fn after_prompt(path: Path, turn: TurnFacts) -> Verdict {
    match path {
        // marshal 0.9's hooks report nothing by which a start's answer could be proved but the prompts after it.
        Path::Start if turn.is_legacy => Verdict::Open,
        Path::Start => Verdict::Lost,
        // Two hooks of one prompt.
        _ if turn.prompt == PromptRelation::Same => Verdict::Open,
        Path::Prompt if !turn.tells_ends => Verdict::Read,
        _ => Verdict::Lost,
    }
}

/// An agent that bounds how often hooks may prolong a turn disregards the answer: no hook has prolonged the next turn.
fn after_stop(is_prolonged: bool) -> Verdict {
    if is_prolonged { Verdict::Read } else { Verdict::Lost }
}

fn is_hook_answer(path: Path) -> bool {
    matches!(path, Path::Start | Path::Prompt | Path::Tools | Path::Stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: TurnFacts = TurnFacts {
        prompt: PromptRelation::Other,
        tells_steps: false,
        tells_ends: true,
        is_legacy: false,
        prolonged: None,
    };

    fn events() -> [(&'static str, EventKind); 13] {
        let tool = || "Bash".to_owned();
        [
            ("start", EventKind::Start { same_context: true }),
            ("prompt", EventKind::Prompt { quoted: Vec::new() }),
            ("before tool", EventKind::BeforeTool(tool())),
            ("after tool", EventKind::AfterTool(tool())),
            ("after step", EventKind::AfterTools),
            ("stop", EventKind::Stop),
            ("needs human", EventKind::NeedsHuman(tool())),
            ("failed", EventKind::Failed(tool())),
            ("idle", EventKind::Idle),
            ("other", EventKind::Other),
            ("end", EventKind::End),
            ("reminds", EventKind::Reminds { what: tool(), when_idle: true }),
            ("answered", EventKind::Answered),
        ]
    }

    /// row 1, row 2: the table of evidence. Columns are the events in the order of `events`; R: read, L: lost,
    /// H: open, and its turn goes on, `.`: open.
    #[test]
    fn each_event_proves_only_what_no_version_of_an_agent_can_send_without_the_model() {
        let same = TurnFacts { prompt: PromptRelation::Same, ..ENDS };
        let unknown = TurnFacts { prompt: PromptRelation::Unknown, ..ENDS };
        let steps = TurnFacts { tells_steps: true, ..same };
        let no_ends = TurnFacts { tells_ends: false, ..unknown };
        let legacy = TurnFacts { is_legacy: true, ..no_ends };
        let rows = [
            // Claude Code from 2.1.196 and Codex, which name prompts: an event of the known prompt.
            ("same prompt", same, Path::Start, ".L..........."),
            ("same prompt", same, Path::Prompt, "..RRRR......."),
            ("same prompt", same, Path::Tools, "..HHHR......."),
            ("same prompt", same, Path::Stop, "..RRRR......."),
            // The same, with a hook for the end of each step.
            ("steps", steps, Path::Tools, "..RHHR......."),
            // An event of another prompt.
            ("other prompt", ENDS, Path::Start, ".L..........."),
            ("other prompt", ENDS, Path::Prompt, ".LLLLL......."),
            ("other prompt", ENDS, Path::Tools, ".LLLLL......."),
            ("other prompt", ENDS, Path::Stop, ".LLLLL......."),
            // Claude Code before 2.1.196 and Gemini CLI, which name none.
            ("unnamed prompt", unknown, Path::Start, ".L..........."),
            ("unnamed prompt", unknown, Path::Prompt, ".LRHHR......."),
            ("unnamed prompt", unknown, Path::Tools, ".LHHHR......."),
            ("unnamed prompt", unknown, Path::Stop, ".LRRRR......."),
            // Any agent whose hooks for the end of a turn are not installed.
            ("no ends", no_ends, Path::Start, ".L..........."),
            ("no ends", no_ends, Path::Prompt, ".RRHHR......."),
            ("no ends", no_ends, Path::Tools, ".LHHHR......."),
            // marshal 0.9's hooks.
            ("0.9", legacy, Path::Start, "............."),
            ("0.9", legacy, Path::Prompt, ".RRHHR......."),
            // A turn's end that says whether a hook had prolonged the turn.
            ("prolonged", TurnFacts { prolonged: Some(true), ..ENDS }, Path::Stop, ".LLLLR......."),
            ("not prolonged", TurnFacts { prolonged: Some(false), ..same }, Path::Stop, "..RRRL......."),
            ("not prolonged", TurnFacts { prolonged: Some(false), ..same }, Path::Prompt, "..RRRR......."),
        ];
        for (name, turn, path, expected) in rows {
            for ((event, kind), expected) in events().into_iter().zip(expected.chars()) {
                let expected = match expected {
                    'R' => Verdict::Read,
                    'L' => Verdict::Lost,
                    'H' => Verdict::Holds,
                    _ => Verdict::Open,
                };
                assert_eq!(verdict(&kind, path, turn), expected, "{name}: {path:?}, then {event}");
            }
        }
        for path in [Path::Wait, Path::Push, Path::Inbox] {
            for turn in [same, ENDS, unknown, steps, no_ends, legacy] {
                for (event, kind) in events() {
                    assert_eq!(verdict(&kind, path, turn), Verdict::Open, "{path:?}, then {event}");
                }
            }
        }
    }
}

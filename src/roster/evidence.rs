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
}

/// What an event shows of a delivery that went out by `path` before it.
pub(super) fn verdict(kind: &EventKind, path: Path, turn: TurnFacts) -> Verdict {
    if !is_hook_answer(path) {
        // A waiter, a push and a command are proved by an acknowledgement or by the message's id in a prompt.
        return Verdict::Open;
    }
    let is_missed_prompt = turn.prompt == PromptRelation::Other && path != Path::Start;
    match kind {
        EventKind::Prompt { .. } => after_prompt(path, turn),
        // The event of a turn whose prompt was not heard: the turn of the delivery is over, and its end was not seen.
        EventKind::BeforeTool(_) | EventKind::AfterTool(_) | EventKind::AfterTools | EventKind::Stop
            if is_missed_prompt =>
        {
            Verdict::Lost
        }
        // Only the model begins a tool or ends a turn.
        EventKind::BeforeTool(_) | EventKind::Stop => Verdict::Read,
        // Other tools of the step may still run, whose results go to the model together.
        EventKind::AfterTool(_) if path == Path::Tools => Verdict::Open,
        EventKind::AfterTools if path == Path::Tools && !turn.tells_steps => Verdict::Open,
        EventKind::AfterTool(_) | EventKind::AfterTools => Verdict::Read,
        // marshal 0.9's hooks tell nothing else of a last turn.
        EventKind::End if turn.is_legacy && path == Path::Prompt => Verdict::Read,
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
        // A start's answer goes to the model with the first prompt that is not erased.
        Path::Start => Verdict::Open,
        // Two hooks of one prompt.
        _ if turn.prompt == PromptRelation::Same => Verdict::Open,
        Path::Prompt if !turn.tells_ends => Verdict::Read,
        _ => Verdict::Lost,
    }
}

fn is_hook_answer(path: Path) -> bool {
    matches!(path, Path::Start | Path::Prompt | Path::Tools | Path::Stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: TurnFacts =
        TurnFacts { prompt: PromptRelation::Other, tells_steps: false, tells_ends: true, is_legacy: false };

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

    /// row 1, row 2: the table of evidence. Columns are the events in the order of `events`; R: read, L: lost, `.`: open.
    #[test]
    fn each_event_proves_only_what_no_version_of_an_agent_can_send_without_the_model() {
        let same = TurnFacts { prompt: PromptRelation::Same, ..ENDS };
        let unknown = TurnFacts { prompt: PromptRelation::Unknown, ..ENDS };
        let steps = TurnFacts { tells_steps: true, ..same };
        let no_ends = TurnFacts { tells_ends: false, ..unknown };
        let legacy = TurnFacts { is_legacy: true, ..no_ends };
        let rows = [
            // Claude Code from 2.1.196 and Codex, which name prompts: an event of the known prompt.
            ("same prompt", same, Path::Start, "..RRRR......."),
            ("same prompt", same, Path::Prompt, "..RRRR......."),
            ("same prompt", same, Path::Tools, "..R..R......."),
            ("same prompt", same, Path::Stop, "..RRRR......."),
            // The same, with a hook for the end of each step.
            ("steps", steps, Path::Tools, "..R.RR......."),
            // An event of another prompt.
            ("other prompt", ENDS, Path::Start, "..RRRR......."),
            ("other prompt", ENDS, Path::Prompt, ".LLLLL......."),
            ("other prompt", ENDS, Path::Tools, ".LLLLL......."),
            ("other prompt", ENDS, Path::Stop, ".LLLLL......."),
            // Claude Code before 2.1.196 and Gemini CLI, which name none.
            ("unnamed prompt", unknown, Path::Start, "..RRRR......."),
            ("unnamed prompt", unknown, Path::Prompt, ".LRRRR......."),
            ("unnamed prompt", unknown, Path::Tools, ".LR..R......."),
            ("unnamed prompt", unknown, Path::Stop, ".LRRRR......."),
            // Any agent whose hooks for the end of a turn are not installed.
            ("no ends", no_ends, Path::Start, "..RRRR......."),
            ("no ends", no_ends, Path::Prompt, ".RRRRR......."),
            ("no ends", no_ends, Path::Tools, ".LR..R......."),
            // marshal 0.9's hooks.
            ("0.9", legacy, Path::Start, "..RRRR......."),
            ("0.9", legacy, Path::Prompt, ".RRRRR....R.."),
        ];
        for (name, turn, path, expected) in rows {
            for ((event, kind), expected) in events().into_iter().zip(expected.chars()) {
                let expected = match expected {
                    'R' => Verdict::Read,
                    'L' => Verdict::Lost,
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

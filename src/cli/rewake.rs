//! Whether the agent that runs `marshal hook wait` starts a turn when it ends: Claude Code does, from the version on that
//! knows `asyncRewake`. Any other agent would wait for the hook, and its user with it.

use super::World;
use crate::config;
use crate::transcript;
use serde_json::{Map, Value};
use std::path::Path;

/// The first version of Claude Code that knows `asyncRewake`.
const FIRST: [u32; 3] = [2, 1, 69];

/// Whether the agent that sends this event starts a turn when its hook exits with 2.
pub(super) fn is_known(event: &Map<String, Value>, world: &World<'_>) -> bool {
    let text = |name: &str| event.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(path), Some(session)) = (text("transcript_path"), text("session_id")) else { return false };
    // Other programs run the same settings file, and some inherit its agent's environment.
    if !(path.contains("/projects/") && path.ends_with(&format!("/{session}.jsonl"))) {
        return false;
    }
    let environment = config::set(world.env, "AI_AGENT").and_then(|agent| named_version(agent.to_str()?));
    let version = environment.or_else(|| transcript::claude_version(Path::new(path)));
    // Claude Code 2.1.196 and 2.1.214 began to tell these.
    let is_recent = || text("prompt_id").is_some() || config::set(world.env, "CLAUDE_PID").is_some();
    version.map_or_else(is_recent, |version| version >= FIRST)
}

/// The version in a name such as `claude-code_2-1-332_harness`.
fn named_version(agent: &str) -> Option<[u32; 3]> {
    let version = agent.strip_prefix("claude-code_")?.split('_').next()?;
    transcript::version(&version.replace('-', "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_agent_s_name() {
        assert_eq!(named_version("claude-code_2-1-332_harness"), Some([2, 1, 332]));
        assert_eq!(named_version("claude-code_2-1-69_agent"), Some(FIRST));
        for other in ["", "claude-code", "claude-code_", "claude-code_2-1_x", "codex_2-1-332", "claude-code_a-b-c_x"] {
            assert_eq!(named_version(other), None, "{other}");
        }
    }
}

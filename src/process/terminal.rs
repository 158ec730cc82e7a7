//! Whether a person can be at the other end of a terminal: which processes share it, and whether one of them runs below an
//! agent. It must not decide who speaks; the roster does, which knows the agents' processes.

use super::facts::{look, read_once};
use crate::limits::{ENVIRONMENT_BYTES_MAX, TERMINAL_PROCESSES_MAX};
use crate::model::Process;
use memchr::memmem;
use std::fs;

/// Variables that agents set for everything that they run. A person's own shell has none of them.
const AGENT_VARIABLES: [&str; 6] = [
    "CLAUDECODE=",
    "CLAUDE_CODE_SESSION_ID=",
    "CODEX_THREAD_ID=",
    "CODEX_SESSION_ID=",
    "CODEX_SANDBOX=",
    "GEMINI_CLI=",
];

/// The processes on the terminal of a process, itself among them; none if an agent has started it, or if that cannot be told.
pub(super) fn shared_with(pid: u32, terminal: i32) -> Option<Vec<Process>> {
    if starts_below_an_agent(pid)? {
        return None;
    }
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends meanwhile is on no terminal.
        let Ok(Some(seen)) = look(pid) else { continue };
        if seen.terminal == terminal {
            found.push(seen.process);
        }
        if found.len() > TERMINAL_PROCESSES_MAX {
            return None;
        }
    }
    Some(found)
}

/// Whether the environment that a process was started with names an agent. It stays with what an agent leaves behind.
fn starts_below_an_agent(pid: u32) -> Option<bool> {
    let mut buffer = vec![0; ENVIRONMENT_BYTES_MAX];
    let text = read_once(&format!("/proc/{pid}/environ"), &mut buffer).ok()?;
    // A part of it tells nothing.
    (text.len() < ENVIRONMENT_BYTES_MAX).then(|| names_an_agent(text))
}

fn names_an_agent(environment: &[u8]) -> bool {
    AGENT_VARIABLES.iter().any(|variable| {
        memmem::find_iter(environment, variable.as_bytes()).any(|at| at == 0 || environment[at - 1] == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// row 104, row 17: an agent's variables are found where they are set, and not in other values.
    #[test]
    fn an_environment_tells_whether_an_agent_made_it() {
        let table: [(&[u8], bool); 6] = [
            (b"", false),
            (b"CLAUDECODE=1\0PATH=/bin\0", true),
            (b"PATH=/bin\0CODEX_THREAD_ID=019d\0", true),
            (b"PATH=/bin\0NOTE=CODEX_THREAD_ID=019d\0", false),
            (b"MY_GEMINI_CLI=1\0", false),
            (b"PATH=/bin\0CLAUDE_CODE_SESSION_ID=x", true),
        ];
        for (environment, expected) in table {
            assert_eq!(names_an_agent(environment), expected, "{}", String::from_utf8_lossy(environment));
        }
    }
}

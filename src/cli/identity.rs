//! Who speaks when a command speaks: a session or a person, from the options and the environment. It must not ask the
//! daemon; it words what the daemon's answer means for the one who asked.

use super::Problem;
use super::args::{Parsed, UsageError};
use crate::config::{Env, set};
use crate::ids::HUMAN_PREFIX;
use serde_json::Value;

/// Where a session's name came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An option.
    Option,
    /// `MARSHAL_SESSION`.
    Marshal,
    /// A variable that an agent sets in the shells that it opens, by its place in [`AGENT_VARIABLES`].
    Agent(usize),
}

/// The variables that hold an agent's session id, each with the agent's name.
pub(crate) const AGENT_VARIABLES: [(&str, &str); 3] =
    [("CLAUDE_CODE_SESSION_ID", "Claude Code"), ("CODEX_THREAD_ID", "Codex"), ("CODEX_SESSION_ID", "Codex")];

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// A session.
    Session {
        /// Its id, or what was given for it.
        id: String,
        /// Where that stood.
        source: Source,
    },
    /// A person, by an option.
    Human(String),
    /// A person, since nobody has said otherwise: if the daemon finds out that the command was given in a session's own
    /// shell, it is that session.
    HumanElse(String),
}

impl Speaker {
    /// Adds who speaks to a request.
    pub(crate) fn sign(&self, request: &mut Value) {
        match self {
            Self::Session { id, .. } => request["asSession"] = Value::from(id.as_str()),
            Self::Human(name) => request["human"] = Value::from(name.as_str()),
            Self::HumanElse(name) => request["elseHuman"] = Value::from(name.as_str()),
        }
    }

    /// Who speaks, as a parameter of a query.
    pub(crate) fn query(&self) -> (&'static str, String) {
        match self {
            Self::Session { id, .. } => ("session", id.clone()),
            Self::Human(name) => ("human", name.clone()),
            Self::HumanElse(name) => ("elseHuman", name.clone()),
        }
    }

    /// The name, for people.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Session { id, .. } => id,
            Self::Human(name) | Self::HumanElse(name) => name,
        }
    }
}

/// Who speaks: what the options say; else the session that the environment names; else the person.
///
/// An option wins over the environment, also the option for a person over a session's variable: an option that is given
/// and silently ignored would make the command say something in the wrong name.
pub(crate) fn speaker(
    parsed: &Parsed,
    session_flag: &str,
    human_flag: &str,
    env: Env<'_>,
) -> Result<Speaker, UsageError> {
    let bare = |name: &str| name.strip_prefix(HUMAN_PREFIX).unwrap_or(name).to_owned();
    match (parsed.text(session_flag)?, parsed.text(human_flag)?) {
        (Some(_), Some(_)) => {
            return Err(parsed.usage(format!("--{session_flag} and --{human_flag} exclude each other")));
        }
        (Some(id), None) => return Ok(Speaker::Session { id: id.to_owned(), source: Source::Option }),
        (None, Some(name)) => return Ok(Speaker::Human(bare(name))),
        (None, None) => {}
    }
    if let Some(id) = named(parsed, env, "MARSHAL_SESSION")? {
        return Ok(Speaker::Session { id, source: Source::Marshal });
    }
    match agent_session(parsed, session_flag, env)? {
        Some(session) => Ok(session),
        None => Ok(Speaker::HumanElse(bare(&person(env)))),
    }
}

/// The session of the agent that runs the command. Where two agents have set their variables, one runs inside the other, and
/// the variables do not tell which.
fn agent_session(parsed: &Parsed, session_flag: &str, env: Env<'_>) -> Result<Option<Speaker>, UsageError> {
    let mut found: Option<(usize, String)> = None;
    for (at, (variable, agent)) in AGENT_VARIABLES.iter().enumerate() {
        let Some(id) = named(parsed, env, variable)? else { continue };
        match &found {
            Some((first, _)) if AGENT_VARIABLES[*first].1 != *agent => {
                let other = AGENT_VARIABLES[*first].0;
                let message = format!("{other} and {variable} name two sessions: say which one with --{session_flag}");
                return Err(parsed.usage(message));
            }
            Some(_) => {}
            None => found = Some((at, id)),
        }
    }
    Ok(found.map(|(at, id)| Speaker::Session { id, source: Source::Agent(at) }))
}

fn named(parsed: &Parsed, env: Env<'_>, variable: &str) -> Result<Option<String>, UsageError> {
    let value = set(env, variable).map(|id| id.into_string());
    value.transpose().map_err(|_| parsed.usage(format!("{variable} is not UTF-8")))
}

/// The name of the person whose environment this is.
pub(crate) fn person(env: Env<'_>) -> String {
    let names = ["MARSHAL_OPERATOR", "USER", "USERNAME"].into_iter().filter_map(|variable| set(env, variable));
    names.filter_map(|name| name.into_string().ok()).next().unwrap_or_else(|| "anonymous".to_owned())
}

/// The daemon's answer to `speaker`. That a session is unknown is explained where the person who typed the command has
/// not named it; where that one has, the daemon's words tell more.
pub(crate) fn answer_for<T>(speaker: &Speaker, answer: Result<T, Problem>) -> Result<T, Problem> {
    answer.map_err(|problem| match speaker {
        Speaker::Session { id, source } if problem.daemon_code == "unknown_caller" => {
            let id = super::text::line(id);
            let message = match source {
                Source::Option => format!("{}; 'marshal ls' lists the sessions", problem.message),
                Source::Agent(at) => {
                    let (variable, agent) = AGENT_VARIABLES[*at];
                    format!(
                        "this shell belongs to the {agent} session {id} ({variable}), which is not on the roster: its \
                         hooks have not reached this daemon. Prompt it once with the hooks in place, or speak as \
                         somebody else with an option (see --help)."
                    )
                }
                Source::Marshal => {
                    format!("{} (MARSHAL_SESSION); 'marshal ls' lists the sessions", problem.message)
                }
            };
            Problem { message, ..problem }
        }
        _ => problem,
    })
}

/// The same of an answer that is about nothing but the speaker: nothing else can be what was not found.
pub(crate) fn answer_about<T>(speaker: &Speaker, answer: Result<T, Problem>) -> Result<T, Problem> {
    let answer = answer.map_err(|problem| match problem.daemon_code.as_str() {
        "not_found" => Problem { daemon_code: "unknown_caller".to_owned(), ..problem },
        _ => problem,
    });
    answer_for(speaker, answer)
}

#[cfg(test)]
mod tests {
    use super::super::args::parse;
    use super::*;
    use crate::error::exit_code;
    use std::ffi::OsString;

    fn who(line: &str, env: &[(&str, &str)]) -> Result<Speaker, UsageError> {
        let parsed = parse(line.split_whitespace().map(OsString::from)).unwrap();
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        let (session, human) = if line.starts_with("send") { ("as", "from") } else { ("session", "human") };
        speaker(&parsed, session, human, &env)
    }

    #[test]
    fn the_speaker_is_the_first_that_is_named() {
        let session = |id: &str, source| Ok(Speaker::Session { id: id.to_owned(), source });
        let human = |name: &str| Ok(Speaker::Human(name.to_owned()));
        let or_human = |name: &str| Ok(Speaker::HumanElse(name.to_owned()));
        let all = [("MARSHAL_SESSION", "m"), ("CLAUDE_CODE_SESSION_ID", "c"), ("MARSHAL_OPERATOR", "o"), ("USER", "u")];
        assert_eq!(who("send --as s x y", &all), session("s", Source::Option));
        assert_eq!(who("send --from ana x y", &all), human("ana"));
        assert_eq!(who("send x y", &all), session("m", Source::Marshal));
        assert_eq!(who("send x y", &all[1..]), session("c", Source::Agent(0)));
        assert_eq!(who("send x y", &all[2..]), or_human("o"));
        // row 17: an agent that runs `marshal send` is never its human.
        let codex = [("CODEX_THREAD_ID", "t"), ("CODEX_SESSION_ID", "s"), ("USER", "u")];
        assert_eq!(who("send x y", &codex), session("t", Source::Agent(1)));
        assert_eq!(who("send x y", &codex[1..]), session("s", Source::Agent(2)));
        let nested = [("CLAUDE_CODE_SESSION_ID", "c"), ("CODEX_THREAD_ID", "t")];
        assert!(who("send x y", &nested).unwrap_err().message.contains("say which one with --as"));
        assert_eq!(who("send x y", &all[3..]), or_human("u"));
        assert_eq!(who("send x y", &[("USER", ""), ("USERNAME", "w")]), or_human("w"));
        assert_eq!(who("send x y", &[]), or_human("anonymous"));
        assert_eq!(who("inbox --human human:ana", &all), human("ana"));
        assert_eq!(who("inbox --session s", &all), session("s", Source::Option));
        assert!(who("send --as s --from h x y", &[]).is_err());
    }

    #[test]
    fn an_unknown_session_of_the_shell_is_explained() {
        let unknown = || Problem {
            daemon_code: "unknown_caller".to_owned(),
            ..Problem::new(exit_code::REFUSED, "asSession 'c' is not on the roster")
        };
        let speaker = |source| Speaker::Session { id: "c".to_owned(), source };
        let told = answer_for::<String>(&speaker(Source::Agent(0)), Err(unknown())).unwrap_err();
        assert!(told.message.starts_with("this shell belongs to the Claude Code session c (CLAUDE_CODE_SESSION_ID)"));
        let told = answer_for::<String>(&speaker(Source::Marshal), Err(unknown())).unwrap_err();
        assert!(told.message.contains("MARSHAL_SESSION"));
        assert_eq!(answer_for::<String>(&Speaker::Human("h".to_owned()), Err(unknown())), Err(unknown()));
        let other = Problem { daemon_code: "not_found".to_owned(), ..unknown() };
        assert_eq!(answer_for::<String>(&speaker(Source::Agent(0)), Err(other.clone())), Err(other));
    }
}

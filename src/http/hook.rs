//! The hook paths of marshal 0.9: raw hook JSON in, text for the agent's context out. An error has an empty body, since
//! curl would print anything else into that context; the reason goes into a header and the log.

use super::caller::{caller, is_related};
use super::{Action, Response, Shape, json_object, query::Query};
use crate::error::{ErrorKind, RequestError};
use crate::gate::{self, respond::without_secrets};
use crate::limits::LOGGED_LINE_CHARACTERS_MAX;
use crate::model::{Host, Process};
use crate::process;
use crate::roster::{Caller, HookReport, Request};
use serde::Deserialize;
use std::sync::Arc;
use tiny_http::Method;

/// What the hooks of the known hosts send, as far as it matters here.
#[derive(Deserialize)]
struct HookBody {
    session_id: String,
    cwd: Option<String>,
    workspace: Option<Workspace>,
    /// Set inside a subagent, which is no session of its own.
    agent_id: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Workspace {
    current_dir: Option<String>,
}

pub(super) fn route(request: &gate::Request) -> Action {
    let to_request: fn(HookReport) -> Request = match request.path.as_str() {
        "/hook/session-start" => Request::session_start,
        "/hook/prompt-submit" => Request::prompt_submit,
        "/hook/session-end" => |report| Request::session_end(report.session_id.as_str().into()),
        other => {
            return Action::Respond(error(&RequestError::not_found(format!(
                "there is no hook {}",
                without_secrets(other)
            ))));
        }
    };
    if request.method != Method::Post {
        let wrong = RequestError::new(ErrorKind::MethodNotAllowed, "hooks take POST");
        let mut response = error(&wrong);
        response.headers.push(("Allow", "POST".to_owned()));
        return Action::Respond(response);
    }
    match report(request) {
        Ok(Some(mut report)) => match caller(request) {
            Ok(caller) => {
                report.process = report.process.filter(|process| is_own(&caller, process));
                Action::Ask(to_request(report).by(caller), Shape::Hook)
            }
            Err(unknown) => Action::Respond(error(&unknown)),
        },
        Ok(None) => Action::Respond(empty()),
        Err(invalid) => Action::Respond(error(&invalid)),
    }
}

/// What the request reports; nothing if it comes from a subagent.
fn report(request: &gate::Request) -> Result<Option<HookReport>, RequestError> {
    let invalid = |error: serde_json::Error| RequestError::invalid(format!("the body is no hook JSON: {error}"));
    let body: HookBody = json_object(&request.body).map_err(invalid)?;
    if body.session_id.is_empty() {
        return Err(RequestError::invalid("the body's session_id is empty"));
    }
    if body.agent_id.is_some() {
        return Ok(None);
    }
    let query = Query::parse(request.query.as_deref())?;
    let text = |name: &str| Arc::from(query.get(name).unwrap_or_default());
    let host = query.get("host").map(|name| Host {
        name: Arc::from(name.split('.').next().unwrap_or_default()),
        os: text("os"),
        arch: text("arch"),
    });
    let cwd = body.cwd.or_else(|| body.workspace.and_then(|workspace| workspace.current_dir));
    let operator = query.get("operator").map(str::to_owned);
    // A session that ends needs none.
    let process = if request.path == "/hook/session-end" { None } else { process(&query) };
    Ok(Some(HookReport { session_id: body.session_id, cwd, host, operator, process }))
}

/// Whether the session may live in this process, as far as the caller can tell.
fn is_own(caller: &Caller, process: &Process) -> bool {
    let is_related = is_related(&caller.known, process);
    if !is_related {
        log::debug!("the pid {} of a hook is left out: the hook does not run in or above that process", process.pid);
    }
    is_related
}

/// The process that the session lives in, if the hook says so and there is such a one of ours on this machine. Else the
/// session is as good as one whose process is not known: a hook must not fail for that.
fn process(query: &Query) -> Option<Process> {
    let (text, host) = (query.get("pid")?, query.get("host"));
    let found = match text.parse() {
        // The first process of a system is nobody's agent: from it everything descends.
        Err(_) | Ok(0 | 1) => Err("it is no process id of an agent".to_owned()),
        Ok(_) if host.is_some_and(|host| !process::is_this_machine(host)) => Err("it is of another machine".to_owned()),
        Ok(pid) => match process::identify_own(pid) {
            Ok(Some(process)) => Ok(process),
            Ok(None) => Err("there is no such process of ours".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    };
    found.inspect_err(|reason| log::debug!("the pid of a hook is left out: {reason}")).ok()
}

/// The answer that puts `text` before the agent.
pub(super) fn text(text: String) -> Response {
    let content_type = Some("text/plain; charset=utf-8");
    Response { status: 200, content_type, body: text.into_bytes(), ..Response::default() }
}

/// The answer that says nothing.
pub(super) fn empty() -> Response {
    text(String::new())
}

/// The answer to what cannot be done.
pub(super) fn error(error: &RequestError) -> Response {
    // What it quotes comes from outside: no control character of it may reach a terminal.
    let quoted: String =
        error.to_string().chars().take(LOGGED_LINE_CHARACTERS_MAX).flat_map(char::escape_default).collect();
    // The store has said once that the log is full; saying it for each hook would fill the next disk.
    let level = if error.kind == ErrorKind::StorageFull { log::Level::Debug } else { log::Level::Warn };
    log::log!(level, "a hook was refused: {}: {quoted}", error.kind.code());
    let reason = format!("{}; {}", error.kind.code(), error);
    Response { status: error.kind.http_status(), headers: vec![("Marshal-Error", reason)], ..Response::default() }
}

//! The hook paths: raw hook JSON in, text for the agent's context out. There is one path for all events of each host, which
//! answers in that host's form, and the three of marshal 0.9, which answer with plain text. An error has an empty body, since
//! curl would print anything else into that context; the reason goes into a header and the log.

mod answer;
mod claude;
mod codex;
mod foreign;
mod gemini;
mod host;
mod report;
mod told;
pub(super) mod wait;

pub(super) use answer::{Form, error};

use super::query::Query;
use super::{Action, Home, Shape};
use crate::error::{ErrorKind, RequestError};
use crate::gate::{self, respond::without_secrets};
use crate::model::Path;
use crate::roster::{EventKind, HookEvent, HookReport, Request};
use report::Place;
use tiny_http::Method;
use told::Told;

/// What a hook asks for.
enum Asked {
    /// Something of the store, to be answered in this form.
    Store(Box<Request>, Form),
    /// Mail of a session, as soon as it comes.
    Wait(Box<wait::Wish>),
    /// To wait, for one to whom no mail comes: it is from a subagent.
    WaitInVain,
    /// Nothing: it comes from a subagent.
    Nothing(Form),
}

pub(super) fn route(request: &gate::Request, home: &Home) -> Action {
    let path = request.path.as_str();
    let Some(read) = reader(path) else {
        let unknown = RequestError::not_found(format!("there is no hook {}", without_secrets(path)));
        return Action::Respond(error(&unknown));
    };
    if request.method != Method::Post {
        let wrong = RequestError::new(ErrorKind::MethodNotAllowed, "hooks take POST");
        let mut response = error(&wrong);
        response.headers.push(("Allow", "POST".to_owned()));
        return Action::Respond(response);
    }
    match read(request, home) {
        Ok(Asked::Store(request, form)) => Action::Ask(*request, Shape::Hook(form)),
        Ok(Asked::Wait(wish)) => Action::Wait(*wish),
        Ok(Asked::WaitInVain) => Action::Respond(wait::over()),
        Ok(Asked::Nothing(form)) => Action::Respond(form.silent()),
        Err(invalid) => Action::Respond(error(&invalid)),
    }
}

type Read = fn(&gate::Request, &Home) -> Result<Asked, RequestError>;

/// How the requests to a path are read.
fn reader(path: &str) -> Option<Read> {
    Some(match path {
        "/hook/claude" => claude::read,
        "/hook/codex" => |request, home| codex::HOST.read(request, home),
        "/hook/gemini" => |request, home| gemini::HOST.read(request, home),
        "/hook/wait" => wait::read,
        "/hook/session-start" => |request, home| plain(request, home, "SessionStart", started),
        "/hook/prompt-submit" => {
            |request, home| plain(request, home, "UserPromptSubmit", |report, _| Request::prompt_submit(report))
        }
        "/hook/session-end" => |request, home| {
            plain(request, home, "SessionEnd", |report, _| Request::session_end(report.session_id.as_str().into()))
        },
        _ => return None,
    })
}

/// A session that began, or only got a shorter context.
fn started(report: HookReport, told: &Told<'_>) -> Request {
    let kind = EventKind::Start { same_context: told.source() == "compact" };
    Request::HookEvent(Box::new(HookEvent { report, kind, takes: Some(Path::Start), ..HookEvent::default() }))
}

/// Reads a request of marshal 0.9's hooks. `event` is Claude Code's name for it.
fn plain(
    request: &gate::Request,
    home: &Home,
    event: &'static str,
    to_request: fn(HookReport, &Told<'_>) -> Request,
) -> Result<Asked, RequestError> {
    let told = Told::of(request)?;
    if let Some(other) = foreign::marked(&told) {
        return foreign::host(other).read_told(request, home, &told, Some(event));
    }
    let query = Query::parse(request.query.as_deref())?;
    let session_id = report::session(&told, &query)?;
    if told.is_of_subagent() {
        return Ok(Asked::Nothing(Form::PLAIN));
    }
    let place = Place { query: &query, headers: &[] };
    // A session that ends needs no process.
    let (report, caller) = report::of(session_id, told.cwd(), &place, event != "SessionEnd", request, home)?;
    Ok(Asked::Store(Box::new(to_request(report, &told).by(caller)), Form::PLAIN))
}

#[cfg(test)]
#[path = "hook/state_tests.rs"]
mod state_tests;

//! One address for all events of a host: any of its hooks' JSON becomes a `HookEvent`. It must not know any host's words;
//! each has a file of its own.

use super::super::Home;
use super::answer::{Form, Wrap};
use super::report::{self, Place};
use super::told::{Told, quoted};
use super::{Asked, Query};
use crate::error::RequestError;
use crate::gate;
use crate::model::{Agent, Path};
use crate::roster::{EventKind, HookEvent, Request};

/// What there is to know of a host.
pub(super) struct Host {
    /// Which one it is.
    pub(super) agent: Agent,
    /// What an event means. The ids that a prompt quotes are filled in for it.
    pub(super) kind: fn(&str, &Told<'_>) -> EventKind,
    /// Whether text in the answer to an event reaches the model, by which way, and in which form.
    pub(super) takes: fn(&str, &Told<'_>) -> Option<(Path, Wrap)>,
    /// The body of an answer that says nothing.
    pub(super) silence: &'static str,
    /// `true` if the `pid` in its hook lines is its own process.
    pub(super) tells_process: bool,
}

impl Host {
    /// What the request asks for.
    ///
    /// # Errors
    /// The body is no JSON object or names no session; the query or a header cannot be read.
    pub(super) fn read(&self, request: &gate::Request, home: &Home) -> Result<Asked, RequestError> {
        self.read_told(request, home, &Told::of(request)?, None)
    }

    /// Reads the rest of a request. `named` is the event, where the address says it.
    ///
    /// # Errors
    /// The body names no session; the query or a header cannot be read.
    pub(super) fn read_told(
        &self,
        request: &gate::Request,
        home: &Home,
        told: &Told<'_>,
        named: Option<&str>,
    ) -> Result<Asked, RequestError> {
        let query = Query::parse(request.query.as_deref())?;
        let session_id = report::session(told, &query)?;
        let of_subagent = told.is_of_subagent();
        let name = named.or(query.get("event")).map_or_else(|| told.event(), str::to_owned);
        let mut kind = (self.kind)(&name, told);
        if let EventKind::Prompt { quoted: ids } = &mut kind {
            *ids = quoted(&request.body);
        }
        if of_subagent && !matches!(kind, EventKind::NeedsHuman(_) | EventKind::AfterTool(_)) {
            kind = EventKind::Other;
        }
        // A subagent is no session of its own, and no mail is for it.
        let takes = (self.takes)(&name, told).filter(|_| !of_subagent);
        let form = Form { wrap: takes.map(|(_, wrap)| wrap), silence: self.silence };
        let place = Place { query: &query, headers: &request.headers };
        let (report, caller) =
            report::of(session_id, told.cwd(), &place, self.tells_process && kind != EventKind::End, request, home)?;
        let event = HookEvent {
            report,
            agent: Some(self.agent),
            kind,
            model: told.model().filter(|_| !of_subagent),
            permission_mode: told.permission_mode().filter(|_| !of_subagent),
            title: told.title().filter(|_| !of_subagent),
            prompt_id: told.prompt_id().filter(|_| !of_subagent),
            prolonged: told.prolonged().filter(|_| !of_subagent),
            tool: told.tool_use(),
            question: told.asks(),
            own_task: told.own_task(),
            of_subagent,
            transcript: told.transcript().filter(|_| !of_subagent),
            takes: takes.map(|(path, _)| path),
        };
        Ok(Asked::Store(Box::new(Request::HookEvent(Box::new(event)).by(caller)), form))
    }
}

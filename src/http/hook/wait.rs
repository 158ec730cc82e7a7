//! `POST /hook/wait`: a caller who waits until mail comes for its session, and is told it then, to wake it. Its connection
//! waits at the gate, its name with the store; here is how the two get together. It must not decide what wakes a session.

use super::super::{Answer, Answers, Home, Response, Shape, Worker, deliver};
use super::answer::Form;
use super::report::{self, Place};
use super::told::Told;
use super::{Asked, Query, foreign};
use crate::error::RequestError;
use crate::gate::{self, Caller, Farewells, Parked, Terms};
use crate::ids::SessionId;
use crate::limits::{WAIT_SECONDS_MAX, WAKES_QUEUED_MAX};
use crate::model::Priority;
use crate::roster::{EventKind, HookEvent, HookReply, Request};
use crate::store::{Command, Waiter};
use crossbeam_channel::{Sender, TrySendError};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What somebody wants to wait for.
pub(in crate::http) struct Wish {
    request: Request,
    until: Instant,
}

/// What is answered to those who have waited for nothing: that, and whether to come again.
pub(in crate::http) fn farewells() -> Farewells {
    let again = Response { headers: vec![("Retry-After", "1".to_owned())], ..over() };
    Farewells { over: over().into_bytes(), stopping: again.into_bytes() }
}

/// The answer to one who has waited for nothing.
pub(super) fn over() -> Response {
    Response { status: 204, ..Response::default() }
}

/// What the request asks for.
///
/// # Errors
/// The body is no JSON object or names no session; the query or a header cannot be read.
pub(super) fn read(request: &gate::Request, home: &Home) -> Result<Asked, RequestError> {
    let told = Told::of(request)?;
    let query = Query::parse(request.query.as_deref())?;
    let session_id = report::session(&told, &query)?;
    let at_least = match query.get("for") {
        None | Some("now") => Priority::Now,
        Some("next") => Priority::Next,
        Some(_) => return Err(RequestError::invalid("for= is now, which is meant without it, or next")),
    };
    let seconds = match query.get("timeout").map(str::parse) {
        None => WAIT_SECONDS_MAX,
        Some(Ok(seconds @ 1..=WAIT_SECONDS_MAX)) => seconds,
        Some(_) => return Err(RequestError::invalid(format!("timeout= is 1 to {WAIT_SECONDS_MAX} seconds"))),
    };
    // A subagent is no session, and other programs do not start a turn when the hook exits with 2.
    if told.is_of_subagent() || foreign::program(&told).is_some() {
        return Ok(Asked::WaitInVain);
    }
    let place = Place { query: &query, headers: &request.headers };
    let (report, caller) = report::of(session_id, told.cwd(), &place, true, request, home)?;
    // By the names of Claude Code and Codex, and of Gemini CLI.
    let is_end = ["Stop", "AfterAgent"].contains(&told.event().as_str());
    let kind = if is_end { EventKind::Stop } else { EventKind::Other };
    let event = Box::new(HookEvent { report, kind, ..HookEvent::default() });
    let request = Request::Wait { event, at_least }.by(caller);
    let until = Instant::now() + Duration::from_secs(seconds);
    Ok(Asked::Wait(Box::new(Wish { request, until })))
}

/// Somebody who waits, as the store knows it.
struct Waits {
    number: u64,
    until: Instant,
    /// Until it begins to wait.
    caller: Option<Caller>,
    /// From then on.
    parked: Option<Parked>,
    farewells: Arc<Farewells>,
    store: Sender<Command>,
    answers: Answers,
}

impl Waiter for Waits {
    fn number(&self) -> u64 {
        self.number
    }

    fn begin(&mut self, session: &SessionId) -> bool {
        let (store, session, number) = (self.store.clone(), session.clone(), self.number);
        let left = Box::new(move || {
            // Full: it is found to be gone when it is to be woken.
            let _ = store.try_send(Command::WaiterGone { session, number });
        });
        let terms = Terms { until: self.until, farewells: self.farewells.clone(), left };
        self.parked = self.caller.take().and_then(|caller| caller.park(terms));
        self.parked.is_some()
    }

    fn wake(mut self: Box<Self>, reply: HookReply) -> Result<(), (Box<dyn Waiter>, HookReply)> {
        // Room is left for the answers to those who do not wait.
        if self.answers.others.len() >= WAKES_QUEUED_MAX {
            return Err((self, reply));
        }
        let Some(caller) = self.parked.take() else { return Ok(()) };
        let back = match self.answers.others.try_send(Box::new(Answer::Woken { caller, reply: Box::new(reply) })) {
            Err(TrySendError::Full(back)) => *back,
            _ => return Ok(()),
        };
        match back {
            Answer::Woken { caller, reply } => {
                self.parked = Some(caller);
                Err((self, *reply))
            }
            _ => Ok(()),
        }
    }

    fn dismiss(mut self: Box<Self>) -> Result<(), Box<dyn Waiter>> {
        match self.parked.take().map(Parked::dismiss) {
            Some(Err(parked)) => {
                self.parked = Some(parked);
                Err(self)
            }
            _ => Ok(()),
        }
    }

    fn refuse(mut self: Box<Self>, error: RequestError) {
        if let Some(caller) = self.caller.take() {
            deliver(&self.answers, Answer::Reply { caller, shape: Shape::Hook(Form::PLAIN), result: Err(error) });
        }
    }
}

impl Worker {
    /// Asks the store to let somebody wait.
    pub(in crate::http) fn wait(&self, wish: Wish, caller: Caller) {
        let Wish { request, until } = wish;
        let waiter = Box::new(Waits {
            number: caller.number() as u64,
            until,
            caller: Some(caller),
            parked: None,
            farewells: self.farewells.clone(),
            store: self.store.clone(),
            answers: self.answers.clone(),
        });
        self.submit(Command::Wait { request, waiter });
    }

    /// Tells one who has waited what came.
    pub(in crate::http) fn wake(&self, caller: Parked, reply: &HookReply) {
        match self.hand_over(reply, Form::PLAIN) {
            Some((response, Some(settle))) => caller.answer(response, settle),
            // Never: nobody is woken for nothing. It waits on if there is no room to tell it so.
            _ => drop(caller.dismiss()),
        }
    }
}

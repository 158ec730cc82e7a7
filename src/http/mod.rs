//! HTTP workers: they turn requests into commands for the store and the store's replies into responses. They wait for
//! neither the store nor the caller: a request goes into the store's queue with a note of where its answer goes, and an
//! answer goes to the caller as far as its socket takes it. They must not know the roster's rules.

mod caller;
mod delivery;
mod hook;
mod inbox_text;
mod metrics;
mod query;
mod registry;
mod v1;

use crate::error::{ErrorKind, Fatal, RequestError, exit_code};
use crate::gate::respond::{event_stream_head, head_and_body};
use crate::gate::{Caller, Counts, Credential, Exchange, Farewells, Parked, Settle, Subscribe};
use crate::git_branch::Look;
use crate::limits::{ANSWER_QUEUE_MAX, STORE_QUEUE_OF_OTHERS_MAX};
use crate::log_pace::Pace;
use crate::log_queue::LogQueue;
use crate::machine_token::RotateJob;
use crate::model::{Host, Path};
use crate::process;
use crate::roster::{self, Arrival, Hearing, HookReply, Place, Reply, Request};
use crate::store::{Command, Compacted, Report};
use crate::thread::{self, Exit};
use crate::time::SystemClock;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select_biased};
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use std::thread::JoinHandle;
use tiny_http::Method;

/// Facts about this daemon that its answers tell.
#[derive(Clone, Debug)]
pub struct About {
    /// The process.
    pub pid: u32,
    /// The state directory.
    pub state_dir: String,
    /// The bound address of the hook door.
    pub hooks: String,
    /// The bound address of the WebSocket door.
    pub websocket: String,
    /// The path of the Unix socket.
    pub socket: String,
    /// What callers over TCP have to show.
    pub auth: &'static str,
    /// This program as its hints call it.
    pub program: String,
    /// The defaults of sessions on the Unix socket.
    pub home: Home,
    /// The keys that may attest a session's presence; without it, any may.
    pub parents: Option<Arc<[String]>>,
    /// The daemon's own log, of which lines can be lost.
    pub own_log: LogQueue,
    /// When it began, on the clock's monotonic part.
    pub clock: SystemClock,
}

/// The operator and machine of a session on the Unix socket whose hooks state neither.
#[derive(Clone, Debug)]
pub struct Home {
    /// The operator who runs the daemon, if known.
    pub operator: Option<String>,
    /// This machine.
    pub machine: Host,
}

/// A response before it is bytes.
#[derive(Debug, Default)]
struct Response {
    status: u16,
    content_type: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// How the store's reply to a request becomes a response.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Hook(hook::Form),
    V1(v1::Shape),
    Registry(registry::Shape),
}

/// An answer on its way from the store to the caller.
enum Answer {
    Reply {
        caller: Caller,
        shape: Shape,
        result: Result<Reply, RequestError>,
    },
    Report {
        caller: Caller,
        page: Page,
        report: Result<Box<Report>, RequestError>,
        counts: Counts,
    },
    Compacted {
        caller: Caller,
        result: Result<Compacted, RequestError>,
    },
    /// What has come for one who waits.
    Woken {
        caller: Parked,
        reply: Box<HookReply>,
    },
    /// It is known what a caller may hear of.
    Subscribed {
        caller: Caller,
        since: Option<String>,
        result: Result<Reply, RequestError>,
    },
}

/// The pages that show the store's report.
#[derive(Clone, Copy, Debug)]
enum Page {
    /// Liveness, for callers without a credential.
    Liveness,
    Health,
    Metrics,
    Status,
}

/// What is to be done about a request.
enum Action {
    Respond(Response),
    Ask(Request, Shape),
    Report(Page),
    Compact,
    RotateToken,
    /// Mail of a session, as soon as it comes.
    Wait(hook::wait::Wish),
    /// Events, from the one on that was heard last.
    Subscribe(roster::Caller, Option<String>),
}

/// The ways to those who do what is asked.
#[derive(Clone)]
pub struct Ways {
    /// The store.
    pub store: Sender<Command>,
    /// Who keeps the machine's token.
    pub rotate: Sender<RotateJob>,
    /// Who tells of events.
    pub subscribe: Subscribe,
    /// Who looks at git branches.
    pub look: Sender<Look>,
    /// The other end of `store`, for commands that the store has left there at its end.
    pub late: Receiver<Command>,
}

/// Requests for the workers.
#[derive(Clone)]
pub struct ToServe {
    /// Of hooks.
    pub hooks: Receiver<Box<Exchange>>,
    /// Of all others.
    pub others: Receiver<Box<Exchange>>,
}

/// The ways of answers from the store to the workers. An answer to a hook does not wait for others to be rendered.
#[derive(Clone)]
struct Answers {
    hooks: Sender<Box<Answer>>,
    others: Sender<Box<Answer>>,
}

/// Starts the workers. They end when the other end of `stop` is dropped, which is after the store's end, and no answer is left.
///
/// # Errors
/// The operating system's reason for which no thread could be had.
pub fn start(
    workers: usize,
    requests: &ToServe,
    ways: &Ways,
    about: About,
    stop: &Receiver<()>,
    exits: &Sender<Exit>,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let ((hooks, hooks_answered), (others, others_answered)) = (bounded(ANSWER_QUEUE_MAX), bounded(ANSWER_QUEUE_MAX));
    let answers = Answers { hooks, others };
    let (about, farewells) = (Arc::new(about), Arc::new(hook::wait::farewells()));
    let spawn = |number| {
        let Ways { store, rotate, subscribe, look, late } = ways.clone();
        let (answers, about, farewells) = (answers.clone(), about.clone(), farewells.clone());
        // A large answer to another request takes long to be made: one worker is there for hooks whatever comes.
        let of_others = if number == 0 && workers > 1 { never() } else { others_answered.clone() };
        let answered = Answered { hooks: hooks_answered.clone(), others: of_others };
        let mut requests = requests.clone();
        if number == 0 && workers > 1 {
            requests.others = never();
        }
        let worker = Worker { store, late, rotate, subscribe, look, answers, answered, about, farewells };
        let stop = stop.clone();
        thread::spawn(&format!("http-{number}"), exits, move || worker.run(requests, &stop))
    };
    (0..workers).map(spawn).collect()
}

/// The workers' ends of the same.
struct Answered {
    hooks: Receiver<Box<Answer>>,
    others: Receiver<Box<Answer>>,
}

struct Worker {
    store: Sender<Command>,
    late: Receiver<Command>,
    rotate: Sender<RotateJob>,
    answers: Answers,
    answered: Answered,
    about: Arc<About>,
    subscribe: Subscribe,
    /// What callers are told who have waited for nothing.
    farewells: Arc<Farewells>,
    look: Sender<Look>,
}

impl Worker {
    fn run(&self, mut requests: ToServe, stop: &Receiver<()>) {
        loop {
            // Answers first: they finish what is under way. Others before hooks, which have a worker of their own.
            select_biased! {
                recv(self.answered.others) -> answer => if let Ok(answer) = answer {
                    self.answer(*answer);
                },
                recv(self.answered.hooks) -> answer => if let Ok(answer) = answer {
                    self.answer(*answer);
                },
                recv(requests.others) -> exchange => match exchange {
                    Ok(exchange) => self.serve(*exchange),
                    Err(_) => requests.others = never(),
                },
                recv(requests.hooks) -> exchange => match exchange {
                    Ok(exchange) => self.serve(*exchange),
                    Err(_) => requests.hooks = never(),
                },
                recv(stop) -> _ => {
                    // The store has ended. Commands that came too late for it hold their callers' connections.
                    self.late.try_iter().for_each(|command| command.refuse(RequestError::stopping()));
                    let answered = self.answered.hooks.try_iter().chain(self.answered.others.try_iter());
                    answered.for_each(|answer| self.answer(*answer));
                    return;
                }
            }
        }
    }

    fn serve(&self, exchange: Exchange) {
        let Exchange { mut request, caller } = exchange;
        // The gate sends the head of the answer alone.
        if request.method == Method::Head {
            request.method = Method::Get;
        }
        if !request.is_hook() && self.store.len() >= STORE_QUEUE_OF_OTHERS_MAX {
            return caller.answer(json_error(&busy()).into_bytes(), None);
        }
        match route(&request, &self.about) {
            Action::Respond(response) => caller.answer(response.into_bytes(), None),
            Action::Ask(request, shape) => {
                let answers = self.answers.clone();
                let reply_to = Box::new(move |result| deliver(&answers, Answer::Reply { caller, shape, result }));
                self.submit(Command::Request { request, reply_to: Some(reply_to) });
            }
            Action::Wait(wish) => self.wait(wish, caller),
            Action::Report(page) => {
                let (answers, counts) = (self.answers.clone(), request.counts);
                let report_to = Box::new(move |report: Result<Report, RequestError>| {
                    deliver(&answers, Answer::Report { caller, page, report: report.map(Box::new), counts });
                });
                self.submit(Command::Report(report_to));
            }
            Action::Subscribe(who, since) => {
                let answers = self.answers.clone();
                let reply_to = Box::new(move |result| deliver(&answers, Answer::Subscribed { caller, since, result }));
                self.submit(Command::Request { request: Request::Hear(who), reply_to: Some(reply_to) });
            }
            Action::Compact => {
                let answers = self.answers.clone();
                let reply_to = Box::new(move |result| deliver(&answers, Answer::Compacted { caller, result }));
                self.submit(Command::Compact(reply_to));
            }
            Action::RotateToken => self.rotate_token(caller),
        }
    }

    /// Has the token changed, which is answered once the gate knows the new one.
    fn rotate_token(&self, caller: Caller) {
        let reply: RotateJob = Box::new(move |result| caller.answer(v1::rotated(result).into_bytes(), None));
        if let Err(TrySendError::Full(reply) | TrySendError::Disconnected(reply)) = self.rotate.try_send(reply) {
            reply(Err(Fatal::new(exit_code::UNAVAILABLE, "others are changing the token; try again in a second")));
        }
    }

    /// Hands a caller on to those who tell of events.
    fn subscribe(&self, caller: Caller, since: Option<String>, result: Result<Reply, RequestError>) {
        let hearing = match hearing(result) {
            Ok(hearing) => hearing,
            Err(error) => return caller.answer(json_error(&error).into_bytes(), None),
        };
        if caller.wants_head() {
            return caller.answer(event_stream_head(), None);
        }
        if let Err(subscriber) = (self.subscribe)(caller.subscribe(hearing, since)) {
            let error = RequestError::new(ErrorKind::Unavailable, "too many subscribe at once; try again in a second");
            // It takes these few bytes, or is gone: nothing was written to it before.
            let _ = (&subscriber.stream).write(&json_error(&error).into_bytes());
        }
    }

    /// Gives the store something to do. If its queue is full the caller is told so at once: waiting here would hold up
    /// the answers of others.
    fn submit(&self, command: Command) {
        match self.store.try_send(command) {
            Ok(()) => {}
            Err(TrySendError::Full(command)) => command.refuse(busy()),
            Err(TrySendError::Disconnected(command)) => command.refuse(RequestError::stopping()),
        }
    }

    fn answer(&self, answer: Answer) {
        match answer {
            Answer::Report { caller, page, report, counts } => {
                let response =
                    report.map_or_else(|error| json_error(&error), |report| self.report(page, &report, &counts));
                caller.answer(response.into_bytes(), None);
            }
            Answer::Woken { caller, reply } => self.wake(caller, &reply),
            Answer::Compacted { caller, result } => caller.answer(v1::compacted(result).into_bytes(), None),
            Answer::Subscribed { caller, since, result } => self.subscribe(caller, since, result),
            Answer::Reply { caller, shape: Shape::Registry(shape), result } => {
                let response =
                    result.map_or_else(|error| json_error(&error), |reply| registry::response(shape, &reply));
                caller.answer(response.into_bytes(), None);
            }
            Answer::Reply { caller, shape: Shape::Hook(form), result } => self.answer_hook(caller, form, result),
            Answer::Reply { caller, shape: Shape::V1(shape), result } => {
                let response = match result {
                    Ok(reply) => v1::response(shape, &reply),
                    Err(error) => json_error(&error),
                };
                caller.answer(response.into_bytes(), None);
            }
        }
    }

    /// Answers a hook. What it shows counts as read only once the caller has all of it; what had no room in it is free
    /// for the next answer at once.
    fn answer_hook(&self, caller: Caller, form: hook::Form, result: Result<Reply, RequestError>) {
        let reply = match hook_reply(result) {
            Ok(Some(reply)) => reply,
            Ok(None) => return caller.answer(form.silent().into_bytes(), None),
            Err(error) => return caller.answer(hook::error(&error).into_bytes(), None),
        };
        match self.hand_over(&reply, form) {
            Some((response, settle)) => caller.answer(response, settle),
            None => caller.answer(form.silent().into_bytes(), None),
        }
        // The caller waits for its answer, and nobody for this.
        if form.takes_text() && matches!(reply.path, Path::Start | Path::Prompt) {
            self.look_at_branch(&reply);
        }
    }

    /// The answer that hands a session its mail, and what is to be told of whether it arrived. None if there is nobody to
    /// hand it to.
    fn hand_over(&self, reply: &HookReply, form: hook::Form) -> Option<(Vec<u8>, Option<Settle>)> {
        let session = reply.session.as_ref().map(|session| session.row.id.clone())?;
        let now_ms = self.about.clock.now().wall_ms;
        let (text, shown) =
            if form.takes_text() { inbox_text::answer(reply, now_ms, &self.about.program) } else { (String::new(), 0) };
        let (path, lease) = (reply.path, reply.lease);
        let handed = |messages, arrival| Command::Request {
            request: Request::InboxHanded { session: session.clone(), messages, path, lease, arrival },
            reply_to: None,
        };
        let hidden: Vec<_> = reply.inbox[shown..].iter().map(|handing| handing.message.row.id.clone()).collect();
        if !hidden.is_empty() {
            // Full: they are free again when their lease is over.
            let _ = self.store.try_send(handed(hidden, Arrival::NotGiven));
        }
        let messages: Vec<_> = reply.inbox[..shown].iter().map(|handing| handing.message.row.id.clone()).collect();
        let response = form.response(&text).into_bytes();
        if messages.is_empty() {
            return Some((response, None));
        }
        let store = self.store.clone();
        let settle: Settle = Box::new(move |arrived| {
            let arrival = if arrived { Arrival::Whole } else { Arrival::Unsure };
            let request = Request::InboxHanded { session, messages, path, lease, arrival };
            // Full: they count as not handed, and are shown again when their lease is over.
            let _ = store.try_send(Command::Request { request, reply_to: None });
        });
        Some((response, Some(settle)))
    }

    /// Has it looked on which git branch a session is that lives here and has no shim, which would tell.
    fn look_at_branch(&self, reply: &HookReply) {
        let Some(session) = &reply.session else { return };
        let row = &session.row;
        let is_here = row.host.as_ref().is_none_or(|host| process::is_this_machine(&host.name));
        if is_here && row.client_id.is_none() && !row.cwd.is_empty() {
            let (cwd, directory) = (row.cwd.clone(), row.directory.clone());
            let (branch, repository) = (row.git_branch.clone(), row.repository.clone());
            let known = Place { cwd, directory, branch, repository, name: None };
            let look = Look { session: row.id.clone(), known };
            // Full: others wait to be looked at, or for a file system that does not answer.
            let _ = self.look.try_send(look);
        }
    }

    fn report(&self, page: Page, report: &Report, counts: &Counts) -> Response {
        match page {
            Page::Liveness => json_response(200, &json!({ "status": "up" })),
            Page::Health => {
                let status = if report.refused.is_some() { 503 } else { 200 };
                json_response(status, &json!({ "status": v1::health(report), "auth": self.about.auth }))
            }
            Page::Metrics => Response {
                status: 200,
                content_type: Some("text/plain; version=0.0.4; charset=utf-8"),
                body: metrics::text(report, counts, self.about.own_log.lost()).into_bytes(),
                ..Response::default()
            },
            Page::Status => json_response(200, &v1::status(report, &self.about)),
        }
    }
}

/// The error for a caller for whom the store has no room.
fn busy() -> RequestError {
    RequestError::new(ErrorKind::Unavailable, "the daemon has more to do than it can take; try again in a second")
}

/// Called by the store with an answer. Its queue has room for every request that can be under way: thousands, nearly always
/// empty, so that what stands in it is small and the answer elsewhere.
fn deliver(answers: &Answers, answer: Answer) {
    let lane = match answer {
        Answer::Reply { shape: Shape::Hook(_), .. } => &answers.hooks,
        _ => &answers.others,
    };
    if lane.try_send(Box::new(answer)).is_err() {
        static FULL: Pace = Pace::new();
        FULL.error(|| "the queue of answers is full; an answer was dropped, and its connection closed".to_owned());
    }
}

fn route(request: &crate::gate::Request, about: &About) -> Action {
    let path = request.path.as_str();
    if request.credential == Credential::Nobody {
        return Action::Report(Page::Liveness);
    }
    if path.starts_with("/hook/") {
        return hook::route(request, &about.home);
    }
    match path {
        "/healthz" => v1::get(request, Action::Report(Page::Health)),
        "/metrics" => v1::get(request, Action::Report(Page::Metrics)),
        _ => v1::route(request, about),
    }
}

impl Response {
    fn into_bytes(self) -> Vec<u8> {
        head_and_body(self.status, self.content_type, &self.header_pairs(), &self.body)
    }

    fn header_pairs(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

fn json_response(status: u16, value: &serde_json::Value) -> Response {
    json_text(status, value.to_string())
}

/// A response of JSON that is text already.
fn json_text(status: u16, text: String) -> Response {
    let mut body = text.into_bytes();
    body.push(b'\n');
    Response { status, content_type: Some("application/json"), body, ..Response::default() }
}

/// The answer to a hook, if its event has one; a session's end has none.
fn hook_reply(result: Result<Reply, RequestError>) -> Result<Option<HookReply>, RequestError> {
    match result? {
        Reply::Hook(reply) => Ok(Some(reply)),
        Reply::Done => Ok(None),
        _ => Err(unexpected()),
    }
}

/// The limits of a subscriber, as the roster answers.
fn hearing(result: Result<Reply, RequestError>) -> Result<Hearing, RequestError> {
    match result? {
        Reply::Hearing(hearing) => Ok(hearing),
        _ => Err(unexpected()),
    }
}

/// The error for a reply of another shape than the request asked for, which only a bug of the roster gives.
fn unexpected() -> RequestError {
    RequestError::new(ErrorKind::Internal, "a bug: the daemon found an answer of the wrong kind; please report it")
}

fn json_error(error: &RequestError) -> Response {
    let mut value = json!({ "error": { "code": error.kind.code(), "message": error.message } });
    if !error.candidates.is_empty() {
        value["error"]["candidates"] = error.candidates.clone().into();
    }
    let mut response = json_response(error.kind.http_status(), &value);
    if let Some(seconds) = error.retry_after_s {
        response.headers.push(("Retry-After", seconds.to_string()));
    }
    response
}

#[cfg(test)]
mod load_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::shapes::TOKEN_PREFIX_DIGITS;

    /// row 94
    #[test]
    fn a_reply_of_the_wrong_kind_is_told_as_a_bug_and_drops_nobody() {
        let told = |response: Response| {
            let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            (response.status, body["error"]["code"].as_str().unwrap().to_owned())
        };
        let bug = (500, "internal".to_owned());
        let wrong = Reply::Waits("s".into());
        use v1::Shape::*;
        for shape in [Sessions, Rooms, History, Inbox, Claimed, Sent, MeshSent, Outbox, Message, Acked, Me] {
            assert_eq!(told(v1::response(shape, &wrong)), bug, "{shape:?}");
        }
        for shape in [
            registry::Shape::Registered(registry::Shown::Nothing),
            registry::Shape::Deregistered([0; TOKEN_PREFIX_DIGITS]),
        ] {
            assert_eq!(told(registry::response(shape, &wrong)), bug, "{shape:?}");
        }
        assert_eq!(told(json_error(&hearing(Ok(wrong.clone())).unwrap_err())), bug);
        let response = hook::error(&hook_reply(Ok(wrong)).unwrap_err());
        assert_eq!((response.status, response.body.len()), (500, 0), "a hook prints nothing into a context");
        assert!(hook_reply(Ok(Reply::Done)).unwrap().is_none(), "a session's end has no text");
    }
}

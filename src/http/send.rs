//! Sending, and looking at what was sent: `POST /v1/messages` in our own shape, `POST /v1/send` in that of claudemesh's
//! daemon, `/v1/outbox`. It turns bodies into requests, and must not know what becomes of them.

use super::query::Query;
use super::v1::{Shape, Who, cursor, json_body, speaker};
use crate::error::RequestError;
use crate::gate;
use crate::ids::MessageId;
use crate::roster::{Request, Sending, Wishes};
use crate::row_json::WishesJson;
use serde::Deserialize;

/// The header in which a request is named, so that it can be made again.
const KEY_HEADER: &str = "idempotency-key";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SendBody {
    to: Option<OneOrMore>,
    body: String,
    #[serde(flatten)]
    who: Who,
}

/// One text, or a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn all(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::More(all) => all,
        }
    }
}

/// What clients of claudemesh's daemon send.
#[derive(Deserialize)]
struct MeshBody {
    to: String,
    message: String,
    meta: Option<serde_json::Map<String, serde_json::Value>>,
    reply_to_id: Option<String>,
    client_message_id: Option<String>,
    #[serde(flatten)]
    who: Who,
}

#[derive(Deserialize)]
struct RequeueBody {
    id: String,
    #[serde(flatten)]
    who: Who,
}

type Asked = Result<(Request, Shape), RequestError>;

/// `POST /v1/messages`
pub(super) fn send(request: &gate::Request) -> Asked {
    let body: SendBody = json_body(request)?;
    let mut wishes = json_body::<WishesJson>(request)?.wishes()?;
    wishes.client_message_id = wishes.client_message_id.or_else(|| key(request));
    let caller = speaker(request, body.who)?;
    let to = body.to.map(OneOrMore::all).unwrap_or_default();
    Ok((Request::Send(Box::new(Sending { caller, to, body: body.body, wishes })), Shape::Sent))
}

/// `POST /v1/send`
pub(super) fn mesh_send(request: &gate::Request) -> Asked {
    let body: MeshBody = json_body(request)?;
    // What our own clients may want besides is understood here too.
    let more = json_body::<WishesJson>(request)?.wishes()?;
    let wishes = Wishes {
        reply_to: body.reply_to_id.filter(|id| !id.is_empty()).or(more.reply_to),
        client_message_id: body.client_message_id.or(more.client_message_id).or_else(|| key(request)),
        must_have_id: true,
        // A map of the library is sorted by its keys.
        meta: body.meta.map(|meta| serde_json::Value::Object(meta).to_string()),
        ..more
    };
    let caller = speaker(request, body.who)?;
    let sending = Sending { caller, to: vec![body.to], body: body.message, wishes };
    Ok((Request::Send(Box::new(sending)), Shape::MeshSent))
}

/// `GET /v1/outbox`
pub(super) fn outbox(request: &gate::Request) -> Asked {
    let query = Query::parse(request.query.as_deref())?;
    let caller = speaker(request, Who::of(&query))?;
    let (before, limit) = (cursor(&query, "before")?, query.number("limit")?);
    Ok((Request::Outbox { caller, before, limit }, Shape::Outbox))
}

/// `POST /v1/outbox/requeue`
pub(super) fn requeue(request: &gate::Request) -> Asked {
    let body: RequeueBody = json_body(request)?;
    let caller = speaker(request, body.who)?;
    Ok((Request::Requeue { caller, message: MessageId::from(body.id) }, Shape::Sent))
}

fn key(request: &gate::Request) -> Option<String> {
    let header = request.headers.iter().find(|(name, _)| name == KEY_HEADER);
    header.map(|(_, value)| value.clone())
}

//! What a sender is told of what it has sent: where each message is, for each of its recipients. It must not claim more
//! than the roster says.

use super::{Response, json_error, json_response, unexpected};
use crate::api::shapes;
use crate::model::{Message, Recipient, Step};
use crate::roster::{
    BroadcastSent, Covered, DeliveryStanding, DeliveryView, HistoryEntry, HistoryPage, Repeated, Replaced, Reply, Sent,
    SentTo,
};
use crate::row_json;
use crate::text::quoted;
use serde_json::{Value, json};

pub(super) use crate::row_json::delivery_value as value;

/// Hexadecimal digits of a fingerprint that are shown: eight bytes, as claudemesh's daemon shows.
const FINGERPRINT_DIGITS: usize = 16;

/// The answer to `POST /v1/messages`.
pub(super) fn sent(reply: &Reply) -> Response {
    match reply {
        Reply::Sent(one) => json_response(201, &sent_value(one)),
        Reply::Broadcast(room) => json_response(201, &broadcast_value(room)),
        Reply::SentToAll(all) => json_response(201, &all_value(all)),
        Reply::Repeated(repeated) => {
            let mut value = match repeated.sent.as_slice() {
                [SentTo::One(one)] => sent_value(one),
                [SentTo::Room(room)] => broadcast_value(room),
                all => all_value(all),
            };
            value["duplicate"] = true.into();
            json_response(200, &value)
        }
        _ => json_error(&unexpected()),
    }
}

fn sent_value(sent: &Sent) -> Value {
    let message = &sent.message.row;
    let id = match &message.to {
        Recipient::Session(session) => session.as_str(),
        Recipient::Room(room) => room.as_str(),
    };
    let mut value = json!({
        "messageId": message.id.as_str(),
        "shortId": sent.short_id,
        "sentAt": message.sent_at,
        "to": id,
        "toNick": &*message.to_nick,
        "recipients": [{ "sessionId": id, "nickname": &*message.to_nick, "live": sent.live.is_some() }],
        "deliveries": [delivery_of(message, &sent.delivery)],
    });
    if sent.is_to_stranger {
        value["warnings"] = json!([stranger(&message.to_nick)]);
    }
    name_it(&mut value, message);
    tell_replaced(&mut value, sent.replaced.as_deref());
    value
}

/// That the name of a person may be mistyped: there is no list of people to look it up in.
fn stranger(name: &str) -> String {
    format!(
        "nobody called {} has written or read a message here, and no session works for such a person; the message waits \
         for whoever looks into that inbox",
        quoted(name)
    )
}

fn broadcast_value(sent: &BroadcastSent) -> Value {
    let message = &sent.message.row;
    let room = match &message.to {
        Recipient::Room(room) => room.as_str(),
        Recipient::Session(session) => session.as_str(),
    };
    let recipient = |(session, nickname, live): &(crate::ids::SessionId, std::sync::Arc<str>, Option<_>)| json!({ "sessionId": session.as_str(), "nickname": &**nickname, "live": live.is_some() });
    let mut value = json!({
        "messageId": message.id.as_str(),
        "shortId": sent.short_id,
        "sentAt": message.sent_at,
        "to": format!("@{room}"),
        "toNick": &*message.to_nick,
        "recipients": sent.recipients.iter().map(recipient).collect::<Vec<_>>(),
        "deliveries": sent.deliveries.iter().map(|view| delivery_of(message, view)).collect::<Vec<_>>(),
    });
    if !sent.covered.is_empty() {
        value["covered"] = sent.covered.iter().map(covered_value).collect();
    }
    name_it(&mut value, message);
    tell_replaced(&mut value, sent.replaced.as_deref());
    value
}

/// Who was addressed more than once, and by which message it gets there.
fn covered_value(covered: &Covered) -> Value {
    let (name, by) = (&*covered.name, covered.by.as_str());
    match &covered.to {
        Recipient::Session(session) => json!({ "sessionId": session.as_str(), "nickname": name, "messageId": by }),
        Recipient::Room(room) => json!({ "roomId": room.as_str(), "name": name, "messageId": by }),
    }
}

/// Several messages: each as it would be alone, and all their recipients together.
fn all_value(all: &[SentTo]) -> Value {
    let each = all.iter().map(|sent| match sent {
        SentTo::One(one) => sent_value(one),
        SentTo::Room(room) => broadcast_value(room),
    });
    let messages: Vec<Value> = each.collect();
    let gather = |name: &str| -> Vec<Value> {
        messages.iter().filter_map(|message| message[name].as_array()).flatten().cloned().collect()
    };
    let (recipients, deliveries) = (gather("recipients"), gather("deliveries"));
    let first = all.first().map(|sent| sent.message().row.clone());
    let mut value = json!({ "recipients": recipients, "deliveries": deliveries });
    for name in ["covered", "warnings"] {
        let gathered = gather(name);
        if !gathered.is_empty() {
            value[name] = gathered.into();
        }
    }
    if let Some(first) = first {
        (value["messageId"], value["sentAt"]) = (first.id.as_str().into(), first.sent_at.into());
        name_it(&mut value, &first);
    }
    tell_replaced(&mut value, all.first().and_then(SentTo::replaced));
    value["messages"] = messages.into();
    value
}

/// With the name that its sender gave it.
fn name_it(value: &mut Value, message: &Message) {
    if let Some(name) = message.terms.as_ref().and_then(|terms| terms.client_message_id.as_deref()) {
        value["clientMessageId"] = name.into();
    }
}

/// With what became of the message that it was to come in the place of.
fn tell_replaced(value: &mut Value, replaced: Option<&Replaced>) {
    if let Some(replaced) = replaced {
        value["supersedes"] = row_json::replaced_value(replaced);
    }
}

fn delivery_of(message: &Message, view: &DeliveryView) -> Value {
    let mut value = value(view);
    value["messageId"] = message.id.as_str().into();
    value
}

/// How far something has got, in claudemesh's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Pending,
    Inflight,
    Done,
    Dead,
    Aborted,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Inflight => "inflight",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Aborted => "aborted",
        }
    }

    fn of(standing: &DeliveryStanding) -> Self {
        match standing {
            DeliveryStanding::Queued(_) => Self::Pending,
            // Whoever took it over has it on its way.
            DeliveryStanding::Handed(..) | DeliveryStanding::Settled(Step::Claimed(_), _) => Self::Inflight,
            DeliveryStanding::Read(..) => Self::Done,
            DeliveryStanding::Settled(Step::Superseded(_), _) => Self::Aborted,
            DeliveryStanding::Settled(..) => Self::Dead,
        }
    }

    /// That of what goes to several: as long as it may still get to one, that counts; then that it has got to one.
    fn of_all<'a>(views: impl Iterator<Item = &'a DeliveryView>) -> Self {
        let views: Vec<&DeliveryView> = views.collect();
        // The session that took a message over has a delivery of its own, which tells how it went on.
        let goes_on = |view: &DeliveryView| match &view.standing {
            DeliveryStanding::Settled(Step::Claimed(by), _) => views.iter().any(|other| other.session == *by),
            _ => false,
        };
        let all: Vec<Self> = views.iter().filter(|view| !goes_on(view)).map(|view| Self::of(&view.standing)).collect();
        let order = [Self::Pending, Self::Inflight, Self::Done, Self::Dead, Self::Aborted];
        // That to nobody any more, since all are gone: it is over.
        order.into_iter().find(|status| all.contains(status)).unwrap_or(Self::Done)
    }
}

/// The answer to `POST /v1/send`, as claudemesh's daemon gives it.
pub(super) fn mesh_sent(reply: &Reply) -> Response {
    let new = |message: &Message| {
        let name = message.terms.as_ref().and_then(|terms| terms.client_message_id.as_deref());
        json_response(202, &json!({ "client_message_id": name, "status": "queued" }))
    };
    match reply {
        Reply::Sent(one) => new(&one.message.row),
        Reply::Broadcast(room) => new(&room.message.row),
        Reply::SentToAll(all) => all.first().map_or_else(|| json_error(&unexpected()), |sent| new(&sent.message().row)),
        Reply::Repeated(repeated) => mesh_repeated(repeated),
        _ => json_error(&unexpected()),
    }
}

fn mesh_repeated(repeated: &Repeated) -> Response {
    let status = Status::of_all(repeated.sent.iter().flat_map(SentTo::deliveries));
    let name = &*repeated.client_message_id;
    let message = repeated.sent.first().map(|sent| sent.message().row.id.to_string());
    match (repeated.is_same, status) {
        (true, Status::Pending) => json_response(202, &json!({ "client_message_id": name, "status": "queued" })),
        (true, Status::Inflight) => json_response(202, &json!({ "client_message_id": name, "status": "inflight" })),
        (true, Status::Done) => {
            let value = json!({ "client_message_id": name, "broker_message_id": message, "duplicate": true });
            json_response(200, &value)
        }
        (is_same, status) => {
            let conflict = if is_same { "match" } else { "mismatch" };
            let value = json!({
                "error": "idempotency_key_reused",
                "conflict": format!("outbox_{}_fingerprint_{conflict}", status.as_str()),
                "daemon_fingerprint_prefix": &repeated.fingerprint[..FINGERPRINT_DIGITS],
                "broker_message_id": message,
            });
            json_response(409, &value)
        }
    }
}

/// The answer to `GET /v1/outbox`.
pub(super) fn outbox(page: &HistoryPage) -> String {
    shapes::page(page, outbox_entry)
}

/// A message as its sender sees it: as history shows it, with how far it has got in a word, as claudemesh's daemon
/// tells it.
fn outbox_entry(entry: &HistoryEntry) -> String {
    let status = Status::of_all(entry.deliveries.iter());
    let attempts = entry.deliveries.iter().map(|view| view.times).max().unwrap_or(0);
    shapes::entry(entry).add("status", status.as_str()).add("attempts", &attempts).end()
}

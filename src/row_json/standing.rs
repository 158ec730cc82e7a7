//! Where a message is, as JSON: one object for each of its recipients. It must not claim more than the roster says.

use crate::ids::MessageId;
use crate::model::{Message, Step};
use crate::roster::{DeliveryStanding, DeliveryView, Replaced};
use serde_json::{Value, json};

/// Where a message is for one recipient.
pub fn delivery_value(view: &DeliveryView) -> Value {
    let mut value = json!({
        "sessionId": view.session.as_str(),
        "nickname": &*view.name,
        "state": view.standing.as_str(),
    });
    if view.times > 0 {
        value["timesHanded"] = view.times.into();
    }
    match &view.standing {
        DeliveryStanding::Queued(reason) => value["reason"] = reason.as_str().into(),
        DeliveryStanding::Handed(path, at) => {
            value["path"] = path.as_str().into();
            value["at"] = (*at).into();
        }
        DeliveryStanding::Read(at, evidence, path) => {
            value["at"] = (*at).into();
            if let Some(evidence) = evidence {
                value["evidence"] = evidence.as_str().into();
            }
            if let Some(path) = path {
                value["path"] = path.as_str().into();
            }
        }
        DeliveryStanding::Settled(step, at) => {
            value["at"] = (*at).into();
            match step {
                Step::Superseded(by) => value["by"] = by.as_str().into(),
                Step::Claimed(by) => {
                    value["by"] = by.as_str().into();
                    value["byNickname"] = view.heir.as_deref().into();
                }
                Step::Undeliverable(reason) => value["reason"] = reason.as_str().into(),
                Step::Kept | Step::Handed(_) | Step::Read(..) | Step::Expired => {}
            }
        }
    }
    value
}

/// What became of the message that another one was to come in the place of.
pub fn replaced_value(replaced: &Replaced) -> Value {
    let Replaced { message, count, of, deliveries } = replaced;
    let deliveries: Vec<Value> = deliveries.iter().map(delivery_value).collect();
    json!({ "messageId": message.as_str(), "replaced": count, "of": of, "deliveries": deliveries })
}

/// That a message has got further for one recipient, as those are told who watch.
pub fn delivery_news(message: &Message, view: &DeliveryView, at: i64) -> Value {
    let id: &MessageId = &message.id;
    json!({
        "delivery": delivery_value(view),
        "fromSessionId": message.from_session_id.as_str(),
        "messageId": id.as_str(),
        "ts": at,
    })
}

//! The JSON form of deliveries. As for all rows: keys in alphabetical order, absent fields left out, unknown ones ignored.

use super::{Text, Texts, to_text};
use crate::ids::{MessageId, ReadId, SessionId};
use crate::model::{Delivery, Evidence, ItemType, Path, Reason, Step};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeliveryJson<'a> {
    at: i64,
    /// The message or session that came in the place of this one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    by: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    message_id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    path: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    reason: Option<Text<'a>>,
    #[serde(borrow)]
    session_id: Text<'a>,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(default)]
    times: u32,
}

/// The JSON text of a delivery.
pub fn delivery_text(row: &Delivery) -> String {
    let by = match &row.step {
        Step::Superseded(message) => Some(message.as_str().into()),
        Step::Claimed(session) => Some(session.as_str().into()),
        Step::Kept | Step::Handed(_) | Step::Read(..) | Step::Expired | Step::Undeliverable(_) => None,
    };
    let path = match row.step {
        Step::Handed(path) => Some(path),
        Step::Read(_, path) => path,
        _ => None,
    };
    let evidence = if let Step::Read(evidence, _) = row.step { evidence } else { None };
    to_text(&DeliveryJson {
        at: row.at,
        by,
        evidence: evidence.map(|evidence| evidence.as_str().into()),
        id: row.id.as_str().into(),
        message_id: row.message_id.as_str().into(),
        path: path.map(|path| path.as_str().into()),
        reason: if let Step::Undeliverable(reason) = row.step { Some(reason.as_str().into()) } else { None },
        session_id: row.session_id.as_str().into(),
        state: row.step.as_str().into(),
        times: row.times,
    })
}

/// What happened last, as the words of the row say.
///
/// # Errors
/// What is wrong with them. A word of a later version is wrong: the row is then left alone in the log.
pub(super) fn step(item: &DeliveryJson<'_>) -> Result<Step, String> {
    let word = |text: &Option<Text<'_>>| text.as_ref().map(|text| text.0.to_string()).unwrap_or_default();
    let (by, path, reason) = (word(&item.by), word(&item.path), word(&item.reason));
    match &*item.state.0 {
        "kept" => Ok(Step::Kept),
        "handed" => Path::parse(&path).map(Step::Handed).ok_or_else(|| format!("unknown path {path:?}")),
        "read" => Ok(Step::Read(Evidence::parse(&word(&item.evidence)), Path::parse(&path))),
        "expired" => Ok(Step::Expired),
        "superseded" => Ok(Step::Superseded(MessageId::from(by))),
        "undeliverable" => {
            Reason::parse(&reason).map(Step::Undeliverable).ok_or_else(|| format!("unknown reason {reason:?}"))
        }
        "claimed" => Ok(Step::Claimed(SessionId::from(by))),
        other => Err(format!("unknown state {other:?} of a delivery")),
    }
}

pub(super) fn build_delivery(item: &DeliveryJson<'_>, texts: &mut impl Texts) -> Result<Delivery, String> {
    Ok(Delivery {
        id: ReadId::from(texts.id(ItemType::Delivery, &item.id.0)),
        message_id: MessageId::from(texts.id(ItemType::Message, &item.message_id.0)),
        session_id: SessionId::from(texts.common(&item.session_id.0)),
        step: step(item)?,
        at: item.at,
        times: item.times,
    })
}

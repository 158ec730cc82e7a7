//! What other programs write to the log: their events as values, and what a row is worth that one of them wrote. It says
//! what it says, and proves nothing; live and after a restart the same, since both ask here.

use crate::ids::NOTICE_SENDER;
use crate::model::{Delivery, Departed, ItemType, Message, MessageRead, Proof, Row, Session, Step, Terms};
use std::ops::Range;
use std::sync::Arc;

/// An event that somebody else put into the log.
#[derive(Clone, Debug)]
pub enum ExternalEvent {
    /// A row is there, or changed; with its place in the order of rows, as the log has it.
    Set(Row, Option<At>),
    /// A row is gone.
    Delete(ItemType, String),
}

/// A row's place in the order of rows, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Its place. A row that is there keeps the one that it has, unless a line of ours gives it this.
    pub seq: u64,
    /// The places that come to the same as this one.
    pub alike: Range<u64>,
}

impl At {
    /// This place, wherever the row is.
    pub fn given(seq: u64) -> Self {
        Self { seq, alike: seq..seq.saturating_add(1) }
    }

    /// This place for a row that is not there, any other for one that is.
    pub fn behind_all(seq: u64) -> Self {
        Self { seq, alike: 0..u64::MAX }
    }

    /// Whether the row has no other place than this.
    pub fn is_given(&self) -> bool {
        self.alike == (self.seq..self.seq.saturating_add(1))
    }
}

impl ExternalEvent {
    /// Of which row it is.
    pub fn key(&self) -> (ItemType, String) {
        match self {
            Self::Set(row, _) => (row.item_type(), row.id().to_owned()),
            Self::Delete(item_type, id) => (*item_type, id.clone()),
        }
    }
}

/// The row without all that only marshal can vouch for: how a sender is known, in which process a session lives, by what
/// it is known that a message was read, whose mail another session may claim. None for a row that is nothing else.
pub fn disowned(row: Row) -> Option<Row> {
    Some(match &row {
        Row::Message(stored) => disowned_message(&stored.row).map_or(row, Row::from),
        Row::Session(stored) if stored.row.process.is_some() || stored.row.presence.is_some() => {
            Session { process: None, presence: None, ..stored.row.clone() }.into()
        }
        Row::MessageRead(stored) if stored.row.evidence.is_some() || stored.row.path.is_some() => {
            MessageRead { evidence: None, path: None, ..stored.row.clone() }.into()
        }
        Row::Delivery(stored) if matches!(stored.row.step, Step::Read(Some(_), _) | Step::Read(_, Some(_))) => {
            Delivery { step: Step::Read(None, None), ..stored.row.clone() }.into()
        }
        // Without a directory it is in nobody's place.
        Row::Departed(stored) if !stored.row.cwd.is_empty() => {
            Departed { cwd: Arc::from(""), ..stored.row.clone() }.into()
        }
        Row::Registration(_) => return None,
        _ => row,
    })
}

/// None if there is nothing to take away. A message that claims nothing stays as it is, as marshal 0.9's are.
fn disowned_message(row: &Message) -> Option<Message> {
    let is_marked = row.proof == Some(Proof::Outside);
    let is_proven = row.proof.is_some_and(|proof| proof != Proof::Asserted);
    let is_notice = row.from_session_id.as_str() == NOTICE_SENDER;
    if !row.is_notice() && (is_marked || !(is_proven || is_notice)) {
        return None;
    }
    let terms = row.terms.clone().map(|terms| Box::new(Terms { notice: false, ..*terms }));
    Some(Message { proof: Some(Proof::Outside), terms, ..row.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Evidence, Path, Presence, Process, Recipient, Registration, TokenHash};

    fn message(from: &str, proof: Option<Proof>, notice: bool) -> Message {
        Message {
            id: "m".into(),
            from_session_id: from.into(),
            from_nick: from.into(),
            to: Recipient::Session("b".into()),
            to_nick: "b".into(),
            body: "x".into(),
            sent_at: 1,
            read_at: None,
            proof,
            terms: notice.then(|| Box::new(Terms { notice, ..Terms::default() })),
        }
    }

    #[test]
    fn what_another_program_wrote_proves_nothing() {
        // row 105
        for proof in Proof::ALL.map(Some).into_iter().chain([None]) {
            for (from, notice) in [("a", false), ("human:ann", false), (NOTICE_SENDER, true), (NOTICE_SENDER, false)] {
                let Some(Row::Message(stored)) = disowned(message(from, proof, notice).into()) else { panic!() };
                let is_weak = matches!(stored.row.proof, None | Some(Proof::Asserted | Proof::Outside));
                assert!(is_weak && !stored.row.is_notice(), "{from} {proof:?} {notice}");
                let is_marked = stored.row.proof == Some(Proof::Outside);
                let claims = !matches!(proof, None | Some(Proof::Asserted)) || from == NOTICE_SENDER;
                assert_eq!(is_marked, claims, "{from} {proof:?} {notice}");
            }
        }
        let process = Some(Process { pid: 1, started: 1, boot: "b".into() });
        let presence = Some(Presence { key: "k".into(), parent: "p".into(), expires_at: 1 });
        let session = Session { process, presence, ..Session::new("s".into(), "s", "/w", 1) };
        let Some(Row::Session(stored)) = disowned(session.into()) else { panic!() };
        assert_eq!((&stored.row.process, &stored.row.presence), (&None, &None));
        let (id, evidence, path) = ("m::b", Some(Evidence::Ack), Some(Path::Inbox));
        let (message_id, session_id) = ("m".into(), "b".into());
        let read = MessageRead { id: id.into(), message_id, session_id, read_at: 1, evidence, path };
        let Some(Row::MessageRead(stored)) = disowned(read.into()) else { panic!() };
        assert_eq!((stored.row.evidence, stored.row.path), (None, None));
        let (message_id, session_id) = ("m".into(), "b".into());
        let step = Step::Read(evidence, path);
        let delivery = Delivery { id: id.into(), message_id, session_id, step, at: 1, times: 0 };
        let Some(Row::Delivery(stored)) = disowned(delivery.into()) else { panic!() };
        assert_eq!(stored.row.step, Step::Read(None, None));
        let token = TokenHash([1; 32]);
        let registration = Registration { id: "s".into(), token, registered_at: 1, renewed_at: 1 };
        assert!(disowned(Row::Registration(crate::model::Stored::new(registration))).is_none());
    }
}

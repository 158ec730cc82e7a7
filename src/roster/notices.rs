//! Notices that marshal writes to the sender of a message. An interim notice leaves a question open, a final one settles it.

use super::Roster;
use crate::ids::{IdSource, MessageId, NOTICE_SENDER, SessionId};
use crate::model::{Message, Recipient, Terms};
use std::sync::Arc;

/// Whether more can come of a message after the notice about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoticeWeight {
    /// Another session has the message now: a question stays open.
    Interim,
    /// Nothing more comes of it: a question is settled.
    Final,
}

impl Roster {
    /// Writes to the sender of `about` what there is to say of it.
    pub(super) fn notice(&mut self, about: &Message, weight: NoticeWeight, text: &str, ids: &mut dyn IdSource) {
        let to = &about.from_session_id;
        if about.is_notice() || !(self.tables.sessions.contains_key(to) || to.is_human()) {
            return;
        }
        self.write_notice(about, weight, text, ids);
    }

    /// Writes to the sender of `about`, whether it is there or not.
    pub(super) fn write_notice(&mut self, about: &Message, weight: NoticeWeight, text: &str, ids: &mut dyn IdSource) {
        let to = &about.from_session_id;
        // What says that it answers a question settles that.
        let reply_to = (weight == NoticeWeight::Final).then(|| about.id.clone());
        let thread = about.terms.as_ref().and_then(|terms| terms.thread.clone()).unwrap_or_else(|| about.id.clone());
        let terms = Terms { reply_to, thread: Some(thread), notice: true, ..Terms::default() };
        let id = MessageId::from(ids.new_id());
        self.tables.set(Message {
            id: id.clone(),
            from_session_id: SessionId::from(NOTICE_SENDER),
            from_nick: Arc::from(NOTICE_SENDER),
            to: Recipient::Session(to.clone()),
            to_nick: about.from_nick.clone(),
            body: Arc::from(text),
            sent_at: self.tables.now.wall_ms,
            read_at: None,
            // It is no operator's word, and nobody's who could prove anything.
            proof: None,
            terms: Some(Box::new(terms)),
        });
        self.leave_for(to, &id);
        self.push_later(to, &id);
        self.dirty.insert(to.clone());
    }
}

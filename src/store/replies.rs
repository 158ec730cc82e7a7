//! Replies as the store sees them: the messages that they tell of, and pushes that did not happen after all.

use crate::error::RequestError;
use crate::ids::{ClientId, MessageId};
use crate::roster::{Reply, SentTo};

/// A push that found its client's outbox full or gone did not happen, whatever the roster expected.
pub(super) fn mark_unreachable(reply: &mut Reply, unreachable: &[ClientId]) {
    let gone = |live: &Option<ClientId>| live.as_ref().is_some_and(|client| unreachable.contains(client));
    let lives: Vec<&mut Option<ClientId>> = match reply {
        Reply::Sent(sent) => vec![&mut sent.live],
        Reply::Broadcast(broadcast) => broadcast.recipients.iter_mut().map(|(_, _, live)| live).collect(),
        Reply::SentToAll(all) => all.iter_mut().flat_map(SentTo::live_mut).collect(),
        _ => return,
    };
    lives.into_iter().filter(|live| gone(live)).for_each(|live| *live = None);
}

/// The messages that an answer tells its caller to have been sent.
pub(super) fn sent_ids(reply: &Result<Reply, RequestError>) -> Vec<MessageId> {
    match reply {
        Ok(Reply::Sent(sent)) => vec![sent.message.row.id.clone()],
        Ok(Reply::Broadcast(sent)) => vec![sent.message.row.id.clone()],
        Ok(Reply::SentToAll(all)) => all.iter().map(|sent| sent.message().row.id.clone()).collect(),
        _ => Vec::new(),
    }
}

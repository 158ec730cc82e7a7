//! Messages as people are told of them: by as much of the id as tells it from all others, and by how the text begins.

use super::tables::Placed;
use super::{Cursor, Roster};
use crate::ids::MessageId;
use crate::limits::{EXCERPT_CHARS_MAX, ID_BEGINNINGS_MAX, SHORT_ID_CHARS_MIN};
use crate::model::Message;
use crate::text::body::excerpt;
use std::collections::BTreeMap;
use std::ops::Bound;

/// How many bytes of `id` tell it from all others in `all`, where that can be had.
fn length(all: &BTreeMap<MessageId, Placed<Message>>, id: &str) -> usize {
    let alike = |other: &MessageId| {
        let pairs = id.char_indices().zip(other.as_str().chars());
        pairs.take_while(|((_, a), b)| a == b).last().map_or(0, |((at, c), _)| at + c.len_utf8())
    };
    let before = all.range::<str, _>((Bound::Unbounded, Bound::Excluded(id))).next_back();
    let after = all.range::<str, _>((Bound::Excluded(id), Bound::Unbounded)).next();
    let same = [before, after].into_iter().flatten().map(|(other, _)| alike(other)).max();
    // As much as is the same, and one character.
    let least = id.char_indices().nth(SHORT_ID_CHARS_MIN).map_or(id.len(), |(end, _)| end);
    let differs = same.map(|same| same + id[same..].chars().next().map_or(0, char::len_utf8));
    let end = differs.unwrap_or(0).max(least);
    // Nobody types a hyphen at the end.
    if id[..end].ends_with('-') { id[end..].chars().next().map_or(end, |c| end + c.len_utf8()) } else { end }
}

impl Roster {
    /// The shortest beginning of a message's id that fits no other message now. Every command takes it.
    pub(super) fn short_id(&self, id: &MessageId) -> String {
        let id = id.as_str();
        id[..length(&self.tables.messages, id)].to_owned()
    }

    /// The cursor of a message: its place, and as much of its id as finds it again when places were counted anew.
    pub(super) fn cursor(&self, place: u64, id: &MessageId) -> Cursor {
        Cursor { place, id: MessageId::from(self.short_id(id)) }
    }

    /// The place that a cursor means now: of messages whose ids begin like it, that of the one nearest to where it was.
    pub(super) fn place_of(&self, cursor: &Cursor) -> u64 {
        let begins = cursor.id.as_str();
        let alike = self.tables.messages.range::<str, _>((Bound::Included(begins), Bound::Unbounded));
        let alike = alike.take_while(|(id, _)| id.as_str().starts_with(begins)).take(ID_BEGINNINGS_MAX);
        let places = alike.map(|(_, placed)| placed.place);
        places.min_by_key(|place| place.abs_diff(cursor.place)).unwrap_or(cursor.place)
    }

    /// A message in marshal's own words: `4f1c2 ("the schema is merged, pull before you b…")`.
    pub(super) fn called(&self, message: &Message) -> String {
        let text = excerpt(&message.body, EXCERPT_CHARS_MAX).replace('"', "'");
        format!("{} (\"{text}\")", self.short_id(&message.id))
    }
}

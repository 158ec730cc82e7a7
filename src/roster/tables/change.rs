//! What a batch has changed, row by row. It must not know what follows from that.

use super::Gone;
use crate::model::{ItemType, Row};

/// One change, with the row before and after it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The row that was replaced or deleted, and its place.
    pub before: Option<(Row, u64)>,
    /// The row that is there now.
    pub after: Option<(Row, u64)>,
    /// Whether the change belongs into the log; not so for one that came from there.
    pub persist: bool,
    /// Whether it is what somebody else wrote, or follows from that.
    pub outside: bool,
    /// Why a session, or its registration, is gone.
    pub gone: Option<Gone>,
}

impl Change {
    /// The type of the row that changed.
    pub fn item_type(&self) -> ItemType {
        self.row().item_type()
    }

    /// The id of the row that changed.
    pub fn id(&self) -> &str {
        self.row().id()
    }

    fn row(&self) -> &Row {
        match (&self.after, &self.before) {
            (Some((row, _)), _) | (None, Some((row, _))) => row,
            // Both primitives record a change only when there is a row on one of its sides.
            (None, None) => unreachable!("a change has a row on one side"),
        }
    }
}

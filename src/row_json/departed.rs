//! The JSON form of sessions that ended. As for all rows: keys in alphabetical order, absent fields left out,
//! unknown ones ignored.

use super::{Text, Texts, text, to_text};
use crate::ids::SessionId;
use crate::model::Departed;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DepartedJson<'a> {
    #[serde(borrow)]
    cwd: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    directory: Option<Text<'a>>,
    due_at: i64,
    ended_at: i64,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    has_mail: bool,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    nickname: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    operator: Option<Text<'a>>,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// The JSON text of a session that ended.
pub fn departed_text(row: &Departed) -> String {
    to_text(&DepartedJson {
        cwd: (&row.cwd).into(),
        directory: text(&row.directory),
        due_at: row.due_at,
        ended_at: row.ended_at,
        has_mail: row.has_mail,
        id: row.id.as_str().into(),
        nickname: (&row.nickname).into(),
        operator: text(&row.operator),
    })
}

pub(super) fn build_departed(item: &DepartedJson<'_>, texts: &mut impl Texts) -> Departed {
    Departed {
        id: SessionId::from(texts.common(&item.id.0)),
        nickname: texts.common(&item.nickname.0),
        cwd: texts.common(&item.cwd.0),
        directory: item.directory.as_ref().map(|directory| texts.common(&directory.0)),
        operator: item.operator.as_ref().map(|operator| texts.common(&operator.0)),
        ended_at: item.ended_at,
        due_at: item.due_at,
        has_mail: item.has_mail,
    }
}

//! What text from outside must be like before it may become part of a row. It must not repair anything: a caller that
//! gets an error can do something about it, a row that was silently changed confuses everybody.

use crate::error::{ErrorKind, RequestError};
use crate::ids::{HUMAN_PREFIX, MemberId, NOTICE_SENDER, ReadId};
use crate::limits::{ID_BYTES_MAX, MESSAGE_BODY_BYTES_MAX, NAME_BYTES_MAX};
use crate::model::{ROOM_PREFIXES, Row};
use crate::text::{MARKS, fault_of_id, fault_of_name, is_hidden};

/// An id of something that may be created under it.
pub(super) fn new_session_id(text: &str) -> Result<(), RequestError> {
    if text.is_empty() {
        return Err(RequestError::invalid("session id is empty: send the agent's own session_id"));
    }
    bounded("session id", text, ID_BYTES_MAX)?;
    if let Some(fault) = fault_of_id(text) {
        return Err(RequestError::invalid(format!("session id {fault}")));
    }
    let prefixes = [HUMAN_PREFIX, "@", "*"];
    if let Some(prefix) = prefixes.iter().chain(&ROOM_PREFIXES).find(|prefix| text.starts_with(**prefix)) {
        let message = format!("session ids cannot begin with '{prefix}', which begins another kind of address");
        return Err(RequestError::invalid(message));
    }
    if text == NOTICE_SENDER {
        return Err(RequestError::invalid(format!(
            "'{NOTICE_SENDER}' is the name under which the daemon itself writes"
        )));
    }
    if !is_separable(text) {
        return Err(RequestError::invalid("session ids cannot begin with ':' or hold '::'"));
    }
    Ok(())
}

/// Whether `<room id>::<session id>` tells where the one ends and the other begins.
fn is_separable(session_id: &str) -> bool {
    !session_id.contains("::") && !session_id.starts_with(':')
}

/// A row from outside: one whose id is not the one that its content asks for would not be found again.
pub(super) fn is_sound(row: &Row) -> bool {
    match row {
        // Stricter rules hold at the doors; marshal 0.9 let an empty id into its log.
        Row::Session(stored) => {
            let id = stored.row.id.as_str();
            let is_seen = !id.chars().any(is_hidden);
            !stored.row.id.is_human() && is_separable(id) && is_seen && id != NOTICE_SENDER
        }
        Row::RoomMember(stored) => stored.row.id == MemberId::of(&stored.row.room_id, &stored.row.session_id),
        Row::MessageRead(stored) => stored.row.id == ReadId::of(&stored.row.message_id, &stored.row.session_id),
        Row::Registration(stored) => is_separable(stored.row.id.as_str()),
        Row::Departed(stored) => !stored.row.id.is_human() && is_separable(stored.row.id.as_str()),
        Row::Delivery(stored) => stored.row.id == ReadId::of(&stored.row.message_id, &stored.row.session_id),
        Row::Room(_) | Row::Message(_) => true,
    }
}

/// A name: host, operator, human, room, role. It is seen as it is, and cannot be taken for what marshal itself says.
pub(super) fn name(what: &str, text: &str) -> Result<(), RequestError> {
    bounded(what, text, NAME_BYTES_MAX)?;
    fault_of_name(text).map_or(Ok(()), |fault| Err(RequestError::invalid(format!("{what} {fault}"))))
}

/// A person's name, which is shown between brackets as ids are.
pub(super) fn human(text: &str) -> Result<(), RequestError> {
    name("the human's name", text)?;
    match text.chars().find(|c| *c != '\'' && MARKS.contains(c)) {
        Some(mark) => Err(RequestError::invalid(format!("the human's name holds '{mark}'"))),
        None => Ok(()),
    }
}

/// A key that a caller has made for itself, which no one else is shown.
pub(super) fn key(what: &str, text: &str) -> Result<(), RequestError> {
    bounded(what, text, NAME_BYTES_MAX)?;
    no_control(what, text)
}

/// Returns `true` for a name that a session may give as its operator.
pub fn is_operator(text: &str) -> bool {
    !text.is_empty() && name("operator", text).is_ok()
}

/// Free text.
pub(super) fn bounded(what: &str, text: &str, bytes_max: usize) -> Result<(), RequestError> {
    if text.len() > bytes_max {
        let message = format!("{what} is {} bytes long; at most {bytes_max} are taken", text.len());
        return Err(RequestError::invalid(message));
    }
    Ok(())
}

/// A message body.
pub(super) fn body(text: &str) -> Result<(), RequestError> {
    if text.trim().is_empty() {
        return Err(RequestError::invalid("the message is empty"));
    }
    if text.len() > MESSAGE_BODY_BYTES_MAX {
        let message = format!(
            "the message is {} bytes long; at most {MESSAGE_BODY_BYTES_MAX} are taken: put long text into a file and send its path",
            text.len()
        );
        return Err(RequestError::new(ErrorKind::TooLarge, message));
    }
    Ok(())
}

fn no_control(what: &str, text: &str) -> Result<(), RequestError> {
    if text.chars().any(char::is_control) {
        return Err(RequestError::invalid(format!("{what} holds control characters")));
    }
    Ok(())
}

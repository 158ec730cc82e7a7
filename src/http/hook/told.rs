//! What a hook of any host tells, read from its JSON. It must not refuse what it does not understand: hosts add events and
//! fields and change their types, and a hook must not fail for that. Only a session must be named.

use super::super::json_object;
use crate::error::RequestError;
use crate::ids::MessageId;
use crate::limits::{NAME_BYTES_MAX, QUOTED_IDS_MAX, TEXT_BYTES_MAX};
use memchr::memchr_iter;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The fields of all hosts' events that matter here, as they came. What is read of one is read leniently: a value of another
/// type than expected is as good as none.
#[derive(Deserialize)]
pub(super) struct Told<'a> {
    #[serde(borrow)]
    session_id: Option<&'a RawValue>,
    hook_event_name: Option<&'a RawValue>,
    cwd: Option<&'a RawValue>,
    new_cwd: Option<&'a RawValue>,
    workspace: Option<&'a RawValue>,
    source: Option<&'a RawValue>,
    model: Option<&'a RawValue>,
    permission_mode: Option<&'a RawValue>,
    session_title: Option<&'a RawValue>,
    prompt_id: Option<&'a RawValue>,
    turn_id: Option<&'a RawValue>,
    tool_name: Option<&'a RawValue>,
    mcp_server_name: Option<&'a RawValue>,
    notification_type: Option<&'a RawValue>,
    message: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    /// Set inside a subagent, which is no session of its own.
    agent_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Workspace {
    current_dir: Option<String>,
}

impl<'a> Told<'a> {
    /// Reads the body of a hook.
    ///
    /// # Errors
    /// It is no JSON object.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, RequestError> {
        json_object(body).map_err(|error| RequestError::invalid(format!("the body is no hook JSON: {error}")))
    }

    /// The session.
    ///
    /// # Errors
    /// None is named.
    pub(super) fn session_id(&self) -> Result<String, RequestError> {
        let named = text(self.session_id);
        named.ok_or_else(|| RequestError::invalid("the body has no session_id, or one that is no text or empty"))
    }

    /// The event's name; empty if it has none.
    pub(super) fn event(&self) -> String {
        text(self.hook_event_name).unwrap_or_default()
    }

    /// Whether the event is a subagent's.
    pub(super) fn is_of_subagent(&self) -> bool {
        self.agent_id.is_some()
    }

    /// The directory that the session is in, after the event.
    pub(super) fn cwd(&self) -> Option<String> {
        let workspace = || {
            let workspace = serde_json::from_str::<Workspace>(self.workspace?.get()).ok()?;
            workspace.current_dir
        };
        text(self.new_cwd).or_else(|| text(self.cwd)).or_else(workspace)
    }

    /// By what the session began.
    pub(super) fn source(&self) -> String {
        text(self.source).unwrap_or_default()
    }

    pub(super) fn model(&self) -> Option<String> {
        text(self.model).map(|model| cut(model, NAME_BYTES_MAX))
    }

    pub(super) fn permission_mode(&self) -> Option<String> {
        text(self.permission_mode).map(|mode| cut(mode, NAME_BYTES_MAX))
    }

    pub(super) fn title(&self) -> Option<String> {
        text(self.session_title).map(|title| cut(title, TEXT_BYTES_MAX))
    }

    /// Which prompt the event belongs to: hosts that tell it call it the prompt's or the turn's.
    pub(super) fn prompt_id(&self) -> Option<String> {
        text(self.prompt_id).or_else(|| text(self.turn_id)).map(|id| cut(id, NAME_BYTES_MAX))
    }

    /// The tool's name.
    pub(super) fn tool(&self) -> String {
        text(self.tool_name).map_or_else(|| "unknown".to_owned(), |tool| cut(tool, NAME_BYTES_MAX))
    }

    /// The server that asks the human for something.
    pub(super) fn server(&self) -> String {
        text(self.mcp_server_name).map_or_else(|| "an MCP server".to_owned(), |name| cut(name, NAME_BYTES_MAX))
    }

    pub(super) fn notification_type(&self) -> String {
        text(self.notification_type).unwrap_or_default()
    }

    pub(super) fn message(&self) -> String {
        text(self.message).unwrap_or_default()
    }

    /// By what the turn failed.
    pub(super) fn error(&self) -> String {
        text(self.error).map_or_else(|| "unknown".to_owned(), |error| cut(error, NAME_BYTES_MAX))
    }
}

/// A text that says something.
fn text(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str::<String>(value?.get()).ok().filter(|text| !text.is_empty())
}

/// The beginning of a text, of at most so many bytes.
fn cut(mut text: String, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    text
}

/// What may be ids of our messages in the text of a prompt, the first ones. They are looked for in the body as it came: an id
/// needs no escape, and a text that is cut in the middle of a character, as hosts do, has ids as well.
pub(super) fn quoted(body: &[u8]) -> Vec<MessageId> {
    let mut found: Vec<MessageId> = Vec::new();
    let mut from = 0;
    for dash in memchr_iter(b'-', body) {
        let id = dash.checked_sub(8).filter(|start| *start >= from).and_then(|start| id_at(body, start));
        let Some(id) = id else { continue };
        from = dash + 28;
        let id = MessageId::from(id);
        if !found.contains(&id) {
            found.push(id);
        }
        if found.len() == QUOTED_IDS_MAX {
            break;
        }
    }
    found
}

/// The id that begins there: digits in groups of 8, 4, 4, 4 and 12.
fn id_at(body: &[u8], start: usize) -> Option<&str> {
    let bytes = body.get(start..start + 36)?;
    let fits = |(place, byte): (usize, &u8)| match place {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    bytes.iter().enumerate().all(fits).then(|| std::str::from_utf8(bytes).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "01a1fe72-94f4-7358-81ac-0087d7ac3d5d";

    #[test]
    fn what_has_another_type_than_expected_is_as_good_as_none() {
        let body = br#"{"session_id":"s","model":{"id":"m"},"cwd":7,"workspace":{"current_dir":"/w"},"agent_id":null,
            "permission_mode":["plan"],"session_title":"cut \ud83d","prompt_id":null,"turn_id":"t","tool_name":""}"#;
        let told = Told::read(body).unwrap();
        assert_eq!(told.session_id().unwrap(), "s");
        assert_eq!((told.model(), told.permission_mode(), told.title()), (None, None, None));
        assert_eq!((told.cwd().as_deref(), told.prompt_id().as_deref()), (Some("/w"), Some("t")));
        assert_eq!((told.tool(), told.event()), ("unknown".to_owned(), String::new()));
        assert!(!told.is_of_subagent());
    }

    #[test]
    fn only_a_body_that_names_no_session_is_refused() {
        for bad in ["", "[]", "{", "null", "\"s\"", "{\"session_id\":\"s\"} x"] {
            assert!(Told::read(bad.as_bytes()).is_err(), "{bad}");
        }
        for nameless in ["{}", r#"{"session_id":""}"#, r#"{"session_id":null}"#, r#"{"session_id":["s"]}"#] {
            assert!(Told::read(nameless.as_bytes()).unwrap().session_id().is_err(), "{nameless}");
        }
    }

    #[test]
    fn a_fact_that_is_too_long_is_cut_between_two_characters() {
        let body = format!(r#"{{"session_id":"s","tool_name":"{}"}}"#, "é".repeat(200));
        let tool = Told::read(body.as_bytes()).unwrap().tool();
        assert_eq!(tool.len(), 256);
        let body = format!(r#"{{"session_id":"s","tool_name":"x{}"}}"#, "é".repeat(200));
        assert_eq!(Told::read(body.as_bytes()).unwrap().tool().len(), 255);
    }

    #[test]
    fn ids_are_found_wherever_they_stand_and_each_once() {
        let text = |body: String| quoted(body.as_bytes()).iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>();
        for around in
            ["(message {}, 2 min ago)", "{}", "\\f{}\\b{}", "abc{}abc", "-{}-", "message-{}", "{}{}", "\\ud83d{}"]
        {
            assert_eq!(text(around.replace("{}", ID)), [ID], "{around}");
        }
        for other in ["01a1fe72-94f4-7358-81ac-0087d7ac3d5", "01A1FE72-94f4-7358-81ac-0087d7ac3d5d", "--------", ""] {
            assert_eq!(text(other.to_owned()), [""; 0], "{other}");
        }
        let many: Vec<String> = (0..QUOTED_IDS_MAX + 9).map(|n| format!("01a1fe72-94f4-7358-81ac-{n:012x}")).collect();
        assert_eq!(text(many.join(",")), many[..QUOTED_IDS_MAX]);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(prop_oneof![Just(b'-'), Just(b'a'), any::<u8>()], 0..200)) {
            quoted(&body);
            let _ = Told::read(&body).map(|told| (told.session_id().is_ok(), told.cwd(), told.title()));
        }
    }
}

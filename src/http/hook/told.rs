//! What a hook of any host tells, read from its JSON. It must not refuse what it does not understand: hosts add events and
//! fields and change their types, and a hook must not fail for that. Only a session must be named.

use crate::bom;
use crate::error::{ErrorKind, RequestError};
use crate::gate;
use crate::ids::MessageId;
use crate::limits::{HOOK_FIELDS_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, QUOTED_IDS_MAX, TEXT_BYTES_MAX};
use crate::roster::ToolUse;
use memchr::memchr_iter;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The fields of an event. An empty value, or one of another type than expected, counts as none.
pub(super) struct Told<'a> {
    /// Names, and values as JSON text.
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The body held bytes that are no UTF-8. They stand here as U+FFFD, and a text with that is lost.
    is_lossy: bool,
    /// The body is the beginning of a larger one.
    is_cut: bool,
}

#[derive(Deserialize)]
struct Workspace {
    current_dir: Option<String>,
}

impl<'a> Told<'a> {
    /// Reads a complete body.
    #[cfg(test)]
    pub(super) fn read(body: &'a [u8]) -> Result<Self, RequestError> {
        Self::read_whole_or_cut(body, false)
    }

    /// Reads the body of a request; of a cut one, the complete fields.
    ///
    /// # Errors
    /// It is no JSON object.
    pub(super) fn of(request: &'a gate::Request) -> Result<Self, RequestError> {
        Self::read_whole_or_cut(&request.body, request.body_is_cut)
    }

    fn read_whole_or_cut(body: &'a [u8], is_cut: bool) -> Result<Self, RequestError> {
        let body = bom::without(body);
        let (found, is_lossy) = match std::str::from_utf8(body) {
            Ok(text) => (fields(text, is_cut).map(borrowed), false),
            Err(_) => (fields(&String::from_utf8_lossy(body), is_cut).map(owned), true),
        };
        let invalid = |error| RequestError::invalid(format!("the body is no hook JSON: {error}"));
        found.map(|fields| Self { fields, is_lossy, is_cut }).map_err(invalid)
    }

    /// Returns a field that is not empty. The later of two fields with one name counts, as in other JSON readers.
    fn value(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().rfind(|(found, _)| found == name)?;
        Some(&**value).filter(|value| says_something(value))
    }

    /// Returns `true` if the field is there and not empty.
    pub(super) fn says(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Returns the first text under one of these names.
    pub(super) fn text(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| {
            let text = serde_json::from_str::<String>(self.value(name)?).ok()?;
            self.is_whole(&text).then_some(text)
        })
    }

    fn is_whole(&self, text: &str) -> bool {
        !(self.is_lossy && text.contains(char::REPLACEMENT_CHARACTER))
    }

    /// The session's id, in any agent's spelling.
    ///
    /// # Errors
    /// There is none, or there are two.
    pub(super) fn session_id(&self) -> Result<String, RequestError> {
        const NAMES: [&str; 3] = ["session_id", "sessionId", "conversation_id"];
        if NAMES.iter().any(|name| self.fields.iter().filter(|(found, _)| found == name).nth(1).is_some()) {
            return Err(RequestError::invalid("the body has two session ids"));
        }
        let unnamed = || match self.is_cut {
            true => {
                RequestError::new(ErrorKind::TooLarge, "the event is too large, and its beginning names no session")
            }
            false => RequestError::invalid("the body has no session_id, or one that is no text or empty"),
        };
        self.text(&NAMES).ok_or_else(unnamed)
    }

    /// The event's name; empty if it has none.
    pub(super) fn event(&self) -> String {
        self.text(&["hook_event_name", "hookEventName"]).unwrap_or_default()
    }

    /// Returns `true` for an event of a subagent, which is no session of its own.
    pub(super) fn is_of_subagent(&self) -> bool {
        self.says("agent_id") || self.says("subagentType")
    }

    /// The directory that the session is in, after the event.
    pub(super) fn cwd(&self) -> Option<String> {
        let workspace = || {
            let workspace = serde_json::from_str::<Workspace>(self.value("workspace")?).ok()?;
            workspace.current_dir.filter(|directory| !directory.trim().is_empty() && self.is_whole(directory))
        };
        let root = || {
            let roots = serde_json::from_str::<Vec<String>>(self.value("workspace_roots")?).ok()?;
            roots.into_iter().next().filter(|root| !root.trim().is_empty() && self.is_whole(root))
        };
        self.text(&["new_cwd", "cwd"]).or_else(workspace).or_else(root)
    }

    /// By what the session began.
    pub(super) fn source(&self) -> String {
        self.text(&["source"]).unwrap_or_default()
    }

    pub(super) fn model(&self) -> Option<String> {
        self.text(&["model"]).map(|model| cut(model, NAME_BYTES_MAX))
    }

    pub(super) fn permission_mode(&self) -> Option<String> {
        self.text(&["permission_mode", "permissionMode"]).map(|mode| cut(mode, NAME_BYTES_MAX))
    }

    pub(super) fn title(&self) -> Option<String> {
        self.text(&["session_title"]).map(|title| cut(title, TEXT_BYTES_MAX))
    }

    /// Which prompt the event belongs to: hosts that tell it call it the prompt's or the turn's.
    pub(super) fn prompt_id(&self) -> Option<String> {
        self.text(&["prompt_id", "turn_id", "promptId", "generation_id"]).map(|id| cut(id, NAME_BYTES_MAX))
    }

    /// Of a turn's end: whether a hook had prolonged the turn. That none had is said by a value which says nothing elsewhere.
    pub(super) fn prolonged(&self) -> Option<bool> {
        let mut named = self.fields.iter().rev().filter(|(name, _)| &**name == "stop_hook_active");
        serde_json::from_str(&named.next()?.1).ok()
    }

    /// The tool's name.
    pub(super) fn tool(&self) -> String {
        self.text(&["tool_name", "toolName"]).map_or_else(|| "unknown".to_owned(), |tool| cut(tool, NAME_BYTES_MAX))
    }

    /// The use of a tool that the event is about.
    pub(super) fn tool_use(&self) -> Option<ToolUse> {
        let name = self.text(&["tool_name", "toolName"])?;
        let id = self.text(&["tool_use_id", "toolUseId", "tool_call_id", "toolCallId"]);
        let input = self.value("tool_input").or_else(|| self.value("toolInput")).map_or(0, digest);
        Some(ToolUse { name: cut(name, NAME_BYTES_MAX), id: id.map(|id| cut(id, NAME_BYTES_MAX)), input })
    }

    /// What a tool asks the human that does nothing else. No two agents have one of the same name.
    pub(super) fn asks(&self) -> Option<String> {
        match self.tool().as_str() {
            "AskUserQuestion" | "request_user_input" | "ask_user" => {
                Some(self.question().map_or_else(|| "an answer".to_owned(), |text| format!("an answer: {text}")))
            }
            "ExitPlanMode" => Some("approval of its plan".to_owned()),
            _ => None,
        }
    }

    /// The first question in the input of such a tool.
    fn question(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Input {
            questions: Vec<Question>,
        }
        #[derive(Deserialize)]
        struct Question {
            question: String,
        }
        let input: Input = serde_json::from_str(self.value("tool_input")?).ok()?;
        let first = input.questions.into_iter().next()?.question;
        (!first.trim().is_empty() && self.is_whole(&first)).then(|| cut(first, NAME_BYTES_MAX))
    }

    /// The task of its own that a session awaits whose turn has ended: the first that runs, or what is to wake it.
    pub(super) fn own_task(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Task {
            status: Option<String>,
            description: Option<String>,
            command: Option<String>,
            r#type: Option<String>,
        }
        #[derive(Deserialize)]
        struct Cron {
            schedule: Option<String>,
        }
        let over = ["completed", "failed", "killed", "stopped", "cancelled"];
        let tasks = self.value("background_tasks").and_then(|tasks| serde_json::from_str::<Vec<Task>>(tasks).ok());
        let tasks = tasks.unwrap_or_default();
        let runs = |task: &&Task| task.status.as_deref().is_none_or(|status| !over.contains(&status));
        let name = |task: Task| {
            let said = [task.description, task.command, task.r#type].into_iter().flatten();
            said.into_iter().find(|text| !text.trim().is_empty()).unwrap_or_else(|| "a task".to_owned())
        };
        let crons = || self.value("session_crons").and_then(|crons| serde_json::from_str::<Vec<Cron>>(crons).ok());
        let running = tasks.iter().filter(runs).count();
        let text = match tasks.into_iter().find(|task| runs(&task)).map(name) {
            Some(first) if running > 1 => {
                format!("its own tasks: {} and {} more", cut(first, NAME_BYTES_MAX), running - 1)
            }
            Some(first) => format!("its own task: {}", cut(first, NAME_BYTES_MAX)),
            None => format!("its own schedule: {}", crons()?.into_iter().find_map(|cron| cron.schedule)?),
        };
        self.is_whole(&text).then(|| cut(text, TEXT_BYTES_MAX))
    }

    /// The file in which the agent writes the session down.
    pub(super) fn transcript(&self) -> Option<String> {
        self.text(&["transcript_path", "transcriptPath"]).filter(|path| path.len() <= PATH_BYTES_MAX)
    }

    /// The server that asks the human for something.
    pub(super) fn server(&self) -> String {
        self.text(&["mcp_server_name"]).map_or_else(|| "an MCP server".to_owned(), |name| cut(name, NAME_BYTES_MAX))
    }

    pub(super) fn notification_type(&self) -> String {
        self.text(&["notification_type", "notificationType"]).unwrap_or_default()
    }

    /// Whether the user broke off what the event is about.
    pub(super) fn is_interrupt(&self) -> bool {
        self.value("is_interrupt") == Some("true")
    }

    pub(super) fn message(&self) -> String {
        self.text(&["message"]).unwrap_or_default()
    }

    /// By what the turn failed.
    pub(super) fn error(&self) -> String {
        self.text(&["error"]).map_or_else(|| "unknown".to_owned(), |error| cut(error, NAME_BYTES_MAX))
    }
}

type Found<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

fn borrowed(found: Found<'_>) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    found.into_iter().map(|(name, value)| (name, Cow::Borrowed(value.get()))).collect()
}

fn owned<'a>(found: Found<'_>) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    found.into_iter().map(|(name, value)| (name.into_owned().into(), value.get().to_owned().into())).collect()
}

/// Parses the fields of an object; of a cut one, the complete fields.
fn fields(text: &str, is_cut: bool) -> serde_json::Result<Found<'_>> {
    let mut fields = Fields(Vec::new());
    let mut reader = serde_json::Deserializer::from_str(text);
    match (&mut fields).deserialize(&mut reader).and_then(|()| reader.end()) {
        Err(error) if !(is_cut && error.is_eof()) => Err(error),
        _ => Ok(fields.0),
    }
}

/// Collects the fields of an object, so that those before an error are kept.
struct Fields<'a>(Found<'a>);

impl<'a> DeserializeSeed<'a> for &mut Fields<'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for &mut Fields<'a> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            let value = map.next_value()?;
            if self.0.len() < HOOK_FIELDS_MAX {
                self.0.push((name, value));
            }
        }
        Ok(())
    }
}

/// A field's name, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Returns `false` for an empty value: null, false, blank text, an empty list or object.
fn says_something(value: &str) -> bool {
    match value {
        "null" | "false" | "{}" | "[]" => false,
        text if text.starts_with('"') => {
            serde_json::from_str::<String>(text).map_or(true, |text| !text.trim().is_empty())
        }
        _ => true,
    }
}

/// A number that tells one input of a tool from another.
fn digest(input: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    hasher.finish()
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

    // row 31
    #[test]
    fn a_value_that_says_nothing_is_as_good_as_none() {
        for nothing in ["null", "false", "\"\"", "\" \\n\"", "{}", "[]"] {
            let body = format!(
                r#"{{"session_id":"s","agent_id":{nothing},"subagentType":{nothing},"new_cwd":{nothing},"cwd":"/w","prompt_id":{nothing},
                    "turn_id":"t","hook_event_name":{nothing},"hookEventName":"stop","model":{nothing},"tool_name":{nothing}}}"#
            );
            let told = Told::read(body.as_bytes()).unwrap();
            assert!(!told.is_of_subagent(), "{nothing}");
            assert_eq!((told.cwd().as_deref(), told.prompt_id().as_deref()), (Some("/w"), Some("t")), "{nothing}");
            assert_eq!(
                (told.event().as_str(), told.model(), told.tool().as_str()),
                ("stop", None, "unknown"),
                "{nothing}"
            );
            let body = format!(r#"{{"session_id":{nothing},"sessionId":"s"}}"#);
            assert_eq!(Told::read(body.as_bytes()).unwrap().session_id().unwrap(), "s", "{nothing}");
        }
        for something in ["\"a1\"", "1", "true", "{\"a\":1}"] {
            let body = format!(r#"{{"session_id":"s","agent_id":{something}}}"#);
            assert!(Told::read(body.as_bytes()).unwrap().is_of_subagent(), "{something}");
        }
    }

    // row 32
    #[test]
    fn a_mark_before_the_text_is_skipped_and_what_is_no_utf_8_costs_one_field() {
        let body = b"\xef\xbb\xbf{\"session_id\":\"s\",\"cwd\":\"/w\"}";
        assert_eq!(Told::read(body).unwrap().cwd().unwrap(), "/w");
        let body = b"{\"session_title\":\"caf\xe9\",\"session_id\":\"s\",\"cwd\":\"/caf\xe9\",\"workspace\":{\"current_dir\":\"/w\"},
            \"prompt\":\"\xff\xfe\",\"tool_name\":\"Bash\",\"\xff\":1,\"model\":\"caf\xc3\xa9\"}";
        let told = Told::read(body).unwrap();
        assert_eq!((told.session_id().unwrap().as_str(), told.tool().as_str()), ("s", "Bash"));
        assert_eq!(
            (told.title(), told.cwd().as_deref(), told.model().as_deref()),
            (None, Some("/w"), Some("caf\u{e9}"))
        );
        // Two ids could differ in the lost bytes alone.
        assert!(Told::read(b"{\"session_id\":\"s\xff\"}").unwrap().session_id().is_err());
        // U+FFFD in valid UTF-8 loses nothing.
        let body = "{\"session_id\":\"s\",\"session_title\":\"a \u{fffd} b\"}";
        assert_eq!(Told::read(body.as_bytes()).unwrap().title().unwrap(), "a \u{fffd} b");
        assert!(Told::read(b"\xff{\"session_id\":\"s\"}").is_err(), "outside of any field");
    }

    // row 34
    #[test]
    fn the_whole_fields_at_the_beginning_of_a_cut_event_count() {
        let body = "{\"session_id\":\"s\",\"cwd\":\"/w\",\"hook_event_name\":\"Stop\",\"tool_name\":\"Ba\u{e9}";
        for end in 0..body.len() {
            let Ok(told) = Told::read_whole_or_cut(&body.as_bytes()[..end], true) else {
                assert_eq!(end, 0, "a beginning without an object is no event");
                continue;
            };
            assert_eq!(told.session_id().is_ok(), end > 16, "{end}");
            assert_eq!(told.cwd().is_some(), end > 27, "{end}");
            assert_eq!(told.event().as_str(), if end > 52 { "Stop" } else { "" }, "{end}");
            assert_eq!(told.tool(), "unknown", "{end}");
            assert!(Told::read(&body.as_bytes()[..end]).is_err(), "{end}: it was not cut by us");
        }
        assert!(Told::read_whole_or_cut(b"{\"session_id\":\"s\",,", true).is_err(), "what is wrong is not cut");
        assert!(Told::read_whole_or_cut(b"[{\"session_id\":\"s\"", true).is_err());
    }

    #[test]
    fn of_fields_without_end_the_first_count_and_of_two_of_one_name_the_later() {
        let many = |name: usize| format!("\"f{name}\":1,");
        let body = format!("{{\"cwd\":\"/w\",{}\"session_id\":\"s\"}}", (0..1000).map(many).collect::<String>());
        let told = Told::read(body.as_bytes()).unwrap();
        assert_eq!(
            (told.fields.len(), told.cwd().as_deref(), told.session_id().is_err()),
            (HOOK_FIELDS_MAX, Some("/w"), true)
        );
        let told = Told::read(br#"{"session_id":"s","cwd":"/w","c\u0077d":"/x"}"#).unwrap();
        assert_eq!((told.session_id().unwrap().as_str(), told.cwd().as_deref()), ("s", Some("/x")));
        let told = Told::read(br#"{"session_id":"a","session_\u0069d":"b"}"#).unwrap();
        assert!(told.session_id().is_err(), "a session is never guessed");
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

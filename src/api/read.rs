//! From JSON or a query to the fields of an operation, in one pass over the text. What is wrong is said in words of the
//! one who wrote the request: the field, its value, and the rule. It must not know what a field is for.

use super::fields::{Field, Kind, shortened};
use super::{Door, OPERATIONS, Operation, Shape, unknown};
use crate::error::RequestError;
use crate::row_json::Text;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The fields of a request, checked: each as its kind says.
#[derive(Debug, Default)]
pub struct Args(Vec<(&'static str, Arg)>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Arg {
    Text(String),
    Texts(Vec<String>),
    Number(i64),
    Flag(bool),
}

impl Args {
    /// Takes out a text, or a JSON value as its text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Arg::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes out a list of texts.
    pub fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        match self.take(name)? {
            Arg::Texts(texts) => Some(texts),
            Arg::Text(text) => Some(vec![text]),
            _ => None,
        }
    }

    /// Takes out a number.
    pub fn number(&mut self, name: &str) -> Option<i64> {
        match self.take(name)? {
            Arg::Number(number) => Some(number),
            _ => None,
        }
    }

    /// Takes out a number that its rule keeps within a range.
    pub fn bounded<T: TryFrom<i64>>(&mut self, name: &str) -> Option<T> {
        self.number(name).and_then(|number| T::try_from(number).ok())
    }

    /// Takes out what is true or false.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Arg::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    /// Takes out what is true, false or a number of seconds; true as `by_itself`.
    pub fn flag_or_seconds(&mut self, name: &str, by_itself: i64) -> Option<i64> {
        match self.take(name)? {
            Arg::Flag(true) => Some(by_itself),
            Arg::Number(seconds) => Some(seconds),
            _ => None,
        }
    }

    /// Whether all was taken out.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Arg> {
        let at = self.0.iter().position(|(found, _)| *found == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Puts in a text that stands elsewhere, such as in the path or a header, unless the field is there already.
    pub fn put(&mut self, name: &'static str, text: &str) {
        if self.0.iter().all(|(found, _)| *found != name) {
            self.0.push((name, Arg::Text(text.to_owned())));
        }
    }
}

/// A JSON value, as far as fields can hold one.
#[derive(Debug)]
enum Json<'a> {
    Null,
    Flag(bool),
    Number(i64),
    Text(Cow<'a, str>),
    Texts(Vec<String>),
    Raw(&'a RawValue),
    /// A value that no kind of field takes.
    Other,
}

/// The members of a JSON object that some operation knows by name. Which of them an operation takes is asked later: a
/// WebSocket frame names its command after the command's members.
#[derive(Debug, Default)]
pub struct Members<'a> {
    found: Vec<(Cow<'a, str>, Json<'a>)>,
    /// The first member that no operation knows.
    unknown: Option<String>,
    /// A member that is there more than once.
    twice: Option<String>,
    is_object: bool,
}

/// Reads a body as the fields of an operation.
///
/// # Errors
/// The body is no JSON object; a field is unknown, missing, there twice or breaks its rule.
pub fn read_body(operation: &'static Operation, body: &[u8]) -> Result<Args, RequestError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let members =
        MembersSeed(Some(operation)).deserialize(&mut reader).and_then(|members| reader.end().map(|()| members));
    let members = members.map_err(|error| not_json(operation, &error))?;
    members.args(operation)
}

/// Reads a query's pairs, decoded, as the fields of an operation. Operations that take a body have none.
///
/// # Errors
/// A parameter is unknown, missing, there twice, empty or breaks its rule.
pub fn read_query(operation: &'static Operation, pairs: &[(String, String)]) -> Result<Args, RequestError> {
    let in_query = matches!(operation.door, Door::Http("GET", _));
    let mut args = Args::default();
    for (name, value) in pairs {
        let field = operation.fields().find(|field| in_query && field.name == name);
        let Some(field) = field.filter(|_| !operation.names_in_path(name)) else {
            match operation.shape {
                Shape::Ours if in_query || operation.groups.is_empty() => return Err(unknown(operation, name)),
                Shape::Ours => {
                    let message = format!(
                        "unknown parameter '{}'; {} takes its fields in the body",
                        shortened(name),
                        operation.name()
                    );
                    return Err(RequestError::invalid(message));
                }
                Shape::Theirs => continue,
            }
        };
        if args.0.iter().any(|(found, _)| found == name) {
            return Err(twice(operation, name));
        }
        let number = || value.parse().ok().filter(|number| field.kind.fits_number(*number)).map(Arg::Number);
        let text = || field.kind.fits_text(value).then(|| Arg::Text(value.clone()));
        let arg = if field.kind.is_text() { text() } else { number() };
        args.0.push((field.name, arg.ok_or_else(|| broken(operation, field, value))?));
    }
    Ok(args)
}

impl Members<'_> {
    /// The fields of an operation, by these members.
    ///
    /// # Errors
    /// They are no object's; a field is unknown, missing, there twice or breaks its rule.
    pub fn args(self, operation: &'static Operation) -> Result<Args, RequestError> {
        if !self.is_object {
            return Err(invalid(operation, "the body is to be a JSON object"));
        }
        if let Some(name) = self.twice {
            return Err(twice(operation, &name));
        }
        let is_ours = operation.shape == Shape::Ours;
        if let Some(name) = self.unknown.filter(|_| is_ours) {
            return Err(unknown(operation, &name));
        }
        let mut args = Args::default();
        for (name, value) in self.found {
            let Some(field) = operation.fields().find(|field| field.is_called(&name)) else {
                if is_ours {
                    return Err(unknown(operation, &name));
                }
                continue;
            };
            if args.0.iter().any(|(found, _)| *found == field.name) {
                return Err(twice(operation, field.name));
            }
            args.0.extend(arg(operation, field, value)?.map(|arg| (field.name, arg)));
        }
        let missing = |field: &&Field| field.is_needed && args.0.iter().all(|(found, _)| *found != field.name);
        match operation.fields().find(missing) {
            Some(field) => Err(invalid(operation, &format!("'{}' is missing", field.name))),
            None => Ok(args),
        }
    }

    /// The text of a member, whatever the operation: a command's `tx` comes back in its answer.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.found.iter().find_map(|(found, value)| match value {
            Json::Text(text) if found == name => Some(&**text),
            _ => None,
        })
    }
}

/// The value of a field, if it has one.
fn arg(operation: &Operation, field: &Field, value: Json<'_>) -> Result<Option<Arg>, RequestError> {
    let kind = field.kind;
    Ok(Some(match value {
        Json::Null => return Ok(None),
        _ if kind == Kind::TextIfAny && !matches!(value, Json::Text(_)) => return Ok(None),
        Json::Text(text) if kind.fits_text(&text) => Arg::Text(text.into_owned()),
        Json::Number(number) if kind.fits_number(number) => Arg::Number(number),
        Json::Flag(flag) if matches!(kind, Kind::Flag | Kind::FlagOrSeconds) => Arg::Flag(flag),
        Json::Texts(texts) if matches!(kind, Kind::Texts | Kind::TextOrTexts) => Arg::Texts(texts),
        Json::Raw(raw) if raw.get() == "null" => return Ok(None),
        Json::Raw(raw) if kind == Kind::Json || raw.get().starts_with('{') => Arg::Text(raw.get().to_owned()),
        Json::Text(text) => return Err(broken(operation, field, &text)),
        Json::Number(number) => return Err(broken(operation, field, &number.to_string())),
        Json::Flag(flag) => return Err(broken(operation, field, if flag { "true" } else { "false" })),
        Json::Texts(_) | Json::Raw(_) | Json::Other => {
            return Err(invalid(operation, &format!("'{}': give {}", field.name, kind.rule())));
        }
    }))
}

fn broken(operation: &Operation, field: &Field, value: &str) -> RequestError {
    let is = if value.is_empty() { "empty".to_owned() } else { shortened(value) };
    invalid(operation, &format!("'{}' is {is}: give {}", field.name, field.kind.rule()))
}

fn twice(operation: &Operation, name: &str) -> RequestError {
    invalid(operation, &format!("'{name}' is there twice"))
}

/// An error that names the command. At a path everybody knows what was asked for.
fn invalid(operation: &Operation, message: &str) -> RequestError {
    RequestError::invalid(match operation.door {
        Door::Http(..) => message.to_owned(),
        Door::Command(id) => format!("{id}: {message}"),
    })
}

/// The fault of a text that is no JSON, by its place. The library's words name types of its own.
fn not_json(operation: &Operation, error: &serde_json::Error) -> RequestError {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "ends too early",
        _ => "is no JSON",
    };
    invalid(operation, &format!("the body {what} (line {}, column {})", error.line(), error.column()))
}

impl Operation {
    fn names_in_path(&self, name: &str) -> bool {
        let Door::Http(_, path) = self.door else { return false };
        path.ends_with('/') && self.fields().any(|field| field.name == name)
    }
}

/// Reads an object's members, those of one operation or of every command; anything else as no object.
pub(super) struct MembersSeed(pub(super) Option<&'static Operation>);

impl MembersSeed {
    /// Whether the value of a member of this name is kept as text; none if no operation in question knows it.
    fn is_raw(&self, name: &str) -> Option<bool> {
        let is_meant = |operation: &&Operation| match self.0 {
            Some(_) => true,
            None => matches!(operation.door, Door::Command(_)),
        };
        let all = self.0.map_or(OPERATIONS, std::slice::from_ref);
        let mut fields = all.iter().filter(is_meant).flat_map(Operation::fields);
        fields.find(|field| field.is_called(name)).map(|field| matches!(field.kind, Kind::Json | Kind::Object))
    }
}

impl<'de> DeserializeSeed<'de> for MembersSeed {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A visitor takes each kind of value; those that are none of a visitor's own come to this.
macro_rules! otherwise {
    ($value:expr; $($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<Self::Value, E> {
            Ok($value)
        })*
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

impl<'de> Visitor<'de> for MembersSeed {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members { is_object: true, ..Members::default() };
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            let value = match self.is_raw(&name) {
                None => {
                    map.next_value::<IgnoredAny>()?;
                    members.unknown.get_or_insert_with(|| name.into_owned());
                    continue;
                }
                Some(true) => Json::Raw(map.next_value()?),
                Some(false) => map.next_value_seed(JsonSeed)?,
            };
            if members.found.iter().any(|(found, _)| *found == name) {
                members.twice = Some(name.into_owned());
                continue;
            }
            members.found.push((name, value));
        }
        Ok(members)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Members::default())
    }

    otherwise!(Members::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
}

struct JsonSeed;

impl<'de> DeserializeSeed<'de> for JsonSeed {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonSeed {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Json::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Json::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(Json::Other, Json::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Json::Other)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Json::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut texts, mut is_of_texts) = (Vec::new(), true);
        while let Some(element) = seq.next_element_seed(JsonSeed)? {
            match element {
                Json::Text(text) => texts.push(text.into_owned()),
                _ => is_of_texts = false,
            }
        }
        Ok(if is_of_texts { Json::Texts(texts) } else { Json::Other })
    }
}

//! A WebSocket text frame, read in one pass: marshal 0.9's envelope, and in it a command with its members. It must not
//! judge what they mean.

use super::read::{Members, MembersSeed};
use crate::row_json::Text;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The event whose data is a command.
pub const COMMAND_EVENT: &str = "ws:m:command";

/// A frame.
pub struct Envelope<'a> {
    /// The kind of the frame.
    pub event: Cow<'a, str>,
    /// Its content.
    pub data: FrameData<'a>,
}

/// The content of a frame.
pub enum FrameData<'a> {
    /// A command.
    Command(CommandFrame<'a>),
    /// Anything else, as its JSON text.
    Text(&'a str),
}

/// A command.
pub struct CommandFrame<'a> {
    /// The members that some command knows.
    pub command: Members<'a>,
    /// Which command it is.
    pub command_id: Cow<'a, str>,
}

/// The envelope of a frame, if it is one.
pub fn read_frame(text: &str) -> Option<Envelope<'_>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let envelope = reader.deserialize_map(EnvelopeVisitor).ok()?;
    reader.end().ok()?;
    let Envelope { event, data } = envelope?;
    // A client that writes the data first is understood too.
    let data = match data {
        FrameData::Text(data) if event == COMMAND_EVENT => {
            let frame = serde_json::Deserializer::from_str(data).deserialize_any(CommandVisitor);
            frame.ok().flatten().map_or(FrameData::Text(data), FrameData::Command)
        }
        data => data,
    };
    Some(Envelope { event, data })
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Option<Envelope<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut event, mut data): (Option<Cow<'de, str>>, Option<FrameData<'de>>) = (None, None);
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            match &*name {
                "event" => event = Some(map.next_value::<Text<'de>>()?.0),
                "data" if event.as_deref() == Some(COMMAND_EVENT) => {
                    data = map.next_value_seed(CommandVisitor)?.map(FrameData::Command);
                }
                "data" => data = Some(FrameData::Text(map.next_value::<&RawValue>()?.get())),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        // A command without a name is told from no command by what it holds.
        let empty = event.as_deref() == Some(COMMAND_EVENT);
        let data = data.or_else(|| empty.then_some(FrameData::Text("")));
        Ok(event.zip(data).map(|(event, data)| Envelope { event, data }))
    }
}

struct CommandVisitor;

impl<'de> DeserializeSeed<'de> for CommandVisitor {
    type Value = Option<CommandFrame<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for CommandVisitor {
    type Value = Option<CommandFrame<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a command")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut command, mut command_id) = (None, None);
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            match &*name {
                "command" => command = Some(map.next_value_seed(MembersSeed(None))?),
                "commandId" => command_id = Some(map.next_value::<Text<'de>>()?.0),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(command.zip(command_id).map(|(command, command_id)| CommandFrame { command, command_id }))
    }
}

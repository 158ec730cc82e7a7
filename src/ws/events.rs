//! Events as text: the frames of `text/event-stream`, each with its data as one line of JSON. It must not decide who hears
//! of what.

use crate::api::shapes::{message, seen_session};
use crate::row_json::delivery_news;
use crate::store::{Event, News};
use serde_json::Value;
use std::fmt::Write;

/// Shows that the connection lives; whoever reads it takes it for nothing.
pub(super) const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// The frame of an event.
pub(super) fn text(event: &Event) -> String {
    let at = event.at;
    let (name, data) = match &event.news {
        News::Join(seen) => ("join", format!(r#"{{"session":{},"ts":{at}}}"#, seen_session(seen))),
        News::Change(seen) => ("change", format!(r#"{{"session":{},"ts":{at}}}"#, seen_session(seen))),
        News::Leave(session, gone) => {
            let (nickname, id) = (Value::from(&*session.row.nickname), Value::from(session.row.id.as_str()));
            let reason = gone.as_str();
            ("leave", format!(r#"{{"nickname":{nickname},"reason":"{reason}","sessionId":{id},"ts":{at}}}"#))
        }
        News::Message(row, _) => ("message", format!(r#"{{"message":{},"ts":{at}}}"#, message(&row.row))),
        News::Delivery(message, view) => ("delivery", delivery_news(&message.row, view, at).to_string()),
        News::Reset(sessions) => {
            let rows: Vec<String> = sessions.iter().map(seen_session).collect();
            ("reset", format!(r#"{{"sessions":[{}],"ts":{at}}}"#, rows.join(",")))
        }
    };
    let mut text = String::with_capacity(data.len() + 96);
    let (run, number) = &event.id;
    // Writing into a String cannot fail. JSON text holds no line end.
    let _ = write!(text, "id: {run}-{number}\nevent: {name}\ndata: {data}\n\n");
    text
}

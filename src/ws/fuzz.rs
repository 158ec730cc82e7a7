//! What must hold for any text that a WebSocket client sends: the entry function of the fuzz target `frame`, and the
//! replay of its corpus. It is in no build but those of tests and fuzzers.

use super::frames::Frames;
use super::owed::Owed;
use super::reading::Heard;
use super::{Client, answer};
use crate::gate::Stream;
use crate::limits::{ID_BYTES_MAX, WS_ECHO_BYTES_MAX, WS_ERROR_CHARACTERS_MAX};
use crate::roster::Known;
use crate::store::Command;
use crossbeam_channel::bounded;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Bytes of the longest text that is tried.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Commands that it can hold: the shortest event has 58 bytes.
const COMMANDS_MAX: usize = TEXT_BYTES_MAX / 50;
/// Bytes of an answer that may quote: JSON can make six of one, in an error, its tx and its command.
const ANSWER_BYTES_MAX: usize = 6 * (4 * WS_ERROR_CHARACTERS_MAX + 2 * ID_BYTES_MAX) + 200;

/// Hands over the text as one frame, answers what it asks, and looks at what the client would get.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]);
    let Ok((ours, _theirs)) = UnixStream::pair() else { return };
    let (outbox, answers) = bounded(4);
    let owed = Owed::default();
    let (store, commands) = bounded(COMMANDS_MAX);
    let client = Client {
        id: "c".into(),
        stream: Arc::new(Stream::Unix(ours)),
        known: Known::Unproven,
        outbox: outbox.into(),
        owed: owed.clone(),
        resumes: std::sync::Arc::new(|| ()),
    };
    assert!(Frames::new(client, store).text(&text).is_ok(), "the store is there");
    let mut asked = 0;
    for command in commands.try_iter() {
        match command {
            Command::Request { request, reply_to: Some(reply_to) } => {
                asked += 1;
                let quoting = format!("{request:?}");
                reply_to(Err(crate::error::RequestError::invalid(quoting)));
            }
            Command::Query { tx, .. } => {
                asked += 1;
                assert!(tx.len() <= ID_BYTES_MAX);
            }
            Command::Request { reply_to: None, .. } | Command::Events { .. } | Command::CancelQuery { .. } => {}
            _ => panic!("not a client's to say"),
        }
    }
    let mut answered = 0;
    for frame in answers.try_iter() {
        answered += 1;
        let mut text = Vec::new();
        answer::write(&frame, &mut text);
        assert!(text.len() <= ANSWER_BYTES_MAX.max(WS_ECHO_BYTES_MAX), "{} bytes to be held", text.len());
        assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok(), "{}", String::from_utf8_lossy(&text));
    }
    assert!(asked <= 1 && answered <= 1 && owed.count() <= 1, "one frame, one answer");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_of_frames_holds() {
        crate::fuzz_corpus::replay("frame", super::check);
    }
}

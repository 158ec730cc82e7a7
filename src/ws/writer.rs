//! The writing half of a WebSocket client: the only thread that writes to its socket. It makes JSON of the store's
//! frames, gathers what waits into one write, and pings a client that may have died without a word.

use super::{answer, disconnect};
use crate::gate::Stream;
use crate::limits::WS_WRITE_BYTES_MAX;
use crate::roster::Request;
use crate::store::{Command, Frame};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::io::{self, Write};
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// What a writer takes from.
pub(super) struct Queue {
    /// What is to be written.
    pub(super) frames: Receiver<Box<Frame>>,
    /// A token for each answer among them, and for each that is still to come.
    pub(super) written: Receiver<()>,
    /// Time between two pings.
    pub(super) ping_every: Duration,
}

/// Writes until the client is gone or does not read, or there is nothing left to say.
pub(super) fn run(stream: &Stream, queue: Queue, store: &Sender<Command>) {
    let Queue { frames, written, ping_every } = queue;
    let mut next_ping = Instant::now() + ping_every;
    let mut bytes = Vec::new();
    loop {
        let mut batch = Batch::default();
        bytes.clear();
        match frames.recv_deadline(next_ping) {
            Ok(frame) => batch.add(*frame, &written, &mut bytes),
            Err(RecvTimeoutError::Timeout) => {
                next_ping = Instant::now() + ping_every;
                write_frame(&mut bytes, OpCode::Control(Control::Ping), b"");
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while !batch.last && bytes.len() < WS_WRITE_BYTES_MAX {
            let Ok(frame) = frames.try_recv() else { break };
            batch.add(*frame, &written, &mut bytes);
        }
        if let Err(error) = write_all(stream, &bytes) {
            log::debug!("a client does not take its frames: {error}");
            disconnect(stream);
            return;
        }
        for request in batch.read {
            // The store never waits for a writer, so that waiting for room in its queue cannot lock both.
            let _ = store.send(Command::Request { request, reply_to: None });
        }
        if batch.last {
            disconnect(stream);
            return;
        }
        // One large snapshot should not cost its size for the rest of the connection's life.
        bytes.shrink_to(WS_WRITE_BYTES_MAX / 16);
    }
}

fn write_all(mut stream: &Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

/// The frames of one write.
#[derive(Default)]
struct Batch {
    /// What is read by being written.
    read: Vec<Request>,
    /// Nothing follows.
    last: bool,
}

impl Batch {
    fn add(&mut self, frame: Frame, written: &Receiver<()>, bytes: &mut Vec<u8>) {
        if matches!(frame, Frame::Answer { .. } | Frame::Snapshot { .. } | Frame::Text(_) | Frame::Raw(_)) {
            // Each of these answers something that the client said, and was counted when it did.
            let _ = written.try_recv();
        }
        match frame {
            Frame::Raw(raw) => bytes.extend_from_slice(&raw),
            Frame::End => self.last = true,
            Frame::Close(code) => {
                write_frame(bytes, OpCode::Control(Control::Close), &code.to_be_bytes());
                self.last = true;
            }
            Frame::Notify { ref push, .. } => {
                if let Some(session) = &push.read_when_written {
                    let messages = vec![push.message.row.id.clone()];
                    self.read.push(Request::InboxHanded { session: session.clone(), messages, complete: true });
                }
                write_text(bytes, &frame);
            }
            Frame::Snapshot { .. } | Frame::Diff { .. } | Frame::Answer { .. } | Frame::Text(_) => {
                write_text(bytes, &frame);
            }
        }
    }
}

fn write_text(bytes: &mut Vec<u8>, frame: &Frame) {
    write_frame(bytes, OpCode::Data(Data::Text), answer::text(frame).as_bytes());
}

/// One whole frame. A server does not mask.
fn write_frame(bytes: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    // Writing into a Vec cannot fail.
    let _ = header.format(payload.len() as u64, bytes);
    bytes.extend_from_slice(payload);
}

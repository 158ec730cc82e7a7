//! Makes bytes of the frames that wait for one WebSocket client, up to the size of one write. It must not touch the
//! socket.

use super::owed::Owed;
use super::{answer, events};
use crate::limits::WS_WRITE_BYTES_MAX;
use crate::roster::{Arrival, Request};
use crate::store::Frame;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use std::sync::Arc;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// Frames of the WebSocket protocol.
    WebSocket,
    /// Events, as text.
    Events,
}

/// What waits for a client.
pub(super) struct Gatherer {
    wire: Wire,
    /// What is to be written.
    frames: Receiver<Box<Frame>>,
    /// The answers among them, and those that are still to come.
    owed: Owed,
    /// What is read once the client's pong has answered the ping of this number: only that shows that the client has
    /// taken what was written before it.
    proofs: Sender<(u64, Box<Request>)>,
    proof_number: u64,
    /// What is read once the next proof has come.
    read: Vec<Request>,
    snapshot: Option<Snapshot>,
    is_over: bool,
}

/// A snapshot can be a thousand times as large as other frames: it leaves in pieces, and is never held as a whole.
struct Snapshot {
    tx: Arc<str>,
    item_type: &'static str,
    rows: Arc<[Arc<str>]>,
    /// Pieces that have been written.
    pieces: usize,
}

impl Gatherer {
    pub(super) fn new(
        wire: Wire,
        frames: Receiver<Box<Frame>>,
        owed: Owed,
        proofs: Sender<(u64, Box<Request>)>,
    ) -> Self {
        Self { wire, frames, owed, proofs, proof_number: 0, read: Vec::new(), snapshot: None, is_over: false }
    }

    /// Whether nothing will follow what has been gathered.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Adds a ping, unless the client is in the middle of a frame: it has something to read then.
    pub(super) fn ping(&self, bytes: &mut Vec<u8>) {
        match self.wire {
            Wire::WebSocket if self.snapshot.is_none() => write_frame(bytes, OpCode::Control(Control::Ping), b""),
            Wire::WebSocket => {}
            Wire::Events => bytes.extend_from_slice(events::KEEP_ALIVE),
        }
    }

    /// Adds what waits, up to the size of one write. Says whether that was all.
    pub(super) fn gather(&mut self, bytes: &mut Vec<u8>) -> bool {
        let mut is_all = false;
        while !is_all && !self.is_over && bytes.len() < WS_WRITE_BYTES_MAX {
            if self.snapshot.is_some() {
                self.go_on_with_snapshot(bytes);
                continue;
            }
            match self.frames.try_recv() {
                Ok(frame) => self.add(*frame, bytes),
                Err(TryRecvError::Empty) => is_all = true,
                // Nobody is left who could put a frame in.
                Err(TryRecvError::Disconnected) => self.is_over = true,
            }
        }
        if !self.read.is_empty() && self.snapshot.is_none() {
            self.proof_number += 1;
            for request in self.read.drain(..) {
                // Full: the message stays unread, and the session's hook shows it again.
                let _ = self.proofs.try_send((self.proof_number, Box::new(request)));
            }
            write_frame(bytes, OpCode::Control(Control::Ping), &u64::to_be_bytes(self.proof_number));
        }
        is_all || self.is_over
    }

    fn add(&mut self, frame: Frame, bytes: &mut Vec<u8>) {
        if matches!(frame, Frame::Answer { .. } | Frame::Snapshot { .. } | Frame::Text(_) | Frame::Raw(_)) {
            // Each of these answers something that the client said, and was counted when it did.
            self.owed.pay();
        }
        match frame {
            Frame::Events(all) => {
                all.iter().for_each(|event| bytes.extend_from_slice(event.text(events::text).as_bytes()));
            }
            Frame::Raw(raw) => bytes.extend_from_slice(&raw),
            Frame::End => self.is_over = true,
            Frame::Close(code) => {
                write_frame(bytes, OpCode::Control(Control::Close), &code.to_be_bytes());
                self.is_over = true;
            }
            Frame::Notify { ref push, .. } => {
                if let Some(session) = &push.read_when_written {
                    let messages = vec![push.message.row.id.clone()];
                    self.read.push(Request::InboxHanded {
                        session: session.clone(),
                        messages,
                        path: crate::model::Path::Push,
                        lease: 0,
                        arrival: Arrival::Whole,
                    });
                }
                write_text(bytes, &frame);
            }
            Frame::Snapshot { tx, item_type, rows } => {
                let pieces = (0..).map_while(|number| answer::snapshot_piece(&tx, item_type, &rows, number));
                write_header(bytes, OpCode::Data(Data::Text), pieces.flatten().map(|part| part.len()).sum());
                self.snapshot = Some(Snapshot { tx, item_type, rows, pieces: 0 });
            }
            Frame::Diff { tx, sequence, total, body } => {
                let parts = answer::diff(&tx, sequence, total, &body);
                write_header(bytes, OpCode::Data(Data::Text), parts.iter().map(|part| part.len()).sum());
                parts.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
            }
            Frame::Answer { .. } | Frame::Text(_) | Frame::News(_) => write_text(bytes, &frame),
        }
    }

    fn go_on_with_snapshot(&mut self, bytes: &mut Vec<u8>) {
        let Some(Snapshot { tx, item_type, rows, pieces }) = &mut self.snapshot else { return };
        while bytes.len() < WS_WRITE_BYTES_MAX {
            let Some(piece) = answer::snapshot_piece(tx, item_type, rows, *pieces) else {
                self.snapshot = None;
                return;
            };
            piece.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
            *pieces += 1;
        }
    }
}

impl Drop for Gatherer {
    fn drop(&mut self) {
        self.owed.end();
    }
}

/// Made in the buffer itself, where the header that tells its length is then put before it.
fn write_text(bytes: &mut Vec<u8>, frame: &Frame) {
    let start = bytes.len();
    answer::write(frame, bytes);
    let end = bytes.len();
    write_header(bytes, OpCode::Data(Data::Text), end - start);
    let header_bytes = bytes.len() - end;
    bytes[start..].rotate_right(header_bytes);
}

/// One whole frame. A server does not mask.
pub(super) fn write_frame(bytes: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    write_header(bytes, opcode, payload.len());
    bytes.extend_from_slice(payload);
}

fn write_header(bytes: &mut Vec<u8>, opcode: OpCode, payload_bytes: usize) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    // Writing into a Vec cannot fail.
    let _ = header.format(payload_bytes as u64, bytes);
}

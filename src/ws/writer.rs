//! The writing half of a WebSocket client: the only thread that writes to its socket. It makes JSON of the store's
//! frames, gathers what waits into one write, and pings a client that may have died without a word.

use super::{answer, disconnect};
use crate::gate::Stream;
use crate::limits::WS_WRITE_BYTES_MAX;
use crate::roster::Request;
use crate::store::Frame;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use std::io::{self, Write};
use std::sync::Arc;
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
    /// What is read once the client's pong has answered the ping of this number: only that shows that the client has
    /// taken what was written before it.
    pub(super) proofs: Sender<(u64, Box<Request>)>,
}

/// Writes until the client is gone or does not read, or there is nothing left to say.
pub(super) fn run(stream: &Stream, queue: Queue) {
    let mut proof_number = 0;
    let mut next_ping = Instant::now() + queue.ping_every;
    let mut out = Out { stream, bytes: Vec::new() };
    loop {
        let mut batch = Batch::default();
        let Ok(first) = next_frame(&queue.frames, next_ping) else { return };
        if first.is_none() {
            next_ping = Instant::now() + queue.ping_every;
            write_frame(&mut out.bytes, OpCode::Control(Control::Ping), b"");
        }
        let gathered = batch.gather(first, &queue, &mut out);
        if !batch.read.is_empty() {
            proof_number += 1;
            for request in batch.read {
                // Full: the message stays unread, and the session's hook shows it again.
                let _ = queue.proofs.try_send((proof_number, Box::new(request)));
            }
            write_frame(&mut out.bytes, OpCode::Control(Control::Ping), &u64::to_be_bytes(proof_number));
        }
        if let Err(error) = gathered.and_then(|()| out.flush()) {
            log::debug!("a client does not take its frames: {error}");
            disconnect(stream);
            return;
        }
        if batch.last {
            disconnect(stream);
            return;
        }
        // One busy moment should not cost its size for the rest of the connection's life.
        out.bytes.shrink_to(WS_WRITE_BYTES_MAX / 64);
    }
}

/// Nobody is left who could put a frame in.
struct Abandoned;

/// The next frame, or none if there is none by `deadline`. Whoever puts one in wakes this thread.
fn next_frame(frames: &Receiver<Box<Frame>>, deadline: Instant) -> Result<Option<Box<Frame>>, Abandoned> {
    loop {
        match frames.try_recv() {
            Ok(frame) => return Ok(Some(frame)),
            Err(TryRecvError::Disconnected) => return Err(Abandoned),
            Err(TryRecvError::Empty) => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::park_timeout(left);
    }
}

/// The way to the socket, with what has been gathered for the next write.
struct Out<'a> {
    stream: &'a Stream,
    bytes: Vec<u8>,
}

impl Out<'_> {
    fn flush(&mut self) -> io::Result<()> {
        let mut stream = self.stream;
        stream.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    /// A snapshot can be a thousand times as large as other frames: it leaves in pieces, and is never held as a whole.
    fn snapshot(&mut self, tx: &str, item_type: &str, rows: &[Arc<str>]) -> io::Result<()> {
        let parts = || answer::snapshot(tx, item_type, rows);
        write_header(&mut self.bytes, OpCode::Data(Data::Text), parts().map(|part| part.len()).sum());
        for part in parts() {
            self.bytes.extend_from_slice(part.as_bytes());
            if self.bytes.len() >= WS_WRITE_BYTES_MAX {
                self.flush()?;
            }
        }
        Ok(())
    }
}

/// The frames of one write.
#[derive(Default)]
struct Batch {
    /// What is read once it has been taken.
    read: Vec<Request>,
    /// Nothing follows.
    last: bool,
}

impl Batch {
    /// Takes what waits, up to the size of one write.
    fn gather(&mut self, first: Option<Box<Frame>>, queue: &Queue, out: &mut Out<'_>) -> io::Result<()> {
        let mut next = first;
        while let Some(frame) = next.take().or_else(|| queue.frames.try_recv().ok()) {
            if matches!(*frame, Frame::Answer { .. } | Frame::Snapshot { .. } | Frame::Text(_) | Frame::Raw(_)) {
                // Each of these answers something that the client said, and was counted when it did.
                let _ = queue.written.try_recv();
            }
            match *frame {
                Frame::Snapshot { tx, item_type, rows } => out.snapshot(&tx, item_type, &rows)?,
                frame => self.add(frame, &mut out.bytes),
            }
            if self.last || out.bytes.len() >= WS_WRITE_BYTES_MAX {
                break;
            }
        }
        Ok(())
    }

    fn add(&mut self, frame: Frame, bytes: &mut Vec<u8>) {
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
            Frame::Snapshot { .. } => {} // see gather
            Frame::Diff { tx, sequence, total, body } => {
                // Straight into the buffer: a thousand writers that each make and free a text of their own would leave
                // a thousand caches of odd-sized pieces in the allocator, tens of KiB each.
                let parts = answer::diff(&tx, sequence, total, &body);
                write_header(bytes, OpCode::Data(Data::Text), parts.iter().map(|part| part.len()).sum());
                parts.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
            }
            Frame::Answer { .. } | Frame::Text(_) => write_text(bytes, &frame),
        }
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

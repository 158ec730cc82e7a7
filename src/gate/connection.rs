//! What one connection is doing: reading its request ([`Reading`], pure: bytes in, a [`Step`] out) or giving its
//! answer and waiting for the caller to close ([`Answering`]). It must not know the other connections, the poll, the
//! clock, or who serves a request.

use super::body::Body;
use super::head::{self, DoorFacts, Head, Purpose};
use super::respond::{Line, Reason, Refusal};
use super::stream::Socket;
use super::{Credential, Settle};
use crate::limits;
use std::io;

/// What follows from the bytes so far.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// More must come.
    More,
    /// More must come, and the caller waits for the interim answer before it sends it.
    Continue,
    /// A complete HTTP request with its body; `true` if only the beginning of the body was kept.
    Request(Head, Vec<u8>, bool),
    /// A whole WebSocket handshake, and what came after it.
    Upgrade(Handshake, Vec<u8>),
    /// Not let in.
    Refuse(Refusal),
}

/// What is wanted of a WebSocket handshake.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    /// The key to answer.
    pub(super) accept_key: String,
    /// What the caller has shown.
    pub(super) credential: Credential,
}

/// A request being read. After a [`Step`] that is neither `More` nor `Continue` it must not be fed again.
#[derive(Default)]
pub(super) struct Reading {
    /// The bytes of the head.
    buffer: Vec<u8>,
    /// Bytes of the buffer already searched for the end of the head.
    searched: usize,
    /// The admitted head and the body under way.
    admitted: Option<Box<(Head, Body)>>,
}

impl Reading {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8], door: DoorFacts<'_>) -> Step {
        let step = match self.admitted.take().map(|admitted| *admitted) {
            Some((head, body)) => self.read_body(head, body, bytes),
            None => {
                self.buffer.extend_from_slice(bytes);
                self.read_head(door)
            }
        };
        step.unwrap_or_else(Step::Refuse)
    }

    fn read_head(&mut self, door: DoorFacts<'_>) -> Result<Step, Refusal> {
        let Some(head_bytes) = head::end_of_head(&self.buffer, self.searched)? else {
            self.searched = self.buffer.len();
            return Ok(Step::More);
        };
        let head = head::admit(&self.buffer[..head_bytes], door)?;
        let rest = self.buffer.split_off(head_bytes);
        let (framing, bounds, continues) = match head.purpose {
            Purpose::WebSocket { accept_key } => {
                let handshake = Handshake { accept_key, credential: head.credential };
                return Ok(Step::Upgrade(handshake, rest));
            }
            Purpose::Http { framing, bounds, continues } => (framing, bounds, continues),
        };
        match self.read_body(head, Body::new(framing, bounds), &rest)? {
            // Sent once only: later calls bring parts of the body.
            Step::More if continues && rest.is_empty() => Ok(Step::Continue),
            step => Ok(step),
        }
    }

    fn read_body(&mut self, head: Head, mut body: Body, bytes: &[u8]) -> Result<Step, Refusal> {
        match body.feed(bytes)? {
            None => {
                self.admitted = Some(Box::new((head, body)));
                Ok(Step::More)
            }
            Some(0) => {
                let (kept, is_cut) = body.into_kept();
                Ok(Step::Request(head, kept, is_cut))
            }
            Some(_) => {
                let message = "Bytes follow the request; one connection serves one request.";
                Err(Refusal::new(Reason::Body, 400, "trailing_bytes", message))
            }
        }
    }

    /// Whether the caller has sent anything.
    pub(super) fn has_begun(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Bytes that are held for it.
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.len() + self.admitted.as_ref().map_or(0, |admitted| admitted.1.held_bytes())
    }

    /// What is known of the request line, for a refusal.
    pub(super) fn line(&self) -> Line {
        head::line(&self.buffer)
    }
}

/// A [`Settle`] that is called in any case: where nobody says otherwise, with `false`.
pub(super) struct Pending(Option<Settle>);

impl Pending {
    pub(super) fn new(settle: Settle) -> Self {
        Self(Some(settle))
    }

    fn resolve(mut self, arrived: bool) {
        if let Some(settle) = self.0.take() {
            settle(arrived);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(settle) = self.0.take() {
            settle(false);
        }
    }
}

/// What happens when every byte of an answer is written.
pub(super) enum After {
    /// Nothing: the kernel delivers the rest.
    Close,
    /// Unread input is thrown away until the caller closes: closing before would make the kernel reset the connection,
    /// and the caller could lose the answer.
    Drain,
    /// As `Drain`, and somebody wants to know whether the answer arrived.
    Settle(Pending),
    /// As `Settle`, for a caller who has waited.
    Woken(Pending),
}

/// An answer under way.
pub(super) struct Answering {
    bytes: Vec<u8>,
    written: usize,
    half_closed: bool,
    drained: usize,
    after: After,
}

/// How far an answer is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The socket has to become ready first.
    Wait,
    /// Everything is said, and the caller closed or need not.
    Done,
    /// The caller is gone or misbehaves.
    Broken,
}

impl Answering {
    /// An answer of which the first `written` bytes are written; if those are all, whoever wrote them half-closed too
    /// (to do so again would be an error where the caller has closed in the meantime).
    pub(super) fn new(bytes: Vec<u8>, written: usize, after: After) -> Self {
        let half_closed = written == bytes.len();
        // What is written need not be kept while the caller takes its time to close.
        let (bytes, written) = if half_closed { (Vec::new(), 0) } else { (bytes, written) };
        Self { bytes, written, half_closed, drained: 0, after }
    }

    /// Goes as far as possible without waiting.
    pub(super) fn go_on(&mut self, socket: &Socket, scratch: &mut [u8]) -> Progress {
        match self.try_to_go_on(socket, scratch) {
            Ok(progress) => progress,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::Wait,
            Err(_) => Progress::Broken,
        }
    }

    fn try_to_go_on(&mut self, socket: &Socket, scratch: &mut [u8]) -> io::Result<Progress> {
        if self.written < self.bytes.len() {
            // A close that comes before the answer does not acknowledge it.
            if matches!(self.after, After::Settle(_) | After::Woken(_)) && socket.caller_has_closed() {
                self.after = After::Close;
            }
            self.written += socket.write_some(&self.bytes[self.written..])?;
            if self.written < self.bytes.len() {
                return Ok(Progress::Wait);
            }
            // As above.
            self.bytes = Vec::new();
            self.written = 0;
        }
        if !self.half_closed {
            self.half_closed = true;
            socket.half_close()?;
        }
        if matches!(self.after, After::Close) {
            return Ok(Progress::Done);
        }
        while self.drained <= limits::DRAIN_BYTES_MAX {
            match socket.read(scratch)? {
                // After a close, only this tells that the answer was rejected.
                0 if socket.has_failed() => return Ok(Progress::Broken),
                0 => return Ok(Progress::Done),
                count => self.drained += count,
            }
        }
        Ok(Progress::Broken)
    }

    /// Whether the caller was not let in.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.after, After::Drain)
    }

    /// Bytes that are held for it.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the caller has waited for this.
    pub(super) fn is_to_woken(&self) -> bool {
        matches!(self.after, After::Woken(_))
    }

    /// Whether a caller that says nothing more has been given everything.
    pub(super) fn is_all_written(&self) -> bool {
        self.half_closed
    }

    /// Tells whoever wants to know whether the answer arrived.
    pub(super) fn settle(self, arrived: bool) {
        if let After::Settle(pending) | After::Woken(pending) = self.after {
            pending.resolve(arrived);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::Access;
    use super::*;
    use proptest::prelude::*;

    const DOOR: DoorFacts<'static> =
        DoorFacts { bound: None, access: Access::Granted(Credential::None), allowed_hosts: &[] };

    fn whole(request: &[u8]) -> Step {
        Reading::default().feed(request, DOOR)
    }

    /// Feeds in two parts; an interim answer is not a result.
    fn in_two(request: &[u8], at: usize) -> Step {
        let mut reading = Reading::default();
        let (first, second) = request.split_at(at);
        match reading.feed(first, DOOR) {
            Step::More | Step::Continue => reading.feed(second, DOOR),
            result => result,
        }
    }

    #[test]
    fn a_request_is_the_same_however_it_is_cut() {
        let upgrade = "GET /myko HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        for request in [
            "GET /v1/x?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "POST /hook/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\nhello world",
            "POST /hook/x HTTP/1.0\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n\r\n",
            // row 48
            "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n",
            upgrade,
        ] {
            let expected = whole(request.as_bytes());
            assert!(matches!(expected, Step::Request(..) | Step::Upgrade(..)), "{expected:?}");
            for at in 0..request.len() {
                assert_eq!(in_two(request.as_bytes(), at), expected, "{request:?} cut at {at}");
            }
            let mut reading = Reading::default();
            let steps: Vec<Step> = request.bytes().map(|byte| reading.feed(&[byte], DOOR)).collect();
            assert_eq!(steps.last(), Some(&expected));
        }
    }

    #[test]
    fn the_interim_answer_is_asked_for_once_and_only_when_the_body_is_not_there() {
        let head = "POST /a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
        let mut reading = Reading::default();
        assert_eq!(reading.feed(head.as_bytes(), DOOR), Step::Continue);
        assert_eq!(reading.feed(b"a", DOOR), Step::More);
        assert!(matches!(reading.feed(b"b", DOOR), Step::Request(_, body, false) if body == b"ab"));
        assert_eq!(Reading::default().feed(format!("{head}a").as_bytes(), DOOR), Step::More);
        assert!(matches!(whole(format!("{head}ab").as_bytes()), Step::Request(..)));
        let empty = head.replace("Length: 2", "Length: 0");
        assert!(matches!(whole(empty.as_bytes()), Step::Request(..)));
        let old = head.replace("HTTP/1.1", "HTTP/1.0");
        assert_eq!(whole(old.as_bytes()), Step::More);
    }

    #[test]
    fn nothing_may_follow_a_request_but_anything_may_follow_a_handshake() {
        let request = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for smuggled in ["x", "\r\n", request] {
            let step = whole(format!("{request}{smuggled}").as_bytes());
            assert!(matches!(step, Step::Refuse(Refusal { status: 400, code: "trailing_bytes", .. })), "{step:?}");
        }
        let upgrade = "GET /myko HTTP/1.1\r\nHost: localhost\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let expected = Step::Upgrade(accept(), b"\x81\x05hello".to_vec());
        assert_eq!(whole(format!("{upgrade}\u{0}").as_bytes()), Step::Upgrade(accept(), vec![0]));
        assert_eq!(whole(&[upgrade.as_bytes(), b"\x81\x05hello"].concat()), expected);
    }

    fn accept() -> Handshake {
        Handshake { accept_key: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned(), credential: Credential::None }
    }

    #[test]
    fn a_settle_is_called_exactly_once_and_with_false_when_forgotten() {
        let (sender, receiver) = crossbeam_channel::bounded(4);
        let make = || {
            let sender = sender.clone();
            Pending::new(Box::new(move |arrived| sender.send(arrived).unwrap()))
        };
        make().resolve(true);
        drop(make());
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [true, false]);
    }

    /// Two ends of a TCP connection, the first as the gate has it.
    fn pair() -> (Socket, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let caller = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Socket::Tcp(mio::net::TcpStream::from_std(ours)), caller)
    }

    fn wait_until(mut holds: impl FnMut() -> bool) {
        let start = std::time::Instant::now();
        while !holds() {
            assert!(start.elapsed() < limits::CLIENT_DEADLINE);
        }
    }

    fn settle() -> (After, crossbeam_channel::Receiver<bool>) {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        (After::Settle(Pending::new(Box::new(move |arrived| sender.try_send(arrived).unwrap()))), receiver)
    }

    #[test]
    fn a_close_before_the_rest_of_an_answer_does_not_acknowledge_it() {
        let (socket, caller) = pair();
        caller.shutdown(std::net::Shutdown::Write).unwrap();
        wait_until(|| socket.caller_has_closed());
        let (after, settled) = settle();
        let mut answering = Answering::new(b"answer".to_vec(), 0, after);
        assert_eq!(answering.go_on(&socket, &mut [0; 10]), Progress::Done);
        answering.settle(true);
        assert_eq!(settled.try_recv(), Ok(false));
    }

    #[test]
    fn a_reset_behind_an_orderly_end_is_seen() {
        let (socket, caller) = pair();
        drop(caller);
        wait_until(|| socket.caller_has_closed());
        assert_eq!(socket.write_some(b"answer").unwrap(), 6, "nobody says yet that nobody is there");
        // The reset has come when the half-close that would have followed is an error.
        wait_until(|| socket.half_close().is_err());
        assert_eq!(socket.read(&mut [0]).unwrap(), 0, "reading shows an orderly end");
        let (after, _settled) = settle();
        let mut answering = Answering::new(b"answer".to_vec(), 6, after);
        assert_eq!(answering.go_on(&socket, &mut [0; 10]), Progress::Broken);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8)) {
            let mut reading = Reading::default();
            for chunk in chunks {
                reading.line();
                if !matches!(reading.feed(&chunk, DOOR), Step::More | Step::Continue) {
                    break;
                }
            }
        }

        /// Nearly valid requests reach deeper than noise.
        #[test]
        fn no_damaged_request_makes_it_panic_and_cuts_do_not_matter(
            place in 0_usize..120, byte: u8, cut in 0_usize..120, length in 0_usize..20,
        ) {
            let mut request = format!(
                "POST /hook/prompt-submit?host=a HTTP/1.1\r\nHost: localhost:6156\r\nAccept: */*\r\nContent-Length: {length}\r\n\r\n"
            ).into_bytes();
            request.extend(std::iter::repeat_n(b'x', length));
            let (place, cut) = (place % request.len(), cut % request.len());
            request[place] = byte;
            let (together, cut_once) = (whole(&request), in_two(&request, cut));
            // Bytes beyond the end are seen only if they come with the rest.
            let is_trailing = |step: &Step| matches!(step, Step::Refuse(Refusal { code: "trailing_bytes", .. }));
            if !is_trailing(&together) {
                prop_assert_eq!(together, cut_once);
            }
        }
    }
}

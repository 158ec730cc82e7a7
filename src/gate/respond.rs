//! Turns answers into bytes: the complete responses of the HTTP workers and the gate's own refusals. It writes to no
//! socket and decides about nothing; what it is given it makes safe to send (no header can be injected).

use crate::limits;
use tiny_http::{HTTPVersion, Header, Response, StatusCode};

/// The interim answer to `Expect: 100-continue`.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Room for a usual response head, so that making one allocates once.
const HEAD_BYTES_USUAL: usize = 256;

/// Headers that describe the message itself: they follow from the body and from "one request per connection", and a
/// caller that set them could only make the response a lie.
const OWN_HEADERS: [&str; 8] =
    ["connection", "content-length", "content-type", "server", "trailer", "transfer-encoding", "upgrade", "date"];

/// A whole response: head and body, `Content-Length` always right, `Connection: close` always there. Control
/// characters in header values become spaces and other non-ASCII characters `?`; headers that this function sets
/// itself (the length, the type, the connection) and names that are no token are left out.
pub fn head_and_body(status: u16, content_type: Option<&str>, extra_headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = head_only(status, content_type, extra_headers, body.len());
    if has_body(status) {
        bytes.extend_from_slice(body);
    }
    bytes
}

/// Length of a response's head.
pub(super) fn head_bytes(response: &[u8]) -> usize {
    const END: &[u8] = b"\r\n\r\n";
    response.windows(END.len()).position(|window| window == END).map_or(response.len(), |at| at + END.len())
}

/// Makes the head that [`head_and_body`] makes for a body of that length.
fn head_only(status: u16, content_type: Option<&str>, extra_headers: &[(&str, &str)], body_bytes: usize) -> Vec<u8> {
    let mut headers = Vec::with_capacity(extra_headers.len() + 2);
    headers.extend(header("Server", "marshal"));
    headers.extend(content_type.and_then(|value| header("Content-Type", value)));
    let extra = extra_headers.iter().filter(|(name, _)| !OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)));
    headers.extend(extra.filter_map(|(name, value)| header(name, value)));

    // The threshold keeps tiny_http from changing to chunks for a long body.
    let response = Response::new(StatusCode(status), headers, std::io::empty(), Some(body_bytes), None)
        .with_chunked_threshold(usize::MAX);
    let mut bytes = Vec::with_capacity(HEAD_BYTES_USUAL + body_bytes);
    // Cannot fail: a Vec takes every write, and the empty reader is not read.
    let _ = response.raw_print(&mut bytes, HTTPVersion(1, 1), &[], true, None);
    if !has_body(status) {
        drop_content_length(&mut bytes);
    }
    add_connection_header(&mut bytes, status);
    bytes
}

/// The head of a stream of events, which ends with its connection.
pub fn event_stream_head() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nServer: marshal\r\nContent-Type: text/event-stream\r\n\
      Cache-Control: no-store\r\n\r\n"
        .to_vec()
}

/// Responses that end with their head whatever they say (RFC 9110, 6.4.1).
fn has_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

/// A 204 must not carry a length (RFC 9110, 8.6), and tiny_http prints it last.
fn drop_content_length(bytes: &mut Vec<u8>) {
    const NAME: &[u8] = b"\r\nContent-Length: ";
    if let Some(start) = bytes.windows(NAME.len()).rposition(|window| window == NAME) {
        bytes.truncate(start);
        bytes.extend_from_slice(b"\r\n\r\n");
    }
}

/// tiny_http refuses to print a `Connection` header that it is given, so it goes in after the status line. A 426 must
/// name the protocol to upgrade to (RFC 9110, 15.5.22).
fn add_connection_header(bytes: &mut Vec<u8>, status: u16) {
    let lines: &[u8] = match status {
        426 => b"Connection: close, Upgrade\r\nUpgrade: websocket\r\n",
        _ => b"Connection: close\r\n",
    };
    if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        bytes.splice(end + 1..end + 1, lines.iter().copied());
    }
}

/// A header that cannot break out of its line; `None` if its name is no token.
fn header(name: &str, value: &str) -> Option<Header> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return None;
    }
    let safe = |c: char| match c {
        c if c.is_control() => ' ',
        c if !c.is_ascii() => '?',
        c => c,
    };
    Header::from_bytes(name, value.trim().chars().map(safe).collect::<String>()).ok()
}

/// The head that turns the connection into a WebSocket.
pub(super) fn switching_protocols(accept_key: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept_key}\r\n\r\n"
    )
    .into_bytes()
}

/// The counter that a refusal belongs to, and the reason for which it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Head,
    Body,
    Host,
    Origin,
    Credential,
    WebSocket,
    Timeout,
    Overload,
}

impl Reason {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Overload as usize + 1;

    /// Whether an operator should look at who was refused.
    pub(super) fn is_security(self) -> bool {
        matches!(self, Self::Host | Self::Origin | Self::Credential)
    }
}

/// A refusal. Its text is constant; the caller's own words come from [`Line`] alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    pub(super) reason: Reason,
    /// One more header that this status needs.
    pub(super) header: Option<(&'static str, &'static str)>,
}

impl Refusal {
    /// A refusal without a header of its own.
    pub(super) const fn new(reason: Reason, status: u16, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message, reason, header: None }
    }
}

/// What is known of the request line of a refused request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) method: String,
    pub(super) path: String,
    /// The name in the `Host` header, safe to be shown.
    pub(super) host: String,
}

impl Line {
    /// Hooks print what they get into an agent's context, so a refusal must not have a body there, and neither where
    /// it is not known whether the caller is a hook.
    fn wants_empty_body(&self) -> bool {
        !self.path.starts_with('/') || self.path == "/hook" || self.path.starts_with("/hook/")
    }

    /// Method, path and a foreign host for the daemon's log: one short ASCII line without anything like a secret.
    pub(super) fn for_log(&self, reason: Reason) -> String {
        let mut text = format!("{} {}", self.method, without_secrets(&self.path));
        if reason == Reason::Host && !self.host.is_empty() {
            text = format!("{text} to {}", without_secrets(&self.host));
        }
        text.chars().take(limits::LOGGED_LINE_CHARACTERS_MAX).flat_map(char::escape_default).collect()
    }
}

/// The text with a word in the place of whatever is as long as a token and made of the letters of one: a path may hold a
/// session's, and people paste the machine's anywhere.
pub fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        // A UUID without its hyphens has 32.
        shown.push_str(if end >= limits::SECRET_DIGITS_MIN { "(secret)" } else { &rest[..end] });
        let next = rest[end..].chars().next().map_or(end, |c| end + c.len_utf8());
        shown.push_str(&rest[end..next]);
        rest = &rest[next..];
    }
    shown
}

/// The whole response to a request that is not let in.
pub(super) fn refusal(refusal: &Refusal, line: &Line) -> Vec<u8> {
    let message = match refusal.reason {
        Reason::Host if !line.host.is_empty() => format!(
            "{} It names {}. If that leads here, start the daemon with MARSHAL_ALLOWED_HOSTS={}",
            refusal.message, line.host, line.host
        ),
        _ => refusal.message.to_owned(),
    };
    let reason = format!("{}; {message}", refusal.code);
    let mut headers = vec![("Marshal-Error", reason.as_str())];
    headers.extend(refusal.header);
    if line.wants_empty_body() {
        return head_and_body(refusal.status, None, &headers, b"");
    }
    // Codes and messages are constants without quotes and backslashes, which a test of the gate checks.
    let body = format!(r#"{{"error":{{"code":"{}","message":"{message}"}}}}"#, refusal.code);
    if line.method == "HEAD" {
        return head_only(refusal.status, Some("application/json"), &headers, body.len());
    }
    head_and_body(refusal.status, Some("application/json"), &headers, body.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_response_says_its_length_and_that_the_connection_ends() {
        let long = vec![b'x'; 100_000];
        let answer = text(head_and_body(200, Some("text/plain"), &[("Retry-After", "1")], &long));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nConnection: close\r\n"), "{head}");
        for line in ["Content-Length: 100000", "Content-Type: text/plain", "Retry-After: 1", "Server: marshal"] {
            assert_eq!(head.lines().filter(|each| *each == line).count(), 1, "{line} in {head}");
        }
        assert!(!head.contains("chunked") && !head.contains("tiny"), "{head}");
        assert_eq!(body.len(), 100_000);
        let empty = text(head_and_body(200, None, &[], b""));
        assert!(empty.contains("\r\nContent-Length: 0\r\n") && empty.ends_with("\r\n\r\n"), "{empty}");
    }

    #[test]
    fn no_header_can_be_injected_and_none_can_contradict_the_message() {
        let extra = [
            ("X-Name", "a\r\nSet-Cookie: b\0\u{7f}c\u{e9}"),
            ("Bad\r\nName", "x"),
            ("content-length", "7"),
            ("Transfer-Encoding", "chunked"),
            ("connection", "keep-alive"),
        ];
        let answer = text(head_and_body(200, Some("text/plain\r\nX: y"), &extra, b"body"));
        assert!(answer.contains("\r\nX-Name: a  Set-Cookie: b  c?\r\n"), "{answer:?}");
        assert!(answer.contains("\r\nContent-Type: text/plain  X: y\r\n"), "{answer:?}");
        assert!(answer.contains("\r\nContent-Length: 4\r\n"), "{answer:?}");
        assert!(!answer.contains("Bad") && !answer.contains("chunked") && !answer.contains("keep-alive"), "{answer:?}");
    }

    #[test]
    fn head_and_no_content_end_with_their_head() {
        let head = text(head_only(200, None, &[], 5));
        assert!(head.contains("Content-Length: 5\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        let none = text(head_and_body(204, None, &[], b"ignored"));
        assert!(!none.contains("Content-Length") && none.ends_with("\r\n\r\n"), "{none}");
    }

    #[test]
    fn hooks_and_unknown_callers_get_no_body() {
        let why = Refusal::new(Reason::Body, 413, "too_large", "Too large.");
        for (path, empty) in [("/hook/x", true), ("/hook", true), ("", true), ("*", true), ("/hooks", false)] {
            let line = Line { method: "POST".into(), path: path.into(), ..Line::default() };
            let answer = text(refusal(&why, &line));
            assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\n"), "{answer}");
            assert!(answer.contains("\r\nMarshal-Error: too_large; Too large.\r\n"), "{answer}");
            assert_eq!(answer.ends_with("\r\n\r\n"), empty, "{path}: {answer}");
            assert_eq!(answer.contains("\r\nContent-Length: 0\r\n"), empty, "{path}: {answer}");
        }
        let head = Line { method: "HEAD".into(), path: "/v1/x".into(), ..Line::default() };
        assert!(text(refusal(&why, &head)).ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_logged_line_holds_no_token() {
        let token = "0123456789abcdefABCDEF0123456789abcdef0123456789abcdef0123456789".to_owned();
        for (path, expected) in [
            (format!("/v1/sessions/{token}"), "/v1/sessions/(secret)"),
            (format!("/{token}x/\u{e9}{token}"), "/(secret)x/\u{e9}(secret)"),
            (format!("/{}", &token[..32]), "/0123456789abcdefABCDEF0123456789"),
            ("/abc".to_owned(), "/abc"),
            (String::new(), ""),
        ] {
            assert_eq!(without_secrets(&path), expected);
        }
        let line = Line { method: "DELETE".into(), path: format!("/v1/sessions/{token}"), host: String::new() };
        assert_eq!(line.for_log(Reason::Credential), "DELETE /v1/sessions/(secret)");
    }

    #[test]
    fn a_logged_line_cannot_forge_another() {
        let line = Line { method: "GET".into(), path: "/a\n\u{1b}[2J\u{202e}".into(), ..Line::default() };
        assert_eq!(line.for_log(Reason::Credential), "GET /a\\n\\u{1b}[2J\\u{202e}");
        let secret = Line {
            method: "DELETE".into(),
            path: format!("/v1/sessions/{}", "0123456789abcdef".repeat(4)),
            ..Line::default()
        };
        assert_eq!(secret.for_log(Reason::Credential), "DELETE /v1/sessions/(secret)");
    }
}

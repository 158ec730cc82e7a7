//! Decides from a request's head alone whether the request may come in, and as what. Pure: bytes and the facts about
//! the door in, a decision out. It must not be more lenient than RFC 9112, and it must not read a clock or a socket.

use super::Credential;
use super::body::{Bounds, Framing};
use super::host::{host_is_ours, origin_is_ours, shown_name};
use super::respond::{Line, Reason, Refusal};
use crate::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEAD_HEADERS_MAX, HOOK_BODY_BYTES_MAX, HOOK_TAKEN_BYTES_MAX};
use crate::model::TokenHash;
use std::net::SocketAddr;
use tiny_http::Method;
use tungstenite::handshake::derive_accept_key;

/// The liveness path, the only one that needs no credential.
const LIVENESS_PATH: &str = "/healthz";

/// The one path at which a WebSocket begins.
const WEBSOCKET_PATH: &str = "/myko";

/// Names in a query under which people hand over secrets: queries end up in histories and logs.
const SECRET_NAMES: [&str; 3] = ["token", "access_token", "authorization"];

/// What admission has to know about a door and the connection that came through it.
#[derive(Clone, Copy, Debug)]
pub(super) struct DoorFacts<'a> {
    /// The address of a TCP door; where that is a wildcard, the one at which the caller reached it.
    pub(super) bound: Option<SocketAddr>,
    pub(super) access: Access,
    /// Host names that the operator allows besides this machine's own.
    pub(super) allowed_hosts: &'a [String],
}

/// What a caller needs in order to come in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Nothing more: this is how it is known.
    Granted(Credential),
    /// To show the token with this hash.
    Token(TokenHash),
    /// It cannot: it runs under another user's id, or it cannot be told under which.
    ForeignUser,
}

/// An admitted head.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// What the caller has shown.
    pub(super) credential: Credential,
    /// Without `Authorization`, which has done its work. Names in lower case, in the order in which they came.
    pub(super) headers: Vec<(String, String)>,
    pub(super) purpose: Purpose,
}

/// What an admitted head asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An HTTP request; `continues` if the caller waits for an interim answer before it sends the body.
    Http { framing: Framing, bounds: Bounds, continues: bool },
    /// A WebSocket; the text is what the handshake has to answer.
    WebSocket { accept_key: String },
}

const fn bad_head(code: &'static str, message: &'static str) -> Refusal {
    Refusal::new(Reason::Head, 400, code, message)
}

pub(super) const fn bad_body(status: u16, code: &'static str, message: &'static str) -> Refusal {
    Refusal::new(Reason::Body, status, code, message)
}

const fn bad_handshake(status: u16, code: &'static str, message: &'static str) -> Refusal {
    Refusal::new(Reason::WebSocket, status, code, message)
}

const MALFORMED: Refusal = bad_head("malformed_request", "The request is not well-formed HTTP/1.1.");
const HEAD_TOO_LARGE: Refusal =
    Refusal::new(Reason::Head, 431, "head_too_large", "The request line and headers are larger than 16 KiB.");
const TOO_MANY_HEADERS: Refusal =
    Refusal::new(Reason::Head, 431, "too_many_headers", "The request has more than 64 headers.");
const VERSION: Refusal = Refusal::new(Reason::Head, 505, "http_version", "Only HTTP/1.1 and HTTP/1.0 are served.");
const BAD_LENGTH: Refusal =
    bad_body(400, "bad_content_length", "There must be one Content-Length, a number in decimal digits.");
const BAD_ENCODING: Refusal =
    bad_body(400, "bad_encoding", "There must be one Transfer-Encoding, which is chunked, and none in HTTP/1.0.");
const TOO_LARGE: Refusal = bad_body(413, "too_large", "The request body is larger than 256 KiB.");
const HOOK_TOO_LARGE: Refusal = bad_body(413, "too_large", "The event is larger than 32 MiB.");

// The messages say these numbers.
const _: () = assert!(HEAD_BYTES_MAX == 16 * 1024 && HEAD_HEADERS_MAX == 64 && BODY_BYTES_MAX == 256 * 1024);
const _: () = assert!(HOOK_TAKEN_BYTES_MAX == 32 * 1024 * 1024);

/// The bounds of a body at a path. Hook events carry the input and output of tools and can be large. Their small fields come
/// first, so a large event is read to its end and answered, and only its beginning is kept.
fn bounds(target: &str) -> Bounds {
    match target.starts_with("/hook/") {
        true => Bounds { taken_max: HOOK_TAKEN_BYTES_MAX, kept_max: HOOK_BODY_BYTES_MAX, too_large: HOOK_TOO_LARGE },
        false => Bounds { taken_max: BODY_BYTES_MAX, kept_max: BODY_BYTES_MAX, too_large: TOO_LARGE },
    }
}

/// Looks for the empty line that ends the head, starting at `from` (everything before was looked at in an earlier
/// call). Line ends other than CRLF and NUL are refused at once: what reads them differently could be smuggled past.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Result<Option<usize>, Refusal> {
    for index in from..bytes.len().min(HEAD_BYTES_MAX) {
        let before = index.checked_sub(1).map(|before| bytes[before]);
        match bytes[index] {
            0 => return Err(MALFORMED),
            b'\n' if before != Some(b'\r') => return Err(MALFORMED),
            b'\n' if bytes[..=index].ends_with(b"\r\n\r\n") => return Ok(Some(index + 1)),
            b'\n' => {}
            // An empty line before the request line.
            b'\r' if index == 0 => return Err(MALFORMED),
            _ if before == Some(b'\r') => return Err(MALFORMED),
            _ => {}
        }
    }
    if bytes.len() >= HEAD_BYTES_MAX { Err(HEAD_TOO_LARGE) } else { Ok(None) }
}

/// What can be told of the request line, however bad or short the rest is; for refusals only.
pub(super) fn line(bytes: &[u8]) -> Line {
    let mut headers = [httparse::EMPTY_HEADER; HEAD_HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let _ = parsed.parse(bytes);
    let path = parsed.path.unwrap_or_default().split(['?', '#']).next().unwrap_or_default();
    let method = parsed.method.unwrap_or_default().to_owned();
    let host = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
    let host = host.map_or_else(String::new, |header| shown_name(header.value));
    Line { method, path: path.to_owned(), host }
}

/// Decides about a whole head, its empty line included. The order of the checks is the order in which a refusal is
/// of use: first what the bytes mean, then how long the body is, then who asks, then what for. Before it is known who asks,
/// nothing is told of what there is.
pub(super) fn admit(bytes: &[u8], door: DoorFacts<'_>) -> Result<Head, Refusal> {
    let mut storage = [httparse::EMPTY_HEADER; HEAD_HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut storage);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_MANY_HEADERS),
        Err(httparse::Error::Version) if names_a_version(bytes) => return Err(VERSION),
        _ => return Err(MALFORMED),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(MALFORMED);
    };
    if !target.starts_with('/') || target.contains('#') {
        return Err(bad_head("bad_target", "The request target must be a path."));
    }
    let mut headers = Headers(owned_headers(parsed.headers)?);
    let bounds = bounds(target);
    let framing = body_framing(&headers, version, bounds)?;
    let continues = expects_continue(&headers)? && version == 1;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    check_query(query.as_deref())?;
    check_host(&headers, door)?;
    check_origin(&headers, door)?;
    let method: Method = method.parse().map_err(|()| MALFORMED)?;
    let asks_only_for_life = path == LIVENESS_PATH && matches!(method, Method::Get | Method::Head);
    let credential = check_credential(&headers, door, asks_only_for_life)?;
    headers.0.retain(|(name, _)| name != "authorization");
    // HTTP/1.0 has no upgrades (RFC 9110, 7.8).
    let upgrade = version == 1 && method == Method::Get && headers.asks_for_websocket();
    let purpose = if upgrade {
        Purpose::WebSocket { accept_key: check_handshake(&headers, path, framing)? }
    } else if method == Method::Get && path == WEBSOCKET_PATH {
        return Err(bad_handshake(426, "upgrade_required", "Only WebSockets are served at this path."));
    } else {
        Purpose::Http { framing, bounds, continues }
    };
    Ok(Head { method, path: path.to_owned(), query, credential, headers: headers.0, purpose })
}

/// Whether the request line is well-formed but for a version that we do not serve, and not mere garbage.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ');
    let version = parts.nth(2).unwrap_or_default();
    parts.next().is_none()
        && matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Header values that are not text cannot be compared safely with anything, so they are refused.
fn owned_headers(parsed: &[httparse::Header<'_>]) -> Result<Vec<(String, String)>, Refusal> {
    let own = |header: &httparse::Header<'_>| {
        let value = std::str::from_utf8(header.value).map_err(|_| MALFORMED)?;
        Ok((header.name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
    };
    parsed.iter().map(own).collect()
}

struct Headers(Vec<(String, String)>);

impl Headers {
    /// The values of a header, by its name in lower case.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(each, _)| each == name).map(|(_, value)| value.as_str())
    }

    /// The value of a header that is there at most once; `Err` if it is there more often.
    fn at_most_one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, ()> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(()) } else { Ok(first) }
    }

    /// Whether a comma-separated list has the token, in any case.
    fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|each| each.trim().eq_ignore_ascii_case(token))
    }

    fn asks_for_websocket(&self) -> bool {
        self.lists("upgrade", "websocket") && self.lists("connection", "upgrade")
    }
}

/// Reads the framing of the body, which must be stated in exactly one way.
fn body_framing(headers: &Headers, version: u8, bounds: Bounds) -> Result<Framing, Refusal> {
    let mut encodings = headers.all("transfer-encoding");
    if let Some(encoding) = encodings.next() {
        if headers.all("content-length").next().is_some() {
            return Err(bad_body(400, "two_lengths", "Content-Length and Transfer-Encoding exclude each other."));
        }
        // HTTP/1.0 has no transfer codings (RFC 9112, 6.1).
        if encodings.next().is_some() || encoding.is_empty() || version == 0 {
            return Err(BAD_ENCODING);
        }
        return match encoding.eq_ignore_ascii_case("chunked") {
            true => Ok(Framing::Chunked),
            false => Err(bad_body(501, "unknown_encoding", "The only Transfer-Encoding that is served is chunked.")),
        };
    }
    let Some(digits) = headers.at_most_one("content-length").map_err(|()| BAD_LENGTH)? else {
        return Ok(Framing::Length(0));
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD_LENGTH);
    }
    // Digits that do not fit the type are a number all the same, only too large a one.
    match digits.parse::<usize>() {
        Ok(length) if length <= bounds.taken_max => Ok(Framing::Length(length)),
        _ => Err(bounds.too_large),
    }
}

fn expects_continue(headers: &Headers) -> Result<bool, Refusal> {
    let unknown = bad_body(417, "expectation_failed", "The only expectation that is met is 100-continue.");
    match headers.at_most_one("expect") {
        Ok(None) => Ok(false),
        Ok(Some(value)) if value.eq_ignore_ascii_case("100-continue") => Ok(true),
        _ => Err(unknown),
    }
}

/// Against secrets where they would be seen. A caller who put one there is told so even where nobody asked for it.
fn check_query(query: Option<&str>) -> Result<(), Refusal> {
    let names = query.unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    let is_secret = |name: &str| SECRET_NAMES.iter().any(|secret| decode(name).eq_ignore_ascii_case(secret.as_bytes()));
    if !names.into_iter().any(is_secret) {
        return Ok(());
    }
    let message =
        "A credential in the query ends up in logs: show it in the Authorization header, and change this one.";
    Err(Refusal::new(Reason::Credential, 400, "credential_in_query", message))
}

/// The name as whoever decodes it most willingly would read it.
fn decode(name: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits fit a byte.
                decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = &after[2..];
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

/// Checks the caller's credential. A caller that shows none may ask for liveness.
fn check_credential(headers: &Headers, door: DoorFacts<'_>, asks_only_for_life: bool) -> Result<Credential, Refusal> {
    let expected = match door.access {
        Access::Granted(credential) => return Ok(credential),
        Access::Token(_) if asks_only_for_life && headers.all("authorization").next().is_none() => {
            return Ok(Credential::Nobody);
        }
        Access::Token(expected) => expected,
        Access::ForeignUser => {
            let message = "This socket serves the user who runs the daemon, and nobody else.";
            return Err(Refusal::new(Reason::Credential, 403, "foreign_user", message));
        }
    };
    let shown = headers.at_most_one("authorization").ok().flatten().and_then(bearer_token);
    if shown.is_some_and(|shown| TokenHash::of(shown) == expected) {
        return Ok(Credential::Machine);
    }
    let message = "Show the machine's token: curl -H @FILE, where FILE is token.header in the state directory.";
    let refusal = Refusal::new(Reason::Credential, 401, "unauthorized", message);
    Err(Refusal { header: Some(("WWW-Authenticate", "Bearer")), ..refusal })
}

/// The token of `Bearer <token>` (RFC 6750, 2.1; the scheme's name in any case).
fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

/// Against DNS rebinding: a web page's own name must not be able to lead here.
fn check_host(headers: &Headers, door: DoorFacts<'_>) -> Result<(), Refusal> {
    let Ok(Some(host)) = headers.at_most_one("host") else {
        return Err(Refusal::new(Reason::Host, 400, "bad_host", "There must be exactly one Host header."));
    };
    if host_is_ours(host, door.bound, door.allowed_hosts) {
        return Ok(());
    }
    Err(Refusal::new(Reason::Host, 403, "foreign_host", "The Host header must name this machine, as localhost does."))
}

/// Against web pages: a browser always says where a script that connects or posts comes from.
fn check_origin(headers: &Headers, door: DoorFacts<'_>) -> Result<(), Refusal> {
    match headers.at_most_one("origin") {
        Ok(None) => Ok(()),
        Ok(Some(origin)) if door.bound.is_some_and(|bound| origin_is_ours(origin, bound)) => Ok(()),
        _ => Err(Refusal::new(Reason::Origin, 403, "foreign_origin", "Web pages of other origins are not let in.")),
    }
}

/// Checks the handshake of RFC 6455, 4.2.1, and gives the key to answer.
fn check_handshake(headers: &Headers, path: &str, framing: Framing) -> Result<String, Refusal> {
    if path != WEBSOCKET_PATH {
        return Err(bad_handshake(404, "not_found", "WebSockets are served at /myko only."));
    }
    if headers.at_most_one("sec-websocket-version") != Ok(Some("13")) {
        let refusal = bad_handshake(426, "websocket_version", "Only version 13 of the WebSocket protocol is served.");
        return Err(Refusal { header: Some(("Sec-WebSocket-Version", "13")), ..refusal });
    }
    match headers.at_most_one("sec-websocket-key") {
        Ok(Some(key)) if is_websocket_key(key) && framing == Framing::Length(0) => {
            Ok(derive_accept_key(key.as_bytes()))
        }
        _ => Err(bad_handshake(400, "bad_handshake", "There must be one valid Sec-WebSocket-Key, and no body.")),
    }
}

/// Base64 of 16 bytes: 22 characters of the alphabet and two of padding.
fn is_websocket_key(key: &str) -> bool {
    let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    match key.as_bytes() {
        [digits @ .., b'=', b'='] => digits.len() == 22 && digits.iter().copied().all(in_alphabet),
        _ => false,
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;

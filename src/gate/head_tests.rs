//! Tables of heads and what becomes of them.

use super::*;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

fn door(address: &str) -> DoorFacts<'static> {
    DoorFacts { bound: address.parse().ok(), access: Access::Granted(Credential::None), allowed_hosts: &[] }
}

/// As the gate does it: find the end, then decide.
fn decide(head: &[u8], door: DoorFacts<'_>) -> Result<Option<Head>, Refusal> {
    let end = end_of_head(head, 0)?;
    end.map(|end| admit(&head[..end], door)).transpose()
}

/// The status for `GET /a` with these header lines and a good Host.
fn with(lines: &str) -> (u16, &'static str) {
    status(&format!("GET /a HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"))
}

fn status(head: &str) -> (u16, &'static str) {
    status_of_bytes(head.as_bytes())
}

fn status_of_bytes(head: &[u8]) -> (u16, &'static str) {
    match decide(head, door("127.0.0.1:6156")) {
        Ok(Some(_)) => (200, ""),
        Ok(None) => (0, "partial"),
        Err(refusal) => (refusal.status, refusal.code),
    }
}

#[test]
fn an_admitted_head_is_told_in_full() {
    let text = "POST /hook/a%20b?host=x&y=1?2 HTTP/1.1\r\nHOST: LocalHost:6156\r\nX-Two:  a \t\r\nx-two: \r\n\
                Content-Length: 7\r\nX-J: j\u{fc}rgen\r\n\r\n";
    let head = decide(text.as_bytes(), door("127.0.0.1:6156")).unwrap().unwrap();
    assert_eq!(
        (head.method, head.path.as_str(), head.query.as_deref()),
        (Method::Post, "/hook/a%20b", Some("host=x&y=1?2"))
    );
    let headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected =
        [("host", "LocalHost:6156"), ("x-two", "a"), ("x-two", ""), ("content-length", "7"), ("x-j", "j\u{fc}rgen")];
    assert_eq!(headers, expected);
    assert!(matches!(head.purpose, Purpose::Http { framing: Framing::Length(7), continues: false, .. }));
}

#[test]
fn only_well_formed_heads_come_in() {
    let rest = "Host: localhost\r\n\r\n";
    for (line, expected) in [
        ("GET / HTTP/1.1\r\n", 200),
        ("GET / HTTP/1.0\r\n", 200),
        ("PURGE /x HTTP/1.1\r\n", 200),
        ("GET /?operator=j\u{fc}rgen HTTP/1.1\r\n", 200),
        ("GET / HTTP/1.2\r\n", 505),
        ("GET / HTTP/2.0\r\n", 505),
        ("GET / HTTP/0.9\r\n", 505),
        ("PRI * HTTP/2.0\r\n", 505),
        ("GET / HTTP/11\r\n", 400),
        ("GET / http/1.1\r\n", 400),
        ("GET / XTTP/1.1\r\n", 400),
        ("GET / HTTP/1.1 \r\n", 400),
        ("GET  / HTTP/1.1\r\n", 400),
        ("GET /  HTTP/1.1\r\n", 400),
        ("GET /a b HTTP/1.1\r\n", 400),
        ("GET\t/ HTTP/1.1\r\n", 400),
        (" GET / HTTP/1.1\r\n", 400),
        ("\r\nGET / HTTP/1.1\r\n", 400),
        ("\nGET / HTTP/1.1\r\n", 400),
        ("GET /\r\n", 400),
        ("GET\r\n", 400),
        ("G(T / HTTP/1.1\r\n", 400),
        ("GET http://localhost/ HTTP/1.1\r\n", 400),
        ("GET localhost HTTP/1.1\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\n", 400),
        ("CONNECT localhost:6156 HTTP/1.1\r\n", 400),
        ("GET /#a HTTP/1.1\r\n", 400),
        ("GET /a\u{1}b HTTP/1.1\r\n", 400),
        ("GET /a\0b HTTP/1.1\r\n", 400),
        ("GET /a\rb HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.1\n", 400),
    ] {
        assert_eq!(status(&format!("{line}{rest}")).0, expected, "{line:?}");
    }
    assert_eq!(status_of_bytes(b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n").0, 400);
    assert_eq!(status_of_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \xff\r\n\r\n").0, 400);
    assert_eq!(status_of_bytes(b"\x16\x03\x01\x02\x00\x01").0, 400, "TLS is refused before it is complete");
    for early in ["GET /\rX", "GET /\n", "\r", "\n", "G\0"] {
        assert_eq!(end_of_head(early.as_bytes(), 0), Err(MALFORMED), "{early:?} is refused without waiting for more");
    }
}

#[test]
fn header_lines_have_one_meaning_only() {
    for (lines, expected) in [
        ("X: a\r\n", 200),
        ("X:a\r\n", 200),
        ("X:\r\n", 200),
        ("X : a\r\n", 400),
        ("X\t: a\r\n", 400),
        ("X: a\r\n b\r\n", 400),
        ("X: a\r\n\tb\r\n", 400),
        ("X: a\r\n \r\n", 400),
        ("X: a\n", 400),
        ("X: a\nContent-Length: 5\r\n", 400),
        ("X: a\rContent-Length: 5\r\n", 400),
        ("X: a\r\r\n", 400),
        ("X: a\0b\r\n", 400),
        ("X: a\u{7f}b\r\n", 400),
        (": a\r\n", 400),
        ("X\r\n", 400),
        ("X Y: a\r\n", 400),
        ("X\u{e9}: a\r\n", 400),
    ] {
        assert_eq!(with(lines).0, expected, "{lines:?}");
    }
    assert_eq!(status("GET / HTTP/1.1\r\n Host: localhost\r\n\r\n").0, 400, "folding before the first header");
}

#[test]
fn heads_have_a_size() {
    let filled = |bytes: usize| {
        let start = "GET /a HTTP/1.1\r\nHost: localhost\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4))
    };
    assert_eq!(status(&filled(HEAD_BYTES_MAX)), (200, ""));
    assert_eq!(status(&filled(HEAD_BYTES_MAX + 1)), (431, "head_too_large"));
    assert_eq!(status(&filled(1024 * 1024)), (431, "head_too_large"));
    assert_eq!(status(&filled(HEAD_BYTES_MAX)[..HEAD_BYTES_MAX - 1]), (0, "partial"));
    assert_eq!(with(&"X: a\r\n".repeat(HEAD_HEADERS_MAX - 1)), (200, ""));
    assert_eq!(with(&"X: a\r\n".repeat(HEAD_HEADERS_MAX)), (431, "too_many_headers"));
}

#[test]
fn a_body_has_exactly_one_length() {
    for (lines, expected) in [
        ("Content-Length: 0\r\n", 200),
        ("Content-Length: 5\r\n", 200),
        ("content-length:\t5 \r\n", 200),
        ("Content-Length: 005\r\n", 200),
        ("Content-Length: 262144\r\n", 200),
        ("Content-Length: 262145\r\n", 413),
        ("Content-Length: 1000000000000\r\n", 413),
        ("Content-Length: 9223372036854775808\r\n", 413),
        ("Content-Length: 18446744073709551616\r\n", 413),
        ("Content-Length: 99999999999999999999999999999999999999999\r\n", 413),
        ("Content-Length: \r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5 5\r\n", 400),
        ("Content-Length: 5,5\r\n", 400),
        ("Content-Length: 1, 1\r\n", 400),
        ("Content-Length: 5.0\r\n", 400),
        ("Content-Length: \u{665}\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\ncontent-length: 6\r\n", 400),
        // row 48
        ("Transfer-Encoding: chunked\r\n", 200),
        ("transfer-encoding:  Chunked \r\n", 200),
        ("Transfer-Encoding: identity\r\n", 501),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: chunked, chunked\r\n", 501),
        ("Transfer-Encoding: chunked;a=b\r\n", 501),
        ("Transfer-Encoding: \"chunked\"\r\n", 501),
        ("Transfer-Encoding: x\tchunked\r\n", 501),
        ("Transfer-Encoding: \r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\ntransfer-encoding: xchunked\r\n", 400),
        ("Expect: 100-Continue\r\n", 200),
        ("Expect: 200-ok\r\n", 417),
        ("Expect: \r\n", 417),
        ("Expect: 100-continue, x\r\n", 417),
        ("Expect: 100-continue\r\nExpect: 100-continue\r\n", 417),
    ] {
        assert_eq!(with(lines).0, expected, "{lines:?}");
    }
    let old = "POST /a HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(status(old), (400, "bad_encoding"), "HTTP/1.0 has no chunks");
}

// row 34
#[test]
fn a_hook_s_body_may_be_larger_than_what_is_kept_of_it() {
    let of = |path: &str, length: usize| {
        status(&format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"))
    };
    assert_eq!(of("/hook/x", HOOK_TAKEN_BYTES_MAX), (200, ""));
    assert_eq!(of("/hook/x", HOOK_TAKEN_BYTES_MAX + 1), (413, "too_large"));
    assert_eq!(of("/hook", BODY_BYTES_MAX + 1), (413, "too_large"), "no hook");
}

#[test]
fn the_host_is_there_once_and_ours() {
    // marshal 0.9 fault 14: any web page could post to it.
    let hosts = |lines: &str, version: &str| status(&format!("GET /a HTTP/{version}\r\n{lines}\r\n"));
    for version in ["1.0", "1.1"] {
        assert_eq!(hosts("", version), (400, "bad_host"));
        assert_eq!(hosts("Host: localhost\r\nhost: localhost\r\n", version), (400, "bad_host"));
        assert_eq!(hosts("Host: localhost\r\nHost: evil.example\r\n", version), (400, "bad_host"));
        assert_eq!(hosts("Host: evil.example\r\n", version), (403, "foreign_host"));
        assert_eq!(hosts("Host: evil.example:6156\r\nX-Forwarded-Host: localhost\r\n", version), (403, "foreign_host"));
        assert_eq!(hosts("Host: \r\n", version), (403, "foreign_host"));
        assert_eq!(hosts("Host: [::1]:6156\r\n", version), (200, ""));
    }
    let unix = DoorFacts { bound: None, ..door("127.0.0.1:6156") };
    assert!(decide(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n", unix).is_ok());
    let refusal = decide(b"GET /a HTTP/1.1\r\nHost: evil.example\r\n\r\n", unix).unwrap_err();
    assert_eq!(refusal.status, 403);
}

#[test]
fn pages_of_other_origins_stay_out() {
    // marshal 0.9 fault 14: any web page could post to it.
    for (lines, expected) in [
        ("Origin: http://localhost:6156\r\n", 200),
        ("Origin: http://[::1]:6156\r\n", 200),
        ("Origin: http://localhost:6155\r\n", 403),
        ("Origin: http://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: \r\n", 403),
        ("Origin: http://localhost:6156\r\nOrigin: http://localhost:6156\r\n", 403),
    ] {
        assert_eq!(with(lines).0, expected, "{lines:?}");
    }
    let unix = DoorFacts { bound: None, ..door("127.0.0.1:6156") };
    let refusal = decide(b"GET /a HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n", unix).unwrap_err();
    assert_eq!(refusal.code, "foreign_origin");
    let v6 = decide(b"GET /a HTTP/1.1\r\nHost: [::1]:7\r\nOrigin: http://[::1]:7\r\n\r\n", door("[::1]:7"));
    assert!(v6.is_ok());
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A door that has only the hash of the token: nothing that is compared here could tell by its time what the token is.
fn locked() -> DoorFacts<'static> {
    DoorFacts { access: Access::Token(TokenHash::of(TOKEN)), ..door("127.0.0.1:6156") }
}

fn locked_status(line: &str, lines: &str) -> (u16, &'static str) {
    match decide(format!("{line}\r\n{lines}\r\n").as_bytes(), locked()) {
        Ok(Some(head)) => {
            assert_eq!(head.credential, Credential::Machine);
            (200, "")
        }
        other => other.map_or_else(|refusal| (refusal.status, refusal.code), |_| (0, "partial")),
    }
}

#[test]
fn a_locked_door_opens_to_the_token_alone() {
    for (value, expected) in [
        (format!("Bearer {TOKEN}"), 200),
        (format!("bearer {TOKEN}"), 200),
        (format!("BEARER   {TOKEN}"), 200),
        (format!("Bearer {}", TOKEN.to_uppercase()), 401),
        (format!("Bearer {}", &TOKEN[1..]), 401),
        (format!("Bearer {TOKEN}0"), 401),
        (format!("Bearer {TOKEN} "), 200), // what surrounds a header's value is no part of it
        (format!("Bearer {TOKEN} x"), 401),
        (format!("Bearer {TOKEN},{TOKEN}"), 401),
        (format!("Bearer \"{TOKEN}\""), 401),
        (format!("Basic {TOKEN}"), 401),
        (format!("Bearer\t{TOKEN}"), 401),
        (format!("Bearer{TOKEN}"), 401),
        (TOKEN.to_owned(), 401),
        (TokenHash::of(TOKEN).to_hex(), 401),
        (format!("Bearer {}", TokenHash::of(TOKEN).to_hex()), 401),
        ("Bearer".to_owned(), 401),
        (String::new(), 401),
    ] {
        let lines = format!("Host: localhost\r\nAuthorization: {value}\r\n");
        assert_eq!(locked_status("GET /v1/version HTTP/1.1", &lines).0, expected, "{value}");
    }
    let good = format!("authorization: Bearer {TOKEN}\r\n");
    let get = |lines: &str| locked_status("GET /hook/x HTTP/1.1", lines).0;
    assert_eq!(get("Host: localhost\r\n"), 401);
    assert_eq!(get(&format!("Host: localhost\r\n{good}")), 200);
    assert_eq!(get(&format!("Host: localhost\r\n{good}{good}")), 401);
    assert_eq!(get(&format!("Host: localhost\r\n{good}Authorization: Bearer x\r\n")), 401);
    assert_eq!(get(&format!("Host: localhost\r\nProxy-{good}X-{good}")), 401);
}

#[test]
fn what_is_refused_first_tells_nothing_of_what_comes_after() {
    let good = format!("Authorization: Bearer {TOKEN}\r\n");
    let (own, foreign) = ("Host: localhost\r\n", "Host: evil.example\r\n");
    let origin = "Origin: http://evil.example\r\n";
    let get = |path: &str, lines: &[&str]| locked_status(&format!("GET {path} HTTP/1.1"), &lines.concat());
    assert_eq!(get("/x?token=a", &[foreign, origin]), (400, "credential_in_query"));
    assert_eq!(get("/x", &[foreign, origin]), (403, "foreign_host"));
    assert_eq!(get("/x", &[own, origin, &good]), (403, "foreign_origin"));
    assert_eq!(get("/x", &[own, origin]), (403, "foreign_origin"));
    for path in ["/x", "/healthz/", "/healthz%20", "/hook/session-start", "/v1/version", "/metrics", "/myko"] {
        assert_eq!(get(path, &[own]), (401, "unauthorized"), "{path}");
    }
    assert_eq!(get("/x", &[own, "Transfer-Encoding: gzip\r\n"]).0, 501, "what cannot be read is not judged");
    let ask = format!("{own}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{KEY}\r\n");
    assert_eq!(get("/myko", &[&ask]), (401, "unauthorized"));
    assert_eq!(get("/other", &[&ask]), (401, "unauthorized"));
    assert_eq!(get("/myko", &[&ask, &good]), (200, ""));
    assert_eq!(get("/other", &[&ask, &good]), (404, "not_found"));
    let refusal = decide(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n", locked()).unwrap_err();
    assert_eq!(refusal.header, Some(("WWW-Authenticate", "Bearer")));
}

#[test]
fn a_secret_in_the_query_is_refused_at_every_door() {
    for (query, expected) in [
        ("token=x", 400),
        ("TOKEN=x", 400),
        ("a=b&token", 400),
        ("a=b&&token=", 400),
        ("access_token=x", 400),
        ("Access_Token=x", 400),
        ("authorization=Bearer+x", 400),
        ("%74oken=x", 400),
        ("%54%4f%4B%45%4e=x", 400),
        ("access%5Ftoken=x", 400),
        ("host=token&operator=token", 200),
        ("tokens=1", 200),
        ("my_token=1", 200),
        ("%2574oken=x", 200),
        ("%7=x&%zz=y&%=z", 200),
        ("", 200),
    ] {
        let head = format!("GET /a?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(status(&head).0, expected, "{query}");
    }
}

// row 47
#[test]
fn without_a_token_a_caller_may_ask_whether_anybody_is_there_and_nothing_else() {
    let credential = |head: &str| decide(head.as_bytes(), locked()).map(|head| head.unwrap().credential);
    let own = "Host: localhost\r\n";
    for line in ["GET /healthz HTTP/1.1", "HEAD /healthz HTTP/1.1", "GET /healthz?a=b HTTP/1.0"] {
        assert_eq!(credential(&format!("{line}\r\n{own}\r\n")), Ok(Credential::Nobody), "{line}");
        let good = format!("Authorization: Bearer {TOKEN}\r\n");
        assert_eq!(credential(&format!("{line}\r\n{own}{good}\r\n")), Ok(Credential::Machine), "{line}");
        for lines in [
            format!("{own}Authorization: Bearer x\r\n"),
            format!("{own}Authorization: \r\n"),
            format!("{own}{good}{good}"),
        ] {
            assert_eq!(locked_status(line, &lines).0, 401, "{line} {lines}");
        }
        for lines in ["Host: evil.example\r\n", "Host: localhost\r\nOrigin: http://evil.example\r\n"] {
            assert_eq!(locked_status(line, lines).0, 403, "{line} {lines}");
        }
    }
    for line in
        ["POST /healthz HTTP/1.1", "OPTIONS /healthz HTTP/1.1", "GET /metrics HTTP/1.1", "GET //healthz HTTP/1.1"]
    {
        assert_eq!(locked_status(line, own).0, 401, "{line}");
    }
    let stranger = DoorFacts { access: Access::ForeignUser, ..locked() };
    assert_eq!(decide(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", stranger).unwrap_err().status, 403);
    let ask = format!("{own}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{KEY}\r\n");
    assert_eq!(locked_status("GET /healthz HTTP/1.1", &ask).0, 404);
}

// row 49
#[test]
fn a_refusal_names_the_host_and_what_would_let_it_in() {
    let head = b"GET /v1/x HTTP/1.1\r\nHost: host.docker.internal:6156\r\n\r\n";
    let refusal = decide(head, door("127.0.0.1:6156")).unwrap_err();
    let bytes = super::super::respond::refusal(&refusal, &line(head));
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("It names host.docker.internal. If"), "{text}");
    assert!(text.ends_with("MARSHAL_ALLOWED_HOSTS=host.docker.internal\"}}"), "{text}");
    assert_eq!(line(head).for_log(Reason::Host), "GET /v1/x to host.docker.internal");
    let allowed = ["host.docker.internal".to_owned()];
    let facts = DoorFacts { allowed_hosts: &allowed, ..door("127.0.0.1:6156") };
    assert!(decide(head, facts).unwrap().is_some());
    let page = b"GET /v1/x HTTP/1.1\r\nHost: host.docker.internal\r\nOrigin: http://host.docker.internal:6156\r\n\r\n";
    assert_eq!(decide(page, facts).unwrap_err().code, "foreign_origin");
}

#[test]
fn a_credential_goes_no_further_than_the_door() {
    let text = format!("GET /a HTTP/1.1\r\nAUTHORIZATION: Bearer {TOKEN}\r\nHost: localhost\r\n\r\n");
    for facts in [locked(), door("127.0.0.1:6156")] {
        let head = decide(text.as_bytes(), facts).unwrap().unwrap();
        assert_eq!(head.headers, [("host".to_owned(), "localhost".to_owned())]);
        assert!(!format!("{head:?} {facts:?}").contains(TOKEN));
    }
    let stranger = DoorFacts { bound: None, access: Access::ForeignUser, ..door("") };
    let refusal = decide(text.as_bytes(), stranger).unwrap_err();
    assert_eq!((refusal.status, refusal.code), (403, "foreign_user"));
}

#[test]
fn a_handshake_is_checked_before_it_is_answered() {
    let ask = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let good = format!("{ask}Sec-WebSocket-Version: 13\r\n{KEY}\r\n");
    let at = |path: &str, lines: &str| status(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"));
    assert_eq!(at("/myko", &good), (200, ""));
    assert_eq!(at("/myko?a=b", &good), (200, ""));
    let lists = good.replace(": websocket", ": h2c, WebSocket").replace(": Upgrade", ": keep-alive , UPGRADE");
    assert_eq!(at("/myko", &lists), (200, ""));
    assert_eq!(at("/myko/", &good), (404, "not_found"));
    assert_eq!(at("/other", &good), (404, "not_found"));
    assert_eq!(at("/myko", ""), (426, "upgrade_required"));
    assert_eq!(at("/myko", "Upgrade: websocket\r\n"), (426, "upgrade_required"));
    assert_eq!(at("/myko", &good.replace("websocket\r\n", "h2c\r\n")), (426, "upgrade_required"));
    assert_eq!(at("/myko", &good.replace("13", "8")), (426, "websocket_version"));
    assert_eq!(at("/myko", &good.replace("Sec-WebSocket-Version: 13\r\n", "")), (426, "websocket_version"));
    for key in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQA=",
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub25jZQAA",
        "dGhl-HNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25jZQAA==",
    ] {
        let lines = good.replace("dGhlIHNhbXBsZSBub25jZQ==", key);
        assert_eq!(at("/myko", &lines), (400, "bad_handshake"), "{key}");
    }
    assert_eq!(at("/myko", &format!("{good}{KEY}\r\n")), (400, "bad_handshake"));
    assert_eq!(at("/myko", &good.replace(KEY, "X: y")), (400, "bad_handshake"));
    assert_eq!(at("/myko", &format!("{good}Content-Length: 1\r\n")), (400, "bad_handshake"));
    assert_eq!(at("/myko", &format!("{good}Transfer-Encoding: chunked\r\n")), (400, "bad_handshake"));
    assert_eq!(at("/myko", &format!("{good}Origin: http://evil.example\r\n")), (403, "foreign_origin"));
    assert_eq!(at("/myko", &format!("{good}Origin: http://localhost:6156\r\n")), (200, ""));
    let foreign = format!("GET /myko HTTP/1.1\r\nHost: evil.example\r\n{good}\r\n");
    assert_eq!(status(&foreign), (403, "foreign_host"));
    let old = format!("GET /myko HTTP/1.0\r\nHost: localhost\r\n{good}\r\n");
    assert_eq!(status(&old), (426, "upgrade_required"));
    // An offer of another protocol may be ignored, as curl's of HTTP/2.
    assert_eq!(at("/a", "Upgrade: h2c\r\nConnection: Upgrade\r\n"), (200, ""));
    assert_eq!(status(&format!("POST /a HTTP/1.1\r\nHost: localhost\r\n{good}\r\n")), (200, ""));
}

#[test]
fn refusals_are_safe_to_put_into_json_and_headers() {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic() || c == ' ') && !text.contains(['"', '\\']);
    for lines in ["X\r\n", "Content-Length: x\r\n", "Expect: x\r\n", "Host: x\r\n", "Origin: x\r\n"] {
        let head = format!("GET /a HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        let refusal = decide(head.as_bytes(), door("127.0.0.1:6156")).unwrap_err();
        assert!(plain(refusal.code) && plain(refusal.message), "{refusal:?}");
        let bytes = super::super::respond::refusal(&refusal, &line(head.as_bytes()));
        let text = String::from_utf8(bytes).unwrap();
        let body: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["error"]["code"], refusal.code);
        assert!(body["error"]["message"].as_str().unwrap().starts_with(refusal.message), "{body}");
    }
}

#[test]
fn the_request_line_of_a_bad_request_is_told_as_far_as_it_is_known() {
    let line = |text: &str| line(text.as_bytes());
    let hook = Line { method: "POST".into(), path: "/hook/x".into(), ..Line::default() };
    for text in [
        "POST /hook/x HTTP/1.1\r\nX\r\n\r\n",
        "POST /hook/x?a=b HTTP/1.1\r\nHo",
        "POST /hook/x HTTP/9.9\r\n",
        "POST /hook/x HT",
    ] {
        assert_eq!(line(text), hook, "{text:?}");
    }
    assert_eq!(line("POST /hook").path, "");
    assert_eq!(line(""), Line::default());
    let many = format!("POST /hook/x HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    assert_eq!(line(&many), hook);
}

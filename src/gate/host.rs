//! Which names in `Host` and `Origin` mean this daemon: the loopback names and the address that a door is bound to.
//! Pure. It must never resolve a name, and never take a wildcard address for a name of ours.

use crate::limits::HOST_CHARACTERS_SHOWN_MAX;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Checks that the value of a `Host` header names this daemon, with any port or none. `allowed` holds the names that the
/// operator allows.
pub(super) fn host_is_ours(value: &str, bound: Option<SocketAddr>, allowed: &[String]) -> bool {
    let Some((name, port)) = split_port(value) else { return false };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    port.is_none_or(|port| port.is_empty() || is_port(port))
        && (name_is_ours(name, bound) || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)))
}

/// Returns the name in a `Host` header without its port, safe to be shown: each byte that no host name has becomes `?`.
pub(super) fn shown_name(value: &[u8]) -> String {
    let shown = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'[' | b']' | b':' => char::from(*byte),
        _ => '?',
    };
    let text: String = value.trim_ascii().iter().take(HOST_CHARACTERS_SHOWN_MAX).map(shown).collect();
    split_port(&text).map_or(text.clone(), |(name, _)| name.to_owned())
}

/// Whether the value of an `Origin` header is a page that this very door serves.
pub(super) fn origin_is_ours(value: &str, bound: SocketAddr) -> bool {
    let Some((name, port)) = value.strip_prefix("http://").and_then(split_port) else {
        return false;
    };
    // Browsers leave out the port that goes without saying.
    let port_fits = match port {
        Some(port) => port == bound.port().to_string(),
        None => bound.port() == 80,
    };
    port_fits && name_is_ours(name, Some(bound))
}

/// Splits `name:port`, where the name may be an IPv6 address in brackets.
fn split_port(value: &str) -> Option<(&str, Option<&str>)> {
    let name_bytes = match value.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => value.find(':').unwrap_or(value.len()),
    };
    let (name, rest) = value.split_at(name_bytes);
    match rest {
        "" => Some((name, None)),
        rest => Some((name, Some(rest.strip_prefix(':')?))),
    }
}

fn name_is_ours(name: &str, bound: Option<SocketAddr>) -> bool {
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let address = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().map(IpAddr::V6),
        None => name.parse::<Ipv4Addr>().map(IpAddr::V4),
    };
    let Ok(address) = address else {
        return false;
    };
    // 0.0.0.0 reaches this machine from a browser, so it is nobody's name even where it is bound.
    let is_bound = bound.is_some_and(|bound| bound.ip() == address) && !address.is_unspecified();
    address.is_loopback() || is_bound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn loopback_names_and_the_bound_address_are_ours_with_any_port() {
        let door = Some(bound("127.0.0.1:6156"));
        for host in [
            "localhost",
            "LOCALHOST:6156",
            "localhost:",
            "localhost:1",
            "127.0.0.1",
            "127.9.8.7:65535",
            "[::1]",
            "[::1]:80",
            "[0:0:0:0:0:0:0:1]:6156",
        ] {
            assert!(host_is_ours(host, door, &[]), "{host}");
            assert!(host_is_ours(host, None, &[]), "{host} on the Unix door");
        }
        for host in [
            "",
            ":6156",
            "evil.example",
            "localhost.evil.example",
            "localhost.",
            "evil.localhost",
            "127.0.0.1.nip.io",
            "127.0.0.1.",
            "128.0.0.1",
            "0.0.0.0",
            "0.0.0.0:6156",
            "[::]",
            "127.1",
            "0177.0.0.1",
            "2130706433",
            "::1",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]:x",
            "[::2]",
            "[::ffff:127.0.0.1]",
            "[127.0.0.1]",
            "[localhost]",
            "[fe80::1%25lo]",
            "localhost:65536",
            "localhost:-1",
            "localhost:+80",
            "localhost:80:80",
            "user@localhost",
            "localhost/",
            "localhost,localhost",
            "localhost evil",
            "\u{ff4c}ocalhost",
        ] {
            assert!(!host_is_ours(host, door, &[]), "{host}");
            assert!(!host_is_ours(host, None, &[]), "{host} on the Unix door");
        }
    }

    #[test]
    fn a_door_on_another_address_has_that_name_too_but_a_wildcard_has_none() {
        assert!(host_is_ours("192.168.1.5:6156", Some(bound("192.168.1.5:6156")), &[]));
        assert!(!host_is_ours("192.168.1.6", Some(bound("192.168.1.5:6156")), &[]));
        assert!(host_is_ours("[2001:DB8::1]", Some(bound("[2001:db8::1]:6156")), &[]));
        assert!(!host_is_ours("0.0.0.0", Some(bound("0.0.0.0:6156")), &[]));
        assert!(!host_is_ours("[::]", Some(bound("[::]:6156")), &[]));
    }

    // row 49
    #[test]
    fn a_name_that_the_owner_allows_leads_here_and_no_other() {
        let allowed = ["host.docker.internal".to_owned(), "[fd00::1]".to_owned(), "10.0.0.7".to_owned()];
        for host in ["host.docker.internal", "Host.Docker.Internal:6156", "[fd00::1]:1", "10.0.0.7:", "localhost"] {
            assert!(host_is_ours(host, None, &allowed), "{host}");
        }
        for host in [
            "docker.internal",
            "x.host.docker.internal",
            "host.docker.internal.evil.example",
            "host.docker.internal.",
            "host.docker.internal:x",
            "host.docker.internal:65536",
            "fd00::1",
            "10.0.0.70",
            "*",
            "",
        ] {
            assert!(!host_is_ours(host, None, &allowed), "{host}");
        }
        assert!(!origin_is_ours("http://host.docker.internal:6156", bound("127.0.0.1:6156")), "its pages stay out");
    }

    #[test]
    fn a_name_is_shown_without_what_could_harm() {
        for (value, shown) in [
            ("host.docker.internal:6156", "host.docker.internal"),
            ("[fd00::1]:80", "[fd00::1]"),
            ("a\"b\\c\u{1b}[2Jd e", "a?b?c?[2Jd?e"),
            ("\u{202e}x", "???x"),
            (" x ", "x"),
            ("", ""),
            ("[::1", "[::1"),
        ] {
            assert_eq!(shown_name(value.as_bytes()), shown, "{value:?}");
        }
        assert_eq!(shown_name(&[b'x'; 1000]).len(), HOST_CHARACTERS_SHOWN_MAX);
    }

    #[test]
    fn only_pages_of_this_very_door_are_ours() {
        let door = bound("127.0.0.1:6156");
        for origin in ["http://localhost:6156", "http://127.0.0.1:6156", "http://[::1]:6156", "http://LocalHost:6156"] {
            assert!(origin_is_ours(origin, door), "{origin}");
        }
        for origin in [
            "",
            "null",
            "http://localhost",
            "http://localhost:6155",
            "http://localhost:06156",
            "http://localhost:",
            "https://localhost:6156",
            "HTTP://localhost:6156",
            "http://localhost:6156/",
            "http://localhost:6156 ",
            "http://evil.example",
            "http://evil.example:6156",
            "http://localhost.evil.example:6156",
            "localhost:6156",
            "http://user@localhost:6156",
            "file://",
            "chrome-extension://abc",
            "http://0.0.0.0:6156",
            "http://localhost:6156, null",
            "http://[::1:6156",
            "vscode-webview://x",
        ] {
            assert!(!origin_is_ours(origin, door), "{origin}");
        }
        assert!(origin_is_ours("http://localhost", bound("127.0.0.1:80")));
        assert!(origin_is_ours("http://[2001:db8::1]:6156", bound("[2001:db8::1]:6156")));
        assert!(!origin_is_ours("http://[2001:db8::2]:6156", bound("[2001:db8::1]:6156")));
    }
}

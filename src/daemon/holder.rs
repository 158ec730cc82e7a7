//! Who holds a port, for the error message. Best effort: what cannot be found out is left out.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a holder may take to say who it is.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// A description of the program that listens on `address`.
pub(super) fn of_port(address: SocketAddr) -> Option<String> {
    match (marshal_on(address), process_on(address)) {
        (Some(marshal), Some(process)) if !marshal.contains("pid") => Some(format!("{marshal}, {process}")),
        (Some(marshal), _) => Some(marshal),
        (None, process) => process,
    }
}

/// Asks whether it is a marshal.
fn marshal_on(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, PROBE_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(PROBE_TIMEOUT)).ok()?;
    stream.write_all(b"GET /v1/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    // An answer of another program may be anything and any length.
    let _ = stream.take(4096).read_to_end(&mut answer);
    said_by_marshal(&String::from_utf8_lossy(&answer))
}

/// What an answer tells, if it is a marshal's.
fn said_by_marshal(answer: &str) -> Option<String> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    if let (Some(version), Some(pid)) = (body["version"].as_str(), body["pid"].as_u64()) {
        return (body["name"] == "marshal").then(|| format!("marshal {version} (pid {pid})"));
    }
    // One that asks for its token, which is not ours to know.
    let is_marshal = body["error"]["code"] == "unauthorized" && head.lines().any(|line| line == "Server: marshal");
    is_marshal.then(|| "another marshal".to_owned())
}

/// Looks it up in the process table, where there is one to read.
fn process_on(address: SocketAddr) -> Option<String> {
    let table = if address.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let table = std::fs::read_to_string(table).ok()?;
    let inode = table.lines().skip(1).find_map(|line| listening_inode(line, address))?;
    let wanted = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()));
        if holds {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The inode of a listening socket, if a line of the table is about one on this port.
fn listening_inode(line: &str, address: SocketAddr) -> Option<&str> {
    const LISTEN: &str = "0A";
    let mut columns = line.split_whitespace();
    let local = columns.nth(1)?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?;
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let any = ip.bytes().all(|digit| digit == b'0');
    let same = match address.ip() {
        IpAddr::V4(v4) => u32::from_str_radix(ip, 16).ok()? == u32::from_ne_bytes(v4.octets()),
        IpAddr::V6(_) => true,
    };
    (state == LISTEN && port == address.port() && (any || same)).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = process_on(listener.local_addr().unwrap()).unwrap();
        assert!(found.ends_with(&format!("(pid {})", std::process::id())), "{found}");
    }

    #[test]
    fn a_marshal_is_known_by_its_answer() {
        let open = "HTTP/1.1 200 OK\r\nServer: marshal\r\n\r\n{\"name\":\"marshal\",\"version\":\"1.0.0\",\"pid\":7}\n";
        assert_eq!(said_by_marshal(open), Some("marshal 1.0.0 (pid 7)".to_owned()));
        let locked = "HTTP/1.1 401 Unauthorized\r\nServer: marshal\r\n\r\n{\"error\":{\"code\":\"unauthorized\"}}";
        assert_eq!(said_by_marshal(locked), Some("another marshal".to_owned()));
        for other in [locked.replace(": marshal", ": nginx"), open.replace("\"marshal\"", "\"x\""), String::new()] {
            assert_eq!(said_by_marshal(&other), None);
        }
    }

    #[test]
    fn a_free_port_has_no_holder() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(process_on(address), None);
        assert_eq!(marshal_on(address), None);
    }
}

//! Binding the doors: two TCP addresses and the Unix socket. It must not accept anything; that is the gate's business.

use super::holder;
use crate::config::{AuthMode, ServeConfig, socket_path};
use crate::error::{Fatal, exit_code};
use crate::gate::{Door, DoorKind, Listener};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The bound doors.
pub(super) struct Doors {
    pub(super) listeners: Vec<Door>,
    pub(super) hooks: SocketAddr,
    pub(super) websocket: SocketAddr,
    pub(super) socket: PathBuf,
}

impl Doors {
    /// Binds all doors. The caller holds the state directory's lock.
    pub(super) fn open(config: &ServeConfig) -> Result<Self, Fatal> {
        let (hook_listener, hooks) = bind_tcp("hooks", "MARSHAL_HOOK_BIND", &config.hook_bind, config.auth)?;
        let (ws_listener, websocket) = bind_tcp("WebSocket", "MARSHAL_BIND", &config.ws_bind, config.auth)?;
        let socket = socket_path(&config.state_dir);
        let unix = bind_unix(&socket)?;
        let listeners = vec![
            Door { kind: DoorKind::Hooks, listener: Listener::Tcp(hook_listener) },
            Door { kind: DoorKind::WebSocket, listener: Listener::Tcp(ws_listener) },
            Door { kind: DoorKind::Unix, listener: Listener::Unix(unix) },
        ];
        Ok(Self { listeners, hooks, websocket, socket })
    }
}

fn bind_tcp(what: &str, variable: &str, address: &str, auth: AuthMode) -> Result<(TcpListener, SocketAddr), Fatal> {
    let resolved = address.to_socket_addrs().ok().and_then(|mut all| all.next());
    let Some(resolved) = resolved else {
        let message = format!("cannot resolve the {what} address {address}; set {variable} to one like 127.0.0.1:6156");
        return Err(Fatal::new(exit_code::CONFIG, message));
    };
    if !resolved.ip().is_loopback() && auth == AuthMode::None {
        let message = format!(
            "the {what} address {address} can be reached from other machines, and with MARSHAL_AUTH=none callers are \
             asked for nothing; leave MARSHAL_AUTH out, or set {variable} to a loopback address and reach it from \
             elsewhere through ssh -L"
        );
        return Err(Fatal::new(exit_code::CONFIG, message));
    }
    let listener = TcpListener::bind(resolved).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let holder = holder::of_port(resolved).unwrap_or_else(|| "another program".to_owned());
            let message = format!("the {what} port {resolved} is taken by {holder}; stop it, or set {variable}");
            Fatal::new(exit_code::HELD, message)
        }
        _ => Fatal::new(exit_code::OS, format!("cannot bind the {what} address {resolved}: {error}")),
    })?;
    let bound = listener.local_addr();
    let bound = bound.map_err(|error| Fatal::new(exit_code::OS, format!("cannot tell the {what} address: {error}")))?;
    if !bound.ip().is_loopback() {
        log::warn!(
            "the {what} address {bound} can be reached from other machines, to which the token goes unencrypted; prefer \
             a loopback address and ssh -L"
        );
    }
    Ok((listener, bound))
}

/// Binds the socket; one that a killed daemon left behind is removed first, which the lock makes safe.
pub(super) fn bind_unix(path: &Path) -> Result<UnixListener, Fatal> {
    let cannot = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::InvalidInput {
            "; a socket's path has room for about 100 bytes, set MARSHAL_STATE_DIR to a shorter one"
        } else {
            ""
        };
        Fatal::new(exit_code::CANNOT_CREATE, format!("cannot make the socket {}: {error}{hint}", path.display()))
    };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(cannot)?;
    // The directory is the owner's alone already; the socket says so too.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
    Ok(listener)
}

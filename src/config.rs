//! The settings: flags over environment over defaults, checked before anything starts. It must not open a file, a
//! socket or a log, and it reads the environment only through the function that it is given.

use crate::error::{Fatal, exit_code};
use crate::limits::{ALLOWED_HOSTS_MAX, SENDS_PER_SECOND};
use crate::text::shell::program_at;
use std::ffi::{OsStr, OsString};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

/// The environment: the value of a variable, none where it is not set.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Where hooks and HTTP callers reach the daemon when nobody says otherwise.
pub const HOOK_BIND_DEFAULT: &str = "127.0.0.1:6156";
/// Where shims reach the daemon when nobody says otherwise.
pub const WS_BIND_DEFAULT: &str = "127.0.0.1:6155";

/// What the command line says about the daemon; what it does not say comes from the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeFlags {
    /// `--state-dir`
    pub state_dir: Option<OsString>,
    /// `--hook-bind`
    pub hook_bind: Option<OsString>,
    /// `--bind`
    pub bind: Option<OsString>,
    /// `--log-level`
    pub log_level: Option<OsString>,
    /// `--auth`
    pub auth: Option<OsString>,
    /// `--sends-per-second`
    pub sends_per_second: Option<OsString>,
    /// `--allowed-hosts`
    pub allowed_hosts: Option<OsString>,
}

/// What callers over TCP have to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// The machine's token.
    #[default]
    Token,
    /// Nothing: as in marshal 0.9, whose shims know no tokens.
    None,
}

impl AuthMode {
    /// As it is written in a setting, and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::None => "none",
        }
    }
}

/// The settings of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Where the log, the lock and the socket are.
    pub state_dir: PathBuf,
    /// `host:port` of the door for hooks and HTTP. Well-formed, not yet resolved.
    pub hook_bind: String,
    /// `host:port` of the door for shims. Well-formed, not yet resolved.
    pub ws_bind: String,
    /// How much the daemon says about itself.
    pub log_level: log::LevelFilter,
    /// What callers over TCP have to show.
    pub auth: AuthMode,
    /// Messages that one sender may send in a second in the long run, if that is bounded.
    pub sends_per_second: Option<u32>,
    /// Host names that callers may use besides `localhost` and the address.
    pub allowed_hosts: Vec<String>,
    /// The operator who runs the daemon. Sessions on its Unix socket work for the same one unless they say otherwise.
    pub operator: Option<String>,
    /// Where the predecessor kept its log, for a one-time migration. It need not exist.
    pub coord_dir: Option<PathBuf>,
    /// This program as its hints call it.
    pub program: String,
}

impl ServeConfig {
    /// The settings that follow from `flags` and `env`.
    pub fn from_flags(flags: &ServeFlags, env: Env<'_>) -> Result<Self, Fatal> {
        let hook_bind = bind(flags.hook_bind.as_deref(), "--hook-bind", "MARSHAL_HOOK_BIND", HOOK_BIND_DEFAULT, env)?;
        let ws_bind = bind(flags.bind.as_deref(), "--bind", "MARSHAL_BIND", WS_BIND_DEFAULT, env)?;
        Ok(Self {
            state_dir: state_dir_or(flags.state_dir.as_deref(), env)?,
            hook_bind,
            ws_bind,
            log_level: log_level(flags.log_level.as_deref(), env)?,
            auth: auth(flags.auth.as_deref(), env)?,
            sends_per_second: sends_per_second(flags.sends_per_second.as_deref(), env)?,
            allowed_hosts: allowed_hosts(flags.allowed_hosts.as_deref(), env)?,
            operator: operator(env),
            coord_dir: coord_dir(env)?,
            program: program(flags.state_dir.as_deref(), env),
        })
    }
}

/// This program as whoever gets a hint from the daemon calls it. The callers' environment is most likely the daemon's:
/// only a directory that a flag named must be named again.
fn program(flag: Option<&OsStr>, env: Env<'_>) -> String {
    let known = state_dir(env).ok();
    match state_dir_or(flag, env).ok().filter(|dir| flag.is_some() && known.as_ref() != Some(dir)) {
        Some(dir) => program_at(&dir.to_string_lossy()),
        None => "marshal".to_owned(),
    }
}

/// The state directory that the environment names: `$MARSHAL_STATE_DIR`, else `$XDG_STATE_HOME/marshal`, else
/// `$HOME/.local/state/marshal`.
pub fn state_dir(env: Env<'_>) -> Result<PathBuf, Fatal> {
    if let Some(dir) = set(env, "MARSHAL_STATE_DIR") {
        return absolute("MARSHAL_STATE_DIR", &dir);
    }
    let state_home = set(env, "XDG_STATE_HOME").map(|dir| absolute("XDG_STATE_HOME", &dir)).transpose()?;
    let base = match (state_home, absolute_dir(env, "HOME")) {
        (Some(state), _) => state,
        (None, Some(home)) => home.join(".local/state"),
        (None, None) => {
            let message = "no state directory: HOME is not set. Set MARSHAL_STATE_DIR, \
                           for example MARSHAL_STATE_DIR=/var/lib/marshal";
            return Err(Fatal::new(exit_code::CONFIG, message));
        }
    };
    Ok(base.join("marshal"))
}

/// The state directory that the flag `--state-dir` names, else the environment's.
pub fn state_dir_or(flag: Option<&OsStr>, env: Env<'_>) -> Result<PathBuf, Fatal> {
    match flag {
        Some(dir) if dir.is_empty() => {
            Err(Fatal::new(exit_code::CONFIG, "--state-dir is empty: give a directory, for example /var/lib/marshal"))
        }
        Some(dir) => absolute("--state-dir", dir),
        None => state_dir(env),
    }
}

/// The socket that the command line reaches the daemon by.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("marshal.sock")
}

/// The value of a variable that is set and not empty.
pub fn set(env: Env<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

fn absolute_dir(env: Env<'_>, name: &str) -> Option<PathBuf> {
    set(env, name).map(PathBuf::from).filter(|dir| dir.is_absolute())
}

/// Refuses a relative directory: daemon, hooks and commands run in different directories, and each would look elsewhere.
fn absolute(name: &str, dir: &OsStr) -> Result<PathBuf, Fatal> {
    let path = Path::new(dir);
    if path.is_absolute() {
        return Ok(path.to_path_buf());
    }
    let show = path.display().to_string();
    let why = match show.starts_with('~') {
        true => "the shell left the ~ as it is; write the directory out, or $HOME in its place",
        false => "a relative directory is another one wherever a command runs; give one that begins with /",
    };
    Err(Fatal::new(exit_code::CONFIG, format!("{name}='{show}': {why}")))
}

/// The operator of an environment: `$MARSHAL_OPERATOR`, else the user.
pub fn operator(env: Env<'_>) -> Option<String> {
    let names = ["MARSHAL_OPERATOR", "USER", "USERNAME"];
    names.iter().find_map(|name| set(env, name)).and_then(|name| name.into_string().ok())
}

fn coord_dir(env: Env<'_>) -> Result<Option<PathBuf>, Fatal> {
    const NAME: &str = "CLAUDE_COORD_STATE_DIR";
    let named = set(env, NAME).map(|dir| absolute(NAME, &dir)).transpose()?;
    Ok(named.or_else(|| absolute_dir(env, "HOME").map(|home| home.join(".local/state/claude-coord"))))
}

/// A setting's text and the name of the place it came from, for error messages.
fn text(
    flag: Option<&OsStr>,
    flag_name: &str,
    variable: &str,
    env: Env<'_>,
) -> Result<Option<(String, String)>, Fatal> {
    let (value, name) = match (flag, set(env, variable)) {
        (Some(value), _) => (value.to_os_string(), flag_name),
        (None, Some(value)) => (value, variable),
        (None, None) => return Ok(None),
    };
    match value.into_string() {
        Ok(value) => Ok(Some((value, name.to_owned()))),
        Err(_) => Err(Fatal::new(exit_code::CONFIG, format!("{name} is not UTF-8"))),
    }
}

fn bind(flag: Option<&OsStr>, flag_name: &str, variable: &str, default: &str, env: Env<'_>) -> Result<String, Fatal> {
    let Some((value, name)) = text(flag, flag_name, variable, env)? else {
        return Ok(default.to_owned());
    };
    match check_bind(&value) {
        Ok(()) => Ok(value),
        Err(why) => Err(Fatal::new(exit_code::CONFIG, format!("{name}='{value}': {why}, for example {default}"))),
    }
}

/// Whether `value` is `host:port` or `[v6]:port`. Whether the host exists is found out when the door is opened.
fn check_bind(value: &str) -> Result<(), &'static str> {
    let Some((host, port)) = value.rsplit_once(':') else {
        return Err("no port: give host:port");
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err() {
        return Err("the port is not a number from 0 to 65535: give host:port");
    }
    if host.starts_with('[') {
        return is_host(host).then_some(()).ok_or("not an IPv6 address in brackets: give [::1]:port or host:port");
    }
    if host.contains(':') {
        return Err("an IPv6 address stands in brackets, as in [::1]:6156");
    }
    is_host(host).then_some(()).ok_or("not a host name or address: give host:port")
}

/// Checks a host name or address without a port.
fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !host.is_empty() && host.bytes().all(fits)
}

/// Parses a list of host names. Patterns are refused: the owner of any matching domain could get in by DNS rebinding.
fn allowed_hosts(flag: Option<&OsStr>, env: Env<'_>) -> Result<Vec<String>, Fatal> {
    let Some((value, name)) = text(flag, "--allowed-hosts", "MARSHAL_ALLOWED_HOSTS", env)? else {
        return Ok(Vec::new());
    };
    let hosts: Vec<String> =
        value.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect();
    if let Some(wrong) = hosts.iter().find(|host| !is_host(host)) {
        let message = format!(
            "{name}='{value}': '{wrong}' is no host: give names without a port and with commas between them, \
             for example host.docker.internal,[fd00::1]"
        );
        return Err(Fatal::new(exit_code::CONFIG, message));
    }
    if hosts.len() > ALLOWED_HOSTS_MAX {
        let message = format!("{name} names {} hosts; at most {ALLOWED_HOSTS_MAX} are taken", hosts.len());
        return Err(Fatal::new(exit_code::CONFIG, message));
    }
    Ok(hosts)
}

fn log_level(flag: Option<&OsStr>, env: Env<'_>) -> Result<log::LevelFilter, Fatal> {
    if let Some((value, name)) = text(flag, "--log-level", "MARSHAL_LOG", env)? {
        return value.parse().map_err(|_| {
            let message = format!("{name}='{value}': give one of off, error, warn, info, debug, trace");
            Fatal::new(exit_code::CONFIG, message)
        });
    }
    // RUST_LOG is shared with other programs and may hold filters of theirs: it counts only where it is a plain level.
    let shared = set(env, "RUST_LOG").and_then(|value| value.to_str()?.parse().ok());
    Ok(shared.unwrap_or(log::LevelFilter::Info))
}

fn auth(flag: Option<&OsStr>, env: Env<'_>) -> Result<AuthMode, Fatal> {
    let Some((value, name)) = text(flag, "--auth", "MARSHAL_AUTH", env)? else {
        return Ok(AuthMode::default());
    };
    let modes = [AuthMode::Token, AuthMode::None];
    let found = modes.into_iter().find(|mode| mode.name() == value);
    found.ok_or_else(|| Fatal::new(exit_code::CONFIG, format!("{name}='{value}': give token or none")))
}

fn sends_per_second(flag: Option<&OsStr>, env: Env<'_>) -> Result<Option<u32>, Fatal> {
    let Some((value, name)) = text(flag, "--sends-per-second", "MARSHAL_SENDS_PER_SECOND", env)? else {
        return Ok(Some(SENDS_PER_SECOND));
    };
    match value.parse() {
        Ok(0) => Ok(None),
        Ok(count) if value.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(count)),
        _ => {
            let message = format!("{name}='{value}': give a number of messages, or 0 for no limit");
            Err(Fatal::new(exit_code::CONFIG, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env_of(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn state_dir_takes_the_first_that_is_set() {
        let table: &[(&'static [(&str, &str)], &str)] = &[
            (&[("MARSHAL_STATE_DIR", "/m"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")], "/m"),
            (&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], "/x/marshal"),
            (&[("MARSHAL_STATE_DIR", ""), ("XDG_STATE_HOME", ""), ("HOME", "/h")], "/h/.local/state/marshal"),
        ];
        for (pairs, expected) in table {
            assert_eq!(state_dir(&env_of(pairs)), Ok(PathBuf::from(expected)), "{pairs:?}");
        }
        let error = state_dir(&env_of(&[("HOME", "")])).unwrap_err();
        assert_eq!(error.code, exit_code::CONFIG);
        assert!(error.message.contains("MARSHAL_STATE_DIR"), "{error}");
        let flag = state_dir_or(Some(OsStr::new("/f")), &env_of(&[("MARSHAL_STATE_DIR", "/m")]));
        assert_eq!(flag, Ok(PathBuf::from("/f")));
    }

    // row 46
    #[test]
    fn a_relative_directory_or_a_literal_tilde_is_refused() {
        for relative in ["rel", "./rel", "../rel", "~", "~/state", "~ana/state", "$HOME/state"] {
            let named = |variable: &'static str| {
                move |name: &str| match name {
                    "HOME" => Some(OsString::from("/h")),
                    _ => (name == variable).then(|| OsString::from(relative)),
                }
            };
            let flags = ServeFlags { state_dir: Some(relative.into()), ..ServeFlags::default() };
            let refused = [
                ("MARSHAL_STATE_DIR", state_dir(&named("MARSHAL_STATE_DIR")).unwrap_err()),
                // The XDG specification says to ignore it, and the shell of a hook line would not.
                ("XDG_STATE_HOME", state_dir(&named("XDG_STATE_HOME")).unwrap_err()),
                ("--state-dir", ServeConfig::from_flags(&flags, &named("")).unwrap_err()),
                (
                    "CLAUDE_COORD_STATE_DIR",
                    ServeConfig::from_flags(&ServeFlags::default(), &named("CLAUDE_COORD_STATE_DIR")).unwrap_err(),
                ),
            ];
            for (name, error) in refused {
                assert_eq!(error.code, exit_code::CONFIG, "{error}");
                assert!(error.message.starts_with(&format!("{name}='{relative}': ")), "{error}");
            }
        }
    }

    #[test]
    fn defaults_need_only_a_home() {
        let config = ServeConfig::from_flags(&ServeFlags::default(), &env_of(&[("HOME", "/h")])).unwrap();
        let expected = ServeConfig {
            state_dir: PathBuf::from("/h/.local/state/marshal"),
            hook_bind: "127.0.0.1:6156".to_owned(),
            ws_bind: "127.0.0.1:6155".to_owned(),
            log_level: log::LevelFilter::Info,
            auth: AuthMode::Token,
            sends_per_second: Some(SENDS_PER_SECOND),
            allowed_hosts: Vec::new(),
            operator: None,
            coord_dir: Some(PathBuf::from("/h/.local/state/claude-coord")),
            program: "marshal".to_owned(),
        };
        assert_eq!(config, expected);
        assert_eq!(socket_path(&config.state_dir), Path::new("/h/.local/state/marshal/marshal.sock"));
    }

    #[test]
    fn flags_win_over_the_environment() {
        let env = env_of(&[
            ("MARSHAL_STATE_DIR", "/m"),
            ("MARSHAL_HOOK_BIND", "a:1"),
            ("MARSHAL_BIND", "b:2"),
            ("MARSHAL_LOG", "warn"),
            ("MARSHAL_AUTH", "none"),
            ("MARSHAL_SENDS_PER_SECOND", "7"),
            ("MARSHAL_ALLOWED_HOSTS", " host.docker.internal,[fd00::1],, 10.0.0.7"),
            ("RUST_LOG", "trace"),
            ("USER", "ana b"),
            ("CLAUDE_COORD_STATE_DIR", "/c"),
        ]);
        let config = ServeConfig::from_flags(&ServeFlags::default(), &env).unwrap();
        assert_eq!((config.hook_bind.as_str(), config.ws_bind.as_str()), ("a:1", "b:2"));
        assert_eq!(config.log_level, log::LevelFilter::Warn);
        assert_eq!((config.auth, config.sends_per_second), (AuthMode::None, Some(7)));
        // row 49
        assert_eq!(config.allowed_hosts, ["host.docker.internal", "[fd00::1]", "10.0.0.7"]);
        assert_eq!(config.coord_dir, Some(PathBuf::from("/c")));
        assert_eq!(config.operator.as_deref(), Some("ana b"));
        let other = env_of(&[("MARSHAL_OPERATOR", "eve"), ("USER", "ana"), ("USERNAME", "x")]);
        assert_eq!(operator(&other).as_deref(), Some("eve"));
        let flags = ServeFlags {
            state_dir: Some("/f".into()),
            hook_bind: Some("[::1]:0".into()),
            bind: Some("localhost:7".into()),
            log_level: Some("DEBUG".into()),
            auth: Some("token".into()),
            sends_per_second: Some("0".into()),
            allowed_hosts: Some("other.example".into()),
        };
        let config = ServeConfig::from_flags(&flags, &env).unwrap();
        assert_eq!(config.state_dir, Path::new("/f"));
        // row 59
        assert_eq!(config.program, "marshal --state-dir /f");
        let same = ServeFlags { state_dir: Some("/m".into()), ..ServeFlags::default() };
        assert_eq!(ServeConfig::from_flags(&same, &env).unwrap().program, "marshal", "the environment leads there too");
        assert_eq!((config.hook_bind.as_str(), config.ws_bind.as_str()), ("[::1]:0", "localhost:7"));
        assert_eq!(config.log_level, log::LevelFilter::Debug);
        assert_eq!((config.auth, config.sends_per_second), (AuthMode::Token, None));
        assert_eq!(config.allowed_hosts, ["other.example"]);
    }

    // row 49
    #[test]
    fn an_allowed_host_is_one_name_and_no_pattern() {
        let hosts = |value: &str| allowed_hosts(Some(OsStr::new(value)), &|_| None);
        for bad in ["*", "*.example", "a:6156", "http://a", "a/b", "a b", "::1", "[::1", "[1.2.3.4]", "a;b", "\u{e9}"] {
            let error = hosts(bad).unwrap_err();
            assert_eq!(error.code, exit_code::CONFIG, "{bad}");
            assert!(error.message.starts_with(&format!("--allowed-hosts='{bad}': '{bad}' is no host: ")), "{error}");
        }
        assert_eq!(hosts(""), Ok(Vec::new()));
        assert!(hosts(&"a,".repeat(ALLOWED_HOSTS_MAX)).is_ok() && hosts(&"a,".repeat(ALLOWED_HOSTS_MAX + 1)).is_err());
    }

    #[test]
    fn a_door_is_never_left_open_by_a_typing_error() {
        for (variable, bad) in [
            ("MARSHAL_AUTH", "off"),
            ("MARSHAL_AUTH", "None"),
            ("MARSHAL_AUTH", " none"),
            ("MARSHAL_SENDS_PER_SECOND", "+5"),
            ("MARSHAL_SENDS_PER_SECOND", "-1"),
            ("MARSHAL_SENDS_PER_SECOND", "many"),
            ("MARSHAL_SENDS_PER_SECOND", "99999999999"),
        ] {
            let env = |name: &str| [("HOME", "/h"), (variable, bad)].into_iter().find(|(key, _)| *key == name);
            let env = |name: &str| env(name).map(|(_, value)| OsString::from(value));
            let error = ServeConfig::from_flags(&ServeFlags::default(), &env).unwrap_err();
            assert_eq!(error.code, exit_code::CONFIG);
            assert!(error.message.starts_with(&format!("{variable}='{bad}': give ")), "{error}");
        }
        let empty = env_of(&[("HOME", "/h"), ("MARSHAL_AUTH", "")]);
        assert_eq!(ServeConfig::from_flags(&ServeFlags::default(), &empty).unwrap().auth, AuthMode::Token);
    }

    #[test]
    fn a_bad_bind_is_named_with_an_example() {
        for good in ["0.0.0.0:6156", "[::]:1", "build-host.example:65535"] {
            assert_eq!(check_bind(good), Ok(()), "{good}");
        }
        for bad in
            ["", "6156", ":6156", "h:", "h:65536", "h:+1", "::1:6156", "[::1]", "[1.2.3.4]:1", "a b:1", "http://h:1"]
        {
            assert!(check_bind(bad).is_err(), "{bad}");
        }
        let env = env_of(&[("HOME", "/h"), ("MARSHAL_BIND", "6155")]);
        let error = ServeConfig::from_flags(&ServeFlags::default(), &env).unwrap_err();
        assert_eq!(error.code, exit_code::CONFIG);
        assert_eq!(error.message, "MARSHAL_BIND='6155': no port: give host:port, for example 127.0.0.1:6155");
    }

    #[test]
    fn only_a_plain_rust_log_counts() {
        let level = |pairs| log_level(None, &env_of(pairs));
        assert_eq!(level(&[("RUST_LOG", "debug")]), Ok(log::LevelFilter::Debug));
        assert_eq!(level(&[("RUST_LOG", "hyper=trace,info")]), Ok(log::LevelFilter::Info));
        assert_eq!(level(&[("MARSHAL_LOG", ""), ("RUST_LOG", "error")]), Ok(log::LevelFilter::Error));
        assert_eq!(level(&[("MARSHAL_LOG", "loud")]).unwrap_err().code, exit_code::CONFIG);
    }
}

//! Other users of the machine, and the files and the socket at which they could get in: modes, owners, links, and whose
//! process is at the other end.

use super::support::skip::{is_root, skipped};
use super::support::{Answer, Place, raw_unix};
use super::{Locked, code, refused};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

const NOBODY: u32 = 65_534;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

pub(super) fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The exit code and the last words of a daemon that must not come up.
fn serve_and_fail(place: &Place) -> (Option<i32>, String) {
    let mut command = Command::new("timeout");
    let variables = place.command();
    let variables = variables.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    command.args(["20", env!("CARGO_BIN_EXE_marshal"), "serve"]).env_clear().envs(variables);
    let output = command.env_remove("MARSHAL_AUTH").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn a_link_in_the_place_of_a_file_leads_nowhere() {
    let place = Place::new();
    std::fs::create_dir(place.state()).unwrap();
    chmod(&place.state(), 0o700);
    let target = place.dir.path().join("target");
    std::fs::write(&target, b"precious\n").unwrap();
    chmod(&target, 0o600);
    for name in ["token", "token.header", "events.jsonl", "log.key", "marshal.lock"] {
        let path = place.state().join(name);
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let (code, said) = serve_and_fail(&place);
        assert_eq!(code, Some(73), "{name}: {said}");
        assert!(said.contains(path.to_str().unwrap()) || name == "marshal.lock", "{said}");
        std::fs::remove_file(&path).unwrap();
    }
    // Files that nobody reads, but that are written: a link there is removed, and not followed.
    for name in ["marshal.sock", "token.new"] {
        let _ = std::fs::remove_file(place.state().join(name));
        std::os::unix::fs::symlink(&target, place.state().join(name)).unwrap();
    }
    let _ = std::fs::remove_file(place.state().join("token"));
    let daemon = place.start_locked();
    assert!(place.run(&["token", "rotate"]).status.success());
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!((std::fs::read(&target).unwrap().as_slice(), mode(&target)), (&b"precious\n"[..], 0o600));
}

#[test]
fn a_token_that_others_could_read_or_have_made_is_not_taken() {
    let place = Place::new();
    drop(place.start_locked());
    let token = place.state().join("token");
    for open in [0o640, 0o604, 0o660, 0o644] {
        chmod(&token, open);
        let (code, said) = serve_and_fail(&place);
        assert_eq!(code, Some(77), "{said}");
        assert!(said.contains("chmod 600") && said.contains("marshal token rotate"), "{said}");
        let shown = place.run(&["token", "show"]);
        assert_eq!((shown.status.code(), shown.stdout.len()), (Some(77), 0));
    }
    chmod(&token, 0o600);
    if is_root("a token file of another user") {
        std::os::unix::fs::chown(&token, Some(NOBODY), Some(NOBODY)).unwrap();
        let (code, said) = serve_and_fail(&place);
        assert_eq!(code, Some(77), "{said}");
        assert!(said.contains("another user"), "{said}");
    }
}

#[test]
fn files_are_for_their_owner_alone_whatever_the_umask() {
    let place = Place::new();
    let daemon = place.start_with(|command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 000; exec \"$0\" serve", env!("CARGO_BIN_EXE_marshal")]);
        shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env_remove("MARSHAL_AUTH").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        *command = shell;
    });
    // The log gets its key with its first line.
    let body = r#"{"session_id":"s","cwd":"/w"}"#;
    let length = body.len();
    let start =
        format!("POST /hook/session-start HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    assert_eq!(raw_unix(&daemon.socket, start.as_bytes()).status, 200);
    for command in [&["token", "rotate"][..], &["compact"]] {
        assert!(place.run(command).status.success());
    }
    assert_eq!(mode(&place.state()), 0o700);
    let found: Vec<_> = std::fs::read_dir(place.state()).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in &found {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    let mut names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["events.jsonl", "log.key", "marshal.lock", "marshal.sock", "token", "token.header"]);
    assert_eq!(daemon.stop(), Some(0));
}

/// As root: the directories are opened up, so that nothing but the peer's user id is in the way.
#[test]
fn another_user_at_the_unix_socket_is_sent_away() {
    let what = "another user at the Unix socket";
    if !is_root(what) {
        return;
    }
    let mut locked = Locked::start();
    for path in [locked.place.dir.path(), &locked.place.state()] {
        chmod(path, 0o755);
    }
    chmod(&locked.daemon.socket, 0o666);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "10", "-D", "-", "--unix-socket"]).arg(&locked.daemon.socket);
    let auth = format!("Authorization: {}", locked.bearer);
    curl.args(["-H", &auth, "http://localhost/v1/sessions"]).env_clear().current_dir("/").uid(NOBODY).gid(NOBODY);
    let Ok(output) = curl.output() else {
        return skipped("curl", what);
    };
    let answer = Answer::parse(&output.stdout);
    assert_eq!(code(&answer), refused(403, "foreign_user"), "the token does not help there: {answer:?}");
    locked.said("GET /v1/sessions with 403 foreign_user");
    let own = raw_unix(&locked.daemon.socket, b"GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(own.status, 200);
}

/// A daemon of another user, as which root comes: root can read everything anyhow.
#[test]
fn root_is_let_in_at_another_user_s_socket() {
    let what = "root at another user's socket";
    if !is_root(what) {
        return;
    }
    let place = Place::new();
    chmod(place.dir.path(), 0o755);
    std::fs::create_dir(place.state()).unwrap();
    std::os::unix::fs::chown(place.state(), Some(NOBODY), Some(NOBODY)).unwrap();
    chmod(&place.state(), 0o700);
    let mut command = place.command();
    if command.arg("version").uid(NOBODY).gid(NOBODY).output().is_err() {
        return skipped("a place that other users may enter", what);
    }
    let daemon = place.start_with(|command| {
        command.env_remove("MARSHAL_AUTH").uid(NOBODY).gid(NOBODY);
    });
    let answer = raw_unix(&daemon.socket, b"GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(answer.status, 200);
}

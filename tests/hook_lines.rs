//! The hook lines of the README: in every login shell, for every user name, beside any `.curlrc`, and for every version of an
//! agent.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking, in its helpers too

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{Daemon, Place, request};

/// The README's sections with hooks: heading, event of a prompt, body of an empty answer, number of lines.
const SECTIONS: [(&str, &str, &str, usize); 4] = [
    ("Claude Code", "UserPromptSubmit", "", 8),
    ("Codex", "UserPromptSubmit", "", 8),
    ("Gemini CLI", "BeforeAgent", "{}", 7),
    ("Coming from marshal 0.9", "UserPromptSubmit", "", 3),
];

type Lines = BTreeMap<String, String>;

/// The text under a heading of the README.
fn section(heading: &str) -> String {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    page.split(&format!("\n### {heading}\n")).nth(1).unwrap().split("\n### ").next().unwrap().to_owned()
}

/// The commands of the README's hooks for one agent, by event.
fn hook_lines(heading: &str) -> Lines {
    let text = section(heading);
    let block = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let settings: Value = serde_json::from_str(block).unwrap();
    let hooks = settings["hooks"].as_object().unwrap().iter();
    hooks
        .map(|(event, groups)| (event.clone(), groups[0]["hooks"][0]["command"].as_str().unwrap().to_owned()))
        .collect()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn is_silent(output: &Output) -> bool {
    output.status.success() && output.stdout.is_empty() && output.stderr.is_empty()
}

/// Finds a shell. Says so on stderr where it is missing.
fn shell(name: &str) -> Option<PathBuf> {
    let fetched = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("shells/node_modules/@nushell");
    let fetched = std::fs::read_dir(fetched).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).chain(fetched).map(|directory| directory.join(name)).find(|path| path.is_file());
    if found.is_none() {
        support::skip::skipped(name, "the hook lines in that shell");
    }
    found
}

/// Runs hook lines as an agent does, in a home of its own and with a dead proxy.
struct Agent<'a> {
    place: &'a Place,
    home: PathBuf,
    /// The only variable that names the state directory.
    state: (&'static str, PathBuf),
    shell: PathBuf,
    flag: &'static str,
}

impl<'a> Agent<'a> {
    fn new(place: &'a Place, variable: &'static str, shell: PathBuf) -> Self {
        let home = place.dir.path().join("home");
        let state = match variable {
            "MARSHAL_STATE_DIR" => place.dir.path().join("a b"),
            "XDG_STATE_HOME" => place.dir.path().join("xdg"),
            _ => home.clone(),
        };
        // nushell prints a notice when it creates these files.
        std::fs::create_dir_all(home.join(".config/nushell")).unwrap();
        for name in ["env.nu", "config.nu"] {
            std::fs::write(home.join(".config/nushell").join(name), "").unwrap();
        }
        Self { place, home, state: (variable, state), shell, flag: "-c" }
    }

    fn set(&self, command: &mut Command) {
        command.env_remove("MARSHAL_STATE_DIR").env_remove("MARSHAL_AUTH").env("HOME", &self.home);
        command.env(self.state.0, &self.state.1);
    }

    fn run(&self, line: &str, event: &str) -> Output {
        let mut environment = self.place.command();
        self.set(&mut environment);
        let body = self.place.dir.path().join("body");
        std::fs::write(&body, json!({"session_id": "s", "cwd": "/w/s", "hook_event_name": event}).to_string()).unwrap();
        Command::new(&self.shell)
            .args([self.flag, line])
            .env_clear()
            .envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("http_proxy", "http://127.0.0.1:1")
            .env("ALL_PROXY", "http://127.0.0.1:1")
            .stdin(std::fs::File::open(&body).unwrap())
            .output()
            .unwrap()
    }

    fn start(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        self.place.start_with(|command| {
            self.set(command);
            change(command);
        })
    }

    fn sessions(&self) -> Vec<Value> {
        let mut ls = self.place.command();
        self.set(&mut ls);
        let listed: Value = serde_json::from_slice(&ls.args(["ls", "--json"]).output().unwrap().stdout).unwrap();
        listed["sessions"].as_array().unwrap().clone()
    }

    /// Runs a session from start to end; before and after it no daemon runs.
    fn lives(&self, lines: &Lines, prompt: &str, silence: &str, what: &str) {
        let run = |event: &str| self.run(&lines[event], event);
        let silent = run("SessionStart");
        assert!(is_silent(&silent), "{what}: {silent:?}");
        let daemon = self.start(|_| {});
        let started = run("SessionStart");
        assert!(stdout(&started).contains("You are marshal session_id s "), "{what}: {started:?}");
        assert!(started.stderr.is_empty(), "{what}: {started:?}");
        for event in lines.keys().filter(|event| !["SessionStart", "SessionEnd"].contains(&event.as_str())) {
            let quiet = run(event);
            assert!(
                quiet.status.success() && stdout(&quiet) == silence && quiet.stderr.is_empty(),
                "{what}: {quiet:?}"
            );
        }
        assert!(run("SessionEnd").status.success());
        let metrics = request(daemon.hooks, "GET", "/metrics", &[], b"");
        assert_eq!(metrics.status, 401, "it is a daemon as users have it");
        assert_eq!(self.sessions(), [Value::Null; 0], "{what}: the end was heard too");
        daemon.kill();
        let silent = run(prompt);
        assert!(is_silent(&silent), "{what}: {silent:?}");
    }
}

#[test]
fn the_lines_work_wherever_the_state_is_and_are_silent_without_a_daemon() {
    for (heading, prompt, silence, count) in SECTIONS {
        let lines = hook_lines(heading);
        assert_eq!(lines.len(), count, "{heading}");
        for variable in ["MARSHAL_STATE_DIR", "XDG_STATE_HOME", "HOME"] {
            let place = Place::new();
            let agent = Agent::new(&place, variable, "sh".into());
            agent.lives(&lines, prompt, silence, &format!("{heading} {variable}"));
        }
    }
}

/// Runs all lines in a shell, and `marshal hook` in their place.
fn every_line_runs_in(name: &str, flags: &[&'static str]) {
    let Some(shell) = shell(name) else { return };
    for flag in flags {
        let place = Place::new();
        let agent = Agent { flag, ..Agent::new(&place, "MARSHAL_STATE_DIR", shell.clone()) };
        for (heading, prompt, silence, _) in SECTIONS {
            agent.lives(&hook_lines(heading), prompt, silence, &format!("{name} {flag} {heading}"));
        }
        for (which, prompt, silence) in
            [("claude", "UserPromptSubmit", ""), ("codex", "UserPromptSubmit", ""), ("gemini", "BeforeAgent", "{}")]
        {
            // A login shell sets its own PATH.
            let line = || format!("{} hook {which}", env!("CARGO_BIN_EXE_marshal"));
            let events = ["SessionStart", prompt, "Stop", "SessionEnd"];
            let lines = events.into_iter().map(|event| (event.to_owned(), line())).collect();
            agent.lives(&lines, prompt, silence, &format!("{name} {flag} {which}"));
        }
    }
}

// row 27
#[test]
fn every_line_runs_in_sh() {
    every_line_runs_in("sh", &["-c", "-lc"]);
}

#[test]
fn every_line_runs_in_bash() {
    every_line_runs_in("bash", &["-c", "-lc"]);
}

#[test]
fn every_line_runs_in_dash() {
    every_line_runs_in("dash", &["-c", "-lc"]);
}

#[test]
fn every_line_runs_in_zsh() {
    every_line_runs_in("zsh", &["-c", "-lc"]);
}

#[test]
fn every_line_runs_in_fish() {
    every_line_runs_in("fish", &["-c", "-lc"]);
}

#[test]
fn every_line_runs_in_tcsh() {
    every_line_runs_in("tcsh", &["-c"]);
}

#[test]
fn every_line_runs_in_nushell() {
    every_line_runs_in("nu", &["-c", "-lc"]);
}

// row 29
#[test]
fn whoever_runs_the_daemon_is_the_operator_of_its_sessions_however_the_name_is_spelled() {
    let host = rustix::system::uname().nodename().to_string_lossy().split('.').next().unwrap().to_owned();
    for name in ["ana", "ana b", "a+b", "#1", "%41", "a&pid=1", "Jos\u{e9} M\u{fc}ller", "it's", "$(id)"] {
        let place = Place::new();
        let agent = Agent::new(&place, "HOME", "sh".into());
        let _daemon = agent.start(|command| {
            command.env("USER", name);
        });
        for heading in ["Claude Code", "Codex", "Gemini CLI", "Coming from marshal 0.9"] {
            let started = agent.run(&hook_lines(heading)["SessionStart"], "SessionStart");
            assert!(stdout(&started).contains("<marshal_session>"), "{name}: {started:?}");
            let sessions = agent.sessions();
            let [session] = sessions.as_slice() else { panic!("{name}: {sessions:?}") };
            assert_eq!((&session["operator"], &session["host"]["name"]), (&json!(name), &json!(host)), "{heading}");
            assert!(agent.run(&hook_lines(heading)["SessionEnd"], "SessionEnd").status.success());
        }
    }
    // An impossible name is left out and fails no hook.
    let place = Place::new();
    let agent = Agent::new(&place, "HOME", "sh".into());
    let _daemon = agent.start(|command| {
        command.env("USER", "a\nb");
    });
    let started = agent.run(&hook_lines("Claude Code")["SessionStart"], "SessionStart");
    assert!(stdout(&started).contains("<marshal_session>"), "{started:?}");
    assert_eq!(agent.sessions()[0].get("operator"), None);
}

// row 29
#[test]
fn over_tcp_headers_say_whose_hook_it_is_as_it_stands() {
    let place = Place::new();
    let daemon = place.start_locked();
    let bearer = format!("Bearer {}", place.token());
    let said =
        [("Authorization", bearer.as_str()), ("Marshal-Operator", "ana b+c#%41"), ("Marshal-Host", "box.example")];
    let post = |path: &str, id: &str, headers: &[(&str, &str)]| {
        let body = json!({"session_id": id, "hook_event_name": "UserPromptSubmit"}).to_string();
        assert_eq!(support::post(daemon.hooks, path, headers, body.as_bytes()).status, 200);
    };
    post("/hook/claude", "header", &said);
    post("/hook/claude?operator=eve&host=other", "query", &said);
    post("/hook/claude", "silent", &said[..1]);
    post("/hook/claude", "empty", &[said[0], ("Marshal-Operator", ""), ("Marshal-Host", "")]);
    let all = request(daemon.hooks, "GET", "/v1/sessions", &said[..1], b"").json();
    let of = |id: &str| {
        let found = all["sessions"].as_array().unwrap().iter().find(|session| session["sessionId"] == id).unwrap();
        (found["operator"].clone(), found["host"]["name"].clone())
    };
    assert_eq!(of("header"), (json!("ana b+c#%41"), json!("box")));
    assert_eq!(of("query"), (json!("eve"), json!("other")));
    for id in ["silent", "empty"] {
        assert_eq!(of(id), (Value::Null, Value::Null), "{id}: nobody knows who called");
    }
}

// row 30
#[test]
fn no_setting_of_curl_gets_between_an_agent_and_its_mail() {
    let place = Place::new();
    let agent = Agent::new(&place, "HOME", "sh".into());
    let settings =
        "include\nhttp2-prior-knowledge\nproxy = http://127.0.0.1:1\nwrite-out = LEAKED\nverbose\nrequest = GET\n";
    std::fs::write(agent.home.join(".curlrc"), settings).unwrap();
    for (heading, prompt, silence, _) in SECTIONS {
        agent.lives(&hook_lines(heading), prompt, silence, heading);
    }
}

// row 28
#[test]
fn the_page_says_from_which_version_on_an_event_may_stand_in_the_file() {
    /// The events of versions that refuse a file with an unknown one, from their own error message.
    const OLD: [&str; 12] = [
        "PreToolUse",
        "PostToolUse",
        "PostToolUseFailure",
        "Notification",
        "UserPromptSubmit",
        "SessionStart",
        "SessionEnd",
        "Stop",
        "SubagentStart",
        "SubagentStop",
        "PreCompact",
        "PermissionRequest",
    ];
    let text = section("Claude Code");
    assert!(text.contains("older than 2.1.101 skips the whole file"));
    let row_of = |event: &str| text.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{event}`")));
    for event in hook_lines("Claude Code").into_keys() {
        let row = row_of(&event).unwrap_or_else(|| panic!("{event} is not explained"));
        let since = row.split('|').nth(2).unwrap().trim();
        assert_eq!(since.is_empty(), OLD.contains(&event.as_str()), "{row}");
        let parts: Vec<&str> = since.split('.').filter(|part| !part.is_empty()).collect();
        assert!(
            parts.is_empty() || (parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())),
            "{row}"
        );
    }
    let others: Vec<String> =
        ["Codex", "Gemini CLI"].into_iter().flat_map(|heading| hook_lines(heading).into_keys()).collect();
    assert!(!others.contains(&"PostToolBatch".to_owned()), "an event of Claude Code alone");
}

//! Real agents: where they are, their fresh homes, and the little of an environment that they get. They have no network:
//! their model is on loopback and their proxies are a port where nobody listens.

use super::support::Place;
use super::support::skip::skipped;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

const README: &str = include_str!("../../README.md");

/// A made-up key. Claude Code asks about keys that it has not seen, by their last 20 characters.
const KEY: &str = "sk-ant-made-up-key-of-a-test-00000000000";

/// The programs: those that `scripts/agents` has installed. `None`, and a word about it, where there are none.
pub fn installed(name: &str) -> Option<PathBuf> {
    let place = std::env::var_os("MARSHAL_AGENTS").map(PathBuf::from);
    let place =
        place.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("agents-2026-12"));
    let found = find(&place, name);
    if found.is_none() {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or(name).to_owned();
        skipped("agents", &format!("{test} (no {name} in {}: see scripts/agents)", place.display()));
    }
    found
}

/// The program itself, not npm's launcher, which would need a newer node than many machines have.
fn find(place: &Path, name: &str) -> Option<PathBuf> {
    let modules = place.join("node_modules");
    let (scope, package) = if name == "claude" { ("@anthropic-ai", "claude-code-") } else { ("@openai", "codex-") };
    let platform = entries(&modules.join(scope))
        .into_iter()
        .find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(package)))?;
    let mut candidates = vec![platform.join(name)];
    candidates.extend(entries(&platform.join("vendor")).iter().map(|vendor| vendor.join("bin").join(name)));
    candidates.into_iter().find(|path| path.is_file())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The hooks that the README has users of Claude Code paste, with the one that wakes an idle session.
pub fn claude_hooks() -> Value {
    let mut hooks = readme_json("### Claude Code");
    hooks["hooks"]["Stop"].as_array_mut().unwrap().push(readme_json("### Waking an idle session"));
    hooks
}

/// The hook of Claude Code that is a request of its own, to this address.
pub fn claude_request(address: SocketAddr) -> Value {
    let hook = readme_json("Hooks of the type `http`").to_string();
    serde_json::from_str(&hook.replace("127.0.0.1:6156", &address.to_string())).unwrap()
}

/// The hooks that the README has users of Codex paste.
pub fn codex_hooks() -> Value {
    readme_json("### Codex")
}

/// The first block of JSON in the README after these words: what users are told to paste is what is tried here.
fn readme_json(after: &str) -> Value {
    let rest = README.split_once(after).unwrap_or_else(|| panic!("the README does not say {after:?}")).1;
    let block = rest.split_once("```json\n").unwrap().1.split_once("```").unwrap().0;
    serde_json::from_str(block).unwrap()
}

/// Adds a hook of the test to those of the settings.
pub fn add_hook(settings: &mut Value, event: &str, hook: Value) {
    let groups = &mut settings["hooks"][event];
    if groups.is_null() {
        *groups = json!([]);
    }
    groups.as_array_mut().unwrap().push(json!({"hooks": [hook]}));
}

/// A fresh home with a project in it.
pub struct Home {
    home: PathBuf,
    pub project: PathBuf,
    state: PathBuf,
    more: Vec<(&'static str, String)>,
}

impl Home {
    pub fn new(place: &Place) -> Self {
        let home = place.dir.path().join("home");
        let project = home.join("api");
        std::fs::create_dir_all(&project).unwrap();
        Self { home, project, state: place.state(), more: Vec::new() }
    }

    /// Tells agents one thing more.
    pub fn add_variable(&mut self, name: &'static str, value: &str) {
        self.more.push((name, value.to_owned()));
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.home.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Settings of Claude Code with these hooks. The rest keeps it from asking people questions.
    pub fn claude(&self, hooks: &Value) {
        self.claude_that_may(hooks, &["Bash(*)"]);
    }

    /// The same, where it may use these tools alone without asking.
    pub fn claude_that_may(&self, hooks: &Value, allowed: &[&str]) {
        let mut settings = hooks.clone();
        // In its auto mode, which it offers at a turn's end, it would have each command judged by a server that is not there.
        settings["permissions"] = json!({"allow": allowed, "defaultMode": "default", "disableAutoMode": "disable"});
        self.write(".claude/settings.json", &settings.to_string());
        let approved = json!({"approved": [&KEY[KEY.len() - 20..]], "rejected": []});
        let project = self.project.to_str().unwrap();
        let known = json!({
            "hasCompletedOnboarding": true, "theme": "dark", "customApiKeyResponses": approved,
            "projects": {project: {"hasTrustDialogAccepted": true}},
        });
        self.write(".claude.json", &known.to_string());
    }

    /// Settings of Codex with these hooks and the scripted model for its own.
    pub fn codex(&self, hooks: &Value, model: SocketAddr) {
        self.write(".codex/hooks.json", &hooks.to_string());
        let project = self.project.display();
        let config = format!(
            "model = \"scripted\"\nmodel_provider = \"scripted\"\ncheck_for_update_on_startup = false\n\
             [model_providers.scripted]\nname = \"scripted\"\nbase_url = \"http://{model}/v1\"\nwire_api = \"responses\"\n\
             [analytics]\nenabled = false\n[projects.\"{project}\"]\ntrust_level = \"trusted\"\n"
        );
        self.write(".codex/config.toml", &config);
    }

    /// All that an agent is told of its surroundings.
    pub fn environment(&self, model: SocketAddr) -> Vec<(&'static str, String)> {
        let marshal = Path::new(env!("CARGO_BIN_EXE_marshal")).parent().unwrap();
        let dead = "http://127.0.0.1:9".to_owned();
        let mut all = vec![
            ("HOME", self.home.display().to_string()),
            ("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", marshal.display())),
            ("TERM", "xterm-256color".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("MARSHAL_STATE_DIR", self.state.display().to_string()),
            ("HTTP_PROXY", dead.clone()),
            ("HTTPS_PROXY", dead),
            ("NO_PROXY", "127.0.0.1,localhost".to_owned()),
            ("ANTHROPIC_BASE_URL", format!("http://{model}")),
            ("ANTHROPIC_API_KEY", KEY.to_owned()),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
            ("DISABLE_AUTOUPDATER", "1".to_owned()),
            // Claude Code lets root use it in a sandbox alone, which this is: an empty home and no network.
            ("IS_SANDBOX", "1".to_owned()),
        ];
        all.extend(self.more.iter().cloned());
        all
    }

    /// The server that Codex will start, and leave running.
    pub fn server(&self, program: &Path, model: SocketAddr) -> Server {
        let mut stop = Command::new(program);
        stop.args(["app-server", "daemon", "stop"]).env_clear().envs(self.environment(model));
        stop.stdout(Stdio::null()).stderr(Stdio::null());
        Server { stop, updater: self.home.join(".codex/app-server-daemon/daemon-updater.pid") }
    }

    /// Runs an agent without a terminal.
    pub fn run(&self, program: &Path, arguments: &[&str], model: SocketAddr) -> Agent {
        let said = std::fs::File::create(self.home.join("said")).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .current_dir(&self.project)
            .env_clear()
            .envs(self.environment(model))
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        Agent { child, said: self.home.join("said") }
    }
}

/// An agent without a terminal. What it said is shown if the test fails.
pub struct Agent {
    child: Child,
    said: PathBuf,
}

impl Agent {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
    }

    /// Its end, and what it has said.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, std::fs::read_to_string(&self.said).unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent said: {}", std::fs::read_to_string(&self.said).unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Codex's server, which is stopped when this is dropped, with the process beside it that would update it.
pub struct Server {
    stop: Command,
    updater: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.status();
        let updater: Value =
            serde_json::from_slice(&std::fs::read(&self.updater).unwrap_or_default()).unwrap_or_default();
        if let Some(pid) = updater["pid"].as_u64() {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
    }
}

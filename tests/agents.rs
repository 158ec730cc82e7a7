//! Real agents from npm on a real daemon: they come and go on the roster, and each message reaches their model exactly
//! once, by the hook lines of the README. `scripts/agents` installs them; where they are not, these tests say "SKIPPED".
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too
#![allow(unreachable_pub)] // as in the other harness

#[path = "agents/host.rs"]
mod host;
#[path = "agents/model.rs"]
mod model;
#[path = "agents/roster.rs"]
mod roster;
mod support;
#[path = "agents/terminal.rs"]
mod terminal;
#[path = "agents/wire.rs"]
mod wire;

use host::{Agent, Home};
use model::{Held, Model};
use roster::Roster;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use terminal::Terminal;

/// How long an agent may take for anything. It is only ever reached when something is broken.
const PATIENCE: Duration = Duration::from_secs(45);

/// A session id, for an agent that takes one.
const ID: &str = "5b0f8c7e-3d14-4a52-9b6f-0c1d2e3f4a5b";

/// An agent's surroundings.
struct Stage {
    program: PathBuf,
    model: Model,
    home: Home,
    roster: Roster,
}

impl Stage {
    /// None where the agent is not installed.
    fn for_agent(name: &str) -> Option<Self> {
        let program = host::installed(name)?;
        let roster = Roster::start();
        Some(Self { program, model: Model::start(roster.directory()), home: Home::new(&roster.place), roster })
    }

    /// A hook that does not end before the test lets it.
    fn hold(&self, name: &str) -> Value {
        json!({"type": "command", "command": self.model.hold(name)})
    }

    fn claude(&self, arguments: &[&str]) -> Agent {
        self.home.run(&self.program, arguments, self.model.address)
    }

    fn codex(&self, arguments: &[&str]) -> Agent {
        // The sandbox would keep the tools from the model, which holds them, and cannot be had in every container.
        let usual = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"];
        // Nobody is there to trust the hooks.
        let arguments = [&usual[..], &["--dangerously-bypass-hook-trust"], arguments].concat();
        self.home.run(&self.program, &arguments, self.model.address)
    }

    /// Codex's own way to give a session that idles a prompt. There is none by a hook.
    fn queue(&self, id: &str, text: &str) {
        let (status, said) =
            self.home.run(&self.program, &["queue", "--thread", id, "--message", text], self.model.address).wait();
        assert!(status.success(), "{said}");
    }

    /// What the session hears from the middle of a tool on, which is let go then: what is urgent after the tool, the rest when
    /// it would stop; and that it ends. Gives the ids of both.
    fn hears_until_its_end(&mut self, id: &str, tool: Held) -> [String; 2] {
        let robin = self.roster.send(&["--priority", "now"], id, "the robin sings");
        let wren = self.roster.send(&[], id, "the wren sings");
        drop(tool);
        let turn = self.model.turn();
        let counts = (turn.count("the robin sings"), turn.count("the wren sings"));
        assert_eq!(counts, (1, 0), "after the tool: {}", turn.body);
        turn.say("all done");
        let turn = self.model.turn();
        assert_eq!(turn.count("the wren sings"), 1, "when it would stop: {}", turn.body);
        turn.say("now all is done");
        assert_eq!(self.roster.goes(id), "ended");
        [robin, wren]
    }

    fn in_terminal(&self, arguments: &[&str]) -> Terminal {
        let program = [&[self.program.to_str().unwrap()], arguments].concat();
        let environment = self.home.environment(self.model.address);
        Terminal::run(self.roster.directory(), &self.home.project, &environment, &program)
    }
}

#[test]
fn claude_code_hears_at_every_point_of_a_turn() {
    let Some(mut stage) = Stage::for_agent("claude") else { return };
    let mut hooks = host::claude_hooks();
    host::add_hook(&mut hooks, "SessionStart", stage.hold("start"));
    stage.home.claude(&hooks);
    let agent = stage.claude(&["-p", "first prompt", "--session-id", ID]);
    let held = stage.model.held("start");
    let sessions = stage.roster.until("it is there", |sessions| sessions.contains_key(ID));
    assert_eq!(sessions[ID]["pid"], agent.pid(), "{sessions:?}");
    let lark = stage.roster.send(&[], ID, "the lark sings");
    drop(held);

    let turn = stage.model.turn();
    assert_eq!(turn.count("the lark sings"), 1, "with the prompt: {}", turn.body);
    turn.run(&format!("marshal send human:ana 'the swan answers' && {}", stage.model.hold("tool")));
    let held = stage.model.held("tool");
    stage.roster.until("it works", |sessions| sessions[ID]["state"] == "working" && sessions[ID]["tool"] == "Bash");
    let [robin, wren] = stage.hears_until_its_end(ID, held);
    let (status, said) = agent.wait();
    assert!(status.success() && said.contains("now all is done"), "{said}");
    stage.model.assert_once(&["the lark sings", "the robin sings", "the wren sings"]);
    stage.roster.assert_read(&[&lark, &robin, &wren]);
    let inbox = stage.roster.marshal(&["inbox", "--json", "--human", "ana"]);
    assert_eq!(inbox["messages"][0]["body"], "the swan answers");
    assert_eq!(inbox["messages"][0]["proof"], "process", "{inbox}");
}

#[test]
fn claude_code_that_is_resumed_hears_what_it_had_not_read() {
    let Some(mut stage) = Stage::for_agent("claude") else { return };
    stage.home.claude(&host::claude_hooks());
    let first = stage.claude(&["-p", "first prompt", "--session-id", ID]);
    let turn = stage.model.turn();
    let dove = stage.roster.send(&["--priority", "low"], ID, "the dove sings");
    turn.say("all done");
    assert_eq!(stage.roster.goes(ID), "ended");
    drop(first);
    assert_eq!(stage.roster.delivery(&dove)["state"], "queued");

    let second = stage.claude(&["-p", "second prompt", "--resume", ID]);
    let turn = stage.model.turn();
    assert_eq!(turn.count("the dove sings"), 1, "{}", turn.body);
    turn.say("all done");
    assert_eq!(stage.roster.goes(ID), "ended");
    drop(second);
    stage.model.assert_once(&["the dove sings"]);
    stage.roster.assert_read(&[&dove]);
}

/// Claude Code can make the requests itself, but for the first: there is no hook of that kind when a session starts.
#[test]
fn claude_code_hears_by_hooks_that_are_requests() {
    let Some(mut stage) = Stage::for_agent("claude") else { return };
    let mut hooks = host::claude_hooks();
    let request = host::claude_request(stage.roster.address());
    for (event, groups) in hooks["hooks"].as_object_mut().unwrap() {
        if event != "SessionStart" {
            *groups = json!([{"hooks": [request]}]);
        }
    }
    stage.home.claude(&hooks);
    stage.home.add_variable("MARSHAL_TOKEN", &stage.roster.place.token());
    let agent = stage.claude(&["-p", "first prompt", "--session-id", ID]);
    let turn = stage.model.turn();
    turn.run(&stage.model.hold("tool"));
    let held = stage.model.held("tool");
    let [robin, wren] = stage.hears_until_its_end(ID, held);
    drop(agent);
    stage.model.assert_once(&["the robin sings", "the wren sings"]);
    stage.roster.assert_read(&[&robin, &wren]);
}

#[test]
fn claude_code_that_is_killed_is_gone() {
    let Some(mut stage) = Stage::for_agent("claude") else { return };
    stage.home.claude(&host::claude_hooks());
    let agent = stage.claude(&["-p", "first prompt", "--session-id", ID]);
    let _turn = stage.model.turn();
    agent.kill();
    assert_eq!(stage.roster.goes(ID), "process_died");
}

#[test]
fn claude_code_that_idles_is_woken() {
    let Some(mut stage) = Stage::for_agent("claude").filter(|_| terminal::is_there()) else { return };
    stage.home.claude(&host::claude_hooks());
    let terminal = stage.in_terminal(&["first prompt"]);
    let turn = stage.model.turn();
    let id = stage.roster.comes();
    turn.say("all done");
    stage.roster.can_be_woken(&id);
    let owl = stage.roster.send(&["--priority", "now"], &id, "the owl sings");
    let turn = stage.model.turn();
    assert_eq!(turn.count("the owl sings"), 1, "woken: {}", turn.body);
    turn.say("thanks to the owl");

    // Somebody waits again at each end of a turn. What is not urgent wakes nobody, and comes with what does.
    stage.roster.can_be_woken(&id);
    stage.roster.assert_read(&[&owl]);
    let lark = stage.roster.send(&[], &id, "the lark sings");
    assert_eq!(stage.roster.delivery(&lark)["reason"], "between_turns");
    let rook = stage.roster.send(&["--priority", "now"], &id, "the rook sings");
    let turn = stage.model.turn();
    assert_eq!((turn.count("the rook sings"), turn.count("the lark sings")), (1, 1), "{}", turn.body);
    turn.say("thanks to the rook");

    // Somebody who waits since an earlier turn takes nothing from this one.
    terminal.until("thanks to the rook");
    terminal.type_line("second prompt");
    stage.model.turn().run(&stage.model.hold("tool"));
    let held = stage.model.held("tool");
    let finch = stage.roster.send(&["--priority", "now"], &id, "the finch sings");
    drop(held);
    let turn = stage.model.turn();
    assert_eq!(turn.count("the finch sings"), 1, "after the tool: {}", turn.body);
    turn.say("thanks to the finch");

    terminal.until("thanks to the finch");
    terminal.type_line("/exit");
    assert_eq!(stage.roster.goes(&id), "ended");
    stage.model.assert_once(&["the owl sings", "the lark sings", "the rook sings", "the finch sings"]);
    stage.roster.assert_read(&[&owl, &lark, &rook, &finch]);
}

#[test]
fn claude_code_is_not_woken_by_the_end_of_the_daemon_but_by_the_next_one() {
    let Some(mut stage) = Stage::for_agent("claude").filter(|_| terminal::is_there()) else { return };
    stage.home.claude(&host::claude_hooks());
    let _terminal = stage.in_terminal(&["first prompt"]);
    let turn = stage.model.turn();
    let id = stage.roster.comes();
    turn.say("all done");
    stage.roster.can_be_woken(&id);
    stage.roster = stage.roster.killed_and_started_again();
    stage.roster.can_be_woken(&id);
    assert_eq!(stage.model.conversations().len(), 1, "it idles");
    let owl = stage.roster.send(&["--priority", "now"], &id, "the owl sings");
    let turn = stage.model.turn();
    assert_eq!(turn.count("the owl sings"), 1, "{}", turn.body);
    turn.say("thanks to the owl");
    stage.roster.can_be_woken(&id);
    stage.model.assert_once(&["the owl sings"]);
    stage.roster.assert_read(&[&owl]);
}

#[test]
fn claude_code_that_asks_for_permission_waits_for_its_human() {
    let Some(mut stage) = Stage::for_agent("claude").filter(|_| terminal::is_there()) else { return };
    stage.home.claude_that_may(&host::claude_hooks(), &[]);
    let terminal = stage.in_terminal(&["first prompt"]);
    let turn = stage.model.turn();
    let id = stage.roster.comes();
    turn.run("touch asked-for");
    let sessions = stage.roster.until("it waits", |sessions| sessions[&id]["state"] == "waiting");
    assert_eq!(sessions[&id]["waitingFor"], "permission: Bash", "{sessions:?}");
    terminal.press("Enter");
    let turn = stage.model.turn();
    stage.roster.until("it works", |sessions| sessions[&id]["state"] == "working");
    turn.say("all done");
    stage.roster.can_be_woken(&id);
}

/// row 11: no hook tells that its user broke the turn off.
#[test]
fn claude_code_whose_user_presses_esc_in_a_tool_hears_what_is_urgent() {
    let Some(mut stage) = Stage::for_agent("claude").filter(|_| terminal::is_there()) else { return };
    stage.home.claude(&host::claude_hooks());
    let terminal = stage.in_terminal(&["first prompt"]);
    let turn = stage.model.turn();
    let id = stage.roster.comes();
    turn.say("all done");
    stage.roster.can_be_woken(&id);
    terminal.until("all done");
    terminal.type_line("second prompt");
    stage.model.turn().run(&stage.model.hold("tool"));
    let _held = stage.model.held("tool");
    stage.roster.until("it works", |sessions| sessions[&id]["state"] == "working" && sessions[&id]["tool"] == "Bash");
    terminal.press("Escape");
    terminal.until("Interrupted");
    let owl = stage.roster.send(&["--priority", "now"], &id, "the owl sings");
    let turn = stage.model.turn();
    assert_eq!(turn.count("the owl sings"), 1, "woken: {}", turn.body);
    turn.say("thanks to the owl");
    stage.roster.can_be_woken(&id);
    stage.model.assert_once(&["the owl sings"]);
    stage.roster.assert_read(&[&owl]);
}

/// row 23: a dialog is left in the same way.
#[test]
fn claude_code_whose_user_leaves_a_dialog_waits_no_more() {
    let Some(mut stage) = Stage::for_agent("claude").filter(|_| terminal::is_there()) else { return };
    stage.home.claude_that_may(&host::claude_hooks(), &[]);
    let terminal = stage.in_terminal(&["first prompt"]);
    let turn = stage.model.turn();
    let id = stage.roster.comes();
    turn.run("touch asked-for");
    stage.roster.until("it waits", |sessions| sessions[&id]["state"] == "waiting");
    terminal.press("Escape");
    let is_over = |session: &Value| session["state"] == "idle" && session["stateBy"] == "seen";
    stage.roster.until("its end is seen", |sessions| is_over(&sessions[&id]));
}

/// row 11: what a long tool looks like.
#[test]
fn claude_code_in_a_long_tool_is_seen_to_work() {
    let Some(mut stage) = Stage::for_agent("claude").filter(|_| terminal::is_there()) else { return };
    stage.home.claude(&host::claude_hooks());
    let _terminal = stage.in_terminal(&["first prompt"]);
    let turn = stage.model.turn();
    let id = stage.roster.comes();
    turn.run(&stage.model.hold("tool"));
    let held = stage.model.held("tool");
    // After half a minute without a hook.
    stage.roster.until("it is seen", |sessions| sessions[&id]["stateBy"] == "seen");
    assert_eq!(stage.roster.sessions()[&id]["state"], "working");
    drop(held);
    stage.model.turn().say("all done");
    stage.roster.can_be_woken(&id);
}

#[test]
fn codex_hears_at_every_point_of_a_turn() {
    let Some(mut stage) = Stage::for_agent("codex") else { return };
    let mut hooks = host::codex_hooks();
    host::add_hook(&mut hooks, "SessionStart", stage.hold("start"));
    stage.home.codex(&hooks, stage.model.address);
    let agent = stage.codex(&["first prompt"]);
    let held = stage.model.held("start");
    let id = stage.roster.comes();
    let lark = stage.roster.send(&[], &id, "the lark sings");
    drop(held);

    let turn = stage.model.turn();
    assert_eq!(turn.count("the lark sings"), 1, "with the prompt: {}", turn.body);
    turn.run(&stage.model.hold("tool"));
    let held = stage.model.held("tool");
    let [robin, wren] = stage.hears_until_its_end(&id, held);
    let (status, said) = agent.wait();
    assert!(status.success(), "{said}");
    stage.model.assert_once(&["the lark sings", "the robin sings", "the wren sings"]);
    stage.roster.assert_read(&[&lark, &robin, &wren]);
}

/// A person answers Codex's question whether to trust the hooks, and the first turn begins.
fn trusts_hooks(terminal: &Terminal) {
    terminal.until("2. Trust all and continue");
    terminal.press_until("Down", "› 2. Trust all and continue");
    terminal.press("Enter");
}

#[test]
fn codex_in_a_terminal_hears_when_it_is_woken() {
    let Some(mut stage) = Stage::for_agent("codex").filter(|_| terminal::is_there()) else { return };
    stage.home.codex(&host::codex_hooks(), stage.model.address);
    let terminal = stage.in_terminal(&["--disable", "daemon_auto_start", "first prompt"]);
    trusts_hooks(&terminal);
    let turn = stage.model.turn();
    let id = stage.roster.comes();
    turn.say("all done");
    stage.roster.send(&[], &id, "the lark sings");
    stage.queue(&id, "you have mail");
    let turn = stage.model.turn();
    assert_eq!(turn.count("the lark sings"), 1, "{}", turn.body);
    turn.say("thank you");
    terminal.until("thank you");
    terminal.type_line("/exit");
    assert_eq!(stage.roster.goes(&id), "ended");
    stage.model.assert_once(&["the lark sings"]);
}

/// Where Codex runs the sessions of all terminals in a server of its own, as it does if nobody says otherwise, a session is
/// there until that server ends: it takes prompts without its terminal, and Codex tells its hooks of no end.
#[test]
fn codex_with_its_server_outlives_its_terminal() {
    let Some(mut stage) = Stage::for_agent("codex").filter(|_| terminal::is_there()) else { return };
    stage.home.codex(&host::codex_hooks(), stage.model.address);
    let server = stage.home.server(&stage.program, stage.model.address);
    let terminal = stage.in_terminal(&["first prompt"]);
    trusts_hooks(&terminal);
    let turn = stage.model.turn();
    let id = stage.roster.comes();
    turn.say("all done");
    terminal.until("all done");
    terminal.type_line("/exit");
    terminal.ends();
    stage.roster.send(&[], &id, "the lark sings");
    stage.queue(&id, "you have mail");
    let turn = stage.model.turn();
    assert_eq!(turn.count("the lark sings"), 1, "{}", turn.body);
    turn.say("thank you");
    drop(server);
    assert_eq!(stage.roster.goes(&id), "ended");
    stage.model.assert_once(&["the lark sings"]);
}

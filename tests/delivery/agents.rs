//! An agent as its hooks show it: turns, tools, and all the ways in which it can fail. What an answer brings is before its
//! model only when the model is called; an agent that dies before has not read it.

use crate::support::mortal::messages_in;
use crate::support::seeded::Random;
use crate::talk::{Manners, Talk};
use crate::{Shared, name};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Erased prompts in a row; after more of them the daemon takes a session's hooks not to report ends of turns.
const ERASED_IN_A_ROW_MAX: u32 = 4;
/// Tools in one step: they begin and end without a call of the model between them.
const TOOLS_IN_A_STEP_MAX: usize = 3;

pub struct Agent {
    shared: Shared,
    id: String,
    talk: Talk,
    random: Random,
    /// What was taken and is not yet before the model.
    taken: Vec<String>,
    turn: usize,
    /// Prompts in a row that were erased.
    erased: u32,
    /// Whether its hooks report the end of a step.
    reports_steps: bool,
    /// How often a hook may prolong one turn; after that the agent ends the turn, whatever the hook says.
    blocks_max: usize,
    /// The process that it lives in.
    process: Process,
}

/// A process of which nothing is wanted but that it is there. It ends with this.
struct Process(Child);

impl Process {
    fn begin() -> Self {
        Self(Command::new("sleep").arg("3600").stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The agent is no more: killed, or its terminal closed.
struct Crashed;

impl Agent {
    pub fn new(shared: Shared, number: usize, random: Random) -> Self {
        let talk = Talk::new(shared.socket.clone());
        Self {
            shared,
            id: name(number),
            talk,
            random,
            taken: Vec::new(),
            turn: 0,
            erased: 0,
            reports_steps: !number.is_multiple_of(3),
            blocks_max: 1 + number % 4,
            process: Process::begin(),
        }
    }

    /// Life after life, until nothing is left to read.
    pub fn live(&mut self) {
        let mut source = "startup";
        while !self.is_calm() {
            self.begin_anew();
            if self.life(source).is_ok() {
                self.event("SessionEnd", json!({"reason": "other"}));
            }
            source = "resume";
        }
        self.begin_anew();
        self.event("SessionStart", json!({"source": "resume"}));
        let mut quiet = 0;
        let end = Instant::now() + Duration::from_secs(120);
        while quiet < 3 {
            assert!(Instant::now() < end, "{} gets mail for ever", self.id);
            quiet = if self.turn().is_ok_and(|got| got == 0) { quiet + 1 } else { 0 };
        }
        self.shared.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Another process, which knows nothing of what was taken in the one before.
    fn begin_anew(&mut self) {
        self.process = Process::begin();
        self.taken.clear();
    }

    fn is_calm(&self) -> bool {
        self.shared.calm.load(Ordering::Relaxed)
    }

    fn life(&mut self, source: &str) -> Result<(), Crashed> {
        self.event("SessionStart", json!({"source": source}));
        for _ in 0..1 + self.random.below(8) {
            self.turn()?;
        }
        Ok(())
    }

    /// One turn; says how many messages it brought.
    fn turn(&mut self) -> Result<usize, Crashed> {
        self.turn += 1;
        let before = self.taken.len();
        let mut got = self.event("UserPromptSubmit", json!({"prompt": "go on", "prompt_id": self.turn.to_string()}));
        if !self.is_calm() && self.erased < ERASED_IN_A_ROW_MAX && self.random.below(10) == 0 {
            // row 2: another hook blocks the prompt. The agent erases it, with all that came with it.
            self.erased += 1;
            self.tell("erases its prompt".to_owned());
            self.taken.truncate(before);
            return Ok(0);
        }
        self.erased = 0;
        self.call_model()?;
        for _ in 0..self.random.below(3) {
            got += self.step()?;
            self.call_model()?;
        }
        for blocks in 0.. {
            let before = self.taken.len();
            let more = self.event("Stop", json!({"stop_hook_active": blocks > 0}));
            got += more;
            if more == 0 {
                break;
            }
            if blocks == self.blocks_max && !self.is_calm() {
                // row 1: the answer to the turn's end is dropped.
                self.tell("ends its turn in spite of a hook".to_owned());
                self.taken.truncate(before);
                break;
            }
            self.call_model()?;
        }
        Ok(got)
    }

    /// The tools of one step, in the midst of which the agent can die.
    fn step(&mut self) -> Result<usize, Crashed> {
        let mut got = 0;
        for _ in 0..=self.random.below(TOOLS_IN_A_STEP_MAX) {
            let tool = json!({"tool_name": "Bash", "tool_input": {}, "tool_use_id": "t"});
            got += self.event("PreToolUse", tool.clone());
            got += self.event("PostToolUse", tool);
            self.may_die()?;
        }
        if self.reports_steps {
            got += self.event("PostToolBatch", json!({"tool_calls": []}));
        }
        Ok(got)
    }

    /// The model is given what was taken, or the agent dies before that.
    fn call_model(&mut self) -> Result<(), Crashed> {
        self.may_die()?;
        let mut models = self.shared.models.lock().unwrap();
        for message in self.taken.drain(..) {
            models.give(&self.id, message);
        }
        Ok(())
    }

    fn may_die(&mut self) -> Result<(), Crashed> {
        if !self.is_calm() && self.random.below(25) == 0 {
            self.tell("dies".to_owned());
            return Err(Crashed);
        }
        Ok(())
    }

    fn tell(&self, what: String) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        self.shared.models.lock().unwrap().tell(&self.id, format!("{now} {what}"));
    }

    /// One hook. Says how many messages it brought.
    fn event(&mut self, event: &str, mut facts: Value) -> usize {
        let manners = match self.random.below(40) {
            _ if self.is_calm() => Manners::Reads,
            0 | 1 => Manners::HangsUp(1 + self.random.below(4000)),
            2 => Manners::Hangs,
            _ => Manners::Reads,
        };
        facts["session_id"] = self.id.as_str().into();
        facts["hook_event_name"] = event.into();
        facts["cwd"] = "/w/agents".into();
        self.tell(format!("{event} {manners:?}"));
        let answer =
            self.talk.ask("POST", &format!("/hook/claude?pid={}", self.process.0.id()), &facts.to_string(), manners);
        self.tell(format!("answer: {:?}", answer.as_ref().map(|answer| answer.body.len())));
        let Some(answer) = answer else { return 0 };
        assert_eq!(answer.status, 200, "{event}: {answer:?}");
        if answer.body.is_empty() {
            return 0;
        }
        let said = answer.json();
        // row 1: a version before 2.1.163 takes nothing at a turn's end but a decision.
        let text = match event {
            "Stop" => &said["reason"],
            // Versions of Claude Code drop what the hook of a start says.
            "SessionStart" => &Value::Null,
            _ => &said["hookSpecificOutput"]["additionalContext"],
        };
        let messages = messages_in(text.as_str().unwrap_or_default());
        self.taken.extend(messages.iter().map(|(id, _)| id.clone()));
        self.tell(format!("takes {messages:?}"));
        messages.len()
    }
}

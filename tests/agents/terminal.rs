//! A terminal for an agent that wants one: tmux with a server of its own. The screen is looked at whenever the agent has
//! written to it.

use super::PATIENCE;
use super::support::skip::has_program;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Whether there is a tmux; if not, a word about it.
pub fn is_there() -> bool {
    has_program("tmux", "agents in a terminal")
}

pub struct Terminal {
    socket: PathBuf,
    written: Receiver<()>,
}

impl Terminal {
    /// Runs a program with this environment, and no more, in `directory`.
    pub fn run(place: &Path, directory: &Path, environment: &[(&str, String)], program: &[&str]) -> Self {
        let (written, terminal) = channel();
        let terminal = Self { socket: place.join("tmux"), written: terminal };
        let fifo = place.join("written");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        // The shell in between lets the program wait until its output is heard.
        let hold = "read -r _ && exec \"$@\"";
        let mut command = terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "160", "-y", "45", "-c"]);
        command.arg(directory).args(["env", "-i"]);
        command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.args(["sh", "-c", hold, "sh"]).args(program);
        assert!(command.status().unwrap().success());
        let pipe = format!("exec cat >'{}'", fifo.display());
        assert!(terminal.tmux(&["pipe-pane", "-O", &pipe]).status().unwrap().success());
        let hear = move || {
            let mut pipe = std::fs::File::open(fifo).unwrap();
            let mut bytes = [0; 65536];
            while pipe.read(&mut bytes).is_ok_and(|count| count > 0) && written.send(()).is_ok() {}
        };
        Builder::new().name("terminal".to_owned()).spawn(hear).unwrap();
        terminal.press("Enter");
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8").env("TERM", "xterm");
        command.arg("-S").arg(&self.socket).args(arguments);
        command
    }

    pub fn press(&self, key: &str) {
        assert!(self.tmux(&["send-keys", key]).status().unwrap().success());
    }

    /// Types a line as a person does, who sees it before pressing the key that ends it.
    pub fn type_line(&self, line: &str) {
        assert!(self.tmux(&["send-keys", "-l", line]).status().unwrap().success());
        self.until(line);
        self.press("Enter");
    }

    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).output().unwrap().stdout).into_owned()
    }

    /// Waits until the screen shows a text.
    pub fn until(&self, text: &str) {
        assert!(self.shows(text, PATIENCE), "no {text:?} on the screen");
    }

    /// Presses a key until the screen shows a text: a program that has just started may throw away what was typed before
    /// it listens, as if to say that nobody can have read the question yet.
    pub fn press_until(&self, key: &str, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.shows(text, Duration::from_secs(1)) {
            assert!(Instant::now() < end, "no {text:?} on the screen");
            self.press(key);
        }
    }

    /// Waits until the program has ended, and the terminal with it.
    pub fn ends(&self) {
        let end = Instant::now() + PATIENCE;
        while self.written.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok() {}
        assert!(Instant::now() < end, "it does not end");
    }

    fn shows(&self, text: &str, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while !self.screen().contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            if self.written.recv_timeout(left).is_err() {
                return false;
            }
        }
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the screen:\n{}", self.screen());
        }
        let _ = self.tmux(&["kill-server"]).stderr(Stdio::null()).status();
    }
}

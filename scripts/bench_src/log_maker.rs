//! Logs in marshal 0.9's format, made from a seed: a long one in which sessions work, talk, read, come and go for as
//! long as wanted, and one in which nothing but living rows stands.

use marshal::ids::{IdSource, SeededIds};
use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const SESSIONS: usize = 2000;
/// Stored messages of the long log; the oldest goes when another one comes.
const MESSAGES: usize = 5000;
const STARTED_AT: u64 = 1_795_219_674_510;
const PROJECTS: usize = 40;
const TOOLS: [&str; 5] = ["Bash", "Edit", "Read", "send_message", "ack_messages"];
const BODIES: [&str; 4] = [
    "hello",
    "Please look at the failing test before you go on; I have changed the format.",
    "The build is red:\\n\\terror[E0308]: mismatched types\\n\\t  --> src/main.rs:10:5\\nDo you \\\"own\\\" that file?",
    "I take `parser.rs` and the fuzz corpus, you take the rest. Tell me when the lexer is done \u{2014} I shall rebase then, \
     and please do not touch the generated tables meanwhile: they are rebuilt by a script and the diff is large.",
];

struct Session {
    id: String,
    client: String,
    number: usize,
}

struct Message {
    id: String,
    /// The item, as the delete repeats it.
    item: String,
    readers: Vec<usize>,
}

struct Maker<W> {
    out: W,
    ids: SeededIds,
    now: u64,
    bytes: u64,
    sessions: Vec<Session>,
    messages: VecDeque<Message>,
}

/// Writes a log of at least `bytes` bytes, of which a few thousand rows live.
pub(crate) fn write_history(path: &Path, bytes: u64) -> io::Result<()> {
    let mut maker = Maker::new(BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?));
    maker.common_rooms()?;
    for number in 0..SESSIONS {
        maker.come(number, number)?;
    }
    while maker.bytes < bytes {
        maker.step()?;
    }
    maker.out.flush()
}

/// Writes a log in which every line is a living row: sessions with their memberships, and messages, of which three out
/// of four have a receipt. Says how many rows.
pub(crate) fn write_living(path: &Path, sessions: usize, messages: usize) -> io::Result<usize> {
    let mut maker = Maker::new(BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?));
    maker.common_rooms()?;
    for number in 0..sessions {
        maker.come(number, number)?;
    }
    for number in 0..messages {
        let to = maker.send(false)?;
        if number % 4 > 0 {
            maker.read(maker.messages.len() - 1, to)?;
        }
    }
    maker.out.flush()?;
    let receipts: usize = maker.messages.iter().map(|message| message.readers.len()).sum();
    Ok(2 + PROJECTS.min(sessions) + sessions * 4 + messages + receipts)
}

impl<W: Write> Maker<W> {
    fn new(out: W) -> Self {
        let (sessions, messages) = (Vec::new(), VecDeque::new());
        Self { out, ids: SeededIds::new(9), now: STARTED_AT, bytes: 0, sessions, messages }
    }

    fn pick(&mut self, below: usize) -> usize {
        (self.ids.next_number() % below as u64) as usize
    }

    fn line(&mut self, change_type: &str, item_type: &str, item: &str) -> io::Result<()> {
        self.now += 3;
        let (tx, ms) = (self.ids.new_id(), self.now % 1000);
        let line = format!(
            r#"{{"item":{item},"changeType":"{change_type}","itemType":"{item_type}","createdAt":"2026-11-21T00:07:54.{ms:03}357005+00:00","tx":"{tx}","sourceId":"7ab05961-1341-4fb8-8c85-6cd58b8f6a0b"}}"#
        );
        self.bytes += line.len() as u64 + 1;
        self.out.write_all(line.as_bytes())?;
        self.out.write_all(b"\n")
    }

    fn common_rooms(&mut self) -> io::Result<()> {
        self.room("everyone", r#"{"anchor":"everyone"}"#)?;
        self.room("host:vm", r#"{"anchor":"host","name":"vm"}"#)
    }

    fn room(&mut self, id: &str, source: &str) -> io::Result<()> {
        let at = self.now;
        let kind = format!(r#"{{"kind":"auto","source":{source}}}"#);
        self.line("SET", "Room", &format!(r#"{{"createdAt":{at},"id":"{id}","kind":{kind},"name":"{id}"}}"#))
    }

    fn session_item(&mut self, at: usize) -> String {
        let (tool, task) = (TOOLS[self.pick(TOOLS.len())], self.pick(500));
        let Session { id, client, number } = &self.sessions[at];
        let (now, project) = (self.now, number % PROJECTS);
        format!(
            r#"{{"clientId":"{client}","connectedAt":{STARTED_AT},"currentTask":"step {task} of the plan","cwd":"/home/alice/project-{project}","gitBranch":"main","host":{{"arch":"x86_64","name":"vm","os":"linux"}},"id":"{id}","lastActivityAt":{now},"lastTool":"{tool}","lastToolAt":{now},"nickname":"project-{project}-{number}","operator":"alice","pid":{number},"project":"project-{project}"}}"#
        )
    }

    fn members(&mut self, change_type: &str, at: usize) -> io::Result<()> {
        let Session { id, number, .. } = &self.sessions[at];
        let (id, project) = (id.clone(), format!("project:project-{}", number % PROJECTS));
        for room in ["everyone", "host:vm", &project] {
            let now = self.now;
            let item = format!(r#"{{"id":"{room}::{id}","joinedAt":{now},"roomId":"{room}","sessionId":"{id}"}}"#);
            self.line(change_type, "RoomMember", &item)?;
        }
        Ok(())
    }

    /// A session begins, in the place `at` of those that there are.
    fn come(&mut self, at: usize, number: usize) -> io::Result<()> {
        if number < PROJECTS {
            let name = format!("project-{number}");
            self.room(&format!("project:{name}"), &format!(r#"{{"anchor":"project","basename":"{name}"}}"#))?;
        }
        let session = Session { id: self.ids.new_id(), client: self.ids.new_id(), number };
        if at < self.sessions.len() {
            self.sessions[at] = session
        } else {
            self.sessions.push(session)
        }
        let item = self.session_item(at);
        self.line("SET", "Session", &item)?;
        self.members("SET", at)
    }

    fn go(&mut self, at: usize) -> io::Result<()> {
        self.members("DEL", at)?;
        let item = self.session_item(at);
        self.line("DEL", "Session", &item)
    }

    /// A session sends a message. Says to whom.
    fn send(&mut self, drop_oldest: bool) -> io::Result<usize> {
        let (from, to, body) = (self.pick(self.sessions.len()), self.pick(self.sessions.len()), BODIES[self.pick(4)]);
        let (id, now) = (self.ids.new_id(), self.now);
        let (sender, reader) = (&self.sessions[from], &self.sessions[to]);
        let nick = |session: &Session| format!("project-{}-{}", session.number % PROJECTS, session.number);
        let item = format!(
            r#"{{"body":"{body}","fromNick":"{}","fromSessionId":"{}","id":"{id}","sentAt":{now},"toNick":"{}","toSessionId":"{}"}}"#,
            nick(sender),
            sender.id,
            nick(reader),
            reader.id,
        );
        self.line("SET", "Message", &item)?;
        self.messages.push_back(Message { id, item, readers: Vec::new() });
        if drop_oldest
            && self.messages.len() > MESSAGES
            && let Some(oldest) = self.messages.pop_front()
        {
            for reader in &oldest.readers {
                let item = self.receipt(&oldest.id, *reader);
                self.line("DEL", "MessageRead", &item)?;
            }
            self.line("DEL", "Message", &oldest.item)?;
        }
        Ok(to)
    }

    fn receipt(&self, message: &str, reader: usize) -> String {
        let (reader, now) = (&self.sessions[reader].id, self.now);
        format!(r#"{{"id":"{message}::{reader}","messageId":"{message}","readAt":{now},"sessionId":"{reader}"}}"#)
    }

    fn read(&mut self, message: usize, reader: usize) -> io::Result<()> {
        if self.messages[message].readers.contains(&reader) {
            return Ok(());
        }
        let item = self.receipt(&self.messages[message].id, reader);
        self.messages[message].readers.push(reader);
        self.line("SET", "MessageRead", &item)
    }

    /// What happens next: mostly, that somebody does something.
    fn step(&mut self) -> io::Result<()> {
        let at = self.pick(self.sessions.len());
        match self.pick(100) {
            0..3 => {
                self.go(at)?;
                let number = self.sessions[at].number + SESSIONS;
                self.come(at, number)
            }
            3..20 => self.send(true).map(drop),
            20..35 if !self.messages.is_empty() => {
                let message = self.pick(self.messages.len());
                self.read(message, at)
            }
            _ => {
                let item = self.session_item(at);
                self.line("SET", "Session", &item)
            }
        }
    }
}

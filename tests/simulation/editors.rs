//! Somebody else who has the log open: appends whole lines, halves and garbage, item types of the future, puts another
//! file in its place, writes it anew in place, cuts it, removes it, and goes on writing to a file that was replaced.

use super::clients::Clients;
use super::facts::Fate;
use super::observer::Observer;
use super::random::Random;
use super::rows::{LogLine, lines, read_line};
use super::sim_disk::{SimDisk, State};
use marshal::event_log::LOG_NAME;
use serde_json::{Value, json};

/// Rows that outsiders delete; the first has nothing that hangs on it.
const DELETED: [(&str, &str); 5] =
    [("RoomMember", "room-1::h1"), ("Session", "x0"), ("Session", "h2"), ("Room", "room-0"), ("Session", "s1")];
/// Whether they delete the others too.
const DELETES_PARENTS: bool = false;

pub struct Editor {
    random: Random,
    /// A file that it has open.
    open: Option<usize>,
    numbers: u64,
    /// The last append did not end its line, and its writer may go on.
    half: Option<String>,
    /// Whole lines, each with its newline, that must stay once they are on the platter.
    pub lines: Vec<Vec<u8>>,
    /// Messages that the daemon must have read once it has read everything.
    expected: Vec<u64>,
}

impl Editor {
    pub fn new(seed: u64) -> Self {
        let random = Random::new(seed);
        Self { random, open: None, numbers: 0, half: None, lines: Vec::new(), expected: Vec::new() }
    }

    pub fn begin_life(&mut self) {
        self.open = None;
        self.half = None;
        self.lines.clear();
        self.expected.clear();
    }

    /// The daemon has read everything: gives the messages that it must know by now.
    pub fn take_expected(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.expected)
    }

    /// Before a turn.
    pub fn act(&mut self, disk: &SimDisk, observer: &mut Observer, clients: &mut Clients) {
        match self.random.below(20) {
            0..9 => self.append(disk, observer, clients),
            9..12 => self.half(disk, observer, clients),
            12 | 13 => self.race(disk, observer, clients),
            14 => self.open = disk.state().names.get(LOG_NAME).copied(),
            15 | 16 => self.append_to_open(disk, observer, clients),
            _ => self.destroy(disk, observer),
        }
    }

    fn set(item_type: &str, item: &Value) -> String {
        format!("{}\n", json!({"item": item, "changeType": "SET", "itemType": item_type}))
    }

    /// Some whole line, and whether it is a message.
    fn line(&mut self, observer: &mut Observer, clients: &mut Clients) -> (String, Option<u64>) {
        self.numbers += 1;
        let (number, now) = (self.numbers, observer.now.wall_ms);
        match self.random.below(12) {
            0..4 => {
                let message = clients.next_message(observer);
                let item = json!({"body": format!("m{message:06} by an outsider"), "fromNick": "x", "fromSessionId": "x",
                    "id": format!("x{message}"), "sentAt": now, "toNick": "h1", "toSessionId": "h1", "future": 1});
                (Self::set("Message", &item), Some(message))
            }
            4 | 5 => {
                let id = format!("x{}", self.random.below(3));
                let item = json!({"connectedAt": now, "currentTask": format!("edited {number}"), "cwd": "/x", "id": id,
                    "lastActivityAt": now, "nickname": "outsider", "pid": 7});
                (Self::set("Session", &item), None)
            }
            6 => {
                let id = *self.random.pick(&["h1", "h2", "s0"]);
                let item = json!({"connectedAt": now, "currentTask": format!("edited {number}"), "cwd": "/w/0", "id": id,
                    "lastActivityAt": now, "nickname": format!("edited {number}"), "pid": 7});
                (Self::set("Session", &item), None)
            }
            7 => {
                let rows = if DELETES_PARENTS { &DELETED[..] } else { &DELETED[..1] };
                let (item_type, id) = *self.random.pick(rows);
                (format!("{}\n", json!({"item": {"id": id}, "changeType": "DEL", "itemType": item_type})), None)
            }
            8 | 9 => (Self::set("Lease", &json!({"id": format!("lease {number}")})), None),
            10 => (format!("garbage number {number}, which nobody can read\n"), None),
            _ => (
                format!("{{\"item\":{{\"id\":\"odd {number}\"}},\"changeType\":\"PUT\",\"itemType\":\"Session\"}}\n"),
                None,
            ),
        }
    }

    /// Appends to a file and tells the ledger. The text begins a line of its own if the file ends one.
    fn write(&mut self, state: &mut State, inode: usize, text: &str, message: Option<u64>, observer: &mut Observer) {
        let whole = state.inodes[inode].cache.last().is_none_or(|byte| *byte == b'\n');
        observer.tell(|| format!("outsider appends to {inode}: {text:?}"));
        if !whole && !text.starts_with('\n') {
            observer.ledger.spoil(&state.inodes[inode].cache);
        }
        state.append_from_outside(inode, text.as_bytes());
        observer.ledger.outsider(text.as_bytes());
        observer.ledger.look(state);
        let is_log = state.names.get(LOG_NAME) == Some(&inode);
        if whole && text.ends_with('\n') && is_log {
            self.lines.push(text.as_bytes().to_vec());
            self.expected.extend(message);
        }
    }

    fn append(&mut self, disk: &SimDisk, observer: &mut Observer, clients: &mut Clients) {
        for _ in 0..1 + self.random.below(3) {
            let (mut text, message) = self.line(observer, clients);
            let mut state = disk.state();
            let Some(inode) = state.names.get(LOG_NAME).copied() else { return };
            // Some take care to begin a line of their own.
            if !state.inodes[inode].cache.ends_with(b"\n") && !self.random.one_in(3) {
                text.insert(0, '\n');
            }
            self.half = None;
            self.write(&mut state, inode, &text, message, observer);
        }
    }

    /// Half a line, or the rest of it, or a whole event that only lacks its newline.
    fn half(&mut self, disk: &SimDisk, observer: &mut Observer, clients: &mut Clients) {
        let text = match self.half.take() {
            Some(rest) => rest,
            None => {
                let (text, _) = self.line(observer, clients);
                if self.random.one_in(3) {
                    text.trim_end().to_owned()
                } else {
                    let at = 12 + self.random.below(text.len() - 24);
                    self.half = Some(text[at..].to_owned());
                    // The whole may come to be read.
                    observer.ledger.outsider(text.as_bytes());
                    text[..at].to_owned()
                }
            }
        };
        let mut state = disk.state();
        let Some(inode) = state.names.get(LOG_NAME).copied() else { return };
        if !state.inodes[inode].cache.ends_with(b"\n") && text.starts_with('{') {
            state.append_from_outside(inode, b"\n");
        }
        self.write(&mut state, inode, &text, None, observer);
    }

    /// Appends between the daemon's look at the file and its write.
    fn race(&mut self, disk: &SimDisk, observer: &mut Observer, clients: &mut Clients) {
        let (text, _) = self.line(observer, clients);
        let text = match self.random.below(3) {
            0 => text.trim_end().to_owned(),
            1 => text[..12 + self.random.below(text.len() - 24)].to_owned(),
            _ => text,
        };
        observer.tell(|| format!("outsider will append: {text:?}"));
        observer.ledger.outsider(text.as_bytes());
        observer.ledger.spoil(&disk.read(LOG_NAME));
        self.half = None;
        disk.state().faults.race = Some((LOG_NAME.to_owned(), text.into_bytes()));
    }

    /// Goes on writing to a file that it has opened before, wherever that is by now.
    fn append_to_open(&mut self, disk: &SimDisk, observer: &mut Observer, clients: &mut Clients) {
        let Some(inode) = self.open else { return };
        let (text, message) = self.line(observer, clients);
        let mut state = disk.state();
        self.half = None;
        self.write(&mut state, inode, &text, message, observer);
    }

    /// Changes what is there, so that events are gone.
    fn destroy(&mut self, disk: &SimDisk, observer: &mut Observer) {
        let before = disk.read(LOG_NAME);
        let mut content = self.edited(&before);
        self.expected.clear();
        self.lines.clear();
        self.half = None;
        let what = self.random.below(4);
        match what {
            0 => disk.replace_from_outside(LOG_NAME, &content),
            1 => disk.rewrite_from_outside(LOG_NAME, &content),
            2 => {
                // The content has not reached the platter either.
                disk.replace_from_outside(LOG_NAME, b"");
                disk.append_from_outside(LOG_NAME, &content);
            }
            _ => {
                content = before[..self.random.below(before.len() + 1)].to_vec();
                disk.cut_from_outside(LOG_NAME, content.len() as u64);
            }
        }
        observer.tell(|| format!("outsider ({what}) leaves {} of {} bytes", content.len(), before.len()));
        observer.ledger.damage(&content);
        observer.ledger.look(&disk.state());
    }

    fn edited(&mut self, before: &[u8]) -> Vec<u8> {
        let mut kept: Vec<&[u8]> = lines(before).collect();
        for _ in 0..self.random.below(3) {
            if !kept.is_empty() {
                kept.remove(self.random.below(kept.len()));
            }
        }
        if self.random.one_in(6) {
            kept.clear();
        }
        let mut content = kept.join(&b'\n');
        if !content.is_empty() && !self.random.one_in(5) {
            content.push(b'\n');
        }
        content
    }
}

/// Whether a message is in a log.
pub fn holds_message(log: &[u8], number: u64) -> bool {
    let id = format!("x{number}");
    lines(log).any(|line| matches!(read_line(line), LogLine::Event(_, other, Some(_)) if other == id))
}

/// Messages that the daemon has read by now must stay from now on.
pub fn expect(observer: &mut Observer, messages: &[u64]) {
    let step = observer.ledger.step;
    for number in messages {
        if let Some(fate @ Fate::Asked) = observer.ledger.facts.messages.get_mut(number) {
            *fate = Fate::Told(step);
        }
    }
}

//! What must be in the log, from what was shown, said, and handed to the disk: kept apart from the product, and held
//! against what the product makes of every state that a crash could leave.

use super::facts::{Facts, Recovered};
use super::rows::{ByRow, LogLine, Said, lines, read_line};
use super::sim_disk::{Inode, Pending, State, apply};
use marshal::event_log::{LOG_NAME, MALFORMED_NAME};
use marshal::model::ItemType;
use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A gap in the product, known and reported: when an outsider's line and something that follows from it change the same
/// row in one batch, what is shown and what the log comes to may differ. Rows of which both have spoken may be either.
const CONTESTED_ROWS_MAY_DIFFER: bool = false;

/// What the log said when those who watch had last heard of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    inode: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub facts: Facts,
    /// All rows, as they were last shown to somebody who watches, or answered.
    shown: ByRow<Arc<str>>,
    /// What lines that were handed to the disk since then say.
    flight: ByRow<Vec<Said>>,
    /// Of these, what lines of a log said that has been replaced since.
    carried: ByRow<Vec<Said>>,
    /// What lines of outsiders say that the daemon need not have read yet.
    outside: ByRow<Vec<Said>>,
    /// All that any line ever said.
    history: HashSet<u64>,
    /// Rows of which an outsider has spoilt its own last line, by writing on in it.
    spoilt: BTreeSet<(ItemType, String)>,
    told: Told,
    /// What the last look was at.
    looked: Option<(usize, Option<usize>, usize, usize, Told)>,
    /// The step at which an outsider destroyed part of the log, until the daemon has put it right.
    pub damaged_at: Option<u64>,
    pub step: u64,
    /// Changes with everything that makes less acceptable.
    pub version: u64,
    /// Whole lines of outsiders that are not rows and have been on the platter: they stay, in the log or, if nobody can
    /// read them, in the side file.
    foreign: BTreeSet<Vec<u8>>,
    garbage: BTreeSet<Vec<u8>>,
    /// Lines and parts of lines that outsiders wrote, and lines that crashes tore: the only ones that may be malformed.
    excused: BTreeSet<Vec<u8>>,
    torn: BTreeSet<Vec<u8>>,
    /// Malformed lines in the log as the system shows it, or in the one that it has just replaced.
    malformed: usize,
}

fn digest(item_type: ItemType, id: &str, said: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (item_type, id, said).hash(&mut hasher);
    hasher.finish()
}

/// A log after a crash, as the product understood it.
pub struct Outcome<'a> {
    pub rows: &'a ByRow<Arc<str>>,
    pub malformed: u64,
    /// Pieces that were torn or did not arrive, each of which may have spoiled a line.
    pub torn: usize,
    pub state: &'a State,
}

impl Ledger {
    // ---- what is shown and said ----

    pub fn show(&mut self, item_type: ItemType, id: &str, said: Said) {
        self.version += 1;
        self.history.insert(digest(item_type, id, said.as_deref()));
        match said {
            Some(text) => drop(self.shown.of(item_type).insert(id.to_owned(), text)),
            None => drop(self.shown.of(item_type).remove(id)),
        }
    }

    pub fn shown_ids(&self, item_type: ItemType) -> Vec<String> {
        self.shown.0[super::rows::place(item_type)].keys().cloned().collect()
    }

    /// Those who watch have heard of all that was committed.
    pub fn all_is_shown(&mut self, state: &State) {
        self.version += 1;
        self.contest();
        self.flight = ByRow::default();
        let Some((inode, log)) = log_of(state) else { return };
        let bytes = memchr::memrchr(b'\n', &log.cache).map_or(0, |at| at + 1);
        self.told = Told { inode, bytes };
        self.looked = None;
        self.carried = ByRow::default();
    }

    /// Keeps what our lines say of rows of which outsiders have spoken too.
    fn contest(&mut self) {
        for (flight, outside) in self.flight.0.iter().zip(&mut self.outside.0) {
            for (id, said) in flight.iter().filter(|_| CONTESTED_ROWS_MAY_DIFFER) {
                outside.entry(id.clone()).and_modify(|theirs| theirs.extend(said.last().cloned()));
            }
        }
    }

    /// The log may have changed.
    pub fn look(&mut self, state: &State) {
        let Some((inode, log)) = log_of(state) else {
            self.flight = ByRow::default();
            return;
        };
        let old = state.platter_names.get(LOG_NAME).copied();
        let looked = (inode, old, log.cache.len(), log.lost.len() + log.pending.len(), self.told);
        if self.looked == Some(looked) {
            return;
        }
        if self.looked.is_some_and(|(before, ..)| before != inode) {
            // A log that is written anew says nothing of what is gone, and says it by that.
            self.carried = std::mem::take(&mut self.flight);
        }
        self.looked = Some(looked);
        self.flight = self.carried.clone();
        self.note_file(inode, log);
        self.malformed = malformed(log);
        // The old log may come back as long as its name is on the platter.
        if let Some(old) = old.filter(|old| *old != inode) {
            self.note_file(old, &state.inodes[old]);
            self.malformed = self.malformed.max(malformed(&state.inodes[old]));
        }
    }

    fn note_file(&mut self, inode: usize, log: &Inode) {
        let from = if inode == self.told.inode && self.told.bytes <= log.cache.len() { self.told.bytes } else { 0 };
        self.note_flight(&log.cache[from..]);
        let takes_back = |pending: &Pending| matches!(pending, Pending::Cut(_) | Pending::Blank(..));
        if log.lost.iter().chain(&log.pending).any(takes_back) {
            // What is taken back may be there as long as that is not surely on the platter.
            let mut uncut = log.platter.clone();
            let writes = log.lost.iter().chain(&log.pending).filter(|p| matches!(p, Pending::Write(..)));
            writes.for_each(|write| apply(write, &mut uncut));
            self.note_flight(&uncut[from.min(uncut.len())..]);
        }
    }

    fn note_flight(&mut self, bytes: &[u8]) {
        for line in lines(bytes) {
            if let LogLine::Event(item_type, id, said) = read_line(line) {
                self.history.insert(digest(item_type, &id, said.as_deref()));
                self.flight.of(item_type).entry(id).or_default().push(said);
            }
        }
    }

    // ---- what outsiders do ----

    /// An outsider writes this to the log; a part of it may be the rest of a line.
    pub fn outsider(&mut self, bytes: &[u8]) {
        for line in lines(bytes) {
            self.excused.insert(line.to_vec());
            if let LogLine::Event(item_type, id, said) = read_line(line) {
                self.history.insert(digest(item_type, &id, said.as_deref()));
                self.facts.outsider(item_type, &id, &said);
                self.outside.of(item_type).entry(id).or_default().push(said);
            }
        }
    }

    /// An outsider goes on in its own last line: if that was an event, nobody will read it again.
    pub fn spoil(&mut self, log: &[u8]) {
        let last = log.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        if let LogLine::Event(item_type, id, _) = read_line(last) {
            self.facts.spoil(item_type, &id);
            self.spoilt.insert((item_type, id));
        }
    }

    /// An outsider has put other content in the log's place.
    pub fn damage(&mut self, content: &[u8]) {
        self.damaged_at = Some(self.step);
        // Whatever is in it may be believed.
        self.told = Told { inode: usize::MAX, bytes: 0 };
        self.foreign.clear();
        self.garbage.clear();
        self.outsider(content);
    }

    /// Outsiders' lines that the platter holds by now stay there.
    pub fn note_platter(&mut self, state: &State, theirs: &[Vec<u8>]) {
        let Some(inode) = state.platter_names.get(LOG_NAME) else { return };
        let platter = &state.inodes[*inode].platter;
        for line in theirs {
            let line = line.strip_suffix(b"\n").unwrap();
            if !lines(platter).any(|other| other == line) {
                continue;
            }
            match read_line(line) {
                LogLine::Foreign => drop(self.foreign.insert(line.to_vec())),
                LogLine::Malformed => drop(self.garbage.insert(line.to_vec())),
                LogLine::Blank | LogLine::Event(..) => {}
            }
            self.version += 1;
        }
    }

    /// The daemon has read all that outsiders wrote and put right what they damaged.
    pub fn heal(&mut self, state: &State) {
        self.damaged_at = None;
        self.facts.heal(&self.shown);
        self.version += 1;
        let contested = std::mem::take(&mut self.outside);
        if let (true, Some((_, log))) = (CONTESTED_ROWS_MAY_DIFFER, log_of(state)) {
            for line in lines(&log.cache) {
                if let LogLine::Event(item_type, id, said) = read_line(line)
                    && contested.get(item_type, &id).is_some()
                {
                    self.outside.of(item_type).insert(id, vec![said]);
                }
            }
        }
    }

    // ---- lives ----

    /// The daemon has begun anew, with these rows.
    pub fn begin_life(&mut self, rows: ByRow<Arc<str>>, state: &State) {
        self.version += 1;
        self.facts.begin_life(&rows, self.step, self.damaged_at.is_some());
        self.shown = rows;
        self.damaged_at = None;
        self.spoilt.clear();
        self.outside = ByRow::default();
        self.all_is_shown(state);
        if let Some((_, log)) = log_of(state) {
            let torn = lines(&log.cache).filter(|line| matches!(read_line(line), LogLine::Malformed));
            self.torn.extend(torn.map(<[u8]>::to_vec));
            // What the platter lost to an outsider before the crash is no longer anybody's.
            let there: HashSet<&[u8]> = lines(&log.cache).collect();
            self.foreign.retain(|line| there.contains(line.as_slice()));
            let side = state.shown(MALFORMED_NAME).map(|file| file.cache.clone()).unwrap_or_default();
            let aside: HashSet<&[u8]> = lines(&side).collect();
            self.garbage.retain(|line| there.contains(line.as_slice()) || aside.contains(line.as_slice()));
        }
    }

    // ---- the checks ----

    /// Whether the log, as it stands, has no line that only we can have spoiled.
    pub fn check_lines(&self, state: &State) -> Result<(), String> {
        let Some((_, log)) = log_of(state) else { return Ok(()) };
        for line in lines(&log.cache) {
            let theirs = || self.excused.iter().any(|piece| memchr::memmem::find(line, piece).is_some());
            let excused = || self.torn.contains(line) || theirs();
            if matches!(read_line(line), LogLine::Malformed) && !excused() {
                return Err(format!("a malformed line of ours: {}", String::from_utf8_lossy(line)));
            }
        }
        Ok(())
    }

    /// Whether a state that a crash could leave is one that nobody could complain about.
    pub fn check(&self, outcome: &Outcome<'_>) -> Result<(), String> {
        let since = self.damaged_at;
        self.facts.check(&Recovered { rows: outcome.rows, since })?;
        self.check_rows(outcome.rows)?;
        if since.is_none() {
            self.check_others(outcome)?;
        }
        Ok(())
    }

    fn check_rows(&self, rows: &ByRow<Arc<str>>) -> Result<(), String> {
        for (place, item_type) in ItemType::ALL.into_iter().enumerate() {
            let mut shown = self.shown.0[place].iter().peekable();
            for (id, text) in &rows.0[place] {
                while let Some((missing, _)) = shown.next_if(|(other, _)| *other < id) {
                    self.accept(item_type, missing, None)?;
                }
                match shown.next_if(|(other, _)| *other == id) {
                    Some((_, same)) if same == text => {}
                    _ => self.accept(item_type, id, Some(text))?,
                }
            }
            for (missing, _) in shown {
                self.accept(item_type, missing, None)?;
            }
        }
        Ok(())
    }

    /// A row that is not as it was last shown.
    fn accept(&self, item_type: ItemType, id: &str, said: Option<&str>) -> Result<(), String> {
        let among = |values: &ByRow<Vec<Said>>| {
            values.get(item_type, id).is_some_and(|said_here| said_here.iter().any(|other| other.as_deref() == said))
        };
        let spoilt = self.spoilt.contains(&(item_type, id.to_owned()));
        let remembered = || said.is_none() || self.history.contains(&digest(item_type, id, said));
        if among(&self.flight) || among(&self.outside) || ((spoilt || self.damaged_at.is_some()) && remembered()) {
            return Ok(());
        }
        Err(format!(
            "{} {id} is {said:?}\n  shown: {:?}\n  on its way: {:?}\n  by outsiders: {:?}",
            item_type.as_str(),
            self.shown.get(item_type, id),
            self.flight.get(item_type, id),
            self.outside.get(item_type, id),
        ))
    }

    fn check_others(&self, outcome: &Outcome<'_>) -> Result<(), String> {
        let bound = self.malformed + outcome.torn;
        if outcome.malformed > bound as u64 {
            return Err(format!("{} malformed lines, and at most {bound} can be explained", outcome.malformed));
        }
        if self.foreign.is_empty() && self.garbage.is_empty() {
            return Ok(());
        }
        let (log, side) = (outcome.state.shown(LOG_NAME), outcome.state.shown(MALFORMED_NAME));
        let holds = |file: Option<&Inode>, line: &[u8]| {
            file.is_some_and(|file| memchr::memmem::find(&file.cache, line).is_some())
        };
        if let Some(line) = self.foreign.iter().find(|line| !holds(log, line)) {
            return Err(format!("an outsider's line is lost: {}", String::from_utf8_lossy(line)));
        }
        if let Some(line) = self.garbage.iter().find(|line| !holds(log, line) && !holds(side, line)) {
            return Err(format!("a line that nobody can read is dropped: {}", String::from_utf8_lossy(line)));
        }
        Ok(())
    }
}

fn log_of(state: &State) -> Option<(usize, &Inode)> {
    let inode = *state.names.get(LOG_NAME)?;
    Some((inode, &state.inodes[inode]))
}

fn malformed(file: &Inode) -> usize {
    lines(&file.cache).filter(|line| matches!(read_line(line), LogLine::Malformed)).count()
}

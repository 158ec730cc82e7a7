//! Every state in which a crash could leave the disk at one moment: a loss of power (any beginning of the changed
//! names, any subset of the writes to a file, the last one torn at any byte) and a killed process (all that the
//! system shows). Each is recovered by the product and held against the ledger.

use super::ledger::{Ledger, Outcome};
use super::random::Random;
use super::rows::{ByRow, text_of};
use super::sim_disk::{Inode, Pending, PendingName, SimDisk, State, apply, apply_name};
use marshal::event_log::key::LogKey;
use marshal::event_log::{LOG_NAME, SUSPECT_NAME, recover};
use marshal::roster::Roster;
use marshal::time::Now;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// How much of what had not surely reached the platter did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Power {
    /// So many of the changed names.
    names: usize,
    /// Which changes of the log's file.
    kept: Vec<bool>,
    /// Of the last of them only so many bytes.
    torn: Option<usize>,
    /// All changes of other files, or none.
    others: bool,
}

/// What happened to the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crash {
    Power(Power),
    /// The process died and the system lives.
    Killed,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("the process is killed"),
            Self::Power(Power { names, kept, torn, others }) => {
                let kept: String = kept.iter().map(|kept| if *kept { '1' } else { '0' }).collect();
                write!(f, "power is lost; {names} changed names arrive, changes of the log {kept:?}")?;
                if let Some(torn) = torn {
                    write!(f, " (of the last one {torn} bytes)")?;
                }
                write!(f, ", those of other files {}", if *others { "all" } else { "none" })
            }
        }
    }
}

fn changes(file: &Inode) -> impl Iterator<Item = &Pending> {
    file.lost.iter().chain(&file.pending)
}

impl Crash {
    /// The directory as it is found afterwards, and how many pieces are missing.
    pub fn strike(&self, state: &State) -> (State, usize) {
        match self {
            Self::Killed => (killed(state), 0),
            Self::Power(power) => power.strike(state),
        }
    }
}

/// Files that no name leads to are gone for the next daemon.
fn killed(state: &State) -> State {
    let mut after = State::default();
    let mut moved = BTreeMap::new();
    let everyone: BTreeSet<usize> = state.names.values().chain(state.platter_names.values()).copied().collect();
    let named = |pending: &PendingName| match pending {
        PendingName::Set(_, inode) => vec![*inode],
        PendingName::Exchange(both) => both.iter().map(|(_, inode)| *inode).collect(),
        PendingName::Rename(..) | PendingName::Remove(_) => Vec::new(),
    };
    for inode in everyone.into_iter().chain(state.pending_names.iter().flat_map(named)) {
        moved.entry(inode).or_insert_with(|| {
            after.inodes.push(state.inodes[inode].clone());
            after.inodes.len() - 1
        });
    }
    let map =
        |names: &BTreeMap<String, usize>| names.iter().map(|(name, inode)| (name.clone(), moved[inode])).collect();
    after.names = map(&state.names);
    after.platter_names = map(&state.platter_names);
    after.pending_names = state.pending_names.clone();
    for pending in &mut after.pending_names {
        match pending {
            PendingName::Set(_, inode) => *inode = moved[inode],
            PendingName::Exchange(both) => both.iter_mut().for_each(|(_, inode)| *inode = moved[inode]),
            PendingName::Rename(..) | PendingName::Remove(_) => {}
        }
    }
    after
}

impl Power {
    fn strike(&self, state: &State) -> (State, usize) {
        let mut names = state.platter_names.clone();
        state.pending_names[..self.names].iter().for_each(|pending| apply_name(pending, &mut names));
        let (mut after, mut torn) = (State::default(), 0);
        for (name, inode) in names {
            let file = &state.inodes[inode];
            let mut platter = file.platter.clone();
            let all = vec![self.others; file.lost.len() + file.pending.len()];
            let (kept, cut) = if name == LOG_NAME { (&self.kept, self.torn) } else { (&all, None) };
            let last = kept.iter().rposition(|kept| *kept);
            for (number, change) in changes(file).enumerate() {
                match (kept[number], change, cut) {
                    (true, Pending::Write(at, bytes), Some(cut)) if Some(number) == last => {
                        apply(&Pending::Write(*at, bytes[..cut].to_vec()), &mut platter);
                        torn += 1;
                    }
                    (true, change, _) => apply(change, &mut platter),
                    (false, ..) => torn += usize::from(name == LOG_NAME),
                }
            }
            after.inodes.push(Inode::on_platter(platter));
            after.names.insert(name.clone(), after.inodes.len() - 1);
        }
        after.platter_names = after.names.clone();
        (after, torn)
    }
}

/// The worst that can happen: nothing arrives that need not.
fn worst(state: &State) -> State {
    let log = state.platter_names.get(LOG_NAME).map_or(0, |inode| changes(&state.inodes[*inode]).count());
    Power { names: 0, kept: vec![false; log], torn: None, others: false }.strike(state).0
}

/// The states that a loss of power could leave, each once, as many as are wanted.
struct Enumeration<'a> {
    state: &'a State,
    random: &'a mut Random,
    found: Vec<Power>,
}

/// Changes of one file of which all subsets are looked at.
const SUBSETS_OF_MAX: usize = 5;

impl Enumeration<'_> {
    fn run(mut self, at_most: usize) -> Vec<Power> {
        let mut structures = Vec::new();
        for names in 0..=self.state.pending_names.len() {
            let count = self.changes_of_log(names);
            let others: &[bool] = if self.others_differ() { &[false, true] } else { &[false] };
            for mut kept in self.subsets(count) {
                self.keep_cuts(names, &mut kept);
                structures.extend(others.iter().map(|others| Power {
                    names,
                    kept: kept.clone(),
                    torn: None,
                    others: *others,
                }));
            }
        }
        let few = (at_most / 2).max(2);
        while structures.len() > few {
            let at = self.random.below(structures.len());
            structures.swap_remove(at);
        }
        let tearable: Vec<(Power, usize)> =
            structures.iter().filter_map(|power| Some((power.clone(), self.last_write(power)?))).collect();
        self.found = structures;
        if !tearable.is_empty() {
            self.tear(&tearable, at_most);
        }
        self.found
    }

    fn log_after(&self, names: usize) -> Option<&Inode> {
        let mut after = self.state.platter_names.clone();
        self.state.pending_names[..names].iter().for_each(|pending| apply_name(pending, &mut after));
        after.get(LOG_NAME).map(|inode| &self.state.inodes[*inode])
    }

    fn changes_of_log(&self, names: usize) -> usize {
        self.log_after(names).map_or(0, |log| changes(log).count())
    }

    fn others_differ(&self) -> bool {
        let log = self.state.names.get(LOG_NAME);
        let mut others = self.state.inodes.iter().enumerate().filter(|(inode, _)| Some(inode) != log);
        others.any(|(_, file)| changes(file).next().is_some())
    }

    /// All subsets of so many changes; of many only the beginnings, and some others.
    fn subsets(&mut self, count: usize) -> Vec<Vec<bool>> {
        if count <= SUBSETS_OF_MAX {
            return (0..1_usize << count).map(|set| (0..count).map(|bit| set >> bit & 1 == 1).collect()).collect();
        }
        let mut subsets: Vec<Vec<bool>> = (0..=count).map(|end| (0..count).map(|at| at < end).collect()).collect();
        for _ in 0..16 {
            subsets.push((0..count).map(|_| self.random.one_in(2)).collect());
        }
        subsets
    }

    /// What is written after a cut goes to new blocks, which the file gets after it has lost the old ones: file systems
    /// keep these two in order. A write that arrives comes after the cuts before it.
    fn keep_cuts(&self, names: usize, kept: &mut [bool]) {
        let (Some(log), Some(last)) = (self.log_after(names), kept.iter().rposition(|kept| *kept)) else { return };
        for (at, change) in changes(log).enumerate().take(last) {
            kept[at] |= matches!(change, Pending::Cut(_));
        }
    }

    /// The length of the last write, if one is kept.
    fn last_write(&self, power: &Power) -> Option<usize> {
        let last = power.kept.iter().rposition(|kept| *kept)?;
        match changes(self.log_after(power.names)?).nth(last)? {
            Pending::Write(_, bytes) if bytes.len() > 1 => Some(bytes.len()),
            _ => None,
        }
    }

    fn tear(&mut self, tearable: &[(Power, usize)], at_most: usize) {
        let all: usize = tearable.iter().map(|(_, length)| length - 1).sum();
        if all + self.found.len() <= at_most {
            for (power, length) in tearable {
                self.found.extend((1..*length).map(|torn| Power { torn: Some(torn), ..power.clone() }));
            }
            return;
        }
        while self.found.len() < at_most {
            let (power, length) = self.random.pick(tearable).clone();
            // The byte before the end is the whole event without its newline; the last bytes are the likeliest to go.
            let torn = match self.random.below(4) {
                0 => length - 1,
                _ => 1 + self.random.below(length - 1),
            };
            self.found.push(Power { torn: Some(torn), ..power });
        }
    }
}

/// What a directory is recovered to.
pub struct Recovery {
    pub disk: SimDisk,
    pub rows: ByRow<Arc<str>>,
    pub malformed: u64,
}

/// Opens a log as the daemon does, and reads it.
pub fn recover(state: State, now: Now) -> Result<Recovery, String> {
    let suspect = state.names.contains_key(SUSPECT_NAME);
    let disk = SimDisk::of(state);
    let opened =
        recover::open(disk.clone(), LogKey::of([255; 16])).map_err(|error| format!("cannot be opened: {error:?}"))?;
    if suspect != opened.rewritten.is_some() || disk.state().names.contains_key(SUSPECT_NAME) {
        return Err("a suspect log is written anew, once, and no other".to_owned());
    }
    let malformed = opened.fold.damage.lines;
    let mut roster = Roster::new();
    roster.load(opened.fold.into_rows(), None, now);
    Ok(Recovery { disk, rows: rows_of(&roster), malformed })
}

pub fn rows_of(roster: &Roster) -> ByRow<Arc<str>> {
    let mut rows = ByRow::default();
    for row in roster.rows_in_order() {
        rows.of(row.item_type()).insert(row.id().to_owned(), text_of(&row));
    }
    rows
}

/// Goes through the crash states of one moment after another.
pub struct Crasher {
    random: Random,
    /// States looked at for one moment.
    states_max: usize,
    /// How many there were, each different from the others or held against a different ledger.
    pub states: u64,
    /// How many of them were recovered twice.
    pub twice: u64,
    seen: HashSet<(u64, u64)>,
    /// Whether a complaint shows the log too.
    pub story: bool,
}

/// One in so many moments is gone through with every byte of the last write.
const EVERY_BYTE_ONE_IN: usize = 97;
/// States looked at for such a moment.
const EVERY_BYTE_STATES_MAX: usize = 4096;
/// One in so many recovered states is recovered once more.
const TWICE_ONE_IN: usize = 8;

impl Crasher {
    pub fn new(seed: u64, states_max: usize) -> Self {
        Self { random: Random::new(seed), states_max, states: 0, twice: 0, seen: HashSet::new(), story: false }
    }

    /// Checks the states that a crash at this moment could leave, and gives one of them.
    pub fn check_all(&mut self, state: &State, ledger: &Ledger, now: Now) -> Result<Crash, String> {
        let exhaustive = self.states_max > 1 && self.random.one_in(EVERY_BYTE_ONE_IN);
        let at_most = if exhaustive { EVERY_BYTE_STATES_MAX } else { self.states_max };
        let powers = Enumeration { state, random: &mut self.random, found: Vec::new() }.run(at_most);
        let mut crashes: Vec<Crash> = powers.into_iter().map(Crash::Power).collect();
        if !is_unmarked(state) {
            crashes.push(Crash::Killed);
        }
        for crash in &crashes {
            self.check(state, crash, ledger, now).map_err(|complaint| format!("{crash}: {complaint}"))?;
        }
        let at = self.random.below(crashes.len());
        Ok(if self.random.one_in(4) && !is_unmarked(state) { Crash::Killed } else { crashes.swap_remove(at) })
    }

    fn check(&mut self, state: &State, crash: &Crash, ledger: &Ledger, now: Now) -> Result<(), String> {
        let (after, torn) = crash.strike(state);
        if !self.seen.insert((digest(&after), ledger.version)) {
            return Ok(());
        }
        self.states += 1;
        let found = after.clone();
        let recovery = recover(after, now)?;
        let Recovery { rows, malformed, .. } = &recovery;
        ledger.check(&Outcome { rows, malformed: *malformed, torn, state: &found }).map_err(|complaint| {
            if !self.story {
                return complaint;
            }
            let log = found.shown(LOG_NAME).map(|log| String::from_utf8_lossy(&log.cache).into_owned());
            format!("{complaint}\nthe log: {}", log.unwrap_or_default())
        })?;
        if *crash == Crash::Killed || self.random.one_in(TWICE_ONE_IN) {
            self.twice += 1;
            check_again(&recovery, now)?;
        }
        Ok(())
    }
}

/// A sync has failed, and the daemon has not come to leave its note. If it is killed at this very moment, the next one
/// believes what the system shows: a gap that is known and documented.
fn is_unmarked(state: &State) -> bool {
    let lost = state.shown(LOG_NAME).is_some_and(|log| !log.lost.is_empty());
    (lost || state.names_lost) && !state.names.contains_key(SUSPECT_NAME)
}

/// What a recovered daemon shows is on the platter, and shows again.
fn check_again(recovery: &Recovery, now: Now) -> Result<(), String> {
    let left = worst(&recovery.disk.state());
    let again = recover(left, now)?;
    if again.rows.0 != recovery.rows.0 {
        return Err(format!(
            "recovered once more, after power is lost, it is something else\n  once: {:?}\n  twice: {:?}",
            recovery.rows, again.rows
        ));
    }
    Ok(())
}

fn digest(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, inode) in &state.names {
        let file = &state.inodes[*inode];
        name.hash(&mut hasher);
        file.cache.hash(&mut hasher);
        // A killed process leaves what is pending.
        (file.lost.len(), file.pending.len(), state.pending_names.len()).hash(&mut hasher);
    }
    hasher.finish()
}

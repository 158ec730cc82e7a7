//! When the disk fails, and how: it is full for a while, takes a few bytes at a time, and sometimes does not do what a
//! sync, a cut or a rename asks for. The first kind must be survived, of the second the daemon may die.

use super::observer::Observer;
use super::random::Random;
use super::sim_disk::{Faults, SimDisk};

pub struct Schedule {
    random: Random,
    /// Steps until a full disk has space again.
    full_for: usize,
}

impl Schedule {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), full_for: 0 }
    }

    /// Before a step.
    pub fn act(&mut self, disk: &SimDisk, observer: &mut Observer) {
        let mut state = disk.state();
        let faults = &mut state.faults;
        if self.full_for > 0 {
            self.full_for -= 1;
            if self.full_for == 0 {
                *faults = Faults::default();
                observer.tell(|| "space is back".to_owned());
            }
        } else if self.random.one_in(12) {
            self.full_for = 1 + self.random.below(5);
            faults.space = Some(self.random.below(1200) as u64);
            observer.tell(|| format!("space for {:?} bytes", faults.space));
        }
        if self.random.one_in(6) {
            faults.short_writes = (!self.random.one_in(3)).then(|| 1 + self.random.below(400));
        }
        if self.random.one_in(60) {
            self.deadly(faults);
            observer.tell(|| format!("{faults:?}"));
        }
        if self.random.one_in(40) {
            faults.fail_rename = !faults.fail_rename;
        }
    }

    fn deadly(&mut self, faults: &mut Faults) {
        match self.random.below(4) {
            0 | 1 => faults.fail_sync = Some(self.random.below(3)),
            2 => {
                faults.fail_cut = true;
                faults.space = Some(self.random.below(700) as u64);
                self.full_for = 4;
            }
            _ => faults.fail_sync_names = Some(self.random.below(4)),
        }
    }

    /// What fails while the daemon starts.
    pub fn at_start(&mut self, disk: &SimDisk) {
        let mut state = disk.state();
        self.full_for = 0;
        state.faults = Faults::default();
        if self.random.one_in(8) {
            match self.random.below(4) {
                0 => state.faults.fail_sync = Some(self.random.below(2)),
                1 => state.faults.fail_sync_names = Some(self.random.below(3)),
                2 => state.faults.space = Some(self.random.below(2000) as u64),
                _ => state.faults.fail_rename = true,
            }
        }
    }

    /// Nothing fails any longer.
    pub fn over(&mut self, disk: &SimDisk) {
        self.full_for = 0;
        disk.state().faults = Faults::default();
    }
}

/// Whether a daemon may die of these faults.
pub fn are_deadly(faults: &Faults) -> bool {
    faults.fail_sync.is_some() || faults.fail_sync_names.is_some() || faults.fail_cut || faults.race.is_some()
}

//! What happens to the servers themselves: regions split, merge and move, and a gateway is killed and started again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::bed::Bed;
use crate::support::synthetic::{Dice, Synthetic};

/// A gateway in a process of its own, always at the same port.
pub struct Gateway {
    name: String,
    /// `HOST:PORT`.
    pub address: String,
}

impl Gateway {
    /// Starts one.
    pub fn spawn(bed: &Bed) -> Gateway {
        let name = bed.unique("gateway");
        let address = bed.listener(&format!("spawn {name} 2 0"));
        Gateway { name, address }
    }

    /// SIGKILL, and another one at the same port.
    pub fn die(&self, bed: &Bed) {
        bed.must(&format!("kill {}", self.name));
        let port = self.address.rsplit(':').next().unwrap();
        bed.must(&format!("spawn {} 2 {port}", self.name));
    }
}

/// What can be done to the servers.
pub struct Chaos<'a> {
    /// The cluster.
    pub bed: &'a Bed,
    /// What lies in the table.
    pub shape: &'a Synthetic,
    /// Its regions change.
    pub table: String,
    /// It is killed now and then.
    pub gateway: &'a Gateway,
}

impl Chaos<'_> {
    /// Goes on until told to stop; the list gets a word for everything that was done.
    pub fn run(&self, seed: u64, stop: &AtomicBool, done: &Mutex<Vec<&'static str>>) {
        let mut dice = Dice(seed ^ 0x5eed);
        while !stop.load(Ordering::Relaxed) {
            if let Some(what) = self.strike(&mut dice) {
                done.lock().unwrap().push(what);
            }
            let until = Instant::now() + Duration::from_millis(200 + dice.below(1500) as u64);
            while Instant::now() < until && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// One thing at random; `None` when HBase refuses, because a region is still on its way from the last time.
    fn strike(&self, dice: &mut Dice) -> Option<&'static str> {
        let regions = self.bed.must(&format!("regions {}", self.table)).len();
        let region = dice.below(regions);
        let (what, line) = match dice.below(7) {
            0 => {
                self.gateway.die(self.bed);
                return Some("gateway killed");
            }
            1 | 2 if regions < 12 => {
                let row = |end: u32| dice_below(dice, end);
                ("split", format!("split {} {}", self.table, self.key(row)))
            }
            3 if regions > 2 => ("merge", format!("merge {} {}", self.table, region.min(regions - 2))),
            _ => ("move", format!("move {} {region}", self.table)),
        };
        self.bed.control(&line).ok().map(|_| what)
    }

    fn key(&self, mut below: impl FnMut(u32) -> u32) -> String {
        let key = self.shape.key(below(self.shape.metrics), below(self.shape.series), below(self.shape.hours));
        key.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn dice_below(dice: &mut Dice, end: u32) -> u32 {
    dice.below(end as usize) as u32
}

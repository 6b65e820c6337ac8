//! The thread that listens to the canaries.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cluster::{Canary, Gateways};
use crate::flow::{BackingOff, Cancel, Progress};

use super::duty::Duty;

/// Between two samples of a gateway.
const EVERY: Duration = Duration::from_millis(500);
/// Quick samples before the load begins.
const QUICK: usize = 10;
/// The quick samples take this long at most.
const QUICK_LIMIT: Duration = Duration::from_secs(2);
/// How often the thread looks at the request to stop.
const LOOK: Duration = Duration::from_millis(100);

/// How much a run backs off: the share of its time that each connection may have a call under way. Full until
/// [`watch`](Self::watch) says otherwise. Clones share it.
#[derive(Clone)]
pub struct BackOff(Arc<Shared>);

struct Shared {
    /// The share as the bits of an f64.
    share: AtomicU64,
    /// Microseconds with a share below 1.
    held_back: AtomicU64,
    progress: Progress,
}

impl BackOff {
    pub(super) fn new(progress: &Progress) -> Self {
        let share = AtomicU64::new(1.0_f64.to_bits());
        Self(Arc::new(Shared { share, held_back: AtomicU64::new(0), progress: progress.clone() }))
    }

    /// The share now, above 0 and at most 1.
    pub fn share(&self) -> f64 {
        f64::from_bits(self.0.share.load(Ordering::Relaxed))
    }

    /// Seconds so far with a share below 1.
    pub fn seconds(&self) -> f64 {
        Duration::from_micros(self.0.held_back.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// Takes the baseline of every gateway by reading a row of the table, and goes on watching until the returned value
    /// is dropped or the run is cancelled. A gateway that does not answer is no error here.
    pub fn watch(&self, factor: f64, gateways: &Gateways, table: &str, cancel: &Cancel) -> Option<Watch> {
        let mut cages: Vec<Cage> =
            gateways.canaries(table).into_iter().map(|canary| Cage { canary, duty: Duty::new(factor) }).collect();
        let limit = Instant::now() + QUICK_LIMIT;
        std::thread::scope(|scope| {
            for cage in &mut cages {
                scope.spawn(move || cage.begin(limit, cancel));
            }
        });
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (back_off, stopped, cancel) = (self.clone(), Arc::clone(&stop), cancel.clone());
        let listen = move || back_off.listen(&mut cages, &stopped, &cancel);
        if let Err(error) = std::thread::Builder::new().name("canary".into()).spawn(listen) {
            tracing::warn!(%error, "no thread for the canary: the run will not back off");
        }
        Some(Watch { stop })
    }

    fn listen(&self, cages: &mut [Cage], stop: &(Mutex<bool>, Condvar), cancel: &Cancel) {
        let mut seen = Instant::now();
        while !sleep(EVERY, stop, cancel) {
            for cage in cages.iter_mut() {
                cage.listen();
            }
            let worst = cages.iter().min_by(|a, b| a.duty.share().total_cmp(&b.duty.share()));
            let (share, times) = worst.map_or((1.0, 1.0), |cage| (cage.duty.share(), cage.duty.times()));
            let before = self.share();
            if before < 1.0 {
                self.0.held_back.fetch_add(seen.elapsed().as_micros() as u64, Ordering::Relaxed);
            }
            seen = Instant::now();
            if (before < 1.0) != (share < 1.0) {
                let latency = worst.map(|cage| cage.duty.latency()).unwrap_or_default();
                let usual = worst.and_then(|cage| cage.duty.baseline()).unwrap_or_default();
                tracing::info!(
                    share,
                    ?latency,
                    ?usual,
                    "{}",
                    if share < 1.0 { "backing off" } else { "back to full pace" }
                );
            }
            self.0.share.store(share.to_bits(), Ordering::Relaxed);
            self.0.progress.backing_off((share < 1.0).then_some(BackingOff { share, times }));
        }
        self.0.share.store(1.0_f64.to_bits(), Ordering::Relaxed);
        self.0.progress.backing_off(None);
    }
}

/// A canary and what it tells.
struct Cage {
    canary: Canary,
    duty: Duty,
}

impl Cage {
    fn begin(&mut self, limit: Instant, cancel: &Cancel) {
        // The first read opens the connection and finds the row.
        let mut quick = Vec::with_capacity(QUICK);
        let mut known = self.canary.measure().is_ok();
        while known && quick.len() < QUICK && Instant::now() < limit && !cancel.is_set() {
            match self.canary.measure() {
                Ok(latency) => quick.push(latency),
                Err(_) => known = false,
            }
        }
        self.duty.begin(&quick);
        tracing::debug!(baseline = ?self.duty.baseline(), samples = quick.len(), "canary");
    }

    fn listen(&mut self) {
        if self.canary.rests() {
            return self.duty.silence();
        }
        match self.canary.measure() {
            Ok(latency) => {
                tracing::trace!(?latency, "canary");
                self.duty.sample(latency);
            }
            Err(error) => {
                tracing::debug!(%error, "the canary has no answer");
                self.duty.silence();
            }
        }
    }
}

/// Sleeps; true when it is time to stop.
fn sleep(time: Duration, stop: &(Mutex<bool>, Condvar), cancel: &Cancel) -> bool {
    let end = Instant::now() + time;
    let (stopped, changed) = stop;
    let mut stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if *stopped || cancel.is_set() {
            return true;
        }
        if left.is_zero() {
            return false;
        }
        (stopped, _) = changed.wait_timeout(stopped, left.min(LOOK)).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Ends the watching when dropped.
pub struct Watch {
    stop: Arc<(Mutex<bool>, Condvar)>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        // Nobody waits for a read under way: the thread only listens, and ends behind it.
        self.stop.1.notify_all();
    }
}

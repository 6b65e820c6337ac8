//! Numbers that a run shows while it goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cluster::Waits;

/// Counters that the stages add to and the command line reads. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    stage: Mutex<String>,
    total: AtomicU64,
    done: AtomicU64,
    cells: AtomicU64,
    points: AtomicU64,
    bytes_read: AtomicU64,
    bytes_fetched: AtomicU64,
    bytes_written: AtomicU64,
    paused: AtomicBool,
    back_off: Mutex<Option<BackingOff>>,
    waits: Waits,
}

/// A run that goes slower because a gateway does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackingOff {
    /// Share of its time that each connection keeps a gateway busy, below 1.
    pub share: f64,
    /// Latency of the gateway as a multiple of what it is without load.
    pub times: f64,
}

/// The counters at one instant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProgressView {
    /// What happens now, for a person.
    pub stage: String,
    /// Pieces of work (shards, files) of this stage; may grow.
    pub total: u64,
    /// Pieces finished.
    pub done: u64,
    /// Cells so far, over all stages.
    pub cells: u64,
    /// Points so far.
    pub points: u64,
    /// Bytes read from gateway and repository.
    pub bytes_read: u64,
    /// Of them, bytes of files of the repository.
    pub bytes_fetched: u64,
    /// Bytes written to the repository (backup) or the gateway (restore).
    pub bytes_written: u64,
    /// A ceiling allows nothing at this time of day.
    pub paused: bool,
    /// How much the run is held back for the cluster's other users.
    pub back_off: Option<BackingOff>,
    /// The failed call that is being repeated, and until when.
    pub waiting: Option<String>,
}

impl Progress {
    /// Counters at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a stage with so many pieces of work.
    pub fn stage(&self, name: impl Into<String>, total: u64) {
        *self.0.stage.lock().unwrap_or_else(PoisonError::into_inner) = name.into();
        self.0.done.store(0, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// More pieces turned up.
    pub fn more(&self, pieces: u64) {
        self.0.total.fetch_add(pieces, Ordering::Relaxed);
    }

    /// One piece is finished.
    pub fn finished(&self) {
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts cells and points.
    pub fn counted(&self, cells: u64, points: u64) {
        self.0.cells.fetch_add(cells, Ordering::Relaxed);
        self.0.points.fetch_add(points, Ordering::Relaxed);
    }

    /// Counts bytes read.
    pub fn read(&self, bytes: u64) {
        self.0.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes read of a file of the repository.
    pub fn fetched(&self, bytes: u64) {
        self.0.bytes_fetched.fetch_add(bytes, Ordering::Relaxed);
        self.read(bytes);
    }

    /// Counts bytes written.
    pub fn wrote(&self, bytes: u64) {
        self.0.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says that a ceiling allows nothing now, or something again.
    pub fn paused(&self, paused: bool) {
        self.0.paused.store(paused, Ordering::Relaxed);
    }

    /// Says how much the run is held back.
    pub fn backing_off(&self, back_off: Option<BackingOff>) {
        *self.0.back_off.lock().unwrap_or_else(PoisonError::into_inner) = back_off;
    }

    /// Where clients of gateways say what they wait for.
    pub fn waits(&self) -> &Waits {
        &self.0.waits
    }

    /// The counters now.
    pub fn view(&self) -> ProgressView {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProgressView {
            stage: self.0.stage.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            total: load(&self.0.total),
            done: load(&self.0.done),
            cells: load(&self.0.cells),
            points: load(&self.0.points),
            bytes_read: load(&self.0.bytes_read),
            bytes_fetched: load(&self.0.bytes_fetched),
            bytes_written: load(&self.0.bytes_written),
            paused: self.0.paused.load(Ordering::Relaxed),
            back_off: *self.0.back_off.lock().unwrap_or_else(PoisonError::into_inner),
            waiting: self.0.waits.now().map(|wait| wait.to_string()),
        }
    }
}

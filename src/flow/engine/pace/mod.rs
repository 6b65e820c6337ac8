//! Manners towards the cluster's users: how fast all connections of a run together may go.
//!
//! Every page and every batch is a *turn*. Before it, the connection waits until the limits allow a turn
//! ([`Pace::ready`]); behind it, what it moved is charged ([`Turn::over`]), and while the run backs off the connection
//! rests in proportion to the time that the call took. All waits are between calls, never inside one, and end when the
//! run is cancelled.
//!
//! - Limits in wire bytes and rows per second, and ceilings by the time of day; the lowest of all that apply counts
//!   ([`bucket`], [`ceiling`]).
//! - The back-off follows a canary per gateway, one small read twice a second over a connection of its own
//!   ([`canary`], [`duty`]). The latency of the pages themselves would not do: they are never seen without the run's own
//!   load, so a slow cluster and a slow page cannot be told apart.
//!
//! `bench.sh --foreground` measures what it is good for: point gets beside backups. On two cores that also ran the
//! cluster and the readers (4 M single cells, 4 connections, two runs), the 99th percentile of a get was 7.5 times that of
//! readers alone without back-off (73 ms to 10 ms), the median 3.5 times. With factor 2 they were 6.1 and 1.5 times, and the
//! backup took 1.28 times as long beside the readers, no longer without them; with 4 and 8 that load is not yet one to back
//! off from, and nothing changed. On the same machine overloaded by other work the 99th percentile fell from 86 times to
//! 60, 36 and 30 with factors 8, 4 and 2.

mod bucket;
mod canary;
mod ceiling;
mod clock;
mod duty;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cluster::Gateways;
use crate::flow::{Cancel, FlowError, Manners, Progress};
use crate::model::CellBlock;
use crate::put::PutOptions;
use crate::scan::{ScanOptions, ShardScan};

use bucket::Bucket;
use clock::{Clock, SystemClock};

use canary::BackOff;

pub use canary::Watch;
pub use ceiling::{Allowance, Ceiling, Rates};

/// How often a wait looks at the request to stop, and at the limits, which may change meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// The longest rest behind one call.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Under a limit, a connection's pages are worth this many seconds of its share, so that the load is even and not
/// a burst every minute.
const PAGE_SECONDS: f64 = 0.5;
/// Pages and batches are not made smaller than this, because each is a call.
const LEAST_BYTES: usize = 32 << 10;

/// The pace of one run. Clones share it.
#[derive(Clone)]
pub struct Pace(Arc<Shared>);

struct Shared {
    manners: Manners,
    connections: usize,
    clock: Box<dyn Clock>,
    buckets: Mutex<Buckets>,
    back_off: BackOff,
    progress: Progress,
    cancel: Cancel,
}

#[derive(Clone, Copy)]
struct Buckets {
    bytes: Bucket,
    rows: Bucket,
}

/// What a page or a batch moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// Bytes on the wire.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// How long the call took.
    pub busy: Duration,
}

/// A call that may be made now.
pub struct Turn<'a> {
    pace: &'a Pace,
    charged: Option<(f64, f64)>,
}

impl Pace {
    /// The pace of a run with so many connections.
    pub fn new(manners: &Manners, connections: usize, progress: &Progress, cancel: &Cancel) -> Self {
        Self::with_clock(manners, connections, progress, cancel, Box::new(SystemClock::new(manners.time_zone.clone())))
    }

    /// Without limits; only a cancelled run ends its waits.
    pub fn free(cancel: &Cancel) -> Self {
        Self::new(&Manners::default(), 1, &Progress::new(), cancel)
    }

    fn with_clock(
        manners: &Manners,
        connections: usize,
        progress: &Progress,
        cancel: &Cancel,
        clock: Box<dyn Clock>,
    ) -> Self {
        let now = clock.now();
        Self(Arc::new(Shared {
            manners: manners.clone(),
            connections: connections.max(1),
            clock,
            buckets: Mutex::new(Buckets { bytes: Bucket::new(now), rows: Bucket::new(now) }),
            back_off: BackOff::new(progress),
            progress: progress.clone(),
            cancel: cancel.clone(),
        }))
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        // The numbers are valid at every instant, so a thread that panicked while holding the lock left nothing broken.
        self.0.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is allowed now.
    fn rates(&self) -> Rates {
        let Manners { rate, rate_rows, ceilings, .. } = &self.0.manners;
        let always = Rates { bytes: *rate, rows: *rate_rows };
        if ceilings.is_empty() {
            return always;
        }
        let time = self.0.clock.time_of_day();
        let held = ceilings.iter().filter(|ceiling| ceiling.holds(time));
        held.fold(always, |rates, ceiling| rates.lower(ceiling.allowance))
    }

    /// Begins to back off when a gateway slows, as seen by reading a row of the table, until the returned value is
    /// dropped. Does nothing without a table or when it is not wanted.
    pub fn watch(&self, gateways: &Gateways, table: Option<&str>) -> Option<Watch> {
        self.0.back_off.watch(self.0.manners.back_off?, gateways, table?, &self.0.cancel)
    }

    /// The request to stop that ends the waits.
    pub fn cancel(&self) -> &Cancel {
        &self.0.cancel
    }

    /// Seconds so far in which the run held back because a gateway was slow.
    pub fn back_off_seconds(&self) -> f64 {
        self.0.back_off.seconds()
    }

    /// Waits until the limits allow a call.
    ///
    /// # Errors
    /// [`FlowError::Interrupted`].
    pub fn ready(&self) -> Result<Turn<'_>, FlowError> {
        let mut paused = false;
        loop {
            if self.0.cancel.is_set() {
                return Err(FlowError::Interrupted);
            }
            let rates = self.rates();
            let wait = {
                let mut buckets = self.buckets();
                let now = self.0.clock.now();
                buckets.bytes.fill(now, rates.bytes);
                buckets.rows.fill(now, rates.rows);
                let wait = buckets.bytes.wait(rates.bytes).max(buckets.rows.wait(rates.rows));
                if wait.is_zero() && !rates.is_pause() {
                    let charged = Some((buckets.bytes.charge(), buckets.rows.charge()));
                    drop(buckets);
                    if paused {
                        self.0.progress.paused(false);
                    }
                    return Ok(Turn { pace: self, charged });
                }
                wait
            };
            if rates.is_pause() && !paused {
                tracing::info!("paused by --ceiling until its window ends");
                self.0.progress.paused(true);
                paused = true;
            }
            self.0.clock.sleep(if rates.is_pause() { LOOK } else { wait.min(LOOK) });
        }
    }

    /// Reads the next page of a scan in its turn; `None` ends the range.
    ///
    /// # Errors
    /// The scan's, or [`FlowError::Interrupted`].
    pub fn next_page(&self, scan: &mut ShardScan<'_>, page: &mut CellBlock) -> Result<Option<u64>, FlowError> {
        let turn = self.ready()?;
        let Some(stats) = scan.next_page(page)? else { return Ok(None) };
        turn.over(Moved { bytes: stats.wire_bytes, rows: page.row_count() as u64, busy: stats.elapsed })?;
        Ok(Some(stats.wire_bytes))
    }

    /// Scan options with pages that are small enough for the limits.
    pub fn pages(&self, options: ScanOptions) -> ScanOptions {
        let Rates { bytes, rows } = self.shares();
        let max_rows = rows.map_or(options.max_rows, |rows| options.max_rows.min(rows.try_into().unwrap_or(u32::MAX)));
        let page_bytes = bytes.map_or(options.page_bytes, |bytes| options.page_bytes.min(bytes.max(LEAST_BYTES)));
        ScanOptions { max_rows, first_rows: options.first_rows.min(max_rows), page_bytes, ..options }
    }

    /// Put options with batches that are small enough for the limits.
    pub fn batches(&self, options: PutOptions) -> PutOptions {
        let Rates { bytes, rows } = self.shares();
        PutOptions {
            batch_bytes: bytes.map_or(options.batch_bytes, |bytes| options.batch_bytes.min(bytes.max(LEAST_BYTES))),
            batch_rows: rows.map_or(options.batch_rows, |rows| options.batch_rows.min(rows)),
            ..options
        }
    }

    /// What one call may move by the lowest of all limits but pauses, whatever the time is.
    fn shares(&self) -> Rates<usize> {
        let Manners { rate, rate_rows, ceilings, .. } = &self.0.manners;
        let always = Rates { bytes: *rate, rows: *rate_rows };
        let rates = ceilings.iter().map(|ceiling| ceiling.allowance).fold(always, |rates, allowance| match allowance {
            Allowance::Bytes(0) | Allowance::Rows(0) => rates,
            allowance => rates.lower(allowance),
        });
        let share = |rate: u64| ((rate as f64 * PAGE_SECONDS / self.0.connections as f64) as usize).max(1);
        Rates { bytes: rates.bytes.map(share), rows: rates.rows.map(share) }
    }

    fn settle(&self, charged: (f64, f64), bytes: u64, rows: u64) {
        let mut buckets = self.buckets();
        buckets.bytes.settle(charged.0, bytes);
        buckets.rows.settle(charged.1, rows);
    }

    /// Rests behind a call, as long as the share of the back-off asks for; ends early when the share has grown.
    fn rest(&self, busy: Duration) -> Result<(), FlowError> {
        let begun = self.0.clock.now();
        loop {
            let share = self.0.back_off.share();
            let rest = busy.mul_f64((1.0 / share - 1.0).max(0.0)).min(LONGEST_REST);
            let left = rest.saturating_sub(self.0.clock.now().saturating_sub(begun));
            if left.is_zero() {
                return Ok(());
            }
            if self.0.cancel.is_set() {
                return Err(FlowError::Interrupted);
            }
            self.0.clock.sleep(left.min(LOOK));
        }
    }
}

impl Turn<'_> {
    /// The call is over: charges what it moved, and rests while the run backs off.
    ///
    /// # Errors
    /// [`FlowError::Interrupted`].
    pub fn over(mut self, moved: Moved) -> Result<(), FlowError> {
        if let Some(charged) = self.charged.take() {
            self.pace.settle(charged, moved.bytes, moved.rows);
        }
        self.pace.rest(moved.busy)
    }
}

impl Turn<'_> {
    /// The call is over, as [`over`](Self::over), and the next one waits for its turn.
    ///
    /// # Errors
    /// [`FlowError::Interrupted`].
    pub fn renew(&mut self, moved: Moved) -> Result<(), FlowError> {
        if let Some(charged) = self.charged.take() {
            self.pace.settle(charged, moved.bytes, moved.rows);
        }
        self.pace.rest(moved.busy)?;
        self.charged = self.pace.ready()?.charged.take();
        Ok(())
    }
}

impl Drop for Turn<'_> {
    /// A turn that came to nothing costs nothing.
    fn drop(&mut self) {
        if let Some(charged) = self.charged.take() {
            self.pace.settle(charged, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests;

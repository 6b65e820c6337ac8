//! Points by metric.

use std::collections::HashMap;

use crate::model::PointBatch;

/// Points of metrics, by metric UID.
pub type MetricMap = HashMap<Vec<u8>, MetricTally>;

/// Points of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricTally {
    /// Points.
    pub points: u64,
    /// Earliest, ms UTC.
    pub first: i64,
    /// Latest, ms UTC.
    pub last: i64,
}

impl MetricTally {
    /// Adds the points of another tally.
    pub fn add(&mut self, other: &Self) {
        self.points = self.points.saturating_add(other.points);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// Counts the points of a batch; metric UIDs have `width` bytes.
pub fn count_metrics(metrics: &mut MetricMap, batch: &PointBatch, width: usize) {
    for segment in &batch.segments {
        let times = &batch.timestamps[segment.start..segment.start + segment.len];
        let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { continue };
        let Some(metric) = batch.series.get(segment.series as usize).and_then(|tsuid| tsuid.get(..width)) else {
            continue;
        };
        let tally = MetricTally { points: segment.len as u64, first: *first, last: *last };
        match metrics.get_mut(metric) {
            Some(sum) => sum.add(&tally),
            None => {
                metrics.insert(metric.to_vec(), tally);
            }
        }
    }
}

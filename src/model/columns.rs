//! The columns of a Parquet table in words that belong to no library, and what a file says of their values.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// How many metrics a file names; the others are counted.
pub const METRICS_PER_FILE: usize = 100;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// True when a row may have no value.
    pub nullable: bool,
    /// Type of the values.
    pub of: ColumnType,
}

/// The types that columns have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
    /// True or false.
    Bool,
    /// 32 bits, signed.
    Int,
    /// 64 bits, signed.
    Long,
    /// IEEE 754 binary32.
    Float,
    /// IEEE 754 binary64.
    Double,
    /// Milliseconds since 1970, UTC.
    Time,
    /// A list of this.
    List(Box<Column>),
    /// A map from this to that.
    Map(Box<Column>, Box<Column>),
    /// Named members.
    Struct(Vec<Column>),
}

/// What a file says of the columns by which readers skip it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ColumnRanges {
    /// Values of `metric`.
    #[serde(flatten)]
    pub names: MetricNames,
    /// Smallest `metric`, by its bytes; `None` without any.
    pub first_metric: Option<String>,
    /// Greatest `metric`.
    pub last_metric: Option<String>,
    /// Rows without a `metric`.
    pub metric_nulls: u64,
    /// Smallest `timestamp`, ms UTC; `None` without any.
    pub first_ms: Option<i64>,
    /// Greatest `timestamp`.
    pub last_ms: Option<i64>,
    /// Rows without a `timestamp`.
    pub timestamp_nulls: u64,
}

/// The metrics of a file, by name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricNames {
    /// The first [`METRICS_PER_FILE`] by their bytes.
    pub metrics: BTreeSet<String>,
    /// How many more there are.
    pub metrics_left_out: u64,
    /// The one that was added last: neighbours mostly have the same.
    #[serde(skip)]
    latest: Option<String>,
    /// Hashes of those that are left out, to count each once.
    #[serde(skip)]
    others: HashSet<u64>,
}

impl PartialEq for MetricNames {
    fn eq(&self, other: &Self) -> bool {
        (self.metrics_left_out, &self.metrics) == (other.metrics_left_out, &other.metrics)
    }
}

impl Eq for MetricNames {}

impl MetricNames {
    /// Adds a name; false when it is the one that was added last.
    fn add(&mut self, metric: &str) -> bool {
        if self.latest.as_deref() == Some(metric) {
            return false;
        }
        self.latest = Some(metric.to_owned());
        if self.metrics.contains(metric) {
            return true;
        }
        let mut left_out = Some(metric.to_owned());
        let is_full = self.metrics.len() >= METRICS_PER_FILE;
        if !is_full || self.metrics.last().is_some_and(|last| metric < last.as_str()) {
            self.metrics.extend(left_out.take());
            left_out = if is_full { self.metrics.pop_last() } else { None };
        }
        if let Some(name) = left_out {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            self.others.insert(hasher.finish());
            self.metrics_left_out = self.others.len() as u64;
        }
        true
    }
}

impl ColumnRanges {
    /// Adds the metric of so many rows.
    pub fn add_metric(&mut self, metric: Option<&str>, rows: u64) {
        let Some(metric) = metric else {
            self.metric_nulls += rows;
            return;
        };
        if !self.names.add(metric) {
            return;
        }
        if self.first_metric.as_deref().is_none_or(|first| metric < first) {
            self.first_metric = Some(metric.to_owned());
        }
        if self.last_metric.as_deref().is_none_or(|last| metric > last) {
            self.last_metric = Some(metric.to_owned());
        }
    }

    /// Adds a smallest and a greatest time.
    pub fn add_times(&mut self, times: Option<(i64, i64)>) {
        let Some((first, last)) = times else { return };
        self.first_ms = Some(self.first_ms.map_or(first, |known| known.min(first)));
        self.last_ms = Some(self.last_ms.map_or(last, |known| known.max(last)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_metrics_are_named_and_the_others_counted_once() {
        let mut ranges = ColumnRanges::default();
        // Downwards and twice, so that names give way to others and come again.
        for _ in 0..2 {
            (0..250).rev().for_each(|at| ranges.add_metric(Some(&format!("m{at:03}")), 1));
        }
        ranges.add_metric(None, 7);
        let names: Vec<String> = (0..METRICS_PER_FILE).map(|at| format!("m{at:03}")).collect();
        assert!(ranges.names.metrics.iter().eq(&names), "{:?}", ranges.names);
        assert_eq!((ranges.names.metrics_left_out, ranges.metric_nulls), (150, 7));
        assert_eq!((ranges.first_metric.as_deref(), ranges.last_metric.as_deref()), (Some("m000"), Some("m249")));
    }
}

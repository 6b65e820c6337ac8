//! The TSD's rollup configuration (`tsd.rollups.config`), which is not in HBase.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `tsd.rollups.config` as JSON gives it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RollupConfig {
    /// Aggregator name to id, 0..=127.
    #[serde(rename = "aggregationIds", default)]
    pub aggregation_ids: BTreeMap<String, u8>,
    /// The intervals and their tables.
    #[serde(default)]
    pub intervals: Vec<RollupInterval>,
}

/// One element of `intervals`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RollupInterval {
    /// Table of rollups over time.
    #[serde(default)]
    pub table: String,
    /// Table of pre-aggregates.
    #[serde(rename = "preAggregationTable", default)]
    pub pre_aggregation_table: String,
    /// Length of an interval, such as `1h`.
    #[serde(default)]
    pub interval: String,
    /// What a row spans, such as `1d`.
    #[serde(rename = "rowSpan", default)]
    pub row_span: String,
    /// True for the one that stands for raw data.
    #[serde(rename = "defaultInterval", default)]
    pub default_interval: bool,
}

/// Why a rollup configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RollupConfigError {
    /// Not the JSON of a rollup configuration.
    #[error("the rollup configuration is not the JSON that tsd.rollups.config takes: {0}; pass the TSD's own file")]
    Json(#[from] serde_json::Error),
    /// An interval that is no duration.
    #[error("rollup interval {0:?} is not a duration such as 10m, 1h or 1d; correct the rollup configuration")]
    Interval(String),
}

impl RollupConfigError {
    /// The same text fails again.
    pub fn retry(&self) -> crate::model::Retry {
        crate::model::Retry::Permanent
    }
}

/// What decoding needs to know about one rollup table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RollupTable {
    /// Aggregator names by id.
    pub aggregators: BTreeMap<u8, String>,
    /// Seconds per interval; `None` when several intervals share the table.
    pub interval_seconds: Option<u32>,
    /// What a row spans, as configured; `None` when intervals of several spans share the table.
    pub row_span: Option<String>,
}

impl RollupTable {
    /// The aggregator with this id.
    pub fn aggregator(&self, id: u8) -> Option<&str> {
        self.aggregators.get(&id).map(String::as_str)
    }
}

impl RollupConfig {
    /// Reads the JSON text.
    ///
    /// # Errors
    /// [`RollupConfigError`] when it is not that JSON or an interval is no duration.
    pub fn parse(text: &str) -> Result<Self, RollupConfigError> {
        let config: Self = serde_json::from_str(text)?;
        for interval in &config.intervals {
            seconds(&interval.interval).ok_or_else(|| RollupConfigError::Interval(interval.interval.clone()))?;
        }
        Ok(config)
    }

    /// Names of all rollup and pre-aggregate tables, sorted, each once.
    pub fn tables(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.intervals.iter().flat_map(|i| [i.table.as_str(), i.pre_aggregation_table.as_str()]).collect();
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What to know about a table; `None` when the configuration does not name it.
    pub fn table(&self, name: &str) -> Option<RollupTable> {
        let mut users = self.intervals.iter().filter(|i| i.table == name || i.pre_aggregation_table == name);
        let first = users.next()?;
        let users: Vec<&RollupInterval> = users.collect();
        let shared = users.iter().any(|other| other.interval != first.interval);
        let one_span = users.iter().all(|other| other.row_span == first.row_span);
        Some(RollupTable {
            aggregators: self.aggregation_ids.iter().map(|(name, id)| (*id, name.clone())).collect(),
            interval_seconds: if shared { None } else { seconds(&first.interval) },
            row_span: one_span.then(|| first.row_span.clone()),
        })
    }
}

/// Seconds of a duration such as `10m`.
fn seconds(text: &str) -> Option<u32> {
    let unit = text.chars().last().filter(char::is_ascii)?;
    let number: u32 = text.get(..text.len() - 1)?.parse().ok()?;
    let unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        'n' => 30 * 86_400,
        'y' => 365 * 86_400,
        _ => return None,
    };
    number.checked_mul(unit).filter(|seconds| *seconds > 0)
}

//! The columns of a Parquet table in words that belong to no library, and what a file says of their values.

use serde::{Deserialize, Serialize};

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

impl ColumnRanges {
    /// Adds the metric of so many rows.
    pub fn add_metric(&mut self, metric: Option<&str>, rows: u64) {
        let Some(metric) = metric else {
            self.metric_nulls += rows;
            return;
        };
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

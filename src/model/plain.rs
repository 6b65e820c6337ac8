//! Points as other programs see them: a series in words, a time and a number.

use std::sync::Arc;

use crate::model::SeriesLabel;

/// The value of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// 64 bits, signed.
    Int(i64),
    /// IEEE 754 binary64; a binary32 is widened.
    Float(f64),
}

impl Number {
    /// The nearest binary64.
    pub fn as_float(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }

    /// True when a binary64 holds exactly this number.
    pub fn fits_float(self) -> bool {
        match self {
            Self::Int(int) => int as f64 as i128 == i128::from(int),
            Self::Float(_) => true,
        }
    }
}

/// A point of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlainPoint {
    /// Milliseconds since 1970, UTC.
    pub timestamp: i64,
    /// The value.
    pub value: Number,
    /// It was stored with a time in milliseconds, not in seconds.
    pub milliseconds: bool,
    /// A query of OpenTSDB shows another cell for this instant.
    pub superseded: bool,
    /// When the cell was written: its HBase timestamp, ms UTC.
    pub written: i64,
}

/// Points of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainRun {
    /// The series.
    pub label: Arc<SeriesLabel>,
    /// By time.
    pub points: Vec<PlainPoint>,
}

/// An annotation as other programs see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainAnnotation {
    /// TSUID in upper-case hex; `None` for a global one.
    pub tsuid: Option<String>,
    /// Metric of its series, where that has a name.
    pub metric: Option<String>,
    /// Tags of its series as one JSON object, where the series is known.
    pub tags_json: Option<String>,
    /// Beginning in ms UTC, where the writer gave one.
    pub start_ms: Option<i64>,
    /// End in ms UTC.
    pub end_ms: Option<i64>,
    /// The text.
    pub description: Option<String>,
    /// Notes.
    pub notes: Option<String>,
    /// Further members as a JSON object.
    pub custom: Option<String>,
}

/// How tags become columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagColumns {
    /// One column for each of these keys, which are sorted.
    Keys(Vec<TagColumn>),
    /// One column with all of them: a MAP in Parquet, a JSON object in CSV.
    Map,
}

/// The column of a tag key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagColumn {
    /// The key.
    pub key: String,
    /// The column's name: the key, unless another column has that name.
    pub name: String,
}

/// The columns of points for other programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainColumns {
    /// A column for the metric; without one the name of the folder says it.
    pub metric: bool,
    /// The tags.
    pub tags: TagColumns,
    /// Columns that tell the versions of a point apart: `superseded` and `written`.
    pub versions: bool,
}

/// Names that are taken before any tag: those of all columns and of the folders.
const TAKEN: [&str; 8] = ["metric", "timestamp", "value", "value_int", "superseded", "written", "tags", "day"];

impl TagColumns {
    /// One column for each key. Names are unique whatever their case is: many readers do not tell them apart by it.
    pub fn of_keys(keys: impl IntoIterator<Item = String>) -> Self {
        let mut keys: Vec<String> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        let mut taken: std::collections::HashSet<String> = TAKEN.iter().map(|name| (*name).to_owned()).collect();
        let column = |key: String| {
            let mut name = key.clone();
            while !taken.insert(name.to_lowercase()) {
                name = format!("tag_{name}");
            }
            TagColumn { key, name }
        };
        Self::Keys(keys.into_iter().map(column).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_knows_whether_a_float_holds_it() {
        let ints = [0, 1, -5, 1 << 53, i64::MIN, (1 << 62) + (1 << 20)];
        assert!(ints.into_iter().all(|int| Number::Int(int).fits_float()));
        let ints = [(1 << 53) + 1, i64::MAX, -(1 << 53) - 1];
        assert!(!ints.into_iter().any(|int| Number::Int(int).fits_float()));
        assert!(Number::Float(0.1).fits_float() && Number::Float(f64::NAN).fits_float());
    }

    #[test]
    fn every_tag_key_has_a_column_of_its_own() {
        let keys = ["host", "Host", "value", "tag_value", "dc", "host"].map(str::to_owned);
        let TagColumns::Keys(columns) = TagColumns::of_keys(keys) else { panic!("columns") };
        let columns: Vec<(&str, &str)> = columns.iter().map(|c| (c.key.as_str(), c.name.as_str())).collect();
        let wanted = [
            ("Host", "Host"),
            ("dc", "dc"),
            ("host", "tag_host"),
            ("tag_value", "tag_value"),
            ("value", "tag_tag_value"),
        ];
        assert_eq!(columns, wanted);
    }
}

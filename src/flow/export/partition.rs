//! Points by folder, in the form that Hive, Spark, DuckDB and pyarrow read: `day=2026-01-31`, `metric=sys.cpu.user`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::flow::FlowError;
use crate::flow::export::plan::Partition;
use crate::model::PlainRun;

const DAY_MS: i64 = 86_400_000;
/// The folder of rows without a value.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// Names of files have 255 bytes at most, and writers append a little to them.
const LONGEST: usize = 240;

/// The runs by folder; the name of the folder is empty without partitions.
///
/// # Errors
/// [`FlowError::Refused`] for a metric that is no name of a folder.
pub fn split(runs: Vec<PlainRun>, by: Partition) -> Result<BTreeMap<String, Vec<PlainRun>>, FlowError> {
    let mut parts: BTreeMap<String, Vec<PlainRun>> = BTreeMap::new();
    for run in runs {
        match by {
            Partition::None => parts.entry(String::new()).or_default().push(run),
            Partition::Metric => parts.entry(metric_folder(run.label.metric.as_deref())?).or_default().push(run),
            Partition::Day => {
                // Points are sorted by time.
                let day = |ms: i64| ms.div_euclid(DAY_MS);
                for points in run.points.chunk_by(|a, b| day(a.timestamp) == day(b.timestamp)) {
                    let Some(first) = points.first() else { continue };
                    let piece = PlainRun { label: run.label.clone(), points: points.to_vec() };
                    parts.entry(day_folder(first.timestamp)).or_default().push(piece);
                }
            }
        }
    }
    Ok(parts)
}

fn day_folder(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).map(|time| time.to_string());
    // RFC 3339 begins with the day.
    let day = time.ok().and_then(|text| text.get(..10).map(str::to_owned));
    format!("day={}", day.as_deref().unwrap_or(NULL))
}

fn metric_folder(metric: Option<&str>) -> Result<String, FlowError> {
    let Some(metric) = metric else { return Ok(format!("metric={NULL}")) };
    let mut name = "metric=".to_owned();
    for byte in metric.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.len() > LONGEST {
        return Err(FlowError::refused(format!(
            "metric {metric} is too long for the name of a folder: export without --partition metric"
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Number, PlainPoint};

    fn run(metric: Option<&str>, times: &[i64]) -> PlainRun {
        let label = crate::model::SeriesLabel { metric: metric.map(str::to_owned), ..Default::default() };
        let point = |timestamp: &i64| PlainPoint {
            timestamp: *timestamp,
            value: Number::Int(1),
            milliseconds: false,
            superseded: false,
            written: 0,
        };
        PlainRun { label: std::sync::Arc::new(label), points: times.iter().map(point).collect() }
    }

    #[test]
    fn folders_are_named_as_hive_names_them() {
        let runs = vec![run(Some("a/b é"), &[0, DAY_MS - 1, DAY_MS]), run(None, &[5])];
        let names = |by| split(runs.clone(), by).unwrap().into_keys().collect::<Vec<_>>();
        assert_eq!(names(Partition::None), [""]);
        assert_eq!(names(Partition::Day), ["day=1970-01-01", "day=1970-01-02"]);
        assert_eq!(names(Partition::Metric), ["metric=__HIVE_DEFAULT_PARTITION__", "metric=a%2Fb%20%C3%A9"]);
        let days = split(runs, Partition::Day).unwrap();
        assert_eq!(days["day=1970-01-01"].iter().map(|run| run.points.len()).collect::<Vec<_>>(), [2, 1]);
        assert!(split(vec![run(Some(&"x".repeat(300)), &[0])], Partition::Metric).is_err());
    }
}

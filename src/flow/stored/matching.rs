//! The metrics and series of a backup that match, from its catalogue and the files of its series alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::flow::engine::threads::Threads;
use crate::flow::stored::backup_files::{fetch, load_backup, metric_rows};
use crate::flow::{FlowError, MetricReport, Selection};
use crate::manifest::Manifest;
use crate::model::{ColumnRanges, FileKind, FileRow};
use crate::parquet_file::read_series;
use crate::store::Store;

/// A series of a backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SeriesReport {
    /// HBase table.
    pub table: String,
    /// Name; `None` when the UID has none.
    pub metric: Option<String>,
    /// Tags by key; a UID without a name is shown in hex.
    pub tags: BTreeMap<String, String>,
    /// TSUID in upper-case hex.
    pub tsuid: String,
}

/// What matches in a backup.
#[derive(Debug, Clone, Serialize)]
pub struct MatchReport {
    /// Backup id.
    pub backup: String,
    /// Of an increment, the backup that it adds to: what is listed is what the increment holds itself.
    pub parent: Option<String>,
    /// Metrics that match and have points in the time, the largest first; points and times are those of all their series.
    pub metrics: Vec<MetricReport>,
    /// Series that match; absent unless they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<Vec<SeriesReport>>,
}

/// The metrics of a backup that match, and their series where they are asked for or tags decide. Of an increment, what it
/// holds itself. The time leaves out metrics, and series in whose files no point is of that time.
///
/// # Errors
/// The repository's; a damaged file.
pub fn matching(
    store: &Store,
    backup: &str,
    selection: &Selection,
    with_series: bool,
) -> Result<MatchReport, FlowError> {
    let threads = Threads::for_store()?;
    let contents = load_backup(&threads, store, backup)?;
    let mut rows = metric_rows(&threads, store, &contents)?;
    let meets = |first: Option<i64>, last: Option<i64>| match (first, last) {
        (Some(first), Some(last)) => selection.meets(first, last),
        _ => true,
    };
    rows.retain(|row| selection.has_metric(row.metric.as_deref()) && meets(row.first_time, row.last_time));
    let mut series = None;
    if with_series || !selection.tags.is_empty() {
        let in_time =
            |file: &&FileRow| file.kind == FileKind::Points && meets(file.ranges.first_ms, file.ranges.last_ms);
        let attempts: BTreeSet<&str> =
            contents.files.iter().filter(in_time).map(|file| file.attempt.as_str()).collect();
        let named = |ranges: &ColumnRanges| {
            ranges.names.metrics_left_out > 0
                || selection.metrics.is_empty()
                || ranges.names.metrics.iter().any(|name| selection.has_metric(Some(name)))
        };
        let mut found = BTreeSet::new();
        for file in contents.files.iter().filter(|file| file.kind == FileKind::Series) {
            if !attempts.contains(file.attempt.as_str()) || !named(&file.ranges) {
                continue;
            }
            for row in read_series(fetch(&threads, store, file)?)? {
                let tags = row.label.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                if selection.has_metric(row.label.metric.as_deref()) && selection.has_tags(tags) {
                    let (table, tags) = (file.table.clone(), row.label.tags.into_iter().collect());
                    found.insert(SeriesReport { table, metric: row.label.metric, tags, tsuid: row.tsuid });
                }
            }
        }
        let has_series: BTreeSet<(&str, Option<&str>)> =
            found.iter().map(|series| (series.table.as_str(), series.metric.as_deref())).collect();
        rows.retain(|row| has_series.contains(&(row.table.as_str(), row.metric.as_deref())));
        series = Some(found.into_iter().collect());
    }
    let mut metrics: Vec<MetricReport> = rows.into_iter().map(MetricReport::from).collect();
    metrics.sort_by(|a, b| (&a.table, b.points, &a.uid).cmp(&(&b.table, a.points, &b.uid)));
    let Manifest { backup, parent, .. } = contents.manifest;
    Ok(MatchReport { backup, parent, metrics, series })
}

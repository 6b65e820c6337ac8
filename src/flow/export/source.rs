//! The files of a backup that may hold wanted points, and the wanted series of each.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::flow::engine::threads::{Pending, Threads};
use crate::flow::stored::backup_files::{BackupContents, fetch};
use crate::flow::{FlowError, Progress, Selection};
use crate::manifest::FileName;
use crate::model::{FileKind, FileRow, SeriesLabel};
use crate::parquet_file::read_series;
use crate::store::Store;

/// A file of points, and the files that name its series.
#[derive(Debug, Clone)]
pub struct Source {
    /// The points.
    pub points: FileRow,
    /// The series.
    pub series: Vec<FileRow>,
}

/// The series of a file by TSUID in upper-case hex; `None` for those that are not wanted.
pub type Labels = HashMap<String, Option<Arc<SeriesLabel>>>;

/// A file of points whose series are known.
pub struct Loaded {
    /// Its path and rows.
    pub file: FileRow,
    /// Its series.
    pub labels: Labels,
    /// Its bytes; `None` when no series of it is wanted.
    pub bytes: Option<Bytes>,
}

/// The files that may hold wanted points, in the order of their keys, so that the times of a series rise from file to
/// file; and the table that they are of.
///
/// # Errors
/// [`FlowError::Input`] for a table that the backup has not, and for points in several tables of which none is named.
pub fn choose(
    contents: &BackupContents,
    table: Option<&String>,
    selection: &Selection,
) -> Result<(Vec<Source>, Option<String>), FlowError> {
    contents.require_tables(table.into_iter())?;
    let is_wanted = |file: &&FileRow| {
        file.kind == FileKind::Points && table.is_none_or(|table| file.table == *table) && may_hold(file, selection)
    };
    let mut files: Vec<&FileRow> = contents.files.iter().filter(is_wanted).collect();
    let tables: BTreeSet<&str> = files.iter().map(|file| file.table.as_str()).collect();
    if tables.len() > 1 {
        let tables: Vec<&str> = tables.into_iter().collect();
        return Err(FlowError::input(format!(
            "several tables of the backup hold wanted points, which would be mixed: {}; name one with --table",
            tables.join(", ")
        )));
    }
    let start: HashMap<&str, &[u8]> =
        contents.shards.iter().map(|shard| (shard.attempt.as_str(), shard.start.as_slice())).collect();
    files.sort_by_key(|file| (start.get(file.attempt.as_str()).copied(), number(file)));
    let found = tables.into_iter().next().map(str::to_owned);
    Ok((files.into_iter().map(|file| with_series(contents, file)).collect(), found.or_else(|| table.cloned())))
}

/// False when the catalogue says that the file holds nothing that is wanted.
pub fn may_hold(file: &FileRow, selection: &Selection) -> bool {
    let ranges = &file.ranges;
    let in_time = match (ranges.first_ms, ranges.last_ms) {
        (Some(first), Some(last)) => selection.meets(first, last) || ranges.timestamp_nulls > 0,
        _ => true,
    };
    let names = &ranges.names;
    let in_metrics = selection.metrics.is_empty()
        || names.metrics_left_out > 0
        || names.metrics.iter().any(|name| selection.has_metric(Some(name)));
    in_time && in_metrics
}

fn number(file: &FileRow) -> u32 {
    FileName::parse(&file.path).map_or(u32::MAX, |name| name.number)
}

/// An attempt closes its file of series with each file of points: the first belongs to the first, and so on.
fn with_series(contents: &BackupContents, points: &FileRow) -> Source {
    let of_attempt = |kind: FileKind| {
        let files = contents.files_of(&points.table).filter(|file| file.kind == kind && file.attempt == points.attempt);
        let mut files: Vec<&FileRow> = files.collect();
        files.sort_by_key(|file| number(file));
        files
    };
    let (all_points, series) = (of_attempt(FileKind::Points), of_attempt(FileKind::Series));
    let place = all_points.iter().position(|file| file.path == points.path);
    let one = place.filter(|_| all_points.len() == series.len()).and_then(|place| series.get(place));
    let series = match one {
        Some(file) => vec![(*file).clone()],
        None => series.into_iter().cloned().collect(),
    };
    Source { points: points.clone(), series }
}

/// What reading the files takes.
#[derive(Clone)]
pub struct Reader {
    /// Bridge to the store.
    pub threads: Threads,
    /// The repository's store.
    pub store: Store,
    /// Which series.
    pub selection: Arc<Selection>,
    /// Counters.
    pub progress: Progress,
}

impl Reader {
    /// Starts reading a file beside everything else.
    pub fn begin(&self, source: Source) -> Pending<Result<Loaded, FlowError>> {
        let reader = self.clone();
        self.threads.compute(move || reader.load(source))
    }

    fn load(&self, source: Source) -> Result<Loaded, FlowError> {
        let labels = self.labels(&source)?;
        let some = labels.values().any(Option::is_some);
        let bytes = if some { Some(self.fetch(&source.points)?) } else { None };
        Ok(Loaded { file: source.points, labels, bytes })
    }

    /// The series of a file.
    ///
    /// # Errors
    /// The store's; [`FlowError::Damaged`].
    pub fn labels(&self, source: &Source) -> Result<Labels, FlowError> {
        let mut labels = Labels::new();
        for file in &source.series {
            for row in read_series(self.fetch(file)?)? {
                let wanted = self.is_wanted(&row.label);
                labels.insert(row.tsuid, wanted.then(|| Arc::new(row.label)));
            }
        }
        Ok(labels)
    }

    fn is_wanted(&self, label: &SeriesLabel) -> bool {
        let tags = label.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        self.selection.has_metric(label.metric.as_deref()) && self.selection.has_tags(tags)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// As [`labels`](Self::labels).
    pub fn fetch(&self, file: &FileRow) -> Result<Bytes, FlowError> {
        let bytes = fetch(&self.threads, &self.store, file)?;
        self.progress.fetched(bytes.len() as u64);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::NamePattern;
    use crate::model::{ColumnRanges, Tally};

    #[test]
    fn only_files_that_can_hold_wanted_points_are_opened() {
        let mut ranges = ColumnRanges::default();
        ranges.add_metric(Some("sys.cpu"), 5);
        ranges.add_times(Some((1000, 2000)));
        let mut file = FileRow {
            path: "points/t-0123456789ab-7.parquet".into(),
            table: "t".into(),
            kind: FileKind::Points,
            attempt: "0123456789ab".into(),
            rows: 5,
            size: 1,
            blake3: String::new(),
            footer_size: 1,
            footer_blake3: "ef".into(),
            tally: Tally::default(),
            first_row: None,
            last_row: None,
            ranges,
        };
        let metric = |text| Selection { metrics: vec![NamePattern::new(text).unwrap()], ..Selection::default() };
        let time = |from, to| Selection { from_ms: Some(from), to_ms: Some(to), ..Selection::default() };
        assert_eq!(number(&file), 7);
        assert!(may_hold(&file, &Selection::default()) && may_hold(&file, &metric("sys.*")));
        assert!(!may_hold(&file, &metric("net.*")));
        assert!(may_hold(&file, &time(2000, 3000)) && !may_hold(&file, &time(2001, 3000)));
        assert!(!may_hold(&file, &time(0, 1000)));
        // The catalogue does not name them all.
        file.ranges.names.metrics_left_out = 1;
        assert!(may_hold(&file, &metric("net.*")));
    }
}

//! The catalogue of a backup: what its shards have told, as Parquet tables, and the views that name them.

use std::collections::BTreeMap;

use crate::columnar::TableRows;
use crate::flow::FlowError;
use crate::flow::TableReport;
use crate::flow::backup::delta_logs::{self, LoggedFile};
use crate::flow::backup::export::{MetricMap, MetricTally, ShardOutcome};
use crate::flow::backup::worker::by_name;
use crate::flow::engine::threads::Threads;
use crate::flow::source::gaps;
use crate::flow::source::names::Names;
use crate::flow::source::tables::SourceTable;
use crate::manifest::{BackupWriter, GapRecord, HashedFile, MetricCount, TableRecord};
use crate::model::{FileKind, FileRow, Gap, MetricRow, RawReason, ShardRow, hex};
use crate::parquet_file::{TableWriter, views_sql};

/// One table after all of its shards.
pub struct TableResult {
    /// For the manifest.
    pub record: TableRecord,
    /// For the catalogue.
    pub files: Vec<FileRow>,
    /// For the catalogue.
    pub shards: Vec<ShardRow>,
    /// Points by metric UID.
    pub metrics: MetricMap,
    /// Keys that could not be read.
    pub gaps: Vec<Gap>,
}

impl TableResult {
    /// A table without shards.
    pub fn new(table: &SourceTable, versions: i32) -> Self {
        let record = TableRecord {
            name: table.name.clone(),
            kind: table.kind,
            order: 0,
            descriptor: (&table.descriptor).into(),
            described_by: table.described_by,
            split_keys: table.split_keys().into_iter().map(Into::into).collect(),
            versions,
            shards: 0,
            tally: Default::default(),
            raw_cells: BTreeMap::new(),
            cells_by_layout: BTreeMap::new(),
            rows_by_kind: BTreeMap::new(),
            files: 0,
            bytes_written: 0,
            first_point_ms: None,
            last_point_ms: None,
            gaps: Vec::new(),
        };
        let (files, shards, gaps) = (Vec::new(), Vec::new(), Vec::new());
        Self { record, files, shards, metrics: MetricMap::new(), gaps }
    }

    /// Puts the gaps in order and into the manifest's record, with numbers of shards from `first` on.
    pub fn set_gaps(&mut self, gaps: Vec<Gap>, first: u32) {
        self.gaps = gaps::merged(gaps);
        self.record.gaps = self.gaps.iter().zip(first..).map(|(gap, shard)| GapRecord::new(gap, shard)).collect();
    }

    /// Adds a shard.
    pub fn add(&mut self, outcome: ShardOutcome) {
        let record = &mut self.record;
        record.shards += 1;
        record.tally.add(&outcome.tally);
        for (reason, count) in by_name(&outcome.raw_reasons) {
            let cells = record.raw_cells.entry(reason).or_default();
            *cells = cells.saturating_add(count);
        }
        for (layout, cells) in outcome.by_layout {
            *record.cells_by_layout.entry(layout).or_default() += cells;
        }
        for file in outcome.files {
            record.files += 1;
            record.bytes_written = record.bytes_written.saturating_add(file.size);
            let rows = record.rows_by_kind.entry(file.kind).or_default();
            *rows = rows.saturating_add(file.rows);
            if file.kind == FileKind::Points {
                record.first_point_ms = earliest(record.first_point_ms, file.ranges.first_ms);
                record.last_point_ms = record.last_point_ms.max(file.ranges.last_ms);
            }
            self.files.push(FileRow {
                path: file.path,
                table: record.name.clone(),
                kind: file.kind,
                shard: outcome.shard.to_string(),
                rows: file.rows,
                size: file.size,
                blake3: file.blake3,
                tally: file.tally,
                first_key: file.first_row.map(Into::into),
                last_key: file.last_row.map(Into::into),
                ranges: file.ranges,
            });
        }
        self.shards.push(ShardRow {
            table: record.name.clone(),
            shard: outcome.shard.to_string(),
            start: outcome.range.start,
            stop: outcome.range.stop,
            tally: outcome.tally,
            attempt: outcome.attempt,
        });
        for (metric, tally) in outcome.metrics {
            self.metrics.entry(metric).and_modify(|sum| sum.add(&tally)).or_insert(tally);
        }
    }
}

fn earliest(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A table as a dry run reports it.
pub fn planned_table(table: &SourceTable, versions: i32) -> TableReport {
    let mut planned = TableResult::new(table, versions);
    planned.set_gaps(table.gaps.clone(), 0);
    TableReport::from(&planned.record)
}

/// What to say about rows whose salt fits no number of buckets that is known.
pub fn other_salts(tables: &[TableRecord]) -> Vec<String> {
    let count =
        |table: &TableRecord| table.raw_cells.get(RawReason::OtherSalt.name()).copied().filter(|count| *count > 0);
    let warning = |(table, count): (&TableRecord, u64)| {
        format!(
            "{count} cells of {} are in rows whose salt is a bucket's, but fits no number of buckets that is known: their \
             points are shown, and they are kept as bytes; --salt-buckets NOW,EARLIER,... names earlier numbers and saves \
             space",
            table.name
        )
    };
    tables.iter().filter_map(|table| Some((table, count(table)?))).map(warning).collect()
}

/// Counts for a shard record.
pub fn metric_counts(metrics: &MetricMap, names: &Names) -> Vec<MetricCount> {
    let count = |(uid, tally): (&Vec<u8>, &MetricTally)| MetricCount {
        uid: uid.clone().into(),
        metric: names.metric(uid).unwrap_or_else(|| hex(uid)),
        points: tally.points,
        first_ms: tally.first,
        last_ms: tally.last,
    };
    metrics.iter().map(count).collect()
}

/// Writes the catalogue, the views and the Delta logs.
///
/// # Errors
/// The store's; [`delta_logs::write`]'s.
pub fn write(
    threads: &Threads,
    writer: &BackupWriter,
    names: &Names,
    results: &[TableResult],
    started_ms: i64,
    append_only: bool,
) -> Result<Vec<HashedFile>, FlowError> {
    let mut files = TableWriter::new(FileKind::Files, Vec::new(), Vec::new())?;
    let mut shards = TableWriter::new(FileKind::Shards, Vec::new(), Vec::new())?;
    let mut metrics = TableWriter::new(FileKind::Metrics, Vec::new(), Vec::new())?;
    for result in results {
        files.write(TableRows::Files(&result.files))?;
        shards.write(TableRows::Shards(&result.shards))?;
        metrics.write(TableRows::Metrics(&metric_table(result, names)))?;
    }
    // Each waits for the disk: they wait together.
    let mut uploads = Vec::new();
    for (kind, table) in [(FileKind::Files, files), (FileKind::Shards, shards), (FileKind::Metrics, metrics)] {
        let (bytes, summary) = table.finish()?;
        let mut upload = threads.upload(writer.store(), writer.paths().catalogue(kind, writer.attempt(), 0));
        upload.write(bytes);
        uploads.push((kind, summary.rows, upload));
    }
    let mut stored: Vec<(FileKind, u64, HashedFile)> = Vec::new();
    for (kind, rows, upload) in uploads {
        stored.push((kind, rows, upload.finish()?.into()));
    }
    let mut logged: BTreeMap<FileKind, Vec<LoggedFile<'_>>> = BTreeMap::new();
    for row in results.iter().flat_map(|result| &result.files) {
        let known = Some((row.table.as_str(), &row.ranges));
        let file = LoggedFile { path: &row.path, size: row.size, rows: row.rows, known };
        logged.entry(row.kind).or_default().push(file);
    }
    for (kind, rows, file) in &stored {
        let file = LoggedFile { path: &file.path, size: file.size, rows: *rows, known: None };
        logged.entry(*kind).or_default().push(file);
    }
    let logs = delta_logs::write(threads, writer, started_ms, append_only, &logged)?;
    let views = write_views(threads, writer, &logged, append_only)?;
    Ok(stored.into_iter().map(|(.., file)| file).chain([views]).chain(logs).collect())
}

fn write_views(
    threads: &Threads,
    writer: &BackupWriter,
    logged: &BTreeMap<FileKind, Vec<LoggedFile<'_>>>,
    append_only: bool,
) -> Result<HashedFile, FlowError> {
    let folder = format!("{}/", writer.paths().folder());
    let inside = |file: &LoggedFile<'_>| file.path.strip_prefix(&folder).unwrap_or(file.path).to_owned();
    let files = logged.iter().map(|(kind, files)| (*kind, files.iter().map(inside).collect())).collect();
    let views = views_sql(
        &files,
        &["Run inside the folder of the backup: duckdb -init views.sql", "From elsewhere: tsdb-ark show --views"],
    )?
    .into_bytes();
    let mut upload = threads.upload(writer.store(), views_path(threads, writer, &views, append_only)?);
    upload.write(views);
    Ok(upload.finish()?.into())
}

/// Where the views go. An earlier run that ended right before its manifest left others under the plain name: they are
/// removed, or, where that may not be, the new ones get a name of their own.
fn views_path(threads: &Threads, writer: &BackupWriter, views: &[u8], append_only: bool) -> Result<String, FlowError> {
    let plain = writer.paths().views();
    match threads.wait(writer.store().get(&plain)) {
        Ok(stored) if stored != views => {
            let removed = !append_only && threads.wait(writer.store().delete(&plain)).is_ok();
            Ok(if removed { plain } else { writer.paths().views_of(writer.attempt()) })
        }
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(plain),
    }
}

fn metric_table(result: &TableResult, names: &Names) -> Vec<MetricRow> {
    let mut rows: Vec<MetricRow> = result
        .metrics
        .iter()
        .map(|(uid, tally)| MetricRow {
            table: result.record.name.clone(),
            uid: hex(uid),
            metric: names.metric(uid),
            points: tally.points,
            first_time: Some(tally.first),
            last_time: Some(tally.last),
        })
        .collect();
    rows.sort_by(|a, b| a.uid.cmp(&b.uid));
    rows
}

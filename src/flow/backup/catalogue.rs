//! The catalogue of a backup: what its shards have told, as Parquet tables, and the views that name them.

use std::collections::BTreeMap;

use crate::columnar::TableRows;
use crate::flow::FlowError;
use crate::flow::TableReport;
use crate::flow::backup::delta_logs::{self, LoggedFile};
use crate::flow::engine::threads::Threads;
use crate::flow::source::gaps;
use crate::flow::stored::backup_files::read_checked;
use crate::flow::stored::views;
use crate::manifest::{BackupWriter, GapRecord, HashedFile, MetricCount, PlannedTable, ShardRecord, TableRecord};
use crate::model::{FileKind, FileRow, Gap, MetricRow, RawReason, ShardRow, hex, unhex};
use crate::parquet_file::{TableWriter, read_metrics, views_sql};

/// One table after all of its shards.
pub struct TableResult {
    /// For the manifest.
    pub record: TableRecord,
    /// For the catalogue.
    pub files: Vec<FileRow>,
    /// For the catalogue.
    pub shards: Vec<ShardRow>,
    /// Points by metric UID.
    metrics: BTreeMap<Vec<u8>, MetricRow>,
}

impl TableResult {
    /// A table without shards.
    pub fn new(table: &PlannedTable) -> Self {
        let record = TableRecord {
            name: table.name.clone(),
            kind: table.kind,
            order: 0,
            descriptor: table.descriptor.clone(),
            described_by: table.described_by,
            split_keys: table.split_keys.clone(),
            versions: table.versions,
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
        Self { record, files: Vec::new(), shards: Vec::new(), metrics: BTreeMap::new() }
    }

    /// Adds a shard.
    ///
    /// # Errors
    /// The store's, or a damaged file, where the record has no room for all metrics.
    pub fn add(&mut self, threads: &Threads, writer: &BackupWriter, shard: &ShardRecord) -> Result<(), FlowError> {
        let record = &mut self.record;
        record.shards += 1;
        record.tally.add(&shard.shard.tally);
        for (reason, count) in &shard.raw_cells {
            let cells = record.raw_cells.entry(reason.clone()).or_default();
            *cells = cells.saturating_add(*count);
        }
        for (layout, cells) in &shard.cells_by_layout {
            *record.cells_by_layout.entry(*layout).or_default() += cells;
        }
        for file in &shard.files {
            record.files += 1;
            record.bytes_written = record.bytes_written.saturating_add(file.size);
            let rows = record.rows_by_kind.entry(file.kind).or_default();
            *rows = rows.saturating_add(file.rows);
            if file.kind == FileKind::Points {
                record.first_point_ms = earliest(record.first_point_ms, file.ranges.first_ms);
                record.last_point_ms = record.last_point_ms.max(file.ranges.last_ms);
            }
        }
        self.files.extend(shard.files.iter().cloned());
        self.shards.push(shard.shard.clone());
        match &shard.all_metrics {
            Some(file) => {
                let rows = read_metrics(read_checked(threads, writer.store(), file)?)?;
                rows.into_iter().for_each(|row| self.count(row));
            }
            None => shard.metrics.iter().for_each(|count| self.count(metric_row(&shard.shard.table, count))),
        }
        Ok(())
    }

    fn count(&mut self, row: MetricRow) {
        let uid = unhex(row.uid.as_bytes()).unwrap_or_default();
        let Some(sum) = self.metrics.get_mut(&uid) else {
            self.metrics.insert(uid, row);
            return;
        };
        sum.points = sum.points.saturating_add(row.points);
        sum.first_time = earliest(sum.first_time, row.first_time);
        sum.last_time = sum.last_time.max(row.last_time);
        sum.metric = sum.metric.take().or(row.metric);
    }
}

fn metric_row(table: &str, count: &MetricCount) -> MetricRow {
    MetricRow {
        table: table.to_owned(),
        uid: hex(&count.uid.0),
        metric: count.metric.clone(),
        points: count.points,
        first_time: Some(count.first_ms),
        last_time: Some(count.last_ms),
    }
}

fn earliest(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A table as a dry run reports it.
pub fn planned_table(table: &PlannedTable, gaps: &[Gap]) -> TableReport {
    let mut planned = TableResult::new(table);
    planned.record.gaps = gaps::merged(gaps.to_vec()).iter().map(|gap| GapRecord::new(gap, String::new())).collect();
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

/// Writes the catalogue, the views and the Delta logs.
///
/// # Errors
/// The store's; [`delta_logs::write`]'s.
pub fn write(
    threads: &Threads,
    writer: &BackupWriter,
    results: &[TableResult],
    started_ms: i64,
    (is_increment, append_only): (bool, bool),
) -> Result<Vec<HashedFile>, FlowError> {
    let mut files = TableWriter::new(FileKind::Files, Vec::new(), Vec::new())?;
    let mut shards = TableWriter::new(FileKind::Shards, Vec::new(), Vec::new())?;
    let mut metrics = TableWriter::new(FileKind::Metrics, Vec::new(), Vec::new())?;
    for result in results {
        files.write(TableRows::Files(&result.files))?;
        shards.write(TableRows::Shards(&result.shards))?;
        metrics.write(TableRows::Metrics(&result.metrics.values().cloned().collect::<Vec<_>>()))?;
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
    let views = write_views(threads, writer, &logged, (is_increment, append_only))?;
    Ok(stored.into_iter().map(|(.., file)| file).chain([views]).chain(logs).collect())
}

fn write_views(
    threads: &Threads,
    writer: &BackupWriter,
    logged: &BTreeMap<FileKind, Vec<LoggedFile<'_>>>,
    (is_increment, append_only): (bool, bool),
) -> Result<HashedFile, FlowError> {
    let folder = format!("{}/", writer.paths().folder());
    let inside = |file: &LoggedFile<'_>| file.path.strip_prefix(&folder).unwrap_or(file.path).to_owned();
    let files = logged.iter().map(|(kind, files)| (*kind, files.iter().map(inside).collect())).collect();
    let place =
        ["Run inside the folder of the backup: duckdb -init views.sql", "From elsewhere: tsdb-ark show --views"];
    let views = if is_increment {
        let head = views::alone(writer.id());
        let whole = "Of the whole chain: tsdb-ark show --views";
        let head: Vec<&str> = head.iter().map(String::as_str).chain([whole, place[0]]).collect();
        views_sql(&files, &head, views::ALONE)?
    } else {
        views_sql(&files, &place, "")?
    };
    let views = views.into_bytes();
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

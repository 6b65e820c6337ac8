//! Batches to Parquet files of one shard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::codec::prove;
use crate::columnar::{TableRows, sort_points_into};
use crate::flow::FlowError;
use crate::model::{
    CellHasher, FileKind, FileRow, LabelTable, OwnedCell, PointBatch, RawCell, RawReason, SeriesLabels, SeriesRows,
    SeriesTable, Tally, TypedRows, hex, unhex,
};
use crate::parquet_file::{PointsWriter, TableWriter};

use super::attempts::next_number;
use super::chunk_buffer::ChunkBuffer;
use super::context::EncodeContext;
use super::decode::{Batch, ROW_BYTES};
use super::metrics::{MetricMap, count_metrics};
use super::open_file::{Growing, OpenFile};
use super::points_tally::{count_layouts, tally_of_points};

/// A file is closed when it has this many bytes: restore and verify hold one file per connection in memory.
const FILE_BYTES: u64 = 32 << 20;
/// The same for files of other rows, which may hold cells of 10 MiB.
const TABLE_FILE_BYTES: u64 = 16 << 20;
/// Bytes of raw cells that are turned into columns at once.
const RAW_BYTES: usize = 4 << 20;
/// A points file is closed when it names this many series, so that the numbers in memory stay bounded.
const FILE_SERIES: usize = 300_000;

/// The files of one shard in the making.
pub struct ShardEncoder {
    context: Arc<EncodeContext>,
    attempt: String,
    points: Option<Growing<PointsWriter<ChunkBuffer>>>,
    tables: BTreeMap<FileKind, Growing<TableWriter<ChunkBuffer>>>,
    numbers: BTreeMap<FileKind, u32>,
    /// Series that the open points file names.
    series: SeriesTable,
    /// Their numbers.
    series_ids: Vec<i64>,
    /// The next series number; `None` when the attempt has no more.
    next_series: Option<i64>,
    done: Vec<FileRow>,
    metrics: MetricMap,
    raw_reasons: BTreeMap<RawReason, u64>,
    by_layout: BTreeMap<u8, u64>,
    hasher: CellHasher,
    /// Memory of the batch written last, for the next one to be sorted into.
    sorted: PointBatch,
    /// Memory of the batch decoded last, for the decoder.
    used: PointBatch,
}

/// What a finished encoder hands over.
pub struct Encoded {
    /// Files, all stored.
    pub files: Vec<FileRow>,
    /// Points by metric UID.
    pub metrics: MetricMap,
    /// Raw cells by reason.
    pub raw_reasons: BTreeMap<RawReason, u64>,
    /// Cells of points in rows under another salt, by number of the layout.
    pub by_layout: BTreeMap<u8, u64>,
}

impl ShardEncoder {
    /// An encoder without files.
    pub fn new(context: Arc<EncodeContext>, (attempt, first_series): (String, i64), spare: PointBatch) -> Self {
        Self {
            context,
            attempt,
            points: None,
            tables: BTreeMap::new(),
            numbers: BTreeMap::new(),
            series: SeriesTable::new(),
            series_ids: Vec::new(),
            next_series: Some(first_series),
            done: Vec::new(),
            metrics: MetricMap::new(),
            raw_reasons: BTreeMap::new(),
            by_layout: BTreeMap::new(),
            hasher: CellHasher::new(),
            sorted: spare,
            used: PointBatch::default(),
        }
    }

    /// The memory of the batch written last.
    pub fn take_sorted(&mut self) -> PointBatch {
        std::mem::take(&mut self.sorted)
    }

    /// The memory of a batch that is done with, for the decoder to go on in.
    pub fn take_used(&mut self) -> PointBatch {
        std::mem::take(&mut self.used)
    }

    /// Writes a batch, whose rows lie between the two.
    ///
    /// # Errors
    /// A look-up of names that fails, a proof that fails, or the file's.
    pub fn encode(&mut self, batch: Batch, rows: Option<(Vec<u8>, Vec<u8>)>) -> Result<(), FlowError> {
        if !batch.points.is_empty() {
            self.encode_points(batch.points, rows)?;
        }
        self.encode_rows(&batch.rows)
    }

    fn encode_points(&mut self, points: PointBatch, rows: Option<(Vec<u8>, Vec<u8>)>) -> Result<(), FlowError> {
        let context = Arc::clone(&self.context);
        let (layouts, metric_width) = (&context.layouts, context.layouts.main().metric_width);
        let spare = std::mem::take(&mut self.sorted);
        let (sorted, used) = sort_points_into(points, spare);
        self.used = used;
        // Sorted columns are what is written; from here on restore has nothing else, so they are what must rebuild.
        prove(&sorted, layouts).map_err(|e| {
            FlowError::damaged(format!(
                "points do not rebuild to the cells they came from ({e}); this is a defect, please report it"
            ))
        })?;
        let labels = self.context.names.labels(&sorted.series)?;
        let ids = self.number_series(&sorted, &labels)?;
        let growing = match &mut self.points {
            Some(growing) => growing,
            None => {
                let (path, footer) = self.context.new_file(FileKind::Points, &self.attempt, &mut self.numbers);
                let sink = ChunkBuffer::default();
                let writer = PointsWriter::new(sink.clone(), metric_width, &self.context.table, footer)?;
                let file = OpenFile::new(path, FileKind::Points, &self.attempt, sink, &self.context);
                self.points.insert(Growing { writer, file })
            }
        };
        growing.writer.write(&sorted, &labels, &ids)?;
        growing.file.count(&tally_of_points(&sorted, layouts));
        rows.iter().for_each(|(first, last)| [first, last].into_iter().for_each(|row| growing.file.covers(row)));
        growing.file.send();
        let full = growing.file.bytes() >= FILE_BYTES || self.series.len() >= FILE_SERIES;
        count_layouts(&mut self.by_layout, &sorted);
        count_metrics(&mut self.metrics, &sorted, usize::from(metric_width));
        self.sorted = sorted;
        if full { self.close_points() } else { Ok(()) }
    }

    /// Numbers for the series of a batch; those that the open file does not name yet go to the series table.
    fn number_series(&mut self, batch: &PointBatch, labels: &LabelTable) -> Result<Vec<i64>, FlowError> {
        let mut ids = Vec::with_capacity(batch.series.len());
        let mut fresh = Vec::new();
        for (tsuid, index) in batch.series.iter().zip(0u32..) {
            let known = self.series.index_of(tsuid);
            if let Some(id) = self.series_ids.get(known as usize) {
                ids.push(*id);
                continue;
            }
            let id = self.next_series.ok_or_else(|| {
                FlowError::damaged("a shard holds more than 2^26 entries of series; this is a defect, please report it")
            })?;
            self.next_series = next_number(id);
            self.series_ids.push(id);
            fresh.push(index);
            ids.push(id);
        }
        if !fresh.is_empty() {
            let rows = SeriesRows { chosen: &fresh, ids: &ids, series: &batch.series, labels };
            self.table(FileKind::Series)?.writer.write(TableRows::Series(rows))?;
            self.after_rows(FileKind::Series)?;
        }
        Ok(ids)
    }

    fn encode_rows(&mut self, rows: &TypedRows) -> Result<(), FlowError> {
        for raw in &rows.raw {
            *self.raw_reasons.entry(raw.reason).or_default() += 1;
        }
        let labels = self.labels(rows)?;
        let context = Arc::clone(&self.context);
        self.write_rows(TableRows::Annotations(&rows.annotations, &labels), rows.annotations.iter().map(|r| &r.cell))?;
        self.write_rows(TableRows::Histograms(&rows.histograms, &labels), rows.histograms.iter().map(|r| &r.cell))?;
        self.write_rows(TableRows::Rollups(&rows.rollups, &labels), rows.rollups.iter().map(|r| &r.cell))?;
        self.write_rows(TableRows::Uids(&rows.uids), rows.uids.iter().map(|r| &r.cell))?;
        self.write_rows(TableRows::Meta(&rows.meta), rows.meta.iter().map(|r| &r.cell))?;
        self.write_rows(TableRows::Tree(&rows.tree), rows.tree.iter().map(|r| &r.cell))?;
        let mut bytes = 0;
        let full = |_: &RawCell, next: &RawCell| {
            bytes += ROW_BYTES + next.cell.value.len();
            let full = bytes > RAW_BYTES;
            bytes = if full { 0 } else { bytes };
            !full
        };
        rows.raw
            .chunk_by(full)
            .try_for_each(|raw| self.write_rows(TableRows::Cells(&context.table, raw), raw.iter().map(|row| &row.cell)))
    }

    /// Labels of the series that the rows name.
    fn labels(&self, rows: &TypedRows) -> Result<SeriesLabels, FlowError> {
        let named = (rows.annotations.iter().filter_map(|row| row.tsuid.as_ref()))
            .chain(rows.histograms.iter().map(|row| &row.tsuid))
            .chain(rows.rollups.iter().map(|row| &row.tsuid));
        let texts: BTreeSet<&String> = named.collect();
        let tsuids: SeriesTable = texts.iter().filter_map(|text| unhex(text.as_bytes())).collect();
        let labels = self.context.names.labels(&tsuids)?;
        Ok(tsuids.iter().map(hex).zip(labels.iter().map(|label| label.to_owned())).collect())
    }

    fn write_rows<'a>(
        &mut self,
        rows: TableRows<'_>,
        cells: impl Iterator<Item = &'a OwnedCell> + Clone,
    ) -> Result<(), FlowError> {
        if rows.is_empty() {
            return Ok(());
        }
        let kind = rows.kind();
        let tally = self.tally_of_cells(cells.clone());
        let growing = self.table(kind)?;
        growing.writer.write(rows)?;
        growing.file.count(&tally);
        cells.for_each(|cell| growing.file.covers(&cell.row));
        self.after_rows(kind)
    }

    fn tally_of_cells<'a>(&mut self, cells: impl Iterator<Item = &'a OwnedCell>) -> Tally {
        let mut tally = Tally::default();
        for cell in cells {
            let cell = cell.as_cell();
            let hash = self.hasher.whole(&cell);
            tally.add_cell(&cell, hash);
        }
        tally
    }

    /// The open file of a kind, opening one when there is none.
    fn table(&mut self, kind: FileKind) -> Result<&mut Growing<TableWriter<ChunkBuffer>>, FlowError> {
        let growing = match self.tables.remove(&kind) {
            Some(growing) => growing,
            None => {
                let (path, footer) = self.context.new_file(kind, &self.attempt, &mut self.numbers);
                let sink = ChunkBuffer::default();
                let writer = TableWriter::new(kind, sink.clone(), footer)?;
                Growing { writer, file: OpenFile::new(path, kind, &self.attempt, sink, &self.context) }
            }
        };
        Ok(self.tables.entry(kind).or_insert(growing))
    }

    /// Sends what the writer has finished to the store, and closes a file that is large enough.
    fn after_rows(&mut self, kind: FileKind) -> Result<(), FlowError> {
        let Some(growing) = self.tables.get_mut(&kind) else { return Ok(()) };
        growing.file.send();
        // The series table belongs to the open points file and is closed with it.
        if kind != FileKind::Series && growing.file.bytes() >= TABLE_FILE_BYTES {
            self.close_table(kind)
        } else {
            Ok(())
        }
    }

    fn close_points(&mut self) -> Result<(), FlowError> {
        self.series.clear();
        self.series_ids.clear();
        if let Some(Growing { writer, file }) = self.points.take() {
            let (_, summary) = writer.finish()?;
            self.done.push(file.finish(summary, &self.context)?);
        }
        self.close_table(FileKind::Series)
    }

    fn close_table(&mut self, kind: FileKind) -> Result<(), FlowError> {
        if let Some(Growing { writer, file }) = self.tables.remove(&kind) {
            let (_, summary) = writer.finish()?;
            self.done.push(file.finish(summary, &self.context)?);
        }
        Ok(())
    }

    /// Completes all files.
    ///
    /// # Errors
    /// The store's.
    pub fn finish(mut self) -> Result<Encoded, FlowError> {
        self.close_points()?;
        for kind in self.tables.keys().copied().collect::<Vec<_>>() {
            self.close_table(kind)?;
        }
        Ok(Encoded {
            files: self.done,
            metrics: self.metrics,
            raw_reasons: self.raw_reasons,
            by_layout: self.by_layout,
        })
    }
}

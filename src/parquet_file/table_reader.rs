//! The smaller tables and the catalogue out of files.

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;

use super::FileError;
use super::points_reader::guarded;
use crate::columnar::{self, CELL_COLUMNS, ColumnError, Table};
use crate::model::{CellBlock, FileRow, MetricRow, RawReason, SeriesRow, ShardRow};

/// Rows that are decoded at once, unless they are long.
const STEP: usize = 4096;
/// Bytes that are decoded at once, about.
const STEP_BYTES: u64 = 4 << 20;

/// Opens the named columns; an empty list means all.
fn open<R: ChunkReader + 'static>(source: R, columns: &[&str]) -> Result<ParquetRecordBatchReader, FileError> {
    guarded(|| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(source).map_err(FileError::Damaged)?;
        let mask = match columns {
            [] => ProjectionMask::all(),
            names => ProjectionMask::columns(builder.parquet_schema(), names.iter().copied()),
        };
        let step = step(builder.metadata());
        builder.with_projection(mask).with_batch_size(step).build().map_err(FileError::Damaged)
    })
}

/// Rows of about [`STEP_BYTES`] in the row group with the longest ones.
fn step(file: &ParquetMetaData) -> usize {
    let rows = |group: &RowGroupMetaData| {
        let (rows, bytes) = (group.num_rows().max(0) as u64, group.total_byte_size().max(1) as u64);
        STEP_BYTES.saturating_mul(rows) / bytes
    };
    let fitting = file.row_groups().iter().map(rows).min().unwrap_or(0);
    usize::try_from(fitting).unwrap_or(STEP).clamp(1, STEP)
}

/// The rows of the next batch as `convert` makes them; `None` at the end.
fn next<T>(
    batches: &mut ParquetRecordBatchReader,
    convert: impl FnOnce(&Table) -> Result<T, ColumnError>,
) -> Result<Option<T>, FileError> {
    guarded(|| match batches.next() {
        None => Ok(None),
        Some(Ok(batch)) => Ok(Some(convert(&batch)?)),
        Some(Err(error)) => Err(FileError::Damaged(ParquetError::External(Box::new(error)))),
    })
}

/// Reads the exact cells of any file but points and the catalogue.
pub struct CellReader {
    batches: ParquetRecordBatchReader,
    reasons: Vec<RawReason>,
    failed: bool,
}

impl CellReader {
    /// Opens a file.
    ///
    /// # Errors
    /// [`FileError`] when it is damaged.
    pub fn open<R: ChunkReader + 'static>(source: R) -> Result<Self, FileError> {
        Ok(Self { batches: open(source, CELL_COLUMNS)?, reasons: Vec::new(), failed: false })
    }

    /// Appends the next cells, in file order, to `block`; false at the end. Some thousand cells at a time.
    ///
    /// # Errors
    /// [`FileError`] when the file is damaged or the block is full; nothing more can be read then.
    pub fn next(&mut self, block: &mut CellBlock) -> Result<bool, FileError> {
        if self.failed {
            return Ok(false);
        }
        self.reasons.clear();
        let reasons = &mut self.reasons;
        let read = next(&mut self.batches, |table| {
            *reasons = columnar::reasons(table)?;
            columnar::append_cells(table, block)
        });
        self.failed = read.is_err();
        Ok(read?.is_some())
    }

    /// Why the cells of the last call are raw, one per cell; empty for typed tables.
    pub fn reasons(&self) -> &[RawReason] {
        &self.reasons
    }
}

macro_rules! catalogue_readers {
    ($($(#[$doc:meta])* $name:ident($row:ty) = $convert:path;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`FileError`] when the file is damaged or of another table.
        pub fn $name<R: ChunkReader + 'static>(source: R) -> Result<Vec<$row>, FileError> {
            let mut batches = open(source, &[])?;
            let mut rows = Vec::new();
            while let Some(more) = next(&mut batches, $convert)? {
                rows.extend(more);
            }
            Ok(rows)
        }
    )*};
}

catalogue_readers! {
    /// Reads a catalogue of series.
    read_series(SeriesRow) = columnar::read_series;
    /// Reads a catalogue of files.
    read_files(FileRow) = columnar::read_files;
    /// Reads a catalogue of shards.
    read_shards(ShardRow) = columnar::read_shards;
    /// Reads a catalogue of metrics.
    read_metrics(MetricRow) = columnar::read_metrics;
}

//! The catalogue out of files.

use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;

use super::FileError;
use super::column::{guarded, rows_of};
use super::pages::check_pages;
use crate::columnar::{self, ColumnError, Table};
use crate::model::{FileRow, MetricRow, PlainAnnotation, SeriesRow, ShardRow};

/// Rows that are decoded at once, unless they are long.
const STEP: usize = 4096;
/// Bytes that are decoded at once, about.
const STEP_BYTES: u64 = 4 << 20;

/// Rows of a catalogue that a byte of its file can stand for: each has a hash, a number or a name of its own.
const ROWS_PER_BYTE: u64 = 16;

pub(super) fn open<R: ChunkReader + Clone + 'static>(source: R) -> Result<ParquetRecordBatchReader, FileError> {
    guarded(|| {
        let bytes = source.len();
        let builder = ParquetRecordBatchReaderBuilder::try_new(source.clone()).map_err(FileError::Damaged)?;
        let (found, recorded) = (rows_of(builder.metadata()).unwrap_or(u64::MAX), bytes.saturating_mul(ROWS_PER_BYTE));
        if found > recorded {
            return Err(FileError::Rows { found, recorded });
        }
        check_pages(&source, builder.metadata(), |_| true)?;
        let step = step(builder.metadata());
        builder.with_batch_size(step).build().map_err(FileError::Damaged)
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
pub(super) fn next<T>(
    batches: &mut ParquetRecordBatchReader,
    convert: impl FnOnce(&Table) -> Result<T, ColumnError>,
) -> Result<Option<T>, FileError> {
    guarded(|| match batches.next() {
        None => Ok(None),
        Some(Ok(batch)) => Ok(Some(convert(&batch)?)),
        Some(Err(error)) => Err(FileError::Damaged(ParquetError::External(Box::new(error)))),
    })
}

macro_rules! catalogue_readers {
    ($($(#[$doc:meta])* $name:ident($row:ty) = $convert:path;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`FileError`] when the file is damaged or of another table.
        pub fn $name<R: ChunkReader + Clone + 'static>(source: R) -> Result<Vec<$row>, FileError> {
            let mut batches = open(source)?;
            let mut rows = Vec::new();
            while let Some(more) = next(&mut batches, $convert)? {
                rows.extend(more);
            }
            Ok(rows)
        }
    )*};
}

catalogue_readers! {
    /// Reads what annotations decode to, without their cells.
    read_annotations(PlainAnnotation) = columnar::read_annotations;
    /// Reads a catalogue of series.
    read_series(SeriesRow) = columnar::read_series;
    /// Reads a catalogue of files.
    read_files(FileRow) = columnar::read_files;
    /// Reads a catalogue of shards.
    read_shards(ShardRow) = columnar::read_shards;
    /// Reads a catalogue of metrics.
    read_metrics(MetricRow) = columnar::read_metrics;
}

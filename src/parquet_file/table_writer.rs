//! The smaller tables and the catalogue into files.

use std::io::Write;

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::blocks::BLOCKS;
use super::page_chunk::zstd_level;
use super::sink::{Counted, FileSummary};
use super::{FileError, ROWS_PER_PAGE};
use crate::columnar::{TableRows, empty_table, widen};
use crate::model::{ColumnRanges, FileKind};

/// Rows of a row group: these tables hold JSON and names, 10 to 1,000 bytes a row.
const GROUP_ROWS: usize = 100_000;
/// Bytes of a row group, so that long values do not pile up in memory.
const GROUP_BYTES: usize = 8 << 20;

/// Writes one file of any kind but points.
pub struct TableWriter<W: Write + Send> {
    file: ArrowWriter<Counted<W>>,
    kind: FileKind,
    rows: u64,
    ranges: ColumnRanges,
}

impl<W: Write + Send> TableWriter<W> {
    /// Starts a file; `footer` becomes key-value metadata.
    ///
    /// # Errors
    /// [`FileError`] when the sink fails or the kind is points.
    pub fn new(kind: FileKind, sink: W, footer: Vec<(String, String)>) -> Result<Self, FileError> {
        let table = empty_table(kind)?.ok_or(FileError::wrong_kind(kind, kind))?;
        let entries = footer.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
        let properties = WriterProperties::builder()
            .set_compression(zstd_level()?)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_data_page_row_count_limit(ROWS_PER_PAGE)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .set_key_value_metadata(Some(entries))
            .build();
        // The Parquet types say it all; the Arrow schema would only repeat them, 1 kB per file.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let file = ArrowWriter::try_new_with_options(Counted::new(sink), table.schema(), options)
            .map_err(FileError::writing)?;
        Ok(Self { file, kind, rows: 0, ranges: ColumnRanges::default() })
    }

    /// Writes rows; a row group goes to the sink when it is full.
    ///
    /// # Errors
    /// [`FileError::WrongKind`] for rows of another table, else when the sink fails.
    pub fn write(&mut self, rows: TableRows<'_>) -> Result<(), FileError> {
        if rows.kind() != self.kind {
            return Err(FileError::wrong_kind(self.kind, rows.kind()));
        }
        let table = rows.to_table()?;
        widen(&mut self.ranges, &table);
        self.file.write(&table).map_err(FileError::writing)?;
        self.rows += rows.len() as u64;
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of memory in use by the row group that is being filled.
    pub fn memory(&self) -> usize {
        self.file.memory_size()
    }

    /// Bytes that the sink has taken.
    pub fn bytes_written(&self) -> u64 {
        self.file.inner().bytes
    }

    /// Writes the footer and gives the sink back.
    ///
    /// # Errors
    /// [`FileError`] when the sink fails.
    pub fn finish(mut self) -> Result<(W, FileSummary), FileError> {
        self.file.flush().map_err(FileError::writing)?;
        self.file.sync().map_err(FileError::Sink)?;
        let row_groups = self.file.flushed_row_groups().len() as u64;
        let blocks = self.file.inner_mut().begin_footer();
        self.file.append_key_value_metadata(KeyValue::new(BLOCKS.to_owned(), blocks));
        let mut sink = self.file.into_inner().map_err(FileError::writing)?;
        sink.flush().map_err(FileError::Sink)?;
        Ok(sink.finish(FileSummary { rows: self.rows, row_groups, ranges: self.ranges, ..FileSummary::default() }))
    }
}

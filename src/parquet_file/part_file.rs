//! A file of which only some pages are there, as a file of fewer and smaller row groups.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::bloom_filter::Sbbf;
use parquet::column::page::PageReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

use super::FileError;
use super::blocks::Fetched;
use super::pages::check_chunk;

/// The pages of one column chunk that are there.
pub(super) struct ChunkPages {
    /// Place of the column in the schema.
    pub(super) place: usize,
    /// The dictionary page; empty when there is none.
    pub(super) dictionary: Range<u64>,
    /// Data pages, one behind the other.
    pub(super) data: Range<u64>,
}

/// Rows of a row group, as whole pages.
pub(super) struct PartGroup {
    /// Number of the row group in the file.
    pub(super) group: usize,
    /// Rows.
    pub(super) rows: usize,
    /// The pages of every column that is read.
    pub(super) chunks: Vec<ChunkPages>,
}

/// Some row groups of a file, with the pages that were fetched.
pub(super) struct PartFile {
    file: ParquetMetaData,
    groups: Vec<Group>,
}

struct Group {
    metadata: RowGroupMetaData,
    /// Pages by place of their column.
    chunks: Vec<Option<Arc<Bytes>>>,
}

impl PartFile {
    /// Puts the pages together.
    ///
    /// # Errors
    /// [`FileError`] when pages were not fetched, or their headers are impossible.
    pub(super) fn new(
        file: ParquetMetaData,
        parts: &[PartGroup],
        fetched: &Fetched,
    ) -> std::result::Result<Self, FileError> {
        let group = |part: &PartGroup| {
            let whole = file.row_groups().get(part.group).ok_or(FileError::Undecodable)?;
            Group::new(whole, part, fetched)
        };
        let groups = parts.iter().map(group).collect::<std::result::Result<_, _>>()?;
        Ok(Self { file, groups })
    }
}

impl Group {
    fn new(whole: &RowGroupMetaData, part: &PartGroup, fetched: &Fetched) -> std::result::Result<Self, FileError> {
        let mut columns = whole.columns().to_vec();
        let mut chunks = vec![None; columns.len()];
        for pages in &part.chunks {
            let (column, chunk) =
                columns.get_mut(pages.place).zip(chunks.get_mut(pages.place)).ok_or(FileError::Undecodable)?;
            let bytes = match pages.dictionary.is_empty() {
                true => fetched.get(&pages.data)?,
                false => Bytes::from([fetched.get(&pages.dictionary)?, fetched.get(&pages.data)?].concat()),
            };
            check_chunk(&bytes)?;
            *column = alone(column, pages, part.rows, bytes.len()).map_err(FileError::Damaged)?;
            *chunk = Some(Arc::new(bytes));
        }
        let metadata = RowGroupMetaData::builder(whole.schema_descr_ptr())
            .set_num_rows(part.rows as i64)
            .set_total_byte_size(whole.total_byte_size())
            .set_column_metadata(columns)
            .build()
            .map_err(FileError::Damaged)?;
        Ok(Self { metadata, chunks })
    }
}

/// A chunk that begins at byte 0 and has these pages alone.
fn alone(column: &ColumnChunkMetaData, pages: &ChunkPages, rows: usize, bytes: usize) -> Result<ColumnChunkMetaData> {
    let dictionary = pages.dictionary.end - pages.dictionary.start;
    column
        .clone()
        .into_builder()
        .set_dictionary_page_offset((dictionary > 0).then_some(0))
        .set_data_page_offset(i64::try_from(dictionary).unwrap_or(i64::MAX))
        .set_total_compressed_size(bytes as i64)
        .set_num_values(rows as i64)
        .build()
}

impl FileReader for PartFile {
    fn metadata(&self) -> &ParquetMetaData {
        &self.file
    }

    fn num_row_groups(&self) -> usize {
        self.groups.len()
    }

    fn get_row_group(&self, at: usize) -> Result<Box<dyn RowGroupReader + '_>> {
        let group = self.groups.get(at).ok_or_else(|| ParquetError::General("there is no such row group".into()))?;
        Ok(Box::new(group))
    }

    fn get_row_iter(&self, _: Option<Type>) -> Result<RowIter<'_>> {
        Err(ParquetError::NYI("rows of a part".into()))
    }
}

impl RowGroupReader for &Group {
    fn metadata(&self) -> &RowGroupMetaData {
        &self.metadata
    }

    fn num_columns(&self) -> usize {
        self.chunks.len()
    }

    fn get_column_page_reader(&self, at: usize) -> Result<Box<dyn PageReader>> {
        let chunk = self.chunks.get(at).and_then(Option::as_ref);
        let chunk = chunk.ok_or_else(|| ParquetError::General("the column is not part of what was read".into()))?;
        let rows = usize::try_from(self.metadata.num_rows()).unwrap_or(usize::MAX);
        Ok(Box::new(SerializedPageReader::new(Arc::clone(chunk), self.metadata.column(at), rows, None)?))
    }

    fn get_column_bloom_filter(&self, _: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, _: Option<Type>) -> Result<RowIter<'_>> {
        Err(ParquetError::NYI("rows of a part".into()))
    }
}

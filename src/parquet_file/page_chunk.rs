//! One column chunk, page by page, with its indexes.

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, EncodingMask, PageType, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::{FileError, ZSTD_LEVEL};

/// Keeps the context between pages: making one costs more than a small page.
pub(super) type Compressor = zstd::bulk::Compressor<'static>;

/// An encoded column chunk that is still to be placed in a file.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

impl Chunk {
    /// Least and greatest value of a chunk of INT64, from its statistics.
    pub(super) fn int_range(&self) -> Option<(i64, i64)> {
        match self.close.metadata.statistics() {
            Some(Statistics::Int64(range)) => Some((*range.min_opt()?, *range.max_opt()?)),
            _ => None,
        }
    }
}

/// What the indexes say about a page.
pub(super) struct PageRange {
    pub(super) rows: usize,
    pub(super) nulls: usize,
    /// Smallest and largest value, empty when the page is null; `None`: no bound exists, the chunk has no column index.
    pub(super) bounds: Option<(Vec<u8>, Vec<u8>)>,
    /// Values that are NaN; they are outside of the bounds.
    pub(super) nans: u64,
}

/// A chunk that grows page by page.
pub(super) struct PageChunk {
    sink: TrackedWrite<Vec<u8>>,
    descr: ColumnDescPtr,
    column_index: ColumnIndexBuilder,
    offset_index: OffsetIndexBuilder,
    rows: usize,
    uncompressed: usize,
    data_pages: i32,
    dictionary: bool,
    data_offset: Option<u64>,
    encoding: Encoding,
    compress: bool,
}

impl PageChunk {
    /// A chunk whose pages are compressed.
    pub(super) fn new(descr: ColumnDescPtr) -> Self {
        Self { compress: true, ..Self::plain(descr) }
    }

    /// A chunk without compression.
    pub(super) fn plain(descr: ColumnDescPtr) -> Self {
        Self {
            compress: false,
            sink: TrackedWrite::new(Vec::new()),
            column_index: ColumnIndexBuilder::new(descr.physical_type()),
            offset_index: OffsetIndexBuilder::new(),
            descr,
            rows: 0,
            uncompressed: 0,
            data_pages: 0,
            dictionary: false,
            data_offset: None,
            encoding: Encoding::PLAIN,
        }
    }

    /// Adds the dictionary page; it comes first.
    pub(super) fn dictionary_page(
        &mut self,
        body: &[u8],
        entries: usize,
        compressor: &mut Compressor,
    ) -> Result<(), FileError> {
        let buf = self.packed(body, compressor)?;
        let page =
            Page::DictionaryPage { buf, num_values: entries as u32, encoding: Encoding::PLAIN, is_sorted: false };
        self.dictionary = true;
        self.page(page, body.len())?;
        Ok(())
    }

    /// Adds a data page.
    pub(super) fn data_page(
        &mut self,
        body: &[u8],
        encoding: Encoding,
        range: PageRange,
        compressor: &mut Compressor,
    ) -> Result<(), FileError> {
        let page = Page::DataPage {
            buf: self.packed(body, compressor)?,
            num_values: range.rows as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let (offset, size) = self.page(page, body.len())?;
        self.encoding = encoding;
        self.data_offset.get_or_insert(offset);
        self.data_pages += 1;
        self.rows += range.rows;
        self.offset_index.append_row_count(range.rows as i64);
        self.offset_index.append_offset_and_size(offset as i64, size as i32);
        let null_page = range.nulls == range.rows;
        let nans = (self.descr.physical_type() == Type::DOUBLE).then_some(range.nans as i64);
        match range.bounds {
            Some((min, max)) => self.column_index.append(null_page, min, max, range.nulls as i64, nans),
            None => self.column_index.to_invalid(),
        }
        Ok(())
    }

    fn packed(&self, body: &[u8], compressor: &mut Compressor) -> Result<Bytes, FileError> {
        if !self.compress {
            return Ok(Bytes::copy_from_slice(body));
        }
        compressor.compress(body).map(Bytes::from).map_err(FileError::Sink)
    }

    /// Writes the page; gives its offset in the chunk and its size with header.
    fn page(&mut self, page: Page, uncompressed: usize) -> Result<(u64, usize), FileError> {
        let spec = SerializedPageWriter::new(&mut self.sink)
            .write_page(CompressedPage::new(page, uncompressed))
            .map_err(FileError::writing)?;
        self.uncompressed += spec.uncompressed_size;
        Ok((spec.offset, spec.compressed_size))
    }

    /// Ends the chunk.
    pub(super) fn finish(self, statistics: Statistics) -> Result<Chunk, FileError> {
        let bytes = Bytes::from(self.sink.into_inner().map_err(FileError::writing)?);
        let stats = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut encodings = vec![Encoding::RLE, self.encoding];
        let mut page_stats = vec![stats(PageType::DATA_PAGE, self.encoding, self.data_pages)];
        if self.dictionary {
            encodings.push(Encoding::PLAIN);
            page_stats.insert(0, stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
        }
        let metadata = ColumnChunkMetaData::builder(self.descr)
            .set_compression(if self.compress { zstd_level()? } else { Compression::UNCOMPRESSED })
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(page_stats)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(self.rows as i64)
            .set_data_page_offset(self.data_offset.unwrap_or(0) as i64)
            .set_dictionary_page_offset(self.dictionary.then_some(0))
            .set_statistics(statistics)
            .build()
            .map_err(FileError::writing)?;
        let column_index = self.column_index.valid().then(|| self.column_index.build()).transpose();
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: None,
            column_index: column_index.map_err(FileError::writing)?,
            offset_index: Some(self.offset_index.build()),
        };
        Ok(Chunk { bytes, close })
    }
}

/// Bytes that are left of these when they are compressed.
pub(super) fn compressed_len(body: &[u8], compressor: &mut Compressor) -> Result<usize, FileError> {
    compressor.compress(body).map(|bytes| bytes.len()).map_err(FileError::Sink)
}

/// The compression of every chunk.
pub(super) fn zstd_level() -> Result<Compression, FileError> {
    Ok(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).map_err(FileError::writing)?))
}

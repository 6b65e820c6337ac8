//! Columns whose encoding is chosen per chunk by trial.
//!
//! No encoding fits all values: a counter wants differences, a two-decimal gauge a dictionary, noise split bytes, and a
//! wrong choice doubles or triples the file. So every candidate encodes 4 stretches of 4,096 neighbouring values, and
//! the smallest result wins. A dictionary *page* of a sample does not scale with the chunk: only the data pages of the
//! sample are counted, and an estimate of the distinct values is added.

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::DataType;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::page_chunk::{Chunk, zstd_level};
use super::{FileError, ROWS_PER_PAGE};

/// Values that a candidate encodes at once.
const STRETCH: usize = 4096;
/// Stretches of a sample, evenly spread over the chunk.
const STRETCHES: usize = 4;
/// Bytes that a dictionary entry of 8 bytes takes after compression, about.
const ENTRY_BYTES: usize = 6;
/// Beyond it the rest of a chunk silently loses its dictionary; the library's default of 1 MiB is 131,072 values.
const DICTIONARY_BYTES: usize = 64 << 20;

/// How a chunk may be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// `DELTA_BINARY_PACKED`.
    Delta,
    /// `RLE_DICTIONARY`.
    Dictionary,
    /// `PLAIN`.
    Plain,
    /// `BYTE_STREAM_SPLIT`.
    Split,
}

/// What integers may become.
pub(super) const INTEGERS: &[Choice] = &[Choice::Delta, Choice::Dictionary];
/// What doubles may become.
pub(super) const DOUBLES: &[Choice] = &[Choice::Plain, Choice::Split, Choice::Dictionary];

/// The properties behind the choices; they are made once per file.
pub(super) struct ChunkProperties {
    delta: WriterPropertiesPtr,
    dictionary: WriterPropertiesPtr,
    plain: WriterPropertiesPtr,
    split: WriterPropertiesPtr,
    ones: Vec<i16>,
}

impl ChunkProperties {
    pub(super) fn new() -> Result<Self, FileError> {
        let compression = zstd_level()?;
        let base = || {
            WriterProperties::builder()
                .set_compression(compression)
                .set_data_page_row_count_limit(ROWS_PER_PAGE)
                .set_write_batch_size(ROWS_PER_PAGE)
                .set_statistics_enabled(EnabledStatistics::Page)
                .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        };
        let flat = |encoding| base().set_dictionary_enabled(false).set_encoding(encoding).build().into();
        Ok(Self {
            delta: flat(Encoding::DELTA_BINARY_PACKED),
            dictionary: base().set_dictionary_enabled(true).build().into(),
            plain: flat(Encoding::PLAIN),
            split: flat(Encoding::BYTE_STREAM_SPLIT),
            ones: Vec::new(),
        })
    }

    fn of(&self, choice: Choice) -> WriterPropertiesPtr {
        match choice {
            Choice::Delta => &self.delta,
            Choice::Dictionary => &self.dictionary,
            Choice::Plain => &self.plain,
            Choice::Split => &self.split,
        }
        .clone()
    }

    /// Encodes a chunk. `levels` has one entry per row for an optional column with nulls; without it every row is set.
    pub(super) fn encode<T: DataType>(
        &mut self,
        descr: &ColumnDescPtr,
        choice: Choice,
        values: &[T::T],
        levels: Option<&[i16]>,
    ) -> Result<Chunk, FileError> {
        self.grow_ones(values.len());
        self.encode_parts::<T>(descr, choice, &[values], levels)
    }

    /// Encodes a chunk with the candidate that makes the smallest sample. `key` tells values apart.
    pub(super) fn encode_best<T: DataType>(
        &mut self,
        descr: &ColumnDescPtr,
        candidates: &[Choice],
        values: &[T::T],
        levels: Option<&[i16]>,
        key: impl Fn(&T::T) -> u64,
    ) -> Result<Chunk, FileError> {
        let choice = self.choose::<T>(descr, candidates, values, key)?;
        self.encode::<T>(descr, choice, values, levels)
    }

    /// The candidate with the smallest estimate.
    pub(super) fn choose<T: DataType>(
        &mut self,
        descr: &ColumnDescPtr,
        candidates: &[Choice],
        values: &[T::T],
        key: impl Fn(&T::T) -> u64,
    ) -> Result<Choice, FileError> {
        let parts = stretches(values);
        let sampled: usize = parts.iter().map(|part| part.len()).sum();
        self.grow_ones(sampled);
        let mut best = (usize::MAX, candidates.first().copied().unwrap_or(Choice::Plain));
        for &choice in candidates {
            let mut entries = 0;
            if choice == Choice::Dictionary {
                let distinct = estimate_distinct(values, &key);
                // A dictionary of almost every value cannot win and is the slowest to try.
                if distinct > values.len() / 5 * 4 {
                    continue;
                }
                entries = distinct * ENTRY_BYTES * sampled / values.len().max(1);
            }
            let chunk = self.encode_parts::<T>(descr, choice, &parts, None)?;
            let metadata = &chunk.close.metadata;
            let dictionary = metadata.dictionary_page_offset().map_or(0, |at| metadata.data_page_offset() - at);
            let size = chunk.bytes.len() - usize::try_from(dictionary).unwrap_or(0) + entries;
            if size < best.0 {
                best = (size, choice);
            }
        }
        Ok(best.1)
    }

    fn grow_ones(&mut self, rows: usize) {
        if self.ones.len() < rows {
            self.ones.resize(rows, 1);
        }
    }

    fn encode_parts<T: DataType>(
        &self,
        descr: &ColumnDescPtr,
        choice: Choice,
        parts: &[&[T::T]],
        levels: Option<&[i16]>,
    ) -> Result<Chunk, FileError> {
        let mut sink = TrackedWrite::new(Vec::new());
        let pages = Box::new(SerializedPageWriter::new(&mut sink));
        let mut writer = ColumnWriterImpl::<T>::new(descr.clone(), self.of(choice), pages);
        for part in parts {
            let ones = || self.ones.get(..part.len());
            let levels = if descr.max_def_level() == 0 { None } else { levels.or_else(ones) };
            writer.write_batch(part, levels, None).map_err(FileError::writing)?;
        }
        let close = writer.close().map_err(FileError::writing)?;
        Ok(Chunk { bytes: Bytes::from(sink.into_inner().map_err(FileError::writing)?), close })
    }
}

/// The sample: all of a small chunk, else evenly spread stretches.
fn stretches<V>(values: &[V]) -> Vec<&[V]> {
    if values.len() <= STRETCH * STRETCHES {
        return vec![values];
    }
    let step = (values.len() - STRETCH) / (STRETCHES - 1);
    (0..STRETCHES).filter_map(|index| values.get(index * step..index * step + STRETCH)).collect()
}

/// Distinct values by the Chao1 estimate over a strided sample: d + f1² / 2 f2, where f1 values were seen once and f2 twice.
fn estimate_distinct<V>(values: &[V], key: &impl Fn(&V) -> u64) -> usize {
    let stride = values.len().div_ceil(STRETCH * STRETCHES).max(1);
    let mut keys: Vec<u64> = values.iter().step_by(stride).map(key).collect();
    keys.sort_unstable();
    let (mut distinct, mut once, mut twice) = (0usize, 0usize, 0usize);
    for equal in keys.chunk_by(|a, b| a == b) {
        distinct += 1;
        once += usize::from(equal.len() == 1);
        twice += usize::from(equal.len() == 2);
    }
    if stride == 1 {
        return distinct;
    }
    (distinct + once * once / (2 * twice).max(1)).min(values.len())
}

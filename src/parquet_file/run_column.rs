//! Columns that are constant over long runs, written from their runs.
//!
//! A general writer looks at every row of such a column again and hashes its string; here the work is one step per run.
//! A chunk is a dictionary page (PLAIN values) and data pages of `RLE_DICTIONARY`:
//!
//! ```text
//! optional columns only: u32 LE length of the levels | levels as RLE runs of 1 bit
//! u8 bit width | RLE runs: varint (count * 2) | key in ceil(bit width / 8) bytes, little endian
//! ```
//!
//! The bit width is at least 1, although one entry needs no bits: every reader takes 1, not every old one takes 0. A
//! chunk that is wholly null has PLAIN pages with levels alone and no dictionary. Booleans have no dictionary in
//! Parquet; their pages are PLAIN bits.

use std::hash::Hash;

use data_encoding::HEXUPPER;
use hashbrown::HashMap;
use parquet::basic::{Encoding, Type};
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescPtr;

use super::encodings::{hybrid, key_width, push_levels, push_run};
use super::page_chunk::{Chunk, Compressor, PageChunk, PageRange};
use super::{FileError, ROWS_PER_PAGE};
use crate::model::hex;

/// Longest minimum or maximum of a chunk that is kept whole, in bytes.
const STATISTICS_BYTES: usize = 64;
/// The same for a page: there is one per 20,000 rows, and it is not compressed.
const INDEX_BYTES: usize = 32;

/// A value of a run column.
pub(super) trait RunValue: Copy + Eq + Ord + Hash {
    /// Appends the PLAIN encoding.
    fn plain(self, out: &mut Vec<u8>);
    /// Smallest and largest value as the column index stores them.
    fn bounds(min: Self, max: Self) -> Option<(Vec<u8>, Vec<u8>)>;
    /// Chunk statistics.
    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics;
}

impl RunValue for i32 {
    fn plain(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn bounds(min: Self, max: Self) -> Option<(Vec<u8>, Vec<u8>)> {
        Some((min.to_le_bytes().to_vec(), max.to_le_bytes().to_vec()))
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        Statistics::int32(bounds.map(|b| b.0), bounds.map(|b| b.1), None, Some(nulls), false)
    }
}

impl RunValue for i64 {
    fn plain(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn bounds(min: Self, max: Self) -> Option<(Vec<u8>, Vec<u8>)> {
        Some((min.to_le_bytes().to_vec(), max.to_le_bytes().to_vec()))
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        Statistics::int64(bounds.map(|b| b.0), bounds.map(|b| b.1), None, Some(nulls), false)
    }
}

impl RunValue for &str {
    fn plain(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.len() as u32).to_le_bytes());
        out.extend_from_slice(self.as_bytes());
    }

    fn bounds(min: Self, max: Self) -> Option<(Vec<u8>, Vec<u8>)> {
        Some((lower_bound(min, INDEX_BYTES).to_vec(), upper_bound(max, INDEX_BYTES)?))
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        let whole = |text: &str| text.len() <= STATISTICS_BYTES;
        let min = bounds.map(|b| ByteArray::from(lower_bound(b.0, STATISTICS_BYTES).to_vec()));
        let max = bounds.and_then(|b| upper_bound(b.1, STATISTICS_BYTES)).map(ByteArray::from);
        ValueStatistics::new(min, max, None, Some(nulls), false)
            .with_min_is_exact(bounds.is_none_or(|b| whole(b.0)))
            .with_max_is_exact(bounds.is_none_or(|b| whole(b.1)))
            .into()
    }
}

/// Bytes that are written as upper-case hex, which sorts as they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl RunValue for Hex<'_> {
    fn plain(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(2 * self.0.len() as u32).to_le_bytes());
        let at = out.len();
        out.resize(at + 2 * self.0.len(), 0);
        if let Some(digits) = out.get_mut(at..) {
            HEXUPPER.encode_mut(self.0, digits);
        }
    }

    fn bounds(min: Self, max: Self) -> Option<(Vec<u8>, Vec<u8>)> {
        <&str>::bounds(&hex(min.0), &hex(max.0))
    }

    fn statistics(bounds: Option<(Self, Self)>, nulls: u64) -> Statistics {
        let texts = bounds.map(|(min, max)| (hex(min.0), hex(max.0)));
        <&str>::statistics(texts.as_ref().map(|(min, max)| (min.as_str(), max.as_str())), nulls)
    }
}

fn lower_bound(text: &str, limit: usize) -> &[u8] {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text).as_bytes()
}

/// The text itself, or a short text that sorts behind it; `None` when there is none.
fn upper_bound(text: &str, limit: usize) -> Option<Vec<u8>> {
    if text.len() <= limit {
        return Some(text.as_bytes().to_vec());
    }
    let mut short = text.get(..text.floor_char_boundary(limit))?.to_owned();
    while let Some(last) = short.pop() {
        if let Some(next) = char::from_u32(u32::from(last) + 1) {
            short.push(next);
            return Some(short.into_bytes());
        }
    }
    None
}

/// Runs of one column of one row group.
pub(super) struct RunColumn<V> {
    dictionary: Vec<V>,
    keys: HashMap<V, u32>,
    runs: Vec<(Option<u32>, usize)>,
    rows: usize,
    nulls: usize,
    /// The column index has bounds for its pages.
    indexed: bool,
}

impl<V: RunValue> RunColumn<V> {
    pub(super) fn new() -> Self {
        Self { dictionary: Vec::new(), keys: HashMap::new(), runs: Vec::new(), rows: 0, nulls: 0, indexed: true }
    }

    /// A column whose pages nobody looks for by their bounds, which are long: it has statistics of its chunks alone.
    pub(super) fn without_index() -> Self {
        Self { indexed: false, ..Self::new() }
    }

    /// Appends `rows` times the value.
    pub(super) fn push(&mut self, value: Option<V>, rows: usize) {
        if rows == 0 {
            return;
        }
        let key = value.map(|value| self.key(value));
        self.push_run(key, rows);
    }

    /// Appends `rows` times a value that mostly comes only once, such as the TSUID of a sorted batch: without a look-up.
    /// A value that does come again has two dictionary entries, which is allowed.
    pub(super) fn push_once(&mut self, value: V, rows: usize) {
        if rows == 0 {
            return;
        }
        if self.dictionary.last() != Some(&value) {
            self.dictionary.push(value);
        }
        self.push_run(Some(self.dictionary.len() as u32 - 1), rows);
    }

    fn push_run(&mut self, key: Option<u32>, rows: usize) {
        self.rows += rows;
        self.nulls += if key.is_none() { rows } else { 0 };
        match self.runs.last_mut() {
            Some((last, count)) if *last == key => *count += rows,
            _ => self.runs.push((key, rows)),
        }
    }

    fn key(&mut self, value: V) -> u32 {
        // Runs mostly repeat the value before, which spares the hash.
        if let Some((Some(last), _)) = self.runs.last()
            && self.dictionary.get(*last as usize) == Some(&value)
        {
            return *last;
        }
        let dictionary = &mut self.dictionary;
        *self.keys.entry(value).or_insert_with(|| {
            dictionary.push(value);
            dictionary.len() as u32 - 1
        })
    }

    /// True when runs are so short that differences take less room.
    pub(super) fn is_choppy(&self) -> bool {
        is_choppy(self.runs.len(), self.rows)
    }

    pub(super) fn nulls(&self) -> usize {
        self.nulls
    }

    /// The values one by one, without nulls.
    pub(super) fn values(&self) -> Vec<V> {
        let mut values = Vec::with_capacity(self.rows - self.nulls);
        for (key, rows) in &self.runs {
            if let Some(value) = key.and_then(|key| self.dictionary.get(key as usize)) {
                values.extend(std::iter::repeat_n(*value, *rows));
            }
        }
        values
    }

    /// Definition levels one by one.
    pub(super) fn levels(&self) -> Vec<u32> {
        self.runs.iter().flat_map(|(key, rows)| std::iter::repeat_n(u32::from(key.is_some()), *rows)).collect()
    }

    /// Encodes the chunk.
    pub(super) fn encode(&self, descr: &ColumnDescPtr, compressor: &mut Compressor) -> Result<Chunk, FileError> {
        let optional = descr.max_def_level() > 0;
        let mut chunk = PageChunk::new(descr.clone());
        let width = key_width(self.dictionary.len());
        if !self.dictionary.is_empty() {
            let mut body = Vec::new();
            self.dictionary.iter().for_each(|value| value.plain(&mut body));
            chunk.dictionary_page(&body, self.dictionary.len(), compressor)?;
        }
        let encoding = if self.dictionary.is_empty() { Encoding::PLAIN } else { Encoding::RLE_DICTIONARY };
        let mut body = Vec::new();
        for page in split_pages(&self.runs) {
            body.clear();
            if optional {
                push_page_levels(&page, &mut body);
            }
            if !self.dictionary.is_empty() {
                push_keys(&page, width, &mut body);
            }
            chunk.data_page(&body, encoding, self.range(&page), compressor)?;
        }
        let all: Vec<&V> = self.dictionary.iter().collect();
        let bounds = all.iter().min().zip(all.iter().max()).map(|(min, max)| (**min, **max));
        chunk.finish(V::statistics(bounds, self.nulls as u64))
    }

    fn range(&self, page: &[(Option<u32>, usize)]) -> PageRange {
        let values = || page.iter().filter_map(|(key, _)| self.dictionary.get((*key)? as usize));
        let count = |wanted: bool| page.iter().filter(|(key, _)| key.is_none() == wanted).map(|(_, rows)| rows).sum();
        let bounds = values().min().zip(values().max());
        let nulls: usize = count(true);
        let set: usize = count(false);
        PageRange {
            rows: nulls + set,
            nulls,
            nans: 0,
            bounds: match bounds {
                _ if !self.indexed => None,
                Some((min, max)) => V::bounds(*min, *max),
                None => Some((Vec::new(), Vec::new())),
            },
        }
    }
}

/// Cuts runs into pages.
fn split_pages<K: Copy>(runs: &[(K, usize)]) -> Vec<Vec<(K, usize)>> {
    let mut pages = Vec::new();
    let mut page = Vec::new();
    let mut room = ROWS_PER_PAGE;
    for &(key, mut rows) in runs {
        while rows > 0 {
            let part = rows.min(room);
            page.push((key, part));
            rows -= part;
            room -= part;
            if room == 0 {
                pages.push(std::mem::take(&mut page));
                room = ROWS_PER_PAGE;
            }
        }
    }
    if !page.is_empty() {
        pages.push(page);
    }
    pages
}

fn push_page_levels(page: &[(Option<u32>, usize)], out: &mut Vec<u8>) {
    push_levels(out, |out| {
        for run in page.chunk_by(|a, b| a.0.is_some() == b.0.is_some()) {
            let set = run.first().is_some_and(|(key, _)| key.is_some());
            push_run(u32::from(set), run.iter().map(|(_, rows)| rows).sum(), 1, out);
        }
    });
}

fn push_keys(page: &[(Option<u32>, usize)], width: u32, out: &mut Vec<u8>) {
    out.push(width as u8);
    let set = || page.iter().filter_map(|(key, rows)| Some(((*key)?, *rows)));
    let (runs, rows) = set().fold((0, 0), |(runs, sum), (_, rows)| (runs + 1, sum + rows));
    // Short runs take less room as packed keys.
    if is_choppy(runs, rows) {
        let keys: Vec<u32> = set().flat_map(|(key, rows)| std::iter::repeat_n(key, rows)).collect();
        hybrid(&keys, width, out);
    } else {
        set().for_each(|(key, rows)| push_run(key, rows, width, out));
    }
}

fn is_choppy(runs: usize, rows: usize) -> bool {
    runs * 8 > rows
}

/// Runs of a boolean column that is never null.
#[derive(Default)]
pub(super) struct BoolRuns {
    runs: Vec<(bool, usize)>,
}

impl BoolRuns {
    /// Appends `rows` times the value.
    pub(super) fn push(&mut self, value: bool, rows: usize) {
        match self.runs.last_mut() {
            Some((last, count)) if *last == value => *count += rows,
            _ => self.runs.push((value, rows)),
        }
    }

    /// Encodes the chunk.
    pub(super) fn encode(&self, descr: &ColumnDescPtr, compressor: &mut Compressor) -> Result<Chunk, FileError> {
        let mut chunk = PageChunk::new(descr.clone());
        for page in split_pages(&self.runs) {
            let rows = page.iter().map(|(_, rows)| rows).sum();
            let (min, max) = bool_bounds(&page);
            let bounds = Some((vec![u8::from(min)], vec![u8::from(max)]));
            chunk.data_page(
                &bits(&page, rows),
                Encoding::PLAIN,
                PageRange { rows, nulls: 0, bounds, nans: 0 },
                compressor,
            )?;
        }
        let (min, max) = bool_bounds(&self.runs);
        chunk.finish(Statistics::boolean(Some(min), Some(max), None, Some(0), false))
    }
}

fn bool_bounds(runs: &[(bool, usize)]) -> (bool, bool) {
    (runs.iter().all(|(value, _)| *value), runs.iter().any(|(value, _)| *value))
}

/// One bit per row, the first in the lowest bit.
fn bits(runs: &[(bool, usize)], rows: usize) -> Vec<u8> {
    let mut bits = vec![0u8; rows.div_ceil(8)];
    let mut at = 0;
    for (value, count) in runs {
        if *value {
            set_bits(&mut bits, at, at + count);
        }
        at += count;
    }
    bits
}

fn set_bits(bits: &mut [u8], from: usize, to: usize) {
    for (index, byte) in bits.iter_mut().enumerate().take(to.div_ceil(8)).skip(from / 8) {
        let low = from.saturating_sub(index * 8).min(8);
        let high = (to - index * 8).min(8);
        *byte |= ((1u16 << high) - (1u16 << low)) as u8;
    }
}

/// A chunk of nulls alone.
pub(super) fn encode_nulls(
    rows: usize,
    descr: &ColumnDescPtr,
    compressor: &mut Compressor,
) -> Result<Chunk, FileError> {
    let mut chunk = PageChunk::new(descr.clone());
    for page in split_pages(&[(None, rows)]) {
        let rows = page.iter().map(|(_, rows)| rows).sum();
        let mut body = Vec::new();
        push_page_levels(&page, &mut body);
        let bounds = Some((Vec::new(), Vec::new()));
        chunk.data_page(&body, Encoding::PLAIN, PageRange { rows, nulls: rows, bounds, nans: 0 }, compressor)?;
    }
    let nulls = Some(rows as u64);
    chunk.finish(match descr.physical_type() {
        Type::DOUBLE => ValueStatistics::<f64>::new(None, None, None, nulls, false).with_nan_count(Some(0)).into(),
        Type::BYTE_ARRAY => Statistics::byte_array(None, None, None, nulls, false),
        _ => Statistics::int64(None, None, None, nulls, false),
    })
}

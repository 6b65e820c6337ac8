//! Columns whose encoding is chosen per chunk by trial.
//!
//! No encoding fits all values: a counter wants differences, a two-decimal gauge a dictionary, noise split bytes, and a
//! wrong choice doubles or triples the file. So every candidate encodes 4 stretches of 4,096 neighbouring values, and
//! the smallest result wins. The dictionary of a sample does not scale with the chunk: only the keys of the sample are
//! counted, and an estimate of the distinct values is added. Where zstd hardly makes the winner smaller, the chunk goes
//! without.

use parquet::basic::Encoding;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescPtr;

use super::encodings::{delta, hybrid, key_width, plain, push_levels, push_run, split};
use super::page_chunk::{Chunk, Compressor, PageChunk, PageRange, compressed_len};
use super::{FileError, ROWS_PER_PAGE};

/// Values that a candidate encodes at once.
const STRETCH: usize = 4096;
/// Stretches of a sample, evenly spread over the chunk.
const STRETCHES: usize = 4;
/// Bytes that a dictionary entry of 8 bytes takes after compression, about.
const ENTRY_BYTES: usize = 6;
/// A dictionary that takes at most so many bytes for a double is not compared with whole doubles: zstd would have to make
/// these four times smaller, and it finds in the keys what it finds in the doubles.
const DICTIONARY_WINS: usize = 2;

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

/// A value of 8 bytes.
pub(super) trait Value: Copy {
    /// What it may become.
    const CHOICES: &'static [Choice];
    /// Its bits.
    fn bits(self) -> u64;
    /// The values as numbers, for differences.
    fn integers(values: &[Self]) -> Option<&[i64]>;
    /// Smallest and greatest value, and how many are NaN.
    fn range(values: &[Self]) -> Range<Self>;
    /// Chunk statistics.
    fn statistics(range: Range<Self>, nulls: u64) -> Statistics;
}

/// What statistics say of some values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range<V> {
    bounds: Option<(V, V)>,
    nans: u64,
}

impl Value for i64 {
    const CHOICES: &'static [Choice] = &[Choice::Delta, Choice::Dictionary];

    fn bits(self) -> u64 {
        self as u64
    }

    fn integers(values: &[Self]) -> Option<&[i64]> {
        Some(values)
    }

    fn range(values: &[Self]) -> Range<Self> {
        let Some(first) = values.first() else { return Range { bounds: None, nans: 0 } };
        // Timestamps and counters mostly grow, so only the ends of each ascending run are compared.
        let rises = values.chunk_by(|a, b| a <= b).filter_map(|rise| Some((*rise.first()?, *rise.last()?)));
        let wider = |(least, most): (i64, i64), (low, high): (i64, i64)| (least.min(low), most.max(high));
        Range { bounds: Some(rises.fold((*first, *first), wider)), nans: 0 }
    }

    fn statistics(range: Range<Self>, nulls: u64) -> Statistics {
        Statistics::int64(range.bounds.map(|b| b.0), range.bounds.map(|b| b.1), None, Some(nulls), false)
    }
}

impl Value for f64 {
    const CHOICES: &'static [Choice] = &[Choice::Dictionary, Choice::Split, Choice::Plain];

    fn bits(self) -> u64 {
        self.to_bits()
    }

    fn integers(_: &[Self]) -> Option<&[i64]> {
        None
    }

    /// NaNs have no place in the order, and zeros of both signs are taken for either, as the specification wants it.
    fn range(values: &[Self]) -> Range<Self> {
        let (mut least, mut most, mut nans) = (f64::INFINITY, f64::NEG_INFINITY, 0);
        for value in values {
            nans += u64::from(value.is_nan());
            least = if *value < least { *value } else { least };
            most = if *value > most { *value } else { most };
        }
        let signed = |bound: f64, zero: f64| if bound == 0.0 { zero } else { bound };
        let bounds = (nans < values.len() as u64).then(|| (signed(least, -0.0), signed(most, 0.0)));
        Range { bounds, nans }
    }

    fn statistics(range: Range<Self>, nulls: u64) -> Statistics {
        ValueStatistics::new(range.bounds.map(|b| b.0), range.bounds.map(|b| b.1), None, Some(nulls), false)
            .with_nan_count(Some(range.nans))
            .into()
    }
}

/// The distinct values of a chunk.
///
/// The table is open, half empty at least, and looked through from the place of a value's hash on: a third of the
/// instructions of a general map, in what costs most of a dictionary.
#[derive(Default)]
struct Dictionary {
    entries: Vec<u64>,
    /// Keys, or [`FREE`]; a power of two.
    places: Vec<u32>,
    keys: Vec<u32>,
}

/// A place without a key.
const FREE: u32 = u32::MAX;
/// Places of the smallest table.
const LEAST_PLACES: usize = 1024;

impl Dictionary {
    /// Distinct values in the order of their first appearance, and the key of every value.
    fn fill(&mut self, values: impl Iterator<Item = u64>) {
        self.entries.clear();
        self.keys.clear();
        self.places.clear();
        self.places.resize(LEAST_PLACES, FREE);
        let mut last = None;
        for value in values {
            let key = match last {
                Some((before, key)) if before == value => key,
                _ => self.key(value),
            };
            last = Some((value, key));
            self.keys.push(key);
        }
    }

    #[inline]
    fn key(&mut self, value: u64) -> u32 {
        let mask = self.places.len() - 1;
        let mut at = place(value, mask);
        // There is always a free place.
        while let Some(place) = self.places.get_mut(at) {
            if *place == FREE {
                let key = self.entries.len() as u32;
                *place = key;
                self.entries.push(value);
                if 2 * self.entries.len() > mask {
                    self.grow();
                }
                return key;
            }
            if self.entries.get(*place as usize) == Some(&value) {
                return *place;
            }
            at = (at + 1) & mask;
        }
        FREE
    }

    fn grow(&mut self) {
        let mask = 4 * self.places.len() - 1;
        self.places.clear();
        self.places.resize(mask + 1, FREE);
        for (value, key) in self.entries.iter().zip(0..) {
            let mut at = place(*value, mask);
            while self.places.get(at).is_some_and(|place| *place != FREE) {
                at = (at + 1) & mask;
            }
            if let Some(place) = self.places.get_mut(at) {
                *place = key;
            }
        }
    }

    fn width(&self) -> u32 {
        key_width(self.entries.len())
    }
}

/// Where to begin to look for a number in a table of `mask + 1` places. Only the topmost bits of a product depend on all
/// bits of the number, and a double may have no bits but high ones.
#[inline]
fn place(value: u64, mask: usize) -> usize {
    (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (mask as u64).leading_zeros()) as usize & mask
}

/// Encodes chunks; keeps its buffers between them.
#[derive(Default)]
pub(super) struct ValueEncoder {
    dictionary: Dictionary,
    body: Vec<u8>,
    bits: Vec<u64>,
}

impl ValueEncoder {
    /// Encodes a chunk with the candidate that makes the smallest sample. `levels` has one entry per row for an optional
    /// column with nulls; without it every row is set.
    pub(super) fn encode_best<V: Value>(
        &mut self,
        descr: &ColumnDescPtr,
        values: &[V],
        levels: Option<&[u32]>,
        compressor: &mut Compressor,
    ) -> Result<Chunk, FileError> {
        let (choice, compress) = self.choose(values, compressor)?;
        self.encode(descr, choice, compress, values, levels, compressor)
    }

    /// The candidate with the smallest estimate, and whether zstd makes it smaller.
    pub(super) fn choose<V: Value>(
        &mut self,
        values: &[V],
        compressor: &mut Compressor,
    ) -> Result<(Choice, bool), FileError> {
        let parts = stretches(values);
        let sampled: usize = parts.iter().map(|part| part.len()).sum();
        let mut best = (usize::MAX, V::CHOICES.first().copied().unwrap_or(Choice::Plain), true);
        for &choice in V::CHOICES {
            let whole = matches!(choice, Choice::Split | Choice::Plain);
            if whole && best.1 == Choice::Dictionary && best.0 <= DICTIONARY_WINS * sampled {
                continue;
            }
            let mut entries = 0;
            if choice == Choice::Dictionary {
                let distinct = estimate_distinct(values);
                // A dictionary of almost every value cannot win and is the slowest to try.
                if distinct > values.len() / 5 * 4 {
                    continue;
                }
                entries = distinct * ENTRY_BYTES * sampled / values.len().max(1);
            }
            self.body.clear();
            match choice {
                Choice::Dictionary => {
                    self.dictionary.fill(parts.iter().flat_map(|part| part.iter().map(|value| value.bits())));
                    hybrid(&self.dictionary.keys, self.dictionary.width(), &mut self.body);
                }
                _ => parts.iter().for_each(|part| push_values(choice, part, &mut self.bits, &mut self.body)),
            }
            let small = compressed_len(&self.body, compressor)?;
            // The entries of a dictionary shrink even where its keys do not.
            let compress = choice == Choice::Dictionary || small < self.body.len() / 128 * 127;
            let size = small + entries;
            if size < best.0 {
                best = (size, choice, compress);
            }
        }
        Ok((best.1, best.2))
    }

    /// Encodes a chunk in one way.
    pub(super) fn encode<V: Value>(
        &mut self,
        descr: &ColumnDescPtr,
        choice: Choice,
        compress: bool,
        values: &[V],
        levels: Option<&[u32]>,
        compressor: &mut Compressor,
    ) -> Result<Chunk, FileError> {
        let mut chunk = if compress { PageChunk::new(descr.clone()) } else { PageChunk::plain(descr.clone()) };
        if choice == Choice::Dictionary {
            self.dictionary.fill(values.iter().map(|value| value.bits()));
            self.body.clear();
            plain(&self.dictionary.entries, &mut self.body);
            chunk.dictionary_page(&self.body, self.dictionary.entries.len(), compressor)?;
        }
        let rows = levels.map_or(values.len(), <[u32]>::len);
        let (mut first, mut row, mut all) = (0, 0, None::<Range<V>>);
        while row < rows {
            let page_rows = ROWS_PER_PAGE.min(rows - row);
            let levels = levels.and_then(|levels| levels.get(row..row + page_rows));
            let set = levels.map_or(page_rows, |levels| levels.iter().sum::<u32>() as usize);
            let page = values.get(first..first + set).ok_or(FileError::Batch("a column has too few values"))?;
            self.body.clear();
            if descr.max_def_level() > 0 {
                push_levels(&mut self.body, |out| match levels {
                    Some(levels) => hybrid(levels, 1, out),
                    None => push_run(1, page_rows, 1, out),
                });
            }
            let encoding = match choice {
                Choice::Dictionary => {
                    let width = self.dictionary.width();
                    self.body.push(width as u8);
                    hybrid(self.dictionary.keys.get(first..first + set).unwrap_or_default(), width, &mut self.body);
                    Encoding::RLE_DICTIONARY
                }
                Choice::Delta => Encoding::DELTA_BINARY_PACKED,
                Choice::Plain => Encoding::PLAIN,
                Choice::Split => Encoding::BYTE_STREAM_SPLIT,
            };
            if choice != Choice::Dictionary {
                push_values(choice, page, &mut self.bits, &mut self.body);
            }
            let found = V::range(page);
            let bytes = |value: V| value.bits().to_le_bytes().to_vec();
            let bounds = match found.bounds {
                Some((least, most)) => Some((bytes(least), bytes(most))),
                None if set == 0 => Some((Vec::new(), Vec::new())),
                None => None,
            };
            let range = PageRange { rows: page_rows, nulls: page_rows - set, bounds, nans: found.nans };
            chunk.data_page(&self.body, encoding, range, compressor)?;
            all = Some(all.map_or(found, |all| all.with(found)));
            (first, row) = (first + set, row + page_rows);
        }
        let all = all.unwrap_or(Range { bounds: None, nans: 0 });
        chunk.finish(V::statistics(all, (rows - values.len()) as u64))
    }
}

impl<V: Value> Range<V> {
    fn with(self, other: Self) -> Self {
        let ends: Vec<V> = [self.bounds, other.bounds].into_iter().flatten().flat_map(|(a, b)| [a, b]).collect();
        Self { bounds: V::range(&ends).bounds, nans: self.nans + other.nans }
    }
}

fn push_values<V: Value>(choice: Choice, values: &[V], bits: &mut Vec<u64>, out: &mut Vec<u8>) {
    match (choice, V::integers(values)) {
        (Choice::Delta, Some(integers)) => delta(integers, out),
        _ => {
            bits.clear();
            bits.extend(values.iter().map(|value| value.bits()));
            if choice == Choice::Split { split(bits, out) } else { plain(bits, out) }
        }
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
fn estimate_distinct<V: Value>(values: &[V]) -> usize {
    let stride = values.len().div_ceil(STRETCH).max(1);
    let mut keys: Vec<u64> = values.iter().step_by(stride).map(|value| value.bits()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps from the place where a look-up begins to where each value lies, on average.
    fn steps(values: impl Iterator<Item = u64>) -> f64 {
        let mut dictionary = Dictionary::default();
        dictionary.fill(values);
        let mask = dictionary.places.len() - 1;
        let places = dictionary.places.iter().enumerate().filter(|(_, key)| **key != FREE);
        let steps: usize =
            places.map(|(at, key)| at.wrapping_sub(place(dictionary.entries[*key as usize], mask)) & mask).sum();
        steps as f64 / dictionary.entries.len() as f64
    }

    #[test]
    fn a_look_up_takes_a_step_or_two() {
        let counted = || 0..50_000_u64;
        assert!(steps(counted()) < 1.0, "small numbers");
        assert!(steps(counted().map(|n| n << 40)) < 1.0, "high bits alone");
        assert!(steps(counted().map(|n| (n as f64).to_bits())) < 2.0, "whole doubles");
        assert!(steps(counted().map(|n| (n as f64 / 100.0).to_bits())) < 2.0, "doubles with two decimals");
        assert!(steps(counted().map(|n| n * 1000 + 1_600_000_000_000)) < 1.0, "times");
    }
}

//! Columns of few values, read run by run: what [`run_column`](super::run_column) writes.
//!
//! The library reads the headers of pages and decompresses them; what is inside is read here, so that a value which
//! thousands of rows share is looked at once. A chunk in another encoding is read row by row and put into runs.

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::Page;
use parquet::data_type::{BoolType, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::RowGroupReader;

use super::FileError;
use super::column::{Column, ended_early};
use super::encodings::varint;

/// The key of rows without a value.
const NULL: u32 = u32::MAX;
/// Rows that are read at once where there are no runs.
const STEP: usize = 16_384;

/// A type of value that a run column holds.
pub(super) trait RunRead: Sized + PartialEq {
    /// Its type in the library.
    type Column: DataType;

    /// The value of a row.
    fn of(value: &<Self::Column as DataType>::T) -> Self;

    /// The entries of a dictionary page; `None` when it holds something else.
    fn dictionary(page: &Bytes, entries: usize) -> Option<Vec<Self>>;
}

impl RunRead for Bytes {
    type Column = ByteArrayType;

    fn of(value: &<Self::Column as DataType>::T) -> Self {
        Bytes::copy_from_slice(value.data())
    }

    fn dictionary(page: &Bytes, entries: usize) -> Option<Vec<Self>> {
        let (mut values, mut at) = (Vec::new(), 0);
        for _ in 0..entries {
            let length = u32::from_le_bytes(*page.get(at..)?.first_chunk()?) as usize;
            at += 4;
            let end = at.checked_add(length).filter(|end| *end <= page.len())?;
            values.push(page.slice(at..end));
            at = end;
        }
        Some(values)
    }
}

impl RunRead for i32 {
    type Column = Int32Type;

    fn of(value: &i32) -> Self {
        *value
    }

    fn dictionary(page: &Bytes, entries: usize) -> Option<Vec<Self>> {
        let (values, _) = page.get(..entries.checked_mul(4)?)?.as_chunks();
        Some(values.iter().map(|bytes| Self::from_le_bytes(*bytes)).collect())
    }
}

impl RunRead for i64 {
    type Column = Int64Type;

    fn of(value: &i64) -> Self {
        *value
    }

    fn dictionary(page: &Bytes, entries: usize) -> Option<Vec<Self>> {
        let (values, _) = page.get(..entries.checked_mul(8)?)?.as_chunks();
        Some(values.iter().map(|bytes| Self::from_le_bytes(*bytes)).collect())
    }
}

impl RunRead for bool {
    type Column = BoolType;

    fn of(value: &bool) -> Self {
        *value
    }

    fn dictionary(_: &Bytes, _: usize) -> Option<Vec<Self>> {
        None
    }
}

/// A column of one row group in runs.
pub(super) struct Runs<V> {
    values: Vec<V>,
    /// Places of values, or [`NULL`], and rows.
    runs: Vec<(u32, usize)>,
    /// The run that is read, and the rows of it that are left.
    at: usize,
    left: usize,
}

impl<V: RunRead> Runs<V> {
    /// Reads the column at a place of the schema, whose type must be `V`'s, in a group of so many rows.
    ///
    /// # Errors
    /// [`FileError`] when the chunk is damaged or has another number of rows.
    pub(super) fn read(group: &dyn RowGroupReader, place: usize, rows: usize) -> Result<Self, FileError> {
        let optional = group.metadata().column(place).column_descr().max_def_level() > 0;
        let mut pages = group.get_column_page_reader(place).map_err(FileError::Damaged)?;
        let mut found = Self { values: Vec::new(), runs: Vec::new(), at: 0, left: 0 };
        let mut done = 0_usize;
        while let Some(page) = pages.get_next_page().map_err(FileError::Damaged)? {
            match page {
                Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN, .. } if done == 0 => {
                    found.values = V::dictionary(&buf, num_values as usize).ok_or_else(undecodable)?;
                }
                Page::DataPage { buf, num_values, encoding, .. } => {
                    let count = num_values as usize;
                    done = done.checked_add(count).filter(|sum| *sum <= rows).ok_or_else(undecodable)?;
                    match found.page(&buf, count, encoding, optional)? {
                        true => {}
                        false => return Self::row_by_row(group, place, rows),
                    }
                }
                _ => return Err(undecodable()),
            }
        }
        found.begin(rows)
    }

    /// Adds the rows of a data page; false when it is in an encoding without runs.
    fn page(&mut self, page: &[u8], rows: usize, encoding: Encoding, optional: bool) -> Result<bool, FileError> {
        let (mut levels, mut rest) = (Vec::new(), page);
        if optional {
            let (length, behind) = page.split_first_chunk().ok_or_else(undecodable)?;
            let length = u32::from_le_bytes(*length) as usize;
            let (bytes, behind) = behind.split_at_checked(length).ok_or_else(undecodable)?;
            hybrid(bytes, 1, rows, &mut |level, count| levels.push((level, count))).ok_or_else(undecodable)?;
            rest = behind;
        } else {
            levels.push((1, rows));
        }
        let set: usize = levels.iter().filter(|(level, _)| *level > 0).map(|(_, count)| count).sum();
        let mut keys = Vec::new();
        match encoding {
            _ if set == 0 => {}
            Encoding::RLE_DICTIONARY => {
                let (width, rest) = rest.split_first().filter(|(width, _)| **width <= 32).ok_or_else(undecodable)?;
                let known = self.values.len() as u64;
                let mut fits = true;
                let mut push = |key: u32, count: usize| {
                    fits &= u64::from(key) < known;
                    keys.push((key, count));
                };
                hybrid(rest, u32::from(*width), set, &mut push).filter(|()| fits).ok_or_else(undecodable)?;
            }
            _ => return Ok(false),
        }
        let mut keys = keys.into_iter();
        let mut key = (NULL, 0);
        for (level, mut count) in levels {
            if level == 0 {
                self.push(NULL, count);
                continue;
            }
            while count > 0 {
                if key.1 == 0 {
                    key = keys.next().ok_or_else(undecodable)?;
                }
                let part = count.min(key.1);
                self.push(key.0, part);
                key.1 -= part;
                count -= part;
            }
        }
        Ok(true)
    }

    /// The rows of a chunk that is in no encoding with runs.
    fn row_by_row(group: &dyn RowGroupReader, place: usize, rows: usize) -> Result<Self, FileError> {
        let mut column = Column::<V::Column>::open(group, place)?;
        let mut found = Self { values: Vec::new(), runs: Vec::new(), at: 0, left: 0 };
        let mut done = 0;
        while done < rows {
            let step = STEP.min(rows - done);
            column.fill(step)?;
            for _ in 0..step {
                let value =
                    if column.is_optional() { column.next()?.map(V::of) } else { Some(V::of(column.required()?)) };
                match value {
                    None => found.push(NULL, 1),
                    Some(value) => {
                        if found.values.last() != Some(&value) {
                            found.values.push(value);
                        }
                        found.push(found.values.len() as u32 - 1, 1);
                    }
                }
            }
            done += step;
        }
        found.begin(rows)
    }

    fn push(&mut self, key: u32, rows: usize) {
        match self.runs.last_mut() {
            Some((last, count)) if *last == key => *count += rows,
            _ => self.runs.push((key, rows)),
        }
    }

    fn begin(mut self, rows: usize) -> Result<Self, FileError> {
        if self.runs.iter().map(|(_, count)| count).sum::<usize>() != rows {
            return Err(ended_early());
        }
        self.left = self.runs.first().map_or(0, |(_, count)| *count);
        Ok(self)
    }

    /// Rows from here on that share a value, or have none; 0 at the end.
    #[inline]
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Takes rows of the run, no more than are left, and gives the value that they share.
    #[inline]
    pub(super) fn take(&mut self, rows: usize) -> Option<&V> {
        let (key, _) = self.runs.get(self.at)?;
        self.left = self.left.saturating_sub(rows);
        if self.left == 0 {
            self.at += 1;
            self.left = self.runs.get(self.at).map_or(0, |(_, count)| *count);
        }
        self.values.get(*key as usize)
    }
}

impl Runs<bool> {
    /// Reads a column of bits that is never null.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn read_bits(group: &dyn RowGroupReader, place: usize, rows: usize) -> Result<Self, FileError> {
        let mut pages = group.get_column_page_reader(place).map_err(FileError::Damaged)?;
        let mut found = Self { values: vec![false, true], runs: Vec::new(), at: 0, left: 0 };
        let mut done = 0_usize;
        while let Some(page) = pages.get_next_page().map_err(FileError::Damaged)? {
            let Page::DataPage { buf, num_values, encoding: Encoding::PLAIN, .. } = page else {
                return Self::row_by_row(group, place, rows);
            };
            let count = num_values as usize;
            done = done.checked_add(count).filter(|sum| *sum <= rows).ok_or_else(undecodable)?;
            let bytes = buf.get(..count.div_ceil(8)).ok_or_else(ended_early)?;
            let mut left = count;
            for byte in bytes {
                let bits = left.min(8);
                match byte {
                    0 => found.push(0, bits),
                    0xff => found.push(1, bits),
                    _ => (0..bits).for_each(|bit| found.push(u32::from(byte >> bit & 1), 1)),
                }
                left -= bits;
            }
        }
        found.begin(rows)
    }
}

fn undecodable() -> FileError {
    FileError::Damaged(ParquetError::General("a page is not what its header says".into()))
}

/// Calls `each` with the runs of the hybrid of runs and bit packing: numbers of `width` bits, at most 32, until there are `count`.
/// `None` when the bytes end before.
fn hybrid(bytes: &[u8], width: u32, count: usize, each: &mut dyn FnMut(u32, usize)) -> Option<()> {
    let (mut rest, mut left) = (bytes, count);
    while left > 0 {
        let header = varint(&mut rest)?;
        if header & 1 == 0 {
            let (key, behind) = rest.split_at_checked(width.div_ceil(8) as usize)?;
            rest = behind;
            let key = key.iter().rev().fold(0u64, |key, byte| key << 8 | u64::from(*byte));
            let run = usize::try_from(header >> 1).ok()?.min(left);
            // An empty run would loop for ever.
            (run > 0).then_some(())?;
            each(u32::try_from(key).ok()?, run);
            left -= run;
        } else {
            let groups = usize::try_from(header >> 1).ok().filter(|groups| *groups > 0)?;
            let packed = groups.checked_mul(8)?.min(left);
            // The last bytes of a page may be left out.
            let size = groups.checked_mul(width as usize)?.min(rest.len());
            let (packed_bytes, behind) = rest.split_at_checked(size)?;
            (packed_bytes.len() * 8 >= packed.checked_mul(width as usize)?).then_some(())?;
            unpack(packed_bytes, width, packed, each);
            rest = behind;
            left -= packed;
        }
    }
    Some(())
}

fn unpack(bytes: &[u8], width: u32, count: usize, each: &mut dyn FnMut(u32, usize)) {
    let mask = (1u64 << width) - 1;
    let (mut word, mut filled, mut bytes) = (0u64, 0, bytes.iter());
    for _ in 0..count {
        while filled < width {
            word |= u64::from(bytes.next().copied().unwrap_or(0)) << filled;
            filled += 8;
        }
        each((word & mask) as u32, 1);
        word >>= width;
        filled -= width;
    }
}

#[cfg(test)]
mod tests {
    use super::super::encodings;
    use super::*;

    fn keys(bytes: &[u8], width: u32, count: usize) -> Option<Vec<u32>> {
        let mut keys = Vec::new();
        hybrid(bytes, width, count, &mut |key, run| keys.extend(std::iter::repeat_n(key, run)))?;
        Some(keys)
    }

    #[test]
    fn what_is_written_is_read() {
        for width in 1..=20 {
            let shapes: [&dyn Fn(u32) -> u32; 4] =
                [&|_| 1, &|n| n / 11, &|n| n * 7, &|n| if n % 50 < 20 { 3 } else { n }];
            for shape in shapes {
                let wanted: Vec<u32> = (0..1000).map(|n| shape(n) & ((1 << width) - 1)).collect();
                let mut bytes = Vec::new();
                encodings::hybrid(&wanted, width, &mut bytes);
                assert_eq!(keys(&bytes, width, wanted.len()).as_ref(), Some(&wanted), "{width}");
                for end in 0..bytes.len() {
                    // Some bits of the last group are padding.
                    assert!(
                        keys(&bytes[..end], width, wanted.len()).is_none_or(|keys| keys == wanted),
                        "{width} {end}"
                    );
                }
            }
        }
    }

    #[test]
    fn runs_that_claim_too_much_end_with_the_rows() {
        assert_eq!(keys(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1], 1, 3), Some(vec![1, 1, 1]));
        assert_eq!(keys(&[0, 1, 0, 1], 1, 3), None, "runs of nothing");
        assert_eq!(keys(&[1, 1], 1, 3), None, "no groups");
        assert_eq!(keys(&[0xff; 12], 1, 3), None, "a number without end");
    }
}

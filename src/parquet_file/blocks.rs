//! Hashes of a file's blocks, by which a part of it is checked that was read without the rest.
//!
//! The footer holds, under [`BLOCKS`], the XXH3-64 of every 8 KiB in front of itself; who reads it has checked the footer
//! by its own hash. Smaller blocks cost more footer (16 digits each, 0.2 % of the file), larger ones more bytes beside
//! those that are wanted: a page of 20,000 values takes 15 to 40 KB, one of a column of runs a few hundred bytes.

use std::ops::Range;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::FileMetaData;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::FileError;

/// Key of the footer: 16 hex digits for each block of the file in front of the page indexes, the last one mostly shorter.
pub(super) const BLOCKS: &str = "tsdb-ark.blocks";
/// Bytes of a block.
const BLOCK_BYTES: u64 = 8 << 10;
/// Two wanted ranges with less than this between them are one request.
const GAP_BYTES: u64 = BLOCK_BYTES;

/// Fetches ranges of a file, in their order and each with all its bytes.
pub type Fetch<'a, E> = &'a mut dyn FnMut(&[Range<u64>]) -> Result<Vec<Bytes>, E>;

/// Hashes blocks as they are written.
pub(super) struct BlockHasher {
    hasher: Xxh3,
    filled: u64,
    digits: String,
}

impl BlockHasher {
    pub(super) fn new() -> Self {
        Self { hasher: Xxh3::new(), filled: 0, digits: String::new() }
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK_BYTES - self.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(now);
            self.filled += now.len() as u64;
            if self.filled == BLOCK_BYTES {
                self.end_block();
            }
            bytes = later;
        }
    }

    fn end_block(&mut self) {
        self.digits.push_str(&format!("{:016x}", self.hasher.digest()));
        self.hasher.reset();
        self.filled = 0;
    }

    /// The value of [`BLOCKS`] for what was written so far.
    pub(super) fn finish(&mut self) -> String {
        if self.filled > 0 {
            self.end_block();
        }
        std::mem::take(&mut self.digits)
    }
}

/// The blocks of a file.
pub(super) struct Blocks {
    hashes: Vec<u64>,
    /// Where the last one ends.
    end: u64,
}

impl Blocks {
    /// As the footer has them; the page indexes begin at `end`.
    ///
    /// # Errors
    /// [`FileError`] when there are none, or not as many as the file needs.
    pub(super) fn read(footer: &FileMetaData, end: u64) -> Result<Self, FileError> {
        let entries = footer.key_value_metadata().map(Vec::as_slice).unwrap_or_default();
        let digits = entries.iter().find(|entry| entry.key == BLOCKS).and_then(|entry| entry.value.as_deref());
        let hash = |digits: &[u8]| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let hashes: Option<Vec<u64>> = digits.unwrap_or_default().as_bytes().chunks(16).map(hash).collect();
        match hashes {
            Some(hashes) if hashes.len() as u64 == end.div_ceil(BLOCK_BYTES) => Ok(Self { hashes, end }),
            _ => Err(damaged("the footer does not have the hashes of all blocks")),
        }
    }

    /// Fetches the blocks that hold some ranges, as far as they are not there yet, and checks them.
    ///
    /// # Errors
    /// [`FileError`] for a range outside the blocks and for bytes that are not those that were written; those of `fetch`.
    pub(super) fn fetch<E: From<FileError>>(
        &self,
        mut wanted: Vec<Range<u64>>,
        fetched: &mut Fetched,
        fetch: Fetch<'_, E>,
    ) -> Result<(), E> {
        wanted.retain(|range| !range.is_empty() && fetched.get(range).is_err());
        let ranges = self.around(wanted)?;
        if ranges.is_empty() {
            return Ok(());
        }
        let found = fetch(&ranges)?;
        if found.len() != ranges.len() {
            return Err(damaged("fewer ranges came than were asked for").into());
        }
        for (range, bytes) in ranges.into_iter().zip(found) {
            self.check(&range, &bytes)?;
            fetched.pieces.push((range.start, bytes));
        }
        Ok(())
    }

    /// The blocks around ranges, those with little between them as one.
    fn around(&self, mut wanted: Vec<Range<u64>>) -> Result<Vec<Range<u64>>, FileError> {
        wanted.sort_unstable_by_key(|range| range.start);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for range in wanted {
            if range.end > self.end {
                return Err(damaged("a page lies behind the row groups"));
            }
            let start = range.start / BLOCK_BYTES * BLOCK_BYTES;
            let end = range.end.next_multiple_of(BLOCK_BYTES).min(self.end);
            match ranges.last_mut() {
                Some(last) if start <= last.end.saturating_add(GAP_BYTES) => last.end = last.end.max(end),
                _ => ranges.push(start..end),
            }
        }
        Ok(ranges)
    }

    fn check(&self, range: &Range<u64>, bytes: &Bytes) -> Result<(), FileError> {
        if bytes.len() as u64 != range.end - range.start {
            return Err(damaged("a range came with another number of bytes"));
        }
        let first = usize::try_from(range.start / BLOCK_BYTES).unwrap_or(usize::MAX);
        let known = self.hashes.get(first..).unwrap_or_default();
        let block = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
        for (at, (found, hash)) in bytes.chunks(block).zip(known).enumerate() {
            if xxh3_64(found) != *hash {
                let start = (first + at) as u64 * BLOCK_BYTES;
                return Err(damaged(&format!("the block of {} bytes at byte {start} was changed", found.len())));
            }
        }
        Ok(())
    }
}

fn damaged(what: &str) -> FileError {
    FileError::Damaged(ParquetError::General(what.to_owned()))
}

/// Pieces of a file.
#[derive(Default)]
pub(super) struct Fetched {
    /// Offset in the file, and bytes.
    pieces: Vec<(u64, Bytes)>,
}

impl Fetched {
    /// Bytes that were among the wanted ones.
    ///
    /// # Errors
    /// [`FileError`] when they were not.
    pub(super) fn get(&self, range: &Range<u64>) -> Result<Bytes, FileError> {
        let slice = self.pieces.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(range.start.checked_sub(*start)?).ok()?;
            let to = usize::try_from(range.end.checked_sub(*start)?).ok()?;
            (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
        });
        slice.ok_or_else(|| damaged("a page lies outside the ranges that were read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(bytes: &[u8]) -> Blocks {
        let mut hasher = BlockHasher::new();
        bytes.chunks(1000).for_each(|chunk| hasher.update(chunk));
        let digits = hasher.finish();
        let hashes = digits.as_bytes().chunks(16);
        let hashes = hashes.map(|hash| u64::from_str_radix(std::str::from_utf8(hash).unwrap(), 16).unwrap()).collect();
        Blocks { hashes, end: bytes.len() as u64 }
    }

    #[test]
    fn what_is_wanted_comes_in_whole_blocks_and_is_checked() {
        let block = BLOCK_BYTES;
        let file: Vec<u8> = (0..10 * block + 5).map(|at| (at % 251) as u8).collect();
        let blocks = hashed(&file);
        assert_eq!(blocks.hashes.len(), 11);
        let mut asked = Vec::new();
        let wanted = vec![9 * block..10 * block + 5, 5..7, 2 * block + 1..2 * block + 2, 4..4];
        let mut found = Fetched::default();
        let mut fetch = |ranges: &[Range<u64>]| {
            asked.extend_from_slice(ranges);
            let piece = |range: &Range<u64>| file[range.start as usize..range.end as usize].to_vec().into();
            Ok(ranges.iter().map(piece).collect())
        };
        blocks.fetch::<FileError>(wanted, &mut found, &mut fetch).unwrap();
        blocks.fetch::<FileError>(vec![6..7, 4..4], &mut found, &mut fetch).unwrap();
        assert_eq!(
            asked,
            [0..3 * block, 9 * block..10 * block + 5],
            "neighbours are one request, and nothing comes twice"
        );
        assert_eq!(found.get(&(5..7)).unwrap(), file[5..7]);
        assert_eq!(found.get(&(9 * block..10 * block + 5)).unwrap().len() as u64, block + 5);
        assert!(found.get(&(3 * block..3 * block + 1)).is_err());
        assert!(found.get(&(10 * block..10 * block + 6)).is_err());
        let behind = std::iter::once(10 * block..10 * block + 6).collect();
        let nothing = blocks.fetch::<FileError>(behind, &mut Fetched::default(), &mut |_| Ok(Vec::new()));
        assert!(nothing.is_err(), "behind the end");
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let mut file = vec![7; 3 * BLOCK_BYTES as usize];
        let blocks = hashed(&file);
        file[2 * BLOCK_BYTES as usize] ^= 1;
        let read = |range: Range<u64>| {
            let piece = Bytes::from(file[range.start as usize..range.end as usize].to_vec());
            blocks.fetch::<FileError>(Vec::from([range]), &mut Fetched::default(), &mut |_| Ok(vec![piece.clone()]))
        };
        assert!(read(0..2 * BLOCK_BYTES).is_ok());
        let error = read(2 * BLOCK_BYTES..3 * BLOCK_BYTES).unwrap_err();
        assert!(error.to_string().contains("the block of 8192 bytes at byte 16384 was changed"), "{error}");
        let mut one_byte = |_: &[Range<u64>]| Ok(vec![Bytes::from_static(b"x")]);
        let short = blocks.fetch::<FileError>(
            std::iter::once(0..BLOCK_BYTES).collect(),
            &mut Fetched::default(),
            &mut one_byte,
        );
        assert!(short.is_err());
    }
}

//! What a finished file adds up to.

use std::io::Write;

use super::blocks::BlockHasher;
use crate::model::ColumnRanges;

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileSummary {
    /// Rows.
    pub rows: u64,
    /// Row groups.
    pub row_groups: u64,
    /// Size in bytes, footer included.
    pub bytes: u64,
    /// Bytes of the footer, with the page indexes in front of it.
    pub footer_bytes: u64,
    /// BLAKE3 of these, 64 hex digits.
    pub footer_blake3: String,
    /// Smallest and greatest `metric` and `timestamp`.
    pub ranges: ColumnRanges,
}

/// Counts and hashes the bytes that pass to the caller's sink.
pub(super) struct Counted<W> {
    pub(super) inner: W,
    pub(super) bytes: u64,
    blocks: BlockHasher,
    /// Where the footer begins, and its bytes so far.
    footer: Option<(u64, blake3::Hasher)>,
}

impl<W: Write> Counted<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, bytes: 0, blocks: BlockHasher::new(), footer: None }
    }

    /// The row groups are complete; gives the hashes of their blocks. What follows is the footer.
    pub(super) fn begin_footer(&mut self) -> String {
        self.footer = Some((self.bytes, blake3::Hasher::new()));
        self.blocks.finish()
    }

    /// The sink, and the sizes and the hash of the finished file.
    pub(super) fn finish(self, summary: FileSummary) -> (W, FileSummary) {
        let (begin, hasher) = self.footer.unwrap_or_else(|| (self.bytes, blake3::Hasher::new()));
        let footer_blake3 = hasher.finalize().to_hex().to_string();
        let footer_bytes = self.bytes - begin;
        (self.inner, FileSummary { bytes: self.bytes, footer_bytes, footer_blake3, ..summary })
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let taken = self.inner.write(buf)?;
        self.bytes += taken as u64;
        let written = buf.get(..taken).unwrap_or(buf);
        match &mut self.footer {
            Some((_, hasher)) => drop(hasher.update(written)),
            None => self.blocks.update(written),
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

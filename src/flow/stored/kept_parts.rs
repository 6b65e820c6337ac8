//! Parts of files that stay in memory: what is wanted of a backup is read to be counted, and again to be sent.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::model::FileRow;

/// Bytes of parts that are kept, beside the budget for files.
const KEPT_BYTES: u64 = 32 << 20;

/// Parts of files that were read.
#[derive(Debug, Default)]
pub struct KeptParts(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// By path and offset.
    parts: HashMap<(String, u64), Bytes>,
    bytes: u64,
}

impl KeptParts {
    /// The bytes of a range that was kept.
    pub fn get(&self, file: &FileRow, range: &Range<u64>) -> Option<Bytes> {
        // Parts are put in whole, so a panic of another thread leaves nothing broken.
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.parts.get(&(file.path.clone(), range.start))?;
        (found.len() as u64 == range.end - range.start).then(|| found.clone())
    }

    /// Keeps the bytes of a range, where there is room.
    pub fn put(&self, file: &FileRow, range: &Range<u64>, bytes: &Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + bytes.len() as u64 <= KEPT_BYTES {
            let before = kept.parts.insert((file.path.clone(), range.start), bytes.clone());
            kept.bytes += bytes.len() as u64 - before.map_or(0, |before| before.len() as u64).min(bytes.len() as u64);
        }
    }
}

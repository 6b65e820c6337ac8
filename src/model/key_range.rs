//! Ranges of row keys.

use std::fmt;

use data_encoding::HEXLOWER;

/// The longest row key that HBase stores (`HConstants.MAX_ROW_LENGTH`).
const MAX_ROW_KEY: usize = 32_767;

/// Row keys from `start` (inclusive) to `stop` (exclusive); an empty `stop` is open, an empty `start` is the beginning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyRange {
    /// First key.
    pub start: Vec<u8>,
    /// First key behind the range; empty: no end.
    pub stop: Vec<u8>,
}

impl KeyRange {
    /// The whole table.
    pub fn all() -> Self {
        Self::default()
    }

    /// From `start` to `stop`.
    pub fn new(start: impl Into<Vec<u8>>, stop: impl Into<Vec<u8>>) -> Self {
        Self { start: start.into(), stop: stop.into() }
    }

    /// True when the key lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.is_before_stop(key)
    }

    /// True when the key lies before the end of the range.
    pub fn is_before_stop(&self, key: &[u8]) -> bool {
        self.stop.is_empty() || key < self.stop.as_slice()
    }

    /// True when no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        !self.stop.is_empty() && self.start >= self.stop
    }
}

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        f.write_str(&HEXLOWER.encode(&self.start))?;
        f.write_str(", ")?;
        if self.stop.is_empty() {
            f.write_str("end")?
        } else {
            f.write_str(&HEXLOWER.encode(&self.stop))?
        }
        f.write_str(")")
    }
}

/// The smallest key greater than `key` that HBase accepts in a request, or `None` when there is none.
///
/// That is `key` and a zero byte, except behind a key of the greatest length, where a longer one would be refused.
pub fn successor(key: &[u8]) -> Option<Vec<u8>> {
    let mut next = key.to_vec();
    if next.len() < MAX_ROW_KEY {
        next.push(0);
        return Some(next);
    }
    while let Some(last) = next.pop() {
        if last < u8::MAX {
            next.push(last + 1);
            return Some(next);
        }
    }
    None
}

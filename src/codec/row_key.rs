//! Row keys of the data, rollup and pre-aggregate tables.
//!
//! ```text
//! [salt: W_s] metric UID: W_m | base time: u32 big-endian, seconds | (tagk UID: W_k | tagv UID: W_v) x N
//! ```
//!
//! The TSUID is the key without salt and base time. `N` is 0 only in rows of global annotations.

use crate::codec::salt;
use crate::model::{KeyLayout, hex};

/// A row key taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKey<'a> {
    /// Salt bytes, as many as the layout says.
    pub salt: &'a [u8],
    /// Metric UID.
    pub metric: &'a [u8],
    /// Base time in seconds.
    pub base: u32,
    /// Tag pairs; may be empty.
    pub tags: &'a [u8],
}

impl<'a> RowKey<'a> {
    /// Takes a key apart; `None` when it is too short or its tags do not divide into pairs.
    pub fn parse(key: &'a [u8], layout: &KeyLayout) -> Option<Self> {
        let (salt, rest) = key.split_at_checked(usize::from(layout.salt_width))?;
        let (metric, rest) = rest.split_at_checked(usize::from(layout.metric_width))?;
        let (base, tags) = rest.split_first_chunk::<4>()?;
        if !tags.len().is_multiple_of(layout.tag_width()) {
            return None;
        }
        Some(Self { salt, metric, base: u32::from_be_bytes(*base), tags })
    }

    /// True when the metric UID is all zero, as in rows of global annotations.
    pub fn is_global(&self) -> bool {
        self.metric.iter().all(|b| *b == 0)
    }

    /// True when the salt is the one that the series hashes to.
    pub fn has_own_salt(&self, layout: &KeyLayout) -> bool {
        self.salt.is_empty() || salt::of_series(self.metric, self.tags, layout).as_slice() == self.salt
    }

    /// Writes the TSUID into a buffer.
    pub fn tsuid_into(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(self.metric);
        out.extend_from_slice(self.tags);
    }

    /// The TSUID in upper-case hex, as OpenTSDB prints it.
    pub fn tsuid_hex(&self) -> String {
        [hex(self.metric), hex(self.tags)].concat()
    }
}

/// Builds the key of a series' row, salt computed. False, and an unusable buffer, when the TSUID is too short.
pub fn build(tsuid: &[u8], base: u32, layout: &KeyLayout, out: &mut Vec<u8>) -> bool {
    out.clear();
    let Some((metric, tags)) = tsuid.split_at_checked(usize::from(layout.metric_width)) else {
        return false;
    };
    out.extend_from_slice(salt::of_series(metric, tags, layout).as_slice());
    out.extend_from_slice(metric);
    out.extend_from_slice(&base.to_be_bytes());
    out.extend_from_slice(tags);
    true
}

//! The salt in front of row keys of `tsdb` and the rollup tables (not of `tsdb-meta`).
//!
//! `bucket = |31-polynomial over the signed bytes of metric and tags, seed 1, wrapping i32| mod buckets`; the salt is
//! the low bytes of the bucket, big-endian. The base time takes no part. The zero metric (global annotations) has
//! zero salt.

use crate::model::KeyLayout;

/// Up to 8 bytes of salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt {
    bytes: [u8; 8],
    width: u8,
}

impl Salt {
    /// The salt bytes, as many as the layout says; none without salting.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(8 - usize::from(self.width)..).unwrap_or_default()
    }
}

/// Java's `Arrays.hashCode(byte[])` over the parts one after the other.
pub fn hash(parts: [&[u8]; 2]) -> i32 {
    let step = |h: i32, b: &u8| h.wrapping_mul(31).wrapping_add(i32::from(*b as i8));
    parts.iter().flat_map(|part| part.iter()).fold(1, step)
}

/// The salt of a series: its metric UID and the bytes of its tags.
pub fn of_series(metric: &[u8], tags: &[u8], layout: &KeyLayout) -> Salt {
    let width = layout.salt_width.min(8);
    let zero = Salt { bytes: [0; 8], width };
    if width == 0 || metric.len() < usize::from(layout.metric_width) || metric.iter().all(|b| *b == 0) {
        return zero;
    }
    let bucket = u64::from(hash([metric, tags]).unsigned_abs() % layout.salt_buckets.max(1));
    let mask = if width >= 8 { u64::MAX } else { (1 << (8 * u32::from(width))) - 1 };
    Salt { bytes: (bucket & mask).to_be_bytes(), width }
}

/// The salt that belongs in front of a key given without its salt; zero for keys too short to have one.
pub fn salt_of(key_without_salt: &[u8], layout: &KeyLayout) -> Salt {
    let metric_width = usize::from(layout.metric_width);
    let metric = key_without_salt.get(..metric_width).unwrap_or_default();
    let tags = key_without_salt.get(metric_width + 4..).unwrap_or_default();
    of_series(metric, tags, layout)
}

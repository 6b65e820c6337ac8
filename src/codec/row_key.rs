//! Row keys of the data, rollup and pre-aggregate tables.
//!
//! ```text
//! [salt: W_s] metric UID: W_m | base time: u32 big-endian, seconds | (tagk UID: W_k | tagv UID: W_v) x N
//! ```
//!
//! The TSUID is the key without salt and base time. `N` is 0 only in rows of global annotations.
//!
//! A table can hold rows of several salts ([`KeyLayouts`]): the salt that belongs to the series, or a length that fits no
//! other layout, says which one a row has.

use crate::codec::salt;
use crate::model::{KeyLayout, KeyLayouts, RawReason, hex};

/// More tags than a series can have: a TSD writes 8 unless `tsd.storage.max_tags` says otherwise. A damaged key of 32 KiB
/// would look like thousands, and cost seconds.
const MAX_TAGS: usize = 255;

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
    /// Takes a key apart; `None` when it is too short, or its tags do not divide into pairs, or are more than any TSD
    /// writes.
    pub fn parse(key: &'a [u8], layout: &KeyLayout) -> Option<Self> {
        let (salt, rest) = key.split_at_checked(usize::from(layout.salt_width))?;
        let (metric, rest) = rest.split_at_checked(usize::from(layout.metric_width))?;
        let (base, tags) = rest.split_first_chunk::<4>()?;
        if !tags.len().is_multiple_of(layout.tag_width()) || tags.len() / layout.tag_width() > MAX_TAGS {
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

/// A key and the layout it was read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The key.
    pub key: RowKey<'a>,
    /// Number of the layout.
    pub layout: u8,
    /// Why the key cannot be built from series and base time.
    pub problem: Option<RawReason>,
}

/// Takes a key apart in the layout that explains it: the main one where that gives the row its salt, else an older one
/// that does and has a whole hour. A key that none explains is read in the first layout whose length fits; `None`
/// when there is none.
#[inline]
pub fn find<'a>(key: &'a [u8], layouts: &KeyLayouts) -> Option<Found<'a>> {
    let main = RowKey::parse(key, layouts.main());
    match main.filter(|key| key.has_own_salt(layouts.main())) {
        Some(key) => Some(Found { key, layout: 0, problem: odd_base(&key) }),
        None => find_older(key, main, layouts),
    }
}

#[cold]
fn find_older<'a>(key: &'a [u8], main: Option<RowKey<'a>>, layouts: &KeyLayouts) -> Option<Found<'a>> {
    let mut fitting = None;
    for (layout, number) in layouts.older().iter().zip(1..) {
        let Some(found) = RowKey::parse(key, layout) else { continue };
        let own = found.has_own_salt(layout);
        if own && odd_base(&found).is_none() {
            return Some(Found { key: found, layout: number, problem: None });
        }
        let problem = if own { odd_base(&found) } else { Some(foreign_salt(&found, layouts)) };
        fitting = fitting.or(Some(Found { key: found, layout: number, problem }));
    }
    let main = main.map(|key| Found { key, layout: 0, problem: Some(foreign_salt(&key, layouts)) });
    main.or(fitting)
}

fn odd_base(key: &RowKey<'_>) -> Option<RawReason> {
    (!key.base.is_multiple_of(3600)).then_some(RawReason::OddBaseTime)
}

/// A salt below the greatest number of buckets is one that a TSD wrote under a number that is not known.
fn foreign_salt(key: &RowKey<'_>, layouts: &KeyLayouts) -> RawReason {
    let number = key.salt.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    if number < u64::from(layouts.most_buckets()) { RawReason::OtherSalt } else { RawReason::WrongSalt }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_more_tags_than_a_series_has_is_none() {
        let layout = KeyLayout::default();
        let key = |tags: usize| vec![1; 7 + 6 * tags];
        assert!(RowKey::parse(&key(MAX_TAGS), &layout).is_some());
        assert!(RowKey::parse(&key(MAX_TAGS + 1), &layout).is_none());
    }
}

//! Histograms: qualifier `06` and an offset, value codec id and codec bytes.
//!
//! The built-in codec (`SimpleHistogram`, Kryo 2 and 3, big-endian) is
//! `i16 bucket count | per bucket: f32 lower, f32 upper, varint count | varint underflow | varint overflow`; a varint
//! has 7 bits per byte, least significant first, at most 9 bytes of which the ninth carries 8 bits.

use crate::codec::row_key::RowKey;
use crate::model::{Cell, Histogram, HistogramBucket, RawReason};

/// Reads a histogram cell whose qualifier has 3 or 5 bytes.
///
/// # Errors
/// [`RawReason::BadRowKey`] for a row without tags, [`RawReason::UnknownQualifier`] for another length.
pub fn read(cell: &Cell<'_>, key: &RowKey<'_>) -> Result<Histogram, RawReason> {
    if key.tags.is_empty() {
        return Err(RawReason::BadRowKey);
    }
    let offset_ms = match *cell.qualifier {
        [_, a, b] => i64::from(u16::from_be_bytes([a, b])) * 1000,
        [_, a, b, c, d] => i64::from(u32::from_be_bytes([a, b, c, d])),
        _ => return Err(RawReason::UnknownQualifier),
    };
    let counts = built_in(cell.value);
    let (buckets, outside) = counts.map_or((Vec::new(), None), |(buckets, low, high)| (buckets, Some((low, high))));
    Ok(Histogram {
        cell: cell.to_owned(),
        tsuid: key.tsuid_hex(),
        timestamp: i64::from(key.base) * 1000 + offset_ms,
        codec: cell.value.first().copied(),
        buckets,
        underflow: outside.map(|(low, _)| low),
        overflow: outside.map(|(_, high)| high),
    })
}

/// Reads a whole value by the built-in codec: buckets, underflow, overflow. `None` when it does not fit.
pub fn built_in(value: &[u8]) -> Option<(Vec<HistogramBucket>, i64, i64)> {
    let mut rest = value.get(1..)?;
    let count = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
    // A bucket has at least 9 bytes: a count beyond that is not believed.
    let mut buckets = Vec::with_capacity(count.min(rest.len() / 9));
    for _ in 0..count {
        let lower = f32::from_be_bytes(take(&mut rest)?);
        let upper = f32::from_be_bytes(take(&mut rest)?);
        buckets.push(HistogramBucket { lower, upper, count: varint(&mut rest)? });
    }
    let (low, high) = (varint(&mut rest)?, varint(&mut rest)?);
    rest.is_empty().then_some((buckets, low, high))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut result = 0_u64;
    for shift in (0..56).step_by(7) {
        let [byte] = take(rest)?;
        result |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(result as i64);
        }
    }
    let [last] = take(rest)?;
    Some((result | u64::from(last) << 56) as i64)
}

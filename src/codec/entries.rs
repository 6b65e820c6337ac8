//! The entries of compacted columns and append cells, in stored order.
//!
//! A compacted column is the point qualifiers one after the other, and the values in the same order plus one trailing
//! byte (1 when seconds and milliseconds are mixed, else 0). `TSDB.newBatch()` leaves the trailing byte out. An append
//! cell is `(qualifier value)*` in its value, without a trailing byte.

use crate::codec::POINT_FAMILY;
use crate::codec::qualifier::{self, PointQualifier};
use crate::codec::value;
use crate::model::{Cell, FLAG_MILLISECONDS, RawReason, kind};

/// One point of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Offset from the base time in ms.
    pub offset_ms: u32,
    /// Low nibble of the qualifier, and [`FLAG_MILLISECONDS`].
    pub flags: u8,
    /// See [`value`].
    pub word: u64,
}

/// What is odd about a column whose entries can all be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oddness {
    /// Why it cannot be rebuilt.
    pub reason: Option<RawReason>,
}

impl Oddness {
    fn note(&mut self, odd: bool, reason: RawReason) {
        if odd && self.reason.is_none() {
            self.reason = Some(reason);
        }
    }

    /// Notes what a readable point can have wrong with it.
    pub fn check(&mut self, point: &PointQualifier, word: u64) {
        self.note(!point.is_inside_hour(), RawReason::OffsetOutsideHour);
        self.note(point.unused_bits, RawReason::UnusedBits);
        self.note(point.flags & 0xF == 0xB && value::is_signalling(word), RawReason::NanPayload);
    }
}

/// How a compacted column ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With the trailing byte.
    Trailing,
    /// Without it.
    Bare,
}

/// Takes a compacted column apart.
///
/// # Errors
/// The reason why it cannot be read: [`RawReason::BadCompacted`] or [`RawReason::ImpossibleFlags`].
pub fn compacted(qualifier: &[u8], value: &[u8], out: &mut Vec<Entry>) -> Result<(Ending, Oddness), RawReason> {
    out.clear();
    let (mut qualifiers, mut values) = (qualifier, value);
    let (mut odd, mut units, mut impossible) = (Oddness::default(), 0, false);
    while !qualifiers.is_empty() {
        let point = PointQualifier::parse(qualifiers).ok_or(RawReason::BadCompacted)?;
        let (bytes, rest) = values.split_at_checked(qualifier::width(point.flags)).ok_or(RawReason::BadCompacted)?;
        let word = value::word(bytes);
        odd.check(&point, word);
        impossible |= !qualifier::is_legal(point.flags);
        units |= if point.flags & FLAG_MILLISECONDS == 0 { 1 } else { 2 };
        out.push(Entry { offset_ms: point.offset_ms, flags: point.flags, word });
        values = rest;
        qualifiers = qualifiers.get(point.len..).unwrap_or_default();
    }
    let ending = match *values {
        [] => Ending::Bare,
        [byte] => {
            odd.note(byte != u8::from(units == 3), RawReason::OddTrailingByte);
            Ending::Trailing
        }
        _ => return Err(RawReason::BadCompacted),
    };
    if impossible { Err(RawReason::ImpossibleFlags) } else { Ok((ending, odd)) }
}

/// Takes an append cell apart.
///
/// # Errors
/// The reason why it cannot be read: [`RawReason::BadAppend`] or [`RawReason::ImpossibleFlags`].
pub fn appended(value: &[u8], out: &mut Vec<Entry>) -> Result<Oddness, RawReason> {
    out.clear();
    let (mut rest, mut odd, mut impossible) = (value, Oddness::default(), false);
    while !rest.is_empty() {
        let point = PointQualifier::parse(rest).ok_or(RawReason::BadAppend)?;
        let width = qualifier::width(point.flags);
        let bytes = rest.get(point.len..point.len + width).ok_or(RawReason::BadAppend)?;
        let word = value::word(bytes);
        odd.check(&point, word);
        impossible |= !qualifier::is_legal(point.flags);
        out.push(Entry { offset_ms: point.offset_ms, flags: point.flags, word });
        rest = rest.get(point.len + width..).unwrap_or_default();
    }
    match (out.is_empty(), impossible) {
        (true, _) => Err(RawReason::BadAppend),
        (_, true) => Err(RawReason::ImpossibleFlags),
        _ => Ok(odd),
    }
}

/// The offsets in ms of the points in a cell of a data table; `None` for one that does not decode to points inside the
/// hour of its row.
pub fn point_offsets(cell: &Cell<'_>) -> Option<Vec<u32>> {
    if cell.kind != kind::PUT || cell.family != POINT_FAMILY {
        return None;
    }
    let mut entries = Vec::new();
    let read = match cell.qualifier {
        [5, 0, 0] | [0, 0, 5] => appended(cell.value, &mut entries).is_ok(),
        _ => match compacted(cell.qualifier, cell.value, &mut entries) {
            Ok((Ending::Bare, _)) => !entries.is_empty(),
            Ok((Ending::Trailing, _)) => entries.len() > 1,
            Err(_) => false,
        },
    };
    let offsets: Vec<u32> = entries.iter().map(|entry| entry.offset_ms).collect();
    (read && offsets.iter().all(|offset| *offset < qualifier::ROW_SPAN_MS)).then_some(offsets)
}

/// What one look over an all-seconds qualifier tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecondsScan {
    /// Sum of the value widths.
    pub values: usize,
    /// There are floats of 4 bytes.
    pub narrow_floats: bool,
    /// True when the offsets grow from point to point.
    pub increasing: bool,
}

/// Looks over a compacted qualifier: `None` unless all points are in seconds, inside the hour and have legal flags.
#[inline]
pub fn scan_seconds(qualifier: &[u8]) -> Option<SecondsScan> {
    // The sums below are 32 bits wide; no row is this long.
    if qualifier.len() > 1 << 28 {
        return None;
    }
    let (mut max, mut values, mut narrow, mut illegal, mut falls) = (0_u16, 0_u32, 0_u32, 0_u32, 0_u32);
    let mut previous = -1_i32;
    for pair in qualifier.chunks_exact(2) {
        let word = u16::from_be_bytes([pair[0], pair[1]]);
        let offset = i32::from(word >> 4);
        max = max.max(word);
        values += u32::from(word & 7) + 1;
        narrow |= u32::from(word & 0xF == 0xB);
        illegal |= u32::from(!qualifier::is_legal(word as u8));
        falls |= u32::from(offset <= previous);
        previous = offset;
    }
    let plain = max < 3600 << 4 && illegal == 0 && qualifier.len().is_multiple_of(2);
    plain.then_some(SecondsScan { values: values as usize, narrow_floats: narrow != 0, increasing: falls == 0 })
}

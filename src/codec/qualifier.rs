//! Qualifiers of points.
//!
//! | unit | length | bits |
//! | --- | --- | --- |
//! | seconds | 2 | `oooo oooo oooo Flll`: 12-bit offset in s |
//! | milliseconds | 4 | `1111 oooo oooo oooo oooo oooo oorr Flll`: 22-bit offset in ms, `rr` unused and ignored by readers |
//!
//! `F` 1 is float, `lll` is the value's length - 1. A first nibble of `F` makes the difference; no offset inside the
//! hour reaches it.

use crate::model::FLAG_MILLISECONDS;

/// Milliseconds that a row spans.
pub const ROW_SPAN_MS: u32 = 3_600_000;
/// The float bit of the flags.
pub const FLAG_FLOAT: u8 = 0x08;
/// The first byte of a qualifier at or above this is the start of a millisecond qualifier.
pub const MS_MARK: u8 = 0xF0;

/// One bit per flag nibble that a writer sets: integers of 1, 2, 4, 8 bytes, floats of 4 and 8.
const LEGAL: u16 = 1 << 0x0 | 1 << 0x1 | 1 << 0x3 | 1 << 0x7 | 1 << 0xB | 1 << 0xF;

/// True for flags that a writer sets. Looks at the low nibble.
#[inline]
pub fn is_legal(flags: u8) -> bool {
    LEGAL >> (flags & 0xF) & 1 == 1
}

/// Bytes of the value that the flags announce, 1..=8.
#[inline]
pub fn width(flags: u8) -> usize {
    usize::from(flags & 7) + 1
}

/// A point qualifier taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointQualifier {
    /// 2 or 4 bytes.
    pub len: usize,
    /// Offset from the base time in ms; may lie outside the hour.
    pub offset_ms: u32,
    /// Low nibble as stored, and [`FLAG_MILLISECONDS`].
    pub flags: u8,
    /// True when the unused bits of a millisecond qualifier are set.
    pub unused_bits: bool,
}

impl PointQualifier {
    /// Reads the qualifier at the start of `bytes`; `None` when they end too early.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        if first < MS_MARK {
            let word = u16::from_be_bytes(*bytes.first_chunk()?);
            let offset_ms = u32::from(word >> 4) * 1000;
            return Some(Self { len: 2, offset_ms, flags: word as u8 & 0xF, unused_bits: false });
        }
        let word = u32::from_be_bytes(*bytes.first_chunk()?);
        let flags = word as u8 & 0xF | FLAG_MILLISECONDS;
        Some(Self { len: 4, offset_ms: word >> 6 & 0x3F_FFFF, flags, unused_bits: word & 0x30 != 0 })
    }

    /// True when the offset lies inside the row's hour.
    pub fn is_inside_hour(&self) -> bool {
        self.offset_ms < ROW_SPAN_MS
    }
}

/// The qualifier of a point inside the hour: its bytes left-aligned, and how many they are. `None` when the offset is
/// outside the hour, or not a whole second for a second qualifier.
#[inline]
pub fn encode(offset_ms: i64, flags: u8) -> Option<([u8; 4], usize)> {
    let offset = u32::try_from(offset_ms).ok().filter(|offset| *offset < ROW_SPAN_MS)?;
    let nibble = u32::from(flags & 0xF);
    if flags & FLAG_MILLISECONDS != 0 {
        return Some(((0xF000_0000 | offset << 6 | nibble).to_be_bytes(), 4));
    }
    let seconds = offset / 1000;
    (seconds * 1000 == offset).then(|| ((seconds << 20 | nibble << 16).to_be_bytes(), 2))
}

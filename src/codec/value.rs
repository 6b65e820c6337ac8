//! Values of points as 64-bit words: the value's bytes, big-endian, in the *upper* end of the word.
//!
//! A word reads and writes 1 to 8 bytes with one unaligned access, whatever the width.

/// The word of a value of 1 to 8 bytes; longer ones lose their tail, an empty one is zero.
#[inline]
pub fn word(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => u64::from(a) << 56,
        [a, b] => u64::from(u16::from_be_bytes([a, b])) << 48,
        [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])) << 32,
        [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => bytes.iter().take(8).enumerate().fold(0, |word, (i, b)| word | u64::from(*b) << (56 - 8 * i)),
    }
}

/// The integer in a word of `width` bytes (1..=8).
#[inline]
pub fn int(word: u64, width: usize) -> i64 {
    (word as i64) >> (64 - 8 * width as u32)
}

/// The word of an integer on `width` bytes (1..=8), `None` when it needs more.
#[inline]
pub fn int_word(value: i64, width: usize) -> Option<u64> {
    let shift = 64 - 8 * width as u32;
    let word = (value as u64) << shift;
    ((word as i64) >> shift == value).then_some(word)
}

/// The float in a word: binary32 on 4 bytes, binary64 otherwise.
#[inline]
pub fn float(word: u64, width: usize) -> f64 {
    if width == 4 { widen((word >> 32) as u32) } else { f64::from_bits(word) }
}

/// The word of a float on 4 or 8 bytes, `None` when binary32 does not hold it or the width is another.
#[inline]
pub fn float_word(value: f64, width: usize) -> Option<u64> {
    match width {
        8 => Some(value.to_bits()),
        4 => narrow(value).map(|bits| u64::from(bits) << 32),
        _ => None,
    }
}

/// binary32 to binary64. NaNs are moved bit by bit, because the payload of a converted NaN is not defined; signalling
/// ones become quiet, as hardware does it.
#[inline]
fn widen(bits: u32) -> f64 {
    let narrow = f32::from_bits(bits);
    if !narrow.is_nan() {
        return f64::from(narrow);
    }
    let sign = u64::from(bits >> 31) << 63;
    let payload = u64::from(bits & 0x007F_FFFF) << 29;
    f64::from_bits(sign | 0x7FF8 << 48 | payload)
}

#[inline]
fn narrow(value: f64) -> Option<u32> {
    if !value.is_nan() {
        let narrow = value as f32;
        return (f64::from(narrow).to_bits() == value.to_bits()).then(|| narrow.to_bits());
    }
    let wide = value.to_bits();
    let bits = (wide >> 63 << 31) as u32 | 0x7F80_0000 | (wide >> 29) as u32 & 0x007F_FFFF;
    (widen(bits).to_bits() == wide).then_some(bits)
}

/// True for a word that holds a signalling binary32 NaN: widening makes it quiet, so it does not come back.
pub fn is_signalling(word: u64) -> bool {
    let bits = (word >> 32) as u32;
    f32::from_bits(bits).is_nan() && bits & 0x0040_0000 == 0
}

//! The encodings of values, by the specification of Parquet: `DELTA_BINARY_PACKED`, `RLE_DICTIONARY` with its hybrid of runs
//! and bit packing, `BYTE_STREAM_SPLIT` and `PLAIN`.

/// Values of a block of differences, and of each of its four miniblocks.
const BLOCK: usize = 256;
const MINIBLOCK: usize = 64;
/// Runs from this length on are written as runs.
const LONG_RUN: usize = 8;

/// Appends a number, seven bits to a byte, the lowest first.
fn push_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a number as [`push_varint`] writes it, and passes over it; `None` when the bytes end before.
pub(super) fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn push_zigzag(number: i64, out: &mut Vec<u8>) {
    push_varint((number << 1 ^ number >> 63) as u64, out);
}

/// Bits of a number.
fn bits(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

/// Appends the numbers in `width` bits each, at most 64, the lowest bit first; the last byte is filled up with zeros.
fn pack(numbers: impl ExactSizeIterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    out.reserve((numbers.len() * width as usize).div_ceil(8) + 8);
    let (mut word, mut filled) = (0, 0);
    for number in numbers {
        word |= number << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&word.to_le_bytes());
            filled -= u64::BITS;
            // What of the number did not fit; a shift by all 64 bits would leave it as it is.
            word = if filled == 0 { 0 } else { number >> (width - filled) };
        }
    }
    out.extend(word.to_le_bytes().iter().take(filled.div_ceil(8) as usize));
}

/// `DELTA_BINARY_PACKED` with blocks of 256 values in miniblocks of 64.
pub(super) fn delta(values: &[i64], out: &mut Vec<u8>) {
    push_varint(BLOCK as u64, out);
    push_varint((BLOCK / MINIBLOCK) as u64, out);
    push_varint(values.len() as u64, out);
    push_zigzag(values.first().copied().unwrap_or(0), out);
    let mut deltas = [0; BLOCK];
    let mut rest = values;
    while rest.len() > 1 {
        let count = BLOCK.min(rest.len() - 1);
        let next = rest.get(1..).unwrap_or_default();
        for ((delta, before), after) in deltas.iter_mut().zip(rest).zip(next) {
            *delta = after.wrapping_sub(*before);
        }
        delta_block(deltas.get(..count).unwrap_or_default(), out);
        rest = rest.get(count..).unwrap_or_default();
    }
}

fn delta_block(deltas: &[i64], out: &mut Vec<u8>) {
    // Evenly spaced timestamps have equal differences; this check vectorises.
    let first = deltas.first().copied().unwrap_or(0);
    if deltas.iter().fold(0, |all, delta| all | (delta ^ first)) == 0 {
        push_zigzag(first, out);
        out.extend_from_slice(&[0; BLOCK / MINIBLOCK]);
        return;
    }
    let least = deltas.iter().copied().min().unwrap_or(0);
    push_zigzag(least, out);
    let widths = out.len();
    out.extend_from_slice(&[0; BLOCK / MINIBLOCK]);
    for (number, miniblock) in deltas.chunks(MINIBLOCK).enumerate() {
        let above = |delta: &i64| delta.wrapping_sub(least) as u64;
        let width = bits(miniblock.iter().map(above).fold(0, |all, number| all | number));
        if let Some(byte) = out.get_mut(widths + number) {
            *byte = width as u8;
        }
        if width == 0 {
            continue;
        }
        let filled = out.len() + MINIBLOCK * width as usize / 8;
        // Beside a jump between two series the other differences are even, and eight of them fill whole bytes.
        let (begin, first) = (out.len(), miniblock.first().copied().unwrap_or(0));
        if miniblock.len() == MINIBLOCK && miniblock.iter().fold(0, |all, delta| all | (delta ^ first)) == 0 {
            pack(miniblock.iter().take(8).map(above), width, out);
            while out.len() < filled {
                out.extend_from_within(begin..begin + width as usize);
            }
        } else {
            pack(miniblock.iter().map(above), width, out);
            out.resize(filled, 0);
        }
    }
}

/// The hybrid of runs and bit packing: keys of at most `width` bits.
pub(super) fn hybrid(keys: &[u32], width: u32, out: &mut Vec<u8>) {
    let (mut literals, mut at) = (0_usize, 0);
    while at < keys.len() {
        let key = keys.get(at).copied().unwrap_or(0);
        let run = keys.iter().skip(at).take_while(|other| **other == key).count();
        // Literals are packed in groups of eight: a run fills up the group in front of it.
        let fill = literals.wrapping_sub(at) % LONG_RUN;
        if run >= fill + LONG_RUN {
            push_literals(keys.get(literals..at + fill).unwrap_or_default(), width, out);
            push_run(key, run - fill, width, out);
            literals = at + run;
        }
        at += run;
    }
    push_literals(keys.get(literals..).unwrap_or_default(), width, out);
}

fn push_literals(keys: &[u32], width: u32, out: &mut Vec<u8>) {
    if keys.is_empty() {
        return;
    }
    let groups = keys.len().div_ceil(8);
    push_varint((groups as u64) << 1 | 1, out);
    let filled = out.len() + groups * width as usize;
    pack(keys.iter().map(|key| u64::from(*key)), width, out);
    out.resize(filled, 0);
}

/// Appends a run of one key.
pub(super) fn push_run(key: u32, rows: usize, width: u32, out: &mut Vec<u8>) {
    push_varint((rows as u64) << 1, out);
    out.extend(key.to_le_bytes().iter().take(width.div_ceil(8) as usize));
}

/// Bits of the greatest key of a dictionary, at least 1: every reader takes 1, not every old one takes 0.
pub(super) fn key_width(entries: usize) -> u32 {
    bits(entries.saturating_sub(1) as u64).max(1)
}

/// Appends definition levels behind their length in bytes.
pub(super) fn push_levels(out: &mut Vec<u8>, levels: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    levels(out);
    let len = (out.len() - at - 4) as u32;
    if let Some(prefix) = out.get_mut(at..at + 4) {
        prefix.copy_from_slice(&len.to_le_bytes());
    }
}

/// `BYTE_STREAM_SPLIT`: the first bytes of all values, then the second ones, and so on.
pub(super) fn split(values: &[u64], out: &mut Vec<u8>) {
    let at = out.len();
    out.resize(at + 8 * values.len(), 0);
    let Some(streams) = out.get_mut(at..).filter(|_| !values.is_empty()) else { return };
    for (byte, stream) in streams.chunks_exact_mut(values.len()).enumerate() {
        for (value, place) in values.iter().zip(stream) {
            *place = (value >> (8 * byte)) as u8;
        }
    }
}

/// `PLAIN`: eight bytes each, the lowest first.
pub(super) fn plain(values: &[u64], out: &mut Vec<u8>) {
    out.reserve(8 * values.len());
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

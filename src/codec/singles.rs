//! The hot path of uncompacted tables: points in cells of their own.

use crate::codec::decoder::{Decoder, Sink};
use crate::codec::qualifier::{self, FLAG_FLOAT};
use crate::codec::segments::{Row, open_segment};
use crate::codec::{POINT_FAMILY, is_storable, value};
use crate::model::{CellRef, Form, PointBatch, RowView, WriteTime, kind};

/// Takes the cells in front that are clean points in seconds, each of a column of its own and behind the one before, into
/// one segment; returns how many. What is odd in any way is left for the slow path, which knows the reasons.
pub fn take(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    view: RowView<'_>,
    cells: &[CellRef],
    sink: &mut Sink<'_>,
) -> usize {
    let &[family] = POINT_FAMILY else { return 0 };
    let Some(number) = view.family_number(POINT_FAMILY).filter(|_| row.problem.is_none()) else { return 0 };
    let bytes = view.bytes();
    let batch = &mut sink.out.points;
    let before = batch.timestamps.len();
    let (mut lengths, mut checksum, mut last) = (0, 0_u64, row.last_time);
    for cell in cells {
        let Some((qualifier, word)) = point(bytes, cell, number) else { break };
        let second = u16::from_be_bytes(qualifier);
        let timestamp = row.base_ms + i64::from(second >> 4) * 1000;
        if timestamp <= last {
            break;
        }
        if batch.timestamps.len() == before && !open(decoder, row, batch) {
            return 0;
        }
        last = timestamp;
        let (flags, width) = (second as u8 & 0xF, cell.value.len as usize);
        batch.timestamps.push(timestamp);
        batch.flags.push(flags);
        batch.delays.push(cell.timestamp - timestamp);
        if flags & FLAG_FLOAT == 0 {
            batch.ints.push(value::int(word, width));
        } else {
            batch.floats.push(value::float(word, width));
        }
        lengths += width;
        let hash = decoder.hasher.short([family, kind::PUT], qualifier, cell.timestamp, word, width);
        checksum = checksum.wrapping_add(hash);
    }
    let taken = batch.timestamps.len() - before;
    if taken == 0 {
        return 0;
    }
    row.last_time = last;
    if let Some(segment) = batch.segments.last_mut() {
        segment.len += taken;
        segment.checksum = segment.checksum.wrapping_add(checksum);
    }
    let tally = &mut sink.tally;
    tally.cells += taken as u64;
    tally.points += taken as u64;
    tally.bytes += (taken * (view.key.len() + POINT_FAMILY.len() + 2) + lengths) as u64;
    tally.checksum = tally.checksum.wrapping_add(checksum);
    taken
}

/// Qualifier and value of a clean point; the value is in the upper end of the word.
#[inline]
fn point(bytes: &[u8], cell: &CellRef, family: u8) -> Option<([u8; 2], u64)> {
    let (at, len) = (cell.value.offset as usize, cell.value.len as usize);
    let qualifier: [u8; 2] = *bytes.get(cell.qualifier.offset as usize..)?.first_chunk()?;
    // In a reply there is always more behind a value; a value at the very end is left.
    let word = u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
    let [_, flags] = qualifier;
    let fits = cell.family == family
        && cell.kind == kind::PUT
        && cell.qualifier.len == 2
        && u16::from_be_bytes(qualifier) < 3600 << 4
        && qualifier::is_legal(flags)
        && len == qualifier::width(flags)
        && is_storable(cell.timestamp);
    if !fits {
        return None;
    }
    let word = word & (u64::MAX << (64 - 8 * len as u32));
    (flags & 0xF != 0xB || !value::is_signalling(word)).then_some((qualifier, word))
}

/// Makes sure that the last segment is one of exact single cells of this row; false where there can be none.
fn open(decoder: &mut Decoder, row: &mut Row<'_>, batch: &mut PointBatch) -> bool {
    let open = batch.segments.len() > row.first_segment
        && batch.segments.last().is_some_and(|last| last.form == Form::Single && last.exact);
    let delays = WriteTime::Delays(batch.delays.len());
    open || open_segment(decoder, row, batch, Form::Single, delays, true).is_ok()
}

//! Points of one row on their way into the columns: segments, the checks that make them exact, and the hot loops.

use crate::codec::decoder::{Decoder, Sink};
use crate::codec::entries::{Entry, SecondsScan};
use crate::codec::qualifier::{self, FLAG_FLOAT};
use crate::codec::row_key::RowKey;
use crate::codec::{LAST_TIMESTAMP, prove, rebuild, value};
use crate::model::{Cell, Form, PointBatch, RawReason, Segment, WriteTime};

/// What the cells of one row share.
pub struct Row<'a> {
    pub key: RowKey<'a>,
    /// Number of the key's layout.
    pub layout: u8,
    pub base_ms: i64,
    /// Why no point of the row can be rebuilt.
    pub problem: Option<RawReason>,
    pub series: Option<u32>,
    pub first_segment: usize,
    pub last_time: i64,
    /// True while the points come in growing order, so that none stands twice.
    pub growing: bool,
}

/// Why a point cell is raw, and whether its points are still shown.
pub enum Damage {
    Readable(RawReason),
    Unreadable(RawReason),
}

/// What is known of a column whose points were pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It comes back byte for byte.
    Certain,
    /// That must be tried.
    Again,
    /// It does not.
    Damaged(RawReason),
}

/// Stores a point in the open segment of single cells. `exact` has the hash of an exact cell, or why it is none.
#[inline]
pub fn push_single(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    cell: &Cell<'_>,
    entry: Entry,
    exact: Result<u64, RawReason>,
    sink: &mut Sink<'_>,
) -> Result<(), RawReason> {
    let batch = &mut sink.out.points;
    let open = batch.segments.len() > row.first_segment
        && batch.segments.last().is_some_and(|last| last.form == Form::Single && last.exact == exact.is_ok());
    if !open {
        let delays = WriteTime::Delays(batch.delays.len());
        open_segment(decoder, row, batch, Form::Single, delays, exact.is_ok())?;
    }
    let timestamp = row.base_ms + i64::from(entry.offset_ms);
    batch.delays.push(cell.timestamp.clamp(0, LAST_TIMESTAMP) - timestamp);
    push_point(row, batch, timestamp, entry);
    if let Some(segment) = batch.segments.last_mut() {
        segment.len += 1;
        segment.checksum = segment.checksum.wrapping_add(exact.unwrap_or(0));
    }
    sink.tally.points += 1;
    exact.map(|_| ())
}

#[inline]
fn push_point(row: &mut Row<'_>, batch: &mut PointBatch, timestamp: i64, entry: Entry) {
    row.growing &= timestamp > row.last_time;
    row.last_time = timestamp;
    batch.timestamps.push(timestamp);
    batch.flags.push(entry.flags);
    let width = qualifier::width(entry.flags);
    if entry.flags & FLAG_FLOAT == 0 {
        batch.ints.push(value::int(entry.word, width));
    } else {
        batch.floats.push(value::float(entry.word, width));
    }
}

/// Starts a segment. Points of a row without tags have no series.
pub fn open_segment(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    batch: &mut PointBatch,
    form: Form,
    write_time: WriteTime,
    exact: bool,
) -> Result<(), RawReason> {
    if row.key.tags.is_empty() {
        return Err(RawReason::BadRowKey);
    }
    let series = match row.series {
        Some(series) => series,
        None => *row.series.insert(decoder.series_index(row.key.metric, row.key.tags, batch)),
    };
    batch.segments.push(Segment {
        series,
        base: row.key.base,
        start: batch.timestamps.len(),
        len: 0,
        int_start: batch.ints.len(),
        float_start: batch.floats.len(),
        form,
        layout: row.layout,
        exact,
        write_time,
        checksum: 0,
    });
    Ok(())
}

/// Stores the entries of a compacted or append cell: exact when `result` has the form and the rebuilt bytes agree.
#[expect(clippy::too_many_arguments, reason = "the row, the cell and what its entries gave: all of it is needed here")]
pub fn push_column(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    cell: &Cell<'_>,
    entries: &[Entry],
    shown_as: Form,
    result: Result<Form, Damage>,
    hash: u64,
    sink: &mut Sink<'_>,
) -> Result<(), RawReason> {
    let (form, damage) = match result {
        Ok(form) => (form, None),
        Err(Damage::Readable(reason)) => (shown_as, Some(reason)),
        Err(Damage::Unreadable(reason)) => return Err(reason),
    };
    let written = WriteTime::Shared(cell.timestamp.clamp(0, LAST_TIMESTAMP));
    let batch = &mut sink.out.points;
    open_segment(decoder, row, batch, form, written, damage.is_none())?;
    for entry in entries {
        push_point(row, batch, row.base_ms + i64::from(entry.offset_ms), *entry);
    }
    sink.tally.points += entries.len() as u64;
    close_column(decoder, batch, cell, entries.len(), hash, damage.map_or(Look::Again, Look::Damaged))
}

/// The hot path of compacted tables: all points in seconds, inside the hour, with legal flags.
pub fn push_seconds(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    cell: &Cell<'_>,
    scan: SecondsScan,
    form: Form,
    hash: u64,
    sink: &mut Sink<'_>,
) -> Result<(), RawReason> {
    let batch = &mut sink.out.points;
    open_segment(decoder, row, batch, form, WriteTime::Shared(cell.timestamp), true)?;
    let points = cell.qualifier.len() / 2;
    let first_time = |pair: &[u8]| row.base_ms + i64::from(u16::from_be_bytes([pair[0], pair[1]]) >> 4) * 1000;
    row.growing &= scan.increasing && cell.qualifier.get(..2).is_some_and(|pair| first_time(pair) > row.last_time);
    batch.timestamps.extend(cell.qualifier.chunks_exact(2).map(first_time));
    row.last_time = batch.timestamps.last().copied().unwrap_or(row.last_time);
    let first = batch.flags.len();
    batch.flags.extend(cell.qualifier.chunks_exact(2).map(|pair| pair[1] & 0xF));
    let PointBatch { flags, ints, floats, .. } = batch;
    push_values(flags.get(first..).unwrap_or_default(), cell.value, ints, floats);
    sink.tally.points += points as u64;
    // Offsets inside the hour, legal flags and values of their widths come back whatever they are; of floats of 4 bytes
    // signalling NaNs do not.
    let certain = !scan.narrow_floats;
    close_column(decoder, batch, cell, points, hash, if certain { Look::Certain } else { Look::Again })
}

/// Appends the values behind these flags. Runs of equal flags have sizes that the compiler knows.
fn push_values(flags: &[u8], mut bytes: &[u8], ints: &mut Vec<i64>, floats: &mut Vec<f64>) {
    for run in flags.chunk_by(|a, b| a == b) {
        let flags = run.first().copied().unwrap_or_default();
        let (now, rest) = bytes.split_at_checked(qualifier::width(flags) * run.len()).unwrap_or((bytes, &[]));
        bytes = rest;
        match (flags & FLAG_FLOAT != 0, qualifier::width(flags)) {
            (false, 1) => ints.extend(now.iter().map(|byte| i64::from(*byte as i8))),
            (false, 2) => ints.extend(chunks(now).map(|bytes| i64::from(i16::from_be_bytes(bytes)))),
            (false, 4) => ints.extend(chunks(now).map(|bytes| i64::from(i32::from_be_bytes(bytes)))),
            (false, 8) => ints.extend(chunks(now).map(i64::from_be_bytes)),
            (true, 8) => floats.extend(chunks(now).map(|bytes| f64::from_bits(u64::from_be_bytes(bytes)))),
            (false, width) => ints.extend(now.chunks_exact(width).map(|bytes| value::int(value::word(bytes), width))),
            (true, width) => {
                floats.extend(now.chunks_exact(width).map(|bytes| value::float(value::word(bytes), width)))
            }
        }
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl ExactSizeIterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// Completes the last segment: length, checksum, and the form that keeps it apart from its neighbour. What does not
/// come back byte for byte is not exact, whatever the reason.
fn close_column(
    decoder: &mut Decoder,
    batch: &mut PointBatch,
    cell: &Cell<'_>,
    points: usize,
    hash: u64,
    look: Look,
) -> Result<(), RawReason> {
    let mut damage = if let Look::Damaged(reason) = look { Some(reason) } else { None };
    let [before @ .., last] = batch.segments.as_mut_slice() else { return Err(RawReason::NotIdentical) };
    (last.len, last.checksum) = (points, hash);
    if damage.is_none() && before.last().is_some_and(|before| prove::continues(before, last)) {
        match last.form {
            Form::Compacted => last.form = Form::CompactedOdd,
            Form::CompactedBare => last.form = Form::CompactedBareOdd,
            // Two append cells of one write time do not occur in a row; a reader could not tell them apart.
            _ => damage = Some(RawReason::NotIdentical),
        }
    }
    let segment = *last;
    if damage.is_none() && look != Look::Certain && !comes_back(decoder, batch, &segment, cell) {
        damage = Some(RawReason::NotIdentical);
    }
    match damage {
        None => Ok(()),
        Some(reason) => {
            if let Some(last) = batch.segments.last_mut() {
                (last.exact, last.checksum) = (false, 0);
            }
            Err(reason)
        }
    }
}

fn comes_back(decoder: &mut Decoder, batch: &PointBatch, segment: &Segment, cell: &Cell<'_>) -> bool {
    let rebuild::Scratch { qualifier, value, .. } = &mut decoder.scratch;
    let mut same = false;
    let done = rebuild::rebuild_cells(batch, segment, qualifier, value, |qualifier, written, value| {
        same = qualifier == cell.qualifier && written == cell.timestamp && value == cell.value;
    });
    done.is_ok() && same
}

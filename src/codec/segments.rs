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
fn open_segment(
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
    close_column(decoder, batch, cell, entries.len(), hash, damage)
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
    batch.flags.extend(cell.qualifier.chunks_exact(2).map(|pair| pair[1] & 0xF));
    // Every value is read as a whole word, so the last ones need bytes behind them.
    decoder.padded.clear();
    decoder.padded.extend_from_slice(cell.value);
    decoder.padded.extend_from_slice(&[0; 8]);
    push_values(&decoder.padded, cell.qualifier, scan, batch);
    sink.tally.points += points as u64;
    close_column(decoder, batch, cell, points, hash, None)
}

fn push_values(padded: &[u8], qualifier: &[u8], scan: SecondsScan, batch: &mut PointBatch) {
    let mut at = 0;
    let mut next = |flags: u8| {
        let word = padded.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let width = qualifier::width(flags);
        at += width;
        (word, width)
    };
    let flags = qualifier.chunks_exact(2).map(|pair| pair[1]);
    if scan.floats == 0 {
        batch.ints.extend(flags.map(|flags| {
            let (word, width) = next(flags);
            value::int(word, width)
        }));
    } else if scan.floats * 2 == qualifier.len() {
        batch.floats.extend(flags.map(|flags| {
            let (word, width) = next(flags);
            value::float(word, width)
        }));
    } else {
        for flags in flags {
            let (word, width) = next(flags);
            if flags & FLAG_FLOAT == 0 {
                batch.ints.push(value::int(word, width));
            } else {
                batch.floats.push(value::float(word, width));
            }
        }
    }
}

/// Completes the last segment: length, checksum, and the form that keeps it apart from its neighbour. What does not
/// come back byte for byte is not exact, whatever the reason.
fn close_column(
    decoder: &mut Decoder,
    batch: &mut PointBatch,
    cell: &Cell<'_>,
    points: usize,
    hash: u64,
    mut damage: Option<RawReason>,
) -> Result<(), RawReason> {
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
    if damage.is_none() && !comes_back(decoder, batch, &segment, cell) {
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

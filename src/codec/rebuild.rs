//! From the columns of a segment back to its cells: the code that proof and restore share.

use crate::codec::qualifier::{self, FLAG_FLOAT};
use crate::codec::{POINT_FAMILY, row_key, value};
use crate::model::{Cell, FLAG_MILLISECONDS, Form, KeyLayouts, PointBatch, Retry, Segment, WriteTime, kind};

/// Buffers that live across segments.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    pub(crate) key: Vec<u8>,
    pub(crate) qualifier: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// Columns that no decode produces: the file they were read from is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RebuildError {
    /// The segment reaches outside the columns.
    #[error("a segment of {len} points at {start} reaches outside the columns; the file is damaged, verify the backup")]
    OutsideColumns {
        /// First point.
        start: usize,
        /// Points.
        len: usize,
    },
    /// No such series, or a TSUID too short.
    #[error("series {0} of a segment has no usable TSUID; the file is damaged, verify the backup")]
    Series(u32),
    /// No such layout of row keys.
    #[error(
        "a segment has row keys of layout {0}, which the backup does not know; the file is damaged, verify the backup"
    )]
    Layout(u8),
    /// A time outside the row's hour or not on the second.
    #[error("a point at {timestamp} ms does not belong in the row of {base} s; the file is damaged, verify the backup")]
    Timestamp {
        /// Time of the point, ms.
        timestamp: i64,
        /// Base time, s.
        base: u32,
    },
    /// A value that does not fit its flags.
    #[error(
        "a value in the row of {base} s does not fit its flags {flags:#04x}; the file is damaged, verify the backup"
    )]
    Value {
        /// Base time, s.
        base: u32,
        /// The point's flags.
        flags: u8,
    },
    /// A form that does not go with the way the write time is kept.
    #[error("form {0:?} does not go with its write time; the file is damaged, verify the backup")]
    WriteTime(Form),
}

impl RebuildError {
    /// The same bytes fail again.
    pub fn retry(&self) -> Retry {
        Retry::Permanent
    }
}

/// Rebuilds the cells of one exact segment, in the order in which they were read.
///
/// # Errors
/// [`RebuildError`] when the columns are not what a decode produces; cells given to `sink` before stay given.
pub fn rebuild_segment<F: FnMut(Cell<'_>)>(
    batch: &PointBatch,
    segment: &Segment,
    layouts: &KeyLayouts,
    scratch: &mut Scratch,
    sink: &mut F,
) -> Result<(), RebuildError> {
    row_key(batch, segment, layouts, &mut scratch.key)?;
    let Scratch { key, qualifier, value } = scratch;
    rebuild_cells(batch, segment, qualifier, value, |qualifier, timestamp, value| {
        sink(Cell { row: key, family: POINT_FAMILY, qualifier, timestamp, kind: kind::PUT, value });
    })
}

/// The row key of a segment.
pub(crate) fn row_key(
    batch: &PointBatch,
    segment: &Segment,
    layouts: &KeyLayouts,
    key: &mut Vec<u8>,
) -> Result<(), RebuildError> {
    let tsuid = batch.series.get(segment.series as usize).ok_or(RebuildError::Series(segment.series))?;
    let layout = layouts.get(segment.layout).ok_or(RebuildError::Layout(segment.layout))?;
    if row_key::build(tsuid, segment.base, layout, key) { Ok(()) } else { Err(RebuildError::Series(segment.series)) }
}

/// The columns from the start of a segment on.
struct Columns<'a> {
    base: u32,
    timestamps: &'a [i64],
    flags: &'a [u8],
    ints: &'a [i64],
    floats: &'a [f64],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a PointBatch, segment: &Segment) -> Result<Self, RebuildError> {
        let end = segment.start.saturating_add(segment.len);
        let slices = || {
            Some(Self {
                base: segment.base,
                timestamps: batch.timestamps.get(segment.start..end)?,
                flags: batch.flags.get(segment.start..end)?,
                ints: batch.ints.get(segment.int_start..)?,
                floats: batch.floats.get(segment.float_start..)?,
            })
        };
        slices().ok_or(RebuildError::OutsideColumns { start: segment.start, len: segment.len })
    }

    fn points(&self) -> impl Iterator<Item = (i64, u8)> {
        self.timestamps.iter().copied().zip(self.flags.iter().copied())
    }

    #[inline]
    fn qualifier(&self, timestamp: i64, flags: u8) -> Result<([u8; 4], usize), RebuildError> {
        qualifier::encode(timestamp.wrapping_sub(i64::from(self.base) * 1000), flags)
            .ok_or(RebuildError::Timestamp { timestamp, base: self.base })
    }
}

/// Takes the next value of a segment, as its flags say.
struct Values<'a> {
    base: u32,
    ints: std::slice::Iter<'a, i64>,
    floats: std::slice::Iter<'a, f64>,
}

impl<'a> Values<'a> {
    fn of(columns: &Columns<'a>) -> Self {
        Self { base: columns.base, ints: columns.ints.iter(), floats: columns.floats.iter() }
    }

    #[inline]
    fn next(&mut self, flags: u8) -> Result<([u8; 8], usize), RebuildError> {
        let width = qualifier::width(flags);
        let word = if flags & FLAG_FLOAT == 0 {
            self.ints.next().and_then(|int| value::int_word(*int, width))
        } else {
            self.floats.next().and_then(|float| value::float_word(*float, width))
        };
        word.map(|word| (word.to_be_bytes(), width)).ok_or(RebuildError::Value { base: self.base, flags })
    }
}

/// Rebuilds qualifier, cell timestamp and value of each cell of a segment.
#[inline]
pub(crate) fn rebuild_cells<F: FnMut(&[u8], i64, &[u8])>(
    batch: &PointBatch,
    segment: &Segment,
    qualifier: &mut Vec<u8>,
    value: &mut Vec<u8>,
    mut sink: F,
) -> Result<(), RebuildError> {
    let columns = Columns::of(batch, segment)?;
    match (segment.form, segment.write_time) {
        (Form::Single, WriteTime::Delays(start)) => {
            let outside = RebuildError::OutsideColumns { start: segment.start, len: segment.len };
            let delays = batch.delays.get(start..start.saturating_add(segment.len)).ok_or(outside)?;
            singles(&columns, delays, sink)
        }
        (Form::Appended | Form::Appended3, WriteTime::Shared(written)) => {
            let len = append(&columns, value)?;
            let qualifier: &[u8] = if segment.form == Form::Appended { &[5, 0, 0] } else { &[0, 0, 5] };
            sink(qualifier, written, &value[..len]);
            Ok(())
        }
        (Form::Single, _) | (_, WriteTime::Delays(_)) => Err(RebuildError::WriteTime(segment.form)),
        (form, WriteTime::Shared(written)) => {
            let bare = matches!(form, Form::CompactedBare | Form::CompactedBareOdd);
            let (qualifier_len, value_len) = compacted(&columns, bare, qualifier, value)?;
            sink(&qualifier[..qualifier_len], written, &value[..value_len]);
            Ok(())
        }
    }
}

#[inline]
fn singles<F: FnMut(&[u8], i64, &[u8])>(
    columns: &Columns<'_>,
    delays: &[i64],
    mut sink: F,
) -> Result<(), RebuildError> {
    let mut values = Values::of(columns);
    for ((timestamp, flags), delay) in columns.points().zip(delays) {
        let (qualifier, qualifier_len) = columns.qualifier(timestamp, flags)?;
        let (value, width) = values.next(flags)?;
        sink(&qualifier[..qualifier_len], timestamp.wrapping_add(*delay), &value[..width]);
    }
    Ok(())
}

/// Makes sure of `len` bytes; what is in them does not matter.
fn ensure(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    buffer
}

fn compacted(
    columns: &Columns<'_>,
    bare: bool,
    qualifier: &mut Vec<u8>,
    value: &mut Vec<u8>,
) -> Result<(usize, usize), RebuildError> {
    let len = columns.timestamps.len();
    let (qualifier, value) = (ensure(qualifier, 4 * len), ensure(value, 8 * len + 1));
    let (mut q, mut v, mut units) = (0, 0, 0_u8);
    let (mut timestamps, mut ints, mut floats) = (columns.timestamps, columns.ints, columns.floats);
    // Runs of equal flags need one look at the flags, and sizes that the compiler knows.
    for run in columns.flags.chunk_by(|a, b| a == b) {
        let (flags, count) = (run.first().copied().unwrap_or_default(), run.len());
        let milliseconds = flags & FLAG_MILLISECONDS != 0;
        units |= 1 << u8::from(milliseconds);
        let (times, rest) = timestamps.split_at(count);
        timestamps = rest;
        let size = if milliseconds { 4 } else { 2 };
        qualifiers(columns, times, flags, qualifier.get_mut(q..q + size * count).unwrap_or_default())?;
        q += size * count;
        let width = qualifier::width(flags);
        let room = value.get_mut(v..v + width * count).unwrap_or_default();
        v += width * count;
        let unfit = RebuildError::Value { base: columns.base, flags };
        let fit = if flags & FLAG_FLOAT == 0 {
            values(&mut ints, room, width, count, |int| value::int_word(int, width))
        } else {
            values(&mut floats, room, width, count, |float| value::float_word(float, width))
        };
        fit.ok_or(unfit)?;
    }
    if !bare {
        value[v] = u8::from(units == 3);
        v += 1;
    }
    Ok((q, v))
}

/// Writes the qualifiers of points with the same flags.
#[inline]
fn qualifiers(columns: &Columns<'_>, times: &[i64], flags: u8, out: &mut [u8]) -> Result<(), RebuildError> {
    let base_ms = i64::from(columns.base) * 1000;
    if flags & FLAG_MILLISECONDS != 0 {
        for (timestamp, out) in times.iter().zip(out.chunks_exact_mut(4)) {
            out.copy_from_slice(&columns.qualifier(*timestamp, flags)?.0);
        }
        return Ok(());
    }
    let mut unfit = false;
    for (timestamp, out) in times.iter().zip(out.chunks_exact_mut(2)) {
        let offset = timestamp.wrapping_sub(base_ms) as u64;
        let seconds = offset as u32 / 1000;
        unfit |= offset >= u64::from(qualifier::ROW_SPAN_MS) || seconds * 1000 != offset as u32;
        out.copy_from_slice(&((seconds << 4) as u16 | u16::from(flags & 0xF)).to_be_bytes());
    }
    if unfit {
        // Says which one.
        times.iter().try_for_each(|timestamp| columns.qualifier(*timestamp, flags).map(drop))?;
    }
    Ok(())
}

/// Writes the next values, all of one width; `None` when there are too few or one does not fit.
#[inline]
fn values<V: Copy>(
    from: &mut &[V],
    out: &mut [u8],
    width: usize,
    count: usize,
    word: impl Fn(V) -> Option<u64>,
) -> Option<()> {
    let (values, rest) = from.split_at_checked(count)?;
    *from = rest;
    match width {
        1 => fixed::<V, 1>(values, out, word),
        2 => fixed::<V, 2>(values, out, word),
        4 => fixed::<V, 4>(values, out, word),
        8 => fixed::<V, 8>(values, out, word),
        _ => values.iter().zip(out.chunks_exact_mut(width)).try_for_each(|(value, out)| {
            out.copy_from_slice(word(*value)?.to_be_bytes().get(..width)?);
            Some(())
        }),
    }
}

#[inline]
fn fixed<V: Copy, const WIDTH: usize>(values: &[V], out: &mut [u8], word: impl Fn(V) -> Option<u64>) -> Option<()> {
    let mut unfit = false;
    for (value, out) in values.iter().zip(out.chunks_exact_mut(WIDTH)) {
        let word = word(*value);
        unfit |= word.is_none();
        out.copy_from_slice(&word.unwrap_or(0).to_be_bytes()[..WIDTH]);
    }
    (!unfit).then_some(())
}

fn append(columns: &Columns<'_>, value: &mut Vec<u8>) -> Result<usize, RebuildError> {
    let value = ensure(value, 12 * columns.timestamps.len() + 8);
    let (mut v, mut values) = (0, Values::of(columns));
    for (timestamp, flags) in columns.points() {
        let (bytes, qualifier_len) = columns.qualifier(timestamp, flags)?;
        value[v..v + 4].copy_from_slice(&bytes);
        v += qualifier_len;
        let (bytes, width) = values.next(flags)?;
        value[v..v + 8].copy_from_slice(&bytes);
        v += width;
    }
    Ok(v)
}

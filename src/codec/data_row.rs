//! Rows of the data, rollup and pre-aggregate tables.
//!
//! The length of a qualifier decides first, its first byte second: two-byte qualifiers that start with `01`, `05` or
//! `06` are ordinary points. Odd qualifiers mean different things in different tables, so there the value's shape
//! decides last.

use crate::codec::decoder::{Decoder, Enough, OpenRow, PART, Sink, before};
use crate::codec::entries::{self, Ending, Entry};
use crate::codec::qualifier::{self, FLAG_FLOAT, PointQualifier};
use crate::codec::row_key::{Found, find};
use crate::codec::segments::{Damage, Row, push_column, push_seconds, push_single};
use crate::codec::{POINT_FAMILY, annotation, duplicates, histogram, is_storable, rollup, singles, value};
use crate::model::{Annotation, Cell, CellRef, Form, RawReason, RowView, TableKind};

/// Decodes the visible cells of a row from the one with index `from` on, until it is `enough`; returns the first cell
/// that is left.
pub fn decode(
    decoder: &mut Decoder,
    view: RowView<'_>,
    cells: &[CellRef],
    from: usize,
    sink: &mut Sink<'_>,
    enough: Enough<'_>,
) -> Option<usize> {
    let Some(Found { key, layout, problem }) = find(view.key, &decoder.layouts) else {
        return all_raw(decoder, view, cells, from, sink, enough);
    };
    if from == 0 {
        let first_segment = sink.out.points.segments.len();
        decoder.open = OpenRow { series: None, first_segment, last_time: -1, growing: true };
    }
    let base_ms = i64::from(key.base) * 1000;
    let OpenRow { series, first_segment, last_time, growing } = decoder.open;
    let mut row = Row { key, layout, base_ms, problem, series, first_segment, last_time, growing };
    let (mut at, mut looked) = (from, from);
    while let Some(cell) = cells.get(at) {
        if at - looked >= PART {
            looked = at;
            if enough(sink.out, sink.tally) {
                let Row { series, last_time, growing, .. } = row;
                decoder.open = OpenRow { series, first_segment, last_time, growing };
                return Some(at);
            }
        }
        let cell = view.cell(cell);
        let older = before(view, cells, at).is_some_and(|previous| same_column(&previous, &cell));
        if !older {
            let part = cells.get(at..cells.len().min(looked + PART)).unwrap_or_default();
            let taken = singles::take(decoder, &mut row, view, part, sink);
            if taken > 0 {
                at += taken;
                continue;
            }
        }
        let hash = decoder.count(&cell, sink);
        if older {
            sink.raw(&cell, RawReason::OldVersion);
        } else if let Err(reason) = decode_cell(decoder, &mut row, &cell, hash, sink) {
            sink.raw(&cell, reason);
        }
        at += 1;
    }
    if !row.growing {
        duplicates::mark_superseded(&mut sink.out.points, first_segment, &mut decoder.claims);
    }
    None
}

fn all_raw(
    decoder: &mut Decoder,
    view: RowView<'_>,
    cells: &[CellRef],
    from: usize,
    sink: &mut Sink<'_>,
    enough: Enough<'_>,
) -> Option<usize> {
    for (at, cell) in cells.iter().enumerate().skip(from) {
        if at > from && enough(sink.out, sink.tally) {
            return Some(at);
        }
        let cell = view.cell(cell);
        decoder.count(&cell, sink);
        sink.raw(&cell, RawReason::BadRowKey);
    }
    None
}

#[inline]
fn same_column(a: &Cell<'_>, b: &Cell<'_>) -> bool {
    // The usual neighbours are two single cells: two bytes compare without a call.
    let qualifier = match (a.qualifier, b.qualifier) {
        ([a, b], [c, d]) => (a, b) == (c, d),
        (a, b) => a == b,
    };
    qualifier && a.family == b.family
}

#[inline]
fn decode_cell(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    cell: &Cell<'_>,
    hash: u64,
    sink: &mut Sink<'_>,
) -> Result<(), RawReason> {
    if cell.family != POINT_FAMILY {
        return Err(RawReason::OtherFamily);
    }
    let length = cell.qualifier.len();
    match *cell.qualifier {
        [first, second] => single_seconds(decoder, row, cell, (first, second), hash, sink),
        [] => Err(RawReason::EmptyQualifier),
        _ if length % 2 == 1 => odd_qualifier(decoder, row, cell, hash, sink),
        [first, _, _, _] if first >= qualifier::MS_MARK => single_ms(decoder, row, cell, hash, sink),
        _ => {
            let text_form = length >= 6 && rollup::text_name(cell.qualifier).is_some();
            if text_form && decoder.kind == TableKind::Rollup {
                return push_rollup(decoder, row, cell, sink);
            }
            match compacted(decoder, row, cell, hash, sink) {
                Err(_) if text_form => push_rollup(decoder, row, cell, sink),
                done => done,
            }
        }
    }
}

fn odd_qualifier(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    cell: &Cell<'_>,
    hash: u64,
    sink: &mut Sink<'_>,
) -> Result<(), RawReason> {
    let rollup_table = decoder.kind == TableKind::Rollup;
    let shape = rollup::has_shape(cell, decoder.rollups.as_ref());
    let text_form = rollup::text_name(cell.qualifier).is_some();
    match *cell.qualifier {
        [id, _, _] if rollup_table && (id < 0x80) => match annotation_in(row, cell) {
            // An annotation only when it is one beyond doubt: in this table byte 0 is the aggregator's id.
            Some(annotation) if !shape => push_annotation(annotation, sink),
            _ => push_rollup(decoder, row, cell, sink),
        },
        [1, _, _] | [1, _, _, _, _] => match annotation::read(cell, &row.key) {
            Ok(annotation) => push_annotation(annotation, sink),
            Err(_) if shape => push_rollup(decoder, row, cell, sink),
            Err(reason) => Err(reason),
        },
        // The shortest append value has 3 bytes, so one byte is a rollup with id 5.
        [5, 0, 0] if shape && cell.value.len() == 1 => push_rollup(decoder, row, cell, sink),
        [5, 0, 0] => appended(decoder, row, cell, hash, Form::Appended, sink),
        [0, 0, 5] => appended(decoder, row, cell, hash, Form::Appended3, sink),
        [6, _, _] if is_rollup_not_histogram(decoder, cell, shape) => push_rollup(decoder, row, cell, sink),
        [6, _, _] | [6, _, _, _, _] => {
            checked_time(cell)?;
            sink.out.histograms.push(histogram::read(cell, &row.key)?);
            Ok(())
        }
        _ if shape || text_form => push_rollup(decoder, row, cell, sink),
        _ => Err(RawReason::UnknownQualifier),
    }
}

fn annotation_in(row: &Row<'_>, cell: &Cell<'_>) -> Option<Annotation> {
    (cell.qualifier.first() == Some(&1)).then(|| annotation::read(cell, &row.key).ok())?
}

fn is_rollup_not_histogram(decoder: &Decoder, cell: &Cell<'_>, shape: bool) -> bool {
    let configured = decoder.rollups.as_ref().is_some_and(|rollups| rollups.aggregator(6).is_some());
    configured && shape && histogram::built_in(cell.value).is_none()
}

fn checked_time(cell: &Cell<'_>) -> Result<(), RawReason> {
    if is_storable(cell.timestamp) { Ok(()) } else { Err(RawReason::OddTimestamp) }
}

fn push_annotation(annotation: Annotation, sink: &mut Sink<'_>) -> Result<(), RawReason> {
    checked_time(&annotation.cell.as_cell())?;
    sink.out.annotations.push(annotation);
    Ok(())
}

fn push_rollup(decoder: &Decoder, row: &Row<'_>, cell: &Cell<'_>, sink: &mut Sink<'_>) -> Result<(), RawReason> {
    checked_time(cell)?;
    sink.out.rollups.push(rollup::read(cell, &row.key, decoder.rollups.as_ref())?);
    Ok(())
}

/// One point in seconds. The clean case is the hot path of uncompacted tables.
#[inline]
fn single_seconds(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    cell: &Cell<'_>,
    (first, second): (u8, u8),
    hash: u64,
    sink: &mut Sink<'_>,
) -> Result<(), RawReason> {
    let word = u16::from_be_bytes([first, second]);
    let flags = second & 0xF;
    let clean = word < 3600 << 4 && cell.value.len() == qualifier::width(flags) && qualifier::is_legal(flags);
    let entry = Entry { offset_ms: u32::from(word >> 4) * 1000, flags, word: value::word(cell.value) };
    let survives = flags != 0xB || !value::is_signalling(entry.word);
    if clean && survives && is_storable(cell.timestamp) && row.problem.is_none() {
        return push_single(decoder, row, cell, entry, Ok(hash), sink);
    }
    if first >= qualifier::MS_MARK {
        return Err(RawReason::UnknownQualifier);
    }
    match repaired(entry, cell.value) {
        Err(reason) => Err(reason),
        Ok((entry, reason)) => finish_single(decoder, row, cell, entry, reason, hash, sink),
    }
}

/// Reads a single cell in seconds as a TSD does, with the repairs for old versions; the reason is `None` when the
/// cell needs none.
fn repaired(entry: Entry, bytes: &[u8]) -> Result<(Entry, Option<RawReason>), RawReason> {
    let mut bytes = bytes;
    if bytes.is_empty() {
        return Err(RawReason::EmptyValue);
    }
    let width = bytes.len();
    if entry.flags == 0xB && width == 8 {
        bytes = bytes.strip_prefix(&[0; 4]).ok_or(RawReason::DirtyFloatPrefix)?;
    }
    if !(1..=8).contains(&bytes.len()) {
        return Err(RawReason::BadValueLength);
    }
    let flags = entry.flags & FLAG_FLOAT | (bytes.len() - 1) as u8;
    let changed = width != qualifier::width(entry.flags);
    if !qualifier::is_legal(flags) {
        return Err(if changed { RawReason::BadValueLength } else { RawReason::ImpossibleFlags });
    }
    let entry = Entry { flags, word: value::word(bytes), ..entry };
    Ok((entry, changed.then_some(RawReason::RepairedFlags)))
}

fn single_ms(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    cell: &Cell<'_>,
    hash: u64,
    sink: &mut Sink<'_>,
) -> Result<(), RawReason> {
    let point = PointQualifier::parse(cell.qualifier).ok_or(RawReason::UnknownQualifier)?;
    if cell.value.is_empty() {
        return Err(RawReason::EmptyValue);
    }
    if !qualifier::is_legal(point.flags) {
        return Err(RawReason::ImpossibleFlags);
    }
    if cell.value.len() != qualifier::width(point.flags) {
        return Err(RawReason::BadValueLength);
    }
    let entry = Entry { offset_ms: point.offset_ms, flags: point.flags, word: value::word(cell.value) };
    let unused = point.unused_bits.then_some(RawReason::UnusedBits);
    finish_single(decoder, row, cell, entry, unused, hash, sink)
}

/// Checks what a readable single point can still have wrong with it, and stores it.
fn finish_single(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    cell: &Cell<'_>,
    entry: Entry,
    reason: Option<RawReason>,
    hash: u64,
    sink: &mut Sink<'_>,
) -> Result<(), RawReason> {
    let mut odd = entries::Oddness { reason };
    let point = PointQualifier { len: 0, offset_ms: entry.offset_ms, flags: entry.flags, unused_bits: false };
    odd.check(&point, entry.word);
    let reason = odd.reason.or_else(|| row_reason(row, cell));
    push_single(decoder, row, cell, entry, reason.map_or(Ok(hash), Err), sink)
}

fn compacted(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    cell: &Cell<'_>,
    hash: u64,
    sink: &mut Sink<'_>,
) -> Result<(), RawReason> {
    let reason = row_reason(row, cell);
    if reason.is_none()
        && let Some(scan) = entries::scan_seconds(cell.qualifier)
        && let Some(trailing) = cell.value.get(scan.values..)
        && matches!(trailing, [] | [0])
    {
        let form = if trailing.is_empty() { Form::CompactedBare } else { Form::Compacted };
        return push_seconds(decoder, row, cell, scan, form, hash, sink).map_err(|reason| {
            // The hot loop does not look at each value; the slow walk knows the reason by its name.
            let odd = entries::compacted(cell.qualifier, cell.value, &mut decoder.entries);
            odd.ok().and_then(|(_, odd)| odd.reason).unwrap_or(reason)
        });
    }
    let mut entries = std::mem::take(&mut decoder.entries);
    let result = match entries::compacted(cell.qualifier, cell.value, &mut entries) {
        Err(reason) => Err(Damage::Unreadable(reason)),
        Ok((ending, odd)) => {
            let form = if ending == Ending::Bare { Form::CompactedBare } else { Form::Compacted };
            odd.reason.or(reason).map_or(Ok(form), |reason| Err(Damage::Readable(reason)))
        }
    };
    let done = push_column(decoder, row, cell, &entries, Form::Compacted, result, hash, sink);
    decoder.entries = entries;
    done
}

fn appended(
    decoder: &mut Decoder,
    row: &mut Row<'_>,
    cell: &Cell<'_>,
    hash: u64,
    form: Form,
    sink: &mut Sink<'_>,
) -> Result<(), RawReason> {
    let reason = row_reason(row, cell);
    let mut entries = std::mem::take(&mut decoder.entries);
    let result = match entries::appended(cell.value, &mut entries) {
        Err(reason) => Err(Damage::Unreadable(reason)),
        Ok(odd) => odd.reason.or(reason).map_or(Ok(form), |reason| Err(Damage::Readable(reason))),
    };
    let done = push_column(decoder, row, cell, &entries, form, result, hash, sink);
    decoder.entries = entries;
    done
}

/// Why a readable point cell of this row cannot be exact.
fn row_reason(row: &Row<'_>, cell: &Cell<'_>) -> Option<RawReason> {
    if is_storable(cell.timestamp) { row.problem } else { Some(RawReason::OddTimestamp) }
}

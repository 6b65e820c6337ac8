//! The tally of the cells that a batch of points rebuilds to, from its columns.

use std::collections::BTreeMap;

use crate::model::{FLAG_MILLISECONDS, Form, KeyLayouts, PointBatch, Segment, Tally, WriteTime};

/// Bytes of the family `t`, of an append qualifier, and of the trailing byte.
const FAMILY: usize = 1;
const APPEND_QUALIFIER: usize = 3;

/// Cells, bytes and checksum of the exact segments, and all points.
pub fn tally_of_points(batch: &PointBatch, layouts: &KeyLayouts) -> Tally {
    let mut tally = Tally { points: batch.len() as u64, ..Tally::default() };
    for segment in batch.segments.iter().filter(|segment| segment.exact) {
        let cells = cells(segment);
        let tsuid = batch.series.get(segment.series as usize).map_or(0, <[u8]>::len);
        let salt = layouts.get(segment.layout).map_or(0, |layout| usize::from(layout.salt_width));
        let row = salt + tsuid + 4;
        tally.cells += cells as u64;
        tally.bytes += (cells * (row + FAMILY) + column_bytes(batch, segment)) as u64;
        tally.checksum = tally.checksum.wrapping_add(segment.checksum);
    }
    tally
}

fn cells(segment: &Segment) -> usize {
    match segment.write_time {
        WriteTime::Shared(_) => 1,
        WriteTime::Delays(_) => segment.len,
    }
}

/// Adds the cells of exact segments whose rows are under another salt, by number of the layout.
pub fn count_layouts(counts: &mut BTreeMap<u8, u64>, batch: &PointBatch) {
    for segment in batch.segments.iter().filter(|segment| segment.exact && segment.layout > 0) {
        *counts.entry(segment.layout).or_default() += cells(segment) as u64;
    }
}

/// Bytes of the qualifiers and values of a segment.
fn column_bytes(batch: &PointBatch, segment: &Segment) -> usize {
    let flags = batch.flags.get(segment.start..segment.start + segment.len).unwrap_or_default();
    let entries: usize =
        flags.iter().map(|flag| usize::from(flag & 7) + 1 + if flag & FLAG_MILLISECONDS == 0 { 2 } else { 4 }).sum();
    entries
        + match segment.form {
            Form::Single | Form::CompactedBare | Form::CompactedBareOdd => 0,
            Form::Compacted | Form::CompactedOdd => 1,
            Form::Appended | Form::Appended3 => APPEND_QUALIFIER,
        }
}

//! Which points of a row a TSD shows when several cells hold one instant.
//!
//! The rule is that of `tsd.storage.fix_duplicates`: per offset in ms the cell with the newest HBase timestamp wins.
//! Within one compacted column the first of equal offsets is kept, within one append cell the last. Cells with equal
//! timestamps have no defined order upstream; here the first in the row wins, so that the answer is always the same.

use std::cmp::Reverse;

use crate::model::{FLAG_SUPERSEDED, Form, PointBatch, WriteTime};

/// (instant, newest write first, rank within the row, index of the point)
type Claim = (i64, Reverse<i64>, u64, usize);

/// Marks the losers among the points of one row: the segments from `first_segment` on.
pub fn mark_superseded(batch: &mut PointBatch, first_segment: usize, claims: &mut Vec<Claim>) {
    claims.clear();
    for (number, segment) in batch.segments.iter().enumerate().skip(first_segment) {
        let backwards = matches!(segment.form, Form::Appended | Form::Appended3);
        for i in 0..segment.len {
            let at = segment.start + i;
            let Some(&instant) = batch.timestamps.get(at) else { continue };
            let written = match segment.write_time {
                WriteTime::Shared(written) => written,
                WriteTime::Delays(start) => {
                    instant.saturating_add(batch.delays.get(start + i).copied().unwrap_or_default())
                }
            };
            let place = if backwards { segment.len - 1 - i } else { i };
            claims.push((instant, Reverse(written), (number as u64) << 32 | place as u64, at));
        }
    }
    claims.sort_unstable();
    for pair in claims.windows(2) {
        if let [winner, (instant, .., at)] = pair
            && winner.0 == *instant
            && let Some(flags) = batch.flags.get_mut(*at)
        {
            *flags |= FLAG_SUPERSEDED;
        }
    }
}

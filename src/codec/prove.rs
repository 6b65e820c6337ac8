//! Proof that the columns alone give back the cells.

use crate::codec::POINT_FAMILY;
use crate::codec::rebuild::{self, RebuildError, Scratch};
use crate::model::{CellHasher, KeyLayouts, PointBatch, Retry, Segment, WriteTime, kind};

/// What was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Proof {
    /// Exact segments, merged as a reader of the columns sees them.
    pub segments: u64,
    /// Cells rebuilt.
    pub cells: u64,
    /// Points in them.
    pub points: u64,
    /// Wrapping sum of the hashes of the rebuilt cells.
    pub checksum: u64,
}

/// Columns that do not give back the cells that were read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The columns cannot be turned into cells at all.
    #[error("the columns of a batch do not make cells: {0}")]
    Rebuild(#[from] RebuildError),
    /// Other cells than those that were read.
    #[error(
        "the row of series {series} at {base} s does not come back as it was read; this is a defect, please report"
    )]
    Different {
        /// Index of the series.
        series: u32,
        /// Base time, s.
        base: u32,
    },
}

impl ProofError {
    /// The same columns fail again.
    pub fn retry(&self) -> Retry {
        Retry::Permanent
    }
}

/// The segments as a reader of the columns sees them: neighbours of equal series, base, form, layout, exactness and
/// write time are one. Their checksums add up.
pub fn merged_segments(batch: &PointBatch) -> Vec<Segment> {
    let mut merged: Vec<Segment> = Vec::with_capacity(batch.segments.len());
    for segment in &batch.segments {
        match merged.last_mut() {
            Some(last) if continues(last, segment) => {
                last.len += segment.len;
                last.checksum = last.checksum.wrapping_add(segment.checksum);
            }
            _ => merged.push(*segment),
        }
    }
    merged
}

/// True when `next` cannot be told from more points of `last`.
pub(crate) fn continues(last: &Segment, next: &Segment) -> bool {
    let same_time = match (last.write_time, next.write_time) {
        (WriteTime::Shared(a), WriteTime::Shared(b)) => a == b,
        (WriteTime::Delays(_), WriteTime::Delays(_)) => true,
        _ => false,
    };
    same_time
        && last.start + last.len == next.start
        && (last.series, last.base, last.form, last.exact) == (next.series, next.base, next.form, next.exact)
        && last.layout == next.layout
}

/// Rebuilds every exact segment and compares the hashes of its cells with those of the cells that were read.
///
/// # Errors
/// [`ProofError`] at the first row that does not come back.
pub fn prove(batch: &PointBatch, layouts: &KeyLayouts) -> Result<Proof, ProofError> {
    let (mut proof, mut scratch, mut hasher) = (Proof::default(), Scratch::default(), CellHasher::new());
    let mut row = None;
    for segment in merged_segments(batch).iter().filter(|segment| segment.exact) {
        if row.replace((segment.series, segment.base, segment.layout))
            != Some((segment.series, segment.base, segment.layout))
        {
            rebuild::row_key(batch, segment, layouts, &mut scratch.key)?;
            hasher.row(&scratch.key);
        }
        let (mut cells, mut checksum) = (0, 0_u64);
        let Scratch { qualifier, value, .. } = &mut scratch;
        rebuild::rebuild_cells(batch, segment, qualifier, value, |qualifier, timestamp, value| {
            cells += 1;
            checksum = checksum.wrapping_add(hasher.cell(POINT_FAMILY, qualifier, timestamp, kind::PUT, value));
        })?;
        if checksum != segment.checksum {
            return Err(ProofError::Different { series: segment.series, base: segment.base });
        }
        proof.segments += 1;
        proof.cells += cells;
        proof.points += segment.len as u64;
        proof.checksum = proof.checksum.wrapping_add(checksum);
    }
    Ok(proof)
}

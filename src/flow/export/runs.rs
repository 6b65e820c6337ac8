//! Series out of a batch of points: what is wanted of them, by time.

use std::ops::Range;
use std::sync::Arc;

use crate::model::{
    FLAG_MILLISECONDS, FLAG_SUPERSEDED, Number, PlainPoint, PlainRun, PointBatch, Segment, SeriesLabel, WriteTime,
};

/// The float bit of a point's flags.
const FLOAT: u8 = 0x08;

/// Neighbouring segments of one series that is wanted.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// The series.
    pub label: Arc<SeriesLabel>,
    /// Its number in the batch.
    pub series: u32,
    /// Indexes of segments.
    pub segments: Range<usize>,
}

/// Which points of a series are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// No point before this time, ms.
    pub from_ms: Option<i64>,
    /// No point at or after this time, ms.
    pub to_ms: Option<i64>,
    /// Those too that a query does not show.
    pub all: bool,
}

/// The points of a stretch by time, and how many were left out because a query does not show them. `None` for a batch
/// whose segments do not fit its vectors.
pub fn read(batch: &PointBatch, stretch: &Stretch, wanted: Wanted) -> Option<(PlainRun, u64)> {
    let segments = batch.segments.get(stretch.segments.clone())?;
    let mut points = Vec::with_capacity(segments.iter().map(|segment| segment.len).sum());
    let mut superseded = 0;
    for segment in segments {
        superseded += push(batch, segment, wanted, &mut points)?;
    }
    // Cells of one row may each hold points of the whole hour.
    if !points.is_sorted_by_key(|point: &PlainPoint| point.timestamp) {
        points.sort_by_key(|point| point.timestamp);
    }
    Some((PlainRun { label: Arc::clone(&stretch.label), points }, superseded))
}

fn push(batch: &PointBatch, segment: &Segment, wanted: Wanted, points: &mut Vec<PlainPoint>) -> Option<u64> {
    let Wanted { from_ms, to_ms, all } = wanted;
    let rows = segment.start..segment.start.checked_add(segment.len)?;
    let (times, flags) = (batch.timestamps.get(rows.clone())?, batch.flags.get(rows)?);
    let mut ints = batch.ints.get(segment.int_start..)?.iter();
    let mut floats = batch.floats.get(segment.float_start..)?.iter();
    let mut superseded = 0;
    for (at, (timestamp, flags)) in times.iter().copied().zip(flags).enumerate() {
        let value = match flags & FLOAT {
            0 => Number::Int(*ints.next()?),
            _ => Number::Float(*floats.next()?),
        };
        if from_ms.is_some_and(|from| timestamp < from) || to_ms.is_some_and(|to| timestamp >= to) {
            continue;
        }
        let hidden = flags & FLAG_SUPERSEDED != 0;
        if hidden && !all {
            superseded += 1;
            continue;
        }
        let written = match segment.write_time {
            WriteTime::Shared(ms) => ms,
            WriteTime::Delays(start) => timestamp.saturating_add(*batch.delays.get(start + at)?),
        };
        let milliseconds = flags & FLAG_MILLISECONDS != 0;
        points.push(PlainPoint { timestamp, value, milliseconds, superseded: hidden, written });
    }
    Some(superseded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Form;

    fn segment(start: usize, len: usize, int_start: usize, float_start: usize, write_time: WriteTime) -> Segment {
        Segment {
            series: 0,
            base: 0,
            start,
            len,
            int_start,
            float_start,
            form: Form::Single,
            layout: 0,
            exact: true,
            write_time,
            checksum: 0,
        }
    }

    #[test]
    fn points_come_by_time_and_hidden_ones_only_when_they_are_wanted() {
        let batch = PointBatch {
            segments: vec![segment(0, 3, 0, 0, WriteTime::Shared(77)), segment(3, 2, 2, 1, WriteTime::Delays(0))],
            timestamps: vec![1000, 3000, 5000, 2500, 4000],
            flags: vec![0, FLOAT | 3, FLAG_SUPERSEDED, FLAG_MILLISECONDS | 7, 0],
            ints: vec![1, 5, (1 << 53) + 1, 4],
            floats: vec![3.5],
            delays: vec![5, -1],
            ..PointBatch::default()
        };
        let stretch = Stretch { label: Arc::default(), series: 0, segments: 0..2 };
        let get = |from_ms, to_ms, all| {
            let (run, superseded) = read(&batch, &stretch, Wanted { from_ms, to_ms, all }).unwrap();
            (run.points.iter().map(|point| (point.timestamp, point.value)).collect::<Vec<_>>(), superseded)
        };
        let visible = vec![
            (1000, Number::Int(1)),
            (2500, Number::Int((1 << 53) + 1)),
            (3000, Number::Float(3.5)),
            (4000, Number::Int(4)),
        ];
        assert_eq!(get(None, None, false), (visible.clone(), 1));
        assert_eq!(get(Some(2500), Some(4000), false), (visible[1..3].to_vec(), 0));
        assert_eq!(get(None, None, true).0.last(), Some(&(5000, Number::Int(5))));
        let (run, _) = read(&batch, &stretch, Wanted { from_ms: None, to_ms: None, all: true }).unwrap();
        let told: Vec<_> = run.points.iter().map(|p| (p.written, p.milliseconds, p.superseded)).collect();
        assert_eq!(
            told,
            [(77, false, false), (2505, true, false), (77, false, false), (3999, false, false), (77, false, true)]
        );
        let outside = Stretch { segments: 0..3, ..stretch };
        assert!(read(&batch, &outside, Wanted { from_ms: None, to_ms: None, all: true }).is_none());
    }
}

//! Whether the cells of points carry the time of their point, or that of their write.

use crate::model::{PointBatch, WriteTime};

/// Cells that have to carry the time of their point before it is no accident.
const ENOUGH: u64 = 20;
/// One in so many cells does: a writer that sets the times of points is at work beside others.
const SHARE: u64 = 10;
/// Only cells of the last day are looked at, before the newest point: how cells were written long ago says nothing of today.
const LATELY_MS: i64 = 86_400_000;

/// Counts of cells that were looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PointTimes {
    cells: u64,
    of_point: u64,
}

impl PointTimes {
    /// Counts the newest cells of a batch. A cell with several points has, where cells carry the time of their point, that of
    /// the newest of the cells it was made of.
    pub fn add(&mut self, batch: &PointBatch) {
        let Some(newest) = batch.timestamps.iter().max() else { return };
        let lately = newest.saturating_sub(LATELY_MS);
        for segment in &batch.segments {
            let times = batch.timestamps.iter().skip(segment.start).take(segment.len);
            match segment.write_time {
                WriteTime::Delays(start) => {
                    let cells = times.zip(batch.delays.iter().skip(start)).filter(|(time, _)| **time > lately);
                    cells.for_each(|(_, delay)| self.count(*delay == 0));
                }
                WriteTime::Shared(written) => {
                    let last = times.max().filter(|time| **time > lately);
                    last.into_iter().for_each(|time| self.count(*time == written));
                }
            }
        }
    }

    fn count(&mut self, of_point: bool) {
        self.cells += 1;
        self.of_point += u64::from(of_point);
    }

    /// Enough cells were counted to know.
    pub fn is_enough(&self) -> bool {
        self.cells >= ENOUGH
    }

    /// Cells carry the time of their point: an increment by write time would miss late ones.
    pub fn are_carried(&self) -> bool {
        self.of_point >= ENOUGH && self.of_point * SHARE >= self.cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Form, Segment};

    const DAY: i64 = LATELY_MS;

    /// A batch of single cells: point times and delays; and a compacted cell with its points and write time.
    fn batch(singles: &[(i64, i64)], compacted: Option<(&[i64], i64)>) -> PointBatch {
        let segment = |start, len, write_time| Segment {
            series: 0,
            base: 0,
            start,
            len,
            int_start: 0,
            float_start: 0,
            form: Form::Single,
            layout: 0,
            exact: true,
            write_time,
            checksum: 0,
        };
        let mut batch = PointBatch::default();
        batch.segments.push(segment(0, singles.len(), WriteTime::Delays(0)));
        (batch.timestamps, batch.delays) = singles.iter().copied().unzip();
        if let Some((times, written)) = compacted {
            batch.segments.push(segment(singles.len(), times.len(), WriteTime::Shared(written)));
            batch.timestamps.extend(times);
        }
        batch
    }

    fn of(batch: &PointBatch) -> (bool, bool) {
        let mut times = PointTimes::default();
        times.add(batch);
        (times.is_enough(), times.are_carried())
    }

    #[test]
    fn one_accident_is_none_and_a_writer_beside_others_is_seen() {
        let cells = |count: i64, delay: fn(i64) -> i64| (0..count).map(|n| (n * 1000, delay(n))).collect::<Vec<_>>();
        assert_eq!(of(&PointBatch::default()), (false, false));
        assert_eq!(of(&batch(&cells(19, |_| 0), None)), (false, false));
        assert_eq!(of(&batch(&cells(20, |_| 0), None)), (true, true));
        assert_eq!(of(&batch(&cells(20, |n| n), None)), (true, false));
        assert_eq!(of(&batch(&cells(100, |n| n % 4), None)), (true, true));
        assert_eq!(of(&batch(&cells(3000, |n| n % 100), None)), (true, false));
    }

    #[test]
    fn only_the_last_day_counts() {
        let mut cells: Vec<(i64, i64)> = (0..1000).map(|n| (n, 137)).collect();
        cells.extend((0..30).map(|n| (3 * DAY + n, 0)));
        assert_eq!(of(&batch(&cells, None)), (true, true));
        let cells: Vec<(i64, i64)> = cells.iter().map(|(time, delay)| (-time, *delay)).collect();
        assert_eq!(of(&batch(&cells, None)), (true, false));
    }

    #[test]
    fn a_compacted_cell_has_the_time_of_its_last_point() {
        let count = |written| {
            let mut times = PointTimes::default();
            (0..20).for_each(|_| times.add(&batch(&[], Some((&[1000, 3000, 2000], written)))));
            (times.is_enough(), times.are_carried())
        };
        assert_eq!((count(3000), count(3007)), ((true, true), (true, false)));
    }
}

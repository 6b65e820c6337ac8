//! Rows of a points file back into segments.

use super::ColumnError;
use crate::model::{FLAG_SUPERSEDED, Form, LAYOUT_UNIT, PointBatch, Segment, WriteTime, unhex};

/// The float bit of the qualifier nibble.
const FLOAT: u8 = 0x08;
/// Milliseconds of a row of the data table.
const HOUR_MS: i64 = 3_600_000;

/// The greatest time that a row key and a qualifier in milliseconds can say: 32 bits of seconds and 22 of milliseconds.
const LAST_MS: i64 = (u32::MAX as i64) * 1000 + (1 << 22);

/// The values of points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PointValues<'a> {
    /// `value_int`.
    Ints(&'a [i64]),
    /// `value_float`.
    Floats(&'a [f64]),
}

/// How rows say when their cells were written, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written<'a> {
    /// `written`: the cell timestamp of them all.
    At(i64),
    /// `write_delay`: the cell timestamp of each minus the point's time.
    After(&'a [i64]),
}

/// Neighbouring rows of a points file that differ in time, value and write delay alone.
#[derive(Debug, Clone, Copy)]
pub struct PointRun<'a> {
    /// TSUID in hex.
    pub tsuid: &'a [u8],
    /// Number of the [`Form`], and 16 times that of the row key's layout.
    pub form: i32,
    /// Milliseconds, UTC; as many as there are rows.
    pub timestamps: &'a [i64],
    /// As many values.
    pub values: PointValues<'a>,
    /// Qualifier nibble and the millisecond bit.
    pub flags: i32,
    /// True when the points alone rebuild the cell.
    pub exact: bool,
    /// True when another cell holds the points that a query shows.
    pub superseded: bool,
    /// Cell timestamps.
    pub written: Written<'a>,
}

/// What the rows of one segment share.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shared {
    base: u32,
    form: i32,
    exact: bool,
    written: Option<i64>,
}

/// Collects rows into a batch. Neighbouring rows of one series, hour, form, exactness and write time become one
/// segment; the base time of a segment is its hour, which is the row's base time for every exact segment.
#[derive(Default)]
pub struct Regroup {
    batch: PointBatch,
    tsuid: Vec<u8>,
    series: Option<u32>,
    shared: Option<Shared>,
}

impl Regroup {
    /// Without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next rows of the file.
    ///
    /// # Errors
    /// [`ColumnError`] when they are none that a writer makes.
    pub fn push(&mut self, run: &PointRun<'_>) -> Result<(), ColumnError> {
        if self.series.is_none() || self.tsuid != run.tsuid {
            self.start_series(run.tsuid)?;
        }
        let written = match run.written {
            Written::At(ms) => Some(ms),
            Written::After(_) => None,
        };
        let mut rest = run.timestamps;
        while let Some(first) = rest.first() {
            let hour = first.div_euclid(HOUR_MS);
            let base = match u32::try_from(hour.saturating_mul(3600)) {
                Ok(base) => base,
                // A damaged key of the last hour, or an offset beyond it: its cell is raw, and nothing rebuilds from here.
                Err(_) if !run.exact && (0..=LAST_MS).contains(first) => u32::MAX,
                Err(_) => return Err(value("timestamp", *first)),
            };
            let begin = hour.saturating_mul(HOUR_MS);
            let inside = |time: &&i64| (0..HOUR_MS).contains(&time.wrapping_sub(begin));
            let count = rest.iter().take_while(inside).count().max(1);
            let shared = Shared { base, form: run.form, exact: run.exact, written };
            if self.shared != Some(shared) {
                self.start_segment(shared)?;
            }
            if let Some(segment) = self.batch.segments.last_mut() {
                segment.len += count;
            }
            // Their points follow below: a segment begins where those before it end.
            self.batch.timestamps.extend_from_slice(rest.get(..count).unwrap_or_default());
            let from = run.timestamps.len() - rest.len();
            self.push_points(run, from, count)?;
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// The rows so far.
    pub fn finish(self) -> PointBatch {
        self.batch
    }

    /// Adds what the rows of one hour hold besides their times.
    fn push_points(&mut self, run: &PointRun<'_>, from: usize, count: usize) -> Result<(), ColumnError> {
        const SHORT: ColumnError = ColumnError::Contradiction("a column has fewer rows than the others");
        let flags = u8::try_from(run.flags).ok().filter(|flags| *flags < FLAG_SUPERSEDED);
        let flags = flags.ok_or_else(|| value("flags", i64::from(run.flags)))?;
        let rows = from..from + count;
        match (run.values, flags & FLOAT != 0) {
            (PointValues::Ints(ints), false) => self.batch.ints.extend_from_slice(ints.get(rows.clone()).ok_or(SHORT)?),
            (PointValues::Floats(floats), true) => {
                self.batch.floats.extend_from_slice(floats.get(rows.clone()).ok_or(SHORT)?);
            }
            _ => {
                return Err(ColumnError::Contradiction(
                    "a value is an integer where its flags say float, or the reverse",
                ));
            }
        }
        if let Written::After(delays) = run.written {
            self.batch.delays.extend_from_slice(delays.get(rows).ok_or(SHORT)?);
        }
        let flags = flags | if run.superseded { FLAG_SUPERSEDED } else { 0 };
        self.batch.flags.resize(self.batch.flags.len() + count, flags);
        Ok(())
    }

    fn start_series(&mut self, text: &[u8]) -> Result<(), ColumnError> {
        let text_value = || ColumnError::Value { column: "tsuid", value: String::from_utf8_lossy(text).into_owned() };
        let tsuid = unhex(text).ok_or_else(text_value)?;
        let series = self.batch.series.index_of(&tsuid);
        self.tsuid.clear();
        self.tsuid.extend_from_slice(text);
        (self.series, self.shared) = (Some(series), None);
        Ok(())
    }

    fn start_segment(&mut self, shared: Shared) -> Result<(), ColumnError> {
        let stored = i8::try_from(shared.form).ok().and_then(|number| u8::try_from(number).ok());
        let stored = stored.and_then(|number| Some((Form::from_number(number % LAYOUT_UNIT)?, number / LAYOUT_UNIT)));
        let (form, layout) = stored.ok_or_else(|| value("form", i64::from(shared.form)))?;
        if (form == Form::Single) != shared.written.is_none() {
            return Err(ColumnError::Contradiction("write_delay belongs to single cells and written to all others"));
        }
        self.batch.segments.push(Segment {
            series: self.series.unwrap_or_default(),
            base: shared.base,
            start: self.batch.timestamps.len(),
            len: 0,
            int_start: self.batch.ints.len(),
            float_start: self.batch.floats.len(),
            form,
            layout,
            exact: shared.exact,
            write_time: shared.written.map_or(WriteTime::Delays(self.batch.delays.len()), WriteTime::Shared),
            checksum: 0,
        });
        self.shared = Some(shared);
        Ok(())
    }
}

fn value(column: &'static str, value: i64) -> ColumnError {
    ColumnError::Value { column, value: value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(timestamps: &[i64]) -> PointRun<'_> {
        PointRun {
            tsuid: b"00000A",
            form: 1,
            timestamps,
            values: PointValues::Ints(&[1, 2, 3][..timestamps.len()]),
            flags: 0,
            exact: true,
            superseded: false,
            written: Written::At(5),
        }
    }

    #[test]
    fn a_segment_ends_with_its_hour_series_form_and_write_time() {
        let mut regroup = Regroup::new();
        let single = PointRun { form: 0, written: Written::After(&[1]), ..row(&[3_600_002]) };
        let rows = [
            row(&[1, 2, 3_600_000]),
            PointRun { written: Written::At(6), ..row(&[3_600_001]) },
            single,
            PointRun { written: Written::After(&[9]), ..single },
            PointRun { exact: false, ..single },
            PointRun { tsuid: b"00000B", ..single },
        ];
        rows.iter().for_each(|row| regroup.push(row).unwrap());
        let batch = regroup.finish();
        let shape: Vec<(u32, u32, usize)> = batch.segments.iter().map(|s| (s.series, s.base, s.len)).collect();
        assert_eq!(shape, [(0, 0, 2), (0, 3600, 1), (0, 3600, 1), (0, 3600, 2), (0, 3600, 1), (1, 3600, 1)]);
        assert_eq!(batch.segments[4].write_time, WriteTime::Delays(2));
        assert_eq!(
            batch.segments.iter().map(|s| (s.start, s.int_start)).collect::<Vec<_>>()[..3],
            [(0, 0), (2, 2), (3, 3)]
        );
        assert_eq!(
            (batch.ints, batch.delays, batch.flags),
            (vec![1, 2, 3, 1, 1, 1, 1, 1], vec![1, 9, 1, 1], vec![0; 8])
        );
        assert_eq!(batch.series, [[0, 0, 10], [0, 0, 11]].into_iter().collect());
    }

    /// Base time 0xffffffff and an offset beyond the hour: shown, and kept raw.
    #[test]
    fn a_damaged_key_of_the_last_hour_is_read() {
        let times = [(i64::from(u32::MAX) + 4095) * 1000];
        let late = PointRun { exact: false, ..row(&times) };
        let mut regroup = Regroup::new();
        regroup.push(&late).unwrap();
        assert_eq!(regroup.finish().timestamps, times);
        assert!(Regroup::new().push(&PointRun { exact: true, ..late }).is_err());
        assert!(Regroup::new().push(&PointRun { timestamps: &[i64::MAX], ..late }).is_err());
    }

    #[test]
    fn impossible_rows_are_errors() {
        let bad = [
            PointRun { tsuid: b"0", ..row(&[1]) },
            PointRun { tsuid: b"xx", ..row(&[1]) },
            PointRun { form: 7, ..row(&[1]) },
            PointRun { form: -1, ..row(&[1]) },
            PointRun { form: 0x17, ..row(&[1]) },
            PointRun { form: 0x81, ..row(&[1]) },
            PointRun { flags: 0x20, ..row(&[1]) },
            PointRun { flags: 0x08, ..row(&[1]) },
            PointRun { values: PointValues::Floats(&[1.0]), ..row(&[1]) },
            PointRun { written: Written::After(&[1]), ..row(&[1]) },
            PointRun { form: 0, ..row(&[1]) },
            row(&[-1]),
            row(&[i64::MAX]),
            PointRun { values: PointValues::Ints(&[]), ..row(&[1]) },
        ];
        for row in bad {
            assert!(Regroup::new().push(&row).is_err(), "{row:?}");
        }
    }
}

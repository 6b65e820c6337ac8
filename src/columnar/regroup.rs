//! Rows of a points file back into segments.

use super::ColumnError;
use crate::model::{FLAG_SUPERSEDED, Form, LAYOUT_UNIT, PointBatch, Segment, WriteTime, unhex};

/// The float bit of the qualifier nibble.
const FLOAT: u8 = 0x08;
/// Milliseconds of a row of the data table.
const HOUR_MS: i64 = 3_600_000;

/// The greatest time that a row key and a qualifier in milliseconds can say: 32 bits of seconds and 22 of milliseconds.
const LAST_MS: i64 = (u32::MAX as i64) * 1000 + (1 << 22);

/// The value of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PointValue {
    /// `value_int`.
    Int(i64),
    /// `value_float`.
    Float(f64),
}

/// How a row says when its cell was written, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// `written`: the cell timestamp.
    At(i64),
    /// `write_delay`: the cell timestamp minus the point's time.
    After(i64),
}

/// One row of a points file.
#[derive(Debug, Clone, Copy)]
pub struct PointRow<'a> {
    /// TSUID in hex.
    pub tsuid: &'a [u8],
    /// Number of the [`Form`], and 16 times that of the row key's layout.
    pub form: i32,
    /// Milliseconds, UTC.
    pub timestamp: i64,
    /// The value.
    pub value: PointValue,
    /// Qualifier nibble and the millisecond bit.
    pub flags: i32,
    /// True when the points alone rebuild the cell.
    pub exact: bool,
    /// True when another cell holds the point that a query shows.
    pub superseded: bool,
    /// Cell timestamp.
    pub written: Written,
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

    /// Adds the next row of the file.
    ///
    /// # Errors
    /// [`ColumnError`] when the row is none that a writer makes.
    #[inline]
    pub fn push(&mut self, row: &PointRow<'_>) -> Result<(), ColumnError> {
        let hour = row.timestamp.div_euclid(HOUR_MS);
        let base = match u32::try_from(hour.saturating_mul(3600)) {
            Ok(base) => base,
            // A damaged key of the last hour, or an offset beyond it: its cell is raw, and nothing rebuilds from here.
            Err(_) if !row.exact && (0..=LAST_MS).contains(&row.timestamp) => u32::MAX,
            Err(_) => return Err(value("timestamp", row.timestamp)),
        };
        let written = match row.written {
            Written::At(ms) => Some(ms),
            Written::After(_) => None,
        };
        let shared = Shared { base, form: row.form, exact: row.exact, written };
        if self.series.is_none() || self.tsuid != row.tsuid {
            self.start_series(row.tsuid)?;
        }
        if self.shared != Some(shared) {
            self.start_segment(shared)?;
        }
        self.push_point(row)
    }

    /// The rows so far.
    pub fn finish(self) -> PointBatch {
        self.batch
    }

    fn push_point(&mut self, row: &PointRow<'_>) -> Result<(), ColumnError> {
        let flags = u8::try_from(row.flags).ok().filter(|flags| *flags < FLAG_SUPERSEDED);
        let flags = flags.ok_or_else(|| value("flags", i64::from(row.flags)))?;
        match (row.value, flags & FLOAT != 0) {
            (PointValue::Int(int), false) => self.batch.ints.push(int),
            (PointValue::Float(float), true) => self.batch.floats.push(float),
            _ => {
                return Err(ColumnError::Contradiction(
                    "a value is an integer where its flags say float, or the reverse",
                ));
            }
        }
        if let Written::After(delay) = row.written {
            self.batch.delays.push(delay);
        }
        self.batch.timestamps.push(row.timestamp);
        self.batch.flags.push(flags | if row.superseded { FLAG_SUPERSEDED } else { 0 });
        if let Some(segment) = self.batch.segments.last_mut() {
            segment.len += 1;
        }
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

    fn row(timestamp: i64) -> PointRow<'static> {
        PointRow {
            tsuid: b"00000A",
            form: 1,
            timestamp,
            value: PointValue::Int(1),
            flags: 0,
            exact: true,
            superseded: false,
            written: Written::At(5),
        }
    }

    #[test]
    fn a_segment_ends_with_its_hour_series_form_and_write_time() {
        let mut regroup = Regroup::new();
        let single = PointRow { form: 0, written: Written::After(1), ..row(3_600_002) };
        let rows = [
            row(1),
            row(2),
            row(3_600_000),
            PointRow { written: Written::At(6), ..row(3_600_001) },
            single,
            PointRow { written: Written::After(9), ..single },
            PointRow { exact: false, ..single },
            PointRow { tsuid: b"00000B", ..single },
        ];
        rows.iter().for_each(|row| regroup.push(row).unwrap());
        let batch = regroup.finish();
        let shape: Vec<(u32, u32, usize)> = batch.segments.iter().map(|s| (s.series, s.base, s.len)).collect();
        assert_eq!(shape, [(0, 0, 2), (0, 3600, 1), (0, 3600, 1), (0, 3600, 2), (0, 3600, 1), (1, 3600, 1)]);
        assert_eq!(batch.segments[4].write_time, WriteTime::Delays(2));
        assert_eq!(batch.series, [[0, 0, 10], [0, 0, 11]].into_iter().collect());
    }

    /// Base time 0xffffffff and an offset beyond the hour: shown, and kept raw.
    #[test]
    fn a_damaged_key_of_the_last_hour_is_read() {
        let late = PointRow { timestamp: (i64::from(u32::MAX) + 4095) * 1000, exact: false, ..row(1) };
        let mut regroup = Regroup::new();
        regroup.push(&late).unwrap();
        assert_eq!(regroup.finish().timestamps, [late.timestamp]);
        assert!(Regroup::new().push(&PointRow { exact: true, ..late }).is_err());
        assert!(Regroup::new().push(&PointRow { timestamp: i64::MAX, ..late }).is_err());
    }

    #[test]
    fn impossible_rows_are_errors() {
        let bad = [
            PointRow { tsuid: b"0", ..row(1) },
            PointRow { tsuid: b"xx", ..row(1) },
            PointRow { form: 7, ..row(1) },
            PointRow { form: -1, ..row(1) },
            PointRow { form: 0x17, ..row(1) },
            PointRow { form: 0x81, ..row(1) },
            PointRow { flags: 0x20, ..row(1) },
            PointRow { flags: 0x08, ..row(1) },
            PointRow { value: PointValue::Float(1.0), ..row(1) },
            PointRow { written: Written::After(1), ..row(1) },
            PointRow { form: 0, ..row(1) },
            row(-1),
            row(i64::MAX),
        ];
        for row in bad {
            assert!(Regroup::new().push(&row).is_err(), "{row:?}");
        }
    }
}

//! Points as text: one file for each format, each a function from points to bytes.

mod csv;
mod influx;
mod number;
mod opentsdb;
mod victoria;

pub use csv::{CsvColumns, annotation_lines};

use crate::flow::FlowError;
use crate::flow::export::report::Counts;
use crate::model::PlainRun;

/// How points become text.
#[derive(Debug, Clone, PartialEq)]
pub enum TextFormat {
    /// See [`CsvColumns`].
    Csv(CsvColumns),
    /// Lines for `tsdb import`.
    Opentsdb,
    /// InfluxDB's line protocol.
    Influx,
    /// JSON lines for VictoriaMetrics.
    Victoria,
}

impl TextFormat {
    /// What each file begins with.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn head(&self) -> Result<Vec<u8>, FlowError> {
        match self {
            Self::Csv(columns) => columns.head(),
            _ => Ok(Vec::new()),
        }
    }

    /// Appends the points of a series, and counts them.
    ///
    /// # Errors
    /// [`FlowError::System`], a fault of the program: memory takes everything.
    pub fn write(&self, run: &PlainRun, out: &mut Vec<u8>, counts: &mut Counts) -> Result<(), FlowError> {
        match self {
            Self::Csv(columns) => columns.write(run, out, counts)?,
            Self::Opentsdb => opentsdb::write(run, out, counts),
            Self::Influx => influx::write(run, out, counts),
            Self::Victoria => victoria::write(run, out, counts),
        }
        Ok(())
    }
}

#[cfg(test)]
mod samples {
    use std::sync::Arc;

    use crate::flow::export::report::Counts;
    use crate::model::{Number, PlainPoint, PlainRun, SeriesLabel};

    pub fn run(metric: &str, tags: &[(&str, &str)], values: &[(i64, Number)]) -> PlainRun {
        let label = SeriesLabel {
            metric: Some(metric.to_owned()),
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            tags_json: "{}".to_owned(),
            complete: true,
        };
        let point = |(timestamp, value): &(i64, Number)| PlainPoint {
            timestamp: *timestamp,
            value: *value,
            milliseconds: timestamp % 1000 != 0,
            superseded: false,
            written: 0,
        };
        PlainRun { label: Arc::new(label), points: values.iter().map(point).collect() }
    }

    pub fn without_name() -> PlainRun {
        let mut run = run("m", &[("host", "000001")], &[(1_000, Number::Int(1))]);
        Arc::make_mut(&mut run.label).complete = false;
        run
    }

    pub fn text(write: impl Fn(&PlainRun, &mut Vec<u8>, &mut Counts), run: &PlainRun) -> (String, Counts) {
        let (mut out, mut counts) = (Vec::new(), Counts::default());
        write(run, &mut out, &mut counts);
        (String::from_utf8(out).unwrap(), counts)
    }
}

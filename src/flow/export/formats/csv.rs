//! Comma-separated values as RFC 4180 has them: lines end with CR LF, fields are quoted where they must be.
//!
//! Integers have neither point nor exponent, other numbers have one; `NaN`, `Infinity` and `-Infinity` are written so.
//! Times are RFC 3339 in UTC with milliseconds. A metric without a name and a tag that a series has not are empty.

use csv::{Terminator, Writer, WriterBuilder};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

use crate::flow::FlowError;
use crate::flow::export::report::Counts;
use crate::model::{Number, PlainAnnotation, PlainColumns, PlainRun, TagColumns};

const TIMES: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// The columns `metric`, `timestamp`, `value`, those of the tags, and with versions `superseded` and `written`.
#[derive(Debug, Clone, PartialEq)]
pub struct CsvColumns(pub PlainColumns);

impl CsvColumns {
    /// The line of names.
    pub fn head(&self) -> Result<Vec<u8>, FlowError> {
        let mut names = vec!["metric", "timestamp", "value"];
        match &self.0.tags {
            TagColumns::Map => names.push("tags"),
            TagColumns::Keys(keys) => names.extend(keys.iter().map(|column| column.name.as_str())),
        }
        if self.0.versions {
            names.extend(["superseded", "written"]);
        }
        let mut head = Vec::new();
        let mut file = writer(&mut head);
        file.write_record(names).and_then(|()| Ok(file.flush()?)).map_err(failed)?;
        drop(file);
        Ok(head)
    }

    /// Appends the points of a series.
    pub fn write(&self, run: &PlainRun, out: &mut Vec<u8>, counts: &mut Counts) -> Result<(), FlowError> {
        self.lines(run, out, counts).map_err(failed)
    }

    fn lines(&self, run: &PlainRun, out: &mut Vec<u8>, counts: &mut Counts) -> csv::Result<()> {
        let label = &run.label;
        let value_of = |wanted: &str| label.tags.iter().find(|(key, _)| key == wanted).map_or("", |(_, value)| value);
        let tags: Vec<&str> = match &self.0.tags {
            TagColumns::Map => vec![&label.tags_json],
            TagColumns::Keys(keys) => keys.iter().map(|column| value_of(&column.key)).collect(),
        };
        let mut file = writer(out);
        for point in &run.points {
            file.write_field(label.metric.as_deref().unwrap_or_default())?;
            file.write_field(time(point.timestamp))?;
            file.write_field(match point.value {
                Number::Int(int) => int.to_string(),
                Number::Float(float) if float.is_finite() => format!("{float:?}"),
                Number::Float(float) => {
                    counts.not_finite += 1;
                    not_finite(float).to_owned()
                }
            })?;
            tags.iter().try_for_each(|tag| file.write_field(tag))?;
            if self.0.versions {
                file.write_field(if point.superseded { "true" } else { "false" })?;
                file.write_field(time(point.written))?;
            }
            file.write_record(None::<&[u8]>)?;
        }
        file.flush()?;
        counts.points += run.points.len() as u64;
        Ok(())
    }
}

/// Annotations with a line of names.
///
/// # Errors
/// As [`super::TextFormat::write`].
pub fn annotation_lines(rows: &[PlainAnnotation]) -> Result<Vec<u8>, FlowError> {
    let mut out = Vec::new();
    let mut file = writer(&mut out);
    let write = |file: &mut Writer<&mut Vec<u8>>| -> csv::Result<()> {
        file.write_record(["metric", "tags", "tsuid", "start", "end", "description", "notes", "custom"])?;
        for row in rows {
            for text in [&row.metric, &row.tags_json, &row.tsuid] {
                file.write_field(text.as_deref().unwrap_or_default())?;
            }
            for ms in [row.start_ms, row.end_ms] {
                file.write_field(ms.map(time).unwrap_or_default())?;
            }
            for text in [&row.description, &row.notes, &row.custom] {
                file.write_field(text.as_deref().unwrap_or_default())?;
            }
            file.write_record(None::<&[u8]>)?;
        }
        Ok(file.flush()?)
    };
    write(&mut file).map_err(failed)?;
    drop(file);
    Ok(out)
}

fn writer(out: &mut Vec<u8>) -> Writer<&mut Vec<u8>> {
    WriterBuilder::new().flexible(true).terminator(Terminator::CRLF).from_writer(out)
}

fn failed(error: csv::Error) -> FlowError {
    FlowError::System("a line of CSV cannot be made".into(), std::io::Error::other(error))
}

fn time(ms: i64) -> String {
    // Every time that a row key or a cell of a backup can say lies before the year 9999.
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| TIMES.timestamp_to_string(&time))
}

fn not_finite(value: f64) -> &'static str {
    match value {
        value if value.is_nan() => "NaN",
        value if value > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::run;
    use super::*;
    use crate::model::TagColumns;

    #[test]
    fn fields_are_quoted_where_they_must_be_and_numbers_read_back() {
        let tags = TagColumns::of_keys(["dc", "host", "value"].map(str::to_owned));
        let columns = CsvColumns(PlainColumns { metric: true, tags, versions: true });
        assert_eq!(
            String::from_utf8(columns.head().unwrap()).unwrap(),
            "metric,timestamp,value,dc,host,tag_value,superseded,written\r\n"
        );
        let values = [
            (1_600_000_000_123, Number::Int((1 << 53) + 1)),
            (1_600_000_001_000, Number::Float(0.1)),
            (0, Number::Float(1.0)),
            (1, Number::Float(f64::NEG_INFINITY)),
        ];
        let (mut out, mut counts) = (Vec::new(), Counts::default());
        columns.write(&run("a \"b\",c", &[("host", "x\r\ny")], &values), &mut out, &mut counts).unwrap();
        assert_eq!((counts.points, counts.not_finite), (4, 1));
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(out.as_slice());
        let rows: Vec<Vec<String>> =
            reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
        let values: Vec<&str> = rows.iter().map(|row| row[2].as_str()).collect();
        assert_eq!(values, ["9007199254740993", "0.1", "1.0", "-Infinity"]);
        assert_eq!(rows[0][..2], ["a \"b\",c", "2020-09-13T12:26:40.123Z"]);
        assert_eq!(rows[1][3..], ["", "x\r\ny", "", "false", "1970-01-01T00:00:00.000Z"]);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("\"a \"\"b\"\",c\",2020-09-13T12:26:40.123Z,9007199254740993,,\"x\r\ny\",,false,"),
            "{text}"
        );
    }

    #[test]
    fn tags_fit_into_one_column_too() {
        let columns = CsvColumns(PlainColumns { metric: true, tags: TagColumns::Map, versions: false });
        let mut series = run("m", &[("host", "a")], &[(0, Number::Int(-1))]);
        std::sync::Arc::make_mut(&mut series.label).tags_json = "{\"host\":\"a\"}".into();
        let (mut out, mut counts) = (columns.head().unwrap(), Counts::default());
        columns.write(&series, &mut out, &mut counts).unwrap();
        let wanted = "metric,timestamp,value,tags\r\nm,1970-01-01T00:00:00.000Z,-1,\"{\"\"host\"\":\"\"a\"\"}\"\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}

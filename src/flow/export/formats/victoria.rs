//! JSON lines for `/api/v1/import` of VictoriaMetrics: `{"metric":{...},"values":[...],"timestamps":[ms...]}`.
//!
//! VictoriaMetrics keeps binary64 alone: integers are written with all digits, and those that it rounds are counted. What
//! its storage loses besides is in no line: about 15 digits stay, fewer where the values of a series lie far apart. It
//! drops NaN, which is skipped here; infinity is the text `"Infinity"`.

use std::collections::BTreeMap;

use super::number::push_float;
use crate::flow::export::report::{Counts, SkipReason};
use crate::flow::to_json;
use crate::model::{Number, PlainPoint, PlainRun};

/// Points of a line, which VictoriaMetrics reads as a whole.
const LINE_POINTS: usize = 10_000;
/// The label that holds the metric.
const NAME: &str = "__name__";

/// Appends the points of a series.
pub fn write(run: &PlainRun, out: &mut Vec<u8>, counts: &mut Counts) {
    let label = &run.label;
    let Some(metric) = label.metric.as_deref().filter(|_| label.complete) else {
        return counts.skip(SkipReason::NoName, label, run.points.len());
    };
    if label.tags.iter().any(|(key, value)| key == NAME || key.is_empty() || value.is_empty()) || metric.is_empty() {
        return counts.skip(SkipReason::Name, label, run.points.len());
    }
    let tags = label.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let labels: BTreeMap<&str, &str> = tags.chain([(NAME, metric)]).collect();
    let labels = to_json(&labels);
    let is_nan = |point: &&PlainPoint| matches!(point.value, Number::Float(float) if float.is_nan());
    let nans = run.points.iter().filter(is_nan).count();
    counts.skip(SkipReason::NotFinite, label, nans);
    let points: Vec<&PlainPoint> = run.points.iter().filter(|point| !is_nan(point)).collect();
    for points in points.chunks(LINE_POINTS) {
        out.extend_from_slice(format!("{{\"metric\":{labels},\"values\":[").as_bytes());
        for (at, point) in points.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            counts.rounded += u64::from(!point.value.fits_float());
            match point.value {
                Number::Int(int) => out.extend_from_slice(int.to_string().as_bytes()),
                Number::Float(float) if float.is_finite() => push_float(out, float),
                Number::Float(float) => {
                    counts.not_finite += 1;
                    out.extend_from_slice(if float > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
                }
            }
        }
        out.extend_from_slice(b"],\"timestamps\":[");
        let times: Vec<String> = points.iter().map(|point| point.timestamp.to_string()).collect();
        out.extend_from_slice(times.join(",").as_bytes());
        out.extend_from_slice(b"]}\n");
        counts.points += points.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{run, text, without_name};
    use super::*;

    #[test]
    fn a_line_holds_a_series_and_rounding_is_counted() {
        let values = [
            (1_600_000_000_123, Number::Int((1 << 53) + 1)),
            (1_600_000_001_000, Number::Float(0.1)),
            (1_600_000_002_000, Number::Float(f64::NAN)),
            (1_600_000_003_000, Number::Float(f64::NEG_INFINITY)),
        ];
        let (lines, counts) = text(write, &run("m \"1\"", &[("host", "a\\b")], &values));
        let wanted = "{\"metric\":{\"__name__\":\"m \\\"1\\\"\",\"host\":\"a\\\\b\"},\
                      \"values\":[9007199254740993,0.1,\"-Infinity\"],\
                      \"timestamps\":[1600000000123,1600000001000,1600000003000]}\n";
        assert_eq!(lines, wanted);
        assert_eq!((counts.points, counts.rounded, counts.not_finite), (3, 1, 1));
        assert_eq!(counts.skipped.into_iter().collect::<Vec<_>>(), [(SkipReason::NotFinite, 1)]);
    }

    #[test]
    fn long_series_take_several_lines_and_labels_must_be_free() {
        let many: Vec<(i64, Number)> = (0..25_000).map(|n| (n * 1000, Number::Int(n))).collect();
        let (lines, counts) = text(write, &run("m", &[], &many));
        assert_eq!((lines.lines().count(), counts.points), (3, 25_000));
        let taken = run("m", &[(NAME, "x")], &[(0, Number::Int(1))]);
        assert_eq!(text(write, &taken).1.skipped.into_iter().collect::<Vec<_>>(), [(SkipReason::Name, 1)]);
        assert_eq!(text(write, &without_name()).1.skipped.into_iter().collect::<Vec<_>>(), [(SkipReason::NoName, 1)]);
        let nothing = run("m", &[], &[(0, Number::Float(f64::NAN))]);
        assert_eq!(text(write, &nothing).0, "");
    }
}

//! Lines that `tsdb import` and, behind the word `put`, a TSD's telnet port read: `metric timestamp value tagk=tagv ...`.
//!
//! A point that was stored in seconds has its time in seconds, one in milliseconds has 13 digits. `tsdb import` reads
//! every number with a point or an exponent as binary32 and stops at one that is infinite then; it wants the times of
//! a series to rise, which they do in the order of the files.

use super::number::push_float;
use crate::flow::export::report::{Counts, SkipReason};
use crate::model::{Number, PlainPoint, PlainRun, SeriesLabel};

/// Times up to here are read as seconds.
const LAST_SECOND: i64 = u32::MAX as i64;

/// Appends the points of a series.
pub fn write(run: &PlainRun, out: &mut Vec<u8>, counts: &mut Counts) {
    let label = &run.label;
    let metric = label.metric.as_deref().unwrap_or_default();
    let mut names = label.tags.iter().flat_map(|(key, value)| [key.as_str(), value]).chain([metric]);
    let unfit = match label {
        label if !label.complete || label.metric.is_none() => Some(SkipReason::NoName),
        label if label.tags.is_empty() => Some(SkipReason::NoTags),
        _ if !names.clone().all(is_word) => Some(SkipReason::Name),
        _ => None,
    };
    if let Some(reason) = unfit {
        counts.skip(reason, label, run.points.len());
        return;
    }
    let special = !names.all(|name| name.chars().all(is_usual));
    let tags: String = label.tags.iter().map(|(key, value)| format!(" {key}={value}")).collect();
    let before = counts.points;
    for point in &run.points {
        line(point, metric, &tags, label, out, counts);
    }
    if special {
        counts.special_names += counts.points - before;
    }
}

fn line(point: &PlainPoint, metric: &str, tags: &str, label: &SeriesLabel, out: &mut Vec<u8>, counts: &mut Counts) {
    let time = match point.milliseconds || point.timestamp % 1000 != 0 {
        true => Some(point.timestamp).filter(|ms| *ms > LAST_SECOND),
        false => Some(point.timestamp / 1000).filter(|second| (1..=LAST_SECOND).contains(second)),
    };
    let Some(time) = time else {
        return counts.skip(SkipReason::Time, label, 1);
    };
    if let Number::Float(float) = point.value {
        if !float.is_finite() {
            return counts.skip(SkipReason::NotFinite, label, 1);
        }
        let read = float as f32;
        if read.is_infinite() {
            return counts.skip(SkipReason::TooLarge, label, 1);
        }
        counts.rounded += u64::from(f64::from(read) != float);
    }
    out.extend_from_slice(metric.as_bytes());
    out.extend_from_slice(format!(" {time} ").as_bytes());
    match point.value {
        Number::Int(int) => out.extend_from_slice(int.to_string().as_bytes()),
        Number::Float(float) => push_float(out, float),
    }
    out.extend_from_slice(tags.as_bytes());
    out.push(b'\n');
    counts.points += 1;
}

/// True for what stays one word of a line, and one side of a tag.
fn is_word(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '=')
}

/// True for what every TSD takes in a name.
fn is_usual(c: char) -> bool {
    c.is_alphabetic() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.' | '/')
}

#[cfg(test)]
mod tests {
    use super::super::samples::{run, text, without_name};
    use super::*;

    #[test]
    fn a_line_says_what_import_reads() {
        let values = [
            (1_600_000_000_000, Number::Int((1 << 53) + 1)),
            (1_600_000_000_123, Number::Float(1.0)),
            (1_600_000_001_000, Number::Float(0.1)),
            (1_600_000_002_000, Number::Float(1e300)),
            (1_600_000_003_000, Number::Float(f64::NAN)),
            (0, Number::Int(1)),
            (5_001, Number::Int(1)),
        ];
        let (lines, counts) = text(write, &run("sys.cpu", &[("dc", "é"), ("host", "a/1")], &values));
        let wanted = "sys.cpu 1600000000 9007199254740993 dc=é host=a/1\n\
                      sys.cpu 1600000000123 1.0 dc=é host=a/1\nsys.cpu 1600000001 0.1 dc=é host=a/1\n";
        assert_eq!(lines, wanted);
        assert_eq!((counts.points, counts.rounded, counts.special_names), (3, 1, 0));
        let skipped: Vec<_> = counts.skipped.into_iter().collect();
        assert_eq!(skipped, [(SkipReason::NotFinite, 1), (SkipReason::TooLarge, 1), (SkipReason::Time, 2)]);
    }

    #[test]
    fn names_without_a_place_in_a_line_are_skipped() {
        let one = [(1_000, Number::Int(1))];
        for (metric, tags, reason) in [
            ("a b", [("k", "v")].as_slice(), SkipReason::Name),
            ("m", &[("k=", "v")], SkipReason::Name),
            ("m", &[("k", "v\n")], SkipReason::Name),
            ("m", &[("k", "")], SkipReason::Name),
            ("m", &[], SkipReason::NoTags),
        ] {
            let (lines, counts) = text(write, &run(metric, tags, &one));
            assert_eq!((lines.as_str(), counts.points), ("", 0), "{metric} {tags:?}");
            assert_eq!(counts.skipped.into_iter().collect::<Vec<_>>(), [(reason, 1)]);
            assert_eq!(counts.skipped_series.len(), 1);
        }
        assert_eq!(text(write, &without_name()).1.skipped.into_iter().collect::<Vec<_>>(), [(SkipReason::NoName, 1)]);
        let (lines, counts) = text(write, &run("m", &[("k", "a:b")], &one));
        assert_eq!((lines.as_str(), counts.special_names), ("m 1 1 k=a:b\n", 1));
    }
}

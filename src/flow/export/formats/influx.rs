//! InfluxDB's line protocol: `metric,tagk=tagv value=1i 1600000000000000000`, times in nanoseconds.
//!
//! The metric is the measurement, the field is `value`; integers have the suffix `i`. A database has one kind of number for
//! a field of a measurement, and refuses the other; a series of OpenTSDB has both, so the metrics with both are named. Commas, spaces and (outside the
//! measurement) equals signs have a backslash in front. What a line cannot say is skipped: line feeds, names that end in
//! a backslash or have one in front of such a character, which parsers read in several ways, NaN and infinity.

use super::number::push_float;
use crate::flow::export::report::{Counts, NumberKinds, SkipReason};
use crate::model::{Number, PlainRun};

/// Tag keys that InfluxDB keeps for itself.
const RESERVED: [&str; 3] = ["time", "_field", "_measurement"];

/// Appends the points of a series.
pub fn write(run: &PlainRun, out: &mut Vec<u8>, counts: &mut Counts) {
    let label = &run.label;
    let Some(metric) = label.metric.as_deref().filter(|_| label.complete) else {
        return counts.skip(SkipReason::NoName, label, run.points.len());
    };
    let head = || {
        let mut head = Vec::new();
        push_name(&mut head, metric, b", ")?;
        for (key, value) in &label.tags {
            head.push(b',');
            if RESERVED.contains(&key.as_str()) {
                return None;
            }
            push_name(&mut head, key, b", =")?;
            head.push(b'=');
            push_name(&mut head, value, b", =")?;
        }
        Some(head).filter(|_| !metric.starts_with('#'))
    };
    let Some(mut head) = head() else {
        return counts.skip(SkipReason::Name, label, run.points.len());
    };
    head.extend_from_slice(b" value=");
    let mut kinds = NumberKinds::default();
    for point in &run.points {
        let Some(time) = point.timestamp.checked_mul(1_000_000) else {
            counts.skip(SkipReason::Time, label, 1);
            continue;
        };
        let start = out.len();
        out.extend_from_slice(&head);
        match point.value {
            Number::Int(int) => {
                kinds.ints = true;
                out.extend_from_slice(format!("{int}i").as_bytes());
            }
            Number::Float(float) if float.is_finite() => {
                kinds.floats = true;
                push_float(out, float);
            }
            Number::Float(_) => {
                out.truncate(start);
                counts.skip(SkipReason::NotFinite, label, 1);
                continue;
            }
        }
        out.extend_from_slice(format!(" {time}\n").as_bytes());
        counts.points += 1;
    }
    match counts.kinds.get_mut(metric) {
        Some(known) => known.add(kinds),
        None => drop(counts.kinds.insert(metric.to_owned(), kinds)),
    }
}

/// Appends a name with a backslash in front of each of these bytes; `None` when it cannot be said.
fn push_name(out: &mut Vec<u8>, name: &str, escaped: &[u8]) -> Option<()> {
    let mut before = 0;
    for byte in name.bytes() {
        if matches!(byte, b'\n' | b'\r' | 0) || before == b'\\' && escaped.contains(&byte) {
            return None;
        }
        if escaped.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
        before = byte;
    }
    (!name.is_empty() && before != b'\\').then_some(())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{run, text, without_name};
    use super::*;

    #[test]
    fn names_are_escaped_and_integers_are_marked() {
        let values = [
            (1_600_000_000_123, Number::Int((1 << 53) + 1)),
            (1_600_000_001_000, Number::Float(0.1)),
            (1_600_000_002_000, Number::Float(-1e300)),
            (1_600_000_003_000, Number::Float(f64::INFINITY)),
            (i64::MAX, Number::Int(1)),
        ];
        let (lines, counts) = text(write, &run("a b,c=d", &[("k=1", "v ,=\"x\""), ("z", "b\\s")], &values));
        let head = "a\\ b\\,c=d,k\\=1=v\\ \\,\\=\"x\",z=b\\s value=";
        let wanted =
            ["9007199254740993i 1600000000123000000\n", "0.1 1600000001000000000\n", "-1e300 1600000002000000000\n"];
        assert_eq!(lines, wanted.map(|line| format!("{head}{line}")).concat());
        assert_eq!(counts.points, 3);
        assert_eq!(counts.kinds["a b,c=d"], NumberKinds { ints: true, floats: true });
        let skipped: Vec<_> = counts.skipped.into_iter().collect();
        assert_eq!(skipped, [(SkipReason::NotFinite, 1), (SkipReason::Time, 1)]);
    }

    #[test]
    fn names_that_a_line_cannot_say_are_skipped() {
        let one = [(1_000, Number::Int(1))];
        for (metric, tags) in [
            ("a\nb", [("k", "v")].as_slice()),
            ("#m", &[]),
            ("m\\", &[]),
            ("m", &[("k", "v\\")]),
            ("m", &[("k", "a\\,b")]),
            ("m", &[("time", "v")]),
            ("m", &[("k", "")]),
        ] {
            let (lines, counts) = text(write, &run(metric, tags, &one));
            assert_eq!((lines.as_str(), counts.points), ("", 0), "{metric:?} {tags:?}");
            assert_eq!(counts.skipped.into_iter().collect::<Vec<_>>(), [(SkipReason::Name, 1)]);
        }
        assert_eq!(text(write, &without_name()).1.skipped.into_iter().collect::<Vec<_>>(), [(SkipReason::NoName, 1)]);
        assert_eq!(text(write, &run("m", &[], &one)).0, "m value=1i 1000000000\n");
    }
}

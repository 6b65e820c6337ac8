//! What is left to do beside ranges that are done.

use crate::model::KeyRange;

/// The parts of a table that none of `done` covers, in key order. `done` is sorted by its starts and has no overlaps.
pub fn uncovered(done: &[KeyRange]) -> Vec<KeyRange> {
    let mut gaps = Vec::new();
    let mut next = Some(Vec::new());
    for range in done {
        let Some(start) = next else { return gaps };
        if range.start > start {
            gaps.push(KeyRange::new(start, range.start.clone()));
        }
        next = Some(range.stop.clone()).filter(|stop| !stop.is_empty());
    }
    gaps.extend(next.map(|start| KeyRange::new(start, Vec::new())));
    gaps
}

/// The parts of `ranges` that lie in one of `gaps`; both are sorted and without overlaps.
pub fn clip(ranges: &[KeyRange], gaps: &[KeyRange]) -> Vec<KeyRange> {
    let mut parts = Vec::new();
    for range in ranges {
        for gap in gaps {
            let start = range.start.clone().max(gap.start.clone());
            let stop = match (range.stop.is_empty(), gap.stop.is_empty()) {
                (true, _) => gap.stop.clone(),
                (_, true) => range.stop.clone(),
                _ => range.stop.clone().min(gap.stop.clone()),
            };
            let part = KeyRange::new(start, stop);
            if !part.is_empty() {
                parts.push(part);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &str, stop: &str) -> KeyRange {
        KeyRange::new(start, stop)
    }

    #[test]
    fn gaps_are_what_is_left() {
        assert_eq!(uncovered(&[]), [KeyRange::all()]);
        assert_eq!(uncovered(&[KeyRange::all()]), []);
        assert_eq!(uncovered(&[range("", "b"), range("b", "d")]), [range("d", "")]);
        assert_eq!(uncovered(&[range("b", "c"), range("d", "")]), [range("", "b"), range("c", "d")]);
    }

    #[test]
    fn ranges_are_clipped_to_the_gaps() {
        let ranges = [range("", "g"), range("g", "p"), range("p", "")];
        let gaps = [range("", "b"), range("f", "h"), range("x", "")];
        let parts = [range("", "b"), range("f", "g"), range("g", "h"), range("x", "")];
        assert_eq!(clip(&ranges, &gaps), parts);
        assert_eq!(clip(&ranges, &[KeyRange::all()]), ranges);
        assert_eq!(clip(&ranges, &[]), []);
    }

    #[test]
    fn what_is_done_and_what_is_clipped_cover_the_table() {
        let done = [range("a", "c"), range("e", "k")];
        let mut all = clip(&[range("", "b"), range("b", "f"), range("f", "")], &uncovered(&done));
        all.extend(done);
        all.sort_by(|a, b| a.start.cmp(&b.start));
        assert_eq!(uncovered(&all), []);
    }
}

//! Which rows of a source a selection of points can lie in.
//!
//! A row holds the points of one series in the hour (of a rollup table: the span) that begins with the base time in its
//! key, behind the metric's UID. So of each metric one range of keys is wanted in each salt bucket, and no other key is
//! read. Rows are taken whole: points of a wanted row that lie outside the time come along. Tags stand behind the base
//! time: rows of other series are read and left out.
//!
//! Not found this way: rows of metrics without a name, of salt buckets that no layout knows, and points whose base time is
//! not theirs (times after 2106 overflow it).

use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::codec::row_key;
use crate::flow::source::names::Names;
use crate::flow::{FlowError, NamePattern, Selection};
use crate::manifest::{WindowRecord, WindowTag};
use crate::model::{CellBlock, KeyLayouts, KeyRange, TableKind, UidKind, UidNames, time};
use crate::scan::{Wanted, WantedRows};
use crate::shard::{between, cut};

/// Names of UIDs.
pub trait NameOf: Send + Sync {
    /// The name of a UID.
    fn name(&self, kind: UidKind, uid: &[u8]) -> Option<String>;

    /// Hands on every UID of a kind that has a name.
    fn each_of(&self, kind: UidKind, each: &mut dyn FnMut(&[u8], &str));
}

fn pass<'e>(
    wanted: UidKind,
    each: &'e mut dyn FnMut(&[u8], &str),
) -> impl FnMut(UidKind, &[u8], &str) -> Result<(), std::convert::Infallible> + 'e {
    move |kind, uid, name| {
        if kind == wanted {
            each(uid, name);
        }
        Ok(())
    }
}

impl NameOf for Names {
    fn name(&self, kind: UidKind, uid: &[u8]) -> Option<String> {
        self.known_name(kind, uid)
    }

    fn each_of(&self, kind: UidKind, each: &mut dyn FnMut(&[u8], &str)) {
        let Ok(()) = self.each(pass(kind, each));
    }
}

impl NameOf for UidNames {
    fn name(&self, kind: UidKind, uid: &[u8]) -> Option<String> {
        self.get(kind, uid).map(str::to_owned)
    }

    fn each_of(&self, kind: UidKind, each: &mut dyn FnMut(&[u8], &str)) {
        let Ok(()) = self.each(pass(kind, each));
    }
}

/// The record of a selection.
pub fn record_of(selection: &Selection, left_out: Vec<String>) -> WindowRecord {
    let tag = |(key, value): &(String, NamePattern)| WindowTag { key: key.clone(), value: value.text().to_owned() };
    WindowRecord {
        metrics: selection.metrics.iter().map(|pattern| pattern.text().to_owned()).collect(),
        tags: selection.tags.iter().map(tag).collect(),
        from_ms: selection.from_ms,
        to_ms: selection.to_ms,
        left_out,
    }
}

/// The selection of a record.
///
/// # Errors
/// [`FlowError::Damaged`] for a pattern that is none.
pub fn selection_of(record: &WindowRecord) -> Result<Selection, FlowError> {
    let pattern = |text: &String| {
        NamePattern::new(text).map_err(|why| FlowError::damaged(format!("the pattern {text} of a window: {why}")))
    };
    let tag = |tag: &WindowTag| Ok((tag.key.clone(), pattern(&tag.value)?));
    Ok(Selection {
        metrics: record.metrics.iter().map(pattern).collect::<Result<_, FlowError>>()?,
        tags: record.tags.iter().map(tag).collect::<Result<_, FlowError>>()?,
        from_ms: record.from_ms,
        to_ms: record.to_ms,
    })
}

/// A selection of points of one OpenTSDB.
#[derive(Clone)]
pub struct Window {
    selection: Arc<Selection>,
    layouts: KeyLayouts,
    names: Arc<dyn NameOf>,
    /// UIDs of the selected metrics, sorted.
    metrics: Arc<Vec<Vec<u8>>>,
}

impl Window {
    /// The selection, with the metrics that have a name now.
    pub fn new(selection: Selection, layouts: KeyLayouts, names: Arc<dyn NameOf>) -> Self {
        let width = usize::from(layouts.main().metric_width);
        let mut metrics = Vec::new();
        names.each_of(UidKind::Metric, &mut |uid, name| {
            if uid.len() == width && selection.has_metric(Some(name)) {
                metrics.push(uid.to_vec());
            }
        });
        if selection.metrics.is_empty() && selection.tags.is_empty() {
            // Global annotations belong to no metric and have no tags.
            metrics.push(vec![0; width]);
        }
        metrics.sort_unstable();
        metrics.dedup();
        Self { selection: Arc::new(selection), layouts, names, metrics: Arc::new(metrics) }
    }

    /// The selection.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The names of UIDs.
    pub fn names(&self) -> &dyn NameOf {
        &*self.names
    }

    /// Refuses a selection that names what there is not.
    ///
    /// # Errors
    /// [`FlowError::Input`] with the patterns that match nothing.
    pub fn require_matches(&self) -> Result<(), FlowError> {
        let Selection { metrics, tags, .. } = &*self.selection;
        if !metrics.is_empty() && self.metrics.is_empty() {
            let patterns: Vec<&str> = metrics.iter().map(NamePattern::text).collect();
            return Err(FlowError::input(format!(
                "no metric matches --metric {}; * stands for any text, and case counts",
                patterns.join(" --metric ")
            )));
        }
        for (key, pattern) in tags {
            let (mut is_key, mut is_value) = (false, false);
            self.names.each_of(UidKind::Tagk, &mut |_, name| is_key |= name == key);
            self.names.each_of(UidKind::Tagv, &mut |_, name| is_value = is_value || pattern.matches(name));
            let what = match (is_key, is_value) {
                (true, true) => continue,
                (false, _) => format!("there is no tag key {key}"),
                (true, false) => format!("no tag value matches {}", pattern.text()),
            };
            return Err(FlowError::input(format!("--tag {key}={}: {what}", pattern.text())));
        }
        Ok(())
    }

    /// What is wanted of a table with rows of series; `None` for other tables. `row_span`: what a row of a rollup table
    /// spans, where it is known.
    pub fn of_table(&self, kind: TableKind, row_span: Option<&str>) -> Option<DataWindow> {
        let first = |ms: i64| {
            let seconds = ms.div_euclid(1000).clamp(0, u32::MAX.into());
            let base = match kind {
                TableKind::Rollup => row_start(seconds, row_span.unwrap_or_default()),
                _ => seconds - seconds % 3600,
            };
            u32::try_from(base).unwrap_or_default()
        };
        let behind = |ms: i64| {
            let seconds = ms.saturating_add(999).div_euclid(1000).max(0);
            u32::try_from(seconds).ok()
        };
        matches!(kind, TableKind::Data | TableKind::Rollup).then(|| DataWindow {
            window: self.clone(),
            first: self.selection.from_ms.map(first),
            behind: self.selection.to_ms.and_then(behind),
            salts: salts(&self.layouts),
        })
    }
}

/// Widths of salts, each once, and how many different salts of it there can be.
fn salts(layouts: &KeyLayouts) -> Vec<(u8, u64)> {
    let mut salts: Vec<(u8, u64)> = Vec::new();
    for layout in std::iter::once(layouts.main()).chain(layouts.older()) {
        let width = layout.salt_width.min(8);
        let most = if width >= 8 { u64::MAX } else { 1 << (8 * u32::from(width)) };
        let count = if width == 0 { 1 } else { u64::from(layout.salt_buckets.max(1)).min(most) };
        match salts.iter_mut().find(|(known, _)| *known == width) {
            Some((_, known)) => *known = (*known).max(count),
            None => salts.push((width, count)),
        }
    }
    salts
}

/// Where the row of a rollup table begins that a time lies in, seconds; by a span that is not known, the earliest that
/// it can be (`RollupUtils.getRollupBasetime`).
fn row_start(seconds: i64, span: &str) -> i64 {
    let (number, unit) = span.char_indices().last().map_or(("", ""), |(unit, _)| span.split_at(unit));
    let hours = number.parse::<i64>().ok().filter(|number| (1..=24 * 366).contains(number));
    let day = Timestamp::from_second(seconds).unwrap_or_default().to_zoned(TimeZone::UTC).date();
    let midnight =
        |date: Date| date.to_zoned(TimeZone::UTC).as_ref().map(Zoned::timestamp).map_or(0, Timestamp::as_second);
    match (unit, hours) {
        ("h", Some(hours)) => seconds - seconds % (hours * 3600),
        ("d", Some(1)) => midnight(day),
        ("n", Some(1)) => midnight(day.first_of_month()),
        _ => midnight(day.first_of_year()),
    }
}

/// The wanted rows of a table with rows of series.
pub struct DataWindow {
    window: Window,
    /// No row with an earlier base time, seconds.
    first: Option<u32>,
    /// No row with this base time or a later one.
    behind: Option<u32>,
    /// Widths of salts and their numbers.
    salts: Vec<(u8, u64)>,
}

impl fmt::Debug for DataWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.window.metrics.len();
        write!(f, "{metrics} metrics, base times {:?} to {:?}, salts {:?}", self.first, self.behind, self.salts)
    }
}

impl DataWindow {
    /// How many ranges there are with salts of one width.
    fn count(&self, salts: u64) -> u64 {
        salts.saturating_mul(self.window.metrics.len() as u64)
    }

    /// Range number so and so of the salts of one width, in key order.
    fn range(&self, salt_width: u8, number: u64, behind: Option<u32>) -> Option<KeyRange> {
        let metrics = self.window.metrics.len() as u64;
        let salt = number.checked_div(metrics)?.to_be_bytes();
        let metric = self.window.metrics.get(usize::try_from(number % metrics).ok()?)?;
        let prefix = [salt.get(8 - usize::from(salt_width)..)?, metric].concat();
        let at = |base: Option<u32>| [prefix.as_slice(), &base.map(u32::to_be_bytes).unwrap_or_default()].concat();
        let start = if self.first.is_some() { at(self.first) } else { prefix.clone() };
        let stop = if behind.is_some() { at(behind) } else { next_prefix(prefix.clone()) };
        Some(KeyRange::new(start, stop))
    }

    /// The first range with salts of one width that ends behind a key.
    fn first_behind(&self, (width, salts): (u8, u64), key: &[u8]) -> Option<KeyRange> {
        let (mut low, mut high) = (0, self.count(salts));
        while low < high {
            let middle = low + (high - low) / 2;
            let range = self.range(width, middle, self.behind)?;
            if range.is_before_stop(key) { high = middle } else { low = middle + 1 }
        }
        (low < self.count(salts)).then(|| self.range(width, low, self.behind)).flatten()
    }

    /// Cuts all keys into about so many jobs with even shares of the wanted ranges.
    pub fn jobs(&self, pieces: usize) -> Vec<KeyRange> {
        let Some((width, salts)) = self.salts.first().copied() else { return vec![KeyRange::all()] };
        let (count, pieces) = (self.count(salts), pieces as u64);
        let now = u32::try_from(time::now_ms() / 1000).ok();
        let mut keys = Vec::new();
        if count >= pieces {
            let starts = (1..pieces).filter_map(|piece| self.range(width, count / pieces * piece, self.behind));
            keys.extend(starts.map(|range| range.start));
        } else {
            for number in 0..count {
                let Some(range) = self.range(width, number, self.behind.or(now)) else { continue };
                let parts = pieces.div_ceil(count) as usize;
                keys.extend(between(&range.start, &range.stop, parts));
                keys.push(range.start);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        cut(&KeyRange::all(), &keys)
    }

    fn keeps(&self, key: &[u8]) -> bool {
        let Window { selection, layouts, names, metrics } = &self.window;
        let Some(found) = row_key::find(key, layouts) else { return selection.tags.is_empty() };
        // The range of one salt's metric may hold rows of another salt.
        if found.problem.is_none()
            && metrics.binary_search_by(|metric| metric.as_slice().cmp(found.key.metric)).is_err()
        {
            return false;
        }
        if selection.tags.is_empty() {
            return true;
        }
        let pairs = found.key.tags.chunks_exact(layouts.main().tag_width());
        let named = pairs.filter_map(|pair| {
            let (tagk, tagv) = pair.split_at(usize::from(layouts.main().tagk_width));
            names.name(UidKind::Tagk, tagk).zip(names.name(UidKind::Tagv, tagv))
        });
        let named: Vec<(String, String)> = named.collect();
        selection.has_tags(named.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }
}

impl Wanted for DataWindow {
    fn next(&self, left: &KeyRange) -> Option<KeyRange> {
        let candidates = self.salts.iter().filter_map(|salts| self.first_behind(*salts, &left.start));
        let clipped = candidates.map(|range| {
            let stop = match (range.stop.is_empty(), left.stop.is_empty()) {
                (true, _) => left.stop.clone(),
                (false, true) => range.stop,
                (false, false) => range.stop.min(left.stop.clone()),
            };
            KeyRange::new(range.start.max(left.start.clone()), stop)
        });
        clipped
            .filter(|range| !range.is_empty() && left.is_before_stop(&range.start))
            .min_by(|a, b| a.start.cmp(&b.start))
    }

    fn filter(&self, page: &mut CellBlock) {
        if self.window.selection.tags.is_empty() && self.window.layouts.older().is_empty() {
            return;
        }
        let mut row: Option<(Vec<u8>, bool)> = None;
        page.retain(|cell| match &row {
            Some((key, kept)) if key == cell.row => *kept,
            _ => {
                let kept = self.keeps(cell.row);
                row = Some((cell.row.to_vec(), kept));
                kept
            }
        });
    }
}

impl From<DataWindow> for WantedRows {
    fn from(window: DataWindow) -> Self {
        Self(Arc::new(window))
    }
}

/// The first key behind all that begin with a prefix; empty: the table's end.
fn next_prefix(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            break;
        }
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KeyLayout, hex};

    const HOUR: i64 = 3_600_000;

    fn window(selection: Selection, layouts: KeyLayouts) -> Window {
        let mut names = UidNames::new();
        for (uid, name) in [(1, "sys.cpu"), (2, "sys.mem"), (9, "net")] {
            names.insert(UidKind::Metric, &[0, 0, uid], name);
        }
        names.insert(UidKind::Tagk, &[0, 0, 1], "host");
        names.insert(UidKind::Tagv, &[0, 0, 1], "web1");
        names.insert(UidKind::Tagv, &[0, 0, 2], "db1");
        Window::new(selection, layouts, Arc::new(names))
    }

    fn ranges(rows: &DataWindow, left: KeyRange) -> Vec<(String, String)> {
        let (mut found, mut left) = (Vec::new(), left);
        while let Some(part) = rows.next(&left) {
            left.start.clone_from(&part.stop);
            found.push((hex(&part.start), hex(&part.stop)));
            if part.stop.is_empty() || left.is_empty() {
                break;
            }
        }
        found
    }

    fn pattern(text: &str) -> NamePattern {
        NamePattern::new(text).unwrap()
    }

    #[test]
    fn a_metric_has_a_range_in_each_bucket() {
        let selection = Selection {
            metrics: vec![pattern("sys.*")],
            from_ms: Some(3 * HOUR + 600_000),
            to_ms: Some(5 * HOUR),
            ..Selection::default()
        };
        let salted = KeyLayout { salt_width: 1, salt_buckets: 2, ..KeyLayout::default() };
        let rows = window(selection.clone(), salted.into()).of_table(TableKind::Data, None).unwrap();
        let keys = |prefix: &str| (format!("{prefix}00002A30"), format!("{prefix}00004650"));
        let all = [keys("00000001"), keys("00000002"), keys("01000001"), keys("01000002")];
        assert_eq!(ranges(&rows, KeyRange::all()), all);
        // Inside a range, and between two.
        let (mut from_inside, inside) = (all.to_vec(), [0, 0, 0, 2, 0, 0, 0x30, 0]);
        from_inside.remove(0);
        from_inside[0].0 = hex(&inside);
        assert_eq!(ranges(&rows, KeyRange::new(inside, [])), from_inside);
        assert_eq!(
            ranges(&rows, KeyRange::new([0, 0, 0, 3], [1, 0, 0, 1, 0, 0, 0x30])),
            [(all[2].0.clone(), "01000001000030".into())]
        );
        assert_eq!(ranges(&rows, KeyRange::new([2], [])), []);
        // Rows without salt as well.
        let both = KeyLayouts::new(salted, [KeyLayout::default()]);
        let rows = window(selection, both).of_table(TableKind::Data, None).unwrap();
        assert_eq!(ranges(&rows, KeyRange::all()).len(), 6);
        for pieces in [1, 2, 3, 8, 40] {
            let jobs = rows.jobs(pieces);
            assert!(
                jobs.len() >= pieces.min(4) && jobs.windows(2).all(|pair| pair[0].stop == pair[1].start),
                "{jobs:?}"
            );
            assert!(jobs[0].start.is_empty() && jobs[jobs.len() - 1].stop.is_empty());
        }
    }

    #[test]
    fn without_times_a_metric_is_whole() {
        let all = window(Selection::default(), KeyLayouts::default());
        let rows = all.of_table(TableKind::Data, None).unwrap();
        let wanted = [("000000", "000001"), ("000001", "000002"), ("000002", "000003"), ("000009", "00000A")];
        assert_eq!(ranges(&rows, KeyRange::all()), wanted.map(|(start, stop)| (start.to_owned(), stop.to_owned())));
        assert_eq!(next_prefix(vec![1, 255, 255]), [2]);
        assert!(next_prefix(vec![255]).is_empty());
        assert!(all.of_table(TableKind::Uid, None).is_none());
    }

    #[test]
    fn rows_of_other_tags_are_left_out() {
        let tags = vec![("host".to_owned(), pattern("web*"))];
        let tagged = window(Selection { tags, ..Selection::default() }, KeyLayouts::default());
        tagged.require_matches().unwrap();
        let rows = tagged.of_table(TableKind::Data, None).unwrap();
        let key = |tagv: u8| [0, 0, 1, 0, 0, 0x2a, 0x30, 0, 0, 1, 0, 0, tagv];
        assert_eq!([1, 2, 3].map(|tagv| rows.keeps(&key(tagv))), [true, false, false]);
        assert!(!rows.keeps(&[0, 0, 1]));
        let mut page = CellBlock::new();
        for tagv in [1, 2] {
            page.push_row(&key(tagv)).unwrap();
            page.push_cell(b"t", &[0, 0], 5, 4, &[tagv]).unwrap();
        }
        rows.filter(&mut page);
        assert_eq!(page.rows().map(|row| row.key.to_vec()).collect::<Vec<_>>(), [key(1)]);
        for (key, value) in [("rack", "web1"), ("host", "web2")] {
            let tags = vec![(key.to_owned(), pattern(value))];
            let none = window(Selection { tags, ..Selection::default() }, KeyLayouts::default());
            assert!(none.require_matches().unwrap_err().to_string().contains(key));
        }
        let none = Selection { metrics: vec![pattern("disk.*")], ..Selection::default() };
        let none = window(none, KeyLayouts::default()).require_matches();
        assert!(none.unwrap_err().to_string().contains("disk.*"));
    }

    #[test]
    fn rows_of_rollups_begin_where_their_span_does() {
        // 2013-05-15T13:20:00Z
        let time = 1_368_624_000;
        for (span, start) in [
            ("1h", 1_368_622_800),
            ("6h", 1_368_619_200),
            ("1d", 1_368_576_000),
            ("1n", 1_367_366_400),
            ("1y", 1_356_998_400),
            ("", 1_356_998_400),
            ("x", 1_356_998_400),
        ] {
            assert_eq!(row_start(time, span), start, "{span}");
        }
    }
}

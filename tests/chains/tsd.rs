//! A real TSD writes between the members of a chain, and compacts rows as it does in production: those that a query reads
//! at once, all others when it ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{assert_restored, cells, increment, now_ms};
use crate::support::ark::Repository;
use crate::support::bed::Bed;
use crate::support::synthetic::table_of;
use crate::support::tsd::{Tables, Tsd};

/// Hours with points; all are over.
const HOURS: i64 = 3;
/// Points of a metric in an hour.
const POINTS: i64 = 6;
/// The longest wait for what a TSD does in the background.
const PATIENCE: Duration = Duration::from_secs(40);

struct Source {
    bed: &'static Bed,
    tables: Tables,
    repository: Repository,
    /// The first hour, in seconds.
    begin: i64,
}

impl Source {
    fn new() -> Self {
        let bed = Bed::shared();
        let hour = now_ms() / 3_600_000;
        let begin = (hour - HOURS - 2) * 3600;
        Self { bed, tables: Tables::create(bed, false, &[]), repository: Repository::default(), begin }
    }

    /// A TSD whose queue of rows to compact waits until it ends.
    fn tsd(&self, more: &[(&str, &str)]) -> Tsd<'static> {
        let mut conf = self.tables.conf(self.bed);
        let compaction = [("tsd.storage.enable_compaction", "true"), ("tsd.storage.compaction.flush_interval", "3600")];
        conf.extend(compaction.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        Tsd::start(self.bed, &conf)
    }

    /// Writes points of each metric in each hour, each a cell of its own, so many seconds after those of second 0.
    fn write(&self, tsd: &Tsd<'_>, metrics: &[&str], second: i64) {
        let before = cells(self.bed, &self.tables.data()).len();
        let times = (0..HOURS).flat_map(|hour| (0..POINTS).map(move |point| hour * 3600 + point * 300));
        let times: Vec<i64> = times.map(|offset| self.begin + offset + second).collect();
        let point = |metric: &str, time: i64| json!({"metric": metric, "timestamp": time, "value": time % 1000, "tags": {"host": "a"}});
        let points: Vec<Value> =
            metrics.iter().flat_map(|metric| times.iter().map(move |time| point(metric, *time))).collect();
        tsd.post("/api/put", &json!(points)).ok();
        self.until("all points stored", || cells(self.bed, &self.tables.data()).len() == before + points.len());
    }

    /// Queries the metric, which makes the TSD compact its rows.
    fn query(&self, tsd: &Tsd<'_>, metric: &str) {
        let end = self.begin + HOURS * 3600;
        tsd.get(&format!("/api/query?start={}&end={end}&m=none:{metric}", self.begin)).ok();
        self.until("the rows compacted", || self.cells_by_row(metric) == [1; HOURS as usize]);
    }

    /// How many cells each row of a metric has.
    fn cells_by_row(&self, metric: &str) -> Vec<usize> {
        let uids = cells(self.bed, &format!("{}tsdb-uid", self.tables.prefix));
        let uid = uids.iter().find(|cell| cell.row == metric.as_bytes() && cell.qualifier == b"metrics");
        let uid = &uid.unwrap().value;
        let mut rows: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for cell in cells(self.bed, &self.tables.data()).into_iter().filter(|cell| cell.row.starts_with(uid)) {
            *rows.entry(cell.row).or_default() += 1;
        }
        rows.into_values().collect()
    }

    #[track_caller]
    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < end, "not {what} after {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// An increment, after which the chain is the table.
    #[track_caller]
    fn increment(&self, by: &str) -> Value {
        let made = increment(self.bed, &self.repository, &self.tables, by);
        assert_restored(self.bed, &self.repository, &self.tables, &[]);
        made
    }

    fn refused_by_time(&self, more: &[&str]) {
        let words = [&["--incremental", "--by", "time"], more].concat();
        let refused = self.repository.backup(self.bed, &self.tables, &words).expect(1);
        assert!(refused.err.contains("time of their point") && refused.err.contains("--by compare"), "{}", refused.err);
    }
}

#[test]
fn rows_that_a_tsd_compacts_are_right_in_a_chain() {
    let source = Source::new();
    let Source { bed, tables, repository, .. } = &source;
    let of_data = |report: &Value| table_of(report, &tables.data())["cells"].clone();
    let tsd = source.tsd(&[]);
    source.write(&tsd, &["sys.a", "sys.b", "sys.c"], 0);
    repository.backup(bed, tables, &[]).expect(0);
    assert_eq!(source.cells_by_row("sys.a"), [POINTS as usize; HOURS as usize]);
    source.query(&tsd, "sys.a");
    increment(bed, repository, tables, "time");
    assert_eq!(of_data(&increment(bed, repository, tables, "compare")), 0, "a comparison finds what was missed");
    // Late points beside a compacted cell, a new metric, and other rows compacted.
    source.write(&tsd, &["sys.a", "sys.d"], 7);
    source.query(&tsd, "sys.b");
    source.increment("compare");
    // Compacted again, with the late points.
    source.query(&tsd, "sys.a");
    source.write(&tsd, &["sys.b"], 9);
    tsd.stop();
    source.increment("time");
}

#[test]
fn a_tsd_that_writes_the_times_of_points_is_refused_by_time() {
    let source = Source::new();
    let Source { bed, tables, repository, .. } = &source;
    let tsd = source.tsd(&[("tsd.storage.use_otsdb_timestamp", "true")]);
    let metrics = ["sys.a", "sys.b", "sys.c", "sys.d", "sys.e", "sys.f", "sys.g"];
    source.write(&tsd, &metrics, 0);
    repository.backup(bed, tables, &[]).expect(0);
    // Late points.
    source.write(&tsd, &["sys.a"], 7);
    source.refused_by_time(&[]);
    source.refused_by_time(&["--opentsdb-conf", tsd.conf_file().to_str().unwrap()]);
    source.increment("compare");
    source.query(&tsd, "sys.a");
    source.write(&tsd, &["sys.b"], 8);
    source.increment("compare");
    source.refused_by_time(&[]);
    // Compacted cells alone: they carry the time of their last point.
    metrics.iter().for_each(|metric| source.query(&tsd, metric));
    let compacted = Repository::default();
    compacted.backup(bed, tables, &[]).expect(0);
    let compacted = Source { repository: compacted, ..source };
    compacted.refused_by_time(&[]);
}

//! Everything that an OpenTSDB can hold, written through a TSD's own API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::bed::Bed;
use super::http::Reply;
use super::tsd::{Tables, Tsd};

/// 2013-01-01T00:00Z, in seconds: the first hour of the workload.
pub const BASE: i64 = 1_356_998_400;
/// Points of one request.
const BATCH: usize = 500;
/// How long written points may take to be seen.
const PATIENCE: Duration = Duration::from_secs(40);

const INTEGERS: [i64; 15] = [
    0,
    1,
    -1,
    127,
    -127 - 1,
    128,
    -129,
    32_767,
    -32_768,
    32_768,
    2_147_483_647,
    -2_147_483_648,
    2_147_483_648,
    i64::MAX,
    i64::MIN,
];
const FLOATS: [&str; 7] = ["0.0", "-0.0", "1.5", "-1.25", "3.4e38", "1e-45", "4.2"];
const DOUBLES: [&str; 5] = ["123456.789", "1.7976931348623157e308", "4.9e-324", "-2.5e-300", "100000000000.5"];

/// What to write, and with which settings.
#[derive(Debug, Clone)]
pub struct Workload {
    /// First part of every metric name.
    pub prefix: String,
    /// Beside points: annotations, UID and TS meta, trees, histograms, rollups, names that are not ASCII. Not for TSD 2.3.
    pub full: bool,
    /// Values that need 8 bytes; TSD 2.3 stores floats in 4 only.
    pub doubles: bool,
    /// Points are appended to one cell per row.
    pub appends: bool,
    /// Rows are salted with one byte, in 8 buckets.
    pub salted: bool,
    /// The TSD compacts rows (it does when it stops, at the latest).
    pub compaction: bool,
}

impl Default for Workload {
    fn default() -> Self {
        Workload {
            prefix: "mix".to_owned(),
            full: true,
            doubles: true,
            appends: false,
            salted: false,
            compaction: false,
        }
    }
}

impl Workload {
    /// Tables that fit this workload.
    pub fn tables(&self, bed: &Bed) -> Tables {
        Tables::create(bed, self.full, &[])
    }

    /// Settings of the TSD that writes or reads it in these tables.
    pub fn conf(&self, bed: &Bed, tables: &Tables) -> Vec<(String, String)> {
        let mut conf = tables.conf(bed);
        let mut set = |key: &str, value: &str| conf.push((key.to_owned(), value.to_owned()));
        set("tsd.storage.enable_compaction", if self.compaction { "true" } else { "false" });
        if self.appends {
            set("tsd.storage.enable_appends", "true");
        }
        if self.salted {
            set("tsd.storage.salt.width", "1");
            set("tsd.storage.salt.buckets", "8");
        }
        if self.full {
            set("tsd.core.meta.enable_realtime_ts", "true");
            set("tsd.core.meta.enable_realtime_uid", "true");
            set("tsd.core.meta.enable_tsuid_incrementing", "true");
            set("tsd.core.meta.enable_tsuid_tracking", "true");
            set("tsd.core.tree.enable_processing", "true");
            set("tsd.core.tag.allow_specialchars", "äöüµÄ ");
            set("tsd.core.histograms.config", r#"{"net.opentsdb.core.SimpleHistogramDecoder": 42}"#);
        }
        conf
    }

    /// Writes everything and returns, when all of it is in HBase, the number of points that were sent.
    ///
    /// # Panics
    /// When the TSD refuses something or a point does not show up.
    pub fn load(&self, bed: &Bed, tables: &Tables, tsd: &Tsd<'_>) -> usize {
        if self.full {
            // Trees take in the series that come after them.
            self.plant_trees(tsd);
        }
        let points = self.points();
        for batch in points.chunks(BATCH) {
            accepted(&tsd.post("/api/put?details", &Value::Array(batch.to_vec())));
        }
        self.await_points(tsd, &points);
        if self.full {
            await_quiet(bed, tables);
            self.describe(tsd);
            self.summarise(tsd);
            self.await_summaries(bed, tables, tsd);
        }
        await_quiet(bed, tables);
        points.len()
    }

    fn name(&self, metric: &str) -> String {
        format!("{}.{metric}", self.prefix)
    }

    fn point(&self, metric: &str, timestamp: i64, value: impl Into<Value>, tags: &[(&str, &str)]) -> Value {
        let tags: BTreeMap<_, _> = tags.iter().copied().collect();
        json!({"metric": self.name(metric), "timestamp": timestamp, "value": value.into(), "tags": tags})
    }

    /// The points, without anything else; the same at every call but for the ones at the present.
    pub fn points(&self) -> Vec<Value> {
        let mut points = Vec::new();
        self.widths(&mut points);
        self.mixtures(&mut points);
        self.oddities(&mut points);
        points
    }

    fn widths(&self, points: &mut Vec<Value>) {
        let tags = [("host", "web01"), ("dc", "lga")];
        for (i, value) in (0..).zip(INTEGERS) {
            points.push(self.point("int", BASE + i * 7, value, &tags));
            points.push(self.point("int.ms", (BASE + 3600) * 1000 + i * 13 + 1, value, &tags));
        }
        let doubles = DOUBLES.iter().filter(|_| self.doubles);
        for (i, value) in (0..).zip(FLOATS.iter().chain(doubles)) {
            points.push(self.point("float", BASE + i * 11, *value, &[("host", "web01")]));
            points.push(self.point("float.ms", (BASE + 60) * 1000 + i * 501, *value, &[("host", "web01")]));
        }
    }

    /// Seconds and milliseconds, integers and floats in the same rows, and a row with a point in each second.
    fn mixtures(&self, points: &mut Vec<Value>) {
        let mut noise = Noise(7);
        for i in 0..300 {
            let host = format!("h{}", i % 3);
            let tags = [("host", host.as_str()), ("dc", "a")];
            let second = BASE + i * 24;
            points.push(self.point("all", second, noise.below(2_000_000) - 1_000_000, &tags));
            let quarters = noise.below(4_000_000);
            let value = if self.doubles { quarters as f64 / 4000.0 } else { quarters as f64 / 4.0 };
            points.push(self.point("all", second * 1000 + 1 + noise.below(999), format!("{value:.9}"), &tags));
        }
        points.extend((0..3600).map(|i| self.point("dense", BASE + i, i, &[("host", "d")])));
    }

    fn oddities(&self, points: &mut Vec<Value>) {
        for end in ["one", "two"] {
            let tags: Vec<(String, String)> = (0..8).map(|i| (format!("k{i}"), format!("v{i}{end}"))).collect();
            let tags: Vec<(&str, &str)> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            points.push(self.point("tags", BASE + 5, 1, &tags));
        }
        // The first byte of these qualifiers is that of an annotation, an append column or a histogram.
        for i in [16, 17, 80, 81, 95, 96, 111] {
            points.push(self.point("trap", BASE + 7200 + i, i, &[("host", "t")]));
        }
        let tags = [("host", "x")];
        points.push(self.point("last", BASE + 3599, 1, &tags));
        points.push(self.point("last", (BASE + 3599) * 1000 + 999, 2, &tags));
        points.push(self.point("dup", BASE + 1, 1, &tags));
        points.push(self.point("dup", BASE + 1, "2.5", &tags));
        points.push(self.point("dup", (BASE + 1) * 1000, 3, &tags));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        points.extend((0..20).map(|i| self.point("now", now - i, i, &[("host", "fresh")])));
        if self.full {
            points.push(self.point("ümläut.µ", BASE + 3, 3, &[("host", "Äpfel")]));
            points.push(self.point("space", BASE + 4, 4, &[("host", "a b")]));
        }
    }

    /// Tree 1 puts series of one metric on one leaf (collisions); tree 2 is strict and leaves series without a host out.
    fn plant_trees(&self, tsd: &Tsd<'_>) {
        for (id, name, strict) in [(1, "by metric", false), (2, "by host", true)] {
            let tree =
                json!({"name": name, "description": "of the workload", "strictMatch": strict, "storeFailures": true});
            tsd.post("/api/tree", &tree).ok();
            let rule = json!({"treeId": id, "level": 0, "order": 0, "type": "METRIC", "separator": "\\."});
            tsd.post("/api/tree/rule", &rule).ok();
            if strict {
                let rule = json!({"treeId": id, "level": 1, "order": 0, "type": "TAGK", "field": "host"});
                tsd.post("/api/tree/rule", &rule).ok();
            }
            tsd.post("/api/tree", &json!({"treeId": id, "enabled": true})).ok();
        }
    }

    /// A put without `sync` returns before the point is stored, and one with it takes a second: the points are looked for.
    fn await_points(&self, tsd: &Tsd<'_>, points: &[Value]) {
        let mut expected: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for point in points {
            let time = point["timestamp"].as_i64().unwrap();
            let millis = if time > 1 << 40 { time } else { time * 1000 };
            let key = format!("{} {millis}", point["tags"]);
            expected.entry(point["metric"].as_str().unwrap()).or_default().insert(key);
        }
        for (metric, times) in expected {
            eventually(&format!("{} points of {metric}", times.len()), || count(tsd, metric) == times.len());
        }
    }

    /// Rollups and histograms return before they are stored, as points do.
    fn await_summaries(&self, bed: &Bed, tables: &Tables, tsd: &Tsd<'_>) {
        for (table, cells) in [("tsdb-rollup-1h", 96), ("tsdb-rollup-preagg-1h", 2), ("tsdb-preagg", 1)] {
            let table = format!("{}{table}", tables.prefix);
            eventually(&format!("{cells} cells in {table}"), || {
                bed.must(&format!("count {table}"))[0].contains(&format!(" cells {cells} "))
            });
        }
        let query = json!({"start": BASE - 1, "end": BASE + 3600, "queries":
            [{"aggregator": "sum", "metric": self.name("histo"), "percentiles": [50.0]}]});
        eventually("5 histograms", || {
            tsd.post("/api/query", &query).json()[0]["dps"].as_object().is_some_and(|dps| dps.len() == 5)
        });
    }

    /// The TSUID of the first series of a metric.
    pub fn tsuid(&self, tsd: &Tsd<'_>, metric: &str) -> String {
        let found = tsd.get(&format!("/api/search/lookup?m={}&use_meta=false", self.name(metric))).ok().json();
        found["results"][0]["tsuid"].as_str().unwrap().to_owned()
    }

    /// Annotations, meta data, UIDs without data and a UID with a new name.
    fn describe(&self, tsd: &Tsd<'_>) {
        let tsuid = self.tsuid(tsd, "int");
        for note in [
            json!({"startTime": BASE + 10, "endTime": BASE + 20, "tsuid": tsuid, "description": "of a series, ü",
                   "notes": "n", "custom": {"b": "1", "a": "2"}}),
            json!({"startTime": BASE * 1000 + 12_345, "tsuid": tsuid, "description": "at a millisecond"}),
            json!({"startTime": BASE + 30, "description": "global"}),
        ] {
            tsd.post("/api/annotation", &note).ok();
        }
        let meta = json!({"uid": &tsuid[..6], "type": "metric", "displayName": "Integers", "custom": {"owner": "me"}});
        eventually("UIDMeta", || tsd.post("/api/uid/uidmeta", &meta).status < 300);
        let meta = json!({"tsuid": tsuid, "displayName": "A series", "units": "x", "retention": 3});
        eventually("TSMeta", || tsd.post("/api/uid/tsmeta?create=true", &meta).status < 300);
        let assigned = self.name("assigned");
        tsd.get(&format!("/api/uid/assign?metric={assigned}&tagk={0}.only&tagv={0}.only", self.prefix)).ok();
        tsd.post("/api/uid/rename", &json!({"metric": assigned, "name": self.name("renamed")})).ok();
    }

    /// Histograms, rollups and pre-aggregates.
    fn summarise(&self, tsd: &Tsd<'_>) {
        let histograms: Vec<Value> = (0..5)
            .map(|i| {
                json!({"metric": self.name("histo"), "timestamp": BASE + i * 60, "overflow": 1, "underflow": 2,
                       "buckets": {"0,1.75": 12 + i, "1.75,3.5": 16}, "tags": {"host": "web01"}})
            })
            .collect();
        accepted(&tsd.post("/api/histogram?details", &Value::Array(histograms)));
        let rollup = |time: i64, value: Value, more: Value| {
            let mut point = self.point("rollup", time, value, &[("host", "r")]);
            point.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            point
        };
        let mut rollups = Vec::new();
        for (aggregator, value) in [("sum", json!(100)), ("count", json!(7)), ("min", json!(-2)), ("max", json!(55.5))]
        {
            let interval = json!({"interval": "1h", "aggregator": aggregator});
            rollups.extend((0..24).map(|hour| rollup(BASE + hour * 3600, value.clone(), interval.clone())));
        }
        for aggregator in ["sum", "count"] {
            let group = json!({"interval": "1h", "aggregator": aggregator, "groupByAggregator": "sum"});
            rollups.push(rollup(BASE, json!(9), group));
        }
        rollups.push(rollup(BASE + 120, json!(9), json!({"groupByAggregator": "sum"})));
        rollups.push(rollup(BASE + 120, json!(9), json!({"interval": "1m", "aggregator": "count"})));
        accepted(&tsd.post("/api/rollup?details", &Value::Array(rollups)));
    }
}

/// Reproducible numbers without a crate (Knuth's MMIX generator, upper half).
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: u32) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 32) % u64::from(limit)) as i64
    }
}

/// A put answers 200 with `failed`, or 400 with the reasons.
fn accepted(reply: &Reply) {
    assert!(reply.status < 300, "HTTP {}: {}", reply.status, reply.body);
    if !reply.body.is_empty() {
        assert_eq!(reply.json()["failed"], 0, "{}", reply.body);
    }
}

/// Most of what a TSD accepts it does in the background.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "no {what} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Number of points that a query of the whole metric shows, each series for itself.
fn count(tsd: &Tsd<'_>, metric: &str) -> usize {
    let query = json!({"start": 1, "end": 4_102_444_800_i64, "msResolution": true,
                       "queries": [{"aggregator": "none", "metric": metric}]});
    let reply = tsd.post("/api/query", &query);
    if reply.status != 200 {
        // The metric has no UID yet.
        return 0;
    }
    reply.json().as_array().unwrap().iter().map(|series| series["dps"].as_object().unwrap().len()).sum()
}

/// Returns when the tables stopped changing for a second.
pub fn await_quiet(bed: &Bed, tables: &Tables) {
    let mut before = Vec::new();
    let mut quiet = 0;
    eventually("quiet tables", || {
        let now: Vec<_> = tables.names().iter().flat_map(|table| bed.must(&format!("count {table}"))).collect();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        std::thread::sleep(Duration::from_millis(200));
        quiet == 4
    });
}

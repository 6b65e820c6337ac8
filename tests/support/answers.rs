//! All that a TSD says about its tables, in a form that can be compared with what another one says.

use serde_json::{Value, json};

use super::http::Reply;
use super::tsd::Tsd;
use super::workload::BASE;

/// Any point of the workload lies before it: 2100-01-01.
const END: i64 = 4_102_444_800;

/// Asks everything: each series as it is stored, annotations, lookups, meta data, trees, names, rollups, pre-aggregates,
/// histograms and last points. Pairs of question and answer, sorted; answers are JSON with sorted keys and lists, or
/// the status alone when the TSD refuses.
pub fn all(tsd: &Tsd<'_>) -> Vec<(String, String)> {
    let mut answers = Answers { tsd, list: Vec::new() };
    answers.names();
    answers.series();
    answers.global();
    for tree in 1..=2 {
        answers.tree(tree);
    }
    answers.list.sort();
    answers.list
}

struct Answers<'a> {
    tsd: &'a Tsd<'a>,
    list: Vec<(String, String)>,
}

impl Answers<'_> {
    fn get(&mut self, path: &str) -> Value {
        let reply = self.tsd.get(path);
        self.note(path.to_owned(), &reply)
    }

    fn query(&mut self, label: &str, query: Value) {
        self.query_in(label, (1, END), query);
    }

    fn query_in(&mut self, label: &str, (start, end): (i64, i64), query: Value) {
        let body = json!({"start": start, "end": end, "msResolution": true, "showTSUIDs": true,
                          "globalAnnotations": true, "queries": [query]});
        let reply = self.tsd.post("/api/query", &body);
        self.note(format!("query {label}"), &reply);
    }

    fn note(&mut self, label: String, reply: &Reply) -> Value {
        let (text, value) = if reply.status >= 300 {
            (format!("HTTP {}", reply.status), Value::Null)
        } else if reply.body.is_empty() {
            (String::new(), Value::Null)
        } else {
            let mut value = reply.json();
            sort(&mut value);
            (value.to_string(), value)
        };
        self.list.push((label, text));
        value
    }

    fn names(&mut self) {
        for kind in ["metrics", "tagk", "tagv"] {
            self.get(&format!("/api/suggest?type={kind}&max=100000"));
        }
    }

    fn series(&mut self) {
        let metrics = self.tsd.get("/api/suggest?type=metrics&max=100000").ok().json();
        for metric in metrics.as_array().unwrap() {
            let metric = metric.as_str().unwrap();
            // A lookup in the data table, which needs no meta data; the time it took is in the answer.
            let reply =
                self.tsd.post("/api/search/lookup", &json!({"metric": metric, "limit": 100_000, "useMeta": false}));
            let mut found = if reply.status == 200 { reply.json() } else { Value::Null };
            let mut series = found["results"].take();
            sort(&mut series);
            if let Value::Array(list) = &mut series {
                // The TSD names a series once per row.
                list.dedup();
            }
            self.list.push((format!("lookup {metric}"), series.to_string()));
            for one in series.as_array().into_iter().flatten() {
                self.one_series(one["tsuid"].as_str().unwrap());
            }
            self.summaries(metric);
        }
    }

    fn one_series(&mut self, tsuid: &str) {
        self.query(&format!("series {tsuid}"), json!({"aggregator": "none", "tsuids": [tsuid]}));
        self.get(&format!("/api/uid/tsmeta?tsuid={tsuid}"));
        self.get(&format!("/api/query/last?tsuids={tsuid}&resolve=true"));
        let uids: Vec<&str> = (0..tsuid.len() / 6).map(|i| &tsuid[i * 6..][..6]).collect();
        for (i, uid) in uids.iter().enumerate() {
            let kind = if i == 0 {
                "metric"
            } else if i % 2 == 1 {
                "tagk"
            } else {
                "tagv"
            };
            self.get(&format!("/api/uid/uidmeta?uid={uid}&type={kind}"));
        }
    }

    /// Only a metric that has rollups or histograms answers these with more than an empty list. Over a long time the TSD
    /// finds no rollups, so these are asked for around the days that have some.
    fn summaries(&mut self, metric: &str) {
        let days = (BASE - 86_400, BASE + 3 * 86_400);
        for aggregator in ["sum", "count", "min", "max"] {
            let query = json!({"aggregator": aggregator, "metric": metric, "rollupUsage": "ROLLUP_NOFALLBACK",
                               "downsample": format!("1h-{aggregator}")});
            self.query_in(&format!("rollup {aggregator} {metric}"), days, query);
            let query = json!({"aggregator": "sum", "metric": metric, "preAggregate": true,
                               "downsample": format!("1h-{aggregator}")});
            self.query_in(&format!("pre-aggregate {aggregator} {metric}"), days, query);
        }
        if metric.ends_with("rollup") {
            // A TSD never answers a question for histograms that meets a rollup cell in the data table.
            return;
        }
        let histogram = json!({"aggregator": "sum", "metric": metric, "percentiles": [50.0, 95.0, 99.0]});
        self.query(&format!("percentiles {metric}"), histogram);
    }

    fn global(&mut self) {
        self.get(&format!("/api/annotations?start_time=1&end_time={END}&global=true"));
        self.get(&format!("/api/annotation?start_time={}", BASE + 30));
    }

    fn tree(&mut self, tree: u16) {
        self.get(&format!("/api/tree?treeid={tree}"));
        self.get(&format!("/api/tree/collisions?treeid={tree}"));
        self.get(&format!("/api/tree/notmatched?treeid={tree}"));
        let mut open = vec![format!("/api/tree/branch?treeid={tree}")];
        while let Some(path) = open.pop() {
            let branch = self.get(&path);
            for child in branch["branches"].as_array().into_iter().flatten() {
                open.push(format!("/api/tree/branch?branch={}", child["branchId"].as_str().unwrap()));
            }
        }
    }
}

/// Lists come in no particular order; objects are sorted by their type.
fn sort(value: &mut Value) {
    match value {
        Value::Array(list) => {
            list.iter_mut().for_each(sort);
            list.sort_by_cached_key(Value::to_string);
        }
        Value::Object(fields) => fields.values_mut().for_each(sort),
        _ => {}
    }
}

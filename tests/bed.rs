//! The test bed itself: what the other tests take for granted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod support;

use std::time::Instant;

use serde_json::json;
use support::bed::Bed;
use support::tsd::{Tables, Tsd};
use support::workload::{BASE, Workload};
use support::{answers, golden};

#[test]
fn regions_split_merge_and_move() {
    let bed = Bed::shared();
    let table = bed.unique("regions");
    bed.must(&format!("create {table} t - 40,80"));
    let starts = || -> Vec<String> {
        bed.must(&format!("regions {table}")).iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(starts(), ["-", "40", "80"]);
    bed.must(&format!("split {table} 60"));
    assert_eq!(starts(), ["-", "40", "60", "80"]);
    bed.must(&format!("merge {table} 1"));
    assert_eq!(starts(), ["-", "40", "80"]);
    bed.must(&format!("move {table} 2"));
    bed.must(&format!("flush {table}"));
    bed.must(&format!("major {table}"));
    assert_eq!(bed.must(&format!("count {table}")), ["rows 0 cells 0 bytes 0"]);
    bed.must(&format!("drop {table}"));
    assert!(bed.control(&format!("count {table}")).unwrap_err().contains("TableNotFoundException"));
}

#[test]
fn tables_have_attributes_and_namespaces() {
    let bed = Bed::shared();
    let namespace = bed.unique("space").replace('-', "_");
    bed.must(&format!("namespace create {namespace} owner=me"));
    assert_eq!(bed.must(&format!("namespace describe {namespace}")), ["owner me"]);
    let table = format!("{namespace}:t");
    bed.must(&format!("create {table} a,b TTL=60 - READONLY=true"));
    bed.must(&format!("alter {table} b TTL=70"));
    let lines = bed.must(&format!("describe {table}"));
    for line in ["- READONLY true", "a TTL 60", "b TTL 70"] {
        assert!(lines.iter().any(|found| found == line), "{line} is not in {lines:?}");
    }
    bed.must(&format!("drop {table}"));
    bed.must(&format!("namespace drop {namespace}"));
    assert!(!bed.must("namespace list").contains(&namespace));
}

#[test]
fn gateways_restart_and_die() {
    let bed = Bed::shared();
    let name = bed.unique("gateway");
    let inside = bed.listener(&format!("gateway start {name} 2 0 -f -c"));
    assert!(std::net::TcpStream::connect(&inside).is_ok());
    assert_eq!(bed.listener(&format!("gateway restart {name}")), inside);
    bed.must(&format!("gateway stop {name}"));
    assert!(std::net::TcpStream::connect(&inside).is_err());
    let outside = bed.listener(&format!("spawn {name} 2 0"));
    assert!(std::net::TcpStream::connect(&outside).is_ok());
    bed.must(&format!("kill {name}"));
    assert!(std::net::TcpStream::connect(&outside).is_err());
}

#[test]
fn a_tsd_stores_a_point() {
    let bed = Bed::shared();
    let tables = Tables::create(bed, false, &[]);
    let tsd = Tsd::start(bed, &tables.conf(bed));
    let point = json!({"metric": "m", "timestamp": BASE, "value": 7, "tags": {"host": "a"}});
    tsd.post("/api/put?sync&details", &point).ok();
    let found = tsd.get(&format!("/api/query?start={}&m=sum:m&arrays", BASE - 1)).ok().json();
    assert_eq!(found[0]["dps"], json!([[BASE, 7]]));
    tsd.stop();
    assert_eq!(bed.must(&format!("count {}", tables.data())), ["rows 1 cells 1 bytes 16"]);
}

#[test]
fn golden_cells_come_back_from_hbase() {
    let bed = Bed::shared();
    let set = "salted";
    let tables = golden::load(bed, set);
    let mut expected = golden::cells(set, "tsdb");
    let mut found = golden::dump(bed, &tables.data(), true);
    assert!(!expected.is_empty());
    expected.sort();
    found.sort();
    assert!(expected == found, "{} cells instead of {}", found.len(), expected.len());
}

/// Writes the workload, copies its tables cell for cell with HBase's own client and compares what the TSDs say.
fn copied_tables_answer_alike(work: &Workload, version: &str) {
    let bed = Bed::shared();
    let tables = work.tables(bed);
    let writer = Tsd::start_version(bed, version, &work.conf(bed, &tables));
    let begin = Instant::now();
    let points = work.load(bed, &tables, &writer);
    let loaded = begin.elapsed();
    writer.stop();
    let copy = work.tables(bed);
    for (from, to) in tables.names().iter().zip(copy.names()) {
        let file = bed.folder().join(format!("{from}.tsv.gz"));
        bed.must(&format!("dump {from} {}", file.display()));
        bed.must(&format!("load {to} {}", file.display()));
    }
    let hour = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 3600;
    let ask = |tables: &Tables| answers::all(&Tsd::start_version(bed, version, &work.conf(bed, tables)));
    // The last point of a series is looked for in the hour of the question.
    let (expected, found) = loop {
        let (begin, begun) = (Instant::now(), hour());
        let answers = (ask(&tables), ask(&copy));
        if hour() == begun {
            eprintln!(
                "{points} points and the rest in {loaded:?}, twice {} answers in {:?}",
                answers.0.len(),
                begin.elapsed()
            );
            break answers;
        }
    };
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.len(), found.len());
    let silent = |label: &str| expected.iter().filter(|(l, a)| l == label && a.len() > 2).count() == 0;
    if work.full {
        for label in
            ["rollup sum mix.rollup", "rollup max mix.rollup", "pre-aggregate sum mix.rollup", "percentiles mix.histo"]
        {
            assert!(!silent(&format!("query {label}")), "{label} has no answer");
        }
    }
}

#[test]
fn a_copy_of_everything_answers_alike() {
    copied_tables_answer_alike(&Workload::default(), "2.4.1");
}

#[test]
fn a_copy_of_appended_and_salted_points_answers_alike() {
    let work = Workload { full: false, appends: true, salted: true, ..Workload::default() };
    copied_tables_answer_alike(&work, "2.4.1");
}

#[test]
fn a_copy_of_what_an_older_tsd_compacted_answers_alike() {
    let work = Workload { full: false, doubles: false, compaction: true, ..Workload::default() };
    copied_tables_answer_alike(&work, "2.3.2");
}

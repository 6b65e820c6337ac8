//! The main job on a real HBase: back up what a real OpenTSDB wrote, restore it, and find not one cell different.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod support;

#[path = "roundtrip/part.rs"]
mod part;
#[path = "roundtrip/window.rs"]
mod window;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::Value;
use support::ark::Repository;
use support::bed::Bed;
use support::tsd::{Tables, Tsd};
use support::workload::Workload;
use support::{answers, golden};
use tsdb_ark::manifest::FileName;
use tsdb_ark::model::{FLAG_SUPERSEDED, OwnedCell};
use tsdb_ark::parquet_file::PointsReader;

/// Both sides as HBase's own client reads them.
fn assert_same_cells(bed: &Bed, from: &Tables, to: &Tables, raw: bool) {
    for (old, new) in from.names().iter().zip(to.names()) {
        let (mut before, mut after) = (golden::dump(bed, old, raw), golden::dump(bed, &new, raw));
        before.sort();
        after.sort();
        let missing: Vec<&OwnedCell> =
            before.iter().filter(|cell| after.binary_search(cell).is_err()).take(3).collect();
        let foreign: Vec<&OwnedCell> =
            after.iter().filter(|cell| before.binary_search(cell).is_err()).take(3).collect();
        assert!(
            before == after,
            "{old}: {} cells, {new}: {}; missing {missing:?}; foreign {foreign:?}",
            before.len(),
            after.len()
        );
    }
}

fn target_of(bed: &Bed, from: &Tables) -> Tables {
    Tables::named(&format!("{}.", bed.unique("r")), from.rollups)
}

/// The set's configuration, with the rollup tables that the test has made.
fn golden_conf(bed: &Bed, set: &str, tables: &Tables) -> Vec<String> {
    let mut text = std::fs::read_to_string(golden::folder(set).join("opentsdb.conf")).unwrap();
    if tables.rollups {
        let rollups = tables.rollup_config(bed);
        text = text.replace("rollup.json", rollups.to_str().unwrap());
    }
    let file = bed.folder().join(format!("{}opentsdb.conf", tables.prefix));
    std::fs::write(&file, text).unwrap();
    vec!["--opentsdb-conf".to_string(), file.to_str().unwrap().to_owned()]
}

fn round_trip(set: &str, raw: bool) {
    let bed = Bed::shared();
    let source = golden::load(bed, set);
    let target = target_of(bed, &source);
    let repository = Repository::default();
    let conf = golden_conf(bed, set, &source);
    let mut more: Vec<&str> = conf.iter().map(String::as_str).collect();
    if raw {
        more.push("--raw");
    }
    let backup = repository.backup(bed, &source, &more).expect(0).json;
    assert_eq!(backup["tables"].as_array().unwrap().len(), source.names().len());
    for (table, name) in source.names().iter().map(|name| (table_of(&backup, name), name)) {
        let cells = golden::dump(bed, name, raw).len() as u64;
        assert_eq!(table["cells"].as_u64(), Some(cells), "cells of {name}");
    }
    let restored = repository.restore(bed, &source, &target, &[]).expect(0).json;
    assert_eq!(restored["differences"], 0);
    assert_same_cells(bed, &source, &target, raw);
    if !raw {
        assert_points(&repository, &source.data(), set);
    }
    for level in ["files", "cells"] {
        assert_eq!(repository.verify(level, &[]).expect(0).json["differences"], 0);
    }
    let gateway = bed.thrift2_address();
    let live = repository.verify("source", &["--gateway", &gateway]).expect(0).json;
    assert_eq!(live["differences"], 0);
}

fn table_of<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("no table {name} in {report}"))
}

/// The points of the backup against what the TSD itself answered for these cells.
fn assert_points(repository: &Repository, table: &str, set: &str) {
    let mut found = BTreeMap::new();
    // Pre-aggregates are points too, in tables of their own.
    let of_table = |path: &PathBuf| FileName::parse(path.to_str().unwrap()).unwrap().table == table;
    for path in repository.files_of("points").into_iter().filter(of_table) {
        let mut reader = PointsReader::open(Bytes::from(std::fs::read(path).unwrap())).unwrap();
        while let Some(batch) = reader.next_group().unwrap() {
            for segment in &batch.segments {
                let (mut int, mut float) = (segment.int_start, segment.float_start);
                for at in segment.start..segment.start + segment.len {
                    let value = if batch.flags[at] & 8 == 0 {
                        int += 1;
                        batch.ints[int - 1] as f64
                    } else {
                        float += 1;
                        batch.floats[float - 1]
                    };
                    if batch.flags[at] & FLAG_SUPERSEDED == 0 {
                        let tsuid: String = batch
                            .series
                            .get(segment.series as usize)
                            .unwrap()
                            .iter()
                            .map(|b| format!("{b:02X}"))
                            .collect();
                        let before = found.insert((tsuid, batch.timestamps[at]), value);
                        assert_eq!(before, None, "two points for one instant");
                    }
                }
            }
        }
    }
    let wanted = golden::points(set);
    assert!(wanted.len() > 1000, "the golden set {set} has no points");
    for point in &wanted {
        let value = found.remove(&(point.tsuid.to_uppercase(), point.timestamp));
        let wanted: f64 = point.value.parse().unwrap();
        // A TSD of 2.3 prints 4-byte floats with their own shortest digits.
        let same = value.is_some_and(|value| value == wanted || value as f32 == wanted as f32);
        assert!(same, "{set}: {point:?} is {value:?}");
    }
    let left: Vec<_> = found.iter().take(3).collect();
    assert!(found.is_empty(), "{set}: {} points that the TSD does not show: {left:?}", found.len());
}

#[test]
fn golden_cells_of_opentsdb_2_4_come_back() {
    round_trip("opentsdb-2.4.1", false);
}

#[test]
fn golden_cells_of_opentsdb_2_4_come_back_raw() {
    round_trip("opentsdb-2.4.1", true);
}

#[test]
fn golden_cells_of_opentsdb_2_3_come_back() {
    round_trip("opentsdb-2.3.2", false);
}

#[test]
fn golden_cells_of_opentsdb_2_3_come_back_raw() {
    round_trip("opentsdb-2.3.2", true);
}

#[test]
fn golden_append_cells_come_back() {
    round_trip("append", false);
    round_trip("append", true);
}

#[test]
fn golden_salted_cells_come_back() {
    round_trip("salted", false);
    round_trip("salted", true);
}

/// A TSD writes, its tables are backed up and restored, and a TSD on the restored tables says the same.
fn tsd_round_trip(work: &Workload) {
    let bed = Bed::shared();
    let source = work.tables(bed);
    let target = target_of(bed, &source);
    let conf = work.conf(bed, &source);
    let writer = Tsd::start(bed, &conf);
    work.load(bed, &source, &writer);
    let conf_file = writer.conf_file().to_str().unwrap().to_owned();
    writer.stop();

    let repository = Repository::default();
    repository.backup(bed, &source, &["--opentsdb-conf", &conf_file]).expect(0);
    repository.restore(bed, &source, &target, &[]).expect(0);
    assert_same_cells(bed, &source, &target, false);

    // A reader with compaction off leaves the cells as they are, so both TSDs see what the comparison saw.
    let first = answers::all(&Tsd::start(bed, &reader_conf(work, bed, &source)));
    let second = answers::all(&Tsd::start(bed, &reader_conf(work, bed, &target)));
    assert!(first.len() > 50, "only {} answers", first.len());
    for (before, after) in first.iter().zip(&second) {
        assert_eq!(before, after);
    }
    assert_eq!(first.len(), second.len());
}

fn reader_conf(work: &Workload, bed: &Bed, tables: &Tables) -> Vec<(String, String)> {
    Workload { compaction: false, ..work.clone() }.conf(bed, tables)
}

#[test]
fn a_tsd_on_restored_tables_says_the_same() {
    tsd_round_trip(&Workload::default());
}

#[test]
fn a_tsd_on_restored_compacted_and_salted_tables_says_the_same() {
    tsd_round_trip(&Workload { compaction: true, salted: true, full: false, ..Workload::default() });
}

#[test]
fn a_tsd_on_restored_append_tables_says_the_same() {
    tsd_round_trip(&Workload { appends: true, full: false, ..Workload::default() });
}

//! An analyst's programs on a real backup: every table is read, and sums per metric are those of the TSD's own answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use support::ark::Repository;
use support::bed::Bed;
use support::golden;

/// Runs `tests/readers/backup.py` in the environment of the readers.
fn read_with_others(folder: &std::path::Path) -> Value {
    let root = env!("CARGO_MANIFEST_DIR");
    let python = Command::new("sh").arg(format!("{root}/scripts/readers.sh")).output().unwrap();
    assert!(python.status.success(), "the readers cannot be installed: {}", String::from_utf8_lossy(&python.stderr));
    let python = String::from_utf8(python.stdout).unwrap();
    let python = std::path::Path::new(root).join(python.trim());
    let read = Command::new(python).arg(format!("{root}/tests/readers/backup.py")).arg(folder).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).unwrap()
}

fn assert_sums(set: &str, left_out: &[&str]) {
    let bed = Bed::shared();
    let source = golden::load(bed, set);
    let repository = Repository::default();
    let backup = repository.backup(bed, &source, &[]).expect(0).json;
    let folder = repository.path().join("backups").join(backup["backup"].as_str().unwrap());
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let mut rows: BTreeMap<String, u64> = BTreeMap::new();
    for table in manifest["tables"].as_array().unwrap() {
        for (kind, count) in table["rows_by_kind"].as_object().unwrap() {
            *rows.entry(kind.clone()).or_default() += count.as_u64().unwrap();
        }
    }
    let mut wanted: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    for point in golden::points(set) {
        let entry = wanted.entry(point.metric).or_default();
        entry.0 += 1;
        entry.1 += point.value.parse::<f64>().unwrap();
    }
    let seen = read_with_others(&folder);
    for reader in ["duckdb", "pyarrow", "polars"] {
        for (kind, count) in &rows {
            assert_eq!(seen[reader]["counts"][kind].as_u64(), Some(*count), "{reader} counts {kind}");
        }
        let mut found = seen[reader]["metrics"].as_object().unwrap().clone();
        left_out.iter().for_each(|metric| drop(found.remove(*metric)));
        assert_eq!(found.len(), wanted.len(), "{reader} sees other metrics in {set}");
        for (metric, (count, sum)) in &wanted {
            let row = &found[metric];
            assert_eq!(row[0].as_u64(), Some(*count), "{reader} counts {metric}");
            let (found, scale) = (row[1].as_f64().unwrap(), sum.abs().max(1.0));
            assert!((found - sum).abs() <= 1e-6 * scale, "{reader} sums {metric} to {found} instead of {sum}");
        }
    }
    assert_eq!(seen["duckdb"]["counts"]["catalogue/files"].as_u64(), Some(rows_of(&manifest, "files")));
}

fn rows_of(manifest: &Value, field: &str) -> u64 {
    manifest["tables"].as_array().unwrap().iter().map(|table| table[field].as_u64().unwrap()).sum()
}

#[test]
fn other_readers_see_what_the_tsd_says() {
    // The one pre-aggregated point of the set is no answer of a plain query.
    assert_sums("opentsdb-2.4.1", &["mix.rollup"]);
    assert_sums("salted", &[]);
    assert_sums("append", &[]);
}

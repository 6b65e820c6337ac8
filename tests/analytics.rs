//! An analyst's programs on a real backup: every table is read, and sums per metric are those of the TSD's own answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helper functions too"
)]

#[path = "analytics/export.rs"]
mod export;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::ark::{self, Repository};
use support::bed::Bed;
use support::faults::plan::{Fault, Plan};
use support::faults::thrift::ThriftProxy;
use support::golden;
use support::synthetic::{self, BASE, Dice, Synthetic};
use support::tsd::Tables;
use tsdb_ark::model::{OwnedCell, kind};

/// Runs a program of `tests/readers` in the environment of the readers; the last line that it prints.
fn read_with_others(program: &str, arguments: &[&Path]) -> Value {
    let root = env!("CARGO_MANIFEST_DIR");
    let python = Command::new("sh").arg(format!("{root}/scripts/readers.sh")).output().unwrap();
    assert!(python.status.success(), "the readers cannot be installed: {}", String::from_utf8_lossy(&python.stderr));
    let python = Path::new(root).join(String::from_utf8(python.stdout).unwrap().trim());
    let read = Command::new(python).arg(format!("{root}/tests/readers/{program}")).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&read.stderr));
    assert!(read.status.success(), "{out}\n{err}");
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

fn assert_sums(set: &str, left_out: &[&str]) {
    let bed = Bed::shared();
    let source = golden::load(bed, set);
    let repository = Repository::default();
    let backup = repository.backup(bed, &source, &[]).expect(0).json;
    let folder = repository.path().join("backups").join(backup["backup"].as_str().unwrap());
    let manifest = manifest_of(&folder);
    let rows = rows_by_kind(&manifest);
    let mut wanted: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    for point in golden::points(set) {
        let entry = wanted.entry(point.metric).or_default();
        entry.0 += 1;
        entry.1 += point.value.parse::<f64>().unwrap();
    }
    export::assert_golden(set, &repository, &source, left_out);
    let seen = read_with_others("backup.py", &[&folder]);
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

fn manifest_of(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap()
}

fn rows_by_kind(manifest: &Value) -> BTreeMap<String, u64> {
    let mut rows: BTreeMap<String, u64> = BTreeMap::new();
    for table in manifest["tables"].as_array().unwrap() {
        for (kind, count) in table["rows_by_kind"].as_object().unwrap() {
            *rows.entry(kind.clone()).or_default() += count.as_u64().unwrap();
        }
    }
    rows
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

const SCAN: &str = "getScannerResults";
const SMALL: Synthetic = Synthetic { metrics: 2, series: 3, hours: 4, points: 5, layout: PLAIN };
const PLAIN: tsdb_ark::model::KeyLayout =
    tsdb_ark::model::KeyLayout { metric_width: 3, tagk_width: 3, tagv_width: 3, salt_width: 0, salt_buckets: 20 };

/// Points, and behind them 28 MiB of cells under a key that no TSD writes: the first file of these is complete while the
/// shard is still being read.
fn points_and_large_cells(bed: &Bed) -> Tables {
    let tables = SMALL.load(bed, &[]);
    let mut dice = Dice(1);
    let cell = |number: u32| OwnedCell {
        row: format!("zz{number:03}").into_bytes(),
        family: b"t".to_vec(),
        qualifier: vec![0, 1],
        timestamp: i64::from(BASE) * 1000,
        kind: kind::PUT,
        value: std::iter::repeat_with(|| dice.next().to_le_bytes()).take(128 << 10).flatten().collect(),
    };
    synthetic::load(bed, &tables.data(), &(0..28).map(cell).collect::<Vec<_>>());
    tables
}

fn backup_through(gateway: &str, tables: &Tables, repository: &Repository, more: &[&str]) -> Vec<String> {
    let path = repository.path();
    let fixed =
        ["backup", "--repository", path.to_str().unwrap(), "--json", "--expect-raw-cells", "--gateway", gateway];
    let mut arguments: Vec<String> = fixed.map(str::to_owned).to_vec();
    arguments.extend(ark::table_flags(tables));
    arguments.extend(["--page-size", "256KiB", "--connections", "1"].iter().chain(more).map(|text| (*text).to_owned()));
    arguments
}

/// Kills a backup with SIGKILL as soon as its first file of raw cells is there.
fn kill_after_the_first_file(bed: &Bed, tables: &Tables, repository: &Repository) {
    let slow = Plan::calls(SCAN, 1..u64::MAX, Fault::Slow(Duration::from_millis(30)));
    let proxy = ThriftProxy::start(&bed.thrift2_address(), slow);
    let arguments = backup_through(&proxy.address(), tables, repository, &[]);
    let mut run = ark::command().args(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Files come and go meanwhile.
    let inside = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let first = |path: PathBuf| path.extension().is_some_and(|ending| ending == "parquet");
    while !inside(repository.path().join("backups")).any(|backup| inside(backup.join("cells")).any(first)) {
        assert!(run.try_wait().unwrap().is_none(), "the backup ended before its first file was seen");
        std::thread::sleep(Duration::from_millis(5));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!repository.files().iter().any(|file| file.contains("/shards/")), "a shard was done already");
}

/// The folder with what Spark needs to read Delta tables, where Spark is among the readers.
fn delta_spark() -> Option<PathBuf> {
    std::env::var_os("TSDB_ARK_SPARK").filter(|wanted| wanted == "delta")?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/classpath.sh");
    let run = Command::new("bash").args([script, "delta"]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(String::from_utf8(run.stdout).unwrap().trim().into())
}

/// All readers see what the manifest says.
fn assert_readers_agree(repository: &Repository, backup: &str) -> Value {
    let folder = repository.path().join("backups").join(backup);
    let shown = repository.run("show", &["--views"]).expect(0).json;
    let views = repository.path().join("../views.sql");
    std::fs::write(&views, shown["views"].as_str().unwrap()).unwrap();
    let mut arguments: Vec<PathBuf> = vec![folder.clone(), views];
    arguments.extend(delta_spark());
    let seen = read_with_others("delta.py", &arguments.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    let manifest = manifest_of(&folder);
    let mut rows = rows_by_kind(&manifest);
    rows.insert("catalogue/files".into(), rows_of(&manifest, "files"));
    rows.insert("catalogue/shards".into(), rows_of(&manifest, "shards"));
    rows.insert("catalogue/metrics".into(), 2);
    let points = u64::from(SMALL.metrics * SMALL.series * SMALL.hours * SMALL.points);
    let hours = 0..SMALL.hours;
    let of_series: u32 = hours.flat_map(|hour| (0..SMALL.points).map(move |point| hour * 7 + point)).sum();
    let sum = f64::from(SMALL.metrics * SMALL.series * of_series);
    let hosts: Vec<Value> = (1..=SMALL.metrics)
        .flat_map(|metric| (1..=SMALL.series).map(move |series| (metric, series)))
        .map(|(metric, series)| {
            let tags = format!("{{\"key1\":\"value{series}\"}}");
            json!([format!("metric.{metric}"), tags, SMALL.hours * SMALL.points])
        })
        .collect();
    let readers = seen.as_object().unwrap();
    assert_eq!(readers.len(), 6 + usize::from(delta_spark().is_some()), "{seen}");
    for (reader, found) in readers {
        assert_eq!(found["counts"], json!(rows), "{reader}");
        assert_eq!(found["points"], json!([points, sum, SMALL.metrics * SMALL.series]), "{reader}");
        assert_eq!(found["hosts"], json!(hosts), "{reader}");
    }
    seen
}

#[test]
fn readers_of_a_resumed_backup_see_committed_files_alone() {
    let bed = Bed::shared();
    let tables = points_and_large_cells(bed);
    let repository = Repository::default();
    kill_after_the_first_file(bed, &tables, &repository);
    let resume =
        |more: &[&str]| ark::run(&backup_through(&bed.thrift2_address(), &tables, &repository, more)).expect(0).json;
    let report = resume(&["--resume"]);
    let backup = report["backup"].as_str().unwrap();
    // What was said about the source when it was planned is said again.
    let strays = |report: &Value| {
        let all = report["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap().to_owned());
        all.filter(|warning| warning.contains("files of interrupted attempts lie in the backup's folder")).count()
    };
    assert_eq!(strays(&report), 0, "the committer leaves nothing behind");
    let verified = repository.verify("files", &[]).expect(0).json;
    assert_eq!(verified["warnings"], json!([]));
    let seen = assert_readers_agree(&repository, backup);
    assert_eq!(seen["show --views"]["tables"], json!([tables.data()]));

    // As killed right before the manifest, with the record of a shard lost: its files are strays of an earlier attempt, and
    // the Delta logs that were written name them. Nothing may be deleted, so a second version of the logs takes them away.
    let folder = repository.path().join("backups").join(backup);
    let of_data = |path: &PathBuf| {
        let record: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        record["table"] == tables.data().as_str()
    };
    let record = repository.files_of("shards").into_iter().find(of_data).unwrap();
    std::fs::remove_file(record).unwrap();
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    let report = resume(&["--resume", "--append-only"]);
    assert_eq!(strays(&report), 1, "{report}");
    assert!(folder.join("points/_delta_log/00000000000000000001.json").exists());
    assert!(repository.files_of("points").len() > 1 && repository.files_of("series").len() > 1);
    let verified = repository.verify("files", &[]).expect(0).json;
    assert!(verified["warnings"].to_string().contains("files in the backup's folder are not part of it"), "{verified}");
    assert_readers_agree(&repository, backup);

    // Without anything lost the same logs are written again.
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    let logs = |folder: &Path| std::fs::read_dir(folder.join("points/_delta_log")).unwrap().count();
    let report = resume(&["--resume"]);
    assert_eq!((logs(&folder), strays(&report)), (2, 0));
    assert_eq!(repository.files_of("points").len(), 1, "what --append-only left is removed now");
    assert_eq!(repository.verify("cells", &[]).expect(0).json["warnings"], json!([]));
    assert_readers_agree(&repository, backup);

    // A log that nobody can read is written anew, except where nothing may be deleted.
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    std::fs::write(folder.join("points/_delta_log/00000000000000000001.json"), "{").unwrap();
    let refused =
        ark::run(&backup_through(&bed.thrift2_address(), &tables, &repository, &["--resume", "--append-only"]))
            .expect(1);
    assert!(refused.err.contains("points/_delta_log") && refused.err.contains("resume without it"), "{}", refused.err);
    resume(&["--resume"]);
    assert_eq!(logs(&folder), 1);
    repository.verify("files", &[]).expect(0);
}

//! A backup by several processes that share nothing but the repository: planned by one, made by workers of which one is
//! killed and one does again what is done, committed by another.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};

use bytes::Bytes;
use serde_json::Value;
use tsdb_ark::model::OwnedCell;
use tsdb_ark::parquet_file::PointsReader;

use crate::assert_cover;
use crate::support::ark::{self, Repository, Run};
use crate::support::bed::Bed;
use crate::support::faults::plan::{Fault, Plan};
use crate::support::faults::thrift::ThriftProxy;
use crate::support::golden;
use crate::support::synthetic::{Synthetic, assert_tally, sealed, table_of, tally};
use crate::support::tsd::Tables;

const SCAN: &str = "getScannerResults";
const SOURCE: Synthetic = Synthetic {
    layout: tsdb_ark::model::KeyLayout {
        metric_width: 3,
        tagk_width: 3,
        tagv_width: 3,
        salt_width: 0,
        salt_buckets: 20,
    },
    metrics: 4,
    series: 60,
    hours: 50,
    points: 3,
};

/// A backup that was planned.
struct Planned<'a> {
    bed: &'a Bed,
    repository: &'a Repository,
    id: String,
    jobs: Vec<String>,
}

impl<'a> Planned<'a> {
    fn new(bed: &'a Bed, repository: &'a Repository, tables: &Tables) -> Self {
        let run = repository.backup(bed, tables, &["--plan-only", "--jobs", "6"]);
        // A backup of these tables expects nothing raw; a plan does not say.
        let report = run.expect(0).json;
        let all = report["tables"].as_array().unwrap().iter().flat_map(|table| table["jobs"].as_array().unwrap());
        let jobs = all.map(|job| job["job"].as_str().unwrap().to_owned()).collect();
        Self { bed, repository, id: report["backup"].as_str().unwrap().to_owned(), jobs }
    }

    fn words(&self, verb: &str, more: &[&str]) -> Vec<String> {
        let path = self.repository.path();
        let mut words = vec![verb, "--repository", path.to_str().unwrap(), "--backup", &self.id, "--json"];
        words.extend(more);
        words.into_iter().map(str::to_owned).collect()
    }

    /// A worker that is started, through this gateway, on these jobs; none: whatever is missing.
    fn start(&self, gateway: &str, jobs: &[&str]) -> Child {
        let mut words = self.words("worker", &["--gateway", gateway, "--page-size", "16KiB", "--connections", "2"]);
        words.extend(jobs.iter().flat_map(|job| ["--job".to_owned(), (*job).to_owned()]));
        ark::command().args(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn work(&self, jobs: &[&str]) -> Run {
        ark::finished(self.start(&self.bed.thrift2_address(), jobs).wait_with_output().unwrap())
    }

    fn commit(&self) -> Run {
        ark::run(&self.words("commit", &[]))
    }

    fn jobs_of(&self, table: &str) -> Vec<&str> {
        let of_table = |job: &&String| job.rsplit_once('/').unwrap().0 == table;
        self.jobs.iter().filter(of_table).map(String::as_str).collect()
    }
}

/// What HBase's own client sees of every table after a restore.
fn restored(bed: &Bed, repository: &Repository, tables: &Tables) -> Vec<Vec<OwnedCell>> {
    let target = Tables::named(&format!("{}.", bed.unique("w")), false);
    repository.restore(bed, tables, &target, &[]).expect(0);
    target.names().iter().map(|table| golden::dump(bed, table, false)).collect()
}

/// The files of each folder that its Delta log names, with the rows that it says they have.
fn delta_files(folder: &Path) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut kinds = BTreeMap::new();
    for kind in ["points", "uids", "meta", "tree", "series", "cells", "annotations"] {
        let Ok(log) = std::fs::read_dir(folder.join(kind).join("_delta_log")) else { continue };
        let mut versions: Vec<_> = log.map(|entry| entry.unwrap().path()).collect();
        versions.sort();
        let mut files: BTreeMap<String, u64> = BTreeMap::new();
        for version in versions {
            for line in std::fs::read_to_string(version).unwrap().lines() {
                let action: Value = serde_json::from_str(line).unwrap();
                if let Some(add) = action.get("add") {
                    let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
                    files.insert(add["path"].as_str().unwrap().to_owned(), stats["numRecords"].as_u64().unwrap());
                } else if let Some(remove) = action.get("remove") {
                    files.remove(remove["path"].as_str().unwrap());
                }
            }
        }
        kinds.insert(kind.to_owned(), files);
    }
    kinds
}

/// Every point that the Delta table of points leads to, by series and time.
fn points(folder: &Path) -> Vec<(Vec<u8>, i64)> {
    let mut found = Vec::new();
    for (file, rows) in &delta_files(folder)["points"] {
        let bytes = std::fs::read(folder.join("points").join(file)).unwrap();
        let mut reader = PointsReader::open(Bytes::from(bytes)).unwrap();
        let mut count = 0;
        while let Some(batch) = reader.next_group().unwrap() {
            for segment in &batch.segments {
                let times = &batch.timestamps[segment.start..segment.start + segment.len];
                found.extend(
                    times.iter().map(|time| (batch.series.get(segment.series as usize).unwrap().to_vec(), *time)),
                );
            }
            count += batch.timestamps.len() as u64;
        }
        assert_eq!(count, *rows, "{file}");
    }
    found.sort();
    found
}

/// The sums of rows by kind; a series has a row in every file that names it, so these depend on how a table was cut.
fn rows(folder: &Path) -> BTreeMap<String, u64> {
    let sums = delta_files(folder).into_iter().map(|(kind, files)| (kind, files.values().sum()));
    sums.filter(|(kind, _)| kind != "series").collect()
}

#[test]
fn several_workers_make_the_backup_of_one_process() {
    let bed = Bed::shared();
    let splits: Vec<String> = (0..4).map(|metric| hex_of(&SOURCE.key(metric, 0, 25)[..7])).collect();
    let tables = SOURCE.load(bed, &splits.iter().map(String::as_str).collect::<Vec<_>>());
    let (data, uid) = (tables.data(), tables.names()[1].clone());
    let alone = Repository::default();
    let whole = alone.backup(bed, &tables, &[]).expect(0).json;

    let repository = Repository::default();
    let planned = Planned::new(bed, &repository, &tables);
    let folder = repository.path().join("backups").join(&planned.id);
    assert!(folder.join("names.parquet").exists());
    let jobs = planned.jobs_of(&data);
    assert!(jobs.len() >= 5, "{jobs:?}");
    assert_refusals(&planned, &uid);

    // Three at once: one that waits for its gateway until it is killed, and two that do the other jobs of the data.
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::once(SCAN, 5, Fault::Hold));
    let (lost, others) = jobs.split_at(2);
    let mut killed = planned.start(&proxy.address(), lost);
    while proxy.calls(SCAN) < 5 {
        assert!(killed.try_wait().unwrap().is_none(), "the worker ended before it was killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let (first, second) = others.split_at(1);
    let workers = [first, second].map(|jobs| planned.start(&bed.thrift2_address(), jobs));
    // Who commits, or makes the backup alone, is kept out by any of them.
    let locked = planned.commit().expect(11);
    assert!(locked.err.contains("worker of") && locked.err.contains(&planned.id), "{}", locked.err);
    let resumed = repository.backup(bed, &tables, &["--resume"]).expect(11);
    assert!(resumed.err.contains("worker of"), "{}", resumed.err);
    for worker in workers {
        let report = ark::finished(worker.wait_with_output().unwrap()).expect(0).json;
        assert!(report["shards"].as_u64() > Some(0), "{report}");
    }
    killed.kill().unwrap();
    killed.wait().unwrap();

    // Its lock does not keep others out, and what it did not record is missing.
    let missing = planned.commit().expect(1);
    assert!(missing.err.contains(lost[0]) || missing.err.contains(lost[1]), "{}", missing.err);
    assert!(missing.err.contains(&uid) && missing.err.contains("worker --backup"), "{}", missing.err);
    assert!(!folder.join("manifest.json").exists());
    // Run again, and a job that is done as well.
    let again = planned.work(lost).expect(0).json;
    assert_eq!(again["jobs"].as_array().unwrap().len(), lost.len(), "{again}");
    planned.work(&first[..1]).expect(0);
    // The rest, the UIDs last.
    let rest = planned.work(&[]).expect(0).json;
    assert_eq!((&rest["missing"], &rest["left"]), (&Value::from(Vec::<Value>::new()), &Value::Null), "{rest}");
    assert!(rest["jobs"].to_string().contains(&uid), "{rest}");
    let nothing = planned.work(&[]).expect(0).json;
    assert_eq!((&nothing["shards"], &nothing["bytes_read"]), (&0.into(), &0.into()), "{nothing}");

    let report = planned.commit().expect(0).json;
    assert_eq!(report["backup"], planned.id.as_str());
    assert_tally(&report, &data, &tally(&SOURCE.data()));
    for table in tables.names() {
        let (ours, theirs) = (table_of(&report, &table), table_of(&whole, &table));
        for field in ["kind", "rows", "cells", "points", "bytes", "checksum", "raw_reasons", "gaps"] {
            assert_eq!(ours[field], theirs[field], "{field} of {table}");
        }
        // The second attempt at a job is gone.
        assert_cover(&repository, &table, ours["cells"].as_u64().unwrap());
    }
    assert_eq!(repository.verify("cells", &[]).expect(0).json["differences"], 0);
    assert_eq!(repository.verify("cells", &[]).expect(0).json["warnings"].as_array().unwrap().len(), 0);
    let gateway = bed.thrift2_address();
    assert_eq!(repository.verify("source", &["--gateway", &gateway]).expect(0).json["differences"], 0);

    let one = alone.path().join("backups").join(whole["backup"].as_str().unwrap());
    assert_eq!(rows(&folder), rows(&one));
    assert!(points(&folder) == points(&one), "the points of both backups differ");
    assert!(restored(bed, &repository, &tables) == restored(bed, &alone, &tables), "the restored cells differ");

    let done = planned.commit().expect(1);
    assert!(done.err.contains("already committed"), "{}", done.err);
    let done = planned.work(&[]).expect(1);
    assert!(done.err.contains("already committed"), "{}", done.err);
}

/// What cannot be done is refused, with a reason, before anything is read.
fn assert_refusals(planned: &Planned<'_>, uid: &str) {
    let gateway = planned.bed.thrift2_address();
    let unknown = planned.work(&["nothing/0"]).expect(2);
    assert!(
        unknown.err.contains("has no job nothing/0") && unknown.err.contains(&format!("{uid}/0")),
        "{}",
        unknown.err
    );
    let number = planned.work(&[&format!("{uid}/99")]).expect(2);
    assert!(number.err.contains("/99"), "{}", number.err);
    let early = planned.work(&[&format!("{uid}/0")]).expect(1);
    assert!(early.err.contains("comes last") && early.err.contains(planned.jobs[0].as_str()), "{}", early.err);
    let missing = planned.commit().expect(1);
    assert!(missing.err.contains(&planned.jobs[0]) && missing.err.contains("nothing is committed"), "{}", missing.err);
    let nowhere = Planned { id: "20250102T030405Z-1a2b3c4d".into(), jobs: Vec::new(), ..*planned };
    nowhere.commit().expect(2);
    let none = ark::run(&nowhere.words("worker", &["--gateway", &gateway])).expect(2);
    assert!(none.err.contains("has no backup"), "{}", none.err);
    // The plan of another cluster.
    let path = planned.repository.path().join("backups").join(&planned.id).join("plan.json");
    let text = std::fs::read(&path).unwrap();
    let mut plan: Value = serde_json::from_slice(&text).unwrap();
    plan["server"]["cluster_id"] = "another".into();
    std::fs::write(&path, sealed(&plan)).unwrap();
    let other = planned.work(&[]).expect(2);
    assert!(other.err.contains("of another source") && other.err.contains("cluster another"), "{}", other.err);
    std::fs::write(&path, text).unwrap();
    // A table that shows more than was planned.
    let data = planned.jobs[0].rsplit_once('/').unwrap().0;
    planned.bed.must(&format!("alter {data} t VERSIONS=3"));
    let altered = planned.work(&[&planned.jobs[0]]).expect(1);
    assert!(altered.err.contains("was altered") && altered.err.contains("VERSIONS=3"), "{}", altered.err);
    planned.bed.must(&format!("alter {data} t VERSIONS=1"));
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A record names 100 metrics; a file beside it has all of them, from which the catalogue is made.
#[test]
fn a_shard_of_many_metrics_keeps_them_all() {
    let bed = Bed::shared();
    // Few rows, so that they are one shard.
    let source = Synthetic { metrics: 130, series: 1, hours: 3, points: 2, ..Synthetic::default() };
    let tables = source.load(bed, &[]);
    let repository = Repository::default();
    let report = repository.backup(bed, &tables, &[]).expect(0).json;
    let folder = repository.path().join("backups").join(report["backup"].as_str().unwrap());
    let record = |path: std::path::PathBuf| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let records = || repository.files_of("shards").into_iter().filter(|path| path.extension().unwrap() == "json");
    let of_data = records().map(record).find(|record| record["table"] == tables.data().as_str()).unwrap();
    assert_eq!((of_data["metrics"].as_array().unwrap().len(), &of_data["metrics_left_out"]), (100, &30.into()));
    let ranges = &of_data["files"][0]["ranges"];
    assert_eq!((ranges["metrics"].as_array().unwrap().len(), &ranges["metrics_left_out"]), (100, &30.into()));
    assert!(repository.path().join(of_data["all_metrics"]["path"].as_str().unwrap()).exists());
    // The key range of a points file, which its columns do not show.
    let points = of_data["files"].as_array().unwrap().iter().find(|file| file["kind"] == "points").unwrap();
    let (first, last) = (hex_of(&source.key(0, 0, 0)), hex_of(&source.key(129, 0, 2)));
    assert_eq!((points["first_row"].as_str(), points["last_row"].as_str()), (Some(&*first), Some(&*last)));

    let metrics = || {
        let shown = repository.run("show", &[]).expect(0).json["metrics"].clone();
        let of = |row: &Value| (row["metric"].as_str().unwrap().to_owned(), row["points"].as_u64().unwrap());
        shown.as_array().unwrap().iter().map(of).collect::<BTreeMap<String, u64>>()
    };
    let wanted: BTreeMap<String, u64> = (1..=130).map(|metric| (format!("metric.{metric}"), 6)).collect();
    assert_eq!(metrics(), wanted);
    let verified = repository.verify("files", &[]).expect(0).json;
    assert_eq!((&verified["differences"], &verified["warnings"]), (&0.into(), &Value::from(Vec::<Value>::new())));
    // The same when it is committed again from what is there.
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    let again = repository.backup(bed, &tables, &["--resume"]).expect(0).json;
    assert_eq!(again["resumed"]["shards_read"], 0, "{again}");
    assert_eq!(metrics(), wanted);
    // Without the file the shard does not count, and is read again.
    std::fs::remove_file(folder.join("manifest.json")).unwrap();
    std::fs::remove_file(repository.path().join(of_data["all_metrics"]["path"].as_str().unwrap())).unwrap();
    let repaired = repository.backup(bed, &tables, &["--resume"]).expect(0).json;
    assert!(repaired["resumed"]["problems"].to_string().contains("-metrics.parquet is missing"), "{repaired}");
    assert_eq!((metrics(), &repaired["resumed"]["shards_read"]), (wanted, &2.into()), "the UIDs too: {repaired}");
}

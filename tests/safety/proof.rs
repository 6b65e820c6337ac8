//! What a restore claims about its target holds, whatever was there before and whatever happened on the way.

use serde_json::Value;
use tsdb_ark::model::{OwnedCell, kind};

use crate::support::ark::{Repository, Run};
use crate::support::bed::Bed;
use crate::support::faults::plan::{Fault, Plan};
use crate::support::faults::thrift::ThriftProxy;
use crate::support::golden;
use crate::support::synthetic::{Synthetic, load, table_of};
use crate::support::tsd::Tables;

const PUT: &str = "putMultiple";
/// A reply that says that all is done; the gateway saw nothing of it, as if the region server had lost it in a crash.
const DONE: Fault = Fault::Body(&[0]);

/// A table, sorted.
fn cells(bed: &Bed, table: &str, raw: bool) -> Vec<OwnedCell> {
    let mut cells = golden::dump(bed, table, raw);
    cells.sort();
    cells
}

fn copy() -> Tables {
    Tables::named(&format!("{}.", Bed::shared().unique("pf")), false)
}

fn arguments(gateway: &str, from: &Tables, to: &Tables, more: &[&str]) -> Vec<String> {
    let mut arguments = vec!["--gateway".to_string(), gateway.to_string()];
    for (old, new) in from.names().iter().zip(to.names()) {
        arguments.extend(["--rename-table".into(), format!("{old}={new}")]);
    }
    arguments.extend(more.iter().map(ToString::to_string));
    arguments
}

fn restore_through(proxy: &ThriftProxy, repository: &Repository, from: &Tables, to: &Tables, more: &[&str]) -> Run {
    let arguments = arguments(&proxy.address(), from, to, more);
    repository.run("restore", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn named(report: &Value, kind: &str) -> usize {
    report["cells_named"].as_array().unwrap().iter().filter(|cell| cell["difference"] == kind).count()
}

/// Cells of both sides, newer and other versions, and rows of others.
#[test]
fn what_a_target_held_before_is_told_from_what_it_lacks() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &["000002"]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let target = copy();
    target.create_in(bed, &["000001000000ff"]);
    let at = |metric, series, hour, point| small.cell(&small.key(metric, series, hour), hour, point);
    // A row of somebody else's, a column more in a row, and an older version, which the restored one hides.
    let later = |cell: OwnedCell, by| OwnedCell { timestamp: cell.timestamp + by, value: vec![7, 7], ..cell };
    let others =
        [at(7, 0, 0, 0), OwnedCell { qualifier: vec![0xd0, 0x01], ..at(0, 0, 0, 0) }, later(at(0, 1, 1, 1), -5)];
    load(bed, &target.data(), &others);
    let run = repository.restore(bed, &tables, &target, &["--into-existing"]).expect(0);
    let table = table_of(&run.json, &tables.data());
    assert_eq!((&table["target_agrees"], &table["also_there"]), (&true.into(), &2.into()), "{table}");
    let shown = cells(bed, &target.data(), false);
    assert!(cells(bed, &tables.data(), false).iter().all(|cell| shown.contains(cell)));
    assert_eq!(shown.len(), small.data().len() + 2);

    // A newer version hides the restored one: the family keeps one.
    let newer = [later(at(0, 2, 2, 2), 5), later(at(1, 0, 0, 0), 1)];
    load(bed, &target.data(), &newer);
    let run = repository.restore(bed, &tables, &target, &["--into-existing"]).expect(3);
    assert_eq!((&run.json["differences"], named(&run.json, "overwritten")), (&1.into(), 2), "{}", run.out);
    let table = table_of(&run.json, &tables.data());
    assert_eq!((&table["by_kind"]["overwritten"], &table["target_agrees"]), (&2.into(), &false.into()));
    assert_eq!(table["also_there"], 4, "the newer versions are somebody's cells");
    assert!(newer.iter().all(|cell| cells(bed, &target.data(), false).contains(cell)), "nothing of theirs was lost");
}

/// A batch that is acknowledged and lost is noticed, in a new table and in one that held rows, and sent again by whoever
/// goes on.
#[test]
fn what_is_acknowledged_and_lost_is_noticed() {
    let bed = Bed::shared();
    let small = Synthetic { series: 30, hours: 30, ..Synthetic::default() };
    let tables = small.load(bed, &[]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let wanted = cells(bed, &tables.data(), false);
    for held_rows in [false, true] {
        let target = copy();
        let mut also = 0;
        if held_rows {
            target.create_in(bed, &[]);
            let other = small.cell(&small.key(9, 0, 0), 0, 0);
            load(bed, &target.data(), &[other]);
            also = 1;
        }
        // The last batch is the data table's: UIDs go first.
        let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::once(PUT, 2, DONE));
        let more: &[&str] = if held_rows { &["--into-existing"] } else { &[] };
        let run = restore_through(&proxy, &repository, &tables, &target, more).expect(3);
        assert_eq!(proxy.total(), 1, "nothing was lost");
        let table = table_of(&run.json, &tables.data());
        let lost = wanted.len() - (cells(bed, &target.data(), false).len() - also);
        assert!(lost > 0);
        assert_eq!((&table["sent_agrees"], &table["target_agrees"]), (&true.into(), &false.into()));
        assert_eq!(table["by_kind"]["missing"].as_u64(), Some(lost as u64), "{table}");
        assert_eq!(named(&run.json, "missing"), lost.min(100));
        // The log says that everything was sent; what is proven counts.
        let run = repository.restore(bed, &tables, &target, &["--resume"]).expect(0);
        let table = table_of(&run.json, &tables.data());
        assert_eq!((&table["target_agrees"], &table["also_there"]), (&true.into(), &also.into()), "{table}");
        let shown = cells(bed, &target.data(), false);
        assert!(wanted.iter().all(|cell| shown.contains(cell)));
    }
}

/// HBase drops hidden cells at a flush, and markers at a major compaction. What readers see is proven all the same.
#[test]
fn a_raw_restore_is_proven_across_flushes_and_compactions() {
    let bed = Bed::shared();
    let small = Synthetic { series: 4, hours: 6, ..Synthetic::default() };
    let tables = small.load(bed, &["000002"]);
    let at = |metric, series, hour, point| small.cell(&small.key(metric, series, hour), hour, point);
    let history = [
        OwnedCell { timestamp: 5, value: vec![1, 1], ..at(0, 0, 0, 0) },
        OwnedCell { kind: kind::DELETE_COLUMN, value: vec![], ..at(0, 1, 1, 1) },
        OwnedCell {
            kind: kind::DELETE_FAMILY,
            value: vec![],
            qualifier: vec![],
            timestamp: i64::MAX - 9,
            ..at(1, 2, 3, 0)
        },
        OwnedCell { kind: kind::DELETE, value: vec![], ..at(1, 3, 5, 2) },
    ];
    load(bed, &tables.data(), &history);
    let repository = Repository::default();
    // HBase counts hidden versions against a limit: cells that readers see may fall behind it.
    let limited = Repository::default().backup(bed, &tables, &["--raw", "--max-versions", "1"]).expect(3);
    assert!(limited.json["not_held"].to_string().contains("some that readers see may be missing"), "{}", limited.out);
    repository.backup(bed, &tables, &["--raw"]).expect(0);
    let (shown, raw) = (cells(bed, &tables.data(), false), cells(bed, &tables.data(), true));
    assert_eq!(raw.len(), small.data().len() + history.len());

    // Undisturbed, every cell is there.
    let target = copy();
    let run = repository.restore(bed, &tables, &target, &[]).expect(0);
    assert_eq!(table_of(&run.json, &tables.data())["hidden_dropped"], 0);
    assert_eq!(cells(bed, &target.data(), true), raw);

    // A flush and a compaction while it writes, after the puts and before the markers.
    let target = copy();
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::once("deleteMultiple", 1, Fault::Hold));
    let run = std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(proxy.wait_for("deleteMultiple", 1), "no marker is sent");
            bed.must(&format!("flush {}", target.data()));
            bed.must(&format!("major {}", target.data()));
            proxy.release();
        });
        let run = restore_through(&proxy, &repository, &tables, &target, &[]);
        proxy.finish();
        run
    });
    let run = run.expect(0);
    let table = table_of(&run.json, &tables.data());
    assert_eq!((&table["target_agrees"], &table["hidden_dropped"]), (&true.into(), &1.into()), "{table}");
    assert!(run.json["warnings"].to_string().contains("has dropped 1 of the hidden cells"), "{}", run.out);
    assert_eq!(cells(bed, &target.data(), false), shown);

    // What an earlier run wrote was compacted since: nothing has come back, and a resume has nothing to send again.
    bed.must(&format!("flush {}", target.data()));
    bed.must(&format!("major {}", target.data()));
    let restore = run.json["restore"].as_str().unwrap();
    std::fs::remove_file(repository.path().join("restores").join(restore).join("finished.json")).unwrap();
    let run = repository.restore(bed, &tables, &target, &["--resume"]).expect(0);
    let table = table_of(&run.json, &tables.data());
    let hidden = (raw.len() - shown.len()) as u64;
    assert_eq!((&run.json["bytes_written"], table["hidden_dropped"].as_u64()), (&0.into(), Some(hidden)), "{table}");
    assert_eq!(cells(bed, &target.data(), false), shown);

    // A cell that the backup holds as deleted and that somebody wrote again is no part of it.
    load(bed, &target.data(), &[at(0, 1, 1, 1)]);
    std::fs::remove_file(repository.path().join("restores").join(restore).join("finished.json")).unwrap();
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::calls("deleteMultiple", 1..100, DONE));
    let run = restore_through(&proxy, &repository, &tables, &target, &["--resume"]).expect(3);
    assert!(named(&run.json, "reappeared") >= 1, "{}", run.out);
}

/// A file that is missing, or has another size, is found before anything is created; so is a name that nobody has.
#[test]
fn what_cannot_be_restored_or_compared_is_refused_beforehand() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let repository = Repository::default();
    let backup = repository.backup(bed, &tables, &[]).expect(0).json["backup"].as_str().unwrap().to_owned();
    let gateway = bed.thrift2_address();
    let run = repository.verify("source", &["--gateway", &gateway, "--rename-table", "tsbd=x"]).expect(2);
    assert!(run.err.contains("the backup has no table tsbd; it has: "), "{}", run.err);
    let target = copy();
    let dry = repository.restore(bed, &tables, &target, &["--dry-run"]).expect(0).json;
    let planned = dry["planned"].as_array().unwrap();
    assert_eq!(planned.len(), tables.names().len(), "{dry}");
    assert!(planned.iter().all(|table| table["create"] == true), "{dry}");
    let folder = repository.path().join("backups").join(&backup);
    let files = repository.files();
    let points = files.iter().find(|path| path.contains("/points/") && path.ends_with(".parquet")).unwrap();
    let whole = std::fs::read(repository.path().join(points)).unwrap();
    for damage in [None, Some(&whole[1..])] {
        match damage {
            None => std::fs::remove_file(repository.path().join(points)).unwrap(),
            Some(bytes) => std::fs::write(repository.path().join(points), bytes).unwrap(),
        }
        for more in [&["--dry-run"][..], &[]] {
            let run = repository.restore(bed, &tables, &target, more).expect(1);
            assert!(run.err.contains("nothing was written") && !run.err.contains("--resume"), "{}", run.err);
        }
    }
    assert!(!bed.must("tables").contains(&target.data()), "nothing was created");
    // What is made for readers alone does not matter to a restore, and prune does not count it.
    std::fs::write(repository.path().join(points), &whole).unwrap();
    std::fs::remove_file(folder.join("views.sql")).unwrap();
    repository.run("prune", &["--keep-last", "1", "--dry-run"]).expect(0);
    repository.verify("files", &[]).expect(3);
    repository.restore(bed, &tables, &target, &[]).expect(0);
    // One damaged manifest hides no other backup.
    let other = repository.backup(bed, &tables, &[]).expect(0).json["backup"].as_str().unwrap().to_owned();
    std::fs::write(folder.join("manifest.json"), "garbage").unwrap();
    let listed = repository.run("list", &[]).expect(1).json;
    assert_eq!((&listed["backups"][0]["backup"], listed["damaged"].as_array().unwrap().len()), (&other.into(), 1));
}

/// A region server's crash can lose puts that were acknowledged before they were in the log.
#[test]
fn what_was_sent_without_the_log_is_sent_again_where_nothing_is_read_back() {
    let bed = Bed::shared();
    let tables = Synthetic::default().load(bed, &[]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let target = copy();
    let run = repository.restore(bed, &tables, &target, &[]).expect(0);
    let folder = repository.path().join("restores").join(run.json["restore"].as_str().unwrap());
    let resume = |skipped: bool| {
        std::fs::remove_file(folder.join("finished.json")).unwrap();
        let run = repository.restore(bed, &tables, &target, &["--resume", "--no-read-back"]).expect(0);
        let table = table_of(&run.json, &tables.data());
        assert_eq!(table["files_skipped"].as_u64().unwrap() > 0, skipped, "{table}");
        assert_eq!(run.json["bytes_written"].as_u64().unwrap() == 0, skipped, "{}", run.out);
    };
    resume(false);
    // The log was waited for then, and that is what counts from now on.
    resume(true);
}

/// A restore is resumed only in the cluster that it was started in.
#[test]
fn a_restore_does_not_go_on_in_another_cluster() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let target = copy();
    let run = repository.restore(bed, &tables, &target, &[]).expect(0);
    let restore = run.json["restore"].as_str().unwrap();
    std::fs::remove_file(repository.path().join("restores").join(restore).join("finished.json")).unwrap();
    // A string and the end of a struct, as the binary protocol has them.
    let other = Fault::Body(b"\x0b\x00\x00\x00\x00\x00\x05other\x00");
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::calls("getClusterId", 1..100, other));
    let run = restore_through(&proxy, &repository, &tables, &target, &["--resume"]).expect(2);
    assert!(run.err.contains("restores into cluster") && run.err.contains("this is cluster other"), "{}", run.err);
    assert_eq!(proxy.calls(PUT), 0);
    // Without an id nobody can tell: what was sent counts when it is read back, and only then.
    let silent = Fault::Body(b"\x0b\x00\x00\x00\x00\x00\x00\x00");
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::calls("getClusterId", 1..100, silent));
    let run = restore_through(&proxy, &repository, &tables, &target, &["--resume", "--no-read-back"]).expect(2);
    assert!(run.err.contains("--no-read-back"), "{}", run.err);
    let run = restore_through(&proxy, &repository, &tables, &target, &["--resume"]).expect(0);
    assert_eq!(run.json["differences"], 0);
}

/// Another installation, where the numbers stand for other names.
#[test]
fn data_alone_is_not_mixed_with_the_names_of_others() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let there = copy();
    there.create_in(bed, &[]);
    let uid_table = format!("{}tsdb-uid", there.prefix);
    let mut uids = Synthetic { metrics: 9, ..small.clone() }.uids();
    for cell in &mut uids {
        if cell.row == [0, 0, 2] && cell.qualifier == b"metrics" {
            cell.value = b"something.else".to_vec();
        }
        // In use nowhere.
        if cell.row == [0, 0, 9] && cell.qualifier == b"metrics" {
            cell.value = b"unused".to_vec();
        }
    }
    load(bed, &uid_table, &uids);
    load(bed, &there.data(), &[small.cell(&small.key(7, 0, 0), 0, 0)]);
    let before = cells(bed, &there.data(), true);
    let (gateway, data) = (bed.thrift2_address(), tables.data());
    let rename = format!("{data}={}", there.data());
    let alone = |more: &[&str]| {
        let words = ["--gateway", &gateway, "--table", &data, "--rename-table", &rename, "--into-existing"];
        repository.run("restore", &[&words[..], more].concat())
    };
    let conf = bed.folder().join(format!("{}opentsdb.conf", there.prefix));
    std::fs::write(&conf, format!("tsd.storage.hbase.uid_table = {uid_table}\n")).unwrap();
    let uid_rename = format!("{}tsdb-uid={uid_table}", tables.prefix);
    let ways: [&[&str]; 3] =
        [&["--uid-table", &uid_table], &["--opentsdb-conf", conf.to_str().unwrap()], &["--rename-table", &uid_rename]];
    for way in ways {
        let run = alone(way).expect(1);
        for text in [&*uid_table, "1 places", "something.else", "metric.2", "--uid-table"] {
            assert!(run.err.contains(text), "{way:?}: {text:?} is not in: {}", run.err);
        }
        assert_eq!(cells(bed, &there.data(), true), before);
    }
    // Nothing to compare with: said, not refused.
    let run = alone(&["--uid-table", "no-such-table", "--dry-run"]).expect(0);
    assert!(run.json["warnings"].to_string().contains("no UID table no-such-table"), "{}", run.out);
    // Names that are missing there.
    let few = copy();
    few.create_in(bed, &[]);
    let few_uids = format!("{}tsdb-uid", few.prefix);
    load(bed, &few_uids, &Synthetic { metrics: 1, ..small.clone() }.uids());
    let run = alone(&["--uid-table", &few_uids, "--dry-run"]).expect(0);
    let told = run.json["warnings"].to_string();
    assert!(told.contains("1 UIDs") && told.contains("metrics 000002") && told.contains(&few_uids), "{told}");
    // The same names: nothing to say.
    let same = format!("{}tsdb-uid", tables.prefix);
    let run = alone(&["--uid-table", &same]).expect(0);
    assert_eq!(run.json["warnings"], Value::Array(vec![]), "{}", run.out);
    assert_eq!(table_of(&run.json, &data)["also_there"], 1);
}

/// Data go into a live table while the names go somewhere else: the names that a TSD there uses are those that count.
#[test]
fn data_in_live_tables_need_the_names_of_the_live_uid_table() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let uids = format!("{}tsdb-uid", tables.prefix);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    // Since the backup the UID was given to another name.
    let renamed = |cell: &OwnedCell| {
        let other = cell.row == [0, 0, 2] && cell.family == b"name" && cell.qualifier == b"metrics";
        other.then(|| OwnedCell { timestamp: cell.timestamp + 1, value: b"something.else".to_vec(), ..cell.clone() })
    };
    load(bed, &uids, &small.uids().iter().filter_map(renamed).collect::<Vec<_>>());
    let before = cells(bed, &tables.data(), true);
    let (gateway, old) = (bed.thrift2_address(), format!("{}old-uid", tables.prefix));
    let rename = format!("{uids}={old}");
    let restore = |more: &[&str]| {
        let words = ["--gateway", &gateway, "--rename-table", &rename, "--into-existing"];
        repository.run("restore", &[&words[..], more].concat())
    };
    let refused = |more: &[&str], table: &str| {
        let run = restore(more).expect(1);
        for text in [table, "in 1 places", "something.else", "metric.2", "--uid-table"] {
            assert!(run.err.contains(text), "{more:?}: {text:?} is not in: {}", run.err);
        }
        assert_eq!(cells(bed, &tables.data(), true), before);
    };
    refused(&[], &uids);
    refused(&["--dry-run"], &uids);
    refused(&["--uid-table", &uids], &uids);
    // One that holds the names of the backup already is right for itself, and no TSD reads these data with it.
    bed.must(&format!("create {old} id,name"));
    refused(&[], &uids);
    load(bed, &old, &small.uids());
    refused(&[], &uids);
    // There is none: said, not refused.
    let run = restore(&["--uid-table", "no-such-table", "--dry-run"]).expect(0);
    assert!(run.json["warnings"].to_string().contains("no UID table no-such-table"), "{}", run.out);
    // The installation is said to use the names of the backup.
    let run = restore(&["--uid-table", &old]).expect(0);
    assert!(!run.json["warnings"].to_string().contains("UID"), "{}", run.out);
}

/// Rows that decode to no series have UIDs all the same.
#[test]
fn the_uids_of_raw_rows_are_compared_too() {
    let bed = Bed::shared();
    let small = Synthetic { metrics: 9, ..Synthetic::default() };
    let tables = Tables::create(bed, false, &[]);
    let data = tables.data();
    let mut rows = Synthetic { metrics: 2, ..small.clone() }.data();
    // No point at all, and the only row of its metric.
    rows.push(OwnedCell { value: Vec::new(), ..small.cell(&small.key(8, 0, 0), 0, 0) });
    load(bed, &data, &rows);
    let uids = format!("{}tsdb-uid", tables.prefix);
    load(bed, &uids, &small.uids());
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let there = copy();
    there.create_in(bed, &[]);
    let mut others = small.uids();
    for cell in &mut others {
        if cell.qualifier == b"metrics" && (cell.row == [0, 0, 8] || cell.row == [0, 0, 9]) {
            cell.value = b"something.else".to_vec();
        }
    }
    let other_uids = format!("{}tsdb-uid", there.prefix);
    load(bed, &other_uids, &others);
    let (gateway, rename) = (bed.thrift2_address(), format!("{data}={}", there.data()));
    let words = ["--gateway", &gateway, "--table", &data, "--rename-table", &rename, "--uid-table", &other_uids];
    let run = repository.run("restore", &words).expect(1);
    // The UID that no row uses is no conflict.
    for text in ["in 1 places", "metrics 000009 is something.else there, metric.9 in the backup"] {
        assert!(run.err.contains(text), "{text:?} is not in: {}", run.err);
    }
}

/// Raw restores into tables that keep fewer versions, or more: readers see something else, whatever a raw scan shows.
#[test]
fn a_raw_restore_is_judged_by_what_readers_of_the_target_see() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = copy();
    let create = |tables: &Tables, versions: u32| {
        for (name, families) in [("tsdb", "t"), ("tsdb-uid", "id,name"), ("tsdb-meta", "name"), ("tsdb-tree", "t")] {
            let versions = if name == "tsdb" { versions } else { 1 };
            bed.must(&format!("create {}{name} {families} VERSIONS={versions}", tables.prefix));
        }
    };
    create(&tables, 3);
    let cell = small.cell(&small.key(0, 0, 0), 0, 0);
    let version = |timestamp| OwnedCell { timestamp, value: vec![1, timestamp as u8], ..cell.clone() };
    load(bed, &tables.data(), &[version(1), version(2), version(3), version(4)]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &["--raw"]).expect(0);
    assert_eq!(cells(bed, &tables.data(), false).len(), 3);
    for (versions, kind, count) in [(1, "overwritten", 2), (5, "reappeared", 1)] {
        let target = copy();
        create(&target, versions);
        let run = repository.restore(bed, &tables, &target, &[]).expect(3);
        let table = table_of(&run.json, &tables.data());
        assert_eq!((&table["target_agrees"], &table["by_kind"][kind]), (&false.into(), &count.into()), "{table}");
        assert_eq!(named(&run.json, kind), count);
    }
    let target = copy();
    create(&target, 3);
    let run = repository.restore(bed, &tables, &target, &[]).expect(0);
    assert_eq!(table_of(&run.json, &tables.data())["target_agrees"], true);
    assert_eq!(cells(bed, &target.data(), false), cells(bed, &tables.data(), false));
}

//! A restore that would destroy something, or could not succeed, refuses before it writes the first cell.

use tsdb_ark::model::{OwnedCell, kind};

use crate::support::ark::{self, Repository, Run};
use crate::support::bed::Bed;
use crate::support::golden;
use crate::support::synthetic::{self, Synthetic, load, table_of};
use crate::support::tsd::Tables;

/// A small OpenTSDB, backed up.
fn backed_up(bed: &Bed) -> (Synthetic, Tables, Repository) {
    let small = Synthetic::default();
    let tables = small.load(bed, &["000002"]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    (small, tables, repository)
}

fn target(bed: &Bed) -> Tables {
    Tables::named(&format!("{}.", bed.unique("rf")), false)
}

fn uid_table(tables: &Tables) -> String {
    format!("{}tsdb-uid", tables.prefix)
}

fn exists(bed: &Bed, table: &str) -> bool {
    bed.must("tables").iter().any(|name| name == table)
}

/// Every cell of a table, through HBase's own client.
fn cells(bed: &Bed, table: &str) -> Vec<OwnedCell> {
    let mut cells = golden::dump(bed, table, true);
    cells.sort();
    cells
}

fn warnings(run: &Run) -> String {
    run.json["warnings"].to_string()
}

/// Asserts that a run failed, said all of this, and left the tables of the target as they were.
#[track_caller]
fn assert_refused(run: Run, code: i32, texts: &[&str]) {
    let run = run.expect(code);
    for text in texts {
        assert!(run.err.contains(text), "{text:?} is not in: {}", run.err);
    }
}

#[test]
fn tables_with_rows_are_refused_and_not_touched() {
    let bed = Bed::shared();
    let (_, tables, repository) = backed_up(bed);
    let target = target(bed);
    let foreign = Synthetic { series: 2, ..Synthetic::default() };
    target.create_in(bed, &[]);
    load(bed, &target.data(), &foreign.data());
    let before = cells(bed, &target.data());
    let remedy = format!("--rename-table {}=NEW", tables.data());
    let run = repository.restore(bed, &tables, &target, &[]);
    assert_refused(run, 1, &[&target.data(), "holds rows", &remedy, "--into-existing"]);
    assert_eq!(cells(bed, &target.data()), before);
    // Not even the tables that were fit.
    assert_eq!(cells(bed, &uid_table(&target)), []);
    // A dry run says the same.
    assert_refused(repository.restore(bed, &tables, &target, &["--dry-run"]), 1, &[&target.data(), "--into-existing"]);
}

#[test]
fn a_dry_run_creates_nothing() {
    let bed = Bed::shared();
    let (_, tables, repository) = backed_up(bed);
    let target = target(bed);
    let run = repository.restore(bed, &tables, &target, &["--dry-run"]).expect(0);
    assert_eq!(run.json["dry_run"], true);
    assert!(target.names().iter().all(|name| !exists(bed, name)));
}

/// Cells of the backup and cells that were there before, side by side.
#[test]
fn into_existing_tables_with_agreeing_uids() {
    let bed = Bed::shared();
    let (small, tables, repository) = backed_up(bed);
    let target = target(bed);
    target.create_in(bed, &["000001000000ff"]);
    let more = Synthetic { metrics: 3, series: 5, hours: 6, ..small.clone() };
    load(bed, &target.data(), &more.data());
    load(bed, &uid_table(&target), &more.uids());
    let (before, uids) = (cells(bed, &target.data()), cells(bed, &uid_table(&target)));
    // A cell of the backup that the target lacks, and two that only the target has.
    let lost = small.cell(&small.key(0, 0, 0), 0, 0);
    load(bed, &target.data(), &[OwnedCell { kind: kind::DELETE_COLUMN, value: vec![], timestamp: 1, ..lost }]);
    // The counters of the backup are lower, and as new.
    let run = repository.restore(bed, &tables, &target, &["--into-existing"]).expect(3);
    assert_eq!(run.json["attention"].as_array().unwrap().len(), 2, "{}", run.out);
    assert_eq!(run.json["differences"], 0);
    assert!(!warnings(&run).contains("delete markers"), "one that covers nothing is no news: {}", run.out);
    let table = table_of(&run.json, &tables.data());
    let also = more.data().len() - small.data().len();
    assert_eq!((&table["target_agrees"], &table["also_there"]), (&true.into(), &also.into()));
    let mut visible = golden::dump(bed, &target.data(), false);
    visible.sort();
    assert_eq!(visible, before, "every cell of both is there");
    let counters = |cells: Vec<OwnedCell>| cells.into_iter().filter(|cell| cell.row != [0]).collect::<Vec<_>>();
    assert_eq!(counters(cells(bed, &uid_table(&target))), counters(uids));
}

/// Where the lower counter would win, the next names would get UIDs that are taken.
#[test]
fn uid_counters_that_go_back_are_warned_of() {
    let bed = Bed::shared();
    let (small, tables, repository) = backed_up(bed);
    let target = target(bed);
    target.create_in(bed, &[]);
    let more = Synthetic { metrics: 9, ..small };
    load(bed, &uid_table(&target), &more.uids());
    let run = repository.restore(bed, &tables, &target, &["--into-existing", "--dry-run"]).expect(3);
    let told = run.json["attention"].to_string();
    for text in ["counter of metrics UIDs", &uid_table(&target), "will be 2 although 9", "tsdb uid fsck fix"] {
        assert!(told.contains(text), "{text:?} is not in: {told}");
    }
    assert!(!told.contains("tagv"), "the counter of tag values is the same: {told}");
    // The counter of a live cluster is newer than the backup's and stays.
    let later = more.uids().into_iter().filter(|cell| cell.row == [0]);
    let later: Vec<OwnedCell> = later.map(|cell| OwnedCell { timestamp: cell.timestamp + 1, ..cell }).collect();
    load(bed, &uid_table(&target), &later);
    let run = repository.restore(bed, &tables, &target, &["--into-existing"]).expect(0);
    assert!(!run.out.contains("counter"), "{}", run.out);
    let after = golden::dump(bed, &uid_table(&target), false);
    let counter = after.iter().find(|cell| cell.row == [0] && cell.qualifier == b"metrics").unwrap();
    assert_eq!(counter.value, 9u64.to_be_bytes());
}

#[test]
fn uids_that_mean_something_else_are_refused_by_name() {
    let bed = Bed::shared();
    let (small, tables, repository) = backed_up(bed);
    let target = target(bed);
    target.create_in(bed, &[]);
    let mut uids = small.uids();
    // In the target, metric.2 has another UID, and its own is that of another name.
    let taken = synthetic::name("metrics", 2);
    for cell in &mut uids {
        if cell.row == taken.as_bytes() {
            cell.value = vec![0, 0, 9];
        }
        if cell.row == [0, 0, 2] && cell.qualifier == b"metrics" {
            cell.value = b"something.else".to_vec();
        }
    }
    load(bed, &uid_table(&target), &uids);
    let before = cells(bed, &uid_table(&target));
    let run = repository.restore(bed, &tables, &target, &["--into-existing"]);
    let told = [&*uid_table(&target), "2 places", &taken, "000002", "000009", "something.else"];
    assert_refused(run, 1, &told);
    assert_eq!(cells(bed, &uid_table(&target)), before);
    assert_eq!(cells(bed, &target.data()), []);
}

#[test]
fn a_target_without_the_family_is_refused() {
    let bed = Bed::shared();
    let (_, tables, repository) = backed_up(bed);
    let target = target(bed);
    bed.must(&format!("create {} x", target.data()));
    let run = repository.restore(bed, &tables, &target, &[]);
    assert_refused(run, 1, &[&target.data(), "without the family t", "--rename-table"]);
    assert!(!exists(bed, &uid_table(&target)), "nothing was created");
}

/// A framed gateway cannot create tables, but fills those that are there.
#[test]
fn a_framed_gateway_restores_into_tables_that_exist() {
    let bed = Bed::shared();
    let (_, tables, repository) = backed_up(bed);
    let framed = bed.listener(&format!("gateway start {} 2 0 -f", bed.unique("framed")));
    let target = target(bed);
    let mut words = vec!["--gateway".to_owned(), framed];
    for (old, new) in tables.names().iter().zip(target.names()) {
        words.extend(["--rename-table".to_owned(), format!("{old}={new}")]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_refused(repository.run("restore", &words), 2, &["framed", "HBase shell", "create '", &target.prefix]);
    assert!(target.names().iter().all(|name| !exists(bed, name)), "nothing was created");
    target.create_in(bed, &["000001000000ff"]);
    assert_eq!(repository.run("restore", &words).expect(0).json["differences"], 0);
    for (old, new) in tables.names().iter().zip(target.names()) {
        assert_eq!(cells(bed, old), cells(bed, &new), "{new}");
    }
}

#[test]
fn names_that_do_not_fit_are_usage_errors() {
    let bed = Bed::shared();
    let (_, tables, repository) = backed_up(bed);
    let gateway = bed.thrift2_address();
    let (data, uid) = (tables.data(), uid_table(&tables));
    let restore = |more: &[&str]| repository.run("restore", &[&["--gateway", &gateway], more].concat());
    assert_refused(restore(&["--table", "tsbd"]), 2, &["no table tsbd", &data, &uid]);
    assert_refused(restore(&["--rename-table", "tsbd=x"]), 2, &["no table tsbd", &data]);
    let (one, other) = (format!("{data}=same"), format!("{uid}=same"));
    assert_refused(restore(&["--rename-table", &one, "--rename-table", &other]), 2, &[&data, &uid, "same"]);
    // Onto the name of another table of the backup, which is restored too.
    let onto = format!("{data}={uid}");
    assert_refused(restore(&["--rename-table", &onto]), 2, &[&data, &uid]);
    assert_refused(restore(&["no-such-backup"]), 2, &["no-such-backup", "list"]);
    assert!(!exists(bed, "same"));
}

#[test]
fn one_table_alone_is_restored() {
    let bed = Bed::shared();
    let (_, tables, repository) = backed_up(bed);
    let target = target(bed);
    let rename = format!("{}={}", tables.data(), target.data());
    let gateway = bed.thrift2_address();
    let words = ["--gateway", &gateway, "--table", &tables.data(), "--rename-table", &rename];
    let run = repository.run("restore", &words).expect(0);
    assert_eq!(run.json["tables"].as_array().unwrap().len(), 1);
    assert_eq!(table_of(&run.json, &tables.data())["target_agrees"], true);
    assert_eq!(cells(bed, &tables.data()), cells(bed, &target.data()));
    assert!(!exists(bed, &uid_table(&target)));
}

/// Points of years ago, written just now, in a family that forgets after an hour.
#[test]
fn a_time_to_live_is_warned_of() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = Tables::named(&format!("{}.", bed.unique("ttl")), false);
    bed.must(&format!("create {} t TTL=3600", tables.data()));
    for (name, families) in [("tsdb-uid", "id,name"), ("tsdb-meta", "name"), ("tsdb-tree", "t")] {
        bed.must(&format!("create {}{name} {families}", tables.prefix));
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let fresh: Vec<OwnedCell> =
        small.data().into_iter().map(|cell| OwnedCell { timestamp: now - 1000, ..cell }).collect();
    load(bed, &tables.data(), &fresh);
    load(bed, &uid_table(&tables), &small.uids());
    let gateway = bed.thrift2_address();
    let flags = ark::table_flags(&tables);
    let checked: Vec<&str> =
        ["check", "--json", "--gateway", &gateway].into_iter().chain(flags.iter().map(String::as_str)).collect();
    let check = ark::run(&checked).expect(0);
    assert!(warnings(&check).contains("lives 3600 s"), "{}", check.out);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let target = target(bed);
    let run = repository.restore(bed, &tables, &target, &[]).expect(0);
    assert!(warnings(&run).contains("lives 3600 s") && warnings(&run).contains(&target.data()), "{}", run.out);
    assert_eq!(golden::dump(bed, &target.data(), false).len(), fresh.len());
}

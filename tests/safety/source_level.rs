//! `verify --level source` names exactly the cells that differ, and why.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tsdb_ark::model::{OwnedCell, kind};

use crate::support::ark::Repository;
use crate::support::bed::Bed;
use crate::support::golden;
use crate::support::synthetic::{self, Synthetic};
use crate::support::tsd::Tables;
use crate::{LONG, LONG_CELLS, long_tables};

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

/// What a report says of a cell: table, row, qualifier, timestamp, kind of difference, values of both sides.
type Named = (String, String, String, i64, String, Option<String>, Option<String>);

fn named(report: &Value) -> BTreeSet<Named> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let found = report["cells_named"].as_array().unwrap().iter().map(|cell| {
        (
            text(&cell["table"]).unwrap(),
            text(&cell["row"]).unwrap(),
            text(&cell["qualifier"]).unwrap(),
            cell["timestamp"].as_i64().unwrap(),
            text(&cell["difference"]).unwrap(),
            text(&cell["backup_value"]),
            text(&cell["source_value"]),
        )
    });
    found.collect()
}

fn expected(table: &str, cell: &OwnedCell, difference: &str, saved: Option<&[u8]>, live: Option<&[u8]>) -> Named {
    let value = |value: Option<&[u8]>| value.map(hex);
    let (row, qualifier) = (hex(&cell.row), hex(&cell.qualifier));
    (table.to_owned(), row, qualifier, cell.timestamp, difference.to_owned(), value(saved), value(live))
}

/// Deletes all versions of the cell.
fn deletion(cell: &OwnedCell) -> OwnedCell {
    OwnedCell { kind: kind::DELETE_COLUMN, value: Vec::new(), ..cell.clone() }
}

fn verify(bed: &Bed, repository: &Repository, code: i32) -> Value {
    repository.verify("source", &["--gateway", &bed.thrift2_address()]).expect(code).json
}

/// A backup, changes to the live tables, and the differences that they make.
struct Changes {
    tables: Tables,
    live: Vec<OwnedCell>,
    wanted: BTreeSet<Named>,
}

impl Changes {
    fn new(tables: Tables) -> Changes {
        Changes { tables, live: Vec::new(), wanted: BTreeSet::new() }
    }

    fn want(&mut self, cell: &OwnedCell, difference: &str, saved: Option<&[u8]>, live: Option<&[u8]>) {
        self.wanted.insert(expected(&self.tables.data(), cell, difference, saved, live));
    }

    fn delete(&mut self, cell: &OwnedCell) {
        self.live.push(deletion(cell));
        self.want(cell, "deleted", Some(&cell.value), None);
    }

    fn overwrite(&mut self, cell: &OwnedCell) {
        let altered = OwnedCell { value: vec![0x7f, 0x01], ..cell.clone() };
        self.want(cell, "damaged", Some(&cell.value), Some(&altered.value));
        self.live.push(altered);
    }

    fn replace(&mut self, cell: &OwnedCell) {
        let newer = OwnedCell { timestamp: now_ms(), value: vec![0x11, 0x22], ..cell.clone() };
        self.want(cell, "overwritten", Some(&cell.value), None);
        self.want(&newer, "written_later", None, Some(&newer.value));
        self.live.push(newer);
    }

    fn add(&mut self, like: &OwnedCell, timestamp: i64, difference: &str) {
        let added = OwnedCell { qualifier: vec![0xd0, 0x01], timestamp, ..like.clone() };
        self.want(&added, difference, None, Some(&added.value));
        self.live.push(added);
    }

    fn apply(&self, bed: &Bed) {
        synthetic::load(bed, &self.tables.data(), &self.live);
    }
}

#[test]
fn every_kind_of_change_is_named_and_nothing_else() {
    let bed = Bed::shared();
    let small = Synthetic { series: 40, hours: 10, ..Synthetic::default() };
    let tables = small.load(bed, &["000002"]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let equal = verify(bed, &repository, 0);
    assert_eq!(equal["differences"], 0);
    // Each cell counts once, on either side.
    let saved = repository.verify("cells", &[]).expect(0).json["cells"].clone();
    assert_eq!((&equal["cells"], &equal["source_cells"]), (&saved, &saved), "{equal}");

    let at = |metric, series, hour, point| small.cell(&small.key(metric, series, hour), hour, point);
    let mut changes = Changes::new(tables);
    // What happens to any table in use is told, and is no difference unless somebody asks for all of them.
    changes.replace(&at(1, 5, 4, 2));
    changes.add(&at(1, 39, 9, 4), now_ms(), "written_later");
    changes.apply(bed);
    let report = verify(bed, &repository, 0);
    assert_eq!((&report["differences"], &report["ordinary_changes"]), (&0.into(), &3.into()));
    assert_eq!(named(&report), changes.wanted);
    let gateway = bed.thrift2_address();
    let strict = repository.verify("source", &["--gateway", &gateway, "--strict"]).expect(3).json;
    assert_eq!((&strict["differences"], &strict["ordinary_changes"]), (&3.into(), &0.into()));

    changes.delete(&at(0, 3, 2, 1));
    changes.overwrite(&at(0, 5, 4, 0));
    changes.add(&at(0, 0, 0, 0), 1_500_000_000_000, "missing");
    for point in 0..small.points {
        changes.delete(&at(1, 20, 5, point));
    }
    // A row that the backup does not have at all, behind all others.
    let late = OwnedCell { row: vec![0xee; 13], ..at(0, 0, 0, 0) };
    changes.add(&late, 1_500_000_000_001, "missing");
    changes.apply(bed);

    let report = verify(bed, &repository, 3);
    assert_eq!(named(&report), changes.wanted);
    let counted = [&report["differences"], &report["ordinary_changes"]].map(|count| count.as_u64().unwrap());
    assert_eq!((counted, changes.wanted.len()), ([9, 3], 12));
    let kinds = &report["by_kind"];
    let wanted = [("damaged", 1), ("deleted", 6), ("missing", 2), ("overwritten", 1), ("written_later", 2)];
    assert_eq!(
        *kinds,
        wanted.into_iter().map(|(kind, count)| (kind.to_owned(), Value::from(count))).collect::<Value>()
    );

    // All are counted, as many as asked for are named, and those that somebody must look at come first.
    let few = repository.verify("source", &["--gateway", &gateway, "--max-differences", "2"]).expect(3).json;
    assert_eq!((few["differences"].clone(), named(&few).len()), (report["differences"].clone(), 2));
    assert!(named(&few).iter().all(|cell| ["deleted", "damaged", "missing"].contains(&cell.4.as_str())), "{few}");
    // A comparison page by page, with one connection, comes to the same.
    let slow = ["--gateway", &gateway, "--page-size", "4KiB", "--connections", "1"];
    assert_eq!(named(&repository.verify("source", &slow).expect(3).json), changes.wanted);
}

/// A family with three versions: a version goes when three newer ones are there, or somebody has deleted it. What nobody
/// needs to look at in the first table leaves room for what somebody must in a later one.
#[test]
fn a_lost_version_is_deleted_until_newer_ones_fill_its_place() {
    let bed = Bed::shared();
    let tables = Tables::named(&format!("{}.", bed.unique("v")), false);
    for (name, families) in tables.names().iter().zip(["t", "id,name", "name", "t"]) {
        bed.must(&format!("create {name} {families} VERSIONS=3"));
    }
    let small = Synthetic::default();
    let at = |point: u32, timestamp: i64| OwnedCell { timestamp, ..small.cell(&small.key(0, 0, 0), 0, point) };
    let columns = || [0, 1, 2].into_iter().flat_map(|point| [at(point, 50), at(point, 60)]);
    synthetic::load(bed, &tables.data(), &columns().collect::<Vec<_>>());
    let uid = tables.names()[1].clone();
    synthetic::load(bed, &uid, &small.uids());
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    assert_eq!(verify(bed, &repository, 0)["differences"], 0);

    // One newer version leaves room for both old ones; three take it.
    let mut changes = Changes::new(tables.clone());
    let later = now_ms();
    for newer in [at(1, later), at(2, later), at(2, later + 1), at(2, later + 2)] {
        changes.want(&newer, "written_later", None, Some(&newer.value));
        changes.live.push(newer);
    }
    for old in [at(2, 50), at(2, 60)] {
        changes.want(&old, "overwritten", Some(&old.value), None);
    }
    changes.apply(bed);
    assert_eq!(named(&verify(bed, &repository, 0)), changes.wanted);

    let name = small.uids().swap_remove(0);
    synthetic::load(bed, &uid, &[deletion(&name)]);
    let few = repository.verify("source", &["--gateway", &bed.thrift2_address(), "--max-differences", "1"]);
    let gone = expected(&uid, &name, "deleted", Some(&name.value), None);
    assert_eq!(named(&few.expect(3).json), BTreeSet::from([gone.clone()]));

    let lost = at(0, 50);
    changes.live = vec![OwnedCell { kind: kind::DELETE, value: Vec::new(), ..lost.clone() }];
    changes.want(&lost, "deleted", Some(&lost.value), None);
    changes.apply(bed);
    changes.wanted.insert(gone);
    let report = verify(bed, &repository, 3);
    assert_eq!(named(&report), changes.wanted);
    assert_eq!((&report["differences"], &report["ordinary_changes"]), (&2.into(), &6.into()));

    // Through Thrift1 every older version would look like a lost one.
    let refused = repository.verify("source", &["--gateway", &bed.thrift1_address()]).expect(2);
    for text in ["Thrift1", "latest version", &tables.data(), "Thrift2"] {
        assert!(refused.err.contains(text), "{text:?} is not in: {}", refused.err);
    }
}

#[test]
fn one_cell_in_the_middle_of_100_000_rows_is_found() {
    let bed = Bed::shared();
    let _altered = LONG_CELLS.write().unwrap_or_else(PoisonError::into_inner);
    let tables = long_tables(bed);
    let repository = Repository::default();
    repository.backup(bed, tables, &[]).expect(0);
    assert_eq!(verify(bed, &repository, 0)["differences"], 0);
    let cell = LONG.cell(&LONG.key(2, 100, 50), 50, 1);
    let mut changes = Changes::new(tables.clone());
    changes.overwrite(&cell);
    changes.apply(bed);
    let report = verify(bed, &repository, 3);
    // Other tests rely on the cells of this table.
    synthetic::load(bed, &tables.data(), &[cell]);
    assert_eq!(named(&report), changes.wanted);
    assert_eq!(report["differences"], 1);
}

/// What a TSD wrote, raw: a delete marker more is a difference, the unchanged tables are none.
#[test]
fn golden_tables_are_equal_to_themselves_and_a_marker_is_a_difference() {
    let bed = Bed::shared();
    let tables = golden::load(bed, "append");
    let repository = Repository::default();
    repository.backup(bed, &tables, &["--raw"]).expect(0);
    assert_eq!(verify(bed, &repository, 0)["differences"], 0);
    let mut cells = golden::dump(bed, &tables.data(), true);
    let marker = OwnedCell { timestamp: 1, ..deletion(&cells.pop().unwrap()) };
    synthetic::load(bed, &tables.data(), std::slice::from_ref(&marker));
    let report = verify(bed, &repository, 3);
    let wanted = expected(&tables.data(), &marker, "missing", None, Some(&[]));
    assert_eq!(named(&report), BTreeSet::from([wanted]));
}

#[test]
fn renamed_and_absent_tables() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let (tables, twin) = (small.load(bed, &[]), small.load(bed, &["000002"]));
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let (gateway, data) = (bed.thrift2_address(), tables.data());
    let rename = format!("{data}={}", twin.data());
    let equal = repository.verify("source", &["--gateway", &gateway, "--rename-table", &rename]).expect(0).json;
    assert_eq!(equal["differences"], 0);
    let cell = small.cell(&small.key(0, 0, 0), 0, 0);
    synthetic::load(bed, &twin.data(), &[deletion(&cell)]);
    let other = repository.verify("source", &["--gateway", &gateway, "--rename-table", &rename]).expect(3).json;
    assert_eq!(named(&other), BTreeSet::from([expected(&data, &cell, "deleted", Some(&cell.value), None)]));
    bed.must(&format!("drop {data}"));
    let gone = repository.verify("source", &["--gateway", &gateway]);
    assert!(gone.code != 0 && gone.err.contains(&data), "{} {}", gone.code, gone.err);
}

/// Where a table has another name in the cluster, a difference is one of the table that was looked at.
#[test]
fn a_difference_names_the_table_of_the_source() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let copy = format!("{}copy", tables.prefix);
    bed.must(&format!("create {copy} t VERSIONS=1"));
    let gateway = bed.thrift2_address();
    let rename = format!("{}={copy}", tables.data());
    let run = repository.verify("source", &["--gateway", &gateway, "--rename-table", &rename]).expect(3);
    let cell = &run.json["cells_named"][0];
    assert_eq!((&cell["table"], &cell["source_table"]), (&tables.data().into(), &copy.clone().into()), "{cell}");
    let path = repository.path();
    let words = ["verify", "--level", "source", "--repository", path.to_str().unwrap(), "--gateway", &gateway];
    let text = crate::support::ark::run(&[&words[..], &["--rename-table", &rename]].concat()).expect(3).out;
    assert!(text.contains(&format!("deleted: {copy} row ")), "{text}");
}

/// Older versions that a raised VERSIONS shows again are not in the backup, and nobody may think that they were compared.
#[test]
fn versions_that_are_kept_since_are_announced() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let warned = |report: &Value| report["warnings"].to_string().contains("now keeps 3 versions");
    assert!(!warned(&verify(bed, &repository, 0)));
    bed.must(&format!("alter {} t VERSIONS=3", tables.data()));
    let report = verify(bed, &repository, 0);
    assert!(warned(&report), "{report}");
}

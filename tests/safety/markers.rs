//! A restore over delete markers: refused with the ways out, and each of them leads out.
//!
//! What is in the tables is read by HBase's own client, and at the end by a TSD.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tsdb_ark::model::{KeyLayout, OwnedCell, kind};

use crate::support::ark::{Repository, Run};
use crate::support::bed::Bed;
use crate::support::golden;
use crate::support::synthetic::{self, BASE, Synthetic, load, table_of};
use crate::support::tsd::{Tables, Tsd};

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A table, sorted.
fn cells(bed: &Bed, table: &str, raw: bool) -> Vec<OwnedCell> {
    let mut cells = golden::dump(bed, table, raw);
    cells.sort();
    cells
}

fn marker(like: &OwnedCell, kind: u8, timestamp: i64) -> OwnedCell {
    let of_family = kind == kind::DELETE_FAMILY || kind == kind::DELETE_FAMILY_VERSION;
    let qualifier = if of_family { Vec::new() } else { like.qualifier.clone() };
    OwnedCell { kind, timestamp, qualifier, value: Vec::new(), ..like.clone() }
}

/// Deletes all rows of the first metric, as `hbase shell` does and as a TSD does: by family and by column.
fn delete_metric(bed: &Bed, small: &Synthetic, tables: &Tables) {
    let now = now_ms();
    let first = small.key(0, 0, 0);
    let uid = usize::from(small.layout.salt_width)..usize::from(small.layout.salt_width + 3);
    let of_metric = small.data().into_iter().filter(|cell| cell.row[uid.clone()] == first[uid.clone()]);
    let kinds = [kind::DELETE_FAMILY, kind::DELETE_COLUMN];
    let markers: Vec<OwnedCell> =
        of_metric.map(|cell| marker(&cell, kinds[usize::from(*cell.row.last().unwrap()) % 2], now)).collect();
    load(bed, &tables.data(), &markers);
}

fn restore(bed: &Bed, repository: &Repository, tables: &Tables, more: &[&str]) -> Run {
    repository.restore(bed, tables, tables, &[&["--into-existing"], more].concat())
}

/// Points of a metric by what a TSD answers.
fn points(tsd: &Tsd<'_>, metric: &str) -> usize {
    let query =
        json!({"start": BASE - 1, "end": BASE + 1_000_000, "queries": [{"aggregator": "none", "metric": metric}]});
    let series = tsd.post("/api/query", &query).ok().json();
    series.as_array().unwrap().iter().map(|series| series["dps"].as_object().unwrap().len()).sum()
}

#[track_caller]
fn assert_refused(run: Run, texts: &[&str]) {
    let run = run.expect(1);
    for text in texts {
        assert!(run.err.contains(text), "{text:?} is not in: {}", run.err);
    }
}

#[test]
fn a_deleted_metric_comes_back_each_way() {
    let bed = Bed::shared();
    let small = Synthetic { series: 10, hours: 30, points: 10, ..Synthetic::default() };
    let tables = small.load(bed, &["000001000000ff", "000002"]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let data = tables.data();
    let before = cells(bed, &data, false);
    let metric = synthetic::name("metrics", 1);
    let mut conf = tables.conf(bed);
    // A query would rewrite the rows.
    conf.push(("tsd.storage.enable_compaction".to_owned(), "false".to_owned()));
    let tsd = Tsd::start(bed, &conf);
    assert_eq!(points(&tsd, &metric), 3000);

    delete_metric(bed, &small, &tables);
    assert_eq!(points(&tsd, &metric), 0);
    let deleted = cells(bed, &data, true);
    let first = format!("row {}", small.key(0, 0, 0).iter().map(|b| format!("{b:02X}")).collect::<String>());
    let told = [
        &*format!("3000 cells of table {data}"),
        &first,
        &format!("flush '{data}'"),
        &format!("major_compact '{data}'"),
        &format!("--rename-table {data}=NEW"),
        "--new-timestamps",
    ];
    assert_refused(restore(bed, &repository, &tables, &["--dry-run"]), &told);
    assert_refused(restore(bed, &repository, &tables, &[]), &told);
    assert_eq!(cells(bed, &data, true), deleted, "nothing was written");

    // The third way: above the markers.
    let run = restore(bed, &repository, &tables, &["--new-timestamps"]).expect(0);
    let table = table_of(&run.json, &data);
    assert_eq!((&table["new_timestamps"], &table["target_agrees"]), (&3000.into(), &true.into()), "{table}");
    assert!(run.json["warnings"].to_string().contains("3000 cells of table"), "{}", run.out);
    let logged: u64 = repository
        .files()
        .iter()
        .filter(|path| path.starts_with("restores/") && path.contains("/files/"))
        .map(|path| std::fs::read(repository.path().join(path)).unwrap())
        .map(|text| serde_json::from_slice::<serde_json::Value>(&text).unwrap()["new_timestamps"].as_u64().unwrap())
        .sum();
    assert_eq!(logged, 3000);
    let without_time = |cells: &[OwnedCell]| {
        let mut cells: Vec<OwnedCell> = cells.iter().map(|c| OwnedCell { timestamp: 0, ..c.clone() }).collect();
        cells.sort();
        cells
    };
    let after = cells(bed, &data, false);
    assert_eq!(without_time(&after), without_time(&before));
    let newest = deleted.iter().filter(|cell| cell.kind != kind::PUT).map(|cell| cell.timestamp).max().unwrap();
    let moved: Vec<&OwnedCell> = after.iter().filter(|cell| !before.contains(cell)).collect();
    assert_eq!(moved.len(), 3000);
    assert!(moved.iter().all(|cell| cell.timestamp == newest + 1), "just above the marker");
    assert_eq!(points(&tsd, &metric), 3000);
    // As if it had been killed before it recorded what it wrote: the copies are found, and none gets a second one.
    let folder = repository.path().join("restores").join(run.json["restore"].as_str().unwrap());
    std::fs::remove_file(folder.join("finished.json")).unwrap();
    std::fs::remove_dir_all(folder.join("files")).unwrap();
    let run = restore(bed, &repository, &tables, &["--resume", "--new-timestamps"]).expect(0);
    assert_eq!(table_of(&run.json, &data)["new_timestamps"], 3000);
    assert_eq!(cells(bed, &data, false), after);
    bed.must(&format!("flush {data}"));
    bed.must(&format!("major {data}"));
    assert_eq!(cells(bed, &data, true), after, "nothing was hidden");

    // The first way: without the markers every cell gets its own time again.
    delete_metric(bed, &small, &tables);
    assert_refused(restore(bed, &repository, &tables, &[]), &told);
    bed.must(&format!("flush {data}"));
    bed.must(&format!("major {data}"));
    let run = restore(bed, &repository, &tables, &[]).expect(0);
    let table = table_of(&run.json, &data);
    let numbers = [&table["new_timestamps"], &table["also_there"]];
    assert_eq!((numbers, &table["target_agrees"]), ([&0.into(), &0.into()], &true.into()), "{table}");
    assert_eq!(cells(bed, &data, false), before);
    assert_eq!(points(&tsd, &metric), 3000);

    // The second way: somewhere else.
    delete_metric(bed, &small, &tables);
    let other = Tables::named(&format!("{}.", bed.unique("mk")), false);
    repository.restore(bed, &tables, &other, &[]).expect(0);
    assert_eq!(cells(bed, &other.data(), false), before);
}

#[test]
fn salted_rows_and_an_empty_target() {
    let bed = Bed::shared();
    let layout = KeyLayout { salt_width: 1, salt_buckets: 4, ..KeyLayout::default() };
    let small = Synthetic { layout, series: 5, hours: 10, ..Synthetic::default() };
    let tables = small.load(bed, &["01", "02", "03"]);
    let repository = Repository::default();
    repository.backup(bed, &tables, &["--salt-width", "1", "--salt-buckets", "4"]).expect(0);
    let before = cells(bed, &tables.data(), false);
    delete_metric(bed, &small, &tables);
    assert_refused(restore(bed, &repository, &tables, &[]), &["250 cells of table", &tables.data()]);
    // A table that shows nothing may hold markers all the same.
    let empty = Tables::named(&format!("{}.", bed.unique("mk")), false);
    empty.create_in(bed, &[]);
    let hidden = &before[42];
    load(bed, &empty.data(), &[marker(hidden, kind::DELETE, hidden.timestamp)]);
    assert_refused(repository.restore(bed, &tables, &empty, &[]), &["1 cells of table", &empty.data()]);
    let run = repository.restore(bed, &tables, &empty, &["--new-timestamps"]).expect(0);
    assert_eq!(table_of(&run.json, &tables.data())["new_timestamps"], 1);
    let mut wanted = before.clone();
    wanted[42].timestamp += 1;
    assert_eq!(cells(bed, &empty.data(), false), wanted);
}

/// All four kinds of markers over some of the versions, a wide row, times at the ends of time, and a family where the
/// order of writing counts.
#[test]
fn markers_cover_what_hbase_hides_and_nothing_else() {
    let bed = Bed::shared();
    let tables = Tables::named(&format!("{}.", bed.unique("mk")), false);
    bed.must(&format!("create {} t VERSIONS=3", tables.data()));
    for (name, families) in [("tsdb-uid", "id,name"), ("tsdb-meta", "name"), ("tsdb-tree", "t")] {
        bed.must(&format!("create {}{name} {families} VERSIONS=1", tables.prefix));
    }
    let small = Synthetic::default();
    load(bed, &format!("{}tsdb-uid", tables.prefix), &small.uids());
    let future = now_ms() + 86_400_000;
    let mut all = Vec::new();
    for hour in 0..6 {
        let row = small.key(0, 0, hour);
        for point in 0..2 {
            let cell = small.cell(&row, hour, point);
            all.extend([0, 20, 30].map(|time| OwnedCell {
                timestamp: time,
                value: vec![0, time as u8],
                ..cell.clone()
            }));
        }
    }
    let wide = small.key(1, 0, 0);
    all.extend((0..20_000).map(|point| {
        let qualifier = (0xf000_0000_u32 | point << 6).to_be_bytes().to_vec();
        OwnedCell { qualifier, value: vec![1], timestamp: 50, ..small.cell(&wide, 0, 0) }
    }));
    all.push(OwnedCell { timestamp: future, ..small.cell(&wide, 0, 1) });
    load(bed, &tables.data(), &all);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let before = cells(bed, &tables.data(), false);
    assert_eq!(before.len(), all.len());

    let of = |hour: u32, point| small.cell(&small.key(0, 0, hour), hour, point);
    let markers = [
        // One version; the two older ones of a column; both columns' version; both columns up to the second.
        (marker(&of(0, 0), kind::DELETE, 20), 1),
        (marker(&of(1, 0), kind::DELETE_COLUMN, 20), 2),
        (marker(&of(2, 0), kind::DELETE_FAMILY_VERSION, 30), 2),
        (marker(&of(3, 0), kind::DELETE_FAMILY, 20), 4),
        // Nothing: between versions, another column, below everything that is not 0.
        (marker(&of(4, 0), kind::DELETE, 21), 0),
        (marker(&of(4, 1), kind::DELETE_FAMILY_VERSION, 29), 0),
        (marker(&OwnedCell { qualifier: vec![9, 9], ..of(5, 0) }, kind::DELETE_COLUMN, 99), 0),
        (marker(&small.cell(&wide, 0, 0), kind::DELETE_FAMILY, 60), 20_000),
    ];
    let covered: u64 = markers.iter().map(|(_, count)| count).sum();
    let cells_of_markers: Vec<OwnedCell> = markers.into_iter().map(|(marker, _)| marker).collect();
    load(bed, &tables.data(), &cells_of_markers);
    assert_refused(restore(bed, &repository, &tables, &[]), &[&format!("{covered} cells of table"), "(3)"]);

    // Into a target with these markers and nothing else.
    let empty = Tables::named(&format!("{}.", bed.unique("mk")), false);
    bed.must(&format!("create {} t VERSIONS=3", empty.data()));
    load(bed, &empty.data(), &cells_of_markers);
    let run = repository.restore(bed, &tables, &empty, &["--new-timestamps"]).expect(0);
    let table = table_of(&run.json, &tables.data());
    assert_eq!(table["target_agrees"], true, "{}", run.out);
    let shown = cells(bed, &empty.data(), false);
    assert_eq!(shown.len(), before.len());
    let place = |cell: &OwnedCell| (cell.row.clone(), cell.qualifier.clone(), cell.value.clone());
    assert!(shown.iter().map(place).eq(before.iter().map(place)), "the versions of each column keep their order");
    // Versions that no marker covers move only where they have to.
    let moved = shown.iter().zip(&before).filter(|(a, b)| a.timestamp != b.timestamp).count();
    assert_eq!((moved as u64, table["new_timestamps"].as_u64()), (covered, Some(covered)));
    assert_eq!(shown.iter().filter(|cell| cell.timestamp == future).count(), 1);

    // No timestamp is left above the highest: that way out is not offered, and refused before anything is written.
    let highest = Tables::named(&format!("{}.", bed.unique("mk")), false);
    bed.must(&format!("create {} t VERSIONS=3", highest.data()));
    load(bed, &highest.data(), &[marker(&of(0, 0), kind::DELETE_FAMILY, i64::MAX - 1)]);
    for more in [&[][..], &["--new-timestamps"], &["--dry-run", "--new-timestamps"]] {
        let run = repository.restore(bed, &tables, &highest, &[&["--into-existing"], more].concat());
        assert_refused(run, &["6 cells of table", "two ways out", "no timestamp is left"]);
    }
    assert_eq!(cells(bed, &highest.data(), false), []);

    // Where the order of writing decides, what is written after a marker is shown.
    let by_order = Tables::named(&format!("{}.", bed.unique("mk")), false);
    bed.must(&format!("create {} t VERSIONS=3,NEW_VERSION_BEHAVIOR=true", by_order.data()));
    load(bed, &by_order.data(), &cells_of_markers);
    let run = repository.restore(bed, &tables, &by_order, &[]).expect(0);
    assert_eq!(table_of(&run.json, &tables.data())["new_timestamps"], 0);
    assert_eq!(cells(bed, &by_order.data(), false), before);
}

/// Compactions keep the markers of a family that keeps deleted cells, so the way out begins with that setting.
#[test]
fn markers_of_a_family_that_keeps_deleted_cells_go_the_way_that_is_told() {
    let bed = Bed::shared();
    let small = Synthetic::default();
    let tables = small.load(bed, &[]);
    let data = tables.data();
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let before = cells(bed, &data, false);
    let alter = |kept: &str| bed.must(&format!("alter {data} t KEEP_DELETED_CELLS={kept}"));
    let compact = || {
        bed.must(&format!("flush {data}"));
        bed.must(&format!("major {data}"));
    };
    for kept in ["TRUE", "TTL"] {
        alter(kept);
        delete_metric(bed, &small, &tables);
        compact();
        let alter_to = |to| format!("alter '{data}', NAME => 't', KEEP_DELETED_CELLS => '{to}'");
        let told = [
            &*format!("{} (the deleted cells that family t keeps go as well); flush '{data}'; ", alter_to("FALSE")),
            &*format!("says NONE); {}", alter_to(kept)),
        ];
        assert_refused(restore(bed, &repository, &tables, &[]), &told);
        alter("FALSE");
        compact();
        alter(kept);
        let run = restore(bed, &repository, &tables, &[]).expect(0);
        assert_eq!(table_of(&run.json, &data)["target_agrees"], true);
        assert_eq!(cells(bed, &data, false), before);
    }
    // Others keep nothing: the setting is not touched.
    alter("FALSE");
    delete_metric(bed, &small, &tables);
    let run = restore(bed, &repository, &tables, &[]).expect(1);
    assert!(!run.err.contains("KEEP_DELETED_CELLS"), "{}", run.err);
}

//! A full backup and its increments, restored together, are the table as it was at the last one.
//!
//! A writer does to the tables what a TSD, an operator and HBase do: new metrics, late points, overwrites, deletes of all
//! kinds, rows that are compacted as a TSD does it, annotations, flushes, splits, major compactions and a truncation.
//! The full backup and two increments are made while it is at work; after each of the others, in a quiet moment, the chain
//! is restored into new tables, and HBase's own client says whether they are equal.
//! `TSDB_ARK_INCREMENTS=20` makes more of them, `TSDB_ARK_SEED` other ones.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

#[path = "chains/catch_up.rs"]
mod catch_up;
#[path = "chains/killed.rs"]
mod killed;
mod support;
#[path = "chains/tsd.rs"]
mod tsd;
#[path = "chains/views.rs"]
mod views;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::ark::{self, Repository, Run};
use support::bed::Bed;
use support::faults::plan::{Fault, Plan};
use support::faults::thrift::ThriftProxy;
use support::golden;
use support::synthetic::{Dice, Synthetic, load, sealed, table_of};
use support::tsd::Tables;
use tsdb_ark::model::{KeyLayout, OwnedCell, kind};

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn cells(bed: &Bed, table: &str) -> Vec<OwnedCell> {
    let mut cells = golden::dump(bed, table, false);
    cells.sort();
    cells
}

/// Changes the tables of a TSD.
struct Writer<'a> {
    bed: &'a Bed,
    tables: &'a Tables,
    shape: Synthetic,
    dice: Dice,
}

impl Writer<'_> {
    /// Points of the metric at random rows, written now.
    fn points(&mut self, metric: u32, count: usize) {
        let now = now_ms();
        let mut cells = Vec::new();
        for _ in 0..count {
            let (series, hour) = (self.dice.below(5) as u32, self.dice.below(30) as u32);
            let row = self.shape.key(metric, series, hour);
            let mut cell = self.shape.cell(&row, hour, self.dice.below(40) as u32);
            cell.value = (self.dice.next() as u16).to_be_bytes().to_vec();
            cells.push(OwnedCell { timestamp: now, ..cell });
        }
        load(self.bed, &self.tables.data(), &cells);
    }

    /// A metric that nobody knew, with its UID.
    fn new_metric(&mut self, metric: u32) {
        let grown = Synthetic { metrics: metric + 1, ..self.shape.clone() };
        let now = now_ms();
        let uids: Vec<OwnedCell> = grown.uids().into_iter().map(|cell| OwnedCell { timestamp: now, ..cell }).collect();
        let known = self.shape.uids();
        let is_new = |cell: &&OwnedCell| !known.iter().any(|k| (&k.row, &k.value) == (&cell.row, &cell.value));
        load(
            self.bed,
            &format!("{}tsdb-uid", self.tables.prefix),
            &uids.iter().filter(is_new).cloned().collect::<Vec<_>>(),
        );
        self.shape = grown;
        self.points(metric, 30);
    }

    fn some(&mut self, count: usize) -> Vec<OwnedCell> {
        let all = cells(self.bed, &self.tables.data());
        (0..count).map(|_| all[self.dice.below(all.len())].clone()).collect()
    }

    /// Deletes by a marker of this type. Those of whole families and columns are of now, as clients write them.
    fn delete(&mut self, marker: u8, count: usize) {
        let now = now_ms();
        let of_version = matches!(marker, kind::DELETE | kind::DELETE_FAMILY_VERSION);
        let of_family = matches!(marker, kind::DELETE_FAMILY | kind::DELETE_FAMILY_VERSION);
        let markers = self.some(count).into_iter().map(|cell| OwnedCell {
            kind: marker,
            timestamp: if of_version { cell.timestamp } else { now },
            qualifier: if of_family { Vec::new() } else { cell.qualifier.clone() },
            value: Vec::new(),
            ..cell
        });
        load(self.bed, &self.tables.data(), &markers.collect::<Vec<_>>());
    }

    /// What a TSD does to a row of an hour that is over: one cell with all points, and the single ones deleted.
    fn compact_row(&mut self) {
        let chosen = self.some(1).remove(0);
        let all = cells(self.bed, &self.tables.data());
        let mut parts: Vec<OwnedCell> =
            all.into_iter().filter(|cell| cell.row == chosen.row && cell.qualifier.len() == 2).collect();
        parts.sort_by(|a, b| a.qualifier.cmp(&b.qualifier));
        if parts.len() < 2 {
            return;
        }
        let now = now_ms();
        let join = |of: fn(&OwnedCell) -> &Vec<u8>| parts.iter().flat_map(|cell| of(cell).clone()).collect::<Vec<u8>>();
        let merged = OwnedCell {
            qualifier: join(|cell| &cell.qualifier),
            value: [join(|cell| &cell.value), vec![0]].concat(),
            timestamp: now,
            ..parts[0].clone()
        };
        let markers = parts.iter().map(|cell| OwnedCell {
            kind: kind::DELETE_COLUMN,
            timestamp: now,
            value: Vec::new(),
            ..cell.clone()
        });
        load(self.bed, &self.tables.data(), &markers.chain([merged]).collect::<Vec<_>>());
    }

    fn annotation(&mut self) {
        let row = self.some(1).remove(0).row;
        let value = format!("{{\"tsuid\":\"00\",\"description\":\"{}\"}}", self.dice.next());
        let cell = OwnedCell {
            row,
            family: b"t".to_vec(),
            qualifier: vec![1, 0, self.dice.below(200) as u8],
            timestamp: now_ms(),
            kind: kind::PUT,
            value: value.into_bytes(),
        };
        load(self.bed, &self.tables.data(), &[cell]);
    }

    /// One ordinary change after the other.
    fn turn(&mut self, number: u64) {
        match number % 5 {
            0 => self.new_metric(self.shape.metrics),
            1 => self.points(0, 20),
            2 => self.delete(kind::DELETE_COLUMN, 2),
            3 => self.compact_row(),
            _ => self.delete(kind::DELETE_FAMILY, 1),
        }
    }

    /// What write times show.
    fn ordinary(&mut self, step: u64) {
        let metrics = self.shape.metrics as usize;
        for _ in 0..3 {
            let metric = self.dice.below(metrics) as u32;
            self.points(metric, 40);
        }
        self.delete(kind::DELETE_COLUMN, 3);
        self.delete(kind::DELETE_FAMILY, 2);
        (0..3).for_each(|_| self.compact_row());
        self.annotation();
        if step.is_multiple_of(3) {
            self.new_metric(metrics as u32);
        }
    }

    /// What only a comparison sees.
    fn everything(&mut self, step: u64) {
        self.ordinary(step);
        let data = self.tables.data();
        self.delete(kind::DELETE, 3);
        self.delete(kind::DELETE_FAMILY_VERSION, 2);
        let old = self.some(4).into_iter().map(|cell| OwnedCell { value: vec![9, 9], ..cell });
        load(self.bed, &data, &old.collect::<Vec<_>>());
        self.bed.must(&format!("flush {data}"));
        match step % 3 {
            0 => drop(self.bed.must(&format!("major {data}"))),
            1 => {
                let keys = self.some(1);
                let key: String = keys[0].row.iter().map(|byte| format!("{byte:02x}")).collect();
                // A boundary that is one already is refused.
                drop(self.bed.control(&format!("split {data} {key}")));
            }
            _ => {}
        }
    }
}

/// Restores the newest chain, or the one that ends with a member, into new tables and compares them with the source. Those
/// of meta data and trees, which are empty in all tests here, are left out: to create a table takes a second. Gives the report.
#[track_caller]
fn assert_restored(bed: &Bed, repository: &Repository, tables: &Tables, more: &[&str]) -> Run {
    let (run, copy) = restored(bed, repository, tables, more);
    for (old, new) in names(tables).iter().zip(names(&copy)) {
        let (source, restored) = (cells(bed, old), cells(bed, &new));
        let lacking: Vec<_> = source.iter().filter(|cell| restored.binary_search(cell).is_err()).take(3).collect();
        let more: Vec<_> = restored.iter().filter(|cell| source.binary_search(cell).is_err()).take(3).collect();
        assert!(
            source == restored,
            "{old}: {} cells, {} restored; lacks {lacking:?}; has besides {more:?}",
            source.len(),
            restored.len()
        );
    }
    drop_all(bed, &copy);
    run
}

/// The table of data and that of UIDs.
fn names(tables: &Tables) -> [String; 2] {
    [tables.data(), format!("{}tsdb-uid", tables.prefix)]
}

/// What `check` advises, with more flags: the increments that fit, and all reasons against by time, or against any.
fn advised(bed: &Bed, repository: &Repository, tables: &Tables, more: &[&str]) -> (Value, String) {
    let (gateway, flags) = (bed.thrift2_address(), ark::table_flags(tables));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let run = repository.run("check", &[&["--gateway", gateway.as_str()], &flags[..], more].concat()).expect(0);
    let advice = run.json["increments"].clone();
    (advice["fits"].clone(), format!("{}{}", advice["against_time"], advice["against_any"]))
}

/// `check` advises against an increment by time, and one is refused, both for this reason.
#[track_caller]
fn assert_refused(bed: &Bed, repository: &Repository, tables: &Tables, reason: &str, code: i32, more: &[&str]) {
    let (fits, why) = advised(bed, repository, tables, more);
    assert!(fits == "compare" && why.contains(reason), "{fits}: {why}");
    let by_time = [&["--incremental", "--by", "time"], more].concat();
    let refused = repository.backup(bed, tables, &by_time).expect(code);
    assert!(refused.err.contains(reason) && refused.err.contains("--by compare"), "{}", refused.err);
}

/// Restores the newest chain, or the one that ends with a member, into new tables.
#[track_caller]
fn restored(bed: &Bed, repository: &Repository, tables: &Tables, more: &[&str]) -> (Run, Tables) {
    let copy = Tables::named(&format!("{}.", bed.unique("copy")), false);
    let gateway = bed.thrift2_address();
    let mut words = vec!["--gateway".to_owned(), gateway];
    for (old, new) in names(tables).iter().zip(names(&copy)) {
        words.extend([format!("--table={old}"), format!("--rename-table={old}={new}")]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
    (repository.run("restore", &words).expect(0), copy)
}

fn drop_all(bed: &Bed, tables: &Tables) {
    std::thread::scope(|scope| {
        for name in names(tables) {
            scope.spawn(move || bed.must(&format!("drop {name}")));
        }
    });
}

/// Without any overlap where it counts: there is one clock.
fn increment_words(by: &str) -> Vec<&str> {
    let overlap: &[&str] = if by == "time" { &["--overlap", "0s"] } else { &[] };
    [&["--incremental", "--by", by], overlap].concat()
}

fn increment(bed: &Bed, repository: &Repository, tables: &Tables, by: &str) -> Value {
    repository.backup(bed, tables, &increment_words(by)).expect(0).json
}

/// A backup in the middle of which the writer makes five changes, and goes on to the end. What is restored of it names no
/// UID that it lacks.
fn backup_meanwhile(repository: &Repository, writer: &mut Writer<'_>, more: &[&str]) {
    let (bed, tables, known_before) = (writer.bed, writer.tables, writer.shape.metrics);
    let proxy = ThriftProxy::start(&bed.thrift2_address(), Plan::once(SCAN, 3, Fault::Hold));
    let path = repository.path();
    let (gateway, flags) = (proxy.address(), ark::table_flags(tables));
    let words =
        ["backup", "--repository", path.to_str().unwrap(), "--json", "--expect-raw-cells", "--gateway", &gateway];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let words = [&words, &flags[..], &["--connections", "1", "--page-size", "4KiB"], more].concat();
    let child = ark::command().args(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| ark::finished(child.wait_with_output().unwrap()).expect(0));
        while proxy.calls(SCAN) < 3 && !ended.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!ended.is_finished(), "it ended before the writer began");
        (0..5).for_each(|turn| writer.turn(turn));
        proxy.release();
        let mut more = 5;
        while !ended.is_finished() {
            writer.turn(more);
            more += 1;
        }
    });
    let (_, copy) = restored(bed, repository, tables, &[]);
    let [data, uids] = names(&copy).map(|table| cells(bed, &table));
    let known: BTreeSet<&[u8]> = uids
        .iter()
        .filter(|cell| cell.qualifier == b"metrics" && cell.family == b"name")
        .map(|cell| &cell.row[..])
        .collect();
    let lacking: Vec<_> = data.iter().filter(|cell| !known.contains(&cell.row[..3])).take(3).collect();
    assert!(lacking.is_empty(), "rows of metrics without a name: {lacking:?}");
    assert!(data.iter().any(|cell| u32::from(cell.row[2]) > known_before), "no row of a metric that was new");
    drop_all(bed, &copy);
}

const SCAN: &str = "getScannerResults";

#[test]
fn a_chain_is_the_table_as_of_its_last_increment() {
    let bed = Bed::shared();
    let shape = Synthetic { metrics: 3, series: 5, hours: 30, points: 6, ..Synthetic::default() };
    let tables = shape.load(bed, &["000002"]);
    let repository = Repository::default();
    let dice = Dice(number("TSDB_ARK_SEED", 1));
    let mut writer = Writer { bed, tables: &tables, shape, dice };
    // A cell that nobody writes at the time of its point.
    writer.points(0, 200);
    backup_meanwhile(&repository, &mut writer, &[]);
    let (mut ids, mut states) = (Vec::new(), Vec::new());
    for step in 1..=number("TSDB_ARK_INCREMENTS", 5) {
        let by = if step % 2 == 1 { "time" } else { "compare" };
        match by {
            "time" => writer.ordinary(step),
            _ => writer.everything(step),
        }
        if step == 4 {
            bed.must(&format!("truncate {}", tables.data()));
            assert_refused(bed, &repository, &tables, "truncated", 1, &[]);
            writer.points(1, 50);
        }
        if step <= 2 {
            backup_meanwhile(&repository, &mut writer, &increment_words(by));
        }
        let made = increment(bed, &repository, &tables, by);
        assert_restored(bed, &repository, &tables, &[]);
        ids.push(made["backup"].as_str().unwrap().to_owned());
        states.push(cells(bed, &tables.data()));
    }
    // As of an earlier member.
    let (_, copy) = restored(bed, &repository, &tables, &[&ids[1]]);
    assert!(cells(bed, &copy.data()) == states[1]);
    let list = repository.run("list", &[]).expect(0).json;
    let last = list["backups"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["kind"], &last["parent"]), (&"incremental".into(), &ids[ids.len() - 2].as_str().into()));
    let gateway = bed.thrift2_address();
    for level in [&["files"][..], &["cells"], &["source", "--gateway", &gateway]] {
        let verified = repository.run("verify", &[&["--level"], level].concat()).expect(0).json;
        assert_eq!(verified["differences"], 0, "{verified}");
    }

    // Folded into one full backup, which is the same and needs the others no more.
    let full = repository.run("list", &[]).expect(0).json["backups"][0]["backup"].as_str().unwrap().to_owned();
    let wrong = repository.run("merge", &[&format!("{}..latest", ids[0])]).expect(2);
    assert!(wrong.err.contains("begins with"), "{}", wrong.err);
    let merged = repository.run("merge", &[&format!("{full}..latest")]).expect(0).json;
    let fresh = Repository::default();
    let again = fresh.backup(bed, &tables, &[]).expect(0).json;
    for table in again["tables"].as_array().unwrap() {
        let of = |report: &Value| {
            let table = table_of(report, table["table"].as_str().unwrap()).clone();
            ["rows", "cells", "points", "bytes", "checksum", "raw_reasons"].map(|field| table[field].clone())
        };
        assert_eq!(of(&merged), of(&again), "a full backup taken now");
    }
    let (points, _) = views::assert_agree(&repository, &ids[ids.len() - 1], merged["backup"].as_str().unwrap());
    assert!(points > 0);
    // So are their exports; of an increment alone there is no whole one.
    let lines = |of: &Repository, backup: &Value| {
        let words = [backup.as_str().unwrap(), "--format", "csv", "--tags", "map", "--output", "-"];
        let run = of.run("export", &words);
        let mut lines: Vec<String> = run.out.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        (lines, run.code, run.err)
    };
    let (of_merged, of_again) = (lines(&repository, &merged["backup"]), lines(&fresh, &again["backup"]));
    assert!(of_merged.0 == of_again.0 && of_merged.0.len() > 1 && of_merged.1 == of_again.1, "{}", of_merged.2);
    let (_, code, said) = lines(&repository, &ids[ids.len() - 1].clone().into());
    assert!(code == 3 && said.contains("merge makes a full backup"), "{said}");
    repository.run("prune", &["--keep-last", "1"]).expect(0);
    let kept = repository.run("list", &[]).expect(0).json;
    assert_eq!(kept["backups"].as_array().unwrap().len(), 1, "{kept}");
    assert_eq!(kept["backups"][0]["backup"], merged["backup"]);
    assert_eq!(repository.verify("cells", &[]).expect(0).json["differences"], 0);
    assert_restored(bed, &repository, &tables, &[]);
    // And an increment can add to it.
    writer.ordinary(1);
    increment(bed, &repository, &tables, "compare");
    assert_restored(bed, &repository, &tables, &[]);
}

/// A small chain of three.
fn small_chain(bed: &Bed) -> (Tables, Repository, Vec<String>) {
    let shape = Synthetic::default();
    let tables = shape.load(bed, &[]);
    let repository = Repository::default();
    let mut writer = Writer { bed, tables: &tables, shape, dice: Dice(7) };
    writer.points(0, 40);
    let mut ids = vec![repository.backup(bed, &tables, &[]).expect(0).json["backup"].as_str().unwrap().to_owned()];
    for by in ["time", "compare"] {
        writer.points(1, 40);
        ids.push(increment(bed, &repository, &tables, by)["backup"].as_str().unwrap().to_owned());
    }
    (tables, repository, ids)
}

/// What is wrong with a chain is found before the first write, and named.
#[test]
fn a_broken_chain_is_refused_before_anything_is_written() {
    let bed = Bed::shared();
    let (tables, repository, ids) = small_chain(bed);
    let copy = Tables::named(&format!("{}.", bed.unique("broken")), false);
    let manifest = |id: &str| repository.path().join("backups").join(id).join("manifest.json");
    let refused = |texts: &[&str]| {
        let run = repository.restore(bed, &tables, &copy, &[]).expect(1);
        texts.iter().for_each(|text| assert!(run.err.contains(text), "{text:?} is not in: {}", run.err));
        let merge = repository.run("merge", &[]).expect(1);
        texts.iter().for_each(|text| assert!(merge.err.contains(text), "{text:?} is not in: {}", merge.err));
        assert!(!bed.must("tables").contains(&copy.data()));
        let verify = repository.verify("files", &[]).expect(3);
        assert_ne!(verify.json["differences"], 0);
    };
    let with = |id: &str, change: &dyn Fn(&mut Value)| {
        let text = std::fs::read(manifest(id)).unwrap();
        let mut value: Value = serde_json::from_slice(&text).unwrap();
        change(&mut value);
        std::fs::write(manifest(id), sealed(&value)).unwrap();
        text
    };
    let back = |id: &str, text: Vec<u8>| std::fs::write(manifest(id), text).unwrap();

    // A missing link.
    let text = std::fs::read(manifest(&ids[1])).unwrap();
    std::fs::remove_file(manifest(&ids[1])).unwrap();
    refused(&["chain of backup", &ids[1]]);
    back(&ids[1], text);
    // A flipped byte, in a member's manifest and in a file of each member.
    let mut text = std::fs::read(manifest(&ids[0])).unwrap();
    let whole = text.clone();
    text[100] ^= 1;
    std::fs::write(manifest(&ids[0]), text).unwrap();
    refused(&[&ids[0]]);
    back(&ids[0], whole);
    for id in &ids {
        let folder = repository.path().join("backups").join(id).join("points");
        let file = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
        let file = file.filter(|path| path.is_file()).min().unwrap();
        let whole = std::fs::read(&file).unwrap();
        let mut text = whole.clone();
        let middle = text.len() / 2;
        text[middle] ^= 1;
        std::fs::write(&file, text).unwrap();
        refused(&[file.file_name().unwrap().to_str().unwrap()]);
        std::fs::write(&file, whole).unwrap();
    }
    // Another backup in a member's place, whole in itself.
    let text = with(&ids[0], &|value| value["tool_version"] = "9.9.9".into());
    refused(&[&ids[0], "is not the backup that"]);
    back(&ids[0], text);
    // A member of another repository, and one that is its own ancestor.
    let text = with(&ids[2], &|value| value["repository"] = "0".repeat(32).into());
    refused(&["another repository"]);
    back(&ids[2], text);
    let text = with(&ids[2], &|value| value["parent"] = ids[2].as_str().into());
    refused(&["chain of backup"]);
    back(&ids[2], text);
    // Two children of one parent are two chains, and each is whole.
    repository.backup(bed, &tables, &["--incremental", "--parent", &ids[1]]).expect(0);
    assert_restored(bed, &repository, &tables, &[]);
    assert_restored(bed, &repository, &tables, &[&ids[2]]);
    // Members are kept for the sake of the increments that need them.
    repository.run("prune", &["--keep-last", "1"]).expect(0);
    assert_restored(bed, &repository, &tables, &[]);
    let unknown = repository.backup(bed, &tables, &["--incremental", "--parent", "2020"]).expect(2);
    assert!(unknown.err.contains("2020"), "{}", unknown.err);
}

/// Cells that carry the time of their point do not say when they were written.
#[test]
fn write_times_that_are_none_are_refused() {
    let bed = Bed::shared();
    let shape = Synthetic::default();
    let tables = Tables::create(bed, false, &[]);
    let by_point = |cell: OwnedCell| OwnedCell { timestamp: cell.timestamp - 137, ..cell };
    load(bed, &tables.data(), &shape.data().into_iter().map(by_point).collect::<Vec<_>>());
    load(bed, &format!("{}tsdb-uid", tables.prefix), &shape.uids());
    let repository = Repository::default();
    // Seen before there is a backup, also by one that would be hours at work before its catch-up pass.
    let (fits, why) = advised(bed, &repository, &tables, &[]);
    assert!(fits == "compare" && why.contains("time of their point"), "{fits}: {why}");
    for more in [&["--catch-up", "--dry-run"][..], &["--catch-up"]] {
        let refused = repository.backup(bed, &tables, more).expect(1);
        assert!(refused.err.contains("--catch-up does not work here: the newest cells"), "{}", refused.err);
    }
    assert!(repository.files().is_empty(), "{:?}", repository.files());
    repository.backup(bed, &tables, &[]).expect(0);
    // A late point.
    let row = shape.key(0, 0, 0);
    load(bed, &tables.data(), &[by_point(shape.cell(&row, 0, 300))]);
    assert_refused(bed, &repository, &tables, "time of their point", 1, &[]);
    increment(bed, &repository, &tables, "compare");
    assert_restored(bed, &repository, &tables, &[]);

    let old = ["--incremental", "--by", "time", "--horizon", "0s"];
    let (tables, repository, _) = small_chain(bed);
    let refused = repository.backup(bed, &tables, &old).expect(1);
    assert!(refused.err.contains("major compaction"), "{}", refused.err);
    let (fits, why) = advised(bed, &repository, &tables, &[]);
    assert!(fits == "time" && why == "[][]", "{fits}: {why}");
    // What the configuration says, and what names are read with.
    let conf = bed.folder().join(format!("{}.conf", bed.unique("by-point")));
    std::fs::write(&conf, "tsd.storage.use_otsdb_timestamp = true\n").unwrap();
    let by_conf = ["--opentsdb-conf", conf.to_str().unwrap()];
    assert_refused(bed, &repository, &tables, "use_otsdb_timestamp", 1, &by_conf);
    let charset = ["--name-charset", "utf-8"];
    let (fits, why) = advised(bed, &repository, &tables, &charset);
    assert!(fits.is_null() && why.contains("can be no parent"), "{fits}: {why}");
    let refused = repository.backup(bed, &tables, &[&["--incremental"][..], &charset].concat()).expect(2);
    assert!(refused.err.contains("can be no parent"), "{}", refused.err);
    increment(bed, &repository, &tables, "time");
    // A parent of eight days ago.
    let aged = Repository::default();
    aged.backup(bed, &tables, &[]).expect(0);
    let manifest = aged.path().join(aged.files().iter().find(|file| file.ends_with("/manifest.json")).unwrap());
    let mut value: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    value["started_ms"] = (now_ms() - 8 * 86_400_000).into();
    std::fs::write(&manifest, sealed(&value)).unwrap();
    assert_refused(bed, &aged, &tables, "major compaction", 1, &[]);

    bed.must(&format!("alter {} t NEW_VERSION_BEHAVIOR=true,VERSIONS=2", tables.data()));
    assert_refused(bed, &repository, &tables, "NEW_VERSION_BEHAVIOR", 2, &[]);
    let made = increment(bed, &repository, &tables, "compare");
    assert_restored(bed, &repository, &tables, &[]);
    // Views cannot show what becomes of older versions: they are of the increment alone, and say so, as stored ones do.
    let id = made["backup"].as_str().unwrap();
    let shown = repository.run("show", &[id, "--views"]).expect(0).json["views"].as_str().unwrap().to_owned();
    assert!(shown.contains("keeps 2 versions"), "{shown}");
    let stored = std::fs::read_to_string(repository.path().join("backups").join(id).join("views.sql")).unwrap();
    for sql in [shown, stored] {
        assert!(sql.starts_with(&format!("-- Of increment {id} ALONE")) && !sql.contains("view points"), "{sql}");
        assert!(sql.contains("view increment_points as") && sql.contains("from increment_series"), "{sql}");
    }
    let fresh = Repository::default();
    let none = fresh.backup(bed, &tables, &["--incremental"]).expect(2);
    assert!(none.err.contains("without --incremental"), "{}", none.err);
}

//! A part of a backup: exactly the selected cells arrive, with the UIDs that they use, and what cannot be proven is not
//! written.
//!
//! What is expected is chosen from the source, as HBase's own client reads it, by a filter that is written anew here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tsdb_ark::model::{OwnedCell, kind};

use crate::support::ark::{Repository, Run};
use crate::support::bed::Bed;
use crate::support::golden;
use crate::support::synthetic;
use crate::support::tsd::Tables;

/// The first hour of the set, in seconds.
const BEGIN: i64 = 1_356_998_400;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Names by column of the UID table and UID.
struct Names(BTreeMap<(String, Vec<u8>), String>);

impl Names {
    fn read(uids: &[OwnedCell]) -> Self {
        let reverse = uids.iter().filter(|cell| cell.family == b"name");
        // ISO-8859-1: one byte, one character.
        let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
        Self(reverse.map(|cell| ((text(&cell.qualifier), cell.row.clone()), text(&cell.value))).collect())
    }

    fn of(&self, column: &str, uid: &[u8]) -> &str {
        self.0.get(&(column.to_owned(), uid.to_vec())).map_or("", String::as_str)
    }
}

/// A selection in words of its own.
struct Chosen<'a> {
    metric: &'a dyn Fn(&str) -> bool,
    tag: Option<(&'a str, &'a [&'a str])>,
    /// Seconds: first, and first one behind.
    time: std::ops::Range<i64>,
}

impl Chosen<'_> {
    /// Whether a cell of the data table is selected; of one that is no point, whether its hour is.
    fn has(&self, names: &Names, cell: &OwnedCell) -> bool {
        let (metric, rest) = cell.row.split_at(3);
        let (base, tags) = rest.split_at(4);
        let base = i64::from(u32::from_be_bytes(base.try_into().unwrap()));
        let tagged = |(key, values): (&str, &[&str])| {
            let is =
                |pair: &[u8]| names.of("tagk", &pair[..3]) == key && values.contains(&names.of("tagv", &pair[3..]));
            tags.chunks(6).any(is)
        };
        (self.metric)(names.of("metrics", metric)) && self.tag.is_none_or(tagged) && self.meets(base, &cell.qualifier)
    }

    fn meets(&self, base: i64, qualifier: &[u8]) -> bool {
        if qualifier.len() % 2 == 1 {
            return base < self.time.end && base + 3600 > self.time.start;
        }
        let (mut at, mut any) = (0, false);
        while at < qualifier.len() {
            let ms = if qualifier[at] >= 0xf0 {
                let word = u32::from_be_bytes(qualifier[at..at + 4].try_into().unwrap());
                at += 4;
                i64::from(word >> 6 & 0x3f_ffff)
            } else {
                let word = u16::from_be_bytes(qualifier[at..at + 2].try_into().unwrap());
                at += 2;
                i64::from(word >> 4) * 1000
            };
            let time = base * 1000 + ms;
            any |= self.time.start * 1000 <= time && time < self.time.end * 1000;
        }
        any
    }
}

fn sorted(mut cells: Vec<OwnedCell>) -> Vec<OwnedCell> {
    cells.sort();
    cells
}

/// The cells of the UID table that rows of the data table need, and the counters.
fn needed(rows: &[OwnedCell], uids: &[OwnedCell]) -> Vec<OwnedCell> {
    let mut used = BTreeSet::new();
    for cell in rows {
        used.insert((&b"metrics"[..], cell.row[..3].to_vec()));
        for pair in cell.row[7..].chunks(6) {
            used.insert((&b"tagk"[..], pair[..3].to_vec()));
            used.insert((&b"tagv"[..], pair[3..].to_vec()));
        }
    }
    let is_needed = |cell: &&OwnedCell| {
        let uid = if cell.family == b"id" { &cell.value } else { &cell.row };
        cell.row == [0] || used.contains(&(cell.qualifier.as_slice(), uid.clone()))
    };
    sorted(uids.iter().filter(is_needed).cloned().collect())
}

fn uid_table(tables: &Tables) -> String {
    format!("{}tsdb-uid", tables.prefix)
}

fn other(bed: &Bed, like: &Tables) -> Tables {
    Tables::named(&format!("{}.", bed.unique("part")), like.rollups)
}

/// What is in a table; nothing when it does not exist.
fn dump(bed: &Bed, table: &str) -> Vec<OwnedCell> {
    match bed.client().table_exists(table).unwrap() {
        true => sorted(golden::dump(bed, table, false)),
        false => Vec::new(),
    }
}

#[track_caller]
fn assert_cells(found: &[OwnedCell], wanted: &[OwnedCell], what: &str) {
    let lacks: Vec<_> = wanted.iter().filter(|cell| !found.contains(cell)).take(3).collect();
    let more: Vec<_> = found.iter().filter(|cell| !wanted.contains(cell)).take(3).collect();
    assert!(found == wanted, "{what}: {} of {}; lacks {lacks:?}; more {more:?}", found.len(), wanted.len());
}

#[track_caller]
fn refused(run: Run, code: i32, texts: &[&str]) {
    let run = run.expect(code);
    for text in texts {
        assert!(run.err.contains(text), "{text:?} is not in: {}", run.err);
    }
}

fn count(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap()
}

#[test]
fn a_part_of_a_mixed_backup_is_restored_exactly() {
    let bed = Bed::shared();
    let source = golden::load(bed, "opentsdb-2.4.1");
    let (data, uids) = (dump(bed, &source.data()), dump(bed, &uid_table(&source)));
    let names = Names::read(&uids);
    let repository = Repository::default();
    repository.backup(bed, &source, &[]).expect(0);
    let begin = BEGIN;
    let un = |name: &str| name.starts_with("un.");
    let cases: [(&str, Chosen<'_>, &[&str]); 3] = [
        ("metric", Chosen { metric: &un, tag: None, time: 0..i64::MAX / 2000 }, &["--metric", "un.*"]),
        (
            "tag and time",
            Chosen { metric: &|_| true, tag: Some(("host", &["h1", "d"])), time: begin + 600..begin + 3660 },
            &["--tag", "host=h1", "--tag", "host=d", "--from", "2013-01-01T00:10", "--to", "1357002060"],
        ),
        (
            "one cell of many",
            Chosen { metric: &|name| name == "mix.all", tag: None, time: begin + 3600..begin + 3601 },
            &["--metric", "mix.all", "--from", "2013-01-01T01:00Z", "--to", "2013-01-01T01:00:01Z"],
        ),
    ];
    for (what, chosen, flags) in &cases {
        let target = other(bed, &source);
        let wanted: Vec<OwnedCell> = data.iter().filter(|cell| chosen.has(&names, cell)).cloned().collect();
        assert!(!wanted.is_empty() && wanted.len() < data.len(), "{what}: {}", wanted.len());
        let dry = repository.restore(bed, &source, &target, &[*flags, &["--dry-run"]].concat()).expect(0).json;
        let planned: u64 = dry["planned"].as_array().unwrap().iter().map(|table| count(table, "/cells")).sum();
        let report = repository.restore(bed, &source, &target, flags).expect(0).json;
        assert_cells(&dump(bed, &target.data()), &wanted, what);
        let with = needed(&wanted, &uids);
        let rollups = count(&report, "/selection/uid_cells") - with.len() as u64;
        assert!(rollups == 0 || *what == "metric", "{what}: only un.* has none of the rollups' names");
        if rollups == 0 {
            assert_cells(&dump(bed, &uid_table(&target)), &with, what);
        }
        assert_eq!(count(&report, "/differences"), 0, "{report}");
        let sent: u64 = report["tables"].as_array().unwrap().iter().map(|table| count(table, "/cells")).sum();
        assert_eq!(sent, planned, "{what}");
        assert!(report["selection"]["left_out"].to_string().contains("tsdb-meta"), "{report}");
    }
    again(bed, &repository, &source);
    let shown = repository.run("show", &["--metric", "*.all", "--tag", "host=h[12]"]).expect(0).json;
    let all = |field: &str, key: &str| -> BTreeSet<String> {
        shown[field].as_array().unwrap().iter().map(|item| item[key].to_string()).collect()
    };
    assert_eq!(all("metrics", "metric"), ["\"mix.all\"", "\"un.all\""].map(str::to_owned).into());
    let tags = ["h1", "h2"].map(|host| format!("{{\"dc\":\"a\",\"host\":\"{host}\"}}"));
    assert_eq!((all("series", "tags"), shown["series"].as_array().unwrap().len()), (tags.into(), 4), "{shown}");
    let none = repository.run("show", &["--metric", "*.all", "--from", "2014-01-01"]).expect(0).json;
    assert_eq!((none["metrics"].as_array().unwrap().len(), &none["series"]), (0, &Value::Null));
    refused(repository.restore(bed, &source, &other(bed, &source), &["--metric", "no.such"]), 2, &["holds no point"]);
    of_a_chain(bed, &repository, &source);
}

/// What is there already is no obstacle, what is missing is added, and only by the same selection.
fn again(bed: &Bed, repository: &Repository, source: &Tables) {
    let target = other(bed, source);
    let int = &["--metric", "mix.int"];
    repository.restore(bed, source, &target, int).expect(0);
    let before = (dump(bed, &target.data()), dump(bed, &uid_table(&target)));
    // A restore that did not come to its end.
    let newest = repository.files().into_iter().filter(|path| path.starts_with("restores/")).collect::<Vec<_>>();
    let finished: Vec<_> = newest.iter().filter(|path| path.ends_with("finished.json")).collect();
    finished.iter().for_each(|path| std::fs::remove_file(repository.path().join(path)).unwrap());
    refused(
        repository.restore(bed, source, &target, &["--resume", "--metric", "mix.dense"]),
        2,
        &["restores another selection (--metric mix.int)"],
    );
    refused(repository.restore(bed, source, &target, &["--resume"]), 2, &["restores another selection"]);
    let resumed = repository.restore(bed, source, &target, &["--resume", "--metric", "mix.int"]).expect(0).json;
    assert!(resumed["tables"].as_array().unwrap().iter().any(|table| count(table, "/files_skipped") > 0), "{resumed}");
    assert_eq!((dump(bed, &target.data()), dump(bed, &uid_table(&target))), before);
    // Into tables with rows: names that are there stay, others are added, counters are left alone.
    refused(repository.restore(bed, source, &target, &["--metric", "un.float"]), 1, &["--into-existing"]);
    repository.restore(bed, source, &target, &["--metric", "un.float", "--into-existing"]).expect(0);
    let (data, uids) = (dump(bed, &target.data()), dump(bed, &uid_table(&target)));
    assert!(before.0.iter().all(|cell| data.contains(cell)) && data.len() > before.0.len());
    assert_cells(&uids, &needed(&data, &dump(bed, &uid_table(source))), "UIDs of both");
    // A counter below what is missing: a TSD would give that UID to another name.
    let counter = uids.iter().find(|cell| cell.row == [0] && cell.qualifier == b"metrics").unwrap();
    let low = OwnedCell { value: 2u64.to_be_bytes().to_vec(), timestamp: counter.timestamp + 1, ..counter.clone() };
    synthetic::load(bed, &uid_table(&target), &[low]);
    refused(
        repository.restore(bed, source, &target, &["--metric", "un.dense", "--into-existing"]),
        1,
        &["the counter of metrics UIDs", "is 2", "incr '"],
    );
    // A name that has another UID there.
    let taken = uids.iter().find(|cell| cell.family == b"id" && cell.row == b"un.float").unwrap();
    let other = OwnedCell { value: vec![0, 9, 9], timestamp: taken.timestamp + 1, ..taken.clone() };
    synthetic::load(bed, &uid_table(&target), &[other]);
    refused(
        repository.restore(bed, source, &target, &["--metric", "un.float", "--into-existing"]),
        1,
        &["do not agree with the backup"],
    );
}

/// A part of a chain, of an earlier member of it, and of a window, each as HBase shows it at that time.
fn of_a_chain(bed: &Bed, repository: &Repository, source: &Tables) {
    let now = now_ms();
    let data = source.data();
    let is_un = |name: &str| name.starts_with("un.");
    let part = Chosen { metric: &is_un, tag: Some(("host", &["h1", "d"])), time: BEGIN + 600..BEGIN + 3660 };
    let flags =
        ["--metric", "un.*", "--tag", "host=h1", "--tag", "host=d", "--from", "1356999000", "--to", "1357002060"];
    let wanted = |chosen: &Chosen<'_>| -> (Vec<OwnedCell>, Vec<OwnedCell>) {
        let uids = dump(bed, &uid_table(source));
        let names = Names::read(&uids);
        let cells: Vec<OwnedCell> = dump(bed, &data).into_iter().filter(|cell| chosen.has(&names, cell)).collect();
        let with = needed(&cells, &uids);
        (cells, with)
    };
    let restored = |words: &[&str], (cells, uids): &(Vec<OwnedCell>, Vec<OwnedCell>), what: &str| {
        let target = other(bed, source);
        let gateway = bed.thrift2_address();
        let renames = [(&data, target.data()), (&uid_table(source), uid_table(&target))];
        let renames = renames.map(|(old, new)| format!("--rename-table={old}={new}"));
        let words = [&["--gateway", &gateway, &renames[0], &renames[1]], words].concat();
        let report = repository.run("restore", &words).expect(0).json;
        assert_cells(&dump(bed, &target.data()), cells, what);
        assert_cells(&dump(bed, &uid_table(&target)), uids, what);
        assert_eq!(count(&report, "/differences"), 0, "{report}");
        target
    };
    let before = wanted(&part);
    // Written over, deleted, late, of a new metric; some of it selected.
    let single: Vec<OwnedCell> = before.0.iter().filter(|cell| cell.qualifier.len() == 2).cloned().collect();
    let marker = |cell: &OwnedCell, kind: u8| OwnedCell { kind, value: Vec::new(), timestamp: now, ..cell.clone() };
    let mut changes: Vec<OwnedCell> = single[..20]
        .iter()
        .map(|cell| OwnedCell { timestamp: now, value: vec![1; cell.value.len()], ..cell.clone() })
        .collect();
    changes.extend(single[20..40].iter().map(|cell| marker(cell, kind::DELETE_COLUMN)));
    let row = OwnedCell { qualifier: Vec::new(), ..before.0.last().unwrap().clone() };
    changes.push(marker(&row, kind::DELETE_FAMILY));
    let new_row = [&[0, 9, 9], &single[0].row[3..]].concat();
    changes.push(OwnedCell { row: new_row, timestamp: now, ..single[0].clone() });
    synthetic::load(bed, &data, &changes);
    let uid = |row: &[u8], family: &str, value: &[u8]| {
        let (family, qualifier) = (family.as_bytes().to_vec(), b"metrics".to_vec());
        OwnedCell { row: row.to_vec(), family, qualifier, timestamp: now, kind: kind::PUT, value: value.to_vec() }
    };
    synthetic::load(bed, &uid_table(source), &[uid(b"un.new", "id", &[0, 9, 9]), uid(&[0, 9, 9], "name", b"un.new")]);
    let others = ["tsdb-meta", "tsdb-tree", "tsdb-rollup-1h"].map(|name| format!("{}{name}", source.prefix));
    change(bed, &others);
    let first = repository.backup(bed, source, &["--incremental", "--by", "time"]).expect(0).json;
    let earlier = wanted(&part);
    assert!(earlier.0 != before.0 && earlier.1 != before.1);
    // What only a comparison sees: one version deleted, and a value replaced under its own timestamp.
    let mut changes: Vec<OwnedCell> = single[40..60]
        .iter()
        .map(|cell| OwnedCell { timestamp: cell.timestamp, ..marker(cell, kind::DELETE) })
        .collect();
    changes.extend(single[60..80].iter().map(|cell| OwnedCell { value: vec![2; cell.value.len()], ..cell.clone() }));
    synthetic::load(bed, &data, &changes);
    change(bed, &others);
    repository.backup(bed, source, &["--incremental", "--by", "compare"]).expect(0);
    let last = wanted(&part);
    assert!(last.0 != earlier.0);
    let target = restored(&flags, &last, "a part of a chain");
    let id = first["backup"].as_str().unwrap();
    restored(&[&flags[..], &[id]].concat(), &earlier, "a part of an earlier member");
    let window =
        repository.backup(bed, source, &["--metric", "un.*", "--from", "1356998400", "--to", "1357003000"]).expect(0);
    let of_window =
        Chosen { metric: &|name| name == "un.all", tag: Some(("host", &["h1"])), time: BEGIN + 900..BEGIN + 3700 };
    let words = ["--metric", "un.all", "--tag", "host=h1", "--from", "1356999300", "--to", "1357002100"];
    let id = window.json["backup"].as_str().unwrap();
    restored(&[&words[..], &[id]].concat(), &wanted(&of_window), "a part of a window");
    rollups_of_a_day(bed, source);
    above_markers(bed, repository, source, (&target, &flags, &last.0));
}

/// What was deleted in the target comes back with new timestamps, or not at all.
fn above_markers(
    bed: &Bed,
    repository: &Repository,
    source: &Tables,
    (target, flags, cells): (&Tables, &[&str], &[OwnedCell]),
) {
    let now = now_ms();
    let gone: Vec<&OwnedCell> = cells.iter().step_by(50).collect();
    let marker = |cell: &&OwnedCell| OwnedCell {
        kind: kind::DELETE_COLUMN,
        value: Vec::new(),
        timestamp: now,
        ..(*cell).clone()
    };
    synthetic::load(bed, &target.data(), &gone.iter().map(marker).collect::<Vec<_>>());
    let again = [flags, &["--into-existing"]].concat();
    refused(repository.restore(bed, source, target, &again), 1, &["delete marker", "--new-timestamps"]);
    assert_eq!(dump(bed, &target.data()).len(), cells.len() - gone.len());
    let report = repository.restore(bed, source, target, &[&again[..], &["--new-timestamps"]].concat()).expect(0).json;
    let anew: u64 = report["tables"].as_array().unwrap().iter().map(|table| count(table, "/new_timestamps")).sum();
    assert_eq!(anew, gone.len() as u64, "{report}");
    let without_time = |cell: &OwnedCell| OwnedCell { timestamp: 0, ..cell.clone() };
    let found = dump(bed, &target.data());
    let [found_values, values] = [&found[..], cells].map(|cells| sorted(cells.iter().map(without_time).collect()));
    assert_cells(&found_values, &values, "values above markers");
    assert_eq!(found.iter().filter(|cell| cells.binary_search(cell).is_err()).count(), gone.len());
}

/// A window holds rows of rollups whole, here those of a day.
fn rollups_of_a_day(bed: &Bed, source: &Tables) {
    let config = source.rollup_config(bed);
    let window = |time: i64| {
        let (from, to) = (time.to_string(), (time + 1).to_string());
        let words = ["--metric", "mix.rollup", "--from", &from, "--to", &to];
        let words = [&words, &["--rollup-config", config.to_str().unwrap()][..]].concat();
        Repository::default().backup(bed, source, &words)
    };
    let report = window(BEGIN + 40_000).expect(0).json;
    for table in ["tsdb-rollup-1h", "tsdb-rollup-preagg-1h"].map(|name| format!("{}{name}", source.prefix)) {
        synthetic::assert_tally(&report, &table, &synthetic::tally(&golden::dump(bed, &table, false)));
    }
    refused(window(BEGIN + 100_000), 3, &["holds no row"]);
}

/// A cell of each of these tables written over, and one deleted.
fn change(bed: &Bed, tables: &[String]) {
    let timestamp = now_ms();
    for table in tables {
        let cells = dump(bed, table);
        let (over, gone) = (&cells[0], cells.last().unwrap());
        let over = OwnedCell { timestamp, ..over.clone() };
        let gone = OwnedCell { timestamp, kind: kind::DELETE_COLUMN, value: Vec::new(), ..gone.clone() };
        synthetic::load(bed, table, &[over, gone]);
    }
}

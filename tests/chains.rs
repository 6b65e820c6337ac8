//! A full backup and its increments, restored together, are the table as it was at the last one.
//!
//! A writer does to the tables what a TSD, an operator and HBase do: new metrics, late points, overwrites, deletes of all
//! kinds, rows that are compacted as a TSD does it, annotations, flushes, splits, major compactions and a truncation.
//! After each increment its chain is restored into new tables, and HBase's own client says whether they are equal.
//! `TSDB_ARK_INCREMENTS=20` makes more of them, `TSDB_ARK_SEED` other ones.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::ark::{Repository, Run};
use support::bed::Bed;
use support::golden;
use support::synthetic::{Dice, Synthetic, load};
use support::tsd::Tables;
use tsdb_ark::model::{OwnedCell, kind};

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

/// Restores the newest chain into new tables and compares them with the source. Gives the report.
#[track_caller]
fn assert_restored(bed: &Bed, repository: &Repository, tables: &Tables, more: &[&str]) -> Run {
    let copy = Tables::named(&format!("{}.", bed.unique("copy")), false);
    let run = repository.restore(bed, tables, &copy, more).expect(0);
    for (old, new) in tables.names().iter().zip(copy.names()) {
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
    for name in copy.names() {
        bed.must(&format!("drop {name}"));
    }
    run
}

fn increment(bed: &Bed, repository: &Repository, tables: &Tables, by: &str) -> Value {
    repository.backup(bed, tables, &["--incremental", "--by", by]).expect(0).json
}

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
    repository.backup(bed, &tables, &[]).expect(0);
    let (mut ids, mut states) = (Vec::new(), Vec::new());
    for step in 1..=number("TSDB_ARK_INCREMENTS", 6) {
        let by = if step % 2 == 1 { "time" } else { "compare" };
        match by {
            "time" => writer.ordinary(step),
            _ => writer.everything(step),
        }
        if step == 4 {
            bed.must(&format!("truncate {}", tables.data()));
            let refused = repository.backup(bed, &tables, &["--incremental", "--by", "time"]).expect(1);
            assert!(refused.err.contains("truncated") && refused.err.contains("--by compare"), "{}", refused.err);
            writer.points(1, 50);
        }
        let made = increment(bed, &repository, &tables, by);
        assert_restored(bed, &repository, &tables, &[]);
        ids.push(made["backup"].as_str().unwrap().to_owned());
        states.push(cells(bed, &tables.data()));
    }
    // As of an earlier member.
    let copy = Tables::named(&format!("{}.", bed.unique("asof")), false);
    repository.restore(bed, &tables, &copy, &[&ids[1]]).expect(0);
    assert!(cells(bed, &copy.data()) == states[1]);
    let list = repository.run("list", &[]).expect(0).json;
    let last = list["backups"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["kind"], &last["parent"]), (&"incremental".into(), &ids[ids.len() - 2].as_str().into()));
    let gateway = bed.thrift2_address();
    for level in [&["files"][..], &["cells"], &["source", "--gateway", &gateway]] {
        let verified = repository.run("verify", &[&["--level"], level].concat()).expect(0).json;
        assert_eq!(verified["differences"], 0, "{verified}");
    }
}

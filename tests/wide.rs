//! Rows of a million cells and cells of ten megabytes, there and back, in the memory that is promised.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use support::ark::Repository;
use support::bed::Bed;
use support::tsd::Tables;
use tsdb_ark::model::{Cell, kind};
use tsdb_ark::put::{CellWriter, PutOptions};

/// What is promised for the defaults.
const MOST_MEMORY: u64 = 512 << 20;
/// `hbase.client.keyvalue.maxsize`, which counts the key and the lengths too.
const GREATEST_CELL: usize = 10 << 20;
const CELLS: u32 = 1_000_000;
const POINTS: u32 = 500_000;
const GREAT_ROWS: u32 = 40;
const TIME: i64 = 1_700_000_000_000;

/// Writes what `cells` hands out; the table has the family `t` alone.
fn fill(bed: &Bed, table: &str, cells: impl FnOnce(&mut dyn FnMut(&[u8], &[u8], &[u8]))) {
    let mut client = bed.client();
    let mut writer = CellWriter::new(&mut client, table, vec![b"t".to_vec()], &[], PutOptions::default());
    cells(&mut |row, qualifier, value| {
        let cell = Cell { row, family: b"t", qualifier, timestamp: TIME, kind: kind::PUT, value };
        writer.write(&cell).unwrap();
    });
    writer.finish().unwrap();
}

/// Bytes that do not compress, different for every seed.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) * 2 + 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ state >> 29).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn assert_fits(what: &str, report: &Value) {
    let peak = report["peak_rss_bytes"].as_u64().unwrap();
    eprintln!("{what}: {} MiB at most, {:.1} s", peak >> 20, report["seconds"].as_f64().unwrap());
    assert!(peak <= MOST_MEMORY, "{what} held {} MiB", peak >> 20);
}

/// Backs up, verifies and restores the tables and `extra`.
fn there_and_back(bed: &Bed, tables: &Tables, extra: &[&str], table: &str, cells: u64) {
    let repository = Repository::default();
    let mut flags: Vec<&str> = extra.iter().flat_map(|table| ["--table", table]).collect();
    let backup = repository.backup(bed, tables, &flags).expect(0).json;
    let report = backup["tables"].as_array().unwrap().iter().find(|found| found["table"] == table).unwrap();
    assert_eq!(report["cells"].as_u64(), Some(cells), "{report}");
    assert_fits("backup", &backup);
    let verified = repository.run("verify", &["--level", "cells"]).expect(0).json;
    assert_fits("verify --level cells", &verified);
    let renames: Vec<String> = extra.iter().map(|table| format!("{table}={table}-again")).collect();
    flags = renames.iter().flat_map(|rename| ["--rename-table", rename]).collect();
    let target = Tables::named(&format!("{}.", bed.unique("r")), false);
    let restored = repository.restore(bed, tables, &target, &flags).expect(0).json;
    assert_eq!(restored["differences"], 0, "{restored}");
    assert_fits("restore", &restored);
    let gateway = bed.thrift2_address();
    let compared = repository.run("verify", &["--level", "source", "--gateway", &gateway]).expect(0).json;
    assert_fits("verify --level source", &compared);
    for name in target.names().into_iter().chain(extra.iter().map(|table| format!("{table}-again"))) {
        bed.must(&format!("drop {name}"));
    }
}

#[test]
fn a_row_of_a_million_cells() {
    let bed = Bed::shared();
    let tables = Tables::create(bed, false, &[]);
    let extra = bed.unique("wide");
    bed.must(&format!("create {extra} t"));
    fill(bed, &extra, |cell| {
        (0..CELLS).for_each(|n| cell(b"wide", format!("q{n:07}").as_bytes(), &noise(n, 8)));
        (0..100u32).for_each(|n| cell(format!("z{n}").as_bytes(), b"q", b"narrow"));
    });
    there_and_back(bed, &tables, &[&extra], &extra, u64::from(CELLS) + 100);
    bed.must(&format!("drop {extra}"));
}

#[test]
fn an_hour_of_half_a_million_points() {
    let bed = Bed::shared();
    let tables = Tables::create(bed, false, &[]);
    // Metric 1, the hour of 1,700,000,000 and tag 1 = 1; a point every seven milliseconds, and cells that are none.
    let row = [&[0, 0, 1][..], &1_699_999_200u32.to_be_bytes(), &[0, 0, 1, 0, 0, 1]].concat();
    fill(bed, &tables.data(), |cell| {
        for n in 0..POINTS {
            cell(&row, &(0xf000_0000 | (n * 7) << 6 | 7).to_be_bytes(), &noise(n, 8));
        }
    });
    let odd = [&[0, 0, 1][..], &1_700_002_800u32.to_be_bytes(), &[0, 0, 1, 0, 0, 1]].concat();
    fill(bed, &tables.data(), |cell| {
        (0..POINTS / 5).for_each(|n| cell(&odd, format!("odd{n:06}").as_bytes(), &noise(n, 8)))
    });
    there_and_back(bed, &tables, &[], &tables.data(), u64::from(POINTS + POINTS / 5));
}

#[test]
fn cells_as_great_as_hbase_takes_them() {
    let bed = Bed::shared();
    let tables = Tables::create(bed, false, &[]);
    let extra = bed.unique("great");
    bed.must(&format!("create {extra} t"));
    fill(bed, &extra, |cell| {
        for n in 0..GREAT_ROWS {
            let row = format!("row{n:03}");
            let length = GREATEST_CELL - row.len() - "t".len() - "q".len() - 24;
            cell(row.as_bytes(), b"q", &noise(n, length));
        }
    });
    there_and_back(bed, &tables, &[&extra], &extra, u64::from(GREAT_ROWS));
    bed.must(&format!("drop {extra}"));
}

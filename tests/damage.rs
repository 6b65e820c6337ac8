//! Damaged and strange cells: nothing stops, nothing vanishes, each one comes back and is reported by its reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod support;

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use support::ark::Repository;
use support::bed::Bed;
use support::golden;
use support::tsd::Tables;
use tsdb_ark::model::{OwnedCell, kind};

/// 2013-01-01T00:00Z in seconds.
const BASE: u32 = 1_356_998_400;

fn hex(text: &str) -> Vec<u8> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The key of series 000001 000001=000001 so many hours after [`BASE`].
fn key(hour: u32) -> Vec<u8> {
    [hex("000001"), (BASE + hour * 3600).to_be_bytes().to_vec(), hex("000001000001")].concat()
}

#[derive(Default)]
struct Corpus {
    cells: Vec<OwnedCell>,
    /// Reason that a cell of the corpus must be reported with.
    reasons: Vec<&'static str>,
    hour: u32,
}

impl Corpus {
    fn put(&mut self, row: Vec<u8>, family: &str, qualifier: &str, timestamp: i64, value: &str) {
        self.mark(row, family, qualifier, timestamp, kind::PUT, value);
    }

    fn mark(&mut self, row: Vec<u8>, family: &str, qualifier: &str, timestamp: i64, kind: u8, value: &str) {
        let (family, qualifier, value) = (family.as_bytes().to_vec(), hex(qualifier), hex(value));
        self.cells.push(OwnedCell { row, family, qualifier, timestamp, kind, value });
    }

    /// A cell in a row of its own, with the reason it is reported by; empty: it is a fine cell.
    fn one(&mut self, qualifier: &str, value: &str, reason: &'static str) {
        self.hour += 1;
        self.put(key(self.hour), "t", qualifier, 1_600_000_000_000, value);
        if !reason.is_empty() {
            self.reasons.push(reason);
        }
    }

    fn row(&mut self, row: &str, reason: &'static str) {
        self.put(hex(row), "t", "0010", 1_600_000_000_001, "05");
        if !reason.is_empty() {
            self.reasons.push(reason);
        }
    }
}

fn singles(corpus: &mut Corpus) {
    corpus.one("000b", "0000000042280000", "repaired_flags");
    corpus.one("001f", "42280000", "repaired_flags");
    corpus.one("0010", "0000000000000005", "repaired_flags");
    corpus.one("002b", "ffffffff43fa6666", "dirty_float_prefix");
    corpus.one("002b", "fb02f40f43fa6666", "dirty_float_prefix");
    corpus.one("0000", "", "empty_value");
    corpus.one("0000", "040404", "bad_value_length");
    corpus.one("000b", "040404", "bad_value_length");
    corpus.one("0000", "0400", "repaired_flags");
    corpus.one("e100", "05", "offset_outside_hour");
    corpus.one("f0000050", "05", "unused_bits");
    corpus.one("f0000040", "0505", "bad_value_length");
    corpus.one("f00f", "05", "");
    corpus.one("001b", "7fa00001", "nan_payload");
    corpus.one("001b", "7fc00000", "");
    corpus.one("0017", "0000000000000001", "");
}

fn columns(corpus: &mut Corpus) {
    corpus.one("00000010", "040502", "odd_trailing_byte");
    corpus.one("00000010", "0405ff", "odd_trailing_byte");
    corpus.one("00000010", "04050000", "bad_compacted");
    corpus.one("00070017", "0000000000000004", "bad_compacted");
    corpus.one("00100000", "050400", "");
    corpus.one("00000010", "0405", "");
    corpus.one("000000100000", "04070600", "");
    corpus.one("05000510", "2a2b00", "");
    corpus.one("ff00000000000010", "05", "bad_compacted");
    corpus.one("00020010", "04040405 00", "impossible_flags");
    corpus.one("050000", "001005000004001006", "");
    corpus.one("050000", "00000400", "bad_append");
    corpus.one("000005", "000004001005", "");
    corpus.one("0500000000", "00", "unknown_qualifier");
    corpus.one("05", "00", "unknown_qualifier");
    corpus.one("070000", "0102", "unknown_qualifier");
    corpus.one("00000000000000", "0102", "unknown_qualifier");
    corpus.one("010010", "7b22", "bad_json");
    corpus.one("", "05", "empty_qualifier");
    corpus.one("06000a", "2a0000", "");
}

fn rows(corpus: &mut Corpus) {
    corpus.row("0000", "bad_row_key");
    corpus.row("00000150e22700000001000001ff", "bad_row_key");
    corpus.row("ff", "bad_row_key");
    corpus.row("00000150e22701000001000001", "odd_base_time");
    corpus.row("00009950e22700000001000001", "");
    corpus.row("00000150e22700000099000001", "");
    corpus.row("00000050e22700000001000001", "");
    corpus.row("00000150e22700000000000000", "");
    corpus.row("00000150e22700000001000001000001000002", "");
    corpus.put(key(900), "x", "0010", 1_600_000_000_000, "05");
    corpus.reasons.push("other_family");
    // The greatest timestamp that HBase keeps, and one that no calendar shows.
    corpus.put(key(901), "t", "0010", i64::MAX - 1, "05");
    corpus.put(key(902), "t", "0010", 0, "05");
    corpus.put(key(903), "t", "00000010", 300_000_000_000_000, "040500");
    corpus.reasons.push("odd_timestamp");
    // Three ways to write one instant.
    corpus.put(key(904), "t", "0010", 1_600_000_000_001, "05");
    corpus.put(key(904), "t", "0011", 1_600_000_000_002, "0005");
    corpus.put(key(904), "t", "f000fa00", 1_600_000_000_003, "06");
    // Two compacted columns in one row, written at one time.
    corpus.put(key(905), "t", "00000010", 1_600_000_000_000, "040500");
    corpus.put(key(905), "t", "00200030", 1_600_000_000_000, "060700");
    corpus.put(key(905), "t", "f0000000f0000040", 1_600_000_000_000, "060700");
    // A row of every kind at once.
    corpus.put(key(906), "t", "0000", 1_600_000_000_000, "04");
    corpus.put(key(906), "t", "00100020", 1_600_000_000_000, "040500");
    corpus.put(key(906), "t", "0030", 1_600_000_000_005, "06");
    corpus.put(key(906), "t", "050000", 1_600_000_000_000, "004008");
    corpus.put(key(906), "t", "010010", 1_600_000_000_000, "7b7d");
}

/// Four versions of a cell, and each of the four delete markers over something.
fn history(corpus: &mut Corpus) {
    for version in 1..=4 {
        corpus.put(key(950), "t", "0010", 1_600_000_000_000 + version, &format!("{version:02x}"));
    }
    for hour in [951, 952, 953, 954, 955] {
        for timestamp in [10, 20, 30] {
            corpus.put(key(hour), "t", "0010", timestamp, "05");
            corpus.put(key(hour), "t", "0020", timestamp, "06");
        }
    }
    corpus.mark(key(951), "t", "0010", 20, kind::DELETE, "");
    corpus.mark(key(952), "t", "0010", 20, kind::DELETE_COLUMN, "");
    corpus.mark(key(953), "t", "", 20, kind::DELETE_FAMILY, "");
    corpus.mark(key(954), "t", "", 20, kind::DELETE_FAMILY_VERSION, "");
    // Several of a family in one row, which no single call can write.
    for (timestamp, kind) in [
        (5, kind::DELETE_FAMILY),
        (15, kind::DELETE_FAMILY),
        (20, kind::DELETE_FAMILY_VERSION),
        (25, kind::DELETE_FAMILY),
    ] {
        corpus.mark(key(955), "t", "", timestamp, kind, "");
    }
}

fn load(bed: &Bed, table: &str, cells: &[OwnedCell]) {
    let path = bed.folder().join(format!("{table}.tsv.gz"));
    let mut file = GzEncoder::new(std::fs::File::create(&path).unwrap(), Compression::fast());
    let text = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for cell in cells {
        let family = String::from_utf8_lossy(&cell.family);
        let (row, qualifier, value) = (text(&cell.row), text(&cell.qualifier), text(&cell.value));
        writeln!(file, "{row}\t{family}\t{qualifier}\t{}\t{}\t{value}", cell.timestamp, cell.kind).unwrap();
    }
    file.finish().unwrap();
    bed.must(&format!("load {table} {}", path.display()));
}

/// Tables whose data table keeps four versions and has a family that OpenTSDB does not know.
fn tables(bed: &Bed) -> Tables {
    let tables = Tables::named(&format!("{}.", bed.unique("d")), false);
    bed.must(&format!("create {} t,x VERSIONS=4", tables.data()));
    for (name, families) in [("tsdb-uid", "id,name"), ("tsdb-meta", "name"), ("tsdb-tree", "t")] {
        bed.must(&format!("create {}{name} {families} VERSIONS=1", tables.prefix));
    }
    let mut names = Corpus::default();
    let uid = hex("000001");
    for (column, name) in [("metrics", "m"), ("tagk", "host"), ("tagv", "a")] {
        let column = text_hex(column);
        names.put(name.as_bytes().to_vec(), "id", &column, 1, "000001");
        names.put(uid.clone(), "name", &column, 1, &text_hex(name));
        names.put(vec![0], "id", &column, 1, "0000000000000001");
    }
    // A counter of the wrong length, a UID without its name, a name without its UID, columns of no version.
    names.put(hex("000002"), "name", &text_hex("tagv"), 2, &text_hex("lonely"));
    names.put(b"forward".to_vec(), "id", &text_hex("tagv"), 2, "000007");
    names.put(vec![0], "id", &text_hex("other"), 2, "0001");
    names.put(hex("000001"), "name", &text_hex("metric_meta"), 2, &text_hex("{not json"));
    names.put(hex("000001"), "name", "", 2, "00");
    load(bed, &format!("{}tsdb-uid", tables.prefix), &names.cells);
    tables
}

fn text_hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

fn round_trip(raw: bool) {
    let bed = Bed::shared();
    let source = tables(bed);
    let mut corpus = Corpus::default();
    singles(&mut corpus);
    columns(&mut corpus);
    rows(&mut corpus);
    history(&mut corpus);
    load(bed, &source.data(), &corpus.cells);

    let repository = Repository::default();
    let more: &[&str] = if raw { &["--raw"] } else { &[] };
    let report = repository.backup(bed, &source, more).expect(0).json;
    let data = &report["tables"][0];
    assert_eq!(data["table"], source.data());
    if raw {
        assert_eq!(data["cells"].as_u64(), Some(corpus.cells.len() as u64), "a raw backup holds every cell");
        corpus.reasons.extend(["delete_marker", "deleted"]);
    }
    corpus.reasons.push("old_version");
    let reasons = data["raw_reasons"].as_object().unwrap();
    for reason in &corpus.reasons {
        let wanted = corpus.reasons.iter().filter(|other| *other == reason).count() as u64;
        let found = reasons.get(*reason).and_then(serde_json::Value::as_u64).unwrap_or(0);
        assert!(found >= wanted, "{found} cells are reported as {reason}, {wanted} are in the corpus: {reasons:?}");
    }

    let target = Tables::named(&format!("{}.", bed.unique("dr")), false);
    let restored = repository.restore(bed, &source, &target, &[]).expect(0).json;
    assert_eq!(restored["differences"], 0);
    for (old, new) in source.names().iter().zip(target.names()) {
        let (mut before, mut after) = (golden::dump(bed, old, raw), golden::dump(bed, &new, raw));
        before.sort();
        after.sort();
        assert!(before == after, "{old}: {} cells, {new}: {}", before.len(), after.len());
    }
    assert_eq!(repository.verify("cells", &[]).expect(0).json["differences"], 0);
}

#[test]
fn damaged_cells_come_back() {
    round_trip(false);
}

#[test]
fn damaged_and_deleted_cells_come_back_raw() {
    round_trip(true);
}

/// A cell that HBase would never let anybody read again is refused before it is sent.
#[test]
fn impossible_timestamps_are_refused_by_name() {
    use tsdb_ark::put::{CellWriter, PutOptions};
    let bed = Bed::shared();
    let tables = Tables::create(bed, false, &[]);
    let mut client = bed.client();
    let regions = client.regions(&tables.data()).unwrap();
    for timestamp in [-1, i64::MIN, i64::MAX] {
        let mut corpus = Corpus::default();
        corpus.put(key(1), "t", "0010", timestamp, "05");
        let families = vec![b"t".to_vec()];
        let mut writer = CellWriter::new(&mut client, tables.data(), families, &regions, PutOptions::default());
        let refused = writer.write(&corpus.cells[0].as_cell()).and_then(|()| writer.finish().map(drop));
        let text = refused.expect_err("an impossible timestamp is refused").to_string();
        assert!(text.contains("0010") && text.contains(&timestamp.to_string()), "{text}");
    }
    assert!(golden::dump(bed, &tables.data(), true).is_empty());
}

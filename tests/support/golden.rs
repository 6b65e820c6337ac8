//! Reads `tests/golden`: cells that a real OpenTSDB wrote and the points it says they are.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use tsdb_ark::model::OwnedCell;

use super::bed::Bed;
use super::tsd::Tables;

/// The sets, by folder.
pub const SETS: [&str; 4] = ["opentsdb-2.4.1", "opentsdb-2.3.2", "append", "salted"];

/// A point as the TSD answered it.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenPoint {
    /// Metric name.
    pub metric: String,
    /// Tags as JSON text, keys in order.
    pub tags: String,
    /// Upper-case hex.
    pub tsuid: String,
    /// Milliseconds, UTC.
    pub timestamp: i64,
    /// The number as text: integers of a series that also holds floats end in `.0`.
    pub value: String,
}

/// The folder of a set.
pub fn folder(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(set)
}

/// The tables of a set, in order of name.
pub fn tables(set: &str) -> Vec<String> {
    let mut tables: Vec<String> = std::fs::read_dir(folder(set))
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".cells.tsv.gz")?.to_owned()))
        .collect();
    tables.sort();
    tables
}

/// The cells of a table of a set, in the order of the scan.
pub fn cells(set: &str, table: &str) -> Vec<OwnedCell> {
    read_cells(&folder(set).join(format!("{table}.cells.tsv.gz")))
}

/// The cells of a file in the form of `tests/golden`; the bed's `dump` writes the same.
pub fn read_cells(path: &Path) -> Vec<OwnedCell> {
    text(path)
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [row, family, qualifier, timestamp, kind, value] = fields[..] else { panic!("not a cell: {line}") };
            OwnedCell {
                row: bytes(row),
                family: family.as_bytes().to_vec(),
                qualifier: bytes(qualifier),
                timestamp: timestamp.parse().unwrap(),
                kind: kind.parse().unwrap(),
                value: bytes(value),
            }
        })
        .collect()
}

/// The points of a set.
pub fn points(set: &str) -> Vec<GoldenPoint> {
    text(&folder(set).join("points.tsv.gz"))
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [metric, tags, tsuid, timestamp, value] = fields[..] else { panic!("not a point: {line}") };
            GoldenPoint {
                metric: metric.to_owned(),
                tags: tags.to_owned(),
                tsuid: tsuid.to_owned(),
                timestamp: timestamp.parse().unwrap(),
                value: value.to_owned(),
            }
        })
        .collect()
}

/// Writes a set into new tables of the bed, byte for byte, through HBase's own client.
///
/// Tables that the set does not hold are there and empty.
pub fn load(bed: &Bed, set: &str) -> Tables {
    let present = tables(set);
    let target = Tables::create(bed, present.iter().any(|table| table.contains("rollup")), &[]);
    for table in present {
        let file = folder(set).join(format!("{table}.cells.tsv.gz"));
        bed.must(&format!("load {}{table} {}", target.prefix, file.display()));
    }
    target
}

/// A table of the bed as HBase's own client reads it; `raw` shows delete markers and hidden versions too.
pub fn dump(bed: &Bed, table: &str, raw: bool) -> Vec<OwnedCell> {
    let file = bed.folder().join(format!("{}.cells.tsv.gz", bed.unique(table)));
    bed.must(&format!("dump {table} {} {}", file.display(), if raw { "raw" } else { "" }));
    let cells = read_cells(&file);
    std::fs::remove_file(&file).unwrap();
    cells
}

fn text(path: &Path) -> String {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "half a byte: {hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

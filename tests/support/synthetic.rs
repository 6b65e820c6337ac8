//! An OpenTSDB made up by arithmetic: cells of any size and key layout whose tally is known before HBase has seen them.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tsdb_ark::codec::row_key::build;
use tsdb_ark::model::{CellHasher, KeyLayout, OwnedCell, Tally, kind};

use super::bed::Bed;
use super::tsd::Tables;

/// 2020-09-13T12:00Z in seconds, a whole hour.
pub const BASE: u32 = 1_599_998_400;

/// A generator that gives the same numbers for the same seed (splitmix64).
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// What is generated.
#[derive(Debug, Clone)]
pub struct Synthetic {
    /// UID widths and salt.
    pub layout: KeyLayout,
    /// Metrics, series of each, hours of each series, points of each hour; every point is a cell.
    pub metrics: u32,
    /// Series of each metric; one tag value each.
    pub series: u32,
    /// Rows of each series.
    pub hours: u32,
    /// Points of each row.
    pub points: u32,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self { layout: KeyLayout::default(), metrics: 2, series: 3, hours: 4, points: 5 }
    }
}

/// The name of a UID.
pub fn name(column: &str, number: u32) -> String {
    match column {
        "metrics" => format!("metric.{number}"),
        "tagk" => format!("key{number}"),
        _ => format!("value{number}"),
    }
}

fn uid(number: u32, width: u8) -> Vec<u8> {
    let bytes = u64::from(number).to_be_bytes();
    bytes[8 - usize::from(width)..].to_vec()
}

fn put(row: Vec<u8>, family: &str, qualifier: &[u8], timestamp: i64, value: Vec<u8>) -> OwnedCell {
    let (family, qualifier) = (family.as_bytes().to_vec(), qualifier.to_vec());
    OwnedCell { row, family, qualifier, timestamp, kind: kind::PUT, value }
}

impl Synthetic {
    /// The key of a row; all numbers count from 0.
    pub fn key(&self, metric: u32, series: u32, hour: u32) -> Vec<u8> {
        let l = &self.layout;
        let mut tsuid = uid(metric + 1, l.metric_width);
        tsuid.extend(uid(1, l.tagk_width));
        tsuid.extend(uid(series + 1, l.tagv_width));
        let mut key = Vec::new();
        assert!(build(&tsuid, BASE + hour * 3600, l, &mut key));
        key
    }

    /// The cell of a point: a whole number of two bytes, `point` seconds times 10 after the hour.
    pub fn cell(&self, row: &[u8], hour: u32, point: u32) -> OwnedCell {
        let qualifier = ((point * 10) << 4 | 1) as u16;
        let written = i64::from(BASE + hour * 3600 + point * 10) * 1000 + 137;
        let value = (hour * 7 + point) as u16;
        put(row.to_vec(), "t", &qualifier.to_be_bytes(), written, value.to_be_bytes().to_vec())
    }

    /// The cells of the data table.
    pub fn data(&self) -> Vec<OwnedCell> {
        let mut cells = Vec::new();
        for metric in 0..self.metrics {
            for hour in 0..self.hours {
                for series in 0..self.series {
                    let row = self.key(metric, series, hour);
                    cells.extend((0..self.points).map(|point| self.cell(&row, hour, point)));
                }
            }
        }
        cells
    }

    /// The cells of the UID table: both maps and the counters.
    pub fn uids(&self) -> Vec<OwnedCell> {
        let l = &self.layout;
        let mut cells = Vec::new();
        let kinds =
            [("metrics", self.metrics, l.metric_width), ("tagk", 1, l.tagk_width), ("tagv", self.series, l.tagv_width)];
        for (column, count, width) in kinds {
            for number in 1..=count {
                let (id, name) = (uid(number, width), name(column, number).into_bytes());
                cells.push(put(name.clone(), "id", column.as_bytes(), 1_600_000_000_000, id.clone()));
                cells.push(put(id, "name", column.as_bytes(), 1_600_000_000_000, name));
            }
            cells.push(put(
                vec![0],
                "id",
                column.as_bytes(),
                1_600_000_000_000,
                u64::from(count).to_be_bytes().to_vec(),
            ));
        }
        cells
    }

    /// New tables with these cells. `splits`: region boundaries of the data table, hex.
    pub fn load(&self, bed: &Bed, splits: &[&str]) -> Tables {
        let tables = Tables::create(bed, false, splits);
        load(bed, &tables.data(), &self.data());
        load(bed, &format!("{}tsdb-uid", tables.prefix), &self.uids());
        tables
    }
}

/// Writes cells through HBase's own client; delete markers too.
pub fn load(bed: &Bed, table: &str, cells: &[OwnedCell]) {
    let path = bed.folder().join(format!("{}.load.tsv.gz", bed.unique(table)));
    let mut file = GzEncoder::new(std::fs::File::create(&path).unwrap(), Compression::fast());
    let mut text = Vec::new();
    for cell in cells {
        push_hex(&mut text, &cell.row);
        text.push(b'\t');
        text.extend(&cell.family);
        text.push(b'\t');
        push_hex(&mut text, &cell.qualifier);
        write!(text, "\t{}\t{}\t", cell.timestamp, cell.kind).unwrap();
        push_hex(&mut text, &cell.value);
        text.push(b'\n');
        if text.len() > 1 << 20 {
            file.write_all(&text).unwrap();
            text.clear();
        }
    }
    file.write_all(&text).unwrap();
    file.finish().unwrap();
    bed.must(&format!("load {table} {}", path.display()));
    std::fs::remove_file(path).unwrap();
}

fn push_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        text.extend([b"0123456789abcdef"[usize::from(byte >> 4)], b"0123456789abcdef"[usize::from(byte & 15)]]);
    }
}

/// The tally of cells in key order.
pub fn tally(cells: &[OwnedCell]) -> Tally {
    let mut tally = Tally::default();
    let mut hasher = CellHasher::new();
    let mut row: Option<&[u8]> = None;
    for cell in cells {
        tally.rows += u64::from(row.replace(&cell.row) != Some(&cell.row));
        let hash = hasher.whole(&cell.as_cell());
        tally.add_cell(&cell.as_cell(), hash);
    }
    tally
}

/// The report's line of a table.
pub fn table_of<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("no table {name} in {report}"))
}

/// A table of a report holds exactly these cells, whatever HBase and the program made of them on the way.
pub fn assert_tally(report: &Value, table: &str, wanted: &Tally) {
    let found = table_of(report, table);
    let numbers =
        (found["rows"].as_u64(), found["cells"].as_u64(), found["bytes"].as_u64(), found["checksum"].as_str());
    let checksum = format!("{:016x}", wanted.checksum);
    assert_eq!(
        numbers,
        (Some(wanted.rows), Some(wanted.cells), Some(wanted.bytes), Some(checksum.as_str())),
        "{table}"
    );
}

/// JSON with its own hash, by the description of the format and not by the program's code. `serde_json` sorts the keys
/// of a value, and the hash has to come last.
pub fn sealed(value: &Value) -> Vec<u8> {
    let mut value = value.clone();
    value.as_object_mut().unwrap().remove("self_blake3");
    let text = serde_json::to_string_pretty(&value).unwrap();
    let head = format!("{},\n  \"self_blake3\": \"", text.strip_suffix("\n}").unwrap());
    let digits = blake3::hash(format!("{head}\"\n}}\n").as_bytes()).to_hex();
    format!("{head}{digits}\"\n}}\n").into_bytes()
}

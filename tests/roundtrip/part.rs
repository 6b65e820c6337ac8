//! One series of many comes back over S3, from a backup and from a chain, and little else is read.

use serde_json::Value;

use crate::support::ark::{self, Run};
use crate::support::bed::Bed;
use crate::support::golden;
use crate::support::s3::{self, S3Server};
use crate::support::synthetic::{BASE, Dice, Synthetic, load};
use crate::support::tsd::Tables;
use tsdb_ark::model::{OwnedCell, kind};

/// Points of a row, one every ten seconds.
const ROW_POINTS: u32 = 360;

/// A row as a TSD compacts it: small steps, as a gauge has them.
fn row(source: &Synthetic, (metric, series, hour): (u32, u32, u32), dice: &mut Dice) -> OwnedCell {
    let (mut qualifier, mut value, mut level) = (Vec::new(), Vec::new(), 1000_i16);
    for point in 0..ROW_POINTS {
        level += dice.below(17) as i16 - 8;
        qualifier.extend(((point * 10) as u16 * 16 + 1).to_be_bytes());
        value.extend(level.to_be_bytes());
    }
    value.push(0);
    OwnedCell {
        row: source.key(metric, series, hour),
        family: b"t".to_vec(),
        qualifier,
        timestamp: i64::from(BASE + (hour + 1) * 3600) * 1000 + i64::from(series),
        kind: kind::PUT,
        value,
    }
}

/// A cell that a TSD appends to, with a point so many seconds into the hour.
fn appended(source: &Synthetic, (metric, series, hour): (u32, u32, u32), second: u16, version: i64) -> OwnedCell {
    OwnedCell {
        row: source.key(metric, series, hour),
        family: b"t".to_vec(),
        qualifier: vec![5, 0, 0],
        timestamp: i64::from(BASE + hour * 3600) * 1000 + version,
        kind: kind::PUT,
        value: [&(second * 16 + 1).to_be_bytes()[..], &[1, 2]].concat(),
    }
}

/// The cells that give UID 5 of the metrics another name.
fn renamed() -> [OwnedCell; 3] {
    let cell = |row: &[u8], family: &str, kind, value: &[u8]| OwnedCell {
        row: row.to_vec(),
        family: family.as_bytes().to_vec(),
        qualifier: b"metrics".to_vec(),
        timestamp: 1_600_000_000_001,
        kind,
        value: value.to_vec(),
    };
    [
        cell(&[0, 0, 5], "name", kind::PUT, b"renamed"),
        cell(b"renamed", "id", kind::PUT, &[0, 0, 5]),
        cell(b"metric.5", "id", kind::DELETE_COLUMN, b""),
    ]
}

struct Case<'a> {
    bed: &'a Bed,
    tables: Tables,
    server: &'a S3Server,
    repository: String,
}

impl Case<'_> {
    fn run(&self, verb: &str, more: &[&str]) -> Run {
        let mut command = ark::command();
        let gateway = self.bed.thrift2_address();
        s3::lead(&mut command, &self.server.url());
        command.args([verb, "--json", "--gateway", &gateway, "--repository", &self.repository]).args(more);
        ark::finished(command.output().unwrap())
    }

    fn backup(&self, more: &[&str]) -> Value {
        let flags = ark::table_flags(&self.tables);
        let words: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.run("backup", &words).expect(0).json
    }

    /// Restores a selection into new tables; gives its cells of the data table and the report.
    fn part(&self, selection: &[&str]) -> (Vec<OwnedCell>, Value) {
        let copy = Tables::named(&format!("{}.", self.bed.unique("part")), false);
        let renames: Vec<String> = self
            .tables
            .names()
            .iter()
            .zip(copy.names())
            .map(|(old, new)| format!("--rename-table={old}={new}"))
            .collect();
        let words: Vec<&str> = renames.iter().map(String::as_str).chain(selection.iter().copied()).collect();
        let report = self.run("restore", &words).expect(0).json;
        let mut cells = golden::dump(self.bed, &copy.data(), false);
        cells.sort();
        (cells, report)
    }
}

/// `TSDB_ARK_POINTS` of them; 50 million by hand, with a program that is optimised.
#[test]
fn a_series_comes_back_over_s3_and_little_else_is_read() {
    let bed = Bed::shared();
    let points: u32 = std::env::var("TSDB_ARK_POINTS").map_or(1_000_000, |text| text.replace('_', "").parse().unwrap());
    let many = points >= 10_000_000;
    let (metrics, series) = (10, if many { 100 } else { 20 });
    let hours = points / (metrics * series * ROW_POINTS);
    let source = Synthetic { metrics, series, hours, points: 0, ..Synthetic::default() };
    let (tables, mut dice) = (source.load(bed, &[]), Dice(7));
    let (wanted, mut expected) = ((4, 13), Vec::new());
    for metric in 0..metrics {
        let mut cells = Vec::new();
        for hour in 0..hours {
            cells.extend((0..series).map(|series| row(&source, (metric, series, hour), &mut dice)));
        }
        let of_series = |cell: &&OwnedCell| (0..hours).any(|hour| cell.row == source.key(wanted.0, wanted.1, hour));
        if metric == wanted.0 {
            expected.extend(cells.iter().filter(of_series).cloned());
        }
        load(bed, &tables.data(), &cells);
    }
    // In an hour of its own; later another point takes its place, without a marker.
    let row_of = |hour| (wanted.0, wanted.1, hour);
    let early = appended(&source, row_of(hours), 10, 1);
    load(bed, &tables.data(), std::slice::from_ref(&early));
    expected.push(early);
    expected.sort();
    let server = S3Server::versitygw();
    let repository = format!("s3://{}", server.bucket("part"));
    let case = Case { bed, tables, server, repository };
    let stored = case.backup(&[])["bytes_written"].as_u64().unwrap();
    let selection = ["--metric", "metric.5", "--tag", "key1=value14"];
    let few = |report: &Value, of: u64, what: &str| {
        let read = report["repository_bytes_read"].as_u64().unwrap();
        let (share, seconds) = (read as f64 * 100.0 / of as f64, &report["seconds"]);
        eprintln!("{what}: {read} of {of} bytes, {share:.2} %, in {seconds} s; {}", report["selection"]);
        assert!(share < if many { 2.0 } else { 50.0 }, "{what}: {share} %");
    };
    let (found, report) = case.part(&selection);
    assert!(found == expected, "{} of {} cells", found.len(), expected.len());
    few(&report, stored, "a series");

    // One hour of it.
    let (from, to) = ((BASE + 3600).to_string(), (BASE + 7200).to_string());
    let (found, report) = case.part(&[&selection[..], &["--from", &from, "--to", &to]].concat());
    assert_eq!(found.len(), 1);
    assert!(found[0].row == source.key(wanted.0, wanted.1, 1) && expected.contains(&found[0]), "the cell is whole");
    few(&report, stored, "an hour");

    // An increment that writes a row anew and deletes another; the metric has another name since.
    load(bed, &format!("{}tsdb-uid", case.tables.prefix), &renamed());
    let late = appended(&source, row_of(hours), 3000, 2);
    let mut fresh = row(&source, (wanted.0, wanted.1, 0), &mut dice);
    fresh.timestamp = expected[0].timestamp + 1;
    let gone = OwnedCell { kind: kind::DELETE_COLUMN, value: Vec::new(), ..expected[1].clone() };
    load(bed, &case.tables.data(), &[fresh.clone(), gone, late.clone()]);
    expected.remove(1);
    *expected.last_mut().unwrap() = late;
    let at = expected.iter().position(|cell| cell.row == fresh.row).unwrap();
    expected[at] = OwnedCell { qualifier: expected[at].qualifier.clone(), ..fresh };
    let more = case.backup(&["--incremental", "--by", "compare"])["bytes_written"].as_u64().unwrap();
    let selection = ["--metric", "renamed", "--tag", "key1=value14"];
    let (found, report) = case.part(&selection);
    assert!(found == expected, "{} of {} cells", found.len(), expected.len());
    few(&report, stored + more, "a series of a chain");
    // A point that is no more does not come back for the sake of its time.
    let (from, to) = ((BASE + (hours - 1) * 3600).to_string(), (BASE + hours * 3600 + 100).to_string());
    let (found, _) = case.part(&[&selection[..], &["--from", &from, "--to", &to]].concat());
    assert!(found == expected[expected.len() - 2..expected.len() - 1], "{} cells", found.len());
}

//! Exports, read by programs that share nothing with ours: by sums that are known before, and by those of a TSD.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tsdb_ark::model::{OwnedCell, kind};

use super::read_with_others;
use super::support::ark::{self, Repository, Run};
use super::support::bed::Bed;
use super::support::golden;
use super::support::s3::{self, S3Server};
use super::support::synthetic::{self, BASE, Synthetic};
use super::support::tsd::{self, Tables, Tsd};

/// The first integer that a 64-bit float does not hold.
const EXACT: i64 = (1 << 53) + 1;
/// A metric that no line of OpenTSDB can name.
const ODD: &str = "odd metric,1=x";
const SMALL: Synthetic = Synthetic {
    layout: tsdb_ark::model::KeyLayout {
        metric_width: 3,
        tagk_width: 3,
        tagv_width: 3,
        salt_width: 0,
        salt_buckets: 20,
    },
    metrics: 2,
    series: 3,
    hours: 4,
    points: 5,
};

/// Points, the sum of integers, that of finite floats, and points that are neither.
type Sums = BTreeMap<String, (u64, i64, f64, u64)>;

fn point(row: &[u8], qualifier: &[u8], written: i64, value: &[u8]) -> OwnedCell {
    OwnedCell {
        row: row.to_vec(),
        family: b"t".to_vec(),
        qualifier: qualifier.to_vec(),
        timestamp: written,
        kind: kind::PUT,
        value: value.to_vec(),
    }
}

fn seconds(offset: u16, flags: u16) -> [u8; 2] {
    (offset << 4 | flags).to_be_bytes()
}

fn milliseconds(offset: u32, flags: u32) -> [u8; 4] {
    (0xf000_0000 | offset << 6 | flags).to_be_bytes()
}

/// What is hard to carry, beside the points of [`SMALL`]: 2^53 + 1 in milliseconds, a double, an instant that was written
/// twice, a name with a space, a comma and an equals sign, NaN.
fn load(bed: &Bed) -> (Tables, Sums) {
    let tables = SMALL.load(bed, &[]);
    let written = i64::from(BASE) * 1000 + 500_000;
    // A TSD answers with floats alone for a series that has one.
    let (first, second, odd) = (SMALL.key(0, 0, 0), SMALL.key(0, 1, 0), SMALL.key(2, 0, 0));
    let cells = [
        point(&first, &milliseconds(1001, 7), written, &EXACT.to_be_bytes()),
        point(&second, &seconds(3, 15), written, &0.1_f64.to_be_bytes()),
        point(&first, &milliseconds(0, 0), written, &[77]),
        point(&odd, &seconds(0, 0), written, &[5]),
        point(&odd, &seconds(10, 15), written, &f64::NAN.to_be_bytes()),
    ];
    synthetic::load(bed, &tables.data(), &cells);
    let id = |row: &[u8], family: &str, value: &[u8]| OwnedCell {
        family: family.into(),
        ..point(row, b"metrics", 1_600_000_000_000, value)
    };
    let names = [id(ODD.as_bytes(), "id", &[0, 0, 3]), id(&[0, 0, 3], "name", ODD.as_bytes())];
    synthetic::load(bed, &format!("{}tsdb-uid", tables.prefix), &names);
    let of_series: u32 = (0..SMALL.hours).flat_map(|hour| (0..SMALL.points).map(move |point| hour * 7 + point)).sum();
    let (count, sum) = (u64::from(SMALL.series * SMALL.hours * SMALL.points), i64::from(SMALL.series * of_series));
    let sums = [
        // 77 hides a 0.
        ("metric.1".to_owned(), (count + 2, sum + EXACT + 77, 0.1, 0)),
        ("metric.2".to_owned(), (count, sum, 0.0, 0)),
        (ODD.to_owned(), (2, 5, 0.0, 1)),
    ];
    (tables, sums.into_iter().collect())
}

fn export(repository: &Repository, format: &str, output: &Path, more: &str) -> Run {
    let words = ["--format", format, "--output", output.to_str().unwrap()];
    repository.run("export", &words.into_iter().chain(more.split_whitespace()).collect::<Vec<_>>())
}

fn assert_seen(seen: &Value, export: &str, readers: &[&str], wanted: &Sums) {
    for reader in readers {
        let found = seen[export][reader].as_object().unwrap_or_else(|| panic!("{export} {reader}: {seen}"));
        assert_eq!(found.len(), wanted.len(), "{export} {reader}: {found:?}");
        for (metric, (count, whole, real, odd)) in wanted {
            assert_eq!(found[metric], json!([count, whole, real, odd]), "{export} {reader} {metric}");
        }
    }
}

#[test]
fn exports_hold_what_a_query_shows_in_every_format() {
    let bed = Bed::shared();
    let (tables, wanted) = load(bed);
    let repository = Repository::default();
    repository.backup(bed, &tables, &[]).expect(0);
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let points: u64 = wanted.values().map(|sums| sums.0).sum();
    let parquet = ["plain-day", "parquet-metric"];
    let report = export(&repository, "parquet", &place(parquet[0]), "--profile plain --partition day").expect(0).json;
    assert_eq!((&report["points"], &report["series"], &report["superseded"]), (&json!(points), &json!(7), &json!(1)));
    assert!(place("plain-day/points/day=2020-09-13").is_dir() && place("plain-day/_SUCCESS").is_file());
    export(&repository, "parquet", &place(parquet[1]), "--tags map --partition metric").expect(0);
    export(&repository, "csv", &place("csv"), "").expect(0);
    let influx = export(&repository, "influx", &place("influx"), "").expect(3).json;
    assert_eq!(influx["skipped"], json!({"not_finite": 1}));
    assert_eq!(influx["mixed_metrics"], json!(["metric.1"]));
    let victoria = export(&repository, "victoria", &place("victoria"), "").expect(3);
    assert_eq!((&victoria.json["skipped"], &victoria.json["rounded"]), (&json!({"not_finite": 1}), &json!(1)));
    assert!(victoria.err.contains("VictoriaMetrics rounds the integers of 1 points"), "{}", victoria.err);
    let all = export(&repository, "csv", &place("csv-all"), "--all --tags map").expect(0).json;
    assert_eq!((&all["points"], &all["superseded"]), (&json!(points + 1), &json!(0)));

    let seen = read_with_others("export.py", &[folder.path()]);
    for name in parquet {
        assert_seen(&seen, name, &["duckdb", "pyarrow", "polars"], &wanted);
    }
    assert_seen(&seen, "plain-day", &["fastparquet"], &wanted);
    assert_seen(&seen, "csv", &["csv", "duckdb"], &wanted);
    let mut lines = wanted.clone();
    lines.insert(ODD.to_owned(), (1, 5, 0.0, 0));
    assert_seen(&seen, "influx", &["influx"], &lines);
    assert_seen(&seen, "victoria", &["victoria"], &lines);
    assert_eq!(seen["plain-day"]["encodings"], json!(["PLAIN", "RLE", "RLE_DICTIONARY", "SNAPPY"]));
    let text = std::fs::read_to_string(place("csv/points/part-00000.csv")).unwrap();
    assert!(text.contains("\r\nmetric.1,2020-09-13T12:00:01.001Z,9007199254740993,value1\r\n"), "{text}");
    assert!(text.contains("\r\n\"odd metric,1=x\",2020-09-13T12:00:10.000Z,NaN,value1\r\n"), "{text}");
    chosen_points(&repository, &place("chosen"));
    refusals(&repository, &place("csv"));
    streams(&repository, &text);
    a_tsd_imports(bed, &repository, &place("opentsdb"), &wanted);
    to_s3(&repository, &text);
    damage(&repository, &place("damaged"));
}

/// A selection holds what matches and nothing else.
fn chosen_points(repository: &Repository, folder: &Path) {
    let chosen = "--metric metric.1 --tag key1=value[12] --from 1600002000 --to 2020-09-13T13:00:20 --metric odd*";
    let report = export(repository, "csv", folder, chosen).expect(0).json;
    // Of two series the points at 13:00:00 and 13:00:10.
    assert_eq!((&report["points"], &report["series"]), (&json!(4), &json!(2)), "{report}");
    let none = folder.with_extension("none");
    let run = export(repository, "parquet", &none, "--metric nothing").expect(3);
    assert!(run.err.contains("no point was exported"), "{}", run.err);
    assert_eq!(std::fs::read_dir(&none).unwrap().count(), 0);
}

fn refusals(repository: &Repository, used: &Path) {
    let taken = export(repository, "csv", used, "").expect(2);
    assert!(taken.err.contains("is not empty"), "{}", taken.err);
    let inside = export(repository, "csv", &repository.path().join("export"), "").expect(2);
    assert!(inside.err.contains("inside the repository") && !repository.path().join("export").exists());
    let table = export(repository, "csv", &used.with_extension("table"), "--table nothing").expect(2);
    assert!(table.err.contains("the backup has no table nothing"), "{}", table.err);
}

/// Standard output has the bytes of the file and nothing else; one that nobody reads is not a complete export.
fn streams(repository: &Repository, file: &str) {
    let run = export(repository, "csv", Path::new("-"), "").expect(0);
    assert!(run.out == file, "{}", run.out);
    let report: Value = serde_json::from_str(run.err.lines().last().unwrap()).unwrap();
    assert_eq!((&report["bytes"], &report["output"]), (&json!(file.len()), &json!("-")));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let path = repository.path();
    let words = ["export", "--repository", path.to_str().unwrap(), "--format", "csv", "--output", "-"];
    let closed = ark::command().args(words).stdout(Stdio::from(writer)).output().unwrap();
    let said = String::from_utf8_lossy(&closed.stderr);
    assert!(closed.status.code() == Some(3) && said.contains("closed it early"), "{said}");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let full = ark::command().args(words).arg("--json").stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&full.stderr);
    assert!(full.status.code() == Some(1) && said.contains("standard output cannot be written"), "{said}");
}

/// `tsdb import` of a real TSD takes the lines, and its answers have the same sums.
fn a_tsd_imports(bed: &Bed, repository: &Repository, folder: &Path, wanted: &Sums) {
    let run = export(repository, "opentsdb", folder, "").expect(3);
    assert_eq!((&run.json["skipped"], &run.json["rounded"]), (&json!({"name": 2}), &json!(1)));
    assert!(run.json["skipped_series"].to_string().contains(ODD), "{}", run.json);
    let copy = Tables::create(bed, false, &[]);
    let tsd = Tsd::start(bed, &copy.conf(bed));
    tsd::import(tsd.conf_file(), &[&folder.join("points/part-00000.txt")]);
    for (metric, (count, whole, real, _)) in wanted.iter().filter(|(metric, _)| *metric != ODD) {
        let query = format!("/api/query?start={}&ms=true&m=none:{metric}{{key1=*}}", BASE - 1);
        let series = tsd.get(&query).ok().json();
        let points: Vec<&Value> =
            series.as_array().unwrap().iter().flat_map(|series| series["dps"].as_object().unwrap().values()).collect();
        assert_eq!(points.len() as u64, *count, "{metric}");
        let sum: i64 = points.iter().filter_map(|value| value.as_i64()).sum();
        let floats: f64 =
            points.iter().filter(|value| value.as_i64().is_none()).filter_map(|value| value.as_f64()).sum();
        assert_eq!(sum, *whole, "{metric}");
        // `tsdb import` reads 0.1 as 32 bits, which the export has said.
        assert!((floats - real).abs() < 1e-7, "{metric}: {floats}");
    }
}

/// The same bytes in a bucket, which the server keeps as files.
fn to_s3(repository: &Repository, file: &str) {
    let server = S3Server::versitygw();
    let bucket = server.bucket("export");
    let (path, output, url) = (repository.path(), format!("s3://{bucket}/out"), server.url());
    let words = ["export", "--repository", path.to_str().unwrap(), "--format", "csv", "--s3-endpoint", &url];
    let run = |output: &str| {
        let mut command = ark::command();
        command.args(words).args(["--output", output]).env("AWS_ACCESS_KEY_ID", s3::KEYS.0);
        ark::finished(command.env("AWS_SECRET_ACCESS_KEY", s3::KEYS.1).output().unwrap())
    };
    run(&output).expect(0);
    let stored = server.bucket_folder(&bucket).join("out");
    assert!(std::fs::read_to_string(stored.join("points/part-00000.csv")).unwrap() == file);
    assert!(stored.join("_SUCCESS").is_file());
    assert!(run(&output).expect(2).err.contains("is not empty"));
}

/// What is damaged ends an export, and nothing says that it is complete.
fn damage(repository: &Repository, folder: &Path) {
    let path = repository.files_of("points").remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let run = export(repository, "csv", folder, "").expect(1);
    assert!(run.err.contains("its hash is"), "{}", run.err);
    assert!(!folder.join("_SUCCESS").exists() && !folder.join("points").exists());
}

/// An export that fails when its points are written says that its files are not all.
fn not_the_whole(repository: &Repository, path: &Path, folder: &Path, table: &str) {
    let whole = std::fs::read(path).unwrap();
    std::fs::write(path, &whole[1..]).unwrap();
    let run = export(repository, "csv", folder, table).expect(1);
    assert!(run.err.contains("are not the whole export: remove them"), "{}", run.err);
    assert!(folder.join("points/part-00000.csv").is_file() && !folder.join("_SUCCESS").exists());
    std::fs::write(path, whole).unwrap();
}

/// The exports of what a real TSD wrote have the sums of its own answers.
pub fn assert_golden(set: &str, repository: &Repository, tables: &Tables, left_out: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let table = format!("--table {}", tables.data());
    for (name, format, more) in [("parquet", "parquet", ""), ("csv", "csv", "--tags map")] {
        let run = export(repository, format, &folder.path().join(name), &format!("{table} {more}"));
        assert!([0, 3].contains(&run.code), "{}", run.err);
    }
    if let Some(path) = repository.files_of("annotations").first() {
        not_the_whole(repository, path, &folder.path().join("half"), &table);
    }
    let seen = read_with_others("export.py", &[folder.path()]);
    let mut wanted: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    for point in golden::points(set) {
        let entry = wanted.entry(point.metric).or_default();
        entry.0 += 1;
        entry.1 += point.value.parse::<f64>().unwrap();
    }
    for (export, reader) in [("parquet", "duckdb"), ("parquet", "pyarrow"), ("csv", "csv")] {
        let mut found = seen[export][reader].as_object().unwrap().clone();
        left_out.iter().chain(&[""]).for_each(|metric| drop(found.remove(*metric)));
        assert!(found.keys().eq(wanted.keys()), "{export} {reader} of {set}: {:?}", found.keys());
        for (metric, (count, sum)) in &wanted {
            let row = &found[metric];
            let total = row[1].as_f64().unwrap() + row[2].as_f64().unwrap();
            assert_eq!(row[0].as_u64(), Some(*count), "{export} {reader} counts {metric}");
            assert!((total - sum).abs() <= 1e-6 * sum.abs().max(1.0), "{export} {reader} sums {metric} to {total}");
        }
    }
}

//! UID widths and salts other than the usual: found out without a flag, decoded right, restored equal.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;
use tsdb_ark::model::KeyLayout;
use tsdb_ark::parquet_file::{PointsReader, read_series};

use crate::assert_backup;
use crate::support::ark::Repository;
use crate::support::bed::Bed;
use crate::support::golden;
use crate::support::synthetic::{BASE, Synthetic, name, tally};
use crate::support::tsd::Tables;

/// A point by its names: metric, value of the only tag, milliseconds, value.
type Point = (String, String, i64, i64);

fn generated(shape: &Synthetic) -> BTreeSet<Point> {
    let mut points = BTreeSet::new();
    for metric in 1..=shape.metrics {
        for series in 1..=shape.series {
            for hour in 0..shape.hours {
                for point in 0..shape.points {
                    let time = i64::from(BASE + hour * 3600 + point * 10) * 1000;
                    points.insert((name("metrics", metric), name("tagv", series), time, i64::from(hour * 7 + point)));
                }
            }
        }
    }
    points
}

/// The points of a backup, named by its series table.
fn read_back(repository: &Repository) -> BTreeSet<Point> {
    let mut names = std::collections::BTreeMap::new();
    for path in repository.files_of("series") {
        for row in read_series(Bytes::from(std::fs::read(path).unwrap())).unwrap() {
            let label = row.label;
            let value = label.tags.iter().find(|(key, _)| *key == name("tagk", 1)).map(|(_, value)| value.clone());
            names.insert(row.tsuid, (label.metric, value));
        }
    }
    let mut points = BTreeSet::new();
    for path in repository.files_of("points") {
        let mut reader = PointsReader::open(Bytes::from(std::fs::read(path).unwrap())).unwrap();
        while let Some(batch) = reader.next_group().unwrap() {
            for segment in &batch.segments {
                let tsuid: String =
                    batch.series.get(segment.series as usize).unwrap().iter().map(|b| format!("{b:02X}")).collect();
                let (metric, value) = names[&tsuid].clone();
                for at in 0..segment.len {
                    let point = batch.ints[segment.int_start + at];
                    let time = batch.timestamps[segment.start + at];
                    points.insert((metric.clone().unwrap(), value.clone().unwrap(), time, point));
                }
            }
        }
    }
    points
}

fn layout(widths: [u8; 3], salt_width: u8, salt_buckets: u32) -> KeyLayout {
    let [metric_width, tagk_width, tagv_width] = widths;
    KeyLayout { metric_width, tagk_width, tagv_width, salt_width, salt_buckets }
}

fn assert_found(report: &Value, wanted: &KeyLayout) {
    let found: KeyLayout = serde_json::from_value(report["layout"].clone()).unwrap();
    let buckets = if wanted.salt_width == 0 { found.salt_buckets } else { wanted.salt_buckets };
    assert_eq!(found, KeyLayout { salt_buckets: buckets, ..*wanted }, "{report}");
    assert_eq!(report["layout_from"], "detected");
}

fn round_trip(layout: KeyLayout) {
    let bed = Bed::shared();
    let shape = Synthetic { layout, metrics: 20, series: 30, hours: 3, points: 2 };
    let tables = shape.load(bed, &["01", "80"]);
    let repository = Repository::default();
    let run = repository.backup(bed, &tables, &[]).expect(0);
    assert_found(&run.json, &layout);
    assert_backup(&repository, &run, &tables, &tally(&shape.data()));
    let raw = run.json["tables"].as_array().unwrap().iter().map(|table| table["raw_cells"].as_u64().unwrap());
    assert_eq!(raw.sum::<u64>(), 0, "{}", run.out);
    assert_eq!(read_back(&repository), generated(&shape));

    let target = Tables::named(&format!("{}.", bed.unique("ly")), false);
    assert_eq!(repository.restore(bed, &tables, &target, &[]).expect(0).json["differences"], 0);
    let mut found = golden::dump(bed, &target.data(), true);
    let mut wanted = shape.data();
    found.sort();
    wanted.sort();
    assert!(found == wanted, "{} cells instead of {}", found.len(), wanted.len());
    let gateway = bed.thrift2_address();
    let live = repository.verify("source", &["--gateway", &gateway]).expect(0).json;
    assert_eq!(live["differences"], 0);
}

#[test]
fn odd_widths_with_two_salt_bytes() {
    round_trip(layout([4, 2, 5], 2, 300));
}

#[test]
fn widest_uids_without_salt() {
    round_trip(layout([8, 8, 8], 0, 20));
}

#[test]
fn narrowest_uids_with_one_salt_byte() {
    round_trip(layout([1, 1, 2], 1, 20));
}

#[test]
fn usual_widths_with_the_usual_salt() {
    round_trip(layout([3, 3, 3], 1, 20));
}

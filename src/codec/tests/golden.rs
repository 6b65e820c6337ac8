//! Cells that a real OpenTSDB wrote, against what that OpenTSDB answers.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::support::*;
use crate::codec::{RollupConfig, UidEntry, describe_series, read_uid_row};
use crate::model::{FLAG_SUPERSEDED, KeyLayout, NameCharset, OwnedCell, TableKind, UidNames};

fn folder(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(set)
}

fn lines(path: &Path) -> Vec<Vec<String>> {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn cells(set: &str, table: &str) -> Vec<OwnedCell> {
    let path = folder(set).join(format!("{table}.cells.tsv.gz"));
    let cell = |f: &Vec<String>| OwnedCell {
        row: hex(&f[0]),
        family: f[1].as_bytes().to_vec(),
        qualifier: hex(&f[2]),
        timestamp: f[3].parse().unwrap(),
        kind: f[4].parse().unwrap(),
        value: f.get(5).map(|v| hex(v)).unwrap_or_default(),
    };
    lines(&path).iter().map(cell).collect()
}

type Answer = BTreeMap<(String, i64), f64>;

/// Decodes the data table and compares the points that are not superseded with the TSD's answers, names included.
fn compare(set: &str, layout: KeyLayout) -> Decoded {
    let uid_cells = cells(set, "tsdb-uid");
    let uids = decode_with(&uid_cells, TableKind::Uid, layout, None);
    uids.assert_complete(&uid_cells);
    let mut names = UidNames::new();
    for row in block(&uid_cells).rows() {
        for entry in read_uid_row(row) {
            if let UidEntry::Reverse { kind, uid, name } = entry {
                names.insert(kind, uid, &NameCharset::Latin1.decode(name));
            }
        }
    }
    let data = cells(set, "tsdb");
    let decoded = decode_with(&data, TableKind::Data, layout, None);
    decoded.assert_complete(&data);

    let batch = &decoded.out.points;
    let mut answer = Answer::new();
    let mut labels = BTreeMap::new();
    for (series, time, flags, value) in points(batch) {
        if flags & FLAG_SUPERSEDED == 0 {
            let tsuid = crate::model::hex(batch.series.get(series as usize).unwrap());
            let value = match value {
                Value::Int(int) => int as f64,
                Value::Float(float) => float,
            };
            assert_eq!(answer.insert((tsuid, time), value), None, "{set}: two points for one instant");
        }
    }
    for tsuid in batch.series.iter() {
        labels.insert(crate::model::hex(tsuid), describe_series(tsuid, &layout, &names));
    }
    let expected = lines(&folder(set).join("points.tsv.gz"));
    assert_eq!(answer.len(), expected.len(), "{set}");
    for line in &expected {
        let found = answer[&(line[2].clone(), line[3].parse().unwrap())];
        assert_eq!(found, line[4].parse::<f64>().unwrap(), "{set} {line:?}");
        let label = &labels[&line[2]];
        assert_eq!(label.metric.as_deref(), Some(line[0].as_str()));
        let tags: BTreeMap<String, String> = serde_json::from_str(&line[1]).unwrap();
        assert_eq!(label.tags, tags.into_iter().collect::<Vec<_>>());
    }
    decoded
}

fn count(decoded: &Decoded) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    decoded.reasons().iter().for_each(|reason| *counts.entry(reason.name()).or_default() += 1);
    counts
}

#[test]
fn opentsdb_2_4_1() {
    let set = "opentsdb-2.4.1";
    let decoded = compare(set, KeyLayout::default());
    assert!(decoded.out.annotations.len() >= 2 && !decoded.out.histograms.is_empty(), "annotations and histograms");
    assert!(!decoded.out.rollups.is_empty(), "the rollup inside the data table");
    let allowed = ["delete_marker", "deleted", "old_version"];
    assert!(count(&decoded).keys().all(|name| allowed.contains(name)), "{:?}", count(&decoded));

    let config = std::fs::read_to_string(folder(set).join("rollup.json")).unwrap();
    let config = RollupConfig::parse(&config).unwrap();
    for table in ["tsdb-preagg", "tsdb-rollup-1h", "tsdb-rollup-preagg-1h"] {
        let cells = cells(set, table);
        let decoded = decode_with(&cells, TableKind::Rollup, KeyLayout::default(), config.table(table));
        decoded.assert_complete(&cells);
        assert!(decoded.out.raw.is_empty(), "{table}: {:?}", decoded.out.raw);
        let read = decoded.out.rollups.iter().filter(|r| r.timestamp.is_some() && r.value.is_some()).count();
        assert_eq!(read + decoded.out.points.len(), cells.len());
    }
    for (table, kind) in [("tsdb-meta", TableKind::Meta), ("tsdb-tree", TableKind::Tree)] {
        let cells = cells(set, table);
        let decoded = decode_with(&cells, kind, KeyLayout::default(), None);
        decoded.assert_complete(&cells);
        assert!(count(&decoded).keys().all(|name| allowed.contains(name)), "{table}: {:?}", count(&decoded));
    }
}

#[test]
fn opentsdb_2_3_2() {
    compare("opentsdb-2.3.2", KeyLayout::default());
}

#[test]
fn append_cells() {
    let decoded = compare("append", KeyLayout::default());
    let forms: Vec<_> = decoded.out.points.segments.iter().map(|segment| segment.form).collect();
    assert!(forms.iter().all(|form| *form == crate::model::Form::Appended) && !forms.is_empty());
}

#[test]
fn salted() {
    let layout = KeyLayout { salt_width: 1, salt_buckets: 8, ..KeyLayout::default() };
    let decoded = compare("salted", layout);
    assert!(!count(&decoded).contains_key("wrong_salt"));
}

#[test]
fn mutated_cells_stay_complete() {
    let tables = [
        ("tsdb", TableKind::Data),
        ("tsdb", TableKind::Rollup),
        ("tsdb-uid", TableKind::Uid),
        ("tsdb-meta", TableKind::Meta),
        ("tsdb-tree", TableKind::Tree),
    ];
    for (seed, (table, kind)) in tables.into_iter().enumerate() {
        let original = cells("opentsdb-2.4.1", table);
        let mut dice = Dice::new(seed as u64 + 7);
        for _ in 0..12 {
            let mut cells = original.clone();
            for cell in &mut cells {
                let part = match dice.below(24) {
                    0 => &mut cell.row,
                    1 | 2 => &mut cell.qualifier,
                    3 | 4 => &mut cell.value,
                    _ => continue,
                };
                let at = dice.below(part.len() as u64 + 1) as usize;
                match part.get_mut(at) {
                    Some(byte) => *byte ^= 1 << dice.below(8),
                    None => part.push(dice.next() as u8),
                }
            }
            decode_with(&cells, kind, KeyLayout::default(), None).assert_complete(&cells);
        }
    }
}

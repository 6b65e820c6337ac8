//! Random rows: valid ones are exact, any others are complete. Seeded, so that every run tries the same.

use super::support::*;
use crate::codec::{RollupTable, row_key};
use crate::model::{KeyLayout, OwnedCell, TableKind, kind};

fn valid_key(dice: &mut Dice, layout: &KeyLayout) -> Vec<u8> {
    let mut tsuid = dice.bytes(usize::from(layout.metric_width));
    for _ in 0..=dice.below(4) {
        tsuid.extend(dice.bytes(layout.tag_width()));
    }
    let mut key = Vec::new();
    let base = dice.below(u64::from(u32::MAX) / 3600) as u32 * 3600;
    assert!(row_key::build(&tsuid, base, layout, &mut key));
    key
}

/// A point's qualifier and value.
fn valid_point(dice: &mut Dice, ms: bool) -> (Vec<u8>, Vec<u8>) {
    let flags = *dice.pick(&[0_u8, 1, 3, 7, 0xB, 0xF]);
    let qualifier = if ms {
        (0xF000_0000 | (dice.below(3_600_000) as u32) << 6 | u32::from(flags)).to_be_bytes().to_vec()
    } else {
        ((dice.below(3600) as u16) << 4 | u16::from(flags)).to_be_bytes().to_vec()
    };
    let mut value = dice.bytes(usize::from(flags & 7) + 1);
    if flags == 0xB && f32::from_be_bytes(value.clone().try_into().unwrap()).is_nan() {
        value = vec![0x7F, 0xC0, 0, 1];
    }
    (qualifier, value)
}

fn valid_column(dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
    let unit = dice.below(4);
    let is_ms = |dice: &mut Dice| unit == 1 || unit == 2 && dice.one_in(2);
    let form = dice.below(5);
    if form == 0 {
        let ms = is_ms(dice);
        return valid_point(dice, ms);
    }
    let (mut qualifier, mut value, mut entries, mut units) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..2 + dice.below(20) {
        let ms = is_ms(dice);
        units |= if ms { 2 } else { 1 };
        let (q, v) = valid_point(dice, ms);
        entries.extend_from_slice(&q);
        entries.extend_from_slice(&v);
        qualifier.extend(q);
        value.extend(v);
    }
    match form {
        1 => (vec![5, 0, 0], entries),
        2 => (vec![0, 0, 5], entries),
        3 => (qualifier, value),
        _ => {
            value.push(u8::from(units == 3));
            (qualifier, value)
        }
    }
}

#[test]
fn valid_rows_are_exact() {
    let mut dice = Dice::new(1);
    for round in 0..3000 {
        let layout = dice.layout();
        let mut cells = Vec::new();
        for _ in 0..=dice.below(3) {
            let key = valid_key(&mut dice, &layout);
            let mut columns: Vec<_> = (0..=dice.below(8)).map(|_| valid_column(&mut dice)).collect();
            columns.sort();
            columns.dedup_by(|a, b| a.0 == b.0);
            let shared = dice.below(1 << 41) as i64;
            for (qualifier, value) in columns {
                let timestamp = if dice.one_in(2) { shared } else { dice.below(1 << 41) as i64 };
                cells.push(put(&key, &qualifier, timestamp, &value));
            }
        }
        let decoded = decode_with(&cells, TableKind::Data, layout, None);
        assert!(decoded.out.raw.is_empty(), "round {round}: {:?}", decoded.out.raw);
        assert!(decoded.out.rollups.is_empty() && decoded.out.histograms.is_empty());
        decoded.assert_complete(&cells);
    }
}

fn garbage_cell(dice: &mut Dice, row: &[u8]) -> OwnedCell {
    let (mut qualifier, mut value) = if dice.one_in(3) {
        let qualifier = match dice.below(6) {
            0 => dice
                .pick(&[&b"metrics"[..], b"tagk", b"tagv_meta", b"ts_meta", b"ts_ctr", b"tree", b"leaf:abcd"])
                .to_vec(),
            1 => [dice.pick(&[0_u8, 1, 5, 6]).to_owned()].into_iter().chain(dice.bytes(2)).collect(),
            2 => [dice.pick(&[1_u8, 5, 6]).to_owned()].into_iter().chain(dice.bytes(4)).collect(),
            3 => [&b"sum:"[..], &dice.bytes(2)].concat(),
            _ => {
                let len = dice.below(14) as usize;
                dice.bytes(len)
            }
        };
        let len = dice.below(20) as usize;
        let value = if dice.one_in(4) { b"{\"startTime\":-1,\"custom\":[1]}".to_vec() } else { dice.bytes(len) };
        (qualifier, value)
    } else {
        valid_column(dice)
    };
    for bytes in [&mut qualifier, &mut value] {
        mutate(dice, bytes);
    }
    let kinds = [kind::PUT, kind::PUT, kind::PUT, kind::PUT, kind::PUT, kind::PUT];
    let markers = [kind::DELETE, kind::DELETE_COLUMN, kind::DELETE_FAMILY, kind::DELETE_FAMILY_VERSION, 0, 255];
    OwnedCell {
        row: row.to_vec(),
        family: dice.pick(&[&b"t"[..], b"t", b"t", b"t", b"name", b"id", b"x", b""]).to_vec(),
        qualifier,
        timestamp: *dice.pick(&[7, 7, 8, 1_400_000_000_000, -1, i64::MIN, i64::MAX]),
        kind: if dice.one_in(12) { *dice.pick(&markers) } else { *dice.pick(&kinds) },
        value,
    }
}

fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    if !dice.one_in(3) {
        return;
    }
    let at = dice.below(bytes.len() as u64 + 1) as usize;
    match dice.below(4) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, dice.next() as u8),
        2 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        _ => bytes.extend(dice.bytes(1)),
    }
}

fn garbage(dice: &mut Dice, layout: &KeyLayout) -> Vec<OwnedCell> {
    let mut cells: Vec<OwnedCell> = Vec::new();
    for _ in 0..=dice.below(3) {
        let mut key = valid_key(dice, layout);
        if dice.one_in(4) {
            mutate(dice, &mut key);
        }
        let first = cells.len();
        for _ in 0..=dice.below(8) {
            let mut cell = garbage_cell(dice, &key);
            if cells.len() > first && dice.one_in(4) {
                let twin = cells[cells.len() - 1].clone();
                (cell.family, cell.qualifier) = (twin.family, twin.qualifier);
            }
            cells.push(cell);
        }
        if dice.one_in(2) {
            cells[first..].sort_by(|a, b| {
                (&a.family, &a.qualifier, b.timestamp, b.kind).cmp(&(&b.family, &b.qualifier, a.timestamp, a.kind))
            });
        }
    }
    cells
}

#[test]
fn garbage_is_complete() {
    let rollups = RollupTable {
        aggregators: [(0, "sum".to_owned()), (6, "max".to_owned())].into(),
        interval_seconds: Some(u32::MAX),
        row_span: None,
    };
    let kinds =
        [TableKind::Data, TableKind::Rollup, TableKind::Uid, TableKind::Meta, TableKind::Tree, TableKind::Other];
    for seed in 0..12_000 {
        let mut dice = Dice::new(seed + 100);
        let layout = dice.layout();
        let cells = garbage(&mut dice, &layout);
        let kind = if dice.one_in(2) { TableKind::Data } else { *dice.pick(&kinds) };
        let rollups = dice.one_in(2).then(|| rollups.clone());
        let decoded = decode_with(&cells, kind, layout, rollups);
        decoded.assert_complete(&cells);
    }
}

#[test]
fn one_long_row_decodes() {
    // 3,600 points in one cell, and a row of 3,600 cells: neither is quadratic.
    let key = super::support::hex(KEY);
    let qualifier: Vec<u8> = (0..3600_u16).flat_map(|s| (s << 4).to_be_bytes()).collect();
    let mut cells: Vec<_> = (0..3600_u16).map(|s| put(&key, &(s << 4).to_be_bytes(), 7, &[1])).collect();
    cells.insert(1, put(&key, &qualifier, 6, &[2; 3601][..3600]));
    let decoded = decode(&cells);
    decoded.assert_complete(&cells);
    let superseded = decoded.out.points.flags.iter().filter(|f| **f & crate::model::FLAG_SUPERSEDED != 0).count();
    assert_eq!(superseded, 3600);
}

//! Rows of several cells: versions, markers, duplicates, segments, names.

use super::support::*;
use crate::codec::{UidEntry, describe_series, merged_segments, point_offsets, prove, read_uid_row};
use crate::model::{
    Cell, FLAG_SUPERSEDED, Form, KeyLayout, KeyLayouts, NameCharset, OwnedCell, RawReason, TableKind, UidKind,
    UidNames, WriteTime, kind,
};

fn cell(qualifier: &str, timestamp: i64, value: &str) -> OwnedCell {
    put(&hex(KEY), &hex(qualifier), timestamp, &hex(value))
}

fn marker(kind: u8, qualifier: &str, timestamp: i64) -> OwnedCell {
    OwnedCell { kind, ..cell(qualifier, timestamp, "") }
}

/// Decodes, checks that nothing is lost, and gives the points that a TSD shows.
fn shown(cells: &[OwnedCell]) -> Vec<(i64, Value)> {
    let decoded = decode(cells);
    decoded.assert_complete(cells);
    let mut points: Vec<_> = points(&decoded.out.points)
        .into_iter()
        .filter(|(_, _, flags, _)| flags & FLAG_SUPERSEDED == 0)
        .map(|(_, time, _, value)| (time - BASE * 1000, value))
        .collect();
    points.sort_by_key(|point| point.0);
    points
}

use Value::Int as I;

#[test]
fn single_cells_of_a_row_are_one_segment() {
    let cells =
        [cell("0000", 1_400_000_000_001, "04"), cell("0010", 1_400_000_000_002, "05"), cell("002b", 9, "42280000")];
    let decoded = decode(&cells);
    decoded.assert_complete(&cells);
    let [segment] = decoded.out.points.segments.as_slice() else { panic!() };
    assert_eq!((segment.len, segment.form, segment.write_time), (3, Form::Single, WriteTime::Delays(0)));
    assert_eq!(decoded.out.points.delays[2], 9 - (BASE * 1000 + 2000));
    assert_eq!((decoded.tally.rows, decoded.tally.cells, decoded.tally.points), (1, 3, 3));
}

#[test]
fn neighbouring_compacted_cells_of_one_write_time_stay_apart() {
    for (first, second) in [("040500", "060700"), ("0405", "0607")] {
        let cells = [cell("00000010", 7, first), cell("00200030", 7, second), cell("00400050", 7, first)];
        let decoded = decode(&cells);
        decoded.assert_complete(&cells);
        assert_eq!(merged_segments(&decoded.out.points).len(), 3);
        assert!(decoded.out.raw.is_empty());
    }
}

#[test]
fn old_versions_and_markers() {
    let cells = [cell("0000", 9, "04"), cell("0000", 8, "05"), cell("0000", 8, "06"), cell("0010", 8, "07")];
    assert_eq!(decode(&cells).reasons(), [RawReason::OldVersion; 2]);
    assert_eq!(shown(&cells), [(0, I(4)), (1000, I(7))]);

    let cells = [
        marker(kind::DELETE_FAMILY, "", 5),
        marker(kind::DELETE_FAMILY_VERSION, "", 7),
        marker(kind::DELETE, "0000", 9),
        cell("0000", 9, "01"),
        cell("0000", 8, "02"),
        cell("0000", 6, "03"),
        marker(kind::DELETE_COLUMN, "0010", 20),
        cell("0010", 20, "04"),
        cell("0020", 20, "05"),
        cell("0030", 7, "06"),
        cell("0040", 5, "07"),
        cell("0050", 6, "08"),
    ];
    assert_eq!(shown(&cells), [(0, I(2)), (2000, I(5)), (5000, I(8))]);
    use RawReason::{DeleteMarker as M, Deleted as D, OldVersion as O};
    assert_eq!(decode(&cells).reasons(), [M, M, M, D, O, M, D, D, D]);
    let strange = [OwnedCell { kind: 99, ..cell("0000", 9, "01") }];
    assert_eq!(decode(&strange).reasons(), [RawReason::NotIdentical]);
}

#[test]
fn duplicates_are_settled_newest_first() {
    // G04, G05, G06, G08 of the reference, as a reader sees them.
    assert_eq!(shown(&[cell("0000", 10, "09"), cell("00000010", 5, "040500")]), [(0, I(9)), (1000, I(5))]);
    assert_eq!(shown(&[cell("0000", 3, "09"), cell("00000010", 5, "040500")]), [(0, I(4)), (1000, I(5))]);
    assert_eq!(shown(&[cell("0000", 10, "04"), cell("f0000000", 11, "05")]), [(0, I(5))]);
    let appended = [cell("0020", 11, "06"), cell("050000", 10, "000004001005")];
    assert_eq!(shown(&appended), [(0, I(4)), (1000, I(5)), (2000, I(6))]);
    // Within a compacted column the first, within an append cell the last.
    assert_eq!(shown(&[cell("000000000010", 7, "04070600")]), [(0, I(4)), (1000, I(6))]);
    assert_eq!(shown(&[cell("050000", 7, "000004000005")]), [(0, I(5))]);
    // Equal write times: always the same one.
    assert_eq!(shown(&[cell("0010", 7, "04"), cell("0011", 7, "0005")]), [(1000, I(4))]);
}

#[test]
fn points_of_a_row_with_a_wrong_salt_are_shown_and_raw() {
    let layout = KeyLayout { salt_width: 1, ..KeyLayout::default() };
    for (salt, reasons) in [("08", vec![]), ("07", vec![RawReason::OtherSalt]), ("14", vec![RawReason::WrongSalt])] {
        let cells = [put(&hex(&format!("{salt}{KEY}")), &hex("00000010"), 7, &hex("040500"))];
        let decoded = decode_with(&cells, TableKind::Data, layout, None);
        decoded.assert_complete(&cells);
        assert_eq!((decoded.reasons(), decoded.out.points.len()), (reasons, 2));
    }
}

#[test]
fn odd_rows_and_times_are_raw() {
    let key = hex(KEY);
    for row in [&key[..6], &key[..7], &key[..9], &[]] {
        let cells = [put(row, &hex("0000"), 7, &[1])];
        let decoded = decode(&cells);
        assert_eq!((decoded.reasons(), decoded.out.points.len()), (vec![RawReason::BadRowKey], 0));
        decoded.assert_complete(&cells);
    }
    for timestamp in [-1, i64::MIN, i64::MAX, 253_402_300_800_000] {
        let cells = [
            cell("0000", timestamp, "01"),
            cell("00100020", timestamp, "010200"),
            cell("010010", timestamp, "7b7d"),
            cell("06000a", timestamp, "00"),
        ];
        let decoded = decode(&cells);
        assert_eq!(decoded.reasons(), [RawReason::OddTimestamp; 4]);
        assert_eq!(decoded.out.points.len(), 3);
        decoded.assert_complete(&cells);
    }
    assert!(decode(&[cell("0000", 0, "01"), cell("0010", 253_402_300_799_999, "01")]).out.raw.is_empty());
    let other = OwnedCell { family: b"x".to_vec(), ..cell("0000", 7, "01") };
    assert_eq!(decode(&[other]).reasons(), [RawReason::OtherFamily]);
    let decoded = decode_with(&[cell("0000", 7, "01")], TableKind::Other, KeyLayout::default(), None);
    assert_eq!(decoded.reasons(), [RawReason::ForeignTable]);
}

#[test]
fn rollups_inside_the_data_table_are_told_by_their_shape() {
    let cells = [
        cell("010010", 7, "2a"),
        cell("050000", 7, "2a"),
        cell("050010", 7, "2a"),
        cell("000017", 7, "7b00000000000000"),
    ];
    let decoded = decode(&cells);
    decoded.assert_complete(&cells);
    assert_eq!((decoded.out.rollups.len(), decoded.out.raw.len()), (4, 0));
}

#[test]
fn an_altered_column_fails_the_proof() {
    let cells = [
        cell("0000", 9, "04"),
        cell("001b", 9, "42280000"),
        cell("f0010000", 9, "05"),
        cell("00200030", 8, "040500"),
        cell("050000", 7, "004004f0020040f7"),
    ];
    let mut cells = cells;
    cells.swap(2, 3);
    let decoded = decode(&cells);
    decoded.assert_complete(&cells);
    let batch = &decoded.out.points;
    let broken = |change: &dyn Fn(&mut crate::model::PointBatch)| {
        let mut batch = batch.clone();
        change(&mut batch);
        prove(&batch, &decoded.layout).is_err()
    };
    for at in 0..batch.len() {
        assert!(broken(&|b| b.timestamps[at] += 1000), "time {at}");
        assert!(broken(&|b| b.timestamps[at] += 7_200_000), "time {at}");
        assert!(broken(&|b| b.flags[at] ^= 0x10), "unit {at}");
        assert!(broken(&|b| b.flags[at] ^= 1), "width {at}");
        assert!(broken(&|b| b.flags[at] ^= 8), "kind {at}");
        assert!(!broken(&|b| b.flags[at] ^= FLAG_SUPERSEDED), "an interpretation, not a cell");
    }
    for at in 0..batch.ints.len() {
        assert!(broken(&|b| b.ints[at] += 1), "int {at}");
        assert!(broken(&|b| b.ints[at] += 1 << 40), "int {at}");
    }
    assert!(broken(&|b| b.floats[0] += 1.0));
    assert!(broken(&|b| b.floats[0] += 1e-12));
    for at in 0..batch.delays.len() {
        assert!(broken(&|b| b.delays[at] += 1), "delay {at}");
    }
    let first = batch.series.get(0).unwrap();
    let others = || batch.series.iter().skip(1).map(<[u8]>::to_vec);
    let renamed = [&[first[0] + 1], &first[1..]].concat();
    assert!(broken(&|b| b.series = [renamed.clone()].into_iter().chain(others()).collect()));
    assert!(broken(&|b| b.series = [first[..2].to_vec()].into_iter().chain(others()).collect()));
    for at in 0..batch.segments.len() {
        assert!(broken(&|b| b.segments[at].base += 3600), "base {at}");
        assert!(broken(&|b| b.segments[at].series += 1), "series {at}");
        assert!(broken(&|b| b.segments[at].len += 1000), "length {at}");
        assert!(broken(&|b| b.segments[at].checksum += 1), "checksum {at}");
        assert!(broken(&|b| b.segments[at].write_time = WriteTime::Shared(1)), "write time {at}");
    }
}

#[test]
fn take_points_starts_series_anew() {
    let mut decoder = crate::codec::Decoder::new(TableKind::Data, KeyLayout::default(), None);
    let (mut out, mut tally) = Default::default();
    let rows = block(&[cell("0000", 7, "04")]);
    for round in 0..3 {
        decoder.row(rows.row(0).unwrap(), &mut out, &mut tally);
        let batch = decoder.take_points(&mut out);
        assert_eq!((batch.len(), batch.series.len(), batch.segments[0].series), (1, 1, 0), "{round}");
        assert!(out.points.is_empty() && out.points.series.is_empty());
    }
}

#[test]
fn names_come_from_reverse_maps() {
    let name = |row: &str, qualifier: &str, value: &[u8]| OwnedCell {
        family: b"name".to_vec(),
        ..put(&hex(row), qualifier.as_bytes(), 7, value)
    };
    let cells = [
        name("000001", "metrics", b"sys.cpu"),
        name("000001", "metrics", b"older"),
        name("000001", "tagk", b"host"),
        name("000001", "tagv", b"caf\xe9"),
        name("000002", "tagk", b"dc"),
        name("000003", "tagk", b"dc"),
    ];
    let mut names = UidNames::new();
    for row in block(&cells).rows() {
        for entry in read_uid_row(row) {
            if let UidEntry::Reverse { kind, uid, name } = entry {
                names.insert(kind, uid, &NameCharset::Latin1.decode(name));
            }
        }
    }
    assert_eq!(names.get(UidKind::Metric, &[0, 0, 1]), Some("sys.cpu"));
    let label = describe_series(&hex("000001 000001000001 000002000009"), &KeyLayout::default(), &names);
    assert_eq!(label.metric.as_deref(), Some("sys.cpu"));
    assert_eq!(label.tags_json, r#"{"dc":"000009","host":"café"}"#);
    assert!(!label.complete);
    let label = describe_series(&hex("000001 000001000001"), &KeyLayout::default(), &names);
    assert!(label.complete);
    let twice = describe_series(&hex("000001 000002000001 000003000001"), &KeyLayout::default(), &names);
    assert_eq!(twice.tags_json, r#"{"dc":"café","dc#000003":"café"}"#);
    assert_eq!(describe_series(&[1], &KeyLayout::default(), &names).metric, None);
}

/// Rows of one series: under the salt in use, under an earlier number of buckets, without salt, under a number that
/// nobody knows, and under a salt that is no bucket's.
#[test]
fn rows_under_other_salts_are_exact_points_where_the_salt_is_known() {
    let salted = |salt_buckets| KeyLayout { salt_width: 1, salt_buckets, ..KeyLayout::default() };
    let layouts = KeyLayouts::new(salted(64), [salted(20), KeyLayout::default()]);
    let key = |layout: &KeyLayout, hour: u32| {
        let mut key = Vec::new();
        assert!(crate::codec::row_key::build(&hex("000001 000001000001"), BASE as u32 + hour * 3600, layout, &mut key));
        key
    };
    let mut rows = vec![key(&salted(64), 0), key(&salted(20), 0), key(&KeyLayout::default(), 0)];
    let unsalted = rows[2].clone();
    let with_salt = |salt: u8| [vec![salt], unsalted.clone()].concat();
    let known = [rows[0][0], rows[1][0]];
    assert_ne!(known[0], known[1], "the counts must tell the rows apart");
    let strange = (0..64).find(|salt| !known.contains(salt)).unwrap();
    rows.extend([with_salt(strange), with_salt(64), key(&KeyLayout::default(), 0)[..12].to_vec()]);
    let cells: Vec<OwnedCell> = rows.iter().map(|row| put(row, &hex("0010"), 1_400_000_000_000, &hex("05"))).collect();
    let decoded = decode_with(&cells, TableKind::Data, layouts, None);
    decoded.assert_complete(&cells);
    let segments = &decoded.out.points.segments;
    let found: Vec<(u8, bool)> = segments.iter().map(|segment| (segment.layout, segment.exact)).collect();
    assert_eq!(found, [(0, true), (1, true), (2, true), (0, false), (0, false)]);
    assert_eq!(decoded.out.points.series.len(), 1, "it is one series under all salts");
    let reasons: Vec<RawReason> = decoded.out.raw.iter().map(|raw| raw.reason).collect();
    assert_eq!(reasons, [RawReason::OtherSalt, RawReason::WrongSalt, RawReason::BadRowKey]);
}

#[test]
fn the_points_of_a_cell_are_those_that_it_decodes_to() {
    let offsets = |qualifier: &[u8], value: &[u8]| {
        point_offsets(&Cell { row: b"r", family: b"t", qualifier, timestamp: 1, kind: kind::PUT, value })
    };
    assert_eq!(offsets(&[0, 0x10], &[7]), Some(vec![1000]));
    assert_eq!(offsets(&[0xf0, 0, 0x01, 0x40], &[7]), Some(vec![5]));
    assert_eq!(offsets(&[0, 0x10, 0, 0x21], &[7, 1, 2, 0]), Some(vec![1000, 2000]), "compacted");
    assert_eq!(offsets(&[0, 0x10, 0, 0x21], &[7, 1, 2]), Some(vec![1000, 2000]), "without the last byte");
    assert_eq!(offsets(&[5, 0, 0], &[0, 0x10, 7, 0, 0x21, 1, 2]), Some(vec![1000, 2000]), "append");
    assert_eq!(offsets(&[0, 0, 5], &[0, 0x10, 7]), Some(vec![1000]));
    // What does not decode has an hour and no times: too few or too many bytes, annotations, outside the hour, markers.
    let none: [(&[u8], &[u8]); 8] = [
        (&[0, 0x10], &[7, 8]),
        (&[0, 0x11], &[7]),
        (b"\x09junk\x03", b"value"),
        (&[1, 0, 0], b"{}"),
        (&[5, 0, 0], &[0, 0x10]),
        (&[0xff, 0xf0], &[7]),
        (&[], &[7]),
        (&[0, 0x10], &[]),
    ];
    for (qualifier, value) in none {
        assert_eq!(offsets(qualifier, value), None, "{qualifier:?}");
    }
    let marker = Cell { row: b"r", family: b"t", qualifier: &[0, 0x10], timestamp: 1, kind: kind::DELETE, value: &[7] };
    assert_eq!(point_offsets(&marker), None);
}

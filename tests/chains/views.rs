//! The views of a chain show what those of the full backup show that it is merged into.

use super::*;
use crate::support::sql;

/// Cells of points that are hard to tell apart, in rows of one metric: a point in milliseconds, an append cell, compacted
/// cells over single ones, and two compacted cells of one write time.
pub fn odd_cells(shape: &Synthetic) -> Vec<OwnedCell> {
    let written = now_ms() - 1000;
    let put = |series: u32, qualifier: &[u8], value: &[u8]| OwnedCell {
        row: shape.key(0, series, 1),
        family: b"t".to_vec(),
        qualifier: qualifier.to_vec(),
        timestamp: written,
        kind: kind::PUT,
        value: value.to_vec(),
    };
    let milli = (0xF000_0000_u32 | 700_123 << 6 | 1).to_be_bytes();
    let seconds = |offsets: &[u16]| offsets.iter().flat_map(|at| (at << 4 | 1).to_be_bytes()).collect::<Vec<u8>>();
    vec![
        put(0, &milli, &[1, 2]),
        put(
            0,
            &[5, 0, 0],
            &[seconds(&[900]), vec![3, 4], seconds(&[910]), vec![5, 6], seconds(&[900]), vec![7, 8]].concat(),
        ),
        put(1, &seconds(&[0, 10]), &[1, 1, 2, 2, 0]),
        put(2, &seconds(&[0, 20]), &[3, 3, 4, 4, 0]),
        put(3, &seconds(&[1000, 1010]), &[1, 1, 2, 2, 0]),
        put(3, &seconds(&[1020, 1030]), &[3, 3, 4, 4, 0]),
        put(3, &seconds(&[1040, 1050]), &[5, 5, 6, 6, 0]),
    ]
}

/// What deletes some of them, and what brings others into their place.
pub fn odd_changes(shape: &Synthetic, odd: &[OwnedCell]) -> Vec<OwnedCell> {
    let marker = |kind: u8, cell: &OwnedCell| OwnedCell { kind, value: Vec::new(), ..cell.clone() };
    let over = odd_cells(shape).remove(3);
    let row = shape.key(0, 4, 1);
    vec![
        marker(kind::DELETE_COLUMN, &odd[2]),
        marker(kind::DELETE, &odd[4]),
        OwnedCell { value: vec![9, 9, 8, 8, 0], timestamp: over.timestamp + 5, ..over.clone() },
        OwnedCell { row, timestamp: over.timestamp + 5, ..over },
    ]
}

const COLUMNS: [(&str, &str); 9] = [
    (
        "points",
        "\"table\", metric, tags, tag, epoch_ms(timestamp), value, value_int, value_float, epoch_ms(written), tsuid, case form % 16 when 5 then 1 when 6 then 2 else form end, flags, \
         exact, superseded",
    ),
    ("annotations", "tsuid, metric, tags, start, description, row, family, qualifier, value, written"),
    ("histograms", "tsuid, timestamp, row, family, qualifier, value, written"),
    ("rollups", "tsuid, timestamp, value, row, family, qualifier, cell_value, written"),
    ("uids", "role, kind, uid, name, counter, row, family, qualifier, value, written"),
    ("meta", "tsuid, role, row, family, qualifier, value, written"),
    ("tree", "tree, role, row, family, qualifier, value, written"),
    ("cells", "\"table\", row, family, qualifier, timestamp, type, value, reason"),
    ("metrics", "\"table\", uid, metric, points, first_time, last_time"),
];

/// Compares every view (forms 5 and 6 are 1 and 2 beside another cell like it, which may be gone); gives the number of points, and how many are superseded.
#[track_caller]
pub fn assert_agree(repository: &Repository, chain: &str, merged: &str) -> (u64, u64) {
    let mut queries: Vec<String> =
        COLUMNS.iter().map(|(view, columns)| format!("select {columns} from {view} order by all")).collect();
    queries.push("select count(*), count(*) filter (superseded) from points".to_owned());
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    let (of_chain, of_merged) =
        (sql::query_views(repository, chain, &queries), sql::query_views(repository, merged, &queries));
    for (((view, _), found), wanted) in COLUMNS.iter().zip(&of_chain).zip(&of_merged) {
        let (found, wanted) = (found.as_array().unwrap(), wanted.as_array().unwrap());
        let lacks: Vec<_> = wanted.iter().filter(|row| !found.contains(row)).take(2).collect();
        let more: Vec<_> = found.iter().filter(|row| !wanted.contains(row)).take(2).collect();
        assert!(found == wanted, "{view}: {} rows, {}; lacks {lacks:?}; has {more:?}", found.len(), wanted.len());
    }
    let counts = &of_chain[COLUMNS.len()][0];
    (counts[0].as_u64().unwrap(), counts[1].as_u64().unwrap())
}

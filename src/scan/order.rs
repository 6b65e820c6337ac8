//! What every page must obey: keys inside the range and rising, cells in HBase's order inside a row.

use std::cmp::Ordering;

use crate::cluster::hex;
use crate::model::{CellBlock, CellRef, KeyRange, RowView};

/// Checks a page against the range that it was asked for.
pub(super) fn check(range: &KeyRange, block: &CellBlock) -> Result<(), String> {
    let mut before: Option<&[u8]> = None;
    for row in block.rows() {
        if !range.contains(row.key) {
            return Err(format!("row {} lies outside the range", hex(row.key)));
        }
        if before.is_some_and(|before| before >= row.key) {
            return Err(format!("row {} does not follow the row before it", hex(row.key)));
        }
        if row.cells.is_empty() {
            return Err(format!("row {} has no cell", hex(row.key)));
        }
        before = Some(row.key);
        check_cells(block, &row)?;
    }
    Ok(())
}

fn check_cells(block: &CellBlock, row: &RowView<'_>) -> Result<(), String> {
    // Equal neighbours are possible: a raw scan shows every overwritten cell until a flush.
    match row.cells.windows(2).find(|pair| matches!(pair, [a, b] if compare(block, a, b) == Ordering::Greater)) {
        None => Ok(()),
        Some(_) => Err(format!("the cells of row {} are out of order", hex(row.key))),
    }
}

/// HBase's order: family, qualifier, then newest first, then the type with the greater code first.
fn compare(block: &CellBlock, a: &CellRef, b: &CellRef) -> Ordering {
    let family = |cell: &CellRef| block.families().get(usize::from(cell.family)).map(Vec::as_slice);
    let families = if a.family == b.family { Ordering::Equal } else { family(a).cmp(&family(b)) };
    families
        .then_with(|| block.slice(a.qualifier).cmp(block.slice(b.qualifier)))
        .then_with(|| b.timestamp.cmp(&a.timestamp))
        .then_with(|| b.kind.cmp(&a.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind;

    type Cells<'a> = &'a [(&'a str, &'a str, i64, u8)];

    fn block(rows: &[(&str, Cells<'_>)]) -> CellBlock {
        let mut block = CellBlock::new();
        for (key, cells) in rows {
            block.push_row(key.as_bytes()).unwrap();
            for (family, qualifier, timestamp, kind) in *cells {
                block.push_cell(family.as_bytes(), qualifier.as_bytes(), *timestamp, *kind, b"v").unwrap();
            }
        }
        block
    }

    const ONE: &[(&str, &str, i64, u8)] = &[("t", "q", 5, kind::PUT)];

    #[test]
    fn accepts_what_hbase_sends() {
        let cells: &[_] = &[
            ("s", "z", 1, kind::PUT),
            ("t", "", 9, kind::DELETE_FAMILY),
            ("t", "", 9, kind::DELETE_FAMILY_VERSION),
            ("t", "a", 9, kind::DELETE_COLUMN),
            ("t", "a", 9, kind::PUT),
            ("t", "a", 9, kind::PUT),
            ("t", "a", 8, kind::DELETE_COLUMN),
            ("t", "b", 10, kind::PUT),
        ];
        check(&KeyRange::new("a", "d"), &block(&[("a", cells), ("b", ONE), ("c\u{0}", ONE)])).unwrap();
    }

    #[test]
    fn refuses_rows_out_of_range_or_order() {
        for rows in [["a", "d"], ["0", "a"], ["b", "b"], ["c", "b"]] {
            assert!(check(&KeyRange::new("a", "d"), &block(&[(rows[0], ONE), (rows[1], ONE)])).is_err(), "{rows:?}");
        }
        assert!(check(&KeyRange::all(), &block(&[("a", &[])])).is_err());
    }

    #[test]
    fn refuses_cells_out_of_order() {
        let pairs = [
            [("t", "a", 1, kind::PUT), ("t", "a", 2, kind::PUT)],
            [("t", "b", 1, kind::PUT), ("t", "a", 1, kind::PUT)],
            [("t", "a", 1, kind::PUT), ("s", "a", 1, kind::PUT)],
            [("t", "a", 1, kind::PUT), ("t", "a", 1, kind::DELETE)],
        ];
        for pair in pairs {
            assert!(check(&KeyRange::all(), &block(&[("a", &pair)])).is_err(), "{pair:?}");
        }
    }
}

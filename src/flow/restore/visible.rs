//! Which cells of whole rows readers see, by HBase's rules for delete markers and versions.

use std::collections::BTreeMap;

use crate::codec::Mask;
use crate::model::{OwnedCell, kind};

/// Row, family and qualifier of a cell.
pub type Column<'a> = (&'a [u8], &'a [u8], &'a [u8]);
/// Row, family and qualifier.
pub type OwnedColumn = (Vec<u8>, Vec<u8>, Vec<u8>);

/// The column of a cell.
pub fn column(cell: &OwnedCell) -> Column<'_> {
    (&cell.row, &cell.family, &cell.qualifier)
}

/// Splits cells of whole rows into those that readers see and the rest: hidden ones and markers.
pub fn split(mut cells: Vec<OwnedCell>, versions: &dyn Fn(&[u8]) -> usize) -> (Vec<OwnedCell>, Vec<OwnedCell>) {
    cells.sort_unstable();
    let mut families: BTreeMap<(Vec<u8>, Vec<u8>), Mask> = BTreeMap::new();
    let mut columns: BTreeMap<OwnedColumn, Mask> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| cell.kind != kind::PUT) {
        let mask = if Mask::is_of_family(cell.kind) {
            families.entry((cell.row.clone(), cell.family.clone())).or_default()
        } else {
            columns.entry(owned(column(cell))).or_default()
        };
        mask.add(cell.kind, cell.timestamp);
    }
    let (mut seen, mut hidden) = (Vec::new(), Vec::new());
    let mut counted: Option<(OwnedColumn, usize)> = None;
    // Backwards, so that the newest version of a column comes first.
    for cell in cells.into_iter().rev() {
        let key = owned(column(&cell));
        let masked = families.get(&(cell.row.clone(), cell.family.clone())).is_some_and(|m| m.hides(cell.timestamp))
            || columns.get(&key).is_some_and(|m| m.hides(cell.timestamp));
        if cell.kind != kind::PUT || masked {
            hidden.push(cell);
            continue;
        }
        let before = counted.as_ref().filter(|(column, _)| *column == key).map_or(0, |(_, count)| *count);
        counted = Some((key, before + 1));
        if before < versions(&cell.family) { seen.push(cell) } else { hidden.push(cell) }
    }
    seen.reverse();
    hidden.reverse();
    (seen, hidden)
}

/// A column on its own.
pub fn owned(column: Column<'_>) -> OwnedColumn {
    (column.0.to_vec(), column.1.to_vec(), column.2.to_vec())
}

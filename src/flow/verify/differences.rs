//! Two sets of cells of the same keys, compared.

use std::cmp::Ordering;

use crate::flow::{CellDifference, DifferenceKind};
use crate::manifest::TableRecord;
use crate::model::{FamilyDescriptor, OwnedCell, hex, time};

/// What decides why a cell differs.
pub struct Judge {
    table: String,
    families: Vec<FamilyDescriptor>,
    started_ms: i64,
    now_ms: i64,
}

impl Judge {
    /// For a table of a backup that began at `started_ms`.
    pub fn new(table: &TableRecord, started_ms: i64) -> Self {
        let families = table.descriptor.descriptor(&table.name).unwrap_or_default().families;
        Self { table: table.name.clone(), families, started_ms, now_ms: time::now_ms() }
    }

    fn only_in_backup(&self, cell: &OwnedCell) -> DifferenceKind {
        let ttl = self.families.iter().find(|f| f.name == cell.family).and_then(FamilyDescriptor::ttl_seconds);
        let expired = ttl.is_some_and(|s| cell.timestamp.saturating_add(s.saturating_mul(1000)) < self.now_ms);
        if expired { DifferenceKind::Expired } else { DifferenceKind::Deleted }
    }

    fn only_in_source(&self, cell: &OwnedCell) -> DifferenceKind {
        if cell.timestamp >= self.started_ms { DifferenceKind::WrittenLater } else { DifferenceKind::Damaged }
    }

    fn difference(
        &self,
        cell: &OwnedCell,
        kind: DifferenceKind,
        saved: Option<&OwnedCell>,
        live: Option<&OwnedCell>,
    ) -> CellDifference {
        CellDifference {
            table: self.table.clone(),
            row: hex(&cell.row),
            family: String::from_utf8_lossy(&cell.family).into_owned(),
            qualifier: hex(&cell.qualifier),
            timestamp: cell.timestamp,
            kind: cell.kind,
            difference: kind,
            backup_value: saved.map(|cell| hex(&cell.value)),
            source_value: live.map(|cell| hex(&cell.value)),
        }
    }
}

/// Tells every difference between the cells of the backup and those of the cluster.
pub fn compare_cells(
    mut saved: Vec<OwnedCell>,
    mut live: Vec<OwnedCell>,
    judge: &Judge,
    tell: &mut dyn FnMut(CellDifference),
) {
    saved.sort_unstable();
    live.sort_unstable();
    let (mut saved, mut live) = (saved.iter().peekable(), live.iter().peekable());
    loop {
        match (saved.peek(), live.peek()) {
            (None, None) => return,
            (Some(cell), None) => {
                tell(judge.difference(cell, judge.only_in_backup(cell), Some(cell), None));
                saved.next();
            }
            (None, Some(cell)) => {
                tell(judge.difference(cell, judge.only_in_source(cell), None, Some(cell)));
                live.next();
            }
            (Some(a), Some(b)) => match place(a).cmp(&place(b)) {
                Ordering::Less => {
                    tell(judge.difference(a, judge.only_in_backup(a), Some(a), None));
                    saved.next();
                }
                Ordering::Greater => {
                    tell(judge.difference(b, judge.only_in_source(b), None, Some(b)));
                    live.next();
                }
                Ordering::Equal => {
                    if a.value != b.value {
                        tell(judge.difference(a, DifferenceKind::Damaged, Some(a), Some(b)));
                    }
                    saved.next();
                    live.next();
                }
            },
        }
    }
}

/// Everything but the value.
fn place(cell: &OwnedCell) -> (&[u8], &[u8], &[u8], i64, u8) {
    (&cell.row, &cell.family, &cell.qualifier, cell.timestamp, cell.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind;

    fn cell(row: u8, timestamp: i64, value: u8) -> OwnedCell {
        OwnedCell {
            row: vec![row],
            family: b"t".to_vec(),
            qualifier: vec![0, 0],
            timestamp,
            kind: kind::PUT,
            value: vec![value],
        }
    }

    fn judge(ttl: Option<&str>) -> Judge {
        let attributes = ttl.map(|ttl| (b"TTL".to_vec(), ttl.as_bytes().to_vec())).into_iter().collect();
        let family = FamilyDescriptor { name: b"t".to_vec(), attributes, configuration: Vec::new() };
        Judge { table: "tsdb".into(), families: vec![family], started_ms: 1_000, now_ms: 100_000 }
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        let saved = vec![cell(1, 10, 1), cell(2, 10, 1), cell(3, 10, 1)];
        let live = vec![cell(5, 10, 5), cell(3, 10, 2), cell(1, 10, 1), cell(4, 1_500, 1)];
        let mut found = Vec::new();
        compare_cells(saved.clone(), live, &judge(None), &mut |d| found.push((d.row, d.difference)));
        use DifferenceKind::{Damaged, Deleted, WrittenLater};
        let wanted = [("02", Deleted), ("03", Damaged), ("04", WrittenLater), ("05", Damaged)];
        assert_eq!(found, wanted.map(|(row, kind)| (row.to_string(), kind)));
        let mut kinds = Vec::new();
        compare_cells(saved, Vec::new(), &judge(Some("60")), &mut |d| kinds.push(d.difference));
        assert_eq!(kinds, [DifferenceKind::Expired; 3]);
    }
}

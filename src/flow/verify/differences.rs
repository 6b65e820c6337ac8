//! Why cells of the backup and of its source differ.

use std::cmp::Ordering;

use crate::flow::DifferenceKind;
use crate::flow::compare::{Found, Judge, Sides, difference};
use crate::manifest::TableRecord;
use crate::model::{FamilyDescriptor, OwnedCell, ShardRow, kind, time};

/// What decides why a cell differs.
pub struct SourceJudge {
    table: String,
    families: Vec<FamilyDescriptor>,
    started_ms: i64,
    now_ms: i64,
}

impl SourceJudge {
    /// For a table of a backup that began at `started_ms`.
    pub fn new(table: &TableRecord, started_ms: i64) -> Self {
        let families = table.descriptor.descriptor(&table.name).unwrap_or_default().families;
        Self { table: table.name.clone(), families, started_ms, now_ms: time::now_ms() }
    }

    fn only_in_backup(&self, cell: &OwnedCell, live: &[OwnedCell]) -> DifferenceKind {
        let ttl = self.families.iter().find(|f| f.name == cell.family).and_then(FamilyDescriptor::ttl_seconds);
        if ttl.is_some_and(|s| cell.timestamp.saturating_add(s.saturating_mul(1000)) < self.now_ms) {
            return DifferenceKind::Expired;
        }
        // A family keeps so many versions, and the newest of the column is the last in order.
        let behind = live.partition_point(|other| column(other) <= column(cell));
        let newest = behind.checked_sub(1).and_then(|at| live.get(at)).filter(|other| column(other) == column(cell));
        match newest {
            Some(newest) if newest.kind == kind::PUT && newest.timestamp > cell.timestamp => {
                DifferenceKind::Overwritten
            }
            _ => DifferenceKind::Deleted,
        }
    }

    fn only_in_source(&self, cell: &OwnedCell) -> DifferenceKind {
        if cell.timestamp >= self.started_ms { DifferenceKind::WrittenLater } else { DifferenceKind::Missing }
    }
}

impl Judge for SourceJudge {
    fn compare(&self, _: &ShardRow, sides: Sides, found: &mut Found) {
        let Sides { mut saved, mut live, .. } = sides;
        saved.sort_unstable();
        live.sort_unstable();
        let mut tell = |kind, saved, live| {
            if let Some(difference) = difference(&self.table, kind, saved, live) {
                found.tell(difference);
            }
        };
        let (mut left, mut right) = (saved.iter().peekable(), live.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => place(a).cmp(&place(b)),
            };
            let saved = left.next_if(|_| order != Ordering::Greater);
            let shown = right.next_if(|_| order != Ordering::Less);
            match (saved, shown) {
                (Some(cell), None) => tell(self.only_in_backup(cell, &live), Some(cell), None),
                (None, Some(cell)) => tell(self.only_in_source(cell), None, Some(cell)),
                (Some(a), Some(b)) if a.value != b.value => tell(DifferenceKind::Damaged, Some(a), Some(b)),
                _ => {}
            }
        }
    }
}

/// Everything but the value.
fn place(cell: &OwnedCell) -> (&[u8], &[u8], &[u8], i64, u8) {
    (&cell.row, &cell.family, &cell.qualifier, cell.timestamp, cell.kind)
}

fn column(cell: &OwnedCell) -> (&[u8], &[u8], &[u8]) {
    (&cell.row, &cell.family, &cell.qualifier)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn compared(ttl: Option<&str>, saved: Vec<OwnedCell>, live: Vec<OwnedCell>) -> Vec<(String, DifferenceKind)> {
        let attributes = ttl.map(|ttl| (b"TTL".to_vec(), ttl.as_bytes().to_vec())).into_iter().collect();
        let family = FamilyDescriptor { name: b"t".to_vec(), attributes, configuration: Vec::new() };
        let judge = SourceJudge { table: "tsdb".into(), families: vec![family], started_ms: 1_000, now_ms: 100_000 };
        let shard = ShardRow {
            table: "tsdb".into(),
            shard: "0".into(),
            start: Vec::new(),
            stop: Vec::new(),
            tally: crate::model::Tally::default(),
            attempt: String::new(),
        };
        let mut found = Found::new(100);
        judge.compare(&shard, Sides { saved, live, shown: Vec::new() }, &mut found);
        found.named.into_iter().map(|d| (d.row, d.difference)).collect()
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        let saved = vec![cell(1, 10, 1), cell(2, 10, 1), cell(3, 10, 1), cell(6, 10, 1)];
        let live = vec![cell(5, 10, 5), cell(3, 10, 2), cell(1, 10, 1), cell(4, 1_500, 1), cell(6, 2_000, 7)];
        use DifferenceKind::{Damaged, Deleted, Missing, Overwritten, WrittenLater};
        let wanted = [
            ("02", Deleted),
            ("03", Damaged),
            ("04", WrittenLater),
            ("05", Missing),
            ("06", Overwritten),
            ("06", WrittenLater),
        ];
        assert_eq!(compared(None, saved.clone(), live), wanted.map(|(row, kind)| (row.to_string(), kind)));
        let kinds: Vec<_> = compared(Some("60"), saved, Vec::new()).into_iter().map(|(_, kind)| kind).collect();
        assert_eq!(kinds, [DifferenceKind::Expired; 4]);
    }

    #[test]
    fn ordinary_changes_make_room_for_others() {
        let mut found = Found::new(1);
        for kind in [DifferenceKind::WrittenLater, DifferenceKind::Deleted, DifferenceKind::Damaged] {
            found.tell(difference("t", kind, Some(&cell(1, 1, 1)), None).unwrap());
        }
        assert_eq!(found.named.iter().map(|d| d.difference).collect::<Vec<_>>(), [DifferenceKind::Deleted]);
        assert_eq!(found.by_kind.values().sum::<u64>(), 3);
    }
}

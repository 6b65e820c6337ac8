//! Why cells of the backup and of its source differ.

use std::cmp::Ordering;

use crate::flow::compare::{Found, Judge, Sides, difference};
use crate::flow::stored::backup_files::saved_descriptor;
use crate::flow::{DifferenceKind, FlowError};
use crate::manifest::TableRecord;
use crate::model::{DescriptorSource, FamilyDescriptor, OwnedCell, ShardRow, TableDescriptor, kind, time};

/// What decides why a cell differs.
pub struct SourceJudge {
    table: String,
    /// As the source has them now: they decide what became of its cells.
    families: Vec<FamilyDescriptor>,
    /// As they were when it was backed up: they decided what a scan showed.
    saved: Vec<FamilyDescriptor>,
    /// Versions of a column that a scan asks for.
    asked: usize,
    /// The families are known by name alone.
    by_name: bool,
    /// All versions are compared, hidden ones too.
    raw: bool,
    started_ms: i64,
    now_ms: i64,
}

impl SourceJudge {
    /// For a table of a backup that began at `started_ms`, and what the source says of it `there`, where it says so.
    ///
    /// # Errors
    /// [`FlowError::Damaged`] for a saved descriptor that cannot be read.
    pub fn new(
        table: &TableRecord,
        there: Option<TableDescriptor>,
        started_ms: i64,
        raw: bool,
    ) -> Result<Self, FlowError> {
        let saved = saved_descriptor(table)?.families;
        Ok(Self {
            table: table.name.clone(),
            families: there.map_or_else(|| saved.clone(), |there| there.families),
            saved,
            asked: usize::try_from(table.versions).unwrap_or(1),
            by_name: table.described_by == DescriptorSource::Unknown,
            raw,
            started_ms,
            now_ms: time::now_ms(),
        })
    }

    /// Versions of the cell's column that a scan shows. Where nobody said how many its family keeps, they are at least as
    /// many as the backup holds.
    fn versions(&self, cell: &OwnedCell, saved: &[OwnedCell]) -> usize {
        let kept = kept(&self.families, cell);
        let seen = if self.by_name { of_column(saved, cell).len() } else { 0 };
        kept.max(seen).min(self.asked)
    }

    fn only_in_backup(&self, cell: &OwnedCell, saved: &[OwnedCell], live: &[OwnedCell]) -> DifferenceKind {
        let ttl = self.families.iter().find(|f| f.name == cell.family).and_then(FamilyDescriptor::ttl_seconds);
        if ttl.is_some_and(|s| cell.timestamp.saturating_add(s.saturating_mul(1000)) < self.now_ms) {
            return DifferenceKind::Expired;
        }
        // A version goes when as many newer ones are there as are kept; with fewer there was room for it.
        let newer = of_column(live, cell).iter().filter(|o| o.kind == kind::PUT && o.timestamp > cell.timestamp);
        match newer.count() >= self.versions(cell, saved) {
            true => DifferenceKind::Overwritten,
            false => DifferenceKind::Deleted,
        }
    }

    /// True for a cell behind as many newer ones as its family kept when it was backed up.
    fn was_hidden(&self, cell: &OwnedCell, live: &[OwnedCell]) -> bool {
        let newer = |other: &&OwnedCell| {
            other.kind == kind::PUT && other.timestamp > cell.timestamp && other.timestamp < self.started_ms
        };
        let plain = !self.raw && !self.by_name && cell.kind == kind::PUT;
        plain && of_column(live, cell).iter().filter(newer).count() >= kept(&self.saved, cell).min(self.asked)
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
        let mut record = |kind, saved, live| {
            if let Some(difference) = difference(&self.table, kind, saved, live) {
                found.record(difference);
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
            let backed_up = left.next_if(|_| order != Ordering::Greater);
            let shown = right.next_if(|_| order != Ordering::Less);
            match (backed_up, shown) {
                (Some(cell), None) => record(self.only_in_backup(cell, &saved, &live), Some(cell), None),
                // An older version that is shown since the table keeps more: no backup could hold it.
                (None, Some(cell)) if self.was_hidden(cell, &live) => {}
                (None, Some(cell)) => record(self.only_in_source(cell), None, Some(cell)),
                (Some(a), Some(b)) if a.value != b.value => record(DifferenceKind::Damaged, Some(a), Some(b)),
                _ => {}
            }
        }
    }
}

/// Versions that a family keeps.
fn kept(families: &[FamilyDescriptor], cell: &OwnedCell) -> usize {
    let family = families.iter().find(|family| family.name == cell.family);
    family.map_or(1, |family| usize::try_from(family.versions()).unwrap_or(1))
}

/// Everything but the value.
fn place(cell: &OwnedCell) -> (&[u8], &[u8], &[u8], i64, u8) {
    (&cell.row, &cell.family, &cell.qualifier, cell.timestamp, cell.kind)
}

fn column(cell: &OwnedCell) -> (&[u8], &[u8], &[u8]) {
    (&cell.row, &cell.family, &cell.qualifier)
}

/// The cells of the column of `cell`, out of sorted ones.
fn of_column<'a>(sorted: &'a [OwnedCell], cell: &OwnedCell) -> &'a [OwnedCell] {
    let from = sorted.partition_point(|other| column(other) < column(cell));
    let rest = sorted.get(from..).unwrap_or_default();
    let length = rest.partition_point(|other| column(other) == column(cell));
    rest.get(..length).unwrap_or_default()
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

    fn judge(attributes: &[(&str, &str)]) -> SourceJudge {
        let attributes = attributes.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()));
        let family =
            FamilyDescriptor { name: b"t".to_vec(), attributes: attributes.collect(), configuration: Vec::new() };
        let (table, families, saved) = ("tsdb".into(), vec![family.clone()], vec![family]);
        SourceJudge {
            table,
            families,
            saved,
            asked: usize::MAX,
            by_name: false,
            raw: false,
            started_ms: 1_000,
            now_ms: 100_000,
        }
    }

    fn compared(judge: &SourceJudge, saved: Vec<OwnedCell>, live: Vec<OwnedCell>) -> Vec<(String, DifferenceKind)> {
        let shard = ShardRow { table: "tsdb".into(), ..ShardRow::default() };
        let mut found = Found::new(100);
        judge.compare(&shard, Sides { saved, live, shown: Vec::new() }, &mut found);
        found.named.into_iter().map(|d| (d.row, d.difference)).collect()
    }

    #[test]
    fn every_kind_of_difference_is_recorded() {
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
        assert_eq!(compared(&judge(&[]), saved.clone(), live), wanted.map(|(row, kind)| (row.to_string(), kind)));
        let kinds: Vec<_> =
            compared(&judge(&[("TTL", "60")]), saved, Vec::new()).into_iter().map(|(_, kind)| kind).collect();
        assert_eq!(kinds, [DifferenceKind::Expired; 4]);
    }

    #[test]
    fn a_version_is_overwritten_when_newer_ones_fill_its_place() {
        use DifferenceKind::{Deleted, Overwritten, WrittenLater};
        let saved = || vec![cell(1, 50, 1), cell(1, 60, 2)];
        let kinds = |judge: &SourceJudge, live: &[i64]| -> Vec<DifferenceKind> {
            let live = live.iter().map(|timestamp| cell(1, *timestamp, 2)).collect();
            compared(judge, saved(), live).into_iter().map(|(_, kind)| kind).collect()
        };
        let three = judge(&[("VERSIONS", "3")]);
        assert_eq!(kinds(&three, &[60]), [Deleted]);
        assert_eq!(kinds(&three, &[60, 2_000]), [Deleted, WrittenLater]);
        assert_eq!(kinds(&three, &[60, 2_000, 2_001]), [Overwritten, WrittenLater, WrittenLater]);
        // A scan that asks for the latest version alone shows no other.
        let latest = SourceJudge { asked: 1, ..judge(&[("VERSIONS", "3")]) };
        assert_eq!(kinds(&latest, &[2_000]), [Overwritten, Overwritten, WrittenLater]);
        // What the backup holds, the family keeps, whoever does not say so.
        let unknown = SourceJudge { by_name: true, ..judge(&[]) };
        assert_eq!(kinds(&unknown, &[60]), [Deleted]);
        assert_eq!(kinds(&unknown, &[2_000, 2_001]), [Overwritten, Overwritten, WrittenLater, WrittenLater]);
    }

    /// What became of a cell is for the table to say as it is now: it may live longer, or shorter, than it did.
    #[test]
    fn the_time_to_live_is_that_of_the_source() {
        let kind = |saved: &[(&str, &str)], now: &[(&str, &str)]| {
            let judge = SourceJudge { saved: judge(saved).saved, ..judge(now) };
            compared(&judge, vec![cell(1, 10, 1)], Vec::new()).pop().unwrap().1
        };
        assert_eq!(kind(&[("TTL", "60")], &[]), DifferenceKind::Deleted);
        assert_eq!(kind(&[], &[("TTL", "60")]), DifferenceKind::Expired);
    }

    /// VERSIONS was raised after the backup: what the table shows again, no backup could hold.
    #[test]
    fn older_versions_that_are_shown_since_are_not_missing() {
        let saved = vec![cell(1, 60, 2)];
        let live = vec![cell(1, 60, 2), cell(1, 50, 1)];
        let one = SourceJudge { asked: 3, ..judge(&[("VERSIONS", "1")]) };
        assert_eq!(compared(&one, saved.clone(), live.clone()), []);
        let two = SourceJudge { asked: 3, ..judge(&[("VERSIONS", "2")]) };
        assert_eq!(compared(&two, saved.clone(), live.clone()), [("01".to_owned(), DifferenceKind::Missing)]);
        let raw = SourceJudge { raw: true, ..one };
        assert_eq!(compared(&raw, saved, live), [("01".to_owned(), DifferenceKind::Missing)]);
    }

    #[test]
    fn ordinary_changes_make_room_for_others() {
        let mut found = Found::new(1);
        for kind in [DifferenceKind::WrittenLater, DifferenceKind::Deleted, DifferenceKind::Damaged] {
            found.record(difference("t", kind, Some(&cell(1, 1, 1)), None).unwrap());
        }
        assert_eq!(found.named.iter().map(|d| d.difference).collect::<Vec<_>>(), [DifferenceKind::Deleted]);
        assert_eq!(found.by_kind.values().sum::<u64>(), 3);
    }
}

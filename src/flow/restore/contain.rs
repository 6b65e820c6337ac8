//! The proof of a restore: every cell of the backup is among those that the target shows, or is named.
//!
//! A target may hold more, from before the restore or from somebody who writes meanwhile; that is counted apart and no
//! difference. What a `--raw` backup holds besides visible cells (overwritten and deleted versions, delete markers) is
//! written, but HBase drops it at the flush or compaction of its choice, as it does everywhere. So a raw restore promises
//! what readers see, exactly: each cell that they saw is shown again, and none of the hidden ones has come back. How many
//! of those are gone already is counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::flow::DifferenceKind;
use crate::flow::compare::{Found, Judge, Sides, difference};
use crate::manifest::TableRecord;
use crate::model::{FamilyDescriptor, OwnedCell, ShardRow, TableDescriptor, TableKind, kind, time};
use crate::scan::ScanOptions;

use super::send::Sent;

/// Decides what the cells of a target lack.
pub struct TargetJudge<'a> {
    table: String,
    kind: TableKind,
    /// Of the target: they may differ from the saved ones.
    families: Vec<FamilyDescriptor>,
    /// How readers see a raw target.
    shown: Option<ScanOptions>,
    sent: &'a Sent,
    now_ms: i64,
}

impl<'a> TargetJudge<'a> {
    /// For a table of the backup, the descriptor of the table that it was restored into, and what was sent there.
    pub fn new(table: &TableRecord, target: &TableDescriptor, shown: Option<ScanOptions>, sent: &'a Sent) -> Self {
        let (name, kind, families) = (table.name.clone(), table.kind, target.families.clone());
        Self { table: name, kind, families, shown, sent, now_ms: time::now_ms() }
    }

    fn family(&self, name: &[u8]) -> Option<&FamilyDescriptor> {
        self.families.iter().find(|family| family.name == name)
    }

    fn versions(&self, family: &[u8]) -> usize {
        self.family(family).map_or(1, |family| usize::try_from(family.versions()).unwrap_or(1))
    }

    fn column(&self, shard: &ShardRow, saved: &[OwnedCell], shown: &[OwnedCell], hidden: &Hidden, found: &mut Found) {
        let tell = |found: &mut Found, kind, saved, live| {
            if let Some(difference) = difference(&self.table, kind, saved, live) {
                found.record(difference);
            }
        };
        let mut used = vec![false; shown.len()];
        let mut left = Vec::new();
        for cell in saved {
            match shown.iter().position(|there| there.timestamp == cell.timestamp) {
                None => left.push(cell),
                Some(at) => {
                    used[at] = true;
                    if shown[at].value != cell.value {
                        tell(found, DifferenceKind::Damaged, Some(cell), Some(&shown[at]));
                    }
                }
            }
        }
        let mut from = 0;
        for cell in left {
            let fits =
                |at: &usize| !used[*at] && shown[*at].timestamp > cell.timestamp && shown[*at].value == cell.value;
            let moved = (from..shown.len()).find(fits).filter(|_| self.sent.rewritten.contains(&shard.shard));
            if let Some(at) = moved {
                (used[at], from) = (true, at + 1);
                found.new_timestamps += 1;
                continue;
            }
            match self.reason(cell, shown) {
                Some((kind, newer)) => tell(found, kind, Some(cell), newer),
                None => continue,
            }
        }
        for (cell, _) in shown.iter().zip(&used).filter(|(_, used)| !**used) {
            if hidden.contains(cell) {
                tell(found, DifferenceKind::Reappeared, None, Some(cell));
            } else {
                found.also_there += 1;
            }
        }
    }

    /// Why a cell is not shown; `None` for one that the cluster refused, and for a counter that was increased since.
    fn reason<'c>(&self, cell: &OwnedCell, shown: &'c [OwnedCell]) -> Option<(DifferenceKind, Option<&'c OwnedCell>)> {
        if self.sent.refused.contains(&cell.as_cell()) {
            return None;
        }
        let newer: Vec<&OwnedCell> = shown.iter().filter(|there| there.timestamp > cell.timestamp).collect();
        if self.is_counter(cell) && newer.iter().any(|there| number(&there.value) >= number(&cell.value)) {
            return None;
        }
        let ttl = self.family(&cell.family).and_then(FamilyDescriptor::ttl_seconds);
        if ttl.is_some_and(|s| cell.timestamp.saturating_add(s.saturating_mul(1000)) < self.now_ms) {
            return Some((DifferenceKind::Expired, None));
        }
        if newer.len() >= self.versions(&cell.family) {
            return Some((DifferenceKind::Overwritten, newer.last().copied()));
        }
        Some((DifferenceKind::Missing, None))
    }

    /// Counters only ever grow: the highest UIDs, and the points of a series.
    fn is_counter(&self, cell: &OwnedCell) -> bool {
        match self.kind {
            TableKind::Uid => cell.family == b"id" && cell.row == [0],
            TableKind::Meta => cell.qualifier == b"ts_ctr",
            _ => false,
        }
    }
}

fn number(value: &[u8]) -> Option<u64> {
    value.try_into().map(u64::from_be_bytes).ok()
}

impl Judge for TargetJudge<'_> {
    fn allows_more(&self) -> bool {
        // A marker more in a raw target hides cells.
        self.shown.is_none()
    }

    fn shown(&self) -> Option<&ScanOptions> {
        self.shown.as_ref()
    }

    fn compare(&self, shard: &ShardRow, sides: Sides, found: &mut Found) {
        let (mut saved, mut hidden, mut shown) = (sides.saved, Hidden::default(), sides.live);
        if self.shown.is_some() {
            let there: BTreeSet<Place> = shown.iter().map(place).collect();
            (saved, hidden.0) = split(saved, &|family| self.versions(family));
            let sent = |cell: &OwnedCell| !self.sent.refused.contains(&cell.as_cell());
            found.dropped += hidden.0.iter().filter(|cell| !there.contains(&place(cell)) && sent(cell)).count() as u64;
            drop(there);
            hidden.0.sort_unstable();
            shown = sides.shown;
        }
        saved.sort_unstable();
        shown.sort_unstable();
        let (mut left, mut right) = (saved.as_slice(), shown.as_slice());
        while let Some(next) = left.first().into_iter().chain(right.first()).map(column).min() {
            let here = |cells: &[OwnedCell]| cells.iter().take_while(|cell| column(cell) == next).count();
            let (of_backup, rest) = left.split_at(here(left));
            let (of_target, others) = right.split_at(here(right));
            self.column(shard, of_backup, of_target, &hidden, found);
            (left, right) = (rest, others);
        }
    }
}

/// Cells of a raw backup that readers did not see, in order.
#[derive(Default)]
struct Hidden(Vec<OwnedCell>);

impl Hidden {
    fn contains(&self, cell: &OwnedCell) -> bool {
        self.0.binary_search_by(|other| place(other).cmp(&place(cell))).is_ok()
    }
}

type Place<'a> = (&'a [u8], &'a [u8], &'a [u8], i64, u8);

/// Everything but the value.
fn place(cell: &OwnedCell) -> Place<'_> {
    (&cell.row, &cell.family, &cell.qualifier, cell.timestamp, cell.kind)
}

type Column<'a> = (&'a [u8], &'a [u8], &'a [u8]);
/// Row, family and qualifier.
pub type OwnedColumn = (Vec<u8>, Vec<u8>, Vec<u8>);

fn column(cell: &OwnedCell) -> Column<'_> {
    (&cell.row, &cell.family, &cell.qualifier)
}

/// What hides cells: a timestamp up to which, and others at which.
#[derive(Debug, Clone, Default)]
pub struct Mask {
    /// All cells at or below it.
    pub up_to: Option<i64>,
    /// Cells at exactly these.
    pub exactly: BTreeSet<i64>,
}

impl Mask {
    /// Adds a delete marker.
    pub fn add(&mut self, marker: u8, timestamp: i64) {
        match marker {
            kind::DELETE_FAMILY | kind::DELETE_COLUMN => self.up_to = self.up_to.max(Some(timestamp)),
            _ => {
                self.exactly.insert(timestamp);
            }
        }
    }

    /// True for a cell that it hides.
    pub fn hides(&self, timestamp: i64) -> bool {
        self.up_to.is_some_and(|up_to| timestamp <= up_to) || self.exactly.contains(&timestamp)
    }
}

/// Splits cells of whole rows into those that readers see and the rest: hidden ones and markers.
pub fn split(mut cells: Vec<OwnedCell>, versions: &dyn Fn(&[u8]) -> usize) -> (Vec<OwnedCell>, Vec<OwnedCell>) {
    cells.sort_unstable();
    let mut families: BTreeMap<(Vec<u8>, Vec<u8>), Mask> = BTreeMap::new();
    let mut columns: BTreeMap<OwnedColumn, Mask> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| cell.kind != kind::PUT) {
        let family = || (cell.row.clone(), cell.family.clone());
        match cell.kind {
            kind::DELETE_FAMILY | kind::DELETE_FAMILY_VERSION => {
                families.entry(family()).or_default().add(cell.kind, cell.timestamp);
            }
            _ => {
                let (row, family) = family();
                let key = (row, family, cell.qualifier.clone());
                columns.entry(key).or_default().add(cell.kind, cell.timestamp);
            }
        }
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

fn owned(column: Column<'_>) -> OwnedColumn {
    (column.0.to_vec(), column.1.to_vec(), column.2.to_vec())
}

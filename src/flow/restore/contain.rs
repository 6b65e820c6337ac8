//! The proof of a restore: every cell of the backup is among those that the target shows, or is named.
//!
//! A target may hold more, from before the restore or from somebody who writes meanwhile; that is counted apart and no
//! difference. What a `--raw` backup holds besides visible cells (overwritten and deleted versions, delete markers) is
//! written, but HBase drops it at the flush or compaction of its choice, as it does everywhere. So a raw restore promises
//! what readers see, exactly: each cell that they saw is shown again, and none of the hidden ones has come back. How many
//! of those are gone already is counted. What readers saw is for the saved table's families to say; the target's may keep
//! fewer versions, or more.
//!
//! A gateway may show less than that ([`View`]): before HBase 2.2 no hidden cells, through Thrift1 the latest version of
//! each column alone. What it does not show is compared with nothing, and counted where cells are left out.

use std::collections::BTreeSet;

use crate::flow::DifferenceKind;
use crate::flow::compare::{Found, Judge, Sides, difference};
use crate::manifest::TableRecord;
use crate::model::{FamilyDescriptor, OwnedCell, ShardRow, TableDescriptor, TableKind, time};
use crate::scan::ScanOptions;

use super::sent::Sent;
use super::view::{Reading, View, versions};
use super::visible::{column, split};

/// Decides what the cells of a target lack.
pub struct TargetJudge<'a> {
    table: String,
    kind: TableKind,
    /// Of the target: they may differ from the saved ones.
    families: Vec<FamilyDescriptor>,
    reading: &'a Reading,
    sent: &'a Sent,
    now_ms: i64,
}

impl<'a> TargetJudge<'a> {
    /// For a table of the backup, the descriptor of the table that it was restored into, how that is read, and what was
    /// sent there.
    pub fn new(table: &TableRecord, target: &TableDescriptor, reading: &'a Reading, sent: &'a Sent) -> Self {
        let (name, kind, families) = (table.name.clone(), table.kind, target.families.clone());
        Self { table: name, kind, families, reading, sent, now_ms: time::now_ms() }
    }

    fn family(&self, name: &[u8]) -> Option<&FamilyDescriptor> {
        self.families.iter().find(|family| family.name == name)
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
        let latest = matches!(self.reading.view, View::Latest);
        for cell in left {
            let fits =
                |at: &usize| !used[*at] && shown[*at].timestamp > cell.timestamp && shown[*at].value == cell.value;
            let moved = (from..shown.len()).find(fits).filter(|_| self.sent.rewritten.contains(&shard.attempt));
            if let Some(at) = moved {
                (used[at], from) = (true, at + 1);
                found.new_timestamps += 1;
                continue;
            }
            match self.reason(cell, shown) {
                // The newer cell is shown in its place, and both are kept.
                Some((DifferenceKind::Missing, _))
                    if latest && shown.iter().any(|there| there.timestamp > cell.timestamp) =>
                {
                    found.not_shown += 1;
                }
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
        if newer.len() >= versions(&self.families, &cell.family) {
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
        // A marker more in a raw target hides cells, and a cell more that readers see of one may be a hidden one.
        matches!(self.reading.view, View::Cells | View::Latest)
    }

    fn equal_is_enough(&self) -> bool {
        self.reading.equal_is_enough()
    }

    fn shown(&self) -> Option<&ScanOptions> {
        match &self.reading.view {
            View::Raw(options) => Some(options),
            _ => None,
        }
    }

    fn compare(&self, shard: &ShardRow, sides: Sides, found: &mut Found) {
        let (mut saved, mut hidden, mut shown) = (sides.saved, Hidden::default(), sides.live);
        match self.reading.view {
            View::Cells => {}
            View::Raw(_) => {
                let there: BTreeSet<Place> = shown.iter().map(place).collect();
                (saved, hidden.0) = self.reading.seen(saved);
                let sent = |cell: &OwnedCell| !self.sent.refused.contains(&cell.as_cell());
                let dropped = hidden.0.iter().filter(|cell| !there.contains(&place(cell)) && sent(cell));
                found.dropped += dropped.count() as u64;
                drop(there);
                shown = sides.shown;
            }
            View::Shown { .. } => {
                (saved, hidden.0) = self.reading.seen(saved);
                found.hidden += hidden.0.len() as u64;
            }
            View::Latest => {
                let older;
                (saved, older) = split(saved, &|_| 1);
                found.not_shown += older.len() as u64;
            }
        }
        hidden.0.sort_unstable();
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

//! A shard of an increment by comparison: what the table shows now against what the chain of its parent comes to.
//!
//! The tallies of key ranges are compared first; only where they differ are cells looked at. What is new is kept as it is,
//! what is gone becomes a delete marker of exactly its version, so that parent and increment together are the table.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cluster::{Client, Gateways};
use crate::flow::FlowError;
use crate::flow::backup::export::{ExportContext, ShardOutcome, Stages};
use crate::flow::compare::{Comparison, Found, Judge, Sides};
use crate::flow::stored::backup_files::{BackupContents, ReadTools};
use crate::manifest::TableRecord;
use crate::model::{CellBlock, OutOfSpace, OwnedCell, ShardRow, kind};

/// Bytes of cells that are encoded at once, about.
const BLOCK_BYTES: usize = 4 << 20;

/// Takes what differs, range by range in key order, and encodes it.
struct Differences<'a> {
    stages: Mutex<Option<Stages<'a>>>,
    failed: Mutex<Option<FlowError>>,
}

impl<'a> Differences<'a> {
    /// Nothing yet, as an attempt at a shard.
    fn new(context: &'a Arc<ExportContext>, attempt: (String, i64)) -> Self {
        Self { stages: Mutex::new(Some(Stages::new(context, attempt))), failed: Mutex::default() }
    }

    fn encode(&self, cells: &[OwnedCell]) -> Result<(), FlowError> {
        let mut slot = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stages) = slot.as_mut() else { return Ok(()) };
        let mut block = CellBlock::new();
        let full = |error: OutOfSpace| FlowError::damaged(error.to_string());
        for row in cells.chunk_by(|a, b| a.row == b.row) {
            let Some(first) = row.first() else { continue };
            block.push_row(&first.row).map_err(full)?;
            for cell in row {
                let OwnedCell { family, qualifier, timestamp, kind, value, .. } = cell;
                block.push_cell(family, qualifier, *timestamp, *kind, value).map_err(full)?;
            }
            if block.bytes().len() >= BLOCK_BYTES {
                block = stages.decode(block)?;
                block.clear();
            }
        }
        if !block.is_empty() {
            stages.decode(block)?;
        }
        Ok(())
    }
}

impl Judge for Differences<'_> {
    fn compare(&self, _: &ShardRow, sides: Sides, _: &mut Found) {
        // What comes after an error is dropped with the shard.
        if let Err(error) = self.encode(&changes(sides)) {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

/// What must be added to `saved` so that it shows what is live: new cells, and markers for what is gone, in HBase's order.
fn changes(sides: Sides) -> Vec<OwnedCell> {
    let Sides { saved, live, .. } = sides;
    let there: BTreeSet<&OwnedCell> = saved.iter().collect();
    let place = |cell: &OwnedCell| (cell.row.clone(), cell.family.clone(), cell.qualifier.clone(), cell.timestamp);
    let places: BTreeSet<_> = live.iter().map(place).collect();
    let mut changes: Vec<OwnedCell> = live.iter().filter(|cell| !there.contains(cell)).cloned().collect();
    let gone = saved.iter().filter(|cell| !places.contains(&place(cell)));
    changes.extend(gone.map(|cell| OwnedCell { kind: kind::DELETE, value: Vec::new(), ..cell.clone() }));
    changes.sort_by(|a, b| {
        let column = |cell: &OwnedCell| (cell.row.clone(), cell.family.clone(), cell.qualifier.clone());
        column(a).cmp(&column(b)).then(b.timestamp.cmp(&a.timestamp)).then(b.kind.cmp(&a.kind))
    });
    changes
}

/// The chain that an increment is compared with, and how.
pub struct Against<'a> {
    /// The chain of the parent, as the contents of one backup.
    pub contents: &'a BackupContents,
    /// Its table.
    pub table: &'a TableRecord,
    /// How to read it.
    pub tools: ReadTools<'a>,
    /// The source.
    pub gateways: &'a Gateways,
}

/// Exports what differs in a shard of the chain.
///
/// # Errors
/// Any stage's.
pub fn export_differences(
    context: &Arc<ExportContext>,
    against: &Against<'_>,
    client: &mut Client,
    shard: &ShardRow,
) -> Result<ShardOutcome, FlowError> {
    let Against { contents, table, tools, gateways } = *against;
    let (attempt, first_series) = context.attempts.next();
    let differences = Differences::new(context, (attempt.clone(), first_series));
    let comparison = Comparison {
        gateways,
        threads: tools.threads,
        store: tools.store,
        contents,
        table,
        name: &table.name,
        options: context.scan.clone(),
        connections: 1,
        memory: tools.memory.clone(),
        pace: &context.pace,
        progress: &context.progress,
        judge: &differences,
        max_named: 0,
        bytes_read: AtomicU64::new(0),
    };
    comparison.shard(client, shard)?;
    let bytes_read = comparison.bytes_read.into_inner();
    if let Some(error) = differences.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let stages = differences.stages.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Some(stages) = stages else { return Err(FlowError::damaged("a shard without stages")) };
    let (tally, encoded) = stages.finish()?;
    ShardOutcome::new(attempt, shard.range(), bytes_read, tally, encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(row: u8, timestamp: i64, value: &[u8]) -> OwnedCell {
        let (row, family, qualifier, value) = (vec![row], b"t".to_vec(), b"q".to_vec(), value.to_vec());
        OwnedCell { row, family, qualifier, timestamp, kind: kind::PUT, value }
    }

    #[test]
    fn what_is_new_is_kept_and_what_is_gone_is_marked() {
        let saved = vec![cell(1, 5, b"a"), cell(2, 5, b"b"), cell(3, 5, b"c"), cell(4, 5, b"d")];
        let live = vec![cell(1, 5, b"a"), cell(2, 5, b"B"), cell(4, 6, b"d"), cell(5, 5, b"e")];
        let found = changes(Sides { saved, live, shown: Vec::new() });
        let marker = |cell: OwnedCell| OwnedCell { kind: kind::DELETE, value: Vec::new(), ..cell };
        let wanted =
            [cell(2, 5, b"B"), marker(cell(3, 5, b"")), cell(4, 6, b"d"), marker(cell(4, 5, b"")), cell(5, 5, b"e")];
        assert_eq!(found, wanted, "a value that was written over needs no marker");
    }
}

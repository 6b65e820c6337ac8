//! Puts: one call per timestamp, because a call has one.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use hbase_thrift::hbase::{BatchMutation, Mutation, THbaseSyncClient};

use crate::cluster::{Client, ClusterError, Durability};
use crate::model::{Cell, CellBlock};

const METHOD: &str = "mutateRowsTs";

/// The cells of the block by timestamp, each group in the order of the block.
pub(crate) fn by_timestamp(cells: &CellBlock) -> BTreeMap<i64, Vec<Cell<'_>>> {
    let mut groups: BTreeMap<i64, Vec<Cell<'_>>> = BTreeMap::new();
    for cell in cells.iter() {
        groups.entry(cell.timestamp).or_default().push(cell);
    }
    groups
}

impl Client {
    /// Writes the groups one after the other and takes out those that are written, so that another attempt goes on
    /// from there. Every durability but [`Durability::SkipWal`] is that of the table.
    pub(crate) fn put_thrift1(
        &mut self,
        table: &str,
        waiting: &mut BTreeMap<i64, Vec<Cell<'_>>>,
        durability: Durability,
    ) -> Result<(), ClusterError> {
        while let Some((timestamp, cells)) = waiting.first_key_value() {
            if self.gateways().stop().load(Ordering::Relaxed) {
                return Err(ClusterError::Interrupted);
            }
            self.put_group(table, *timestamp, cells, durability)?;
            waiting.pop_first();
        }
        Ok(())
    }

    fn put_group(
        &mut self,
        table: &str,
        timestamp: i64,
        cells: &[Cell<'_>],
        durability: Durability,
    ) -> Result<(), ClusterError> {
        let timeout = self.gateways().options().put_timeout;
        let batch = mutations(cells, durability != Durability::SkipWal);
        self.once_thrift1(METHOD, table, timeout, |wire| {
            wire.mutate_rows_ts(table.as_bytes().to_vec(), batch, timestamp, BTreeMap::new())
        })
    }
}

/// One entry per run of cells of the same row.
fn mutations(cells: &[Cell<'_>], log: bool) -> Vec<BatchMutation> {
    let put = |cell: &Cell<'_>| Mutation::new(false, column(cell), cell.value.to_vec(), log);
    let row = |run: &[Cell<'_>]| {
        let key = run.first().map(|cell| cell.row.to_vec());
        BatchMutation::new(key, run.iter().map(put).collect::<Vec<_>>())
    };
    cells.chunk_by(|a, b| a.row == b.row).map(row).collect()
}

/// `family:qualifier`; the colon stands there without a qualifier too.
fn column(cell: &Cell<'_>) -> Vec<u8> {
    [cell.family, b":", cell.qualifier].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind;

    fn block() -> CellBlock {
        let mut block = CellBlock::new();
        for row in [b"a", b"b"] {
            block.push_row(row).unwrap();
            block.push_cell(b"t", b"", 5, kind::PUT, b"").unwrap();
            block.push_cell(b"t", b"x:y", 3, kind::PUT, b"v").unwrap();
            block.push_cell(b"t", b"z", 5, kind::PUT, b"w").unwrap();
        }
        block
    }

    #[test]
    fn cells_are_grouped_by_timestamp_and_row() {
        let block = block();
        let groups = by_timestamp(&block);
        assert_eq!(groups.keys().copied().collect::<Vec<_>>(), [3, 5]);
        let batch = mutations(&groups[&5], true);
        assert_eq!(batch.len(), 2);
        assert_eq!(batch[0].row.as_deref(), Some(&b"a"[..]));
        let first = &batch[0].mutations.as_ref().unwrap()[0];
        assert_eq!((first.column.as_deref(), first.value.as_deref()), (Some(&b"t:"[..]), Some(&b""[..])));
        assert_eq!((first.is_delete, first.write_to_w_a_l), (Some(false), Some(true)));
        let other = mutations(&groups[&3], false);
        let other = &other[1].mutations.as_ref().unwrap()[0];
        assert_eq!((other.column.as_deref(), other.write_to_w_a_l), (Some(&b"t:x:y"[..]), Some(false)));
    }
}

//! The tally of a table in the cluster, by all connections.

use crate::cluster::{Client, Gateways};
use crate::flow::queue::WorkQueue;
use crate::flow::workers::work_through;
use crate::flow::{Cancel, FlowError, Progress, Resources};
use crate::model::{CellBlock, CellHasher, KeyRange, Tally};
use crate::scan::{ScanOptions, ShardScan};
use crate::shard::{plan, probe};

/// Key ranges that cover a table evenly enough for `connections` scans.
pub fn even_ranges(client: &mut Client, table: &str, connections: usize) -> Result<Vec<KeyRange>, FlowError> {
    let regions = client.regions(table)?;
    // Probing costs three calls a region; with many regions there is nothing to cut or join that matters.
    let probe_them = regions.len() <= 64 * connections;
    let mut probed = Vec::with_capacity(regions.len());
    for region in regions {
        let found = if probe_them { Some(probe(client, table, &region.range)?) } else { None };
        probed.push((region.range, found));
    }
    Ok(plan(&probed, connections * 2))
}

/// Scans the table and adds up its cells.
///
/// # Errors
/// The scan's, or [`FlowError::Interrupted`].
pub fn tally_table(
    gateways: &Gateways,
    table: &str,
    options: &ScanOptions,
    resources: &Resources,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Tally, FlowError> {
    let ranges = even_ranges(&mut gateways.client(), table, resources.connections)?;
    progress.stage(format!("reading {table} back"), ranges.len() as u64);
    let queue = WorkQueue::new(ranges);
    let mut total = Tally::default();
    let start = || gateways.client();
    let work = |client: &mut Client, range| tally_range(client, table, range, options, progress, cancel);
    work_through(resources.connections, &queue, progress, start, work, |part| total.add(&part))?;
    Ok(total)
}

/// The tally of one key range.
///
/// # Errors
/// The scan's, or [`FlowError::Interrupted`].
pub fn tally_range(
    client: &mut Client,
    table: &str,
    range: KeyRange,
    options: &ScanOptions,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Tally, FlowError> {
    let mut scan = ShardScan::new(client, table, range, options.clone());
    let mut page = CellBlock::new();
    let mut hasher = CellHasher::new();
    let mut total = Tally::default();
    while let Some(stats) = scan.next_page(&mut page)? {
        if cancel.is_set() {
            return Err(FlowError::Interrupted);
        }
        let sum = tally_block(&page, &mut hasher);
        progress.read(stats.wire_bytes);
        progress.counted(sum.cells, 0);
        total.add(&sum);
    }
    Ok(total)
}

/// The tally of a block of cells; points are not counted.
pub fn tally_block(block: &CellBlock, hasher: &mut CellHasher) -> Tally {
    let mut tally = Tally::default();
    for row in block.rows() {
        tally.rows += 1;
        hasher.row(row.key);
        for cell in row.iter() {
            let hash = hasher.cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value);
            tally.add_cell(&cell, hash);
        }
    }
    tally
}

//! The tally of a table in the cluster, by all connections.

use crate::cluster::{Client, Gateways};
use crate::flow::engine::pace::Pace;
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::workers::work_through;
use crate::flow::{FlowError, Progress, Resources};
use crate::model::{CellBlock, CellHasher, KeyRange, Tally};
use crate::scan::{ScanOptions, ShardScan};
use crate::shard::{RegionProbe, plan, probe};

/// About so many key ranges that cover a table evenly, found with `connections`.
///
/// # Errors
/// The gateway's.
pub fn even_ranges(
    gateways: &Gateways,
    table: &str,
    connections: usize,
    pieces: usize,
) -> Result<Vec<KeyRange>, FlowError> {
    let regions = gateways.client().regions(table)?;
    let mut probed: Vec<(KeyRange, Option<RegionProbe>)> = regions.into_iter().map(|r| (r.range, None)).collect();
    // Probing costs three calls a region; with many regions there is nothing to cut or join that matters.
    if probed.len() <= 64 * connections.max(pieces / 2) {
        let ranges: Vec<(usize, KeyRange)> = probed.iter().map(|(range, _)| range.clone()).enumerate().collect();
        let (threads, queue) = (connections.min(ranges.len()), WorkQueue::new(ranges));
        let work = |client: &mut Client, (at, range): (usize, KeyRange)| {
            match probe(client, table, &range) {
                // Whoever reads it names the place.
                Err(error) if error.is_unreadable() => Ok((at, None)),
                found => Ok((at, Some(found?))),
            }
        };
        work_through(
            threads,
            &queue,
            &Progress::new(),
            || gateways.client(),
            work,
            |(at, found)| {
                if let Some((_, place)) = probed.get_mut(at) {
                    *place = found;
                }
            },
        )?;
    }
    Ok(plan(&probed, pieces))
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
    pace: &Pace,
    progress: &Progress,
) -> Result<Tally, FlowError> {
    let ranges = even_ranges(gateways, table, resources.connections, 2 * resources.connections)?;
    progress.stage(format!("reading {table} back"), ranges.len() as u64);
    let queue = WorkQueue::new(ranges);
    let mut total = Tally::default();
    let start = || gateways.client();
    let work = |client: &mut Client, range| tally_range(client, table, range, options, pace, progress);
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
    pace: &Pace,
    progress: &Progress,
) -> Result<Tally, FlowError> {
    let mut scan = ShardScan::new(client, table, range, pace.pages(options.clone()));
    let mut page = CellBlock::new();
    let mut hasher = CellHasher::new();
    let mut total = Tally::default();
    while let Some(bytes) = pace.next_page(&mut scan, &mut page)? {
        let sum = hasher.block(&page);
        progress.read(bytes);
        progress.counted(sum.cells, 0);
        total.add(&sum);
    }
    Ok(total)
}

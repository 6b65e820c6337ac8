//! The backup against the live cluster: from shards to key ranges to the differing cells.
//!
//! Each shard is scanned again. When its tally is the recorded one, the shard is equal and no file is read. Otherwise
//! the tallies of key ranges about as long as a page are compared on both sides, and only ranges that differ are read
//! cell by cell.

use std::collections::BTreeMap;

use crate::cluster::{Client, Gateways};
use crate::flow::backup_files::{BackupContents, fetch};
use crate::flow::budget::ByteBudget;
use crate::flow::contents::cells_of;
use crate::flow::pace::Pace;
use crate::flow::queue::WorkQueue;
use crate::flow::restore::read_options;
use crate::flow::threads::Threads;
use crate::flow::workers::work_through;
use crate::flow::{Cancel, CellDifference, DifferenceKind, FlowError, Progress, VerifyPlan, VerifyReport};
use crate::manifest::TableRecord;
use crate::model::{CellBlock, CellHasher, KeyRange, OwnedCell, ShardRow, Tally};
use crate::scan::{ScanOptions, ShardScan};

use super::differences::{Judge, compare_cells};

/// Cells of a key range at most before it is divided further: what one comparison holds in memory.
const RANGE_CELLS: u64 = 200_000;
/// Of so many backed-up rows one becomes a boundary when ranges must be divided.
const SAMPLE_EVERY: u64 = 5_000;

/// Compares all tables and adds the differences to the report.
///
/// # Errors
/// The gateway's or the store's; [`FlowError::Interrupted`].
pub fn compare(
    plan: &VerifyPlan,
    gateways: &Gateways,
    threads: &Threads,
    contents: &BackupContents,
    pace: &Pace,
    progress: &Progress,
    report: &mut VerifyReport,
) -> Result<(), FlowError> {
    for table in &contents.manifest.tables {
        let name = name_there(plan, table);
        let shards: Vec<&ShardRow> = contents.shards.iter().filter(|shard| shard.table == table.name).collect();
        progress.stage(format!("comparing {name}"), shards.len() as u64);
        let job = Job {
            plan,
            threads,
            contents,
            table,
            name,
            options: pace.pages(read_options(table, contents.manifest.raw)),
            memory: ByteBudget::new(plan.resources.max_memory),
            pace,
            progress,
            cancel: pace.cancel(),
        };
        let found = job.run(gateways, shards)?;
        report.cells += found.cells;
        for (kind, count) in found.by_kind {
            *report.by_kind.entry(kind).or_default() += count;
        }
        let room = plan.max_named.saturating_sub(report.cells_named.len());
        report.cells_named.extend(found.named.into_iter().take(room));
    }
    Ok(())
}

/// What the first table of the backup is called in the cluster.
pub fn first_table(plan: &VerifyPlan, contents: &BackupContents) -> Option<String> {
    contents.manifest.tables.first().map(|table| name_there(plan, table))
}

fn name_there(plan: &VerifyPlan, table: &TableRecord) -> String {
    let renamed = plan.rename.iter().find(|(old, _)| *old == table.name).map(|(_, new)| new.clone());
    renamed.unwrap_or_else(|| table.name.clone())
}

#[derive(Default)]
struct Found {
    cells: u64,
    by_kind: BTreeMap<DifferenceKind, u64>,
    named: Vec<CellDifference>,
}

struct Job<'a> {
    plan: &'a VerifyPlan,
    threads: &'a Threads,
    contents: &'a BackupContents,
    table: &'a TableRecord,
    name: String,
    options: ScanOptions,
    memory: ByteBudget,
    pace: &'a Pace,
    progress: &'a Progress,
    cancel: &'a Cancel,
}

/// Ascending first keys of the ranges that divide a shard, and the tally of each.
struct Ranges {
    starts: Vec<Vec<u8>>,
    tallies: Vec<Tally>,
}

impl Ranges {
    fn new(starts: Vec<Vec<u8>>) -> Self {
        let tallies = vec![Tally::default(); starts.len()];
        Self { starts, tallies }
    }

    /// The range that a row belongs to.
    fn of(&self, row: &[u8]) -> usize {
        self.starts.partition_point(|start| start.as_slice() <= row).saturating_sub(1)
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.tallies.iter().for_each(|tally| total.add(tally));
        total
    }
}

impl Job<'_> {
    fn run(&self, gateways: &Gateways, shards: Vec<&ShardRow>) -> Result<Found, FlowError> {
        let queue = WorkQueue::new(shards);
        let mut all = Found::default();
        let start = || gateways.client();
        let work = |client: &mut Client, shard: &ShardRow| self.shard(client, shard);
        work_through(self.plan.resources.connections, &queue, self.progress, start, work, |found| {
            all.cells += found.cells;
            found.by_kind.iter().for_each(|(kind, count)| *all.by_kind.entry(*kind).or_default() += count);
            all.named.extend(found.named);
        })?;
        Ok(all)
    }

    fn shard(&self, client: &mut Client, shard: &ShardRow) -> Result<Found, FlowError> {
        let range = KeyRange::new(shard.start.clone(), shard.stop.clone());
        let mut source = self.scan_pages(client, &range)?;
        let mut found = Found { cells: source.total().cells, ..Found::default() };
        if source.total().same_cells(&shard.tally) {
            return Ok(found);
        }
        let (mut backup, sample) = self.backup_tallies(shard, source.starts.clone())?;
        if backup.tallies.iter().any(|tally| tally.cells > RANGE_CELLS) {
            let mut starts = source.starts.clone();
            starts.extend(sample.into_iter().filter(|key| range.contains(key)));
            starts.sort_unstable();
            starts.dedup();
            source = self.scan_ranges(client, &range, starts.clone())?;
            backup = self.backup_tallies(shard, starts)?.0;
        }
        let differing: Vec<usize> =
            (0..source.starts.len()).filter(|at| !source.tallies[*at].same_cells(&backup.tallies[*at])).collect();
        for group in grouped(&differing, &source, &backup) {
            self.compare_group(client, shard, &range, &source, &group, &mut found)?;
        }
        Ok(found)
    }

    /// Tallies of the source, one range a page.
    fn scan_pages(&self, client: &mut Client, range: &KeyRange) -> Result<Ranges, FlowError> {
        let mut ranges = Ranges::new(vec![range.start.clone()]);
        let mut hasher = CellHasher::new();
        self.scan(client, range.clone(), &mut |page| {
            if let Some(first) = page.row(0).filter(|row| row.key > range.start.as_slice() && !ranges.total_is_zero()) {
                ranges.starts.push(first.key.to_vec());
                ranges.tallies.push(Tally::default());
            }
            let sum = crate::flow::tally_scan::tally_block(page, &mut hasher);
            if let Some(last) = ranges.tallies.last_mut() {
                last.add(&sum);
            }
        })?;
        Ok(ranges)
    }

    /// Tallies of the source for given ranges.
    fn scan_ranges(&self, client: &mut Client, range: &KeyRange, starts: Vec<Vec<u8>>) -> Result<Ranges, FlowError> {
        let mut ranges = Ranges::new(starts);
        let mut hasher = CellHasher::new();
        self.scan(client, range.clone(), &mut |page| add_block(&mut ranges, page, &mut hasher))?;
        Ok(ranges)
    }

    fn scan(&self, client: &mut Client, range: KeyRange, each: &mut dyn FnMut(&CellBlock)) -> Result<(), FlowError> {
        let mut scan = ShardScan::new(client, &self.name, range, self.options.clone());
        let mut page = CellBlock::new();
        while let Some(bytes) = self.pace.next_page(&mut scan, &mut page)? {
            self.progress.read(bytes);
            self.progress.counted(page.cell_count() as u64, 0);
            each(&page);
        }
        Ok(())
    }

    /// Tallies of the backup for given ranges, and some of its row keys.
    fn backup_tallies(&self, shard: &ShardRow, starts: Vec<Vec<u8>>) -> Result<(Ranges, Vec<Vec<u8>>), FlowError> {
        let mut ranges = Ranges::new(starts);
        let (mut sample, mut rows) = (Vec::new(), 0u64);
        let mut hasher = CellHasher::new();
        self.read_backup(shard, &mut |block| {
            add_block(&mut ranges, block, &mut hasher);
            for row in block.rows() {
                rows += 1;
                if rows.is_multiple_of(SAMPLE_EVERY) {
                    sample.push(row.key.to_vec());
                }
            }
        })?;
        Ok((ranges, sample))
    }

    fn read_backup(&self, shard: &ShardRow, each: &mut dyn FnMut(&CellBlock)) -> Result<(), FlowError> {
        for file in self.contents.files_of(&self.table.name).filter(|file| file.shard == shard.shard) {
            if self.cancel.is_set() {
                return Err(FlowError::Interrupted);
            }
            let _memory = self.memory.reserve_file(file.kind, file.size);
            let bytes = fetch(self.threads, &self.plan.store, file)?;
            cells_of(bytes, file.kind, &self.contents.manifest.layout, &mut |block| {
                each(block);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn compare_group(
        &self,
        client: &mut Client,
        shard: &ShardRow,
        range: &KeyRange,
        ranges: &Ranges,
        group: &[usize],
        found: &mut Found,
    ) -> Result<(), FlowError> {
        let mut saved: Vec<OwnedCell> = Vec::new();
        self.read_backup(shard, &mut |block| {
            let wanted = block.rows().filter(|row| group.binary_search(&ranges.of(row.key)).is_ok());
            saved.extend(wanted.flat_map(|row| row.iter()).map(|cell| cell.to_owned()));
        })?;
        let mut live: Vec<OwnedCell> = Vec::new();
        for at in group {
            let stop = ranges.starts.get(at + 1).unwrap_or(&range.stop).clone();
            let part = KeyRange::new(ranges.starts[*at].clone(), stop);
            self.scan(client, part, &mut |page| live.extend(page.iter().map(|cell| cell.to_owned())))?;
        }
        let judge = Judge::new(self.table, self.contents.manifest.started_ms);
        compare_cells(saved, live, &judge, &mut |difference| {
            *found.by_kind.entry(difference.difference).or_default() += 1;
            if found.named.len() < self.plan.max_named {
                found.named.push(difference);
            }
        });
        Ok(())
    }
}

impl Ranges {
    fn total_is_zero(&self) -> bool {
        self.tallies.iter().all(|tally| tally.cells == 0)
    }
}

fn add_block(ranges: &mut Ranges, block: &CellBlock, hasher: &mut CellHasher) {
    for row in block.rows() {
        let at = ranges.of(row.key);
        hasher.row(row.key);
        for cell in row.iter() {
            let hash = hasher.cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value);
            if let Some(tally) = ranges.tallies.get_mut(at) {
                tally.add_cell(&cell, hash);
            }
        }
    }
}

/// Differing ranges in groups that fit into memory together; each group is ascending.
fn grouped(differing: &[usize], source: &Ranges, backup: &Ranges) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut weight = 0;
    for at in differing {
        let cells = source.tallies[*at].cells + backup.tallies[*at].cells;
        match groups.last_mut().filter(|_| weight + cells <= 2 * RANGE_CELLS) {
            Some(group) => {
                group.push(*at);
                weight += cells;
            }
            None => {
                groups.push(vec![*at]);
                weight = cells;
            }
        }
    }
    groups
}

//! The backup against a live table: from shards to key ranges to the differing cells.
//!
//! Each shard is scanned. When its tally is the recorded one, the shard is equal and no file is read. Otherwise the
//! tallies of key ranges about as long as a page are compared on both sides. What a range that differs comes to is for
//! the [`Judge`] to say: `verify --level source` looks at all of its cells, a restore first asks whether every cell of
//! the backup is among those of the target, by their hashes, and looks closer only where one is not.

mod ranges;
pub mod window;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster::{Client, Gateways};
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::threads::Threads;
use crate::flow::engine::workers::work_through;
use crate::flow::stored::backup_files::{BackupContents, ReadTools};
use crate::flow::stored::contents::ContentsReader;
use crate::flow::{CellDifference, DifferenceKind, FlowError, Progress};
use crate::manifest::TableRecord;
use crate::model::{Cell, CellBlock, CellHasher, FileRow, KeyRange, OwnedCell, ShardRow, hex};
use crate::scan::{ScanOptions, ShardScan};
use crate::store::Store;

use ranges::{RANGE_CELLS, Ranges, grouped};

/// Of so many backed-up rows one becomes a boundary when ranges must be divided.
const SAMPLE_EVERY: u64 = 5_000;
/// Cells of the backup whose hashes are held at once, 16 bytes each.
const HASHED_CELLS: u64 = 2_000_000;

/// How a table is read so that it shows what the backup saw.
pub fn read_options(table: &TableRecord, raw: bool) -> ScanOptions {
    ScanOptions { max_versions: table.versions, raw, ..ScanOptions::default() }
}

/// The cells of some key ranges on both sides.
pub struct Sides {
    /// Cells of the backup.
    pub saved: Vec<OwnedCell>,
    /// Cells of the cluster, read as the backup was.
    pub live: Vec<OwnedCell>,
    /// Cells that the cluster shows to readers, when the judge asked for them.
    pub shown: Vec<OwnedCell>,
}

/// Decides what differences are.
pub trait Judge: Sync {
    /// True when a range is right that holds all cells of the backup and more.
    fn allows_more(&self) -> bool {
        false
    }

    /// True when a range is right that holds the same cells on both sides.
    fn equal_is_enough(&self) -> bool {
        true
    }

    /// How to read what the cluster shows to readers, for a judge that needs it.
    fn shown(&self) -> Option<&ScanOptions> {
        None
    }

    /// Compares ranges of a shard that differ.
    fn compare(&self, shard: &ShardRow, sides: Sides, found: &mut Found);
}

/// What a comparison found.
#[derive(Default)]
pub struct Found {
    /// Cells read from the cluster.
    pub cells: u64,
    /// Differing cells by kind.
    pub by_kind: BTreeMap<DifferenceKind, u64>,
    /// The first differing cells.
    pub named: Vec<CellDifference>,
    /// Cells of the cluster that the backup lacks, where they are no difference.
    pub also_there: u64,
    /// Cells that are there with a later timestamp, as a restore wrote them.
    pub new_timestamps: u64,
    /// Hidden cells and delete markers that HBase has dropped since.
    pub dropped: u64,
    /// Older versions of the backup that the gateway does not show.
    pub not_shown: u64,
    /// Hidden cells and delete markers of the backup that were not looked for.
    pub hidden: u64,
    /// How many differences are named at most.
    room: usize,
}

impl Found {
    /// Nothing yet; `room` differences will be named at most.
    pub fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// Counts a difference, and names it while there is room; one that somebody must look at takes the place of one that
    /// nobody must.
    pub fn record(&mut self, difference: CellDifference) {
        *self.by_kind.entry(difference.difference).or_default() += 1;
        self.name(difference);
    }

    fn name(&mut self, difference: CellDifference) {
        if self.named.len() < self.room {
            self.named.push(difference);
        } else if !difference.difference.is_ordinary()
            && let Some(place) = self.named.iter_mut().rev().find(|named| named.difference.is_ordinary())
        {
            *place = difference;
        }
    }

    /// Adds what another part found.
    pub fn add(&mut self, other: Found) {
        self.cells += other.cells;
        other.by_kind.into_iter().for_each(|(kind, count)| *self.by_kind.entry(kind).or_default() += count);
        other.named.into_iter().for_each(|difference| self.name(difference));
        self.also_there += other.also_there;
        self.new_timestamps += other.new_timestamps;
        self.dropped += other.dropped;
        self.not_shown += other.not_shown;
        self.hidden += other.hidden;
    }
}

/// A difference, as reports name it; the table of the cluster is for [`Comparison`] to add.
pub fn difference(
    table: &str,
    kind: DifferenceKind,
    saved: Option<&OwnedCell>,
    live: Option<&OwnedCell>,
) -> Option<CellDifference> {
    let cell = saved.or(live)?;
    Some(CellDifference {
        table: table.to_string(),
        source_table: String::new(),
        row: hex(&cell.row),
        family: String::from_utf8_lossy(&cell.family).into_owned(),
        qualifier: hex(&cell.qualifier),
        timestamp: cell.timestamp,
        kind: cell.kind,
        difference: kind,
        backup_value: saved.map(|cell| hex(&cell.value)),
        source_value: live.map(|cell| hex(&cell.value)),
    })
}

/// A table of a backup and the table of a cluster that it is compared with.
pub struct Comparison<'a> {
    /// Gateways of the cluster.
    pub gateways: &'a Gateways,
    /// Bridge to the store.
    pub threads: &'a Threads,
    /// The repository's store.
    pub store: &'a Store,
    /// The backup.
    pub contents: &'a BackupContents,
    /// The table in the backup.
    pub table: &'a TableRecord,
    /// Its name in the cluster.
    pub name: &'a str,
    /// How the backup read it.
    pub options: ScanOptions,
    /// Connections at once.
    pub connections: usize,
    /// Bytes of files that are decoded at once.
    pub memory: ByteBudget,
    /// How fast to go.
    pub pace: &'a Pace,
    /// Counters.
    pub progress: &'a Progress,
    /// What is a difference.
    pub judge: &'a dyn Judge,
    /// Differences named at most.
    pub max_named: usize,
    /// Bytes that were read from the cluster so far.
    pub bytes_read: AtomicU64,
}

impl Comparison<'_> {
    /// Compares all shards.
    ///
    /// # Errors
    /// The gateway's or the store's; [`FlowError::Interrupted`].
    pub fn run(&self) -> Result<Found, FlowError> {
        let shards: Vec<&ShardRow> =
            self.contents.shards.iter().filter(|shard| shard.table == self.table.name).collect();
        self.progress.stage(format!("comparing {}", self.name), shards.len() as u64);
        let queue = WorkQueue::new(shards);
        let mut all = Found::new(self.max_named);
        let start = || self.gateways.client();
        let work = |client: &mut Client, shard: &ShardRow| self.shard(client, shard);
        work_through(self.connections, &queue, self.progress, start, work, |found| all.add(found))?;
        Ok(all)
    }

    /// Compares one shard; ranges that differ go to the judge in the order of their keys.
    ///
    /// # Errors
    /// The gateway's or the store's; [`FlowError::Interrupted`].
    pub fn shard(&self, client: &mut Client, shard: &ShardRow) -> Result<Found, FlowError> {
        let range = KeyRange::new(shard.start.clone(), shard.stop.clone());
        let mut live = self.scan_pages(client, &range)?;
        let mut found = Found { cells: live.total().cells, ..Found::new(self.max_named) };
        let enough = self.judge.equal_is_enough();
        if enough && live.total().same_cells(&shard.tally) {
            return Ok(found);
        }
        let (mut saved, sample) = self.backup_tallies(shard, live.starts.clone())?;
        if saved.tallies.iter().any(|tally| tally.cells > RANGE_CELLS) {
            let mut starts = live.starts.clone();
            starts.extend(sample.into_iter().filter(|key| range.contains(key)));
            starts.sort_unstable();
            starts.dedup();
            live = self.scan_ranges(client, &range, starts.clone())?;
            saved = self.backup_tallies(shard, starts)?.0;
        }
        let equal = |at: &usize| enough && live.tallies[*at].same_cells(&saved.tallies[*at]);
        let mut differing: Vec<usize> = (0..live.starts.len()).filter(|at| !equal(at)).collect();
        if self.judge.allows_more() {
            let mut lacking = Vec::new();
            for group in grouped(&differing, HASHED_CELLS, |at| saved.tallies[at].cells) {
                lacking.extend(self.lacking(client, shard, &range, &saved, &group, &mut found)?);
            }
            differing = lacking;
        }
        let cells = |at: usize| live.tallies[at].cells + saved.tallies[at].cells;
        for group in grouped(&differing, 2 * RANGE_CELLS, cells) {
            let sides = self.cells(client, shard, &range, &live, &group)?;
            self.judge.compare(shard, sides, &mut found);
        }
        found.named.iter_mut().for_each(|difference| self.name.clone_into(&mut difference.source_table));
        Ok(found)
    }

    /// Tallies of the cluster, one range a page.
    fn scan_pages(&self, client: &mut Client, range: &KeyRange) -> Result<Ranges, FlowError> {
        let mut ranges = Ranges::new(vec![range.start.clone()]);
        let mut hasher = CellHasher::new();
        self.scan(client, range.clone(), &self.options, &mut |page| {
            if let Some(first) = page.row(0) {
                ranges.add_page(first.key, &hasher.block(page));
            }
        })?;
        Ok(ranges)
    }

    /// Tallies of the cluster for given ranges.
    fn scan_ranges(&self, client: &mut Client, range: &KeyRange, starts: Vec<Vec<u8>>) -> Result<Ranges, FlowError> {
        let mut ranges = Ranges::new(starts);
        let mut hasher = CellHasher::new();
        self.scan(client, range.clone(), &self.options, &mut |page| ranges.add_block(page, &mut hasher))?;
        Ok(ranges)
    }

    fn scan(
        &self,
        client: &mut Client,
        range: KeyRange,
        options: &ScanOptions,
        each: &mut dyn FnMut(&CellBlock),
    ) -> Result<(), FlowError> {
        let mut scan = ShardScan::new(client, self.name, range, options.clone());
        let mut page = CellBlock::new();
        while let Some(bytes) = self.pace.next_page(&mut scan, &mut page)? {
            self.progress.read(bytes);
            self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
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
        self.read_backup(shard, &|_| true, &mut |block| {
            ranges.add_block(block, &mut hasher);
            for row in block.rows() {
                rows += 1;
                if rows.is_multiple_of(SAMPLE_EVERY) {
                    sample.push(row.key.to_vec());
                }
            }
        })?;
        Ok((ranges, sample))
    }

    fn read_backup(
        &self,
        shard: &ShardRow,
        wanted: &dyn Fn(&FileRow) -> bool,
        each: &mut dyn FnMut(&CellBlock),
    ) -> Result<(), FlowError> {
        let (threads, store, contents, progress) = (self.threads, self.store, self.contents, self.progress);
        let (memory, cancel) = (&self.memory, self.pace.cancel());
        let reader = ContentsReader { tools: ReadTools { threads, store, memory, cancel, progress }, contents };
        reader.each_block(shard, wanted, &mut |_, block| {
            each(block);
            Ok(())
        })
    }

    /// The ranges of the group where the cluster lacks a cell of the backup. What it holds besides in the others is
    /// counted.
    fn lacking(
        &self,
        client: &mut Client,
        shard: &ShardRow,
        range: &KeyRange,
        ranges: &Ranges,
        group: &[usize],
        found: &mut Found,
    ) -> Result<Vec<usize>, FlowError> {
        let mut hasher = CellHasher::new();
        let mut hashes: Vec<(u64, usize)> = Vec::new();
        self.read_backup(shard, &|file| meets(file, ranges, group), &mut |block| {
            for row in block.rows() {
                let at = ranges.of(row.key);
                if group.binary_search(&at).is_err() {
                    continue;
                }
                hasher.row(row.key);
                hashes.extend(row.iter().map(|cell| (hash_of(&mut hasher, &cell), at)));
            }
        })?;
        hashes.sort_unstable();
        let mut seen = vec![false; hashes.len()];
        let mut more = vec![0; group.len()];
        for (place, at) in group.iter().enumerate() {
            self.scan(client, ranges.keys(*at, range), &self.options, &mut |page| {
                for row in page.rows() {
                    hasher.row(row.key);
                    for cell in row.iter() {
                        let wanted = (hash_of(&mut hasher, &cell), *at);
                        let from = hashes.partition_point(|hash| *hash < wanted);
                        let equal = (from..hashes.len()).take_while(|at| hashes[*at] == wanted);
                        match equal.into_iter().find(|at| !seen[*at]) {
                            Some(fits) => seen[fits] = true,
                            None => more[place] += 1,
                        }
                    }
                }
            })?;
        }
        let mut lacking: Vec<usize> =
            hashes.iter().zip(&seen).filter(|(_, seen)| !**seen).map(|((_, at), _)| *at).collect();
        lacking.sort_unstable();
        lacking.dedup();
        let whole = group.iter().zip(&more).filter(|(at, _)| lacking.binary_search(at).is_err());
        found.also_there += whole.map(|(_, more)| *more).sum::<u64>();
        Ok(lacking)
    }

    /// The cells of a group of ranges.
    fn cells(
        &self,
        client: &mut Client,
        shard: &ShardRow,
        range: &KeyRange,
        ranges: &Ranges,
        group: &[usize],
    ) -> Result<Sides, FlowError> {
        let mut saved: Vec<OwnedCell> = Vec::new();
        self.read_backup(shard, &|file| meets(file, ranges, group), &mut |block| {
            let wanted = block.rows().filter(|row| group.binary_search(&ranges.of(row.key)).is_ok());
            saved.extend(wanted.flat_map(|row| row.iter()).map(|cell| cell.to_owned()));
        })?;
        let mut read = |options: &ScanOptions| -> Result<Vec<OwnedCell>, FlowError> {
            let mut cells = Vec::new();
            for at in group {
                let keep = &mut |page: &CellBlock| cells.extend(page.iter().map(|cell| cell.to_owned()));
                self.scan(client, ranges.keys(*at, range), options, keep)?;
            }
            Ok(cells)
        };
        let live = read(&self.options)?;
        let shown = match self.judge.shown() {
            Some(options) => read(options)?,
            None => Vec::new(),
        };
        Ok(Sides { saved, live, shown })
    }
}

/// The hash of a cell of the row that the hasher knows.
fn hash_of(hasher: &mut CellHasher, cell: &Cell<'_>) -> u64 {
    hasher.cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value)
}

/// Whether a file may hold rows of the group.
fn meets(file: &FileRow, ranges: &Ranges, group: &[usize]) -> bool {
    match (&file.first_row, &file.last_row) {
        (Some(first), Some(last)) => {
            let (first, last) = (ranges.of(first), ranges.of(last));
            group.get(group.partition_point(|at| *at < first)).is_some_and(|at| *at <= last)
        }
        _ => true,
    }
}

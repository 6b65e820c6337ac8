//! A full backup and its increments, read as one.
//!
//! A chain is the backup that was asked for and its parents down to the full one. Read together they are the table as of
//! the last member's scan: [`fold`] applies member after member, row by row, to the sorted [`streams`] of all of them, and
//! only what is visible in the end is handed out, never a delete marker. Memory holds a batch of each member's files.

mod fold;
mod link;
mod streams;

use std::collections::HashMap;
use std::sync::Arc;

use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::workers::work_through;
use crate::flow::stored::backup_files::{BackupContents, CellSource, ReadTools, require_files, saved_descriptor};
use crate::flow::stored::selected::Wanted;
use crate::flow::stored::uid_cells;
use crate::flow::{FlowError, Selection};
use crate::manifest::{BackupKind, IncrementBy, TableRecord};
use crate::model::{CellBlock, CellHasher, ColumnRanges, FileKind, FileRow, KeyRange, ShardRow, TableKind, Tally};

use fold::{FamilyRules, RowFold};
use streams::TableStreams;

/// Bytes of a block that is handed out, about.
const BLOCK_BYTES: usize = 4 << 20;
/// What reading one key range of one member may take: a batch of points, and files that are open.
const MEMBER_BYTES: u64 = 96 << 20;

/// A full backup and its increments, in order.
pub struct Chain {
    /// The full backup first.
    members: Vec<BackupContents>,
}

/// A backup as a full one: an increment is read together with the backups that it adds to. All files of the tables (of
/// all tables where none is named, and for an increment always) are in the store then. Of an increment no more is read than
/// a selection may need.
///
/// # Errors
/// [`FlowError::Damaged`] names the member or the file that is missing, is damaged or does not belong here; the store's.
pub fn whole(
    tools: ReadTools<'_>,
    contents: BackupContents,
    (tables, selection): (&[String], &Selection),
    connections: usize,
) -> Result<BackupContents, FlowError> {
    if contents.manifest.increment.is_none() {
        require_files(tools.threads, tools.store, &contents, tables)?;
        return Ok(contents);
    }
    contents.require_tables(tables.iter())?;
    let chain = Chain::open(tools.threads, tools.store, contents.manifest)?;
    match selection.is_all() {
        true => chain.contents(tools, connections),
        false => chain.selected(tools, selection, connections),
    }
}

/// The visible cells of a backup, or of the chain that it ends, as the contents of one full backup.
///
/// # Errors
/// As [`whole`].
pub fn visible(
    tools: ReadTools<'_>,
    contents: BackupContents,
    connections: usize,
) -> Result<BackupContents, FlowError> {
    if contents.manifest.increment.is_none() && !contents.manifest.raw {
        return whole(tools, contents, (&[], &Selection::default()), connections);
    }
    Chain::open(tools.threads, tools.store, contents.manifest)?.contents(tools, connections)
}

impl Chain {
    /// The members, the full backup first.
    pub fn members(&self) -> &[BackupContents] {
        &self.members
    }

    /// The tables that the chain comes to.
    pub fn tables(&self) -> &[TableRecord] {
        self.tip().map(|tip| tip.manifest.tables.as_slice()).unwrap_or_default()
    }

    /// The backup whose scan the chain ends with.
    fn tip(&self) -> Option<&BackupContents> {
        self.members.last()
    }

    /// The members that say what is in a table: from the last one on that took all of it.
    pub fn members_of(&self, table: &str) -> &[BackupContents] {
        let has = |member: &BackupContents| member.manifest.tables.iter().any(|known| known.name == table);
        let lacks = self.members.iter().rposition(|member| !has(member));
        self.members.get(lacks.map_or(0, |at| at + 1)..).unwrap_or_default()
    }

    /// Hands out the visible cells of a key range of a table, in key order, rows whole; where only some cells are wanted,
    /// these and perhaps others.
    ///
    /// # Errors
    /// The store's; [`FlowError::Damaged`]; [`FlowError::Interrupted`]; those of `each`.
    pub fn each_block(
        &self,
        tools: ReadTools<'_>,
        table: &TableRecord,
        range: &KeyRange,
        wanted: Option<&Wanted>,
        each: &mut dyn FnMut(&CellBlock) -> Result<(), FlowError>,
    ) -> Result<(), FlowError> {
        let members = self.members_of(&table.name);
        let _memory = tools.memory.reserve(MEMBER_BYTES * members.len() as u64);
        let streams = members.iter().map(|contents| TableStreams::new(tools, contents, &table.name, range, wanted));
        let mut streams: Vec<TableStreams<'_>> = streams.collect();
        let rules = self.rules(table)?;
        let (mut fold, mut block, mut key) = (RowFold::default(), CellBlock::new(), Vec::new());
        loop {
            streams.iter_mut().try_for_each(TableStreams::read_on)?;
            let Some(least) = streams.iter().filter_map(TableStreams::next_key).min() else { break };
            key.clear();
            key.extend_from_slice(least);
            fold.clear();
            for member in &mut streams {
                member.take_row(&key, &mut |cell| {
                    fold.add(cell);
                    Ok(())
                })?;
                fold.member(&rules);
            }
            fold.write(&key, &mut block).map_err(|error| FlowError::damaged(error.to_string()))?;
            if block.bytes().len() >= BLOCK_BYTES {
                each(&block)?;
                block.clear();
            }
        }
        if block.is_empty() { Ok(()) } else { each(&block) }
    }

    /// How the families of a table keep versions. Where the last member was made by write time, what had expired by its
    /// scan is in no increment.
    fn rules(&self, table: &TableRecord) -> Result<FamilyRules, FlowError> {
        let families = saved_descriptor(table)?.families;
        let by_time = |tip: &&BackupContents| {
            tip.manifest.increment.as_ref().is_some_and(|increment| increment.by == IncrementBy::Time)
        };
        let now_ms = self.tip().filter(by_time).map(|tip| tip.manifest.started_ms);
        Ok(FamilyRules::new(&families, i32::MAX, now_ms))
    }

    /// Versions of a cell that the chain may hold in a table.
    ///
    /// # Errors
    /// [`FlowError::Damaged`] for a saved descriptor that cannot be read.
    pub fn versions(&self, table: &TableRecord) -> Result<i32, FlowError> {
        Ok(saved_descriptor(table)?.versions().min(table.versions))
    }

    /// The shards of the first member that holds a table, in key order, with the bytes of their cells.
    pub fn shards(&self, table: &str) -> Vec<(KeyRange, u64)> {
        let shards = self.members_of(table).first().map(|base| base.shards.as_slice()).unwrap_or_default();
        let of_table = shards.iter().filter(|shard| shard.table == table);
        let mut shards: Vec<(KeyRange, u64)> = of_table.map(|shard| (shard.range(), shard.tally.bytes)).collect();
        shards.sort();
        shards
    }

    /// The key ranges in which a table is read: those of the shards of its first member.
    pub fn ranges(&self, table: &str) -> Vec<KeyRange> {
        self.shards(table).into_iter().map(|(range, _)| range).collect()
    }

    /// The chain as the contents of one full backup. Every file of every member is read and checked for it, so that
    /// nothing that is damaged comes to light later.
    ///
    /// # Errors
    /// The store's; [`FlowError::Damaged`] with the file; [`FlowError::Interrupted`].
    pub fn contents(self, tools: ReadTools<'_>, connections: usize) -> Result<BackupContents, FlowError> {
        Arc::new(self).contents_of(tools, connections, &|_| true, None)
    }

    /// What a selection may need of the chain, as the contents of one full backup: its UIDs, and of data and rollups the
    /// selected cells and perhaps others. What of the files is read for it is checked.
    ///
    /// # Errors
    /// As [`contents`](Self::contents); [`FlowError::Input`] for patterns of names where the chain has none.
    pub fn selected(
        self,
        tools: ReadTools<'_>,
        selection: &Selection,
        connections: usize,
    ) -> Result<BackupContents, FlowError> {
        let chain = Arc::new(self);
        let uids = Arc::clone(&chain).contents_of(tools, connections, &|kind| kind == TableKind::Uid, None)?;
        let wanted = uid_cells::wanted(selection, &uids, tools)?;
        let needed = |kind| matches!(kind, TableKind::Uid | TableKind::Data | TableKind::Rollup);
        chain.contents_of(tools, connections, &needed, Some(wanted))
    }

    /// Tables that are not of `needed` kinds are empty.
    fn contents_of(
        self: Arc<Self>,
        tools: ReadTools<'_>,
        connections: usize,
        needed: &dyn Fn(TableKind) -> bool,
        wanted: Option<Wanted>,
    ) -> Result<BackupContents, FlowError> {
        let Some(tip) = self.tip() else { return Err(FlowError::damaged("a chain without members")) };
        let mut manifest = tip.manifest.clone();
        let pieces: Vec<(usize, KeyRange)> = manifest
            .tables
            .iter()
            .enumerate()
            .filter(|(_, table)| needed(table.kind))
            .flat_map(|(at, table)| self.ranges(&table.name).into_iter().map(move |range| (at, range)))
            .collect();
        tools.progress.stage("reading the chain of backups", pieces.len() as u64);
        let queue = WorkQueue::new(pieces.into_iter().enumerate());
        let mut found: Vec<(usize, usize, Piece)> = Vec::new();
        let tables = &manifest.tables;
        let work = |(): &mut (), (number, (at, range)): (usize, (usize, KeyRange))| {
            let table = tables.get(at).ok_or_else(|| FlowError::damaged("a table without a number"))?;
            let wanted = wanted.as_ref();
            Ok((
                number,
                at,
                self.piece(tools, table, range, wanted).map_err(|e| e.at(format!("table {}", table.name)))?,
            ))
        };
        work_through(connections, &queue, tools.progress, || (), work, |piece| found.push(piece))?;
        found.sort_by_key(|(number, ..)| *number);
        let (mut files, mut shards, mut ranges) = (Vec::new(), Vec::new(), HashMap::new());
        for table in &mut manifest.tables {
            self.empty(table)?;
        }
        for (number, at, Piece { range, tally, rows }) in found {
            let Some(table) = manifest.tables.get_mut(at) else { continue };
            table.tally.add(&tally);
            table.shards += 1;
            let attempt = format!("{}:{number}", manifest.backup);
            let (first_row, last_row) = rows.unzip();
            shards.push(ShardRow {
                table: table.name.clone(),
                attempt: attempt.clone(),
                start: range.start.clone(),
                stop: range.stop.clone(),
                started_ms: manifest.started_ms,
                finished_ms: manifest.finished_ms,
                tally,
            });
            if tally.cells > 0 {
                table.files += 1;
                let kind = if table.kind == TableKind::Uid { FileKind::Uids } else { FileKind::Cells };
                let path = format!("chain/{}/{}-{number}", manifest.backup, table.name);
                ranges.insert(path.clone(), range);
                files.push(FileRow {
                    // Cells of the chain have no file of their own; the path stands for the range, and the hash for what
                    // is in it.
                    path,
                    table: table.name.clone(),
                    kind,
                    attempt,
                    rows: tally.cells,
                    size: 0,
                    blake3: blake3::hash(format!("{tally:?}").as_bytes()).to_hex().to_string(),
                    footer_size: 0,
                    footer_blake3: String::new(),
                    tally,
                    first_row,
                    last_row,
                    ranges: ColumnRanges::default(),
                });
            }
        }
        manifest.kind = BackupKind::Full;
        manifest.raw = false;
        let tables = manifest.tables.clone();
        let source = ChainCells { chain: self, tables, ranges, wanted };
        Ok(BackupContents { manifest, files, shards, source: Some(Arc::new(source)), selected: None })
    }

    /// Takes out of a table's record what is true of the last increment alone.
    fn empty(&self, table: &mut TableRecord) -> Result<(), FlowError> {
        (table.tally, table.shards, table.files) = (Tally::default(), 0, 0);
        // What the last increment asked for is not what there is to see.
        table.versions = self.versions(table)?;
        table.raw_cells.clear();
        table.rows_by_kind.clear();
        table.cells_by_layout.clear();
        Ok(())
    }

    fn piece(
        &self,
        tools: ReadTools<'_>,
        table: &TableRecord,
        range: KeyRange,
        wanted: Option<&Wanted>,
    ) -> Result<Piece, FlowError> {
        let (mut tally, mut hasher) = (Tally::default(), CellHasher::new());
        let mut rows: Option<(Vec<u8>, Vec<u8>)> = None;
        self.each_block(tools, table, &range, wanted_of(table, wanted), &mut |block| {
            tally.add(&hasher.block(block));
            let key = |at: usize| block.row(at).map(|row| row.key.to_vec());
            if let Some((first, last)) = key(0).zip(block.row_count().checked_sub(1).and_then(key)) {
                rows = Some((rows.take().map_or(first, |(first, _)| first), last));
            }
            Ok(())
        })?;
        Ok(Piece { range, tally, rows })
    }
}

/// What a key range of a chain comes to.
struct Piece {
    range: KeyRange,
    tally: Tally,
    /// First and last row with a visible cell.
    rows: Option<(Vec<u8>, Vec<u8>)>,
}

/// The cells of a chain, by the path that stands for their key range.
struct ChainCells {
    chain: Arc<Chain>,
    tables: Vec<TableRecord>,
    ranges: HashMap<String, KeyRange>,
    wanted: Option<Wanted>,
}

/// UIDs are wanted all: which of them are needed is known when the rows are.
fn wanted_of<'w>(table: &TableRecord, wanted: Option<&'w Wanted>) -> Option<&'w Wanted> {
    wanted.filter(|_| table.kind != TableKind::Uid)
}

impl CellSource for ChainCells {
    fn cells(
        &self,
        tools: ReadTools<'_>,
        file: &FileRow,
        each: &mut dyn FnMut(&CellBlock) -> Result<(), FlowError>,
    ) -> Result<(), FlowError> {
        let table = self.tables.iter().find(|table| table.name == file.table);
        let Some((table, range)) = table.zip(self.ranges.get(&file.path)) else {
            return Err(FlowError::damaged(format!("{} is no part of the chain", file.path)));
        };
        self.chain.each_block(tools, table, range, wanted_of(table, self.wanted.as_ref()), each)
    }

    fn files(&self) -> Vec<&FileRow> {
        self.tables
            .iter()
            .flat_map(|t| self.chain.members_of(&t.name).iter().flat_map(|m| m.files_of(&t.name)))
            .collect()
    }
}

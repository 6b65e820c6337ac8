//! One table's files to the cluster, by all connections.
//!
//! Puts go first, delete markers of a `--raw` backup after all of them: a marker covers its cells whichever came first,
//! but a compaction between the two would drop a marker that stands alone and let the cells that follow be shown.
//!
//! A shard with cells that delete markers of the target cover is sent as a whole, one group of markers after the other,
//! so that all versions of a column are known when they get new timestamps.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::cluster::{Client, Durability};
use crate::flow::FlowError;
use crate::flow::engine::pace::{Moved, Turn};
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::workers::work_through;
use crate::flow::source::descriptions::describe;
use crate::flow::stored::backup_files::saved_descriptor;
use crate::flow::stored::contents::cells_of_file;
use crate::model::{Cell, CellHasher, FileKind, FileRow, Region, ShardRow, TableDescriptor, Tally, kind, value_hash};
use crate::put::{BatchStats, CellWriter, PutError, PutOptions, Refused};
use crate::shard::host_of;

use super::log::RestoreLog;
use super::marker_groups::{MarkerGroup, MarkerGroups};
use super::markers::Coverage;
use super::new_timestamps::NewTimestamps;
use super::scene::{Scene, each_cell};
use super::sent::{FileSent, Sent};
use super::target::Target;
use super::transform::{Transform, Unchanged};

/// Which cells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    Puts,
    Markers,
}

/// A piece of work.
enum Piece<'a> {
    File(&'a FileRow, Part),
    /// All puts of a shard, some with new timestamps.
    Shard(&'a ShardRow),
}

/// Sends the cells of the table that no earlier run has sent.
///
/// # Errors
/// The first one of any connection.
pub fn send_table(
    scene: &Scene<'_>,
    target: &Target<'_>,
    coverage: &Coverage,
    log: &RestoreLog,
) -> Result<Sent, FlowError> {
    let mut client = scene.plan.gateways.client();
    let regions = client.regions(&target.name)?;
    let (descriptor, _) = describe(&mut client, &target.name, &[])?;
    drop(client);
    let families: Vec<Vec<u8>> = saved_descriptor(target.table)?.families.into_iter().map(|f| f.name).collect();
    let mut sent = Sent::default();
    let files: Vec<&FileRow> =
        scene.contents.files_of(&target.table.name).filter(|file| !file.kind.is_catalogue()).collect();
    let begun = |shard: &str| coverage.shards.contains_key(shard);
    // A shard that gets new timestamps is sent as a whole, or not at all.
    let open: BTreeSet<&str> =
        files.iter().filter(|f| begun(&f.attempt) && !log.is_done(f)).map(|file| file.attempt.as_str()).collect();
    let is_done = |file: &FileRow| log.is_done(file) && !open.contains(file.attempt.as_str());
    for file in files.iter().filter(|file| is_done(file)) {
        sent.files_skipped += 1;
        sent.skipped.add(&file.tally);
        let changed = log.new_timestamps(file);
        sent.new_timestamps += changed;
        if changed > 0 {
            sent.rewritten.insert(file.attempt.clone());
        }
    }
    let raw = scene.contents.manifest.raw;
    let part = |file: &FileRow| if raw && file.kind == FileKind::Cells { Part::Puts } else { Part::All };
    let to_send = files.iter().filter(|file| !is_done(file));
    let mut pieces: Vec<Piece<'_>> =
        to_send.clone().filter(|f| !begun(&f.attempt)).map(|file| Piece::File(file, part(file))).collect();
    let shards = scene.contents.shards.iter().filter(|shard| shard.table == target.table.name);
    pieces.extend(shards.filter(|shard| open.contains(shard.attempt.as_str())).map(Piece::Shard));
    sent.rewritten.extend(open.iter().map(ToString::to_string));
    let markers: Vec<Piece<'_>> = to_send
        .filter(|file| raw && file.kind == FileKind::Cells)
        .map(|file| Piece::File(file, Part::Markers))
        .collect();
    let mut job = SendJob { scene, table: &target.name, descriptor, regions, families, log, sent: HashMap::new() };
    for (pieces, words) in [(pieces, "restoring"), (markers, "restoring the delete markers of")] {
        if pieces.is_empty() {
            continue;
        }
        scene.progress.stage(format!("{words} {}", target.name), pieces.len() as u64);
        let mut results: Vec<(String, FileSent)> = Vec::new();
        let work = |client: &mut Client, piece: Piece<'_>| job.send(client, piece);
        let start = || scene.plan.gateways.client();
        let queue = WorkQueue::new(pieces);
        work_through(scene.plan.resources.connections, &queue, scene.progress, start, work, |(more, refused)| {
            results.extend(more);
            sent.refused.append(refused);
        })?;
        for (path, part) in results {
            sent.tally.add(&part.tally);
            sent.new_timestamps += part.new_timestamps;
            sent.above_newer += part.above_newer;
            job.sent.entry(path).or_default().add(&part);
        }
    }
    Ok(sent)
}

struct SendJob<'s, 'a> {
    scene: &'s Scene<'a>,
    table: &'s str,
    descriptor: TableDescriptor,
    regions: Vec<Region>,
    families: Vec<Vec<u8>>,
    log: &'s RestoreLog,
    /// What was sent of files in the pass before.
    sent: HashMap<String, FileSent>,
}

impl SendJob<'_, '_> {
    fn send(&self, client: &mut Client, piece: Piece<'_>) -> Result<(Vec<(String, FileSent)>, Refused), FlowError> {
        match piece {
            Piece::File(file, part) => {
                let (sent, refused) = self.file(client, file, part).map_err(|e| e.at(file.path.clone()))?;
                if part != Part::Puts {
                    self.record(file, sent);
                }
                Ok((vec![(file.path.clone(), sent)], refused))
            }
            Piece::Shard(shard) => {
                let (sent, refused) =
                    self.shard(client, shard).map_err(|e| e.at(format!("shard {}", shard.range())))?;
                for file in self.scene.contents.cells_of_shard(shard) {
                    let waits = self.scene.contents.manifest.raw && file.kind == FileKind::Cells;
                    if let Some(sent) = sent.get(&file.path).filter(|_| !waits) {
                        self.record(file, *sent);
                    }
                }
                Ok((sent.into_iter().collect(), refused))
            }
        }
    }

    /// Records a file that is sent as a whole.
    fn record(&self, file: &FileRow, mut sent: FileSent) {
        if let Some(before) = self.sent.get(&file.path) {
            sent.add(before);
        }
        self.log.sent(self.scene.threads, file, sent, self.scene.plan.sync_wal);
    }

    fn writer<'c>(&'c self, client: &'c mut Client, near: &[u8]) -> Result<Writer<'c>, FlowError> {
        client.go_near(host_of(&self.regions, near));
        let durability = if self.scene.plan.sync_wal { Durability::SyncWal } else { Durability::AsyncWal };
        let options = self.scene.pace.batches(PutOptions { durability, ..PutOptions::default() });
        let writer = CellWriter::new(client, self.table, self.families.clone(), &self.regions, options);
        let refused = Refused::default();
        Ok(Writer { scene: self.scene, writer, turn: self.scene.pace.ready()?, bytes: 0, cells: 0, refused })
    }

    /// Sends the cells of a file. One with refused cells is recorded as short of them, so that a resumed restore sends
    /// it again.
    fn file(&self, client: &mut Client, file: &FileRow, part: Part) -> Result<(FileSent, Refused), FlowError> {
        let mut writer = self.writer(client, file.first_row.as_deref().unwrap_or_default())?;
        let wanted = |cell: &Cell<'_>| match part {
            Part::All => true,
            Part::Puts => cell.kind == kind::PUT,
            Part::Markers => cell.kind != kind::PUT,
        };
        cells_of_file(self.scene.tools(), self.scene.contents, file, &mut |block| {
            let mut cells = block.iter().filter(wanted);
            cells.try_for_each(|cell| Unchanged.cell(&cell, &mut |cell| writer.write(cell)))?;
            writer.count();
            Ok(())
        })?;
        let (tally, refused) = writer.finish()?;
        Ok((FileSent { tally, ..FileSent::default() }, refused))
    }

    /// Sends the puts of a shard, the covered ones with new timestamps.
    fn shard(&self, client: &mut Client, shard: &ShardRow) -> Result<(BTreeMap<String, FileSent>, Refused), FlowError> {
        let scene = self.scene;
        let mut refused = Refused::default();
        let mut sent: BTreeMap<String, FileSent> = BTreeMap::new();
        let mut groups = MarkerGroups::new(scene, self.table, &self.descriptor, shard);
        while let Some(group) = groups.next(client)? {
            let new = self.new_timestamps(&group, shard)?;
            let mut hasher = CellHasher::new();
            let mut writer = self.writer(client, &group.range.start)?;
            each_cell(scene, shard, &group.range, &mut |file, cell| {
                if scene.contents.manifest.raw && file.kind == FileKind::Cells && cell.kind != kind::PUT {
                    return Ok(());
                }
                if !sent.contains_key(&file.path) {
                    sent.insert(file.path.clone(), FileSent::default());
                }
                if let Some(of_file) = sent.get_mut(&file.path) {
                    of_file.tally.add_cell(cell, hasher.whole(cell));
                    new.cell(cell, &mut |changed| {
                        if changed.timestamp != cell.timestamp {
                            of_file.new_timestamps += 1;
                            of_file.above_newer += u64::from(new.is_above_newer(cell, changed.timestamp));
                        }
                        writer.write(changed)
                    })?;
                }
                writer.count();
                Ok(())
            })?;
            let unsent = writer.finish()?.1;
            if !unsent.is_empty() {
                refused.append(self.unsent(&group, &new, shard, unsent, &mut sent)?);
            }
        }
        Ok((sent, refused))
    }

    /// The refused cells of a group as the backup holds them; takes them out of what was sent.
    fn unsent(
        &self,
        group: &MarkerGroup,
        new: &NewTimestamps<'_>,
        shard: &ShardRow,
        unsent: Refused,
        sent: &mut BTreeMap<String, FileSent>,
    ) -> Result<Refused, FlowError> {
        let mut refused = Refused::default();
        each_cell(self.scene, shard, &group.range, &mut |file, cell| {
            let timestamp = new.of(cell);
            if unsent.contains(&Cell { timestamp, ..*cell })
                && let Some(of_file) = sent.get_mut(&file.path)
            {
                of_file.tally.remove(&refused.add(cell));
                of_file.new_timestamps -= u64::from(timestamp != cell.timestamp);
                of_file.above_newer -= u64::from(timestamp != cell.timestamp && new.is_above_newer(cell, timestamp));
            }
            Ok(())
        })?;
        refused.named = unsent.named;
        Ok(refused)
    }

    /// The timestamps of one group. Where a column may have several versions, all of those with a covered one are looked
    /// at first.
    fn new_timestamps<'g>(&self, group: &'g MarkerGroup, shard: &ShardRow) -> Result<NewTimestamps<'g>, FlowError> {
        let manifest = &self.scene.contents.manifest;
        let versions = manifest.tables.iter().find(|table| table.name == shard.table).map_or(1, |table| table.versions);
        if versions == 1 && !manifest.raw {
            return Ok(NewTimestamps::single(group));
        }
        let mut columns: BTreeMap<_, BTreeMap<i64, u128>> = BTreeMap::new();
        each_cell(self.scene, shard, &group.range, &mut |_, cell| {
            if cell.kind == kind::PUT && group.rows.contains_key(cell.row) {
                let column = (cell.row.to_vec(), cell.family.to_vec(), cell.qualifier.to_vec());
                columns.entry(column).or_default().insert(cell.timestamp, value_hash(cell.value));
            }
            Ok(())
        })?;
        Ok(NewTimestamps::assign(group, columns))
    }
}

/// A writer that waits for its turns and counts.
struct Writer<'c> {
    scene: &'c Scene<'c>,
    writer: CellWriter<'c>,
    turn: Turn<'c>,
    /// Counted so far.
    bytes: u64,
    cells: u64,
    refused: Refused,
}

impl Writer<'_> {
    fn write(&mut self, cell: &Cell<'_>) -> Result<(), FlowError> {
        match self.writer.write(cell) {
            // One odd cell is no reason to withhold all others.
            Err(error @ PutError::Cell { .. }) => self.refused.push(cell, &error),
            written => written?,
        }
        self.next_turn()
    }

    /// Shows what was sent since the last call.
    fn count(&mut self) {
        self.show(self.writer.sent());
    }

    fn show(&mut self, sent: Tally) {
        self.scene.progress.wrote(sent.bytes - self.bytes);
        self.scene.progress.counted(sent.cells - self.cells, 0);
        (self.bytes, self.cells) = (sent.bytes, sent.cells);
    }

    /// Waits for the next turn when a batch was sent.
    fn next_turn(&mut self) -> Result<(), FlowError> {
        if let Some(cost) = self.writer.take_cost() {
            self.turn.renew(moved(cost))?;
        }
        Ok(())
    }

    /// Sends what waits. Returns what was sent and what was refused.
    fn finish(mut self) -> Result<(Tally, Refused), FlowError> {
        while self.writer.send_next()? {
            self.next_turn()?;
        }
        let cost = self.writer.take_cost();
        let sent = self.writer.sent();
        self.show(sent);
        self.turn.over(moved(cost.unwrap_or_default()))?;
        self.refused.append(self.writer.take_refused());
        Ok((sent, self.refused))
    }
}

fn moved(cost: BatchStats) -> Moved {
    Moved { bytes: cost.wire_bytes, rows: cost.rows, busy: cost.elapsed }
}

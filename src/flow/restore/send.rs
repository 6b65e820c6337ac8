//! One table's files to the cluster, by all connections.

use crate::cluster::Client;
use crate::flow::backup_files::{BackupContents, fetch};
use crate::flow::budget::ByteBudget;
use crate::flow::contents::cells_of;
use crate::flow::pace::{Moved, Pace, Turn};
use crate::flow::queue::WorkQueue;
use crate::flow::threads::Threads;
use crate::flow::workers::work_through;
use crate::flow::{FlowError, Progress, RestorePlan};
use crate::model::{FileRow, Region, Tally};
use crate::put::{BatchStats, CellWriter, PutOptions};
use crate::shard::host_of;

use super::log::RestoreLog;
use super::target::{Target, saved_descriptor};

/// What became of a table's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    /// Cells sent now.
    pub tally: Tally,
    /// Files that an earlier run has sent.
    pub files_skipped: u64,
    /// Their cells.
    pub skipped: Tally,
}

/// Sends the cells of the table that no earlier run has sent.
///
/// # Errors
/// The first one of any connection.
pub fn send_table(
    plan: &RestorePlan,
    threads: &Threads,
    contents: &BackupContents,
    target: &Target<'_>,
    log: &RestoreLog,
    pace: &Pace,
    progress: &Progress,
) -> Result<Sent, FlowError> {
    let regions = plan.gateways.client().regions(&target.name)?;
    let families: Vec<Vec<u8>> = saved_descriptor(target.table)?.families.into_iter().map(|f| f.name).collect();
    let files = contents.files_of(&target.table.name).filter(|f| !f.kind.is_catalogue());
    let (skipped, files): (Vec<&FileRow>, Vec<&FileRow>) = files.partition(|file| log.is_done(file));
    let mut sent = Sent { files_skipped: skipped.len() as u64, ..Sent::default() };
    skipped.iter().for_each(|file| sent.skipped.add(&file.tally));
    progress.stage(format!("restoring {}", target.name), files.len() as u64);
    let queue = WorkQueue::new(files);
    let memory = ByteBudget::new(plan.resources.max_memory);
    let job = SendJob { plan, threads, contents, table: &target.name, regions, families, memory, pace, progress };
    let start = || plan.gateways.client();
    let work = |client: &mut Client, file: &FileRow| {
        let tally = job.send_file(client, file).map_err(|e| e.at(file.path.clone()))?;
        log.sent(threads, file, tally);
        Ok(tally)
    };
    work_through(plan.resources.connections, &queue, progress, start, work, |tally| sent.tally.add(&tally))?;
    Ok(sent)
}

struct SendJob<'a> {
    plan: &'a RestorePlan,
    threads: &'a Threads,
    contents: &'a BackupContents,
    table: &'a str,
    regions: Vec<Region>,
    families: Vec<Vec<u8>>,
    memory: ByteBudget,
    pace: &'a Pace,
    progress: &'a Progress,
}

impl SendJob<'_> {
    fn send_file(&self, client: &mut Client, file: &FileRow) -> Result<Tally, FlowError> {
        let _memory = self.memory.reserve_file(file.kind, file.size);
        let bytes = fetch(self.threads, &self.plan.store, file)?;
        self.progress.read(bytes.len() as u64);
        client.go_near(host_of(&self.regions, file.first_key.as_deref().unwrap_or_default()));
        let mut writer = CellWriter::new(
            client,
            self.table,
            self.families.clone(),
            &self.regions,
            self.pace.batches(PutOptions::default()),
        );
        let mut turn = self.pace.ready()?;
        let mut before = 0;
        cells_of(bytes, file.kind, &self.contents.manifest.layout, &mut |block| {
            for cell in block.iter() {
                writer.write(&cell)?;
                self.next_turn(&mut writer, &mut turn)?;
            }
            let sent = writer.sent().bytes;
            self.progress.wrote(sent - before);
            self.progress.counted(block.cell_count() as u64, 0);
            before = sent;
            Ok(())
        })?;
        while writer.send_next()? {
            self.next_turn(&mut writer, &mut turn)?;
        }
        let cost = writer.take_cost();
        let sent = writer.finish()?;
        turn.over(moved(cost.unwrap_or_default()))?;
        self.progress.wrote(sent.bytes - before);
        Ok(sent)
    }

    /// Waits for the next turn when a batch was sent.
    fn next_turn<'t>(&'t self, writer: &mut CellWriter<'_>, turn: &mut Turn<'t>) -> Result<(), FlowError> {
        if let Some(cost) = writer.take_cost() {
            turn.renew(moved(cost))?;
        }
        Ok(())
    }
}

fn moved(cost: BatchStats) -> Moved {
    Moved { bytes: cost.wire_bytes, rows: cost.rows, busy: cost.elapsed }
}

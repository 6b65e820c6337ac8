//! One table's files to the cluster, by all connections.

use crate::cluster::Client;
use crate::flow::backup_files::{BackupContents, fetch};
use crate::flow::contents::cells_of;
use crate::flow::queue::WorkQueue;
use crate::flow::threads::Threads;
use crate::flow::workers::work_through;
use crate::flow::{Cancel, FlowError, Progress, RestorePlan};
use crate::model::{FileRow, Region, Tally};
use crate::put::{CellWriter, PutOptions};

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
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Sent, FlowError> {
    let regions = plan.gateways.client().regions(&target.name)?;
    let families: Vec<Vec<u8>> = saved_descriptor(target.table)?.families.into_iter().map(|f| f.name).collect();
    let files = contents.files_of(&target.table.name).filter(|f| !f.kind.is_catalogue());
    let (skipped, files): (Vec<&FileRow>, Vec<&FileRow>) = files.partition(|file| log.is_done(file));
    let mut sent = Sent { files_skipped: skipped.len() as u64, ..Sent::default() };
    skipped.iter().for_each(|file| sent.skipped.add(&file.tally));
    progress.stage(format!("restoring {}", target.name), files.len() as u64);
    let queue = WorkQueue::new(files);
    let job = SendJob { plan, threads, contents, table: &target.name, regions, families, progress, cancel };
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
    progress: &'a Progress,
    cancel: &'a Cancel,
}

impl SendJob<'_> {
    fn send_file(&self, client: &mut Client, file: &FileRow) -> Result<Tally, FlowError> {
        let bytes = fetch(self.threads, &self.plan.store, file)?;
        self.progress.read(bytes.len() as u64);
        let mut writer =
            CellWriter::new(client, self.table, self.families.clone(), &self.regions, PutOptions::default());
        let mut before = 0;
        cells_of(bytes, file.kind, &self.contents.manifest.layout, &mut |block| {
            if self.cancel.is_set() {
                return Err(FlowError::Interrupted);
            }
            for cell in block.iter() {
                writer.write(&cell)?;
            }
            let sent = writer.sent().bytes;
            self.progress.wrote(sent - before);
            self.progress.counted(block.cell_count() as u64, 0);
            before = sent;
            Ok(())
        })?;
        let sent = writer.finish()?;
        self.progress.wrote(sent.bytes - before);
        Ok(sent)
    }
}

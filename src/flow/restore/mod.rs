//! Repository to cluster: the backup read upwards.
//!
//! **Plan** ([`plan`]), which writes nothing into the cluster:
//! the manifest and its catalogue are read and checked, and every target table is looked at ([`targets`]): missing ones
//! will be created from the saved descriptor and split at the saved boundaries; a table with rows is refused unless told
//! otherwise. UIDs must mean the same there ([`uids`]), and no delete marker may cover what is restored ([`markers`]).
//!
//! With a selection, the backup is first narrowed to the selected cells ([`select`]); all that follows is about these.
//!
//! **Send** ([`send`]): UIDs first, then trees, meta and data. Each file is read, its cells are rebuilt, go through a
//! [`transform`], and are put in region-aligned batches by several connections. Every cell carries its own timestamp, so
//! a batch may be sent twice. Each file that is sent is recorded ([`log`]), so that an interrupted restore can be resumed.
//!
//! **Finish** ([`finish`]), table by table: what was sent must add up to what the manifest says; then the target is read
//! back: a new table must add up to the same, and where it does not, or the table held rows before, every cell of the
//! backup must be among those that the target shows ([`contain`]). What earlier runs sent is proven with the rest.

pub mod attributes;
mod by_hand;
mod contain;
mod create;
mod descriptors;
mod expiry;
mod finish;
mod fit;
mod log;
mod marker_groups;
mod markers;
mod new_timestamps;
mod plan;
mod sanity;
mod scene;
mod select;
mod send;
mod sent;
mod target;
mod targets;
mod transform;
mod uids;
mod view;
mod visible;

use std::time::Instant;

use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::rss::peak_rss_bytes;
use crate::flow::engine::threads::Threads;
use crate::flow::stored::backup_files::ReadTools;
use crate::flow::{Cancel, FlowError, Progress, RestorePlan, RestoreReport};

use finish::{Run, new_report};
use plan::Opened;
use scene::Scene;
use target::Target;

/// Restores a backup.
///
/// # Errors
/// [`FlowError::Refused`] before anything is written when a target is not fit; later errors leave a partly written
/// target, which a later run can resume ([`FlowError::Unfinished`]), because puts carry their timestamps.
pub fn restore(plan: &RestorePlan, progress: &Progress, cancel: &Cancel) -> Result<RestoreReport, FlowError> {
    let begun = Instant::now();
    let threads = Threads::new(plan.resources.cpu)?;
    let pace = Pace::new(&plan.manners, plan.resources.connections, progress, cancel);
    let mut client = plan.gateways.client();
    let memory = ByteBudget::new(plan.resources.max_memory);
    let tools = ReadTools { threads: &threads, store: &plan.store, memory: &memory, cancel, progress };
    let Opened { contents, earlier, repository, lock: _lock, mut cluster_id, mut warnings } =
        plan::open(plan, tools, &mut client)?;
    let wanted = scene::wanted(&threads, plan, &contents)?;
    let scene = Scene { plan, threads: &threads, contents: &contents, pace: &pace, progress, memory: &memory, wanted };
    let part = match plan.selection.is_all() {
        true => None,
        false => Some(select::narrow(&scene, &mut client, earlier.as_ref())?),
    };
    let (part, selection) = part.unzip();
    let wanted = scene.wanted;
    let contents = part.as_ref().unwrap_or(&contents);
    let scene = Scene { plan, threads: &threads, contents, pace: &pace, progress, memory: &memory, wanted };
    let planned = plan::plan(&scene, &mut client, earlier.as_ref(), &mut warnings)?;
    let mut report =
        RestoreReport { attention: planned.attention.clone(), selection, ..new_report(plan, contents, warnings) };
    report.gaps = planned.targets.iter().map(|target| target.table.gaps.len() as u64).sum();
    if plan.dry_run {
        report.planned = planned.targets.iter().map(Target::planned).collect();
    } else {
        let mut log = match earlier {
            Some(earlier) => log::RestoreLog::resume(&threads, earlier, plan.read_back)?,
            None => {
                cluster_id = cluster_id.or(Some(client.cluster_id()?).filter(|id| !id.is_empty()));
                let (backup, targets) = (&contents.manifest.backup, &planned.targets);
                log::RestoreLog::begin(&threads, &repository, (backup, &plan.selection), cluster_id, targets)
            }
        };
        report.restore = log.id().map(str::to_string);
        let result = Run { scene: &scene, log: &mut log }.tables(&mut client, &planned, &mut report);
        // A refusal has its own ways out.
        result.map_err(|error| match error {
            FlowError::Refused(_) => error,
            error => FlowError::unfinished(log.advice(), error),
        })?;
        report.warnings.extend(log.finish(&threads, report.differences == 0 && !report.lacks_cells()));
    }
    let view = progress.view();
    report.seconds = begun.elapsed().as_secs_f64();
    report.bytes_read = view.bytes_read;
    report.repository_bytes_read = view.bytes_fetched;
    report.cluster_bytes_read = view.bytes_read.saturating_sub(view.bytes_fetched);
    report.bytes_written = view.bytes_written;
    report.peak_rss_bytes = peak_rss_bytes();
    report.back_off_seconds = pace.back_off_seconds();
    Ok(report)
}

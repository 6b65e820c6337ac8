//! Three levels of verification; each catches what the one before misses.
//!
//! | level | reads | finds |
//! | --- | --- | --- |
//! | files | every byte of the repository | a file that is missing, cut, changed, exchanged or edited |
//! | cells | and decodes every file | a file whose cells are not those that were backed up |
//! | source | and the live cluster | cells that the cluster holds otherwise, by name |

mod differences;
mod files;
mod members;
mod source;

use std::collections::BTreeMap;
use std::time::Instant;

use crate::cluster::Gateways;
use crate::flow::engine::old_gateways::considerate;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::rss::peak_rss_bytes;
use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::stored::gaps;
use crate::flow::{Cancel, FlowError, Progress, VerifyLevel, VerifyPlan, VerifyReport};
use crate::manifest::{LockKind, Repository};

/// Verifies a backup.
///
/// # Errors
/// What keeps it from finding out: no such backup, no gateway. Damage is not an error but in the report, except a
/// manifest that cannot be read at all.
pub fn verify(plan: &VerifyPlan, progress: &Progress, cancel: &Cancel) -> Result<VerifyReport, FlowError> {
    let begun = Instant::now();
    let threads = Threads::new(plan.resources.cpu)?;
    let mut report = VerifyReport {
        backup: String::new(),
        level: plan.level,
        files: 0,
        cells: 0,
        source_cells: 0,
        differences: 0,
        ordinary_changes: 0,
        gaps: 0,
        problems: Vec::new(),
        by_kind: BTreeMap::new(),
        cells_named: Vec::new(),
        warnings: Vec::new(),
        seconds: 0.0,
        bytes_read: 0,
        peak_rss_bytes: 0,
        back_off_seconds: 0.0,
    };
    let repository = threads.wait(Repository::open(plan.store.clone()))?;
    let lock = RepositoryLock::shared(&threads, &repository, LockKind::Verify, None)?;
    if let Some(warning) = lock.warning() {
        report.warnings.push(warning.to_owned());
    }
    let contents = files::check_metadata(plan, &plan.backup, &threads, &repository, progress, &mut report)?;
    if let Some(mut contents) = contents {
        report.gaps = contents.manifest.tables.iter().map(|table| table.gaps.len() as u64).sum();
        report.warnings.extend(gaps::warnings(&contents.manifest));
        let gateways = source_gateways(plan)?;
        if let Some(gateways) = gateways {
            source::require_tables(plan, gateways, &contents)?;
            source::require_versions(gateways, &contents)?;
        }
        files::check_files(plan, &threads, &contents, progress, cancel, &mut report)?;
        if contents.manifest.increment.is_some() {
            members::check(plan, &threads, &repository, &contents, (progress, cancel), &mut report)?;
            if gateways.is_some() && report.problems.is_empty() {
                contents = members::visible(plan, &threads, contents, (progress, cancel))?;
            }
        }
        // What is broken cannot be compared.
        let readable = contents.manifest.increment.is_none() || contents.source.is_some();
        if let Some(gateways) = gateways.filter(|_| readable) {
            let (manners, sparing) = considerate(gateways, &plan.manners)?;
            report.warnings.extend(sparing);
            let pace = Pace::new(&manners, plan.resources.connections, progress, cancel);
            let _canary = pace.watch(gateways, source::first_table(plan, &contents).as_deref());
            source::compare(plan, gateways, &threads, &contents, &pace, progress, &mut report)?;
            report.back_off_seconds = pace.back_off_seconds();
        }
    }
    let counts = |ordinary: bool| {
        let kinds = report.by_kind.iter().filter(|(kind, _)| kind.is_ordinary() == ordinary);
        kinds.map(|(_, count)| count).sum::<u64>()
    };
    let (ordinary, others) = (counts(true), counts(false));
    report.ordinary_changes = if plan.strict { 0 } else { ordinary };
    report.differences = report.problems.len() as u64 + others + if plan.strict { ordinary } else { 0 };
    report.seconds = begun.elapsed().as_secs_f64();
    report.bytes_read = progress.view().bytes_read;
    report.peak_rss_bytes = peak_rss_bytes();
    Ok(report)
}

/// The live cluster, where the level asks for one.
fn source_gateways(plan: &VerifyPlan) -> Result<Option<&Gateways>, FlowError> {
    let missing = "verify --level source compares with a live cluster; name its gateway with --gateway";
    match (plan.level, &plan.gateways) {
        (VerifyLevel::Source, None) => Err(FlowError::input(missing)),
        (VerifyLevel::Source, gateways) => Ok(gateways.as_ref()),
        _ => Ok(None),
    }
}

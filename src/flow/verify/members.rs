//! The backups that an increment adds to: each of them is checked as it would be by itself, and that they belong together.

use std::collections::HashSet;

use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::threads::Threads;
use crate::flow::stored::backup_files::{BackupContents, ReadTools};
use crate::flow::stored::chain::{self, Chain};
use crate::flow::{Cancel, FileProblem, FlowError, Progress, VerifyPlan, VerifyReport};
use crate::manifest::{BackupPaths, Repository};

use super::files;

/// Checks the ancestors of an increment, and the links between them.
///
/// # Errors
/// The store's. A member that is missing or damaged is a problem of the report.
pub fn check(
    plan: &VerifyPlan,
    threads: &Threads,
    repository: &Repository,
    tip: &BackupContents,
    (progress, cancel): (&Progress, &Cancel),
    report: &mut VerifyReport,
) -> Result<(), FlowError> {
    let mut next = tip.manifest.parent.clone();
    let mut seen: HashSet<String> = HashSet::from([tip.manifest.backup.clone()]);
    let before = report.problems.len();
    while let Some(id) = next.take().filter(|id| seen.insert(id.clone())) {
        let member = match files::check_metadata(plan, &id, threads, repository, progress, report) {
            Ok(member) => member,
            Err(FlowError::Repository(error)) if error.is_of_the_backup() => {
                let problem = format!("{error}; {} cannot be restored without it", tip.manifest.backup);
                report.problems.push(FileProblem { path: BackupPaths::new(&id).manifest(), problem });
                break;
            }
            Err(error) => return Err(error),
        };
        let Some(member) = member else { break };
        files::check_files(plan, threads, &member, progress, cancel, report)?;
        next = member.manifest.parent;
    }
    if report.problems.len() == before {
        match Chain::open(threads, &plan.store, tip.manifest.clone()) {
            Ok(_) => {}
            Err(FlowError::Damaged(problem)) => {
                report.problems.push(FileProblem { path: BackupPaths::new(&tip.manifest.backup).manifest(), problem });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The chain as the contents of one backup, for a comparison with the source.
///
/// # Errors
/// The store's; [`FlowError::Damaged`].
pub fn visible(
    plan: &VerifyPlan,
    threads: &Threads,
    tip: BackupContents,
    (progress, cancel): (&Progress, &Cancel),
) -> Result<BackupContents, FlowError> {
    let memory = &ByteBudget::new(plan.resources.max_memory);
    let tools = ReadTools { threads, store: &plan.store, memory, cancel, progress };
    chain::visible(tools, tip, plan.resources.connections)
}

//! The plan of a backup: what the source looks like, and what is to be read of it.

use std::collections::BTreeMap;

use crate::flow::backup::resume::{self, Resumed};
use crate::flow::engine::pace::Pace;
use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::source::preflight;
use crate::flow::source::survey::{Survey, reach};
use crate::flow::{BackupPlan, FlowError, Progress};
use crate::manifest::{BackupWriter, PlanRecord, Repository, RepositoryError};
use crate::model::time;

/// A backup that is to be resumed.
pub struct Unfinished {
    /// Where it lies.
    pub repository: Repository,
    /// Held by this process.
    pub lock: RepositoryLock,
    /// Writes the rest.
    pub writer: BackupWriter,
    /// What it was asked for.
    pub record: PlanRecord,
}

/// Looks at the source, as the plan of the backup that is resumed says where there is one.
///
/// # Errors
/// The gateway's; [`FlowError::Input`] for what cannot be backed up as it was asked for.
pub fn survey(
    plan: &BackupPlan,
    begun: Option<&PlanRecord>,
    progress: &Progress,
    pace: &Pace,
) -> Result<Survey, FlowError> {
    let survey = Survey::make(plan, begun, progress, pace)?;
    if survey.raw {
        require_raw(plan, &survey)?;
    }
    Ok(survey)
}

/// Begins a backup: opens the repository, takes its lock and writes the plan down. Adds what somebody should read.
///
/// # Errors
/// The repository's and the store's; [`FlowError::Locked`] while a prune is at work.
pub fn begin(
    plan: &BackupPlan,
    survey: &Survey,
    threads: &Threads,
    warnings: &mut Vec<String>,
) -> Result<(Resumed, Repository, RepositoryLock), FlowError> {
    let repository = threads.wait(open_repository(plan))?;
    let found = preflight::store_section(threads, &repository, survey.server.cluster_id.as_deref())?;
    warnings.extend(found.warnings);
    let lock = RepositoryLock::backup(threads, &repository, plan.append_only)?;
    warnings.extend(unfinished(threads, &repository)?);
    let (writer, asked) = (repository.begin_backup(), survey.plan_record(plan, time::now_ms()));
    lock.works_on(writer.id())?;
    threads.wait(writer.put_plan(asked.clone()))?;
    Ok((Resumed { writer, plan: asked, tables: BTreeMap::new(), problems: Vec::new() }, repository, lock))
}

/// Refuses what a raw backup needs and does not get.
fn require_raw(plan: &BackupPlan, survey: &Survey) -> Result<(), FlowError> {
    let mut client = plan.source.gateways.client();
    client.require_thrift2("read delete markers and hidden versions (--raw)")?;
    survey.found.tables.iter().try_for_each(|table| client.require_types(&table.name))?;
    survey.refuse_new_version_behavior()
}

/// Finds the backup that is to be resumed before the source is looked at: its plan says how.
///
/// # Errors
/// [`FlowError::Input`] when there is none that fits; the gateway's, the repository's.
pub fn find_unfinished(plan: &BackupPlan, threads: &Threads) -> Result<Unfinished, FlowError> {
    let reached = reach(&plan.source)?;
    let repository = threads.wait(open_repository(plan))?;
    let lock = RepositoryLock::backup(threads, &repository, plan.append_only)?;
    let (writer, record) = resume::find(threads, &repository, &lock, plan, &reached)?;
    Ok(Unfinished { repository, lock, writer, record })
}

/// Whoever starts a new backup may not know of one that could be resumed.
fn unfinished(threads: &Threads, repository: &Repository) -> Result<Vec<String>, FlowError> {
    let ids = threads.wait(repository.unfinished())?;
    let warning = |id: String| {
        format!(
            "backup {id} is unfinished or still running, and this run does not use it; resume it with backup --resume"
        )
    };
    Ok(ids.into_iter().map(warning).collect())
}

async fn open_repository(plan: &BackupPlan) -> Result<Repository, RepositoryError> {
    match plan.weak_commit {
        true => Repository::init_or_open_weak(plan.store.clone()).await,
        false => Repository::init_or_open(plan.store.clone()).await,
    }
}

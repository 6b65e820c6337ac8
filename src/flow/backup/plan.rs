//! The plan of a backup: what the source looks like, and what is to be read of it.

use crate::flow::backup::{increment, resume, snapshot};
use crate::flow::engine::pace::Pace;
use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::source::gaps::AtDamage;
use crate::flow::source::preflight;
use crate::flow::source::survey::{Survey, reach};
use crate::flow::source::table::SourceTable;
use crate::flow::source::tally_scan::even_ranges;
use crate::flow::{BackupPlan, FlowError, Progress};
use crate::manifest::{BackupWriter, IncrementBy, PlanRecord, PlannedJob, Repository, RepositoryError};
use crate::model::{KeyRange, UidNames, time};
use crate::shard::cut;

/// A backup that was begun.
pub struct Begun {
    /// Where it lies.
    pub repository: Repository,
    /// Held by this process.
    pub lock: RepositoryLock,
    /// Writes the rest.
    pub writer: BackupWriter,
    /// Its plan.
    pub record: PlanRecord,
    /// What somebody should read about the repository.
    pub warnings: Vec<String>,
}

impl Begun {
    /// The names that were read for the plan, where they are there.
    fn names(&mut self, threads: &Threads) -> Result<Option<UidNames>, FlowError> {
        let Some(file) = &self.record.names else { return Ok(None) };
        let problem = match snapshot::read(threads, self.repository.store(), file)? {
            Ok(names) => return Ok(Some(names)),
            Err(problem) => problem,
        };
        self.warnings.push(format!("{problem}: the names of UIDs were read from the cluster again"));
        Ok(None)
    }
}

/// Looks at the source, as the plan of the backup that was begun says where there is one.
///
/// # Errors
/// The gateway's; [`FlowError::Input`] for what cannot be backed up as it was asked for.
pub fn survey(
    plan: &BackupPlan,
    begun: Option<&mut Begun>,
    threads: &Threads,
    progress: &Progress,
    pace: &Pace,
) -> Result<Survey, FlowError> {
    let survey = match begun {
        None => Survey::make(plan, None, None, progress, pace)?,
        Some(begun) => {
            let names = begun.names(threads)?;
            Survey::make(plan, Some(&begun.record), names, progress, pace)?
        }
    };
    if survey.raw {
        require_raw(plan, &survey)?;
    }
    Ok(survey)
}

/// Begins a backup: opens the repository, takes its lock, cuts the tables into jobs, stores the names and writes the plan
/// down.
///
/// # Errors
/// The repository's and the store's; [`FlowError::Locked`] while a prune is at work; the gateway's.
pub fn begin(plan: &BackupPlan, survey: &Survey, threads: &Threads, progress: &Progress) -> Result<Begun, FlowError> {
    let repository = threads.wait(open_repository(plan))?;
    let mut warnings = preflight::store_section(threads, &repository, survey.server.cluster_id.as_deref())?.warnings;
    let lock = RepositoryLock::backup(threads, &repository, plan.append_only)?;
    warnings.extend(unfinished(threads, &repository)?);
    let writer = threads.wait(repository.begin_newest_backup())?;
    let mut record = survey.plan_record(plan, time::now_ms());
    record.commit_rule = repository.commit_rule();
    lock.works_on(writer.id())?;
    progress.stage("planning", survey.found.tables.len() as u64);
    let chain = match &plan.increment {
        Some(asked) => Some(increment::plan(asked, plan, survey, threads, &repository, &mut record)?),
        None => None,
    };
    let compared = record.increment.as_ref().is_some_and(|increment| increment.by == IncrementBy::Compare);
    for (table, planned) in survey.found.tables.iter().zip(&mut record.tables) {
        // What is compared is compared shard by shard of the parent.
        let known = chain.iter().filter(|_| compared).map(|chain| chain.ranges(&table.name)).find(|r| !r.is_empty());
        let ranges = known.map_or_else(|| jobs(plan, survey, table), Ok)?;
        planned.jobs = ranges.iter().map(PlannedJob::from).collect();
        progress.finished();
    }
    if survey.found.uid().is_some() {
        record.names = Some(snapshot::write(threads, &writer, &survey.names)?);
    }
    let record = threads.wait(writer.put_plan(record))?;
    Ok(Begun { repository, lock, writer, record, warnings })
}

/// Pieces of a table that cover all its keys.
fn jobs(plan: &BackupPlan, survey: &Survey, table: &SourceTable) -> Result<Vec<KeyRange>, FlowError> {
    if survey.window.is_some() {
        let pieces = plan.jobs.unwrap_or(2 * plan.resources.connections);
        // Which rows of the UID table it takes shows at the end.
        return Ok(survey.rows_of(table).map_or_else(|| vec![KeyRange::all()], |rows| rows.jobs(pieces)));
    }
    match AtDamage::of(plan) {
        AtDamage::Fail => {
            let connections = plan.resources.connections;
            even_ranges(&plan.source.gateways, &table.name, connections, plan.jobs.unwrap_or(2 * connections))
        }
        // Regions that cannot be read cannot be probed either.
        AtDamage::Skip => Ok(cut(&KeyRange::all(), &table.split_keys())),
    }
}

/// Refuses what a raw backup needs and does not get.
fn require_raw(plan: &BackupPlan, survey: &Survey) -> Result<(), FlowError> {
    let mut client = plan.source.gateways.client();
    if plan.increment.is_some() {
        return increment::require_markers(&mut client, survey);
    }
    client.require_thrift2("read delete markers and hidden versions (--raw)")?;
    survey.found.tables.iter().try_for_each(|table| client.require_types(&table.name))?;
    survey.refuse_new_version_behavior("leave out --raw to back up the cells that are visible")
}

/// Finds the backup that is to be resumed before the source is looked at: its plan says how.
///
/// # Errors
/// [`FlowError::Input`] when there is none that fits; the gateway's, the repository's.
pub fn find_unfinished(plan: &BackupPlan, threads: &Threads) -> Result<Begun, FlowError> {
    let reached = reach(&plan.source)?;
    let repository = threads.wait(open_repository(plan))?;
    let lock = RepositoryLock::backup(threads, &repository, plan.append_only)?;
    let (writer, record) = resume::find(threads, &repository, &lock, plan, &reached)?;
    Ok(Begun { repository, lock, writer, record, warnings: Vec::new() })
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

//! The plan of an increment: its parent, and whether the way it is to be made holds there.

use std::time::Duration;

use crate::cluster::Client;
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::threads::Threads;
use crate::flow::increments::{AgainstTime, ClusterFacts};
use crate::flow::source::survey::Survey;
use crate::flow::stored::backup_files::{BackupContents, ReadTools, load_backup, load_manifest};
use crate::flow::stored::chain::{self, Chain};
use crate::flow::stored::parent::{self, Now};
use crate::flow::{BackupPlan, Cancel, FlowError, IncrementPlan, OpentsdbConf, Progress};
use crate::manifest::{BackupKind, IncrementBy, IncrementRecord, Manifest, PlanRecord, Repository};
use crate::model::TableKind;
use crate::store::Store;

/// What to do where write times do not say what has changed.
const COMPARE: &str = "use --by compare";

/// Completes the plan of an increment; its jobs are for the caller. Gives the chain that it adds to.
///
/// # Errors
/// [`FlowError::Input`] where the parent is not there, or is of something else; [`FlowError::Refused`] where write times
/// do not say what has changed; [`FlowError::Damaged`] for a broken chain; the store's.
pub fn plan(
    asked: &IncrementPlan,
    plan: &BackupPlan,
    survey: &Survey,
    threads: &Threads,
    repository: &Repository,
    record: &mut PlanRecord,
) -> Result<Chain, FlowError> {
    let store = repository.store();
    let cluster_id = record.server.cluster_id.as_deref();
    let manifest = match asked.parent.as_str() {
        "latest" => parent::latest(threads, repository, cluster_id)?.ok_or_else(|| {
            FlowError::input(format!(
                "there is no backup of this cluster in {} that an increment could add to; make a full one first: the same \
                 command without --incremental",
                store.place()
            ))
        })?,
        id => load_manifest(threads, store, id)?,
    };
    let tables: Vec<(&str, TableKind)> = record.tables.iter().map(|table| (table.name.as_str(), table.kind)).collect();
    let now = Now {
        cluster_id,
        layout: &record.layout,
        older_layouts: &record.older_layouts,
        name_charset: record.name_charset,
        tables: &tables,
    };
    if let Some(why) = parent::no_parent(&manifest, now) {
        return Err(FlowError::input(why));
    }
    if plan.skip_unreadable && asked.by == IncrementBy::Compare {
        return Err(FlowError::input("--by compare reads every key: leave out --skip-unreadable"));
    }
    let chain = Chain::open(threads, store, manifest.clone())?;
    let since_ms = match asked.by {
        IncrementBy::Compare => None,
        IncrementBy::Time => {
            let found = against_time((plan, survey), (threads, store), (&manifest, &chain), asked.horizon)?;
            found.refuse_as(FlowError::Refused, "--by time", COMPARE)?;
            record.warnings.extend(found.warnings);
            let overlap = i64::try_from(asked.overlap.as_millis()).unwrap_or(i64::MAX);
            let since = manifest.started_ms.saturating_sub(overlap).max(0);
            for table in &mut record.tables {
                let known = manifest.tables.iter().any(|known| known.name == table.name);
                table.since_ms = known.then_some(since);
            }
            Some(since)
        }
    };
    record.kind = BackupKind::Incremental;
    record.parent = Some(manifest.backup);
    record.raw = true;
    let (parent_blake3, guarantee) = (manifest.self_blake3, asked.by.guarantee().to_owned());
    record.increment = Some(IncrementRecord { by: asked.by, parent_blake3, since_ms, guarantee });
    Ok(chain)
}

/// Refuses gateways and tables whose delete markers cannot be read, or say nothing.
///
/// # Errors
/// [`FlowError::Input`]; the gateway's.
pub fn require_markers(client: &mut Client, survey: &Survey) -> Result<(), FlowError> {
    AgainstTime::of_markers(client, &survey.found.tables)?.refuse_as(FlowError::Input, "--by time", COMPARE)
}

fn against_time(
    (plan, survey): (&BackupPlan, &Survey),
    stored: (&Threads, &Store),
    parent: (&Manifest, &Chain),
    horizon: Duration,
) -> Result<AgainstTime, FlowError> {
    let mut client = plan.source.gateways.client();
    let mut found = AgainstTime::default();
    add_cluster(&mut found, &mut client, survey)?;
    found.add_parent(stored, &mut client, &survey.found.tables, parent, horizon)?;
    client.disconnect();
    Ok(found)
}

/// Adds what the cells of the cluster say of write times.
///
/// # Errors
/// The gateway's.
pub fn add_cluster(found: &mut AgainstTime, client: &mut Client, survey: &Survey) -> Result<(), FlowError> {
    let conf = survey.conf.as_ref().map(OpentsdbConf::kept);
    let (tables, keys) = (survey.found.tables.as_slice(), survey.keys.as_slice());
    let layouts = &survey.detection.layouts;
    found.add_cluster(client, &ClusterFacts { tables, keys, layouts, conf: conf.as_ref() })
}

/// What a backup that was begun is compared with: the chain of its parent, as the contents of one backup. `None` for one
/// that is not made by comparison.
///
/// # Errors
/// [`FlowError::Damaged`]; the store's.
pub fn parent_contents(
    plan: &BackupPlan,
    record: &PlanRecord,
    threads: &Threads,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Option<BackupContents>, FlowError> {
    let compared = record.increment.as_ref().filter(|increment| increment.by == IncrementBy::Compare);
    let Some((increment, parent)) = compared.zip(record.parent.as_ref()) else { return Ok(None) };
    let contents = load_backup(threads, &plan.store, parent)?;
    if contents.manifest.self_blake3 != increment.parent_blake3 {
        return Err(FlowError::damaged(format!("{parent} is not the backup that {} was begun with", record.backup)));
    }
    let memory = &ByteBudget::new(plan.resources.max_memory);
    let tools = ReadTools { threads, store: &plan.store, memory, cancel, progress };
    chain::visible(tools, contents, plan.resources.connections).map(Some)
}

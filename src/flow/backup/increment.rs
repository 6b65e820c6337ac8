//! The plan of an increment: its parent, and whether the way it is to be made holds there.

use std::collections::BTreeMap;

use crate::cluster::ClusterError;
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::threads::Threads;
use crate::flow::source::survey::Survey;
use crate::flow::stored::backup_files::{BackupContents, ReadTools, fetch, load_backup, load_manifest};
use crate::flow::stored::chain::{self, Chain};
use crate::flow::{BackupPlan, Cancel, FlowError, IncrementPlan, Progress};
use crate::manifest::{BackupKind, IncrementBy, IncrementRecord, Manifest, PlanRecord, Repository, TableRecord};
use crate::model::{FileKind, PointBatch, TableKind, WriteTime, time};
use crate::parquet_file::PointsReader;
use crate::store::Store;

/// Points that are looked at for when they were written.
const LOOKED_AT: usize = 20;

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
    let parent = match asked.parent.as_str() {
        "latest" => latest(threads, repository, record)?,
        id => load_manifest(threads, store, id)?,
    };
    if let Some(why) = no_parent(&parent, record) {
        let id = &parent.backup;
        return Err(FlowError::input(format!("backup {id} can be no parent: {why}; make a full backup")));
    }
    if plan.skip_unreadable && asked.by == IncrementBy::Compare {
        return Err(FlowError::input("--by compare reads every key: leave out --skip-unreadable"));
    }
    let chain = Chain::open(threads, store, parent.clone())?;
    let since_ms = match asked.by {
        IncrementBy::Compare => None,
        IncrementBy::Time => {
            by_point_times(threads, store, &parent, record, &chain)?;
            within_horizon(asked, &parent)?;
            let overlap = i64::try_from(asked.overlap.as_millis()).unwrap_or(i64::MAX);
            let since = parent.started_ms.saturating_sub(overlap);
            not_truncated(plan, survey, &parent, record)?;
            for table in &mut record.tables {
                let known = parent.tables.iter().any(|known| known.name == table.name);
                table.since_ms = known.then_some(since);
            }
            Some(since)
        }
    };
    record.kind = BackupKind::Incremental;
    record.parent = Some(parent.backup);
    record.raw = true;
    let (parent_blake3, guarantee) = (parent.self_blake3, asked.by.guarantee().to_owned());
    record.increment = Some(IncrementRecord { by: asked.by, parent_blake3, since_ms, guarantee });
    Ok(chain)
}

/// Why no increment can add to a backup; `None` when one can.
fn no_parent(parent: &Manifest, record: &PlanRecord) -> Option<String> {
    let other_kind = |known: &TableRecord| record.tables.iter().any(|t| t.name == known.name && t.kind != known.kind);
    if !matches!(parent.kind, BackupKind::Full | BackupKind::Incremental) {
        return Some(format!("it is of kind {}", parent.kind.name()));
    }
    if parent.server.cluster_id != record.server.cluster_id {
        return Some("it is of another cluster".to_owned());
    }
    if parent.layout != record.layout || parent.older_layouts != record.older_layouts {
        return Some(format!("it has {}, the tables now have {}", parent.layout, record.layout));
    }
    if parent.name_charset != record.name_charset {
        return Some("its names were read with another --name-charset".to_owned());
    }
    if let Some(table) = parent.tables.iter().find(|table| !table.gaps.is_empty()) {
        return Some(format!("table {} of it has gaps", table.name));
    }
    let table = parent.tables.iter().find(|known| other_kind(known))?;
    Some(format!("table {} was decoded as another kind of table", table.name))
}

/// Refuses where cells carry the time of their point and not that of the write.
fn by_point_times(
    threads: &Threads,
    store: &Store,
    parent: &Manifest,
    record: &PlanRecord,
    chain: &Chain,
) -> Result<(), FlowError> {
    let by_point = |conf: &BTreeMap<String, String>| {
        conf.get("tsd.storage.use_otsdb_timestamp").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    };
    let why = if by_point(&parent.opentsdb_conf) || record.opentsdb_conf.as_ref().is_some_and(by_point) {
        "tsd.storage.use_otsdb_timestamp is true, so that cells carry the time of their point"
    } else if cells_carry_point_times(threads, store, chain.members())? {
        "the cells of the parent carry the time of their point and not that of the write"
    } else {
        return Ok(());
    };
    Err(FlowError::refused(format!(
        "--by time does not work here: {why}, and late points would be missed; use --by compare"
    )))
}

/// Refuses where delete markers may be gone.
fn within_horizon(asked: &IncrementPlan, parent: &Manifest) -> Result<(), FlowError> {
    let age = time::now_ms().saturating_sub(parent.started_ms);
    if age <= i64::try_from(asked.horizon.as_millis()).unwrap_or(i64::MAX) {
        return Ok(());
    }
    Err(FlowError::refused(format!(
        "backup {} began {} hours ago: a major compaction (by default every 7 days) may have dropped delete markers since, \
         which --by time would miss; use --by compare, or --horizon with a longer time where compactions come less often",
        parent.backup,
        age / 3_600_000
    )))
}

/// Refuses where a table of the parent was made anew since.
fn not_truncated(
    plan: &BackupPlan,
    survey: &Survey,
    parent: &Manifest,
    record: &mut PlanRecord,
) -> Result<(), FlowError> {
    let mut client = plan.source.gateways.client();
    for table in &survey.found.tables {
        if !parent.tables.iter().any(|known| known.name == table.name) {
            continue;
        }
        let made = match client.regions_made(&table.name) {
            Ok(made) => made,
            Err(error) if matches!(error.cause(), ClusterError::AccessDenied { .. }) => {
                record.warnings.push(format!(
                    "whether table {} was truncated since backup {} cannot be seen without the right to read hbase:meta \
                     ({error}): what was in it before would stay in the chain",
                    table.name, parent.backup
                ));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !made.is_empty() && made.iter().all(|made| *made > parent.started_ms) {
            return Err(FlowError::refused(format!(
                "every region of table {} is younger than backup {}: the table was truncated or created again (or all of \
                 its regions were split or merged since), and --by time cannot see what is gone; use --by compare",
                table.name, parent.backup
            )));
        }
    }
    client.disconnect();
    Ok(())
}

/// The newest backup of the same cluster that an increment can add to.
fn latest(threads: &Threads, repository: &Repository, record: &PlanRecord) -> Result<Manifest, FlowError> {
    let (summaries, _) = threads.wait(repository.list())?;
    for summary in summaries.iter().rev().filter(|s| matches!(s.kind, BackupKind::Full | BackupKind::Incremental)) {
        let manifest = threads.wait(repository.manifest(&summary.backup))?;
        if manifest.server.cluster_id == record.server.cluster_id {
            return Ok(manifest);
        }
    }
    Err(FlowError::input(format!(
        "there is no backup of this cluster in {} that an increment could add to; make a full one first: the same command \
         without --incremental",
        repository.store().place()
    )))
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

/// Whether single cells of the members carry the time of their point: a TSD that writes so does it for all of them.
fn cells_carry_point_times(threads: &Threads, store: &Store, members: &[BackupContents]) -> Result<bool, FlowError> {
    let mut seen = 0;
    for member in members {
        let data: Vec<&str> =
            member.manifest.tables.iter().filter(|t| t.kind == TableKind::Data).map(|t| t.name.as_str()).collect();
        let points = member.files.iter().filter(|f| f.kind == FileKind::Points && data.contains(&f.table.as_str()));
        // One file of a member is enough, of any.
        for file in points.take(1) {
            let mut reader = PointsReader::open_recorded(fetch(threads, store, file)?, file.rows)?;
            if let Some(batch) = reader.next_group()? {
                match delays(&batch) {
                    (_, true) => return Ok(false),
                    (count, false) => seen += count,
                }
            }
        }
    }
    Ok(seen >= LOOKED_AT)
}

/// Points that are cells of their own, and whether one of them was written at another time than its own.
fn delays(batch: &PointBatch) -> (usize, bool) {
    let mut count = 0;
    for segment in &batch.segments {
        let WriteTime::Delays(start) = segment.write_time else { continue };
        count += segment.len;
        if batch.delays.iter().skip(start).take(segment.len).any(|delay| *delay != 0) {
            return (count, true);
        }
    }
    (count, false)
}

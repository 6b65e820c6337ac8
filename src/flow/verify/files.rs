//! Files of the repository against what the manifest says, and their cells against their tallies.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::threads::Threads;
use crate::flow::engine::workers::work_through;
use crate::flow::stored::backup_files::{BackupContents, read_catalogue, read_or_problem};
use crate::flow::stored::contents::cells_of;
use crate::flow::stored::strays;
use crate::flow::{Cancel, FileProblem, FlowError, Progress, VerifyLevel, VerifyPlan, VerifyReport};
use crate::manifest::{BackupPaths, GapRecord, Repository, RepositoryError, ShardRecord};
use crate::model::{CellHasher, FileKind, FileRow, KeyLayouts, ShardRow, Tally};

/// Reads manifest, shard records, catalogue and views. `None` when the catalogue is too damaged to continue; the report
/// then says so.
///
/// # Errors
/// No such backup, a manifest that cannot be trusted, or the store's.
pub fn check_metadata(
    plan: &VerifyPlan,
    backup: &str,
    threads: &Threads,
    repository: &Repository,
    progress: &Progress,
    report: &mut VerifyReport,
) -> Result<Option<BackupContents>, FlowError> {
    progress.stage("reading the manifest", 0);
    let manifest = threads.wait(repository.load(backup))?;
    if report.backup.is_empty() {
        report.backup.clone_from(&manifest.backup);
    }
    for file in &manifest.catalogue {
        report.files += 1;
        check_bytes(plan, threads, &file.path, file.size, &file.blake3, progress, &mut report.problems)?;
    }
    let damaged = !report.problems.is_empty();
    let records = threads.wait(repository.check_shard_records(&manifest.backup))?;
    report.files += records.len() as u64;
    check_plan(threads, repository, &manifest.backup, report)?;
    match read_catalogue(threads, &plan.store, manifest) {
        Ok(contents) => {
            check_totals(&contents, report);
            compare_records(&contents, &records.into_iter().collect(), report);
            Ok(Some(contents))
        }
        Err(_) if damaged => {
            let bad = records.into_iter().filter_map(|(path, record)| Some((path, record.err()?)));
            report.problems.extend(bad.map(|(path, problem)| FileProblem { path, problem }));
            report.warnings.push("the catalogue is damaged: data files were not looked at".into());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The plan is of use to a resume only, but a change of it is a change of the backup's folder.
fn check_plan(
    threads: &Threads,
    repository: &Repository,
    backup: &str,
    report: &mut VerifyReport,
) -> Result<(), FlowError> {
    let problem = match threads.wait(repository.plan(backup)) {
        Ok(Some(_)) => {
            report.files += 1;
            return Ok(());
        }
        Ok(None) => "is missing: a prune may have started".to_string(),
        Err(RepositoryError::Store(error)) => return Err(error.into()),
        Err(error) => error.to_string(),
    };
    report.problems.push(FileProblem { path: BackupPaths::new(backup).plan(), problem });
    Ok(())
}

/// Each shard of the catalogue and each gap of the manifest has its record, and both say the same. A damaged record is a
/// problem although a restore does not need it; one that neither has was left by an attempt that does not count.
fn compare_records(
    contents: &BackupContents,
    found: &BTreeMap<String, Result<ShardRecord, String>>,
    report: &mut VerifyReport,
) {
    let paths = BackupPaths::new(&contents.manifest.backup);
    for shard in &contents.shards {
        let path = paths.shard(&shard.table, &shard.attempt);
        let problem = match found.get(&path) {
            None => "is missing",
            Some(Err(problem)) => problem.as_str(),
            Some(Ok(record)) if !same_shard(contents, shard, record) => "does not say what the catalogue says",
            Some(Ok(_)) => continue,
        };
        report.problems.push(FileProblem { path, problem: problem.into() });
    }
    for (table, gap) in contents.manifest.tables.iter().flat_map(|t| t.gaps.iter().map(move |gap| (&t.name, gap))) {
        let path = paths.shard(table, &gap.attempt);
        let problem = match found.get(&path) {
            None => "is missing",
            Some(Err(problem)) => problem.as_str(),
            Some(Ok(record)) if !same_gap(gap, record) => "does not say what the manifest says",
            Some(Ok(_)) => continue,
        };
        report.problems.push(FileProblem { path, problem: problem.into() });
    }
}

fn same_gap(gap: &GapRecord, record: &ShardRecord) -> bool {
    record.gap.as_ref() == Some(gap) && (&record.shard.start, &record.shard.stop) == (&gap.start.0, &gap.stop.0)
}

fn same_shard(contents: &BackupContents, shard: &ShardRow, record: &ShardRecord) -> bool {
    let mut recorded: Vec<&FileRow> = record.files.iter().collect();
    let mut catalogued: Vec<&FileRow> =
        contents.files_of(&shard.table).filter(|file| file.attempt == shard.attempt).collect();
    recorded.sort_unstable_by_key(|file| &file.path);
    catalogued.sort_unstable_by_key(|file| &file.path);
    *shard == record.shard && recorded == catalogued
}

/// The catalogue must add up to what the manifest says, table by table.
fn check_totals(contents: &BackupContents, report: &mut VerifyReport) {
    let path = BackupPaths::new(&contents.manifest.backup).manifest();
    let mut record = |problem: String| report.problems.push(FileProblem { path: path.clone(), problem });
    for table in &contents.manifest.tables {
        let (mut files, mut shards) = (Tally::default(), Tally::default());
        contents.files_of(&table.name).for_each(|file| files.add(&file.tally));
        contents.shards.iter().filter(|s| s.table == table.name).for_each(|s| shards.add(&s.tally));
        // A row may have cells in several files, so rows and points add up by shard alone.
        let sums = [(files, files.same_cells(&table.tally), "files"), (shards, shards == table.tally, "shards")];
        for (sum, _, what) in sums.iter().filter(|(_, agrees, _)| !agrees) {
            record(format!(
                "the {what} of table {} add up to {}, the manifest says {}",
                table.name,
                words(sum),
                words(&table.tally)
            ));
        }
    }
    let known: BTreeSet<&str> = contents.manifest.tables.iter().map(|table| table.name.as_str()).collect();
    let catalogued: BTreeSet<&str> = contents.shards.iter().map(|shard| shard.table.as_str()).collect();
    for table in catalogued.difference(&known) {
        record(format!("the catalogue has shards of table {table}, the manifest has no such table"));
    }
}

fn words(tally: &Tally) -> String {
    let Tally { rows, cells, points, bytes, checksum } = tally;
    format!("{rows} rows, {cells} cells, {points} points, {bytes} bytes, checksum {checksum:016x}")
}

fn check_bytes(
    plan: &VerifyPlan,
    threads: &Threads,
    path: &str,
    size: u64,
    hash: &str,
    progress: &Progress,
    problems: &mut Vec<FileProblem>,
) -> Result<Option<Bytes>, FlowError> {
    let problem = match threads.wait(read_or_problem(&plan.store, path, size, hash)) {
        Ok(Ok(bytes)) => {
            progress.fetched(bytes.len() as u64);
            return Ok(Some(bytes));
        }
        Ok(Err(problem)) => problem,
        Err(error) if error.is_archived() => "is archived: restore the object first".into(),
        Err(error) => return Err(error.into()),
    };
    problems.push(FileProblem { path: path.to_string(), problem });
    Ok(None)
}

/// Every data file: bytes, and from level `cells` on what it decodes to.
///
/// # Errors
/// The store's, or [`FlowError::Interrupted`].
pub fn check_files(
    plan: &VerifyPlan,
    threads: &Threads,
    contents: &BackupContents,
    progress: &Progress,
    cancel: &Cancel,
    report: &mut VerifyReport,
) -> Result<(), FlowError> {
    progress.stage("reading files", contents.files.len() as u64);
    warn_of_strays(plan, threads, contents, report)?;
    let layouts = contents.manifest.layouts();
    let queue = WorkQueue::new(&contents.files);
    let (mut problems, mut cells) = (Vec::new(), 0);
    let memory = ByteBudget::new(plan.resources.max_memory);
    let work = |(): &mut (), file: &FileRow| {
        let _memory = memory.reserve_file(file.kind, file.size);
        check_file(plan, threads, file, &layouts, progress, cancel)
    };
    work_through(
        plan.resources.connections,
        &queue,
        progress,
        || (),
        work,
        |(more, count)| {
            problems.extend(more);
            cells += count;
        },
    )?;
    problems.sort_by(|a: &FileProblem, b| a.path.cmp(&b.path));
    report.files += contents.files.len() as u64;
    report.cells += cells;
    report.problems.extend(problems);
    Ok(())
}

fn check_file(
    plan: &VerifyPlan,
    threads: &Threads,
    file: &FileRow,
    layouts: &KeyLayouts,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<(Vec<FileProblem>, u64), FlowError> {
    if cancel.is_set() {
        return Err(FlowError::Interrupted);
    }
    let mut problems = Vec::new();
    let bytes = check_bytes(plan, threads, &file.path, file.size, &file.blake3, progress, &mut problems)?;
    let Some(bytes) = bytes.filter(|_| plan.level != VerifyLevel::Files && !file.kind.is_catalogue()) else {
        return Ok((problems, 0));
    };
    let mut hasher = CellHasher::new();
    let mut tally = Tally::default();
    let read = cells_of(bytes, file.kind, file.rows, layouts, &mut |block| {
        tally.add(&hasher.block(block));
        progress.counted(block.cell_count() as u64, 0);
        if cancel.is_set() { Err(FlowError::Interrupted) } else { Ok(()) }
    });
    let problem = match read {
        Err(FlowError::Interrupted) => return Err(FlowError::Interrupted),
        Err(error) => Some(format!("does not decode: {error}")),
        Ok(()) if !tally.same_cells(&file.tally) => Some(format!(
            "decodes to {} cells with checksum {:016x} instead of {} with {:016x}",
            tally.cells, tally.checksum, file.tally.cells, file.tally.checksum
        )),
        Ok(()) => None,
    };
    problems.extend(problem.map(|problem| FileProblem { path: file.path.clone(), problem }));
    Ok((problems, tally.cells))
}

fn is_kind_folder(paths: &BackupPaths, path: &str) -> bool {
    path == paths.shards()
        || path == format!("{}/catalogue", paths.folder())
        || FileKind::ALL.iter().any(|kind| path == paths.files(*kind))
}

/// Files that nothing names: left by attempts that did not finish. Harmless, but somebody may want to know.
fn warn_of_strays(
    plan: &VerifyPlan,
    threads: &Threads,
    contents: &BackupContents,
    report: &mut VerifyReport,
) -> Result<(), FlowError> {
    let paths = BackupPaths::new(&contents.manifest.backup);
    let named = strays::named(&contents.manifest, contents.files.iter(), contents.shards.iter());
    let mut strays = threads.wait(plan.store.list(paths.folder()))?;
    strays.retain(|entry| {
        // A web console makes empty objects for folders.
        let folder = entry.size == 0 && (entry.path == paths.folder() || is_kind_folder(&paths, &entry.path));
        !folder && !named.contains(&entry.path)
    });
    let below = format!("{}/", paths.folder());
    for link in plan.store.observed().symlinks.iter().filter(|link| link.starts_with(&below)) {
        report.warnings.push(format!("{link} is a symbolic link, which is never followed inside a repository"));
    }
    let (logs, strays): (Vec<_>, Vec<_>) = strays.into_iter().partition(|entry| entry.path.contains("/_delta_log/"));
    let problem = "is a Delta log that the backup did not write: readers of the table may see other files";
    report.problems.extend(logs.into_iter().map(|log| FileProblem { path: log.path, problem: problem.into() }));
    if !strays.is_empty() {
        let (files, are) = if strays.len() == 1 { ("file", "is") } else { ("files", "are") };
        report.warnings.push(format!(
            "{} {files} in the backup's folder {are} not part of it: neither a restore nor the Delta logs nor views.sql use \
             them, but a reader that takes all files of a folder does; prune removes them",
            strays.len()
        ));
    }
    Ok(())
}

//! Files in the folder of a backup that nothing names: left by attempts that were interrupted or lost a race.

use std::collections::HashSet;

use futures_util::stream::{self, StreamExt};

use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::RepositoryLock;
use crate::manifest::{BackupPaths, BackupWriter, Manifest};
use crate::model::{FileKind, FileRow, ShardRow};

/// Files that are deleted at the same time.
const AT_ONCE: usize = 16;

/// The paths that a committed backup consists of.
pub fn named<'a>(
    manifest: &Manifest,
    files: impl Iterator<Item = &'a FileRow>,
    shards: impl Iterator<Item = &'a ShardRow>,
) -> HashSet<String> {
    let paths = BackupPaths::new(&manifest.backup);
    let mut named: HashSet<String> = HashSet::from([paths.manifest(), paths.plan()]);
    named.extend(files.map(|file| file.path.clone()));
    named.extend(manifest.catalogue.iter().map(|file| file.path.clone()));
    for shard in shards {
        named.insert(paths.shard(&shard.table, &shard.attempt));
        named.insert(paths.shard_metrics(&shard.table, &shard.attempt));
    }
    let tables = manifest.tables.iter();
    named.extend(tables.flat_map(|table| table.gaps.iter().map(|gap| paths.shard(&table.name, &gap.attempt))));
    named
}

/// Removes what a committed backup does not name, as the one that has committed it and holds the lock. Gives how many are
/// left: all of them with `append_only`.
///
/// # Errors
/// The store's, or a lost lock; some are removed then.
pub fn remove(
    threads: &Threads,
    lock: &RepositoryLock,
    writer: &BackupWriter,
    named: &HashSet<String>,
    append_only: bool,
) -> Result<usize, FlowError> {
    let (store, paths) = (writer.store(), writer.paths());
    let mut strays = threads.wait(store.list(paths.folder()))?;
    strays.retain(|entry| !named.contains(&entry.path) && is_of_an_attempt(paths, &entry.path));
    if append_only || strays.is_empty() {
        return Ok(strays.len());
    }
    lock.assert_alive()?;
    let deletes = stream::iter(&strays).map(|entry| store.delete(&entry.path)).buffer_unordered(AT_ONCE);
    let results: Vec<_> = threads.wait(deletes.collect());
    match results.into_iter().find_map(Result::err) {
        None => Ok(0),
        Some(error) => Err(error.into()),
    }
}

/// True for what attempts write: Parquet files, Delta logs, views, shard records and what lies beside these. Whatever else lies in a folder is left alone, except the
/// mark of a prune that did not get as far as the manifest.
pub fn is_of_an_attempt(paths: &BackupPaths, path: &str) -> bool {
    let within = |folder: String| path.strip_prefix(&folder).and_then(|rest| rest.strip_prefix('/'));
    let file = |name: &str, ending: &str| !name.contains('/') && name.ends_with(ending);
    let views = |name: &str| file(name, ".sql") && name.starts_with("views");
    path == paths.pruning()
        || path == paths.names()
        || paths.parse_basis(path).is_some_and(|id| !id.contains('/'))
        || within(paths.folder().to_owned()).is_some_and(views)
        || FileKind::ALL.iter().map(|kind| paths.files(*kind)).filter_map(within).any(|name| file(name, ".parquet"))
        || FileKind::ALL.iter().map(|kind| paths.delta_logs(*kind)).filter_map(within).any(|name| file(name, ".json"))
        || within(paths.shards()).is_some_and(|name| file(name, ".json") || file(name, "-metrics.parquet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_attempts_write_can_be_a_stray() {
        let paths = BackupPaths::new("b");
        for yes in [
            "points/t-1-a-0.parquet",
            "shards/t-00001.json",
            "shards/t-0a0b0c0d0e0f-metrics.parquet",
            "names.parquet",
            "basis-0a0b0c0d0e0f.json",
            "catalogue/files/a-0.parquet",
            "points/_delta_log/0.json",
            "catalogue/metrics/_delta_log/0.json",
            "views-a.sql",
            "pruning",
        ] {
            assert!(is_of_an_attempt(&paths, &format!("backups/b/{yes}")), "{yes}");
        }
        for no in [
            "manifest.json",
            "plan.json",
            "notes.sql",
            "notes.txt",
            "points/x/t.parquet",
            "catalogue/t.parquet",
            "_delta_log/0.json",
            "other/t.parquet",
            "points/t.md",
        ] {
            assert!(!is_of_an_attempt(&paths, &format!("backups/b/{no}")), "{no}");
        }
        assert!(!is_of_an_attempt(&paths, "backups/bb/points/t.parquet"));
    }
}

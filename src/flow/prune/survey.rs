//! What lies in a repository: committed backups and whether they are whole, unfinished ones, progress of restores.

use crate::flow::engine::threads::Threads;
use crate::flow::prune::report::Group;
use crate::flow::stored::backup_files::{BackupContents, faults, read_catalogue};
use crate::flow::stored::strays;
use crate::flow::{Cancel, FlowError, Progress};
use crate::manifest::layout::{BACKUPS, RESTORES};
use crate::manifest::{BackupPaths, Manifest, Repository, RepositoryError};
use crate::store::{StoreEntry, StoreError};

/// A folder in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// Its name.
    pub id: String,
    /// Its path.
    pub path: String,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the newest was stored, ms by the store's clock; `None` without files.
    pub newest_ms: Option<i64>,
}

impl Folder {
    fn new(id: String, path: String, entries: &[StoreEntry]) -> Self {
        Self {
            id,
            path,
            files: entries.len() as u64,
            bytes: entries.iter().map(|entry| entry.size).fold(0, u64::saturating_add),
            newest_ms: entries.iter().map(|entry| entry.modified_ms).max(),
        }
    }
}

/// A folder with a manifest.
#[derive(Debug)]
pub struct Committed {
    /// The folder.
    pub folder: Folder,
    /// When the backup began, ms UTC.
    pub started_ms: i64,
    /// Its cluster and tables; `None` when its manifest cannot be read.
    pub group: Option<Group>,
    /// The backup that it adds to.
    pub parent: Option<String>,
    /// Why its manifest cannot be read.
    pub damaged: Option<String>,
    /// Backups that it needs, where its manifest cannot be read.
    pub needs: Vec<String>,
    /// Why it cannot be restored although its manifest reads.
    pub broken: Option<String>,
    /// Files that neither manifest nor catalogue name, of kinds that a backup writes.
    pub unnamed: Vec<StoreEntry>,
    /// Paths of the shard records that the catalogue knows.
    pub records: Vec<String>,
}

/// A folder without a manifest.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The folder.
    pub folder: Folder,
    /// A prune has begun to remove it.
    pub pruning: bool,
    /// Committed backups without which it cannot be resumed.
    pub needs: Vec<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Survey {
    /// With a manifest, oldest id first.
    pub committed: Vec<Committed>,
    /// Without one.
    pub unfinished: Vec<Unfinished>,
    /// Progress of restores.
    pub restores: Vec<Folder>,
}

impl Survey {
    /// Looks at everything. Folders are listed one after the other, so that their lists need not fit into memory together.
    ///
    /// # Errors
    /// The store's. Damage is no error.
    pub fn make(
        threads: &Threads,
        repository: &Repository,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<Self, FlowError> {
        let store = repository.store();
        let mut survey = Self::default();
        let ids = threads.wait(store.folders(BACKUPS))?;
        progress.stage("inspecting backups", ids.len() as u64);
        for id in ids {
            if cancel.is_set() {
                return Err(FlowError::Interrupted);
            }
            let paths = BackupPaths::new(&id);
            let entries = threads.wait(store.list(paths.folder()))?;
            let folder = Folder::new(id, paths.folder().to_owned(), &entries);
            if entries.iter().any(|entry| entry.path == paths.manifest()) {
                survey.committed.push(committed(threads, repository, folder, &entries)?);
            } else {
                let pruning = entries.iter().any(|entry| entry.path == paths.pruning());
                let needs = threads.wait(repository.needed_by(&folder.id))?;
                survey.unfinished.push(Unfinished { folder, pruning, needs });
            }
            progress.finished();
        }
        for id in threads.wait(store.folders(RESTORES))? {
            let path = format!("{RESTORES}/{id}");
            let entries = threads.wait(store.list(&path))?;
            survey.restores.push(Folder::new(id, path, &entries));
        }
        Ok(survey)
    }
}

fn committed(
    threads: &Threads,
    repository: &Repository,
    folder: Folder,
    entries: &[StoreEntry],
) -> Result<Committed, FlowError> {
    let id = folder.id.clone();
    let nothing = Committed {
        started_ms: started_by_id(&id).or(folder.newest_ms).unwrap_or_default(),
        folder,
        group: None,
        parent: None,
        damaged: None,
        needs: Vec::new(),
        broken: None,
        unnamed: Vec::new(),
        records: Vec::new(),
    };
    let manifest = match threads.wait(repository.manifest(&id)) {
        Ok(manifest) => manifest,
        Err(RepositoryError::Store(error)) => return Err(error.into()),
        // A newer version's: nobody here knows what it needs.
        Err(error @ RepositoryError::UnknownKind { .. }) => return Err(error.into()),
        Err(error) => {
            let needs = threads.wait(repository.needed_by(&id))?;
            return Ok(Committed { damaged: Some(error.to_string()), needs, ..nothing });
        }
    };
    let (started_ms, parent) = (manifest.started_ms, manifest.parent.clone());
    let whole = Committed { started_ms, parent, group: Some(group(&manifest)), ..nothing };
    match read_catalogue(threads, repository.store(), manifest) {
        Ok(contents) => Ok(compared(whole, &contents, entries)),
        // It can be restored once the store has brought its files back, which a listing does not show.
        Err(FlowError::Store(error)) if error.is_archived() => Ok(whole),
        Err(FlowError::Store(error)) if !matches!(error, StoreError::NotFound { .. } | StoreError::Symlink { .. }) => {
            Err(error.into())
        }
        Err(error) => Ok(Committed { broken: Some(format!("its catalogue cannot be read: {error}")), ..whole }),
    }
}

fn group(manifest: &Manifest) -> Group {
    let mut tables: Vec<String> = manifest.tables.iter().map(|table| table.name.clone()).collect();
    tables.sort();
    let window = manifest.window.as_ref().map(|window| {
        let metrics = if window.metrics.is_empty() { vec!["all metrics".to_owned()] } else { window.metrics.clone() };
        let tags = window.tags.iter().map(|tag| format!("{}={}", tag.key, tag.value));
        metrics.into_iter().chain(tags).collect::<Vec<_>>().join(", ")
    });
    Group { cluster_id: manifest.server.cluster_id.clone(), tables, window }
}

/// Compares a listing with what the backup should have.
fn compared(backup: Committed, contents: &BackupContents, entries: &[StoreEntry]) -> Committed {
    let paths = BackupPaths::new(&backup.folder.id);
    let files = contents.files.iter().map(|file| (file.path.as_str(), file.size));
    // Views and Delta logs are made for readers, the names for workers: a restore does without, and verify misses them.
    let catalogue =
        contents.manifest.catalogue.iter().filter(|file| file.path.ends_with(".parquet") && file.path != paths.names());
    let catalogue = catalogue.map(|file| (file.path.as_str(), file.size));
    let broken = faults(entries, files.chain(catalogue)).next();
    let of_shard = |shard: &crate::model::ShardRow| paths.shard(&shard.table, &shard.attempt);
    let records: Vec<String> = contents.shards.iter().map(of_shard).collect();
    let known = strays::named(&contents.manifest, contents.files.iter(), contents.shards.iter());
    let stray = |entry: &&StoreEntry| !known.contains(&entry.path) && strays::is_of_an_attempt(&paths, &entry.path);
    let unnamed = entries.iter().filter(stray).cloned().collect();
    Committed { broken, unnamed, records, ..backup }
}

/// Ids begin with their time.
fn started_by_id(id: &str) -> Option<i64> {
    let (time, _) = id.split_once('-')?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_their_time() {
        assert_eq!(started_by_id("20250102T030405Z-1a2b3c4d"), Some(1_735_787_045_000));
        for other in ["latest", "20250102-x", ""] {
            assert_eq!(started_by_id(other), None, "{other}");
        }
    }
}

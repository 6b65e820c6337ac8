//! A committed backup, opened: its manifest, the rows of its catalogue, and its files.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::threads::Threads;
use crate::flow::{Cancel, FlowError, Progress};
use crate::manifest::{BackupPaths, HashedFile, Manifest, Repository, TableRecord};
use crate::model::{CellBlock, FileKind, FileRow, MetricRow, ShardRow, TableDescriptor, TableKind};
use crate::parquet_file::{read_files, read_metrics, read_shards};
use crate::store::{Store, StoreEntry, StoreError};

use super::selected::Selected;

/// What a backup consists of.
pub struct BackupContents {
    /// The manifest.
    pub manifest: Manifest,
    /// Data files, in the order of the catalogue.
    pub files: Vec<FileRow>,
    /// Shards.
    pub shards: Vec<ShardRow>,
    /// Where the cells come from when the files above are none in the store, but stand for key ranges of a chain.
    pub source: Option<Arc<dyn CellSource>>,
    /// What is selected of it; everything above is of these cells alone then. `None`: all of it.
    pub selected: Option<Selected>,
}

/// What reading the cells of a backup needs.
#[derive(Clone, Copy)]
pub struct ReadTools<'a> {
    /// Bridge to the store.
    pub threads: &'a Threads,
    /// The repository's store.
    pub store: &'a Store,
    /// Bytes of files that are decoded at once.
    pub memory: &'a ByteBudget,
    /// Request to stop.
    pub cancel: &'a Cancel,
    /// Counters.
    pub progress: &'a Progress,
}

/// Gives the cells behind a [`FileRow`] that is no file.
pub trait CellSource: Send + Sync {
    /// Hands out the cells, in key order.
    ///
    /// # Errors
    /// The store's; [`FlowError::Damaged`]; [`FlowError::Interrupted`]; those of `each`.
    fn cells(
        &self,
        tools: ReadTools<'_>,
        file: &FileRow,
        each: &mut dyn FnMut(&CellBlock) -> Result<(), FlowError>,
    ) -> Result<(), FlowError>;

    /// The files behind all of these.
    fn files(&self) -> Vec<&FileRow>;
}

impl BackupContents {
    /// Makes sure that the backup has these tables.
    ///
    /// # Errors
    /// [`FlowError::Input`] with the first that it has not, and those that it has.
    pub fn require_tables<'n>(&self, mut names: impl Iterator<Item = &'n String>) -> Result<(), FlowError> {
        let have: BTreeSet<&str> = self.table_names().collect();
        match names.find(|name| !have.contains(name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let have: Vec<&str> = have.into_iter().collect();
                Err(FlowError::input(format!("the backup has no table {name}; it has: {}", have.join(", "))))
            }
        }
    }

    /// The tables of the backup, those that hold nothing of the selection too.
    pub fn table_names(&self) -> impl Iterator<Item = &str> {
        let left_out = self.selected.iter().flat_map(|selected| selected.left_out.iter().map(String::as_str));
        self.manifest.tables.iter().map(|table| table.name.as_str()).chain(left_out)
    }

    /// The UID table, whole, and its files.
    pub fn uid_table(&self) -> Option<(&TableRecord, Vec<&FileRow>)> {
        if let Some(selected) = &self.selected {
            return selected.uids.as_ref().map(|(table, files)| (table, files.iter().collect()));
        }
        let table = self.manifest.tables.iter().find(|table| table.kind == TableKind::Uid)?;
        Some((table, self.files_of(&table.name).filter(|file| !file.kind.is_catalogue()).collect()))
    }

    /// The data files of a table.
    pub fn files_of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a FileRow> {
        self.files.iter().filter(move |file| file.table == table)
    }

    /// The data files that are in the store: its own, or those of a chain.
    pub fn stored_files(&self) -> Vec<&FileRow> {
        let files = self.source.as_ref().map_or_else(|| self.files.iter().collect(), |source| source.files());
        files.into_iter().filter(|file| !file.kind.is_catalogue()).collect()
    }

    /// The files that hold cells of a shard.
    pub fn cells_of_shard<'a>(&'a self, shard: &'a ShardRow) -> impl Iterator<Item = &'a FileRow> {
        self.files_of(&shard.table).filter(move |file| file.attempt == shard.attempt && !file.kind.is_catalogue())
    }

    /// The files of one catalogue table.
    pub fn catalogue_files(&self, kind: FileKind) -> impl Iterator<Item = &HashedFile> {
        let folder = BackupPaths::new(&self.manifest.backup).files(kind);
        let direct = move |path: &str| {
            path.strip_prefix(&folder).and_then(|rest| rest.strip_prefix('/')).is_some_and(|name| !name.contains('/'))
        };
        self.manifest.catalogue.iter().filter(move |file| direct(&file.path))
    }
}

/// The manifest of a backup: an id, a unique prefix of one, or `latest`.
///
/// # Errors
/// The repository's.
pub fn load_manifest(threads: &Threads, store: &Store, backup: &str) -> Result<Manifest, FlowError> {
    Ok(threads.wait(async { Repository::open(store.clone()).await?.load(backup).await })?)
}

/// Opens a backup. The catalogue files must have the hashes that the manifest names.
///
/// # Errors
/// The repository's; [`FlowError::Damaged`] for a catalogue that is not the one that was committed.
pub fn load_backup(threads: &Threads, store: &Store, backup: &str) -> Result<BackupContents, FlowError> {
    read_catalogue(threads, store, load_manifest(threads, store, backup)?)
}

/// Reads the catalogue behind a manifest.
///
/// # Errors
/// As [`load_backup`].
pub fn read_catalogue(threads: &Threads, store: &Store, manifest: Manifest) -> Result<BackupContents, FlowError> {
    let mut contents = BackupContents { manifest, files: Vec::new(), shards: Vec::new(), source: None, selected: None };
    for file in contents.catalogue_files(FileKind::Files).cloned().collect::<Vec<_>>() {
        contents.files.extend(read_files(read_checked(threads, store, &file)?)?);
    }
    for file in contents.catalogue_files(FileKind::Shards).cloned().collect::<Vec<_>>() {
        contents.shards.extend(read_shards(read_checked(threads, store, &file)?)?);
    }
    Ok(contents)
}

/// Reads a file that the manifest names and checks that it is the one that was committed.
///
/// # Errors
/// The store's; [`FlowError::Damaged`] for other bytes.
pub fn read_checked(threads: &Threads, store: &Store, file: &HashedFile) -> Result<Bytes, FlowError> {
    read_as_recorded(threads, store, &file.path, file.size, &file.blake3)
}

/// Reads a file and checks that it is the one that was written.
///
/// # Errors
/// The store's; [`FlowError::Damaged`] for other bytes.
pub fn fetch(threads: &Threads, store: &Store, file: &FileRow) -> Result<Bytes, FlowError> {
    read_as_recorded(threads, store, &file.path, file.size, &file.blake3)
}

fn read_as_recorded(threads: &Threads, store: &Store, path: &str, size: u64, hash: &str) -> Result<Bytes, FlowError> {
    match threads.wait(read_or_problem(store, path, size, hash))? {
        Ok(bytes) => Ok(bytes),
        Err(problem) => Err(FlowError::damaged(format!("{path}: {problem}; run verify --level files"))),
    }
}

/// The bytes of a file, or how it differs from what was recorded. A file that is larger is
/// not read.
///
/// # Errors
/// The store's; a missing file is a difference.
pub async fn read_or_problem(
    store: &Store,
    path: &str,
    size: u64,
    hash: &str,
) -> Result<Result<Bytes, String>, StoreError> {
    match store.get_at_most(path, size).await {
        Ok(bytes) => Ok(match difference(&bytes, size, hash) {
            None => Ok(bytes),
            Some(problem) => Err(problem),
        }),
        Err(StoreError::TooLarge { size: found, .. }) => Ok(Err(other_size(found, size))),
        Err(error) if error.is_not_found() => Ok(Err("is missing".into())),
        Err(StoreError::Symlink { source, .. }) => Ok(Err(source.to_string())),
        Err(error) => Err(error),
    }
}

fn other_size(found: u64, recorded: u64) -> String {
    format!("has {found} bytes instead of {recorded}")
}

/// How bytes differ from what was recorded.
fn difference(bytes: &[u8], size: u64, hash: &str) -> Option<String> {
    if bytes.len() as u64 != size {
        return Some(other_size(bytes.len() as u64, size));
    }
    let found = blake3::hash(bytes).to_hex();
    (found.as_str() != hash).then(|| format!("its hash is {found} instead of {hash}"))
}

/// What a listing lacks of files, given by path and size, in words: those that are missing or have another size.
pub fn faults<'a>(
    entries: &'a [StoreEntry],
    files: impl Iterator<Item = (&'a str, u64)>,
) -> impl Iterator<Item = String> {
    let listed = Listing::new(entries);
    files.filter_map(move |(path, size)| listed.fault(path, size))
}

/// A listing, for files to be looked up in.
pub struct Listing<'a>(HashMap<&'a str, u64>);

impl<'a> Listing<'a> {
    /// The sizes of files by path.
    pub fn new(entries: &'a [StoreEntry]) -> Self {
        Self(entries.iter().map(|entry| (entry.path.as_str(), entry.size)).collect())
    }

    /// What is wrong with a file of this size, in words; `None` when it is there.
    pub fn fault(&self, path: &str, size: u64) -> Option<String> {
        match self.0.get(path) {
            None => Some(format!("{path} is missing")),
            Some(found) if *found != size => Some(format!("{path} has {found} bytes instead of {size}")),
            Some(_) => None,
        }
    }
}

/// Makes sure, by a listing, that all files of some tables are there, with their sizes; no table means all of them.
///
/// # Errors
/// [`FlowError::Damaged`] names the first that is not; the store's.
pub fn require_files(
    threads: &Threads,
    store: &Store,
    contents: &BackupContents,
    tables: &[String],
) -> Result<(), FlowError> {
    let folder = BackupPaths::new(&contents.manifest.backup);
    let entries = threads.wait(store.list(folder.folder()))?;
    let wanted = contents.files.iter().filter(|file| tables.is_empty() || tables.contains(&file.table));
    let mut faults = faults(&entries, wanted.map(|file| (file.path.as_str(), file.size)));
    let Some(first) = faults.next() else { return Ok(()) };
    let more = match faults.count() {
        0 => String::new(),
        more => format!(" (and {more} more files like it)"),
    };
    Err(FlowError::damaged(format!(
        "{first}{more}: nothing was written; verify --level files names every damaged file; put the files back, restore \
         tables without them (--table), or another backup (list)"
    )))
}

/// The metrics of a backup.
///
/// # Errors
/// The store's; a damaged catalogue.
pub fn metric_rows(threads: &Threads, store: &Store, contents: &BackupContents) -> Result<Vec<MetricRow>, FlowError> {
    let mut rows = Vec::new();
    for file in contents.catalogue_files(FileKind::Metrics) {
        rows.extend(read_metrics(read_checked(threads, store, file)?)?);
    }
    Ok(rows)
}

/// The descriptor that the manifest holds.
///
/// # Errors
/// [`FlowError::Damaged`] when it cannot be read.
pub fn saved_descriptor(table: &TableRecord) -> Result<TableDescriptor, FlowError> {
    let descriptor = table.descriptor.descriptor(&table.name);
    descriptor
        .ok_or_else(|| FlowError::damaged(format!("the manifest's descriptor of table {} cannot be read", table.name)))
}

//! The Delta logs of a backup that is about to be committed.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::columnar::columns_of;
use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::manifest::{BackupWriter, DeltaFile, DeltaState, DeltaTable, HashedFile};
use crate::model::{ColumnRanges, FileKind};
use crate::store::StoreEntry;

/// No version of a log is larger: it has half a kilobyte per file.
const LOG_BYTES: u64 = 1 << 30;

/// A file that is to be committed.
pub struct LoggedFile<'a> {
    /// Path, relative to the repository.
    pub path: &'a str,
    /// Bytes.
    pub size: u64,
    /// Rows.
    pub rows: u64,
    /// HBase table of its rows, smallest and greatest values; `None` in the catalogue.
    pub known: Option<(&'a str, &'a ColumnRanges)>,
}

/// Writes the log of every kind that has files. A kind without files has no log, except when an earlier run left one:
/// then it is an empty table.
///
/// An earlier run that ended between its logs and its manifest may have left logs that name other files. They stay, as
/// nothing is overwritten, and a further version leads from them to what is committed. Only logs that cannot be read are
/// removed, and with `append_only` they are an error.
///
/// # Errors
/// The store's; [`FlowError::Refused`] for logs that may not be removed.
pub fn write(
    threads: &Threads,
    writer: &BackupWriter,
    started_ms: i64,
    append_only: bool,
    files: &BTreeMap<FileKind, Vec<LoggedFile<'_>>>,
) -> Result<Vec<HashedFile>, FlowError> {
    let paths = writer.paths();
    let mut found: BTreeMap<FileKind, Vec<StoreEntry>> = BTreeMap::new();
    for entry in threads.wait(writer.store().list(paths.folder()))? {
        let kind = FileKind::ALL.iter().find(|kind| entry.path.starts_with(&format!("{}/", paths.delta_logs(**kind))));
        if let Some(kind) = kind {
            found.entry(*kind).or_default().push(entry);
        }
    }
    let mut written = Vec::new();
    for kind in FileKind::ALL {
        let (files, left) = (files.get(kind), found.remove(kind).unwrap_or_default());
        if files.is_none() && left.is_empty() {
            continue;
        }
        let columns = columns_of(*kind).map_err(crate::parquet_file::FileError::from)?;
        let folder = paths.files(*kind);
        let name = folder.strip_prefix(paths.folder()).unwrap_or(&folder).trim_start_matches('/');
        let table = DeltaTable { backup: writer.id(), name, columns: &columns, started_ms };
        let wanted = table.state(files.into_iter().flatten().map(|file| DeltaFile {
            name: file.path.strip_prefix(&folder).unwrap_or(file.path).trim_start_matches('/'),
            size: file.size,
            rows: file.rows,
            known: file.known,
        }));
        let log = Log { threads, writer, kind: *kind, table };
        written.extend(log.bring_up(&wanted, &left, append_only)?);
    }
    Ok(written)
}

struct Log<'a> {
    threads: &'a Threads,
    writer: &'a BackupWriter,
    kind: FileKind,
    table: DeltaTable<'a>,
}

impl Log<'_> {
    /// All versions of the log, the last of which says what is `wanted`.
    fn bring_up(
        &self,
        wanted: &DeltaState,
        left: &[StoreEntry],
        append_only: bool,
    ) -> Result<Vec<HashedFile>, FlowError> {
        let mut versions = Vec::new();
        if !left.is_empty() {
            let ours = |(entry, number): (&StoreEntry, u64)| entry.path == self.path(number) && entry.size <= LOG_BYTES;
            if left.iter().zip(0..).all(ours) {
                for entry in left {
                    versions.push(self.threads.wait(self.writer.store().get(&entry.path))?);
                }
            }
            match self.table.replay(&versions) {
                Some(state) if state == *wanted => return Ok(self.hashed(&versions)),
                Some(state) => {
                    versions.push(self.put(versions.len() as u64, self.table.next(&state, wanted)?)?);
                    return Ok(self.hashed(&versions));
                }
                None => self.remove(left, append_only)?,
            }
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.hashed(&[self.put(0, self.table.first(wanted)?)?]))
    }

    fn path(&self, version: u64) -> String {
        self.writer.paths().delta_log(self.kind, version)
    }

    fn put(&self, version: u64, text: Vec<u8>) -> Result<Bytes, FlowError> {
        let (path, text) = (self.path(version), Bytes::from(text));
        match self.threads.wait(self.writer.create(&path, text.clone()))? {
            None => Ok(text),
            Some(_) => Err(FlowError::Locked(format!(
                "{path} was written by another process, which commits backup {} at the same time; let one of them finish",
                self.writer.id()
            ))),
        }
    }

    /// Removes logs that nobody could read.
    fn remove(&self, left: &[StoreEntry], append_only: bool) -> Result<(), FlowError> {
        let folder = self.writer.paths().delta_logs(self.kind);
        if append_only {
            return Err(FlowError::refused(format!(
                "{folder} has files that no backup wrote, or damaged ones, and --append-only may not remove them; resume \
                 without it, or begin a new backup"
            )));
        }
        for entry in left {
            self.threads.wait(self.writer.store().delete(&entry.path)).map_err(|error| {
                FlowError::from(error).at(format!("{folder} is damaged and cannot be removed; begin a new backup"))
            })?;
        }
        Ok(())
    }

    fn hashed(&self, versions: &[Bytes]) -> Vec<HashedFile> {
        let hashed = |(text, version): (&Bytes, u64)| HashedFile {
            path: self.path(version),
            size: text.len() as u64,
            blake3: blake3::hash(text).to_hex().to_string(),
        };
        versions.iter().zip(0..).map(hashed).collect()
    }
}

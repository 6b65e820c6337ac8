//! Which rows of a live table a window backup is compared with.

use std::sync::Arc;

use crate::codec::rollup_config::RollupConfig;
use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::flow::source::window::{Window, selection_of};
use crate::flow::source::window_uids::UidWindow;
use crate::flow::stored::backup_files::{BackupContents, fetch, read_or_problem};
use crate::flow::stored::contents::cells_of;
use crate::manifest::{BackupPaths, TableRecord};
use crate::model::{TableKind, UidNames};
use crate::parquet_file::read_names;
use crate::scan::WantedRows;
use crate::store::Store;

/// The window of a backup, for the tables that it is compared with.
pub struct StoredWindow<'a> {
    threads: &'a Threads,
    store: &'a Store,
    contents: &'a BackupContents,
    window: Window,
}

impl<'a> StoredWindow<'a> {
    /// The window of a backup; `None` for a backup that is none. Its metrics and tags are those of the names that were
    /// read for its plan: the inner error says what is wrong with these.
    ///
    /// # Errors
    /// The store's; [`FlowError::Damaged`].
    pub fn of(
        threads: &'a Threads,
        store: &'a Store,
        contents: &'a BackupContents,
    ) -> Result<Option<Result<Self, String>>, FlowError> {
        let manifest = &contents.manifest;
        let Some(record) = &manifest.window else { return Ok(None) };
        let path = BackupPaths::new(&manifest.backup).names();
        let Some(file) = manifest.catalogue.iter().find(|file| file.path == path) else {
            return Ok(Some(Err(format!("{path} was missing when the backup was committed"))));
        };
        let bytes = match threads.wait(read_or_problem(store, &path, file.size, &file.blake3))? {
            Ok(bytes) => bytes,
            Err(problem) => return Ok(Some(Err(format!("{path} {problem}")))),
        };
        let mut names = UidNames::new();
        read_names(bytes, &mut |kind, uid, name| names.insert(kind, uid, name))?;
        let window = Window::new(selection_of(record)?, manifest.layouts(), Arc::new(names));
        Ok(Some(Ok(Self { threads, store, contents, window })))
    }

    /// The rows of a table that belong to the window; of the UID table those that the backup holds.
    ///
    /// # Errors
    /// The store's; [`FlowError::Damaged`].
    pub fn rows_of(&self, table: &TableRecord) -> Result<Option<WantedRows>, FlowError> {
        let manifest = &self.contents.manifest;
        if table.kind != TableKind::Uid {
            let rollups = manifest.rollup_config.as_deref().map(RollupConfig::parse).transpose();
            let rollups = rollups.map_err(|error| FlowError::damaged(format!("the manifest: {error}")))?;
            let span = rollups.and_then(|config| config.table(&table.name)).and_then(|table| table.row_span);
            return Ok(self.window.of_table(table.kind, span.as_deref()).map(WantedRows::from));
        }
        let mut rows = UidWindow::default();
        for file in self.contents.files_of(&table.name).filter(|file| !file.kind.is_catalogue()) {
            let bytes = fetch(self.threads, self.store, file)?;
            cells_of(bytes, file.kind, file.rows, &manifest.layouts(), &mut |block| {
                block.iter().for_each(|cell| rows.want_cell(&cell));
                Ok(())
            })?;
        }
        Ok(Some(rows.into()))
    }
}

//! What killed writers leave on disk and no listing shows: staged files, and folders without files.

use std::fs::{read_dir, remove_dir, remove_file};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::Operation;
use super::local::{is_staged, symlink};
use super::{Store, StoreError};

impl Store {
    /// On disk: removes staged files below a folder (whole path parts, not the root) that were written before
    /// `before_ms`, and every empty folder, itself included. Returns how many files, and their bytes. Elsewhere nothing:
    /// on S3 the parts of an unfinished upload are the business of a lifecycle rule. Only pruning calls this.
    ///
    /// # Errors
    /// Whatever the system says.
    pub async fn tidy(&self, folder: &str, before_ms: i64) -> Result<(u64, u64), StoreError> {
        let at = self.parse(folder)?;
        let Some(root) = self.local_path(at.as_ref()).filter(|_| !folder.is_empty()) else { return Ok((0, 0)) };
        let before = UNIX_EPOCH + Duration::from_millis(u64::try_from(before_ms).unwrap_or_default());
        let tidied = tokio::task::spawn_blocking(move || {
            let mut freed = (0, 0);
            if root.is_symlink() {
                return Err(symlink(&root));
            }
            tidy_folder(&root, before, &mut freed).map(|_| freed)
        });
        let tidied = tidied.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        tidied.map_err(|error| StoreError::from_io(error, Operation::Delete, self.place(), folder))
    }
}

/// True when the folder is gone.
fn tidy_folder(folder: &Path, before: SystemTime, freed: &mut (u64, u64)) -> io::Result<bool> {
    let entries = match read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        entries => entries?,
    };
    let mut empty = true;
    for entry in entries {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            empty &= tidy_folder(&entry.path(), before, freed)?;
        } else if is_staged(&entry.file_name().to_string_lossy()) && meta.modified()? < before {
            remove_file(entry.path())?;
            *freed = (freed.0 + 1, freed.1 + meta.len());
        } else {
            empty = false;
        }
    }
    if empty {
        remove_dir(folder)?;
    }
    Ok(empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[tokio::test]
    async fn staged_files_and_empty_folders_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a/x/1.parquet#1", "a/x/2.parquet", "b/y/z/3.parquet#12", "b/4.parquet#new", "c/d/5#7"] {
            std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            std::fs::write(path(name), "12345").unwrap();
        }
        let store = Store::open(&folder.path().to_str().unwrap().parse().unwrap(), &StoreOptions::default()).unwrap();
        assert_eq!(store.tidy("a", 1000).await.unwrap(), (0, 0), "too young");
        assert!(path("a/x/1.parquet#1").exists());
        for (name, count) in [("a", 1), ("b", 1), ("c", 1), ("absent", 0)] {
            assert_eq!(store.tidy(name, i64::MAX / 2).await.unwrap(), (count, 5 * count), "{name}");
        }
        assert!(path("a/x/2.parquet").exists() && path("b/4.parquet#new").exists());
        assert!(!path("b/y").exists() && !path("c").exists());
        assert_eq!(Store::in_memory().tidy("a", i64::MAX).await.unwrap(), (0, 0));
    }
}

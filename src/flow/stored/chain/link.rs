//! From a backup to its parents, and what makes them a chain.

use std::collections::HashSet;

use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::flow::stored::backup_files::{BackupContents, read_catalogue, require_files};
use crate::manifest::{BackupKind, Manifest, Repository, RepositoryError};
use crate::store::Store;

use super::Chain;

impl Chain {
    /// The chain that ends with this backup. All members are there, with all files that their catalogues name, each the
    /// one that its child was made of, of the same repository, cluster and layout.
    ///
    /// # Errors
    /// [`FlowError::Damaged`] names the link that is missing or is none; the store's.
    pub fn open(threads: &Threads, store: &Store, tip: Manifest) -> Result<Self, FlowError> {
        let repository = threads.wait(Repository::open(store.clone()))?;
        let mut manifests = vec![tip];
        let mut seen: HashSet<String> = HashSet::new();
        while let Some(child) = manifests.last() {
            let broken = |why: String| {
                FlowError::damaged(format!("the chain of backup {} is broken: {why}", manifests[0].backup))
            };
            if !seen.insert(child.backup.clone()) {
                return Err(broken(format!("backup {} is its own ancestor", child.backup)));
            }
            if child.repository != repository.id() {
                return Err(broken(format!(
                    "backup {} belongs to another repository ({})",
                    child.backup, child.repository
                )));
            }
            let Some(increment) = &child.increment else {
                if child.kind == BackupKind::Full {
                    break;
                }
                return Err(broken(format!(
                    "backup {} is of kind {} and says no parent",
                    child.backup,
                    child.kind.name()
                )));
            };
            let Some(id) = &child.parent else {
                return Err(broken(format!("backup {} says no parent", child.backup)));
            };
            let parent = match threads.wait(repository.manifest(id)) {
                Ok(parent) => parent,
                Err(RepositoryError::Store(error)) if !error.is_not_found() => return Err(error.into()),
                Err(error) => {
                    return Err(broken(format!(
                        "its member {id}, the parent of {}, cannot be read: {error}",
                        child.backup
                    )));
                }
            };
            if parent.self_blake3 != increment.parent_blake3 {
                return Err(broken(format!("{id} is not the backup that {} was made of", child.backup)));
            }
            if let Some(why) = mismatch(&parent, child) {
                return Err(broken(format!("{id} and {}: {why}", child.backup)));
            }
            manifests.push(parent);
        }
        let mut members = Vec::new();
        for manifest in manifests.into_iter().rev() {
            let contents: BackupContents = read_catalogue(threads, store, manifest)?;
            require_files(threads, store, &contents, &[])?;
            members.push(contents);
        }
        Ok(Self { members })
    }
}

/// Why a backup can be no increment of another.
fn mismatch(parent: &Manifest, child: &Manifest) -> Option<String> {
    if parent.server.cluster_id != child.server.cluster_id {
        return Some("they are of different clusters".to_owned());
    }
    if parent.layout != child.layout {
        return Some(format!("one has {}, the other {}", parent.layout, child.layout));
    }
    (parent.started_ms > child.started_ms).then(|| "the parent is the younger one".to_owned())
}

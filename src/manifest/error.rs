//! What can go wrong with a repository.

use crate::model::Retry;
use crate::store::StoreError;

/// What kind of end an error is; the command line turns it into its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryErrorKind {
    /// No repository there, or not one that this program can read.
    NotOurs,
    /// Access denied.
    Denied,
    /// Another try later may succeed.
    Temporary,
    /// The caller asked for something that is not there.
    NoBackup,
    /// Everything else.
    Failed,
}

/// A repository cannot be used, or a call on it failed. `place` is its root as the user wrote it.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// Nothing there, or something else.
    #[error("{place} is not a tsdb-ark repository: {reason}")]
    NotARepository {
        /// Root.
        place: String,
        /// What was found.
        reason: String,
    },
    /// Written by a later version.
    #[error("{path} has format {found}, this version reads up to {known}; use a newer tsdb-ark")]
    NewerFormat {
        /// Path of the file.
        path: String,
        /// Its format.
        found: u64,
        /// The newest one known here.
        known: u32,
    },
    /// Written by an earlier version.
    #[error(
        "{path} has format {found}, this version reads format {known} alone; restore it with the tsdb-ark that wrote it \
         (tool_version in that file), or begin a new repository in another place"
    )]
    OlderFormat {
        /// Path of the file.
        path: String,
        /// Its format.
        found: u64,
        /// The one known here.
        known: u32,
    },
    /// A backup of a sort that this version does not know.
    #[error("{path} is a backup of kind {kind}, which this version does not know; use a newer tsdb-ark")]
    UnknownKind {
        /// Path of the manifest.
        path: String,
        /// Its kind.
        kind: String,
    },
    /// The content does not have the hash that it carries.
    #[error(
        "{path} was changed after it was written (its own hash does not match): do not trust it; restore the file from a copy"
    )]
    Edited {
        /// Path of the file.
        path: String,
    },
    /// Not the JSON that the format prescribes.
    #[error("{path} cannot be read: {reason}")]
    Damaged {
        /// Path of the file.
        path: String,
        /// Why.
        reason: String,
    },
    /// No backup has this id.
    #[error("{place} has no backup {wanted}; `list` shows what is there")]
    NoBackup {
        /// Root.
        place: String,
        /// What was asked for.
        wanted: String,
    },
    /// A backup was begun that has no manifest.
    #[error(
        "{path} is missing: the backup was not finished, is still running, or has lost this file; without it there is no \
         backup"
    )]
    NotCommitted {
        /// Path of the manifest.
        path: String,
    },
    /// Several backups begin so.
    #[error("{wanted} is the beginning of {count} backups; give more of the id")]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// How many begin so.
        count: usize,
    },
    /// Another process committed this backup.
    #[error("backup {backup} is already committed; nothing was changed")]
    AlreadyCommitted {
        /// Id.
        backup: String,
    },
    /// The store ignores the condition of a create-only put.
    #[error(
        "{place} overwrites files although it is asked to create them only (it ignores If-None-Match): two backups could destroy each other; use a store that honours it, or back up with --weak-commit if nothing else writes there"
    )]
    NotCreateOnly {
        /// Root.
        place: String,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value that cannot become JSON.
    #[error("cannot write {path}: {reason}")]
    Encode {
        /// Path of the file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl RepositoryError {
    /// Whether the same call can succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            _ => Retry::Permanent,
        }
    }

    /// True when one backup is missing or cannot be used, and the repository is not to blame.
    pub fn is_of_the_backup(&self) -> bool {
        match self {
            Self::Store(error) => error.is_not_found(),
            Self::NotARepository { .. } | Self::NewerFormat { .. } | Self::OlderFormat { .. } => false,
            _ => self.retry() == Retry::Permanent,
        }
    }

    /// What kind of end this is.
    pub fn kind(&self) -> RepositoryErrorKind {
        match self {
            Self::NotARepository { .. }
            | Self::NewerFormat { .. }
            | Self::OlderFormat { .. }
            | Self::UnknownKind { .. } => RepositoryErrorKind::NotOurs,
            Self::NoBackup { .. } | Self::Ambiguous { .. } => RepositoryErrorKind::NoBackup,
            Self::Store(error) if error.is_denied() => RepositoryErrorKind::Denied,
            Self::Store(StoreError::NotFound { path, .. }) if path.is_empty() => RepositoryErrorKind::NotOurs,
            Self::Store(StoreError::Settings { .. }) => RepositoryErrorKind::NotOurs,
            _ if self.retry() != Retry::Permanent => RepositoryErrorKind::Temporary,
            _ => RepositoryErrorKind::Failed,
        }
    }
}

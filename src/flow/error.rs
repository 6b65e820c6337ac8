//! What a run ends with when it does not end well.

use std::any::Any;

use crate::cluster::ClusterError;
use crate::manifest::{RepositoryError, RepositoryErrorKind};
use crate::model::Retry;
use crate::parquet_file::FileError;
use crate::put::PutError;
use crate::scan::ScanError;
use crate::store::StoreError;

/// An error of a whole command, with the sentence for the operator and the exit code.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The request cannot be carried out as it was given.
    #[error("{0}")]
    Input(String),
    /// The command refuses, to protect data; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// Somebody else is at work in the repository; the text says who, and what to do.
    #[error("{0}")]
    Locked(String),
    /// The lock of the repository could not be kept; the text says why.
    #[error("{0}")]
    LockLost(String),
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// What was written or read does not add up.
    #[error("{0}")]
    Damaged(String),
    /// A thread panicked; the text is what it said.
    #[error("a worker thread panicked: {0}; this is a defect, please report it")]
    Panicked(String),
    /// The gateway.
    #[error(transparent)]
    Cluster(ClusterError),
    /// A scan.
    #[error(transparent)]
    Scan(ScanError),
    /// A put.
    #[error(transparent)]
    Put(PutError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A Parquet file.
    #[error(transparent)]
    Parquet(#[from] FileError),
    /// The system.
    #[error("{0}: {1}")]
    System(String, #[source] std::io::Error),
    /// A command that is unfinished: a backup or restore that can be resumed, an export that must be begun again.
    #[error("{source}; {advice}")]
    Unfinished {
        /// What there is, and how to resume it.
        advice: String,
        /// What stopped it.
        source: Box<FlowError>,
    },
    /// An error with the place where it happened.
    #[error("{place}: {source}")]
    At {
        /// Table, shard or file.
        place: String,
        /// The error.
        source: Box<FlowError>,
    },
}

impl From<ClusterError> for FlowError {
    fn from(error: ClusterError) -> Self {
        if error.is_interrupted() { Self::Interrupted } else { Self::Cluster(error) }
    }
}

impl From<ScanError> for FlowError {
    fn from(error: ScanError) -> Self {
        if error.is_interrupted() { Self::Interrupted } else { Self::Scan(error) }
    }
}

impl From<PutError> for FlowError {
    fn from(error: PutError) -> Self {
        if error.is_interrupted() { Self::Interrupted } else { Self::Put(error) }
    }
}

impl From<std::io::Error> for FlowError {
    fn from(error: std::io::Error) -> Self {
        Self::System("the system refuses".into(), error)
    }
}

impl FlowError {
    /// [`FlowError::Input`].
    pub fn input(text: impl Into<String>) -> Self {
        Self::Input(text.into())
    }

    /// [`FlowError::Refused`].
    pub fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }

    /// [`FlowError::Damaged`].
    pub fn damaged(text: impl Into<String>) -> Self {
        Self::Damaged(text.into())
    }

    /// [`FlowError::Panicked`], from what a thread panicked with.
    pub fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panicked(text.unwrap_or_else(|| "it does not say why".into()))
    }

    /// [`FlowError::Unfinished`].
    pub fn unfinished(advice: String, source: Self) -> Self {
        Self::Unfinished { advice, source: Box::new(source) }
    }

    /// The same error with the place where it happened in front.
    pub fn at(self, place: impl Into<String>) -> Self {
        match self {
            Self::Interrupted => self,
            source => Self::At { place: place.into(), source: Box::new(source) },
        }
    }

    /// The exit code: 1 failed, 2 usage, 10 repository absent or not ours, 11 locked, 12 access denied, 75 try again,
    /// 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        let by_retry = |retry: Retry| match retry {
            Retry::Permanent => 1,
            Retry::Transient | Retry::Throttled => 75,
        };
        match self {
            Self::Input(_) => 2,
            Self::Refused(_) | Self::Damaged(_) | Self::Panicked(_) | Self::System(..) | Self::Parquet(_) => 1,
            Self::Locked(_) => 11,
            Self::LockLost(_) => 75,
            Self::Interrupted => 130,
            Self::Cluster(error) | Self::Scan(ScanError::Cluster(error)) | Self::Put(PutError::Cluster(error)) => {
                cluster_code(error).unwrap_or_else(|| by_retry(error.retry()))
            }
            Self::Scan(error) => by_retry(error.retry()),
            Self::Put(error) => by_retry(error.retry()),
            Self::Store(error) => store_code(error).unwrap_or_else(|| by_retry(error.retry())),
            Self::Repository(error) => repository_code(error).unwrap_or_else(|| by_retry(error.retry())),
            Self::At { source, .. } | Self::Unfinished { source, .. } => source.exit_code(),
        }
    }
}

/// Where the exit code does not follow from whether the call may be repeated at once.
fn cluster_code(error: &ClusterError) -> Option<u8> {
    match error.cause() {
        ClusterError::AccessDenied { .. } => Some(12),
        error if error.is_wrong_protocol() => Some(2),
        // One odd answer may pass, which is why it was asked again; what stays is a wrong address.
        ClusterError::NotThrift { .. } => Some(2),
        _ => None,
    }
}

fn store_code(error: &StoreError) -> Option<u8> {
    match error {
        error if error.is_denied() => Some(12),
        StoreError::Settings { .. } => Some(10),
        // The root; a file that is missing below it is damage.
        StoreError::NotFound { path, .. } if path.is_empty() => Some(10),
        _ => None,
    }
}

fn repository_code(error: &RepositoryError) -> Option<u8> {
    match error.kind() {
        RepositoryErrorKind::NotOurs => Some(10),
        RepositoryErrorKind::Denied => Some(12),
        RepositoryErrorKind::NoBackup => Some(2),
        RepositoryErrorKind::Temporary => Some(75),
        RepositoryErrorKind::Failed => None,
    }
}

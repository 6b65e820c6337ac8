//! What can go wrong with a store.

use std::error::Error;
use std::io::{self, ErrorKind};

use crate::model::Retry;

/// What a call was doing, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Open,
    Create,
    Read,
    List,
    Delete,
}

impl Operation {
    fn words(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// A store refused or failed. `place` is the root as the user wrote it, `path` is relative to it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL, a path or the settings make no sense.
    #[error("cannot use {place} as a repository: {reason}")]
    Settings {
        /// Root.
        place: String,
        /// Why.
        reason: String,
    },
    /// No such file, directory or bucket.
    #[error(
        "{} does not exist; check the repository's URL, and on S3 the bucket and AWS_ENDPOINT_URL",
        at(place, path)
    )]
    NotFound {
        /// Root.
        place: String,
        /// Path; empty for the root.
        path: String,
    },
    /// A create-only put met an existing file.
    #[error("{} already exists and is never overwritten", at(place, path))]
    AlreadyExists {
        /// Root.
        place: String,
        /// Path.
        path: String,
    },
    /// Access denied, a read-only file system, or wrong keys.
    #[error(
        "no permission to {operation} {}; check the owner and mode of the directory, or the S3 keys and bucket policy: {source}",
        at(place, path)
    )]
    PermissionDenied {
        /// What was tried.
        operation: &'static str,
        /// Root.
        place: String,
        /// Path.
        path: String,
        /// The answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No space, or the quota is used up.
    #[error("no space left to create {}; free some space or prune old backups, then resume: {source}", at(place, path))]
    DiskFull {
        /// Root.
        place: String,
        /// Path.
        path: String,
        /// The answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Not reached, or an error on the server's side, after all tries.
    #[error("cannot {operation} {} right now; try again later: {source}", at(place, path))]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Root.
        place: String,
        /// Path.
        path: String,
        /// The answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store asks for fewer requests, after all tries.
    #[error(
        "{place} is overloaded and refuses to {operation} {path}; try again later with fewer uploads at a time: {source}"
    )]
    Throttled {
        /// What was tried.
        operation: &'static str,
        /// Root.
        place: String,
        /// Path.
        path: String,
        /// The answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Anything else; the same call fails again.
    #[error("cannot {operation} {}: {source}", at(place, path))]
    Other {
        /// What was tried.
        operation: &'static str,
        /// Root.
        place: String,
        /// Path.
        path: String,
        /// The answer.
        source: Box<dyn Error + Send + Sync>,
    },
}

fn at(place: &str, path: &str) -> String {
    if path.is_empty() { place.to_owned() } else { format!("{}/{path}", place.trim_end_matches('/')) }
}

impl StoreError {
    /// Whether the same call can succeed later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unavailable { .. } => Retry::Transient,
            Self::Throttled { .. } => Retry::Throttled,
            _ => Retry::Permanent,
        }
    }

    /// True for [`NotFound`](Self::NotFound).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// True for [`AlreadyExists`](Self::AlreadyExists).
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::AlreadyExists { .. })
    }

    /// A file whose writer went away.
    pub fn given_up(path: &str, what: &str) -> Self {
        Self::of_class(Class::Other, what.into(), Operation::Create, "the repository", path)
    }

    /// A file whose write failed before is finished all the same.
    pub(super) fn unfinished(place: &str, path: &str) -> Self {
        let source = "an earlier part of the file was not stored".into();
        Self::of_class(Class::Other, source, Operation::Create, place, path)
    }

    pub(super) fn from_io(error: io::Error, operation: Operation, place: &str, path: &str) -> Self {
        let class = Class::of_io(&error);
        Self::of_class(class, error.into(), operation, place, path)
    }

    pub(super) fn from_object_store(error: object_store::Error, operation: Operation, place: &str, path: &str) -> Self {
        let class = Class::of_object_store(&error);
        Self::of_class(class, error.into(), operation, place, path)
    }

    fn of_class(
        class: Class,
        source: Box<dyn Error + Send + Sync>,
        operation: Operation,
        place: &str,
        path: &str,
    ) -> Self {
        let (operation, place, path) = (operation.words(), place.to_owned(), path.to_owned());
        match class {
            Class::NotFound => Self::NotFound { place, path },
            Class::AlreadyExists => Self::AlreadyExists { place, path },
            Class::Denied => Self::PermissionDenied { operation, place, path, source },
            Class::Full => Self::DiskFull { place, path, source },
            Class::Unavailable => Self::Unavailable { operation, place, path, source },
            Class::Throttled => Self::Throttled { operation, place, path, source },
            Class::Other => Self::Other { operation, place, path, source },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    NotFound,
    AlreadyExists,
    Denied,
    Full,
    Unavailable,
    Throttled,
    Other,
}

impl Class {
    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::AlreadyExists => Self::AlreadyExists,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::Denied,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full,
            ErrorKind::TimedOut | ErrorKind::StaleNetworkFileHandle | ErrorKind::HostUnreachable => Self::Unavailable,
            _ => Self::Other,
        }
    }

    fn of_object_store(error: &object_store::Error) -> Self {
        use object_store::Error as E;
        match error {
            E::NotFound { .. } => Self::NotFound,
            E::AlreadyExists { .. } | E::Precondition { .. } => Self::AlreadyExists,
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Self::Denied,
            E::Generic { store: "S3", source } => Self::of_s3(source.as_ref()),
            E::Generic { source, .. } => io_cause(source.as_ref()).map_or(Self::Other, Self::of_io),
            _ => Self::Other,
        }
    }

    /// S3 errors outside the named ones: the library keeps the status private, but its text always holds it.
    fn of_s3(error: &(dyn Error + 'static)) -> Self {
        let text = chain_text(error);
        let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if any(&["SlowDown", "503 Service Unavailable", "429 Too Many Requests"]) {
            Self::Throttled
        } else if any(&["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"]) {
            Self::Denied
        } else if any(&["507 Insufficient Storage", "QuotaExceeded", "XMinioStorageFull"]) {
            Self::Full
        } else if any(&["status code: 4", "Received redirect"]) {
            Self::Other
        } else {
            Self::Unavailable
        }
    }
}

fn chain_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

fn io_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(kind: ErrorKind) -> StoreError {
        StoreError::from_io(kind.into(), Operation::Create, "/backup", "a/b")
    }

    fn s3(text: &str) -> StoreError {
        let error = object_store::Error::Generic { store: "S3", source: text.into() };
        StoreError::from_object_store(error, Operation::Read, "s3://b", "a/b")
    }

    #[test]
    fn io_errors_are_told_apart() {
        assert!(matches!(io(ErrorKind::StorageFull), StoreError::DiskFull { .. }));
        assert!(matches!(io(ErrorKind::QuotaExceeded), StoreError::DiskFull { .. }));
        assert!(matches!(io(ErrorKind::ReadOnlyFilesystem), StoreError::PermissionDenied { .. }));
        assert!(matches!(io(ErrorKind::PermissionDenied), StoreError::PermissionDenied { .. }));
        assert!(io(ErrorKind::NotFound).is_not_found());
        assert_eq!(io(ErrorKind::InvalidData).retry(), Retry::Permanent);
    }

    #[test]
    fn an_io_error_is_found_inside() {
        let inside = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(io::Error::from(ErrorKind::StorageFull)),
        };
        let error = StoreError::from_object_store(inside, Operation::Create, "/backup", "a");
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    }

    #[test]
    fn s3_errors_say_whether_to_try_again() {
        assert_eq!(s3("Server returned non-2xx status code: 503 Service Unavailable: ").retry(), Retry::Throttled);
        assert_eq!(s3("Server returned non-2xx status code: 500 Internal Server Error: ").retry(), Retry::Transient);
        assert_eq!(s3("Server returned non-2xx status code: 400 Bad Request: ").retry(), Retry::Permanent);
        assert_eq!(s3("HTTP error: error sending request").retry(), Retry::Transient);
        assert!(matches!(s3("status code: 403 Forbidden: SignatureDoesNotMatch"), StoreError::PermissionDenied { .. }));
    }

    #[test]
    fn messages_name_the_path() {
        let message = io(ErrorKind::StorageFull).to_string();
        assert!(message.contains("/backup/a/b") && message.contains("prune"), "{message}");
    }
}

//! What can go wrong with a store.

use std::error::Error;
use std::io::{self, ErrorKind};

use super::tap::with_true_status;
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
    #[error("{}", absent(place, path))]
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
    /// There are no S3 credentials, or they have expired.
    #[error("{what}, so it cannot {operation} {}: {source}", at(place, path))]
    Credentials {
        /// What is the matter with them and what to do.
        what: &'static str,
        /// What was tried.
        operation: &'static str,
        /// Root.
        place: String,
        /// Path.
        path: String,
        /// The answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Access denied, a read-only file system, or wrong keys.
    #[error(
        "no permission to {operation} {}; {}: {source}",
        at(place, path),
        permission_advice(place, source.as_ref())
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
    #[error(
        "no space left to create {}; free some space, then run the command again (--resume keeps what a backup or merge has done): {source}",
        at(place, path)
    )]
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
    /// The store does not know the condition of a create-only put; without it the same put succeeds.
    #[error(
        "{place} has no create-only put (it refuses `If-None-Match: *`), by which backups are committed; if nothing else \
         writes there, --weak-commit backs up without: {source}"
    )]
    NoConditionalPut {
        /// Root.
        place: String,
        /// The answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The object is in a storage class that cannot be read at once.
    #[error(
        "{} is archived: restore the objects first (S3 RestoreObject; `show --files` lists all of a backup): {source}",
        at(place, path)
    )]
    Archived {
        /// Root.
        place: String,
        /// Path.
        path: String,
        /// The answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The object is under Object Lock.
    #[error("{} is locked against deletion (Object Lock retention or legal hold): {source}", at(place, path))]
    Retained {
        /// Root.
        place: String,
        /// Path.
        path: String,
        /// The answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// This machine's clock is too far from the store's for a signature to count.
    #[error(
        "the clock of this machine is too far from that of {place}, which refuses the signature: set the clock (NTP) and \
         try again: {source}"
    )]
    Clock {
        /// Root.
        place: String,
        /// The answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file is larger than it can be, and was not read.
    #[error("{} has {size} bytes, but at most {limit} are expected; it was not read", at(place, path))]
    TooLarge {
        /// Root.
        place: String,
        /// Path.
        path: String,
        /// Bytes of the file.
        size: u64,
        /// Bytes that it may have.
        limit: u64,
    },
    /// A path leads through a symbolic link, which is never followed inside a repository.
    #[error("cannot {operation} {}: {source}", at(place, path))]
    Symlink {
        /// What was tried.
        operation: &'static str,
        /// Root.
        place: String,
        /// Path.
        path: String,
        /// Which part is the link.
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

fn absent(place: &str, path: &str) -> String {
    match path {
        "" => format!(
            "{place} does not exist; check the repository's URL, and on S3 the bucket and the endpoint (--s3-endpoint, \
             AWS_ENDPOINT_URL)"
        ),
        path => format!("{} is missing", at(place, path)),
    }
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

    /// True when the store does not let us in: [`PermissionDenied`](Self::PermissionDenied) and
    /// [`Credentials`](Self::Credentials).
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::PermissionDenied { .. } | Self::Credentials { .. })
    }

    /// True for [`NotFound`](Self::NotFound).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// True for [`AlreadyExists`](Self::AlreadyExists).
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::AlreadyExists { .. })
    }

    /// True for [`Archived`](Self::Archived).
    pub fn is_archived(&self) -> bool {
        matches!(self, Self::Archived { .. })
    }

    /// True for [`Retained`](Self::Retained).
    pub fn is_retained(&self) -> bool {
        matches!(self, Self::Retained { .. })
    }

    /// True when the same put without a condition may succeed: the store has refused the request as such.
    pub(super) fn may_be_the_condition(&self) -> bool {
        matches!(self, Self::Other { .. })
    }

    /// The same, known to be about the condition.
    pub(super) fn about_the_condition(self) -> Self {
        match self {
            Self::Other { place, source, .. } => Self::NoConditionalPut { place, source },
            other => other,
        }
    }

    /// A path that no file of a repository has.
    pub(super) fn bad_path(place: &str, path: &str, reason: String) -> Self {
        let source = format!("no path inside a repository: {reason}").into();
        Self::of_class(Class::Other, source, Operation::Read, place, path)
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
        let (class, answer) = (Class::of_object_store(&error), answer(&error));
        // Without its bucket the whole repository is missing, whichever file was asked for.
        let path = if class == Class::NoBucket { "" } else { path };
        let source = match (answer, error) {
            (Some(answer), _) => answer.into(),
            (None, object_store::Error::Generic { store: "LocalFileSystem", source }) => source,
            (None, error) => error.into(),
        };
        Self::of_class(class, source, operation, place, path)
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
            Class::NotFound | Class::NoBucket => Self::NotFound { place, path },
            Class::AlreadyExists => Self::AlreadyExists { place, path },
            Class::Denied => Self::PermissionDenied { operation, place, path, source },
            Class::Expired => Self::Credentials { what: EXPIRED, operation, place, path, source },
            Class::NoCredentials => Self::Credentials { what: NO_CREDENTIALS, operation, place, path, source },
            Class::Full => Self::DiskFull { place, path, source },
            Class::Archived => Self::Archived { place, path, source },
            Class::Retained => Self::Retained { place, path, source },
            Class::Clock => Self::Clock { place, source },
            Class::Symlink => Self::Symlink { operation, place, path, source },
            Class::Unavailable => Self::Unavailable { operation, place, path, source },
            Class::Throttled => Self::Throttled { operation, place, path, source },
            Class::Other => Self::Other { operation, place, path, source },
        }
    }
}

const EXPIRED: &str = "the S3 credentials have expired: get new ones and run the command again (an interrupted backup \
                       continues with --resume). The store refused them";
const NO_CREDENTIALS: &str = "there are no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a \
                              profile of ~/.aws with --s3-profile or AWS_PROFILE, or give the machine a role. The \
                              program asked the machine for a role and got none";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    NotFound,
    NoBucket,
    AlreadyExists,
    Denied,
    Expired,
    NoCredentials,
    Full,
    Archived,
    Retained,
    Clock,
    Symlink,
    Unavailable,
    Throttled,
    Other,
}

/// What to look at when a store denies access.
fn permission_advice(place: &str, source: &(dyn Error + Send + Sync + 'static)) -> &'static str {
    let mut cause: Option<&(dyn Error + 'static)> = Some(source);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == ErrorKind::ReadOnlyFilesystem) {
            return "the file system is mounted read-only";
        }
        cause = error.source();
    }
    if place.starts_with("s3") {
        "check the S3 keys and the bucket policy"
    } else {
        "check the owner and mode of the directory"
    }
}

impl Class {
    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            _ if error.get_ref().is_some_and(|inner| inner.is::<super::local::Symlink>()) => Self::Symlink,
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
            E::NotFound { source, .. } => match chain_text(source.as_ref()) {
                text if text.contains("NoSuchBucket") => Self::NoBucket,
                // versitygw says so with a 404.
                text if UNKNOWN_KEY.iter().any(|code| text.contains(code)) => Self::Denied,
                _ => Self::NotFound,
            },
            E::AlreadyExists { .. } | E::Precondition { .. } => Self::AlreadyExists,
            E::PermissionDenied { source, .. } | E::Unauthenticated { source, .. } => {
                Self::not_denied(&chain_text(source.as_ref())).unwrap_or(Self::Denied)
            }
            E::Generic { store: "S3", source } => Self::of_s3(source.as_ref()),
            E::Generic { source, .. } => io_cause(source.as_ref()).map_or(Self::Other, Self::of_io),
            _ => Self::Other,
        }
    }

    /// What a refusal (400, 403, 507) is about that is none of permissions.
    fn not_denied(text: &str) -> Option<Self> {
        let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if any(EXPIRED_CODES) {
            Some(Self::Expired)
        } else if any(&["RequestTimeTooSkewed", "RequestInTheFuture"]) {
            Some(Self::Clock)
        } else if any(&[
            "507 Insufficient Storage",
            "QuotaExceeded",
            "XMinioStorageFull",
            "XMinioAdminBucketQuotaExceeded",
        ]) {
            Some(Self::Full)
        } else if any(&["InvalidObjectState"]) {
            Some(Self::Archived)
        } else if any(RETAINED) {
            Some(Self::Retained)
        } else {
            None
        }
    }

    /// S3 errors outside the named ones: the library keeps the status private, but its text always holds it.
    fn of_s3(error: &(dyn Error + 'static)) -> Self {
        let text = chain_text(error);
        let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if any(&["SlowDown", "503 Service Unavailable", "429 Too Many Requests"]) {
            Self::Throttled
        } else if any(&["NoSuchBucket"]) {
            Self::NoBucket
        } else if let Some(class) = Self::not_denied(&text) {
            class
        } else if any(ROLE_REQUESTS) {
            Self::NoCredentials
        } else if any(UNKNOWN_KEY) || any(&["SignatureDoesNotMatch", "InvalidToken"]) {
            Self::Denied
        } else if any(&["status code: 4", "status code: 501", "Received redirect"]) {
            Self::Other
        } else {
            Self::Unavailable
        }
    }
}

/// Codes of answers to keys that were good once. `RequestExpired` also comes when a signature is too old.
const EXPIRED_CODES: &[&str] = &["ExpiredToken", "TokenRefreshRequired", "RequestExpired"];
/// What servers say of an object under retention or legal hold: AWS, MinIO, versitygw, Ceph.
const RETAINED: &[&str] = &[
    "object protected by object lock",
    "ObjectLocked",
    "WORM protected",
    "is protected by object lock",
    "forbidden by object lock",
];
/// Codes of answers to an access key that nobody has.
const UNKNOWN_KEY: &[&str] = &["InvalidAccessKeyId", "XAdminUserNotFound"];
/// Where the library asks for the keys of a role: the metadata service of a machine, a container or a pod.
const ROLE_REQUESTS: &[&str] = &["/latest/api/token", "/latest/meta-data/", "169.254.170."];

/// An error with its causes, and the status that the server sent.
fn chain_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    with_true_status(text)
}

/// What an S3 server said, in short: the status, and code and message of its XML. The whole answer must not be shown: to
/// a wrong signature it repeats the headers that were signed, a session token and an encryption key among them.
fn answer(error: &object_store::Error) -> Option<String> {
    let text = chain_text(error);
    let Some((head, body)) = text.split_once("<?xml").or_else(|| text.split_once("<Error")) else {
        let final_status =
            ["501 Not Implemented", "507 Insufficient Storage"].into_iter().find(|s| text.contains(s))?;
        return Some(final_status.to_owned());
    };
    let field = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once('<')?.0.trim().to_owned())
    };
    let status = head.rsplit("status code: ").next().unwrap_or_default();
    let status = status.trim().trim_end_matches(':').chars().take(60).collect::<String>();
    let parts = [Some(status), field("Code"), field("Message")];
    let known: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    let tried = head.split_once(", after ").and_then(|(_, rest)| rest.split_once(" retries"));
    let tries = tried.map(|(count, _)| format!(" (after {count} retries)")).unwrap_or_default();
    Some(known.join(", ") + &tries)
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
    fn an_answer_is_cut_to_what_may_be_shown() {
        let body = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?><Error>\
                    <Code>SignatureDoesNotMatch</Code><Message>The signature does not match</Message>\
                    <CanonicalRequest>x-amz-security-token:SECRET</CanonicalRequest></Error>";
        let error = s3(body);
        assert!(error.is_denied());
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("403 Forbidden, SignatureDoesNotMatch, The signature does not match"), "{shown}");
        assert!(!shown.contains("SECRET"), "{shown}");
    }

    #[test]
    fn credentials_that_expired_or_are_missing_say_what_to_do() {
        let expired = s3("status code: 400 Bad Request: <Error><Code>ExpiredToken</Code></Error>");
        let message = expired.to_string();
        assert!(message.contains("credentials have expired") && message.contains("--resume"), "{message}");
        let none = s3("Error performing PUT http://169.254.169.254/latest/api/token in 3s: error sending request");
        let message = none.to_string();
        assert!(message.contains("AWS_ACCESS_KEY_ID") && message.contains("--s3-profile"), "{message}");
        assert!(expired.is_denied() && none.is_denied() && none.retry() == Retry::Permanent);
    }

    #[test]
    fn a_missing_bucket_is_the_root_that_is_missing() {
        let source = "status code: 404 Not Found: <Error><Code>NoSuchBucket</Code></Error>".into();
        let error = object_store::Error::NotFound { path: "a".into(), source };
        let error = StoreError::from_object_store(error, Operation::Read, "s3://b", "a");
        assert!(matches!(&error, StoreError::NotFound { path, .. } if path.is_empty()), "{error}");
    }

    #[test]
    fn messages_name_the_path() {
        let message = io(ErrorKind::StorageFull).to_string();
        assert!(message.contains("/backup/a/b") && message.contains("free some space"), "{message}");
        let message = io(ErrorKind::ReadOnlyFilesystem).to_string();
        assert!(message.contains("mounted read-only") && !message.contains("S3"), "{message}");
    }
}

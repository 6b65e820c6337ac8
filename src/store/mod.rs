//! Bytes on disk or S3: the only door to `object_store`.
//!
//! A [`Store`] holds write-once files below one root. Four properties carry the rest of the program:
//!
//! - [`Store::put_new`] creates a file or refuses; of any number of racing creators exactly one wins. A server that has no
//!   such put is used [`without_conditions`](Store::without_conditions), or not at all.
//! - A [`FileSink`] streams a large file; until [`FileSink::finish`] returns, no reader sees it.
//! - Everything that was acknowledged is durable: local files and their directories are synced.
//! - Errors say whether trying again can help ([`StoreError::retry`]) and name the path.
//!
//! Paths are relative to the root, `/` between the parts, as in `backups/x/manifest.json`. All calls are async and need
//! a tokio runtime. Requests to S3 are retried inside ([`StoreOptions::retry_for`]), answers that break off included, so an
//! error that arrives here has outlived that.

mod error;
mod local;
mod observed;
mod options;
mod profile;
mod put;
mod s3;
mod sink;
mod tap;
mod tidy;
mod url;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Attributes, ObjectStore, ObjectStoreExt};

use crate::model::Retry;

pub use error::StoreError;
pub use observed::{Observed, Probe, is_probe};
pub use options::{Checksum, Encryption, StoreOptions};
pub use profile::Variables;
pub use sink::{FileSink, StoredFile};
pub use url::RepositoryUrl;

use error::Operation;

/// Between two tries of a request; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The place of a store in memory.
const MEMORY: &str = "memory";

/// A file in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreEntry {
    /// Path below the root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When it was stored, by the store's own clock, ms UTC.
    pub modified_ms: i64,
}

/// Write-once files below one root. Clones are cheap and share connections.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Never asks for a create-only put.
    weak: bool,
}

struct Inner {
    objects: Arc<dyn ObjectStore>,
    place: String,
    /// The root on disk, for local stores.
    root: Option<PathBuf>,
    /// What data files carry; only S3 takes any.
    attributes: Attributes,
    /// How long what did not come to an answer is tried again.
    retry_for: Duration,
    /// The store has refused a put because of its condition.
    refuses_conditions: AtomicBool,
    /// What the file system can do, for local stores.
    facts: Arc<local::Facts>,
    /// What the answers of S3 told.
    seen: Arc<tap::Seen>,
}

/// Not what the client below would say of itself: that has an encryption key among its headers.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Inner {
    fn new(objects: Arc<dyn ObjectStore>, place: String) -> Self {
        Self {
            objects,
            place,
            root: None,
            attributes: Attributes::new(),
            retry_for: Duration::ZERO,
            refuses_conditions: AtomicBool::new(false),
            facts: Arc::default(),
            seen: Arc::default(),
        }
    }
}

impl Store {
    /// Opens what the URL names. Nothing is created and S3 is not contacted.
    ///
    /// S3 takes its settings from the options, then from the variables of the AWS CLI, then from the profile
    /// (`AWS_PROFILE`, else `default`; `~/.aws/config` and `~/.aws/credentials`, or where `AWS_CONFIG_FILE` and
    /// `AWS_SHARED_CREDENTIALS_FILE` say): `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, `AWS_CA_BUNDLE`. Without keys
    /// anywhere it asks for those of a role: web identity, container, instance. An `http://` endpoint needs no further
    /// permission.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a directory that does not exist, [`StoreError::Settings`] for one that is a file
    /// and for S3 settings that do not fit together.
    pub fn open(url: &RepositoryUrl, options: &StoreOptions) -> Result<Self, StoreError> {
        Self::open_with(url, options, &s3::variables())
    }

    /// Like [`open`](Self::open), with these variables in place of the environment's: `HOME` and those of the AWS CLI.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(url: &RepositoryUrl, options: &StoreOptions, variables: &Variables) -> Result<Self, StoreError> {
        match url {
            RepositoryUrl::Local(directory) => Self::open_local(directory.clone(), url.to_string()),
            RepositoryUrl::S3 { bucket, prefix } => {
                let place = url.to_string();
                let s3 = s3::open(bucket, options, variables)
                    .map_err(|reason| StoreError::Settings { place: place.clone(), reason })?;
                Self::below_prefix(s3, prefix, place, options)
            }
        }
    }

    /// Like [`open`](Self::open), and creates a missing local directory.
    ///
    /// # Errors
    /// As [`open`](Self::open), and what stands in the way of creating the directory.
    pub fn open_or_create(url: &RepositoryUrl, options: &StoreOptions) -> Result<Self, StoreError> {
        if let RepositoryUrl::Local(directory) = url {
            Self::refuse_files(directory, &url.to_string())?;
            std::fs::create_dir_all(directory)
                .map_err(|e| StoreError::from_io(e, Operation::Create, &url.to_string(), ""))?;
        }
        Self::open(url, options)
    }

    /// Whether [`open_or_create`](Self::open_or_create) may create a missing local directory, as far as the permissions
    /// of the directory above show. Nothing is created, and S3 is not contacted.
    ///
    /// # Errors
    /// [`StoreError::Settings`] for a path through a file, and what stands in the way of creating the directory.
    pub fn may_create(url: &RepositoryUrl) -> Result<(), StoreError> {
        let RepositoryUrl::Local(directory) = url else { return Ok(()) };
        let place = url.to_string();
        Self::refuse_files(directory, &place)?;
        let Some(above) = directory.ancestors().find(|path| path.exists()) else { return Ok(()) };
        local::may_write(above).map_err(|error| {
            let named = std::io::Error::new(error.kind(), format!("{}: {error}", above.display()));
            StoreError::from_io(named, Operation::Create, &place, "")
        })
    }

    /// A store in memory, gone with its last clone: for tests and dry runs.
    pub fn in_memory() -> Self {
        Self::of(Inner::new(Arc::new(InMemory::new()), MEMORY.to_owned()))
    }

    fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner), weak: false }
    }

    /// The same store without create-only puts: no request carries a condition any more. A put looks first whether the
    /// name is taken, which does not keep racing writers apart. Local directories and memory always keep them apart.
    pub fn without_conditions(self) -> Self {
        Self { weak: !self.has_conditions_of_its_own(), ..self }
    }

    /// True for stores that create files exclusively, whatever a server says.
    pub fn has_conditions_of_its_own(&self) -> bool {
        self.inner.root.is_some() || self.inner.place == MEMORY
    }

    /// The system says "exists" or "not found" of a path that leads through a file, which would send people astray.
    fn refuse_files(directory: &std::path::Path, place: &str) -> Result<(), StoreError> {
        match directory.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir()) {
            None => Ok(()),
            Some(path) => {
                let reason = format!("{} is not a directory", path.display());
                Err(StoreError::Settings { place: place.to_owned(), reason })
            }
        }
    }

    fn open_local(directory: PathBuf, place: String) -> Result<Self, StoreError> {
        Self::refuse_files(&directory, &place)?;
        let files = local::LocalFiles::new(&directory)
            .map_err(|e| StoreError::from_object_store(e, Operation::Open, &place, ""))?;
        let (root, facts) = (Some(directory), files.facts());
        Ok(Self::of(Inner { root, facts, ..Inner::new(Arc::new(files), place) }))
    }

    fn below_prefix(
        (s3, seen): (AmazonS3, Arc<tap::Seen>),
        prefix: &str,
        place: String,
        options: &StoreOptions,
    ) -> Result<Self, StoreError> {
        let objects: Arc<dyn ObjectStore> = match prefix {
            "" => Arc::new(s3),
            prefix => {
                let wrong =
                    |e: object_store::path::Error| StoreError::Settings { place: place.clone(), reason: e.to_string() };
                Arc::new(PrefixStore::new(s3, Path::parse(prefix).map_err(wrong)?))
            }
        };
        let (attributes, retry_for) = (s3::attributes(options), options.retry_for);
        Ok(Self::of(Inner { attributes, retry_for, seen, ..Inner::new(objects, place) }))
    }

    /// The root as the user wrote it, for messages.
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// Where a path lies on disk; `None` on S3 and in memory.
    pub fn local_path(&self, path: &str) -> Option<PathBuf> {
        self.inner.root.as_ref().map(|root| root.join(path))
    }

    /// Starts a file that is written piece by piece. An unfinished one is never visible; the path must be unique to
    /// this attempt, because a large file replaces one of the same name.
    ///
    /// # Errors
    /// A path that the store cannot hold. Nothing is sent before the first part is full.
    pub fn create_file(&self, path: &str) -> Result<FileSink, StoreError> {
        Ok(FileSink::new(self.clone(), path.to_owned(), self.parse(path)?))
    }

    /// Makes a request that may be made twice until there is an answer. The client below does so too, except when the
    /// answer breaks off after its head, and with a create-only put that times out.
    async fn until_answered<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        operation: Operation,
        path: &str,
        request: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        self.until_done(|| async { request().await.map_err(|error| self.failed(error, operation, path)) }).await
    }

    async fn until_done<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        request: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match request().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.retry() == Retry::Permanent || begun.elapsed() >= self.inner.retry_for {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The whole file, however large.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and whatever the store says.
    pub async fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        self.get_at_most(path, u64::MAX).await
    }

    /// The whole file, when it has no more bytes than that: a larger one is not read, whatever lies there.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooLarge`] and whatever the store says.
    pub async fn get_at_most(&self, path: &str, limit: u64) -> Result<Bytes, StoreError> {
        let at = self.parse(path)?;
        let read = || async {
            let failed = |error| self.failed(error, Operation::Read, path);
            let found = self.inner.objects.get(&at).await.map_err(failed)?;
            match found.meta.size {
                size if size > limit => {
                    let (place, path) = (self.inner.place.clone(), path.to_owned());
                    Err(StoreError::TooLarge { place, path, size, limit })
                }
                _ => found.bytes().await.map_err(failed),
            }
        };
        self.until_done(read).await
    }

    /// Some bytes of a file, `range` counted from its beginning.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], a range behind the end of the file, and whatever the store says.
    pub async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let at = self.parse(path)?;
        let read = || self.inner.objects.get_range(&at, range.clone());
        self.until_answered(Operation::Read, path, read).await
    }

    /// Bytes of the file, or `None` when there is no such file.
    ///
    /// # Errors
    /// Whatever the store says, except that the file is missing.
    pub async fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        let at = self.parse(path)?;
        match self.inner.objects.head(&at).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => {
                let error = self.failed(e, Operation::Read, path);
                // The answer to this request has no body, where S3 says why: whether credentials have expired, say.
                if !error.is_denied() {
                    return Err(error);
                }
                match self.inner.objects.get_range(&at, 0..1).await {
                    Err(e) => Err(self.failed(e, Operation::Read, path)),
                    Ok(_) => Err(error),
                }
            }
        }
    }

    /// Every file below a folder (whole path parts; empty: the root), sorted by path.
    ///
    /// # Errors
    /// Whatever the store says; a missing folder is an empty one.
    pub async fn list(&self, folder: &str) -> Result<Vec<StoreEntry>, StoreError> {
        let at = self.parse(folder)?;
        let list = || {
            let found = self.inner.objects.list(Some(&at)).map_ok(|meta| StoreEntry {
                path: meta.location.to_string(),
                size: meta.size,
                modified_ms: meta.last_modified.timestamp_millis(),
            });
            found.try_collect::<Vec<_>>()
        };
        let mut entries = self.until_answered(Operation::List, folder, list).await?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// The path of some file below the root, or of a symbolic link there; `None` when it is empty. Does not list all.
    ///
    /// # Errors
    /// Whatever the store says; a missing folder is an empty one.
    pub async fn first_file(&self) -> Result<Option<String>, StoreError> {
        let first = || async { self.inner.objects.list(None).try_next().await };
        let first = self.until_answered(Operation::List, "", first).await?;
        let link = || self.observed().symlinks.into_iter().next();
        Ok(first.map(|meta| meta.location.to_string()).or_else(link))
    }

    /// Names of the folders directly inside a folder, sorted.
    ///
    /// # Errors
    /// Whatever the store says; a missing folder is an empty one.
    pub async fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let at = self.parse(folder)?;
        let list = || self.inner.objects.list_with_delimiter(Some(&at));
        let listing = self.until_answered(Operation::List, folder, list).await?;
        let mut names: Vec<_> =
            listing.common_prefixes.iter().filter_map(|path| path.filename()).map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// Deletes a file; a missing one counts as deleted. Only pruning calls this.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let at = self.parse(path)?;
        match self.until_answered(Operation::Delete, path, || self.inner.objects.delete(&at)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    fn parse(&self, path: &str) -> Result<Path, StoreError> {
        parse(path, &self.inner.place)
    }

    fn failed(&self, error: object_store::Error, operation: Operation, path: &str) -> StoreError {
        StoreError::from_object_store(error, operation, &self.inner.place, path)
    }
}

/// A path from elsewhere, such as a record of a repository: one that climbs out with `..` is none.
fn parse(path: &str, place: &str) -> Result<Path, StoreError> {
    Path::parse(path).map_err(|e| StoreError::bad_path(place, path, e.to_string()))
}

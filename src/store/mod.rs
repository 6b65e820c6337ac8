//! Bytes on disk or S3: the only door to `object_store`.
//!
//! A [`Store`] holds write-once files below one root. Four properties carry the rest of the program:
//!
//! - [`Store::put_new`] creates a file or refuses; of any number of racing creators exactly one wins.
//! - A [`FileSink`] streams a large file; until [`FileSink::finish`] returns, no reader sees it.
//! - Everything that was acknowledged is durable: local files and their directories are synced.
//! - Errors say whether trying again can help ([`StoreError::retry`]) and name the path.
//!
//! Paths are relative to the root, `/` between the parts, as in `backups/x/manifest.json`. All calls are async and need
//! a tokio runtime. Requests to S3 are retried inside ([`StoreOptions::retry_for`]), answers that break off included, so an
//! error that arrives here has outlived that.

mod error;
mod options;
mod profile;
mod s3;
mod sink;
mod tidy;
mod url;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Attributes, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::model::Retry;

pub use error::StoreError;
pub use options::{Encryption, StoreOptions};
pub use profile::Variables;
pub use sink::{FileSink, StoredFile};
pub use url::RepositoryUrl;

use error::Operation;

/// Between two tries of a request; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

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
}

/// Not what the client below would say of itself: that has an encryption key among its headers.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("place", &self.place).finish_non_exhaustive()
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

    /// A store in memory, gone with its last clone: for tests and dry runs.
    pub fn in_memory() -> Self {
        Self::new(Arc::new(InMemory::new()), "memory".to_owned(), None)
    }

    fn new(objects: Arc<dyn ObjectStore>, place: String, root: Option<PathBuf>) -> Self {
        let (attributes, retry_for) = (Attributes::new(), Duration::ZERO);
        Self { inner: Arc::new(Inner { objects, place, root, attributes, retry_for }) }
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
        let files = LocalFileSystem::new_with_prefix(&directory)
            .map_err(|e| StoreError::from_object_store(e, Operation::Open, &place, ""))?
            .with_fsync(true);
        Ok(Self::new(Arc::new(files), place, Some(directory)))
    }

    fn below_prefix(s3: AmazonS3, prefix: &str, place: String, options: &StoreOptions) -> Result<Self, StoreError> {
        let objects: Arc<dyn ObjectStore> = match prefix {
            "" => Arc::new(s3),
            prefix => Arc::new(PrefixStore::new(s3, parse(prefix, &place)?)),
        };
        let (attributes, retry_for) = (s3::attributes(options), options.retry_for);
        Ok(Self { inner: Arc::new(Inner { objects, place, root: None, attributes, retry_for }) })
    }

    /// The root as the user wrote it, for messages.
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// Where a path lies on disk; `None` on S3 and in memory.
    pub fn local_path(&self, path: &str) -> Option<PathBuf> {
        self.inner.root.as_ref().map(|root| root.join(path))
    }

    /// Creates a file that must not exist yet; on success it is durable.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when it exists. On S3 that, and a time-out, can also mean that an earlier try of
    /// this very call arrived and only its answer was lost: a caller that must know reads the file back and compares.
    pub async fn put_new(&self, path: &str, content: Bytes) -> Result<(), StoreError> {
        let (at, options) = (self.parse(path)?, create_only(Attributes::new()));
        let put = || self.inner.objects.put_opts(&at, content.clone().into(), options.clone());
        self.until_answered(Operation::Create, path, put).await.map(drop)
    }

    /// Like [`put_new`](Self::put_new), and settles what a lost answer leaves open: the put is repeated and the file
    /// read back until it is known what is there. `None`: this content. `Some`: another one, which came first. The
    /// content must be unique to the caller, or it would take another's file for its own.
    ///
    /// # Errors
    /// Whatever the store says. After [`Retry::Transient`] ones the file may be there all the same.
    pub async fn put_settled(&self, path: &str, content: Bytes) -> Result<Option<Bytes>, StoreError> {
        self.settle(path, content.into(), Attributes::new()).await
    }

    async fn settle(&self, path: &str, content: PutPayload, carry: Attributes) -> Result<Option<Bytes>, StoreError> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let Err(error) = self.create(path, content.clone(), carry.clone()).await else { return Ok(None) };
            if !error.is_already_exists() && error.retry() == Retry::Permanent {
                return Err(error);
            }
            match self.get(path).await {
                Ok(stored) => return Ok((!is_same(&content, &stored)).then_some(stored)),
                // Nothing arrived: the first error is the news.
                Err(missing) if missing.is_not_found() && begun.elapsed() < self.inner.retry_for => {}
                Err(missing) if missing.is_not_found() => return Err(error),
                // It stays open what is there.
                Err(unread) => return Err(unread),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// For a store that ignores the condition of a create-only put: looks that nothing is there, puts, waits, and reads
    /// back what is there then. Of several writers the last one wins and all see it, as long as none of them stops
    /// between its look and its put for longer than the others wait.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn put_read_back(&self, path: &str, content: Bytes, wait: Duration) -> Result<Bytes, StoreError> {
        match self.get(path).await {
            Ok(stored) => return Ok(stored),
            Err(missing) if missing.is_not_found() => {}
            Err(error) => return Err(error),
        }
        if let Some(other) = self.put_settled(path, content).await? {
            return Ok(other);
        }
        tokio::time::sleep(wait).await;
        self.get(path).await
    }

    async fn create(&self, path: &str, content: PutPayload, attributes: Attributes) -> Result<(), StoreError> {
        let at = self.parse(path)?;
        let put = self.inner.objects.put_opts(&at, content, create_only(attributes)).await;
        put.map(drop).map_err(|e| self.failed(e, Operation::Create, path))
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
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match request().await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.failed(error, operation, path),
            };
            if error.retry() == Retry::Permanent || begun.elapsed() >= self.inner.retry_for {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The whole file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and whatever the store says.
    pub async fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        let at = self.parse(path)?;
        self.until_answered(Operation::Read, path, || async { self.inner.objects.get(&at).await?.bytes().await }).await
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

fn create_only(attributes: Attributes) -> PutOptions {
    PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() }
}

fn is_same(content: &PutPayload, stored: &[u8]) -> bool {
    let mut rest = Some(stored);
    for piece in content {
        rest = rest.and_then(|rest| rest.strip_prefix(piece.as_ref()));
    }
    rest.is_some_and(<[u8]>::is_empty)
}

fn parse(path: &str, place: &str) -> Result<Path, StoreError> {
    Path::parse(path).map_err(|e| StoreError::Settings { place: place.to_owned(), reason: e.to_string() })
}

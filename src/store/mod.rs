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
//! a tokio runtime. Requests to S3 are retried inside (10 times, up to 3 minutes), so an error that arrives here has
//! outlived that.

mod error;
mod sink;
mod tidy;
mod url;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientConfigKey, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

pub use error::StoreError;
pub use sink::{FileSink, StoredFile};
pub use url::RepositoryUrl;

use error::Operation;

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

#[derive(Debug)]
struct Inner {
    objects: Arc<dyn ObjectStore>,
    place: String,
    /// The root on disk, for local stores.
    root: Option<PathBuf>,
}

impl Store {
    /// Opens what the URL names. Nothing is created and S3 is not contacted.
    ///
    /// S3 takes its settings from the usual variables: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_REGION` or `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL` (an `http://` endpoint needs no
    /// further permission), web identity and instance roles.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a directory that does not exist, [`StoreError::Settings`] for one that is a file
    /// and for S3 settings that do not fit together.
    pub fn open(url: &RepositoryUrl) -> Result<Self, StoreError> {
        match url {
            RepositoryUrl::Local(directory) => Self::open_local(directory.clone(), url.to_string()),
            RepositoryUrl::S3 { bucket, prefix } => Self::open_s3(bucket, prefix, url.to_string()),
        }
    }

    /// Like [`open`](Self::open), and creates a missing local directory.
    ///
    /// # Errors
    /// As [`open`](Self::open), and what stands in the way of creating the directory.
    pub fn open_or_create(url: &RepositoryUrl) -> Result<Self, StoreError> {
        if let RepositoryUrl::Local(directory) = url {
            Self::refuse_files(directory, &url.to_string())?;
            std::fs::create_dir_all(directory)
                .map_err(|e| StoreError::from_io(e, Operation::Create, &url.to_string(), ""))?;
        }
        Self::open(url)
    }

    /// A store in memory, gone with its last clone: for tests and dry runs.
    pub fn in_memory() -> Self {
        Self::new(Arc::new(InMemory::new()), "memory".to_owned(), None)
    }

    fn new(objects: Arc<dyn ObjectStore>, place: String, root: Option<PathBuf>) -> Self {
        Self { inner: Arc::new(Inner { objects, place, root }) }
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

    fn open_s3(bucket: &str, prefix: &str, place: String) -> Result<Self, StoreError> {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            builder = builder.with_allow_http(true);
        }
        // One request per file: not every store knows bulk deletes, some judge them by the bucket's policy instead of the
        // file's, and a refusal hides inside an answer of success.
        builder = builder.with_disable_bulk_delete(true);
        // The library's 30 s for a whole request is too little for a large part on a thin line.
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        if std::env::var_os("AWS_TIMEOUT").is_none() {
            builder = builder.with_config(timeout, "180 seconds");
        }
        let s3 = builder.build().map_err(|e| StoreError::Settings { place: place.clone(), reason: e.to_string() })?;
        if prefix.is_empty() {
            return Ok(Self::new(Arc::new(s3), place, None));
        }
        let prefix = parse(prefix, &place)?;
        Ok(Self::new(Arc::new(PrefixStore::new(s3, prefix)), place, None))
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
        self.create(path, PutPayload::from_bytes(content)).await
    }

    async fn create(&self, path: &str, content: PutPayload) -> Result<(), StoreError> {
        let at = self.parse(path)?;
        let options = PutMode::Create.into();
        let put = self.inner.objects.put_opts(&at, content, options).await;
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

    /// The whole file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] and whatever the store says.
    pub async fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        let at = self.parse(path)?;
        let got = async { self.inner.objects.get(&at).await?.bytes().await };
        got.await.map_err(|e| self.failed(e, Operation::Read, path))
    }

    /// Some bytes of a file, `range` counted from its beginning.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], a range behind the end of the file, and whatever the store says.
    pub async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let at = self.parse(path)?;
        let got = self.inner.objects.get_range(&at, range).await;
        got.map_err(|e| self.failed(e, Operation::Read, path))
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
            Err(e) => Err(self.failed(e, Operation::Read, path)),
        }
    }

    /// Every file below a folder (whole path parts; empty: the root), sorted by path.
    ///
    /// # Errors
    /// Whatever the store says; a missing folder is an empty one.
    pub async fn list(&self, folder: &str) -> Result<Vec<StoreEntry>, StoreError> {
        let at = self.parse(folder)?;
        let listing = self.inner.objects.list(Some(&at));
        let found = listing.map_ok(|meta| StoreEntry {
            path: meta.location.to_string(),
            size: meta.size,
            modified_ms: meta.last_modified.timestamp_millis(),
        });
        let mut entries: Vec<_> = found.try_collect().await.map_err(|e| self.failed(e, Operation::List, folder))?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Names of the folders directly inside a folder, sorted.
    ///
    /// # Errors
    /// Whatever the store says; a missing folder is an empty one.
    pub async fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let at = self.parse(folder)?;
        let listing = self.inner.objects.list_with_delimiter(Some(&at)).await;
        let listing = listing.map_err(|e| self.failed(e, Operation::List, folder))?;
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
        match self.inner.objects.delete(&at).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed(e, Operation::Delete, path)),
        }
    }

    fn parse(&self, path: &str) -> Result<Path, StoreError> {
        parse(path, &self.inner.place)
    }

    fn failed(&self, error: object_store::Error, operation: Operation, path: &str) -> StoreError {
        StoreError::from_object_store(error, operation, &self.inner.place, path)
    }
}

fn parse(path: &str, place: &str) -> Result<Path, StoreError> {
    Path::parse(path).map_err(|e| StoreError::Settings { place: place.to_owned(), reason: e.to_string() })
}

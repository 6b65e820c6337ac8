//! Repositories and the backups inside.

use std::time::Duration;

use bytes::Bytes;

use super::error::RepositoryError;
use super::id;
use super::kind::BackupKind;
use super::layout::{BACKUPS, BackupPaths, REPOSITORY};
use super::record::{BackupSummary, CommitRule, Manifest, RepositoryRecord};
use super::sealed::{is_json, parse, seal, unseal};
use super::{FORMAT, TOOL_VERSION, WHAT};
use crate::model::time::now_ms;
use crate::store::{Store, StoreError};

/// Bytes that a JSON file of a repository may have. The largest, a manifest with many regions, stays far below.
const MAX_JSON: u64 = 64 * 1024 * 1024;
/// Small files that are fetched at the same time: a backup has thousands of shard records, S3 takes 20 ms for each.
pub(super) const READS_AT_ONCE: usize = 16;

/// [`CommitRule::ReadBack`]: from the put of a manifest to the look at what became of it. Long against the time between
/// the look that nothing is there and the arrival of a put of a few KiB.
pub(super) const MANIFEST_WAIT: Duration = Duration::from_secs(3);
/// The same for a plan, a Delta log, and what else two processes may write at the same time.
pub(super) const RECORD_WAIT: Duration = Duration::from_millis(250);

/// A store that holds backups. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Repository {
    store: Store,
    id: String,
    rule: CommitRule,
    /// This process made it.
    created: bool,
}

impl Repository {
    /// Opens the repository in the store, creating it in an empty one, and proves that the store honours create-only
    /// puts. For commands that write.
    ///
    /// # Errors
    /// [`RepositoryError::NotARepository`] when there are backups or a foreign `repository.json`,
    /// [`RepositoryError::NewerFormat`], [`RepositoryError::NotCreateOnly`], and whatever the store says.
    pub async fn init_or_open(store: Store) -> Result<Self, RepositoryError> {
        let created = store.size(REPOSITORY).await?.is_none() && Self::init(&store).await?;
        let repository = Self { created, ..Self::open(store).await? };
        repository.check_create_only().await?;
        Ok(repository)
    }

    /// Like [`init_or_open`](Self::init_or_open) for a store that has no create-only put or ignores its condition: no put
    /// carries one, and [`CommitRule::ReadBack`] holds. Local directories need no such rule and keep theirs.
    ///
    /// # Errors
    /// As [`init_or_open`](Self::init_or_open), except [`RepositoryError::NotCreateOnly`].
    pub async fn init_or_open_weak(store: Store) -> Result<Self, RepositoryError> {
        if store.has_conditions_of_its_own() {
            return Self::init_or_open(store).await;
        }
        let store = store.without_conditions();
        let mut created = false;
        if store.size(REPOSITORY).await?.is_none() {
            let record = Self::new_record(&store).await?;
            created = store.put_read_back(REPOSITORY, record.clone(), MANIFEST_WAIT).await? == record;
            announce(&store, created);
        }
        Ok(Self { rule: CommitRule::ReadBack, created, ..Self::open(store).await? })
    }

    /// How the files that decide are written here.
    pub fn commit_rule(&self) -> CommitRule {
        self.rule
    }

    /// True when this process created it: nobody had backed up to this place before.
    pub fn was_created(&self) -> bool {
        self.created
    }

    /// True when it was created here: another process may be faster, then its record counts.
    async fn init(store: &Store) -> Result<bool, RepositoryError> {
        let created = store.put_settled(REPOSITORY, Self::new_record(store).await?).await?.is_none();
        announce(store, created);
        Ok(created)
    }

    /// The text of `repository.json` for an empty place.
    async fn new_record(store: &Store) -> Result<Bytes, RepositoryError> {
        if !store.folders(BACKUPS).await?.is_empty() {
            let reason = format!("there are backups, but {REPOSITORY} is missing; restore it from a copy");
            return Err(RepositoryError::NotARepository { place: store.place().to_owned(), reason });
        }
        let created_ms = now_ms();
        let record = RepositoryRecord {
            format: FORMAT,
            what: WHAT.to_owned(),
            id: id::random_hex(32),
            created: id::rfc3339(created_ms),
            created_ms,
            tool_version: TOOL_VERSION.to_owned(),
            sealing: "none".to_owned(),
            self_blake3: String::new(),
        };
        seal(&record, REPOSITORY)
    }

    /// Opens the repository in the store; writes nothing.
    ///
    /// # Errors
    /// [`RepositoryError::NotARepository`], [`RepositoryError::NewerFormat`], and whatever the store says.
    pub async fn open(store: Store) -> Result<Self, RepositoryError> {
        let not_ours = |reason: String| RepositoryError::NotARepository { place: store.place().to_owned(), reason };
        let text = match read_small(&store, REPOSITORY).await {
            Ok(text) => text,
            // With an empty path it is the root that is missing.
            Err(RepositoryError::Store(StoreError::NotFound { path, .. })) if !path.is_empty() => {
                return Err(not_ours(format!("there is no {REPOSITORY}")));
            }
            Err(error) => return Err(error),
        };
        let what = serde_what(&text);
        if what.as_deref() != Some(WHAT) {
            return Err(not_ours(format!("{REPOSITORY} is not one of ours")));
        }
        let record: RepositoryRecord = unseal(&text, REPOSITORY)?;
        if record.sealing != "none" {
            return Err(not_ours(format!(
                "its files are sealed by {}, which this version cannot open",
                record.sealing
            )));
        }
        Ok(Self { store, id: record.id, rule: CommitRule::CreateOnly, created: false })
    }

    /// A put of what is already there, byte for byte, so that a store that overwrites does no harm.
    async fn check_create_only(&self) -> Result<(), RepositoryError> {
        let text = read_small(&self.store, REPOSITORY).await?;
        match self.store.put_new(REPOSITORY, text).await {
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => Err(RepositoryError::NotCreateOnly { place: self.store.place().to_owned() }),
        }
    }

    /// Creates a small file under a name that only this process gives: one that is there already is this very file, from
    /// an earlier try.
    pub(super) async fn put_own(&self, path: &str, text: Bytes) -> Result<(), RepositoryError> {
        match self.store.put_own(path, text).await {
            Err(error) if error.is_already_exists() => Ok(()),
            other => Ok(other?),
        }
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The repository's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// All committed backups, oldest first, and the errors of those whose manifest is damaged.
    ///
    /// # Errors
    /// [`RepositoryError::NewerFormat`], [`RepositoryError::OlderFormat`], [`RepositoryError::UnknownKind`], and whatever
    /// the store says.
    pub async fn list(&self) -> Result<(Vec<BackupSummary>, Vec<RepositoryError>), RepositoryError> {
        let (mut summaries, mut damaged) = (Vec::new(), Vec::new());
        for backup in self.ids(true).await? {
            match self.manifest(&backup).await {
                Ok(manifest) => summaries.push(BackupSummary::from(&manifest)),
                Err(
                    error @ (RepositoryError::Store(_)
                    | RepositoryError::NewerFormat { .. }
                    | RepositoryError::OlderFormat { .. }
                    | RepositoryError::UnknownKind { .. }),
                ) => return Err(error),
                Err(error) => damaged.push(error),
            }
        }
        Ok((summaries, damaged))
    }

    /// Ids of backups without a manifest, oldest first: interrupted, or still running.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn unfinished(&self) -> Result<Vec<String>, RepositoryError> {
        self.ids(false).await
    }

    /// Ids of the backups with (or without) a manifest, oldest first.
    async fn ids(&self, committed: bool) -> Result<Vec<String>, RepositoryError> {
        let mut ids = Vec::new();
        for backup in self.store.folders(BACKUPS).await? {
            let manifest = BackupPaths::new(&backup).manifest();
            let size = match self.store.size(&manifest).await {
                // Whether it is a backup cannot be said; who lists names the link.
                Err(StoreError::Symlink { .. }) => continue,
                size => size?,
            };
            if size.is_some() == committed {
                ids.push(backup);
            }
        }
        Ok(ids)
    }

    /// The manifest of a committed backup: `latest` (a window only where all are), an id, or the unique beginning of one.
    ///
    /// # Errors
    /// [`RepositoryError::NoBackup`], [`RepositoryError::NotCommitted`], [`RepositoryError::Ambiguous`],
    /// [`RepositoryError::Edited`], [`RepositoryError::NewerFormat`], [`RepositoryError::Damaged`], and whatever the
    /// store says.
    pub async fn load(&self, wanted: &str) -> Result<Manifest, RepositoryError> {
        let ids = self.ids(true).await?;
        if wanted == "latest" {
            return self.latest(&ids).await;
        }
        let exact = ids.iter().filter(|id| *id == wanted);
        let mut found: Vec<&String> = exact.collect();
        if found.is_empty() && !wanted.is_empty() {
            found = ids.iter().filter(|id| id.starts_with(wanted)).collect();
        }
        match found.as_slice() {
            [] => Err(self.no_manifest(wanted).await?),
            [id] => self.manifest(id).await,
            _ => Err(RepositoryError::Ambiguous { wanted: wanted.to_owned(), count: found.len() }),
        }
    }

    /// The newest backup; a window only where there is nothing else: who asks for the latest after a disaster wants all.
    async fn latest(&self, ids: &[String]) -> Result<Manifest, RepositoryError> {
        let mut window = None;
        for id in ids.iter().rev() {
            let manifest = self.manifest(id).await?;
            if manifest.kind != BackupKind::Window {
                return Ok(manifest);
            }
            window.get_or_insert(manifest);
        }
        match window {
            Some(window) => Ok(window),
            None => Err(self.no_manifest("latest").await?),
        }
    }

    /// Why there is no manifest to load: a backup whose manifest is missing is told apart from one that never was.
    async fn no_manifest(&self, wanted: &str) -> Result<RepositoryError, RepositoryError> {
        let unfinished = self.unfinished().await?;
        let begun = unfinished.iter().rfind(|id| wanted == "latest" || !wanted.is_empty() && id.starts_with(wanted));
        Ok(match begun {
            Some(backup) => RepositoryError::NotCommitted { path: BackupPaths::new(backup).manifest() },
            None => self.no_backup(wanted),
        })
    }

    pub(super) fn no_backup(&self, wanted: &str) -> RepositoryError {
        RepositoryError::NoBackup { place: self.store.place().to_owned(), wanted: wanted.to_owned() }
    }

    /// The manifest of the backup with exactly this id.
    ///
    /// # Errors
    /// As [`load`](Self::load), and that there is none.
    pub async fn manifest(&self, backup: &str) -> Result<Manifest, RepositoryError> {
        let path = BackupPaths::new(backup).manifest();
        let manifest: Manifest = unseal(&read_small(&self.store, &path).await?, &path)?;
        if manifest.backup != backup {
            let reason = format!("it belongs to backup {}", manifest.backup);
            return Err(RepositoryError::Damaged { path, reason });
        }
        if let BackupKind::Other(kind) = manifest.kind {
            return Err(RepositoryError::UnknownKind { path, kind });
        }
        Ok(manifest)
    }

    /// The backups that one which cannot be read, or is unfinished, needs: its parent, or what it is made of. Its manifest is
    /// asked first, damaged as it may be, then its plan; none when neither says.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn needed_by(&self, backup: &str) -> Result<Vec<String>, RepositoryError> {
        #[derive(serde::Deserialize)]
        struct Child {
            parent: Option<String>,
            #[serde(default)]
            merged: Vec<String>,
        }
        let paths = BackupPaths::new(backup);
        for path in [paths.manifest(), paths.plan()] {
            let text = match read_small(&self.store, &path).await {
                Err(RepositoryError::Damaged { .. }) => continue,
                Err(RepositoryError::Store(StoreError::NotFound { .. } | StoreError::Symlink { .. })) => continue,
                other => other?,
            };
            let Ok(child) = parse::<Child>(&text, &path) else { continue };
            let needed: Vec<String> = child.parent.into_iter().chain(child.merged).collect();
            if !needed.is_empty() {
                return Ok(needed);
            }
        }
        Ok(Vec::new())
    }
}

/// At once, because a backup takes hours: whoever mistyped the place wants to know before that.
fn announce(store: &Store, created: bool) {
    if created {
        tracing::warn!("created a new repository at {}: there was none", store.place());
    }
}

/// A JSON file, unless it is larger than one can be.
pub(super) async fn read_small(store: &Store, path: &str) -> Result<Bytes, RepositoryError> {
    store.get_at_most(path, MAX_JSON).await.map_err(|error| match error {
        StoreError::TooLarge { .. } => RepositoryError::Damaged { path: path.to_owned(), reason: error.to_string() },
        error => error.into(),
    })
}

fn serde_what(text: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct What {
        what: String,
    }
    is_json(text).then(|| parse::<What>(text, REPOSITORY).ok().map(|what| what.what)).flatten()
}

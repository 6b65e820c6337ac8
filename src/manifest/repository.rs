//! Repositories and the backups inside.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::error::RepositoryError;
use super::id;
use super::layout::{BACKUPS, BackupPaths, REPOSITORY, parse_shard_record};
use super::plan::PlanRecord;
use super::record::{BackupSummary, BasisRecord, CommitRule, Manifest, RepositoryRecord, ShardRecord};
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
const MANIFEST_WAIT: Duration = Duration::from_secs(3);
/// The same for a plan, a Delta log, and what else two processes may write at the same time.
const RECORD_WAIT: Duration = Duration::from_millis(250);

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

    /// Starts a backup under a new id. Nothing is written until its first file.
    pub fn begin_backup(&self) -> BackupWriter {
        self.writer(id::new_backup())
    }

    /// Resumes a backup that has no manifest yet.
    ///
    /// # Errors
    /// [`RepositoryError::NoBackup`] when nothing of it exists, [`RepositoryError::AlreadyCommitted`], and whatever the
    /// store says.
    pub async fn resume_backup(&self, backup: &str) -> Result<BackupWriter, RepositoryError> {
        if !self.store.folders(BACKUPS).await?.iter().any(|id| id == backup) {
            return Err(self.no_backup(backup));
        }
        let writer = self.writer(backup.to_owned());
        if self.store.size(&writer.paths.manifest()).await?.is_some() {
            return Err(RepositoryError::AlreadyCommitted { backup: backup.to_owned() });
        }
        Ok(writer)
    }

    fn writer(&self, backup: String) -> BackupWriter {
        let paths = BackupPaths::new(&backup);
        BackupWriter { repository: self.clone(), paths, backup, attempt: id::new_attempt() }
    }

    /// All committed backups, oldest first, and the errors of those whose manifest is damaged.
    ///
    /// # Errors
    /// [`RepositoryError::NewerFormat`], [`RepositoryError::OlderFormat`], and whatever the store says.
    pub async fn list(&self) -> Result<(Vec<BackupSummary>, Vec<RepositoryError>), RepositoryError> {
        let (mut summaries, mut damaged) = (Vec::new(), Vec::new());
        for backup in self.ids(true).await? {
            match self.manifest(&backup).await {
                Ok(manifest) => summaries.push(BackupSummary::from(&manifest)),
                Err(
                    error @ (RepositoryError::Store(_)
                    | RepositoryError::NewerFormat { .. }
                    | RepositoryError::OlderFormat { .. }),
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

    /// The manifest of a committed backup: `latest`, an id, or the unique beginning of one.
    ///
    /// # Errors
    /// [`RepositoryError::NoBackup`], [`RepositoryError::NotCommitted`], [`RepositoryError::Ambiguous`],
    /// [`RepositoryError::Edited`], [`RepositoryError::NewerFormat`], [`RepositoryError::Damaged`], and whatever the
    /// store says.
    pub async fn load(&self, wanted: &str) -> Result<Manifest, RepositoryError> {
        let ids = self.ids(true).await?;
        if wanted == "latest" {
            return match ids.last() {
                Some(latest) => self.manifest(latest).await,
                None => Err(self.no_manifest(wanted).await?),
            };
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

    /// Why there is no manifest to load: a backup whose manifest is missing is told apart from one that never was.
    async fn no_manifest(&self, wanted: &str) -> Result<RepositoryError, RepositoryError> {
        let unfinished = self.unfinished().await?;
        let begun = unfinished.iter().rfind(|id| wanted == "latest" || !wanted.is_empty() && id.starts_with(wanted));
        Ok(match begun {
            Some(backup) => RepositoryError::NotCommitted { path: BackupPaths::new(backup).manifest() },
            None => self.no_backup(wanted),
        })
    }

    fn no_backup(&self, wanted: &str) -> RepositoryError {
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
        Ok(manifest)
    }

    /// The parent that a manifest names which is damaged or too new; `None` when even that cannot be told.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn parent_in_damaged(&self, backup: &str) -> Result<Option<String>, RepositoryError> {
        #[derive(serde::Deserialize)]
        struct Child {
            parent: Option<String>,
        }
        let path = BackupPaths::new(backup).manifest();
        let text = match read_small(&self.store, &path).await {
            Err(RepositoryError::Damaged { .. }) => return Ok(None),
            other => other?,
        };
        Ok(parse::<Child>(&text, &path).ok().and_then(|child| child.parent))
    }

    /// The records of all finished shards of a backup, committed or not, by table and attempt.
    ///
    /// # Errors
    /// [`RepositoryError::Edited`], [`RepositoryError::NewerFormat`], [`RepositoryError::Damaged`], and whatever the
    /// store says.
    pub async fn shard_records(&self, backup: &str) -> Result<Vec<ShardRecord>, RepositoryError> {
        let entries = self.store.list(&BackupPaths::new(backup).shards()).await?;
        let paths = entries.into_iter().map(|entry| entry.path).filter(|path| parse_shard_record(path).is_some());
        let reads = stream::iter(paths.map(|path| self.shard_record(path))).buffer_unordered(READS_AT_ONCE);
        let mut records: Vec<ShardRecord> = reads.try_collect().await?;
        records.sort_by(|a, b| (&a.shard.table, &a.shard.attempt).cmp(&(&b.shard.table, &b.shard.attempt)));
        Ok(records)
    }

    /// Every shard record of a backup, by path, or what is wrong with it. Files under other names are none.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn check_shard_records(
        &self,
        backup: &str,
    ) -> Result<Vec<(String, Result<ShardRecord, String>)>, RepositoryError> {
        let entries = self.store.list(&BackupPaths::new(backup).shards()).await?;
        self.check_records(backup, entries.into_iter().map(|entry| entry.path)).await
    }

    /// The same of these paths alone; those that are no names of shard records are left out.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn check_records(
        &self,
        backup: &str,
        paths: impl Iterator<Item = String>,
    ) -> Result<Vec<(String, Result<ShardRecord, String>)>, RepositoryError> {
        let backup_paths = BackupPaths::new(backup);
        let check = |path: String| {
            let paths = &backup_paths;
            async move {
                let record = match self.shard_record(path.clone()).await {
                    Err(RepositoryError::Store(error)) if error.is_not_found() => Err("is missing".to_owned()),
                    Err(RepositoryError::Store(error)) => return Err(RepositoryError::from(error)),
                    Err(error) => Err(error.to_string()),
                    Ok(ShardRecord { shard, backup: of, .. })
                        if paths.shard(&shard.table, &shard.attempt) != path || of != backup =>
                    {
                        Err(format!("it is the record of attempt {} at table {}", shard.attempt, shard.table))
                    }
                    Ok(record) => Ok(record),
                };
                Ok((path, record))
            }
        };
        let named = paths.filter(|path| parse_shard_record(path).is_some());
        let checks = stream::iter(named.map(check));
        checks.buffered(READS_AT_ONCE).try_collect().await
    }

    /// What a read of the UID table was based on; `None` when the record is missing or damaged.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn basis(&self, backup: &str, id: &str) -> Result<Option<BasisRecord>, RepositoryError> {
        let path = BackupPaths::new(backup).basis(id);
        let text = match read_small(&self.store, &path).await {
            Err(RepositoryError::Store(error)) if error.is_not_found() => return Ok(None),
            Err(RepositoryError::Store(error)) => return Err(error.into()),
            Err(_) => return Ok(None),
            Ok(text) => text,
        };
        let sound = |basis: &BasisRecord| basis.backup == backup && basis.basis == id;
        Ok(unseal::<BasisRecord>(&text, &path).ok().filter(sound))
    }

    async fn shard_record(&self, path: String) -> Result<ShardRecord, RepositoryError> {
        unseal(&read_small(&self.store, &path).await?, &path)
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

/// A backup that is being written.
#[derive(Debug, Clone)]
pub struct BackupWriter {
    repository: Repository,
    paths: BackupPaths,
    backup: String,
    attempt: String,
}

impl BackupWriter {
    /// The backup's id.
    pub fn id(&self) -> &str {
        &self.backup
    }

    /// Where its files go.
    pub fn paths(&self) -> &BackupPaths {
        &self.paths
    }

    /// The store to write them to.
    pub fn store(&self) -> &Store {
        &self.repository.store
    }

    /// This process's try at the backup; clones of the writer share it.
    pub fn attempt(&self) -> &str {
        &self.attempt
    }

    /// Writes down what is asked for, before the first shard, and returns it whole.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn put_plan(&self, mut plan: PlanRecord) -> Result<PlanRecord, RepositoryError> {
        plan.format = FORMAT;
        plan.backup.clone_from(&self.backup);
        plan.tool_version = TOOL_VERSION.to_owned();
        plan.started = id::rfc3339(plan.started_ms);
        plan.self_blake3.clear();
        let path = self.paths.plan();
        // The id is this process's own: whatever lies there comes from an earlier try of this very put.
        self.put_once(&path, seal(&plan, &path)?, RECORD_WAIT).await?;
        Ok(plan)
    }

    /// Records a finished shard under the name of its attempt, which nobody else gives; all its files must be stored. Safe
    /// to call again after an error.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn put_shard_record(&self, mut record: ShardRecord) -> Result<(), RepositoryError> {
        record.format = FORMAT;
        record.backup.clone_from(&self.backup);
        record.self_blake3.clear();
        let path = self.paths.shard(&record.shard.table, &record.shard.attempt);
        self.repository.put_own(&path, seal(&record, &path)?).await
    }

    /// Writes down which shards a read of the UID table is based on, and returns the id of that. The id stands for the
    /// content, so several processes may write the same one.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn put_basis(&self, shards: Vec<String>) -> Result<String, RepositoryError> {
        let basis = BasisRecord::id_of(&shards);
        let backup = self.backup.clone();
        let record = BasisRecord { format: FORMAT, backup, basis: basis.clone(), shards, self_blake3: String::new() };
        let path = self.paths.basis(&basis);
        self.repository.put_own(&path, seal(&record, &path)?).await?;
        Ok(basis)
    }

    /// Commits the backup. Fills in the fields that the manifest's documentation says so of, and returns it whole.
    /// Safe to call again after an error.
    ///
    /// # Errors
    /// [`RepositoryError::AlreadyCommitted`] when another attempt committed, and whatever the store says.
    pub async fn commit(&self, mut manifest: Manifest) -> Result<Manifest, RepositoryError> {
        manifest.format = FORMAT;
        manifest.repository.clone_from(&self.repository.id);
        manifest.backup.clone_from(&self.backup);
        manifest.attempt.clone_from(&self.attempt);
        manifest.tool_version = TOOL_VERSION.to_owned();
        manifest.kind = "full".to_owned();
        manifest.commit_rule = self.repository.rule;
        manifest.started = id::rfc3339(manifest.started_ms);
        manifest.finished = id::rfc3339(manifest.finished_ms);
        manifest.self_blake3.clear();
        let path = self.paths.manifest();
        let text = seal(&manifest, &path)?;
        let stored = self.put_once(&path, text.clone(), MANIFEST_WAIT).await?.unwrap_or(text);
        let stored: Manifest = unseal(&stored, &path)?;
        if stored.attempt != self.attempt {
            return Err(RepositoryError::AlreadyCommitted { backup: self.backup.clone() });
        }
        Ok(stored)
    }

    /// Creates a small file that may be the work of another process as well. `None`: created, or there already with this
    /// content. Otherwise what is there instead.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn create(&self, path: &str, text: Bytes) -> Result<Option<Bytes>, RepositoryError> {
        Ok(self.put_once(path, text, RECORD_WAIT).await?)
    }

    /// Creates a file. `None`: created. Otherwise what is there instead.
    async fn put_once(&self, path: &str, text: Bytes, wait: Duration) -> Result<Option<Bytes>, StoreError> {
        match self.repository.rule {
            CommitRule::CreateOnly => self.store().put_settled(path, text).await,
            CommitRule::ReadBack => {
                let stored = self.store().put_read_back(path, text.clone(), wait).await?;
                Ok((stored != text).then_some(stored))
            }
        }
    }
}

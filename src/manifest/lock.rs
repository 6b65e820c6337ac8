//! Locks: who is at work in a repository.
//!
//! ```text
//! locks/<kind>-<token>-<beat>.json          kind: backup, worker, restore, verify or prune; token: 16 hex digits; beat: from 0
//! locks/<kind>-<token>-released.json        the process has ended well, its beats count no more
//! ```
//!
//! A process that works in a repository writes a beat every `interval_ms` and deletes the one before. All of them are
//! create-only, so that a credential which may not delete can lock as well; its beats pile up until prune sweeps them.
//!
//! Names of a repository are written once, so backups, restores and verifications share it. Prune alone deletes; it
//! runs only while nobody else does. Each puts its own lock first and lists the others then, so that of two that race at
//! least one sees the other; whoever sees one that bars it takes its own lock back.
//!
//! Of one backup, workers share the work. Who makes a backup in one process, resumes it or commits it works on it alone.
//!
//! A lock lives until [`EXPIRY_MS`] after its newest beat, by the store's own clock: both times are those at which the
//! store stored a file, so the clocks of hosts do not matter. Prune deletes locks that have expired, and before anything
//! else: an owner that comes back and misses its beat knows that a prune has run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::RepositoryError;
use super::id;
use super::layout::LOCKS;
use super::repository::{Repository, read_small};
use super::sealed::{seal, unseal};
use super::{FORMAT, TOOL_VERSION};
use crate::store::StoreEntry;

/// How long a lock lives after its newest beat, ms.
pub const EXPIRY_MS: i64 = 5 * 60 * 1000;
/// Listings after which a lock whose beats vanish under the reader's eyes is taken as it is.
const LISTINGS: usize = 5;
const RELEASED: &str = "released";

/// What a process does that holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockKind {
    /// Plans, makes or commits a backup; alone on that backup.
    Backup,
    /// Adds files to a backup that others add to as well.
    Worker,
    /// Reads files and keeps its progress in the repository.
    Restore,
    /// Reads files.
    Verify,
    /// Reads files.
    Export,
    /// Deletes files; alone.
    Prune,
}

impl LockKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [Self::Backup, Self::Worker, Self::Restore, Self::Verify, Self::Export, Self::Prune];

    /// The name in paths and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Worker => "worker",
            Self::Restore => "restore",
            Self::Verify => "verify",
            Self::Export => "export",
            Self::Prune => "prune",
        }
    }

    /// True when a lock of this kind and one of the other cannot be held at the same time.
    pub fn bars(self, other: Self) -> bool {
        self == Self::Prune || other == Self::Prune
    }

    /// True when a lock of this kind and one of the other can be about the same backup at the same time.
    pub fn shares_backup(self, other: Self) -> bool {
        self == Self::Worker && other == Self::Worker
    }
}

/// A beat of a lock, `locks/<kind>-<token>-<beat>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    /// [`super::FORMAT`]; filled in.
    pub format: u32,
    /// What the owner does.
    pub kind: LockKind,
    /// Random, 16 hex digits, new for each lock.
    pub token: String,
    /// Name of the owner's host.
    pub host: String,
    /// What tells this run of the host's system from another: its boot id; empty where there is none.
    pub boot: String,
    /// What tells the process ids of one container from those of another; empty where there is nothing.
    pub pid_space: String,
    /// The owner's process id.
    pub pid: u32,
    /// When the process started, in ticks since the host's boot; 0 when unknown.
    pub process_start: u64,
    /// The owner's command line, for people.
    pub command: String,
    /// The backup that it works on.
    pub backup: Option<String>,
    /// When the lock was taken, ms UTC by the owner's clock.
    pub since_ms: i64,
    /// Time between two beats, ms.
    pub interval_ms: i64,
    /// Version of the owner's program; filled in.
    pub tool_version: String,
    /// Hash of the file without these digits; filled in. Must stay the last field.
    pub self_blake3: String,
}

/// The last part of a lock file's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockName {
    /// What the owner does.
    pub kind: LockKind,
    /// The lock.
    pub token: String,
    /// Number of the beat; `None`: the mark of a lock that was released.
    pub beat: Option<u64>,
}

impl LockName {
    /// The path below the repository.
    pub fn path(&self) -> String {
        let (kind, token) = (self.kind.name(), &self.token);
        match self.beat {
            Some(beat) => format!("{LOCKS}/{kind}-{token}-{beat}.json"),
            None => format!("{LOCKS}/{kind}-{token}-{RELEASED}.json"),
        }
    }

    /// Reads a path, or `None` when it is not one of a lock.
    pub fn parse(path: &str) -> Option<Self> {
        let name = path.strip_prefix(LOCKS)?.strip_prefix('/')?.strip_suffix(".json")?;
        let mut parts = name.split('-');
        let (kind, token, beat) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = LockKind::ALL.into_iter().find(|known| known.name() == kind)?;
        let beat = if beat == RELEASED { None } else { Some(beat.parse().ok()?) };
        parts.next().is_none().then(|| Self { kind, token: token.to_owned(), beat })
    }
}

/// A lock as the store shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// What the owner does.
    pub kind: LockKind,
    /// The lock.
    pub token: String,
    /// Its files.
    pub files: Vec<StoreEntry>,
    /// The owner has said that it is done.
    pub released: bool,
    /// When the newest beat was stored, ms by the store's clock.
    pub newest_ms: i64,
    /// What the newest beat says; `None` when it is released or cannot be read.
    pub record: Option<LockRecord>,
}

impl Lock {
    /// When it expires without a further beat, ms by the store's clock.
    pub fn expires_ms(&self) -> i64 {
        self.newest_ms.saturating_add(EXPIRY_MS)
    }

    /// True while the owner must be reckoned with. `now_ms` is the store's time, `gone` knows processes of this host that
    /// are no more.
    pub fn is_live(&self, now_ms: i64, gone: impl Fn(&LockRecord) -> bool) -> bool {
        !self.released && now_ms <= self.expires_ms() && !self.record.as_ref().is_some_and(gone)
    }
}

/// A token for a lock.
pub fn new_lock_token() -> String {
    id::random_hex(16)
}

impl Repository {
    /// Stores a beat, or with `None` the mark that the lock is released. A file that is there already is this very one.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn put_lock(&self, record: &LockRecord, beat: Option<u64>) -> Result<(), RepositoryError> {
        let name = LockName { kind: record.kind, token: record.token.clone(), beat };
        let (format, tool_version) = (FORMAT, TOOL_VERSION.to_owned());
        let record = LockRecord { format, tool_version, self_blake3: String::new(), ..record.clone() };
        let path = name.path();
        self.put_own(&path, seal(&record, &path)?).await
    }

    /// All locks, live or not, by kind and token.
    ///
    /// # Errors
    /// Whatever the store says. A lock that cannot be read is no error: it has no record.
    pub async fn locks(&self) -> Result<Vec<Lock>, RepositoryError> {
        let mut listing = 1;
        loop {
            let mut locks = self.listed_locks().await?;
            let mut vanished = false;
            for lock in locks.iter_mut().filter(|lock| !lock.released) {
                let Some(newest) = newest_beat(&lock.files) else { continue };
                match read_small(self.store(), &newest).await {
                    Ok(text) => lock.record = unseal(&text, &newest).ok(),
                    Err(RepositoryError::Store(error)) if error.is_not_found() => vanished = true,
                    Err(RepositoryError::Store(error)) => return Err(error.into()),
                    // A lock that cannot be read is one all the same.
                    Err(_) => {}
                }
            }
            if !vanished || listing == LISTINGS {
                return Ok(locks);
            }
            listing += 1;
        }
    }

    async fn listed_locks(&self) -> Result<Vec<Lock>, RepositoryError> {
        let mut locks: BTreeMap<(LockKind, String), Lock> = BTreeMap::new();
        for entry in self.store().list(LOCKS).await? {
            let Some(LockName { kind, token, beat }) = LockName::parse(&entry.path) else { continue };
            let lock = locks.entry((kind, token.clone())).or_insert_with(|| Lock {
                kind,
                token,
                files: Vec::new(),
                released: false,
                newest_ms: i64::MIN,
                record: None,
            });
            lock.released |= beat.is_none();
            lock.newest_ms = lock.newest_ms.max(entry.modified_ms);
            lock.files.push(entry);
        }
        Ok(locks.into_values().collect())
    }
}

fn newest_beat(files: &[StoreEntry]) -> Option<String> {
    let beat = |entry: &&StoreEntry| LockName::parse(&entry.path).and_then(|name| name.beat);
    files.iter().max_by_key(beat).map(|entry| entry.path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn record(kind: LockKind, token: &str) -> LockRecord {
        LockRecord {
            format: 0,
            kind,
            token: token.into(),
            host: "h".into(),
            boot: "b".into(),
            pid_space: String::new(),
            pid: 7,
            process_start: 8,
            command: "tsdb-ark backup".into(),
            backup: None,
            since_ms: 1,
            interval_ms: 30_000,
            tool_version: String::new(),
            self_blake3: String::new(),
        }
    }

    #[test]
    fn names_are_read_back() {
        for beat in [Some(0), Some(1234), None] {
            let name = LockName { kind: LockKind::Restore, token: "0a1b".into(), beat };
            assert_eq!(LockName::parse(&name.path()), Some(name));
        }
        for bad in
            ["locks/backup-a.json", "locks/backup-a-x.json", "locks/other-a-1.json", "locks/backup-a-1-2.json", "x"]
        {
            assert_eq!(LockName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_prune_bars() {
        for kind in LockKind::ALL {
            assert!(LockKind::Prune.bars(kind) && kind.bars(LockKind::Prune));
        }
        assert!(!LockKind::Backup.bars(LockKind::Backup) && !LockKind::Restore.bars(LockKind::Verify));
        assert!(LockKind::Worker.shares_backup(LockKind::Worker));
        assert!(!LockKind::Worker.shares_backup(LockKind::Backup) && !LockKind::Backup.shares_backup(LockKind::Worker));
    }

    #[tokio::test]
    async fn beats_of_a_lock_are_one_lock() {
        let repository = Repository::init_or_open(Store::in_memory()).await.unwrap();
        let one = record(LockKind::Backup, "aa");
        for beat in [0, 1, 9, 10] {
            repository.put_lock(&LockRecord { since_ms: beat, ..one.clone() }, Some(beat as u64)).await.unwrap();
        }
        repository.put_lock(&record(LockKind::Verify, "bb"), Some(0)).await.unwrap();
        repository.put_lock(&record(LockKind::Verify, "bb"), None).await.unwrap();
        repository.store().put_new("locks/note.txt", bytes::Bytes::from_static(b"x")).await.unwrap();
        let locks = repository.locks().await.unwrap();
        assert_eq!(locks.len(), 2);
        let (backup, verify) = (&locks[0], &locks[1]);
        assert_eq!((backup.files.len(), backup.released), (4, false));
        assert_eq!(backup.record.as_ref().unwrap().since_ms, 10, "the newest beat counts, not the last by name");
        assert!(verify.released && verify.record.is_none());
    }

    #[tokio::test]
    async fn a_lock_lives_until_it_expires_or_its_process_is_gone() {
        let repository = Repository::init_or_open(Store::in_memory()).await.unwrap();
        repository.put_lock(&record(LockKind::Backup, "aa"), Some(0)).await.unwrap();
        let lock = repository.locks().await.unwrap().remove(0);
        assert!(lock.is_live(lock.newest_ms, |_| false));
        assert!(lock.is_live(lock.newest_ms + EXPIRY_MS, |_| false));
        assert!(!lock.is_live(lock.newest_ms + EXPIRY_MS + 1, |_| false));
        assert!(!lock.is_live(lock.newest_ms, |record| record.pid == 7));
        let unreadable = Lock { record: None, ..lock.clone() };
        assert!(unreadable.is_live(lock.newest_ms, |_| true), "nobody knows whose it is");
        assert!(!Lock { released: true, ..lock.clone() }.is_live(lock.newest_ms, |_| false));
    }

    #[tokio::test]
    async fn a_damaged_beat_is_a_lock_all_the_same() {
        let repository = Repository::init_or_open(Store::in_memory()).await.unwrap();
        repository.store().put_new("locks/prune-aa-0.json", bytes::Bytes::from_static(b"{")).await.unwrap();
        let lock = repository.locks().await.unwrap().remove(0);
        assert!(lock.record.is_none() && lock.is_live(lock.newest_ms, |_| true));
    }
}

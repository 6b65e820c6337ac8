//! The beats of a lock: files that its owner renews, and what became of them after a gap.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};

use crate::flow::FlowError;
use crate::flow::locking::process::ProcessIdentity;
use crate::manifest::{
    EXPIRY_MS, Lock, LockKind, LockName, LockRecord, Repository, RepositoryError, RepositoryErrorKind, new_lock_token,
};
use crate::model::time::now_ms;
use crate::store::StoreError;

/// Time between two beats.
const INTERVAL: Duration = Duration::from_secs(30);
/// The same where beats cannot be deleted: fewer files stay behind, and two may still be lost before the lock expires.
const INTERVAL_APPEND_ONLY: Duration = Duration::from_secs(100);

/// What a lock is wanted for.
pub(super) struct Request<'a> {
    pub kind: LockKind,
    pub backup: Option<&'a str>,
    pub append_only: bool,
}

/// When something happened. A suspended machine stops the one clock, a corrected one moves the other: the longer time counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    instant: Instant,
    wall_ms: i64,
}

impl Moment {
    fn now() -> Self {
        Self { instant: Instant::now(), wall_ms: now_ms() }
    }

    fn age_ms(&self) -> i64 {
        let ticked = i64::try_from(self.instant.elapsed().as_millis()).unwrap_or(i64::MAX);
        ticked.max(now_ms().saturating_sub(self.wall_ms))
    }
}

/// What came of a try to take a lock.
pub(super) enum Attempt {
    Held(Box<Beats>),
    Blocked(Box<Lock>),
    /// The repository cannot be written to, and what is wanted needs no lock.
    Unwritable(String),
}

/// The beats of one lock.
#[derive(Debug)]
pub(super) struct Beats {
    pub repository: Repository,
    /// What a beat says.
    pub record: LockRecord,
    pub append_only: bool,
    pub expiry_ms: i64,
    /// The store's time when the lock was taken, ms UTC.
    pub store_ms: i64,
    pub state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub next: u64,
    /// The backup that the owner works on.
    pub backup: Option<String>,
    /// The newest beat that the store acknowledged, and a moment before it was stored.
    pub last: Option<(u64, Moment)>,
    /// Beats that may lie in the store.
    pub left: Vec<u64>,
    /// Why the lock is worth nothing any more.
    pub lost: Option<String>,
}

impl Beats {
    /// Puts the lock, then looks at those of others.
    pub async fn begin(repository: &Repository, request: &Request<'_>) -> Result<Attempt, FlowError> {
        let mut beats = Self::new(repository, request);
        if let Err(error) = beats.beat().await {
            let reads_only = matches!(request.kind, LockKind::Restore | LockKind::Verify | LockKind::Export)
                && is_unwritable(&error);
            if !reads_only {
                return Err(error);
            }
            // Without a file of its own there is no telling the store's time: the own clock has to do.
            return Ok(match blocker(repository, request.kind, "", now_ms()).await?.0 {
                Some(lock) => Attempt::Blocked(Box::new(lock)),
                None => {
                    tracing::debug!(%error, "no lock was taken");
                    Attempt::Unwritable(
                        "the repository cannot be written to: no lock was taken, so a prune would not wait".to_owned(),
                    )
                }
            });
        }
        let found = blocker(repository, request.kind, &beats.record.token, now_ms()).await;
        match found {
            Ok((None, store_ms)) => {
                beats.store_ms = store_ms;
                Ok(Attempt::Held(Box::new(beats)))
            }
            Ok((Some(lock), _)) => {
                beats.release().await?;
                Ok(Attempt::Blocked(Box::new(lock)))
            }
            Err(error) => {
                // The first error is the one to report.
                if let Err(release) = beats.release().await {
                    tracing::debug!(%release, "the lock stays until it expires");
                }
                Err(error.into())
            }
        }
    }

    pub fn new(repository: &Repository, request: &Request<'_>) -> Self {
        let this = ProcessIdentity::this();
        let interval = if request.append_only { INTERVAL_APPEND_ONLY } else { INTERVAL };
        let record = LockRecord {
            format: 0,
            kind: request.kind,
            token: new_lock_token(),
            host: this.host,
            boot: this.boot,
            pid_space: this.pid_space,
            pid: this.pid,
            process_start: this.start,
            command: format!("tsdb-ark {}", request.kind.name()),
            backup: None,
            since_ms: now_ms(),
            interval_ms: interval.as_millis() as i64,
            tool_version: String::new(),
            self_blake3: String::new(),
        };
        let state =
            State { next: 0, backup: request.backup.map(str::to_owned), last: None, left: Vec::new(), lost: None };
        Self {
            repository: repository.clone(),
            record,
            append_only: request.append_only,
            expiry_ms: EXPIRY_MS,
            store_ms: now_ms(),
            state: Mutex::new(state),
        }
    }

    /// Writes the next beat and deletes those before.
    pub async fn beat(&self) -> Result<(), FlowError> {
        let mut state = self.state.lock().await;
        self.beat_with(&mut state).await
    }

    pub async fn beat_with(&self, state: &mut State) -> Result<(), FlowError> {
        if let Some(lost) = &state.lost {
            return Err(FlowError::LockLost(lost.clone()));
        }
        let (begun, number) = (Moment::now(), state.next);
        state.next += 1;
        state.left.push(number);
        let record = LockRecord { backup: state.backup.clone(), ..self.record.clone() };
        self.repository.put_lock(&record, Some(number)).await?;
        if let Some((before, moment)) = state.last
            && moment.age_ms() > self.expiry_ms
            && let Some(lost) = self.pruned_since(before).await?
        {
            state.lost = Some(lost.clone());
            return Err(FlowError::LockLost(lost));
        }
        state.last = Some((number, begun));
        if !self.append_only {
            self.delete(state, Some(number)).await;
        }
        Ok(())
    }

    /// After a gap in which the lock has expired: why what it protects may be gone.
    async fn pruned_since(&self, before: u64) -> Result<Option<String>, FlowError> {
        let gap = "this process was stopped, or out of reach of the repository, for longer than its lock lives";
        if self.record.kind == LockKind::Prune {
            return Ok(Some(format!("{gap}; others may be at work, so nothing more is deleted: start prune again")));
        }
        let (blocker, _) = blocker(&self.repository, self.record.kind, &self.record.token, now_ms()).await?;
        let path = self.name(before);
        let swept = !self.repository.locks().await?.iter().any(|lock| lock.files.iter().any(|file| file.path == path));
        let pruned = swept || blocker.is_some();
        Ok(pruned.then(|| {
            format!("{gap}, and a prune has run meanwhile: files of this {} may be gone", self.record.kind.name())
        }))
    }

    pub async fn assert_alive(&self) -> Result<(), FlowError> {
        let mut state = self.state.lock().await;
        if let Some(lost) = &state.lost {
            return Err(FlowError::LockLost(lost.clone()));
        }
        let fresh = state.last.is_some_and(|(_, moment)| moment.age_ms() <= self.expiry_ms / 2);
        if fresh {
            return Ok(());
        }
        self.beat_with(&mut state).await.map_err(|error| match error {
            lost @ FlowError::LockLost(_) => lost,
            error => FlowError::LockLost(format!("the lock of the repository cannot be renewed: {error}")),
        })
    }

    /// Writes a beat and deletes the first one, for the sake of the answer.
    pub async fn replace_first(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        let Some((first, _)) = state.last else { return Ok(()) };
        let renewed = self.beat_with(&mut state).await;
        match renewed {
            Ok(()) => self.repository.store().delete(&self.name(first)).await,
            // Whoever deletes next asserts that the lock is alive, and hears of it.
            Err(_) => Ok(()),
        }
    }

    /// Deletes all beats but one, as far as that is allowed.
    async fn delete(&self, state: &mut State, but: Option<u64>) -> bool {
        let mut left = Vec::new();
        let mut refused = false;
        for number in std::mem::take(&mut state.left) {
            if but == Some(number) || refused {
                left.push(number);
                continue;
            }
            if let Err(error) = self.repository.store().delete(&self.name(number)).await {
                tracing::debug!(%error, "a beat of the own lock stays behind");
                refused = true;
                left.push(number);
            }
        }
        state.left = left;
        !refused
    }

    /// Takes the lock back: deletes its beats, or says that they count no more.
    pub async fn release(&self) -> Result<(), FlowError> {
        let mut state = self.state.lock().await;
        if state.left.is_empty() || (!self.append_only && self.delete(&mut state, None).await) {
            return Ok(());
        }
        Ok(self.repository.put_lock(&self.record, None).await?)
    }

    fn name(&self, beat: u64) -> String {
        LockName { kind: self.record.kind, token: self.record.token.clone(), beat: Some(beat) }.path()
    }
}

pub(super) async fn keep_beating(beats: Arc<Beats>, mut stopped: watch::Receiver<bool>) {
    let interval = Duration::from_millis(u64::try_from(beats.record.interval_ms).unwrap_or_default());
    let mut wait = interval;
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = interval;
        match beats.beat().await {
            Ok(()) => {}
            Err(FlowError::LockLost(lost)) => {
                tracing::warn!("{lost}");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "the lock of the repository could not be renewed; trying again");
                wait = interval / 3;
            }
        }
    }
}

/// The first live lock that bars this kind, and the store's time: that of the own newest beat, or `else_ms`.
pub(super) async fn blocker(
    repository: &Repository,
    kind: LockKind,
    own_token: &str,
    else_ms: i64,
) -> Result<(Option<Lock>, i64), RepositoryError> {
    let (others, now) = live_others(repository, own_token, else_ms).await?;
    Ok((others.into_iter().find(|lock| kind.bars(lock.kind)), now))
}

/// The live locks of others, and the store's time as above.
pub(super) async fn live_others(
    repository: &Repository,
    own_token: &str,
    else_ms: i64,
) -> Result<(Vec<Lock>, i64), RepositoryError> {
    let mut locks = repository.locks().await?;
    let own = locks.iter().find(|lock| lock.token == own_token);
    let now = own.map_or(else_ms, |lock| lock.newest_ms);
    let this = ProcessIdentity::this();
    locks.retain(|lock| lock.token != own_token && lock.is_live(now, |record| this.knows_as_gone(record)));
    Ok((locks, now))
}

fn is_unwritable(error: &FlowError) -> bool {
    let FlowError::Repository(error) = error else { return false };
    error.kind() == RepositoryErrorKind::Denied || matches!(error, RepositoryError::Store(StoreError::DiskFull { .. }))
}

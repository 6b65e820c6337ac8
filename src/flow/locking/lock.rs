//! Holding a lock of a repository while a command runs: a task writes a beat every half minute.
//!
//! What a lock promises is only as good as its last beat. A process that was stopped for longer than a lock lives (a
//! suspended machine, a store out of reach) may find that a prune has run meanwhile. Each beat after such a gap therefore
//! looks whether the beat before is still there, because a prune sweeps expired locks before it deletes anything else;
//! and nothing is committed or deleted without [`RepositoryLock::assert_alive`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::flow::locking::process::ProcessIdentity;
use crate::manifest::{
    EXPIRY_MS, Lock, LockKind, LockName, LockRecord, Repository, RepositoryError, RepositoryErrorKind, new_lock_token,
};
use crate::model::time;
use crate::model::time::now_ms;
use crate::store::StoreError;

/// Time between two beats.
const INTERVAL: Duration = Duration::from_secs(30);
/// The same where beats cannot be deleted: fewer files stay behind, and two may still be lost before the lock expires.
const INTERVAL_APPEND_ONLY: Duration = Duration::from_secs(100);
/// How long a command waits for a prune to end before it gives up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a command that ends waits for its lock to be taken back; without that it expires.
const RELEASE: Duration = Duration::from_secs(10);
/// How often a backup is claimed together with somebody else before both give up.
const CLAIMS: usize = 5;

/// A lock, held until it is dropped. Make and drop it on a plain thread.
#[derive(Debug)]
pub struct RepositoryLock {
    threads: Threads,
    held: Option<Held>,
    warning: Option<String>,
}

#[derive(Debug)]
struct Held {
    beats: Arc<Beats>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// What a lock is wanted for.
struct Request<'a> {
    kind: LockKind,
    backup: Option<&'a str>,
    append_only: bool,
}

impl RepositoryLock {
    /// Takes a lock that others may share, waiting a little for a prune to end. A restore or a verification that may not
    /// write to the repository continues without one; [`warning`](Self::warning) then says so.
    ///
    /// # Errors
    /// [`FlowError::Locked`] while a prune is alive; what the store says.
    pub fn shared(
        threads: &Threads,
        repository: &Repository,
        kind: LockKind,
        backup: Option<&str>,
    ) -> Result<Self, FlowError> {
        Self::acquire(threads, repository, &Request { kind, backup, append_only: false })
    }

    /// The lock of a backup that [`works_on`](Self::works_on) names later; with `append_only` it never tries to delete its
    /// beats.
    ///
    /// # Errors
    /// As [`shared`](Self::shared).
    pub fn backup(threads: &Threads, repository: &Repository, append_only: bool) -> Result<Self, FlowError> {
        Self::acquire(threads, repository, &Request { kind: LockKind::Backup, backup: None, append_only })
    }

    /// The lock of a worker on a backup that [`claim`](Self::claim) names later, otherwise as [`backup`](Self::backup).
    ///
    /// # Errors
    /// As [`shared`](Self::shared).
    pub fn worker(threads: &Threads, repository: &Repository, append_only: bool) -> Result<Self, FlowError> {
        Self::acquire(threads, repository, &Request { kind: LockKind::Worker, backup: None, append_only })
    }

    /// Takes the lock of a prune, which nobody shares.
    ///
    /// # Errors
    /// [`FlowError::Locked`] while anybody else is at work; what the store says.
    pub fn exclusive(threads: &Threads, repository: &Repository) -> Result<Self, FlowError> {
        Self::acquire(threads, repository, &Request { kind: LockKind::Prune, backup: None, append_only: false })
    }

    fn acquire(threads: &Threads, repository: &Repository, request: &Request<'_>) -> Result<Self, FlowError> {
        let begun = Instant::now();
        loop {
            let blocker = match threads.wait(Beats::begin(repository, request))? {
                Attempt::Held(beats) => return Ok(Self::hold(threads, Arc::new(*beats))),
                Attempt::Unwritable(warning) => {
                    return Ok(Self { threads: threads.clone(), held: None, warning: Some(warning) });
                }
                Attempt::Blocked(lock) => lock,
            };
            // A prune yields to who is at work; of two prunes that meet each gives the other a chance.
            let waits = blocker.kind == LockKind::Prune;
            if !waits || begun.elapsed() > PATIENCE {
                return Err(FlowError::Locked(locked_text(repository.store().place(), request.kind, &blocker)));
            }
            pause(threads);
        }
    }

    fn hold(threads: &Threads, beats: Arc<Beats>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = threads.spawn(keep_beating(Arc::clone(&beats), stopped));
        Self { threads: threads.clone(), held: Some(Held { beats, stop, task: Some(task) }), warning: None }
    }

    /// Why there is no lock, when there is none.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Tells the others which backup it is about, with a fresh beat.
    ///
    /// # Errors
    /// [`FlowError::LockLost`]; what the store says.
    pub fn works_on(&self, backup: &str) -> Result<(), FlowError> {
        self.announce(Some(backup))
    }

    fn announce(&self, backup: Option<&str>) -> Result<(), FlowError> {
        let Some(held) = &self.held else { return Ok(()) };
        self.threads.wait(async {
            let mut state = held.beats.state.lock().await;
            state.backup = backup.map(str::to_owned);
            held.beats.beat_with(&mut state).await
        })
    }

    /// Works on a backup that nobody else works on, a worker beside other workers; otherwise says, in words, who does. Of
    /// several that ask at the same time one is the first, and the others hear of it.
    ///
    /// # Errors
    /// [`FlowError::LockLost`]; what the store says.
    pub fn claim(&self, repository: &Repository, backup: &str) -> Result<Option<String>, FlowError> {
        let mut seen = None;
        for _ in 0..CLAIMS {
            if let Some(owner) = self.other_on(repository, backup)? {
                return Ok(Some(owner));
            }
            self.works_on(backup)?;
            seen = self.other_on(repository, backup)?;
            if seen.is_none() {
                return Ok(None);
            }
            self.announce(None)?;
            pause(&self.threads);
        }
        Ok(seen)
    }

    fn other_on(&self, repository: &Repository, backup: &str) -> Result<Option<String>, FlowError> {
        let Some(held) = &self.held else { return Ok(None) };
        let (others, _) = self.threads.wait(live_others(repository, self.token(), now_ms()))?;
        let works = |lock: &&Lock| lock.record.as_ref().is_some_and(|record| record.backup.as_deref() == Some(backup));
        let alone = |lock: &&Lock| !held.beats.record.kind.shares_backup(lock.kind);
        Ok(others.iter().filter(alone).find(works).map(owner_text))
    }

    /// When the lock was taken, by the store's clock in ms; without a lock by the own one.
    pub fn store_ms(&self) -> i64 {
        self.held.as_ref().map_or_else(now_ms, |held| held.beats.store_ms)
    }

    /// The lock's token; empty without a lock.
    pub fn token(&self) -> &str {
        self.held.as_ref().map_or("", |held| held.beats.record.token.as_str())
    }

    /// Makes sure that the lock has not expired, with a fresh beat when the last one is old. To be called right before
    /// a backup is committed, and before anything is deleted. Costs nothing while beats arrive.
    ///
    /// # Errors
    /// [`FlowError::LockLost`].
    pub fn assert_alive(&self) -> Result<(), FlowError> {
        self.held.as_ref().map_or(Ok(()), |held| self.threads.wait(held.beats.assert_alive()))
    }

    /// Proves that this credential may delete, on a file of the lock's own.
    ///
    /// # Errors
    /// The store's, as a rule [`StoreError::PermissionDenied`].
    pub fn assert_may_delete(&self) -> Result<(), FlowError> {
        let Some(held) = &self.held else { return Ok(()) };
        Ok(self.threads.wait(held.beats.replace_first())?)
    }
}

impl Drop for RepositoryLock {
    fn drop(&mut self) {
        let Some(held) = self.held.as_mut() else { return };
        // Fails only when the task has ended.
        let _ = held.stop.send(true);
        let (task, beats) = (held.task.take(), Arc::clone(&held.beats));
        let released = self.threads.wait(async {
            tokio::time::timeout(RELEASE, async {
                if let Some(task) = task {
                    // A task that panicked beats no more, which is all that is wanted.
                    let _ = task.await;
                }
                beats.release().await
            })
            .await
        });
        if !matches!(released, Ok(Ok(()))) {
            tracing::warn!("the lock of this process could not be taken back; it expires by itself in 5 minutes");
        }
    }
}

/// When something happened. A suspended machine stops the one clock, a corrected one moves the other: the longer time counts.
#[derive(Debug, Clone, Copy)]
struct Moment {
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
enum Attempt {
    Held(Box<Beats>),
    Blocked(Box<Lock>),
    /// The repository cannot be written to, and what is wanted needs no lock.
    Unwritable(String),
}

/// The beats of one lock.
#[derive(Debug)]
struct Beats {
    repository: Repository,
    record: LockRecord,
    append_only: bool,
    expiry_ms: i64,
    store_ms: i64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: u64,
    /// The backup that the owner works on.
    backup: Option<String>,
    /// The newest beat that the store acknowledged, and a moment before it was stored.
    last: Option<(u64, Moment)>,
    /// Beats that may lie in the store.
    left: Vec<u64>,
    /// Why the lock is worth nothing any more.
    lost: Option<String>,
}

impl Beats {
    /// Puts the lock, then looks at those of others.
    async fn begin(repository: &Repository, request: &Request<'_>) -> Result<Attempt, FlowError> {
        let mut beats = Self::new(repository, request);
        if let Err(error) = beats.beat().await {
            let reads_only = matches!(request.kind, LockKind::Restore | LockKind::Verify) && is_unwritable(&error);
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
                // The error above is the news; a lock that stays behind expires.
                let _ = beats.release().await;
                Err(error.into())
            }
        }
    }

    fn new(repository: &Repository, request: &Request<'_>) -> Self {
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
    async fn beat(&self) -> Result<(), FlowError> {
        let mut state = self.state.lock().await;
        self.beat_with(&mut state).await
    }

    async fn beat_with(&self, state: &mut State) -> Result<(), FlowError> {
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

    async fn assert_alive(&self) -> Result<(), FlowError> {
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
    async fn replace_first(&self) -> Result<(), StoreError> {
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
    async fn release(&self) -> Result<(), FlowError> {
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

async fn keep_beating(beats: Arc<Beats>, mut stopped: watch::Receiver<bool>) {
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
async fn blocker(
    repository: &Repository,
    kind: LockKind,
    own_token: &str,
    else_ms: i64,
) -> Result<(Option<Lock>, i64), RepositoryError> {
    let (others, now) = live_others(repository, own_token, else_ms).await?;
    Ok((others.into_iter().find(|lock| kind.bars(lock.kind)), now))
}

/// The live locks of others, and the store's time as above.
async fn live_others(
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

/// Long enough that two which met do not meet again.
fn pause(threads: &Threads) {
    let time = Duration::from_millis(300 + fastrand::u64(..700));
    threads.wait(async { tokio::time::sleep(time).await });
}

/// Who holds a lock, for a person.
pub fn owner_text(lock: &Lock) -> String {
    let kind = lock.kind.name();
    let Some(record) = &lock.record else { return format!("{kind} by an owner whose lock cannot be read") };
    let backup = record.backup.as_ref().map(|id| format!(" of {id}")).unwrap_or_default();
    format!("{kind}{backup} on host {}, pid {}, since {}", record.host, record.pid, time::text_time(record.since_ms))
}

fn locked_text(place: &str, kind: LockKind, lock: &Lock) -> String {
    let rule = match kind {
        LockKind::Prune => "prune needs the repository to itself",
        _ => "prune needs the repository to itself until it has finished",
    };
    format!(
        "{place} is locked by {}; the lock expires at {} unless its owner renews it. {rule}: wait until it has ended and \
         try again; if its host is gone, try again after that time",
        owner_text(lock),
        time::text_time(lock.expires_ms())
    )
}

#[cfg(test)]
mod tests;

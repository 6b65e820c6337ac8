//! Holds a lock of a repository while a command runs: a task refreshes it every 30 s, every 100 s where nothing may be
//! deleted.
//!
//! What a lock promises is only as good as its last beat. A process that was stopped for longer than a lock lives (a
//! suspended machine, a store out of reach) may find that a prune has run meanwhile. Each beat after such a gap therefore
//! looks whether the beat before is still there, because a prune sweeps expired locks before it deletes anything else;
//! and nothing is committed or deleted without [`RepositoryLock::assert_alive`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::flow::locking::beats::{Attempt, Beats, Request, keep_beating, live_others};
use crate::manifest::{EXPIRY_MS, Lock, LockKind, Repository};
use crate::model::time;
use crate::model::time::now_ms;

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
        let reason = match released {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", RELEASE.as_secs()),
        };
        tracing::warn!(
            reason,
            "the lock of the repository was not released; it expires {} minutes after its last refresh",
            EXPIRY_MS / 60_000
        );
    }
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

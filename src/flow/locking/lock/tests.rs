use bytes::Bytes;

use super::*;
use crate::flow::locking::process::tests::own_record;
use crate::manifest::{LockName, LockRecord};
use crate::store::Store;

fn repository() -> (Threads, Repository) {
    let threads = Threads::for_store().unwrap();
    let repository = threads.wait(Repository::init_or_open(Store::in_memory())).unwrap();
    (threads, repository)
}

fn files(threads: &Threads, repository: &Repository) -> Vec<String> {
    let entries = threads.wait(repository.store().list("locks")).unwrap();
    entries.into_iter().map(|entry| entry.path).collect()
}

fn request(kind: LockKind) -> Request<'static> {
    Request { kind, backup: None, append_only: false }
}

/// A lock that a process of another host holds.
fn foreign(threads: &Threads, repository: &Repository, kind: LockKind) {
    let record = LockRecord { kind, token: "ff".into(), host: "elsewhere".into(), pid: 4711, ..own_record() };
    threads.wait(repository.put_lock(&record, Some(3))).unwrap();
}

#[test]
fn a_lock_leaves_nothing_behind() {
    let (threads, repository) = repository();
    for kind in [LockKind::Backup, LockKind::Restore, LockKind::Verify, LockKind::Export] {
        let lock = RepositoryLock::shared(&threads, &repository, kind, Some("b")).unwrap();
        assert_eq!(files(&threads, &repository).len(), 1);
        lock.assert_alive().unwrap();
        drop(lock);
        assert_eq!(files(&threads, &repository), [""; 0]);
    }
    drop(RepositoryLock::exclusive(&threads, &repository).unwrap());
    assert_eq!(files(&threads, &repository), [""; 0]);
}

#[test]
fn workers_share_a_backup_which_a_committer_has_alone() {
    let (threads, repository) = repository();
    let workers = [0, 1].map(|_| RepositoryLock::worker(&threads, &repository, false).unwrap());
    for worker in &workers {
        assert_eq!(worker.claim(&repository, "x").unwrap(), None);
    }
    let committer = RepositoryLock::backup(&threads, &repository, false).unwrap();
    let owner = committer.claim(&repository, "x").unwrap().unwrap();
    assert!(owner.starts_with("worker of x"), "{owner}");
    assert_eq!(committer.claim(&repository, "y").unwrap(), None);
    assert!(RepositoryLock::exclusive(&threads, &repository).is_err());
    drop(workers);
    assert_eq!(committer.claim(&repository, "x").unwrap(), None);
    let late = RepositoryLock::worker(&threads, &repository, false).unwrap();
    let owner = late.claim(&repository, "x").unwrap().unwrap();
    assert!(owner.starts_with("backup of x"), "{owner}");
}

#[test]
fn an_append_only_lock_is_released_by_a_mark() {
    let (threads, repository) = repository();
    let lock = RepositoryLock::backup(&threads, &repository, true).unwrap();
    threads.wait(lock.held.as_ref().unwrap().beats.beat()).unwrap();
    assert_eq!(files(&threads, &repository).len(), 2, "both beats stay");
    drop(lock);
    let left = files(&threads, &repository);
    assert!(left.len() == 3 && left[2].ends_with("-released.json"), "{left:?}");
    drop(RepositoryLock::exclusive(&threads, &repository).unwrap());
}

#[test]
fn beats_go_on_by_themselves_until_the_lock_is_dropped() {
    let (threads, repository) = repository();
    let mut beats = Beats::new(&repository, &request(LockKind::Backup));
    beats.record.interval_ms = 20;
    threads.wait(beats.beat()).unwrap();
    let lock = RepositoryLock::hold(&threads, Arc::new(beats));
    loop {
        let left = files(&threads, &repository);
        assert!((1..=2).contains(&left.len()), "{left:?}");
        let beat = left.last().and_then(|path| LockName::parse(path)).and_then(|name| name.beat);
        if beat > Some(5) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(lock);
    // Time enough for a beat that should not come any more.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(files(&threads, &repository), [""; 0]);
}

#[test]
fn a_beat_takes_the_place_of_the_one_before() {
    let (threads, repository) = repository();
    let lock = RepositoryLock::shared(&threads, &repository, LockKind::Backup, None).unwrap();
    for number in 1..4 {
        threads.wait(lock.held.as_ref().unwrap().beats.beat()).unwrap();
        let left = files(&threads, &repository);
        assert!(left.len() == 1 && left[0].ends_with(&format!("-{number}.json")), "{left:?}");
    }
    lock.assert_may_delete().unwrap();
    assert_eq!(files(&threads, &repository).len(), 1);
}

#[test]
fn many_may_work_but_prune_only_alone() {
    let (threads, repository) = repository();
    let backup = RepositoryLock::backup(&threads, &repository, false).unwrap();
    backup.works_on("b7").unwrap();
    let verify = RepositoryLock::shared(&threads, &repository, LockKind::Verify, None).unwrap();
    let begun = Instant::now();
    let error = RepositoryLock::exclusive(&threads, &repository).unwrap_err();
    assert!(error.exit_code() == 11 && begun.elapsed() < PATIENCE, "prune yields at once: {error}");
    let pid = std::process::id().to_string();
    for part in ["backup of b7", &pid, "expires at", "since 20"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    drop((backup, verify));
    let prune = RepositoryLock::exclusive(&threads, &repository).unwrap();
    let begun = Instant::now();
    let error = RepositoryLock::shared(&threads, &repository, LockKind::Backup, None).unwrap_err();
    assert!(error.exit_code() == 11 && begun.elapsed() >= PATIENCE, "{error}");
    drop(prune);
    drop(RepositoryLock::shared(&threads, &repository, LockKind::Backup, None).unwrap());
    assert_eq!(files(&threads, &repository), [""; 0], "who gives up leaves nothing behind");
}

#[test]
fn a_backup_waits_for_a_prune_that_ends_soon() {
    let (threads, repository) = repository();
    let prune = RepositoryLock::exclusive(&threads, &repository).unwrap();
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| RepositoryLock::shared(&threads, &repository, LockKind::Backup, None));
        std::thread::sleep(Duration::from_millis(500));
        drop(prune);
        assert!(backup.join().unwrap().is_ok());
    });
}

/// Of a prune and a backup that begin at the same time never both go on.
#[test]
fn racers_see_each_other() {
    let (threads, repository) = repository();
    let mut held = [0, 0];
    for _ in 0..200 {
        let start = std::sync::Barrier::new(2);
        let take = |kind| {
            start.wait();
            matches!(threads.wait(Beats::begin(&repository, &request(kind))).unwrap(), Attempt::Held(_))
        };
        let (backup, prune) = std::thread::scope(|scope| {
            let prune = scope.spawn(|| take(LockKind::Prune));
            (take(LockKind::Backup), prune.join().unwrap())
        });
        assert!(!(backup && prune), "both hold a lock");
        held = [held[0] + u32::from(backup), held[1] + u32::from(prune)];
        // What the winner left: this test holds locks without ever releasing them.
        for path in files(&threads, &repository) {
            threads.wait(repository.store().delete(&path)).unwrap();
        }
    }
    assert!(held[0] + held[1] > 0, "nobody ever won");
}

#[test]
fn of_several_that_claim_a_backup_one_gets_it() {
    let (threads, repository) = repository();
    for _ in 0..5 {
        let start = std::sync::Barrier::new(3);
        // Who got it keeps it until all have asked.
        let end = std::sync::Barrier::new(3);
        let claim = || {
            let lock = RepositoryLock::backup(&threads, &repository, false).unwrap();
            start.wait();
            let owner = lock.claim(&repository, "b").unwrap();
            end.wait();
            owner
        };
        let owners =
            std::thread::scope(|scope| [(); 3].map(|()| scope.spawn(claim)).map(|racer| racer.join().unwrap()));
        assert_eq!(owners.iter().filter(|owner| owner.is_none()).count(), 1, "{owners:?}");
    }
    let lock = RepositoryLock::backup(&threads, &repository, false).unwrap();
    assert_eq!(lock.claim(&repository, "b").unwrap(), None, "nobody is at work any more");
}

#[test]
fn locks_of_the_dead_do_not_bar() {
    let (threads, repository) = repository();
    let gone = LockRecord { kind: LockKind::Prune, token: "dd".into(), pid: u32::MAX, ..own_record() };
    threads.wait(repository.put_lock(&gone, Some(0))).unwrap();
    drop(RepositoryLock::shared(&threads, &repository, LockKind::Backup, None).unwrap());
    drop(RepositoryLock::exclusive(&threads, &repository).unwrap());
    foreign(&threads, &repository, LockKind::Backup);
    assert_eq!(RepositoryLock::exclusive(&threads, &repository).unwrap_err().exit_code(), 11);
}

fn aged(threads: &Threads, repository: &Repository, kind: LockKind, expiry_ms: i64) -> Beats {
    let beats = Beats { expiry_ms, ..Beats::new(repository, &request(kind)) };
    threads.wait(beats.beat()).unwrap();
    std::thread::sleep(Duration::from_millis(expiry_ms as u64 + 20));
    beats
}

/// Longer than its lock lives, but nobody pruned: the backup may be committed.
#[test]
fn after_a_gap_without_a_prune_the_lock_is_renewed() {
    let (threads, repository) = repository();
    let beats = aged(&threads, &repository, LockKind::Backup, 60);
    threads.wait(beats.assert_alive()).unwrap();
    assert_eq!(threads.wait(beats.state.lock()).next, 2, "a fresh beat was written");
}

#[test]
fn after_a_gap_in_which_the_beat_was_swept_nothing_is_committed() {
    let (threads, repository) = repository();
    let beats = aged(&threads, &repository, LockKind::Backup, 60);
    for path in files(&threads, &repository) {
        threads.wait(repository.store().delete(&path)).unwrap();
    }
    for _ in 0..2 {
        let error = threads.wait(beats.assert_alive()).unwrap_err();
        assert!(error.exit_code() == 75 && error.to_string().contains("prune has run"), "{error}");
    }
}

#[test]
fn after_a_gap_with_a_prune_at_work_nothing_is_committed() {
    let (threads, repository) = repository();
    let beats = aged(&threads, &repository, LockKind::Backup, 60);
    foreign(&threads, &repository, LockKind::Prune);
    assert_eq!(threads.wait(beats.assert_alive()).unwrap_err().exit_code(), 75);
}

#[test]
fn a_prune_deletes_nothing_after_a_gap() {
    let (threads, repository) = repository();
    let beats = aged(&threads, &repository, LockKind::Prune, 60);
    assert_eq!(threads.wait(beats.assert_alive()).unwrap_err().exit_code(), 75);
}

#[test]
fn a_lock_that_cannot_be_renewed_is_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let threads = Threads::for_store().unwrap();
    let store = Store::open(&folder.path().to_str().unwrap().parse().unwrap(), &Default::default()).unwrap();
    let repository = threads.wait(Repository::init_or_open(store)).unwrap();
    let beats = aged(&threads, &repository, LockKind::Backup, 60);
    // A symbolic link where the folder was is never followed: nothing can be written there.
    std::fs::remove_dir_all(folder.path().join("locks")).unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("locks")).unwrap();
    let error = threads.wait(beats.assert_alive()).unwrap_err();
    assert!(error.exit_code() == 75 && error.to_string().contains("cannot be renewed"), "{error}");
}

#[test]
fn the_command_of_an_unreadable_lock_is_named_too() {
    let (threads, repository) = repository();
    threads.wait(repository.store().put_new("locks/verify-ee-0.json", Bytes::from_static(b"{"))).unwrap();
    let error = RepositoryLock::exclusive(&threads, &repository).unwrap_err();
    assert!(error.exit_code() == 11 && error.to_string().contains("locked by verify"), "{error}");
}

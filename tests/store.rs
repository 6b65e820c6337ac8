//! The contract that every store keeps: one list of functions, run on memory, on local disk, and on two real S3 servers
//! that have not a line in common.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helper functions too")]

mod support;

#[path = "store/local.rs"]
mod local;
#[path = "store/s3.rs"]
mod s3;

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tsdb_ark::manifest::{BackupWriter, Manifest, Repository, RepositoryError, ShardRecord};
use tsdb_ark::model::Retry;
use tsdb_ark::model::ShardRow;
use tsdb_ark::store::{RepositoryUrl, Store, StoreError, StoreOptions};

const MIB: usize = 1024 * 1024;

/// Every function of the contract, each in a folder of its own.
async fn contract(store: &Store) {
    create_only(store).await;
    racing_creators(store).await;
    missing_files(store).await;
    ranges(store).await;
    listings(store).await;
    sinks_store_what_they_were_given(store).await;
    aborted_and_dropped_sinks_leave_nothing(store).await;
    deletes(store).await;
    racing_committers(store).await;
    racing_records(store).await;
}

async fn create_only(store: &Store) {
    store.put_new("create/a.json", Bytes::from_static(b"first")).await.unwrap();
    let error = store.put_new("create/a.json", Bytes::from_static(b"second")).await.unwrap_err();
    assert!(error.is_already_exists(), "{error}");
    assert_eq!(error.retry(), Retry::Permanent);
    assert!(error.to_string().contains("create/a.json"), "{error}");
    assert_eq!(store.get("create/a.json").await.unwrap(), "first");

    let mut sink = store.create_file("create/a.json").unwrap();
    sink.write(Bytes::from_static(b"third")).await.unwrap();
    assert!(sink.finish().await.unwrap_err().is_already_exists());
    assert_eq!(store.get("create/a.json").await.unwrap(), "first");
}

async fn racing_creators(store: &Store) {
    for round in 0..5 {
        let path = format!("race/{round}.json");
        let racers: Vec<_> = (0..16)
            .map(|racer| {
                let (store, path) = (store.clone(), path.clone());
                tokio::spawn(async move { store.put_new(&path, Bytes::from(format!("{racer}"))).await })
            })
            .collect();
        let mut winners = Vec::new();
        for (racer, task) in racers.into_iter().enumerate() {
            match task.await.unwrap() {
                Ok(()) => winners.push(racer),
                Err(error) => assert!(error.is_already_exists(), "{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        assert_eq!(store.get(&path).await.unwrap(), winners[0].to_string());
    }
}

async fn missing_files(store: &Store) {
    let error = store.get("missing/x").await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("missing/x"), "{error}");
    assert!(store.get_range("missing/x", 0..1).await.unwrap_err().is_not_found());
    assert_eq!(store.size("missing/x").await.unwrap(), None);
    assert_eq!(store.list("missing").await.unwrap(), []);
    assert_eq!(store.folders("missing").await.unwrap(), [""; 0]);
}

async fn ranges(store: &Store) {
    store.put_new("range/x", Bytes::from_static(b"0123456789")).await.unwrap();
    assert_eq!(store.size("range/x").await.unwrap(), Some(10));
    assert_eq!(store.get_range("range/x", 2..5).await.unwrap(), "234");
    assert!(store.get_range("range/x", 20..21).await.is_err());
}

async fn listings(store: &Store) {
    for path in ["list/b/2", "list/a/1", "list/b/1", "list/top", "list-other/x"] {
        store.put_new(path, Bytes::from_static(b"ab")).await.unwrap();
    }
    let entries = store.list("list").await.unwrap();
    let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["list/a/1", "list/b/1", "list/b/2", "list/top"]);
    assert!(entries.iter().all(|entry| entry.size == 2));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    assert!(entries.iter().all(|entry| (now - entry.modified_ms).abs() < 3_600_000), "{entries:?}");
    assert_eq!(store.folders("list").await.unwrap(), ["a", "b"]);
}

async fn sinks_store_what_they_were_given(store: &Store) {
    for (name, size) in
        [("empty", 0), ("small", 1000), ("part", 8 * MIB), ("large", 20 * MIB + 17), ("parts", 32 * MIB)]
    {
        let content: Vec<u8> = (0..size).map(|at| (at * 31 + at / 256) as u8).collect();
        let path = format!("sink/{name}");
        let mut sink = store.create_file(&path).unwrap();
        for piece in content.chunks(3 * MIB + 1) {
            sink.write(Bytes::copy_from_slice(piece)).await.unwrap();
            assert_eq!(store.size(&path).await.unwrap(), None, "{name} is visible before its end");
        }
        let stored = sink.finish().await.unwrap();
        assert_eq!((stored.path.as_str(), stored.size), (path.as_str(), size as u64));
        assert_eq!(stored.blake3, blake3::hash(&content).to_hex().to_string());
        assert!(store.get(&path).await.unwrap() == content, "{name}");
    }
}

async fn aborted_and_dropped_sinks_leave_nothing(store: &Store) {
    for (name, size) in [("small", 10), ("large", 9 * MIB)] {
        let mut sink = store.create_file(&format!("abort/{name}")).unwrap();
        sink.write(Bytes::from(vec![1; size])).await.unwrap();
        sink.abort().await.unwrap();
        let mut sink = store.create_file(&format!("abort/dropped-{name}")).unwrap();
        sink.write(Bytes::from(vec![1; size])).await.unwrap();
    }
    // FUSE closes a file a moment after its program has, and shows it under another name until then.
    for _ in 0..100 {
        if store.list("abort").await.unwrap().is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(store.list("abort").await.unwrap(), []);
}

async fn deletes(store: &Store) {
    store.put_new("delete/x", Bytes::from_static(b"x")).await.unwrap();
    store.delete("delete/x").await.unwrap();
    assert_eq!(store.size("delete/x").await.unwrap(), None);
    store.delete("delete/x").await.unwrap();
    store.put_new("delete/x", Bytes::from_static(b"y")).await.unwrap();
}

/// Sixteen processes try to commit the same backup.
async fn racing_committers(store: &Store) {
    let repository = Repository::init_or_open(store.clone()).await.unwrap();
    for _ in 0..3 {
        let first = repository.begin_backup();
        first.put_shard_record(record_of(0)).await.unwrap();
        let backup = first.id().to_owned();
        let mut writers = Vec::new();
        for _ in 0..16 {
            writers.push(repository.resume_backup(&backup).await.unwrap());
        }
        let commit = |writer: BackupWriter| async move {
            (writer.attempt().to_owned(), writer.commit(Manifest::default()).await)
        };
        let racers: Vec<_> = writers.into_iter().map(|writer| tokio::spawn(commit(writer))).collect();
        let (mut winners, mut attempts) = (Vec::new(), BTreeSet::new());
        for racer in racers {
            let (attempt, result) = racer.await.unwrap();
            attempts.insert(attempt.clone());
            match result {
                Ok(manifest) => winners.push((attempt, manifest)),
                Err(error) => assert!(matches!(error, RepositoryError::AlreadyCommitted { .. }), "{error}"),
            }
        }
        assert_eq!((winners.len(), attempts.len()), (1, 16));
        let stored = repository.load(&backup).await.unwrap();
        assert_eq!((&stored.attempt, &stored), (&winners[0].0, &winners[0].1));
    }
    assert_eq!(repository.list().await.unwrap().0.len(), 3);
}

/// The record of an attempt.
fn record_of(attempt: u32) -> ShardRecord {
    let shard = ShardRow { table: "t".into(), attempt: format!("{attempt:012x}"), ..ShardRow::default() };
    ShardRecord { shard, ..ShardRecord::default() }
}

/// Sixteen attempts at one shard, each recorded twice: all are there, once.
async fn racing_records(store: &Store) {
    let repository = Repository::init_or_open(store.clone()).await.unwrap();
    let writer = repository.begin_backup();
    let racers = (0..32).map(|racer| {
        let writer = writer.clone();
        tokio::spawn(async move { writer.put_shard_record(record_of(racer / 2)).await.unwrap() })
    });
    for racer in racers.collect::<Vec<_>>() {
        racer.await.unwrap();
    }
    let stored = repository.shard_records(writer.id()).await.unwrap();
    let attempts: Vec<&str> = stored.iter().map(|record| record.shard.attempt.as_str()).collect();
    let wanted: Vec<String> = (0..16).map(|racer| format!("{racer:012x}")).collect();
    assert_eq!(attempts, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_keeps_the_contract() {
    let store = Store::in_memory();
    contract(&store).await;
    assert_eq!(store.local_path("a"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_local_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("not/yet/there");
    let url: RepositoryUrl = root.to_str().unwrap().parse().unwrap();
    let error = Store::open(&url, &StoreOptions::default()).unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("not/yet/there"), "{error}");
    let store = Store::open_or_create(&url, &StoreOptions::default()).unwrap();
    contract(&store).await;
    let path = store.local_path("create/a.json").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"first");
    // Nothing half-written stays either, not even under another name.
    let abort = root.join("abort");
    assert!(!abort.exists() || std::fs::read_dir(abort).unwrap().next().is_none());
}

#[tokio::test]
async fn a_read_only_directory_is_reported_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let mut root = directory.path().to_owned();
    let read_only = std::os::unix::fs::PermissionsExt::from_mode(0o555);
    std::fs::set_permissions(&root, read_only).unwrap();
    if std::fs::write(root.join("probe"), b"").is_ok() {
        // The superuser may write anywhere but here.
        root = "/sys/kernel".into();
    }
    let store = Store::open(&RepositoryUrl::Local(root.clone()), &StoreOptions::default()).unwrap();
    let error = store.put_new("file.json", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(error, StoreError::PermissionDenied { .. }), "{error:?}");
    assert_eq!(error.retry(), Retry::Permanent);
    assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn a_file_as_root_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let url = RepositoryUrl::Local(file);
    assert!(Store::open_or_create(&url, &StoreOptions::default()).is_err());
}

//! A store that overwrites where it was asked to create only: refused, or used under the weaker rule.
//!
//! The server is a real one behind a proxy that takes the condition out of the requests. The condition is part of what is
//! signed, so the bucket is open to everybody and nothing is signed.

use tsdb_ark::manifest::{BackupWriter, CommitRule, Manifest, Repository, RepositoryError};
use tsdb_ark::store::{RepositoryUrl, Store, StoreOptions};

use super::{backup_words, print_line, tables};
use crate::support::ark::{self, Run};
use crate::support::bed::Bed;
use crate::support::faults::http::{Fault, FaultPlan, HttpProxy, Rule};
use crate::support::s3::{self, S3Server};

/// A proxy without the condition, and an open bucket behind it.
fn overwriting() -> (HttpProxy, String) {
    let server = S3Server::versitygw();
    let bucket = server.bucket("overwrites");
    server.open_to_all(&bucket);
    let plan = FaultPlan { without_header: Some("if-none-match"), ..FaultPlan::default() };
    (HttpProxy::start(&server.address(), plan), bucket)
}

fn store(proxy: &HttpProxy, bucket: &str) -> Store {
    let mut variables = s3::variables(&proxy.url());
    variables.retain(|name, _| !name.contains("KEY"));
    variables.insert("AWS_SKIP_SIGNATURE".into(), "true".into());
    let url: RepositoryUrl = format!("s3://{bucket}").parse().unwrap();
    Store::open_with(&url, &StoreOptions::default(), &variables).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_committers_read_back_who_won() {
    let (proxy, bucket) = overwriting();
    let store = store(&proxy, &bucket);
    let refused = Repository::init_or_open(store.clone()).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::NotCreateOnly { .. }), "{refused}");
    assert!(refused.to_string().contains("--weak-commit"), "{refused}");
    let repository = Repository::init_or_open_weak(store).await.unwrap();
    assert_eq!(repository.commit_rule(), CommitRule::ReadBack);
    let first = repository.begin_backup();
    first.put_shard_record(tsdb_ark::manifest::ShardRecord::default()).await.unwrap();
    let mut writers = Vec::new();
    for _ in 0..16 {
        writers.push(repository.resume_backup(first.id()).await.unwrap());
    }
    let commit = |writer: BackupWriter| async move { writer.commit(Manifest::default()).await };
    let racers: Vec<_> = writers.into_iter().map(|writer| tokio::spawn(commit(writer))).collect();
    let mut winners = Vec::new();
    for racer in racers {
        match racer.await.unwrap() {
            Ok(manifest) => winners.push(manifest),
            Err(error) => assert!(matches!(error, RepositoryError::AlreadyCommitted { .. }), "{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    let stored = repository.load(first.id()).await.unwrap();
    assert_eq!((&stored, stored.commit_rule), (&winners[0], CommitRule::ReadBack));
    // Whoever comes later finds it there and overwrites nothing.
    assert!(first.commit(Manifest::default()).await.is_err());
    assert_eq!(repository.load(first.id()).await.unwrap(), stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_weaker_rule_sends_no_condition_and_a_directory_needs_none() {
    let server = S3Server::versitygw();
    let condition = Rule::all(Fault::InternalError).with("if-none-match");
    let proxy = HttpProxy::start(&server.address(), FaultPlan::one(condition));
    let url: RepositoryUrl = format!("s3://{}", server.bucket("weak")).parse().unwrap();
    let store = Store::open_with(&url, &StoreOptions::default(), &s3::variables(&proxy.url())).unwrap();
    let repository = Repository::init_or_open_weak(store.clone()).await.unwrap();
    assert_eq!(repository.commit_rule(), CommitRule::ReadBack);
    let manifest = repository.begin_backup().commit(Manifest::default()).await.unwrap();
    assert_eq!((manifest.commit_rule, proxy.count()), (CommitRule::ReadBack, 0));
    let folder = tempfile::tempdir().unwrap();
    let url = RepositoryUrl::Local(folder.path().to_owned());
    let repository = Repository::init_or_open_weak(Store::open(&url, &StoreOptions::default()).unwrap()).await.unwrap();
    assert_eq!(repository.commit_rule(), CommitRule::CreateOnly);
}

#[test]
fn a_backup_refuses_or_says_aloud() {
    let (bed, (proxy, bucket)) = (Bed::shared(), overwriting());
    let repository = format!("s3://{bucket}/prefix");
    let run = |words: &[String]| -> Run {
        let mut command = ark::command();
        s3::lead(&mut command, &proxy.url()).env("AWS_SKIP_SIGNATURE", "true").args(words);
        ark::finished(command.output().unwrap())
    };
    let refused = run(&backup_words(bed, tables(bed), &repository, &[])).expect(1);
    assert!(refused.err.contains("--weak-commit") && refused.err.contains(&repository), "{}", refused.err);
    let mut look = backup_words(bed, tables(bed), &repository, &[]);
    look[0] = "check".into();
    let check = run(&look).expect(3);
    assert!(check.json["stops_a_backup"].to_string().contains("ignores If-None-Match"), "{}", check.out);
    print_line("a store that ignores If-None-Match", "header taken out", &refused);
    let done = run(&backup_words(bed, tables(bed), &repository, &["--weak-commit"])).expect(0);
    assert!(done.json["warnings"].to_string().contains("weaker rule"), "{}", done.out);
    print_line("the same with --weak-commit", "header taken out", &done);
    let words = ["verify", "--json", "--level", "cells", "--repository", &repository].map(str::to_owned);
    assert_eq!(run(&words).expect(0).json["differences"], 0);
}

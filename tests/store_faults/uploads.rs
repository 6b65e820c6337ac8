//! Large files to S3 through faults, and what a run that was stopped leaves there.

use std::time::Duration;

use bytes::Bytes;
use tsdb_ark::manifest::{Manifest, Repository};
use tsdb_ark::store::{RepositoryUrl, Store, StoreError, StoreOptions};

use crate::support::faults::http::{Fault, FaultPlan, HttpProxy, Mix, Rule};
use crate::support::s3::{self, S3Server};

const MIB: usize = 1024 * 1024;

fn store(proxy: &HttpProxy, bucket: &str, retry_for: u64, timeout: u64) -> Store {
    let url: RepositoryUrl = format!("s3://{bucket}").parse().unwrap();
    let options = StoreOptions {
        retry_for: Duration::from_secs(retry_for),
        timeout: Some(Duration::from_secs(timeout)),
        ..StoreOptions::default()
    };
    Store::open_with(&url, &options, &s3::variables(&proxy.url())).unwrap()
}

fn content() -> Vec<u8> {
    (0..36 * MIB).map(|at| (at * 31 + at / 4096) as u8).collect()
}

async fn upload(store: &Store, path: &str, content: &[u8]) -> Result<(), StoreError> {
    let mut sink = store.create_file(path)?;
    for piece in content.chunks(3 * MIB) {
        if let Err(error) = sink.write(Bytes::copy_from_slice(piece)).await {
            let _ = sink.abort().await;
            return Err(error);
        }
    }
    sink.finish().await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_come_through_faults() {
    let server = S3Server::versitygw();
    let bucket = server.bucket("large");
    let content = content();
    let put = |fault, path| Rule::on(fault, "PUT", path);
    let plans = [
        ("500", FaultPlan::one(put(Fault::InternalError, "partNumber").after(1).times(3))),
        ("reset", FaultPlan::one(put(Fault::Reset, "partNumber").times(3))),
        ("part-lost", FaultPlan::one(put(Fault::AnswerLost, "partNumber").times(2))),
        ("part-stalled", FaultPlan::one(put(Fault::AnswerStalled, "partNumber").times(2))),
        ("begin-lost", FaultPlan::one(Rule::on(Fault::AnswerLost, "POST", "uploads").times(1))),
        ("begin-cut", FaultPlan::one(Rule::on(Fault::AnswerCut, "POST", "uploads").times(2))),
        ("end-cut", FaultPlan::one(Rule::on(Fault::AnswerCut, "POST", "uploadId").times(1))),
        ("end-lost", FaultPlan::one(Rule::on(Fault::AnswerLost, "POST", "uploadId").times(1))),
        ("end-stalled", FaultPlan::one(Rule::on(Fault::AnswerStalled, "POST", "uploadId").times(1))),
        ("mix", FaultPlan::mixed(7, Mix::survivable(240.0))),
    ];
    for (name, plan) in plans {
        let proxy = HttpProxy::start(&server.address(), plan);
        let store = store(&proxy, &bucket, 60, 5);
        upload(&store, name, &content).await.unwrap_or_else(|error| panic!("{name}: {error}; {:?}", proxy.log()));
        assert!(proxy.count() > 0, "{name}");
        println!("upload | {name} | {:?}", proxy.injected());
        proxy.set(FaultPlan::default());
        assert!(store.get(name).await.unwrap() == content, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_fails_leaves_no_file_and_no_parts() {
    let server = S3Server::versitygw();
    let bucket = server.bucket("fails");
    let content = content();
    for (fault, denied) in [(Fault::InternalError, false), (Fault::SlowDown, false), (Fault::ExpiredToken, true)] {
        let proxy = HttpProxy::start(&server.address(), FaultPlan::one(Rule::on(fault, "PUT", "partNumber").after(2)));
        let store = store(&proxy, &bucket, 1, 5);
        let error = upload(&store, "file", &content).await.unwrap_err();
        assert_eq!(error.is_denied(), denied, "{error}");
        assert_eq!(server.uploads(&bucket), [""; 0], "{}", fault.name());
        assert_eq!(store.list("").await.unwrap(), []);
    }
}

/// The one put that decides: its answer is lost, or comes too late, and the backup is there all the same, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_settled_by_reading_back() {
    let server = S3Server::versitygw();
    for fault in [Fault::AnswerLost, Fault::AnswerStalled, Fault::Stall, Fault::InternalError, Fault::Reset] {
        let proxy = HttpProxy::start(&server.address(), FaultPlan::default());
        let store = store(&proxy, &server.bucket("commit"), 20, 1);
        let repository = Repository::init_or_open(store).await.unwrap();
        let writer = repository.begin_backup();
        proxy.set(FaultPlan::one(Rule::on(fault, "PUT", "manifest.json").times(2)));
        let manifest = writer.commit(Manifest::default()).await.unwrap_or_else(|e| panic!("{}: {e}", fault.name()));
        assert!(proxy.count() > 0);
        assert_eq!(manifest.attempt, writer.attempt());
        let stored = repository.load(writer.id()).await.unwrap();
        assert_eq!(stored, manifest);
    }
}

/// Of an answer that is lost nothing follows when another's manifest lies there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_does_not_make_another_attempt_ours() {
    let server = S3Server::versitygw();
    let proxy = HttpProxy::start(&server.address(), FaultPlan::default());
    let store = store(&proxy, &server.bucket("others"), 20, 1);
    let repository = Repository::init_or_open(store).await.unwrap();
    let first = repository.begin_backup();
    first.put_shard_record(tsdb_ark::manifest::ShardRecord::default()).await.unwrap();
    let second = repository.resume_backup(first.id()).await.unwrap();
    let committed = first.commit(Manifest::default()).await.unwrap();
    for fault in [Fault::AnswerLost, Fault::AnswerStalled, Fault::InternalError] {
        proxy.set(FaultPlan::one(Rule::on(fault, "PUT", "manifest.json").times(1)));
        let error = second.commit(Manifest::default()).await.unwrap_err();
        assert!(error.to_string().contains("already committed"), "{}: {error}", fault.name());
        assert_eq!(repository.load(first.id()).await.unwrap(), committed);
    }
}

/// Listing and deleting, which the client below gives up when an answer breaks off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_break_off_are_asked_for_again() {
    let server = S3Server::versitygw();
    let proxy = HttpProxy::start(&server.address(), FaultPlan::default());
    let store = store(&proxy, &server.bucket("cut"), 20, 5);
    store.put_new("folder/x", Bytes::from_static(b"0123456789")).await.unwrap();
    let cut = || proxy.set(FaultPlan::one(Rule::all(Fault::AnswerCut).times(2)));
    cut();
    assert_eq!(store.folders("").await.unwrap(), ["folder"]);
    cut();
    assert_eq!(store.list("").await.unwrap().len(), 1);
    cut();
    assert_eq!(store.get("folder/x").await.unwrap(), "0123456789");
    cut();
    assert_eq!(store.get_range("folder/x", 2..5).await.unwrap(), "234");
    cut();
    store.delete("folder/x").await.unwrap();
    proxy.set(FaultPlan::default());
    assert_eq!(store.list("").await.unwrap(), []);
}

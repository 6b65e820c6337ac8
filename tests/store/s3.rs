//! What only S3 has: two servers, keys, buckets, prefixes, parts, encryption, storage classes, TLS.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tsdb_ark::manifest::{Manifest, Repository, RepositoryError, RepositoryErrorKind};
use tsdb_ark::store::{Encryption, Probe, RepositoryUrl, Store, StoreError, StoreOptions, Variables};

use super::{MIB, contract};
use crate::support::ark::{self, Run};
use crate::support::faults::http::{FaultPlan, HttpProxy};
use crate::support::http;
use crate::support::s3::{self, S3Server};

fn servers() -> [&'static S3Server; 2] {
    [S3Server::versitygw(), S3Server::radosgw()]
}

/// Tests wait for no retries.
fn quick() -> StoreOptions {
    StoreOptions { retry_for: Duration::from_secs(2), ..StoreOptions::default() }
}

/// An error with its causes, as the program shows it.
fn whole(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn put_file(store: &Store, path: &str, size: usize) {
    let mut sink = store.create_file(path).unwrap();
    sink.write(Bytes::from(vec![7; size])).await.unwrap();
    sink.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn versitygw_keeps_the_contract() {
    let server = S3Server::versitygw();
    let bucket = server.bucket("contract");
    contract(&server.store(&format!("{bucket}/a/b"), &StoreOptions::default()).unwrap()).await;
    assert_only_dropped(server, &bucket);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn radosgw_keeps_the_contract() {
    let server = S3Server::radosgw();
    let bucket = server.bucket("contract");
    contract(&server.store(&bucket, &StoreOptions::default()).unwrap()).await;
    assert_only_dropped(server, &bucket);
}

/// Aborted files leave no parts; a sink that was dropped, as by a crash, may.
fn assert_only_dropped(server: &S3Server, bucket: &str) {
    let left = server.uploads(bucket);
    assert!(left.iter().all(|key| key.ends_with("abort/dropped-large")), "{}: {left:?}", server.name);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn aborted_uploads_leave_no_parts() {
    for server in servers() {
        let bucket = server.bucket("abort");
        let store = server.store(&bucket, &quick()).unwrap();
        let mut sink = store.create_file("file").unwrap();
        sink.write(Bytes::from(vec![1; 40 * MIB])).await.unwrap();
        assert_eq!(server.uploads(&bucket), ["file"], "{}", server.name);
        sink.abort().await.unwrap();
        assert_eq!(server.uploads(&bucket), [""; 0], "{}", server.name);
        assert_eq!(store.list("").await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_prefix_sees_nothing_of_its_neighbours() {
    for server in servers() {
        let bucket = server.bucket("prefix");
        let open = |prefix: &str| server.store(&format!("{bucket}/{prefix}"), &quick()).unwrap();
        let (one, two, whole) = (open("one"), open("one-more"), server.store(&bucket, &quick()).unwrap());
        Repository::init_or_open(one.clone()).await.unwrap();
        Repository::init_or_open(two.clone()).await.unwrap();
        put_file(&one, "backups/x/points/file", 10).await;
        assert_eq!(one.list("").await.unwrap().len(), 2, "{}", server.name);
        assert_eq!(two.list("").await.unwrap().len(), 1, "{}", server.name);
        assert_eq!(two.folders("backups").await.unwrap(), [""; 0]);
        assert_eq!(two.size("backups/x/points/file").await.unwrap(), None);
        assert_eq!(whole.size("one/backups/x/points/file").await.unwrap(), Some(10));
        assert_eq!(whole.folders("").await.unwrap(), ["one", "one-more"]);
    }
}

#[tokio::test]
async fn wrong_keys_and_a_missing_bucket_are_told_at_once() {
    for server in servers() {
        let bucket = server.bucket("keys");
        let url: RepositoryUrl = format!("s3://{bucket}/p").parse().unwrap();
        for (variable, value) in [("AWS_SECRET_ACCESS_KEY", "wrong-secret"), ("AWS_ACCESS_KEY_ID", "nobody")] {
            let counted = HttpProxy::start(&server.address(), FaultPlan::default());
            let mut variables = s3::variables(&counted.url());
            variables.insert(variable.into(), value.into());
            let store = Store::open_with(&url, &StoreOptions::default(), &variables).unwrap();
            for error in [
                store.put_new("x", Bytes::from_static(b"x")).await.unwrap_err(),
                store.get("x").await.unwrap_err(),
                store.list("").await.unwrap_err(),
            ] {
                assert!(error.is_denied(), "{} {variable}: {error:?}", server.name);
                let text = whole(&error);
                assert!(text.contains(&bucket) && !text.contains("wrong-secret"), "{text}");
            }
            assert_eq!(counted.requests(), 3, "what is forbidden is not tried again");
            let error = Repository::init_or_open(store).await.unwrap_err();
            assert_eq!(error.kind(), RepositoryErrorKind::Denied, "{error}");
        }
        let store = server.store("no-such-bucket-here/p", &StoreOptions::default()).unwrap();
        for error in
            [Repository::open(store.clone()).await.unwrap_err(), Repository::init_or_open(store).await.unwrap_err()]
        {
            assert_eq!(error.kind(), RepositoryErrorKind::NotOurs, "{}: {error:?}", server.name);
            let text = error.to_string();
            assert!(text.contains("no-such-bucket-here") && text.contains("bucket"), "{text}");
        }
    }
}

#[tokio::test]
async fn without_any_keys_it_says_where_keys_come_from() {
    let server = S3Server::versitygw();
    let mut variables = s3::variables(&server.url());
    variables.retain(|name, _| !name.contains("KEY"));
    // Nobody listens there, as on a machine without a role.
    variables.insert("AWS_METADATA_ENDPOINT".into(), "http://127.0.0.1:1".into());
    let url: RepositoryUrl = "s3://bucket/p".parse().unwrap();
    let begun = Instant::now();
    let error = Store::open_with(&url, &StoreOptions::default(), &variables).unwrap().get("x").await.unwrap_err();
    assert!(matches!(error, StoreError::Credentials { .. }), "{error:?}");
    assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_profile_leads_to_the_server() {
    let server = S3Server::versitygw();
    let bucket = server.bucket("profile");
    let home = tempfile::tempdir().unwrap();
    let aws = home.path().join(".aws");
    std::fs::create_dir(&aws).unwrap();
    std::fs::write(
        aws.join("config"),
        format!("[profile ours]\nregion = us-east-1\nendpoint_url = {}\n", server.url()),
    )
    .unwrap();
    let keys = format!("[ours]\naws_access_key_id = {}\naws_secret_access_key = {}\n", s3::KEYS.0, s3::KEYS.1);
    std::fs::write(aws.join("credentials"), keys).unwrap();
    let url: RepositoryUrl = format!("s3://{bucket}").parse().unwrap();
    let home = ("HOME".to_owned(), home.path().to_str().unwrap().to_owned());
    let mut variables = Variables::from([home, ("AWS_PROFILE".to_owned(), "ours".to_owned())]);
    let store = Store::open_with(&url, &quick(), &variables).unwrap();
    store.put_new("x", Bytes::from_static(b"1")).await.unwrap();
    // By flag the profile wins over keys in the environment.
    variables.insert("AWS_ACCESS_KEY_ID".into(), "wrong".into());
    variables.insert("AWS_SECRET_ACCESS_KEY".into(), "wrong".into());
    assert!(Store::open_with(&url, &quick(), &variables).unwrap().get("x").await.unwrap_err().is_denied());
    let named = StoreOptions { profile: Some("ours".into()), ..quick() };
    assert_eq!(Store::open_with(&url, &named, &variables).unwrap().get("x").await.unwrap(), "1");
    assert!(!format!("{store:?}").contains(s3::KEYS.1));
}

/// With a key of ours nobody reads the files without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_of_ours_encrypts_and_is_needed_to_read() {
    let server = S3Server::radosgw();
    let bucket = server.bucket("ssec");
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, key: &str| {
        let key_file = folder.path().join(name);
        std::fs::write(&key_file, format!("{key}\n")).unwrap();
        StoreOptions { encryption: Some(Encryption::Customer { key_file }), ..quick() }
    };
    let ours = with("ours", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let store = server.store(&bucket, &ours).unwrap();
    store.put_new("small", Bytes::from_static(b"plain text")).await.unwrap();
    put_file(&store, "large", 20 * MIB).await;
    assert_eq!(store.get("small").await.unwrap(), "plain text");
    assert_eq!(store.get_range("large", 9 * MIB as u64..9 * MIB as u64 + 2).await.unwrap().as_ref(), [7, 7]);
    assert!(store.get("large").await.unwrap() == vec![7; 20 * MIB]);
    assert!(store.put_new("small", Bytes::from_static(b"other")).await.unwrap_err().is_already_exists());
    assert!(!format!("{store:?} {ours:?}").contains("MDEyMzQ1"));
    let other = with("other", "YWJjZGVmZ2hpamtsbW5vcGFiY2RlZmdoaWprbG1ub3A=");
    for options in [quick(), other] {
        let error = server.store(&bucket, &options).unwrap().get("small").await.unwrap_err();
        assert!(!error.is_not_found() && !format!("{error:?}").contains("YWJjZGVm"), "{error:?}");
    }
    contract(&server.store(&server.bucket("ssec-contract"), &ours).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn data_files_get_the_storage_class() {
    let server = S3Server::radosgw();
    let bucket = server.bucket("class");
    let cold = StoreOptions { storage_class: Some("COLD".into()), ..quick() };
    let store = server.store(&bucket, &cold).unwrap();
    store.put_new("record.json", Bytes::from_static(b"{}")).await.unwrap();
    put_file(&store, "small.parquet", 100).await;
    put_file(&store, "large.parquet", 9 * MIB).await;
    let listing = server.call("GET", &bucket, "", &[("list-type", "2")], None).ok().body;
    let class = |key: &str| {
        let (_, rest) = listing.split_once(&format!("<Key>{key}</Key>")).unwrap();
        let (_, rest) = rest.split_once("<StorageClass>").unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    assert_eq!(["record.json", "small.parquet", "large.parquet"].map(class), ["STANDARD", "COLD", "COLD"]);
    assert_eq!(store.size("large.parquet").await.unwrap(), Some(9 * MIB as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tls_needs_the_authority() {
    let server = S3Server::with_tls();
    let bucket = server.bucket("tls");
    let url: RepositoryUrl = format!("s3://{bucket}").parse().unwrap();
    let variables = s3::variables(&format!("https://{}", server.address()));
    let refused = Store::open_with(&url, &StoreOptions { retry_for: Duration::ZERO, ..quick() }, &variables).unwrap();
    let error = refused.get("x").await.unwrap_err();
    assert!(whole(&error).contains("certificate"), "{}", whole(&error));
    let trusting = StoreOptions { ca: Some(server.ca()), ..quick() };
    let store = Store::open_with(&url, &trusting, &variables).unwrap();
    store.put_new("x", Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(store.get("x").await.unwrap(), "1");
    // The variable of the AWS CLI does the same.
    let mut variables = variables;
    variables.insert("AWS_CA_BUNDLE".into(), server.ca().to_str().unwrap().into());
    assert_eq!(Store::open_with(&url, &quick(), &variables).unwrap().get("x").await.unwrap(), "1");
}

/// A repository of another program is left alone.
#[tokio::test]
async fn a_foreign_bucket_is_not_taken_over() {
    let server = S3Server::versitygw();
    let store = server.store(&server.bucket("foreign"), &quick()).unwrap();
    store.put_new("repository.json", Bytes::from_static(b"{\"what\": \"else\"}")).await.unwrap();
    let error = Repository::init_or_open(store.clone()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::NotARepository { .. }), "{error}");
    assert_eq!(store.list("").await.unwrap().len(), 1);
}

/// The words of a run of the program against a server.
fn program(server: &S3Server, words: &[&str]) -> Run {
    let mut command = ark::command();
    s3::lead(&mut command, &server.url()).args(words);
    ark::finished(command.output().unwrap())
}

/// Two empty backups.
async fn two_backups(repository: &Repository) {
    for _ in 0..2 {
        repository.begin_backup().commit(Manifest { parent: None, ..Manifest::default() }).await.unwrap();
    }
}

/// F35 and F36, on a real bucket with Object Lock and default retention.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bucket_with_object_lock_takes_backups_and_prune_says_that_versions_stay() {
    let server = S3Server::radosgw();
    let bucket = server.locked_bucket("locked");
    let store = server.store(&bucket, &quick()).unwrap();
    put_file(&store, "large", 20 * MIB).await;
    // Ceph 16 ignores the condition of a put in such a bucket, which must not pass for a create-only put.
    assert_eq!(store.probe("locks").await.unwrap(), Probe::Overwrites);
    let error = Repository::init_or_open(store.clone()).await.unwrap_err();
    assert!(matches!(error, RepositoryError::NotCreateOnly { .. }), "{error}");
    two_backups(&Repository::init_or_open_weak(store.clone()).await.unwrap()).await;
    assert!(store.observed().keeps_versions);
    let repository = format!("s3://{bucket}");
    let run = program(server, &["prune", "--repository", &repository, "--keep-last", "1"]).expect(0);
    assert!(run.out.contains("marked as deleted 1 backup") && run.out.contains("keeps versions"), "{}", run.out);
    let versions = server.call("GET", &bucket, "", &[("versions", "")], None).ok().body;
    assert_eq!(versions.matches("manifest.json</Key>").count(), 3, "two versions and a marker: {versions}");
    // Without versions nothing of the kind is said.
    let plain = server.bucket("plain");
    let store = server.store(&plain, &quick()).unwrap();
    two_backups(&Repository::init_or_open(store.clone()).await.unwrap()).await;
    assert!(!store.observed().keeps_versions);
    let run = program(server, &["prune", "--repository", &format!("s3://{plain}"), "--keep-last", "1"]).expect(0);
    assert!(run.out.contains("removed 1 backup") && !run.out.contains("versions"), "{}", run.out);
}

/// F41.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn folder_objects_of_a_web_console_are_ignored() {
    for server in servers() {
        let bucket = server.bucket("folders");
        server.open_to_all(&bucket);
        // Not signed: the library takes the slash off every path.
        let folder =
            |path: &str| drop(http::call(&server.address(), "PUT", &format!("/{bucket}/{path}"), None).unwrap().ok());
        folder("p/");
        folder("p/backups/");
        folder("p/locks/");
        let store = server.store(&format!("{bucket}/p"), &quick()).unwrap();
        two_backups(&Repository::init_or_open(store.clone()).await.unwrap()).await;
        let ids = store.folders("backups").await.unwrap();
        assert_eq!(ids.len(), 2, "{}: {ids:?}", server.name);
        for id in &ids {
            for below in ["", "points/", "catalogue/", "shards/"] {
                folder(&format!("p/backups/{id}/{below}"));
            }
        }
        let repository = format!("s3://{bucket}/p");
        let run = program(server, &["list", "--json", "--repository", &repository]).expect(0);
        assert_eq!(run.json["backups"].as_array().unwrap().len(), 2, "{}: {}", server.name, run.out);
        let run = program(server, &["verify", "--json", "--level", "files", "--repository", &repository]);
        assert!(!run.json["warnings"].to_string().contains("belong to no shard"), "{}: {}", server.name, run.out);
        let run = program(server, &["prune", "--json", "--repository", &repository, "--keep-last", "1"]).expect(0);
        assert_eq!(run.json["removed"], 1, "{}: {}", server.name, run.out);
        assert_eq!(store.list("locks").await.unwrap().iter().filter(|entry| entry.size > 0).count(), 0);
    }
}

/// F42.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_with_special_characters_are_kept() {
    for server in servers() {
        let bucket = server.bucket("special");
        let store = server.store(&format!("{bucket}/a+b!c d=e/ü"), &quick()).unwrap();
        for path in ["points/ns!3atsdb-00001-a-0.parquet", "points/a+b", "points/it's", "points/a&b;c,d@e:f$g(h)~i"] {
            store.put_new(path, Bytes::from(path.to_owned())).await.unwrap();
            assert_eq!(store.get(path).await.unwrap(), path, "{}", server.name);
            assert_eq!(store.size(path).await.unwrap(), Some(path.len() as u64), "{}: {path}", server.name);
            assert!(
                store.put_new(path, Bytes::new()).await.unwrap_err().is_already_exists(),
                "{}: {path}",
                server.name
            );
        }
        put_file(&store, "points/ns!3alarge+.parquet", 9 * MIB).await;
        let listed: Vec<String> = store.list("points").await.unwrap().into_iter().map(|entry| entry.path).collect();
        assert_eq!(listed.len(), 5, "{}: {listed:?}", server.name);
        assert!(listed.contains(&"points/ns!3atsdb-00001-a-0.parquet".to_owned()), "{}: {listed:?}", server.name);
        for path in listed {
            store.delete(&path).await.unwrap();
        }
        assert_eq!(store.list("").await.unwrap(), [], "{}", server.name);
    }
}

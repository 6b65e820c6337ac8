//! Requests that a server refuses for good, for reasons other than a missing permission: told at once as what they are.

use std::time::{Duration, Instant};

use tsdb_ark::store::Store;

use super::{backup_words, committed, print_line, run_at, tables, verify};
use crate::support::bed::Bed;
use crate::support::faults::http::{Fault, FaultPlan, HttpProxy, Rule};
use crate::support::s3::S3Server;
use crate::support::tsd::Tables;

const NO_CONDITION: [Fault; 2] = [
    Fault::Refused(
        "501 Not Implemented",
        "NotImplemented",
        "A header you provided implies functionality that is not implemented",
    ),
    Fault::Refused("400 Bad Request", "InvalidArgument", "Unsupported header if-none-match"),
];

/// A proxy that refuses some requests, and a repository behind it.
fn refusing(rule: Rule) -> (HttpProxy, String) {
    let server = S3Server::versitygw();
    let proxy = HttpProxy::start(&server.address(), FaultPlan::one(rule));
    (proxy, format!("s3://{}/prefix", server.bucket("refuses")))
}

fn listed(store: &Store) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(store.list("")).unwrap().into_iter().map(|entry| entry.path).collect()
}

/// The words of a restore of everything under other names.
fn restore_words(bed: &Bed, from: &Tables, to: &Tables, repository: &str) -> Vec<String> {
    let mut words: Vec<String> =
        ["restore", "--json", "--repository", repository, "--gateway"].map(str::to_owned).into();
    words.push(bed.thrift2_address());
    for (old, new) in from.names().iter().zip(to.names()) {
        words.extend(["--rename-table".into(), format!("{old}={new}")]);
    }
    words
}

/// F34.
#[test]
fn a_store_without_a_create_only_put_is_told_at_once_and_served_by_weak_commit() {
    let bed = Bed::shared();
    for fault in NO_CONDITION {
        let (proxy, repository) = refusing(Rule::on(fault, "PUT", "").with("if-none-match"));
        let begun = Instant::now();
        let refused = run_at(&proxy.url(), &backup_words(bed, tables(bed), &repository, &[])).expect(1);
        assert!(proxy.count() <= 2 && begun.elapsed() < Duration::from_secs(60), "{:?}", proxy.log());
        assert!(refused.err.contains("no create-only put") && refused.err.contains("--weak-commit"), "{}", refused.err);
        assert!(refused.err.contains(fault.name()), "{}", refused.err);
        print_line("a store without conditional puts", fault.name(), &refused);
        let mut look = backup_words(bed, tables(bed), &repository, &[]);
        look[0] = "check".into();
        let check = run_at(&proxy.url(), &look).expect(3);
        assert!(check.json["stops_a_backup"].to_string().contains("--weak-commit"), "{}", check.out);
        assert!(check.err.contains("would fail") && check.err.contains("--weak-commit"), "{}", check.err);
        let stores = S3Server::versitygw().store(&repository["s3://".len()..], &Default::default()).unwrap();
        assert_eq!(listed(&stores), [""; 0], "neither the trial nor the refused backup left anything");
        let before = proxy.count();
        let done = run_at(&proxy.url(), &backup_words(bed, tables(bed), &repository, &["--weak-commit"])).expect(0);
        assert_eq!(proxy.count(), before, "no request carries the condition: {:?}", proxy.log());
        assert!(done.json["warnings"].to_string().contains("weaker rule"), "{}", done.out);
        print_line("the same with --weak-commit", fault.name(), &done);
        // What else writes there puts under names of its own only, and needs no flag.
        verify(&proxy.url(), &repository);
        let to = Tables::named(&format!("{}.", bed.unique("r")), tables(bed).rollups);
        run_at(&proxy.url(), &restore_words(bed, tables(bed), &to, &repository)).expect(0);
        run_at(&proxy.url(), &backup_words(bed, tables(bed), &repository, &["--weak-commit"])).expect(0);
        let prune = ["prune", "--json", "--repository", &repository, "--keep-last", "1"];
        assert_eq!(run_at(&proxy.url(), &prune).expect(0).json["removed"], 1);
        assert_eq!(committed(&proxy.url(), &repository), 1);
    }
}

#[test]
fn what_a_server_cannot_do_is_not_asked_for_again() {
    let bed = Bed::shared();
    let class = Fault::Refused("501 Not Implemented", "NotImplemented", "This storage class is not implemented");
    let (proxy, repository) = refusing(Rule::on(class, "PUT", ".parquet"));
    let run = run_at(&proxy.url(), &backup_words(bed, tables(bed), &repository, &[])).expect(1);
    assert!(run.err.contains("501 Not Implemented") && run.err.contains("storage class"), "{}", run.err);
    // Once with the condition, once without, for each of the uploads that were on their way.
    assert!(proxy.count() <= 8, "{:?}", proxy.log());
    print_line("a storage class that is not there", "501 to data files", &run);
}

/// F35: what a bucket with Object Lock asks for.
#[test]
fn every_put_carries_a_checksum() {
    let bed = Bed::shared();
    let lacks =
        Fault::Refused("400 Bad Request", "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required");
    let (proxy, repository) = refusing(Rule::on(lacks, "PUT", "").without("x-amz-checksum-sha256"));
    run_at(&proxy.url(), &backup_words(bed, tables(bed), &repository, &[])).expect(0);
    assert_eq!(proxy.count(), 0, "{:?}", proxy.log());
    verify(&proxy.url(), &repository);
    let run = run_at(&proxy.url(), &backup_words(bed, tables(bed), &repository, &["--s3-checksum", "off"])).expect(1);
    assert!(run.err.contains("x-amz-checksum"), "{}", run.err);
    print_line("Object Lock without checksums", "400 InvalidRequest", &run);
    let (proxy, repository) = refusing(Rule::on(lacks, "PUT", "").without("x-amz-checksum-crc64nvme"));
    let words = backup_words(bed, tables(bed), &repository, &["--s3-checksum", "crc64nvme"]);
    run_at(&proxy.url(), &words).expect(0);
    assert_eq!(proxy.count(), 0, "{:?}", proxy.log());
}

/// F37: refusals that are no denials.
#[test]
fn a_403_is_told_as_what_it_is() {
    let bed = Bed::shared();
    let full = "no space left";
    for (status, code, message, words) in [
        (
            "403 Forbidden",
            "RequestTimeTooSkewed",
            "The difference between the request time and the server's time is too large.",
            "clock of this machine",
        ),
        ("403 Forbidden", "QuotaExceeded", "quota", full),
        (
            "507 Insufficient Storage",
            "XMinioStorageFull",
            "Storage backend has reached its minimum free drive threshold.",
            full,
        ),
    ] {
        let (proxy, repository) = refusing(Rule::on(Fault::Refused(status, code, message), "PUT", ""));
        let run = run_at(&proxy.url(), &backup_words(bed, tables(bed), &repository, &[])).expect(1);
        assert!(run.err.contains(words) && run.err.contains(code) && run.err.contains(status), "{}", run.err);
        assert!(!run.err.contains("no permission") && proxy.count() <= 3, "{} {:?}", run.err, proxy.log());
        print_line(code, status, &run);
    }
}

/// F37: data files in a storage class that must be restored first.
#[test]
fn archived_files_are_told_and_counted() {
    let bed = Bed::shared();
    let archived = Fault::Refused(
        "403 Forbidden",
        "InvalidObjectState",
        "The operation is not valid for the object's storage class",
    );
    let (proxy, repository) = refusing(Rule::on(archived, "GET", "/points/"));
    run_at(&proxy.url(), &backup_words(bed, tables(bed), &repository, &[])).expect(0);
    let run = run_at(&proxy.url(), &["verify", "--json", "--level", "files", "--repository", &repository]).expect(3);
    let problems = run.json["problems"].as_array().unwrap();
    assert!(!problems.is_empty(), "{}", run.out);
    for problem in problems {
        assert!(problem["path"].as_str().unwrap().contains("/points/"), "{problem}");
        assert!(problem["problem"].as_str().unwrap().contains("archived"), "{problem}");
    }
    print_line("verify of archived files", "403 InvalidObjectState", &run);
    let to = Tables::named(&format!("{}.", bed.unique("r")), tables(bed).rollups);
    let run = run_at(&proxy.url(), &restore_words(bed, tables(bed), &to, &repository)).expect(1);
    assert!(run.err.contains("is archived: restore the objects first"), "{}", run.err);
    // The list of what has to be restored in the store first.
    let files = run_at(&proxy.url(), &["show", "--files", "--repository", &repository]).expect(0).out;
    for problem in problems {
        assert!(files.lines().any(|line| line == problem["path"].as_str().unwrap()), "{problem}: {files}");
    }
}

/// F36: what is under retention stays and is named, and the rest goes. Whichever of its files are locked, a backup that
/// stays is whole, and a later prune that may delete it does.
#[test]
fn prune_names_what_is_locked_and_removes_the_rest() {
    let bed = Bed::shared();
    let locked =
        Fault::Refused("403 Forbidden", "AccessDenied", "Access Denied because object protected by object lock.");
    let server = S3Server::versitygw();
    let repository = format!("s3://{}/prefix", server.bucket("retained"));
    for _ in 0..3 {
        run_at(&server.url(), &backup_words(bed, tables(bed), &repository, &[])).expect(0);
    }
    let listed = run_at(&server.url(), &["list", "--json", "--repository", &repository]).expect(0);
    let ids: Vec<String> =
        listed.json["backups"].as_array().unwrap().iter().map(|b| b["backup"].as_str().unwrap().to_owned()).collect();
    let first: &'static str = ids[0].clone().leak();
    // All of its files, then its manifest alone, whose turn comes when the plan is gone.
    let manifest: &'static str = format!("{first}/manifest.json").leak();
    let prune = ["prune", "--json", "--repository", &repository, "--keep-last", "1"];
    for (what, removed) in [(first, 1), (manifest, 0)] {
        let proxy = HttpProxy::start(&server.address(), FaultPlan::one(Rule::on(locked, "DELETE", what)));
        let run = run_at(&proxy.url(), &prune).expect(3);
        assert!(run.json["problems"].to_string().contains(first), "{}", run.out);
        assert!(run.json["problems"].to_string().contains("locked against deletion"), "{}", run.out);
        assert_eq!(run.json["removed"], removed, "{}", run.out);
        // The locked one is still a backup, and whole.
        let left = run_at(&server.url(), &["list", "--json", "--repository", &repository]).expect(0);
        assert_eq!(left.json["backups"].as_array().unwrap().len(), 2);
        let verify = ["verify", "--json", first, "--repository", &repository, "--level", "files"];
        let whole = run_at(&server.url(), &verify).expect(0).json;
        assert!(removed == 1 || whole["warnings"] == serde_json::json!([]), "nothing of the prune is left: {whole}");
        print_line("prune of a backup under retention", what, &run);
    }
    // A prune that is stopped between the two has left the plan in its mark, from where the next one puts it back.
    let store = S3Server::versitygw().store(&repository["s3://".len()..], &Default::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let paths = tsdb_ark::manifest::BackupPaths::new(first);
    let plan = runtime.block_on(store.get(&paths.plan())).unwrap();
    let stopped = Rule::on(Fault::Refused("403 Forbidden", "AccessDenied", "Access Denied."), "DELETE", manifest);
    let proxy = HttpProxy::start(&server.address(), FaultPlan::one(stopped));
    run_at(&proxy.url(), &prune).expect(12);
    assert!(runtime.block_on(store.size(&paths.plan())).unwrap().is_none());
    let proxy = HttpProxy::start(&server.address(), FaultPlan::one(Rule::on(locked, "DELETE", manifest)));
    run_at(&proxy.url(), &prune).expect(3);
    assert_eq!(runtime.block_on(store.get(&paths.plan())).unwrap(), plan);
    run_at(&server.url(), &["verify", "--json", first, "--repository", &repository, "--level", "files"]).expect(0);
    assert_eq!(run_at(&server.url(), &prune).expect(0).json["removed"], 1);
}

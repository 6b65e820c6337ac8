//! Gateways of two clusters, and gateways that do not say which cluster they serve.

use std::ops::Range;

use crate::scene::{assert_nothing_committed, assert_whole, backup_through, small};
use crate::support::ark::{self, Repository, Run, table_flags};
use crate::support::bed::Bed;
use crate::support::faults::plan::{Fault, Plan, Scripted};
use crate::support::faults::thrift::ThriftProxy;

const ID: &str = "getClusterId";
const SCAN: &str = "getScannerResults";
const ALWAYS: Range<u64> = 1..u64::MAX;

/// A text as field 0 of a result.
fn text(text: &str) -> Fault {
    let mut body = vec![11, 0, 0];
    body.extend((text.len() as u32).to_be_bytes());
    body.extend(text.as_bytes());
    body.push(0);
    Fault::Body(body.leak())
}

/// A page of one row without cells.
fn page(row: &str) -> Fault {
    let mut body = vec![15, 0, 0, 12, 0, 0, 0, 1, 11, 0, 1];
    body.extend((row.len() as u32).to_be_bytes());
    body.extend(row.as_bytes());
    // No column values, no more fields, no more results.
    body.extend([15, 0, 2, 12, 0, 0, 0, 0, 0, 0]);
    Fault::Body(body.leak())
}

fn plan(faults: &[(&'static str, Range<u64>, Fault)]) -> Plan {
    let scripted = |(method, calls, fault): &(&'static str, Range<u64>, Fault)| Scripted {
        method,
        calls: calls.clone(),
        fault: *fault,
    };
    Plan { scripted: faults.iter().map(scripted).collect(), ..Plan::default() }
}

/// `check` of the bed's gateway and of one behind a proxy with this plan.
fn check_both(bed: &Bed, plan: Plan) -> (Run, ThriftProxy) {
    let proxy = ThriftProxy::start(&bed.thrift2_address(), plan);
    let gateways = [bed.thrift2_address(), proxy.address()].map(|address| format!("--gateway={address}"));
    let mut words = vec!["check".to_string(), "--json".into()];
    words.extend(gateways);
    words.extend(table_flags(small(bed).0));
    (ark::run(&words), proxy)
}

#[test]
fn gateways_of_two_clusters_are_refused_at_the_start() {
    let bed = Bed::shared();
    let (tables, _) = small(bed);
    let other = plan(&[(ID, ALWAYS, text("another-cluster"))]);
    let (check, proxy) = check_both(bed, other.clone());
    // They are asked at the same time, so either may be the first.
    for told in ["serves cluster another-cluster", &proxy.address(), &bed.thrift2_address()] {
        assert!(check.err.contains(told), "{told:?} is not in: {}", check.err);
    }
    check.expect(2);
    let second = bed.thrift2_address();
    let (repository, run, ..) = backup_through(&second, tables, other, &["--gateway", &second], |_| ());
    assert!(run.err.contains("name gateways of one cluster only"), "{}", run.err);
    run.expect(2);
    assert!(!repository.path().join("repository.json").exists());
}

#[test]
fn a_gateway_that_comes_back_with_another_cluster_ends_the_run() {
    let bed = Bed::shared();
    let (tables, _) = small(bed);
    // The proxy gives the true id until its connections end in the middle of a page.
    let (repository, run, _, proxy) =
        backup_through(&bed.thrift2_address(), tables, Plan::once(SCAN, 30, Fault::Hold), &[], |proxy| {
            assert!(proxy.wait_for(SCAN, 30));
            proxy.set_plan(plan(&[(ID, ALWAYS, text("another-cluster")), (SCAN, ALWAYS, Fault::EndOfFile)]));
            proxy.release();
        });
    assert!(proxy.calls(ID) > 1, "{:?}", proxy.log());
    assert!(run.err.contains("serves cluster another-cluster"), "{}", run.err);
    assert!(run.err.contains("nothing of it is committed"), "{}", run.err);
    run.expect(1);
    assert_nothing_committed(&repository);
}

#[test]
fn gateways_without_an_id_are_told_apart_by_a_region() {
    let bed = Bed::shared();
    let unknown = (ID, ALWAYS, Fault::UnknownMethod);
    let (check, _) = check_both(bed, plan(std::slice::from_ref(&unknown)));
    let gateways = check.json["gateways"].to_string();
    assert!(gateways.contains("HBase 2.5 or later") && gateways.contains("HBase before 2.5"), "{gateways}");
    let warned = |run: &Run| run.json["warnings"].to_string().contains("serve the same cluster cannot be checked");
    assert!(!warned(&check), "{}", check.json);
    check.expect(0);

    let elsewhere = page("hbase:namespace,,1500000000000.00112233445566778899aabbccddeeff.");
    let (check, _) = check_both(bed, plan(&[unknown.clone(), (SCAN, 1..2, elsewhere)]));
    assert!(check.err.contains("serves cluster hbase:namespace,,1500000000000"), "{}", check.err);
    check.expect(2);

    let secret =
        Fault::Answer("org.apache.hadoop.hbase.security.AccessDeniedException: Insufficient permissions", false);
    let (check, _) = check_both(bed, plan(&[unknown, (SCAN, 1..2, secret)]));
    assert!(warned(&check), "{}", check.json);
    check.expect(0);
}

#[test]
fn a_repository_with_backups_of_another_cluster_is_pointed_out() {
    let bed = Bed::shared();
    let (tables, wanted) = small(bed);
    let repository = Repository::default();
    let first = repository.backup(bed, tables, &[]).expect(0);
    let warned = |run: &Run| run.json["warnings"].to_string().contains("holds backups of another cluster");
    assert!(!warned(&first), "{}", first.json);
    let second = repository.backup(bed, tables, &[]).expect(0);
    assert!(!warned(&second), "{}", second.json);

    let proxy = ThriftProxy::start(&bed.thrift2_address(), plan(&[(ID, ALWAYS, text("another-cluster"))]));
    let address = proxy.address();
    let flags = table_flags(tables);
    let mut words = vec!["--gateway", &address];
    words.extend(flags.iter().map(String::as_str));
    let check = repository.run("check", &words).expect(0);
    assert!(warned(&check), "{}", check.json);
    assert!(check.json["store"].to_string().contains("a repository of tsdb-ark"), "{}", check.json);
    let third = repository.run("backup", &words).expect(0);
    assert!(warned(&third), "{}", third.json);
    assert_whole(bed, &repository, &third, tables, wanted);
}

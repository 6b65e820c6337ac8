//! Every single request of a run to S3 against every fault that passes.

use super::{backup_words, committed, run_at, tables, verify};
use crate::support::ark::Run;
use crate::support::bed::Bed;
use crate::support::faults::http::{Fault, FaultPlan, HttpProxy, Rule};
use crate::support::is_slow;
use crate::support::s3::S3Server;
use crate::support::tsd::Tables;

/// Each request of a run in turn fails once, in one of these ways; where there is time, in all of them. The run ends well.
fn assert_each_may_fail(play: impl Fn(&HttpProxy) -> Run) {
    let ways = [
        Fault::AnswerCut,
        Fault::InternalError,
        Fault::AnswerLost,
        Fault::Reset,
        Fault::SlowDown,
        Fault::AnswerStalled,
        Fault::Stall,
    ];
    let ways_each = if is_slow() { ways.len() } else { 1 };
    let (mut number, mut wrong) = (0, Vec::new());
    loop {
        let mut reached = false;
        for way in ways.iter().cycle().skip(number).take(ways_each) {
            let plan = FaultPlan::one(Rule::all(*way).after(number).times(1));
            let proxy = HttpProxy::start(&S3Server::versitygw().address(), plan);
            let run = play(&proxy);
            reached |= proxy.count() > 0;
            if run.code != 0 {
                wrong.push(format!("request {number}, {:?}: {} {}", proxy.log(), run.code, run.err.trim()));
            }
        }
        if !reached {
            break;
        }
        number += 1;
    }
    assert!(wrong.is_empty() && number > 5, "of {number} requests:\n{}", wrong.join("\n"));
    println!("{number} requests, each of which failed");
}

#[test]
fn any_request_of_a_backup_may_fail() {
    let (bed, server) = (Bed::shared(), S3Server::versitygw());
    assert_each_may_fail(|proxy| {
        let repository = format!("s3://{}/prefix", server.bucket("each"));
        let run = run_at(&proxy.url(), &backup_words(bed, tables(bed), &repository, &["--store-timeout", "1s"]));
        if run.code == 0 {
            assert_eq!(committed(&server.url(), &repository), 1);
            verify(&server.url(), &repository);
        }
        run
    });
}

/// A backup to read from.
fn saved() -> String {
    let (bed, server) = (Bed::shared(), S3Server::versitygw());
    let repository = format!("s3://{}", server.bucket("each-read"));
    run_at(&server.url(), &backup_words(bed, tables(bed), &repository, &[])).expect(0);
    repository
}

#[test]
fn any_request_of_a_verification_may_fail() {
    let repository = saved();
    assert_each_may_fail(|proxy| {
        let words = ["verify", "--json", "--level", "cells", "--store-timeout", "1s", "--repository", &repository];
        run_at(&proxy.url(), &words)
    });
}

#[test]
#[ignore = "takes minutes: scripts/endurance.sh runs it"]
fn any_request_of_a_restore_may_fail() {
    let (bed, repository) = (Bed::shared(), saved());
    assert_each_may_fail(|proxy| {
        let target = Tables::named(&format!("{}.", bed.unique("r")), false);
        let gateway = bed.thrift2_address();
        let mut words: Vec<String> = ["restore", "--json", "--gateway", &gateway].map(str::to_owned).into();
        words.extend(["--store-timeout", "1s", "--repository", &repository].map(str::to_owned));
        for (old, new) in tables(bed).names().iter().zip(target.names()) {
            words.extend(["--rename-table".into(), format!("{old}={new}")]);
        }
        run_at(&proxy.url(), &words)
    });
}

#[test]
#[ignore = "takes minutes: scripts/endurance.sh runs it"]
fn any_request_of_a_prune_may_fail() {
    let (bed, server) = (Bed::shared(), S3Server::versitygw());
    assert_each_may_fail(|proxy| {
        let repository = format!("s3://{}", server.bucket("each-prune"));
        for _ in 0..2 {
            run_at(&server.url(), &backup_words(bed, tables(bed), &repository, &[])).expect(0);
        }
        let words = ["prune", "--json", "--keep-last", "1", "--store-timeout", "1s", "--repository", &repository];
        let run = run_at(&proxy.url(), &words);
        assert!(run.code != 0 || committed(&server.url(), &repository) == 1);
        verify(&server.url(), &repository);
        run
    });
}

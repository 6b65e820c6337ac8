//! Faults of the connection during a backup.

use std::time::Duration;

use crate::scene::{Line, assert_nothing_committed, assert_whole, backup_through, small};
use crate::support::bed::Bed;
use crate::support::faults::plan::{CONNECT, Fault, Plan};

const SCAN: &str = "getScannerResults";

/// A fault that passes: the backup is whole.
fn passes(name: &str, did: &str, plan: Plan) {
    let bed = Bed::shared();
    let (tables, wanted) = small(bed);
    let (repository, run, seconds, proxy) = backup_through(&bed.thrift2_address(), tables, plan, &[], |_| ());
    assert!(proxy.total() > 0, "{name}: nothing was injected");
    let connections = proxy.calls(CONNECT);
    let did = format!("{did}; {} faults, {connections} connections", proxy.total());
    let line = Line { fault: name.into(), verb: "backup", run, seconds, did }.expect(0, "");
    assert_whole(bed, &repository, &line.run, tables, wanted);
}

/// A fault that stays: the backup fails, says why, and leaves no backup.
fn stays(name: &str, did: &str, plan: Plan, more: &[&str], code: i32, text: &str) {
    let bed = Bed::shared();
    let (tables, _) = small(bed);
    let (repository, run, seconds, _proxy) = backup_through(&bed.thrift2_address(), tables, plan, more, |_| ());
    Line { fault: name.into(), verb: "backup", run, seconds, did: did.into() }.expect(code, text);
    assert_nothing_committed(&repository);
}

#[test]
fn replies_that_break_off_are_asked_for_again() {
    let again = "dropped the connection, asked for the page again";
    passes("reset in the middle of a page", again, Plan::once(SCAN, 12, Fault::Reset));
    passes("end of file in the middle of a page", again, Plan::once(SCAN, 12, Fault::EndOfFile));
    passes("end of file in the middle of six pages", again, Plan::calls(SCAN, 9..15, Fault::EndOfFile));
    passes("half-open connection in the middle of a page", again, Plan::once(SCAN, 12, Fault::HalfOpen));
    passes("reset in the middle of a request", again, Plan::once(SCAN, 12, Fault::CutRequest));
    passes(
        "end of file in the list of regions",
        "asked again",
        Plan::once("getAllRegionLocations", 1, Fault::EndOfFile),
    );
}

#[test]
fn replies_to_something_else_are_refused() {
    let again = "saw that it is no answer, dropped the connection, asked again";
    passes("garbage in a page", again, Plan::once(SCAN, 12, Fault::Garbage));
    passes("garbage in three pages", again, Plan::calls(SCAN, 12..15, Fault::Garbage));
    passes("the page of the call before", again, Plan::once(SCAN, 12, Fault::StaleReply));
    passes("a page with another sequence id", again, Plan::once(SCAN, 12, Fault::WrongSequence));
    passes("a page with another method", again, Plan::once(SCAN, 12, Fault::WrongMethod));
    passes(
        "the answer of the call before to a question for a table",
        again,
        Plan::calls("getTableDescriptor", 2..3, Fault::StaleReply),
    );
}

#[test]
fn connections_that_do_not_come_about_are_tried_again() {
    let wait = "waited, connected again";
    passes("slow pages", "waited", Plan::calls(SCAN, 11..14, Fault::Slow(Duration::from_millis(700))));
    let down = Fault::Refuse(Duration::from_secs(4));
    passes("gateway down for 4 s in the middle of a page", wait, Plan::once(SCAN, 12, down));
    let mut silent = Plan::calls(CONNECT, 4..6, Fault::Silent);
    silent.scripted.extend(Plan::once(SCAN, 12, Fault::EndOfFile).scripted);
    passes("no worker free: accepted, never answered, twice", wait, silent);
    let mut full = Plan::calls(CONNECT, 4..12, Fault::Close);
    full.scripted.extend(Plan::calls(SCAN, 12..14, Fault::EndOfFile).scripted);
    passes("queue full: accepted, closed at once, eight times", wait, full);
    let expired = Fault::Answer("org.apache.hadoop.hbase.UnknownScannerException: Unknown scanner '17'", false);
    passes("scanner expired inside the gateway, canRetry false", "asked again", Plan::calls(SCAN, 11..13, expired));
    let busy = Fault::Answer("org.apache.hadoop.hbase.RegionTooBusyException: Over memstore limit", true);
    passes("region too busy", "waited longer, asked again", Plan::calls(SCAN, 11..13, busy));
    let throttled = Fault::Answer(
        "org.apache.hadoop.hbase.quotas.RpcThrottlingException: number of requests exceeded - wait 1sec, 200ms",
        true,
    );
    passes("throttled by a quota", "waited as HBase says, asked again", Plan::calls(SCAN, 12..13, throttled));
}

#[test]
fn faults_that_stay_end_the_backup() {
    let gave_up = "gave up, committed nothing";
    let from = 12..u64::MAX;
    stays(
        "end of file in every page from the twelfth on",
        gave_up,
        Plan::calls(SCAN, from.clone(), Fault::EndOfFile),
        &["--retry-for", "4s"],
        75,
        "closed the connection",
    );
    stays(
        "garbage in every page from the twelfth on",
        gave_up,
        Plan::calls(SCAN, from.clone(), Fault::Garbage),
        &[],
        75,
        "",
    );
    stays(
        "gateway gone for good",
        gave_up,
        Plan::once(SCAN, 12, Fault::Refuse(Duration::from_secs(600))),
        &["--retry-for", "4s"],
        75,
        "cannot connect to gateway",
    );
    stays(
        "never a worker free",
        gave_up,
        Plan::calls(CONNECT, 1..u64::MAX, Fault::Silent),
        &["--retry-for", "6s"],
        75,
        "accepts connections but does not answer",
    );
    stays(
        "queue always full",
        gave_up,
        Plan::calls(CONNECT, 1..u64::MAX, Fault::Close),
        &["--retry-for", "4s"],
        75,
        "overloaded",
    );
    let denied = Fault::Answer(
        "org.apache.hadoop.hbase.security.AccessDeniedException: Insufficient permissions for user 'hbase' (action=READ)",
        true,
    );
    stays(
        "AccessDeniedException (made up by the proxy)",
        "failed at once",
        Plan::calls(SCAN, from, denied),
        &[],
        12,
        "Insufficient permissions",
    );
    let row = Fault::Answer("Failed after retry of OutOfOrderScannerNextException: was there a rpc timeout?", false);
    stays(
        "what a negative timestamp in memory looks like (made up by the proxy)",
        "read ever fewer rows in front of it, named the place",
        Plan::calls(SCAN, 33..u64::MAX, row),
        &["--connections", "1"],
        1,
        "cannot read the rows from 0000",
    );
    // A list without elements: field 0, type list of structures, length 0.
    let empty = Fault::Body(&[15, 0, 0, 12, 0, 0, 0, 0, 0]);
    stays(
        "empty list of regions of a table that exists",
        "looked six times, failed",
        Plan::calls("getAllRegionLocations", 1..u64::MAX, empty),
        &[],
        1,
        "do not cover its keys",
    );
}

#[test]
fn a_call_that_is_never_answered_ends_the_backup_at_once() {
    let never = Plan::calls("getTableDescriptor", 2..u64::MAX, Fault::Close);
    let text = "closes the connection whenever it gets this getTableDescriptor";
    stays("a call that is never answered", "asked four times, committed nothing", never, &[], 1, text);
}

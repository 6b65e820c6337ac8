//! Faults of the connection during a restore.

use std::time::Duration;

use crate::scene::{Line, SMALL, restore_through, small};
use crate::support::bed::Bed;
use crate::support::faults::plan::{CONNECT, Fault, Plan};
use crate::support::golden;
use crate::support::synthetic::tally;

const PUT: &str = "putMultiple";

fn passes(name: &str, did: &str, plan: Plan) {
    let bed = Bed::shared();
    let (_, wanted) = small(bed);
    let (table, run, seconds, proxy) = restore_through(bed, &bed.thrift2_address(), plan, &[], |_, _| ());
    assert!(proxy.total() > 0, "{name}: nothing was injected");
    let did = format!("{did}; {} faults, {} connections", proxy.total(), proxy.calls(CONNECT));
    let line = Line { fault: name.into(), verb: "restore", run, seconds, did }.expect(0, "");
    assert_eq!(line.run.json["differences"], 0);
    assert_eq!(tally(&golden::dump(bed, &table, false)), *wanted, "{name}");
    assert_eq!(golden::dump(bed, &table, true).len(), SMALL.data().len(), "{name}: overwritten versions or markers");
}

fn stays(name: &str, did: &str, plan: Plan, more: &[&str], code: i32, text: &str) {
    let bed = Bed::shared();
    let (_, run, seconds, _) = restore_through(bed, &bed.thrift2_address(), plan, more, |_, _| ());
    Line { fault: name.into(), verb: "restore", run, seconds, did: did.into() }.expect(code, text);
}

#[test]
fn batches_are_sent_again() {
    let again = "dropped the connection, sent the batch again";
    passes("reset in the middle of a reply to a batch", again, Plan::once(PUT, 2, Fault::Reset));
    passes("end of file in a reply to a batch", again, Plan::once(PUT, 2, Fault::EndOfFile));
    passes("reset in the middle of a batch", again, Plan::once(PUT, 2, Fault::CutRequest));
    passes("half-open connection in a reply to a batch", again, Plan::once(PUT, 2, Fault::HalfOpen));
    passes("garbage in a reply to a batch", again, Plan::once(PUT, 2, Fault::Garbage));
    passes("the reply of the batch before", again, Plan::once(PUT, 2, Fault::StaleReply));
    passes("a reply with another sequence id", again, Plan::once(PUT, 2, Fault::WrongSequence));
    passes("a reply with another method", again, Plan::once(PUT, 2, Fault::WrongMethod));
}

#[test]
fn tables_are_made_once() {
    let again = "asked again, met the table that it had made";
    passes("end of file in the reply to createTable", again, Plan::once("createTable", 1, Fault::EndOfFile));
    passes("reset in the middle of createTable", "asked again", Plan::once("createTable", 1, Fault::CutRequest));
}

#[test]
fn a_gateway_that_is_away_for_a_while_is_waited_for() {
    let wait = "waited, connected again";
    passes("gateway down for 4 s at a batch", wait, Plan::once(PUT, 2, Fault::Refuse(Duration::from_secs(4))));
    passes("slow batches", "waited", Plan::calls(PUT, 1..4, Fault::Slow(Duration::from_millis(700))));
    let mut silent = Plan::calls(CONNECT, 4..6, Fault::Silent);
    silent.scripted.extend(Plan::once(PUT, 2, Fault::EndOfFile).scripted);
    passes("no worker free: accepted, never answered", wait, silent);
    let mut full = Plan::calls(CONNECT, 4..12, Fault::Close);
    full.scripted.extend(Plan::calls(PUT, 2..4, Fault::EndOfFile).scripted);
    passes("queue full: accepted, closed at once, eight times", wait, full);
    let busy = Fault::Answer("Failed 3 actions: org.apache.hadoop.hbase.RegionTooBusyException: 3 times", true);
    passes("region too busy", "waited longer, sent again", Plan::calls(PUT, 1..3, busy));
    passes(
        "end of file in pages of the comparison",
        "asked again",
        Plan::calls("getScannerResults", 5..8, Fault::EndOfFile),
    );
}

#[test]
fn faults_that_stay_end_the_restore() {
    let gave_up = "gave up";
    let from = 2..u64::MAX;
    stays(
        "end of file in every reply to a batch",
        gave_up,
        Plan::calls(PUT, from.clone(), Fault::EndOfFile),
        &["--retry-for", "4s"],
        75,
        "closed the connection",
    );
    stays(
        "gateway gone for good",
        gave_up,
        Plan::once(PUT, 2, Fault::Refuse(Duration::from_secs(600))),
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
    let denied = Fault::Answer(
        "org.apache.hadoop.hbase.security.AccessDeniedException: Insufficient permissions for user 'hbase' (action=WRITE)",
        true,
    );
    stays(
        "AccessDeniedException (made up by the proxy)",
        "failed at once",
        Plan::calls(PUT, from, denied),
        &[],
        12,
        "Insufficient permissions",
    );
}

#[test]
fn faults_that_cannot_pass_end_the_restore_at_once() {
    let from = 2..u64::MAX;
    let space = Fault::Answer(
        "Failed 3 actions: org.apache.hadoop.hbase.quotas.SpaceLimitingException: NO_INSERTS Puts are disallowed due to a \
         space quota.: 3 times, servers with issues: null",
        true,
    );
    let text = "a quota of HBase does not allow putMultiple";
    stays("a space quota is used up", "failed at once", Plan::calls(PUT, from.clone(), space), &[], 1, text);
    let text = "closes the connection whenever it gets this putMultiple";
    stays("a batch that is never answered", "sent it four times", Plan::calls(PUT, from, Fault::Close), &[], 1, text);
}

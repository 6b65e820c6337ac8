//! Every method that a run calls against every fault that passes: whatever becomes of the first call, the run ends well.
//! Where there is little time, a third of the pairs.

use crate::scene::{assert_whole, backup_through, restore_through, small};
use crate::support::ark::Run;
use crate::support::bed::Bed;
use crate::support::faults::plan::{CONNECT, Fault, Plan};
use crate::support::faults::thrift::ThriftProxy;
use crate::support::golden;
use crate::support::is_slow;
use crate::support::synthetic::tally;

/// A result with no field set.
const NOTHING: Fault = Fault::Body(&[0]);

/// Those that cost no time; where there is time, the others too.
fn faults() -> Vec<Fault> {
    let quick = |fault: &Fault| {
        !matches!(fault, Fault::HalfOpen | Fault::Slow(_) | Fault::Refuse(_) | Fault::Silent | Fault::Close)
    };
    let mut faults = Fault::all();
    faults.retain(|fault| is_slow() || quick(fault));
    faults.push(NOTHING);
    faults
}

/// Plays each fault at the first call of each method, and looks at how the run ended.
fn assert_all_pass(methods: Vec<String>, play: impl Fn(Plan) -> (Run, ThriftProxy)) {
    let (mut pairs, mut runs, mut wrong) = (0, 0, Vec::new());
    for method in methods.into_iter().filter(|method| method != CONNECT).map(|method| &*method.leak()) {
        for fault in faults() {
            pairs += 1;
            if !is_slow() && pairs % 3 != 0 {
                continue;
            }
            let (run, proxy) = play(Plan::once(method, 1, fault));
            // To these it says "done" of what was not done, which must come to light.
            let is_lie = fault == NOTHING && ["createTable", "putMultiple"].contains(&method);
            if (run.code == 0) == is_lie || proxy.total() == 0 {
                wrong.push(format!("{} at {method}: {:?}: {} {}", fault.name(), proxy.log(), run.code, run.err.trim()));
            }
            runs += 1;
        }
    }
    assert!(wrong.is_empty() && runs > 0, "{} of {runs}:\n{}", wrong.len(), wrong.join("\n"));
    println!("{runs} runs, a fault in each");
}

#[test]
fn a_backup_bears_any_fault_of_any_call() {
    let bed = Bed::shared();
    let (tables, wanted) = small(bed);
    let gateway = bed.thrift2_address();
    let (.., counted) = backup_through(&gateway, tables, Plan::default(), &[], |_| ());
    assert_all_pass(counted.methods(), |plan| {
        let (repository, run, _, proxy) = backup_through(&gateway, tables, plan, &[], |_| ());
        if run.code == 0 {
            assert_whole(bed, &repository, &run, tables, wanted);
        }
        (run, proxy)
    });
}

#[test]
fn a_restore_bears_any_fault_of_any_call() {
    let bed = Bed::shared();
    let (_, wanted) = small(bed);
    let gateway = bed.thrift2_address();
    let (table, .., counted) = restore_through(bed, &gateway, Plan::default(), &[], |_, _| ());
    bed.must(&format!("drop {table}"));
    assert_all_pass(counted.methods(), |plan| {
        let (table, run, _, proxy) = restore_through(bed, &gateway, plan, &[], |_, _| ());
        if run.code == 0 {
            assert_eq!(tally(&golden::dump(bed, &table, false)), *wanted, "{:?}", proxy.log());
        }
        // It may have failed before it made the table.
        let _ = bed.control(&format!("drop {table}"));
        (run, proxy)
    });
}

//! What HBase's access control lets the program do, and what it says when that is not enough.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use support::ark::{Repository, Run, table_flags};
use support::bed::Bed;
use support::golden;
use support::tsd::Tables;

/// The program's user, as the gateway presents it to HBase.
const USER: &str = "ark";

fn grant(bed: &Bed, rights: &str, table: &str) {
    bed.must(&format!("grant {USER} {rights} {table}"));
}

fn grant_all(bed: &Bed, rights: &str, tables: &Tables) {
    tables.names().iter().for_each(|table| grant(bed, rights, table));
}

fn run(repository: &Repository, verb: &str, gateway: &str, more: &[String]) -> Run {
    let arguments: Vec<&str> = ["--gateway", gateway].into_iter().chain(more.iter().map(String::as_str)).collect();
    repository.run(verb, &arguments)
}

fn denied(run: Run, action: &str, table: &str) {
    let run = run.expect(12);
    assert!(run.err.contains(action) && run.err.contains(table), "{}", run.err);
}

#[test]
fn the_least_rights_are_enough_and_less_is_said() {
    let bed = &Bed::own(&["access=controlled"]);
    let tables = golden::load(bed, "opentsdb-2.4.1");
    let (data, meta) = (tables.data(), tables.names()[2].clone());
    let gateway = bed.listener(&format!("spawn controlled 2 0 user={USER}"));
    let repository = Repository::default();
    let flags = [table_flags(&tables), vec!["--expect-raw-cells".into()]].concat();
    let backup = || run(&repository, "backup", &gateway, &flags);

    denied(backup(), "no right on it", &data);
    for rights in ["R", "RWX"] {
        grant_all(bed, rights, &tables);
        denied(backup(), "action=CREATE", &data);
    }
    grant_all(bed, "CA", &tables);
    denied(backup(), "READ", &tables.names()[1]);
    grant_all(bed, "RC", &tables);
    // HBase does not list this one: it must not pass for one that OpenTSDB never made.
    grant(bed, "-", &meta);
    denied(backup(), "no right on it", &meta);
    grant(bed, "RC", &meta);
    let saved = backup().expect(0).json;
    assert_eq!(saved["tables"].as_array().unwrap().len(), tables.names().len(), "{saved}");
    run(&repository, "verify", &gateway, &["--level".into(), "source".into()]).expect(0);

    let target = Tables::named(&format!("{}.", bed.unique("r")), tables.rollups);
    let renames: Vec<String> =
        tables.names().iter().zip(target.names()).map(|(old, new)| format!("{old}={new}")).collect();
    let renames: Vec<String> = renames.into_iter().flat_map(|rename| ["--rename-table".into(), rename]).collect();
    denied(run(&repository, "restore", &gateway, &renames), "action=CREATE", &target.data());
    grant(bed, "C", "@default");
    let restored = run(&repository, "restore", &gateway, &renames).expect(0).json;
    assert_eq!(restored["differences"], 0, "{restored}");
    assert_eq!(golden::dump(bed, &target.data(), false), golden::dump(bed, &data, false));

    // An existing table takes W as well; before that nothing is written.
    bed.must(&format!("truncate {}", target.data()));
    grant_all(bed, "RC", &target);
    let again = [renames, vec!["--into-existing".into()]].concat();
    denied(run(&repository, "restore", &gateway, &again), "WRITE", &target.data());
    assert!(golden::dump(bed, &target.data(), false).is_empty());
    grant_all(bed, "RWC", &target);
    run(&repository, "restore", &gateway, &again).expect(0);
    assert_eq!(golden::dump(bed, &target.data(), false), golden::dump(bed, &data, false));
}

#[test]
fn through_thrift1_reading_is_all_the_right_that_a_backup_takes() {
    let bed = &Bed::own(&["access=controlled"]);
    let tables = golden::load(bed, "opentsdb-2.3.2");
    let gateway = bed.listener(&format!("spawn controlled 1 0 user={USER}"));
    let repository = Repository::default();
    let flags = [table_flags(&tables), vec!["--expect-raw-cells".into()]].concat();
    denied(run(&repository, "backup", &gateway, &flags), "no right on it", &tables.data());
    grant_all(bed, "C", &tables);
    denied(run(&repository, "backup", &gateway, &flags), "action=READ", &tables.data());
    // A region server names the descriptor to whoever may read.
    grant_all(bed, "R", &tables);
    run(&repository, "backup", &gateway, &flags).expect(0);
}
